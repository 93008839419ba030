//! CreatePartitions (API 37).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic>, 0..;
        timeout_ms: i32, 0..;
        validate_only: bool, 0..;
    }
}

message! {
    pub struct CreatePartitionsTopic {
        name: Str, 0..;
        count: i32, 0..;
        assignments: Option<Vec<CreatePartitionsAssignment>> = Some(Vec::new()), 0..;
    }
}

message! {
    pub struct CreatePartitionsAssignment {
        broker_ids: Vec<i32>, 0..;
    }
}

message! {
    pub struct CreatePartitionsResponse {
        throttle_time_ms: i32, 0..;
        results: Vec<CreatePartitionsTopicResult>, 0..;
    }
}

message! {
    pub struct CreatePartitionsTopicResult {
        name: Str, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
    }
}
