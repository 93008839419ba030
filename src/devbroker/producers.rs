//! What a partition remembers of idempotent producers (KIP-98): enough to tell a retry from a gap, and, of those that write
//! in transactions, what readers of committed records may see.
//!
//! As in Kafka 4.x, nothing known of a producer id means that any sequence is taken (KIP-360), so UNKNOWN_PRODUCER_ID is
//! never answered. The last five batches of a producer are kept, because a client may have five in flight.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::protocol::batch::{ControlType, Marker};
use crate::protocol::error::ErrorCode;
use crate::protocol::types::Offset;

/// How many batches of one producer are remembered; what `max.in.flight.requests.per.connection` may be at most.
const REMEMBERED: usize = 5;

/// The bit of a batch's attributes that says so, in their lower byte.
const TRANSACTIONAL: u8 = 0x10;

/// A batch as far as its producer is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub producer_id: i64,
    pub epoch: i16,
    pub first: i32,
    pub count: i32,
    pub is_transactional: bool,
}

impl Stamp {
    /// What a stored batch (format 2) says: its stamp, base offset and largest timestamp; `None` if it has no producer.
    pub fn read(batch: &[u8]) -> Option<(Stamp, Offset, i64)> {
        let stamp = Stamp {
            producer_id: i64::from_be_bytes(*batch.get(43..)?.first_chunk()?),
            epoch: i16::from_be_bytes(*batch.get(51..)?.first_chunk()?),
            first: i32::from_be_bytes(*batch.get(53..)?.first_chunk()?),
            // Compaction takes records out, and leaves the bounds.
            count: i32::from_be_bytes(*batch.get(23..)?.first_chunk()?).checked_add(1)?,
            is_transactional: batch.get(22)? & TRANSACTIONAL != 0,
        };
        let base_offset = i64::from_be_bytes(*batch.first_chunk()?);
        let timestamp_ms = i64::from_be_bytes(*batch.get(35..)?.first_chunk()?);
        (stamp.producer_id >= 0).then_some((stamp, base_offset, timestamp_ms))
    }

    /// Sequences count up to `i32::MAX` and go on at 0.
    fn last(&self) -> i32 {
        after(self.first, self.count - 1)
    }
}

fn after(sequence: i32, steps: i32) -> i32 {
    ((i64::from(sequence) + i64::from(steps)) & i64::from(i32::MAX)) as i32
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Appended {
    first: i32,
    last: i32,
    base_offset: Offset,
    timestamp_ms: i64,
}

/// One producer, as DescribeProducers shows it.
#[derive(Debug, Clone)]
pub struct Producer {
    pub epoch: i16,
    pub seen_ms: i64,
    /// Where its open transaction began.
    pub open_since: Option<Offset>,
    /// Of the coordinator that ended its last one.
    pub coordinator_epoch: Option<i32>,
    batches: VecDeque<Appended>,
}

/// A transaction that came to nothing: from its first offset to its marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    pub producer_id: i64,
    pub first: Offset,
    pub marker: Offset,
}

impl Producer {
    /// `None` while nothing of the present epoch has been appended.
    pub fn last_sequence(&self) -> Option<i32> {
        self.batches.back().map(|batch| batch.last)
    }
}

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Append,
    /// It is here already: answer with where it went the first time.
    Duplicate {
        base_offset: Offset,
        timestamp_ms: i64,
    },
    Refuse(ErrorCode),
}

#[derive(Debug, Default)]
pub struct Producers {
    known: HashMap<i64, Producer>,
    /// First offset and producer of every open transaction.
    open: BTreeSet<(Offset, i64)>,
    /// In the order of their markers.
    aborted: Vec<Aborted>,
}

impl Producers {
    pub fn check(&self, stamp: &Stamp) -> Check {
        let Some(producer) = self.known.get(&stamp.producer_id) else { return Check::Append };
        if stamp.epoch < producer.epoch {
            return Check::Refuse(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if stamp.epoch > producer.epoch {
            return if stamp.first == 0 {
                Check::Append
            } else {
                Check::Refuse(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
            };
        }
        if producer.open_since.is_some() && !stamp.is_transactional {
            return Check::Refuse(ErrorCode::INVALID_TXN_STATE);
        }
        let same = |batch: &&Appended| (batch.first, batch.last) == (stamp.first, stamp.last());
        if let Some(batch) = producer.batches.iter().find(same) {
            return Check::Duplicate { base_offset: batch.base_offset, timestamp_ms: batch.timestamp_ms };
        }
        match producer.last_sequence() {
            Some(last) if after(last, 1) != stamp.first => Check::Refuse(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            _ => Check::Append,
        }
    }

    /// Remembers a batch that was appended.
    pub fn appended(&mut self, stamp: &Stamp, base_offset: Offset, timestamp_ms: i64) {
        let producer = self.at(stamp.producer_id, stamp.epoch, timestamp_ms);
        if producer.batches.len() == REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Appended { first: stamp.first, last: stamp.last(), base_offset, timestamp_ms });
        if stamp.is_transactional && producer.open_since.is_none() {
            producer.open_since = Some(base_offset);
            self.open.insert((base_offset, stamp.producer_id));
        }
    }

    /// What is known of a producer, from now on in this epoch.
    fn at(&mut self, producer_id: i64, epoch: i16, timestamp_ms: i64) -> &mut Producer {
        let fresh = || Producer {
            epoch,
            seen_ms: timestamp_ms,
            open_since: None,
            coordinator_epoch: None,
            batches: VecDeque::new(),
        };
        let producer = self.known.entry(producer_id).or_insert_with(fresh);
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        producer.seen_ms = producer.seen_ms.max(timestamp_ms);
        producer
    }

    /// Whether a marker that comes from outside may end a transaction. In the second protocol each end has an epoch of its
    /// own, so that one that comes late ends nothing that began since; the same once more is a retry (KIP-890, KIP-1228).
    pub fn check_end(&self, marker: &Marker, is_v2: bool) -> Result<(), ErrorCode> {
        let Some(producer) = self.known.get(&marker.producer_id) else { return Ok(()) };
        let is_late = is_v2 && marker.producer_epoch == producer.epoch && producer.open_since.is_some();
        if marker.producer_epoch < producer.epoch || is_late {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if producer.coordinator_epoch.is_some_and(|epoch| epoch > marker.coordinator_epoch) {
            return Err(ErrorCode::TRANSACTION_COORDINATOR_FENCED);
        }
        Ok(())
    }

    /// A transaction has ended, by a marker at this offset.
    pub fn ended(&mut self, marker: &Marker, offset: Offset) {
        let producer_id = marker.producer_id;
        let producer = self.at(producer_id, marker.producer_epoch, marker.timestamp_ms);
        producer.coordinator_epoch = Some(marker.coordinator_epoch);
        let Some(first) = producer.open_since.take() else { return };
        self.open.remove(&(first, producer_id));
        if marker.control_type == ControlType::Abort {
            self.aborted.push(Aborted { producer_id, first, marker: offset });
        }
    }

    pub fn is_open(&self, producer_id: i64) -> bool {
        self.known.get(&producer_id).is_some_and(|producer| producer.open_since.is_some())
    }

    /// The first offset that belongs to an open transaction.
    pub fn first_open(&self) -> Option<Offset> {
        self.open.first().map(|(offset, _)| *offset)
    }

    /// What a reader of committed records must leave out between two offsets.
    pub fn aborted(&self, from: Offset, to: Offset) -> impl Iterator<Item = &Aborted> {
        let after = self.aborted.partition_point(|it| it.marker < from);
        self.aborted[after..].iter().filter(move |it| it.first < to)
    }

    /// Forgets what lies wholly before the start of the log.
    pub fn forget_before(&mut self, start: Offset) {
        let gone = self.aborted.partition_point(|it| it.marker < start);
        self.aborted.drain(..gone);
    }

    /// Forgets batches from `end` on: the log was cut there.
    pub fn forget_from(&mut self, end: Offset) {
        for lost in self.aborted.extract_if(.., |it| it.marker >= end) {
            // Without its marker it is open again, and hidden until it is ended anew.
            if let Some(producer) = self.known.get_mut(&lost.producer_id).filter(|it| it.open_since.is_none()) {
                producer.open_since = Some(lost.first);
                self.open.insert((lost.first, lost.producer_id));
            }
        }
        self.open.retain(|(first, _)| *first < end);
        self.known.retain(|_, producer| {
            let knew = !producer.batches.is_empty();
            producer.batches.retain(|batch| batch.base_offset < end);
            producer.open_since.take_if(|first| *first >= end);
            !(knew && producer.batches.is_empty()) || producer.open_since.is_some()
        });
    }

    /// Forgets producers that have written nothing since `before_ms` (`producer.id.expiration.ms`).
    pub fn expire(&mut self, before_ms: i64) {
        self.known.retain(|_, producer| producer.seen_ms >= before_ms || producer.open_since.is_some());
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.known.iter().map(|(id, producer)| (*id, producer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(epoch: i16, first: i32, count: i32) -> Stamp {
        Stamp { producer_id: 7, epoch, first, count, is_transactional: false }
    }

    /// Appends `written` one after another, each a batch of ten at offsets 0, 10, 20 …, and checks `asked`.
    fn check(name: &str, written: &[(i16, i32)], asked: Stamp, expected: Check) {
        let mut producers = Producers::default();
        for (at, (epoch, first)) in written.iter().enumerate() {
            let stamp = stamp(*epoch, *first, 10);
            assert_eq!(producers.check(&stamp), Check::Append, "{name}: batch {at}");
            producers.appended(&stamp, at as i64 * 10, 1000 + at as i64);
        }
        assert_eq!(producers.check(&asked), expected, "{name}");
    }

    #[test]
    fn a_retry_is_told_from_a_gap() {
        let out_of_order = Check::Refuse(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        let six = [(0, 0), (0, 10), (0, 20), (0, 30), (0, 40), (0, 50)];
        let wraps = i32::MAX - 9;
        check("nothing known, any sequence", &[], stamp(0, 500, 3), Check::Append);
        check("next", &[(0, 0)], stamp(0, 10, 3), Check::Append);
        check("gap", &[(0, 0)], stamp(0, 11, 3), out_of_order);
        check("retry", &six, stamp(0, 20, 10), Check::Duplicate { base_offset: 20, timestamp_ms: 1002 });
        check(
            "retry of the oldest remembered",
            &six,
            stamp(0, 10, 10),
            Check::Duplicate { base_offset: 10, timestamp_ms: 1001 },
        );
        check("retry of one forgotten", &six, stamp(0, 0, 10), out_of_order);
        check("same start, other length", &six, stamp(0, 50, 9), out_of_order);
        check("new epoch from 0", &six, stamp(1, 0, 1), Check::Append);
        check("new epoch, not from 0", &six, stamp(1, 60, 1), out_of_order);
        check("fenced", &[(3, 0)], stamp(2, 10, 1), Check::Refuse(ErrorCode::INVALID_PRODUCER_EPOCH));
        check("after the largest sequence comes 0", &[(0, wraps)], stamp(0, 0, 1), Check::Append);
        check(
            "retry across the wrap",
            &[(0, wraps + 5)],
            stamp(0, wraps + 5, 10),
            Check::Duplicate { base_offset: 0, timestamp_ms: 1000 },
        );
    }

    #[test]
    fn an_end_from_outside_is_as_new_as_what_it_ends() {
        let marker = |producer_epoch: i16, coordinator_epoch: i32| Marker {
            control_type: ControlType::Abort,
            producer_id: 7,
            producer_epoch,
            coordinator_epoch,
            timestamp_ms: 1000,
        };
        let mut producers = Producers::default();
        let check = |producers: &Producers, end: Marker, is_v2: bool, expect: Result<(), ErrorCode>| {
            assert_eq!(producers.check_end(&end, is_v2), expect, "{end:?} {is_v2}");
        };
        let (late, fenced) = (ErrorCode::INVALID_PRODUCER_EPOCH, ErrorCode::TRANSACTION_COORDINATOR_FENCED);
        check(&producers, marker(0, 0), true, Ok(()));
        producers.appended(&Stamp { is_transactional: true, ..stamp(3, 0, 1) }, 0, 1000);
        check(&producers, marker(2, 9), false, Err(late));
        check(&producers, marker(3, 0), false, Ok(()));
        check(&producers, marker(3, 0), true, Err(late));
        check(&producers, marker(4, 0), true, Ok(()));
        producers.ended(&marker(4, 5), 1);
        check(&producers, marker(4, 5), true, Ok(()));
        check(&producers, marker(4, 4), false, Err(fenced));
        check(&producers, marker(3, 4), false, Err(late));
    }

    #[test]
    fn an_idle_producer_is_forgotten() {
        let mut producers = Producers::default();
        producers.appended(&stamp(0, 0, 1), 0, 1000);
        producers.expire(1000);
        assert_eq!(producers.iter().count(), 1);
        producers.expire(1001);
        assert_eq!(producers.iter().count(), 0);
    }
}
