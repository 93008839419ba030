//! DeleteTopics (API 20): by name, or by id (KIP-516). Offsets that groups committed for the topic go with it.

use super::{Call, Refused};
use crate::devbroker::groups;
use crate::devbroker::journal::TopicRemovedEntry;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::protocol::types::{Str, TopicId, Uuid};

pub fn serve(state: &mut State, call: &Call, request: DeleteTopicsRequest) -> Answer {
    let named = |name: Str| DeleteTopicState { name: Some(name), topic_id: Uuid::ZERO };
    let asked = request.topics.into_iter().chain(request.topic_names.into_iter().map(named));
    let responses = asked.map(|topic| one(state, call, topic)).collect();
    DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }.into()
}

fn one(state: &mut State, call: &Call, asked: DeleteTopicState) -> DeletableTopicResult {
    let found = find(state, &asked);
    let name = found.as_ref().map_or(asked.name, |(_, name)| Some(name.clone()));
    let topic_id = found.as_ref().map_or(asked.topic_id, |(id, _)| *id);
    let outcome = found.and_then(|(id, name)| remove(state, call, id, &name));
    let (error_code, error_message) = match outcome {
        Ok(()) => (0, None),
        Err(refused) => (refused.error.into(), Some(refused.message.into())),
    };
    DeletableTopicResult { name, topic_id, error_code, error_message }
}

fn find(state: &State, asked: &DeleteTopicState) -> Result<(TopicId, Str), Refused> {
    let (topic, error) = match (&asked.name, asked.topic_id) {
        (Some(name), Uuid::ZERO) => (state.topics.get(name), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (None, id) => (state.topics.by_id(id), ErrorCode::UNKNOWN_TOPIC_ID),
        (Some(_), _) => {
            return Err(Refused::new(ErrorCode::INVALID_REQUEST, "You may not specify both topic name and topic id."));
        }
    };
    let topic = topic.ok_or_else(|| Refused::new(error, "This server does not host this topic."))?;
    Ok((topic.id, Str::from(&topic.name)))
}

fn remove(state: &mut State, call: &Call, id: TopicId, name: &Str) -> Result<(), Refused> {
    state.record(&[TopicRemovedEntry { topic_id: id }.into()])?;
    groups::topic_removed(state, id, name);
    let Some(topic) = state.topics.remove(id) else { return Ok(()) };
    for (index, partition) in topic.partitions.into_iter().enumerate() {
        state.finish_fetches(call.now, &partition.watchers);
        if let Err(error) = partition.log.remove() {
            tracing::warn!(topic = %topic.name, index, %error, "files of a deleted topic stay behind");
        }
    }
    Ok(())
}
