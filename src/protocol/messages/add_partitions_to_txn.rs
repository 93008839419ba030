//! AddPartitionsToTxn (API 24): a transaction is about to write to partitions (KIP-98).
//!
//! Clients speak versions up to 3. From 4 on this is what brokers ask each other, for many transactions at a time.
//!
//! - 1: KIP-219
//! - 2: PRODUCER_FENCED may be answered (KIP-588)
//! - 3: KIP-482
//! - 4: many transactions, and a check alone (KIP-890)
//! - 5: TRANSACTION_ABORTABLE may be answered (KIP-890)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct AddPartitionsToTxnRequest {
        transactions: Vec<AddPartitionsToTxnTransaction>, 4..;
        v3_and_below_transactional_id: Str, 0..=3;
        v3_and_below_producer_id: i64, 0..=3;
        v3_and_below_producer_epoch: i16, 0..=3;
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic>, 0..=3;
    }
}

message! {
    pub struct AddPartitionsToTxnTransaction {
        transactional_id: Str, 4..;
        producer_id: i64, 4..;
        producer_epoch: i16, 4..;
        verify_only: bool, 4..;
        topics: Vec<AddPartitionsToTxnTopic>, 4..;
    }
}

message! {
    pub struct AddPartitionsToTxnTopic {
        name: Str, 0..;
        partitions: Vec<i32>, 0..;
    }
}

message! {
    pub struct AddPartitionsToTxnResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 4.., [ignorable];
        results_by_transaction: Vec<AddPartitionsToTxnResult>, 4..;
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult>, 0..=3;
    }
}

message! {
    pub struct AddPartitionsToTxnResult {
        transactional_id: Str, 4..;
        topic_results: Vec<AddPartitionsToTxnTopicResult>, 4..;
    }
}

message! {
    pub struct AddPartitionsToTxnTopicResult {
        name: Str, 0..;
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult>, 0..;
    }
}

message! {
    pub struct AddPartitionsToTxnPartitionResult {
        partition_index: i32, 0..;
        partition_error_code: i16, 0..;
    }
}
