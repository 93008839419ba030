//! ShareGroupHeartbeat (API 76).

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct ShareGroupHeartbeatRequest {
        group_id: Str, 0..;
        member_id: Str, 0..;
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
