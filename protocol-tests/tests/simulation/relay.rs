//! The relay: members of a group that write what they read to another topic, in transactions that the group's offsets go with
//! (KIP-447), so that every record is there exactly once. Workers leave, vanish wherever they are, are late for the next delivery
//! and given what they work on once more, and are overtaken by rivals that claim their transactional ids while they are in the
//! midst of a transaction.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater::client::{
    Client, Consumer, Delivery, Error, GroupMetadata, IsolationLevel, Position, Producer, ProducerRecord, Topic,
    TopicPartition, Transaction,
};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::history::{End, Log, Name, Relayed};
use crate::links::Net;
use crate::plan::{OUTPUT, Relaying, TOPIC};
use crate::world::{AFTERMATH, GRACE, Outcome, World};

/// What comes so soon after a delivery goes into the same transaction.
const GATHERING: Duration = Duration::from_millis(20);
/// The longest pause before an aborted transaction is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// So long a worker waits for the rival that it is to meet.
const PATIENCE: Duration = Duration::from_secs(20);

/// One place of the relay, and its transactional id.
struct Post {
    world: Arc<World>,
    relaying: Relaying,
    place: usize,
    /// The last worker that has claimed the id.
    claimed: watch::Sender<usize>,
    /// A rival is to claim it, too.
    wanted: Notify,
}

/// One worker after the other, or one over the head of the other, until all has been relayed.
pub async fn keep_post(world: Arc<World>, relaying: Relaying, place: usize) -> Outcome<()> {
    let mut chance = world.plan.chance(2_000 + place as u64);
    let post = Arc::new(Post { world, relaying, place, claimed: watch::Sender::new(0), wanted: Notify::new() });
    let mut workers = JoinSet::new();
    let mut last = 1_000 * place;
    while !post.world.is_over() {
        last += 1;
        workers.spawn(work(Arc::clone(&post), last));
        if post.is_vacant(&mut workers, last).await? {
            sleep(Duration::from_millis(chance.random_range(0..2_000))).await;
        }
    }
    while let Some(ended) = workers.join_next().await {
        ended.map_err(|error| error.to_string())??;
    }
    Ok(())
}

impl Post {
    /// Waits until it is time for the next worker: true if the last one has ended, false if that one is to meet a rival.
    async fn is_vacant(&self, workers: &mut JoinSet<Outcome<usize>>, last: usize) -> Outcome<bool> {
        loop {
            // A call that is not heard before its caller has ended would be taken for that of the next worker.
            tokio::select! {
                biased;
                () = self.wanted.notified() => return Ok(false),
                Some(ended) = workers.join_next() => {
                    if ended.map_err(|error| error.to_string())?? == last {
                        return Ok(true);
                    }
                }
            }
        }
    }
}

/// One worker from its first word to its last; its number.
async fn work(post: Arc<Post>, number: usize) -> Outcome<usize> {
    let net = post.world.net(50_000 + number as u64);
    let client = post.world.client(&net).await?;
    let producer = client.producer(post.relaying.producer(post.place)).map_err(|error| error.to_string())?;
    // First of all: what a predecessor has left open holds up the offsets that the consumer begins at.
    if let Err(error) = producer.claim().await {
        post.world.tell(format_args!("relay {number}: no claim: {error}"));
        let _ = producer.close(GRACE).await;
    } else {
        post.claimed.send_replace(number);
        let consumer = client.consumer(post.relaying.grouping.member(post.place)).map_err(|error| error.to_string())?;
        let chance = post.world.plan.chance(60_000 + number as u64);
        let worker =
            Worker { post, number, begun: 0, overtaken_in: None, chance, consumer, producer, ahead: VecDeque::new() };
        worker.live(&net).await;
    }
    client.close().await;
    Ok(number)
}

struct Worker {
    post: Arc<Post>,
    number: usize,
    /// How many transactions it has begun.
    begun: usize,
    /// Which of them is the one in which it meets a rival.
    overtaken_in: Option<usize>,
    chance: StdRng,
    consumer: Consumer,
    producer: Producer,
    /// What came while it was in the midst of a transaction.
    ahead: VecDeque<Delivery>,
}

/// What a transaction carries.
struct Load {
    /// Partitions and values.
    copies: Vec<(i32, Vec<u8>)>,
    group: GroupMetadata,
    positions: Vec<Position>,
}

impl Load {
    fn of(group: GroupMetadata, deliveries: &[Delivery]) -> Self {
        let mut load = Self { copies: Vec::new(), group, positions: Vec::new() };
        for delivery in deliveries {
            let of = &delivery.topic_partition;
            let copy = |value: Option<&[u8]>| (of.partition, value.unwrap_or_default().to_vec());
            load.copies.extend(delivery.records().map(|record| copy(record.value)));
            // Of several of a partition the last one counts.
            load.positions.retain(|position| position.topic_partition != *of);
            load.positions.push(delivery.position());
        }
        load
    }
}

impl Worker {
    fn tell(&self, what: impl fmt::Display) {
        self.post.world.tell(format_args!("relay {}: {what}", self.number));
    }

    /// Of the transaction that was begun last.
    fn name(&self) -> Name {
        Name { producer: self.number, number: self.begun }
    }

    /// Whether a rival has the id by now.
    fn is_overtaken(&self) -> bool {
        *self.post.claimed.borrow() > self.number
    }

    /// Stays for as long as was drawn, and leaves or vanishes.
    async fn live(mut self, net: &Net) {
        let (vanishing, stay) = (self.post.relaying.grouping.vanishing, self.post.relaying.grouping.stay);
        let vanishes = self.chance.random_range(0..100) < vanishing && !self.post.world.is_calm();
        let is_overtaken = self.chance.random_range(0..100) < self.post.relaying.overtaken;
        self.overtaken_in = is_overtaken.then_some(self.chance.random_range(1..=4));
        let until = Instant::now() + stay.mul_f64(0.2 + self.chance.random::<f64>());
        self.tell("comes");
        if vanishes {
            // Wherever it is then, as a program that is killed.
            let _ = timeout_at(until, self.stay(until, vanishes)).await;
            net.unplug();
            self.tell("vanishes");
            drop(self.consumer);
            let _ = self.producer.close(Duration::ZERO).await;
        } else {
            self.stay(until, vanishes).await;
            let left = (self.consumer.close(GRACE).await, self.producer.close(GRACE).await);
            self.tell(format_args!("leaves: {left:?}"));
        }
    }

    /// Works for as long as it stays, or can; once the storm is over, until all is done.
    async fn stay(&mut self, until: Instant, vanishes: bool) {
        loop {
            let (over, calm) = (self.post.world.is_over(), self.post.world.is_calm());
            if over || if calm { vanishes } else { Instant::now() >= until } {
                return;
            }
            match timeout(Duration::from_millis(500), self.next()).await {
                Ok(Some(Ok(delivery))) => {
                    if !self.relay(delivery).await {
                        return;
                    }
                }
                Ok(Some(Err(error))) => self.tell(error),
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    /// In the order in which it came.
    async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        match self.ahead.pop_front() {
            Some(delivery) => Some(Ok(delivery)),
            None => self.consumer.next().await,
        }
    }

    /// Writes on what has come, and again what was aborted; false if it is to begin anew, where its group stands then.
    async fn relay(&mut self, first: Delivery) -> bool {
        let mut deliveries = self.gather(first).await;
        loop {
            // In this order: whoever belongs to the group as it is now, and still holds a partition, may commit for it.
            let group = self.consumer.group_metadata();
            deliveries.retain(|delivery| !delivery.is_revoked());
            if deliveries.is_empty() {
                return true;
            }
            let Ok(group) = group else { return false };
            let load = Load::of(group, &deliveries);
            match self.transact(load).await {
                End::Committed => {
                    deliveries.into_iter().for_each(Delivery::finish);
                    return true;
                }
                End::Aborted if self.chance.random_bool(0.7) => sleep(PAUSE.mul_f64(self.chance.random())).await,
                End::Aborted | End::Unknown => return false,
            }
        }
    }

    /// With what else is there, so that one that is behind catches up.
    async fn gather(&mut self, first: Delivery) -> Vec<Delivery> {
        let mut deliveries = vec![first];
        let most = self.chance.random_range(1..=self.post.relaying.per_transaction);
        while deliveries.len() < most {
            // An error is told again for as long as it lasts.
            let Ok(Some(Ok(delivery))) = timeout(GATHERING, self.next()).await else { break };
            deliveries.push(delivery);
        }
        deliveries
    }

    async fn transact(&mut self, load: Load) -> End {
        let transaction = match self.producer.begin().await {
            Ok(transaction) => transaction,
            Err(error) => return self.hear(&error),
        };
        self.begun += 1;
        self.tell(format_args!("transaction {} up to {:?}", self.begun, load.positions));
        let Err(error) = self.fill(&transaction, &load).await else {
            return self.commit(transaction, load.copies.len()).await;
        };
        self.tell(format_args!("transaction {} is aborted: {error}", self.begun));
        match transaction.abort().await {
            Ok(()) => End::Aborted,
            Err(error) => self.hear(&error),
        }
    }

    async fn fill(&mut self, transaction: &Transaction, load: &Load) -> Result<(), Error> {
        let (output, key) = (Topic::from(OUTPUT), self.name().value(0));
        for (partition, value) in &load.copies {
            let (partition, key, timestamp_ms) = (Some(*partition), Some(&key[..]), Some(1_000));
            let copy = ProducerRecord { partition, key, timestamp_ms, ..ProducerRecord::new(&output, value) };
            drop(transaction.enqueue(copy).await?);
        }
        if self.chance.random_bool(0.3) {
            self.producer.flush().await;
        }
        // Before the offsets are in it, or after.
        if self.chance.random_bool(0.5) {
            self.meet_rival().await;
        }
        self.be_late().await;
        transaction.send_offsets(&load.group, load.positions.iter().cloned()).await?;
        self.meet_rival().await;
        Ok(())
    }

    /// For so long that its group takes it for gone; then it asks for the next delivery, and may be given what it works on.
    async fn be_late(&mut self) {
        if self.chance.random_range(0..100) >= self.post.relaying.late {
            return;
        }
        sleep(self.post.relaying.too_long()).await;
        let next = timeout(PATIENCE, self.consumer.next()).await;
        self.tell(format_args!("is late in transaction {}", self.begun));
        if let Ok(Some(Ok(delivery))) = next {
            self.ahead.push_back(delivery);
        }
    }

    /// In the transaction that was drawn a rival claims the id, which is mostly waited for.
    async fn meet_rival(&mut self) {
        if self.overtaken_in != Some(self.begun) || self.post.world.is_calm() {
            return;
        }
        self.overtaken_in = None;
        self.post.wanted.notify_one();
        if self.chance.random_bool(0.8) {
            let (number, mut claimed) = (self.number, self.post.claimed.subscribe());
            let has_claimed = timeout(PATIENCE, claimed.wait_for(|last| *last > number)).await.is_ok();
            self.tell(format_args!("a rival in transaction {}: {has_claimed}", self.begun));
        }
    }

    async fn commit(&mut self, transaction: Transaction, records: usize) -> End {
        let (name, was_overtaken) = (self.name(), self.is_overtaken());
        // All that is known if it is killed in the midst of it.
        self.note(name, records, End::Unknown);
        let end = match transaction.commit().await {
            Ok(()) => End::Committed,
            Err(error) => self.hear(&error),
        };
        assert!(!was_overtaken || end != End::Committed, "{name:?} was committed after a rival had claimed its id");
        self.note(name, records, end);
        end
    }

    fn note(&self, name: Name, records: usize, end: End) {
        self.tell(format_args!("transaction {} of {records} records: {end:?}", name.number));
        self.post.world.note(|history| history.relayed.insert(name, (records, end)));
    }

    /// How the transaction ended that came to this error. Where that is not known there is no going on with this producer.
    fn hear(&self, error: &Error) -> End {
        self.tell(error);
        if error.is_aborted() {
            return End::Aborted;
        }
        if self.is_overtaken() {
            // What may pass, such as a timeout, has only kept it from being told.
            let is_lawful = error.is_fenced() || error.is_retriable();
            assert!(is_lawful, "relay {}: a rival has its id, and it is told {error}", self.number);
            self.post.world.note(|history| history.fenced += usize::from(error.is_fenced()));
        }
        End::Unknown
    }
}

/// The judge of the relay.
impl World {
    /// Whether the relay's group has committed behind every record. Behind the last one there may be ends of transactions,
    /// which are never given out.
    pub async fn has_relayed(&self, client: &Client, committed: &Log) -> Outcome<()> {
        let Some(relaying) = &self.plan.relay else { return Ok(()) };
        let groups = [relaying.grouping.name.clone()];
        let mut found = client.admin().committed_offsets(&groups).await.map_err(|error| error.to_string())?;
        let offsets = match found.remove(&groups[0]) {
            Some(Ok(offsets)) => offsets,
            other => return Err(format!("the relay: {other:?}")),
        };
        for ((partition, offset), name) in committed {
            let of = TopicPartition { topic: Topic::from(TOPIC), partition: *partition };
            let stands = offsets.get(&of).and_then(|it| it.offset);
            if stands.is_none_or(|stands| stands <= *offset) {
                return Err(format!("the relay has committed {stands:?} of {of}, where {name:?} is at {offset}"));
            }
        }
        Ok(())
    }

    /// Once nobody writes any more: holds what was relayed against what there was to relay.
    pub async fn judge_relay(&self, client: &Client) -> Outcome<()> {
        if self.plan.relay.is_none() {
            return Ok(());
        }
        self.until_closed(client).await?;
        let input = self.read_log(client, IsolationLevel::ReadCommitted).await?;
        self.has_relayed(client, &input).await?;
        let mut output = Relayed::new();
        self.read(client, OUTPUT, IsolationLevel::ReadCommitted, |delivery| note_copies(delivery, &mut output)).await?;
        self.note(|history| history.check_relayed(&input, &output))
    }

    /// What a worker has left open is aborted by whoever claims its id next, or by the coordinator in time.
    async fn until_closed(&self, client: &Client) -> Outcome<()> {
        let until = Instant::now() + AFTERMATH;
        loop {
            let stable = self.ends(client, OUTPUT, IsolationLevel::ReadCommitted).await?;
            let all = self.ends(client, OUTPUT, IsolationLevel::ReadUncommitted).await?;
            if stable == all {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("a transaction of the relay stays open: {stable:?} of {all:?}"));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Which records these are, and in which transaction they were written.
fn note_copies(delivery: &Delivery, output: &mut Relayed) -> Outcome<()> {
    for record in delivery.records() {
        let names = record.value.and_then(Name::of).zip(record.key.and_then(Name::of));
        let names = names.ok_or_else(|| format!("{record:?} is nobody's"))?;
        output.insert((delivery.topic_partition.partition, record.offset), names);
    }
    Ok(())
}
