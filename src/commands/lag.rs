//! `highwater lag`: a monitor that serves what it finds, a table of one look, or a table that is looked at over and over.

use std::cmp::Reverse;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use serde::Serialize;
use serde_json::{Map, json};
use terminal_size::{Height, Width, terminal_size_of};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::output::{self, NONE, or_none};
use super::properties::Settings;
use crate::app::{self, Failure, Source, Status, settings, stop_on_signal};
use crate::cli::values::Setting;
use crate::cli::{self, Asking, Output};
use crate::lag::{self, Method, Monitor, Pattern, Round, TimeLag};

/// Between two looks of `--watch`.
const WATCH: Duration = Duration::from_secs(2);
/// What stands around the rows of `--watch`.
const FRAME: usize = 5;
/// Home, and everything below it away: what is written over stays until it is written over.
const CLEAR: &str = "\x1b[H\x1b[J";

pub async fn lag(args: cli::Lag) -> Result<(), Failure> {
    if !args.once && args.printing.output == Output::Json {
        let elsewhere = "--output json goes with --once; a monitor that runs serves JSON at /api/lag";
        return Err(Failure::new(Status::Usage, elsewhere));
    }
    let config = settings::of_lag(&args)?;
    let mut sources = sources(&args, &config.lag)?;
    match (args.once, args.watch) {
        (true, _) => once(&args, &sources).await,
        (_, true) => watch(&args, &sources).await,
        _ => {
            // One alone that is not there is a mistake; one of several may come later.
            if let [source] = &mut *sources
                && !source.config.names_cluster
            {
                source.client = Some(app::connect(source.reach.clone()).await?);
            }
            app::monitor(sources, args.listen, &config.otlp).await
        }
    }
}

/// What is to be looked at: the clusters that have names, or the one of `-b`.
fn sources(args: &cli::Lag, config: &lag::Config) -> Result<Vec<Source>, Failure> {
    let source = |config: lag::Config, asking: &Asking| {
        Ok::<_, Failure>(Source { config, reach: Settings::of(asking, "lag")?.client, client: None })
    };
    if config.clusters.is_empty() {
        return Ok(vec![source(config.clone(), &args.asking)?]);
    }
    let of_each = config.clusters.iter().map(|cluster| {
        let mut asking = args.asking.clone();
        asking.cluster.bootstrap_server.clone_from(&cluster.bootstrap_servers);
        let own = cluster.properties.iter().map(|(key, value)| Setting { key: key.clone(), value: value.clone() });
        asking.properties.splice(0..0, own);
        let source = not_elsewhere(&asking).and_then(|()| {
            let source = source(config.of_cluster(&cluster.name), &asking)?;
            // It is tried again and again, and this would never be another answer.
            source.reach.check()?;
            Ok(source)
        });
        source.map_err(|failure| of(Some(&cluster.name), failure))
    });
    of_each.collect()
}

/// A property that says where all clusters are would make each of them the same one.
fn not_elsewhere(asking: &Asking) -> Result<(), Failure> {
    let says_where = |it: &&Setting| matches!(&*it.key, "bootstrap.servers" | "metadata.broker.list");
    match asking.properties.iter().find(says_where) {
        None => Ok(()),
        Some(Setting { key, .. }) => Err(Failure::new(
            Status::Usage,
            format!("{key} is no property of one of several clusters: its servers stand beside its name"),
        )),
    }
}

/// A round, and the name of its cluster where there are several.
type Named<'a> = (Option<&'a str>, Round);

fn name(source: &Source) -> Option<&str> {
    source.config.names_cluster.then_some(&*source.config.cluster_name)
}

/// A failure, of one of several clusters.
fn of(name: Option<&str>, failure: Failure) -> Failure {
    match name {
        Some(name) => Failure::new(failure.status, format!("cluster {name}: {failure}")),
        None => failure,
    }
}

async fn look(source: &Source) -> Result<Round, Failure> {
    let client = app::connect(source.reach.clone()).await?;
    let round = Monitor::new(&source.config, &client).round().await;
    client.close().await;
    Ok(round?)
}

/// All clusters at the same time. What one does not say takes nothing from the others; it is said, and is in the status.
async fn once(args: &cli::Lag, sources: &[Source]) -> Result<(), Failure> {
    let looked = join_all(sources.iter().map(look)).await;
    let (mut rounds, mut failures, mut unknown): (Vec<Named<'_>>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    for (name, round) in sources.iter().map(name).zip(looked) {
        match round {
            Ok(round) => rounds.push((name, round)),
            Err(failure) => {
                unknown.extend(name.map(|name| (name, failure.to_string())));
                failures.push(of(name, failure));
            }
        }
    }
    for (name, round) in &rounds {
        failures.extend(round.failures.iter().map(|why| of(*name, Failure::new(Status::Unavailable, why))));
    }
    let tells_unknown = args.printing.output == Output::Json && !unknown.is_empty();
    if !rounds.is_empty() || tells_unknown {
        output::print(&printed(args.printing.output, &rounds, &unknown)?)?;
    }
    // What was not seen may be what was meant.
    if failures.is_empty() {
        failures.extend(mistyped(args, &rounds).err());
    }
    failures.splice(0..0, within(args, &rounds).err());
    super::session::all(failures)
}

fn printed(output: Output, rounds: &[Named<'_>], unknown: &[(&str, String)]) -> Result<String, Failure> {
    let json = |round: &Round| lag::json(round, round.finished_ms);
    match (output, rounds, unknown) {
        (Output::Table, [(None, round)], _) => table(round, &round.rows().collect::<Vec<_>>()),
        (Output::Table, ..) => {
            let of_cluster = |(name, round): &Named<'_>| -> Vec<OfCluster> {
                let cluster = name.unwrap_or(NONE);
                round.rows().map(|row| OfCluster(cluster.to_owned(), Line::of(round, &row))).collect()
            };
            output::rows(Output::Table, &rounds.iter().flat_map(of_cluster).collect::<Vec<_>>())
        }
        (Output::Json, [(None, round)], _) => output::json(&json(round)),
        (Output::Json, ..) => {
            let known = rounds.iter().filter_map(|(name, round)| Some(((*name)?.to_owned(), json(round))));
            let unknown = unknown.iter().map(|(name, why)| ((*name).to_owned(), json!({ "unknown": why })));
            output::json(&json!({ "clusters": known.chain(unknown).collect::<Map<_, _>>() }))
        }
    }
}

async fn watch(args: &cli::Lag, sources: &[Source]) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let terminal = stdout().is_terminal();
    let rows = || (Screen::now().lines / sources.len().max(1)).saturating_sub(FRAME);
    let every = args.interval.unwrap_or(WATCH);
    let (show, mut shown) = mpsc::channel(sources.len().max(1));
    let lookers = sources.iter().enumerate().map(|(at, source)| {
        let show = show.clone();
        keep_looking(source, every, rows, async move |text| {
            // Nobody shows anything any more when this ends.
            let _ = show.send((at, text)).await;
        })
    });
    let printer = async {
        let mut texts = vec![String::new(); sources.len()];
        while let Some((at, text)) = shown.recv().await {
            texts[at] = text;
            // Where what stands above stays, only what is new comes below it.
            output::print(&if terminal { Screen::now().filled_with(&texts.concat()) } else { texts[at].clone() })?;
        }
        Ok(())
    };
    let both = async {
        tokio::select! {
            ended = try_join_all(lookers) => ended.map(drop),
            ended = printer => ended,
        }
    };
    stop.run_until_cancelled(both).await.unwrap_or(Ok(()))
}

/// What there is place for at this moment: windows grow and shrink.
struct Screen {
    lines: usize,
    columns: usize,
}

impl Screen {
    fn now() -> Self {
        let (columns, lines) = terminal_size_of(stdout())
            .map_or((usize::MAX, 24), |(Width(columns), Height(lines))| (usize::from(columns), usize::from(lines)));
        Self { lines, columns }
    }

    /// The text instead of all that was there. A line that would go on in the next one is cut off, and so is what would push the
    /// first ones out.
    fn filled_with(&self, text: &str) -> String {
        let cut = |line: &str| line.chars().take(self.columns).collect::<String>();
        let lines = text.lines().take(self.lines.saturating_sub(1)).map(cut);
        lines.fold(CLEAR.to_owned(), |screen, line| screen + &line + "\n")
    }
}

/// Ends only where the one cluster that there is cannot be reached.
async fn keep_looking(
    source: &Source,
    every: Duration,
    rows: impl Fn() -> usize,
    show: impl AsyncFn(String),
) -> Result<(), Failure> {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let head = name(source).map(|name| format!("cluster {name}: ")).unwrap_or_default();
    let client = loop {
        ticks.tick().await;
        match app::connect(source.reach.clone()).await {
            Ok(client) => break client,
            Err(failure) if name(source).is_some() => show(format!("{head}no lag now: {failure}\n\n")).await,
            Err(failure) => return Err(failure),
        }
    };
    let mut monitor = Monitor::new(&source.config, &client);
    ticks.reset_immediately();
    loop {
        ticks.tick().await;
        let text = match monitor.round().await {
            Ok(round) => furthest(&round, rows())?,
            Err(error) => format!("no lag now: {error}\n"),
        };
        let end = if head.is_empty() { "" } else { "\n" };
        show(format!("{head}{text}{end}")).await;
    }
}

/// Those that are furthest behind, as many as there is place for.
fn furthest(round: &Round, most: usize) -> Result<String, Failure> {
    // What went wrong is not what there is no place for.
    let most = most - round.failures.len().min(most / 2);
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

/// Whether every name that was asked for is there: one that was mistyped must not keep an alert quiet for ever. Where a limit is
/// to be kept, a group that has committed nothing keeps none.
fn mistyped(args: &cli::Lag, rounds: &[Named<'_>]) -> Result<(), Failure> {
    let rows = || rounds.iter().flat_map(|(_, round)| round.rows());
    let has_limit = args.max_lag.is_some() || args.max_seconds.is_some();
    let is_listed = |name: &Pattern| {
        !has_limit && rounds.iter().flat_map(|(_, round)| &round.groups).any(|group| name.matches(&group.name))
    };
    let no_group = args.group.iter().find(|name| !is_listed(name) && !rows().any(|row| name.matches(row.group())));
    let no_topic = args.topic.iter().find(|name| !rows().any(|row| name.matches(row.topic())));
    let why = match (no_group, no_topic) {
        (Some(name), _) if has_limit => {
            format!("no group with a name like {name} has committed offsets on such topics")
        }
        (Some(name), _) => format!("no group has a name like {name}"),
        (None, Some(name)) => format!("no topic with a name like {name} has committed offsets of such groups"),
        (None, None) => return Ok(()),
    };
    Err(Failure::new(Status::Data, why))
}

/// Whether all is within the limits that were given. What is not known is not within any.
fn within(args: &cli::Lag, rounds: &[Named<'_>]) -> Result<(), Failure> {
    let over = |row: &lag::Row<'_>| {
        let records = args.max_lag.is_some_and(|most| row.records().is_ok_and(|lag| lag > most));
        let time = args.max_seconds.is_some_and(|most| {
            let most = i64::try_from(most.as_millis()).unwrap_or(i64::MAX);
            row.time().is_some_and(|time| time.high_ms.is_none_or(|high| high > most) && is_over(time, most))
        });
        let unknown = row.records().is_err() && (args.max_lag.is_some() || args.max_seconds.is_some());
        records || time || unknown
    };
    let rows = rounds.iter().flat_map(|(name, round)| round.rows().map(move |row| (*name, row)));
    let over: Vec<_> = rows.filter(|(_, row)| over(row)).collect();
    let Some((name, first)) = over.first() else { return Ok(()) };
    let message = format!(
        "{} of {} are over the limit or not known, the first is {} on {}{}",
        over.len(),
        rounds.iter().map(|(_, round)| round.row_count()).sum::<usize>(),
        first.group(),
        first.topic_partition(),
        name.map(|name| format!(" of cluster {name}")).unwrap_or_default(),
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

/// The same of one of several clusters.
#[derive(Debug, Serialize)]
struct OfCluster(String, Line);

impl output::Row for OfCluster {
    const HEAD: &'static [&'static str] =
        &["CLUSTER", "GROUP", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "LOST", "BEHIND", "STATUS"];

    fn cells(&self) -> Vec<String> {
        let Self(cluster, Line(cells)) = self;
        std::iter::once(cluster).chain(cells).cloned().collect()
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
