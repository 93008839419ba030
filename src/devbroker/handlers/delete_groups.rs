//! DeleteGroups (42): groups without members, and their offsets.

use std::collections::BTreeSet;

use super::Call;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use crate::protocol::types::Str;

pub fn serve(state: &mut State, call: &Call, request: DeleteGroupsRequest) -> Answer {
    let mut seen = BTreeSet::new();
    let names = request.groups_names.into_iter().filter(|name| seen.insert(name.clone()));
    let result = |group_id: Str| {
        let error = delete(state, call, &group_id).err().unwrap_or(ErrorCode::NONE);
        DeletableGroupResult { group_id, error_code: error.into(), ..DeletableGroupResult::default() }
    };
    let results = names.map(result).collect();
    DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }.into()
}

fn delete(state: &mut State, call: &Call, group_id: &str) -> Result<(), ErrorCode> {
    if !groups::is_coordinator(state, call, group_id) {
        return Err(ErrorCode::NOT_COORDINATOR);
    }
    let entry = state.groups.coordinator.delete(group_id)?;
    groups::change(state, &[entry])
}
