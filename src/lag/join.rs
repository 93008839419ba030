//! What was read, joined into rows: one for each commit. Pure.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::estimate::estimate;
use super::history::{History, Ring};
use super::pattern::Pattern;
use super::round::{Group, Round};
use super::row::{Cell, Partition, Reading, Reason, Sum};
use super::tails::Tails;
use super::track::{Look, Tracks};
use crate::client::{IsolationLevel, Offset, Topic, TopicPartition};

/// Production is measured over about this much time.
const RATE_WINDOW_MS: i64 = 5 * 60 * 1000;

/// What a group has committed on a topic, in order of the partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commits {
    pub group: Arc<str>,
    pub topic: Topic,
    pub offsets: Vec<(i32, Offset)>,
    /// Of a share group, how many records it has before it in each of these partitions: it may be done with some of those
    /// after its offset. Empty for others.
    pub before_it: Vec<u64>,
}

/// What is joined into rows.
#[derive(Debug)]
pub(super) struct Read<'a> {
    /// In order of groups and topics.
    pub commits: Vec<Commits>,
    pub groups: &'a [Group],
    /// In order, and of each what the end is.
    pub partitions: &'a [TopicPartition],
    pub ends: &'a [Result<Offset, Reason>],
    pub log_starts: &'a HashMap<TopicPartition, Offset>,
    /// Where they are below the ends.
    pub stable: &'a HashMap<TopicPartition, Offset>,
    /// How long records are kept, of topics where nothing but time takes them.
    pub retention_ms: &'a HashMap<Topic, i64>,
    pub tails: &'a Tails,
    /// Groups that read committed records only.
    pub read_committed: &'a [Pattern],
    pub now_ms: i64,
}

impl Read<'_> {
    fn isolation(&self, group: &str) -> IsolationLevel {
        match self.read_committed.iter().any(|pattern| pattern.matches(group)) {
            true => IsolationLevel::ReadCommitted,
            false => IsolationLevel::ReadUncommitted,
        }
    }
}

/// A round with nothing but the rows.
pub(super) fn join(mut read: Read<'_>, history: &History, tracks: &mut Tracks) -> Round {
    let commits = std::mem::take(&mut read.commits);
    let rings: Vec<Option<&Ring>> = read.partitions.iter().map(|partition| history.of(partition)).collect();
    let places = read.partitions.iter().zip(read.ends).zip(&rings);
    let partitions: Vec<_> = places.map(|((at, end), ring)| place(&read, at, *end, *ring)).collect();
    let mut round = Round { finished_ms: read.now_ms, partitions, window_max: tracks.window_max(), ..Round::default() };
    let topics = by_topic(read.partitions);
    let alive: HashMap<&str, bool> = read.groups.iter().map(|group| (&*group.name, group.is_alive())).collect();
    round.readings.reserve_exact(commits.len());
    for Commits { group, topic, offsets, before_it } in commits {
        let look = Look { at_ms: read.now_ms, alive: alive.get(&*group).copied().unwrap_or(true) };
        let of_topic = topics.get(&topic).cloned().unwrap_or_default();
        let isolation = read.isolation(&group);
        let cell = |(index, at, committed): (usize, usize, Offset)| {
            let before_it = before_it.get(index).copied();
            cell(at, (committed, isolation), before_it, &round.partitions, &rings, read.now_ms)
        };
        let cells = placed(&offsets, read.partitions, of_topic).filter_map(cell).collect();
        let lag = |cell: &Cell| cell.records(round.partitions.get(cell.place as usize)?).ok();
        let cells = tracks.see(&group, &topic, cells, look, lag);
        let mut reading = Reading { group, topic, cells, sum: Sum::default() };
        reading.sum = round.sum_of(&reading);
        round.readings.push(reading);
    }
    tracks.end();
    round
}

pub(super) fn by_topic(partitions: &[TopicPartition]) -> HashMap<Topic, Range<usize>> {
    let mut begin = 0;
    let chunks = partitions.chunk_by(|a, b| a.topic == b.topic);
    chunks
        .filter_map(|of_topic| {
            let range = begin..begin + of_topic.len();
            begin = range.end;
            Some((of_topic.first()?.topic.clone(), range))
        })
        .collect()
}

fn place(read: &Read<'_>, at: &TopicPartition, end: Result<Offset, Reason>, ring: Option<&Ring>) -> Partition {
    let stable_offset = read.stable.get(at).copied();
    Partition {
        topic: at.topic.clone(),
        partition: at.partition,
        end,
        stable_offset,
        undecided: stable_offset.zip(ring).and_then(|(stable, ring)| estimate(ring, stable, read.now_ms)),
        // A log start from an earlier life would be above the end.
        log_start_offset: read.log_starts.get(at).copied().filter(|start| end.is_ok_and(|end| *start <= end)),
        produced_per_second: ring.filter(|_| end.is_ok()).and_then(|ring| ring.produced_per_second(RATE_WINDOW_MS)),
        retention_ms: read.retention_ms.get(&at.topic).copied(),
        tail: read.tails.of(at).map(Arc::clone),
    }
}

fn cell(
    at: usize,
    (committed, isolation): (Offset, IsolationLevel),
    before_it: Option<u64>,
    places: &[Partition],
    rings: &[Option<&Ring>],
    now_ms: i64,
) -> Option<Cell> {
    let place = places.get(at)?;
    let offsets = place.offsets(committed);
    let done = before_it.map_or(0, |before_it| offsets.map_or(0, |offsets| offsets.saturating_sub(before_it)));
    let position = match before_it {
        // Nothing is left, though the offset has not been moved up to the end yet.
        Some(0) => place.end_offset().unwrap_or(committed),
        _ => place.first_record(position(committed, place.log_start_offset), isolation),
    };
    let ring = rings.get(at).copied().flatten().filter(|_| offsets.is_ok());
    let time = ring.and_then(|ring| estimate(ring, position, now_ms));
    Some(Cell::new(place.partition, u32::try_from(at).ok()?, committed, time).done_with(done).reading(isolation))
}

/// Each commit of a topic: its index in `offsets`, its index in `partitions`, and its offset. Both are in order of the
/// partitions, so each is found by going on from the one before: the next one, if the group reads all, and else not far to
/// seek.
pub(super) fn placed<'a>(
    offsets: &'a [(i32, Offset)],
    partitions: &'a [TopicPartition],
    of_topic: Range<usize>,
) -> impl Iterator<Item = (usize, usize, Offset)> + 'a {
    let mut from = of_topic;
    offsets.iter().enumerate().filter_map(move |(index, (partition, committed))| {
        let rest = partitions.get(from.clone()).unwrap_or_default();
        let is_next = rest.first().is_some_and(|it| it.partition >= *partition);
        let at = if is_next { 0 } else { rest.partition_point(|it| it.partition < *partition) };
        from.start += at;
        let found = rest.get(at).is_some_and(|it| it.partition == *partition);
        found.then_some((index, from.start, *committed))
    })
}

/// Of each partition the commit that is furthest from its end.
pub(super) fn furthest_behind(commits: &[Commits], partitions: &[TopicPartition]) -> Vec<Option<Offset>> {
    let (topics, mut furthest) = (by_topic(partitions), vec![None; partitions.len()]);
    for Commits { topic, offsets, .. } in commits {
        let of_topic = topics.get(topic).cloned().unwrap_or_default();
        for (_, at, committed) in placed(offsets, partitions, of_topic) {
            let least: &mut Option<Offset> = &mut furthest[at];
            *least = Some(least.map_or(committed, |least| least.min(committed)));
        }
    }
    furthest
}

/// What retention took is not read any more: the first unread record is at the log's start.
pub(super) fn position(committed: Offset, log_start: Option<Offset>) -> Offset {
    log_start.map_or(committed, |start| committed.max(start))
}

#[cfg(test)]
mod tests {
    use super::super::estimate::Method;
    use super::super::history::{Lineage, Sample};
    use super::super::round::tests::{Plain, blank, round};
    use super::super::status::Commit;
    use super::*;
    use crate::client::Contents;

    #[test]
    fn a_row_for_each_commit() {
        let (known, gone) = (TopicPartition::new("t", 7), TopicPartition::new("gone", 0));
        let mut history = History::new(9);
        for (at, end_offset) in [(0, 5), (1_000, 100)] {
            history.add(&known, Sample { asked_ms: at, answered_ms: at + 10, end_offset }, Lineage::default());
        }
        let partitions = [gone.clone(), TopicPartition::new("t", 3), known.clone()];
        let ends = [Err(Reason::TopicGone), Err(Reason::EndUnknown), Ok(100)];
        let starts = HashMap::from([(known.clone(), 30)]);
        let retention = HashMap::from([(Topic::from("t"), 5_000)]);
        let check = |partition: &TopicPartition, committed, before_it: Option<u64>, records, lost, method, loss| {
            let before_it = Vec::from_iter(before_it);
            let offsets = vec![(partition.partition, committed)];
            let read = Read {
                commits: vec![Commits { group: Arc::from("g"), topic: partition.topic.clone(), offsets, before_it }],
                groups: &[],
                partitions: &partitions,
                ends: &ends,
                log_starts: &starts,
                stable: &HashMap::from([(known.clone(), 80)]),
                retention_ms: &retention,
                tails: &Tails::default(),
                read_committed: &[],
                now_ms: 1_010,
            };
            let round = join(read, &history, &mut Tracks::new(5));
            let row = round.rows().next().expect("a row");
            assert_eq!(row.topic_partition(), *partition);
            let undecided = round.partitions[2].undecided.expect("an age");
            assert_eq!((undecided.low_ms, undecided.high_ms), (0, Some(1_010)));
            assert_eq!(round.partitions[2].undecided_records(), Some(20));
            let time = row.time().map(|time| time.method.name());
            assert_eq!((row.records(), row.records_lost(), time), (records, lost, method));
            assert_eq!(row.data_loss_ms(), loss, "{row:?}");
            assert!(row.records_effective() <= row.records().ok());
        };
        check(&known, 100, None, Ok(0), Some(0), Some("caught_up"), None);
        // A share group may be done with records after its offset.
        check(&known, 60, Some(25), Ok(25), Some(0), Some("sampled"), Some(3_990));
        check(&known, 60, Some(0), Ok(0), Some(0), Some("caught_up"), None);
        check(&known, 60, Some(99), Ok(40), Some(0), Some("sampled"), Some(3_990));
        check(&known, 60, None, Ok(40), Some(0), Some("sampled"), Some(3_990));
        // What is lost has no age any more; the first that is left has one.
        check(&known, 3, None, Ok(97), Some(27), Some("sampled"), Some(3_990));
        check(&known, 101, None, Err(Reason::AheadOfEnd), Some(0), None, None);
        check(&gone, 7, None, Err(Reason::TopicGone), None, None, None);
        check(&TopicPartition::new("t", 3), 7, None, Err(Reason::EndUnknown), None, None, None);
    }

    #[test]
    fn ends_of_transactions_are_no_lag() {
        let known = TopicPartition::new("t", 0);
        let mut history = History::new(9);
        for (at, end_offset) in [(0, 5), (1_000, 7), (2_000, 9)] {
            history.add(&known, Sample { asked_ms: at, answered_ms: at + 10, end_offset }, Lineage::default());
        }
        let check = |log: &str, committed, before_it: Option<u64>, records, of_committed, offsets, method| {
            let tails = Tails::knowing(&known, Contents::of(4, log));
            let commits = |group: &str| {
                let before_it = Vec::from_iter(before_it);
                Commits { group: group.into(), topic: "t".into(), offsets: vec![(0, committed)], before_it }
            };
            let read = Read {
                commits: vec![commits("all"), commits("committed")],
                groups: &[],
                partitions: std::slice::from_ref(&known),
                ends: &[Ok(9)],
                log_starts: &HashMap::new(),
                stable: &HashMap::new(),
                retention_ms: &HashMap::new(),
                tails: &tails,
                read_committed: &["com.*".parse().expect("a pattern")],
                now_ms: 2_010,
            };
            let round = join(read, &history, &mut Tracks::new(5));
            let said: Vec<_> = round.rows().map(|row| (row.records(), row.offsets())).collect();
            assert_eq!(said, [(Ok(records), Ok(offsets)), (Ok(of_committed), Ok(offsets))], "{log} at {committed}");
            let sum = round.readings[0].sum;
            assert_eq!(
                (sum.records(), sum.offsets(), sum.offsets_most()),
                (Some(records), Some(offsets), Some(offsets))
            );
            let first = round.rows().next().expect("a row");
            assert_eq!(first.time().map(|time| time.method), Some(method), "{log} at {committed}");
            assert_eq!(first.offsets_without_records(), Some(offsets - records));
        };
        check("4+4p1 8c1", 8, None, 0, 0, 1, Method::CaughtUp);
        check("4+4p1 8c1", 4, None, 4, 4, 5, Method::BeyondHistory);
        check("4+3p1 7c1 8c2", 7, None, 0, 0, 2, Method::CaughtUp);
        check("4+3p1 7a1 8a2", 4, None, 3, 0, 5, Method::BeyondHistory);
        // The first record is younger than the offset that was committed.
        check("4c1 5c2 6+3", 4, None, 3, 3, 5, Method::Sampled);
        // Only some of it was seen, or more than the end was then.
        check("4+3p1 7c1", 7, None, 1, 1, 2, Method::Sampled);
        check("4+3p1 7c1 8c2 9+3", 7, None, 0, 0, 2, Method::CaughtUp);
        // A share group is done with some of the records; with which is not known.
        check("4+4p1 8c1", 4, Some(2), 2, 2, 2, Method::BeyondHistory);
        check("4+4p1 8c1", 8, Some(1), 0, 0, 1, Method::CaughtUp);
    }

    #[test]
    fn retention_takes_ends_of_transactions_that_were_no_lag() {
        let known = TopicPartition::new("t", 0);
        let check = |committed: Offset, start: Offset, of_all: [u64; 3], of_committed: [u64; 3]| {
            // A record and the end of its transaction, five times; one of them was aborted.
            let log = "0+1p1 1c1 2+1p1 3c1 4+1p1 5a1 6+1p1 7c1 8+1p1 9c1";
            let commits = |group: &str| Commits {
                group: group.into(),
                topic: "t".into(),
                offsets: vec![(0, committed)],
                before_it: vec![],
            };
            let read = Read {
                commits: vec![commits("all"), commits("committed")],
                groups: &[],
                partitions: std::slice::from_ref(&known),
                ends: &[Ok(10)],
                log_starts: &HashMap::from([(known.clone(), start)]),
                stable: &HashMap::new(),
                retention_ms: &HashMap::new(),
                tails: &Tails::knowing(&known, Contents::of(0, log)),
                read_committed: &["com.*".parse().expect("a pattern")],
                now_ms: 2_010,
            };
            let round = join(read, &History::new(9), &mut Tracks::new(5));
            let said = |row: super::super::row::Row<'_>| {
                [row.records().ok(), row.records_lost(), row.records_effective()].map(Option::unwrap_or_default)
            };
            let said: Vec<_> = round.rows().map(said).collect();
            assert_eq!(said, [of_all, of_committed], "{committed} {start}");
        };
        check(0, 0, [5, 0, 5], [4, 0, 4]);
        check(0, 8, [5, 4, 1], [4, 3, 1]);
        check(0, 9, [5, 5, 0], [4, 4, 0]);
        check(4, 3, [3, 0, 3], [2, 0, 2]);
        check(3, 6, [3, 1, 2], [2, 0, 2]);
    }

    #[test]
    fn commits_find_their_places_among_the_partitions_of_their_topic() {
        let of = |topic: &str, numbers: &[i32]| -> Vec<_> {
            numbers.iter().map(|at| TopicPartition::new(topic, *at)).collect()
        };
        let partitions = [of("a", &[0, 1, 2, 5, 9]), of("b", &[7, 10])].concat();
        let check = |offsets: &[i32], want: &[(usize, usize)]| {
            let offsets: Vec<_> = offsets.iter().map(|at| (*at, 3)).collect();
            let found: Vec<_> = placed(&offsets, &partitions, 0..5).map(|(index, at, _)| (index, at)).collect();
            assert_eq!(found, want, "{offsets:?}");
        };
        check(&[0, 1, 2, 5, 9], &[(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
        check(&[9], &[(0, 4)]);
        check(&[1, 3, 9], &[(0, 1), (2, 4)]);
        // What comes behind is of another topic.
        check(&[10], &[]);
        check(&[7, 10], &[]);
        check(&[], &[]);
    }

    #[test]
    fn what_is_lost_is_no_lag_that_can_be_worked_off() {
        let check = |committed, start, lag, consumed: Option<i64>, produced, effective, catch_up| {
            let commit = |at_ms, offset| Commit { at_ms, offset, lag };
            let window = consumed.map(|rate| vec![commit(-1_000, committed - rate), commit(0, committed)]);
            let row = Plain {
                committed,
                log_start_offset: start,
                records: Ok(lag),
                produced_per_second: produced,
                window: window.unwrap_or_default(),
                ..blank("g", "t", 0)
            };
            let round = round(&[row]);
            let row = round.rows().next().expect("a row");
            assert_eq!((row.records_effective(), row.catch_up_seconds()), (effective, catch_up), "{row:?}");
            assert_eq!(round.readings[0].sum.catch_up_seconds(), catch_up);
        };
        check(10, Some(40), 90, Some(15), Some(5.0), Some(60), Some(6.0));
        check(10, Some(0), 90, Some(15), Some(5.0), Some(90), Some(9.0));
        check(10, None, 90, Some(5), Some(5.0), Some(90), None);
        check(10, None, 90, None, Some(5.0), Some(90), None);
        check(10, None, 0, None, None, Some(0), Some(0.0));
    }
}
