//! InitProducerId (API 22).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct InitProducerIdRequest {
        transactional_id: Option<Str> = Some(Str::default()), 0..;
        transaction_timeout_ms: i32, 0..;
        producer_id: i64 = -1, 3..;
        producer_epoch: i16 = -1, 3..;
        enable_2pc: bool, 6..;
        keep_prepared_txn: bool, 6..;
    }
}

message! {
    pub struct InitProducerIdResponse {
        throttle_time_ms: i32, 0.., [ignorable];
        error_code: i16, 0..;
        producer_id: i64 = -1, 0..;
        producer_epoch: i16, 0..;
        ongoing_txn_producer_id: i64 = -1, 6..;
        ongoing_txn_producer_epoch: i16 = -1, 6..;
    }
}
