//! Transactions as their coordinators see them (KIP-664): which there are, what they are about, and ending the one of a
//! producer that is gone. How partitions see them is [`producers`](super::producers).

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use futures::future::join_all;

use super::{Admin, Round, all_failed, milliseconds, unanswered};
use crate::client::cluster::{Kept, To};
use crate::client::error::{Error, ErrorKind};
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsState, DescribeTransactionsTopicData, InitProducerIdRequest,
    ListTransactionsRequest, ListTransactionsState,
};
use crate::protocol::types::{BrokerId, Str, Topic, TopicPartition};

/// As long as Java's producers let a transaction take; brokers refuse more than their `transaction.max.timeout.ms`.
const FENCE_MS_MAX: i32 = 60_000;

/// Where a transactional id is between two transactions, or in one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TransactionState {
    /// There has been none yet.
    Empty,
    Ongoing,
    /// Decided; the partitions are still being told.
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    /// Decided by others than its producer.
    PrepareEpochFence,
    /// About to be forgotten.
    Dead,
    /// One that we have no name for.
    Other(String),
}

impl TransactionState {
    const KNOWN: [Self; 8] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::PrepareEpochFence,
        Self::Dead,
    ];

    /// By the name that Kafka has for it.
    pub fn name(&self) -> &str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::PrepareEpochFence => "PrepareEpochFence",
            Self::Dead => "Dead",
            Self::Other(name) => name,
        }
    }

    /// Whether readers of committed records wait for it.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Ongoing | Self::PrepareCommit | Self::PrepareAbort | Self::PrepareEpochFence)
    }
}

impl From<&str> for TransactionState {
    fn from(name: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|it| it.name() == name);
        known.unwrap_or_else(|| Self::Other(name.to_owned()))
    }
}

impl fmt::Display for TransactionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which transactional ids to list; what is not said lets all pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionFilter {
    pub states: Vec<TransactionState>,
    pub producer_ids: Vec<i64>,
    /// Only those whose transaction has run longer than this; from Kafka 3.8 on (KIP-994).
    pub longer_than: Option<Duration>,
    /// Only ids that this regular expression, in the syntax of RE2, matches from end to end; from Kafka 4.1 on (KIP-1152).
    pub id_pattern: Option<String>,
}

impl TransactionFilter {
    /// A broker that knows no such filter would list everything.
    fn since_version(&self) -> i16 {
        match (self.id_pattern.is_some(), self.longer_than.is_some()) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        }
    }

    fn on_the_wire(&self) -> ListTransactionsRequest {
        let longer = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        ListTransactionsRequest {
            state_filters: self.states.iter().map(|it| it.name().into()).collect(),
            producer_id_filters: self.producer_ids.clone(),
            duration_filter: self.longer_than.map_or(-1, longer),
            transactional_id_pattern: self.id_pattern.as_deref().map(Str::from),
        }
    }
}

/// The transactional ids of a cluster, as far as its brokers have answered.
#[derive(Debug, Clone, Default)]
pub struct TransactionListings {
    pub transactions: Vec<TransactionListing>,
    /// One for each broker that did not answer; what it keeps is not in `transactions`.
    pub failures: Vec<Error>,
}

/// A transactional id, by the broker that keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionListing {
    pub transactional_id: String,
    pub producer_id: i64,
    pub state: TransactionState,
    pub coordinator: BrokerId,
}

/// A transactional id, and its transaction if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    pub transactional_id: String,
    pub state: TransactionState,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// After that long the coordinator aborts it.
    pub timeout: Duration,
    /// When the open one began; `None` when none is.
    pub began_ms: Option<i64>,
    /// Those that it has written to; of one that is decided, those that have not been told yet.
    pub partitions: Vec<TopicPartition>,
    pub coordinator: BrokerId,
}

/// Who a transactional id belongs to since it was fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FencedProducer {
    pub producer_id: i64,
    pub producer_epoch: i16,
}

impl Admin {
    /// The transactional ids that pass a filter, asked of all brokers at the same time. Fails only when none of them
    /// answers. From Kafka 3.0 on.
    pub async fn list_transactions(&self, filter: &TransactionFilter) -> Result<TransactionListings, Error> {
        let ask = |broker, round| self.transactions_of(broker, filter, round);
        let (answers, failures) = self.of_brokers(ask).await?;
        let mut listed = TransactionListings { transactions: Vec::new(), failures };
        for (coordinator, states) in answers {
            listed.transactions.extend(states.into_iter().map(|it| listing(&it, coordinator)));
        }
        Ok(listed)
    }

    async fn transactions_of(
        &self,
        broker: BrokerId,
        filter: &TransactionFilter,
        round: Round,
    ) -> Result<Vec<ListTransactionsState>, Error> {
        if self.cluster.version_within::<ListTransactionsRequest>(broker, Lane::General, round.left()).await?
            < filter.since_version()
        {
            let error = Error::new(ErrorKind::Unsupported).of(ListTransactionsRequest::NAME);
            return Err(self.cluster.placed(broker, error));
        }
        let request = filter.on_the_wire();
        let answer = self.cluster.call(To::Broker(broker), Lane::General, request, round.left()).await?.body;
        let code = ErrorCode(answer.error_code).ok();
        code.map_err(|code| self.says::<ListTransactionsRequest>(broker, code, None))?;
        // States that the broker does not know (`unknown_state_filters`) are none that it could list.
        Ok(answer.transaction_states)
    }

    /// Transactional ids and their transactions, each or the reason why not, with one request to each coordinator. One
    /// that is not there fails with TRANSACTIONAL_ID_NOT_FOUND. From Kafka 3.0 on.
    pub async fn describe_transactions(
        &self,
        transactional_ids: &[String],
    ) -> Result<Vec<(String, Result<TransactionDescription, Error>)>, Error> {
        let described =
            self.of_coordinators(Kept::Transaction, transactional_ids, |coordinator, chunk, round| async move {
                let asked = self.ask_transactions(coordinator, &chunk, round).await;
                asked.unwrap_or_else(|error| all_failed(chunk, &error))
            });
        Ok(described.await)
    }

    async fn ask_transactions(
        &self,
        coordinator: BrokerId,
        ids: &[String],
        round: Round,
    ) -> Result<Vec<(String, Result<TransactionDescription, Error>)>, Error> {
        let transactional_ids = ids.iter().map(|id| id.as_str().into()).collect();
        let request = DescribeTransactionsRequest { transactional_ids };
        let answer = self.cluster.call(To::Broker(coordinator), Lane::General, request, round.left()).await?.body;
        let states = answer.transaction_states.into_iter();
        let mut said: HashMap<Str, _> = states.map(|it| (it.transactional_id.clone(), it)).collect();
        let mut outcome = |id: &String| match said.remove(id.as_str()) {
            Some(it) => match ErrorCode(it.error_code).ok() {
                Ok(()) => Ok(description(it, coordinator)),
                Err(code) => Err(self.says::<DescribeTransactionsRequest>(coordinator, code, None)),
            },
            None => Err(unanswered(id).of(DescribeTransactionsRequest::NAME)),
        };
        Ok(ids.iter().map(|id| (id.clone(), outcome(id))).collect())
    }

    /// Makes each transactional id belong to nobody (KIP-664): its open transaction is aborted, and whoever used it is
    /// fenced. An id that is not there is made.
    pub async fn fence_producers(
        &self,
        transactional_ids: &[String],
    ) -> Result<Vec<(String, Result<FencedProducer, Error>)>, Error> {
        let fenced = self.of_coordinators(Kept::Transaction, transactional_ids, |coordinator, chunk, round| {
            join_all(chunk.into_iter().map(move |id| async move {
                let outcome = self.fence(coordinator, &id, round).await;
                (id, outcome)
            }))
        });
        Ok(fenced.await)
    }

    async fn fence(&self, coordinator: BrokerId, id: &str, round: Round) -> Result<FencedProducer, Error> {
        let request = InitProducerIdRequest {
            transactional_id: Some(id.into()),
            // Of transactions that nobody will begin; no broker takes none, nor one beyond its own limit.
            transaction_timeout_ms: milliseconds(round.left()).clamp(1, FENCE_MS_MAX),
            ..Default::default()
        };
        let answer = self.cluster.call(To::Broker(coordinator), Lane::General, request, round.left()).await?.body;
        let code = ErrorCode(answer.error_code).ok();
        code.map_err(|code| self.says::<InitProducerIdRequest>(coordinator, code, None))?;
        Ok(FencedProducer { producer_id: answer.producer_id, producer_epoch: answer.producer_epoch })
    }
}

fn listing(it: &ListTransactionsState, coordinator: BrokerId) -> TransactionListing {
    TransactionListing {
        transactional_id: it.transactional_id.to_string(),
        producer_id: it.producer_id,
        state: it.transaction_state.as_str().into(),
        coordinator,
    }
}

fn description(it: DescribeTransactionsState, coordinator: BrokerId) -> TransactionDescription {
    let mut partitions: Vec<TopicPartition> = it.topics.into_iter().flat_map(partitions).collect();
    partitions.sort_unstable();
    TransactionDescription {
        transactional_id: it.transactional_id.to_string(),
        state: it.transaction_state.as_str().into(),
        producer_id: it.producer_id,
        producer_epoch: it.producer_epoch,
        timeout: Duration::from_millis(u64::try_from(it.transaction_timeout_ms).unwrap_or_default()),
        began_ms: Some(it.transaction_start_time_ms).filter(|ms| *ms >= 0),
        partitions,
        coordinator,
    }
}

fn partitions(of: DescribeTransactionsTopicData) -> impl Iterator<Item = TopicPartition> {
    let topic = Topic::from(&of.topic);
    of.partitions.into_iter().map(move |partition| TopicPartition { topic: topic.clone(), partition })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_kafkas_names() {
        for state in TransactionState::KNOWN {
            assert_eq!(TransactionState::from(state.name()), state);
        }
        let other = TransactionState::from("Undreamt");
        assert_eq!((other.name(), other.is_open()), ("Undreamt", false));
        assert!(TransactionState::Ongoing.is_open() && !TransactionState::CompleteAbort.is_open());
    }

    #[test]
    fn a_filter_that_a_broker_would_pass_over_is_not_sent_to_it() {
        let check = |filter: TransactionFilter, version: i16, longer_ms: i64| {
            assert_eq!(filter.since_version(), version, "{filter:?}");
            assert_eq!(filter.on_the_wire().duration_filter, longer_ms, "{filter:?}");
        };
        let longer_than = Some(Duration::from_secs(2));
        let id_pattern = Some("a.*".to_owned());
        check(TransactionFilter::default(), 0, -1);
        check(TransactionFilter { states: vec![TransactionState::Ongoing], ..Default::default() }, 0, -1);
        check(TransactionFilter { longer_than, ..Default::default() }, 1, 2000);
        check(TransactionFilter { longer_than, id_pattern, ..Default::default() }, 2, 2000);
    }

    #[test]
    fn what_is_not_so_is_not_a_number() {
        let state = DescribeTransactionsState {
            transactional_id: "x".into(),
            transaction_state: "Empty".into(),
            transaction_timeout_ms: 60_000,
            transaction_start_time_ms: -1,
            producer_id: 7,
            ..Default::default()
        };
        let of = description(state, 3);
        assert_eq!((of.began_ms, of.timeout, of.coordinator), (None, Duration::from_secs(60), 3));
        assert_eq!((of.state, of.partitions), (TransactionState::Empty, Vec::new()));
    }
}
