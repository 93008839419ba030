//! `highwater transactions`: what is open, for whom, and ending what nobody else will, as `kafka-transactions` does it.

mod hanging;

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::groups::partitions;
use super::hint::did_you_mean;
use super::output::{self, Row, or_none};
use super::session::{Session, all, settle};
use crate::app::{Failure, Status};
use crate::cli;
use crate::cli::transactions::TransactionState as Typed;
use crate::cli::values::Partitions;
use crate::client::{
    AbortTransaction, ActiveProducer, BrokerId, Error, ErrorCode, Offset, TopicPartition, TransactionDescription,
    TransactionFilter, TransactionListing, TransactionState,
};

pub async fn transactions(verb: cli::Transactions) -> Result<(), Failure> {
    match verb {
        cli::Transactions::List(args) => list(args).await,
        cli::Transactions::Describe(args) => describe(args).await,
        cli::Transactions::Producers(args) => producers(args).await,
        cli::Transactions::FindHanging(args) => hanging::find_hanging(args).await,
        cli::Transactions::Abort(args) => abort(args).await,
        cli::Transactions::Fence(args) => fence(args).await,
    }
}

/// For how long something has been so; a clock that is ahead of ours makes it no less than nothing.
fn seconds_since(began_ms: i64, now_ms: i64) -> f64 {
    Duration::from_millis(u64::try_from(now_ms.saturating_sub(began_ms)).unwrap_or_default()).as_secs_f64()
}

#[derive(Debug, Serialize)]
struct Listed {
    transactional_id: String,
    coordinator: BrokerId,
    producer_id: i64,
    state: String,
}

impl Row for Listed {
    const HEAD: &'static [&'static str] = &["TRANSACTIONAL-ID", "COORDINATOR", "PRODUCER-ID", "STATE"];

    fn cells(&self) -> Vec<String> {
        let Self { transactional_id, coordinator, producer_id, state } = self;
        vec![transactional_id.clone(), coordinator.to_string(), producer_id.to_string(), state.clone()]
    }
}

impl From<TransactionListing> for Listed {
    fn from(it: TransactionListing) -> Self {
        let TransactionListing { transactional_id, producer_id, state, coordinator } = it;
        Self { transactional_id, coordinator, producer_id, state: state.to_string() }
    }
}

async fn list(args: cli::ListTransactions) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "transactions").await?;
    let filter = TransactionFilter {
        states: args.states.into_iter().map(state).collect(),
        producer_ids: args.producer_ids,
        longer_than: args.longer_than,
        id_pattern: args.id_pattern,
    };
    let listed = session.admin.list_transactions(&filter).await?;
    let mut rows: Vec<Listed> = listed.transactions.into_iter().map(Listed::from).collect();
    rows.sort_by(|one, other| one.transactional_id.cmp(&other.transactional_id));
    output::print(&output::rows(args.printing.output, &rows)?)?;
    let missing = |error: &Error| Failure::new(Status::of(error), format!("some transactions are missing: {error}"));
    all(listed.failures.iter().map(missing).collect())
}

fn state(typed: Typed) -> TransactionState {
    match typed {
        Typed::Empty => TransactionState::Empty,
        Typed::Ongoing => TransactionState::Ongoing,
        Typed::PrepareCommit => TransactionState::PrepareCommit,
        Typed::PrepareAbort => TransactionState::PrepareAbort,
        Typed::CompleteCommit => TransactionState::CompleteCommit,
        Typed::CompleteAbort => TransactionState::CompleteAbort,
        Typed::PrepareEpochFence => TransactionState::PrepareEpochFence,
    }
}

#[derive(Debug, Serialize)]
struct Described {
    transactional_id: String,
    coordinator: BrokerId,
    producer_id: i64,
    producer_epoch: i16,
    state: String,
    timeout_ms: u64,
    /// Of the open one alone, as is the next.
    began_ms: Option<i64>,
    open_seconds: Option<f64>,
    partitions: Vec<String>,
}

impl Row for Described {
    const HEAD: &'static [&'static str] = &[
        "TRANSACTIONAL-ID",
        "COORDINATOR",
        "PRODUCER-ID",
        "EPOCH",
        "STATE",
        "TIMEOUT-MS",
        "BEGAN-MS",
        "OPEN-SECONDS",
        "PARTITIONS",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.transactional_id.clone(),
            self.coordinator.to_string(),
            self.producer_id.to_string(),
            self.producer_epoch.to_string(),
            self.state.clone(),
            self.timeout_ms.to_string(),
            or_none(self.began_ms),
            or_none(self.open_seconds),
            output::list(&self.partitions),
        ]
    }
}

fn described(it: TransactionDescription, now_ms: i64) -> Described {
    Described {
        transactional_id: it.transactional_id,
        coordinator: it.coordinator,
        producer_id: it.producer_id,
        producer_epoch: it.producer_epoch,
        state: it.state.to_string(),
        timeout_ms: u64::try_from(it.timeout.as_millis()).unwrap_or(u64::MAX),
        began_ms: it.began_ms,
        open_seconds: it.began_ms.map(|began| seconds_since(began, now_ms)),
        partitions: it.partitions.iter().map(ToString::to_string).collect(),
    }
}

async fn describe(args: cli::DescribeTransactions) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "transactions").await?;
    let (found, failures) = descriptions(&session, &args.transactional_ids).await?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let rows: Vec<Described> = found.into_iter().map(|it| described(it, now_ms)).collect();
    settle(args.printing.output, &rows, failures)
}

/// What there is of these ids, and what is wrong with the others.
async fn descriptions(
    session: &Session,
    ids: &[String],
) -> Result<(Vec<TransactionDescription>, Vec<Failure>), Failure> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for (id, outcome) in session.admin.describe_transactions(ids).await? {
        match outcome {
            Ok(it) => found.push(it),
            Err(error) => failures.push(about_transaction(session, &id, &error).await),
        }
    }
    Ok((found, failures))
}

/// An error about a transactional id, with what may have been meant if there is none of that name.
async fn about_transaction(session: &Session, id: &str, error: &Error) -> Failure {
    let mut message = format!("transactional id {id}: {error}");
    if error.code() == Some(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND)
        && let Ok(listed) = session.admin.list_transactions(&TransactionFilter::default()).await
    {
        let names = listed.transactions.iter().map(|it| it.transactional_id.as_str());
        message = format!("no transactional id {id}{}", did_you_mean(id, names));
    }
    Failure::new(Status::of(error), message)
}

#[derive(Debug, Serialize)]
struct Active {
    topic: String,
    partition: i32,
    producer_id: i64,
    producer_epoch: i16,
    coordinator_epoch: Option<i32>,
    last_sequence: Option<i32>,
    last_timestamp_ms: Option<i64>,
    start_offset: Option<Offset>,
}

impl Row for Active {
    const HEAD: &'static [&'static str] = &[
        "TOPIC",
        "PARTITION",
        "PRODUCER-ID",
        "EPOCH",
        "COORDINATOR-EPOCH",
        "LAST-SEQUENCE",
        "LAST-TIMESTAMP-MS",
        "START-OFFSET",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            self.producer_id.to_string(),
            self.producer_epoch.to_string(),
            or_none(self.coordinator_epoch),
            or_none(self.last_sequence),
            or_none(self.last_timestamp_ms),
            or_none(self.start_offset),
        ]
    }
}

impl Active {
    fn of(at: &TopicPartition, it: &ActiveProducer) -> Self {
        Self {
            topic: at.topic.to_string(),
            partition: at.partition,
            producer_id: it.producer_id,
            producer_epoch: it.producer_epoch,
            coordinator_epoch: it.coordinator_epoch,
            last_sequence: it.last_sequence,
            last_timestamp_ms: it.last_timestamp_ms,
            start_offset: it.open_since,
        }
    }
}

async fn producers(args: cli::DescribeProducers) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "transactions").await?;
    let named = partitions(&session, &args.topics).await?;
    let (described, failures) = active(&session, args.broker, &named).await?;
    let rows: Vec<Active> = described.iter().map(|(of, it)| Active::of(of, it)).collect();
    settle(args.printing.output, &rows, failures)
}

/// The producers of partitions, by a broker or by the leaders, and of which partitions they are not known.
async fn active(
    session: &Session,
    broker: Option<BrokerId>,
    of: &[TopicPartition],
) -> Result<(Vec<(TopicPartition, ActiveProducer)>, Vec<Failure>), Failure> {
    let described = match broker {
        Some(broker) => session.admin.describe_producers_on(broker, of).await?,
        None => session.admin.describe_producers(of).await?,
    };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for (of, outcome) in described {
        match outcome {
            Ok(producers) => found.extend(producers.into_iter().map(|it| (of.clone(), it))),
            Err(error) => failures.push(Failure::new(Status::of(&error), error)),
        }
    }
    Ok((found, failures))
}

/// A transaction that is ended, or would be.
#[derive(Debug, Serialize)]
struct Ended {
    topic: String,
    partition: i32,
    producer_id: i64,
    producer_epoch: i16,
    coordinator_epoch: Option<i32>,
    start_offset: Option<Offset>,
}

impl Row for Ended {
    const HEAD: &'static [&'static str] =
        &["TOPIC", "PARTITION", "PRODUCER-ID", "EPOCH", "COORDINATOR-EPOCH", "START-OFFSET"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            self.producer_id.to_string(),
            self.producer_epoch.to_string(),
            or_none(self.coordinator_epoch),
            or_none(self.start_offset),
        ]
    }
}

async fn abort(args: cli::AbortTransaction) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "transactions").await?;
    let named = Partitions { topic: args.topic.clone(), numbers: Some(vec![args.partition]) };
    let of = partitions(&session, &[named]).await?;
    let of = of.into_iter().next().unwrap_or_else(|| TopicPartition::new(args.topic.as_str(), args.partition));
    let what = match args.start_offset {
        Some(offset) => open_at(&session, of, offset).await?,
        None => as_typed(&args, of)?,
    };
    if !args.dry_run {
        session.admin.abort_transaction(&what).await?;
    }
    let row = Ended {
        topic: what.topic_partition.topic.to_string(),
        partition: what.topic_partition.partition,
        producer_id: what.producer_id,
        producer_epoch: what.producer_epoch,
        coordinator_epoch: what.coordinator_epoch,
        start_offset: args.start_offset,
    };
    settle(args.printing.output, &[row], Vec::new())?;
    if args.dry_run {
        eprintln!("highwater: nothing was aborted");
    }
    Ok(())
}

/// The transaction that begins at an offset, as the partition's leader knows it.
async fn open_at(session: &Session, of: TopicPartition, offset: Offset) -> Result<AbortTransaction, Failure> {
    let (active, failures) = active(session, None, std::slice::from_ref(&of)).await?;
    all(failures)?;
    match active.iter().find(|(_, it)| it.open_since == Some(offset)) {
        Some((of, it)) => Ok(AbortTransaction::of(of.clone(), it)),
        None => {
            let mut open: Vec<Offset> = active.iter().filter_map(|(_, it)| it.open_since).collect();
            open.sort_unstable();
            let others = match open.as_slice() {
                [] => "none is open there".to_owned(),
                open => format!("those that are open there begin at {}", output::list(open)),
            };
            let message = format!("no open transaction begins at offset {offset} of {of}: {others}");
            Err(Failure::new(Status::Data, message))
        }
    }
}

fn as_typed(args: &cli::AbortTransaction, topic_partition: TopicPartition) -> Result<AbortTransaction, Failure> {
    let (Some(producer_id), Some(producer_epoch)) = (args.producer_id, args.producer_epoch) else {
        let message = "say which: --start-offset, or --producer-id with --producer-epoch and --coordinator-epoch";
        return Err(Failure::new(Status::Usage, message));
    };
    let coordinator_epoch = args.coordinator_epoch.filter(|epoch| *epoch >= 0);
    Ok(AbortTransaction { topic_partition, producer_id, producer_epoch, coordinator_epoch })
}

#[derive(Debug, Serialize)]
struct Fenced {
    transactional_id: String,
    /// What it was doing before.
    was: String,
    producer_id: i64,
    producer_epoch: i16,
}

impl Row for Fenced {
    const HEAD: &'static [&'static str] = &["TRANSACTIONAL-ID", "WAS", "PRODUCER-ID", "EPOCH"];

    fn cells(&self) -> Vec<String> {
        let Self { transactional_id, was, producer_id, producer_epoch } = self;
        vec![transactional_id.clone(), was.clone(), producer_id.to_string(), producer_epoch.to_string()]
    }
}

async fn fence(args: cli::FenceTransactions) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "transactions").await?;
    // One that is mistyped would be made.
    let (found, mut failures) = descriptions(&session, &args.transactional_ids).await?;
    let row = |it: &TransactionDescription| Fenced {
        transactional_id: it.transactional_id.clone(),
        was: it.state.to_string(),
        producer_id: it.producer_id,
        producer_epoch: it.producer_epoch,
    };
    let mut rows: Vec<Fenced> = found.iter().map(row).collect();
    if args.dry_run {
        settle(args.printing.output, &rows, failures)?;
        eprintln!("highwater: nobody was fenced");
        return Ok(());
    }
    let ids: Vec<String> = found.into_iter().map(|it| it.transactional_id).collect();
    let mut outcomes: HashMap<_, _> = session.admin.fence_producers(&ids).await?.into_iter().collect();
    rows.retain_mut(|row| match outcomes.remove(&row.transactional_id) {
        Some(Ok(fenced)) => {
            (row.producer_id, row.producer_epoch) = (fenced.producer_id, fenced.producer_epoch);
            true
        }
        Some(Err(error)) => {
            failures
                .push(Failure::new(Status::of(&error), format!("transactional id {}: {error}", row.transactional_id)));
            false
        }
        None => false,
    });
    settle(args.printing.output, &rows, failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_open_has_no_age() {
        let it = TransactionDescription {
            transactional_id: "x".to_owned(),
            state: TransactionState::Ongoing,
            producer_id: 7,
            producer_epoch: 2,
            timeout: Duration::from_secs(60),
            began_ms: Some(4_500),
            partitions: vec![TopicPartition::new("t", 0), TopicPartition::new("t", 2)],
            coordinator: 1,
        };
        let cells = described(it.clone(), 6_000).cells();
        assert_eq!(cells, ["x", "1", "7", "2", "Ongoing", "60000", "4500", "1.5", "t-0,t-2"]);
        let done = TransactionDescription { began_ms: None, partitions: Vec::new(), ..it.clone() };
        assert_eq!(described(done, 6_000).cells()[6..], ["-", "-", "-"]);
        assert_eq!(described(it, 4_000).open_seconds, Some(0.0));
    }
}
