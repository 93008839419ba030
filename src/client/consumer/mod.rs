//! Reading as a member of a group; or partitions that are given, with the offsets of a group or outside of any
//! ([`assigned`]).
//!
//! # Nouns
//!
//! - A [`Consumer`] is the handle of one member. [`Consumer::next`] gives a [`Delivery`]: consecutive records of one
//!   partition, borrowed from the bytes that came from the broker.
//! - The **group** ([`group`]) is the membership as a state machine, in the classic protocol or the consumer protocol;
//!   [`membership`] is the task that carries it out.
//! - The **subscription** ([`subscription`]) is the topics that it reads, by name or by pattern.
//! - A **tenure** ([`tenure`]) is one partition for as long as this member holds it.
//! - **Progress** ([`progress`]) says what of it is finished, and so what may be committed.
//! - A **cursor** ([`cursor`]) is where the fetcher is in one partition; the **fetcher** ([`fetcher`]) brings it to the
//!   **reader** ([`reader`]) of the broker that leads the partition.
//! - **Seeking** ([`seeking`]) goes on elsewhere in a partition, which is another tenure; what is paused keeps its
//!   place, and what has come of it is set aside.
//!
//! # How a record flows
//!
//! A reader asks its broker for all its partitions at once → [`scan`] checks the batches, and leaves out what is not to
//! be read → one bounded channel → [`Consumer::next`] enters the run into the partition's progress and gives it out →
//! the application finishes it → the mark moves → [`membership`] commits it: every second, when the partition is revoked,
//! and at the end.
//!
//! # What must stay true
//!
//! - Only finished records are committed, never past one that is not finished, never beyond what was given out.
//! - What is revoked is first finished (for a while), then committed, and only then given up; what is lost is dropped.
//!   Nothing of either is given out any more from the moment it is known.
//! - However slow the application, the coordinator hears from this member, until `max_poll_interval` says that it is too
//!   slow.
//! - What was fetched and is not finished stays within `memory_bytes`; a partition that is stuck does not stop the others.
//! - A partition's records are given out in order, wherever its leader goes.
//! - Bytes that cannot be read are an error that names topic, partition and offset. Nothing is passed over unless the
//!   application says so.
//!
//! # When a queue is full
//!
//! The records' channel and the memory: readers stop asking. What the fetcher is told: it holds several rebalances; beyond
//! that, who seeks waits for room in it, and what was assigned waits with them.
//!
//! # Absent on purpose
//!
//! A background that processes records, and callbacks on rebalances.

mod assigned;
pub mod assignor;
pub mod config;
mod cursor;
mod delivery;
mod fetcher;
pub mod group;
mod membership;
mod memory;
mod placing;
mod poll;
pub mod progress;
mod reader;
pub mod scan;
mod seeking;
pub mod session;
mod subscription;
mod tenure;
mod user_data;
mod wire;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::Stream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub use assignor::Assignor;
pub use config::{ConsumerConfig, GroupProtocol, OffsetReset};
pub use delivery::{Delivery, DeliveryRecords};
pub use seeking::Seek;
pub use subscription::TopicPattern;
pub(super) use wire::{leave as leave_request, left};

use self::assigned::Assignment;
use self::membership::{AtGroup, Closing, Command, Held, Identity, Membership, Parts, Who};
use self::memory::Memory;
use self::poll::PollClock;
use self::progress::Mark;
use self::reader::{Item, Shared};
use self::seeking::{ASIDE_PART, Aside};
use self::wire::Marks;
use super::cluster::Cluster;
use super::error::{Error, ErrorKind};
use super::producer::{GroupMetadata, Position};
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::FetchRequest;
use crate::protocol::types::{Offset, Str, TopicPartition};

/// Runs of records that wait for the application. Their bytes are bounded by the memory.
const ITEMS_MAX: usize = 64;
/// What the membership, and who seeks, may have told the fetcher before it gets round to it: some rebalances.
const FETCHER_REQUESTS_MAX: usize = 64;

/// One member of a group, or a reader of partitions that are given, with the offsets of a group or outside of any.
/// Dropped without [`Consumer::close`], it leaves the group all the same, a little later.
///
/// ```
/// use std::pin::pin;
/// use std::time::Duration;
///
/// use futures::StreamExt;
/// use highwater::client::*;
/// # use highwater::devbroker::{Config, DevBroker, GroupConfig};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..Default::default() };
/// # let broker = DevBroker::start(Config { groups, ..Default::default() }).await?;
/// # let bootstrap_servers = vec![broker.bootstrap_servers()];
/// # let config = ClientConfig { bootstrap_servers, allow_auto_create_topics: true, ..Default::default() };
/// # let client = Client::connect(config).await?;
/// # let topic = Topic::from("orders");
/// # let producer = client.producer(ProducerConfig::default())?;
/// # for value in [b"a", b"b", b"c"] {
/// #     producer.send(ProducerRecord::new(&topic, value)).await?;
/// # }
/// let mut consumer = client.consumer(ConsumerConfig {
///     group_id: "billing".to_owned(),
///     topics: vec![topic],
///     auto_offset_reset: OffsetReset::Earliest,
///     ..Default::default()
/// })?;
/// let mut seen = 0;
/// {
///     let mut deliveries = pin!(consumer.deliveries());
///     while let Some(delivery) = deliveries.next().await {
///         let delivery = match delivery {
///             Ok(delivery) => delivery,
///             // One partition has no leader, say; the others go on, and so does this one when it can.
///             Err(error) if error.is_retriable() => continue,
///             Err(error) => return Err(error.into()),
///         };
///         // In any order, also elsewhere and later: what is committed is what is finished without a gap.
///         for record in delivery.records() {
///             seen += 1;
///             delivery.finish_record(record.offset);
///         }
///         if seen == 3 {
///             break;
///         }
///     }
/// }
/// consumer.commit().await?;
/// consumer.close(Duration::from_secs(10)).await?;
/// # Ok(broker.stop().await?)
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    items: mpsc::Receiver<Item>,
    commands: mpsc::Sender<Command>,
    fetcher: mpsc::Sender<fetcher::Request>,
    clock: Arc<PollClock>,
    config: Arc<ConsumerConfig>,
    held: Held,
    identity: Identity,
    memory: Arc<Memory>,
    /// Batches that could not be read, until the application decides.
    broken: HashMap<TopicPartition, Range<Offset>>,
    aside: Aside,
    passed_over: u64,
    /// False if what was out had all the time there was, and that was not enough.
    membership: Option<JoinHandle<bool>>,
}

/// A consumer that nobody tells yet what to read.
struct Begun {
    consumer: Consumer,
    cluster: Cluster,
    fetching: JoinHandle<()>,
    items: mpsc::Sender<Item>,
    commands: mpsc::Receiver<Command>,
}

/// A partition that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    pub topic_partition: TopicPartition,
    /// Everything below is finished; `None` until it is known where to begin.
    pub finished: Option<Offset>,
    /// The end of what was given out.
    pub delivered: Option<Offset>,
}

/// What a consumer holds at present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsumerStats {
    /// Bytes that were fetched, or are being, and are not finished.
    pub memory_used: usize,
    pub memory_limit: usize,
    pub partitions: usize,
    /// Deliveries that are given out and not finished.
    pub outstanding: usize,
}

impl Consumer {
    /// Joins the group; what it comes to shows in what [`Consumer::next`] gives.
    pub(super) fn start(cluster: &Cluster, config: ConsumerConfig) -> Result<Self, Error> {
        config.validate()?;
        let Begun { mut consumer, cluster, fetching, items, commands } = Self::begin(cluster, config);
        let membership = Membership::new(Parts {
            cluster,
            config: Arc::clone(&consumer.config),
            held: Arc::clone(&consumer.held),
            identity: Arc::clone(&consumer.identity),
            memory: Arc::clone(&consumer.memory),
            clock: Arc::clone(&consumer.clock),
            commands,
            fetcher: consumer.fetcher.clone(),
            items,
        });
        consumer.membership = Some(tokio::spawn(async move {
            membership.run().await;
            fetching.abort();
            true
        }));
        Ok(consumer)
    }

    /// Reads these partitions, of no group, or with the offsets of one.
    pub(super) fn assigned(
        cluster: &Cluster,
        config: ConsumerConfig,
        partitions: Vec<(TopicPartition, Option<Offset>)>,
        of_group: bool,
    ) -> Result<Self, Error> {
        if of_group { config.validate_assigned() } else { config.validate_reading() }?;
        if let Some((of, _)) = partitions.iter().find(|(_, offset)| offset.is_some_and(|offset| offset < 0)) {
            return Err(Error::config("an offset below zero is nowhere").at(of.clone()));
        }
        let Begun { mut consumer, cluster, fetching, items, commands } = Self::begin(cluster, config);
        let (config, held) = (Arc::clone(&consumer.config), Arc::clone(&consumer.held));
        let offsets = of_group.then(|| {
            *consumer.identity.lock().unwrap_or_else(PoisonError::into_inner) = Who::of_no_generation();
            let group = AtGroup::new(cluster, Arc::clone(&config), Arc::clone(&consumer.identity));
            assigned::Offsets { group, items }
        });
        let assignment = Assignment { held, config, fetcher: consumer.fetcher.clone(), commands, offsets };
        let unknown = assignment.take(partitions, &consumer.memory)?;
        consumer.membership = Some(tokio::spawn(async move {
            let is_in_time = assignment.run(unknown).await;
            fetching.abort();
            is_in_time
        }));
        Ok(consumer)
    }

    /// What reads, before it is told what.
    fn begin(cluster: &Cluster, config: ConsumerConfig) -> Begun {
        // Connections of its own: its long polls and joins hold up nobody else's.
        let (cluster, config) = (cluster.with_own_lanes(), Arc::new(config.bounded()));
        let (item_sender, items) = mpsc::channel(ITEMS_MAX);
        let (commands, command_receiver) = mpsc::channel(1);
        let (fetcher, requests) = mpsc::channel(FETCHER_REQUESTS_MAX);
        let (memory, clock, held) = (Memory::new(config.memory_bytes), Arc::new(PollClock::new()), Held::default());
        let identity = Identity::default();
        let shared = Arc::new(Shared {
            cluster: cluster.clone(),
            config: Arc::clone(&config),
            memory: Arc::clone(&memory),
            items: item_sender.clone(),
            readers: AtomicUsize::new(0),
        });
        let fetching = tokio::spawn(fetcher::Fetcher::new(shared, requests).run());
        let (broken, aside, passed_over, membership) = (HashMap::new(), Aside::default(), 0, None);
        let consumer = Self {
            items,
            commands,
            fetcher,
            clock,
            config,
            held,
            identity,
            memory,
            broken,
            aside,
            passed_over,
            membership,
        };
        Begun { consumer, cluster, fetching, items: item_sender, commands: command_receiver }
    }

    /// The next records of any partition, or what is wrong with one. `None` once the consumer is closed, or its group has
    /// refused it for good, which is said by the error before.
    ///
    /// Cancel safe: what is not given out now is given out by the next call. An application that does not call this for
    /// `max_poll_interval` leaves its group until it does.
    ///
    /// An error concerns its partition, and is told again as long as it lasts; the others go on. After
    /// [`ErrorKind::Corrupt`] and [`ErrorKind::Oversized`] the partition stands still until [`Consumer::skip_broken`].
    pub async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        let _waiting = self.clock.wait();
        loop {
            let item = match self.aside.next() {
                Some(item) => item,
                None => {
                    let item = self.items.recv().await?;
                    let Some(item) = self.aside.pass(item, self.memory.limit() / ASIDE_PART) else { continue };
                    item
                }
            };
            match item {
                Item::Fetched(fetched) => {
                    self.passed_over += fetched.passed_over();
                    if let Some(delivery) = fetched.deliver() {
                        return Some(Ok(delivery));
                    }
                }
                Item::Failed(error) => return Some(Err(error)),
                Item::Broken { tenure, .. } if tenure.has_ended() => {}
                Item::Broken { tenure, broken, .. } => {
                    let of = tenure.topic_partition.clone();
                    self.broken.insert(of.clone(), broken.offsets.clone());
                    let kind = broken.kind();
                    return Some(Err(Error::new(kind).of(FetchRequest::NAME).at(of)));
                }
            }
        }
    }

    /// The same as a stream, which ends when [`Consumer::next`] would. What it has not given out stays with the consumer when
    /// it is dropped. Somebody who polled it and does not go on to is taken to be waiting still, and so never for late.
    pub fn deliveries(&mut self) -> impl Stream<Item = Result<Delivery, Error>> + '_ {
        futures::stream::unfold(self, |consumer| async {
            let delivery = consumer.next().await?;
            Some((delivery, consumer))
        })
    }

    /// Goes on after a batch that could not be read, and says which offsets are passed over by that; `None` if no such
    /// batch of the partition was told of.
    ///
    /// Cancel safe: dropped while it waits, it has passed over nothing, and can be called again.
    pub async fn skip_broken(&mut self, of: &TopicPartition) -> Option<Range<Offset>> {
        if !self.broken.contains_key(of) {
            return None;
        }
        // Room first: whoever goes while waiting for it can come back for the batch.
        let room = self.fetcher.reserve().await.ok()?;
        let offsets = self.broken.remove(of)?;
        tracing::warn!(partition = %of, from = offsets.start, to = offsets.end, "a batch that cannot be read is passed over");
        room.send(fetcher::Request::Skip { of: of.clone(), past: offsets.end });
        Some(offsets)
    }

    /// The partitions that are held at present.
    pub fn assignment(&self) -> Vec<Assigned> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let assigned = held.iter().map(|(of, tenure)| {
            let (finished, delivered) = tenure.position().unzip();
            Assigned { topic_partition: of.clone(), finished: finished.map(|mark| mark.offset), delivered }
        });
        assigned.collect()
    }

    /// Who this member is at present, for [`Transaction::send_offsets`](super::Transaction::send_offsets): whoever commits
    /// under it is refused once the group has gone on to another generation (KIP-447). What is revoked in a generation is
    /// known to be ([`Delivery::is_revoked`]) before that generation is told here.
    pub fn group_metadata(&self) -> Result<GroupMetadata, Error> {
        let who = self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let member = who.member.ok_or_else(|| Error::broker(ErrorCode::UNKNOWN_MEMBER_ID))?;
        let instance_id = self.config.instance_id.as_deref().map(Str::from);
        let (member, holding) = (Some(member), who.holding);
        Ok(GroupMetadata { member, instance_id, holding, ..GroupMetadata::new(&self.config.group_id) })
    }

    /// Commits these offsets of the group, whatever is finished: to do it along with something else, to correct what was
    /// committed, or for partitions that this consumer does not hold. One is enough for each partition; of several the last
    /// counts. With [`auto_commit`](ConsumerConfig::auto_commit) the next commit of what is finished goes over it.
    ///
    /// A call that is still trying gives way, partition by partition, to one that comes after it.
    ///
    /// Fails if one of them is refused, which may be after others were taken; what may pass is tried again for
    /// [`api_timeout`](super::ClientConfig::api_timeout). A member that is out of its group, and an
    /// [assigned](super::Client::assign) consumer whose group has members, is refused. So is what is tried again after the
    /// group has gone on to another generation, unless this consumer has held all of it throughout
    /// ([`ErrorCode::ILLEGAL_GENERATION`]): others may have committed more of it meanwhile.
    ///
    /// Cancel safe: once begun it is carried out, whether somebody waits for it or not.
    pub async fn commit_offsets(&self, positions: impl IntoIterator<Item = Position>) -> Result<(), Error> {
        let mark = |it: Position| (it.topic_partition, Mark { offset: it.offset, leader_epoch: it.leader_epoch });
        let marks: Marks = positions.into_iter().map(mark).collect();
        if marks.is_empty() {
            return Ok(());
        }
        if let Some((of, _)) = marks.iter().find(|(_, mark)| mark.offset < 0) {
            return Err(Error::config("an offset below zero is nowhere").at(of.clone()));
        }
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::CommitOffsets(marks, reply)).await.map_err(|_| Error::closed())?;
        answer.await.map_err(|_| Error::closed())?
    }

    /// Commits what is finished, now. Outside of a group there is nobody to commit to, which is an error.
    ///
    /// Cancel safe: once begun it is carried out, whether somebody waits for it or not.
    pub async fn commit(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Commit(reply)).await.map_err(|_| Error::closed())?;
        answer.await.map_err(|_| Error::closed())?
    }

    pub fn stats(&self) -> ConsumerStats {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        ConsumerStats {
            memory_used: self.memory.used(),
            memory_limit: self.memory.limit(),
            partitions: held.len(),
            outstanding: held.values().map(|tenure| tenure.outstanding()).sum(),
        }
    }

    /// Offsets so far that hold no record to be read: ends of transactions, what was aborted, what compaction took.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Gives out nothing more, waits for what is out, commits, and leaves the group, so that others take over at once.
    /// Shortly before `grace` is over, what is still out is given up, to be read again by others: the last of the time, five
    /// seconds or half of it, is for committing the rest and for leaving. Where partitions are given and nothing is
    /// committed by itself, what is out has all of the time, and it is an error ([`ErrorKind::Timeout`]) if that is not
    /// enough.
    ///
    /// Cancel safe: once begun it is carried out; another call waits for it, and sets another limit.
    pub async fn close(&mut self, grace: Duration) -> Result<(), Error> {
        let Some(membership) = &mut self.membership else { return Ok(()) };
        let ended = timeout(grace, async {
            // One that is gone needs no telling.
            let _ = self.commands.send(Command::Close(Closing::within(grace, Instant::now()))).await;
            membership.await
        });
        let ended = ended.await;
        let membership = self.membership.take();
        if let Some(late) = membership.filter(|_| ended.is_err()) {
            late.abort();
        }
        self.items.close();
        self.aside.clear();
        while self.items.try_recv().is_ok() {}
        match ended {
            Ok(Ok(true)) => Ok(()),
            Ok(Err(panicked)) => Err(Error::protocol(panicked)),
            Ok(Ok(false)) | Err(_) => Err(Error::new(ErrorKind::Timeout(grace))),
        }
    }
}

#[cfg(test)]
mod tests;
