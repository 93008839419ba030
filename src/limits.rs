//! Settings held against what is allowed: every mistake is said, with its key, its value and what would do. And the one kind
//! of value that is not to be said.

use std::fmt::{self, Debug, Display};
use std::ops::RangeInclusive;

use serde::Deserialize;

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

/// A URL that may have a password in it: what is printed of it is where it leads to, `scheme://…@hosts/path?…`. Of one that is
/// not like that nothing is, since nobody knows what stands where in it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Url(String);

impl Url {
    /// As it was given. Whoever asks for it must not let it be printed.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is known what stands where in it. What a library says of one that is not may quote the password.
    pub fn is_clear(&self) -> bool {
        self.parts().is_some()
    }

    /// The scheme, whether there is a user, and what follows up to the query, if there is one.
    fn parts(&self) -> Option<(&str, bool, &str, bool)> {
        let (scheme, rest) = self.0.split_once("://")?;
        let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        let place = rest.split(['?', '#']).next()?;
        let is_clear = scheme.chars().all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
            && user.is_none_or(|user| !user.contains(['/', '?', '#']))
            && place.split('/').next()?.split(',').all(is_host);
        is_clear.then_some((scheme, user.is_some(), place, place.len() < rest.len()))
    }
}

/// `name`, `name:port`, `[v6]` or `[v6]:port`.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rfind(':').filter(|at| !text[*at..].contains(']')) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let is_v6 = |name: &str| name.chars().all(|letter| letter.is_ascii_hexdigit() || ":.".contains(letter));
    let is_named = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(name) => is_v6(name),
        None => name.chars().all(|letter| letter.is_alphanumeric() || "-._%".contains(letter)),
    };
    !name.is_empty() && is_named && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

impl From<&str> for Url {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, has_user, place, has_query)) = self.parts() else { return f.write_str("…") };
        let (user, query) = (if has_user { "…@" } else { "" }, if has_query { "?…" } else { "" });
        write!(f, "{scheme}://{user}{place}{query}")
    }
}

impl Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let check = |url: &str, want: &str| {
            let url = Url::from(url);
            assert_eq!((format!("{url}"), format!("{url:?}")), (want.to_owned(), want.to_owned()));
            assert_eq!(url.is_clear(), want != "…");
        };
        check("mongodb://127.0.0.1:27017", "mongodb://127.0.0.1:27017");
        check("mongodb://[::1]:27017,[::2]", "mongodb://[::1]:27017,[::2]");
        check("mongodb+srv://user:p%40ss@host/db?x=1", "mongodb+srv://…@host/db?…");
        check("redis-sentinel://:a@b@one:26379,two/mymaster", "redis-sentinel://…@one:26379,two/mymaster");
        check("redis-sentinel://one:26379?sentinelPassword=secret", "redis-sentinel://one:26379?…");
        for unclear in [
            "",
            "secret",
            "user:secret@host",
            "user:secret@redis://host",
            "redis://default:secret",
            "redis://:secret",
            "mongodb://user:sec?ret@host",
            "mongodb://user:sec/ret@host",
        ] {
            check(unclear, "…");
        }
    }

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
