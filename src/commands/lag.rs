//! `highwater lag`: a monitor that serves what it finds, a table of one look, or a table that is looked at over and over.

use std::cmp::Reverse;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::output::{self, NONE, or_none};
use super::session::Session;
use crate::app::{self, Failure, Status, settings, stop_on_signal};
use crate::cli::{self, Output};
use crate::lag::{self, Method, Monitor, Round, TimeLag};

/// Between two looks of `--watch`.
const WATCH: Duration = Duration::from_secs(2);
/// Lines of a terminal that does not say how many it has.
const LINES: usize = 24;
/// What stands around the rows of `--watch`.
const FRAME: usize = 5;
/// Home, and everything below it away: what is written over stays until it is written over.
const CLEAR: &str = "\x1b[H\x1b[J";

pub async fn lag(args: cli::Lag) -> Result<(), Failure> {
    let config = settings::of_lag(&args)?;
    match (args.once, args.watch) {
        (true, _) => once(&args, &config).await,
        (_, true) => watch(&args, &config).await,
        _ => {
            let session = Session::open(&args.asking, "lag").await?;
            app::monitor(session.client, args.listen, config).await
        }
    }
}

async fn once(args: &cli::Lag, config: &lag::Config) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "lag").await?;
    let round = Monitor::new(config, &session.client).round().await?;
    session.client.close().await;
    let rows: Vec<_> = round.rows().collect();
    match args.printing.output {
        Output::Table => output::print(&table(&round, &rows)?)?,
        Output::Json => output::print(&output::json(&lag::json(&round, round.finished_ms))?)?,
    }
    let failures: Vec<_> = round.failures.iter().map(|why| Failure::new(Status::Unavailable, why)).collect();
    if failures.is_empty() && round.groups.is_empty() && !args.group.is_empty() {
        // A name that was mistyped must not keep an alert quiet for ever.
        return Err(Failure::new(Status::Data, "no group has a name like that"));
    }
    within(args, &round)?;
    super::session::all(failures)
}

async fn watch(args: &cli::Lag, config: &lag::Config) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let session = Session::open(&args.asking, "lag").await?;
    let mut monitor = Monitor::new(config, &session.client);
    let mut ticks = interval(args.interval.unwrap_or(WATCH));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let terminal = stdout().is_terminal();
    let most = std::env::var("LINES").ok().and_then(|lines| lines.parse().ok()).unwrap_or(LINES);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(round) = stop.run_until_cancelled(monitor.round()).await else { break };
        let text = match round {
            Ok(round) => furthest(&round, most.saturating_sub(FRAME))?,
            Err(error) => format!("no lag now: {error}\n"),
        };
        output::print(&if terminal { format!("{CLEAR}{text}") } else { text })?;
    }
    session.client.close().await;
    Ok(())
}

/// Those that are furthest behind, as many as there is place for.
fn furthest(round: &Round, most: usize) -> Result<String, Failure> {
    let mut rows: Vec<_> = round.rows().collect();
    rows.sort_by_key(|row| Reverse((row.time().map(|time| time.low_ms), row.records().ok())));
    let hidden = rows.len().saturating_sub(most);
    rows.truncate(most);
    let (groups, all, took) = (round.groups.len(), round.row_count(), round.took_ms);
    let mut text = format!("{groups} groups, {all} partitions of theirs, read in {took} ms\n\n");
    text += &table(round, &rows)?;
    if hidden > 0 {
        text += &format!("and {hidden} more that are less behind\n");
    }
    round.failures.iter().for_each(|failure| text += &format!("{failure}\n"));
    Ok(text)
}

/// Whether all is within the limits that were given. What is not known is not within any.
fn within(args: &cli::Lag, round: &Round) -> Result<(), Failure> {
    let over = |row: &lag::Row<'_>| {
        let records = args.max_lag.is_some_and(|most| row.records().is_ok_and(|lag| lag > most));
        let time = args.max_seconds.is_some_and(|most| {
            let most = i64::try_from(most.as_millis()).unwrap_or(i64::MAX);
            row.time().is_some_and(|time| time.high_ms.is_none_or(|high| high > most) && is_over(time, most))
        });
        let unknown = row.records().is_err() && (args.max_lag.is_some() || args.max_seconds.is_some());
        records || time || unknown
    };
    let over: Vec<_> = round.rows().filter(over).collect();
    let Some(first) = over.first() else { return Ok(()) };
    let message = format!(
        "{} of {} are over the limit or not known, the first is {} on {}",
        over.len(),
        round.row_count(),
        first.group(),
        first.topic_partition(),
    );
    Err(Failure::new(Status::Exceeded, message))
}

/// Kafka's time index knows only a few times; a limit between two of them is judged by what is most likely.
fn is_over(time: TimeLag, most_ms: i64) -> bool {
    time.value_ms.is_none_or(|value| value > most_ms)
}

fn table(round: &Round, rows: &[lag::Row<'_>]) -> Result<String, Failure> {
    let rows: Vec<Line> = rows.iter().map(|row| Line::of(round, row)).collect();
    output::rows(Output::Table, &rows)
}

#[derive(Debug, Serialize)]
struct Line([String; 9]);

impl output::Row for Line {
    const HEAD: &'static [&'static str] =
        &["GROUP", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "LOST", "BEHIND", "STATUS"];

    fn cells(&self) -> Vec<String> {
        self.0.to_vec()
    }
}

impl Line {
    fn of(round: &Round, row: &lag::Row<'_>) -> Self {
        let state = || round.group(row.group())?.state.as_deref().map(str::to_lowercase);
        let status = row.records().err().map(lag::Reason::name).or_else(|| row.status().map(lag::Status::name));
        Self([
            row.group().to_string(),
            row.topic().to_string(),
            row.partition().to_string(),
            row.committed().to_string(),
            or_none(row.end_offset()),
            or_none(row.records().ok()),
            or_none(row.records_lost()),
            row.time().map_or_else(|| NONE.to_owned(), behind),
            status.map(str::to_owned).or_else(state).unwrap_or_else(|| NONE.to_owned()),
        ])
    }
}

/// Where it is known exactly enough, one time; else the two that it lies between.
fn behind(time: TimeLag) -> String {
    match (time.method, time.value_ms, time.high_ms) {
        (Method::CaughtUp, ..) => "0".to_owned(),
        (_, Some(value), Some(high)) if high - time.low_ms <= (value / 10).max(2_000) => age(value),
        (_, _, Some(high)) => format!("{}..{}", age(time.low_ms), age(high)),
        _ => format!("over {}", age(time.low_ms)),
    }
}

fn age(ms: i64) -> String {
    let seconds = ms as f64 / 1000.0;
    match seconds {
        ..10.0 => format!("{seconds:.1}s"),
        ..120.0 => format!("{seconds:.0}s"),
        ..7_200.0 => format!("{:.0}m", seconds / 60.0),
        ..172_800.0 => format!("{:.1}h", seconds / 3_600.0),
        _ => format!("{:.1}d", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_behind_in_words() {
        let check = |method, low_ms, value_ms, high_ms, want: &str| {
            assert_eq!(behind(TimeLag { method, low_ms, value_ms, high_ms }), want);
        };
        check(Method::CaughtUp, 0, Some(0), Some(0), "0");
        check(Method::Sampled, 900, Some(1_400), Some(2_000), "1.4s");
        check(Method::Sampled, 100_000, Some(101_000), Some(109_000), "101s");
        check(Method::TimestampProbe, 60_000, Some(90_000), Some(300_000), "60s..5m");
        check(Method::TimestampProbe, 7_200_000, Some(20_000_000), Some(43_200_000), "2.0h..12.0h");
        check(Method::BeyondHistory, 700_000_000, None, None, "over 8.1d");
    }
}
