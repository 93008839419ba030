//! Which transactions hang (KIP-664): open on a partition, without a word for longer than any transaction may take, and
//! not among those whose coordinator will still end them there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use super::{active, seconds_since};
use crate::app::{Failure, Status};
use crate::cli;
use crate::cli::values::Partitions;
use crate::client::{
    ActiveProducer, BrokerId, Error, ErrorCode, Offset, TopicPartition, TransactionDescription, TransactionFilter,
};
use crate::commands::groups::partitions;
use crate::commands::output::{Row, or_none};
use crate::commands::session::{Session, settle};

#[derive(Debug, Serialize)]
struct Hanging {
    topic: String,
    partition: i32,
    producer_id: i64,
    producer_epoch: i16,
    coordinator_epoch: Option<i32>,
    start_offset: Option<Offset>,
    last_timestamp_ms: Option<i64>,
    /// Since its last record.
    silent_seconds: Option<f64>,
}

impl Row for Hanging {
    const HEAD: &'static [&'static str] = &[
        "TOPIC",
        "PARTITION",
        "PRODUCER-ID",
        "EPOCH",
        "COORDINATOR-EPOCH",
        "START-OFFSET",
        "LAST-TIMESTAMP-MS",
        "SILENT-SECONDS",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            self.producer_id.to_string(),
            self.producer_epoch.to_string(),
            or_none(self.coordinator_epoch),
            or_none(self.start_offset),
            or_none(self.last_timestamp_ms),
            or_none(self.silent_seconds),
        ]
    }
}

/// A transaction on a partition.
type Open = (TopicPartition, ActiveProducer);

pub(super) async fn find_hanging(args: cli::FindHanging) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "transactions").await?;
    let searched = searched(&session, &args).await?;
    let (producers, mut failures) = active(&session, args.broker, &searched).await?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let mut open = producers;
    open.retain(|(_, it)| is_candidate(it, args.max_transaction_timeout, now_ms));
    let known = if open.is_empty() { Known::default() } else { Known::of(&session, &open).await? };
    let mut rows = Vec::new();
    for (of, it) in open {
        match known.says(&of, it.producer_id) {
            Verdict::Hangs => rows.push(row(&of, &it, now_ms)),
            Verdict::WillEnd => {}
            Verdict::Unknown(error) => {
                let message = format!("whether producer {} hangs on {of} is not known: {error}", it.producer_id);
                failures.push(Failure::new(Status::of(error), message));
            }
        }
    }
    settle(args.printing.output, &rows, failures)
}

/// The partitions to look at.
async fn searched(session: &Session, args: &cli::FindHanging) -> Result<Vec<TopicPartition>, Failure> {
    if let Some(topic) = &args.topic {
        let numbers = args.partition.map(|number| vec![number]);
        let mut of = partitions(session, &[Partitions { topic: topic.clone(), numbers }]).await?;
        if let (Some(broker), None) = (args.broker, args.partition) {
            let kept = replicas_of(session, broker).await?;
            of.retain(|it| kept.contains(it));
        }
        return Ok(of);
    }
    let kept = match args.broker {
        Some(broker) => replicas_of(session, broker).await?,
        None => BTreeSet::new(),
    };
    Ok(kept.into_iter().collect())
}

/// The partitions of which a broker has a replica.
async fn replicas_of(session: &Session, broker: BrokerId) -> Result<BTreeSet<TopicPartition>, Failure> {
    let topics = session.admin.list_topics().await?;
    let of = topics.iter().flat_map(|(name, topic)| {
        let kept = topic.partitions.iter().filter(|it| it.replicas.contains(&broker));
        kept.map(|it| TopicPartition::new(name.clone(), it.partition))
    });
    Ok(of.collect())
}

/// Whether a producer has something open, and has been silent for longer than that may take. Of one that has no time it
/// cannot be said that it has not.
fn is_candidate(it: &ActiveProducer, longest: Duration, now_ms: i64) -> bool {
    let longest_ms = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
    it.open_since.is_some() && it.last_timestamp_ms.is_none_or(|last| now_ms.saturating_sub(last) > longest_ms)
}

fn row(of: &TopicPartition, it: &ActiveProducer, now_ms: i64) -> Hanging {
    Hanging {
        topic: of.topic.to_string(),
        partition: of.partition,
        producer_id: it.producer_id,
        producer_epoch: it.producer_epoch,
        coordinator_epoch: it.coordinator_epoch,
        start_offset: it.open_since,
        last_timestamp_ms: it.last_timestamp_ms,
        silent_seconds: it.last_timestamp_ms.map(|last| seconds_since(last, now_ms)),
    }
}

/// What the coordinators know of producers.
#[derive(Debug, Default)]
struct Known {
    /// By producer id: what is said of it; `None` for a transactional id that has gone since it was listed.
    producers: HashMap<i64, Result<Option<TransactionDescription>, Error>>,
    /// Why there may be more.
    missing: Option<Error>,
}

#[derive(Debug)]
enum Verdict<'a> {
    Hangs,
    /// Its coordinator has the partition on its list.
    WillEnd,
    Unknown(&'a Error),
}

impl Known {
    async fn of(session: &Session, open: &[Open]) -> Result<Self, Failure> {
        let ids: HashSet<i64> = open.iter().map(|(_, it)| it.producer_id).collect();
        let filter = TransactionFilter { producer_ids: ids.iter().copied().collect(), ..Default::default() };
        let listed = session.admin.list_transactions(&filter).await?;
        let wanted = listed.transactions.into_iter().filter(|it| ids.contains(&it.producer_id));
        let names: HashMap<String, i64> = wanted.map(|it| (it.transactional_id, it.producer_id)).collect();
        let asked: Vec<String> = names.keys().cloned().collect();
        let mut producers = HashMap::new();
        for (id, outcome) in session.admin.describe_transactions(&asked).await? {
            let Some(producer_id) = names.get(&id) else { continue };
            let said = match outcome {
                Ok(it) => Ok(Some(it)),
                Err(error) if error.code() == Some(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND) => Ok(None),
                Err(error) => Err(error),
            };
            producers.insert(*producer_id, said);
        }
        Ok(Self { producers, missing: listed.failures.into_iter().next() })
    }

    fn says(&self, of: &TopicPartition, producer_id: i64) -> Verdict<'_> {
        match (self.producers.get(&producer_id), &self.missing) {
            (Some(Ok(Some(it))), _) if it.partitions.contains(of) => Verdict::WillEnd,
            (Some(Ok(_)), _) | (None, None) => Verdict::Hangs,
            (Some(Err(error)), _) | (None, Some(error)) => Verdict::Unknown(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::TransactionState;

    fn producer(open_since: Option<Offset>, last_timestamp_ms: Option<i64>) -> ActiveProducer {
        ActiveProducer {
            producer_id: 7,
            producer_epoch: 0,
            last_sequence: Some(0),
            last_timestamp_ms,
            coordinator_epoch: None,
            open_since,
        }
    }

    #[test]
    fn only_what_is_open_and_silent_for_too_long_is_looked_at() {
        let check = |it: ActiveProducer, expect: bool| {
            assert_eq!(is_candidate(&it, Duration::from_secs(1), 10_000), expect, "{it:?}");
        };
        check(producer(Some(0), Some(8_999)), true);
        check(producer(Some(0), Some(9_000)), false);
        check(producer(Some(0), Some(11_000)), false);
        check(producer(Some(0), None), true);
        check(producer(None, Some(0)), false);
    }

    #[test]
    fn what_a_coordinator_will_end_does_not_hang() {
        let (here, there) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
        let described = TransactionDescription {
            transactional_id: "x".to_owned(),
            state: TransactionState::Ongoing,
            producer_id: 7,
            producer_epoch: 0,
            timeout: Duration::from_secs(60),
            began_ms: Some(0),
            partitions: vec![here.clone()],
            coordinator: 1,
        };
        let away = || Error::from(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        let check = |said: Option<Result<Option<TransactionDescription>, Error>>, missing, of, expect: &str| {
            let known = Known { producers: said.map(|said| (7, said)).into_iter().collect(), missing };
            let verdict = format!("{:?}", known.says(of, 7));
            assert!(verdict.starts_with(expect), "{verdict} instead of {expect}");
        };
        check(Some(Ok(Some(described.clone()))), None, &here, "WillEnd");
        check(Some(Ok(Some(described))), Some(away()), &there, "Hangs");
        check(Some(Ok(None)), None, &here, "Hangs");
        check(None, None, &here, "Hangs");
        check(None, Some(away()), &here, "Unknown");
        check(Some(Err(away())), None, &here, "Unknown");
    }
}
