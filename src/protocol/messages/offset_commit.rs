//! OffsetCommit (API 8): stores the offsets a group has finished with at its coordinator.
//!
//! A commit of no group's member has generation -1 and an empty member id.
//!
//! - 2: offsets may be kept for a time of their own
//! - 3: throttle time (KIP-124)
//! - 4: KIP-219
//! - 5: that time is gone; the broker's setting decides (KIP-211)
//! - 6: the leader epoch of the offset, to notice lost logs (KIP-320)
//! - 7: static members (KIP-345)
//! - 8: KIP-482
//! - 9: members of the new protocol send their member epoch in place of a generation (KIP-848)
//! - 10: topics by id instead of by name (KIP-848)

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct OffsetCommitRequest {
        group_id: Str, 0..;
        /// -1 for a commit of no group's member.
        generation_id_or_member_epoch: i32 = -1, 1.., [ignorable];
        member_id: Str, 1.., [ignorable];
        group_instance_id: Option<Str>, 7..;
        /// -1 for the broker's own setting.
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
        /// The offset to go on from, after the last one finished.
        committed_offset: i64, 0..;
        committed_leader_epoch: i32 = -1, 6.., [ignorable];
        /// For the client's own use.
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
