//! Who reads what: the members of a group and the partitions of their topics → an assignment. Pure.
//!
//! The names and the user data are those of the Java client's assignors, so that a group may mix clients: whichever
//! member is elected leader, it understands what the others say. What a leader decides need not be the same bit by bit;
//! it is held to three rules: every partition goes to exactly one member that subscribes to its topic, loads are as even
//! as the subscriptions allow, and the sticky assignor moves no partition that it need not move.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::protocol::types::{Str, Topic, TopicPartition};

/// A member as it described itself when it joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    pub member_id: Str,
    pub instance_id: Option<Str>,
    pub topics: Vec<Topic>,
    /// What it held when it joined. Eager members give all up first; of those only the sticky assignor's say what it was.
    pub owned: Vec<TopicPartition>,
    /// The generation in which it came to own that.
    pub generation: Option<i32>,
}

/// The number of partitions of each topic that exists.
pub type Counts = BTreeMap<Topic, i32>;
/// What each member, by its id, is to read.
pub type Assignment = BTreeMap<Str, Vec<TopicPartition>>;

/// The rules there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Assignor {
    /// Each topic is cut into runs of partitions, one a member: the same partition of several topics comes together.
    Range,
    /// All partitions of all topics are dealt out in turn.
    RoundRobin,
    /// Even, and with as few moves as can be, although all stop reading while it is made (KIP-54).
    Sticky,
    /// Even, and with as few moves as can be; what moves is first given up by its owner, in a rebalance of its own,
    /// while everything else goes on being read (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// As the Java client calls it, and thereby the group.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];
        all.into_iter().find(|assignor| assignor.name() == name)
    }

    pub fn is_cooperative(self) -> bool {
        self == Self::CooperativeSticky
    }

    /// Every member has its entry, an empty one if nothing is left for it.
    pub fn assign(self, members: &[Member], counts: &Counts) -> Assignment {
        let mut sorted: Vec<&Member> = members.iter().collect();
        // Static members come first, by their instance id: their place survives a restart (`MemberInfo` in
        // AbstractPartitionAssignor.java).
        sorted.sort_by_key(|member| (member.instance_id.is_none(), &member.instance_id, &member.member_id));
        let parts = match self {
            Self::Range => range(&sorted, counts),
            Self::RoundRobin => round_robin(&sorted, counts),
            Self::Sticky => Balance::new(&sorted, counts).solve(),
            Self::CooperativeSticky => cooperative_sticky(&sorted, counts),
        };
        sorted.into_iter().map(|member| member.member_id.clone()).zip(parts).collect()
    }
}

fn partitions<'a>(topic: &'a Topic, count: i32) -> impl Iterator<Item = TopicPartition> + 'a {
    (0..count).map(|partition| TopicPartition { topic: topic.clone(), partition })
}

fn range(members: &[&Member], counts: &Counts) -> Vec<Vec<TopicPartition>> {
    let mut parts = vec![Vec::new(); members.len()];
    for (topic, count) in counts {
        let readers: Vec<usize> = (0..members.len()).filter(|member| members[*member].topics.contains(topic)).collect();
        let mut all = partitions(topic, *count);
        for (place, member) in readers.iter().enumerate() {
            let whole = *count as usize / readers.len();
            let extra = usize::from(place < *count as usize % readers.len());
            parts[*member].extend(all.by_ref().take(whole + extra));
        }
    }
    parts
}

fn round_robin(members: &[&Member], counts: &Counts) -> Vec<Vec<TopicPartition>> {
    let mut parts = vec![Vec::new(); members.len()];
    let mut next = 0;
    for (topic, count) in counts {
        for partition in partitions(topic, *count) {
            let turns = (0..members.len()).map(|turn| (next + turn) % members.len());
            let Some(member) = turns.into_iter().find(|member| members[*member].topics.contains(topic)) else { break };
            parts[member].push(partition);
            next = member + 1;
        }
    }
    parts
}

fn cooperative_sticky(members: &[&Member], counts: &Counts) -> Vec<Vec<TopicPartition>> {
    let mut parts = Balance::new(members, counts).solve();
    // A partition that changes hands is given to nobody yet: its owner sees that it has lost it, gives it up, and joins
    // again; the rebalance after that hands it on (KIP-429).
    let mut claims: BTreeMap<&TopicPartition, Vec<usize>> = BTreeMap::new();
    for (member, owned) in members.iter().map(|member| &member.owned).enumerate() {
        owned.iter().for_each(|partition| claims.entry(partition).or_default().push(member));
    }
    for (member, part) in parts.iter_mut().enumerate() {
        part.retain(|partition| claims.get(partition).is_none_or(|owners| owners.contains(&member)));
    }
    parts
}

/// A sticky assignment in the making. Members and topics are indexes here.
struct Balance<'a> {
    counts: &'a Counts,
    /// Who may read a topic.
    readers: BTreeMap<&'a Topic, Vec<usize>>,
    parts: Vec<BTreeSet<TopicPartition>>,
    /// What somebody owns by right.
    owned: BTreeSet<TopicPartition>,
}

impl<'a> Balance<'a> {
    /// Starts from what the members already own.
    fn new(members: &[&Member], counts: &'a Counts) -> Self {
        let readers = counts
            .keys()
            .map(|topic| (topic, (0..members.len()).filter(|m| members[*m].topics.contains(topic)).collect()))
            .collect();
        let mut balance = Self { counts, readers, parts: vec![BTreeSet::new(); members.len()], owned: BTreeSet::new() };
        for (partition, owner) in owners(members) {
            let exists = balance.counts.get(&partition.topic).is_some_and(|n| (0..*n).contains(&partition.partition));
            if exists && balance.may_read(owner, &partition.topic) {
                balance.parts[owner].insert(partition.clone());
                balance.owned.insert(partition.clone());
            }
        }
        balance
    }

    fn may_read(&self, member: usize, topic: &Topic) -> bool {
        self.readers.get(topic).is_some_and(|readers| readers.contains(&member))
    }

    fn solve(mut self) -> Vec<Vec<TopicPartition>> {
        self.hand_out();
        // What nobody owns is moved about first: where that is enough, no owner has to give anything up. So the second
        // of two rebalances hands out what the first has freed, and moves nothing more.
        while self.improve(false) {}
        while self.improve(true) {}
        self.parts.into_iter().map(|part| part.into_iter().collect()).collect()
    }

    /// What nobody owns goes to the least loaded of those who may have it; topics with the fewest readers first.
    fn hand_out(&mut self) {
        let mut topics: Vec<(&Topic, i32)> = self.counts.iter().map(|(topic, count)| (topic, *count)).collect();
        topics.sort_by_key(|(topic, _)| self.readers.get(topic).map_or(0, Vec::len));
        for (topic, count) in topics {
            let Some(readers) = self.readers.get(topic).filter(|readers| !readers.is_empty()) else { continue };
            for partition in partitions(topic, count).filter(|partition| !self.owned.contains(partition)) {
                if let Some(member) = readers.iter().min_by_key(|member| self.parts[**member].len()) {
                    self.parts[*member].insert(partition);
                }
            }
        }
    }

    /// Takes one partition from a member that has at least two more than another, if need be by way of others that
    /// take one and give one; only with `owned` if it is of those that somebody owns. False once no such chain is left:
    /// the loads are as even as they can be.
    fn improve(&mut self, owned: bool) -> bool {
        let mut by_load: Vec<usize> = (0..self.parts.len()).collect();
        by_load.sort_by_key(|member| std::cmp::Reverse(self.parts[*member].len()));
        let lowest = by_load.last().map_or(0, |member| self.parts[*member].len());
        for from in by_load {
            if self.parts[from].len() < lowest + 2 {
                return false;
            }
            if let Some(chain) = self.chain(from, owned) {
                for (giver, taker, partition) in chain {
                    self.parts[giver].remove(&partition);
                    self.parts[taker].insert(partition);
                }
                return true;
            }
        }
        false
    }

    /// The shortest chain of moves from a member to one with at least two fewer.
    fn chain(&self, from: usize, owned: bool) -> Option<Vec<(usize, usize, TopicPartition)>> {
        let mut reached_by: Vec<Option<(usize, &TopicPartition)>> = vec![None; self.parts.len()];
        let mut queue = VecDeque::from([from]);
        while let Some(giver) = queue.pop_front() {
            let mut seen = None;
            for partition in self.parts[giver].iter().filter(|partition| owned || !self.owned.contains(*partition)) {
                // All partitions of a topic have the same readers; the set is sorted by topic.
                if seen.replace(&partition.topic) == Some(&partition.topic) {
                    continue;
                }
                let mut takers = self.readers.get(&partition.topic).cloned().unwrap_or_default();
                takers.sort_by_key(|taker| self.parts[*taker].len());
                for taker in takers {
                    if taker == from || reached_by[taker].is_some() {
                        continue;
                    }
                    reached_by[taker] = Some((giver, partition));
                    if self.parts[taker].len() + 2 <= self.parts[from].len() {
                        return Some(retrace(&reached_by, taker));
                    }
                    queue.push_back(taker);
                }
            }
        }
        None
    }
}

fn retrace(reached_by: &[Option<(usize, &TopicPartition)>], last: usize) -> Vec<(usize, usize, TopicPartition)> {
    let (mut chain, mut taker) = (Vec::new(), last);
    while let Some((giver, partition)) = reached_by[taker] {
        chain.push((giver, taker, partition.clone()));
        taker = giver;
    }
    chain
}

/// Who owns what. A member that missed a rebalance may claim what is another's by now: the later generation is right.
/// Two claims of the same generation cannot both be, so neither counts.
fn owners<'a>(members: &[&'a Member]) -> BTreeMap<&'a TopicPartition, usize> {
    let mut claims: BTreeMap<&TopicPartition, (Option<i32>, Option<usize>)> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        for partition in &member.owned {
            let claim = claims.entry(partition).or_insert((member.generation, Some(index)));
            if claim.1 == Some(index) {
                continue;
            }
            match member.generation.cmp(&claim.0) {
                std::cmp::Ordering::Greater => *claim = (member.generation, Some(index)),
                std::cmp::Ordering::Equal => claim.1 = None,
                std::cmp::Ordering::Less => {}
            }
        }
    }
    claims.into_iter().filter_map(|(partition, (_, owner))| Some((partition, owner?))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tp(text: &str) -> TopicPartition {
        let (topic, partition) = text.split_at(1);
        TopicPartition::new(topic, partition.parse().expect("a letter and a number"))
    }

    /// `"a: t u | t0 t1 @ 3"`: member a subscribes to t and u, and owns t0 and t1 since generation 3.
    fn member(text: &str) -> Member {
        let (id, rest) = text.split_once(": ").unwrap_or((text, "t"));
        let (rest, generation) = rest.split_once(" @ ").map_or((rest, None), |(rest, n)| (rest, n.parse().ok()));
        let (topics, owned) = rest.split_once(" | ").unwrap_or((rest, ""));
        Member {
            member_id: id.into(),
            topics: topics.split(' ').map(Topic::from).collect(),
            owned: owned.split_terminator(' ').map(tp).collect(),
            generation,
            ..Member::default()
        }
    }

    fn show(assignment: &Assignment) -> String {
        let parts = assignment.iter().map(|(member, partitions)| {
            let list: Vec<String> = partitions.iter().map(|p| format!("{}{}", p.topic, p.partition)).collect();
            format!("{member}: {}", list.join(" "))
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    fn check(assignor: Assignor, topics: &[(&str, i32)], members: &[&str], expect: &str) {
        let members: Vec<Member> = members.iter().map(|text| member(text)).collect();
        let counts = topics.iter().map(|(topic, count)| (Topic::from(*topic), *count)).collect();
        assert_eq!(show(&assignor.assign(&members, &counts)), expect, "{assignor:?} {topics:?} {members:?}");
    }

    #[test]
    fn range_gives_runs_of_each_topic() {
        let check = |topics: &[(&str, i32)], members: &[&str], expect| check(Assignor::Range, topics, members, expect);
        check(&[("t", 3), ("u", 3)], &["a: t u", "b: t u"], "a: t0 t1 u0 u1, b: t2 u2");
        check(&[("t", 2)], &["c", "b", "a"], "a: t0, b: t1, c: ");
        check(&[("t", 3), ("u", 2)], &["a: t", "b: t u"], "a: t0 t1, b: t2 u0 u1");
        check(&[], &["a"], "a: ");
        check(&[("x", 4)], &["a"], "a: ");
    }

    #[test]
    fn round_robin_deals_all_topics_in_turn() {
        let check =
            |topics: &[(&str, i32)], members: &[&str], expect| check(Assignor::RoundRobin, topics, members, expect);
        check(&[("t", 3), ("u", 3)], &["a: t u", "b: t u"], "a: t0 t2 u1, b: t1 u0 u2");
        check(&[("t", 1), ("u", 2), ("v", 3)], &["a: t", "b: t u", "c: t u v"], "a: t0, b: u0, c: u1 v0 v1 v2");
    }

    #[test]
    fn sticky_keeps_and_moves_little() {
        let sticky = |topics: &[(&str, i32)], members: &[&str], expect| {
            check(Assignor::CooperativeSticky, topics, members, expect);
        };
        sticky(&[("t", 4)], &["a", "b"], "a: t0 t2, b: t1 t3");
        // b joins: what moves is withheld until a has given it up.
        sticky(&[("t", 4)], &["a: t | t0 t1 t2 t3 @ 1", "b"], "a: t2 t3, b: ");
        sticky(&[("t", 4)], &["a: t | t2 t3 @ 2", "b"], "a: t2 t3, b: t0 t1");
        // b left: what it had is free at once.
        sticky(&[("t", 4)], &["a: t | t0 t2 @ 5"], "a: t0 t1 t2 t3");
        // b missed a generation and claims what is a's by now.
        sticky(&[("t", 2)], &["a: t | t0 @ 5", "b: t | t0 @ 4"], "a: t0, b: t1");
        // Both claim it for the same generation: neither keeps it by right.
        sticky(&[("t", 2)], &["a: t | t0 t1 @ 5", "b: t | t0 @ 5"], "a: t1, b: t0");
        // Topics and partitions that are gone.
        sticky(&[("t", 1)], &["a: t | t0 t7 x0 @ 5"], "a: t0");
        // Only by a chain: a may give t to b, b may give u to c.
        sticky(
            &[("t", 3), ("u", 3)],
            &["a: t | t0 t1 t2 @ 1", "b: t u | u0 u1 @ 1", "c: u | u2 @ 1"],
            "a: t1 t2, b: u1, c: u2",
        );
    }

    #[test]
    fn an_eager_sticky_group_hands_over_at_once() {
        let check = |members: &[&str], expect| check(Assignor::Sticky, &[("t", 4)], members, expect);
        check(&["a: t | t0 t1 t2 t3 @ 1", "b"], "a: t2 t3, b: t0 t1");
        check(&["a: t | t2 t3 @ 2", "b: t | t0 t1 @ 2", "c"], "a: t3, b: t0 t1, c: t2");
    }

    #[test]
    fn static_members_keep_their_place() {
        let mut members = vec![member("x"), member("y")];
        members[1].instance_id = Some("1".into());
        let counts = Counts::from([(Topic::from("t"), 3)]);
        assert_eq!(show(&Assignor::Range.assign(&members, &counts)), "x: t2, y: t0 t1");
    }

    fn group() -> impl Strategy<Value = (Vec<Member>, Counts)> {
        let topics = proptest::collection::vec(0..9i32, 1..4);
        let members = proptest::collection::vec(proptest::collection::vec(any::<bool>(), 4), 1..7);
        (topics, members).prop_map(|(topics, members)| {
            let names = ["t", "u", "v", "w"];
            let counts = topics.iter().zip(names).map(|(count, name)| (Topic::from(name), *count)).collect();
            let members = members.iter().enumerate().map(|(i, takes)| Member {
                member_id: format!("m{i}").into(),
                topics: names
                    .iter()
                    .zip(takes)
                    .filter(|(_, take)| **take)
                    .map(|(name, _)| Topic::from(*name))
                    .collect(),
                ..Member::default()
            });
            (members.collect(), counts)
        })
    }

    /// Every partition with a reader is assigned once, to one of its readers.
    fn once(members: &[Member], counts: &Counts, assignment: &Assignment) -> Result<(), TestCaseError> {
        prop_assert_eq!(assignment.len(), members.len());
        for (topic, count) in counts {
            let read = members.iter().any(|member| member.topics.contains(topic));
            for partition in partitions(topic, *count) {
                let holders = assignment.values().flatten().filter(|p| **p == partition).count();
                prop_assert_eq!(holders, usize::from(read), "{}", partition);
            }
        }
        for member in members {
            prop_assert!(assignment[&member.member_id].iter().all(|p| member.topics.contains(&p.topic)));
        }
        Ok(())
    }

    /// Rebalances until nothing moves, as a group does, and returns the assignment and the rounds it took.
    fn settle(members: &mut [Member], counts: &Counts) -> (Assignment, usize) {
        for round in 1..5 {
            let assignment = Assignor::CooperativeSticky.assign(members, counts);
            let mut gave_up = false;
            for member in members.iter_mut() {
                let now = &assignment[&member.member_id];
                gave_up |= member.owned.iter().any(|partition| !now.contains(partition));
                member.owned.clone_from(now);
                member.generation = Some(round as i32);
            }
            if !gave_up {
                return (assignment, round);
            }
        }
        panic!("does not settle");
    }

    proptest! {
        #[test]
        fn every_partition_has_one_reader((members, counts) in group()) {
            for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky] {
                once(&members, &counts, &assignor.assign(&members, &counts))?;
            }
        }

        #[test]
        fn sticky_is_even_and_settles_in_two_rounds((mut members, counts) in group(), leaver in 0..7usize) {
            let (assignment, rounds) = settle(&mut members, &counts);
            once(&members, &counts, &assignment)?;
            prop_assert_eq!(rounds, 1, "nothing was owned, so nothing had to be given up");
            if members.len() > 1 {
                members.remove(leaver % members.len());
            }
            let (assignment, rounds) = settle(&mut members, &counts);
            prop_assert!(rounds <= 2, "{} rounds", rounds);
            once(&members, &counts, &assignment)?;
            members.push(Member { member_id: "new".into(), topics: vec![Topic::from("t")], ..Member::default() });
            let (assignment, rounds) = settle(&mut members, &counts);
            prop_assert!(rounds <= 2, "{} rounds", rounds);
            once(&members, &counts, &assignment)?;
            for giver in &members {
                for taker in &members {
                    let direct = assignment[&giver.member_id].iter().any(|p| taker.topics.contains(&p.topic));
                    let (more, less) = (assignment[&giver.member_id].len(), assignment[&taker.member_id].len());
                    prop_assert!(!direct || more < less + 2, "{} could give one to {}", giver.member_id, taker.member_id);
                }
            }
        }

        #[test]
        fn sticky_moves_no_more_than_the_newcomer_takes(count in 1..40i32, old in 1..6usize) {
            let counts = Counts::from([(Topic::from("t"), count)]);
            let mut members: Vec<Member> = (0..old).map(|i| member(&format!("m{i}"))).collect();
            let (before, _) = settle(&mut members, &counts);
            members.push(member("new"));
            let (after, _) = settle(&mut members, &counts);
            for (id, partitions) in &before {
                let kept = after[id].iter().filter(|partition| partitions.contains(partition)).count();
                prop_assert_eq!(kept, after[id].len(), "old members take nothing from each other");
            }
        }
    }
}
