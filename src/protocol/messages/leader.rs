//! Leader hints (KIP-951).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct LeaderIdAndEpoch {
        leader_id: i32 = -1, 0..;
        leader_epoch: i32 = -1, 0..;
    }
}

message! {
    pub struct NodeEndpoint {
        node_id: i32, 0..;
        host: Str, 0..;
        port: i32, 0..;
        rack: Option<Str>, 0..;
    }
}
