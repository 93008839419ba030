//! The lag history in a Redis cluster, whose masters forget the script one by one, give away slots, and are killed: what memory
//! has is there, or is there again.

use std::time::Duration;

use highwater::client::{Client, NewTopic, Producer, ProducerConfig, ProducerRecord, Topic, TopicPartition};
use highwater::devbroker::{self, DevBroker};
use highwater::lag::{Config, Monitor};
use protocol_tests::servers::{self, RedisCluster};
use protocol_tests::{Outcome, connect, make_topics};

/// Enough that each master has some.
const PARTITIONS: usize = 120;
const PATIENCE: Duration = Duration::from_secs(30);

/// A topic, a group that has committed 0 everywhere, and a history of that in the cluster.
struct Site {
    client: Client,
    producer: Producer,
    config: Config,
}

impl Site {
    async fn new(broker: &DevBroker, redis: &RedisCluster) -> Outcome<Self> {
        let client = connect(&broker.bootstrap_servers()).await?;
        make_topics(&client, &[NewTopic::new("t").partitions(i32::try_from(PARTITIONS)?)]).await?;
        let offsets: Vec<_> = partitions().map(|at| (TopicPartition::new("t", at), 0.into())).collect();
        for (_, altered) in client.admin().alter_offsets("g", &offsets).await? {
            altered?;
        }
        let producer = client.producer(ProducerConfig::default())?;
        Ok(Self { client, producer, config: Config { redis: Some(redis.url().into()), ..Config::default() } })
    }

    /// As after a start: what it knows of the past it has from the store.
    fn monitor(&self) -> Monitor {
        Monitor::new(&self.config, &self.client)
    }

    /// Each partition has one record more, so that each key is owed a sample. All is known, whatever becomes of the store; how
    /// many samples are in memory.
    async fn round(&self, monitor: &mut Monitor, is_stored: bool, what: &str) -> Outcome<usize> {
        let topic = Topic::from("t");
        let record = |at| ProducerRecord { partition: Some(at), ..ProducerRecord::new(&topic, b"x") };
        for sent in futures::future::join_all(partitions().map(|at| self.producer.send(record(at)))).await {
            sent?;
        }
        let round = tokio::time::timeout(PATIENCE, monitor.round()).await??;
        assert_eq!((round.row_count(), round.unknown()), (PARTITIONS, 0), "{what}");
        let says_so = round.failures.iter().any(|it| it.contains("kept in memory alone"));
        let said = (round.cost.store_answers, says_so);
        assert_eq!(said, (Some(is_stored), !is_stored), "{what}: {:?}", round.failures);
        Ok(round.cost.history_samples)
    }
}

fn partitions() -> impl Iterator<Item = i32> {
    (0..).take(PARTITIONS)
}

/// How many keys each master has.
fn sizes(redis: &RedisCluster) -> Outcome<Vec<usize>> {
    RedisCluster::NODES.map(|node| -> Outcome<usize> { Ok(redis.ask(node, &["dbsize"]).parse()?) }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_has_what_memory_has_whatever_its_masters_forget() -> Outcome<()> {
    let found = servers::or_skip("the lag history in a Redis cluster", RedisCluster::own());
    let Some(redis) = found else { return Ok(()) };
    let broker = DevBroker::start(devbroker::Config::default()).await?;
    let site = Site::new(&broker, &redis).await?;
    let mut monitor = site.monitor();
    site.round(&mut monitor, true, "the first").await?;
    let at_first = sizes(&redis)?;
    assert!(at_first.iter().sum::<usize>() == PARTITIONS && !at_first.contains(&0), "{at_first:?}");

    for node in RedisCluster::NODES {
        assert_eq!(redis.ask(node, &["script", "flush"]), "OK");
        site.round(&mut monitor, true, "one has forgotten the script").await?;
    }
    redis.move_slots(1, 2, 400);
    let all = sizes(&redis)?;
    assert!(all != at_first && all.iter().sum::<usize>() == PARTITIONS, "{at_first:?} and {all:?}");
    assert_eq!(site.round(&mut monitor, true, "some keys have moved").await?, 5 * PARTITIONS);
    monitor = site.monitor();
    assert_eq!(site.round(&mut monitor, true, "after a start").await?, 6 * PARTITIONS);

    let killed = *RedisCluster::NODES.end();
    redis.kill(killed);
    for what in ["killed", "away"] {
        site.round(&mut monitor, false, what).await?;
    }
    redis.restart(killed);
    assert_eq!(redis.ask(killed, &["dbsize"]), "0", "it keeps nothing");
    assert_eq!(site.round(&mut monitor, true, "back").await?, 9 * PARTITIONS);
    assert_eq!(sizes(&redis)?, all);
    for key in redis.ask(killed, &["keys", "*"]).lines() {
        assert_eq!(redis.ask(killed, &["zcard", key]), "9", "what it had, and what it missed: {key}");
    }
    let samples = site.round(&mut site.monitor(), true, "after another start").await?;
    // The others may have done what nobody heard of, and again by a clock that had moved.
    assert!(samples >= 10 * PARTITIONS, "{samples}");
    site.producer.close(PATIENCE).await?;
    Ok(broker.stop().await?)
}
