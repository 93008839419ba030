//! ListConfigResources (API 74): the resources that have settings of their own.
//!
//! - 0: client metrics subscriptions only (KIP-1000)
//! - 1: all types, and a filter by them (KIP-1142)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct ListConfigResourcesRequest {
        resource_types: Vec<i8>, 1..;
    }
}

message! {
    pub struct ListConfigResourcesResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        config_resources: Vec<ConfigResource>, 0..;
    }
}

message! {
    pub struct ConfigResource {
        resource_name: Str, 0..;
        resource_type: i8 = 16, 1.., [ignorable];
    }
}
