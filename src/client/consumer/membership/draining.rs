//! Partitions that are revoked and not let go yet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{LEAVE_LIMIT, list};
use crate::client::consumer::tenure::Tenure;
use crate::protocol::types::TopicPartition;

/// Revocations that are under way. Only the latest counts: it waits for the partitions of those before it as well.
#[derive(Debug, Default)]
pub(super) struct Draining {
    latest: u64,
    tenures: Vec<Arc<Tenure>>,
}

impl Draining {
    /// What the revocation of this number has to wait for: what has just ended for it, and whatever of its partitions is
    /// not let go yet.
    pub fn begin(
        &mut self,
        id: u64,
        ended: Vec<Arc<Tenure>>,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Vec<Arc<Tenure>> {
        self.latest = id;
        self.tenures.extend(ended);
        let mine = |tenure: &&Arc<Tenure>| partitions.contains(&tenure.topic_partition);
        self.tenures.iter().filter(mine).cloned().collect()
    }

    /// From now on they are let go. Whoever still means to commit something of them, such as a revocation that another one
    /// has replaced, would do so over the head of their next owner.
    pub fn released(&mut self, id: u64, tenures: &[Arc<Tenure>]) {
        if id != self.latest {
            return;
        }
        tenures.iter().for_each(|tenure| tenure.lose());
        self.tenures.retain(|kept| !tenures.iter().any(|done| Arc::ptr_eq(kept, done)));
    }

    pub fn tenures(&self) -> &[Arc<Tenure>] {
        &self.tenures
    }

    pub fn lose(&mut self, partitions: &BTreeSet<TopicPartition>) {
        let lost = self.tenures.extract_if(.., |tenure| partitions.contains(&tenure.topic_partition));
        lost.for_each(|tenure| tenure.lose());
    }
}

/// By when a member that is closed is to be done with its last duties, so that there is time for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client::consumer) struct Closing {
    pub drained: Instant,
    pub committed: Instant,
    pub end: Instant,
}

impl Closing {
    /// `None` if there is all the time in the world.
    pub fn within(grace: Duration, now: Instant) -> Option<Self> {
        let end = now.checked_add(grace)?;
        let reserve = LEAVE_LIMIT.min(grace / 2);
        Some(Self { drained: end - reserve, committed: end - reserve / 2, end })
    }
}

/// Says that nobody waits for what is out of these any longer, if anything is.
pub(in crate::client::consumer) fn say_given_up(tenures: &[Arc<Tenure>], waited: Duration) {
    let open = tenures.iter().filter(|tenure| tenure.outstanding() > 0).map(|tenure| &tenure.topic_partition);
    let partitions = list(open);
    if !partitions.is_empty() {
        tracing::warn!(%partitions, ?waited, "given up with records unfinished; they will be read again");
    }
}

/// Waits until then, or until a close wants it to be over.
pub(super) async fn wait_until(until: Instant, mut closing: watch::Receiver<Option<Closing>>) {
    loop {
        let drained = closing.borrow_and_update().map(|closing| closing.drained);
        tokio::select! {
            () = sleep_until(drained.map_or(until, |drained| drained.min(until))) => return,
            Ok(()) = closing.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::consumer::memory::Memory;
    use crate::client::consumer::progress::Mark;

    /// A partition of which one record is finished.
    fn read(partition: i32) -> Arc<Tenure> {
        let tenure = Tenure::new(TopicPartition::new("t", partition), Memory::new(100));
        tenure.begin(Some(Mark { offset: 0, leader_epoch: None }));
        tenure.deliver(0, Mark { offset: 1, leader_epoch: None }, 0);
        tenure.end();
        tenure
    }

    fn of(tenures: &[&Arc<Tenure>]) -> BTreeSet<TopicPartition> {
        tenures.iter().map(|tenure| tenure.topic_partition.clone()).collect()
    }

    #[test]
    fn a_revocation_takes_over_those_before_it_and_ends_them() {
        let (mut draining, a, b) = (Draining::default(), read(0), read(1));
        let first = draining.begin(1, vec![Arc::clone(&a)], &of(&[&a]));
        let second = draining.begin(2, vec![Arc::clone(&b)], &of(&[&a, &b]));
        assert_eq!((first.len(), second.len()), (1, 2));
        draining.released(1, &first);
        assert!(a.to_commit(false).is_some(), "the second one still commits it");
        draining.released(2, &second);
        assert_eq!((a.to_commit(false), b.to_commit(false)), (None, None), "they are somebody else's");
        assert!(draining.tenures.is_empty());
    }

    #[test]
    fn a_close_leaves_time_to_commit_and_to_leave() {
        let (now, seconds) = (Instant::now(), Duration::from_secs);
        let within =
            |grace| Closing::within(grace, now).map(|it| [it.drained, it.committed, it.end].map(|at| at - now));
        let cases =
            [(seconds(60), [55_000, 57_500, 60_000]), (seconds(8), [4000, 6000, 8000]), (Duration::ZERO, [0, 0, 0])];
        for (grace, expect) in cases {
            let expect = Some(expect.map(Duration::from_millis));
            assert_eq!(within(grace), expect, "{grace:?}");
        }
        assert_eq!(within(Duration::MAX), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_cuts_short_what_was_begun_before() {
        let seconds = Duration::from_secs;
        for (grace, expect) in [(None, seconds(20)), (Some(seconds(60)), seconds(20)), (Some(seconds(8)), seconds(7))] {
            let (closing, began) = (watch::Sender::new(None), Instant::now());
            let mut waiting = std::pin::pin!(wait_until(began + seconds(20), closing.subscribe()));
            assert!(tokio::time::timeout(seconds(3), &mut waiting).await.is_err());
            if let Some(grace) = grace {
                closing.send_replace(Closing::within(grace, Instant::now()));
            }
            waiting.await;
            assert_eq!(began.elapsed().as_secs(), expect.as_secs(), "{grace:?}");
        }
    }

    #[test]
    fn what_is_lost_while_it_drains_is_not_committed() {
        let (mut draining, a, b) = (Draining::default(), read(0), read(1));
        draining.begin(1, vec![Arc::clone(&a), Arc::clone(&b)], &of(&[&a, &b]));
        draining.lose(&of(&[&a]));
        assert_eq!((a.to_commit(false), b.to_commit(false).is_some()), (None, true));
        assert_eq!(draining.tenures.len(), 1);
    }
}
