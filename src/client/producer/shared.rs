//! What callers and the sender share: topics and their partitions' queues, the budget, and the signals between them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::BytesMut;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::accumulator::{Budget, Fields, Filling, Load, Purse, Push, Queue, Sizes};
use super::failure;
use super::line::Identity;
use super::partitioner::{Choice, Sticky, choose, pick, pick_by_load};
use super::receipt::{Fate, Outcome, Receipt};
use super::sealed::Sealed;
use super::{ProducerConfig, ProducerRecord, ProducerStats};
use crate::client::Error;
use crate::client::cluster::{Cluster, To, Topics as Which};
use crate::client::lane::Lane;
use crate::client::metadata::{Metadata, TopicMetadata};
use crate::protocol::batch::BatchBuilder;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::InitProducerIdRequest;
use crate::protocol::types::{Topic, TopicId, TopicPartition};

/// How many buffers of settled batches are kept for new ones.
const SPARE_BUFFERS: usize = 64;

/// So long after a topic was made anew a broker may still speak of the one before. Brokers lag by seconds: a controller
/// fences one that it does not hear from in nine (`broker.session.timeout.ms`).
const LAG: Duration = Duration::from_secs(60);

/// How many former ids of a topic's name are remembered.
const FORMER_IDS: usize = 8;

/// One partition's queue, and its number among all partitions of this producer.
#[derive(Debug)]
pub(super) struct Slot {
    pub index: usize,
    pub topic_partition: TopicPartition,
    queue: Mutex<Queue>,
    load: Load,
    /// The topic was made anew without this partition.
    is_gone: AtomicBool,
}

impl Slot {
    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }
}

/// A topic as callers see it; replaced as a whole when partitions are added or change hands, or the topic is made anew.
#[derive(Debug)]
struct TopicSlots {
    id: Option<TopicId>,
    former: FormerIds,
    slots: Vec<Arc<Slot>>,
    available: Vec<i32>,
    sticky: Sticky,
}

impl TopicSlots {
    /// About how many bytes were enqueued to a partition, ever.
    fn total(&self, partition: i32) -> u64 {
        self.slot(partition).map_or(0, |slot| slot.queue().total())
    }

    fn load(&self, partition: i32) -> usize {
        self.slot(partition).map_or(0, |slot| slot.load.batches())
    }

    fn slot(&self, partition: i32) -> Option<&Arc<Slot>> {
        self.slots.get(usize::try_from(partition).ok()?)
    }
}

/// The ids that topics of one name had before the present one, and when each was left, the oldest first.
#[derive(Debug, Clone, Default)]
struct FormerIds(Vec<(TopicId, Instant)>);

impl FormerIds {
    /// Whether this is said of a topic that is no more, by a broker that lags behind or in metadata that others have
    /// overtaken. Ids have no order: a former one that is still said when no broker lags any more was the right one.
    fn is_late(&self, id: TopicId, said: Instant) -> bool {
        self.0.iter().any(|&(former, left)| former == id && said < left + LAG)
    }

    fn leave(&mut self, old: TopicId, new: TopicId, now: Instant) {
        self.0.retain(|&(former, _)| former != new);
        if self.0.len() == FORMER_IDS {
            self.0.remove(0);
        }
        self.0.push((old, now));
    }
}

/// What happened to queues since the sender looked last.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pub opened: Vec<(Instant, usize)>,
    pub filled: Vec<usize>,
    /// The sender sleeps until then, or for good; `None` while it is awake and will look again.
    asleep: Option<Option<Instant>>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub records_written: AtomicU64,
    pub records_failed: AtomicU64,
    pub batches: AtomicU64,
    pub batch_bytes: AtomicU64,
    pub requests: AtomicU64,
    pub retries: AtomicU64,
    pub splits: AtomicU64,
    pub restarts: AtomicU64,
}

impl Counters {
    pub fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// What an attempt without waiting came to.
#[derive(Debug)]
pub(super) enum Tried {
    Placed(Receipt),
    UnknownTopic,
    NoRoom,
}

/// Every slot by number; slots are only ever added.
#[derive(Debug, Default)]
struct Slots {
    all: Vec<Arc<Slot>>,
    closed: bool,
}

/// Topics by name. Only topics that exist are in it, so nobody can fill it with names made to collide.
type Topics = HashMap<Topic, Arc<TopicSlots>, BuildHasherDefault<NameHasher>>;

/// A hash for short names, several times as fast as the standard one: every record looks its topic up.
#[derive(Debug, Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let word = word.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
            self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub cluster: Cluster,
    pub config: ProducerConfig,
    sizes: Sizes,
    pub budget: Budget,
    pub counters: Counters,
    /// Nothing is accepted any more.
    pub closing: AtomicBool,
    /// Records that `close` gave up, until somebody is told.
    pub undelivered: AtomicUsize,
    /// Why nothing can be written any more.
    pub fatal: OnceLock<Error>,
    pub wake: Notify,
    /// Why the transaction that is open can only be aborted.
    pub failed: ArcSwapOption<Error>,
    /// Why there is no producer id, or the coordinator could not be asked, at the last try.
    pub unclaimed: ArcSwapOption<Error>,
    /// The highest number of a transaction whose handle is gone.
    pub given_up: AtomicU64,
    buffers: Mutex<Vec<BytesMut>>,
    hurried: AtomicUsize,
    is_asking: AtomicBool,
    topics: ArcSwap<Topics>,
    slots: Mutex<Slots>,
    signals: Mutex<Signals>,
}

/// While one exists, nothing lingers.
#[derive(Debug)]
pub(super) struct Hurry<'a>(&'a Shared);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.hurried.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    pub fn new(cluster: Cluster, config: ProducerConfig) -> Self {
        Self {
            cluster,
            sizes: config.sizes(),
            budget: Budget::new(config.buffer_bytes),
            buffers: Mutex::default(),
            config,
            counters: Counters::default(),
            closing: AtomicBool::new(false),
            undelivered: AtomicUsize::new(0),
            fatal: OnceLock::new(),
            wake: Notify::new(),
            failed: ArcSwapOption::empty(),
            unclaimed: ArcSwapOption::empty(),
            given_up: AtomicU64::new(0),
            hurried: AtomicUsize::new(0),
            is_asking: AtomicBool::new(false),
            topics: ArcSwap::default(),
            slots: Mutex::default(),
            signals: Mutex::default(),
        }
    }

    /// Asks the sender not to linger until the guard is dropped.
    pub fn hurry(&self) -> Hurry<'_> {
        self.hurried.fetch_add(1, Ordering::AcqRel);
        self.wake.notify_one();
        Hurry(self)
    }

    pub fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Acquire) > 0
    }

    /// Whether records may be enqueued.
    pub fn check_open(&self) -> Result<(), Error> {
        if let Some(fatal) = self.fatal.get() {
            return Err(fatal.clone());
        }
        if self.closing.load(Ordering::Acquire) { Err(failure::closed()) } else { Ok(()) }
    }

    pub fn why_unclaimed(&self) -> Option<Error> {
        self.unclaimed.load().as_deref().cloned()
    }

    /// Enqueues if nothing has to be waited for. A topic that is not known is being asked for from then on.
    #[inline]
    pub fn try_enqueue(self: &Arc<Self>, record: &ProducerRecord<'_>) -> Result<Option<Receipt>, Error> {
        match self.try_place(record)? {
            Tried::Placed(receipt) => Ok(Some(receipt)),
            Tried::NoRoom => Ok(None),
            Tried::UnknownTopic => {
                self.ask_for(record.topic, record.partition.unwrap_or(0));
                Ok(None)
            }
        }
    }

    /// Enqueues without waiting.
    #[inline]
    pub fn try_place(&self, record: &ProducerRecord<'_>) -> Result<Tried, Error> {
        self.check_open()?;
        let topics = self.topics.load();
        let Some(topic) = topics.get(record.topic) else { return Ok(Tried::UnknownTopic) };
        if record.partition.is_some_and(|partition| partition >= topic.slots.len() as i32) {
            return Ok(Tried::UnknownTopic);
        }
        match self.push(topic, record, &mut Purse::new(&self.budget))? {
            Push::Done { receipt, .. } => Ok(Tried::Placed(receipt)),
            Push::NoRoom(_) => Ok(Tried::NoRoom),
            // The producer has been closed meanwhile, or the topic has been made anew without this partition.
            Push::Closed => self.check_open().map(|()| Tried::UnknownTopic),
        }
    }

    /// Enqueues, waiting for metadata and memory.
    pub async fn place(&self, record: &ProducerRecord<'_>) -> Result<Receipt, Error> {
        let deadline = Instant::now() + self.config.max_block;
        let mut purse = Purse::new(&self.budget);
        loop {
            self.check_open()?;
            let topic = self.topic(record, deadline).await?;
            match self.push(&topic, record, &mut purse)? {
                Push::Done { receipt, .. } => return Ok(receipt),
                // As above: to be looked at again.
                Push::Closed => {}
                Push::NoRoom(bytes) => {
                    let _hurry = self.hurry();
                    let filled = tokio::time::timeout_at(deadline, purse.fill(bytes)).await;
                    filled.map_err(|_| failure::no_room())?;
                }
            }
        }
    }

    #[inline(always)]
    fn push(&self, topic: &TopicSlots, record: &ProducerRecord<'_>, purse: &mut Purse<'_>) -> Result<Push, Error> {
        let size = BatchBuilder::estimate(record.key, record.value, record.headers);
        self.check_size(size)?;
        let choice = choose(&self.config.partitioner, record, topic.slots.len() as i32);
        let partition = match choice {
            Choice::Fixed(partition) => partition,
            Choice::Any => topic.sticky.partition(),
        };
        let slot = topic.slot(partition).ok_or_else(|| failure::no_partition(record.topic, partition))?;
        let fields = Fields {
            timestamp_ms: record.timestamp_ms.unwrap_or_else(now_ms),
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        let begin = |will_fill| (Instant::now(), self.config.batch(self.buffer(will_fill)));
        let push = slot.queue().push(self.sizes, fields, size, purse, begin);
        let push = push.map_err(|error| failure::unwritable(&slot.topic_partition, &error))?;
        if let Push::Done { opened, filled, total, .. } = push
            && (filled || opened.is_some())
        {
            self.signal(slot.index, opened, filled);
            if choice == Choice::Any {
                self.move_on(topic, partition, total, filled);
            }
        }
        Ok(push)
    }

    /// Leaves the sticky partition after about a batch's worth, where a batch ends if one ends soon.
    fn move_on(&self, topic: &TopicSlots, partition: i32, total: u64, filled: bool) {
        let Some(bytes) = topic.sticky.bytes(partition, total) else { return };
        let most = self.sizes.ready;
        if (filled && bytes >= most / 2) || bytes >= most.saturating_mul(2) {
            let by_load = || pick_by_load(&topic.available, rand::random(), |at| topic.load(at));
            let next = self.config.adaptive_partitioning.then(by_load).flatten();
            let next = next.unwrap_or_else(|| pick(&topic.available, Some(partition), rand::random()));
            topic.sticky.leave(partition, next, topic.total(next));
        }
    }

    fn check_size(&self, size: usize) -> Result<(), Error> {
        let most = self.config.max_request_bytes.min(self.budget.total());
        if size > most { Err(failure::too_large(size, most)) } else { Ok(()) }
    }

    fn signal(&self, index: usize, opened: Option<Instant>, filled: bool) {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = opened {
            signals.opened.push((since, index));
        }
        if filled {
            signals.filled.push(index);
        }
        let ripe = opened.map(|since| since + self.config.linger);
        let is_early = match signals.asleep {
            Some(Some(until)) => filled || ripe.is_some_and(|ripe| ripe < until),
            Some(None) => true,
            None => false,
        };
        if is_early {
            signals.asleep = None;
            self.wake.notify_one();
        }
    }

    /// What was signalled since the last call. The sender is awake from here on.
    pub fn take_signals(&self) -> Signals {
        std::mem::take(&mut *self.signals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says that the sender will sleep until then; false if there is something to look at first.
    pub fn may_sleep(&self, until: Option<Instant>) -> bool {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = signals.opened.is_empty() && signals.filled.is_empty();
        signals.asleep = is_quiet.then_some(until);
        is_quiet
    }

    /// The topic's queues, once its metadata is known and covers the record's partition. One that is not there yet may be
    /// about to be: the topic has just grown, or the broker that was asked lags behind.
    async fn topic(&self, record: &ProducerRecord<'_>, deadline: Instant) -> Result<Arc<TopicSlots>, Error> {
        let wanted = record.partition.unwrap_or(0);
        let Ok(at) = usize::try_from(wanted) else { return Err(failure::no_partition(record.topic, wanted)) };
        for tries in 1.. {
            if let Some(topic) = self.topics.load().get(record.topic).filter(|topic| topic.slots.len() > at) {
                return Ok(Arc::clone(topic));
            }
            match tokio::time::timeout_at(deadline, self.learn(record.topic, at, tries)).await {
                Ok(learned) => learned?,
                Err(_) => break,
            }
        }
        let is_known = self.topics.load().contains_key(record.topic);
        let unknown = || failure::unknown_topic(record.topic, self.config.max_block);
        Err(if is_known { failure::no_partition(record.topic, wanted) } else { unknown() })
    }

    /// Asks for a topic's metadata, and waits a while if it does not have this partition yet: a topic that is being
    /// created, or grows, is there soon.
    async fn learn(&self, topic: &Topic, at: usize, tries: u32) -> Result<(), Error> {
        let metadata = match self.cluster.refresh(Which::Follow(vec![topic.clone()])).await {
            Ok(metadata) => metadata,
            Err(error) if error.is_retriable() => self.cluster.metadata(),
            Err(error) => return Err(error),
        };
        match metadata.topic(topic) {
            Some(found) if found.error.is_none() || !found.partitions.is_empty() => self.register(topic, &metadata),
            Some(TopicMetadata { error: Some(code), .. }) if !code.is_retriable() => {
                return Err(failure::refused_topic(topic, *code));
            }
            _ => {}
        }
        if self.topics.load().get(topic).is_none_or(|topic| topic.slots.len() <= at) {
            tokio::time::sleep(self.config.backoff().wait(tries)).await;
        }
        Ok(())
    }
}

/// Topics and their queues.
impl Shared {
    /// Makes the topic's queues known to callers; queues that exist are kept.
    fn register(&self, topic: &Topic, metadata: &Metadata) {
        let mut slots = self.lock_slots();
        let topics = self.topics.load_full();
        if let Some(entry) = self.entry(&mut slots, topic, topics.get(topic), metadata) {
            let mut topics = Topics::clone(&topics);
            topics.insert(topic.clone(), entry);
            self.topics.store(Arc::new(topics));
        }
    }

    /// Takes over what changed for the topics in use: more partitions, others without a leader, or another topic of the
    /// same name.
    pub fn follow(&self, metadata: &Metadata) {
        let mut slots = self.lock_slots();
        let mut topics = Topics::clone(&self.topics.load());
        for (topic, known) in &mut topics {
            if let Some(entry) = self.entry(&mut slots, topic, Some(known), metadata) {
                *known = entry;
            }
        }
        self.topics.store(Arc::new(topics));
    }

    /// A topic's entry by the newest metadata, if that differs from what is known.
    ///
    /// Only another id says that there are fewer partitions (KIP-516): a broker that lags behind may not know of all that
    /// were added, and brokers without ids (before 2.8) are believed no less. An id that the topic has left is no step back:
    /// partitions would be given up that are there, and on their return count their sequences from zero once more, which
    /// their leaders may take for repetitions of what they have.
    fn entry(
        &self,
        slots: &mut Slots,
        topic: &Topic,
        known: Option<&Arc<TopicSlots>>,
        metadata: &Metadata,
    ) -> Option<Arc<TopicSlots>> {
        let (found, said) = (metadata.topic(topic)?, metadata.said_at(topic)?);
        let (mut own, known_id, mut former) =
            known.map(|known| (known.slots.clone(), known.id, known.former.clone())).unwrap_or_default();
        // An id without partitions is of a topic that is not all there yet.
        let found_id = found.id.filter(|_| !found.partitions.is_empty());
        if found_id.is_some_and(|id| former.is_late(id, said)) {
            return None;
        }
        if let (Some(old), Some(new)) = (known_id, found_id)
            && old != new
        {
            former.leave(old, new, said);
            let gone = own.drain(found.partitions.len().min(own.len())..);
            gone.for_each(|slot| slot.is_gone.store(true, Ordering::Release));
        }
        for partition in own.len()..found.partitions.len() {
            own.push(slots.add(TopicPartition::new(topic.clone(), partition as i32)));
        }
        let led = found.partitions.iter().filter(|partition| partition.leader.is_some());
        let mut available: Vec<i32> = led.map(|partition| partition.partition).collect();
        if available.is_empty() {
            available = (0..own.len() as i32).collect();
        }
        let id = found_id.or(known_id);
        let is_same =
            |known: &TopicSlots| known.id == id && known.available == available && known.slots.len() == own.len();
        if own.is_empty() || known.is_some_and(|known| is_same(known)) {
            return None;
        }
        let first = pick(&available, None, rand::random());
        let mut topic = TopicSlots { id, former, slots: own, available, sticky: Sticky::new(first, 0) };
        topic.sticky = Sticky::new(first, topic.total(first));
        Some(Arc::new(topic))
    }

    fn lock_slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slots from a number on.
    pub fn slots_from(&self, first: usize) -> Vec<Arc<Slot>> {
        self.lock_slots().all.get(first..).map(<[_]>::to_vec).unwrap_or_default()
    }

    /// Slots that appear after this are closed from the start.
    pub fn close_slots(&self) {
        self.closing.store(true, Ordering::Release);
        self.lock_slots().closed = true;
    }

    /// Asks for a topic in the background, for a caller that does not wait.
    fn ask_for(self: &Arc<Self>, topic: &Topic, partition: i32) {
        if self.is_asking.swap(true, Ordering::AcqRel) {
            return;
        }
        let (shared, topic, at) = (Arc::clone(self), topic.clone(), usize::try_from(partition).unwrap_or(0));
        tokio::spawn(async move {
            if let Err(error) = shared.learn(&topic, at, 1).await {
                tracing::warn!(%error, "cannot learn about a topic to write to");
            }
            shared.is_asking.store(false, Ordering::Release);
        });
    }

    /// Asks who leads the partitions of every topic in use. Each is named: one that was missing in a single answer is not
    /// followed any more.
    pub async fn refresh(&self) -> Result<Arc<Metadata>, Error> {
        let topics = self.topics.load().keys().cloned().collect();
        self.cluster.refresh(Which::Follow(topics)).await
    }

    /// Asks for a producer id (KIP-98).
    pub async fn identify(&self) -> Result<Identity, Error> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            // Java's value where there is no transaction: a broker checks it only with a transactional id.
            transaction_timeout_ms: i32::MAX,
            ..Default::default()
        };
        let response = self.cluster.call(To::Any, Lane::General, request, self.config.request_timeout).await?.body;
        match ErrorCode::from(response.error_code) {
            ErrorCode::NONE => Ok(Identity { producer_id: response.producer_id, epoch: response.producer_epoch }),
            code => Err(failure::no_identity(code)),
        }
    }
}

impl Slots {
    fn add(&mut self, topic_partition: TopicPartition) -> Arc<Slot> {
        let load = Load::default();
        let mut queue = Queue::new(load.clone());
        if self.closed {
            queue.close();
        }
        let slot = Arc::new(Slot {
            index: self.all.len(),
            topic_partition,
            queue: Mutex::new(queue),
            load,
            is_gone: AtomicBool::new(false),
        });
        self.all.push(Arc::clone(&slot));
        slot
    }
}

/// Ending batches.
impl Shared {
    /// Ends a batch and gives back what it reserved beyond its size. None if that failed; its records then know why.
    pub fn seal(&self, topic_partition: &TopicPartition, mut filling: Filling) -> Option<Sealed> {
        let excess = filling.reserved.saturating_sub(filling.builder.bytes());
        filling.reserved -= excess;
        self.budget.give(excess);
        let (outcome, reserved, records) = (Arc::clone(&filling.outcome), filling.reserved, filling.builder.len());
        match Sealed::new(filling) {
            Ok(sealed) => Some(sealed),
            Err(error) => {
                self.end(&outcome, records, reserved, Fate::Failed(failure::unwritable(topic_partition, &error)));
                None
            }
        }
    }

    pub fn settle(&self, batch: Sealed, fate: Fate) {
        self.end(&batch.outcome, batch.records(), batch.reserved, fate);
        self.keep(batch.into_buffer());
    }

    /// A buffer for a new batch: one that was used before, if there is one and the batch will probably fill it. A small batch
    /// in a large buffer would hold more than it reserves.
    fn buffer(&self, will_fill: bool) -> BytesMut {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if will_fill { buffers.pop().unwrap_or_default() } else { BytesMut::new() }
    }

    /// Keeps a buffer for another batch. What is too many or too large is let go.
    fn keep(&self, buffer: Option<BytesMut>) {
        let Some(buffer) = buffer.filter(|buffer| buffer.capacity() <= self.sizes.ready.saturating_mul(2)) else {
            return;
        };
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < SPARE_BUFFERS {
            buffers.push(buffer);
        }
    }

    pub fn settle_filling(&self, filling: Filling, fate: Fate) {
        let Filling { builder, outcome, reserved, .. } = filling;
        self.end(&outcome, builder.len(), reserved, fate);
    }

    fn end(&self, outcome: &Outcome, records: usize, reserved: usize, fate: Fate) {
        match fate {
            Fate::Failed(_) | Fate::Rejected(_) => Counters::add(&self.counters.records_failed, records),
            Fate::Written { .. } | Fate::Split(_) => Counters::add(&self.counters.records_written, records),
        }
        outcome.settle(fate);
        self.budget.give(reserved);
    }

    pub fn stats(&self) -> ProducerStats {
        let Counters { records_written, records_failed, batches, batch_bytes, requests, retries, splits, restarts } =
            &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProducerStats {
            records_written: read(records_written),
            records_failed: read(records_failed),
            batches: read(batches),
            batch_bytes: read(batch_bytes),
            requests: read(requests),
            retries: read(retries),
            splits: read(splits),
            restarts: read(restarts),
            buffered_bytes: self.budget.used() as u64,
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::client::fake::{self, Net, Reply};
    use crate::protocol::api::Request;
    use crate::protocol::messages::MetadataResponseTopic;
    use crate::protocol::types::Uuid;

    async fn shared() -> Shared {
        let net = Arc::new(Net::default());
        net.listen(1, |request| {
            matches!(request, Request::Metadata(_)).then(|| Reply::Say(fake::cluster(&[1], vec![]).into()))
        });
        let client = Client::connect_over(fake::config(&[1]), net.dial()).await.unwrap();
        Shared::new(client.cluster().clone(), ProducerConfig::default())
    }

    /// Metadata of a topic `t`, with this id and so many partitions, as it was said then.
    fn said(id: u8, partitions: usize, at: Instant) -> Metadata {
        let topic = fake::topic("t", &vec![(1, 0); partitions]);
        let topic = MetadataResponseTopic { topic_id: Uuid([id; 16]), ..topic };
        Metadata::default().merged(fake::cluster(&[1], vec![topic]), false, at, Duration::MAX)
    }

    /// What is said of the topic, each an id, how many partitions, and in which second; and which queues callers go by then.
    async fn check(name: &str, all: &[(u8, usize, u64, &[usize])]) {
        let (shared, topic, began) = (shared().await, Topic::from("t"), Instant::now());
        for &(id, partitions, second, expected) in all {
            let metadata = said(id, partitions, began + Duration::from_secs(second));
            shared.register(&topic, &metadata);
            shared.follow(&metadata);
            let slots = shared.topics.load().get(&topic).unwrap().slots.clone();
            let indexes: Vec<usize> = slots.iter().map(|slot| slot.index).collect();
            assert_eq!(indexes, expected, "{name}: {id} in second {second}");
            assert!(slots.iter().all(|slot| !slot.is_gone()), "{name}: {id} in second {second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_id_is_another_topic_but_for_one_that_was_left() {
        check("no ids", &[(0, 4, 0, &[0, 1, 2, 3]), (0, 2, 1, &[0, 1, 2, 3])]).await;
        check(
            "made anew, and again",
            &[(1, 4, 0, &[0, 1, 2, 3]), (2, 2, 1, &[0, 1]), (3, 3, 2, &[0, 1, 4]), (3, 4, 3, &[0, 1, 4, 5])],
        )
        .await;
        check(
            "a late word of fewer partitions",
            &[(1, 1, 0, &[0]), (2, 3, 5, &[0, 1, 2]), (1, 1, 6, &[0, 1, 2]), (2, 4, 7, &[0, 1, 2, 3])],
        )
        .await;
        check(
            "a late word of more partitions, older than what is known",
            &[(1, 3, 5, &[0, 1, 2]), (2, 1, 6, &[0]), (1, 3, 4, &[0]), (2, 1, 7, &[0])],
        )
        .await;
        check(
            "late words of two topics before",
            &[(1, 1, 0, &[0]), (2, 2, 1, &[0, 1]), (3, 3, 2, &[0, 1, 2]), (1, 1, 3, &[0, 1, 2]), (2, 2, 4, &[0, 1, 2])],
        )
        .await;
        // The first word of id 2 was the late one, as it turns out.
        check(
            "a former id that is said when no broker lags any more",
            &[(1, 3, 0, &[0, 1, 2]), (2, 1, 1, &[0]), (1, 3, 60, &[0]), (1, 3, 61, &[0, 3, 4]), (2, 1, 62, &[0, 3, 4])],
        )
        .await;
        check("not all there yet", &[(1, 3, 0, &[0, 1, 2]), (2, 0, 1, &[0, 1, 2]), (2, 1, 2, &[0])]).await;
    }

    #[test]
    fn so_many_former_ids_are_remembered_and_no_more() {
        let (mut former, now) = (FormerIds::default(), Instant::now());
        let id = |number: usize| Uuid([number as u8; 16]);
        for number in 0..=FORMER_IDS {
            former.leave(id(number), id(number + 1), now);
        }
        assert_eq!(former.0.len(), FORMER_IDS);
        assert!(!former.is_late(id(0), now) && former.is_late(id(1), now) && former.is_late(id(FORMER_IDS), now));
    }
}
