//! DescribeTopicPartitions (API 75): topics page by page, with the replicas that may lead when none is in sync
//! (KIP-966).

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct DescribeTopicPartitionsRequest {
        topics: Vec<DescribeTopicPartitionsTopicRequest>, 0..;
        response_partition_limit: i32 = 2000, 0..;
        /// Null for the first page.
        cursor: Option<DescribeTopicPartitionsCursor>, 0..;
    }
}

message! {
    pub struct DescribeTopicPartitionsTopicRequest {
        name: Str, 0..;
    }
}

message! {
    /// Where the next page begins.
    pub struct DescribeTopicPartitionsCursor {
        topic_name: Str, 0..;
        partition_index: i32, 0..;
    }
}

message! {
    pub struct DescribeTopicPartitionsResponse {
        throttle_time_ms: i32, 0.., [ignorable];
        topics: Vec<DescribeTopicPartitionsResponseTopic>, 0..;
        /// Null after the last page.
        next_cursor: Option<DescribeTopicPartitionsCursor>, 0..;
    }
}

message! {
    pub struct DescribeTopicPartitionsResponseTopic {
        error_code: i16, 0..;
        name: Option<Str> = Some(Str::default()), 0..;
        topic_id: Uuid, 0.., [ignorable];
        is_internal: bool, 0.., [ignorable];
        partitions: Vec<DescribeTopicPartitionsResponsePartition>, 0..;
        /// A bit for each operation that the asker may do; `i32::MIN` when it was not asked for.
        topic_authorized_operations: i32 = i32::MIN, 0..;
    }
}

message! {
    pub struct DescribeTopicPartitionsResponsePartition {
        error_code: i16, 0..;
        partition_index: i32, 0..;
        leader_id: i32, 0..;
        leader_epoch: i32 = -1, 0.., [ignorable];
        replica_nodes: Vec<i32>, 0..;
        isr_nodes: Vec<i32>, 0..;
        eligible_leader_replicas: Option<Vec<i32>>, 0..;
        last_known_elr: Option<Vec<i32>>, 0..;
        offline_replicas: Vec<i32>, 0.., [ignorable];
    }
}
