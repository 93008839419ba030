//! What the journal keeps of transactions.

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! { /// A transactional id as it is now. Offsets that wait are forgotten unless a transaction is open or being completed.
pub struct TransactionEntry {
    transactional_id: Str, 0..;
    producer_id: i64, 0..;
    epoch: i16, 0..;
    /// -1 for none.
    last_epoch: i16 = -1, 0..;
    timeout_ms: i32, 0..;
    state: i8, 0..;
    /// When the open transaction began; -1 when none is.
    began_ms: i64 = -1, 0..;
    partitions: Vec<TransactionPartitionEntry>, 0..;
    groups: Vec<Str>, 0..;
} }
message! { /// A partition that a transaction writes to.
pub struct TransactionPartitionEntry { topic_id: Uuid, 0..; partition: i32, 0..; } }
message! { /// An offset that will be committed if the open transaction of this id is.
pub struct TransactionOffsetEntry {
    transactional_id: Str, 0..;
    group_id: Str, 0..;
    topic: Str, 0..;
    partition: i32, 0..;
    offset: i64, 0..;
    leader_epoch: i32 = -1, 0..;
    metadata: Str, 0..;
} }
