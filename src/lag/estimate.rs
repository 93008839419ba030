//! How old the first unread record is: an interval that can be proven from samples of the end offset. Pure.
//!
//! If the end offset was at most C in one sample and more than C in the next, the record at offset C became visible after
//! the first was asked for and before the second was answered. Only the monitor's own clock is used; no producer's.
//!
//! For records older than the first sample, Kafka's own time index is asked ([`super::ladder`]). What it says is about the
//! records' timestamps, not about when they became visible, so such an interval is as good as the timestamps are: it holds
//! where they grow with the offset, as under LogAppendTime. It has a method of its own for that reason.

use super::history::{Ring, Sample};
use crate::client::Offset;

/// How the time lag was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The group has read everything.
    CaughtUp,
    /// Between two samples.
    Sampled,
    /// Between two times that Kafka's time index was asked about.
    TimestampProbe,
    /// The first unread record is older than all that is known: only the lower bound is.
    BeyondHistory,
}

impl Method {
    pub const ALL: [Self; 4] = [Self::CaughtUp, Self::Sampled, Self::TimestampProbe, Self::BeyondHistory];

    pub fn name(self) -> &'static str {
        match self {
            Self::CaughtUp => "caught_up",
            Self::Sampled => "sampled",
            Self::TimestampProbe => "timestamp_probe",
            Self::BeyondHistory => "beyond_history",
        }
    }
}

/// The age of the first unread record, in milliseconds: surely at least `low` and at most `high`, most likely `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLag {
    pub method: Method,
    pub low_ms: i64,
    pub value_ms: Option<i64>,
    pub high_ms: Option<i64>,
}

/// `position` is the offset of the first unread record; the last sample says whether there is one. `None` without samples, and
/// where a new leader has not said yet whether its log goes on from what is known.
pub fn estimate(ring: &Ring, position: Offset, now_ms: i64) -> Option<TimeLag> {
    let last = ring.last()?;
    if position >= last.end_offset {
        return Some(TimeLag { method: Method::CaughtUp, low_ms: 0, value_ms: Some(0), high_ms: Some(0) });
    }
    if ring.is_doubted() {
        return None;
    }
    let seen = ring.ending_by(position);
    let after = ring.sample(seen)?;
    match seen.checked_sub(1).and_then(|index| ring.sample(index)) {
        Some(before) => Some(between(Method::Sampled, &before, &after, position, now_ms)),
        None => Some(by_time_index(ring, &after, position, now_ms)),
    }
}

/// A probe is read as a sample that was taken at its time.
fn by_time_index(ring: &Ring, first: &Sample, position: Offset, now_ms: i64) -> TimeLag {
    let probes = ring.probes();
    let sample = |index: usize| {
        let probe = probes.get(index)?;
        Some(Sample { asked_ms: probe.time_ms, answered_ms: probe.time_ms, end_offset: probe.offset })
    };
    let seen = probes.partition_point(|probe| probe.offset <= position);
    let after = sample(seen).unwrap_or(*first);
    match seen.checked_sub(1).and_then(sample) {
        Some(before) => between(Method::TimestampProbe, &before, &after, position, now_ms),
        None => {
            let low_ms = (now_ms - after.answered_ms).max(0);
            TimeLag { method: Method::BeyondHistory, low_ms, value_ms: None, high_ms: None }
        }
    }
}

fn between(method: Method, before: &Sample, after: &Sample, position: Offset, now_ms: i64) -> TimeLag {
    let low_ms = (now_ms - after.answered_ms).max(0);
    let high_ms = (now_ms - before.asked_ms).max(low_ms);
    let value_ms = (now_ms - interpolate(before, after, position)).clamp(low_ms, high_ms);
    TimeLag { method, low_ms, value_ms: Some(value_ms), high_ms: Some(high_ms) }
}

/// When the record at `offset` appeared, if records came evenly between the two samples.
fn interpolate(before: &Sample, after: &Sample, offset: Offset) -> i64 {
    let share = (offset + 1 - before.end_offset) as f64 / (after.end_offset - before.end_offset) as f64;
    before.asked_ms + ((after.answered_ms - before.asked_ms) as f64 * share) as i64
}

#[cfg(test)]
mod tests {
    use super::super::history::{History, Lineage, Probe};
    use super::*;
    use crate::client::TopicPartition;

    fn ring(samples: &[(i64, i64, Offset)], probes: &[(i64, Offset)]) -> Ring {
        let (mut history, partition) = (History::new(99), TopicPartition::new("t", 0));
        for &(asked_ms, answered_ms, end_offset) in samples {
            history.add(&partition, Sample { asked_ms, answered_ms, end_offset }, Lineage::default());
        }
        if !probes.is_empty() {
            let probes = probes.iter().map(|&(time_ms, offset)| Probe { time_ms, offset });
            history.climbed(&partition, probes.collect(), true);
        }
        history.of(&partition).cloned().unwrap_or_default()
    }

    #[test]
    fn intervals() {
        let samples = [(0, 10, 100), (1_000, 1_010, 200), (2_000, 2_010, 200), (3_000, 3_010, 300)];
        let check = |ring: &Ring, position, method, low_ms, value_ms, high_ms| {
            let want = TimeLag { method, low_ms, value_ms, high_ms };
            assert_eq!(estimate(ring, position, 3_010), Some(want), "position {position}");
        };
        let sampled = ring(&samples, &[]);
        check(&sampled, 300, Method::CaughtUp, 0, Some(0), Some(0));
        check(&sampled, 400, Method::CaughtUp, 0, Some(0), Some(0));
        check(&sampled, 299, Method::Sampled, 0, Some(0), Some(1_010));
        check(&sampled, 200, Method::Sampled, 0, Some(1_000), Some(1_010));
        check(&sampled, 149, Method::Sampled, 2_000, Some(2_505), Some(3_010));
        check(&sampled, 99, Method::BeyondHistory, 3_000, None, None);
        assert_eq!(estimate(&Ring::default(), 5, 3_010), None);
        let probed = ring(&samples, &[(-5_000, 10), (-1_000, 60)]);
        check(&probed, 99, Method::TimestampProbe, 3_000, Some(3_000), Some(4_010));
        check(&probed, 34, Method::TimestampProbe, 4_010, Some(6_010), Some(8_010));
        check(&probed, 9, Method::BeyondHistory, 8_010, None, None);
        check(&probed, 100, Method::Sampled, 2_000, Some(3_000), Some(3_010));
    }
}
