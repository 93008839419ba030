//! The settings of every room, from one file.
//!
//! Precedence: flag, then environment variable, then file, then default. The file is TOML with one table a room; a key
//! that no room knows is an error, not a silence.

use std::path::Path;

use serde::Deserialize;

use crate::{gateway, generator, lag, pipeline, sink};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub generator: generator::Config,
    pub pipeline: pipeline::Config,
    pub sink: sink::Config,
    pub lag: lag::Config,
    pub gateway: gateway::Config,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{file}: {source}")]
    Read { file: String, source: std::io::Error },
    #[error("{file}: {reason}")]
    Parse { file: String, reason: String },
}

impl Config {
    /// The file's settings over the defaults; without a file, the defaults.
    pub fn read(file: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = file else { return Ok(Self::default()) };
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|reason| Error::Parse { file, reason }),
            Err(source) => Err(Error::Read { file, source }),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_overrides_only_what_it_names() {
        let config =
            Config::parse("[pipeline]\ngroup_id = \"g\"\n[pipeline.rules]\noldest_version = \"3.1\"\n").unwrap();
        let default = pipeline::Config::default();
        assert_eq!((config.pipeline.group_id.as_str(), &config.pipeline.input), ("g", &default.input));
        assert_eq!(config.pipeline.rules.required, default.rules.required);
        assert_eq!(config.pipeline.rules.oldest_version.to_string(), "3.1");
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let check = |text: &str, want: &str| {
            let error = Config::parse(text).expect_err("a mistake");
            assert!(error.contains(want), "{error}");
        };
        check("[pipline]\n", "unknown field `pipline`");
        check("[generator]\nrate = \"fast\"\n", "\"fast\" is not a rate");
        check("[sink\n", "line 1");
    }
}
