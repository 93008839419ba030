//! What a record set from a client must be before it may be appended (`LogValidator`, `ProduceRequest.validateRecords`):
//! one batch of format 2, sound, with offsets that count from 0.

use bytes::{Bytes, BytesMut};

use super::Refused;
use crate::devbroker::configs::TopicConfig;
use crate::devbroker::producers::Stamp;
use crate::protocol::batch::{Assignment, BatchError, Compression, ProducedError, Seen, assign, produced};
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{LeaderEpoch, Offset};

/// What one compressed batch may unpack to while it is checked.
pub const UNPACKED_MAX: usize = 128 << 20;
/// The first version of Produce that may carry zstd (KIP-110).
const ZSTD_VERSION: i16 = 7;

/// Why a record set is refused, and which of its records are to blame (KIP-467).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    pub error: ErrorCode,
    pub message: String,
    pub records: Vec<(i32, String)>,
}

impl Invalid {
    pub fn new(error: ErrorCode, message: impl Into<String>) -> Invalid {
        Invalid { error, message: message.into(), records: Vec::new() }
    }
}

impl From<ErrorCode> for Invalid {
    fn from(error: ErrorCode) -> Invalid {
        Invalid::new(error, "")
    }
}

impl From<Refused> for Invalid {
    fn from(refused: Refused) -> Invalid {
        Invalid::new(refused.error, refused.message)
    }
}

/// A batch that was found in order, in memory of its own.
#[derive(Debug)]
pub struct Checked {
    bytes: BytesMut,
    pub stamp: Option<Stamp>,
    pub max_timestamp: i64,
    seen: Seen,
    count: i32,
}

/// Checks a record set as far as that needs no state.
pub fn check(version: i16, records: Option<Bytes>) -> Result<Checked, Invalid> {
    let missing = || {
        Invalid::new(ErrorCode::INVALID_RECORD, "Produce requests must contain exactly one record batch per partition.")
    };
    let records = records.filter(|records| !records.is_empty()).ok_or_else(missing)?;
    let found = produced(records, UNPACKED_MAX).map_err(|error| invalid(&error))?;
    let batch = &found.batch;
    if batch.attributes.compression() == Ok(Compression::Zstd) && version < ZSTD_VERSION {
        return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE.into());
    }
    let mut bytes = BytesMut::from(&batch.bytes()[..]);
    if batch.max_timestamp_ms != found.seen.newest_ms.0 {
        set_max_timestamp(&mut bytes, found.seen.newest_ms.0);
    }
    let stamp = batch.producer().map(|stamp| Stamp {
        producer_id: stamp.producer_id,
        epoch: stamp.producer_epoch,
        first: stamp.base_sequence,
        count: batch.count,
        is_transactional: batch.attributes.is_transactional(),
    });
    Ok(Checked { bytes, stamp, max_timestamp: found.seen.newest_ms.0, seen: found.seen, count: batch.count })
}

/// A header that misstates its largest timestamp would mislead every search by time; the broker knows better.
fn set_max_timestamp(batch: &mut BytesMut, timestamp: i64) {
    batch[35..43].copy_from_slice(&timestamp.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

fn invalid(error: &ProducedError) -> Invalid {
    let code = match error {
        ProducedError::Broken(BatchError::Crc { .. } | BatchError::Length { .. } | BatchError::Compression { .. }) => {
            ErrorCode::CORRUPT_MESSAGE
        }
        _ => ErrorCode::INVALID_RECORD,
    };
    Invalid::new(code, error.to_string())
}

impl Checked {
    /// Checks what depends on the settings of the topic.
    pub fn check_against(&self, config: &TopicConfig, now_ms: i64) -> Result<(), Invalid> {
        if self.bytes.len() > config.max_message_bytes {
            let why = format!(
                "The record batch size is {} bytes, which exceeds the maximum of {}.",
                self.bytes.len(),
                config.max_message_bytes
            );
            return Err(Invalid::new(ErrorCode::MESSAGE_TOO_LARGE, why));
        }
        if self.bytes.len() as u64 > config.segment_bytes {
            return Err(ErrorCode::RECORD_LIST_TOO_LARGE.into());
        }
        if let (true, Some(index)) = (config.compacted, self.seen.keyless) {
            let why = "Compacted topic cannot accept message without key.";
            return Err(self.blame(ErrorCode::INVALID_RECORD, index, why));
        }
        if config.log_append_time {
            return Ok(());
        }
        let ((oldest, first), (newest, last)) = (self.seen.oldest_ms, self.seen.newest_ms);
        let early = now_ms.saturating_sub(oldest) > config.timestamp_before_max_ms;
        if early || newest.saturating_sub(now_ms) > config.timestamp_after_max_ms {
            let index = if early { first } else { last };
            return Err(self.blame(ErrorCode::INVALID_TIMESTAMP, index, "Timestamp of the record is out of range."));
        }
        Ok(())
    }

    fn blame(&self, error: ErrorCode, index: i32, why: &str) -> Invalid {
        let message = format!("One or more of {} records have been rejected", self.count);
        Invalid { error, message, records: vec![(index, why.to_owned())] }
    }

    /// The batch as it goes into the log.
    pub fn assign(mut self, base_offset: Offset, leader_epoch: LeaderEpoch, append_time_ms: Option<i64>) -> Bytes {
        assign(&mut self.bytes, Assignment { base_offset, leader_epoch, log_append_time_ms: append_time_ms });
        self.bytes.freeze()
    }
}
