//! Reading a record set: a borrowing walk that trusts no length.

use bytes::Bytes;

use super::{BatchError, Compression, HEADER_BYTES, Header, RECORD_BYTES_MIN, varint};
use crate::protocol::types::Offset;

/// Walks the batches of a record set. A batch that was cut off ends the walk quietly: it comes again, whole, with the next
/// fetch. An error ends it too, because where the next batch begins is then not known.
pub fn batches(record_set: Bytes) -> Batches {
    Batches { rest: record_set }
}

/// See [`batches`].
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// What was not walked yet: empty, or a batch that was cut off.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    fn step(&mut self) -> Result<Option<RecordBatch>, BatchError> {
        let Some(header) = Header::read(&self.rest) else { return Ok(None) };
        let size = header.size()?;
        // The formats before v2 share the offset, the length and the place of the magic byte.
        if header.magic != 2 {
            return Err(BatchError::Magic { base_offset: header.base_offset, magic: header.magic });
        }
        if header.last_offset_delta < 0 {
            let Header { base_offset, last_offset_delta, .. } = header;
            return Err(BatchError::LastOffset { base_offset, last_offset_delta });
        }
        if self.rest.len() < size {
            return Ok(None);
        }
        Ok(Some(RecordBatch { header, bytes: self.rest.split_to(size) }))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            self.rest.clear();
        }
        step
    }
}

/// One whole batch, sharing the record set's memory.
#[derive(Debug, Clone)]
pub struct RecordBatch {
    header: Header,
    bytes: Bytes,
}

impl std::ops::Deref for RecordBatch {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}

impl RecordBatch {
    /// The batch as it is on the wire.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[21..]);
        if computed == self.crc {
            return Ok(());
        }
        Err(BatchError::Crc { base_offset: self.base_offset, stored: self.crc, computed })
    }

    /// The records, decompressed into at most `limit` bytes where they are compressed.
    pub fn records(&self, limit: usize) -> Result<Records, BatchError> {
        let base_offset = self.base_offset;
        let unpack = |source| BatchError::Compression { base_offset, source };
        let packed = self.bytes.slice(HEADER_BYTES..);
        let bytes = match self.attributes.compression().map_err(unpack)? {
            Compression::None => packed,
            compression => compression.decompress(&packed, limit).map_err(unpack)?,
        };
        let fits = usize::try_from(self.count).is_ok_and(|count| count <= bytes.len() / RECORD_BYTES_MIN);
        if !fits {
            return Err(BatchError::Count { base_offset, count: self.count, bytes: bytes.len() });
        }
        Ok(Records { header: self.header, bytes })
    }
}

/// The records of one batch, unpacked.
#[derive(Debug, Clone)]
pub struct Records {
    header: Header,
    bytes: Bytes,
}

impl Records {
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The memory they take.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn iter(&self) -> RecordsIter<'_> {
        RecordsIter { header: self.header, rest: &self.bytes, index: 0 }
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<Record<'a>, BatchError>;
    type IntoIter = RecordsIter<'a>;

    fn into_iter(self) -> RecordsIter<'a> {
        self.iter()
    }
}

/// One record, borrowed from its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: Offset,
    /// Milliseconds since 1970: when it was made or, for topics with LogAppendTime, when the broker appended it.
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// In the order they were written; the same key may come more than once.
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// The bytes of its key, value and headers.
    pub fn size(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + self.headers.rest.len()
    }
}

/// Walks a batch's records; ends after the first that cannot be read. Bytes after the last record are an error too, as
/// they are to the Java client: a count that is too small would hide records.
#[derive(Debug, Clone)]
pub struct RecordsIter<'a> {
    header: Header,
    rest: &'a [u8],
    index: i32,
}

impl<'a> RecordsIter<'a> {
    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let length = varint::take(&mut self.rest).ok_or("cut off")?;
        let length = usize::try_from(length).map_err(|_| "negative length")?;
        let (mut body, rest) = self.rest.split_at_checked(length).ok_or("longer than its batch")?;
        self.rest = rest;
        let body = &mut body;
        let (_attributes, after) = body.split_first().ok_or("empty")?;
        *body = after;
        let timestamp_delta = varint::take(body).ok_or("cut off in its timestamp")?;
        let offset_delta = varint::take(body).ok_or("cut off in its offset")?;
        let key = take_nullable(body).ok_or("cut off in its key")?;
        let value = take_nullable(body).ok_or("cut off in its value")?;
        let headers = Headers::take(body).ok_or("broken headers")?;
        if !(0..=i64::from(self.header.last_offset_delta)).contains(&offset_delta) {
            return Err("offset outside its batch");
        }
        let timestamp_ms = if self.header.attributes.is_log_append_time() {
            self.header.max_timestamp_ms
        } else {
            self.header.base_timestamp_ms.wrapping_add(timestamp_delta)
        };
        Ok(Record { offset: self.header.base_offset.wrapping_add(offset_delta), timestamp_ms, key, value, headers })
    }
}

impl<'a> Iterator for RecordsIter<'a> {
    type Item = Result<Record<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (base_offset, index) = (self.header.base_offset, self.index);
        if index >= self.header.count {
            return match std::mem::take(&mut self.rest) {
                [] => None,
                _ => Some(Err(BatchError::Record { base_offset, index, fault: "the batch goes on after its last" })),
            };
        }
        self.index += 1;
        Some(self.read().map_err(|fault| {
            (self.index, self.rest) = (self.header.count, &[]);
            BatchError::Record { base_offset, index, fault }
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.header.count - self.index).ok())
    }
}

/// A record's headers: an iterator over keys and values, read as they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    count: usize,
    rest: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Takes all headers off the front, and sees once that every one can be read.
    fn take(body: &mut &'a [u8]) -> Option<Self> {
        let count = usize::try_from(varint::take(body)?).ok()?;
        let headers = Self { count, rest: body };
        if count == 0 {
            return body.is_empty().then_some(headers);
        }
        let mut check = headers;
        for _ in 0..count {
            check.step()?;
        }
        check.rest.is_empty().then_some(headers)
    }

    fn step(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let key = take_nullable(&mut self.rest)??;
        let value = take_nullable(&mut self.rest)?;
        self.count = self.count.checked_sub(1)?;
        Some((key, value))
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    /// The key is UTF-8 by Kafka's rule; brokers do not check it, so it is given as it came.
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.count == 0 { None } else { self.step() }
    }
}

/// The outer `None`: cut off. The inner: null.
#[inline]
fn take_nullable<'a>(body: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::take(body)?;
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let (field, rest) = body.split_at_checked(usize::try_from(length).ok()?)?;
    *body = rest;
    Some(Some(field))
}
