//! FindCoordinator (API 10): which broker coordinates a group, a transactional id or a share partition.
//!
//! - 1: transactional ids as well as groups (KIP-98)
//! - 2: KIP-219
//! - 3: KIP-482
//! - 4: many keys in one request (KIP-699)
//! - 5: TRANSACTION_ABORTABLE may be answered (KIP-890)
//! - 6: share partitions, with keys of the form `group:topic id:partition` (KIP-932)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct FindCoordinatorRequest {
        /// Up to version 3; later versions have `coordinator_keys`.
        key: Str, 0..=3;
        /// 0: group; 1: transactional id; 2: share partition.
        key_type: i8, 1..;
        coordinator_keys: Vec<Str>, 4..;
    }
}

message! {
    pub struct FindCoordinatorResponse {
        throttle_time_ms: i32, 1.., [ignorable];
        error_code: i16, 0..=3;
        error_message: Option<Str> = Some(Str::default()), 1..=3, [ignorable];
        node_id: i32, 0..=3;
        host: Str, 0..=3;
        port: i32, 0..=3;
        coordinators: Vec<Coordinator>, 4..;
    }
}

message! {
    pub struct Coordinator {
        key: Str, 4..;
        node_id: i32, 4..;
        host: Str, 4..;
        port: i32, 4..;
        error_code: i16, 4..;
        error_message: Option<Str> = Some(Str::default()), 4.., [ignorable];
    }
}
