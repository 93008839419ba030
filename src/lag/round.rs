//! What one sweep found: rows, and the words for what could not be known. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::history::Breaks;
use super::nodes::Hold;
use super::row::{Partition, Reading, Reason, Row, Sum};
use crate::client::{ApiStats, BrokerId, Error, GroupMember, LogDir, Metadata, Topic, TopicPartition};

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
    /// Whether it shares partitions among its members (KIP-932), and so has no committed offsets.
    pub fn is_share(&self) -> bool {
        self.kind.as_deref() == Some("share")
    }

    /// Who reads which partition, where members were asked for. In a share group, nobody has one of its own.
    pub(super) fn readers(&self) -> impl Iterator<Item = (&TopicPartition, &GroupMember)> {
        let members = self.members.as_deref().filter(|_| !self.is_share()).unwrap_or_default();
        members.iter().flat_map(|member| member.assignment.iter().map(move |of| (of, member)))
    }

    /// Whether it has members, or may have: without a state, nobody can tell.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state.as_deref(), Some("Empty" | "Dead"))
    }
}

/// What is counted of the monitor itself since it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cost {
    pub by_api: Vec<ApiStats>,
    pub history_partitions: usize,
    pub history_samples: usize,
    pub history_bytes: usize,
    pub window_bytes: usize,
    /// Whether the store beside memory answered; `None` without one.
    pub store_answers: Option<bool>,
}

/// What brokers have on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogDirs {
    /// Of brokers that have said it of all their directories.
    pub brokers: BTreeMap<BrokerId, u64>,
    /// Of all replicas together; empty unless all brokers have said it.
    pub topics: BTreeMap<Topic, u64>,
}

impl LogDirs {
    pub(super) fn of(described: Vec<(BrokerId, Result<Vec<LogDir>, Error>)>) -> Self {
        let mut all = Self::default();
        let mut is_whole = true;
        for (broker, dirs) in described {
            let Some(dirs) = dirs.ok().filter(|dirs| dirs.iter().all(|dir| dir.error.is_none())) else {
                is_whole = false;
                continue;
            };
            let replicas = dirs.iter().flat_map(|dir| &dir.partitions);
            let sum = all.brokers.entry(broker).or_default();
            for replica in replicas {
                *sum += replica.bytes;
                *all.topics.entry(replica.topic_partition.topic.clone()).or_default() += replica.bytes;
            }
        }
        if !is_whole {
            all.topics.clear();
        }
        all
    }
}

/// One sweep over all groups.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// By the steady clock, which nobody sets ([`Clock`](super::clock)).
    pub finished_ms: i64,
    /// By how much the wall's clock was ahead of that.
    pub wall_ahead_ms: i64,
    /// How often the wall's clock was set while the monitor ran.
    pub clock_jumps: u64,
    pub took_ms: i64,
    /// How long after its end it speaks of the present. What comes after that is not known.
    pub good_for_ms: i64,
    /// Between the first commit read and the last end read: by so much may a lag be too large, never too small.
    pub skew_ms: i64,
    /// Sorted by name; also those that have committed nothing.
    pub groups: Vec<Group>,
    /// How many groups brokers have listed, also those of other nodes.
    pub listed: usize,
    /// What this node may tell, where it shares the groups with others.
    pub hold: Option<Arc<Hold>>,
    /// Every partition that some group has committed for, once, in order.
    pub partitions: Vec<Partition>,
    /// Every other partition there is, in order, where another exporter's families tell of them.
    pub others: Vec<Partition>,
    /// What groups have committed on topics, in order; their [rows](Round::rows) are in order of the partitions.
    pub readings: Vec<Reading>,
    /// How many entries a full window has.
    pub window_max: u16,
    /// What failed, in words: a broker that did not answer, a group that may not be seen.
    pub failures: Vec<String>,
    /// Groups whose commits could not be read, all of them or some, and why: what has no row of them is not known.
    pub unread: BTreeMap<Arc<str>, String>,
    /// Brokers that have not said which groups they keep, in words; there may be groups that are not in `groups`.
    pub unlisted: Vec<String>,
    pub breaks: Breaks,
    pub cost: Cost,
    /// What was known of the cluster.
    pub cluster: Arc<Metadata>,
    pub cleanup_policies: Arc<HashMap<Topic, String>>,
    /// `None` where nobody asked.
    pub log_dirs: Option<Arc<LogDirs>>,
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
#[derive(Debug, Clone, Copy)]
pub struct Total<'a> {
    pub(super) round: &'a Round,
    pub group: &'a Arc<str>,
    /// By topic.
    pub readings: &'a [Reading],
    pub sum: Sum,
}

impl<'a> Total<'a> {
    fn of(round: &'a Round, readings: &'a [Reading]) -> Option<Self> {
        let mut sum = Sum::default();
        readings.iter().for_each(|reading| sum.merge(&reading.sum));
        Some(Self { round, group: &readings.first()?.group, readings, sum })
    }

    pub fn rows(&self) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let round = self.round;
        self.readings.iter().flat_map(|reading| round.rows_of(reading))
    }
}

impl Round {
    pub fn age_ms(&self, now_ms: i64) -> u64 {
        u64::try_from(now_ms - self.finished_ms).unwrap_or(0)
    }

    /// Whether it still speaks of the present.
    pub fn is_current(&self, now_ms: i64) -> bool {
        now_ms - self.finished_ms <= self.good_for_ms
    }

    /// A time of this round as others would read it off the wall.
    pub fn on_the_wall(&self, steady_ms: i64) -> i64 {
        steady_ms.saturating_add(self.wall_ahead_ms)
    }

    /// Each group on each partition that it has committed for, in order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.readings.iter().flat_map(|reading| self.rows_of(reading))
    }

    /// What is known of a topic's partitions: of those that some group has committed for, and of the others.
    pub(super) fn partitions_of(&self, topic: &Topic) -> impl Iterator<Item = &Partition> {
        let of_topic = |all: &'_ [Partition]| {
            let begin = all.partition_point(|it| it.topic < *topic);
            begin..begin + all[begin..].partition_point(|it| it.topic == *topic)
        };
        self.partitions[of_topic(&self.partitions)].iter().chain(&self.others[of_topic(&self.others)])
    }

    pub fn row_count(&self) -> usize {
        self.readings.iter().map(|reading| reading.cells.len()).sum()
    }

    pub fn rows_of<'a>(&'a self, reading: &'a Reading) -> impl Iterator<Item = Row<'a>> + use<'a> {
        let (now_ms, window_max) = (self.finished_ms, self.window_max);
        reading.cells.iter().filter_map(move |cell| {
            let place = self.partitions.get(cell.place as usize)?;
            Some(Row { reading, place, cell, now_ms, window_max })
        })
    }

    /// How many lags are not known for this reason. A group whose commits could not be read counts once, because how many
    /// partitions it reads is not known either.
    pub fn unknown_for(&self, reason: Reason) -> usize {
        match reason {
            Reason::CommitUnknown => self.unread.len(),
            reason => self.readings.iter().map(|reading| reading.sum.unknown[reason as usize] as usize).sum(),
        }
    }

    /// How many lags are not known.
    pub fn unknown(&self) -> usize {
        Reason::ALL.into_iter().map(|reason| self.unknown_for(reason)).sum()
    }

    pub fn worst(&self) -> Option<Worst> {
        let known = self.rows().filter_map(|row| Some((row.records().ok()?, row)));
        let (records, row) = known.max_by_key(|(records, row)| (*records, row.time().map(|time| time.low_ms)))?;
        let seconds = row.time().and_then(|time| time.value_ms).map(|ms| ms as f64 / 1000.0);
        Some(Worst { group: row.group().to_string(), topic_partition: row.topic_partition(), records, seconds })
    }

    /// Each group that has committed something, in order.
    pub fn totals(&self) -> impl Iterator<Item = Total<'_>> {
        self.readings.chunk_by(|a, b| a.group == b.group).filter_map(|readings| Total::of(self, readings))
    }

    /// One group's rows, or why there are none.
    pub fn total_of(&self, name: &str) -> Result<Total<'_>, Absent> {
        let begin = self.readings.partition_point(|reading| *reading.group < *name);
        let end = self.readings.partition_point(|reading| *reading.group <= *name);
        if let Some(total) = Total::of(self, &self.readings[begin..end]) {
            return Ok(total);
        }
        if let Some(hold) = self.hold.as_ref().filter(|hold| !hold.tells(name)) {
            let owner = hold.owner(name).map_or("another", |owner| &*owner.name);
            return Err(Absent::Unknown(format!("group {name} is node {owner}'s to tell")));
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

    /// Groups whose commits could not be read, all of them or some: no sum of theirs is whole.
    pub(super) fn with_unread(mut self, unread: BTreeMap<Arc<str>, String>) -> Self {
        if !unread.is_empty() {
            let of_unread = self.readings.iter_mut().filter(|reading| unread.contains_key(&reading.group));
            of_unread.for_each(|reading| reading.sum = reading.sum.lacking_commits());
        }
        Self { unread, ..self }
    }

    /// Only the groups that a node may tell.
    pub(super) fn told_by(&self, hold: &Arc<Hold>) -> Self {
        let unread = self.unread.iter().filter(|(group, _)| hold.tells(group));
        Self {
            groups: self.groups.iter().filter(|group| hold.tells(&group.name)).cloned().collect(),
            readings: self.readings.iter().filter(|reading| hold.tells(&reading.group)).cloned().collect(),
            unread: unread.map(|(group, why)| (Arc::clone(group), why.clone())).collect(),
            hold: Some(Arc::clone(hold)),
            partitions: self.partitions.clone(),
            others: self.others.clone(),
            failures: self.failures.clone(),
            unlisted: self.unlisted.clone(),
            cost: self.cost.clone(),
            cluster: Arc::clone(&self.cluster),
            cleanup_policies: Arc::clone(&self.cleanup_policies),
            log_dirs: self.log_dirs.clone(),
            ..*self
        }
    }

    pub(super) fn sum_of(&self, reading: &Reading) -> Sum {
        let mut sum = Sum::default();
        self.rows_of(reading).for_each(|row| sum.add(&row));
        sum
    }

    pub fn group(&self, name: &str) -> Option<&Group> {
        let at = self.groups.binary_search_by(|group| (*group.name).cmp(name)).ok()?;
        self.groups.get(at)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::estimate::{Method, TimeLag};
    use super::super::row::Cell;
    use super::super::status::Commit;
    use super::super::window::tests::window;
    use super::*;
    use crate::client::{ErrorKind, Offset, PartitionSize};

    /// A row as a test says it.
    #[derive(Debug, Clone)]
    pub struct Plain {
        pub group: &'static str,
        pub topic: &'static str,
        pub partition: i32,
        pub committed: Offset,
        pub log_start_offset: Option<Offset>,
        pub records: Result<u64, Reason>,
        pub time: Option<TimeLag>,
        pub produced_per_second: Option<f64>,
        pub retention_ms: Option<i64>,
        pub window: Vec<Commit>,
    }

    /// A row of which nothing but its place is known.
    pub fn blank(group: &'static str, topic: &'static str, partition: i32) -> Plain {
        Plain {
            group,
            topic,
            partition,
            committed: 5,
            log_start_offset: None,
            records: Err(Reason::EndUnknown),
            time: None,
            produced_per_second: None,
            retention_ms: None,
            window: vec![],
        }
    }

    /// A round of these rows; what they say of one partition must agree.
    pub fn round(rows: &[Plain]) -> Round {
        let places: BTreeMap<(&str, i32), &Plain> = rows.iter().map(|it| ((it.topic, it.partition), it)).collect();
        let place_of: HashMap<_, _> = places.keys().copied().zip(0..).collect();
        let partition = |it: &&Plain| Partition {
            topic: it.topic.into(),
            partition: it.partition,
            end: it.records.map(|records| it.committed + records.cast_signed()),
            log_start_offset: it.log_start_offset,
            stable_offset: None,
            undecided: None,
            produced_per_second: it.produced_per_second,
            retention_ms: it.retention_ms,
            tail: None,
        };
        let mut cells: BTreeMap<(&str, &str), Vec<Cell>> = BTreeMap::new();
        for it in rows {
            let mut cell = Cell::new(it.partition, place_of[&(it.topic, it.partition)], it.committed, it.time);
            cell.window = window(&it.window);
            cells.entry((it.group, it.topic)).or_default().push(cell);
        }
        let reading = |((group, topic), cells): ((&str, &str), Vec<Cell>)| Reading {
            group: group.into(),
            topic: topic.into(),
            cells: cells.into(),
            sum: Sum::default(),
        };
        let partitions = places.values().map(partition).collect();
        let mut round = Round {
            partitions,
            readings: cells.into_iter().map(reading).collect(),
            window_max: 10,
            ..Round::default()
        };
        let sums: Vec<Sum> = round.readings.iter().map(|reading| round.sum_of(reading)).collect();
        round.readings.iter_mut().zip(sums).for_each(|(reading, sum)| reading.sum = sum);
        round
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

    /// Streams groups have states that no other group has (KIP-1071).
    #[test]
    fn only_groups_without_members_are_not_alive() {
        let check = |state: Option<&str>, want| {
            let group = Group { state: state.map(str::to_owned), ..group("g", "") };
            assert_eq!(group.is_alive(), want, "{state:?}");
        };
        for state in ["Stable", "PreparingRebalance", "Assigning", "Reconciling", "NotReady"] {
            check(Some(state), true);
        }
        check(Some("Empty"), false);
        check(Some("Dead"), false);
        check(None, true);
    }

    #[test]
    fn totals_are_of_all_rows_or_of_none() {
        let time = |low_ms, value_ms, high_ms, method| Some(TimeLag { method, low_ms, value_ms, high_ms });
        let sampled = time(100, Some(150), Some(200), Method::Sampled);
        let beyond = time(900, None, None, Method::BeyondHistory);
        // Two records a second were consumed, and one was produced.
        let commit = |at_ms, offset| Commit { at_ms, offset, lag: 3 };
        let window = vec![commit(-1_000, 3), commit(0, 5)];
        let row = |group, partition, records, time| Plain {
            records,
            time,
            produced_per_second: Some(1.0),
            window: window.clone(),
            ..blank(group, "t", partition)
        };
        let rows = vec![
            row("a", 0, Ok(3), sampled),
            row("a", 1, Err(Reason::EndUnknown), None),
            row("b", 0, Ok(3), sampled),
            row("b", 2, Ok(4), beyond),
            row("c", 1, Err(Reason::EndUnknown), None),
            row("d", 0, Ok(3), sampled),
            Plain { records: Err(Reason::TopicGone), ..blank("d", "gone", 0) },
            row("e", 0, Ok(3), sampled),
        ];
        let unread = BTreeMap::from([(Arc::from("e"), "refused".to_owned())]);
        let round = round(&rows).with_unread(unread);
        let rates: Vec<_> =
            round.totals().map(|it| (it.sum.consumed_per_second(), it.sum.catch_up_seconds())).collect();
        assert_eq!(rates, [(None, None), (Some(4.0), Some(4.0)), (None, None), (Some(2.0), Some(3.0)), (None, None)]);
        let total = |it: Total<'_>| {
            let sum = it.sum;
            (it.group.to_string(), sum.records(), sum.low_ms(), sum.value_ms(), sum.high_ms())
        };
        let totals: Vec<_> = round.totals().map(total).collect();
        let want = |group: &str, records, low, value, high| (group.to_owned(), records, low, value, high);
        let want = [
            // What is known of one row bounds the group from below, and nothing else.
            want("a", None, Some(100), None, None),
            want("b", Some(7), Some(900), None, None),
            want("c", None, None, None, None),
            // A partition that does not exist has no records.
            want("d", Some(3), Some(100), Some(150), Some(200)),
            want("e", None, Some(100), None, None),
        ];
        assert_eq!(totals, want);
        let unknown: Vec<_> = round.totals().map(|it| (it.sum.unknown_rows(), it.sum.why_unknown())).collect();
        let (end, commit) = (Some(Reason::EndUnknown), Some(Reason::CommitUnknown));
        assert_eq!(unknown, [(1, end), (0, None), (1, end), (0, None), (1, commit)]);
        assert_eq!((round.unknown_for(Reason::EndUnknown), round.unknown()), (2, 4));
    }

    #[test]
    fn a_group_is_absent_only_when_that_is_known() {
        let listed = Round {
            groups: vec![group("idle", "Empty"), group("read", "Stable"), group("silent", "Stable")],
            unread: BTreeMap::from([(Arc::from("silent"), "timed out".to_owned())]),
            ..round(&[blank("read", "t", 0)])
        };
        let partly = Round { unlisted: vec!["broker 2: refused".to_owned()], ..listed.clone() };
        let check = |round: &Round, name: &str, want: Result<usize, Absent>| {
            assert_eq!(round.total_of(name).map(|total| total.rows().count()), want, "{name}");
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
    fn topics_have_a_size_only_if_all_their_replicas_were_counted() {
        let dir = |bytes, error| LogDir {
            path: "/d".to_owned(),
            error,
            total_bytes: None,
            usable_bytes: None,
            partitions: vec![PartitionSize {
                topic_partition: TopicPartition::new("t", 0),
                bytes,
                offset_lag: 0,
                is_future: false,
            }],
        };
        let check = |second: Result<Vec<LogDir>, Error>, brokers: &[(i32, u64)], topics: &[(&str, u64)]| {
            let said = format!("{second:?}");
            let dirs = LogDirs::of(vec![(1, Ok(vec![dir(5, None), dir(6, None)])), (2, second)]);
            assert!(dirs.brokers.iter().map(|(id, bytes)| (*id, *bytes)).eq(brokers.iter().copied()), "{said}");
            assert!(dirs.topics.iter().map(|(it, bytes)| (it.as_str(), *bytes)).eq(topics.iter().copied()), "{said}");
        };
        check(Ok(vec![dir(7, None)]), &[(1, 11), (2, 7)], &[("t", 18)]);
        check(Ok(vec![]), &[(1, 11), (2, 0)], &[("t", 11)]);
        check(Ok(vec![dir(7, Some(crate::client::ErrorCode::KAFKA_STORAGE_ERROR))]), &[(1, 11)], &[]);
        check(Err(Error::new(ErrorKind::NoLeader)), &[(1, 11)], &[]);
    }

    #[test]
    fn the_worst_row_is_the_one_with_the_most_records() {
        let row = |group, partition, records| Plain { records, ..blank(group, "t", partition) };
        assert_eq!(round(&[]).worst(), None);
        assert_eq!(round(&[row("a", 0, Err(Reason::EndUnknown))]).worst(), None);
        let rows = [row("a", 0, Ok(3)), row("b", 1, Ok(9)), row("c", 2, Err(Reason::AheadOfEnd))];
        let worst = round(&rows).worst();
        assert_eq!(worst.map(|worst| (worst.group, worst.records)), Some(("b".to_owned(), 9)));
    }
}
