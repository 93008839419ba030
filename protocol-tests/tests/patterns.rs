//! Groups whose members subscribe by pattern, over the embedded broker and over real Kafka.

use std::collections::BTreeSet;
use std::time::Duration;

use highwater::client::{
    Client, ClientConfig, Consumer, ConsumerConfig, NewTopic, OffsetReset, ProducerRecord, Topic, TopicPattern,
};
use highwater::devbroker::{Config, DevBroker, GroupConfig, Profile};
use protocol_tests::servers::{KAFKA_39, KAFKA_43, Kafka, Version, or_skip};
use protocol_tests::{Outcome, make_topics, until};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(120);

/// A cluster, and two members of one group.
struct Scene {
    client: Client,
    run: u32,
    members: [Consumer; 2],
}

impl Scene {
    async fn begin(bootstrap: &str) -> Outcome<Self> {
        let config = ClientConfig {
            bootstrap_servers: vec![bootstrap.to_owned()],
            metadata_max_age: Duration::from_millis(200),
            ..Default::default()
        };
        let (client, run) = (Client::connect(config).await?, std::process::id());
        let config = ConsumerConfig {
            group_id: format!("patterns-{run}"),
            patterns: vec![TopicPattern::whole(&format!("patterns-{run}-.*|__consumer_offsets"))?],
            auto_offset_reset: OffsetReset::Earliest,
            heartbeat_interval: Duration::from_millis(100),
            ..Default::default()
        };
        let members = [client.consumer(config.clone())?, client.consumer(config)?];
        Ok(Self { client, run, members })
    }

    /// Waits until both are members, with nothing to read: as in Java, a subscription that is empty for now is none that
    /// a coordinator refuses.
    async fn until_members_of_nothing(&self) -> Outcome<()> {
        let group = format!("patterns-{}", self.run);
        let stable = until("members without topics are let in", LIMIT, async || {
            let mut described = self.client.admin().describe_groups(std::slice::from_ref(&group)).await?;
            let described = described.remove(&group).and_then(Result::ok);
            Ok(described.filter(|it| (it.state.as_str(), it.members.len()) == ("Stable", 2)))
        });
        let stable = stable.await?;
        assert!(stable.members.iter().all(|member| member.assignment.is_empty()), "{stable:?}");
        Ok(())
    }

    fn topic(&self, name: &str) -> Topic {
        Topic::from(format!("patterns-{}-{name}", self.run))
    }

    /// Makes a topic with one record in each of its partitions.
    async fn make(&self, name: &str) -> Outcome<()> {
        let topic = self.topic(name);
        make_topics(&self.client, &[NewTopic::new(topic.clone()).partitions(2)]).await?;
        let producer = self.client.producer(Default::default())?;
        for partition in 0..2 {
            let record = ProducerRecord::new(&topic, name.as_bytes());
            producer.send(ProducerRecord { partition: Some(partition), ..record }).await?;
        }
        Ok(producer.close(LIMIT).await?)
    }

    async fn delete(&self, name: &str) -> Outcome<()> {
        for (_, deleted) in self.client.admin().delete_topics(&[self.topic(name)]).await? {
            deleted?;
        }
        Ok(())
    }

    /// Reads until the members hold just these topics, two partitions of each, and says how many records there were.
    async fn until_held(&mut self, names: &[&str]) -> Outcome<usize> {
        let expect: BTreeSet<Topic> = names.iter().map(|name| self.topic(name)).collect();
        let mut read = 0;
        let held = async {
            loop {
                for member in &mut self.members {
                    while let Ok(Some(delivery)) = timeout(Duration::from_millis(10), member.next()).await {
                        let Ok(delivery) = delivery else { continue };
                        read += delivery.len();
                        delivery.finish();
                    }
                }
                let held: Vec<_> = self.members.iter().flat_map(Consumer::assignment).collect();
                let topics: BTreeSet<Topic> = held.iter().map(|it| it.topic_partition.topic.clone()).collect();
                let all_read = held.iter().all(|it| it.delivered == Some(1));
                if topics == expect && held.len() == 2 * names.len() && all_read {
                    break;
                }
            }
        };
        timeout(LIMIT, held).await.map_err(|_| format!("{expect:?} are not all there is"))?;
        Ok(read)
    }
}

async fn check(bootstrap: &str) -> Outcome<()> {
    let mut scene = Scene::begin(bootstrap).await?;
    scene.until_members_of_nothing().await?;
    let mut read = scene.until_held(&[]).await?;
    for (made, deleted, held) in [
        (Some("a"), None, &["a"][..]),
        (Some("b"), None, &["a", "b"]),
        (None, Some("a"), &["b"]),
        (Some("c"), Some("b"), &["c"]),
    ] {
        if let Some(name) = deleted {
            scene.delete(name).await?;
        }
        if let Some(name) = made {
            scene.make(name).await?;
        }
        read += scene.until_held(held).await?;
    }
    assert_eq!(read, 6, "each record once");
    for mut member in scene.members {
        member.close(LIMIT).await?;
    }
    scene.client.admin().delete_topics(&[Topic::from(format!("patterns-{}-c", scene.run))]).await?;
    Ok(())
}

async fn embedded(profile: Profile) -> Outcome<DevBroker> {
    let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
    Ok(DevBroker::start(Config { groups, profile, ..Config::with_brokers(3) }).await?)
}

#[tokio::test]
async fn over_the_embedded_broker() -> Outcome<()> {
    let broker = embedded(Profile::default()).await?;
    check(&broker.bootstrap_servers()).await?;
    Ok(broker.stop().await?)
}

#[tokio::test]
async fn a_broker_of_old_lets_members_of_nothing_in() -> Outcome<()> {
    let broker = embedded(Profile::Kafka28).await?;
    let scene = Scene::begin(&broker.bootstrap_servers()).await?;
    scene.until_members_of_nothing().await?;
    for mut member in scene.members {
        member.close(LIMIT).await?;
    }
    Ok(broker.stop().await?)
}

async fn over_kafka(version: Version) -> Outcome<()> {
    let test = format!("patterns over Kafka {}", version.number);
    let Some(kafka) = or_skip(&test, Kafka::shared(version)) else { return Ok(()) };
    check(kafka.bootstrap()).await
}

#[tokio::test]
async fn over_kafka_39() -> Outcome<()> {
    over_kafka(KAFKA_39).await
}

#[tokio::test]
async fn over_kafka_43() -> Outcome<()> {
    over_kafka(KAFKA_43).await
}
