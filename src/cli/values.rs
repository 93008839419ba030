//! What people type for one value: a setting, some partitions, a moment, a place in a log.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp};

/// `key=value`; the value may be empty, and may hold further `=`.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    pub value: String,
}

/// Without the value, which may be a secret.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.key)
    }
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_owned(), value: value.to_owned() })
            }
            _ => Err(format!("{text:?} is not KEY=VALUE")),
        }
    }
}

/// `name=host:port,host:port`: a cluster among several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCluster {
    pub name: String,
    pub bootstrap_servers: Vec<String>,
}

impl FromStr for NamedCluster {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not NAME=HOST:PORT,HOST:PORT");
        let (name, servers) = text.split_once('=').ok_or_else(wrong)?;
        let servers: Vec<_> = servers.split(',').map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect();
        match name.trim().is_empty() || servers.is_empty() {
            true => Err(wrong()),
            false => Ok(Self { name: name.trim().to_owned(), bootstrap_servers: servers }),
        }
    }
}

/// `topic`, or `topic:0,3` for some of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitions {
    pub topic: String,
    /// `None` for all of them.
    pub numbers: Option<Vec<i32>>,
}

impl FromStr for Partitions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not TOPIC or TOPIC:PARTITION,PARTITION");
        let (topic, numbers) = match text.split_once(':') {
            Some((topic, numbers)) => (topic, Some(numbers)),
            None => (text, None),
        };
        let number = |text: &str| text.parse().ok().filter(|number: &i32| *number >= 0).ok_or_else(wrong);
        let numbers = numbers.map(|all| all.split(',').map(number).collect()).transpose()?;
        if topic.is_empty() { Err(wrong()) } else { Ok(Self { topic: topic.to_owned(), numbers }) }
    }
}

/// A point in time, or one that is told from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// In milliseconds since 1970.
    At(i64),
    Ago(Duration),
}

impl Moment {
    pub fn at_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::At(ms) => ms,
            Self::Ago(time) => now_ms.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)).max(0),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    /// 13 digits are milliseconds since 1970 and 10 digits seconds; `-1h` is an hour ago; otherwise a date and a time, in
    /// UTC unless a zone is given.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no moment: write 2026-01-31T08:00:00Z, 2026-01-31, -1h, or milliseconds since 1970")
        };
        if let Some(time) = text.strip_prefix('-') {
            return span(time).map(Self::Ago).map_err(|_| wrong());
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number: i64 = text.parse().map_err(|_| wrong())?;
            return match text.len() {
                13 => Ok(Self::At(number)),
                10 => Ok(Self::At(number * 1000)),
                _ => Err(wrong()),
            };
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::At(time.as_millisecond()));
        }
        let time: DateTime = text.parse().map_err(|_| wrong())?;
        let time = time.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
        Ok(Self::At(time.timestamp().as_millisecond()))
    }
}

/// A length of time: `90s`, `1h30m`, `2 days`, or as ISO 8601 has it, `PT1H30M`, `P2D`. A day has 24 hours.
pub fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a length of time: write 30s, 1h30m, 2d, or PT1H30M");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(time).map_err(|_| wrong())
}

/// A length of time in whole seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let time = span(text)?;
    match time.subsec_nanos() {
        0 => Ok(time),
        _ => Err(format!("{text:?} is not a number of whole seconds")),
    }
}

/// Where to begin, or to end, in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Start,
    End,
    /// This offset.
    At(i64),
    /// So many records before the end.
    BeforeEnd(i64),
    /// So many records after the start.
    AfterStart(i64),
    /// The first record at or after a moment.
    Since(Moment),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no place in a topic: write start, end, N, -N, +N or @TIME");
        let number = |text: &str| text.parse().ok().filter(|number: &i64| *number >= 0).ok_or_else(wrong);
        match text {
            "start" | "beginning" | "earliest" => Ok(Self::Start),
            "end" | "latest" => Ok(Self::End),
            _ => match text.split_at_checked(1) {
                Some(("@", moment)) => moment.parse().map(Self::Since),
                Some(("-", count)) => number(count).map(Self::BeforeEnd),
                Some(("+", count)) => number(count).map(Self::AfterStart),
                _ => number(text).map(Self::At),
            },
        }
    }
}

/// `-o`: where to begin and, with kcat's `e@TIME` or rpk's `FROM:TO`, where to end. `s@TIME` is `@TIME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    From(Place),
    To(Place),
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(moment) = text.strip_prefix("e@") {
            return moment.parse().map(|moment| Self::To(Place::Since(moment)));
        }
        let from = if text.starts_with("s@") { &text[1..] } else { text };
        from.parse().map(Self::From)
    }
}

/// Where to listen: an address and a port, or a name that stands for one. Of several addresses the first of version 4 is
/// meant, which is where clients of `localhost` look.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    let wrong =
        |why: &dyn fmt::Display| format!("{text:?} is nowhere to listen ({why}): write 127.0.0.1:PORT or NAME:PORT");
    let found: Vec<SocketAddr> = text.to_socket_addrs().map_err(|error| wrong(&error))?.collect();
    let chosen = found.iter().find(|it| it.is_ipv4()).or(found.first());
    chosen.copied().ok_or_else(|| wrong(&"no address has that name"))
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub key: String,
    pub value: String,
}

impl FromStr for Header {
    type Err = String;

    /// `key=value`; the value may be empty, and may hold further `=`. A key alone is more often a slip than a null value,
    /// which a record in JSON can have.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            _ => Err(format!("{text:?} is not KEY=VALUE; an empty value is KEY=, and a null value takes `-f json`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_headers() {
        let check = |text: &str, want: Option<(&str, &str)>| {
            let read = text.parse::<Setting>().ok();
            assert_eq!(read.as_ref().map(|it| (it.key.as_str(), it.value.as_str())), want, "{text:?}");
        };
        check("retention.ms=1", Some(("retention.ms", "1")));
        check("a=b=c", Some(("a", "b=c")));
        check("a=", Some(("a", "")));
        check("a", None);
        check("=b", None);
        let check = |text: &str, want: Option<(&str, &str)>| {
            let read = text.parse::<Header>().ok();
            assert_eq!(read.as_ref().map(|it| (it.key.as_str(), it.value.as_str())), want, "{text:?}");
        };
        check("k=v", Some(("k", "v")));
        check("k=v=w", Some(("k", "v=w")));
        check("k=", Some(("k", "")));
        check("k", None);
        check("=v", None);
    }

    #[test]
    fn clusters_with_names() {
        let check = |text: &str, want: Option<(&str, &[&str])>| {
            let read = text.parse::<NamedCluster>().ok();
            let read = read.as_ref().map(|it| {
                let servers: Vec<_> = it.bootstrap_servers.iter().map(String::as_str).collect();
                (it.name.clone(), servers)
            });
            assert_eq!(read, want.map(|(name, servers)| (name.to_owned(), servers.to_vec())), "{text:?}");
        };
        check("a=h:1", Some(("a", &["h:1"])));
        check("a b = h:1, i:2 ", Some(("a b", &["h:1", "i:2"])));
        for wrong in ["", "a", "=h:1", "a=", "a=,"] {
            check(wrong, None);
        }
    }

    #[test]
    fn places_to_listen() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(listen(text).ok().map(|it| it.to_string()).as_deref(), want, "{text:?}");
        };
        check("127.0.0.1:9092", Some("127.0.0.1:9092"));
        check("[::1]:0", Some("[::1]:0"));
        check("localhost:9092", Some("127.0.0.1:9092"));
        for wrong in ["", "9092", ":", "localhost", "localhost:", "localhost:x", "127.0.0.1:65536", "no such name:1"] {
            check(wrong, None);
        }
        let said = listen("localhost").unwrap_err();
        assert!(said.starts_with("\"localhost\" is nowhere to listen (") && said.ends_with("or NAME:PORT"), "{said}");
    }

    #[test]
    fn partitions() {
        let check = |text: &str, want: Option<(&str, Option<Vec<i32>>)>| {
            let read = text.parse::<Partitions>().ok();
            assert_eq!(read.as_ref().map(|it| (it.topic.as_str(), it.numbers.clone())), want, "{text:?}");
        };
        check("t", Some(("t", None)));
        check("t:0", Some(("t", Some(vec![0]))));
        check("t:3,1", Some(("t", Some(vec![3, 1]))));
        for wrong in ["", ":1", "t:", "t:x", "t:-1", "t:1,,2"] {
            check(wrong, None);
        }
    }

    #[test]
    fn moments() {
        let day = 1_767_225_600_000;
        let check = |text: &str, want: Option<Moment>| assert_eq!(text.parse::<Moment>().ok(), want, "{text:?}");
        check("1767225600000", Some(Moment::At(day)));
        check("1767225600", Some(Moment::At(day)));
        check("2026-01-01T00:00:00Z", Some(Moment::At(day)));
        check("2026-01-01T01:00:00.250+01:00", Some(Moment::At(day + 250)));
        check("2026-01-01T00:00:00.000", Some(Moment::At(day)));
        check("2026-01-01", Some(Moment::At(day)));
        check("-1h30m", Some(Moment::Ago(Duration::from_secs(5400))));
        for wrong in ["", "12345", "yesterday", "-", "-x", "2026-13-01"] {
            check(wrong, None);
        }
        assert_eq!(Moment::Ago(Duration::from_secs(1)).at_ms(5_000), 4_000);
        assert_eq!(Moment::Ago(Duration::MAX).at_ms(5_000), 0);
    }

    #[test]
    fn spans() {
        let check = |text: &str, want: Option<u64>| {
            assert_eq!(span(text).ok(), want.map(Duration::from_millis), "{text:?}");
        };
        check("250ms", Some(250));
        check("30s", Some(30_000));
        check("1.5m", Some(90_000));
        check("1h30m", Some(5_400_000));
        check("2d", Some(172_800_000));
        check("P1DT1S", Some(86_401_000));
        for wrong in ["", "30", "s", "-1s", "1.2.3s", "1y", "P1M", "999999999999999999999h"] {
            check(wrong, None);
        }
    }

    #[test]
    fn whole_seconds() {
        assert_eq!(seconds("2000ms"), Ok(Duration::from_secs(2)));
        assert_eq!(seconds("1500ms"), Err("\"1500ms\" is not a number of whole seconds".to_owned()));
    }

    #[test]
    fn bounds() {
        let check = |text: &str, want: Option<Bound>| assert_eq!(text.parse::<Bound>().ok(), want, "{text:?}");
        check("start", Some(Bound::From(Place::Start)));
        check("beginning", Some(Bound::From(Place::Start)));
        check("end", Some(Bound::From(Place::End)));
        check("5", Some(Bound::From(Place::At(5))));
        check("-5", Some(Bound::From(Place::BeforeEnd(5))));
        check("+5", Some(Bound::From(Place::AfterStart(5))));
        check("@1767225600000", Some(Bound::From(Place::Since(Moment::At(1_767_225_600_000)))));
        check("s@1767225600000", Some(Bound::From(Place::Since(Moment::At(1_767_225_600_000)))));
        check("e@1767225600000", Some(Bound::To(Place::Since(Moment::At(1_767_225_600_000)))));
        for wrong in ["", "-", "x", "--5", "@", "e@"] {
            check(wrong, None);
        }
    }
}
