//! DescribeLogDirs (API 35).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DescribeLogDirsRequest {
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
        total_bytes: i64 = -1, 4.., [ignorable];
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
        offset_lag: i64, 0..;
        is_future_key: bool, 0..;
    }
}
