//! Fetch (API 1): reads record sets from partitions, waiting for data up to a time.
//!
//! A response may be larger than `max_bytes`: the first batch of the first partition that has data is always whole, so
//! that a reader cannot get stuck (KIP-74). Batches begin before the offset asked for when it lies inside one.
//!
//! - 4: batches of format 2, isolation levels, aborted transactions (KIP-98)
//! - 5: where the log starts (KIP-107)
//! - 6: KAFKA_STORAGE_ERROR may be answered (KIP-112)
//! - 7: fetch sessions, in which only what changed is sent (KIP-227)
//! - 8: KIP-219
//! - 9: the leader epoch the reader knows, to fence an old leader or an old reader (KIP-320)
//! - 10: zstd (KIP-110)
//! - 11: the reader's rack, and a replica nearer than the leader to read from (KIP-392)
//! - 12: KIP-482; the epoch last fetched, and where the logs diverge (KIP-595)
//! - 13: topics by id instead of by name (KIP-516)
//! - 14: OFFSET_MOVED_TO_TIERED_STORAGE, for followers (KIP-405)
//! - 15: the state of a follower in one field (KIP-903)
//! - 16: the leader, when it is another broker (KIP-951)
//! - 17: directory ids, for controllers (KIP-853)
//! - 18: the high watermark that a follower knows (KIP-1166)

use bytes::Bytes;

use crate::message;
use crate::protocol::message::{Str, Uuid};
use crate::protocol::messages::leader::{LeaderIdAndEpoch, NodeEndpoint};

message! {
    pub struct FetchRequest {
        cluster_id: Option<Str>, 12.., tag 0, [ignorable];
        /// -1 for consumers.
        replica_id: i32 = -1, 0..=14;
        replica_state: ReplicaState, 15.., tag 1;
        max_wait_ms: i32, 0..;
        min_bytes: i32, 0..;
        max_bytes: i32 = i32::MAX, 3.., [ignorable];
        /// 0 reads everything, 1 only what is committed.
        isolation_level: i8, 4.., [ignorable];
        /// 0 asks for a new session.
        session_id: i32, 7.., [ignorable];
        /// -1 for a full fetch outside sessions, 0 to begin one (KIP-227).
        session_epoch: i32 = -1, 7.., [ignorable];
        topics: Vec<FetchTopic>, 0..;
        forgotten_topics_data: Vec<ForgottenTopic>, 7..;
        /// Empty when unknown.
        rack_id: Str, 11.., [ignorable];
    }
}

message! {
    /// Which follower fetches; a consumer leaves it out.
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
        /// -1 when unknown.
        current_leader_epoch: i32 = -1, 9.., [ignorable];
        fetch_offset: i64, 0..;
        last_fetched_epoch: i32 = -1, 12..;
        /// The follower's own; -1 for consumers.
        log_start_offset: i64 = -1, 5.., [ignorable];
        partition_max_bytes: i32, 0..;
        replica_directory_id: Uuid, 17.., tag 0, [ignorable];
        high_watermark: i64 = i64::MAX, 18.., tag 1, [ignorable];
    }
}

message! {
    /// What a fetch session is to drop (KIP-227).
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
        /// 0 when the broker keeps no session.
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
        /// All transactions below are decided; -1 when unknown.
        last_stable_offset: i64 = -1, 4.., [ignorable];
        log_start_offset: i64 = -1, 5.., [ignorable];
        diverging_epoch: EpochEndOffset, 12.., tag 0;
        current_leader: LeaderIdAndEpoch, 12.., tag 1;
        snapshot_id: SnapshotId, 12.., tag 2;
        /// Null unless only committed records were asked for.
        aborted_transactions: Option<Vec<AbortedTransaction>> = Some(Vec::new()), 4.., [ignorable];
        /// -1 for the leader; any other: read from that replica (KIP-392).
        preferred_read_replica: i32 = -1, 11..;
        /// Record batches; the last may be cut off.
        records: Option<Bytes> = Some(Bytes::new()), 0..;
    }
}

message! {
    /// The largest epoch, and its end, up to which the logs of reader and leader can agree.
    pub struct EpochEndOffset {
        epoch: i32 = -1, 12..;
        end_offset: i64 = -1, 12..;
    }
}

message! {
    /// The snapshot that a follower of the metadata log must fetch first (KIP-630).
    pub struct SnapshotId {
        end_offset: i64 = -1, 0..;
        epoch: i32 = -1, 0..;
    }
}

message! {
    /// From `first_offset` on, records of this producer are to be skipped up to its abort marker.
    pub struct AbortedTransaction {
        producer_id: i64, 4..;
        first_offset: i64, 4..;
    }
}
