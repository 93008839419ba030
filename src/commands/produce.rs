//! `highwater produce`: a record a line.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio_util::sync::CancellationToken;

use super::format::Format;
use super::output;
use super::record_json::Line;
use super::session::Session;
use crate::app::{Failure, Status, stop_on_signal};
use crate::cli::{self, Codec};
use crate::client::{Compression, Error, ErrorCode, Producer, ProducerRecord, Receipt, Topic, TopicPartition};

/// A longer line is no record that Kafka would take.
const LINE_BYTES_MAX: usize = 64 << 20;
/// Records whose outcome is not known yet; past that the oldest is waited for.
const UNSETTLED_MAX: usize = 100_000;
/// How long the last records may take to be acknowledged, beyond the delivery timeout.
const GRACE: std::time::Duration = std::time::Duration::from_secs(5);

/// Sends every line until the end, a signal, or the first record that is not written.
pub async fn produce(args: cli::Produce) -> Result<(), Failure> {
    let shape = Shape::of(&args).map_err(Failure::of(Status::Usage))?;
    let stop = stop_on_signal()?;
    let mut lines = Lines::open(args.file.as_deref()).await?;
    let session = Session::open(&args.asking, "produce").await?;
    let topic = Topic::from(args.topic.as_str());
    check_partition(&session, &topic, args.partition).await?;
    let config = session.settings.producer_as(args.compression.map(compression))?;
    let grace = config.delivery_timeout.saturating_add(GRACE);
    let producer = session.client.producer(config)?;
    let mut sending = Sending { producer: &producer, topic, args: &args, shape, unsettled: VecDeque::new() };
    let outcome = sending.all(&mut lines, &stop).await;
    let settled = sending.settle(0).await;
    let closed = producer.close(grace).await;
    session.client.close().await;
    outcome.and(settled)?;
    closed.map_err(Failure::from)
}

/// A topic that is not there is told at once, with what may have been meant, unless the brokers would make it.
async fn check_partition(session: &Session, topic: &Topic, partition: Option<i32>) -> Result<(), Failure> {
    let count = session.client.partition_count(topic).await.map_err(|error| error.of("Metadata"))?;
    match (count, partition) {
        (None, _) if session.settings.client.allow_auto_create_topics => Ok(()),
        (None, _) => Err(session.about_topic(topic, &Error::from(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)).await),
        (Some(count), Some(number)) if number >= count => {
            let message = format!("topic {topic} has no partition {number}, but {count} from 0 on");
            Err(Failure::new(Status::Data, message))
        }
        _ => Ok(()),
    }
}

fn compression(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

/// What a line holds.
#[derive(Debug)]
enum Shape {
    Value,
    KeyAndValue { delimiter: Vec<u8> },
    Format(Format),
    Json,
}

impl Shape {
    fn of(args: &cli::Produce) -> Result<Self, String> {
        match (&args.format, &args.key_delimiter) {
            (Some(format), _) if format == "json" => Ok(Self::Json),
            (Some(format), _) => Format::parse(format).and_then(Format::for_reading).map(Self::Format),
            (None, Some(delimiter)) if delimiter.is_empty() => Err("the key delimiter is empty".to_owned()),
            (None, Some(delimiter)) => Ok(Self::KeyAndValue { delimiter: unescaped(delimiter)? }),
            (None, None) => Ok(Self::Value),
        }
    }

    fn read<'a>(&self, line: &'a [u8]) -> Result<Read<'a>, String> {
        match self {
            Self::Value => Ok(Read::of(None, line)),
            Self::KeyAndValue { delimiter } => {
                let at = line.windows(delimiter.len()).position(|window| window == delimiter);
                Ok(match at {
                    Some(at) => Read::of(Some(&line[..at]), &line[at + delimiter.len()..]),
                    None => Read::of(None, line),
                })
            }
            Self::Format(format) => {
                let fields = format.read(line)?;
                Ok(Read {
                    topic: fields.topic.map(Topic::from),
                    partition: fields.partition,
                    timestamp_ms: fields.timestamp_ms,
                    key: fields.key.map(Into::into),
                    value: fields.value.map(Into::into),
                    headers: Vec::new(),
                })
            }
            Self::Json => Read::of_json(line),
        }
    }
}

/// `\t` and its like, typed into a shell.
fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    Format::parse(&text.replace('%', "%%"))?.text()
}

type Bytes<'a> = std::borrow::Cow<'a, [u8]>;

/// What a line says.
#[derive(Debug, Default)]
struct Read<'a> {
    topic: Option<Topic>,
    partition: Option<i32>,
    timestamp_ms: Option<i64>,
    key: Option<Bytes<'a>>,
    value: Option<Bytes<'a>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl<'a> Read<'a> {
    fn of(key: Option<&'a [u8]>, value: &'a [u8]) -> Self {
        Self { key: key.map(Into::into), value: Some(value.into()), ..Self::default() }
    }

    fn of_json(line: &[u8]) -> Result<Self, String> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let header = |header: &super::record_json::HeaderLine<'_>| Ok((header.key.to_string(), header.value()?));
        Ok(Self {
            // A copy goes where the command line says; where it came from is not where it goes.
            topic: None,
            partition: None,
            timestamp_ms: line.timestamp,
            key: line.key()?.map(Into::into),
            value: line.value()?.map(Into::into),
            headers: line.headers.iter().map(header).collect::<Result<_, String>>()?,
        })
    }

    /// With `-Z`, what is empty is null.
    fn without_empty(mut self) -> Self {
        self.key = self.key.filter(|key| !key.is_empty());
        self.value = self.value.filter(|value| !value.is_empty());
        self
    }
}

/// Records on their way, in the order of their lines.
struct Sending<'a> {
    producer: &'a Producer,
    topic: Topic,
    args: &'a cli::Produce,
    shape: Shape,
    unsettled: VecDeque<(u64, Topic, Receipt)>,
}

impl Sending<'_> {
    async fn all(&mut self, lines: &mut Lines, stop: &CancellationToken) -> Result<(), Failure> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                line = lines.next() => {
                    let Some((number, line)) = line? else { return Ok(()) };
                    self.one(number, line).await?;
                    self.settle(UNSETTLED_MAX).await?;
                }
                settled = self.settle_first(), if !self.unsettled.is_empty() => settled?,
            }
        }
    }

    async fn one(&mut self, number: u64, line: &[u8]) -> Result<(), Failure> {
        let wrong = |why: String| Failure::new(Status::Data, format!("line {number}: {why}"));
        let mut read = self.shape.read(line).map_err(wrong)?;
        if self.args.null {
            read = read.without_empty();
        }
        let topic = read.topic.unwrap_or_else(|| self.topic.clone());
        let mut headers: Vec<(&str, Option<&[u8]>)> =
            read.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        headers.extend(self.args.headers.iter().map(|it| (it.key.as_str(), Some(it.value.as_bytes()))));
        let record = ProducerRecord {
            topic: &topic,
            partition: self.args.partition.or(read.partition),
            key: self.args.key.as_deref().map(str::as_bytes).or(read.key.as_deref()),
            value: read.value.as_deref(),
            headers: &headers,
            timestamp_ms: read.timestamp_ms,
        };
        let receipt = self.producer.enqueue(record).await.map_err(|error| not_written(number, &error))?;
        self.unsettled.push_back((number, topic, receipt));
        Ok(())
    }

    /// Waits until no more than `most` outcomes are open; the first failure ends it.
    async fn settle(&mut self, most: usize) -> Result<(), Failure> {
        while self.unsettled.len() > most {
            self.settle_first().await?;
        }
        Ok(())
    }

    /// Waits for the oldest outcome. Cancel safe.
    async fn settle_first(&mut self) -> Result<(), Failure> {
        let Some((number, topic, receipt)) = self.unsettled.front_mut() else { return Ok(()) };
        let written = receipt.await.map_err(|error| not_written(*number, &error));
        let of = written.map(|written| (TopicPartition::new(topic.clone(), written.partition), written.offset));
        self.unsettled.pop_front();
        match of? {
            (of, offset) if self.args.verbose => output::print(&format!("{of} {}\n", output::or_none(offset))),
            _ => Ok(()),
        }
    }
}

fn not_written(number: u64, error: &Error) -> Failure {
    Failure::new(Status::of(error), format!("line {number} was not written: {error}"))
}

/// The lines of the input, numbered from 1 as an editor numbers them.
struct Lines {
    file: PathBuf,
    input: Box<dyn AsyncBufRead + Send + Unpin>,
    line: Vec<u8>,
    /// Whether `line` is whole, and was given out.
    given: bool,
    number: u64,
}

impl Lines {
    async fn open(file: Option<&Path>) -> Result<Self, Failure> {
        let file = file.unwrap_or(Path::new("-")).to_owned();
        let input: Box<dyn AsyncBufRead + Send + Unpin> = match file == Path::new("-") {
            true => Box::new(BufReader::with_capacity(1 << 16, tokio::io::stdin())),
            false => match tokio::fs::File::open(&file).await {
                Ok(opened) => Box::new(BufReader::with_capacity(1 << 16, opened)),
                Err(error) => return Err(unreadable(&file, &error)),
            },
        };
        Ok(Self { file, input, line: Vec::new(), given: false, number: 0 })
    }

    /// The next line, without its end; a last one without an end counts, too. Cancel safe: what was read of a line stays.
    async fn next(&mut self) -> Result<Option<(u64, &[u8])>, Failure> {
        if std::mem::take(&mut self.given) {
            self.line.clear();
        }
        let longest = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut self.input).take(longest).read_until(b'\n', &mut self.line).await;
        if read.map_err(|error| unreadable(&self.file, &error))? == 0 && self.line.is_empty() {
            return Ok(None);
        }
        (self.number, self.given) = (self.number + 1, true);
        match self.line.strip_suffix(b"\n") {
            None if self.line.len() as u64 == longest => {
                let message = format!("line {} is longer than {LINE_BYTES_MAX} bytes", self.number);
                Err(Failure::new(Status::Data, message))
            }
            Some(line) => Ok(Some((self.number, line.strip_suffix(b"\r").unwrap_or(line)))),
            None => Ok(Some((self.number, &self.line))),
        }
    }
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Status::NoInput, format!("{} cannot be read: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_records() {
        let check = |shape: &Shape, line: &str, want: (Option<&str>, Option<&str>)| {
            let read = shape.read(line.as_bytes()).unwrap().without_empty();
            let text = |bytes: &Option<Bytes<'_>>| bytes.as_ref().map(|it| String::from_utf8_lossy(it).into_owned());
            assert_eq!((text(&read.key).as_deref(), text(&read.value).as_deref()), want, "{line:?}");
        };
        check(&Shape::Value, "a:b", (None, Some("a:b")));
        check(&Shape::Value, "", (None, None));
        let delimited = Shape::KeyAndValue { delimiter: b"::".to_vec() };
        check(&delimited, "a::b::c", (Some("a"), Some("b::c")));
        check(&delimited, "a:b", (None, Some("a:b")));
        check(&delimited, "a::", (Some("a"), None));
        check(&delimited, "::b", (None, Some("b")));
        check(&Shape::Json, r#"{"key":"k","value":"v","offset":7}"#, (Some("k"), Some("v")));
        assert!(Shape::Json.read(b"{").is_err());
        assert_eq!(unescaped("\\t").unwrap(), b"\t");
        assert_eq!(unescaped("%").unwrap(), b"%");
    }
}
