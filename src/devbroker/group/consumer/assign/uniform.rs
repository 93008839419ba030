//! The uniform assignor where all members read the same (`UniformHomogeneousAssignmentBuilder`): each gets as many as the
//! others, or one more; what a member has, it keeps, as far as that goes.

use super::order::{copied, grown, number, uuid};
use super::{Target, Work};
use crate::protocol::types::TopicId;

/// How much there is to hand out.
struct Shares {
    /// What everybody gets.
    least: usize,
    /// Members that get one more than that, and are not found yet.
    odd: usize,
    /// Whoever has not been looked at yet, the one at hand included.
    members_left: usize,
}

pub fn assign(work: &Work) -> Vec<Target> {
    let topics = copied(work.members[0].topics.clone(), |id| uuid(*id));
    if topics.is_empty() {
        return vec![Target::new(); work.members.len()];
    }
    let taken = work.taken();
    let all = topics.iter().flat_map(|topic| (0..work.partitions(*topic)).map(|partition| (*topic, partition)));
    let total = all.clone().count();
    let mut free: Vec<(TopicId, i32)> = all.filter(|partition| !taken.contains(partition)).collect();
    let members = work.members.len();
    let mut shares = Shares { least: total / members, odd: total % members, members_left: members };
    let mut room = Vec::new();
    let mut targets = Vec::with_capacity(members);
    for (index, member) in work.members.iter().enumerate() {
        let (target, wants) = shares.keep(&member.target, &topics, &mut free);
        targets.push(target);
        room.extend((wants > 0).then_some((index, wants)));
        shares.members_left -= 1;
    }
    let mut free = free.into_iter();
    for (index, wants) in room {
        for (topic, partition) in free.by_ref().take(wants) {
            targets[index].entry(topic).or_default().insert(partition);
        }
    }
    targets
}

impl Shares {
    /// What a member keeps of what it has, and how many more it wants; the rest is free.
    fn keep(&mut self, had: &Target, topics: &[TopicId], free: &mut Vec<(TopicId, i32)>) -> (Target, usize) {
        let mut odd = self.odd > 0;
        let mut quota = self.least + usize::from(odd);
        let mut kept = Target::new();
        for (topic, partitions) in grown(had.iter().collect(), |(topic, _)| uuid(**topic)) {
            if !topics.contains(topic) {
                continue;
            }
            let partitions: Vec<i32> = partitions.iter().copied().collect();
            let partitions = if partitions.len() <= quota { partitions } else { copied(partitions, |it| number(*it)) };
            let (stay, go) = partitions.split_at(quota.min(partitions.len()));
            quota -= stay.len();
            free.extend(go.iter().map(|partition| (*topic, *partition)));
            if !stay.is_empty() {
                kept.insert(*topic, stay.iter().copied().collect());
            }
        }
        // Somebody else may have the odd one, as long as enough others are left to take them all.
        if quota > 0 && odd && self.members_left > self.odd {
            quota -= 1;
            odd = false;
        }
        self.odd -= usize::from(odd);
        (kept, quota)
    }
}
