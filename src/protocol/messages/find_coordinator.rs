//! FindCoordinator (API 10).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct FindCoordinatorRequest {
        key: Str, 0..=3;
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
