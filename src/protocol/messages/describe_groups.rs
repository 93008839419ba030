//! DescribeGroups (API 15).

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
        protocol_data: Str, 0..;
        members: Vec<DescribedGroupMember>, 0..;
        authorized_operations: i32 = i32::MIN, 3..;
    }
}

message! {
    pub struct DescribedGroupMember {
        member_id: Str, 0..;
        group_instance_id: Option<Str>, 4.., [ignorable];
        client_id: Str, 0..;
        client_host: Str, 0..;
        member_metadata: Bytes, 0..;
        member_assignment: Bytes, 0..;
    }
}
