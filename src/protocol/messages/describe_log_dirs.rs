//! DescribeLogDirs (API 35): the directories of one broker, and what each partition takes up in them (KIP-113).
//!
//! - 1: KIP-219
//! - 2: KIP-482
//! - 3: an error for the whole response (KIP-784)
//! - 4: size and room of the volume (KIP-827)
//! - 5: whether a directory takes no new partitions (KIP-1066)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DescribeLogDirsRequest {
        /// Null for all topics.
        topics: Option<Vec<DescribableLogDirTopic>> = Some(Vec::new()), 0..;
    }
}

message! {
    pub struct DescribableLogDirTopic {
        topic: Str, 0..;
        partitions: Vec<i32>, 0..;
    }
}

message! {
    pub struct DescribeLogDirsResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 3.., [ignorable];
        results: Vec<DescribeLogDirsResult>, 0..;
    }
}

message! {
    pub struct DescribeLogDirsResult {
        error_code: i16, 0..;
        log_dir: Str, 0..;
        topics: Vec<DescribeLogDirsTopic>, 0..;
        /// -1 when unknown.
        total_bytes: i64 = -1, 4.., [ignorable];
        /// -1 when unknown.
        usable_bytes: i64 = -1, 4.., [ignorable];
        is_cordoned: bool, 5.., [ignorable];
    }
}

message! {
    pub struct DescribeLogDirsTopic {
        name: Str, 0..;
        partitions: Vec<DescribeLogDirsPartition>, 0..;
    }
}

message! {
    pub struct DescribeLogDirsPartition {
        partition_index: i32, 0..;
        partition_size: i64, 0..;
        /// How far the copy is behind.
        offset_lag: i64, 0..;
        /// A copy that will take the place of the one in another directory.
        is_future_key: bool, 0..;
    }
}
