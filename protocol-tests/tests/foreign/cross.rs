//! What one client writes all others read: records of every kind with every codec, and three transactions of which one was
//! aborted. The same is in foreign/java/Cross.java, foreign/python/cross.py and foreign/go/cross.go.

use std::time::Duration;

use highwater::client::{
    Client, Compression, ConsumerConfig, IsolationLevel, NewTopic, ProducerConfig, ProducerRecord, Topic,
    TopicPartition,
};
use protocol_tests::servers::{Missing, tell};
use protocol_tests::{Outcome, connect, finish, make_topics, unique};
use tokio::time::timeout;

const OURS: &str = "highwater";
const OTHERS: [&str; 4] = ["librdkafka", "kafka-python", "aiokafka", "java"];
const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];
const COUNT: i64 = 100;
const FIRST_TIMESTAMP_MS: i64 = 1_700_000_000_000;
/// Far beyond what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Everybody writes, then everybody reads what everybody wrote.
pub fn play(bootstrap: &str, with_franz_go: bool) -> Result<(), Missing> {
    let prefix = unique("cross");
    let mut writers = OTHERS.to_vec();
    writers.extend(with_franz_go.then_some("franz-go"));
    writers.push(OURS);
    let all = writers.join(",");
    let suites = |verb: &str| {
        let mut suites = vec![format!("{verb}:{prefix}:{all}")];
        suites.extend(with_franz_go.then(|| match verb {
            "read" => format!("franz-go:read:{prefix}:{all}"),
            _ => format!("franz-go:write:{prefix}"),
        }));
        suites
    };
    finish(write(bootstrap, &prefix, &writers));
    super::play(bootstrap, &suites("write"))?;
    super::play(bootstrap, &suites("read"))?;
    finish(read(bootstrap, &prefix, &writers));
    Ok(())
}

/// A record as it is compared: its offset is told by its place.
#[derive(Debug, PartialEq)]
struct Plain {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp_ms: i64,
}

impl Plain {
    /// The `n`th that a writer sends with a codec. kafka-python cannot send a header without a value.
    fn new(writer: &str, codec: &str, n: i64) -> Self {
        let text = |text: String| Some(text.into_bytes());
        let mut headers = vec![("n".into(), text(n.to_string())), ("n".into(), text("again".into()))];
        if writer != "kafka-python" {
            headers.push(("null".into(), None));
        }
        let times = usize::try_from(n).unwrap_or_default();
        Self {
            key: (n % 5 != 0).then(|| format!("key-{n}").into_bytes()),
            value: (n % 5 != 1).then(|| format!("{n} {writer} {codec} ").repeat(times).into_bytes()),
            headers,
            timestamp_ms: FIRST_TIMESTAMP_MS + n,
        }
    }
}

/// Makes all topics, and writes what is ours.
async fn write(bootstrap: &str, prefix: &str, writers: &[&str]) -> Outcome<()> {
    let client = connect(bootstrap).await?;
    let new: Vec<_> = topics(prefix, writers).iter().map(|name| NewTopic::new(&**name).partitions(1)).collect();
    make_topics(&client, &new).await?;
    for (codec, compression) in CODECS {
        let topic = Topic::from(format!("{prefix}-{OURS}-{codec}"));
        let producer = client.producer(ProducerConfig { compression, ..Default::default() })?;
        for n in 0..COUNT {
            let plain = Plain::new(OURS, codec, n);
            let headers: Vec<_> = plain.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            let record = ProducerRecord {
                topic: &topic,
                partition: Some(0),
                key: plain.key.as_deref(),
                value: plain.value.as_deref(),
                headers: &headers,
                timestamp_ms: Some(plain.timestamp_ms),
            };
            drop(producer.enqueue(record).await?);
        }
        producer.close(PATIENCE).await?;
    }
    transact(&client, &Topic::from(format!("{prefix}-{OURS}-transactions"))).await?;
    client.close().await;
    Ok(())
}

/// The topics of all writers.
fn topics(prefix: &str, writers: &[&str]) -> Vec<Topic> {
    let kinds = CODECS.iter().map(|(codec, _)| *codec).chain(["transactions"]);
    let names = kinds.flat_map(|kind| writers.iter().map(move |writer| format!("{prefix}-{writer}-{kind}")));
    names.map(|name| Topic::from(name.as_str())).collect()
}

async fn transact(client: &Client, topic: &Topic) -> Outcome<()> {
    let transactional_id = Some(topic.to_string());
    let producer = client.producer(ProducerConfig { transactional_id, ..Default::default() })?;
    for (first, is_committed) in [(0, true), (10, false), (20, true)] {
        let transaction = producer.begin().await?;
        for n in first..first + 10 {
            let text = n.to_string();
            let record = ProducerRecord { partition: Some(0), ..ProducerRecord::new(topic, text.as_bytes()) };
            transaction.send(record).await?;
        }
        if is_committed { transaction.commit().await? } else { transaction.abort().await? }
    }
    Ok(producer.close(PATIENCE).await?)
}

async fn read(bootstrap: &str, prefix: &str, writers: &[&str]) -> Outcome<()> {
    let client = connect(bootstrap).await?;
    for writer in writers {
        for (codec, _) in CODECS {
            let topic = format!("{prefix}-{writer}-{codec}");
            let read = first_of(&client, &topic, IsolationLevel::ReadUncommitted, COUNT).await?;
            for (n, (offset, plain)) in (0..).zip(read) {
                assert_eq!((offset, plain), (n, Plain::new(writer, codec, n)), "{topic}");
            }
        }
        let topic = format!("{prefix}-{writer}-transactions");
        let read = first_of(&client, &topic, IsolationLevel::ReadCommitted, 20).await?;
        let read: Vec<_> = read.into_iter().map(|(offset, plain)| (offset, plain.value)).collect();
        // Ten records and a marker a transaction, the second of which was aborted.
        let committed = (0..10).map(|n| (n, n)).chain((20..30).map(|n| (n + 2, n)));
        let committed: Vec<_> = committed.map(|(offset, n)| (offset, Some(n.to_string().into_bytes()))).collect();
        assert_eq!(read, committed, "{topic}");
        tell(&format!("ok   {OURS} reads_what_{writer}_writes"));
    }
    client.admin().delete_topics(&topics(prefix, writers)).await?;
    client.close().await;
    Ok(())
}

/// The first records of a topic of one partition.
async fn first_of(
    client: &Client,
    topic: &str,
    isolation_level: IsolationLevel,
    count: i64,
) -> Outcome<Vec<(i64, Plain)>> {
    let config = ConsumerConfig { isolation_level, ..Default::default() };
    let mut reader = client.reader(config, vec![(TopicPartition::new(Topic::from(topic), 0), Some(0))])?;
    let mut read = Vec::new();
    while i64::try_from(read.len())? < count {
        let next = timeout(PATIENCE, reader.next()).await.map_err(|_| format!("{topic}: only {} read", read.len()))?;
        let delivery = next.ok_or("the reader has ended")??;
        read.extend(delivery.records().map(|record| {
            let headers = record.headers();
            let headers = headers
                .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec)))
                .collect();
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            (record.offset, Plain { key, value, headers, timestamp_ms: record.timestamp_ms })
        }));
        delivery.finish();
    }
    reader.close(PATIENCE).await?;
    Ok(read)
}
