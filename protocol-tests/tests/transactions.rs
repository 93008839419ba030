//! Transactions, the same scenarios on the dev broker in both protocols, on Kafka 3.9 (the first) and on 4.3 (the second):
//! all is read or nothing, whoever is replaced is fenced, and a program that reads, writes and is killed in the midst of it
//! leaves every record once.

use std::collections::BTreeMap;
use std::future::Future;
use std::process::{Command, Stdio};
use std::time::Duration;

use highwater::client::{
    AbortTransaction, ActiveProducer, Client, ConfigChange, ConfigResource, Consumer, ConsumerConfig, Delivery, Error,
    ErrorCode, GroupMetadata, GroupProtocol, IsolationLevel, NewTopic, OffsetReset, OffsetSpec, Position, Producer,
    ProducerConfig, ProducerRecord, Topic, TopicPartition, Transaction, TransactionFilter, TransactionState,
};
use highwater::devbroker::{BrokerConfig, Config, DevBroker, GroupConfig};
use highwater::protocol::api::{Body, Request, Response, decode_response_header, encode_request_frame};
use highwater::protocol::batch::{BatchBuilder, Compression, ProducerStamp};
use highwater::protocol::messages::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol_tests::program::binary;
use protocol_tests::servers::{self, KAFKA_39, KAFKA_43, Kafka, Version};
use protocol_tests::{Outcome, connect, make_topics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(90);
const PARTITIONS: i32 = 3;

/// A name that no other run has.
fn unique(what: &str) -> String {
    protocol_tests::unique(&format!("transactions-{what}"))
}

/// A cluster and a topic of our own on it.
struct Site {
    servers: String,
    client: Client,
    topic: Topic,
}

impl Site {
    async fn new(servers: &str) -> Outcome<Self> {
        let client = connect(servers).await?;
        let topic = make_topic(&client, "topic").await?;
        Ok(Self { servers: servers.to_owned(), client, topic })
    }

    fn producer(&self, id: &str) -> Producer {
        let transactional_id = Some(id.to_owned());
        self.client.producer(ProducerConfig { transactional_id, ..Default::default() }).expect("a producer")
    }

    fn consumer(&self, group: &str, isolation_level: IsolationLevel) -> Outcome<Consumer> {
        Ok(self.client.consumer(reading(group, &self.topic, isolation_level))?)
    }

    /// What is to be read of a topic up to its end, in order within each partition.
    async fn read(&self, topic: &Topic, isolation_level: IsolationLevel) -> Outcome<BTreeMap<i32, Vec<String>>> {
        let partitions: Vec<_> = (0..PARTITIONS).map(|index| TopicPartition::new(topic.clone(), index)).collect();
        let ends = self.client.admin().list_offsets(OffsetSpec::Latest, &partitions, isolation_level).await?;
        let mut missing = BTreeMap::new();
        for (of, end) in ends {
            missing.insert(of.partition, end?.offset.unwrap_or_default());
        }
        missing.retain(|_, end| *end > 0);
        let mut consumer = self.client.consumer(reading(&unique("reader"), topic, isolation_level))?;
        let mut read: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        // The last record may be one that is not read, so how far the consumer is counts, and not what it gave out.
        while !missing.is_empty() {
            match timeout(Duration::from_millis(300), consumer.next()).await {
                Ok(delivery) => take(delivery.ok_or("the consumer has ended")??, &mut read),
                Err(_) => forget_finished(&consumer, &mut missing),
            }
        }
        consumer.close(PATIENCE).await?;
        Ok(read)
    }

    async fn words(&self, isolation_level: IsolationLevel) -> Outcome<String> {
        let read = self.read(&self.topic, isolation_level).await?;
        let mut words: Vec<String> = read.into_values().flatten().collect();
        words.sort();
        Ok(words.join(" "))
    }

    /// Reads until it reads these: a commit is decided before all of its markers are written.
    async fn expect(&self, isolation_level: IsolationLevel, words: &str) -> Outcome<()> {
        let becomes = async {
            while self.words(isolation_level).await? != words {}
            Outcome::Ok(())
        };
        match timeout(PATIENCE, becomes).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("{:?} instead of {words:?}", self.words(isolation_level).await?).into()),
        }
    }

    /// Asks until the group has committed this.
    async fn expect_committed(&self, group: &str, of: &TopicPartition, offset: i64) -> Outcome<()> {
        let (admin, mut last) = (self.client.admin(), None);
        let becomes = async {
            while last != Some(offset) {
                let mut found = admin.committed_offsets(&[group.to_owned()]).await?;
                last = found.remove(group).ok_or("no such group")??.get(of).and_then(|it| it.offset);
            }
            Outcome::Ok(())
        };
        match timeout(PATIENCE, becomes).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("{last:?} instead of {offset}").into()),
        }
    }

    async fn write(&self, transaction: &Transaction, words: &str) -> Outcome<()> {
        for word in words.split(' ') {
            let key = word.as_bytes();
            let record = ProducerRecord { key: Some(key), ..ProducerRecord::new(&self.topic, key) };
            drop(transaction.enqueue(record).await?);
        }
        Ok(())
    }
}

fn take(delivery: Delivery, read: &mut BTreeMap<i32, Vec<String>>) {
    let values =
        delivery.records().map(|record| String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned());
    read.entry(delivery.topic_partition.partition).or_default().extend(values);
    delivery.finish();
}

fn forget_finished(consumer: &Consumer, missing: &mut BTreeMap<i32, i64>) {
    for assigned in consumer.assignment() {
        let partition = assigned.topic_partition.partition;
        if assigned.finished.is_some_and(|finished| missing.get(&partition).is_some_and(|end| finished >= *end)) {
            missing.remove(&partition);
        }
    }
}

async fn make_topic(client: &Client, what: &str) -> Outcome<Topic> {
    let name = unique(what);
    make_topics(client, &[NewTopic::new(name.as_str()).partitions(PARTITIONS)]).await?;
    Ok(Topic::from(name.as_str()))
}

fn reading(group: &str, topic: &Topic, isolation_level: IsolationLevel) -> ConsumerConfig {
    ConsumerConfig {
        group_id: group.to_owned(),
        topics: vec![topic.clone()],
        auto_offset_reset: OffsetReset::Earliest,
        isolation_level,
        auto_commit: false,
        fetch_max_wait: Duration::from_millis(50),
        ..Default::default()
    }
}

/// Plays a scenario to everybody.
async fn on_all<F: Future<Output = Outcome<()>>>(name: &str, scenario: impl Fn(String) -> F) -> Outcome<()> {
    for transaction_version in [0, 2] {
        let broker = DevBroker::start(dev_broker(transaction_version)).await?;
        let test = format!("{name} on the dev broker with transaction.version {transaction_version}");
        play(&test, scenario(broker.bootstrap_servers())).await?;
        broker.stop().await?;
    }
    for version in [KAFKA_39, KAFKA_43] {
        on_kafka(name, version, &scenario).await?;
    }
    Ok(())
}

async fn on_kafka<F: Future<Output = Outcome<()>>>(
    name: &str,
    version: Version,
    scenario: &impl Fn(String) -> F,
) -> Outcome<()> {
    let test = format!("{name} on Kafka {}", version.number);
    let Some(kafka) = servers::or_skip(&test, Kafka::shared(version)) else { return Ok(()) };
    play(&test, scenario(kafka.bootstrap().to_owned())).await
}

async fn play(test: &str, scenario: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    let played = timeout(2 * PATIENCE, scenario).await.map_err(|_| format!("{test}: stuck"))?;
    played.map_err(|error| format!("{test}: {error}").into())
}

fn dev_broker(transaction_version: i16) -> Config {
    let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..Default::default() };
    Config { transaction_version, groups, ..Config::with_brokers(3) }
}

#[tokio::test]
async fn all_of_a_transaction_is_read_or_nothing() -> Outcome<()> {
    on_all("all or nothing", |servers| async move {
        let site = Site::new(&servers).await?;
        let producer = site.producer(&unique("id"));
        for (words, ending) in [("a b c", "commit"), ("d e", "abort"), ("f g", "drop"), ("h", "commit"), ("i", "abort")]
        {
            let transaction = producer.begin().await?;
            site.write(&transaction, words).await?;
            producer.flush().await;
            match ending {
                "commit" => transaction.commit().await?,
                "abort" => transaction.abort().await?,
                _ => drop(transaction),
            }
        }
        site.expect(IsolationLevel::ReadCommitted, "a b c h").await?;
        site.expect(IsolationLevel::ReadUncommitted, "a b c d e f g h i").await?;
        let open = producer.begin().await?;
        site.write(&open, "x y z").await?;
        producer.flush().await;
        site.expect(IsolationLevel::ReadCommitted, "a b c h").await?;
        open.commit().await?;
        site.expect(IsolationLevel::ReadCommitted, "a b c h x y z").await?;
        producer.close(PATIENCE).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_producer_that_was_replaced_is_fenced() -> Outcome<()> {
    on_all("a zombie", |servers| async move {
        let site = Site::new(&servers).await?;
        let id = unique("id");
        let (zombie, heir) = (site.producer(&id), site.producer(&id));
        let transaction = zombie.begin().await?;
        site.write(&transaction, "a b c").await?;
        zombie.flush().await;
        let other = heir.begin().await?;
        site.write(&other, "a b").await?;
        site.write(&transaction, "d").await?;
        let error = transaction.commit().await.err().ok_or("the zombie has committed")?;
        assert!(error.is_fenced() && !error.is_aborted(), "{error}");
        let error = zombie.begin().await.err().ok_or("the zombie has begun again")?;
        assert!(error.is_fenced(), "{error}");
        other.commit().await?;
        site.expect(IsolationLevel::ReadCommitted, "a b").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn offsets_are_part_of_the_transaction() -> Outcome<()> {
    on_all("offsets", |servers| async move {
        let site = Site::new(&servers).await?;
        let (producer, name) = (site.producer(&unique("id")), unique("group"));
        let (group, of) = (GroupMetadata::new(&name), TopicPartition::new(site.topic.clone(), 0));
        for (offset, commits, expected) in [(7, true, 7), (9, false, 7), (8, true, 8)] {
            let transaction = producer.begin().await?;
            let position = Position { topic_partition: of.clone(), offset, leader_epoch: None };
            transaction.send_offsets(&group, [position]).await?;
            if commits {
                transaction.commit().await?
            } else {
                transaction.abort().await?
            }
            site.expect_committed(&name, &of, expected).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_member_of_a_former_generation_commits_nothing() -> Outcome<()> {
    on_all("a former generation", |servers| async move {
        let site = Site::new(&servers).await?;
        let producer = site.producer(&unique("id"));
        let seed = producer.begin().await?;
        site.write(&seed, "a b c").await?;
        seed.commit().await?;
        let mut consumer = site.consumer(&unique("group"), IsolationLevel::ReadCommitted)?;
        let delivery = consumer.next().await.ok_or("the consumer has ended")??;
        let group = consumer.group_metadata()?;
        let mut former = group.clone();
        former.member = group.member.clone().map(|(id, epoch)| (id, epoch - 1));
        let transaction = producer.begin().await?;
        let refused = transaction.send_offsets(&former, [delivery.position()]).await;
        assert!(refused.is_err_and(|error| error.is_aborted()));
        assert!(transaction.commit().await.is_err_and(|error| error.is_aborted()));
        let transaction = producer.begin().await?;
        transaction.send_offsets(&group, [delivery.position()]).await?;
        transaction.commit().await?;
        delivery.finish();
        consumer.close(PATIENCE).await?;
        Ok(())
    })
    .await
}

/// A static member that was late for its next delivery may come back in the same epoch, which fences nothing, and read once more
/// what it was given before.
#[tokio::test]
async fn what_a_member_has_let_go_of_unfinished_is_not_committed() -> Outcome<()> {
    for is_dropped in [false, true] {
        on_all("a late member", async |servers| late(Site::new(&servers).await?, is_dropped).await).await?;
    }
    Ok(())
}

/// What it works on it still holds, or only knows where that was.
async fn late(site: Site, is_dropped: bool) -> Outcome<()> {
    let (producer, name) = (site.producer(&unique("id")), unique("group"));
    let seed = producer.begin().await?;
    site.write(&seed, "a b c").await?;
    seed.commit().await?;
    let mut consumer = site.client.consumer(ConsumerConfig {
        group_protocol: GroupProtocol::Consumer,
        instance_id: Some("late".to_owned()),
        max_poll_interval: Duration::from_secs(3),
        ..reading(&name, &site.topic, IsolationLevel::ReadCommitted)
    })?;
    let delivery = consumer.next().await.ok_or("the consumer has ended")??;
    let (group, transaction, position) = (consumer.group_metadata()?, producer.begin().await?, delivery.position());
    let delivery = Some(delivery).filter(|_| !is_dropped);
    let is_late = async || Ok(consumer.assignment().is_empty().then_some(()));
    protocol_tests::until("it is late", PATIENCE, is_late).await?;
    assert!(delivery.is_none_or(|delivery| delivery.is_revoked()));
    let again = loop {
        let again = consumer.next().await.ok_or("the consumer has ended")??;
        if again.topic_partition == position.topic_partition {
            break again;
        }
    };
    assert_eq!(again.position(), position);
    let refused = transaction.send_offsets(&group, [position]).await;
    assert!(refused.as_ref().is_err_and(Error::is_aborted), "{refused:?}");
    assert!(transaction.commit().await.is_err_and(|error| error.is_aborted()));
    let (group, transaction) = (consumer.group_metadata()?, producer.begin().await?);
    transaction.send_offsets(&group, [again.position()]).await?;
    transaction.commit().await?;
    site.expect_committed(&name, &again.topic_partition, again.position().offset).await?;
    Ok(consumer.close(PATIENCE).await?)
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_aborted() -> Outcome<()> {
    on_all("too long", |servers| async move {
        let site = Site::new(&servers).await?;
        let config = ProducerConfig {
            transactional_id: Some(unique("id")),
            transaction_timeout: Duration::from_secs(1),
            ..Default::default()
        };
        let slow = site.client.producer(config)?;
        let transaction = slow.begin().await?;
        site.write(&transaction, "a b c").await?;
        slow.flush().await;
        // Behind it, whoever reads committed records would wait for ever.
        let other = site.producer(&unique("id"));
        let quick = other.begin().await?;
        for partition in 0..PARTITIONS {
            let record = ProducerRecord { partition: Some(partition), ..ProducerRecord::new(&site.topic, b"z") };
            drop(quick.enqueue(record).await?);
        }
        quick.commit().await?;
        site.expect(IsolationLevel::ReadCommitted, "z z z").await?;
        let error = transaction.commit().await.err().ok_or("it was committed all the same")?;
        // The second protocol lets the producer go on.
        assert!(error.is_fenced() || error.is_aborted(), "{error}");
        if error.is_aborted() {
            let transaction = slow.begin().await?;
            site.write(&transaction, "a b").await?;
            transaction.commit().await?;
            site.expect(IsolationLevel::ReadCommitted, "a b z z z").await?;
        }
        Ok(())
    })
    .await
}

/// The first partition of a site's topic, as an operator looks at it.
impl Site {
    fn first(&self) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), 0)
    }

    /// Where readers of committed records stop.
    async fn last_stable(&self) -> Outcome<Option<i64>> {
        let (of, level) = (self.first(), IsolationLevel::ReadCommitted);
        let mut ends = self.client.admin().list_offsets(OffsetSpec::Latest, std::slice::from_ref(&of), level).await?;
        Ok(ends.remove(&of).ok_or("not listed")??.offset)
    }

    async fn seen(&self, producer_id: i64) -> Outcome<ActiveProducer> {
        let described = self.client.admin().describe_producers(&[self.first()]).await?;
        let (_, producers) = described.into_iter().next().ok_or("not described")?;
        let found = producers?.into_iter().find(|it| it.producer_id == producer_id);
        Ok(found.ok_or("the partition has not heard of the producer")?)
    }

    /// Writes to the first partition: `a` in a transaction that stays open, and `z` behind it.
    async fn leave_open(&self, producer: &Producer) -> Outcome<Transaction> {
        let open = producer.begin().await?;
        let record =
            |value: &'static [u8]| ProducerRecord { partition: Some(0), ..ProducerRecord::new(&self.topic, value) };
        drop(open.enqueue(record(b"a")).await?);
        producer.flush().await;
        self.client.producer(ProducerConfig::default())?.send(record(b"z")).await?;
        Ok(open)
    }

    /// What a verb of the command line says, and how it ends.
    async fn say(&self, words: &str) -> Outcome<(i32, String, String)> {
        let mut command = Command::new(binary());
        command.args(words.split(' ')).args(["-b", &self.servers]).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr)))
    }

    async fn rows(&self, words: &str) -> Outcome<Vec<serde_json::Value>> {
        let (status, out, error) = self.say(&format!("transactions {words} --output json")).await?;
        assert_eq!(status, 0, "{words}: {error}");
        Ok(serde_json::from_str(&out)?)
    }
}

#[tokio::test]
async fn what_is_open_is_seen_and_can_be_ended_on_its_partition() -> Outcome<()> {
    on_all("an operator", |servers| async move {
        let site = Site::new(&servers).await?;
        let (admin, id) = (site.client.admin(), unique("id"));
        let ids = [id.clone()];
        let missing = admin.describe_transactions(&ids).await?.remove(0).1.err().and_then(|error| error.code());
        assert_eq!(missing, Some(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND));
        admin.fence_producers(&ids).await?.remove(0).1?;

        let producer = site.producer(&id);
        let open = site.leave_open(&producer).await?;
        let filter = TransactionFilter { states: vec![TransactionState::Ongoing], ..Default::default() };
        let listed = admin.list_transactions(&filter).await?.transactions;
        let listed = listed.into_iter().find(|it| it.transactional_id == id).ok_or("not listed")?;
        let described = admin.describe_transactions(&ids).await?.remove(0).1?;
        assert_eq!((described.coordinator, described.producer_id), (listed.coordinator, listed.producer_id));
        assert_eq!((&described.state, &described.partitions), (&TransactionState::Ongoing, &vec![site.first()]));
        assert!(described.began_ms.is_some() && described.timeout == Duration::from_secs(60), "{described:?}");
        let done = TransactionFilter { states: vec![TransactionState::CompleteCommit], ..filter };
        let of = TransactionFilter { producer_ids: vec![listed.producer_id], ..done };
        assert!(admin.list_transactions(&of).await?.transactions.is_empty());

        let seen = site.seen(listed.producer_id).await?;
        assert_eq!((seen.open_since, seen.coordinator_epoch, seen.last_sequence), (Some(0), None, Some(0)));
        assert_eq!((seen.producer_epoch, site.last_stable().await?), (described.producer_epoch, Some(0)));
        let what = AbortTransaction::of(site.first(), &seen);
        let late = AbortTransaction { producer_epoch: seen.producer_epoch - 1, ..what.clone() };
        let refused = admin.abort_transaction(&late).await.err().and_then(|error| error.code());
        assert_eq!(refused, Some(ErrorCode::INVALID_PRODUCER_EPOCH));
        admin.abort_transaction(&what).await?;
        assert_eq!(site.last_stable().await?, Some(3));
        site.expect(IsolationLevel::ReadCommitted, "z").await?;
        let seen = site.seen(listed.producer_id).await?;
        assert_eq!((seen.open_since, seen.coordinator_epoch), (None, Some(0)));
        open.abort().await?;
        Ok(producer.close(PATIENCE).await?)
    })
    .await
}

#[tokio::test]
async fn the_command_line_sees_and_ends_what_is_open() -> Outcome<()> {
    on_all("an operator's command line", |servers| async move {
        let site = Site::new(&servers).await?;
        let (topic, id) = (site.topic.clone(), unique("id"));
        let producer = site.producer(&id);
        let open = site.leave_open(&producer).await?;
        let listed = site.rows("list --state ongoing").await?;
        assert!(
            listed.iter().any(|it| it["transactional_id"] == id.as_str() && it["state"] == "Ongoing"),
            "{listed:?}"
        );
        let described = site.rows(&format!("describe {id}")).await?;
        assert_eq!(described[0]["partitions"], serde_json::json!([site.first().to_string()]));
        let (status, _, error) = site.say(&format!("transactions describe {id}x")).await?;
        assert!(status == 65 && error.contains(&format!("did you mean {id}?")), "{error}");
        let producers = site.rows(&format!("producers {topic}:0")).await?;
        assert!(producers.iter().any(|it| it["start_offset"] == 0), "{producers:?}");
        // Its coordinator knows of it.
        let hanging = site.rows(&format!("find-hanging --topic {topic} --max-transaction-timeout 0")).await?;
        assert!(hanging.is_empty(), "{hanging:?}");

        let abort = format!("abort --topic {topic} --partition 0 --start-offset");
        let (status, _, error) = site.say(&format!("transactions {abort} 7")).await?;
        assert!(status == 65 && error.contains("those that are open there begin at 0"), "{error}");
        assert_eq!(site.rows(&format!("{abort} 0 --dry-run")).await?.len(), 1);
        assert_eq!(site.last_stable().await?, Some(0));
        assert_eq!(site.rows(&format!("{abort} 0")).await?.len(), 1);
        assert_eq!(site.last_stable().await?, Some(3));
        let fenced = site.rows(&format!("fence {id}")).await?;
        assert_eq!(fenced[0]["was"], "Ongoing");
        drop(open);
        Ok(())
    })
    .await
}

/// A broker that does not ask coordinators whether what is written belongs to a transaction of theirs (as all did before
/// Kafka 3.6, KIP-890) lets a late batch open one that nobody will end.
#[tokio::test]
async fn what_hangs_is_found_and_ended() -> Outcome<()> {
    for version in [KAFKA_39, KAFKA_43] {
        on_kafka("a late batch", version, &|servers| async move {
            let site = Site::new(&servers).await?;
            let admin = site.client.admin();
            let known = admin.describe_topics(std::slice::from_ref(&site.topic)).await?.remove(0).1?;
            let leader = known.partitions.first().and_then(|it| it.leader).ok_or("no leader")?;
            let checks = |change| (ConfigResource::Broker(leader), vec![(VERIFICATION.to_owned(), change)]);
            admin.alter_configs(&[checks(ConfigChange::Set("false".to_owned()))], false).await?.remove(0).1?;
            let hanging = hang(&site).await;
            admin.alter_configs(&[checks(ConfigChange::Delete)], false).await?.remove(0).1?;
            hanging?;

            let find = format!("find-hanging --topic {} --max-transaction-timeout", site.topic);
            assert!(site.rows(&format!("{find} 15")).await?.is_empty());
            let found = site.rows(&format!("{find} 0")).await?;
            assert_eq!((found.len(), &found[0]["start_offset"]), (1, &0.into()), "{found:?}");
            assert_eq!(site.last_stable().await?, Some(0));
            site.rows(&format!("abort --topic {} --partition 0 --start-offset 0", site.topic)).await?;
            assert_eq!(site.last_stable().await?, Some(2));
            assert!(site.rows(&format!("{find} 0")).await?.is_empty());
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// The setting of brokers by which they ask.
const VERIFICATION: &str = "transaction.partition.verification.enable";
/// The last version of Produce that does not add its partition to the transaction by itself (KIP-890).
const PRODUCE_VERSION: i16 = 11;

/// Writes a batch as if its transaction were open, which it is not.
async fn hang(site: &Site) -> Outcome<()> {
    let id = unique("id");
    let who = site.client.admin().fence_producers(std::slice::from_ref(&id)).await?.remove(0).1?;
    let (producer_id, producer_epoch) = (who.producer_id, who.producer_epoch);
    let mut builder = BatchBuilder::new(Compression::None);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    builder.push(i64::try_from(now.as_millis())?, None, Some(b"late"), &[])?;
    let mut batch = builder.finish()?;
    batch.stamp_transactional(ProducerStamp { producer_id, producer_epoch, base_sequence: 0 });
    let request = ProduceRequest {
        transactional_id: Some(id.as_str().into()),
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: (&site.topic).into(),
            partition_data: vec![PartitionProduceData { index: 0, records: Some(batch.bytes().clone()) }],
            ..Default::default()
        }],
    };
    let written = async {
        // Until the broker has heard of its new setting.
        while produce(&site.servers, request.clone()).await? != 0 {}
        Ok(())
    };
    timeout(PATIENCE, written).await?
}

async fn produce(servers: &str, request: ProduceRequest) -> Outcome<i16> {
    let mut stream = TcpStream::connect(servers).await?;
    let mut out = bytes::BytesMut::new();
    encode_request_frame(1, PRODUCE_VERSION, Some(&"late".into()), &Request::from(request), &mut out)?;
    stream.write_all(&out).await?;
    let mut frame = vec![0; usize::try_from(stream.read_u32().await?)?];
    stream.read_exact(&mut frame).await?;
    let mut frame = bytes::Bytes::from(frame);
    decode_response_header(ProduceRequest::KEY, PRODUCE_VERSION, &mut frame)?;
    let Response::Produce(answer) = Response::decode(ProduceRequest::KEY, PRODUCE_VERSION, frame)? else {
        return Err("it answers something else".into());
    };
    let partition = answer.responses.first().and_then(|topic| topic.partition_responses.first());
    Ok(partition.ok_or("no answer for the partition")?.error_code)
}

/// Where a program is killed, in the order in which it passes there.
const DEATHS: [&str; 4] = ["written", "offsets", "committing", "committed"];
const RECORDS: usize = 600;
/// What the program is told, and by which variable.
const TASK: &str = "TRANSACTIONS_TEST_TASK";

#[tokio::test]
async fn a_program_that_is_killed_leaves_every_record_once() -> Outcome<()> {
    on_all("kill -9", |servers| async move {
        let site = Site::new(&servers).await?;
        let output = make_topic(&site.client, "output").await?;
        fill(&site, RECORDS).await?;
        let (group, id) = (unique("group"), unique("id"));
        for death in DEATHS.into_iter().chain(["never"]) {
            let task = [site.servers.as_str(), &site.topic, &output, &group, &id, death].join(" ");
            let status = work(task).await?;
            assert_eq!(status.success(), death == "never", "{death}: {status}");
        }
        let read = site.read(&output, IsolationLevel::ReadCommitted).await?;
        let mut numbers: Vec<usize> = Vec::new();
        for words in read.values() {
            let of_partition = words.iter().map(|word| word.parse()).collect::<Result<Vec<usize>, _>>()?;
            assert!(of_partition.is_sorted(), "{of_partition:?}");
            numbers.extend(of_partition);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..RECORDS).collect::<Vec<_>>());
        let written = site.read(&output, IsolationLevel::ReadUncommitted).await?;
        let written: usize = written.values().map(Vec::len).sum();
        assert!(written > RECORDS, "{written} records were written: nothing was written twice, so nothing was tested");
        Ok(())
    })
    .await
}

/// Numbered records, in small batches, so that they are read in many pieces.
async fn fill(site: &Site, count: usize) -> Outcome<()> {
    let producer = site.client.producer(ProducerConfig {
        batch_bytes: 128,
        delivery_timeout: Duration::from_secs(15),
        ..Default::default()
    })?;
    let mut receipts = Vec::new();
    for number in 0..count {
        let (value, partition) = (number.to_string(), Some(number as i32 % PARTITIONS));
        let record = ProducerRecord { partition, ..ProducerRecord::new(&site.topic, value.as_bytes()) };
        receipts.push(producer.enqueue(record).await?);
    }
    for receipt in receipts {
        receipt.await?;
    }
    Ok(producer.close(PATIENCE).await?)
}

/// Runs `the_program` as a process of its own.
async fn work(task: String) -> Outcome<std::process::ExitStatus> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "the_program", "--ignored", "--nocapture"]).env(TASK, task);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(tokio::task::spawn_blocking(move || command.status()).await??)
}

/// Reads, writes what it has read, and commits both as one; kills itself in its second transaction where it was told to.
#[tokio::test]
#[ignore = "a part of `a_program_that_is_killed_leaves_every_record_once`, which starts it as a process"]
async fn the_program() -> Outcome<()> {
    let Ok(task) = std::env::var(TASK) else { return Ok(()) };
    let [servers, input, output, group, id, death] = task.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("what does {task:?} mean").into());
    };
    let site = Site { servers: servers.to_owned(), client: connect(servers).await?, topic: Topic::from(input) };
    let (producer, output) = (site.producer(id), Topic::from(output));
    producer.claim().await?;
    // A static member: it comes back in its own place, and nobody has to wait for its session to end.
    let config = ConsumerConfig {
        instance_id: Some("the program".to_owned()),
        partition_max_bytes: 1,
        ..reading(group, &site.topic, IsolationLevel::ReadCommitted)
    };
    let mut consumer = site.client.consumer(config)?;
    let mut number = 0;
    loop {
        let Ok(delivery) = timeout(Duration::from_secs(3), consumer.next()).await else {
            if is_done(&site, group).await? {
                break;
            }
            continue;
        };
        number += 1;
        let death = if number == 2 { death } else { "never" };
        transform(&consumer, &producer, &output, delivery.ok_or("the consumer has ended")??, death).await?;
    }
    consumer.close(PATIENCE).await?;
    Ok(producer.close(PATIENCE).await?)
}

async fn transform(
    consumer: &Consumer,
    producer: &Producer,
    output: &Topic,
    delivery: Delivery,
    death: &str,
) -> Outcome<()> {
    loop {
        let group = consumer.group_metadata()?;
        if delivery.is_revoked() {
            return Ok(());
        }
        let transaction = producer.begin().await?;
        let partition = Some(delivery.topic_partition.partition);
        for record in delivery.records() {
            let copy = ProducerRecord { partition, ..ProducerRecord::new(output, record.value.unwrap_or_default()) };
            drop(transaction.enqueue(copy).await?);
        }
        producer.flush().await;
        die_if(death == "written");
        transaction.send_offsets(&group, [delivery.position()]).await?;
        die_if(death == "offsets");
        let mut commit = std::pin::pin!(transaction.commit());
        if death == "committing" {
            // On its way, or not even that: nobody can know, and it must not matter.
            let _ = timeout(Duration::ZERO, &mut commit).await;
            tokio::task::yield_now().await;
            die_if(true);
        }
        match commit.await {
            Ok(()) => break,
            Err(error) if error.is_aborted() => continue,
            Err(error) => return Err(error.into()),
        }
    }
    die_if(death == "committed");
    delivery.finish();
    Ok(())
}

/// `kill -9`, and no step further.
fn die_if(now: bool) {
    if now {
        let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
        loop {
            std::thread::park();
        }
    }
}

/// Whether the group has read everything.
async fn is_done(site: &Site, group: &str) -> Outcome<bool> {
    let admin = site.client.admin();
    let partitions: Vec<_> = (0..PARTITIONS).map(|index| TopicPartition::new(site.topic.clone(), index)).collect();
    let ends = admin.list_offsets(OffsetSpec::Latest, &partitions, IsolationLevel::ReadCommitted).await?;
    let mut committed = admin.committed_offsets(&[group.to_owned()]).await?;
    let committed = committed.remove(group).ok_or("no such group")??;
    for (of, end) in ends {
        let end = end?.offset;
        if end != Some(0) && committed.get(&of).and_then(|it| it.offset) != end {
            return Ok(false);
        }
    }
    Ok(true)
}

#[tokio::test]
async fn the_dev_broker_may_die_in_the_midst_of_a_transaction() -> Outcome<()> {
    for transaction_version in [0, 2] {
        let directory = tempfile::tempdir()?;
        let config = Config { data_dir: Some(directory.path().to_owned()), ..dev_broker(transaction_version) };
        let config = Config { brokers: vec![config.brokers[0].clone()], ..config };
        let broker = DevBroker::start(config.clone()).await?;
        let address = broker.address(1).ok_or("it listens")?;
        let site = Site::new(&broker.bootstrap_servers()).await?;
        let (producer, name) = (site.producer(&unique("id")), unique("group"));
        let (group, of) = (GroupMetadata::new(&name), TopicPartition::new(site.topic.clone(), 0));
        let aborted = producer.begin().await?;
        site.write(&aborted, "x y").await?;
        producer.flush().await;
        aborted.abort().await?;
        let transaction = producer.begin().await?;
        site.write(&transaction, "a b c").await?;
        transaction
            .send_offsets(&group, [Position { topic_partition: of.clone(), offset: 5, leader_epoch: None }])
            .await?;
        producer.flush().await;
        // Without a word to anybody, and without what `stop` does.
        drop(broker);
        let config = Config { brokers: vec![BrokerConfig::new(1, address)], ..config };
        let broker = again(&config).await?;
        site.expect(IsolationLevel::ReadCommitted, "").await?;
        site.write(&transaction, "d").await?;
        transaction.commit().await?;
        site.expect(IsolationLevel::ReadCommitted, "a b c d").await?;
        site.expect_committed(&name, &of, 5).await?;
        broker.stop().await?;
    }
    Ok(())
}

/// The port and the directory are free as soon as the first life has let go of them.
async fn again(config: &Config) -> Outcome<DevBroker> {
    let started = async {
        loop {
            match DevBroker::start(config.clone()).await {
                Ok(broker) => return broker,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    Ok(timeout(PATIENCE, started).await?)
}
