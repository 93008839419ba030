//! Several monitors that share the groups of a cluster: who tells which group's lag, and until when. Pure but for the loops.
//!
//! Nodes without Redis are members of a group of their own ([`circle`]); what follows is of those with one. What a node holds,
//! and whom a group belongs to, is the same for both.
//!
//! The nodes meet in a *registry*, which Redis keeps. Each has a line there, and raises its *beat* from time to time; the
//! answer is the *roll*: all lines, of which some are of *members*, and the *epoch*, which goes up whenever a member comes or
//! goes, and whenever a line goes. Who a group belongs to follows from the members alone, by [`rendezvous`] hashing, so that
//! no group has a line and a new one needs none.
//!
//! ```text
//! Node ── Beat ──▶ registry ── Roll ──▶ Node ── Hold ──▶ Rounds: which groups are read, and which are shown
//! ```
//!
//! # Why a group is never told by two nodes
//!
//! - Between two nodes that stay, rendezvous hashing moves nothing. A group moves to a node that comes, or away from one that
//!   is gone.
//! - A node that comes tells nothing before all nodes keep to an epoch that has it: each says with its beat which epoch it
//!   keeps to, and a roll in which all say an epoch that has the members of now is *settled*. The roll says since which epoch
//!   they are its members: later ones differ by lines of others that have gone. So the epoch is a fence, not a number beside.
//! - A node that is gone has stopped before its line is taken away, which is why others may have its groups at once: its lease
//!   ends half a lease after it *sent* the last beat that was answered, and another node takes its line away only after that
//!   has stood still for six tenths of a lease, counted from when it *saw* the line, and only if it still stands as it was
//!   seen. Neither asks what time it is in Redis or at the other, so clocks may be set, or be wrong; they may not run at
//!   rates that differ by a tenth.
//! - A node that was away for longer than its lease is no member, until all have kept to that; one whose line was taken away
//!   is another one ([`MemberId::life`]).
//! - Nodes of different leases do not share: one that finds lines of another lease stays out until those have gone, and takes
//!   away those that stand still for six tenths of the longer lease.
//! - A registry that has lost what it had said (it was emptied, or is an older copy) is found out by the first node that knows
//!   more, and begins a new *term*, in which everybody comes anew. Until then it may have forgotten nodes that still hold
//!   leases: therefore a line becomes a member's only when it has been there for six tenths of a lease, and whoever has a
//!   line, member or not, is waited for.
//!
//! The lease is looked at before each page of a scrape, and before each answer. A page that was made before and is sent
//! after, by a process that was stopped in between, can still arrive; it is of a scrape that was asked for while the lease
//! held, and Prometheus gives samples the time at which it asked.
//!
//! What is not covered: a Redis that is two for a while, because a replica was promoted while the old master still answers
//! (`min-replicas-to-write 1` there closes that), and a copy that is older than half a lease. Nor is a whole machine that is
//! paused with both its clocks, as a snapshot of it may be: it goes on as if no time had passed, and believes in its lease
//! until that ends by its own clocks, or its next beat is answered.
//!
//! What nodes must have in common: the lease; the filters of groups, since a group that its owner leaves out is told by
//! nobody; and the time of day, roughly (NTP), since the history that they share has times of each one's clock, so that a lag
//! in time is wrong after a handover by as much as the clocks differ.
//!
//! # How long a group is told by nobody
//!
//! A node that is stopped in order leaves the registry, and its groups are told by others after a beat. Of one that was
//! killed, or stands still, the groups are told by others within a lease of its last beat: six tenths until its line is taken
//! away, and some beats until the others have heard of that. To read them takes a
//! round more, which begins at once. A node that comes takes nothing from others before its line is old enough; in the meantime
//! it reads what is about to become its own, and then its groups are told by nobody for a beat, or until a round is finished
//! that began in that time and took longer. While Redis is away, each node tells its groups until its lease
//! ends, and then nobody tells anything; once it is back, and has forgotten nothing, they are told after some beats, and
//! otherwise within a lease. The first node of all begins after seven tenths of a lease.
//!
//! A process that dies before it is a member, and is started again, over and over, leaves lines that stand still. Those that
//! were there when a member came or went are waited for until they are taken away, later ones are not: so the groups of a
//! node that comes are told within a lease more. One that dies each time just after it has become a member is a member that
//! comes and goes each time, and keeps others that come waiting for as long as it does so.

mod circle;
mod hold;
mod keep;
mod machine;
#[cfg(test)]
mod model;
mod rendezvous;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod world;

use std::fmt;
use std::sync::Arc;

pub(super) use circle::{PROTOCOL_TYPE, keep_in_circle};
pub use hold::{Hold, Standing};
pub(super) use keep::keep;
pub use machine::Node;
#[cfg(test)]
pub(super) use model::Model;
pub use rendezvous::View;

/// Now, by two clocks: one that never jumps, and the wall's, which has moved on after the machine was suspended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    pub steady_ms: i64,
    pub wall_ms: i64,
}

impl Moment {
    fn plus(self, ms: i64) -> Self {
        Self { steady_ms: self.steady_ms.saturating_add(ms), wall_ms: self.wall_ms.saturating_add(ms) }
    }

    /// By both clocks.
    fn is_before(self, end: Self) -> bool {
        self.steady_ms < end.steady_ms && self.wall_ms < end.wall_ms
    }
}

/// How long things take, all of them shares of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub lease_ms: i64,
}

impl Timing {
    /// Between two beats.
    pub fn beat_ms(self) -> i64 {
        (self.lease_ms / 10).max(1)
    }

    /// Between two beats while a roll is not settled.
    fn hurry_ms(self) -> i64 {
        (self.lease_ms / 50).max(1)
    }

    /// How long after it sent a beat a node tells its groups.
    fn trust_ms(self) -> i64 {
        self.lease_ms / 2
    }

    /// How long a line stands still before another node takes it away.
    pub(super) fn dead_ms(self) -> i64 {
        self.lease_ms / 10 * 6
    }

    /// How long the registry outlives its last node, so that one that is restarted finds its term.
    pub fn keep_ms(self) -> i64 {
        self.lease_ms.saturating_mul(10)
    }
}

/// One life of a node: the name that it was given, and a number that no other life has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    pub name: Arc<str>,
    pub life: u64,
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:016x}", self.name, self.life)
    }
}

impl MemberId {
    pub fn parse(text: &str) -> Option<Self> {
        let (name, life) = text.rsplit_once('#')?;
        Some(Self { name: Arc::from(name), life: u64::from_str_radix(life, 16).ok()? })
    }
}

/// Which registry it is: another one after what it knew was lost.
pub type Term = u64;

/// What a node asks the registry for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    pub id: MemberId,
    /// Goes up with each.
    pub beat: u64,
    /// The last one that was answered; 0: it is not in the registry yet.
    pub confirmed: u64,
    /// The last epoch that it has seen in this life, and that it keeps to.
    pub epoch: u64,
    /// No epoch that it has ever seen is greater.
    pub floor: u64,
    pub term: Option<Term>,
    /// Whether it is to be among those who share the groups.
    pub is_member: bool,
    /// The term, should one begin now.
    pub fresh: Term,
    pub lease_ms: i64,
    /// Lines to take away: as they were seen, or, of lives of its own that are over, however they are.
    pub gone: Vec<(MemberId, Option<u64>)>,
    pub sent: Moment,
}

/// What the registry answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roll {
    pub term: Term,
    pub epoch: u64,
    /// The epoch at which a member last came or went: since then, the members are the same.
    pub changed: u64,
    pub lease_ms: i64,
    /// In order.
    pub lines: Vec<Line>,
}

/// A line of the registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub id: MemberId,
    pub beat: u64,
    /// The epoch that it keeps to.
    pub acked: u64,
    /// Whether it is among those who share the groups.
    pub is_member: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_as_text() {
        for name in ["a", "a#b", "lag-0.lag.svc", "ü"] {
            let id = MemberId { name: Arc::from(name), life: 7 };
            assert_eq!(MemberId::parse(&id.to_string()), Some(id));
        }
        for wrong in ["", "a", "a#", "a#x"] {
            assert_eq!(MemberId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_before_another_by_both_clocks() {
        let moment = |steady_ms, wall_ms| Moment { steady_ms, wall_ms };
        assert!(moment(1, 1).is_before(moment(2, 2)));
        // The machine slept, and the clock that never jumps slept with it.
        assert!(!moment(1, 9).is_before(moment(2, 2)));
        // Somebody set the wall's clock back.
        assert!(!moment(3, 0).is_before(moment(2, 2)));
    }

    /// A whole handover after a node died fits into the lease.
    #[test]
    fn shares_of_the_lease() {
        for lease_ms in [1_000, 15_000, 3_600_000] {
            let timing = Timing { lease_ms };
            assert!(timing.trust_ms() < timing.dead_ms());
            assert!(timing.dead_ms() + 3 * timing.beat_ms() + 2 * timing.hurry_ms() < lease_ms, "{timing:?}");
        }
    }
}
