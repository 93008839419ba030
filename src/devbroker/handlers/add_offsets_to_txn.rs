//! AddOffsetsToTxn (API 25): the offsets of a group become part of a transaction (KIP-98).

use super::Call;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::transactions::{self, Identity};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use crate::protocol::types::Str;

pub fn serve(state: &mut State, call: &Call, request: &AddOffsetsToTxnRequest) -> Answer {
    let error = match add(state, call, request).err().unwrap_or(ErrorCode::NONE) {
        // Before version 2 there was another word for it (KIP-588).
        ErrorCode::PRODUCER_FENCED if call.version < 2 => ErrorCode::INVALID_PRODUCER_EPOCH,
        error => error,
    };
    AddOffsetsToTxnResponse { error_code: error.into(), ..AddOffsetsToTxnResponse::default() }.into()
}

fn add(state: &mut State, call: &Call, request: &AddOffsetsToTxnRequest) -> Result<(), ErrorCode> {
    if request.transactional_id.is_empty() || request.group_id.is_empty() {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if !groups::is_coordinator(state, call, &request.transactional_id) {
        return Err(ErrorCode::NOT_COORDINATOR);
    }
    let id = Str::from(request.transactional_id.as_str());
    let group = Str::from(request.group_id.as_str());
    let who = Identity { producer_id: request.producer_id, epoch: request.producer_epoch };
    transactions::add(state, call.now, &id, who, &[], Some(&group))
}
