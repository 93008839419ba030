//! The lag as JSON: `GET /api/consumer/lag` and `GET /api/lag`, with `?group=` for one group.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::estimate::TimeLag;
use super::round::Round;
use super::row::{Reason, Row};
use super::status::Status;
use super::{Absent, Clusters, Config, Rounds, burrow};

/// The routes over the last round: ours, and Burrow's.
pub fn router(config: &Config, rounds: Rounds) -> Router {
    router_of(Clusters::of(vec![(config.clone(), rounds)]))
}

/// The same of several clusters.
pub fn router_of(clusters: Clusters) -> Router {
    let ours = Router::new().route("/api/consumer/lag", get(lag)).route("/api/lag", get(lag));
    ours.with_state(clusters.clone()).merge(burrow::router(clusters))
}

#[derive(Debug, Deserialize)]
struct Asked {
    cluster: Option<String>,
    group: Option<String>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    /// Over the partitions where it is known; left out where it is known of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_records: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds_max: Option<f64>,
    /// Why there may be partitions that are not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<&'static str>,
    topics: BTreeMap<String, BTreeMap<i32, Partition>>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records_lost: Option<u64>,
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

async fn lag(State(clusters): State<Clusters>, Query(asked): Query<Asked>) -> Response {
    let (group, now_ms) = (asked.group.as_deref(), Timestamp::now().as_millisecond());
    let named = asked.cluster.as_deref().map(|name| (name, clusters.get(name)));
    let answered = match named {
        Some((name, None)) => Err((StatusCode::NOT_FOUND, format!("no cluster {name:?} is monitored"))),
        Some((_, Some(rounds))) => looked_up(rounds, group, now_ms).map(|answer| Json(answer).into_response()),
        None if clusters.are_named() => of_all(&clusters, group, now_ms).map(|answers| Json(answers).into_response()),
        None => match clusters.each().next() {
            Some((_, rounds)) => looked_up(rounds, group, now_ms).map(|answer| Json(answer).into_response()),
            None => Err((StatusCode::NOT_FOUND, "no cluster is monitored".to_owned())),
        },
    };
    answered.unwrap_or_else(|(status, why)| (status, format!("{why}\n")).into_response())
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
    let round = rounds.current(now_ms).map_err(|no_lag| (StatusCode::SERVICE_UNAVAILABLE, no_lag.to_string()))?;
    match group.map(|group| (group, round.total_of(group))) {
        Some((group, Err(Absent::NothingCommitted))) => {
            Err((StatusCode::NOT_FOUND, format!("no group {group:?} has committed offsets")))
        }
        Some((_, Err(Absent::Unknown(why)))) => Err((StatusCode::SERVICE_UNAVAILABLE, why)),
        Some((_, Ok(_))) | None => Ok(answer(&round, group, now_ms)),
    }
}

fn answer(round: &Round, only: Option<&str>, now_ms: i64) -> Answer {
    let is_wanted = |group: &str| only.is_none_or(|only| only == group);
    let unread = round.unread.keys().filter(|group| is_wanted(group));
    let unknown = Some(Reason::CommitUnknown.name());
    let mut groups: BTreeMap<String, Group> =
        unread.map(|group| (group.to_string(), Group { unknown, ..Group::default() })).collect();
    for total in round.totals().filter(|total| is_wanted(total.group)) {
        let mut topics: BTreeMap<String, BTreeMap<i32, Partition>> = BTreeMap::new();
        for row in total.rows() {
            let topic = topics.entry(row.topic().to_string()).or_default();
            topic.insert(row.partition(), partition(&row));
        }
        let group = groups.entry(total.group.to_string()).or_default();
        group.status = total.sum.status.map(Status::name);
        group.lag_records = total.sum.records;
        group.lag_seconds_max = total.sum.value_ms().map(seconds);
        group.topics = topics;
    }
    for (name, group) in &mut groups {
        group.state = round.group(name).and_then(|group| group.state.clone());
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
        unknown: row.records().err().map(Reason::name),
        records_lost: row.records_lost().filter(|lost| *lost > 0),
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
        let round = Round { finished_ms: 1_000, unread, ..of_rows(&rows) };
        let json = serde_json::to_value(answer(&round, Some("g"), 1_250)).unwrap();
        let want = serde_json::json!({
            "age_seconds": 0.25, "skew_seconds": 0.0,
            "groups": { "g": { "lag_records": 3, "lag_seconds_max": 1.5, "topics": { "t": {
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
        check("g", Some(3), None);
        check("h", Some(0), Some("commit_unknown"));
        check("i", None, None);
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
