//! Direction from outside, for tests: what to do with the next requests that match, and what has come over the wire.
//!
//! ```
//! use highwater::client::*;
//! use highwater::devbroker::{Config, DevBroker, Fault, Matching};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!
//! let broker = DevBroker::start(Config::default()).await?;
//! # let bootstrap_servers = vec![broker.bootstrap_servers()];
//! # let client = Client::connect(ClientConfig { bootstrap_servers, ..Default::default() }).await?;
//! # let topic = Topic::from("orders");
//! # client.admin().create_topics(&[NewTopic::new("orders").partitions(1)]).await?.remove(0).1?;
//! # let producer = client.producer(ProducerConfig::default())?;
//! // The next two Produce requests that name `orders` are answered NOT_LEADER_OR_FOLLOWER, and append nothing.
//! broker.faults().inject(Matching::api(0).topic("orders"), 2, Fault::Error(ErrorCode::NOT_LEADER_OR_FOLLOWER));
//!
//! // A producer tries again, and the third request is the first that appends.
//! let written = producer.send(ProducerRecord::new(&topic, b"an order")).await?;
//! assert_eq!((written.offset, broker.faults().count(0)), (Some(0), 3));
//! # Ok(broker.stop().await?)
//! # }
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::handlers::{Call, names};
use crate::protocol::api::{Request, Response};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::LeaderIdAndEpoch;
use crate::protocol::types::{BrokerId, Topic, TopicId, TopicPartition};

/// At most so many directions wait at a time; the oldest makes room.
const DIRECTIONS: usize = 1024;

/// Which requests a direction is for; what is not said matches any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matching {
    pub api_key: Option<i16>,
    pub broker: Option<BrokerId>,
    /// Requests that name this topic. An incremental Fetch names only what has changed.
    pub topic: Option<Topic>,
}

impl Matching {
    pub fn any() -> Self {
        Self::default()
    }

    pub fn api(api_key: i16) -> Self {
        Self { api_key: Some(api_key), ..Self::default() }
    }

    #[must_use]
    pub fn broker(self, broker: BrokerId) -> Self {
        Self { broker: Some(broker), ..self }
    }

    #[must_use]
    pub fn topic(self, topic: impl Into<Topic>) -> Self {
        Self { topic: Some(topic.into()), ..self }
    }
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answer with this error, everywhere the response has room for one, and do nothing else.
    Error(ErrorCode),
    /// Handle it so much later, holding up what comes behind it on the same connection.
    Delay(Duration),
    /// Hang up instead of handling it.
    Disconnect,
    /// Handle it and hang up instead of answering: the client cannot know.
    DisconnectAfter,
    /// Handle it, send so many bytes of the answer, and hang up.
    Truncate(usize),
    /// Handle it and send the answer in pieces of so many bytes, each flushed on its own.
    Split(usize),
    /// Handle it and say in the answer that the client is over its quota for so long (KIP-219).
    Throttle(Duration),
    /// Answer Metadata as a broker does that has not heard of the last time that leaders moved. Anything else is handled.
    Stale,
}

/// How many requests of one kind came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    pub api_key: i16,
    pub version: i16,
    pub broker: BrokerId,
    pub count: u64,
}

#[derive(Debug)]
struct Direction {
    matching: Matching,
    left: u64,
    fault: Fault,
}

#[derive(Debug, Default)]
struct Inner {
    /// Of every partition whose leader was moved, who led it before.
    former: BTreeMap<TopicPartition, LeaderIdAndEpoch>,
    directions: VecDeque<Direction>,
    counts: BTreeMap<(i16, i16, BrokerId), u64>,
}

/// A handle; clones direct the same broker.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Inner>>);

impl Faults {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Applies a fault to the next `times` requests that match. Of several directions the oldest goes first.
    pub fn inject(&self, matching: Matching, times: u64, fault: Fault) {
        self.with(|inner| {
            if inner.directions.len() == DIRECTIONS {
                inner.directions.pop_front();
            }
            inner.directions.push_back(Direction { matching, left: times, fault });
        });
    }

    /// Forgets all directions that wait.
    pub fn clear(&self) {
        self.with(|inner| inner.directions.clear());
    }

    /// Directions that have not been used up.
    pub fn waiting(&self) -> usize {
        self.with(|inner| inner.directions.len())
    }

    /// Every kind of request that came since the start, or since [`Faults::reset_counts`].
    pub fn requests(&self) -> Vec<Requests> {
        let row = |((api_key, version, broker), count): (&(i16, i16, BrokerId), &u64)| Requests {
            api_key: *api_key,
            version: *version,
            broker: *broker,
            count: *count,
        };
        self.with(|inner| inner.counts.iter().map(row).collect())
    }

    /// How many requests of one API came, to all brokers and in all versions.
    pub fn count(&self, api_key: i16) -> u64 {
        self.requests().iter().filter(|row| row.api_key == api_key).map(|row| row.count).sum()
    }

    pub fn reset_counts(&self) {
        self.with(|inner| inner.counts.clear());
    }

    /// A partition's leader was moved away from this one.
    pub(super) fn moved_from(&self, partition: &TopicPartition, former: LeaderIdAndEpoch) {
        self.with(|inner| inner.former.insert(partition.clone(), former));
    }

    /// Makes an answer to Metadata one from before the leaders moved.
    pub(super) fn make_stale(&self, response: &mut Response) {
        let Response::Metadata(metadata) = response else { return };
        self.with(|inner| {
            for topic in &mut metadata.topics {
                let Some(name) = topic.name.as_deref() else { continue };
                for partition in &mut topic.partitions {
                    let of = TopicPartition { topic: name.into(), partition: partition.partition_index };
                    if let Some(former) = inner.former.get(&of) {
                        (partition.leader_id, partition.leader_epoch) = (former.leader_id, former.leader_epoch);
                    }
                }
            }
        });
    }

    /// Counts a request and says what shall be done with it.
    pub(super) fn direct(
        &self,
        call: &Call,
        request: &Request,
        name_of: impl Fn(TopicId) -> Option<Topic>,
    ) -> Option<Fault> {
        self.with(|inner| {
            *inner.counts.entry((call.api_key, call.version, call.broker)).or_default() += 1;
            let at = inner.directions.iter().position(|it| matches(&it.matching, call, request, &name_of))?;
            let direction = inner.directions.get_mut(at)?;
            let fault = direction.fault.clone();
            direction.left = direction.left.saturating_sub(1);
            if direction.left == 0 {
                inner.directions.remove(at);
            }
            Some(fault)
        })
    }
}

fn matches(matching: &Matching, call: &Call, request: &Request, name_of: &impl Fn(TopicId) -> Option<Topic>) -> bool {
    let names = |topic: &Topic| names::mentions(request, topic, name_of);
    matching.api_key.is_none_or(|key| key == call.api_key)
        && matching.broker.is_none_or(|broker| broker == call.broker)
        && matching.topic.as_ref().is_none_or(names)
}
