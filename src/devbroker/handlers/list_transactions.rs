//! ListTransactions (API 66): the transactional ids that the broker asked keeps (KIP-664, KIP-994, KIP-1152).

use super::Call;
use crate::devbroker::group::consumer::whole;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::transactions::{Phase, Transaction};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{ListTransactionsRequest, ListTransactionsResponse, ListTransactionsState};
use crate::protocol::types::Str;

/// Every state that Kafka knows, by the names that a filter may have.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

pub fn serve(state: &State, call: &Call, request: &ListTransactionsRequest) -> Answer {
    let unknown = request.state_filters.iter().filter(|name| !STATES.contains(&name.as_str()));
    let unknown_state_filters: Vec<Str> = unknown.cloned().collect();
    let row = |(id, it): (&Str, &Transaction)| ListTransactionsState {
        transactional_id: id.clone(),
        producer_id: it.identity.producer_id,
        transaction_state: Str::from_static(it.phase.name()),
    };
    let pattern = request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty());
    let Ok(pattern) = pattern.map(whole).transpose() else {
        let error_code = ErrorCode::INVALID_REGULAR_EXPRESSION.into();
        return ListTransactionsResponse { error_code, ..ListTransactionsResponse::default() }.into();
    };
    let all = state.transactions.coordinator.iter();
    let wanted = all
        .filter(|(id, _)| groups::is_coordinator(state, call, id))
        .filter(|(id, _)| pattern.as_ref().is_none_or(|pattern| pattern.is_match(id)))
        .filter(|(_, it)| matches(request, it, call.now.unix_ms));
    let transaction_states = wanted.map(row).collect();
    ListTransactionsResponse { unknown_state_filters, transaction_states, ..ListTransactionsResponse::default() }.into()
}

fn matches(request: &ListTransactionsRequest, it: &Transaction, now_ms: i64) -> bool {
    let name = it.phase.name();
    let in_state =
        request.state_filters.is_empty() || request.state_filters.iter().any(|filter| filter.as_str() == name);
    let of_producer =
        request.producer_id_filters.is_empty() || request.producer_id_filters.contains(&it.identity.producer_id);
    let runs_ms = it.began_ms.filter(|_| it.phase != Phase::Empty).map(|began| now_ms - began);
    let is_old = request.duration_filter < 0 || runs_ms.is_some_and(|ms| ms > request.duration_filter);
    in_state && of_producer && is_old
}
