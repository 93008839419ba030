//! Three monitors that share the groups of a cluster, as processes with a real Redis, or in a group of a real Kafka: one is
//! killed, one stands still for longer than its lease, one ends in order. No group is told by two of them, and each is told
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use highwater::client::{Error, NewTopic, TopicPartition};
use highwater::devbroker::{self, DevBroker};
use protocol_tests::program::{Program, Running, binary};
use protocol_tests::servers::{KAFKA_43, Kafka, Missing, RedisCluster};
use protocol_tests::{Outcome, connect, http, make_topics, servers, unique, wait_until};

const GROUPS: usize = 40;
const LEASE: &str = "3s";
/// The shortest that a broker takes by default.
const CIRCLE_LEASE: Duration = Duration::from_secs(10);
/// A lease, a round of reading, and what a machine that is full takes longer.
const CIRCLE_HANDOVER: Duration = Duration::from_secs(10 + 1 + 9);
/// Far beyond a lease.
const WITHIN: Duration = Duration::from_secs(40);

/// A broker with groups that lag, which lives as long as its runtime.
fn cluster(runtime: &tokio::runtime::Runtime) -> Outcome<DevBroker> {
    runtime.block_on(async {
        let broker = DevBroker::start(devbroker::Config::with_brokers(3)).await?;
        groups_that_lag(&broker.bootstrap_servers(), "group").await?;
        Ok(broker)
    })
}

async fn groups_that_lag(bootstrap: &str, prefix: &str) -> Result<(), Error> {
    let client = connect(bootstrap).await?;
    let topic = format!("{prefix}-topic");
    make_topics(&client, &[NewTopic::new(&*topic).partitions(2)]).await?;
    let offsets = [(TopicPartition::new(&*topic, 0), 0.into()), (TopicPartition::new(&*topic, 1), 0.into())];
    for group in 0..GROUPS {
        let altered = client.admin().alter_offsets(&format!("{prefix}-{group}"), &offsets).await?;
        altered.into_iter().map(|(_, outcome)| outcome).collect::<Result<Vec<_>, Error>>()?;
    }
    client.close().await;
    Ok(())
}

/// A monitor, and where it is asked.
struct Node {
    name: String,
    program: Program,
    address: String,
}

impl Node {
    /// By way of a Redis.
    fn start(name: &str, directory: &Path, bootstrap: &str, redis: &str, prefix: &str) -> Node {
        let config = directory.join("lag.toml");
        std::fs::write(&config, format!("[lag]\nredis_prefix = '{prefix}'\n")).expect("a file");
        let config = config.to_string_lossy().into_owned();
        Self::start_with(name, directory, bootstrap, &["--lease", LEASE, "--redis", redis, "--config", &config])
    }

    fn start_with(name: &str, directory: &Path, bootstrap: &str, what: &[&str]) -> Node {
        Self::start_at("127.0.0.1:0", name, directory, bootstrap, what)
    }

    fn start_at(listen: &str, name: &str, directory: &Path, bootstrap: &str, what: &[&str]) -> Node {
        let home = directory.join(name);
        std::fs::create_dir(&home).expect("a directory");
        let what = [what, &["--node-id", name]].concat();
        let how = ["-b", bootstrap, "--listen", listen, "--interval", "1s", "--series", "group"];
        let mut program = Program::start(&home, &[&["lag"], &what[..], &how[..]].concat());
        let address = program.address(WITHIN);
        Node { name: name.to_owned(), program, address }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.program.id().to_string()]).status();
        assert!(sent.as_ref().is_ok_and(std::process::ExitStatus::success), "kill {signal}: {sent:?}");
    }

    /// Returns when it stands still: while one of its threads has yet to hear of the signal, the others go on.
    fn stop(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.program.id());
        let stands = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        wait_until("it stands still", WITHIN, || {
            let Ok(tasks) = std::fs::read_dir(&tasks) else { return Some(()) };
            tasks.flatten().all(stands).then_some(())
        });
    }

    /// A request that may be answered later.
    fn ask(&self) -> TcpStream {
        http::ask(&self.address, "/metrics").expect("a connection")
    }

    fn metrics(&self) -> String {
        answer(self.ask())
    }
}

fn answer(stream: TcpStream) -> String {
    let (status, text) = http::answer(stream).expect("an answer");
    assert_eq!(status, 200, "{text}");
    text
}

fn told(metrics: &str) -> BTreeSet<String> {
    let rows = metrics.lines().filter_map(|line| line.strip_prefix("highwater_lag_group_records{consumergroup=\""));
    rows.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

fn value(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Who tells each group. One that passes from one node to the other between two answers can be in both, once; one that is
/// in both again is told by two.
fn look(nodes: &[&Node]) -> BTreeMap<String, String> {
    let once = || {
        let (mut by, mut twice) = (BTreeMap::new(), BTreeSet::new());
        for node in nodes {
            for group in told(&node.metrics()) {
                if by.insert(group.clone(), node.name.clone()).is_some() {
                    twice.insert(group);
                }
            }
        }
        (by, twice)
    };
    let (by, twice) = once();
    if !twice.is_empty() {
        let (_, again) = once();
        assert!(twice.is_disjoint(&again), "told by two nodes: {twice:?} and then {again:?}");
    }
    by
}

/// Waits until these nodes, and all of them, tell all groups; says how long that took.
fn share_all(what: &str, nodes: &mut [&mut Node]) -> Duration {
    let began = Instant::now();
    wait_until(what, WITHIN, || {
        nodes.iter_mut().for_each(|node| node.program.check_running());
        let nodes: Vec<&Node> = nodes.iter().map(|node| &**node).collect();
        let by = look(&nodes);
        let tellers: BTreeSet<_> = by.values().collect();
        (by.len() == GROUPS && tellers.len() == nodes.len()).then_some(())
    });
    eprintln!("{what}: after {:?}", began.elapsed());
    began.elapsed()
}

#[test]
fn no_group_is_told_by_two_nodes_whatever_becomes_of_them() {
    nodes_come_and_go("several lag monitors", servers::redis());
}

#[test]
fn nor_where_the_redis_is_a_cluster() {
    nodes_come_and_go("several lag monitors by way of a Redis cluster", servers::redis_cluster());
}

fn nodes_come_and_go(what: &str, redis: Result<String, Missing>) {
    let Some(redis) = servers::or_skip(what, redis) else { return };
    let _alone = servers::one_at_a_time();
    binary();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let broker = cluster(&runtime).expect("a cluster");
    let directory = tempfile::tempdir().expect("a directory");
    let (bootstrap, prefix) = (broker.bootstrap_servers(), unique("test-nodes"));
    let [mut a, mut b, mut c] =
        ["a", "b", "c"].map(|name| Node::start(name, directory.path(), &bootstrap, &redis, &prefix));
    share_all("three nodes tell all groups", &mut [&mut a, &mut b, &mut c]);
    wait_until("a node says how many there are", WITHIN, || {
        let metrics = c.metrics();
        let published = ["nodes", "lease_held", "groups_listed"];
        let published = published.map(|name| value(&metrics, &format!("highwater_lag_{name}")));
        (published == [Some(3.0), Some(1.0), Some(GROUPS as f64)]).then_some(())
    });

    drop(b);
    share_all("two tell those of a node that was killed", &mut [&mut a, &mut c]);
    let handover = value(&c.metrics(), "highwater_lag_handover_seconds").expect("a handover");
    assert!(handover > 0.0, "{handover}");
    eprintln!("published gap: {handover} s");

    a.stop();
    let asked_while_it_stood = a.ask();
    share_all("one tells those of a node that stands still", &mut [&mut c]);
    a.signal("-CONT");
    let late = answer(asked_while_it_stood);
    assert_eq!((told(&late).len(), value(&late, "highwater_lag_lease_held")), (0, Some(0.0)), "{late}");
    share_all("both tell their own again", &mut [&mut a, &mut c]);

    assert!(c.program.terminate(WITHIN).success(), "{}", c.program.log());
    share_all("one tells those of a node that ended", &mut [&mut a]);
    drop(a);
    runtime.block_on(broker.stop()).expect("the broker ends");
}

/// The registry is in one of the cluster's slots, and nobody has a copy.
#[test]
fn nor_while_the_cluster_is_without_the_master_of_the_registry() {
    let found = servers::or_skip("lag monitors whose Redis cluster loses a master", RedisCluster::own());
    let Some(redis) = found else { return };
    let _alone = servers::one_at_a_time();
    binary();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let broker = cluster(&runtime).expect("a cluster");
    let directory = tempfile::tempdir().expect("a directory");
    let start = |name| Node::start(name, directory.path(), &broker.bootstrap_servers(), redis.url(), "test");
    let [mut a, mut b] = ["a", "b"].map(start);
    share_all("two nodes tell all groups", &mut [&mut a, &mut b]);

    let has_registry = |node: &usize| redis.ask(*node, &["keys", "*:lag:nodes"]).ends_with(":lag:nodes");
    let masters: Vec<usize> = RedisCluster::NODES.filter(has_registry).collect();
    let [master] = masters[..] else { panic!("in one slot: {masters:?}") };
    redis.kill(master);
    wait_until("without it nobody tells anything", WITHIN, || look(&[&a, &b]).is_empty().then_some(()));
    redis.restart(master);
    share_all("both tell all groups by way of an empty registry", &mut [&mut a, &mut b]);
    drop(b);
    share_all("one tells those of a node that was killed since", &mut [&mut a]);
    drop(a);
    runtime.block_on(broker.stop()).expect("the broker ends");
}

/// Behind one address for both, a question may come to either.
#[test]
fn a_group_of_another_node_is_asked_for_there() {
    let Some(kafka) = servers::or_skip("lag monitors behind one address", Kafka::shared(KAFKA_43)) else { return };
    binary();
    let prefix = unique("test-elsewhere");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(groups_that_lag(kafka.bootstrap(), &prefix)).expect("groups");
    let directory = tempfile::tempdir().expect("a directory");
    let (nodes_group, globs) = (format!("{prefix}-nodes"), format!("{prefix}-*"));
    let lease = format!("{}s", CIRCLE_LEASE.as_secs());
    let what = ["--lease", &lease, "--nodes-group", &nodes_group, "--group", &globs, "--node-url", "http://{}"];
    // A node's name is its address.
    let [mut a, mut b] = [free_port(), free_port()].map(|port| {
        let name = format!("127.0.0.1:{port}");
        Node::start_at(&name, &name, directory.path(), kafka.bootstrap(), &what)
    });
    share_all("two nodes tell all groups", &mut [&mut a, &mut b]);
    for group in 0..GROUPS {
        for path in ["/api/lag/GROUP", "/api/lag?group=GROUP", "/v3/kafka/kafka/consumer/GROUP/lag"] {
            let path = path.replace("GROUP", &format!("{prefix}-{group}"));
            let mut sent_on: Vec<usize> = Vec::new();
            for node in [&a, &b] {
                let (status, said, times) = http::follow(&node.address, &path).expect("an answer");
                assert_eq!(status, 200, "{path} of {}: {said}", node.name);
                sent_on.push(times);
            }
            sent_on.sort_unstable();
            assert_eq!(sent_on, [0, 1], "{path}: one of them has it");
        }
    }
    let (status, said, _) = http::follow(&a.address, "/api/lag/nobody").expect("an answer");
    assert_eq!(status, 404, "{said}");
    runtime.block_on(remove(kafka.bootstrap(), &prefix)).expect("nothing is left");
}

/// The group of the nodes has a name that passes the filter, and is told by nobody all the same.
#[test]
fn nor_where_they_meet_in_a_group_of_kafka() {
    let Some(kafka) = servers::or_skip("lag monitors in a group", Kafka::shared(KAFKA_43)) else { return };
    binary();
    let prefix = unique("test-circle");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(groups_that_lag(kafka.bootstrap(), &prefix)).expect("groups");
    let directory = tempfile::tempdir().expect("a directory");
    let (nodes_group, globs) = (format!("{prefix}-nodes"), format!("{prefix}-*"));
    let lease = format!("{}s", CIRCLE_LEASE.as_secs());
    let what = ["--lease", &lease, "--nodes-group", &nodes_group, "--group", &globs];
    let [mut a, mut b, mut c] =
        ["a", "b", "c"].map(|name| Node::start_with(name, directory.path(), kafka.bootstrap(), &what));
    share_all("three nodes tell all groups", &mut [&mut a, &mut b, &mut c]);
    wait_until("the nodes' own group is none of those that are listed", WITHIN, || {
        (value(&c.metrics(), "highwater_lag_groups_listed") == Some(GROUPS as f64)).then_some(())
    });
    let other = ["--lease", "12s", "--nodes-group", &nodes_group, "--group", &globs];
    let other = Node::start_with("other", directory.path(), kafka.bootstrap(), &other);
    wait_until("a node of another lease says so", WITHIN, || other.program.log().contains("12000 ms").then_some(()));
    drop(other);

    assert!(b.program.terminate(WITHIN).success(), "{}", b.program.log());
    share_all("two tell those of a node that ended", &mut [&mut a, &mut c]);

    a.stop();
    let asked_while_it_stood = a.ask();
    let measured = share_all("one tells those of a node that stands still", &mut [&mut c]);
    assert!(measured <= CIRCLE_HANDOVER, "{measured:?}");
    let handover = value(&c.metrics(), "highwater_lag_handover_seconds").expect("a handover");
    // What is published is at least a session, and a heartbeat.
    let published = CIRCLE_LEASE.mul_f64(0.7)..=CIRCLE_HANDOVER;
    assert!(published.contains(&Duration::from_secs_f64(handover)), "{handover}");
    eprintln!("published gap: {handover} s");
    a.signal("-CONT");
    let late = answer(asked_while_it_stood);
    assert_eq!((told(&late).len(), value(&late, "highwater_lag_lease_held")), (0, Some(0.0)), "{late}");

    drop(c);
    share_all("who stood still tells those of a node that was killed", &mut [&mut a]);
    drop(a);
    runtime.block_on(remove(kafka.bootstrap(), &prefix)).expect("nothing is left");
}

async fn remove(bootstrap: &str, prefix: &str) -> Result<(), Error> {
    let client = connect(bootstrap).await?;
    let groups: Vec<_> = (0..GROUPS).map(|group| format!("{prefix}-{group}")).collect();
    client.admin().delete_groups(&groups).await?;
    client.admin().delete_topics(&[format!("{prefix}-topic").as_str().into()]).await?;
    client.close().await;
    Ok(())
}

/// A Redis of this test alone.
struct Redis {
    _process: Running,
    port: u16,
}

impl Redis {
    fn start(directory: &Path, port: u16, arguments: &[&str]) -> Result<Redis, Missing> {
        let log = File::create(directory.join(format!("redis-{port}.log"))).expect("a file");
        let child = Command::new("redis-server").args(arguments).current_dir(directory).stdout(log).spawn();
        let child = child.map_err(|error| Missing(format!("redis-server cannot be started: {error}")))?;
        let redis = Redis { _process: Running(child), port };
        wait_until("Redis answers", WITHIN, || (redis.ask(&["ping"]) == "PONG").then_some(()));
        Ok(redis)
    }

    fn server(directory: &Path, more: &[&str]) -> Result<Redis, Missing> {
        let port = free_port();
        let how = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        Self::start(directory, port, &[&how[..], more].concat())
    }

    fn sentinel(directory: &Path, of: &Redis) -> Result<Redis, Missing> {
        let (port, config) = (free_port(), directory.join("sentinel.conf"));
        let settings = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor nodes 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds nodes 5000\nsentinel failover-timeout nodes 3000\n",
            of.port
        );
        std::fs::write(&config, settings).expect("a file");
        Self::start(directory, port, &[&config.to_string_lossy(), "--sentinel"])
    }

    /// One word after the other, on lines of their own.
    fn ask(&self, words: &[&str]) -> String {
        let asked = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output();
        asked.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default()
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// A master, a replica that has all that it has, and who watches over them.
fn sentinel(directory: &Path) -> Result<(Redis, Redis, Redis), Missing> {
    servers::wanted()?;
    let master = Redis::server(directory, &[])?;
    let replica = Redis::server(directory, &["--replicaof", "127.0.0.1", &master.port.to_string()])?;
    let sentinel = Redis::sentinel(directory, &master)?;
    wait_until("the replica is in step, and known", WITHIN, || {
        let is_in_step = replica.ask(&["info", "replication"]).contains("master_link_status:up");
        let is_known = sentinel.ask(&["sentinel", "replicas", "nodes"]).contains(&replica.port.to_string());
        (is_in_step && is_known).then_some(())
    });
    Ok((master, replica, sentinel))
}

#[test]
fn nor_where_sentinel_has_another_redis_take_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let found = servers::or_skip("lag monitors behind a Sentinel", sentinel(directory.path()));
    let Some((master, replica, sentinel)) = found else { return };
    binary();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let broker = cluster(&runtime).expect("a cluster");
    let redis = format!("redis-sentinel://127.0.0.1:{}?sentinelServiceName=nodes", sentinel.port);
    let start = |name| Node::start(name, directory.path(), &broker.bootstrap_servers(), &redis, "test");
    let [mut a, mut b] = ["a", "b"].map(start);
    share_all("two nodes tell all groups", &mut [&mut a, &mut b]);

    drop(master);
    wait_until("another Redis has taken over", WITHIN, || {
        let said = sentinel.ask(&["sentinel", "get-master-addr-by-name", "nodes"]);
        said.ends_with(&replica.port.to_string()).then_some(())
    });
    share_all("both tell all groups by way of the other Redis", &mut [&mut a, &mut b]);
    drop(b);
    share_all("one tells those of a node that was killed since", &mut [&mut a]);
    drop(a);
    runtime.block_on(broker.stop()).expect("the broker ends");
}
