//! The loop: deliveries are gathered into batches, written, and finished.

use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::document::{Document, document};
use super::store::{DocumentStore, Outcome, StoreError};
use super::{Config, Metrics};
use crate::client::{Consumer, Delivery, Error};

/// The pause after a first failure; it doubles up to the longest one, each cut at random so that several sinks do not
/// come back together.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// Between two looks whether the store answers: writes say it too, but there may be nothing to write.
const LOOK: Duration = Duration::from_secs(5);

/// Reads until `stop`, then drains, commits and leaves the group. An error is one that waiting cannot mend.
pub async fn run(
    config: &Config,
    mut consumer: Consumer,
    store: &dyn DocumentStore,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let sink = Sink { config, store, metrics };
    let mut writing = FuturesUnordered::new();
    // The last thing that the consumer has said: when it ends, this is why.
    let mut refused = None;
    let reading = async {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(()),
                Some(()) = writing.next() => {}
                batch = sink.gather(&mut consumer, &mut refused), if writing.len() < config.batches_in_flight_max => match batch {
                    Some(batch) => writing.push(sink.write(batch)),
                    None => break refused.take().map_or(Ok(()), Err),
                }
            }
        }
    };
    let outcome = tokio::select! {
        outcome = reading => outcome,
        never = sink.look_at_the_store() => match never {},
    };
    let drained = timeout(config.drain(), async { while let Some(()) = writing.next().await {} });
    if drained.await.is_err() {
        tracing::warn!("stopped with documents on their way: their records are read again at the next start");
    }
    drop(writing);
    let closed = consumer.close(config.drain()).await;
    metrics.counters.passed_over.store(consumer.passed_over(), Relaxed);
    outcome.and(closed)
}

struct Sink<'a> {
    config: &'a Config,
    store: &'a dyn DocumentStore,
    metrics: &'a Metrics,
}

impl Sink<'_> {
    async fn look_at_the_store(&self) -> Infallible {
        let mut ticks = interval(LOOK);
        loop {
            ticks.tick().await;
            let answered = self.store.ping().await;
            self.metrics.counters.store_said_to_a_ping(answered.as_ref().copied());
        }
    }

    /// Waits for one delivery and takes what else is there already, up to a batch. `None` when the consumer has ended. An
    /// error concerns one partition while the others go on; it is left in `refused`. Dropped while it waits, it has taken
    /// nothing.
    async fn gather(&self, consumer: &mut Consumer, refused: &mut Option<Error>) -> Option<Vec<Delivery>> {
        let mut batch: Vec<Delivery> = Vec::new();
        let mut records = 0;
        while records < self.config.batch_documents_max {
            let next = match batch.is_empty() {
                true => consumer.next().await?,
                false => match consumer.next().now_or_never() {
                    Some(Some(next)) => next,
                    // Nothing more is there; or the consumer has ended, which it says again.
                    _ => break,
                },
            };
            self.metrics.counters.passed_over.store(consumer.passed_over(), Relaxed);
            match next {
                Ok(delivery) => {
                    records += delivery.len();
                    batch.push(delivery);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read");
                    *refused = Some(error);
                }
            }
        }
        Some(batch)
    }

    /// Stores every record of these deliveries, however long it takes, and finishes them.
    async fn write(&self, deliveries: Vec<Delivery>) {
        let of = |delivery: &Delivery| {
            let place = delivery.topic_partition.clone();
            delivery.records().map(|record| document(&place, &record)).collect::<Vec<_>>()
        };
        let documents: Vec<Document> = deliveries.iter().flat_map(of).collect();
        self.metrics.counters.read.fetch_add(documents.len() as u64, Relaxed);
        for batch in documents.chunks(self.config.batch_documents_max.max(1)) {
            self.store_all(batch).await;
        }
        deliveries.into_iter().for_each(Delivery::finish);
    }

    async fn store_all(&self, batch: &[Document]) {
        let mut again = Vec::new();
        for (document, outcome) in batch.iter().zip(self.insert(batch).await) {
            match outcome {
                Outcome::Inserted => self.stored(),
                Outcome::Present => self.stored_before(),
                Outcome::Taken => again.push(document.clone().beside()),
                Outcome::Refused(reason) => again.push(self.refused(document, &reason)),
            }
        }
        let mut pause = RETRY_FIRST;
        while !again.is_empty() {
            let mut left = Vec::new();
            for (document, outcome) in again.iter().zip(self.insert(&again).await) {
                match outcome {
                    Outcome::Inserted => self.stored(),
                    Outcome::Present | Outcome::Taken => self.stored_before(),
                    // Even the little that says where the record is: nothing else is left but to wait and to say so.
                    Outcome::Refused(reason) => left.push((document.clone(), reason)),
                }
            }
            if let Some((document, reason)) = left.first() {
                let store = format!("document {}", document.id);
                self.pause(&StoreError { store, reason: reason.clone() }, &mut pause).await;
            }
            again = left.into_iter().map(|(document, reason)| document.without_value(&reason)).collect();
        }
    }

    fn refused(&self, document: &Document, reason: &str) -> Document {
        tracing::error!(id = document.id, reason, "document refused: stored without its value");
        self.metrics.counters.without_value.fetch_add(1, Relaxed);
        document.without_value(reason)
    }

    fn stored(&self) {
        self.metrics.counters.stored.fetch_add(1, Relaxed);
    }

    fn stored_before(&self) {
        self.metrics.counters.stored_before.fetch_add(1, Relaxed);
    }

    /// Offers a batch until the store takes it.
    async fn insert(&self, batch: &[Document]) -> Vec<Outcome> {
        let mut pause = RETRY_FIRST;
        loop {
            let began = Instant::now();
            match self.store.insert(batch).await {
                Ok(outcomes) => {
                    self.metrics.wrote(began.elapsed());
                    self.metrics.counters.store_said_to_a_write(Ok(()));
                    return outcomes;
                }
                Err(error) => self.pause(&error, &mut pause).await,
            }
        }
    }

    async fn pause(&self, error: &StoreError, pause: &mut Duration) {
        self.metrics.counters.retried.fetch_add(1, Relaxed);
        self.metrics.counters.store_said_to_a_write(Err(error));
        tracing::warn!(%error, "the store cannot take documents now; trying again");
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        *pause = (*pause * 2).min(RETRY_LONGEST);
    }
}
