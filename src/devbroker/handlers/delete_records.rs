//! DeleteRecords (API 21): moves the start of a log; -1 means up to the high watermark (KIP-107).

use super::Call;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};
use crate::protocol::types::{Offset, Str};

pub fn serve(state: &mut State, call: &Call, request: &DeleteRecordsRequest) -> Answer {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let row = |asked: &DeleteRecordsPartition| {
            let (low_watermark, error_code) = match one(state, call, &topic.name, asked) {
                Ok(start) => (start, 0),
                Err(error) => (-1, error.into()),
            };
            DeleteRecordsPartitionResult { partition_index: asked.partition_index, low_watermark, error_code }
        };
        let partitions = topic.partitions.iter().map(row).collect();
        topics.push(DeleteRecordsTopicResult { name: topic.name.clone(), partitions });
    }
    DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }.into()
}

fn one(state: &mut State, call: &Call, name: &Str, asked: &DeleteRecordsPartition) -> Result<Offset, ErrorCode> {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let topic = state.topics.get_mut(name).ok_or(unknown)?;
    if topic.config.compacted && !topic.config.deleted {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    let partition = topic.partition_mut(asked.partition_index).ok_or(unknown)?;
    partition.check_leader(call.broker, None)?;
    let end = partition.log.high_watermark();
    let start = if asked.offset == -1 { end } else { asked.offset };
    if !(0..=end).contains(&start) {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    if let Err(error) = partition.log.move_start(start) {
        tracing::error!(topic = %name, partition = asked.partition_index, %error, "old segments could not be removed");
    }
    let start = partition.log.start();
    let entry = topic.entry();
    state.record(&[entry.into()])?;
    Ok(start)
}
