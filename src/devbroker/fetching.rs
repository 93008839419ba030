//! Fetches that wait, and fetched records on their way from the log to the wire.
//!
//! A fetch that finds too little is parked with a timer and is a *watcher* of each partition it reads. Whatever becomes
//! readable in one of them counts against what is missing; when nothing is, or the timer falls due, or a partition
//! changes its leader or goes, the fetch reads again and answers with what there is. There is at most one parked fetch a
//! connection.

use std::collections::HashMap;

use super::clock::{Now, TimerId, after_ms};
use super::handlers::{Call, fetch};
use super::log::Slice;
use super::reply::{Answer, Reply};
use super::state::{State, Timer};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::FetchResponse;
use crate::protocol::types::TopicId;

/// One parked fetch.
pub type FetchId = u64;

#[derive(Debug)]
struct Parked {
    call: Call,
    plan: fetch::Plan,
    reply: Reply,
    timer: TimerId,
    watching: Vec<(TopicId, i32)>,
    missing: u64,
}

/// Part of [`State`].
#[derive(Debug, Default)]
pub struct Fetches {
    parked: HashMap<FetchId, Parked>,
    next: FetchId,
}

/// Why and for how long a fetch waits.
#[derive(Debug)]
pub struct Wait {
    pub max_wait_ms: i64,
    /// Bytes that must become readable before it is worth answering.
    pub missing: u64,
    pub watching: Vec<(TopicId, i32)>,
}

impl State {
    /// Parks a fetch.
    pub(super) fn park_fetch(&mut self, call: &Call, plan: fetch::Plan, wait: Wait) -> Answer {
        let id = self.fetches.next;
        self.fetches.next += 1;
        let (reply, answer) = Reply::park();
        let timer = self.timers.schedule(after_ms(call.now, wait.max_wait_ms), Timer::Fetch(id));
        for (topic, partition) in &wait.watching {
            if let Some(it) = self.topics.by_id_mut(*topic).and_then(|topic| topic.partition_mut(*partition)) {
                it.watchers.push(id);
            }
        }
        let parked = Parked { call: call.clone(), plan, reply, timer, watching: wait.watching, missing: wait.missing };
        self.fetches.parked.insert(id, parked);
        answer
    }

    /// Something became readable in a partition that these fetches watch.
    pub(super) fn fetches_gain(&mut self, now: Now, watchers: &[FetchId], bytes: u64) {
        for id in watchers {
            let Some(parked) = self.fetches.parked.get_mut(id) else { continue };
            parked.missing = parked.missing.saturating_sub(bytes);
            if parked.missing == 0 {
                self.finish_fetch(now, *id);
            }
        }
    }

    /// Answers a parked fetch with what there is now.
    pub(super) fn finish_fetch(&mut self, now: Now, id: FetchId) {
        if let Some(mut parked) = self.unpark_fetch(id) {
            parked.call.now = now;
            let fetched = fetch::finish(self, &parked.call, &parked.plan);
            parked.reply.send(fetched);
        }
    }

    /// Whatever these fetches wait for has changed under them.
    pub(super) fn finish_fetches(&mut self, now: Now, watchers: &[FetchId]) {
        watchers.iter().for_each(|id| self.finish_fetch(now, *id));
    }

    pub(super) fn drop_fetches_of(&mut self, connection: u64) {
        let of = |(id, parked): (&FetchId, &Parked)| (parked.call.connection == connection).then_some(*id);
        let gone: Vec<FetchId> = self.fetches.parked.iter().filter_map(of).collect();
        gone.into_iter().for_each(|id| drop(self.unpark_fetch(id)));
    }

    fn unpark_fetch(&mut self, id: FetchId) -> Option<Parked> {
        let parked = self.fetches.parked.remove(&id)?;
        self.timers.cancel(parked.timer);
        for (topic, partition) in &parked.watching {
            if let Some(it) = self.topics.by_id_mut(*topic).and_then(|topic| topic.partition_mut(*partition)) {
                it.watchers.retain(|watcher| *watcher != id);
            }
        }
        Some(parked)
    }
}

/// A Fetch response whose records are still slices of the log.
#[derive(Debug)]
pub struct Fetched {
    pub response: FetchResponse,
    /// Index of the topic in the response, of the partition in the topic, and its records.
    pub records: Vec<(usize, usize, Slice)>,
}

impl Fetched {
    /// Whether [`Fetched::read`] may wait for a disk.
    pub fn blocks(&self) -> bool {
        self.records.iter().any(|(_, _, slice)| slice.blocks())
    }

    /// Puts the records into the response. A partition that cannot be read says so; the others are not its hostages.
    pub fn read(mut self) -> FetchResponse {
        for (topic, partition, slice) in self.records {
            let data = self.response.responses.get_mut(topic).and_then(|topic| topic.partitions.get_mut(partition));
            let Some(data) = data else { continue };
            match slice.read() {
                Ok(records) => data.records = Some(records),
                Err(error) => {
                    tracing::error!(partition = data.partition_index, %error, "records could not be read");
                    data.error_code = ErrorCode::KAFKA_STORAGE_ERROR.into();
                }
            }
        }
        self.response
    }
}
