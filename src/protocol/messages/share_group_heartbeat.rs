//! ShareGroupHeartbeat (API 76): a member of a share group joins, lives and leaves (KIP-932). Member epoch 0 joins, -1
//! leaves. Version 0 was an early access one.

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct ShareGroupHeartbeatRequest {
        group_id: Str, 0..;
        member_id: Str, 0..;
        /// 0 joins, -1 leaves.
        member_epoch: i32, 0..;
        rack_id: Option<Str>, 0..;
        subscribed_topic_names: Option<Vec<Str>>, 0..;
    }
}

message! {
    pub struct ShareGroupHeartbeatResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
        member_id: Option<Str>, 0..;
        member_epoch: i32, 0..;
        heartbeat_interval_ms: i32, 0..;
        /// Null when unchanged.
        assignment: Option<ShareGroupHeartbeatAssignment>, 0..;
    }
}

message! {
    pub struct ShareGroupHeartbeatAssignment {
        topic_partitions: Vec<ShareGroupHeartbeatTopicPartitions>, 0..;
    }
}

message! {
    pub struct ShareGroupHeartbeatTopicPartitions {
        topic_id: Uuid, 0..;
        partitions: Vec<i32>, 0..;
    }
}
