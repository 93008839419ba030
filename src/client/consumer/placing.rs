//! Where a partition is to be read, and from what offset: one try for some cursors.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

use super::config::OffsetReset;
use super::cursor::{Cursor, Place};
use super::delivery::Fetched;
use super::progress::Mark;
use super::reader::{Item, Shared};
use super::scan::Chunk;
use crate::client::admin::{Admin, ListedOffset, OffsetSpec};
use crate::client::cluster::{To, Topics, leaderless};
use crate::client::error::{Error, ErrorKind};
use crate::client::lane::Lane;
use crate::client::metadata::{Leader, Metadata};
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{
    OffsetForLeaderEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::protocol::types::{BrokerId, Offset, Topic, TopicPartition};

/// A cursor, and the broker that it goes to; without one it is tried again.
#[derive(Debug)]
pub(super) struct Placed {
    pub cursor: Cursor,
    pub broker: Option<BrokerId>,
}

/// Finds leaders and offsets. Cursors of partitions that are no longer held, or that cannot be read by the rules that were
/// given, are dropped.
pub(super) async fn place(shared: &Shared, mut cursors: Vec<Cursor>) -> Vec<Placed> {
    let known = learn(shared, &cursors).await;
    cursors.retain(|cursor| !cursor.tenure.has_ended());
    for cursor in &mut cursors {
        notice_new_topic(cursor, &known);
    }
    let (led, mut waiting): (Vec<_>, Vec<_>) =
        cursors.into_iter().partition(|cursor| known.leader(cursor.topic_partition()).is_some());
    for cursor in &mut waiting {
        if cursor.fail() {
            // A full queue has enough to say already; this is said again as long as it lasts.
            let _ = shared.items.try_send(Item::Failed(leaderless(&known, cursor.topic_partition())));
        }
    }
    let mut placed: Vec<Placed> = waiting.into_iter().map(|cursor| Placed { cursor, broker: None }).collect();
    let (valid, untold) = validate(shared, led, &known).await;
    let resolved = resolve(shared, valid).await.into_iter().chain(untold.into_iter().map(|cursor| (cursor, false)));
    placed.extend(resolved.map(|(mut cursor, ready)| {
        let leader = known.leader(cursor.topic_partition()).filter(|_| ready);
        if !ready {
            cursor.fail();
        }
        cursor.leader = leader.or(cursor.leader);
        let broker = leader.map(|leader| cursor.source(leader, &known, Instant::now()));
        Placed { cursor, broker }
    }));
    placed
}

/// What is known of the topics; after a failure it is learned anew, with a growing pause before it.
async fn learn(shared: &Shared, cursors: &[Cursor]) -> std::sync::Arc<Metadata> {
    let failures = cursors.iter().map(|cursor| cursor.failures).max().unwrap_or(0);
    let known = shared.cluster.metadata();
    let unknown = cursors.iter().any(|cursor| known.leader(cursor.topic_partition()).is_none());
    if failures == 0 && !unknown {
        return known;
    }
    if failures > 1 {
        sleep(shared.cluster.retry_backoff().wait(failures - 1)).await;
    }
    let mut topics: Vec<Topic> = cursors.iter().map(|cursor| cursor.topic_partition().topic.clone()).collect();
    topics.sort_unstable();
    topics.dedup();
    match shared.cluster.refresh(Topics::Follow(topics)).await {
        Ok(known) => known,
        Err(error) => {
            tracing::debug!(%error, "the cluster cannot be learned anew at present");
            shared.cluster.metadata()
        }
    }
}

/// A topic that was deleted and made again has another id (KIP-516), and offsets of the old one mean nothing.
fn notice_new_topic(cursor: &mut Cursor, known: &Metadata) {
    let of = cursor.topic_partition();
    let Some(id) = known.topic_id(&of.topic) else { return };
    if cursor.topic_id.is_some_and(|before| before != id) {
        tracing::warn!(partition = %of, position = cursor.position(), "the topic was deleted and made again; reading it from its start");
        cursor.place = Place::NewTopic;
        cursor.leader = None;
        cursor.parked = false;
    }
    cursor.topic_id = Some(id);
}

/// Gives cursors without an offset one. Says which may go to their leader.
async fn resolve(shared: &Shared, cursors: Vec<Cursor>) -> Vec<(Cursor, bool)> {
    let mut done = Vec::with_capacity(cursors.len());
    let mut wanted: HashMap<OffsetReset, Vec<Cursor>> = HashMap::new();
    for cursor in cursors {
        match cursor.place {
            Place::At(_) => done.push((cursor, true)),
            Place::NewTopic => wanted.entry(OffsetReset::Earliest).or_default().push(cursor),
            _ => wanted.entry(shared.config.auto_offset_reset).or_default().push(cursor),
        }
    }
    for (reset, cursors) in wanted {
        let Some(spec) = spec(reset, SystemTime::now()) else {
            refuse(shared, cursors).await;
            continue;
        };
        let (found, late) = reset_to(shared, cursors, spec).await;
        done.extend(found);
        // The next record will not be older than was asked for.
        done.extend(reset_to(shared, late, OffsetSpec::Latest).await.0);
    }
    done
}

/// What a rule asks of a partition's leader; `None` for nothing.
fn spec(reset: OffsetReset, now: SystemTime) -> Option<OffsetSpec> {
    match reset {
        OffsetReset::None => None,
        OffsetReset::Earliest => Some(OffsetSpec::Earliest),
        OffsetReset::Latest => Some(OffsetSpec::Latest),
        OffsetReset::ByDuration(age) => {
            let from = now.checked_sub(age).and_then(|from| from.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            Some(OffsetSpec::At(i64::try_from(from.as_millis()).unwrap_or(i64::MAX)))
        }
    }
}

/// The rule is to begin nowhere.
async fn refuse(shared: &Shared, cursors: Vec<Cursor>) {
    for cursor in cursors {
        let why = match cursor.place {
            Place::Gone(offset) => format!("offset {offset} is not there any more"),
            _ => "the group has committed no offset".to_owned(),
        };
        let what = format!("{why}, and auto_offset_reset is none; the partition is not read");
        let error = Error::config(what).at(cursor.topic_partition().clone());
        let _ = shared.items.send(Item::Failed(error)).await;
    }
}

/// Says which may go to their leader, and which have no record that late.
async fn reset_to(shared: &Shared, cursors: Vec<Cursor>, spec: OffsetSpec) -> (Vec<(Cursor, bool)>, Vec<Cursor>) {
    if cursors.is_empty() {
        return Default::default();
    }
    let partitions: Vec<TopicPartition> = cursors.iter().map(|cursor| cursor.topic_partition().clone()).collect();
    let admin = Admin::new(shared.cluster.clone());
    let found = admin.list_offsets(spec, &partitions, shared.config.isolation_level).await;
    let mut found = found.inspect_err(|error| tracing::debug!(%error, "offsets cannot be had")).unwrap_or_default();
    let (mut done, mut late) = (Vec::with_capacity(cursors.len()), Vec::new());
    for mut cursor in cursors {
        let ready = match found.remove(cursor.topic_partition()) {
            Some(Ok(ListedOffset { offset: Some(offset), leader_epoch, .. })) => {
                begin(shared, &mut cursor, Mark { offset, leader_epoch }).await
            }
            Some(Ok(_)) if matches!(spec, OffsetSpec::At(_)) => {
                late.push(cursor);
                continue;
            }
            Some(Ok(_)) | None => false,
            Some(Err(error)) => {
                tracing::debug!(%error, "an offset cannot be had");
                false
            }
        };
        done.push((cursor, ready));
    }
    (done, late)
}

/// Reads from here, and lets the progress know, so that the group is told even if no record ever comes.
async fn begin(shared: &Shared, cursor: &mut Cursor, mark: Mark) -> bool {
    if let Place::Gone(offset) = cursor.place {
        let partition = cursor.topic_partition();
        tracing::warn!(%partition, from = offset, to = mark.offset, "the offset is out of range; reset by auto_offset_reset");
    }
    cursor.place = Place::At(mark);
    let weight = cursor.tenure.weigh(shared.memory.take(0));
    let fetched = Fetched { chunk: Chunk::empty(mark.offset, mark), high_watermark: None, weight };
    shared.items.send(Item::Fetched(fetched)).await.is_ok()
}

/// Whether the leader's log agrees with what was read, or committed (KIP-320): after an unclean election it may have been
/// cut, and other records may stand where ours stood. Every leader is asked before it is read from for the first time.
/// Those of which it does not tell come second: they are asked about again.
async fn validate(shared: &Shared, cursors: Vec<Cursor>, known: &Metadata) -> (Vec<Cursor>, Vec<Cursor>) {
    let mut by_leader: BTreeMap<BrokerId, Vec<(Cursor, Leader, Mark)>> = BTreeMap::new();
    let (mut valid, mut untold) = (Vec::with_capacity(cursors.len()), Vec::new());
    for cursor in cursors {
        match doubtful(&cursor, known) {
            Some((leader, mark)) => by_leader.entry(leader.broker).or_default().push((cursor, leader, mark)),
            None => valid.push(cursor),
        }
    }
    for (broker, cursors) in by_leader {
        let ends = ask_ends(shared, broker, &cursors).await;
        for (mut cursor, _, mark) in cursors {
            match ends.get(cursor.topic_partition()).copied() {
                Some(Some(end)) if end < mark.offset => {
                    let partition = cursor.topic_partition();
                    tracing::warn!(%partition, read = mark.offset, end, "the log was cut below what was read; reading again from its end");
                    begin(shared, &mut cursor, Mark { offset: end, leader_epoch: None }).await;
                    valid.push(cursor);
                }
                Some(_) => valid.push(cursor),
                None => untold.push(cursor),
            }
        }
    }
    (valid, untold)
}

/// The leader, and the place that it may not agree with: one that was not read from it, of a known epoch.
fn doubtful(cursor: &Cursor, known: &Metadata) -> Option<(Leader, Mark)> {
    let Place::At(mark) = cursor.place else { return None };
    let leader = known.leader(cursor.topic_partition())?;
    let is_new = cursor.leader.is_none_or(|before| leader.epoch > before.epoch);
    (is_new && leader.epoch.is_some() && mark.leader_epoch.is_some()).then_some((leader, mark))
}

/// Where the epochs end in the leader's log; `None` where that is not to be had from it, then or later. What is missing is
/// to be asked again.
async fn ask_ends(
    shared: &Shared,
    broker: BrokerId,
    cursors: &[(Cursor, Leader, Mark)],
) -> HashMap<TopicPartition, Option<Offset>> {
    let mut topics: BTreeMap<&Topic, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
    for (cursor, leader, mark) in cursors {
        let of = cursor.topic_partition();
        topics.entry(&of.topic).or_default().push(OffsetForLeaderPartition {
            partition: of.partition,
            current_leader_epoch: leader.epoch.unwrap_or(-1),
            leader_epoch: mark.leader_epoch.unwrap_or(-1),
        });
    }
    let topics = topics.into_iter().map(|(topic, partitions)| OffsetForLeaderTopic { topic: topic.into(), partitions });
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: topics.collect() };
    let deadline = shared.cluster.config().request_timeout;
    match shared.cluster.call(To::Broker(broker), Lane::General, request, deadline).await {
        Ok(answer) => {
            let topics = answer.body.topics.into_iter().map(|topic| (Topic::from(&topic.topic), topic.partitions));
            let ends = topics.flat_map(|(topic, ends)| ends.into_iter().map(move |end| (topic.clone(), end)));
            ends.filter_map(|(topic, end)| Some((TopicPartition::new(topic, end.partition), told_end(&end)?))).collect()
        }
        // Brokers before Kafka 2.1 do not know which epoch their clients know.
        Err(error) if matches!(error.kind, ErrorKind::Unsupported) => {
            cursors.iter().map(|(cursor, ..)| (cursor.topic_partition().clone(), None)).collect()
        }
        Err(error) => {
            tracing::debug!(%error, "a new leader does not say where its epochs end");
            HashMap::new()
        }
    }
}

/// The end of the epoch in the leader's log, if it knows one; `None` if it may yet tell. What it refuses for good it
/// refuses to those who fetch, too, and there it is said.
fn told_end(end: &OffsetForLeaderEndOffset) -> Option<Option<Offset>> {
    let code = ErrorCode(end.error_code);
    match code.class() {
        Class::Ok => Some(Some(end.end_offset).filter(|offset| *offset >= 0)),
        Class::Fatal => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_may_yet_tell_is_asked_again() {
        let told = |code: ErrorCode, end_offset| {
            told_end(&OffsetForLeaderEndOffset { error_code: code.0, end_offset, ..Default::default() })
        };
        assert_eq!(told(ErrorCode::NONE, 7), Some(Some(7)));
        assert_eq!(told(ErrorCode::NONE, -1), Some(None));
        assert_eq!(told(ErrorCode::TOPIC_AUTHORIZATION_FAILED, -1), Some(None));
        for code in [ErrorCode::UNKNOWN_LEADER_EPOCH, ErrorCode::FENCED_LEADER_EPOCH, ErrorCode::NOT_LEADER_OR_FOLLOWER]
        {
            assert_eq!(told(code, -1), None, "{code}");
        }
    }
}
