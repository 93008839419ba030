//! DeleteShareGroupOffsets (API 92): lets a share group without members forget topics (KIP-932).

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! {
    pub struct DeleteShareGroupOffsetsRequest {
        group_id: Str, 0..;
        topics: Vec<DeleteShareGroupOffsetsRequestTopic>, 0..;
    }
}

message! {
    pub struct DeleteShareGroupOffsetsRequestTopic {
        topic_name: Str, 0..;
    }
}

message! {
    pub struct DeleteShareGroupOffsetsResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
        responses: Vec<DeleteShareGroupOffsetsResponseTopic>, 0..;
    }
}

message! {
    pub struct DeleteShareGroupOffsetsResponseTopic {
        topic_name: Str, 0..;
        topic_id: Uuid, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
    }
}
