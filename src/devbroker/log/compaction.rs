//! Compaction (`cleanup.policy=compact`, KIP-58 and KIP-534): below the segment that is written to, of each key the newest
//! record stays. Pure: stored batches and the time go in, batches to store come out.
//!
//! What must stay true:
//!
//! - No record changes its offset, and no batch its bounds. Where nothing is left, an empty batch stays, one for several in a
//!   row, so that the log has no holes. Kafka leaves holes, and an empty batch only where it is the last of its producer.
//! - A tombstone stays for `delete.retention.ms` after the first pass that saw it as the newest of its key, which writes the
//!   end of that time into its batch.
//! - Records of transactions that were given up go, and are never the newest of their key; markers stay.

use std::collections::HashMap;

use bytes::Bytes;

use crate::protocol::batch::{BatchError, RecordBatch, Retained, empty_batch};
use crate::protocol::types::{LeaderEpoch, Offset};

/// What one batch may unpack to.
const UNPACKED_MAX: usize = 128 << 20;

/// When a pass happens, and what it obeys.
pub struct Pass<'a> {
    pub now_ms: i64,
    pub delete_retention_ms: i64,
    /// Whether what a producer wrote at an offset is of a transaction that was given up.
    pub is_aborted: &'a dyn Fn(i64, Offset) -> bool,
}

/// What a first look has found out.
#[derive(Debug, Default)]
pub struct Survey {
    /// Where the newest record of each key is.
    newest: HashMap<Bytes, Offset>,
    /// The last batch of each producer, which says where its sequence stands.
    last: HashMap<i64, Offset>,
}

impl Survey {
    pub fn look(&mut self, batch: &RecordBatch, pass: &Pass<'_>) -> Result<(), BatchError> {
        if batch.producer_id >= 0 && !batch.attributes.is_control() {
            self.last.insert(batch.producer_id, batch.base_offset);
        }
        if batch.attributes.is_control() || pass.drops(batch) {
            return Ok(());
        }
        for record in &batch.records(UNPACKED_MAX)? {
            let record = record?;
            if let Some(key) = record.key {
                self.newest.insert(Bytes::copy_from_slice(key), record.offset);
            }
        }
        Ok(())
    }

    /// Without a key nothing replaces a record and nothing finds it: Kafka lets it go.
    fn is_newest(&self, key: Option<&[u8]>, offset: Offset) -> bool {
        key.is_some_and(|key| self.newest.get(key) == Some(&offset))
    }

    fn is_last_of_its_producer(&self, batch: &RecordBatch) -> bool {
        self.last.get(&batch.producer_id) == Some(&batch.base_offset)
    }
}

impl Pass<'_> {
    fn drops(&self, batch: &RecordBatch) -> bool {
        batch.attributes.is_transactional() && (self.is_aborted)(batch.producer_id, batch.base_offset)
    }

    /// What is to be stored in place of a batch.
    fn clean(&self, batch: &RecordBatch, survey: &Survey) -> Result<Retained, BatchError> {
        if batch.attributes.is_control() {
            return Ok(Retained::Whole);
        }
        if self.drops(batch) {
            return Ok(Retained::Nothing);
        }
        let horizon = batch.delete_horizon_ms();
        let is_over = horizon.is_some_and(|horizon| horizon <= self.now_ms);
        let mut tombstones = false;
        let kept = batch.retain(UNPACKED_MAX, None, |record| {
            let keeps = survey.is_newest(record.key, record.offset) && !(is_over && record.value.is_none());
            tombstones |= keeps && record.value.is_none();
            keeps
        })?;
        if !tombstones || horizon.is_some() {
            return Ok(kept);
        }
        let horizon = self.now_ms.saturating_add(self.delete_retention_ms);
        batch.retain(UNPACKED_MAX, Some(horizon), |record| survey.is_newest(record.key, record.offset))
    }
}

/// A stretch of the log in which nothing is left.
struct Void {
    base: Offset,
    last: Offset,
    leader_epoch: LeaderEpoch,
}

impl Void {
    fn of(batch: &RecordBatch) -> Self {
        Self { base: batch.base_offset, last: batch.last_offset(), leader_epoch: batch.partition_leader_epoch }
    }

    /// Whether it reaches over this batch, too.
    fn takes(&mut self, batch: &RecordBatch) -> bool {
        let fits = i32::try_from(batch.last_offset() - self.base).is_ok();
        let takes = fits && self.leader_epoch == batch.partition_leader_epoch && self.last + 1 == batch.base_offset;
        if takes {
            self.last = batch.last_offset();
        }
        takes
    }

    fn stored(&self) -> Bytes {
        empty_batch(self.base, self.last, self.leader_epoch)
    }
}

/// The batches of a segment after a pass. They begin and end where those before it did.
pub fn cleaned(batches: &[RecordBatch], survey: &Survey, pass: &Pass<'_>) -> Result<Vec<Bytes>, BatchError> {
    let mut out = Vec::with_capacity(batches.len());
    let mut void: Option<Void> = None;
    for batch in batches {
        let stored = match pass.clean(batch, survey)? {
            Retained::Whole => batch.bytes().clone(),
            Retained::Part(bytes) => bytes,
            Retained::Nothing if survey.is_last_of_its_producer(batch) => batch.emptied(),
            Retained::Nothing => {
                if !void.as_mut().is_some_and(|void| void.takes(batch)) {
                    out.extend(void.replace(Void::of(batch)).map(|void| void.stored()));
                }
                continue;
            }
        };
        out.extend(void.take().map(|void| void.stored()));
        out.push(stored);
    }
    out.extend(void.map(|void| void.stored()));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::{
        Assignment, BatchBuilder, Compression, ControlType, Marker, ProducerStamp, assign, batches,
    };
    use bytes::BytesMut;

    /// A log in words, a batch each: `a1` is value 1 of key a, `a-` a tombstone, `/7` of producer 7, `/7t` in a transaction of its,
    /// `commit7` and `abort7` its ends.
    fn log(words: &str) -> Vec<RecordBatch> {
        let mut offset = 0;
        let mut stored = |word: &str| {
            let (records, producer) = word.split_once('/').unwrap_or((word, ""));
            let mut bytes = match (records.strip_prefix("commit"), records.strip_prefix("abort")) {
                (Some(producer), _) => marker(ControlType::Commit, producer),
                (_, Some(producer)) => marker(ControlType::Abort, producer),
                _ => batch(records, producer),
            };
            assign(&mut bytes, Assignment { base_offset: offset, leader_epoch: 0, log_append_time_ms: None });
            let batch = batches(bytes.freeze()).next().unwrap().unwrap();
            offset = batch.next_offset();
            batch
        };
        words.split_whitespace().map(&mut stored).collect()
    }

    fn marker(control_type: ControlType, producer: &str) -> BytesMut {
        let producer_id = producer.parse().unwrap();
        let marker = Marker { control_type, producer_id, producer_epoch: 0, coordinator_epoch: 0, timestamp_ms: 100 };
        marker.batch().unwrap()
    }

    fn batch(records: &str, producer: &str) -> BytesMut {
        let mut builder = BatchBuilder::new(Compression::None);
        for record in records.split(',') {
            let (key, value) = record.split_at(1);
            let value = (value != "-").then_some(value.as_bytes());
            builder.push(100, (key != "_").then_some(key.as_bytes()), value, &[]).unwrap();
        }
        let mut batch = builder.finish().unwrap();
        if let Ok(producer_id) = producer.trim_end_matches('t').parse() {
            let stamp = ProducerStamp { producer_id, producer_epoch: 0, base_sequence: 0 };
            if producer.ends_with('t') { batch.stamp_transactional(stamp) } else { batch.stamp(Some(stamp)) }
        }
        BytesMut::from(&batch.bytes()[..])
    }

    /// Bounds, producer and records of each batch.
    fn told(batches: &[RecordBatch]) -> String {
        let text = |bytes: Option<&[u8]>, none: &str| {
            bytes.map_or(none.to_owned(), |it| String::from_utf8_lossy(it).into_owned())
        };
        let one = |batch: &RecordBatch| {
            batch.verify_crc().unwrap();
            let bounds = format!("{}-{}", batch.base_offset, batch.last_offset());
            let producer = if batch.producer_id >= 0 { format!("/{}", batch.producer_id) } else { String::new() };
            if batch.attributes.is_control() {
                return format!("{bounds}{producer}[marker]");
            }
            let records = batch.records(1 << 20).unwrap();
            let records = records.iter().map(|record| {
                let record = record.unwrap();
                assert_eq!(record.timestamp_ms, 100);
                format!("{}:{}{}", record.offset, text(record.key, "_"), text(record.value, "-"))
            });
            let until = batch.delete_horizon_ms().map_or(String::new(), |horizon| format!("~{horizon}"));
            format!("{bounds}{producer}[{}]{until}", records.collect::<Vec<_>>().join(" "))
        };
        batches.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn pass(before: &[RecordBatch], now_ms: i64, aborted: &[(i64, Offset, Offset)]) -> Vec<RecordBatch> {
        let is_aborted = |producer: i64, offset: Offset| {
            aborted.iter().any(|(id, first, marker)| *id == producer && (*first..*marker).contains(&offset))
        };
        let pass = Pass { now_ms, delete_retention_ms: 50, is_aborted: &is_aborted };
        let mut survey = Survey::default();
        before.iter().for_each(|batch| survey.look(batch, &pass).unwrap());
        let stored = cleaned(before, &survey, &pass).unwrap();
        stored.into_iter().map(|bytes| batches(bytes).next().unwrap().unwrap()).collect()
    }

    #[test]
    fn of_each_key_the_newest_stays_where_it_was() {
        let check = |words: &str, want: &str| {
            let after = pass(&log(words), 1000, &[(7, 2, 5)]);
            assert_eq!(told(&after), want, "{words}");
            assert_eq!(told(&pass(&after, 1000, &[(7, 2, 5)])), want, "a second time: {words}");
        };
        check("a1 b1", "0-0[0:a1] 1-1[1:b1]");
        check("a1,b1,a2 b2", "0-2[2:a2] 3-3[3:b2]");
        check("a1 a2 a3 b1 a4", "0-2[] 3-3[3:b1] 4-4[4:a4]");
        check("_1 a1", "0-0[] 1-1[1:a1]");
        // What says where a producer stands stays.
        check("a1/5 a2/5 a3/6 a4", "0-0[] 1-1/5[] 2-2/6[] 3-3[3:a4]");
        // A transaction that was given up has written nothing; its marker stays, and so do those of others.
        check(
            "a1 b1 a2,b2/7t a3/7t abort7 c1/8t commit8",
            "0-0[0:a1] 1-1[1:b1] 2-3[] 4-4/7[] 5-5/7[marker] 6-6/8[6:c1] 7-7/8[marker]",
        );
    }

    #[test]
    fn a_tombstone_stays_for_a_while() {
        let first = pass(&log("a1 b1,a- c1"), 1000, &[]);
        assert_eq!(told(&first), "0-0[] 1-2[1:b1 2:a-]~1050 3-3[3:c1]");
        let still = pass(&first, 1049, &[]);
        assert_eq!(told(&still), told(&first));
        let gone = pass(&still, 1050, &[]);
        assert_eq!(told(&gone), "0-0[] 1-2[1:b1]~1050 3-3[3:c1]");
    }
}
