//! LeaveGroup (API 13): members leave a classic group without waiting for their session to end.
//!
//! - 1: throttle time (KIP-124)
//! - 2: KIP-219
//! - 3: many members in one request, static ones by their instance id (KIP-345)
//! - 4: KIP-482
//! - 5: why they leave (KIP-800)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct LeaveGroupRequest {
        group_id: Str, 0..;
        member_id: Str, 0..=2;
        members: Vec<MemberIdentity>, 3..;
    }
}

message! {
    /// A member, by its id or, when static, by its instance id.
    pub struct MemberIdentity {
        member_id: Str, 3..;
        group_instance_id: Option<Str>, 3..;
        reason: Option<Str>, 5.., [ignorable];
    }
}

message! {
    pub struct LeaveGroupResponse {
        throttle_time_ms: i32, 1.., [ignorable];
        error_code: i16, 0..;
        members: Vec<MemberResponse>, 3..;
    }
}

message! {
    pub struct MemberResponse {
        member_id: Str, 3..;
        group_instance_id: Option<Str> = Some(Str::default()), 3..;
        error_code: i16, 3..;
    }
}
