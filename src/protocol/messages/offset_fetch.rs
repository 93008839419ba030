//! OffsetFetch (API 9): the offsets that groups have committed, asked of their coordinator.
//!
//! A partition without a commit answers offset -1 and no error. `topics` null asks for all that a group has.
//!
//! - 1: offsets of Kafka's own topic rather than ZooKeeper's
//! - 2: null for all topics, and an error for the whole group (KIP-88)
//! - 3: throttle time (KIP-124)
//! - 4: KIP-219
//! - 5: the leader epoch of the offset (KIP-320)
//! - 6: KIP-482
//! - 7: `require_stable`: an offset with an undecided transaction is an error rather than an old answer (KIP-447)
//! - 8: many groups in one request (KIP-709)
//! - 9: the member and its epoch, checked where they are given (KIP-848)
//! - 10: topics by id instead of by name (KIP-848)

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct OffsetFetchRequest {
        /// Up to version 7; later versions have `groups`.
        group_id: Str, 0..=7;
        /// Null for all topics.
        topics: Option<Vec<OffsetFetchRequestTopic>> = Some(Vec::new()), 0..=7, nullable 2..=7;
        groups: Vec<OffsetFetchRequestGroup>, 8..;
        require_stable: bool, 7..;
    }
}

message! {
    /// Up to version 7, where a request is about one group.
    pub struct OffsetFetchRequestTopic {
        name: Str, 0..=7;
        partition_indexes: Vec<i32>, 0..=7;
    }
}

message! {
    pub struct OffsetFetchRequestGroup {
        group_id: Str, 8..;
        member_id: Option<Str>, 9.., [ignorable];
        /// -1 for an asker that is no member.
        member_epoch: i32 = -1, 9.., [ignorable];
        /// Null for all topics.
        topics: Option<Vec<OffsetFetchRequestTopics>> = Some(Vec::new()), 8..;
    }
}

message! {
    pub struct OffsetFetchRequestTopics {
        name: Str, 8..=9, [ignorable];
        topic_id: Uuid, 10.., [ignorable];
        partition_indexes: Vec<i32>, 8..;
    }
}

message! {
    pub struct OffsetFetchResponse {
        throttle_time_ms: i32, 3.., [ignorable];
        topics: Vec<OffsetFetchResponseTopic>, 0..=7;
        error_code: i16, 2..=7, [ignorable];
        groups: Vec<OffsetFetchResponseGroup>, 8..;
    }
}

message! {
    /// Up to version 7, where a response is about one group.
    pub struct OffsetFetchResponseTopic {
        name: Str, 0..=7;
        partitions: Vec<OffsetFetchResponsePartition>, 0..=7;
    }
}

message! {
    /// Up to version 7, where a response is about one group.
    pub struct OffsetFetchResponsePartition {
        partition_index: i32, 0..=7;
        /// -1 when nothing is committed.
        committed_offset: i64, 0..=7;
        committed_leader_epoch: i32 = -1, 5..=7, [ignorable];
        metadata: Option<Str> = Some(Str::default()), 0..=7;
        error_code: i16, 0..=7;
    }
}

message! {
    pub struct OffsetFetchResponseGroup {
        group_id: Str, 8..;
        topics: Vec<OffsetFetchResponseTopics>, 8..;
        error_code: i16, 8..;
    }
}

message! {
    pub struct OffsetFetchResponseTopics {
        name: Str, 8..=9, [ignorable];
        topic_id: Uuid, 10.., [ignorable];
        partitions: Vec<OffsetFetchResponsePartitions>, 8..;
    }
}

message! {
    pub struct OffsetFetchResponsePartitions {
        partition_index: i32, 8..;
        /// -1 when nothing is committed.
        committed_offset: i64, 8..;
        committed_leader_epoch: i32 = -1, 8.., [ignorable];
        metadata: Option<Str> = Some(Str::default()), 8..;
        error_code: i16, 8..;
    }
}
