//! The chores that come round: retention by whole segments, compaction, idle producers, the growth of the journal.

use std::io;

use super::clock::Now;
use super::configs::TopicConfig;
use super::log::{Pass, Rules};
use super::state::State;
use super::topics::{Partition, TopicState};
use crate::protocol::types::{Offset, TopicId};

/// `producer.id.expiration.ms`
const PRODUCER_EXPIRY_MS: i64 = 86_400_000;

impl State {
    pub(super) fn keep_house(&mut self, now: Now) {
        for topic in self.topics.iter_mut() {
            for it in &mut topic.partitions {
                it.producers.expire(now.unix_ms - PRODUCER_EXPIRY_MS);
                it.producers.forget_before(it.log.start());
            }
        }
        let expired: Vec<TopicId> =
            self.topics.iter_mut().filter_map(|topic| expire(topic, now).then_some(topic.id)).collect();
        for id in expired {
            let Some(entry) = self.topics.by_id(id).map(TopicState::entry) else { continue };
            // Not stored, the start moves again at the next start: the segments are gone either way.
            let _ = self.record(&[entry.into()]);
        }
        if self.storage.as_ref().is_some_and(|storage| storage.journal.wants_snapshot())
            && let Err(error) = self.compact()
        {
            tracing::error!(%error, "the metadata journal could not be compacted");
        }
    }
}

impl State {
    /// Compacts what wants it. It is done where it stands, so that requests wait meanwhile, and it takes memory for a segment,
    /// twice, and for every key: the log of a development cluster is small.
    pub(super) fn clean_logs(&mut self, now: Now) {
        for topic in self.topics.iter_mut().filter(|topic| topic.config.compacted) {
            let config = topic.config.clone();
            for (index, partition) in topic.partitions.iter_mut().enumerate() {
                match clean(partition, &config, now) {
                    Ok(0) => {}
                    Ok(freed) => tracing::info!(topic = %topic.name, index, freed, "compacted"),
                    Err(error) => tracing::error!(topic = %topic.name, index, %error, "a log could not be compacted"),
                }
            }
        }
    }
}

fn clean(partition: &mut Partition, config: &TopicConfig, now: Now) -> io::Result<u64> {
    let undecided = partition.last_stable();
    let Partition { log, producers, .. } = partition;
    let is_aborted = |producer_id: i64, offset: Offset| {
        producers.aborted(offset, offset + 1).any(|it| it.producer_id == producer_id && it.first <= offset)
    };
    let pass = Pass { now_ms: now.unix_ms, delete_retention_ms: config.delete_retention_ms, is_aborted: &is_aborted };
    let rules =
        Rules { min_compaction_lag_ms: config.min_compaction_lag_ms, min_dirty_per_mille: config.min_dirty_per_mille };
    log.compact(&rules, undecided, &pass)
}

/// Removes segments that retention lets go; says whether there were any.
fn expire(topic: &mut TopicState, now: Now) -> bool {
    if !topic.config.deleted {
        return false;
    }
    let since = topic.config.retention_ms.map(|keep| now.unix_ms.saturating_sub(keep));
    let mut moved = false;
    for (index, partition) in topic.partitions.iter_mut().enumerate() {
        let start = partition.log.expired(topic.config.retention_bytes, since);
        if start > partition.log.start() {
            tracing::info!(topic = %topic.name, index, start, "old segments removed");
            moved = true;
            if let Err(error) = partition.log.move_start(start) {
                tracing::error!(topic = %topic.name, index, %error, "an old segment could not be removed");
            }
        }
    }
    moved
}
