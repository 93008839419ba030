//! JoinGroup (API 11): enters a classic group, or its next generation; answered once all members are in or their time
//! is up.
//!
//! The leader alone is told all members, and assigns their partitions in SyncGroup.
//!
//! - 1: a time limit for the rebalance beside that for the session (KIP-62)
//! - 2: throttle time (KIP-124)
//! - 3: KIP-219
//! - 4: a new member is first given an id by MEMBER_ID_REQUIRED, and joins again with it (KIP-394)
//! - 5: static members (KIP-345)
//! - 6: KIP-482
//! - 7: the protocol's type in the response (KIP-559)
//! - 8: why the member joins (KIP-800)
//! - 9: a static leader that returns is told to leave the assignment as it is (KIP-814)

use bytes::Bytes;

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct JoinGroupRequest {
        group_id: Str, 0..;
        session_timeout_ms: i32, 0..;
        /// -1 in version 0, where the session's time limit counts for both.
        rebalance_timeout_ms: i32 = -1, 1.., [ignorable];
        /// Empty for a new member.
        member_id: Str, 0..;
        /// Null unless the member is static.
        group_instance_id: Option<Str>, 5..;
        protocol_type: Str, 0..;
        protocols: Vec<JoinGroupRequestProtocol>, 0..;
        reason: Option<Str>, 8.., [ignorable];
    }
}

message! {
    pub struct JoinGroupRequestProtocol {
        name: Str, 0..;
        /// For consumers, a ConsumerProtocolSubscription.
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
        /// The leader is to hand in no assignment (KIP-814).
        skip_assignment: bool, 9..;
        member_id: Str, 0..;
        /// Empty for all but the leader.
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
