//! Metadata (API 3): brokers, topics, leaders; and the creation of topics that are asked for, if the config allows it.

use super::create_topics::{self, Plan};
use super::{Call, broker_operations, topic_operations};
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::topics::{Partition, TopicState};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use crate::protocol::types::{Str, Uuid};

pub fn serve(state: &mut State, call: &Call, request: MetadataRequest) -> Answer {
    let creates = state.config.auto_create_topics && (request.allow_auto_topic_creation || call.version < 4);
    let all = request.topics.is_none() || (call.version == 0 && request.topics.as_ref().is_some_and(Vec::is_empty));
    let mut topics: Vec<MetadataResponseTopic> = if all {
        state.topics.iter().map(describe).collect()
    } else {
        let asked = request.topics.unwrap_or_default();
        asked.into_iter().map(|topic| one(state, call, topic, creates)).collect()
    };
    if request.include_topic_authorized_operations {
        topics
            .iter_mut()
            .filter(|it| it.error_code == 0)
            .for_each(|it| it.topic_authorized_operations = topic_operations());
    }
    let asks_operations = request.include_cluster_authorized_operations;
    MetadataResponse {
        brokers: brokers(state, call),
        cluster_id: Some(state.cluster_id.clone()),
        controller_id: state.controller(),
        topics,
        cluster_authorized_operations: if asks_operations { broker_operations() } else { i32::MIN },
        ..MetadataResponse::default()
    }
    .into()
}

fn brokers(state: &State, call: &Call) -> Vec<MetadataResponseBroker> {
    let row = |broker: &crate::devbroker::state::Broker| MetadataResponseBroker {
        node_id: broker.id,
        host: broker.host_for(call),
        port: i32::from(broker.port),
        rack: broker.rack.clone(),
    };
    state.brokers.iter().map(row).collect()
}

fn one(state: &mut State, call: &Call, asked: MetadataRequestTopic, creates: bool) -> MetadataResponseTopic {
    if asked.topic_id != Uuid::ZERO {
        return match state.topics.by_id(asked.topic_id) {
            Some(topic) => describe(topic),
            None => unknown(ErrorCode::UNKNOWN_TOPIC_ID, asked.name.filter(|_| call.version < 12), asked.topic_id),
        };
    }
    let name = asked.name.unwrap_or_default();
    if let Some(topic) = state.topics.get(&name) {
        return describe(topic);
    }
    let error = match create_topics::name_objection(state, &name) {
        Some(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        None if creates => create(state, &name),
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    };
    unknown(error, Some(name), Uuid::ZERO)
}

/// Creates a topic that was asked for. The client is told UNKNOWN_TOPIC_OR_PARTITION, as by Kafka 4, and asks again.
fn create(state: &mut State, name: &Str) -> ErrorCode {
    let partitions = state.config.default_partitions;
    match Plan::spread(state, partitions, 1).and_then(|plan| create_topics::create(state, name, plan)) {
        Ok(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Err(refused) => refused.error,
    }
}

fn unknown(error: ErrorCode, name: Option<Str>, topic_id: Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic { error_code: error.into(), name, topic_id, ..MetadataResponseTopic::default() }
}

fn describe(topic: &TopicState) -> MetadataResponseTopic {
    let partition = |(index, it): (usize, &Partition)| MetadataResponsePartition {
        partition_index: index as i32,
        leader_id: it.leader,
        leader_epoch: it.leader_epoch,
        replica_nodes: it.replicas.clone(),
        isr_nodes: it.replicas.clone(),
        ..MetadataResponsePartition::default()
    };
    MetadataResponseTopic {
        name: Some(Str::from(&topic.name)),
        topic_id: topic.id,
        partitions: topic.partitions.iter().enumerate().map(partition).collect(),
        ..MetadataResponseTopic::default()
    }
}
