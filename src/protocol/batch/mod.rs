//! The record batch, message format v2 (KIP-98): how records stand in a Produce request, in a log and in a Fetch reply.
//!
//! ```text
//! 0            8        12        16    17    21          23           27           35          43
//! │ base offset│ length │ leader  │magic│ CRC │ attributes│ last offset│ base       │ max       │
//! │            │        │ epoch   │  2  │     │           │ delta      │ timestamp  │ timestamp │
//! 43            51       53         57      61
//! │ producer id │ epoch  │ sequence │ count │ records, compressed as one ...
//! ```
//!
//! The length counts what follows it; the CRC-32C covers everything from the attributes on. So a broker may set the base
//! offset and the leader epoch in place, and a producer that sets its id, epoch and sequence must compute the CRC anew.
//!
//! Writing is [`BatchBuilder`]: records go straight into their final bytes. Reading is [`batches`]: a borrowing walk over a
//! record set, which may end in a batch that was cut off (a Fetch reply is cut at its size limit), and may hold gaps in the
//! offsets (compaction) and control batches. Message formats v0 and v1 are named and refused.

mod builder;
mod control;
mod produced;
mod reader;
mod retained;
mod varint;

use super::types::Offset;

pub use super::compression::{Compression, CompressionError};
pub use builder::{Batch, BatchBuilder, ProducerStamp};
pub use control::{ControlType, Marker};
pub use produced::{Assignment, Produced, ProducedError, Seen, assign, produced};
pub use reader::{Batches, Headers, Record, RecordBatch, Records, RecordsIter, batches};
pub use retained::{Retained, empty_batch};

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes before what the length field counts.
pub const LENGTH_END: usize = 12;
/// The fewest bytes a record can take: its length, attributes, two deltas, two nulls and no headers.
pub const RECORD_BYTES_MIN: usize = 7;

/// Why a batch could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("batch at offset {base_offset}: length {length} is impossible")]
    Length { base_offset: Offset, length: i32 },
    #[error("batch at offset {base_offset}: message format v{magic} is not read (v2 came with Kafka 0.11)")]
    Magic { base_offset: Offset, magic: i8 },
    #[error("batch at offset {base_offset}: CRC is {computed:08x}, expected {stored:08x}")]
    Crc { base_offset: Offset, stored: u32, computed: u32 },
    #[error("batch at offset {base_offset}: record {index}: {fault}")]
    Record { base_offset: Offset, index: i32, fault: &'static str },
    #[error("batch at offset {base_offset}: {count} records in {bytes} bytes")]
    Count { base_offset: Offset, count: i32, bytes: usize },
    /// Taken at its word, it would send a reader back to where it has been.
    #[error("batch at offset {base_offset}: last offset delta {last_offset_delta} is negative")]
    LastOffset { base_offset: Offset, last_offset_delta: i32 },
    #[error("batch at offset {base_offset}: {source}")]
    Compression { base_offset: Offset, source: CompressionError },
    #[error("a record of {bytes} bytes does not fit into a batch")]
    TooLarge { bytes: usize },
}

/// The fields before the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub base_offset: Offset,
    /// Of everything after the length field.
    pub length: i32,
    pub partition_leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
}

/// The bits of the attributes field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const COMPRESSION: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    pub fn compression(self) -> Result<Compression, CompressionError> {
        Compression::from_id((self.0 & Self::COMPRESSION) as u8)
    }

    /// The records' time is when the broker appended them, not when they were made.
    pub fn is_log_append_time(self) -> bool {
        self.0 & Self::LOG_APPEND_TIME != 0
    }

    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// A transaction marker, for brokers and for reading committed records only; never delivered.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// The base timestamp is a delete horizon (KIP-534), from which the deltas count all the same.
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

impl Header {
    /// Reads the header of a batch; `None` when fewer bytes are there than a header has.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (head, _) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            base_offset: i64::from_be_bytes(at(head, 0)),
            length: i32::from_be_bytes(at(head, 8)),
            partition_leader_epoch: i32::from_be_bytes(at(head, 12)),
            magic: i8::from_be_bytes(at(head, 16)),
            crc: u32::from_be_bytes(at(head, 17)),
            attributes: Attributes(i16::from_be_bytes(at(head, 21))),
            last_offset_delta: i32::from_be_bytes(at(head, 23)),
            base_timestamp_ms: i64::from_be_bytes(at(head, 27)),
            max_timestamp_ms: i64::from_be_bytes(at(head, 35)),
            producer_id: i64::from_be_bytes(at(head, 43)),
            producer_epoch: i16::from_be_bytes(at(head, 51)),
            base_sequence: i32::from_be_bytes(at(head, 53)),
            count: i32::from_be_bytes(at(head, 57)),
        })
    }

    pub fn last_offset(&self) -> Offset {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Where the next batch begins, or will: after compaction the last record itself may be gone, its offset is not.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().saturating_add(1)
    }

    /// Who made it; `None` for a producer without idempotence.
    pub fn producer(&self) -> Option<ProducerStamp> {
        (self.producer_id >= 0).then_some(ProducerStamp {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
        })
    }

    /// The size of the whole batch, header included; an error for a length that no batch can have.
    pub fn size(&self) -> Result<usize, BatchError> {
        let wrong = BatchError::Length { base_offset: self.base_offset, length: self.length };
        let after = usize::try_from(self.length).map_err(|_| wrong.clone())?;
        if after < HEADER_BYTES - LENGTH_END { Err(wrong) } else { Ok(LENGTH_END + after) }
    }
}

/// A field of the header: an array of the length its type has.
fn at<const N: usize>(head: &[u8; HEADER_BYTES], start: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&head[start..start + N]);
    field
}

#[cfg(test)]
mod tests;
