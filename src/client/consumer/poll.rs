//! Whether the application asks for records in time (`max.poll.interval.ms`, KIP-62). While it waits in
//! [`next`](super::Consumer::next) it does; the time counts from when it was given something, or gave up waiting.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Shared by the handle and the membership.
#[derive(Debug)]
pub struct PollClock {
    start: Instant,
    /// In milliseconds since `start`.
    last: AtomicU64,
    waiting: AtomicUsize,
    away: AtomicBool,
    back: Notify,
}

/// The application waits for records for as long as this lives.
#[derive(Debug)]
pub struct Waiting<'a>(&'a PollClock);

impl PollClock {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            away: AtomicBool::new(false),
            back: Notify::new(),
        }
    }

    pub fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if self.away.load(Ordering::Acquire) {
            self.back.notify_one();
        }
        Waiting(self)
    }

    /// When the application is too late; `None` while it waits.
    pub fn overdue_at(&self, limit: Duration) -> Option<Instant> {
        let waits = self.waiting.load(Ordering::Acquire) > 0;
        let last = Duration::from_millis(self.last.load(Ordering::Acquire));
        (!waits).then(|| self.start + last + limit)
    }

    /// Whether the membership has given the application up, and is to be told when it is back.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Release);
        if away && self.waiting.load(Ordering::Acquire) > 0 {
            self.back.notify_one();
        }
    }

    /// The application asks again.
    pub async fn back(&self) {
        self.back.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = self.0.start.elapsed().as_millis();
        self.0.last.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Release);
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_is_never_late_and_coming_back_is_noticed() {
        let (clock, limit) = (PollClock::new(), Duration::from_secs(5));
        let start = Instant::now();
        assert_eq!(clock.overdue_at(limit), Some(start + limit));
        let waiting = clock.wait();
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(clock.overdue_at(limit), None);
        drop(waiting);
        assert_eq!(clock.overdue_at(limit), Some(start + Duration::from_secs(65)));
        clock.set_away(true);
        assert_eq!(clock.back().now_or_never(), None);
        drop(clock.wait());
        assert_eq!(clock.back().now_or_never(), Some(()));
    }
}
