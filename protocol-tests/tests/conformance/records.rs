//! Writing and reading records.

use std::time::Duration;

use futures::future::try_join_all;
use highwater::client::{
    Acks, Compression, ErrorCode, IsolationLevel, OffsetSpec, ProducerConfig, ProducerRecord, Topic, TopicPartition,
    partition_for_key,
};
use tokio::time::timeout;

use crate::world::{PARTITIONS, PATIENCE, Scenario, World, scenario, until};
use protocol_tests::{Outcome, unique};

pub const SCENARIOS: &[Scenario] = &[
    scenario!("every codec keeps all that a record holds", every_codec),
    scenario!("acks 0, 1 and all", acknowledgements),
    scenario!("one copy of each record, in order", one_copy_in_order),
    scenario!("keys go where Java's producer puts them", keys_go_where_they_belong),
    scenario!("a record that cannot be written fails alone", failures_are_of_one_record),
    scenario!("a batch beyond the topic's limit is split", batches_are_split),
    scenario!("offsets by time", offsets_by_time),
    scenario!("read_committed sees all of a transaction or nothing", transactions),
    scenario!("a replaced transactional producer is fenced", fencing),
];

type Bytes<'a> = Option<&'a [u8]>;
type Headers<'a> = &'a [(&'a str, Bytes<'a>)];

/// Key, value, headers and timestamp.
type Plain = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, i64);

async fn every_codec(world: World) -> Outcome<()> {
    let topic = world.topic_of("codecs", 1).await?;
    let large = "long ".repeat(2_000);
    let long = large.as_bytes();
    let headers: Headers<'_> = &[("a", Some(b"1")), ("a", None), ("", Some(b""))];
    let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let mut sent: Vec<Plain> = Vec::new();
    for compression in codecs {
        let producer = world.client.producer(ProducerConfig { compression, ..Default::default() })?;
        let cases: [(Bytes<'_>, Bytes<'_>, Headers<'_>); 5] = [
            (None, Some(b"value"), &[]),
            (Some(b"key"), None, headers),
            (Some(b""), Some(b""), &[]),
            (Some(long), Some(long), headers),
            (Some(&[0xff, 0x00]), Some(&[0xfe]), &[]),
        ];
        for (key, value, headers) in cases {
            let timestamp = 1_700_000_000_000 + i64::try_from(sent.len())?;
            let timestamp_ms = Some(timestamp);
            let record = ProducerRecord { topic: &topic, partition: Some(0), key, value, headers, timestamp_ms };
            drop(producer.enqueue(record).await?);
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)));
            sent.push((key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec), headers.collect(), timestamp));
        }
        producer.close(PATIENCE).await?;
    }
    let of = TopicPartition::new(topic, 0);
    let mut reader = world.client.reader(Default::default(), vec![(of, Some(0))])?;
    let mut read: Vec<Plain> = Vec::new();
    while read.len() < sent.len() {
        let delivery = timeout(PATIENCE, reader.next()).await?.ok_or("the reader has ended")??;
        read.extend(delivery.records().map(|record| {
            let headers = record.headers().map(|(name, value)| (crate::world::text(name), value.map(<[u8]>::to_vec)));
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            (key, value, headers.collect(), record.timestamp_ms)
        }));
        delivery.finish();
    }
    assert_eq!(read, sent);
    Ok(reader.close(PATIENCE).await?)
}

async fn acknowledgements(world: World) -> Outcome<()> {
    let topic = world.topic("acks").await?;
    for acks in [Acks::None, Acks::Leader, Acks::All] {
        let config = ProducerConfig { acks, idempotent: acks == Acks::All, ..Default::default() };
        let producer = world.client.producer(config)?;
        let written = producer.send(ProducerRecord::new(&topic, b"value")).await?;
        assert_eq!(written.offset.is_some(), acks != Acks::None, "{acks:?}");
        producer.close(PATIENCE).await?;
    }
    until("three records", async || Ok(count(&world, &topic).await? == 3)).await
}

async fn count(world: &World, topic: &Topic) -> Outcome<usize> {
    let words = world.read(topic, IsolationLevel::ReadUncommitted).await?;
    Ok(words.values().map(Vec::len).sum())
}

async fn one_copy_in_order(world: World) -> Outcome<()> {
    const RECORDS: i32 = 3_000;
    let topic = world.topic("order").await?;
    let config = ProducerConfig { batch_bytes: 2_000, linger: Duration::from_millis(1), ..Default::default() };
    let producer = world.client.producer(config)?;
    let mut receipts = Vec::new();
    for number in 0..RECORDS {
        let text = number.to_string();
        let record = ProducerRecord::new(&topic, text.as_bytes());
        receipts.push(producer.enqueue(ProducerRecord { partition: Some(number % PARTITIONS), ..record }).await?);
    }
    for (number, written) in (0..).zip(try_join_all(receipts).await?) {
        assert_eq!((written.partition, written.offset), (number % PARTITIONS, Some(i64::from(number / PARTITIONS))));
    }
    producer.close(PATIENCE).await?;
    for (partition, words) in world.read(&topic, IsolationLevel::ReadUncommitted).await? {
        let expect = (0..RECORDS).filter(|number| number % PARTITIONS == partition).map(|number| number.to_string());
        assert!(words.iter().eq(&expect.collect::<Vec<_>>()), "partition {partition}");
    }
    Ok(())
}

async fn keys_go_where_they_belong(world: World) -> Outcome<()> {
    let topic = world.topic("keys").await?;
    let producer = world.producer();
    for key in ["", "a", "the same key", "ключ"] {
        let record = ProducerRecord { key: Some(key.as_bytes()), ..ProducerRecord::new(&topic, b"value") };
        let written = producer.send(record).await?;
        assert_eq!(written.partition, partition_for_key(key.as_bytes(), PARTITIONS), "{key:?}");
    }
    Ok(producer.close(PATIENCE).await?)
}

async fn failures_are_of_one_record(world: World) -> Outcome<()> {
    let topic = world.topic("failures").await?;
    // The topic is known before the short time to wait for it counts.
    world.producer().send(ProducerRecord::new(&topic, b"first")).await?;
    let producer = world.client.producer(ProducerConfig { max_block: Duration::from_secs(2), ..Default::default() })?;
    let (large, nowhere) = (vec![b'x'; 200_000], Topic::from(unique("nowhere").as_str()));
    let good = producer.enqueue(ProducerRecord::new(&topic, b"before")).await?;
    let too_large = producer.send(ProducerRecord::new(&topic, &large)).await.err().ok_or("too large, and written")?;
    assert_eq!(too_large.code(), Some(ErrorCode::MESSAGE_TOO_LARGE), "{too_large}");
    assert!(!too_large.is_retriable(), "{too_large}");
    let unknown = producer.send(ProducerRecord::new(&nowhere, b"v")).await.err().ok_or("to nowhere, and written")?;
    assert!(unknown.to_string().contains(&*nowhere), "{unknown}");
    let beyond = ProducerRecord { partition: Some(PARTITIONS), ..ProducerRecord::new(&topic, b"v") };
    let beyond = producer.send(beyond).await.err().ok_or("beyond the last partition, and written")?;
    assert_eq!(beyond.topic_partition, Some(TopicPartition::new(topic.clone(), PARTITIONS)), "{beyond}");
    good.await?;
    producer.send(ProducerRecord::new(&topic, b"after")).await?;
    Ok(producer.close(PATIENCE).await?)
}

async fn batches_are_split(world: World) -> Outcome<()> {
    let topic = world.topic_of("split", 1).await?;
    let producer = world.client.producer(ProducerConfig {
        batch_bytes: 900_000,
        linger: Duration::from_millis(50),
        ..Default::default()
    })?;
    let value = vec![b'x'; 30_000];
    let mut receipts = Vec::new();
    for _ in 0..20 {
        receipts.push(producer.enqueue(ProducerRecord::new(&topic, &value)).await?);
    }
    let offsets: Vec<_> = try_join_all(receipts).await?.into_iter().map(|written| written.offset).collect();
    assert_eq!(offsets, (0..20).map(Some).collect::<Vec<_>>());
    Ok(producer.close(PATIENCE).await?)
}

async fn offsets_by_time(world: World) -> Outcome<()> {
    let topic = world.topic_of("times", 1).await?;
    let producer = world.client.producer(ProducerConfig { linger: Duration::ZERO, ..Default::default() })?;
    for timestamp in [1_000_000, 2_000_000, 3_000_000] {
        producer.send(ProducerRecord { timestamp_ms: Some(timestamp), ..ProducerRecord::new(&topic, b"v") }).await?;
    }
    producer.close(PATIENCE).await?;
    let of = [TopicPartition::new(topic, 0)];
    let cases = [
        (OffsetSpec::Earliest, Some(0)),
        (OffsetSpec::Latest, Some(3)),
        (OffsetSpec::At(0), Some(0)),
        (OffsetSpec::At(1_000_001), Some(1)),
        (OffsetSpec::At(3_000_000), Some(2)),
        (OffsetSpec::At(3_000_001), None),
    ];
    for (spec, expect) in cases {
        let mut listed = world.client.admin().list_offsets(spec, &of, IsolationLevel::ReadUncommitted).await?;
        assert_eq!(listed.remove(&of[0]).ok_or("no answer")??.offset, expect, "{spec:?}");
    }
    Ok(())
}

fn transactional(world: &World, id: &str) -> highwater::client::Producer {
    let transactional_id = Some(id.to_owned());
    world.client.producer(ProducerConfig { transactional_id, ..Default::default() }).expect("a producer")
}

async fn transactions(world: World) -> Outcome<()> {
    let topic = world.topic_of("transactions", 1).await?;
    let of = || vec![(TopicPartition::new(topic.clone(), 0), Some(0))];
    let producer = transactional(&world, &unique("id"));
    for (word, commits) in [("a", true), ("b", false), ("c", true)] {
        let transaction = producer.begin().await?;
        transaction.send(ProducerRecord::new(&topic, word.as_bytes())).await?;
        if commits { transaction.commit().await? } else { transaction.abort().await? }
    }
    let open = producer.begin().await?;
    open.send(ProducerRecord::new(&topic, b"d")).await?;
    let reads = async |isolation_level, expect: &str| {
        let words = world.read_from(of(), isolation_level).await?;
        Ok(words.into_values().flatten().collect::<String>() == expect)
    };
    until("a c", async || reads(IsolationLevel::ReadCommitted, "ac").await).await?;
    until("a b c d", async || reads(IsolationLevel::ReadUncommitted, "abcd").await).await?;
    open.commit().await?;
    until("a c d", async || reads(IsolationLevel::ReadCommitted, "acd").await).await?;
    Ok(producer.close(PATIENCE).await?)
}

async fn fencing(world: World) -> Outcome<()> {
    let (topic, id) = (world.topic("fencing").await?, unique("id"));
    let (zombie, heir) = (transactional(&world, &id), transactional(&world, &id));
    let old = zombie.begin().await?;
    old.send(ProducerRecord::new(&topic, b"old")).await?;
    let new = heir.begin().await?;
    new.send(ProducerRecord::new(&topic, b"new")).await?;
    let error = old.commit().await.err().ok_or("the zombie has committed")?;
    assert!(error.is_fenced(), "{error}");
    new.commit().await?;
    until("only what is new", async || {
        let words = world.read(&topic, IsolationLevel::ReadCommitted).await?;
        Ok(words.into_values().flatten().eq(["new"]))
    })
    .await
}
