//! AlterShareGroupOffsets (API 91): from where a share group without members is to read (KIP-932).

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct AlterShareGroupOffsetsRequest {
        group_id: Str, 0..;
        topics: Vec<AlterShareGroupOffsetsRequestTopic>, 0..;
    }
}

message! {
    pub struct AlterShareGroupOffsetsRequestTopic {
        topic_name: Str, 0..;
        partitions: Vec<AlterShareGroupOffsetsRequestPartition>, 0..;
    }
}

message! {
    pub struct AlterShareGroupOffsetsRequestPartition {
        partition_index: i32, 0..;
        start_offset: i64, 0..;
    }
}

message! {
    pub struct AlterShareGroupOffsetsResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
        responses: Vec<AlterShareGroupOffsetsResponseTopic>, 0..;
    }
}

message! {
    pub struct AlterShareGroupOffsetsResponseTopic {
        topic_name: Str, 0..;
        topic_id: Uuid, 0..;
        partitions: Vec<AlterShareGroupOffsetsResponsePartition>, 0..;
    }
}

message! {
    pub struct AlterShareGroupOffsetsResponsePartition {
        partition_index: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
    }
}
