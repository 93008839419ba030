//! A compacted log, on the dev broker and on Kafka 4.3: what is left of it, and that a consumer goes on over the gaps.

use std::time::Duration;

use highwater::client::{Client, ConsumerConfig, NewTopic, OffsetReset, ProducerConfig, ProducerRecord, Topic};
use highwater::devbroker::{Config, DevBroker, GroupConfig};
use protocol_tests::servers::{self, KAFKA_43, Kafka};
use protocol_tests::{Outcome, connect, make_topics, until};
use tokio::time::timeout;

/// Offset, key and value.
type Row = (i64, String, Option<String>);

const LIMIT: Duration = Duration::from_secs(60);
/// Of their times: each is in a segment of its own.
const APART_MS: i64 = 1000;

/// Reads from the start up to the record at `last`, as a group that commits; what it has seen, and what it has committed.
async fn read(servers: &str, topic: &Topic, last: i64) -> Outcome<(Vec<Row>, Option<i64>)> {
    let client = connect(servers).await?;
    let group_id = protocol_tests::unique("compaction-group");
    let config = ConsumerConfig {
        group_id: group_id.clone(),
        topics: vec![topic.clone()],
        auto_offset_reset: OffsetReset::Earliest,
        ..Default::default()
    };
    let (mut consumer, mut rows) = (client.consumer(config)?, Vec::<Row>::new());
    while rows.last().is_none_or(|(offset, ..)| *offset < last) {
        let delivery = timeout(LIMIT, consumer.next()).await?.ok_or("the consumer has ended")??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        rows.extend(
            delivery
                .records()
                .map(|record| (record.offset, record.key.map(text).unwrap_or_default(), record.value.map(text))),
        );
        delivery.finish();
    }
    consumer.close(LIMIT).await?;
    let mut committed = client.admin().committed_offsets(std::slice::from_ref(&group_id)).await?;
    let committed = committed.remove(&group_id).ok_or("no group")??;
    let committed = committed.values().find_map(|it| it.offset);
    client.admin().delete_groups(&[group_id]).await?;
    client.close().await;
    Ok((rows, committed))
}

/// Thirty records of three keys and one of a key that is removed, then one that nobody may touch yet.
async fn fill(client: &Client, topic: &Topic) -> Outcome<()> {
    let producer = client.producer(ProducerConfig { linger: Duration::ZERO, ..Default::default() })?;
    let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64 - 100 * APART_MS;
    let keys = (0..30).map(|n| (format!("k{}", n % 3), Some(n.to_string())));
    let others = [("gone", Some("here")), ("gone", None), ("end", Some("end"))];
    let others = others.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
    for (n, (key, value)) in (0..).zip(keys.chain(others)) {
        let record = ProducerRecord {
            key: Some(key.as_bytes()),
            value: value.as_deref().map(str::as_bytes),
            timestamp_ms: Some(start + n * APART_MS),
            ..ProducerRecord::new(topic, b"")
        };
        producer.send(record).await?;
    }
    Ok(producer.close(LIMIT).await?)
}

async fn of_each_key_the_newest_is_read(servers: &str) -> Outcome<()> {
    let client = connect(servers).await?;
    let topic = Topic::from(protocol_tests::unique("compaction").as_str());
    let new = NewTopic::new(topic.clone()).partitions(1).config("cleanup.policy", "compact");
    let new = new.config("segment.ms", "1").config("min.cleanable.dirty.ratio", "0.0");
    make_topics(&client, &[new]).await?;
    fill(&client, &topic).await?;
    let row = |offset: i64, key: &str, value: Option<&str>| (offset, key.to_owned(), value.map(str::to_owned));
    let want = [
        row(27, "k0", Some("27")),
        row(28, "k1", Some("28")),
        row(29, "k2", Some("29")),
        row(31, "gone", None),
        row(32, "end", Some("end")),
    ];
    let cleaned = until("the log is cleaned", LIMIT, async || {
        let (rows, committed) = read(servers, &topic, 32).await?;
        Ok((rows == want).then_some(committed))
    });
    assert_eq!(cleaned.await?, Some(33));
    client.admin().delete_topics(&[topic]).await?;
    Ok(())
}

#[tokio::test]
async fn of_each_key_the_newest_is_read_on_the_dev_broker() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    for data_dir in [None, Some(directory.path().to_owned())] {
        let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..Default::default() };
        let cleaner_backoff = Duration::from_millis(50);
        let broker = DevBroker::start(Config { data_dir, groups, cleaner_backoff, ..Config::default() }).await?;
        of_each_key_the_newest_is_read(&broker.bootstrap_servers()).await?;
        broker.stop().await?;
    }
    Ok(())
}

#[test]
fn of_each_key_the_newest_is_read_on_kafka_4_3() {
    let _alone = servers::one_at_a_time();
    let own = Kafka::own_with(KAFKA_43, 1, &["log.cleaner.backoff.ms=100"]);
    if let Some(kafka) = servers::or_skip("compaction on Kafka 4.3", own) {
        protocol_tests::finish(async { of_each_key_the_newest_is_read(kafka.bootstrap()).await });
    }
}
