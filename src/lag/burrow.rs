//! Burrow's HTTP API, version 3: the paths, the JSON and the words of LinkedIn's Burrow, over the last round.
//!
//! Only reading: `DELETE` of a group and the configuration pages are not here. Times are in milliseconds.
//!
//! A lag or an end that is not known is null, where Burrow always has a number: 0 would be one. A client that is written in Go
//! takes null for 0 all the same, and without an error. For those, `complete` is 0 wherever a lag beside it is null.

use std::collections::{BTreeSet, HashMap};
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
use super::row::{Reading, Reason, Row};
use super::status::{Commit, Status};
use crate::client::{GroupMember, Topic};

/// What is not found, in Burrow's words.
const CLUSTER: &str = "cluster";
const CONSUMER: &str = "cluster or consumer";
const TOPIC: &str = "cluster or topic";

/// More than any topic has: a number that makes no sense makes no answer of gigabytes.
const PLACES_MAX: i32 = 1 << 20;

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
    /// The last round of this cluster; where there is no such cluster, `what` is not found.
    fn of(&self, cluster: &str, what: &str) -> Result<Arc<Round>, Refusal> {
        let rounds = self.0.get(cluster).ok_or_else(|| Refusal::not_found(what))?;
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
            Absent::NothingCommitted => Self::not_found(CONSUMER),
            Absent::Unknown(why) => Self::unknown(&why),
        }
    }
}

/// What was asked for under `key`, or why not.
fn answer(uri: &OriginalUri, message: &str, key: &str, found: Result<Value, Refusal>) -> Response {
    match found {
        Ok(value) => respond(uri, StatusCode::OK, message, Some((key, value))),
        Err(refusal) => respond(uri, refusal.status, &refusal.message, None),
    }
}

/// An answer that holds nothing is an error.
fn respond(uri: &OriginalUri, status: StatusCode, message: &str, value: Option<(&str, Value)>) -> Response {
    let mut body = Map::new();
    body.insert("error".to_owned(), value.is_none().into());
    body.insert("message".to_owned(), message.into());
    body.insert("request".to_owned(), request(uri));
    body.extend(value.map(|(key, value)| (key.to_owned(), value)));
    (status, Json(Value::Object(body))).into_response()
}

fn request(uri: &OriginalUri) -> Value {
    json!({ "url": uri.path(), "host": "" })
}

/// Burrow says this once, before it is ready; here it comes back when lag is not known any more.
async fn ready(State(burrow): State<Burrow>) -> Response {
    match burrow.0.current() {
        Ok(_) => "READY".into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "STARTING").into_response(),
    }
}

async fn clusters(State(burrow): State<Burrow>, uri: OriginalUri) -> Response {
    let names: Vec<_> = burrow.0.each().map(|(name, _)| name).collect();
    answer(&uri, "cluster list returned", "clusters", Ok(json!(names)))
}

/// How the cluster is looked at, as far as that has a word in Burrow; whether its lag is known makes no difference.
async fn cluster(State(burrow): State<Burrow>, Path(cluster): Path<String>, uri: OriginalUri) -> Response {
    let found = burrow.0.get(&cluster).ok_or_else(|| Refusal::not_found("cluster module"));
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
    let found = burrow.of(&cluster, CLUSTER).map(|round| json!(consumers_of(&round)));
    answer(&uri, "consumer list returned", "consumers", found)
}

/// A group whose commits could not be read is not known, and not gone.
fn consumers_of(round: &Round) -> BTreeSet<&str> {
    let unread = round.unread.keys().map(|group| &**group);
    round.totals().map(|total| &**total.group).chain(unread).collect()
}

async fn consumer(
    State(burrow): State<Burrow>,
    Path((cluster, group)): Path<(String, String)>,
    uri: OriginalUri,
) -> Response {
    if let Some(elsewhere) = burrow.0.elsewhere(Some(&cluster), &group, &uri) {
        return elsewhere;
    }
    let found = burrow.of(&cluster, CONSUMER).and_then(|round| Ok(commits(&round.total_of(&group)?)));
    answer(&uri, "consumer detail returned", "topics", found)
}

/// Who reads which partition of a group: host and client id.
struct Owners<'a>(HashMap<(&'a str, i32), &'a GroupMember>);

impl<'a> Owners<'a> {
    fn of(total: &Total<'a>) -> Self {
        let readers = total.round.group(total.group).into_iter().flat_map(Group::readers);
        Self(readers.map(|(it, member)| ((it.topic.as_str(), it.partition), member)).collect())
    }

    fn at(&self, topic: &str, partition: i32) -> (&'a str, &'a str) {
        let member = self.0.get(&(topic, partition));
        member.map_or(("", ""), |member| (&member.client_host, &member.client_id))
    }
}

/// What is known to be deleted is no part of the cluster any more, and Burrow forgets it.
fn exists<T>(known: Result<T, Reason>) -> bool {
    known.err() != Some(Reason::TopicGone)
}

/// Whether anything is left of what was committed on a topic.
fn is_left(round: &Round, reading: &Reading) -> bool {
    round.rows_of(reading).any(|row| exists(row.records()))
}

/// Partitions of a topic, each at the place that its number says: that is how Burrow's clients find it. There are as many
/// places as the topic has partitions, and where that is not known, up to the last of these.
fn by_number<T: Default>(round: &Round, topic: &Topic, partitions: Vec<(i32, T)>) -> Vec<T> {
    let last = || partitions.iter().map(|(number, _)| number.saturating_add(1)).max();
    let count = round.cluster.partition_count(topic).or_else(last).unwrap_or_default().min(PLACES_MAX);
    let mut places = Vec::new();
    places.resize_with(usize::try_from(count).unwrap_or_default(), T::default);
    for (number, partition) in partitions {
        if let Ok(at) = usize::try_from(number)
            && let Some(place) = places.get_mut(at)
        {
            *place = partition;
        }
    }
    places
}

/// What a group has committed, by topic.
fn commits(total: &Total<'_>) -> Value {
    let owners = Owners::of(total);
    let of_topic = |reading: &Reading| {
        let rows = total.round.rows_of(reading).filter(|row| exists(row.records()));
        let rows = rows.map(|row| (row.partition(), Some(row))).collect();
        let places = (0..).zip(by_number(total.round, &reading.topic, rows));
        let detail = |(number, row): (i32, Option<Row<'_>>)| detail(total, owners.at(&reading.topic, number), row);
        (reading.topic.to_string(), Value::Array(places.map(detail).collect()))
    };
    let left = total.readings.iter().filter(|reading| is_left(total.round, reading));
    Value::Object(left.map(of_topic).collect())
}

/// Where nothing was committed, Burrow has no offsets and a lag of 0; where something may have been, the lag is not known.
fn detail(total: &Total<'_>, (owner, client_id): (&str, &str), row: Option<Row<'_>>) -> Value {
    let is_read = !total.round.unread.contains_key(total.group);
    let (offsets, lag) = match row {
        Some(row) => (json!([commit(total.round, row.first()), commit(total.round, row.last())]), row.records().ok()),
        None => (json!([]), is_read.then_some(0)),
    };
    json!({ "offsets": offsets, "owner": owner, "client_id": client_id, "current-lag": lag })
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

/// A group that is not there has a status too, and that is no error: only the code is that of one.
fn judged(burrow: &Burrow, cluster: &str, group: &str, uri: &OriginalUri, all: bool) -> Response {
    if let Some(elsewhere) = burrow.0.elsewhere(Some(cluster), group, uri) {
        return elsewhere;
    }
    let message = "consumer status returned";
    let found = burrow.of(cluster, CONSUMER).and_then(|round| {
        let total = round.total_of(group)?;
        Ok(verdict(cluster, &total, all))
    });
    match found {
        Err(Refusal { status: StatusCode::NOT_FOUND, .. }) => {
            respond(uri, StatusCode::NOT_FOUND, message, Some(("status", not_found(cluster, group))))
        }
        found => answer(uri, message, "status", found),
    }
}

/// Word for word what Burrow says, also of a cluster that it does not know.
fn not_found(cluster: &str, group: &str) -> Value {
    json!({
        "cluster": cluster,
        "group": group,
        "status": "NOTFOUND",
        "complete": 1.0,
        "partitions": [],
        "partition_count": 0,
        "maxlag": null,
        "totallag": 0,
    })
}

async fn topics(State(burrow): State<Burrow>, Path(cluster): Path<String>, uri: OriginalUri) -> Response {
    let found = burrow.of(&cluster, CLUSTER).map(|round| json!(topics_of(&round)));
    answer(&uri, "topic list returned", "topics", found)
}

/// Also those that no group reads, as far as the round has them.
fn topics_of(round: &Round) -> BTreeSet<&str> {
    let there = round.partitions.iter().chain(&round.others).filter(|it| exists(it.end));
    there.map(|it| it.topic.as_str()).collect()
}

async fn topic(
    State(burrow): State<Burrow>,
    Path((cluster, topic)): Path<(String, String)>,
    uri: OriginalUri,
) -> Response {
    let topic = Topic::from(topic);
    let offsets = |round: Arc<Round>| ends(&round, &topic).ok_or_else(|| Refusal::not_found(TOPIC));
    answer(&uri, "topic offsets returned", "offsets", burrow.of(&cluster, TOPIC).and_then(offsets))
}

/// Where the partitions of a topic end; `None` if there is no such topic. Burrow leaves out an end that it has not got yet, and
/// so shows those behind it as other partitions' ends; here it is null.
fn ends(round: &Round, topic: &Topic) -> Option<Value> {
    let there = round.partitions_of(topic).filter(|it| exists(it.end));
    let there: Vec<_> = there.map(|it| (it.partition, it.end_offset())).collect();
    (!there.is_empty()).then(|| json!(by_number(round, topic, there)))
}

async fn topic_consumers(
    State(burrow): State<Burrow>,
    Path((cluster, topic)): Path<(String, String)>,
    uri: OriginalUri,
) -> Response {
    let found = burrow.of(&cluster, CLUSTER).map(|round| json!(readers_of(&round, &topic)));
    answer(&uri, "consumers of topic returned", "consumers", found)
}

/// A group whose commits could not be read is told where its members are known to read; of other topics nobody can say it.
fn readers_of<'a>(round: &'a Round, topic: &str) -> BTreeSet<&'a str> {
    let is_of = |reading: &Reading| reading.topic.as_str() == topic && is_left(round, reading);
    let committed = round.totals().filter(|total| total.readings.iter().any(is_of)).map(|total| &**total.group);
    let reads = |group: &&Group| group.readers().any(|(it, _)| it.topic.as_str() == topic);
    let unread = round.unread.keys().filter_map(|name| round.group(name)).filter(reads).map(|group| &*group.name);
    committed.chain(unread).collect()
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

/// How much of a partition's window is there. Of a lag that is not known, nothing is.
fn complete(row: &Row<'_>) -> f64 {
    row.records().map_or(0.0, |_| row.complete())
}

/// The share of partitions that are complete: one that is so in part counts as one that is not.
fn share_complete(rows: &[Row<'_>]) -> f64 {
    let whole = rows.iter().filter(|row| complete(row) >= 1.0).count();
    whole as f64 / rows.len().max(1) as f64
}

/// Where a lag is not known, neither is the most of all nor their sum, and nothing is complete.
fn verdict(cluster: &str, total: &Total<'_>, all: bool) -> Value {
    let rows: Vec<_> = total.rows().filter(|row| exists(row.records())).collect();
    let owners = Owners::of(total);
    let said = |row: &Row<'_>| partition(total.round, &owners, row);
    let is_whole = total.sum.unknown_rows() == 0;
    let complete = if is_whole { share_complete(&rows) } else { 0.0 };
    let shown = rows.iter().filter(|row| all || word(row.status()) != "OK");
    let most = rows.iter().max_by_key(|row| row.records().ok()).filter(|_| is_whole);
    json!({
        "cluster": cluster,
        "group": &**total.group,
        "status": group_word(total.sum.status),
        "complete": complete,
        "partitions": shown.map(said).collect::<Vec<_>>(),
        "partition_count": rows.len(),
        "maxlag": most.map(said),
        "totallag": total.sum.records(),
    })
}

fn partition(round: &Round, owners: &Owners<'_>, row: &Row<'_>) -> Value {
    let (owner, client_id) = owners.at(row.topic(), row.partition());
    json!({
        "topic": row.topic().as_str(),
        "partition": row.partition(),
        "owner": owner,
        "client_id": client_id,
        "status": word(row.status()),
        "start": commit(round, row.first()),
        "end": commit(round, row.last()),
        "current_lag": row.records().ok(),
        "complete": complete(row),
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

    use super::super::exposition::tests::read_by;
    use super::super::round::Group;
    use super::super::round::tests::{Plain, blank, group, round as of_rows};
    use super::super::row::Partition;
    use super::super::{Config, Rounds};
    use super::*;
    use crate::client::TopicPartition;

    /// Code and body.
    async fn ask(clusters: &Clusters, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(clusters.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn ask_json(clusters: &Clusters, path: &str) -> (u16, Value) {
        let (status, body) = ask(clusters, path).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    #[test]
    fn verdicts_in_burrows_words() {
        // What stands for less is not stalled.
        let commit = |(at, offset, lag)| Commit { at_ms: at * 25_000, offset, lag };
        let row = |partition, lag, window: [(i64, i64, u64); 3]| Plain {
            committed: window[2].1,
            records: Ok(lag),
            window: window.map(commit).to_vec(),
            ..blank("g", "t", partition)
        };
        let rows = [
            row(0, 0, [(1, 5, 2), (2, 5, 2), (4, 7, 0)]),
            row(1, 4, [(1, 5, 2), (2, 5, 2), (4, 5, 4)]),
            row(2, 9, [(1, 5, 2), (2, 6, 7), (4, 7, 9)]),
        ];
        let round = Round { finished_ms: 100_000, wall_ahead_ms: 100, window_max: 3, ..of_rows(&rows) };
        let total = round.totals().next().unwrap();
        let said = verdict("c", &total, false);
        let words = |said: &Value| -> Vec<String> {
            let partitions = said["partitions"].as_array().cloned().unwrap_or_default();
            partitions.iter().map(|it| it["status"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!((said["status"].as_str(), words(&said)), (Some("ERR"), vec!["STALL".to_owned(), "WARN".to_owned()]));
        assert_eq!((&said["totallag"], &said["maxlag"]["partition"]), (&json!(13), &json!(2)));
        assert_eq!(
            said["maxlag"]["start"],
            json!({ "offset": 5, "timestamp": 25_100, "observedAt": 25_100, "lag": 2 })
        );
        assert_eq!(words(&verdict("c", &total, true)).len(), 3);
        assert_eq!(said["complete"], json!(1.0));
        let more = [&rows[..], &[blank("g", "t", 3)]].concat();
        let partly = Round { finished_ms: 100_000, window_max: 3, ..of_rows(&more) };
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

    #[test]
    fn complete_is_the_share_of_partitions_that_are() {
        let row = |partition, records, entries: i64| {
            let window = (0..entries).map(|at_ms| Commit { at_ms, offset: 5, lag: 0 }).collect();
            Plain { records, window, ..blank("g", "t", partition) }
        };
        let check = |rows: &[Plain], unread: Option<&str>, of_group: f64, of_each: &[f64]| {
            let unread: BTreeMap<Arc<str>, String> =
                unread.map(|why| (Arc::from("g"), why.to_owned())).into_iter().collect();
            let round = of_rows(rows).with_unread(unread);
            let said = verdict("c", &round.totals().next().unwrap(), true);
            let partitions = said["partitions"].as_array().cloned().unwrap_or_default();
            let each: Vec<_> = partitions.iter().map(|it| it["complete"].clone()).collect();
            assert_eq!((&said["complete"], json!(each)), (&json!(of_group), json!(of_each)), "{said}");
            assert_eq!(said["partition_count"], json!(of_each.len()));
        };
        let whole = row(0, Ok(0), 10);
        check(&[whole.clone(), row(1, Ok(0), 10)], None, 1.0, &[1.0, 1.0]);
        check(
            &[whole.clone(), row(1, Ok(0), 7), row(2, Ok(0), 10), row(3, Ok(0), 10)],
            None,
            0.75,
            &[1.0, 0.7, 1.0, 1.0],
        );
        check(&[row(0, Ok(0), 9)], None, 0.0, &[0.9]);
        // Whoever has 0 in place of null must not take it for a lag.
        check(&[whole.clone(), row(1, Err(Reason::EndUnknown), 10)], None, 0.0, &[1.0, 0.0]);
        check(std::slice::from_ref(&whole), Some("timed out"), 0.0, &[1.0]);
        check(&[whole, row(1, Err(Reason::TopicGone), 10)], None, 1.0, &[1.0]);
        check(&[row(1, Err(Reason::TopicGone), 10)], None, 0.0, &[]);
    }

    /// Topics `t` and `idle` have seven partitions each; of `new` it is not known how many there are, and `gone` is deleted.
    fn scattered() -> Round {
        let window = vec![Commit { at_ms: 9, offset: 5, lag: 3 }];
        let row = |group, topic, partition, records| Plain { records, ..blank(group, topic, partition) };
        let rows = [
            row("g", "gone", 1, Err(Reason::TopicGone)),
            row("g", "new", 1, Ok(4)),
            row("g", "t", 2, Err(Reason::EndUnknown)),
            Plain { window: window.clone(), ..row("g", "t", 5, Ok(3)) },
            Plain { window, ..row("h", "t", 5, Ok(3)) },
        ];
        let reads = |name: &str, topic: &str, partition| {
            let member = GroupMember {
                client_id: "c".to_owned(),
                client_host: "/10.0.0.1".to_owned(),
                assignment: vec![TopicPartition::new(topic, partition)],
                ..GroupMember::default()
            };
            Group { members: Some([member].into()), ..group(name, "Stable") }
        };
        let other = |topic: &str, partition| Partition::unread(TopicPartition::new(topic, partition), Ok(7), None);
        let unread = BTreeMap::from(["h", "silent"].map(|group| (group.into(), "timed out".to_owned())));
        Round {
            good_for_ms: i64::MAX,
            groups: vec![reads("g", "t", 6), reads("silent", "idle", 0)],
            others: vec![other("idle", 1), other("t", 0)],
            cluster: Arc::new(read_by(&["idle", "t"], 7)),
            ..of_rows(&rows).with_unread(unread)
        }
    }

    #[test]
    fn commits_are_at_the_places_of_their_partitions() {
        let round = scattered();
        let check = |group: &str, want: Value| assert_eq!(commits(&round.total_of(group).unwrap()), want, "{group}");
        let said = |offsets: Value, lag: Value| json!({ "offsets": offsets, "owner": "", "client_id": "", "current-lag": lag });
        let at_five = json!({ "offset": 5, "timestamp": 9, "observedAt": 9, "lag": 3 });
        let five = said(json!([at_five, at_five]), json!(3));
        let (none, unknown) = (said(json!([]), json!(0)), said(json!([]), Value::Null));
        let no_window = |lag: Value| said(json!([null, null]), lag);
        let owned = json!({ "offsets": [], "owner": "/10.0.0.1", "client_id": "c", "current-lag": 0 });
        check(
            "g",
            json!({
                "new": [none, no_window(json!(4))],
                "t": [none, none, no_window(Value::Null), none, none, five, owned],
            }),
        );
        check("h", json!({ "t": [unknown, unknown, unknown, unknown, unknown, five, unknown] }));
    }

    #[tokio::test]
    async fn lists_have_all_that_is_not_known_to_be_gone() {
        let (config, rounds) = (Config { cluster_name: "c".to_owned(), ..Config::default() }, Rounds::default());
        rounds.publish(scattered());
        let clusters = Clusters::of(vec![(config, rounds)]);
        let check = async |path: &str, key: &str, want: Value| {
            let (status, said) = ask_json(&clusters, &format!("/v3/kafka/c/{path}")).await;
            assert_eq!((status, &said[key]), (200, &want), "{path}");
        };
        check("consumer", "consumers", json!(["g", "h", "silent"])).await;
        check("topic", "topics", json!(["idle", "new", "t"])).await;
        check("topic/t", "offsets", json!([7, null, null, null, null, 8, null])).await;
        check("topic/idle", "offsets", json!([null, 7, null, null, null, null, null])).await;
        check("topic/new", "offsets", json!([null, 9])).await;
        check("topic/t/consumers", "consumers", json!(["g", "h"])).await;
        check("topic/idle/consumers", "consumers", json!(["silent"])).await;
        check("topic/gone/consumers", "consumers", json!([])).await;
        assert_eq!(ask(&clusters, "/v3/kafka/c/topic/gone").await.0, 404);
    }

    #[tokio::test]
    async fn a_group_that_is_not_there_has_a_status() {
        let (config, rounds) = (Config { cluster_name: "c".to_owned(), ..Config::default() }, Rounds::default());
        rounds.publish(Round { good_for_ms: i64::MAX, ..of_rows(&[blank("g", "t", 0)]) });
        let clusters = Clusters::of(vec![(config, rounds)]);
        let check = async |cluster: &str, group: &str, of: &str| {
            let path = format!("/v3/kafka/{cluster}/consumer/{group}/{of}");
            let want = json!({
                "error": false,
                "message": "consumer status returned",
                "request": { "url": path, "host": "" },
                "status": {
                    "cluster": cluster, "group": group, "status": "NOTFOUND", "complete": 1.0, "partitions": [],
                    "partition_count": 0, "maxlag": null, "totallag": 0,
                },
            });
            assert_eq!(ask_json(&clusters, &path).await, (404, want), "{path}");
        };
        for of in ["status", "lag"] {
            check("c", "h", of).await;
            check("other", "g", of).await;
        }
    }

    #[tokio::test]
    async fn what_is_not_known_is_not_said_to_be_absent() {
        let (c, a) = (Config { cluster_name: "c".to_owned(), ..Config::default() }, Config::default());
        let rounds = Rounds::default();
        let clusters = Clusters::of(vec![(c, rounds.clone()), (a, Rounds::default())]);
        let check = async |path: &str, status: u16, message: &str| {
            let (code, said) = ask_json(&clusters, &format!("/v3/kafka{path}")).await;
            let error = said["error"].as_bool();
            assert_eq!((code, error, said["message"].as_str()), (status, Some(status != 200), Some(message)), "{path}");
        };
        let is_ready = async |status: u16, word: &str| {
            assert_eq!(ask(&clusters, "/burrow/admin/ready").await, (status, word.to_owned()));
        };
        is_ready(503, "STARTING").await;
        check("/c/consumer", 503, "lag not known yet: no round has been finished").await;
        check("/c", 200, "cluster module detail returned").await;
        check("/other", 404, "cluster module not found").await;
        let silent = BTreeMap::from([("silent".into(), "timed out".to_owned())]);
        rounds.publish(Round { good_for_ms: i64::MAX, unread: silent, ..of_rows(&[blank("g", "t", 0)]) });
        is_ready(200, "READY").await;
        check("", 200, "cluster list returned").await;
        check("/c/consumer", 200, "consumer list returned").await;
        check("/kafka/consumer", 503, "lag not known yet: no round has been finished").await;
        check("/kafka/consumer/g/status", 503, "lag not known yet: no round has been finished").await;
        check("/other/consumer", 404, "cluster not found").await;
        check("/other/consumer/g", 404, "cluster or consumer not found").await;
        check("/other/topic", 404, "cluster not found").await;
        check("/other/topic/t", 404, "cluster or topic not found").await;
        check("/other/topic/t/consumers", 404, "cluster not found").await;
        check("/c/consumer/g/lag", 200, "consumer status returned").await;
        check("/c/consumer/h", 404, "cluster or consumer not found").await;
        for of in ["", "/status", "/lag"] {
            let path = format!("/c/consumer/silent{of}");
            check(&path, 503, "the commits of group silent could not be read: timed out").await;
        }
        check("/c/topic/t", 200, "topic offsets returned").await;
        check("/c/topic/u", 404, "cluster or topic not found").await;
        check("/c/topic/u/consumers", 200, "consumers of topic returned").await;
    }
}
