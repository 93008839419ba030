//! Nodes that share groups without Redis: they are members of a group of their own, of the classic protocol and of a kind of
//! its own, and the cluster's coordinator says who lives.
//!
//! Each member says something as it joins ([`Saying`]): who it is, whether it is *ripe*, and which nodes' groups it *keeps*
//! its hands off. The leader hands all that was said to all, as it is: that is the *roll* of a generation. Who a group belongs
//! to follows from the ripe ones in it, by the same rendezvous hashing as elsewhere. No topic is needed, and nothing is
//! committed.
//!
//! ```text
//! Fellow ── Ask: join, sync, heartbeat ──▶ coordinator ── Answer ──▶ Fellow ── Hold ──▶ Rounds
//! ```
//!
//! # Why not another registry
//!
//! A registry remembers what each node says whenever it says it. A group does so only when all join again, and so a beat that
//! says something new would be a rebalance. But it knows of the living what a registry cannot: it takes out by itself who is
//! gone, and it makes no generation without whoever is not. So it takes a smaller machine than [`Node`](super::Node).
//!
//! # Why a group is never told by two nodes
//!
//! - A node tells its groups for half a lease after it *sent* the last heartbeat that was answered well, by both its clocks.
//!   The coordinator takes it out six tenths of a lease after it *received* one, or when it has not joined again six tenths
//!   after a rebalance began, before which the last heartbeat was answered well. So whoever is not in a generation, and was in
//!   the one before, tells nothing any more. Nobody asks what time it is elsewhere; clocks may not run at rates that differ by
//!   a tenth.
//! - A lease that has ended by the time that an answer is heard is over, whatever the answer to a heartbeat is: while it loads
//!   the group, a coordinator answers any heartbeat well, of whatever member and generation (`GroupCoordinatorService` of Kafka
//!   makes that of COORDINATOR_LOAD_IN_PROGRESS). Who has been silent joins, saying so, and hears who is in the group. Where the
//!   lease has not ended, such an answer harms nobody: all sessions begin anew once the group is loaded.
//! - A node goes on telling its groups while it joins again, until its lease ends. It has said by whose groups it keeps, and it
//!   learns no others before the roll comes. A node tells its own only in a generation in which each other one keeps its hands
//!   off them, or tells nothing: who sees somebody new in the roll lets go, and joins once more to say so.
//! - A JoinGroup that was not answered may be executed at any time, with what was true when it was sent. Therefore that life
//!   is over with it, and the next one has another member id: what the dead one says can keep others waiting, no more.
//! - A generation that is not known to the coordinator, or an older one than was seen, means that the group is an older copy,
//!   or another one: that, too, ends the life. Others may hold leases that this copy knows nothing of; so a node is ripe, and
//!   tells something, only when it has been in the group for six tenths of a lease; and one that stood still for longer than
//!   its lease begins to count anew, since it may be a member of that very copy.
//! - Nodes of different leases do not share: the lease is part of the protocol's name, and the coordinator lets nobody in who has
//!   no protocol in common with those who are.
//!
//! What is not covered:
//!
//! - A coordinator that was cut off from the controllers, and replaced, while a node still reaches it and no other does: it
//!   answers heartbeats for as long as it believes that it is one. Kafka asks nobody before it answers one.
//! - An older copy of the group (an unclean election, a restored disk), if the node that finds it did not stand still, but
//!   alone reached no coordinator for longer than its lease, or waited for as long to be let into the generation of that copy:
//!   it goes on at once, beside whoever has its groups since, for half a lease at most.
//! - Somebody else who takes a member out of the group, as an administrator's LeaveGroup does: the others have its groups up to
//!   a heartbeat before it hears of that.
//!
//! # How long a group is told by nobody
//!
//! Of a node that was killed, or stands still: until its session has ended, six tenths of a lease, and the others have heard
//! of that with their next heartbeat, a tenth. Of one that ends in order: until that heartbeat. Of one that comes, nobody is
//! silent until it is ripe, and then its groups are for as long as it takes to join twice; it has read them by then. The first
//! node of all begins after seven tenths of a lease.
//!
//! Where all members live, a rebalance silences nobody: all join within a heartbeat, and their leases last longer. But a
//! heartbeat that is answered with a call to join renews no lease, and a generation is waited for as long as six tenths of one,
//! where somebody is in the group who is gone. Then all leases end before it is there, and *all* groups are told by nobody for a
//! tenth or two of a lease: when a node has died, and another one comes or leaves before its session is over; when the leader
//! dies after a generation was made and before it has told the roll; and when a seat was given to a node that has died before
//! it took it. One that is stopped at that moment waits for its seat for a second, and leaves it.
//!
//! While the coordinator is away, or loads the group, each node tells its groups until its lease ends, and again when all have
//! joined, some heartbeats after it is back, or six tenths of a lease where somebody has died meanwhile. Of a node that stood
//! still for longer than its lease, and was alone, the groups are told after six tenths of a lease more.

mod fellow;
#[cfg(test)]
mod model;
mod run;
mod saying;
#[cfg(test)]
mod simulation;

pub(in crate::lag) use run::{PROTOCOL_TYPE, keep_in_circle};

pub use fellow::Fellow;
pub use saying::Saying;

/// What a node asks the coordinator for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The seat is the member id, `None` for one that is to be given.
    Join {
        seat: Option<String>,
        says: Saying,
    },
    /// From the leader, with what each member has said.
    Sync {
        seat: String,
        generation: i32,
        all: Vec<(String, Saying)>,
    },
    Beat {
        seat: String,
        generation: i32,
    },
}

/// What becomes of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Join again, with this seat.
    Named(String),
    Joined {
        seat: String,
        generation: i32,
        all: Vec<(String, Saying)>,
    },
    Synced(Vec<Saying>),
    Alive,
    /// All are to join again.
    Called,
    /// The seat or the generation is not known.
    Gone,
    /// Refused, and so nothing was done.
    NotNow,
    /// Not answered: it may have been done, or may yet be.
    Lost,
}
