//! Who acts: producers, members of groups, and a judge in the end.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use highwater::client::{
    Client, ClientConfig, Consumer, ConsumerConfig, Delivery, IsolationLevel, NewTopic, OffsetReset, OffsetSpec,
    Producer, ProducerRecord, Receipt, Topic, TopicPartition, Transaction,
};
use highwater::devbroker::{Config, ConsumerGroupConfig, DevBroker, GroupConfig};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::chaos;
use crate::history::{End, History, Log, Name};
use crate::links::Net;
use crate::plan::{Grouping, OUTPUT, Plan, Producing, TOPIC};
use crate::relay;

/// All of a run, by the clock that is paused.
const LIMIT: Duration = Duration::from_secs(1800);
/// After the storm, everybody has this long to come to an end.
pub const AFTERMATH: Duration = Duration::from_secs(400);
/// What a broker was held up with, and nobody waits for any more, may yet be written for so long after the storm.
const LATE: Duration = Duration::from_secs(60);
pub const GRACE: Duration = Duration::from_secs(60);

pub type Outcome<T> = Result<T, String>;

/// What happened, in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary {
    acknowledged: usize,
    failed: usize,
    transactions: usize,
    relayed: usize,
    fenced: usize,
    deliveries: usize,
    links: u64,
    passed: Duration,
}

impl Summary {
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.failed += other.failed;
        self.transactions += other.transactions;
        self.relayed += other.relayed;
        self.fenced += other.fenced;
        self.deliveries += other.deliveries;
        self.links += other.links;
        self.passed += other.passed;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records acknowledged, {} failed, ", self.acknowledged, self.failed)?;
        write!(f, "{} transactions, {} of the relay, {} fenced, ", self.transactions, self.relayed, self.fenced)?;
        let Self { deliveries, links, passed, .. } = self;
        write!(f, "{deliveries} deliveries, {links} connections, {passed:.0?} by their clock")
    }
}

pub struct World {
    pub plan: Plan,
    broker: Arc<DevBroker>,
    calm: Arc<AtomicBool>,
    links: Arc<AtomicU64>,
    history: Mutex<History>,
    began: Instant,
    told: bool,
    /// Set when the groups have seen all there is.
    over: AtomicBool,
}

pub async fn run(plan: &Plan, told: bool) -> Outcome<Summary> {
    timeout(LIMIT, simulate(plan, told)).await.unwrap_or_else(|_| Err(format!("not at an end after {LIMIT:?}")))
}

async fn simulate(plan: &Plan, told: bool) -> Outcome<Summary> {
    let world = Arc::new(World::new(plan, told).await?);
    let mut groups = JoinSet::new();
    for (n, grouping) in plan.groups.iter().enumerate() {
        for place in 0..grouping.places {
            groups.spawn(Arc::clone(&world).keep_place(grouping.clone(), place, (n * 10 + place) as u64));
        }
    }
    if let Some(relaying) = &plan.relay {
        for place in 0..relaying.grouping.places {
            groups.spawn(relay::keep_post(Arc::clone(&world), relaying.clone(), place));
        }
    }
    let mut producers = JoinSet::new();
    for (n, producing) in plan.producers.iter().enumerate() {
        producers.spawn(Arc::clone(&world).produce(producing.clone(), n));
    }
    chaos::storm(plan, Arc::clone(&world.broker)).await;
    world.calm.store(true, Ordering::Relaxed);
    world.tell("the storm is over");
    let produced = async {
        while let Some(ended) = producers.join_next().await {
            ended.map_err(|error| error.to_string())??;
        }
        Outcome::Ok(())
    };
    timeout(AFTERMATH, produced).await.map_err(|_| "a producer does not come to an end".to_owned())??;
    world.judge().await?;
    let left = async {
        while let Some(ended) = groups.join_next().await {
            ended.map_err(|error| error.to_string())??;
        }
        Outcome::Ok(())
    };
    timeout(AFTERMATH, left).await.map_err(|_| "a member does not come to an end".to_owned())??;
    // What was committed while they were there stays so.
    let client = world.client(&world.net(4)).await?;
    world.check_commits(&client).await?;
    world.judge_relay(&client).await?;
    Ok(world.summary())
}

impl World {
    async fn new(plan: &Plan, told: bool) -> Outcome<Self> {
        // As short as the sessions of classic members, so that whoever vanishes is noticed within the storm.
        let consumer = ConsumerGroupConfig {
            session_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(2),
            ..ConsumerGroupConfig::default()
        };
        let initial_rebalance_delay = Duration::from_millis(500);
        let config = Config {
            seed: Some(plan.seed),
            transaction_version: plan.transaction_version,
            groups: GroupConfig { initial_rebalance_delay, consumer, ..GroupConfig::default() },
            ..Config::with_brokers(3)
        };
        let broker = DevBroker::start(config).await.map_err(|error| error.to_string())?;
        let world = Self {
            plan: plan.clone(),
            broker: Arc::new(broker),
            calm: Arc::default(),
            links: Arc::default(),
            history: Mutex::default(),
            began: Instant::now(),
            told,
            over: AtomicBool::new(false),
        };
        world.calm.store(true, Ordering::Relaxed);
        let client = world.client(&world.net(2)).await?;
        let names = [Some(TOPIC), plan.relay.as_ref().map(|_| OUTPUT)];
        let topic = |name| NewTopic::new(name).partitions(plan.partitions).replication_factor(3);
        let topics: Vec<NewTopic> = names.into_iter().flatten().map(topic).collect();
        let made = client.admin().create_topics(&topics).await.map_err(|error| error.to_string())?;
        made.into_iter().try_for_each(|(_, made)| made).map_err(|error| error.to_string())?;
        client.close().await;
        world.calm.store(false, Ordering::Relaxed);
        Ok(world)
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub fn tell(&self, what: impl fmt::Display) {
        if self.told {
            eprintln!("{:>9.3} {what}", self.began.elapsed().as_secs_f64());
        }
    }

    pub fn note<T>(&self, note: impl FnOnce(&mut History) -> T) -> T {
        note(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn net(&self, of: u64) -> Arc<Net> {
        Net::new(&self.broker, self.plan.weather, self.plan.chance(of), &self.calm, &self.links)
    }

    /// A client, however long it takes to find a broker in this weather.
    pub async fn client(&self, net: &Arc<Net>) -> Outcome<Client> {
        let config = ClientConfig {
            bootstrap_servers: vec![self.broker.bootstrap_servers()],
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            api_timeout: Duration::from_secs(60),
            metadata_max_age: Duration::from_secs(30),
            seed: Some(self.plan.seed),
            ..ClientConfig::default()
        };
        let until = Instant::now() + AFTERMATH;
        loop {
            match Client::connect_over(config.clone(), net.dial()).await {
                Ok(client) => return Ok(client),
                Err(error) if Instant::now() > until => return Err(format!("no client: {error}")),
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn summary(&self) -> Summary {
        self.note(|history| Summary {
            acknowledged: history.acknowledged.len(),
            failed: history.failed,
            transactions: history.transactions.len(),
            relayed: history.relayed.len(),
            fenced: history.fenced,
            deliveries: history.deliveries,
            links: self.links.load(Ordering::Relaxed),
            passed: self.began.elapsed(),
        })
    }

    async fn produce(self: Arc<Self>, producing: Producing, number: usize) -> Outcome<()> {
        let client = self.client(&self.net(100 + number as u64)).await?;
        let producer = client.producer(producing.config.clone()).map_err(|error| error.to_string())?;
        let writer = Writer {
            world: Arc::clone(&self),
            topic: Topic::from(TOPIC),
            chance: self.plan.chance(200 + number as u64),
            number,
            next: 0,
            producing,
        };
        match writer.producing.per_transaction {
            Some(count) => writer.transact(&producer, count).await,
            None => writer.write_all(&producer).await?,
        }
        producer.close(GRACE).await.map_err(|error| format!("producer {number}: {error}"))?;
        client.close().await;
        self.tell(format_args!("producer {number} is done: {:?}", producer.stats()));
        Ok(())
    }

    /// One member after the other, until all has been seen.
    async fn keep_place(self: Arc<Self>, grouping: Grouping, place: usize, number: u64) -> Outcome<()> {
        let mut chance = self.plan.chance(1_000 + number);
        let mut generation = 0;
        while !self.is_over() {
            generation += 1;
            let net = self.net(10_000 + 100 * number + generation);
            let client = self.client(&net).await?;
            let consumer = client.consumer(grouping.member(place)).map_err(|error| error.to_string())?;
            let drawn = chance.random_range(0..100);
            let vanishes = drawn < grouping.vanishing && !self.is_calm();
            let member = Member {
                world: Arc::clone(&self),
                grouping: grouping.clone(),
                consumer,
                chance: self.plan.chance(number + generation * 7919),
            };
            let stay = grouping.stay.mul_f64(0.2 + chance.random::<f64>());
            self.tell(format_args!("{} place {number}: member {generation} comes", grouping.name));
            let mut consumer = member.stay(stay, vanishes).await;
            if vanishes {
                net.unplug();
                drop(consumer);
                client.close().await;
                self.tell(format_args!("{} place {number}: member {generation} vanishes", grouping.name));
            } else {
                let closed = consumer.close(GRACE).await;
                self.tell(format_args!("{} place {number}: member {generation} leaves: {closed:?}", grouping.name));
                client.close().await;
            }
            sleep(Duration::from_millis(chance.random_range(0..2_000))).await;
        }
        Ok(())
    }

    /// Reads the whole log with a client of fair weather, and holds the history against it.
    async fn judge(&self) -> Outcome<()> {
        sleep(LATE).await;
        let net = self.net(3);
        let client = self.client(&net).await?;
        let all = self.read_log(&client, IsolationLevel::ReadUncommitted).await?;
        let committed = self.read_log(&client, IsolationLevel::ReadCommitted).await?;
        self.note(|history| history.check(&all, &committed))?;
        let until = Instant::now() + AFTERMATH;
        while let Err(why) = self.is_done(&client, &all, &committed).await {
            if Instant::now() > until {
                return Err(why);
            }
            sleep(Duration::from_millis(100)).await;
        }
        self.over.store(true, Ordering::Relaxed);
        client.close().await;
        Ok(())
    }

    /// Whether every group has seen all there is, and has committed behind it.
    async fn is_done(&self, client: &Client, all: &Log, committed: &Log) -> Outcome<()> {
        self.note(|history| {
            self.plan.groups.iter().try_for_each(|grouping| {
                let reads_committed = grouping.isolation_level() == IsolationLevel::ReadCommitted;
                history.check_seen(&grouping.name, if reads_committed { committed } else { all })
            })
        })?;
        self.check_commits(client).await?;
        self.has_relayed(client, committed).await
    }

    pub async fn ends(
        &self,
        client: &Client,
        topic: &str,
        isolation: IsolationLevel,
    ) -> Outcome<Vec<(TopicPartition, i64)>> {
        let partition = |partition| TopicPartition { topic: Topic::from(topic), partition };
        let partitions: Vec<_> = (0..self.plan.partitions).map(partition).collect();
        let listed = client.admin().list_offsets(OffsetSpec::Latest, &partitions, isolation).await;
        let mut ends = Vec::new();
        for (of, listed) in listed.map_err(|error| error.to_string())? {
            let listed = listed.map_err(|error| error.to_string())?;
            ends.push((of, listed.offset.ok_or("no end")?));
        }
        Ok(ends)
    }

    pub async fn read_log(&self, client: &Client, isolation: IsolationLevel) -> Outcome<Log> {
        let mut log = Log::new();
        let note = |delivery: &Delivery| {
            note_records(delivery, |place, name| {
                log.insert(place, name);
            })
        };
        self.read(client, TOPIC, isolation, note).await?;
        Ok(log)
    }

    /// All of a topic.
    pub async fn read(
        &self,
        client: &Client,
        topic: &str,
        isolation: IsolationLevel,
        mut note: impl FnMut(&Delivery) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut ends = self.ends(client, topic, isolation).await?;
        ends.retain(|(_, end)| *end > 0);
        let config = ConsumerConfig {
            auto_offset_reset: OffsetReset::Earliest,
            isolation_level: isolation,
            ..ConsumerConfig::default()
        };
        for (of, end) in ends {
            let found = client.reader(config.clone(), vec![(of.clone(), Some(0))]);
            let mut reader = found.map_err(|error| error.to_string())?;
            // A transaction's end is an offset without a record, so the reader may have to say that it stands at the end.
            while reader.assignment().iter().all(|it| it.delivered.is_none_or(|offset| offset < end)) {
                let next = timeout(Duration::from_secs(2), reader.next()).await;
                match next {
                    Ok(Some(Ok(delivery))) => note(&delivery)?,
                    Ok(Some(Err(error))) => return Err(format!("the judge cannot read: {error}")),
                    Ok(None) => return Err("the judge's reader is closed".into()),
                    Err(_) => break,
                }
            }
            let _ = reader.close(GRACE).await;
        }
        Ok(())
    }

    async fn check_commits(&self, client: &Client) -> Outcome<()> {
        let names: Vec<String> = self.plan.groups.iter().map(|grouping| grouping.name.clone()).collect();
        let committed = client.admin().committed_offsets(&names).await.map_err(|error| error.to_string())?;
        for grouping in &self.plan.groups {
            let ends = self.ends(client, TOPIC, grouping.isolation_level()).await?;
            let offsets = match committed.get(&grouping.name) {
                Some(Ok(offsets)) => offsets,
                other => return Err(format!("{}: {other:?}", grouping.name)),
            };
            for (of, end) in ends.into_iter().filter(|(_, end)| *end > 0) {
                let offset = offsets.get(&of).and_then(|it| it.offset);
                if offset != Some(end) {
                    return Err(format!("{} has committed {offset:?} of {of}, whose end is {end}", grouping.name));
                }
            }
        }
        Ok(())
    }
}

/// A producer's hand.
struct Writer {
    world: Arc<World>,
    topic: Topic,
    chance: StdRng,
    number: usize,
    next: usize,
    producing: Producing,
}

/// Where a record is put.
enum Into<'a> {
    Plain(&'a Producer),
    Transaction(&'a Transaction),
}

impl Writer {
    async fn enqueue(&mut self, into: Into<'_>) -> (Name, Option<Receipt>) {
        let name = Name { producer: self.number, number: self.next };
        self.next += 1;
        let value = name.value(self.chance.random_range(0..self.producing.largest_value));
        let partition = Some(self.chance.random_range(0..self.world.plan.partitions));
        let timestamp_ms = Some(1_000);
        let record = ProducerRecord { partition, timestamp_ms, ..ProducerRecord::new(&self.topic, &value) };
        let receipt = match into {
            Into::Plain(producer) => producer.enqueue(record).await,
            Into::Transaction(transaction) => transaction.enqueue(record).await,
        };
        if let Err(error) = &receipt {
            self.world.tell(format_args!("producer {}: {name:?} is not taken: {error}", self.number));
        }
        (name, receipt.ok())
    }

    async fn pause(&mut self) {
        if self.chance.random_bool(0.3) {
            sleep(self.producing.pause.mul_f64(self.chance.random())).await;
        }
    }

    async fn write_all(mut self, producer: &Producer) -> Outcome<()> {
        let mut receipts = Vec::new();
        while self.next < self.producing.records {
            let (name, receipt) = self.enqueue(Into::Plain(producer)).await;
            receipts.push((name, receipt));
            self.pause().await;
        }
        for (name, receipt) in receipts {
            settle(&self.world, name, receipt).await?;
        }
        Ok(())
    }

    /// Transactions, one after the other. One that fails is left to the next.
    async fn transact(mut self, producer: &Producer, count: usize) {
        while self.next < self.producing.records {
            let transaction = match producer.begin().await {
                Ok(transaction) => transaction,
                Err(error) => {
                    self.world.tell(format_args!("producer {}: no transaction: {error}", self.number));
                    self.next += 1;
                    self.pause().await;
                    continue;
                }
            };
            let mut names = Vec::new();
            let mut whole = true;
            for _ in 0..self.chance.random_range(1..=count) {
                let (name, receipt) = self.enqueue(Into::Transaction(&transaction)).await;
                // What is not taken is not part of it.
                whole &= receipt.is_some();
                names.extend(receipt.is_some().then_some(name));
                self.pause().await;
            }
            let commits = whole && self.chance.random_bool(0.8);
            let ended = if commits { transaction.commit().await } else { transaction.abort().await };
            let end = match &ended {
                Ok(()) if commits => End::Committed,
                Ok(()) => End::Aborted,
                Err(error) if error.is_aborted() => End::Aborted,
                // An abort that is not known to have come to its end still never commits.
                Err(_) if !commits => End::Aborted,
                Err(_) => End::Unknown,
            };
            self.world.tell(format_args!("producer {}: {end:?} {names:?} {ended:?}", self.number));
            self.world.note(|history| history.transactions.push((names, end)));
        }
    }
}

async fn settle(world: &World, name: Name, receipt: Option<Receipt>) -> Outcome<()> {
    let Some(receipt) = receipt else {
        world.note(|history| history.failed += 1);
        return Ok(());
    };
    match receipt.await {
        Ok(metadata) => {
            let offset = metadata.offset.ok_or_else(|| format!("{name:?} was acknowledged without an offset"))?;
            world.note(|history| history.acknowledged.push((name, (metadata.partition, offset))));
        }
        Err(error) => {
            world.tell(format_args!("{name:?} failed: {error}"));
            world.note(|history| history.failed += 1);
        }
    }
    Ok(())
}

/// A member of a group while it is one.
struct Member {
    world: Arc<World>,
    grouping: Grouping,
    consumer: Consumer,
    chance: StdRng,
}

impl Member {
    /// Works for as long as it stays; once the storm is over, until all is done.
    async fn stay(mut self, stay: Duration, vanishes: bool) -> Consumer {
        let until = Instant::now() + stay;
        loop {
            let (over, calm) = (self.world.is_over(), self.world.is_calm());
            if over || if calm { vanishes } else { Instant::now() >= until } {
                return self.consumer;
            }
            match timeout(Duration::from_millis(500), self.consumer.next()).await {
                Ok(Some(Ok(delivery))) => self.work_on(delivery, vanishes).await,
                Ok(Some(Err(error))) => self.world.tell(format_args!("{}: {error}", self.grouping.name)),
                Ok(None) => return self.consumer,
                Err(_) => {}
            }
        }
    }

    async fn work_on(&mut self, delivery: Delivery, vanishes: bool) {
        let world = Arc::clone(&self.world);
        world.note(|history| {
            history.deliveries += 1;
            let seen = history.seen.entry(self.grouping.name.clone()).or_default();
            let noted = note_records(&delivery, |place, name| match seen.insert(place, name) {
                Some(other) if other != name => panic!("{name:?} and {other:?} were both seen at {place:?}"),
                _ => {}
            });
            if let Err(why) = noted {
                panic!("{}: {why}", self.grouping.name);
            }
        });
        sleep(self.grouping.work.mul_f64(self.chance.random())).await;
        // Who is about to vanish may leave things unfinished.
        if !vanishes || self.chance.random_bool(0.7) {
            delivery.finish();
        }
    }
}

/// Every record of a delivery, in the order of offsets.
fn note_records(delivery: &Delivery, mut note: impl FnMut((i32, i64), Name)) -> Outcome<()> {
    let mut last = None;
    for record in delivery.records() {
        if last.is_some_and(|last| last >= record.offset) {
            return Err(format!("offset {} after {last:?}", record.offset));
        }
        last = Some(record.offset);
        let name = record.value.and_then(Name::of).ok_or_else(|| format!("{record:?} is nobody's"))?;
        note((delivery.topic_partition.partition, record.offset), name);
    }
    Ok(())
}
