//! ConsumerGroupHeartbeat (API 68): all that a member of the new consumer protocol says to its coordinator: it joins,
//! lives, confirms what it has given up or taken over, and leaves (KIP-848).
//!
//! Whatever has not changed since the last one may be left out, as null or -1. Member epoch 0 joins, -1 leaves, -2
//! leaves as a static member that will return.
//!
//! - 1: topics by regular expression; the member makes up its own id (KIP-1082)

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct ConsumerGroupHeartbeatRequest {
        group_id: Str, 0..;
        member_id: Str, 0..;
        /// 0 joins, -1 leaves, -2 leaves as a static member that will return.
        member_epoch: i32, 0..;
        instance_id: Option<Str>, 0..;
        rack_id: Option<Str>, 0..;
        /// -1 when unchanged.
        rebalance_timeout_ms: i32 = -1, 0..;
        subscribed_topic_names: Option<Vec<Str>>, 0..;
        subscribed_topic_regex: Option<Str>, 1..;
        server_assignor: Option<Str>, 0..;
        /// What the member holds; null when unchanged.
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
        /// Null when unchanged.
        assignment: Option<ConsumerGroupHeartbeatAssignment>, 0..;
    }
}

message! {
    pub struct ConsumerGroupHeartbeatAssignment {
        topic_partitions: Vec<ConsumerGroupHeartbeatTopicPartitions>, 0..;
    }
}
