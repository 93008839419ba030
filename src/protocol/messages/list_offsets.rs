//! ListOffsets (API 2).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct ListOffsetsRequest {
        replica_id: i32, 0..;
        isolation_level: i8, 2..;
        topics: Vec<ListOffsetsTopic>, 0..;
        timeout_ms: i32, 10.., [ignorable];
    }
}

message! {
    pub struct ListOffsetsTopic {
        name: Str, 0..;
        partitions: Vec<ListOffsetsPartition>, 0..;
    }
}

message! {
    pub struct ListOffsetsPartition {
        partition_index: i32, 0..;
        current_leader_epoch: i32 = -1, 4.., [ignorable];
        timestamp: i64, 0..;
    }
}

message! {
    pub struct ListOffsetsResponse {
        throttle_time_ms: i32, 2.., [ignorable];
        topics: Vec<ListOffsetsTopicResponse>, 0..;
    }
}

message! {
    pub struct ListOffsetsTopicResponse {
        name: Str, 0..;
        partitions: Vec<ListOffsetsPartitionResponse>, 0..;
    }
}

message! {
    pub struct ListOffsetsPartitionResponse {
        partition_index: i32, 0..;
        error_code: i16, 0..;
        timestamp: i64 = -1, 1..;
        offset: i64 = -1, 1..;
        leader_epoch: i32 = -1, 4..;
    }
}
