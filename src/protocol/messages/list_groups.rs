//! ListGroups (API 16): the groups that one broker coordinates; all of a cluster's are in the answers of all its
//! brokers.
//!
//! - 1: throttle time (KIP-124)
//! - 2: KIP-219
//! - 3: KIP-482
//! - 4: the state, and a filter by it (KIP-518)
//! - 5: the type, and a filter by it (KIP-848)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct ListGroupsRequest {
        /// Empty for all.
        states_filter: Vec<Str>, 4..;
        /// Empty for all.
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
