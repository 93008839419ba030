//! Burrow's HTTP API, version 3: the paths, the JSON and the words of LinkedIn's Burrow, over the last round.
//!
//! Only reading: `DELETE` of a group and the configuration pages are not here. Times are in milliseconds.

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::Rounds;
use super::round::{Round, Row, Total};
use super::status::{Commit, Status};

#[derive(Debug, Clone)]
struct Burrow {
    cluster: Arc<str>,
    rounds: Rounds,
}

pub(super) fn router(cluster: &str, rounds: Rounds) -> Router {
    Router::new()
        .route("/burrow/admin", get(|| async { "GOOD" }))
        .route("/burrow/admin/ready", get(ready))
        .route("/v3/kafka", get(clusters))
        .route("/v3/kafka/{cluster}/consumer", get(consumers))
        .route("/v3/kafka/{cluster}/consumer/{group}", get(consumer))
        .route("/v3/kafka/{cluster}/consumer/{group}/status", get(status))
        .route("/v3/kafka/{cluster}/consumer/{group}/lag", get(lag))
        .route("/v3/kafka/{cluster}/topic", get(topics))
        .route("/v3/kafka/{cluster}/topic/{topic}", get(topic))
        .route("/v3/kafka/{cluster}/topic/{topic}/consumers", get(topic_consumers))
        .with_state(Burrow { cluster: Arc::from(cluster), rounds })
}

impl Burrow {
    /// The last round, if it is about this cluster.
    fn of(&self, cluster: &str) -> Option<Arc<Round>> {
        self.rounds.latest().filter(|_| cluster == &*self.cluster)
    }
}

fn answer(uri: &OriginalUri, message: &str, key: &str, value: Value) -> Response {
    let mut body = Map::new();
    body.insert("error".to_owned(), false.into());
    body.insert("message".to_owned(), message.into());
    body.insert(key.to_owned(), value);
    body.insert("request".to_owned(), request(uri));
    Json(Value::Object(body)).into_response()
}

fn not_found(uri: &OriginalUri, what: &str) -> Response {
    let body = json!({ "error": true, "message": format!("{what} not found"), "request": request(uri) });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

fn request(uri: &OriginalUri) -> Value {
    json!({ "url": uri.path(), "host": "" })
}

async fn ready(State(burrow): State<Burrow>) -> Response {
    match burrow.rounds.latest() {
        Some(_) => "READY".into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "NOT READY").into_response(),
    }
}

async fn clusters(State(burrow): State<Burrow>, uri: OriginalUri) -> Response {
    answer(&uri, "cluster list returned", "clusters", json!([&*burrow.cluster]))
}

async fn consumers(State(burrow): State<Burrow>, Path(cluster): Path<String>, uri: OriginalUri) -> Response {
    let Some(round) = burrow.of(&cluster) else { return not_found(&uri, "cluster") };
    let names: Vec<_> = round.totals().map(|total| &**total.group).collect();
    answer(&uri, "consumer list returned", "consumers", json!(names))
}

async fn consumer(
    State(burrow): State<Burrow>,
    Path((cluster, group)): Path<(String, String)>,
    uri: OriginalUri,
) -> Response {
    let round = burrow.of(&cluster);
    let found = round.as_ref().and_then(|round| round.totals().find(|total| **total.group == *group));
    let Some(total) = found else { return not_found(&uri, "cluster or consumer") };
    let mut topics: Map<String, Value> = Map::new();
    for row in total.rows {
        let partitions = topics.entry(row.topic_partition.topic.as_str()).or_insert_with(|| json!([]));
        let detail = json!({
            "offsets": [commit(row.motion.first), commit(row.motion.last)],
            "owner": "", "client_id": "", "current-lag": row.records.ok(),
        });
        if let Value::Array(partitions) = partitions {
            partitions.push(detail);
        }
    }
    answer(&uri, "consumer detail returned", "topics", Value::Object(topics))
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
    let round = burrow.of(cluster);
    let found = round.as_ref().and_then(|round| round.totals().find(|total| **total.group == *group));
    match found {
        Some(total) => answer(uri, "consumer status returned", "status", verdict(cluster, &total, all)),
        None => not_found(uri, "cluster or consumer"),
    }
}

async fn topics(State(burrow): State<Burrow>, Path(cluster): Path<String>, uri: OriginalUri) -> Response {
    let Some(round) = burrow.of(&cluster) else { return not_found(&uri, "cluster") };
    let mut names: Vec<_> = round.partitions().iter().map(|row| row.topic_partition.topic.as_str()).collect();
    names.dedup();
    answer(&uri, "topic list returned", "topics", json!(names))
}

async fn topic(
    State(burrow): State<Burrow>,
    Path((cluster, topic)): Path<(String, String)>,
    uri: OriginalUri,
) -> Response {
    let round = burrow.of(&cluster);
    let rows = round.as_ref().map(|round| round.partitions()).unwrap_or_default();
    let of_topic = rows.iter().filter(|row| row.topic_partition.topic.as_str() == topic);
    let offsets: Vec<_> = of_topic.map(|row| row.end_offset).collect();
    match offsets.is_empty() {
        true => not_found(&uri, "cluster or topic"),
        false => answer(&uri, "topic offsets returned", "offsets", json!(offsets)),
    }
}

async fn topic_consumers(
    State(burrow): State<Burrow>,
    Path((cluster, topic)): Path<(String, String)>,
    uri: OriginalUri,
) -> Response {
    let Some(round) = burrow.of(&cluster) else { return not_found(&uri, "cluster or topic") };
    let reads = |total: &Total<'_>| total.rows.iter().any(|row| row.topic_partition.topic.as_str() == topic);
    let names: Vec<_> = round.totals().filter(reads).map(|total| &**total.group).collect();
    answer(&uri, "consumers of topic returned", "consumers", json!(names))
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

fn verdict(cluster: &str, total: &Total<'_>, all: bool) -> Value {
    let shown = total.rows.iter().filter(|row| all || word(row.motion.status) != "OK");
    let complete = total.rows.iter().map(|row| row.motion.complete).fold(1.0, f64::min);
    let most = total.rows.iter().max_by_key(|row| row.records.ok());
    json!({
        "cluster": cluster,
        "group": &**total.group,
        "status": group_word(total.status),
        "complete": complete,
        "partitions": shown.map(partition).collect::<Vec<_>>(),
        "partition_count": total.rows.len(),
        "maxlag": most.map(partition),
        "totallag": total.records,
    })
}

fn partition(row: &Row) -> Value {
    json!({
        "topic": row.topic_partition.topic.as_str(),
        "partition": row.topic_partition.partition,
        "owner": "",
        "client_id": "",
        "status": word(row.motion.status),
        "start": commit(row.motion.first),
        "end": commit(row.motion.last),
        "current_lag": row.records.ok(),
        "complete": row.motion.complete,
    })
}

fn commit(commit: Option<Commit>) -> Value {
    commit.map_or(
        Value::Null,
        |it| json!({ "offset": it.offset, "timestamp": it.at_ms, "observedAt": it.at_ms, "lag": it.lag }),
    )
}

#[cfg(test)]
mod tests {
    use super::super::round::tests::blank;
    use super::super::track::Motion;
    use super::*;

    #[test]
    fn verdicts_in_burrows_words() {
        let row = |partition, lag, status| Row {
            records: Ok(lag),
            motion: Motion {
                status,
                complete: 1.0,
                first: Some(Commit { at_ms: 7, offset: 5, lag: 2 }),
                ..Motion::default()
            },
            ..blank("g", "t", partition)
        };
        let rows = vec![row(0, 0, Some(Status::Ok)), row(1, 4, Some(Status::Stalled)), row(2, 9, Some(Status::Slow))];
        let round = Round { rows, ..Round::default() };
        let total = round.totals().next().unwrap();
        let said = verdict("c", &total, false);
        let words = |said: &Value| -> Vec<String> {
            let partitions = said["partitions"].as_array().cloned().unwrap_or_default();
            partitions.iter().map(|it| it["status"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!((said["status"].as_str(), words(&said)), (Some("ERR"), vec!["STALL".to_owned(), "WARN".to_owned()]));
        assert_eq!((&said["totallag"], &said["maxlag"]["partition"]), (&json!(13), &json!(2)));
        assert_eq!(said["maxlag"]["start"], json!({ "offset": 5, "timestamp": 7, "observedAt": 7, "lag": 2 }));
        assert_eq!(words(&verdict("c", &total, true)).len(), 3);
        assert_eq!(group_word(Some(Status::Slow)), "WARN");
        assert_eq!(group_word(None), "OK");
    }
}
