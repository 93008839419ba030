//! The last commits of one group on one partition, in few bytes. Pure.
//!
//! A monitor holds one window for each group and partition, so what a window takes is most of what the monitor takes. The
//! first and the last entry are kept as they are, those between as differences, four to six bytes each where commits are
//! steady; what the rules ([`super::status`]) need of them is counted as they come and go, so that no round walks over a
//! window.

use super::status::Commit;

/// The ends of a window, and what is counted of the entries in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    first: Commit,
    last: Commit,
    /// How many bytes the differences between the entries take.
    pub(super) packed: u32,
    len: u16,
    at_end: u16,
    moved: u16,
    went_back: u16,
    gained: u16,
}

impl Window {
    pub fn len(&self) -> usize {
        self.len.into()
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn first(&self) -> Option<Commit> {
        (self.len > 0).then_some(self.first)
    }

    pub fn last(&self) -> Option<Commit> {
        (self.len > 0).then_some(self.last)
    }

    /// Whether an entry was at the end of the partition.
    pub fn was_at_end(&self) -> bool {
        self.at_end > 0
    }

    /// Whether an entry has another offset than the one before it.
    pub fn has_moved(&self) -> bool {
        self.moved > 0
    }

    /// Whether an entry has a smaller offset than the one before it.
    pub fn went_back(&self) -> bool {
        self.went_back > 0
    }

    /// Whether an entry has less lag than the one before it.
    pub fn has_gained(&self) -> bool {
        self.gained > 0
    }

    /// Appends an entry, and with it what lies between it and the last one; `packed` is what lies between those before.
    /// What falls out of the window at its other end is cut off.
    pub(super) fn push(&mut self, entry: Commit, window_max: u16, mut packed: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        if self.len >= window_max {
            self.drop_first(&mut packed);
        }
        out.extend_from_slice(packed);
        match self.len {
            0 => self.first = entry,
            _ => {
                self.count_pair(self.last, entry, u16::saturating_add);
                for (before, after) in self.last.numbers().into_iter().zip(entry.numbers()) {
                    put(zigzag(after.wrapping_sub(before)), out);
                }
            }
        }
        self.last = entry;
        self.at_end += u16::from(entry.lag == 0);
        self.len += 1;
        self.packed = u32::try_from(out.len() - begin).unwrap_or(u32::MAX);
    }

    fn drop_first(&mut self, packed: &mut &[u8]) {
        let first = self.first;
        let next = Commit::of(first.numbers().map(|number| number.wrapping_add(unzigzag(take(packed)))));
        self.count_pair(first, next, u16::saturating_sub);
        self.at_end -= u16::from(first.lag == 0);
        self.first = next;
        self.len -= 1;
    }

    fn count_pair(&mut self, before: Commit, after: Commit, count: fn(u16, u16) -> u16) {
        self.moved = count(self.moved, u16::from(after.offset != before.offset));
        self.went_back = count(self.went_back, u16::from(after.offset < before.offset));
        self.gained = count(self.gained, u16::from(after.lag < before.lag));
    }
}

impl Commit {
    fn numbers(self) -> [i64; 3] {
        [self.at_ms, self.offset, self.lag.cast_signed()]
    }

    fn of([at_ms, offset, lag]: [i64; 3]) -> Self {
        Self { at_ms, offset, lag: lag.cast_unsigned() }
    }
}

/// Small numbers of either sign as small ones without.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(packed: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = packed.split_first() else { break };
        *packed = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    number
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::VecDeque;

    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// A window of these entries.
    pub fn window(entries: &[Commit]) -> Window {
        let (mut window, mut packed) = (Window::default(), Vec::new());
        for entry in entries {
            let mut next = Vec::new();
            window.push(*entry, u16::MAX, &packed, &mut next);
            packed = next;
        }
        window
    }

    fn counted(entries: &VecDeque<Commit>) -> [usize; 5] {
        let pairs = || entries.iter().zip(entries.iter().skip(1));
        [
            entries.len(),
            entries.iter().filter(|it| it.lag == 0).count(),
            pairs().filter(|(before, after)| after.offset != before.offset).count(),
            pairs().filter(|(before, after)| after.offset < before.offset).count(),
            pairs().filter(|(before, after)| after.lag < before.lag).count(),
        ]
    }

    /// Beside a queue of whole entries, whatever the numbers are.
    #[test]
    fn a_packed_window_knows_what_a_queue_knows() {
        let mut random = SmallRng::seed_from_u64(7);
        for _ in 0..500 {
            let most = random.random_range(3..12);
            let (mut window, mut packed, mut queue) = (Window::default(), Vec::new(), VecDeque::new());
            for _ in 0..40 {
                let offset = match random.random_range(0..10) {
                    0 => i64::MAX,
                    1 => 0,
                    _ => random.random_range(0..4),
                };
                let lag = if random.random_bool(0.1) { u64::MAX } else { random.random_range(0..3) };
                let entry = Commit { at_ms: random.random_range(0..i64::MAX), offset, lag };
                let mut next = Vec::new();
                window.push(entry, most, &packed, &mut next);
                packed = next;
                if queue.len() == usize::from(most) {
                    queue.pop_front();
                }
                queue.push_back(entry);
                assert_eq!((window.first(), window.last()), (queue.front().copied(), queue.back().copied()));
                let known = [window.len, window.at_end, window.moved, window.went_back, window.gained];
                assert_eq!((known.map(usize::from), window.packed as usize), (counted(&queue), packed.len()));
            }
        }
    }

    #[test]
    fn steady_entries_take_four_bytes() {
        let (mut window, mut packed) = (Window::default(), Vec::new());
        for round in 0..50 {
            let entry = Commit { at_ms: 1_790_000_000_000 + round * 5_000, offset: 1 << 40, lag: 3 };
            let mut next = Vec::new();
            window.push(entry, 10, &packed, &mut next);
            packed = next;
        }
        assert_eq!((window.len(), packed.len()), (10, 9 * 4));
    }
}
