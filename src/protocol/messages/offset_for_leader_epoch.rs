//! OffsetForLeaderEpoch (API 23): where a leader's epoch ended, by which a reader notices that a log was cut
//! (KIP-101).
//!
//! - 2: the leader epoch the asker knows, to fence it (KIP-320)
//! - 3: who asks, a replica or a consumer (KIP-392)
//! - 4: KIP-482

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct OffsetForLeaderEpochRequest {
        /// -1 for consumers; -2 for an asker that may see beyond the high watermark.
        replica_id: i32 = -2, 3.., [ignorable];
        topics: Vec<OffsetForLeaderTopic>, 0..;
    }
}

message! {
    pub struct OffsetForLeaderTopic {
        topic: Str, 0..;
        partitions: Vec<OffsetForLeaderPartition>, 0..;
    }
}

message! {
    pub struct OffsetForLeaderPartition {
        partition: i32, 0..;
        current_leader_epoch: i32 = -1, 2.., [ignorable];
        leader_epoch: i32, 0..;
    }
}

message! {
    pub struct OffsetForLeaderEpochResponse {
        throttle_time_ms: i32, 2.., [ignorable];
        topics: Vec<OffsetForLeaderTopicResult>, 0..;
    }
}

message! {
    pub struct OffsetForLeaderTopicResult {
        topic: Str, 0..;
        partitions: Vec<OffsetForLeaderEndOffset>, 0..;
    }
}

message! {
    /// How far the asked-for epoch reaches in the leader's log.
    pub struct OffsetForLeaderEndOffset {
        error_code: i16, 0..;
        partition: i32, 0..;
        leader_epoch: i32 = -1, 1.., [ignorable];
        /// -1 when the epoch is unknown.
        end_offset: i64 = -1, 0..;
    }
}
