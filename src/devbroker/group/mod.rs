//! The group coordinator: who is in a group, who leads it, and how far it has read, as `GroupMetadataManager` and
//! `OffsetMetadataManager` of Kafka 4.x keep it. This page is about the classic protocol; groups of the consumer protocol
//! (KIP-848) are in [`consumer`], their offsets here; share groups (KIP-932) in [`share`].
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
//!   commits and deletions are first decided, then journalled, then applied. Members of the classic protocol are not
//!   journalled: after a restart such a group is Empty with its generation and its offsets, and members join again.
//! - A group is of one protocol at a time. While it is empty, a member of the other one makes it its own; one with members
//!   becomes of the consumer protocol when a member of that joins, and of the classic one when the last such member leaves.
//!
//! # Deliberately absent
//!
//! The expiry of old offsets (`offsets.retention.minutes`): a development cluster that forgets positions is of no use to
//! anybody.

pub mod consumer;
mod entries;
mod member;
mod membership;
mod offsets;
mod placement;
pub mod share;
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

use self::consumer::{Beat, Catalogue, Refusal, View};
use super::journal::Entry;
use crate::protocol::error::ErrorCode;
use crate::protocol::message::Str;
use crate::protocol::types::{Topic, TopicId};
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
    /// Of groups of the consumer protocol.
    pub consumer: consumer::Config,
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
            consumer: consumer::Config::default(),
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
    /// Before v9, what is committed outside of a transaction has no room for a member's epoch.
    pub is_too_old_for_epochs: bool,
}

impl Committer {
    /// Whether it says nothing of itself.
    fn is_anonymous(&self) -> bool {
        self.generation.is_none() && self.who.member_id.is_empty() && self.who.instance_id.is_none()
    }
}

/// One offset to commit, and where.
#[derive(Debug, Clone)]
pub struct Commit {
    pub topic: Topic,
    pub partition: i32,
    pub committed: Committed,
}

/// When something happens to a group of the consumer protocol, and which topics there are then.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub now: Instant,
    pub topics: &'a dyn Catalogue,
}

/// A group as ListGroups names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub group_id: GroupId,
    pub protocol_type: Option<Arc<str>>,
    pub state: &'static str,
    /// `classic`, `consumer` or `share`
    pub kind: &'static str,
}

/// A group, by its protocol.
#[derive(Debug)]
enum Kind {
    Classic(Group),
    Consumer(consumer::Group),
    Share(share::Group),
}

impl Kind {
    fn is_empty(&self) -> bool {
        match self {
            Kind::Classic(group) => group.is_empty(),
            Kind::Consumer(group) => group.is_empty(),
            Kind::Share(_) => true,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Kind::Classic(group) => group.deadline(),
            Kind::Consumer(group) => group.deadline(),
            Kind::Share(_) => None,
        }
    }

    fn is_subscribed(&self, topic: &str) -> bool {
        match self {
            Kind::Classic(group) => group.is_subscribed(topic),
            Kind::Consumer(group) => group.is_subscribed(topic),
            Kind::Share(_) => false,
        }
    }

    fn entries(&self, id: &str) -> Vec<Entry> {
        match self {
            Kind::Classic(group) => vec![group.entry()],
            Kind::Consumer(group) => group.entries(),
            Kind::Share(group) => group.entries(id),
        }
    }
}

#[derive(Debug)]
struct Kept {
    group: Kind,
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
    /// How many topics have been created: a pattern may match the latest.
    topics_created: u64,
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
    pub fn join(&mut self, scene: Scene<'_>, id: &str, join: Join, ticket: Ticket, out: &mut Effects) {
        let now = scene.now;
        let refusal = self.refuse_join(id, &join);
        if let Some(error) = refusal {
            return out.replies.push(Reply::Join { ticket, member_id: join.member_id, outcome: Err(error) });
        }
        if self.consumer(id).is_some_and(|group| !group.is_empty()) {
            let joined = self.consumer_turn(scene, id, out, |group, view, turn| group.join_classic(join, view, turn));
            let Some((member_id, outcome)) = joined else { return };
            self.settle(scene, id, false, out);
            return out.replies.push(Reply::Join { ticket, member_id, outcome });
        }
        if !matches!(self.groups.get(id), Some(Kept { group: Kind::Classic(_), .. })) {
            self.with_classic(id, |group| out.entries.push(group.entry()));
        }
        self.turn(now, id, out, |group, turn| group.join(join, ticket, turn));
    }

    fn refuse_join(&self, id: &str, join: &Join) -> Option<ErrorCode> {
        let sessions = self.config.min_session_timeout..=self.config.max_session_timeout;
        match () {
            () if id.is_empty() => Some(ErrorCode::INVALID_GROUP_ID),
            () if !sessions.contains(&join.session_timeout) => Some(ErrorCode::INVALID_SESSION_TIMEOUT),
            () => match self.groups.get(id) {
                Some(Kept { group: Kind::Classic(_), .. }) => None,
                Some(Kept { group: Kind::Share(_), .. }) => Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
                Some(kept) if !kept.group.is_empty() => None,
                _ if join.member_id.is_some() => Some(ErrorCode::UNKNOWN_MEMBER_ID),
                _ => None,
            },
        }
    }

    /// SyncGroup (14). The answer comes as a [`Reply::Sync`], now or later.
    pub fn sync(&mut self, scene: Scene<'_>, id: &str, sync: Sync, ticket: Ticket, out: &mut Effects) {
        let now = scene.now;
        if let Some(outcome) =
            self.consumer_turn(scene, id, out, |group, view, turn| group.sync_classic(&sync, view, turn))
        {
            return out.replies.push(Reply::Sync { ticket, outcome });
        }
        match self.known_classic(id) {
            Err(error) => out.replies.push(Reply::Sync { ticket, outcome: Err(error) }),
            Ok(()) => {
                self.turn(now, id, out, |group, turn| group.sync(sync, ticket, turn));
            }
        }
    }

    /// Heartbeat (12).
    pub fn heartbeat(&mut self, scene: Scene<'_>, id: &str, who: &Identity, generation: i32) -> Result<(), ErrorCode> {
        let (now, mut out) = (scene.now, Effects::default());
        let of_consumers =
            self.consumer_turn(scene, id, &mut out, |group, _, turn| group.beat_classic(who, generation, turn));
        if let Some(beaten) = of_consumers {
            return beaten;
        }
        self.known_classic(id)?;
        self.turn(now, id, &mut out, |group, turn| group.heartbeat(who, generation, turn))
            .unwrap_or(Err(ErrorCode::UNKNOWN_MEMBER_ID))
    }

    /// LeaveGroup (13): one outcome for each who shall leave, in order.
    pub fn leave(
        &mut self,
        now: Instant,
        id: &str,
        leaving: &[Identity],
        topics: &dyn Catalogue,
        out: &mut Effects,
    ) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        if let Some(outcomes) =
            self.consumer_turn(Scene { now, topics }, id, out, |group, view, turn| group.expel(leaving, view, turn))
        {
            self.settle(Scene { now, topics }, id, true, out);
            return Ok(outcomes);
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
        topics: &dyn Catalogue,
    ) -> Result<Vec<Result<Entry, ErrorCode>>, ErrorCode> {
        self.check_offsets_of(id)?;
        let mut out = Effects::default();
        let of_consumers = self.consumer(id).map(|group| group.admit_commit(committer, places(commits, topics)));
        let admit = |group: &mut Group, turn: &mut Turn<'_>| group.admit_commit(committer, turn);
        match of_consumers.or_else(|| self.turn(now, id, &mut out, admit)) {
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
        topics: &dyn Catalogue,
    ) -> Result<Vec<Result<Entry, ErrorCode>>, ErrorCode> {
        match self.groups.get(id).map(|kept| &kept.group) {
            Some(Kind::Classic(group)) => group.admit_transaction(committer)?,
            Some(Kind::Consumer(_)) if committer.is_anonymous() => {}
            Some(Kind::Consumer(group)) => match group.admit_commit(committer, places(commits, topics)) {
                Err(ErrorCode::STALE_MEMBER_EPOCH) => return Err(ErrorCode::ILLEGAL_GENERATION),
                admitted => admitted?,
            },
            Some(Kind::Share(_)) => return Err(ErrorCode::GROUP_ID_NOT_FOUND),
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

    /// Whether a member may read what the group has committed; who does not say who it is may (OffsetFetch v9+).
    pub fn admit_fetch(&self, id: &str, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        self.consumer(id).map_or(Ok(()), |group| group.admit_fetch(member, epoch))
    }

    /// OffsetDelete (47): whether it may be done at all; then for each partition, in order, what to journal and
    /// [`apply`](Self::apply) (nothing, if nothing was committed there), or why not.
    pub fn delete_offsets(
        &self,
        id: &str,
        partitions: &[(Topic, i32)],
    ) -> Result<Vec<Result<Option<Entry>, ErrorCode>>, ErrorCode> {
        self.check_offsets_of(id)?;
        let kept = self.groups.get(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if let Kind::Classic(group) = &kept.group
            && !group.is_empty()
            && !group.speaks_consumer_protocol()
        {
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
        self.groups.iter().map(|(id, kept)| {
            let (protocol_type, state, kind) = match &kept.group {
                Kind::Classic(group) => (group.protocol_type().cloned(), group.state().name(), "classic"),
                Kind::Consumer(group) => (Some(Arc::from("consumer")), group.state().name(), "consumer"),
                Kind::Share(_) => (Some(Arc::from("share")), State::Empty.name(), "share"),
            };
            Listing { group_id: id.clone(), protocol_type, state, kind }
        })
    }

    /// Whether there is a group of this name, of whatever protocol.
    pub fn exists(&self, id: &str) -> bool {
        self.groups.contains_key(id)
    }

    /// A group of the classic protocol, to be described (15).
    pub fn group(&self, id: &str) -> Option<&Group> {
        match &self.groups.get(id)?.group {
            Kind::Classic(group) => Some(group),
            Kind::Consumer(_) | Kind::Share(_) => None,
        }
    }

    /// A group of the consumer protocol, to be described (69).
    pub fn consumer(&self, id: &str) -> Option<&consumer::Group> {
        match &self.groups.get(id)?.group {
            Kind::Consumer(group) => Some(group),
            Kind::Classic(_) | Kind::Share(_) => None,
        }
    }

    /// ConsumerGroupHeartbeat (68) of a member that joins or is there.
    pub fn consumer_heartbeat(
        &mut self,
        scene: Scene<'_>,
        id: &str,
        beat: consumer::Heartbeat,
        out: &mut Effects,
    ) -> Result<Beat, Refusal> {
        if let Some(group) = self.fresh_for(scene, id, beat.joins())? {
            return self.found(scene, id, group, beat, out);
        }
        let beaten = self.consumer_turn(scene, id, out, |group, view, turn| group.heartbeat(beat, view, turn));
        beaten.unwrap_or_else(|| Err(refuse(&format!("Group {id} not found."))))
    }

    /// A new group, where the one that is there is none of the consumer protocol and may become one.
    fn fresh_for(&self, scene: Scene<'_>, id: &str, joins: bool) -> Result<Option<consumer::Group>, Refusal> {
        match self.groups.get(id).map(|kept| &kept.group) {
            Some(Kind::Consumer(_)) => Ok(None),
            Some(Kind::Share(_)) => Err(refuse(&not_consumer(id))),
            None if !joins => Err(refuse(&format!("Consumer group {id} not found."))),
            Some(Kind::Classic(_)) if !joins => Err(refuse(&not_consumer(id))),
            Some(Kind::Classic(group)) if !group.is_empty() => {
                let view = View { topics: scene.topics, created: self.topics_created };
                consumer::Group::from_classic(group, id, view, scene.now, &self.config).map(Some)
            }
            None | Some(Kind::Classic(_)) => Ok(Some(consumer::Group::new(GroupId::from(id)))),
        }
    }

    /// Whether a new group is to be is known when its first member is in. Those of a classic group that it was wait no longer.
    fn found(
        &mut self,
        scene: Scene<'_>,
        id: &str,
        mut group: consumer::Group,
        beat: consumer::Heartbeat,
        out: &mut Effects,
    ) -> Result<Beat, Refusal> {
        let view = View { topics: scene.topics, created: self.topics_created };
        let mut said = Effects::default();
        let answer = group.heartbeat(beat, view, &mut Turn { now: scene.now, config: &self.config, out: &mut said })?;
        self.turn(scene.now, id, out, Group::carry_over);
        out.entries.extend(group.entries());
        self.keep(id).group = Kind::Consumer(group);
        self.rearm(id);
        Ok(answer)
    }

    /// ConsumerGroupHeartbeat (68) of a member that leaves, for good or to return.
    pub fn consumer_leave(
        &mut self,
        scene: Scene<'_>,
        id: &str,
        who: &Identity,
        returns: bool,
        out: &mut Effects,
    ) -> Result<(), Refusal> {
        let missing = if self.exists(id) { not_consumer(id) } else { format!("Group {id} not found.") };
        let left = self.consumer_turn(scene, id, out, |group, view, turn| {
            group.leave(&who.member_id, who.instance_id.as_deref(), returns, view, turn)
        });
        self.settle(scene, id, true, out);
        left.unwrap_or_else(|| Err(refuse(&missing)))
    }

    /// A topic was created.
    pub fn topic_created(&mut self, topic: &str) {
        self.topics_created += 1;
        self.topic_changed(topic);
    }

    /// A topic has come, gone, or grown: groups that read it look again at their next heartbeat.
    pub fn topic_changed(&mut self, topic: &str) {
        for kept in self.groups.values_mut() {
            if let Kind::Consumer(group) = &mut kept.group {
                group.topic_changed(topic);
            }
        }
    }

    /// After a restart: members that were journalled have a session's time to come back.
    pub fn resume(&mut self, now: Instant) {
        let session_ends = now + self.config.consumer.session_timeout;
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for id in ids {
            if let Some(Kept { group: Kind::Consumer(group), .. }) = self.groups.get_mut(&id) {
                group.resume(session_ends, now);
            }
            self.rearm(&id);
        }
    }

    /// When [`expire`](Self::expire) is due; `None` while nobody waits for anything.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Does what time does: ends sessions, joins and syncs that took too long.
    pub fn expire(&mut self, now: Instant, topics: &dyn Catalogue, out: &mut Effects) {
        while let Some((_, id)) = self.due.first().filter(|(at, _)| *at <= now).cloned() {
            self.turn(now, &id, out, Group::expire);
            self.consumer_turn(Scene { now, topics }, &id, out, consumer::Group::expire);
            self.settle(Scene { now, topics }, &id, true, out);
        }
    }

    /// Takes in what was journalled, just now or before a restart.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Group(entry) => self.with_classic(&entry.group_id, |group| group.restore(entry)),
            Entry::GroupRemoved(entry) => self.forget(&entry.group_id),
            Entry::Offset(entry) => self.keep(&entry.group_id).offsets.insert(entry),
            Entry::OffsetRemoved(entry) => {
                if let Some(kept) = self.groups.get_mut(&*entry.group_id) {
                    kept.offsets.remove(entry);
                }
            }
            Entry::ConsumerGroup(entry) => self.with_consumers(&entry.group_id, |group| group.restore(entry)),
            Entry::ConsumerMember(entry) => self.with_consumers(&entry.group_id, |group| group.restore_member(entry)),
            Entry::ConsumerMemberRemoved(entry) => {
                self.with_consumers(&entry.group_id, |group| group.forget_member(&entry.member_id))
            }
            Entry::ShareGroup(entry) => self.with_share(&entry.group_id, |_| ()),
            Entry::ShareOffset(entry) => self.with_share(&entry.group_id, |group| group.insert(entry)),
            Entry::ShareTopicRemoved(entry) => self.with_share(&entry.group_id, |group| group.remove(entry.topic_id)),
            Entry::ConsumerRegex(entry) => self.with_consumers(&entry.group_id, |group| group.restore_pattern(entry)),
            _ => {}
        }
    }

    /// Everything that [`apply`](Self::apply) would need to hear, for a compacted journal.
    pub fn snapshot(&self) -> Vec<Entry> {
        let entries = |(id, kept): (&GroupId, &Kept)| {
            let mut entries = kept.group.entries(id);
            entries.extend(kept.offsets.entries(id));
            entries
        };
        self.groups.iter().flat_map(entries).collect()
    }

    /// Whether a request of the classic protocol can be about a group at all.
    fn known_classic(&self, id: &str) -> Result<(), ErrorCode> {
        match self.group(id) {
            _ if id.is_empty() => Err(ErrorCode::INVALID_GROUP_ID),
            Some(_) => Ok(()),
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    fn keep(&mut self, id: &str) -> &mut Kept {
        let id = GroupId::from(id);
        let fresh = || Kept { group: Kind::Classic(Group::new(id.clone())), offsets: Offsets::default(), armed: None };
        self.groups.entry(id.clone()).or_insert_with(fresh)
    }

    /// Does something to a group of the classic protocol; to a new one, if there is none, or one of the other.
    fn with_classic(&mut self, id: &str, act: impl FnOnce(&mut Group)) {
        match &mut self.keep(id).group {
            Kind::Classic(group) => act(group),
            other => {
                let mut group = Group::new(GroupId::from(id));
                act(&mut group);
                *other = Kind::Classic(group);
            }
        }
    }

    /// The same for the consumer protocol.
    fn with_consumers(&mut self, id: &str, act: impl FnOnce(&mut consumer::Group)) {
        match &mut self.keep(id).group {
            Kind::Consumer(group) => act(group),
            other => {
                let mut group = consumer::Group::new(GroupId::from(id));
                act(&mut group);
                *other = Kind::Consumer(group);
            }
        }
    }

    /// The same for a share group.
    fn with_share(&mut self, id: &str, act: impl FnOnce(&mut share::Group)) {
        match &mut self.keep(id).group {
            Kind::Share(group) => act(group),
            other => {
                let mut group = share::Group::default();
                act(&mut group);
                *other = Kind::Share(group);
            }
        }
    }

    /// Share groups have no committed offsets.
    fn check_offsets_of(&self, id: &str) -> Result<(), ErrorCode> {
        self.share(id).map_or(Ok(()), |_| Err(ErrorCode::GROUP_ID_NOT_FOUND))
    }

    fn forget(&mut self, id: &str) {
        if let Some((id, Kept { armed: Some(at), .. })) = self.groups.remove_entry(id) {
            self.due.remove(&(at, id));
        }
    }

    /// Lets an event happen to a group of the classic protocol, and arms the group's next deadline.
    fn turn<T>(
        &mut self,
        now: Instant,
        id: &str,
        out: &mut Effects,
        event: impl FnOnce(&mut Group, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let Kind::Classic(group) = &mut self.groups.get_mut(id)?.group else { return None };
        let result = event(group, &mut Turn { now, config: &self.config, out });
        self.rearm(id);
        Some(result)
    }

    /// The same for a group of the consumer protocol.
    fn consumer_turn<T>(
        &mut self,
        scene: Scene<'_>,
        id: &str,
        out: &mut Effects,
        event: impl FnOnce(&mut consumer::Group, View<'_>, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let Kind::Consumer(group) = &mut self.groups.get_mut(id)?.group else { return None };
        let view = View { topics: scene.topics, created: self.topics_created };
        let result = event(group, view, &mut Turn { now: scene.now, config: &self.config, out });
        self.rearm(id);
        Some(result)
    }

    /// Gives a group back to the classic protocol of which only members of that are left.
    fn settle(&mut self, scene: Scene<'_>, id: &str, shares: bool, out: &mut Effects) {
        let Some(Kept { group: kind, .. }) = self.groups.get_mut(id) else { return };
        let Kind::Consumer(group) = kind else { return };
        if !group.is_to_be_classic(&self.config) {
            return;
        }
        let members = group.to_classic(View { topics: scene.topics, created: self.topics_created });
        let mut turn = Turn { now: scene.now, config: &self.config, out };
        *kind = Kind::Classic(Group::carried(id, group.epoch(), members, shares, &mut turn));
        self.rearm(id);
    }

    fn rearm(&mut self, id: &str) {
        let Some((id, kept)) = self.groups.get_key_value(id).map(|(id, _)| id.clone()).zip(self.groups.get_mut(id))
        else {
            return;
        };
        let next = kept.group.deadline();
        if next != kept.armed {
            if let Some(at) = kept.armed {
                self.due.remove(&(at, id.clone()));
            }
            kept.armed = next;
            self.due.extend(next.map(|at| (at, id)));
        }
    }
}

fn refuse(why: &str) -> Refusal {
    Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, why)
}

fn not_consumer(id: &str) -> String {
    format!("Group {id} is not a consumer group.")
}

/// Where offsets are to be committed, by the ids of topics.
fn places(commits: &[Commit], topics: &dyn Catalogue) -> impl Iterator<Item = (Option<TopicId>, i32)> {
    commits.iter().map(|it| (topics.by_name(&it.topic).map(|shape| shape.id), it.partition))
}
