//! InitProducerId (API 22), for idempotent producers: a fresh id, epoch 0. A producer that asks with an id it has gets
//! a fresh one all the same, as from Kafka when there is no transactional id (KIP-360).

use super::Call;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

pub fn serve(state: &mut State, _call: &Call, request: &InitProducerIdRequest) -> Answer {
    let outcome = match &request.transactional_id {
        Some(id) if id.is_empty() => Err(ErrorCode::INVALID_REQUEST),
        // Transactions are not served, and no coordinator for them will ever be found.
        Some(_) => Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        None => state.new_producer_id().map_err(ErrorCode::from),
    };
    match outcome {
        Ok(producer_id) => InitProducerIdResponse { producer_id, ..InitProducerIdResponse::default() },
        Err(error) => {
            InitProducerIdResponse { error_code: error.into(), producer_epoch: -1, ..InitProducerIdResponse::default() }
        }
    }
    .into()
}
