//! Questions about a cluster, and changes to it.
//!
//! Every question about many things is asked of as few brokers as can answer it: the offsets of partitions with one
//! request to each leader (`offsets`, `epochs` where leaders have changed, `contents` for what lies between offsets),
//! what groups have committed with one request to each coordinator (`groups`), and so who their members are
//! (`group_descriptions`).
//! What fails, fails for the thing it concerns; an `Err` for the whole is for when nothing could be asked at all.
//!
//! How an answer comes about: in *rounds*. A round asks about everything that has no answer yet; what fails for a
//! reason that passes (a leader that has moved, a coordinator that is loading) is asked about again after a pause,
//! against what is known of the cluster by then; when the API timeout is over, or the rounds that [`Admin::rounds`]
//! grants, the last reason is the answer. Who has less time than that says so ([`Admin::within`]).

mod acls;
mod cluster;
mod configs;
mod contents;
mod epochs;
mod group_changes;
mod group_descriptions;
mod groups;
mod leaders;
mod log_dirs;
mod offsets;
mod producers;
mod records;
mod scram;
mod share_groups;
mod topics;
mod transactions;

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

pub use acls::{Acl, AclFilter, AclOperation, AclPattern, AclPatternFilter, AclPermission, AclResource};
pub use cluster::ClusterDescription;
pub use configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource};
pub use contents::Contents;
pub use epochs::EpochEnd;
pub use group_changes::NewOffset;
pub use group_descriptions::{
    GroupDescription, GroupEpochs, GroupMember, GroupTopology, GroupType, MemberStanding, StreamsMember, StreamsTask,
    StreamsTasks, Subtopology,
};
pub use groups::{Committed, CommittedOffsets, GROUPS_MAX, GroupFilter, GroupListing, GroupListings, TopicCommits};
pub use leaders::Election;
pub use log_dirs::{LogDir, PartitionSize};
pub use offsets::{IsolationLevel, ListedOffset, OffsetSpec, PARTITIONS_MAX};
pub use producers::{AbortTransaction, ActiveProducer};
pub use records::DeleteBefore;
pub use scram::{ScramChange, ScramCredential, ScramMechanism};
pub use share_groups::{ShareOffset, ShareOffsets};
use tokio::time::{Instant, sleep_until};
pub use topics::NewTopic;
pub use transactions::{
    FencedProducer, TransactionDescription, TransactionFilter, TransactionListing, TransactionListings,
    TransactionState,
};

use super::cluster::Cluster;
use super::error::{Error, ErrorKind};
use super::time::milliseconds;
use crate::protocol::api::Api;
use crate::protocol::error::ErrorCode;
use crate::protocol::types::BrokerId;

/// A handle; cheap to clone. Every question is cancel safe: dropped, it leaves connections to others, and what was to be
/// changed may have been changed or not, as after a lost answer.
///
/// ```
/// use highwater::client::*;
/// # use highwater::devbroker::{Config, DevBroker};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = DevBroker::start(Config::default()).await?;
/// # let bootstrap_servers = vec![broker.bootstrap_servers()];
/// # let client = Client::connect(ClientConfig { bootstrap_servers, ..Default::default() }).await?;
/// let admin = client.admin();
/// let wanted = [NewTopic::new("orders").partitions(3), NewTopic::new("no topic")];
/// let made = admin.create_topics(&wanted).await?;
/// assert!(made[0].1.is_ok());
/// // Each thing has its own outcome; an error says what was asked, what is wrong, and whether to try again.
/// let error = made[1].1.as_ref().unwrap_err();
/// assert_eq!(error.code(), Some(ErrorCode::INVALID_TOPIC_EXCEPTION));
/// assert!(!error.is_retriable() && error.api == Some("CreateTopics"));
///
/// let first = TopicPartition::new("orders", 0);
/// let ends = admin.list_offsets(OffsetSpec::Latest, &[first.clone()], IsolationLevel::ReadCommitted).await?;
/// assert_eq!(ends[&first].as_ref().map_err(Error::clone)?.offset, Some(0));
/// # Ok(broker.stop().await?)
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    cluster: Cluster,
    rounds_max: u32,
    limit: Duration,
}

/// One round: its number from 1 on, and when all that it asks is to be answered.
#[derive(Debug, Clone, Copy)]
struct Round {
    number: u32,
    until: Instant,
}

impl Round {
    /// Whether what is known of the cluster has already been found wanting.
    fn is_again(self) -> bool {
        self.number > 1
    }

    /// The time that the next request may take.
    fn left(self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Admin {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { limit: cluster.config().api_timeout, cluster, rounds_max: u32::MAX }
    }

    /// The same, but asks at most `most` times: for whoever would rather know now what is missing, and asks again anyway.
    /// With the default back-off, four rounds are most of a second, in which a leader can be elected.
    pub fn rounds(self, most: u32) -> Self {
        Self { rounds_max: most.max(1), ..self }
    }

    /// The same, but no question takes longer than this, all its tries together: for whoever has something to say by then
    /// with whatever was answered.
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: limit.min(self.limit), ..self }
    }

    /// The same for what is left until then of a question that is asked in several steps.
    fn until(&self, until: Instant) -> Self {
        self.clone().within(until.saturating_duration_since(Instant::now()))
    }

    /// What one request may take.
    fn request_limit(&self) -> Duration {
        self.limit.min(self.cluster.config().request_timeout)
    }

    /// A broker's verdict, with its place.
    fn says<R: Api>(&self, broker: BrokerId, code: ErrorCode, words: Option<&str>) -> Error {
        self.cluster.placed(broker, Error::broker_says(code, words).of(R::NAME))
    }

    /// Asks in rounds until each of `keys` has its answer, or a failure that does not pass; answers come in the order of
    /// `keys`.
    async fn in_rounds<K, V, F, A>(
        &self,
        keys: Vec<K>,
        passes: fn(&Error) -> bool,
        ask: F,
    ) -> Vec<(K, Result<V, Error>)>
    where
        K: Clone + Eq + Hash,
        F: FnMut(Vec<K>, Round) -> A,
        A: Future<Output = Vec<(K, Result<V, Error>)>>,
    {
        let mut settled = self.settle(keys.clone(), passes, ask).await;
        keys.into_iter().filter_map(|key| settled.remove_entry(&key)).collect()
    }

    /// Asks in rounds until each of `keys` has its answer, or a failure that does not pass.
    async fn settle<K, V, F, A>(
        &self,
        keys: Vec<K>,
        passes: fn(&Error) -> bool,
        mut ask: F,
    ) -> HashMap<K, Result<V, Error>>
    where
        K: Clone + Eq + Hash,
        F: FnMut(Vec<K>, Round) -> A,
        A: Future<Output = Vec<(K, Result<V, Error>)>>,
    {
        let until = Instant::now() + self.limit;
        let (mut settled, mut open) = (HashMap::new(), keys);
        for number in 1..=self.rounds_max {
            let round = Round { number, until: until.min(Instant::now() + self.request_limit()) };
            let mut failed = Vec::new();
            let answers = ask(std::mem::take(&mut open), round).await;
            settled.extend(answers.into_iter().inspect(|(key, answer)| {
                if answer.as_ref().is_err_and(passes) {
                    failed.push(key.clone());
                }
            }));
            open = failed;
            let again = Instant::now() + self.cluster.retry_backoff().wait(number);
            if open.is_empty() || number == self.rounds_max || again >= until {
                break;
            }
            sleep_until(again).await;
        }
        settled
    }
}

/// For questions that find out themselves whom to ask: a partition that is unknown to what was learned just now is not
/// waited for.
fn passes(error: &Error) -> bool {
    error.is_retriable() && !matches!(error.kind, ErrorKind::UnknownPartition)
}

/// For questions to one broker about itself: one that is silent is not waited for again.
fn passes_but_silent(error: &Error) -> bool {
    error.is_retriable() && !error.is_timeout()
}

/// For questions about names: whoever answers knows all there are.
fn passes_but_unknown(error: &Error) -> bool {
    error.is_retriable() && error.code() != Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

/// The same failure for each of many.
fn all_failed<K, V>(keys: impl IntoIterator<Item = K>, error: &Error) -> Vec<(K, Result<V, Error>)> {
    keys.into_iter().map(|key| (key, Err(error.clone()))).collect()
}

/// What belongs together, by who is to be asked.
fn by<K: Eq + Hash, V>(pairs: impl IntoIterator<Item = (K, V)>) -> HashMap<K, Vec<V>> {
    let mut groups: HashMap<K, Vec<V>> = HashMap::new();
    for (key, value) in pairs {
        groups.entry(key).or_default().push(value);
    }
    groups
}

/// The answer is silent about something that was asked.
fn unanswered(what: &dyn std::fmt::Display) -> Error {
    Error::protocol(std::io::Error::other(format!("the answer says nothing of {what}")))
}
