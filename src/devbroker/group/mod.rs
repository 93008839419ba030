//! The group coordinator: who is in a group, who leads it, and how far it has read. The classic protocol, as
//! `GroupMetadataManager` and `OffsetMetadataManager` of Kafka 4.x keep it.
//!
//! Everything here is pure: a request and the time go in; answers, [`Effects`] and a [`deadline`](Coordinator::deadline)
//! come out. The shell (`handlers/`) keeps the connections, the journal and the clock.
//!
//! # Nouns
//!
//! - A **group** ([`Group`]) has members, a generation and one of four states. A name that no group has is *Dead* when it
//!   is described; no group is ever kept in that state.
//! - A **member** has an id that the coordinator made up. It is *pending* while it has only been told its id (KIP-394),
//!   *static* if it also has a group.instance.id that survives its restarts (KIP-345).
//! - A **generation** is one round of joining and handing out an assignment. Requests of another generation are fenced.
//! - A **ticket** stands for one request that waits: JoinGroup until everybody has joined, SyncGroup until the leader
//!   has handed out the assignment.
//!
//! # How a rebalance flows
//!
//! ```text
//!          first member joins            a member joins, leaves, dies, or changes its metadata; the leader joins again
//!  Empty ────────────────────▶ Preparing ◀───────────────────────────────────────────────┬─────────────────┐
//!    ▲                          │  every member joined, or the rebalance timeout          │                 │
//!    │   nobody is left         ▼  (the first time: the initial delay is over)            │                 │
//!    └───────────────────── next generation ──▶ Completing ── leader sends assignment ──▶ Stable            │
//!                                                   └───────────────────────────────────────────────────────┘
//! ```
//!
//! # What must stay true
//!
//! - Whoever holds a ticket is answered: by the end of the phase, by being removed, or by a later request of the same member.
//! - Each member either has a session deadline or a ticket; a phase in which somebody waits has a deadline.
//! - Offsets and the existence of groups change only by [`apply`](Coordinator::apply), which takes what the journal took:
//!   commits and deletions are first decided, then journalled, then applied. Members are not journalled: after a restart
//!   a group is Empty with its generation and its offsets, and members join again.
//!
//! # Deliberately absent
//!
//! The expiry of old offsets (`offsets.retention.minutes`): a development cluster that forgets positions is of no use to
//! anybody. The consumer protocol of KIP-848.

mod entries;
mod member;
mod membership;
mod offsets;
mod placement;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use entries::{GroupEntry, GroupRemovedEntry, OffsetEntry, OffsetRemovedEntry};
pub use member::{Member, Protocol};
pub use membership::{Group, State};
pub use offsets::{Committed, Offsets};
pub use placement::coordinator_of;

use super::journal::Entry;
use crate::protocol::error::ErrorCode;
use crate::protocol::message::Str;
use crate::protocol::types::Topic;
use bytes::Bytes;

pub type GroupId = Arc<str>;
pub type MemberId = Arc<str>;

/// The broker settings that groups obey; the defaults are Kafka's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `group.initial.rebalance.delay.ms`: how long the first member of an empty group waits for others.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout: Duration,
    /// `group.max.size`
    pub max_size: usize,
    /// How long a new member's JoinGroup may wait before the member is taken for gone: it cannot send heartbeats yet.
    pub new_member_timeout: Duration,
    /// `offset.metadata.max.bytes`; counted, as Kafka does, in UTF-16 units.
    pub offset_metadata_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_secs(3),
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(30 * 60),
            max_size: usize::MAX,
            new_member_timeout: Duration::from_secs(5 * 60),
            offset_metadata_max: 4096,
        }
    }
}

/// One request that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What has to be done in the world after an event: journal first, then answer.
#[derive(Debug, Default)]
pub struct Effects {
    /// What the group has become. If they cannot be journalled, a restart falls back to an earlier generation number,
    /// which fences nobody wrongly: no member survives a restart.
    pub entries: Vec<Entry>,
    pub replies: Vec<Reply>,
}

/// An answer to a request that took a ticket; it may come at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Join { ticket: Ticket, member_id: Option<MemberId>, outcome: Result<Joined, ErrorCode> },
    Sync { ticket: Ticket, outcome: Result<Assigned, ErrorCode> },
}

impl Reply {
    pub fn ticket(&self) -> Ticket {
        match self {
            Reply::Join { ticket, .. } | Reply::Sync { ticket, .. } => *ticket,
        }
    }
}

/// A member of a new generation. Only the leader is told who the members are.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    pub generation: i32,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub leader: MemberId,
    /// The leader came back under its instance id and shall keep the assignment that exists (KIP-814).
    pub skip_assignment: bool,
    pub members: Vec<JoinedMember>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct JoinedMember {
    pub id: MemberId,
    pub instance_id: Option<Arc<str>>,
    pub metadata: Bytes,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Assigned {
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub assignment: Bytes,
}

/// A JoinGroup request.
#[derive(Debug, Clone)]
pub struct Join {
    /// `None`: the member has no id yet.
    pub member_id: Option<MemberId>,
    /// The id to give to a member that has none; made from the client's id and chance, so it is an argument.
    pub fresh_id: MemberId,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocol_type: Arc<str>,
    pub protocols: Vec<Protocol>,
    /// v4+: a new dynamic member is told its id first and has to ask again with it (KIP-394).
    pub id_required: bool,
    /// v9+: a static leader may be told to keep the assignment (KIP-814).
    pub may_skip_assignment: bool,
}

/// A SyncGroup request; only the leader's assignments count.
#[derive(Debug, Clone)]
pub struct Sync {
    pub who: Identity,
    pub generation: i32,
    pub protocol_type: Option<Str>,
    pub protocol: Option<Str>,
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// Who a member says it is.
#[derive(Debug, Clone)]
pub struct Identity {
    pub member_id: MemberId,
    pub instance_id: Option<Arc<str>>,
}

impl Identity {
    pub fn new(member_id: &str, instance_id: Option<&Str>) -> Self {
        Self { member_id: Arc::from(member_id), instance_id: instance_id.map(|id| Arc::from(id.as_str())) }
    }
}

/// Who asks for an offset commit.
#[derive(Debug, Clone)]
pub struct Committer {
    /// `None`: from outside of the group; an admin tool, or a consumer that assigns partitions to itself.
    pub generation: Option<i32>,
    /// An empty id is none.
    pub who: Identity,
    /// v9+: a group that does not exist may be called by its name.
    pub knows_group_id_not_found: bool,
}

/// One offset to commit, and where.
#[derive(Debug, Clone)]
pub struct Commit {
    pub topic: Topic,
    pub partition: i32,
    pub committed: Committed,
}

/// A group as ListGroups names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub group_id: GroupId,
    pub protocol_type: Option<Arc<str>>,
    pub state: State,
}

#[derive(Debug)]
struct Kept {
    group: Group,
    offsets: Offsets,
    /// The deadline under which the group stands in [`Coordinator::due`].
    armed: Option<Instant>,
}

/// All groups of a broker. See the [module](self).
#[derive(Debug, Default)]
pub struct Coordinator {
    config: Config,
    groups: BTreeMap<GroupId, Kept>,
    due: BTreeSet<(Instant, GroupId)>,
}

/// What one event may use: the time, the settings, and where its effects go.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    now: Instant,
    config: &'a Config,
    out: &'a mut Effects,
}

impl Coordinator {
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// JoinGroup (11). The answer comes as a [`Reply::Join`], now or later.
    pub fn join(&mut self, now: Instant, id: &str, join: Join, ticket: Ticket, out: &mut Effects) {
        let refusal = self.refuse_join(id, &join);
        if let Some(error) = refusal {
            return out.replies.push(Reply::Join { ticket, member_id: join.member_id, outcome: Err(error) });
        }
        if !self.groups.contains_key(id) {
            out.entries.push(self.keep(id).group.entry());
        }
        self.turn(now, id, out, |group, turn| group.join(join, ticket, turn));
    }

    fn refuse_join(&self, id: &str, join: &Join) -> Option<ErrorCode> {
        let sessions = self.config.min_session_timeout..=self.config.max_session_timeout;
        match () {
            () if id.is_empty() => Some(ErrorCode::INVALID_GROUP_ID),
            () if !sessions.contains(&join.session_timeout) => Some(ErrorCode::INVALID_SESSION_TIMEOUT),
            () if join.member_id.is_some() && !self.groups.contains_key(id) => Some(ErrorCode::UNKNOWN_MEMBER_ID),
            () => None,
        }
    }

    /// SyncGroup (14). The answer comes as a [`Reply::Sync`], now or later.
    pub fn sync(&mut self, now: Instant, id: &str, sync: Sync, ticket: Ticket, out: &mut Effects) {
        match self.known(id, ErrorCode::UNKNOWN_MEMBER_ID) {
            Err(error) => out.replies.push(Reply::Sync { ticket, outcome: Err(error) }),
            Ok(_) => {
                self.turn(now, id, out, |group, turn| group.sync(sync, ticket, turn));
            }
        }
    }

    /// Heartbeat (12).
    pub fn heartbeat(&mut self, now: Instant, id: &str, who: &Identity, generation: i32) -> Result<(), ErrorCode> {
        self.known(id, ErrorCode::UNKNOWN_MEMBER_ID)?;
        let mut out = Effects::default();
        self.turn(now, id, &mut out, |group, turn| group.heartbeat(who, generation, turn))
            .unwrap_or(Err(ErrorCode::UNKNOWN_MEMBER_ID))
    }

    /// LeaveGroup (13): one outcome for each who shall leave, in order.
    pub fn leave(
        &mut self,
        now: Instant,
        id: &str,
        leaving: &[Identity],
        out: &mut Effects,
    ) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let left = self.turn(now, id, out, |group, turn| group.leave(leaving, turn));
        Ok(left.unwrap_or_else(|| vec![Err(ErrorCode::UNKNOWN_MEMBER_ID); leaving.len()]))
    }

    /// OffsetCommit (8): whether the committer may at all; then for each offset, in order, what to journal and
    /// [`apply`](Self::apply), or why not. That the partitions exist is the caller's to know.
    pub fn commit(
        &mut self,
        now: Instant,
        id: &str,
        committer: &Committer,
        commits: &[Commit],
    ) -> Result<Vec<Result<Entry, ErrorCode>>, ErrorCode> {
        let mut out = Effects::default();
        match self.turn(now, id, &mut out, |group, turn| group.admit_commit(committer, turn)) {
            Some(admitted) => admitted?,
            // Such a commit makes the group: a simple one, for a consumer that assigns partitions to itself.
            None if committer.generation.is_none() => {}
            None if committer.knows_group_id_not_found => return Err(ErrorCode::GROUP_ID_NOT_FOUND),
            None => return Err(ErrorCode::ILLEGAL_GENERATION),
        }
        Ok(commits.iter().map(|commit| commit.entry(id, self.config.offset_metadata_max)).collect())
    }

    /// TxnOffsetCommit (28): as [`commit`](Self::commit), but who does not say who they are is believed (KIP-447), and nothing
    /// becomes so before the transaction is committed.
    pub fn admit_transaction(
        &self,
        id: &str,
        committer: &Committer,
        commits: &[Commit],
    ) -> Result<Vec<Result<Entry, ErrorCode>>, ErrorCode> {
        match self.groups.get(id) {
            Some(kept) => kept.group.admit_transaction(committer)?,
            None if id.is_empty() => return Err(ErrorCode::INVALID_GROUP_ID),
            None if committer.generation.is_none() => {}
            None => return Err(ErrorCode::ILLEGAL_GENERATION),
        }
        Ok(commits.iter().map(|commit| commit.entry(id, self.config.offset_metadata_max)).collect())
    }

    /// What a group has committed (OffsetFetch, 9); a group that does not exist has committed nothing.
    pub fn offsets(&self, id: &str) -> Option<&Offsets> {
        self.groups.get(id).map(|kept| &kept.offsets)
    }

    /// OffsetDelete (47): whether it may be done at all; then for each partition, in order, what to journal and
    /// [`apply`](Self::apply) (nothing, if nothing was committed there), or why not.
    pub fn delete_offsets(
        &self,
        id: &str,
        partitions: &[(Topic, i32)],
    ) -> Result<Vec<Result<Option<Entry>, ErrorCode>>, ErrorCode> {
        let kept = self.groups.get(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if !kept.group.is_empty() && !kept.group.speaks_consumer_protocol() {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        let delete = |(topic, partition): &(Topic, i32)| match kept.group.is_subscribed(topic) {
            true => Err(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC),
            false => Ok(kept.offsets.get(topic, *partition).map(|_| offsets::removed(id, topic, *partition))),
        };
        Ok(partitions.iter().map(delete).collect())
    }

    /// DeleteGroups (42): what to journal and [`apply`](Self::apply), so that an empty group goes with its offsets.
    pub fn delete(&self, id: &str) -> Result<Entry, ErrorCode> {
        let kept = self.groups.get(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if !kept.group.is_empty() {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        Ok(GroupRemovedEntry { group_id: id.into() }.into())
    }

    /// What to journal and [`apply`](Self::apply) when a topic is deleted: its offsets go with it, because a later topic
    /// of the same name is another one.
    pub fn remove_topic(&self, topic: &Topic) -> Vec<Entry> {
        self.groups.iter().flat_map(|(id, kept)| kept.offsets.removal_of(id, topic)).collect()
    }

    /// ListGroups (16), in the order of their names.
    pub fn list(&self) -> impl Iterator<Item = Listing> {
        self.groups.iter().map(|(id, kept)| Listing {
            group_id: id.clone(),
            protocol_type: kept.group.protocol_type().cloned(),
            state: kept.group.state(),
        })
    }

    /// A group, to be described (15).
    pub fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id).map(|kept| &kept.group)
    }

    /// When [`expire`](Self::expire) is due; `None` while nobody waits for anything.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Does what time does: ends sessions, joins and syncs that took too long.
    pub fn expire(&mut self, now: Instant, out: &mut Effects) {
        while let Some((_, id)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            self.turn(now, &id, out, Group::expire);
        }
    }

    /// Takes in what was journalled, just now or before a restart.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Group(entry) => self.keep(&entry.group_id).group.restore(entry),
            Entry::GroupRemoved(entry) => self.forget(&entry.group_id),
            Entry::Offset(entry) => self.keep(&entry.group_id).offsets.insert(entry),
            Entry::OffsetRemoved(entry) => {
                if let Some(kept) = self.groups.get_mut(&*entry.group_id) {
                    kept.offsets.remove(entry);
                }
            }
            _ => {}
        }
    }

    /// Everything that [`apply`](Self::apply) would need to hear, for a compacted journal.
    pub fn snapshot(&self) -> Vec<Entry> {
        let entries = |(id, kept): (&GroupId, &Kept)| {
            let mut entries = vec![kept.group.entry()];
            entries.extend(kept.offsets.entries(id));
            entries
        };
        self.groups.iter().flat_map(entries).collect()
    }

    fn known(&self, id: &str, otherwise: ErrorCode) -> Result<&Kept, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        self.groups.get(id).ok_or(otherwise)
    }

    fn keep(&mut self, id: &str) -> &mut Kept {
        let id = GroupId::from(id);
        let fresh = || Kept { group: Group::new(id.clone()), offsets: Offsets::default(), armed: None };
        self.groups.entry(id.clone()).or_insert_with(fresh)
    }

    fn forget(&mut self, id: &str) {
        if let Some((id, Kept { armed: Some(at), .. })) = self.groups.remove_entry(id) {
            self.due.remove(&(at, id));
        }
    }

    /// Lets an event happen to a group, and arms the group's next deadline.
    fn turn<T>(
        &mut self,
        now: Instant,
        id: &str,
        out: &mut Effects,
        event: impl FnOnce(&mut Group, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let kept = self.groups.get_mut(id)?;
        let result = event(&mut kept.group, &mut Turn { now, config: &self.config, out });
        let next = kept.group.deadline();
        if next != kept.armed {
            let id = kept.group.id().clone();
            if let Some(at) = kept.armed {
                self.due.remove(&(at, id.clone()));
            }
            kept.armed = next;
            self.due.extend(next.map(|at| (at, id)));
        }
        Some(result)
    }
}
