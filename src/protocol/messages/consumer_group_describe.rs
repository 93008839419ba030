//! ConsumerGroupDescribe (API 69): state, members and assignments of groups of the new consumer protocol (KIP-848).
//!
//! - 1: whether a member still speaks the classic protocol (KIP-1099)

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct ConsumerGroupDescribeRequest {
        group_ids: Vec<Str>, 0..;
        include_authorized_operations: bool, 0..;
    }
}

message! {
    pub struct ConsumerGroupDescribeResponse {
        throttle_time_ms: i32, 0..;
        groups: Vec<DescribedConsumerGroup>, 0..;
    }
}

message! {
    pub struct DescribedConsumerGroup {
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
        group_id: Str, 0..;
        group_state: Str, 0..;
        group_epoch: i32, 0..;
        assignment_epoch: i32, 0..;
        assignor_name: Str, 0..;
        members: Vec<ConsumerGroupDescribeMember>, 0..;
        /// A bit for each operation that the asker may do; `i32::MIN` when it was not asked for.
        authorized_operations: i32 = i32::MIN, 0..;
    }
}

message! {
    pub struct ConsumerGroupDescribeMember {
        member_id: Str, 0..;
        instance_id: Option<Str>, 0..;
        rack_id: Option<Str>, 0..;
        member_epoch: i32, 0..;
        client_id: Str, 0..;
        client_host: Str, 0..;
        subscribed_topic_names: Vec<Str>, 0..;
        subscribed_topic_regex: Option<Str>, 0..;
        assignment: ConsumerGroupDescribeAssignment, 0..;
        /// What it will have once all have given up what they must.
        target_assignment: ConsumerGroupDescribeAssignment, 0..;
        /// -1: unknown; 0: classic; 1: consumer.
        member_type: i8 = -1, 1.., [ignorable];
    }
}

message! {
    pub struct ConsumerGroupDescribeAssignment {
        topic_partitions: Vec<ConsumerGroupDescribeTopicPartitions>, 0..;
    }
}

message! {
    pub struct ConsumerGroupDescribeTopicPartitions {
        topic_id: Uuid, 0..;
        topic_name: Str, 0..;
        partitions: Vec<i32>, 0..;
    }
}
