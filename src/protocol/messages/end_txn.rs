//! EndTxn (API 26).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct EndTxnRequest {
        transactional_id: Str, 0..;
        producer_id: i64, 0..;
        producer_epoch: i16, 0..;
        committed: bool, 0..;
    }
}

message! {
    pub struct EndTxnResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        producer_id: i64 = -1, 5.., [ignorable];
        producer_epoch: i16 = -1, 5.., [ignorable];
    }
}
