//! How fast records go to a real cluster, and at what cost: one producer, one caller, records of one size without key.
//!
//! ```text
//! BOOTSTRAP=127.0.0.1:9092 FRANZ_GO=$(protocol-tests/foreign/go/build.sh) cargo bench -p protocol-tests --bench produce
//! ```
//!
//! Environment: `BOOTSTRAP`, `TOPIC` (must exist), `RECORDS`, `SIZE`, `COMPRESSION`, `LINGER_MS`, `BATCH_BYTES`, `KEYED`, `RUNS`. One line
//! a run: rate, CPU time a record (user and system, of this whole process), peak memory. Every receipt is awaited, at most
//! `UNREAD` behind, so a record counts only when it is acknowledged. A rate on shared cores says little alone: `FRANZ_GO`, the
//! program of `foreign/go`, writes as many without keys after each run.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use highwater::client::producer::Receipt;
use highwater::client::{Producer, ProducerConfig, ProducerRecord, Topic};
use protocol_tests::measure::{compare, cpu_seconds, peak_rss_kb, setting};
use protocol_tests::{Outcome, connect};

/// Receipts that wait to be looked at.
const UNREAD: usize = 50_000;

struct Load {
    topic: Topic,
    records: usize,
    value: Vec<u8>,
    keyed: bool,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let Ok(bootstrap) = std::env::var("BOOTSTRAP") else {
        println!("produce: BOOTSTRAP names no cluster, nothing is measured");
        return Ok(());
    };
    let client = connect(&bootstrap).await?;
    let load = Load {
        topic: Topic::from(setting("TOPIC", "produce-bench".to_owned())?),
        records: setting("RECORDS", 5_000_000)?,
        value: vec![b'x'; setting("SIZE", 100)?],
        keyed: setting("KEYED", false)?,
    };
    let (codec, defaults) = (setting("COMPRESSION", "none".to_owned())?, ProducerConfig::default());
    let config = ProducerConfig {
        linger: Duration::from_millis(setting("LINGER_MS", 5)?),
        batch_bytes: setting("BATCH_BYTES", defaults.batch_bytes)?,
        compression: codec.parse()?,
        ..defaults
    };
    for _ in 0..setting("RUNS", 3)? {
        let producer = client.producer(config.clone())?;
        measure(&producer, &load).await?;
        producer.close(Duration::from_secs(60)).await?;
        let [records, size] = [load.records, load.value.len()].map(|it| it.to_string());
        let linger = config.linger.as_millis().to_string();
        compare(&["produce", &bootstrap, &load.topic, &records, &size, &linger, &codec])?;
    }
    Ok(())
}

async fn measure(producer: &Producer, load: &Load) -> Outcome<()> {
    let (start, cpu) = (Instant::now(), cpu_seconds()?);
    let mut receipts: VecDeque<Receipt> = VecDeque::with_capacity(UNREAD + 1);
    for number in 0..load.records {
        let key = number.to_be_bytes();
        let key = load.keyed.then_some(key.as_slice());
        receipts.push_back(
            producer.enqueue(ProducerRecord { key, ..ProducerRecord::new(&load.topic, &load.value) }).await?,
        );
        if receipts.len() > UNREAD
            && let Some(oldest) = receipts.pop_front()
        {
            oldest.await?;
        }
    }
    producer.flush().await;
    for receipt in receipts {
        receipt.await?;
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let (records, bytes) = (load.records as f64, (load.records * load.value.len()) as f64);
    let stats = producer.stats();
    println!(
        "highwater  {:.3} M records/s  {:.0} MB/s  {:.3} us CPU/record  {} kB peak RSS  {} batches  {} requests",
        records / seconds / 1e6,
        bytes / seconds / 1e6,
        cpu / records * 1e6,
        peak_rss_kb()?,
        stats.batches,
        stats.requests,
    );
    Ok(())
}
