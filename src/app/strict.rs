//! A reader of metrics that forgives nothing, for tests: what it takes, every scraper takes.

use std::collections::{BTreeMap, HashSet};

/// A family's kind by its name, its unit where it has one, and how many samples there are.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub kinds: BTreeMap<String, String>,
    pub units: BTreeMap<String, String>,
    pub samples: usize,
}

/// Reads Prometheus's text format 0.0.4, or OpenMetrics 1.0: every family once, with a help and a kind before its samples,
/// and its samples together, each once, by names that its kind allows. A unit is OpenMetrics's, and the end of the name.
pub(super) fn read(text: &str, is_open: bool) -> Result<Read, String> {
    let body = match (text.strip_suffix("# EOF\n"), is_open) {
        (Some(body), true) => body,
        (None, false) => text,
        _ => return Err("# EOF is OpenMetrics's end, and there alone".to_owned()),
    };
    if !body.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    let (mut read, mut seen, mut helped, mut now) = (Read::default(), HashSet::new(), String::new(), String::new());
    let mut is_head = false;
    for line in body.lines() {
        let wrong = |why: &str| format!("{why}: {line}");
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').ok_or_else(|| wrong("no words"))?;
            if words.is_empty() || read.kinds.contains_key(name) {
                return Err(wrong("no help, or a family that was there before"));
            }
            helped = name.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or_else(|| wrong("no kind"))?;
            if name != helped || !is_name(name, true) || !["gauge", "counter", "histogram"].contains(&kind) {
                return Err(wrong("not the family that has its help above, or no name, or no kind"));
            }
            if kind == "counter" && is_open == name.ends_with("_total") {
                return Err(wrong("a counter's family has another name in this format"));
            }
            if read.kinds.insert(name.to_owned(), kind.to_owned()).is_some() {
                return Err(wrong("a family that was there before"));
            }
            now = name.to_owned();
            is_head = true;
        } else if let Some(unit) = line.strip_prefix("# UNIT ") {
            let (name, unit) = unit.split_once(' ').ok_or_else(|| wrong("no unit"))?;
            let is_last_word = name.strip_suffix(unit).is_some_and(|before| before.ends_with('_'));
            if !is_open || !is_head || name != now || !is_last_word {
                return Err(wrong("not of the family above, or not the end of its name, or not in this format"));
            }
            if read.units.insert(name.to_owned(), unit.to_owned()).is_some() {
                return Err(wrong("a unit that was there before"));
            }
        } else {
            is_head = false;
            let (series, name) = sample(line).ok_or_else(|| wrong("no sample"))?;
            let kind = read.kinds.get(&now).ok_or_else(|| wrong("a sample before any family"))?;
            if !belongs(name, &now, kind, is_open) {
                return Err(wrong("a sample of another family"));
            }
            if !seen.insert(series.to_owned()) {
                return Err(wrong("a series that was there before"));
            }
            read.samples += 1;
        }
    }
    Ok(read)
}

fn belongs(name: &str, family: &str, kind: &str, is_open: bool) -> bool {
    let Some(ending) = name.strip_prefix(family) else { return false };
    match kind {
        "counter" if is_open => ending == "_total",
        "histogram" => ["_bucket", "_sum", "_count"].contains(&ending),
        _ => ending.is_empty(),
    }
}

fn is_name(name: &str, may_have_colons: bool) -> bool {
    let is_letter = |it: char| it.is_ascii_alphabetic() || it == '_' || (may_have_colons && it == ':');
    name.starts_with(is_letter) && name.chars().all(|it| is_letter(it) || it.is_ascii_digit())
}

/// Its name with its labels, and its name alone, of a sample whose value is a number.
fn sample(line: &str) -> Option<(&str, &str)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    if let Some(labels) = rest.strip_prefix('{') {
        rest = after_labels(labels)?;
    }
    let series = line.get(..line.len() - rest.len())?;
    let value = rest.strip_prefix(' ')?;
    let is_number = value.parse::<f64>().is_ok() && !value.contains(' ');
    (is_name(name, true) && is_number).then_some((series, name))
}

/// What comes after the brace that closes them; each has another name.
fn after_labels(mut rest: &str) -> Option<&str> {
    let mut names = HashSet::new();
    loop {
        let (name, value) = rest.split_once("=\"")?;
        if !is_name(name, false) || !names.insert(name) {
            return None;
        }
        rest = after_text(value)?;
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return rest.strip_prefix('}'),
        }
    }
}

/// What comes after the quote that ends a text, in which only three characters are escaped.
fn after_text(text: &str) -> Option<&str> {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return text.get(at + 1..),
            '\\' => drop(letters.next().filter(|(_, it)| ['\\', '"', 'n'].contains(it))?),
            _ => {}
        }
    }
    None
}

#[test]
fn what_is_refused() {
    let head = "# HELP m Words.\n# TYPE m gauge\n";
    let check = |rest: &str, is_open, want: bool| {
        let said = read(&format!("{head}{rest}"), is_open);
        assert_eq!(said.is_ok(), want, "{rest}: {said:?}");
    };
    check("m 1\n", false, true);
    check("m{a=\"x\\\"\\\\\\n,}\",b=\"\"} 1.5\n", false, true);
    check("m 1\n# EOF\n", true, true);
    for wrong in [
        "m 1",
        "m 1\n# EOF\n",
        "m x\n",
        "m{a=\"x} 1\n",
        "m{a=\"\\x\"} 1\n",
        "m{a=\"x\",a=\"y\"} 1\n",
        "m{a=\"x\"}1\n",
        "m 1\nm 2\n",
        "n 1\n",
        "m_total 1\n",
        "# TYPE n gauge\nn 1\n",
        "# HELP m Again.\n# TYPE m gauge\n",
        "# HELP c Words.\n# TYPE c counter\nc 1\n",
    ] {
        check(wrong, false, false);
    }
    check("m 1\n", true, false);
    check("# HELP c Words.\n# TYPE c counter\nc 1\n# EOF\n", true, false);
    check("# HELP c Words.\n# TYPE c counter\nc_total 1\n# EOF\n", true, true);
    let measured = "# HELP b_bytes Words.\n# TYPE b_bytes gauge\n";
    let unit = "# UNIT b_bytes bytes\n";
    check(&format!("{measured}{unit}b_bytes 1\n# EOF\n"), true, true);
    check(&format!("{measured}{unit}b_bytes 1\n"), false, false);
    for wrong in
        ["b_bytes 1\n# UNIT b_bytes bytes\n", "# UNIT b_bytes seconds\n", "# UNIT m bytes\n", "# UNIT b_bytes\n"]
    {
        check(&format!("{measured}{wrong}# EOF\n"), true, false);
    }
    check(&format!("{measured}{unit}{unit}# EOF\n"), true, false);
}
