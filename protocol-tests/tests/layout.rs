//! The house against its drawing: who may use whom, what stands at the top, and which names a panel may show.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater::lag::{Config, Dialect, Round, Series, exposition};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The layer table: a room, and the rooms it may use beside itself.
const MAY_USE: [(&str, &[&str]); 16] = [
    ("protocol", &[]),
    ("tls", &[]),
    ("task", &[]),
    ("trouble", &[]),
    ("limits", &[]),
    ("net", &["tls"]),
    ("client", &["protocol", "net", "tls", "task", "trouble"]),
    ("devbroker", &["protocol", "tls", "task"]),
    ("lag", &["client", "tls", "task", "trouble", "limits"]),
    ("pipeline", &["client", "task", "trouble", "limits"]),
    ("sink", &["client", "task", "trouble", "limits"]),
    ("generator", &["client", "task", "trouble", "limits"]),
    ("gateway", &["client", "task", "trouble", "limits"]),
    ("telemetry", &["net", "tls", "task", "limits"]),
    ("config", &["lag", "pipeline", "sink", "generator", "gateway", "telemetry", "limits"]),
    ("cli", &["generator", "lag", "telemetry", "limits"]),
];
/// The places where rooms meet.
const MAY_USE_ALL: [&str; 4] = ["app", "commands", "main", "lib"];

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of the workspace") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

/// Every source file below `src` with the room it belongs to; the facade is a crate of its own.
fn house() -> Vec<(String, PathBuf)> {
    let src = root().join("src");
    let mut files = Vec::new();
    files_below(&src, &mut files);
    files.retain(|path| {
        path.extension().is_some_and(|ending| ending == "rs") && !path.starts_with(src.join("tls/facade"))
    });
    files
        .into_iter()
        .map(|path| {
            let first = path.strip_prefix(&src).expect("below src").components().next().expect("a name");
            (first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned(), path)
        })
        .collect()
}

/// The code without its tests: tests may join what the table keeps apart.
fn code(path: &Path) -> String {
    let is_tests = |part: &str| part == "tests.rs" || part == "tests";
    if path.components().any(|part| is_tests(&part.as_os_str().to_string_lossy())) {
        return String::new();
    }
    let text = fs::read_to_string(path).expect("a source file");
    without_tests(&text).filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The lines that are in no item of tests. Such an item ends at its semicolon or its closing brace, which rustfmt puts below the
/// attribute; an attribute ends with a bracket.
fn without_tests(text: &str) -> impl Iterator<Item = &str> {
    let mut tests_at = None;
    text.lines().filter(move |line| {
        let words = line.trim_start();
        let indentation = line.len() - words.len();
        if tests_at.is_none() && words.starts_with("#[cfg(test)]") {
            tests_at = Some(indentation);
            return false;
        }
        let is_of_tests = tests_at.is_some();
        if tests_at == Some(indentation) && words.ends_with([';', '}', ',']) {
            tests_at = None;
        }
        !is_of_tests
    })
}

/// The rooms named as `crate::room` in a piece of code, also inside `use crate::{a, b::c}`.
fn rooms_named(code: &str) -> BTreeSet<String> {
    code.split("crate::").skip(1).flat_map(named_after_crate).collect()
}

fn named_after_crate(after: &str) -> Vec<String> {
    let Some(list) = after.strip_prefix('{') else { return vec![first_word(after)] };
    let (mut depth, mut items) = (0, vec![String::new()]);
    for letter in list.chars() {
        match letter {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            _ => {}
        }
        if let Some(item) = items.last_mut() {
            item.push(letter);
        }
    }
    items.iter().map(|item| first_word(item.trim_start_matches(',').trim())).collect()
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

#[test]
fn rooms_in_a_use_line() {
    let check = |code: &str, want: &[&str]| {
        assert_eq!(rooms_named(code).into_iter().collect::<Vec<_>>(), want, "{code}");
    };
    check("use crate::client::{Client, Error};", &["client"]);
    check("use crate::{client::{Client, Error}, task};", &["client", "task"]);
    check("fn f() -> crate::lag::Round { crate::sink::g() }", &["lag", "sink"]);
    check("use std::fmt;", &[]);
}

#[test]
fn tests_are_left_out_and_nothing_else() {
    let check = |text: &str, want: &str| {
        assert_eq!(without_tests(text).collect::<Vec<_>>().join("\n"), want, "{text}");
    };
    check("a\nb", "a\nb");
    check("#[cfg(test)]\nmod tests;\nuse crate::lag;", "use crate::lag;");
    check("#[cfg(test)]\nmod a;\nmod b;\n#[cfg(test)]\npub use c::{\n    d,\n};\ne", "mod b;\ne");
    check("a\n#[cfg(test)]\nmod tests {\n    use b;\n    fn c() {\n    }\n}\nd", "a\nd");
    check("#[cfg(test)]\n#[derive(Debug)]\npub struct A(u8);\nb", "b");
    check(
        "impl A {\n    #[cfg(test)]\n    pub fn b(&self) {\n        c;\n    }\n\n    fn d() {}\n}",
        "impl A {\n\n    fn d() {}\n}",
    );
    check("struct A {\n    #[cfg(test)]\n    b: u8,\n    c: u8,\n}", "struct A {\n    c: u8,\n}");
}

#[test]
fn rooms_use_only_what_the_table_allows() {
    let rooms: BTreeSet<&str> = MAY_USE.iter().map(|(room, _)| *room).chain(MAY_USE_ALL).collect();
    let mut wrong = Vec::new();
    for (room, path) in house() {
        assert!(rooms.contains(room.as_str()), "{} is in no room of the table", path.display());
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == room) else { continue };
        for used in rooms_named(&code(&path)) {
            let other_room = rooms.contains(used.as_str()) && used != room;
            if other_room && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{} uses {used}, which {room} may not", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn stores_and_exporters_are_named_only_where_they_live() {
    let kept = [
        ("mongodb::", &["sink/store"][..]),
        ("fred::", &["lag/store"][..]),
        ("prometheus::", &["telemetry"][..]),
        ("rskafka::", &["protocol/api", "client/connection", "client/error", "client/handshake"][..]),
    ];
    let src = root().join("src");
    let mut wrong = Vec::new();
    for (_, path) in house() {
        let code = code(&path);
        let place = path.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
        for (name, homes) in kept {
            if code.contains(name) && !homes.iter().any(|home| place.starts_with(home)) {
                wrong.push(format!("{place} names {name}, which lives in {}", homes.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_else_stands_at_the_top() {
    let known =
        ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "compose", "grafana", "justfile", "protocol-tests", "src"];
    // What builds and runs leave behind, and git ignores.
    let made = ["target", "highwater-data"];
    for entry in fs::read_dir(root()).expect("the root") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let expected = name.starts_with('.') || known.contains(&name.as_str()) || made.contains(&name.as_str());
        assert!(expected, "{name} is not part of the drawing");
    }
    for name in known {
        assert!(root().join(name).exists(), "{name} is missing");
    }
}

/// Every metric that a dashboard or an alert names is registered or written somewhere in `src`.
#[test]
fn panels_show_metrics_that_exist() {
    let sources: String = house().iter().map(|(_, path)| fs::read_to_string(path).expect("a source file")).collect();
    let mut panels = Vec::new();
    files_below(&root().join("grafana"), &mut panels);
    let mut seen = 0;
    for path in panels {
        for name in metric_names(&fs::read_to_string(&path).expect("a text file")) {
            seen += 1;
            let published = registered_names(&name)
                .iter()
                .any(|name| sources.contains(&format!("\"{name}\"")) || sources.contains(&format!("{name} ")));
            assert!(published, "{} shows {name}, which nothing publishes", path.display());
        }
    }
    assert!(seen > 0, "no panel names a metric of ours");
}

/// An alert that has no series is quiet for ever: those on the lag hold however few series are published.
/// `just rules` plays them; that none is forgotten is seen here.
#[test]
fn every_alert_has_a_case() {
    let read = |name: &str| fs::read_to_string(root().join("grafana/alerts").join(name)).expect("alert rules");
    let (rules, cases) = (read("lag.yaml"), read("cases/lag.yaml"));
    let named: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(named.len() > 5, "{named:?}");
    for alert in named {
        assert!(cases.contains(&format!("- alertname: {alert}\n")), "{alert} is not seen to wake anybody");
        assert!(cases.contains(&format!("alertname: {alert}, eval_time")), "{alert} is not seen to be quiet");
    }
}

#[test]
fn alerts_watch_what_is_published_on_every_level() {
    let rules = fs::read_to_string(root().join("grafana/alerts/lag.yaml")).expect("the alert rules");
    // What nodes say of their leases, and monitors of their clusters, is published before anything that has a level.
    let always = ["highwater_lag_lease_", "highwater_lag_cluster_known"];
    let has_level =
        |name: &String| name.starts_with("highwater_lag_") && !always.iter().any(|always| name.starts_with(always));
    let watched: Vec<String> = metric_names(&rules).into_iter().filter(has_level).collect();
    assert!(watched.len() > 5, "{watched:?}");
    for series in [Series::Group, Series::Topic, Series::Partition, Series::Detail] {
        let config = Config { series, ..Config::default() };
        let pages = exposition(&config, Arc::new(Round::default()), 0, Dialect::Prometheus);
        let text = String::from_utf8(pages.flatten().collect()).expect("text");
        for name in &watched {
            assert!(text.contains(&format!("# TYPE {name} ")), "{name} is not published with --series {series:?}");
        }
    }
}

fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'));
    let ours = ["highwater_", "kafka_consumergroup_", "kafka_messages_", "kafka_processing_"];
    words.filter(|word| ours.iter().any(|start| word.starts_with(start))).map(str::to_owned).collect()
}

/// A published name as it may stand in the source: the exporter adds the unit and `_total`, a histogram its three series.
fn registered_names(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    for ending in ["_bucket", "_sum", "_count", "_total", "_seconds", "_bytes"] {
        if let Some(shorter) = names.last().and_then(|name| name.strip_suffix(ending)) {
            names.push(shorter.to_owned());
        }
    }
    names
}
