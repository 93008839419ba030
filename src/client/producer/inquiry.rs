//! A question to the cluster that is asked again, with growing pauses, until its answer is of use. Pure.

use tokio::time::Instant;

use super::ProducerConfig;

/// Such as who leads the partitions, or which id the producer has.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    pub wanted: bool,
    pub asked: bool,
    tries: u32,
    not_before: Option<Instant>,
}

impl Inquiry {
    /// When it is to be asked.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        (self.wanted && !self.asked).then(|| self.not_before.unwrap_or(now))
    }

    /// Takes note of an answer; it is asked again after a while if still `wanted`.
    pub fn answered(&mut self, wanted: bool, now: Instant, config: &ProducerConfig) {
        self.tries = if wanted { self.tries + 1 } else { 0 };
        (self.wanted, self.asked, self.not_before) = (wanted, false, Some(now + config.backoff().wait(self.tries)));
    }

    pub fn may_ask(&self, now: Instant) -> bool {
        self.next(now).is_some_and(|at| at <= now)
    }
}
