//! OffsetForLeaderEpoch (API 23): where an epoch ended (KIP-101, KIP-320), so that a client can see that it read what
//! was later cut off.

use super::Call;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    OffsetForLeaderEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};
use crate::protocol::types::{LeaderEpoch, Offset};

pub fn serve(state: &mut State, call: &Call, request: &OffsetForLeaderEpochRequest) -> Answer {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let row = |asked: &OffsetForLeaderPartition| {
            let mut row =
                OffsetForLeaderEndOffset { partition: asked.partition, ..OffsetForLeaderEndOffset::default() };
            match one(state, call, &topic.topic, asked) {
                Ok(Some((epoch, end))) => (row.leader_epoch, row.end_offset) = (epoch, end),
                Ok(None) => {}
                Err(error) => row.error_code = error.into(),
            }
            row
        };
        let partitions = topic.partitions.iter().map(row).collect();
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic.clone(), partitions });
    }
    OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() }.into()
}

fn one(
    state: &State,
    call: &Call,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    let topic = state.topics.get(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic.partition(asked.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let epoch = asked.current_leader_epoch;
    partition.check_leader(call.broker, (epoch >= 0).then_some(epoch))?;
    Ok(partition.log.epoch_end(asked.leader_epoch, partition.leader_epoch))
}
