//! The one bound on what a consumer holds: bytes that were fetched and are not finished.
//!
//! Readers take room *before* they ask a broker, so the bound holds for what is on its way as well. Two things may exceed
//! it, each by what one answer holds: a batch that is larger than was asked for (brokers give the first one whole, so
//! that nobody gets stuck, KIP-74), and compressed batches, whose size is only known once they are unpacked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// A partition, and a broker, is asked for no less than this, if there is memory for it, however small its share and however well
/// it packs. A broker passes over a partition, all but the first of an answer, whose next batch is larger than was asked for:
/// with less, and batches of the usual sizes, every answer would hold a single batch.
pub const ASK_BYTES_MIN: usize = 128 << 10;
/// See [`Packing::learn`].
const PACKED_REMEMBERED: u32 = 8 << 20;

/// Bytes in use, of so many.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    used: AtomicUsize,
    /// Partitions that are being read; each has an equal share.
    partitions: AtomicUsize,
    freed: watch::Sender<()>,
}

/// Some of the memory; given back when dropped.
#[derive(Debug)]
pub struct Grant {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            partitions: AtomicUsize::new(0),
            freed: watch::Sender::new(()),
        })
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Takes so many bytes, whether there is room or not.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Grant {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Grant { memory: Arc::clone(self), bytes }
    }

    /// Takes up to `most`, if there is room for `least`.
    pub fn try_take(self: &Arc<Self>, least: usize, most: usize) -> Option<Grant> {
        let least = least.min(self.limit);
        let mut bytes = 0;
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            bytes = self.limit.saturating_sub(used).min(most.max(least));
            (bytes >= least).then_some(used + bytes)
        });
        taken.ok().map(|_| Grant { memory: Arc::clone(self), bytes })
    }

    /// Told whenever memory is given back.
    pub fn freed(&self) -> watch::Receiver<()> {
        self.freed.subscribe()
    }

    /// There is something to do for readers that wait for memory, though none was given back.
    pub fn wake(&self) {
        self.freed.send_replace(());
    }

    /// How much one partition may hold before it is asked for no more, so that one that is stuck leaves room for the
    /// others. Readers ask for no less than 128 KiB of a partition (`ASK_BYTES_MIN`), however small this is, and what
    /// comes is held whole: of 1,000 partitions with 32 MiB, a share of which is 16 KiB, some 256 that are stuck take
    /// all of it.
    pub fn share(&self) -> usize {
        self.limit / 2 / self.partitions.load(Ordering::Relaxed).max(1)
    }

    pub(super) fn add_partition(&self) {
        self.partitions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove_partition(&self) {
        self.partitions.fetch_sub(1, Ordering::Relaxed);
        self.freed.send_replace(());
    }
}

impl Grant {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps no more than so many.
    pub fn keep(&mut self, bytes: usize) {
        drop(self.split(self.bytes.saturating_sub(bytes)));
    }

    /// A grant of its own for so many of these bytes; what is missing is taken, whether there is room or not.
    pub fn split(&mut self, bytes: usize) -> Grant {
        let mine = bytes.min(self.bytes);
        let mut part = self.memory.take(bytes - mine);
        self.bytes -= mine;
        part.bytes += mine;
        part
    }
}

/// How well what was lately read, of a partition or a broker, was packed, by bytes. Small, as there is one a partition.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packing {
    packed: u32,
    unpacked: f32,
}

impl Packing {
    /// Of what is older than so many bytes half remains: by bytes and not by answers, as those without a backlog are small, and
    /// small batches do not pack as well.
    pub fn learn(&mut self, packed: usize, unpacked: usize) {
        self.packed = self.packed.saturating_add(u32::try_from(packed).unwrap_or(u32::MAX));
        self.unpacked += unpacked.max(packed) as f32;
        if self.packed > PACKED_REMEMBERED {
            self.packed /= 2;
            self.unpacked /= 2.0;
        }
    }

    /// What so many bytes will probably be once they are unpacked.
    pub fn unpacked(&self, packed: usize) -> usize {
        (packed as f32 * self.ratio().unwrap_or(1.0)) as usize
    }

    /// How many bytes to ask for, so that they will probably be so many once they are unpacked. While nothing is known, little.
    pub fn packed(&self, unpacked: usize) -> usize {
        let packed = self.ratio().map_or(0, |ratio| (unpacked as f32 / ratio) as usize);
        packed.max(ASK_BYTES_MIN).min(unpacked)
    }

    /// `None` while nothing is known.
    fn ratio(&self) -> Option<f32> {
        (self.packed > 0).then(|| (self.unpacked / self.packed as f32).max(1.0))
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.memory.freed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What came, packed and unpacked, and what is asked for then where there is room for 64 MiB.
    #[test]
    fn what_is_asked_for_goes_by_what_was_unpacked() {
        let (mut packing, mib) = (Packing::default(), 1 << 20);
        assert_eq!([64 * mib, 1000].map(|room| packing.packed(room)), [ASK_BYTES_MIN, 1000], "nothing is known");
        assert_eq!(packing.unpacked(mib), mib);
        for (packed, unpacked, expected) in [
            (mib, mib, 64 * mib),
            (mib, 99 * mib, 64 * mib / 50),
            // A few small answers change little, and those of nothing at all nothing.
            (1000, 2000, 64 * mib / 50),
            (0, 0, 64 * mib / 50),
            // Half of what is known then: 5 MiB that were 54.
            (8 * mib, 8 * mib, 64 * mib / 54 * 5),
            (mib, 9999 * mib, ASK_BYTES_MIN),
            (1000 * mib, 0, 64 * mib * 506 / 6000),
        ] {
            packing.learn(packed, unpacked);
            let asked = packing.packed(64 * mib);
            assert!(asked.abs_diff(expected) < expected / 8, "{packed} {unpacked}: {asked}, not {expected}");
        }
    }

    #[test]
    fn room_is_taken_and_given_back() {
        let memory = Memory::new(100);
        let first = memory.try_take(10, 80).map(|grant| (grant.bytes(), grant));
        assert_eq!(first.as_ref().map(|first| first.0), Some(80));
        assert!(memory.try_take(30, 80).is_none(), "20 are left");
        let rest = memory.try_take(10, 80).expect("some are left");
        assert_eq!((rest.bytes(), memory.limit() - memory.used()), (20, 0));
        let mut rest = rest;
        let (part, more) = (rest.split(15), rest.split(15));
        assert_eq!((part.bytes(), more.bytes(), rest.bytes(), memory.used()), (15, 15, 0, 110));
        drop((part, rest));
        let mut rest = more;
        rest.keep(5);
        drop(rest.split(0));
        assert_eq!(memory.used(), 85);
        let rest = memory.try_take(1, 100).map(|more| (more, rest)).expect("15 are left");
        let beyond = memory.take(50);
        assert_eq!(memory.used(), 150);
        let freed = memory.freed();
        drop((first, beyond));
        assert_eq!((memory.limit() - memory.used(), freed.has_changed().ok()), (80, Some(true)));
        assert_eq!(memory.try_take(1000, 2000).map(|grant| grant.bytes()), None, "waits for all of it");
        drop(rest);
        assert_eq!(memory.try_take(1000, 2000).map(|grant| grant.bytes()), Some(100), "never waits for more than all");
    }

    #[test]
    fn partitions_share_half_of_it() {
        let memory = Memory::new(1000);
        assert_eq!(memory.share(), 500);
        (0..4).for_each(|_| memory.add_partition());
        assert_eq!(memory.share(), 125);
        memory.remove_partition();
        memory.remove_partition();
        assert_eq!(memory.share(), 250);
    }
}
