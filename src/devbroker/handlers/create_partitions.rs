//! CreatePartitions (API 37).

use std::collections::BTreeSet;

use super::create_topics::{add_partitions, replicas_exist, spread};
use super::{Call, Refused};
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::topics::TopicState;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use crate::protocol::types::BrokerId;

pub fn serve(state: &mut State, _call: &Call, request: &CreatePartitionsRequest) -> Answer {
    let mut seen = BTreeSet::new();
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let outcome = if seen.insert(topic.name.clone()) {
            one(state, topic, request.validate_only)
        } else {
            Err(Refused::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name."))
        };
        let (error_code, error_message) = match outcome {
            Ok(()) => (0, None),
            Err(refused) => (refused.error.into(), Some(refused.message.into())),
        };
        results.push(CreatePartitionsTopicResult { name: topic.name.clone(), error_code, error_message });
    }
    CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }.into()
}

fn one(state: &mut State, asked: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refused> {
    let unknown = || Refused::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "This server does not host this topic.");
    let replicas = replicas(state, asked, state.topics.get(&asked.name).ok_or_else(unknown)?)?;
    state.check_room(replicas.len())?;
    if validate_only {
        return Ok(());
    }
    let id = state.topics.get(&asked.name).ok_or_else(unknown)?.id;
    let mut topic = state.topics.remove(id).ok_or_else(unknown)?;
    let before = topic.partitions.len();
    let added = add_partitions(state, &mut topic, replicas);
    let stored = added.and_then(|()| Ok(state.record(&[topic.entry().into()])?));
    if stored.is_err() {
        topic.partitions.truncate(before);
    }
    state.topics.insert(topic);
    groups::topic_grown(state, &asked.name);
    stored
}

fn replicas(state: &State, asked: &CreatePartitionsTopic, topic: &TopicState) -> Result<Vec<Vec<BrokerId>>, Refused> {
    let present = topic.partitions.len();
    let more = i64::from(asked.count) - present as i64;
    if more <= 0 {
        let why = format!(
            "The topic {} currently has {present} partition(s); {} would not be an increase.",
            asked.name, asked.count
        );
        return Err(Refused::new(ErrorCode::INVALID_PARTITIONS, why));
    }
    let factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
    let Some(assignments) = asked.assignments.as_ref().filter(|it| !it.is_empty()) else {
        state.check_room(more as usize)?;
        return spread(state, present, more as i32, factor as i16);
    };
    let fits = |ids: &Vec<BrokerId>| ids.len() == factor && replicas_exist(state, ids);
    if assignments.len() as i64 != more || !assignments.iter().all(|it| fits(&it.broker_ids)) {
        let why = format!("{more} assignment(s) of {factor} different, registered broker(s) are needed.");
        return Err(Refused::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
    }
    Ok(assignments.iter().map(|it| it.broker_ids.clone()).collect())
}
