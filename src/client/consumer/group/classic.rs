//! The classic protocol (KIP-62, -345, -394, -429): members join, one of them assigns, all of them heartbeat.
//!
//! ```text
//! Away ──Start──▶ Joining ──Joined──▶ Syncing ──Synced──▶ Stable ─┐
//!  ▲                 ▲                                  rebalance │ (eager: all, cooperative: what moves)
//!  └─ Overdue ──┐    └───────────── Released ── Releasing ◀───────┘
//!               └─ Leaving ◀─ Released ──┘
//! ```
//!
//! An eager member gives up everything before it joins again. A cooperative one keeps reading through the rebalance and
//! gives up only what the new assignment takes from it, then joins once more so that it can be given to others. Should it die
//! in between and, being static, be back before its session is over, the broker gives it its place without a rebalance (KIP-345)
//! and nobody joins once more: the leader does then, so that what was given up does not stay nobody's.
//!
//! An error that nobody can explain ends nothing: a broker may stumble once, or be newer than this client. It is told, and what
//! was asked is asked again.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Action, CLOSED, Event, Fault, OVERDUE, Question, REFUSED_PAUSE, Refusal, Rules};
use crate::client::consumer::assignor::Assignor;
use crate::client::consumer::user_data::Claim;
use crate::protocol::api::Body;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{HeartbeatRequest, JoinGroupRequest, SyncGroupRequest};
use crate::protocol::types::{Str, TopicPartition};

/// What a member joins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    pub member_id: Str,
    pub generation: Option<i32>,
    pub owned: BTreeSet<TopicPartition>,
    /// What was assigned last, given up or not.
    pub last: Claim,
    pub reason: &'static str,
}

/// The part of a JoinGroup response that the machine needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub member_id: Str,
    pub generation: i32,
    pub assignor: Assignor,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in the group, and not trying.
    Away,
    /// JoinGroup is out, or due at the time given.
    Joining {
        at: Option<Instant>,
    },
    Syncing,
    Stable,
    /// The application finishes what it holds.
    Releasing(Then),
    /// LeaveGroup is out.
    Leaving {
        closing: bool,
    },
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Join(&'static str),
    Leave { closing: bool, reason: &'static str },
}

/// One member.
#[derive(Debug)]
pub struct ClassicGroup {
    rules: Rules,
    state: State,
    member_id: Str,
    generation: Option<i32>,
    owned: BTreeSet<TopicPartition>,
    /// What was assigned last, given up or not.
    last: Claim,
    /// What `Released` takes away.
    releasing: BTreeSet<TopicPartition>,
    /// The number of the latest revocation. What becomes of those before it is nothing to wait for any more.
    release: u64,
    /// The group must be assigned anew as soon as this assignment is through.
    again: Option<&'static str>,
    /// As leader: partitions are nobody's until somebody joins again, and this member does at this time if no other has.
    withheld: Option<Instant>,
    beat_at: Option<Instant>,
    beating: bool,
    failures: u32,
    /// It is to leave, once the rebalance that it is in is through, or at this time.
    closing: Option<Instant>,
}

impl ClassicGroup {
    pub fn new(rules: Rules) -> Self {
        Self::after(rules, 0)
    }

    /// One that numbers its revocations on, because the last of another machine's may still be under way.
    pub fn after(rules: Rules, releases: u64) -> Self {
        Self {
            rules,
            state: State::Away,
            member_id: Str::default(),
            generation: None,
            owned: BTreeSet::new(),
            last: Claim::default(),
            releasing: BTreeSet::new(),
            release: releases,
            again: None,
            withheld: None,
            beat_at: None,
            beating: false,
            failures: 0,
            closing: None,
        }
    }

    /// Who a commit comes from; `None` outside a generation.
    pub fn identity(&self) -> Option<(Str, i32)> {
        self.generation.map(|generation| (self.member_id.clone(), generation))
    }

    pub fn is_away(&self) -> bool {
        self.state == State::Away
    }

    /// When it needs [`Event::Tick`].
    pub fn wakes_at(&self) -> Option<Instant> {
        match self.state {
            State::Joining { .. } | State::Syncing if self.closing.is_some() => self.closing,
            State::Joining { at } => at,
            State::Stable | State::Releasing(_) if !self.beating => self.beat_at,
            _ => None,
        }
    }

    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Wanted if self.state == State::Away => self.join("the application wants records"),
            Event::Joined(answer) if self.state == (State::Joining { at: None }) => self.joined(answer, now),
            Event::Synced(answer) if self.state == State::Syncing => self.synced(answer, now),
            Event::Withheld => self.withhold(now),
            Event::Beaten { generation, result } => self.beaten(generation, &result, now),
            Event::CommitRefused { generation, code } if self.is_current(generation) => self.refused(code, now),
            Event::Released(id) if id == self.release => self.released(),
            Event::Changed(reason) => self.changed(reason),
            Event::Overdue => self.overdue(),
            Event::Tick => self.tick(now),
            Event::Left => self.left(),
            Event::Close(by) => self.close(by, now),
            // Too late, or nothing that this protocol asks for.
            _ => Vec::new(),
        }
    }

    fn join(&mut self, reason: &'static str) -> Vec<Action> {
        self.state = State::Joining { at: None };
        (self.beat_at, self.withheld) = (None, None);
        let (member_id, owned, last) = (self.member_id.clone(), self.owned.clone(), self.last.clone());
        vec![Action::Ask(Question::Join(Joining { member_id, generation: self.generation, owned, last, reason }))]
    }

    /// Joins anew after giving up what must not be held through a rebalance.
    fn rejoin(&mut self, reason: &'static str) -> Vec<Action> {
        if self.rules.cooperative || self.owned.is_empty() {
            return self.join(reason);
        }
        self.release(self.owned.clone(), true, Then::Join(reason))
    }

    fn release(&mut self, partitions: BTreeSet<TopicPartition>, drain: bool, then: Then) -> Vec<Action> {
        self.state = State::Releasing(then);
        if partitions.is_empty() {
            return self.released();
        }
        self.releasing.clone_from(&partitions);
        self.release += 1;
        vec![Action::Revoke { id: self.release, partitions, drain }]
    }

    fn released(&mut self) -> Vec<Action> {
        let State::Releasing(then) = self.state else { return Vec::new() };
        for partition in std::mem::take(&mut self.releasing) {
            self.owned.remove(&partition);
        }
        match then {
            Then::Join(reason) => self.join(reason),
            Then::Leave { closing, reason } => self.leave(closing, reason),
        }
    }

    fn joined(&mut self, answer: Result<Joined, Fault>, now: Instant) -> Vec<Action> {
        match answer {
            Ok(joined) => {
                self.member_id = joined.member_id.clone();
                self.generation = Some(joined.generation);
                self.state = State::Syncing;
                vec![Action::Ask(Question::Sync(joined))]
            }
            Err(Fault::MemberIdRequired(member_id)) => {
                self.member_id = member_id;
                self.join("the coordinator has given a member id")
            }
            Err(fault) => self.failed(JoinGroupRequest::NAME, fault, now),
        }
    }

    fn synced(&mut self, answer: Result<BTreeSet<TopicPartition>, Fault>, now: Instant) -> Vec<Action> {
        let assigned = match answer {
            Ok(assigned) => assigned,
            Err(fault) => return self.failed(SyncGroupRequest::NAME, fault, now),
        };
        self.state = State::Stable;
        self.failures = 0;
        self.beat_at = Some(now + self.rules.heartbeat_interval);
        let added: BTreeSet<_> = assigned.difference(&self.owned).cloned().collect();
        let moved: BTreeSet<_> = self.owned.difference(&assigned).cloned().collect();
        if self.closing.is_some() {
            return self.release_all();
        }
        self.owned.extend(added.iter().cloned());
        self.last = Claim { generation: self.generation, partitions: assigned };
        let mut actions = Vec::new();
        if !added.is_empty() {
            actions.push(Action::Assign(added));
        }
        if !moved.is_empty() {
            self.again = None;
            actions.extend(self.release(moved, true, Then::Join("what the group has moved is given up")));
        } else if let Some(reason) = self.again.take() {
            actions.extend(self.rejoin(reason));
        }
        actions
    }

    fn withhold(&mut self, now: Instant) -> Vec<Action> {
        if matches!(self.state, State::Stable | State::Releasing(_)) {
            self.withheld = Some(now + self.rules.session_timeout);
        }
        Vec::new()
    }

    fn beaten(&mut self, generation: i32, result: &Result<(), Fault>, now: Instant) -> Vec<Action> {
        self.beating = false;
        if !self.is_current(generation) {
            return Vec::new();
        }
        self.beat_at = Some(now + self.rules.heartbeat_interval);
        match result {
            Ok(()) => {
                self.failures = 0;
                Vec::new()
            }
            Err(Fault::Refused(refusal)) if refusal.code.is_unexplained() => {
                vec![report(HeartbeatRequest::NAME, refusal)]
            }
            Err(Fault::Refused(refusal)) => self.refused(refusal.code, now),
            Err(fault @ Fault::Distrust(_)) => self.stop(fault.clone()),
            Err(_) => self.look_for_coordinator(now),
        }
    }

    /// In this generation, with no join under way that settles everything anyhow.
    fn is_current(&self, generation: i32) -> bool {
        self.generation == Some(generation) && matches!(self.state, State::Stable | State::Releasing(_))
    }

    /// A heartbeat or a commit of this generation was refused.
    fn refused(&mut self, code: ErrorCode, now: Instant) -> Vec<Action> {
        match code.class() {
            _ if code == ErrorCode::REBALANCE_IN_PROGRESS => match self.state {
                State::Stable => self.rejoin("the group rebalances"),
                // It joins, or leaves, as soon as everything is given up.
                _ => Vec::new(),
            },
            Class::Rejoin => self.expelled(code),
            Class::FindCoordinator | Class::RefreshMetadata => self.look_for_coordinator(now),
            Class::Retry | Class::Ok => Vec::new(),
            Class::Fatal => self.stop(code.into()),
        }
    }

    fn look_for_coordinator(&mut self, now: Instant) -> Vec<Action> {
        self.beat_at = Some(now + self.pause());
        vec![Action::FindCoordinator]
    }

    /// The group goes on without this member.
    fn expelled(&mut self, code: ErrorCode) -> Vec<Action> {
        if code == ErrorCode::UNKNOWN_MEMBER_ID {
            self.member_id = Str::default();
        }
        self.generation = None;
        let mut actions = self.lose(format!("the coordinator answers {code}"));
        actions.extend(match self.state {
            State::Releasing(Then::Leave { closing, reason }) => self.leave(closing, reason),
            _ if self.closing.is_some() => self.leave(true, CLOSED),
            _ => self.join("the group has gone on without this member"),
        });
        actions
    }

    fn lose(&mut self, reason: String) -> Vec<Action> {
        self.releasing.clear();
        let partitions = std::mem::take(&mut self.owned);
        if partitions.is_empty() { Vec::new() } else { vec![Action::Lose { partitions, reason }] }
    }

    /// JoinGroup or SyncGroup has failed; `of` says which.
    fn failed(&mut self, of: &'static str, fault: Fault, now: Instant) -> Vec<Action> {
        if self.closing.is_some() {
            return self.release_all();
        }
        let again = State::Joining { at: Some(now + self.pause()) };
        match &fault {
            Fault::Refused(refusal) => match refusal.code.class() {
                _ if refusal.code == ErrorCode::REBALANCE_IN_PROGRESS => self.join("the group rebalances"),
                Class::Rejoin => self.expelled(refusal.code),
                Class::FindCoordinator | Class::RefreshMetadata => {
                    self.state = again;
                    vec![Action::FindCoordinator]
                }
                Class::Retry | Class::Ok => {
                    self.state = again;
                    Vec::new()
                }
                Class::Fatal if refusal.code.is_unexplained() => {
                    self.state = State::Joining { at: Some(now + REFUSED_PAUSE) };
                    vec![report(of, refusal)]
                }
                Class::Fatal => self.stop(fault),
            },
            Fault::Unanswered => {
                self.state = again;
                vec![Action::FindCoordinator]
            }
            Fault::MemberIdRequired(_) | Fault::Unsupported | Fault::Distrust(_) | Fault::Broken(_) => self.stop(fault),
        }
    }

    fn pause(&mut self) -> Duration {
        self.rules.pause(&mut self.failures)
    }

    fn changed(&mut self, reason: &'static str) -> Vec<Action> {
        match self.state {
            State::Stable => self.rejoin(reason),
            State::Joining { .. } | State::Syncing => {
                self.again = Some(reason);
                Vec::new()
            }
            // It joins anyhow once all is given up, or has no use for it.
            State::Releasing(_) | State::Away | State::Leaving { .. } | State::Stopped => Vec::new(),
        }
    }

    fn overdue(&mut self) -> Vec<Action> {
        let then = Then::Leave { closing: false, reason: OVERDUE };
        match self.state {
            // The slow application would not finish what it holds either, so nothing is waited for.
            State::Stable | State::Releasing(Then::Join(_)) => self.release(self.owned.clone(), false, then),
            _ => Vec::new(),
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        if self.wakes_at().is_none_or(|at| now < at) {
            return Vec::new();
        }
        match (self.state, self.generation) {
            (State::Joining { .. } | State::Syncing, _) if self.closing.is_some() => self.release_all(),
            (State::Joining { .. }, _) => self.join("another try"),
            (State::Stable, _) if self.withheld.is_some_and(|at| at <= now) => {
                self.rejoin("who was to give up partitions has not joined again")
            }
            (_, Some(generation)) => {
                self.beating = true;
                vec![Action::Ask(Question::Heartbeat { member_id: self.member_id.clone(), generation })]
            }
            _ => Vec::new(),
        }
    }

    fn close(&mut self, by: Option<Instant>, now: Instant) -> Vec<Action> {
        match self.state {
            State::Away => self.stopped(None),
            State::Leaving { .. } => {
                self.state = State::Leaving { closing: true };
                Vec::new()
            }
            State::Stopped => Vec::new(),
            // The coordinator takes commits of the old generation until the new one begins, and of the new one once it is
            // assigned, but between the two of neither. What is held can be committed if the rebalance is seen through;
            // should others take long over it, the old generation is still good.
            State::Joining { at: None } | State::Syncing if !self.owned.is_empty() => {
                self.closing = Some(self.rules.patient_until(now, by, self.closing));
                Vec::new()
            }
            _ => self.release_all(),
        }
    }

    fn release_all(&mut self) -> Vec<Action> {
        self.release(self.owned.clone(), true, Then::Leave { closing: true, reason: CLOSED })
    }

    fn leave(&mut self, closing: bool, reason: &'static str) -> Vec<Action> {
        self.generation = None;
        self.state = State::Leaving { closing };
        let member_id = if self.rules.is_static { self.member_id.clone() } else { std::mem::take(&mut self.member_id) };
        if self.rules.is_static || member_id.is_empty() {
            return self.left();
        }
        vec![Action::Ask(Question::Leave { member_id, reason })]
    }

    fn left(&mut self) -> Vec<Action> {
        match self.state {
            State::Leaving { closing: true } => self.stopped(None),
            State::Leaving { closing: false } => {
                self.state = State::Away;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn stop(&mut self, fault: Fault) -> Vec<Action> {
        let mut actions = self.lose("the membership has ended".to_owned());
        actions.extend(self.stopped(Some(fault)));
        actions
    }

    fn stopped(&mut self, fault: Option<Fault>) -> Vec<Action> {
        self.state = State::Stopped;
        self.generation = None;
        vec![Action::Stop(fault)]
    }
}

fn report(of: &'static str, refusal: &Refusal) -> Action {
    Action::Report { of, refusal: refusal.clone() }
}

#[cfg(test)]
mod tests;
