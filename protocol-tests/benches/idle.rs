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

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use highwater::client::{Client, ErrorCode, NewTopic, ProducerConfig, ProducerRecord, Topic};
use protocol_tests::connect;
use protocol_tests::measure::{Outcome, cpu_seconds_of, peak_rss_kb_of, setting};

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
    for (_, made) in client.admin().create_topics(&[NewTopic::new(topic.clone()).partitions(partitions / 2)]).await? {
        match made {
            Err(error) if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => return Ok(()),
            made => made?,
        }
    }
    let all = client.admin().create_partitions(&[(topic.clone(), partitions)]).await?;
    all.into_iter().try_for_each(|(_, made)| made)?;
    while shown(&client, topic).await? < partitions {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (producer, mut receipts) = (client.producer(ProducerConfig::default()), Vec::new());
    for partition in 0..partitions {
        let record = ProducerRecord { partition: Some(partition), ..ProducerRecord::new(topic, b"x") };
        receipts.push(producer.enqueue(record).await?);
    }
    for receipt in receipts {
        receipt.await?;
    }
    producer.close(Duration::from_secs(60)).await?;
    client.close().await;
    Ok(())
}

async fn shown(client: &Client, topic: &Topic) -> Outcome<i32> {
    let topics = client.admin().list_topics().await?;
    Ok(i32::try_from(topics.get(topic).map_or(0, |it| it.partitions.len()))?)
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn measure(name: &str, command: &mut Command, partitions: i32, seconds: u64) -> Outcome<()> {
    let began = Instant::now();
    let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let (of, printed) = (running.0.id(), running.0.stdout.take().ok_or("no output")?);
    for line in BufReader::new(printed).lines().take(usize::try_from(partitions)?) {
        line?;
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
