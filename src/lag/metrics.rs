//! The lag as Prometheus text: ours, and the family that dashboards of kafka_exporter know.
//!
//! Written straight from the round: with a hundred thousand series this takes milliseconds, where a metrics library takes
//! most of a second. What is not known has no sample.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::round::{Reason, Round, Row};

/// What the monitor says of itself.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) round: Histogram<f64>,
    pub(super) failures: Counter<u64>,
}

impl Metrics {
    pub fn new(meter: &Meter) -> Self {
        let round = meter
            .f64_histogram("highwater_lag_round_duration")
            .with_unit("s")
            .with_description("How long a round over all groups took.")
            .with_boundaries(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
            .build();
        let failures = meter
            .u64_counter("highwater_lag_failures")
            .with_description("Brokers, groups and stores that did not answer in a round.")
            .build();
        Self { round, failures }
    }
}

/// Appends every family of a round.
pub fn exposition(round: &Round, now_ms: i64, out: &mut String) {
    rows(out, "kafka_consumergroup_lag", "Records from the committed offset to the end.", round, |row| {
        row.records.ok().map(|records| records as f64)
    });
    rows(out, "kafka_consumergroup_current_offset", "The committed offset.", round, |row| Some(row.committed as f64));
    sums(out, round);
    rows(out, "highwater_lag_records", "Records from the committed offset to the end.", round, |row| {
        row.records.ok().map(|records| records as f64)
    });
    rows(out, "highwater_lag_records_lost", "Records that retention took before the group read them.", round, |row| {
        row.records_lost().map(|lost| lost as f64)
    });
    let seconds = |ms: Option<i64>| ms.map(|ms| ms as f64 / 1000.0);
    rows(out, "highwater_lag_seconds", "Age of the first unread record, most likely.", round, |row| {
        seconds(row.time.and_then(|time| time.value_ms))
    });
    rows(out, "highwater_lag_seconds_low", "Age of the first unread record, at least.", round, |row| {
        seconds(row.time.map(|time| time.low_ms))
    });
    rows(out, "highwater_lag_seconds_high", "Age of the first unread record, at most.", round, |row| {
        seconds(row.time.and_then(|time| time.high_ms))
    });
    unknown(out, round);
    gauge(out, "highwater_lag_groups", "Groups in the last round.", round.groups as f64);
    gauge(
        out,
        "highwater_lag_round_age_seconds",
        "Since the last round.",
        (now_ms - round.finished_ms) as f64 / 1000.0,
    );
    gauge(
        out,
        "highwater_lag_skew_seconds",
        "Between reading the commits and the ends.",
        round.skew_ms as f64 / 1000.0,
    );
    gauge(out, "highwater_lag_history_samples", "Samples of end offsets in memory.", round.history_samples as f64);
    family(out, "highwater_lag_rewound_total", "Times a partition's end offset went back.", "counter");
    line(out, format_args!("highwater_lag_rewound_total {}", round.rewound));
}

fn family(out: &mut String, name: &str, help: &str, kind: &str) {
    line(out, format_args!("# HELP {name} {help}"));
    line(out, format_args!("# TYPE {name} {kind}"));
}

fn gauge(out: &mut String, name: &str, help: &str, value: f64) {
    family(out, name, help, "gauge");
    line(out, format_args!("{name} {value}"));
}

fn rows(out: &mut String, name: &str, help: &str, round: &Round, value: impl Fn(&Row) -> Option<f64>) {
    family(out, name, help, "gauge");
    for row in &round.rows {
        if let Some(value) = value(row) {
            let (group, topic) = (Escaped(&row.group), Escaped(&row.topic_partition.topic));
            let partition = row.topic_partition.partition;
            line(
                out,
                format_args!(r#"{name}{{consumergroup="{group}",topic="{topic}",partition="{partition}"}} {value}"#),
            );
        }
    }
}

/// A sum only of what is known; a topic of which nothing is known has none.
fn sums(out: &mut String, round: &Round) {
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for row in &round.rows {
        if let Ok(records) = row.records {
            *sums.entry((&row.group, &row.topic_partition.topic)).or_default() += records;
        }
    }
    family(
        out,
        "kafka_consumergroup_lag_sum",
        "Lag of a group on a topic, over the partitions where it is known.",
        "gauge",
    );
    for ((group, topic), sum) in sums {
        let (group, topic) = (Escaped(group), Escaped(topic));
        line(out, format_args!(r#"kafka_consumergroup_lag_sum{{consumergroup="{group}",topic="{topic}"}} {sum}"#));
    }
}

fn unknown(out: &mut String, round: &Round) {
    family(out, "highwater_lag_unknown_rows", "Group and partition pairs whose lag is not known, by reason.", "gauge");
    for reason in Reason::ALL {
        let rows = round.rows.iter().filter(|row| row.records == Err(reason)).count();
        line(out, format_args!(r#"highwater_lag_unknown_rows{{reason="{}"}} {rows}"#, reason.name()));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = writeln!(out, "{text}");
    debug_assert!(written.is_ok(), "writing to a String does not fail");
}

/// A label's value, with what the text format gives a meaning to escaped.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for part in self.0.split_inclusive(['\\', '"', '\n']) {
            match part.char_indices().next_back() {
                Some((at, '\\')) => write!(f, r"{}\\", &part[..at])?,
                Some((at, '"')) => write!(f, r#"{}\""#, &part[..at])?,
                Some((at, '\n')) => write!(f, r"{}\n", &part[..at])?,
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::estimate::{Method, TimeLag};
    use super::*;
    use crate::client::TopicPartition;

    #[test]
    fn labels_are_escaped() {
        let check = |text: &str, want: &str| assert_eq!(Escaped(text).to_string(), want);
        check("plain", "plain");
        check("a\"b\\c\nd", r#"a\"b\\c\nd"#);
        check("\\", r"\\");
    }

    #[test]
    fn what_is_not_known_has_no_sample() {
        let row = |partition, records, time| Row {
            group: "g".to_owned(),
            topic_partition: TopicPartition::new("t", partition),
            committed: 5,
            log_start_offset: Some(7),
            end_offset: None,
            records,
            time,
        };
        let sampled = TimeLag { method: Method::Sampled, low_ms: 100, value_ms: Some(1_500), high_ms: Some(2_000) };
        let rows = vec![row(0, Ok(3), Some(sampled)), row(1, Ok(4), None), row(2, Err(Reason::EndUnknown), None)];
        let round = Round { finished_ms: 1_000, rows, groups: 1, ..Round::default() };
        let mut out = String::new();
        exposition(&round, 3_500, &mut out);
        let has = |line: &str| assert!(out.lines().any(|l| l == line), "{line} is not in\n{out}");
        has(r#"kafka_consumergroup_lag{consumergroup="g",topic="t",partition="0"} 3"#);
        has(r#"kafka_consumergroup_lag_sum{consumergroup="g",topic="t"} 7"#);
        has(r#"highwater_lag_seconds{consumergroup="g",topic="t",partition="0"} 1.5"#);
        has(r#"highwater_lag_seconds_high{consumergroup="g",topic="t",partition="0"} 2"#);
        has(r#"highwater_lag_records_lost{consumergroup="g",topic="t",partition="2"} 2"#);
        has(r#"highwater_lag_unknown_rows{reason="end_unknown"} 1"#);
        has("highwater_lag_round_age_seconds 2.5");
        assert!(!out.contains(r#"kafka_consumergroup_lag{consumergroup="g",topic="t",partition="2"}"#), "{out}");
        assert!(!out.contains(r#"highwater_lag_seconds{consumergroup="g",topic="t",partition="1"}"#), "{out}");
        let families = out.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(families, out.lines().filter(|line| line.starts_with("# HELP")).count());
    }
}
