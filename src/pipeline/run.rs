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
use super::parcel::{Form, Parcel};
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
        match pipeline.by_the_drain(stop, pipeline.settle(settling)).await {
            Some(Err(error)) => {
                stop.cancel();
                Err(error)
            }
            Some(Ok(())) => Ok(()),
            None => {
                tracing::warn!("stopped with records in flight: they are read again at the next start");
                Ok(())
            }
        }
    };
    let (read, settled) = tokio::join!(reading, settled);
    let closed = consumer.close(config.drain()).await;
    metrics.counters.passed_over.store(consumer.passed_over(), Relaxed);
    read.and(settled).and(closed)
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
    records: Vec<(Offset, Parcel, Receipt)>,
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
            let Some(sent) = self.by_the_drain(stop, self.send(delivery)).await.transpose()? else { return Ok(()) };
            if unsettled.send(sent).await.is_err() {
                return Ok(());
            }
            self.metrics.counters.passed_over.store(consumer.passed_over(), Relaxed);
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

    /// Sends every record of a chunk, in order; an error means that the producer takes nothing any more.
    async fn send(&self, delivery: Delivery) -> Result<Sent, Error> {
        let since = Instant::now();
        let mut records = Vec::with_capacity(delivery.len());
        for record in delivery.records() {
            let (parcel, receipt) = self.offer(&delivery, &record, Parcel::default()).await?;
            records.push((record.offset, parcel, receipt));
        }
        self.metrics.counters.read.fetch_add(records.len() as u64, Relaxed);
        Ok(Sent { delivery, since, records })
    }

    /// Offers a record until it is taken, in the form that it can be taken in.
    async fn offer(
        &self,
        delivery: &Delivery,
        record: &Record<'_>,
        mut parcel: Parcel,
    ) -> Result<(Parcel, Receipt), Error> {
        let verdict = judge(record.value, &self.config.rules, Timestamp::now());
        if matches!(verdict, Verdict::Reject(_)) {
            parcel = parcel.into_dead_letter();
        }
        loop {
            let sent = match (&verdict, parcel.refused()) {
                (Verdict::Accept(value), None) => self.forward(record, value).await,
                (Verdict::Reject(why), None) | (_, Some(why)) => {
                    self.dead_letter(delivery, record, why, parcel.form()).await
                }
            };
            match sent {
                Ok(receipt) => return Ok((parcel, receipt)),
                Err(error) => parcel = self.after(&error, parcel).await?,
            }
        }
    }

    /// What to try next. A record that is refused for what it is goes in another form; all else passes with time, but for
    /// a producer that is closed or has failed for good.
    async fn after(&self, error: &Error, parcel: Parcel) -> Result<Parcel, Error> {
        self.producer.check_open()?;
        match parcel.after(error) {
            Ok(next) => Ok(next),
            Err(same) => {
                self.metrics.counters.retried.fetch_add(1, Relaxed);
                tracing::warn!(%error, "the cluster cannot take records now; trying again");
                sleep(RETRY_PAUSE).await;
                Ok(same)
            }
        }
    }

    async fn forward(&self, record: &Record<'_>, value: &[u8]) -> Result<Receipt, Error> {
        let headers = Headers::of(record);
        self.producer.enqueue(copy_of(&self.config.output, record, Some(value), &headers.borrowed())).await
    }

    /// A dead letter that cannot carry everything says so: the original stays in the input topic, at the offset that the
    /// headers name.
    async fn dead_letter(
        &self,
        delivery: &Delivery,
        record: &Record<'_>,
        rejection: &Rejection,
        form: Form,
    ) -> Result<Receipt, Error> {
        let origin = Origin {
            topic_partition: &delivery.topic_partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            group: &self.config.group_id,
            rejection,
            failed_at: Timestamp::now(),
        };
        let added = dead_letter::headers(self.config.header_family, &origin, form);
        let mut headers = if form == Form::Bare { Headers(Vec::new()) } else { Headers::of(record) };
        headers.0.extend(added.iter().map(|(name, value)| (Cow::Borrowed(name.as_ref()), Some(value.as_slice()))));
        let headers = headers.borrowed();
        let whole = copy_of(&self.config.dead_letters, record, record.value, &headers);
        let letter = match form {
            Form::Whole => whole,
            Form::Redated => ProducerRecord { timestamp_ms: None, ..whole },
            Form::WithoutValue => ProducerRecord { timestamp_ms: None, value: None, ..whole },
            Form::Bare => ProducerRecord { timestamp_ms: None, value: None, key: None, ..whole },
        };
        self.producer.enqueue(letter).await
    }

    /// Waits for the receipts of every chunk; an error means that the producer has failed for good.
    async fn settle(&self, mut settling: mpsc::Receiver<Sent>) -> Result<(), Error> {
        let mut waiting = FuturesUnordered::new();
        loop {
            tokio::select! {
                next = settling.recv(), if waiting.len() < UNSETTLED_CHUNKS => match next {
                    Some(sent) => waiting.push(self.finish(sent)),
                    None => break,
                },
                Some(finished) = waiting.next() => finished?,
            }
        }
        while let Some(finished) = waiting.next().await {
            finished?;
        }
        Ok(())
    }

    /// Waits until each record of a chunk is acknowledged, and so finishes it. A producer that is closed, or has failed,
    /// leaves it unfinished.
    async fn finish(&self, sent: Sent) -> Result<(), Error> {
        let (mut processed, mut dead_lettered) = (0, 0);
        for (offset, parcel, receipt) in sent.records {
            match self.acknowledged(&sent.delivery, offset, parcel, receipt).await? {
                true => processed += 1,
                false => dead_lettered += 1,
            }
        }
        self.metrics.finished(processed, dead_lettered, sent.since.elapsed());
        sent.delivery.finish();
        Ok(())
    }

    /// Sends a record again until it is acknowledged; whether it was in the output.
    async fn acknowledged(
        &self,
        delivery: &Delivery,
        offset: Offset,
        mut parcel: Parcel,
        mut receipt: Receipt,
    ) -> Result<bool, Error> {
        loop {
            let Err(error) = receipt.await else { return Ok(!parcel.is_dead_letter()) };
            parcel = self.after(&error, parcel).await?;
            // It came out of this delivery, and a delivery does not change.
            let Some(record) = delivery.records().find(|record| record.offset == offset) else { return Err(error) };
            (parcel, receipt) = self.offer(delivery, &record, parcel).await?;
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
