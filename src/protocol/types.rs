//! The words that every room shares. A sentinel of the wire (−1, an empty text for "none") becomes an `Option` on the way
//! in and is nowhere above this room.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

pub use super::message::{Str, Uuid};

/// A record's place in a partition; never a count, never an index. End-like marks are exclusive: the offset after the
/// last one.
pub type Offset = i64;
/// The number of a broker ("node id" and "broker id" on the wire).
pub type BrokerId = i32;
/// The counter of a partition's leaderships (KIP-320).
pub type LeaderEpoch = i32;
/// A topic's identity beside its name: a topic that is deleted and made again has another one (KIP-516).
pub type TopicId = Uuid;

/// A topic's name; cloning it costs a counter.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Deserialize)]
#[serde(from = "String")]
pub struct Topic(Arc<str>);

impl Topic {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Self {
        Self(Arc::from(name))
    }
}

impl From<String> for Topic {
    fn from(name: String) -> Self {
        Self(Arc::from(name))
    }
}

impl From<&Str> for Topic {
    fn from(name: &Str) -> Self {
        Self(Arc::from(name.as_str()))
    }
}

impl From<&Topic> for Str {
    fn from(topic: &Topic) -> Self {
        Str::from(topic.as_str())
    }
}

impl Deref for Topic {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Topic,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Topic>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
