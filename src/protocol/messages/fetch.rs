//! Fetch (API 1).

use bytes::Bytes;

use crate::message;
use crate::protocol::message::{Str, Uuid};
use crate::protocol::messages::leader::{LeaderIdAndEpoch, NodeEndpoint};

message! {
    pub struct FetchRequest {
        cluster_id: Option<Str>, 12.., tag 0, [ignorable];
        replica_id: i32 = -1, 0..=14;
        replica_state: ReplicaState, 15.., tag 1;
        max_wait_ms: i32, 0..;
        min_bytes: i32, 0..;
        max_bytes: i32 = i32::MAX, 3.., [ignorable];
        isolation_level: i8, 4.., [ignorable];
        session_id: i32, 7.., [ignorable];
        session_epoch: i32 = -1, 7.., [ignorable];
        topics: Vec<FetchTopic>, 0..;
        forgotten_topics_data: Vec<ForgottenTopic>, 7..;
        rack_id: Str, 11.., [ignorable];
    }
}

message! {
    pub struct ReplicaState {
        replica_id: i32 = -1, 15..;
        replica_epoch: i64 = -1, 15..;
    }
}

message! {
    pub struct FetchTopic {
        topic: Str, 0..=12, [ignorable];
        topic_id: Uuid, 13.., [ignorable];
        partitions: Vec<FetchPartition>, 0..;
    }
}

message! {
    pub struct FetchPartition {
        partition: i32, 0..;
        current_leader_epoch: i32 = -1, 9.., [ignorable];
        fetch_offset: i64, 0..;
        last_fetched_epoch: i32 = -1, 12..;
        log_start_offset: i64 = -1, 5.., [ignorable];
        partition_max_bytes: i32, 0..;
        replica_directory_id: Uuid, 17.., tag 0, [ignorable];
        high_watermark: i64 = i64::MAX, 18.., tag 1, [ignorable];
    }
}

message! {
    pub struct ForgottenTopic {
        topic: Str, 7..=12, [ignorable];
        topic_id: Uuid, 13.., [ignorable];
        partitions: Vec<i32>, 7..;
    }
}

message! {
    pub struct FetchResponse {
        throttle_time_ms: i32, 1.., [ignorable];
        error_code: i16, 7.., [ignorable];
        session_id: i32, 7..;
        responses: Vec<FetchableTopicResponse>, 0..;
        node_endpoints: Vec<NodeEndpoint>, 16.., tag 0;
    }
}

message! {
    pub struct FetchableTopicResponse {
        topic: Str, 0..=12, [ignorable];
        topic_id: Uuid, 13.., [ignorable];
        partitions: Vec<PartitionData>, 0..;
    }
}

message! {
    pub struct PartitionData {
        partition_index: i32, 0..;
        error_code: i16, 0..;
        high_watermark: i64, 0..;
        last_stable_offset: i64 = -1, 4.., [ignorable];
        log_start_offset: i64 = -1, 5.., [ignorable];
        diverging_epoch: EpochEndOffset, 12.., tag 0;
        current_leader: LeaderIdAndEpoch, 12.., tag 1;
        snapshot_id: SnapshotId, 12.., tag 2;
        aborted_transactions: Option<Vec<AbortedTransaction>> = Some(Vec::new()), 4.., [ignorable];
        preferred_read_replica: i32 = -1, 11..;
        records: Option<Bytes> = Some(Bytes::new()), 0..;
    }
}

message! {
    pub struct EpochEndOffset {
        epoch: i32 = -1, 12..;
        end_offset: i64 = -1, 12..;
    }
}

message! {
    pub struct SnapshotId {
        end_offset: i64 = -1, 0..;
        epoch: i32 = -1, 0..;
    }
}

message! {
    pub struct AbortedTransaction {
        producer_id: i64, 4..;
        first_offset: i64, 4..;
    }
}
