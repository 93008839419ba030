//! ElectLeaders (API 43): has the controller choose the leaders of partitions anew (KIP-183).
//!
//! - 1: unclean elections as well as preferred ones (KIP-460)
//! - 2: KIP-482

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct ElectLeadersRequest {
        /// 0: preferred; 1: unclean.
        election_type: i8, 1..;
        /// Null for all partitions.
        topic_partitions: Option<Vec<ElectLeadersTopicPartitions>> = Some(Vec::new()), 0..;
        timeout_ms: i32 = 60000, 0..;
    }
}

message! {
    pub struct ElectLeadersTopicPartitions {
        topic: Str, 0..;
        partitions: Vec<i32>, 0..;
    }
}

message! {
    pub struct ElectLeadersResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 1..;
        replica_election_results: Vec<ReplicaElectionResult>, 0..;
    }
}

message! {
    pub struct ReplicaElectionResult {
        topic: Str, 0..;
        partition_result: Vec<ElectLeadersPartitionResult>, 0..;
    }
}

message! {
    pub struct ElectLeadersPartitionResult {
        partition_id: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
    }
}
