//! What groups have committed over the last rounds: a window for each group and partition. Pure.
//!
//! What a round says of a group on a topic is what the next one goes on from: the cells are shared with the round that was
//! published, and only what lies between the ends of the windows is kept here beside them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::row::Cell;
use super::status::{Commit, ENTRIES_MIN, STANDS_MS};
use super::window::Window;
use crate::client::{Topic, TopicPartition};

/// When a group was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub at_ms: i64,
    /// Whether the group may still commit: it has members, or it is not known whether it has.
    pub alive: bool,
}

/// A group on a topic as the round before saw it.
#[derive(Debug)]
struct Past {
    cells: Arc<[Cell]>,
    /// What lies between the entries of the windows, window by window.
    packed: Box<[u8]>,
}

impl Past {
    /// What was seen, and what was not, in order.
    fn of(seen: &[Cell], mut packed: &[u8], unseen: &[(&Cell, &[u8])]) -> Self {
        let seen = seen.iter().map(|cell| (cell, take(&mut packed, cell)));
        let mut all: Vec<_> = seen.chain(unseen.iter().copied()).collect();
        all.sort_by_key(|(cell, _)| cell.partition);
        let cells = all.iter().map(|(cell, _)| **cell).collect();
        Self { cells, packed: all.into_iter().flat_map(|(_, packed)| packed).copied().collect() }
    }

    fn without(&self, is_gone: impl Fn(&Cell) -> bool) -> Self {
        let mut packed = &*self.packed;
        let all = self.cells.iter().map(|cell| (cell, take(&mut packed, cell)));
        Self::of(&[], &[], &all.filter(|(cell, _)| !is_gone(cell)).collect::<Vec<_>>())
    }
}

/// What lies between the entries of a window, from what does of it and those after it.
fn take<'a>(rest: &mut &'a [u8], cell: &Cell) -> &'a [u8] {
    let (packed, others) = rest.split_at_checked(cell.window.packed as usize).unwrap_or_default();
    *rest = others;
    packed
}

/// The windows of all groups on all partitions. Memory is bounded by rows × (entries × 30 bytes), and is about five bytes
/// an entry where commits are steady.
#[derive(Debug)]
pub struct Tracks {
    past: HashMap<Arc<str>, HashMap<Topic, Past>>,
    present: HashMap<Arc<str>, HashMap<Topic, Past>>,
    /// Partitions whose offsets speak of other records by now.
    broken: HashSet<TopicPartition>,
    /// Groups whose commits could not be read in this round, all of them or some.
    hidden: HashSet<Arc<str>>,
    window_max: u16,
    scratch: Vec<u8>,
}

impl Tracks {
    pub fn new(window_max: u16) -> Self {
        Self {
            past: HashMap::new(),
            present: HashMap::new(),
            broken: HashSet::new(),
            hidden: HashSet::new(),
            window_max: window_max.max(ENTRIES_MIN as u16),
            scratch: Vec::new(),
        }
    }

    pub fn window_max(&self) -> u16 {
        self.window_max
    }

    /// The offsets of a partition speak of other records by now.
    pub fn broken(&mut self, partition: &TopicPartition) {
        self.broken.insert(partition.clone());
    }

    /// The commits of these groups could not be read, all of them or some: what is not seen of them in this round goes on in
    /// the next one that does.
    pub fn hide<'a>(&mut self, groups: impl Iterator<Item = &'a Arc<str>>) {
        self.hidden.extend(groups.cloned());
    }

    /// Fills in the windows of a group on a topic; `lag` is the lag of a cell, where it is known.
    pub(super) fn see(
        &mut self,
        group: &Arc<str>,
        topic: &Topic,
        mut cells: Vec<Cell>,
        look: Look,
        lag: impl Fn(&Cell) -> Option<u64>,
    ) -> Arc<[Cell]> {
        let past = self.past.get_mut(group).and_then(|topics| topics.remove(topic));
        let (known, mut rest) = past.as_ref().map_or((&[][..], &[][..]), |past| (&past.cells[..], &past.packed[..]));
        let mut known = known.iter().peekable();
        let (mut unseen, mut take) = (Vec::new(), |older: &Cell| take(&mut rest, older));
        self.scratch.clear();
        for cell in &mut cells {
            let mut before = (None, &[][..]);
            while let Some(older) = known.next_if(|older| older.partition <= cell.partition) {
                let packed = take(older);
                match older.partition == cell.partition {
                    true => before = (Some(older), packed),
                    false => unseen.push((older, packed)),
                }
            }
            if !self.broken.is_empty() && self.broken.contains(&TopicPartition::new(topic.clone(), cell.partition)) {
                before = (None, &[]);
            }
            let lag = lag(cell);
            step(cell, before, look, lag, self.window_max, &mut self.scratch);
        }
        unseen.extend(known.map(|older| (older, take(older))));
        unseen.retain(|(older, _)| !self.broken.contains(&TopicPartition::new(topic.clone(), older.partition)));
        let cells: Arc<[Cell]> = cells.into();
        let seen = match self.hidden.contains(group) && !unseen.is_empty() {
            true => Past::of(&cells, &self.scratch, &unseen),
            false => Past { cells: Arc::clone(&cells), packed: self.scratch.as_slice().into() },
        };
        match self.present.get_mut(group) {
            Some(topics) => drop(topics.insert(topic.clone(), seen)),
            None => drop(self.present.insert(Arc::clone(group), HashMap::from([(topic.clone(), seen)]))),
        }
        cells
    }

    /// Ends a round: what was not seen in it is forgotten, but of groups that could not be read.
    pub fn end(&mut self) {
        let mut unseen = std::mem::replace(&mut self.past, std::mem::take(&mut self.present));
        for group in self.hidden.drain() {
            let Some(topics) = unseen.remove(&group) else { continue };
            let seen = self.past.entry(group).or_default();
            for (topic, mut past) in topics {
                let is_broken = |it: &Cell| self.broken.contains(&TopicPartition::new(topic.clone(), it.partition));
                if past.cells.iter().any(is_broken) {
                    past = past.without(is_broken);
                }
                seen.entry(topic).or_insert(past);
            }
        }
        self.broken.clear();
    }

    pub fn bytes(&self) -> usize {
        let past = |past: &Past| size_of_val(&*past.cells) + past.packed.len() + size_of::<(Topic, Past)>();
        self.past.values().flat_map(HashMap::values).map(past).sum()
    }
}

/// An entry is made where the commit moved, or somebody has been there to move it since the last entry.
fn step(
    cell: &mut Cell,
    (before, packed): (Option<&Cell>, &[u8]),
    look: Look,
    lag: Option<u64>,
    window_max: u16,
    out: &mut Vec<u8>,
) {
    let known = before.map_or(Window::default(), |before| before.window);
    let moved = known.last().is_none_or(|last| last.offset != cell.committed);
    let stands = before.filter(|before| before.committed == cell.committed);
    cell.since_ms = stands.map_or(look.at_ms, |before| before.since_ms);
    cell.window = known;
    let gaps = i64::from(window_max.saturating_sub(1).max(1));
    let apart_ms = (STANDS_MS + gaps - 1) / gaps;
    let stood = look.alive && known.last().is_some_and(|last| look.at_ms - last.at_ms >= apart_ms);
    match lag {
        Some(lag) if moved || stood => {
            let entry = Commit { at_ms: look.at_ms, offset: cell.committed, lag };
            cell.window.push(entry, window_max, packed, out);
        }
        _ => out.extend_from_slice(packed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::{Partition, Reading, Row, Sum};
    use super::super::status::Status;
    use super::*;

    /// One round's look at one row: when, the commit, the lag, whether somebody is there.
    type Seen = (i64, i64, u64, bool);

    fn see(tracks: &mut Tracks, group: &str, (at_ms, committed, lag, alive): Seen) -> Arc<[Cell]> {
        let cells = vec![Cell::new(0, 0, committed, None)];
        tracks.see(&Arc::from(group), &"t".into(), cells, Look { at_ms, alive }, |_| Some(lag))
    }

    fn check(rounds: &[Seen], status: Option<Status>, rate: Option<f64>, standing_ms: i64) {
        let mut tracks = Tracks::new(4);
        let mut seen = None;
        for round in rounds {
            seen = Some((see(&mut tracks, "g", *round), *round));
            tracks.end();
        }
        let (cells, (now_ms, committed, lag, _)) = seen.expect("a round");
        let place = Partition {
            topic: "t".into(),
            partition: 0,
            end: Ok(committed + lag.cast_signed()),
            log_start_offset: None,
            stable_offset: None,
            undecided: None,
            produced_per_second: None,
            retention_ms: None,
            tail: None,
        };
        let cell = cells[0];
        let reading = Reading { group: Arc::from("g"), topic: "t".into(), cells, sum: Sum::default() };
        let row = Row { reading: &reading, place: &place, cell: &cell, now_ms, window_max: 4 };
        assert_eq!((row.status(), row.consumed_per_second(), row.standing_ms()), (status, rate, standing_ms));
    }

    #[test]
    fn motions() {
        let step = |n: i64, offset, lag| (n * 25_000, offset, lag, true);
        check(&[step(1, 10, 5)], None, None, 0);
        check(&[step(1, 10, 5), step(2, 20, 5), step(3, 30, 5)], Some(Status::Slow), Some(0.4), 0);
        let stands = [step(1, 10, 5), step(2, 10, 5), step(3, 10, 5), step(4, 10, 5)];
        check(&stands[..3], None, Some(0.0), 50_000);
        check(&stands, Some(Status::Stalled), Some(0.0), 75_000);
        check(&[step(1, 10, 5), step(2, 4, 11)], Some(Status::Rewound), None, 0);
        let left = |n: i64| (n * 25_000, 30, 9, false);
        check(&[step(1, 10, 5), step(2, 30, 5), left(3)], None, Some(0.4), 25_000);
        check(&[step(1, 10, 5), step(2, 30, 5), left(3), left(6)], Some(Status::Stopped), Some(0.16), 100_000);
        let five = [step(1, 10, 5), step(2, 20, 5), step(3, 30, 5), step(4, 40, 5), step(5, 60, 5)];
        check(&five, Some(Status::Slow), Some(40.0 / 75.0), 0);
    }

    /// What a commit's standing says does not depend on how often it is looked at.
    #[test]
    fn motions_seen_every_second() {
        let commits_every = |period: i64, seconds: i64| -> Vec<Seen> {
            (0..=seconds).map(|at| (at * 1_000, at / period * 10, 5, true)).collect()
        };
        for (period, seconds, status, standing_ms) in [
            (200, 74, None, 74_000),
            (200, 75, Some(Status::Stalled), 75_000),
            (200, 199, Some(Status::Stalled), 199_000),
            (5, 100, Some(Status::Slow), 0),
            (60, 359, Some(Status::Slow), 59_000),
        ] {
            let (mut tracks, mut row) = (Tracks::new(4), None);
            for round in commits_every(period, seconds) {
                row = Some(see(&mut tracks, "g", round)[0]);
                tracks.end();
            }
            let row = row.expect("a round");
            let now_ms = seconds * 1_000;
            let seen = (super::super::status::status(&row.window, 5, 0, now_ms), now_ms - row.since_ms);
            assert_eq!(seen, (status, standing_ms), "every {period} s, after {seconds} s");
        }
    }

    #[test]
    fn what_is_not_seen_is_forgotten() {
        let mut tracks = Tracks::new(4);
        see(&mut tracks, "a", (0, 5, 1, true));
        see(&mut tracks, "b", (0, 5, 1, true));
        tracks.end();
        see(&mut tracks, "a", (1_000, 5, 1, true));
        tracks.end();
        assert_eq!(tracks.past.keys().map(|it| &**it).collect::<Vec<_>>(), ["a"]);
        tracks.broken(&TopicPartition::new("t", 0));
        assert_eq!(see(&mut tracks, "a", (2_000, 5, 1, true))[0].since_ms, 2_000, "another life");
    }

    /// What could not be read goes on where it was, whether that was all of a group, a topic, or a partition.
    #[test]
    fn what_could_not_be_read_is_not_forgotten() {
        let mut tracks = Tracks::new(4);
        let look = |tracks: &mut Tracks, topic: &str, at: i64, partitions: &[i32]| -> Vec<_> {
            let look = Look { at_ms: at * 2_500, alive: true };
            let cells = partitions.iter().map(|it| Cell::new(*it, 0, i64::from(*it), None)).collect();
            let cells = tracks.see(&Arc::from("g"), &topic.into(), cells, look, |_| Some(3));
            cells.iter().map(|cell| (cell.partition, cell.since_ms / 2_500, cell.window.len())).collect()
        };
        let hide = |tracks: &mut Tracks| tracks.hide([Arc::from("g")].iter());
        look(&mut tracks, "t", 0, &[0, 1, 2]);
        look(&mut tracks, "u", 0, &[0]);
        tracks.end();
        for _ in 0..3 {
            hide(&mut tracks);
            tracks.end();
        }
        hide(&mut tracks);
        assert_eq!(look(&mut tracks, "t", 10, &[1]), [(1, 0, 2)]);
        tracks.end();
        assert_eq!(look(&mut tracks, "t", 20, &[0, 1, 2]), [(0, 0, 2), (1, 0, 3), (2, 0, 2)]);
        assert_eq!(look(&mut tracks, "u", 20, &[0]), [(0, 0, 2)]);
        tracks.end();

        hide(&mut tracks);
        tracks.broken(&TopicPartition::new("t", 2));
        tracks.broken(&TopicPartition::new("u", 0));
        assert_eq!(look(&mut tracks, "t", 30, &[0]), [(0, 0, 3)]);
        tracks.end();
        assert_eq!(look(&mut tracks, "t", 40, &[1, 2]), [(1, 0, 4), (2, 40, 1)], "another life");
        assert_eq!(look(&mut tracks, "u", 40, &[0]), [(0, 40, 1)], "another life");
        tracks.end();

        hide(&mut tracks);
        tracks.broken(&TopicPartition::new("t", 1));
        tracks.end();
        assert_eq!(look(&mut tracks, "t", 50, &[1, 2]), [(1, 50, 1), (2, 40, 2)], "the others of its topic go on");
    }

    /// Partitions come and go, and each keeps its own window.
    #[test]
    fn windows_stay_with_their_partitions() {
        let mut tracks = Tracks::new(4);
        let check = |tracks: &mut Tracks, at: i64, partitions: &[i32], want: &[(i64, usize)]| {
            let look = Look { at_ms: at * 2_500, alive: true };
            let cells = partitions.iter().map(|it| Cell::new(*it, 0, i64::from(*it), None)).collect();
            let cells = tracks.see(&Arc::from("g"), &"t".into(), cells, look, |_| Some(3));
            tracks.end();
            let seen: Vec<_> = cells.iter().map(|cell| (cell.since_ms / 2_500, cell.window.len())).collect();
            assert_eq!(seen, want, "at {at}");
        };
        check(&mut tracks, 0, &[0, 2], &[(0, 1), (0, 1)]);
        check(&mut tracks, 10, &[0, 1, 2], &[(0, 2), (10, 1), (0, 2)]);
        check(&mut tracks, 20, &[1, 2], &[(10, 2), (0, 3)]);
        check(&mut tracks, 30, &[0, 1, 2], &[(30, 1), (10, 3), (0, 4)]);
        check(&mut tracks, 40, &[2], &[(0, 4)]);
    }
}
