//! Produce (API 0).

use bytes::Bytes;

use crate::message;
use crate::protocol::message::{Str, Uuid};
use crate::protocol::messages::leader::{LeaderIdAndEpoch, NodeEndpoint};

message! {
    pub struct ProduceRequest {
        transactional_id: Option<Str>, 3..;
        acks: i16, 0..;
        timeout_ms: i32, 0..;
        topic_data: Vec<TopicProduceData>, 0..;
    }
}

message! {
    pub struct TopicProduceData {
        name: Str, 0..=12, [ignorable];
        topic_id: Uuid, 13.., [ignorable];
        partition_data: Vec<PartitionProduceData>, 0..;
    }
}

message! {
    pub struct PartitionProduceData {
        index: i32, 0..;
        records: Option<Bytes> = Some(Bytes::new()), 0..;
    }
}

message! {
    pub struct ProduceResponse {
        responses: Vec<TopicProduceResponse>, 0..;
        throttle_time_ms: i32, 1.., [ignorable];
        node_endpoints: Vec<NodeEndpoint>, 10.., tag 0;
    }
}

message! {
    pub struct TopicProduceResponse {
        name: Str, 0..=12, [ignorable];
        topic_id: Uuid, 13.., [ignorable];
        partition_responses: Vec<PartitionProduceResponse>, 0..;
    }
}

message! {
    pub struct PartitionProduceResponse {
        index: i32, 0..;
        error_code: i16, 0..;
        base_offset: i64, 0..;
        log_append_time_ms: i64 = -1, 2.., [ignorable];
        log_start_offset: i64 = -1, 5.., [ignorable];
        record_errors: Vec<BatchIndexAndErrorMessage>, 8.., [ignorable];
        error_message: Option<Str>, 8.., [ignorable];
        current_leader: LeaderIdAndEpoch, 10.., tag 0;
    }
}

message! {
    pub struct BatchIndexAndErrorMessage {
        batch_index: i32, 8..;
        batch_index_error_message: Option<Str>, 8..;
    }
}
