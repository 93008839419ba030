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
    #[error("record {index} has no key, which a compacted topic needs")]
    KeyMissing { index: i32 },
}

/// A record set that passed.
#[derive(Debug, Clone)]
pub struct Produced {
    pub batch: RecordBatch,
}

/// Reads and checks a produced record set: one whole v2 batch whose CRC, counts, offsets and every record are right.
/// `unpacked_max` bounds what a compressed batch may unpack to; `key_needed` is a compacted topic's rule.
pub fn produced(record_set: Bytes, unpacked_max: usize, key_needed: bool) -> Result<Produced, ProducedError> {
    let mut walk = batches(record_set);
    let batch = walk.next().ok_or(ProducedError::CutOff)??;
    if !walk.rest().is_empty() {
        let more = walk.by_ref().collect::<Result<Vec<_>, _>>()?.len();
        return Err(if walk.rest().is_empty() { ProducedError::Batches(1 + more) } else { ProducedError::CutOff });
    }
    batch.verify_crc()?;
    check_header(&batch)?;
    check_records(&batch, unpacked_max, key_needed)?;
    Ok(Produced { batch })
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

fn check_records(batch: &RecordBatch, unpacked_max: usize, key_needed: bool) -> Result<(), ProducedError> {
    let records = batch.records(unpacked_max)?;
    for (index, record) in (0..).zip(&records) {
        let record = record?;
        let offset_delta = record.offset.wrapping_sub(batch.base_offset);
        if offset_delta != i64::from(index) {
            return Err(ProducedError::Offset { index, offset_delta });
        }
        if key_needed && record.key.is_none() {
            return Err(ProducedError::KeyMissing { index });
        }
    }
    Ok(())
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
