//! ShareGroupDescribe (77): share groups (KIP-932), which have no members here.

use super::{Call, group_operations};
use crate::devbroker::group::share::Group;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{DescribedShareGroup, ShareGroupDescribeRequest, ShareGroupDescribeResponse};
use crate::protocol::types::Str;

pub fn serve(state: &State, call: &Call, request: ShareGroupDescribeRequest) -> Answer {
    let allowed = if request.include_authorized_operations { group_operations() } else { i32::MIN };
    let groups = request.group_ids.into_iter().map(|group_id| describe(state, call, group_id, allowed));
    ShareGroupDescribeResponse { groups: groups.collect(), ..Default::default() }.into()
}

fn describe(state: &State, call: &Call, group_id: Str, authorized_operations: i32) -> DescribedShareGroup {
    match groups::share(state, call, &group_id) {
        Ok(_) => DescribedShareGroup {
            group_id,
            group_state: Str::from_static("Empty"),
            group_epoch: Group::EPOCH,
            assignment_epoch: Group::EPOCH,
            assignor_name: Str::from_static(Group::ASSIGNOR),
            authorized_operations,
            ..Default::default()
        },
        Err(refusal) => DescribedShareGroup {
            group_id,
            error_code: refusal.error.into(),
            error_message: (refusal.error == ErrorCode::GROUP_ID_NOT_FOUND).then(|| refusal.message.into()),
            ..Default::default()
        },
    }
}
