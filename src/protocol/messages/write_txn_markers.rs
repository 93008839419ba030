//! WriteTxnMarkers (API 27): writes the ends of transactions to partitions, asked of their leaders (KIP-98). It is how a
//! coordinator carries out what was decided, and how an operator ends a transaction that has none any more (KIP-664).
//!
//! - 1: KIP-482
//! - 2: the protocol of the transaction, by which leaders check its epoch (KIP-1228)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct WriteTxnMarkersRequest {
        markers: Vec<WritableTxnMarker>, 0..;
    }
}

message! {
    pub struct WritableTxnMarker {
        producer_id: i64, 0..;
        producer_epoch: i16, 0..;
        /// Whether it is committed.
        transaction_result: bool, 0..;
        topics: Vec<WritableTxnMarkerTopic>, 0..;
        coordinator_epoch: i32, 0..;
        /// From 2 on, every end has an epoch above that of the records (KIP-890).
        transaction_version: i8, 2.., [ignorable];
    }
}

message! {
    pub struct WritableTxnMarkerTopic {
        name: Str, 0..;
        partition_indexes: Vec<i32>, 0..;
    }
}

message! {
    pub struct WriteTxnMarkersResponse {
        markers: Vec<WritableTxnMarkerResult>, 0..;
    }
}

message! {
    pub struct WritableTxnMarkerResult {
        producer_id: i64, 0..;
        topics: Vec<WritableTxnMarkerTopicResult>, 0..;
    }
}

message! {
    pub struct WritableTxnMarkerTopicResult {
        name: Str, 0..;
        partitions: Vec<WritableTxnMarkerPartitionResult>, 0..;
    }
}

message! {
    pub struct WritableTxnMarkerPartitionResult {
        partition_index: i32, 0..;
        error_code: i16, 0..;
    }
}
