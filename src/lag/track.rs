//! What groups have committed over the last rounds: a sliding window for each group and partition. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::status::{Commit, Status, status};
use crate::client::{Offset, TopicPartition};

/// What the window of one group on one partition says.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Motion {
    pub status: Option<Status>,
    /// Records a second that the commits moved by, over the window.
    pub consumed_per_second: Option<f64>,
    /// Since the commit was last seen to be another one, at least.
    pub standing_ms: i64,
    /// The ends of the window.
    pub first: Option<Commit>,
    pub last: Option<Commit>,
    /// How much of the window is filled, from 0 to 1.
    pub complete: f64,
}

/// What one round saw of one group on one partition.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub at_ms: i64,
    pub committed: Offset,
    /// `None` when the end is not known.
    pub lag: Option<u64>,
    /// Whether the group may still commit: it has members, or it is not known whether it has.
    pub alive: bool,
}

#[derive(Debug, Default)]
struct Track {
    window: VecDeque<Commit>,
    since_ms: i64,
    round: u64,
}

impl Track {
    fn see(&mut self, seen: Seen, window_max: usize) -> Motion {
        let moved = self.window.back().is_none_or(|last| last.offset != seen.committed);
        if moved {
            self.since_ms = seen.at_ms;
        }
        if let Some(lag) = seen.lag
            && (moved || seen.alive)
        {
            if self.window.len() >= window_max {
                self.window.pop_front();
            }
            self.window.push_back(Commit { at_ms: seen.at_ms, offset: seen.committed, lag });
        }
        self.motion(seen, window_max)
    }

    fn motion(&mut self, seen: Seen, window_max: usize) -> Motion {
        let window = &*self.window.make_contiguous();
        let (first, last) = (window.first().copied(), window.last().copied());
        let rate = |first: Commit, last: Commit| {
            // A group that is gone consumes nothing from then on.
            let seconds = (last.at_ms.max(seen.at_ms) - first.at_ms) as f64 / 1000.0;
            (seconds > 0.0 && last.offset >= first.offset).then(|| (last.offset - first.offset) as f64 / seconds)
        };
        Motion {
            status: seen.lag.and_then(|lag| status(window, lag, seen.at_ms)),
            consumed_per_second: first.zip(last).and_then(|(first, last)| rate(first, last)),
            standing_ms: (seen.at_ms - self.since_ms).max(0),
            first,
            last,
            complete: window.len() as f64 / window_max as f64,
        }
    }
}

/// The windows of all groups on all partitions. Memory is bounded by rows × entries × 24 bytes.
#[derive(Debug)]
pub struct Tracks {
    groups: HashMap<Arc<str>, HashMap<TopicPartition, Track>>,
    window_max: usize,
    round: u64,
}

impl Tracks {
    pub fn new(window_max: usize) -> Self {
        Self { groups: HashMap::new(), window_max: window_max.max(super::status::ENTRIES_MIN), round: 0 }
    }

    /// Begins a round: what is not seen in it is forgotten at its end.
    pub fn begin(&mut self) {
        self.round += 1;
    }

    pub fn see(&mut self, group: &Arc<str>, partition: &TopicPartition, seen: Seen) -> Motion {
        if !self.groups.contains_key(group) {
            self.groups.insert(Arc::clone(group), HashMap::new());
        }
        let Some(partitions) = self.groups.get_mut(group) else { return Motion::default() };
        if !partitions.contains_key(partition) {
            partitions.insert(partition.clone(), Track::default());
        }
        let Some(track) = partitions.get_mut(partition) else { return Motion::default() };
        track.round = self.round;
        track.see(seen, self.window_max)
    }

    /// The offsets of a partition speak of other records by now.
    pub fn broken(&mut self, partition: &TopicPartition) {
        for partitions in self.groups.values_mut() {
            partitions.remove(partition);
        }
    }

    pub fn end(&mut self) {
        let round = self.round;
        self.groups.retain(|_, partitions| {
            partitions.retain(|_, track| track.round == round);
            !partitions.is_empty()
        });
    }

    pub fn bytes(&self) -> usize {
        let track =
            |track: &Track| track.window.capacity() * size_of::<Commit>() + size_of::<(TopicPartition, Track)>();
        self.groups.values().flat_map(HashMap::values).map(track).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at_ms: i64, committed: Offset, lag: u64, alive: bool) -> Seen {
        Seen { at_ms, committed, lag: Some(lag), alive }
    }

    fn after(rounds: &[Seen]) -> Motion {
        let (mut tracks, group, partition) = (Tracks::new(4), Arc::from("g"), TopicPartition::new("t", 0));
        let mut motion = Motion::default();
        for round in rounds {
            tracks.begin();
            motion = tracks.see(&group, &partition, *round);
            tracks.end();
        }
        motion
    }

    #[test]
    fn motions() {
        let check = |rounds: &[Seen], status, rate, standing_ms| {
            let motion = after(rounds);
            assert_eq!((motion.status, motion.consumed_per_second, motion.standing_ms), (status, rate, standing_ms));
        };
        let step = |n: i64, offset, lag| seen(n * 1_000, offset, lag, true);
        check(&[step(1, 10, 5)], None, None, 0);
        check(&[step(1, 10, 5), step(2, 20, 5), step(3, 30, 5)], Some(Status::Slow), Some(10.0), 0);
        check(&[step(1, 10, 5), step(2, 10, 5), step(3, 10, 5)], Some(Status::Stalled), Some(0.0), 2_000);
        check(&[step(1, 10, 5), step(2, 4, 11)], Some(Status::Rewound), None, 0);
        let left = |n: i64| seen(n * 1_000, 30, 9, false);
        check(&[step(1, 10, 5), step(2, 30, 5), left(3)], None, Some(10.0), 1_000);
        check(&[step(1, 10, 5), step(2, 30, 5), left(3), left(4)], Some(Status::Stopped), Some(20.0 / 3.0), 2_000);
        let five = [step(1, 10, 5), step(2, 20, 5), step(3, 30, 5), step(4, 40, 5), step(5, 60, 5)];
        check(&five, Some(Status::Slow), Some(40.0 / 3.0), 0);
    }

    #[test]
    fn what_is_not_seen_is_forgotten() {
        let (mut tracks, partition) = (Tracks::new(4), TopicPartition::new("t", 0));
        let see =
            |tracks: &mut Tracks, group: &str, at| tracks.see(&Arc::from(group), &partition, seen(at, 5, 1, true));
        tracks.begin();
        see(&mut tracks, "a", 0);
        see(&mut tracks, "b", 0);
        tracks.end();
        tracks.begin();
        see(&mut tracks, "a", 1_000);
        tracks.end();
        assert_eq!(tracks.groups.keys().map(|it| &**it).collect::<Vec<_>>(), ["a"]);
        tracks.broken(&partition);
        tracks.begin();
        assert_eq!(see(&mut tracks, "a", 2_000).standing_ms, 0, "another life");
    }
}
