//! DescribeConfigs (API 32): the settings of topics, brokers and other resources (KIP-133).
//!
//! The settings of a broker are asked of that broker, all others of any.
//!
//! - 1: where a value comes from, and what it overrides (KIP-226)
//! - 2: KIP-219
//! - 3: the type of a setting and its documentation (KIP-569)
//! - 4: KIP-482

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
        /// 2: topic; 4: broker; 8: a broker's loggers; 16: client metrics; 32: group.
        resource_type: i8, 0..;
        resource_name: Str, 0..;
        /// Null for all settings.
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
        /// Null for a setting that is sensitive, or has no value.
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
