//! A batch whose records are final: compressed, numbered when it is sent, and kept until its fate is known.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::ProducerConfig;
use super::accumulator::{Filling, Unsent};
use super::line::Identity;
use super::receipt::{Fate, Outcome};
use crate::client::Error;
use crate::protocol::batch::{Batch, BatchBuilder, BatchError, ProducerStamp, Record, batches};

/// See the module's page.
#[derive(Debug)]
pub(super) struct Sealed {
    batch: Batch,
    stamped: Option<(Identity, i32)>,
    is_stamped: bool,
    /// Until it is sent for the first time.
    pub unsent: Option<Unsent>,
    pub outcome: Arc<Outcome>,
    /// When its first record came.
    pub since: Instant,
    /// Bytes of the budget.
    pub reserved: usize,
    /// Why it was not written at the last attempt.
    pub last_error: Option<Error>,
}

impl Sealed {
    /// Ends a batch; compression happens here.
    pub fn new(filling: Filling) -> Result<Self, BatchError> {
        let Filling { unsent, builder, outcome, since, reserved, .. } = filling;
        let batch = builder.finish()?;
        Ok(Self { batch, stamped: None, is_stamped: false, unsent, outcome, since, reserved, last_error: None })
    }

    pub fn records(&self) -> usize {
        self.batch.len()
    }

    /// The count as sequences count it.
    pub fn count(&self) -> i32 {
        i32::try_from(self.records()).unwrap_or(i32::MAX)
    }

    pub fn bytes(&self) -> usize {
        self.batch.bytes().len()
    }

    /// The memory, for another batch.
    pub fn into_buffer(self) -> Option<BytesMut> {
        self.batch.into_buffer()
    }

    /// The bytes to send, under these numbers. They are written once, and again only if the numbers change: while an
    /// earlier attempt is unanswered the bytes are shared with it and stay as they are.
    pub fn stamp(&mut self, numbers: Option<(Identity, i32)>, is_transactional: bool) -> Bytes {
        if !self.is_stamped || self.stamped != numbers {
            let stamp = numbers.map(|(identity, base_sequence)| ProducerStamp {
                producer_id: identity.producer_id,
                producer_epoch: identity.epoch,
                base_sequence,
            });
            match stamp.filter(|_| is_transactional) {
                Some(stamp) => self.batch.stamp_transactional(stamp),
                None => self.batch.stamp(stamp),
            }
            (self.stamped, self.is_stamped) = (numbers, true);
        }
        self.batch.bytes().clone()
    }
}

/// Taking a batch apart.
impl Sealed {
    /// Two batches of about the same size, and the fate that leads the receipts of this one to them. None for one record.
    pub fn halves(&self, config: &ProducerConfig) -> Option<(Vec<Self>, Fate)> {
        let (mut first, mut second) = (config.batch(BytesMut::new()), config.batch(BytesMut::new()));
        let batch = batches(self.batch.bytes().clone()).next()?.ok()?;
        // Our own records: what was packed here may be unpacked here, however large.
        let records = batch.records(usize::MAX).ok()?;
        let weight = |record: &Record<'_>| record.size() + 1;
        let half = records.iter().flatten().map(|record| weight(&record)).sum::<usize>() / 2;
        let mut so_far = 0;
        for record in records.iter() {
            let record = record.ok()?;
            let builder = if so_far == 0 || so_far + weight(&record) <= half { &mut first } else { &mut second };
            so_far += weight(&record);
            copy(&record, builder)?;
        }
        if second.is_empty() {
            return None;
        }
        let at = [0, u32::try_from(first.len()).ok()?];
        let lesser = self.reserved / 2;
        let halves = vec![self.part(first, self.reserved - lesser)?, self.part(second, lesser)?];
        let fate = Fate::Split(at.into_iter().zip(halves.iter().map(|half| Arc::clone(&half.outcome))).collect());
        Some((halves, fate))
    }

    fn part(&self, builder: BatchBuilder, reserved: usize) -> Option<Self> {
        let outcome = Arc::default();
        Self::new(Filling { unsent: None, builder, outcome, since: self.since, reserved, ready: 0 }).ok()
    }
}

fn copy(record: &Record<'_>, builder: &mut BatchBuilder) -> Option<()> {
    let headers = record.headers().map(|(key, value)| Some((std::str::from_utf8(key).ok()?, value)));
    let headers = headers.collect::<Option<Vec<_>>>()?;
    builder.push(record.timestamp_ms, record.key, record.value, &headers).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::Compression;

    type Headers<'a> = &'a [(&'a str, Option<&'a [u8]>)];

    fn packed(compression: Compression) -> ProducerConfig {
        ProducerConfig { compression, ..Default::default() }
    }

    fn sealed(compression: Compression, values: &[&[u8]]) -> Sealed {
        let mut builder = BatchBuilder::new(compression);
        let headers: Headers<'_> = &[("a", Some(b"1")), ("a", None)];
        for (i, value) in values.iter().enumerate() {
            builder.push(100 + i as i64, (i % 2 == 0).then_some(b"key"), Some(value), headers).unwrap();
        }
        let outcome = Arc::default();
        Sealed::new(Filling { unsent: None, builder, outcome, since: Instant::now(), reserved: 101, ready: 0 }).unwrap()
    }

    type Read = (i64, Option<Vec<u8>>, Vec<u8>, usize);

    fn read(sealed: &Sealed) -> Vec<Read> {
        let batch = batches(sealed.batch.bytes().clone()).next().unwrap().unwrap();
        batch.verify_crc().unwrap();
        let records = batch.records(1 << 20).unwrap();
        let read = records.iter().map(Result::unwrap).map(|record| {
            let key = record.key.map(<[u8]>::to_vec);
            (record.timestamp_ms, key, record.value.unwrap_or_default().to_vec(), record.headers().len())
        });
        read.collect()
    }

    #[test]
    fn halves_hold_the_same_records_in_order() {
        let cases: &[&[&[u8]]] = &[
            &[b"a", b"b"],
            &[b"a", b"b", b"c", b"d", b"e"],
            &[&[b'x'; 5000], b"b", b"c"],
            &[b"a", b"b", &[b'x'; 5000]],
        ];
        for (compression, values) in
            Compression::ALL.into_iter().flat_map(|codec| cases.iter().map(move |&v| (codec, v)))
        {
            let whole = sealed(compression, values);
            let (halves, fate) = whole.halves(&packed(compression)).unwrap();
            let together: Vec<_> = halves.iter().flat_map(read).collect();
            assert_eq!(together, read(&whole), "{compression:?} {}", values.len());
            assert_eq!(halves.iter().map(|half| half.reserved).sum::<usize>(), whole.reserved);
            let Fate::Split(parts) = fate else { panic!("{fate:?}") };
            let firsts: Vec<_> = parts.iter().map(|(first, _)| *first as usize).collect();
            assert_eq!(firsts, [0, halves[0].records()]);
        }
        assert!(sealed(Compression::None, &[b"alone"]).halves(&packed(Compression::None)).is_none());
    }

    #[test]
    fn bytes_change_only_with_their_numbers() {
        let mut batch = sealed(Compression::None, &[b"a"]);
        let numbers = |epoch| Some((Identity { producer_id: 9, epoch }, 5));
        let first = batch.stamp(numbers(0), false);
        let again = batch.stamp(numbers(0), false);
        assert_eq!(first.as_ptr(), again.as_ptr());
        let renumbered = batch.stamp(numbers(1), false);
        assert_ne!(first, renumbered, "an unanswered attempt keeps its bytes");
        let header = batches(renumbered).next().unwrap().unwrap();
        header.verify_crc().unwrap();
        assert_eq!(header.producer(), Some(ProducerStamp { producer_id: 9, producer_epoch: 1, base_sequence: 5 }));
    }
}
