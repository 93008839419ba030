//! Writing records to a cluster, each exactly once and in order per partition.
//!
//! ```text
//! enqueue ─ partitioner ─ accumulator: one open batch a partition ─┐ full, or old enough
//!    │                                                             ▼
//! Receipt ◄── outcome of the batch ◄── answer ◄── sender: one Produce request for all ready partitions of a broker
//! ```
//!
//! - A [`Producer`] is a cheap handle. `enqueue` encodes the record into its partition's open batch, under that partition's
//!   lock and on the caller's thread, and gives a [`Receipt`]: the batch's shared outcome and an index in it.
//! - One task, the sender, owns everything after that: which partitions are ready, what is on the wire, sequences, retries,
//!   deadlines. It is woken when a batch is opened, becomes ready or full, not by every record.
//!
//! What stays true:
//!
//! - A record is accepted whole or not at all. Every accepted record's receipt ends: written, or failed with a reason, at
//!   the latest when the delivery timeout is over, `close` has used up its grace, or the runtime goes away.
//! - With idempotence (the default) an acknowledged record is in the log once, and in the order in which one caller enqueued
//!   it to its partition, whatever replies, connections and leaders were lost in between. The rules are in `line`.
//! - Memory is bounded by `buffer_bytes`. When it is used up `enqueue` waits in line and `try_enqueue` gives `None`.
//!
//! Without idempotence a retry may duplicate records, and reorder them unless `in_flight_max` is 1.
//!
//! With a transactional id, records go into a [`Transaction`], which is read as a whole or not at all (`transaction`).
//!
//! Deliberately absent: interceptors, serializers, and a thread of its own.

mod accumulator;
mod answer;
mod failure;
mod inquiry;
mod line;
mod partitioner;
mod receipt;
mod request;
mod sealed;
mod sender;
mod shared;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod transaction;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{mpsc, oneshot};

use self::accumulator::Sizes;
pub use self::partitioner::{PartitionRule, Partitioner};
pub use self::receipt::{Receipt, RecordMetadata};
use self::sender::{Command, Sender};
use self::shared::{Shared, Tried};
use self::transaction::Close;
pub use self::transaction::{GroupMetadata, Position, Transaction};
use crate::client::cluster::Cluster;
use crate::client::time::bound;
use crate::client::{Backoff, Error};
use crate::protocol::batch::BatchBuilder;
pub use crate::protocol::compression::Compression;
use crate::protocol::types::Topic;

/// A batch may become so much larger than `batch_bytes`, up to that many bytes: half of what topics take where nothing else is
/// said.
const GROWTH: usize = 8;
const GROWN_BYTES: usize = 512 << 10;

/// What the length of a request can say, and that of a batch.
const SAYABLE_BYTES: usize = i32::MAX as usize;

/// How many copies must exist before a record counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// Do not wait: a receipt ends when its batch is handed to the connection, without offset, and nothing is retried. The
    /// leader is still asked to answer (`acks=1` on the wire), because a connection pairs each request with a reply; what it
    /// says shows in [`ProducerStats`], and in where the next batch goes.
    None,
    /// The leader's.
    Leader,
    /// Every in-sync replica's.
    #[default]
    All,
}

impl Acks {
    fn on_wire(self) -> i16 {
        match self {
            Self::None | Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How a producer works. The defaults are the Java client's, but for larger batches. [`Duration::MAX`] is for ever.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    pub acks: Acks,
    pub compression: Compression,
    /// How hard the codec tries, one of its [`levels`](Compression::levels); `None` for what it takes itself.
    pub compression_level: Option<i32>,
    pub partitioner: Partitioner,
    /// Records that may go to any partition go less often to one whose leader does not keep up (KIP-794).
    pub adaptive_partitioning: bool,
    /// How long an open batch waits for more records.
    pub linger: Duration,
    /// A batch of about this many bytes before compression is sent without lingering further. Until it can be, as its leader is
    /// busy with those before it or away, it takes more records, up to eight times as much but no more than 512 KiB: fewer and
    /// larger batches where the broker is what is slow. This is so with idempotence and without compression only, and not in a
    /// partition whose topic has refused such a batch for its size. A single larger record still goes.
    pub batch_bytes: usize,
    /// What all unsettled records may take.
    pub buffer_bytes: usize,
    /// The most that one Produce request carries, and so the largest record.
    pub max_request_bytes: usize,
    /// From enqueue to failure, all retries included.
    pub delivery_timeout: Duration,
    /// How long one request may go unanswered.
    pub request_timeout: Duration,
    /// How long `enqueue` may wait for metadata or memory.
    pub max_block: Duration,
    /// Guards against duplicates and reordering. Needs [`Acks::All`]; with less it is off.
    pub idempotent: bool,
    /// Unanswered Produce requests a broker; at most 5 with idempotence.
    pub in_flight_max: usize,
    /// The first wait before a retry; it doubles up to `retry_backoff_max`.
    pub retry_backoff: Duration,
    pub retry_backoff_max: Duration,
    /// Makes the producer write in transactions, and fences whoever wrote under this name before; implies `idempotent` and
    /// [`Acks::All`]. See [`Producer::begin`].
    pub transactional_id: Option<String>,
    /// A transaction that is open for longer is aborted by its coordinator, and its producer fenced.
    pub transaction_timeout: Duration,
    /// What is drawn at random follows from this: see [`ClientConfig::seed`](crate::client::ClientConfig::seed).
    pub seed: Option<u64>,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            compression: Compression::None,
            compression_level: None,
            partitioner: Partitioner::default(),
            adaptive_partitioning: true,
            linger: Duration::from_millis(5),
            batch_bytes: 64 * 1024,
            buffer_bytes: 32 * 1024 * 1024,
            max_request_bytes: 1024 * 1024,
            delivery_timeout: Duration::from_secs(120),
            request_timeout: Duration::from_secs(30),
            max_block: Duration::from_secs(60),
            idempotent: true,
            in_flight_max: 5,
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            transactional_id: None,
            transaction_timeout: Duration::from_secs(60),
            seed: None,
        }
    }
}

impl ProducerConfig {
    /// With what a transactional id implies, and with times that can be reckoned with.
    fn settled(mut self) -> Self {
        bound([
            &mut self.linger,
            &mut self.delivery_timeout,
            &mut self.request_timeout,
            &mut self.max_block,
            &mut self.retry_backoff,
            &mut self.retry_backoff_max,
        ]);
        if self.transactional_id.is_some() {
            (self.acks, self.idempotent) = (Acks::All, true);
        }
        self
    }

    /// How large batches become. One that is compressed is so as soon as it is ready. Where no sequences guard the order, a
    /// batch that is too large must not be the rule: its halves may be overtaken.
    fn sizes(&self) -> Sizes {
        let ready = self.batch_bytes;
        let grown = ready.saturating_mul(GROWTH).min(GROWN_BYTES).min(self.max_request_bytes);
        let may_grow = self.compression == Compression::None && self.is_idempotent();
        Sizes { ready, most: if may_grow { grown.max(ready) } else { ready } }
    }

    /// Every mistake at once, as [`Client::producer`](crate::client::Client::producer) would tell them, for who wants to know
    /// before there is a cluster to write to.
    pub fn check(&self) -> Result<(), Error> {
        let fixed = self.rules().into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what.to_owned());
        let wrong: Vec<String> = fixed.chain(self.wrong_of_level()).collect();
        if wrong.is_empty() { Ok(()) } else { Err(Error::config(format!("producer: {}", wrong.join("; ")))) }
    }

    /// What must hold, and what is wrong if it does not.
    fn rules(&self) -> [(bool, &'static str); 8] {
        let lasts = self.transactional_id.is_none() || self.transaction_timeout.as_millis() > 0;
        [
            (self.buffer_bytes > 0, "buffer_bytes is 0"),
            (self.max_request_bytes > 0, "max_request_bytes is 0"),
            (self.max_request_bytes <= SAYABLE_BYTES, "max_request_bytes is beyond 2147483647"),
            (self.batch_bytes <= SAYABLE_BYTES, "batch_bytes is beyond 2147483647"),
            (self.in_flight_max > 0, "in_flight_max is 0"),
            (!self.request_timeout.is_zero(), "request_timeout is 0ns"),
            (self.transactional_id.as_deref() != Some(""), "transactional_id is empty"),
            (lasts, "transaction_timeout is less than 1ms"),
        ]
    }

    fn wrong_of_level(&self) -> Option<String> {
        let (level, codec) = (self.compression_level?, self.compression);
        match codec.levels() {
            Some(range) if range.contains(&level) => None,
            Some(range) => {
                let (first, last) = range.into_inner();
                Some(format!("compression_level is {level}, and those of {codec} are {first} to {last}"))
            }
            None => Some(format!("compression_level is {level}, and {codec} has no levels")),
        }
    }

    /// What a delivery takes that lingers and is then answered at the last moment.
    pub(crate) fn least_delivery(&self) -> Duration {
        self.linger.saturating_add(self.request_timeout)
    }

    /// An open batch in this buffer.
    fn batch(&self, buffer: BytesMut) -> BatchBuilder {
        BatchBuilder::with_buffer(self.compression, buffer).with_level(self.compression_level)
    }

    fn backoff(&self) -> Backoff {
        Backoff { first: self.retry_backoff, most: self.retry_backoff_max, seed: self.seed }
    }

    fn is_idempotent(&self) -> bool {
        self.idempotent && self.acks == Acks::All
    }

    fn in_flight(&self) -> usize {
        let most = if self.is_idempotent() { line::MOST_UNANSWERED } else { usize::MAX };
        self.in_flight_max.min(most)
    }
}

/// A record to write. Everything is borrowed: it is encoded before `enqueue` returns.
#[derive(Debug, Clone, Copy)]
pub struct ProducerRecord<'a> {
    pub topic: &'a Topic,
    /// None: by key, or where a batch fills best if there is no key either. One that the topic does not have, as far as is
    /// known, is waited for like a topic: it may have been added just now.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    /// None is a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// None: now.
    pub timestamp_ms: Option<i64>,
}

impl<'a> ProducerRecord<'a> {
    /// A record of a value alone.
    pub fn new(topic: &'a Topic, value: &'a [u8]) -> Self {
        Self { topic, partition: None, key: None, value: Some(value), headers: &[], timestamp_ms: None }
    }
}

/// What a producer has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProducerStats {
    pub records_written: u64,
    pub records_failed: u64,
    /// Batches sent for the first time, and their bytes as sent.
    pub batches: u64,
    pub batch_bytes: u64,
    pub requests: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Batches taken apart because the topic allows no such size.
    pub splits: u64,
    /// Partitions that went on under a new epoch or producer id.
    pub restarts: u64,
    /// Of `buffer_bytes`, reserved now.
    pub buffered_bytes: u64,
}

/// A handle on a producer; clones share it. When the last one is dropped, what was enqueued is still sent.
///
/// ```
/// use std::time::Duration;
///
/// use highwater::client::*;
/// # use highwater::devbroker::{Config, DevBroker, GroupConfig};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..Default::default() };
/// # let broker = DevBroker::start(Config { groups, ..Default::default() }).await?;
/// # let bootstrap_servers = vec![broker.bootstrap_servers()];
/// # let config = ClientConfig { bootstrap_servers, allow_auto_create_topics: true, ..Default::default() };
/// # let client = Client::connect(config).await?;
/// let config = ProducerConfig { compression: Compression::Lz4, ..Default::default() };
/// let producer = client.producer(config)?;
/// let topic = Topic::from("orders");
/// let mut receipts = Vec::new();
/// for number in 0..1000u32 {
///     let (key, value) = ((number % 7).to_be_bytes(), number.to_string());
///     let record = ProducerRecord { key: Some(&key), ..ProducerRecord::new(&topic, value.as_bytes()) };
///     // Waits only while the memory is full; the receipt says later where the record was written.
///     receipts.push(producer.enqueue(record).await?);
/// }
/// producer.flush().await;
/// for receipt in receipts {
///     assert!(receipt.await?.offset.is_some());
/// }
///
/// // What cannot be is an error of that record alone, and says whether another try makes sense.
/// let large = vec![b'x'; 2 << 20];
/// let error = producer.send(ProducerRecord::new(&topic, &large)).await.unwrap_err();
/// assert!(error.is_too_large() && !error.is_retriable());
/// producer.close(Duration::from_secs(10)).await?;
/// # Ok(broker.stop().await?)
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl Producer {
    /// Starts a producer; must be called within a tokio runtime.
    pub(in crate::client) fn new(cluster: Cluster, config: ProducerConfig) -> Result<Self, Error> {
        config.check()?;
        let shared = Arc::new(Shared::new(cluster, config.settled()));
        // A full queue makes `flush` and `close` wait; records do not go through it.
        let (commands, inbox) = mpsc::channel(16);
        tokio::spawn(Sender::new(Arc::clone(&shared)).run(inbox));
        Ok(Self { shared, commands })
    }

    /// Writes a record and waits until it is written. With a linger this waits for it too: many at once are faster.
    ///
    /// Cancel safe: dropped before it ends, the record is in the log once or not at all, and which of the two is not known.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<RecordMetadata, Error> {
        self.enqueue(record).await?.await
    }

    /// Puts a record into its partition's batch. Waits, at most `max_block`, for the topic's metadata and for memory, in
    /// the order of arrival.
    ///
    /// Cancel safe: dropped while it waits, it has enqueued nothing, and holds no memory and no place in the line.
    pub async fn enqueue(&self, record: ProducerRecord<'_>) -> Result<Receipt, Error> {
        self.check_untransacted()?;
        match self.shared.try_place(&record)? {
            Tried::Placed(receipt) => Ok(receipt),
            Tried::UnknownTopic | Tried::NoRoom => self.shared.place(&record).await,
        }
    }

    /// As `enqueue`, without waiting: `None` if memory is used up, or if nothing is known about the topic or the partition yet,
    /// in which case it is being asked for.
    pub fn try_enqueue(&self, record: ProducerRecord<'_>) -> Result<Option<Receipt>, Error> {
        self.check_untransacted()?;
        self.shared.try_enqueue(&record)
    }

    fn check_untransacted(&self) -> Result<(), Error> {
        if self.shared.config.transactional_id.is_none() { Ok(()) } else { Err(failure::no_transaction()) }
    }

    /// Waits until every record enqueued before is written or failed, without lingering.
    ///
    /// Cancel safe: dropped, records go on their way, and linger again.
    pub async fn flush(&self) {
        let _hurry = self.shared.hurry();
        let (reply, outcomes) = oneshot::channel();
        if self.commands.send(Command::Unsettled(reply)).await.is_err() {
            return;
        }
        for outcome in outcomes.await.unwrap_or_default() {
            outcome.settled().await;
        }
    }

    /// Accepts nothing more, delivers what was enqueued, and within `grace` stops. What is undelivered then fails, and is
    /// counted in the error. A transaction that is open is aborted.
    ///
    /// Cancel safe: once begun, nothing more is accepted; what was enqueued is delivered all the same, and another call
    /// waits for that and is told what this one would have been.
    pub async fn close(&self, grace: Duration) -> Result<(), Error> {
        self.shared.closing.store(true, Ordering::Release);
        let _ = tokio::time::timeout(grace, self.settle()).await;
        let (stopped, is_stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(stopped)).await.is_ok() {
            // The sender is gone one way or the other.
            let _ = is_stopped.await;
        }
        // Told once, to whoever stays for it.
        match self.shared.undelivered.swap(0, Ordering::AcqRel) {
            0 => Ok(()),
            records => Err(failure::undelivered(records)),
        }
    }

    /// Delivers what was enqueued, or aborts the transaction that it belongs to.
    async fn settle(&self) {
        if self.shared.config.transactional_id.is_none() {
            return self.flush().await;
        }
        let (reply, ended) = oneshot::channel();
        if self.commands.send(Command::End(Close::Abort, Some(reply))).await.is_ok() {
            let _ = ended.await;
        }
    }

    /// Why nothing can be sent any more, if it was closed or has failed for good.
    pub fn check_open(&self) -> Result<(), Error> {
        self.shared.check_open()
    }

    pub fn stats(&self) -> ProducerStats {
        self.shared.stats()
    }
}
