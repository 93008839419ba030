//! Which groups and topics: regular expressions for lists, globs for people.

use std::fmt;
use std::str::FromStr;

use regex::Regex;
use serde::Deserialize;

/// Matches whole names.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    regex: Regex,
    /// As it was written.
    text: String,
}

impl Pattern {
    /// `*` for any characters, `?` for one; the rest stands for itself.
    pub fn glob(text: &str) -> Result<Self, String> {
        let mut regex = String::new();
        for letter in text.chars() {
            match letter {
                '*' => regex.push_str(".*"),
                '?' => regex.push('.'),
                letter => regex.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4]))),
            }
        }
        let pattern: Self = regex.parse()?;
        Ok(Self { text: text.to_owned(), ..pattern })
    }

    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The first line of a parse error shows the pattern; the last one says what is wrong with it.
        let wrong = |error: regex::Error| {
            let said = error.to_string();
            format!("{text:?} is no regular expression: {}", said.lines().last().unwrap_or_default())
        };
        // Alone first, so that an unbalanced parenthesis cannot close ours.
        Regex::new(text).map_err(wrong)?;
        let regex = Regex::new(&format!("^(?s:{text})$")).map_err(wrong)?;
        Ok(Self { regex, text: text.to_owned() })
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What is looked at: whatever a list allows, or everything without one, but for what another denies.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    pub allow: Vec<Pattern>,
    pub deny: Vec<Pattern>,
}

impl Filter {
    pub fn passes(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(name));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |allow: &[&str], deny: &[&str], name: &str, want: bool| {
            let patterns = |of: &[&str]| of.iter().map(|text| text.parse().unwrap()).collect();
            let filter = Filter { allow: patterns(allow), deny: patterns(deny) };
            assert_eq!(filter.passes(name), want, "{allow:?} {deny:?} {name}");
        };
        check(&[], &[], "any", true);
        check(&["a.*", "b"], &[], "abc", true);
        check(&["a.*", "b"], &[], "bc", false);
        check(&["a.*"], &[".*-test"], "abc-test", false);
        check(&[], &["a|b"], "ab", true);
        check(&[], &["a|b"], "b", false);
    }

    #[test]
    fn globs() {
        let check = |glob: &str, name: &str, want: bool| {
            assert_eq!(Pattern::glob(glob).unwrap().matches(name), want, "{glob} {name}");
        };
        check("*", "anything", true);
        check("orders-?", "orders-1", true);
        check("orders-?", "orders-11", false);
        check("a.b*", "a.bc", true);
        check("a.b*", "axbc", false);
        check("(", "(", true);
    }

    #[test]
    fn mistakes_are_said() {
        let error = ")|(".parse::<Pattern>().unwrap_err();
        assert!(error.starts_with("\")|(\" is no regular expression: "), "{error}");
    }
}
