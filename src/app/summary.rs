//! What a run came to, in numbers that must add up; and the live line while it runs. Pure.

use std::fmt;
use std::time::Duration;

/// Counts of one moment, from all rooms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub generated: u64,
    pub failed: u64,
    pub processed: u64,
    pub dead_lettered: u64,
    pub stored: u64,
    /// Documents that were there already: the record had been stored by an earlier run, before its offset was committed.
    pub stored_before: u64,
}

/// What is known of the lag.
#[derive(Debug, Clone, PartialEq)]
pub enum Lag {
    /// Nobody was asked yet.
    NotYet,
    /// The cluster has not answered for so long.
    UnknownFor(Duration),
    /// Of the group that is furthest behind, if any has committed something; and of how many more it is not known.
    Known { worst: Option<WorstLag>, unknown: usize },
}

/// The group that is furthest behind.
#[derive(Debug, Clone, PartialEq)]
pub struct WorstLag {
    pub group: String,
    pub records: u64,
    pub time: Option<Duration>,
}

/// The live line. Rates are those since the line before.
#[derive(Debug)]
pub struct Live {
    pub now: Counts,
    pub before: Counts,
    pub since: Duration,
    pub lag: Lag,
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.since.as_secs_f64().max(f64::EPSILON);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        let (now, before) = (&self.now, &self.before);
        write!(f, "generated {} ({}/s)", grouped(now.generated), short(rate(now.generated, before.generated)))?;
        write!(f, "  processed {} ({}/s)", grouped(now.processed), short(rate(now.processed, before.processed)))?;
        write!(f, "  dead-lettered {}", grouped(now.dead_lettered))?;
        write!(f, "  stored {} ({}/s)", grouped(now.stored), short(rate(now.stored, before.stored)))?;
        write!(f, "  {}", self.lag)
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYet | Self::Known { worst: None, unknown: 0 } => write!(f, "worst lag not known yet"),
            Self::UnknownFor(time) => write!(f, "lag unknown (since {} s)", time.as_secs()),
            Self::Known { worst: None, .. } => write!(f, "lag unknown"),
            Self::Known { worst: Some(worst), unknown: 0 } => write!(f, "worst lag {worst}"),
            Self::Known { worst: Some(worst), unknown } => write!(f, "worst lag {worst}, {unknown} unknown"),
        }
    }
}

impl fmt::Display for WorstLag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.records == 0 {
            return write!(f, "0");
        }
        write!(f, "{} records", grouped(self.records))?;
        if let Some(time) = self.time {
            write!(f, ", {:.1} s", time.as_secs_f64())?;
        }
        write!(f, " ({})", self.group)
    }
}

/// The account of a run: what came in, and where it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    pub counts: Counts,
    /// Records that earlier runs had left unread in the input topics.
    pub carried_over: u64,
    /// Records that other clients put into these topics during the run; `None` when the cluster could not be asked.
    pub from_others: Option<u64>,
    /// Records that are not stored or dead-lettered yet; `None` when the cluster could not be asked.
    pub in_flight: Option<u64>,
}

impl Account {
    fn came_in(&self) -> Option<u64> {
        Some(self.counts.generated + self.carried_over + self.from_others?)
    }

    fn accounted(&self) -> Option<u64> {
        Some(self.counts.stored + self.counts.stored_before + self.counts.dead_lettered + self.in_flight?)
    }

    /// Every record that came in is stored, dead-lettered or in flight. More than came in is possible too: a record
    /// whose offset was not committed yet when a reader was killed, or lost its partition, is passed on a second time.
    fn verdict(&self) -> String {
        let (Some(came_in), Some(accounted)) = (self.came_in(), self.accounted()) else {
            return "the cluster could not be asked: what is in flight is not known, and is read at the next start"
                .to_owned();
        };
        match accounted.checked_sub(came_in) {
            Some(0) => format!("{} came in = stored + dead-lettered + in flight", grouped(came_in)),
            Some(twice) => {
                format!("{} came in, all accounted for; {} counted twice", grouped(came_in), grouped(twice))
            }
            None => format!("{} came in, {} NOT accounted for", grouped(came_in), grouped(came_in - accounted)),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, count: u64| writeln!(f, "  {name:<18}{:>15}", grouped(count));
        row("generated", self.counts.generated)?;
        for (name, count) in [("carried over", self.carried_over), ("from others", self.from_others.unwrap_or(0))] {
            if count > 0 {
                row(name, count)?;
            }
        }
        row("processed", self.counts.processed)?;
        row("dead-lettered", self.counts.dead_lettered)?;
        row("stored", self.counts.stored)?;
        if self.counts.stored_before > 0 {
            row("stored before", self.counts.stored_before)?;
        }
        if let Some(in_flight) = self.in_flight {
            row("in flight", in_flight)?;
        }
        if self.counts.failed > 0 {
            row("not sent", self.counts.failed)?;
        }
        write!(f, "  {}", self.verdict())
    }
}

/// 1234567 as 1,234,567.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate with as many digits as it deserves.
fn short(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { grouped(rate.round() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_in_groups() {
        let check = |n, want: &str| assert_eq!(grouped(n), want);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
    }

    #[test]
    fn a_live_line() {
        let now = Counts { generated: 1_050, processed: 320, dead_lettered: 20, stored: 1_000, ..Counts::default() };
        let before = Counts { generated: 1_000, processed: 300, dead_lettered: 19, stored: 900, ..Counts::default() };
        let some = WorstLag { group: "user-group".to_owned(), records: 12, time: Some(Duration::from_millis(340)) };
        let none = WorstLag { records: 0, ..some.clone() };
        let counts = "generated 1,050 (50.0/s)  processed 320 (20.0/s)  dead-lettered 20  stored 1,000 (100/s)";
        let check = |lag, want: &str| {
            let live = Live { now, before, since: Duration::from_secs(1), lag };
            assert_eq!(live.to_string(), format!("{counts}  {want}"));
        };
        let known = |worst, unknown| Lag::Known { worst, unknown };
        check(Lag::NotYet, "worst lag not known yet");
        check(Lag::UnknownFor(Duration::from_millis(12_700)), "lag unknown (since 12 s)");
        check(known(None, 0), "worst lag not known yet");
        check(known(None, 2), "lag unknown");
        check(known(Some(some.clone()), 0), "worst lag 12 records, 0.3 s (user-group)");
        check(known(Some(none.clone()), 0), "worst lag 0");
        // None that is known of, which is not none.
        check(known(Some(none), 3), "worst lag 0, 3 unknown");
        check(known(Some(some), 3), "worst lag 12 records, 0.3 s (user-group), 3 unknown");
    }

    #[test]
    fn accounts() {
        let check = |account: Account, last: &str| {
            assert_eq!(account.to_string().lines().last(), Some(last), "{account:?}");
        };
        let counts = Counts { generated: 100, processed: 30, dead_lettered: 4, stored: 96, ..Counts::default() };
        let account = Account { counts, carried_over: 0, from_others: Some(0), in_flight: Some(0) };
        check(account, "  100 came in = stored + dead-lettered + in flight");
        let open = Account { from_others: Some(3), in_flight: Some(3), ..account };
        check(open, "  103 came in = stored + dead-lettered + in flight");
        check(Account { carried_over: 3, ..account }, "  103 came in, 3 NOT accounted for");
        check(Account { in_flight: Some(2), ..account }, "  100 came in, all accounted for; 2 counted twice");
        let unknown = "  the cluster could not be asked: what is in flight is not known, and is read at the next start";
        check(Account { in_flight: None, ..account }, unknown);
    }
}
