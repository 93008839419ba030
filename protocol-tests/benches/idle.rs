//! What a member of a group costs that has very many partitions and nothing to do.
//!
//! ```text
//! BOOTSTRAP=127.0.0.1:9092 HIGHWATER=target/release/highwater FRANZ_GO=$(protocol-tests/foreign/go/build.sh) \
//!     cargo bench -p protocol-tests --bench idle
//! ```
//!
//! Each program is the only member of a group and reads a topic of `PARTITIONS` from its start, one record in each; a line is
//! printed a record. Then nothing comes for `IDLE_SECONDS`. What is said: time until all was read, CPU time until then, CPU time a
//! second from then on, peak memory.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use highwater::client::{
    Client, Error, ErrorCode, IsolationLevel, ListedOffset, NewTopic, OffsetSpec, ProducerConfig, ProducerRecord,
    Topic, TopicPartition,
};
use protocol_tests::measure::{cpu_seconds_of, peak_rss_kb_of, setting};
use protocol_tests::program::Running;
use protocol_tests::{Outcome, connect, make_topics};

#[tokio::main]
async fn main() -> Outcome<()> {
    let Ok(bootstrap) = std::env::var("BOOTSTRAP") else {
        println!("idle: BOOTSTRAP names no cluster, nothing is measured");
        return Ok(());
    };
    let (partitions, seconds) = (setting("PARTITIONS", 10_000)?, setting("IDLE_SECONDS", 30)?);
    let topic = format!("idle-bench-{partitions}");
    fill(&bootstrap, &Topic::from(topic.as_str()), partitions).await?;
    let of_this_run = std::process::id();
    for run in 0..setting("RUNS", 3)? {
        let group = format!("idle-bench-{of_this_run}-{run}");
        if let Ok(program) = std::env::var("HIGHWATER") {
            let args = ["consume", "-b", &bootstrap, "-g", &group, &topic];
            measure("highwater", Command::new(program).args(args), partitions, seconds)?;
        }
        if let Ok(program) = std::env::var("FRANZ_GO") {
            let args = ["idle", &bootstrap, &format!("{group}-go"), &topic];
            measure("franz-go ", Command::new(program).args(args), partitions, seconds)?;
        }
    }
    Ok(())
}

/// The topic, with a record in each partition, unless it is there. A controller makes less than 10,000 at once.
async fn fill(bootstrap: &str, topic: &Topic, partitions: i32) -> Outcome<()> {
    let client = connect(bootstrap).await?;
    match make_topics(&client, &[NewTopic::new(topic.clone()).partitions(partitions / 2)]).await {
        Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {}
        made => {
            made?;
            let all = client.admin().create_partitions(&[(topic.clone(), partitions)]).await?;
            all.into_iter().try_for_each(|(_, made)| made)?;
            produce(&client, topic, partitions).await?;
        }
    }
    if !is_filled(&client, topic, partitions).await? {
        return Err(format!("{topic} has partitions without a record; delete it, and it is made anew").into());
    }
    client.close().await;
    Ok(())
}

async fn produce(client: &Client, topic: &Topic, partitions: i32) -> Outcome<()> {
    let (producer, mut receipts) = (client.producer(ProducerConfig::default())?, Vec::new());
    for partition in 0..partitions {
        let record = ProducerRecord { partition: Some(partition), ..ProducerRecord::new(topic, b"x") };
        receipts.push(producer.enqueue(record).await?);
    }
    for receipt in receipts {
        receipt.await?;
    }
    Ok(producer.close(Duration::from_secs(60)).await?)
}

/// Whether there is something to read in each partition. Of a topic that an earlier run has left half made, or whose records
/// are gone since, not all would ever be read.
async fn is_filled(client: &Client, topic: &Topic, partitions: i32) -> Outcome<bool> {
    let all: Vec<_> = (0..partitions).map(|partition| TopicPartition::new(topic.clone(), partition)).collect();
    let (admin, level) = (client.admin(), IsolationLevel::ReadUncommitted);
    let starts = admin.list_offsets(OffsetSpec::Earliest, &all, level).await?;
    let ends = admin.list_offsets(OffsetSpec::Latest, &all, level).await?;
    let offset = |of: &HashMap<TopicPartition, Result<ListedOffset, Error>>, at| of.get(at)?.as_ref().ok()?.offset;
    Ok(all.iter().all(|at| offset(&starts, at).is_some_and(|start| offset(&ends, at) > Some(start))))
}

fn measure(name: &str, command: &mut Command, partitions: i32, seconds: u64) -> Outcome<()> {
    let began = Instant::now();
    let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let (of, printed) = (running.0.id(), running.0.stdout.take().ok_or("no output")?);
    let lines = BufReader::new(printed).lines().take(usize::try_from(partitions)?);
    let read = lines.collect::<Result<Vec<_>, _>>()?.len();
    if read < usize::try_from(partitions)? {
        return Err(format!("{name} ended after {read} records").into());
    }
    let (all_read, cpu) = (began.elapsed(), cpu_seconds_of(of)?);
    std::thread::sleep(Duration::from_secs(seconds));
    println!(
        "{name}  all read after {:.2} s ({cpu:.2} s CPU), then {:.4} s CPU a second, {} kB peak RSS",
        all_read.as_secs_f64(),
        (cpu_seconds_of(of)? - cpu) / seconds as f64,
        peak_rss_kb_of(of)?,
    );
    Ok(())
}
