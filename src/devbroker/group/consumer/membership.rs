//! One group's life: who is in it, what they read, and who has what. The drawing is on the [front page](super).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::assign::{Assignor, Reader, Work, copied, grown, text};
use super::entries::{ConsumerGroupEntry, ConsumerMemberEntry, ConsumerMemberRemovedEntry, ConsumerRegexEntry};
use super::member::{AWAY, Member, MemberState};
use super::reconcile::Step;
use super::subscription::{Catalogue, Patterns, compile, fingerprint, matching};
use super::{Beat, Heartbeat, Held, Refusal, Target};
use crate::devbroker::group::{Committer, GroupId, Identity, MemberId, Turn};
use crate::devbroker::journal::Entry;
use crate::protocol::error::ErrorCode;
use crate::protocol::message::Str;
use crate::protocol::types::{Topic, TopicId};

/// However little has happened, patterns are matched again after this long.
const LONGEST_UNMATCHED: Duration = Duration::from_secs(10 * 60);

/// Where a group stands, in the words of ListGroups and ConsumerGroupDescribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Empty,
    /// The target is behind the group.
    Assigning,
    /// Members are behind the target.
    Reconciling,
    Stable,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Assigning => "Assigning",
            State::Reconciling => "Reconciling",
            State::Stable => "Stable",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The topics that there are, and how many have been created up to now.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub topics: &'a dyn Catalogue,
    pub created: u64,
}

/// See the [module](super).
#[derive(Debug)]
pub struct Group {
    id: GroupId,
    epoch: i32,
    assignment_epoch: i32,
    /// When the target was worked out; `None` before the first, and after a restart.
    assigned_at: Option<Instant>,
    /// Of the topics that members read, as they were at the group epoch.
    fingerprint: i64,
    /// Such a topic has come, gone or grown since.
    topics_changed: bool,
    members: BTreeMap<MemberId, Member>,
    patterns: Patterns,
}

/// What falls due.
enum Due {
    Session,
    Rebalance(i32),
    /// A member of the classic protocol has not joined or synced in time.
    Classic,
}

/// Who a heartbeat is from.
enum Sender {
    Known,
    New,
    /// In place of a static member that is away.
    Replaces(MemberId),
}

/// What a member says that it did not say before.
struct News {
    names_changed: bool,
    pattern: PatternChange,
}

/// What has become of a member's pattern.
#[derive(PartialEq)]
enum PatternChange {
    None,
    Unresolved,
    Resolved,
}

impl Group {
    pub fn new(id: GroupId) -> Self {
        Self {
            id,
            epoch: 1,
            assignment_epoch: 0,
            assigned_at: None,
            fingerprint: 0,
            topics_changed: true,
            members: BTreeMap::new(),
            patterns: Patterns::default(),
        }
    }

    /// One that has come to its epoch otherwise, with its target behind it.
    pub(super) fn at_epoch(id: &str, epoch: i32) -> Self {
        Self { epoch, assignment_epoch: epoch, ..Self::new(GroupId::from(id)) }
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    pub fn assignment_epoch(&self) -> i32 {
        self.assignment_epoch
    }

    pub fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn state(&self) -> State {
        match () {
            () if self.members.is_empty() => State::Empty,
            () if self.epoch > self.assignment_epoch => State::Assigning,
            () if self.members.values().all(|member| member.is_reconciled_to(self.assignment_epoch)) => State::Stable,
            () => State::Reconciling,
        }
    }

    /// The assignor that most members ask for; the first that there is, if nobody asks.
    pub fn assignor(&self) -> Assignor {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        self.members.values().filter_map(|member| member.assignor.as_deref()).for_each(|name| {
            *votes.entry(name).or_default() += 1;
        });
        // Equal votes: the first that Java's table hands out.
        let votes = grown(votes.into_iter().collect(), |(name, _)| text(name));
        let most = votes.iter().map(|(_, count)| *count).max();
        let chosen = votes.iter().find(|(_, count)| Some(*count) == most).and_then(|(name, _)| Assignor::named(name));
        chosen.unwrap_or(Assignor::ALL[0])
    }

    /// Whether any member reads a topic.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        let mut names = self.names();
        names.any(|name| **name == *topic)
    }

    /// A topic that may be of this group has come, gone or grown.
    pub fn topic_changed(&mut self, topic: &str) {
        self.topics_changed |= self.is_subscribed(topic);
    }

    // ---- ConsumerGroupHeartbeat ----

    pub fn heartbeat(&mut self, beat: Heartbeat, view: View<'_>, turn: &mut Turn<'_>) -> Result<Beat, Refusal> {
        let max_size = turn.config.consumer.max_size;
        if self.members.len() >= max_size && !self.members.contains_key(&beat.member_id) {
            let why = format!("The consumer group has reached its maximum capacity of {max_size} members.");
            return Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, why));
        }
        let sender = self.identify(&beat)?;
        self.check_pattern(&beat, &sender)?;
        let id = beat.member_id.clone();
        let journalled = matches!(sender, Sender::Known).then(|| self.member_entry(&id)).flatten();
        let before = self.admit(sender, &id, turn);
        let mut after = before.clone();
        after.hear(&beat, turn.now + turn.config.consumer.session_timeout);
        let pattern = self.pattern_change(&before, &after);
        self.members.insert(id.clone(), after);
        let news = self.news(&id, &before, pattern);
        self.advance(&id, news, beat.owned.as_ref(), view, turn);
        let answer = self.answer(&id, &before, beat.joins() || beat.is_full());
        if self.member_entry(&id) != journalled {
            self.journal_member(&id, turn);
        }
        self.match_patterns(view, turn);
        Ok(answer)
    }

    /// What follows from what a member says of itself: the epoch, the target, and a step of the member towards it.
    fn advance(&mut self, id: &MemberId, news: News, owned: Option<&Target>, view: View<'_>, turn: &mut Turn<'_>) {
        self.forget_unused_patterns(turn);
        self.advance_epoch(news.names_changed || news.pattern == PatternChange::Resolved, view, turn);
        self.work_out_target(view, turn);
        self.reconcile(id, news.names_changed || news.pattern != PatternChange::None, owned, view, turn);
    }

    fn news(&self, id: &MemberId, before: &Member, pattern: PatternChange) -> News {
        let names_changed = self.members.get(id).is_some_and(|after| after.topics != before.topics);
        News { names_changed, pattern }
    }

    /// The same for a member of the classic protocol, which is in the group already.
    pub(super) fn step(
        &mut self,
        id: &MemberId,
        before: &Member,
        owned: Option<&Target>,
        view: View<'_>,
        turn: &mut Turn<'_>,
    ) {
        let news = self.news(id, before, PatternChange::None);
        self.advance(id, news, owned, view, turn);
        self.journal_member(id, turn);
    }

    pub(super) fn put(&mut self, id: MemberId, member: Member) {
        self.members.insert(id, member);
    }

    /// Takes the topics that members read as they are now for what the group epoch is about.
    pub(super) fn look(&mut self, view: View<'_>) {
        self.fingerprint = fingerprint(self.names(), view.topics);
        self.topics_changed = false;
    }

    pub(super) fn member_mut(&mut self, id: &MemberId) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    fn identify(&self, beat: &Heartbeat) -> Result<Sender, Refusal> {
        match &beat.instance_id {
            None => match self.members.get(&beat.member_id) {
                Some(member) => check_epoch(member, beat).map(|()| Sender::Known),
                None if beat.joins() => Ok(Sender::New),
                None => Err(self.unknown(&beat.member_id)),
            },
            Some(instance) => self.identify_static(beat, instance),
        }
    }

    fn identify_static(&self, beat: &Heartbeat, instance: &str) -> Result<Sender, Refusal> {
        match self.holder(instance) {
            None if beat.joins() => Ok(Sender::New),
            Some((id, member)) if beat.joins() => {
                // One of the classic protocol goes over to this one.
                if member.epoch != AWAY && member.classic.is_none() {
                    let why = format!(
                        "Static member {} with instance id {instance} cannot join the group because the instance id is owned by {id} member.",
                        beat.member_id
                    );
                    return Err(Refusal::new(ErrorCode::UNRELEASED_INSTANCE_ID, why));
                }
                Ok(Sender::Replaces(id.clone()))
            }
            _ => {
                let (_, member) = self.static_member(instance, &beat.member_id)?;
                check_epoch(member, beat).map(|()| Sender::Known)
            }
        }
    }

    pub(super) fn holder(&self, instance: &str) -> Option<(&MemberId, &Member)> {
        self.members.iter().find(|(_, member)| member.instance_id.as_deref() == Some(instance))
    }

    /// The member of an instance id, if that is the one that asks.
    fn static_member(&self, instance: &str, id: &MemberId) -> Result<(&MemberId, &Member), Refusal> {
        let unknown = || Refusal::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("Instance id {instance} is unknown."));
        let (holder, member) = self.holder(instance).ok_or_else(unknown)?;
        if holder == id {
            return Ok((holder, member));
        }
        let why = format!("Static member {id} with instance id {instance} was fenced by member {holder}.");
        Err(Refusal::new(ErrorCode::FENCED_INSTANCE_ID, why))
    }

    fn unknown(&self, id: &str) -> Refusal {
        Refusal::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("Member {id} is not a member of group {}.", self.id))
    }

    /// A pattern that somebody uses already has been read before.
    fn check_pattern(&self, beat: &Heartbeat, sender: &Sender) -> Result<(), Refusal> {
        let Some(pattern) = beat.regex.as_deref().filter(|pattern| !pattern.is_empty()) else { return Ok(()) };
        let before = match sender {
            Sender::Replaces(id) => self.members.get(id),
            Sender::Known | Sender::New => self.members.get(&beat.member_id),
        };
        if before.is_some_and(|member| member.regex.as_deref() == Some(pattern)) || self.users(pattern) > 0 {
            return Ok(());
        }
        compile(pattern).map(drop)
    }

    /// The member as it was before this heartbeat.
    fn admit(&mut self, sender: Sender, id: &MemberId, turn: &mut Turn<'_>) -> Member {
        match sender {
            Sender::Replaces(old) => self.replace(&old, turn),
            Sender::Known | Sender::New => self.members.get(id).cloned().unwrap_or_else(Member::new),
        }
    }

    /// Takes a static member out whose place is another's now, who begins with what it had.
    pub(super) fn replace(&mut self, old: &MemberId, turn: &mut Turn<'_>) -> Member {
        let mut member = self.members.remove(old).unwrap_or_else(Member::new);
        turn.out.entries.push(self.member_gone(old));
        (member.epoch, member.previous_epoch, member.rebalance_ends) = (0, 0, None);
        member
    }

    fn pattern_change(&self, before: &Member, after: &Member) -> PatternChange {
        match &after.regex {
            same if *same == before.regex => PatternChange::None,
            Some(pattern) if self.users(pattern) == 0 || !self.patterns.resolved.contains_key(pattern) => {
                PatternChange::Unresolved
            }
            Some(_) | None => PatternChange::Resolved,
        }
    }

    fn answer(&self, id: &MemberId, before: &Member, full: bool) -> Beat {
        let member = self.members.get(id).unwrap_or(before);
        let partitions = |held: &Held| {
            let plain =
                |(topic, partitions): (&TopicId, &BTreeMap<i32, i32>)| (*topic, partitions.keys().copied().collect());
            held.iter().map(plain).collect()
        };
        let changed = member.assigned != before.assigned;
        let assignment = (full || changed).then(|| partitions(&member.assigned));
        Beat { member_id: id.clone(), epoch: member.epoch, assignment }
    }

    // ---- the group epoch ----

    /// All names that count as read; a pattern's topics as they were found last.
    pub(super) fn names(&self) -> impl Iterator<Item = &Topic> {
        self.members.values().flat_map(|member| &member.topics).chain(self.patterns.resolved.values().flatten())
    }

    fn users(&self, pattern: &str) -> usize {
        self.members.values().filter(|member| member.regex.as_deref() == Some(pattern)).count()
    }

    fn forget_unused_patterns(&mut self, turn: &mut Turn<'_>) {
        let unused: Vec<Arc<str>> =
            self.patterns.resolved.keys().filter(|pattern| self.users(pattern) == 0).cloned().collect();
        for pattern in unused {
            self.patterns.resolved.remove(&pattern);
            turn.out.entries.push(self.pattern_entry(&pattern, None));
        }
    }

    fn advance_epoch(&mut self, wanted: bool, view: View<'_>, turn: &mut Turn<'_>) {
        if !wanted && !self.topics_changed {
            return;
        }
        let fingerprint = fingerprint(self.names(), view.topics);
        let changed = std::mem::replace(&mut self.fingerprint, fingerprint) != fingerprint;
        self.topics_changed = false;
        if wanted || changed {
            self.epoch += 1;
            turn.out.entries.push(self.entry());
        }
    }

    // ---- the target ----

    fn work_out_target(&mut self, view: View<'_>, turn: &mut Turn<'_>) {
        let interval = turn.config.consumer.assignment_interval;
        let too_soon = self.assigned_at.is_some_and(|at| turn.now < at + interval);
        if self.assignment_epoch >= self.epoch || too_soon {
            return;
        }
        let work = self.work(view);
        for (reader, target) in work.members.iter().zip(self.assignor().assign(&work)) {
            let Some(member) = self.members.get_mut(&reader.id) else { continue };
            if member.target != target {
                member.target = target;
                let entry = member.entry(&self.id, &reader.id).into();
                turn.out.entries.push(entry);
            }
        }
        self.assignment_epoch = self.epoch;
        self.assigned_at = Some(turn.now);
        turn.out.entries.push(self.entry());
    }

    fn work(&self, view: View<'_>) -> Work {
        let mut partitions = BTreeMap::new();
        let mut topics = |member: &Member| {
            let names = copied(self.read_by(member).into_iter().collect(), |name| text(name));
            let known = names.into_iter().filter_map(|name| view.topics.by_name(name));
            let ids = known.map(|shape| {
                partitions.insert(shape.id, shape.partitions);
                shape.id
            });
            ids.collect()
        };
        let reader = |(id, member): (&MemberId, &Member)| Reader {
            id: id.clone(),
            instance_id: member.instance_id.clone(),
            topics: topics(member),
            target: member.target.clone(),
        };
        let members = self.members.iter().map(reader).collect();
        let members = grown(members, |reader: &Reader| text(&reader.id));
        Work { members, alike: self.read_alike(), partitions }
    }

    fn read_by<'a>(&'a self, member: &'a Member) -> BTreeSet<&'a Topic> {
        let matched = member.regex.as_ref().and_then(|pattern| self.patterns.resolved.get(pattern));
        member.topics.iter().chain(matched.into_iter().flatten()).collect()
    }

    /// Whether all members read the same (`ConsumerGroup.subscriptionType`): the same names, or one pattern and no names.
    fn read_alike(&self) -> bool {
        let mut members = self.members.values();
        let Some(first) = members.next() else { return true };
        let same = members.all(|member| member.topics == first.topics && member.regex == first.regex);
        same && (first.regex.is_none() || first.topics.is_empty())
    }

    // ---- reconciling ----

    fn reconcile(
        &mut self,
        id: &MemberId,
        subscription_changed: bool,
        owned: Option<&Target>,
        view: View<'_>,
        turn: &mut Turn<'_>,
    ) {
        let Some(before) = self.members.get(id) else { return };
        if !subscription_changed && before.is_reconciled_to(self.assignment_epoch) {
            return;
        }
        let shape = |name: &&Topic| view.topics.by_name(name).map(|shape| shape.id);
        let topics = self.read_by(before).iter().filter_map(shape).collect();
        let others = self.members.iter().filter(|(other, _)| *other != id);
        let others = others.flat_map(|(_, member)| member.held()).collect();
        let target_epoch = self.assignment_epoch;
        let mut after = before.clone();
        Step { target_epoch, topics: &topics, subscription_changed, owned, others: &others }.take(&mut after);
        if after != *before {
            // One of the classic protocol is waited for to join, and to sync.
            let stuck = after.state == MemberState::UnrevokedPartitions && after.classic.is_none();
            after.rebalance_ends = stuck.then(|| (turn.now + after.rebalance_timeout, after.epoch));
            self.members.insert(id.clone(), after);
        }
    }

    // ---- patterns ----

    /// Matches the patterns with the topics that there are, where that may bring something new. Kafka does it beside its
    /// requests: the heartbeat at hand does not see the outcome, the next one does.
    fn match_patterns(&mut self, view: View<'_>, turn: &mut Turn<'_>) {
        let used: BTreeSet<Arc<str>> = self.members.values().filter_map(|member| member.regex.clone()).collect();
        let looked = self.patterns.looked.filter(|_| !self.patterns.resolved.is_empty());
        let soon = looked.is_some_and(|(at, _)| turn.now <= at + turn.config.consumer.regex_interval);
        let long_ago = looked.is_none_or(|(at, _)| turn.now > at + LONGEST_UNMATCHED);
        let news = looked.is_none_or(|(_, seen)| seen < view.created) || used.len() != self.patterns.resolved.len();
        if used.is_empty() || soon || !(news || long_ago) {
            return;
        }
        let names = view.topics.names();
        let mut changed = false;
        for pattern in used {
            let found = matching(&pattern, &names);
            // One that matches nothing is as good as one not matched yet.
            changed |= self.patterns.resolved.get(&pattern).map_or(!found.is_empty(), |before| *before != found);
            turn.out.entries.push(self.pattern_entry(&pattern, Some(&found)));
            self.patterns.resolved.insert(pattern, found);
        }
        self.patterns.looked = Some((turn.now, view.created));
        self.topics_changed = true;
        self.advance_epoch(changed, view, turn);
    }

    // ---- leaving ----

    /// A member leaves: for good, or as a static member that will be back.
    pub fn leave(
        &mut self,
        id: &MemberId,
        instance: Option<&str>,
        returns: bool,
        view: View<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let id = match instance {
            None if self.members.contains_key(id) => id.clone(),
            None => return Err(self.unknown(id)),
            Some(instance) => self.static_member(instance, id)?.0.clone(),
        };
        if instance.is_some() && returns {
            self.step_away(&id, turn);
        } else {
            self.remove(&[id], view, turn);
        }
        Ok(())
    }

    /// Keeps a static member's place until its session ends.
    fn step_away(&mut self, id: &MemberId, turn: &mut Turn<'_>) {
        if let Some(member) = self.members.get_mut(id) {
            member.epoch = AWAY;
            member.revoking = Held::new();
            member.assigned.values_mut().flat_map(BTreeMap::values_mut).for_each(|epoch| *epoch = 0);
        }
        self.journal_member(id, turn);
    }

    /// LeaveGroup: a member of the classic protocol leaves, or an admin takes members out.
    pub fn expel(&mut self, leaving: &[Identity], view: View<'_>, turn: &mut Turn<'_>) -> Vec<Result<(), ErrorCode>> {
        let find = |who: &Identity| match &who.instance_id {
            None if self.members.contains_key(&who.member_id) => Ok(who.member_id.clone()),
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(instance) => match self.holder(instance) {
                None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some((id, _)) if who.member_id.is_empty() || *id == who.member_id => Ok(id.clone()),
                Some(_) => Err(ErrorCode::FENCED_INSTANCE_ID),
            },
        };
        let found: Vec<Result<MemberId, ErrorCode>> = leaving.iter().map(find).collect();
        let gone: Vec<MemberId> = found.iter().flatten().cloned().collect();
        self.remove(&gone, view, turn);
        found.into_iter().map(|found| found.map(drop)).collect()
    }

    fn remove(&mut self, ids: &[MemberId], view: View<'_>, turn: &mut Turn<'_>) {
        if ids.is_empty() {
            return;
        }
        for id in ids {
            if self.members.remove(id).is_some() {
                turn.out.entries.push(self.member_gone(id));
            }
        }
        if self.is_to_be_classic(turn.config) {
            return;
        }
        self.forget_unused_patterns(turn);
        self.advance_epoch(true, view, turn);
    }

    // ---- offsets ----

    /// Whether a commit is taken. A member that is behind may still commit what has been its own ever since (KIP-1251).
    pub fn admit_commit(
        &self,
        committer: &Committer,
        partitions: impl Iterator<Item = (Option<TopicId>, i32)>,
    ) -> Result<(), ErrorCode> {
        if committer.generation.is_none() && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(&committer.who.member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if member.classic.is_some() {
            let fine = committer.generation == Some(member.epoch);
            return if fine { Ok(()) } else { Err(ErrorCode::ILLEGAL_GENERATION) };
        }
        if committer.is_too_old_for_epochs {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        let epoch = committer.generation.unwrap_or(-1);
        let mut held = partitions.map(|(topic, partition)| member.holds_since(topic?, partition));
        let fine = epoch == member.epoch
            || epoch < member.epoch && held.all(|since| since.is_some_and(|since| epoch >= since));
        if fine { Ok(()) } else { Err(ErrorCode::STALE_MEMBER_EPOCH) }
    }

    /// Whether a member may read what was committed.
    pub fn admit_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        if member.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = member.and_then(|id| self.members.get(id)).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        match member.classic {
            _ if member.epoch == epoch => Ok(()),
            Some(_) => Err(ErrorCode::ILLEGAL_GENERATION),
            None => Err(ErrorCode::STALE_MEMBER_EPOCH),
        }
    }

    // ---- time ----

    fn dues(&self) -> impl Iterator<Item = (Instant, &MemberId, Due)> {
        self.members.iter().flat_map(|(id, member)| {
            let session = member.session_ends.map(|at| (at, id, Due::Session));
            let rebalance = member.rebalance_ends.map(|(at, epoch)| (at, id, Due::Rebalance(epoch)));
            let classic = member.classic.iter().flat_map(|it| [it.join_ends, it.sync_ends]).flatten();
            session.into_iter().chain(rebalance).chain(classic.map(move |at| (at, id, Due::Classic)))
        })
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.dues().map(|(at, ..)| at).min()
    }

    /// Takes out whoever is dead, or has not given up in time what it had to.
    pub fn expire(&mut self, view: View<'_>, turn: &mut Turn<'_>) {
        while let Some((_, id, due)) = self.dues().filter(|(at, ..)| *at <= turn.now).min_by_key(|(at, ..)| *at) {
            let id = id.clone();
            let member_epoch = self.members.get(&id).map(|member| member.epoch);
            match due {
                Due::Session | Due::Classic => self.remove(&[id], view, turn),
                Due::Rebalance(epoch) if Some(epoch) == member_epoch => self.remove(&[id], view, turn),
                Due::Rebalance(_) => {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.rebalance_ends = None;
                    }
                }
            }
        }
    }

    /// The broker that was restarted goes on: whoever was there has a session's time to come back.
    pub fn resume(&mut self, session_ends: Instant, now: Instant) {
        for member in self.members.values_mut() {
            member.session_ends = Some(session_ends);
            let stuck = member.state == MemberState::UnrevokedPartitions && member.classic.is_none();
            member.rebalance_ends = stuck.then(|| (now + member.rebalance_timeout, member.epoch));
        }
    }

    // ---- the journal ----

    pub fn entry(&self) -> Entry {
        ConsumerGroupEntry {
            group_id: Str::from(&*self.id),
            epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            metadata_hash: self.fingerprint,
        }
        .into()
    }

    pub fn entries(&self) -> Vec<Entry> {
        let members = self.members.iter().map(|(id, member)| member.entry(&self.id, id).into());
        let patterns = self.patterns.resolved.iter().map(|(pattern, topics)| self.pattern_entry(pattern, Some(topics)));
        std::iter::once(self.entry()).chain(members).chain(patterns).collect()
    }

    fn member_entry(&self, id: &MemberId) -> Option<ConsumerMemberEntry> {
        self.members.get(id).map(|member| member.entry(&self.id, id))
    }

    fn journal_member(&self, id: &MemberId, turn: &mut Turn<'_>) {
        turn.out.entries.extend(self.member_entry(id).map(Entry::from));
    }

    fn member_gone(&self, id: &MemberId) -> Entry {
        ConsumerMemberRemovedEntry { group_id: Str::from(&*self.id), member_id: Str::from(&**id) }.into()
    }

    fn pattern_entry(&self, pattern: &str, topics: Option<&BTreeSet<Topic>>) -> Entry {
        ConsumerRegexEntry {
            group_id: Str::from(&*self.id),
            regex: pattern.into(),
            topics: topics.map(|topics| topics.iter().map(Str::from).collect()),
        }
        .into()
    }

    pub fn restore(&mut self, entry: &ConsumerGroupEntry) {
        (self.epoch, self.assignment_epoch) = (entry.epoch, entry.assignment_epoch);
        self.fingerprint = entry.metadata_hash;
    }

    pub fn restore_member(&mut self, entry: &ConsumerMemberEntry) {
        self.members.insert(Arc::from(&*entry.member_id), Member::restored(entry));
    }

    pub fn forget_member(&mut self, id: &str) {
        self.members.remove(id);
    }

    pub fn restore_pattern(&mut self, entry: &ConsumerRegexEntry) {
        let pattern = Arc::from(&*entry.regex);
        match &entry.topics {
            Some(topics) => self.patterns.resolved.insert(pattern, topics.iter().map(Topic::from).collect()),
            None => self.patterns.resolved.remove(&pattern),
        };
    }
}

/// A member says the epoch that it was told last. It may say the one before, if it has not heard the answer that told it
/// of a new one, and holds nothing that it does not have by now.
fn check_epoch(member: &Member, beat: &Heartbeat) -> Result<(), Refusal> {
    if beat.joins() || beat.epoch == member.epoch {
        return Ok(());
    }
    let holds = |(topic, partition): (TopicId, i32)| {
        member.assigned.get(&topic).is_some_and(|held| held.contains_key(&partition))
    };
    let flat = |owned: &Target| {
        let all = owned.iter().flat_map(|(topic, partitions)| partitions.iter().map(|it| (*topic, *it)));
        all.collect::<Vec<_>>()
    };
    let unheard = beat.epoch < member.epoch
        && beat.epoch == member.previous_epoch
        && beat.owned.as_ref().is_some_and(|owned| flat(owned).into_iter().all(holds));
    if unheard {
        return Ok(());
    }
    let than = if beat.epoch > member.epoch { "greater" } else { "smaller" };
    let why = format!(
        "The consumer group member has a {than} member epoch ({}) than the one known by the group coordinator ({}). The member must abandon all its partitions and rejoin.",
        beat.epoch, member.epoch
    );
    Err(Refusal::new(ErrorCode::FENCED_MEMBER_EPOCH, why))
}

impl Member {
    /// Takes over what a heartbeat says of its sender.
    fn hear(&mut self, beat: &Heartbeat, session_ends: Instant) {
        let update = |own: &mut Option<Arc<str>>, said: &Option<Arc<str>>| {
            if said.is_some() {
                own.clone_from(said);
            }
        };
        update(&mut self.instance_id, &beat.instance_id);
        update(&mut self.rack_id, &beat.rack_id);
        update(&mut self.assignor, &beat.assignor);
        update(&mut self.regex, &beat.regex);
        self.regex.take_if(|pattern| pattern.is_empty());
        self.rebalance_timeout = beat.rebalance_timeout.unwrap_or(self.rebalance_timeout);
        if let Some(topics) = &beat.topics {
            self.topics.clone_from(topics);
        }
        (self.client_id, self.client_host) = (beat.client_id.clone(), beat.client_host.clone());
        self.session_ends = Some(session_ends);
        self.classic = None;
    }
}
