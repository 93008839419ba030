//! Whether a group gets on with a partition: Burrow's rules over a sliding window of commits. Pure.
//!
//! The rules (Burrow, *Consumer Lag Evaluation Rules*) look at whether commits move and lag shrinks, not at a threshold.
//! Burrow reads every commit from `__consumer_offsets`; asking brokers shows only where a commit stands. So an entry of
//! the window is made when the commit moved *or the group has members*: members that are alive and commit the same offset
//! again are what Burrow calls stalled, a group that is gone is what it calls stopped. As rounds may come every second, and
//! commits do not, entries of a commit that stands are so far apart that a window full of them spans [`STANDS_MS`].

use super::window::Window;
use crate::client::Offset;

/// What is said of a group on a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It keeps up, or catches up, or has been at the end within the window.
    Ok,
    /// Commits move, and the lag grows or stays.
    Slow,
    /// Commits do not move, though somebody is there.
    Stalled,
    /// No commits any more, for longer than the window was, and than a commit may stand.
    Stopped,
    /// A commit went back.
    Rewound,
}

impl Status {
    pub const ALL: [Self; 5] = [Self::Ok, Self::Slow, Self::Stalled, Self::Stopped, Self::Rewound];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Stalled => "stalled",
            Self::Stopped => "stopped",
            Self::Rewound => "rewound",
        }
    }
}

/// One entry of the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Commit {
    pub at_ms: i64,
    pub offset: Offset,
    /// Records from here to the end, when it was seen.
    pub lag: u64,
}

/// Fewer entries than this say nothing about motion.
pub const ENTRIES_MIN: usize = 3;

/// A commit that has stood for less says nothing: members commit every five seconds if they are not told otherwise
/// (`auto.commit.interval.ms`), and Kafka Connect's every minute (`offset.flush.interval.ms`).
pub const STANDS_MS: i64 = 75_000;

/// The verdict over `window` of a group that lags by `lag` now, and whose first unread record is at least so old. `None`: not
/// seen for long enough.
pub fn status(window: &Window, lag: u64, age_ms: i64, now_ms: i64) -> Option<Status> {
    if lag == 0 {
        return Some(Status::Ok);
    }
    let (first, last) = (window.first()?, window.last()?);
    let spans_ms = last.at_ms - first.at_ms;
    let long_ms = spans_ms.max(STANDS_MS);
    // One that was at the end when it was last heard of has stopped once there has been something to read for as long.
    if now_ms - last.at_ms > long_ms && (last.lag > 0 || age_ms > long_ms) {
        return Some(Status::Stopped);
    }
    if window.was_at_end() {
        return Some(Status::Ok);
    }
    if window.went_back() {
        return Some(Status::Rewound);
    }
    if window.len() < ENTRIES_MIN {
        return None;
    }
    if !window.has_moved() {
        return (spans_ms >= STANDS_MS).then_some(Status::Stalled);
    }
    Some(if window.has_gained() { Status::Ok } else { Status::Slow })
}

#[cfg(test)]
mod tests {
    use super::super::window::tests::window;
    use super::*;

    /// Times are in seconds.
    fn check(entries: &[(i64, Offset, u64)], lag: u64, now: i64, want: Option<Status>) {
        let commit = |&(at, offset, lag): &(i64, Offset, u64)| Commit { at_ms: at * 1_000, offset, lag };
        let entries: Vec<_> = entries.iter().map(commit).collect();
        assert_eq!(status(&window(&entries), lag, 0, now * 1_000), want, "{entries:?}, lag {lag} at {now}");
    }

    #[test]
    fn who_was_at_the_end_stops_when_something_is_left_unread() {
        let window = window(&[Commit { at_ms: 0, offset: 20, lag: 0 }]);
        for (age_ms, now_ms, want) in [
            (0, 99_000, Status::Ok),
            (STANDS_MS, 99_000, Status::Ok),
            (STANDS_MS + 1, STANDS_MS, Status::Ok),
            (STANDS_MS + 1, 99_000, Status::Stopped),
        ] {
            assert_eq!(status(&window, 5, age_ms, now_ms), Some(want), "{age_ms} at {now_ms}");
        }
    }

    /// The cases of Burrow's own description, and the edges between them.
    #[test]
    fn verdicts() {
        use Status::*;
        let moving = [(0, 10, 5), (10, 20, 6), (20, 30, 7), (30, 40, 8)];
        check(&moving, 0, 30, Some(Ok));
        check(&moving, 8, 30, Some(Slow));
        check(&[(0, 10, 5), (10, 20, 5), (20, 30, 5)], 5, 20, Some(Slow));
        check(&[(0, 10, 5), (10, 20, 6), (20, 30, 4)], 4, 20, Some(Ok));
        check(&[(0, 10, 0), (10, 20, 6), (20, 30, 9)], 9, 20, Some(Ok));
        check(&[(0, 10, 5), (10, 10, 5), (75, 10, 9)], 9, 75, Some(Stalled));
        check(&[(0, 10, 5), (10, 10, 5), (75, 10, 5)], 5, 75, Some(Stalled));
        check(&[(0, 10, 5), (10, 4, 11), (20, 8, 9)], 9, 20, Some(Rewound));
        check(&moving, 8, 105, Some(Slow));
        check(&moving, 8, 106, Some(Stopped));
        // It was at the end when it was last heard of: what came since is not its fault yet.
        check(&[(0, 10, 3), (10, 20, 0)], 5, 99, Some(Ok));
        check(&[(0, 10, 3), (10, 20, 0), (20, 20, 4)], 4, 96, Some(Stopped));
    }

    #[test]
    fn what_was_seen_too_briefly_has_no_verdict() {
        check(&[], 5, 0, None);
        check(&[(0, 10, 5)], 5, 0, None);
        check(&[(0, 10, 5), (10, 10, 5)], 5, 10, None);
        check(&[(0, 10, 5), (10, 10, 5), (74, 10, 5)], 5, 74, None);
        check(&[(0, 10, 5)], 5, 75, None);
        check(&[(0, 10, 5)], 5, 76, Some(Status::Stopped));
        check(&[], 0, 0, Some(Status::Ok));
        check(&[(0, 10, 5), (10, 9, 6)], 6, 10, Some(Status::Rewound));
    }
}
