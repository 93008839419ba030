//! ShareGroupDescribe (API 77): state, members and assignments of share groups (KIP-932). Version 0 was an early
//! access one.

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct ShareGroupDescribeRequest {
        group_ids: Vec<Str>, 0..;
        include_authorized_operations: bool, 0..;
    }
}

message! {
    pub struct ShareGroupDescribeResponse {
        throttle_time_ms: i32, 0..;
        groups: Vec<DescribedShareGroup>, 0..;
    }
}

message! {
    pub struct DescribedShareGroup {
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
        group_id: Str, 0..;
        group_state: Str, 0..;
        group_epoch: i32, 0..;
        assignment_epoch: i32, 0..;
        assignor_name: Str, 0..;
        members: Vec<ShareGroupDescribeMember>, 0..;
        /// A bit for each operation that the asker may do; `i32::MIN` when it was not asked for.
        authorized_operations: i32 = i32::MIN, 0..;
    }
}

message! {
    pub struct ShareGroupDescribeMember {
        member_id: Str, 0..;
        rack_id: Option<Str>, 0..;
        member_epoch: i32, 0..;
        client_id: Str, 0..;
        client_host: Str, 0..;
        subscribed_topic_names: Vec<Str>, 0..;
        assignment: ShareGroupDescribeAssignment, 0..;
    }
}

message! {
    pub struct ShareGroupDescribeAssignment {
        topic_partitions: Vec<ShareGroupDescribeTopicPartitions>, 0..;
    }
}

message! {
    pub struct ShareGroupDescribeTopicPartitions {
        topic_id: Uuid, 0..;
        topic_name: Str, 0..;
        partitions: Vec<i32>, 0..;
    }
}
