//! Topics that must be there before records are sent to them.

use super::{Failure, Status};
use crate::client::{Client, ErrorCode, NewTopic, Topic};

/// Makes the topics that are not there yet; those that are stay as they are. Nobody needs the right to create topics as
/// long as all of them are there.
pub async fn ensure_topics(client: &Client, wanted: Vec<NewTopic>) -> Result<(), Failure> {
    let admin = client.admin();
    let names: Vec<Topic> = wanted.iter().map(|topic| topic.name.clone()).collect();
    let mut missing = Vec::new();
    for (topic, described) in wanted.into_iter().zip(admin.describe_topics(&names).await?) {
        match described.1 {
            Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => missing.push(topic),
            Err(error) if !error.is_retriable() => {
                return Err(Failure::new(Status::of(&error), format!("topic {}: {error}", topic.name)));
            }
            // One whose partitions have no leader at present is there all the same.
            _ => {}
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    for (topic, created) in admin.create_topics(&missing).await? {
        match created {
            Err(error) if error.code() != Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {
                return Err(Failure::new(Status::of(&error), format!("topic {topic} cannot be made: {error}")));
            }
            // Somebody else was faster.
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientConfig;
    use crate::devbroker::{Config, DevBroker, Fault, Matching};
    use crate::protocol::api::Body;
    use crate::protocol::messages::CreateTopicsRequest;

    #[tokio::test]
    async fn only_what_is_missing_is_made() {
        let broker = DevBroker::start(Config::with_brokers(1)).await.unwrap();
        let bootstrap_servers = vec![broker.bootstrap_servers()];
        let client = Client::connect(ClientConfig { bootstrap_servers, ..ClientConfig::default() }).await.unwrap();
        let refuse = || {
            let create = Matching::api(CreateTopicsRequest::KEY);
            broker.faults().inject(create, 1, Fault::Error(ErrorCode::CLUSTER_AUTHORIZATION_FAILED));
        };
        let ensure = |names: &'static [&'static str]| {
            ensure_topics(&client, names.iter().map(|name| NewTopic::new(*name).partitions(1)).collect())
        };
        ensure(&["a", "b"]).await.unwrap();
        refuse();
        // What is there already is not asked for.
        ensure(&["a", "b"]).await.unwrap();
        let failure = ensure(&["a", "c"]).await.unwrap_err();
        assert_eq!(failure.status, Status::NotPermitted, "{failure}");
        assert!(failure.message.starts_with("topic c cannot be made: "), "{failure}");
        ensure(&["b", "c"]).await.unwrap();
        client.close().await;
        broker.stop().await.unwrap();
    }
}
