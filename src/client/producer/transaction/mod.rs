//! Transactions: what a producer writes to many partitions, and the offsets of the records that it was made from, as one.
//!
//! ```
//! # use std::time::Duration;
//! # use highwater::client::*;
//! # use highwater::devbroker::{self, DevBroker, GroupConfig};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..Default::default() };
//! # let broker = DevBroker::start(devbroker::Config { groups, ..Default::default() }).await?;
//! # let bootstrap_servers = vec![broker.bootstrap_servers()];
//! # let client = Client::connect(ClientConfig { bootstrap_servers, ..Default::default() }).await?;
//! # let (orders, invoices) = (Topic::from("orders"), Topic::from("invoices"));
//! # for topic in [&orders, &invoices] {
//! #     client.admin().create_topics(&[NewTopic::new(topic.clone()).partitions(1)]).await?.remove(0).1?;
//! # }
//! # let before = client.producer(ProducerConfig::default())?;
//! # for value in [b"a", b"b", b"c"] {
//! #     before.send(ProducerRecord::new(&orders, value)).await?;
//! # }
//! # let mut left = 3;
//! let config = ProducerConfig { transactional_id: Some("billing-7".to_owned()), ..Default::default() };
//! let producer = client.producer(config)?;
//! producer.claim().await?;
//! let mut consumer = client.consumer(ConsumerConfig {
//!     group_id: "billing".to_owned(),
//!     topics: vec![orders.clone()],
//!     auto_offset_reset: OffsetReset::Earliest,
//!     isolation_level: IsolationLevel::ReadCommitted,
//!     auto_commit: false,
//!     ..Default::default()
//! })?;
//! while let Some(delivery) = consumer.next().await {
//!     let delivery = delivery?;
//!     loop {
//!         // In this order: whoever belongs to the group as it is now, and still holds the partition, may commit for it.
//!         let group = consumer.group_metadata()?;
//!         if delivery.is_revoked() {
//!             break;
//!         }
//!         let transaction = producer.begin().await?;
//!         for record in delivery.records() {
//!             transaction.enqueue(ProducerRecord::new(&invoices, record.value.unwrap_or_default())).await?;
//!         }
//!         transaction.send_offsets(&group, [delivery.position()]).await?;
//!         match transaction.commit().await {
//!             Ok(()) => break,
//!             Err(error) if error.is_aborted() => continue,
//!             Err(error) => return Err(error.into()),
//!         }
//!     }
//! #   left -= delivery.len();
//!     delivery.finish();
//! #   if left == 0 {
//! #       break;
//! #   }
//! }
//! # consumer.close(Duration::from_secs(10)).await?;
//! # let read = ConsumerConfig { isolation_level: IsolationLevel::ReadCommitted, ..Default::default() };
//! # let mut reader = client.reader(read, vec![(TopicPartition::new(invoices, 0), Some(0))])?;
//! # let mut values = Vec::new();
//! # while values.len() < 3 {
//! #     let delivery = reader.next().await.ok_or("closed")??;
//! #     values.extend(delivery.records().map(|it| it.value.unwrap_or_default().to_vec()));
//! # }
//! # assert_eq!(values, [b"a", b"b", b"c"]);
//! # let mut committed = client.admin().committed_offsets(&["billing".to_owned()]).await?;
//! # let committed = committed.remove("billing").ok_or("no answer")??;
//! # assert_eq!(committed[&TopicPartition::new(orders, 0)].offset, Some(3));
//! # Ok(broker.stop().await?)
//! # }
//! ```
//!
//! The consumer of such a loop reads committed records and commits nothing itself (`auto_commit: false`); a delivery is
//! finished after its transaction, so that a partition is not given up in the midst of one.
//!
//! After an error of which [`Error::is_aborted`] is true, what is still held can be written once more. After any other it is not
//! known how the transaction ended, or will: close the consumer and the producer, and begin anew with both, the producer
//! first. Its [`claim`](Producer::claim) settles what was left open, and the group says where to go on. The same where there is no
//! metadata, because the member is not in its group at present: to pass over a delivery would be to lose it.

mod asking;
mod machine;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(super) use self::asking::ask;
pub(super) use self::machine::{Close, Machine, Question, Reply};
use super::sender::Command;
use super::shared::{Shared, Tried};
use super::{Producer, ProducerRecord, Receipt, RecordMetadata, failure};
use crate::client::{Error, ErrorKind};
use crate::protocol::types::{LeaderEpoch, Offset, Str, TopicPartition};

/// Who commits offsets in the name of a group (KIP-447): from [`Consumer::group_metadata`](crate::client::Consumer::group_metadata), or,
/// for partitions that were not assigned by the group, made of its name alone.
#[derive(Debug, Clone)]
pub struct GroupMetadata {
    pub group_id: Str,
    /// The member and its generation; a former one is fenced by it.
    pub member: Option<(Str, i32)>,
    pub instance_id: Option<Str>,
    /// Cancelled when the member has lost what it held, or let go of it unfinished. The group does not always fence what it
    /// commits as its former self.
    pub(in crate::client) holding: CancellationToken,
}

impl GroupMetadata {
    pub fn new(group_id: &str) -> Self {
        Self { group_id: group_id.into(), member: None, instance_id: None, holding: CancellationToken::new() }
    }
}

impl PartialEq for GroupMetadata {
    fn eq(&self, other: &Self) -> bool {
        (&self.group_id, &self.member, &self.instance_id) == (&other.group_id, &other.member, &other.instance_id)
    }
}

impl Eq for GroupMetadata {}

/// Where a group shall go on in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub topic_partition: TopicPartition,
    /// Of the next record to read.
    pub offset: Offset,
    /// Of the last record that was read (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Positions that are committed with a transaction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GroupOffsets {
    pub group: GroupMetadata,
    pub positions: Vec<Position>,
}

/// An open transaction. Dropped, it is aborted, and the next one waits for that.
#[derive(Debug)]
#[must_use = "a transaction that is not committed is aborted"]
pub struct Transaction {
    producer: Producer,
    _lease: Lease,
}

/// The right to the one transaction that is open; given up when dropped.
pub(super) struct Lease {
    shared: Arc<Shared>,
    number: u64,
}

impl Lease {
    pub fn new(shared: &Arc<Shared>, number: u64) -> Self {
        Self { shared: Arc::clone(shared), number }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.given_up.fetch_max(self.number, Ordering::AcqRel);
        self.shared.wake.notify_one();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Producer {
    /// Claims the transactional id now, and not with the first transaction. What a predecessor left open is aborted: of a
    /// program that reads, writes and starts again after a crash this has to come first, or its consumer waits until the
    /// coordinator gives up the offsets that hang in the air.
    ///
    /// Cancel safe, as [`Producer::begin`] is.
    pub async fn claim(&self) -> Result<(), Error> {
        self.begin().await?.abort().await
    }

    /// Begins a transaction, after the one before it has ended. The first one claims the transactional id: whoever had it
    /// before is fenced, and what it left open is aborted. Waits at most `max_block`.
    ///
    /// Only one transaction of a producer is open at a time: beginning another is an error, not a wait.
    ///
    /// Cancel safe: dropped while it waits, it has begun nothing.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        if self.shared.config.transactional_id.is_none() {
            return Err(Error::config("a producer needs a `transactional_id` to begin a transaction"));
        }
        let (reply, answer) = oneshot::channel();
        let begun = async {
            self.shared.check_open()?;
            self.commands.send(Command::Begin(reply)).await.map_err(|_| failure::closed())?;
            answer.await.unwrap_or_else(|_| Err(failure::closed()))
        };
        let limit = self.shared.config.max_block;
        let lease = timeout(limit, begun).await;
        let lease = lease.unwrap_or_else(|_| Err(self.shared.why_unclaimed().unwrap_or_else(|| too_late(limit))))?;
        Ok(Transaction { producer: self.clone(), _lease: lease })
    }
}

impl Transaction {
    /// As [`Producer::send`], within the transaction. Cancel safe: dropped before it ends, the record is in the transaction
    /// once or not at all.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<RecordMetadata, Error> {
        self.enqueue(record).await?.await
    }

    /// As [`Producer::enqueue`], within the transaction. Receipts need not be kept: a record that is not written fails the
    /// commit. Cancel safe: dropped while it waits, it has enqueued nothing.
    pub async fn enqueue(&self, record: ProducerRecord<'_>) -> Result<Receipt, Error> {
        self.check()?;
        match self.shared().try_place(&record)? {
            Tried::Placed(receipt) => Ok(receipt),
            Tried::UnknownTopic | Tried::NoRoom => self.shared().place(&record).await,
        }
    }

    /// As [`Producer::try_enqueue`], within the transaction.
    pub fn try_enqueue(&self, record: ProducerRecord<'_>) -> Result<Option<Receipt>, Error> {
        self.check()?;
        self.shared().try_enqueue(&record)
    }

    /// Commits positions of a group together with what was written: with the commit they become visible, with an abort
    /// nothing of them remains. Refused if the group has a newer generation, or this member is not in it, or has lost its
    /// partitions since its metadata was had: they may have been given to it again, where its group stood before.
    ///
    /// Cancel safe: dropped before it ends, they are all in the transaction or none of them, and it can be committed.
    pub async fn send_offsets(
        &self,
        group: &GroupMetadata,
        positions: impl IntoIterator<Item = Position>,
    ) -> Result<(), Error> {
        self.check()?;
        let offsets = GroupOffsets { group: group.clone(), positions: positions.into_iter().collect() };
        if offsets.positions.is_empty() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.told(Command::Offsets(Arc::new(offsets), reply), answer).await
    }

    /// Writes all that was enqueued and commits it. After an error of which [`Error::is_aborted`] is true nothing of it is
    /// read by those who read committed records, and another transaction may begin. After a timeout (`delivery_timeout` and
    /// `max_block` together) it is not known; the producer goes on trying, and the next transaction waits for that.
    ///
    /// Cancel safe: dropped before it ends, the transaction is committed or aborted as a whole, and which of the two is not
    /// known, as after a timeout.
    pub async fn commit(self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.told(Command::End(Close::Commit, Some(reply)), answer).await
    }

    /// Aborts it: what is not written yet never is, and what is written is not read by those who read committed records.
    ///
    /// Cancel safe: dropped, it is aborted all the same.
    pub async fn abort(self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.told(Command::End(Close::Abort, Some(reply)), answer).await
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.producer.shared
    }

    /// Whether it may still be written to.
    fn check(&self) -> Result<(), Error> {
        self.shared().failed.load().as_deref().map_or(Ok(()), |error| Err(error.clone()))
    }

    async fn told(&self, command: Command, answer: oneshot::Receiver<Result<(), Error>>) -> Result<(), Error> {
        let config = &self.shared().config;
        let limit = config.delivery_timeout + config.max_block;
        let told = async {
            self.producer.commands.send(command).await.map_err(|_| failure::closed())?;
            answer.await.unwrap_or_else(|_| Err(failure::closed()))
        };
        timeout(limit, told).await.unwrap_or_else(|_| Err(too_late(limit)))
    }
}

fn too_late(limit: std::time::Duration) -> Error {
    Error::new(ErrorKind::Timeout(limit)).of("EndTxn")
}
