//! ListPartitionReassignments (API 46): the moves of partitions that are under way (KIP-455).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct ListPartitionReassignmentsRequest {
        timeout_ms: i32 = 60000, 0..;
        /// Null for all.
        topics: Option<Vec<ListPartitionReassignmentsTopics>>, 0..;
    }
}

message! {
    pub struct ListPartitionReassignmentsTopics {
        name: Str, 0..;
        partition_indexes: Vec<i32>, 0..;
    }
}

message! {
    pub struct ListPartitionReassignmentsResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        topics: Vec<OngoingTopicReassignment>, 0..;
    }
}

message! {
    pub struct OngoingTopicReassignment {
        name: Str, 0..;
        partitions: Vec<OngoingPartitionReassignment>, 0..;
    }
}

message! {
    pub struct OngoingPartitionReassignment {
        partition_index: i32, 0..;
        replicas: Vec<i32>, 0..;
        adding_replicas: Vec<i32>, 0..;
        removing_replicas: Vec<i32>, 0..;
    }
}
