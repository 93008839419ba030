//! How fast a group of one member reads a topic of a real cluster from its start, and at what cost. Every record is looked
//! at, every checksum verified, and all is committed.
//!
//! ```text
//! BOOTSTRAP=127.0.0.1:9092 TOPIC=filled FRANZ_GO=$(protocol-tests/foreign/go/build.sh) \
//!     cargo bench -p protocol-tests --bench consume
//! ```
//!
//! Environment: `BOOTSTRAP`, `TOPIC` (must hold that many records), `RECORDS`, `RUNS`, `MEMORY_BYTES`, `FETCH_MAX_BYTES`,
//! `PARTITION_MAX_BYTES`, `CHECK_CRCS`. One line a run: rate, CPU time a record (user and system, of this whole process),
//! peak memory. The clock runs from the first record to the last, as joining takes what the broker's
//! `group.initial.rebalance.delay.ms` says; the time from the start is told as well. A rate on shared cores says little
//! alone: `FRANZ_GO`, the program of `foreign/go`, reads as many after each run.

use std::time::{Duration, Instant};

use highwater::client::{Consumer, ConsumerConfig, OffsetReset, Topic};
use protocol_tests::measure::{compare, cpu_seconds, peak_rss_kb, setting};
use protocol_tests::{Outcome, connect};

#[tokio::main]
async fn main() -> Outcome<()> {
    let Ok(bootstrap) = std::env::var("BOOTSTRAP") else {
        println!("consume: BOOTSTRAP names no cluster, nothing is measured");
        return Ok(());
    };
    let client = connect(&bootstrap).await?;
    let (records, defaults) = (setting("RECORDS", 5_000_000)?, ConsumerConfig::default());
    let topic: String = setting("TOPIC", "consume-bench".to_owned())?;
    for run in 0..setting("RUNS", 3)? {
        let config = ConsumerConfig {
            group_id: format!("consume-bench-{}-{run}", std::process::id()),
            topics: vec![Topic::from(topic.as_str())],
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
        let group = format!("consume-bench-{}-{run}-go", std::process::id());
        compare(&["consume", &bootstrap, &group, &topic, &records.to_string()])?;
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
        "highwater  {:.3} M records/s  {:.0} MB/s  {:.3} us CPU/record  {} kB peak RSS  {deliveries} deliveries  {:.2} s from the start",
        records as f64 / seconds / 1e6,
        bytes as f64 / seconds / 1e6,
        cpu / records as f64 * 1e6,
        peak_rss_kb()?,
        start.elapsed().as_secs_f64(),
    );
    Ok(())
}
