//! ListTransactions (API 66): the transactional ids that one broker coordinates (KIP-664).
//!
//! - 1: only transactions older than a time (KIP-994)
//! - 2: only ids that match a regular expression (KIP-1152)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct ListTransactionsRequest {
        state_filters: Vec<Str>, 0..;
        producer_id_filters: Vec<i64>, 0..;
        /// In milliseconds; -1 for all.
        duration_filter: i64 = -1, 1..;
        transactional_id_pattern: Option<Str>, 2..;
    }
}

message! {
    pub struct ListTransactionsResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        unknown_state_filters: Vec<Str>, 0..;
        transaction_states: Vec<ListTransactionsState>, 0..;
    }
}

message! {
    pub struct ListTransactionsState {
        transactional_id: Str, 0..;
        producer_id: i64, 0..;
        transaction_state: Str, 0..;
    }
}
