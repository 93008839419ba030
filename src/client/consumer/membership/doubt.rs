//! Commits that had no answer. A broker that was held up with one may handle it after a later one, and the group would be back
//! where it was; so what is committed is said again until that is not to be expected any more.

use std::time::Duration;

use tokio::time::Instant;

/// How long a broker may be held up with a commit that nobody waits for any more.
const LATE_AT_MOST: Duration = Duration::from_secs(60);
/// After it, what is committed is said again so much later, and then after as long as all that has taken.
const FIRST_REPEAT: Duration = Duration::from_secs(1);

/// Of a member, whatever it holds meanwhile: what comes late may be of a partition in which the application has gone on
/// elsewhere, or that the group has given it anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doubt {
    /// When nobody waited for the answer any more.
    since: Instant,
    /// When everything is to be said again.
    due: Instant,
}

impl Doubt {
    pub fn new(now: Instant) -> Self {
        Self { since: now, due: now }
    }

    pub fn is_due(self, now: Instant) -> bool {
        self.due <= now
    }

    /// Everything was said again.
    pub fn after_repeat(self, now: Instant) -> Option<Self> {
        let (age, last) = (now - self.since, self.since + LATE_AT_MOST);
        (now < last).then(|| Self { due: (now + age.max(FIRST_REPEAT)).min(last), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_said_again_less_and_less_often() {
        let began = Instant::now();
        let (mut doubt, mut said) = (Some(Doubt::new(began)), Vec::new());
        for half in 0..4 * LATE_AT_MOST.as_secs() {
            let now = began + Duration::from_millis(500 * half);
            if let Some(due) = doubt.filter(|doubt| doubt.is_due(now)) {
                said.push((now - began).as_secs());
                doubt = due.after_repeat(now);
            }
        }
        assert_eq!((said, doubt), ([0, 1, 2, 4, 8, 16, 32, 60].into(), None));
    }
}
