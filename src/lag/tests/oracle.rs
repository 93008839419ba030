//! The history and what is estimated from it, held against somebody who saw it all: logs that are written at random times,
//! cut, made anew and emptied by retention, under leaders that change; monitors that look at them now and then, are started
//! anew, and take over from a store what others with other clocks have left there.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::client::{LeaderEpoch, Offset, TopicPartition};
use crate::lag::estimate::{Method, TimeLag, estimate};
use crate::lag::history::{Break, History, Lineage, Remembered, Ring, Sample};
use crate::lag::join::position;
use crate::lag::ladder;
use crate::protocol::types::Uuid;

/// How many estimates are held against the truth.
const CASES: u32 = 100_000;

/// A partition as it is.
#[derive(Debug, Default)]
struct Log {
    topic: u8,
    epoch: LeaderEpoch,
    /// Where each epoch began to write.
    epochs: Vec<(LeaderEpoch, Offset)>,
    /// When each record became visible.
    written: Vec<i64>,
    start: Offset,
}

impl Log {
    fn end(&self) -> Offset {
        self.written.len() as Offset
    }

    fn write(&mut self, now: i64) {
        if self.epochs.last().is_none_or(|last| last.0 != self.epoch) {
            self.epochs.push((self.epoch, self.end()));
        }
        self.written.push(now);
    }

    /// As KIP-101 has it.
    fn epoch_end(&self, epoch: LeaderEpoch) -> Offset {
        self.epochs.iter().find(|it| it.0 > epoch).map_or(self.end(), |next| next.1)
    }

    fn cut(&mut self, end: Offset) {
        self.written.truncate(end as usize);
        self.epochs.retain(|it| it.1 < end);
        self.epoch += 1;
        self.start = self.start.min(end);
    }
}

struct Story {
    random: SmallRng,
    now: i64,
    log: Log,
    history: History,
    /// Of each topic, what all monitors have left there.
    store: Vec<(u8, Remembered)>,
    /// How far the monitor's clock is ahead, and how far any has been.
    ahead: i64,
    ahead_most: i64,
    partition: TopicPartition,
    is_new: bool,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let ahead_most = if seed.is_multiple_of(2) { 0 } else { random.random_range(0..20_000) };
        Self {
            history: History::new(random.random_range(4..16)),
            random,
            now: 10_000_000,
            log: Log::default(),
            store: Vec::new(),
            ahead: 0,
            ahead_most,
            partition: TopicPartition::new("t", 0),
            is_new: true,
        }
    }

    fn pass(&mut self, most: i64) {
        self.now += self.random.random_range(0..=most);
    }

    fn write_some(&mut self, most: i64) {
        for _ in 0..self.random.random_range(0..3) {
            self.pass(most);
            self.log.write(self.now);
        }
    }

    /// Something happens; the sample of a round, if it was one.
    fn step(&mut self) -> Option<Sample> {
        match self.random.random_range(0..200) {
            0..90 => self.write_some(300),
            90..96 => self.pass(20_000),
            96..100 => {
                let end = self.random.random_range(0..=self.log.end());
                self.log.cut(end);
                // What was lost may be made up for before anybody looks.
                self.write_some(2);
            }
            100..102 => {
                self.log = Log { topic: self.log.topic.wrapping_add(1), ..Log::default() };
                self.write_some(2);
            }
            102..104 => self.log.epoch += 1,
            104..110 => self.log.start = self.random.random_range(self.log.start..=self.log.end()),
            110..115 => self.start_anew(),
            _ => return Some(self.round()),
        }
        None
    }

    /// Another process, maybe of another node.
    fn start_anew(&mut self) {
        self.history = History::new(self.random.random_range(4..16));
        self.ahead = self.random.random_range(-self.ahead_most..=self.ahead_most);
        self.is_new = true;
    }

    fn round(&mut self) -> Sample {
        self.pass(2_000);
        let asked_ms = self.now + self.ahead;
        self.write_some(20);
        let (end_offset, epoch) = (self.log.end(), self.log.epoch);
        let lineage = Lineage { topic_id: Some(Uuid([self.log.topic; 16])), leader_epoch: Some(epoch) };
        self.write_some(20);
        let sample = Sample { asked_ms, answered_ms: self.now + self.ahead, end_offset };
        if let Some(known) = self.history.doubted(&self.partition, lineage).filter(|_| self.random.random_bool(0.8)) {
            self.history.epoch_ended(&self.partition, Some(self.log.epoch_end(known)));
        }
        if self.history.add(&self.partition, sample, lineage) == Some(Break::Truncated) {
            self.store.retain(|it| it.0 != self.log.topic);
        }
        let leader_epoch = self.history.of(&self.partition).and_then(Ring::leader_epoch);
        let is_of_now = |it: &&(u8, Remembered)| it.0 == self.log.topic;
        if std::mem::take(&mut self.is_new) && self.random.random_bool(0.8) {
            let older = self.store.iter().filter(is_of_now).map(|it| it.1).collect();
            self.history.restore(&self.partition, older);
        }
        if !self.history.of(&self.partition).is_some_and(Ring::is_doubted) {
            self.store.push((self.log.topic, Remembered { sample, leader_epoch }));
        }
        if self.random.random_bool(0.2) {
            let now_ms = sample.answered_ms;
            let probe = |back| {
                let time_ms = now_ms - back;
                // The first record at or after a time.
                let first = self.log.written.partition_point(|at| *at < time_ms - self.ahead) as Offset;
                ladder::probe(time_ms, (first < self.log.end()).then_some(first), end_offset)
            };
            self.history.climbed(&self.partition, [20_000, 7_000, 3_000, 1_000].map(probe).to_vec(), true);
        }
        sample
    }

    /// Holds what is said of some reader against what is so.
    fn check(&mut self, sample: Sample, seen: &mut [u32; 4]) {
        let committed = self.random.random_range(0..=sample.end_offset);
        let at = position(committed, Some(self.log.start));
        let ring = self.history.of(&self.partition).cloned().unwrap_or_default();
        let Some(lag) = estimate(&ring, at, sample.answered_ms) else {
            assert!(ring.is_doubted(), "{ring:?}");
            return;
        };
        seen[Method::ALL.iter().position(|it| *it == lag.method).unwrap_or(0)] += 1;
        if at >= sample.end_offset {
            let none = TimeLag { method: Method::CaughtUp, low_ms: 0, value_ms: Some(0), high_ms: Some(0) };
            assert_eq!(lag, none);
            return;
        }
        let age = self.now - self.log.written[at as usize];
        let (low, high, apart) = (lag.low_ms, lag.high_ms.unwrap_or(i64::MAX - 40_000), 2 * self.ahead_most);
        assert!(low - apart <= age && age <= high + apart, "{lag:?} is of age {age}, {apart} apart: {ring:?}");
        assert!(lag.value_ms.is_none_or(|value| (low..=high).contains(&value)), "{lag:?}");
    }
}

/// The true age is always inside; where monitors' clocks differ, as far outside as they do.
#[test]
fn the_truth_is_inside_in_all_of_100_000_cases() {
    let (mut seen, mut breaks) = ([0; 4], (0, 0));
    for seed in 0.. {
        let mut story = Story::new(seed);
        for _ in 0..120 {
            if let Some(sample) = story.step() {
                story.check(sample, &mut seen);
            }
        }
        breaks = (breaks.0 + story.history.breaks.recreated, breaks.1 + story.history.breaks.truncated);
        if seen.iter().sum::<u32>() >= CASES {
            break;
        }
    }
    assert!(seen.iter().all(|count| *count > 1_000), "each method has its share: {seen:?}");
    assert!(breaks.0 > 100 && breaks.1 > 100, "{breaks:?}");
}
