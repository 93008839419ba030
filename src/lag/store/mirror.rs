//! The history in Redis, kept in step with that in memory.
//!
//! In each round, what Redis is owed is written first, and then what this monitor has not seen itself is read: partitions that
//! are new to it. Both in bounded pipelines, and no pipeline begins after [`BUDGET`]: what is left is for the rounds to come,
//! which go on from there. What is written is owed no more and what was read is in memory, whatever becomes of the rest; so
//! a Redis that fails costs a round its time out, and nothing else.
//!
//! A Redis that was away, was emptied, or is an older copy of itself is owed whatever it lacks of the rings in memory, and is
//! given that as soon as it answers ([`super::kept`]).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::kept::{Kept, Write};
use super::redis::{Life, RedisStore, SAMPLES_A_PIPELINE, StoreError};
use crate::client::TopicPartition;
use crate::lag::{Break, History, Remembered};

/// No pipeline begins later than this in a round. A pipeline has a time-out of its own.
const BUDGET: Duration = Duration::from_secs(1);

/// What this monitor knows of the store.
#[derive(Debug)]
pub struct Mirror {
    store: RedisStore,
    kept: HashMap<TopicPartition, Kept>,
    /// Where the last round left off, of the partitions in order.
    turn: usize,
    ahead_ms: i64,
}

/// What became of writing or reading.
#[derive(Debug, Default)]
struct Shared {
    is_asked: bool,
    /// Why a partition could not be written or read, if there is one.
    failed: Option<StoreError>,
}

impl Mirror {
    pub fn new(store: RedisStore) -> Self {
        Self { store, kept: HashMap::new(), turn: 0, ahead_ms: 0 }
    }

    /// Offsets of the partition speak of other records by now.
    pub fn broken(&mut self, partition: &TopicPartition, kind: Break) {
        match kind {
            Break::Recreated => drop(self.kept.remove(partition)),
            Break::Truncated => self.kept.entry(partition.clone()).or_default().outlive(),
        }
    }

    /// Forgets partitions that nobody is interested in any more.
    pub fn keep(&mut self, wanted: impl Fn(&TopicPartition) -> bool) {
        self.kept.retain(|partition, _| wanted(partition));
    }

    /// What is in the store was written by the wrong time, or is read by it: what is in memory takes its place.
    pub fn clock_was_set(&mut self) {
        self.kept.values_mut().for_each(Kept::clock_was_set);
    }

    /// Writes and reads of these partitions what a round has time for. Others read the store's times by the wall's clock, and
    /// so does this monitor's next life; it is so far ahead of the one that samples are of.
    /// Whether the store had anything to answer.
    pub async fn share(&mut self, lives: &[Life], history: &mut History, ahead_ms: i64) -> Result<bool, StoreError> {
        self.ahead_ms = ahead_ms;
        let until = Instant::now() + BUDGET;
        for (partition, topic_id) in lives {
            self.kept.entry(partition.clone()).or_default().live_in(*topic_id);
        }
        let written = self.write(lives, history, until).await?;
        let read = self.read(lives, history, until).await?;
        written.failed.or(read.failed).map_or(Ok(written.is_asked || read.is_asked), Err)
    }

    /// An error: nothing was written from there on.
    async fn write(&mut self, lives: &[Life], history: &History, until: Instant) -> Result<Shared, StoreError> {
        // They take turns in being first, so that none is always left over.
        let begin = self.turn.checked_rem(lives.len()).unwrap_or(0);
        let mut open: VecDeque<usize> = (begin..lives.len()).chain(0..begin).collect();
        let mut shared = Shared::default();
        while let Some(first) = open.front() {
            self.turn = *first;
            if Instant::now() >= until {
                return Ok(shared);
            }
            let (of, writes) = self.next(&mut open, lives, history);
            if writes.is_empty() {
                break;
            }
            shared.is_asked = true;
            for ((at, write), done) in of.into_iter().zip(&writes).zip(self.store.write(&writes).await?) {
                match (done, self.kept.get_mut(&write.life.0)) {
                    (Ok(reach_ms), Some(kept)) => {
                        kept.written(write, reach_ms);
                        // It may be owed more.
                        open.push_back(at);
                    }
                    (Ok(_), None) => {}
                    (Err(error), _) => shared.failed = Some(error),
                }
            }
        }
        self.turn = 0;
        Ok(shared)
    }

    /// What goes into one pipeline, of those at the front.
    fn next(&self, open: &mut VecDeque<usize>, lives: &[Life], history: &History) -> (Vec<usize>, Vec<Write>) {
        let (mut of, mut writes, mut samples) = (Vec::new(), Vec::new(), 0);
        while samples < SAMPLES_A_PIPELINE {
            let Some(at) = open.pop_front() else { break };
            let life = &lives[at];
            let owed = self
                .kept
                .get(&life.0)
                .zip(history.of(&life.0))
                .and_then(|(kept, ring)| kept.owed(life, ring, self.ahead_ms));
            if let Some(write) = owed {
                samples += write.add.len();
                of.push(at);
                writes.push(write);
            }
        }
        (of, writes)
    }

    /// An error: nothing was read from there on.
    async fn read(&mut self, lives: &[Life], history: &mut History, until: Instant) -> Result<Shared, StoreError> {
        let is_unread = |(partition, _): &&Life| self.kept.get(partition).is_some_and(|kept| !kept.is_read);
        let unread: Vec<Life> = lives.iter().filter(is_unread).cloned().collect();
        let mut shared = Shared::default();
        for chunk in unread.chunks(self.store.reads_max()) {
            if Instant::now() >= until {
                break;
            }
            shared.is_asked = true;
            for ((partition, _), samples) in chunk.iter().zip(self.store.read(chunk).await?) {
                match (samples, self.kept.get_mut(partition)) {
                    (Ok(samples), Some(kept)) => {
                        let moved = |it: Remembered| Remembered { sample: it.sample.moved(-self.ahead_ms), ..it };
                        let of_others = samples.into_iter().filter(|it| kept.is_news(it));
                        history.restore(partition, of_others.map(moved).collect());
                        kept.is_read = true;
                    }
                    (Ok(_), None) => {}
                    (Err(error), _) => shared.failed = Some(error),
                }
            }
        }
        Ok(shared)
    }
}
