//! DeleteRecords (API 21): moves the start of partitions forward, asked of their leaders (KIP-107).
//!
//! - 1: KIP-219
//! - 2: KIP-482

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DeleteRecordsRequest {
        topics: Vec<DeleteRecordsTopic>, 0..;
        timeout_ms: i32, 0..;
    }
}

message! {
    pub struct DeleteRecordsTopic {
        name: Str, 0..;
        partitions: Vec<DeleteRecordsPartition>, 0..;
    }
}

message! {
    pub struct DeleteRecordsPartition {
        partition_index: i32, 0..;
        /// The new start; -1 for the high watermark.
        offset: i64, 0..;
    }
}

message! {
    pub struct DeleteRecordsResponse {
        throttle_time_ms: i32, 0..;
        topics: Vec<DeleteRecordsTopicResult>, 0..;
    }
}

message! {
    pub struct DeleteRecordsTopicResult {
        name: Str, 0..;
        partitions: Vec<DeleteRecordsPartitionResult>, 0..;
    }
}

message! {
    pub struct DeleteRecordsPartitionResult {
        partition_index: i32, 0..;
        low_watermark: i64, 0..;
        error_code: i16, 0..;
    }
}
