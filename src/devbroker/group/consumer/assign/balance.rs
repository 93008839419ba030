//! The uniform assignor where members read different topics (`UniformHeterogeneousAssignmentBuilder`): what is free goes to
//! whoever has least of those who read it; then, topic by topic, from whoever has most to whoever has least, until it is
//! even or has been gone through often enough.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Target, Work};
use crate::protocol::types::TopicId;

/// Each round about halves what is uneven; where members' topics overlap, perfection could take very many.
const ROUNDS: usize = 16;

pub fn assign(work: &Work) -> Vec<Target> {
    let mut table = Table::new(work);
    if table.owners.is_empty() {
        return vec![Target::new(); work.members.len()];
    }
    table.keep(work);
    table.hand_out();
    table.even_out();
    table.targets()
}

/// Who reads what, and has what.
struct Table {
    /// By topic, those who read it, in the order of the members.
    readers: BTreeMap<TopicId, Vec<usize>>,
    /// By topic and partition, who is to read it.
    owners: BTreeMap<TopicId, Vec<Option<usize>>>,
    /// How many partitions each member has.
    sizes: Vec<usize>,
}

impl Table {
    fn new(work: &Work) -> Self {
        let mut readers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, member) in work.members.iter().enumerate() {
            member.topics.iter().for_each(|topic| readers.entry(*topic).or_default().push(index));
        }
        let nobody = |topic: TopicId| vec![None; usize::try_from(work.partitions(topic)).unwrap_or(0)];
        let owners = readers.keys().map(|topic| (*topic, nobody(*topic))).collect();
        Self { readers, owners, sizes: vec![0; work.members.len()] }
    }

    /// Leaves with each member what it has of the topics that it still reads.
    fn keep(&mut self, work: &Work) {
        for (index, member) in work.members.iter().enumerate() {
            for (topic, partitions) in member.target.iter().filter(|(topic, _)| member.topics.contains(topic)) {
                for partition in partitions {
                    self.give(*topic, usize::try_from(*partition).unwrap_or(usize::MAX), index);
                }
            }
        }
    }

    fn give(&mut self, topic: TopicId, partition: usize, member: usize) {
        let Some(owner) = self.owners.get_mut(&topic).and_then(|owners| owners.get_mut(partition)) else { return };
        if let Some(before) = owner.replace(member) {
            self.sizes[before] -= 1;
        }
        self.sizes[member] += 1;
    }

    fn hand_out(&mut self) {
        for topic in self.in_order(|_| true) {
            let mut poorest = Poorest::new(self.by_size(topic), &self.sizes);
            for partition in 0..self.owners[&topic].len() {
                if self.owners[&topic][partition].is_none() {
                    let member = poorest.next(&self.sizes);
                    self.give(topic, partition, member);
                }
            }
        }
    }

    fn even_out(&mut self) {
        let topics = self.in_order(|readers| readers.len() >= 2);
        let mut last_changed = None;
        for _ in 0..ROUNDS {
            for (index, topic) in topics.iter().enumerate() {
                if last_changed == Some(index) {
                    return;
                }
                if self.even_out_topic(*topic) || last_changed.is_none() {
                    last_changed = Some(index);
                }
            }
        }
    }

    /// Moves partitions of a topic from those who have most to those who have least; says whether any moved.
    fn even_out_topic(&mut self, topic: TopicId) -> bool {
        let members = self.by_size(topic);
        let (Some(first), Some(last)) = (members.first(), members.last()) else { return false };
        if self.sizes[*last] - self.sizes[*first] <= 1 {
            return false;
        }
        let mut hands = self.hands(topic);
        let (mut poorest, mut richest) =
            (Poorest::new(members.clone(), &self.sizes), Richest::new(members, &self.sizes));
        let mut moved = false;
        while richest.level - poorest.level > 1 {
            let Some(partition) = richest.next_with(&self.sizes, &mut hands) else { break };
            let member = poorest.next(&self.sizes);
            if richest.level - poorest.level <= 1 {
                break;
            }
            self.give(topic, partition, member);
            moved = true;
        }
        moved
    }

    /// What each member has of a topic, to be given up from the end.
    fn hands(&self, topic: TopicId) -> BTreeMap<usize, Vec<usize>> {
        let mut hands: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in self.owners[&topic].iter().enumerate() {
            if let Some(owner) = owner {
                hands.entry(*owner).or_default().push(partition);
            }
        }
        hands
    }

    /// Those who read a topic, whoever has least first.
    fn by_size(&self, topic: TopicId) -> Vec<usize> {
        let mut members = self.readers[&topic].clone();
        members.sort_by_key(|member| (self.sizes[*member], *member));
        members
    }

    /// Topics with many partitions for each reader come first: the smaller ones can make up for what they leave uneven.
    fn in_order(&self, wanted: impl Fn(&[usize]) -> bool) -> Vec<TopicId> {
        let chosen = self.readers.iter().filter(|(_, readers)| wanted(readers));
        let mut topics: Vec<TopicId> = chosen.map(|(topic, _)| *topic).collect();
        topics.sort_by(|a, b| self.before(*a, *b));
        topics
    }

    fn before(&self, a: TopicId, b: TopicId) -> Ordering {
        let count = |topic| (self.owners[&topic].len(), self.readers[&topic].len());
        let ((partitions_a, readers_a), (partitions_b, readers_b)) = (count(a), count(b));
        // Cross-multiplied: more partitions for each reader come first.
        (partitions_b * readers_a)
            .cmp(&(partitions_a * readers_b))
            .then(readers_a.cmp(&readers_b))
            .then(signed(a).cmp(&signed(b)))
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets = vec![Target::new(); self.sizes.len()];
        for (topic, owners) in &self.owners {
            for (partition, owner) in (0..).zip(owners) {
                if let Some(owner) = owner {
                    targets[*owner].entry(*topic).or_default().insert(partition);
                }
            }
        }
        targets
    }
}

/// `org.apache.kafka.common.Uuid.compareTo` takes the two halves of an id for signed numbers.
fn signed(id: TopicId) -> (i64, i64) {
    let bits = u128::from_be_bytes(id.0);
    ((bits >> 64) as i64, bits as i64)
}

/// Hands out the members of whom the fewest partitions are expected, over and over: all who have as many as the first,
/// then, counting each as one richer, those and all who have as many by then.
struct Poorest {
    members: Vec<usize>,
    /// How many of them are at the level.
    end: usize,
    level: i64,
    next: usize,
}

impl Poorest {
    fn new(members: Vec<usize>, sizes: &[usize]) -> Self {
        let level = members.first().map_or(0, |member| sizes[*member] as i64) - 1;
        Self { members, end: 0, level, next: 0 }
    }

    fn next(&mut self, sizes: &[usize]) -> usize {
        if self.next >= self.end {
            self.level += 1;
            let at_level = |member: &usize| sizes[*member] as i64 == self.level;
            self.end += self.members[self.end..].iter().take_while(|member| at_level(member)).count();
            self.next = 0;
        }
        self.next += 1;
        self.members[self.next - 1]
    }
}

/// The same from the other end. Members who have nothing of the topic to give up are put aside.
struct Richest {
    members: Vec<usize>,
    /// The range at the level; behind it are those put aside.
    start: usize,
    end: usize,
    level: i64,
    /// One more than the place of the next one.
    next: usize,
}

impl Richest {
    fn new(members: Vec<usize>, sizes: &[usize]) -> Self {
        let level = members.last().map_or(0, |member| sizes[*member] as i64) + 1;
        let count = members.len();
        Self { members, start: count, end: count, level, next: count }
    }

    /// The next partition that somebody can give up.
    fn next_with(&mut self, sizes: &[usize], hands: &mut BTreeMap<usize, Vec<usize>>) -> Option<usize> {
        loop {
            let member = self.next(sizes)?;
            if let Some(partition) = hands.get_mut(&member).and_then(Vec::pop) {
                return Some(partition);
            }
            self.put_aside();
        }
    }

    fn next(&mut self, sizes: &[usize]) -> Option<usize> {
        if self.next <= self.start {
            self.sink(sizes);
        }
        self.next = self.next.checked_sub(1)?;
        self.members.get(self.next).copied()
    }

    /// Lowers the level by one, or to the next one where anybody is, if all of the range were put aside.
    fn sink(&mut self, sizes: &[usize]) {
        let size = |place: usize, members: &[usize]| sizes[members[place]] as i64;
        if self.end <= self.start && self.start > 0 {
            self.level = size(self.start - 1, &self.members);
        } else {
            self.level -= 1;
        }
        while self.start > 0 && size(self.start - 1, &self.members) == self.level {
            self.start -= 1;
        }
        self.next = self.end;
    }

    /// Takes the one handed out last out of the range.
    fn put_aside(&mut self) {
        self.members.swap(self.next, self.end - 1);
        self.end -= 1;
    }
}
