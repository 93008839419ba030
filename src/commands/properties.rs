//! `-X KEY=VALUE`: the names that properties have in the Java client and in librdkafka, and what they are called here.
//! Pure but for the certificate files that some of them name, and for the file that they may be in (`-F FILE`).

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::hint::did_you_mean;
use clap::ValueEnum;

use crate::app::{Failure, Status, Target};
use crate::cli::values::{Setting, span};
use crate::cli::{self, Asking, Cluster, SaslMechanism};
use crate::client::{
    Acks, Assignor, ClientConfig, Compression, ConsumerConfig, GroupProtocol, IsolationLevel, OffsetReset, Partitioner,
    ProducerConfig,
};

/// How to reach a cluster, and how to write to it and read from it.
pub(super) struct Settings {
    pub client: ClientConfig,
    pub producer: ProducerConfig,
    pub consumer: ConsumerConfig,
    /// What the flags say, and the properties that say the same.
    cluster: Cluster,
    password: Option<String>,
    wants_sasl: bool,
    levels: Levels,
    ignore_keys: bool,
    /// What was asked for in so many words, and so does not yield to the rest.
    explicit: Explicit,
}

#[derive(Debug, Clone, Copy, Default)]
struct Explicit {
    idempotence: bool,
    delivery_timeout: bool,
}

/// Compression levels, of whichever codec is used in the end.
#[derive(Debug, Clone, Copy, Default)]
struct Levels {
    any: Option<i32>,
    gzip: Option<i32>,
    zstd: Option<i32>,
}

type Apply = fn(&mut Settings, &str) -> Result<(), String>;

/// Every property that is understood; where the two clients have a name each, both.
const KNOWN: &[(&[&str], Apply)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], |it, value| {
        it.cluster.bootstrap_server = list(value);
        Ok(())
    }),
    (&["client.id"], |it, value| text(&mut it.client.client_id, value)),
    (&["security.protocol"], security_protocol),
    (&["ssl.ca.location", "ssl.truststore.location"], |it, value| file(&mut it.cluster.tls_ca, value)),
    (&["ssl.truststore.type", "ssl.keystore.type"], |_, value| only(value, "PEM", "PEM: convert other stores to it")),
    (&["ssl.keystore.location"], |it, value| {
        file(&mut it.cluster.tls_cert, value)?;
        file(&mut it.cluster.tls_key, value)
    }),
    (&["ssl.endpoint.identification.algorithm"], |_, value| {
        only(value, "https", "https: the names of brokers are always checked")
    }),
    (&["ssl.certificate.location"], |it, value| file(&mut it.cluster.tls_cert, value)),
    (&["ssl.key.location"], |it, value| file(&mut it.cluster.tls_key, value)),
    (&["sasl.mechanism", "sasl.mechanisms"], |it, value| {
        let wanted = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER";
        it.cluster.sasl_mechanism = Some(SaslMechanism::from_str(value, true).map_err(|_| wanted)?);
        Ok(())
    }),
    (&["sasl.username"], |it, value| {
        it.cluster.sasl_username = Some(value.to_owned());
        Ok(())
    }),
    (&["sasl.password"], |it, value| {
        it.password = Some(value.to_owned());
        Ok(())
    }),
    (&["sasl.jaas.config"], |it, value| {
        let of = |name| jaas(value, name).ok_or("a login module with username=\"…\" and password=\"…\"");
        it.cluster.sasl_username = Some(of("username")?);
        it.password = Some(of("password")?);
        Ok(())
    }),
    (&["sasl.oauthbearer.token.endpoint.url"], |it, value| {
        it.cluster.sasl_token_endpoint = Some(value.to_owned());
        Ok(())
    }),
    (&["sasl.oauthbearer.client.id", "sasl.oauthbearer.client.credentials.client.id"], |it, value| {
        it.cluster.sasl_username = Some(value.to_owned());
        Ok(())
    }),
    (&["sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.credentials.client.secret"], |it, value| {
        it.password = Some(value.to_owned());
        Ok(())
    }),
    (&["sasl.oauthbearer.scope"], |it, value| {
        it.cluster.sasl_scope = Some(value.to_owned());
        Ok(())
    }),
    (&["socket.connection.setup.timeout.ms"], |it, value| ms(&mut it.client.connect_timeout, value)),
    (&["connections.max.idle.ms"], |it, value| ms(&mut it.client.connections_max_idle, value)),
    (&["request.timeout.ms", "socket.timeout.ms"], |it, value| {
        ms(&mut it.client.request_timeout, value)?;
        it.producer.request_timeout = it.client.request_timeout;
        Ok(())
    }),
    (&["default.api.timeout.ms"], |it, value| ms(&mut it.client.api_timeout, value)),
    (&["metadata.max.age.ms", "topic.metadata.refresh.interval.ms"], |it, value| {
        ms(&mut it.client.metadata_max_age, value)
    }),
    (&["reconnect.backoff.ms"], |it, value| ms(&mut it.client.reconnect_backoff, value)),
    (&["reconnect.backoff.max.ms"], |it, value| ms(&mut it.client.reconnect_backoff_max, value)),
    (&["retry.backoff.ms"], |it, value| {
        ms(&mut it.client.retry_backoff, value)?;
        it.producer.retry_backoff = it.client.retry_backoff;
        Ok(())
    }),
    (&["retry.backoff.max.ms"], |it, value| {
        ms(&mut it.client.retry_backoff_max, value)?;
        it.producer.retry_backoff_max = it.client.retry_backoff_max;
        Ok(())
    }),
    (&["allow.auto.create.topics"], |it, value| {
        parsed(&mut it.client.allow_auto_create_topics, value, "true or false")
    }),
    (&["acks", "request.required.acks"], |it, value| {
        it.producer.acks = match value {
            "all" | "-1" => Acks::All,
            "1" => Acks::Leader,
            "0" => Acks::None,
            _ => return Err("all, 1 or 0".to_owned()),
        };
        Ok(())
    }),
    (&["compression.type", "compression.codec"], |it, value| {
        parsed(&mut it.producer.compression, value, "none, gzip, snappy, lz4 or zstd")
    }),
    (&["compression.level"], |it, value| {
        let level: i32 = value.parse().map_err(|_| "a whole number")?;
        it.levels.any = Some(level).filter(|level| *level != -1);
        Ok(())
    }),
    (&["compression.gzip.level"], |it, value| level(&mut it.levels.gzip, Compression::Gzip, value, Some(-1))),
    (&["compression.zstd.level"], |it, value| level(&mut it.levels.zstd, Compression::Zstd, value, None)),
    (&["partitioner"], |it, value| {
        let wanted = "murmur2_random, murmur2, consistent_random, consistent, fnv1a_random, fnv1a or random";
        it.producer.partitioner = Partitioner::from_name(value).ok_or(wanted)?;
        Ok(())
    }),
    (&["partitioner.adaptive.partitioning.enable"], |it, value| {
        parsed(&mut it.producer.adaptive_partitioning, value, "true or false")
    }),
    (&["partitioner.ignore.keys"], |it, value| parsed(&mut it.ignore_keys, value, "true or false")),
    (&["linger.ms", "queue.buffering.max.ms"], |it, value| ms(&mut it.producer.linger, value)),
    (&["batch.size"], |it, value| bytes(&mut it.producer.batch_bytes, value)),
    (&["buffer.memory"], |it, value| bytes(&mut it.producer.buffer_bytes, value)),
    (&["queue.buffering.max.kbytes"], |it, value| {
        bytes(&mut it.producer.buffer_bytes, value)?;
        it.producer.buffer_bytes = it.producer.buffer_bytes.saturating_mul(1024);
        Ok(())
    }),
    (&["max.request.size", "message.max.bytes"], |it, value| bytes(&mut it.producer.max_request_bytes, value)),
    (&["delivery.timeout.ms", "message.timeout.ms"], |it, value| {
        it.explicit.delivery_timeout = true;
        ms(&mut it.producer.delivery_timeout, value)
    }),
    (&["max.block.ms"], |it, value| ms(&mut it.producer.max_block, value)),
    (&["enable.idempotence"], |it, value| {
        parsed(&mut it.producer.idempotent, value, "true or false")?;
        it.explicit.idempotence = it.producer.idempotent;
        Ok(())
    }),
    (&["max.in.flight.requests.per.connection", "max.in.flight"], |it, value| {
        bytes(&mut it.producer.in_flight_max, value)
    }),
    (&["group.id"], |it, value| text(&mut it.consumer.group_id, value)),
    (&["group.instance.id"], |it, value| {
        it.consumer.instance_id = Some(value.to_owned());
        Ok(())
    }),
    (&["group.protocol"], |it, value| {
        it.consumer.group_protocol = GroupProtocol::from_name(value).ok_or("classic, consumer or auto")?;
        Ok(())
    }),
    (&["group.remote.assignor"], |it, value| {
        it.consumer.remote_assignor = Some(value.to_owned());
        Ok(())
    }),
    (&["auto.offset.reset"], |it, value| {
        it.consumer.auto_offset_reset = match value {
            "earliest" | "smallest" | "beginning" => OffsetReset::Earliest,
            "latest" | "largest" | "end" => OffsetReset::Latest,
            "none" | "error" => OffsetReset::None,
            _ => {
                let duration = value.strip_prefix("by_duration:").and_then(|text| span(text).ok());
                OffsetReset::ByDuration(duration.ok_or("earliest, latest, none or by_duration:PT1H")?)
            }
        };
        Ok(())
    }),
    (&["exclude.internal.topics"], |it, value| {
        parsed(&mut it.consumer.exclude_internal_topics, value, "true or false")
    }),
    (&["isolation.level"], |it, value| {
        it.consumer.isolation_level = match value {
            "read_uncommitted" => IsolationLevel::ReadUncommitted,
            "read_committed" => IsolationLevel::ReadCommitted,
            _ => return Err("read_uncommitted or read_committed".to_owned()),
        };
        Ok(())
    }),
    (&["partition.assignment.strategy"], |it, value| {
        let assignor = |name: &String| assignor(name).ok_or("range, roundrobin, sticky or cooperative-sticky");
        it.consumer.assignors = list(value).iter().map(assignor).collect::<Result<_, _>>()?;
        Ok(())
    }),
    (&["session.timeout.ms"], |it, value| ms(&mut it.consumer.session_timeout, value)),
    (&["heartbeat.interval.ms"], |it, value| ms(&mut it.consumer.heartbeat_interval, value)),
    (&["max.poll.interval.ms"], |it, value| ms(&mut it.consumer.max_poll_interval, value)),
    (&["enable.auto.commit"], |it, value| parsed(&mut it.consumer.auto_commit, value, "true or false")),
    (&["auto.commit.interval.ms"], |it, value| ms(&mut it.consumer.commit_interval, value)),
    (&["fetch.max.wait.ms", "fetch.wait.max.ms"], |it, value| ms(&mut it.consumer.fetch_max_wait, value)),
    (&["fetch.min.bytes"], |it, value| bytes(&mut it.consumer.fetch_min_bytes, value)),
    (&["fetch.max.bytes"], |it, value| bytes(&mut it.consumer.fetch_max_bytes, value)),
    (&["max.partition.fetch.bytes", "fetch.message.max.bytes"], |it, value| {
        bytes(&mut it.consumer.partition_max_bytes, value)
    }),
    (&["client.rack"], |it, value| {
        it.consumer.rack = Some(value.to_owned());
        Ok(())
    }),
    (&["check.crcs"], |it, value| parsed(&mut it.consumer.check_crcs, value, "true or false")),
];

/// Properties that both clients' users know and that mean nothing here, and what to do instead.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["retries", "message.send.max.retries"],
        "a record is tried again until delivery.timeout.ms is over, and without duplicates as long as enable.idempotence is true",
    ),
    (&["transactional.id", "transaction.timeout.ms"], "no verb writes in transactions; the library does"),
    (&["max.poll.records"], "records are handed on as they are fetched; max.partition.fetch.bytes bounds how many"),
    (&["enable.partition.eof"], "to stop at the end of the partitions is a flag of consume"),
    (&["compression.lz4.level"], "the lz4 encoder here has one level; gzip and zstd have several"),
    (&["partitioner.class"], "Java's classes cannot be loaded; partitioner names one of those that are built in"),
    (
        &["ssl.keystore.password", "ssl.key.password", "ssl.truststore.password"],
        "keys and certificates are PEM without a password; keep them readable for their user alone",
    ),
];

/// A group that `-X group.id` names and no flag would be joined, or not, to the surprise of whoever named it. One in a file
/// is left alone: such files are those of applications, whose members are to keep their partitions.
pub(super) fn no_group(asking: &Asking, flag: Option<&str>) -> Result<(), Failure> {
    let named = asking.properties.iter().rfind(|it| it.key == "group.id").map(|it| it.value.as_str());
    let say = match (named, flag) {
        (Some(named), None) => format!("property group.id: say --group {named} to read as a member of it"),
        (Some(named), Some(flag)) if named != flag => {
            format!("property group.id: it is {named}, and --group is {flag}")
        }
        _ => return Ok(()),
    };
    Err(Failure::new(Status::Usage, say))
}

impl Settings {
    /// The settings of a verb: what the flags say of the cluster, and the properties over it. All mistakes are told at
    /// once.
    pub fn of(asking: &Asking, verb: &str) -> Result<Self, Failure> {
        let mut settings = Self {
            client: ClientConfig { client_id: format!("highwater-{verb}"), ..ClientConfig::default() },
            producer: ProducerConfig::default(),
            // Whoever looks at a topic by hand wants to see what is in it.
            consumer: ConsumerConfig { auto_offset_reset: OffsetReset::Earliest, ..ConsumerConfig::default() },
            cluster: asking.cluster.clone(),
            password: None,
            wants_sasl: false,
            levels: Levels::default(),
            ignore_keys: false,
            explicit: Explicit::default(),
        };
        let file = asking.property_file.as_deref().map(properties_of).transpose()?.unwrap_or_default();
        let all = file.iter().chain(&asking.properties);
        let mut wrong: Vec<String> = all.filter_map(|it| settings.apply(it).err()).collect();
        if settings.wants_sasl && settings.cluster.sasl_mechanism.is_none() {
            wrong.push("property security.protocol: SASL needs sasl.mechanism, too".to_owned());
        }
        wrong.extend(settings.unguarded());
        if !wrong.is_empty() {
            return Err(Failure::new(Status::Usage, wrong.join("\nhighwater: ")));
        }
        settings.producer = settings.producer_as(None)?;
        let target = Target::with_password(&settings.cluster, settings.password.take())?;
        if target.bootstrap_servers.is_empty() {
            return Err(Failure::new(Status::Usage, "say which cluster: --bootstrap-server HOST:PORT"));
        }
        (settings.client.tls, settings.client.sasl) = (target.tls, target.sasl);
        settings.client.bootstrap_servers = target.bootstrap_servers;
        Ok(settings)
    }

    /// How to write: a flag wins over the property of the same meaning, and the level is that of the codec.
    pub fn producer_as(&self, codec: Option<Compression>) -> Result<ProducerConfig, Failure> {
        let compression = codec.unwrap_or(self.producer.compression);
        let of_codec = match compression {
            Compression::Gzip => self.levels.gzip,
            Compression::Zstd => self.levels.zstd,
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        };
        // For what is not compressed at all, a level means nothing, as in librdkafka.
        let any = self.levels.any.filter(|_| compression != Compression::None);
        let mut config = ProducerConfig { compression, compression_level: of_codec.or(any), ..self.producer.clone() };
        if self.ignore_keys {
            config.partitioner = Partitioner::Random;
        }
        if !self.explicit.delivery_timeout {
            // As in Java's client: whoever has not said how long all of it may take does not mean less than a part of it.
            config.delivery_timeout = config.delivery_timeout.max(config.least_delivery());
        }
        config.check().map_err(|error| Failure::new(Status::Usage, error.to_string()))?;
        Ok(config)
    }

    /// Why records cannot be guarded against duplicates, if they are to be. Without a word of it they are where they can be.
    fn unguarded(&self) -> Option<String> {
        let acks = match self.producer.acks {
            Acks::All => return None,
            Acks::Leader => 1,
            Acks::None => 0,
        };
        let what = "property enable.idempotence: true needs acks=all";
        let to_do = "say acks=all, or leave enable.idempotence out";
        self.explicit.idempotence.then(|| format!("{what}, and acks is {acks}; {to_do}"))
    }

    /// How a member of a group reads: a flag wins over the property of the same meaning.
    pub fn consumer_as(&self, membership: &cli::Membership) -> ConsumerConfig {
        let protocol = membership.group_protocol.map(|protocol| match protocol {
            cli::Protocol::Classic => GroupProtocol::Classic,
            cli::Protocol::Consumer => GroupProtocol::Consumer,
            cli::Protocol::Auto => GroupProtocol::Auto,
        });
        let group_protocol = protocol.unwrap_or(self.consumer.group_protocol);
        ConsumerConfig { group_protocol, ..self.consumer.clone() }
    }

    fn apply(&mut self, property: &Setting) -> Result<(), String> {
        let Setting { key, value } = property;
        let Some((_, apply)) = KNOWN.iter().find(|(names, _)| names.contains(&key.as_str())) else {
            if let Some((_, why)) = REFUSED.iter().find(|(names, _)| names.contains(&key.as_str())) {
                return Err(format!("property {key} is not taken: {why}"));
            }
            let names = KNOWN.iter().flat_map(|(names, _)| names.iter().copied());
            return Err(format!("no property {key}{}", did_you_mean(key, names)));
        };
        apply(self, value.trim()).map_err(|wanted| format!("property {key}: {value:?} is not {wanted}"))
    }
}

fn security_protocol(it: &mut Settings, value: &str) -> Result<(), String> {
    (it.cluster.tls, it.wants_sasl) = match value.to_ascii_lowercase().as_str() {
        "plaintext" => (false, false),
        "ssl" => (true, false),
        "sasl_plaintext" => (false, true),
        "sasl_ssl" => (true, true),
        _ => return Err("plaintext, ssl, sasl_plaintext or sasl_ssl".to_owned()),
    };
    Ok(())
}

/// `name="value"` in the words of Java's login modules.
fn jaas(config: &str, name: &str) -> Option<String> {
    let (_, after) = config.split_once(&format!("{name}="))?;
    let quote = after.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    after[1..].split_once(quote).map(|(value, _)| value.to_owned())
}

/// By its short name, or by that of the Java class.
fn assignor(name: &str) -> Option<Assignor> {
    match name.rsplit('.').next() {
        Some("RangeAssignor") => Some(Assignor::Range),
        Some("RoundRobinAssignor") => Some(Assignor::RoundRobin),
        Some("StickyAssignor") => Some(Assignor::Sticky),
        Some("CooperativeStickyAssignor") => Some(Assignor::CooperativeSticky),
        _ => Assignor::from_name(name),
    }
}

/// The one value that a property may have.
fn only(value: &str, one: &str, wanted: &str) -> Result<(), String> {
    if value.eq_ignore_ascii_case(one) { Ok(()) } else { Err(wanted.to_owned()) }
}

/// A level of this codec; one value may stand for the codec's own.
fn level(field: &mut Option<i32>, codec: Compression, value: &str, default: Option<i32>) -> Result<(), String> {
    let range = codec.levels().ok_or("for a codec with levels")?;
    let level: Option<i32> = value.parse().ok();
    let known = level.filter(|level| range.contains(level) || Some(*level) == default);
    let known = known.ok_or_else(|| format!("a level of {codec}, {} to {}", range.start(), range.end()))?;
    *field = Some(known).filter(|level| Some(*level) != default);
    Ok(())
}

/// The properties in a file.
fn properties_of(path: &Path) -> Result<Vec<Setting>, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::new(Status::Usage, format!("{}: {error}", path.display())))?;
    parse(&text).map_err(|wrong| Failure::new(Status::Usage, format!("{}: {wrong}", path.display())))
}

/// As `java.util.Properties` reads them: comments, `=` or `:` or a space after the key, escapes, and lines that end with an
/// odd number of backslashes go on. Two things are told by their line, which Java lets pass: a line without a key, and a
/// backslash that would be lost before a letter or a digit, as in files that know no escapes. Spaces at the end of a value
/// count only if they are escaped: Kafka takes them off as well.
fn parse(text: &str) -> Result<Vec<Setting>, String> {
    let (mut settings, mut lines) = (Vec::new(), text.lines().enumerate());
    while let Some((number, line)) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while line.len() % 2 != line.trim_end_matches('\\').len() % 2 {
            line.pop();
            line.push_str(lines.next().map_or("", |(_, next)| next.trim_start()));
        }
        let (key, rest) = line.split_at(key_end(&line));
        let rest = rest.trim_start();
        let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
        if key.is_empty() {
            return Err(format!("line {} is not KEY=VALUE", number + 1));
        }
        let read = |text| unescaped(text).map_err(|wrong| format!("line {}: {wrong}", number + 1));
        settings.push(Setting { key: read(key)?, value: read(value)? });
    }
    Ok(settings)
}

fn key_end(line: &str) -> usize {
    let mut escaped = false;
    let ends = |c: char| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_whitespace());
        escaped = !escaped && c == '\\';
        ends
    };
    line.find(ends).unwrap_or(line.len())
}

/// Without the spaces at its end that are not escaped.
fn unescaped(text: &str) -> Result<String, String> {
    let (mut plain, mut kept, mut chars) = (String::with_capacity(text.len()), 0, text.chars());
    while let Some(c) = chars.next() {
        let escaped = c == '\\';
        plain.push(if escaped { escape(&mut chars)? } else { c });
        if escaped || !c.is_whitespace() {
            kept = plain.len();
        }
    }
    plain.truncate(kept);
    Ok(plain)
}

/// What stands after a backslash.
fn escape(chars: &mut std::str::Chars<'_>) -> Result<char, String> {
    match chars.next() {
        Some('t') => Ok('\t'),
        Some('n') => Ok('\n'),
        Some('r') => Ok('\r'),
        Some('f') => Ok('\u{c}'),
        Some('u') => {
            let digits = chars.as_str().get(..4).ok_or("\\u needs four digits")?;
            *chars = chars.as_str()[4..].chars();
            let number = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
            number.ok_or_else(|| format!("\\u{digits} is not a character"))
        }
        Some(c) if c.is_ascii_alphanumeric() => Err(format!("\\{c} means nothing; a backslash is written \\\\")),
        Some(c) => Ok(c),
        None => Err("a backslash is written \\\\".to_owned()),
    }
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

fn text(field: &mut String, value: &str) -> Result<(), String> {
    value.clone_into(field);
    Ok(())
}

fn file(field: &mut Option<PathBuf>, value: &str) -> Result<(), String> {
    *field = Some(PathBuf::from(value));
    Ok(())
}

fn parsed<T: FromStr>(field: &mut T, value: &str, wanted: &str) -> Result<(), String> {
    *field = value.parse().map_err(|_| wanted.to_owned())?;
    Ok(())
}

fn bytes(field: &mut usize, value: &str) -> Result<(), String> {
    parsed(field, value, "a whole number")
}

/// In milliseconds; librdkafka takes a fraction for its linger.
fn ms(field: &mut Duration, value: &str) -> Result<(), String> {
    let wanted = || "a number of milliseconds".to_owned();
    let milliseconds: f64 = value.parse().map_err(|_| wanted())?;
    *field = Duration::try_from_secs_f64(milliseconds / 1000.0).map_err(|_| wanted())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::client::Sasl;

    fn of(properties: &[&str]) -> Result<Settings, String> {
        let properties = properties.iter().flat_map(|it| ["-X", it]);
        let typed = ["highwater", "cluster", "-b", "h:1"].into_iter().chain(properties);
        match Cli::try_parse_from(typed).expect("a command line").command {
            Command::Cluster(args) => Settings::of(&args.asking, "cluster").map_err(|failure| failure.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_clients_names_are_understood() {
        let java = of(&["bootstrap.servers=a:1, b:2", "linger.ms=20", "fetch.max.wait.ms=7", "compression.type=zstd"]);
        let c = of(&[
            "metadata.broker.list=a:1,b:2",
            "queue.buffering.max.ms=20",
            "fetch.wait.max.ms=7",
            "compression.codec=zstd",
        ]);
        for settings in [java.expect("Java's"), c.expect("librdkafka's")] {
            assert_eq!(settings.client.bootstrap_servers, ["a:1", "b:2"]);
            assert_eq!(settings.producer.linger, Duration::from_millis(20));
            assert_eq!(settings.producer.compression, Compression::Zstd);
            assert_eq!(settings.consumer.fetch_max_wait, Duration::from_millis(7));
        }
        let strategy = "org.apache.kafka.clients.consumer.RangeAssignor,roundrobin";
        let settings =
            of(&["acks=1", "auto.offset.reset=largest", &format!("partition.assignment.strategy={strategy}")]);
        let settings = settings.expect("right");
        assert_eq!(settings.producer.acks, Acks::Leader);
        assert_eq!(settings.consumer.auto_offset_reset, OffsetReset::Latest);
        assert_eq!(settings.consumer.assignors, [Assignor::Range, Assignor::RoundRobin]);
        let settings = of(&["auto.offset.reset=by_duration:PT1H30M"]).expect("right");
        assert_eq!(settings.consumer.auto_offset_reset, OffsetReset::ByDuration(Duration::from_secs(5400)));
    }

    #[test]
    fn a_protocol_is_chosen_by_javas_names() {
        let settings = of(&["group.protocol=CONSUMER", "group.remote.assignor=range"]).expect("right");
        assert_eq!(settings.consumer.group_protocol, GroupProtocol::Consumer);
        assert_eq!(settings.consumer.remote_assignor.as_deref(), Some("range"));
        let said = of(&["group.protocol=share"]).err();
        assert_eq!(said.as_deref(), Some("property group.protocol: \"share\" is not classic, consumer or auto"));
    }

    #[test]
    fn mistakes_are_told_at_once_and_with_what_was_meant() {
        let check = |properties: &[&str], want: &str| assert_eq!(of(properties).err().as_deref(), Some(want));
        check(&["linger=5"], "no property linger; did you mean linger.ms?");
        check(&["fetch.min.byte=5"], "no property fetch.min.byte; did you mean fetch.min.bytes?");
        check(&["linger.ms=soon"], "property linger.ms: \"soon\" is not a number of milliseconds");
        check(&["acks=2"], "property acks: \"2\" is not all, 1 or 0");
        check(
            &["security.protocol=kerberos"],
            "property security.protocol: \"kerberos\" is not plaintext, ssl, sasl_plaintext or sasl_ssl",
        );
        check(
            &["zzz=1", "batch.size=-1"],
            "no property zzz\nhighwater: property batch.size: \"-1\" is not a whole number",
        );
    }

    #[test]
    fn credentials_are_understood_in_both_ways() {
        let c = ["sasl.mechanisms=SCRAM-SHA-256", "sasl.username=ann", "sasl.password=it's"];
        let module = "org.apache.kafka.common.security.scram.ScramLoginModule required";
        let jaas = format!("sasl.jaas.config={module} username=\"ann\" password=\"it's\";");
        let java = ["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=SCRAM-SHA-256", jaas.as_str()];
        for properties in [&c, &java] {
            let Ok(settings) = of(properties) else { panic!("{properties:?}") };
            assert!(matches!(settings.client.sasl, Some(Sasl::ScramSha256(login)) if login.user == "ann"));
        }
        let said = of(&["sasl.mechanism=GSSAPI"]).err();
        assert!(said.is_some_and(|said| said.ends_with("is not PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")));
    }

    #[test]
    fn levels_are_those_of_the_codec_that_is_used() {
        let check = |properties: &[&str], codec: Option<Compression>, want: Result<Option<i32>, &str>| {
            let level = of(properties).and_then(|it| it.producer_as(codec).map_err(|failure| failure.message));
            assert_eq!(level.map(|config| config.compression_level), want.map_err(str::to_owned), "{properties:?}");
        };
        check(&["compression.type=zstd", "compression.level=7"], None, Ok(Some(7)));
        check(&["compression.level=7"], None, Ok(None));
        check(&["compression.level=7"], Some(Compression::Gzip), Ok(Some(7)));
        check(&["compression.type=gzip", "compression.level=-1"], None, Ok(None));
        check(&["compression.type=gzip", "compression.gzip.level=9", "compression.zstd.level=3"], None, Ok(Some(9)));
        check(&["compression.type=gzip", "compression.gzip.level=-1"], None, Ok(None));
        let said = "property compression.zstd.level: \"23\" is not a level of zstd, -131072 to 22";
        check(&["compression.zstd.level=23"], None, Err(said));
        let said = "producer: compression_level is 12, and those of gzip are 1 to 9";
        check(&["compression.type=gzip", "compression.level=12"], None, Err(said));
        check(
            &["compression.type=lz4", "compression.level=1"],
            None,
            Err("producer: compression_level is 1, and lz4 has no levels"),
        );
    }

    #[test]
    fn what_was_asked_for_in_so_many_words_does_not_yield() {
        let check = |properties: &[&str], want: Result<(bool, u64), &str>| {
            let told = of(properties).map(|it| (it.producer.idempotent, it.producer.delivery_timeout.as_secs()));
            assert_eq!(told, want.map_err(str::to_owned), "{properties:?}");
        };
        check(&["acks=1"], Ok((true, 120)));
        check(&["enable.idempotence=true", "acks=all"], Ok((true, 120)));
        check(&["enable.idempotence=false", "acks=1"], Ok((false, 120)));
        check(&["enable.idempotence=true", "acks=0", "enable.idempotence=false"], Ok((false, 120)));
        let said = "property enable.idempotence: true needs acks=all, and acks is 1; \
                    say acks=all, or leave enable.idempotence out";
        check(&["enable.idempotence=true", "acks=1"], Err(said));
        check(&["acks=1", "enable.idempotence=true"], Err(said));
        check(&["request.timeout.ms=200000", "linger.ms=1000"], Ok((true, 201)));
        check(&["delivery.timeout.ms=31000"], Ok((true, 31)));
        check(&["message.timeout.ms=20000"], Ok((true, 20)));
        check(&["message.timeout.ms=20000", "buffer.memory=0"], Err("producer: buffer_bytes is 0"));
    }

    #[test]
    fn what_means_nothing_here_is_refused_with_what_to_do() {
        let said = of(&["retries=3"]).err().unwrap_or_default();
        assert!(said.starts_with("property retries is not taken: a record is tried again"), "{said}");
        let said = of(&["ssl.endpoint.identification.algorithm="]).err().unwrap_or_default();
        assert!(said.ends_with("is not https: the names of brokers are always checked"), "{said}");
        let settings = of(&["partitioner=fnv1a", "enable.auto.commit=false"]).expect("right");
        assert_eq!(
            (format!("{:?}", settings.producer.partitioner).as_str(), settings.consumer.auto_commit),
            ("fnv1a", false)
        );
        assert!(of(&["partitioner=sticky"]).is_err());
    }

    #[test]
    fn keys_are_ignored_whatever_the_partitioner_and_whichever_is_said_first() {
        let by = |properties: &[&str]| of(properties).map(|it| format!("{:?}", it.producer.partitioner));
        for (ignore, want) in [("false", "fnv1a"), ("true", "random")] {
            let ignore = format!("partitioner.ignore.keys={ignore}");
            assert_eq!(by(&["partitioner=fnv1a", &ignore]).as_deref(), Ok(want));
            assert_eq!(by(&[&ignore, "partitioner=fnv1a"]).as_deref(), Ok(want));
        }
        assert_eq!(by(&["partitioner.ignore.keys=false"]).as_deref(), Ok("murmur2_random"));
    }

    #[test]
    fn a_file_is_read_as_java_reads_it() {
        let text =
            "# ours\n! and this\n\nlinger.ms = 5\r\nclient.id: a b\nacks 1\nbootstrap.servers=a:1,\\\n   b:2\nempty=\n";
        let read = parse(text).expect("right");
        let read: Vec<(&str, &str)> = read.iter().map(|it| (it.key.as_str(), it.value.as_str())).collect();
        let want =
            [("linger.ms", "5"), ("client.id", "a b"), ("acks", "1"), ("bootstrap.servers", "a:1,b:2"), ("empty", "")];
        assert_eq!(read, want);
        assert_eq!(parse("a=1\n=2").err().as_deref(), Some("line 2 is not KEY=VALUE"));
    }

    #[test]
    fn a_file_that_java_has_written_is_read_with_its_escapes() {
        let check = |text: &str, want: &[(&str, &str)]| {
            let read = parse(text).expect("right");
            let read: Vec<(&str, &str)> = read.iter().map(|it| (it.key.as_str(), it.value.as_str())).collect();
            assert_eq!(read, want, "{text}");
        };
        check(r"bootstrap.servers=host\:9092,b\:1", &[("bootstrap.servers", "host:9092,b:1")]);
        check("sasl.password=abc\\\\\nacks=1", &[("sasl.password", "abc\\"), ("acks", "1")]);
        check("sasl.password=abc\\\\\\\n  d", &[("sasl.password", "abc\\d")]);
        check("sasl.password=abc\\ \nacks=1 ", &[("sasl.password", "abc "), ("acks", "1")]);
        check(r#"a\=b\:c\ d = \#\!\=\"e\"\u00e9\tz"#, &[("a=b:c d", "#!=\"e\"é\tz")]);
        check("a=1\\", &[("a", "1")]);
        let wrong = |text: &str| parse(text).expect_err("wrong");
        assert_eq!(wrong("a=1\nb=c\\d"), r"line 2: \d means nothing; a backslash is written \\");
        assert_eq!(wrong(r"b=\uzzzz"), r"line 1: \uzzzz is not a character");
        assert_eq!(wrong(r"b=\u00"), r"line 1: \u needs four digits");
    }

    #[test]
    fn no_name_is_there_twice() {
        let refused = REFUSED.iter().flat_map(|(names, _)| names.iter().copied());
        let mut names: Vec<&str> = KNOWN.iter().flat_map(|(names, _)| names.iter().copied()).chain(refused).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
