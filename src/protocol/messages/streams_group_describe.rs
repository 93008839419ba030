//! StreamsGroupDescribe (API 89): state, topology, members and tasks of streams groups (KIP-1071).
//!
//! - 1: the topology as the application described it (KIP-1331), and the assignor that is next (KIP-1357)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct StreamsGroupDescribeRequest {
        group_ids: Vec<Str>, 0..;
        include_authorized_operations: bool, 0..;
        include_topology_description: bool, 1..;
    }
}

message! {
    pub struct StreamsGroupDescribeResponse {
        throttle_time_ms: i32, 0..;
        groups: Vec<DescribedStreamsGroup>, 0..;
    }
}

message! {
    pub struct DescribedStreamsGroup {
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
        group_id: Str, 0..;
        group_state: Str, 0..;
        group_epoch: i32, 0..;
        assignment_epoch: i32, 0..;
        /// Null after an error.
        topology: Option<StreamsTopology>, 0..;
        members: Vec<StreamsGroupDescribeMember>, 0..;
        /// A bit for each operation that the asker may do; `i32::MIN` when it was not asked for.
        authorized_operations: i32 = i32::MIN, 0..;
        topology_description: Option<StreamsTopologyDescription>, 1..;
        /// 0: not asked for; 1: the broker has none; 2: it could not read it; 3: given.
        topology_description_status: i8, 1..;
        assignor_name: Option<Str>, 1.., [ignorable];
    }
}

message! {
    pub struct StreamsTopology {
        epoch: i32, 0..;
        subtopologies: Option<Vec<StreamsSubtopology>>, 0..;
    }
}

message! {
    pub struct StreamsSubtopology {
        subtopology_id: Str, 0..;
        source_topics: Vec<Str>, 0..;
        repartition_sink_topics: Vec<Str>, 0..;
        state_changelog_topics: Vec<StreamsTopicInfo>, 0..;
        repartition_source_topics: Vec<StreamsTopicInfo>, 0..;
    }
}

message! {
    pub struct StreamsTopicInfo {
        name: Str, 0..;
        partitions: i32, 0..;
        replication_factor: i16, 0..;
        topic_configs: Vec<StreamsKeyValue>, 0..;
    }
}

message! {
    pub struct StreamsKeyValue {
        key: Str, 0..;
        value: Str, 0..;
    }
}

message! {
    pub struct StreamsGroupDescribeMember {
        member_id: Str, 0..;
        member_epoch: i32, 0..;
        instance_id: Option<Str>, 0..;
        rack_id: Option<Str>, 0..;
        client_id: Str, 0..;
        client_host: Str, 0..;
        topology_epoch: i32, 0..;
        process_id: Str, 0..;
        user_endpoint: Option<StreamsEndpoint>, 0..;
        client_tags: Vec<StreamsKeyValue>, 0..;
        task_offsets: Vec<StreamsTaskOffset>, 0..;
        task_end_offsets: Vec<StreamsTaskOffset>, 0..;
        assignment: StreamsGroupDescribeAssignment, 0..;
        target_assignment: StreamsGroupDescribeAssignment, 0..;
        is_classic: bool, 0..;
    }
}

message! {
    /// Where a member answers interactive queries.
    pub struct StreamsEndpoint {
        host: Str, 0..;
        port: u16, 0..;
    }
}

message! {
    pub struct StreamsTaskOffset {
        subtopology_id: Str, 0..;
        partition: i32, 0..;
        offset: i64, 0..;
    }
}

message! {
    pub struct StreamsGroupDescribeAssignment {
        active_tasks: Vec<StreamsTaskIds>, 0..;
        standby_tasks: Vec<StreamsTaskIds>, 0..;
        warmup_tasks: Vec<StreamsTaskIds>, 0..;
    }
}

message! {
    pub struct StreamsTaskIds {
        subtopology_id: Str, 0..;
        partitions: Vec<i32>, 0..;
    }
}

message! {
    pub struct StreamsTopologyDescription {
        subtopologies: Vec<StreamsTopologyDescriptionSubtopology>, 1..;
        global_stores: Vec<StreamsTopologyDescriptionGlobalStore>, 1..;
    }
}

message! {
    pub struct StreamsTopologyDescriptionSubtopology {
        subtopology_id: Str, 1..;
        nodes: Vec<StreamsTopologyDescriptionNode>, 1..;
    }
}

message! {
    pub struct StreamsTopologyDescriptionNode {
        name: Str, 1..;
        node_type: i8, 1..;
        source_topics: Vec<Str>, 1..;
        sink_topic: Option<Str>, 1..;
        stores: Vec<Str>, 1..;
        successors: Vec<Str>, 1..;
    }
}

message! {
    pub struct StreamsTopologyDescriptionGlobalStore {
        source: StreamsTopologyDescriptionNode, 1..;
        processor: StreamsTopologyDescriptionNode, 1..;
    }
}
