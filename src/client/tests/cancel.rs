//! Every public future, dropped at each point where it waits: what it belongs to goes on, and nothing is lost or doubled.
//!
//! [`check`] plays a scene again and again, each time in a world of its own. In each the future is dropped a little later:
//! before it was polled, after it has waited once, twice, and so on until it comes to its end by itself; and once more
//! for each wait when the news that it waits for has come and it has not looked. Brokers are behind pipes and the clock is
//! paused, so a scene takes no time.
//!
//! Only [`Consumer::skip_broken`] is elsewhere, in the tests of consumers: it waits where a batch cannot be read, and no
//! broker writes such a one.

use std::collections::{BTreeSet, HashMap};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::time::timeout;

use super::*;
use crate::client::ConfigResource;
use crate::devbroker::{self, DevBroker, Fault, GroupConfig, Matching};
use crate::net::{Attempt, Io};
use crate::protocol::api::Body;

const BROKERS: i32 = 2;
const PIPE: usize = 1 << 16;
/// More waits than any of the futures has.
const WAITS_MAX: usize = 200;
/// By the clock that is paused.
const SCENE_LIMIT: Duration = Duration::from_secs(3600);
const GRACE: Duration = Duration::from_secs(30);

/// Where a future is dropped.
#[derive(Debug, Clone, Copy)]
struct Cut {
    waits: usize,
    when: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// As soon as it waits.
    Waiting,
    /// When it is woken, before it can see why.
    Woken,
}

impl Cut {
    /// What the future comes to; `None` if it was dropped before.
    async fn of<F: Future>(self, work: F) -> Option<F::Output> {
        let (mut work, mut waited) = (Box::pin(work), 0);
        poll_fn(move |cx| {
            if waited == self.waits {
                return Poll::Ready(None);
            }
            match work.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => {
                    waited += 1;
                    let now = waited == self.waits && self.when == When::Waiting;
                    if now { Poll::Ready(None) } else { Poll::Pending }
                }
            }
        })
        .await
    }

    /// Whether the future was begun at all.
    fn is_begun(self) -> bool {
        self.waits > 0
    }
}

/// Plays a scene for every point at which its future waits; the scene says whether the future came to its end.
async fn check(what: &str, scene: impl AsyncFn(Cut) -> bool) {
    for when in [When::Waiting, When::Woken] {
        let mut waits = 0;
        loop {
            let cut = Cut { waits, when };
            eprintln!("{what}, {cut:?}");
            let played = timeout(SCENE_LIMIT, scene(cut)).await;
            if played.expect("the scene comes to an end") {
                break;
            }
            waits += 1;
            assert!(waits < WAITS_MAX, "{what} does not come to an end");
        }
        assert!(waits > 1, "{what} never waits, and so shows nothing");
    }
}

/// How a consumer belongs to its group.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Member(GroupProtocol),
    /// It has the group's offsets, and is no member.
    Assigned,
}

struct World {
    broker: Arc<DevBroker>,
    client: Client,
    topic: Topic,
    of: TopicPartition,
    dials: Arc<AtomicUsize>,
}

impl World {
    async fn new() -> Self {
        Self::with(2).await
    }

    /// In one of the two protocols of transactions.
    async fn with(transaction_version: i16) -> Self {
        let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
        let config = devbroker::Config { groups, transaction_version, ..devbroker::Config::with_brokers(BROKERS) };
        let broker = Arc::new(DevBroker::start(config).await.unwrap());
        let dials = Arc::default();
        let client = connect(&broker, &dials).await.unwrap();
        let topic = Topic::from("orders");
        client.admin().create_topics(&[NewTopic::new("orders").partitions(1)]).await.unwrap();
        Self { of: TopicPartition::new(topic.clone(), 0), broker, client, topic, dials }
    }

    fn fault<R: Body>(&self, times: u64, fault: Fault) {
        self.broker.faults().inject(Matching::api(R::KEY), times, fault);
    }

    fn record<'a>(&'a self, value: &'a str) -> ProducerRecord<'a> {
        ProducerRecord::new(&self.topic, value.as_bytes())
    }

    fn transactional(&self) -> Producer {
        self.client.producer(ProducerConfig { transactional_id: Some("t".to_owned()), ..Default::default() }).unwrap()
    }

    async fn write(&self, values: &[&str]) {
        let producer = self.client.producer(ProducerConfig::default()).unwrap();
        for value in values {
            producer.send(self.record(value)).await.unwrap();
        }
    }

    fn consumer(&self, kind: Kind, auto_commit: bool) -> Consumer {
        let config = ConsumerConfig {
            group_id: "readers".to_owned(),
            topics: vec![self.topic.clone()],
            auto_offset_reset: OffsetReset::Earliest,
            auto_commit,
            ..Default::default()
        };
        match kind {
            Kind::Member(group_protocol) => self.client.consumer(ConsumerConfig { group_protocol, ..config }).unwrap(),
            Kind::Assigned => self.client.assign(config, vec![(self.of.clone(), None)]).unwrap(),
        }
    }

    /// All that is committed in the log.
    async fn read(&self) -> Vec<String> {
        let isolation_level = IsolationLevel::ReadCommitted;
        let config = ConsumerConfig { isolation_level, ..Default::default() };
        let mut reader = self.client.reader(config, vec![(self.of.clone(), Some(0))]).unwrap();
        let mut read = Vec::new();
        while let Ok(Some(delivery)) = timeout(5 * SECOND, reader.next()).await {
            read.extend(values(&delivery.unwrap()));
        }
        read
    }

    /// What the group has committed.
    async fn committed(&self) -> Option<Offset> {
        let groups = self.client.admin().committed_offsets(&["readers".to_owned()]).await.unwrap();
        let offsets = groups.into_values().flat_map(|group| group.unwrap().into_values());
        offsets.filter_map(|committed| committed.offset).next()
    }

    async fn members(&self) -> usize {
        let groups = self.client.admin().describe_groups(&["readers".to_owned()]).await.unwrap();
        groups.into_values().map(|group| group.map_or(0, |it| it.members.len())).sum()
    }
}

async fn connect(broker: &Arc<DevBroker>, dials: &Arc<AtomicUsize>) -> Result<Client, Error> {
    let (broker, dials) = (Arc::clone(broker), Arc::clone(dials));
    let config = ClientConfig { seed: Some(1), ..quick_to_reconnect(&broker) };
    let dial: Dial = Arc::new(move |address: Address| {
        dials.fetch_add(1, Ordering::Relaxed);
        let is_it = |id: &i32| broker.address(*id).is_some_and(|it| it.port() == address.port());
        let io = (1..=BROKERS).find(is_it).and_then(|id| broker.connect(id, PIPE));
        let io = io.map(|io| Box::new(io) as Box<dyn Io>).ok_or_else(|| vec![Attempt::new(address, "nobody is there")]);
        futures::future::ready(io).boxed()
    });
    Client::connect_over(config, dial).await
}

fn values(delivery: &Delivery) -> Vec<String> {
    delivery.records().map(|it| String::from_utf8_lossy(it.value.unwrap()).into_owned()).collect()
}

/// How often each of these is there, and that nothing else is.
fn times<const N: usize>(read: &[String], of: [&str; N]) -> [usize; N] {
    let times = of.map(|value| read.iter().filter(|it| *it == value).count());
    assert_eq!(times.iter().sum::<usize>(), read.len(), "{read:?}");
    times
}

/// What was dropped and what came after it, of which all was read.
fn is_once_or_not_at_all(read: &[String], has_ended: bool) {
    let [dropped, after] = times(read, ["cut", "after"]);
    assert!(after == 1 && dropped <= 1 && (dropped == 1 || !has_ended), "{dropped} {after}");
}

/// A producer's memory without room, until the broker answers.
struct Full {
    filler: String,
    fillers: usize,
    /// What there is no room for.
    large: String,
}

impl Full {
    fn config(transactional_id: Option<&str>) -> ProducerConfig {
        ProducerConfig {
            buffer_bytes: 4000,
            batch_bytes: 800,
            linger: Duration::ZERO,
            transactional_id: transactional_id.map(str::to_owned),
            ..Default::default()
        }
    }

    fn by(world: &World, enqueue: impl Fn(ProducerRecord<'_>) -> Result<Option<Receipt>, Error>) -> Self {
        world.fault::<ProduceRequest>(1, Fault::Delay(SECOND));
        let (filler, mut fillers) = ("f".repeat(500), 0);
        while let Some(receipt) = enqueue(world.record(&filler)).unwrap() {
            (fillers, _) = (fillers + 1, receipt);
        }
        Self { filler, fillers, large: "x".repeat(2000) }
    }

    /// What came first, what filled the memory, and what came after are there once, and what there was no room for is if
    /// its producer was told so.
    async fn is_written(&self, world: &World, has_ended: bool) {
        let read = world.read().await;
        let [first, filled, dropped, after] = times(&read, ["first", &self.filler, &self.large, "after"]);
        assert_eq!((first, filled, dropped, after), (1, self.fillers, usize::from(has_ended), 1));
    }
}

mod producers {
    use super::*;

    /// Nothing is held by a producer that is closed.
    async fn close(producer: &Producer) {
        producer.close(GRACE).await.unwrap();
        assert_eq!(producer.stats().buffered_bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_send_is_written_once_or_not_at_all() {
        for linger in [Duration::ZERO, 5 * SECOND] {
            check("send", async |cut| {
                let world = World::new().await;
                let producer = world.client.producer(ProducerConfig { linger, ..Default::default() }).unwrap();
                let ended = cut.of(producer.send(world.record("cut"))).await.map(Result::unwrap);
                producer.send(world.record("after")).await.unwrap();
                close(&producer).await;
                is_once_or_not_at_all(&world.read().await, ended.is_some());
                ended.is_some()
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_is_written_whether_its_receipt_is_waited_for_or_not() {
        check("receipt", async |cut| {
            let world = World::new().await;
            let producer = world.client.producer(ProducerConfig::default()).unwrap();
            let receipt = producer.enqueue(world.record("cut")).await.unwrap();
            let ended = cut.of(receipt).await.map(Result::unwrap);
            close(&producer).await;
            assert_eq!(world.read().await, ["cut"]);
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_memory_and_goes_takes_none_along() {
        check("enqueue", async |cut| {
            let world = World::new().await;
            let producer = world.client.producer(Full::config(None)).unwrap();
            producer.send(world.record("first")).await.unwrap();
            let full = Full::by(&world, |record| producer.try_enqueue(record));
            let ended = cut.of(producer.enqueue(world.record(&full.large))).await.map(Result::unwrap);
            drop(producer.enqueue(world.record("after")).await.unwrap());
            close(&producer).await;
            full.is_written(&world, ended.is_some()).await;
            ended.is_some()
        })
        .await;
    }

    async fn enqueued(world: &World, producer: &Producer) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        for value in ["a", "b", "c"] {
            receipts.push(producer.enqueue(world.record(value)).await.unwrap());
        }
        receipts
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_can_be_begun_again() {
        check("flush", async |cut| {
            let world = World::new().await;
            let producer = world.client.producer(ProducerConfig { linger: 60 * SECOND, ..Default::default() }).unwrap();
            let receipts = enqueued(&world, &producer).await;
            let ended = cut.of(producer.flush()).await;
            producer.flush().await;
            assert!(receipts.into_iter().all(|receipt| receipt.now_or_never().is_some_and(|it| it.is_ok())));
            close(&producer).await;
            assert_eq!(world.read().await, ["a", "b", "c"]);
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_can_be_begun_again_and_delivers_all() {
        for transactional in [false, true] {
            check("close", async |cut| {
                let world = World::new().await;
                let producer = if transactional {
                    world.transactional()
                } else {
                    world.client.producer(ProducerConfig::default()).unwrap()
                };
                let open = if transactional { Some(producer.begin().await.unwrap()) } else { None };
                match &open {
                    Some(transaction) => drop(transaction.enqueue(world.record("aborted")).await.unwrap()),
                    None => drop(enqueued(&world, &producer).await),
                }
                let ended = cut.of(producer.close(GRACE)).await.map(Result::unwrap);
                assert_eq!(producer.check_open().is_err_and(|it| it.is_closed()), cut.is_begun());
                close(&producer).await;
                let expected: &[&str] = if transactional { &[] } else { &["a", "b", "c"] };
                assert_eq!(world.read().await, expected);
                ended.is_some()
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_close_fails_is_told_to_who_stays_for_it() {
        check("close in vain", async |cut| {
            let world = World::new().await;
            world.fault::<ProduceRequest>(u64::MAX, Fault::Disconnect);
            let producer = world.client.producer(ProducerConfig::default()).unwrap();
            let receipts = enqueued(&world, &producer).await;
            let ended = cut.of(producer.close(SECOND)).await;
            let came_to_an_end = ended.is_some();
            let told = match ended {
                Some(told) => told,
                None => producer.close(SECOND).await,
            };
            let told = told.unwrap_err().to_string();
            assert!(told.contains("before 3 records"), "{told}");
            for receipt in receipts {
                assert!(receipt.await.unwrap_err().is_closed());
            }
            close(&producer).await;
            came_to_an_end
        })
        .await;
    }
}

mod transactions {
    use super::*;
    use crate::client::producer::GroupMetadata;

    /// In both protocols.
    async fn check(what: &str, scene: impl AsyncFn(&World, &Producer, Cut) -> bool) {
        for version in [0, 2] {
            super::check(&format!("{what}, version {version}"), async |cut| {
                let world = World::with(version).await;
                let producer = world.transactional();
                let ended = scene(&world, &producer, cut).await;
                producer.close(GRACE).await.unwrap();
                assert_eq!(producer.stats().buffered_bytes, 0);
                ended
            })
            .await;
        }
    }

    /// A transaction of one record, from beginning to end.
    async fn write(world: &World, producer: &Producer, value: &str) {
        let transaction = producer.begin().await.unwrap();
        drop(transaction.enqueue(world.record(value)).await.unwrap());
        transaction.commit().await.unwrap();
    }

    fn position(world: &World, offset: Offset) -> [Position; 1] {
        [Position { topic_partition: world.of.clone(), offset, leader_epoch: None }]
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_begun_is_not_in_the_way() {
        check("begin", async |world, producer, cut| {
            let ended = cut.of(producer.begin()).await.map(|begun| drop(begun.unwrap()));
            write(world, producer, "after").await;
            assert_eq!(world.read().await, ["after"]);
            ended.is_some()
        })
        .await;
        check("claim", async |world, producer, cut| {
            let ended = cut.of(producer.claim()).await.map(Result::unwrap);
            write(world, producer, "after").await;
            assert_eq!(world.read().await, ["after"]);
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_send_is_in_its_transaction_once_or_not_at_all() {
        check("send", async |world, producer, cut| {
            let transaction = producer.begin().await.unwrap();
            let ended = cut.of(transaction.send(world.record("cut"))).await.map(Result::unwrap);
            transaction.send(world.record("after")).await.unwrap();
            transaction.commit().await.unwrap();
            is_once_or_not_at_all(&world.read().await, ended.is_some());
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_memory_and_goes_takes_none_along() {
        super::check("enqueue", async |cut| {
            let world = World::new().await;
            let producer = world.client.producer(Full::config(Some("t"))).unwrap();
            let transaction = producer.begin().await.unwrap();
            transaction.send(world.record("first")).await.unwrap();
            let full = Full::by(&world, |record| transaction.try_enqueue(record));
            let ended = cut.of(transaction.enqueue(world.record(&full.large))).await.map(Result::unwrap);
            drop(transaction.enqueue(world.record("after")).await.unwrap());
            transaction.commit().await.unwrap();
            producer.close(GRACE).await.unwrap();
            assert_eq!(producer.stats().buffered_bytes, 0);
            full.is_written(&world, ended.is_some()).await;
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn positions_are_in_their_transaction_or_not() {
        check("send_offsets", async |world, producer, cut| {
            let group = GroupMetadata::new("readers");
            let transaction = producer.begin().await.unwrap();
            let ended = cut.of(transaction.send_offsets(&group, position(world, 5))).await.map(Result::unwrap);
            transaction.commit().await.unwrap();
            let committed = world.committed().await;
            assert!(committed == Some(5) || (committed.is_none() && ended.is_none()), "{committed:?}");
            let transaction = producer.begin().await.unwrap();
            transaction.send_offsets(&group, position(world, 7)).await.unwrap();
            transaction.commit().await.unwrap();
            assert_eq!(world.committed().await, Some(7));
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_nobody_waits_for_is_whole_all_the_same() {
        for commits in [true, false] {
            check(if commits { "commit" } else { "abort" }, async |world, producer, cut| {
                let transaction = producer.begin().await.unwrap();
                transaction.send(world.record("cut")).await.unwrap();
                let group = GroupMetadata::new("readers");
                transaction.send_offsets(&group, position(world, 5)).await.unwrap();
                let end = if commits { transaction.commit().boxed() } else { transaction.abort().boxed() };
                let ended = cut.of(end).await.map(Result::unwrap);
                write(world, producer, "after").await;
                let [dropped, after] = times(&world.read().await, ["cut", "after"]);
                let is_committed = world.committed().await == Some(5);
                assert_eq!((dropped, after), (usize::from(is_committed), 1), "records and positions are one");
                assert!(ended.is_none() || is_committed == commits);
                assert!(commits || !is_committed, "what was aborted is not committed");
                ended.is_some()
            })
            .await;
        }
    }
}

mod consumers {
    use super::*;

    const ALL: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    const KINDS: [Kind; 3] =
        [Kind::Member(GroupProtocol::Classic), Kind::Member(GroupProtocol::Consumer), Kind::Assigned];

    /// In both protocols of groups and outside of them, over a log of six batches.
    async fn check(what: &str, scene: impl AsyncFn(&World, Consumer, Cut) -> bool) {
        check_with(what, true, scene).await;
    }

    async fn check_with(what: &str, auto_commit: bool, scene: impl AsyncFn(&World, Consumer, Cut) -> bool) {
        for kind in KINDS {
            super::check(&format!("{what}, {kind:?}"), async |cut| {
                let world = World::new().await;
                world.write(&ALL).await;
                let consumer = world.consumer(kind, auto_commit);
                scene(&world, consumer, cut).await
            })
            .await;
        }
    }

    /// So many values or more, finished.
    async fn take(consumer: &mut Consumer, count: usize) -> Vec<String> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let delivery = consumer.next().await.unwrap().unwrap();
            taken.extend(values(&delivery));
            delivery.finish();
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn no_delivery_is_lost_with_the_wait_for_it() {
        for streamed in [false, true] {
            check(if streamed { "deliveries" } else { "next" }, async |world, mut consumer, cut| {
                let (mut read, mut ended) = (Vec::new(), false);
                while read.len() < ALL.len() {
                    let cut_off = match streamed {
                        true => cut.of(pin!(consumer.deliveries()).next()).await,
                        false => cut.of(consumer.next()).await,
                    };
                    match cut_off {
                        Some(delivery) => {
                            ended = true;
                            read.extend(values(delivery.as_ref().unwrap().as_ref().unwrap()));
                            delivery.unwrap().unwrap().finish();
                        }
                        None => read.extend(take(&mut consumer, 1).await),
                    }
                }
                consumer.close(GRACE).await.unwrap();
                assert_eq!(read, ALL);
                assert_eq!(world.committed().await, Some(6));
                ended
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn offsets_that_are_chosen_are_committed_once_that_is_begun() {
        check_with("commit_offsets", false, async |world, mut consumer, cut| {
            take(&mut consumer, 6).await;
            let chosen = [Position { topic_partition: world.of.clone(), offset: 3, leader_epoch: None }];
            // So that it takes a second try, and a while.
            world.fault::<OffsetCommitRequest>(1, Fault::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
            let ended = cut.of(consumer.commit_offsets(chosen)).await.map(Result::unwrap);
            if ended.is_some() {
                assert_eq!(world.committed().await, Some(3));
            }
            consumer.close(GRACE).await.unwrap();
            assert_eq!(world.committed().await, cut.is_begun().then_some(3));
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_while_waiting_to_seek_has_changed_nothing() {
        check("seek", async |world, mut consumer, cut| {
            take(&mut consumer, 6).await;
            // Until there is no room for more of it.
            while consumer.seek(&world.of, 6).now_or_never().is_some() {}
            let ended = cut.of(consumer.seek(&world.of, 3)).await.map(Result::unwrap);
            assert_eq!(consumer.position(&world.of), Some(if ended.is_some() { 3 } else { 6 }));
            consumer.seek(&world.of, 4).await.unwrap();
            assert_eq!(take(&mut consumer, 2).await, ALL[4..]);
            consumer.close(GRACE).await.unwrap();
            assert_eq!(world.committed().await, Some(6));
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_nobody_waits_for_holds_up_none() {
        check("commit", async |world, mut consumer, cut| {
            take(&mut consumer, 6).await;
            let ended = cut.of(consumer.commit()).await.map(Result::unwrap);
            if ended.is_some() {
                assert_eq!(world.committed().await, Some(6));
            }
            world.write(&["g"]).await;
            assert_eq!(take(&mut consumer, 1).await, ["g"]);
            consumer.commit().await.unwrap();
            assert_eq!(world.committed().await, Some(7));
            consumer.close(GRACE).await.unwrap();
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_can_be_begun_again_and_the_group_is_left() {
        check("close", async |world, mut consumer, cut| {
            let first = consumer.next().await.unwrap().unwrap();
            first.finish_record(0);
            drop(first);
            let ended = cut.of(consumer.close(GRACE)).await.map(Result::unwrap);
            consumer.close(GRACE).await.unwrap();
            assert!(consumer.next().await.is_none());
            assert_eq!((world.committed().await, world.members().await), (Some(1), 0));
            let mut heir = world.consumer(Kind::Member(GroupProtocol::Classic), true);
            assert_eq!(take(&mut heir, 5).await, ALL[1..]);
            heir.close(GRACE).await.unwrap();
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_whose_close_was_dropped_still_leaves() {
        check("close, then gone", async |world, mut consumer, cut| {
            take(&mut consumer, 6).await;
            let ended = cut.of(consumer.close(GRACE)).await.map(Result::unwrap);
            drop(consumer);
            while (world.members().await, world.committed().await) != (0, Some(6)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            ended.is_some()
        })
        .await;
    }
}

mod questions {
    use super::*;

    type Asked<'a> = BoxFuture<'a, Result<(), Error>>;
    type Ask = for<'a> fn(&'a World, &'a Client) -> Asked<'a>;

    /// What is said of a question as a whole, whatever became of each thing in it.
    trait Told {
        fn told(self) -> Result<(), Error>;
    }

    impl<T> Told for Result<T, Error> {
        fn told(self) -> Result<(), Error> {
            match self {
                // The broker of these tests has no such request, which is learned by shaking hands with it.
                Err(error) if matches!(error.kind, ErrorKind::Unsupported) => Ok(()),
                told => told.map(drop),
            }
        }
    }

    impl<K, V> Told for Vec<(K, V)> {
        fn told(self) -> Result<(), Error> {
            Ok(())
        }
    }

    impl<K, V> Told for HashMap<K, V> {
        fn told(self) -> Result<(), Error> {
            Ok(())
        }
    }

    impl Told for bool {
        fn told(self) -> Result<(), Error> {
            Ok(())
        }
    }

    /// Functions by their names, and what they are asked with.
    macro_rules! questions {
        ($world:ident, $client:ident => $asked:expr;
            $($name:ident $(::<$api:ty>)? ($($argument:expr),* $(,)?),)+
        ) => {
            &[$((stringify!($name), |$world, $client| {
                async move {
                    let _ = $world;
                    $asked.$name $(::<$api>)? ($($argument),*).await.told()
                }
                .boxed()
            })),+]
        };
    }

    /// To any broker, the controller, each broker, leaders and coordinators.
    const OF_ADMIN: &[(&str, Ask)] = questions! { world, it => it.admin();
        describe_cluster(),
        list_topics(),
        describe_topics(std::slice::from_ref(&world.topic)),
        until_shown(std::slice::from_ref(&world.topic), SECOND),
        create_topics(&[NewTopic::new("new")]),
        create_partitions(&[(world.topic.clone(), 3)]),
        delete_topics(&[Topic::from("old")]),
        describe_configs(&[ConfigResource::Topic(world.topic.clone()), ConfigResource::Broker(2)]),
        alter_configs(&[(ConfigResource::Topic(world.topic.clone()), Vec::new())], false),
        list_offsets(OffsetSpec::Latest, std::slice::from_ref(&world.of), IsolationLevel::default()),
        epoch_ends(&HashMap::from([(world.of.clone(), 0)])),
        contents(&[(world.of.clone(), 0)]),
        delete_records(&[(world.of.clone(), DeleteBefore::Offset(0))]),
        elect_leaders(Election::Preferred, std::slice::from_ref(&world.of)),
        describe_log_dirs(&[1]),
        list_groups(),
        list_groups_of(&GroupFilter::default()),
        list_groups_at(&[1, 2], &GroupFilter::default()),
        hear_of(1),
        describe_groups(&group()),
        describe_groups_as(&[("g".to_owned(), Some(GroupType::Classic))]),
        committed_offsets(&group()),
        commits(&group()),
        share_offsets(&group()),
        alter_offsets("g", &[(world.of.clone(), NewOffset::from(3))]),
        delete_offsets("g", std::slice::from_ref(&world.of)),
        delete_groups(&group()),
        describe_producers(std::slice::from_ref(&world.of)),
        describe_producers_on(1, std::slice::from_ref(&world.of)),
        abort_transaction(&AbortTransaction {
            topic_partition: world.of.clone(),
            producer_id: 7,
            producer_epoch: 0,
            coordinator_epoch: None,
        }),
        list_transactions(&TransactionFilter::default()),
        describe_transactions(&group()),
        fence_producers(&group()),
        describe_acls(&AclFilter::default()),
        create_acls(&[]),
        delete_acls(&[AclFilter::default()]),
        describe_scram_credentials(&[]),
        alter_scram_credentials(&[ScramChange::Delete { user: "u".to_owned(), mechanism: ScramMechanism::Sha256 }]),
    };

    const OF_CLUSTER: &[(&str, Ask)] = questions! { world, it => it.cluster();
        refresh(Topics::All),
        refresh_within(Topics::All, SECOND),
        leader(&world.of),
        call(To::Any, Lane::General, MetadataRequest::default(), SECOND),
        call_with(To::Broker(2), Lane::General, |_| MetadataRequest::default(), SECOND),
        capabilities(1, Lane::General),
        coordinator("g"),
        transaction_coordinator("g"),
        coordinators(group().into(), SECOND),
    };

    const OF_CLIENT: &[(&str, Ask)] = questions! { world, it => it;
        partition_count(&world.topic),
    };

    fn group() -> [String; 1] {
        ["g".to_owned()]
    }

    async fn leaves_the_connections_to_others(questions: &[(&str, Ask)]) {
        for (name, ask) in questions {
            check(name, async |cut| {
                let world = World::new().await;
                let dials = Arc::default();
                let client = super::connect(&world.broker, &dials).await.unwrap();
                let (ended, beside) = tokio::join!(cut.of(ask(&world, &client)), ask(&world, &client));
                beside.unwrap();
                ask(&world, &client).await.unwrap();
                // The bootstrap server, and each broker once.
                let dials = dials.load(Ordering::Relaxed);
                assert!(dials <= 1 + BROKERS as usize, "{dials} connections");
                ended.map(Result::unwrap).is_some()
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_the_admin_and_goes_leaves_the_connections_to_others() {
        leaves_the_connections_to_others(OF_ADMIN).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_the_cluster_and_goes_leaves_the_connections_to_others() {
        leaves_the_connections_to_others(OF_CLUSTER).await;
        leaves_the_connections_to_others(OF_CLIENT).await;
    }

    /// A question that is new has to be asked here, too.
    #[test]
    fn every_question_of_the_admin_is_asked() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/client/admin")).unwrap();
        let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
        let code: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let names = code.split("pub async fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
        let asked: BTreeSet<_> = OF_ADMIN.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.collect::<BTreeSet<_>>(), asked);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_was_not_waited_for_is_in_nobodys_way() {
        check("connect", async |cut| {
            let world = World::new().await;
            let ended = cut.of(super::connect(&world.broker, &world.dials)).await.map(Result::unwrap);
            super::connect(&world.broker, &world.dials).await.unwrap().admin().list_topics().await.unwrap();
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_closed_once_that_is_begun() {
        check("close", async |cut| {
            let world = World::new().await;
            let another = super::connect(&world.broker, &world.dials).await.unwrap();
            world.fault::<MetadataRequest>(1, Fault::Delay(SECOND));
            let admin = world.client.admin();
            let (beside, ended) = tokio::join!(admin.list_topics(), cut.of(world.client.close()));
            assert_eq!(beside.is_err_and(|it| it.is_closed()), cut.is_begun());
            world.client.close().await;
            assert!(admin.list_topics().await.is_err_and(|it| it.is_closed()));
            another.admin().list_topics().await.unwrap();
            ended.is_some()
        })
        .await;
    }
}

mod circles {
    use super::*;

    const LIMIT: Duration = SECOND;

    fn circle(client: &Client) -> Circle {
        client.circle(CircleConfig {
            group_id: "readers".to_owned(),
            protocol_type: "test",
            protocol: "one".to_owned(),
            session_timeout: 10 * SECOND,
        })
    }

    /// A member that all others are told of, by its name and generation.
    async fn enter(circle: &Circle, named: Option<String>) -> (String, i32) {
        let mut named = named;
        loop {
            match circle.join(named.as_deref(), "said".into()).await.unwrap() {
                Entry::Named(name) => named = Some(name),
                Entry::Joined { member_id, generation, members } => {
                    assert_eq!(members, [(member_id.clone(), Bytes::from("said"))], "it is alone");
                    return (member_id, generation);
                }
            }
        }
    }

    /// It is told what it has told the others, is heard, and leaves nobody behind.
    async fn stay(world: &World, circle: &Circle, (member, generation): (String, i32)) {
        let told = vec![(member.clone(), "told".into())];
        assert_eq!(circle.sync(&member, generation, told).await.unwrap(), "told");
        circle.heartbeat(&member, generation, LIMIT).await.unwrap();
        circle.leave(&member, LIMIT).await.unwrap();
        assert_eq!(world.members().await, 0);
        let again = circle.leave(&member, LIMIT).await.unwrap_err();
        assert_eq!(again.code(), Some(ErrorCode::UNKNOWN_MEMBER_ID));
    }

    /// Of a member that is in the circle, and goes on after that.
    async fn check(what: &str, scene: impl AsyncFn(&Circle, &str, i32, Cut) -> bool) {
        super::check(what, async |cut| {
            let world = World::new().await;
            let circle = circle(&world.client);
            let (member, generation) = enter(&circle, None).await;
            let ended = scene(&circle, &member, generation, cut).await;
            let again = enter(&circle, Some(member)).await;
            stay(&world, &circle, again).await;
            ended
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_joins_and_goes_may_come_again() {
        super::check("join", async |cut| {
            let world = World::new().await;
            let circle = circle(&world.client);
            let ended = cut.of(circle.join(None, "said".into())).await.map(Result::unwrap);
            let named = match &ended {
                Some(Entry::Named(name)) => Some(name.clone()),
                _ => None,
            };
            let entered = enter(&circle, named).await;
            stay(&world, &circle, entered).await;
            ended.is_some()
        })
        .await;
        check("join again", async |circle, member, _, cut| {
            let ended = cut.of(circle.join(Some(member), "said".into())).await.map(Result::unwrap);
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_member_does_not_wait_for_is_in_nobodys_way() {
        check("sync", async |circle, member, generation, cut| {
            let told = || vec![(member.to_owned(), "told".into())];
            let ended = cut.of(circle.sync(member, generation, told())).await.map(Result::unwrap);
            assert_eq!(circle.sync(member, generation, told()).await.unwrap(), "told");
            ended.is_some()
        })
        .await;
        check("heartbeat", async |circle, member, generation, cut| {
            circle.sync(member, generation, vec![(member.to_owned(), "told".into())]).await.unwrap();
            let ended = cut.of(circle.heartbeat(member, generation, LIMIT)).await.map(Result::unwrap);
            circle.heartbeat(member, generation, LIMIT).await.unwrap();
            ended.is_some()
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_has_left_or_may_leave_again() {
        super::check("leave", async |cut| {
            let world = World::new().await;
            let circle = circle(&world.client);
            let (member, _) = enter(&circle, None).await;
            let ended = cut.of(circle.leave(&member, LIMIT)).await.map(Result::unwrap);
            if let Err(error) = circle.leave(&member, LIMIT).await {
                assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_MEMBER_ID), "it has left");
            }
            assert_eq!(world.members().await, 0);
            ended.is_some()
        })
        .await;
    }
}
