//! The one owner of everything that changes. Whoever holds it (the server's shell behind a mutex, or a test) gives it one
//! input at a time, with the time of day; it never waits and never asks for the time.
//!
//! Its inputs are closed: a request ([`State::request`]), the passing of time ([`State::on_time`]), the end of a sync
//! ([`State::synced`]), the end of a connection ([`State::disconnected`]) and directions from outside
//! ([`State::move_leader`], [`State::move_coordinators`]).

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use tokio::time::Instant;

use super::clock::{Now, Timers};
use super::fetching::{FetchId, Fetches};
use super::groups::{self, GroupTimer, Groups};
use super::handlers::{self, Call, Refused, Work};
use super::journal::{ClusterEntry, Entry, ProducerIdEntry};
use super::reply::{Answer, Reply};
use super::sessions::Sessions;
use super::storage::Storage;
use super::sync::SyncQueue;
use super::topics::Topics;
use super::transactions::{self, Transactions};
use super::users::Users;
use super::{Config, Fsync};
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{BrokerId, Offset, Str, TopicId, Uuid};

const HOUSEKEEPING: Duration = Duration::from_secs(30);
/// How many producer ids one journal entry sets aside (as Kafka's controller does for a broker).
const PRODUCER_ID_BLOCK: i64 = 1000;
/// One virtual broker, as clients see it.
#[derive(Debug, Clone)]
pub struct Broker {
    pub id: BrokerId,
    pub rack: Option<Str>,
    /// `None`: whatever address the client reached us by.
    pub host: Option<Str>,
    pub port: u16,
}

/// What may fall due.
#[derive(Debug, Clone, PartialEq)]
pub enum Timer {
    /// A parked fetch has waited as long as it may.
    Fetch(FetchId),
    Group(GroupTimer),
    /// An open transaction has taken too long.
    Transaction,
    /// Retention, idle producers and sessions, the growth of the journal.
    Housekeeping,
    /// Compaction.
    Cleaner,
}

/// Something could not be written to the data directory. The caller answers KAFKA_STORAGE_ERROR, and nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotStored;

impl From<NotStored> for ErrorCode {
    fn from(_: NotStored) -> ErrorCode {
        ErrorCode::KAFKA_STORAGE_ERROR
    }
}

/// Everything that changes.
#[derive(Debug)]
pub struct State {
    pub config: Arc<Config>,
    pub cluster_id: Str,
    /// In the order of their ids; never empty.
    pub brokers: Vec<Broker>,
    /// How often the coordinators were moved on to the next broker.
    pub coordinators_moved: usize,
    pub topics: Topics,
    pub groups: Groups,
    pub transactions: Transactions,
    pub users: Users,
    pub timers: Timers<Timer>,
    pub(super) fetches: Fetches,
    pub(super) sessions: Sessions,
    pub(super) storage: Option<Storage>,
    pub(super) sync: SyncQueue,
    next_producer_id: i64,
    reserved_producer_ids: i64,
    random: SmallRng,
}

impl State {
    /// An empty state; [`State::restore`](super::restore) fills it from a data directory.
    pub fn new(config: Arc<Config>, brokers: Vec<Broker>, seed: u64, now: Now) -> State {
        let groups = Groups::new(config.groups.clone());
        let mut state = State {
            config,
            cluster_id: Str::default(),
            brokers,
            coordinators_moved: 0,
            topics: Topics::default(),
            groups,
            transactions: Transactions::default(),
            users: Users::default(),
            timers: Timers::default(),
            fetches: Fetches::default(),
            sessions: Sessions::default(),
            storage: None,
            sync: SyncQueue::default(),
            next_producer_id: 0,
            reserved_producer_ids: 0,
            random: SmallRng::seed_from_u64(seed),
        };
        state.cluster_id = cluster_id(state.random_id());
        state.timers.schedule(now.instant + HOUSEKEEPING, Timer::Housekeeping);
        state.timers.schedule(now.instant + state.config.cleaner_backoff, Timer::Cleaner);
        state
    }

    /// Answers one request. Under [`Fsync::Always`] an answer that promises something written waits until it is synced.
    pub fn request(&mut self, call: &Call, work: Work) -> Answer {
        self.sync.touched = false;
        let answer = handlers::serve(self, call, work);
        match answer {
            Answer::Now(ready) if self.sync.touched && self.syncs_always() => {
                let (reply, answer) = Reply::park();
                self.sync.wait(reply, ready);
                answer
            }
            answer => answer,
        }
    }

    /// Whether nothing is promised, or shown to readers, before it is synced.
    pub fn syncs_always(&self) -> bool {
        self.storage.is_some() && self.config.fsync == Fsync::Always
    }

    /// When [`State::on_time`] wants to be called next.
    pub fn next_time(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Does everything that has fallen due.
    pub fn on_time(&mut self, now: Now) {
        while let Some(timer) = self.timers.due(now.instant) {
            match timer {
                Timer::Fetch(id) => self.finish_fetch(now, id),
                Timer::Group(timer) => groups::on_timer(self, now, timer),
                Timer::Transaction => transactions::on_timer(self, now),
                Timer::Housekeeping => {
                    self.keep_house(now);
                    self.timers.schedule(now.instant + HOUSEKEEPING, Timer::Housekeeping);
                }
                Timer::Cleaner => {
                    self.clean_logs(now);
                    self.timers.schedule(now.instant + self.config.cleaner_backoff, Timer::Cleaner);
                }
            }
        }
    }

    /// A connection has ended; what it had parked answers nobody.
    pub fn disconnected(&mut self, connection: u64) {
        self.drop_fetches_of(connection);
    }

    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.iter().find(|broker| broker.id == id)
    }

    /// The first broker. Clients send what changes the cluster there, though any would do.
    pub fn controller(&self) -> BrokerId {
        self.brokers.first().map_or(0, |broker| broker.id)
    }

    /// Whether so many more partitions are allowed.
    pub fn check_room(&self, partitions: usize) -> Result<(), Refused> {
        let most = self.config.max_partitions;
        if self.topics.partition_count() + partitions <= most {
            return Ok(());
        }
        Err(Refused::new(ErrorCode::POLICY_VIOLATION, format!("This broker keeps at most {most} partitions.")))
    }

    /// Whether an answer waits for a sync.
    pub fn waits_for_sync(&self) -> bool {
        self.syncs_always() && !self.sync.is_idle()
    }

    pub fn random_id(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        Uuid(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
    }

    /// Writes entries to the journal, before they are applied. In memory there is nothing to write.
    pub fn record(&mut self, entries: &[Entry]) -> Result<(), NotStored> {
        let Some(storage) = &mut self.storage else { return Ok(()) };
        storage.journal.append(entries).map_err(|error| {
            tracing::error!(%error, "the metadata journal could not be written");
            NotStored
        })?;
        self.sync.touched = true;
        Ok(())
    }

    /// A producer id that was never handed out before, not even by an earlier life of this data directory.
    pub fn new_producer_id(&mut self) -> Result<i64, NotStored> {
        if self.next_producer_id == self.reserved_producer_ids {
            let reserved = self.reserved_producer_ids + PRODUCER_ID_BLOCK;
            self.record(&[ProducerIdEntry { next: reserved }.into()])?;
            self.reserved_producer_ids = reserved;
        }
        self.next_producer_id += 1;
        Ok(self.next_producer_id - 1)
    }

    /// Takes in the part of the journal that is the state's own.
    pub(super) fn replay_ids(&mut self, entry: &Entry) {
        match entry {
            Entry::Cluster(entry) => self.cluster_id = entry.cluster_id.clone(),
            Entry::ProducerId(entry) => {
                (self.next_producer_id, self.reserved_producer_ids) = (entry.next, entry.next);
            }
            _ => {}
        }
    }

    /// Everything that a fresh journal must say.
    pub(super) fn snapshot(&self) -> Vec<Entry> {
        let mut entries = vec![
            ClusterEntry { cluster_id: self.cluster_id.clone() }.into(),
            ProducerIdEntry { next: self.reserved_producer_ids }.into(),
        ];
        entries.extend(self.topics.iter().map(|topic| topic.entry().into()));
        entries.extend(self.groups.snapshot());
        entries.extend(self.transactions.snapshot());
        entries.extend(self.users.snapshot());
        entries
    }

    /// Lets readers see an append, at once or after the next sync.
    pub(super) fn show(&mut self, now: Now, topic: TopicId, partition: i32) {
        if self.storage.is_some() {
            self.sync.note(topic, partition);
        }
        if !self.syncs_always() {
            self.reveal(now, topic, partition, None);
        }
    }

    /// Shows readers what was appended up to `end` (everything, if `None`) and wakes the fetches that wait for it.
    pub(super) fn reveal(&mut self, now: Now, topic: TopicId, partition: i32, end: Option<Offset>) {
        let Some(it) = self.topics.by_id_mut(topic).and_then(|topic| topic.partition_mut(partition)) else { return };
        let before = it.log.high_watermark();
        let end = end.unwrap_or_else(|| it.log.end());
        if it.log.reveal(end) && !it.watchers.is_empty() {
            let bytes = it.log.readable_bytes(before).unwrap_or(u64::MAX);
            let watchers = it.watchers.clone();
            self.fetches_gain(now, &watchers, bytes);
        }
    }

    /// Cuts off what could not be synced, and with it what it taught about producers.
    pub(super) fn cut_unseen(&mut self, topic: TopicId, partition: i32) {
        let Some(it) = self.topics.by_id_mut(topic).and_then(|topic| topic.partition_mut(partition)) else { return };
        if let Err(error) = it.log.cut_unseen() {
            tracing::error!(partition, %error, "the log could not be cut back");
        }
        it.producers.forget_from(it.log.end());
    }
}

/// 22 characters of URL-safe base64, as Kafka writes its ids.
fn cluster_id(id: Uuid) -> Str {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = u128::from_be_bytes(id.0);
    let digit = |at: u32| {
        // 128 bits are 21 digits of 6 and one of 2, which stands in the high bits of the last digit.
        let digit = if at < 21 { bits >> (122 - 6 * at) } else { bits << 4 };
        char::from(ALPHABET[(digit & 63) as usize])
    };
    Str::from((0..22).map(digit).collect::<String>())
}
