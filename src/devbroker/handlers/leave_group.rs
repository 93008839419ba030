//! LeaveGroup (13). From v3 on several members may leave at once, each with its own outcome (KIP-345).

use super::Call;
use crate::devbroker::group::Identity;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};

pub fn serve(state: &mut State, call: &Call, mut request: LeaveGroupRequest) -> Answer {
    if call.version < 3 {
        request.members = vec![MemberIdentity { member_id: request.member_id.clone(), ..MemberIdentity::default() }];
    }
    let outcomes = match leave(state, call, &request) {
        Ok(outcomes) => outcomes,
        Err(error) => return failed(error).into(),
    };
    if call.version < 3 {
        return failed(outcomes.into_iter().find_map(Result::err).unwrap_or(ErrorCode::NONE)).into();
    }
    let member = |(who, outcome): (MemberIdentity, Result<(), ErrorCode>)| MemberResponse {
        member_id: who.member_id,
        group_instance_id: who.group_instance_id,
        error_code: outcome.err().unwrap_or(ErrorCode::NONE).into(),
    };
    let members = request.members.into_iter().zip(outcomes).map(member).collect();
    LeaveGroupResponse { members, ..LeaveGroupResponse::default() }.into()
}

fn leave(state: &mut State, call: &Call, request: &LeaveGroupRequest) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
    if !request.group_id.is_empty() && !groups::is_coordinator(state, call, &request.group_id) {
        return Err(ErrorCode::NOT_COORDINATOR);
    }
    let identity = |it: &MemberIdentity| Identity::new(&it.member_id, it.group_instance_id.as_ref());
    let leaving: Vec<Identity> = request.members.iter().map(identity).collect();
    for member in &request.members {
        let reason = member.reason.as_deref().unwrap_or("not given");
        tracing::debug!(group = %request.group_id, member = %member.member_id, reason, "leaves");
    }
    groups::event(state, |coordinator, topics, out| {
        coordinator.leave(call.now.instant, &request.group_id, &leaving, topics, out)
    })
}

fn failed(error: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse { error_code: error.into(), ..LeaveGroupResponse::default() }
}
