//! Records on their way into batches: one queue a partition, one budget of memory for all of them. Values in, values out;
//! the clock is an argument.
//!
//! A record is encoded straight into its partition's open batch. Memory is reserved for a batch in steps, not for each
//! record, from a budget that the whole producer shares; who finds it empty waits in the order of arrival, and what a batch
//! reserved comes back when its fate is known.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::receipt::{Outcome, Receipt};
use crate::protocol::batch::{BatchBuilder, BatchError, HEADER_BYTES};

/// How much of a batch that is ready is reserved at a time.
const STEPS: usize = 8;

/// How large batches become, in bytes before compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// A batch of this size is ready to be sent, however short it has lingered.
    pub ready: usize,
    /// One that is ready takes more records while its leader is busy with those before it, up to this size.
    pub most: usize,
}

/// The memory that all unsettled batches of a producer share, in bytes.
#[derive(Debug)]
pub(super) struct Budget {
    free: Semaphore,
    total: usize,
}

impl Budget {
    pub fn new(total: usize) -> Self {
        let total = total.min(Semaphore::MAX_PERMITS);
        Self { free: Semaphore::new(total), total }
    }

    pub fn total(&self) -> usize {
        self.total
    }

    pub fn used(&self) -> usize {
        self.total.saturating_sub(self.free.available_permits())
    }

    fn try_take(&self, bytes: usize) -> bool {
        let taken = u32::try_from(bytes).ok().and_then(|bytes| self.free.try_acquire_many(bytes).ok());
        taken.map(tokio::sync::SemaphorePermit::forget).is_some()
    }

    pub fn give(&self, bytes: usize) {
        self.free.add_permits(bytes);
    }
}

/// What one caller took from the budget and has not put into a batch; what is left at the end goes back.
#[derive(Debug)]
pub(super) struct Purse<'a> {
    budget: &'a Budget,
    held: usize,
}

impl<'a> Purse<'a> {
    pub fn new(budget: &'a Budget) -> Self {
        Self { budget, held: 0 }
    }

    /// Waits in line until the purse holds that much. Dropping the wait takes nothing.
    pub async fn fill(&mut self, bytes: usize) {
        let missing = u32::try_from(bytes.saturating_sub(self.held)).unwrap_or(u32::MAX);
        // The semaphore is never closed, so there is no other outcome.
        if let Ok(permit) = self.budget.free.acquire_many(missing).await {
            permit.forget();
            self.held += missing as usize;
        }
    }

    fn spend(&mut self, bytes: usize) -> bool {
        let missing = bytes.saturating_sub(self.held);
        if missing > 0 && !self.budget.try_take(missing) {
            return false;
        }
        self.held = self.held + missing - bytes;
        true
    }
}

impl Drop for Purse<'_> {
    fn drop(&mut self) {
        if self.held > 0 {
            self.budget.give(self.held);
        }
    }
}

/// What a record is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// How many batches of a partition were never sent, one that is several times ready counted as often: how far its leader is
/// behind. What is sent again does not count.
#[derive(Debug, Clone, Default)]
pub(super) struct Load(Arc<AtomicUsize>);

impl Load {
    pub fn batches(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn hold(&self) -> Unsent {
        self.0.fetch_add(1, Ordering::Relaxed);
        Unsent { load: Arc::clone(&self.0), batches: 1 }
    }
}

/// A batch that counts in its partition's [`Load`], until this is dropped.
#[derive(Debug)]
pub(super) struct Unsent {
    load: Arc<AtomicUsize>,
    batches: usize,
}

impl Unsent {
    /// It goes on beyond so many batches' worth more.
    fn grow(&mut self, batches: usize) {
        self.batches += batches;
        self.load.fetch_add(batches, Ordering::Relaxed);
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.load.fetch_sub(self.batches, Ordering::Relaxed);
    }
}

/// A batch that takes records, or waits to be sent.
#[derive(Debug)]
pub(super) struct Filling {
    /// `None` for a part of one that was sent.
    pub unsent: Option<Unsent>,
    pub builder: BatchBuilder,
    pub outcome: Arc<Outcome>,
    pub since: Instant,
    /// Bytes of the budget.
    pub reserved: usize,
    /// How many times over it is ready.
    pub ready: usize,
}

impl Filling {
    fn may_go(&self, ripe: Instant) -> bool {
        self.ready > 0 || self.since <= ripe
    }
}

/// What became of a push.
#[derive(Debug)]
pub(super) enum Push {
    Done {
        receipt: Receipt,
        /// A batch was opened, then: its linger runs.
        opened: Option<Instant>,
        /// A batch became full, or ready once more.
        filled: bool,
        /// About how many bytes this partition has been given, ever.
        total: u64,
    },
    /// The budget has less than that many bytes left. Nothing was written.
    NoRoom(usize),
    /// The producer has stopped. Nothing was written.
    Closed,
}

/// One partition's batches that were not sent yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    full: VecDeque<Filling>,
    open: Option<Filling>,
    load: Load,
    total: u64,
    closed: bool,
    stays_small: bool,
    /// Whether the last batch was ready before it was taken.
    fills: bool,
}

impl Queue {
    pub fn new(load: Load) -> Self {
        Self { load, ..Self::default() }
    }

    /// A batch that is ready takes no more records from now on.
    pub fn stay_small(&mut self) {
        self.stays_small = true;
    }

    /// Encodes a record of about `size` bytes into the open batch, or into a new one if that has no room for it. `begin` is told
    /// whether the new one will probably become ready.
    // Inlined so that the receipt is built where the caller wants it: moving it through each frame cost more than encoding.
    #[inline(always)]
    pub fn push(
        &mut self,
        sizes: Sizes,
        fields: Fields<'_>,
        size: usize,
        purse: &mut Purse<'_>,
        begin: impl FnOnce(bool) -> (Instant, BatchBuilder),
    ) -> Result<Push, BatchError> {
        if self.closed {
            return Ok(Push::Closed);
        }
        let sizes = if self.stays_small { Sizes { most: sizes.ready, ..sizes } } else { sizes };
        let mut filled = self.close_if(|open| !open.builder.is_empty() && open.builder.bytes() + size > sizes.most);
        let (used, reserved) =
            self.open.as_ref().map_or((HEADER_BYTES, 0), |open| (open.builder.bytes(), open.reserved));
        let more = step(sizes, used + size, reserved).min(purse.budget.total);
        if more > 0 && !purse.spend(more) {
            // The open batch may be gone by then, and what is asked for must not fall short: who asks again stands behind others.
            return Ok(Push::NoRoom(more.max(step(sizes, HEADER_BYTES + size, 0)).min(purse.budget.total)));
        }
        let mut opened = None;
        let open = self.open.get_or_insert_with(|| {
            let (since, builder) = begin(self.fills);
            opened = Some(since);
            Filling { unsent: Some(self.load.hold()), builder, outcome: Arc::default(), since, reserved: 0, ready: 0 }
        });
        let index = open.builder.len();
        if let Err(error) = open.builder.push(fields.timestamp_ms, fields.key, fields.value, fields.headers) {
            self.open.take_if(|open| open.builder.is_empty());
            purse.held += more;
            return Err(error);
        }
        open.reserved += more;
        let receipt = Receipt::new(Arc::clone(&open.outcome), index as u32, fields.timestamp_ms);
        // The next record is probably like this one: a batch without room for it is not kept waiting.
        let next = open.builder.bytes() + size;
        if next > sizes.most {
            filled |= self.close_if(|_| true);
        } else if next > (open.ready + 1) * sizes.ready {
            let more = next / sizes.ready - open.ready;
            open.ready += more;
            if let Some(unsent) = &mut open.unsent {
                unsent.grow(more);
            }
            filled = true;
        }
        self.total += size as u64;
        Ok(Push::Done { receipt, opened, filled, total: self.total })
    }

    fn close_if(&mut self, is_full: impl FnOnce(&Filling) -> bool) -> bool {
        match self.open.take_if(|open| is_full(open)) {
            Some(open) => {
                self.fills = true;
                self.full.push_back(open);
                true
            }
            None => false,
        }
    }

    /// The oldest full batch.
    pub fn take_full(&mut self) -> Option<Filling> {
        self.full.pop_front()
    }

    /// The oldest batch: full, ready, or opened no later than `ripe`.
    pub fn take(&mut self, ripe: Instant) -> Option<Filling> {
        self.full.pop_front().or_else(|| {
            let open = self.open.take_if(|open| open.may_go(ripe))?;
            self.fills = open.ready > 0;
            Some(open)
        })
    }

    /// Whether `take` would give something.
    pub fn has(&self, ripe: Instant) -> bool {
        !self.full.is_empty() || self.open.as_ref().is_some_and(|open| open.may_go(ripe))
    }

    /// Takes every batch that was opened no later than `before`.
    pub fn take_older(&mut self, before: Instant) -> Vec<Filling> {
        std::iter::from_fn(|| if self.oldest()? > before { None } else { self.take(before) }).collect()
    }

    /// When the oldest batch was opened.
    pub fn oldest(&self) -> Option<Instant> {
        self.full.front().or(self.open.as_ref()).map(|batch| batch.since)
    }

    /// What was opened no later than `before` takes no more records.
    pub fn end_older(&mut self, before: Instant) {
        self.full.extend(self.open.take_if(|open| open.since <= before));
    }

    /// Refuses every further record, and gives what there is.
    pub fn close(&mut self) -> Vec<Filling> {
        self.closed = true;
        self.full.drain(..).chain(self.open.take()).collect()
    }

    /// About how many bytes were pushed, ever.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn outcomes(&self) -> impl Iterator<Item = Arc<Outcome>> {
        self.full.iter().chain(&self.open).map(|batch| Arc::clone(&batch.outcome))
    }
}

/// How many bytes to reserve beyond `reserved` so that `needed` fit: whole steps of a batch, or what one large record takes.
fn step(sizes: Sizes, needed: usize, reserved: usize) -> usize {
    match needed.checked_sub(reserved) {
        None | Some(0) => 0,
        Some(missing) => missing.max((sizes.ready / STEPS).min(sizes.most.saturating_sub(reserved))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::Compression;

    const SIZES: Sizes = Sizes { ready: 1000, most: 1000 };

    fn push(queue: &mut Queue, budget: &Budget, bytes: usize, since: Instant) -> Push {
        push_to(queue, SIZES, budget, bytes, since)
    }

    fn push_to(queue: &mut Queue, sizes: Sizes, budget: &Budget, bytes: usize, since: Instant) -> Push {
        let value = vec![b'v'; bytes];
        let fields = Fields { timestamp_ms: 7, key: None, value: Some(&value), headers: &[] };
        let size = BatchBuilder::estimate(None, Some(&value), &[]);
        let begin = |_| (since, BatchBuilder::new(Compression::None));
        queue.push(sizes, fields, size, &mut Purse::new(budget), begin).unwrap()
    }

    fn counts(batches: &[Filling]) -> Vec<usize> {
        batches.iter().map(|batch| batch.builder.len()).collect()
    }

    #[test]
    fn batches_fill_up_to_their_size() {
        let cases: &[(&[usize], &[usize], &[usize])] = &[
            // Records pushed, records of the full batches, records of the open one.
            (&[100], &[], &[1]),
            (&[100; 6], &[], &[6]),
            (&[100; 8], &[8], &[]),
            (&[100; 9], &[8], &[1]),
            (&[5000], &[1], &[]),
            (&[100, 5000, 100], &[1, 1], &[1]),
            (&[600, 600], &[1, 1], &[]),
        ];
        for (records, full, open) in cases {
            let (mut queue, budget, now) = (Queue::default(), Budget::new(1 << 20), Instant::now());
            let pushes: Vec<_> = records.iter().map(|&bytes| push(&mut queue, &budget, bytes, now)).collect();
            let filled = pushes.iter().filter(|push| matches!(push, Push::Done { filled: true, .. })).count();
            let opened = pushes.iter().filter(|push| matches!(push, Push::Done { opened: Some(_), .. })).count();
            let batches: Vec<_> = std::iter::from_fn(|| queue.take_full()).collect();
            assert_eq!(counts(&batches), *full, "{records:?}");
            assert_eq!(counts(&queue.close()), *open, "{records:?}");
            assert_eq!((filled > 0, opened), (!full.is_empty(), full.len() + open.len()), "{records:?}");
        }
    }

    /// So many records more, and how often a batch was signalled meanwhile, the load by then, and whether one may go that has
    /// not lingered.
    #[test]
    fn a_batch_that_is_ready_takes_more_until_it_is_taken() {
        let sizes = Sizes { most: 3000, ..SIZES };
        let (load, budget, start) = (Load::default(), Budget::new(1 << 20), Instant::now());
        let (mut queue, later) = (Queue::new(load.clone()), start + std::time::Duration::from_millis(1));
        let fill = |queue: &mut Queue, records: usize| {
            let pushes = (0..records).map(|_| push_to(queue, sizes, &budget, 100, later));
            pushes.filter(|push| matches!(push, Push::Done { filled: true, .. })).count()
        };
        for (more, signals, batches, is_ready) in
            [(7, 0, 1, false), (1, 1, 2, true), (8, 0, 2, true), (1, 1, 3, true), (9, 1, 3, true), (1, 0, 4, true)]
        {
            assert_eq!(
                (fill(&mut queue, more), load.batches(), queue.has(start)),
                (signals, batches, is_ready),
                "{more}"
            );
        }
        assert_eq!(counts(&[queue.take(start).unwrap()]), [26]);
        assert!(!queue.has(start), "the one that has just opened");
        fill(&mut queue, 19);
        assert_eq!(counts(&[queue.take(start).unwrap()]), [20], "as large as it is by now");
        assert_eq!(load.batches(), 0);

        fill(&mut queue, 19);
        queue.stay_small();
        fill(&mut queue, 10);
        assert_eq!(counts(&queue.close()), [19, 8, 2]);
    }

    #[test]
    fn what_is_reserved_covers_the_batch_and_comes_back() {
        for most in [1000, 3000, 8000] {
            check_reserved(Sizes { most, ..SIZES });
        }
    }

    fn check_reserved(sizes: Sizes) {
        let (mut queue, budget) = (Queue::default(), Budget::new(10_000));
        for bytes in [10, 10, 300, 2000, 10, 900, 1] {
            assert!(matches!(push_to(&mut queue, sizes, &budget, bytes, Instant::now()), Push::Done { .. }));
        }
        let batches = queue.close();
        assert_eq!(budget.used(), batches.iter().map(|batch| batch.reserved).sum::<usize>());
        for batch in batches {
            assert!(batch.reserved >= batch.builder.bytes(), "{} of {}", batch.builder.bytes(), batch.reserved);
            budget.give(batch.reserved);
        }
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn without_room_nothing_is_written_until_the_purse_is_filled() {
        let (mut queue, budget) = (Queue::default(), Budget::new(500));
        let mut accepted = 0;
        let missing = loop {
            match push(&mut queue, &budget, 100, Instant::now()) {
                Push::Done { .. } => accepted += 1,
                Push::NoRoom(bytes) => break bytes,
                Push::Closed => unreachable!(),
            }
        };
        assert!(accepted > 0 && missing > 0);
        let used = budget.used();
        let mut purse = Purse::new(&budget);
        let waiting = purse.fill(missing);
        assert!(futures::poll!(std::pin::pin!(waiting)).is_pending());
        assert_eq!(counts(&queue.close()), [accepted]);
        assert_eq!(budget.used(), used, "a wait that was dropped holds nothing");
        budget.give(used);
        purse.fill(missing).await;
        assert_eq!(budget.used(), missing);
        drop(purse);
        assert_eq!(budget.used(), 0);
    }

    /// Whatever the open batch needs: it may be gone when the memory is there.
    #[test]
    fn who_finds_no_room_asks_for_what_a_new_batch_takes() {
        let sizes = Sizes { most: 8000, ..SIZES };
        for (total, bytes, asked) in [(2000, 1500, 1500..1600), (2000, 1985, 2000..2001), (700, 100, 160..190)] {
            let (mut queue, budget, now) = (Queue::default(), Budget::new(total), Instant::now());
            while let Push::Done { .. } = push_to(&mut queue, sizes, &budget, 100, now) {}
            let Push::NoRoom(missing) = push_to(&mut queue, sizes, &budget, bytes, now) else { panic!("{bytes}") };
            assert!(asked.contains(&missing), "{missing} of {total} for {bytes}");
        }
    }

    #[test]
    fn a_batch_that_is_old_takes_no_more() {
        let (mut queue, budget, start) = (Queue::default(), Budget::new(1 << 20), Instant::now());
        let at = |ms| start + std::time::Duration::from_millis(ms);
        push(&mut queue, &budget, 10, at(5));
        for (before, time, expected) in [(4, 6, &[2][..]), (5, 7, &[2, 1]), (5, 8, &[2, 2])] {
            queue.end_older(at(before));
            push(&mut queue, &budget, 10, at(time));
            let batches: Vec<_> = queue.full.iter().chain(&queue.open).map(|batch| batch.builder.len()).collect();
            assert_eq!(batches, expected, "at {time}");
        }
    }

    #[test]
    fn batches_are_taken_by_age() {
        let (mut queue, budget, start) = (Queue::default(), Budget::new(1 << 20), Instant::now());
        let at = |ms| start + std::time::Duration::from_millis(ms);
        push(&mut queue, &budget, 2000, at(1));
        push(&mut queue, &budget, 2000, at(2));
        push(&mut queue, &budget, 10, at(5));
        assert!(queue.has(start), "full batches are ripe at any age");
        assert_eq!(queue.take_older(at(1)).len(), 1);
        assert!(queue.take(start).is_some());
        assert!(!queue.has(at(4)));
        assert!(queue.take(at(4)).is_none());
        assert!(queue.take(at(5)).is_some());
        assert!(queue.close().is_empty());
        assert!(matches!(push(&mut queue, &budget, 10, start), Push::Closed));
    }
}
