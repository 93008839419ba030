//! DeleteTopics (API 20).

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct DeleteTopicsRequest {
        topics: Vec<DeleteTopicState>, 6..;
        topic_names: Vec<Str>, 0..=5, [ignorable];
        timeout_ms: i32, 0..;
    }
}

message! {
    pub struct DeleteTopicState {
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
