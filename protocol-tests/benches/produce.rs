//! How fast records go to a real cluster, and at what cost: one producer, one caller, records of one size without key.
//!
//! ```text
//! BOOTSTRAP=127.0.0.1:9092 cargo bench -p protocol-tests --bench produce
//! ```
//!
//! Environment: `BOOTSTRAP`, `TOPIC` (must exist), `RECORDS`, `SIZE`, `COMPRESSION`, `LINGER_MS`, `BATCH_BYTES`, `KEYED`, `RUNS`. One line
//! a run: rate, CPU time a record (user and system, of this whole process), peak memory. Every receipt is awaited, at most
//! `UNREAD` behind, so a record counts only when it is acknowledged. For a comparison run the other client between runs:
//! a rate on shared cores says little alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use highwater::client::producer::Receipt;
use highwater::client::{Client, ClientConfig, Producer, ProducerConfig, ProducerRecord, Topic};
use protocol_tests::measure::{Outcome, cpu_seconds, peak_rss_kb, setting};

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
    let client = Client::connect(ClientConfig { bootstrap_servers: vec![bootstrap], ..Default::default() }).await?;
    let load = Load {
        topic: Topic::from(setting("TOPIC", "produce-bench".to_owned())?),
        records: setting("RECORDS", 5_000_000)?,
        value: vec![b'x'; setting("SIZE", 100)?],
        keyed: setting("KEYED", false)?,
    };
    let defaults = ProducerConfig::default();
    let config = ProducerConfig {
        linger: Duration::from_millis(setting("LINGER_MS", 5)?),
        batch_bytes: setting("BATCH_BYTES", defaults.batch_bytes)?,
        compression: setting("COMPRESSION", "none".to_owned())?.parse()?,
        ..defaults
    };
    for _ in 0..setting("RUNS", 3)? {
        let producer = client.producer(config.clone());
        measure(&producer, &load).await?;
        producer.close(Duration::from_secs(60)).await?;
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
        "{:.3} M records/s  {:.0} MB/s  {:.3} us CPU/record  {} kB peak RSS  {} batches  {} requests",
        records / seconds / 1e6,
        bytes / seconds / 1e6,
        cpu / records * 1e6,
        peak_rss_kb()?,
        stats.batches,
        stats.requests,
    );
    Ok(())
}
