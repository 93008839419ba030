//! ApiVersions (API 18): what is served, and the features of the cluster (KIP-584).
//!
//! Produce is advertised from version 0, as Kafka 4 does although it serves none below 3: librdkafka before 2.11 takes the
//! absence of the old versions for a broker that cannot do compression (KAFKA-18659).

use std::ops::RangeInclusive;

use super::Call;
use crate::devbroker::Profile;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::versions::TRANSACTION_VERSION;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

const KEY: i16 = 18;
const PRODUCE: i16 = 0;

pub fn serve(state: &mut State, call: &Call, request: &ApiVersionsRequest) -> Answer {
    let named = |text: &str| {
        text.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
            && text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric())
            && text.chars().last().is_some_and(|c| c.is_ascii_alphanumeric())
    };
    // KIP-511: a client that says who it is must say it in these letters.
    if call.version >= 3 && !(named(&request.client_software_name) && named(&request.client_software_version)) {
        return ApiVersionsResponse { error_code: ErrorCode::INVALID_REQUEST.into(), ..ApiVersionsResponse::default() }
            .into();
    }
    let api_keys = state.config.profile.served().map(row).collect();
    let features = state.config.profile.features();
    ApiVersionsResponse {
        api_keys,
        supported_features: features.iter().map(|it| supported(call.version, it)).collect(),
        finalized_features_epoch: if features.is_empty() { -1 } else { 1 },
        finalized_features: features.iter().filter_map(|it| finalized(state, it)).collect(),
        ..ApiVersionsResponse::default()
    }
    .into()
}

/// From version 4 on a range may begin at 0; older clients take that for an error (KAFKA-17011).
fn supported(version: i16, (name, levels): &(&'static str, RangeInclusive<i16>)) -> SupportedFeatureKey {
    let least = if version >= 4 { *levels.start() } else { (*levels.start()).max(1) };
    SupportedFeatureKey { name: (*name).into(), min_version: least, max_version: *levels.end() }
}

/// What the cluster has settled on; level 0 is said by silence.
fn finalized(state: &State, (name, levels): &(&'static str, RangeInclusive<i16>)) -> Option<FinalizedFeatureKey> {
    let level = if *name == TRANSACTION_VERSION { state.config.transaction_version } else { *levels.end() };
    let row = FinalizedFeatureKey { name: (*name).into(), max_version_level: level, min_version_level: level };
    (level > 0).then_some(row)
}

fn row((key, versions): (i16, RangeInclusive<i16>)) -> ApiVersion {
    let min_version = if key == PRODUCE { 0 } else { *versions.start() };
    ApiVersion { api_key: key, min_version, max_version: *versions.end() }
}

/// The answer, always in version 0, to a version of this API that is not served.
pub fn refusal(profile: Profile) -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION.into(),
        api_keys: profile.served().filter(|(key, _)| *key == KEY).map(row).collect(),
        ..ApiVersionsResponse::default()
    }
}
