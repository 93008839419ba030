//! What a partition's end offset was, and when: one ring a partition. Pure.

use std::collections::{HashMap, VecDeque};

use crate::client::{Offset, TopicPartition};

/// One answer to "what is the end offset?". The true moment of the answer lies between the two times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When the request was sent, in milliseconds since 1970.
    pub asked_ms: i64,
    /// When the reply was there.
    pub answered_ms: i64,
    pub end_offset: Offset,
}

/// The rings of all partitions. Memory is bounded by partitions × samples × 24 bytes.
#[derive(Debug)]
pub struct History {
    rings: HashMap<TopicPartition, VecDeque<Sample>>,
    samples_max: usize,
    /// Times a partition's end went back: the topic was made anew, or the log was truncated.
    pub rewound: u64,
}

impl History {
    /// At least four samples a partition are kept, because fewer cannot be thinned.
    pub fn new(samples_max: usize) -> Self {
        Self { rings: HashMap::new(), samples_max: samples_max.max(4), rewound: 0 }
    }

    pub fn of(&self, partition: &TopicPartition) -> Option<&VecDeque<Sample>> {
        self.rings.get(partition)
    }

    pub fn partitions(&self) -> usize {
        self.rings.len()
    }

    pub fn samples(&self) -> usize {
        self.rings.values().map(VecDeque::len).sum()
    }

    /// Adds the newest sample. An end offset that went back ends the partition's history and starts another: the offsets
    /// before it speak of records that are no longer the same.
    pub fn add(&mut self, partition: &TopicPartition, sample: Sample) {
        let ring = self.rings.entry(partition.clone()).or_default();
        if ring.back().is_some_and(|last| sample.end_offset < last.end_offset) {
            self.rewound += 1;
            ring.clear();
        }
        // While nothing is produced, only the ends of the flat stretch prove anything.
        if let [.., before, last] = ring.make_contiguous()
            && before.end_offset == sample.end_offset
            && last.end_offset == sample.end_offset
        {
            *last = sample;
            return;
        }
        ring.push_back(sample);
        if ring.len() > self.samples_max {
            thin(ring);
        }
    }

    /// Puts older samples before what is there, as far as they belong to the same life of the partition.
    pub fn restore(&mut self, partition: &TopicPartition, mut older: Vec<Sample>) {
        older.sort_by_key(|sample| (sample.asked_ms, sample.end_offset));
        let known = self.rings.remove(partition).unwrap_or_default();
        older.retain(|sample| known.front().is_none_or(|first| sample.answered_ms <= first.asked_ms));
        let rewound = self.rewound;
        for sample in older.into_iter().chain(known) {
            self.add(partition, sample);
        }
        self.rewound = rewound;
    }

    /// Forgets partitions that nobody is interested in any more.
    pub fn keep(&mut self, wanted: impl Fn(&TopicPartition) -> bool) {
        self.rings.retain(|partition, _| wanted(partition));
    }
}

/// Drops every second sample of the older half: the newer half stays dense, and the older reaches twice as far.
fn thin(ring: &mut VecDeque<Sample>) {
    let older = ring.len() / 2;
    let mut index = 0;
    ring.retain(|_| {
        index += 1;
        index > older || index % 2 == 1
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: i64, end_offset: Offset) -> Sample {
        Sample { asked_ms: at, answered_ms: at + 1, end_offset }
    }

    fn check(samples_max: usize, added: &[(i64, Offset)], want: &[(i64, Offset)]) -> u64 {
        let mut history = History::new(samples_max);
        let partition = TopicPartition::new("t", 0);
        added.iter().for_each(|(at, end)| history.add(&partition, sample(*at, *end)));
        let got: Vec<_> = history.of(&partition).unwrap().iter().map(|s| (s.asked_ms, s.end_offset)).collect();
        assert_eq!(got, want, "{added:?}");
        history.rewound
    }

    #[test]
    fn rings() {
        assert_eq!(check(9, &[(0, 5), (10, 7), (20, 7)], &[(0, 5), (10, 7), (20, 7)]), 0);
        assert_eq!(check(9, &[(0, 7), (10, 7), (20, 7), (30, 7), (40, 8)], &[(0, 7), (30, 7), (40, 8)]), 0);
        assert_eq!(check(9, &[(0, 7), (10, 9), (20, 3), (30, 4)], &[(20, 3), (30, 4)]), 1);
        let six: Vec<_> = (0..6).map(|i| (i * 10, i)).collect();
        assert_eq!(check(5, &six, &[(0, 0), (20, 2), (30, 3), (40, 4), (50, 5)]), 0);
    }

    #[test]
    fn a_ring_stays_bounded_and_keeps_reaching_back() {
        let many: Vec<_> = (0..10_000).map(|i| (i * 10, i)).collect();
        let mut history = History::new(120);
        let partition = TopicPartition::new("t", 0);
        many.iter().for_each(|(at, end)| history.add(&partition, sample(*at, *end)));
        let ring = history.of(&partition).unwrap();
        assert!(ring.len() <= 120 && ring.front() == Some(&sample(0, 0)), "{} {:?}", ring.len(), ring.front());
    }

    #[test]
    fn what_a_store_remembers_goes_before_what_is_known() {
        let partition = TopicPartition::new("t", 0);
        let mut history = History::new(9);
        history.add(&partition, sample(100, 50));
        history.restore(&partition, vec![sample(20, 10), sample(10, 5), sample(100, 50), sample(200, 99)]);
        let ends: Vec<_> = history.of(&partition).unwrap().iter().map(|s| s.end_offset).collect();
        assert_eq!((ends, history.rewound), (vec![5, 10, 50], 0));
    }
}
