//! Settings held against what is allowed: every mistake is said, with its key, its value and what would do.

use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;

/// As long as Kafka lets a topic's name be.
const TOPIC_NAME_MAX: usize = 249;

/// The mistakes found so far in one table of settings.
#[derive(Debug)]
pub struct Limits {
    table: &'static str,
    mistakes: Vec<String>,
}

impl Limits {
    pub fn of(table: &'static str) -> Self {
        Self { table, mistakes: Vec::new() }
    }

    /// A number within bounds, both of them included; NaN is within none.
    pub fn within<T: PartialOrd + Debug>(&mut self, key: &str, value: T, allowed: RangeInclusive<T>) {
        let (low, high) = (allowed.start(), allowed.end());
        self.must(allowed.contains(&value), key, &value, format_args!("a number from {low:?} to {high:?}"));
    }

    /// A text or a list that is not empty.
    pub fn not_empty(&mut self, key: &str, value: &str) {
        self.must(!value.trim().is_empty(), key, &value, "a text that is not empty");
    }

    /// A name that Kafka takes for a topic.
    pub fn topic(&mut self, key: &str, name: &str) {
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        let is_name = (1..=TOPIC_NAME_MAX).contains(&name.len()) && name.chars().all(is_letter);
        let allowed = "a topic's name: up to 249 of a-z, A-Z, 0-9, '.', '_' and '-'";
        self.must(is_name && ![".", ".."].contains(&name), key, &name, allowed);
    }

    /// Anything else: `allowed` says what holds of a value that is right.
    pub fn must(&mut self, is_right: bool, key: &str, value: &dyn Debug, allowed: impl Display) {
        if !is_right {
            self.mistakes.push(format!("{}.{key} = {value:?}: must be {allowed}", self.table));
        }
    }

    pub fn mistakes(self) -> Vec<String> {
        self.mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_says_what_would_do() {
        let check = |hold: &dyn Fn(&mut Limits), want: Option<&str>| {
            let mut limits = Limits::of("room");
            hold(&mut limits);
            let want: Vec<_> = want.into_iter().map(str::to_owned).collect();
            assert_eq!(limits.mistakes(), want);
        };
        check(&|it| it.within("n", 1, 1..=9), None);
        check(&|it| it.within("n", 9, 1..=9), None);
        check(&|it| it.within("n", 0, 1..=9), Some("room.n = 0: must be a number from 1 to 9"));
        check(&|it| it.within("x", f64::NAN, 0.0..=1.0), Some("room.x = NaN: must be a number from 0.0 to 1.0"));
        check(&|it| it.within("x", -0.5, 0.0..=1.0), Some("room.x = -0.5: must be a number from 0.0 to 1.0"));
        check(&|it| it.not_empty("t", "a"), None);
        check(&|it| it.not_empty("t", " "), Some("room.t = \" \": must be a text that is not empty"));
        check(&|it| it.topic("t", "a.B-9_"), None);
        let name = "must be a topic's name: up to 249 of a-z, A-Z, 0-9, '.', '_' and '-'";
        for wrong in ["", ".", "..", "a b", "ü", &"a".repeat(250)] {
            check(&|it| it.topic("t", wrong), Some(&format!("room.t = {wrong:?}: {name}")));
        }
    }
}
