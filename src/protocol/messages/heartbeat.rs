//! Heartbeat (API 12): a classic member is alive, and learns whether its group is rebalancing.
//!
//! - 1: throttle time (KIP-124)
//! - 2: KIP-219
//! - 3: static members (KIP-345)
//! - 4: KIP-482

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct HeartbeatRequest {
        group_id: Str, 0..;
        generation_id: i32, 0..;
        member_id: Str, 0..;
        group_instance_id: Option<Str>, 3..;
    }
}

message! {
    pub struct HeartbeatResponse {
        throttle_time_ms: i32, 1.., [ignorable];
        error_code: i16, 0..;
    }
}
