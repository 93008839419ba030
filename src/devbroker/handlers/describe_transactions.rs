//! DescribeTransactions (API 65, KIP-664).

use std::collections::BTreeMap;

use super::Call;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::transactions::Transaction;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, DescribeTransactionsState, DescribeTransactionsTopicData,
};
use crate::protocol::types::Str;

pub fn serve(state: &State, call: &Call, request: DescribeTransactionsRequest) -> Answer {
    let row = |id: Str| {
        let outcome = match state.transactions.coordinator.get(&id) {
            _ if id.is_empty() => Err(ErrorCode::INVALID_REQUEST),
            _ if !groups::is_coordinator(state, call, &id) => Err(ErrorCode::NOT_COORDINATOR),
            None => Err(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND),
            Some(transaction) => Ok(described(state, transaction)),
        };
        let row = outcome.unwrap_or_else(|error| DescribeTransactionsState {
            error_code: error.into(),
            ..DescribeTransactionsState::default()
        });
        DescribeTransactionsState { transactional_id: id, ..row }
    };
    let transaction_states = request.transactional_ids.into_iter().map(row).collect();
    DescribeTransactionsResponse { transaction_states, ..DescribeTransactionsResponse::default() }.into()
}

fn described(state: &State, transaction: &Transaction) -> DescribeTransactionsState {
    let mut topics: BTreeMap<Str, Vec<i32>> = BTreeMap::new();
    for (id, partition) in &transaction.partitions {
        if let Some(topic) = state.topics.by_id(*id) {
            topics.entry(Str::from(&topic.name)).or_default().push(*partition);
        }
    }
    let topic = |(topic, partitions)| DescribeTransactionsTopicData { topic, partitions };
    DescribeTransactionsState {
        transaction_state: Str::from_static(transaction.phase.name()),
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_start_time_ms: transaction.began_ms.unwrap_or(-1),
        producer_id: transaction.identity.producer_id,
        producer_epoch: transaction.identity.epoch,
        topics: topics.into_iter().map(topic).collect(),
        ..DescribeTransactionsState::default()
    }
}
