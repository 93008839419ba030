//! DescribeGroups (API 15): state, members and assignments of classic groups, asked of their coordinator.
//!
//! - 1: throttle time (KIP-124)
//! - 2: KIP-219
//! - 3: what the asker may do, when asked for (KIP-430)
//! - 4: static members (KIP-345)
//! - 5: KIP-482
//! - 6: GROUP_ID_NOT_FOUND for a group that does not exist; before, it is a group in state Dead (KIP-1043)

use bytes::Bytes;

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DescribeGroupsRequest {
        groups: Vec<Str>, 0..;
        include_authorized_operations: bool, 3..;
    }
}

message! {
    pub struct DescribeGroupsResponse {
        throttle_time_ms: i32, 1.., [ignorable];
        groups: Vec<DescribedGroup>, 0..;
    }
}

message! {
    pub struct DescribedGroup {
        error_code: i16, 0..;
        error_message: Option<Str>, 6..;
        group_id: Str, 0..;
        group_state: Str, 0..;
        protocol_type: Str, 0..;
        /// The assignor; empty unless the group is stable.
        protocol_data: Str, 0..;
        members: Vec<DescribedGroupMember>, 0..;
        /// A bit for each operation that the asker may do; `i32::MIN` when it was not asked for.
        authorized_operations: i32 = i32::MIN, 3..;
    }
}

message! {
    pub struct DescribedGroupMember {
        member_id: Str, 0..;
        group_instance_id: Option<Str>, 4.., [ignorable];
        client_id: Str, 0..;
        client_host: Str, 0..;
        /// Empty unless the group is stable.
        member_metadata: Bytes, 0..;
        /// Empty unless the group is stable.
        member_assignment: Bytes, 0..;
    }
}
