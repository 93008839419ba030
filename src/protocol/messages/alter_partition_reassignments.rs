//! AlterPartitionReassignments (API 45): moves partitions to other replicas, or calls that off (KIP-455).
//!
//! - 1: whether the number of replicas may change by it (KIP-860)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct AlterPartitionReassignmentsRequest {
        timeout_ms: i32 = 60000, 0..;
        allow_replication_factor_change: bool = true, 1..;
        topics: Vec<ReassignableTopic>, 0..;
    }
}

message! {
    pub struct ReassignableTopic {
        name: Str, 0..;
        partitions: Vec<ReassignablePartition>, 0..;
    }
}

message! {
    pub struct ReassignablePartition {
        partition_index: i32, 0..;
        /// Null to call a move off.
        replicas: Option<Vec<i32>>, 0..;
    }
}

message! {
    pub struct AlterPartitionReassignmentsResponse {
        throttle_time_ms: i32, 0..;
        allow_replication_factor_change: bool = true, 1.., [ignorable];
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        responses: Vec<ReassignableTopicResponse>, 0..;
    }
}

message! {
    pub struct ReassignableTopicResponse {
        name: Str, 0..;
        partitions: Vec<ReassignablePartitionResponse>, 0..;
    }
}

message! {
    pub struct ReassignablePartitionResponse {
        partition_index: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
    }
}
