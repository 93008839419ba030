//! The records themselves: seed and time in, bytes out.

use std::io::Write as _;

use jiff::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use uuid::Uuid;

use super::Config;

/// One kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// `{id, name, created_at, metadata: {source, version}}`, keyed by `id`.
    DataEvent,
    /// `{user_id, app_version, device_type, ip, locale, device_id, timestamp}`, keyed by `user_id`.
    UserLogin,
    /// `{id, source, level, message, timestamp}`, keyed by `source`, so that one source's events keep their order.
    LogEvent,
}

/// One record, borrowed from the workload until the next is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Generated<'a> {
    pub shape: Shape,
    pub key: &'a [u8],
    pub value: &'a [u8],
}

/// The endless sequence of records that follows from one seed.
#[derive(Debug)]
pub struct Workload {
    rng: SmallRng,
    shapes: Vec<Shape>,
    turn: usize,
    invalid_ratio: f64,
    sources: u32,
    key: Vec<u8>,
    value: Vec<u8>,
}

const LEVELS: [&str; 5] = ["DEBUG", "INFO", "INFO", "WARN", "ERROR"];
const MESSAGES: [&str; 4] =
    ["request served", "cache miss, reading through", "connection closed by peer", "retrying after a timeout"];
const DEVICES: [&str; 3] = ["android", "ios", "web"];
const LOCALES: [&str; 4] = ["EN-us", "de-DE", "FR", "ja-JP"];

impl Workload {
    pub fn new(seed: u64, config: &Config) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            shapes: config.shapes.clone(),
            turn: 0,
            invalid_ratio: config.invalid_ratio.clamp(0.0, 1.0),
            sources: config.sources.max(1),
            key: Vec::with_capacity(64),
            value: Vec::with_capacity(256),
        }
    }

    /// The next record, made at `now`. `None` only for a workload without shapes.
    pub fn next(&mut self, now: Timestamp) -> Option<Generated<'_>> {
        let shape = *self.shapes.get(self.turn)?;
        self.turn = (self.turn + 1) % self.shapes.len();
        self.key.clear();
        self.value.clear();
        match shape {
            Shape::DataEvent => self.data_event(now),
            Shape::UserLogin => self.user_login(now),
            Shape::LogEvent => self.log_event(now),
        }
        Some(Generated { shape, key: &self.key, value: &self.value })
    }

    fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.random()).into_uuid()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.rng.random_range(0..from.len())]
    }

    fn data_event(&mut self, now: Timestamp) {
        let (id, item, source) =
            (self.uuid(), self.rng.random_range(0..100_000_000u32), self.rng.random_range(0..self.sources));
        put(&mut self.key, format_args!("{id}"));
        put(
            &mut self.value,
            format_args!(
                r#"{{"id":"{id}","name":"item_{item:08}","created_at":"{now:.3}","metadata":{{"source":"source-{source}","version":"1.0.0"}}}}"#
            ),
        );
    }

    fn log_event(&mut self, now: Timestamp) {
        let (id, source) = (self.uuid(), self.rng.random_range(0..self.sources));
        let (level, message) = (self.pick(&LEVELS), self.pick(&MESSAGES));
        put(&mut self.key, format_args!("source-{source}"));
        put(
            &mut self.value,
            format_args!(
                r#"{{"id":"{id}","source":"source-{source}","level":"{level}","message":"{message}","timestamp":"{now:.3}"}}"#
            ),
        );
    }

    fn user_login(&mut self, now: Timestamp) {
        let user = self.rng.random_range(0..1_000_000u32);
        put(&mut self.key, format_args!("user-{user}"));
        let fault = self.rng.random_bool(self.invalid_ratio).then(|| Fault::ALL[self.rng.random_range(0..4)]);
        let user_id = if fault == Some(Fault::MissingField) { String::new() } else { format!("user-{user}") };
        let major = if fault == Some(Fault::OldVersion) { 1 } else { self.rng.random_range(2..12u8) };
        let version = format!("{major}.{}.{}", self.rng.random_range(0..20u8), self.rng.random_range(0..10u8));
        let ip = self.ip(fault == Some(Fault::PrivateIp));
        let (device, locale, device_id) = (self.pick(&DEVICES), self.pick(&LOCALES), self.uuid());
        put(
            &mut self.value,
            format_args!(
                r#"{{"user_id":"{user_id}","app_version":"{version}","device_type":"{device}","ip":"{ip}","locale":"{locale}","device_id":"{device_id}","timestamp":{}}}"#,
                now.as_second()
            ),
        );
        if fault == Some(Fault::BrokenJson) {
            self.value.truncate(self.value.len() / 2);
        }
    }

    fn ip(&mut self, private: bool) -> String {
        let [a, b]: [u8; 2] = self.rng.random();
        if private { format!("192.168.{a}.{b}") } else { format!("{}.{a}.{b}.7", self.rng.random_range(20..100u8)) }
    }
}

/// What is wrong with a login that must be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    MissingField,
    PrivateIp,
    OldVersion,
    BrokenJson,
}

impl Fault {
    const ALL: [Self; 4] = [Self::MissingField, Self::PrivateIp, Self::OldVersion, Self::BrokenJson];
}

/// Every text put in is made of letters that JSON leaves as they are, so plain formatting writes valid JSON.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a Vec does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(seed: u64, config: &Config, n: usize) -> Vec<(Shape, Vec<u8>, Vec<u8>)> {
        let now = Timestamp::from_millisecond(1_795_000_000_123).unwrap();
        let mut workload = Workload::new(seed, config);
        let mut one = || workload.next(now).map(|g| (g.shape, g.key.to_vec(), g.value.to_vec())).unwrap();
        (0..n).map(|_| one()).collect()
    }

    #[test]
    fn a_seed_decides_every_byte() {
        let config = Config::default();
        assert_eq!(take(7, &config, 300), take(7, &config, 300));
        assert_ne!(take(7, &config, 3), take(8, &config, 3));
    }

    #[test]
    fn each_shape_has_its_fields_and_its_key() {
        let config = Config { invalid_ratio: 0.0, ..Config::default() };
        for (shape, key, value) in take(1, &config, 300) {
            let json: serde_json::Value = serde_json::from_slice(&value).expect("valid JSON");
            let (key_field, fields) = match shape {
                Shape::DataEvent => ("id", &["name", "created_at", "metadata"][..]),
                Shape::UserLogin => {
                    ("user_id", &["app_version", "device_type", "ip", "locale", "device_id", "timestamp"][..])
                }
                Shape::LogEvent => ("source", &["id", "level", "message", "timestamp"][..]),
            };
            assert_eq!(json[key_field].as_str().map(str::as_bytes), Some(&key[..]), "{json}");
            assert!(fields.iter().all(|field| !json[field].is_null()), "{json}");
        }
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let (_, _, value) = take(1, &Config::default(), 1).remove(0);
        let json: serde_json::Value = serde_json::from_slice(&value).unwrap();
        assert_eq!(json["created_at"], "2026-11-18T11:06:40.123Z");
    }

    #[test]
    fn a_workload_without_shapes_ends() {
        let config = Config { shapes: vec![], ..Config::default() };
        assert_eq!(Workload::new(1, &config).next(Timestamp::UNIX_EPOCH), None);
    }
}
