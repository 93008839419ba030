//! ConsumerGroupHeartbeat (68): a member of the consumer protocol joins, lives, reports what it holds, and leaves (KIP-848).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Call;
use crate::devbroker::group::consumer::{AWAY, Assignor, Beat, Heartbeat, Refusal, Target};
use crate::devbroker::group::{Identity, Scene};
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    ConsumerGroupHeartbeatAssignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    ConsumerGroupHeartbeatTopicPartitions,
};
use crate::protocol::types::{Str, Topic};

/// The member epoch of one that leaves for good.
const LEAVES: i32 = -1;

pub fn serve(state: &mut State, call: &Call, request: ConsumerGroupHeartbeatRequest) -> Answer {
    let outcome = if !state.config.profile.has_consumer_groups() {
        Err(Refusal::new(ErrorCode::UNSUPPORTED_VERSION, "The version of API is not supported."))
    } else if groups::is_coordinator(state, call, &request.group_id) || request.group_id.is_empty() {
        check(call.version, &request).and_then(|()| beat(state, call, request))
    } else {
        Err(Refusal::new(ErrorCode::NOT_COORDINATOR, "This is not the correct coordinator."))
    };
    let response = outcome.unwrap_or_else(|refusal| ConsumerGroupHeartbeatResponse {
        error_code: refusal.error.into(),
        error_message: Some(refusal.message.into()),
        ..ConsumerGroupHeartbeatResponse::default()
    });
    response.into()
}

/// What is wrong with a request whatever the group (`throwIfConsumerGroupHeartbeatRequestIsInvalid`).
fn check(version: i16, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let empty = |text: &Option<Str>| text.as_deref().is_some_and(|text| text.trim().is_empty());
    let joins = request.member_epoch == 0;
    let names_itself = version >= 1 || request.member_epoch > 0 || request.member_epoch == LEAVES;
    let why = match () {
        () if names_itself && request.member_id.trim().is_empty() => "MemberId can't be empty.",
        () if request.group_id.trim().is_empty() => "GroupId can't be empty.",
        () if empty(&request.instance_id) => "InstanceId can't be empty.",
        () if empty(&request.rack_id) => "RackId can't be empty.",
        () if joins && request.rebalance_timeout_ms == -1 => "RebalanceTimeoutMs must be provided in first request.",
        () if joins && request.topic_partitions.as_ref().is_none_or(|it| !it.is_empty()) => {
            "TopicPartitions must be empty when (re-)joining."
        }
        () if joins && request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."
        }
        () if request.member_epoch == AWAY && request.instance_id.is_none() => "InstanceId can't be null.",
        () if request.member_epoch < AWAY => "MemberEpoch is invalid.",
        () => return check_assignor(request),
    };
    Err(Refusal::new(ErrorCode::INVALID_REQUEST, why))
}

fn check_assignor(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    match request.server_assignor.as_deref() {
        Some(name) if Assignor::named(name).is_none() => {
            let known = Assignor::ALL.map(Assignor::name).join(", ");
            let why = format!("ServerAssignor {name} is not supported. Supported assignors: {known}.");
            Err(Refusal::new(ErrorCode::UNSUPPORTED_ASSIGNOR, why))
        }
        _ => Ok(()),
    }
}

fn beat(
    state: &mut State,
    call: &Call,
    request: ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
    let now = call.now.instant;
    if matches!(request.member_epoch, LEAVES | AWAY) {
        let who = Identity::new(&request.member_id, request.instance_id.as_ref());
        let returns = request.member_epoch == AWAY;
        groups::event(state, |coordinator, topics, out| {
            coordinator.consumer_leave(Scene { now, topics }, &request.group_id, &who, returns, out)
        })?;
        let ConsumerGroupHeartbeatRequest { member_id, member_epoch, .. } = request;
        let member_id = Some(member_id);
        return Ok(ConsumerGroupHeartbeatResponse { member_id, member_epoch, ..Default::default() });
    }
    let heartbeat = heartbeat(state, call, &request);
    let interval = state.config.groups.consumer.heartbeat_interval;
    let beat = groups::event(state, |coordinator, topics, out| {
        coordinator.consumer_heartbeat(Scene { now, topics }, &request.group_id, heartbeat, out)
    })?;
    Ok(answer(beat, interval))
}

fn heartbeat(state: &mut State, call: &Call, request: &ConsumerGroupHeartbeatRequest) -> Heartbeat {
    let text = |text: &Option<Str>| text.as_deref().map(Arc::from);
    // Before v1 a member may leave it to the coordinator to name it (KIP-1082).
    let member_id = match &*request.member_id {
        "" => Arc::from(state.random_id().to_string()),
        named => Arc::from(named),
    };
    let topics = |names: &Vec<Str>| names.iter().map(Topic::from).collect::<BTreeSet<_>>();
    Heartbeat {
        member_id,
        epoch: request.member_epoch,
        instance_id: text(&request.instance_id),
        rack_id: text(&request.rack_id),
        rebalance_timeout: u64::try_from(request.rebalance_timeout_ms).ok().map(Duration::from_millis),
        topics: request.subscribed_topic_names.as_ref().map(topics),
        regex: text(&request.subscribed_topic_regex),
        assignor: text(&request.server_assignor),
        owned: request.topic_partitions.as_deref().map(owned),
        client_id: Arc::from(call.client_id.as_deref().unwrap_or_default()),
        // As `InetAddress.toString` writes it.
        client_host: Arc::from(format!("/{}", call.client_host)),
    }
}

fn owned(topics: &[ConsumerGroupHeartbeatTopicPartitions]) -> Target {
    let mut owned = Target::new();
    for topic in topics {
        owned.entry(topic.topic_id).or_default().extend(&topic.partitions);
    }
    owned
}

fn answer(beat: Beat, interval: Duration) -> ConsumerGroupHeartbeatResponse {
    let topic = |(topic_id, partitions): (_, BTreeSet<i32>)| ConsumerGroupHeartbeatTopicPartitions {
        topic_id,
        partitions: partitions.into_iter().collect(),
    };
    let assignment =
        |target: Target| ConsumerGroupHeartbeatAssignment { topic_partitions: target.into_iter().map(topic).collect() };
    ConsumerGroupHeartbeatResponse {
        member_id: Some(Str::from(&*beat.member_id)),
        member_epoch: beat.epoch,
        heartbeat_interval_ms: i32::try_from(interval.as_millis()).unwrap_or(i32::MAX),
        assignment: beat.assignment.map(assignment),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}
