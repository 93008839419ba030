//! DescribeProducers (API 61): the producers that a partition's leader keeps in mind, to find transactions that hang
//! (KIP-664).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DescribeProducersRequest {
        topics: Vec<DescribeProducersTopicRequest>, 0..;
    }
}

message! {
    pub struct DescribeProducersTopicRequest {
        name: Str, 0..;
        partition_indexes: Vec<i32>, 0..;
    }
}

message! {
    pub struct DescribeProducersResponse {
        throttle_time_ms: i32, 0..;
        topics: Vec<DescribeProducersTopicResponse>, 0..;
    }
}

message! {
    pub struct DescribeProducersTopicResponse {
        name: Str, 0..;
        partitions: Vec<DescribeProducersPartitionResponse>, 0..;
    }
}

message! {
    pub struct DescribeProducersPartitionResponse {
        partition_index: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
        active_producers: Vec<ProducerState>, 0..;
    }
}

message! {
    pub struct ProducerState {
        producer_id: i64, 0..;
        producer_epoch: i32, 0..;
        last_sequence: i32 = -1, 0..;
        last_timestamp: i64 = -1, 0..;
        coordinator_epoch: i32, 0..;
        /// -1 when no transaction is open.
        current_txn_start_offset: i64 = -1, 0..;
    }
}
