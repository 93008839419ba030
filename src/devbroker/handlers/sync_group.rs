//! SyncGroup (14). The answer waits until the leader has handed out the assignment.

use std::sync::Arc;

use super::Call;
use crate::devbroker::group::{Assigned, Identity, Scene, Sync};
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use crate::protocol::types::Str;

pub fn serve(state: &mut State, call: &Call, request: SyncGroupRequest) -> Answer {
    if !request.group_id.is_empty() && !groups::is_coordinator(state, call, &request.group_id) {
        return response(Err(ErrorCode::NOT_COORDINATOR)).into();
    }
    // From v5 on a member must say what it thinks the group has agreed on (KIP-559).
    if call.version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return response(Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)).into();
    }
    let assignments = request.assignments.into_iter().map(|it| (Arc::from(&*it.member_id), it.assignment));
    let sync = Sync {
        who: Identity::new(&request.member_id, request.group_instance_id.as_ref()),
        generation: request.generation_id,
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: assignments.collect(),
    };
    groups::park(state, call, |coordinator, topics, ticket, out| {
        coordinator.sync(Scene { now: call.now.instant, topics }, &request.group_id, sync, ticket, out);
    })
}

pub(in crate::devbroker) fn response(outcome: Result<Assigned, ErrorCode>) -> SyncGroupResponse {
    match outcome {
        Ok(assigned) => SyncGroupResponse {
            protocol_type: assigned.protocol_type.as_deref().map(Str::from),
            protocol_name: assigned.protocol.as_deref().map(Str::from),
            assignment: assigned.assignment,
            ..SyncGroupResponse::default()
        },
        Err(error) => SyncGroupResponse { error_code: error.into(), ..SyncGroupResponse::default() },
    }
}
