//! The chores that come round: retention by whole segments, idle producers, the growth of the journal.

use super::clock::Now;
use super::state::State;
use super::topics::TopicState;
use crate::protocol::types::TopicId;

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
