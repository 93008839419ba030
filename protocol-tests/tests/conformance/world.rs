//! What a scenario is given: a cluster through one door, names that are its own, and the few verbs that all of them use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use highwater::client::{
    Client, ClientConfig, Consumer, ConsumerConfig, Delivery, IsolationLevel, NewTopic, OffsetReset, Producer,
    ProducerConfig, Topic, TopicPartition,
};
use protocol_tests::servers::Kafka;
use tokio::time::timeout;

use crate::sites::{Door, Open, Site};
use protocol_tests::{Outcome, make_topics, unique};

/// Far beyond what a loaded machine needs for one step, beside all the other scenarios.
pub const PATIENCE: Duration = Duration::from_secs(180);
pub const PARTITIONS: i32 = 3;

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    /// It kills brokers, so it needs several, of our own, and is played alone.
    pub breaks_brokers: bool,
    pub play: fn(World) -> LocalBoxFuture<'static, Outcome<()>>,
}

impl Scenario {
    pub fn applies(&self, site: &Site) -> bool {
        !self.breaks_brokers || site.nodes > 1
    }
}

/// A row: `scenario!("what holds", the_function)`.
macro_rules! scenario {
    ($name:literal, $play:path) => {
        $crate::world::Scenario {
            name: $name,
            breaks_brokers: false,
            play: |world| ::futures::FutureExt::boxed_local($play(world)),
        }
    };
    ($name:literal, $play:path, breaks brokers) => {
        $crate::world::Scenario {
            name: $name,
            breaks_brokers: true,
            play: |world| ::futures::FutureExt::boxed_local($play(world)),
        }
    };
}
pub(crate) use scenario;

/// See the module.
#[derive(Clone)]
pub struct World {
    pub client: Client,
    config: ClientConfig,
    /// What can be killed.
    pub kafka: Option<Arc<Kafka>>,
    pub nodes: usize,
    replication_factor: i16,
    /// Keeps what was opened for it.
    _open: Arc<Open>,
}

/// What was read, by partition, in order.
pub type Words = BTreeMap<i32, Vec<String>>;

impl World {
    pub async fn enter(site: &Site, door: Door) -> Outcome<Self> {
        let open = site.open(door).await?;
        let client = Client::connect(open.config.clone()).await?;
        Ok(Self {
            client,
            config: open.config.clone(),
            kafka: site.kafka(),
            nodes: site.nodes,
            replication_factor: i16::try_from(site.nodes)?,
            _open: Arc::new(open),
        })
    }

    /// A client of its own, as another program would have.
    pub async fn another(&self) -> Outcome<Client> {
        Ok(Client::connect(self.config.clone()).await?)
    }

    /// A topic that takes batches of up to 100,000 bytes, and keeps them.
    pub async fn topic(&self, what: &str) -> Outcome<Topic> {
        self.topic_of(what, PARTITIONS).await
    }

    pub async fn topic_of(&self, what: &str, partitions: i32) -> Outcome<Topic> {
        let name = unique(what);
        let new = NewTopic::new(name.as_str()).partitions(partitions).replication_factor(self.replication_factor);
        // Some scenarios write records that say they are old.
        let new = new.config("max.message.bytes", "100000").config("retention.ms", "-1");
        make_topics(&self.client, &[new]).await?;
        Ok(Topic::from(name))
    }

    /// Any broker may be asked, and not all have heard of what one has.
    pub async fn until_partitions(&self, topic: &Topic, count: i32) -> Outcome<()> {
        until(&format!("{count} partitions"), async || {
            let described = self.client.admin().describe_topics(std::slice::from_ref(topic)).await?.remove(0).1;
            Ok(described.is_ok_and(|it| it.partition_count() == count))
        })
        .await
    }

    pub fn partitions(&self, topic: &Topic) -> Vec<TopicPartition> {
        (0..PARTITIONS).map(|partition| TopicPartition::new(topic.clone(), partition)).collect()
    }

    pub fn producer(&self) -> Producer {
        self.client.producer(ProducerConfig::default()).expect("a producer")
    }

    /// A member that reads from the start and commits what is finished.
    pub fn reading(&self, group: &str, topic: &Topic) -> ConsumerConfig {
        ConsumerConfig {
            group_id: group.to_owned(),
            topics: vec![topic.clone()],
            auto_offset_reset: OffsetReset::Earliest,
            heartbeat_interval: Duration::from_millis(200),
            commit_interval: Duration::from_millis(200),
            fetch_max_wait: Duration::from_millis(100),
            ..Default::default()
        }
    }

    /// All values of a topic, up to its end, read outside of any group.
    pub async fn read(&self, topic: &Topic, isolation_level: IsolationLevel) -> Outcome<Words> {
        let from: Vec<_> = self.partitions(topic).into_iter().map(|of| (of, Some(0))).collect();
        self.read_from(from, isolation_level).await
    }

    /// The same, of some partitions and from some offsets.
    pub async fn read_from(
        &self,
        from: Vec<(TopicPartition, Option<i64>)>,
        isolation_level: IsolationLevel,
    ) -> Outcome<Words> {
        let partitions: Vec<_> = from.iter().map(|(of, _)| of.clone()).collect();
        let mut ends = BTreeMap::new();
        let latest = highwater::client::OffsetSpec::Latest;
        for (of, end) in self.client.admin().list_offsets(latest, &partitions, isolation_level).await? {
            ends.insert(of, end?.offset.unwrap_or_default());
        }
        let config = ConsumerConfig {
            isolation_level,
            auto_offset_reset: OffsetReset::Earliest,
            fetch_max_wait: Duration::from_millis(100),
            ..Default::default()
        };
        let mut words = Words::new();
        let mut reader = self.client.reader(config, from)?;
        let reading = async {
            while reader.assignment().iter().any(|it| it.finished.is_none_or(|at| at < ends[&it.topic_partition])) {
                // What comes last may be the end of a transaction, and nothing is given out for that.
                let Ok(next) = timeout(Duration::from_millis(50), reader.next()).await else { continue };
                take(next.ok_or("the reader has ended")??, &mut words);
            }
            Outcome::Ok(())
        };
        timeout(PATIENCE, reading).await.map_err(|_| format!("{} is not read to its end", partitions[0]))??;
        reader.close(PATIENCE).await?;
        Ok(words)
    }
}

/// Notes what was delivered, and finishes it.
pub fn take(delivery: Delivery, words: &mut Words) {
    let of = words.entry(delivery.topic_partition.partition).or_default();
    of.extend(delivery.records().map(|record| text(record.value.unwrap_or_default())));
    delivery.finish();
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Turns members round, each a little at a time, until it is so.
pub async fn turn<'a>(
    members: impl IntoIterator<Item = &'a mut Consumer>,
    words: &mut Words,
    mut is_so: impl FnMut(&[&'a mut Consumer], &Words) -> bool,
) -> Outcome<()> {
    let mut members: Vec<&mut Consumer> = members.into_iter().collect();
    let turning = async {
        while !is_so(&members, words) {
            for member in &mut members {
                let Ok(next) = timeout(Duration::from_millis(10), member.next()).await else { continue };
                take(next.ok_or("a member has ended")??, words);
            }
        }
        Outcome::Ok(())
    };
    timeout(PATIENCE, turning).await.map_err(|_| "the members do not come to it")?
}

/// Asks until it is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> Outcome<bool>) -> Outcome<()> {
    protocol_tests::until(what, PATIENCE, async || Ok(is_so().await?.then_some(()))).await
}
