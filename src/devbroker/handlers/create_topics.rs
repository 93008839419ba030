//! CreateTopics (API 19): names, partition counts, placements and settings are checked as Kafka's controller does; what
//! was created is described in the answer (KIP-525).

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Refused};
use crate::devbroker::configs::{self, TOPIC_SETTINGS, TopicConfig};
use crate::devbroker::groups;
use crate::devbroker::producers::Producers;
use crate::devbroker::reply::Answer;
use crate::devbroker::restore::new_log;
use crate::devbroker::state::State;
use crate::devbroker::topics::{Partition, TopicState};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::protocol::types::{BrokerId, Str, Topic, TopicId, Uuid};

/// Kafka's `MAX_PARTITIONS_PER_BATCH`.
const MAX_PARTITIONS_AT_ONCE: i64 = 10_000;
const LONGEST_NAME: usize = 249;

/// Partitions to be made: the replicas of each, the leader first.
#[derive(Debug, Default)]
pub struct Plan {
    pub replicas: Vec<Vec<BrokerId>>,
    pub overrides: BTreeMap<String, String>,
}

impl Plan {
    /// Spreads partitions over the brokers in turn.
    pub fn spread(state: &State, partitions: i32, factor: i16) -> Result<Plan, Refused> {
        Ok(Plan { replicas: spread(state, 0, partitions, factor)?, ..Plan::default() })
    }
}

/// The replicas of the partitions `first..first + count`.
pub fn spread(state: &State, first: usize, count: i32, factor: i16) -> Result<Vec<Vec<BrokerId>>, Refused> {
    let brokers = state.brokers.len();
    let factor = usize::try_from(factor).ok().filter(|factor| (1..=brokers).contains(factor)).ok_or_else(|| {
        Refused::new(
            ErrorCode::INVALID_REPLICATION_FACTOR,
            format!("Unable to replicate the partition {factor} time(s): only {brokers} broker(s) are registered."),
        )
    })?;
    let count = usize::try_from(count).unwrap_or(0);
    let id = |at: usize| state.brokers.get(at % brokers).map(|broker| broker.id);
    Ok((first..first + count).map(|at| (0..factor).filter_map(|replica| id(at + replica)).collect()).collect())
}

pub fn serve(state: &mut State, _call: &Call, request: &CreateTopicsRequest) -> Answer {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<Str> = request
        .topics
        .iter()
        .filter(|topic| !seen.insert(topic.name.clone()))
        .map(|topic| topic.name.clone())
        .collect();
    let total: i64 = request.topics.iter().map(|topic| i64::from(topic.num_partitions.max(1))).sum();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let outcome = if twice.contains(&topic.name) {
            Err(Refused::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name."))
        } else if total > MAX_PARTITIONS_AT_ONCE {
            Err(Refused::new(ErrorCode::POLICY_VIOLATION, "Excessively large number of partitions per request."))
        } else {
            one(state, topic, request.validate_only)
        };
        topics.push(outcome.unwrap_or_else(|refused| refusal(topic, refused)));
    }
    CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }.into()
}

fn one(state: &mut State, topic: &CreatableTopic, validate_only: bool) -> Result<CreatableTopicResult, Refused> {
    if let Some(objection) = name_objection(state, &topic.name) {
        return Err(Refused::new(ErrorCode::INVALID_TOPIC_EXCEPTION, objection));
    }
    if state.topics.get(&topic.name).is_some() {
        return Err(Refused::new(ErrorCode::TOPIC_ALREADY_EXISTS, format!("Topic '{}' already exists.", topic.name)));
    }
    let plan = plan(state, topic)?;
    let (replicas, overrides) = (plan.replicas.clone(), plan.overrides.clone());
    let topic_id = if validate_only { Uuid::ZERO } else { create(state, &topic.name, plan)? };
    Ok(CreatableTopicResult {
        name: topic.name.clone(),
        topic_id,
        error_message: None,
        num_partitions: replicas.len() as i32,
        replication_factor: replicas.first().map_or(1, Vec::len) as i16,
        configs: Some(described(&overrides)),
        ..CreatableTopicResult::default()
    })
}

fn plan(state: &State, topic: &CreatableTopic) -> Result<Plan, Refused> {
    let mut overrides = BTreeMap::new();
    for config in &topic.configs {
        if let Some(objection) = configs::objection(&config.name, config.value.as_deref()) {
            return Err(Refused::new(ErrorCode::INVALID_CONFIG, objection));
        }
        overrides.insert(config.name.to_string(), config.value.as_deref().unwrap_or_default().to_owned());
    }
    let replicas = if topic.assignments.is_empty() { placed(state, topic)? } else { assigned(state, topic)? };
    Ok(Plan { replicas, overrides })
}

fn placed(state: &State, topic: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, Refused> {
    let partitions = match topic.num_partitions {
        -1 => state.config.default_partitions,
        n if n > 0 => n,
        _ => {
            return Err(Refused::new(
                ErrorCode::INVALID_PARTITIONS,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        }
    };
    let factor = match topic.replication_factor {
        -1 => 1,
        0 => {
            return Err(Refused::new(
                ErrorCode::INVALID_REPLICATION_FACTOR,
                "Replication factor must be larger than 0.",
            ));
        }
        n => n,
    };
    spread(state, 0, partitions, factor)
}

/// Replicas that the client chose: partitions from 0 without a gap, brokers that exist, none twice.
fn assigned(state: &State, topic: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, Refused> {
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        let why =
            "A manual partition assignment was specified, but numPartitions or replicationFactor was not set to -1.";
        return Err(Refused::new(ErrorCode::INVALID_REQUEST, why));
    }
    let by_index: BTreeMap<i32, &Vec<BrokerId>> =
        topic.assignments.iter().map(|it| (it.partition_index, &it.broker_ids)).collect();
    let complete = by_index.keys().copied().eq(0..topic.assignments.len() as i32);
    let factor = topic.assignments.first().map_or(0, |it| it.broker_ids.len());
    let same = by_index.values().all(|ids| ids.len() == factor);
    if !complete || !same || !by_index.values().all(|ids| replicas_exist(state, ids)) {
        let why = "Partitions must be numbered from 0, with equally many different replicas on registered brokers.";
        return Err(Refused::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
    }
    Ok(by_index.into_values().cloned().collect())
}

/// Whether replicas are on brokers that exist, at least one, none twice.
pub fn replicas_exist(state: &State, ids: &[BrokerId]) -> bool {
    let different: BTreeSet<&BrokerId> = ids.iter().collect();
    !ids.is_empty() && different.len() == ids.len() && ids.iter().all(|id| state.broker(*id).is_some())
}

/// Makes a topic whose name and plan were checked.
pub fn create(state: &mut State, name: &Str, plan: Plan) -> Result<TopicId, Refused> {
    state.check_room(plan.replicas.len())?;
    let id = state.random_id();
    let mut topic = TopicState {
        name: Topic::from(name),
        id,
        config: TopicConfig::from_overrides(&plan.overrides),
        overrides: plan.overrides,
        partitions: Vec::new(),
    };
    add_partitions(state, &mut topic, plan.replicas)?;
    state.record(&[topic.entry().into()])?;
    state.topics.insert(topic);
    groups::topic_created(state, name);
    Ok(id)
}

/// Gives a topic more partitions; nothing is journalled yet.
pub fn add_partitions(state: &State, topic: &mut TopicState, replicas: Vec<Vec<BrokerId>>) -> Result<(), Refused> {
    for replicas in replicas {
        let log = new_log(state.storage.as_ref(), &topic.name, topic.partitions.len()).map_err(|error| {
            tracing::error!(topic = %topic.name, %error, "a partition's directory could not be made");
            Refused::new(ErrorCode::KAFKA_STORAGE_ERROR, error.to_string())
        })?;
        topic.partitions.push(Partition {
            leader: replicas.first().copied().unwrap_or_else(|| state.controller()),
            leader_epoch: 0,
            replicas,
            log,
            producers: Producers::default(),
            watchers: Vec::new(),
        });
    }
    Ok(())
}

/// Why no topic may have this name (`Topic.validate`, and the clash of '.' and '_' in the names of metrics).
pub fn name_objection(state: &State, name: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() {
        return Some("Topic name is invalid: the empty string is not allowed".into());
    }
    if name == "." || name == ".." {
        return Some("Topic name is invalid: '.' or '..' is not allowed".into());
    }
    if name.len() > LONGEST_NAME {
        return Some(format!("Topic name is invalid: its length is longer than {LONGEST_NAME}"));
    }
    if !name.chars().all(legal) {
        return Some(format!(
            "Topic name is invalid: '{name}' contains characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    let alike = name.replace('.', "_");
    let clash = state.topics.iter().find(|it| &*it.name != name && it.name.replace('.', "_") == alike);
    clash.map(|it| format!("Topic '{name}' collides with existing topic: {}", it.name))
}

fn described(overrides: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let row = |setting: &configs::TopicSetting| {
        let value = overrides.get(setting.name);
        CreatableTopicConfigs {
            name: setting.name.into(),
            value: Some(value.map_or(setting.default, String::as_str).into()),
            config_source: if value.is_some() { 1 } else { 5 },
            ..CreatableTopicConfigs::default()
        }
    };
    TOPIC_SETTINGS.iter().map(row).collect()
}

fn refusal(topic: &CreatableTopic, refused: Refused) -> CreatableTopicResult {
    CreatableTopicResult {
        name: topic.name.clone(),
        error_code: refused.error.into(),
        error_message: Some(refused.message.into()),
        ..CreatableTopicResult::default()
    }
}
