//! JoinGroup (11). The answer waits until the group has agreed on who is in it.

use std::sync::Arc;
use std::time::Duration;

use super::Call;
use crate::devbroker::group::{Join, Joined, JoinedMember, Protocol, Scene};
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use crate::protocol::types::Str;

pub fn serve(state: &mut State, call: &Call, request: JoinGroupRequest) -> Answer {
    if !request.group_id.is_empty() && !groups::is_coordinator(state, call, &request.group_id) {
        return response(call.version, Some(&request.member_id), Err(ErrorCode::NOT_COORDINATOR)).into();
    }
    let group_id = request.group_id.clone();
    let join = join(state, call, request);
    groups::park(state, call, |coordinator, topics, ticket, out| {
        coordinator.join(Scene { now: call.now.instant, topics }, &group_id, join, ticket, out);
    })
}

fn join(state: &mut State, call: &Call, request: JoinGroupRequest) -> Join {
    let client_id = call.client_id.as_deref().unwrap_or_default();
    let instance_id = request.group_instance_id.as_deref();
    let chance = uuid::Uuid::from_bytes(state.random_id().0);
    let fresh_id = format!("{}-{chance}", instance_id.unwrap_or(client_id));
    let session_timeout = milliseconds(request.session_timeout_ms);
    Join {
        member_id: Some(&*request.member_id).filter(|id| !id.is_empty()).map(Arc::from),
        fresh_id: Arc::from(fresh_id),
        instance_id: instance_id.map(Arc::from),
        client_id: Arc::from(client_id),
        // As `InetAddress.toString` writes it.
        client_host: Arc::from(format!("/{}", call.client_host)),
        session_timeout,
        rebalance_timeout: if call.version == 0 { session_timeout } else { milliseconds(request.rebalance_timeout_ms) },
        protocol_type: Arc::from(&*request.protocol_type),
        protocols: request.protocols.into_iter().map(protocol).collect(),
        id_required: call.version >= 4,
        may_skip_assignment: call.version >= 9,
    }
}

fn protocol(protocol: JoinGroupRequestProtocol) -> Protocol {
    Protocol { name: Arc::from(&*protocol.name), metadata: protocol.metadata }
}

fn milliseconds(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

pub(in crate::devbroker) fn response(
    version: i16,
    member_id: Option<&str>,
    outcome: Result<Joined, ErrorCode>,
) -> JoinGroupResponse {
    let member_id = Str::from(member_id.unwrap_or_default());
    // Before v7 there is no null for the name of a protocol.
    let nameless = (version < 7).then(Str::default);
    let joined = match outcome {
        Ok(joined) => joined,
        Err(error) => {
            let error_code = error.into();
            return JoinGroupResponse {
                error_code,
                protocol_name: nameless,
                member_id,
                ..JoinGroupResponse::default()
            };
        }
    };
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.as_deref().map(Str::from),
        protocol_name: joined.protocol.as_deref().map(Str::from).or(nameless),
        leader: Str::from(&*joined.leader),
        skip_assignment: joined.skip_assignment,
        member_id,
        members: joined.members.into_iter().map(member).collect(),
        ..JoinGroupResponse::default()
    }
}

fn member(member: JoinedMember) -> JoinGroupResponseMember {
    JoinGroupResponseMember {
        member_id: Str::from(&*member.id),
        group_instance_id: member.instance_id.as_deref().map(Str::from),
        metadata: member.metadata,
    }
}
