//! The settings of every room, from one file.
//!
//! Precedence: flag, then environment variable, then file, then default. The file is TOML with one table a room; a key
//! that no room knows is an error, not a silence.

use std::path::Path;

use serde::Deserialize;

use crate::limits::Limits;
use crate::telemetry::otlp;
use crate::{gateway, generator, lag, pipeline, sink};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub generator: generator::Config,
    pub pipeline: pipeline::Config,
    pub sink: sink::Config,
    pub lag: lag::Config,
    pub gateway: gateway::Config,
    pub otlp: otlp::Config,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{file}: {source}")]
    Read { file: String, source: std::io::Error },
    #[error("{file}: {reason}")]
    Parse { file: String, reason: String },
    #[error("settings that cannot be:\n  {}", .0.join("\n  "))]
    Mistakes(Vec<String>),
}

impl Config {
    /// The file's settings over the defaults, which are those of a verb (in TOML, too) over those of the rooms.
    pub fn read(file: Option<&Path>, of_verb: &str) -> Result<Self, Error> {
        let named = |path: &Path| path.display().to_string();
        let text = match file {
            Some(path) => std::fs::read_to_string(path).map_err(|source| Error::Read { file: named(path), source })?,
            None => String::new(),
        };
        let parse_error = |reason| Error::Parse { file: file.map(named).unwrap_or_default(), reason };
        Self::parse(&text, of_verb).map_err(parse_error)
    }

    fn parse(text: &str, of_verb: &str) -> Result<Self, String> {
        let said = |error: toml::de::Error| mistake(text, &error);
        // Alone first: only so does a mistake have its line.
        toml::from_str::<Self>(text).map_err(said)?;
        let mut settings: toml::Table = of_verb.parse().map_err(|error| mistake(of_verb, &error))?;
        lay(text.parse().map_err(said)?, &mut settings);
        settings.try_into().map_err(said)
    }

    /// Whether everything that was set makes sense.
    pub fn check(&self) -> Result<(), Error> {
        let of = |room: &'static str, check: &dyn Fn(&mut Limits)| {
            let mut limits = Limits::of(room);
            check(&mut limits);
            limits.mistakes()
        };
        let mistakes = [
            of("generator", &|limits| self.generator.check(limits)),
            of("pipeline", &|limits| self.pipeline.check(limits)),
            of("sink", &|limits| self.sink.check(limits)),
            of("lag", &|limits| self.lag.check(limits)),
            of("gateway", &|limits| self.gateway.check(limits)),
            of("otlp", &|limits| self.otlp.check(limits)),
        ]
        .concat();
        if mistakes.is_empty() { Ok(()) } else { Err(Error::Mistakes(mistakes)) }
    }
}

/// A mistake with its place. The line itself is not shown, nor what stands where something else was expected: either may be a
/// secret.
fn mistake(text: &str, error: &toml::de::Error) -> String {
    let what = without_value(error.message());
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return what };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|it| *it != '\n').count() + 1;
    format!("line {line}, column {column}: {what}")
}

/// Of a value of the wrong kind only the kind, and of an unknown variant its name only where it is a word.
fn without_value(message: &str) -> String {
    let Some((what, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    let is_word = |name: &str| name.chars().all(|it| it.is_ascii_alphanumeric() || "-_".contains(it));
    let hidden = match what.strip_prefix("unknown variant `") {
        Some(variant) if is_word(variant.trim_end_matches('`')) => return message.to_owned(),
        Some(_) => "unknown variant",
        None if what.starts_with("invalid type: ") || what.starts_with("invalid value: ") => {
            what.split(['"', '`']).next().unwrap_or_default().trim_end()
        }
        None => return message.to_owned(),
    };
    format!("{hidden}, expected {expected}")
}

/// Lays some settings over others, table by table.
fn lay(over: toml::Table, settings: &mut toml::Table) {
    for (key, value) in over {
        match (settings.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(over)) => lay(over, below),
            (_, value) => drop(settings.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_overrides_only_what_it_names() {
        let config =
            Config::parse("[pipeline]\ngroup_id = \"g\"\n[pipeline.rules]\noldest_version = \"3.1\"\n", "").unwrap();
        let default = pipeline::Config::default();
        assert_eq!((config.pipeline.group_id.as_str(), &config.pipeline.input), ("g", &default.input));
        assert_eq!(config.pipeline.rules.required, default.rules.required);
        assert_eq!(config.pipeline.rules.oldest_version.to_string(), "3.1");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let check = |text: &str, want: &str| {
            let error = Config::parse(text, "").expect_err("a mistake");
            assert!(error.contains(want), "{error}");
        };
        check("[pipline]\n", "unknown field `pipline`");
        check("[generator]\nrate = \"fast\"\n", "\"fast\" is not a rate");
        check("[sink\n", "line 1");
        check("[lag]\n\n  rounds = 7\n", "line 3, column 3: unknown field `rounds`");
        check("[otlp]\ncompression = 'zip'\n", "line 2, column 15: unknown variant `zip`, expected `gzip`");
    }

    #[test]
    fn mistakes_do_not_show_what_may_be_a_secret() {
        let check = |text: &str, want: &str| {
            let error = Config::parse(text, "").expect_err("a mistake");
            assert!(error.contains(want) && !error.contains("secret") && !error.contains("4711"), "{text}: {error}");
        };
        check("[otlp]\nheaders = 'authorization=secret'\n", "line 2, column 11: invalid type: string, expected a map");
        check("[otlp]\nheaders = { authorization = 4711 }\n", "line 2, column 29: invalid type: integer, expected");
        check("[otlp]\nheaders = { authorization = Bearer secret }\n", "line 2, column ");
        check("[otlp]\nheaders = { authorization = 'secret\n", "line 2, column ");
        check(
            "otlp = 'http://a?key=secret, expected \"b\"'\n",
            "line 1, column 8: invalid type: string, expected struct",
        );
        check("[sink]\nstore = 'mongodb://a:secret@b'\n", "line 2, column 9: unknown variant, expected ");
        check("[sink.store]\nmongodb = 'mongodb://a:secret@b'\n", "invalid type: string, expected struct");
        check("[lag]\nredis = { url = 'secret' }\n", "line 2, column 9: invalid type: map, expected a string");
        check("[lag]\nredis = 'redis://:secret@a' b\n", "line 2, column ");
    }

    #[test]
    fn a_file_wins_over_what_a_verb_sets() {
        let check = |text: &str, want| {
            let config = Config::parse(text, "[lag]\ninterval_seconds = 1\nlist_groups_every = 1\n").unwrap();
            let lag = &config.lag;
            assert_eq!((lag.interval_seconds as u64, lag.list_groups_every, lag.status_window), want, "{text}");
        };
        check("", (1, 1, 10));
        check("[lag]\ninterval_seconds = 30\n", (30, 1, 10));
        check("[lag]\nlist_groups_every = 3\nstatus_window = 5\n", (1, 3, 5));
    }

    #[test]
    fn every_setting_that_cannot_be_is_said() {
        let text = "
            [generator]
            invalid_ratio = nan
            sources = 0
            shapes = []
            limit = 0
            [generator.topics]
            log_event = ''
            [pipeline]
            group_id = ''
            output = 'user-login'
            drain_seconds = 0
            rules = { required = ['a', ''] }
            [sink]
            topics = []
            batch_documents_max = 0
            batches_in_flight_max = 0
            drain_seconds = 0
            store = { mongodb = { uri = '' } }
            [lag]
            interval_seconds = 0
            list_groups_every = 0
            log_starts_every = 0
            history_samples_max = 0
            status_window = 0
            cluster_name = ''
            redis_prefix = ''
            redis = 'http://user:secret@host'
            node_id = ''
            node_url = 'http://lag:9308'
            lease_seconds = 0
            [gateway]
            topic = 'a b'
            body_bytes_max = 0
            concurrent_max = 0
            timeout_seconds = 0
            [otlp]
            endpoint = 'grpc://secret'
            interval_seconds = 0
            timeout_seconds = 0
            headers = { 'a b' = 'secret' }
        ";
        let said = Config::parse(text, "").unwrap().check().unwrap_err().to_string();
        let keys: Vec<&str> = said.lines().skip(1).filter_map(|line| line.trim().split(' ').next()).collect();
        let want = "generator.invalid_ratio generator.sources generator.shapes generator.limit \
            generator.topics.log_event pipeline.group_id pipeline.output pipeline.rules.required \
            pipeline.drain_seconds sink.topics sink.store.mongodb.uri sink.batch_documents_max \
            sink.batches_in_flight_max sink.drain_seconds lag.interval_seconds lag.list_groups_every \
            lag.log_starts_every lag.history_samples_max lag.status_window lag.cluster_name lag.redis_prefix \
            lag.lease_seconds lag.node_id lag.node_url lag.redis \
            gateway.topic gateway.body_bytes_max gateway.concurrent_max gateway.timeout_seconds \
            otlp.interval_seconds otlp.timeout_seconds otlp.endpoint otlp.headers";
        assert_eq!(keys, want.split_whitespace().collect::<Vec<_>>(), "{said}");
        assert!(said.contains("generator.invalid_ratio = NaN: must be a number from 0.0 to 1.0\n"), "{said}");
        assert!(!said.contains("secret"), "{said}");
        assert!(Config::default().check().is_ok());
    }
}
