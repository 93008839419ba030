//! Where a partition is to be read, and from what offset: one try for some cursors.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

use super::config::OffsetReset;
use super::cursor::{Cursor, Place};
use super::delivery::Fetched;
use super::group::REFUSED_PAUSE;
use super::progress::Mark;
use super::reader::{Item, Shared};
use super::scan::Chunk;
use crate::client::admin::{Admin, EpochEnd, ListedOffset, OffsetSpec};
use crate::client::cluster::{Topics, leaderless};
use crate::client::error::{Error, ErrorKind, NoPlace};
use crate::client::metadata::Metadata;
use crate::protocol::types::{LeaderEpoch, Offset, Topic, TopicPartition};

/// Finds leaders and offsets, and says in each cursor whose reader is to have it; without one it is tried again. Cursors of
/// partitions that are no longer held are dropped; those that cannot be read by the rules that were given are to be tried
/// again not before a while.
///
/// The cursors stay where they are: there may be as many as a cluster has partitions.
pub(super) async fn place(shared: &Shared, cursors: &mut Vec<Cursor>) {
    let known = learn(shared, cursors).await;
    cursors.retain(|cursor| !cursor.tenure.has_ended());
    for cursor in cursors.iter_mut() {
        cursor.reader = None;
        notice_new_topic(cursor, &known);
    }
    let (led, waiting): (Vec<_>, Vec<_>) =
        cursors.iter_mut().partition(|cursor| known.leader(cursor.topic_partition()).is_some());
    for cursor in waiting {
        if cursor.fail() {
            // A full queue has enough to say already; this is said again as long as it lasts.
            let _ = shared.items.try_send(Item::Failed(leaderless(&known, cursor.topic_partition())));
        }
    }
    let valid = validate(shared, led, &known).await;
    for cursor in resolve(shared, valid).await {
        let Some(leader) = known.leader(cursor.topic_partition()) else { continue };
        cursor.leader = Some(leader);
        cursor.reader = Some(cursor.source(leader, &known, Instant::now()));
    }
}

/// What is known of the topics; after a failure it is learned anew, with a growing pause before it.
async fn learn(shared: &Shared, cursors: &[Cursor]) -> Arc<Metadata> {
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

/// Gives cursors without an offset one. Those that may go to their leader come back; the others have failed.
async fn resolve<'a>(shared: &Shared, cursors: Vec<&'a mut Cursor>) -> Vec<&'a mut Cursor> {
    let mut ready = Vec::with_capacity(cursors.len());
    let (now, mut wanted) = (SystemTime::now(), HashMap::<Option<OffsetSpec>, Vec<&mut Cursor>>::new());
    for cursor in cursors {
        match cursor.place {
            Place::At(_) => ready.push(cursor),
            Place::NewTopic => wanted.entry(Some(OffsetSpec::Earliest)).or_default().push(cursor),
            Place::Sought(spec) => wanted.entry(Some(spec)).or_default().push(cursor),
            _ => wanted.entry(spec(shared.config.auto_offset_reset, now)).or_default().push(cursor),
        }
    }
    for (spec, cursors) in wanted {
        let Some(spec) = spec else {
            refuse(shared, cursors);
            continue;
        };
        let late = reset_to(shared, cursors, spec, &mut ready).await;
        // The next record will not be older than was asked for.
        reset_to(shared, late, OffsetSpec::Latest, &mut ready).await;
    }
    ready
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

/// The rule is to begin nowhere; it is said again as long as it lasts.
fn refuse(shared: &Shared, cursors: Vec<&mut Cursor>) {
    let later = Instant::now() + REFUSED_PAUSE;
    for cursor in cursors {
        let why = match cursor.place {
            Place::Gone(offset) => NoPlace::Gone(offset),
            Place::Cut(end) => NoPlace::Cut(end),
            _ => NoPlace::Uncommitted,
        };
        let error = Error::new(ErrorKind::NoPlace(why)).at(cursor.topic_partition().clone());
        // A full queue has enough to say already.
        let _ = shared.items.try_send(Item::Failed(error));
        cursor.not_before = Some(later);
        cursor.fail();
    }
}

/// Those that may go to their leader are `ready`; those that have no record that late come back.
async fn reset_to<'a>(
    shared: &Shared,
    cursors: Vec<&'a mut Cursor>,
    spec: OffsetSpec,
    ready: &mut Vec<&'a mut Cursor>,
) -> Vec<&'a mut Cursor> {
    if cursors.is_empty() {
        return cursors;
    }
    let partitions: Vec<TopicPartition> = cursors.iter().map(|cursor| cursor.topic_partition().clone()).collect();
    let admin = Admin::new(shared.cluster.clone());
    let found = admin.list_offsets(spec, &partitions, shared.config.isolation_level).await;
    let mut found = found.inspect_err(|error| tracing::debug!(%error, "offsets cannot be had")).unwrap_or_default();
    let mut late = Vec::new();
    for cursor in cursors {
        let is_ready = match found.remove(cursor.topic_partition()) {
            Some(Ok(ListedOffset { offset: Some(offset), leader_epoch, .. })) => {
                begin(shared, cursor, Mark { offset, leader_epoch }).await
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
        if is_ready {
            ready.push(cursor);
        } else {
            cursor.fail();
        }
    }
    late
}

/// Reads from here, and lets the progress know, so that the group is told even if no record ever comes.
async fn begin(shared: &Shared, cursor: &mut Cursor, mark: Mark) -> bool {
    if let Place::Gone(offset) = cursor.place {
        let partition = cursor.topic_partition();
        tracing::warn!(%partition, from = offset, to = mark.offset, "the offset is out of range; reset by auto_offset_reset");
    }
    cursor.place = Place::At(mark);
    let tenure = Arc::clone(&cursor.tenure);
    if tenure.position().is_none() {
        // Nothing can have come of it yet that would have to be given out before.
        tenure.deliver(mark.offset, mark, 0);
        return true;
    }
    let weight = tenure.weigh(shared.memory.take(0));
    let fetched =
        Fetched { chunk: Chunk::empty(mark.offset, mark), high_watermark: None, weight, rewinds: cursor.rewinds };
    tokio::select! {
        sent = shared.items.send(Item::Fetched(fetched)) => sent.is_ok(),
        // Whoever seeks again and again and takes nothing leaves nobody waiting for room.
        () = tenure.ended() => false,
    }
}

/// Whether the leader's log agrees with what was read, or committed (KIP-320): after an unclean election it may have been
/// cut, and other records may stand where ours stood. Every leader is asked before it is read from for the first time.
/// Those of which it does not tell do not come back: they are asked about again. What a leader refuses for good it refuses
/// to those who fetch, too, and there it is said.
async fn validate<'a>(shared: &Shared, cursors: Vec<&'a mut Cursor>, known: &Metadata) -> Vec<&'a mut Cursor> {
    let epoch = |cursor: &&mut Cursor| Some((cursor.topic_partition().clone(), doubtful(cursor, known)?));
    let epochs: HashMap<TopicPartition, LeaderEpoch> = cursors.iter().filter_map(epoch).collect();
    if epochs.is_empty() {
        return cursors;
    }
    let mut ends = Admin::new(shared.cluster.clone()).rounds(1).epoch_ends(&epochs).await;
    let mut valid = Vec::with_capacity(cursors.len());
    for cursor in cursors {
        match (cursor.position(), ends.remove(cursor.topic_partition())) {
            (Some(read), Some(Ok(Some(end)))) if end.offset.is_none_or(|end| end < read) => {
                leave_the_cut(shared, cursor, read, end).await;
            }
            (_, Some(Err(error))) => {
                tracing::debug!(%error, "a new leader does not say where its epochs end");
                cursor.fail();
                continue;
            }
            _ => {}
        }
        valid.push(cursor);
    }
    valid
}

/// Leaves for where a log was cut that had been read up to `read`, as Java's consumer does: who has given no rule for what is
/// gone is told, and asked to seek; and of a log that knows nothing of the epoch, nothing can be said to have been read.
async fn leave_the_cut(
    shared: &Shared,
    cursor: &mut Cursor,
    read: Offset,
    EpochEnd { offset, leader_epoch }: EpochEnd,
) {
    let Some(end) = offset else {
        cursor.place = Place::Gone(read);
        return;
    };
    if shared.config.auto_offset_reset == OffsetReset::None {
        // Whoever is told seeks there, and what was fetched of it before, and dropped, is not gone back to any more.
        let dropped = cursor.rewound().map_or(end, |mark| mark.offset);
        cursor.place = Place::Cut(end.min(dropped));
        return;
    }
    let partition = cursor.topic_partition();
    tracing::warn!(%partition, read, end, "the log was cut below what was read; reading again from its end");
    begin(shared, cursor, Mark { offset: end, leader_epoch }).await;
}

/// The epoch of a place that its leader may not agree with: one that was not read from it.
fn doubtful(cursor: &Cursor, known: &Metadata) -> Option<LeaderEpoch> {
    let Place::At(mark) = cursor.place else { return None };
    let leader = known.leader(cursor.topic_partition())?;
    let is_new = cursor.leader.is_none_or(|before| leader.epoch > before.epoch);
    mark.leader_epoch.filter(|_| is_new && leader.epoch.is_some())
}
