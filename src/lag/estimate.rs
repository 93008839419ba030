//! How old the first unread record is: an interval that can be proven from samples of the end offset. Pure.
//!
//! If the end offset was at most C in one sample and more than C in the next, the record at offset C became visible after
//! the first was asked for and before the second was answered. Only the monitor's own clock is used; no producer's.

use std::collections::VecDeque;

use super::history::Sample;
use crate::client::Offset;

/// How the time lag was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The group has read everything.
    CaughtUp,
    /// Between two samples.
    Sampled,
    /// The first unread record is older than the first sample: only the lower bound is known.
    BeyondHistory,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Self::CaughtUp => "caught_up",
            Self::Sampled => "sampled",
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

/// `committed` is the offset of the first unread record; the last sample says whether there is one. `None` without samples.
pub fn estimate(samples: &VecDeque<Sample>, committed: Offset, now_ms: i64) -> Option<TimeLag> {
    let last = samples.back()?;
    if committed >= last.end_offset {
        return Some(TimeLag { method: Method::CaughtUp, low_ms: 0, value_ms: Some(0), high_ms: Some(0) });
    }
    let seen = samples.partition_point(|sample| sample.end_offset <= committed);
    let first_above = samples.get(seen)?;
    let low_ms = (now_ms - first_above.answered_ms).max(0);
    let Some(before) = seen.checked_sub(1).and_then(|index| samples.get(index)) else {
        return Some(TimeLag { method: Method::BeyondHistory, low_ms, value_ms: None, high_ms: None });
    };
    let high_ms = (now_ms - before.asked_ms).max(low_ms);
    let appeared = interpolate(before, first_above, committed);
    let value_ms = (now_ms - appeared).clamp(low_ms, high_ms);
    Some(TimeLag { method: Method::Sampled, low_ms, value_ms: Some(value_ms), high_ms: Some(high_ms) })
}

/// When the record at `offset` appeared, if records came evenly between the two samples.
fn interpolate(before: &Sample, after: &Sample, offset: Offset) -> i64 {
    let share = (offset + 1 - before.end_offset) as f64 / (after.end_offset - before.end_offset) as f64;
    before.asked_ms + ((after.answered_ms - before.asked_ms) as f64 * share) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(samples: &[(i64, i64, Offset)]) -> VecDeque<Sample> {
        samples
            .iter()
            .map(|(asked_ms, answered_ms, end_offset)| Sample {
                asked_ms: *asked_ms,
                answered_ms: *answered_ms,
                end_offset: *end_offset,
            })
            .collect()
    }

    #[test]
    fn intervals() {
        let samples = ring(&[(0, 10, 100), (1_000, 1_010, 200), (2_000, 2_010, 200), (3_000, 3_010, 300)]);
        let check = |committed, method, low_ms, value_ms, high_ms| {
            let want = TimeLag { method, low_ms, value_ms, high_ms };
            assert_eq!(estimate(&samples, committed, 3_010), Some(want), "committed {committed}");
        };
        check(300, Method::CaughtUp, 0, Some(0), Some(0));
        check(400, Method::CaughtUp, 0, Some(0), Some(0));
        check(299, Method::Sampled, 0, Some(0), Some(1_010));
        check(200, Method::Sampled, 0, Some(1_000), Some(1_010));
        check(149, Method::Sampled, 2_000, Some(2_505), Some(3_010));
        check(99, Method::BeyondHistory, 3_000, None, None);
        assert_eq!(estimate(&VecDeque::new(), 5, 3_010), None);
    }

    /// A log written at random times, sampled with random delays: the true age is always inside.
    #[test]
    fn the_truth_is_always_inside() {
        proptest!(ProptestConfig::with_cases(4_000), |(
            gaps in proptest::collection::vec(0..500i64, 1..60),
            rounds in proptest::collection::vec((1..2_000i64, 0..50i64, 0..=100u8), 1..30),
            at in 0..100usize,
        )| {
            let mut clock = 0;
            let written: Vec<i64> = gaps.iter().map(|gap| { clock += gap; clock }).collect();
            let (mut now, mut samples) = (0, VecDeque::new());
            for (pause, trip, share) in rounds {
                let asked_ms = now + pause;
                now = asked_ms + trip;
                let read_at = asked_ms + trip * i64::from(share) / 100;
                let end_offset = written.partition_point(|time| *time <= read_at) as Offset;
                samples.push_back(Sample { asked_ms, answered_ms: now, end_offset });
            }
            let committed = (at * (written.len() + 1) / 100) as Offset;
            let lag = estimate(&samples, committed, now).unwrap();
            match lag.method {
                Method::CaughtUp => prop_assert!(committed >= samples.back().unwrap().end_offset),
                _ => {
                    let age = now - written[committed as usize];
                    prop_assert!(lag.low_ms <= age, "{lag:?}, age {age}");
                    prop_assert!(lag.high_ms.is_none_or(|high| age <= high), "{lag:?}, age {age}");
                    prop_assert!(lag.value_ms.is_none_or(|v| lag.low_ms <= v && Some(v) <= lag.high_ms));
                }
            }
        });
    }
}
