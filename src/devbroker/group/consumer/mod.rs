//! Groups of the consumer protocol (KIP-848): the coordinator itself says who reads what, as `ConsumerGroup` and the modern
//! half of `GroupMetadataManager` in Kafka 4.3.
//!
//! # Nouns
//!
//! - The **group epoch** counts the changes that may ask for another assignment: members, what they read, and what there is
//!   to read.
//! - The **target** is what each member shall have in the end, worked out by an [`Assignor`] for one group epoch: that is
//!   the *assignment epoch*. It follows the group epoch at the next heartbeat of anybody, but not more than once in
//!   `group.consumer.assignment.interval.ms` (KIP-1263).
//! - A **member's epoch** is the last target that it has reached. It is fenced if it says another one, and loses all.
//! - **Reconciling** is a member's way to its target: give up first, take over what is free, one heartbeat at a time
//!   ([`reconcile`]).
//!
//! # How a heartbeat flows
//!
//! ```text
//! who is it? ─▶ what it says of itself ─▶ group epoch + 1, if it matters ─▶ target, if it is behind ─▶ one step towards it ─▶ answer
//! UNKNOWN_MEMBER_ID  FENCED_MEMBER_EPOCH  UNRELEASED_INSTANCE_ID  FENCED_INSTANCE_ID  GROUP_MAX_SIZE_REACHED
//! ```
//!
//! # What must stay true
//!
//! - No partition is held by two members: not assigned to one before the other has said that it gave it up, or is gone.
//! - A refused heartbeat changes nothing.
//! - Once nothing changes any more and everybody goes on with heartbeats, everybody reaches the target.
//!
//! Members of the classic protocol may be among them, where the [`MigrationPolicy`] lets a group with members go over from one
//! protocol to the other ([`classic`]).

mod assign;
mod classic;
mod entries;
mod member;
mod membership;
mod reconcile;
#[cfg(test)]
mod simulation;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use assign::Assignor;
pub use classic::{Classic, MigrationPolicy};
pub use entries::{ConsumerGroupEntry, ConsumerMemberEntry, ConsumerMemberRemovedEntry, ConsumerRegexEntry};
pub use member::{AWAY, Member};
pub use membership::{Group, View};
#[cfg(test)]
pub use subscription::Shelf;
pub use subscription::{Catalogue, Shape, whole};

use super::MemberId;
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{Topic, TopicId};

/// What a member shall have.
pub type Target = BTreeMap<TopicId, BTreeSet<i32>>;
/// What a member has, and since which assignment epoch (KIP-1251).
pub type Held = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// The broker settings that these groups obey; the defaults are Kafka's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `group.consumer.session.timeout.ms`
    pub session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`: what members are told.
    pub heartbeat_interval: Duration,
    /// `group.consumer.max.size`
    pub max_size: usize,
    /// `group.consumer.assignment.interval.ms`: how soon at most one target follows another (KIP-1263).
    pub assignment_interval: Duration,
    /// How soon at most patterns are matched again with the topics that there are.
    pub regex_interval: Duration,
    /// `group.consumer.migration.policy`
    pub migration_policy: MigrationPolicy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            max_size: usize::MAX,
            assignment_interval: Duration::from_secs(1),
            regex_interval: Duration::from_secs(10),
            migration_policy: MigrationPolicy::default(),
        }
    }
}

/// Why a request is refused: Kafka's code, and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub error: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }
}

/// A heartbeat of a member that is there, or wants to be. `None` means "as before".
#[derive(Debug, Clone, Default)]
pub struct Heartbeat {
    pub member_id: MemberId,
    /// 0 to join.
    pub epoch: i32,
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<Arc<str>>,
    pub rebalance_timeout: Option<Duration>,
    pub topics: Option<BTreeSet<Topic>>,
    /// An empty one is none.
    pub regex: Option<Arc<str>>,
    pub assignor: Option<Arc<str>>,
    pub owned: Option<Target>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
}

impl Heartbeat {
    pub fn joins(&self) -> bool {
        self.epoch == 0
    }

    /// Whether it says everything, as a member does after an error: then it is told everything, too.
    fn is_full(&self) -> bool {
        self.rebalance_timeout.is_some() && (self.topics.is_some() || self.regex.is_some()) && self.owned.is_some()
    }
}

/// What a member is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    pub member_id: MemberId,
    pub epoch: i32,
    /// `None`: as before.
    pub assignment: Option<Target>,
}
