//! One member of a group of the consumer protocol, as the coordinator knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::classic::Classic;
use super::entries::{ConsumerMemberEntry, ConsumerPartitionsEntry};
use super::{Held, Target};
use crate::devbroker::group::MemberId;
use crate::protocol::message::Str;
use crate::protocol::types::{Topic, TopicId};

/// The epoch of a static member that has gone and will return.
pub const AWAY: i32 = -2;

/// How far a member is on its way to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It has what it shall have.
    Stable,
    /// It must give up partitions first, and has not said yet that it did.
    UnrevokedPartitions,
    /// It waits for partitions that others still have.
    UnreleasedPartitions,
}

impl MemberState {
    const ALL: [Self; 3] = [Self::Stable, Self::UnrevokedPartitions, Self::UnreleasedPartitions];

    fn number(self) -> i8 {
        self as i8
    }

    fn of(number: i8) -> Self {
        Self::ALL.into_iter().find(|state| state.number() == number).unwrap_or(Self::Stable)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_timeout: Duration,
    pub topics: BTreeSet<Topic>,
    /// A pattern of topics that it reads as well (RE2's syntax).
    pub regex: Option<Arc<str>>,
    /// The name of the assignor that it would like.
    pub assignor: Option<Arc<str>>,
    /// The epoch of the target that it has reached; 0 before the first, [`AWAY`] while it is gone.
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Held,
    /// What it has been told to give up.
    pub revoking: Held,
    /// What it shall have in the end.
    pub target: Target,
    /// When it is taken for dead; `None` until the broker that was restarted goes on.
    pub session_ends: Option<Instant>,
    /// When it must have given up partitions at the latest, and the epoch that it would be stuck in.
    pub rebalance_ends: Option<(Instant, i32)>,
    /// What only a member of the classic protocol has.
    pub classic: Option<Classic>,
}

impl Member {
    pub fn new() -> Self {
        Self {
            instance_id: None,
            rack_id: None,
            client_id: Arc::from(""),
            client_host: Arc::from(""),
            rebalance_timeout: Duration::ZERO,
            topics: BTreeSet::new(),
            regex: None,
            assignor: None,
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Held::new(),
            revoking: Held::new(),
            target: Target::new(),
            session_ends: None,
            rebalance_ends: None,
            classic: None,
        }
    }

    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// Since which epoch a partition is this member's; also of one that it is giving up.
    pub fn holds_since(&self, topic: TopicId, partition: i32) -> Option<i32> {
        let of = |held: &Held| held.get(&topic)?.get(&partition).copied();
        of(&self.assigned).or_else(|| of(&self.revoking))
    }

    /// All that nobody else may have now.
    pub fn held(&self) -> impl Iterator<Item = (TopicId, i32)> {
        let partitions = |(topic, partitions): (&TopicId, &BTreeMap<i32, i32>)| {
            let topic = *topic;
            partitions.keys().map(move |partition| (topic, *partition)).collect::<Vec<_>>()
        };
        self.assigned.iter().chain(&self.revoking).flat_map(partitions)
    }

    pub fn next_epoch(&mut self, epoch: i32) {
        self.previous_epoch = std::mem::replace(&mut self.epoch, epoch);
    }

    pub fn entry(&self, group_id: &str, id: &MemberId) -> ConsumerMemberEntry {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(Str::from);
        let target = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| ConsumerPartitionsEntry {
            topic_id: *topic,
            partitions: partitions.iter().copied().collect(),
            epochs: Vec::new(),
        };
        ConsumerMemberEntry {
            group_id: group_id.into(),
            member_id: Str::from(&**id),
            instance_id: text(&self.instance_id),
            rack_id: text(&self.rack_id),
            client_id: Str::from(&*self.client_id),
            client_host: Str::from(&*self.client_host),
            rebalance_timeout_ms: milliseconds(self.rebalance_timeout),
            topics: self.topics.iter().map(Str::from).collect(),
            regex: text(&self.regex),
            assignor: text(&self.assignor),
            epoch: self.epoch,
            previous_epoch: self.previous_epoch,
            state: self.state.number(),
            assigned: held_entry(&self.assigned),
            revoking: held_entry(&self.revoking),
            target: self.target.iter().map(target).collect(),
            session_timeout_ms: self.classic.as_ref().map_or(0, |it| milliseconds(it.session_timeout)),
            protocols: self.classic.as_ref().map(Classic::entries).unwrap_or_default(),
        }
    }

    /// As it was before a restart.
    pub fn restored(entry: &ConsumerMemberEntry) -> Self {
        let text = |text: &Option<Str>| text.as_deref().map(Arc::from);
        let target = |entry: &ConsumerPartitionsEntry| (entry.topic_id, entry.partitions.iter().copied().collect());
        Self {
            instance_id: text(&entry.instance_id),
            rack_id: text(&entry.rack_id),
            client_id: Arc::from(&*entry.client_id),
            client_host: Arc::from(&*entry.client_host),
            rebalance_timeout: Duration::from_millis(u64::try_from(entry.rebalance_timeout_ms).unwrap_or(0)),
            topics: entry.topics.iter().map(Topic::from).collect(),
            regex: text(&entry.regex),
            assignor: text(&entry.assignor),
            epoch: entry.epoch,
            previous_epoch: entry.previous_epoch,
            state: MemberState::of(entry.state),
            assigned: entry.assigned.iter().map(held).collect(),
            revoking: entry.revoking.iter().map(held).collect(),
            target: entry.target.iter().map(target).collect(),
            session_ends: None,
            rebalance_ends: None,
            classic: Classic::restored(entry.session_timeout_ms, &entry.protocols),
        }
    }
}

fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

fn held_entry(held: &Held) -> Vec<ConsumerPartitionsEntry> {
    let topic = |(topic, partitions): (&TopicId, &BTreeMap<i32, i32>)| ConsumerPartitionsEntry {
        topic_id: *topic,
        partitions: partitions.keys().copied().collect(),
        epochs: partitions.values().copied().collect(),
    };
    held.iter().map(topic).collect()
}

fn held(entry: &ConsumerPartitionsEntry) -> (TopicId, BTreeMap<i32, i32>) {
    (entry.topic_id, entry.partitions.iter().copied().zip(entry.epochs.iter().copied()).collect())
}
