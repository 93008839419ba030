//! OffsetDelete (47): committed offsets of topics that nobody in the group reads (KIP-496).

use super::Call;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
use crate::protocol::types::Topic;

pub fn serve(state: &mut State, call: &Call, request: OffsetDeleteRequest) -> Answer {
    match delete(state, call, &request) {
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            let topics = request.topics.into_iter().map(|topic| answer(topic, &mut outcomes)).collect();
            OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() }.into()
        }
        Err(error) => OffsetDeleteResponse { error_code: error.into(), ..OffsetDeleteResponse::default() }.into(),
    }
}

fn answer(
    topic: OffsetDeleteRequestTopic,
    outcomes: &mut impl Iterator<Item = Result<(), ErrorCode>>,
) -> OffsetDeleteResponseTopic {
    let partitions = topic.partitions.iter().zip(outcomes).map(|(partition, outcome)| OffsetDeleteResponsePartition {
        partition_index: partition.partition_index,
        error_code: outcome.err().unwrap_or(ErrorCode::NONE).into(),
    });
    OffsetDeleteResponseTopic { name: topic.name, partitions: partitions.collect() }
}

/// One outcome for each partition, in order.
fn delete(
    state: &mut State,
    call: &Call,
    request: &OffsetDeleteRequest,
) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
    if !groups::is_coordinator(state, call, &request.group_id) {
        return Err(ErrorCode::NOT_COORDINATOR);
    }
    let of_topic = |topic: &OffsetDeleteRequestTopic| {
        let name = Topic::from(&topic.name);
        topic.partitions.iter().map(|partition| (name.clone(), partition.partition_index)).collect::<Vec<_>>()
    };
    let partitions: Vec<(Topic, i32)> = request.topics.iter().flat_map(of_topic).collect();
    let unknown = |(topic, partition): &(Topic, i32)| {
        let known = state.topics.get(topic).and_then(|topic| topic.partition(*partition)).is_some();
        if known { Ok(()) } else { Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) }
    };
    let known: Vec<Result<(), ErrorCode>> = partitions.iter().map(unknown).collect();
    let decided = state.groups.coordinator.delete_offsets(&request.group_id, &partitions)?;
    let decided: Vec<_> = known.into_iter().zip(decided).map(|(known, decided)| known.and(decided)).collect();
    let entries: Vec<_> = decided.iter().flatten().flatten().cloned().collect();
    groups::change(state, &entries)?;
    Ok(decided.into_iter().map(|outcome| outcome.map(drop)).collect())
}
