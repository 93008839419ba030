//! CreateTopics (API 19): makes topics, or only checks that it could (KIP-4).
//!
//! - 2: throttle time (KIP-124)
//! - 3: KIP-219
//! - 4: -1 leaves the number of partitions or replicas to the broker (KIP-464)
//! - 5: KIP-482; what was made, with its configuration (KIP-525)
//! - 6: THROTTLING_QUOTA_EXCEEDED may be answered (KIP-599)
//! - 7: the new topic's id (KIP-516)

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct CreateTopicsRequest {
        topics: Vec<CreatableTopic>, 0..;
        timeout_ms: i32 = 60000, 0..;
        /// Check, and make nothing.
        validate_only: bool, 1..;
    }
}

message! {
    pub struct CreatableTopic {
        name: Str, 0..;
        /// -1 with `assignments` or, from version 4, for the broker's default.
        num_partitions: i32, 0..;
        /// -1 with `assignments` or, from version 4, for the broker's default.
        replication_factor: i16, 0..;
        /// Empty to let the broker place the replicas.
        assignments: Vec<CreatableReplicaAssignment>, 0..;
        configs: Vec<CreatableTopicConfig>, 0..;
    }
}

message! {
    pub struct CreatableReplicaAssignment {
        partition_index: i32, 0..;
        broker_ids: Vec<i32>, 0..;
    }
}

message! {
    pub struct CreatableTopicConfig {
        name: Str, 0..;
        value: Option<Str> = Some(Str::default()), 0..;
    }
}

message! {
    pub struct CreateTopicsResponse {
        throttle_time_ms: i32, 2.., [ignorable];
        topics: Vec<CreatableTopicResult>, 0..;
    }
}

message! {
    pub struct CreatableTopicResult {
        name: Str, 0..;
        topic_id: Uuid, 7.., [ignorable];
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 1.., [ignorable];
        topic_config_error_code: i16, 5.., tag 0, [ignorable];
        num_partitions: i32 = -1, 5.., [ignorable];
        replication_factor: i16 = -1, 5.., [ignorable];
        /// Null when the asker may not see them; `topic_config_error_code` then says why.
        configs: Option<Vec<CreatableTopicConfigs>> = Some(Vec::new()), 5.., [ignorable];
    }
}

message! {
    pub struct CreatableTopicConfigs {
        name: Str, 5..;
        value: Option<Str> = Some(Str::default()), 5..;
        read_only: bool, 5..;
        config_source: i8 = -1, 5.., [ignorable];
        is_sensitive: bool, 5..;
    }
}
