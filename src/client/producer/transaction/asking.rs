//! The machine's questions as requests, and what was answered.

use std::sync::Arc;

use super::machine::{Close, Question, Reply};
use super::{GroupMetadata, GroupOffsets};
use crate::client::Error;
use crate::client::cluster::{Cluster, To};
use crate::client::lane::Lane;
use crate::client::producer::line::Identity;
use crate::client::producer::shared::Shared;
use crate::client::time::milliseconds;
use crate::protocol::api::{Api, Body};
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
    EndTxnRequest, InitProducerIdRequest, TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
};
use crate::protocol::types::{Str, TopicPartition};

/// The first version of TxnOffsetCommit that says who commits (KIP-447).
const MEMBER_SINCE: i16 = 3;

/// Asks once.
pub async fn ask(shared: &Shared, question: &Question) -> Result<Reply, Error> {
    let id = shared.config.transactional_id.as_deref().unwrap_or_default();
    let asking = Asking { shared, cluster: &shared.cluster, id };
    match question {
        Question::Init(identity) => asking.init(*identity).await,
        Question::AddPartitions(identity, partitions) => asking.add_partitions(*identity, partitions).await,
        Question::AddGroup(identity, group) => asking.add_group(*identity, group).await,
        Question::CommitOffsets(identity, offsets) => asking.commit_offsets(*identity, offsets).await,
        Question::End(identity, close) => asking.end(*identity, *close).await,
    }
}

struct Asking<'a> {
    shared: &'a Shared,
    cluster: &'a Cluster,
    id: &'a str,
}

impl Asking<'_> {
    /// Asks the transaction's coordinator.
    async fn coordinator<R: Api>(&self, request: R) -> Result<R::Response, Error> {
        let to = To::TransactionCoordinator(self.id);
        let answer = self.cluster.call(to, Lane::General, request, self.shared.config.request_timeout).await;
        Ok(answer?.body)
    }

    /// What the coordinator said. If it is not the coordinator, the next question asks who is.
    fn verdict<R: Api>(&self, code: i16) -> Result<(), Error> {
        ErrorCode(code).ok().map_err(|code| {
            if code.class() == Class::FindCoordinator {
                self.cluster.forget_transaction_coordinator(self.id);
            }
            Error::broker(code).of(R::NAME)
        })
    }

    async fn init(&self, known: Option<Identity>) -> Result<Reply, Error> {
        let none = InitProducerIdRequest::default();
        let request = InitProducerIdRequest {
            transactional_id: Some(self.id.into()),
            transaction_timeout_ms: milliseconds(self.shared.config.transaction_timeout),
            producer_id: known.map_or(none.producer_id, |known| known.producer_id),
            producer_epoch: known.map_or(none.producer_epoch, |known| known.epoch),
            ..none
        };
        let answer = self.coordinator(request).await?;
        self.verdict::<InitProducerIdRequest>(answer.error_code)?;
        let identity = Identity { producer_id: answer.producer_id, epoch: answer.producer_epoch };
        let coordinator = self.cluster.transaction_coordinator(self.id).await?;
        let offers = self.cluster.capabilities(coordinator, Lane::General).await?;
        Ok(Reply::Identified { identity, speaks_v2: offers.has_transactions_v2() })
    }

    async fn add_partitions(&self, identity: Identity, partitions: &[TopicPartition]) -> Result<Reply, Error> {
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.id.into(),
            v3_and_below_producer_id: identity.producer_id,
            v3_and_below_producer_epoch: identity.epoch,
            v3_and_below_topics: topics(partitions),
            ..Default::default()
        };
        let answer = self.coordinator(request).await?;
        let Some((of, code)) = refused_partition(&answer) else { return Ok(Reply::Done) };
        self.verdict::<AddPartitionsToTxnRequest>(code).map_err(|error| error.at(of))?;
        Ok(Reply::Done)
    }

    async fn add_group(&self, identity: Identity, group: &Str) -> Result<Reply, Error> {
        let request = AddOffsetsToTxnRequest {
            transactional_id: self.id.into(),
            producer_id: identity.producer_id,
            producer_epoch: identity.epoch,
            group_id: group.clone(),
        };
        let answer = self.coordinator(request).await?;
        self.verdict::<AddOffsetsToTxnRequest>(answer.error_code).map(|()| Reply::Done)
    }

    async fn commit_offsets(&self, identity: Identity, offsets: &Arc<GroupOffsets>) -> Result<Reply, Error> {
        let (id, all) = (Str::from(self.id), Arc::clone(offsets));
        let make = move |version| txn_offset_commit(id, identity, &all, version);
        let group: &str = &offsets.group.group_id;
        let limit = self.shared.config.request_timeout;
        let asked =
            self.cluster.call_with::<TxnOffsetCommitRequest>(To::GroupCoordinator(group), Lane::General, make, limit);
        let Some((of, code)) = refused_offset(&asked.await?.body) else {
            return match offsets.group.holding.is_cancelled() {
                true => Err(Error::broker(ErrorCode::ILLEGAL_GENERATION).of(TxnOffsetCommitRequest::NAME)),
                false => Ok(Reply::Done),
            };
        };
        // A coordinator that could not write in time may have lost its place, as Java has it.
        if code.class() == Class::FindCoordinator || code == ErrorCode::REQUEST_TIMED_OUT {
            self.cluster.forget_coordinator(group);
        }
        Err(Error::broker(code).of(TxnOffsetCommitRequest::NAME).at(of))
    }

    async fn end(&self, identity: Identity, close: Close) -> Result<Reply, Error> {
        let request = EndTxnRequest {
            transactional_id: self.id.into(),
            producer_id: identity.producer_id,
            producer_epoch: identity.epoch,
            committed: close == Close::Commit,
        };
        let answer = self.coordinator(request).await?;
        self.verdict::<EndTxnRequest>(answer.error_code)?;
        let next = Identity { producer_id: answer.producer_id, epoch: answer.producer_epoch };
        Ok(Reply::Ended((next.producer_id >= 0 && next.epoch >= 0).then_some(next)))
    }
}

/// Partitions by topic; those of a topic follow each other.
fn topics(partitions: &[TopicPartition]) -> Vec<AddPartitionsToTxnTopic> {
    let by_topic = partitions.chunk_by(|a, b| a.topic == b.topic);
    let topic = |all: &[TopicPartition]| AddPartitionsToTxnTopic {
        name: Str::from(&all[0].topic),
        partitions: all.iter().map(|of| of.partition).collect(),
    };
    by_topic.map(topic).collect()
}

/// The first partition that was refused; one that was only not attempted says less than the one for whose sake it was not.
fn refused_partition(answer: &AddPartitionsToTxnResponse) -> Option<(TopicPartition, i16)> {
    let each = answer.results_by_topic_v3_and_below.iter().flat_map(|topic| {
        topic.results_by_partition.iter().map(|it| (&topic.name, it.partition_index, it.partition_error_code))
    });
    let refused = each.filter(|(_, _, code)| *code != 0);
    let first = refused.min_by_key(|(_, _, code)| ErrorCode(*code) == ErrorCode::OPERATION_NOT_ATTEMPTED)?;
    Some((TopicPartition::new(first.0, first.1), first.2))
}

fn txn_offset_commit(id: Str, identity: Identity, offsets: &GroupOffsets, version: i16) -> TxnOffsetCommitRequest {
    let GroupMetadata { group_id, member, instance_id, .. } = &offsets.group;
    let mut request = TxnOffsetCommitRequest {
        transactional_id: id,
        group_id: group_id.clone(),
        producer_id: identity.producer_id,
        producer_epoch: identity.epoch,
        ..Default::default()
    };
    if version >= MEMBER_SINCE {
        if let Some((member_id, generation)) = member {
            (request.member_id, request.generation_id_or_member_epoch) = (member_id.clone(), *generation);
        }
        request.group_instance_id = instance_id.clone();
    }
    for position in &offsets.positions {
        let name = Str::from(&position.topic_partition.topic);
        let partition = TxnOffsetCommitRequestPartition {
            partition_index: position.topic_partition.partition,
            committed_offset: position.offset,
            committed_leader_epoch: position.leader_epoch.unwrap_or(-1),
            ..Default::default()
        };
        match request.topics.iter_mut().find(|topic| topic.name == name) {
            Some(topic) => topic.partitions.push(partition),
            None => request.topics.push(TxnOffsetCommitRequestTopic {
                name,
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    request
}

fn refused_offset(answer: &TxnOffsetCommitResponse) -> Option<(TopicPartition, ErrorCode)> {
    let mut each = answer.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |it| (&topic.name, it)));
    let (name, refused) = each.find(|(_, it)| it.error_code != 0)?;
    Some((TopicPartition::new(name, refused.partition_index), ErrorCode(refused.error_code)))
}
