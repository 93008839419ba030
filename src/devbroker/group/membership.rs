//! One group's life: who is in it, and how a generation comes about. The state machine of the classic protocol, as
//! `ClassicGroup` and the classic half of `GroupMetadataManager` in Kafka 4.x. The drawing is on the [front page](super).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    Assigned, Committer, GroupEntry, GroupId, Identity, Join, Joined, JoinedMember, Member, MemberId, Protocol, Reply,
    Sync, Ticket, Turn,
};
use crate::devbroker::journal::Entry;
use crate::protocol::error::ErrorCode;
use crate::protocol::message::{Reader, Str, Value};

/// What members of a consumer group call themselves; only of these does the coordinator read the topics.
const CONSUMER: &str = "consumer";
/// How soon at most a rebalance is looked at again in which nobody has joined; members may ask for a timeout of 0.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Where a group stands, in the words of ListGroups and DescribeGroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A state, and what only that state has.
#[derive(Debug)]
enum Phase {
    Empty,
    /// Members join, until `ends`. `patience` is there the first time: the group was empty, and waits for more.
    Preparing {
        ends: Instant,
        patience: Option<Patience>,
    },
    /// The leader is working out the assignment.
    Completing,
    Stable,
}

/// How the first rebalance of an empty group is drawn out while members keep coming (KIP-134).
#[derive(Debug)]
struct Patience {
    delay: Duration,
    remaining: Duration,
    newcomers: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Group {
    id: GroupId,
    phase: Phase,
    generation: i32,
    protocol_type: Option<Arc<str>>,
    /// Chosen by the members of this generation.
    protocol: Option<Arc<str>>,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    /// instance id → member id.
    statics: BTreeMap<Arc<str>, MemberId>,
    /// Were told their id and have not used it yet; until when they may.
    pending: BTreeMap<MemberId, Instant>,
    /// Joined this generation and have not asked for their assignment yet; until when they may.
    unsynced: BTreeSet<MemberId>,
    sync_ends: Option<Instant>,
    /// What the members of this generation read; `None` if the coordinator cannot know.
    subscribed: Option<BTreeSet<Str>>,
}

/// What falls due.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Session(MemberId),
    Pending(MemberId),
    Preparing,
    Sync,
}

impl Group {
    pub(super) fn new(id: GroupId) -> Self {
        Self {
            id,
            phase: Phase::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            sync_ends: None,
            subscribed: None,
        }
    }

    pub fn state(&self) -> State {
        match self.phase {
            Phase::Empty => State::Empty,
            Phase::Preparing { .. } => State::PreparingRebalance,
            Phase::Completing => State::CompletingRebalance,
            Phase::Stable => State::Stable,
        }
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    pub fn protocol_type(&self) -> Option<&Arc<str>> {
        self.protocol_type.as_ref()
    }

    pub fn protocol(&self) -> Option<&Arc<str>> {
        self.protocol.as_ref()
    }

    #[cfg(test)]
    pub fn leader(&self) -> Option<&MemberId> {
        self.leader.as_ref()
    }

    pub fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.phase, Phase::Empty)
    }

    pub fn speaks_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether members read a topic. Of consumers whose subscription cannot be read, it is assumed.
    pub(super) fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.iter().any(|subscribed| subscribed.as_str() == topic),
            None => self.speaks_consumer_protocol(),
        }
    }

    /// A group of the consumer protocol that only members of this one are left in, at its epoch. If somebody has left it,
    /// the others share that out among themselves.
    pub(super) fn carried(
        id: &str,
        generation: i32,
        members: Vec<(MemberId, Member)>,
        shares: bool,
        turn: &mut Turn<'_>,
    ) -> Self {
        let mut group = Self { phase: Phase::Stable, generation, ..Self::new(GroupId::from(id)) };
        group.protocol_type = Some(Arc::from(CONSUMER));
        for (id, mut member) in members {
            member.extend_session(turn.now);
            group.leader.get_or_insert_with(|| id.clone());
            group.statics.extend(member.instance_id.clone().map(|instance| (instance, id.clone())));
            group.members.insert(id, member);
        }
        group.protocol = group.most_wanted();
        group.subscribed = group.read_subscriptions();
        turn.out.entries.push(group.entry());
        if shares {
            group.prepare(turn);
        }
        group
    }

    /// The group is one of the consumer protocol now: whoever waits is told to join again.
    pub(super) fn carry_over(&mut self, turn: &mut Turn<'_>) {
        for (id, member) in &mut self.members {
            member.answer_waiting(Some(id.clone()), ErrorCode::REBALANCE_IN_PROGRESS, turn);
        }
    }

    pub(super) fn entry(&self) -> Entry {
        GroupEntry {
            group_id: Str::from(&*self.id),
            generation: self.generation,
            protocol_type: self.protocol_type.as_deref().map(Str::from),
        }
        .into()
    }

    /// As it was before a restart, less its members.
    pub(super) fn restore(&mut self, entry: &GroupEntry) {
        self.generation = entry.generation;
        self.protocol_type = entry.protocol_type.as_deref().map(Arc::from);
        self.subscribed = self.read_subscriptions();
    }

    // ---- JoinGroup ----

    pub(super) fn join(&mut self, join: Join, ticket: Ticket, turn: &mut Turn<'_>) {
        if !self.has_room_for(join.member_id.as_deref(), turn.config.max_size) {
            if let Some(id) = &join.member_id {
                self.remove(id, turn);
            }
            return turn.refuse_join(ticket, None, ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        if !self.can_speak(&join.protocol_type, &join.protocols) {
            return turn.refuse_join(ticket, join.member_id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        match join.member_id.clone() {
            None => self.join_new(join, ticket, turn),
            Some(id) if self.pending.contains_key(&id) => self.join_pending(id, join, ticket, turn),
            Some(id) => self.rejoin(id, join, ticket, turn),
        }
    }

    /// While members join, those who wait are counted, not those who are known: so the last ones to come back to a group
    /// that has become too large are turned away.
    fn has_room_for(&self, id: Option<&str>, max_size: usize) -> bool {
        let member = id.and_then(|id| self.members.get(id));
        match self.phase {
            Phase::Empty => true,
            Phase::Preparing { .. } => {
                member.is_some_and(|member| member.join.is_some()) || self.joined().count() < max_size
            }
            Phase::Completing | Phase::Stable => member.is_some() || self.members.len() < max_size,
        }
    }

    /// Whether a member of this kind fits: all members need one protocol in common.
    fn can_speak(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| self.all_know(&protocol.name))
    }

    fn all_know(&self, protocol: &str) -> bool {
        self.members.values().all(|member| member.knows(protocol))
    }

    fn join_new(&mut self, join: Join, ticket: Ticket, turn: &mut Turn<'_>) {
        let fresh = join.fresh_id.clone();
        let known = join.instance_id.as_ref().map(|instance| self.statics.get(instance).cloned());
        match known {
            Some(Some(old)) => self.replace_static(&old, &fresh, join, ticket, turn),
            Some(None) => self.add(fresh, join, ticket, turn),
            None if join.id_required => {
                self.pending.insert(fresh.clone(), turn.now + join.session_timeout);
                turn.refuse_join(ticket, Some(fresh), ErrorCode::MEMBER_ID_REQUIRED);
            }
            None => self.add(fresh, join, ticket, turn),
        }
    }

    fn join_pending(&mut self, id: MemberId, join: Join, ticket: Ticket, turn: &mut Turn<'_>) {
        if join.instance_id.is_some() {
            // A static member is never told its id first, so nobody but a broken client can get here.
            return turn.refuse_join(ticket, Some(id), ErrorCode::UNKNOWN_SERVER_ERROR);
        }
        self.add(id, join, ticket, turn);
    }

    fn rejoin(&mut self, id: MemberId, join: Join, ticket: Ticket, turn: &mut Turn<'_>) {
        if let Err(error) = self.check(&id, join.instance_id.as_deref()) {
            return turn.refuse_join(ticket, Some(id), error);
        }
        let Some(member) = self.members.get(&id) else { return };
        let same = member.says_the_same(&join.protocols);
        let is_leader = self.leader.as_ref() == Some(&id);
        match self.phase {
            // It may have missed the answer of this generation: here it is again.
            Phase::Completing if same => self.answer_joined(&id, ticket, turn),
            Phase::Stable if same && !is_leader => self.answer_joined(&id, ticket, turn),
            // The leader joins again when what it watches has changed, such as the number of partitions.
            Phase::Preparing { .. } | Phase::Completing | Phase::Stable => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.update(join);
                    member.wait_to_join(&id, ticket, turn);
                }
                self.rebalance_or_go_on(turn);
            }
            Phase::Empty => turn.refuse_join(ticket, Some(id), ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    fn add(&mut self, id: MemberId, join: Join, ticket: Ticket, turn: &mut Turn<'_>) {
        if let Phase::Preparing { patience: Some(patience), .. } = &mut self.phase {
            patience.newcomers = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(instance) = &join.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.pending.remove(&id);
        self.leader.get_or_insert_with(|| id.clone());
        let mut member = Member::new(join);
        member.wait_to_join(&id, ticket, turn);
        member.session_ends = Some(turn.now + turn.config.new_member_timeout);
        self.members.insert(id, member);
        self.rebalance_or_go_on(turn);
    }

    /// A static member is back without its id: it gets a new one, and whoever still uses the old one is fenced. In a
    /// stable group nobody else has to notice (KIP-345), unless what it says would change what the group speaks.
    fn replace_static(&mut self, old: &MemberId, new: &MemberId, join: Join, ticket: Ticket, turn: &mut Turn<'_>) {
        let Some(mut member) = self.members.remove(old) else { return };
        member.fence(old, turn);
        self.has_synced(old);
        member.is_new = false;
        self.statics.extend(join.instance_id.clone().map(|instance| (instance, new.clone())));
        let leader_before = self.leader.clone();
        if self.leader.as_ref() == Some(old) {
            self.leader = Some(new.clone());
        }
        member.extend_session(turn.now);
        let may_skip = join.may_skip_assignment;
        member.update(join);
        member.join = Some(ticket);
        self.members.insert(new.clone(), member);
        match self.phase {
            Phase::Stable if self.protocol == self.most_wanted() => {
                self.welcome_back(new, may_skip, leader_before, turn)
            }
            // The leader may be working with the old id at this moment; its assignment would miss the new one.
            Phase::Stable | Phase::Completing => self.prepare(turn),
            Phase::Preparing { .. } | Phase::Empty => self.go_on_if_complete(turn),
        }
    }

    /// Before v9 a leader that has come back cannot be told to keep the assignment, so it is told that the leader is its
    /// former id: then it asks for its assignment as any member does (KIP-814).
    fn welcome_back(&mut self, id: &MemberId, may_skip: bool, leader_before: Option<MemberId>, turn: &mut Turn<'_>) {
        let is_leader = self.leader.as_ref() == Some(id);
        let mut joined = self.joined_as(id);
        joined.skip_assignment = may_skip && is_leader;
        if !may_skip {
            joined.members = Vec::new();
            joined.leader = leader_before.unwrap_or(joined.leader);
        }
        let Some(ticket) = self.members.get_mut(id).and_then(|member| member.join.take()) else { return };
        turn.out.replies.push(Reply::Join { ticket, member_id: Some(id.clone()), outcome: Ok(joined) });
    }

    fn answer_joined(&self, id: &MemberId, ticket: Ticket, turn: &mut Turn<'_>) {
        let joined = self.joined_as(id);
        turn.out.replies.push(Reply::Join { ticket, member_id: Some(id.clone()), outcome: Ok(joined) });
    }

    fn joined_as(&self, id: &MemberId) -> Joined {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let describe = |(id, member): (&MemberId, &Member)| JoinedMember {
            id: id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        let is_leader = self.leader.as_ref() == Some(id);
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(|| Arc::from("")),
            skip_assignment: false,
            members: if is_leader { self.members.iter().map(describe).collect() } else { Vec::new() },
        }
    }

    // ---- the rebalance ----

    fn rebalance_or_go_on(&mut self, turn: &mut Turn<'_>) {
        match self.phase {
            Phase::Preparing { .. } => self.go_on_if_complete(turn),
            Phase::Empty | Phase::Completing | Phase::Stable => self.prepare(turn),
        }
    }

    fn prepare(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.phase, Phase::Completing) {
            self.hand_out(&BTreeMap::new(), Err(ErrorCode::REBALANCE_IN_PROGRESS), turn);
        }
        self.unsynced.clear();
        self.sync_ends = None;
        let timeout = self.rebalance_timeout();
        if self.is_empty() {
            let delay = turn.config.initial_rebalance_delay;
            let remaining = timeout.saturating_sub(delay);
            let patience = Some(Patience { delay, remaining, newcomers: false });
            self.phase = Phase::Preparing { ends: turn.now + delay, patience };
        } else {
            self.phase = Phase::Preparing { ends: turn.now + timeout, patience: None };
            self.go_on_if_complete(turn);
        }
    }

    /// Ends the phase of joining once everybody is there; the first time, only patience ends it.
    fn go_on_if_complete(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.phase, Phase::Preparing { patience: None, .. }) {
            self.next_generation_if_all_joined(turn);
        }
    }

    fn next_generation_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        let preparing = matches!(self.phase, Phase::Preparing { .. });
        if preparing && self.pending.is_empty() && self.joined().count() == self.members.len() {
            self.next_generation(turn);
        }
    }

    fn joining_is_over(&mut self, turn: &mut Turn<'_>) {
        let Phase::Preparing { ends, patience } = &mut self.phase else { return };
        match patience {
            Some(patience) if patience.newcomers && !patience.remaining.is_zero() => {
                let delay = turn.config.initial_rebalance_delay.min(patience.remaining);
                let remaining = patience.remaining.saturating_sub(patience.delay);
                *patience = Patience { delay, remaining, newcomers: false };
                *ends = turn.now + delay;
            }
            _ => self.next_generation(turn),
        }
    }

    /// Whoever has not joined is out, but for static members: they have until the end of their session.
    fn next_generation(&mut self, turn: &mut Turn<'_>) {
        let late = self.members.iter().filter(|(_, member)| member.join.is_none() && member.instance_id.is_none());
        let late: Vec<MemberId> = late.map(|(id, _)| id.clone()).collect();
        late.iter().for_each(|id| self.remove(id, turn));
        if self.members.is_empty() {
            return self.become_empty(turn);
        }
        if !self.elect_leader() {
            // Only static members are left, and none of them is here. Look again later; a session's end decides.
            let ends = turn.now + self.rebalance_timeout().max(SHORTEST_WAIT);
            self.phase = Phase::Preparing { ends, patience: None };
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.most_wanted();
        self.subscribed = self.read_subscriptions();
        self.phase = Phase::Completing;
        self.unsynced = self.members.keys().cloned().collect();
        self.sync_ends = Some(turn.now + self.rebalance_timeout());
        self.answer_all_joined(turn);
    }

    fn become_empty(&mut self, turn: &mut Turn<'_>) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = None;
        self.subscribed = self.read_subscriptions();
        self.phase = Phase::Empty;
        turn.out.entries.push(self.entry());
    }

    fn answer_all_joined(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined_as(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_new = false;
            member.extend_session(turn.now);
            if let Some(ticket) = member.join.take() {
                turn.out.replies.push(Reply::Join { ticket, member_id: Some(id), outcome: Ok(joined) });
            }
        }
    }

    /// The leader stays if it has joined; otherwise the first who has. False if nobody has.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |id: &MemberId| self.members.get(id).is_some_and(|member| member.join.is_some());
        if !self.leader.as_ref().is_some_and(has_joined) {
            let Some(first) = self.joined().next().cloned() else { return false };
            self.leader = Some(first);
        }
        true
    }

    fn joined(&self) -> impl Iterator<Item = &MemberId> {
        self.members.iter().filter(|(_, member)| member.join.is_some()).map(|(id, _)| id)
    }

    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// The protocol with the most votes; each member votes for the first of its own that all know. Equal votes go to the
    /// one that comes first in the alphabet, so that the same members always choose the same.
    fn most_wanted(&self) -> Option<Arc<str>> {
        let vote = |member: &Member| {
            member.protocols.iter().find(|protocol| self.all_know(&protocol.name)).map(|protocol| protocol.name.clone())
        };
        let mut votes = BTreeMap::<Arc<str>, usize>::new();
        for protocol in self.members.values().filter_map(vote) {
            *votes.entry(protocol).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(protocol, _)| protocol)
    }

    /// What the members read, from the part of a subscription that every version begins with: a version and the topics.
    fn read_subscriptions(&self) -> Option<BTreeSet<Str>> {
        if !self.speaks_consumer_protocol() {
            return None;
        }
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let mut reader = Reader::new(member.metadata(protocol), 0, false);
            i16::get(&mut reader).ok()?;
            topics.extend(Vec::<Str>::get(&mut reader).ok()?);
        }
        Some(topics)
    }

    // ---- SyncGroup ----

    pub(super) fn sync(&mut self, sync: Sync, ticket: Ticket, turn: &mut Turn<'_>) {
        if let Err(error) = self.check_sync(&sync) {
            return turn.out.replies.push(Reply::Sync { ticket, outcome: Err(error) });
        }
        let id = sync.who.member_id;
        match self.phase {
            Phase::Completing => {
                self.has_synced(&id);
                if let Some(member) = self.members.get_mut(&id) {
                    member.wait_to_sync(ticket, turn);
                }
                if self.leader.as_ref() == Some(&id) {
                    self.hand_out(&sync.assignments.into_iter().collect(), Ok(()), turn);
                    self.phase = Phase::Stable;
                    turn.out.entries.push(self.entry());
                }
            }
            Phase::Stable => {
                self.has_synced(&id);
                let outcome = Ok(self.assigned_to(&id));
                turn.out.replies.push(Reply::Sync { ticket, outcome });
            }
            Phase::Preparing { .. } | Phase::Empty => {
                turn.out.replies.push(Reply::Sync { ticket, outcome: Err(ErrorCode::REBALANCE_IN_PROGRESS) });
            }
        }
    }

    /// A protocol that the member names must be the one chosen (v5+).
    fn check_sync(&self, sync: &Sync) -> Result<(), ErrorCode> {
        self.check_generation(&sync.who, sync.generation)?;
        let differs = |said: &Option<Str>, ours: &Option<Arc<str>>| match (said, ours) {
            (Some(said), Some(ours)) => said.as_str() != &**ours,
            _ => false,
        };
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        Ok(())
    }

    fn has_synced(&mut self, id: &MemberId) {
        self.unsynced.remove(id);
        if self.unsynced.is_empty() {
            self.sync_ends = None;
        }
    }

    fn assigned_to(&self, id: &MemberId) -> Assigned {
        Assigned {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    /// Gives every member its assignment (nothing, if the leader left it out) and answers those who wait for it.
    fn hand_out(
        &mut self,
        assignments: &BTreeMap<MemberId, Bytes>,
        outcome: Result<(), ErrorCode>,
        turn: &mut Turn<'_>,
    ) {
        let (protocol_type, protocol) = (self.protocol_type.clone(), self.protocol.clone());
        for (id, member) in &mut self.members {
            let assignment = assignments.get(id).cloned().unwrap_or_default();
            member.assignment = assignment.clone();
            let Some(ticket) = member.sync.take() else { continue };
            member.extend_session(turn.now);
            let assigned = || Assigned { protocol_type: protocol_type.clone(), protocol: protocol.clone(), assignment };
            turn.out.replies.push(Reply::Sync { ticket, outcome: outcome.map(|()| assigned()) });
        }
    }

    // ---- Heartbeat, LeaveGroup, OffsetCommit ----

    pub(super) fn heartbeat(&mut self, who: &Identity, generation: i32, turn: &mut Turn<'_>) -> Result<(), ErrorCode> {
        self.check_generation(who, generation)?;
        self.extend_session(&who.member_id, turn.now);
        match self.phase {
            Phase::Preparing { .. } => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            Phase::Empty | Phase::Completing | Phase::Stable => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, leaving: &[Identity], turn: &mut Turn<'_>) -> Vec<Result<(), ErrorCode>> {
        let outcomes: Vec<_> = leaving.iter().map(|who| self.leave_one(who, turn)).collect();
        if !self.is_empty() && outcomes.iter().any(Result::is_ok) {
            self.rebalance_or_go_on(turn);
        }
        outcomes
    }

    /// An admin removes a static member by its instance id alone.
    fn leave_one(&mut self, who: &Identity, turn: &mut Turn<'_>) -> Result<(), ErrorCode> {
        let id = if who.member_id.is_empty() {
            let named = who.instance_id.as_ref().and_then(|instance| self.statics.get(instance));
            named.cloned().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?
        } else if self.pending.remove(&who.member_id).is_some() {
            return Ok(());
        } else {
            self.check(&who.member_id, who.instance_id.as_deref())?;
            who.member_id.clone()
        };
        self.remove(&id, turn);
        Ok(())
    }

    /// Whether a commit is taken. From outside of the group only while it is empty: otherwise it would move positions
    /// under the feet of the members. In the midst of a rebalance the position may already be somebody else's to commit.
    pub(super) fn admit_commit(&mut self, committer: &Committer, turn: &mut Turn<'_>) -> Result<(), ErrorCode> {
        let Committer { generation, who, .. } = committer;
        if generation.is_none() && self.is_empty() {
            return Ok(());
        }
        if committer.is_anonymous() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.check(&who.member_id, who.instance_id.as_deref())?;
        if *generation != Some(self.generation) {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        if matches!(self.phase, Phase::Completing) {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.extend_session(&who.member_id, turn.now);
        Ok(())
    }

    pub(super) fn admit_transaction(&self, committer: &Committer) -> Result<(), ErrorCode> {
        let Committer { generation, who, .. } = committer;
        if committer.is_anonymous() {
            return Ok(());
        }
        self.check(&who.member_id, who.instance_id.as_deref())?;
        if *generation == Some(self.generation) { Ok(()) } else { Err(ErrorCode::ILLEGAL_GENERATION) }
    }

    // ---- members ----

    fn check_generation(&self, who: &Identity, generation: i32) -> Result<(), ErrorCode> {
        self.check(&who.member_id, who.instance_id.as_deref())?;
        if generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        Ok(())
    }

    /// A member is known by its id; one that names its instance must be the one that holds it now.
    fn check(&self, id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            let holder = self.statics.get(instance).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            if &**holder != id {
                return Err(ErrorCode::FENCED_INSTANCE_ID);
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    fn extend_session(&mut self, id: &str, now: Instant) {
        if let Some(member) = self.members.get_mut(id) {
            member.extend_session(now);
        }
    }

    /// Takes a member out and answers whatever it waits for, so that it asks again if it is still there.
    fn remove(&mut self, id: &MemberId, turn: &mut Turn<'_>) {
        self.pending.remove(id);
        self.has_synced(id);
        let Some(mut member) = self.members.remove(id) else { return };
        member.dismiss(turn);
        if let Some(instance) = &member.instance_id {
            self.statics.remove(instance);
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    // ---- time ----

    fn dues(&self) -> impl Iterator<Item = (Instant, Due)> {
        let sessions =
            self.members.iter().filter_map(|(id, member)| Some((member.session_ends?, Due::Session(id.clone()))));
        let pending = self.pending.iter().map(|(id, ends)| (*ends, Due::Pending(id.clone())));
        let preparing = match self.phase {
            Phase::Preparing { ends, .. } => Some((ends, Due::Preparing)),
            Phase::Empty | Phase::Completing | Phase::Stable => None,
        };
        let sync = self.sync_ends.map(|ends| (ends, Due::Sync));
        sessions.chain(pending).chain(preparing).chain(sync)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.dues().map(|(at, _)| at).min()
    }

    /// Does everything that is due, in the order in which it fell due.
    pub(super) fn expire(&mut self, turn: &mut Turn<'_>) {
        while let Some((_, due)) = self.dues().min().filter(|(at, _)| *at <= turn.now) {
            match due {
                Due::Session(id) => self.session_is_over(&id, turn),
                Due::Pending(id) => {
                    self.pending.remove(&id);
                    self.next_generation_if_all_joined(turn);
                }
                Due::Preparing => self.joining_is_over(turn),
                Due::Sync => self.syncing_is_over(turn),
            }
        }
    }

    fn session_is_over(&mut self, id: &MemberId, turn: &mut Turn<'_>) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.session_ends = None;
        if member.counts_as_alive() {
            return;
        }
        self.remove(id, turn);
        match self.phase {
            Phase::Stable | Phase::Completing => self.prepare(turn),
            Phase::Preparing { .. } | Phase::Empty => self.next_generation_if_all_joined(turn),
        }
    }

    /// Who joined and never asked for its assignment is out: it would hold a share that nobody reads.
    fn syncing_is_over(&mut self, turn: &mut Turn<'_>) {
        self.sync_ends = None;
        let silent = std::mem::take(&mut self.unsynced);
        if silent.is_empty() {
            return;
        }
        silent.iter().for_each(|id| self.remove(id, turn));
        self.prepare(turn);
    }
}

impl Member {
    /// A member that joins twice is answered once: whoever sent the earlier request is gone, or has given up on it.
    fn wait_to_join(&mut self, id: &MemberId, ticket: Ticket, turn: &mut Turn<'_>) {
        if let Some(earlier) = self.join.replace(ticket) {
            turn.refuse_join(earlier, Some(id.clone()), ErrorCode::REBALANCE_IN_PROGRESS);
        }
    }

    fn wait_to_sync(&mut self, ticket: Ticket, turn: &mut Turn<'_>) {
        if let Some(earlier) = self.sync.replace(ticket) {
            turn.out.replies.push(Reply::Sync { ticket: earlier, outcome: Err(ErrorCode::REBALANCE_IN_PROGRESS) });
        }
    }

    fn fence(&mut self, id: &MemberId, turn: &mut Turn<'_>) {
        self.answer_waiting(Some(id.clone()), ErrorCode::FENCED_INSTANCE_ID, turn);
    }

    fn dismiss(&mut self, turn: &mut Turn<'_>) {
        self.answer_waiting(None, ErrorCode::UNKNOWN_MEMBER_ID, turn);
    }

    fn answer_waiting(&mut self, id: Option<MemberId>, error: ErrorCode, turn: &mut Turn<'_>) {
        if let Some(ticket) = self.join.take() {
            turn.refuse_join(ticket, id, error);
        }
        if let Some(ticket) = self.sync.take() {
            turn.out.replies.push(Reply::Sync { ticket, outcome: Err(error) });
        }
    }
}

impl Turn<'_> {
    fn refuse_join(&mut self, ticket: Ticket, member_id: Option<MemberId>, error: ErrorCode) {
        self.out.replies.push(Reply::Join { ticket, member_id, outcome: Err(error) });
    }
}
