//! The loop: what is read is judged and sent in order, and finished when it is acknowledged.

use std::borrow::Cow;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::dead_letter::{self, Origin};
use super::verdict::{Rejection, Verdict, judge};
use super::{Config, Metrics};
use crate::client::{Consumer, Delivery, Error, Offset, Producer, ProducerRecord, Receipt, Record, Topic};

/// Chunks whose acknowledgements are waited for. Full: reading waits.
const UNSETTLED_CHUNKS: usize = 256;
/// Between two tries of a record that the cluster could not take.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Reads until `stop`, then drains, commits and leaves the group. An error is one that waiting cannot mend.
///
/// The producer should keep trying for as long as an outage may last (its delivery timeout): it retries in order, which a
/// record that comes back here and is sent again does not keep.
pub async fn run(
    config: &Config,
    mut consumer: Consumer,
    producer: Producer,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let pipeline = Pipeline { config, producer, metrics };
    let (unsettled, settling) = mpsc::channel(UNSETTLED_CHUNKS);
    let reading = async {
        let outcome = pipeline.read(&mut consumer, unsettled, stop).await;
        if outcome.is_err() {
            stop.cancel();
        }
        outcome
    };
    let settled = async {
        if pipeline.by_the_drain(stop, pipeline.settle(settling)).await.is_none() {
            tracing::warn!("stopped with records in flight: they are read again at the next start");
        }
    };
    let (outcome, ()) = tokio::join!(reading, settled);
    let closed = consumer.close(config.drain()).await;
    outcome.and(closed)
}

struct Pipeline<'a> {
    config: &'a Config,
    producer: Producer,
    metrics: &'a Metrics,
}

/// A chunk on its way, and what was sent of it.
struct Sent {
    delivery: Delivery,
    since: Instant,
    records: Vec<(Offset, Route, Receipt)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Output,
    DeadLetters,
}

impl Pipeline<'_> {
    async fn read(
        &self,
        consumer: &mut Consumer,
        unsettled: mpsc::Sender<Sent>,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let mut refused = None;
        while let Some(item) = stop.run_until_cancelled(consumer.next()).await {
            let delivery = match item {
                Some(Ok(delivery)) => delivery,
                // It concerns one partition, and is told again as long as it lasts; the others go on.
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot read");
                    refused = Some(error);
                    continue;
                }
                // The group has refused this member for good, for the reason told last.
                None => return refused.map_or(Ok(()), Err),
            };
            // A chunk is sent whole if it can be: of one that is not, a part would be passed on twice.
            let Some(Ok(sent)) = self.by_the_drain(stop, self.send(delivery)).await else { return Ok(()) };
            if unsettled.send(sent).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for `work` as long as nobody says stop, and then for as long as draining may take.
    async fn by_the_drain<T>(&self, stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        match stop.run_until_cancelled(&mut work).await {
            Some(done) => Some(done),
            None => timeout(self.config.drain(), work).await.ok(),
        }
    }

    /// Sends every record of a chunk, in order; an error means that the producer was closed.
    async fn send(&self, delivery: Delivery) -> Result<Sent, Error> {
        let since = Instant::now();
        let mut records = Vec::with_capacity(delivery.len());
        for record in delivery.records() {
            let (route, receipt) = self.route(&delivery, &record).await?;
            records.push((record.offset, route, receipt));
        }
        self.metrics.counters.read.fetch_add(records.len() as u64, Relaxed);
        Ok(Sent { delivery, since, records })
    }

    async fn route(&self, delivery: &Delivery, record: &Record<'_>) -> Result<(Route, Receipt), Error> {
        let rejection = match judge(record.value, &self.config.rules, Timestamp::now()) {
            Verdict::Reject(rejection) => rejection,
            Verdict::Accept(value) => match self.forward(record, &value).await {
                Ok(receipt) => return Ok((Route::Output, receipt)),
                Err(error) if error.is_too_large() => too_large(&error),
                Err(error) => return Err(error),
            },
        };
        Ok((Route::DeadLetters, self.dead_letter(delivery, record, &rejection).await?))
    }

    async fn forward(&self, record: &Record<'_>, value: &[u8]) -> Result<Receipt, Error> {
        let headers = Headers::of(record);
        self.enqueue(copy_of(&self.config.output, record, Some(value), &headers.borrowed())).await
    }

    /// A record that is too large to carry the headers leaves its value behind, and says so: the original stays in the
    /// input topic, at the offset that the headers name.
    async fn dead_letter(
        &self,
        delivery: &Delivery,
        record: &Record<'_>,
        rejection: &Rejection,
    ) -> Result<Receipt, Error> {
        let origin = Origin {
            topic_partition: &delivery.topic_partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            group: &self.config.group_id,
            rejection,
            failed_at: Timestamp::now(),
        };
        let added = dead_letter::headers(self.config.header_family, &origin);
        let mut headers = Headers::of(record);
        headers.0.extend(added.iter().map(|(name, value)| (Cow::Borrowed(name.as_ref()), Some(value.as_slice()))));
        let topic = &self.config.dead_letters;
        match self.enqueue(copy_of(topic, record, record.value, &headers.borrowed())).await {
            Err(error) if error.is_too_large() => {
                headers.0.push((Cow::Borrowed("highwater.value"), Some(b"left behind: too large")));
                self.enqueue(copy_of(topic, record, None, &headers.borrowed())).await
            }
            sent => sent,
        }
    }

    /// Offers a record until it is taken; errors are those of the record itself, or of a closed producer.
    async fn enqueue(&self, record: ProducerRecord<'_>) -> Result<Receipt, Error> {
        loop {
            match self.producer.enqueue(record).await {
                Ok(receipt) => return Ok(receipt),
                Err(error) if error.is_too_large() || error.is_closed() => return Err(error),
                Err(error) => self.pause(&error).await,
            }
        }
    }

    async fn pause(&self, error: &Error) {
        self.metrics.counters.retried.fetch_add(1, Relaxed);
        tracing::warn!(%error, "the cluster cannot take records now; trying again");
        sleep(RETRY_PAUSE).await;
    }

    async fn settle(&self, mut settling: mpsc::Receiver<Sent>) {
        let mut waiting = FuturesUnordered::new();
        loop {
            tokio::select! {
                next = settling.recv(), if waiting.len() < UNSETTLED_CHUNKS => match next {
                    Some(sent) => waiting.push(self.finish(sent)),
                    None => break,
                },
                Some(()) = waiting.next() => {}
            }
        }
        while let Some(()) = waiting.next().await {}
    }

    /// Waits until each record of a chunk is acknowledged, and so finishes it. A closed producer leaves it unfinished.
    async fn finish(&self, sent: Sent) {
        let (mut processed, mut dead_lettered) = (0, 0);
        for (offset, route, receipt) in sent.records {
            match self.acknowledged(&sent.delivery, offset, route, receipt).await {
                Some(Route::Output) => processed += 1,
                Some(Route::DeadLetters) => dead_lettered += 1,
                None => return,
            }
        }
        self.metrics.finished(processed, dead_lettered, sent.since.elapsed());
        sent.delivery.finish();
    }

    async fn acknowledged(
        &self,
        delivery: &Delivery,
        offset: Offset,
        mut route: Route,
        mut receipt: Receipt,
    ) -> Option<Route> {
        loop {
            let Err(error) = receipt.await else { return Some(route) };
            if error.is_closed() {
                return None;
            }
            let record = delivery.records().find(|record| record.offset == offset)?;
            let again = if error.is_too_large() && route == Route::Output {
                let rejection = too_large(&error);
                self.dead_letter(delivery, &record, &rejection).await.map(|receipt| (Route::DeadLetters, receipt))
            } else {
                self.pause(&error).await;
                self.route(delivery, &record).await
            };
            (route, receipt) = again.ok()?;
        }
    }
}

/// A record's headers on their way out. Kafka's rule is that names are UTF-8; where one is not, its wrong bytes are replaced.
struct Headers<'a>(Vec<(Cow<'a, str>, Option<&'a [u8]>)>);

impl<'a> Headers<'a> {
    fn of(record: &Record<'a>) -> Self {
        Self(record.headers().map(|(name, value)| (String::from_utf8_lossy(name), value)).collect())
    }

    fn borrowed(&self) -> Vec<(&str, Option<&'a [u8]>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value)).collect()
    }
}

/// The record in another topic: its key and its time stay.
fn copy_of<'a>(
    topic: &'a Topic,
    record: &Record<'a>,
    value: Option<&'a [u8]>,
    headers: &'a [(&'a str, Option<&'a [u8]>)],
) -> ProducerRecord<'a> {
    ProducerRecord { topic, partition: None, key: record.key, value, headers, timestamp_ms: Some(record.timestamp_ms) }
}

fn too_large(error: &Error) -> Rejection {
    Rejection { reason: Cow::Borrowed("output.too_large"), message: error.to_string() }
}
