//! Our own families, as Prometheus text. What is not known has no sample.

use super::Config;
use super::compat;
use super::estimate::Method;
use super::history::Break;
use super::round::{Cost, Reason, Round, Row, Total};
use super::status::Status;
use super::text::{Label, family, gauge, sample};

/// Appends every family of a round: ours, then those of other exporters that are asked for. Of a round that is too old to
/// speak of the present, only its age and what counts up.
pub fn exposition(config: &Config, round: &Round, now_ms: i64, out: &mut String) {
    let age = seconds((now_ms - round.finished_ms).max(0));
    gauge(out, "highwater_lag_round_age_seconds", "Since the last round.", age);
    breaks(round, out);
    cost(&round.cost, out);
    if !round.is_current(now_ms) {
        return;
    }
    in_records(round, out);
    in_time(round, out);
    motion(round, out);
    partitions(round, out);
    groups(round, out);
    unknown(round, out);
    monitor(round, out);
    holdings(&round.cost, out);
    for family in &config.compat {
        compat::write(*family, &config.cluster_name, round, out);
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn rows(out: &mut String, name: &str, help: &str, round: &Round, value: impl Fn(&Row) -> Option<f64>) {
    family(out, name, help, "gauge");
    for row in &round.rows {
        if let Some(value) = value(row) {
            let labels: [(&str, Label<'_>); 3] = [
                ("consumergroup", (&*row.group).into()),
                ("topic", row.topic_partition.topic.as_str().into()),
                ("partition", row.topic_partition.partition.into()),
            ];
            sample(out, name, &labels, value);
        }
    }
}

fn in_records(round: &Round, out: &mut String) {
    rows(out, "highwater_lag_records", "Records from the committed offset to the end.", round, |row| {
        row.records.ok().map(|records| records as f64)
    });
    rows(out, "highwater_lag_effective_records", "Of these, records that are still there.", round, |row| {
        row.records_effective().map(|records| records as f64)
    });
    rows(out, "highwater_lag_records_lost", "Records that retention took before the group read them.", round, |row| {
        row.records_lost().map(|lost| lost as f64)
    });
    rows(out, "highwater_lag_committed_offset", "The committed offset.", round, |row| Some(row.committed as f64));
}

fn in_time(round: &Round, out: &mut String) {
    rows(out, "highwater_lag_seconds", "Age of the first unread record, most likely.", round, |row| {
        row.time.and_then(|time| time.value_ms).map(seconds)
    });
    rows(out, "highwater_lag_seconds_low", "Age of the first unread record, at least.", round, |row| {
        row.time.map(|time| seconds(time.low_ms))
    });
    rows(out, "highwater_lag_seconds_high", "Age of the first unread record, at most.", round, |row| {
        row.time.and_then(|time| time.high_ms).map(seconds)
    });
    let help = "Until retention by time may take the first unread record, at the earliest.";
    rows(out, "highwater_lag_data_loss_seconds", help, round, |row| row.data_loss_ms.map(seconds));
}

fn motion(round: &Round, out: &mut String) {
    let help = "Records a second that the commits moved by.";
    rows(out, "highwater_lag_consumed_records_per_second", help, round, |row| row.motion.consumed_per_second);
    let help = "Until the group is at the end, if both sides go on as they did.";
    rows(out, "highwater_lag_catch_up_seconds", help, round, Row::catch_up_seconds);
    let help = "Since the commit was last seen to be another one, at least.";
    rows(out, "highwater_lag_commit_age_seconds", help, round, |row| Some(seconds(row.motion.standing_ms)));
}

fn partitions(round: &Round, out: &mut String) {
    let partitions = round.partitions();
    let mut each = |name: &str, help: &str, value: fn(&Row) -> Option<f64>| {
        family(out, name, help, "gauge");
        for row in &partitions {
            if let Some(value) = value(row) {
                let at = &row.topic_partition;
                sample(out, name, &[("topic", at.topic.as_str().into()), ("partition", at.partition.into())], value);
            }
        }
    };
    each("highwater_lag_end_offset", "The end of the partition (its high watermark).", |row| {
        row.end_offset.map(|offset| offset as f64)
    });
    each("highwater_lag_log_start_offset", "The first offset that is still there.", |row| {
        row.log_start_offset.map(|offset| offset as f64)
    });
    each("highwater_lag_produced_records_per_second", "Records a second that were written.", |row| {
        row.produced_per_second
    });
}

fn groups(round: &Round, out: &mut String) {
    let totals: Vec<Total<'_>> = round.totals().collect();
    let mut each = |name: &str, help: &str, value: fn(&Total<'_>) -> Option<f64>| {
        family(out, name, help, "gauge");
        for total in &totals {
            if let Some(value) = value(total) {
                sample(out, name, &[("consumergroup", (&**total.group).into())], value);
            }
        }
    };
    each("highwater_lag_group_records", "Lag of a group, over the partitions where it is known.", |total| {
        total.records.map(|records| records as f64)
    });
    each("highwater_lag_group_seconds", "Age of the group's oldest unread record, most likely.", |total| {
        total.value_ms.map(seconds)
    });
    each("highwater_lag_group_seconds_low", "Age of the group's oldest unread record, at least.", |total| {
        total.low_ms.map(seconds)
    });
    each("highwater_lag_group_seconds_high", "Age of the group's oldest unread record, at most.", |total| {
        total.high_ms.map(seconds)
    });
    let help = "Partitions of a group by how it gets on with them (Burrow's rules).";
    family(out, "highwater_lag_group_partitions", help, "gauge");
    for total in &totals {
        for status in Status::ALL {
            let count = total.rows.iter().filter(|row| row.motion.status == Some(status)).count();
            let labels = [("consumergroup", (&**total.group).into()), ("status", status.name().into())];
            sample(out, "highwater_lag_group_partitions", &labels, count as f64);
        }
    }
    family(out, "highwater_lag_group_info", "Always 1; what is known of a group.", "gauge");
    for group in &round.groups {
        let labels = [
            ("consumergroup", (&*group.name).into()),
            ("state", group.state.as_deref().unwrap_or_default().into()),
            ("type", group.kind.as_deref().unwrap_or_default().into()),
            ("coordinator", group.coordinator.into()),
        ];
        sample(out, "highwater_lag_group_info", &labels, 1.0);
    }
}

fn unknown(round: &Round, out: &mut String) {
    let help = "Group and partition pairs whose lag is not known, by reason; commit_unknown is of whole groups.";
    family(out, "highwater_lag_unknown_rows", help, "gauge");
    for reason in Reason::ALL {
        let rows = round.unknown_for(reason) as f64;
        sample(out, "highwater_lag_unknown_rows", &[("reason", reason.name().into())], rows);
    }
    let help = "Group and partition pairs by how their time lag was found; beyond_history has a lower bound only.";
    family(out, "highwater_lag_method_rows", help, "gauge");
    for method in Method::ALL {
        let rows = round.rows.iter().filter(|row| row.time.is_some_and(|time| time.method == method)).count();
        sample(out, "highwater_lag_method_rows", &[("method", method.name().into())], rows as f64);
    }
}

fn monitor(round: &Round, out: &mut String) {
    gauge(out, "highwater_lag_groups", "Groups in the last round.", round.groups.len() as f64);
    gauge(out, "highwater_lag_share_groups", "Share groups, whose lag is not read.", round.share_groups as f64);
    gauge(out, "highwater_lag_rows", "Group and partition pairs in the last round.", round.rows.len() as f64);
    gauge(out, "highwater_lag_skew_seconds", "Between reading the commits and the ends.", seconds(round.skew_ms));
    let failures = "Brokers, groups and stores that did not answer in the last round.";
    gauge(out, "highwater_lag_round_failures", failures, round.failures.len() as f64);
}

fn breaks(round: &Round, out: &mut String) {
    let help = "Histories that ended because offsets do not mean what they did, by what happened.";
    family(out, "highwater_lag_history_breaks_total", help, "counter");
    for kind in Break::ALL {
        let count = round.breaks.of(kind) as f64;
        sample(out, "highwater_lag_history_breaks_total", &[("event", kind.name().into())], count);
    }
}

fn cost(cost: &Cost, out: &mut String) {
    family(out, "highwater_lag_requests_total", "Requests of the monitor, by API and outcome.", "counter");
    for stats in &cost.by_api {
        let outcomes = [("answered", stats.answered), ("failed", stats.failed), ("abandoned", stats.abandoned)];
        for (outcome, count) in outcomes {
            let labels = [("api", stats.api.into()), ("outcome", outcome.into())];
            sample(out, "highwater_lag_requests_total", &labels, count as f64);
        }
    }
    family(out, "highwater_lag_request_seconds_total", "Time that requests took, by API.", "counter");
    for stats in &cost.by_api {
        let labels = [("api", stats.api.into())];
        sample(out, "highwater_lag_request_seconds_total", &labels, stats.time.as_secs_f64());
    }
    family(out, "highwater_lag_traffic_bytes_total", "Bytes over the monitor's connections.", "counter");
    for (direction, bytes) in [("sent", cost.traffic.sent_bytes), ("received", cost.traffic.received_bytes)] {
        let labels = [("direction", direction.into())];
        sample(out, "highwater_lag_traffic_bytes_total", &labels, bytes as f64);
    }
}

fn holdings(cost: &Cost, out: &mut String) {
    gauge(out, "highwater_lag_history_partitions", "Partitions with a history.", cost.history_partitions as f64);
    gauge(out, "highwater_lag_history_samples", "Samples of end offsets in memory.", cost.history_samples as f64);
    gauge(out, "highwater_lag_history_bytes", "What the history takes in memory.", cost.history_bytes as f64);
    gauge(out, "highwater_lag_window_bytes", "What the windows of commits take.", cost.window_bytes as f64);
    if let Some(answers) = cost.store_answers {
        let help = "Whether the store beside memory answered in the last round.";
        gauge(out, "highwater_lag_store_up", help, f64::from(u8::from(answers)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use super::super::estimate::TimeLag;
    use super::super::round::tests::{blank, group};
    use super::*;

    #[test]
    fn what_is_not_of_the_present_has_no_sample() {
        let rows = vec![Row { records: Ok(3), ..blank("g", "t", 0) }];
        let groups = vec![group("g", "Stable")];
        let cost = Cost { store_answers: Some(true), ..Cost::default() };
        let round = Round { finished_ms: 1_000, good_for_ms: 3_000, rows, groups, cost, ..Round::default() };
        let config = Config {
            compat: BTreeSet::from([
                compat::Family::KafkaExporter,
                compat::Family::Kminion,
                compat::Family::KafkaLagExporter,
            ]),
            ..Config::default()
        };
        let check = |now_ms: i64, is_current: bool| {
            let mut out = String::new();
            exposition(&config, &round, now_ms, &mut out);
            let samples: Vec<&str> = out.lines().filter(|line| !line.starts_with('#')).collect();
            let lag = r#"highwater_lag_records{consumergroup="g",topic="t",partition="0"} 3"#;
            assert_eq!(samples.contains(&lag), is_current, "{out}");
            let gauges = samples.iter().filter(|line| !line.contains("_total")).count();
            assert_eq!(gauges == 1, !is_current, "{out}");
            let age = format!("highwater_lag_round_age_seconds {}", (now_ms - 1_000) / 1_000);
            assert!(samples.contains(&age.as_str()), "{out}");
        };
        check(4_000, true);
        check(5_000, false);
    }

    #[test]
    fn what_is_not_known_has_no_sample() {
        let row =
            |partition, records, time| Row { records, time, log_start_offset: Some(7), ..blank("g", "t", partition) };
        let sampled = TimeLag { method: Method::Sampled, low_ms: 100, value_ms: Some(1_500), high_ms: Some(2_000) };
        let rows = vec![row(0, Ok(3), Some(sampled)), row(1, Ok(4), None), row(2, Err(Reason::EndUnknown), None)];
        let unread = BTreeMap::from([(Arc::from("h"), "timed out".to_owned())]);
        let groups = vec![group("g", "Stable"), group("h", "Stable")];
        let round = Round { finished_ms: 1_000, good_for_ms: 3_000, rows, groups, unread, ..Round::default() };
        let mut out = String::new();
        exposition(&Config::default(), &round, 3_500, &mut out);
        let has = |line: &str| assert!(out.lines().any(|l| l == line), "{line} is not in\n{out}");
        has(r#"highwater_lag_records{consumergroup="g",topic="t",partition="0"} 3"#);
        has(r#"highwater_lag_effective_records{consumergroup="g",topic="t",partition="0"} 1"#);
        has(r#"highwater_lag_group_records{consumergroup="g"} 7"#);
        has(r#"highwater_lag_seconds{consumergroup="g",topic="t",partition="0"} 1.5"#);
        has(r#"highwater_lag_seconds_high{consumergroup="g",topic="t",partition="0"} 2"#);
        has(r#"highwater_lag_records_lost{consumergroup="g",topic="t",partition="2"} 2"#);
        has(r#"highwater_lag_unknown_rows{reason="end_unknown"} 1"#);
        has(r#"highwater_lag_unknown_rows{reason="commit_unknown"} 1"#);
        has(r#"highwater_lag_method_rows{method="sampled"} 1"#);
        has("highwater_lag_round_age_seconds 2.5");
        assert!(!out.contains(r#"highwater_lag_records{consumergroup="g",topic="t",partition="2"}"#), "{out}");
        assert!(!out.contains(r#"highwater_lag_seconds{consumergroup="g",topic="t",partition="1"}"#), "{out}");
        assert!(!out.contains("kafka_consumergroup"), "others' families are opt-in");
        let families = out.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(families, out.lines().filter(|line| line.starts_with("# HELP")).count());
    }
}
