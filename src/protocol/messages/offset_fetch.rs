//! OffsetFetch (API 9).

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct OffsetFetchRequest {
        group_id: Str, 0..=7;
        topics: Option<Vec<OffsetFetchRequestTopic>> = Some(Vec::new()), 0..=7, nullable 2..=7;
        groups: Vec<OffsetFetchRequestGroup>, 8..;
        require_stable: bool, 7..;
    }
}

message! {
    pub struct OffsetFetchRequestTopic {
        name: Str, 0..=7;
        partition_indexes: Vec<i32>, 0..=7;
    }
}

message! {
    pub struct OffsetFetchRequestGroup {
        group_id: Str, 8..;
        member_id: Option<Str>, 9.., [ignorable];
        member_epoch: i32 = -1, 9.., [ignorable];
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
    pub struct OffsetFetchResponseTopic {
        name: Str, 0..=7;
        partitions: Vec<OffsetFetchResponsePartition>, 0..=7;
    }
}

message! {
    pub struct OffsetFetchResponsePartition {
        partition_index: i32, 0..=7;
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
        committed_offset: i64, 8..;
        committed_leader_epoch: i32 = -1, 8.., [ignorable];
        metadata: Option<Str> = Some(Str::default()), 8..;
        error_code: i16, 8..;
    }
}
