//! The range assignor (`RangeAssignor`): to each member a run of neighbouring partitions of each topic it reads, the first
//! members one more where it does not come out even. Static members come first, so that a restart changes nothing.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Reader, Target, Work};
use crate::protocol::types::TopicId;

/// How far a topic has been handed out.
struct Left {
    partitions: i32,
    readers: i32,
    next: i32,
    /// Members that shall still get one more than the others.
    odd: i32,
}

impl Left {
    fn take(&mut self) -> std::ops::Range<i32> {
        let odd = i32::from(self.odd > 0);
        self.odd -= odd;
        let start = self.next;
        self.next = (start + self.partitions / self.readers + odd).min(self.partitions);
        start..self.next
    }
}

pub fn assign(work: &Work, alike: bool) -> Vec<Target> {
    let mut order: Vec<usize> = (0..work.members.len()).collect();
    order.sort_by(|a, b| before(&work.members[*a], &work.members[*b]));
    // Where all read the same, the first member's word goes for all.
    let topics = |member: usize| match alike {
        true => &work.members[order[0]].topics,
        false => &work.members[member].topics,
    };
    let mut left: BTreeMap<TopicId, Left> = BTreeMap::new();
    for topic in order.iter().flat_map(|member| topics(*member)) {
        let fresh = || Left { partitions: work.partitions(*topic), readers: 0, next: 0, odd: 0 };
        left.entry(*topic).or_insert_with(fresh).readers += 1;
    }
    left.values_mut().for_each(|left| left.odd = left.partitions % left.readers);
    let mut targets = vec![Target::new(); work.members.len()];
    for member in &order {
        for topic in topics(*member) {
            let taken = left.get_mut(topic).map(Left::take).filter(|taken| !taken.is_empty());
            targets[*member].extend(taken.map(|taken| (*topic, taken.collect())));
        }
    }
    targets
}

fn before(a: &Reader, b: &Reader) -> Ordering {
    match (&a.instance_id, &b.instance_id) {
        (Some(a), Some(b)) => java_order(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => java_order(&a.id, &b.id),
    }
}

/// `String.compareTo`: by UTF-16 units.
fn java_order(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}
