//! The server's assignors: who of a group shall read what (KIP-848). Pure, and with the results of Kafka 4.3's, down to who
//! gets the odd partition.

mod balance;
mod order;
mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use order::{copied, grown, text};

use super::Target;
use crate::protocol::types::TopicId;

/// An assignor that members may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    /// As even as can be, and as much as possible stays where it is.
    Uniform,
    /// Neighbouring partitions stay together, and the same numbers of several topics.
    Range,
}

impl Assignor {
    /// In the order of `group.consumer.assignors`; the first is used when nobody asks for one.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// What each member shall read, in the order of the members.
    pub fn assign(self, work: &Work) -> Vec<Target> {
        match (self, work.alike) {
            _ if work.members.is_empty() => Vec::new(),
            (Self::Range, alike) => range::assign(work, alike),
            (Self::Uniform, true) => uniform::assign(work),
            (Self::Uniform, false) => balance::assign(work),
        }
    }
}

/// What is to be shared out, and among whom.
#[derive(Debug, Clone, Default)]
pub struct Work {
    /// In the order in which Kafka's tables hand them out.
    pub members: Vec<Reader>,
    /// Whether all members read the same.
    pub alike: bool,
    /// How many partitions each topic has that anybody reads.
    pub partitions: BTreeMap<TopicId, i32>,
}

/// A member, as far as an assignor looks at it.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    pub id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    /// What it reads, of what there is; in the order in which Kafka's tables hand it out.
    pub topics: Vec<TopicId>,
    /// What it was to read until now.
    pub target: Target,
}

impl Work {
    fn partitions(&self, topic: TopicId) -> i32 {
        self.partitions.get(&topic).copied().unwrap_or(0)
    }

    /// All that anybody was to read until now.
    fn taken(&self) -> BTreeSet<(TopicId, i32)> {
        let of = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| {
            let topic = *topic;
            partitions.iter().map(move |partition| (topic, *partition)).collect::<Vec<_>>()
        };
        self.members.iter().flat_map(|member| member.target.iter().flat_map(of)).collect()
    }
}
