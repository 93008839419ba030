//! Settings of topics and brokers, as Kafka 4.3 lists them: names, types, defaults, and which broker setting a topic's
//! default comes from. Every topic setting can be set and is kept; what acts here are those of [`TopicConfig`].

use std::collections::BTreeMap;

/// What a value must look like, and how it is called on the wire (`ConfigDef.Type`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Bool,
    /// Smallest value.
    Int(i64),
    Long(i64),
    /// Largest value; the smallest is 0.
    Double(f64),
    OneOf(&'static [&'static str]),
    /// A list whose members must be of these; of none means anything.
    List(&'static [&'static str]),
    Text,
    Password,
}

impl Kind {
    /// The number of the type in DescribeConfigs.
    pub fn code(self) -> i8 {
        match self {
            Kind::Bool => 1,
            Kind::OneOf(_) | Kind::Text => 2,
            Kind::Int(_) => 3,
            Kind::Long(_) => 5,
            Kind::Double(_) => 6,
            Kind::List(_) => 7,
            Kind::Password => 9,
        }
    }

    fn holds(self, value: &str) -> bool {
        let whole = |least: i64, most: i64| value.trim().parse().is_ok_and(|n: i64| (least..=most).contains(&n));
        match self {
            Kind::Bool => matches!(value.trim().to_ascii_lowercase().as_str(), "true" | "false"),
            Kind::Int(least) => whole(least, i64::from(i32::MAX)),
            Kind::Long(least) => whole(least, i64::MAX),
            Kind::Double(most) => value.trim().parse().is_ok_and(|n: f64| (0.0..=most).contains(&n)),
            Kind::OneOf(allowed) => allowed.contains(&value.trim()),
            Kind::List(allowed) => allowed.is_empty() || value.split(',').all(|item| allowed.contains(&item.trim())),
            Kind::Text | Kind::Password => true,
        }
    }
}

/// One setting of a topic.
#[derive(Debug, Clone, Copy)]
pub struct TopicSetting {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    /// The broker setting that gives the default.
    pub synonym: Option<&'static str>,
}

const fn topic(name: &'static str, kind: Kind, default: &'static str, synonym: &'static str) -> TopicSetting {
    TopicSetting { name, kind, default, synonym: if synonym.is_empty() { None } else { Some(synonym) } }
}

const MAX: &str = "9223372036854775807";
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];

/// Every setting of a topic, by name.
pub const TOPIC_SETTINGS: &[TopicSetting] = &[
    topic("cleanup.policy", Kind::List(&["compact", "delete"]), "delete", "log.cleanup.policy"),
    topic("compression.gzip.level", Kind::Int(-1), "-1", "compression.gzip.level"),
    topic("compression.lz4.level", Kind::Int(1), "9", "compression.lz4.level"),
    topic("compression.type", Kind::OneOf(CODECS), "producer", "compression.type"),
    topic("compression.zstd.level", Kind::Int(-131_072), "3", "compression.zstd.level"),
    topic("delete.retention.ms", Kind::Long(0), "86400000", "log.cleaner.delete.retention.ms"),
    topic("file.delete.delay.ms", Kind::Long(0), "60000", "log.segment.delete.delay.ms"),
    topic("flush.messages", Kind::Long(1), MAX, "log.flush.interval.messages"),
    topic("flush.ms", Kind::Long(0), MAX, ""),
    topic("follower.replication.throttled.replicas", Kind::List(&[]), "", ""),
    topic("index.interval.bytes", Kind::Int(0), "4096", "log.index.interval.bytes"),
    topic("leader.replication.throttled.replicas", Kind::List(&[]), "", ""),
    topic("local.retention.bytes", Kind::Long(-2), "-2", "log.local.retention.bytes"),
    topic("local.retention.ms", Kind::Long(-2), "-2", "log.local.retention.ms"),
    topic("max.compaction.lag.ms", Kind::Long(1), MAX, "log.cleaner.max.compaction.lag.ms"),
    topic("max.message.bytes", Kind::Int(0), "1048588", "message.max.bytes"),
    topic("message.timestamp.after.max.ms", Kind::Long(0), "3600000", "log.message.timestamp.after.max.ms"),
    topic("message.timestamp.before.max.ms", Kind::Long(0), MAX, "log.message.timestamp.before.max.ms"),
    topic("message.timestamp.type", Kind::OneOf(TIMESTAMP_TYPES), "CreateTime", "log.message.timestamp.type"),
    topic("min.cleanable.dirty.ratio", Kind::Double(1.0), "0.5", "log.cleaner.min.cleanable.ratio"),
    topic("min.compaction.lag.ms", Kind::Long(0), "0", "log.cleaner.min.compaction.lag.ms"),
    topic("min.insync.replicas", Kind::Int(1), "1", "min.insync.replicas"),
    topic("preallocate", Kind::Bool, "false", "log.preallocate"),
    topic("remote.log.copy.disable", Kind::Bool, "false", ""),
    topic("remote.log.delete.on.disable", Kind::Bool, "false", ""),
    topic("remote.storage.enable", Kind::OneOf(&["false"]), "false", ""),
    topic("retention.bytes", Kind::Long(-1), "-1", "log.retention.bytes"),
    topic("retention.ms", Kind::Long(-1), "604800000", ""),
    topic("segment.bytes", Kind::Int(14), "1073741824", "log.segment.bytes"),
    topic("segment.index.bytes", Kind::Int(4), "10485760", "log.index.size.max.bytes"),
    topic("segment.jitter.ms", Kind::Long(0), "0", ""),
    topic("segment.ms", Kind::Long(1), "604800000", ""),
    topic("unclean.leader.election.enable", Kind::Bool, "false", "unclean.leader.election.enable"),
];

/// The setting of a name.
pub fn topic_setting(name: &str) -> Option<&'static TopicSetting> {
    TOPIC_SETTINGS.iter().find(|setting| setting.name == name)
}

/// Why a topic cannot have this value, in Kafka's words as far as they help.
pub fn objection(name: &str, value: Option<&str>) -> Option<String> {
    let Some(setting) = topic_setting(name) else { return Some(format!("Unknown topic config name: {name}")) };
    match value {
        None => Some(format!("Null value not supported for topic configs: {name}")),
        Some(value) if setting.kind.holds(value) => None,
        Some(value) => Some(format!("Invalid value {value} for configuration {name}")),
    }
}

/// What the settings of a topic come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    pub max_message_bytes: usize,
    pub segment_bytes: u64,
    pub retention_bytes: Option<u64>,
    pub retention_ms: Option<i64>,
    pub compacted: bool,
    pub deleted: bool,
    pub log_append_time: bool,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    pub min_insync_replicas: usize,
    pub segment_ms: i64,
    pub delete_retention_ms: i64,
    pub min_compaction_lag_ms: i64,
    /// Of a thousand bytes, more than so many must be new (`min.cleanable.dirty.ratio`).
    pub min_dirty_per_mille: u64,
}

impl TopicConfig {
    /// Values that were checked when they were set; one that cannot be read counts as not set.
    pub fn from_overrides(overrides: &BTreeMap<String, String>) -> TopicConfig {
        let text = |name: &str| {
            let default = topic_setting(name).map_or("", |setting| setting.default);
            overrides.get(name).map_or(default, |value| value.trim())
        };
        let number = |name: &str| text(name).parse::<i64>().ok();
        let size = |name: &str, otherwise: u64| number(name).and_then(|n| u64::try_from(n).ok()).unwrap_or(otherwise);
        let policies = |policy: &str| text("cleanup.policy").split(',').any(|it| it.trim() == policy);
        TopicConfig {
            max_message_bytes: size("max.message.bytes", 1_048_588) as usize,
            segment_bytes: size("segment.bytes", 1 << 30),
            retention_bytes: number("retention.bytes").and_then(|n| u64::try_from(n).ok()),
            retention_ms: number("retention.ms").filter(|n| *n >= 0),
            compacted: policies("compact"),
            segment_ms: number("segment.ms").unwrap_or(i64::MAX),
            delete_retention_ms: number("delete.retention.ms").unwrap_or(86_400_000),
            min_compaction_lag_ms: number("min.compaction.lag.ms").unwrap_or(0),
            min_dirty_per_mille: text("min.cleanable.dirty.ratio")
                .parse::<f64>()
                .map_or(500, |ratio| (ratio * 1000.0) as u64),
            deleted: policies("delete"),
            log_append_time: text("message.timestamp.type") == "LogAppendTime",
            timestamp_before_max_ms: number("message.timestamp.before.max.ms").unwrap_or(i64::MAX),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms").unwrap_or(i64::MAX),
            min_insync_replicas: size("min.insync.replicas", 1) as usize,
        }
    }
}

/// One setting of a broker; all are read-only here.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerSetting {
    pub name: &'static str,
    pub kind: Kind,
    pub value: Option<String>,
    /// Whether it was set, or is the default.
    pub set: bool,
}

/// Broker settings that are the same for every dev broker. What a topic's default comes from is added from
/// [`TOPIC_SETTINGS`], what differs from broker to broker by DescribeConfigs.
pub const BROKER_DEFAULTS: &[(&str, Kind, Option<&str>)] = &[
    ("compression.type", Kind::OneOf(CODECS), Some("producer")),
    ("default.replication.factor", Kind::Int(1), Some("1")),
    ("delete.topic.enable", Kind::Bool, Some("true")),
    ("group.coordinator.rebalance.protocols", Kind::List(&[]), Some("classic,consumer")),
    ("group.initial.rebalance.delay.ms", Kind::Int(0), Some("3000")),
    ("group.max.session.timeout.ms", Kind::Int(0), Some("1800000")),
    ("group.max.size", Kind::Int(1), Some("2147483647")),
    ("group.min.session.timeout.ms", Kind::Int(0), Some("6000")),
    ("inter.broker.listener.name", Kind::Text, None),
    ("log.retention.hours", Kind::Int(-1), Some("168")),
    ("log.retention.minutes", Kind::Int(-1), None),
    ("log.retention.ms", Kind::Long(-1), None),
    ("log.roll.hours", Kind::Int(1), Some("168")),
    ("log.roll.ms", Kind::Long(1), None),
    ("max.incremental.fetch.session.cache.slots", Kind::Int(0), Some("1000")),
    ("max.request.partition.size.limit", Kind::Int(1), Some("2000")),
    ("offset.metadata.max.bytes", Kind::Int(0), Some("4096")),
    ("offsets.retention.minutes", Kind::Int(1), Some("10080")),
    ("process.roles", Kind::List(&["broker", "controller"]), Some("broker,controller")),
    ("producer.id.expiration.ms", Kind::Int(1), Some("86400000")),
    ("sasl.enabled.mechanisms", Kind::List(&[]), Some("GSSAPI")),
    ("ssl.keystore.password", Kind::Password, None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_holds_its_own_defaults() {
        assert!(TOPIC_SETTINGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for setting in TOPIC_SETTINGS {
            assert!(setting.kind.holds(setting.default) || setting.default.is_empty(), "{}", setting.name);
        }
    }

    #[test]
    fn values_are_checked() {
        let cases = [
            ("retention.ms", Some("-1"), true),
            ("retention.ms", Some("-2"), false),
            ("retention.ms", Some("a day"), false),
            ("cleanup.policy", Some("compact, delete"), true),
            ("cleanup.policy", Some("burn"), false),
            ("max.message.bytes", Some("2147483648"), false),
            ("preallocate", Some("TRUE"), true),
            ("min.cleanable.dirty.ratio", Some("1.1"), false),
            ("compression.type", Some("brotli"), false),
            ("compression.type", None, false),
            ("no.such.setting", Some("1"), false),
        ];
        for (name, value, fine) in cases {
            assert_eq!(objection(name, value).is_none(), fine, "{name} = {value:?}");
        }
    }

    #[test]
    fn overrides_come_to_something() {
        let overrides = [("retention.ms", "5"), ("retention.bytes", "-1"), ("cleanup.policy", "compact")];
        let config = TopicConfig::from_overrides(&overrides.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!((config.retention_ms, config.retention_bytes), (Some(5), None));
        assert_eq!((config.compacted, config.deleted, config.max_message_bytes), (true, false, 1_048_588));
    }
}
