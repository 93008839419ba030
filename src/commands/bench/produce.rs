//! `highwater bench produce`.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::latencies::Latencies;
use crate::app::{Failure, Status, stop_on_signal};
use crate::cli;
use crate::client::{Error, ErrorCode, Producer, ProducerRecord, Receipt, Topic};
use crate::commands::output;
use crate::commands::session::Session;

/// Between two lines on the way.
const WINDOW: Duration = Duration::from_secs(5);
/// Records whose outcome is not known yet; the producer's own memory is smaller.
const UNSETTLED_MAX: usize = 1 << 20;
/// A pause of the throttle shorter than this is saved up.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// A record on its way: since when, its bytes, and its outcome.
type Sent = (Instant, usize, Receipt);

pub(super) async fn produce(mut args: cli::BenchProduce) -> Result<(), Failure> {
    args.asking.properties.append(&mut args.producer_props);
    let stop = stop_on_signal()?;
    let values = Values::of(&args)?;
    let session = Session::open(&args.asking, "bench").await?;
    let topic = Topic::from(args.topic.as_str());
    if session.client.partition_count(&topic).await?.is_none() {
        return Err(session.about_topic(&topic, &Error::from(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)).await);
    }
    let config = session.settings.producer.clone();
    let grace = config.delivery_timeout;
    let producer = session.client.producer(config)?;
    let (sent, outcomes) = mpsc::channel(UNSETTLED_MAX);
    let begun = Instant::now();
    let counting = tokio::spawn(count(outcomes, begun));
    let sending = send(&args, &producer, &topic, values, sent, &stop).await;
    let closed = producer.close(grace).await;
    let counted = counting.await.map_err(Failure::of(Status::Software))?;
    session.client.close().await;
    output::print(&counted.all.total(counted.ended - begun))?;
    sending?;
    closed?;
    counted.failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Where values come from.
enum Values {
    Letters { bytes: usize, random: Box<SmallRng> },
    Lines(Vec<Vec<u8>>),
}

impl Values {
    fn of(args: &cli::BenchProduce) -> Result<Self, Failure> {
        let Some(file) = &args.payload_file else {
            // The same letters in every run, so that runs can be compared.
            return Ok(Self::Letters { bytes: args.record_size, random: Box::new(SmallRng::seed_from_u64(0)) });
        };
        Ok(Self::Lines(lines(file)?))
    }

    fn fill(&mut self, number: u64, value: &mut Vec<u8>) {
        match self {
            Self::Letters { bytes, random } => {
                value.resize(*bytes, 0);
                random.fill(&mut value[..]);
                value.iter_mut().for_each(|byte| *byte = b'A' + *byte % 26);
            }
            Self::Lines(lines) => value.clone_from(&lines[(number % lines.len() as u64) as usize]),
        }
    }
}

fn lines(file: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let text = std::fs::read(file)
        .map_err(|error| Failure::new(Status::NoInput, format!("{} cannot be read: {error}", file.display())))?;
    let lines: Vec<Vec<u8>> =
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return Err(Failure::new(Status::Data, format!("{} has no lines in it", file.display())));
    }
    Ok(lines)
}

async fn send(
    args: &cli::BenchProduce,
    producer: &Producer,
    topic: &Topic,
    mut values: Values,
    sent: mpsc::Sender<Sent>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let (begun, mut value) = (Instant::now(), Vec::new());
    for number in 0..args.num_records {
        if stop.is_cancelled() {
            break;
        }
        values.fill(number, &mut value);
        let at = Instant::now();
        let receipt = producer.enqueue(ProducerRecord::new(topic, &value)).await?;
        if sent.send((at, value.len(), receipt)).await.is_err() {
            break;
        }
        if let Some(pause) = pause(args.throughput, number + 1, begun.elapsed()) {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

/// How far ahead of its rate the sending is.
fn pause(rate: f64, sent: u64, elapsed: Duration) -> Option<Duration> {
    let due = Duration::try_from_secs_f64(sent as f64 / rate).ok().filter(|_| rate > 0.0)?;
    due.checked_sub(elapsed).filter(|pause| *pause >= PAUSE_MIN)
}

/// What became of the records.
struct Counted {
    all: Latencies,
    ended: Instant,
    failed: Option<Error>,
}

/// Waits for outcomes in the order of sending, which is nearly that in which they come.
async fn count(mut outcomes: mpsc::Receiver<Sent>, begun: Instant) -> Counted {
    let (mut all, mut window, mut window_begun) = (Latencies::new(), Latencies::new(), begun);
    let (mut ended, mut failed) = (begun, None);
    while let Some((at, bytes, receipt)) = outcomes.recv().await {
        if let Err(error) = receipt.await {
            failed.get_or_insert(error);
            continue;
        }
        ended = Instant::now();
        all.add(ended - at, bytes);
        window.add(ended - at, bytes);
        if ended - window_begun >= WINDOW {
            // Who does not want to read it does not stop the measurement.
            let _ = output::print(&window.window(ended - window_begun));
            (window, window_begun) = (Latencies::new(), ended);
        }
    }
    Counted { all, ended, failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_throttle_holds_the_rate() {
        let ms = Duration::from_millis;
        let check = |rate: f64, sent: u64, elapsed: u64, want: Option<u64>| {
            assert_eq!(pause(rate, sent, ms(elapsed)), want.map(ms), "{rate} {sent} {elapsed}");
        };
        check(1000.0, 100, 50, Some(50));
        check(1000.0, 100, 100, None);
        check(1000.0, 100, 200, None);
        check(-1.0, 100, 0, None);
        check(0.0, 100, 0, None);
    }
}
