//! The time ladder: what Kafka's own time index says of the time before the first sample. Pure but for the asking, which
//! is the collector's.
//!
//! ListOffsets for a timestamp T answers the first record with a timestamp of at least T, so all records below it were
//! stamped before T. A few such times, each one request a leader for all partitions together, are a history of days, had
//! in the first round and without a store. Only partitions with a reader behind the first sample are asked about, and only
//! once in a life, or a few times if some of it was not answered.

use std::time::Duration;

use super::history::Probe;
use crate::client::Offset;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// How far back the rungs are, nearest first.
pub(super) const RUNGS: [Duration; 8] = [
    Duration::from_secs(15),
    Duration::from_secs(MINUTE),
    Duration::from_secs(5 * MINUTE),
    Duration::from_secs(30 * MINUTE),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(12 * HOUR),
    Duration::from_secs(48 * HOUR),
    Duration::from_secs(7 * 24 * HOUR),
];

/// The times to ask about.
pub(super) fn rungs(now_ms: i64) -> impl Iterator<Item = i64> {
    RUNGS.iter().filter_map(move |back| Some(now_ms - i64::try_from(back.as_millis()).ok()?)).filter(|time| *time > 0)
}

/// What an answer for `time_ms` proves. No record that late: all below the end that was known before are older.
pub(super) fn probe(time_ms: i64, answered: Option<Offset>, end_offset: Offset) -> Probe {
    Probe { time_ms, offset: answered.unwrap_or(end_offset).min(end_offset) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_reach_back_and_never_before_time() {
        assert_eq!(rungs(100_000).collect::<Vec<_>>(), [85_000, 40_000]);
        assert_eq!(rungs(1_790_000_000_000).count(), RUNGS.len());
    }

    #[test]
    fn what_an_answer_proves() {
        let check = |answered, end, want| assert_eq!(probe(7, answered, end), Probe { time_ms: 7, offset: want });
        check(Some(3), 9, 3);
        check(None, 9, 9);
        // Appended since the end was read, and stamped before.
        check(Some(12), 9, 9);
    }
}
