//! One partition for as long as this member holds it: from being assigned until it is revoked or lost, or until the
//! application goes on elsewhere in it, which begins another. Membership, the fetcher and every delivery share it, and
//! it is where they meet: after the end nothing is handed out, and what is finished still counts for the last commit,
//! unless the partition is lost, or was sought in.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::memory::{Grant, Memory};
use super::progress::{Mark, Offsets, Progress, RunId};
use crate::protocol::types::{Offset, TopicPartition};

/// See the module.
#[derive(Debug)]
pub struct Tenure {
    pub topic_partition: TopicPartition,
    pub memory: Arc<Memory>,
    ended: AtomicBool,
    /// The application wants nothing of it for now.
    paused: AtomicBool,
    /// How often what was fetched has been dropped, to be fetched again.
    rewinds: AtomicU32,
    /// Bytes that were fetched and are not finished.
    bytes: AtomicUsize,
    held: Mutex<Held>,
    /// Told of the end, and when nobody holds a delivery any more after it.
    drained: Notify,
}

#[derive(Debug, Default)]
struct Held {
    /// `None` until it is known where to begin.
    progress: Option<Progress>,
    committed: Option<Mark>,
    /// Where what was dropped begins.
    rewound: Option<Mark>,
    /// The group has given the partition to somebody else, whose commits count now.
    lost: bool,
}

impl Tenure {
    pub fn new(topic_partition: TopicPartition, memory: Arc<Memory>) -> Arc<Self> {
        memory.add_partition();
        Arc::new(Self {
            topic_partition,
            memory,
            ended: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            rewinds: AtomicU32::new(0),
            bytes: AtomicUsize::new(0),
            held: Mutex::default(),
            drained: Notify::new(),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is known what the group has committed, if anything.
    pub fn begin(&self, committed: Option<Mark>) {
        let mut held = self.held();
        held.progress = committed.map(Progress::new);
        held.committed = committed;
    }

    /// Another one in its place, for when the application goes on elsewhere in the partition. This one is over: nothing
    /// that belongs to it is handed out or committed from now on.
    pub fn superseded(&self) -> Arc<Self> {
        let next = Self::new(self.topic_partition.clone(), Arc::clone(&self.memory));
        next.set_paused(self.is_paused());
        self.lose();
        self.end();
        next
    }

    /// The application goes on from here. That is to be committed even if it is where the group was.
    pub fn sought(&self, mark: Mark) {
        self.held().progress = Some(Progress::new(mark));
    }

    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// What was fetched from here on is dropped, and to be fetched again.
    pub fn rewind(&self, to: Mark) {
        let mut held = self.held();
        held.rewound = Some(to);
        self.rewinds.fetch_add(1, Ordering::AcqRel);
    }

    /// How often that was. What was fetched before the last time belongs to what was dropped.
    pub fn rewinds(&self) -> u32 {
        self.rewinds.load(Ordering::Acquire)
    }

    /// How often, and where to the last time.
    pub fn rewound(&self) -> (u32, Option<Mark>) {
        let held = self.held();
        (self.rewinds(), held.rewound)
    }

    /// Nothing is handed out from now on.
    pub fn end(&self) {
        let _held = self.held();
        self.ended.store(true, Ordering::Release);
        self.drained.notify_waiters();
    }

    /// Nothing of it is to be committed from now on.
    pub fn lose(&self) {
        self.held().lost = true;
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Waits for the end.
    pub async fn ended(&self) {
        loop {
            // Begun before looking, so that nothing is told in between unheard.
            let told = self.drained.notified();
            if self.has_ended() {
                return;
            }
            told.await;
        }
    }

    /// Records from `start` to `end` go to the application; `None` after the end. Without records there is no run.
    pub fn deliver(&self, start: Offset, end: Mark, records: usize) -> Option<RunId> {
        let mut held = self.held();
        if self.has_ended() {
            return None;
        }
        let progress = held.progress.get_or_insert_with(|| Progress::new(Mark { offset: start, leader_epoch: None }));
        if records == 0 {
            progress.skip(start, end);
            return None;
        }
        Some(progress.deliver(start, end))
    }

    pub fn finish(&self, run: RunId) {
        self.close(|progress| progress.finish(run));
    }

    pub fn finish_record(&self, run: RunId, offset: Offset, offsets: impl FnOnce() -> Offsets) -> bool {
        let mut all = false;
        self.close(|progress| all = progress.finish_record(run, offset, offsets));
        all
    }

    pub fn abandon(&self, run: RunId) {
        self.close(|progress| progress.abandon(run));
    }

    fn close(&self, run: impl FnOnce(&mut Progress)) {
        let mut held = self.held();
        let Some(progress) = &mut held.progress else { return };
        run(progress);
        if progress.outstanding() == 0 && self.has_ended() {
            self.drained.notify_waiters();
        }
    }

    pub fn outstanding(&self) -> usize {
        self.held().progress.as_ref().map_or(0, Progress::outstanding)
    }

    /// Waits, after the end, until nobody holds a delivery that could still be finished.
    pub async fn drained(&self) {
        loop {
            // Begun before looking, so that nothing is told in between unheard.
            let told = self.drained.notified();
            if self.outstanding() == 0 {
                return;
            }
            told.await;
        }
    }

    /// What is finished and not committed yet, or, `again`, whatever is finished.
    pub fn to_commit(&self, again: bool) -> Option<Mark> {
        let held = self.held();
        let mark = held.progress.as_ref().filter(|_| !held.lost)?.mark();
        let is_new = held.committed.map(|committed| committed.offset) != Some(mark.offset);
        (is_new || again).then_some(mark)
    }

    /// Whether it was let go, or lost, before this was committed.
    pub fn was_let_go_before(&self, mark: Mark) -> bool {
        let held = self.held();
        held.lost && held.committed.is_none_or(|committed| committed.offset < mark.offset)
    }

    pub fn committed(&self, mark: Mark) {
        self.held().committed = Some(mark);
    }

    /// What is finished, and the end of what was handed out; `None` until it is known where to begin.
    pub fn position(&self) -> Option<(Mark, Offset)> {
        let held = self.held();
        held.progress.as_ref().map(|progress| (progress.mark(), progress.delivered()))
    }

    /// Whether more may be fetched: it holds nothing, or less than its share.
    pub fn has_room(&self) -> bool {
        let bytes = self.bytes.load(Ordering::Acquire);
        bytes == 0 || bytes < self.memory.share()
    }

    /// Counts memory to this partition for as long as it is held.
    pub fn weigh(self: &Arc<Self>, grant: Grant) -> Weight {
        self.bytes.fetch_add(grant.bytes(), Ordering::AcqRel);
        Weight { tenure: Arc::clone(self), grant }
    }
}

/// Memory that a partition holds.
#[derive(Debug)]
pub struct Weight {
    tenure: Arc<Tenure>,
    /// Given back after the partition's own count: who waits for memory is told by it.
    grant: Grant,
}

impl Weight {
    pub fn tenure(&self) -> &Arc<Tenure> {
        &self.tenure
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.tenure.bytes.fetch_sub(self.grant.bytes(), Ordering::AcqRel);
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        self.memory.remove_partition();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn mark(offset: Offset) -> Mark {
        Mark { offset, leader_epoch: None }
    }

    #[test]
    fn what_is_committed_is_what_is_finished_and_new() {
        let tenure = Tenure::new(TopicPartition::new("t", 0), Memory::new(100));
        assert_eq!(tenure.to_commit(false), None, "nothing is known yet");
        tenure.begin(Some(mark(5)));
        assert_eq!(tenure.to_commit(false), None, "the group knows that already");
        let run = tenure.deliver(5, mark(9), 4).expect("it is held");
        assert_eq!(tenure.to_commit(false), None);
        tenure.finish(run);
        assert_eq!(tenure.to_commit(false), Some(mark(9)));
        tenure.committed(mark(9));
        assert_eq!(tenure.to_commit(false), None);
        assert_eq!(tenure.deliver(9, mark(12), 0), None, "no records, no run");
        assert_eq!(tenure.to_commit(false), Some(mark(12)));
        tenure.committed(mark(12));
        assert_eq!((tenure.to_commit(false), tenure.to_commit(true)), (None, Some(mark(12))));
        tenure.lose();
        assert_eq!(tenure.to_commit(true), None, "that is for somebody else to say");
    }

    #[test]
    fn where_a_group_without_a_commit_begins_is_committed() {
        let tenure = Tenure::new(TopicPartition::new("t", 0), Memory::new(100));
        tenure.begin(None);
        tenure.deliver(70, mark(70), 0);
        assert_eq!(tenure.to_commit(false), Some(mark(70)));
    }

    #[test]
    fn after_the_end_nothing_is_handed_out_and_what_is_out_is_waited_for() {
        let tenure = Tenure::new(TopicPartition::new("t", 0), Memory::new(100));
        tenure.begin(Some(mark(0)));
        let (first, second) = (tenure.deliver(0, mark(5), 5), tenure.deliver(5, mark(9), 4));
        tenure.end();
        assert_eq!(tenure.deliver(9, mark(12), 3), None);
        assert_eq!(tenure.drained().now_or_never(), None);
        tenure.finish(first.expect("before the end"));
        assert_eq!(tenure.drained().now_or_never(), None);
        tenure.abandon(second.expect("before the end"));
        assert_eq!(tenure.drained().now_or_never(), Some(()));
        assert_eq!(tenure.to_commit(false), Some(mark(5)));
    }
}
