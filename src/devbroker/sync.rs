//! What has been written but not yet synced, and who waits for it.
//!
//! Syncing takes milliseconds, so it happens outside the lock and for everybody at once: [`State::take_sync`] takes what
//! is dirty, [`SyncWork::run`] syncs it, [`State::synced`] lets readers see it and sends the answers that waited.
//! One worker does this, so at most one piece of work is under way; what comes meanwhile is the next piece.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::clock::Now;
use super::reply::{Ready, Reply};
use super::state::State;
use crate::protocol::api::Response;
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{Offset, TopicId};

/// Part of [`State`]. Its size is bounded by the connections (one parked answer each) and the partitions.
#[derive(Debug, Default)]
pub struct SyncQueue {
    dirty: BTreeSet<(TopicId, i32)>,
    waiting: Vec<(Reply, Ready)>,
    /// Whether the input at hand wrote anything.
    pub touched: bool,
}

impl SyncQueue {
    pub fn note(&mut self, topic: TopicId, partition: i32) {
        self.dirty.insert((topic, partition));
        self.touched = true;
    }

    pub fn wait(&mut self, reply: Reply, ready: Ready) {
        self.waiting.push((reply, ready));
    }

    pub fn is_idle(&self) -> bool {
        self.dirty.is_empty() && self.waiting.is_empty()
    }
}

#[derive(Debug)]
struct PartitionWork {
    topic: TopicId,
    partition: i32,
    /// The end of the log when its files were taken.
    end: Offset,
    files: Vec<Arc<File>>,
}

/// What is to be synced, taken out of the state.
#[derive(Debug)]
pub struct SyncWork {
    partitions: Vec<PartitionWork>,
    journal: Option<Arc<File>>,
    waiting: Vec<(Reply, Ready)>,
}

/// What came of it.
#[derive(Debug)]
pub struct Synced {
    partitions: Vec<(PartitionWork, io::Result<()>)>,
    journal: io::Result<()>,
    waiting: Vec<(Reply, Ready)>,
}

impl SyncWork {
    /// Waits for the disk; to be run where blocking is allowed, without the lock.
    pub fn run(self) -> Synced {
        let sync = |work: PartitionWork| {
            let result = work.files.iter().try_for_each(|file| file.sync_data());
            (work, result)
        };
        Synced {
            partitions: self.partitions.into_iter().map(sync).collect(),
            journal: self.journal.map_or(Ok(()), |file| file.sync_data()),
            waiting: self.waiting,
        }
    }
}

impl State {
    /// Takes everything that is dirty; `None` if nothing is.
    pub fn take_sync(&mut self) -> Option<SyncWork> {
        let journal = self.storage.as_mut().and_then(|storage| storage.journal.take_dirty());
        if self.sync.is_idle() && journal.is_none() {
            return None;
        }
        let dirty = std::mem::take(&mut self.sync.dirty);
        let take = |(topic, partition): (TopicId, i32)| {
            let log = &mut self.topics.by_id_mut(topic)?.partition_mut(partition)?.log;
            Some(PartitionWork { topic, partition, end: log.end(), files: log.take_dirty() })
        };
        let partitions = dirty.into_iter().filter_map(take).collect();
        Some(SyncWork { partitions, journal, waiting: std::mem::take(&mut self.sync.waiting) })
    }

    /// Lets readers see what is safe now, and answers those who waited for it.
    pub fn synced(&mut self, now: Now, done: Synced) {
        let mut failed = BTreeSet::new();
        for (work, result) in done.partitions {
            match result {
                Ok(()) => self.reveal(now, work.topic, work.partition, Some(work.end)),
                Err(error) => {
                    tracing::error!(partition = work.partition, %error, "records could not be synced; those that nobody has seen are cut off");
                    self.cut_unseen(work.topic, work.partition);
                    failed.insert((work.topic, work.partition));
                }
            }
        }
        // What was appended since the sync began was cut off as well.
        for (_, ready) in &mut self.sync.waiting {
            fail(ready, &failed);
        }
        if let Err(error) = done.journal {
            // Dropping the replies closes their connections: nothing was promised.
            tracing::error!(%error, "the metadata journal could not be synced");
            return;
        }
        for (reply, mut ready) in done.waiting {
            fail(&mut ready, &failed);
            reply.send(ready);
        }
    }
}

/// Makes a Produce response say which partitions could not be synced.
fn fail(ready: &mut Ready, failed: &BTreeSet<(TopicId, i32)>) {
    let Ready::Response(Response::Produce(response)) = ready else { return };
    for topic in &mut response.responses {
        for partition in &mut topic.partition_responses {
            if failed.contains(&(topic.topic_id, partition.index)) {
                partition.error_code = ErrorCode::KAFKA_STORAGE_ERROR.into();
                partition.base_offset = -1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use super::*;
    use crate::devbroker::clock::Clock;
    use crate::devbroker::handlers::{Call, prepare};
    use crate::devbroker::reply::Answer;
    use crate::devbroker::state::Broker;
    use crate::devbroker::{Config, Fsync};
    use crate::protocol::api::Request;
    use crate::protocol::batch::{BatchBuilder, Compression, ProducerStamp};
    use crate::protocol::messages::*;

    fn ask(state: &mut State, now: Now, version: i16, request: impl Into<Request>) -> Answer {
        let request = request.into();
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
        let client_host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let api_key = request.key();
        let call = Call { broker: 1, connection: 1, api_key, version, client_id: None, client_host, local, now };
        state.request(&call, prepare(request, version))
    }

    fn produce(state: &mut State, now: Now, sequence: i32) -> Answer {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(now.unix_ms, None, Some(b"value"), &[]).unwrap();
        let mut batch = builder.finish().unwrap();
        batch.stamp(Some(ProducerStamp { producer_id: 5, producer_epoch: 0, base_sequence: sequence }));
        let partition_data = vec![PartitionProduceData { index: 0, records: Some(batch.bytes().clone()) }];
        let topic_data = vec![TopicProduceData { name: "t".into(), partition_data, ..Default::default() }];
        ask(state, now, 12, ProduceRequest { acks: -1, topic_data, ..Default::default() })
    }

    fn syncing(directory: &std::path::Path, now: Now) -> State {
        let config = Config { data_dir: Some(directory.to_owned()), fsync: Fsync::Always, ..Config::default() };
        let brokers = vec![Broker { id: 1, rack: None, host: None, port: 9092 }];
        let mut state = State::new(Arc::new(config), brokers, 1, now);
        state.restore().unwrap();
        let topic = CreatableTopic { name: "t".into(), num_partitions: 1, replication_factor: 1, ..Default::default() };
        ask(&mut state, now, 7, CreateTopicsRequest { topics: vec![topic], ..Default::default() });
        let done = state.take_sync().unwrap().run();
        state.synced(now, done);
        state
    }

    /// What a parked Produce was answered; `None` while it waits.
    fn answered(answer: &mut Answer) -> Option<(i16, Offset)> {
        let Answer::Later(reply) = answer else { panic!("{answer:?}") };
        let Ready::Response(Response::Produce(response)) = reply.try_recv().ok()? else { panic!("no Produce") };
        let row = &response.responses[0].partition_responses[0];
        Some((row.error_code, row.base_offset))
    }

    fn high_watermark(state: &State) -> Offset {
        let log = &state.topics.get("t").unwrap().partitions[0].log;
        log.check();
        log.high_watermark()
    }

    #[tokio::test]
    async fn nothing_is_promised_or_shown_before_it_is_synced() {
        let directory = tempfile::tempdir().unwrap();
        let now = Clock::start().now();
        let mut state = syncing(directory.path(), now);
        let mut first = produce(&mut state, now, 0);
        let mut retry = produce(&mut state, now, 0);
        assert_eq!((answered(&mut first), answered(&mut retry), high_watermark(&state)), (None, None, 0));
        let work = state.take_sync().unwrap();
        let mut second = produce(&mut state, now, 1);
        state.synced(now, work.run());
        assert_eq!((answered(&mut first), answered(&mut retry)), (Some((0, 0)), Some((0, 0))));
        assert_eq!((answered(&mut second), high_watermark(&state)), (None, 1));
        let done = state.take_sync().unwrap().run();
        state.synced(now, done);
        assert_eq!((answered(&mut second), high_watermark(&state)), (Some((0, 1)), 2));
        assert!(state.take_sync().is_none());
    }

    #[tokio::test]
    async fn what_cannot_be_synced_is_cut_off_for_all_who_wait() {
        let directory = tempfile::tempdir().unwrap();
        let now = Clock::start().now();
        let mut state = syncing(directory.path(), now);
        let mut first = produce(&mut state, now, 0);
        let work = state.take_sync().unwrap();
        let mut second = produce(&mut state, now, 1);
        let mut done = work.run();
        done.partitions.iter_mut().for_each(|(_, result)| *result = Err(io::Error::other("no space left")));
        state.synced(now, done);
        let done = state.take_sync().unwrap().run();
        state.synced(now, done);
        let failed = Some((i16::from(ErrorCode::KAFKA_STORAGE_ERROR), -1));
        assert_eq!((answered(&mut first), answered(&mut second), high_watermark(&state)), (failed, failed, 0));
        let mut again = produce(&mut state, now, 0);
        let done = state.take_sync().unwrap().run();
        state.synced(now, done);
        assert_eq!((answered(&mut again), high_watermark(&state)), (Some((0, 0)), 1));
    }
}
