//! ConsumerGroupHeartbeat (API 68).

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct ConsumerGroupHeartbeatRequest {
        group_id: Str, 0..;
        member_id: Str, 0..;
        member_epoch: i32, 0..;
        instance_id: Option<Str>, 0..;
        rack_id: Option<Str>, 0..;
        rebalance_timeout_ms: i32 = -1, 0..;
        subscribed_topic_names: Option<Vec<Str>>, 0..;
        subscribed_topic_regex: Option<Str>, 1..;
        server_assignor: Option<Str>, 0..;
        topic_partitions: Option<Vec<ConsumerGroupHeartbeatTopicPartitions>>, 0..;
    }
}

message! {
    pub struct ConsumerGroupHeartbeatTopicPartitions {
        topic_id: Uuid, 0..;
        partitions: Vec<i32>, 0..;
    }
}

message! {
    pub struct ConsumerGroupHeartbeatResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
        member_id: Option<Str>, 0..;
        member_epoch: i32, 0..;
        heartbeat_interval_ms: i32, 0..;
        assignment: Option<ConsumerGroupHeartbeatAssignment>, 0..;
    }
}

message! {
    pub struct ConsumerGroupHeartbeatAssignment {
        topic_partitions: Vec<ConsumerGroupHeartbeatTopicPartitions>, 0..;
    }
}
