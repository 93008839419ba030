//! Commits that had no answer. A broker that was held up with one may handle it after a later one, and the group would be back
//! where it was; so what is committed is said again until that is not to be expected any more.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::types::TopicPartition;

/// How long a broker may be held up with a commit that nobody waits for any more.
const LATE_AT_MOST: Duration = Duration::from_secs(60);
/// After it, what is committed is said again so much later, and then after as long as all that has taken.
const FIRST_REPEAT: Duration = Duration::from_secs(1);

/// Of a member, however long it holds these partitions: in the meantime the application may have gone on elsewhere in one, or
/// the group have given it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    of: BTreeSet<TopicPartition>,
    /// When nobody waited for the answer any more.
    since: Instant,
    /// When what is finished of them is to be said again.
    due: Instant,
}

impl Doubt {
    /// In place of one before it.
    pub fn new(of: impl Iterator<Item = TopicPartition>, before: Option<Self>, now: Instant) -> Self {
        let before = before.into_iter().flat_map(|before| before.of);
        Self { of: before.chain(of).collect(), since: now, due: now }
    }

    pub fn is_about(&self, of: &TopicPartition) -> bool {
        self.of.contains(of)
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.due <= now
    }

    /// It was said again.
    pub fn after_repeat(self, now: Instant) -> Option<Self> {
        let (age, last) = (now - self.since, self.since + LATE_AT_MOST);
        (now < last).then(|| Self { due: (now + age.max(FIRST_REPEAT)).min(last), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_doubt_is_said_again_less_and_less_often() {
        let (began, of) = (Instant::now(), |topic: &str| TopicPartition::new(topic, 0));
        let (mut doubt, mut said) = (Some(Doubt::new([of("a")].into_iter(), None, began)), Vec::new());
        for half in 0..4 * LATE_AT_MOST.as_secs() {
            let now = began + Duration::from_millis(500 * half);
            if let Some(due) = doubt.take_if(|doubt| doubt.is_due(now)) {
                said.push((now - began).as_secs());
                doubt = due.after_repeat(now);
            }
        }
        assert_eq!((said, doubt), ([0, 1, 2, 4, 8, 16, 32, 60].into(), None));
    }

    #[test]
    fn another_one_is_about_what_the_first_was_too() {
        let (began, of) = (Instant::now(), |topic: &str| TopicPartition::new(topic, 0));
        let first = Doubt::new([of("a")].into_iter(), None, began);
        let first = first.after_repeat(began + Duration::from_secs(9)).unwrap();
        let now = began + Duration::from_secs(10);
        let both = Doubt::new([of("b")].into_iter(), Some(first), now);
        assert_eq!(["a", "b", "c"].map(|topic| both.is_about(&of(topic))), [true, true, false]);
        assert!(both.is_due(now) && both.clone().after_repeat(now + LATE_AT_MOST / 2).is_some());
    }
}
