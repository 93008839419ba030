//! FindCoordinator (10): which broker keeps a group or a transactional id. Many keys at once from v4 on (KIP-699).

use super::Call;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::types::Str;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub fn serve(state: &State, call: &Call, request: FindCoordinatorRequest) -> Answer {
    if call.version >= 4 {
        let keys = request.coordinator_keys.into_iter();
        let coordinators = keys.map(|key| find(state, call, request.key_type, key)).collect();
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() }.into();
    }
    let found = find(state, call, request.key_type, request.key);
    FindCoordinatorResponse {
        error_code: found.error_code,
        // Kafka's word for no error, in these versions.
        error_message: if found.error_code == 0 { Some(Str::from_static("NONE")) } else { found.error_message },
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..FindCoordinatorResponse::default()
    }
    .into()
}

fn find(state: &State, call: &Call, key_type: i8, key: Str) -> Coordinator {
    match key_type {
        GROUP | TRANSACTION => {
            let Some(broker) = groups::coordinator_of(state, &key).and_then(|id| state.broker(id)) else {
                return nowhere(key, ErrorCode::COORDINATOR_NOT_AVAILABLE, "No broker keeps this.");
            };
            let (host, port) = (broker.host_for(call), i32::from(broker.port));
            Coordinator { key, node_id: broker.id, host, port, ..Coordinator::default() }
        }
        _ => nowhere(key, ErrorCode::INVALID_REQUEST, "This broker keeps only consumer groups and transactions."),
    }
}

fn nowhere(key: Str, error: ErrorCode, message: &'static str) -> Coordinator {
    let error_message = Some(Str::from_static(message));
    Coordinator { key, node_id: -1, host: Str::default(), port: -1, error_code: error.into(), error_message }
}
