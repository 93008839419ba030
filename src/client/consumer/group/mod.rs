//! Membership in a group as a state machine: what happened in, what to do out. It knows no socket and no clock;
//! [`membership`](super::membership) carries its actions out and tells it the time.
//!
//! # Two protocols, one machine
//!
//! A group speaks the *classic* protocol, in which its members agree on who reads what ([`classic`]: JoinGroup, SyncGroup,
//! Heartbeat), or the *consumer* protocol, in which the coordinator says so ([`consumer`]: ConsumerGroupHeartbeat,
//! KIP-848). They have their words for what happens and what is to be done in common, and whoever carries it out does not
//! ask which of the two it is. [`Group`] chooses between them, by [`GroupProtocol`], and is where a member falls back from
//! the new one to the old.
//!
//! # What happens to partitions
//!
//! Three different things, in both. *Assigned*: read them from what is committed. *Revoked*: stop, finish what is out,
//! commit, and only then let go ([`Action::Revoke`], answered by [`Event::Released`]). *Lost*: the group has already given
//! them to others; nothing can be committed any more.

pub mod classic;
pub mod consumer;
#[cfg(test)]
mod simulation;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use self::classic::{ClassicGroup, Joined, Joining};
use self::consumer::{Beat, ConsumerGroup, Heard};
use super::config::GroupProtocol;
use crate::client::error::Error;
use crate::protocol::api::Body;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::DescribeGroupsRequest;
use crate::protocol::types::{Str, Topic, TopicId, TopicPartition};

/// After a refusal that somebody has to put right, such as a missing permission, or that says nothing of its cause, it is asked
/// again after this.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// What the machine is told once.
#[derive(Debug, Clone)]
pub struct Rules {
    pub protocol: GroupProtocol,
    /// What the member calls itself in the consumer protocol (KIP-1082); in the classic one, the coordinator names it.
    pub member_id: Str,
    /// Classic: whether partitions are kept through a rebalance; only when all offered assignors can.
    pub cooperative: bool,
    /// A static member (KIP-345) keeps its place when it stops, until its session ends.
    pub is_static: bool,
    pub heartbeat_interval: Duration,
    /// The first pause after a failure; doubles up to `backoff_max`.
    pub backoff: Duration,
    pub backoff_max: Duration,
    /// How long a member that is closed in the midst of joining waits for the end of it, at most.
    pub close_patience: Duration,
    /// After this a member that is not heard of is out.
    pub session_timeout: Duration,
}

impl Rules {
    /// The pause after so many failures in a row.
    fn pause(&self, failures: &mut u32) -> Duration {
        let pause = self.backoff.saturating_mul(1 << (*failures).min(16));
        *failures += 1;
        pause.min(self.backoff_max)
    }

    /// Until when a member that is closed now, for the first time or once more, waits for the end of its joining: there must
    /// be time for its last commit, and to leave.
    fn patient_until(&self, now: Instant, by: Option<Instant>, before: Option<Instant>) -> Instant {
        [by, before].into_iter().flatten().fold(now + self.close_patience, Instant::min)
    }
}

/// What the coordinator has answered instead of what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    /// Its own words, in the protocols that have a place for them.
    pub words: Option<Str>,
}

/// Why a request has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The coordinator has refused it.
    Refused(Refusal),
    /// The coordinator wants the request again with this member id (KIP-394).
    MemberIdRequired(Str),
    /// The coordinator does not know such requests.
    Unsupported,
    /// No answer: no coordinator known, no connection, no time left.
    Unanswered,
    /// One side does not believe who the other is, and will not.
    Distrust(Distrust),
    /// An answer or an assignment that makes no sense.
    Broken(String),
}

impl From<ErrorCode> for Fault {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(Refusal { code, words: None })
    }
}

/// An error of that kind; two that say the same are one.
#[derive(Debug, Clone)]
pub struct Distrust(pub Error);

impl PartialEq for Distrust {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_string() == other.0.to_string()
    }
}

impl Eq for Distrust {}

/// What has happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The application wants records: at the start, and when it is back after [`Event::Overdue`].
    Wanted,
    /// How many members of the classic protocol the group has.
    Counted(Result<usize, Fault>),
    Joined(Result<Joined, Fault>),
    Synced(Result<BTreeSet<TopicPartition>, Fault>),
    /// The leader that has just synced has withheld partitions until others have given them up, or does not know whether it
    /// had: they are nobody's until somebody joins again.
    Withheld,
    /// The answer to a heartbeat that was sent in `generation`.
    Beaten {
        generation: i32,
        result: Result<(), Fault>,
    },
    /// The answer to the heartbeat of this number.
    Heard {
        number: u64,
        result: Result<Heard, Fault>,
    },
    /// The topics of those ids that [`Action::Resolve`] asked for, as far as they are known by now.
    Resolved(BTreeMap<TopicId, Topic>),
    /// A commit that was sent in `generation`, or member epoch, was refused.
    CommitRefused {
        generation: i32,
        code: ErrorCode,
    },
    /// What the [`Action::Revoke`] of this number asked is done.
    Released(u64),
    /// Something in the subscription or its topics is different; the group has to know.
    Changed(&'static str),
    /// The application has not asked for records in time.
    Overdue,
    /// The time has come that [`Group::wakes_at`] named.
    Tick,
    /// The answer to the leaving, or none.
    Left,
    /// By then, if there is a limit to it, nothing may be waited for any more but the last commit and the leaving.
    Close(Option<Instant>),
}

/// What the coordinator is to be asked, or told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Describe the group; answer with [`Event::Counted`].
    CountClassic,
    /// Send JoinGroup; answer with [`Event::Joined`].
    Join(Joining),
    /// Send SyncGroup, with everybody's assignment if this member is the leader; answer with [`Event::Synced`].
    Sync(Joined),
    /// Send Heartbeat; answer with [`Event::Beaten`].
    Heartbeat { member_id: Str, generation: i32 },
    /// Send LeaveGroup; answer with [`Event::Left`].
    Leave { member_id: Str, reason: &'static str },
    /// Send ConsumerGroupHeartbeat; answer with [`Event::Heard`].
    Beat(Beat),
    /// Send the last ConsumerGroupHeartbeat; answer with [`Event::Left`].
    LastBeat { member_id: Str, reason: &'static str },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Ask(Question),
    /// Forget who the coordinator is and find it again.
    FindCoordinator,
    /// Say that the classic protocol is spoken from now on, and why.
    FallBack(String),
    /// Find out what these topics are called; answer with [`Event::Resolved`].
    Resolve(BTreeSet<TopicId>),
    Assign(BTreeSet<TopicPartition>),
    /// Stop, drain (unless in a hurry), commit; answer with [`Event::Released`]. Partitions of a revocation that is not
    /// answered yet may be among them: this one is for both.
    Revoke {
        id: u64,
        partitions: BTreeSet<TopicPartition>,
        drain: bool,
    },
    /// Stop; nothing can be committed.
    Lose {
        partitions: BTreeSet<TopicPartition>,
        reason: String,
    },
    /// Tell the application, through which somebody may hear of it who can put it right; the member goes on. `of` is the API
    /// that was asked.
    Report {
        of: &'static str,
        refusal: Refusal,
    },
    /// The end: closed, or for a reason that no retry can change.
    Stop(Option<Fault>),
}

/// Why a member leaves.
const CLOSED: &str = "the consumer is closed";
const OVERDUE: &str = "the application has not asked for records in time";

/// One member, by whichever protocol.
#[derive(Debug)]
pub struct Group {
    rules: Rules,
    machine: Machine,
}

#[derive(Debug)]
enum Machine {
    /// It depends on who is in the group already.
    Undecided(Undecided),
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

/// Before it is known which protocol is to be spoken.
#[derive(Debug, Default)]
struct Undecided {
    wanted: bool,
    ask_at: Option<Instant>,
    failures: u32,
}

impl Group {
    pub fn new(rules: Rules) -> Self {
        let machine = match rules.protocol {
            GroupProtocol::Classic => Machine::Classic(ClassicGroup::new(rules.clone())),
            GroupProtocol::Consumer => Machine::Consumer(ConsumerGroup::new(rules.clone())),
            GroupProtocol::Auto => Machine::Undecided(Undecided::default()),
        };
        Self { rules, machine }
    }

    /// Who a commit comes from, and in which generation or epoch; `None` outside of the group.
    pub fn identity(&self) -> Option<(Str, i32)> {
        match &self.machine {
            Machine::Undecided(_) => None,
            Machine::Classic(it) => it.identity(),
            Machine::Consumer(it) => it.identity(),
        }
    }

    /// Who asks for what is committed, where the coordinator wants to know; of a classic group it tells everybody.
    pub fn asker(&self) -> Option<(Str, i32)> {
        match &self.machine {
            Machine::Undecided(_) | Machine::Classic(_) => None,
            Machine::Consumer(it) => it.identity(),
        }
    }

    pub fn is_away(&self) -> bool {
        match &self.machine {
            Machine::Undecided(it) => !it.wanted,
            Machine::Classic(it) => it.is_away(),
            Machine::Consumer(it) => it.is_away(),
        }
    }

    /// When to send [`Event::Tick`].
    pub fn wakes_at(&self) -> Option<Instant> {
        match &self.machine {
            Machine::Undecided(it) => it.ask_at,
            Machine::Classic(it) => it.wakes_at(),
            Machine::Consumer(it) => it.wakes_at(),
        }
    }

    pub fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        if let Some(why) = self.turned_away(&event) {
            return self.fall_back(why, now);
        }
        match &mut self.machine {
            Machine::Undecided(_) => self.decide(event, now),
            Machine::Classic(it) => it.on(event, now),
            Machine::Consumer(it) => it.on(event, now),
        }
    }

    /// Why a member that has just tried to enter by the consumer protocol cannot.
    fn turned_away(&self, event: &Event) -> Option<String> {
        let Machine::Consumer(machine) = &self.machine else { return None };
        let Event::Heard { number, result: Err(fault) } = event else { return None };
        if !machine.enters_by(*number) {
            return None;
        }
        match fault {
            Fault::Unsupported => Some("the coordinator does not know the consumer protocol".to_owned()),
            Fault::Refused(Refusal { code: ErrorCode::UNSUPPORTED_VERSION, .. }) => {
                Some("the consumer protocol is not switched on in this cluster".to_owned())
            }
            // A group with classic members that the coordinator may not, or cannot, convert.
            Fault::Refused(Refusal { code: ErrorCode::GROUP_ID_NOT_FOUND, words }) => {
                Some(format!("the group is none of the consumer protocol: {}", words.as_deref().unwrap_or_default()))
            }
            _ => None,
        }
    }

    fn fall_back(&mut self, why: String, now: Instant) -> Vec<Action> {
        let (closing, releases) = match &self.machine {
            Machine::Consumer(it) => (it.is_closing(), it.releases()),
            Machine::Undecided(_) | Machine::Classic(_) => (false, 0),
        };
        self.machine = Machine::Classic(ClassicGroup::after(self.rules.clone(), releases));
        let mut actions = vec![Action::FallBack(why)];
        actions.extend(self.on(if closing { Event::Close(None) } else { Event::Wanted }, now));
        actions
    }

    /// A group with classic members is joined as one of them, any other by the consumer protocol.
    fn decide(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let Machine::Undecided(it) = &mut self.machine else { return Vec::new() };
        let ask = || vec![Action::Ask(Question::CountClassic)];
        match event {
            Event::Wanted if !it.wanted => {
                it.wanted = true;
                ask()
            }
            Event::Tick if it.ask_at.is_some_and(|at| at <= now) => {
                it.ask_at = None;
                ask()
            }
            Event::Counted(Ok(0)) => {
                self.machine = Machine::Consumer(ConsumerGroup::new(self.rules.clone()));
                self.on(Event::Wanted, now)
            }
            Event::Counted(Ok(count)) => self.fall_back(format!("the group has {count} classic members"), now),
            Event::Counted(Err(fault @ (Fault::Distrust(_) | Fault::Broken(_)))) => vec![Action::Stop(Some(fault))],
            Event::Counted(Err(Fault::Refused(refusal))) if refusal.code.is_unexplained() => {
                it.ask_at = Some(now + REFUSED_PAUSE);
                vec![Action::Report { of: DescribeGroupsRequest::NAME, refusal }]
            }
            Event::Counted(Err(Fault::Refused(refusal))) if refusal.code.class() == Class::Fatal => {
                vec![Action::Stop(Some(Fault::Refused(refusal)))]
            }
            Event::Counted(Err(_)) => {
                it.ask_at = Some(now + self.rules.pause(&mut it.failures));
                vec![Action::FindCoordinator]
            }
            Event::Close(_) => vec![Action::Stop(None)],
            _ => Vec::new(),
        }
    }
}
