//! SyncGroup (API 14).

use bytes::Bytes;

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct SyncGroupRequest {
        group_id: Str, 0..;
        generation_id: i32, 0..;
        member_id: Str, 0..;
        group_instance_id: Option<Str>, 3..;
        protocol_type: Option<Str>, 5.., [ignorable];
        protocol_name: Option<Str>, 5.., [ignorable];
        assignments: Vec<SyncGroupRequestAssignment>, 0..;
    }
}

message! {
    pub struct SyncGroupRequestAssignment {
        member_id: Str, 0..;
        assignment: Bytes, 0..;
    }
}

message! {
    pub struct SyncGroupResponse {
        throttle_time_ms: i32, 1.., [ignorable];
        error_code: i16, 0..;
        protocol_type: Option<Str>, 5.., [ignorable];
        protocol_name: Option<Str>, 5.., [ignorable];
        assignment: Bytes, 0..;
    }
}
