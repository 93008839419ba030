//! The consumer protocol (KIP-848, KIP-1082): the coordinator assigns, and heartbeats are all that is said.
//!
//! ```text
//!           Wanted            Heard
//!    Away ─────────▶ Joining ─────────▶ Member ──┐ target: Revoke ▶ Released ▶ owned is said ▶ Assign
//!     ▲               │  ▲ ▲              │ ▲ └──┘
//!     │     in its way│  │ └── expelled ──┘
//!     │               ▼  │ Left
//!     └── Left ── Leaving ◀── Released ◀── Overdue, Close
//! ```
//!
//! The coordinator names a *target* and an *epoch*; the member brings what it *owns* to the target. What is not in the
//! target any more is revoked first, and only when it is committed does the member say that it owns it no longer: that is
//! when the coordinator gives it to others. What is new in the target is free, and taken as soon as its topic has a name,
//! because assignments speak of topics by their ids. A topic of which nothing is known yet is asked about until it is known
//! or no longer in the target.
//!
//! A heartbeat says only what is different from the one before. When one has failed it is not known what of it was heard,
//! so the next says everything.
//!
//! A member whose joining was taken, and the answer lost, and one that is fenced, are still there for the coordinator and
//! may be in the way of their own return: coordinators before KAFKA-19233 fence whoever joins and is in, and all of them
//! keep an instance id for the member that has it. So a last heartbeat is sent for the former self, once, before the next
//! joining.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{Action, CLOSED, Event, Fault, OVERDUE, Question, REFUSED_PAUSE, Refusal, Rules};
use crate::protocol::api::Body;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::ConsumerGroupHeartbeatRequest;
use crate::protocol::types::{Str, Topic, TopicId, TopicPartition};

/// Why a member leaves that means to join.
const IN_ITS_WAY: &str = "its former membership is in the way of the next";

/// Partitions as assignments name them.
pub type Parts = BTreeSet<(TopicId, i32)>;

/// What a heartbeat says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    pub number: u64,
    pub member_id: Str,
    /// `None`: it joins.
    pub epoch: Option<i32>,
    /// Whether it says all there is to say of the member.
    pub whole: bool,
    /// Whether it says which topics are subscribed to.
    pub topics: bool,
    /// What the member owns, if that is said.
    pub owned: Option<Parts>,
}

/// What the coordinator answers to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Where the coordinator has named the member.
    pub member_id: Option<Str>,
    pub epoch: i32,
    pub heartbeat_interval: Duration,
    /// What is to be owned; `None` when it is what it was.
    pub target: Option<Parts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in the group, and not trying.
    Away,
    /// The heartbeat that joins is out, or due.
    Joining,
    Member,
    /// The last heartbeat is out.
    Leaving(After),
    Stopped,
}

/// What follows when it has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Stop,
    /// It stays away until it is wanted.
    Rest,
    Join,
}

/// What follows when a revocation is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Reconcile,
    Leave(After, &'static str),
}

/// What the coordinator may still have of this member from before it joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Former {
    Nothing,
    /// It was in, or has tried to be.
    Doubtful,
    /// Its last heartbeat was sent.
    Released,
}

/// A revocation that is under way.
#[derive(Debug)]
struct Release {
    id: u64,
    partitions: Parts,
    then: Then,
}

/// What the next heartbeat has to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Unsaid {
    whole: bool,
    topics: bool,
    owned: bool,
}

impl Unsaid {
    const ALL: Self = Self { whole: true, topics: true, owned: true };
}

/// The names of new topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    Settled,
    Asked,
    /// They were not known; to be asked again.
    Again(Instant),
}

/// One member.
#[derive(Debug)]
pub struct ConsumerGroup {
    rules: Rules,
    state: State,
    member_id: Str,
    epoch: Option<i32>,
    owned: Parts,
    /// What is to be owned, as far as the coordinator has said.
    target: Option<Parts>,
    names: BTreeMap<TopicId, Topic>,
    naming: Naming,
    release: Option<Release>,
    /// Revocations so far.
    releases: u64,
    unsaid: Unsaid,
    /// The last heartbeat was refused for a topic that it named.
    forbidden: bool,
    former: Former,
    beat_at: Option<Instant>,
    beating: bool,
    /// Whether the last heartbeat said what is owned.
    said_owned: bool,
    /// The coordinator waits to hear what is owned now that it has named another target; even if nothing is different
    /// here, because that one and the target before it may have come so close together that nothing was taken.
    unconfirmed: bool,
    /// Heartbeats so far.
    beats: u64,
    failures: u32,
    /// It is to leave once it is known whether it has joined, or at this time.
    closing: Option<Instant>,
}

impl ConsumerGroup {
    pub fn new(rules: Rules) -> Self {
        Self {
            state: State::Away,
            member_id: rules.member_id.clone(),
            rules,
            epoch: None,
            owned: Parts::new(),
            target: None,
            names: BTreeMap::new(),
            naming: Naming::Settled,
            release: None,
            releases: 0,
            unsaid: Unsaid::ALL,
            forbidden: false,
            former: Former::Nothing,
            beat_at: None,
            beating: false,
            said_owned: false,
            unconfirmed: false,
            beats: 0,
            failures: 0,
            closing: None,
        }
    }

    /// Who a commit comes from; `None` outside of the group.
    pub fn identity(&self) -> Option<(Str, i32)> {
        self.epoch.map(|epoch| (self.member_id.clone(), epoch))
    }

    pub fn is_away(&self) -> bool {
        self.state == State::Away
    }

    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub fn releases(&self) -> u64 {
        self.releases
    }

    /// Whether the heartbeat of this number is the one by which it tries to enter.
    pub fn enters_by(&self, number: u64) -> bool {
        self.state == State::Joining && self.awaits(number)
    }

    fn awaits(&self, number: u64) -> bool {
        self.beating && self.beats == number
    }

    /// When it needs [`Event::Tick`].
    pub fn wakes_at(&self) -> Option<Instant> {
        let beat = self.beat_at.filter(|_| !self.beating);
        let name = match self.naming {
            Naming::Again(at) => Some(at),
            Naming::Settled | Naming::Asked => None,
        };
        [beat, name, self.closing].into_iter().flatten().min()
    }

    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Wanted if self.state == State::Away => self.join(),
            Event::Heard { number, result } if self.awaits(number) => self.heard(result, now),
            Event::Resolved(names) if self.naming == Naming::Asked => self.resolved(names, now),
            Event::CommitRefused { generation, code } if self.epoch == Some(generation) => self.commit_refused(code),
            Event::Released(id) if self.release.as_ref().is_some_and(|it| it.id == id) => self.released(),
            Event::Changed(_) if matches!(self.state, State::Joining | State::Member) => {
                self.unsaid.topics = true;
                self.speak()
            }
            Event::Overdue => self.overdue(),
            Event::Tick => self.tick(now),
            Event::Left => self.left(),
            Event::Close(by) => self.close(by, now),
            // Too late, or nothing that this protocol asks for.
            _ => Vec::new(),
        }
    }

    fn join(&mut self) -> Vec<Action> {
        self.forget();
        self.state = State::Joining;
        self.beat()
    }

    /// Nothing of the former membership counts any more.
    fn forget(&mut self) {
        (self.epoch, self.target, self.naming) = (None, None, Naming::Settled);
        (self.beating, self.beat_at, self.unsaid) = (false, None, Unsaid::ALL);
        (self.unconfirmed, self.forbidden) = (false, false);
    }

    fn beat(&mut self) -> Vec<Action> {
        let Unsaid { whole, topics, owned } = self.say();
        self.beats += 1;
        (self.beating, self.beat_at) = (true, None);
        self.said_owned = whole || owned;
        vec![Action::Ask(Question::Beat(Beat {
            number: self.beats,
            member_id: self.member_id.clone(),
            epoch: self.epoch,
            whole,
            topics: whole || topics,
            owned: self.said_owned.then(|| self.owned.clone()),
        }))]
    }

    /// A heartbeat that names a forbidden topic is refused before the coordinator hears it (KAFKA-18813). So every other one
    /// of a member is silent on topics, or its session would end.
    fn say(&mut self) -> Unsaid {
        if std::mem::take(&mut self.forbidden) && self.epoch.is_some() {
            return Unsaid { owned: true, ..Unsaid::default() };
        }
        std::mem::take(&mut self.unsaid)
    }

    /// Says what is unsaid. While a heartbeat is out its answer is waited for; after a failure, the time to try again.
    fn speak(&mut self) -> Vec<Action> {
        let waits = self.beating || self.failures > 0;
        let silent = waits || self.state != State::Member || self.unsaid == Unsaid::default();
        if silent { Vec::new() } else { self.beat() }
    }

    fn heard(&mut self, answer: Result<Heard, Fault>, now: Instant) -> Vec<Action> {
        self.beating = false;
        let heard = match answer {
            Ok(heard) => heard,
            Err(fault) => return self.failed(fault, now),
        };
        self.failures = 0;
        (self.state, self.former) = (State::Member, Former::Nothing);
        self.epoch = Some(heard.epoch);
        self.member_id = heard.member_id.unwrap_or(std::mem::take(&mut self.member_id));
        // The coordinator says how seldom it may be; whoever is to take over from others soon asks more often.
        self.beat_at = Some(now + heard.heartbeat_interval.min(self.rules.heartbeat_interval));
        self.unconfirmed |= heard.target.as_ref().is_some_and(|target| self.is_news(target));
        self.target = heard.target.or(self.target.take());
        if self.closing.is_some() {
            return self.release_all();
        }
        let mut actions = self.reconcile();
        actions.extend(self.speak());
        actions
    }

    /// Whoever has just joined has said that it owns nothing.
    fn is_news(&self, target: &Parts) -> bool {
        self.target.as_ref().map_or(!target.is_empty(), |known| known != target)
    }

    /// Brings what is owned nearer to the target.
    fn reconcile(&mut self) -> Vec<Action> {
        let Some(target) = self.target.as_ref().filter(|_| self.state == State::Member && self.release.is_none())
        else {
            return Vec::new();
        };
        let moved: Parts = self.owned.difference(target).copied().collect();
        if !moved.is_empty() {
            return self.release(moved, true, Then::Reconcile);
        }
        // What the coordinator is just being told is not owned, or may have been told by a heartbeat without an answer, it
        // may have given to others by the time it answers.
        if self.said_owned && (self.beating || self.failures > 0) {
            return Vec::new();
        }
        let new = target.difference(&self.owned).copied();
        let (known, unknown): (Parts, Parts) = new.partition(|(topic, _)| self.names.contains_key(topic));
        let mut actions = Vec::new();
        if !known.is_empty() {
            actions.push(Action::Assign(self.named(&known)));
            self.owned.extend(known);
            (self.unsaid.owned, self.unconfirmed) = (true, false);
        }
        self.names.retain(|topic, _| self.owned.iter().any(|(owned, _)| owned == topic));
        actions.extend(self.name(unknown));
        // What is about to be taken is said with the rest.
        if self.naming != Naming::Asked {
            self.unsaid.owned |= std::mem::take(&mut self.unconfirmed);
        }
        actions
    }

    /// Asks for names, unless they were asked for a moment ago.
    fn name(&mut self, unknown: Parts) -> Option<Action> {
        match self.naming {
            _ if unknown.is_empty() => {
                self.naming = Naming::Settled;
                None
            }
            Naming::Settled => {
                self.naming = Naming::Asked;
                Some(Action::Resolve(unknown.into_iter().map(|(topic, _)| topic).collect()))
            }
            Naming::Asked | Naming::Again(_) => None,
        }
    }

    fn resolved(&mut self, names: BTreeMap<TopicId, Topic>, now: Instant) -> Vec<Action> {
        let again = Naming::Again(now + self.rules.backoff_max);
        self.naming = if names.is_empty() { again } else { Naming::Settled };
        self.names.extend(names);
        let mut actions = self.reconcile();
        actions.extend(self.speak());
        actions
    }

    fn named(&self, parts: &Parts) -> BTreeSet<TopicPartition> {
        let named = |(topic, partition): &(TopicId, i32)| Some((self.names.get(topic)?.clone(), *partition));
        parts.iter().filter_map(named).map(|(topic, partition)| TopicPartition { topic, partition }).collect()
    }

    fn release(&mut self, partitions: Parts, drain: bool, then: Then) -> Vec<Action> {
        self.releases += 1;
        let (id, named) = (self.releases, self.named(&partitions));
        self.release = Some(Release { id, partitions, then });
        if named.is_empty() {
            return self.released();
        }
        vec![Action::Revoke { id, partitions: named, drain }]
    }

    fn released(&mut self) -> Vec<Action> {
        let Some(release) = self.release.take() else { return Vec::new() };
        self.owned.retain(|part| !release.partitions.contains(part));
        self.unsaid.owned = true;
        match release.then {
            Then::Reconcile => {
                let mut actions = self.reconcile();
                actions.extend(self.speak());
                actions
            }
            Then::Leave(after, reason) => self.leave(after, reason),
        }
    }

    fn failed(&mut self, fault: Fault, now: Instant) -> Vec<Action> {
        self.unsaid = Unsaid::ALL;
        let refused = match &fault {
            Fault::Refused(refusal) => Some(refusal.code),
            _ => None,
        };
        if self.closing.is_some() {
            // Even if this one was refused, one before it may have been taken.
            return self.release_all();
        }
        match (&fault, refused.map(|code| (code, code.class()))) {
            (_, Some((ErrorCode::FENCED_MEMBER_EPOCH, _))) if self.epoch.is_none() => self.turned_away(now),
            (_, Some((ErrorCode::UNRELEASED_INSTANCE_ID, _))) if self.former == Former::Doubtful => {
                self.leave(After::Join, IN_ITS_WAY)
            }
            (Fault::Refused(refusal), Some((ErrorCode::TOPIC_AUTHORIZATION_FAILED, _))) => {
                self.forbidden(refusal.clone(), now)
            }
            // The group is gone, and this member with it.
            (_, Some((code @ ErrorCode::GROUP_ID_NOT_FOUND, _))) => self.expelled(code, now),
            (_, Some((code, Class::Rejoin))) => self.expelled(code, now),
            (_, Some((_, Class::Retry | Class::Ok))) => self.later(now, false),
            (_, Some((_, Class::FindCoordinator | Class::RefreshMetadata))) => self.later(now, true),
            (Fault::Unanswered, _) => self.later(now, true),
            _ => self.stop(fault),
        }
    }

    fn later(&mut self, now: Instant, find: bool) -> Vec<Action> {
        if self.epoch.is_none() {
            self.former = Former::Doubtful;
        }
        self.beat_at = Some(now + self.rules.pause(&mut self.failures));
        if find { vec![Action::FindCoordinator] } else { Vec::new() }
    }

    /// The coordinator fences a member that joins because it still has it.
    fn turned_away(&mut self, now: Instant) -> Vec<Action> {
        match self.former {
            // It has not heard the last heartbeat: no haste.
            Former::Released => self.later(now, false),
            Former::Nothing | Former::Doubtful => self.leave(After::Join, IN_ITS_WAY),
        }
    }

    /// Somebody has to allow a topic. The member goes on with what it has.
    fn forbidden(&mut self, refusal: Refusal, now: Instant) -> Vec<Action> {
        self.forbidden = true;
        self.failures += 1;
        self.beat_at = Some(now + REFUSED_PAUSE);
        vec![Action::Report { of: ConsumerGroupHeartbeatRequest::NAME, refusal }]
    }

    /// The group goes on without this member.
    fn expelled(&mut self, code: ErrorCode, now: Instant) -> Vec<Action> {
        let entered = self.epoch.is_some();
        let then = self.release.take().map(|release| release.then);
        self.forget();
        self.former = Former::Doubtful;
        let mut actions = self.lose(format!("the coordinator answers {code}"));
        actions.extend(match then {
            // It may be fenced, and still be there for the coordinator.
            Some(Then::Leave(after, reason)) => self.leave(after, reason),
            _ if entered => self.join(),
            // It was not even let in: no haste.
            _ => self.later(now, false),
        });
        actions
    }

    fn lose(&mut self, reason: String) -> Vec<Action> {
        let owned = std::mem::take(&mut self.owned);
        let partitions = self.named(&owned);
        if partitions.is_empty() { Vec::new() } else { vec![Action::Lose { partitions, reason }] }
    }

    /// What is wrong is told by the next heartbeat: a commit may have been overtaken by a new epoch, and no more.
    fn commit_refused(&mut self, code: ErrorCode) -> Vec<Action> {
        if code.class() == Class::FindCoordinator {
            return vec![Action::FindCoordinator];
        }
        let idle = self.state == State::Member && !self.beating;
        if idle { self.beat() } else { Vec::new() }
    }

    fn overdue(&mut self) -> Vec<Action> {
        let leaves = matches!(self.release, Some(Release { then: Then::Leave(..), .. }));
        if self.state != State::Member || leaves {
            return Vec::new();
        }
        // The slow application would not finish what it holds either, so nothing is waited for.
        self.release(self.owned.clone(), false, Then::Leave(After::Rest, OVERDUE))
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        if self.closing.is_some_and(|at| at <= now) {
            return self.release_all();
        }
        let mut actions = Vec::new();
        if matches!(self.naming, Naming::Again(at) if at <= now) {
            self.naming = Naming::Settled;
            actions.extend(self.reconcile());
        }
        let due = self.beat_at.is_some_and(|at| at <= now) && !self.beating;
        actions.extend(if due { self.beat() } else { self.speak() });
        actions
    }

    fn close(&mut self, by: Option<Instant>, now: Instant) -> Vec<Action> {
        match self.state {
            State::Away => self.stopped(None),
            State::Leaving(_) => {
                self.state = State::Leaving(After::Stop);
                Vec::new()
            }
            State::Stopped => Vec::new(),
            // Should the last heartbeat overtake the first, there would be a member that nobody is.
            State::Joining if self.beating => {
                self.closing = Some(self.rules.patient_until(now, by, self.closing));
                Vec::new()
            }
            State::Joining | State::Member => self.release_all(),
        }
    }

    fn release_all(&mut self) -> Vec<Action> {
        self.closing = None;
        self.release(self.owned.clone(), true, Then::Leave(After::Stop, CLOSED))
    }

    fn leave(&mut self, after: After, reason: &'static str) -> Vec<Action> {
        self.forget();
        // One that rests may never have been heard; when it is back, that is long ago.
        self.former = if after == After::Rest { Former::Doubtful } else { Former::Released };
        self.state = State::Leaving(after);
        vec![Action::Ask(Question::LastBeat { member_id: self.member_id.clone(), reason })]
    }

    fn left(&mut self) -> Vec<Action> {
        match self.state {
            State::Leaving(After::Stop) => self.stopped(None),
            State::Leaving(After::Rest) => {
                self.state = State::Away;
                Vec::new()
            }
            State::Leaving(After::Join) => self.join(),
            _ => Vec::new(),
        }
    }

    fn stop(&mut self, fault: Fault) -> Vec<Action> {
        let mut actions = self.lose("the membership has ended".to_owned());
        actions.extend(self.stopped(Some(fault)));
        actions
    }

    fn stopped(&mut self, fault: Option<Fault>) -> Vec<Action> {
        self.forget();
        (self.state, self.release, self.closing) = (State::Stopped, None, None);
        vec![Action::Stop(fault)]
    }
}

#[cfg(test)]
mod tests;
