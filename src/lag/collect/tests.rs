//! What a sweep reads of the dev broker, and what it makes of answers.

use super::super::nodes::Node;
use super::super::rounds::tests::hear;
use super::*;
use crate::client::{ClientConfig, GroupListing, NewTopic};
use crate::devbroker::{self, DevBroker, Fault, Matching};
use crate::protocol::api::Body;
use crate::protocol::messages::{DescribeConfigsRequest, ListGroupsRequest, OffsetFetchRequest};

const GROUPS: usize = 30;

/// A broker with groups that have committed for a topic.
async fn house() -> (DevBroker, Client) {
    let broker = DevBroker::start(devbroker::Config::with_brokers(3)).await.unwrap();
    let bootstrap_servers = vec![broker.bootstrap_servers()];
    let client = Client::connect(ClientConfig { bootstrap_servers, ..ClientConfig::default() }).await.unwrap();
    client.admin().create_topics(&[NewTopic::new("t").partitions(1)]).await.unwrap();
    for group in 0..GROUPS {
        let offsets = [(TopicPartition::new("t", 0), 0.into())];
        client.admin().alter_offsets(&format!("g-{group}"), &offsets).await.unwrap();
    }
    (broker, client)
}

#[tokio::test]
async fn groups_that_are_taken_over_are_listed_until_all_brokers_have() {
    let (broker, client) = house().await;
    let (rounds, mut node, history) = (Rounds::default(), Node::new("a", 10_000, 1), History::new(9));
    hear(&mut node, &rounds, &["a", "b"], 1);
    let config = Config { list_groups_every: 1_000, ..Config::default() };
    let mut collector = Collector::new(&client, Clock::start(), &config);
    collector.rounds = Some(rounds.clone());
    collector.sweep(&history).await.unwrap();
    assert!(collector.groups.len() < GROUPS && collector.retention_ms.len() == 1, "{collector:?}");

    hear(&mut node, &rounds, &["a"], 2);
    (collector.log_starts, collector.retention_ms) = (HashMap::new(), HashMap::new());
    broker.faults().inject(Matching::api(ListGroupsRequest::KEY).broker(2), 100, Fault::Disconnect);
    let sweep = collector.sweep(&history).await.unwrap();
    assert!(!sweep.failures.is_empty() && collector.groups.len() < GROUPS, "{collector:?}");
    assert_eq!((collector.log_starts.len(), collector.retention_ms.len()), (1, 1), "of what was taken over");
    broker.faults().reset_counts();
    collector.sweep(&history).await.unwrap();
    let asked = [ListGroupsRequest::KEY, DescribeConfigsRequest::KEY].map(|api| broker.faults().count(api) > 0);
    assert_eq!(asked, [true, false], "only what was not answered is asked for again");
    broker.faults().clear();
    collector.sweep(&history).await.unwrap();
    assert_eq!(collector.groups.len(), GROUPS);

    broker.faults().reset_counts();
    collector.sweep(&history).await.unwrap();
    assert_eq!(broker.faults().count(ListGroupsRequest::KEY), 0, "all are listed");
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_told_of_a_group_that_was_deleted_ends_with_the_next_sweep() {
    let ((broker, client), history) = (house().await, History::new(9));
    let config = Config { list_groups_every: 1_000, compat: [Family::Kminion].into(), ..Config::default() };
    let mut collector = Collector::new(&client, Clock::start(), &config);
    collector.sweep(&history).await.unwrap();
    assert_eq!(collector.groups.len(), GROUPS);
    let (policies, dirs) = (&collector.cleanup_policies, collector.log_dirs.as_ref().unwrap());
    assert_eq!((policies.get("t").map(String::as_str), dirs.brokers.len()), (Some("delete"), 3), "{dirs:?}");

    client.admin().delete_groups(&["g-7".to_owned()]).await.unwrap();
    broker.faults().reset_counts();
    let sweep = collector.sweep(&history).await.unwrap();
    let is_told = |group: &str| collector.groups.iter().any(|it| &*it.name == group);
    assert_eq!((sweep.failures.len(), collector.groups.len(), is_told("g-7")), (0, GROUPS - 1, false));
    assert_eq!(broker.faults().count(ListGroupsRequest::KEY), 3);
    // There is nothing to look for any more.
    collector.sweep(&history).await.unwrap();
    assert_eq!(broker.faults().count(ListGroupsRequest::KEY), 3);
    broker.stop().await.unwrap();
}

/// A broker may not list its groups, or not be known yet; what is gone goes all the same.
#[tokio::test]
async fn a_group_that_nobody_lists_is_gone_when_its_coordinator_says_so() {
    let ((broker, client), history) = (house().await, History::new(9));
    let config = Config { list_groups_every: 1, ..Config::default() };
    let mut collector = Collector::new(&client, Clock::start(), &config);
    collector.sweep(&history).await.unwrap();
    let kept_by = |collector: &Collector, broker: BrokerId| {
        let groups = collector.groups.iter().filter(|group| group.coordinator == broker);
        groups.map(|group| group.name.to_string()).collect::<Vec<_>>()
    };
    let [of_silent, of_other] = [2, 3].map(|broker| kept_by(&collector, broker));
    broker.faults().inject(Matching::api(ListGroupsRequest::KEY).broker(2), 1_000, Fault::Disconnect);
    client.admin().delete_groups(&[of_silent[0].clone(), of_other[0].clone()]).await.unwrap();
    collector.sweep(&history).await.unwrap();
    let is_told = |collector: &Collector, group: &str| collector.groups.iter().any(|it| &*it.name == group);
    assert_eq!((collector.groups.len(), collector.listed), (GROUPS - 2, GROUPS - 2), "{collector:?}");
    assert!(is_told(&collector, &of_silent[1]) && !is_told(&collector, &of_silent[0]));

    broker.faults().inject(Matching::api(OffsetFetchRequest::KEY).broker(2), 1_000, Fault::Disconnect);
    let sweep = collector.sweep(&history).await.unwrap();
    collector.drop_groups(&sweep, |_| true);
    assert_eq!(collector.groups.len(), GROUPS - 2, "each has commits, or may have some");

    // One that has never committed anything may only be hidden, until all are listed.
    broker.faults().clear();
    broker.faults().inject(Matching::api(ListGroupsRequest::KEY).broker(2), 1_000, Fault::Disconnect);
    let (group_id, coordinator) = ("idle".to_owned(), 2);
    let idle = GroupListing { group_id, protocol_type: None, state: None, group_type: None, coordinator };
    collector.groups.push(groups::group(idle));
    collector.sweep(&history).await.unwrap();
    assert!(is_told(&collector, "idle"), "{collector:?}");
    broker.faults().clear();
    collector.sweep(&history).await.unwrap();
    assert_eq!((collector.groups.len(), is_told(&collector, "idle")), (GROUPS - 2, false));
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_round_could_not_read_is_as_it_was() {
    let ((broker, client), mut history) = (house().await, History::new(9));
    let admin = client.admin();
    admin.create_topics(&[NewTopic::new("alone").partitions(1)]).await.unwrap();
    let alone = TopicPartition::new("alone", 0);
    admin.alter_offsets("reads-it", &[(alone.clone(), 0.into())]).await.unwrap();
    let config = Config { list_groups_every: 1_000, log_starts_every: 1, stable_offsets_every: 0, ..Config::default() };
    let mut collector = Collector::new(&client, Clock::start(), &config);
    let sweep = collector.sweep(&history).await.unwrap();
    for (partition, sample, lineage) in sweep.samples() {
        history.add(partition, sample, lineage);
    }
    let known = |collector: &Collector| {
        let policies = collector.cleanup_policies.len();
        (collector.log_starts.len(), collector.retention_ms.len(), policies)
    };
    assert_eq!(known(&collector), (2, 2, 2));

    let keeper = collector.groups.iter().find(|group| &*group.name == "reads-it").unwrap().coordinator;
    broker.faults().inject(Matching::api(OffsetFetchRequest::KEY).broker(keeper), 100, Fault::Disconnect);
    broker.faults().inject(Matching::api(DescribeConfigsRequest::KEY), 100, Fault::Disconnect);
    let sweep = collector.sweep(&history).await.unwrap();
    assert!(sweep.unread.contains_key("reads-it") && sweep.partitions.len() == 1, "{sweep:?}");
    collector.read_retention(Some(Retention::OfAll), &sweep.partitions, &history).await;
    assert_eq!(known(&collector), (2, 2, 2), "{collector:?}");

    // Nobody can be its reader any more.
    broker.faults().clear();
    history.keep(|it| *it != alone);
    let mut read = Sweep { partitions: sweep.partitions, ..Sweep::default() };
    collector.read_log_starts(&read.partitions.clone(), &history, &mut read).await;
    collector.read_retention(Some(Retention::OfAll), &read.partitions, &history).await;
    assert_eq!(known(&collector), (1, 1, 1), "{collector:?}");
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_first_round_could_not_ask_does_not_wait_for_its_turn() {
    let ((broker, client), history) = (house().await, History::new(9));
    let config = Config { list_groups_every: 1_000, log_starts_every: 1_000, ..Config::default() };
    let mut collector = Collector::new(&client, Clock::start(), &config);
    broker.faults().inject(Matching::api(ListGroupsRequest::KEY), 100, Fault::Disconnect);
    collector.sweep(&history).await.unwrap_err();
    broker.faults().clear();
    collector.sweep(&history).await.unwrap();
    assert_eq!((collector.log_starts.len(), collector.retention_ms.len()), (1, 1), "{collector:?}");

    let admin = client.admin();
    admin.create_topics(&[NewTopic::new("new").partitions(1)]).await.unwrap();
    admin.alter_offsets("g-7", &[(TopicPartition::new("new", 0), 0.into())]).await.unwrap();
    broker.faults().reset_counts();
    for _ in 0..3 {
        collector.sweep(&history).await.unwrap();
    }
    assert_eq!((collector.retention_ms.len(), broker.faults().count(DescribeConfigsRequest::KEY)), (2, 1));
    broker.stop().await.unwrap();
}

#[test]
fn a_broker_that_has_failed_before_is_silent_all_the_same() {
    let mut sweep = Sweep::default();
    for kind in [ErrorKind::Disconnected("gone".into()), ErrorKind::Timeout(Duration::from_secs(1))] {
        sweep.fails("anything", &Error::new(kind).by(Some(2), None));
    }
    assert_eq!((sweep.failures.len(), sweep.silences.contains_key(&2)), (1, true), "{sweep:?}");
}
