//! Produce (API 0): appends record batches to the partitions a broker leads.
//!
//! With `acks` 0 the broker sends no response at all; -1 waits for the in-sync replicas. Versions below 3, which Kafka
//! 4 still lists in ApiVersions for the sake of librdkafka (KAFKA-18659), are not served by it and are not here.
//!
//! - 3: batches of format 2, with idempotence and transactions (KIP-98)
//! - 4: KAFKA_STORAGE_ERROR may be answered (KIP-112)
//! - 5: the response tells the log's start, by which a producer knows retention from loss (KAFKA-5793)
//! - 6: KIP-219
//! - 7: zstd (KIP-110)
//! - 8: which records of a batch were refused, and why (KIP-467)
//! - 9: KIP-482
//! - 10: the leader, when it is another broker (KIP-951)
//! - 11: TRANSACTION_ABORTABLE may be answered (KIP-890)
//! - 12: a transactional batch adds its partition to the transaction by itself; in a transaction this version is
//!   allowed only with `transaction.version` 2 (KIP-890)
//! - 13: topics by id instead of by name (KIP-516)

use bytes::Bytes;

use crate::message;
use crate::protocol::message::{Str, Uuid};
use crate::protocol::messages::leader::{LeaderIdAndEpoch, NodeEndpoint};

message! {
    pub struct ProduceRequest {
        /// Null outside transactions.
        transactional_id: Option<Str>, 3..;
        /// 0: no response; 1: the leader has it; -1: all replicas in sync have it.
        acks: i16, 0..;
        /// How long the broker waits for the replicas.
        timeout_ms: i32, 0..;
        topic_data: Vec<TopicProduceData>, 0..;
    }
}

message! {
    pub struct TopicProduceData {
        name: Str, 0..=12, [ignorable];
        topic_id: Uuid, 13.., [ignorable];
        partition_data: Vec<PartitionProduceData>, 0..;
    }
}

message! {
    pub struct PartitionProduceData {
        index: i32, 0..;
        /// One record batch, or several.
        records: Option<Bytes> = Some(Bytes::new()), 0..;
    }
}

message! {
    pub struct ProduceResponse {
        responses: Vec<TopicProduceResponse>, 0..;
        throttle_time_ms: i32, 1.., [ignorable];
        node_endpoints: Vec<NodeEndpoint>, 10.., tag 0;
    }
}

message! {
    pub struct TopicProduceResponse {
        name: Str, 0..=12, [ignorable];
        topic_id: Uuid, 13.., [ignorable];
        partition_responses: Vec<PartitionProduceResponse>, 0..;
    }
}

message! {
    pub struct PartitionProduceResponse {
        index: i32, 0..;
        error_code: i16, 0..;
        /// The offset of the first record; -1 after an error.
        base_offset: i64, 0..;
        /// -1 where records keep the time of their creation.
        log_append_time_ms: i64 = -1, 2.., [ignorable];
        /// -1 when unknown.
        log_start_offset: i64 = -1, 5.., [ignorable];
        record_errors: Vec<BatchIndexAndErrorMessage>, 8.., [ignorable];
        error_message: Option<Str>, 8.., [ignorable];
        current_leader: LeaderIdAndEpoch, 10.., tag 0;
    }
}

message! {
    /// One record that was refused; the rest of its batch went with it.
    pub struct BatchIndexAndErrorMessage {
        batch_index: i32, 8..;
        batch_index_error_message: Option<Str>, 8..;
    }
}
