//! What one sweep found: rows, and the words for what could not be known. Pure.

use std::collections::HashMap;

use super::estimate::{TimeLag, estimate};
use super::history::History;
use crate::client::{Offset, TopicPartition};

/// Why a lag is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The partition's leader did not answer, or the topic is gone.
    EndUnknown,
    /// The commit is above the end: the topic was made anew, or its log truncated.
    AheadOfEnd,
}

impl Reason {
    pub const ALL: [Self; 2] = [Self::EndUnknown, Self::AheadOfEnd];

    pub fn name(self) -> &'static str {
        match self {
            Self::EndUnknown => "end_unknown",
            Self::AheadOfEnd => "ahead_of_end",
        }
    }
}

/// One group on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub group: String,
    pub topic_partition: TopicPartition,
    pub committed: Offset,
    pub log_start_offset: Option<Offset>,
    pub end_offset: Option<Offset>,
    /// Records from the commit to the end.
    pub records: Result<u64, Reason>,
    pub time: Option<TimeLag>,
}

impl Row {
    /// Records that retention took before the group read them.
    pub fn records_lost(&self) -> Option<u64> {
        self.log_start_offset.map(|start| u64::try_from(start - self.committed).unwrap_or(0))
    }
}

/// One sweep over all groups.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Round {
    /// Milliseconds since 1970.
    pub finished_ms: i64,
    pub took_ms: i64,
    /// Between the first commit read and the last end read: by so much may a lag be too large, never too small.
    pub skew_ms: i64,
    pub groups: usize,
    /// Sorted by group, topic and partition.
    pub rows: Vec<Row>,
    /// What failed, in words: a broker that did not answer, a group that may not be seen.
    pub failures: Vec<String>,
    pub history_partitions: usize,
    pub history_samples: usize,
    pub rewound: u64,
}

/// The row that is furthest behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Worst {
    pub group: String,
    pub topic_partition: TopicPartition,
    pub records: u64,
    pub seconds: Option<f64>,
}

impl Round {
    pub fn worst(&self) -> Option<Worst> {
        let known = self.rows.iter().filter_map(|row| Some((row.records.ok()?, row)));
        let (records, row) = known.max_by_key(|(records, row)| (*records, row.time.map(|time| time.low_ms)))?;
        let seconds = row.time.and_then(|time| time.value_ms).map(|ms| ms as f64 / 1000.0);
        Some(Worst { group: row.group.clone(), topic_partition: row.topic_partition.clone(), records, seconds })
    }
}

/// Joins what was read: a row for each commit.
pub fn rows(
    committed: &[(String, TopicPartition, Offset)],
    ends: &HashMap<TopicPartition, Offset>,
    log_starts: &HashMap<TopicPartition, Offset>,
    history: &History,
    now_ms: i64,
) -> Vec<Row> {
    let mut rows: Vec<Row> = committed
        .iter()
        .map(|(group, partition, committed)| {
            let end_offset = ends.get(partition).copied();
            let records = records(*committed, end_offset);
            let samples = history.of(partition).filter(|_| records.is_ok());
            Row {
                group: group.clone(),
                topic_partition: partition.clone(),
                committed: *committed,
                log_start_offset: log_starts.get(partition).copied(),
                end_offset,
                records,
                time: samples.and_then(|samples| estimate(samples, *committed, now_ms)),
            }
        })
        .collect();
    rows.sort_by(|a, b| (&a.group, &a.topic_partition).cmp(&(&b.group, &b.topic_partition)));
    rows
}

fn records(committed: Offset, end_offset: Option<Offset>) -> Result<u64, Reason> {
    let end_offset = end_offset.ok_or(Reason::EndUnknown)?;
    u64::try_from(end_offset - committed).map_err(|_| Reason::AheadOfEnd)
}

#[cfg(test)]
mod tests {
    use super::super::history::Sample;
    use super::*;

    #[test]
    fn a_row_for_each_commit() {
        let (known, gone) = (TopicPartition::new("t", 0), TopicPartition::new("gone", 0));
        let mut history = History::new(9);
        history.add(&known, Sample { asked_ms: 0, answered_ms: 10, end_offset: 5 });
        history.add(&known, Sample { asked_ms: 1_000, answered_ms: 1_010, end_offset: 100 });
        let ends = HashMap::from([(known.clone(), 100)]);
        let starts = HashMap::from([(known.clone(), 30)]);
        let check = |partition: &TopicPartition, committed, records, lost, method| {
            let commit = [("g".to_owned(), partition.clone(), committed)];
            let rows = rows(&commit, &ends, &starts, &history, 1_010);
            let row = &rows[0];
            assert_eq!((row.records, row.records_lost(), row.time.map(|t| t.method.name())), (records, lost, method));
        };
        check(&known, 100, Ok(0), Some(0), Some("caught_up"));
        check(&known, 60, Ok(40), Some(0), Some("sampled"));
        check(&known, 3, Ok(97), Some(27), Some("beyond_history"));
        check(&known, 101, Err(Reason::AheadOfEnd), Some(0), None);
        check(&gone, 7, Err(Reason::EndUnknown), None, None);
    }

    #[test]
    fn the_worst_row_is_the_one_with_the_most_records() {
        let row = |group: &str, records| Row {
            group: group.to_owned(),
            topic_partition: TopicPartition::new("t", 0),
            committed: 0,
            log_start_offset: None,
            end_offset: None,
            records,
            time: None,
        };
        let round = |rows| Round { rows, ..Round::default() };
        assert_eq!(round(vec![]).worst(), None);
        assert_eq!(round(vec![row("a", Err(Reason::EndUnknown))]).worst(), None);
        let worst = round(vec![row("a", Ok(3)), row("b", Ok(9)), row("c", Err(Reason::AheadOfEnd))]).worst();
        assert_eq!(worst.map(|worst| (worst.group, worst.records)), Some(("b".to_owned(), 9)));
    }
}
