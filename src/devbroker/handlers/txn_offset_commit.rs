//! TxnOffsetCommit (API 28): offsets of a group that are committed with a transaction, if it is (KIP-98, KIP-447). From
//! version 5 on it adds the group to the transaction by itself (KIP-890).

use super::Call;
use crate::devbroker::group::{Commit, Committed, Committer, Identity as Member};
use crate::devbroker::groups;
use crate::devbroker::journal::Entry;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::transactions::{self, Identity, TransactionOffsetEntry};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use crate::protocol::types::{Str, Topic};

type Outcome = Result<(), ErrorCode>;

pub fn serve(state: &mut State, call: &Call, request: &TxnOffsetCommitRequest) -> Answer {
    let known = |(topic, it): &(Topic, &TxnOffsetCommitRequestPartition)| {
        let found = state.topics.get(topic).and_then(|topic| topic.partition(it.partition_index));
        if found.is_some() { Ok(()) } else { Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) }
    };
    let asked: Vec<(Topic, &TxnOffsetCommitRequestPartition)> = request.topics.iter().flat_map(places).collect();
    let known: Vec<Outcome> = asked.iter().map(known).collect();
    let wanted = asked.iter().zip(&known).filter(|(_, known)| known.is_ok()).map(|((topic, it), _)| commit(topic, it));
    let wanted: Vec<Commit> = wanted.collect();
    let mut decided = keep(state, call, request, &wanted).map(Vec::into_iter);
    let mut outcomes = known.into_iter().map(|known| {
        known?;
        decided.as_mut().map_err(|error| *error)?.next().unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR))
    });
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let partitions = topic.partitions.iter().zip(outcomes.by_ref()).map(|(it, outcome)| {
            let error_code = outcome.err().unwrap_or(ErrorCode::NONE).into();
            TxnOffsetCommitResponsePartition { partition_index: it.partition_index, error_code }
        });
        let partitions = partitions.collect();
        topics.push(TxnOffsetCommitResponseTopic { name: topic.name.clone(), topic_id: topic.topic_id, partitions });
    }
    TxnOffsetCommitResponse { topics, ..TxnOffsetCommitResponse::default() }.into()
}

fn places(topic: &TxnOffsetCommitRequestTopic) -> impl Iterator<Item = (Topic, &TxnOffsetCommitRequestPartition)> {
    let name = Topic::from(&topic.name);
    topic.partitions.iter().map(move |it| (name.clone(), it))
}

fn commit(topic: &Topic, it: &TxnOffsetCommitRequestPartition) -> Commit {
    let committed = Committed {
        offset: it.committed_offset,
        leader_epoch: Some(it.committed_leader_epoch).filter(|epoch| *epoch >= 0),
        metadata: it.committed_metadata.as_deref().unwrap_or_default().into(),
    };
    Commit { topic: topic.clone(), partition: it.partition_index, committed }
}

/// Keeps what is admitted: one outcome for each, in order.
fn keep(
    state: &mut State,
    call: &Call,
    request: &TxnOffsetCommitRequest,
    wanted: &[Commit],
) -> Result<Vec<Outcome>, ErrorCode> {
    if !groups::is_coordinator(state, call, &request.group_id) {
        return Err(ErrorCode::NOT_COORDINATOR);
    }
    let committer = Committer {
        generation: Some(request.generation_id_or_member_epoch).filter(|generation| *generation >= 0),
        who: Member::new(&request.member_id, request.group_instance_id.as_ref()),
        knows_group_id_not_found: false,
        is_too_old_for_epochs: false,
    };
    let admitted = groups::admit_transaction(state, &request.group_id, &committer, wanted)?;
    let id = Str::from(request.transactional_id.as_str());
    join(state, call, &id, request)?;
    let offsets = admitted.iter().flatten().filter_map(|entry| waiting(&id, entry));
    transactions::keep_offsets(state, call.now, offsets)?;
    Ok(admitted.into_iter().map(|outcome| outcome.map(drop)).collect())
}

/// Sees to it that the group is in the transaction.
fn join(state: &mut State, call: &Call, id: &Str, request: &TxnOffsetCommitRequest) -> Outcome {
    let group = Str::from(request.group_id.as_str());
    let who = Identity { producer_id: request.producer_id, epoch: request.producer_epoch };
    let joined = match call.version {
        5.. => transactions::add(state, call.now, id, who, &[], Some(&group)).map(|()| true),
        _ => state.transactions.coordinator.has_group(id, who, &group),
    };
    match joined {
        Ok(true) => Ok(()),
        Ok(false) if call.version >= 4 => Err(ErrorCode::TRANSACTION_ABORTABLE),
        Ok(false) => Err(ErrorCode::INVALID_TXN_STATE),
        Err(ErrorCode::PRODUCER_FENCED) => Err(ErrorCode::INVALID_PRODUCER_EPOCH),
        Err(error) => Err(error),
    }
}

fn waiting(id: &Str, entry: &Entry) -> Option<TransactionOffsetEntry> {
    let Entry::Offset(it) = entry else { return None };
    Some(TransactionOffsetEntry {
        transactional_id: id.clone(),
        group_id: it.group_id.clone(),
        // The topic's name may be a part of the frame, which must not be kept.
        topic: Str::from(it.topic.as_str()),
        partition: it.partition,
        offset: it.offset,
        leader_epoch: it.leader_epoch,
        metadata: Str::from(it.metadata.as_str()),
    })
}
