//! DeleteTopics (API 20): removes topics (KIP-4).
//!
//! - 1: throttle time (KIP-124)
//! - 2: KIP-219
//! - 3: TOPIC_DELETION_DISABLED may be answered (KIP-322)
//! - 4: KIP-482
//! - 5: an error message, and THROTTLING_QUOTA_EXCEEDED (KIP-599)
//! - 6: topics by name or by id, in another list (KIP-516)

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct DeleteTopicsRequest {
        topics: Vec<DeleteTopicState>, 6..;
        /// Up to version 5; later versions have `topics`.
        topic_names: Vec<Str>, 0..=5, [ignorable];
        timeout_ms: i32, 0..;
    }
}

message! {
    pub struct DeleteTopicState {
        /// Null when the id says which topic.
        name: Option<Str>, 6..;
        topic_id: Uuid, 6..;
    }
}

message! {
    pub struct DeleteTopicsResponse {
        throttle_time_ms: i32, 1.., [ignorable];
        responses: Vec<DeletableTopicResult>, 0..;
    }
}

message! {
    pub struct DeletableTopicResult {
        name: Option<Str> = Some(Str::default()), 0.., nullable 6..;
        topic_id: Uuid, 6.., [ignorable];
        error_code: i16, 0..;
        error_message: Option<Str>, 5.., [ignorable];
    }
}
