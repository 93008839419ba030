//! How many requests go over the wire: what the client asks of many brokers, groups and partitions, counted by three
//! virtual brokers. A question costs requests by broker, never by group or by partition.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use highwater::client::{
    Admin, BrokerId, Client, ClientConfig, Cluster, ErrorCode, IsolationLevel, Lane, NewTopic, OffsetSpec, To, Topic,
    TopicPartition, Topics,
};
use highwater::devbroker::{Config, DevBroker, Fault, Faults, Matching};
use highwater::net;
use highwater::protocol::api::{Api, Body};
use highwater::protocol::messages::*;
use highwater::protocol::types::Str;
use protocol_tests::{Outcome, make_topics};

const BROKERS: i32 = 3;
const PARTITIONS: i32 = 40;
const GROUPS: usize = 60;
const TOPICS: [&str; 3] = ["orders", "payments", "refunds"];
const LIMIT: Duration = Duration::from_secs(30);

/// Three brokers, three topics of forty partitions each, and sixty groups with offsets in all of them.
struct House {
    broker: DevBroker,
    client: Client,
    groups: Vec<String>,
    partitions: Vec<TopicPartition>,
}

impl House {
    async fn build() -> Outcome<Self> {
        let broker = DevBroker::start(Config::with_brokers(BROKERS)).await?;
        let groups: Vec<String> = (0..GROUPS).map(|n| format!("group-{n}")).collect();
        let partition = |topic: &str, n| TopicPartition::new(topic, n);
        let partitions = TOPICS.iter().flat_map(|topic| (0..PARTITIONS).map(move |n| partition(topic, n))).collect();
        let topics = TOPICS.map(|name| NewTopic::new(name).partitions(PARTITIONS));
        // Whoever makes topics looks for them a little later: not while others are counted.
        let maker = Client::connect(config(&broker)).await?;
        make_topics(&maker, &topics).await?;
        maker.close().await;
        commit_everywhere(&broker, &groups).await?;
        let client = Client::connect(config(&broker)).await?;
        Ok(Self { broker, client, groups, partitions })
    }

    /// A client that has heard of nothing yet, and brokers that have counted nothing.
    async fn stranger(&self) -> Outcome<Client> {
        self.broker.faults().reset_counts();
        Ok(Client::connect(config(&self.broker)).await?)
    }

    fn faults(&self) -> &Faults {
        self.broker.faults()
    }

    /// Requests of `R`, by the broker that they came to.
    fn asked<R: Api>(&self) -> BTreeMap<BrokerId, u64> {
        let mut asked = BTreeMap::new();
        for row in self.faults().requests().iter().filter(|row| row.api_key == R::KEY) {
            *asked.entry(row.broker).or_default() += row.count;
        }
        asked
    }

    fn count<R: Api>(&self) -> u64 {
        self.faults().count(R::KEY)
    }
}

fn config(broker: &DevBroker) -> ClientConfig {
    ClientConfig { bootstrap_servers: vec![broker.bootstrap_servers()], ..ClientConfig::default() }
}

fn once_each() -> BTreeMap<BrokerId, u64> {
    (1..=BROKERS).map(|broker| (broker, 1)).collect()
}

/// Every group commits an offset for every partition, as a consumer does that is no member of it.
async fn commit_everywhere(broker: &DevBroker, groups: &[String]) -> Outcome<()> {
    let config = config(broker);
    let dial = net::tcp(None, config.connect_timeout);
    let cluster = Cluster::connect(config, dial).await?;
    let known = cluster.refresh(Topics::Once(TOPICS.map(Topic::from).to_vec())).await?;
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: 7,
        ..OffsetCommitRequestPartition::default()
    };
    let topics = TOPICS.iter().map(|name| OffsetCommitRequestTopic {
        name: Str::from(*name),
        topic_id: known.topic_id(name).unwrap_or_default(),
        partitions: (0..PARTITIONS).map(partition).collect(),
    });
    let topics: Vec<_> = topics.collect();
    for group in groups {
        let request = OffsetCommitRequest {
            group_id: group.as_str().into(),
            topics: topics.clone(),
            ..OffsetCommitRequest::default()
        };
        let answer = cluster.call(To::GroupCoordinator(group), Lane::General, request, LIMIT).await?.body;
        assert!(answer.topics.iter().flat_map(|it| &it.partitions).all(|it| it.error_code == 0), "{answer:?}");
    }
    cluster.close();
    Ok(())
}

/// All that lag is made of: who there is, what they have committed, and where the partitions end.
async fn sweep(admin: &Admin) -> Outcome<(usize, usize, usize)> {
    let listed = admin.list_groups().await?;
    assert!(listed.failures.is_empty(), "{:?}", listed.failures);
    let groups: Vec<String> = listed.groups.into_iter().map(|it| it.group_id).collect();
    let mut offsets = 0;
    let mut partitions: Vec<TopicPartition> = Vec::new();
    for committed in admin.committed_offsets(&groups).await?.into_values() {
        let committed = committed?;
        offsets += committed.values().filter(|it| it.offset == Some(7)).count();
        partitions.extend(committed.into_keys());
    }
    partitions.sort_unstable();
    partitions.dedup();
    let ends = admin.list_offsets(OffsetSpec::Latest, &partitions, IsolationLevel::ReadUncommitted).await?;
    let ends = ends.into_values().collect::<Result<Vec<_>, _>>()?;
    assert!(ends.iter().all(|it| it.offset == Some(0)), "{ends:?}");
    Ok((groups.len(), offsets, ends.len()))
}

#[tokio::test]
async fn a_lag_sweep_asks_each_broker_twice_beyond_discovery() -> Outcome<()> {
    let house = House::build().await?;
    let everything = (GROUPS, GROUPS * house.partitions.len(), house.partitions.len());
    let client = house.stranger().await?;

    assert_eq!(sweep(&client.admin()).await?, everything);
    assert_eq!(house.asked::<OffsetFetchRequest>(), once_each());
    assert_eq!(house.asked::<ListOffsetsRequest>(), once_each());
    // Discovery: who lists a group coordinates it, so nobody is asked for coordinators.
    assert_eq!(house.asked::<ListGroupsRequest>(), once_each());
    assert_eq!(house.count::<FindCoordinatorRequest>(), 0);
    assert!(house.count::<MetadataRequest>() <= 3, "{:?}", house.faults().requests());
    // One handshake a connection: one to each broker, and the one that found the cluster.
    assert!(house.count::<ApiVersionsRequest>() <= BROKERS as u64 + 1, "{:?}", house.faults().requests());

    house.faults().reset_counts();
    assert_eq!(sweep(&client.admin()).await?, everything);
    let lag = house.count::<OffsetFetchRequest>() + house.count::<ListOffsetsRequest>();
    assert_eq!(lag, 2 * BROKERS as u64);
    assert_eq!(house.count::<ApiVersionsRequest>(), 0, "connections are kept");
    assert_eq!(house.count::<MetadataRequest>(), 1, "the second sweep knows the topics");
    Ok(())
}

#[tokio::test]
async fn groups_that_nobody_listed_cost_one_request_more() -> Outcome<()> {
    let house = House::build().await?;
    let client = house.stranger().await?;
    let committed = client.admin().committed_offsets(&house.groups).await?;
    assert_eq!(committed.values().flatten().count(), GROUPS);
    assert_eq!(house.count::<FindCoordinatorRequest>(), 1);
    assert_eq!(house.asked::<OffsetFetchRequest>(), once_each());
    Ok(())
}

/// What `fault` makes of `times` ListOffsets requests, and how many it takes to have every offset none the less.
#[tokio::test]
async fn what_fails_for_a_moment_is_asked_for_again_and_the_rest_is_not() -> Outcome<()> {
    let house = House::build().await?;
    let check = async |name: &str, fault: Fault, most: u64| -> Outcome<()> {
        let client = house.stranger().await?;
        house.faults().inject(Matching::api(ListOffsetsRequest::KEY).broker(2), 1, fault);
        let admin = client.admin();
        let ends = admin.list_offsets(OffsetSpec::Latest, &house.partitions, IsolationLevel::ReadUncommitted).await?;
        assert_eq!(ends.len(), house.partitions.len(), "{name}");
        for (partition, end) in ends {
            assert_eq!(end.map_err(|e| format!("{name}: {partition}: {e}"))?.offset, Some(0), "{name}: {partition}");
        }
        let asked = house.asked::<ListOffsetsRequest>();
        assert_eq!((asked.get(&1), asked.get(&3)), (Some(&1), Some(&1)), "{name}: {asked:?}");
        assert!(asked.get(&2).is_some_and(|count| *count <= most), "{name}: {asked:?}");
        Ok(())
    };
    check("moved", Fault::Error(ErrorCode::NOT_LEADER_OR_FOLLOWER), 2).await?;
    check("electing", Fault::Error(ErrorCode::LEADER_NOT_AVAILABLE), 2).await?;
    check("hung up", Fault::Disconnect, 2).await?;
    check("hung up after", Fault::DisconnectAfter, 2).await?;
    check("cut short", Fault::Truncate(20), 2).await?;
    check("in crumbs", Fault::Split(7), 1).await
}

#[tokio::test]
async fn a_moved_leader_is_found_by_one_look_at_the_cluster() -> Outcome<()> {
    let house = House::build().await?;
    let client = house.stranger().await?;
    let admin = client.admin();
    let moved = TopicPartition::new("orders", 0);
    let of = std::slice::from_ref(&moved);
    admin.list_offsets(OffsetSpec::Latest, &house.partitions, IsolationLevel::ReadUncommitted).await?;
    let described = admin.describe_topics(&["orders".into()]).await?;
    let leader = described.into_iter().find_map(|(_, topic)| topic.ok()?.partition(0)?.leader);
    let next = leader.map_or(1, |leader| leader % BROKERS + 1);

    house.broker.move_leader(&moved, next)?;
    house.faults().reset_counts();
    let ends = admin.list_offsets(OffsetSpec::Latest, of, IsolationLevel::ReadUncommitted).await?;
    assert_eq!(ends.get(&moved).and_then(|end| end.as_ref().ok()).and_then(|end| end.offset), Some(0), "{ends:?}");
    assert_eq!((house.count::<ListOffsetsRequest>(), house.count::<MetadataRequest>()), (2, 1));
    Ok(())
}

#[tokio::test]
async fn a_coordinator_that_is_another_by_now_is_looked_for_once() -> Outcome<()> {
    let house = House::build().await?;
    let admin = house.client.admin();
    admin.list_groups().await?;
    house.faults().reset_counts();
    let not_here = Fault::Error(ErrorCode::NOT_COORDINATOR);
    house.faults().inject(Matching::api(OffsetFetchRequest::KEY).broker(1), 1, not_here);
    let committed = admin.committed_offsets(&house.groups).await?;
    assert_eq!(committed.values().flatten().count(), GROUPS);
    assert_eq!(house.count::<FindCoordinatorRequest>(), 1);
    assert_eq!(house.asked::<OffsetFetchRequest>(), [(1, 2), (2, 1), (3, 1)].into());
    Ok(())
}

#[tokio::test]
async fn what_does_not_exist_is_said_at_once_and_for_itself_alone() -> Outcome<()> {
    let house = House::build().await?;
    let admin = house.client.admin();
    house.faults().reset_counts();
    let mut partitions = house.partitions.clone();
    let (no_topic, no_partition) = (TopicPartition::new("no-topic", 0), TopicPartition::new("orders", PARTITIONS));
    partitions.extend([no_topic.clone(), no_partition.clone()]);
    let ends = admin.list_offsets(OffsetSpec::Earliest, &partitions, IsolationLevel::ReadUncommitted).await?;
    let failed: Vec<_> = house.partitions.iter().filter(|of| !ends.get(of).is_some_and(Result::is_ok)).collect();
    assert!(failed.is_empty(), "{failed:?}");
    for none in [no_topic, no_partition] {
        let error = ends.get(&none).and_then(|end| end.as_ref().err()).map(ToString::to_string);
        assert!(error.as_ref().is_some_and(|it| it.contains(&none.to_string())), "{none}: {error:?}");
    }
    assert_eq!(house.asked::<ListOffsetsRequest>(), once_each());
    let none = "nobody".to_owned();
    let committed = admin.committed_offsets(std::slice::from_ref(&none)).await?;
    assert!(committed.get(&none).and_then(|it| it.as_ref().ok()).is_some_and(HashMap::is_empty), "{committed:?}");
    Ok(())
}

#[tokio::test]
async fn all_who_want_to_know_the_cluster_at_once_share_one_request() -> Outcome<()> {
    let house = House::build().await?;
    let client = house.stranger().await?;
    house.faults().reset_counts();
    house.faults().inject(Matching::api(MetadataRequest::KEY), 1, Fault::Delay(Duration::from_millis(50)));
    let admin = client.admin();
    let described = futures::future::join_all((0..100).map(|_| admin.describe_cluster())).await;
    assert!(described.iter().all(|it| it.as_ref().is_ok_and(|it| it.brokers.len() == BROKERS as usize)));
    // Whoever asks while one is under way waits for the next: what that one says may be older than the question.
    assert!(house.count::<MetadataRequest>() <= 2, "{:?}", house.faults().requests());
    Ok(())
}

#[tokio::test]
async fn a_broker_that_hangs_up_on_listing_is_named_and_the_others_are_heard() -> Outcome<()> {
    let house = House::build().await?;
    let client = house.stranger().await?;
    house.faults().inject(Matching::api(ListGroupsRequest::KEY).broker(2), 1_000, Fault::Disconnect);
    let listed = client.admin().list_groups().await?;
    assert_eq!(listed.failures.len(), 1, "{:?}", listed.failures);
    let failure = listed.failures.first().map(ToString::to_string).unwrap_or_default();
    assert!(failure.starts_with("ListGroups to broker 2 (127.0.0.1:"), "{failure}");
    assert!(!listed.groups.is_empty() && listed.groups.iter().all(|it| it.coordinator != 2));
    Ok(())
}
