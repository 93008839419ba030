//! What the application gets: a run of records of one partition, borrowed from the bytes they came in.

use super::progress::{Mark, Offsets, RunId};
use super::scan::Chunk;
use super::tenure::{Tenure, Weight};
use crate::client::producer::Position;
use crate::protocol::batch::{Record, Records, RecordsIter};
use crate::protocol::types::{Offset, TopicPartition};

/// Consecutive records of one partition. It counts against the consumer's memory until it is finished or dropped.
///
/// Only what is finished is committed: a delivery that is dropped unfinished holds its partition's commits where they are,
/// and its records come again to whoever reads the partition next.
#[derive(Debug)]
pub struct Delivery {
    pub topic_partition: TopicPartition,
    chunk: Chunk,
    high_watermark: Option<Offset>,
    held: Held,
}

/// A delivery's place in its partition's progress; given up when dropped, and then the memory.
#[derive(Debug)]
struct Held {
    run: RunId,
    weight: Weight,
}

impl Held {
    fn tenure(&self) -> &Tenure {
        self.weight.tenure()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.tenure().abandon(self.run);
    }
}

/// What a reader has fetched, on its way to the application.
#[derive(Debug)]
pub(super) struct Fetched {
    pub chunk: Chunk,
    pub high_watermark: Option<Offset>,
    pub weight: Weight,
    /// As many of the partition's as were known when it was asked for.
    pub rewinds: u32,
}

impl Fetched {
    /// How many of its offsets hold no record; none once the partition is not held any more, as they come again elsewhere.
    pub fn passed_over(&self) -> u64 {
        if self.weight.tenure().has_ended() { 0 } else { self.chunk.passed_over() }
    }

    /// Hands it out; `None` if the partition is not held any more, or there is nothing in it but offsets.
    pub fn deliver(self) -> Option<Delivery> {
        let Self { chunk, high_watermark, weight, .. } = self;
        let run = weight.tenure().deliver(chunk.start, chunk.end, chunk.records)?;
        let topic_partition = weight.tenure().topic_partition.clone();
        Some(Delivery { topic_partition, chunk, high_watermark, held: Held { run, weight } })
    }
}

impl Delivery {
    /// In order of their offsets, which may have gaps.
    pub fn records(&self) -> DeliveryRecords<'_> {
        DeliveryRecords { batches: self.chunk.batches.iter(), batch: None, start: self.chunk.start, left: self.len() }
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.chunk.records
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The end of the partition when this was fetched; `None` when the broker did not know.
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// The offset after the last one that this covers.
    pub fn next_offset(&self) -> Offset {
        self.chunk.end.offset
    }

    /// Where a group goes on after it: for [`Transaction::send_offsets`](crate::client::Transaction::send_offsets).
    pub fn position(&self) -> Position {
        let Mark { offset, leader_epoch } = self.chunk.end;
        Position { topic_partition: self.topic_partition.clone(), offset, leader_epoch }
    }

    /// All of it is finished.
    pub fn finish(self) {
        self.held.tenure().finish(self.held.run);
    }

    /// One record is finished. With the last one all of it is; its memory is given back when it is dropped.
    pub fn finish_record(&self, offset: Offset) {
        self.held.tenure().finish_record(self.held.run, offset, || self.offsets());
    }

    /// Whether the partition has gone to another member, or is about to; or the consumer has sought elsewhere in it, after
    /// which finishing this counts for nothing. A revoked partition waits a while for what is being worked on; what is not
    /// begun is better left to its next reader.
    pub fn is_revoked(&self) -> bool {
        self.held.tenure().has_ended()
    }

    fn offsets(&self) -> Offsets {
        let first = self.records().next().map_or(self.chunk.start, |record| record.offset);
        let last = self.chunk.last;
        if last.checked_sub(first) == i64::try_from(self.len()).ok().map(|count| count - 1) {
            return Offsets::Dense { first, count: self.len() };
        }
        Offsets::Sparse(self.records().map(|record| record.offset).collect())
    }
}

/// See [`Delivery::records`].
#[derive(Debug, Clone)]
pub struct DeliveryRecords<'a> {
    batches: std::slice::Iter<'a, Records>,
    batch: Option<RecordsIter<'a>>,
    /// A batch may begin before the offset that was asked for.
    start: Offset,
    left: usize,
}

impl<'a> Iterator for DeliveryRecords<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            // Every record was read once when the chunk was scanned, so none fails here.
            if let Some(Ok(record)) = self.batch.as_mut().and_then(Iterator::next) {
                if record.offset >= self.start {
                    self.left = self.left.saturating_sub(1);
                    return Some(record);
                }
            } else {
                self.batch = Some(self.batches.next()?.iter());
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for DeliveryRecords<'_> {}
