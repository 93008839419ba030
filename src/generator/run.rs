//! The loop: what is due is offered, and what became of it is counted.

use std::future::Future;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Config, Counters, Metrics, Schedule, Summary, Workload};
use crate::client::{Error, Producer, ProducerRecord, Receipt};

/// How many records are offered between two looks at the clock.
const CHUNK: u64 = 256;
/// Chunks whose receipts wait to be counted. Full: offering waits, as it does for a full producer buffer.
const UNSETTLED_CHUNKS: usize = 1024;
/// Due times closer together than this are served together, so that a high rate does not wake for each record.
const TICK: Duration = Duration::from_millis(2);

/// Offers made-up records until `stop`, the limit, or a closed producer; then waits for every receipt.
pub async fn run(config: &Config, producer: &Producer, metrics: &Metrics, stop: &CancellationToken) -> Summary {
    let seed = config.seed.unwrap_or_else(rand::random);
    tracing::info!(seed, rate = ?config.rate, "generating");
    let offering = Offering::new(producer, &metrics.counters);
    offering.settled(|offering| offer(config, seed, offering, stop)).await;
    metrics.counters.summary()
}

async fn offer(config: &Config, seed: u64, mut offering: Offering<'_>, stop: &CancellationToken) {
    let (start, mut sent) = (Instant::now(), 0);
    let mut workload = Workload::new(seed, config);
    let schedule = Schedule::new(config.rate, config.limit);
    while let Some(at) = schedule.due_at(sent) {
        let chunk = async {
            wait_until(start + at).await;
            let due = schedule.due(start.elapsed()).saturating_sub(sent).min(CHUNK);
            for _ in 0..due {
                let Some(made) = workload.next(Timestamp::now()) else { return false };
                let topic = config.topics.of(made.shape);
                let record =
                    ProducerRecord { key: Some(made.key), headers: &HEADERS, ..ProducerRecord::new(topic, made.value) };
                if !offering.offer(record).await {
                    return false;
                }
                sent += 1;
            }
            true
        };
        let more = stop.run_until_cancelled(chunk).await.unwrap_or(false);
        if !(offering.hand_over().await && more) {
            return;
        }
    }
}

const HEADERS: [(&str, Option<&[u8]>); 1] = [("content-type", Some(b"application/json"))];

async fn wait_until(at: Instant) {
    let now = Instant::now();
    if at > now {
        sleep_until(at.max(now + TICK)).await;
    } else {
        tokio::task::yield_now().await;
    }
}

/// Records on their way: each is counted as offered when the producer takes or refuses it, and as acknowledged or failed
/// when its receipt is settled.
pub(super) struct Offering<'a> {
    producer: &'a Producer,
    counters: &'a Counters,
    taken: Vec<Receipt>,
    receipts: Option<mpsc::Sender<Vec<Receipt>>>,
}

impl<'a> Offering<'a> {
    pub(super) fn new(producer: &'a Producer, counters: &'a Counters) -> Self {
        Self { producer, counters, taken: Vec::new(), receipts: None }
    }

    /// Runs `offer` and, beside it, settles the receipts it hands over; returns when none is left.
    pub(super) async fn settled<T, F: Future<Output = T>>(mut self, offer: impl FnOnce(Self) -> F) -> T {
        let (receipts, unsettled) = mpsc::channel(UNSETTLED_CHUNKS);
        self.receipts = Some(receipts);
        let counters = self.counters;
        tokio::join!(offer(self), settle(unsettled, counters)).0
    }

    /// False when the producer takes nothing any more.
    pub(super) async fn offer(&mut self, record: ProducerRecord<'_>) -> bool {
        let topic = record.topic.clone();
        match self.producer.enqueue(record).await {
            Ok(receipt) => self.taken.push(receipt),
            Err(_) if self.producer.check_open().is_err() => return false,
            Err(error) => refused(self.counters, &topic, &error),
        }
        self.counters.offered.fetch_add(1, Relaxed);
        true
    }

    /// Passes the receipts on to be settled; false when nobody settles them any more.
    pub(super) async fn hand_over(&mut self) -> bool {
        let taken = std::mem::take(&mut self.taken);
        match &self.receipts {
            Some(receipts) => receipts.send(taken).await.is_ok(),
            None => false,
        }
    }
}

fn refused(counters: &Counters, topic: &str, error: &Error) {
    counters.failed.fetch_add(1, Relaxed);
    tracing::warn!(topic, %error, "record not taken");
}

async fn settle(mut unsettled: mpsc::Receiver<Vec<Receipt>>, counters: &Counters) {
    while let Some(chunk) = unsettled.recv().await {
        let (mut acknowledged, mut failed, mut first) = (0, 0, None);
        for receipt in chunk {
            match receipt.await {
                Ok(_) => acknowledged += 1,
                Err(error) => {
                    failed += 1;
                    first.get_or_insert(error);
                }
            }
        }
        counters.acknowledged.fetch_add(acknowledged, Relaxed);
        counters.failed.fetch_add(failed, Relaxed);
        if let Some(error) = first {
            tracing::warn!(failed, %error, "records not acknowledged");
        }
    }
}
