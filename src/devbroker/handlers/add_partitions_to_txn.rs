//! AddPartitionsToTxn (API 24): clients until version 3, brokers among themselves from version 4 on (KIP-890).

use super::Call;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::transactions::{self, Identity};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic, AddPartitionsToTxnTopicResult, AddPartitionsToTxnTransaction,
};
use crate::protocol::types::{Str, TopicId};

pub fn serve(state: &mut State, call: &Call, request: AddPartitionsToTxnRequest) -> Answer {
    if call.version >= 4 {
        let result = |it: AddPartitionsToTxnTransaction| AddPartitionsToTxnResult {
            topic_results: add(state, call, &it),
            transactional_id: it.transactional_id,
        };
        let results_by_transaction = request.transactions.into_iter().map(result).collect();
        return AddPartitionsToTxnResponse { results_by_transaction, ..AddPartitionsToTxnResponse::default() }.into();
    }
    let asked = AddPartitionsToTxnTransaction {
        transactional_id: request.v3_and_below_transactional_id,
        producer_id: request.v3_and_below_producer_id,
        producer_epoch: request.v3_and_below_producer_epoch,
        verify_only: false,
        topics: request.v3_and_below_topics,
    };
    let results_by_topic_v3_and_below = add(state, call, &asked);
    AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..AddPartitionsToTxnResponse::default() }.into()
}

/// All are added, or none: if some do not exist, that is said of them, and of the others that they were not attempted.
fn add(state: &mut State, call: &Call, asked: &AddPartitionsToTxnTransaction) -> Vec<AddPartitionsToTxnTopicResult> {
    let find = |topic: &AddPartitionsToTxnTopic, index: i32| -> Option<(TopicId, i32)> {
        let found = state.topics.get(&topic.name)?;
        found.partition(index).map(|_| (found.id, index))
    };
    let found: Vec<Option<(TopicId, i32)>> =
        asked.topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| find(topic, *index))).collect();
    if found.iter().any(Option::is_none) {
        let mut found = found.into_iter().map(|it| match it {
            Some(_) => ErrorCode::OPERATION_NOT_ATTEMPTED,
            None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        });
        return results(asked, || found.next().unwrap_or(ErrorCode::NONE));
    }
    let partitions: Vec<(TopicId, i32)> = found.into_iter().flatten().collect();
    let outcome = add_all(state, call, asked, &partitions).err().unwrap_or(ErrorCode::NONE);
    results(asked, || outcome)
}

fn add_all(
    state: &mut State,
    call: &Call,
    asked: &AddPartitionsToTxnTransaction,
    partitions: &[(TopicId, i32)],
) -> Result<(), ErrorCode> {
    let id = Str::from(asked.transactional_id.as_str());
    let who = Identity { producer_id: asked.producer_id, epoch: asked.producer_epoch };
    if id.is_empty() {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if !groups::is_coordinator(state, call, &id) {
        return Err(ErrorCode::NOT_COORDINATOR);
    }
    if asked.verify_only {
        return partitions.iter().try_for_each(|it| match state.transactions.coordinator.is_in(&id, who, *it)? {
            true => Ok(()),
            false => Err(ErrorCode::TRANSACTION_ABORTABLE),
        });
    }
    transactions::add(state, call.now, &id, who, partitions, None).map_err(|error| told(error, call.version))
}

/// Before version 2 there was another word for it (KIP-588).
fn told(error: ErrorCode, version: i16) -> ErrorCode {
    if error == ErrorCode::PRODUCER_FENCED && version < 2 { ErrorCode::INVALID_PRODUCER_EPOCH } else { error }
}

fn results(
    asked: &AddPartitionsToTxnTransaction,
    mut outcome: impl FnMut() -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut rows = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let row = |index: &i32| AddPartitionsToTxnPartitionResult {
            partition_index: *index,
            partition_error_code: outcome().into(),
        };
        let results_by_partition = topic.partitions.iter().map(row).collect();
        rows.push(AddPartitionsToTxnTopicResult { name: topic.name.clone(), results_by_partition });
    }
    rows
}
