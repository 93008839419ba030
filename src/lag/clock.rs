//! What time it is: by a clock that nobody sets, and by the wall's, which somebody may.
//!
//! How long something took, how old a round is, and what is to be proven of ages depends on the *steady* clock alone: the time
//! since the process began, by a clock that only goes forward. The usual one of an operating system stands still while the
//! machine is suspended, and records grow older all the same, so that the time asleep is added where the system counts it
//! (`CLOCK_BOOTTIME` on Linux). Its numbers are those of the wall at the start, so that they can be read.
//!
//! The wall's clock counts where others read a time, or wrote one: timestamps of records, scores in Redis, times in answers.
//! [`Wall`] says what it is ahead of the steady clock, and notices when somebody set it. A jump forward that the steady clock
//! knows nothing of may be time that passed all the same (a virtual machine that was paused with both its clocks), or it may
//! not (a clock that was wrong before); whoever wants to prove something must be right in both cases.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::nodes::Moment;

/// Clocks that differ by less were not set: they are not read at the very same time, and are slewed.
const SET_MS: i64 = 100;
/// The two clocks are read within this, or once more.
const APART: Duration = Duration::from_millis(5);
const TRIES: usize = 4;

static BEGAN: LazyLock<Began> = LazyLock::new(Began::now);

/// What all clocks said when the process first asked.
#[derive(Debug)]
struct Began {
    wall_ms: i64,
    awake: Instant,
    booted: Option<Duration>,
    /// How long the machine has been suspended since, as far as was seen.
    asleep_ms: AtomicI64,
}

impl Began {
    fn now() -> Self {
        let (wall_ms, awake) = (wall_ms(), Instant::now());
        Self { wall_ms, awake, booted: since_boot(), asleep_ms: AtomicI64::new(0) }
    }

    /// The clock that goes on in suspension is read first, and was read last at the start: a pause between the two makes the
    /// difference smaller, never larger, and the largest that was ever seen is nearest to the truth.
    fn asleep_ms(&self) -> i64 {
        let booted = since_boot();
        let asleep =
            asleep_ms(self.booted.zip(booted).map(|(then, now)| now.saturating_sub(then)), self.awake.elapsed());
        self.asleep_ms.fetch_max(asleep, Ordering::Relaxed).max(asleep)
    }
}

/// How long the machine slept, of the time since boot and the time that it was awake.
fn asleep_ms(passed: Option<Duration>, awake: Duration) -> i64 {
    passed.map_or(0, |passed| millis(passed.saturating_sub(awake)))
}

/// `None` where the system has no clock that goes on in suspension.
#[cfg(target_os = "linux")]
fn since_boot() -> Option<Duration> {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Boottime)).ok()
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<Duration> {
    None
}

fn wall_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The clocks of this process, the same for all who ask.
#[derive(Debug, Clone, Copy)]
pub struct Clock(());

impl Clock {
    pub fn start() -> Self {
        LazyLock::force(&BEGAN);
        Self(())
    }

    /// By the steady clock.
    pub fn now_ms(&self) -> i64 {
        let elapsed = millis(BEGAN.awake.elapsed());
        BEGAN.wall_ms.saturating_add(elapsed).saturating_add(BEGAN.asleep_ms())
    }

    /// By both, read as near to each other as can be.
    pub(super) fn now(&self) -> Moment {
        let read = || {
            let before = Instant::now();
            let moment = Moment { steady_ms: self.now_ms(), wall_ms: wall_ms() };
            (moment, before.elapsed())
        };
        let (mut moment, mut apart) = read();
        for _ in 1..TRIES {
            if apart < APART {
                break;
            }
            (moment, apart) = read();
        }
        moment
    }
}

/// That the wall's clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jump {
    /// By how much, below zero for back.
    pub ms: i64,
}

impl Jump {
    /// How much time may have passed that the steady clock knows nothing of. None passed where the clock was set back.
    pub fn unseen_ms(self) -> i64 {
        self.ms.max(0)
    }
}

/// How the wall's clock stands to the steady one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wall {
    /// By how much it is ahead.
    pub ahead_ms: i64,
    /// How often it was set, as far as was seen.
    pub jumps: u64,
}

impl Wall {
    pub fn at(now: Moment) -> Self {
        Self { ahead_ms: now.wall_ms.saturating_sub(now.steady_ms), jumps: 0 }
    }

    /// Follows the wall's clock, and says when it was set.
    pub fn see(&mut self, now: Moment) -> Option<Jump> {
        let ahead_ms = now.wall_ms.saturating_sub(now.steady_ms);
        let jump = Jump { ms: ahead_ms.saturating_sub(self.ahead_ms) };
        if jump.ms.saturating_abs() < SET_MS {
            return None;
        }
        self.ahead_ms = ahead_ms;
        self.jumps += 1;
        Some(jump)
    }

    /// The wall's time of a steady one.
    pub fn of_steady(self, steady_ms: i64) -> i64 {
        steady_ms.saturating_add(self.ahead_ms)
    }

    /// The steady time of one of the wall.
    pub fn to_steady(self, wall_ms: i64) -> i64 {
        wall_ms.saturating_sub(self.ahead_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sleeps_grows_older() {
        let check = |passed: Option<u64>, awake: u64, want| {
            let asleep = asleep_ms(passed.map(Duration::from_millis), Duration::from_millis(awake));
            assert_eq!(asleep, want, "{passed:?} of which {awake} awake");
        };
        check(Some(5_000), 5_000, 0);
        check(Some(3_605_000), 5_000, 3_600_000);
        // Read one after the other.
        check(Some(5_000), 5_001, 0);
        check(None, 5_000, 0);
    }

    #[test]
    fn a_wall_clock_that_is_set_is_followed_and_told_of() {
        let mut wall = Wall::at(Moment { steady_ms: 1_000, wall_ms: 1_000 });
        let mut check = |steady_ms: i64, wall_ms: i64, jump: Option<i64>, unseen_ms: i64| {
            let seen = wall.see(Moment { steady_ms, wall_ms });
            assert_eq!(seen.map(|it| it.ms), jump, "{steady_ms} {wall_ms}");
            assert_eq!(seen.map_or(0, Jump::unseen_ms), unseen_ms, "{steady_ms} {wall_ms}");
            let exact = (wall.of_steady(steady_ms) - wall_ms).abs();
            assert!(exact < SET_MS && wall.to_steady(wall.of_steady(7)) == 7, "{wall:?}");
        };
        check(2_000, 2_000, None, 0);
        check(3_000, 3_040, None, 0);
        // Little by little it comes to a jump all the same: it is held against the mapping, not against the last look.
        check(4_000, 4_120, Some(120), 120);
        check(5_000, 3_605_120, Some(3_600_000), 3_600_000);
        check(6_000, 3_606_120, None, 0);
        // Set back, and far back: no time has passed.
        check(7_000, 7_000, Some(-3_600_120), 0);
        check(8_000, -90_000_000, Some(-90_008_000), 0);
        assert_eq!(wall.jumps, 4);
    }

    #[test]
    fn the_steady_clock_goes_forward() {
        let clock = Clock::start();
        let times: Vec<i64> = (0..1_000).map(|_| clock.now().steady_ms).collect();
        assert!(times.is_sorted() && Clock::start().now_ms() >= times[999]);
    }
}
