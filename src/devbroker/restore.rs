//! From a data directory to a state: the journal says what exists, the logs say what was written.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Error;
use super::configs::TopicConfig;
use super::journal::{Entry, PartitionEntry, TopicEntry};
use super::log::{self, Log};
use super::producers::{Producers, Stamp};
use super::state::{Broker, State};
use super::storage::Storage;
use super::topics::{Partition, TopicState};
use crate::protocol::batch::batches;
use crate::protocol::types::Topic;

impl State {
    /// Fills an empty state from the data directory of its config, and makes the directory its own. In memory, nothing.
    pub fn restore(&mut self) -> Result<(), Error> {
        let Some(directory) = self.config.data_dir.clone() else { return Ok(()) };
        let (storage, entries) = Storage::open(&directory)?;
        let mut topics = Vec::new();
        for entry in entries {
            match entry {
                Entry::Topic(topic) => put(&mut topics, topic),
                Entry::TopicRemoved(removed) => topics.retain(|it: &TopicEntry| it.topic_id != removed.topic_id),
                entry => {
                    self.replay_ids(&entry);
                    self.groups.replay(&entry);
                    self.transactions.replay(&entry);
                    self.users.replay(&entry);
                }
            }
        }
        let failed = |source| Error::Directory { path: directory.clone(), source };
        let known = directories(&storage, &topics);
        storage.put_strays_aside(|path| known.contains(path)).map_err(failed)?;
        for topic in topics {
            let topic = restore_topic(&storage, &self.brokers, topic).map_err(failed)?;
            self.topics.insert(topic);
        }
        self.storage = Some(storage);
        self.compact().map_err(failed)
    }

    /// Writes the journal anew.
    pub(super) fn compact(&mut self) -> std::io::Result<()> {
        let snapshot = self.snapshot();
        self.storage.as_mut().map_or(Ok(()), |storage| storage.journal.compact(&snapshot))
    }
}

fn put(topics: &mut Vec<TopicEntry>, topic: TopicEntry) {
    match topics.iter_mut().find(|it| it.topic_id == topic.topic_id) {
        Some(it) => *it = topic,
        None => topics.push(topic),
    }
}

fn directories(storage: &Storage, topics: &[TopicEntry]) -> HashSet<PathBuf> {
    let of = |topic: &TopicEntry| -> Vec<PathBuf> {
        (0..topic.partitions.len()).map(|index| storage.partition_directory(&topic.name, index)).collect()
    };
    topics.iter().flat_map(of).collect()
}

fn restore_topic(storage: &Storage, brokers: &[Broker], entry: TopicEntry) -> std::io::Result<TopicState> {
    let overrides = entry.configs.iter().map(|it| (it.name.to_string(), it.value.to_string())).collect();
    let mut topic = TopicState {
        name: Topic::from(&entry.name),
        id: entry.topic_id,
        config: TopicConfig::from_overrides(&overrides),
        overrides,
        partitions: Vec::with_capacity(entry.partitions.len()),
    };
    for (index, partition) in entry.partitions.into_iter().enumerate() {
        let directory = storage.partition_directory(&entry.name, index);
        topic.partitions.push(restore_partition(&directory, brokers, partition)?);
    }
    Ok(topic)
}

/// A leader that is no longer among the brokers hands over to the first.
fn restore_partition(directory: &Path, brokers: &[Broker], entry: PartitionEntry) -> std::io::Result<Partition> {
    let mut producers = Producers::default();
    // A crash between the journal's word and the directory's making leaves none.
    std::fs::create_dir_all(directory)?;
    let found = log::open(directory.to_owned(), entry.log_start, |_, batch| remember(&mut producers, batch))?;
    if found.cut_bytes > 0 || !found.strays.is_empty() {
        tracing::warn!(
            log = %directory.display(), cut_bytes = found.cut_bytes, strays = found.strays.len(), end = found.log.end(),
            "torn or damaged records at the end of a log were cut off"
        );
    }
    let present = |id: &i32| brokers.iter().any(|broker| broker.id == *id);
    let first = brokers.first().map_or(entry.leader, |broker| broker.id);
    let stays = present(&entry.leader);
    let mut replicas: Vec<i32> = entry.replicas.into_iter().filter(present).collect();
    if replicas.is_empty() {
        replicas.push(first);
    }
    Ok(Partition {
        leader: if stays { entry.leader } else { replicas[0] },
        leader_epoch: if stays { entry.leader_epoch } else { entry.leader_epoch + 1 },
        replicas,
        log: found.log,
        producers,
        watchers: Vec::new(),
    })
}

/// What a batch on disk says of its producer.
fn remember(producers: &mut Producers, batch: &Bytes) {
    let read = batches(batch.clone()).next().and_then(Result::ok);
    if let Some((marker, offset)) = read.and_then(|batch| Some((batch.marker()?, batch.base_offset))) {
        return producers.ended(&marker, offset);
    }
    if let Some((stamp, base_offset, timestamp_ms)) = Stamp::read(batch) {
        producers.appended(&stamp, base_offset, timestamp_ms);
    }
}

/// The log of a new partition.
pub fn new_log(storage: Option<&Storage>, topic: &str, index: usize) -> std::io::Result<Log> {
    storage.map_or_else(|| Ok(Log::in_memory()), |storage| storage.create_log(topic, index))
}
