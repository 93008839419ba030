//! Changes to a cluster, and what is said when they cannot be made, over the embedded broker.

use std::time::Duration;

use highwater::client::{
    Admin, ConfigChange, ConfigResource, DeleteBefore, Election, Error, ErrorCode, ErrorKind, GroupFilter, NewOffset,
    NewTopic, ProducerRecord, Topic, TopicMetadata, TopicPartition,
};
use highwater::devbroker::{Config, DevBroker, Fault, Matching};
use highwater::protocol::api::Body;
use highwater::protocol::messages::*;
use protocol_tests::{Outcome, connect, make_topics};

async fn house() -> Outcome<(DevBroker, Admin)> {
    let broker = DevBroker::start(Config::with_brokers(3)).await?;
    let client = connect(&broker.bootstrap_servers()).await?;
    Ok((broker, client.admin()))
}

/// What became of each, in order: the broker's verdict, if it was not done.
fn verdicts<T>(changed: &[(Topic, Result<T, Error>)]) -> Vec<Option<ErrorCode>> {
    changed.iter().map(|(_, outcome)| outcome.as_ref().err().and_then(Error::code)).collect()
}

#[tokio::test]
async fn topics_come_and_grow_and_go() -> Outcome<()> {
    let (broker, admin) = house().await?;
    let (topic, nowhere) = (Topic::from("t"), Topic::from("nowhere"));
    let new = [NewTopic::new("t").partitions(3).config("retention.ms", "60000"), NewTopic::new("not a name")];
    let made = admin.create_topics(&new).await?;
    assert_eq!(verdicts(&made), [None, Some(ErrorCode::INVALID_TOPIC_EXCEPTION)]);
    assert_eq!(verdicts(&admin.create_topics(&new[..1]).await?), [Some(ErrorCode::TOPIC_ALREADY_EXISTS)]);

    let unknown = Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    broker.faults().inject(Matching::api(CreatePartitionsRequest::KEY), 1, Fault::Error(ErrorCode::NOT_CONTROLLER));
    let grown = admin.create_partitions(&[(topic.clone(), 5), (nowhere.clone(), 5)]).await?;
    assert_eq!(verdicts(&grown), [None, unknown]);
    let described = admin.describe_topics(&[topic.clone(), nowhere.clone()]).await?;
    assert_eq!(verdicts(&described), [None, unknown]);
    assert_eq!(described[0].1.as_ref().map(TopicMetadata::partition_count).ok(), Some(5));

    let configs = admin.describe_configs(&[ConfigResource::Topic(topic.clone()), ConfigResource::Broker(3)]).await?;
    let of_topic = configs[0].1.as_ref().map_err(ToString::to_string)?;
    let retention = of_topic.iter().find(|entry| entry.name == "retention.ms").and_then(|it| it.value.as_deref());
    assert_eq!((retention, configs[1].1.is_ok()), (Some("60000"), true));

    assert_eq!(verdicts(&admin.delete_topics(&[topic.clone(), nowhere]).await?), [None, unknown]);
    assert!(!admin.list_topics().await?.contains_key(&topic));
    broker.stop().await?;
    Ok(())
}

#[tokio::test]
async fn groups_that_no_broker_lists_are_an_error_and_not_an_empty_list() -> Outcome<()> {
    let (broker, admin) = house().await?;
    assert!(admin.list_groups().await?.groups.is_empty());
    let fault = Fault::Error(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    broker.faults().inject(Matching::api(ListGroupsRequest::KEY), 100, fault);
    let error = admin.list_groups().await.map(|it| it.groups).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED));
    broker.stop().await?;
    Ok(())
}

/// Three partitions of `t`, one a broker, with ten records each.
async fn filled(broker: &DevBroker) -> Outcome<Vec<TopicPartition>> {
    let client = connect(&broker.bootstrap_servers()).await?;
    make_topics(&client, &[NewTopic::new("t").partitions(3)]).await?;
    let producer = client.producer(Default::default())?;
    let topic = Topic::from("t");
    for number in 0..30 {
        let record = ProducerRecord { partition: Some(number % 3), ..ProducerRecord::new(&topic, b"value") };
        drop(producer.enqueue(record).await?);
    }
    producer.close(Duration::from_secs(10)).await?;
    Ok((0..3).map(|partition| TopicPartition::new("t", partition)).collect())
}

#[tokio::test]
async fn groups_are_moved_and_forgotten_and_removed() -> Outcome<()> {
    let (broker, admin) = house().await?;
    let partitions = filled(&broker).await?;
    let new: Vec<_> = partitions.iter().map(|of| (of.clone(), NewOffset::from(7))).collect();
    broker.faults().inject(Matching::api(OffsetCommitRequest::KEY), 1, Fault::Error(ErrorCode::NOT_COORDINATOR));
    let moved = admin.alter_offsets("g", &new).await?;
    assert!(moved.iter().all(|(_, outcome)| outcome.is_ok()), "{moved:?}");
    let forgotten = admin.delete_offsets("g", &partitions[..1]).await?;
    assert!(forgotten.iter().all(|(_, outcome)| outcome.is_ok()), "{forgotten:?}");
    let committed = admin.committed_offsets(&["g".to_owned()]).await?.remove("g").ok_or("g is not there")??;
    let offsets: Vec<_> = partitions.iter().map(|of| committed.get(of).and_then(|it| it.offset)).collect();
    assert_eq!(offsets, [None, Some(7), Some(7)]);

    let in_state = |state: &str| GroupFilter { states: vec![state.to_owned()], ..Default::default() };
    assert_eq!(admin.list_groups_of(&in_state("Empty")).await?.groups.len(), 1);
    assert_eq!(admin.list_groups_of(&in_state("Stable")).await?.groups.len(), 0);
    let removed = admin.delete_groups(&["g".to_owned(), "nobody".to_owned()]).await?;
    let codes: Vec<_> = removed.iter().map(|(_, outcome)| outcome.as_ref().err().and_then(Error::code)).collect();
    assert_eq!(codes, [None, Some(ErrorCode::GROUP_ID_NOT_FOUND)]);
    broker.stop().await?;
    Ok(())
}

#[tokio::test]
async fn records_and_settings_go() -> Outcome<()> {
    let (broker, admin) = house().await?;
    let of = filled(&broker).await?;
    let before = [
        (of[0].clone(), DeleteBefore::Offset(4)),
        (of[1].clone(), DeleteBefore::HighWatermark),
        (of[2].clone(), DeleteBefore::Offset(11)),
        (TopicPartition::new("nowhere", 0), DeleteBefore::HighWatermark),
    ];
    let starts = admin.delete_records(&before).await?;
    let starts: Vec<_> = starts.into_iter().map(|(_, start)| start.map_err(|error| error.code())).collect();
    assert_eq!(starts, [Ok(4), Ok(10), Err(Some(ErrorCode::OFFSET_OUT_OF_RANGE)), Err(None)]);

    let topic = |name: &str| ConfigResource::Topic(Topic::from(name));
    let change = |value: &str| vec![("retention.ms".to_owned(), ConfigChange::Set(value.to_owned()))];
    let altered = async |validate_only: bool| {
        let changes = [(topic("t"), change("60000")), (topic("nowhere"), change("1"))];
        let altered = admin.alter_configs(&changes, validate_only).await;
        altered.map(|all| all.iter().map(|(_, it)| it.as_ref().err().and_then(Error::code)).collect::<Vec<_>>())
    };
    let retention = async || {
        let configs = admin.describe_configs(&[topic("t")]).await?.remove(0).1?;
        Ok::<_, Error>(configs.into_iter().find(|it| it.name == "retention.ms").and_then(|it| it.value))
    };
    let unset = retention().await?;
    assert_eq!(altered(true).await?, [None, Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)]);
    assert_eq!(retention().await?, unset);
    assert_eq!(altered(false).await?, [None, Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)]);
    assert_eq!(retention().await?.as_deref(), Some("60000"));
    admin.alter_configs(&[(topic("t"), vec![("retention.ms".to_owned(), ConfigChange::Delete)])], false).await?;
    assert_eq!(retention().await?, unset);

    let dirs = admin.describe_log_dirs(&[1, 2, 3]).await?;
    let kept: usize =
        dirs.iter().filter_map(|(_, dirs)| dirs.as_ref().ok()).flatten().map(|it| it.partitions.len()).sum();
    assert_eq!(kept, 3);
    // The embedded broker has no elections, and says so rather than nothing.
    let elected = admin.elect_leaders(Election::Preferred, &of[..1]).await?;
    assert!(elected[0].1.as_ref().is_err_and(|error| matches!(error.kind, ErrorKind::Unsupported)), "{elected:?}");
    broker.stop().await?;
    Ok(())
}
