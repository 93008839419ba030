//! Times that mean "for ever". `Duration::MAX` is a lawful answer to "how long?", and neither a clock nor Kafka's milliseconds
//! can hold it.
//!
//! A configuration is bounded where it comes in, so what is inside may add up its times and count them from an instant. What is
//! given with a single call is counted by [`later`].

use std::time::Duration;

use tokio::time::Instant;

/// For ever: thirty years, as tokio has it. Some systems' clocks cannot hold a hundred.
pub(super) const EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// So long after a point in time.
pub(super) fn later(from: Instant, wait: Duration) -> Instant {
    from + wait.min(EVER)
}

/// Makes none of these longer than for ever.
pub(super) fn bound<const N: usize>(times: [&mut Duration; N]) {
    for time in times {
        *time = (*time).min(EVER);
    }
}

/// As requests say it, as far as they can.
pub(super) fn milliseconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_ever_is_a_time_like_any_other() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let longest_said = Duration::from_millis(i32::MAX as u64);
        // How long, how much later that is, and how requests say it.
        let cases = [
            (Duration::ZERO, Duration::ZERO, 0),
            (second, second, 1000),
            (longest_said, longest_said, i32::MAX),
            (longest_said + second, longest_said + second, i32::MAX),
            (EVER, EVER, i32::MAX),
            (EVER + second, EVER, i32::MAX),
            (Duration::MAX, EVER, i32::MAX),
        ];
        for (wait, after, said) in cases {
            let mut bounded = wait;
            bound([&mut bounded]);
            assert_eq!((later(now, wait) - now, bounded, milliseconds(wait)), (after, after, said), "{wait:?}");
        }
    }
}
