//! What a round of the lag monitor costs on a real cluster, and what another monitor's scrape of the same cluster costs.
//!
//! ```text
//! BOOTSTRAP=127.0.0.1:9092 KMINION=/usr/local/bin/kminion cargo bench -p protocol-tests --bench lag
//! ```
//!
//! Environment: `BOOTSTRAP`; `GROUPS`, `TOPICS`, `PARTITIONS`, made where they are missing (each group commits on every
//! partition of one topic); `ROUNDS`; `KMINION`, a program that is run after it and scraped as often. Times are medians, CPU
//! time is the mean of all rounds. Ours runs in this process: a round from its first request to its rows, and then its text
//! for `/metrics`; of kminion a scrape is both.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use highwater::client::{Admin, Client, ClientConfig, ErrorCode, NewTopic, TopicPartition};
use highwater::lag::{Config, Monitor, Round, exposition};
use protocol_tests::measure::{Outcome, cpu_seconds, cpu_seconds_of, peak_rss_kb, peak_rss_kb_of, setting};

/// A group's coordinator answers one commit at a time; several groups are committed side by side.
const SIDE_BY_SIDE: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Outcome<()> {
    let Ok(bootstrap) = std::env::var("BOOTSTRAP") else {
        println!("lag: BOOTSTRAP names no cluster, nothing is measured");
        return Ok(());
    };
    let rounds = setting("ROUNDS", 20)?;
    let filling = connect(&bootstrap).await?;
    fill(&filling.admin(), setting("GROUPS", 500)?, setting("TOPICS", 20)?, setting("PARTITIONS", 100)?).await?;
    filling.close().await;
    ours(&connect(&bootstrap).await?, rounds).await?;
    match std::env::var("KMINION") {
        Ok(program) => Peer::start(&program, &bootstrap)?.measure(rounds),
        Err(_) => Ok(()),
    }
}

async fn connect(bootstrap: &str) -> Outcome<Client> {
    let bootstrap_servers = vec![bootstrap.to_owned()];
    Ok(Client::connect(ClientConfig { bootstrap_servers, ..Default::default() }).await?)
}

async fn fill(admin: &Admin, groups: usize, topics: usize, partitions: i32) -> Outcome<()> {
    let name = |topic: usize| format!("lag-bench-{topic:02}");
    for topic in 0..topics {
        for (_, made) in admin.create_topics(&[NewTopic::new(name(topic)).partitions(partitions)]).await? {
            match made {
                Err(error) if error.code() != Some(ErrorCode::TOPIC_ALREADY_EXISTS) => return Err(error.into()),
                _ => {}
            }
        }
    }
    let commit = |group: usize| async move {
        let of = |partition| (TopicPartition::new(name(group % topics), partition), 0.into());
        let to: Vec<_> = (0..partitions).map(of).collect();
        admin.alter_offsets(&format!("lag-bench-{group:04}"), &to).await.map(drop)
    };
    stream::iter(0..groups).map(Ok).try_for_each_concurrent(SIDE_BY_SIDE, commit).await?;
    Ok(())
}

async fn ours(client: &Client, rounds: usize) -> Outcome<()> {
    let config = Config::default();
    let mut monitor = Monitor::new(&config, client);
    let began = Instant::now();
    let first = monitor.round().await?;
    let (seconds, rows) = (began.elapsed().as_secs_f64(), first.rows.len());
    println!("highwater, first round: {seconds:.3} s, {} requests, {rows} rows", requests(&first));
    let (cpu, mut asked) = (cpu_seconds()?, requests(&first));
    let (mut text, mut sweeps, mut texts, mut most) = (String::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let began = Instant::now();
        let round = monitor.round().await?;
        sweeps.push(began.elapsed());
        let began = Instant::now();
        text.clear();
        exposition(&config, &round, round.finished_ms, &mut text);
        texts.push(began.elapsed());
        most = most.max(requests(&round) - asked);
        asked = requests(&round);
    }
    println!(
        "highwater: round {:.3} s, text {:.3} s ({} kB), {:.3} s CPU for both, at most {most} requests, {} kB peak RSS",
        median(sweeps),
        median(texts),
        text.len() / 1000,
        (cpu_seconds()? - cpu) / rounds as f64,
        peak_rss_kb()?,
    );
    Ok(())
}

fn requests(round: &Round) -> u64 {
    round.cost.by_api.iter().map(|api| api.answered + api.failed + api.abandoned).sum()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}

/// Another monitor, in a process of its own.
struct Peer {
    process: Child,
    port: u16,
}

impl Peer {
    fn start(program: &str, bootstrap: &str) -> Outcome<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new(program)
            .env("KAFKA_BROKERS", bootstrap)
            .env("EXPORTER_PORT", port.to_string())
            .env("MINION_CONSUMERGROUPS_SCRAPEMODE", "adminApi")
            .env("MINION_CONSUMERGROUPS_GRANULARITY", "partition")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut peer = Self { process, port };
        let began = Instant::now();
        while peer.scrape().is_err() {
            if began.elapsed() > PATIENCE || peer.process.try_wait()?.is_some() {
                return Err(format!("{program} does not answer").into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(peer)
    }

    fn scrape(&self) -> Outcome<usize> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let is_ok = answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200");
        is_ok.then_some(answer.len()).ok_or_else(|| "not 200".into())
    }

    fn measure(&self, rounds: usize) -> Outcome<()> {
        let (of, mut times, mut bytes) = (self.process.id(), Vec::new(), 0);
        let cpu = cpu_seconds_of(of)?;
        for _ in 0..rounds {
            let began = Instant::now();
            bytes = self.scrape()?;
            times.push(began.elapsed());
        }
        println!(
            "kminion: round and text {:.3} s ({} kB), {:.3} s CPU, {} kB peak RSS",
            median(times),
            bytes / 1000,
            (cpu_seconds_of(of)? - cpu) / rounds as f64,
            peak_rss_kb_of(of)?,
        );
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
