//! What partitions hold from an offset on (Fetch), by the heads of batches alone, with one request to each leader.
//!
//! An offset is not always a record: a transaction ends with a marker, which takes one (KIP-98), and compaction takes records
//! and leaves their offsets. The head of a batch says which offsets it covers, how many records are in it, and whether it is
//! a marker, so that nothing has to be unpacked; only a marker is read, for how its transaction ended.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use super::{Admin, Round, all_failed, by, passes, unanswered};
use crate::client::admin::offsets::{IsolationLevel, Led};
use crate::client::cluster::To;
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::client::metadata::Metadata;
use crate::protocol::api::Body;
use crate::protocol::batch::{ControlType, Header, batches};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use crate::protocol::types::{BrokerId, Offset, Str, Topic, TopicId, TopicPartition};

/// About how much of a partition is looked at: some hundred markers, or a batch of records and what comes after it.
const PARTITION_BYTES: i32 = 64 * 1024;
/// About how much of all partitions of a leader: those for which there is no room are answered with nothing seen.
const LEADER_BYTES: i32 = 2 * 1024 * 1024;

/// What a partition holds between two offsets, as far as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// What was asked for and seen; of what comes after it nothing is known.
    pub seen: Range<Offset>,
    /// Whether any of it is of a transaction.
    pub has_transactions: bool,
    /// Where there are records, in order.
    runs: Box<[Run]>,
}

/// Offsets that hold records: as many as there are offsets, unless compaction took some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    begin: Offset,
    end: Offset,
    records: u64,
    is_aborted: bool,
}

impl Run {
    fn is_full(&self) -> bool {
        self.records == length(&(self.begin..self.end))
    }

    fn is_read(&self, isolation: IsolationLevel) -> bool {
        !(self.is_aborted && isolation == IsolationLevel::ReadCommitted)
    }

    /// Its records among these offsets, at most: which offsets of a run are empty was not seen.
    fn records_in(&self, offsets: &Range<Offset>) -> u64 {
        self.records.min(length(&common(&(self.begin..self.end), offsets)))
    }

    /// Whether two runs can be told as one.
    fn goes_on_in(&self, next: &Self) -> bool {
        self.end == next.begin && self.is_aborted == next.is_aborted && self.is_full() && next.is_full()
    }
}

fn length(offsets: &Range<Offset>) -> u64 {
    u64::try_from(offsets.end.saturating_sub(offsets.start)).unwrap_or(0)
}

fn common(a: &Range<Offset>, b: &Range<Offset>) -> Range<Offset> {
    a.start.max(b.start)..a.end.min(b.end)
}

impl Contents {
    /// At most so many records are there to be read among these offsets; whatever was not seen may be a record.
    pub fn records(&self, offsets: &Range<Offset>, isolation: IsolationLevel) -> u64 {
        let seen = common(&self.seen, offsets);
        let read = self.runs.iter().filter(|run| run.is_read(isolation));
        let records: u64 = read.map(|run| run.records_in(&seen)).sum();
        length(offsets) - length(&seen) + records
    }

    /// Records of transactions that are known to have been aborted.
    pub fn aborted(&self, offsets: &Range<Offset>) -> u64 {
        let seen = common(&self.seen, offsets);
        self.runs.iter().filter(|run| run.is_aborted).map(|run| run.records_in(&seen)).sum()
    }

    /// The first offset from `position` on that may be of a record.
    pub fn first_record(&self, position: Offset, isolation: IsolationLevel) -> Offset {
        if !self.seen.contains(&position) {
            return position;
        }
        let run = self.runs.iter().find(|run| run.end > position && run.is_read(isolation));
        run.map_or(self.seen.end, |run| run.begin.max(position))
    }

    /// Reads a record set that was fetched from `from` on. Where it cannot be believed, no more of it was seen.
    fn read(from: Offset, record_set: Bytes) -> Self {
        let (mut reading, mut walk) = (Reading::from(from), batches(record_set));
        for batch in walk.by_ref() {
            let believed = batch.ok().filter(|batch| batch.verify_crc().is_ok());
            match believed {
                Some(batch) if reading.goes_on(&batch, batch.control_type()) => {}
                _ => return reading.contents(),
            }
        }
        // Of a batch that was cut off, the head says as much.
        if let Some(head) = Header::read(walk.rest()).filter(|head| head.magic == 2 && head.last_offset_delta >= 0) {
            reading.goes_on(&head, None);
        }
        reading.contents()
    }
}

/// A record set as far as it was read.
struct Reading {
    seen: Range<Offset>,
    has_transactions: bool,
    runs: Vec<Run>,
    /// Where the runs of transactions are whose ends have not come yet, by producer.
    open: HashMap<i64, Vec<usize>>,
}

impl Reading {
    fn from(from: Offset) -> Self {
        Self { seen: from..from, has_transactions: false, runs: Vec::new(), open: HashMap::new() }
    }

    /// Whether the batch can stand here. Offsets between batches hold nothing: compaction took what was there.
    fn goes_on(&mut self, head: &Header, ends: Option<ControlType>) -> bool {
        let Range { start: from, end: at } = self.seen;
        let (begin, end) = (head.base_offset.max(from), head.next_offset());
        let Ok(count) = u64::try_from(head.count) else { return false };
        if end <= at {
            // Before what was asked for; anywhere else, batches go on from each other.
            return at == from;
        }
        if head.base_offset < at && at > from {
            return false;
        }
        let is_transactional = head.attributes.is_transactional();
        self.has_transactions |= is_transactional;
        if head.attributes.is_control() {
            self.end_transaction(head.producer_id, ends);
        } else if count > 0 {
            if is_transactional {
                self.open.entry(head.producer_id).or_default().push(self.runs.len());
            }
            self.runs.push(Run { begin, end, records: count.min(length(&(begin..end))), is_aborted: false });
        }
        self.seen.end = end;
        true
    }

    fn end_transaction(&mut self, producer_id: i64, ends: Option<ControlType>) {
        let Some(ends) = ends else { return };
        for at in self.open.remove(&producer_id).unwrap_or_default() {
            if let Some(run) = self.runs.get_mut(at) {
                run.is_aborted = ends == ControlType::Abort;
            }
        }
    }

    fn contents(self) -> Contents {
        let mut runs: Vec<Run> = Vec::new();
        for run in self.runs {
            match runs.last_mut().filter(|last| last.goes_on_in(&run)) {
                Some(last) => (last.end, last.records) = (run.end, last.records + run.records),
                None => runs.push(run),
            }
        }
        Contents { seen: self.seen, has_transactions: self.has_transactions, runs: runs.into() }
    }
}

/// What each partition said.
type Said = Vec<(TopicPartition, Result<Contents, Error>)>;

impl Admin {
    /// What partitions hold from these offsets on, as far as little is to be read for it: of each the first batches, with
    /// one request to each leader. It takes the right to read the topics. Of formats before the record batch (Kafka 0.11)
    /// nothing is seen.
    pub async fn contents(&self, from: &[(TopicPartition, Offset)]) -> Said {
        let wanted: HashMap<TopicPartition, Offset> = from.iter().cloned().collect();
        let wanted = &wanted;
        let partitions = from.iter().map(|(of, _)| of.clone()).collect();
        self.in_rounds(partitions, passes, |open, round| {
            self.of_leaders(open, round, move |leader, led| self.ask_contents(leader, led, wanted, round))
        })
        .await
    }

    async fn ask_contents(
        &self,
        leader: BrokerId,
        led: Led,
        wanted: &HashMap<TopicPartition, Offset>,
        round: Round,
    ) -> Said {
        let known = self.cluster.metadata();
        let request = request(&led, wanted, &known);
        let partitions = led.into_iter().map(|(of, _)| of);
        match self.cluster.call(To::Broker(leader), Lane::General, request, round.left()).await {
            Ok(answer) => match ErrorCode(answer.body.error_code).ok() {
                Ok(()) => said(answer.body, partitions, wanted, &known, |error| self.cluster.placed(leader, error)),
                Err(code) => all_failed(partitions, &self.says::<FetchRequest>(leader, code, None)),
            },
            Err(error) => all_failed(partitions, &error),
        }
    }
}

/// Outside sessions, of everything that is visible, and whatever there is at once.
fn request(led: &Led, wanted: &HashMap<TopicPartition, Offset>, known: &Metadata) -> FetchRequest {
    let partition = |(of, leader): &(TopicPartition, crate::client::metadata::Leader)| {
        let partition = FetchPartition {
            partition: of.partition,
            current_leader_epoch: leader.epoch.unwrap_or(-1),
            fetch_offset: wanted.get(of).copied()?,
            partition_max_bytes: PARTITION_BYTES,
            ..Default::default()
        };
        Some((of.topic.clone(), partition))
    };
    let topic = |(topic, partitions): (Topic, Vec<FetchPartition>)| FetchTopic {
        topic: Str::from(&topic),
        topic_id: known.topic_id(&topic).unwrap_or_default(),
        partitions,
    };
    FetchRequest {
        max_bytes: LEADER_BYTES,
        topics: by(led.iter().filter_map(partition)).into_iter().map(topic).collect(),
        ..Default::default()
    }
}

fn said(
    answer: FetchResponse,
    partitions: impl Iterator<Item = TopicPartition>,
    wanted: &HashMap<TopicPartition, Offset>,
    known: &Metadata,
    placed: impl Fn(Error) -> Error,
) -> Said {
    let mut answered: HashMap<(Str, TopicId, i32), PartitionData> = HashMap::new();
    for topic in answer.responses {
        let (name, id) = (topic.topic, topic.topic_id);
        answered.extend(topic.partitions.into_iter().map(|it| ((name.clone(), id, it.partition_index), it)));
    }
    // From version 13 on an answer names topics by id alone.
    let mut outcome = |of: &TopicPartition| {
        let id = known.topic_id(&of.topic).unwrap_or_default();
        let by_name = answered.remove(&(Str::from(&of.topic), TopicId::default(), of.partition));
        let data = by_name.or_else(|| answered.remove(&(Str::default(), id, of.partition)));
        let data = data.ok_or_else(|| unanswered(of))?;
        ErrorCode(data.error_code).ok().map_err(|code| Error::broker(code).at(of.clone()))?;
        let from = wanted.get(of).copied().ok_or_else(|| unanswered(of))?;
        Ok(Contents::read(from, data.records.unwrap_or_default()))
    };
    let placed = |error: Error| placed(error.of(FetchRequest::NAME));
    partitions.map(|of| (of.clone(), outcome(&of).map_err(placed))).collect()
}

#[cfg(test)]
pub(crate) mod tests;
