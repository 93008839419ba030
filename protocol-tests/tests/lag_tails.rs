//! Readers that have only ends of transactions before them, on the dev broker and on Kafka 3.9 and 4.3: they are caught up,
//! exactly; one more record is one more record; and what it costs to know.

use std::time::{Duration, Instant};

use highwater::client::{
    Admin, Client, ErrorCode, NewTopic, Producer, ProducerConfig, ProducerRecord, Topic, TopicPartition,
};
use highwater::devbroker::{self, DevBroker, Fault, Matching};
use highwater::lag::{Config, Filter, Method, Monitor, Round, Row, Status, json};
use highwater::protocol::api::Body;
use highwater::protocol::messages::{FetchRequest, ListOffsetsRequest, OffsetFetchRequest};
use protocol_tests::servers::{self, KAFKA_39, KAFKA_43, Kafka, Version};
use protocol_tests::{Outcome, connect, make_topics, unique};

const PATIENCE: Duration = Duration::from_secs(30);

/// A topic of one partition, who writes to it in transactions, and groups that are only commits.
struct Site {
    client: Client,
    watching: Client,
    topic: Topic,
    producer: Producer,
}

impl Site {
    async fn new(servers: &str) -> Outcome<Self> {
        let (client, topic) = (connect(servers).await?, Topic::from(unique("lag-tails")));
        make_topics(&client, &[NewTopic::new(topic.clone()).partitions(1)]).await?;
        let transactional_id = Some(topic.to_string());
        let producer = client.producer(ProducerConfig { transactional_id, ..ProducerConfig::default() })?;
        Ok(Self { client, watching: connect(servers).await?, topic, producer })
    }

    fn admin(&self) -> Admin {
        self.client.admin()
    }

    fn group(&self, name: &str) -> String {
        format!("{}-{name}", self.topic)
    }

    async fn commit(&self, name: &str, offset: i64) -> Outcome<()> {
        let to = [(TopicPartition::new(self.topic.clone(), 0), offset.into())];
        for (_, outcome) in self.admin().alter_offsets(&self.group(name), &to).await? {
            outcome?;
        }
        Ok(())
    }

    async fn transaction(&self, records: usize, commits: bool) -> Outcome<()> {
        let transaction = self.producer.begin().await?;
        for _ in 0..records {
            transaction.send(ProducerRecord { partition: Some(0), ..ProducerRecord::new(&self.topic, b"x") }).await?;
        }
        match commits {
            true => transaction.commit().await?,
            false => transaction.abort().await?,
        }
        Ok(())
    }

    async fn plain(&self) -> Outcome<()> {
        let producer = self.client.producer(ProducerConfig::default())?;
        producer.send(ProducerRecord { partition: Some(0), ..ProducerRecord::new(&self.topic, b"x") }).await?;
        Ok(producer.close(PATIENCE).await?)
    }

    fn monitor(&self) -> Outcome<Monitor> {
        let groups = Filter { allow: vec![format!("{}-.*", self.topic).parse()?], ..Filter::default() };
        let read_committed = vec![self.group("committed").parse()?];
        let config = Config {
            groups,
            read_committed,
            list_groups_every: 1,
            log_starts_every: 1_000,
            stable_offsets_every: 0,
            ..Config::default()
        };
        Ok(Monitor::new(&config, &self.watching))
    }

    /// Makes rounds until the group lags by so much.
    async fn until(&self, monitor: &mut Monitor, name: &str, records: u64) -> Outcome<Round> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A broker that does not answer for a moment costs the round; this is not about that.
            let round = monitor.round().await;
            match round {
                Ok(round) if self.row(&round, name).is_ok_and(|row| row.records() == Ok(records)) => return Ok(round),
                other if Instant::now() > deadline => {
                    return Err(format!("{name} does not come to {records}: {other:?}").into());
                }
                _ => {}
            }
        }
    }

    fn row<'a>(&self, round: &'a Round, name: &str) -> Outcome<Row<'a>> {
        let group = self.group(name);
        Ok(round.rows().find(|row| **row.group() == *group).ok_or("no row")?)
    }

    async fn clear(self, names: &[&str]) -> Outcome<()> {
        self.producer.close(PATIENCE).await?;
        let groups: Vec<String> = names.iter().map(|name| self.group(name)).collect();
        self.admin().delete_groups(&groups).await?;
        self.admin().delete_topics(std::slice::from_ref(&self.topic)).await?;
        Ok(())
    }
}

fn is_caught_up(row: &Row<'_>) -> bool {
    let time = row.time().map(|time| (time.method, time.low_ms, time.value_ms, time.high_ms));
    row.records() == Ok(0)
        && time == Some((Method::CaughtUp, 0, Some(0), Some(0)))
        && row.status() == Some(Status::Ok)
        && row.catch_up_seconds() == Some(0.0)
}

async fn ends_of_transactions_are_no_lag(servers: &str) -> Outcome<()> {
    let site = Site::new(servers).await?;
    let mut monitor = site.monitor()?;
    site.transaction(3, true).await?;
    for name in ["a", "committed"] {
        site.commit(name, 3).await?;
    }
    // Kafka writes ends of transactions after it has said that they are decided.
    let mut round = monitor.round().await?;
    while site.row(&round, "a")?.end_offset() != Some(4) {
        round = monitor.round().await?;
    }
    let round = site.until(&mut monitor, "a", 0).await?;
    let row = site.row(&round, "a")?;
    assert!(is_caught_up(&row), "{row:?}");
    assert_eq!((row.offsets(), row.offsets_without_records(), row.records_aborted()), (Ok(1), Some(1), Some(0)));
    let said = json(&round, round.finished_ms);
    let partition = &said["groups"][&site.group("a")]["topics"][site.topic.as_str()]["0"];
    assert_eq!((&partition["lag_records"], &partition["lag_seconds"]["value"]), (&0.into(), &0.0.into()), "{said}");
    assert_eq!(partition["offsets_without_records"], 1, "{said}");
    // Whoever makes one round alone knows it, too.
    let once = site.monitor()?.round().await?;
    assert!(is_caught_up(&site.row(&once, "a")?), "{once:?}");

    site.plain().await?;
    let round = site.until(&mut monitor, "a", 1).await?;
    let time = site.row(&round, "a")?.time().ok_or("no time")?;
    assert!(time.method == Method::Sampled && time.high_ms.is_some(), "only since it is there: {time:?}");
    for name in ["a", "committed"] {
        site.commit(name, 5).await?;
    }
    assert!(is_caught_up(&site.row(&monitor.round().await?, "a")?));

    // An aborted tail: records to who reads everything, none to who is known to read committed records only.
    site.transaction(2, false).await?;
    let round = site.until(&mut monitor, "committed", 0).await?;
    assert!(is_caught_up(&site.row(&round, "committed")?), "{round:?}");
    let row = site.row(&round, "a")?;
    assert_eq!((row.records(), row.offsets(), row.records_aborted()), (Ok(2), Ok(3), Some(2)), "{row:?}");
    site.clear(&["a", "committed"]).await
}

#[tokio::test]
async fn ends_of_transactions_are_no_lag_on_the_dev_broker() -> Outcome<()> {
    let broker = DevBroker::start(devbroker::Config::default()).await?;
    ends_of_transactions_are_no_lag(&broker.bootstrap_servers()).await?;
    Ok(broker.stop().await?)
}

async fn ends_of_transactions_are_no_lag_on(version: Version) -> Outcome<()> {
    let name = format!("ends of transactions are no lag on {}", version.number);
    let Some(kafka) = servers::or_skip(&name, Kafka::shared(version)) else { return Ok(()) };
    ends_of_transactions_are_no_lag(kafka.bootstrap()).await
}

#[tokio::test]
async fn ends_of_transactions_are_no_lag_on_kafka_3_9() -> Outcome<()> {
    ends_of_transactions_are_no_lag_on(KAFKA_39).await
}

#[tokio::test]
async fn ends_of_transactions_are_no_lag_on_kafka_4_3() -> Outcome<()> {
    ends_of_transactions_are_no_lag_on(KAFKA_43).await
}

/// One request when it is looked at first, none while nothing moves, and none where it was refused.
#[tokio::test]
async fn it_is_asked_once() -> Outcome<()> {
    let broker = DevBroker::start(devbroker::Config::default()).await?;
    let site = Site::new(&broker.bootstrap_servers()).await?;
    site.transaction(3, true).await?;
    site.commit("a", 3).await?;
    let asked = |key: i16| {
        let requests = broker.faults().requests();
        requests.iter().filter(|it| it.api_key == key).map(|it| it.count).sum::<u64>()
    };
    let steady = async |monitor: &mut Monitor, records: u64| -> Outcome<()> {
        broker.faults().reset_counts();
        for _ in 0..10 {
            let round = monitor.round().await?;
            assert_eq!((site.row(&round, "a")?.records(), round.failures.len()), (Ok(records), 0), "{round:?}");
        }
        let keys = [FetchRequest::KEY, OffsetFetchRequest::KEY, ListOffsetsRequest::KEY];
        assert_eq!(keys.map(asked), [0, 10, 10]);
        Ok(())
    };
    let mut monitor = site.monitor()?;
    site.until(&mut monitor, "a", 0).await?;
    assert_eq!(asked(FetchRequest::KEY), 1);
    steady(&mut monitor, 0).await?;

    let refused = Fault::Error(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    broker.faults().inject(Matching::api(FetchRequest::KEY), 100, refused);
    let mut monitor = site.monitor()?;
    let round = monitor.round().await?;
    let row = site.row(&round, "a")?;
    assert_eq!((row.records(), row.offsets_without_records()), (Ok(1), None), "to the end, as far as is known");
    assert!(row.time().is_some_and(|time| time.method != Method::CaughtUp), "{row:?}");
    steady(&mut monitor, 1).await?;
    site.clear(&["a"]).await?;
    Ok(broker.stop().await?)
}
