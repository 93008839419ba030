//! Where a partition's leader is by now (KIP-951): brokers that refuse a request as "not the leader" may say who is,
//! and Produce and Fetch share the form. Both structs travel in tagged fields only, so whoever holds them decides
//! the versions.

use crate::message;
use crate::protocol::message::Str;

message! {
    /// Who leads a partition; -1 and -1 when the broker does not know.
    pub struct LeaderIdAndEpoch {
        leader_id: i32 = -1, 0..;
        leader_epoch: i32 = -1, 0..;
    }
}

message! {
    /// Where a leader that was named is reached.
    pub struct NodeEndpoint {
        node_id: i32, 0..;
        host: Str, 0..;
        port: i32, 0..;
        rack: Option<Str>, 0..;
    }
}
