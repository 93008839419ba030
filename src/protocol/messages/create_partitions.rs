//! CreatePartitions (API 37): raises the number of a topic's partitions (KIP-195).
//!
//! - 1: KIP-219
//! - 2: KIP-482
//! - 3: THROTTLING_QUOTA_EXCEEDED may be answered (KIP-599)

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
        /// The number there shall be, not how many more.
        count: i32, 0..;
        /// Null to let the broker place the replicas.
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
