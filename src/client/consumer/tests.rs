//! Whole consumers against the dev broker, under faults.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::client::admin::NewTopic;
use crate::client::fake;
use crate::client::producer::Position;
use crate::client::tests::quick_to_reconnect;
use crate::client::{Client, ClientConfig, Compression, ErrorCode, ProducerConfig, ProducerRecord};
use crate::devbroker::{self, DevBroker, Fault, GroupConfig, Matching};
use crate::protocol::types::Topic;

mod seeking;

const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const JOIN: i16 = 11;
const HEARTBEAT: i16 = 12;
const LEAVE: i16 = 13;
const SYNC: i16 = 14;
const EPOCH_END: i16 = 23;
const BEAT: i16 = 68;
const PARTITIONS: i32 = 6;
const LIMIT: Duration = Duration::from_secs(20);

struct World {
    broker: DevBroker,
    client: Client,
    topic: Topic,
}

impl World {
    async fn new() -> Self {
        let world = Self::empty().await;
        let topic = [NewTopic::new("orders").partitions(PARTITIONS)];
        world.client.admin().create_topics(&topic).await.unwrap();
        world
    }

    async fn empty() -> Self {
        let groups = GroupConfig {
            initial_rebalance_delay: Duration::ZERO,
            min_session_timeout: Duration::from_millis(1),
            ..GroupConfig::default()
        };
        let config = devbroker::Config { groups, auto_create_topics: false, ..devbroker::Config::with_brokers(3) };
        let broker = DevBroker::start(config).await.unwrap();
        let client = Self::client_of(&broker).await;
        Self { broker, client, topic: Topic::from("orders") }
    }

    async fn client_of(broker: &DevBroker) -> Client {
        let config = ClientConfig {
            retry_backoff: Duration::from_millis(2),
            retry_backoff_max: Duration::from_millis(20),
            ..quick_to_reconnect(broker)
        };
        Client::connect(config).await.unwrap()
    }

    fn config(&self) -> ConsumerConfig {
        ConsumerConfig {
            group_id: "readers".into(),
            topics: vec![self.topic.clone()],
            auto_offset_reset: OffsetReset::Earliest,
            heartbeat_interval: Duration::from_millis(10),
            fetch_max_wait: Duration::from_millis(20),
            commit_interval: Duration::from_millis(20),
            ..Default::default()
        }
    }

    fn consumer(&self) -> Consumer {
        self.client.consumer(self.config()).unwrap()
    }

    async fn produce(&self, numbers: Range<u32>) {
        let producer = self.client.producer(ProducerConfig::default()).unwrap();
        for number in numbers {
            let value = number.to_string();
            let partition = Some(number as i32 % PARTITIONS);
            let record = ProducerRecord { partition, ..ProducerRecord::new(&self.topic, value.as_bytes()) };
            drop(producer.enqueue(record).await.unwrap());
        }
        producer.flush().await;
        producer.close(LIMIT).await.unwrap();
    }

    fn fault(&self, api: i16, times: u64, fault: Fault) {
        self.broker.faults().inject(Matching::api(api), times, fault);
    }

    async fn committed(&self) -> i64 {
        self.committed_of("readers").await
    }

    async fn committed_of(&self, group: &str) -> i64 {
        let groups = self.client.admin().committed_offsets(&[group.to_owned()]).await.unwrap();
        let offsets = groups.into_values().flat_map(|group| group.unwrap().into_values());
        offsets.filter_map(|committed| committed.offset).sum()
    }
}

/// What some consumers have read, by number, and how often.
#[derive(Default)]
struct Read {
    numbers: BTreeMap<u32, usize>,
    next: BTreeMap<TopicPartition, i64>,
}

impl Read {
    /// Each partition's records come in order, and none is left out.
    fn take(&mut self, delivery: Delivery) {
        let next = self.next.entry(delivery.topic_partition.clone()).or_default();
        for record in delivery.records() {
            assert!(record.offset <= *next, "{} jumps from {next} to {}", delivery.topic_partition, record.offset);
            *next = record.offset + 1;
            let number = std::str::from_utf8(record.value.unwrap()).unwrap().parse().unwrap();
            *self.numbers.entry(number).or_default() += 1;
        }
        delivery.finish();
    }

    async fn until(&mut self, consumer: &mut Consumer, count: usize) {
        while self.numbers.len() < count {
            let next = timeout(LIMIT, consumer.next()).await;
            let delivery = next.unwrap_or_else(|_| panic!("{} of {count} were read", self.numbers.len()));
            self.take(delivery.unwrap().unwrap());
        }
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, asked).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Deliveries with so many records in all, none of them finished.
async fn take_unfinished(consumer: &mut Consumer, count: usize) -> Vec<Delivery> {
    let mut held = Vec::new();
    while held.iter().map(Delivery::len).sum::<usize>() < count {
        held.push(timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap());
    }
    held
}

async fn until_some_are_revoked(consumer: &mut Consumer, held: &[Delivery]) {
    until("some are revoked", async || {
        let _ = timeout(Duration::from_millis(5), consumer.next()).await;
        held.iter().any(Delivery::is_revoked)
    })
    .await;
}

/// Keeps a consumer asking, as an application does that has nothing else to do.
async fn hold(consumer: &mut Consumer, read: &mut Read, mut is_so: impl FnMut(&Consumer) -> bool) {
    let held = async {
        while !is_so(consumer) {
            if let Ok(Some(delivery)) = timeout(Duration::from_millis(5), consumer.next()).await {
                read.take(delivery.unwrap());
            }
        }
    };
    let held = timeout(LIMIT, held).await;
    held.unwrap_or_else(|_| panic!("it holds {:?}", consumer.assignment()));
}

#[tokio::test]
async fn everything_is_read_once_committed_and_the_group_left() {
    let world = World::new().await;
    world.produce(0..1000).await;
    let (mut consumer, mut read) = (world.consumer(), Read::default());
    read.until(&mut consumer, 1000).await;
    assert!(read.numbers.values().all(|times| *times == 1));
    consumer.close(LIMIT).await.unwrap();
    assert!(consumer.next().await.is_none());
    assert_eq!(world.committed().await, 1000);
    world.produce(1000..1100).await;
    let (mut next, mut more) = (world.consumer(), Read::default());
    more.next = read.next;
    more.until(&mut next, 100).await;
    assert!(more.numbers.keys().all(|number| *number >= 1000), "the next member goes on where the first ended");
    next.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn only_what_is_finished_is_committed() {
    let world = World::new().await;
    world.produce(0..600).await;
    let mut consumer = world.consumer();
    let held = take_unfinished(&mut consumer, 600).await;
    consumer.commit().await.unwrap();
    assert_eq!((world.committed().await, consumer.stats().outstanding), (0, held.len()));
    let first = held.iter().position(|delivery| delivery.records().next().unwrap().offset == 0).unwrap();
    for offset in [1, 0, 3] {
        held[first].finish_record(offset);
    }
    consumer.commit().await.unwrap();
    assert_eq!(world.committed().await, 2);
    held.into_iter().for_each(Delivery::finish);
    consumer.commit().await.unwrap();
    assert_eq!(world.committed().await, 600);
    assert_eq!(consumer.assignment().iter().filter_map(|assigned| assigned.finished).sum::<i64>(), 600);
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_commit_outlives_the_move_of_its_coordinator() {
    let faults = [
        Fault::Error(ErrorCode::NOT_COORDINATOR),
        Fault::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        Fault::Error(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        Fault::Error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        Fault::Disconnect,
    ];
    let world = World::new().await;
    let mut consumer = world.client.consumer(ConsumerConfig { auto_commit: false, ..world.config() }).unwrap();
    let mut read = Read::default();
    for (number, fault) in (1..).zip(faults) {
        world.produce(number * 60 - 60..number * 60).await;
        read.until(&mut consumer, number as usize * 60).await;
        world.fault(COMMIT, 2, fault.clone());
        consumer.commit().await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(
            (world.committed().await, world.broker.faults().waiting()),
            (i64::from(number) * 60, 0),
            "{fault:?}"
        );
    }
    // What no try can change is said at once.
    world.produce(300..360).await;
    read.until(&mut consumer, 360).await;
    for code in [ErrorCode::GROUP_AUTHORIZATION_FAILED, ErrorCode::UNKNOWN_SERVER_ERROR] {
        world.fault(COMMIT, 1, Fault::Error(code));
        assert_eq!(consumer.commit().await.unwrap_err().code(), Some(code));
    }
    // It was that commit's, not the member's.
    consumer.commit().await.unwrap();
    assert_eq!(world.committed().await, 360);
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn members_share_come_and_go() {
    for assignors in [vec![Assignor::CooperativeSticky], vec![Assignor::Range, Assignor::RoundRobin]] {
        let world = World::new().await;
        let config = ConsumerConfig { assignors, ..world.config() };
        let member = || world.client.consumer(config.clone()).unwrap();
        let mut read = Read::default();
        let mut members = vec![member()];
        world.produce(0..300).await;
        read.until(&mut members[0], 300).await;
        for size in [2, 3, 5] {
            members.resize_with(size, member);
            share(&mut members, &mut read).await;
        }
        let mut left = members.swap_remove(1);
        left.close(LIMIT).await.unwrap();
        share(&mut members, &mut read).await;
        drop(members.pop());
        share(&mut members, &mut read).await;
        world.produce(300..600).await;
        let all = async {
            while read.numbers.len() < 600 {
                for member in &mut members {
                    if let Ok(Some(delivery)) = timeout(Duration::from_millis(5), member.next()).await {
                        read.take(delivery.unwrap());
                    }
                }
            }
        };
        timeout(LIMIT, all).await.unwrap();
        for mut member in members {
            member.close(LIMIT).await.unwrap();
        }
        assert_eq!(world.committed().await, 600);
        assert!(read.numbers.values().all(|times| *times == 1), "nothing was in doubt, so nothing is read again");
    }
}

/// Until every partition is held once, and all members hold as many.
async fn share(members: &mut [Consumer], read: &mut Read) {
    let shared = async {
        loop {
            for member in members.iter_mut() {
                while let Ok(Some(delivery)) = timeout(Duration::from_millis(2), member.next()).await {
                    read.take(delivery.unwrap());
                }
            }
            let held: Vec<Vec<Assigned>> = members.iter().map(Consumer::assignment).collect();
            let all: BTreeSet<_> = held.iter().flatten().map(|assigned| assigned.topic_partition.partition).collect();
            let (most, least) = (held.iter().map(Vec::len).max(), held.iter().map(Vec::len).min());
            let even = most.zip(least).is_some_and(|(most, least)| most <= least + 1);
            if all.len() == PARTITIONS as usize && held.iter().flatten().count() == all.len() && even {
                return;
            }
        }
    };
    timeout(LIMIT, shared).await.unwrap();
}

#[tokio::test]
async fn faults_of_every_kind_lose_nothing() {
    let codes = |api, codes: &[ErrorCode]| codes.iter().map(|code| (api, Fault::Error(*code))).collect::<Vec<_>>();
    let coordinator =
        [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ErrorCode::COORDINATOR_NOT_AVAILABLE];
    let faults = [
        codes(JOIN, &coordinator),
        codes(SYNC, &[coordinator[0], ErrorCode::REBALANCE_IN_PROGRESS, ErrorCode::UNKNOWN_MEMBER_ID]),
        codes(HEARTBEAT, &coordinator),
        codes(
            HEARTBEAT,
            &[ErrorCode::REBALANCE_IN_PROGRESS, ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID],
        ),
        codes(OFFSET_FETCH, &coordinator),
        codes(
            COMMIT,
            &[coordinator[0], coordinator[1], ErrorCode::ILLEGAL_GENERATION, ErrorCode::REBALANCE_IN_PROGRESS],
        ),
        codes(
            FETCH,
            &[ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::FENCED_LEADER_EPOCH, ErrorCode::UNKNOWN_LEADER_EPOCH],
        ),
        codes(
            FETCH,
            &[ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::OFFSET_NOT_AVAILABLE, ErrorCode::UNKNOWN_TOPIC_ID],
        ),
        codes(FETCH, &[ErrorCode::FETCH_SESSION_ID_NOT_FOUND, ErrorCode::INVALID_FETCH_SESSION_EPOCH]),
        [JOIN, SYNC, HEARTBEAT, OFFSET_FETCH, COMMIT, FETCH]
            .into_iter()
            .flat_map(|api| [(api, Fault::Disconnect), (api, Fault::DisconnectAfter), (api, Fault::Split(7))])
            .collect(),
    ];
    for faults in faults {
        let world = World::new().await;
        for (api, fault) in &faults {
            world.fault(*api, 2, fault.clone());
        }
        // A member that is made to believe that it was expelled joins as another; its first self has to expire.
        let config = ConsumerConfig { session_timeout: Duration::from_millis(500), ..world.config() };
        let (mut consumer, mut read) = (world.client.consumer(config).unwrap(), Read::default());
        for batch in 0..10 {
            world.produce(batch * 60..(batch + 1) * 60).await;
            read.until(&mut consumer, (batch as usize + 1) * 60).await;
        }
        until("all is committed", async || {
            if let Ok(Some(again)) = timeout(Duration::from_millis(5), consumer.next()).await {
                read.take(again.unwrap());
            }
            world.committed().await == 600
        })
        .await;
        consumer.close(LIMIT).await.unwrap();
        assert_eq!((read.numbers.len(), world.committed().await), (600, 600), "{faults:?}");
    }
}

#[tokio::test]
async fn leaders_move_under_the_reader() {
    let world = World::new().await;
    let (mut consumer, mut read) = (world.consumer(), Read::default());
    for round in 0..9 {
        let partition = TopicPartition::new("orders", round % PARTITIONS);
        world.broker.move_leader(&partition, round % 3 + 1).unwrap();
        world.produce(round as u32 * 60..(round as u32 + 1) * 60).await;
        read.until(&mut consumer, (round as usize + 1) * 60).await;
    }
    assert!(read.numbers.values().all(|times| *times == 1));
    consumer.close(LIMIT).await.unwrap();
    assert_eq!(world.committed().await, 540);
}

#[tokio::test]
async fn a_topic_that_comes_later_and_grows_is_picked_up() {
    let world = World::empty().await;
    let (mut consumer, mut read) = (world.consumer(), Read::default());
    let mut other = world.consumer();
    hold(&mut consumer, &mut read, |_| world.broker.faults().count(SYNC) >= 2).await;
    world.client.admin().create_topics(&[NewTopic::new("orders").partitions(2)]).await.unwrap();
    hold(&mut consumer, &mut read, |one| one.assignment().len() + other.assignment().len() == 2).await;
    world.client.admin().create_partitions(&[(world.topic.clone(), PARTITIONS)]).await.unwrap();
    world.client.cluster().refresh(crate::client::Topics::Follow(vec![world.topic.clone()])).await.unwrap();
    hold(&mut consumer, &mut read, |one| one.assignment().len() == 3 && other.assignment().len() == 3).await;
    other.close(LIMIT).await.unwrap();
    world.produce(0..60).await;
    read.until(&mut consumer, 60).await;
    consumer.close(LIMIT).await.unwrap();
}

/// The topics of which a member holds something.
fn topics_of(consumer: &Consumer) -> Vec<String> {
    let topics: BTreeSet<_> =
        consumer.assignment().into_iter().map(|it| it.topic_partition.topic.to_string()).collect();
    topics.into_iter().collect()
}

#[tokio::test]
async fn topics_that_match_come_and_go() {
    let world = World::empty().await;
    let config = ClientConfig {
        bootstrap_servers: vec![world.broker.bootstrap_servers()],
        metadata_max_age: Duration::from_millis(50),
        ..Default::default()
    };
    let client = Client::connect(config).await.unwrap();
    let admin = world.client.admin();
    let make = async |name: &str| admin.create_topics(&[NewTopic::new(name).partitions(4)]).await.unwrap();
    make("orders").await;
    make("old-logs-eu").await;
    let config = || ConsumerConfig {
        topics: Vec::new(),
        patterns: vec![TopicPattern::whole("logs-.*|ord.rs").unwrap()],
        ..world.config()
    };
    let mut one = client.consumer(config()).unwrap();
    let other = client.consumer(config()).unwrap();
    let mut read = Read::default();
    // Who of them has which topic is the assignor's to say: one may have a topic each.
    let both = async |one: &mut Consumer, read: &mut Read, expect: &[&str]| {
        let held = |one: &Consumer| (topics_of(one).into_iter().chain(topics_of(&other))).collect::<BTreeSet<_>>();
        hold(one, read, |one| held(one).iter().eq(expect) && one.assignment().len() == 2 * expect.len()).await;
    };
    both(&mut one, &mut read, &["orders"]).await;
    make("logs-eu").await;
    both(&mut one, &mut read, &["logs-eu", "orders"]).await;
    admin.delete_topics(&["orders".into()]).await.unwrap();
    both(&mut one, &mut read, &["logs-eu"]).await;
    make("orders").await;
    both(&mut one, &mut read, &["logs-eu", "orders"]).await;
    one.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn where_to_begin_is_a_rule() {
    let world = World::new().await;
    world.produce(0..60).await;
    let with = |reset| ConsumerConfig { auto_offset_reset: reset, ..world.config() };
    let mut none = world.client.consumer(with(OffsetReset::None)).unwrap();
    let refused = timeout(LIMIT, none.next()).await.unwrap().unwrap().unwrap_err();
    assert!(
        refused.topic_partition.is_some() && refused.to_string().contains("auto_offset_reset is none"),
        "{refused}"
    );
    none.close(LIMIT).await.unwrap();
    // What is written bears the time of now, so that all of it is within an hour, and nothing is within no time at all.
    let cases = [
        (OffsetReset::ByDuration(Duration::from_secs(3600)), 60),
        (OffsetReset::ByDuration(Duration::MAX), 60),
        (OffsetReset::ByDuration(Duration::ZERO), 0),
        (OffsetReset::Latest, 0),
    ];
    for (number, (reset, expect)) in cases.into_iter().enumerate() {
        let group_id = format!("reset-{number}");
        let mut consumer = world.client.consumer(ConsumerConfig { group_id, ..with(reset) }).unwrap();
        let mut read = Read::default();
        let delivered = |it: &Consumer| it.assignment().iter().filter_map(|it| it.delivered).sum::<i64>();
        hold(&mut consumer, &mut read, |it| delivered(it) == 60).await;
        assert_eq!(read.numbers.len(), expect, "{reset:?}");
        consumer.close(LIMIT).await.unwrap();
        let committed = world.committed_of(&format!("reset-{number}")).await;
        assert_eq!(committed, 60, "so that what comes while nobody reads is read by the next");
    }
}

#[tokio::test]
async fn one_slow_application_holds_up_neither_its_heartbeats_nor_for_ever_its_group() {
    let world = World::new().await;
    world.produce(0..60).await;
    let config = ConsumerConfig { max_poll_interval: Duration::from_secs(2), ..world.config() };
    let mut slow = world.client.consumer(config.clone()).unwrap();
    let delivery = timeout(LIMIT, slow.next()).await.unwrap().unwrap().unwrap();
    world.broker.faults().reset_counts();
    until("heartbeats", async || world.broker.faults().count(HEARTBEAT) >= 5).await;
    until("it is out", async || slow.assignment().is_empty()).await;
    assert!(delivery.is_revoked());
    drop(delivery);
    let (mut quick, mut read) = (world.consumer(), Read::default());
    read.until(&mut quick, 60).await;
    quick.close(LIMIT).await.unwrap();
    let mut again = Read::default();
    hold(&mut slow, &mut again, |slow| slow.assignment().len() == PARTITIONS as usize).await;
    assert!(again.numbers.is_empty(), "it is back, and all is committed");
    slow.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_revoked_partition_waits_for_what_is_being_worked_on() {
    let world = World::new().await;
    world.produce(0..60).await;
    let mut first = world.consumer();
    let held = take_unfinished(&mut first, 60).await;
    let (mut second, mut read) = (world.consumer(), Read::default());
    until_some_are_revoked(&mut first, &held).await;
    assert!(second.assignment().is_empty(), "not before they are finished");
    held.into_iter().for_each(Delivery::finish);
    hold(&mut second, &mut read, |second| second.assignment().len() == 3).await;
    first.close(LIMIT).await.unwrap();
    hold(&mut second, &mut read, |second| second.assignment().len() == 6).await;
    assert!(read.numbers.is_empty(), "all was committed before it was given up");
    second.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_partition_that_is_stuck_does_not_stop_the_others() {
    let world = World::new().await;
    let memory = ConsumerConfig { memory_bytes: 64 << 10, partition_max_bytes: 4 << 10, ..world.config() };
    let mut consumer = world.client.consumer(memory).unwrap();
    let (mut stuck, mut read) = (Vec::new(), Read::default());
    for batch in 0..40u32 {
        world.produce(batch * 600..(batch + 1) * 600).await;
        while read.numbers.len() < (batch as usize + 1) * 500 {
            let delivery = timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap();
            match delivery.topic_partition.partition {
                0 => stuck.push(delivery),
                _ => read.take(delivery),
            }
        }
    }
    assert!(consumer.stats().memory_used <= 80 << 10, "{:?}", consumer.stats());
    let held: usize = stuck.iter().map(Delivery::len).sum();
    assert!(held < 4000, "it is asked for no more than its share");
    for delivery in stuck {
        read.take(delivery);
    }
    read.until(&mut consumer, 24_000).await;
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn offsets_that_are_gone_are_reset_by_the_rule() {
    let world = World::new().await;
    world.produce(0..60).await;
    world.fault(FETCH, 1, Fault::Error(ErrorCode::OFFSET_OUT_OF_RANGE));
    let (mut consumer, mut read) = (world.consumer(), Read::default());
    read.until(&mut consumer, 60).await;
    consumer.close(LIMIT).await.unwrap();
    assert_eq!(world.committed().await, 60);
}

#[tokio::test]
async fn a_topic_that_is_made_again_is_read_on() {
    let world = World::new().await;
    world.produce(0..60).await;
    let (mut consumer, mut read) = (world.consumer(), Read::default());
    read.until(&mut consumer, 60).await;
    // What is asked of the old topic is answered once nothing is known of it any more.
    world.fault(FETCH, 3, Fault::Delay(Duration::from_millis(500)));
    world.broker.faults().reset_counts();
    until("every reader asks", async || world.broker.faults().count(FETCH) >= 3).await;
    let admin = world.client.admin();
    admin.delete_topics(std::slice::from_ref(&world.topic)).await.unwrap();
    admin.create_topics(&[NewTopic::new("orders").partitions(PARTITIONS)]).await.unwrap();
    world.client.cluster().refresh(crate::client::Topics::Follow(vec![world.topic.clone()])).await.unwrap();
    read.next.clear();
    world.produce(60..120).await;
    read.until(&mut consumer, 120).await;
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn closing_waits_for_what_was_revoked_before() {
    let world = World::new().await;
    world.produce(0..60).await;
    let mut first = world.consumer();
    let held = take_unfinished(&mut first, 60).await;
    let second = world.consumer();
    until_some_are_revoked(&mut first, &held).await;
    let (revoked, kept): (Vec<_>, Vec<_>) = held.into_iter().partition(Delivery::is_revoked);
    kept.into_iter().for_each(Delivery::finish);
    {
        let mut closing = std::pin::pin!(first.close(LIMIT));
        assert!(timeout(Duration::from_millis(200), &mut closing).await.is_err(), "some are not finished");
        revoked.into_iter().for_each(Delivery::finish);
        closing.await.unwrap();
    }
    assert_eq!(world.committed().await, 60);
    drop(second);
}

/// Records that nobody finishes in time keep the member neither from committing the others nor from leaving.
#[tokio::test]
async fn a_close_that_cannot_wait_commits_and_leaves_all_the_same() {
    for group_protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        for is_revoked_before in [false, true] {
            let world = World::new().await;
            world.produce(0..60).await;
            let config = ConsumerConfig { group_protocol, ..world.config() };
            let mut consumer = world.client.consumer(config.clone()).unwrap();
            let held = take_unfinished(&mut consumer, 60).await;
            let second = is_revoked_before.then(|| world.client.consumer(config).unwrap());
            if is_revoked_before {
                until_some_are_revoked(&mut consumer, &held).await;
            }
            let (stuck, done): (Vec<_>, Vec<_>) = held
                .into_iter()
                .partition(|it| if is_revoked_before { it.is_revoked() } else { it.topic_partition.partition == 0 });
            let finished: usize = done.iter().map(Delivery::len).sum();
            done.into_iter().for_each(Delivery::finish);
            consumer.close(Duration::from_secs(5)).await.unwrap();
            assert_eq!(world.committed().await, finished as i64, "{group_protocol:?}, {is_revoked_before}");
            let mut groups = world.client.admin().describe_groups(&["readers".to_owned()]).await.unwrap();
            let members = groups.remove("readers").unwrap().unwrap().members;
            assert_eq!(members.len(), usize::from(is_revoked_before), "{group_protocol:?}: {members:?}");
            drop((stuck, second));
        }
    }
}

#[tokio::test]
async fn offsets_that_may_not_be_had_are_said() {
    let world = World::new().await;
    world.fault(OFFSET_FETCH, 1, Fault::Error(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    let mut consumer = world.consumer();
    let refused = timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    consumer.close(LIMIT).await.unwrap();
}

/// Such as an open transaction that has committed offsets, and ends in its own time.
#[tokio::test]
async fn what_passes_by_itself_is_no_cause_for_alarm() {
    let world = World::new().await;
    world.produce(0..60).await;
    let config = ProducerConfig { transactional_id: Some("elsewhere".to_owned()), ..Default::default() };
    let producer = world.client.producer(config).unwrap();
    let transaction = producer.begin().await.unwrap();
    let positions = (0..PARTITIONS).map(|partition| Position {
        topic_partition: TopicPartition::new("orders", partition),
        offset: 0,
        leader_epoch: None,
    });
    transaction.send_offsets(&GroupMetadata::new("readers"), positions).await.unwrap();
    let warnings = fake::Warnings::counted();
    let (mut consumer, mut read) = (world.consumer(), Read::default());
    hold(&mut consumer, &mut read, |_| world.broker.faults().count(OFFSET_FETCH) >= 3).await;
    assert_eq!((read.numbers.len(), warnings.so_far()), (0, 0));
    transaction.abort().await.unwrap();
    read.until(&mut consumer, 60).await;
    // What somebody has to put right is said once a try, however many partitions it is about.
    world.fault(OFFSET_FETCH, 1, Fault::Error(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    let mut other = world.client.consumer(ConsumerConfig { group_id: "others".into(), ..world.config() }).unwrap();
    timeout(LIMIT, other.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(warnings.so_far(), 1);
    drop(producer);
    consumer.close(LIMIT).await.unwrap();
    other.close(LIMIT).await.unwrap();
}

/// With the consumer protocol every heartbeat may be the one that joins, and its answer may be lost.
#[tokio::test]
async fn a_member_whose_joining_was_not_answered_gets_in_all_the_same() {
    for instance_id in [None, Some("seat".to_owned())] {
        let world = World::new().await;
        world.produce(0..60).await;
        let config = ConsumerConfig { group_protocol: GroupProtocol::Consumer, instance_id, ..world.config() };
        world.fault(BEAT, 1, Fault::DisconnectAfter);
        let (mut consumer, mut read) = (world.client.consumer(config).unwrap(), Read::default());
        read.until(&mut consumer, 60).await;
        consumer.close(LIMIT).await.unwrap();
        assert_eq!(world.committed().await, 60);
    }
}

#[tokio::test]
async fn a_topic_that_a_member_may_not_read_is_said_and_ends_nothing() {
    let world = World::new().await;
    world.produce(0..60).await;
    world.fault(BEAT, 1, Fault::Error(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    let config = ConsumerConfig { group_protocol: GroupProtocol::Consumer, ..world.config() };
    let (mut consumer, mut read) = (world.client.consumer(config).unwrap(), Read::default());
    let refused = timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    read.until(&mut consumer, 60).await;
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn the_last_word_is_said_until_it_is_heard() {
    for (api, group_protocol) in [(LEAVE, GroupProtocol::Classic), (BEAT, GroupProtocol::Consumer)] {
        let world = World::new().await;
        world.produce(0..60).await;
        // So seldom that the only heartbeat to come is the last.
        let heartbeat_interval = Duration::from_secs(30);
        let config = ConsumerConfig { group_protocol, heartbeat_interval, ..world.config() };
        let (mut consumer, mut read) = (world.client.consumer(config).unwrap(), Read::default());
        read.until(&mut consumer, 60).await;
        world.fault(api, 1, Fault::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
        world.fault(api, 1, Fault::Error(ErrorCode::NOT_COORDINATOR));
        consumer.close(LIMIT).await.unwrap();
        assert_eq!(world.broker.faults().waiting(), 0);
        let mut groups = world.client.admin().describe_groups(&["readers".to_owned()]).await.unwrap();
        let members = groups.remove("readers").unwrap().unwrap().members;
        assert!(members.is_empty(), "{group_protocol:?}: {members:?}");
    }
}

/// A log that was cut in an unclean election is noticed only by whoever asks where the epochs end (KIP-320).
#[tokio::test]
async fn a_leader_is_not_read_from_before_it_has_told_where_its_epochs_end() {
    let world = World::new().await;
    world.produce(0..60).await;
    let (mut first, mut read) = (world.consumer(), Read::default());
    read.until(&mut first, 60).await;
    first.close(LIMIT).await.unwrap();
    world.broker.faults().reset_counts();
    world.fault(EPOCH_END, 3, Fault::Disconnect);
    world.fault(EPOCH_END, 3, Fault::Error(ErrorCode::UNKNOWN_LEADER_EPOCH));
    let mut next = world.consumer();
    let all_asked = |next: &Consumer| {
        world.broker.faults().count(EPOCH_END) >= 9
            && next.assignment().len() == PARTITIONS as usize
            && world.broker.faults().waiting() == 0
    };
    hold(&mut next, &mut read, all_asked).await;
    world.produce(60..120).await;
    read.until(&mut next, 120).await;
    assert!(read.numbers.values().all(|times| *times == 1));
    next.close(LIMIT).await.unwrap();
}

/// A broker passes over every partition, but for the first that has something, whose next batch is larger than was asked for.
#[tokio::test]
async fn many_partitions_are_read_many_batches_at_a_time() {
    const MANY: u32 = 64;
    let world = World::empty().await;
    world.client.admin().create_topics(&[NewTopic::new("orders").partitions(MANY as i32)]).await.unwrap();
    let producer = world.client.producer(ProducerConfig::default()).unwrap();
    for number in 0..MANY {
        let value = format!("{number:060000}");
        let record =
            ProducerRecord { partition: Some(number as i32), ..ProducerRecord::new(&world.topic, value.as_bytes()) };
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.close(LIMIT).await.unwrap();
    world.broker.faults().reset_counts();
    let fetch_max_wait = Duration::from_secs(1);
    let config = ConsumerConfig { memory_bytes: 2 << 20, fetch_max_wait, ..world.config() };
    let (mut consumer, mut read) = (world.client.consumer(config).unwrap(), Read::default());
    read.until(&mut consumer, MANY as usize).await;
    let asked = world.broker.faults().count(FETCH);
    assert!(asked < u64::from(MANY) / 2, "{asked} requests for {MANY} batches");
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_unpacks_to_more_than_the_memory_is_read() {
    let world = World::new().await;
    let config = ProducerConfig { compression: Compression::Gzip, ..Default::default() };
    let producer = world.client.producer(config).unwrap();
    let large = vec![b' '; 256 << 10];
    producer.send(ProducerRecord { partition: Some(0), ..ProducerRecord::new(&world.topic, &large) }).await.unwrap();
    producer.close(LIMIT).await.unwrap();
    let small = ConsumerConfig { memory_bytes: 64 << 10, partition_max_bytes: 4 << 10, ..world.config() };
    let mut consumer = world.client.consumer(small).unwrap();
    let delivery = timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(delivery.records().next().and_then(|record| record.value), Some(&large[..]));
    delivery.finish();
    consumer.close(LIMIT).await.unwrap();
}

/// As much as there is memory for, and not as much as fits into an answer.
#[tokio::test]
async fn what_packs_well_is_fetched_by_what_it_unpacks_to() {
    const RECORDS: usize = 800;
    let world = World::new().await;
    let producer =
        world.client.producer(ProducerConfig { compression: Compression::Gzip, ..Default::default() }).unwrap();
    let (mut large, mut random, mut receipts) = (vec![b' '; 40 << 10], 1_u32, Vec::new());
    for _ in 0..RECORDS {
        // About a twentieth of it is left when it is packed.
        for byte in large.iter_mut().step_by(64) {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (random >> 24) as u8;
        }
        let record = ProducerRecord { partition: Some(0), ..ProducerRecord::new(&world.topic, &large) };
        receipts.push(producer.enqueue(record).await.unwrap());
    }
    futures::future::try_join_all(receipts).await.unwrap();
    // A request may take a mebibyte of the partition, which is 25 records, but 128 KiB as they come are some 70.
    let config = ConsumerConfig { memory_bytes: 8 << 20, ..world.config() };
    let mut consumer = world.client.consumer(config).unwrap();
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < RECORDS {
        let delivery = timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap();
        sizes.push(delivery.records().count());
        delivery.finish();
    }
    assert!(sizes.iter().all(|records| *records <= 90) && sizes.len() <= 40, "records at a time: {sizes:?}");
    consumer.close(LIMIT).await.unwrap();
    producer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_partition_that_stays_broken_is_said() {
    let world = World::new().await;
    world.produce(0..60).await;
    world.fault(FETCH, 1000, Fault::Error(ErrorCode::CORRUPT_MESSAGE));
    let mut consumer = world.consumer();
    let refused = timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::CORRUPT_MESSAGE));
    world.broker.faults().clear();
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_topic_that_does_not_come_is_said() {
    let world = World::empty().await;
    let of = TopicPartition::new("orders", 0);
    let mut consumer = world.client.reader(world.config(), vec![(of.clone(), Some(0))]).unwrap();
    let waits = timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(waits.topic_partition, Some(of));
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn what_the_group_refuses_for_good_is_said_and_ends_it() {
    let world = World::new().await;
    world.fault(JOIN, 1, Fault::Error(ErrorCode::GROUP_AUTHORIZATION_FAILED));
    let mut consumer = world.consumer();
    let refused = timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::GROUP_AUTHORIZATION_FAILED));
    assert!(timeout(LIMIT, consumer.next()).await.unwrap().is_none());
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn what_the_group_cannot_explain_is_said_and_ends_nothing() {
    let stumbles = [(HEARTBEAT, "Heartbeat"), (JOIN, "JoinGroup"), (SYNC, "SyncGroup")].map(|(api, name)| async move {
        let world = World::new().await;
        world.fault(api, 1, Fault::Error(ErrorCode::UNKNOWN_SERVER_ERROR));
        let (mut consumer, mut read) = (world.consumer(), Read::default());
        let refused = timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!((refused.code(), refused.api), (Some(ErrorCode::UNKNOWN_SERVER_ERROR), Some(name)));
        world.produce(0..60).await;
        read.until(&mut consumer, 60).await;
        consumer.close(LIMIT).await.unwrap();
        assert_eq!(world.committed().await, 60, "{name}");
    });
    // Beside each other, because it is not asked again at once.
    futures::future::join_all(stumbles).await;
}

/// Not to be had from a broker in passing: the fetcher's queue is full only for a moment.
#[tokio::test]
async fn who_goes_while_waiting_to_skip_a_batch_can_come_back_for_it() {
    let world = World::new().await;
    let of = TopicPartition::new("orders", 0);
    let mut consumer = world.client.reader(world.config(), vec![(of.clone(), Some(0))]).unwrap();
    consumer.broken.insert(of.clone(), 3..5);
    let other = TopicPartition::new("orders", 1);
    while consumer.fetcher.try_send(fetcher::Request::Skip { of: other.clone(), past: 1 }).is_ok() {}
    let mut waiting = Box::pin(consumer.skip_broken(&of));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(waiting);
    assert_eq!(consumer.skip_broken(&of).await, Some(3..5));
    assert_eq!(consumer.skip_broken(&of).await, None);
    consumer.close(LIMIT).await.unwrap();
}
