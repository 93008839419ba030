//! Members of the classic protocol in groups of the consumer protocol: how a group goes over from one to the other while it
//! has members, and how those that still speak the old one are carried along (KIP-848, "Upgrade" and "Downgrade").
//!
//! Such a member joins, syncs and sends heartbeats as ever; its generation is its epoch. It is asked to join again
//! (REBALANCE_IN_PROGRESS) whenever it has a step to take towards its target: what it joins with says what it still owns, and
//! SyncGroup tells it what it has. There is no leader among such members, for the coordinator assigns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::entries::ClassicProtocolEntry;
use super::member::{Member, MemberState};
use super::membership::{Group, View};
use super::subscription::Catalogue;
use super::{Held, Refusal, Target};
use crate::devbroker::group::{self as classic, Assigned, Identity, Join, Joined, MemberId, Protocol, Sync, Turn};
use crate::protocol::error::ErrorCode;
use crate::protocol::group::{
    ConsumerProtocolAssignment, ConsumerProtocolPartitions, ConsumerProtocolSubscription, decode, encode,
};
use crate::protocol::message::Str;
use crate::protocol::types::{Topic, TopicId};

/// What members call the protocol type that the coordinator understands.
const CONSUMER: &str = "consumer";

/// Which groups with members go over to the other protocol (`group.consumer.migration.policy`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    #[default]
    Bidirectional,
    /// To the consumer protocol only.
    Upgrade,
    /// To the classic protocol only.
    Downgrade,
    Disabled,
}

impl MigrationPolicy {
    pub(super) fn upgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    pub(super) fn downgrades(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }
}

/// What a member has that speaks the classic protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct Classic {
    pub session_timeout: Duration,
    /// In the order of the member's preference.
    pub protocols: Vec<Protocol>,
    /// When it must have joined again at the latest.
    pub join_ends: Option<Instant>,
    /// When it must have asked for its assignment at the latest.
    pub sync_ends: Option<Instant>,
}

impl Classic {
    fn new(session_timeout: Duration, protocols: Vec<Protocol>) -> Self {
        Self { session_timeout, protocols, join_ends: None, sync_ends: None }
    }

    fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|it| &*it.name == protocol)
    }

    pub(super) fn entries(&self) -> Vec<ClassicProtocolEntry> {
        let entry = |it: &Protocol| ClassicProtocolEntry { name: Str::from(&*it.name), metadata: it.metadata.clone() };
        self.protocols.iter().map(entry).collect()
    }

    /// As it was before a restart; without protocols a member is none of the classic one.
    pub(super) fn restored(session_timeout_ms: i32, protocols: &[ClassicProtocolEntry]) -> Option<Self> {
        let protocol =
            |it: &ClassicProtocolEntry| Protocol { name: Arc::from(&*it.name), metadata: it.metadata.clone() };
        let session = Duration::from_millis(u64::try_from(session_timeout_ms).unwrap_or(0));
        (!protocols.is_empty()).then(|| Self::new(session, protocols.iter().map(protocol).collect()))
    }
}

/// What a member of the classic protocol says that it reads and owns.
struct Said {
    topics: BTreeSet<Topic>,
    owned: Target,
    rack_id: Option<Arc<str>>,
}

impl Said {
    fn read(metadata: Bytes, topics: &dyn Catalogue) -> Option<Self> {
        let subscription: ConsumerProtocolSubscription = decode(metadata).ok()?;
        Some(Self {
            topics: subscription.topics.iter().map(Topic::from).collect(),
            owned: by_id(&subscription.owned_partitions, topics),
            rack_id: subscription.rack_id.as_deref().filter(|rack| !rack.is_empty()).map(Arc::from),
        })
    }
}

/// What is written by name, of the topics that there are.
fn by_id(partitions: &[ConsumerProtocolPartitions], topics: &dyn Catalogue) -> Target {
    let mut target = Target::new();
    for it in partitions {
        let Some(shape) = topics.by_name(&it.topic) else { continue };
        target.entry(shape.id).or_default().extend(&it.partitions);
    }
    target
}

// ---- from one protocol to the other ----

impl Group {
    /// A group of the classic protocol with members, as one of the consumer protocol: everybody has what the last generation
    /// had, and is a step behind as soon as anything changes.
    pub fn from_classic(
        group: &classic::Group,
        id: &str,
        view: View<'_>,
        now: Instant,
        config: &classic::Config,
    ) -> Result<Group, Refusal> {
        let refuse = |why: &str| {
            let why = format!("Cannot upgrade classic group {id} to consumer group because {why}.");
            Err(Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, why))
        };
        let config = &config.consumer;
        if !config.migration_policy.upgrades() {
            return refuse("online upgrade is disabled");
        }
        if !group.speaks_consumer_protocol() {
            return refuse("the group does not use the consumer embedded protocol");
        }
        if group.members().len() > config.max_size {
            return refuse("the group size exceeds the consumer group maximum size");
        }
        let mut upgraded = Group::at_epoch(id, group.generation());
        for (member_id, member) in group.members() {
            let protocol = group.protocol().cloned().unwrap_or_else(|| member.first_protocol());
            let said = Said::read(member.metadata(&protocol), view.topics);
            let assigned: Result<ConsumerProtocolAssignment, _> = decode(member.assignment.clone());
            let Some((said, assigned)) = said.zip(assigned.ok()) else {
                return refuse("the embedded consumer protocol is malformed");
            };
            if assigned.user_data.is_some_and(|data| !data.is_empty()) {
                return refuse(
                    "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor before re-attempting the upgrade",
                );
            }
            let target = by_id(&assigned.assigned_partitions, view.topics);
            let mut carried = carried(member, said, group.generation(), target);
            carried.session_ends = Some(now + member.session_timeout);
            upgraded.put(member_id.clone(), carried);
        }
        upgraded.look(view);
        Ok(upgraded)
    }

    /// Whether only members of the classic protocol are left, so that the group is to be one of theirs.
    pub fn is_to_be_classic(&self, config: &classic::Config) -> bool {
        let members = self.members();
        !members.is_empty()
            && members.values().all(|member| member.classic.is_some())
            && config.consumer.migration_policy.downgrades()
            && members.len() <= config.max_size
    }

    /// What a group of the classic protocol has to know of its members: all but what they spoke of last, which they say
    /// again as they join.
    pub fn to_classic(&self, view: View<'_>) -> Vec<(MemberId, classic::Member)> {
        let names = self.topic_names(view);
        let convert = |(id, member): (&MemberId, &Member)| {
            let spoken = member.classic.as_ref()?;
            let metadata = spoken.protocols.first().map(|it| it.metadata.clone()).unwrap_or_default();
            let assignment = written(&member.target, &names, &metadata);
            Some((id.clone(), classic::Member::carried(member, spoken, assignment)))
        };
        self.members().iter().filter_map(convert).collect()
    }

    fn topic_names(&self, view: View<'_>) -> BTreeMap<TopicId, Topic> {
        let known = |name: &Topic| Some((view.topics.by_name(name)?.id, name.clone()));
        self.names().filter_map(known).collect()
    }
}

/// A member of a classic group, stable at the generation.
fn carried(member: &classic::Member, said: Said, generation: i32, target: Target) -> Member {
    let held = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| {
        (*topic, partitions.iter().map(|partition| (*partition, generation)).collect())
    };
    Member {
        instance_id: member.instance_id.clone(),
        rack_id: said.rack_id,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout: member.rebalance_timeout,
        topics: said.topics,
        epoch: generation,
        previous_epoch: generation,
        assigned: target.iter().map(held).collect::<Held>(),
        target,
        classic: Some(Classic::new(member.session_timeout, member.protocols.clone())),
        ..Member::new()
    }
}

/// An assignment as a member of the classic protocol reads it, in the version that it writes itself.
fn written(target: &Target, names: &BTreeMap<TopicId, Topic>, metadata: &Bytes) -> Bytes {
    let partitions = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| {
        let topic = Str::from(names.get(topic)?);
        Some(ConsumerProtocolPartitions { topic, partitions: partitions.iter().copied().collect() })
    };
    let assigned_partitions = target.iter().filter_map(partitions).collect();
    let version = metadata.get(..2).map_or(0, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
    let version = version.clamp(0, crate::protocol::group::VERSION);
    let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
    // Only texts longer than the wire can say fail, and these have come over it.
    encode(&assignment, version).unwrap_or_default()
}

// ---- JoinGroup, SyncGroup, Heartbeat ----

impl Group {
    /// JoinGroup of a member of the classic protocol: one step towards its target. The id that it is told, and the outcome.
    pub fn join_classic(
        &mut self,
        join: Join,
        view: View<'_>,
        turn: &mut Turn<'_>,
    ) -> (Option<MemberId>, Result<Joined, ErrorCode>) {
        let id = join.member_id.clone().unwrap_or_else(|| join.fresh_id.clone());
        let refused = |error| (join.member_id.clone(), Err(error));
        if self.members().len() >= turn.config.consumer.max_size && !self.members().contains_key(&id) {
            return refused(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        if !self.can_speak(&join) {
            return refused(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if join.member_id.is_none() && join.id_required && join.instance_id.is_none() {
            return (Some(id), Err(ErrorCode::MEMBER_ID_REQUIRED));
        }
        let Some((protocol, said)) = join
            .protocols
            .first()
            .and_then(|it| Some((it.name.clone(), Said::read(it.metadata.clone(), view.topics)?)))
        else {
            return refused(ErrorCode::UNKNOWN_SERVER_ERROR);
        };
        let before = match self.admit_classic(&join, &id, turn) {
            Ok(before) => before,
            Err(error) => return refused(error),
        };
        let owned = said.owned.clone();
        let after = before.clone().joined(join, said, turn.now);
        self.put(id.clone(), after);
        self.step(&id, &before, Some(&owned), view, turn);
        let generation = self.members().get(&id).map_or(0, |member| member.epoch);
        let joined = Joined {
            generation,
            protocol_type: Some(Arc::from(CONSUMER)),
            protocol: Some(protocol),
            leader: Arc::from(""),
            skip_assignment: false,
            members: Vec::new(),
        };
        (Some(id), Ok(joined))
    }

    /// All members of the classic protocol need one in common.
    fn can_speak(&self, join: &Join) -> bool {
        let mut others = self.members().values().filter_map(|member| member.classic.as_ref()).peekable();
        if &*join.protocol_type != CONSUMER || join.protocols.is_empty() {
            return false;
        }
        if others.peek().is_none() {
            return true;
        }
        let others: Vec<&Classic> = others.collect();
        join.protocols.iter().any(|it| others.iter().all(|other| other.knows(&it.name)))
    }

    /// The member as it was before it joined. A static one that has no id yet takes the place of the one before it.
    fn admit_classic(&mut self, join: &Join, id: &MemberId, turn: &mut Turn<'_>) -> Result<Member, ErrorCode> {
        let Some(instance) = &join.instance_id else {
            return Ok(self.members().get(id).cloned().unwrap_or_else(Member::new));
        };
        let holder = self.holder(instance).map(|(holder, _)| holder.clone());
        match holder {
            None if join.member_id.is_none() => Ok(Member::new()),
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(holder) if join.member_id.is_none() => Ok(self.replace(&holder, turn)),
            Some(holder) if holder == *id => Ok(self.members().get(id).cloned().unwrap_or_else(Member::new)),
            Some(_) => Err(ErrorCode::FENCED_INSTANCE_ID),
        }
    }

    /// SyncGroup of a member of the classic protocol: what it has.
    pub fn sync_classic(&mut self, sync: &Sync, view: View<'_>, turn: &Turn<'_>) -> Result<Assigned, ErrorCode> {
        let names = self.topic_names(view);
        let target_epoch = self.assignment_epoch();
        let (member, spoken) = self.classic_member(&sync.who, sync.generation)?;
        let protocol = spoken.protocols.first().ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let differs = |said: &Option<Str>, ours: &str| said.as_deref().is_some_and(|said| said != ours);
        if differs(&sync.protocol_type, CONSUMER) || differs(&sync.protocol, &protocol.name) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if target_epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            member.is_to_join(turn.now);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        let has = |(topic, partitions): (&TopicId, &BTreeMap<i32, i32>)| (*topic, partitions.keys().copied().collect());
        let assigned: Target = member.assigned.iter().map(has).collect();
        let assignment = written(&assigned, &names, &protocol.metadata);
        member.hears_of_classic(turn.now, |spoken| spoken.sync_ends = None);
        let own = |said: &Option<Str>| said.as_deref().map(Arc::from);
        Ok(Assigned { protocol_type: own(&sync.protocol_type), protocol: own(&sync.protocol), assignment })
    }

    /// Heartbeat of a member of the classic protocol. It has to join again when it is behind, when it has to give something
    /// up, and when what it waits for has become free.
    pub fn beat_classic(&mut self, who: &Identity, generation: i32, turn: &Turn<'_>) -> Result<(), ErrorCode> {
        let target_epoch = self.assignment_epoch();
        let (member, _) = self.classic_member(who, generation)?;
        member.hears_of_classic(turn.now, |_| {});
        let (epoch, state) = (member.epoch, member.state);
        let has_a_step = match state {
            _ if epoch < target_epoch => true,
            MemberState::Stable => false,
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !self.waits_for_others(&who.member_id),
        };
        if !has_a_step {
            return Ok(());
        }
        if let Some(member) = self.member_mut(&who.member_id) {
            member.is_to_join(turn.now);
        }
        Err(ErrorCode::REBALANCE_IN_PROGRESS)
    }

    /// The member that asks, if it speaks the classic protocol and is of this generation.
    fn classic_member(&mut self, who: &Identity, generation: i32) -> Result<(&mut Member, Classic), ErrorCode> {
        if let Some(instance) = &who.instance_id {
            let (holder, _) = self.holder(instance).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            if *holder != who.member_id {
                return Err(ErrorCode::FENCED_INSTANCE_ID);
            }
        }
        let member = self.member_mut(&who.member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let spoken = member.classic.clone().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if member.epoch != generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        Ok((member, spoken))
    }

    /// Whether anything of a member's target is still somebody's.
    fn waits_for_others(&self, id: &MemberId) -> bool {
        let Some(member) = self.members().get(id) else { return false };
        let held = |topic: TopicId, partition: i32| {
            self.members().values().any(|other| other.holds_since(topic, partition).is_some())
        };
        let open = |topic: TopicId, partition: i32| {
            !member.assigned.get(&topic).is_some_and(|assigned| assigned.contains_key(&partition))
        };
        let waits = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| {
            partitions.iter().any(|partition| open(*topic, *partition) && held(*topic, *partition))
        };
        member.target.iter().any(waits)
    }
}

impl Member {
    /// What a member says of itself as it joins.
    fn joined(mut self, join: Join, said: Said, now: Instant) -> Self {
        self.instance_id = join.instance_id.or(self.instance_id);
        self.rack_id = said.rack_id.or(self.rack_id);
        self.topics = said.topics;
        self.rebalance_timeout = join.rebalance_timeout;
        (self.client_id, self.client_host) = (join.client_id, join.client_host);
        self.session_ends = Some(now + join.session_timeout);
        self.rebalance_ends = None;
        let mut spoken = Classic::new(join.session_timeout, join.protocols);
        spoken.sync_ends = Some(now + join.rebalance_timeout);
        self.classic = Some(spoken);
        self
    }

    /// It is alive.
    fn hears_of_classic(&mut self, now: Instant, change: impl FnOnce(&mut Classic)) {
        if let Some(spoken) = &mut self.classic {
            self.session_ends = Some(now + spoken.session_timeout);
            change(spoken);
        }
    }

    /// It is told to join again, and has the time of a rebalance to do so.
    fn is_to_join(&mut self, now: Instant) {
        let ends = now + self.rebalance_timeout;
        if let Some(spoken) = &mut self.classic {
            spoken.join_ends.get_or_insert(ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::devbroker::group::consumer::tests::check;

    #[test]
    fn a_classic_group_goes_over_with_its_members_and_back() {
        check(&[
            (
                "a member of each protocol, until the one of the consumer protocol leaves",
                "topic t 4
                 classic a t
                 at 3000
                 > a generation 1
                 sync a 1 a=t0,t1,t2,t3
                 > [t0,t1,t2,t3]
                 join b t
                 > b 2 []
                 show
                 > Reconciling 2/2 a:1[t0,t1,t2,t3] b:2[] until 13000
                 pulse a 1
                 > REBALANCE_IN_PROGRESS
                 again a t own=t0,t1,t2,t3
                 > a generation 1
                 sync a 1
                 > [t0,t1]
                 pulse a 1
                 > REBALANCE_IN_PROGRESS
                 again a t own=t0,t1
                 > a generation 2
                 sync a 2
                 > [t0,t1]
                 pulse a 2
                 > ok
                 beat b 2
                 > b 2 [t2,t3]
                 commit a 1 t0=7
                 > ILLEGAL_GENERATION
                 commit a 2 t0=7 v8
                 > ok
                 offsets a 1
                 > ILLEGAL_GENERATION
                 leave b
                 > ok
                 show
                 > classic: PreparingRebalance t0=7 until 13000
                 pulse a 2
                 > REBALANCE_IN_PROGRESS
                 again a t own=t0,t1
                 > a generation 3
                 sync a 3 a=t0,t1,t2,t3
                 > [t0,t1,t2,t3]",
            ),
            (
                "a classic member among others gives up everything before it joins, and takes what has become free",
                "topic t 2
                 join a t
                 > a 2 [t0,t1]
                 classic b t /sticky
                 > b generation 2
                 sync b 2
                 > []
                 pulse b 2
                 > ok
                 classic c t /range
                 > ? INCONSISTENT_GROUP_PROTOCOL
                 at 1000
                 beat a 2
                 > a 2 [t0]
                 pulse b 2
                 > REBALANCE_IN_PROGRESS
                 again b t /sticky
                 > b generation 3
                 sync b 3
                 > []
                 pulse b 3
                 > ok
                 beat a 2 own=t0
                 > a 3
                 pulse b 3
                 > REBALANCE_IN_PROGRESS
                 again b t /sticky
                 > b generation 3
                 sync b 3
                 > [t1]
                 show
                 > Stable 3/3 a:3[t0] b:3[t1] until 11000
                 sync a 3
                 > UNKNOWN_MEMBER_ID
                 pulse b 2
                 > ILLEGAL_GENERATION
                 restart
                 pulse b 3
                 > ok
                 leave a
                 > ok
                 show
                 > classic: PreparingRebalance until 11000",
            ),
            (
                "whoever waits in a classic group is told to join again",
                "topic t 1
                 classic a t
                 at 3000
                 > a generation 1
                 classic b t
                 join c t
                 > c 2 [t0]
                 > b REBALANCE_IN_PROGRESS
                 again b t
                 > b generation 2",
            ),
            (
                "who does not join in time is out",
                "topic t 2
                 classic a t
                 at 3000
                 > a generation 1
                 sync a 1 a=t0,t1
                 > [t0,t1]
                 join b t
                 > b 2 []
                 pulse a 1
                 > REBALANCE_IN_PROGRESS
                 at 12000
                 pulse a 1
                 > REBALANCE_IN_PROGRESS
                 at 21000
                 pulse a 1
                 > REBALANCE_IN_PROGRESS
                 at 23000
                 pulse a 1
                 > UNKNOWN_MEMBER_ID",
            ),
            (
                "a static member goes over to the other protocol, and back",
                "topic t 2
                 join a t @i
                 > a 2 [t0,t1]
                 classic b t @i
                 > b generation 2
                 show
                 > classic: Stable until 10000
                 sync b 2
                 > [t0,t1]
                 join c t @i
                 > c 2 [t0,t1]
                 show
                 > Stable 2/2 c:2[t0,t1] until 45000",
            ),
            (
                "where groups with members stay with their protocol",
                "policy
                 topic t 1
                 classic a t
                 at 3000
                 > a generation 1
                 join b t
                 > GROUP_ID_NOT_FOUND
                 pulse a 1
                 > ok",
            ),
        ]);
    }
}
