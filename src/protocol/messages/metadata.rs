//! Metadata (API 3).

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>> = Some(Vec::new()), 0.., nullable 1..;
        allow_auto_topic_creation: bool = true, 4..;
        include_cluster_authorized_operations: bool, 8..=10;
        include_topic_authorized_operations: bool, 8..;
    }
}

message! {
    pub struct MetadataRequestTopic {
        topic_id: Uuid, 10.., [ignorable];
        name: Option<Str> = Some(Str::default()), 0.., nullable 10..;
    }
}

message! {
    pub struct MetadataResponse {
        throttle_time_ms: i32, 3.., [ignorable];
        brokers: Vec<MetadataResponseBroker>, 0..;
        cluster_id: Option<Str>, 2.., [ignorable];
        controller_id: i32 = -1, 1.., [ignorable];
        topics: Vec<MetadataResponseTopic>, 0..;
        cluster_authorized_operations: i32 = i32::MIN, 8..=10;
        error_code: i16, 13.., [ignorable];
    }
}

message! {
    pub struct MetadataResponseBroker {
        node_id: i32, 0..;
        host: Str, 0..;
        port: i32, 0..;
        rack: Option<Str>, 1.., [ignorable];
    }
}

message! {
    pub struct MetadataResponseTopic {
        error_code: i16, 0..;
        name: Option<Str> = Some(Str::default()), 0.., nullable 12..;
        topic_id: Uuid, 10.., [ignorable];
        is_internal: bool, 1.., [ignorable];
        partitions: Vec<MetadataResponsePartition>, 0..;
        topic_authorized_operations: i32 = i32::MIN, 8..;
    }
}

message! {
    pub struct MetadataResponsePartition {
        error_code: i16, 0..;
        partition_index: i32, 0..;
        leader_id: i32, 0..;
        leader_epoch: i32 = -1, 7.., [ignorable];
        replica_nodes: Vec<i32>, 0..;
        isr_nodes: Vec<i32>, 0..;
        offline_replicas: Vec<i32>, 5.., [ignorable];
    }
}
