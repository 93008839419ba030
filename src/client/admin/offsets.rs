//! Where partitions begin and end (ListOffsets), with one request to each leader.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;

use super::{Admin, Round, all_failed, by, passes, unanswered};
use crate::client::cluster::{To, Topics, leaderless};
use crate::client::error::{Error, ErrorKind};
use crate::client::lane::Lane;
use crate::client::metadata::{Leader, Metadata};
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use crate::protocol::types::{BrokerId, LeaderEpoch, Offset, Str, Topic, TopicPartition};

/// The most partitions in one request: about a megabyte of answer, and more than a broker should lead.
pub const PARTITIONS_MAX: usize = 50_000;

/// Which offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OffsetSpec {
    /// The first that may be read.
    Earliest,
    /// The one after the last that may be read, under the isolation level.
    Latest,
    /// That of the record with the greatest timestamp (KIP-734).
    MaxTimestamp,
    /// That of the first record at or after this time, in milliseconds.
    At(i64),
}

/// Which records may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IsolationLevel {
    #[default]
    ReadUncommitted,
    /// Only below the last stable offset: none of a transaction that is undecided (KIP-98).
    ReadCommitted,
}

/// An offset that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// `None` when no record is that late.
    pub offset: Option<Offset>,
    /// The record's, where one was looked for.
    pub timestamp_ms: Option<i64>,
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Partitions of one leader.
pub(super) type Led = Vec<(TopicPartition, Leader)>;

impl OffsetSpec {
    fn on_the_wire(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::At(time) => time.max(0),
        }
    }

    fn since_version(self) -> i16 {
        match self {
            Self::MaxTimestamp => 7,
            _ => 1,
        }
    }
}

impl IsolationLevel {
    /// As requests say it.
    pub fn on_the_wire(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

impl Admin {
    /// The offsets of partitions, each or the reason why not. One request to each leader, of at most
    /// [`PARTITIONS_MAX`] partitions, all at the same time; what is led elsewhere by now is asked of its new leader.
    pub async fn list_offsets(
        &self,
        spec: OffsetSpec,
        partitions: &[TopicPartition],
        isolation: IsolationLevel,
    ) -> Result<HashMap<TopicPartition, Result<ListedOffset, Error>>, Error> {
        let ask = |open, round| {
            self.of_leaders(open, round, move |leader, led| self.ask_leader(spec, isolation, leader, led, round))
        };
        Ok(self.settle(partitions.to_vec(), passes, ask).await)
    }

    /// Asks the leaders of partitions, all at the same time and each once for at most [`PARTITIONS_MAX`] of them.
    pub(super) async fn of_leaders<V, F, A>(
        &self,
        open: Vec<TopicPartition>,
        round: Round,
        ask: F,
    ) -> Vec<(TopicPartition, Result<V, Error>)>
    where
        F: Fn(BrokerId, Led) -> A,
        A: Future<Output = Vec<(TopicPartition, Result<V, Error>)>>,
    {
        let known = match self.known_for(&open, round).await {
            Ok(known) => known,
            Err(error) => return all_failed(open, &error),
        };
        let mut answers = Vec::with_capacity(open.len());
        let mut led = Vec::with_capacity(open.len());
        for partition in open {
            match known.leader(&partition) {
                Some(leader) => led.push((leader.broker, (partition, leader))),
                None => answers.push((partition.clone(), Err(leaderless(&known, &partition)))),
            }
        }
        let by_leader = by(led);
        let asked = by_leader.iter().flat_map(|(leader, of)| of.chunks(PARTITIONS_MAX).map(|chunk| (*leader, chunk)));
        let asked = asked.map(|(leader, chunk)| ask(leader, chunk.to_vec()));
        answers.extend(join_all(asked).await.into_iter().flatten());
        answers
    }

    /// What is known, learned anew for topics that are not, and for all in a further round.
    async fn known_for(&self, open: &[TopicPartition], round: Round) -> Result<Arc<Metadata>, Error> {
        let known = self.cluster.metadata();
        let unknown = open.iter().filter(|it| round.is_again() || known.partition(it).is_none());
        let mut topics: Vec<&Topic> = unknown.map(|it| &it.topic).collect();
        topics.sort_unstable();
        topics.dedup();
        match topics.is_empty() {
            true => Ok(known),
            false => {
                let topics = topics.into_iter().cloned().collect();
                self.cluster.refresh_within(Topics::Once(topics), round.left()).await
            }
        }
    }

    async fn ask_leader(
        &self,
        spec: OffsetSpec,
        isolation: IsolationLevel,
        leader: BrokerId,
        of: Led,
        round: Round,
    ) -> Vec<(TopicPartition, Result<ListedOffset, Error>)> {
        let answered = match self.can_answer(spec, leader, round).await {
            Ok(()) => {
                let request = request(spec, isolation, &of);
                self.cluster.call(To::Broker(leader), Lane::General, request, round.left()).await
            }
            Err(error) => Err(error),
        };
        let partitions = of.into_iter().map(|(partition, _)| partition);
        match answered {
            Ok(answer) => said(&answer.body, partitions, |error| self.cluster.placed(leader, error)),
            Err(error) => all_failed(partitions, &error),
        }
    }

    /// An older broker takes a special offset that it does not know for a time.
    async fn can_answer(&self, spec: OffsetSpec, leader: BrokerId, round: Round) -> Result<(), Error> {
        if spec.since_version() > *ListOffsetsRequest::VERSIONS.start()
            && self.cluster.version_within::<ListOffsetsRequest>(leader, Lane::General, round.left()).await?
                < spec.since_version()
        {
            return Err(Error::new(ErrorKind::Unsupported).of(ListOffsetsRequest::NAME).by(Some(leader), None));
        }
        Ok(())
    }
}

fn request(spec: OffsetSpec, isolation: IsolationLevel, of: &[(TopicPartition, Leader)]) -> ListOffsetsRequest {
    let partition = |partition: i32, leader: &Leader| ListOffsetsPartition {
        partition_index: partition,
        current_leader_epoch: leader.epoch.unwrap_or(-1),
        timestamp: spec.on_the_wire(),
    };
    let by_topic = by(of.iter().map(|(it, leader)| (&it.topic, partition(it.partition, leader))));
    let topics =
        by_topic.into_iter().map(|(topic, partitions)| ListOffsetsTopic { name: Str::from(topic), partitions });
    ListOffsetsRequest {
        replica_id: -1,
        isolation_level: isolation.on_the_wire(),
        topics: topics.collect(),
        ..Default::default()
    }
}

fn said(
    answer: &ListOffsetsResponse,
    partitions: impl Iterator<Item = TopicPartition>,
    placed: impl Fn(Error) -> Error,
) -> Vec<(TopicPartition, Result<ListedOffset, Error>)> {
    let mut answered: HashMap<(&str, i32), &ListOffsetsPartitionResponse> = HashMap::new();
    for topic in &answer.topics {
        answered.extend(topic.partitions.iter().map(|it| ((&*topic.name, it.partition_index), it)));
    }
    let outcome = |of: &TopicPartition| match answered.get(&(&*of.topic, of.partition)) {
        Some(it) => listed(it).map_err(|error| error.at(of.clone())),
        None => Err(unanswered(of)),
    };
    let placed = |error: Error| placed(error.of(ListOffsetsRequest::NAME));
    partitions.map(|of| (of.clone(), outcome(&of).map_err(placed))).collect()
}

fn listed(it: &ListOffsetsPartitionResponse) -> Result<ListedOffset, Error> {
    ErrorCode(it.error_code).ok()?;
    Ok(ListedOffset {
        offset: Some(it.offset).filter(|offset| *offset >= 0),
        timestamp_ms: Some(it.timestamp).filter(|time| *time >= 0),
        leader_epoch: Some(it.leader_epoch).filter(|epoch| *epoch >= 0),
    })
}
