//! Transactions: the shell of their [coordinator], which journals what it decides, writes the markers, makes
//! the offsets of a group so, and aborts what takes too long.
//!
//! An end is three steps, each of which may be the last before a crash: the decision is journalled; a marker is appended to
//! every partition; the offsets and the completion are journalled together. A start that finds a decision without its
//! completion goes on from there: partitions whose log has the marker already are known by it.

mod coordinator;
mod entries;

use bytes::BytesMut;

pub use self::coordinator::{Close, Coordinator, End, Identity, Init, Phase, Transaction};
pub use self::entries::{TransactionEntry, TransactionOffsetEntry};
use super::clock::{Now, TimerId, after_ms};
use super::groups;
use super::journal::Entry;
use super::state::{State, Timer};
use crate::protocol::batch::{Assignment, ControlType, Marker, assign};
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{Str, TopicId};

/// Of the one coordinator that there is.
const COORDINATOR_EPOCH: i32 = 0;

/// Part of [`State`].
#[derive(Debug, Default)]
pub struct Transactions {
    pub(super) coordinator: Coordinator,
    /// The moment of the next deadline, in the time of day.
    timer: Option<(i64, TimerId)>,
}

impl Transactions {
    pub fn replay(&mut self, entry: &Entry) {
        self.coordinator.apply(entry);
    }

    pub fn snapshot(&self) -> Vec<Entry> {
        self.coordinator.snapshot()
    }
}

/// InitProducerId with a transactional id: who the producer is from now on. What its predecessor left open is aborted.
pub fn init(
    state: &mut State,
    now: Now,
    id: &Str,
    shown: Option<Identity>,
    timeout_ms: i32,
) -> Result<Identity, ErrorCode> {
    settle(state, now, id)?;
    let mut fresh_id = None;
    loop {
        match state.transactions.coordinator.init(id, shown, timeout_ms, fresh_id)? {
            Init::NeedsId => fresh_id = Some(state.new_producer_id()?),
            Init::Abort(prepared) => {
                change(state, now, &[prepared.entry(id)])?;
                complete(state, now, id, Markers::All)?;
            }
            Init::Become(next) => {
                change(state, now, &[next.entry(id)])?;
                return Ok(next.identity);
            }
        }
    }
}

/// Makes partitions, or the offsets of a group, part of the open transaction; opens one if there is none.
pub fn add(
    state: &mut State,
    now: Now,
    id: &Str,
    who: Identity,
    partitions: &[(TopicId, i32)],
    group: Option<&Str>,
) -> Result<(), ErrorCode> {
    match state.transactions.coordinator.add(id, who, partitions, group, now.unix_ms)? {
        Some(next) => change(state, now, &[next.entry(id)]),
        None => Ok(()),
    }
}

/// Keeps offsets until it is known whether the transaction is committed.
pub fn keep_offsets(
    state: &mut State,
    now: Now,
    offsets: impl IntoIterator<Item = TransactionOffsetEntry>,
) -> Result<(), ErrorCode> {
    let entries: Vec<Entry> = offsets.into_iter().map(Entry::from).collect();
    change(state, now, &entries)
}

/// EndTxn: the identity of the next transaction.
pub fn end(
    state: &mut State,
    now: Now,
    id: &Str,
    who: Identity,
    close: Close,
    is_v2: bool,
) -> Result<Identity, ErrorCode> {
    settle(state, now, id)?;
    match state.transactions.coordinator.end(id, who, close, is_v2)? {
        End::Done(identity) => Ok(identity),
        End::Prepare(prepared, _) => {
            change(state, now, &[prepared.entry(id)])?;
            complete(state, now, id, Markers::All)
        }
    }
}

/// Completes what a failing disk has left half done.
fn settle(state: &mut State, now: Now, id: &Str) -> Result<(), ErrorCode> {
    match state.transactions.coordinator.get(id).map(|it| it.phase) {
        Some(Phase::Prepared(_)) => complete(state, now, id, Markers::Missing).map(drop),
        _ => Ok(()),
    }
}

/// The time of the earliest deadline has come.
pub fn on_timer(state: &mut State, now: Now) {
    state.transactions.timer = None;
    while let Some(id) = state.transactions.coordinator.overdue(now.unix_ms) {
        let Some(fenced) = state.transactions.coordinator.get(&id).map(Transaction::fenced) else { break };
        tracing::info!(transactional_id = %id, "a transaction took too long and is aborted");
        let aborted = change(state, now, &[fenced.entry(&id)]).and_then(|()| complete(state, now, &id, Markers::All));
        if let Err(error) = aborted {
            tracing::error!(transactional_id = %id, %error, "the transaction could not be aborted");
            break;
        }
    }
    arm(state, now);
}

/// After a start: completes what was decided, and lets time run on for what is open.
pub fn resume(state: &mut State, now: Now) {
    for id in state.transactions.coordinator.prepared() {
        if let Err(error) = complete(state, now, &id, Markers::Missing) {
            tracing::error!(transactional_id = %id, %error, "a decided transaction could not be completed");
        }
    }
    arm(state, now);
}

/// Journals decisions of the coordinator, and only then lets them be so.
fn change(state: &mut State, now: Now, entries: &[Entry]) -> Result<(), ErrorCode> {
    // What a client does about this error is to look for the coordinator and try again.
    state.record(entries).map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    for entry in entries {
        state.transactions.coordinator.apply(entry);
        state.groups.coordinator.apply(entry);
    }
    groups::arm(state);
    arm(state, now);
    Ok(())
}

/// Which partitions get a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Markers {
    All,
    /// Those whose log does not say how the transaction ended.
    Missing,
}

/// Carries out what was decided.
fn complete(state: &mut State, now: Now, id: &Str, markers: Markers) -> Result<Identity, ErrorCode> {
    let Some(decided) = state.transactions.coordinator.get(id).cloned() else {
        return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    };
    let Phase::Prepared(close) = decided.phase else { return Err(ErrorCode::INVALID_TXN_STATE) };
    for partition in &decided.partitions {
        mark(state, now, *partition, &decided, close, markers)?;
    }
    let renew = state.transactions.coordinator.needs_id(id);
    let fresh_id = if renew { Some(state.new_producer_id()?) } else { None };
    let mut entries: Vec<Entry> = match close {
        Close::Commit => state.transactions.coordinator.offsets(id).map(Entry::from).collect(),
        Close::Abort => Vec::new(),
    };
    // A topic that was deleted meanwhile has no offsets.
    entries.retain(|entry| matches!(entry, Entry::Offset(it) if state.topics.get(&it.topic).is_some()));
    let completed = decided.completed(close, fresh_id);
    entries.push(completed.entry(id));
    change(state, now, &entries)?;
    Ok(completed.identity)
}

/// Ends a transaction on one partition; one whose topic is gone needs no marker.
fn mark(
    state: &mut State,
    now: Now,
    of: (TopicId, i32),
    decided: &Transaction,
    close: Close,
    markers: Markers,
) -> Result<(), ErrorCode> {
    let Some(partition) = state.topics.by_id(of.0).and_then(|it| it.partition(of.1)) else { return Ok(()) };
    let Identity { producer_id, epoch } = decided.identity;
    if markers == Markers::Missing && !partition.producers.is_open(producer_id) {
        return Ok(());
    }
    let marker = Marker {
        control_type: match close {
            Close::Commit => ControlType::Commit,
            Close::Abort => ControlType::Abort,
        },
        producer_id,
        producer_epoch: epoch,
        coordinator_epoch: COORDINATOR_EPOCH,
        timestamp_ms: now.unix_ms,
    };
    append_marker(state, now, of, &marker)
}

/// Appends a marker, whoever it comes from, to a partition that is there.
pub fn append_marker(
    state: &mut State,
    now: Now,
    (topic, index): (TopicId, i32),
    marker: &Marker,
) -> Result<(), ErrorCode> {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let it = state.topics.by_id_mut(topic).ok_or(unknown)?;
    let (name, segment_bytes) = (it.name.clone(), it.config.segment_bytes);
    let partition = it.partition_mut(index).ok_or(unknown)?;
    let (base_offset, leader_epoch) = (partition.log.end(), partition.leader_epoch);
    let appended = marker.batch().map_err(std::io::Error::other).and_then(|mut batch: BytesMut| {
        assign(&mut batch, Assignment { base_offset, leader_epoch, log_append_time_ms: None });
        partition.log.append(batch.freeze(), segment_bytes)
    });
    appended.map_err(|error| {
        tracing::error!(topic = %name, partition = index, %error, "the end of a transaction could not be written");
        ErrorCode::COORDINATOR_NOT_AVAILABLE
    })?;
    partition.producers.ended(marker, base_offset);
    state.show(now, topic, index);
    Ok(())
}

/// Keeps the one timer at the earliest deadline.
fn arm(state: &mut State, now: Now) {
    let next = state.transactions.coordinator.deadline_ms();
    if next == state.transactions.timer.map(|(at, _)| at) {
        return;
    }
    if let Some((_, timer)) = state.transactions.timer.take() {
        state.timers.cancel(timer);
    }
    let at = |ms: i64| after_ms(now, ms.saturating_sub(now.unix_ms));
    state.transactions.timer = next.map(|ms| (ms, state.timers.schedule(at(ms), Timer::Transaction)));
}
