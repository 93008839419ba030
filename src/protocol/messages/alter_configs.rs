//! AlterConfigs (API 33): replaces all settings of a resource; what is not named is reset (KIP-133).
//!
//! IncrementalAlterConfigs takes its place wherever the broker knows it (KIP-339).
//!
//! - 1: KIP-219
//! - 2: KIP-482

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct AlterConfigsRequest {
        resources: Vec<AlterConfigsResource>, 0..;
        validate_only: bool, 0..;
    }
}

message! {
    pub struct AlterConfigsResource {
        resource_type: i8, 0..;
        resource_name: Str, 0..;
        configs: Vec<AlterableConfig>, 0..;
    }
}

message! {
    pub struct AlterableConfig {
        name: Str, 0..;
        value: Option<Str> = Some(Str::default()), 0..;
    }
}

message! {
    pub struct AlterConfigsResponse {
        throttle_time_ms: i32, 0..;
        responses: Vec<AlterConfigsResourceResponse>, 0..;
    }
}

message! {
    pub struct AlterConfigsResourceResponse {
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        resource_type: i8, 0..;
        resource_name: Str, 0..;
    }
}
