//! Clusters that speak older versions than we do: what a client falls back to does the same work. Played by the embedded
//! broker under the versions of Kafka 2.8 and of Redpanda.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater::client::{
    Client, Consumer, ConsumerConfig, ErrorKind, IsolationLevel, NewOffset, NewTopic, OffsetReset, OffsetSpec,
    ProducerConfig, ProducerRecord, Topic, TopicPartition,
};
use highwater::devbroker::{Config, DevBroker, GroupConfig, Profile};
use highwater::lag::{self, Monitor};
use highwater::protocol::api::Body;
use highwater::protocol::messages::*;
use protocol_tests::{Outcome, connect, make_topics};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);
const PARTITIONS: i32 = 6;
const RECORDS: i32 = 600;
const GROUPS: usize = 20;

struct House {
    broker: DevBroker,
    client: Client,
    topic: Topic,
}

impl House {
    async fn build(profile: Profile) -> Outcome<Self> {
        let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
        let broker = DevBroker::start(Config { profile, groups, ..Config::with_brokers(3) }).await?;
        let (client, topic) = (connect(&broker.bootstrap_servers()).await?, Topic::from("t"));
        make_topics(&client, &[NewTopic::new(topic.clone()).partitions(PARTITIONS)]).await?;
        Ok(Self { broker, client, topic })
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        (0..PARTITIONS).map(|partition| TopicPartition::new(self.topic.clone(), partition)).collect()
    }

    /// A hundred to each partition.
    async fn produce(&self) -> Outcome<()> {
        let producer = self.client.producer(ProducerConfig::default())?;
        for number in 0..RECORDS {
            let value = number.to_string();
            let record = ProducerRecord::new(&self.topic, value.as_bytes());
            drop(producer.enqueue(ProducerRecord { partition: Some(number % PARTITIONS), ..record }).await?);
        }
        Ok(producer.close(LIMIT).await?)
    }

    /// Two members read everything once, commit it and leave.
    async fn consume_in_a_group(&self) -> Outcome<()> {
        let config = ConsumerConfig {
            group_id: "readers".to_owned(),
            topics: vec![self.topic.clone()],
            auto_offset_reset: OffsetReset::Earliest,
            heartbeat_interval: Duration::from_millis(50),
            ..Default::default()
        };
        let mut members = [self.client.consumer(config.clone())?, self.client.consumer(config)?];
        let mut read: BTreeMap<String, usize> = BTreeMap::new();
        let reading = async {
            let shared = |members: &[Consumer; 2]| members.iter().all(|member| member.assignment().len() == 3);
            while read.len() < RECORDS as usize || !shared(&members) {
                for member in &mut members {
                    let Ok(Some(delivery)) = timeout(Duration::from_millis(10), member.next()).await else { continue };
                    let delivery = delivery?;
                    for record in delivery.records() {
                        *read.entry(String::from_utf8_lossy(record.value.unwrap_or_default()).into()).or_default() += 1;
                    }
                    delivery.finish();
                }
            }
            Outcome::Ok(())
        };
        timeout(LIMIT, reading).await??;
        assert!(read.values().all(|times| *times == 1), "cooperative members keep what they have");
        for mut member in members {
            member.close(LIMIT).await?;
        }
        Ok(())
    }

    /// What a transaction has written is read once it is committed.
    async fn transact(&self) -> Outcome<()> {
        let transactional_id = Some("writer".to_owned());
        let producer = self.client.producer(ProducerConfig { transactional_id, ..Default::default() })?;
        for commits in [true, false] {
            let transaction = producer.begin().await?;
            let record = ProducerRecord::new(&self.topic, b"in a transaction");
            transaction.send(ProducerRecord { partition: Some(0), ..record }).await?;
            match commits {
                true => transaction.commit().await?,
                false => transaction.abort().await?,
            }
        }
        Ok(producer.close(LIMIT).await?)
    }

    /// The monitor knows everything that it knows of a newer cluster, from its first round on.
    async fn lag(&self) -> Outcome<()> {
        let mut monitor = Monitor::new(&lag::Config::default(), &self.client);
        for _ in 0..2 {
            let round = monitor.round().await?;
            assert_eq!(round.row_count(), (GROUPS + 1) * PARTITIONS as usize, "{:?}", round.failures);
            assert!(round.failures.is_empty() && round.unread.is_empty(), "{:?}", round.failures);
            let behind: Vec<_> = round.rows().filter(|row| row.group().starts_with("group-")).collect();
            for row in &behind {
                assert!(row.records().is_ok_and(|lag| lag >= 93), "{row:?}");
                assert!(row.time().is_some_and(|time| time.high_ms.is_some()), "{row:?}");
            }
            assert_eq!(behind.len(), GROUPS * PARTITIONS as usize);
        }
        Ok(())
    }

    /// All that lag is made of, and that nothing of it is missing.
    async fn sweep(&self) -> Outcome<()> {
        let (admin, all) = (self.client.admin(), self.partitions());
        let new: Vec<_> = all.iter().map(|of| (of.clone(), NewOffset::from(7))).collect();
        for number in 0..GROUPS {
            for (_, altered) in admin.alter_offsets(&format!("group-{number}"), &new).await? {
                altered?;
            }
        }
        let listed = admin.list_groups().await?;
        assert!(listed.failures.is_empty(), "{:?}", listed.failures);
        let groups: BTreeSet<String> = listed.groups.into_iter().map(|it| it.group_id).collect();
        assert_eq!(groups.len(), GROUPS + 1);
        let groups: Vec<String> = groups.into_iter().collect();
        for (group, committed) in admin.committed_offsets(&groups).await? {
            let expect = if group == "readers" { i64::from(RECORDS / PARTITIONS) } else { 7 };
            let offsets: Vec<_> = committed?.into_values().map(|it| it.offset).collect();
            assert_eq!(offsets, vec![Some(expect); PARTITIONS as usize], "{group}");
        }
        // Two transactions, each with a record and a marker, went to the first partition.
        for (spec, expect) in [(OffsetSpec::Earliest, 0), (OffsetSpec::Latest, 604), (OffsetSpec::At(0), 0)] {
            let listed = admin.list_offsets(spec, &all, IsolationLevel::ReadUncommitted).await?;
            let offsets = listed.into_values().map(|it| Ok(it?.offset.ok_or("none")?));
            assert_eq!(offsets.sum::<Outcome<i64>>()?, expect, "{spec:?}");
        }
        Ok(())
    }

    /// The last record by time is asked for from ListOffsets 7 on only; what is not offered is an error of its own.
    async fn what_is_not_offered_is_said(&self) -> Outcome<()> {
        let level = IsolationLevel::ReadUncommitted;
        let listed = self.client.admin().list_offsets(OffsetSpec::MaxTimestamp, &self.partitions(), level).await?;
        let unsupported = |error: &highwater::client::Error| matches!(error.kind, ErrorKind::Unsupported);
        assert!(listed.values().all(|it| it.as_ref().is_err_and(unsupported)), "{listed:?}");
        Ok(())
    }
}

async fn check(profile: Profile) -> Outcome<()> {
    let house = House::build(profile).await?;
    house.produce().await?;
    house.consume_in_a_group().await?;
    house.transact().await?;
    house.sweep().await?;
    house.lag().await?;
    if profile.highest(ListOffsetsRequest::KEY) < Some(7) {
        house.what_is_not_offered_is_said().await?;
    }
    let spoken = house.broker.faults().requests();
    for row in &spoken {
        // Later versions of this one are for brokers.
        let most = if row.api_key == AddPartitionsToTxnRequest::KEY { 3 } else { i16::MAX };
        assert_eq!(Some(row.version), profile.highest(row.api_key).map(|it| it.min(most)), "{profile:?} {row:?}");
    }
    for key in [
        ProduceRequest::KEY,
        FetchRequest::KEY,
        ListOffsetsRequest::KEY,
        OffsetFetchRequest::KEY,
        FindCoordinatorRequest::KEY,
        JoinGroupRequest::KEY,
        AddPartitionsToTxnRequest::KEY,
    ] {
        assert!(spoken.iter().any(|row| row.api_key == key), "{profile:?} {key}");
    }
    house.client.close().await;
    Ok(house.broker.stop().await?)
}

#[tokio::test]
async fn kafka_3_9() -> Outcome<()> {
    check(Profile::Kafka39).await
}

#[tokio::test]
async fn kafka_2_8() -> Outcome<()> {
    check(Profile::Kafka28).await
}

#[tokio::test]
async fn redpanda_24() -> Outcome<()> {
    check(Profile::Redpanda24).await
}

#[tokio::test]
async fn redpanda_25() -> Outcome<()> {
    check(Profile::Redpanda25).await
}
