//! Every public future, dropped at each point where it waits: what it belongs to goes on, and nothing is lost or doubled.
//!
//! [`check`] plays a scene again and again, each time in a world of its own. In each the future is dropped a little later:
//! before it was polled, after it has waited once, twice, and so on until it comes to its end by itself; and once more
//! for each wait when the news that it waits for has come and it has not looked. Brokers are behind pipes and the clock is
//! paused, so a scene takes no time.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures::FutureExt;
use futures::future::BoxFuture;
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
        self.client.producer(ProducerConfig { transactional_id: Some("t".to_owned()), ..Default::default() })
    }

    async fn write(&self, values: &[&str]) {
        let producer = self.client.producer(ProducerConfig::default());
        for value in values {
            producer.send(self.record(value)).await.unwrap();
        }
    }

    fn consumer(&self, group_protocol: GroupProtocol) -> Consumer {
        let config = ConsumerConfig {
            group_id: "readers".to_owned(),
            topics: vec![self.topic.clone()],
            auto_offset_reset: OffsetReset::Earliest,
            group_protocol,
            ..Default::default()
        };
        self.client.consumer(config).unwrap()
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

mod producers {
    use super::*;
    use crate::protocol::messages::ProduceRequest;

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
                let producer = world.client.producer(ProducerConfig { linger, ..Default::default() });
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
    async fn who_waits_for_memory_and_goes_takes_none_along() {
        check("enqueue", async |cut| {
            let world = World::new().await;
            let config =
                ProducerConfig { buffer_bytes: 4000, batch_bytes: 800, linger: Duration::ZERO, ..Default::default() };
            let producer = world.client.producer(config);
            producer.send(world.record("first")).await.unwrap();
            world.fault::<ProduceRequest>(1, Fault::Delay(SECOND));
            let filler = "f".repeat(500);
            let mut fillers = 0;
            while let Some(receipt) = producer.try_enqueue(world.record(&filler)).unwrap() {
                (fillers, _) = (fillers + 1, receipt);
            }
            let large = "x".repeat(2000);
            let ended = cut.of(producer.enqueue(world.record(&large))).await.map(Result::unwrap);
            drop(producer.enqueue(world.record("after")).await.unwrap());
            close(&producer).await;
            let read = world.read().await;
            let [first, filled, dropped, after] = times(&read, ["first", &filler, &large, "after"]);
            assert_eq!((first, filled, dropped, after), (1, fillers, usize::from(ended.is_some()), 1));
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
            let producer = world.client.producer(ProducerConfig { linger: 60 * SECOND, ..Default::default() });
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
                    world.client.producer(ProducerConfig::default())
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
            let producer = world.client.producer(ProducerConfig::default());
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

    /// In both protocols of groups, over a log of six batches.
    async fn check(what: &str, scene: impl AsyncFn(&World, Consumer, Cut) -> bool) {
        for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
            super::check(&format!("{what}, {protocol:?}"), async |cut| {
                let world = World::new().await;
                world.write(&ALL).await;
                let consumer = world.consumer(protocol);
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
        check("next", async |world, mut consumer, cut| {
            let (mut read, mut ended) = (Vec::new(), false);
            while read.len() < ALL.len() {
                match cut.of(consumer.next()).await {
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
            let mut heir = world.consumer(GroupProtocol::Classic);
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
            while world.members().await > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(world.committed().await, Some(6));
            ended.is_some()
        })
        .await;
    }
}

mod questions {
    use super::*;

    type Asked<'a> = BoxFuture<'a, Result<(), Error>>;
    type Ask = for<'a> fn(&'a World, &'a Client) -> Asked<'a>;

    /// Every kind of way that a question takes: to any broker, the controller, each broker, leaders and coordinators.
    const QUESTIONS: [(&str, Ask); 12] = [
        ("describe_cluster", |_, it| async { it.admin().describe_cluster().await.map(drop) }.boxed()),
        ("list_topics", |_, it| async { it.admin().list_topics().await.map(drop) }.boxed()),
        ("partition_count", |world, it| async { it.partition_count(&world.topic).await.map(drop) }.boxed()),
        ("create_topics", |_, it| async { it.admin().create_topics(&[NewTopic::new("new")]).await.map(drop) }.boxed()),
        ("delete_topics", |_, it| async { it.admin().delete_topics(&[Topic::from("old")]).await.map(drop) }.boxed()),
        ("describe_configs", |world, it| {
            let of = [ConfigResource::Topic(world.topic.clone())];
            async move { it.admin().describe_configs(&of).await.map(drop) }.boxed()
        }),
        ("list_offsets", |world, it| {
            let of = [world.of.clone()];
            async move { it.admin().list_offsets(OffsetSpec::Latest, &of, IsolationLevel::default()).await.map(drop) }
                .boxed()
        }),
        ("list_groups", |_, it| async { it.admin().list_groups().await.map(drop) }.boxed()),
        ("describe_groups", |_, it| async { it.admin().describe_groups(&group()).await.map(drop) }.boxed()),
        ("committed_offsets", |_, it| async { it.admin().committed_offsets(&group()).await.map(drop) }.boxed()),
        ("alter_offsets", |world, it| {
            let to = [(world.of.clone(), NewOffset::from(3))];
            async move { it.admin().alter_offsets("g", &to).await.map(drop) }.boxed()
        }),
        ("describe_log_dirs", |_, it| async { it.admin().describe_log_dirs(&[1]).await.map(drop) }.boxed()),
    ];

    fn group() -> [String; 1] {
        ["g".to_owned()]
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_leaves_the_connections_to_others() {
        for (name, ask) in QUESTIONS {
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
    async fn a_client_that_was_not_waited_for_is_in_nobodys_way() {
        check("connect", async |cut| {
            let world = World::new().await;
            let ended = cut.of(super::connect(&world.broker, &world.dials)).await.map(Result::unwrap);
            super::connect(&world.broker, &world.dials).await.unwrap().admin().list_topics().await.unwrap();
            ended.is_some()
        })
        .await;
    }
}
