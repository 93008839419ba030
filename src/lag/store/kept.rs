//! What the store has of a partition, and what it is owed. Pure.
//!
//! The store is to know what the ring in memory knows. So it is owed the samples of the ring that are newer than what it has,
//! however many those are: one a round while all is well, and all of them where it was away, or was emptied. Where nothing
//! is produced, the ring only moves the last of its samples, and the store is told of that once in a while.

use super::redis::{Life, WINDOW_MS};
use crate::client::{LeaderEpoch, TopicId};
use crate::lag::{Remembered, Ring, Sample};

/// While nothing is produced, this is how long a sample stands for the ones after it.
const QUIET_MS: i64 = 60_000;
/// The most samples in one write.
pub(super) const SAMPLES_MAX: usize = 200;

/// What is written of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub life: Life,
    /// What is there is of another life of the partition.
    pub clears: bool,
    /// The one that the first of `add` stands for, as it was written.
    pub replaces: Option<Remembered>,
    /// In order, and at least one.
    pub add: Vec<Sample>,
    /// What the store's times, which are the wall's, are ahead of those of the samples.
    pub ahead_ms: i64,
    /// Of the leader that is known to have all of them.
    pub leader_epoch: Option<LeaderEpoch>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    topic_id: Option<TopicId>,
    /// What the ring has from after this time on is not in the store.
    reach_ms: Option<i64>,
    /// As it was written.
    last: Option<Remembered>,
    /// The last sample says no more than the one before it, but later.
    is_quiet: bool,
    is_outlived: bool,
    /// When the first was answered that this monitor wrote, by what the wall's clock was then.
    began_ms: Option<i64>,
    /// What others wrote, or this monitor before it was started anew, was read.
    pub is_read: bool,
}

impl Kept {
    /// Records are gone from the end of the log: offsets in the store speak of others.
    pub fn outlive(&mut self) {
        *self = Self { topic_id: self.topic_id, is_outlived: true, is_read: true, ..Self::default() };
    }

    /// What is in the store was written by the wrong time, or is read by it: what is in memory takes its place. Unless that is
    /// not all yet: what others wrote for hours is not to be lost for that, and most of it was written by the right time.
    pub fn clock_was_set(&mut self) {
        if self.is_read {
            self.outlive();
        }
    }

    /// Whether this was written before this monitor began to: what it wrote itself it knows, and by a better clock.
    pub fn is_news(&self, it: &Remembered) -> bool {
        self.began_ms.is_none_or(|began_ms| it.sample.answered_ms < began_ms)
    }

    /// A topic that was made anew has another place in the store.
    pub fn live_in(&mut self, topic_id: Option<TopicId>) {
        if self.topic_id != topic_id {
            *self = Self { topic_id, ..Self::default() };
        }
    }

    /// What is to be written next, if anything is.
    pub fn owed(&self, life: &Life, ring: &Ring, ahead_ms: i64) -> Option<Write> {
        if ring.is_doubted() {
            return None;
        }
        let oldest = ring.last()?.answered_ms - WINDOW_MS;
        let begin = ring.answered_by(self.reach_ms.unwrap_or(i64::MIN).max(oldest));
        let add: Vec<Sample> = (begin..ring.len()).take(SAMPLES_MAX).filter_map(|at| ring.sample(at)).collect();
        let (first, newest) = (add.first()?, add.last()?);
        let same = self.last.filter(|last| last.sample.end_offset == first.end_offset);
        let is_soon = self.reach_ms.is_some_and(|reach_ms| newest.answered_ms - reach_ms < QUIET_MS);
        if is_soon && same.is_some_and(|last| last.sample.end_offset == newest.end_offset) {
            return None;
        }
        let replaces = same.filter(|_| self.is_quiet);
        let leader_epoch = ring.leader_epoch();
        Some(Write { life: life.clone(), clears: self.is_outlived, replaces, add, ahead_ms, leader_epoch })
    }

    /// It was written; before that, the newest sample in the store was of `reach_ms`. One that is older than what this
    /// monitor wrote last, or none at all, is of a store that has lost something.
    pub fn written(&mut self, write: &Write, reach_ms: Option<i64>) {
        let Some(newest) = write.add.last() else { return };
        let has_lost = |last: Remembered| reach_ms.is_none_or(|reach_ms| reach_ms < last.sample.answered_ms);
        if self.last.is_some_and(has_lost) {
            let reach_ms = reach_ms.map(|reach_ms| reach_ms - write.ahead_ms);
            *self = Self { reach_ms, last: None, is_quiet: false, ..*self };
            return;
        }
        let began_ms = write.add.first().map(|first| write.remembered(first).sample.answered_ms);
        let before = write.add.iter().rev().nth(1).map(|before| before.end_offset);
        let before = before.or(self.last.map(|last| last.sample.end_offset));
        *self = Self {
            reach_ms: Some(newest.answered_ms),
            last: Some(write.remembered(newest)),
            is_quiet: before == Some(newest.end_offset),
            is_outlived: false,
            began_ms: self.began_ms.or(began_ms),
            ..*self
        };
    }
}

impl Write {
    /// As it is written.
    pub fn remembered(&self, sample: &Sample) -> Remembered {
        Remembered { sample: sample.moved(self.ahead_ms), leader_epoch: self.leader_epoch }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::TopicPartition;
    use crate::lag::{History, Lineage};

    fn sample(at_s: i64, end_offset: i64) -> Sample {
        Sample { asked_ms: at_s * 1_000 - 1, answered_ms: at_s * 1_000, end_offset }
    }

    /// A store as the script makes it, and the newest in it before each write.
    #[derive(Default)]
    struct Store(Vec<Sample>);

    impl Store {
        fn write(&mut self, write: &Write) -> Option<i64> {
            if write.clears {
                self.0.clear();
            }
            let reach_ms = self.0.iter().map(|it| it.answered_ms).max();
            self.0.retain(|it| write.replaces.is_none_or(|gone| gone.sample != *it));
            let add = write.add.iter().map(|it| write.remembered(it).sample);
            self.0.extend(add.filter(|it| !self.0.contains(it)).collect::<Vec<_>>());
            self.0.sort_by_key(|it| it.answered_ms);
            reach_ms
        }

        fn all(&self) -> Vec<(i64, i64)> {
            self.0.iter().map(|it| (it.answered_ms / 1_000, it.end_offset)).collect()
        }
    }

    /// Rounds of one partition, and what becomes of the store in between.
    struct Rounds {
        history: History,
        life: Life,
        kept: Kept,
        store: Store,
        writes: usize,
        ahead_ms: i64,
    }

    impl Rounds {
        fn new() -> Self {
            let life = (TopicPartition::new("t", 0), None);
            Self {
                history: History::new(120),
                life,
                kept: Kept::default(),
                store: Store::default(),
                writes: 0,
                ahead_ms: 0,
            }
        }

        fn add(&mut self, at_s: i64, end_offset: i64) {
            if self.history.add(&self.life.0, sample(at_s, end_offset), Lineage::default()).is_some() {
                self.kept.outlive();
            }
        }

        fn write(&mut self) {
            while let Some(write) =
                self.history.of(&self.life.0).and_then(|ring| self.kept.owed(&self.life, ring, self.ahead_ms))
            {
                let reach_ms = self.store.write(&write);
                self.kept.written(&write, reach_ms);
                self.writes += 1;
            }
        }

        fn round(&mut self, at_s: i64, end_offset: i64) {
            self.add(at_s, end_offset);
            self.write();
        }

        fn ring(&self) -> Vec<(i64, i64)> {
            let ring = self.history.of(&self.life.0).into_iter();
            ring.flat_map(Ring::samples).map(|it| (it.answered_ms / 1_000, it.end_offset)).collect()
        }
    }

    #[test]
    fn a_busy_partition_is_written_each_round() {
        let mut rounds = Rounds::new();
        (0..5).for_each(|at| rounds.round(at * 10, at));
        assert_eq!((rounds.store.all(), rounds.writes), (rounds.ring(), 5));
    }

    #[test]
    fn what_says_nothing_new_is_not_stored() {
        let mut rounds = Rounds::new();
        (0..=360).for_each(|at| rounds.round(at * 10, 7));
        assert_eq!((rounds.store.all(), rounds.writes), (vec![(0, 7), (3_600, 7)], 61), "once a minute");
        // The wall's clock is slewed.
        rounds.ahead_ms = 7;
        rounds.round(3_610, 7);
        rounds.round(3_620, 8);
        assert_eq!(rounds.store.all(), rounds.ring(), "until when it was quiet is known once it is no more");
        assert_eq!((rounds.writes, rounds.store.0.last().map(|it| it.answered_ms)), (62, Some(3_620_007)));
    }

    #[test]
    fn a_store_that_was_away_or_has_lost_something_is_filled_again() {
        for (what, left) in [("away", usize::MAX), ("emptied", 0), ("an older copy", 3)] {
            let mut rounds = Rounds::new();
            (0..10).for_each(|at| rounds.round(at * 10, at));
            (10..300).for_each(|at| rounds.add(at * 10, at));
            rounds.store.0.truncate(left);
            rounds.write();
            let all = rounds.store.all();
            assert!(rounds.ring().iter().all(|it| all.contains(it)), "{what}: {all:?}");
            let writes = rounds.writes;
            rounds.round(3_000, 300);
            assert_eq!(rounds.writes, writes + 1, "{what}: once is enough");
        }
    }

    #[test]
    fn what_was_written_before_a_truncation_goes() {
        let mut rounds = Rounds::new();
        (0..5).for_each(|at| rounds.round(at * 10, at * 10));
        rounds.round(50, 3);
        rounds.round(60, 50);
        assert_eq!(rounds.store.all(), [(50, 3), (60, 50)]);
    }

    #[test]
    fn a_clock_that_is_set_takes_nothing_that_nobody_has_read_yet() {
        let check = |is_read: bool, ahead_ms: i64, want: &[i64]| {
            let mut rounds = Rounds::new();
            let others = (0..4).map(|at| sample(at * 10, at));
            rounds.store.0.extend(others.clone());
            // The wall's clock is wrong, and so is what is written by it.
            rounds.ahead_ms = ahead_ms;
            rounds.kept.is_read = is_read;
            rounds.round(3_700, 7);
            rounds.ahead_ms = 0;
            let remembered = |sample: &Sample| Remembered { sample: *sample, leader_epoch: None };
            let news = rounds.store.0.iter().filter(|it| rounds.kept.is_news(&remembered(it)));
            let news: Vec<_> = news.map(|it| it.end_offset).collect();
            assert_eq!((news, rounds.kept.is_read), (vec![0, 1, 2, 3], is_read), "its own is none: {ahead_ms}");
            rounds.kept.clock_was_set();
            rounds.round(3_710, 8);
            let left: Vec<_> = rounds.store.0.iter().map(|it| it.end_offset).filter(|end| *end < 7).collect();
            assert_eq!((left.as_slice(), rounds.kept.is_read), (want, is_read), "{ahead_ms}");
        };
        check(false, 0, &[0, 1, 2, 3]);
        check(false, -1_800_000, &[0, 1, 2, 3]);
        check(false, 3_600_000, &[0, 1, 2, 3]);
        check(true, 3_600_000, &[]);
    }

    #[test]
    fn another_life_is_written_and_read_elsewhere() {
        let mut kept = Kept {
            is_read: true,
            last: Some(Remembered { sample: sample(1, 2), leader_epoch: None }),
            ..Kept::default()
        };
        kept.live_in(None);
        assert!(kept.is_read && kept.last.is_some());
        kept.live_in(Some(crate::protocol::types::Uuid([1; 16])));
        assert!(!kept.is_read && kept.last.is_none());
    }
}
