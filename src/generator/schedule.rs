//! How many records are due, as a function of time alone.

use std::time::Duration;

use super::Rate;

/// An open-loop schedule: what is due depends on the time since the start, never on how fast the records went out.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    rate: Rate,
    limit: u64,
}

impl Schedule {
    pub fn new(rate: Rate, limit: Option<u64>) -> Self {
        Self { rate, limit: limit.unwrap_or(u64::MAX) }
    }

    /// How many records in all should have been sent `elapsed` after the start. The first is due at once.
    pub fn due(&self, elapsed: Duration) -> u64 {
        match self.rate {
            Rate::Max => self.limit,
            Rate::PerSecond(rate) => ((elapsed.as_secs_f64() * rate) as u64).saturating_add(1).min(self.limit),
        }
    }

    /// When record number `sent` (counted from 0) falls due; `None` when it never does.
    pub fn due_at(&self, sent: u64) -> Option<Duration> {
        if sent >= self.limit {
            return None;
        }
        match self.rate {
            Rate::Max => Some(Duration::ZERO),
            Rate::PerSecond(rate) => Duration::try_from_secs_f64(sent as f64 / rate).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_by_time() {
        let check = |rate, limit, millis, want| {
            let due = Schedule::new(rate, limit).due(Duration::from_millis(millis));
            assert_eq!(due, want, "{rate:?} limit {limit:?} after {millis} ms");
        };
        check(Rate::PerSecond(10.0), None, 0, 1);
        check(Rate::PerSecond(10.0), None, 99, 1);
        check(Rate::PerSecond(10.0), None, 1000, 11);
        check(Rate::PerSecond(10.0), Some(5), 60_000, 5);
        check(Rate::PerSecond(0.5), None, 1999, 1);
        check(Rate::PerSecond(100_000.0 / 3600.0), None, 3_600_000, 100_001);
        check(Rate::Max, Some(7), 0, 7);
        check(Rate::Max, None, 0, u64::MAX);
    }

    #[test]
    fn each_record_falls_due_when_the_count_says_so() {
        let schedule = Schedule::new(Rate::PerSecond(27.8), Some(100));
        for sent in 0..100 {
            let at = schedule.due_at(sent).expect("below the limit");
            assert!(schedule.due(at + Duration::from_micros(1)) > sent, "record {sent}");
        }
        assert_eq!(schedule.due_at(100), None);
    }
}
