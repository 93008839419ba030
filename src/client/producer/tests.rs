//! The whole producer against the dev broker, under faults.

use std::collections::BTreeMap;

use super::*;
use crate::client::admin::NewTopic;
use crate::client::cluster::To;
use crate::client::fake::{self, Reply};
use crate::client::lane::Lane;
use crate::client::tests::quick_to_reconnect;
use crate::client::{Client, ClientConfig, ConsumerConfig, ErrorCode, ErrorKind, OffsetReset};
use crate::devbroker::{self, DevBroker, Fault, Matching};
use crate::protocol::api::Request;
use crate::protocol::batch::batches;
use crate::protocol::messages::{
    FetchPartition, FetchRequest, FetchTopic, InitProducerIdResponse, PartitionProduceResponse, ProduceResponse,
    TopicProduceResponse,
};
use crate::protocol::murmur::partition_for_key;
use crate::protocol::types::{BrokerId, Str, TopicPartition};

const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const INIT_PRODUCER_ID: i16 = 22;
const PARTITIONS: i32 = 6;
const GRACE: Duration = Duration::from_secs(20);

struct World {
    broker: DevBroker,
    client: Client,
    topic: Topic,
}

impl World {
    async fn new() -> Self {
        let config = devbroker::Config { default_partitions: PARTITIONS, ..devbroker::Config::with_brokers(3) };
        let broker = DevBroker::start(config).await.unwrap();
        let config = ClientConfig { allow_auto_create_topics: true, ..quick_to_reconnect(&broker) };
        let client = Client::connect(config).await.unwrap();
        Self { broker, client, topic: Topic::from("orders") }
    }

    fn on_produce(&self, times: u64, fault: Fault) {
        self.broker.faults().inject(Matching::api(PRODUCE), times, fault);
    }

    /// Enqueues numbered records, each key's in order.
    async fn enqueue(&self, producer: &Producer, numbers: std::ops::Range<u32>) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        for number in numbers {
            let (key, value) = ((number % 17).to_string(), number.to_string());
            let record =
                ProducerRecord { key: Some(key.as_bytes()), ..ProducerRecord::new(&self.topic, value.as_bytes()) };
            receipts.push(producer.enqueue(record).await.unwrap());
        }
        receipts
    }

    /// Every record of every partition: offset and number.
    async fn read(&self) -> BTreeMap<i32, Vec<(i64, u32)>> {
        let mut read = BTreeMap::new();
        let known = self.client.cluster().metadata();
        for of in known.partitions_of(&self.topic) {
            let partition = of.partition;
            let topic = FetchTopic {
                topic: Str::from(&self.topic),
                topic_id: known.topic_id(&self.topic).unwrap_or_default(),
                partitions: vec![FetchPartition { partition, partition_max_bytes: i32::MAX, ..Default::default() }],
            };
            let request = FetchRequest { topics: vec![topic], ..Default::default() };
            let leader =
                self.client.cluster().refresh(crate::client::Topics::Followed).await.unwrap().leader(&of).unwrap();
            let answer =
                self.client.cluster().call(To::Broker(leader.broker), Lane::Fetch, request, GRACE).await.unwrap();
            let data = answer.body.responses.into_iter().next().unwrap().partitions.into_iter().next().unwrap();
            assert_eq!(data.error_code, 0);
            read.insert(partition, numbers(data.records.unwrap_or_default()));
        }
        read
    }
}

fn numbers(records: bytes::Bytes) -> Vec<(i64, u32)> {
    let mut numbers = Vec::new();
    for batch in batches(records) {
        for record in batch.unwrap().records(1 << 20).unwrap().iter() {
            let record = record.unwrap();
            let value = std::str::from_utf8(record.value.unwrap()).unwrap().trim_start_matches('x');
            numbers.push((record.offset, value.parse().unwrap()));
        }
    }
    numbers
}

/// Small batches and short waits, so that much happens in little time.
fn brisk() -> ProducerConfig {
    ProducerConfig {
        batch_bytes: 400,
        linger: Duration::from_millis(1),
        retry_backoff: Duration::from_millis(1),
        retry_backoff_max: Duration::from_millis(5),
        ..Default::default()
    }
}

/// All receipts say "written", at places where those very records are, once each, and in order for each key.
async fn check_written(world: &World, receipts: Vec<Receipt>) {
    let mut places = Vec::new();
    for receipt in receipts {
        places.push(receipt.await.unwrap());
    }
    let read = world.read().await;
    let total: usize = read.values().map(Vec::len).sum();
    assert_eq!(total, places.len(), "each record once");
    for (number, written) in places.into_iter().enumerate() {
        let place = (written.offset.unwrap(), number as u32);
        assert!(read[&written.partition].contains(&place), "{place:?} in {}", written.partition);
    }
    for records in read.values() {
        for key in 0..17 {
            let of_key: Vec<_> =
                records.iter().map(|(_, number)| *number).filter(|number| number % 17 == key).collect();
            assert!(of_key.is_sorted(), "{of_key:?}");
        }
    }
}

async fn check_faults(faults: &[(u64, Fault)], config: ProducerConfig) {
    let world = World::new().await;
    let producer = world.client.producer(config).unwrap();
    let mut receipts = world.enqueue(&producer, 0..300).await;
    for (times, fault) in faults {
        world.on_produce(*times, fault.clone());
    }
    receipts.extend(world.enqueue(&producer, 300..1500).await);
    producer.flush().await;
    assert_eq!(world.broker.faults().waiting(), 0, "{faults:?} were met");
    producer.close(GRACE).await.unwrap();
    check_written(&world, receipts).await;
}

#[tokio::test]
async fn faults_on_the_way_neither_lose_nor_repeat_nor_reorder() {
    let error = Fault::Error;
    let cases: &[&[(u64, Fault)]] = &[
        &[],
        &[(3, Fault::Disconnect)],
        &[(3, Fault::DisconnectAfter)],
        &[(2, Fault::Truncate(20)), (2, Fault::Split(3))],
        &[(4, error(ErrorCode::NOT_LEADER_OR_FOLLOWER))],
        &[(4, error(ErrorCode::NOT_ENOUGH_REPLICAS))],
        &[(1, error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER))],
        &[(1, error(ErrorCode::UNKNOWN_PRODUCER_ID))],
        &[
            (2, Fault::DisconnectAfter),
            (1, error(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)),
            (2, Fault::DisconnectAfter),
        ],
    ];
    for faults in cases {
        check_faults(faults, brisk()).await;
    }
}

#[tokio::test]
async fn what_is_too_large_for_the_topic_is_taken_apart() {
    for compression in Compression::ALL {
        let world = World::new().await;
        world.on_produce(3, Fault::Error(ErrorCode::MESSAGE_TOO_LARGE));
        let config = ProducerConfig { linger: Duration::from_secs(60), compression, ..Default::default() };
        let producer = world.client.producer(config).unwrap();
        let mut receipts = Vec::new();
        for number in 0..40 {
            let value = number.to_string();
            let record = ProducerRecord::new(&world.topic, value.as_bytes());
            receipts.push(producer.enqueue(ProducerRecord { partition: Some(3), ..record }).await.unwrap());
        }
        producer.flush().await;
        assert_eq!(producer.stats().splits, 3);
        check_written(&world, receipts).await;
    }
}

#[tokio::test]
async fn every_codec_survives_lost_answers() {
    for compression in Compression::ALL {
        check_faults(&[(2, Fault::DisconnectAfter)], ProducerConfig { compression, ..brisk() }).await;
    }
}

#[tokio::test]
async fn leaders_may_move_while_records_are_under_way() {
    let world = World::new().await;
    let producer = world.client.producer(brisk()).unwrap();
    let mut receipts = world.enqueue(&producer, 0..100).await;
    for round in 0..10u32 {
        for partition in 0..PARTITIONS {
            let broker: BrokerId = 1 + (partition + round as i32) % 3;
            world.broker.move_leader(&TopicPartition::new(world.topic.clone(), partition), broker).unwrap();
        }
        receipts.extend(world.enqueue(&producer, 100 + round * 100..200 + round * 100).await);
    }
    producer.close(GRACE).await.unwrap();
    check_written(&world, receipts).await;
}

#[tokio::test]
async fn weaker_guarantees_still_deliver_on_a_good_day() {
    for (acks, has_offsets) in [(Acks::None, false), (Acks::Leader, true), (Acks::All, true)] {
        let world = World::new().await;
        let producer = world.client.producer(ProducerConfig { acks, idempotent: false, ..brisk() }).unwrap();
        for receipt in world.enqueue(&producer, 0..100).await {
            assert_eq!(receipt.await.unwrap().offset.is_some(), has_offsets);
        }
        producer.close(GRACE).await.unwrap();
        assert_eq!(world.broker.faults().count(INIT_PRODUCER_ID), 0);
        assert_eq!(world.read().await.values().map(Vec::len).sum::<usize>(), 100);
    }
}

/// Nothing is sent again, so what the old leader says is all there is to learn from.
#[tokio::test]
async fn without_acks_a_leader_that_has_moved_is_found_all_the_same() {
    let said = [None, Some(Fault::Error(ErrorCode::NOT_LEADER_OR_FOLLOWER))];
    for instead in said {
        let world = World::new().await;
        let producer =
            world.client.producer(ProducerConfig { acks: Acks::None, idempotent: false, ..brisk() }).unwrap();
        let to = |value| ProducerRecord { partition: Some(0), ..ProducerRecord::new(&world.topic, value) };
        producer.send(to(b"0")).await.unwrap();
        producer.flush().await;
        let of = TopicPartition::new(world.topic.clone(), 0);
        let leader = || world.client.cluster().metadata().leader(&of).map(|leader| leader.broker);
        let next = leader().unwrap() % 3 + 1;
        world.broker.move_leader(&of, next).unwrap();
        instead.into_iter().for_each(|fault| world.on_produce(1, fault));
        producer.send(to(b"1")).await.unwrap();
        let mut changes = world.client.cluster().metadata_changes();
        let found = async {
            while leader() != Some(next) {
                changes.changed().await.unwrap()
            }
        };
        tokio::time::timeout(GRACE, found).await.unwrap();
        producer.flush().await;
        producer.send(to(b"2")).await.unwrap();
        producer.close(GRACE).await.unwrap();
        let read: Vec<u32> = world.read().await[&0].iter().map(|(_, number)| *number).collect();
        assert_eq!(read, [0, 2]);
        assert_eq!((producer.stats().records_written, producer.stats().records_failed), (2, 1));
    }
}

#[tokio::test]
async fn one_request_carries_all_partitions_of_a_broker() {
    let world = World::new().await;
    let producer =
        world.client.producer(ProducerConfig { linger: Duration::from_secs(60), ..Default::default() }).unwrap();
    let receipts = world.enqueue(&producer, 0..500).await;
    producer.flush().await;
    // One broker at a time proves itself; nothing else is needed.
    assert_eq!(world.broker.faults().count(PRODUCE), 3);
    check_written(&world, receipts).await;
}

#[tokio::test]
async fn records_outlive_their_producer_and_receipts() {
    let world = World::new().await;
    let producer = world.client.producer(ProducerConfig { linger: Duration::from_secs(60), ..brisk() }).unwrap();
    let mut receipts = world.enqueue(&producer, 0..40).await;
    drop(producer);
    let last = receipts.pop().unwrap();
    drop(receipts);
    last.await.unwrap();
    let another = world.client.producer(brisk()).unwrap();
    another.flush().await;
    let read = world.read().await;
    assert!(read.values().map(Vec::len).sum::<usize>() >= 1);
}

/// Records, one of them in a transaction; each leaves only when somebody calls for it.
async fn write_with_all_the_time_in_the_world(client: &Client, of: &TopicPartition) {
    let (linger, max_block, delivery_timeout) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let plain =
        ProducerConfig { linger, max_block, delivery_timeout, request_timeout: Duration::MAX, ..Default::default() };
    let in_transactions = ProducerConfig { transactional_id: Some("t".to_owned()), ..plain.clone() };
    let record = ProducerRecord { partition: Some(of.partition), ..ProducerRecord::new(&of.topic, b"1") };
    let producer = client.producer(plain).unwrap();
    let mut receipt = producer.enqueue(record).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut receipt).await.is_err(), "it lingers");
    producer.flush().await;
    assert_eq!(receipt.await.unwrap().offset, Some(0));
    producer.close(Duration::MAX).await.unwrap();
    let producer = client.producer(in_transactions).unwrap();
    let transaction = producer.begin().await.unwrap();
    drop(transaction.enqueue(record).await.unwrap());
    transaction.commit().await.unwrap();
    producer.close(Duration::MAX).await.unwrap();
}

/// Both records, which are committed when somebody calls for it.
async fn read_with_all_the_time_in_the_world(client: &Client, of: &TopicPartition) {
    let config = ConsumerConfig {
        group_id: "readers".to_owned(),
        auto_offset_reset: OffsetReset::Earliest,
        fetch_max_wait: Duration::MAX,
        commit_interval: Duration::MAX,
        drain_timeout: Duration::MAX,
        ..Default::default()
    };
    let (mut consumer, mut read) = (client.assign(config, vec![(of.clone(), None)]).unwrap(), 0);
    while read < 2 {
        let delivery = consumer.next().await.unwrap().unwrap();
        read += delivery.len();
        delivery.finish();
    }
    consumer.commit().await.unwrap();
    consumer.close(Duration::MAX).await.unwrap();
    let group = client.admin().committed_offsets(&["readers".to_owned()]).await.unwrap().remove("readers");
    let committed = group.unwrap().unwrap()[of].offset;
    assert!(committed >= Some(2), "{committed:?}");
}

#[tokio::test]
async fn whoever_has_all_the_time_in_the_world_is_served_all_the_same() {
    let world = World::new().await;
    let config = ClientConfig {
        connect_timeout: Duration::MAX,
        connections_max_idle: Duration::MAX,
        request_timeout: Duration::MAX,
        api_timeout: Duration::MAX,
        metadata_max_age: Duration::MAX,
        allow_auto_create_topics: true,
        ..quick_to_reconnect(&world.broker)
    };
    let (client, of) = (Client::connect(config).await.unwrap(), TopicPartition::new(world.topic.clone(), 0));
    let served = async {
        write_with_all_the_time_in_the_world(&client, &of).await;
        read_with_all_the_time_in_the_world(&client, &of).await;
    };
    tokio::time::timeout(GRACE, served).await.unwrap();
}

/// A producer whose every Produce request fails.
async fn cut_off(config: ProducerConfig) -> (World, Producer, Vec<Receipt>) {
    let world = World::new().await;
    world.on_produce(u64::MAX, Fault::Disconnect);
    let producer = world.client.producer(config).unwrap();
    let receipts = world.enqueue(&producer, 0..50).await;
    (world, producer, receipts)
}

#[tokio::test]
async fn after_the_delivery_timeout_a_record_fails_with_its_reason() {
    let (_world, producer, receipts) =
        cut_off(ProducerConfig { delivery_timeout: Duration::from_millis(300), ..brisk() }).await;
    for receipt in receipts {
        let error = receipt.await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::REQUEST_TIMED_OUT));
        assert!(error.to_string().contains("not delivered within 300ms"), "{error}");
        assert_eq!(error.topic_partition.map(|of| of.topic.to_string()).as_deref(), Some("orders"));
    }
    assert_eq!((producer.stats().records_failed, producer.stats().buffered_bytes), (50, 0));
}

#[tokio::test]
async fn closing_fails_what_the_grace_was_too_short_for() {
    let (world, producer, receipts) = cut_off(brisk()).await;
    let error = producer.close(Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().contains("50 records"), "{error}");
    for receipt in receipts {
        assert!(receipt.await.unwrap_err().is_closed());
    }
    assert!(producer.enqueue(ProducerRecord::new(&world.topic, b"late")).await.unwrap_err().is_closed());
    producer.flush().await;
    producer.close(GRACE).await.unwrap();
}

#[tokio::test]
async fn a_runtime_that_ends_leaves_nobody_waiting() {
    let (started, receipt) = std::sync::mpsc::channel();
    let inner = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    inner.spawn(async move {
        let (world, producer, mut receipts) = cut_off(brisk()).await;
        started.send(receipts.pop().unwrap()).unwrap();
        producer.flush().await;
        drop(world);
    });
    let receipt = tokio::task::spawn_blocking(move || receipt.recv()).await.unwrap().unwrap();
    inner.shutdown_background();
    assert!(receipt.await.unwrap_err().is_closed());
}

#[tokio::test]
async fn a_full_buffer_holds_callers_back_in_line() {
    let config = ProducerConfig { buffer_bytes: 1000, linger: Duration::from_secs(60), ..brisk() };
    let world = World::new().await;
    world.on_produce(u64::MAX, Fault::Disconnect);
    let producer = world.client.producer(config).unwrap();
    drop(producer.enqueue(ProducerRecord::new(&world.topic, b"0")).await.unwrap());
    let record = ProducerRecord::new(&world.topic, &[b'x'; 100]);
    let mut accepted = 1;
    while let Some(receipt) = producer.try_enqueue(record).unwrap() {
        drop(receipt);
        accepted += 1;
    }
    let mut waiting = Box::pin(producer.enqueue(record));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(waiting);
    assert!(producer.try_enqueue(record).unwrap().is_none());
    let error = producer.close(Duration::from_millis(10)).await.unwrap_err();
    assert!(error.to_string().contains(&format!("before {accepted} records")), "{error}");
    assert_eq!(producer.stats().buffered_bytes, 0);
}

#[tokio::test]
async fn memory_that_comes_back_lets_the_waiting_go_on() {
    let world = World::new().await;
    let producer = world
        .client
        .producer(ProducerConfig { buffer_bytes: 1000, linger: Duration::from_secs(60), ..brisk() })
        .unwrap();
    let receipts = world.enqueue(&producer, 0..500).await;
    producer.close(GRACE).await.unwrap();
    check_written(&world, receipts).await;
}

#[tokio::test]
async fn what_cannot_be_enqueued_says_why() {
    let world = World::new().await;
    let config = ProducerConfig { max_request_bytes: 5000, max_block: Duration::from_millis(100), ..brisk() };
    world.client.producer(brisk()).unwrap().send(ProducerRecord::new(&world.topic, b"1")).await.unwrap();
    let producer = world.client.producer(config).unwrap();
    let large = producer.enqueue(ProducerRecord::new(&world.topic, &[b'x'; 6000])).await.unwrap_err();
    assert!(matches!(large.kind, ErrorKind::TooLarge { limit: 5000, .. }), "{large}");
    // One may yet be added, so it is waited for; the other will never be.
    for (topic, partition) in [(&world.topic, PARTITIONS), (&world.topic, -1), (&Topic::from("unheard-of"), -1)] {
        let record = ProducerRecord { partition: Some(partition), ..ProducerRecord::new(topic, b"1") };
        let error = producer.enqueue(record).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::UnknownPartition), "{error}");
    }
    let bad = Topic::from("not a name");
    let error = producer.enqueue(ProducerRecord::new(&bad, b"1")).await.unwrap_err();
    assert!(error.code().is_some(), "{error}");
    producer.send(ProducerRecord::new(&world.topic, b"2")).await.unwrap();
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_waited_for_and_then_refused() {
    let config = devbroker::Config { auto_create_topics: false, ..Default::default() };
    let broker = DevBroker::start(config).await.unwrap();
    let config = ClientConfig { bootstrap_servers: vec![broker.bootstrap_servers()], ..Default::default() };
    let client = Client::connect(config).await.unwrap();
    let producer = client.producer(ProducerConfig { max_block: Duration::from_millis(50), ..brisk() }).unwrap();
    let nowhere = Topic::from("nowhere");
    assert!(producer.try_enqueue(ProducerRecord::new(&nowhere, b"1")).unwrap().is_none());
    let error = producer.enqueue(ProducerRecord::new(&nowhere, b"1")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert!(error.to_string().contains("nowhere"), "{error}");
}

/// Metadata may be older than the partition: of a topic that has just grown, or from a broker that lags behind.
#[tokio::test]
async fn a_partition_that_is_being_added_is_waited_for() {
    let world = World::new().await;
    let producer = world.client.producer(brisk()).unwrap();
    let to = |partition| ProducerRecord { partition: Some(partition), ..ProducerRecord::new(&world.topic, b"0") };
    producer.send(to(0)).await.unwrap();
    let mut waiting = std::pin::pin!(producer.send(to(PARTITIONS)));
    world.broker.faults().reset_counts();
    let asked = async {
        while world.broker.faults().count(METADATA) < 3 {
            tokio::task::yield_now().await
        }
    };
    tokio::select! {
        written = &mut waiting => panic!("there is no such partition: {written:?}"),
        asked = tokio::time::timeout(GRACE, asked) => asked.unwrap(),
    }
    world.client.admin().create_partitions(&[(world.topic.clone(), PARTITIONS + 1)]).await.unwrap();
    assert_eq!(waiting.await.unwrap().partition, PARTITIONS);
}

/// The partitions that keyed records go to, of how many there are.
async fn check_goes_by(world: &World, producer: &Producer, partitions: i32) {
    let receipts = world.enqueue(producer, 0..100).await;
    producer.flush().await;
    for (number, receipt) in (0..100).zip(receipts) {
        let key = (number % 17).to_string();
        assert_eq!(receipt.await.unwrap().partition, partition_for_key(key.as_bytes(), partitions), "{number}");
    }
}

/// A broker that knows nothing of a producer would take the second batch though it has refused the first.
#[tokio::test]
async fn a_topic_that_is_made_anew_is_written_without_a_gap() {
    let world = World::new().await;
    let single = ProducerConfig { batch_bytes: 1, linger: Duration::ZERO, ..brisk() };
    let (producer, admin) = (world.client.producer(single).unwrap(), world.client.admin());
    let to = |value| ProducerRecord { partition: Some(0), ..ProducerRecord::new(&world.topic, value) };
    producer.send(to(b"before")).await.unwrap();
    for is_followed in [true, false] {
        admin.delete_topics(std::slice::from_ref(&world.topic)).await.unwrap();
        admin.create_topics(&[NewTopic::new("orders").partitions(1)]).await.unwrap();
        if is_followed {
            let followed = crate::client::Topics::Follow(vec![world.topic.clone()]);
            let _ = world.client.cluster().refresh(followed).await.unwrap();
        }
        world.on_produce(1, Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS));
        let receipts = [producer.enqueue(to(b"1")).await.unwrap(), producer.enqueue(to(b"2")).await.unwrap()];
        let mut offsets = Vec::new();
        for receipt in receipts {
            offsets.push(receipt.await.unwrap().offset);
        }
        assert_eq!(offsets, [Some(0), Some(1)], "{is_followed}");
    }
}

#[tokio::test]
async fn a_topic_that_is_made_anew_with_other_partitions_is_written_by_their_number() {
    let world = World::new().await;
    let (linger, max_block) = (Duration::from_secs(3600), Duration::from_millis(200));
    let patient = ProducerConfig { linger, max_block, ..Default::default() };
    let (producer, admin) = (world.client.producer(patient).unwrap(), world.client.admin());
    world.client.producer(brisk()).unwrap().send(ProducerRecord::new(&world.topic, b"1")).await.unwrap();
    check_goes_by(&world, &producer, PARTITIONS).await;
    let to = |partition| ProducerRecord { partition: Some(partition), ..ProducerRecord::new(&world.topic, b"0") };
    for partitions in [2, 4] {
        let (kept, gone) = (producer.enqueue(to(1)).await.unwrap(), producer.enqueue(to(partitions + 1)).await);
        admin.delete_topics(std::slice::from_ref(&world.topic)).await.unwrap();
        admin.create_topics(&[NewTopic::new("orders").partitions(partitions)]).await.unwrap();
        let followed = crate::client::Topics::Follow(vec![world.topic.clone()]);
        let _ = world.client.cluster().refresh(followed).await.unwrap();
        // What was taken fails at once, however patient the producer is; the second time, it was not there to begin with.
        let lost = match gone {
            Ok(receipt) => receipt.await.unwrap_err(),
            Err(refused) => refused,
        };
        assert!(matches!(lost.kind, ErrorKind::UnknownPartition), "{lost}");
        drop(producer.enqueue(to(partitions - 1)).await.unwrap());
        check_goes_by(&world, &producer, partitions).await;
        assert_eq!(kept.await.unwrap().partition, 1);
        let refused = producer.enqueue(to(partitions)).await.unwrap_err();
        assert!(matches!(refused.kind, ErrorKind::UnknownPartition), "{refused}");
    }
    producer.close(GRACE).await.unwrap();
}

#[tokio::test]
async fn a_refused_batch_fails_alone_and_a_fenced_producer_for_good() {
    let world = World::new().await;
    let producer = world.client.producer(brisk()).unwrap();
    let send = |value| producer.send(ProducerRecord::new(&world.topic, value));
    send(b"1").await.unwrap();
    world.on_produce(1, Fault::Error(ErrorCode::INVALID_RECORD));
    assert_eq!(send(b"2").await.unwrap_err().code(), Some(ErrorCode::INVALID_RECORD));
    send(b"3").await.unwrap();
    world.on_produce(1, Fault::Error(ErrorCode::PRODUCER_FENCED));
    for value in [b"4", b"5"] {
        assert_eq!(send(value).await.unwrap_err().code(), Some(ErrorCode::PRODUCER_FENCED));
    }
    let written: usize = world.read().await.values().map(Vec::len).sum();
    assert_eq!(written, 2);
}

/// What a broker has refused before it looked at sequences leaves no gap in them.
#[tokio::test]
async fn a_topic_that_refuses_every_batch_costs_no_epochs() {
    for code in [ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::INVALID_RECORD, ErrorCode::MESSAGE_TOO_LARGE] {
        let world = World::new().await;
        let producer = world.client.producer(brisk()).unwrap();
        let send =
            |value| producer.send(ProducerRecord { partition: Some(0), ..ProducerRecord::new(&world.topic, value) });
        send(b"0").await.unwrap();
        for _ in 0..20 {
            world.on_produce(1, Fault::Error(code));
            assert_eq!(send(b"x").await.unwrap_err().code(), Some(code));
        }
        send(b"1").await.unwrap();
        assert_eq!((producer.stats().restarts, world.broker.faults().count(INIT_PRODUCER_ID)), (0, 1), "{code}");
        assert_eq!(world.read().await[&0], [(0, 0), (1, 1)], "{code}");
        // Whether what has no other name was written is not known, and so its sequences are not used again.
        world.on_produce(1, Fault::Error(ErrorCode::UNKNOWN_SERVER_ERROR));
        send(b"x").await.unwrap_err();
        send(b"2").await.unwrap();
        assert_eq!(producer.stats().restarts, 1);
    }
}

/// A broker says which records of a batch it will not have (KIP-467).
#[tokio::test]
async fn of_a_refused_batch_the_records_that_are_to_blame_are_named() {
    let world = World::new().await;
    let topic = NewTopic::new("compacted").partitions(1).config("cleanup.policy", "compact");
    world.client.admin().create_topics(&[topic]).await.unwrap();
    let producer = world.client.producer(ProducerConfig { linger: Duration::from_secs(60), ..brisk() }).unwrap();
    let topic = Topic::from("compacted");
    let mut receipts = Vec::new();
    for key in [Some(&b"a"[..]), None, Some(b"b")] {
        receipts.push(producer.enqueue(ProducerRecord { key, ..ProducerRecord::new(&topic, b"1") }).await.unwrap());
    }
    producer.flush().await;
    let mut said = Vec::new();
    for receipt in receipts {
        let error = receipt.await.unwrap_err();
        said.push((error.code(), error.is_retriable(), error.to_string()));
    }
    let (code, is_retriable, words) = &said[1];
    assert!(*code == Some(ErrorCode::INVALID_RECORD) && !is_retriable && words.contains("this record"), "{said:?}");
    let (code, is_retriable, words) = &said[0];
    assert!(code.is_none() && *is_retriable && words.contains("record 1 of its batch"), "{said:?}");
    assert!(said[0] == said[2], "{said:?}");
    assert_eq!((producer.stats().records_failed, producer.stats().buffered_bytes), (3, 0));
}

#[tokio::test]
async fn without_the_right_to_a_producer_id_records_fail_with_that() {
    let world = World::new().await;
    let fault = Fault::Error(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    world.broker.faults().inject(Matching::api(INIT_PRODUCER_ID), 1, fault);
    let producer = world.client.producer(brisk()).unwrap();
    let error = producer.send(ProducerRecord::new(&world.topic, b"1")).await.unwrap_err();
    assert!(error.to_string().contains("`idempotent`"), "{error}");
}

/// The partitions of each request that was seen.
type Seen = Arc<std::sync::Mutex<Vec<Vec<i32>>>>;

/// Brokers in memory that lead the partitions of a topic `t` and write everything, each batch after a wait that its partition
/// says.
async fn writing(leaders: &[u16], wait: fn(i32) -> Duration) -> (Client, Seen) {
    let (net, seen, led) = (Arc::new(fake::Net::default()), Seen::default(), leaders.to_vec());
    let mut ports = leaders.to_vec();
    ports.sort_unstable();
    ports.dedup();
    for port in &ports {
        let (seen, led, ports) = (Arc::clone(&seen), led.clone(), ports.clone());
        net.listen(*port, move |request| match request {
            Request::Metadata(_) => {
                let leaders: Vec<_> = led.iter().map(|port| (i32::from(*port), 0)).collect();
                Some(Reply::Say(fake::cluster(&ports, vec![fake::topic("t", &leaders)]).into()))
            }
            Request::InitProducerId(_) => Some(Reply::Say(InitProducerIdResponse::default().into())),
            Request::Produce(it) => {
                let topic = it.topic_data.first()?;
                let partitions: Vec<i32> = topic.partition_data.iter().map(|data| data.index).collect();
                let row = |&index: &i32| PartitionProduceResponse { index, ..Default::default() };
                let partition_responses = partitions.iter().map(row).collect();
                let wait = partitions.iter().copied().map(wait).max()?;
                seen.lock().unwrap().push(partitions);
                let (name, topic_id) = (topic.name.clone(), topic.topic_id);
                let responses = vec![TopicProduceResponse { name, topic_id, partition_responses }];
                Some(Reply::SayAfter(wait, ProduceResponse { responses, ..Default::default() }.into()))
            }
            _ => None,
        });
    }
    (Client::connect_over(fake::config(&ports), net.dial()).await.unwrap(), seen)
}

fn slow_in_the_first(partition: i32) -> Duration {
    Duration::from_millis(if partition == 0 { 90 } else { 0 })
}

#[tokio::test(start_paused = true)]
async fn the_first_record_waits_for_its_linger_and_for_nothing_else() {
    for linger in [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(300)] {
        let (client, _) = writing(&[1, 1], slow_in_the_first).await;
        let producer = client.producer(ProducerConfig { linger, ..Default::default() }).unwrap();
        let (topic, began) = (Topic::from("t"), tokio::time::Instant::now());
        let record = ProducerRecord { partition: Some(1), ..ProducerRecord::new(&topic, b"first") };
        producer.send(record).await.unwrap();
        // A timer of the runtime may be late by its grain.
        let late = began.elapsed() - linger;
        assert!(late <= Duration::from_millis(2), "a linger of {linger:?}, and {late:?} more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_cannot_go_along_early_goes_when_its_time_has_come() {
    let (client, _) = writing(&[1, 1], slow_in_the_first).await;
    let config = ProducerConfig { linger: Duration::from_millis(100), batch_bytes: 1000, ..Default::default() };
    let (producer, topic) = (client.producer(config).unwrap(), Topic::from("t"));
    let enqueue = |partition, value: &'static [u8]| {
        producer.enqueue(ProducerRecord { partition: Some(partition), ..ProducerRecord::new(&topic, value) })
    };
    enqueue(1, b"the connection is known to work").await.unwrap().await.unwrap();
    let first = enqueue(0, b"first of its partition: until it is written, no second one may go").await.unwrap();
    tokio::time::sleep(Duration::from_millis(110)).await;
    let second = enqueue(0, b"second").await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    // Something is sent, so what has lingered half its time would go along, and cannot.
    let full = enqueue(1, &[b'x'; 1000]).await.unwrap();
    for receipt in [first, full, second] {
        tokio::time::timeout(Duration::from_secs(1), receipt).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_for_which_there_is_no_room_goes_first_in_the_next_request() {
    let (client, seen) = writing(&[1, 1, 1], |_| Duration::from_millis(10)).await;
    // Room for two batches, each of one record: another one would not fit in eight times `batch_bytes`.
    let (batch_bytes, max_request_bytes) = (150, 2500);
    let config = ProducerConfig { batch_bytes, max_request_bytes, in_flight_max: 1, acks: Acks::Leader, ..brisk() };
    let (producer, topic) = (client.producer(config).unwrap(), Topic::from("t"));
    for number in 0..15 {
        let record = ProducerRecord { partition: Some(number % 3), ..ProducerRecord::new(&topic, &[b'x'; 1000]) };
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.close(GRACE).await.unwrap();
    let seen = seen.lock().unwrap();
    for (number, pair) in seen.windows(2).enumerate().take(5) {
        let served: std::collections::BTreeSet<i32> = pair.iter().flatten().copied().collect();
        assert_eq!(served.len(), 3, "requests {number} and after: {seen:?}");
    }
}

/// While its leader is silent a partition's batch takes records, but not those that have most of their time before them.
#[tokio::test(start_paused = true)]
async fn a_record_does_not_expire_with_much_older_ones() {
    let (client, _) = writing(&[1], |_| Duration::from_secs(600)).await;
    let timeout = Duration::from_secs(20);
    let producer = client.producer(ProducerConfig { delivery_timeout: timeout, ..brisk() }).unwrap();
    let (topic, mut receipts) = (Topic::from("t"), Vec::new());
    for seconds in [1, 5, 6, 6] {
        let receipt = producer.enqueue(ProducerRecord::new(&topic, b"v")).await.unwrap();
        receipts.push((tokio::time::Instant::now(), receipt));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    for (enqueued, receipt) in receipts {
        receipt.await.unwrap_err();
        let age = enqueued.elapsed();
        assert!(age > timeout - Duration::from_secs(3) && age < timeout + Duration::from_secs(1), "{age:?}");
    }
}

/// A broker that stands still, and one that takes its time: told when it lasts, and that it is over.
#[tokio::test(start_paused = true)]
async fn records_that_wait_for_long_are_told_of() {
    for (silent, told) in [(9, 0), (25, 2)] {
        let wait = if silent == 9 { |_| Duration::from_secs(9) } else { |_| Duration::from_secs(25) };
        let (client, _) = writing(&[1], wait).await;
        let warnings = fake::Warnings::counted();
        let producer = client.producer(brisk()).unwrap();
        producer.send(ProducerRecord::new(&Topic::from("t"), b"v")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(warnings.so_far(), told, "silent for {silent} s");
    }
}

#[test]
fn batches_grow_within_what_is_usual_and_where_order_is_guarded() {
    let kib = |n: usize| n << 10;
    let idempotent = ProducerConfig::default;
    let cases = [
        (idempotent(), (kib(64), kib(512))),
        (ProducerConfig { batch_bytes: kib(16), ..idempotent() }, (kib(16), kib(128))),
        (ProducerConfig { batch_bytes: kib(100), ..idempotent() }, (kib(100), kib(512))),
        (ProducerConfig { batch_bytes: 1_000_000, ..idempotent() }, (1_000_000, 1_000_000)),
        (ProducerConfig { batch_bytes: 0, ..idempotent() }, (0, 0)),
        (ProducerConfig { batch_bytes: usize::MAX, ..idempotent() }, (usize::MAX, usize::MAX)),
        (ProducerConfig { max_request_bytes: kib(100), ..idempotent() }, (kib(64), kib(100))),
        (ProducerConfig { compression: Compression::Lz4, ..idempotent() }, (kib(64), kib(64))),
        (ProducerConfig { acks: Acks::Leader, ..idempotent() }, (kib(64), kib(64))),
        (ProducerConfig { idempotent: false, ..idempotent() }, (kib(64), kib(64))),
    ];
    for (config, (ready, most)) in cases {
        assert_eq!(config.sizes(), Sizes { ready, most }, "{config:?}");
    }
}

#[tokio::test]
async fn all_mistakes_of_a_configuration_are_told_at_once() {
    let world = World::new().await;
    let (usual, zero, ever) = (ProducerConfig::default, Duration::ZERO, Duration::MAX);
    let transactional = |id: &str| ProducerConfig { transactional_id: Some(id.to_owned()), ..usual() };
    let cases = [
        (usual(), ""),
        (transactional("t"), ""),
        (ProducerConfig { batch_bytes: 0, linger: zero, max_block: zero, ..usual() }, ""),
        (ProducerConfig { linger: ever, request_timeout: ever, delivery_timeout: ever, ..usual() }, ""),
        (ProducerConfig { transaction_timeout: zero, ..usual() }, ""),
        (ProducerConfig { transaction_timeout: zero, ..transactional("t") }, "transaction_timeout is less than 1ms"),
        (transactional(""), "transactional_id is empty"),
        (ProducerConfig { request_timeout: zero, ..usual() }, "request_timeout is 0ns"),
        (
            ProducerConfig { buffer_bytes: 0, max_request_bytes: 0, in_flight_max: 0, ..usual() },
            "buffer_bytes is 0; max_request_bytes is 0; in_flight_max is 0",
        ),
        (
            ProducerConfig { batch_bytes: usize::MAX, max_request_bytes: usize::MAX, ..usual() },
            "max_request_bytes is beyond 2147483647; batch_bytes is beyond 2147483647",
        ),
        (
            ProducerConfig { in_flight_max: 0, compression_level: Some(1), ..usual() },
            "in_flight_max is 0; compression_level is 1, and none has no levels",
        ),
    ];
    for (config, wrong) in cases {
        let wrong = (!wrong.is_empty()).then(|| format!("producer: {wrong}"));
        assert_eq!(config.check().err().map(|error| error.to_string()), wrong, "{config:?}");
        let made = world.client.producer(config.clone());
        assert_eq!(made.err().map(|error| error.to_string()), wrong, "{config:?}");
    }
}

/// The topic takes batches of 10,000 bytes, and what it refuses is split. That is found out once.
#[tokio::test]
async fn batches_grow_no_more_where_one_was_refused_for_its_size() {
    let world = World::new().await;
    let new = NewTopic::new("small").partitions(1).config("max.message.bytes", "10000");
    world.client.admin().create_topics(&[new]).await.unwrap().remove(0).1.unwrap();
    let (producer, topic) =
        (world.client.producer(ProducerConfig { batch_bytes: 4_000, ..brisk() }).unwrap(), Topic::from("small"));
    let mut splits = Vec::new();
    for _ in 0..3 {
        let mut receipts = Vec::new();
        for _ in 0..500 {
            receipts.push(producer.enqueue(ProducerRecord::new(&topic, &[b'x'; 400])).await.unwrap());
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
        splits.push(producer.stats().splits);
    }
    assert!(splits[0] > 0 && splits[0] == splits[1] && splits[1] == splits[2], "{splits:?}");
}

/// How many of a hundred records that may go anywhere go to the one half of these partitions, whose leader is slow.
async fn share_of_the_slow(leaders: &[u16], adaptive_partitioning: bool, compression: Compression) -> usize {
    let slow = |partition| Duration::from_millis(if partition % 2 == 0 { 100 } else { 1 });
    let (client, _) = writing(leaders, slow).await;
    let sizes = ProducerConfig { batch_bytes: 1000, max_request_bytes: 2000, buffer_bytes: 50_000, ..brisk() };
    let producer =
        client.producer(ProducerConfig { acks: Acks::Leader, adaptive_partitioning, compression, ..sizes }).unwrap();
    let topic = Topic::from("t");
    let mut receipts = Vec::new();
    for _ in 0..2_000 {
        receipts.push(producer.enqueue(ProducerRecord::new(&topic, &[b'x'; 500])).await.unwrap());
    }
    producer.close(Duration::from_secs(600)).await.unwrap();
    let written = futures::future::try_join_all(receipts).await.unwrap();
    written.iter().filter(|written| written.partition % 2 == 0).count() * 100 / written.len()
}

#[tokio::test(start_paused = true)]
async fn a_partition_whose_leader_does_not_keep_up_is_given_less() {
    for (leaders, compression) in
        [(&[1, 2][..], Compression::None), (&[1, 2, 1, 2], Compression::None), (&[1, 2, 1, 2], Compression::Snappy)]
    {
        let even = share_of_the_slow(leaders, false, compression).await;
        let adaptive = share_of_the_slow(leaders, true, compression).await;
        assert!((40..=60).contains(&even), "{leaders:?} {compression}: {even} of 100");
        assert!(adaptive <= 25, "{leaders:?} {compression}: {adaptive} of 100");
    }
}
