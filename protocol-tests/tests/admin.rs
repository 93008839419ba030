//! Changes to a cluster, and what is said when they cannot be made, over the embedded broker.

use highwater::client::{
    Admin, Client, ClientConfig, ConfigResource, Error, ErrorCode, NewTopic, Topic, TopicMetadata,
};
use highwater::devbroker::{Config, DevBroker, Fault, Matching};
use highwater::protocol::api::Body;
use highwater::protocol::messages::*;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

async fn house() -> Outcome<(DevBroker, Admin)> {
    let broker = DevBroker::start(Config::with_brokers(3)).await?;
    let config = ClientConfig { bootstrap_servers: vec![broker.bootstrap_servers()], ..Default::default() };
    let client = Client::connect(config).await?;
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
