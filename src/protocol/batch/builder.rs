//! Writing a batch: each record once, into its final place.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Attributes, BatchError, Compression, HEADER_BYTES, LENGTH_END, Record, varint};

/// Who sends a batch, in which life, and the number of its first record (KIP-98): what makes a retry recognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
}

/// A batch being filled.
#[derive(Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records as they are on the wire before compression.
    bytes: BytesMut,
    compression: Compression,
    level: Option<i32>,
    count: i32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

/// The length field's bound, less room for the header.
const RECORDS_BYTES_MAX: usize = i32::MAX as usize - HEADER_BYTES;

impl BatchBuilder {
    pub fn new(compression: Compression) -> Self {
        Self::with_buffer(compression, BytesMut::new())
    }

    /// Fills a buffer that was used before; what is in it is thrown away.
    pub fn with_buffer(compression: Compression, mut buffer: BytesMut) -> Self {
        buffer.clear();
        buffer.put_bytes(0, HEADER_BYTES);
        Self { bytes: buffer, compression, level: None, count: 0, base_timestamp_ms: 0, max_timestamp_ms: 0 }
    }

    /// Packs at this level, see [`Compression::levels`]; `None` for the codec's own default.
    pub fn with_level(mut self, level: Option<i32>) -> Self {
        self.level = level;
        self
    }

    /// Adds a record; on an error the batch is as it was.
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> Result<(), BatchError> {
        self.append(timestamp_ms, key, value, headers)
    }

    /// Adds a record whose header keys are taken as they come: one that was read and is passed on must not change, and
    /// no broker checks that the keys are UTF-8.
    pub fn push_raw(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), BatchError> {
        self.append(timestamp_ms, key, value, headers)
    }

    fn append<K: AsRef<[u8]>>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(K, Option<&[u8]>)],
    ) -> Result<(), BatchError> {
        if self.count == 0 {
            (self.base_timestamp_ms, self.max_timestamp_ms) = (timestamp_ms, timestamp_ms);
        }
        self.append_at(i64::from(self.count), timestamp_ms, key, value, headers)
    }

    /// Adds a record of another batch, at its place in that, and with its time counted from `base_timestamp_ms`.
    pub(super) fn push_at(
        &mut self,
        offset_delta: i64,
        base_timestamp_ms: i64,
        record: &Record<'_>,
    ) -> Result<(), BatchError> {
        if self.count == 0 {
            (self.base_timestamp_ms, self.max_timestamp_ms) = (base_timestamp_ms, record.timestamp_ms);
        }
        let headers: Vec<_> = record.headers().collect();
        self.append_at(offset_delta, record.timestamp_ms, record.key, record.value, &headers)
    }

    fn append_at<K: AsRef<[u8]>>(
        &mut self,
        offset_delta: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(K, Option<&[u8]>)],
    ) -> Result<(), BatchError> {
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp_ms);
        let body = 1
            + varint::size(timestamp_delta)
            + varint::size(offset_delta)
            + nullable_size(key)
            + nullable_size(value)
            + headers_size(headers);
        let bytes = body + varint::size(body as i64);
        if self.bytes.len() + bytes > RECORDS_BYTES_MAX || self.count == i32::MAX {
            return Err(BatchError::TooLarge { bytes });
        }
        self.bytes.reserve(bytes);
        // Every call that grows the buffer costs about as much as the copy itself: small fields go together.
        let mut front = varint::Run::new();
        front.put(body as i64);
        front.put(0);
        front.put(timestamp_delta);
        front.put(offset_delta);
        front.put(nullable_length(key));
        self.bytes.put_slice(front.bytes());
        self.bytes.put_slice(key.unwrap_or_default());
        varint::put(&mut self.bytes, nullable_length(value));
        self.bytes.put_slice(value.unwrap_or_default());
        put_headers(&mut self.bytes, headers);
        self.count += 1;
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        Ok(())
    }

    /// At most this many bytes are added by such a record, wherever in a batch it stands.
    pub fn estimate(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> usize {
        let fields = nullable_size(key) + nullable_size(value) + headers_size(headers);
        // Length, attributes, timestamp delta and offset delta, each at its longest.
        fields + 5 + 1 + 10 + 5
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The size so far, header included and before compression.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Compresses the records and writes the header; the producer's fields say "none" until they are stamped. Records
    /// that do not become smaller, as those of a small batch often do not, are left as they are.
    pub fn finish(self) -> Result<Batch, BatchError> {
        let Self { mut bytes, mut compression, level, count, base_timestamp_ms, max_timestamp_ms } = self;
        if compression != Compression::None {
            let mut packed = BytesMut::with_capacity(HEADER_BYTES + bytes.len() / 2);
            packed.put_bytes(0, HEADER_BYTES);
            let compressed = compression.compress(&bytes[HEADER_BYTES..], level, &mut packed);
            compressed.map_err(|source| BatchError::Compression { base_offset: 0, source })?;
            if packed.len() < bytes.len() {
                bytes = packed;
            } else {
                compression = Compression::None;
            }
        }
        let length = bytes.len() - LENGTH_END;
        let mut head = &mut bytes[..HEADER_BYTES];
        head.put_i64(0);
        head.put_i32(i32::try_from(length).map_err(|_| BatchError::TooLarge { bytes: length })?);
        // The leader sets its epoch.
        head.put_i32(-1);
        head.put_i8(2);
        head.put_u32(0);
        head.put_i16(i16::from(compression.id()));
        head.put_i32(count.saturating_sub(1));
        head.put_i64(base_timestamp_ms);
        head.put_i64(max_timestamp_ms);
        head.put_i64(-1);
        head.put_i16(-1);
        head.put_i32(-1);
        head.put_i32(count);
        seal(&mut bytes);
        Ok(Batch { bytes: bytes.freeze(), count })
    }
}

/// Computes the CRC over everything it covers, and writes it.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// A batch ready to be sent, as often as it takes.
#[derive(Debug, Clone)]
pub struct Batch {
    bytes: Bytes,
    count: i32,
}

impl Batch {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives back the memory, for another builder, when no request holds it any more.
    pub fn into_buffer(self) -> Option<BytesMut> {
        self.bytes.try_into_mut().ok()
    }

    /// Sets who sends it. Bytes that an unanswered request still holds stay as they are; these become a copy.
    pub fn stamp(&mut self, stamp: Option<ProducerStamp>) {
        let none = ProducerStamp { producer_id: -1, producer_epoch: -1, base_sequence: -1 };
        self.set(stamp.unwrap_or(none), false);
    }

    /// Sets who sends it, as part of the transaction that this producer has begun.
    pub fn stamp_transactional(&mut self, stamp: ProducerStamp) {
        self.set(stamp, true);
    }

    fn set(&mut self, stamp: ProducerStamp, transactional: bool) {
        let mut bytes =
            std::mem::take(&mut self.bytes).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let attributes = i16::from_be_bytes([bytes[21], bytes[22]]) & !Attributes::TRANSACTIONAL;
        let transactional = if transactional { Attributes::TRANSACTIONAL } else { 0 };
        (&mut bytes[21..23]).put_i16(attributes | transactional);
        let mut fields = &mut bytes[43..57];
        fields.put_i64(stamp.producer_id);
        fields.put_i16(stamp.producer_epoch);
        fields.put_i32(stamp.base_sequence);
        seal(&mut bytes);
        self.bytes = bytes.freeze();
    }
}

fn nullable_length(field: Option<&[u8]>) -> i64 {
    field.map_or(-1, |bytes| bytes.len() as i64)
}

fn nullable_size(field: Option<&[u8]>) -> usize {
    match field {
        Some(bytes) => varint::size(bytes.len() as i64) + bytes.len(),
        None => 1,
    }
}

fn put_nullable(out: &mut BytesMut, field: Option<&[u8]>) {
    varint::put(out, nullable_length(field));
    out.put_slice(field.unwrap_or_default());
}

fn headers_size<K: AsRef<[u8]>>(headers: &[(K, Option<&[u8]>)]) -> usize {
    let fields = headers.iter().map(|(key, value)| nullable_size(Some(key.as_ref())) + nullable_size(*value));
    varint::size(headers.len() as i64) + fields.sum::<usize>()
}

fn put_headers<K: AsRef<[u8]>>(out: &mut BytesMut, headers: &[(K, Option<&[u8]>)]) {
    varint::put(out, headers.len() as i64);
    for (key, value) in headers {
        put_nullable(out, Some(key.as_ref()));
        put_nullable(out, *value);
    }
}
