//! Heartbeat (12): a member is alive, and learns that it must join again.

use super::Call;
use crate::devbroker::group::{Identity, Scene};
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{HeartbeatRequest, HeartbeatResponse};

pub fn serve(state: &mut State, call: &Call, request: &HeartbeatRequest) -> Answer {
    let error = beat(state, call, request).err().unwrap_or(ErrorCode::NONE);
    HeartbeatResponse { error_code: error.into(), ..HeartbeatResponse::default() }.into()
}

fn beat(state: &mut State, call: &Call, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
    if !request.group_id.is_empty() && !groups::is_coordinator(state, call, &request.group_id) {
        return Err(ErrorCode::NOT_COORDINATOR);
    }
    let who = Identity::new(&request.member_id, request.group_instance_id.as_ref());
    groups::event(state, |coordinator, topics, _| {
        coordinator.heartbeat(Scene { now: call.now.instant, topics }, &request.group_id, &who, request.generation_id)
    })
}
