//! The lag as JSON: `GET /api/consumer/lag` and `GET /api/lag`, with `?group=` for one group; and `GET /api/lag/GROUP`, one
//! group's lag as plain numbers, for autoscalers. One group that another node tells is asked for there ([`super::elsewhere`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::estimate::TimeLag;
use super::round::{Round, Total};
use super::row::{Reason, Row, Sum};
use super::status::Status;
use super::{Absent, Clusters, Config, Rounds, burrow};

/// The routes over the last round: ours, and Burrow's.
pub fn router(config: &Config, rounds: Rounds) -> Router {
    router_of(Clusters::of(vec![(config.clone(), rounds)]))
}

/// The same of several clusters.
pub fn router_of(clusters: Clusters) -> Router {
    let ours = Router::new().route("/api/consumer/lag", get(lag)).route("/api/lag", get(lag));
    let ours = ours.route("/api/lag/{group}", get(of_one));
    ours.with_state(clusters.clone()).merge(burrow::router(clusters))
}

#[derive(Debug, Deserialize)]
struct Asked {
    cluster: Option<String>,
    group: Option<String>,
}

#[derive(Debug, Deserialize)]
struct AskedOfOne {
    cluster: Option<String>,
    topic: Option<String>,
}

/// One group over all its partitions, or those of a topic. KEDA's metrics-api scaler takes any of the numbers by its name
/// (`valueLocation`).
#[derive(Debug, Serialize, PartialEq)]
struct OfGroup {
    lag_records: u64,
    /// Of these, the ones that retention has not taken: whoever scales by the others scales for records that nobody can read.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_records_effective: Option<u64>,
    /// Age of the oldest unread record, most likely; left out where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<f64>,
    partitions: usize,
    /// Partitions that do not exist any more, and so have no records.
    gone_partitions: usize,
}

/// Of several clusters, each by its name; of one whose lag is not known, why.
#[derive(Debug, Serialize, PartialEq)]
struct Answers {
    clusters: BTreeMap<String, OfCluster>,
}

#[derive(Debug, Serialize, PartialEq)]
#[serde(untagged)]
enum OfCluster {
    Known(Answer),
    Unknown { unknown: String },
}

/// Offsets and records are numbers, times are seconds; what is not known is left out, and `unknown` says why.
#[derive(Debug, Serialize, PartialEq)]
struct Answer {
    age_seconds: f64,
    skew_seconds: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<String>,
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default, Serialize, PartialEq)]
struct Group {
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// `classic`, `consumer`, `share` or `streams`.
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    /// Over all partitions; left out where it is not known of one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_records: Option<u64>,
    /// Of these, the ones that retention has not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_records_effective: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds_max: Option<f64>,
    /// Why the two are not known, and of how many partitions; commits that could not be read count as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<&'static str>,
    #[serde(skip_serializing_if = "is_zero")]
    unknown_partitions: u32,
    topics: BTreeMap<String, BTreeMap<i32, Partition>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[derive(Debug, Serialize, PartialEq)]
struct Partition {
    committed_offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_start_offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_records: Option<u64>,
    /// Where it is less.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_records_effective: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records_lost: Option<u64>,
    /// Of the offsets up to the end, those that hold no record for the group: ends of transactions, and what compaction took.
    #[serde(skip_serializing_if = "Option::is_none")]
    offsets_without_records: Option<u64>,
    /// Of aborted transactions; among the records, unless the group reads committed ones only.
    #[serde(skip_serializing_if = "Option::is_none")]
    records_aborted: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    catch_up_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_loss_seconds: Option<f64>,
}

#[derive(Debug, Serialize, PartialEq)]
struct Seconds {
    method: &'static str,
    low: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<f64>,
}

/// What `/api/lag` answers, for who is not asking over HTTP.
pub fn json(round: &Round, now_ms: i64) -> serde_json::Value {
    serde_json::to_value(answer(round, None, now_ms)).unwrap_or_default()
}

async fn lag(State(clusters): State<Clusters>, Query(asked): Query<Asked>, uri: OriginalUri) -> Response {
    let (group, now_ms) = (asked.group.as_deref(), Clock::start().now_ms());
    if let Some(elsewhere) = group.and_then(|group| clusters.elsewhere(asked.cluster.as_deref(), group, &uri)) {
        return elsewhere;
    }
    let answered = match asked.cluster.as_deref() {
        None if clusters.are_named() => of_all(&clusters, group, now_ms).map(|answers| Json(answers).into_response()),
        name => of_cluster(&clusters, name)
            .and_then(|rounds| looked_up(rounds, group, now_ms))
            .map(|answer| Json(answer).into_response()),
    };
    answered.unwrap_or_else(|(status, why)| (status, format!("{why}\n")).into_response())
}

/// Path and query are all that a scaler can be told, and a status other than 200 is all that it heeds.
async fn of_one(
    State(clusters): State<Clusters>,
    Path(group): Path<String>,
    Query(asked): Query<AskedOfOne>,
    uri: OriginalUri,
) -> Response {
    if let Some(elsewhere) = clusters.elsewhere(asked.cluster.as_deref(), &group, &uri) {
        return elsewhere;
    }
    let said = of_cluster(&clusters, asked.cluster.as_deref())
        .and_then(|rounds| of_group(rounds, &group, asked.topic.as_deref(), Clock::start().now_ms()));
    match said {
        Ok(said) => Json(said).into_response(),
        Err((status, why)) => (status, format!("{why}\n")).into_response(),
    }
}

/// The cluster that is meant: the only one, or the one that is named.
fn of_cluster<'a>(clusters: &'a Clusters, name: Option<&str>) -> Result<&'a Rounds, (StatusCode, String)> {
    match name {
        Some(name) => {
            clusters.get(name).ok_or_else(|| (StatusCode::NOT_FOUND, format!("no cluster {name:?} is monitored")))
        }
        None if clusters.are_named() => {
            let names: Vec<&str> = clusters.each().map(|(name, _)| name).collect();
            Err((StatusCode::BAD_REQUEST, format!("say which cluster with ?cluster=: {}", names.join(", "))))
        }
        None => match clusters.each().next() {
            Some((_, rounds)) => Ok(rounds),
            None => Err((StatusCode::NOT_FOUND, "no cluster is monitored".to_owned())),
        },
    }
}

fn of_group(rounds: &Rounds, group: &str, topic: Option<&str>, now_ms: i64) -> Result<OfGroup, (StatusCode, String)> {
    let round = current(rounds, now_ms)?;
    let total = round.total_of(group).map_err(|absent| refusal(group, absent))?;
    let sum = topic.map_or(Ok(total.sum), |topic| on_topic(&total, topic))?;
    let lag_records = sum.records().ok_or_else(|| {
        let unread = round.unread.get(group).map(|why| format!(", as its commits could not be read: {why}"));
        let unknown = || match sum.why_unknown() {
            Some(reason) => format!(" on {} of {} partitions: {}", sum.unknown_rows(), sum.rows, reason.name()),
            None => ": none of its topics exists".to_owned(),
        };
        let why = unread.unwrap_or_else(unknown);
        (StatusCode::SERVICE_UNAVAILABLE, format!("the lag of group {group:?} is not known{why}"))
    })?;
    Ok(OfGroup {
        lag_records,
        lag_records_effective: sum.records_effective(),
        lag_seconds: sum.value_ms().map(seconds),
        partitions: sum.rows as usize,
        gone_partitions: sum.unknown[Reason::TopicGone as usize] as usize,
    })
}

/// A group whose commits could not be read may have some on any topic.
fn on_topic(total: &Total<'_>, topic: &str) -> Result<Sum, (StatusCode, String)> {
    let group = total.group;
    match (total.readings.iter().find(|reading| *reading.topic == *topic), total.round.unread.get(group)) {
        (Some(reading), _) => Ok(reading.sum),
        (None, Some(why)) => {
            Err(refusal(group, Absent::Unknown(format!("the commits of group {group} could not be read: {why}"))))
        }
        (None, None) => {
            Err((StatusCode::NOT_FOUND, format!("group {group:?} has no committed offsets on topic {topic:?}")))
        }
    }
}

fn current(rounds: &Rounds, now_ms: i64) -> Result<Arc<Round>, (StatusCode, String)> {
    rounds.current_at(now_ms).map_err(|no_lag| (StatusCode::SERVICE_UNAVAILABLE, no_lag.to_string()))
}

fn refusal(group: &str, absent: Absent) -> (StatusCode, String) {
    match absent {
        Absent::NothingCommitted => (StatusCode::NOT_FOUND, format!("no group {group:?} has committed offsets")),
        Absent::Unknown(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

/// What is known, as long as anything is. Clusters without the group that was asked for are left out.
fn of_all(clusters: &Clusters, group: Option<&str>, now_ms: i64) -> Result<Answers, (StatusCode, String)> {
    let mut said = BTreeMap::new();
    let mut failed = Err((StatusCode::NOT_FOUND, "no cluster is monitored".to_owned()));
    for (name, rounds) in clusters.each() {
        match looked_up(rounds, group, now_ms) {
            Ok(answer) => {
                failed = Ok(());
                said.insert(name.to_owned(), OfCluster::Known(answer));
            }
            Err((StatusCode::NOT_FOUND, why)) => {
                failed = failed.map_err(|before| {
                    if before.0 == StatusCode::NOT_FOUND { (StatusCode::NOT_FOUND, why) } else { before }
                });
            }
            Err((status, why)) => {
                said.insert(name.to_owned(), OfCluster::Unknown { unknown: why.clone() });
                failed = failed.map_err(|_| (status, format!("{name}: {why}")));
            }
        }
    }
    failed.map(|()| Answers { clusters: said })
}

fn looked_up(rounds: &Rounds, group: Option<&str>, now_ms: i64) -> Result<Answer, (StatusCode, String)> {
    let round = current(rounds, now_ms)?;
    if let Some(group) = group {
        round.total_of(group).map_err(|absent| refusal(group, absent))?;
    }
    Ok(answer(&round, group, now_ms))
}

fn answer(round: &Round, only: Option<&str>, now_ms: i64) -> Answer {
    let is_wanted = |group: &str| only.is_none_or(|only| only == group);
    let unread = round.unread.keys().filter(|group| is_wanted(group));
    let unknown = Some(Reason::CommitUnknown.name());
    let mut groups: BTreeMap<String, Group> =
        unread.map(|group| (group.to_string(), Group { unknown, unknown_partitions: 1, ..Group::default() })).collect();
    for total in round.totals().filter(|total| is_wanted(total.group)) {
        let mut topics: BTreeMap<String, BTreeMap<i32, Partition>> = BTreeMap::new();
        for row in total.rows() {
            let topic = topics.entry(row.topic().to_string()).or_default();
            topic.insert(row.partition(), partition(&row));
        }
        let group = groups.entry(total.group.to_string()).or_default();
        group.status = total.sum.status.map(Status::name);
        group.lag_records = total.sum.records();
        group.lag_records_effective = total.sum.records_effective();
        group.unknown = total.sum.why_unknown().map(Reason::name);
        group.unknown_partitions = total.sum.unknown_rows();
        group.lag_seconds_max = total.sum.value_ms().map(seconds);
        group.topics = topics;
    }
    for (name, group) in &mut groups {
        let known = round.group(name);
        group.state = known.and_then(|group| group.state.clone());
        group.r#type = known.and_then(|group| group.kind.clone());
    }
    Answer {
        age_seconds: seconds((now_ms - round.finished_ms).max(0)),
        skew_seconds: seconds(round.skew_ms),
        failures: round.failures.clone(),
        groups,
    }
}

fn partition(row: &Row<'_>) -> Partition {
    Partition {
        committed_offset: row.committed(),
        end_offset: row.end_offset(),
        log_start_offset: row.log_start_offset(),
        lag_records: row.records().ok(),
        lag_records_effective: row.records_effective().filter(|there| row.records() != Ok(*there)),
        unknown: row.records().err().map(Reason::name),
        records_lost: row.records_lost().filter(|lost| *lost > 0),
        offsets_without_records: row.offsets_without_records().filter(|offsets| *offsets > 0),
        records_aborted: row.records_aborted().filter(|records| *records > 0),
        lag_seconds: row.time().map(time),
        status: row.status().map(Status::name),
        catch_up_seconds: row.catch_up_seconds().filter(|seconds| *seconds > 0.0),
        data_loss_seconds: row.data_loss_ms().map(seconds),
    }
}

fn time(lag: TimeLag) -> Seconds {
    Seconds {
        method: lag.method.name(),
        low: seconds(lag.low_ms),
        value: lag.value_ms.map(seconds),
        high: lag.high_ms.map(seconds),
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::estimate::Method;
    use super::super::round::tests::{Plain, blank, round as of_rows};
    use super::*;

    #[test]
    fn a_group_is_two_numbers_to_a_scaler() {
        let time = TimeLag { method: Method::Sampled, low_ms: 100, value_ms: Some(1_500), high_ms: Some(2_000) };
        let row = |group, partition, records, time| Plain { records, time, ..blank(group, "t", partition) };
        let rows = [
            row("a.b", 0, Ok(3), Some(time)),
            row("a.b", 1, Ok(4), Some(time)),
            row("a.b", 3, Err(Reason::TopicGone), None),
            Plain { records: Ok(2), time: Some(time), ..blank("a.b", "u", 0) },
            row("gone", 3, Err(Reason::TopicGone), None),
            row("part", 0, Ok(3), Some(time)),
            row("part", 2, Err(Reason::EndUnknown), None),
            row("read", 0, Ok(3), Some(time)),
            row("young", 0, Ok(3), None),
        ];
        let unread = BTreeMap::from([("read".into(), "timed out".to_owned())]);
        let one = Clusters::of(vec![(Config::default(), Rounds::default())]);
        let two = Clusters::of(["x", "y"].map(|name| (Config::default().of_cluster(name), Rounds::default())).into());
        let said = |clusters: &Clusters, cluster: Option<&str>, group: &str, topic: Option<&str>| {
            let said = of_cluster(clusters, cluster).and_then(|rounds| of_group(rounds, group, topic, 0));
            said.map(|it| serde_json::to_value(it).unwrap()).map_err(|(status, why)| (status.as_u16(), why))
        };
        let said_of_all =
            |clusters: &Clusters, cluster: Option<&str>, group: &str| said(clusters, cluster, group, None);
        let refused = |clusters, cluster, group| said_of_all(clusters, cluster, group).unwrap_err();
        assert_eq!(refused(&one, None, "a.b").0, 503, "nothing is known yet");
        for clusters in [&one, &two] {
            let (_, rounds) = clusters.each().next().unwrap();
            rounds.publish(Round { good_for_ms: 1_000, ..of_rows(&rows).with_unread(unread.clone()) });
        }
        let want = serde_json::json!({
            "lag_records": 9, "lag_records_effective": 9, "lag_seconds": 1.5, "partitions": 4, "gone_partitions": 1
        });
        assert_eq!((said_of_all(&one, None, "a.b"), said_of_all(&two, Some("x"), "a.b")), (Ok(want.clone()), Ok(want)));
        let on_u = serde_json::json!({
            "lag_records": 2, "lag_records_effective": 2, "lag_seconds": 1.5, "partitions": 1, "gone_partitions": 0
        });
        assert_eq!(said(&one, None, "a.b", Some("u")), Ok(on_u));
        let no_topic = "group \"a.b\" has no committed offsets on topic \"v\"".to_owned();
        assert_eq!(said(&one, None, "a.b", Some("v")), Err((404, no_topic)));
        assert_eq!(said(&one, None, "read", Some("v")).unwrap_err().0, 503, "it may have some");
        let young =
            serde_json::json!({ "lag_records": 3, "lag_records_effective": 3, "partitions": 1, "gone_partitions": 0 });
        assert_eq!(said_of_all(&one, None, "young"), Ok(young));
        // Of the partitions that are known it would be too little, and a scaler would take that for recovery.
        let unknown = |group: &'static str, why: &str| {
            let want = format!("the lag of group {group:?} is not known{why}");
            assert_eq!(refused(&one, None, group), (503, want));
        };
        unknown("part", " on 1 of 2 partitions: end_unknown");
        unknown("read", ", as its commits could not be read: timed out");
        unknown("gone", ": none of its topics exists");
        assert_eq!(refused(&one, None, "a"), (404, "no group \"a\" has committed offsets".to_owned()));
        assert_eq!(refused(&two, None, "a.b"), (400, "say which cluster with ?cluster=: x, y".to_owned()));
        assert_eq!((refused(&two, Some("z"), "a.b").0, refused(&two, Some("y"), "a.b").0), (404, 503));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let row = |group, partition, records, time| Plain { records, time, ..blank(group, "t", partition) };
        let sampled = TimeLag { method: Method::Sampled, low_ms: 100, value_ms: Some(1_500), high_ms: Some(2_000) };
        let rows = [
            row("g", 0, Ok(3), Some(sampled)),
            row("g", 1, Err(Reason::EndUnknown), None),
            row("h", 2, Ok(0), None),
            row("i", 1, Err(Reason::EndUnknown), None),
        ];
        let unread = BTreeMap::from(["h", "j"].map(|group| (group.into(), "timed out".to_owned())));
        let round = Round { finished_ms: 1_000, ..of_rows(&rows) }.with_unread(unread);
        let json = serde_json::to_value(answer(&round, Some("g"), 1_250)).unwrap();
        let want = serde_json::json!({
            "age_seconds": 0.25, "skew_seconds": 0.0,
            "groups": { "g": { "unknown": "end_unknown", "unknown_partitions": 1, "topics": { "t": {
                "0": { "committed_offset": 5, "end_offset": 8, "lag_records": 3,
                       "lag_seconds": { "method": "sampled", "low": 0.1, "value": 1.5, "high": 2.0 } },
                "1": { "committed_offset": 5, "unknown": "end_unknown" } } } } }
        });
        assert_eq!(json, want);
        let all = serde_json::to_value(answer(&round, None, 1_250)).unwrap();
        let check = |group: &str, lag: Option<u64>, unknown: Option<&str>| {
            let group = &all["groups"][group];
            assert_eq!((group["lag_records"].as_u64(), group["unknown"].as_str()), (lag, unknown), "{all}");
        };
        check("g", None, Some("end_unknown"));
        check("h", None, Some("commit_unknown"));
        check("i", None, Some("end_unknown"));
        check("j", None, Some("commit_unknown"));
    }

    #[test]
    fn what_one_cluster_does_not_say_the_others_do() {
        let of = |name: &str| (Config::default().of_cluster(name), Rounds::default());
        let clusters = Clusters::of(vec![of("a"), of("b"), of("c")]);
        let check = |group, now_ms, want: Result<&[(&str, bool)], u16>| {
            let said = of_all(&clusters, group, now_ms).map_err(|(status, _)| status.as_u16());
            let said = said.map(|said| {
                let known = |(name, of): (String, OfCluster)| (name, matches!(of, OfCluster::Known(_)));
                said.clusters.into_iter().map(known).collect::<Vec<_>>()
            });
            let want = want.map(|want| want.iter().map(|(name, is)| ((*name).to_owned(), *is)).collect::<Vec<_>>());
            assert_eq!(said, want, "{group:?} at {now_ms}");
        };
        check(None, 0, Err(503));
        for (name, group) in [("a", "g"), ("b", "h")] {
            clusters.get(name).unwrap().publish(Round { good_for_ms: 1_000, ..of_rows(&[blank(group, "t", 0)]) });
        }
        check(None, 0, Ok(&[("a", true), ("b", true), ("c", false)]));
        check(Some("h"), 0, Ok(&[("b", true), ("c", false)]));
        // It may be on the one that is not known.
        check(Some("i"), 0, Err(503));
        check(None, 5_000, Err(503));
        clusters.get("c").unwrap().publish(Round { good_for_ms: 9_000, ..of_rows(&[blank("g", "t", 0)]) });
        check(Some("i"), 0, Err(404));
        check(None, 5_000, Ok(&[("a", false), ("b", false), ("c", true)]));
    }

    #[test]
    fn what_is_not_known_is_not_said_to_be_absent() {
        let rounds = Rounds::default();
        let check = |group, now_ms, want: Option<(u16, &str)>| {
            let refused = looked_up(&rounds, group, now_ms).err();
            let refused = refused.as_ref().map(|(status, why)| (status.as_u16(), why.as_str()));
            assert_eq!(refused, want, "{group:?} at {now_ms}");
        };
        check(None, 0, Some((503, "lag not known yet: no round has been finished")));
        rounds.publish(Round {
            finished_ms: 1_000,
            good_for_ms: 3_000,
            unread: BTreeMap::from([("silent".into(), "timed out".to_owned())]),
            ..of_rows(&[blank("g", "t", 0)])
        });
        check(None, 2_000, None);
        check(Some("g"), 2_000, None);
        check(Some("other"), 2_000, Some((404, "no group \"other\" has committed offsets")));
        check(Some("silent"), 2_000, Some((503, "the commits of group silent could not be read: timed out")));
        check(Some("g"), 9_000, Some((503, "lag unknown (since 8 s): the cluster does not answer")));
    }
}
