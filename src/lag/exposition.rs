//! Our own families, as Prometheus text. What is not known has no sample.

use std::sync::Arc;

use serde::Deserialize;

use super::Config;
use super::compat;
use super::estimate::Method;
use super::family::{Families, Family, GroupSum, Naming, Pages, Shown};
use super::history::Break;
use super::members;
use super::nodes::{Hold, Standing};
use super::round::{Round, Total};
use super::row::{Partition, Reason, Row, Sum};
use super::status::Status;
use super::text::{self, Dialect, Value};
use crate::client::ApiStats;

/// What it rests on is said, since who goes by it may lose records: Kafka counts from timestamps, and those are producers' own
/// unless `message.timestamp.type` is `LogAppendTime`.
const DATA_LOSS: &str = "Until retention.ms may take the first unread record, counted from when it was seen to be there: sooner \
    where its timestamp is older than that (mirrored or backfilled). None with retention.bytes, which may take it at any time.";

/// How far down our own families go. Each step has all that the one before has.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Series {
    /// What a group lags by.
    Group,
    /// What a group lags by on each topic.
    Topic,
    /// Of each group on each partition the lag in records and in seconds, or in seconds at least where no more is known; of
    /// each partition where it begins and ends.
    #[default]
    Partition,
    /// All that is known of each group on each partition.
    Detail,
}

/// Every family of a round, a page at a time: ours, then those of other exporters that are asked for. Of a round that is
/// too old to speak of the present, only its age and what counts up.
pub fn exposition(config: &Config, round: Arc<Round>, now_ms: i64, dialect: Dialect) -> Pages {
    let of = of(config, &round);
    let mut all = always(&of, now_ms);
    if round.is_current(now_ms) {
        all.extend(lag(config, &of));
    }
    Pages::new(round, dialect, all)
}

/// The same of a node that shares the groups with others: of one whose lease does not hold, the same as of an old round.
pub(super) fn shared(config: &Config, round: &Round, now_ms: i64, hold: &Hold, is_held: bool) -> Vec<Family> {
    let of = of(config, round);
    let mut all = always(&of, now_ms);
    all.extend(nodes(&of, hold.standing, is_held));
    if is_held && round.is_current(now_ms) {
        all.extend(lag(config, &of));
    }
    all
}

fn of<'r>(config: &Config, round: &'r Round) -> Families<'r> {
    let first = config.names_cluster.then(|| ("cluster", Arc::from(config.cluster_name.as_str())));
    let naming = Naming { first, group: "consumergroup", topic: "topic", partition: "partition" };
    let sum = |total: Total<'_>| GroupSum { group: Arc::clone(total.group), sum: total.sum };
    let shown = config.rows_max.map(|most| Arc::new(Shown::furthest(round, most)));
    Families { round, naming, groups: round.totals().map(sum).collect(), shown }
}

/// Of several clusters, whether a round of each speaks of the present.
pub(super) fn known_clusters(known: Vec<(String, bool)>) -> Family {
    let naming = Naming { first: None, group: "consumergroup", topic: "topic", partition: "partition" };
    let of = Families { round: &Round::default(), naming, groups: Arc::default(), shown: None };
    let help = "Whether the lag of the cluster's groups is known at present, as far as it is this monitor's to tell.";
    of.whole("highwater_lag_cluster_known", help, move |_, emit| {
        known.iter().for_each(|(name, is_known)| emit(&[("cluster", name.as_str().into())], (*is_known).into()));
    })
}

/// What does not speak of the present.
fn always(of: &Families<'_>, now_ms: i64) -> Vec<Family> {
    let age = Value::Millis((now_ms - of.round.finished_ms).max(0));
    let help = "How often the wall's clock was set while the monitor ran; ages go by a clock that nobody sets.";
    let jumps = of.one("highwater_lag_clock_jumps_total", help, of.round.clock_jumps).counter();
    let mut all = vec![of.one("highwater_lag_round_age_seconds", "Since the last round.", age), breaks(of), jumps];
    all.extend(cost(of));
    all
}

fn lag(config: &Config, of: &Families<'_>) -> Vec<Family> {
    let mut all = Vec::new();
    if config.series >= Series::Partition {
        all.extend(lags(of, config.series));
        all.extend(partitions(of));
    }
    all.extend(hidden(of));
    if config.series >= Series::Detail {
        all.extend(details(of));
    }
    if config.series >= Series::Topic {
        all.extend(topics(of));
    }
    all.extend(groups(of));
    all.extend(transactions(of));
    all.extend(unknown(of));
    all.extend(monitor(of));
    all.extend(holdings(of));
    all.extend(members::families(config, of));
    for family in &config.compat {
        all.extend(compat::families(*family, &config.cluster_name, of));
    }
    all
}

/// What `--top` leaves out, of our families and of others'.
fn hidden(of: &Families<'_>) -> [Family; 3] {
    let hidden = |count: fn(&Shown) -> usize| of.shown.as_ref().map_or(0, |shown| count(shown));
    [
        of.one(
            "highwater_lag_hidden_rows",
            "Group and partition pairs without series of their own, those least behind; they are in all sums.",
            hidden(|shown| shown.hidden),
        ),
        of.one(
            "highwater_lag_hidden_partitions",
            "Partitions without series of their own, those of hidden rows only.",
            hidden(|shown| shown.hidden_partitions),
        ),
        of.one(
            "highwater_lag_hidden_undecided_partitions",
            "Partitions with an undecided transaction that have no series of it, those where it is youngest.",
            hidden(|shown| shown.hidden_undecided),
        ),
    ]
}

fn millis(ms: i64) -> Value {
    Value::Millis(ms)
}

fn lags(of: &Families<'_>, series: Series) -> [Family; 3] {
    [
        of.rows("highwater_lag_records", "Records from the committed offset to the end.", |row| row.records().ok()),
        of.rows("highwater_lag_seconds", "Age of the first unread record, most likely.", |row| {
            row.time()?.value_ms.map(millis)
        }),
        least(of, series),
    ]
}

/// Of all rows in detail only. Otherwise of those without a likely age: they are beyond the history, often furthest behind, and
/// would be in no ranking. So a row has one series of its age, whatever is known of it.
fn least(of: &Families<'_>, series: Series) -> Family {
    let help = "Age of the first unread record, at least; without --series detail only where no more is known of it.";
    let least: fn(&Row<'_>) -> Option<Value> = if series >= Series::Detail {
        |row| row.time().map(|time| millis(time.low_ms))
    } else {
        |row| row.time().filter(|time| time.value_ms.is_none()).map(|time| millis(time.low_ms))
    };
    of.rows("highwater_lag_seconds_low", help, least)
}

/// Says of each row what [`unknown`] counts: a method is how much an age can be trusted.
fn methods(of: &Families<'_>) -> Family {
    let help = "Always 1; how the age of the first unread record was found.";
    of.rows_with("highwater_lag_seconds_method", help, |row| row.time().map(|_| 1_u32), |_, _| method_label)
}

fn method_label(row: &Row<'_>, out: &mut Vec<u8>) {
    if let Some(time) = row.time() {
        out.push(b',');
        text::label(out, "method", time.method.name().into());
    }
}

fn details(of: &Families<'_>) -> [Family; 11] {
    [
        methods(of),
        of.rows("highwater_lag_seconds_high", "Age of the first unread record, at most.", |row| {
            row.time()?.high_ms.map(millis)
        }),
        of.rows(
            "highwater_lag_effective_records",
            "Records from the committed offset on that are still there.",
            |row| row.records_effective().map(Value::Count),
        ),
        of.rows("highwater_lag_records_lost", "Records that retention took before the group read them.", |row| {
            row.records_lost()
        }),
        of.rows(
            "highwater_lag_offsets_without_records",
            "Offsets up to the end that hold no record for the group, where it was looked: ends of transactions, most often.",
            |row| row.offsets_without_records().map(Value::Count),
        ),
        of.rows(
            "highwater_lag_aborted_records",
            "Records of aborted transactions up to the end, where it was looked; they are none to readers of committed ones.",
            |row| row.records_aborted().map(Value::Count),
        ),
        of.rows("highwater_lag_committed_offset", "The committed offset.", |row| Some(row.committed())),
        of.rows("highwater_lag_data_loss_seconds", DATA_LOSS, |row| row.data_loss_ms().map(millis)),
        of.rows("highwater_lag_consumed_records_per_second", "Records a second that the commits moved by.", |row| {
            row.consumed_per_second()
        }),
        of.rows(
            "highwater_lag_catch_up_seconds",
            "Until the group is at the end, if both sides go on as they did.",
            |row| row.catch_up_seconds().map(Value::Number),
        ),
        of.rows(
            "highwater_lag_commit_age_seconds",
            "Since the commit was last seen to be another one, at least.",
            |row| Some(millis(row.standing_ms())),
        ),
    ]
}

fn partitions(of: &Families<'_>) -> [Family; 3] {
    [
        of.partitions("highwater_lag_end_offset", "The end of the partition (its high watermark).", |it| {
            it.end_offset()
        }),
        of.partitions("highwater_lag_log_start_offset", "The first offset that is still there.", |it| {
            it.log_start_offset
        }),
        of.partitions("highwater_lag_produced_records_per_second", "Records a second that were written.", |it| {
            it.produced_per_second
        }),
    ]
}

/// Of partitions with a transaction that is undecided, and no others.
fn transactions(of: &Families<'_>) -> [Family; 4] {
    [
        of.undecided("highwater_lag_stable_offset", "Where the first undecided transaction begins.", |it| {
            it.stable_offset
        }),
        of.undecided(
            "highwater_lag_undecided_records",
            "Records that readers of committed records cannot have yet.",
            Partition::undecided_records,
        ),
        of.undecided("highwater_lag_undecided_seconds", "Age of the first undecided record, most likely.", |it| {
            it.undecided?.value_ms.map(millis)
        }),
        of.undecided("highwater_lag_undecided_seconds_low", "Age of the first undecided record, at least.", |it| {
            it.undecided.map(|time| millis(time.low_ms))
        }),
    ]
}

fn topics(of: &Families<'_>) -> [Family; 10] {
    [
        of.readings(
            "highwater_lag_topic_records",
            "Lag of a group on a topic; none where it is not known of one of the partitions.",
            Sum::records,
        ),
        of.readings(
            "highwater_lag_topic_effective_records",
            "Records that the group has not read and that are still there.",
            Sum::records_effective,
        ),
        of.readings(
            "highwater_lag_topic_records_lost",
            "Records that retention took before the group read them.",
            Sum::records_lost,
        ),
        of.readings("highwater_lag_topic_seconds", "Age of the group's oldest unread record, most likely.", |sum| {
            sum.value_ms().map(millis)
        }),
        of.readings("highwater_lag_topic_seconds_low", "Age of the group's oldest unread record, at least.", |sum| {
            sum.low_ms().map(millis)
        }),
        of.readings("highwater_lag_topic_seconds_high", "Age of the group's oldest unread record, at most.", |sum| {
            sum.high_ms().map(millis)
        }),
        of.readings("highwater_lag_topic_data_loss_seconds", DATA_LOSS, |sum| sum.data_loss_ms.map(millis)),
        of.readings(
            "highwater_lag_topic_consumed_records_per_second",
            "Records a second that the commits moved by.",
            Sum::consumed_per_second,
        ),
        of.readings(
            "highwater_lag_topic_catch_up_seconds",
            "Until the group is at the end of every partition, if both sides go on as they did.",
            Sum::catch_up_seconds,
        ),
        of.readings(
            "highwater_lag_topic_commit_age_seconds",
            "Since the commit of a partition that the group lags on was last seen to be another one, at least.",
            |sum| sum.standing_ms.map(millis),
        ),
    ]
}

fn groups(of: &Families<'_>) -> [Family; 9] {
    let by_status = Arc::clone(&of.groups);
    [
        of.groups(
            "highwater_lag_group_records",
            "Lag of a group; none where it is not known of one of the partitions.",
            Sum::records,
        ),
        of.groups(
            "highwater_lag_group_effective_records",
            "Records that the group has not read and that are still there.",
            Sum::records_effective,
        ),
        of.groups("highwater_lag_group_seconds", "Age of the group's oldest unread record, most likely.", |sum| {
            sum.value_ms().map(millis)
        }),
        of.groups("highwater_lag_group_seconds_low", "Age of the group's oldest unread record, at least.", |sum| {
            sum.low_ms().map(millis)
        }),
        of.groups("highwater_lag_group_seconds_high", "Age of the group's oldest unread record, at most.", |sum| {
            sum.high_ms().map(millis)
        }),
        of.groups(
            "highwater_lag_group_records_lost",
            "Records that retention took before the group read them.",
            Sum::records_lost,
        ),
        of.groups("highwater_lag_group_data_loss_seconds", DATA_LOSS, |sum| sum.data_loss_ms.map(millis)),
        of.each(
            "highwater_lag_group_partitions",
            "Partitions of a group by how it gets on with them (Burrow's rules).",
            of.groups.len(),
            move |_, at, emit| {
                let Some(GroupSum { group, sum }) = by_status.get(at) else { return };
                for status in Status::ALL {
                    let labels = [("consumergroup", (&**group).into()), ("status", status.name().into())];
                    emit(&labels, sum.statuses[status as usize].into());
                }
            },
        ),
        of.known_groups("highwater_lag_group_info", "Always 1; what is known of a group.", |group, emit| {
            let labels = [
                ("consumergroup", (&*group.name).into()),
                ("state", group.state.as_deref().unwrap_or_default().into()),
                ("type", group.kind.as_deref().unwrap_or_default().into()),
                ("coordinator", group.coordinator.into()),
            ];
            emit(&labels, 1_u32.into());
        }),
    ]
}

fn unknown(of: &Families<'_>) -> [Family; 3] {
    [
        unknown_of_groups(of),
        of.whole(
            "highwater_lag_unknown_rows",
            "Group and partition pairs whose lag is not known, by reason; commit_unknown is of whole groups.",
            |round, emit| {
                for reason in Reason::ALL {
                    emit(&[("reason", reason.name().into())], round.unknown_for(reason).into());
                }
            },
        ),
        of.whole(
            "highwater_lag_method_rows",
            "Group and partition pairs by how their time lag was found; beyond_history has a lower bound only.",
            |round, emit| {
                for method in Method::ALL {
                    let rows: u32 = round.readings.iter().map(|reading| reading.sum.methods[method as usize]).sum();
                    emit(&[("method", method.name().into())], rows.into());
                }
            },
        ),
    ]
}

/// Of each group that is read, or should have been.
fn unknown_of_groups(of: &Families<'_>) -> Family {
    let groups = Arc::clone(&of.groups);
    let has_no_rows = |group: &&Arc<str>| groups.binary_search_by(|it| it.group.cmp(group)).is_err();
    let unread: Vec<Arc<str>> = of.round.unread.keys().filter(has_no_rows).cloned().collect();
    let help = "Partitions of a group whose lag is not known, so that its sums are not either; commits that could not be read \
                count as one.";
    of.each("highwater_lag_group_unknown_rows", help, groups.len() + unread.len(), move |_, at, emit| {
        let (group, count) = match groups.get(at) {
            Some(it) => (&it.group, it.sum.unknown_rows()),
            None => match unread.get(at - groups.len()) {
                Some(group) => (group, 1),
                None => return,
            },
        };
        emit(&[("consumergroup", (&**group).into())], count.into());
    })
}

fn monitor(of: &Families<'_>) -> [Family; 5] {
    let round = of.round;
    let share_groups = round.groups.iter().filter(|group| group.is_share()).count();
    [
        of.one("highwater_lag_groups", "Groups in the last round.", round.groups.len()),
        of.one("highwater_lag_share_groups", "Share groups among them (KIP-932).", share_groups),
        of.one("highwater_lag_rows", "Group and partition pairs in the last round.", round.row_count()),
        of.one("highwater_lag_skew_seconds", "Between reading the commits and the ends.", millis(round.skew_ms)),
        of.one(
            "highwater_lag_round_failures",
            "Brokers, groups and stores that did not answer in the last round.",
            round.failures.len(),
        ),
    ]
}

/// Of a node that shares the groups with others.
fn nodes(of: &Families<'_>, standing: Standing, is_held: bool) -> Vec<Family> {
    let handovers = of.one(
        "highwater_lag_handovers_total",
        "How often all nodes have come to keep to another roll of nodes.",
        standing.handovers,
    );
    let mut all = vec![
        of.one("highwater_lag_nodes", "Nodes that share the groups, as this one last heard.", standing.nodes),
        of.one("highwater_lag_lease_held", "Whether this node may tell its groups.", is_held),
        of.one("highwater_lag_lease_epoch", "How often a node came or went, as this one last heard.", standing.epoch),
        of.one("highwater_lag_groups_listed", "Groups that the cluster has, of all nodes.", of.round.listed),
        handovers.counter(),
    ];
    if let Some(ms) = standing.handover_ms {
        let help = "How long at most groups were nobody's to tell at the last handover; a round comes after that.";
        all.push(of.one("highwater_lag_handover_seconds", help, millis(ms)));
    }
    all
}

fn breaks(of: &Families<'_>) -> Family {
    let help = "Histories that ended because offsets do not mean what they did, by what happened.";
    let family = of.whole("highwater_lag_history_breaks_total", help, |round, emit| {
        for kind in Break::ALL {
            emit(&[("event", kind.name().into())], round.breaks.of(kind).into());
        }
    });
    family.counter()
}

fn cost(of: &Families<'_>) -> [Family; 3] {
    let requests =
        of.whole("highwater_lag_requests_total", "Requests of the monitor, by API and outcome.", |round, emit| {
            for stats in asked(round) {
                let outcomes = [("answered", stats.answered), ("failed", stats.failed), ("abandoned", stats.abandoned)];
                for (outcome, count) in outcomes {
                    emit(&[("api", stats.api.into()), ("outcome", outcome.into())], count.into());
                }
            }
        });
    let time = of.whole("highwater_lag_request_seconds_total", "Time that requests took, by API.", |round, emit| {
        for stats in asked(round) {
            emit(&[("api", stats.api.into())], stats.time.as_secs_f64().into());
        }
    });
    let help = "Bytes over the monitor's connections, by API and direction; handshakes are among them.";
    let traffic = of.whole("highwater_lag_traffic_bytes_total", help, |round, emit| {
        for stats in &round.cost.by_api {
            for (direction, bytes) in [("sent", stats.sent_bytes), ("received", stats.received_bytes)] {
                emit(&[("api", stats.api.into()), ("direction", direction.into())], bytes.into());
            }
        }
    });
    [requests, time, traffic].map(Family::counter)
}

/// Of what is asked in handshakes alone, there are bytes, and no requests of the monitor.
fn asked(round: &Round) -> impl Iterator<Item = &ApiStats> {
    round.cost.by_api.iter().filter(|stats| stats.requests() > 0)
}

fn holdings(of: &Families<'_>) -> Vec<Family> {
    let cost = &of.round.cost;
    let mut held = vec![
        of.one("highwater_lag_history_partitions", "Partitions with a history.", cost.history_partitions),
        of.one("highwater_lag_history_samples", "Samples of end offsets in memory.", cost.history_samples),
        of.one("highwater_lag_history_bytes", "What the history takes in memory.", cost.history_bytes),
        of.one("highwater_lag_window_bytes", "What rows and windows of commits take.", cost.window_bytes),
    ];
    if let Some(answers) = cost.store_answers {
        let help = "Whether the store beside memory answered in the last round.";
        held.push(of.one("highwater_lag_store_up", help, answers));
    }
    held
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::estimate::TimeLag;
    use super::super::round::tests::{Plain, blank, group, round};
    use super::super::round::{Cost, Group};
    use super::*;
    use crate::client::{GroupMember, Metadata};
    use crate::protocol::messages::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};

    fn text(config: &Config, round: &Round, now_ms: i64) -> String {
        let pages = exposition(config, Arc::new(round.clone()), now_ms, Dialect::Prometheus);
        pages.map(|page| String::from_utf8(page).expect("text")).collect()
    }

    #[test]
    fn what_is_not_of_the_present_has_no_sample() {
        let rows = round(&[Plain { records: Ok(3), ..blank("g", "t", 0) }]);
        let groups = vec![group("g", "Stable")];
        let cost = Cost { store_answers: Some(true), ..Cost::default() };
        let round = Round { finished_ms: 1_000, good_for_ms: 3_000, groups, cost, ..rows };
        let config = Config {
            compat: BTreeSet::from([
                compat::Family::KafkaExporter,
                compat::Family::Kminion,
                compat::Family::KafkaLagExporter,
            ]),
            ..Config::default()
        };
        let check = |now_ms: i64, is_current: bool| {
            let out = text(&config, &round, now_ms);
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
        let row = |group, partition, records, time| Plain {
            records,
            time,
            log_start_offset: Some(7),
            ..blank(group, "t", partition)
        };
        let sampled = TimeLag { method: Method::Sampled, low_ms: 100, value_ms: Some(1_500), high_ms: Some(2_000) };
        let rows = [
            row("g", 0, Ok(3), Some(sampled)),
            row("g", 1, Ok(4), Some(sampled)),
            row("p", 2, Err(Reason::EndUnknown), None),
            row("p", 3, Ok(4), None),
        ];
        let unread = BTreeMap::from([(Arc::from("h"), "timed out".to_owned())]);
        let groups = vec![group("g", "Stable"), group("h", "Stable")];
        let round = Round { finished_ms: 1_000, good_for_ms: 3_000, groups, ..round(&rows) }.with_unread(unread);
        let out = text(&Config { series: Series::Detail, ..Config::default() }, &round, 3_500);
        let has = |line: &str| assert!(out.lines().any(|l| l == line), "{line} is not in\n{out}");
        has(r#"highwater_lag_records{consumergroup="g",topic="t",partition="0"} 3"#);
        has(r#"highwater_lag_effective_records{consumergroup="g",topic="t",partition="0"} 1"#);
        has(r#"highwater_lag_topic_records{consumergroup="g",topic="t"} 7"#);
        has(r#"highwater_lag_topic_effective_records{consumergroup="g",topic="t"} 3"#);
        has(r#"highwater_lag_topic_seconds_high{consumergroup="g",topic="t"} 2"#);
        has(r#"highwater_lag_group_records{consumergroup="g"} 7"#);
        has(r#"highwater_lag_seconds{consumergroup="g",topic="t",partition="0"} 1.5"#);
        has(r#"highwater_lag_seconds_high{consumergroup="g",topic="t",partition="0"} 2"#);
        has(r#"highwater_lag_records_lost{consumergroup="p",topic="t",partition="2"} 2"#);
        has(r#"highwater_lag_records{consumergroup="p",topic="t",partition="3"} 4"#);
        for (group, unknown) in [("g", 0), ("p", 1), ("h", 1)] {
            has(&format!(r#"highwater_lag_group_unknown_rows{{consumergroup="{group}"}} {unknown}"#));
        }
        // A sum over the rest would fall when a broker goes away, and look like recovery.
        for sum in ["group_records", "group_seconds", "topic_records", "topic_effective_records", "topic_seconds_high"]
        {
            assert!(!out.contains(&format!(r#"highwater_lag_{sum}{{consumergroup="p""#)), "{sum} in {out}");
        }
        has(r#"highwater_lag_unknown_rows{reason="end_unknown"} 1"#);
        has(r#"highwater_lag_unknown_rows{reason="commit_unknown"} 1"#);
        has(r#"highwater_lag_method_rows{method="sampled"} 2"#);
        has("highwater_lag_round_age_seconds 2.5");
        assert!(!out.contains(r#"highwater_lag_records{consumergroup="p",topic="t",partition="2"}"#), "{out}");
        assert!(!out.contains(r#"highwater_lag_seconds{consumergroup="p",topic="t",partition="3"}"#), "{out}");
        assert!(!out.contains("kafka_consumergroup"), "others' families are opt-in");
        let families = out.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(families, out.lines().filter(|line| line.starts_with("# HELP")).count());
    }

    #[test]
    fn each_step_has_all_that_the_one_before_has() {
        let sampled = TimeLag { method: Method::Sampled, low_ms: 100, value_ms: Some(1_500), high_ms: Some(2_000) };
        let rows = [Plain { records: Ok(3), time: Some(sampled), log_start_offset: Some(7), ..blank("g", "t", 0) }];
        let round = Round { good_for_ms: 1, ..round(&rows) };
        let samples = |series| {
            let out = text(&Config { series, ..Config::default() }, &round, 0);
            out.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let (mut before, mut of_rows) = (samples(Series::Group), vec![]);
        for series in [Series::Topic, Series::Partition, Series::Detail] {
            let now = samples(series);
            assert!(before.is_subset(&now) && before.len() < now.len(), "{series:?}");
            of_rows.push(now.iter().filter(|line| line.contains(r#"consumergroup="g",topic="t",partition="#)).count());
            before = now;
        }
        assert_eq!(of_rows, [0, 2, 9], "a row costs two series where nobody asked for more");
    }

    #[test]
    fn a_row_beyond_the_history_has_the_least_age_that_it_can_have() {
        let sampled = TimeLag { method: Method::Sampled, low_ms: 100, value_ms: Some(1_500), high_ms: Some(2_000) };
        let beyond = TimeLag { method: Method::BeyondHistory, low_ms: 9_000, value_ms: None, high_ms: None };
        let row = |partition, time| Plain { records: Ok(3), time, ..blank("g", "t", partition) };
        let round = Round { good_for_ms: 1, ..round(&[row(0, Some(sampled)), row(1, Some(beyond)), row(2, None)]) };
        let check = |series, want: &[&str]| {
            let out = text(&Config { series, ..Config::default() }, &round, 0);
            let ages = out.lines().filter_map(|line| line.strip_prefix("highwater_lag_seconds"));
            let ages: Vec<_> = ages.map(|it| it.replace(r#"consumergroup="g",topic="t",partition="#, "")).collect();
            assert_eq!(ages, want, "{series:?}");
        };
        check(Series::Topic, &[]);
        check(Series::Partition, &[r#"{"0"} 1.5"#, r#"_low{"1"} 9"#]);
        check(
            Series::Detail,
            &[
                r#"{"0"} 1.5"#,
                r#"_low{"0"} 0.1"#,
                r#"_low{"1"} 9"#,
                r#"_method{"0",method="sampled"} 1"#,
                r#"_method{"1",method="beyond_history"} 1"#,
                r#"_high{"0"} 2"#,
            ],
        );
    }

    #[test]
    fn what_the_monitor_costs_is_told_by_api() {
        let blank = ApiStats {
            api: "ApiVersions",
            answered: 0,
            failed: 0,
            abandoned: 0,
            time: Duration::ZERO,
            sent_bytes: 13,
            received_bytes: 500,
        };
        let fetch = ApiStats {
            api: "Fetch",
            answered: 2,
            failed: 1,
            time: Duration::from_millis(1_500),
            sent_bytes: 70,
            ..blank
        };
        let round = Round { cost: Cost { by_api: vec![blank, fetch], ..Cost::default() }, ..Round::default() };
        let out = text(&Config::default(), &round, 0);
        let check = |family: &str, want: &[&str]| {
            let samples: Vec<_> = out.lines().filter_map(|line| line.strip_prefix(family)).collect();
            assert_eq!(samples, want, "{family}");
        };
        check(
            "highwater_lag_traffic_bytes_total{",
            &[
                r#"api="ApiVersions",direction="sent"} 13"#,
                r#"api="ApiVersions",direction="received"} 500"#,
                r#"api="Fetch",direction="sent"} 70"#,
                r#"api="Fetch",direction="received"} 500"#,
            ],
        );
        check(
            "highwater_lag_requests_total{",
            &[
                r#"api="Fetch",outcome="answered"} 2"#,
                r#"api="Fetch",outcome="failed"} 1"#,
                r#"api="Fetch",outcome="abandoned"} 0"#,
            ],
        );
        check("highwater_lag_request_seconds_total{", &[r#"api="Fetch"} 1.5"#]);
    }

    #[test]
    fn those_least_behind_are_hidden_and_counted() {
        let row =
            |group, partition, records| Plain { records, log_start_offset: Some(1), ..blank(group, "t", partition) };
        let lost = Err(Reason::EndUnknown);
        let rows = [row("g", 0, Ok(3)), row("g", 1, Ok(9)), row("h", 2, lost), row("h", 3, Ok(7)), row("i", 4, Ok(1))];
        let mut round = Round { good_for_ms: 1, cluster: Arc::new(read_by(&["t"], 9)), ..round(&rows) };
        // Of those with an undecided transaction the oldest are shown, wherever a reader may be.
        round.partitions[2].stable_offset = Some(1);
        round.partitions[4].stable_offset = Some(1);
        let check = |rows_max: Option<usize>, want: &[&str], hidden: usize| {
            let compat = BTreeSet::from([compat::Family::KafkaExporter]);
            let out = text(&Config { rows_max, compat, ..Config::default() }, &round, 0);
            let of = |start: &str| -> Vec<_> { out.lines().filter_map(|it| it.strip_prefix(start)).collect() };
            let shown: Vec<_> = of("highwater_lag_records{").iter().filter_map(|it| it.split_once("} ")).collect();
            assert_eq!(shown.iter().map(|(_, value)| *value).collect::<Vec<_>>(), want, "{rows_max:?}");
            assert_eq!(of("highwater_lag_hidden_rows "), [hidden.to_string()], "{rows_max:?}");
            // Each row is on a partition of its own here.
            assert_eq!(of("highwater_lag_hidden_partitions "), [hidden.to_string()], "{rows_max:?}");
            let most = rows_max.unwrap_or(5).min(5);
            for family in ["highwater_lag_log_start_offset{", "kafka_topic_partition_oldest_offset{"] {
                assert_eq!(of(family).len(), most, "{family} {rows_max:?}");
            }
            // Also of partitions that nobody reads.
            assert_eq!(of("kafka_topic_partition_replicas{").len(), rows_max.map_or(9, |_| most), "{rows_max:?}");
            let undecided: Vec<_> = of("highwater_lag_stable_offset{").iter().map(|it| it.len()).collect();
            assert_eq!(undecided.len(), most.min(2), "{rows_max:?}");
            assert_eq!(
                of("highwater_lag_hidden_undecided_partitions "),
                [(2 - most.min(2)).to_string()],
                "{rows_max:?}"
            );
            assert_eq!(
                of("highwater_lag_topic_records{"),
                [r#"consumergroup="g",topic="t"} 12"#, r#"consumergroup="i",topic="t"} 1"#]
            );
        };
        check(None, &["3", "9", "7", "1"], 0);
        check(Some(5), &["3", "9", "7", "1"], 0);
        check(Some(2), &["9", "7"], 3);
        check(Some(0), &[], 5);
    }

    /// Whatever there are many of: no page has much more than its share, and none is written twice or left out.
    #[test]
    fn no_family_is_one_page() {
        let names: Vec<&'static str> = (0..3_000).map(|at| &*format!("group-{at:04}").leak()).collect();
        let rows: Vec<_> = names.iter().map(|name| Plain { records: Ok(3), ..blank(name, name, 0) }).collect();
        let groups = names
            .iter()
            .map(|name| Group { members: Some([GroupMember::default()].into()), ..group(name, "Stable") })
            .collect();
        let cluster = Arc::new(read_by(&names, 9));
        let round = Round { good_for_ms: 1, groups, cluster, ..round(&rows) };
        let compat = [compat::Family::KafkaExporter, compat::Family::Kminion, compat::Family::KafkaLagExporter];
        let config = Config { compat: compat.into(), ..Config::default() };
        let pages: Vec<_> = exposition(&config, Arc::new(round), 0, Dialect::Prometheus).collect();
        let largest = pages.iter().map(Vec::len).max().unwrap_or_default();
        assert!(largest < 2 * 64 * 1024, "{largest} bytes in a page");
        let text = String::from_utf8(pages.concat()).expect("text");
        let check = |start: &str, want: usize| {
            let found: BTreeSet<&str> = text.lines().filter(|line| line.starts_with(start)).collect();
            assert_eq!((found.len(), text.matches(&format!("\n{start}")).count()), (want, want), "{start}");
        };
        check("highwater_lag_group_info{", 3_000);
        check("highwater_lag_group_partitions{", 3_000 * Status::ALL.len());
        check("kafka_topic_partitions{", 3_000);
        check("kafka_topic_partition_leader{", 3_000 * 9);
        check("kafka_topic_partition_under_replicated_partition{", 3_000 * 9);
        check("kafka_consumergroup_members{", 3_000);
        check("kminion_kafka_topic_info{", 3_000);
        // Of one partition of nine it would be too little.
        check("kminion_kafka_topic_high_water_mark_sum{", 0);
        check("kminion_kafka_consumer_group_info{", 3_000);
        check("kminion_kafka_consumer_group_empty_members{", 3_000);
    }

    /// What is known of a cluster with these topics, of so many partitions each.
    pub fn read_by(topics: &[&str], partitions: i32) -> Metadata {
        let partition = |partition_index| MetadataResponsePartition { partition_index, ..Default::default() };
        let topic = |name: &&str| MetadataResponseTopic {
            name: Some((*name).into()),
            partitions: (0..partitions).map(partition).collect(),
            ..Default::default()
        };
        let answer = MetadataResponse { topics: topics.iter().map(topic).collect(), ..Default::default() };
        Metadata::default().merged(answer, true, Instant::now(), Duration::ZERO)
    }

    #[test]
    fn pages_are_the_text() {
        let rows: Vec<_> = (0..3_000).map(|partition| Plain { records: Ok(3), ..blank("g", "t", partition) }).collect();
        let round = Round { good_for_ms: 1, ..round(&rows) };
        let pages: Vec<_> = exposition(&Config::default(), Arc::new(round), 0, Dialect::OpenMetrics).collect();
        assert!(pages.len() > 1 && pages.iter().all(|page| page.ends_with(b"\n")), "{}", pages.len());
        let text = String::from_utf8(pages.concat()).expect("text");
        let of = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!((of("highwater_lag_records{"), of("# TYPE highwater_lag_records ")), (3_000, 1));
        assert_eq!((of("# TYPE highwater_lag_requests counter"), of("# TYPE highwater_lag_requests_total")), (1, 0));
    }
}
