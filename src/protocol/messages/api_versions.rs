//! ApiVersions (API 18).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct ApiVersionsRequest {
        client_software_name: Str, 3.., [ignorable];
        client_software_version: Str, 3.., [ignorable];
        cluster_id: Option<Str>, 5.., [ignorable];
        node_id: i32 = -1, 5.., [ignorable];
    }
}

message! {
    pub struct ApiVersionsResponse {
        error_code: i16, 0..;
        api_keys: Vec<ApiVersion>, 0..;
        throttle_time_ms: i32, 1.., [ignorable];
        supported_features: Vec<SupportedFeatureKey>, 3.., tag 0, [ignorable];
        finalized_features_epoch: i64 = -1, 3.., tag 1, [ignorable];
        finalized_features: Vec<FinalizedFeatureKey>, 3.., tag 2, [ignorable];
        zk_migration_ready: bool, 3.., tag 3, [ignorable];
    }
}

message! {
    pub struct ApiVersion {
        api_key: i16, 0..;
        min_version: i16, 0..;
        max_version: i16, 0..;
    }
}

message! {
    pub struct SupportedFeatureKey {
        name: Str, 3..;
        min_version: i16, 3..;
        max_version: i16, 3..;
    }
}

message! {
    pub struct FinalizedFeatureKey {
        name: Str, 3..;
        max_version_level: i16, 3..;
        min_version_level: i16, 3..;
    }
}
