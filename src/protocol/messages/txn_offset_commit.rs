//! TxnOffsetCommit (API 28): commits offsets of a group as part of a transaction, to the group's coordinator (KIP-98).
//!
//! - 1: KIP-219
//! - 2: the leader epoch of the offset (KIP-320)
//! - 3: KIP-482; the member that commits, so that a former one is fenced (KIP-447)
//! - 4: TRANSACTION_ABORTABLE may be answered (KIP-890)
//! - 5: adds the group to the transaction by itself; allowed only with `transaction.version` 2 (KIP-890)
//! - 6: topics by id instead of by name (KIP-1319)

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
