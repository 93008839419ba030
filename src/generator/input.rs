//! Records from a file or from standard input: one JSON value a line (NDJSON), sent byte for byte.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio_util::sync::CancellationToken;

use super::run::Offering;
use super::{Metrics, Summary};
use crate::client::{Producer, ProducerRecord, Topic};

/// Which lines to send, and where.
#[derive(Debug, Clone)]
pub struct Config {
    /// `-` is standard input.
    pub input: PathBuf,
    pub topic: Topic,
    /// The top-level field whose text becomes the record's key; a line without it has no key.
    pub key_field: Option<String>,
    /// Send lines that are not JSON as they are, instead of refusing them.
    pub verbatim: bool,
    /// A longer line is refused, so that a file without line ends cannot fill the memory.
    pub line_bytes_max: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{}:{line}: not JSON: {reason}; nothing was sent of this line (`--verbatim` sends lines as they are)", file.display())]
    NotJson { file: PathBuf, line: u64, reason: String },
    #[error("{}:{line}: longer than {max} bytes", file.display())]
    LineTooLong { file: PathBuf, line: u64, max: usize },
}

/// How many lines are read between two looks at the stop signal.
const CHUNK: usize = 256;

/// Sends every line until the end, `stop` or the first line that cannot be sent; then waits for every receipt. Blank
/// lines are not records. The lines before a bad one have been sent, and the summary counts them.
pub async fn run(
    lines: Lines,
    producer: &Producer,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> (Summary, Result<(), Error>) {
    let offering = Offering::new(producer, &metrics.counters);
    let outcome = offering.settled(|offering| send_all(lines, offering, stop)).await;
    (metrics.counters.summary(), outcome)
}

async fn send_all(mut lines: Lines, mut offering: Offering<'_>, stop: &CancellationToken) -> Result<(), Error> {
    let config = &*Arc::clone(&lines.config);
    loop {
        let chunk = async {
            for _ in 0..CHUNK {
                let Some((number, line)) = lines.next().await? else { return Ok(false) };
                let key = check(config, number, line)?;
                let record = ProducerRecord { key: key.as_deref(), ..ProducerRecord::new(&config.topic, line) };
                if !offering.offer(record).await {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let more = stop.run_until_cancelled(chunk).await.unwrap_or(Ok(false));
        let settled = offering.hand_over().await;
        if !(more? && settled) {
            return Ok(());
        }
    }
}

/// The lines of the input, numbered from 1 as an editor numbers them.
pub struct Lines {
    config: Arc<Config>,
    input: Box<dyn AsyncBufRead + Send + Unpin>,
    line: Vec<u8>,
    number: u64,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("config", &self.config).field("number", &self.number).finish_non_exhaustive()
    }
}

impl Lines {
    /// Opens the input, and reads nothing yet.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let input: Box<dyn AsyncBufRead + Send + Unpin> = if config.input == Path::new("-") {
            Box::new(BufReader::new(tokio::io::stdin()))
        } else {
            let opened = tokio::fs::File::open(&config.input).await;
            Box::new(BufReader::with_capacity(1 << 16, opened.map_err(|source| read_error(&config, source))?))
        };
        Ok(Self { config: Arc::new(config), input, line: Vec::new(), number: 0 })
    }

    /// The next line that is not blank, without its line end.
    async fn next(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        loop {
            self.line.clear();
            let longest = self.config.line_bytes_max as u64 + 1;
            let mut bounded = (&mut self.input).take(longest);
            let read = bounded.read_until(b'\n', &mut self.line).await;
            if read.map_err(|source| read_error(&self.config, source))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.line.last() != Some(&b'\n') && self.line.len() as u64 == longest {
                let max = self.config.line_bytes_max;
                return Err(Error::LineTooLong { file: self.config.input.clone(), line: self.number, max });
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        Ok(Some((self.number, line.strip_suffix(b"\r").unwrap_or(line))))
    }
}

fn read_error(config: &Config, source: std::io::Error) -> Error {
    Error::Read { file: config.input.clone(), source }
}

/// The line's key, where one is asked for and there; an error for a line that is not JSON.
fn check(config: &Config, number: u64, line: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    if config.verbatim && config.key_field.is_none() {
        return Ok(None);
    }
    match key(config.key_field.as_deref(), line) {
        Ok(key) => Ok(key),
        Err(_) if config.verbatim => Ok(None),
        Err(reason) => Err(Error::NotJson { file: config.input.clone(), line: number, reason: reason.to_string() }),
    }
}

/// A text field gives its text, any other value its JSON; a missing or null field gives no key.
fn key(field: Option<&str>, line: &[u8]) -> Result<Option<Vec<u8>>, serde_json::Error> {
    let Some(field) = field else {
        serde_json::from_slice::<&RawValue>(line)?;
        return Ok(None);
    };
    Ok(match serde_json::from_slice::<serde_json::Value>(line)?.get_mut(field).map(serde_json::Value::take) {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(text)) => Some(text.into_bytes()),
        Some(other) => Some(other.to_string().into_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let check = |field, line: &str, want: Result<Option<&str>, ()>| {
            let got = key(field, line.as_bytes()).map_err(|_| ());
            assert_eq!(got, want.map(|key| key.map(|key| key.as_bytes().to_vec())), "{line}");
        };
        check(None, r#"{"id":"a"}"#, Ok(None));
        check(Some("id"), r#"{"id":"a"}"#, Ok(Some("a")));
        check(Some("id"), r#"{"id":17}"#, Ok(Some("17")));
        check(Some("id"), r#"{"id":null}"#, Ok(None));
        check(Some("id"), r#"[1]"#, Ok(None));
        check(None, r#"{"id":"#, Err(()));
        check(Some("id"), "", Err(()));
    }

    #[tokio::test]
    async fn lines_are_numbered_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("in.ndjson");
        std::fs::write(&input, "{}\r\n\n  \n[1]\n123456789\n0123456789\n").unwrap();
        let config = Config { input, topic: "t".into(), key_field: None, verbatim: false, line_bytes_max: 9 };
        let mut lines = Lines::open(config).await.unwrap();
        assert_eq!(lines.next().await.unwrap(), Some((1, &b"{}"[..])));
        assert_eq!(lines.next().await.unwrap(), Some((4, &b"[1]"[..])));
        assert_eq!(lines.next().await.unwrap(), Some((5, &b"123456789"[..])));
        let error = lines.next().await.unwrap_err().to_string();
        assert!(error.ends_with("in.ndjson:6: longer than 9 bytes"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let input = PathBuf::from("/nowhere/in.ndjson");
        let config = Config { input, topic: "t".into(), key_field: None, verbatim: false, line_bytes_max: 9 };
        let error = Lines::open(config).await.expect_err("no such file").to_string();
        assert!(error.starts_with("/nowhere/in.ndjson: No such file"), "{error}");
    }
}
