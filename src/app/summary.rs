//! What a run came to, in numbers that must add up; and the live line while it runs. Pure.

use std::collections::BTreeSet;
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
    /// Offsets that were read and held no record, such as the ends of others' transactions: they came in by the offsets
    /// that Kafka keeps. Known when reading has ended.
    pub passed_over: u64,
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

/// What the cluster says when everything has stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// What came into the topics that are read, during the run. Not all that is generated need be read.
    pub came_in: u64,
    /// Records that other clients put into these topics during the run.
    pub from_others: u64,
    /// Records that are not stored or dead-lettered yet.
    pub in_flight: u64,
    /// Records that retention took during the run, of those that were not read when it began: so many may have been
    /// taken unread, at most.
    pub removed: u64,
}

/// The account of a run: what came in, and where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    pub counts: Counts,
    /// Records that earlier runs had left unread in the input topics.
    pub carried_over: u64,
    /// `None` when the cluster could not be asked.
    pub asked: Option<Asked>,
    /// Groups of ours that had other members too: what those read, they did not read here.
    pub shared: BTreeSet<String>,
}

/// What an account comes to, in records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The cluster could not be asked.
    Unknown,
    /// Every record that came in is stored, dead-lettered or in flight.
    Even { came_in: u64 },
    /// So are more than came in: a record whose offset was not committed yet when a reader was killed, or lost its
    /// partition, is passed on a second time.
    Twice { came_in: u64, twice: u64 },
    /// Fewer, because other members of these groups have read some.
    Shared { came_in: u64, elsewhere: u64, groups: BTreeSet<String> },
    /// Fewer, because retention took some before they were read.
    Removed { came_in: u64, removed: u64 },
    /// Fewer, and nothing explains it.
    Missing { came_in: u64, missing: u64 },
}

impl Account {
    pub fn verdict(&self) -> Verdict {
        let Some(asked) = self.asked else { return Verdict::Unknown };
        let counts = &self.counts;
        let came_in = (self.carried_over + asked.came_in).saturating_sub(counts.passed_over);
        let accounted = counts.stored + counts.stored_before + counts.dead_lettered + asked.in_flight;
        match (accounted.checked_sub(came_in), came_in.saturating_sub(accounted)) {
            (Some(0), _) => Verdict::Even { came_in },
            (Some(twice), _) => Verdict::Twice { came_in, twice },
            (None, elsewhere) if !self.shared.is_empty() => {
                Verdict::Shared { came_in, elsewhere, groups: self.shared.clone() }
            }
            (None, removed) if removed <= asked.removed => Verdict::Removed { came_in, removed },
            (None, missing) => Verdict::Missing { came_in, missing },
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(
                "the cluster could not be asked: what is in flight is not known, and is read at the next start",
            ),
            Self::Even { came_in } => {
                write!(f, "{} came in = stored, now or before, + dead-lettered + in flight", grouped(*came_in))
            }
            Self::Twice { came_in, twice } => {
                write!(f, "{} came in, all accounted for; {} counted twice", grouped(*came_in), grouped(*twice))
            }
            Self::Shared { came_in, elsewhere, groups } => {
                let groups = groups.iter().map(String::as_str).collect::<Vec<_>>().join(" and ");
                let (came_in, elsewhere) = (grouped(*came_in), grouped(*elsewhere));
                write!(f, "{came_in} came in, {elsewhere} of them read elsewhere: {groups} had other members too")
            }
            Self::Removed { came_in, removed } => {
                let (came_in, removed) = (grouped(*came_in), grouped(*removed));
                write!(f, "{came_in} came in, {removed} of them removed by retention before they were read")
            }
            Self::Missing { came_in, missing } => {
                let (came_in, missing) = (grouped(*came_in), grouped(*missing));
                write!(f, "{came_in} came in, {missing} NOT accounted for")
            }
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, count: u64| writeln!(f, "  {name:<18}{:>15}", grouped(count));
        row("generated", self.counts.generated)?;
        let from_others = self.asked.map_or(0, |asked| asked.from_others);
        let others = [
            ("carried over", self.carried_over),
            ("from others", from_others),
            ("of it no records", self.counts.passed_over),
        ];
        for (name, count) in others.into_iter().filter(|(_, count)| *count > 0) {
            row(name, count)?;
        }
        row("processed", self.counts.processed)?;
        row("dead-lettered", self.counts.dead_lettered)?;
        row("stored", self.counts.stored)?;
        if self.counts.stored_before > 0 {
            row("stored before", self.counts.stored_before)?;
        }
        if let Some(asked) = self.asked {
            row("in flight", asked.in_flight)?;
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
        let check = |carried_over, asked, shared: &[&str], last: &str| {
            let counts = Counts { generated: 100, processed: 30, dead_lettered: 4, stored: 96, ..Counts::default() };
            let shared = shared.iter().map(|group| (*group).to_owned()).collect();
            let account = Account { counts, carried_over, asked, shared };
            assert_eq!(account.to_string().lines().last(), Some(last), "{account:?}");
        };
        let asked = |from_others, in_flight, removed| {
            Some(Asked { came_in: 100 + from_others, from_others, in_flight, removed })
        };
        check(0, asked(0, 0, 0), &[], "  100 came in = stored, now or before, + dead-lettered + in flight");
        check(0, asked(3, 3, 0), &[], "  103 came in = stored, now or before, + dead-lettered + in flight");
        check(0, asked(0, 2, 0), &[], "  100 came in, all accounted for; 2 counted twice");
        let missing = "  103 came in, 3 NOT accounted for";
        check(3, asked(0, 0, 0), &[], missing);
        // Retention explains no more than it took.
        check(3, asked(0, 0, 2), &[], missing);
        check(3, asked(0, 0, 3), &[], "  103 came in, 3 of them removed by retention before they were read");
        check(3, asked(0, 0, 3), &["g"], "  103 came in, 3 of them read elsewhere: g had other members too");
        check(3, asked(0, 0, 0), &["g", "h"], "  103 came in, 3 of them read elsewhere: g and h had other members too");
        check(0, asked(0, 0, 9), &["g"], "  100 came in = stored, now or before, + dead-lettered + in flight");
        let counts = Counts { generated: 100, stored: 100, passed_over: 3, ..Counts::default() };
        let account = Account { counts, asked: asked(3, 0, 0), ..Account::default() };
        assert_eq!(account.verdict(), Verdict::Even { came_in: 100 }, "three ends of transactions");
        let counts = Counts { generated: 100, stored: 40, ..Counts::default() };
        let some_are_read = Some(Asked { came_in: 40, ..Asked::default() });
        let account = Account { counts, asked: some_are_read, ..Account::default() };
        assert_eq!(account.verdict(), Verdict::Even { came_in: 40 }, "a sink that reads one of the topics");
        let unknown = "  the cluster could not be asked: what is in flight is not known, and is read at the next start";
        check(0, None, &[], unknown);
    }
}
