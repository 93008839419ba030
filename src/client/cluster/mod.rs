//! A cluster as one thing to talk to: what is known of it, who is to be asked, and what to do when that was wrong.
//!
//! [`Cluster::call`] is one attempt at one request. Kafka fails per partition *inside* a successful reply, which no
//! general retry sees, so trying again is a loop of whoever knows the reply; [`Cluster::retry`] is the part that they
//! have in common. A failed attempt that says something of the cluster (a broker is gone, a coordinator has moved) has
//! been noted by the time the caller hears of it.
//!
//! What is known is a [`Metadata`] value, replaced as a whole: readers never wait. It is learned anew every
//! `metadata_max_age`, whenever somebody asks for it, and whenever a failure suggests it; all who ask at the same time
//! share one request. When no known broker answers, the bootstrap servers are asked again (KIP-899), so a cluster that
//! was restarted elsewhere, or lost brokers for good, is found again.

mod coordinators;
mod learning;

use std::fmt;
use std::future::Future;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::coordinators::Coordinators;
pub(super) use self::coordinators::Kept;
pub(super) use self::learning::metadata_request;
use self::learning::{Flight, Wanted, keep_fresh};
use super::ClientConfig;
use super::broker::{Dialer, Lanes};
use super::error::{Error, ErrorKind};
use super::handshake::Capabilities;
use super::lane::{Ask, BrokerLane, Lane};
use super::layer::observe::{ApiStats, Counters, Traffic};
use super::layer::reconnect::Backoff;
use super::metadata::{Leader, Metadata};
use super::time::later;
use crate::net::{Address, Dial};
use crate::protocol::api::{Api, Body, Versioned};
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::MetadataRequest;
use crate::protocol::types::{BrokerId, Topic, TopicPartition};

/// Who is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum To<'a> {
    Broker(BrokerId),
    /// Whoever is likeliest to answer.
    Any,
    Controller,
    /// The broker that keeps this group.
    GroupCoordinator(&'a str),
    /// The broker that keeps this transactional id.
    TransactionCoordinator(&'a str),
}

/// What to learn about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topics {
    /// The brokers, and the topics that are followed.
    Followed,
    /// These as well, and from now on with every refresh, as long as they exist.
    Follow(Vec<Topic>),
    /// These as well, this once.
    Once(Vec<Topic>),
    /// Every topic there is, this once.
    All,
}

/// A handle on a cluster; cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    lanes: Arc<Lanes>,
}

struct Shared {
    config: ClientConfig,
    bootstrap: Vec<Address>,
    /// The lanes of metadata itself; also those of handles that did not ask for their own.
    lanes: Arc<Lanes>,
    known: ArcSwap<Metadata>,
    changes: watch::Sender<Arc<Metadata>>,
    wanted: Mutex<Wanted>,
    asked: AtomicU64,
    flight: tokio::sync::Mutex<Flight>,
    nudge: Arc<Notify>,
    coordinators: Mutex<Coordinators>,
    closed: CancellationToken,
    _end_with_last_handle: DropGuard,
}

impl Cluster {
    /// Finds the cluster through its bootstrap servers, all within the connect timeout.
    pub async fn connect(config: ClientConfig, dial: Dial) -> Result<Self, Error> {
        let (bootstrap, config) = (config.bootstrap()?, config.bounded());
        let closed = CancellationToken::new();
        let dialer = Dialer {
            dial,
            sasl: config.sasl.clone().map(Arc::new),
            client_id: config.client_id.as_str().into(),
            limit: config.connect_timeout,
            idle_max: config.connections_max_idle,
            backoff: Backoff { first: config.reconnect_backoff, most: config.reconnect_backoff_max, seed: config.seed },
            counters: Arc::new(Counters::default()),
            closed: closed.clone(),
        };
        let lanes = Arc::new(Lanes::new(dialer));
        let shared = Arc::new(Shared {
            bootstrap,
            lanes: Arc::clone(&lanes),
            known: ArcSwap::default(),
            changes: watch::Sender::new(Arc::default()),
            wanted: Mutex::default(),
            asked: AtomicU64::new(0),
            flight: tokio::sync::Mutex::default(),
            nudge: Arc::default(),
            coordinators: Mutex::default(),
            _end_with_last_handle: closed.clone().drop_guard(),
            closed,
            config,
        });
        let cluster = Self { shared, lanes };
        cluster.first_refresh().await?;
        let Shared { nudge, closed, .. } = &*cluster.shared;
        tokio::spawn(keep_fresh(Arc::downgrade(&cluster.shared), Arc::clone(nudge), closed.clone()));
        Ok(cluster)
    }

    async fn first_refresh(&self) -> Result<(), Error> {
        let limit = self.shared.config.connect_timeout;
        match timeout(limit, self.refresh(Topics::Followed)).await {
            Ok(learned) => learned.map(drop),
            Err(_) => Err(self.shared.unreachable(limit)),
        }
    }

    /// The same cluster over connections of its own, so that its long polls and joins hold up nobody else's.
    pub fn with_own_lanes(&self) -> Self {
        let lanes = Arc::new(Lanes::new(self.lanes.dialer().clone()));
        Self { shared: Arc::clone(&self.shared), lanes }
    }

    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// What is known now; never waits.
    pub fn metadata(&self) -> Arc<Metadata> {
        self.shared.known.load_full()
    }

    /// Told of every change of what is known.
    pub fn metadata_changes(&self) -> watch::Receiver<Arc<Metadata>> {
        self.shared.changes.subscribe()
    }

    /// Learns the cluster anew, from now: a request that was already under way does not count. All who ask meanwhile
    /// share the next one. Says what is known after it; errors of single topics are in there.
    pub async fn refresh(&self, topics: Topics) -> Result<Arc<Metadata>, Error> {
        self.shared.refresh(topics).await
    }

    /// The same for whoever cannot wait longer than that: one refresh asks broker after broker, and may take longer
    /// than any of them.
    pub async fn refresh_within(&self, topics: Topics, deadline: Duration) -> Result<Arc<Metadata>, Error> {
        let late = |_| Err(Error::new(ErrorKind::Timeout(deadline)).of(MetadataRequest::NAME));
        timeout(deadline, self.refresh(topics)).await.unwrap_or_else(late)
    }

    /// Has what is known learned anew soon, without waiting for it.
    pub fn request_metadata(&self) {
        self.shared.nudge.notify_one();
    }

    /// Takes note of a leader that an answer named (KIP-951).
    pub fn learn_leader(&self, of: &TopicPartition, leader: Leader) {
        let _wanted = self.shared.wanted();
        if let Some(next) = self.metadata().with_leader(of, leader) {
            self.shared.publish(next);
        }
    }

    /// Where a partition is led; learns it if it is not known, and fails if it is not to be had at present.
    pub async fn leader(&self, of: &TopicPartition) -> Result<Leader, Error> {
        if let Some(leader) = self.metadata().leader(of) {
            return Ok(leader);
        }
        let known = self.refresh(Topics::Once(vec![of.topic.clone()])).await?;
        known.leader(of).ok_or_else(|| leaderless(&known, of))
    }

    /// Asks once. `deadline` is for all of it: finding whom to ask, connecting, and the answer. Calls that are polled in
    /// order reach one broker's lane in order.
    pub async fn call<R: Api>(
        &self,
        to: To<'_>,
        lane: Lane,
        request: R,
        deadline: Duration,
    ) -> Result<Versioned<R::Response>, Error> {
        self.ask::<R>(to, lane, Ask::Request(Box::new(request.into())), deadline).await
    }

    /// Asks once, with a request that is made for the version in which it will be spoken.
    pub async fn call_with<R: Api>(
        &self,
        to: To<'_>,
        lane: Lane,
        make: impl FnOnce(i16) -> R + Send + 'static,
        deadline: Duration,
    ) -> Result<Versioned<R::Response>, Error> {
        let make = Box::new(move |version| make(version).into());
        self.ask::<R>(to, lane, Ask::InVersion(R::KEY, make), deadline).await
    }

    async fn ask<R: Api>(
        &self,
        to: To<'_>,
        lane: Lane,
        ask: Ask,
        deadline: Duration,
    ) -> Result<Versioned<R::Response>, Error> {
        let until = later(Instant::now(), deadline);
        let broker = self.find(to, deadline).await.map_err(|error| error.of(R::NAME).within(deadline))?;
        let left = until.saturating_duration_since(Instant::now());
        let answer = self.ask_broker::<R>(broker, lane, ask, left).await;
        answer.inspect_err(|error| self.note(to, error)).map_err(|error| error.within(deadline))
    }

    async fn ask_broker<R: Api>(
        &self,
        broker: BrokerId,
        lane: Lane,
        ask: Ask,
        deadline: Duration,
    ) -> Result<Versioned<R::Response>, Error> {
        let lane = self.lane(broker, lane).map_err(|error| error.of(R::NAME))?;
        lane.call::<R>(ask, deadline).await
    }

    /// The version in which `R` is spoken with a broker on a lane; connects if need be.
    pub(super) async fn version_within<R: Api>(
        &self,
        broker: BrokerId,
        lane: Lane,
        deadline: Duration,
    ) -> Result<i16, Error> {
        let known = self.capabilities_within(broker, lane, deadline).await.map_err(|error| error.of(R::NAME))?;
        known.version::<R>().ok_or_else(|| self.placed(broker, Error::new(ErrorKind::Unsupported)).of(R::NAME))
    }

    /// What a broker offers; connects if need be.
    pub async fn capabilities(&self, broker: BrokerId, lane: Lane) -> Result<Arc<Capabilities>, Error> {
        self.capabilities_within(broker, lane, self.shared.config.request_timeout).await
    }

    pub(super) async fn capabilities_within(
        &self,
        broker: BrokerId,
        lane: Lane,
        deadline: Duration,
    ) -> Result<Arc<Capabilities>, Error> {
        let known = self.lane(broker, lane)?.capabilities(deadline).await;
        known.inspect_err(|error| self.note(To::Broker(broker), error))
    }

    /// Tries until it succeeds, fails for good, or `deadline` is over; then it is the last failure that is told. The
    /// attempt is given the time that is left. Between attempts there is a growing, jittered pause, and what is known of
    /// the cluster is learned anew where the failure suggests it.
    pub async fn retry<T, F, A>(&self, deadline: Duration, mut attempt: F) -> Result<T, Error>
    where
        F: FnMut(Duration) -> A,
        A: Future<Output = Result<T, Error>>,
    {
        let until = later(Instant::now(), deadline);
        for failures in 1.. {
            let left = until.saturating_duration_since(Instant::now());
            let error = match attempt(left).await {
                Err(error) if error.is_retriable() => error,
                outcome => return outcome,
            };
            let wake = Instant::now() + self.retry_backoff().wait(failures);
            if wake >= until {
                return Err(error);
            }
            tracing::debug!(%error, failures, "trying again");
            sleep_until(wake).await;
            if error.class() == Class::RefreshMetadata {
                // Its failure shows in the next attempt.
                let _ = timeout(until.saturating_duration_since(Instant::now()), self.refresh(Topics::Followed)).await;
            }
        }
        Err(Error::new(ErrorKind::Timeout(deadline)))
    }

    /// The pause between attempts.
    pub fn retry_backoff(&self) -> Backoff {
        self.shared.config.retry_backoff()
    }

    /// What was counted of the requests of this client, by API.
    pub fn stats(&self) -> Vec<ApiStats> {
        self.lanes.dialer().counters.stats()
    }

    /// The connections of this client, and the bytes that went over them.
    pub fn traffic(&self) -> Traffic {
        self.lanes.dialer().counters.traffic()
    }

    /// Ends every connection, of all handles; who still waits is told that the client is closed.
    pub fn close(&self) {
        self.shared.closed.cancel();
    }

    pub fn is_closed(&self) -> bool {
        self.shared.closed.is_cancelled()
    }

    async fn find(&self, to: To<'_>, deadline: Duration) -> Result<BrokerId, Error> {
        match to {
            To::Broker(broker) => Ok(broker),
            To::Any => self.any(),
            To::GroupCoordinator(group) => self.coordinator_within(Kept::Group, group, deadline).await,
            To::TransactionCoordinator(id) => self.coordinator_within(Kept::Transaction, id, deadline).await,
            To::Controller => match self.metadata().controller {
                Some(controller) => Ok(controller),
                None => {
                    let known = self.refresh_within(Topics::Followed, deadline).await?;
                    known.controller.ok_or_else(|| Error::new(ErrorKind::UnknownBroker))
                }
            },
        }
    }

    fn any(&self) -> Result<BrokerId, Error> {
        self.shared.by_doubt().first().copied().ok_or_else(|| Error::new(ErrorKind::UnknownBroker))
    }

    fn lane(&self, broker: BrokerId, lane: Lane) -> Result<BrokerLane, Error> {
        if self.is_closed() {
            return Err(Error::closed());
        }
        let known = self.metadata();
        match known.broker(broker) {
            Some(broker) => Ok(self.lanes.lane(broker, lane, &known)),
            None => Err(Error::new(ErrorKind::UnknownBroker).by(Some(broker), None)),
        }
    }

    /// What a failed attempt says of the cluster.
    fn note(&self, to: To<'_>, error: &Error) {
        if !error.is_transport() && !matches!(error.kind, ErrorKind::UnknownBroker) {
            return;
        }
        match to {
            To::GroupCoordinator(group) => self.forget_coordinator(group),
            To::TransactionCoordinator(id) => self.forget_transaction_coordinator(id),
            To::Broker(_) | To::Any | To::Controller => {}
        }
        self.request_metadata();
    }

    /// An error, with the broker that it came from.
    pub(super) fn placed(&self, broker: BrokerId, error: Error) -> Error {
        let address = self.metadata().broker(broker).map(|it| it.address.clone());
        error.by(Some(broker), address)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("bootstrap", &self.shared.bootstrap).finish_non_exhaustive()
    }
}

pub(super) fn leaderless(known: &Metadata, of: &TopicPartition) -> Error {
    let said = known.partition(of).map(|it| it.error).or_else(|| known.topic(&of.topic).map(|it| it.error));
    let kind = match said {
        Some(Some(code)) if code != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => ErrorKind::Broker(code, None),
        Some(None) if known.partition(of).is_some() => ErrorKind::NoLeader,
        _ => ErrorKind::UnknownPartition,
    };
    Error::new(kind).at(of.clone())
}
