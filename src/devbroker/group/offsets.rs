//! What a group has committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Commit, OffsetEntry, OffsetRemovedEntry};
use crate::devbroker::journal::Entry;
use crate::protocol::error::ErrorCode;
use crate::protocol::message::Str;
use crate::protocol::types::{LeaderEpoch, Offset, Topic};

/// A position: the offset of the next record to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub offset: Offset,
    /// The epoch of the last record read (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
    /// Whatever the committer wanted to remember.
    pub metadata: Arc<str>,
}

/// The positions of one group, by topic and partition.
#[derive(Debug, Default)]
pub struct Offsets(BTreeMap<Topic, BTreeMap<i32, Committed>>);

impl Offsets {
    pub fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.0.get(topic)?.get(&partition)
    }

    /// All of them, topic by topic.
    pub fn topics(&self) -> impl Iterator<Item = (&Topic, &BTreeMap<i32, Committed>)> {
        self.0.iter()
    }

    pub(super) fn insert(&mut self, entry: &OffsetEntry) {
        let committed = Committed {
            offset: entry.offset,
            leader_epoch: (entry.leader_epoch >= 0).then_some(entry.leader_epoch),
            metadata: Arc::from(entry.metadata.as_str()),
        };
        self.0.entry(Topic::from(&entry.topic)).or_default().insert(entry.partition, committed);
    }

    pub(super) fn remove(&mut self, entry: &OffsetRemovedEntry) {
        let Some(partitions) = self.0.get_mut(entry.topic.as_str()) else { return };
        partitions.remove(&entry.partition);
        if partitions.is_empty() {
            self.0.remove(entry.topic.as_str());
        }
    }

    pub(super) fn removal_of(&self, group_id: &str, topic: &Topic) -> Vec<Entry> {
        let partitions = self.0.get(topic).into_iter().flat_map(BTreeMap::keys);
        partitions.map(|partition| removed(group_id, topic, *partition)).collect()
    }

    pub(super) fn entries(&self, group_id: &str) -> impl Iterator<Item = Entry> {
        self.0.iter().flat_map(move |(topic, partitions)| {
            partitions.iter().map(move |(partition, committed)| entry(group_id, topic, *partition, committed))
        })
    }
}

impl Commit {
    pub(super) fn entry(&self, group_id: &str, metadata_max: usize) -> Result<Entry, ErrorCode> {
        if self.committed.metadata.encode_utf16().count() > metadata_max {
            return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
        }
        Ok(entry(group_id, &self.topic, self.partition, &self.committed))
    }
}

fn entry(group_id: &str, topic: &Topic, partition: i32, committed: &Committed) -> Entry {
    OffsetEntry {
        group_id: group_id.into(),
        topic: Str::from(topic),
        partition,
        offset: committed.offset,
        leader_epoch: committed.leader_epoch.unwrap_or(-1),
        metadata: Str::from(&*committed.metadata),
    }
    .into()
}

pub(super) fn removed(group_id: &str, topic: &Topic, partition: i32) -> Entry {
    OffsetRemovedEntry { group_id: group_id.into(), topic: Str::from(topic), partition }.into()
}
