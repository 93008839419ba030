//! One group on one partition: kept in few bytes, read as what it means. Pure.
//!
//! There are as many rows as groups have partitions, so what is the same for all readers of a partition is kept with the
//! partition, names once for many rows, and whatever follows from other numbers is computed when it is asked for.

use std::sync::Arc;

use super::estimate::{Method, TimeLag};
use super::join::position;
use super::status::{Commit, Status, status};
use super::window::Window;
use crate::client::{Contents, IsolationLevel, Offset, Topic, TopicPartition};

/// Why a lag is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The partition's leader did not answer.
    EndUnknown,
    /// The topic, or this partition of it, does not exist any more.
    TopicGone,
    /// The commit is above the end: the topic was made anew, or its log truncated.
    AheadOfEnd,
    /// The group's commits could not be read, all of them or some: its coordinator did not answer, or refused to.
    CommitUnknown,
}

impl Reason {
    pub const ALL: [Self; 4] = [Self::EndUnknown, Self::TopicGone, Self::AheadOfEnd, Self::CommitUnknown];

    /// Whether there may be records that nobody counted: a partition that does not exist any more has none.
    pub fn hides_records(self) -> bool {
        self != Self::TopicGone
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::EndUnknown => "end_unknown",
            Self::TopicGone => "topic_gone",
            Self::AheadOfEnd => "ahead_of_end",
            Self::CommitUnknown => "commit_unknown",
        }
    }
}

/// A partition, and what is known of it whoever reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    pub topic: Topic,
    pub partition: i32,
    /// The high watermark.
    pub end: Result<Offset, Reason>,
    pub log_start_offset: Option<Offset>,
    /// The last stable offset, where it is known to be below the end: there the first undecided transaction begins.
    pub stable_offset: Option<Offset>,
    /// Since when the first undecided record is there.
    pub undecided: Option<TimeLag>,
    pub produced_per_second: Option<f64>,
    /// How long records are kept, by their timestamps; `None` where their size may take them, or nothing does.
    pub retention_ms: Option<i64>,
    /// What was seen shortly before the end.
    pub tail: Option<Arc<Contents>>,
}

impl Partition {
    /// One that no group has committed for: nothing but its two ends is known.
    pub(super) fn unread(of: TopicPartition, end: Result<Offset, Reason>, log_start_offset: Option<Offset>) -> Self {
        Self {
            topic: of.topic,
            partition: of.partition,
            end,
            // One from an earlier life of the topic would be above the end.
            log_start_offset: log_start_offset.filter(|start| end.is_ok_and(|end| *start <= end)),
            stable_offset: None,
            undecided: None,
            produced_per_second: None,
            retention_ms: None,
            tail: None,
        }
    }

    pub fn end_offset(&self) -> Option<Offset> {
        self.end.ok()
    }

    /// Records that readers of committed records cannot have yet.
    pub fn undecided_records(&self) -> Option<u64> {
        u64::try_from(self.end.ok()? - self.stable_offset?).ok()
    }

    /// Records from a commit to the end; what was not seen to be something else counts as a record.
    fn records(&self, committed: Offset, isolation: IsolationLevel) -> Result<u64, Reason> {
        let offsets = self.offsets(committed)?;
        let Some((tail, end)) = self.tail.as_ref().zip(self.end_offset()) else { return Ok(offsets) };
        Ok(tail.records(&(committed..end), isolation))
    }

    /// Records from a commit to the log's start; what was not seen to be something else counts as a record.
    fn records_lost(&self, committed: Offset, isolation: IsolationLevel) -> Option<u64> {
        let lost = committed..self.log_start_offset?;
        let offsets = || u64::try_from(lost.end.saturating_sub(lost.start)).unwrap_or(0);
        Some(self.tail.as_ref().map_or_else(offsets, |tail| tail.records(&lost, isolation)))
    }

    /// From `position` on; the end where there is none.
    pub(super) fn first_record(&self, position: Offset, isolation: IsolationLevel) -> Offset {
        let Some((tail, end)) = self.tail.as_ref().zip(self.end_offset()) else { return position };
        // What was written since the end was asked for is not this round's.
        tail.first_record(position, isolation).min(end.max(position))
    }

    /// From a commit to the end.
    pub(super) fn offsets(&self, committed: Offset) -> Result<u64, Reason> {
        self.end.and_then(|end| u64::try_from(end.saturating_sub(committed)).map_err(|_| Reason::AheadOfEnd))
    }
}

/// A time lag, as few bytes as it has to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Age {
    low_ms: i64,
    value_after_ms: u32,
    high_after_ms: u32,
}

/// What is kept of one group on one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub(super) partition: i32,
    /// Where the round has the partition.
    pub(super) place: u32,
    pub(super) committed: Offset,
    age: Age,
    /// Since when the commit is this one.
    pub(super) since_ms: i64,
    pub(super) window: Window,
    /// Records after the commit that the group is done with all the same; only share groups have any.
    done: u32,
    method: Option<Method>,
    /// Which records it reads, as far as that was said.
    isolation: IsolationLevel,
}

impl Cell {
    pub(super) fn new(partition: i32, place: u32, committed: Offset, time: Option<TimeLag>) -> Self {
        let blank = Self {
            partition,
            place,
            committed,
            age: Age::default(),
            since_ms: 0,
            window: Window::default(),
            done: 0,
            method: None,
            isolation: IsolationLevel::ReadUncommitted,
        };
        time.map_or(blank, |time| blank.aged(time))
    }

    pub(super) fn done_with(self, records: u64) -> Self {
        Self { done: u32::try_from(records).unwrap_or(u32::MAX), ..self }
    }

    pub(super) fn reading(self, isolation: IsolationLevel) -> Self {
        Self { isolation, ..self }
    }

    /// Offsets from the commit to the end that the group is not done with.
    fn offsets(&self, place: &Partition) -> Result<u64, Reason> {
        place.offsets(self.committed).map(|offsets| offsets.saturating_sub(self.done.into()))
    }

    /// Records from the commit to the end that the group is not done with: which of them it is done with is not known.
    pub(super) fn records(&self, place: &Partition) -> Result<u64, Reason> {
        Ok(self.offsets(place)?.min(place.records(self.committed, self.isolation)?))
    }

    /// An interval of more than 49 days is as good as none.
    fn aged(self, time: TimeLag) -> Self {
        let after_low = |bound: Option<i64>| u32::try_from(bound? - time.low_ms).ok();
        match (after_low(time.value_ms), after_low(time.high_ms)) {
            (Some(value_after_ms), Some(high_after_ms)) => {
                let age = Age { low_ms: time.low_ms, value_after_ms, high_after_ms };
                Self { age, method: Some(time.method), ..self }
            }
            _ => {
                let age = Age { low_ms: time.low_ms, ..Age::default() };
                Self { age, method: Some(Method::BeyondHistory), ..self }
            }
        }
    }

    fn time(&self) -> Option<TimeLag> {
        let (method, low_ms) = (self.method?, self.age.low_ms);
        let after_low = |after: u32| Some(low_ms + i64::from(after)).filter(|_| method != Method::BeyondHistory);
        let (value_ms, high_ms) = (after_low(self.age.value_after_ms), after_low(self.age.high_after_ms));
        Some(TimeLag { method, low_ms, value_ms, high_ms })
    }
}

/// What one group has committed on one topic.
#[derive(Debug, Clone)]
pub struct Reading {
    pub group: Arc<str>,
    pub topic: Topic,
    /// In order of the partitions.
    pub(super) cells: Arc<[Cell]>,
    pub sum: Sum,
}

/// One group on one partition, as a round found it.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    pub(super) reading: &'a Reading,
    pub(super) place: &'a Partition,
    pub(super) cell: &'a Cell,
    pub(super) now_ms: i64,
    pub(super) window_max: u16,
}

impl<'a> Row<'a> {
    pub fn group(&self) -> &'a Arc<str> {
        &self.reading.group
    }

    pub fn topic(&self) -> &'a Topic {
        &self.reading.topic
    }

    pub fn partition(&self) -> i32 {
        self.cell.partition
    }

    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic().clone(), partition: self.partition() }
    }

    pub fn committed(&self) -> Offset {
        self.cell.committed
    }

    pub fn end_offset(&self) -> Option<Offset> {
        self.place.end_offset()
    }

    pub fn log_start_offset(&self) -> Option<Offset> {
        self.place.log_start_offset
    }

    pub fn produced_per_second(&self) -> Option<f64> {
        self.place.produced_per_second
    }

    /// Records from the commit to the end; of a share group, those that it is not done with.
    pub fn records(&self) -> Result<u64, Reason> {
        self.cell.records(self.place)
    }

    /// Offsets from the commit to the end, as other tools count; ends of transactions and what compaction took have some.
    pub fn offsets(&self) -> Result<u64, Reason> {
        self.cell.offsets(self.place)
    }

    /// Those of them that are known to hold nothing for the group; `None` where it was not looked.
    pub fn offsets_without_records(&self) -> Option<u64> {
        self.place.tail.as_ref()?;
        Some(self.offsets().ok()?.saturating_sub(self.records().ok()?))
    }

    /// Records of transactions that are known to have been aborted, from the commit to the end; `None` where it was not
    /// looked. They are in [`Self::records`] unless the group is known to read committed records only.
    pub fn records_aborted(&self) -> Option<u64> {
        Some(self.place.tail.as_ref()?.aborted(&(self.committed()..self.end_offset()?)))
    }

    /// Records that retention took before the group read them.
    pub fn records_lost(&self) -> Option<u64> {
        self.place.records_lost(self.committed(), self.cell.isolation)
    }

    /// Records that are still there to be read. They are counted, and not what was lost taken off: the offsets that retention
    /// took held no more records than others do.
    pub fn records_effective(&self) -> Option<u64> {
        let position = position(self.committed(), self.log_start_offset());
        let there = self.place.records(position, self.cell.isolation).ok()?;
        Some(self.records().ok()?.min(there))
    }

    /// Of the first unread record that is still there.
    pub fn time(&self) -> Option<TimeLag> {
        self.cell.time()
    }

    /// Until retention by time may take the first unread record. It never takes a record that is younger than it, so the
    /// oldest that the record can be is what counts.
    ///
    /// How old Kafka finds a record depends on its timestamp, and this on when it became visible. The two agree under
    /// `LogAppendTime` and for producers that send what has just happened; a record that was stamped days before it was
    /// written, by a mirror or a backfill, goes by so much sooner. The timestamp at an offset could only be had by reading
    /// the record.
    pub fn data_loss_ms(&self) -> Option<i64> {
        let time = self.time().filter(|time| time.method != Method::CaughtUp)?;
        Some((self.place.retention_ms? - time.high_ms?).max(0))
    }

    pub fn status(&self) -> Option<Status> {
        let age_ms = self.time().map_or(0, |time| time.low_ms);
        status(&self.cell.window, self.records().ok()?, age_ms, self.now_ms)
    }

    /// Records a second that the commits moved by, over the window. A group that is gone consumes nothing from then on. `None`
    /// while the lag is not known: the window stands still for as long, and time does not.
    pub fn consumed_per_second(&self) -> Option<f64> {
        self.records().ok()?;
        let (first, last) = (self.first()?, self.last()?);
        let seconds = (last.at_ms.max(self.now_ms) - first.at_ms) as f64 / 1000.0;
        (seconds > 0.0 && last.offset >= first.offset).then(|| (last.offset - first.offset) as f64 / seconds)
    }

    /// Since the commit was last seen to be another one, at least.
    pub fn standing_ms(&self) -> i64 {
        (self.now_ms - self.cell.since_ms).max(0)
    }

    /// The ends of the window.
    pub fn first(&self) -> Option<Commit> {
        self.cell.window.first()
    }

    pub fn last(&self) -> Option<Commit> {
        self.cell.window.last()
    }

    /// How much of the window is filled, from 0 to 1.
    pub fn complete(&self) -> f64 {
        self.cell.window.len() as f64 / f64::from(self.window_max.max(1))
    }

    /// Until the group is at the end, if both sides go on as they did; `None` when it comes no nearer.
    pub fn catch_up_seconds(&self) -> Option<f64> {
        let lag = self.records_effective()?;
        if lag == 0 {
            return Some(0.0);
        }
        let nearer = self.consumed_per_second()? - self.produced_per_second()?;
        (nearer > 0.0).then(|| lag as f64 / nearer)
    }
}

/// Rows as one: of a group on a topic, or of all that a group reads.
///
/// A sum is of all rows or of none: one that left out a partition whose leader is away would fall just then, and whoever goes
/// by it would take that for recovery. What is a least or a most over rows, and holds whatever the others are, stays known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    pub rows: u32,
    committed: Offset,
    records: Option<u64>,
    offsets: Option<u64>,
    offsets_most: Option<u64>,
    records_effective: Option<u64>,
    records_lost: Option<u64>,
    /// Rows of which it is not known what retention took.
    lost_unknown: u32,
    /// There may be rows that are not here, because not all commits of the group could be read.
    lacks_commits: bool,
    /// Of the row that is furthest behind in time, by its lower bound, by its most likely value, and by its upper bound.
    low_ms: Option<i64>,
    value_ms: Option<i64>,
    high_ms: Option<i64>,
    /// A row is furthest behind by more than is known.
    is_unbounded: bool,
    /// Of the row where it is least, of those where it is known.
    pub data_loss_ms: Option<i64>,
    consumed_per_second: Option<f64>,
    /// Rows that may consume something, and of which it is not known how much.
    consumed_unknown: u32,
    catch_up_seconds: f64,
    never_catches_up: bool,
    /// Of the rows that lag, how long the one whose commit stands longest has stood.
    pub standing_ms: Option<i64>,
    /// The worst of all rows.
    pub status: Option<Status>,
    pub statuses: [u32; Status::ALL.len()],
    pub methods: [u32; Method::ALL.len()],
    /// Lags that are not known.
    pub unknown: [u32; Reason::ALL.len()],
}

impl Sum {
    pub(super) fn add(&mut self, row: &Row<'_>) {
        let records = row.records();
        self.merge(&Self {
            rows: 1,
            committed: row.committed(),
            records: records.ok(),
            offsets: row.offsets().ok(),
            offsets_most: row.offsets().ok(),
            records_effective: row.records_effective(),
            records_lost: row.records_lost(),
            data_loss_ms: row.data_loss_ms(),
            consumed_per_second: row.consumed_per_second(),
            standing_ms: Some(row.standing_ms()).filter(|_| records.is_ok_and(|lag| lag > 0)),
            ..Self::default()
        });
        let is_gone = records == Err(Reason::TopicGone);
        self.lost_unknown += u32::from(row.records_lost().is_none() && !is_gone);
        self.consumed_unknown += u32::from(row.consumed_per_second().is_none() && !is_gone);
        match row.time() {
            Some(time) => self.add_time(time),
            None => self.is_unbounded |= !is_gone,
        }
        match row.catch_up_seconds() {
            Some(seconds) => self.catch_up_seconds = self.catch_up_seconds.max(seconds),
            None => self.never_catches_up |= !is_gone,
        }
        if let Some(status) = row.status() {
            self.status = self.status.max(Some(status));
            self.statuses[status as usize] += 1;
        }
        if let Err(reason) = records {
            self.unknown[reason as usize] += 1;
        }
    }

    fn add_time(&mut self, time: TimeLag) {
        self.methods[time.method as usize] += 1;
        self.low_ms = self.low_ms.max(Some(time.low_ms));
        self.value_ms = self.value_ms.max(time.value_ms);
        self.high_ms = self.high_ms.max(time.high_ms);
        self.is_unbounded |= time.high_ms.is_none();
    }

    pub(super) fn merge(&mut self, other: &Self) {
        fn plus<T>(a: &mut Option<T>, b: Option<T>, add: fn(T, T) -> T)
        where
            T: Copy,
        {
            *a = match (*a, b) {
                (Some(a), Some(b)) => Some(add(a, b)),
                (a, b) => a.or(b),
            };
        }
        self.rows += other.rows;
        self.committed = self.committed.saturating_add(other.committed);
        plus(&mut self.records, other.records, u64::saturating_add);
        plus(&mut self.offsets, other.offsets, u64::saturating_add);
        plus(&mut self.offsets_most, other.offsets_most, u64::max);
        plus(&mut self.records_effective, other.records_effective, u64::saturating_add);
        plus(&mut self.records_lost, other.records_lost, u64::saturating_add);
        plus(&mut self.low_ms, other.low_ms, i64::max);
        plus(&mut self.value_ms, other.value_ms, i64::max);
        plus(&mut self.high_ms, other.high_ms, i64::max);
        self.lost_unknown += other.lost_unknown;
        self.consumed_unknown += other.consumed_unknown;
        self.lacks_commits |= other.lacks_commits;
        self.is_unbounded |= other.is_unbounded;
        plus(&mut self.data_loss_ms, other.data_loss_ms, i64::min);
        plus(&mut self.consumed_per_second, other.consumed_per_second, |a, b| a + b);
        self.catch_up_seconds = self.catch_up_seconds.max(other.catch_up_seconds);
        self.never_catches_up |= other.never_catches_up;
        plus(&mut self.standing_ms, other.standing_ms, i64::max);
        self.status = self.status.max(other.status);
        let counts = [
            (&mut self.statuses[..], &other.statuses[..]),
            (&mut self.methods[..], &other.methods[..]),
            (&mut self.unknown[..], &other.unknown[..]),
        ];
        for (counts, others) in counts {
            counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
        }
    }

    /// Not all commits of the group could be read.
    pub(super) fn lacking_commits(self) -> Self {
        Self { lacks_commits: true, ..self }
    }

    /// Rows whose lag is not known though they may have one; commits that could not be read count as one.
    pub fn unknown_rows(&self) -> u32 {
        let hiding = Reason::ALL.into_iter().filter(|reason| reason.hides_records());
        hiding.map(|reason| self.unknown[reason as usize]).sum::<u32>() + u32::from(self.lacks_commits)
    }

    /// Why a sum is not known; of several reasons, that of most rows.
    pub fn why_unknown(&self) -> Option<Reason> {
        if self.lacks_commits {
            return Some(Reason::CommitUnknown);
        }
        let hiding = Reason::ALL.into_iter().filter(|reason| reason.hides_records());
        let most = hiding.max_by_key(|reason| self.unknown[*reason as usize]);
        most.filter(|reason| self.unknown[*reason as usize] > 0)
    }

    fn is_whole(&self) -> bool {
        self.unknown_rows() == 0
    }

    pub fn committed(&self) -> Option<Offset> {
        Some(self.committed).filter(|_| !self.lacks_commits)
    }

    pub fn records(&self) -> Option<u64> {
        self.records.filter(|_| self.is_whole())
    }

    /// As other tools count.
    pub fn offsets(&self) -> Option<u64> {
        self.offsets.filter(|_| self.is_whole())
    }

    /// Of the row that lags most.
    pub fn offsets_most(&self) -> Option<u64> {
        self.offsets_most.filter(|_| self.is_whole())
    }

    pub fn records_effective(&self) -> Option<u64> {
        self.records_effective.filter(|_| self.is_whole())
    }

    pub fn records_lost(&self) -> Option<u64> {
        self.records_lost.filter(|_| self.lost_unknown == 0 && !self.lacks_commits)
    }

    /// Records a second that the commits moved by.
    pub fn consumed_per_second(&self) -> Option<f64> {
        self.consumed_per_second.filter(|_| self.consumed_unknown == 0 && !self.lacks_commits)
    }

    /// A row is at least so old, whatever the others are.
    pub fn low_ms(&self) -> Option<i64> {
        self.low_ms
    }

    /// `None` as long as a row is furthest behind by more than is known.
    pub fn value_ms(&self) -> Option<i64> {
        self.value_ms.filter(|_| !self.is_unbounded && self.is_whole())
    }

    pub fn high_ms(&self) -> Option<i64> {
        self.high_ms.filter(|_| !self.is_unbounded && self.is_whole())
    }

    /// Until all rows are at their ends; `None` when one of them comes no nearer, or is not known.
    pub fn catch_up_seconds(&self) -> Option<f64> {
        self.records()?;
        (!self.never_catches_up && !self.lacks_commits).then_some(self.catch_up_seconds)
    }
}
