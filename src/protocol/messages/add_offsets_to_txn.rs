//! AddOffsetsToTxn (API 25): a transaction is about to commit offsets of a group (KIP-98).
//!
//! - 1: KIP-219
//! - 2: PRODUCER_FENCED may be answered (KIP-588)
//! - 3: KIP-482
//! - 4: TRANSACTION_ABORTABLE may be answered (KIP-890)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct AddOffsetsToTxnRequest {
        transactional_id: Str, 0..;
        producer_id: i64, 0..;
        producer_epoch: i16, 0..;
        group_id: Str, 0..;
    }
}

message! {
    pub struct AddOffsetsToTxnResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
    }
}
