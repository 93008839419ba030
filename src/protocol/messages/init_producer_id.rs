//! InitProducerId (API 22): gives an idempotent or transactional producer its id and epoch (KIP-98).
//!
//! Asked of any broker without a transactional id, of the transaction coordinator with one.
//!
//! - 1: KIP-219
//! - 2: KIP-482
//! - 3: a producer shows the id and epoch it has, to go on after a failure (KIP-360)
//! - 4: PRODUCER_FENCED may be answered (KIP-588)
//! - 5: TRANSACTION_ABORTABLE may be answered (KIP-890)
//! - 6: two-phase commit (KIP-939); unstable in Kafka 4.4, so the client does not ask for it

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct InitProducerIdRequest {
        /// Null for a producer that is idempotent alone.
        transactional_id: Option<Str> = Some(Str::default()), 0..;
        transaction_timeout_ms: i32, 0..;
        /// -1 for a producer that has none yet.
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
