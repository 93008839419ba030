//! DeleteGroups (API 42): removes empty groups and what they committed, asked of their coordinator (KIP-229).
//!
//! - 1: KIP-219
//! - 2: KIP-482
//! - 3: an error message a group

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DeleteGroupsRequest {
        groups_names: Vec<Str>, 0..;
    }
}

message! {
    pub struct DeleteGroupsResponse {
        throttle_time_ms: i32, 0..;
        results: Vec<DeletableGroupResult>, 0..;
    }
}

message! {
    pub struct DeletableGroupResult {
        group_id: Str, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 3.., [ignorable];
    }
}
