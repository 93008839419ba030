//! ListGroups (16): the groups that the broker coordinates which is asked; by state from v4 on (KIP-518), by type from v5
//! on (KIP-848).

use super::Call;
use crate::devbroker::group::Listing;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::messages::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use crate::protocol::types::Str;

pub fn serve(state: &State, call: &Call, request: &ListGroupsRequest) -> Answer {
    let wanted = |group: &Listing| {
        groups::is_coordinator(state, call, &group.group_id)
            && passes(&request.states_filter, group.state)
            && passes(&request.types_filter, group.kind)
    };
    let groups = state.groups.coordinator.list().filter(wanted).map(|group| listed(&group)).collect();
    ListGroupsResponse { groups, ..ListGroupsResponse::default() }.into()
}

/// An empty filter lets everything pass.
fn passes(filter: &[Str], name: &str) -> bool {
    filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
}

fn listed(group: &Listing) -> ListedGroup {
    ListedGroup {
        group_id: Str::from(&*group.group_id),
        protocol_type: group.protocol_type.as_deref().map(Str::from).unwrap_or_default(),
        group_state: Str::from_static(group.state),
        group_type: Str::from_static(group.kind),
    }
}
