//! WriteTxnMarkers (API 27): the end of a transaction on partitions that are led here, by the word of somebody else than our
//! coordinator (KIP-664), whom it does not ask.

use super::Call;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::transactions;
use crate::protocol::batch::{ControlType, Marker};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopic,
    WritableTxnMarkerTopicResult, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

/// From this one on, an end has an epoch of its own (KIP-890).
const SECOND_PROTOCOL: i8 = 2;

pub fn serve(state: &mut State, call: &Call, request: &WriteTxnMarkersRequest) -> Answer {
    let mut markers = Vec::with_capacity(request.markers.len());
    for asked in &request.markers {
        let topics = asked.topics.iter().map(|topic| row(state, call, asked, topic)).collect();
        markers.push(WritableTxnMarkerResult { producer_id: asked.producer_id, topics });
    }
    WriteTxnMarkersResponse { markers }.into()
}

fn row(
    state: &mut State,
    call: &Call,
    asked: &WritableTxnMarker,
    topic: &WritableTxnMarkerTopic,
) -> WritableTxnMarkerTopicResult {
    let mut partition = |index: &i32| {
        let outcome = write(state, call, asked, &topic.name, *index);
        let error_code = outcome.err().unwrap_or(ErrorCode::NONE).into();
        WritableTxnMarkerPartitionResult { partition_index: *index, error_code }
    };
    let partitions = topic.partition_indexes.iter().map(&mut partition).collect();
    WritableTxnMarkerTopicResult { name: topic.name.clone(), partitions }
}

fn write(state: &mut State, call: &Call, asked: &WritableTxnMarker, topic: &str, index: i32) -> Result<(), ErrorCode> {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let topic = state.topics.get(topic).ok_or(unknown)?;
    let partition = topic.partition(index).ok_or(unknown)?;
    partition.check_leader(call.broker, None)?;
    let marker = Marker {
        control_type: if asked.transaction_result { ControlType::Commit } else { ControlType::Abort },
        producer_id: asked.producer_id,
        producer_epoch: asked.producer_epoch,
        coordinator_epoch: asked.coordinator_epoch,
        timestamp_ms: call.now.unix_ms,
    };
    partition.producers.check_end(&marker, asked.transaction_version >= SECOND_PROTOCOL)?;
    let id = topic.id;
    transactions::append_marker(state, call.now, (id, index), &marker)
}
