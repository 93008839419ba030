//! Metadata (API 3): the brokers of a cluster, and who leads the partitions of topics.
//!
//! From version 1 on, `topics` null asks for all of them and an empty list for none; version 0 has only the empty
//! list, and means all by it. A topic that does not exist is created by the asking where broker and request both
//! allow it.
//!
//! - 1: the controller and racks (KIP-4, KIP-36)
//! - 2: the cluster id (KIP-78)
//! - 3: throttle time (KIP-124)
//! - 4: `allow_auto_topic_creation`
//! - 5: replicas that are offline (KIP-112)
//! - 6: KIP-219
//! - 7: leader epochs (KIP-320)
//! - 8: what the asker may do, when asked for (KIP-430)
//! - 9: KIP-482
//! - 10: topic ids in the response; the request has a place for them that brokers ignore (KIP-516)
//! - 11: operations on the cluster have moved to DescribeCluster (KIP-700)
//! - 12: topics may be asked for by id (KIP-516)
//! - 13: an error for the whole response, such as REBOOTSTRAP_REQUIRED (KIP-1102)

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct MetadataRequest {
        /// Null for all topics.
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
        /// -1 when unknown; under KRaft any broker, which passes requests on.
        controller_id: i32 = -1, 1.., [ignorable];
        topics: Vec<MetadataResponseTopic>, 0..;
        /// A bit for each operation that the asker may do; `i32::MIN` when it was not asked for.
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
        /// A bit for each operation that the asker may do; `i32::MIN` when it was not asked for.
        topic_authorized_operations: i32 = i32::MIN, 8..;
    }
}

message! {
    pub struct MetadataResponsePartition {
        error_code: i16, 0..;
        partition_index: i32, 0..;
        /// -1 when there is none.
        leader_id: i32, 0..;
        leader_epoch: i32 = -1, 7.., [ignorable];
        replica_nodes: Vec<i32>, 0..;
        isr_nodes: Vec<i32>, 0..;
        offline_replicas: Vec<i32>, 5.., [ignorable];
    }
}
