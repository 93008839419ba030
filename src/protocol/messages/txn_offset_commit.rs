//! TxnOffsetCommit (API 28).

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct TxnOffsetCommitRequest {
        transactional_id: Str, 0..;
        group_id: Str, 0..;
        producer_id: i64, 0..;
        producer_epoch: i16, 0..;
        generation_id_or_member_epoch: i32 = -1, 3..;
        member_id: Str, 3..;
        group_instance_id: Option<Str>, 3..;
        topics: Vec<TxnOffsetCommitRequestTopic>, 0..;
    }
}

message! {
    pub struct TxnOffsetCommitRequestTopic {
        name: Str, 0..=5, [ignorable];
        topic_id: Uuid, 6.., [ignorable];
        partitions: Vec<TxnOffsetCommitRequestPartition>, 0..;
    }
}

message! {
    pub struct TxnOffsetCommitRequestPartition {
        partition_index: i32, 0..;
        committed_offset: i64, 0..;
        committed_leader_epoch: i32 = -1, 2.., [ignorable];
        committed_metadata: Option<Str> = Some(Str::default()), 0..;
    }
}

message! {
    pub struct TxnOffsetCommitResponse {
        throttle_time_ms: i32, 0..;
        topics: Vec<TxnOffsetCommitResponseTopic>, 0..;
    }
}

message! {
    pub struct TxnOffsetCommitResponseTopic {
        name: Str, 0..=5, [ignorable];
        topic_id: Uuid, 6.., [ignorable];
        partitions: Vec<TxnOffsetCommitResponsePartition>, 0..;
    }
}

message! {
    pub struct TxnOffsetCommitResponsePartition {
        partition_index: i32, 0..;
        error_code: i16, 0..;
    }
}
