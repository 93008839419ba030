//! EndTxn (API 26): commits or aborts. Version 5 speaks the second protocol, in which the epoch rises with every end
//! (KIP-890).

use super::Call;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::transactions::{self, Close, Identity};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{EndTxnRequest, EndTxnResponse};
use crate::protocol::types::Str;

const SECOND_PROTOCOL: i16 = 5;

pub fn serve(state: &mut State, call: &Call, request: &EndTxnRequest) -> Answer {
    match end(state, call, request) {
        Ok(next) if call.version >= SECOND_PROTOCOL => {
            EndTxnResponse { producer_id: next.producer_id, producer_epoch: next.epoch, ..EndTxnResponse::default() }
        }
        Ok(_) => EndTxnResponse::default(),
        // Before version 2 there was another word for it (KIP-588).
        Err(ErrorCode::PRODUCER_FENCED) if call.version < 2 => {
            EndTxnResponse { error_code: ErrorCode::INVALID_PRODUCER_EPOCH.into(), ..EndTxnResponse::default() }
        }
        Err(error) => EndTxnResponse { error_code: error.into(), ..EndTxnResponse::default() },
    }
    .into()
}

fn end(state: &mut State, call: &Call, request: &EndTxnRequest) -> Result<Identity, ErrorCode> {
    if request.transactional_id.is_empty() {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if !groups::is_coordinator(state, call, &request.transactional_id) {
        return Err(ErrorCode::NOT_COORDINATOR);
    }
    let id = Str::from(request.transactional_id.as_str());
    let who = Identity { producer_id: request.producer_id, epoch: request.producer_epoch };
    let close = if request.committed { Close::Commit } else { Close::Abort };
    transactions::end(state, call.now, &id, who, close, call.version >= SECOND_PROTOCOL)
}
