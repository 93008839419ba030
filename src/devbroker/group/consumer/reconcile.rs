//! From what a member has to what it shall have, one step at a time (`CurrentAssignmentBuilder`). Nothing goes to a member
//! before its former owner has said that it let go of it.

use std::collections::{BTreeMap, BTreeSet};

use super::member::{Member, MemberState};
use super::{Held, Target};
use crate::protocol::types::TopicId;

/// What a step may look at.
pub struct Step<'a> {
    pub target_epoch: i32,
    /// The topics that the member reads, of those that exist.
    pub topics: &'a BTreeSet<TopicId>,
    /// It reads other topics than a moment ago.
    pub subscription_changed: bool,
    /// What it says that it holds; `None` if it does not say.
    pub owned: Option<&'a Target>,
    /// What anybody else holds.
    pub others: &'a BTreeSet<(TopicId, i32)>,
}

impl Step<'_> {
    pub fn take(&self, member: &mut Member) {
        match member.state {
            MemberState::Stable if member.epoch != self.target_epoch => self.advance(member),
            MemberState::Stable if self.subscription_changed => self.narrow(member),
            MemberState::Stable => {}
            MemberState::UnrevokedPartitions if !self.still_owns(&member.revoking) => self.advance(member),
            MemberState::UnrevokedPartitions if self.subscription_changed => self.narrow(member),
            MemberState::UnrevokedPartitions => {}
            MemberState::UnreleasedPartitions => self.advance(member),
        }
    }

    fn still_owns(&self, held: &Held) -> bool {
        let Some(owned) = self.owned else { return true };
        let owns = |topic: &TopicId, partition: &i32| owned.get(topic).is_some_and(|it| it.contains(partition));
        held.iter().any(|(topic, partitions)| partitions.keys().any(|partition| owns(topic, partition)))
    }

    /// Takes back what the member no longer reads, and nothing else.
    fn narrow(&self, member: &mut Member) {
        let (stay, go): (Held, Held) =
            member.assigned.clone().into_iter().partition(|(topic, _)| self.topics.contains(topic));
        if go.is_empty() {
            return;
        }
        let mut revoking = member.revoking.clone();
        for (topic, partitions) in go {
            revoking.entry(topic).or_default().extend(partitions);
        }
        member.assigned = stay;
        member.next_epoch(member.epoch);
        if self.still_owns(&revoking) {
            member.state = MemberState::UnrevokedPartitions;
            member.revoking = revoking;
        }
    }

    fn advance(&self, member: &mut Member) {
        let wanted = |topic: &TopicId, partition: &i32| {
            self.topics.contains(topic) && member.target.get(topic).is_some_and(|it| it.contains(partition))
        };
        let (mut keep, mut give_up) = (Held::new(), Held::new());
        for (topic, partitions) in &member.assigned {
            for (partition, epoch) in partitions {
                let side = if wanted(topic, partition) { &mut keep } else { &mut give_up };
                side.entry(*topic).or_default().insert(*partition, *epoch);
            }
        }
        if !give_up.is_empty() && self.still_owns(&give_up) {
            member.state = MemberState::UnrevokedPartitions;
            member.next_epoch(member.epoch);
            (member.assigned, member.revoking) = (keep, give_up);
            return;
        }
        let unreleased = self.take_over(&member.target, &mut keep);
        member.state = if unreleased { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        member.next_epoch(self.target_epoch);
        (member.assigned, member.revoking) = (keep, Held::new());
    }

    /// Adds what is free of the target; says whether any of it is not. What the member itself has just let go of is free.
    fn take_over(&self, target: &Target, keep: &mut Held) -> bool {
        let mut unreleased = false;
        for (topic, partitions) in target.iter().filter(|(topic, _)| self.topics.contains(topic)) {
            let kept: BTreeMap<i32, i32> = keep.get(topic).cloned().unwrap_or_default();
            for partition in partitions.iter().filter(|partition| !kept.contains_key(partition)) {
                if self.others.contains(&(*topic, *partition)) {
                    unreleased = true;
                } else {
                    keep.entry(*topic).or_default().insert(*partition, self.target_epoch);
                }
            }
        }
        unreleased
    }
}
