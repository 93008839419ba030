//! Choosing where to go on, and what to leave alone for a while.
//!
//! A seek begins the partition anew: whoever holds it gets another [`Tenure`], and whatever belongs to the one before (what
//! is being fetched, what waits to be given out, what is out) is known by that to count for nothing any more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::Consumer;
use super::cursor::Place;
use super::delivery::Fetched;
use super::fetcher;
use super::progress::Mark;
use super::reader::Item;
use super::tenure::Tenure;
use crate::client::admin::OffsetSpec;
use crate::client::error::Error;
use crate::protocol::types::{Offset, TopicPartition};

/// Where [`Consumer::seek`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seek {
    /// To this offset. If it proves not to be there, [`auto_offset_reset`](super::ConsumerConfig::auto_offset_reset) says
    /// where to go instead.
    Offset(Offset),
    /// To the first record there is.
    Beginning,
    /// After the last record that may be read under the isolation level.
    End,
    /// To the first record at or after this time, in milliseconds; after the last one if all are older.
    Timestamp(i64),
}

impl From<Offset> for Seek {
    fn from(offset: Offset) -> Self {
        Self::Offset(offset)
    }
}

impl Seek {
    fn place(self) -> Place {
        match self {
            Self::Offset(offset) => Place::At(Mark { offset, leader_epoch: None }),
            Self::Beginning => Place::Sought(OffsetSpec::Earliest),
            Self::End => Place::Sought(OffsetSpec::Latest),
            Self::Timestamp(ms) => Place::Sought(OffsetSpec::At(ms)),
        }
    }
}

/// What is set aside takes no more than this part of the memory: the others are read all the same.
pub(super) const ASIDE_PART: usize = 4;

/// What has come of partitions that are paused, until they are not any more: as much as there is room for, so that whoever
/// pauses for a moment does not have it fetched twice. What comes after that is dropped, and fetched again when the
/// partition is resumed.
#[derive(Debug, Default)]
pub(super) struct Aside {
    items: VecDeque<Item>,
    /// Of all of them.
    bytes: usize,
}

impl Aside {
    /// The item that has come, if it is to be told now.
    pub fn pass(&mut self, item: Item, bytes_max: usize) -> Option<Item> {
        if item.is_stale() {
            return None;
        }
        let Some(tenure) = item.tenure() else { return Some(item) };
        if tenure.has_ended() || !tenure.is_paused() {
            return Some(item);
        }
        match &item {
            Item::Fetched(Fetched { chunk, .. }) if self.bytes + chunk.bytes > bytes_max => {
                // Its own epoch tells as well whether the log was cut before it.
                tenure.rewind(Mark { offset: chunk.start, leader_epoch: chunk.end.leader_epoch });
            }
            _ => {
                self.bytes += bytes(&item);
                self.items.push_back(item);
            }
        }
        None
    }

    /// The first of those that need not wait any longer.
    pub fn next(&mut self) -> Option<Item> {
        let is_due = |item: &Item| item.tenure().is_none_or(|tenure| tenure.has_ended() || !tenure.is_paused());
        let at = self.items.iter().position(is_due)?;
        let item = self.items.remove(at)?;
        self.bytes -= bytes(&item);
        Some(item)
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn bytes(item: &Item) -> usize {
    match item {
        Item::Fetched(fetched) => fetched.chunk.bytes,
        Item::Broken { .. } | Item::Failed(_) => 0,
    }
}

impl Consumer {
    /// Goes on elsewhere in a partition that is held: back, ahead, or out of what [`OffsetReset::None`](super::OffsetReset)
    /// has stopped at.
    ///
    /// From now on nothing is given out of what was fetched before. Deliveries that are out can be worked on, but count for
    /// nothing any more ([`Delivery::is_revoked`](super::Delivery::is_revoked)): finishing them moves no mark, and nobody
    /// waits for them when the partition is revoked. The place itself counts as finished up to, so the next commit puts
    /// the group there, even when that is behind what it had committed. If the partition is revoked before it is known
    /// which offset the beginning, the end or a timestamp is, its next reader goes on from the last commit.
    ///
    /// Fails if the partition is not held, or the offset is below zero. A partition that is paused stays so.
    ///
    /// Cancel safe: dropped while it waits, it has changed nothing, and can be called again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use highwater::client::*;
    /// # use highwater::devbroker::{Config, DevBroker, GroupConfig};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..Default::default() };
    /// # let broker = DevBroker::start(Config { groups, default_partitions: 1, ..Default::default() }).await?;
    /// # let bootstrap_servers = vec![broker.bootstrap_servers()];
    /// # let config = ClientConfig { bootstrap_servers, allow_auto_create_topics: true, ..Default::default() };
    /// # let client = Client::connect(config).await?;
    /// # let topic = Topic::from("orders");
    /// # let producer = client.producer(ProducerConfig::default())?;
    /// # for value in [b"a", b"b", b"c"] {
    /// #     producer.send(ProducerRecord::new(&topic, value)).await?;
    /// # }
    /// # let auto_offset_reset = OffsetReset::Earliest;
    /// # let config = ConsumerConfig { group_id: "g".to_owned(), topics: vec![topic.clone()], auto_offset_reset, ..Default::default() };
    /// let mut consumer = client.consumer(config)?;
    /// let orders = TopicPartition::new(topic, 0);
    /// let first = consumer.next().await.ok_or("closed")??;
    /// assert_eq!(first.topic_partition, orders);
    /// first.finish();
    ///
    /// // Once more from the second record on.
    /// consumer.seek(&orders, 1).await?;
    /// assert_eq!(consumer.position(&orders), Some(1));
    /// let again = consumer.next().await.ok_or("closed")??;
    /// assert_eq!(again.records().next().map(|record| record.offset), Some(1));
    /// again.finish();
    ///
    /// // And all of it, but not just now.
    /// consumer.pause(&[orders.clone()])?;
    /// consumer.seek(&orders, Seek::Beginning).await?;
    /// assert!(tokio::time::timeout(Duration::from_millis(50), consumer.next()).await.is_err());
    /// consumer.resume(&[orders])?;
    /// let all = consumer.next().await.ok_or("closed")??;
    /// assert_eq!(all.records().next().map(|record| record.offset), Some(0));
    /// # drop(all);
    /// # consumer.close(Duration::from_secs(10)).await?;
    /// # Ok(broker.stop().await?)
    /// # }
    /// ```
    pub async fn seek(&mut self, of: &TopicPartition, to: impl Into<Seek>) -> Result<(), Error> {
        let to = to.into();
        if matches!(to, Seek::Offset(..0)) {
            return Err(Error::config("an offset below zero is nowhere").at(of.clone()));
        }
        // Room first: whoever goes while waiting for it has changed nothing.
        let room = self.fetcher.reserve().await.map_err(|_| Error::closed())?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.get(of).ok_or_else(|| not_held(of))?;
        let (tenure, place) = (before.superseded(), to.place());
        if let Place::At(mark) = place {
            tenure.sought(mark);
        }
        held.insert(of.clone(), Arc::clone(&tenure));
        // Before the partition can be revoked, so that the order of what the fetcher is told is that of what was held.
        room.send(fetcher::Request::Take(vec![(tenure, place)]));
        drop(held);
        self.broken.remove(of);
        Ok(())
    }

    /// Leaves these alone until [`Consumer::resume`]: nothing more is asked for or given out of them, and they keep their
    /// place. A partition stays paused for as long as it is held; one that is revoked, also to come back at once as with
    /// assignors that are not cooperative, is not paused any more. Fails, and pauses none, if one of them is not held.
    ///
    /// What had been fetched of them waits in memory, up to a quarter of it for all of them together; what is more is
    /// fetched again later, so the others never want for room. Deliveries that are out are finished and committed as ever.
    pub fn pause(&self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.set_paused(partitions, true)
    }

    /// Goes on with these, where they were. Fails, and resumes none, if one of them is not held.
    pub fn resume(&self, partitions: &[TopicPartition]) -> Result<(), Error> {
        self.set_paused(partitions, false)?;
        self.memory.wake();
        Ok(())
    }

    fn set_paused(&self, partitions: &[TopicPartition], paused: bool) -> Result<(), Error> {
        let held = self.tenures();
        let tenures: Vec<&Arc<Tenure>> =
            partitions.iter().map(|of| held.get(of).ok_or_else(|| not_held(of))).collect::<Result<_, _>>()?;
        tenures.iter().for_each(|tenure| tenure.set_paused(paused));
        Ok(())
    }

    /// The partitions that are held and paused.
    pub fn paused(&self) -> Vec<TopicPartition> {
        let held = self.tenures();
        held.iter().filter(|(_, tenure)| tenure.is_paused()).map(|(of, _)| of.clone()).collect()
    }

    /// The offset of the next record to be given out of a partition; `None` if it is not held, or until it is known where
    /// to begin. [`Consumer::assignment`] says it of all.
    pub fn position(&self, of: &TopicPartition) -> Option<Offset> {
        self.tenures().get(of)?.position().map(|(_, delivered)| delivered)
    }

    fn tenures(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Arc<Tenure>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_held(of: &TopicPartition) -> Error {
    Error::config("the partition is not held by this consumer").at(of.clone())
}
