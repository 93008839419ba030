//! DeleteGroups (API 42).

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
