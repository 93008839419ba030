//! InitProducerId (API 22). Without a transactional id: a fresh producer id, epoch 0, also for a producer that shows one
//! that it has (KIP-360). With one: what its coordinator says (KIP-98).

use super::Call;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::transactions::{self, Identity};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use crate::protocol::types::Str;

pub fn serve(state: &mut State, call: &Call, request: &InitProducerIdRequest) -> Answer {
    let outcome = match &request.transactional_id {
        Some(id) if id.is_empty() => Err(ErrorCode::INVALID_REQUEST),
        Some(id) => transactional(state, call, id, request),
        None => state.new_producer_id().map(|producer_id| Identity { producer_id, epoch: 0 }).map_err(ErrorCode::from),
    };
    match outcome {
        Ok(Identity { producer_id, epoch }) => {
            InitProducerIdResponse { producer_id, producer_epoch: epoch, ..InitProducerIdResponse::default() }
        }
        Err(error) => InitProducerIdResponse {
            error_code: told(error, call.version).into(),
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        },
    }
    .into()
}

/// Before version 4 there was another word for it (KIP-588).
fn told(error: ErrorCode, version: i16) -> ErrorCode {
    if error == ErrorCode::PRODUCER_FENCED && version < 4 { ErrorCode::INVALID_PRODUCER_EPOCH } else { error }
}

fn transactional(
    state: &mut State,
    call: &Call,
    id: &Str,
    request: &InitProducerIdRequest,
) -> Result<Identity, ErrorCode> {
    if !groups::is_coordinator(state, call, id) {
        return Err(ErrorCode::NOT_COORDINATOR);
    }
    let timeout_ms = request.transaction_timeout_ms;
    let most = i32::try_from(state.config.max_transaction_timeout.as_millis()).unwrap_or(i32::MAX);
    if !(1..=most).contains(&timeout_ms) {
        return Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
    }
    let shown = (request.producer_id >= 0)
        .then_some(Identity { producer_id: request.producer_id, epoch: request.producer_epoch });
    // The id outlives the frame that it came in.
    transactions::init(state, call.now, &Str::from(id.as_str()), shown, timeout_ms)
}
