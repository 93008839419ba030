//! OffsetCommit (API 8).

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct OffsetCommitRequest {
        group_id: Str, 0..;
        generation_id_or_member_epoch: i32 = -1, 1.., [ignorable];
        member_id: Str, 1.., [ignorable];
        group_instance_id: Option<Str>, 7..;
        retention_time_ms: i64 = -1, 2..=4, [ignorable];
        topics: Vec<OffsetCommitRequestTopic>, 0..;
    }
}

message! {
    pub struct OffsetCommitRequestTopic {
        name: Str, 0..=9, [ignorable];
        topic_id: Uuid, 10.., [ignorable];
        partitions: Vec<OffsetCommitRequestPartition>, 0..;
    }
}

message! {
    pub struct OffsetCommitRequestPartition {
        partition_index: i32, 0..;
        committed_offset: i64, 0..;
        committed_leader_epoch: i32 = -1, 6.., [ignorable];
        committed_metadata: Option<Str> = Some(Str::default()), 0..;
    }
}

message! {
    pub struct OffsetCommitResponse {
        throttle_time_ms: i32, 3.., [ignorable];
        topics: Vec<OffsetCommitResponseTopic>, 0..;
    }
}

message! {
    pub struct OffsetCommitResponseTopic {
        name: Str, 0..=9, [ignorable];
        topic_id: Uuid, 10.., [ignorable];
        partitions: Vec<OffsetCommitResponsePartition>, 0..;
    }
}

message! {
    pub struct OffsetCommitResponsePartition {
        partition_index: i32, 0..;
        error_code: i16, 0..;
    }
}
