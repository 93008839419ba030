//! The shell of the [group coordinator](super::group): it keeps what the pure half cannot: the replies that wait, one
//! timer for the next deadline, and the way to the journal.

use std::collections::HashMap;

use tokio::time::Instant;

use super::clock::{Now, TimerId};
use super::group::consumer::Catalogue;
use super::group::{self, Commit, Committer, Coordinator, Effects, Ticket, share};
use super::handlers::{Call, Refused, join_group, sync_group};
use super::journal::Entry;
use super::reply::{Answer, Reply};
use super::state::{State, Timer};
use crate::protocol::api::Response;
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{BrokerId, Topic, TopicId};

/// What groups want to be reminded of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupTimer {
    /// The earliest deadline of any group is there.
    Deadline,
}

/// All groups of this process, whichever of its brokers keeps them.
#[derive(Debug, Default)]
pub struct Groups {
    pub(super) coordinator: Coordinator,
    /// At most one for each connection: a connection with a request in the house sends no other.
    parked: HashMap<Ticket, Parked>,
    next_ticket: u64,
    timer: Option<(Instant, TimerId)>,
}

#[derive(Debug)]
struct Parked {
    reply: Reply,
    version: i16,
}

impl Groups {
    pub fn new(config: group::Config) -> Self {
        Self { coordinator: Coordinator::new(config), ..Self::default() }
    }

    /// Takes in what the journal says; called at start, in the order of writing.
    pub fn replay(&mut self, entry: &Entry) {
        self.coordinator.apply(entry);
    }

    /// What a fresh journal must say so that [`Groups::replay`] arrives at this state.
    pub fn snapshot(&self) -> Vec<Entry> {
        self.coordinator.snapshot()
    }

    fn answer(&mut self, reply: group::Reply) {
        let Some(Parked { reply: waiting, version }) = self.parked.remove(&reply.ticket()) else { return };
        let response: Response = match reply {
            group::Reply::Join { member_id, outcome, .. } => {
                join_group::response(version, member_id.as_deref(), outcome).into()
            }
            group::Reply::Sync { outcome, .. } => sync_group::response(outcome).into(),
        };
        waiting.send(response);
    }
}

/// The deadline has come.
pub fn on_timer(state: &mut State, now: Now, GroupTimer::Deadline: GroupTimer) {
    state.groups.timer = None;
    event(state, |coordinator, topics, out| coordinator.expire(now.instant, topics, out));
}

/// Goes on after a restart.
pub fn resume(state: &mut State, now: Now) {
    state.groups.coordinator.resume(now.instant);
    arm(state);
}

/// A topic is there that was not.
pub fn topic_created(state: &mut State, name: &str) {
    state.groups.coordinator.topic_created(name);
}

/// A topic has more partitions than before.
pub fn topic_grown(state: &mut State, name: &str) {
    state.groups.coordinator.topic_changed(name);
}

/// A topic is gone; its committed offsets go with it.
pub fn topic_removed(state: &mut State, topic: TopicId, name: &str) {
    state.groups.coordinator.topic_changed(name);
    let mut entries = state.groups.coordinator.remove_topic(&Topic::from(name));
    entries.extend(state.groups.coordinator.remove_share_topic(topic));
    if state.record(&entries).is_err() {
        tracing::warn!(topic = name, "offsets of a deleted topic will be there again after a restart");
    }
    entries.iter().for_each(|entry| state.groups.coordinator.apply(entry));
}

/// The broker that keeps a group.
pub(super) fn coordinator_of(state: &State, group_id: &str) -> Option<BrokerId> {
    let mut brokers: Vec<BrokerId> = state.brokers.iter().map(|broker| broker.id).collect();
    let moved = state.coordinators_moved.checked_rem(brokers.len())?;
    brokers.rotate_left(moved);
    group::coordinator_of(group_id, brokers.into_iter())
}

/// Whether the broker that was asked is the one to ask about this group.
pub(super) fn is_coordinator(state: &State, call: &Call, group_id: &str) -> bool {
    coordinator_of(state, group_id) == Some(call.broker)
}

/// A share group that the broker keeps which was asked.
pub(super) fn share<'a>(state: &'a State, call: &Call, group_id: &str) -> Result<&'a share::Group, Refused> {
    may_keep_share(state, call, group_id)?;
    Ok(state.groups.coordinator.known_share(group_id)?)
}

/// Whether such a group would be kept there.
pub(super) fn may_keep_share(state: &State, call: &Call, group_id: &str) -> Result<(), Refused> {
    let refuse = |error, why| Err(Refused::new(error, why));
    match () {
        () if group_id.is_empty() => refuse(ErrorCode::INVALID_GROUP_ID, "The group id is invalid."),
        () if !is_coordinator(state, call, group_id) => {
            refuse(ErrorCode::NOT_COORDINATOR, "This is not the correct coordinator.")
        }
        () => Ok(()),
    }
}

/// Lets something happen to the groups and does what follows from it.
pub(super) fn event<T>(
    state: &mut State,
    event: impl FnOnce(&mut Coordinator, &dyn Catalogue, &mut Effects) -> T,
) -> T {
    let mut out = Effects::default();
    let result = event(&mut state.groups.coordinator, &state.topics, &mut out);
    if state.record(&out.entries).is_err() {
        tracing::warn!(
            "a group's generation could not be journalled; after a restart it counts on from an earlier one"
        );
    }
    out.replies.into_iter().for_each(|reply| state.groups.answer(reply));
    arm(state);
    result
}

/// An event whose answer may come later.
pub(super) fn park(
    state: &mut State,
    call: &Call,
    event_with: impl FnOnce(&mut Coordinator, &dyn Catalogue, Ticket, &mut Effects),
) -> Answer {
    let (reply, answer) = Reply::park();
    let ticket = Ticket(state.groups.next_ticket);
    state.groups.next_ticket += 1;
    state.groups.parked.insert(ticket, Parked { reply, version: call.version });
    event(state, |coordinator, topics, out| event_with(coordinator, topics, ticket, out));
    answer
}

/// Commits offsets: all that the coordinator admits are journalled as one, and only then they are so.
pub(super) fn commit(
    state: &mut State,
    now: Now,
    group_id: &str,
    committer: &Committer,
    commits: &[Commit],
) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
    let admitted =
        event(state, |coordinator, topics, _| coordinator.commit(now.instant, group_id, committer, commits, topics))?;
    let entries: Vec<Entry> = admitted.iter().flatten().cloned().collect();
    change(state, &entries)?;
    Ok(admitted.into_iter().map(|outcome| outcome.map(drop)).collect())
}

/// Whether a member may commit offsets with a transaction: one outcome for each, and nothing is changed yet.
pub(super) fn admit_transaction(
    state: &mut State,
    group_id: &str,
    committer: &Committer,
    commits: &[Commit],
) -> Result<Vec<Result<Entry, ErrorCode>>, ErrorCode> {
    state.groups.coordinator.admit_transaction(group_id, committer, commits, &state.topics)
}

/// Journals decisions of the coordinator, and only then lets them be so.
pub(super) fn change(state: &mut State, entries: &[Entry]) -> Result<(), ErrorCode> {
    // What a client does about this error is to look for the coordinator and try again.
    state.record(entries).map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    entries.iter().for_each(|entry| state.groups.coordinator.apply(entry));
    arm(state);
    Ok(())
}

/// Keeps the one timer at the earliest deadline.
pub(super) fn arm(state: &mut State) {
    let next = state.groups.coordinator.deadline();
    if next == state.groups.timer.map(|(at, _)| at) {
        return;
    }
    if let Some((_, timer)) = state.groups.timer.take() {
        state.timers.cancel(timer);
    }
    state.groups.timer = next.map(|at| (at, state.timers.schedule(at, Timer::Group(GroupTimer::Deadline))));
}
