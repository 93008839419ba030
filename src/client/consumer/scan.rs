//! A partition's record set, as fetched → the records to hand out. Pure.
//!
//! Everything that can be wrong with the bytes is found here: checksums, compression, every record's own lengths. What
//! comes out can be read without errors. Control batches, records before the offset that was asked for, and, for readers
//! of committed records, aborted transactions are left out, but the offsets they take are covered.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::progress::Mark;
use crate::client::error::ErrorKind;
use crate::protocol::batch::{BatchError, ControlType, HEADER_BYTES, Header, RecordBatch, Records, batches};
use crate::protocol::compression::CompressionError;
use crate::protocol::messages::AbortedTransaction;
use crate::protocol::types::Offset;

/// What the consumer wants of the scan.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub check_crcs: bool,
    /// A batch may be unpacked into no more.
    pub unpacked_bytes_max: usize,
    /// The broker was asked for this partition alone, so the first batch is not cut off (KIP-74): one that seems to be has
    /// a length that cannot be believed.
    pub whole: bool,
}

/// Records to hand out at once: from `start` to `end`, all written under one leader epoch.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub start: Offset,
    pub end: Mark,
    /// The offset of the last record; meaningless without records.
    pub last: Offset,
    pub batches: Vec<Records>,
    pub records: usize,
    pub bytes: usize,
    /// What its batches took before they were unpacked.
    pub packed: usize,
}

/// A batch that cannot be read, and the offsets that are not readable because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub offsets: Range<Offset>,
    pub error: BatchError,
}

impl Broken {
    /// What the application is told. A batch that is only large is not called broken.
    pub fn kind(self) -> ErrorKind {
        let offset = self.offsets.start;
        match self.error {
            BatchError::Compression { source: CompressionError::TooLarge { limit, .. }, .. } => {
                ErrorKind::Oversized { offset, limit }
            }
            error => ErrorKind::Corrupt { offset, cause: Arc::new(error) },
        }
    }
}

impl Chunk {
    /// How many of its offsets hold no record to be read.
    pub fn passed_over(&self) -> u64 {
        let offsets = u64::try_from(self.end.offset - self.start).unwrap_or(0);
        offsets.saturating_sub(self.records as u64)
    }

    /// No records between two offsets.
    pub fn empty(start: Offset, end: Mark) -> Self {
        Self { start, end, last: start, batches: Vec::new(), records: 0, bytes: 0, packed: 0 }
    }
}

/// Where the whole batches of a record set end, by their headers alone, and the leader epoch of the last one. `None`
/// when there is no whole batch beyond `position`.
pub fn end(record_set: &[u8], position: Offset) -> Option<Mark> {
    let (mut rest, mut end) = (record_set, None);
    while let Some(header) = Header::read(rest).filter(|header| header.magic == 2) {
        let Some(after) = header.size().ok().and_then(|size| rest.get(size..)) else { break };
        if header.next_offset() > position {
            end = Some(Mark { offset: header.next_offset(), leader_epoch: epoch(&header) });
        }
        rest = after;
    }
    end
}

fn epoch(header: &Header) -> Option<i32> {
    Some(header.partition_leader_epoch).filter(|epoch| *epoch >= 0)
}

/// Whether there is something, but no whole batch.
pub fn is_cut_off(record_set: &[u8]) -> bool {
    let size = Header::read(record_set).filter(|header| header.magic == 2).map(|header| header.size());
    match size {
        Some(Ok(size)) => record_set.len() < size,
        Some(Err(_)) => false,
        None => !record_set.is_empty() && record_set.len() < HEADER_BYTES,
    }
}

/// Everything from `position` on, up to the first batch that is broken, and that batch.
pub fn scan(
    record_set: Bytes,
    position: Offset,
    aborted: Vec<AbortedTransaction>,
    rules: Rules,
) -> (Vec<Chunk>, Option<Broken>) {
    let cut_off = rules.whole && is_cut_off(&record_set);
    let mut scan = Scan { chunks: Vec::new(), position, aborted: Aborted::new(aborted), rules };
    let mut walk = batches(record_set);
    loop {
        let head = Header::read(walk.rest());
        let step = match walk.next() {
            None if cut_off => Err(cut_short(position, head.as_ref(), walk.rest())),
            None => return (scan.chunks, None),
            Some(Ok(batch)) => scan.batch(&batch),
            Some(Err(error)) => Err(error),
        };
        if let Err(error) = step {
            let offsets = unreadable(scan.position, head.as_ref());
            return (scan.chunks, Some(Broken { offsets, error }));
        }
    }
}

fn cut_short(position: Offset, head: Option<&Header>, rest: &Bytes) -> BatchError {
    let length = i32::try_from(rest.len()).unwrap_or(i32::MAX);
    let (base_offset, length) = head.map_or((position, length), |head| (head.base_offset, head.length));
    BatchError::Length { base_offset, length }
}

/// What a broken batch takes away: all of it if its header can be believed, else one offset, which is enough to be given
/// the batch after it.
fn unreadable(position: Offset, head: Option<&Header>) -> Range<Offset> {
    let believed = head.filter(|head| head.magic == 2 && head.last_offset_delta >= 0 && head.base_offset >= 0);
    let end = believed.map_or(0, Header::next_offset);
    position..end.max(position.saturating_add(1))
}

struct Scan {
    chunks: Vec<Chunk>,
    position: Offset,
    aborted: Aborted,
    rules: Rules,
}

impl Scan {
    fn batch(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        let end = Mark { offset: batch.next_offset(), leader_epoch: epoch(batch) };
        if end.offset <= self.position {
            return Ok(());
        }
        if self.rules.check_crcs {
            batch.verify_crc()?;
        }
        if self.aborted.hides(batch) || batch.attributes.is_control() {
            self.chunk(end).end = end;
        } else {
            let records = batch.records(self.rules.unpacked_bytes_max)?;
            let (count, last) = self.count(&records)?;
            let bytes = records.bytes().len() + HEADER_BYTES;
            let chunk = self.chunk(end);
            chunk.end = end;
            if count > 0 {
                chunk.records += count;
                chunk.last = last;
                chunk.bytes += bytes;
                chunk.packed += batch.bytes().len();
                chunk.batches.push(records);
            }
        }
        self.position = end.offset;
        Ok(())
    }

    /// Reads every record once. Offsets that do not grow would make two records one.
    fn count(&self, records: &Records) -> Result<(usize, Offset), BatchError> {
        let (mut count, mut last) = (0, i64::MIN);
        for (index, record) in records.iter().enumerate() {
            let offset = record?.offset;
            if offset <= last {
                let (base_offset, index) = (records.header().base_offset, index as i32);
                return Err(BatchError::Record { base_offset, index, fault: "offset not beyond the one before it" });
            }
            last = offset;
            count += usize::from(offset >= self.position);
        }
        Ok((count, last))
    }

    /// The chunk that a batch goes into: the last one, if it is of the same leader epoch.
    fn chunk(&mut self, end: Mark) -> &mut Chunk {
        let same = self.chunks.last().is_some_and(|chunk| chunk.end.leader_epoch == end.leader_epoch);
        if !same {
            self.chunks.push(Chunk::empty(self.position, end));
        }
        let last = self.chunks.len() - 1;
        &mut self.chunks[last]
    }
}

/// Which transactions of an answer came to nothing: from its first offset on, and up to its abort marker, what a producer
/// wrote is not to be read (KIP-98).
struct Aborted {
    /// By first offset, the latest first.
    ahead: Vec<AbortedTransaction>,
    open: HashSet<i64>,
}

impl Aborted {
    fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_unstable_by_key(|aborted| std::cmp::Reverse(aborted.first_offset));
        Self { ahead: aborted, open: HashSet::new() }
    }

    /// Whether a batch is part of one; batches come in order.
    fn hides(&mut self, batch: &RecordBatch) -> bool {
        while let Some(begun) = self.ahead.pop_if(|aborted| aborted.first_offset <= batch.last_offset()) {
            self.open.insert(begun.producer_id);
        }
        if !batch.attributes.is_transactional() || self.open.is_empty() {
            return false;
        }
        if batch.control_type() == Some(ControlType::Abort) {
            self.open.remove(&batch.producer_id);
        }
        self.open.contains(&batch.producer_id)
    }
}

#[cfg(test)]
mod tests;
