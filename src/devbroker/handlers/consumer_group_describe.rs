//! ConsumerGroupDescribe (69): groups of the consumer protocol, their members, what they have and what they shall have
//! (KIP-848). A group of another protocol does not exist here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Call, group_operations};
use crate::devbroker::group::MemberId;
use crate::devbroker::group::consumer::{Group, Member, Target};
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    ConsumerGroupDescribeAssignment, ConsumerGroupDescribeMember, ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse, ConsumerGroupDescribeTopicPartitions, DescribedConsumerGroup,
};
use crate::protocol::types::{Str, TopicId};

/// What DescribeGroups calls a member of the consumer protocol.
const CONSUMER: i8 = 1;
/// One of the classic protocol, carried along.
const CLASSIC: i8 = 0;

pub fn serve(state: &State, call: &Call, request: ConsumerGroupDescribeRequest) -> Answer {
    let allowed = if request.include_authorized_operations { group_operations() } else { i32::MIN };
    let groups = request.group_ids.into_iter().map(|group_id| describe(state, call, group_id, allowed));
    ConsumerGroupDescribeResponse { groups: groups.collect(), ..ConsumerGroupDescribeResponse::default() }.into()
}

fn describe(state: &State, call: &Call, group_id: Str, authorized_operations: i32) -> DescribedConsumerGroup {
    let refuse = |group_id: Str, error: ErrorCode, why: Option<String>| DescribedConsumerGroup {
        group_id,
        error_code: error.into(),
        error_message: why.map(Str::from),
        ..DescribedConsumerGroup::default()
    };
    if !state.config.profile.has_consumer_groups() {
        return refuse(group_id, ErrorCode::UNSUPPORTED_VERSION, None);
    }
    if group_id.is_empty() {
        return refuse(group_id, ErrorCode::INVALID_GROUP_ID, None);
    }
    if !groups::is_coordinator(state, call, &group_id) {
        return refuse(group_id, ErrorCode::NOT_COORDINATOR, None);
    }
    match state.groups.coordinator.consumer(&group_id) {
        Some(group) => described(state, group_id, group, authorized_operations),
        None => {
            let exists = state.groups.coordinator.exists(&group_id);
            let why = if exists { "is not a consumer group" } else { "not found" };
            let why = format!("Group {group_id} {why}.");
            refuse(group_id, ErrorCode::GROUP_ID_NOT_FOUND, Some(why))
        }
    }
}

fn described(state: &State, group_id: Str, group: &Group, authorized_operations: i32) -> DescribedConsumerGroup {
    DescribedConsumerGroup {
        group_id,
        group_state: Str::from_static(group.state().name()),
        group_epoch: group.epoch(),
        assignment_epoch: group.assignment_epoch(),
        assignor_name: Str::from_static(group.assignor().name()),
        members: group.members().iter().map(|(id, it)| member(state, id, it)).collect(),
        authorized_operations,
        ..DescribedConsumerGroup::default()
    }
}

fn member(state: &State, id: &MemberId, member: &Member) -> ConsumerGroupDescribeMember {
    let text = |text: &Option<Arc<str>>| text.as_deref().map(Str::from);
    // What it is giving up is still its own.
    let mut held: BTreeMap<TopicId, BTreeSet<i32>> = Target::new();
    for (topic, partition) in member.held() {
        held.entry(topic).or_default().insert(partition);
    }
    ConsumerGroupDescribeMember {
        member_id: Str::from(&**id),
        instance_id: text(&member.instance_id),
        rack_id: text(&member.rack_id),
        member_epoch: member.epoch,
        client_id: Str::from(&*member.client_id),
        client_host: Str::from(&*member.client_host),
        subscribed_topic_names: member.topics.iter().map(Str::from).collect(),
        // None is an empty one here.
        subscribed_topic_regex: Some(text(&member.regex).unwrap_or_default()),
        assignment: assignment(state, &held),
        target_assignment: assignment(state, &member.target),
        member_type: if member.classic.is_some() { CLASSIC } else { CONSUMER },
    }
}

/// Topics that are gone have no name, and are left out.
fn assignment(state: &State, target: &Target) -> ConsumerGroupDescribeAssignment {
    let topic = |(topic_id, partitions): (&TopicId, &BTreeSet<i32>)| {
        let topic = state.topics.by_id(*topic_id)?;
        Some(ConsumerGroupDescribeTopicPartitions {
            topic_id: *topic_id,
            topic_name: Str::from(&topic.name),
            partitions: partitions.iter().copied().collect(),
        })
    };
    ConsumerGroupDescribeAssignment { topic_partitions: target.iter().filter_map(topic).collect() }
}
