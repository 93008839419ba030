//! OffsetFetch (9). One group until v7, many from v8 on (KIP-709); topics by id from v10 on (KIP-848). No list of topics
//! means all of them. `require_stable` asks for no offset that an open transaction may yet replace (KIP-447).

use super::Call;
use crate::devbroker::group::{Committed, Offsets};
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::protocol::types::{Str, Uuid};

pub fn serve(state: &State, call: &Call, request: OffsetFetchRequest) -> Answer {
    let stable = request.require_stable;
    if call.version >= 8 {
        let groups = request.groups.into_iter().map(|group| fetch(state, call, group, stable)).collect();
        return OffsetFetchResponse { groups, ..OffsetFetchResponse::default() }.into();
    }
    let group = fetch(state, call, widen(request), stable);
    OffsetFetchResponse {
        topics: group.topics.into_iter().map(|topic| narrow(topic, group.error_code)).collect(),
        error_code: group.error_code,
        ..OffsetFetchResponse::default()
    }
    .into()
}

/// A request for one group, in the words of those for many.
fn widen(request: OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let widen = |topic: OffsetFetchRequestTopic| OffsetFetchRequestTopics {
        name: topic.name,
        partition_indexes: topic.partition_indexes,
        ..OffsetFetchRequestTopics::default()
    };
    let topics = request.topics.map(|topics| topics.into_iter().map(widen).collect());
    OffsetFetchRequestGroup { group_id: request.group_id, topics, ..OffsetFetchRequestGroup::default() }
}

/// Before v2 an error of the whole request has no place but its partitions.
fn narrow(topic: OffsetFetchResponseTopics, error_code: i16) -> OffsetFetchResponseTopic {
    let narrow = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: if error_code == 0 { partition.error_code } else { error_code },
    };
    OffsetFetchResponseTopic { name: topic.name, partitions: topic.partitions.into_iter().map(narrow).collect() }
}

fn fetch(state: &State, call: &Call, request: OffsetFetchRequestGroup, stable: bool) -> OffsetFetchResponseGroup {
    let group_id = request.group_id;
    if !groups::is_coordinator(state, call, &group_id) {
        let nothing = |topic| listed(topic, |_, _| absent(ErrorCode::NOT_COORDINATOR));
        let topics = if call.version < 2 { request.topics.unwrap_or_default() } else { Vec::new() };
        let topics = topics.into_iter().map(nothing).collect();
        return OffsetFetchResponseGroup { group_id, topics, error_code: ErrorCode::NOT_COORDINATOR.into() };
    }
    let member = request.member_id.as_deref();
    if let Err(error) = state.groups.coordinator.admit_fetch(&group_id, member, request.member_epoch) {
        return OffsetFetchResponseGroup { group_id, error_code: error.into(), ..OffsetFetchResponseGroup::default() };
    }
    let topics = match request.topics {
        None => all(state, call.version, &group_id),
        Some(topics) => topics.into_iter().map(|topic| some(state, call.version, &group_id, topic)).collect(),
    };
    let mut found = OffsetFetchResponseGroup { group_id, topics, ..OffsetFetchResponseGroup::default() };
    if stable {
        withhold_unstable(state, &mut found);
    }
    found
}

/// Takes back what is said of partitions whose offset is not decided.
fn withhold_unstable(state: &State, group: &mut OffsetFetchResponseGroup) {
    for topic in &mut group.topics {
        for partition in topic.partitions.iter_mut().filter(|partition| partition.error_code == 0) {
            let index = partition.partition_index;
            if state.transactions.coordinator.is_unstable(&group.group_id, &topic.name, index) {
                let nothing = absent(ErrorCode::UNSTABLE_OFFSET_COMMIT);
                *partition = OffsetFetchResponsePartitions { partition_index: index, ..nothing };
            }
        }
    }
}

fn all(state: &State, version: i16, group_id: &str) -> Vec<OffsetFetchResponseTopics> {
    let offsets = state.groups.coordinator.offsets(group_id).into_iter();
    let topics = offsets.flat_map(Offsets::topics).filter_map(|(topic, partitions)| {
        let topic_id = state.topics.get(topic).map(|known| known.id);
        // From v10 on a topic that has no id cannot be named.
        let topic_id = if version >= 10 { topic_id? } else { topic_id.unwrap_or(Uuid::ZERO) };
        let partitions = partitions.iter().map(|(index, committed)| present(*index, committed));
        Some(OffsetFetchResponseTopics { name: Str::from(topic), topic_id, partitions: partitions.collect() })
    });
    topics.collect()
}

fn some(state: &State, version: i16, group_id: &str, mut topic: OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
    if version >= 10 {
        let Some(known) = state.topics.by_id(topic.topic_id) else {
            return listed(topic, |_, _| absent(ErrorCode::UNKNOWN_TOPIC_ID));
        };
        topic.name = Str::from(&known.name);
    }
    let offsets = state.groups.coordinator.offsets(group_id);
    listed(topic, |name, index| match offsets.and_then(|offsets| offsets.get(name, index)) {
        Some(committed) => present(index, committed),
        None => absent(ErrorCode::NONE),
    })
}

fn listed(
    topic: OffsetFetchRequestTopics,
    partition: impl Fn(&str, i32) -> OffsetFetchResponsePartitions,
) -> OffsetFetchResponseTopics {
    let OffsetFetchRequestTopics { name, topic_id, partition_indexes } = topic;
    let partition = |index| OffsetFetchResponsePartitions { partition_index: index, ..partition(&name, index) };
    let partitions = partition_indexes.into_iter().map(partition).collect();
    OffsetFetchResponseTopics { name, topic_id, partitions }
}

fn present(partition_index: i32, committed: &Committed) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.offset,
        committed_leader_epoch: committed.leader_epoch.unwrap_or(-1),
        metadata: Some(Str::from(&*committed.metadata)),
        error_code: ErrorCode::NONE.into(),
    }
}

/// The wire's way of saying that nothing was committed.
fn absent(error: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        committed_offset: -1,
        error_code: error.into(),
        ..OffsetFetchResponsePartitions::default()
    }
}
