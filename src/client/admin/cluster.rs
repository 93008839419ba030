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
    use crate::client::fake::{self, Net, Reply};
    use crate::client::{Admin, Client, GroupFilter, GroupType, TransactionFilter};
    use crate::protocol::api::{Request, Response};
    use crate::protocol::messages::{
        Coordinator, DescribedStreamsGroup, FindCoordinatorResponse, ListGroupsResponse, ListTransactionsResponse,
        ListedGroup, StreamsGroupDescribeResponse, StreamsSubtopology, StreamsTopology,
    };
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

    /// Two brokers that both keep a group, and take so long for everything.
    fn slow(request: &Request, time: Duration) -> Option<Reply> {
        let said: Response = match request {
            Request::Metadata(_) => fake::cluster(&[1, 2], Vec::new()).into(),
            Request::ListGroups(_) => {
                let group = ListedGroup { group_id: "g".into(), ..Default::default() };
                ListGroupsResponse { groups: vec![group], ..Default::default() }.into()
            }
            Request::ListTransactions(_) => ListTransactionsResponse::default().into(),
            Request::FindCoordinator(_) => {
                let keeper = Coordinator { key: "g".into(), node_id: 1, ..Default::default() };
                FindCoordinatorResponse { coordinators: vec![keeper], ..Default::default() }.into()
            }
            Request::StreamsGroupDescribe(_) => {
                let source_topics = vec!["a".into(), "b".into()];
                let subtopologies = Some(vec![StreamsSubtopology { source_topics, ..Default::default() }]);
                let topology = Some(StreamsTopology { subtopologies, ..Default::default() });
                let group = DescribedStreamsGroup { group_id: "g".into(), topology, ..Default::default() };
                StreamsGroupDescribeResponse { groups: vec![group], ..Default::default() }.into()
            }
            _ => return None,
        };
        Some(Reply::SayAfter(time, said))
    }

    /// What is asked in several steps has the same time for all of them together.
    #[tokio::test(start_paused = true)]
    async fn no_question_of_several_steps_takes_longer_than_it_may() -> Result<(), Error> {
        type Ask = fn(Admin) -> futures::future::BoxFuture<'static, ()>;
        let questions: [(&str, Ask); 4] = [
            ("list_groups", |admin| async move { drop(admin.list_groups().await) }.boxed()),
            ("list_groups_at", |admin| {
                async move { drop(admin.list_groups_at(&[1, 2], &GroupFilter::default()).await) }.boxed()
            }),
            ("list_transactions", |admin| {
                async move { drop(admin.list_transactions(&TransactionFilter::default()).await) }.boxed()
            }),
            ("describe_groups_as", |admin| {
                async move { drop(admin.describe_groups_as(&[("g".to_owned(), Some(GroupType::Streams))]).await) }
                    .boxed()
            }),
        ];
        for (name, ask) in questions {
            let net = Arc::new(Net::default());
            for port in [1, 2] {
                net.listen(port, |request| slow(request, Duration::from_millis(600)));
            }
            let client = Client::connect_over(fake::config(&[1, 2]), net.dial()).await?;
            client.cluster().learn_coordinators([("g".to_owned(), 1)]);
            let (limit, begun) = (Duration::from_secs(1), Instant::now());
            ask(client.admin().within(limit)).await;
            assert!(begun.elapsed() <= limit, "{name}: {:?}", begun.elapsed());
        }
        Ok(())
    }

    /// A broker that was cut off goes on listing what another one keeps by now.
    #[tokio::test(start_paused = true)]
    async fn a_group_that_is_listed_twice_is_asked_about_before_it_is_asked_for() -> Result<(), Error> {
        for (limit, told) in [(Duration::from_secs(1), 2), (Duration::from_secs(5), 1)] {
            let net = Arc::new(Net::default());
            for port in [1, 2] {
                net.listen(port, |request| slow(request, Duration::from_millis(600)));
            }
            let client = Client::connect_over(fake::config(&[1, 2]), net.dial()).await?;
            let listed = client.admin().within(limit).list_groups_at(&[2, 1], &GroupFilter::default()).await?;
            let told_by: Vec<BrokerId> = listed.groups.iter().map(|it| it.coordinator).collect();
            assert_eq!(told_by, [told], "once, and by its coordinator if there was the time to ask");
            assert_eq!(client.cluster().coordinator("g").await?, 1, "{limit:?}");
        }
        Ok(())
    }
}
