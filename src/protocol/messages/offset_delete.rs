//! OffsetDelete (API 47): forgets what a group has committed for partitions it does not read (KIP-496). Never
//! flexible.

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct OffsetDeleteRequest {
        group_id: Str, 0..;
        topics: Vec<OffsetDeleteRequestTopic>, 0..;
    }
}

message! {
    pub struct OffsetDeleteRequestTopic {
        name: Str, 0..;
        partitions: Vec<OffsetDeleteRequestPartition>, 0..;
    }
}

message! {
    pub struct OffsetDeleteRequestPartition {
        partition_index: i32, 0..;
    }
}

message! {
    pub struct OffsetDeleteResponse {
        error_code: i16, 0..;
        throttle_time_ms: i32, 0.., [ignorable];
        topics: Vec<OffsetDeleteResponseTopic>, 0..;
    }
}

message! {
    pub struct OffsetDeleteResponseTopic {
        name: Str, 0..;
        partitions: Vec<OffsetDeleteResponsePartition>, 0..;
    }
}

message! {
    pub struct OffsetDeleteResponsePartition {
        partition_index: i32, 0..;
        error_code: i16, 0..;
    }
}
