//! ListGroups (API 16).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct ListGroupsRequest {
        states_filter: Vec<Str>, 4..;
        types_filter: Vec<Str>, 5..;
    }
}

message! {
    pub struct ListGroupsResponse {
        throttle_time_ms: i32, 1.., [ignorable];
        error_code: i16, 0..;
        groups: Vec<ListedGroup>, 0..;
    }
}

message! {
    pub struct ListedGroup {
        group_id: Str, 0..;
        protocol_type: Str, 0..;
        group_state: Str, 4.., [ignorable];
        group_type: Str, 5.., [ignorable];
    }
}
