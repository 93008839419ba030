//! What a leader does with a batch that was produced to it: look at it closely, then give it its place in the log.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Attributes, BatchError, RecordBatch, batches, builder::seal};
use crate::protocol::types::Offset;

/// Why a produced record set is refused (`LogValidator.java`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProducedError {
    #[error(transparent)]
    Broken(#[from] BatchError),
    #[error("{0} batches for one partition: exactly one is allowed since Produce v3")]
    Batches(usize),
    #[error("the last batch is cut off")]
    CutOff,
    #[error("control batches are written by brokers only")]
    Control,
    #[error("{count} records, but the last offset is {last_offset_delta}")]
    Count { count: i32, last_offset_delta: i32 },
    #[error("record {index} has offset {offset_delta}")]
    Offset { index: i32, offset_delta: i64 },
    #[error("producer {producer_id} with epoch {producer_epoch} and sequence {base_sequence}")]
    Producer { producer_id: i64, producer_epoch: i16, base_sequence: i32 },
}

/// A record set that passed, and what only its topic's settings can judge.
#[derive(Debug, Clone)]
pub struct Produced {
    pub batch: RecordBatch,
    pub seen: Seen,
}

/// What was seen of the records, each by its index in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The first record without a key, which a compacted topic refuses.
    pub keyless: Option<i32>,
    /// The smallest timestamp, and whose it is.
    pub oldest_ms: (i64, i32),
    /// The largest timestamp, and whose it is.
    pub newest_ms: (i64, i32),
}

/// Reads and checks a produced record set: one whole v2 batch whose CRC, counts, offsets and every record are right.
/// `unpacked_max` bounds what a compressed batch may unpack to.
pub fn produced(record_set: Bytes, unpacked_max: usize) -> Result<Produced, ProducedError> {
    let mut walk = batches(record_set);
    let batch = walk.next().ok_or(ProducedError::CutOff)??;
    if !walk.rest().is_empty() {
        let more = walk.by_ref().collect::<Result<Vec<_>, _>>()?.len();
        return Err(if walk.rest().is_empty() { ProducedError::Batches(1 + more) } else { ProducedError::CutOff });
    }
    batch.verify_crc()?;
    check_header(&batch)?;
    let seen = check_records(&batch, unpacked_max)?;
    Ok(Produced { batch, seen })
}

fn check_header(batch: &RecordBatch) -> Result<(), ProducedError> {
    if batch.attributes.is_control() {
        return Err(ProducedError::Control);
    }
    if batch.count <= 0 || batch.last_offset_delta != batch.count - 1 {
        let (count, last_offset_delta) = (batch.count, batch.last_offset_delta);
        return Err(ProducedError::Count { count, last_offset_delta });
    }
    if let Some(stamp) = batch.producer()
        && (stamp.producer_epoch < 0 || stamp.base_sequence < 0)
    {
        let (producer_id, producer_epoch, base_sequence) =
            (stamp.producer_id, stamp.producer_epoch, stamp.base_sequence);
        return Err(ProducedError::Producer { producer_id, producer_epoch, base_sequence });
    }
    Ok(())
}

fn check_records(batch: &RecordBatch, unpacked_max: usize) -> Result<Seen, ProducedError> {
    let records = batch.records(unpacked_max)?;
    let mut seen = Seen { keyless: None, oldest_ms: (i64::MAX, 0), newest_ms: (i64::MIN, 0) };
    for (index, record) in (0..).zip(&records) {
        let record = record?;
        let offset_delta = record.offset.wrapping_sub(batch.base_offset);
        if offset_delta != i64::from(index) {
            return Err(ProducedError::Offset { index, offset_delta });
        }
        if record.key.is_none() && seen.keyless.is_none() {
            seen.keyless = Some(index);
        }
        let timed = (record.timestamp_ms, index);
        seen.oldest_ms = seen.oldest_ms.min(timed);
        if timed.0 > seen.newest_ms.0 {
            seen.newest_ms = timed;
        }
    }
    Ok(seen)
}

/// A batch's place in the log.
#[derive(Debug, Clone, Copy)]
pub struct Assignment {
    pub base_offset: Offset,
    pub leader_epoch: i32,
    /// For topics with LogAppendTime: the records' time from now on.
    pub log_append_time_ms: Option<i64>,
}

/// Gives a batch its place. Offset and epoch are outside of what the CRC covers; only a new time makes it wrong, and anew.
pub fn assign(batch: &mut BytesMut, to: Assignment) {
    (&mut batch[0..8]).put_i64(to.base_offset);
    (&mut batch[12..16]).put_i32(to.leader_epoch);
    if let Some(time) = to.log_append_time_ms {
        let attributes = i16::from_be_bytes([batch[21], batch[22]]) | Attributes::LOG_APPEND_TIME;
        (&mut batch[21..23]).put_i16(attributes);
        (&mut batch[35..43]).put_i64(time);
        seal(batch);
    }
}
