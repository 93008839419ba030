//! Prometheus text, written straight into bytes: with a hundred thousand series this takes milliseconds, where a metrics
//! library, or the formatting of the standard library, takes most of a second.

use std::io::Write as _;

/// Which text a scraper asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Prometheus's text format 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0, where a counter's family goes without the `_total` of its samples.
    OpenMetrics,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Counter,
}

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

/// A sample's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Count(u64),
    Whole(i64),
    /// Written in seconds.
    Millis(i64),
    Number(f64),
}

macro_rules! values {
    ($($from:ty => $variant:ident,)*) => { $(
        impl From<$from> for Value {
            fn from(number: $from) -> Self {
                Self::$variant(number.into())
            }
        }
    )* };
}

values! { u64 => Count, u32 => Count, bool => Count, i64 => Whole, i32 => Whole, f64 => Number, }

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Count(number as u64)
    }
}

/// Begins a family.
pub(super) fn family(out: &mut Vec<u8>, dialect: Dialect, name: &str, help: &str, kind: Kind) {
    let (name, kind) = match (kind, dialect) {
        (Kind::Gauge, _) => (name, "gauge"),
        (Kind::Counter, Dialect::Prometheus) => (name, "counter"),
        (Kind::Counter, Dialect::OpenMetrics) => (name.strip_suffix("_total").unwrap_or(name), "counter"),
    };
    for part in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    // Elsewhere it would be a comment that says the name's end again.
    if let Some(unit) = unit(name).filter(|_| dialect == Dialect::OpenMetrics) {
        for part in ["# UNIT ", name, " ", unit, "\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// What a family is measured in: OpenMetrics takes a unit only where the family's name ends in it. What is counted has none:
/// whether the name ends in what that is (`_records`, but `_records_lost`) says nothing.
fn unit(family: &str) -> Option<&'static str> {
    let is_last_word = |unit: &str| family.strip_suffix(unit).is_some_and(|before| before.ends_with('_'));
    ["seconds", "bytes"].into_iter().find(|unit| is_last_word(unit))
}

pub(super) fn sample(out: &mut Vec<u8>, name: &str, labels: &[(&str, Label<'_>)], value: impl Into<Value>) {
    out.extend_from_slice(name.as_bytes());
    for (at, (key, value)) in labels.iter().enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        label(out, key, *value);
    }
    out.extend_from_slice(if labels.is_empty() { b" " } else { b"} " });
    number(out, value.into());
    out.push(b'\n');
}

/// `key="value"`
pub(super) fn label(out: &mut Vec<u8>, key: &str, value: Label<'_>) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"=\"");
    match value {
        Label::Number(number) => whole(out, number.into()),
        Label::Text(text) => escaped(out, text),
    }
    out.push(b'"');
}

/// A label's text, with what the format gives a meaning to escaped.
fn escaped(out: &mut Vec<u8>, text: &str) {
    for part in text.as_bytes().split_inclusive(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        let (last, before) = part.split_last().unwrap_or((&b' ', &[]));
        let escape: &[u8] = match last {
            b'\\' => br"\\",
            b'"' => br#"\""#,
            b'\n' => br"\n",
            _ => {
                out.extend_from_slice(part);
                continue;
            }
        };
        out.extend_from_slice(before);
        out.extend_from_slice(escape);
    }
}

pub(super) fn number(out: &mut Vec<u8>, value: Value) {
    match value {
        Value::Count(number) => digits(out, number),
        Value::Whole(number) => whole(out, number),
        Value::Millis(ms) => {
            if ms < 0 {
                out.push(b'-');
            }
            digits(out, ms.unsigned_abs() / 1000);
            let mut rest = ms.unsigned_abs() % 1000;
            if rest > 0 {
                out.push(b'.');
            }
            for tenth in [100, 10, 1] {
                if rest > 0 {
                    out.push(b'0' + (rest / tenth) as u8);
                    rest %= tenth;
                }
            }
        }
        Value::Number(number) => {
            let written = write!(out, "{number}");
            debug_assert!(written.is_ok(), "writing to memory does not fail");
        }
    }
}

pub(super) fn whole(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    digits(out, number.unsigned_abs());
}

fn digits(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    loop {
        begin -= 1;
        digits[begin] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[begin..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples() {
        let check = |labels: &[(&str, Label<'_>)], value: Value, want: &str| {
            let mut out = Vec::new();
            sample(&mut out, "m", labels, value);
            assert_eq!(String::from_utf8_lossy(&out), want);
        };
        check(&[], 3.0.into(), "m 3\n");
        check(&[("a", "plain".into()), ("b", 7.into())], 0.5.into(), "m{a=\"plain\",b=\"7\"} 0.5\n");
        check(&[("a", "a\"b\\c\nd".into())], 1_u64.into(), "m{a=\"a\\\"b\\\\c\\nd\"} 1\n");
        check(&[("a", "\\".into())], true.into(), "m{a=\"\\\\\"} 1\n");
        check(&[("a", "".into())], i64::MIN.into(), "m{a=\"\"} -9223372036854775808\n");
        check(&[], u64::MAX.into(), "m 18446744073709551615\n");
    }

    #[test]
    fn seconds() {
        for (ms, want) in
            [(0, "0"), (7, "0.007"), (70, "0.07"), (700, "0.7"), (1_000, "1"), (-1_230, "-1.23"), (60_001, "60.001")]
        {
            let mut out = Vec::new();
            number(&mut out, Value::Millis(ms));
            assert_eq!(String::from_utf8_lossy(&out), want);
        }
    }

    fn head(dialect: Dialect, name: &str, kind: Kind) -> String {
        let mut out = Vec::new();
        family(&mut out, dialect, name, "Words.", kind);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn the_family_of_a_counter() {
        let check = |dialect, kind, want: &str| assert_eq!(head(dialect, "m_total", kind), want);
        check(Dialect::Prometheus, Kind::Counter, "# HELP m_total Words.\n# TYPE m_total counter\n");
        check(Dialect::OpenMetrics, Kind::Counter, "# HELP m Words.\n# TYPE m counter\n");
        check(Dialect::OpenMetrics, Kind::Gauge, "# HELP m_total Words.\n# TYPE m_total gauge\n");
    }

    #[test]
    fn units_are_the_ends_of_names() {
        let check = |name: &str, kind, want: Option<&str>| {
            let head_of = |dialect| head(dialect, name, kind);
            let (open, classic) = (head_of(Dialect::OpenMetrics), head_of(Dialect::Prometheus));
            assert_eq!(open.lines().nth(2), want, "{name}");
            assert_eq!(classic.lines().nth(2), None, "{name}");
        };
        check("m_seconds", Kind::Gauge, Some("# UNIT m_seconds seconds"));
        check("m_bytes", Kind::Gauge, Some("# UNIT m_bytes bytes"));
        check("m_bytes_total", Kind::Counter, Some("# UNIT m_bytes bytes"));
        for name in
            ["m_seconds_low", "m_records_per_second", "m_milliseconds", "m_records", "seconds", "m_seconds_total"]
        {
            check(name, Kind::Gauge, None);
        }
    }
}
