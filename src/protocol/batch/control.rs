//! Control batches: the markers with which a transaction ends in a partition's log (KIP-98).

use bytes::{BufMut, BytesMut};

use super::builder::seal;
use super::{Attributes, BatchBuilder, BatchError, Compression, RecordBatch};

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    Abort,
    Commit,
}

/// What a coordinator has written at the end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    pub control_type: ControlType,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Of the coordinator that decided it.
    pub coordinator_epoch: i32,
    pub timestamp_ms: i64,
}

impl Marker {
    /// The marker as a batch of one record, for a leader to give its place.
    pub fn batch(&self) -> Result<BytesMut, BatchError> {
        // `ControlRecordType.java` and `EndTxnMarker.java`, both version 0.
        let kind = match self.control_type {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
        };
        let mut value = [0; 6];
        (&mut value[2..]).put_i32(self.coordinator_epoch);
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(self.timestamp_ms, Some(&[0, 0, 0, kind]), Some(&value), &[])?;
        let batch = builder.finish()?;
        let mut bytes = batch.into_buffer().unwrap_or_default();
        (&mut bytes[21..23]).put_i16(Attributes::TRANSACTIONAL | Attributes::CONTROL);
        (&mut bytes[43..51]).put_i64(self.producer_id);
        (&mut bytes[51..53]).put_i16(self.producer_epoch);
        seal(&mut bytes);
        Ok(bytes)
    }
}

impl RecordBatch {
    /// What a control batch says; `None` for other batches and for control types that are not known.
    pub fn control_type(&self) -> Option<ControlType> {
        self.control_record(|key, _| control_type(key))?
    }

    /// The whole of a transaction's marker; `None` for all other batches.
    pub fn marker(&self) -> Option<Marker> {
        let (control_type, coordinator_epoch) = self.control_record(|key, value| {
            // The version, and what later versions add, do not matter here.
            let (epoch, _) = value?.get(2..)?.split_first_chunk()?;
            Some((control_type(key)?, i32::from_be_bytes(*epoch)))
        })??;
        Some(Marker {
            control_type,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            coordinator_epoch,
            timestamp_ms: self.max_timestamp_ms,
        })
    }

    fn control_record<T>(&self, read: impl FnOnce(&[u8], Option<&[u8]>) -> T) -> Option<T> {
        if !self.attributes.is_control() {
            return None;
        }
        let records = self.records(self.bytes().len()).ok()?;
        let record = records.iter().next()?.ok()?;
        Some(read(record.key?, record.value))
    }
}

/// Version and type, 16 bits each.
fn control_type(key: &[u8]) -> Option<ControlType> {
    match key.get(2..4)? {
        [0, 0] => Some(ControlType::Abort),
        [0, 1] => Some(ControlType::Commit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::batches;
    use super::*;

    #[test]
    fn a_marker_is_read_as_it_was_written() -> Result<(), BatchError> {
        for control_type in [ControlType::Abort, ControlType::Commit] {
            let marker =
                Marker { control_type, producer_id: 7, producer_epoch: 2, coordinator_epoch: 5, timestamp_ms: 1_000 };
            let batch = batches(marker.batch()?.freeze()).next().expect("a batch")?;
            batch.verify_crc()?;
            assert_eq!((batch.marker(), batch.control_type()), (Some(marker), Some(control_type)));
            assert!(batch.attributes.is_transactional());
        }
        let mut plain = BatchBuilder::new(Compression::None);
        plain.push(0, Some(&[0, 0, 0, 1]), None, &[])?;
        let batch = batches(plain.finish()?.bytes().clone()).next().expect("a batch")?;
        assert_eq!((batch.marker(), batch.control_type()), (None, None));
        Ok(())
    }
}
