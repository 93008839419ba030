//! How fast a group of one member reads a topic of a real cluster from its start, and at what cost. Every record is looked
//! at, every checksum verified, and all is committed.
//!
//! ```text
//! BOOTSTRAP=127.0.0.1:9092 TOPIC=filled cargo bench -p protocol-tests --bench consume
//! ```
//!
//! Environment: `BOOTSTRAP`, `TOPIC` (must hold that many records), `RECORDS`, `RUNS`, `MEMORY_BYTES`, `FETCH_MAX_BYTES`,
//! `PARTITION_MAX_BYTES`, `CHECK_CRCS`. One line a run: rate, CPU time a record (user and system, of this whole process),
//! peak memory. The clock runs from the first record to the last, as joining takes what the broker's
//! `group.initial.rebalance.delay.ms` says; the time from the start is told as well. For a comparison run the other client
//! between runs: a rate on shared cores says little alone.

use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;
use std::time::{Duration, Instant};

use highwater::client::{Client, ClientConfig, Consumer, ConsumerConfig, OffsetReset, Topic};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let Ok(bootstrap) = std::env::var("BOOTSTRAP") else {
        println!("consume: BOOTSTRAP names no cluster, nothing is measured");
        return Ok(());
    };
    let client = Client::connect(ClientConfig { bootstrap_servers: vec![bootstrap], ..Default::default() }).await?;
    let (records, defaults) = (setting("RECORDS", 5_000_000)?, ConsumerConfig::default());
    for run in 0..setting("RUNS", 3)? {
        let config = ConsumerConfig {
            group_id: format!("consume-bench-{}-{run}", std::process::id()),
            topics: vec![Topic::from(setting("TOPIC", "consume-bench".to_owned())?)],
            auto_offset_reset: OffsetReset::Earliest,
            memory_bytes: setting("MEMORY_BYTES", defaults.memory_bytes)?,
            fetch_max_bytes: setting("FETCH_MAX_BYTES", defaults.fetch_max_bytes)?,
            partition_max_bytes: setting("PARTITION_MAX_BYTES", defaults.partition_max_bytes)?,
            check_crcs: setting("CHECK_CRCS", true)?,
            ..defaults.clone()
        };
        let start = Instant::now();
        let mut consumer = client.consumer(config)?;
        measure(&mut consumer, records, start).await?;
        consumer.close(Duration::from_secs(60)).await?;
    }
    Ok(())
}

async fn measure(consumer: &mut Consumer, wanted: usize, start: Instant) -> Outcome<()> {
    let (mut first, mut cpu) = (None, 0.0);
    let (mut records, mut bytes, mut deliveries) = (0, 0, 0);
    while records < wanted {
        let delivery = consumer.next().await.ok_or("the consumer has ended")??;
        if first.is_none() {
            (first, cpu) = (Some(Instant::now()), cpu_seconds()?);
        }
        for record in delivery.records() {
            bytes += record.value.map_or(0, <[u8]>::len);
            records += 1;
        }
        deliveries += 1;
        delivery.finish();
    }
    let (seconds, cpu) = (first.map_or(0.0, |first| first.elapsed().as_secs_f64()), cpu_seconds()? - cpu);
    println!(
        "{:.3} M records/s  {:.0} MB/s  {:.3} us CPU/record  {} kB peak RSS  {deliveries} deliveries  {:.2} s from the start",
        records as f64 / seconds / 1e6,
        bytes as f64 / seconds / 1e6,
        cpu / records as f64 * 1e6,
        peak_rss_kb()?,
        start.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn setting<T: FromStr<Err: Display>>(name: &str, default: T) -> Outcome<T> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|error| format!("{name}={text}: {error}").into()),
        Err(_) => Ok(default),
    }
}

/// User and system time of this process, in the kernel's hundredths.
fn cpu_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

fn peak_rss_kb() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
