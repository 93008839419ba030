//! The transaction coordinator's decisions (KIP-98, KIP-360, KIP-890). Values in, values out: what is decided is a
//! [`Transaction`] as it shall be, which is journalled and then [applied](Coordinator::apply).
//!
//! ```text
//!          add                 EndTxn, timeout,        markers written,
//! Empty ────────▶ Ongoing ──── a successor ────▶ Prepare ──── offsets applied ──▶ Complete
//!                    ▲                          Commit/Abort                    Commit/Abort
//!                    └──────────────────────── add ──────────────────────────────────┘
//! ```
//!
//! A prepared transaction is decided: whatever happens, it will be completed the same way. In one process that takes no
//! time, so only a crash, or a disk that fails, leaves one behind.

use std::collections::{BTreeMap, BTreeSet};

use super::entries::{TransactionEntry, TransactionOffsetEntry, TransactionPartitionEntry};
use crate::devbroker::group::OffsetEntry;
use crate::devbroker::journal::Entry;
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{Str, TopicId};

/// Java's `TransactionMetadata.isEpochExhausted`: one epoch is kept back, to fence with.
const LAST_EPOCH: i16 = i16::MAX - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    Commit,
    Abort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Empty,
    Ongoing,
    Prepared(Close),
    Complete(Close),
}

impl Phase {
    /// In the words of DescribeTransactions.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::Ongoing => "Ongoing",
            Phase::Prepared(Close::Commit) => "PrepareCommit",
            Phase::Prepared(Close::Abort) => "PrepareAbort",
            Phase::Complete(Close::Commit) => "CompleteCommit",
            Phase::Complete(Close::Abort) => "CompleteAbort",
        }
    }

    /// The numbers of Kafka's `TransactionState`.
    fn number(self) -> i8 {
        match self {
            Phase::Empty => 0,
            Phase::Ongoing => 1,
            Phase::Prepared(Close::Commit) => 2,
            Phase::Prepared(Close::Abort) => 3,
            Phase::Complete(Close::Commit) => 4,
            Phase::Complete(Close::Abort) => 5,
        }
    }

    fn from_number(number: i8) -> Phase {
        match number {
            1 => Phase::Ongoing,
            2 => Phase::Prepared(Close::Commit),
            3 => Phase::Prepared(Close::Abort),
            4 => Phase::Complete(Close::Commit),
            5 => Phase::Complete(Close::Abort),
            _ => Phase::Empty,
        }
    }
}

/// Who a producer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub producer_id: i64,
    pub epoch: i16,
}

/// One transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub identity: Identity,
    /// The epoch with which the producer asked for the present one; asking with it again is a retry.
    pub last_epoch: Option<i16>,
    pub timeout_ms: i32,
    pub phase: Phase,
    pub began_ms: Option<i64>,
    pub partitions: BTreeSet<(TopicId, i32)>,
    pub groups: BTreeSet<Str>,
}

impl Transaction {
    fn new(producer_id: i64, timeout_ms: i32) -> Transaction {
        Transaction {
            identity: Identity { producer_id, epoch: 0 },
            last_epoch: None,
            timeout_ms,
            phase: Phase::Empty,
            began_ms: None,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
        }
    }

    fn deadline_ms(&self) -> Option<i64> {
        let began = self.began_ms.filter(|_| self.phase == Phase::Ongoing)?;
        Some(began.saturating_add(i64::from(self.timeout_ms)))
    }

    fn is_exhausted(&self) -> bool {
        self.identity.epoch >= LAST_EPOCH
    }

    /// The same, decided, under another epoch.
    fn prepared(&self, close: Close, epoch: i16, last_epoch: Option<i16>) -> Transaction {
        let identity = Identity { epoch, ..self.identity };
        Transaction { identity, last_epoch, phase: Phase::Prepared(close), ..self.clone() }
    }

    /// Decided by others than its producer, who is fenced by the next epoch.
    pub fn fenced(&self) -> Transaction {
        self.prepared(Close::Abort, self.identity.epoch.saturating_add(1), None)
    }

    /// The same, done; under a new producer id if there is one.
    pub fn completed(&self, close: Close, fresh_id: Option<i64>) -> Transaction {
        let renewed = fresh_id.map(|producer_id| Identity { producer_id, epoch: 0 });
        Transaction {
            identity: renewed.unwrap_or(self.identity),
            phase: Phase::Complete(close),
            began_ms: None,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
            ..self.clone()
        }
    }

    /// What the journal shall say of it from now on.
    pub fn entry(&self, transactional_id: &Str) -> Entry {
        let partition = |(topic_id, partition): &(TopicId, i32)| TransactionPartitionEntry {
            topic_id: *topic_id,
            partition: *partition,
        };
        TransactionEntry {
            transactional_id: transactional_id.clone(),
            producer_id: self.identity.producer_id,
            epoch: self.identity.epoch,
            last_epoch: self.last_epoch.unwrap_or(-1),
            timeout_ms: self.timeout_ms,
            state: self.phase.number(),
            began_ms: self.began_ms.unwrap_or(-1),
            partitions: self.partitions.iter().map(partition).collect(),
            groups: self.groups.iter().cloned().collect(),
        }
        .into()
    }

    fn from_entry(entry: &TransactionEntry) -> Transaction {
        Transaction {
            identity: Identity { producer_id: entry.producer_id, epoch: entry.epoch },
            last_epoch: Some(entry.last_epoch).filter(|epoch| *epoch >= 0),
            timeout_ms: entry.timeout_ms,
            phase: Phase::from_number(entry.state),
            began_ms: Some(entry.began_ms).filter(|ms| *ms >= 0),
            partitions: entry.partitions.iter().map(|it| (it.topic_id, it.partition)).collect(),
            groups: entry.groups.iter().cloned().collect(),
        }
    }
}

/// What InitProducerId comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Init {
    /// A new producer id is needed; ask again with one.
    NeedsId,
    /// What is open must be completed like this first.
    Abort(Transaction),
    Become(Transaction),
}

/// What EndTxn comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Prepare(Transaction, Close),
    /// It is done already, under this identity.
    Done(Identity),
}

/// Where offsets wait: group, topic, partition.
type Place = (Str, Str, i32);

#[derive(Debug)]
struct Kept {
    transaction: Transaction,
    offsets: BTreeMap<Place, TransactionOffsetEntry>,
}

/// All transactional ids of this process.
#[derive(Debug, Default)]
pub struct Coordinator {
    kept: BTreeMap<Str, Kept>,
    due: BTreeSet<(i64, Str)>,
}

impl Coordinator {
    pub fn get(&self, transactional_id: &str) -> Option<&Transaction> {
        self.kept.get(transactional_id).map(|kept| &kept.transaction)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Str, &Transaction)> {
        self.kept.iter().map(|(id, kept)| (id, &kept.transaction))
    }

    /// InitProducerId (22) with a transactional id.
    pub fn init(
        &self,
        transactional_id: &str,
        shown: Option<Identity>,
        timeout_ms: i32,
        fresh_id: Option<i64>,
    ) -> Result<Init, ErrorCode> {
        let Some(known) = self.get(transactional_id) else {
            return Ok(fresh_id.map_or(Init::NeedsId, |id| Init::Become(Transaction::new(id, timeout_ms))));
        };
        if shown.is_some_and(|shown| shown.producer_id != known.identity.producer_id) {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        match known.phase {
            Phase::Prepared(_) => return Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            Phase::Ongoing => return Ok(Init::Abort(known.fenced())),
            Phase::Empty | Phase::Complete(_) => {}
        }
        if known.is_exhausted() && shown.is_none_or(|shown| shown.epoch == known.identity.epoch) {
            return Ok(fresh_id.map_or(Init::NeedsId, |id| Init::Become(Transaction::new(id, timeout_ms))));
        }
        let (epoch, last_epoch) = next_epoch(known, shown.map(|shown| shown.epoch))?;
        let identity = Identity { epoch, ..known.identity };
        let next = Transaction { identity, last_epoch, timeout_ms, phase: Phase::Empty, ..known.clone() };
        Ok(Init::Become(next))
    }

    fn check(&self, transactional_id: &str, who: Identity) -> Result<&Transaction, ErrorCode> {
        let known = self.get(transactional_id).filter(|it| it.identity.producer_id == who.producer_id);
        known.ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
    }

    /// AddPartitionsToTxn (24) and AddOffsetsToTxn (25), or what says the same by itself: the transaction with these in it;
    /// `None` if they are.
    pub fn add(
        &self,
        transactional_id: &str,
        who: Identity,
        partitions: &[(TopicId, i32)],
        group: Option<&Str>,
        now_ms: i64,
    ) -> Result<Option<Transaction>, ErrorCode> {
        let known = self.check(transactional_id, who)?;
        if who.epoch != known.identity.epoch {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        if matches!(known.phase, Phase::Prepared(_)) {
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        let mut next = Transaction { phase: Phase::Ongoing, ..known.clone() };
        next.began_ms.get_or_insert(now_ms);
        next.partitions.extend(partitions);
        next.groups.extend(group.cloned());
        Ok((next != *known).then_some(next))
    }

    /// Whether an open transaction of this producer writes to this partition.
    pub fn is_in(&self, transactional_id: &str, who: Identity, partition: (TopicId, i32)) -> Result<bool, ErrorCode> {
        let known = self.check(transactional_id, who)?;
        if who.epoch != known.identity.epoch {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        Ok(known.phase == Phase::Ongoing && known.partitions.contains(&partition))
    }

    /// The same for the offsets of a group.
    pub fn has_group(&self, transactional_id: &str, who: Identity, group: &Str) -> Result<bool, ErrorCode> {
        let known = self.check(transactional_id, who)?;
        if who.epoch != known.identity.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        Ok(known.phase == Phase::Ongoing && known.groups.contains(group))
    }

    /// EndTxn (26). In the second protocol the epoch rises with each end, so that a retry is told from another end.
    pub fn end(&self, transactional_id: &str, who: Identity, close: Close, is_v2: bool) -> Result<End, ErrorCode> {
        // A retry after the ids were exchanged shows the old one; it is not known here any more.
        let known = self.check(transactional_id, who)?;
        let current = known.identity.epoch;
        // The epoch before this one: a retry, or a producer that has not heard that its time was over.
        let is_former = who.epoch.checked_add(1) == Some(current);
        let is_retry = is_v2 && is_former && matches!(known.phase, Phase::Complete(_));
        if who.epoch != current && !is_retry {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        let next = if is_v2 { current.saturating_add(1) } else { current };
        let last_epoch = if is_v2 { Some(current) } else { known.last_epoch };
        match known.phase {
            Phase::Ongoing => Ok(End::Prepare(known.prepared(close, next, last_epoch), close)),
            Phase::Prepared(decided) if decided == close => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            Phase::Complete(done) if done == close && (is_retry || !is_v2) => Ok(End::Done(known.identity)),
            Phase::Empty | Phase::Complete(_) if is_v2 && !is_retry && close == Close::Abort => {
                Ok(End::Prepare(known.prepared(close, next, last_epoch), close))
            }
            Phase::Empty | Phase::Prepared(_) | Phase::Complete(_) => Err(ErrorCode::INVALID_TXN_STATE),
        }
    }

    /// Whether the epochs of this id are used up, so that it goes on under another producer id.
    pub fn needs_id(&self, transactional_id: &str) -> bool {
        self.get(transactional_id).is_some_and(Transaction::is_exhausted)
    }

    /// The offsets that become so when the transaction is committed.
    pub fn offsets(&self, transactional_id: &str) -> impl Iterator<Item = OffsetEntry> {
        let waiting = self.kept.get(transactional_id).into_iter().flat_map(|kept| kept.offsets.values());
        waiting.map(|it| OffsetEntry {
            group_id: it.group_id.clone(),
            topic: it.topic.clone(),
            partition: it.partition,
            offset: it.offset,
            leader_epoch: it.leader_epoch,
            metadata: it.metadata.clone(),
        })
    }

    /// Whether an open transaction may yet change what a group has committed there (KIP-447).
    pub fn is_unstable(&self, group: &str, topic: &str, partition: i32) -> bool {
        let place = (Str::from(group), Str::from(topic), partition);
        self.kept.values().any(|kept| kept.offsets.contains_key(&place))
    }

    /// When the first open transaction is to be aborted, in the time of day.
    pub fn deadline_ms(&self) -> Option<i64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// An id whose open transaction has taken too long.
    pub fn overdue(&self, now_ms: i64) -> Option<Str> {
        self.due.first().filter(|(at, _)| *at <= now_ms).map(|(_, id)| id.clone())
    }

    /// The ids whose transactions were decided and not completed.
    pub fn prepared(&self) -> Vec<Str> {
        let is_prepared = |transaction: &Transaction| matches!(transaction.phase, Phase::Prepared(_));
        self.iter().filter(|(_, it)| is_prepared(it)).map(|(id, _)| id.clone()).collect()
    }

    /// Takes in what was journalled, just now or before a restart.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Transaction(entry) => self.put(&entry.transactional_id, Transaction::from_entry(entry)),
            Entry::TransactionOffset(entry) => {
                if let Some(kept) = self.kept.get_mut(&entry.transactional_id) {
                    let place = (entry.group_id.clone(), entry.topic.clone(), entry.partition);
                    kept.offsets.insert(place, entry.clone());
                }
            }
            _ => {}
        }
    }

    fn put(&mut self, id: &Str, transaction: Transaction) {
        let kept = self.kept.remove(id);
        if let Some(at) = kept.as_ref().and_then(|kept| kept.transaction.deadline_ms()) {
            self.due.remove(&(at, id.clone()));
        }
        if let Some(at) = transaction.deadline_ms() {
            self.due.insert((at, id.clone()));
        }
        let is_open = matches!(transaction.phase, Phase::Ongoing | Phase::Prepared(_));
        let offsets = kept.filter(|_| is_open).map(|kept| kept.offsets).unwrap_or_default();
        self.kept.insert(id.clone(), Kept { transaction, offsets });
    }

    /// Everything that [`apply`](Self::apply) would need to hear, for a compacted journal.
    pub fn snapshot(&self) -> Vec<Entry> {
        let entries = |(id, kept): (&Str, &Kept)| {
            let mut entries = vec![kept.transaction.entry(id)];
            entries.extend(kept.offsets.values().cloned().map(Entry::from));
            entries
        };
        self.kept.iter().flat_map(entries).collect()
    }
}

/// The epoch of a producer that begins (anew), and the one with which it may ask the same again (KIP-360).
fn next_epoch(known: &Transaction, shown: Option<i16>) -> Result<(i16, Option<i16>), ErrorCode> {
    let current = known.identity.epoch;
    match shown {
        None => Ok((current.saturating_add(1), None)),
        Some(shown) if shown == current => Ok((current.saturating_add(1), Some(current))),
        Some(shown) if known.last_epoch == Some(shown) => Ok((current, Some(shown))),
        Some(_) => Err(ErrorCode::PRODUCER_FENCED),
    }
}

#[cfg(test)]
mod tests;
