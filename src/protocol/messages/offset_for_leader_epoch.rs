//! OffsetForLeaderEpoch (API 23).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct OffsetForLeaderEpochRequest {
        replica_id: i32 = -2, 3.., [ignorable];
        topics: Vec<OffsetForLeaderTopic>, 0..;
    }
}

message! {
    pub struct OffsetForLeaderTopic {
        topic: Str, 0..;
        partitions: Vec<OffsetForLeaderPartition>, 0..;
    }
}

message! {
    pub struct OffsetForLeaderPartition {
        partition: i32, 0..;
        current_leader_epoch: i32 = -1, 2.., [ignorable];
        leader_epoch: i32, 0..;
    }
}

message! {
    pub struct OffsetForLeaderEpochResponse {
        throttle_time_ms: i32, 2.., [ignorable];
        topics: Vec<OffsetForLeaderTopicResult>, 0..;
    }
}

message! {
    pub struct OffsetForLeaderTopicResult {
        topic: Str, 0..;
        partitions: Vec<OffsetForLeaderEndOffset>, 0..;
    }
}

message! {
    pub struct OffsetForLeaderEndOffset {
        error_code: i16, 0..;
        partition: i32, 0..;
        leader_epoch: i32 = -1, 1.., [ignorable];
        end_offset: i64 = -1, 0..;
    }
}
