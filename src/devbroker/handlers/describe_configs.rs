//! DescribeConfigs (API 32): topics and brokers, with sources and synonyms (KIP-226), types and documentation (KIP-569).

use std::collections::BTreeMap;

use super::{Call, Refused};
use crate::devbroker::configs::{BROKER_DEFAULTS, BrokerSetting, Kind, TOPIC_SETTINGS};
use crate::devbroker::reply::Answer;
use crate::devbroker::state::{Broker, State};
use crate::devbroker::topics::TopicState;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::protocol::types::Str;

/// `ConfigResource.Type`
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
/// `DescribeConfigsResponse.ConfigSource`
const DYNAMIC_TOPIC: i8 = 1;
const STATIC_BROKER: i8 = 4;
const DEFAULT: i8 = 5;

pub fn serve(state: &mut State, call: &Call, request: &DescribeConfigsRequest) -> Answer {
    let results =
        request.resources.iter().map(|resource| one(state, call, resource, request.include_synonyms)).collect();
    DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }.into()
}

fn one(state: &State, call: &Call, resource: &DescribeConfigsResource, synonyms: bool) -> DescribeConfigsResult {
    let found = match resource.resource_type {
        TOPIC => topic(state, &resource.resource_name),
        BROKER => broker(state, call, &resource.resource_name),
        other => Err(Refused::new(ErrorCode::INVALID_REQUEST, format!("Resource type {other} has no configs here."))),
    };
    let (configs, error_code, error_message) = match found {
        Ok(configs) => (configs, 0, None),
        Err(refused) => (Vec::new(), refused.error.into(), Some(refused.message.into())),
    };
    let wanted = |config: &DescribeConfigsResourceResult| {
        resource.configuration_keys.as_ref().is_none_or(|keys| keys.contains(&config.name))
    };
    let without = |config: DescribeConfigsResourceResult| match synonyms {
        true => config,
        false => DescribeConfigsResourceResult { synonyms: Vec::new(), ..config },
    };
    DescribeConfigsResult {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        configs: configs.into_iter().filter(wanted).map(without).collect(),
    }
}

fn topic(state: &State, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    let unknown =
        || Refused::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition.");
    Ok(topic_rows(state.topics.get(name).ok_or_else(unknown)?))
}

fn topic_rows(topic: &TopicState) -> Vec<DescribeConfigsResourceResult> {
    let synonym = |name: &str, value: &str, source| DescribeConfigsSynonym {
        name: name.into(),
        value: Some(value.into()),
        source,
    };
    let row = |setting: &crate::devbroker::configs::TopicSetting| {
        let set = topic.overrides.get(setting.name);
        let own = set.map(|value| synonym(setting.name, value, DYNAMIC_TOPIC));
        let inherited = setting.synonym.map(|name| synonym(name, setting.default, DEFAULT));
        DescribeConfigsResourceResult {
            name: setting.name.into(),
            value: Some(set.map_or(setting.default, String::as_str).into()),
            config_source: if set.is_some() { DYNAMIC_TOPIC } else { DEFAULT },
            synonyms: own.into_iter().chain(inherited).collect(),
            config_type: setting.kind.code(),
            documentation: None,
            ..DescribeConfigsResourceResult::default()
        }
    };
    TOPIC_SETTINGS.iter().map(row).collect()
}

fn broker(state: &State, call: &Call, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    // The empty name is the cluster-wide default, for which nothing was set.
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let own = name.parse() == Ok(call.broker);
    let broker = state.broker(call.broker).filter(|_| own).ok_or_else(|| {
        let why = format!("Unexpected broker id, expected {}, but received {name}", call.broker);
        Refused::new(ErrorCode::INVALID_REQUEST, why)
    })?;
    Ok(settings(state, call, broker).into_values().map(|setting| broker_row(&setting)).collect())
}

fn broker_row(setting: &BrokerSetting) -> DescribeConfigsResourceResult {
    let value = setting.value.as_deref().map(Str::from);
    let source = if setting.set { STATIC_BROKER } else { DEFAULT };
    let synonym = DescribeConfigsSynonym { name: setting.name.into(), value: value.clone(), source };
    DescribeConfigsResourceResult {
        name: setting.name.into(),
        synonyms: if value.is_some() { vec![synonym] } else { Vec::new() },
        value,
        read_only: true,
        config_source: source,
        is_sensitive: setting.kind == Kind::Password,
        config_type: setting.kind.code(),
        documentation: None,
    }
}

/// Everything a broker has set or by default, by name.
fn settings(state: &State, call: &Call, broker: &Broker) -> BTreeMap<&'static str, BrokerSetting> {
    let config = &state.config;
    let of_topics =
        TOPIC_SETTINGS.iter().filter_map(|it| Some((it.synonym?, it.kind, Some(it.default.to_owned()), false)));
    let defaults = BROKER_DEFAULTS.iter().map(|(name, kind, value)| (*name, *kind, value.map(str::to_owned), false));
    let listener = format!("PLAINTEXT://{}:{}", broker.host_for(call), broker.port);
    let log_dirs = config.data_dir.as_ref().map(|directory| directory.to_string_lossy().into_owned());
    let set = |name, kind, value: String| (name, kind, Some(value), true);
    let own = [
        set("advertised.listeners", Kind::List(&[]), listener.clone()),
        set("auto.create.topics.enable", Kind::Bool, config.auto_create_topics.to_string()),
        set("broker.id", Kind::Int(-1), broker.id.to_string()),
        ("broker.rack", Kind::Text, broker.rack.as_ref().map(Str::to_string), broker.rack.is_some()),
        set("connections.max.idle.ms", Kind::Long(0), config.idle_timeout.as_millis().to_string()),
        set("fetch.max.bytes", Kind::Int(1024), config.max_fetch_bytes.to_string()),
        set("listeners", Kind::List(&[]), listener),
        ("log.dirs", Kind::List(&[]), log_dirs, config.data_dir.is_some()),
        set("max.connections", Kind::Int(0), config.max_connections.to_string()),
        set("node.id", Kind::Int(0), broker.id.to_string()),
        set("num.partitions", Kind::Int(1), config.default_partitions.to_string()),
        set("socket.request.max.bytes", Kind::Int(1), config.max_request_bytes.to_string()),
    ];
    let all = of_topics.chain(defaults).chain(own);
    all.map(|(name, kind, value, set)| (name, BrokerSetting { name, kind, value, set })).collect()
}
