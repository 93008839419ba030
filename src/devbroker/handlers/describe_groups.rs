//! DescribeGroups (15). A group that does not exist, or is not of the classic protocol, is
//! "Dead", and from v6 on an error (KIP-1043).

use super::{Call, group_operations};
use crate::devbroker::group::{Group, Member, MemberId, State as GroupState};
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember};
use crate::protocol::types::Str;

pub fn serve(state: &State, call: &Call, request: DescribeGroupsRequest) -> Answer {
    let allowed = if request.include_authorized_operations { group_operations() } else { i32::MIN };
    let groups = request.groups.into_iter().map(|group_id| describe(state, call, group_id, allowed));
    DescribeGroupsResponse { groups: groups.collect(), ..DescribeGroupsResponse::default() }.into()
}

fn describe(state: &State, call: &Call, group_id: Str, authorized_operations: i32) -> DescribedGroup {
    if !groups::is_coordinator(state, call, &group_id) {
        let error_code = ErrorCode::NOT_COORDINATOR.into();
        return DescribedGroup { group_id, error_code, ..DescribedGroup::default() };
    }
    let Some(group) = state.groups.coordinator.group(&group_id) else {
        let exists = state.groups.coordinator.exists(&group_id);
        let why = if exists { "is not a classic group" } else { "not found" };
        let why = format!("Group {group_id} {why}.");
        return dead(call.version, group_id, authorized_operations, why);
    };
    // What members say is only shown while they agree on how to read it.
    let protocol = group.protocol().filter(|_| group.state() == GroupState::Stable);
    DescribedGroup {
        group_id,
        group_state: Str::from(group.state().name()),
        protocol_type: group.protocol_type().map(|it| Str::from(&**it)).unwrap_or_default(),
        protocol_data: protocol.map(|it| Str::from(&**it)).unwrap_or_default(),
        members: members(group, protocol.map(|it| &**it)),
        authorized_operations,
        ..DescribedGroup::default()
    }
}

fn dead(version: i16, group_id: Str, authorized_operations: i32, why: String) -> DescribedGroup {
    let dead = DescribedGroup { group_state: Str::from_static("Dead"), ..DescribedGroup::default() };
    if version < 6 {
        return DescribedGroup { group_id, authorized_operations, ..dead };
    }
    DescribedGroup {
        error_code: ErrorCode::GROUP_ID_NOT_FOUND.into(),
        error_message: Some(Str::from(why)),
        group_id,
        ..dead
    }
}

fn members(group: &Group, protocol: Option<&str>) -> Vec<DescribedGroupMember> {
    let member = |(id, member): (&MemberId, &Member)| DescribedGroupMember {
        member_id: Str::from(&**id),
        group_instance_id: member.instance_id.as_deref().map(Str::from),
        client_id: Str::from(&*member.client_id),
        client_host: Str::from(&*member.client_host),
        member_metadata: protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default(),
        member_assignment: member.assignment.clone(),
    };
    group.members().iter().map(member).collect()
}
