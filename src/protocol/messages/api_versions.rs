//! ApiVersions (API 18): which APIs and versions a broker speaks; the first request of a connection (KIP-35).
//!
//! The header of the response is never flexible, and a broker that does not know the request's version answers
//! UNSUPPORTED_VERSION in version 0, with its own range for this API (KIP-511).
//!
//! - 1: throttle time (KIP-124)
//! - 2: KIP-219
//! - 3: KIP-482; name and version of the client (KIP-511); the cluster's features (KIP-584)
//! - 4: features whose lowest version is 0 are told as well (KAFKA-17011)
//! - 5: the cluster and the broker that the client means to talk to, checked by the broker (KIP-1242)

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
        /// -1 when unknown.
        finalized_features_epoch: i64 = -1, 3.., tag 1, [ignorable];
        finalized_features: Vec<FinalizedFeatureKey>, 3.., tag 2, [ignorable];
        /// Left over from the move away from ZooKeeper (KIP-866).
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
