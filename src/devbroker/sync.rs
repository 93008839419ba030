//! What has been written but not yet synced, and who waits for it.
//!
//! Syncing takes milliseconds, so it happens outside the lock and for everybody at once: [`State::take_sync`] takes what
//! is dirty, [`SyncWork::run`] syncs it, [`State::synced`] lets readers see it and sends the answers that waited.
//! One worker does this, so at most one piece of work is under way; what comes meanwhile is the next piece.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::reply::{Ready, Reply};
use super::state::State;
use crate::protocol::api::Response;
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{Offset, TopicId};

/// Part of [`State`]. Its size is bounded by the connections (one parked answer each) and the partitions.
#[derive(Debug, Default)]
pub struct SyncQueue {
    dirty: BTreeSet<(TopicId, i32)>,
    waiting: Vec<(Reply, Ready)>,
    /// Whether the input at hand wrote anything.
    pub touched: bool,
}

impl SyncQueue {
    pub fn note(&mut self, topic: TopicId, partition: i32) {
        self.dirty.insert((topic, partition));
        self.touched = true;
    }

    pub fn wait(&mut self, reply: Reply, ready: Ready) {
        self.waiting.push((reply, ready));
    }

    pub fn is_idle(&self) -> bool {
        self.dirty.is_empty() && self.waiting.is_empty()
    }
}

#[derive(Debug)]
struct PartitionWork {
    topic: TopicId,
    partition: i32,
    /// The end of the log when its files were taken.
    end: Offset,
    files: Vec<Arc<File>>,
}

/// What is to be synced, taken out of the state.
#[derive(Debug)]
pub struct SyncWork {
    partitions: Vec<PartitionWork>,
    journal: Option<Arc<File>>,
    waiting: Vec<(Reply, Ready)>,
}

/// What came of it.
#[derive(Debug)]
pub struct Synced {
    partitions: Vec<(PartitionWork, io::Result<()>)>,
    journal: io::Result<()>,
    waiting: Vec<(Reply, Ready)>,
}

impl SyncWork {
    /// Waits for the disk; to be run where blocking is allowed, without the lock.
    pub fn run(self) -> Synced {
        let sync = |work: PartitionWork| {
            let result = work.files.iter().try_for_each(|file| file.sync_data());
            (work, result)
        };
        Synced {
            partitions: self.partitions.into_iter().map(sync).collect(),
            journal: self.journal.map_or(Ok(()), |file| file.sync_data()),
            waiting: self.waiting,
        }
    }
}

impl State {
    /// Takes everything that is dirty; `None` if nothing is.
    pub fn take_sync(&mut self) -> Option<SyncWork> {
        let journal = self.storage.as_mut().and_then(|storage| storage.journal.take_dirty());
        if self.sync.is_idle() && journal.is_none() {
            return None;
        }
        let dirty = std::mem::take(&mut self.sync.dirty);
        let take = |(topic, partition): (TopicId, i32)| {
            let log = &mut self.topics.by_id_mut(topic)?.partition_mut(partition)?.log;
            Some(PartitionWork { topic, partition, end: log.end(), files: log.take_dirty() })
        };
        let partitions = dirty.into_iter().filter_map(take).collect();
        Some(SyncWork { partitions, journal, waiting: std::mem::take(&mut self.sync.waiting) })
    }

    /// Lets readers see what is safe now, and answers those who waited for it.
    pub fn synced(&mut self, now: super::clock::Now, done: Synced) {
        let mut failed = BTreeSet::new();
        for (work, result) in done.partitions {
            match result {
                Ok(()) => self.reveal(now, work.topic, work.partition, Some(work.end)),
                Err(error) => {
                    tracing::error!(partition = work.partition, %error, "records could not be synced and are cut off");
                    self.cut_unseen(work.topic, work.partition);
                    failed.insert((work.topic, work.partition));
                }
            }
        }
        if let Err(error) = done.journal {
            // Dropping the replies closes their connections: nothing was promised.
            tracing::error!(%error, "the metadata journal could not be synced");
            return;
        }
        for (reply, ready) in done.waiting {
            reply.send(without(ready, &failed));
        }
    }
}

/// A Produce response in which partitions that could not be synced say so.
fn without(mut ready: Ready, failed: &BTreeSet<(TopicId, i32)>) -> Ready {
    let Ready::Response(Response::Produce(response)) = &mut ready else { return ready };
    for topic in &mut response.responses {
        for partition in &mut topic.partition_responses {
            if failed.contains(&(topic.topic_id, partition.index)) {
                partition.error_code = ErrorCode::KAFKA_STORAGE_ERROR.into();
                partition.base_offset = -1;
            }
        }
    }
    ready
}
