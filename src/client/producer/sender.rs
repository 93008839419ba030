//! The one task that owns what happens to batches after they were filled.
//!
//! Each turn it looks at what callers signalled, what became due, and where leaders moved; then it fills a Produce request
//! for every broker that has ready partitions and a free place on its connection; then it sleeps until something happens.
//! Work for a turn is in proportion to the batches concerned, never to the partitions known.

mod hearing;
mod transactions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::transactions::Transactions;
use super::accumulator::Filling;
use super::inquiry::Inquiry;
use super::line::{Identity, Line};
use super::receipt::{Fate, Outcome};
use super::request::{Part, produce};
use super::sealed::Sealed;
use super::shared::{Counters, Shared, Signals, Slot};
use super::transaction::{Close, GroupOffsets, Lease, Question, Reply};
use super::{Acks, Compression, failure};
use crate::client::Error;
use crate::client::cluster::To;
use crate::client::lane::Lane;
use crate::client::metadata::Metadata;
use crate::protocol::api::Versioned;
use crate::protocol::messages::ProduceResponse;
use crate::protocol::types::{BrokerId, TopicId};
use crate::trouble::Trouble;

/// Brokers forget a producer that has written nothing to a partition for `producer.id.expiration.ms`, a day if nothing else is
/// said: after so long it may be so.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Records that nobody has acknowledged for this long, beyond their linger, are told of.
const OVERDUE: Duration = Duration::from_secs(10);

/// What a handle asks of the sender.
#[derive(Debug)]
pub(super) enum Command {
    /// The outcomes of every batch that has none yet.
    Unsettled(oneshot::Sender<Vec<Arc<Outcome>>>),
    /// Fail what is unsettled, count it, and end.
    Stop(oneshot::Sender<()>),
    Begin(oneshot::Sender<Result<Lease, Error>>),
    Offsets(Arc<GroupOffsets>, oneshot::Sender<Result<(), Error>>),
    End(Close, Option<oneshot::Sender<Result<(), Error>>>),
}

/// What a turn may wait for.
enum Event {
    Answered { broker: BrokerId, parts: Vec<Part>, result: Result<Versioned<ProduceResponse>, Error> },
    Sealed { index: usize, number: u64, sealed: Option<Sealed> },
    Metadata(Result<Arc<Metadata>, Error>),
    Identified(Result<Identity, Error>),
    Coordinator { question: Question, answer: Result<Reply, Error> },
}

/// One partition, from the sender's side.
struct Partition {
    slot: Arc<Slot>,
    topic_id: TopicId,
    leader: Option<BrokerId>,
    /// Being compressed, in order.
    sealing: VecDeque<Sealing>,
    sealed: VecDeque<Sealed>,
    line: Line<Sealed>,
    /// When a batch went out for the first time, last.
    sent_at: Instant,
    /// In its leader's ready list.
    is_queued: bool,
    /// What was opened at or before this has left `lingering`: if it could not go then, it goes as soon as it can.
    promoted: Option<Instant>,
    /// How often its sequences have started anew.
    restarts: u64,
}

/// A batch that is being compressed, and the result once it is there.
struct Sealing {
    number: u64,
    outcome: Arc<Outcome>,
    records: usize,
    since: Instant,
    sealed: Option<Sealed>,
}

/// One broker, from the sender's side.
#[derive(Debug, Default)]
struct Link {
    ready: VecDeque<usize>,
    in_flight: usize,
    /// It has answered since it last failed. Until then it gets one request at a time, so that the first ones on a new
    /// connection cannot overtake each other.
    is_proven: bool,
}

pub(super) struct Sender {
    shared: Arc<Shared>,
    partitions: Vec<Partition>,
    links: BTreeMap<BrokerId, Link>,
    /// Open batches by age: all linger equally long, so the oldest is in front.
    lingering: VecDeque<(Instant, usize)>,
    /// Partitions whose first in line is sent again at that time.
    due: BTreeSet<(Instant, usize)>,
    work: FuturesUnordered<BoxFuture<'static, Event>>,
    metadata: Arc<Metadata>,
    leaders: Inquiry,
    identity: Option<Identity>,
    identify: Inquiry,
    /// Of a producer with a transactional id.
    transactions: Option<Transactions>,
    numbers: u64,
    next_sweep: Instant,
    /// That records wait for long.
    overdue: Trouble,
    /// No handle is left: deliver what there is, then end.
    is_draining: bool,
}

impl Sender {
    pub fn new(shared: Arc<Shared>) -> Self {
        let transactions = shared.config.transactional_id.is_some().then(Transactions::default);
        Self {
            metadata: shared.cluster.metadata(),
            shared,
            partitions: Vec::new(),
            links: BTreeMap::new(),
            lingering: VecDeque::new(),
            due: BTreeSet::new(),
            work: FuturesUnordered::new(),
            leaders: Inquiry::default(),
            identity: None,
            identify: Inquiry::default(),
            transactions,
            numbers: 0,
            next_sweep: Instant::now(),
            overdue: Trouble::default(),
            is_draining: false,
        }
    }

    pub async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut changes = self.shared.cluster.metadata_changes();
        loop {
            let now = Instant::now();
            self.turn(now);
            if self.is_draining && self.is_done() {
                self.say_overdue(now);
                return;
            }
            let until = self.next_wake(now);
            if !self.shared.may_sleep(until) {
                continue;
            }
            let pause = tokio::time::sleep_until(until.unwrap_or(now));
            // Requests launched in this turn are polled first, and so reach their connections in order.
            tokio::select! {
                biased;
                Some(event) = self.work.next() => self.handle(event),
                command = inbox.recv(), if !self.is_draining => match command {
                    Some(command) => {
                        if self.obey(command).is_break() {
                            return;
                        }
                    }
                    None => self.is_draining = true,
                },
                () = self.shared.wake.notified() => {}
                Ok(()) = changes.changed() => {}
                () = pause, if until.is_some() => {}
            }
        }
    }

    /// Nobody may be left to hear the reply; that is no fault.
    fn obey(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Unsettled(reply) => {
                let _ = reply.send(self.unsettled());
            }
            Command::Stop(reply) => {
                self.stop();
                let _ = reply.send(());
                return ControlFlow::Break(());
            }
            Command::Begin(reply) => self.begin(reply),
            Command::Offsets(offsets, reply) => self.commit_offsets(offsets, reply),
            Command::End(close, reply) => self.end(close, reply),
        }
        ControlFlow::Continue(())
    }

    /// Whether nothing is left to deliver, or to end.
    fn is_done(&self) -> bool {
        self.shared.budget.used() == 0 && !self.transactions.as_ref().is_some_and(Transactions::is_busy)
    }

    fn turn(&mut self, now: Instant) {
        self.follow_metadata();
        self.absorb(now);
        self.promote(now);
        self.wake_due(now);
        self.sweep(now);
        self.transact(now);
        self.ask(now);
        self.launch(now);
    }

    fn is_hurried(&self) -> bool {
        self.is_draining || self.shared.is_hurried() || self.transactions.as_ref().is_some_and(Transactions::is_ending)
    }

    /// Batches opened at or before this need not linger any more. While something is sent anyway, those that have lingered
    /// half their time go along: fewer requests, at no one's cost.
    fn ripe(&self, now: Instant, share: u32) -> Instant {
        if self.is_hurried() { now } else { now.checked_sub(self.shared.config.linger / share).unwrap_or(now) }
    }

    /// The same for one partition.
    fn ripe_in(&self, index: usize, now: Instant, share: u32) -> Instant {
        let ripe = self.ripe(now, share);
        self.partitions[index].promoted.map_or(ripe, |promoted| promoted.max(ripe))
    }

    /// Takes in what callers signalled.
    fn absorb(&mut self, now: Instant) {
        let Signals { opened, filled, .. } = self.shared.take_signals();
        let newest = opened.iter().map(|&(_, index)| index).chain(filled.iter().copied()).max();
        if newest.is_some_and(|newest| newest >= self.partitions.len()) {
            self.add_partitions();
        }
        self.lingering.extend(opened);
        for index in filled {
            self.reconsider(index, now);
        }
    }

    fn add_partitions(&mut self) {
        for slot in self.shared.slots_from(self.partitions.len()) {
            let (topic_id, leader) = place_of(&self.metadata, &slot);
            self.partitions.push(Partition {
                slot,
                topic_id,
                leader,
                sealing: VecDeque::new(),
                sealed: VecDeque::new(),
                line: Line::default(),
                sent_at: Instant::now(),
                is_queued: false,
                promoted: None,
                restarts: 0,
            });
        }
    }

    /// Makes partitions ready whose open batch has lingered long enough.
    fn promote(&mut self, now: Instant) {
        let is_sending = self.links.values().any(|link| !link.ready.is_empty());
        let ripe = self.ripe(now, if is_sending { 2 } else { 1 });
        while let Some(&(since, index)) = self.lingering.front() {
            if since > ripe {
                break;
            }
            self.lingering.pop_front();
            self.partitions[index].promoted = Some(since);
            self.queue(index);
        }
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some(&(at, index)) = self.due.first() {
            if at > now {
                break;
            }
            self.due.pop_first();
            self.queue(index);
        }
    }

    /// Puts a partition into its leader's ready list, or asks who that is.
    fn queue(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        match partition.leader {
            _ if partition.is_queued => {}
            Some(leader) => {
                partition.is_queued = true;
                self.links.entry(leader).or_default().ready.push_back(index);
            }
            None => self.leaders.wanted = true,
        }
    }

    /// Looks at a partition again after something about it changed.
    fn reconsider(&mut self, index: usize, now: Instant) {
        self.restart(index);
        let ripe = self.ripe_in(index, now, 1);
        self.start_sealing(index);
        let partition = &self.partitions[index];
        match partition.line.due() {
            // The answer to what is on the wire leads here again.
            _ if partition.leader.is_some_and(|leader| partition.line.is_elsewhere(leader)) => {}
            Some(at) if at > now => drop(self.due.insert((at, index))),
            Some(_) => self.queue(index),
            None if partition.line.is_open() && partition.has_ready(ripe) => self.queue(index),
            None => {}
        }
    }
}

/// Filling requests and sending them.
impl Sender {
    fn launch(&mut self, now: Instant) {
        if self.transactions.as_ref().is_some_and(|transactions| !transactions.is_sending()) {
            return;
        }
        if self.shared.config.is_idempotent() && self.identity.is_none() {
            return;
        }
        let ready: Vec<_> = self.links.iter().filter(|(_, link)| !link.ready.is_empty()).map(|(&id, _)| id).collect();
        for broker in ready {
            while let Some(parts) = self.fill(broker, now) {
                self.send(broker, parts);
            }
        }
    }

    /// The next request for a broker: one batch of every ready partition, as far as they fit.
    fn fill(&mut self, broker: BrokerId, now: Instant) -> Option<Vec<Part>> {
        let link = self.links.get(&broker)?;
        let places = if link.is_proven { self.shared.config.in_flight() } else { 1 };
        if link.in_flight >= places {
            return None;
        }
        let (mut parts, mut looked_at, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut left_out = None;
        for _ in 0..link.ready.len() {
            let index = self.links.get_mut(&broker)?.ready.pop_front()?;
            let room = if parts.is_empty() { usize::MAX } else { self.shared.config.max_request_bytes - bytes };
            looked_at.push(index);
            match self.take(index, broker, now, room) {
                Taken::Part(part) => {
                    bytes = (bytes + part.records.len()).min(self.shared.config.max_request_bytes);
                    parts.push(part);
                }
                Taken::TooLarge => {
                    left_out = Some(index);
                    break;
                }
                Taken::Nothing => {}
            }
        }
        for index in looked_at {
            self.partitions[index].is_queued = false;
            self.reconsider(index, now);
        }
        // Behind those that were served it would be left out again, for as long as they have more.
        let ready = &mut self.links.get_mut(&broker)?.ready;
        if let Some(index) = left_out.and_then(|index| ready.pop_back_if(|last| *last == index)) {
            ready.push_front(index);
        }
        (!parts.is_empty()).then_some(parts)
    }

    /// The batch of a partition that may go to this broker now, as sent.
    fn take(&mut self, index: usize, broker: BrokerId, now: Instant, room: usize) -> Taken {
        let partition = &self.partitions[index];
        if partition.leader != Some(broker) || partition.line.is_elsewhere(broker) {
            return Taken::Nothing;
        }
        match partition.line.due() {
            Some(at) if at > now => Taken::Nothing,
            Some(_) => self.take_again(index, broker, room),
            None if partition.line.is_open() => self.take_new(index, broker, now, room),
            None => Taken::Nothing,
        }
    }

    fn take_again(&mut self, index: usize, broker: BrokerId, room: usize) -> Taken {
        let ticket = self.number();
        let partition = &mut self.partitions[index];
        if partition.line.batches().next().is_some_and(|head| head.bytes() > room) {
            return Taken::TooLarge;
        }
        Counters::add(&self.shared.counters.retries, 1);
        let identity = partition.line.identity();
        match partition.line.resend(ticket, broker) {
            Some(sent) => {
                let numbers = identity.map(|identity| (identity, sent.first_sequence));
                let records = sent.batch.stamp(numbers, self.transactions.is_some());
                Taken::Part(partition.part(index, ticket, records))
            }
            None => Taken::Nothing,
        }
    }

    fn take_new(&mut self, index: usize, broker: BrokerId, now: Instant, room: usize) -> Taken {
        let ticket = self.number();
        let ripe = self.ripe_in(index, now, 2);
        self.stock(index, ripe);
        let partition = &mut self.partitions[index];
        match partition.sealed.front() {
            Some(batch) if batch.bytes() > room => return Taken::TooLarge,
            Some(_) => {}
            None => return Taken::Nothing,
        }
        if !self.may_write(index) {
            return Taken::Nothing;
        }
        let partition = &mut self.partitions[index];
        let Some(mut batch) = partition.sealed.pop_front() else { return Taken::Nothing };
        batch.unsent = None;
        match self.identity {
            Some(identity) if self.transactions.is_some() => partition.line.assume(identity),
            Some(identity) => partition.line.adopt(identity),
            None => {}
        }
        if now.saturating_duration_since(partition.sent_at) > FORGOTTEN_AFTER {
            partition.line.may_be_forgotten();
        }
        partition.sent_at = now;
        Counters::add(&self.shared.counters.batches, 1);
        Counters::add(&self.shared.counters.batch_bytes, batch.bytes());
        let count = batch.count();
        let identity = partition.line.identity();
        let sent = partition.line.admit(ticket, batch, count, broker);
        let numbers = identity.map(|identity| (identity, sent.first_sequence));
        let records = sent.batch.stamp(numbers, self.transactions.is_some());
        Taken::Part(partition.part(index, ticket, records))
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Sees to it that the partition has a sealed batch, if there is one to seal. Without compression that is done here;
    /// with it, the batch comes back sealed from another thread.
    fn stock(&mut self, index: usize, ripe: Instant) {
        let partition = &mut self.partitions[index];
        if !partition.sealed.is_empty() || !partition.sealing.is_empty() {
            return;
        }
        let Some(filling) = partition.slot.queue().take(ripe) else { return };
        if self.shared.config.compression == Compression::None {
            let sealed = self.shared.seal(&partition.slot.topic_partition, filling);
            self.partitions[index].sealed.extend(sealed);
        } else {
            self.seal_elsewhere(index, filling);
        }
    }

    /// Full batches are compressed at once, before there is a place for them on the wire.
    fn start_sealing(&mut self, index: usize) {
        if self.shared.config.compression == Compression::None {
            return;
        }
        while let Some(filling) = self.take_full(index) {
            self.seal_elsewhere(index, filling);
        }
    }

    fn take_full(&self, index: usize) -> Option<Filling> {
        self.partitions[index].slot.queue().take_full()
    }

    fn seal_elsewhere(&mut self, index: usize, filling: Filling) {
        let number = self.number();
        let (outcome, records, since) = (Arc::clone(&filling.outcome), filling.builder.len(), filling.since);
        self.partitions[index].sealing.push_back(Sealing { number, outcome, records, since, sealed: None });
        let (shared, slot) = (Arc::clone(&self.shared), Arc::clone(&self.partitions[index].slot));
        let sealing = tokio::task::spawn_blocking(move || shared.seal(&slot.topic_partition, filling));
        self.work.push(Box::pin(async move { Event::Sealed { index, number, sealed: sealing.await.ok().flatten() } }));
    }

    fn send(&mut self, broker: BrokerId, mut parts: Vec<Part>) {
        let config = &self.shared.config;
        let request = produce(&mut parts, config);
        if config.acks == Acks::None {
            self.settle_unasked(&parts);
        }
        let link = self.links.entry(broker).or_default();
        link.in_flight += 1;
        Counters::add(&self.shared.counters.requests, 1);
        let shared = Arc::clone(&self.shared);
        self.work.push(Box::pin(async move {
            let deadline = shared.config.request_timeout;
            let result = shared.cluster.call(To::Broker(broker), Lane::Produce, request, deadline).await;
            Event::Answered { broker, parts, result }
        }));
    }

    /// With [`Acks::None`] a batch counts as written as soon as it is on its way. From then on its outcome is another, which
    /// only `flush` and `close` wait for.
    fn settle_unasked(&mut self, parts: &[Part]) {
        for part in parts {
            let partition = part.topic_partition.partition;
            self.partitions[part.index].line.note(part.ticket, |batch| {
                let outcome = std::mem::take(&mut batch.outcome);
                outcome.settle(Fate::Written { partition, base_offset: None, log_append_time: None });
            });
        }
    }
}

/// What a ready partition had to offer.
enum Taken {
    Part(Part),
    /// More than there is room for in this request.
    TooLarge,
    Nothing,
}

impl Partition {
    /// When its oldest records came.
    fn oldest(&self) -> Option<Instant> {
        let batches = self.line.batches().chain(&self.sealed).map(|batch| batch.since);
        batches.chain(self.sealing.iter().map(|place| place.since)).chain(self.slot.queue().oldest()).min()
    }

    /// Whether there is a batch to send for the first time.
    fn has_ready(&self, ripe: Instant) -> bool {
        !self.sealed.is_empty() || (self.sealing.is_empty() && self.slot.queue().has(ripe))
    }

    fn part(&self, index: usize, ticket: u64, records: Bytes) -> Part {
        let topic_partition = self.slot.topic_partition.clone();
        Part { index, ticket, topic_partition, topic_id: self.topic_id, records }
    }
}

/// Metadata, identity, deadlines.
impl Sender {
    /// Moves partitions to where the newest metadata says they are.
    fn follow_metadata(&mut self) {
        let newest = self.shared.cluster.metadata();
        if Arc::ptr_eq(&newest, &self.metadata) {
            return;
        }
        self.metadata = newest;
        self.shared.follow(&self.metadata);
        self.add_partitions();
        self.fail_gone();
        let now = Instant::now();
        for index in 0..self.partitions.len() {
            let partition = &mut self.partitions[index];
            let (topic_id, leader) = place_of(&self.metadata, &partition.slot);
            let is_another = std::mem::replace(&mut partition.topic_id, topic_id) != topic_id;
            let is_led_anew = std::mem::replace(&mut partition.leader, leader) != leader;
            if is_another || is_led_anew {
                partition.line.may_be_forgotten();
            }
            if is_led_anew {
                self.unqueue(index);
                self.reconsider(index, now);
            }
        }
    }

    fn unqueue(&mut self, index: usize) {
        if std::mem::take(&mut self.partitions[index].is_queued) {
            self.links.values_mut().for_each(|link| link.ready.retain(|&ready| ready != index));
        }
    }

    /// Asks what is to be asked: who leads, and, as soon as there is anything to send, who we are.
    fn ask(&mut self, now: Instant) {
        self.identify.wanted |= self.is_nobody() && self.shared.budget.used() > 0;
        if self.leaders.may_ask(now) {
            self.leaders.asked = true;
            let shared = Arc::clone(&self.shared);
            self.work.push(Box::pin(async move { Event::Metadata(shared.refresh().await) }));
        }
        if self.identify.may_ask(now) {
            self.identify.asked = true;
            let shared = Arc::clone(&self.shared);
            self.work.push(Box::pin(async move { Event::Identified(shared.identify().await) }));
        }
    }

    /// Whether it writes nothing before it has an id of its own.
    fn is_nobody(&self) -> bool {
        self.shared.config.is_idempotent() && self.transactions.is_none() && self.identity.is_none()
    }

    fn learnt(&mut self, result: Result<Arc<Metadata>, Error>) {
        self.follow_metadata();
        let now = Instant::now();
        let is_homeless = |partition: &Partition| {
            partition.leader.is_none() && (!partition.line.is_empty() || partition.has_ready(now))
        };
        let wanted = result.is_err() || self.partitions.iter().any(is_homeless);
        if let Err(error) = result {
            // The cluster itself says that it cannot be learned, and what waits for that is told of as overdue.
            tracing::debug!(%error, "cannot learn who leads the partitions; asking again");
        }
        self.leaders.answered(wanted, now, &self.shared.config);
    }

    fn identified(&mut self, result: Result<Identity, Error>) {
        let now = Instant::now();
        match result {
            Ok(identity) => {
                self.identity = Some(identity);
                self.identify = Inquiry::default();
                self.shared.unclaimed.store(None);
                (0..self.partitions.len()).for_each(|index| self.reconsider(index, now));
            }
            Err(error) if error.is_retriable() => {
                // What waits for it is told of as overdue, with this as the reason.
                tracing::debug!(%error, "no producer id yet; asking again");
                self.shared.unclaimed.store(Some(Arc::new(error)));
                self.identify.answered(true, now, &self.shared.config);
            }
            Err(error) => self.fail_for_good(&error),
        }
    }

    /// Lets a partition go on after a gap in its sequences (KIP-360).
    fn restart(&mut self, index: usize) {
        if !self.partitions[index].line.may_restart() {
            return;
        }
        if self.transactions.is_some() {
            // A transaction is whole or nothing: it goes on under the next epoch, from its beginning.
            let error = failure::gap(&self.partitions[index].slot.topic_partition);
            return self.fail_transaction(&error);
        }
        let partition = &mut self.partitions[index];
        let Some(identity) = self.identity else { return };
        if partition.line.restart(identity) {
            Counters::add(&self.shared.counters.restarts, 1);
            partition.restarts += 1;
            let (restarts, identity) = (partition.restarts, partition.line.identity());
            let partition = &partition.slot.topic_partition;
            // A partition that refuses much may restart with every batch: the second says no more than the first.
            if restarts.is_power_of_two() {
                tracing::warn!(%partition, ?identity, restarts, "sequences start anew after a batch that was not written");
            } else {
                tracing::debug!(%partition, ?identity, restarts, "sequences start anew after a batch that was not written");
            }
        } else {
            // The epoch is used up: a new producer id starts from zero.
            self.identity = None;
            self.identify.wanted = true;
        }
    }

    /// Fails what is older than the delivery timeout, wherever it is. Looked at now and then: a failure may come late by a
    /// fiftieth of the timeout, at most a second. A batch fails as a whole by the age of its first record, so one that takes
    /// records for long takes no more.
    fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + self.sweep_interval();
        self.say_overdue(now);
        let config = &self.shared.config;
        let Some(before) = now.checked_sub(config.delivery_timeout) else { return };
        let old = now.checked_sub(config.linger.max(config.delivery_timeout / 10)).unwrap_or(before);
        for index in 0..self.partitions.len() {
            let fillings = {
                let mut queue = self.partitions[index].slot.queue();
                queue.end_older(old);
                queue.take_older(before)
            };
            for filling in fillings {
                let error = self.expired(index, None);
                self.fail_transaction(&error);
                self.shared.settle_filling(filling, Fate::Failed(error));
            }
            let partition = &mut self.partitions[index];
            let is_over = |batch: &Sealed| batch.since <= before;
            let mut over = partition.line.expire(is_over);
            over.extend(std::iter::from_fn(|| partition.sealed.pop_front_if(|batch| is_over(batch))));
            if over.is_empty() {
                continue;
            }
            for batch in over {
                let error = self.expired(index, batch.last_error.as_ref());
                self.fail_transaction(&error);
                self.shared.settle(batch, Fate::Failed(error));
            }
            self.reconsider(index, now);
        }
    }

    /// What is tried again says nothing while it may pass. Records that wait for long are told of, with what stands in their
    /// way.
    fn say_overdue(&mut self, now: Instant) {
        let oldest = self.partitions.iter().filter_map(|partition| Some((partition.oldest()?, partition)));
        let oldest =
            oldest.min_by_key(|(since, _)| *since).map(|(since, partition)| (now.duration_since(since), partition));
        match oldest.filter(|(age, _)| *age >= OVERDUE + self.shared.config.linger) {
            Some((age, partition)) if self.overdue.fails(now) => tracing::warn!(
                partition = %partition.slot.topic_partition,
                seconds = age.as_secs(),
                given_up_after = ?self.shared.config.delivery_timeout,
                why = self.obstacle(partition),
                "records wait to be acknowledged"
            ),
            Some(_) => {}
            None => {
                if self.overdue.is_over(now).is_some() {
                    tracing::warn!("no records wait for long any more");
                }
            }
        }
    }

    /// What a partition's oldest records wait for, as far as that is known.
    fn obstacle(&self, partition: &Partition) -> String {
        let first = partition.line.batches().chain(&partition.sealed).next();
        match (first.and_then(|batch| batch.last_error.as_ref()), partition.leader) {
            (Some(error), _) => error.to_string(),
            (None, None) => "the partition has no leader that is known".to_owned(),
            (None, Some(broker)) if !partition.line.is_empty() => format!("broker {broker} has not acknowledged them"),
            (None, Some(broker)) => match self.shared.why_unclaimed() {
                Some(error) => error.to_string(),
                None if self.is_nobody() => "the producer has not been given an id".to_owned(),
                None => format!("they wait to be sent to broker {broker}"),
            },
        }
    }

    fn expired(&self, index: usize, last: Option<&Error>) -> Error {
        let (unclaimed, partition) = (self.shared.why_unclaimed(), &self.partitions[index].slot.topic_partition);
        failure::expired(partition, self.shared.config.delivery_timeout, last.or(unclaimed.as_ref()))
    }

    fn sweep_interval(&self) -> Duration {
        (self.shared.config.delivery_timeout / 50).clamp(Duration::from_millis(1), Duration::from_secs(1))
    }

    /// When something is due without anyone's doing.
    fn next_wake(&self, now: Instant) -> Option<Instant> {
        let linger = self.lingering.front().map(|&(since, _)| since + self.shared.config.linger);
        let due = self.due.first().map(|&(at, _)| at);
        let is_swept = self.shared.budget.used() > 0 || self.overdue.lasts();
        let sweep = is_swept.then_some(self.next_sweep);
        let asked = [&self.leaders, &self.identify].into_iter().filter_map(|it| it.next(now));
        let coordinator = self.transactions.as_ref().and_then(Transactions::next_wake);
        linger.into_iter().chain(due).chain(sweep).chain(asked).chain(coordinator).min()
    }

    /// The outcomes of everything that has none.
    fn unsettled(&mut self) -> Vec<Arc<Outcome>> {
        self.add_partitions();
        let mut outcomes = Vec::new();
        for partition in &self.partitions {
            outcomes.extend(partition.line.batches().chain(&partition.sealed).map(|batch| Arc::clone(&batch.outcome)));
            outcomes.extend(partition.sealing.iter().map(|place| Arc::clone(&place.outcome)));
            outcomes.extend(partition.slot.queue().outcomes());
        }
        outcomes
    }

    /// Nothing of this producer can be written any more.
    fn fail_for_good(&mut self, error: &Error) {
        tracing::error!(%error, "the producer cannot go on");
        let _ = self.shared.fatal.set(error.clone());
        self.fail_all(error);
        self.end_transactions(error);
    }

    fn stop(&mut self) {
        self.end_transactions(&failure::closed());
        let records = self.fail_all(&failure::closed());
        self.shared.undelivered.fetch_add(records, Ordering::AcqRel);
    }

    /// Closes every queue and fails what was not written; how many records that is.
    fn fail_all(&mut self, error: &Error) -> usize {
        self.shared.close_slots();
        self.add_partitions();
        (0..self.partitions.len()).map(|index| self.fail_partition(index, error)).sum()
    }

    /// Closes a partition's queue and fails what was not written of it; how many records that is.
    fn fail_partition(&mut self, index: usize, error: &Error) -> usize {
        let (partition, mut records) = (&mut self.partitions[index], 0);
        let fillings = partition.slot.queue().close();
        for filling in fillings {
            records += filling.builder.len();
            self.shared.settle_filling(filling, Fate::Failed(error.clone()));
        }
        let sealing = std::mem::take(&mut partition.sealing);
        for place in sealing {
            records += place.records;
            place.outcome.settle(Fate::Failed(error.clone()));
        }
        for batch in partition.line.expire(|_| true).into_iter().chain(partition.sealed.drain(..)) {
            records += batch.records();
            self.shared.settle(batch, Fate::Failed(error.clone()));
        }
        records
    }

    /// What was meant for a partition that the topic, made anew, has no more will never be written.
    fn fail_gone(&mut self) {
        for index in 0..self.partitions.len() {
            let slot = Arc::clone(&self.partitions[index].slot);
            if !slot.is_gone() {
                continue;
            }
            let error = failure::no_partition(&slot.topic_partition.topic, slot.topic_partition.partition);
            if self.fail_partition(index, &error) > 0 {
                tracing::warn!(%error, "the topic was made anew with fewer partitions");
                self.fail_transaction(&error);
            }
        }
    }
}

/// A partition's topic id and leader.
fn place_of(metadata: &Metadata, slot: &Slot) -> (TopicId, Option<BrokerId>) {
    let id = metadata.topic_id(&slot.topic_partition.topic).unwrap_or_default();
    (id, metadata.leader(&slot.topic_partition).map(|leader| leader.broker))
}

/// When the runtime goes away in the middle, nobody is left waiting.
impl Drop for Sender {
    fn drop(&mut self) {
        self.stop();
    }
}
