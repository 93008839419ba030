//! Time as an argument: what "now" is, and what shall happen later. Nothing in this room but the server's shell asks the
//! operating system for the time, so a paused tokio clock drives the whole broker.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// One moment, as a monotonic instant (timers) and as wall time (timestamps of records).
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub instant: Instant,
    pub unix_ms: i64,
}

/// Where [`Now`] comes from. Wall time is taken once and moves with the monotonic clock, so that it never runs backwards
/// and follows a paused clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_unix_ms: i64,
}

impl Clock {
    pub fn start() -> Self {
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_unix_ms: unix.as_millis() as i64 }
    }

    pub fn now(&self) -> Now {
        let instant = Instant::now();
        let passed = instant.saturating_duration_since(self.started);
        Now { instant, unix_ms: self.started_unix_ms + passed.as_millis() as i64 }
    }
}

/// One scheduled event; keep it to cancel the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId(Instant, u64);

/// Events in the order in which they fall due. Bounded by what schedules them: one for each parked fetch, one for each
/// group member, one for each chore.
#[derive(Debug)]
pub struct Timers<T> {
    queue: BTreeMap<TimerId, T>,
    next: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { queue: BTreeMap::new(), next: 0 }
    }
}

impl<T> Timers<T> {
    pub fn schedule(&mut self, at: Instant, event: T) -> TimerId {
        let id = TimerId(at, self.next);
        self.next += 1;
        self.queue.insert(id, event);
        id
    }

    /// Takes an event out; `None` if it has happened or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        self.queue.remove(&id)
    }

    /// When the earliest event falls due.
    pub fn next(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|(id, _)| id.0)
    }

    /// The earliest event, if it is due.
    pub fn due(&mut self, now: Instant) -> Option<T> {
        let first = self.queue.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }
}

/// `now` plus a number of milliseconds from the wire; a negative one is "at once".
pub fn after_ms(now: Now, ms: i64) -> Instant {
    now.instant + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_fall_due_in_order_and_can_be_cancelled() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.schedule(at(20), "late");
        let cancelled = timers.schedule(at(5), "cancelled");
        timers.schedule(at(10), "first of two");
        timers.schedule(at(10), "second of two");
        assert_eq!(timers.cancel(cancelled), Some("cancelled"));
        assert_eq!(timers.cancel(cancelled), None);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.due(at(9)), None);
        assert_eq!(timers.due(at(10)), Some("first of two"));
        assert_eq!(timers.due(at(10)), Some("second of two"));
        assert_eq!(timers.due(at(10)), None);
        assert_eq!(timers.due(at(30)), Some("late"));
    }
}
