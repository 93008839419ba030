//! ListOffsets (API 2): the offset for a time, or one of a partition's special offsets, asked of its leader.
//!
//! The special `timestamp`s are negative: -1 the end (the last stable offset for a reader of committed records), -2
//! the start, and from the versions below on, -3 to -6.
//!
//! - 1: one offset and its timestamp (KIP-79)
//! - 2: the isolation level (KIP-98)
//! - 3: KIP-219
//! - 4: leader epochs (KIP-320)
//! - 5: OFFSET_NOT_AVAILABLE may be answered by a new leader that does not know its high watermark yet (KIP-207)
//! - 6: KIP-482
//! - 7: -3, the record with the greatest timestamp (KIP-734)
//! - 8: -4, the first offset in the broker's own storage (KIP-405)
//! - 9: -5, the last offset in remote storage (KIP-1005)
//! - 10: a time limit for lookups in remote storage (KIP-1075)
//! - 11: -6, the first offset not yet copied to remote storage (KIP-1023)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct ListOffsetsRequest {
        /// -1 for consumers.
        replica_id: i32, 0..;
        /// 0: up to the high watermark; 1: up to the last stable offset.
        isolation_level: i8, 2..;
        topics: Vec<ListOffsetsTopic>, 0..;
        /// For lookups in remote storage (KIP-1075).
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
        /// A time in milliseconds, or one of the special values.
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
        /// -1 when no record is that late.
        offset: i64 = -1, 1..;
        leader_epoch: i32 = -1, 4..;
    }
}
