//! Topics: making, removing, enlarging, describing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Admin, Round, all_failed, milliseconds, passes_but_unknown, unanswered};
use crate::client::cluster::{To, Topics, metadata_request};
use crate::client::error::{Error, ErrorKind};
use crate::client::lane::Lane;
use crate::client::metadata::TopicMetadata;
use crate::protocol::api::{Api, Body};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    CreatableTopic, CreatableTopicConfig, CreatePartitionsRequest, CreatePartitionsTopic, CreateTopicsRequest,
    DeleteTopicState, DeleteTopicsRequest, MetadataRequest, MetadataResponseTopic,
};
use crate::protocol::types::{BrokerId, Str, Topic};

/// Between two looks for a topic that was made just now.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// And how long brokers may take to say whether they show it, before it is learned anew which brokers there are.
const LOOK_AT_MOST: Duration = Duration::from_secs(5);

/// A topic that is to be made; what is not said is the broker's choice (KIP-464, Kafka 2.4).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewTopic {
    pub name: Topic,
    pub partitions: Option<i32>,
    pub replication_factor: Option<i16>,
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    pub fn new(name: impl Into<Topic>) -> Self {
        Self { name: name.into(), partitions: None, replication_factor: None, configs: BTreeMap::new() }
    }

    pub fn partitions(mut self, count: i32) -> Self {
        self.partitions = Some(count);
        self
    }

    pub fn replication_factor(mut self, replicas: i16) -> Self {
        self.replication_factor = Some(replicas);
        self
    }

    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.configs.insert(name.to_owned(), value.to_owned());
        self
    }

    fn on_the_wire(&self) -> CreatableTopic {
        let config = |(name, value): (&String, &String)| CreatableTopicConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        };
        CreatableTopic {
            name: Str::from(&self.name),
            num_partitions: self.partitions.unwrap_or(-1),
            replication_factor: self.replication_factor.unwrap_or(-1),
            assignments: Vec::new(),
            configs: self.configs.iter().map(config).collect(),
        }
    }
}

/// What became of each topic, by name: the broker's verdict in its words.
type Verdicts = HashMap<Str, (i16, Option<Str>)>;

impl Admin {
    /// Makes topics. A topic that is there already fails with TOPIC_ALREADY_EXISTS; so may one that an earlier try of
    /// the same call has made, when its answer was lost.
    pub async fn create_topics(&self, topics: &[NewTopic]) -> Result<Vec<(Topic, Result<(), Error>)>, Error> {
        let named: HashMap<Topic, &NewTopic> = topics.iter().map(|it| (it.name.clone(), it)).collect();
        let named = &named;
        let changed = self.change(topics.iter().map(|it| it.name.clone()), move |open, round| async move {
            let request = CreateTopicsRequest {
                topics: open.iter().filter_map(|name| Some(named.get(name)?.on_the_wire())).collect(),
                timeout_ms: milliseconds(round.left()),
                ..Default::default()
            };
            let answer = self.cluster.call(To::Controller, Lane::General, request, round.left()).await?;
            let topics = answer.body.topics.into_iter();
            Ok(topics.map(|it| (it.name, (it.error_code, it.error_message))).collect())
        });
        Ok(of_api::<CreateTopicsRequest>(changed.await))
    }

    /// Removes topics and all that is in them. Brokers finish it after they have answered.
    pub async fn delete_topics(&self, topics: &[Topic]) -> Result<Vec<(Topic, Result<(), Error>)>, Error> {
        let changed = self.change(topics.iter().cloned(), |open, round| async move {
            let names: Vec<Str> = open.iter().map(Str::from).collect();
            let make = move |version| delete_request(names, version, round.left());
            let answer = self.cluster.call_with(To::Controller, Lane::General, make, round.left()).await?;
            let topics = answer.body.responses.into_iter();
            Ok(topics.filter_map(|it| Some((it.name?, (it.error_code, it.error_message)))).collect())
        });
        Ok(of_api::<DeleteTopicsRequest>(changed.await))
    }

    /// Raises topics to a number of partitions. Keys are then found elsewhere than before.
    pub async fn create_partitions(&self, topics: &[(Topic, i32)]) -> Result<Vec<(Topic, Result<(), Error>)>, Error> {
        let counts: HashMap<Topic, i32> = topics.iter().cloned().collect();
        let counts = &counts;
        let changed = self.change(topics.iter().map(|it| it.0.clone()), move |open, round| async move {
            let topic = |name: &Topic| {
                let count = *counts.get(name)?;
                Some(CreatePartitionsTopic { name: Str::from(name), count, assignments: None })
            };
            let request = CreatePartitionsRequest {
                topics: open.iter().filter_map(topic).collect(),
                timeout_ms: milliseconds(round.left()),
                validate_only: false,
            };
            let answer = self.cluster.call(To::Controller, Lane::General, request, round.left()).await?;
            let topics = answer.body.results.into_iter();
            Ok(topics.map(|it| (it.name, (it.error_code, it.error_message))).collect())
        });
        Ok(of_api::<CreatePartitionsRequest>(changed.await))
    }

    /// Topics and their partitions, each or the reason why not.
    pub async fn describe_topics(&self, topics: &[Topic]) -> Result<Vec<(Topic, Result<TopicMetadata, Error>)>, Error> {
        let known = self.cluster.refresh_within(Topics::Once(topics.to_vec()), self.limit).await?;
        let described = |name: &Topic| match known.topic(name) {
            Some(topic) if !topic.partitions.is_empty() => Ok(topic.clone()),
            Some(topic) => Err(topic.error.map_or_else(|| Error::new(ErrorKind::UnknownPartition), Error::from)),
            None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into()),
        };
        let named = |error: Error| error.of(MetadataRequest::NAME);
        Ok(topics.iter().map(|name| (name.clone(), described(name).map_err(named))).collect())
    }

    /// Waits until topics are shown with a leader for each of their partitions, by every broker that does not refuse to be
    /// asked: the answer to a creation may be faster than the word of it, which reaches one broker after the other, and whoever
    /// is asked about a topic next should know it. Says whether that was in time.
    pub async fn until_shown(&self, topics: &[Topic], within: Duration) -> bool {
        let shown = async {
            while !topics.is_empty() && !self.is_shown_by_all(topics).await {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(within, shown).await.is_ok()
    }

    /// A broker that hangs up is nobody whom others will hear; one that takes its time may be heard before it knows the topic.
    async fn is_shown_by_all(&self, topics: &[Topic]) -> bool {
        // One try each: what is not shown yet is looked for again anyway.
        let brief = self.clone().within(LOOK_AT_MOST).rounds(1);
        match brief.of_brokers(|broker, round| self.is_shown_by(broker, topics, round)).await {
            Ok((answers, failures)) => answers.iter().all(|it| it.1) && !failures.iter().any(Error::is_timeout),
            Err(_) => false,
        }
    }

    async fn is_shown_by(&self, broker: BrokerId, topics: &[Topic], round: Round) -> Result<bool, Error> {
        let names = topics.iter().map(Str::from).collect();
        let make = move |version| metadata_request(names, false, false, version);
        let answer = self.cluster.call_with(To::Broker(broker), Lane::General, make, round.left()).await?.body;
        let has_leaders = |topic: &MetadataResponseTopic| {
            !topic.partitions.is_empty() && topic.partitions.iter().all(|partition| partition.leader_id >= 0)
        };
        Ok(answer.topics.iter().filter(|it| has_leaders(it)).count() == topics.len())
    }

    /// Every topic that we may see, by name.
    pub async fn list_topics(&self) -> Result<BTreeMap<Topic, TopicMetadata>, Error> {
        let known = self.cluster.refresh_within(Topics::All, self.limit).await?;
        Ok(known.topics().map(|(name, topic)| (name.clone(), topic.clone())).collect())
    }

    /// Asks the controller in rounds; a further round first learns who that is.
    async fn change<F, A>(&self, topics: impl Iterator<Item = Topic>, ask: F) -> Vec<(Topic, Result<(), Error>)>
    where
        F: Fn(Vec<Topic>, Round) -> A,
        A: Future<Output = Result<Verdicts, Error>>,
    {
        let ask = &ask;
        let changed = self.in_rounds(topics.collect(), passes_but_unknown, |open, round| async move {
            if round.is_again()
                && let Err(error) = self.cluster.refresh_within(Topics::Followed, round.left()).await
            {
                return all_failed(open, &error);
            }
            match ask(open.clone(), round).await {
                Ok(verdicts) => open.into_iter().map(|topic| verdict(&verdicts, topic)).collect(),
                Err(error) => all_failed(open, &error),
            }
        });
        let changed = changed.await;
        self.cluster.request_metadata();
        changed
    }
}

fn verdict(verdicts: &Verdicts, topic: Topic) -> (Topic, Result<(), Error>) {
    let outcome = match verdicts.get(&Str::from(&topic)) {
        Some((0, _)) => Ok(()),
        Some((code, words)) => Err(Error::broker_says(ErrorCode(*code), words.as_deref())),
        None => Err(unanswered(&topic)),
    };
    (topic, outcome)
}

fn of_api<R: Api>(changed: Vec<(Topic, Result<(), Error>)>) -> Vec<(Topic, Result<(), Error>)> {
    let named = |(topic, outcome): (Topic, Result<(), Error>)| (topic, outcome.map_err(|error| error.of(R::NAME)));
    changed.into_iter().map(named).collect()
}

fn delete_request(names: Vec<Str>, version: i16, left: Duration) -> DeleteTopicsRequest {
    let timeout_ms = milliseconds(left);
    match version {
        ..=5 => DeleteTopicsRequest { topic_names: names, timeout_ms, ..Default::default() },
        _ => {
            let topic = |name| DeleteTopicState { name: Some(name), ..Default::default() };
            DeleteTopicsRequest { topics: names.into_iter().map(topic).collect(), timeout_ms, ..Default::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;

    use super::*;
    use crate::client::Client;
    use crate::client::fake::{self, Net, Reply};
    use crate::protocol::api::Request;

    /// Brokers 1 and 2, of which the second hears of the topic late; 3 hangs up, or takes until `hangs` is over, when the others
    /// no longer count it.
    async fn cluster(late: usize, hangs: Option<Duration>) -> (Client, Arc<AtomicUsize>) {
        let (net, asked) = (Arc::new(Net::default()), Arc::new(AtomicUsize::new(0)));
        let since = Instant::now();
        for port in [1, 2] {
            let asked = Arc::clone(&asked);
            net.listen(port, move |request| {
                let Request::Metadata(request) = request else { return None };
                let about_topics = request.topics.as_ref().is_some_and(|topics| !topics.is_empty());
                let times = if port == 2 && about_topics { asked.fetch_add(1, Ordering::SeqCst) } else { usize::MAX };
                let leaders: &[(i32, i32)] = if times < late { &[] } else { &[(1, 0), (2, 0)] };
                let brokers: &[u16] = if hangs.is_some_and(|it| since.elapsed() > it) { &[1, 2] } else { &[1, 2, 3] };
                Some(Reply::Say(fake::cluster(brokers, vec![fake::topic("t", leaders)]).into()))
            });
        }
        if hangs.is_some() {
            net.listen(3, |_| Some(Reply::Nothing));
        }
        (Client::connect_over(fake::config(&[1]), net.dial()).await.unwrap(), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_is_shown_when_the_last_broker_shows_it() {
        let (topic, second) = ([Topic::from("t")], Duration::from_secs(1));
        let (client, asked) = cluster(3, None).await;
        assert!(client.admin().until_shown(&topic, second).await);
        assert!(asked.load(Ordering::SeqCst) > 3);
        let (client, _) = cluster(usize::MAX, None).await;
        assert!(!client.admin().until_shown(&topic, second).await, "one of them never does");
        assert!(client.admin().until_shown(&[], Duration::ZERO).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_is_silent_is_waited_for_as_long_as_it_counts() {
        let (topic, counted) = ([Topic::from("t")], Duration::from_secs(9));
        let (client, _) = cluster(0, Some(counted)).await;
        assert!(!client.admin().until_shown(&topic, counted).await);
        assert!(client.admin().until_shown(&topic, 2 * LOOK_AT_MOST).await);
    }
}
