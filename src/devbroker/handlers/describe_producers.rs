//! DescribeProducers (API 61, KIP-664).

use super::Call;
use crate::devbroker::producers::Producer;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    DescribeProducersPartitionResponse, DescribeProducersRequest, DescribeProducersResponse,
    DescribeProducersTopicResponse, ProducerState,
};

pub fn serve(state: &mut State, call: &Call, request: &DescribeProducersRequest) -> Answer {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let row = |index: &i32| {
            let mut row = DescribeProducersPartitionResponse { partition_index: *index, ..Default::default() };
            match one(state, call, &topic.name, *index) {
                Ok(producers) => row.active_producers = producers,
                Err(error) => row.error_code = error.into(),
            }
            row
        };
        let partitions = topic.partition_indexes.iter().map(row).collect();
        topics.push(DescribeProducersTopicResponse { name: topic.name.clone(), partitions });
    }
    DescribeProducersResponse { topics, ..DescribeProducersResponse::default() }.into()
}

fn one(state: &State, call: &Call, topic: &str, index: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    let topic = state.topics.get(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic.partition(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    partition.check_leader(call.broker, None)?;
    let row = |(id, producer): (i64, &Producer)| ProducerState {
        producer_id: id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: producer.last_sequence().unwrap_or(-1),
        last_timestamp: producer.seen_ms,
        coordinator_epoch: producer.coordinator_epoch.unwrap_or(-1),
        current_txn_start_offset: producer.open_since.unwrap_or(-1),
    };
    Ok(partition.producers.iter().map(row).collect())
}
