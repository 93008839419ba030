//! SyncGroup (API 14): the leader of a classic group hands in what it has assigned, every member fetches its part.
//!
//! - 1: throttle time (KIP-124)
//! - 2: KIP-219
//! - 3: static members (KIP-345)
//! - 4: KIP-482
//! - 5: the protocol's type and name, which must be those of the group (KIP-559)

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
        /// Empty for all but the leader.
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
        /// For consumers, a ConsumerProtocolAssignment.
        assignment: Bytes, 0..;
    }
}
