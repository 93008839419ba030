//! Topics and their partitions, by name and by id.

use std::collections::{BTreeMap, HashMap};

use super::configs::TopicConfig;
use super::fetching::FetchId;
use super::group::consumer::{Catalogue, Shape};
use super::journal::{ConfigEntry, PartitionEntry, TopicEntry};
use super::log::Log;
use super::producers::Producers;
use crate::protocol::types::{BrokerId, LeaderEpoch, Offset, Str, Topic, TopicId};

/// One partition: who leads it, what was written, who waits for more.
#[derive(Debug)]
pub struct Partition {
    pub leader: BrokerId,
    pub leader_epoch: LeaderEpoch,
    pub replicas: Vec<BrokerId>,
    pub log: Log,
    pub producers: Producers,
    /// Parked fetches that want to know when something becomes readable.
    pub watchers: Vec<FetchId>,
}

#[derive(Debug)]
pub struct TopicState {
    pub name: Topic,
    pub id: TopicId,
    /// What was set, by name; everything else is at its default.
    pub overrides: BTreeMap<String, String>,
    /// What follows from it, ready to use.
    pub config: TopicConfig,
    pub partitions: Vec<Partition>,
}

impl Partition {
    /// Below it nothing belongs to an open transaction (KIP-98).
    pub fn last_stable(&self) -> Offset {
        let visible = self.log.high_watermark();
        self.producers.first_open().map_or(visible, |open| open.clamp(self.log.start(), visible))
    }
}

impl TopicState {
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub fn partition_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index).ok()?)
    }

    /// What the journal shall say of the topic from now on.
    pub fn entry(&self) -> TopicEntry {
        let partition = |partition: &Partition| PartitionEntry {
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replicas.clone(),
            log_start: partition.log.start(),
        };
        let config = |(name, value): (&String, &String)| ConfigEntry {
            name: Str::from(name.as_str()),
            value: Str::from(value.as_str()),
        };
        TopicEntry {
            name: Str::from(&self.name),
            topic_id: self.id,
            partitions: self.partitions.iter().map(partition).collect(),
            configs: self.overrides.iter().map(config).collect(),
        }
    }
}

/// All topics. Names are ordered, because listings are.
#[derive(Debug, Default)]
pub struct Topics {
    by_id: HashMap<TopicId, TopicState>,
    by_name: BTreeMap<Topic, TopicId>,
}

impl Topics {
    pub fn get(&self, name: &str) -> Option<&TopicState> {
        self.by_id.get(self.by_name.get(name)?)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut TopicState> {
        self.by_id.get_mut(self.by_name.get(name)?)
    }

    pub fn by_id(&self, id: TopicId) -> Option<&TopicState> {
        self.by_id.get(&id)
    }

    pub fn by_id_mut(&mut self, id: TopicId) -> Option<&mut TopicState> {
        self.by_id.get_mut(&id)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &TopicState> {
        self.by_name.values().filter_map(|id| self.by_id.get(id))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut TopicState> {
        self.by_id.values_mut()
    }

    pub fn insert(&mut self, topic: TopicState) {
        self.by_name.insert(topic.name.clone(), topic.id);
        self.by_id.insert(topic.id, topic);
    }

    pub fn remove(&mut self, id: TopicId) -> Option<TopicState> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(&topic.name);
        Some(topic)
    }

    pub fn partition_count(&self) -> usize {
        self.by_id.values().map(|topic| topic.partitions.len()).sum()
    }
}

impl Catalogue for Topics {
    fn by_name(&self, name: &str) -> Option<Shape> {
        let topic = self.get(name)?;
        Some(Shape { id: topic.id, partitions: i32::try_from(topic.partitions.len()).ok()? })
    }

    fn names(&self) -> Vec<Topic> {
        self.by_name.keys().cloned().collect()
    }
}
