//! AlterShareGroupOffsets (91): from where a share group without members is to read; a group that was not there comes to be
//! (KIP-932).

use super::{Call, Refused};
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestTopic, AlterShareGroupOffsetsResponse,
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use crate::protocol::types::{Offset, TopicId};

const UNKNOWN: &str = "This server does not host this topic-partition.";

pub fn serve(state: &mut State, call: &Call, request: &AlterShareGroupOffsetsRequest) -> Answer {
    match alter(state, call, request) {
        Ok(()) => {
            let responses = request.topics.iter().map(|topic| answer(state, topic)).collect();
            AlterShareGroupOffsetsResponse { responses, ..Default::default() }.into()
        }
        Err(Refused { error, message }) => AlterShareGroupOffsetsResponse {
            error_code: error.into(),
            error_message: Some(message.into()),
            ..Default::default()
        }
        .into(),
    }
}

fn alter(state: &mut State, call: &Call, request: &AlterShareGroupOffsetsRequest) -> Result<(), Refused> {
    groups::may_keep_share(state, call, &request.group_id)?;
    let starts: Vec<_> = request.topics.iter().flat_map(|topic| known(state, topic)).collect();
    let entries = state.groups.coordinator.alter_share(&request.group_id, &starts)?;
    groups::change(state, &entries).map_err(|error| Refused::new(error, ""))
}

/// Those of a topic's partitions that there are.
fn known(state: &State, asked: &AlterShareGroupOffsetsRequestTopic) -> Vec<(TopicId, i32, Offset)> {
    let Some(topic) = state.topics.get(&asked.topic_name) else { return Vec::new() };
    let there = asked.partitions.iter().filter(|it| topic.partition(it.partition_index).is_some());
    there.map(|it| (topic.id, it.partition_index, it.start_offset)).collect()
}

fn answer(state: &State, asked: &AlterShareGroupOffsetsRequestTopic) -> AlterShareGroupOffsetsResponseTopic {
    let topic = state.topics.get(&asked.topic_name);
    let row = |partition_index: i32| {
        let is_known = topic.and_then(|topic| topic.partition(partition_index)).is_some();
        let unknown = AlterShareGroupOffsetsResponsePartition {
            partition_index,
            error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into(),
            error_message: Some(UNKNOWN.into()),
        };
        if is_known {
            AlterShareGroupOffsetsResponsePartition { partition_index, ..Default::default() }
        } else {
            unknown
        }
    };
    AlterShareGroupOffsetsResponseTopic {
        topic_name: asked.topic_name.clone(),
        topic_id: topic.map(|topic| topic.id).unwrap_or_default(),
        partitions: asked.partitions.iter().map(|it| row(it.partition_index)).collect(),
    }
}
