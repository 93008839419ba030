//! How long one record takes, from the caller to the broker's acknowledgement and back, when nothing else is under way.
//!
//! ```text
//! BOOTSTRAP=127.0.0.1:9092 FRANZ_GO=$(protocol-tests/foreign/go/build.sh) cargo bench -p protocol-tests --bench latency
//! ```
//!
//! One producer without linger (acks=all) sends a record of 100 bytes, awaits it, sends the next. Environment: `BOOTSTRAP`,
//! `TOPIC` (made where it is missing), `RECORDS`, `RUNS`; `FRANZ_GO`, the program of `foreign/go`, does the same after each run.

use std::time::{Duration, Instant};

use highwater::client::{Client, NewTopic, ProducerConfig, ProducerRecord, Topic};
use protocol_tests::measure::{compare, setting};
use protocol_tests::{Outcome, connect, make_missing_topics};

#[tokio::main]
async fn main() -> Outcome<()> {
    let Ok(bootstrap) = std::env::var("BOOTSTRAP") else {
        println!("latency: BOOTSTRAP names no cluster, nothing is measured");
        return Ok(());
    };
    let client = connect(&bootstrap).await?;
    let topic = Topic::from(setting("TOPIC", "latency-bench".to_owned())?);
    make_missing_topics(&client, &[NewTopic::new(topic.clone()).partitions(1)]).await?;
    let records: usize = setting("RECORDS", 20_000)?;
    for _ in 0..setting("RUNS", 3)? {
        println!("highwater  {}", ours(&client, &topic, records).await?);
        compare(&["latency", &bootstrap, &topic, &records.to_string()])?;
    }
    Ok(())
}

async fn ours(client: &Client, topic: &Topic, records: usize) -> Outcome<String> {
    let producer = client.producer(ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() })?;
    let record = ProducerRecord::new(topic, &[0; 100]);
    producer.send(record).await?;
    let mut times = Vec::with_capacity(records);
    for _ in 0..records {
        let began = Instant::now();
        producer.send(record).await?;
        times.push(began.elapsed());
    }
    producer.close(Duration::from_secs(10)).await?;
    times.sort();
    let of = |share: f64| times[((records - 1) as f64 * share) as usize].as_micros();
    Ok(format!("p50 {} us  p99 {} us  p99.9 {} us  most {} us", of(0.5), of(0.99), of(0.999), of(1.0)))
}
