//! One lag monitor for several clusters: a real Kafka 3.9, a real Kafka 4.3, and one that goes away, as a process. What one
//! does not say is missing of that one alone.

use std::process::{Command, Output};
use std::time::Duration;

use highwater::client::{Error, NewTopic, ProducerConfig, ProducerRecord, Topic, TopicPartition};
use highwater::devbroker::{self, DevBroker};
use protocol_tests::program::{Program, binary};
use protocol_tests::servers::{KAFKA_39, KAFKA_43, Kafka};
use protocol_tests::{connect, http, make_topics, servers, unique, wait_until};
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(40);

/// A group that is so many records behind on a topic of the same name.
async fn lags(bootstrap: &str, name: &str, records: usize) -> Result<(), Error> {
    let (client, topic) = (connect(bootstrap).await?, Topic::from(name));
    make_topics(&client, &[NewTopic::new(name).partitions(1)]).await?;
    let producer = client.producer(ProducerConfig::default())?;
    for _ in 0..records {
        producer.send(ProducerRecord::new(&topic, b"x")).await?;
    }
    producer.close(WITHIN).await?;
    for (_, altered) in client.admin().alter_offsets(name, &[(TopicPartition::new(name, 0), 0.into())]).await? {
        altered?;
    }
    client.close().await;
    Ok(())
}

async fn remove(bootstrap: &str, name: &str) -> Result<(), Error> {
    let client = connect(bootstrap).await?;
    client.admin().delete_groups(&[name.to_owned()]).await?;
    client.admin().delete_topics(&[name.into()]).await?;
    client.close().await;
    Ok(())
}

fn once(clusters: &[String], group: &str, more: &[&str]) -> Output {
    let clusters = clusters.iter().flat_map(|cluster| ["--cluster", cluster]);
    let arguments = ["lag", "--once", "--group", group].into_iter().chain(clusters).chain(more.iter().copied());
    Command::new(binary()).args(arguments).output().expect("the program runs")
}

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}

/// What is refused, and what an outage of all looks like: never like a cluster without groups.
#[test]
fn clusters_that_cannot_be_asked_are_said() {
    let check = |arguments: &[&str], status: i32, out: &str, err: &str| {
        let output = Command::new(binary()).args(["lag", "--once"]).args(arguments).output().expect("the program runs");
        let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {wrong}");
        assert!(said.contains(out) && said.is_empty() == out.is_empty(), "{arguments:?}: {said}");
        assert!(wrong.contains(err), "{arguments:?}: {wrong}");
    };
    let unreachable = "127.0.0.1:1";
    check(&["-b", unreachable, "--output", "json"], 69, "", "no broker of 127.0.0.1:1 can be reached");
    check(&["--cluster", "a=127.0.0.1:1", "--output", "json"], 69, "\"unknown\"", "cluster a: no broker");
    check(&["--cluster", "a=127.0.0.1"], 78, "", "cluster a: bootstrap servers: `127.0.0.1` is no address");
    let elsewhere = ["--cluster", "a=h:1", "--cluster", "b=i:1", "-X", "bootstrap.servers=x:1"];
    check(&elsewhere, 64, "", "bootstrap.servers is no property of one of several clusters");
}

/// A limit that is kept by nothing is not kept.
#[test]
fn names_that_nothing_has_are_said() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let broker = runtime.block_on(DevBroker::start(devbroker::Config::default())).expect("a broker");
    let servers = broker.bootstrap_servers();
    runtime.block_on(lags(&servers, "orders", 3)).expect("a group that lags");
    for (arguments, status, why) in [
        (&["--group", "orders"][..], 0, ""),
        (&["--group", "orders", "--topic", "orders", "--max-lag", "100"], 0, ""),
        (&["--group", "orders", "--max-lag", "2"], 2, "1 of 1 are over the limit"),
        (&["--group", "ordrs"], 65, "no group has a name like ordrs"),
        (&["--group", "orders", "--group", "bill*"], 65, "no group has a name like bill*"),
        (&["--group", "bill*", "--max-lag", "100"], 65, "no group with a name like bill* has committed offsets"),
        (&["--topic", "ordrs", "--max-lag", "100"], 65, "no topic with a name like ordrs has committed offsets"),
    ] {
        let mut program = Command::new(binary());
        let output =
            program.args(["lag", "--once", "-b", &servers]).args(arguments).output().expect("the program runs");
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), wrong.contains(why)), (Some(status), true), "{arguments:?}: {wrong}");
    }
}

#[test]
fn one_monitor_tells_of_several_clusters_and_one_that_is_away_hides_no_other() {
    let found = Kafka::shared(KAFKA_39).and_then(|old| Ok((old, Kafka::shared(KAFKA_43)?)));
    let Some((old, new)) = servers::or_skip("several clusters", found) else { return };
    let group = unique("test-clusters");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let broker = runtime.block_on(DevBroker::start(devbroker::Config::default())).expect("a broker");
    let embedded = broker.bootstrap_servers();
    for (bootstrap, records) in [(old.bootstrap(), 3), (new.bootstrap(), 5), (&embedded, 7)] {
        runtime.block_on(lags(bootstrap, &group, records)).expect("a group that lags");
    }
    let kafka = [format!("old={}", old.bootstrap()), format!("new={}", new.bootstrap())];
    tells_at_once(&kafka, &group);
    let clusters = [&kafka[..], &[format!("embedded={embedded}")]].concat();
    let directory = tempfile::tempdir().expect("a directory");
    let how = ["lag", "--listen", "127.0.0.1:0", "--interval", "2s", "--compat", "kafka-exporter", "--group", &group];
    let named = clusters.iter().flat_map(|cluster| ["--cluster", cluster]);
    let mut program = Program::start(directory.path(), &how.into_iter().chain(named).collect::<Vec<_>>());
    let address = program.address(WITHIN);
    let get = |path: &str| http::get(&address, path).expect("an answer");
    let lag = |cluster: &str, lag: u32| {
        format!(
            "kafka_consumergroup_lag{{cluster=\"{cluster}\",consumergroup=\"{group}\",topic=\"{group}\",partition=\"0\"}} {lag}"
        )
    };
    let has = |wanted: &[String]| {
        let (_, metrics) = get("/metrics");
        wanted.iter().all(|line| metrics.lines().any(|it| it == line)).then_some(metrics)
    };
    let known = |cluster: &str, known: u8| format!("highwater_lag_cluster_known{{cluster=\"{cluster}\"}} {known}");
    wait_until("all clusters are told", WITHIN, || {
        has(&[lag("old", 3), lag("new", 5), lag("embedded", 7), known("embedded", 1)])
    });

    runtime.block_on(broker.stop()).expect("the broker ends");
    let metrics = wait_until("one that went away is not known", WITHIN, || {
        has(&[lag("old", 3), lag("new", 5), known("old", 1), known("new", 1), known("embedded", 0)])
    });
    assert!(!metrics.contains(&lag("embedded", 7)), "{metrics}");
    // A lag is told for as long as it is good, so a broker that stands still for a while has none.
    let said = wait_until("what is known is told beside what is not", WITHIN, || {
        let (status, said) = get("/api/lag");
        let said = json(said.as_bytes());
        (status == 200 && said["clusters"]["old"]["groups"][&group]["lag_records"] == 3).then_some(said)
    });
    assert!(said["clusters"]["embedded"]["unknown"].is_string(), "{said}");
    assert_eq!(get("/api/lag?cluster=embedded").0, 503);
    assert_eq!(get("/api/lag?cluster=other").0, 404);
    assert_eq!(json(get("/v3/kafka").1.as_bytes())["clusters"], serde_json::json!(["old", "new", "embedded"]));
    let burrow = |cluster: &str| get(&format!("/v3/kafka/{cluster}/consumer/{group}/lag"));
    wait_until("so does Burrow's API", WITHIN, || {
        let lag = json(burrow("new").1.as_bytes())["status"]["totallag"] == 5;
        (lag && (burrow("old").0, burrow("embedded").0, burrow("other").0) == (200, 503, 404)).then_some(())
    });
    assert_eq!(get("/readyz").0, 200);
    assert!(program.terminate(WITHIN).success(), "{}", program.log());
    says_what_is_away(&clusters, &group);
    for kafka in [&old, &new] {
        runtime.block_on(remove(kafka.bootstrap(), &group)).expect("nothing is left");
    }
}

fn tells_at_once(clusters: &[String], group: &str) {
    let said = once(clusters, group, &["--output", "json"]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    let clusters_said = &json(&said.stdout)["clusters"];
    let lag = |cluster: &str| clusters_said[cluster]["groups"][group]["lag_records"].clone();
    assert_eq!((lag("old"), lag("new")), (3.into(), 5.into()), "{said:?}");
    let over = once(clusters, group, &["--max-lag", "4"]);
    assert_eq!(over.status.code(), Some(2), "{over:?}");
    assert!(String::from_utf8_lossy(&over.stderr).contains("of cluster new"), "{over:?}");
    // The records are some seconds old.
    for (limit, status) in [("1ms", 2), ("1h", 0)] {
        let said = once(clusters, group, &["--max-seconds", limit]);
        assert_eq!(said.status.code(), Some(status), "{limit}: {said:?}");
    }
    let none = once(clusters, "no-such-group-*", &[]);
    assert_eq!(none.status.code(), Some(65), "{none:?}");
}

/// The last of them.
fn says_what_is_away(clusters: &[String], group: &str) {
    let away = once(clusters, group, &[]);
    let (table, errors) = (String::from_utf8_lossy(&away.stdout), String::from_utf8_lossy(&away.stderr));
    assert_eq!(away.status.code(), Some(69), "{away:?}");
    assert!(table.starts_with("CLUSTER") && table.contains("\nold ") && table.contains("\nnew "), "{table}");
    assert!(errors.contains("cluster embedded: no broker of"), "{errors}");
    // What is over its limit does not hide what is away.
    let over = once(clusters, group, &["--max-lag", "4"]);
    let errors = String::from_utf8_lossy(&over.stderr);
    assert_eq!(over.status.code(), Some(2), "{over:?}");
    assert!(errors.contains("of cluster new") && errors.contains("cluster embedded: no broker of"), "{errors}");
}
