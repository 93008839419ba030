//! JoinGroup (API 11).

use bytes::Bytes;

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct JoinGroupRequest {
        group_id: Str, 0..;
        session_timeout_ms: i32, 0..;
        rebalance_timeout_ms: i32 = -1, 1.., [ignorable];
        member_id: Str, 0..;
        group_instance_id: Option<Str>, 5..;
        protocol_type: Str, 0..;
        protocols: Vec<JoinGroupRequestProtocol>, 0..;
        reason: Option<Str>, 8.., [ignorable];
    }
}

message! {
    pub struct JoinGroupRequestProtocol {
        name: Str, 0..;
        metadata: Bytes, 0..;
    }
}

message! {
    pub struct JoinGroupResponse {
        throttle_time_ms: i32, 2.., [ignorable];
        error_code: i16, 0..;
        generation_id: i32 = -1, 0..;
        protocol_type: Option<Str>, 7.., [ignorable];
        protocol_name: Option<Str> = Some(Str::default()), 0.., nullable 7..;
        leader: Str, 0..;
        skip_assignment: bool, 9..;
        member_id: Str, 0..;
        members: Vec<JoinGroupResponseMember>, 0..;
    }
}

message! {
    pub struct JoinGroupResponseMember {
        member_id: Str, 0..;
        group_instance_id: Option<Str>, 5.., [ignorable];
        metadata: Bytes, 0..;
    }
}
