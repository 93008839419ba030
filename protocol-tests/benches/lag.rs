//! What a round of the lag monitor costs on a real cluster, and what another monitor's scrape of the same cluster costs.
//!
//! ```text
//! BOOTSTRAP=127.0.0.1:9092 HIGHWATER=target/release/highwater KMINION=/usr/local/bin/kminion \
//!     KLAG_EXPORTER=/usr/local/bin/klag-exporter cargo bench -p protocol-tests --bench lag
//! ```
//!
//! Environment: `BOOTSTRAP`; `CONSUMER_GROUPS`, `TOPICS`, `PARTITIONS`, made where they are missing (each group commits the beginning
//! of every partition of one topic); `RECORDS` in each partition, so that every row lags; `ROUNDS`; `HIGHWATER`,
//! `KMINION` and `KLAG_EXPORTER`, programs that are run after it and scraped as often; `KAFKA_DIR`, the directory of a cluster of
//! `servers/kafka.sh`, whose own counters then say what the rounds asked it for. Times are medians, CPU time is the mean of all
//! rounds.
//!
//! First in this process: a round, from its first request to its rows, and the text of `/metrics`, made page by page and
//! thrown away. Then as a user has it: `highwater lag`, which makes a round a second, and is scraped over HTTP a second.
//! Then kminion, of which a scrape is both; and klag-exporter, which makes a round every two seconds (within one it does not
//! always end), says how long that took, and is scraped as often. Beside each of them `highwater lag --compat` tells the same
//! families, and the two are compared series by series; nobody may write or commit meanwhile.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use highwater::client::{
    Client, IsolationLevel, NewTopic, OffsetSpec, ProducerConfig, ProducerRecord, Topic, TopicPartition,
};
use highwater::lag::{Config, Dialect, Monitor, Round, exposition};
use protocol_tests::measure::{cpu_seconds, cpu_seconds_of, peak_rss_kb, peak_rss_kb_of, setting};
use protocol_tests::program::Running;
use protocol_tests::{Outcome, connect, http, make_missing_topics, servers};
use tempfile::NamedTempFile;

/// A group's coordinator answers one commit at a time; several groups are committed side by side.
const SIDE_BY_SIDE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);
/// What klag-exporter calls the cluster, and so do we beside it.
const CLUSTER_NAME: &str = "bench";

#[tokio::main]
async fn main() -> Outcome<()> {
    let Ok(bootstrap) = std::env::var("BOOTSTRAP") else {
        println!("lag: BOOTSTRAP names no cluster, nothing is measured");
        return Ok(());
    };
    let rounds = setting("ROUNDS", 20)?;
    let filling = connect(&bootstrap).await?;
    fill(&filling, setting("CONSUMER_GROUPS", 500)?, setting("TOPICS", 20)?, setting("PARTITIONS", 100)?).await?;
    filling.close().await;
    ours(&connect(&bootstrap).await?, rounds).await?;
    let ours = std::env::var("HIGHWATER").ok();
    if let Some(program) = &ours {
        let peer = Peer::highwater(program, &bootstrap, &[], "highwater_lag_records{")?;
        peer.measure("highwater lag, a round and a scrape a second", rounds)?;
    }
    if let Ok(program) = std::env::var("KMINION") {
        let peer = Peer::kminion(&program, &bootstrap)?;
        peer.measure("kminion, round and text", rounds)?;
        if let Some(ours) = &ours {
            compare(ours, &bootstrap, &peer, "kminion", &["kminion_kafka_"])?;
        }
    }
    if let Ok(program) = std::env::var("KLAG_EXPORTER") {
        let settings = klag_settings(&bootstrap)?;
        let peer = Peer::klag(&program, settings.0.path(), settings.1)?;
        peer.measure("klag-exporter, a round and a scrape every two seconds", rounds)?;
        if let Some(ours) = &ours {
            compare(ours, &bootstrap, &peer, "kafka-lag-exporter", &["kafka_consumergroup_", "kafka_partition_"])?;
        }
    }
    Ok(())
}

fn name(topic: usize) -> String {
    format!("lag-bench-{topic:02}")
}

async fn fill(client: &Client, groups: usize, topics: usize, partitions: i32) -> Outcome<()> {
    let admin = client.admin();
    // One by one: a controller makes no more than so many partitions at once.
    for topic in 0..topics {
        make_missing_topics(client, &[NewTopic::new(name(topic)).partitions(partitions)]).await?;
    }
    produce(client, topics, partitions, setting("RECORDS", 1)?).await?;
    let commit = |group: usize| {
        let admin = &admin;
        let to: Vec<_> =
            (0..partitions).map(|partition| (TopicPartition::new(name(group % topics), partition), 0.into())).collect();
        async move {
            let committed = admin.alter_offsets(&format!("lag-bench-{group:04}"), &to).await?;
            committed.into_iter().try_for_each(|(_, outcome)| outcome)
        }
    };
    stream::iter(0..groups).map(Ok).try_for_each_concurrent(SIDE_BY_SIDE, commit).await?;
    Ok(())
}

/// As many records as are missing.
async fn produce(client: &Client, topics: usize, partitions: i32, records: i64) -> Outcome<()> {
    let all = (0..topics).flat_map(|topic| (0..partitions).map(move |at| TopicPartition::new(name(topic), at)));
    let all: Vec<_> = all.collect();
    let ends = client.admin().list_offsets(OffsetSpec::Latest, &all, IsolationLevel::ReadUncommitted).await?;
    let (producer, mut receipts) = (client.producer(ProducerConfig::default())?, Vec::new());
    for (at, end) in ends {
        let topic: Topic = at.topic.clone();
        for _ in end?.offset.unwrap_or(0)..records {
            let record = ProducerRecord { partition: Some(at.partition), ..ProducerRecord::new(&topic, b"x") };
            receipts.push(producer.enqueue(record).await?);
        }
    }
    for receipt in receipts {
        receipt.await?;
    }
    Ok(producer.close(PATIENCE).await?)
}

async fn ours(client: &Client, rounds: usize) -> Outcome<()> {
    let config = Config::default();
    let mut monitor = Monitor::new(&config, client);
    let began = Instant::now();
    let first = monitor.round().await?;
    let (seconds, rows) = (began.elapsed().as_secs_f64(), first.row_count());
    println!("highwater, first round: {seconds:.3} s, {} requests, {rows} rows", requests(&first));
    let (counted, mut asked, mut round) = (counted_by_kafka()?, requests(&first), first);
    let (cpu, mut sweeps, mut most) = (cpu_seconds()?, Vec::new(), 0);
    for _ in 0..rounds {
        let began = Instant::now();
        round = monitor.round().await?;
        sweeps.push(began.elapsed());
        most = most.max(requests(&round) - asked);
        asked = requests(&round);
    }
    tell_counted(rounds, &counted, &counted_by_kafka()?);
    let of_rounds = (cpu_seconds()? - cpu) / rounds as f64;
    let (cpu, mut texts, mut bytes, round) = (cpu_seconds()?, Vec::new(), 0, Arc::new(round));
    for _ in 0..rounds {
        let began = Instant::now();
        let pages = exposition(&config, Arc::clone(&round), round.finished_ms, Dialect::Prometheus);
        bytes = pages.map(|page| page.len()).sum();
        texts.push(began.elapsed());
    }
    println!(
        "highwater: round {:.3} s ({of_rounds:.3} s CPU, at most {most} requests), text {:.3} s ({:.3} s CPU, {} kB), {} kB peak RSS",
        median(sweeps),
        median(texts),
        (cpu_seconds()? - cpu) / rounds as f64,
        bytes / 1000,
        peak_rss_kb()?,
    );
    Ok(())
}

/// What Kafka itself has counted of each API, where its directory is known.
fn counted_by_kafka() -> Outcome<BTreeMap<String, u64>> {
    let Ok(directory) = std::env::var("KAFKA_DIR") else { return Ok(BTreeMap::new()) };
    let said = servers::script("servers/kafka.sh").args(["requests", &directory]).output()?;
    let count = |line: &str| {
        let (api, count) = line.split_once(' ')?;
        Some((api.to_owned(), count.parse().ok()?))
    };
    Ok(String::from_utf8_lossy(&said.stdout).lines().filter_map(count).collect())
}

/// Brokers ask each other, too: only what the monitor asks for is told.
fn tell_counted(rounds: usize, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) {
    const OURS: [&str; 6] =
        ["DescribeConfigs", "FindCoordinator", "ListGroups", "ListOffsets", "Metadata", "OffsetFetch"];
    let of = |all: &BTreeMap<String, u64>, api: &str| all.get(api).copied().unwrap_or(0);
    let counts = OURS.map(|api| (api, of(after, api).saturating_sub(of(before, api))));
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    if !after.is_empty() {
        let counts: Vec<_> = counts.iter().map(|(api, count)| format!("{api} {count}")).collect();
        println!("by Kafka's own counters: {all} requests in {rounds} rounds: {}", counts.join(", "));
    }
}

fn requests(round: &Round) -> u64 {
    round.cost.by_api.iter().map(|api| api.answered + api.failed + api.abandoned).sum()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}

/// A monitor in a process of its own.
struct Peer {
    process: Running,
    address: String,
    /// Between two scrapes.
    pause: Duration,
}

fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// klag-exporter reads a file, which has to be there when it starts.
fn klag_settings(bootstrap: &str) -> Outcome<(NamedTempFile, SocketAddr)> {
    let (file, address) = (NamedTempFile::new()?, free_address()?);
    let port = address.port();
    let exporter =
        format!("poll_interval = \"2s\"\nhttp_host = \"127.0.0.1\"\nhttp_port = {port}\ngranularity = \"partition\"");
    let cluster = format!("name = \"{CLUSTER_NAME}\"\nbootstrap_servers = \"{bootstrap}\"");
    std::fs::write(file.path(), format!("[exporter]\n{exporter}\n[[clusters]]\n{cluster}\n"))?;
    Ok((file, address))
}

impl Peer {
    fn highwater(program: &str, bootstrap: &str, besides: &[&str], what: &str) -> Outcome<Self> {
        let address = free_address()?;
        let args = ["lag", "--bootstrap-server", bootstrap, "--listen", &address.to_string(), "--interval", "1s"];
        let args = args.into_iter().chain(["--cluster-name", CLUSTER_NAME]);
        Self::start(Command::new(program).args(args).args(besides), address, Duration::from_secs(1), what)
    }

    fn kminion(program: &str, bootstrap: &str) -> Outcome<Self> {
        let address = free_address()?;
        let mut command = Command::new(program);
        command
            .env("KAFKA_BROKERS", bootstrap)
            .env("EXPORTER_PORT", address.port().to_string())
            .env("MINION_CONSUMERGROUPS_SCRAPEMODE", "adminApi")
            .env("MINION_CONSUMERGROUPS_GRANULARITY", "partition");
        Self::start(&mut command, address, Duration::ZERO, "kminion_kafka_consumer_group_topic_partition_lag{")
    }

    fn klag(program: &str, settings: &Path, address: SocketAddr) -> Outcome<Self> {
        let pause = Duration::from_secs(2);
        Self::start(Command::new(program).arg("-c").arg(settings), address, pause, "kafka_consumergroup_group_lag{")
    }

    /// Waits until it tells `what` of some row.
    fn start(command: &mut Command, address: SocketAddr, pause: Duration, what: &str) -> Outcome<Self> {
        let process = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        let mut peer = Self { process, address: address.to_string(), pause };
        let began = Instant::now();
        while !peer.scrape().is_ok_and(|text| text.contains(what)) {
            if began.elapsed() > PATIENCE || peer.process.0.try_wait()?.is_some() {
                return Err(format!("{command:?} does not answer").into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(peer)
    }

    fn scrape(&self) -> Outcome<String> {
        match http::get(&self.address, "/metrics")? {
            (200, text) => Ok(text),
            (status, _) => Err(format!("the answer is {status}").into()),
        }
    }

    fn measure(&self, name: &str, rounds: usize) -> Outcome<()> {
        let (of, mut times, mut rounds_took, mut bytes) = (self.process.0.id(), Vec::new(), Vec::new(), 0);
        std::thread::sleep(self.pause);
        let cpu = cpu_seconds_of(of)?;
        for _ in 0..rounds {
            let began = Instant::now();
            let text = self.scrape()?;
            times.push(began.elapsed());
            rounds_took.extend(round_took(&text));
            bytes = text.len();
            std::thread::sleep(self.pause.saturating_sub(began.elapsed()));
        }
        println!(
            "{name}: scrape {:.3} s ({} kB), {:.3} s CPU, {} kB peak RSS",
            median(times),
            bytes / 1000,
            (cpu_seconds_of(of)? - cpu) / rounds as f64,
            peak_rss_kb_of(of)?,
        );
        if !rounds_took.is_empty() {
            println!("{name}: a round takes {:.3} s by its own word", median(rounds_took));
        }
        Ok(())
    }
}

/// A family of somebody's series, and what was found of them beside ours.
#[derive(Debug, Default)]
struct Found {
    equal: usize,
    /// An example of each, and how many there are.
    different: Option<(String, usize)>,
    theirs_alone: Option<(String, usize)>,
    ours_alone: Option<(String, usize)>,
}

/// Says of each family of theirs how many series have the same labels and value as ours.
fn compare(program: &str, bootstrap: &str, peer: &Peer, dialect: &str, families: &[&str]) -> Outcome<()> {
    let ours = Peer::highwater(program, bootstrap, &["--compat", dialect], families[0])?;
    let (ours, theirs) = (series(&ours.scrape()?, families), series(&peer.scrape()?, families));
    let mut found: BTreeMap<&str, Found> = BTreeMap::new();
    for (name, value) in &theirs {
        let of = found.entry(family(name)).or_default();
        match ours.get(name) {
            Some(same) if same == value => of.equal += 1,
            Some(other) => count(&mut of.different, || format!("{name}: {value} of theirs, {other} of ours")),
            None => count(&mut of.theirs_alone, || format!("{name} {value}")),
        }
    }
    for (name, value) in ours.iter().filter(|(name, _)| !theirs.contains_key(*name)) {
        count(&mut found.entry(family(name)).or_default().ours_alone, || format!("{name} {value}"));
    }
    for (name, Found { equal, different, theirs_alone, ours_alone }) in found {
        println!("{name}: {equal} series are equal");
        for (what, some) in [("differ", different), ("are theirs alone", theirs_alone), ("are ours alone", ours_alone)]
        {
            if let Some((example, count)) = some {
                println!("{name}: {count} {what}, as {example}");
            }
        }
    }
    Ok(())
}

fn count(some: &mut Option<(String, usize)>, example: impl FnOnce() -> String) {
    some.get_or_insert_with(|| (example(), 0)).1 += 1;
}

fn family(series: &str) -> &str {
    series.split_once('{').map_or(series, |(name, _)| name)
}

/// Each series of these families, its labels in the order of their names, and its value.
fn series(text: &str, families: &[&str]) -> BTreeMap<String, f64> {
    let of_families = text.lines().filter(|line| families.iter().any(|family| line.starts_with(family)));
    of_families
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((with_sorted_labels(name), value.parse().ok()?))
        })
        .collect()
}

fn with_sorted_labels(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
    let labels = labels.trim_end_matches('}').trim_end_matches(',');
    let labels = labels.strip_suffix('"').unwrap_or(labels);
    let mut labels: Vec<_> = labels.split("\",").collect();
    labels.sort_unstable();
    format!("{name}{{{}\"}}", labels.join("\","))
}

/// How long a round took, where a text says so.
fn round_took(text: &str) -> Option<Duration> {
    const SAID: &str = "kafka_lag_exporter_scrape_duration_seconds{";
    let line = text.lines().find(|line| line.starts_with(SAID))?;
    Duration::try_from_secs_f64(line.rsplit_once(' ')?.1.parse().ok()?).ok()
}
