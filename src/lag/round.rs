//! What one sweep found: rows, and the words for what could not be known. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::estimate::{Method, TimeLag, estimate};
use super::history::{Breaks, History};
use super::status::Status;
use super::track::{Motion, Seen, Tracks};
use crate::client::{ApiStats, BrokerId, GroupMember, Metadata, Offset, Topic, TopicPartition, Traffic};

/// Production is measured over about this much time.
const RATE_WINDOW_MS: i64 = 5 * 60 * 1000;

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

    pub fn name(self) -> &'static str {
        match self {
            Self::EndUnknown => "end_unknown",
            Self::TopicGone => "topic_gone",
            Self::AheadOfEnd => "ahead_of_end",
            Self::CommitUnknown => "commit_unknown",
        }
    }
}

/// A group, as the broker that keeps it lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: Arc<str>,
    /// `None` from brokers before Kafka 2.6.
    pub state: Option<String>,
    /// `classic`, `consumer`, `share` or `streams`; `None` from brokers before Kafka 3.7.
    pub kind: Option<String>,
    pub protocol_type: Option<String>,
    pub coordinator: BrokerId,
    /// Only where members were asked for.
    pub members: Option<Arc<[GroupMember]>>,
    pub assignor: Option<String>,
}

impl Group {
    /// Whether it has members, or may have: without a state, nobody can tell.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state.as_deref(), Some("Empty" | "Dead"))
    }
}

/// One group on one partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub group: Arc<str>,
    pub topic_partition: TopicPartition,
    pub committed: Offset,
    pub log_start_offset: Option<Offset>,
    pub end_offset: Option<Offset>,
    /// Records from the commit to the end.
    pub records: Result<u64, Reason>,
    /// Of the first unread record that is still there.
    pub time: Option<TimeLag>,
    pub motion: Motion,
    pub produced_per_second: Option<f64>,
    /// Until retention by time may take the first unread record, at the earliest.
    pub data_loss_ms: Option<i64>,
}

impl Row {
    /// Records that retention took before the group read them.
    pub fn records_lost(&self) -> Option<u64> {
        let start = self.log_start_offset?;
        Some(u64::try_from(start - self.committed).unwrap_or(0))
    }

    /// Records that are still there to be read.
    pub fn records_effective(&self) -> Option<u64> {
        let lag = self.records.ok()?;
        Some(lag.saturating_sub(self.records_lost().unwrap_or(0)))
    }

    /// Until the group is at the end, if both sides go on as they did; `None` when it comes no nearer.
    pub fn catch_up_seconds(&self) -> Option<f64> {
        let lag = self.records_effective()?;
        if lag == 0 {
            return Some(0.0);
        }
        let nearer = self.motion.consumed_per_second? - self.produced_per_second?;
        (nearer > 0.0).then(|| lag as f64 / nearer)
    }
}

/// What is counted of the monitor itself since it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cost {
    pub by_api: Vec<ApiStats>,
    pub traffic: Traffic,
    pub history_partitions: usize,
    pub history_samples: usize,
    pub history_bytes: usize,
    pub window_bytes: usize,
    /// Whether the store beside memory answered; `None` without one.
    pub store_answers: Option<bool>,
}

/// One sweep over all groups.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// Milliseconds since 1970.
    pub finished_ms: i64,
    pub took_ms: i64,
    /// How long after its end it speaks of the present. What comes after that is not known.
    pub good_for_ms: i64,
    /// Between the first commit read and the last end read: by so much may a lag be too large, never too small.
    pub skew_ms: i64,
    /// Sorted by name; also those that have committed nothing.
    pub groups: Vec<Group>,
    /// Sorted by group, topic and partition.
    pub rows: Vec<Row>,
    /// What failed, in words: a broker that did not answer, a group that may not be seen.
    pub failures: Vec<String>,
    /// Groups whose commits could not be read, all of them or some, and why: what is not in `rows` of them is not known.
    pub unread: BTreeMap<Arc<str>, String>,
    /// Brokers that have not said which groups they keep, in words; there may be groups that are not in `groups`.
    pub unlisted: Vec<String>,
    /// Share groups (KIP-932) have no committed offsets to read.
    pub share_groups: usize,
    pub breaks: Breaks,
    pub cost: Cost,
    /// What was known of the cluster.
    pub cluster: Arc<Metadata>,
}

/// Why a group has no rows in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    NothingCommitted,
    /// It may have committed something.
    Unknown(String),
}

/// The row that is furthest behind, of those whose lag is known; see [`Round::unknown`] for the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Worst {
    pub group: String,
    pub topic_partition: TopicPartition,
    pub records: u64,
    pub seconds: Option<f64>,
}

/// One group's rows as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Total<'a> {
    pub group: &'a Arc<str>,
    pub rows: &'a [Row],
    /// Over the rows where it is known; `None` when it is known of none.
    pub records: Option<u64>,
    /// Of the row that is furthest behind in time, by its lower bound, and by its most likely value.
    pub low_ms: Option<i64>,
    pub value_ms: Option<i64>,
    /// `None` as long as a row is furthest behind by more than is known.
    pub high_ms: Option<i64>,
    /// The worst of all rows.
    pub status: Option<Status>,
}

impl Round {
    pub fn age_ms(&self, now_ms: i64) -> u64 {
        u64::try_from(now_ms - self.finished_ms).unwrap_or(0)
    }

    /// Whether it still speaks of the present.
    pub fn is_current(&self, now_ms: i64) -> bool {
        now_ms - self.finished_ms <= self.good_for_ms
    }

    /// How many lags are not known for this reason. A group whose commits could not be read counts once, because how many
    /// partitions it reads is not known either.
    pub fn unknown_for(&self, reason: Reason) -> usize {
        match reason {
            Reason::CommitUnknown => self.unread.len(),
            reason => self.rows.iter().filter(|row| row.records == Err(reason)).count(),
        }
    }

    /// How many lags are not known.
    pub fn unknown(&self) -> usize {
        Reason::ALL.into_iter().map(|reason| self.unknown_for(reason)).sum()
    }

    pub fn worst(&self) -> Option<Worst> {
        let known = self.rows.iter().filter_map(|row| Some((row.records.ok()?, row)));
        let (records, row) = known.max_by_key(|(records, row)| (*records, row.time.map(|time| time.low_ms)))?;
        let seconds = row.time.and_then(|time| time.value_ms).map(|ms| ms as f64 / 1000.0);
        Some(Worst { group: row.group.to_string(), topic_partition: row.topic_partition.clone(), records, seconds })
    }

    /// Each group that has committed something, in order.
    pub fn totals(&self) -> impl Iterator<Item = Total<'_>> {
        self.rows.chunk_by(|a, b| a.group == b.group).filter_map(total)
    }

    /// One group's rows, or why there are none.
    pub fn total_of(&self, name: &str) -> Result<Total<'_>, Absent> {
        if let Some(total) = self.totals().find(|total| **total.group == *name) {
            return Ok(total);
        }
        Err(match self.unread.get(name) {
            Some(why) => Absent::Unknown(format!("the commits of group {name} could not be read: {why}")),
            None if self.group(name).is_none() && !self.unlisted.is_empty() => Absent::Unknown(format!(
                "not every broker has said which groups it keeps: {}",
                self.unlisted.join("; ")
            )),
            None => Absent::NothingCommitted,
        })
    }

    pub fn group(&self, name: &str) -> Option<&Group> {
        let at = self.groups.binary_search_by(|group| (*group.name).cmp(name)).ok()?;
        self.groups.get(at)
    }

    /// Every partition that some group has committed for, once.
    pub fn partitions(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by(|a, b| a.topic_partition.cmp(&b.topic_partition));
        rows.dedup_by(|a, b| a.topic_partition == b.topic_partition);
        rows
    }
}

fn total(rows: &[Row]) -> Option<Total<'_>> {
    let group = &rows.first()?.group;
    let times = || rows.iter().filter_map(|row| row.time);
    let bounded = times().all(|time| time.high_ms.is_some());
    Some(Total {
        group,
        rows,
        records: rows.iter().filter_map(|row| row.records.ok()).reduce(u64::saturating_add),
        low_ms: times().map(|time| time.low_ms).max(),
        value_ms: times().filter_map(|time| time.value_ms).max().filter(|_| bounded),
        high_ms: times().filter_map(|time| time.high_ms).max().filter(|_| bounded),
        status: rows.iter().filter_map(|row| row.motion.status).max(),
    })
}

/// What is joined into rows.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub committed: &'a [(Arc<str>, TopicPartition, Offset)],
    pub groups: &'a [Group],
    pub ends: &'a HashMap<TopicPartition, Result<Offset, Reason>>,
    pub log_starts: &'a HashMap<TopicPartition, Offset>,
    /// How long records are kept, of topics where nothing but time takes them.
    pub retention_ms: &'a HashMap<Topic, i64>,
    pub now_ms: i64,
}

/// Joins what was read: a row for each commit.
pub(super) fn rows(read: &Read<'_>, history: &History, tracks: &mut Tracks) -> Vec<Row> {
    let alive: HashMap<&str, bool> = read.groups.iter().map(|group| (&*group.name, group.is_alive())).collect();
    tracks.begin();
    let row = |(group, partition, committed): &(Arc<str>, TopicPartition, Offset)| {
        let row = row(read, history, group, partition, *committed);
        let alive = alive.get(&**group).copied().unwrap_or(true);
        let seen = Seen { at_ms: read.now_ms, committed: *committed, lag: row.records.ok(), alive };
        Row { motion: tracks.see(group, partition, seen), ..row }
    };
    let mut rows: Vec<Row> = read.committed.iter().map(row).collect();
    tracks.end();
    rows.sort_unstable_by(|a, b| (&a.group, &a.topic_partition).cmp(&(&b.group, &b.topic_partition)));
    rows
}

fn row(read: &Read<'_>, history: &History, group: &Arc<str>, partition: &TopicPartition, committed: Offset) -> Row {
    let end = read.ends.get(partition).copied().unwrap_or(Err(Reason::EndUnknown));
    let records = end.and_then(|end| u64::try_from(end - committed).map_err(|_| Reason::AheadOfEnd));
    // A log start from an earlier life would be above the end.
    let start = read.log_starts.get(partition).copied().filter(|start| end.is_ok_and(|end| *start <= end));
    let ring = history.of(partition).filter(|_| records.is_ok());
    let time = ring.and_then(|ring| estimate(ring, position(committed, start), read.now_ms));
    Row {
        group: Arc::clone(group),
        topic_partition: partition.clone(),
        committed,
        log_start_offset: start,
        end_offset: end.ok(),
        records,
        time,
        motion: Motion::default(),
        produced_per_second: ring.and_then(|ring| ring.produced_per_second(RATE_WINDOW_MS)),
        data_loss_ms: data_loss(time, read.retention_ms.get(&partition.topic).copied()),
    }
}

/// What retention took is not read any more: the first unread record is at the log's start.
pub(super) fn position(committed: Offset, log_start: Option<Offset>) -> Offset {
    log_start.map_or(committed, |start| committed.max(start))
}

/// Retention by time never takes a record that is younger than it, so the oldest that the record can be is what counts.
fn data_loss(time: Option<TimeLag>, retention_ms: Option<i64>) -> Option<i64> {
    let time = time.filter(|time| time.method != Method::CaughtUp)?;
    Some((retention_ms? - time.high_ms?).max(0))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::history::{Lineage, Sample};
    use super::*;

    /// A row of which nothing but its place is known.
    pub fn blank(group: &str, topic: &str, partition: i32) -> Row {
        Row {
            group: Arc::from(group),
            topic_partition: TopicPartition::new(topic, partition),
            committed: 5,
            log_start_offset: None,
            end_offset: None,
            records: Err(Reason::EndUnknown),
            time: None,
            motion: Motion::default(),
            produced_per_second: None,
            data_loss_ms: None,
        }
    }

    pub fn group(name: &str, state: &str) -> Group {
        Group {
            name: Arc::from(name),
            state: Some(state.to_owned()),
            kind: Some("classic".to_owned()),
            protocol_type: Some("consumer".to_owned()),
            coordinator: 1,
            members: None,
            assignor: None,
        }
    }

    #[test]
    fn a_row_for_each_commit() {
        let (known, gone) = (TopicPartition::new("t", 0), TopicPartition::new("gone", 0));
        let mut history = History::new(9);
        for (at, end_offset) in [(0, 5), (1_000, 100)] {
            history.add(&known, Sample { asked_ms: at, answered_ms: at + 10, end_offset }, Lineage::default());
        }
        let ends = HashMap::from([(known.clone(), Ok(100)), (gone.clone(), Err(Reason::TopicGone))]);
        let starts = HashMap::from([(known.clone(), 30)]);
        let retention = HashMap::from([(Topic::from("t"), 5_000)]);
        let check = |partition: &TopicPartition, committed, records, lost, method, loss| {
            let commit = [(Arc::from("g"), partition.clone(), committed)];
            let read = Read {
                committed: &commit,
                groups: &[],
                ends: &ends,
                log_starts: &starts,
                retention_ms: &retention,
                now_ms: 1_010,
            };
            let rows = rows(&read, &history, &mut Tracks::new(5));
            let row = &rows[0];
            assert_eq!((row.records, row.records_lost(), row.time.map(|t| t.method.name())), (records, lost, method));
            assert_eq!(row.data_loss_ms, loss, "{row:?}");
            assert!(row.records_effective() <= row.records.ok());
        };
        check(&known, 100, Ok(0), Some(0), Some("caught_up"), None);
        check(&known, 60, Ok(40), Some(0), Some("sampled"), Some(3_990));
        // What is lost has no age any more; the first that is left has one.
        check(&known, 3, Ok(97), Some(27), Some("sampled"), Some(3_990));
        check(&known, 101, Err(Reason::AheadOfEnd), Some(0), None, None);
        check(&gone, 7, Err(Reason::TopicGone), None, None, None);
        check(&TopicPartition::new("silent", 0), 7, Err(Reason::EndUnknown), None, None, None);
    }

    #[test]
    fn what_is_lost_is_no_lag_that_can_be_worked_off() {
        let check = |committed, start, lag, consumed, produced, effective, catch_up| {
            let row = Row {
                committed,
                log_start_offset: start,
                records: Ok(lag),
                motion: Motion { consumed_per_second: consumed, ..Motion::default() },
                produced_per_second: produced,
                ..blank("g", "t", 0)
            };
            assert_eq!((row.records_effective(), row.catch_up_seconds()), (effective, catch_up), "{row:?}");
        };
        check(10, Some(40), 90, Some(15.0), Some(5.0), Some(60), Some(6.0));
        check(10, Some(0), 90, Some(15.0), Some(5.0), Some(90), Some(9.0));
        check(10, None, 90, Some(5.0), Some(5.0), Some(90), None);
        check(10, None, 90, None, Some(5.0), Some(90), None);
        check(10, None, 0, None, None, Some(0), Some(0.0));
    }

    #[test]
    fn totals_are_of_what_is_known() {
        let time = |low_ms, value_ms, high_ms, method| Some(TimeLag { method, low_ms, value_ms, high_ms });
        let sampled = time(100, Some(150), Some(200), Method::Sampled);
        let beyond = time(900, None, None, Method::BeyondHistory);
        let row = |group: &str, partition, records, time| Row { records, time, ..blank(group, "t", partition) };
        let rows = vec![
            row("a", 0, Ok(3), sampled),
            row("a", 1, Err(Reason::EndUnknown), None),
            row("b", 0, Ok(3), sampled),
            row("b", 1, Ok(4), beyond),
            row("c", 0, Err(Reason::EndUnknown), None),
        ];
        let round = Round { rows, ..Round::default() };
        let totals: Vec<_> =
            round.totals().map(|it| (&**it.group, it.records, it.low_ms, it.value_ms, it.high_ms)).collect();
        let a = ("a", Some(3), Some(100), Some(150), Some(200));
        assert_eq!(totals, [a, ("b", Some(7), Some(900), None, None), ("c", None, None, None, None)]);
    }

    #[test]
    fn a_group_is_absent_only_when_that_is_known() {
        let listed = Round {
            rows: vec![blank("read", "t", 0)],
            groups: vec![group("idle", "Empty"), group("read", "Stable"), group("silent", "Stable")],
            unread: BTreeMap::from([(Arc::from("silent"), "timed out".to_owned())]),
            ..Round::default()
        };
        let partly = Round { unlisted: vec!["broker 2: refused".to_owned()], ..listed.clone() };
        let check = |round: &Round, name: &str, want: Result<usize, Absent>| {
            assert_eq!(round.total_of(name).map(|total| total.rows.len()), want, "{name}");
        };
        let unknown = |why: &str| Err(Absent::Unknown(why.to_owned()));
        for round in [&listed, &partly] {
            check(round, "read", Ok(1));
            check(round, "idle", Err(Absent::NothingCommitted));
            check(round, "silent", unknown("the commits of group silent could not be read: timed out"));
            assert_eq!((round.unknown(), round.unknown_for(Reason::CommitUnknown)), (2, 1));
        }
        check(&listed, "other", Err(Absent::NothingCommitted));
        check(&partly, "other", unknown("not every broker has said which groups it keeps: broker 2: refused"));
    }

    #[test]
    fn the_worst_row_is_the_one_with_the_most_records() {
        let row = |group: &str, records| Row { records, ..blank(group, "t", 0) };
        let round = |rows| Round { rows, ..Round::default() };
        assert_eq!(round(vec![]).worst(), None);
        assert_eq!(round(vec![row("a", Err(Reason::EndUnknown))]).worst(), None);
        let worst = round(vec![row("a", Ok(3)), row("b", Ok(9)), row("c", Err(Reason::AheadOfEnd))]).worst();
        assert_eq!(worst.map(|worst| (worst.group, worst.records)), Some(("b".to_owned(), 9)));
    }
}
