//! DeleteShareGroupOffsets (92): lets a share group without members forget topics (KIP-932).

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, Refused};
use crate::devbroker::groups;
use crate::devbroker::journal::Entry;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse, DeleteShareGroupOffsetsResponseTopic,
};
use crate::protocol::types::{Str, TopicId};

const UNKNOWN: &str = "This server does not host this topic-partition.";
const NOTHING: &str = "There is no offset information to delete.";

pub fn serve(state: &mut State, call: &Call, request: DeleteShareGroupOffsetsRequest) -> Answer {
    match delete(state, call, &request) {
        Ok(forgotten) => {
            let topics = request.topics.into_iter().map(|topic| answer(state, topic.topic_name, &forgotten));
            DeleteShareGroupOffsetsResponse { responses: topics.collect(), ..Default::default() }.into()
        }
        Err(Refused { error, message }) => DeleteShareGroupOffsetsResponse {
            error_code: error.into(),
            error_message: Some(message.into()),
            ..Default::default()
        }
        .into(),
    }
}

fn delete(
    state: &mut State,
    call: &Call,
    request: &DeleteShareGroupOffsetsRequest,
) -> Result<BTreeMap<TopicId, Entry>, Refused> {
    groups::may_keep_share(state, call, &request.group_id)?;
    let id = |name: &Str| state.topics.get(name).map(|topic| topic.id);
    let topics: BTreeSet<TopicId> = request.topics.iter().filter_map(|topic| id(&topic.topic_name)).collect();
    let forgotten = state.groups.coordinator.forget_share(&request.group_id, &topics)?;
    let entries: Vec<Entry> = forgotten.values().cloned().collect();
    groups::change(state, &entries).map_err(|error| Refused::new(error, ""))?;
    Ok(forgotten)
}

fn answer(
    state: &State,
    topic_name: Str,
    forgotten: &BTreeMap<TopicId, Entry>,
) -> DeleteShareGroupOffsetsResponseTopic {
    let topic = state.topics.get(&topic_name).map(|topic| topic.id);
    let why = match topic {
        Some(id) if forgotten.contains_key(&id) => None,
        Some(_) => Some(NOTHING),
        None => Some(UNKNOWN),
    };
    DeleteShareGroupOffsetsResponseTopic {
        topic_name,
        topic_id: topic.unwrap_or_default(),
        error_code: why.map_or(ErrorCode::NONE, |_| ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).into(),
        error_message: why.map(Str::from_static),
    }
}
