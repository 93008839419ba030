//! The lag monitor over clusters: what it costs, on three virtual brokers; what it makes of topics that are made anew; and
//! its values beside those of Java's own tool, on Kafka 3.9 and 4.3.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater::client::{
    Acks, Admin, BrokerId, Client, DeleteBefore, IsolationLevel, NewTopic, OffsetSpec, PartitionMetadata,
    ProducerConfig, ProducerRecord, Topic, TopicPartition,
};
use highwater::devbroker::{self, DevBroker, Fault, Matching};
use highwater::lag::{
    Breaks, Config, Dialect, Family, Filter, Group, Method, Monitor, Pattern, Reason, Round, Row, Status, exposition,
};
use highwater::protocol::api::Body;
use highwater::protocol::messages::*;
use protocol_tests::servers::{self, KAFKA_39, KAFKA_43, Kafka, Version};
use protocol_tests::{Outcome, connect, make_topics, unique, until};

const BROKERS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(120);

async fn produce(client: &Client, topic: &str, partition: i32, stamps: &[Option<i64>]) -> Outcome<()> {
    let producer = client.producer(ProducerConfig { acks: Acks::All, ..ProducerConfig::default() })?;
    let topic = Topic::from(topic);
    for stamp in stamps {
        let record =
            ProducerRecord { partition: Some(partition), timestamp_ms: *stamp, ..ProducerRecord::new(&topic, b"x") };
        producer.send(record).await?;
    }
    Ok(producer.close(Duration::from_secs(30)).await?)
}

async fn commit(admin: &Admin, group: &str, offsets: &[(&str, i32, i64)]) -> Outcome<()> {
    let to: Vec<_> =
        offsets.iter().map(|&(topic, at, offset)| (TopicPartition::new(topic, at), offset.into())).collect();
    for (_, outcome) in admin.alter_offsets(group, &to).await? {
        outcome?;
    }
    Ok(())
}

fn row<'a>(round: &'a Round, group: &str, partition: i32) -> Option<Row<'a>> {
    round.rows().find(|row| **row.group() == *group && row.partition() == partition)
}

fn first(round: &Round) -> Outcome<Row<'_>> {
    Ok(round.rows().next().ok_or("no row")?)
}

/// A broker whose topic is read by so many groups, each with a commit everywhere.
async fn house(groups: usize, partitions: i32) -> Outcome<(DevBroker, Client)> {
    let broker = DevBroker::start(devbroker::Config::with_brokers(BROKERS)).await?;
    let client = connect(&broker.bootstrap_servers()).await?;
    make_topics(&client, &[NewTopic::new("t").partitions(partitions)]).await?;
    let offsets: Vec<_> = (0..partitions).map(|at| ("t", at, 0)).collect();
    for group in 0..groups {
        commit(&client.admin(), &format!("g-{group}"), &offsets).await?;
    }
    Ok((broker, client))
}

/// Requests since the last look, by API.
fn asked(broker: &DevBroker) -> BTreeMap<i16, BTreeMap<BrokerId, u64>> {
    let mut asked: BTreeMap<i16, BTreeMap<BrokerId, u64>> = BTreeMap::new();
    for row in broker.faults().requests() {
        *asked.entry(row.api_key).or_default().entry(row.broker).or_default() += row.count;
    }
    broker.faults().reset_counts();
    asked
}

#[tokio::test]
async fn a_steady_round_costs_two_requests_a_broker_however_many_groups_there_are() -> Outcome<()> {
    let once_each: BTreeMap<BrokerId, u64> = (1..=BROKERS).map(|broker| (broker, 1)).collect();
    for groups in [3, 60] {
        let (broker, client) = house(groups, 30).await?;
        produce(&client, "t", 0, &[None, None]).await?;
        let watching = connect(&broker.bootstrap_servers()).await?;
        let config =
            Config { list_groups_every: 3, log_starts_every: 1_000, stable_offsets_every: 1_000, ..Config::default() };
        let mut monitor = Monitor::new(&config, &watching);
        asked(&broker);

        let first = monitor.round().await?;
        assert_eq!((first.row_count(), first.failures.len()), (groups * 30, 0), "{:?}", first.failures);
        let cost = asked(&broker);
        // Ends, starts, and one for each rung of the time ladder, of which only the leader of partition 0 is asked.
        let most_offsets = cost.get(&ListOffsetsRequest::KEY).and_then(|by| by.values().max().copied());
        assert!(most_offsets.is_some_and(|count| count <= 2 + 8), "{cost:?}");
        assert_eq!(cost.get(&OffsetFetchRequest::KEY), Some(&once_each), "{cost:?}");
        assert_eq!(cost.get(&FindCoordinatorRequest::KEY), None, "who lists a group coordinates it");

        for _ in 0..2 {
            monitor.round().await?;
            let wanted = [(ListOffsetsRequest::KEY, once_each.clone()), (OffsetFetchRequest::KEY, once_each.clone())];
            assert_eq!(asked(&broker), BTreeMap::from(wanted), "{groups} groups");
        }
        monitor.round().await?;
        let cost = asked(&broker);
        let wanted = [ListOffsetsRequest::KEY, OffsetFetchRequest::KEY, ListGroupsRequest::KEY];
        assert_eq!(cost, BTreeMap::from(wanted.map(|key| (key, once_each.clone()))), "{groups} groups");
        broker.stop().await?;
    }
    Ok(())
}

/// Five hundred groups on a hundred partitions each, as it comes, for six minutes' worth of rounds.
#[tokio::test]
async fn no_steady_round_costs_more_than_nine_requests_on_three_brokers() -> Outcome<()> {
    const ROUNDS: u64 = 36;
    let (broker, client) = house(500, 100).await?;
    produce(&client, "t", 0, &[None, None]).await?;
    let watching = connect(&broker.bootstrap_servers()).await?;
    let mut monitor = Monitor::new(&Config::default(), &watching);
    let first = monitor.round().await?;
    assert_eq!((first.row_count(), first.failures.len()), (50_000, 0), "{:?}", first.failures);
    asked(&broker);
    let (mut by_api, mut looked): (BTreeMap<i16, u64>, u64) = Default::default();
    for round in 1..=ROUNDS {
        let failures = monitor.round().await?.failures;
        let mut cost = asked(&broker);
        // What the end of a log holds is looked at once, where readers stand still shortly before it.
        looked += cost.remove(&FetchRequest::KEY).into_iter().flat_map(BTreeMap::into_values).sum::<u64>();
        let count = cost.values().flat_map(BTreeMap::values).sum::<u64>();
        assert!((6..=9).contains(&count) && failures.is_empty(), "round {round}: {cost:?} {failures:?}");
        cost.into_iter().for_each(|(api, of)| *by_api.entry(api).or_default() += of.values().sum::<u64>());
    }
    assert!(looked <= 3, "{looked} looks at one log");
    let rounds_of = |api: i16| by_api.get(&api).copied().unwrap_or(0) / BROKERS.unsigned_abs() as u64;
    assert_eq!((rounds_of(OffsetFetchRequest::KEY), rounds_of(ListGroupsRequest::KEY)), (ROUNDS, ROUNDS / 3));
    // Ends in every round, log starts in every sixth from the seventh on, and last stable offsets twice: nothing here is
    // transactional.
    assert_eq!(rounds_of(ListOffsetsRequest::KEY), ROUNDS + 5 + 2, "{by_api:?}");
    assert!(by_api.get(&MetadataRequest::KEY).is_some_and(|count| *count <= ROUNDS / 6), "once a minute: {by_api:?}");
    broker.stop().await?;
    Ok(())
}

#[tokio::test]
async fn no_groups_are_no_rows_and_no_failure() -> Outcome<()> {
    let (broker, _) = house(0, 1).await?;
    let watching = connect(&broker.bootstrap_servers()).await?;
    asked(&broker);
    let mut monitor = Monitor::new(&Config::default(), &watching);
    for _ in 0..3 {
        let round = monitor.round().await?;
        assert!(round.row_count() == 0 && round.groups.is_empty() && round.failures.is_empty(), "{round:?}");
    }
    let cost = asked(&broker);
    assert!(!cost.contains_key(&ListOffsetsRequest::KEY) && !cost.contains_key(&OffsetFetchRequest::KEY), "{cost:?}");
    broker.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_topic_may_have_ten_thousand_partitions() -> Outcome<()> {
    let (broker, _) = house(2, 10_000).await?;
    let watching = connect(&broker.bootstrap_servers()).await?;
    let mut monitor = Monitor::new(&Config::default(), &watching);
    monitor.round().await?;
    asked(&broker);
    let round = monitor.round().await?;
    assert!(round.rows().all(|row| row.records() == Ok(0)) && round.row_count() == 20_000, "{:?}", round.failures);
    let cost = asked(&broker);
    assert!(cost.values().flat_map(BTreeMap::values).sum::<u64>() <= 6, "{cost:?}");
    broker.stop().await?;
    Ok(())
}

/// Its commits are read, its ends are not yet: this round still tells of it, and the next one of nothing that it had.
#[tokio::test]
async fn a_group_that_is_deleted_between_the_two_reads_is_gone_in_the_next_round() -> Outcome<()> {
    let (broker, client) = house(3, 3).await?;
    let admin = client.admin();
    let config = Config { list_groups_every: 1_000, members_max: Some(10), ..Config::default() };
    let watching = connect(&broker.bootstrap_servers()).await?;
    let mut monitor = Monitor::new(&config, &watching);
    monitor.round().await?;
    broker.faults().inject(Matching::api(ListOffsetsRequest::KEY), 3, Fault::Delay(Duration::from_millis(200)));
    asked(&broker);
    let deleting = async {
        while broker.faults().count(OffsetFetchRequest::KEY) < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        admin.delete_groups(&["g-1".to_owned()]).await
    };
    let (round, deleted) = tokio::join!(monitor.round(), deleting);
    for (_, outcome) in deleted? {
        outcome?;
    }
    assert!(round?.failures.is_empty());
    let round = monitor.round().await?;
    let names: Vec<_> = round.groups.iter().map(|group| &*group.name).collect();
    assert_eq!((names, round.row_count(), round.listed), (vec!["g-0", "g-2"], 6, 2));
    assert!(round.failures.is_empty() && round.unread.is_empty(), "{:?}", round.failures);
    broker.stop().await?;
    Ok(())
}

#[tokio::test]
async fn the_first_round_knows_how_far_behind_in_time_a_group_is() -> Outcome<()> {
    let (broker, client) = house(0, 2).await?;
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis())?;
    let ago = |minutes: i64| Some(now - minutes * 60_000);
    produce(&client, "t", 0, &[ago(600), ago(90), ago(10), ago(3), ago(3)]).await?;
    commit(&client.admin(), "g", &[("t", 0, 2), ("t", 1, 0)]).await?;
    commit(&client.admin(), "h", &[("t", 0, 1)]).await?;
    let round = Monitor::new(&Config::default(), &client).round().await?;
    let check = |group: &str, partition, method, between: (i64, i64)| {
        let time = row(&round, group, partition).and_then(|row| row.time()).expect("a time lag");
        assert_eq!(time.method, method);
        let high = time.high_ms.expect("an upper bound");
        assert!(time.low_ms >= between.0 * 60_000 && high <= between.1 * 60_000 + 60_000, "{time:?}");
    };
    check("g", 0, Method::TimestampProbe, (5, 30));
    check("h", 0, Method::TimestampProbe, (30, 120));
    check("g", 1, Method::CaughtUp, (0, 0));
    broker.stop().await?;
    Ok(())
}

/// Under the settings as they come: by the metadata in time, and at once where commits or ends show it.
#[tokio::test]
async fn a_topic_that_is_made_anew_is_another_one() -> Outcome<()> {
    // Records and commit before and after, and how many rounds it may take to be seen.
    for (before, after, within) in [((5, 0), (9, 2), 9), ((5, 4), (9, 2), 1), ((5, 0), (4, 2), 1)] {
        let (broker, client) = house(0, 1).await?;
        let admin = client.admin();
        produce(&client, "t", 0, &vec![None; before.0]).await?;
        commit(&admin, "g", &[("t", 0, before.1)]).await?;
        let watching = connect(&broker.bootstrap_servers()).await?;
        let mut monitor = Monitor::new(&Config::default(), &watching);
        monitor.round().await?;

        for (_, outcome) in admin.delete_topics(&["t".into()]).await? {
            outcome?;
        }
        make_topics(&client, &[NewTopic::new("t").partitions(1)]).await?;
        produce(&client, "t", 0, &vec![None; after.0]).await?;
        commit(&admin, "g", &[("t", 0, after.1)]).await?;
        let mut rounds = 0;
        let round = loop {
            let round = monitor.round().await?;
            rounds += 1;
            assert_eq!(first(&round)?.records(), Ok(after.0 as u64 - after.1 as u64), "{round:?}");
            if round.breaks != Breaks::default() || rounds == within {
                break round;
            }
        };
        let breaks = Breaks { recreated: 1, truncated: 0 };
        assert_eq!(round.breaks, breaks, "{before:?} {after:?}");
        for _ in 0..9 {
            assert_eq!(monitor.round().await?.breaks, breaks, "it is one event");
        }
        broker.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_fails_takes_only_its_own_rows_with_it() -> Outcome<()> {
    let (broker, client) = house(9, 6).await?;
    let mut monitor = Monitor::new(&Config { list_groups_every: 1, ..Config::default() }, &client);
    monitor.round().await?;
    broker.faults().inject(Matching::api(ListOffsetsRequest::KEY).broker(2), 100, Fault::Disconnect);
    let round = monitor.round().await?;
    let unknown = round.rows().filter(|row| row.records() == Err(Reason::EndUnknown)).count();
    assert_eq!((round.row_count(), unknown), (9 * 6, 9 * 2), "{:?}", round.failures);
    assert!(!round.failures.is_empty());

    for (_, outcome) in client.admin().delete_topics(&["t".into()]).await? {
        outcome?;
    }
    let gone = Monitor::new(&Config::default(), &connect(&broker.bootstrap_servers()).await?).round().await?;
    assert!(gone.rows().all(|row| row.records() == Err(Reason::TopicGone)), "{gone:?}");
    broker.stop().await?;
    Ok(())
}

/// A transaction that nobody ends: what is written after it is there, and no reader of committed records gets at it.
async fn an_undecided_transaction_has_an_age(bootstrap: &str, run: &str) -> Outcome<()> {
    let (client, topic) = (connect(bootstrap).await?, format!("lag-{run}-held"));
    let admin = client.admin();
    make_topics(&client, &[NewTopic::new(topic.as_str()).partitions(2)]).await?;
    commit(&admin, &topic, &[(&topic, 0, 0), (&topic, 1, 0)]).await?;
    let only: Pattern = topic.parse()?;
    let groups = Filter { allow: vec![only], ..Filter::default() };
    let config = Config { groups, stable_offsets_every: 4, log_starts_every: 1_000, ..Config::default() };
    let watching = connect(bootstrap).await?;
    let mut monitor = Monitor::new(&config, &watching);
    let stable = |round: &Round| -> Vec<_> { round.partitions.iter().map(|it| it.stable_offset).collect() };

    produce(&client, &topic, 0, &[None; 2]).await?;
    let transactional_id = Some(topic.clone());
    let producer = client.producer(ProducerConfig { transactional_id, ..ProducerConfig::default() })?;
    let open = producer.begin().await?;
    let name = Topic::from(topic.as_str());
    open.send(ProducerRecord { partition: Some(0), ..ProducerRecord::new(&name, b"x") }).await?;
    produce(&client, &topic, 0, &[None; 3]).await?;
    for _ in 0..2 {
        assert_eq!(stable(&monitor.round().await?), [None, None], "it is not their turn");
    }
    let asked = watching.stats().iter().find(|it| it.api == "ListOffsets").map(|it| it.answered);
    let round = monitor.round().await?;
    assert_eq!((stable(&round), round.partitions[0].undecided_records()), (vec![Some(2), None], Some(4)), "{round:?}");
    assert_eq!(round.rows().map(|row| row.records()).collect::<Vec<_>>(), [Ok(6), Ok(0)], "to the high watermark");
    let after_turn = watching.stats().iter().find(|it| it.api == "ListOffsets").map(|it| it.answered);
    assert!(after_turn > asked);
    // From here on only that partition is asked about, until it is decided; its age grows, whatever is read.
    let mut age = 0;
    while age < 3 {
        let round = monitor.round().await?;
        assert_eq!(stable(&round), [Some(2), None], "{round:?}");
        age = round.partitions[0].undecided.map(|time| time.low_ms).ok_or("no age")?;
    }
    open.commit().await?;
    let mut round = monitor.round().await?;
    while stable(&round) != [None, None] {
        round = monitor.round().await?;
    }
    producer.close(Duration::from_secs(30)).await?;
    admin.delete_groups(std::slice::from_ref(&topic)).await?;
    admin.delete_topics(&[name]).await?;
    Ok(())
}

#[tokio::test]
async fn an_undecided_transaction_has_an_age_on_the_dev_broker() -> Outcome<()> {
    let (broker, _) = house(0, 1).await?;
    an_undecided_transaction_has_an_age(&broker.bootstrap_servers(), "dev").await?;
    broker.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_undecided_transaction_has_an_age_on_kafka_4_3() -> Outcome<()> {
    let found = servers::or_skip("undecided transactions on Kafka", Kafka::shared(KAFKA_43));
    let Some(kafka) = found else { return Ok(()) };
    an_undecided_transaction_has_an_age(kafka.bootstrap(), &std::process::id().to_string()).await
}

/// A producer and a committer that never rest, as fast as they can: what is read is never below nothing.
#[tokio::test]
async fn lag_is_never_negative_while_everything_moves() -> Outcome<()> {
    let (broker, client) = house(1, 1).await?;
    let (admin, producer) = (client.admin(), client.producer(ProducerConfig::default())?);
    let moving = tokio::spawn(async move {
        let topic = Topic::from("t");
        loop {
            let sent = producer.send(ProducerRecord { partition: Some(0), ..ProducerRecord::new(&topic, b"x") }).await;
            let Some(offset) = sent.ok().and_then(|it| it.offset) else { return };
            if commit(&admin, "g-0", &[("t", 0, offset + 1)]).await.is_err() {
                return;
            }
        }
    });
    let mut monitor = Monitor::new(&Config::default(), &connect(&broker.bootstrap_servers()).await?);
    for _ in 0..300 {
        let round = monitor.round().await?;
        let row = first(&round)?;
        assert!(row.records().is_ok(), "{row:?}");
        assert!(row.status().is_none_or(|it| it == Status::Ok || it == Status::Slow), "{row:?}");
    }
    moving.abort();
    broker.stop().await?;
    Ok(())
}

async fn values_are_those_of_javas_tool(version: Version) -> Outcome<()> {
    let name = format!("lag values beside kafka-consumer-groups on {}", version.number);
    let Some(kafka) = servers::or_skip(&name, Kafka::shared(version)) else { return Ok(()) };
    let client = connect(kafka.bootstrap()).await?;
    let admin = client.admin();
    let run = format!("lag-{}", std::process::id());
    let (topic, other) = (format!("{run}-a"), format!("{run}-b"));
    let kept = NewTopic::new(topic.as_str()).partitions(4).config("retention.ms", "604800000");
    make_topics(&client, &[kept, NewTopic::new(other.as_str()).partitions(1)]).await?;
    for partition in 0..4 {
        produce(&client, &topic, partition, &vec![None; 10 + 7 * partition as usize]).await?;
    }
    produce(&client, &other, 0, &[None; 5]).await?;
    let (slow, done) = (format!("{run}-slow"), format!("{run}-done"));
    commit(&admin, &slow, &[(&topic, 0, 10), (&topic, 1, 3), (&topic, 2, 0), (&topic, 3, 30), (&other, 0, 4)]).await?;
    commit(&admin, &done, &[(&topic, 0, 10), (&topic, 2, 24)]).await?;
    let lost = TopicPartition::new(topic.as_str(), 1);
    let (_, removed) =
        admin.delete_records(&[(lost, DeleteBefore::Offset(6))]).await?.into_iter().next().ok_or("none")?;
    removed?;

    let only: Pattern = format!("{run}-.*").parse()?;
    let groups = Filter { allow: vec![only], ..Filter::default() };
    let round = Monitor::new(&Config { groups, ..Config::default() }, &client).round().await?;
    assert!(round.failures.is_empty(), "{:?}", round.failures);
    for group in [&slow, &done] {
        let ours = round.rows().filter(|row| **row.group() == **group);
        let ours: Vec<_> = ours.map(|row| described(&row)).collect();
        let mut theirs = kafka.described(group);
        theirs.sort();
        assert_eq!(ours, theirs, "{group}");
    }
    let behind = row(&round, &slow, 1).ok_or("no row")?;
    assert_eq!((behind.records_lost(), behind.records_effective()), (Some(3), Some(11)));
    assert!(behind.time().is_some_and(|time| time.high_ms.is_some()), "already the first round knows: {behind:?}");
    assert!(behind.data_loss_ms().is_some_and(|ms| ms > 0), "kept for a week: {behind:?}");

    let names: Vec<Topic> = vec![topic.as_str().into(), other.as_str().into()];
    admin.delete_groups(&[slow, done]).await?;
    admin.delete_topics(&names).await?;
    Ok(())
}

#[tokio::test]
async fn share_groups_lag_as_javas_tool_says_on_kafka_4_3() -> Outcome<()> {
    let found = servers::or_skip("lag of share groups beside kafka-share-groups", Kafka::shared(KAFKA_43));
    let Some(kafka) = found else { return Ok(()) };
    share_groups_lag_as_javas_tool_says(kafka.bootstrap()).await
}

#[tokio::test]
async fn share_groups_lag_as_javas_tool_says_on_the_dev_broker() -> Outcome<()> {
    if servers::or_skip("lag of share groups on the dev broker", servers::wanted()).is_none() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let config =
        || devbroker::Config { data_dir: Some(directory.path().to_owned()), ..devbroker::Config::with_brokers(2) };
    let broker = DevBroker::start(config()).await?;
    share_groups_lag_as_javas_tool_says(&broker.bootstrap_servers()).await?;
    broker.stop().await?;
    // What is gone stays gone.
    let broker = DevBroker::start(config()).await?;
    let left = connect(&broker.bootstrap_servers()).await?.admin().list_groups().await?;
    assert!(left.groups.is_empty(), "{left:?}");
    broker.stop().await?;
    Ok(())
}

/// What the tool says, while whoever it asks goes on in this process.
async fn share_tool(servers: &str, group: &str, args: &[&str]) -> Outcome<String> {
    let (servers, group) = (servers.to_owned(), group.to_owned());
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let said = tokio::task::spawn_blocking(move || {
        servers::share_groups(&servers, &group, &args.iter().map(String::as_str).collect::<Vec<_>>())
    });
    Ok(said.await?)
}

/// A share group that was told where to begin, and has not read anything yet; then it forgets, and goes.
async fn share_groups_lag_as_javas_tool_says(servers: &str) -> Outcome<()> {
    let client = connect(servers).await?;
    let admin = client.admin();
    let name = format!("lag-share-{}", std::process::id());
    make_topics(&client, &[NewTopic::new(name.as_str()).partitions(3)]).await?;
    produce(&client, &name, 1, &[None; 7]).await?;
    produce(&client, &name, 2, &[None; 4]).await?;
    let told = share_tool(servers, &name, &["--reset-offsets", "--topic", &name, "--to-earliest", "--execute"]).await?;
    assert!(told.contains("NEW-OFFSET"), "{told}");

    let groups = Filter { allow: vec![name.parse()?], ..Filter::default() };
    let mut monitor = Monitor::new(&Config { groups, ..Config::default() }, &client);
    let round = monitor.round().await?;
    assert!(round.failures.is_empty(), "{:?}", round.failures);
    let ours: Vec<_> = round.rows().map(|row| (row.partition(), row.committed(), row.records().ok())).collect();
    assert_eq!(ours, [(0, 0, Some(0)), (1, 0, Some(7)), (2, 0, Some(4))], "{round:?}");
    let described = share_tool(servers, &name, &["--describe", "--offsets"]).await?;
    let mut theirs: Vec<_> = described.lines().filter_map(share).collect();
    theirs.sort_unstable();
    assert_eq!(ours, theirs);
    let behind = row(&round, &name, 1).ok_or("no row")?;
    assert!(behind.time().is_some_and(|time| time.high_ms.is_some()), "already the first round knows: {behind:?}");
    assert!(round.group(&name).is_some_and(Group::is_share), "{:?}", round.groups);

    let forgotten = share_tool(servers, &name, &["--delete-offsets", "--topic", &name]).await?;
    assert!(forgotten.contains("Successful"), "{forgotten}");
    let round = monitor.round().await?;
    assert!(round.failures.is_empty() && round.rows().next().is_none(), "{round:?}");
    admin.delete_groups(std::slice::from_ref(&name)).await?;
    admin.delete_topics(&[name.as_str().into()]).await?;
    Ok(())
}

/// A row of ShareGroupCommand: group, topic, partition, start, lag.
fn share(line: &str) -> Option<(i32, i64, Option<u64>)> {
    let columns: Vec<_> = line.split_whitespace().collect();
    let [_, _, partition, start, lag] = columns[..] else { return None };
    Some((partition.parse().ok()?, start.parse().ok()?, lag.parse().ok()))
}

fn described(row: &Row<'_>) -> (Arc<str>, i32, i64, i64, i64) {
    let lag = row.records().ok().and_then(|lag| i64::try_from(lag).ok()).unwrap_or(-1);
    (Arc::from(row.topic().as_str()), row.partition(), row.committed(), row.end_offset().unwrap_or(-1), lag)
}

#[tokio::test]
async fn values_are_those_of_javas_tool_on_kafka_3_9() -> Outcome<()> {
    values_are_those_of_javas_tool(KAFKA_39).await
}

#[tokio::test]
async fn values_are_those_of_javas_tool_on_kafka_4_3() -> Outcome<()> {
    values_are_those_of_javas_tool(KAFKA_43).await
}

/// A topic that no group reads has its ends and its settings in another exporter's families, and in the same requests.
async fn topics_that_nobody_reads_are_told_of(version: Version) -> Outcome<()> {
    let found = tokio::task::spawn_blocking(move || Kafka::shared(version)).await?;
    let Some(kafka) = servers::or_skip("topics that nobody reads", found) else { return Ok(()) };
    let client = connect(kafka.bootstrap()).await?;
    let topic = unique("unread");
    make_topics(&client, &[NewTopic::new(topic.as_str()).partitions(2).replication_factor(1)]).await?;
    produce(&client, &topic, 1, &[None; 3]).await?;
    let topics = Filter { allow: vec![topic.parse()?], ..Filter::default() };
    let groups = Filter { allow: vec!["none".parse()?], ..Filter::default() };
    let compat = [Family::KafkaExporter, Family::Kminion].into();
    let config = Config { compat, topics, groups, ..Config::default() };
    let round = Arc::new(Monitor::new(&config, &client).round().await?);
    assert!(round.failures.is_empty(), "{:?}", round.failures);
    let pages = exposition(&config, Arc::clone(&round), round.finished_ms, Dialect::Prometheus);
    let text = String::from_utf8(pages.flatten().collect())?;
    for line in [
        format!("kafka_topic_partitions{{topic=\"{topic}\"}} 2"),
        format!("kafka_topic_partition_current_offset{{topic=\"{topic}\",partition=\"0\"}} 0"),
        format!("kafka_topic_partition_current_offset{{topic=\"{topic}\",partition=\"1\"}} 3"),
        format!("kafka_topic_partition_oldest_offset{{topic=\"{topic}\",partition=\"1\"}} 0"),
        format!("kminion_kafka_topic_high_water_mark_sum{{topic_name=\"{topic}\"}} 3"),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    let info = format!("kminion_kafka_topic_info{{topic_name=\"{topic}\",partition_count=\"2\"");
    let info = text.lines().find(|line| line.starts_with(&info)).ok_or(info)?;
    assert!(info.contains(r#"cleanup_policy="delete""#), "{info}");
    Ok(())
}

#[tokio::test]
async fn topics_that_nobody_reads_are_told_of_on_kafka_3_9() -> Outcome<()> {
    topics_that_nobody_reads_are_told_of(KAFKA_39).await
}

#[tokio::test]
async fn topics_that_nobody_reads_are_told_of_on_kafka_4_3() -> Outcome<()> {
    topics_that_nobody_reads_are_told_of(KAFKA_43).await
}

fn signal(kafka: &Kafka, node: usize, what: &str) -> Outcome<()> {
    let directory = kafka.directory().ok_or("not ours")?;
    let pid = std::fs::read_to_string(directory.join(format!("n{node}/pid")))?;
    let status = std::process::Command::new("kill").args([what, pid.trim()]).status()?;
    status.success().then_some(()).ok_or_else(|| format!("kill {what} {pid}: {status}").into())
}

/// Three brokers, and partitions that nobody else has a copy of: one broker stands still, and another is killed while a round
/// is under way. Each costs its own rows; what it coordinated goes to others, and comes back with it.
/// One cluster for both, since each takes all of it.
#[tokio::test]
async fn three_nodes_of_kafka_4_3_may_fail() -> Outcome<()> {
    let own = tokio::task::spawn_blocking(|| Kafka::own(KAFKA_43, BROKERS as usize)).await?;
    let found = servers::or_skip("brokers fail under the lag monitor", own);
    let Some(kafka) = found.map(Arc::new) else { return Ok(()) };
    brokers_that_stand_still_or_die_cost_their_own_rows(&kafka).await?;
    a_log_that_was_cut_and_has_grown_again_is_another_one(&kafka).await?;
    Ok(tokio::task::spawn_blocking(move || drop(kafka)).await?)
}

async fn brokers_that_stand_still_or_die_cost_their_own_rows(kafka: &Arc<Kafka>) -> Outcome<()> {
    const GROUPS: usize = 9;
    let client = connect(kafka.bootstrap()).await?;
    let admin = client.admin();
    make_topics(&client, &[NewTopic::new("t").partitions(6).replication_factor(1)]).await?;
    for group in 0..GROUPS {
        let offsets: Vec<_> = (0..6).map(|at| ("t", at, 0)).collect();
        commit(&admin, &format!("g-{group}"), &offsets).await?;
    }
    let config = Config { interval_seconds: 1.0, ..Config::default() };
    let mut monitor = Monitor::new(&config, &client);
    // Every row that is known in one round, once that is so; no round before it takes as long as a request may.
    let mut until_known = async |rows: usize| -> Outcome<()> {
        let mut unanswered = 0;
        until(format!("{rows} rows"), PATIENCE, async || {
            let round_began = Instant::now();
            let round = monitor.round().await;
            assert!(round_began.elapsed() < Duration::from_secs(20), "{round:?}");
            // On a machine that stands still for a second, no broker may have answered; that is not so again and again.
            unanswered += usize::from(round.is_err());
            assert!(unanswered <= 3, "{round:?}");
            let known = |round: &Round| round.rows().filter(|row| row.records().is_ok()).count();
            let is_known = |round: &Round| known(round) == rows && round.row_count() == GROUPS * 6;
            Ok(round.is_ok_and(|round| is_known(&round)).then_some(()))
        })
        .await
    };
    until_known(GROUPS * 6).await?;
    // Kafka spreads partitions, but not always evenly.
    let topics = admin.list_topics().await?;
    let partitions = topics.get(&Topic::from("t")).map_or(&[][..], |it| &it.partitions);
    let without = |broker: BrokerId| GROUPS * partitions.iter().filter(|it| it.replicas != [broker]).count();
    signal(kafka, 2, "-STOP")?;
    until_known(without(2)).await?;
    signal(kafka, 2, "-CONT")?;
    until_known(GROUPS * 6).await?;
    let (died, lost) = tokio::join!(kafka.aside(|kafka| kafka.kill(3)), until_known(without(3)));
    died?;
    lost?;
    // It is counted again, and has what only it has.
    kafka.aside(|kafka| kafka.restart(3)).await?;
    until_known(GROUPS * 6).await
}

/// The partition, once it is as it should be.
async fn partition_when(
    admin: &Admin,
    topic: &Topic,
    is: impl Fn(&PartitionMetadata) -> bool,
) -> Outcome<PartitionMetadata> {
    until("the partition is as it should be", PATIENCE, async || {
        let described = admin.describe_topics(std::slice::from_ref(topic)).await;
        let partition = described.ok().and_then(|it| it.first()?.1.as_ref().ok()?.partitions.first().cloned());
        Ok(partition.filter(|it| is(it)))
    })
    .await
}

/// The leader dies with records that its follower does not have, and the follower leads and writes past them before anybody
/// looks: the end alone has only grown.
async fn a_log_that_was_cut_and_has_grown_again_is_another_one(kafka: &Arc<Kafka>) -> Outcome<()> {
    let (client, topic) = (connect(kafka.bootstrap()).await?, Topic::from("cut"));
    let admin = client.admin();
    let new = NewTopic::new("cut").partitions(1).replication_factor(2);
    let new = new.config("unclean.leader.election.enable", "true").config("min.insync.replicas", "1");
    make_topics(&client, &[new]).await?;
    let whole = partition_when(&admin, &topic, |it| it.leader.is_some() && it.in_sync_replicas.len() == 2).await?;
    let leader = whole.leader.ok_or("a leader")?;
    let follower = whole.replicas.iter().copied().find(|it| *it != leader).ok_or("a follower")?;
    produce(&client, "cut", 0, &[None; 100]).await?;
    commit(&admin, "g-cut", &[("cut", 0, 40)]).await?;
    kafka.aside(move |kafka| kafka.kill(follower as usize)).await?;
    partition_when(&admin, &topic, |it| it.in_sync_replicas == [leader]).await?;
    produce(&client, "cut", 0, &[None; 100]).await?;

    let groups = Filter { allow: vec!["g-cut".parse()?], ..Filter::default() };
    let mut monitor = Monitor::new(&Config { groups, ..Config::default() }, &client);
    // A leader that does not say yet where the epoch before it ended is asked again in the next round.
    let mut round_with = async |records: u64, breaks: Breaks| -> Outcome<()> {
        let mut last = None;
        let told = until(format!("{records} records, {breaks:?}"), PATIENCE, async || {
            let round = last.insert(monitor.round().await);
            let lags = |round: &Round| row(round, "g-cut", 0).is_some_and(|row| row.records() == Ok(records));
            Ok(round.as_ref().is_ok_and(|round| round.breaks == breaks && lags(round)).then_some(()))
        });
        told.await.map_err(|error| format!("{error}: {last:?}").into())
    };
    round_with(160, Breaks::default()).await?;
    kafka
        .aside(move |kafka| {
            kafka.kill(leader as usize);
            kafka.restart(follower as usize);
        })
        .await?;
    partition_when(&admin, &topic, |it| it.leader == Some(follower)).await?;
    // How much the follower had kept is Kafka's to say; past the former end it is in any case.
    produce(&client, "cut", 0, &[None; 250]).await?;
    let partition = TopicPartition::new("cut", 0);
    let ends = admin
        .list_offsets(OffsetSpec::Latest, std::slice::from_ref(&partition), IsolationLevel::ReadUncommitted)
        .await?;
    let end = ends.get(&partition).and_then(|end| end.as_ref().ok()?.offset).ok_or("an end")?;
    assert!(end >= 250, "{end}");
    round_with(end as u64 - 40, Breaks { recreated: 0, truncated: 1 }).await
}
