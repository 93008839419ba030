//! ListConfigResources (API 74).

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
