//! DescribeShareGroupOffsets (API 90): from where share groups read (KIP-932).
//!
//! - 1: how many records they have before them (KIP-1226)

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct DescribeShareGroupOffsetsRequest {
        groups: Vec<DescribeShareGroupOffsetsRequestGroup>, 0..;
    }
}

message! {
    pub struct DescribeShareGroupOffsetsRequestGroup {
        group_id: Str, 0..;
        /// Null for all topics.
        topics: Option<Vec<DescribeShareGroupOffsetsRequestTopic>> = Some(Vec::new()), 0..;
    }
}

message! {
    pub struct DescribeShareGroupOffsetsRequestTopic {
        topic_name: Str, 0..;
        partitions: Vec<i32>, 0..;
    }
}

message! {
    pub struct DescribeShareGroupOffsetsResponse {
        throttle_time_ms: i32, 0..;
        groups: Vec<DescribeShareGroupOffsetsResponseGroup>, 0..;
    }
}

message! {
    pub struct DescribeShareGroupOffsetsResponseGroup {
        group_id: Str, 0..;
        topics: Vec<DescribeShareGroupOffsetsResponseTopic>, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
    }
}

message! {
    pub struct DescribeShareGroupOffsetsResponseTopic {
        topic_name: Str, 0..;
        topic_id: Uuid, 0..;
        partitions: Vec<DescribeShareGroupOffsetsResponsePartition>, 0..;
    }
}

message! {
    pub struct DescribeShareGroupOffsetsResponsePartition {
        partition_index: i32, 0..;
        start_offset: i64, 0..;
        leader_epoch: i32, 0..;
        lag: i64 = -1, 1.., [ignorable];
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
    }
}
