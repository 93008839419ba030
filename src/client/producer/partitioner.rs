//! Which partition a record goes to. Values in, values out; chance is an argument.
//!
//! A partition that the caller names is kept. A key decides by murmur2 as in the Java client, so that the same key goes to
//! the same partition whichever client writes it. A record with neither sticks to one partition until about a batch's worth
//! of bytes went there and then moves to another at random: full batches, and an even spread by bytes however slow one
//! broker is (KIP-480, made uniform by KIP-794).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::murmur::partition_for_key;

/// What a record itself says about its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one, whatever it leads to.
    Fixed(i32),
    /// Whichever is sticky now.
    Any,
}

pub(super) fn choose(named: Option<i32>, key: Option<&[u8]>, partitions: i32) -> Choice {
    match (named, key) {
        (Some(partition), _) => Choice::Fixed(partition),
        (None, Some(key)) => Choice::Fixed(partition_for_key(key, partitions)),
        (None, None) => Choice::Any,
    }
}

/// The partition that records without key go to for now, and how many bytes had gone there when it was picked (the low half
/// of that count): one word, so that callers on several threads need no lock.
#[derive(Debug)]
pub(super) struct Sticky(AtomicU64);

impl Sticky {
    pub fn new(partition: i32, total: u64) -> Self {
        Self(AtomicU64::new(pack(partition, total)))
    }

    pub fn partition(&self) -> i32 {
        unpack(self.0.load(Ordering::Relaxed)).0
    }

    /// How many bytes went to `partition` since it was picked, of `total` ever. None if another caller has moved on.
    pub fn bytes(&self, partition: i32, total: u64) -> Option<usize> {
        let (at, start) = unpack(self.0.load(Ordering::Relaxed));
        (at == partition).then(|| (total as u32).wrapping_sub(start) as usize)
    }

    /// Moves on from `partition` to `next`, unless another caller already did.
    pub fn leave(&self, partition: i32, next: i32, total: u64) {
        let seen = self.0.load(Ordering::Relaxed);
        if unpack(seen).0 == partition {
            let _ = self.0.compare_exchange(seen, pack(next, total), Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// One of the available partitions at random, another than `current` if there is one.
pub(super) fn pick(available: &[i32], current: Option<i32>, random: u32) -> i32 {
    let others = available.iter().filter(|&&partition| Some(partition) != current);
    let n = others.clone().count();
    if n == 0 {
        return current.or_else(|| available.first().copied()).unwrap_or(0);
    }
    others.copied().nth(random as usize % n).unwrap_or(0)
}

fn pack(partition: i32, total: u64) -> u64 {
    u64::from(partition.cast_unsigned()) << 32 | (total & u64::from(u32::MAX))
}

fn unpack(word: u64) -> (i32, u32) {
    (((word >> 32) as u32).cast_signed(), word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_record_says_comes_first() {
        let key = b"21".as_slice();
        let cases = [
            (Some(3), None, Choice::Fixed(3)),
            (Some(3), Some(key), Choice::Fixed(3)),
            (None, None, Choice::Any),
            (None, Some(key), Choice::Fixed(partition_for_key(key, 6))),
        ];
        for (named, key, want) in cases {
            assert_eq!(choose(named, key, 6), want, "{named:?} {key:?}");
        }
    }

    #[test]
    fn sticky_counts_its_own_bytes_and_is_left_once() {
        let near_wrap = u64::from(u32::MAX) - 50;
        let sticky = Sticky::new(2, near_wrap);
        assert_eq!(sticky.bytes(2, near_wrap + 100), Some(100));
        assert_eq!(sticky.bytes(0, 999), None);
        sticky.leave(0, 4, 0);
        assert_eq!(sticky.partition(), 2, "only the present one can be left");
        sticky.leave(2, 5, 7);
        assert_eq!((sticky.partition(), sticky.bytes(5, 17)), (5, Some(10)));
    }

    #[test]
    fn picks_only_what_is_available() {
        let cases: &[(&[i32], Option<i32>, u32, i32)] = &[
            (&[], None, 7, 0),
            (&[], Some(4), 7, 4),
            (&[4], Some(4), 7, 4),
            (&[4, 6], Some(4), 7, 6),
            (&[1, 2, 3], Some(2), 0, 1),
            (&[1, 2, 3], Some(2), 1, 3),
        ];
        for (available, current, random, want) in cases {
            assert_eq!(pick(available, *current, *random), *want, "{available:?} {current:?}");
        }
    }
}
