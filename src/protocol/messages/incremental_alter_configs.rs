//! IncrementalAlterConfigs (API 44): sets, resets or edits single settings of a resource (KIP-339).
//!
//! - 1: KIP-482

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct IncrementalAlterConfigsRequest {
        resources: Vec<IncrementalAlterConfigsResource>, 0..;
        validate_only: bool, 0..;
    }
}

message! {
    pub struct IncrementalAlterConfigsResource {
        resource_type: i8, 0..;
        resource_name: Str, 0..;
        configs: Vec<IncrementalAlterableConfig>, 0..;
    }
}

message! {
    pub struct IncrementalAlterableConfig {
        name: Str, 0..;
        /// 0: set; 1: delete; 2: append to a list; 3: subtract from a list.
        config_operation: i8, 0..;
        value: Option<Str> = Some(Str::default()), 0..;
    }
}

message! {
    pub struct IncrementalAlterConfigsResponse {
        throttle_time_ms: i32, 0..;
        responses: Vec<IncrementalAlterConfigsResourceResponse>, 0..;
    }
}

message! {
    pub struct IncrementalAlterConfigsResourceResponse {
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        resource_type: i8, 0..;
        resource_name: Str, 0..;
    }
}
