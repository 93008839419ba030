//! What is known of a cluster: its brokers, its topics, and who leads which partition. Pure: [`Metadata`] is a value, and
//! [`Metadata::merged`] makes the next one from what a broker says.
//!
//! What must stay true:
//! - the leader of a partition never goes back to an older epoch while the topic is the same (KIP-320): brokers learn of
//!   changes at different times, and one that lags must not undo what is known;
//! - a topic that was deleted and made again has another id (KIP-516), and nothing of the old one is kept;
//! - what a broker says of some topics does not disturb what is known of others.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::Address;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::types::{BrokerId, LeaderEpoch, Topic, TopicId, TopicPartition};

/// What is known of a cluster at one time.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    pub cluster_id: Option<String>,
    /// Under KRaft any broker, which passes requests on.
    pub controller: Option<BrokerId>,
    pub brokers: BTreeMap<BrokerId, Broker>,
    topics: HashMap<Topic, Known>,
    names: HashMap<TopicId, Topic>,
}

#[derive(Debug, Clone)]
struct Known {
    topic: TopicMetadata,
    since: Instant,
}

/// A broker, and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub id: BrokerId,
    pub address: Address,
    pub rack: Option<String>,
}

/// A topic and its partitions, in order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicMetadata {
    /// `None` from brokers before Kafka 2.8.
    pub id: Option<TopicId>,
    pub is_internal: bool,
    /// Why the broker says nothing, or not all, of the topic.
    pub error: Option<ErrorCode>,
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition, who leads it and who keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionMetadata {
    pub partition: i32,
    pub leader: Option<BrokerId>,
    pub leader_epoch: Option<LeaderEpoch>,
    pub replicas: Vec<BrokerId>,
    pub in_sync_replicas: Vec<BrokerId>,
    pub offline_replicas: Vec<BrokerId>,
    pub error: Option<ErrorCode>,
}

/// Who leads a partition, and since which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    pub broker: BrokerId,
    pub epoch: Option<LeaderEpoch>,
}

impl Metadata {
    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// What is known of a topic; one that does not exist is known by its error, for as long as it is asked about.
    pub fn topic(&self, topic: &str) -> Option<&TopicMetadata> {
        self.topics.get(topic).map(|known| &known.topic)
    }

    /// All topics that are known to exist.
    pub fn topics(&self) -> impl Iterator<Item = (&Topic, &TopicMetadata)> {
        self.topics.iter().map(|(name, known)| (name, &known.topic)).filter(|(_, topic)| !topic.partitions.is_empty())
    }

    pub fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.topic(topic)?.id
    }

    pub fn topic_name(&self, id: &TopicId) -> Option<&Topic> {
        self.names.get(id)
    }

    pub fn partition_count(&self, topic: &str) -> Option<i32> {
        self.topic(topic).filter(|topic| !topic.partitions.is_empty()).map(TopicMetadata::partition_count)
    }

    pub fn partition(&self, of: &TopicPartition) -> Option<&PartitionMetadata> {
        self.topic(&of.topic)?.partition(of.partition)
    }

    pub fn leader(&self, of: &TopicPartition) -> Option<Leader> {
        let partition = self.partition(of)?;
        Some(Leader { broker: partition.leader?, epoch: partition.leader_epoch })
    }

    /// Every partition of a topic.
    pub fn partitions_of<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = TopicPartition> + 'a {
        let partitions = self.topic(topic).map_or(&[][..], |topic| &topic.partitions);
        partitions.iter().map(|it| TopicPartition { topic: topic.clone(), partition: it.partition })
    }

    /// What is known once a broker has answered. `all`: the answer is about every topic there is, so what it does not
    /// name is gone. Otherwise what it does not name is kept, unless it is older than `keep`: nobody asks about it any
    /// more.
    pub fn merged(&self, answer: MetadataResponse, all: bool, now: Instant, keep: Duration) -> Self {
        let mut topics = match all {
            true => HashMap::with_capacity(answer.topics.len()),
            false => self.kept(now, keep),
        };
        for said in answer.topics {
            let Some(name) = self.name_of(&said) else { continue };
            let topic = merged_topic(self.topic(&name), said);
            topics.insert(name, Known { topic, since: now });
        }
        let names = topics.iter().filter_map(|(name, known)| Some((known.topic.id?, name.clone()))).collect();
        Self {
            cluster_id: answer.cluster_id.map(|id| id.to_string()).or_else(|| self.cluster_id.clone()),
            controller: Some(answer.controller_id).filter(|id| *id >= 0),
            brokers: answer.brokers.iter().filter_map(broker).map(|broker| (broker.id, broker)).collect(),
            topics,
            names,
        }
    }

    /// What another answer said of a partition's leader (KIP-951), if it is news.
    pub fn with_leader(&self, of: &TopicPartition, leader: Leader) -> Option<Self> {
        let known = self.partition(of)?;
        if leader.epoch <= known.leader_epoch || !self.brokers.contains_key(&leader.broker) {
            return None;
        }
        let mut next = self.clone();
        let partitions = &mut next.topics.get_mut(&of.topic)?.topic.partitions;
        let at = partitions.binary_search_by_key(&of.partition, |it| it.partition).ok()?;
        partitions[at] =
            PartitionMetadata { leader: Some(leader.broker), leader_epoch: leader.epoch, ..partitions[at].clone() };
        Some(next)
    }

    fn kept(&self, now: Instant, keep: Duration) -> HashMap<Topic, Known> {
        let lasting =
            |known: &Known| !known.topic.partitions.is_empty() && now.saturating_duration_since(known.since) < keep;
        self.topics.iter().filter(|(_, known)| lasting(known)).map(|(n, known)| (n.clone(), known.clone())).collect()
    }

    /// A topic that was asked for by its id, and that the broker does not know, comes without a name.
    fn name_of(&self, said: &MetadataResponseTopic) -> Option<Topic> {
        match said.name.as_ref().filter(|name| !name.is_empty()) {
            Some(name) => {
                Some(self.topics.get_key_value(name.as_str()).map_or_else(|| name.into(), |(k, _)| k.clone()))
            }
            None => self.names.get(&said.topic_id).cloned(),
        }
    }
}

impl TopicMetadata {
    pub fn partition(&self, partition: i32) -> Option<&PartitionMetadata> {
        let at = self.partitions.binary_search_by_key(&partition, |it| it.partition).ok()?;
        self.partitions.get(at)
    }

    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }
}

fn broker(said: &MetadataResponseBroker) -> Option<Broker> {
    let port = u16::try_from(said.port).ok()?;
    let rack = said.rack.as_ref().map(ToString::to_string);
    Some(Broker { id: said.node_id, address: Address::new(said.host.as_str(), port), rack })
}

fn merged_topic(known: Option<&TopicMetadata>, said: MetadataResponseTopic) -> TopicMetadata {
    let id = Some(said.topic_id).filter(|id| *id != TopicId::default());
    let error = said_error(said.error_code);
    // An id on one side only comes from brokers of different versions, and does not say that the topic is another one.
    let same = known.filter(|known| known.id.is_none() || id.is_none() || known.id == id);
    if let (Some(same), Some(error)) = (same, error)
        && said.partitions.is_empty()
        && error.is_retriable()
        && error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    {
        return TopicMetadata { error: Some(error), ..same.clone() };
    }
    let mut partitions: Vec<_> = said.partitions.into_iter().map(|it| merged_partition(same, it)).collect();
    partitions.sort_unstable_by_key(|it| it.partition);
    TopicMetadata { id, is_internal: said.is_internal, error, partitions }
}

fn merged_partition(same: Option<&TopicMetadata>, said: MetadataResponsePartition) -> PartitionMetadata {
    let leader_epoch = Some(said.leader_epoch).filter(|epoch| *epoch >= 0);
    let known = same.and_then(|topic| topic.partition(said.partition_index));
    if let Some(known) = known
        && leader_epoch.is_some()
        && leader_epoch < known.leader_epoch
    {
        return known.clone();
    }
    PartitionMetadata {
        partition: said.partition_index,
        leader: Some(said.leader_id).filter(|id| *id >= 0),
        leader_epoch,
        replicas: said.replica_nodes,
        in_sync_replicas: said.isr_nodes,
        offline_replicas: said.offline_replicas,
        error: said_error(said.error_code),
    }
}

fn said_error(code: i16) -> Option<ErrorCode> {
    Some(ErrorCode(code)).filter(|code| !code.is_ok())
}
