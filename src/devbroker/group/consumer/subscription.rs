//! What members read: names, patterns, and the topics behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::Regex;
use tokio::time::Instant;

use super::Refusal;
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{Topic, TopicId};

/// The topics that there are.
pub trait Catalogue {
    fn by_name(&self, name: &str) -> Option<Shape>;
    fn names(&self) -> Vec<Topic>;
}

/// A topic as far as assignments go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub id: TopicId,
    pub partitions: i32,
}

/// The patterns of a group, and what they were found to match.
#[derive(Debug, Default)]
pub struct Patterns {
    pub resolved: BTreeMap<Arc<str>, BTreeSet<Topic>>,
    /// When all of them were matched last, and how many topics had been created by then.
    pub looked: Option<(Instant, u64)>,
}

/// A pattern has to match all of a name. Kafka reads patterns as RE2/J does; the syntax of the `regex` crate is RE2's, but
/// for some corners of Unicode classes.
pub fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // On its own first: brackets that close what is around it would pass otherwise.
    Regex::new(pattern).and_then(|_| Regex::new(&format!(r"\A(?:{pattern})\z")))
}

pub fn compile(pattern: &str) -> Result<Regex, Refusal> {
    whole(pattern).map_err(|error| {
        let why = format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {error}.");
        Refusal::new(ErrorCode::INVALID_REGULAR_EXPRESSION, why)
    })
}

/// The topics that a pattern matches. One that cannot be read was refused before, and matches none.
pub fn matching(pattern: &str, names: &[Topic]) -> BTreeSet<Topic> {
    let Ok(regex) = compile(pattern) else { return BTreeSet::new() };
    names.iter().filter(|name| regex.is_match(name)).cloned().collect()
}

/// A number that changes when topics of these names come, go, or grow; 0 for none (`Utils.computeGroupHash`, whose numbers
/// are others). FNV-1a, because it is kept in the journal and must be the same in every build.
pub fn fingerprint<'a>(names: impl Iterator<Item = &'a Topic>, topics: &dyn Catalogue) -> i64 {
    let known: BTreeMap<&Topic, Shape> = names.filter_map(|name| Some((name, topics.by_name(name)?))).collect();
    if known.is_empty() {
        return 0;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        bytes.iter().for_each(|byte| hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    };
    for (name, shape) in known {
        add(name.as_bytes());
        add(&[0]);
        add(&shape.id.0);
        add(&shape.partitions.to_be_bytes());
    }
    hash as i64
}

/// The topics of a test.
#[cfg(test)]
#[derive(Debug, Default, Clone)]
pub struct Shelf(pub BTreeMap<Topic, Shape>);

#[cfg(test)]
impl Catalogue for Shelf {
    fn by_name(&self, name: &str) -> Option<Shape> {
        self.0.get(name).copied()
    }

    fn names(&self) -> Vec<Topic> {
        self.0.keys().cloned().collect()
    }
}
