//! How a record's fate comes back: one shared outcome a batch, and a receipt a record that is a counter and an index.

use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::client::Error;
use crate::protocol::types::Offset;

/// Where a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMetadata {
    pub partition: i32,
    /// Unknown with [`Acks::None`](super::Acks::None), and when the broker says only that it has the batch already.
    pub offset: Option<Offset>,
    /// The record's own, or the broker's where the topic keeps log append time.
    pub timestamp_ms: i64,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Written {
        partition: i32,
        base_offset: Option<Offset>,
        log_append_time: Option<i64>,
    },
    Failed(Error),
    /// The broker will not have some of its records, and so none of them.
    Rejected(Arc<Rejection>),
    /// It was taken apart; the records from each index on share another outcome.
    Split(Arc<[(u32, Arc<Outcome>)]>),
}

/// What is said of the records that are to blame, by their index, and of the others of their batch.
#[derive(Debug)]
pub(super) struct Rejection {
    pub blamed: BTreeMap<u32, Error>,
    pub others: Error,
}

/// A batch's fate, once it is known, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    fate: OnceLock<Fate>,
    waiting: Mutex<Vec<Waker>>,
}

impl Outcome {
    /// The first fate stays: a batch that expired on the wire is not revived by a late answer.
    pub fn settle(&self, fate: Fate) {
        if self.fate.set(fate).is_ok() {
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// The fate, or a place among the waiting; `place` is the caller's from an earlier call, counted from one.
    fn poll(&self, place: &mut Option<NonZeroU32>, waker: &Waker) -> Option<&Fate> {
        if let Some(fate) = self.fate.get() {
            return Some(fate);
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Settled while we took the lock: the wakers are gone, ours would stay for ever.
        if let Some(fate) = self.fate.get() {
            return Some(fate);
        }
        match place.and_then(|place| waiting.get_mut(place.get() as usize - 1)) {
            Some(mine) => mine.clone_from(waker),
            None => {
                waiting.push(waker.clone());
                *place = u32::try_from(waiting.len()).ok().and_then(NonZeroU32::new);
            }
        }
        None
    }

    /// Waits until the fate is known, of every part if it was split.
    pub async fn settled(self: Arc<Self>) {
        let mut open = vec![self];
        while let Some(outcome) = open.pop() {
            let mut place = None;
            let parts = std::future::poll_fn(|cx| match outcome.poll(&mut place, cx.waker()) {
                Some(Fate::Split(parts)) => Poll::Ready(Some(Arc::clone(parts))),
                Some(_) => Poll::Ready(None),
                None => Poll::Pending,
            });
            if let Some(parts) = parts.await {
                open.extend(parts.iter().map(|(_, part)| Arc::clone(part)));
            }
        }
    }
}

/// A record's place in a batch that is on its way: a future of where it was written, or why not. Dropping it changes
/// nothing about the record.
#[derive(Debug)]
#[must_use = "a receipt is the only word on whether its record was written"]
pub struct Receipt {
    outcome: Arc<Outcome>,
    index: u32,
    place: Option<NonZeroU32>,
    timestamp_ms: i64,
}

impl Receipt {
    pub(super) fn new(outcome: Arc<Outcome>, index: u32, timestamp_ms: i64) -> Self {
        Self { outcome, index, place: None, timestamp_ms }
    }

    fn follow(&mut self, parts: &[(u32, Arc<Outcome>)]) {
        if let Some((first, part)) = parts.iter().rev().find(|(first, _)| *first <= self.index) {
            self.index -= first;
            self.outcome = Arc::clone(part);
            self.place = None;
        }
    }

    fn metadata(&self, partition: i32, base_offset: Option<Offset>, log_append_time: Option<i64>) -> RecordMetadata {
        RecordMetadata {
            partition,
            offset: base_offset.map(|base| base + i64::from(self.index)),
            timestamp_ms: log_append_time.unwrap_or(self.timestamp_ms),
        }
    }
}

impl Future for Receipt {
    type Output = Result<RecordMetadata, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let parts = match this.outcome.poll(&mut this.place, cx.waker()) {
                None => return Poll::Pending,
                Some(Fate::Failed(error)) => return Poll::Ready(Err(error.clone())),
                Some(Fate::Rejected(it)) => {
                    return Poll::Ready(Err(it.blamed.get(&this.index).unwrap_or(&it.others).clone()));
                }
                Some(&Fate::Written { partition, base_offset, log_append_time }) => {
                    return Poll::Ready(Ok(this.metadata(partition, base_offset, log_append_time)));
                }
                Some(Fate::Split(parts)) => Arc::clone(parts),
            };
            this.follow(&parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(base_offset: Option<Offset>, log_append_time: Option<i64>) -> Fate {
        Fate::Written { partition: 4, base_offset, log_append_time }
    }

    #[tokio::test]
    async fn a_receipt_reads_its_own_place() {
        let cases = [
            (written(Some(100), None), 3, Some(103), 7),
            (written(Some(100), Some(55)), 0, Some(100), 55),
            (written(None, None), 3, None, 7),
        ];
        for (fate, index, offset, timestamp_ms) in cases {
            let outcome = Arc::new(Outcome::default());
            let receipt = Receipt::new(Arc::clone(&outcome), index, 7);
            outcome.settle(fate);
            assert_eq!(receipt.await.unwrap(), RecordMetadata { partition: 4, offset, timestamp_ms });
        }
    }

    #[tokio::test]
    async fn receipts_follow_a_split_and_wake() {
        let (whole, first, second) = (Arc::new(Outcome::default()), Arc::default(), Arc::<Outcome>::default());
        let receipts = (0..4).map(|i| Receipt::new(Arc::clone(&whole), i, 0));
        let all = tokio::spawn(futures::future::join_all(receipts.collect::<Vec<_>>()));
        tokio::task::yield_now().await;
        whole.settle(Fate::Split([(0, Arc::clone(&first)), (3, Arc::clone(&second))].into()));
        tokio::task::yield_now().await;
        second.settle(written(Some(90), None));
        first.settle(written(Some(10), None));
        first.settle(written(Some(11), None));
        Arc::clone(&whole).settled().await;
        let offsets: Vec<_> = all.await.unwrap().into_iter().map(|r| r.unwrap().offset).collect();
        assert_eq!(offsets, [Some(10), Some(11), Some(12), Some(90)]);
    }
}
