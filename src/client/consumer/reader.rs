//! What is asked of one broker, as the leader of partitions or as the replica that a leader has named for them (KIP-392): a
//! task with one fetch in flight, over one session.
//!
//! While the records of one answer are checked and handed on, the next request is already on its way: where the next one
//! begins is known from the batch headers alone. If a batch then proves to be broken, what the next answer says of that
//! partition is dropped.
//!
//! A cursor that this broker can no longer serve goes back to the [`fetcher`](super::fetcher), after all that was read of
//! it has been handed on; so a partition's records stay in order across brokers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::config::ConsumerConfig;
use super::cursor::{Cursor, Place, Replica};
use super::delivery::Fetched;
use super::group::REFUSED_PAUSE;
use super::memory::{ASK_BYTES_MIN, Grant, Memory, Packing};
use super::progress::Mark;
use super::scan::{self, Broken};
use super::session::{Asks, Session};
use super::tenure::{Tenure, Weight};
use super::wire;
use crate::client::cluster::{Cluster, To};
use crate::client::error::{Error, ErrorKind};
use crate::client::lane::Lane;
use crate::client::metadata::Leader;
use crate::client::time::milliseconds;
use crate::protocol::api::{Body, Versioned};
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{AbortedTransaction, FetchRequest, FetchResponse, PartitionData};
use crate::protocol::types::{BrokerId, Offset, Str, Topic, TopicId, TopicPartition};
use crate::trouble::Trouble;

/// What the broker waits for data at most while a partition is left out for want of memory: it may come back any time.
const WAIT_WHILE_FULL: Duration = Duration::from_millis(100);
/// A partition is left alone for so long after a failure that is not its broker's.
const PAUSE: Duration = Duration::from_millis(100);
/// A batch may be unpacked into so much, or all of the memory if that is more: brokers take batches by what they are packed,
/// and one that cannot be unpacked stops its partition. Beyond this it is more likely made to exhaust whoever reads it.
const UNPACKED_BYTES_MAX: usize = 128 << 20;
/// A record set that is a smaller part of its frame than this is copied out, so that a partition that is slow does not
/// keep the whole frame in memory.
const FRAME_PART_MIN: usize = 8;

/// What the application is told, in order.
#[derive(Debug)]
pub(super) enum Item {
    Fetched(Fetched),
    Failed(Error),
    Broken { tenure: Arc<Tenure>, broken: Broken, rewinds: u32 },
}

impl Item {
    /// Whose it is, if it belongs to what is read of a partition.
    pub fn tenure(&self) -> Option<&Arc<Tenure>> {
        match self {
            Self::Fetched(fetched) => Some(fetched.weight.tenure()),
            Self::Broken { tenure, .. } => Some(tenure),
            Self::Failed(_) => None,
        }
    }

    /// Whether it follows what was dropped: it is fetched again as well.
    pub fn is_stale(&self) -> bool {
        match self {
            Self::Fetched(fetched) => fetched.rewinds != fetched.weight.tenure().rewinds(),
            Self::Broken { tenure, rewinds, .. } => *rewinds != tenure.rewinds(),
            Self::Failed(_) => false,
        }
    }
}

/// What all readers of a consumer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub cluster: Cluster,
    pub config: Arc<ConsumerConfig>,
    pub memory: Arc<Memory>,
    pub items: mpsc::Sender<Item>,
    pub readers: AtomicUsize,
}

impl Shared {
    /// When a leader is asked anew about replicas.
    fn later(&self) -> Instant {
        Instant::now() + self.cluster.config().metadata_max_age
    }
}

/// What a reader is told. The queue needs no bound of its own: a cursor is in one place at a time.
#[derive(Debug)]
pub(super) enum Order {
    Take(Vec<Cursor>),
    /// The application has decided to go on after a broken batch.
    Skip {
        of: TopicPartition,
        past: Offset,
    },
}

pub(super) struct Reader {
    broker: BrokerId,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<Order>,
    /// Cursors on their way to another broker.
    back: mpsc::UnboundedSender<Cursor>,
    cursors: BTreeMap<TopicPartition, Cursor>,
    session: Session,
    packing: Packing,
    trouble: Trouble,
    not_before: Option<Instant>,
}

/// A fetch on its way.
struct Flight {
    answer: AbortOnDropHandle<Result<Versioned<FetchResponse>, Error>>,
    grant: Grant,
}

/// A record set that is still to be checked and handed on.
struct Work {
    of: TopicPartition,
    start: Offset,
    record_set: Bytes,
    aborted: Vec<AbortedTransaction>,
    whole: bool,
    high_watermark: Option<Offset>,
    weight: Weight,
    rewinds: u32,
}

impl Reader {
    pub fn new(
        broker: BrokerId,
        shared: Arc<Shared>,
        orders: mpsc::UnboundedReceiver<Order>,
        back: mpsc::UnboundedSender<Cursor>,
    ) -> Self {
        shared.readers.fetch_add(1, Ordering::Relaxed);
        let (session, packing, trouble) = (Session::default(), Packing::default(), Trouble::default());
        Self { broker, shared, orders, back, cursors: BTreeMap::new(), session, packing, trouble, not_before: None }
    }

    /// Until the fetcher or the consumer is gone.
    pub async fn run(mut self) {
        let (items, mut freed) = (self.shared.items.clone(), self.shared.memory.freed());
        let mut flight = None;
        loop {
            freed.borrow_and_update();
            while let Ok(order) = self.orders.try_recv() {
                self.obey(order);
            }
            self.cursors.retain(|_, cursor| !cursor.tenure.has_ended());
            if flight.is_none() {
                flight = self.ask();
            }
            let wake = self.wakes_at();
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                answer = answer(&mut flight), if flight.is_some() => flight = self.answered(answer).await,
                _ = freed.changed(), if flight.is_none() => {}
                () = until(wake), if flight.is_none() => {}
                () = items.closed() => return,
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Take(cursors) => {
                // One that took long to place may have been revoked meanwhile, and must not stand where its successor is read.
                let held = cursors.into_iter().filter(|cursor| !cursor.tenure.has_ended());
                let held = held.map(|cursor| (cursor.topic_partition().clone(), cursor));
                if self.cursors.is_empty() {
                    self.trouble.forget_old(Instant::now());
                    // A map into which very many come one by one, in order, is half empty.
                    self.cursors = held.collect();
                } else {
                    self.cursors.extend(held);
                }
            }
            Order::Skip { of, past } => {
                if let Some(cursor) = self.cursors.get_mut(&of) {
                    cursor.skip_to(past);
                }
            }
        }
    }

    fn wakes_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let waits = self.cursors.values().filter_map(|cursor| cursor.not_before).chain(self.not_before);
        waits.filter(|at| *at > now).min()
    }

    /// Sends the next request, if there is anything to ask for, and memory for it.
    fn ask(&mut self) -> Option<Flight> {
        let now = Instant::now();
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.cursors.values_mut().for_each(Cursor::rewind);
        let memory = &self.shared.memory;
        let each = self.shared.config.partition_max_bytes.min((2 * memory.share()).max(ASK_BYTES_MIN));
        let ask = |cursor: &Cursor| Some((cursor.topic_partition().clone(), cursor.ask(now, each)?));
        let alone: Asks = self.cursors.values().filter(|cursor| cursor.alone).filter_map(ask).take(1).collect();
        let wanted = if alone.is_empty() { self.cursors.values().filter_map(ask).collect() } else { alone };
        if wanted.is_empty() {
            return None;
        }
        // Every reader may have one request out and the records of another in hand, and none takes another's part.
        let part = memory.limit() / (self.shared.readers.load(Ordering::Relaxed) + 1);
        let most = self.shared.config.fetch_max_bytes.min(part).min(each * wanted.len());
        let grant = memory.try_take(each.min(most), most)?;
        let max_bytes = self.packing.packed(grant.bytes());
        for (of, cursor) in &mut self.cursors {
            cursor.asked = wanted.get(of).map(|ask| ask.offset);
        }
        let request = self.request(&wanted, max_bytes);
        let (cluster, broker) = (self.shared.cluster.clone(), self.broker);
        let deadline = self.shared.config.fetch_max_wait + cluster.config().request_timeout;
        // In a task of its own, so that it is sent while this one works.
        let call = async move { cluster.call(To::Broker(broker), Lane::Fetch, request, deadline).await };
        Some(Flight { answer: AbortOnDropHandle::new(tokio::spawn(call)), grant })
    }

    fn request(&mut self, wanted: &Asks, max_bytes: usize) -> FetchRequest {
        let config = &self.shared.config;
        let is_full = |cursor: &Cursor| !cursor.tenure.is_paused() && !cursor.tenure.has_room();
        let full = self.cursors.values().any(is_full);
        let wait = if full { config.fetch_max_wait.min(WAIT_WHILE_FULL) } else { config.fetch_max_wait };
        let number = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
        let plan = self.session.plan(wanted);
        let (topics, forgotten_topics_data) = wire::fetch(&plan);
        FetchRequest {
            max_wait_ms: milliseconds(wait),
            min_bytes: number(config.fetch_min_bytes),
            max_bytes: number(max_bytes),
            isolation_level: config.isolation_level.on_the_wire(),
            rack_id: self.rack(),
            session_id: plan.session_id,
            session_epoch: plan.session_epoch,
            topics,
            forgotten_topics_data,
            ..Default::default()
        }
    }

    /// Where we are, as far as the leader is to know: an answer that names a replica holds no records, so a partition whose
    /// replicas have failed would not be read from anybody.
    fn rack(&self) -> Str {
        let now = Instant::now();
        let avoids = |cursor: &Cursor| cursor.leader_until.is_some_and(|until| now < until);
        let rack = self.shared.config.rack.as_deref().filter(|_| !self.cursors.values().any(avoids));
        rack.map(Str::from).unwrap_or_default()
    }

    /// Takes an answer apart, sends the next request, and hands on what came.
    async fn answered(&mut self, (answer, mut grant): (Result<FetchResponse, Error>, Grant)) -> Option<Flight> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.unanswered(&error);
                return None;
            }
        };
        if let Some(after) = self.trouble.is_over(Instant::now()) {
            let (broker, after_seconds) = (self.broker, after.as_secs());
            tracing::warn!(broker, after_seconds, "the broker is read from again");
        }
        if !self.session_answered(&answer) {
            return None;
        }
        let total: usize = answer.responses.iter().flat_map(|topic| &topic.partitions).map(data_bytes).sum();
        grant.keep(self.packing.unpacked(total));
        let work = self.sort(answer, total, &mut grant);
        drop(grant);
        let next = self.ask();
        for work in work {
            self.hand_on(work).await;
        }
        for (_, cursor) in self.cursors.extract_if(.., |_, cursor| cursor.leaving) {
            give_back(&self.back, cursor);
        }
        next
    }

    /// The broker is gone, or the connection to it. Whoever leads now is found anew.
    fn unanswered(&mut self, error: &Error) {
        if !error.is_closed() && self.trouble.fails(Instant::now()) {
            tracing::warn!(%error, "a broker gives no records; who leads its partitions is asked anew");
        }
        if error.is_authentication() {
            self.not_before = Some(Instant::now() + REFUSED_PAUSE);
            // A full queue has enough to say already; this is said again after the pause.
            let _ = self.shared.items.try_send(Item::Failed(error.clone()));
        }
        self.session.unanswered();
        self.give_all_back();
    }

    fn give_all_back(&mut self) {
        for (_, mut cursor) in std::mem::take(&mut self.cursors) {
            cursor.fail_from(self.broker, self.shared.later());
            give_back(&self.back, cursor);
        }
    }

    /// Whether the answer is about partitions, rather than a refusal of the session.
    fn session_answered(&mut self, answer: &FetchResponse) -> bool {
        let code = ErrorCode(answer.error_code);
        if code.is_ok() {
            self.session.answered(answer.session_id);
            return true;
        }
        self.session.refused();
        match code.class() {
            Class::Retry => {}
            // About some topic, but not which: all are looked up anew.
            Class::RefreshMetadata => self.give_all_back(),
            _ => {
                tracing::warn!(broker = self.broker, %code, "the broker refuses to be read from");
                self.not_before = Some(Instant::now() + REFUSED_PAUSE);
                // A full queue has enough to say already; this is said again after the pause.
                let error = Error::broker(code).of(FetchRequest::NAME);
                let _ = self.shared.items.try_send(Item::Failed(self.shared.cluster.placed(self.broker, error)));
            }
        }
        false
    }

    /// What there is to hand on. Cursors that must go elsewhere are leaving from now on.
    fn sort(&mut self, answer: FetchResponse, total: usize, grant: &mut Grant) -> Vec<Work> {
        let asked = topics_asked(&self.cursors);
        let (mut work, mut failed) = (Vec::new(), BTreeSet::new());
        for topic in answer.responses {
            let Some(name) = wire::named(&topic.topic, || asked.get(&topic.topic_id).cloned()) else { continue };
            for data in topic.partitions {
                let of = TopicPartition { topic: name.clone(), partition: data.partition_index };
                let Some(cursor) = self.cursors.get_mut(&of) else { continue };
                let Some(position) = cursor.asked.filter(|asked| Some(*asked) == cursor.position() && !cursor.parked)
                else {
                    continue;
                };
                let code = ErrorCode(data.error_code);
                let nearer = data.preferred_read_replica;
                if code.is_ok() && nearer >= 0 && nearer != self.broker {
                    // Not forgiven before that one has answered: a replica that never does must not be asked all the time.
                    failed.insert(of);
                    redirected(&self.shared, cursor, nearer);
                } else if code.is_ok() {
                    work.extend(found(cursor, of, position, data, total, grant));
                } else {
                    failed.insert(of);
                    refused(&self.shared, self.broker, cursor, code, &data);
                }
            }
        }
        self.cursors.values_mut().for_each(|cursor| returning(cursor, self.broker));
        // Of what is as it was, an answer within a session says nothing.
        for (of, cursor) in self.cursors.iter_mut().filter(|(_, cursor)| cursor.asked.is_some()) {
            if !failed.contains(of) {
                cursor.failures = 0;
            }
        }
        work
    }

    async fn hand_on(&mut self, work: Work) {
        let Work { of, start, record_set, aborted, whole, high_watermark, weight, rewinds } = work;
        let memory = &self.shared.memory;
        let unpacked_bytes_max = memory.limit().max(UNPACKED_BYTES_MAX);
        let rules = scan::Rules { check_crcs: self.shared.config.check_crcs, unpacked_bytes_max, whole };
        let tenure = Arc::clone(weight.tenure());
        let (chunks, broken) = scan::scan(record_set, start, aborted, rules);
        let cursor = self.cursors.get_mut(&of).map(|cursor| &mut cursor.packing);
        for packing in [Some(&mut self.packing), cursor].into_iter().flatten() {
            chunks.iter().for_each(|chunk| packing.learn(chunk.packed, chunk.bytes));
        }
        // What is unpacked counts from now on, not what was expected.
        let weights: Vec<Weight> = chunks.iter().map(|chunk| tenure.weigh(memory.take(chunk.bytes))).collect();
        drop(weight);
        for (chunk, weight) in chunks.into_iter().zip(weights) {
            let fetched = Fetched { chunk, high_watermark, weight, rewinds };
            // If the application is gone, so is this reader at its next turn.
            let _ = self.shared.items.send(Item::Fetched(fetched)).await;
        }
        if let Some(broken) = broken {
            // One that has gone back since finds it again.
            if let Some(cursor) = self.cursors.get_mut(&of).filter(|cursor| cursor.rewinds == rewinds) {
                cursor.parked = true;
                cursor.place = Place::At(Mark { offset: broken.offsets.start, leader_epoch: None });
            }
            let _ = self.shared.items.send(Item::Broken { tenure, broken, rewinds }).await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn answer(flight: &mut Option<Flight>) -> (Result<FetchResponse, Error>, Grant) {
    let Some(out) = flight else { return std::future::pending().await };
    let answer = match (&mut out.answer).await {
        Ok(answer) => answer.map(|answer| answer.body),
        Err(error) => Err(Error::protocol(error)),
    };
    match flight.take() {
        Some(flight) => (answer, flight.grant),
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Answers call topics by the ids that they were asked for by. What is known of the cluster may have gone on since: a
/// topic that was deleted is not in there any more, and the answer is what says so. Without an id a topic goes by zero,
/// which the broker refuses; of several of those one is taken at a time.
fn topics_asked(cursors: &BTreeMap<TopicPartition, Cursor>) -> HashMap<TopicId, Topic> {
    let asked = cursors.iter().filter(|(_, cursor)| cursor.asked.is_some());
    asked.map(|(of, cursor)| (cursor.topic_id.unwrap_or_default(), of.topic.clone())).collect()
}

fn data_bytes(data: &PartitionData) -> usize {
    data.records.as_ref().map_or(0, Bytes::len)
}

fn give_back(back: &mpsc::UnboundedSender<Cursor>, mut cursor: Cursor) {
    cursor.not_before = None;
    cursor.leaving = false;
    // If the fetcher is gone, so is the consumer.
    let _ = back.send(cursor);
}

/// The leader has named a replica that is nearer.
fn redirected(shared: &Shared, cursor: &mut Cursor, nearer: BrokerId) {
    let later = shared.later();
    cursor.replica = Some(Replica { broker: nearer, until: later });
    if shared.cluster.metadata().broker(nearer).is_none() {
        cursor.fail_from(nearer, later);
    }
    cursor.leaving = true;
}

/// Moves the cursor behind what was found.
fn found(
    cursor: &mut Cursor,
    of: TopicPartition,
    start: Offset,
    data: PartitionData,
    total: usize,
    grant: &mut Grant,
) -> Option<Work> {
    let mut record_set = data.records.filter(|records| !records.is_empty())?;
    let whole = std::mem::replace(&mut cursor.alone, scan::is_cut_off(&record_set));
    if let Some(end) = scan::end(&record_set, start) {
        cursor.place = Place::At(end);
    }
    if record_set.len() * FRAME_PART_MIN < total {
        record_set = Bytes::copy_from_slice(&record_set);
    }
    let expected = cursor.packing.unpacked(record_set.len()).min(grant.bytes()).max(record_set.len());
    let weight = cursor.tenure.weigh(grant.split(expected));
    let high_watermark = Some(data.high_watermark).filter(|offset| *offset >= 0);
    let aborted = data.aborted_transactions.unwrap_or_default();
    let rewinds = cursor.rewinds;
    Some(Work { of, start, record_set, aborted, whole, high_watermark, weight, rewinds })
}

/// Cursors that have been read long enough from a replica go and ask their leader again.
fn returning(cursor: &mut Cursor, broker: BrokerId) {
    let over = |replica: &mut Replica| replica.broker == broker && replica.until <= Instant::now();
    if cursor.replica.take_if(over).is_some() {
        cursor.leaving = true;
    }
}

/// What a broker's verdict on one partition means for its cursor.
fn refused(shared: &Shared, broker: BrokerId, cursor: &mut Cursor, code: ErrorCode, data: &PartitionData) {
    let of = cursor.topic_partition().clone();
    tracing::debug!(partition = %of, broker, %code, position = cursor.position(), "a fetch is refused");
    let now = Instant::now();
    let tell = || {
        let error =
            Error::new(ErrorKind::Broker(code, None)).of(FetchRequest::NAME).by(Some(broker), None).at(of.clone());
        // A full queue has enough to say already; this is said again as long as it lasts.
        let _ = shared.items.try_send(Item::Failed(error));
    };
    // Whatever ails a replica, its leader is asked again; its log may begin later or end earlier than the leader's.
    let is_replica = cursor.replica.is_some_and(|replica| replica.broker == broker);
    match code.class() {
        _ if is_replica => {
            if cursor.fail_from(broker, shared.later()) {
                tell();
            }
            cursor.leaving = true;
        }
        _ if code == ErrorCode::OFFSET_OUT_OF_RANGE => {
            cursor.fail();
            cursor.place = Place::Gone(cursor.position().unwrap_or_default());
            cursor.leaving = true;
        }
        // With this epoch, the broker has not heard of it yet; it will.
        _ if code == ErrorCode::UNKNOWN_LEADER_EPOCH || matches!(code.class(), Class::Retry | Class::Ok) => {
            cursor.not_before = Some(now + PAUSE);
            if cursor.fail() {
                tell();
            }
        }
        Class::Fatal => {
            cursor.not_before = Some(now + REFUSED_PAUSE);
            tell();
        }
        _ => {
            let (leader, epoch) = (data.current_leader.leader_id, data.current_leader.leader_epoch);
            if leader >= 0 && epoch >= 0 {
                shared.cluster.learn_leader(&of, Leader { broker: leader, epoch: Some(epoch) });
            }
            cursor.fail();
            cursor.leaving = true;
        }
    }
}

#[cfg(test)]
mod tests;
