//! DescribeConfigs (API 32).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource>, 0..;
        include_synonyms: bool, 1..;
        include_documentation: bool, 3..;
    }
}

message! {
    pub struct DescribeConfigsResource {
        resource_type: i8, 0..;
        resource_name: Str, 0..;
        configuration_keys: Option<Vec<Str>> = Some(Vec::new()), 0..;
    }
}

message! {
    pub struct DescribeConfigsResponse {
        throttle_time_ms: i32, 0..;
        results: Vec<DescribeConfigsResult>, 0..;
    }
}

message! {
    pub struct DescribeConfigsResult {
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        resource_type: i8, 0..;
        resource_name: Str, 0..;
        configs: Vec<DescribeConfigsResourceResult>, 0..;
    }
}

message! {
    pub struct DescribeConfigsResourceResult {
        name: Str, 0..;
        value: Option<Str> = Some(Str::default()), 0..;
        read_only: bool, 0..;
        config_source: i8 = -1, 1.., [ignorable];
        is_sensitive: bool, 0..;
        synonyms: Vec<DescribeConfigsSynonym>, 1.., [ignorable];
        config_type: i8, 3.., [ignorable];
        documentation: Option<Str> = Some(Str::default()), 3.., [ignorable];
    }
}

message! {
    pub struct DescribeConfigsSynonym {
        name: Str, 1..;
        value: Option<Str> = Some(Str::default()), 1..;
        source: i8, 1..;
    }
}
