//! What is left of a batch whose records are not all kept: compaction's tool (`MemoryRecords.filterTo`). Offsets, sequences
//! and the producer stay what they were; a reader sees gaps.

use bytes::{BufMut, Bytes, BytesMut};

use super::builder::seal;
use super::{Attributes, BatchBuilder, BatchError, Header, Record, RecordBatch};
use crate::protocol::types::Offset;

/// The time of a batch without records.
const NO_TIMESTAMP: i64 = -1;

/// What has become of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retained {
    /// Every record is kept.
    Whole,
    Part(Bytes),
    Nothing,
}

impl RecordBatch {
    /// Until when tombstones of this batch are kept, if that has been decided (KIP-534).
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp_ms)
    }

    /// Keeps some of the records, unpacked into at most `limit` bytes; with a `horizon` that is new, all are written anew to
    /// say so.
    pub fn retain(
        &self,
        limit: usize,
        horizon: Option<i64>,
        mut keep: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<Retained, BatchError> {
        let records = self.records(limit)?;
        let compression = self.attributes.compression();
        let compression =
            compression.map_err(|source| BatchError::Compression { base_offset: self.base_offset, source })?;
        let horizon = horizon.or(self.delete_horizon_ms());
        let mut builder = BatchBuilder::new(compression);
        for record in &records {
            let record = record?;
            if keep(&record) {
                let base = horizon.unwrap_or(self.base_timestamp_ms);
                builder.push_at(record.offset - self.base_offset, base, &record)?;
            }
        }
        match builder.len() {
            0 => Ok(Retained::Nothing),
            kept if Ok(self.count) == i32::try_from(kept) && horizon == self.delete_horizon_ms() => Ok(Retained::Whole),
            _ => self.rebuilt(builder, horizon).map(Retained::Part),
        }
    }

    /// The records of `builder` under this batch's header.
    fn rebuilt(&self, builder: BatchBuilder, horizon: Option<i64>) -> Result<Bytes, BatchError> {
        let batch = builder.finish()?;
        let mut bytes = batch.into_buffer().unwrap_or_default();
        let packed = i16::from_be_bytes([bytes[21], bytes[22]]) & Attributes::COMPRESSION;
        let kept = self.attributes.0 & !(Attributes::COMPRESSION | Attributes::DELETE_HORIZON);
        let horizon = horizon.map_or(0, |_| Attributes::DELETE_HORIZON);
        // With LogAppendTime all records have one time, and it is the header's.
        let newest = self.attributes.is_log_append_time().then_some(self.max_timestamp_ms);
        write_head(&mut bytes, self, kept | packed | horizon, newest);
        Ok(bytes.freeze())
    }

    /// The batch without records, for what its header says of its producer, and of when that was last heard of.
    pub fn emptied(&self) -> Bytes {
        let mut bytes = BytesMut::from(&self.bytes()[..super::HEADER_BYTES]);
        (&mut bytes[8..12]).put_i32((super::HEADER_BYTES - super::LENGTH_END) as i32);
        let kept = self.attributes.0 & !(Attributes::COMPRESSION | Attributes::DELETE_HORIZON);
        (&mut bytes[27..35]).put_i64(NO_TIMESTAMP);
        (&mut bytes[57..61]).put_i32(0);
        write_head(&mut bytes, self, kept, Some(self.max_timestamp_ms));
        bytes.freeze()
    }
}

/// A batch without records and without a producer, where there were some.
pub fn empty_batch(base: Offset, last: Offset, leader_epoch: i32) -> Bytes {
    let mut bytes = BytesMut::zeroed(super::HEADER_BYTES);
    (&mut bytes[8..12]).put_i32((super::HEADER_BYTES - super::LENGTH_END) as i32);
    bytes[16] = 2;
    (&mut bytes[27..35]).put_i64(NO_TIMESTAMP);
    (&mut bytes[..8]).put_i64(base);
    (&mut bytes[12..16]).put_i32(leader_epoch);
    (&mut bytes[23..27]).put_i32(i32::try_from(last - base).unwrap_or(i32::MAX));
    (&mut bytes[35..43]).put_i64(NO_TIMESTAMP);
    // No producer, no epoch, no sequence.
    bytes[43..57].fill(0xff);
    seal(&mut bytes);
    bytes.freeze()
}

/// Takes over what stays of a header.
fn write_head(bytes: &mut BytesMut, from: &Header, attributes: i16, newest: Option<i64>) {
    (&mut bytes[..8]).put_i64(from.base_offset);
    (&mut bytes[12..16]).put_i32(from.partition_leader_epoch);
    (&mut bytes[21..23]).put_i16(attributes);
    (&mut bytes[23..27]).put_i32(from.last_offset_delta);
    if let Some(newest) = newest {
        (&mut bytes[35..43]).put_i64(newest);
    }
    (&mut bytes[43..51]).put_i64(from.producer_id);
    (&mut bytes[51..53]).put_i16(from.producer_epoch);
    (&mut bytes[53..57]).put_i32(from.base_sequence);
    seal(bytes);
}

#[cfg(test)]
mod tests {
    use super::super::{Assignment, Compression, ProducerStamp, assign, batches};
    use super::*;

    /// Five records `k0` to `k4` at times 100 to 104, the third a tombstone; offsets 50 to 54 of producer 7.
    fn batch(compression: Compression) -> RecordBatch {
        let mut builder = BatchBuilder::new(compression);
        for n in 0..5 {
            let (key, value) = (format!("k{n}"), "value ".repeat(20));
            let value = (n != 2).then_some(value.as_bytes());
            builder.push(100 + n, Some(key.as_bytes()), value, &[("h", None), ("h", Some(b"1"))]).unwrap();
        }
        let mut batch = builder.finish().unwrap();
        batch.stamp(Some(ProducerStamp { producer_id: 7, producer_epoch: 1, base_sequence: 20 }));
        let mut bytes = BytesMut::from(&batch.bytes()[..]);
        assign(&mut bytes, Assignment { base_offset: 50, leader_epoch: 3, log_append_time_ms: None });
        read(bytes.freeze())
    }

    fn read(bytes: Bytes) -> RecordBatch {
        let batch = batches(bytes).next().unwrap().unwrap();
        batch.verify_crc().unwrap();
        batch
    }

    fn told(batch: &RecordBatch) -> String {
        let records = batch.records(usize::MAX).unwrap();
        let record = |record: Result<Record<'_>, BatchError>| {
            let record = record.unwrap();
            let key = String::from_utf8_lossy(record.key.unwrap()).into_owned();
            let sign = if record.value.is_none() { "-" } else { "" };
            assert_eq!(record.headers().count(), 2);
            format!("{}:{sign}{key}@{}", record.offset, record.timestamp_ms)
        };
        records.iter().map(record).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_kept_stays_where_it_was() {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let batch = batch(compression);
            let check = |keep: &[i64], horizon: Option<i64>, want: &str| {
                let kept = batch.retain(1 << 20, horizon, |record| keep.contains(&record.offset)).unwrap();
                let Retained::Part(bytes) = kept else { panic!("{keep:?}: {kept:?}") };
                let kept = read(bytes);
                assert_eq!(told(&kept), want, "{keep:?}");
                assert_eq!((kept.base_offset, kept.last_offset(), kept.partition_leader_epoch), (50, 54, 3));
                assert_eq!(kept.producer(), batch.producer());
                assert_eq!((kept.count as usize, kept.delete_horizon_ms()), (keep.len(), horizon));
                assert_eq!(Some(kept.max_timestamp_ms), keep.iter().max().map(|offset| offset + 50));
            };
            check(&[50, 52], None, "50:k0@100 52:-k2@102");
            check(&[53], None, "53:k3@103");
            check(&[51, 52, 53, 54], Some(9000), "51:k1@101 52:-k2@102 53:k3@103 54:k4@104");
            check(&[50, 51, 52, 53, 54], Some(9000), "50:k0@100 51:k1@101 52:-k2@102 53:k3@103 54:k4@104");
            assert_eq!(batch.retain(1 << 20, None, |_| true), Ok(Retained::Whole));
            assert_eq!(batch.retain(1 << 20, None, |_| false), Ok(Retained::Nothing));
        }
    }

    #[test]
    fn an_emptied_batch_says_who_wrote_what() {
        let batch = batch(Compression::Lz4);
        let empty = read(batch.emptied());
        assert_eq!((empty.base_offset, empty.last_offset(), empty.count), (50, 54, 0));
        assert_eq!((empty.producer(), empty.bytes().len(), told(&empty).as_str()), (batch.producer(), 61, ""));
    }
}
