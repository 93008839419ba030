//! IncrementalAlterConfigs (API 44, KIP-339) and AlterConfigs (API 33), for topics. Settings of brokers are read-only.

use std::collections::BTreeMap;

use super::describe_configs::{BROKER, TOPIC};
use super::{Call, Refused};
use crate::devbroker::configs::{self, Kind, TopicConfig};
use crate::devbroker::journal::ConfigEntry;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResourceResponse, IncrementalAlterConfigsResponse, IncrementalAlterableConfig,
};
use crate::protocol::types::Str;

type Overrides = BTreeMap<String, String>;

pub fn serve_incremental(state: &mut State, _call: &Call, request: &IncrementalAlterConfigsRequest) -> Answer {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let change = |present: &Overrides| resource.configs.iter().try_fold(present.clone(), apply);
        let outcome = alter(state, resource.resource_type, &resource.resource_name, request.validate_only, change);
        let (error_code, error_message) = said(outcome);
        responses.push(IncrementalAlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        });
    }
    IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }.into()
}

/// The older form: what is not named goes back to its default.
pub fn serve(state: &mut State, _call: &Call, request: &AlterConfigsRequest) -> Answer {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let change = |_: &Overrides| {
            let pairs =
                resource.configs.iter().map(|it| Ok((it.name.to_string(), checked(&it.name, it.value.as_deref())?)));
            pairs.collect()
        };
        let outcome = alter(state, resource.resource_type, &resource.resource_name, request.validate_only, change);
        let (error_code, error_message) = said(outcome);
        responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        });
    }
    AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }.into()
}

fn said(outcome: Result<(), Refused>) -> (i16, Option<Str>) {
    match outcome {
        Ok(()) => (0, None),
        Err(refused) => (refused.error.into(), Some(refused.message.into())),
    }
}

fn alter(
    state: &mut State,
    resource_type: i8,
    name: &Str,
    validate_only: bool,
    change: impl FnOnce(&Overrides) -> Result<Overrides, Refused>,
) -> Result<(), Refused> {
    match resource_type {
        TOPIC => {}
        BROKER => return Err(Refused::new(ErrorCode::INVALID_REQUEST, "Broker configs cannot be changed here.")),
        other => {
            return Err(Refused::new(
                ErrorCode::INVALID_REQUEST,
                format!("Resource type {other} has no configs here."),
            ));
        }
    }
    let unknown =
        || Refused::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic-partition.");
    let topic = state.topics.get(name).ok_or_else(unknown)?;
    let overrides = change(&topic.overrides)?;
    if validate_only {
        return Ok(());
    }
    let mut entry = topic.entry();
    let config =
        |(name, value): (&String, &String)| ConfigEntry { name: name.as_str().into(), value: value.as_str().into() };
    entry.configs = overrides.iter().map(config).collect();
    state.record(&[entry.into()])?;
    if let Some(topic) = state.topics.get_mut(name) {
        topic.config = TopicConfig::from_overrides(&overrides);
        topic.overrides = overrides;
    }
    Ok(())
}

fn checked(name: &str, value: Option<&str>) -> Result<String, Refused> {
    match configs::objection(name, value) {
        Some(objection) => Err(Refused::new(ErrorCode::INVALID_CONFIG, objection)),
        None => Ok(value.unwrap_or_default().to_owned()),
    }
}

/// `AlterConfigOp.OpType`: set, delete, append to a list, subtract from one.
fn apply(mut overrides: Overrides, config: &IncrementalAlterableConfig) -> Result<Overrides, Refused> {
    let name = &*config.name;
    let value = config.value.as_deref();
    let value = match config.config_operation {
        0 => checked(name, value)?,
        1 => {
            overrides.remove(name);
            return Ok(overrides);
        }
        2 | 3 => changed_list(&overrides, name, value.unwrap_or_default(), config.config_operation == 2)?,
        other => return Err(Refused::new(ErrorCode::INVALID_REQUEST, format!("Unknown operation {other} for {name}"))),
    };
    overrides.insert(name.to_owned(), value);
    Ok(overrides)
}

fn changed_list(overrides: &Overrides, name: &str, value: &str, append: bool) -> Result<String, Refused> {
    let list = configs::topic_setting(name).filter(|setting| matches!(setting.kind, Kind::List(_)));
    let setting = list.ok_or_else(|| Refused::new(ErrorCode::INVALID_CONFIG, format!("{name} is not a list")))?;
    let present = overrides.get(name).map_or(setting.default, String::as_str);
    let items =
        |text: &str| text.split(',').map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect::<Vec<_>>();
    let (mut result, change) = (items(present), items(value));
    result.retain(|item| !change.contains(item));
    if append {
        result.extend(change);
    }
    checked(name, Some(&result.join(",")))
}
