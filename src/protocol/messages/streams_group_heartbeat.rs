//! StreamsGroupHeartbeat (API 88): all that a member of a streams group says to its coordinator: it joins with the
//! topology that it runs, lives, confirms its tasks, and leaves (KIP-1071).
//!
//! Whatever has not changed since the last one may be left out, as null or -1. Member epoch 0 joins, -1 leaves, -2
//! leaves as a static member that will return.
//!
//! - 1: whether the application is to describe its topology (KIP-1331), and a recovery lag beyond 32 bits

use super::{StreamsEndpoint, StreamsKeyValue, StreamsTaskIds, StreamsTaskOffset, StreamsTopicInfo};
use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct StreamsGroupHeartbeatRequest {
        group_id: Str, 0..;
        /// Made up by the member itself.
        member_id: Str, 0..;
        /// 0 joins, -1 leaves, -2 leaves as a static member that will return.
        member_epoch: i32, 0..;
        endpoint_information_epoch: i32, 0..;
        instance_id: Option<Str>, 0..;
        rack_id: Option<Str>, 0..;
        /// -1 when unchanged.
        rebalance_timeout_ms: i32 = -1, 0..;
        /// Said by who joins, and by nobody else.
        topology: Option<StreamsGroupHeartbeatTopology>, 0..;
        active_tasks: Option<Vec<StreamsTaskIds>>, 0..;
        standby_tasks: Option<Vec<StreamsTaskIds>>, 0..;
        warmup_tasks: Option<Vec<StreamsTaskIds>>, 0..;
        process_id: Option<Str>, 0..;
        user_endpoint: Option<StreamsEndpoint>, 0..;
        client_tags: Option<Vec<StreamsKeyValue>>, 0..;
        task_offsets: Option<Vec<StreamsTaskOffset>>, 0..;
        task_end_offsets: Option<Vec<StreamsTaskOffset>>, 0..;
        shutdown_application: bool, 0..;
    }
}

message! {
    pub struct StreamsGroupHeartbeatTopology {
        epoch: i32, 0..;
        subtopologies: Vec<StreamsGroupHeartbeatSubtopology>, 0..;
    }
}

message! {
    pub struct StreamsGroupHeartbeatSubtopology {
        subtopology_id: Str, 0..;
        source_topics: Vec<Str>, 0..;
        source_topic_regex: Vec<Str>, 0..;
        state_changelog_topics: Vec<StreamsTopicInfo>, 0..;
        repartition_sink_topics: Vec<Str>, 0..;
        repartition_source_topics: Vec<StreamsTopicInfo>, 0..;
        copartition_groups: Vec<StreamsGroupHeartbeatCopartitionGroup>, 0..;
    }
}

message! {
    /// Topics that must have the same number of partitions, each by its place in the subtopology's list.
    pub struct StreamsGroupHeartbeatCopartitionGroup {
        source_topics: Vec<i16>, 0..;
        source_topic_regex: Vec<i16>, 0..;
        repartition_source_topics: Vec<i16>, 0..;
    }
}

message! {
    pub struct StreamsGroupHeartbeatResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
        member_id: Str, 0..;
        member_epoch: i32, 0..;
        heartbeat_interval_ms: i32, 0..;
        acceptable_recovery_lag_legacy: i32, 0..=0, [ignorable];
        task_offset_interval_ms: i32, 0..;
        acceptable_recovery_lag: i64 = -1, 1.., [ignorable];
        /// Null when unchanged.
        status: Option<Vec<StreamsGroupHeartbeatStatus>>, 0..;
        active_tasks: Option<Vec<StreamsTaskIds>>, 0..;
        standby_tasks: Option<Vec<StreamsTaskIds>>, 0..;
        warmup_tasks: Option<Vec<StreamsTaskIds>>, 0..;
        topology_description_required: bool, 1.., [ignorable];
        endpoint_information_epoch: i32, 0..;
        partitions_by_user_endpoint: Option<Vec<StreamsEndpointToPartitions>>, 0..;
    }
}

message! {
    pub struct StreamsGroupHeartbeatStatus {
        /// 0: an old topology; 1: source topics are missing; 2: topics with other numbers of partitions than they must
        /// have; 3: internal topics are missing; 4: the application is shut down.
        status_code: i8, 0..;
        status_detail: Str, 0..;
    }
}

message! {
    pub struct StreamsEndpointToPartitions {
        user_endpoint: StreamsEndpoint, 0..;
        active_partitions: Vec<StreamsTopicPartitions>, 0..;
        standby_partitions: Vec<StreamsTopicPartitions>, 0..;
    }
}

message! {
    pub struct StreamsTopicPartitions {
        topic: Str, 0..;
        partitions: Vec<i32>, 0..;
    }
}
