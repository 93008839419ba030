//! Burrow's HTTP API, version 3: the paths, the JSON and the words of LinkedIn's Burrow, over the last round.
//!
//! Only reading: `DELETE` of a group and the configuration pages are not here. Times are in milliseconds.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::Clusters;
use super::round::{Absent, Group, Round, Total};
use super::row::{Partition, Row};
use super::status::{Commit, Status};
use crate::client::GroupMember;

#[derive(Debug, Clone)]
struct Burrow(Clusters);

pub(super) fn router(all: Clusters) -> Router {
    Router::new()
        .route("/burrow/admin", get(|| async { "GOOD" }))
        .route("/burrow/admin/ready", get(ready))
        .route("/v3/kafka", get(clusters))
        .route("/v3/kafka/{cluster}", get(cluster))
        .route("/v3/kafka/{cluster}/consumer", get(consumers))
        .route("/v3/kafka/{cluster}/consumer/{group}", get(consumer))
        .route("/v3/kafka/{cluster}/consumer/{group}/status", get(status))
        .route("/v3/kafka/{cluster}/consumer/{group}/lag", get(lag))
        .route("/v3/kafka/{cluster}/topic", get(topics))
        .route("/v3/kafka/{cluster}/topic/{topic}", get(topic))
        .route("/v3/kafka/{cluster}/topic/{topic}/consumers", get(topic_consumers))
        .with_state(Burrow(all))
}

impl Burrow {
    /// The last round, if it is about this cluster.
    fn of(&self, cluster: &str) -> Result<Arc<Round>, Refusal> {
        let rounds = self.0.get(cluster).ok_or_else(|| Refusal::not_found("cluster"))?;
        rounds.current().map_err(|no_lag| Refusal::unknown(&no_lag))
    }
}

/// Why a question has no answer.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn not_found(what: &str) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: format!("{what} not found") }
    }

    fn unknown(why: &dyn Display) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, message: why.to_string() }
    }
}

impl From<Absent> for Refusal {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::NothingCommitted => Self::not_found("cluster or consumer"),
            Absent::Unknown(why) => Self::unknown(&why),
        }
    }
}

/// What was asked for under `key`, or why not.
fn answer(uri: &OriginalUri, message: &str, key: &str, found: Result<Value, Refusal>) -> Response {
    let mut body = Map::new();
    body.insert("error".to_owned(), found.is_err().into());
    body.insert("request".to_owned(), request(uri));
    let (status, message) = match found {
        Ok(value) => {
            body.insert(key.to_owned(), value);
            (StatusCode::OK, message.to_owned())
        }
        Err(refusal) => (refusal.status, refusal.message),
    };
    body.insert("message".to_owned(), message.into());
    (status, Json(Value::Object(body))).into_response()
}

fn request(uri: &OriginalUri) -> Value {
    json!({ "url": uri.path(), "host": "" })
}

async fn ready(State(burrow): State<Burrow>) -> Response {
    match burrow.0.current() {
        Ok(_) => "READY".into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "NOT READY").into_response(),
    }
}

async fn clusters(State(burrow): State<Burrow>, uri: OriginalUri) -> Response {
    let names: Vec<_> = burrow.0.each().map(|(name, _)| name).collect();
    answer(&uri, "cluster list returned", "clusters", Ok(json!(names)))
}

/// How the cluster is looked at, as far as that has a word in Burrow; whether its lag is known makes no difference.
async fn cluster(State(burrow): State<Burrow>, Path(cluster): Path<String>, uri: OriginalUri) -> Response {
    let found = burrow.0.get(&cluster).ok_or_else(|| Refusal::not_found("cluster"));
    let module = found.map(|rounds| {
        let round = rounds.latest().unwrap_or_default();
        let servers: Vec<_> = round.cluster.brokers.values().map(|it| it.address.to_string()).collect();
        let every = burrow.0.interval().as_secs().max(1);
        json!({
            "class-name": "kafka",
            "servers": servers,
            "client-profile": { "name": "", "client-id": "highwater", "kafka-version": "", "tls": null, "sasl": null },
            "topic-refresh": every,
            "offset-refresh": every,
        })
    });
    answer(&uri, "cluster module detail returned", "module", module)
}

async fn consumers(State(burrow): State<Burrow>, Path(cluster): Path<String>, uri: OriginalUri) -> Response {
    let names = |round: Arc<Round>| json!(round.totals().map(|total| &**total.group).collect::<Vec<_>>());
    answer(&uri, "consumer list returned", "consumers", burrow.of(&cluster).map(names))
}

async fn consumer(
    State(burrow): State<Burrow>,
    Path((cluster, group)): Path<(String, String)>,
    uri: OriginalUri,
) -> Response {
    let found = burrow.of(&cluster).and_then(|round| Ok(commits(&round.total_of(&group)?)));
    answer(&uri, "consumer detail returned", "topics", found)
}

/// Who reads which partition of a group: host and client id.
struct Owners<'a>(HashMap<(&'a str, i32), &'a GroupMember>);

impl<'a> Owners<'a> {
    fn of(total: &Total<'a>) -> Self {
        let readers = total.round.group(total.group).into_iter().flat_map(Group::readers);
        Self(readers.map(|(it, member)| ((it.topic.as_str(), it.partition), member)).collect())
    }

    fn of_row(&self, row: &Row<'_>) -> (&'a str, &'a str) {
        let member = self.0.get(&(row.topic().as_str(), row.partition()));
        member.map_or(("", ""), |member| (&member.client_host, &member.client_id))
    }
}

/// What a group has committed, by topic.
fn commits(total: &Total<'_>) -> Value {
    let owners = Owners::of(total);
    let mut topics: Map<String, Value> = Map::new();
    for row in total.rows() {
        let partitions = topics.entry(row.topic().as_str()).or_insert_with(|| json!([]));
        let (owner, client_id) = owners.of_row(&row);
        let detail = json!({
            "offsets": [commit(total.round, row.first()), commit(total.round, row.last())],
            "owner": owner, "client_id": client_id, "current-lag": row.records().ok(),
        });
        if let Value::Array(partitions) = partitions {
            partitions.push(detail);
        }
    }
    Value::Object(topics)
}

/// Only what is not well, as Burrow has it.
async fn status(
    State(burrow): State<Burrow>,
    Path((cluster, group)): Path<(String, String)>,
    uri: OriginalUri,
) -> Response {
    judged(&burrow, &cluster, &group, &uri, false)
}

/// All partitions.
async fn lag(
    State(burrow): State<Burrow>,
    Path((cluster, group)): Path<(String, String)>,
    uri: OriginalUri,
) -> Response {
    judged(&burrow, &cluster, &group, &uri, true)
}

fn judged(burrow: &Burrow, cluster: &str, group: &str, uri: &OriginalUri, all: bool) -> Response {
    let found = burrow.of(cluster).and_then(|round| {
        let total = round.total_of(group)?;
        Ok(verdict(cluster, &total, all))
    });
    answer(uri, "consumer status returned", "status", found)
}

async fn topics(State(burrow): State<Burrow>, Path(cluster): Path<String>, uri: OriginalUri) -> Response {
    let names = |round: Arc<Round>| {
        let mut names: Vec<_> = round.partitions.iter().map(|it| it.topic.as_str()).collect();
        names.dedup();
        json!(names)
    };
    answer(&uri, "topic list returned", "topics", burrow.of(&cluster).map(names))
}

async fn topic(
    State(burrow): State<Burrow>,
    Path((cluster, topic)): Path<(String, String)>,
    uri: OriginalUri,
) -> Response {
    let offsets = |round: Arc<Round>| {
        let of_topic = round.partitions.iter().filter(|it| it.topic.as_str() == topic);
        let offsets: Vec<_> = of_topic.map(Partition::end_offset).collect();
        match offsets.is_empty() {
            true => Err(Refusal::not_found("cluster or topic")),
            false => Ok(json!(offsets)),
        }
    };
    answer(&uri, "topic offsets returned", "offsets", burrow.of(&cluster).and_then(offsets))
}

async fn topic_consumers(
    State(burrow): State<Burrow>,
    Path((cluster, topic)): Path<(String, String)>,
    uri: OriginalUri,
) -> Response {
    let reads = |total: &Total<'_>| total.readings.iter().any(|reading| reading.topic.as_str() == topic);
    let names = |round: Arc<Round>| json!(round.totals().filter(reads).map(|total| &**total.group).collect::<Vec<_>>());
    answer(&uri, "consumers of topic returned", "consumers", burrow.of(&cluster).map(names))
}

/// Burrow's words for a partition; what was seen too briefly is OK, as there.
fn word(status: Option<Status>) -> &'static str {
    match status {
        None | Some(Status::Ok) => "OK",
        Some(Status::Slow) => "WARN",
        Some(Status::Stalled) => "STALL",
        Some(Status::Stopped) => "STOP",
        Some(Status::Rewound) => "REWIND",
    }
}

/// A group is in error when one of its partitions is.
fn group_word(status: Option<Status>) -> &'static str {
    match word(status) {
        "OK" => "OK",
        "WARN" => "WARN",
        _ => "ERR",
    }
}

/// Where a lag is not known, neither is the most of all nor their sum, and nothing is complete.
fn verdict(cluster: &str, total: &Total<'_>, all: bool) -> Value {
    let shown = total.rows().filter(|row| all || word(row.status()) != "OK");
    let owners = Owners::of(total);
    let is_whole = total.sum.unknown_rows() == 0;
    let complete = total.rows().map(|row| row.complete()).fold(f64::from(u8::from(is_whole)), f64::min);
    let most = total.rows().max_by_key(|row| row.records().ok()).filter(|_| is_whole);
    json!({
        "cluster": cluster,
        "group": &**total.group,
        "status": group_word(total.sum.status),
        "complete": complete,
        "partitions": shown.map(|row| partition(total.round, &owners, &row)).collect::<Vec<_>>(),
        "partition_count": total.sum.rows,
        "maxlag": most.map(|row| partition(total.round, &owners, &row)),
        "totallag": total.sum.records(),
    })
}

fn partition(round: &Round, owners: &Owners<'_>, row: &Row<'_>) -> Value {
    let (owner, client_id) = owners.of_row(row);
    json!({
        "topic": row.topic().as_str(),
        "partition": row.partition(),
        "owner": owner,
        "client_id": client_id,
        "status": word(row.status()),
        "start": commit(round, row.first()),
        "end": commit(round, row.last()),
        "current_lag": row.records().ok(),
        "complete": row.complete(),
    })
}

/// Its times are those of the wall's clock, as it goes now.
fn commit(round: &Round, commit: Option<Commit>) -> Value {
    commit.map_or(Value::Null, |it| {
        let at_ms = round.on_the_wall(it.at_ms);
        json!({ "offset": it.offset, "timestamp": at_ms, "observedAt": at_ms, "lag": it.lag })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::super::round::Group;
    use super::super::round::tests::{Plain, blank, group, round as of_rows};
    use super::super::{Config, Rounds};
    use super::*;
    use crate::client::TopicPartition;

    #[test]
    fn verdicts_in_burrows_words() {
        let commit = |(at_ms, offset, lag)| Commit { at_ms, offset, lag };
        let row = |partition, lag, window: [(i64, i64, u64); 3]| Plain {
            committed: window[2].1,
            records: Ok(lag),
            window: window.map(commit).to_vec(),
            ..blank("g", "t", partition)
        };
        let rows = [
            row(0, 0, [(7, 5, 2), (8, 5, 2), (9, 7, 0)]),
            row(1, 4, [(7, 5, 2), (8, 5, 2), (9, 5, 4)]),
            row(2, 9, [(7, 5, 2), (8, 6, 7), (9, 7, 9)]),
        ];
        let round = Round { finished_ms: 9, wall_ahead_ms: 100, window_max: 3, ..of_rows(&rows) };
        let total = round.totals().next().unwrap();
        let said = verdict("c", &total, false);
        let words = |said: &Value| -> Vec<String> {
            let partitions = said["partitions"].as_array().cloned().unwrap_or_default();
            partitions.iter().map(|it| it["status"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!((said["status"].as_str(), words(&said)), (Some("ERR"), vec!["STALL".to_owned(), "WARN".to_owned()]));
        assert_eq!((&said["totallag"], &said["maxlag"]["partition"]), (&json!(13), &json!(2)));
        assert_eq!(said["maxlag"]["start"], json!({ "offset": 5, "timestamp": 107, "observedAt": 107, "lag": 2 }));
        assert_eq!(words(&verdict("c", &total, true)).len(), 3);
        assert_eq!(said["complete"], json!(1.0));
        let more = [&rows[..], &[blank("g", "t", 3)]].concat();
        let partly = Round { finished_ms: 9, window_max: 3, ..of_rows(&more) };
        let said = verdict("c", &partly.totals().next().unwrap(), false);
        let sums = ["totallag", "maxlag", "complete"].map(|key| said[key].clone());
        assert_eq!((sums, &said["status"]), ([Value::Null, Value::Null, json!(0.0)], &json!("ERR")));
        assert_eq!(group_word(Some(Status::Slow)), "WARN");
        assert_eq!(group_word(None), "OK");
    }

    #[test]
    fn who_reads_a_partition_owns_it() {
        let member = GroupMember {
            client_id: "c".to_owned(),
            client_host: "/10.0.0.1".to_owned(),
            assignment: vec![TopicPartition::new("t", 1)],
            ..GroupMember::default()
        };
        let check = |kind: &str, want: [(&str, &str); 2]| {
            let kind = Some(kind.to_owned());
            let groups = vec![Group { members: Some([member.clone()].into()), kind, ..group("g", "Stable") }];
            let round = Round { groups, ..of_rows(&[blank("g", "t", 0), blank("g", "t", 1)]) };
            let total = round.totals().next().unwrap();
            let (said, committed) = (verdict("c", &total, true), commits(&total));
            for (at, (owner, client_id)) in want.into_iter().enumerate() {
                for it in [&said["partitions"][at], &committed["t"][at]] {
                    assert_eq!((&it["owner"], &it["client_id"]), (&json!(owner), &json!(client_id)), "{it}");
                }
            }
        };
        check("classic", [("", ""), ("/10.0.0.1", "c")]);
        check("share", [("", ""), ("", "")]);
    }

    #[tokio::test]
    async fn what_is_not_known_is_not_said_to_be_absent() {
        let (c, a) = (Config { cluster_name: "c".to_owned(), ..Config::default() }, Config::default());
        let rounds = Rounds::default();
        let clusters = Clusters::of(vec![(c, rounds.clone()), (a, Rounds::default())]);
        let check = async |path: &str, status: u16, message: &str| {
            let request = Request::get(format!("/v3/kafka{path}")).body(Body::empty()).unwrap();
            let response = router(clusters.clone()).oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{path}");
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let said: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (said["error"].as_bool(), said["message"].as_str()),
                (Some(status != 200), Some(message)),
                "{path}"
            );
        };
        check("/c/consumer", 503, "lag not known yet: no round has been finished").await;
        check("/c", 200, "cluster module detail returned").await;
        check("/other", 404, "cluster not found").await;
        let silent = BTreeMap::from([("silent".into(), "timed out".to_owned())]);
        rounds.publish(Round { good_for_ms: i64::MAX, unread: silent, ..of_rows(&[blank("g", "t", 0)]) });
        check("", 200, "cluster list returned").await;
        check("/c/consumer", 200, "consumer list returned").await;
        check("/kafka/consumer", 503, "lag not known yet: no round has been finished").await;
        check("/other/consumer", 404, "cluster not found").await;
        check("/c/consumer/g/lag", 200, "consumer status returned").await;
        check("/c/consumer/h/lag", 404, "cluster or consumer not found").await;
        check("/c/consumer/silent", 503, "the commits of group silent could not be read: timed out").await;
        check("/c/topic/t", 200, "topic offsets returned").await;
        check("/c/topic/u", 404, "cluster or topic not found").await;
    }
}
