//! Trouble that lasts, as a log is told of it: when it begins, now and then while it goes on, and when it is over. A line for
//! each failed try would bury what else there is to read, and none at all would leave a program that waits looking idle.
//!
//! Values in, values out: who has the trouble tries and logs, in words of its own.

use std::time::Duration;

use tokio::time::Instant;

/// After this long, what still goes on is said again.
const SAID_AGAIN: Duration = Duration::from_secs(30);

/// One kind of trouble; there is none to begin with.
#[derive(Debug, Default)]
pub struct Trouble {
    began: Option<Instant>,
    said: Option<Instant>,
}

impl Trouble {
    /// Something has failed; whether that is to be said.
    #[must_use]
    pub fn fails(&mut self, now: Instant) -> bool {
        self.began.get_or_insert(now);
        let is_news = self.said.is_none_or(|said| now.duration_since(said) >= SAID_AGAIN);
        if is_news {
            self.said = Some(now);
        }
        is_news
    }

    /// All is well; if it was not, for how long, which is to be said. Trouble that comes and goes is told like that which
    /// stays: of what begins too soon after it was last told of, the end is not told either.
    #[must_use]
    pub fn is_over(&mut self, now: Instant) -> Option<Duration> {
        let began = self.began.take()?;
        self.said.is_some_and(|said| said >= began).then(|| now.duration_since(began))
    }

    pub fn lasts(&self) -> bool {
        self.began.is_some()
    }

    /// Nobody tried for a while: of trouble last told of long ago nobody knows when it ended, and none is told.
    pub fn forget_old(&mut self, now: Instant) {
        if self.said.is_some_and(|said| now.duration_since(said) >= SAID_AGAIN) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_when_it_begins_now_and_then_and_when_it_is_over() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut trouble = Trouble::default();
        assert_eq!(trouble.is_over(at(0)), None);
        let told: Vec<u64> = (0..100).filter(|&second| trouble.fails(at(second))).collect();
        assert_eq!(told, [0, 30, 60, 90]);
        assert!(trouble.lasts());
        assert_eq!(trouble.is_over(at(100)), Some(Duration::from_secs(100)));
        assert_eq!(trouble.is_over(at(101)), None);
        assert!(!trouble.fails(at(102)), "it comes and goes");
        assert_eq!(trouble.is_over(at(103)), None);
        assert!(trouble.fails(at(120)));
        trouble.forget_old(at(121));
        assert_eq!(trouble.is_over(at(121)), Some(Duration::from_secs(1)));
        assert!(trouble.fails(at(200)));
        trouble.forget_old(at(300));
        assert_eq!(trouble.is_over(at(300)), None);
    }
}
