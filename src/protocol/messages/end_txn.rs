//! EndTxn (API 26): commits or aborts a transaction (KIP-98).
//!
//! - 1: KIP-219
//! - 2: PRODUCER_FENCED may be answered (KIP-588)
//! - 3: KIP-482
//! - 4: TRANSACTION_ABORTABLE may be answered (KIP-890)
//! - 5: the epoch rises with every transaction, and the response tells the new one (KIP-890)

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
