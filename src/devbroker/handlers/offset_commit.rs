//! OffsetCommit (8). Topics are named until v9, and known by their ids from v10 on (KIP-848).

use std::sync::Arc;

use super::Call;
use crate::devbroker::group::{Commit, Committed, Committer, Identity};
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

pub fn serve(state: &mut State, call: &Call, request: &OffsetCommitRequest) -> Answer {
    let checked: Vec<Vec<Result<Commit, ErrorCode>>> =
        request.topics.iter().map(|topic| check(state, call.version, topic)).collect();
    let commits: Vec<Commit> = checked.iter().flatten().flatten().cloned().collect();
    let outcomes = if commits.is_empty() { Ok(Vec::new()) } else { commit(state, call, request, &commits) };
    let mut outcomes = outcomes.map(Vec::into_iter);
    let mut outcome = |checked: Result<Commit, ErrorCode>| {
        checked?;
        outcomes.as_mut().map_err(|error| *error)?.next().unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR))
    };
    let topics = request.topics.iter().zip(checked).map(|(topic, checked)| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().zip(checked).map(|(it, checked)| answer(it, outcome(checked))).collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }.into()
}

fn answer(partition: &OffsetCommitRequestPartition, outcome: Result<(), ErrorCode>) -> OffsetCommitResponsePartition {
    let error_code = outcome.err().unwrap_or(ErrorCode::NONE).into();
    OffsetCommitResponsePartition { partition_index: partition.partition_index, error_code }
}

/// A commit for each partition that exists.
fn check(state: &State, version: i16, topic: &OffsetCommitRequestTopic) -> Vec<Result<Commit, ErrorCode>> {
    let (found, missing) = match version {
        10.. => (state.topics.by_id(topic.topic_id), ErrorCode::UNKNOWN_TOPIC_ID),
        _ => (state.topics.get(&topic.name), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    };
    let check = |partition: &OffsetCommitRequestPartition| {
        let found = found.ok_or(missing)?;
        found.partition(partition.partition_index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let committed = Committed {
            offset: partition.committed_offset,
            leader_epoch: Some(partition.committed_leader_epoch).filter(|epoch| *epoch >= 0),
            metadata: Arc::from(partition.committed_metadata.as_deref().unwrap_or_default()),
        };
        Ok(Commit { topic: found.name.clone(), partition: partition.partition_index, committed })
    };
    topic.partitions.iter().map(check).collect()
}

fn commit(
    state: &mut State,
    call: &Call,
    request: &OffsetCommitRequest,
    commits: &[Commit],
) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
    if !groups::is_coordinator(state, call, &request.group_id) {
        return Err(ErrorCode::NOT_COORDINATOR);
    }
    let committer = Committer {
        generation: Some(request.generation_id_or_member_epoch).filter(|generation| *generation >= 0),
        who: Identity::new(&request.member_id, request.group_instance_id.as_ref()),
        knows_group_id_not_found: call.version >= 9,
        is_too_old_for_epochs: call.version < 9,
    };
    groups::commit(state, call.now, &request.group_id, &committer, commits)
}
