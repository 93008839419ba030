//! Prometheus text, written straight into a string: with a hundred thousand series this takes milliseconds, where a
//! metrics library takes most of a second.

use std::fmt::{self, Write as _};

/// A label's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Label<'a> {
    Text(&'a str),
    Number(i32),
}

impl<'a> From<&'a str> for Label<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<i32> for Label<'_> {
    fn from(number: i32) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => escaped(text, f),
        }
    }
}

/// A label's text, with what the format gives a meaning to escaped.
fn escaped(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for part in text.split_inclusive(['\\', '"', '\n']) {
        match part.char_indices().next_back() {
            Some((at, '\\')) => write!(f, r"{}\\", &part[..at])?,
            Some((at, '"')) => write!(f, r#"{}\""#, &part[..at])?,
            Some((at, '\n')) => write!(f, r"{}\n", &part[..at])?,
            _ => f.write_str(part)?,
        }
    }
    Ok(())
}

/// Begins a family.
pub(super) fn family(out: &mut String, name: &str, help: &str, kind: &str) {
    line(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

/// A family of one sample without labels.
pub(super) fn gauge(out: &mut String, name: &str, help: &str, value: f64) {
    family(out, name, help, "gauge");
    sample(out, name, &[], value);
}

pub(super) fn sample(out: &mut String, name: &str, labels: &[(&str, Label<'_>)], value: f64) {
    out.push_str(name);
    for (at, (key, label)) in labels.iter().enumerate() {
        let open = if at == 0 { '{' } else { ',' };
        write(out, format_args!(r#"{open}{key}="{label}""#));
    }
    if !labels.is_empty() {
        out.push('}');
    }
    line(out, format_args!(" {value}"));
}

fn line(out: &mut String, text: fmt::Arguments<'_>) {
    write(out, text);
    out.push('\n');
}

fn write(out: &mut String, text: fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples() {
        let check = |labels: &[(&str, Label<'_>)], value, want: &str| {
            let mut out = String::new();
            sample(&mut out, "m", labels, value);
            assert_eq!(out, want);
        };
        check(&[], 3.0, "m 3\n");
        check(&[("a", "plain".into()), ("b", 7.into())], 0.5, "m{a=\"plain\",b=\"7\"} 0.5\n");
        check(&[("a", "a\"b\\c\nd".into())], 1.0, "m{a=\"a\\\"b\\\\c\\nd\"} 1\n");
        check(&[("a", "\\".into())], 1.0, "m{a=\"\\\\\"} 1\n");
    }
}
