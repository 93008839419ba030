//! DescribeTransactions (API 65): the state of transactional ids, asked of their coordinator (KIP-664).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DescribeTransactionsRequest {
        transactional_ids: Vec<Str>, 0..;
    }
}

message! {
    pub struct DescribeTransactionsResponse {
        throttle_time_ms: i32, 0..;
        transaction_states: Vec<DescribeTransactionsState>, 0..;
    }
}

message! {
    pub struct DescribeTransactionsState {
        error_code: i16, 0..;
        transactional_id: Str, 0..;
        transaction_state: Str, 0..;
        transaction_timeout_ms: i32, 0..;
        /// -1 when no transaction is open.
        transaction_start_time_ms: i64, 0..;
        producer_id: i64, 0..;
        producer_epoch: i16, 0..;
        topics: Vec<DescribeTransactionsTopicData>, 0..;
    }
}

message! {
    pub struct DescribeTransactionsTopicData {
        topic: Str, 0..;
        partitions: Vec<i32>, 0..;
    }
}
