//! What the coordinator is asked and told, and what is made of its answers: one request for each
//! [`Question`](crate::client::consumer::group::Question).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Done, LEAVE_LIMIT, Membership};
use crate::client::admin::{Admin, GroupType};
use crate::client::cluster::{Cluster, To, Topics};
use crate::client::consumer::assignor::{Assignment, Counts};
use crate::client::consumer::group::classic::{Joined, Joining};
use crate::client::consumer::group::consumer::Beat;
use crate::client::consumer::group::{Distrust, Event, Fault, Question};
use crate::client::consumer::wire::{self, Led};
use crate::client::error::{Error, ErrorKind};
use crate::client::lane::Lane;
use crate::protocol::api::Api;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{ConsumerGroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest, SyncGroupRequest};
use crate::protocol::types::{Str, Topic};

impl Membership {
    pub(super) fn ask(&mut self, question: Question) {
        match question {
            Question::CountClassic => self.count_classic(),
            Question::Join(joining) => self.join(joining),
            Question::Sync(joined) => self.sync(joined),
            Question::Heartbeat { member_id, generation } => self.heartbeat(member_id, generation),
            Question::Leave { member_id, reason } => self.leave(member_id, reason),
            Question::Beat(beat) => self.beat(beat),
            Question::LastBeat { member_id, reason } => self.last_beat(member_id, reason),
        }
    }

    /// One request to the coordinator.
    fn request<R: Api>(
        &self,
        request: R,
        limit: Duration,
    ) -> impl Future<Output = Result<R::Response, Fault>> + use<R> {
        let (cluster, group_id) = (self.cluster.clone(), self.config.group_id.clone());
        async move {
            let answer = cluster.call(To::GroupCoordinator(&group_id), Lane::Group, request, limit).await;
            answer.map(|answer| answer.body).map_err(|error| fault(&error))
        }
    }

    /// A heartbeat that is not answered by then is another one's turn.
    fn heartbeat_limit(&self) -> Duration {
        self.cluster.config().request_timeout.min(self.config.session_timeout / 3)
    }

    fn count_classic(&mut self) {
        let (cluster, group_id) = (self.cluster.clone(), self.config.group_id.clone());
        self.wait_for(async move {
            let of = [(group_id.clone(), Some(GroupType::Classic))];
            let described = Admin::new(cluster).describe_groups_as(&of).await;
            let group = described.and_then(|mut all| all.remove(&group_id).unwrap_or_else(|| Err(Error::closed())));
            Done::Event(Event::Counted(match group {
                Ok(group) => Ok(group.members.len()),
                Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => Ok(0),
                Err(error) => Err(fault(&error)),
            }))
        });
    }

    fn join(&mut self, joining: Joining) {
        let Joining { member_id, reason, .. } = &joining;
        tracing::info!(group = %self.config.group_id, member = %member_id, reason, "joining");
        self.follow_topics();
        let topics = self.subscription.tell();
        let request = match wire::join(&self.config, &topics, joining) {
            Ok(request) => request,
            Err(error) => return self.stop(Some(Fault::Broken(error.to_string()))),
        };
        // Answered when all members have joined, or their time is up.
        let limit = self.config.max_poll_interval + self.cluster.config().request_timeout;
        let answer = self.request::<JoinGroupRequest>(request, limit);
        self.wait_for(async move { Done::Joined(answer.await.and_then(wire::joined)) });
    }

    fn sync(&mut self, joined: Joined) {
        let (cluster, config) = (self.cluster.clone(), Arc::clone(&self.config));
        let led = std::mem::take(&mut self.led);
        self.wait_for(async move {
            let (assignment, lead) = match assignment(&cluster, &joined, &led).await {
                Ok(assignment) => assignment,
                Err(error) => return Done::Synced(Err(fault(&error)), None),
            };
            let request: SyncGroupRequest = match wire::sync(&config, &joined, &assignment) {
                Ok(request) => request,
                Err(error) => return Done::Synced(Err(Fault::Broken(error.to_string())), None),
            };
            let limit = config.max_poll_interval + cluster.config().request_timeout;
            let answer = cluster.call(To::GroupCoordinator(&config.group_id), Lane::Group, request, limit).await;
            Done::Synced(answer.map_err(|error| fault(&error)).and_then(|answer| wire::synced(answer.body)), lead)
        });
    }

    fn heartbeat(&mut self, member_id: Str, generation: i32) {
        let request = wire::heartbeat(&self.config, member_id, generation);
        let answer = self.request::<HeartbeatRequest>(request, self.heartbeat_limit());
        self.wait_for(async move {
            let result = answer.await.and_then(|answer| Ok(ErrorCode(answer.error_code).ok()?));
            Done::Event(Event::Beaten { generation, result })
        });
    }

    fn leave(&mut self, member_id: Str, reason: &'static str) {
        tracing::info!(group = %self.config.group_id, member = %member_id, reason, "leaving");
        let group = Str::from(self.config.group_id.as_str());
        self.tell_last(move |version| wire::leave(group.clone(), member_id.clone(), reason, version), wire::left);
    }

    fn beat(&mut self, beat: Beat) {
        if beat.epoch.is_none() {
            tracing::info!(group = %self.config.group_id, member = %beat.member_id, "joining by the consumer protocol");
        }
        if beat.topics {
            self.follow_topics();
            self.subscription.tell();
        }
        let request = wire::beat(&self.config, self.subscription.topics(), &beat);
        let answer = self.request::<ConsumerGroupHeartbeatRequest>(request, self.heartbeat_limit());
        self.wait_for(async move {
            let result = answer.await.and_then(wire::heard);
            Done::Event(Event::Heard { number: beat.number, result })
        });
    }

    fn last_beat(&mut self, member_id: Str, reason: &'static str) {
        tracing::info!(group = %self.config.group_id, member = %member_id, reason, "leaving");
        let request = wire::last_beat(&self.config, member_id);
        self.tell_last(move |_| request.clone(), wire::heard_last);
    }

    /// Repeated while that can help. What the group does not hear of now, it finds out when the session ends.
    fn tell_last<R: Api>(
        &mut self,
        make: impl Fn(i16) -> R + Clone + Send + Sync + 'static,
        code: fn(&R::Response) -> ErrorCode,
    ) {
        let (cluster, group_id) = (self.cluster.clone(), self.config.group_id.clone());
        self.wait_for(async move {
            let (cluster, group_id, make) = (&cluster, &group_id, &make);
            let leave = cluster.retry(LEAVE_LIMIT, |left| async move {
                // Not on the group's lane, where a JoinGroup may be waiting for everybody else.
                let to = To::GroupCoordinator(group_id);
                let answer = cluster.call_with::<R>(to, Lane::General, make.clone(), left).await?;
                let code = code(&answer.body);
                if code.class() == Class::FindCoordinator {
                    cluster.forget_coordinator(group_id);
                }
                if is_out(code) { Ok(()) } else { Err(Error::broker(code).of(R::NAME)) }
            });
            if let Err(error) = leave.await {
                tracing::warn!(%error, "the group has not heard that this member leaves; it will wait for its session to end");
            }
            Done::Event(Event::Left)
        });
    }
}

/// Whether the answer to a leaving means that the group does not have the member, any more or at all.
fn is_out(code: ErrorCode) -> bool {
    let absent = [ErrorCode::GROUP_ID_NOT_FOUND, ErrorCode::FENCED_INSTANCE_ID];
    matches!(code.class(), Class::Ok | Class::Rejoin) || absent.contains(&code)
}

/// What a leader assigns for.
pub(super) struct Lead {
    pub counts: Counts,
    /// Every partition is somebody's. What cooperative members are to give up first is nobody's meanwhile; and of an
    /// assignment that stays as it is, the leader does not know.
    pub is_whole: bool,
}

/// Everybody's part and, as leader, what it was made for. Not the leader: nothing.
async fn assignment(
    cluster: &Cluster,
    joined: &Joined,
    Led { members, is_settled }: &Led,
) -> Result<(Assignment, Option<Lead>), Error> {
    if members.is_empty() {
        return Ok((Default::default(), None));
    }
    let topics: BTreeSet<Topic> = members.iter().flat_map(|member| &member.topics).cloned().collect();
    let known = cluster.refresh(Topics::Follow(topics.iter().cloned().collect())).await?;
    let counts: Counts =
        topics.iter().filter_map(|topic| Some((topic.clone(), known.partition_count(topic)?))).collect();
    // What is settled is not assigned again, but its topics are watched like those of any other assignment.
    let assignment = if *is_settled { Assignment::default() } else { joined.assignor.assign(members, &counts) };
    let all: usize = counts.values().map(|count| usize::try_from(*count).unwrap_or(0)).sum();
    let is_whole = match is_settled {
        true => !joined.assignor.is_cooperative(),
        false => assignment.values().map(Vec::len).sum::<usize>() >= all,
    };
    tracing::info!(
        generation = joined.generation,
        members = members.len(),
        assignor = joined.assignor.name(),
        settled = is_settled,
        "assigned as leader"
    );
    // Topics that are not there count as having none, so that their coming is a change.
    let watched = topics.into_iter().map(|topic| (counts.get(&topic).copied().unwrap_or(0), topic));
    let counts = watched.map(|(count, topic)| (topic, count)).collect();
    Ok((assignment, Some(Lead { counts, is_whole })))
}

fn fault(error: &Error) -> Fault {
    match error.code() {
        Some(code) => code.into(),
        None if error.is_authentication() => Fault::Distrust(Distrust(error.clone())),
        None if matches!(error.kind, ErrorKind::Unsupported) => Fault::Unsupported,
        None => {
            tracing::warn!(%error, "the group's coordinator does not answer");
            Fault::Unanswered
        }
    }
}
