//! What `highwater consume` is to read: topics by name, or by regular expression, which kcat tells by a `^` and rpk by `-r`.
//! No topic's name has a `^`.

use crate::cli::values::Partitions;
use crate::client::TopicPattern;

pub(super) struct Wanted {
    pub named: Vec<Partitions>,
    pub patterns: Vec<TopicPattern>,
}

impl Wanted {
    /// `regex`: all of them are regular expressions.
    pub fn parse(words: &[String], regex: bool) -> Result<Self, String> {
        let (patterns, names): (Vec<_>, Vec<_>) = words.iter().partition(|word| regex || word.starts_with('^'));
        let pattern = |word: &String| TopicPattern::anywhere(word).map_err(|error| error.to_string());
        Ok(Self {
            named: names.into_iter().map(|word| word.parse()).collect::<Result<_, _>>()?,
            patterns: patterns.into_iter().map(pattern).collect::<Result<_, _>>()?,
        })
    }

    pub fn matches(&self, topic: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_expressions_are_told_apart() {
        let check = |words: &str, regex: bool, named: usize, matching: &str, others: &str| {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            let wanted = Wanted::parse(&words, regex).unwrap();
            assert_eq!(wanted.named.len(), named, "{words:?}");
            matching.split_whitespace().for_each(|topic| assert!(wanted.matches(topic), "{words:?} {topic}"));
            others.split_whitespace().for_each(|topic| assert!(!wanted.matches(topic), "{words:?} {topic}"));
        };
        check("orders logs:0,1", false, 2, "", "orders logs");
        check("orders ^logs-", false, 1, "logs-eu", "orders old-logs-eu");
        check("^logs-.*$ ^clicks$", false, 0, "logs-eu clicks", "clicks2");
        check("logs (?:a|b)", true, 0, "old-logs-eu a", "c");
        for wrong in ["^(", ":1", "t:x"] {
            assert!(Wanted::parse(&[wrong.to_owned()], false).is_err(), "{wrong}");
        }
    }
}
