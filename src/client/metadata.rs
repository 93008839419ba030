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

use crate::net::Address;
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

    /// When a broker last said anything of the topic.
    pub fn said_at(&self, topic: &str) -> Option<Instant> {
        self.topics.get(topic).map(|known| known.since)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{cluster, topic};

    const KEEP: Duration = Duration::from_secs(900);

    fn learned(known: &Metadata, topics: Vec<MetadataResponseTopic>) -> Metadata {
        known.merged(cluster(&[1, 2, 3], topics), false, Instant::now(), KEEP)
    }

    fn with_id(topic: MetadataResponseTopic, id: u8) -> MetadataResponseTopic {
        MetadataResponseTopic { topic_id: crate::protocol::types::Uuid([id; 16]), ..topic }
    }

    fn led(known: &Metadata, topic: &str) -> Vec<Option<(BrokerId, Option<LeaderEpoch>)>> {
        let name = Topic::from(topic);
        known.partitions_of(&name).map(|of| known.leader(&of).map(|it| (it.broker, it.epoch))).collect()
    }

    #[test]
    fn a_leader_never_goes_back_to_an_older_epoch_of_the_same_topic() {
        let check = |first, second, leader: Option<(BrokerId, Option<LeaderEpoch>)>| {
            let known = learned(&learned(&Metadata::default(), vec![first]), vec![second]);
            assert_eq!(led(&known, "t"), [leader]);
        };
        let t = |leader, epoch| topic("t", &[(leader, epoch)]);
        check(t(1, 5), t(2, 6), Some((2, Some(6))));
        check(t(1, 5), t(2, 5), Some((2, Some(5))));
        check(t(1, 5), t(2, 4), Some((1, Some(5))));
        // The old leader is gone, and there is no new one yet.
        check(t(1, 5), t(-1, 6), None);
        // An older broker says no epochs: what it says is all there is.
        check(t(1, 5), t(2, -1), Some((2, None)));
        // Deleted and made again: its epochs begin anew (KIP-516).
        check(with_id(t(1, 5), 1), with_id(t(2, 0), 2), Some((2, Some(0))));
        check(with_id(t(1, 5), 1), with_id(t(2, 0), 1), Some((1, Some(5))));
    }

    #[test]
    fn what_is_said_of_some_topics_leaves_the_others_until_they_are_old() {
        let now = Instant::now();
        let known = Metadata::default().merged(cluster(&[1], vec![topic("a", &[(1, 0)])]), true, now, KEEP);
        let names = |known: &Metadata| {
            let mut names: Vec<_> = known.topics().map(|(name, _)| name.to_string()).collect();
            names.sort();
            names
        };
        let both = known.merged(cluster(&[1], vec![topic("b", &[(1, 0)])]), false, now + KEEP / 2, KEEP);
        assert_eq!(names(&both), ["a", "b"]);
        let aged = both.merged(cluster(&[1], vec![]), false, now + KEEP, KEEP);
        assert_eq!(names(&aged), ["b"]);
        let all = both.merged(cluster(&[1], vec![topic("c", &[(1, 0)])]), true, now, KEEP);
        assert_eq!(names(&all), ["c"]);
    }

    #[test]
    fn a_topic_in_trouble_keeps_what_was_known_and_one_that_is_gone_does_not() {
        let said = |code: ErrorCode| MetadataResponseTopic { error_code: code.0, ..topic("t", &[]) };
        let known = learned(&Metadata::default(), vec![with_id(topic("t", &[(1, 5)]), 1)]);
        let troubled = learned(&known, vec![said(ErrorCode::LEADER_NOT_AVAILABLE)]);
        assert_eq!(led(&troubled, "t"), [Some((1, Some(5)))]);
        assert_eq!(troubled.topic("t").and_then(|it| it.error), Some(ErrorCode::LEADER_NOT_AVAILABLE));
        let gone = learned(&known, vec![said(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)]);
        assert_eq!((gone.partition_count("t"), gone.topic_id("t")), (None, None));
        assert_eq!(gone.topic("t").and_then(|it| it.error), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        // Nobody asks any more: not even the error is kept.
        assert!(learned(&gone, vec![]).topic("t").is_none());
    }

    #[test]
    fn topics_are_found_by_id_and_partitions_by_number() {
        let mut shuffled = with_id(topic("t", &[(1, 0), (2, 0), (3, 0)]), 7);
        shuffled.partitions.reverse();
        let known = learned(&Metadata::default(), vec![shuffled]);
        let id = crate::protocol::types::Uuid([7; 16]);
        assert_eq!((known.topic_id("t"), known.topic_name(&id)), (Some(id), Some(&Topic::from("t"))));
        assert_eq!(led(&known, "t"), [Some((1, Some(0))), Some((2, Some(0))), Some((3, Some(0)))]);
        assert_eq!(known.partition_count("t"), Some(3));
        assert!(known.partition(&TopicPartition::new("t", 3)).is_none());
    }

    #[test]
    fn a_leader_that_another_answer_names_is_news_only_if_it_is_newer_and_reachable() {
        let known = learned(&Metadata::default(), vec![topic("t", &[(1, 5)])]);
        let of = TopicPartition::new("t", 0);
        let hint = |broker, epoch| known.with_leader(&of, Leader { broker, epoch }).map(|next| led(&next, "t"));
        assert_eq!(hint(2, Some(6)), Some(vec![Some((2, Some(6)))]));
        assert_eq!(hint(2, Some(5)), None);
        assert_eq!(hint(9, Some(6)), None);
        assert_eq!(hint(2, None), None);
    }
}
