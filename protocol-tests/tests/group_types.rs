//! Groups that only a Kafka that is new enough has, with a member each: a streams group (KIP-1071) and a share group
//! (KIP-932) on Kafka 4.3, described, listed by type and told by the lag monitor, from when somebody joins until they are
//! deleted. What their members say is said here, over a connection of its own, so that it takes no Java to be one.

use std::time::Duration;

use highwater::client::{
    Admin, Client, GroupDescription, GroupFilter, GroupType, NewTopic, ProducerConfig, ProducerRecord, StreamsTask,
    Topic, TopicPartition,
};
use highwater::lag::{Config, Dialect, Filter, Monitor, Series, exposition};
use highwater::protocol::messages::*;
use highwater::protocol::types::Str;
use protocol_tests::script::Script;
use protocol_tests::servers::{self, KAFKA_43, Kafka};
use protocol_tests::{Outcome, connect, make_topics};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(120);
/// A coordinator answers a heartbeat whenever it comes; members need not wait for long between two.
const BETWEEN: Duration = Duration::from_millis(100);

/// A topic of a few records, a group of the same name, and a connection to its coordinator, the only broker there is.
struct Site {
    client: Client,
    admin: Admin,
    name: String,
    script: Script,
}

impl Site {
    async fn new(kafka: &Kafka, what: &str, partitions: i32) -> Outcome<Site> {
        let client = connect(kafka.bootstrap()).await?;
        let (admin, name) = (client.admin(), format!("types-{what}-{}", std::process::id()));
        make_topics(&client, &[NewTopic::new(name.as_str()).partitions(partitions)]).await?;
        let producer = client.producer(ProducerConfig::default())?;
        let topic = Topic::from(name.as_str());
        for partition in 0..partitions {
            for _ in 0..5 {
                let record = ProducerRecord { partition: Some(partition), ..ProducerRecord::new(&topic, b"x") };
                producer.send(record).await?;
            }
        }
        producer.close(PATIENCE).await?;
        let script = Script::begin(kafka.bootstrap(), &name).await?;
        Ok(Site { client, admin, name, script })
    }

    fn name(&self) -> Str {
        Str::from(self.name.as_str())
    }

    fn partitions(&self, numbers: &[i32]) -> Vec<TopicPartition> {
        numbers.iter().map(|number| TopicPartition::new(self.name.as_str(), *number)).collect()
    }

    /// The same whether or not its type is known.
    async fn described(&self, group_type: GroupType) -> Outcome<GroupDescription> {
        let mut tried = self.admin.describe_groups(std::slice::from_ref(&self.name)).await?;
        let mut known = self.admin.describe_groups_as(&[(self.name.clone(), Some(group_type))]).await?;
        let tried = tried.remove(&self.name).ok_or("no description")??;
        assert_eq!(tried, known.remove(&self.name).ok_or("no description")??);
        for other in GroupType::ALL.into_iter().filter(|it| *it != group_type) {
            let mut said = self.admin.describe_groups_as(&[(self.name.clone(), Some(other))]).await?;
            assert!(said.remove(&self.name).is_some_and(|it| it.is_err()), "it is no {other} group");
        }
        Ok(tried)
    }

    async fn is_listed_as(&self, types: &[&str]) -> Outcome<bool> {
        let types = types.iter().map(ToString::to_string).collect();
        let listed = self.admin.list_groups_of(&GroupFilter { types, ..GroupFilter::default() }).await?;
        Ok(listed.groups.iter().any(|it| it.group_id == self.name))
    }

    fn monitor(&self) -> Outcome<(Config, Monitor)> {
        let groups = Filter { allow: vec![self.name.parse()?], ..Filter::default() };
        let config = Config {
            groups,
            members_max: Some(10),
            series: Series::Partition,
            interval_seconds: 60.0,
            ..Config::default()
        };
        let monitor = Monitor::new(&config, &self.client);
        Ok((config, monitor))
    }

    async fn delete(self) -> Outcome<()> {
        for (_, deleted) in self.admin.delete_groups(std::slice::from_ref(&self.name)).await? {
            deleted?;
        }
        let mut gone = self.admin.describe_groups(std::slice::from_ref(&self.name)).await?;
        assert!(gone.remove(&self.name).is_some_and(|it| it.is_err()));
        self.admin.delete_topics(&[self.name.as_str().into()]).await?;
        Ok(())
    }
}

fn page(config: &Config, round: highwater::lag::Round) -> Outcome<String> {
    let now_ms = round.finished_ms;
    let pages = exposition(config, std::sync::Arc::new(round), now_ms, Dialect::Prometheus);
    Ok(String::from_utf8(pages.flatten().collect())?)
}

/// A member of a streams group, as far as its coordinator can tell.
struct Thread {
    epoch: i32,
    active: Vec<StreamsTaskIds>,
}

impl Thread {
    const ID: &str = "a-thread";

    /// Joins with one subtopology that reads the topic.
    async fn join(site: &mut Site) -> Outcome<Thread> {
        let subtopology = StreamsGroupHeartbeatSubtopology {
            subtopology_id: "0".into(),
            source_topics: vec![site.name()],
            ..Default::default()
        };
        let topology = StreamsGroupHeartbeatTopology { epoch: 0, subtopologies: vec![subtopology] };
        let request = StreamsGroupHeartbeatRequest {
            rack_id: Some("a-rack".into()),
            rebalance_timeout_ms: 30_000,
            topology: Some(topology),
            process_id: Some("a-process".into()),
            user_endpoint: Some(StreamsEndpoint { host: "localhost".into(), port: 7 }),
            client_tags: Some(vec![]),
            ..Thread { epoch: 0, active: vec![] }.beat(site)
        };
        let mut thread = Thread { epoch: 0, active: vec![] };
        thread.say(site, request).await?;
        Ok(thread)
    }

    fn beat(&self, site: &Site) -> StreamsGroupHeartbeatRequest {
        StreamsGroupHeartbeatRequest {
            group_id: site.name(),
            member_id: Self::ID.into(),
            member_epoch: self.epoch,
            active_tasks: Some(self.active.clone()),
            standby_tasks: Some(vec![]),
            warmup_tasks: Some(vec![]),
            ..Default::default()
        }
    }

    async fn say(&mut self, site: &mut Site, request: StreamsGroupHeartbeatRequest) -> Outcome<()> {
        let said = site.script.ask(0, request).await?;
        assert_eq!(said.error_code, 0, "{said:?}");
        self.epoch = said.member_epoch;
        self.active = said.active_tasks.unwrap_or_else(|| self.active.clone());
        Ok(())
    }

    /// Lives until it has so many tasks.
    async fn until_it_has(&mut self, site: &mut Site, tasks: usize) -> Outcome<()> {
        while self.active.iter().map(|it| it.partitions.len()).sum::<usize>() != tasks {
            sleep(BETWEEN).await;
            let request = self.beat(site);
            self.say(site, request).await?;
        }
        // What it has been given is its own once it says so.
        let request = self.beat(site);
        self.say(site, request).await
    }

    async fn commit(&self, site: &mut Site, partition: i32, offset: i64) -> Outcome<()> {
        let partition =
            OffsetCommitRequestPartition { partition_index: partition, committed_offset: offset, ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: site.name(),
            generation_id_or_member_epoch: self.epoch,
            member_id: Self::ID.into(),
            topics: vec![OffsetCommitRequestTopic {
                name: site.name(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        let said = site.script.ask(9, request).await?;
        assert_eq!(said.topics[0].partitions[0].error_code, 0, "{said:?}");
        Ok(())
    }

    async fn leave(mut self, site: &mut Site) -> Outcome<()> {
        self.epoch = -1;
        let request = StreamsGroupHeartbeatRequest {
            active_tasks: None,
            standby_tasks: None,
            warmup_tasks: None,
            ..self.beat(site)
        };
        let said = site.script.ask(0, request).await?;
        assert_eq!((said.error_code, said.member_epoch), (0, -1), "{said:?}");
        Ok(())
    }
}

#[tokio::test]
async fn a_streams_group_is_described_and_lags_on_kafka_4_3() -> Outcome<()> {
    let found = servers::or_skip("streams groups", Kafka::shared(KAFKA_43));
    let Some(kafka) = found else { return Ok(()) };
    let mut site = Site::new(&kafka, "streams", 2).await?;
    let mut thread = Thread::join(&mut site).await?;
    let (config, mut monitor) = site.monitor()?;
    timeout(PATIENCE, thread.until_it_has(&mut site, 2)).await??;
    thread.commit(&mut site, 0, 5).await?;
    thread.commit(&mut site, 1, 2).await?;

    let group = site.described(GroupType::Streams).await?;
    assert_eq!((group.state.as_str(), group.protocol_type.as_deref()), ("Stable", Some("streams")), "{group:?}");
    let topology = group.topology.as_ref().ok_or("no topology")?;
    assert_eq!((topology.epoch, topology.subtopologies.len()), (0, 1), "{group:?}");
    assert_eq!(topology.subtopologies[0].sources, [Topic::from(site.name.as_str())]);
    let [member] = &group.members[..] else { return Err(format!("{group:?}").into()) };
    assert_eq!((member.member_id.as_str(), member.client_id.as_str()), (Thread::ID, "script"));
    assert_eq!((member.rack.as_deref(), &*member.assignment), (Some("a-rack"), &*site.partitions(&[0, 1])));
    let standing = member.standing.as_ref().ok_or("no standing")?;
    assert_eq!((standing.epoch, standing.target.as_deref()), (thread.epoch, Some(&*site.partitions(&[0, 1]))));
    assert_eq!(group.epochs.map(|it| (it.group, it.assignment)), Some((thread.epoch, thread.epoch)));
    let streams = member.streams.as_ref().ok_or("no tasks")?;
    let tasks: Vec<String> = streams.tasks.active.iter().map(StreamsTask::to_string).collect();
    assert_eq!((tasks, streams.tasks == streams.target), (vec!["0_0".to_owned(), "0_1".to_owned()], true));
    assert_eq!((streams.process_id.as_str(), streams.endpoint.as_deref()), ("a-process", Some("localhost:7")));
    assert!(site.is_listed_as(&["streams"]).await? && !site.is_listed_as(&["classic", "consumer", "share"]).await?);

    let round = monitor.round().await?;
    assert!(round.failures.is_empty(), "{:?}", round.failures);
    let rows: Vec<_> = round.rows().map(|row| (row.partition(), row.committed(), row.records().ok())).collect();
    assert_eq!(rows, [(0, 5, Some(0)), (1, 2, Some(3))], "{round:?}");
    let text = page(&config, round)?;
    let member = format!(
        r#"{{consumergroup="{0}",member_id="a-thread",client_id="script",host="127.0.0.1",instance_id=""#,
        site.name
    );
    for (name, labels, value) in [
        ("highwater_lag_member_records", "", 3),
        ("highwater_lag_member_partitions", "", 2),
        ("highwater_lag_reader", &*format!(r#",topic="{}",partition="1""#, site.name), 1),
    ] {
        let line = format!("{name}{member}\"{labels}}} {value}");
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    let info = format!(r#"highwater_lag_group_info{{consumergroup="{}",state="Stable",type="streams","#, site.name);
    assert!(text.contains(&info), "{info} is not in\n{text}");

    thread.leave(&mut site).await?;
    let group = site.described(GroupType::Streams).await?;
    assert_eq!((group.state.as_str(), group.members.len()), ("Empty", 0), "{group:?}");
    let round = Monitor::new(&config, &site.client).round().await?;
    assert_eq!(round.rows().filter_map(|row| row.records().ok()).sum::<u64>(), 3, "what it has committed stays");
    site.delete().await
}

#[tokio::test]
async fn a_share_group_is_described_with_what_its_members_read_on_kafka_4_3() -> Outcome<()> {
    let found = servers::or_skip("share groups with a member", Kafka::shared(KAFKA_43));
    let Some(kafka) = found else { return Ok(()) };
    let mut site = Site::new(&kafka, "share", 2).await?;
    let beat = |site: &Site, epoch: i32, topics: bool| ShareGroupHeartbeatRequest {
        group_id: site.name(),
        member_id: "a-reader".into(),
        member_epoch: epoch,
        rack_id: topics.then(|| "a-rack".into()),
        subscribed_topic_names: topics.then(|| vec![site.name()]),
    };
    let mut request = beat(&site, 0, true);
    let epoch = timeout(PATIENCE, async {
        loop {
            let said = site.script.ask(1, request).await?;
            assert_eq!(said.error_code, 0, "{said:?}");
            let assigned = said.assignment.iter().flat_map(|it| &it.topic_partitions).map(|it| it.partitions.len());
            if assigned.sum::<usize>() == 2 {
                return Outcome::Ok(said.member_epoch);
            }
            sleep(BETWEEN).await;
            request = beat(&site, said.member_epoch, true);
        }
    })
    .await??;

    let group = site.described(GroupType::Share).await?;
    assert_eq!((group.state.as_str(), group.assignor.as_deref()), ("Stable", Some("simple")), "{group:?}");
    assert_eq!(group.epochs.map(|it| it.assignment), Some(epoch));
    let [member] = &group.members[..] else { return Err(format!("{group:?}").into()) };
    assert_eq!((member.member_id.as_str(), member.rack.as_deref()), ("a-reader", Some("a-rack")));
    assert_eq!(
        (&*member.subscribed, &*member.assignment),
        (&[Topic::from(site.name.as_str())][..], &*site.partitions(&[0, 1]))
    );
    assert_eq!(member.standing.as_ref().map(|it| (it.epoch, it.target.is_none())), Some((epoch, true)));
    assert!(site.is_listed_as(&["share", "streams"]).await? && !site.is_listed_as(&["streams", "classic"]).await?);
    let (config, mut monitor) = site.monitor()?;
    let round = monitor.round().await?;
    assert!(round.failures.is_empty(), "{:?}", round.failures);
    let text = page(&config, round)?;
    let line = format!(r#"highwater_lag_group_members{{consumergroup="{}"}} 1"#, site.name);
    assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");

    let request = beat(&site, -1, false);
    let said = site.script.ask(1, request).await?;
    assert_eq!(said.error_code, 0, "{said:?}");
    let group = site.described(GroupType::Share).await?;
    assert_eq!((group.state.as_str(), group.members.len()), ("Empty", 0), "{group:?}");
    site.delete().await
}
