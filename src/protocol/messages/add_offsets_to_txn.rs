//! AddOffsetsToTxn (API 25).

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
