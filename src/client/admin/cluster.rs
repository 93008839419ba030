//! The cluster itself.

use super::Admin;
use crate::client::cluster::Topics;
use crate::client::error::Error;
use crate::client::metadata::Broker;
use crate::protocol::types::BrokerId;

/// A cluster and its brokers, in order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    pub cluster_id: Option<String>,
    /// Under KRaft any broker, which passes requests on.
    pub controller: Option<BrokerId>,
    pub brokers: Vec<Broker>,
}

impl Admin {
    /// The cluster as a broker sees it now.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, Error> {
        let known = self.cluster.refresh_within(Topics::Followed, self.limit).await?;
        Ok(ClusterDescription {
            cluster_id: known.cluster_id.clone(),
            controller: known.controller,
            brokers: known.brokers.values().cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::time::Instant;

    use super::*;
    use crate::client::Client;
    use crate::client::fake::{self, Net, Reply};
    use crate::protocol::api::Request;
    use crate::protocol::types::{Topic, TopicPartition};

    #[tokio::test(start_paused = true)]
    async fn no_question_takes_longer_than_it_may() -> Result<(), Error> {
        let (net, silent) = (Arc::new(Net::default()), Arc::new(AtomicBool::new(false)));
        let silence = Arc::clone(&silent);
        net.listen(1, move |request| match request {
            Request::Metadata(_) if silence.load(Ordering::Relaxed) => Some(Reply::Nothing),
            Request::Metadata(_) => Some(Reply::Say(fake::cluster(&[1], Vec::new()).into())),
            _ => None,
        });
        let client = Client::connect_over(fake::config(&[1]), net.dial()).await?;
        silent.store(true, Ordering::Relaxed);
        let limit = Duration::from_secs(1);
        let (admin, topics) = (client.admin().within(limit), [Topic::from("t")]);
        let offsets = [(TopicPartition::new("t", 0), 1.into())];
        let questions = [
            ("describe_cluster", admin.describe_cluster().map(drop).boxed()),
            ("describe_topics", admin.describe_topics(&topics).map(drop).boxed()),
            ("list_topics", admin.list_topics().map(drop).boxed()),
            ("alter_offsets", admin.alter_offsets("g", &offsets).map(drop).boxed()),
            ("delete_topics", admin.delete_topics(&topics).map(drop).boxed()),
        ];
        for (name, question) in questions {
            let begun = Instant::now();
            question.await;
            assert!(begun.elapsed() <= limit, "{name}: {:?}", begun.elapsed());
        }
        Ok(())
    }
}
