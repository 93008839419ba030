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

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use rand::seq::SliceRandom;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ClientConfig;
use super::broker::{Dialer, Lanes};
use super::connect::{Address, Attempt, Dial};
use super::error::{BrokerAt, Error, ErrorKind};
use super::handshake::Capabilities;
use super::lane::{Ask, BrokerLane, Lane};
use super::layer::observe::{ApiStats, Counters, Traffic};
use super::layer::reconnect::Backoff;
use super::metadata::{Leader, Metadata};
use crate::protocol::api::{Api, Body, Versioned};
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest, MetadataRequestTopic, MetadataResponse,
};
use crate::protocol::types::{BrokerId, Str, Topic, TopicPartition};

/// Another bootstrap server is tried beside a silent one after this long (KIP-1102 and RFC 8305 in spirit).
const STAGGER: Duration = Duration::from_millis(250);
/// Coordinators that are remembered; past that all are forgotten, so that callers who name groups at will cost nothing.
const COORDINATORS_MAX: usize = 100_000;
/// What nobody has asked about for this many refresh periods is forgotten.
const PERIODS_KEPT: u32 = 3;

/// Who is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum To<'a> {
    Broker(BrokerId),
    /// Whoever is likeliest to answer.
    Any,
    Controller,
    /// The broker that keeps this group.
    GroupCoordinator(&'a str),
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
    coordinators: Mutex<HashMap<String, BrokerId>>,
    closed: CancellationToken,
    _end_with_last_handle: DropGuard,
}

/// What the next refresh asks about.
#[derive(Debug, Default)]
struct Wanted {
    followed: HashSet<Topic>,
    once: HashSet<Topic>,
    all: bool,
}

/// The last refresh: how many had asked before it began, and what came of it.
#[derive(Debug, Default)]
struct Flight {
    served: u64,
    outcome: Option<Result<Arc<Metadata>, Error>>,
}

impl Cluster {
    /// Finds the cluster through its bootstrap servers, all within the connect timeout.
    pub async fn connect(config: ClientConfig, dial: Dial) -> Result<Self, Error> {
        let bootstrap = config.bootstrap()?;
        let closed = CancellationToken::new();
        let dialer = Dialer {
            dial,
            client_id: config.client_id.as_str().into(),
            limit: config.connect_timeout,
            idle_max: config.connections_max_idle,
            backoff: Backoff { first: config.reconnect_backoff, most: config.reconnect_backoff_max },
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
        let until = Instant::now() + deadline;
        let broker = self.find(to, deadline).await.map_err(|error| error.of(R::NAME))?;
        let left = until.saturating_duration_since(Instant::now());
        self.ask_broker::<R>(broker, lane, ask, left).await.inspect_err(|error| self.note(to, error))
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
    pub async fn version<R: Api>(&self, broker: BrokerId, lane: Lane) -> Result<i16, Error> {
        let known = self.capabilities(broker, lane).await.map_err(|error| error.of(R::NAME))?;
        known.version::<R>().ok_or_else(|| self.placed(broker, Error::new(ErrorKind::Unsupported)).of(R::NAME))
    }

    /// What a broker offers; connects if need be.
    pub async fn capabilities(&self, broker: BrokerId, lane: Lane) -> Result<Arc<Capabilities>, Error> {
        let known = self.lane(broker, lane)?.capabilities(self.shared.config.request_timeout).await;
        known.inspect_err(|error| self.note(To::Broker(broker), error))
    }

    /// The broker that keeps a group, asked for until it is known or the request timeout is over: the first group of a
    /// new cluster waits for its offsets topic to be made.
    pub async fn coordinator(&self, group: &str) -> Result<BrokerId, Error> {
        self.coordinator_within(group, self.shared.config.request_timeout).await
    }

    async fn coordinator_within(&self, group: &str, deadline: Duration) -> Result<BrokerId, Error> {
        if let Some(known) = self.shared.coordinators().get(group) {
            return Ok(*known);
        }
        self.retry(deadline, |left| async move {
            let found = self.find_coordinators(vec![group.to_owned()], left).await?;
            found.into_iter().next().map_or_else(|| Err(ErrorCode::COORDINATOR_NOT_AVAILABLE.into()), |it| it.1)
        })
        .await
    }

    /// The brokers that keep groups, each or the reason why it is not known: one try, and one request for all that are
    /// not known yet (KIP-699), or one for each of older brokers.
    pub async fn coordinators(
        &self,
        groups: Vec<String>,
        deadline: Duration,
    ) -> Vec<(String, Result<BrokerId, Error>)> {
        let (mut known, mut unknown) = (Vec::with_capacity(groups.len()), Vec::new());
        {
            let coordinators = self.shared.coordinators();
            for group in groups {
                match coordinators.get(&group).copied() {
                    Some(coordinator) => known.push((group, Ok(coordinator))),
                    None => unknown.push(group),
                }
            }
        }
        if unknown.is_empty() {
            return known;
        }
        match self.find_coordinators(unknown.clone(), deadline).await {
            Ok(found) => known.extend(found),
            Err(error) => known.extend(unknown.into_iter().map(|group| (group, Err(error.clone())))),
        }
        known
    }

    /// Takes note of who keeps groups, when that was learned otherwise: whoever lists a group keeps it.
    pub fn learn_coordinators(&self, kept: impl IntoIterator<Item = (String, BrokerId)>) {
        let mut coordinators = self.shared.coordinators();
        for (group, coordinator) in kept {
            if coordinators.len() >= COORDINATORS_MAX {
                coordinators.clear();
            }
            coordinators.insert(group, coordinator);
        }
    }

    /// The next call to this group asks who keeps it.
    pub fn forget_coordinator(&self, group: &str) {
        self.shared.coordinators().remove(group);
    }

    async fn find_coordinators(
        &self,
        groups: Vec<String>,
        deadline: Duration,
    ) -> Result<Vec<(String, Result<BrokerId, Error>)>, Error> {
        let any = self.any()?;
        let batched = self.version::<FindCoordinatorRequest>(any, Lane::General).await? >= 4;
        let chunks: Vec<_> = groups.chunks(if batched { groups.len().max(1) } else { 1 }).collect();
        let asked = chunks.iter().map(|chunk| self.ask_coordinators(any, chunk, deadline));
        let mut found = HashMap::with_capacity(groups.len());
        for answer in join_all(asked).await {
            found.extend(answer?);
        }
        self.learn_coordinators(found.iter().filter_map(|(group, it)| Some((group.clone(), *it.as_ref().ok()?))));
        let known = self.metadata();
        if found.values().flatten().any(|it| known.broker(*it).is_none()) {
            self.refresh(Topics::Followed).await?;
        }
        let silent = || Err(Error::from(ErrorCode::COORDINATOR_NOT_AVAILABLE).of(FindCoordinatorRequest::NAME));
        Ok(groups.into_iter().map(|group| found.remove_entry(&group).unwrap_or_else(|| (group, silent()))).collect())
    }

    async fn ask_coordinators(
        &self,
        any: BrokerId,
        groups: &[String],
        deadline: Duration,
    ) -> Result<Vec<(String, Result<BrokerId, Error>)>, Error> {
        let keys: Vec<Str> = groups.iter().map(|group| group.as_str().into()).collect();
        let make = Box::new(move |version| find_coordinators_request(keys, version).into());
        let ask = Ask::InVersion(FindCoordinatorRequest::KEY, make);
        let answer = self.ask_broker::<FindCoordinatorRequest>(any, Lane::General, ask, deadline).await;
        let answer = answer.inspect_err(|error| self.note(To::Any, error))?.body;
        let placed = |error: Error| self.placed(any, error.of(FindCoordinatorRequest::NAME));
        let found = found_coordinators(&answer, groups).into_iter();
        Ok(found.map(|(group, it)| (group, it.map_err(placed))).collect())
    }

    /// Tries until it succeeds, fails for good, or `deadline` is over; then it is the last failure that is told. The
    /// attempt is given the time that is left. Between attempts there is a growing, jittered pause, and what is known of
    /// the cluster is learned anew where the failure suggests it.
    pub async fn retry<T, F, A>(&self, deadline: Duration, mut attempt: F) -> Result<T, Error>
    where
        F: FnMut(Duration) -> A,
        A: Future<Output = Result<T, Error>>,
    {
        let until = Instant::now() + deadline;
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
            To::GroupCoordinator(group) => self.coordinator_within(group, deadline).await,
            To::Controller => match self.metadata().controller {
                Some(controller) => Ok(controller),
                None => {
                    let known = self.refresh(Topics::Followed).await?;
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
        if let To::GroupCoordinator(group) = to {
            self.forget_coordinator(group);
        }
        self.request_metadata();
    }

    fn placed(&self, broker: BrokerId, error: Error) -> Error {
        let address = self.metadata().broker(broker).map(|it| it.address.clone());
        error.by(Some(broker), address)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("bootstrap", &self.shared.bootstrap).finish_non_exhaustive()
    }
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn coordinators(&self) -> MutexGuard<'_, HashMap<String, BrokerId>> {
        self.coordinators.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The brokers in the order in which to try them: the likeliest to answer first, at random among equals.
    fn by_doubt(&self) -> Vec<BrokerId> {
        let mut brokers: Vec<_> = self.known.load().brokers.keys().copied().collect();
        brokers.shuffle(&mut rand::rng());
        brokers.sort_by_cached_key(|broker| self.lanes.doubt(*broker));
        brokers
    }

    async fn refresh(&self, topics: Topics) -> Result<Arc<Metadata>, Error> {
        self.wanted().add(topics.clone());
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut flight = self.flight.lock().await;
        if let Some(outcome) = flight.outcome.as_ref().filter(|_| flight.served >= ticket) {
            return outcome.clone();
        }
        if self.closed.is_cancelled() {
            return Err(Error::closed());
        }
        let served = self.asked.load(Ordering::SeqCst);
        let (question, all) = {
            let mut wanted = self.wanted();
            // Again: the one who took them along may have gone before it was answered.
            wanted.add(topics);
            wanted.question()
        };
        let outcome = self.learn(question.clone(), all).await;
        self.wanted().answered(&question, all, outcome.is_ok(), &self.known.load());
        *flight = Flight { served, outcome: Some(outcome.clone()) };
        outcome
    }

    /// Asks the brokers that are known, one after the other, then the bootstrap servers.
    async fn learn(&self, question: Vec<Topic>, all: bool) -> Result<Arc<Metadata>, Error> {
        let limit = self.config.request_timeout.min(self.config.connect_timeout);
        for broker in self.by_doubt() {
            let known = self.known.load_full();
            let Some(broker) = known.broker(broker) else { continue };
            let lane = self.lanes.lane(broker, Lane::General, &known);
            match self.ask(&lane, &question, all, limit).await {
                Ok(answer) => return Ok(self.take(answer, all)),
                Err(error) if error.is_closed() => return Err(error),
                Err(error) => tracing::debug!(%error, "a broker does not tell of the cluster"),
            }
        }
        let answer = self.bootstrap(&question, all, limit).await?;
        // Brokers may have come back under the same number: their old coordinators say nothing.
        self.coordinators().clear();
        Ok(self.take(answer, all))
    }

    /// Asks all bootstrap servers, each a little after the one before, and takes the first answer.
    async fn bootstrap(&self, question: &[Topic], all: bool, limit: Duration) -> Result<MetadataResponse, Error> {
        let mut servers = self.bootstrap.clone();
        servers.shuffle(&mut rand::rng());
        let mut asking = FuturesUnordered::new();
        for (n, address) in (0u32..).zip(servers) {
            let at = BrokerAt { id: None, address: Some(address.clone()) };
            let lane = self.lanes.dialer().lane(at, address, Lane::General);
            asking.push(async move {
                sleep(STAGGER * n).await;
                self.ask(&lane, question, all, limit).await
            });
        }
        let mut failed = Vec::new();
        while let Some(answer) = asking.next().await {
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_closed() => return Err(error),
                Err(error) => failed.push(error),
            }
        }
        Err(none_answered(failed))
    }

    async fn ask(
        &self,
        lane: &BrokerLane,
        question: &[Topic],
        all: bool,
        limit: Duration,
    ) -> Result<MetadataResponse, Error> {
        let names: Vec<Str> = question.iter().map(Str::from).collect();
        let create = self.config.allow_auto_create_topics;
        let make = Box::new(move |version| metadata_request(names, all, create, version).into());
        let answer = lane.call::<MetadataRequest>(Ask::InVersion(MetadataRequest::KEY, make), limit).await?.body;
        let placed = |error: Error| {
            let at = lane.broker.clone();
            error.of(MetadataRequest::NAME).by(at.id, at.address)
        };
        ErrorCode(answer.error_code).ok().map_err(|code| placed(code.into()))?;
        match answer.brokers.is_empty() {
            // A broker that has just started knows nobody yet, itself included.
            true => Err(placed(ErrorCode::BROKER_NOT_AVAILABLE.into())),
            false => Ok(answer),
        }
    }

    fn take(&self, answer: MetadataResponse, all: bool) -> Arc<Metadata> {
        let _wanted = self.wanted();
        let keep = self.config.metadata_max_age * PERIODS_KEPT;
        let known = self.known.load();
        let next = known.merged(answer, all, Instant::now(), keep);
        if let (Some(before), Some(now)) = (&known.cluster_id, &next.cluster_id)
            && before != now
        {
            tracing::warn!(%before, %now, "the bootstrap servers lead to another cluster than before");
        }
        self.publish(next)
    }

    /// With `wanted` locked, so that two changes do not undo each other.
    fn publish(&self, next: Metadata) -> Arc<Metadata> {
        let next = Arc::new(next);
        self.known.store(Arc::clone(&next));
        self.changes.send_replace(Arc::clone(&next));
        next
    }

    fn unreachable(&self, limit: Duration) -> Error {
        let why = format!("no answer within {limit:?}");
        let tried = self.bootstrap.iter().map(|address| Attempt::new(address.clone(), &why));
        Error::new(ErrorKind::Connect(tried.collect()))
    }
}

impl Wanted {
    fn add(&mut self, topics: Topics) {
        match topics {
            Topics::Followed => {}
            Topics::Follow(topics) => self.followed.extend(topics),
            Topics::Once(topics) => self.once.extend(topics),
            Topics::All => self.all = true,
        }
    }

    fn question(&mut self) -> (Vec<Topic>, bool) {
        let once = std::mem::take(&mut self.once);
        let all = std::mem::take(&mut self.all);
        (self.followed.union(&once).cloned().collect(), all)
    }

    /// Topics that do not exist are not followed any more: whoever waits for one to be made asks again, and names that
    /// callers make up do not pile up.
    fn answered(&mut self, question: &[Topic], all: bool, answered: bool, known: &Metadata) {
        let exists = |topic: &Topic| {
            let known = known.topic(topic);
            known.is_some_and(|it| it.error != Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
        };
        if answered {
            let asked: HashSet<_> = question.iter().collect();
            self.followed.retain(|topic| !(all || asked.contains(topic)) || exists(topic));
        }
    }
}

/// Learns the cluster anew every so often, and soon after a nudge, until the client is closed or nobody holds it.
async fn keep_fresh(shared: Weak<Shared>, nudge: Arc<Notify>, closed: CancellationToken) {
    let mut failures = 0;
    loop {
        let Some(held) = shared.upgrade() else { return };
        let backoff = held.config.retry_backoff();
        // Nudges come in swarms; after a failure, each further try waits longer.
        let pause = backoff.wait(failures + 1);
        let rest = if failures == 0 { held.config.metadata_max_age } else { pause };
        drop(held);
        tokio::select! {
            () = closed.cancelled() => return,
            () = sleep(rest) => {}
            () = nudge.notified() => sleep(pause).await,
        }
        let Some(held) = shared.upgrade() else { return };
        match held.refresh(Topics::Followed).await {
            Ok(_) => failures = 0,
            Err(error) if error.is_closed() => return,
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, failures, "the cluster cannot be learned anew; what was known is kept");
            }
        }
    }
}

fn metadata_request(topics: Vec<Str>, all: bool, create: bool, version: i16) -> MetadataRequest {
    let topics = topics.into_iter().map(|name| MetadataRequestTopic { name: Some(name), ..Default::default() });
    // Version 0 has no null: there, an empty list is all.
    let all = all && version >= 1;
    MetadataRequest {
        topics: (!all).then(|| topics.collect()),
        // Before version 4 the broker decides alone.
        allow_auto_topic_creation: create || version < 4,
        ..Default::default()
    }
}

/// Up to version 3, a request is about one key.
fn find_coordinators_request(mut keys: Vec<Str>, version: i16) -> FindCoordinatorRequest {
    match version {
        ..=3 => FindCoordinatorRequest { key: keys.pop().unwrap_or_default(), ..Default::default() },
        _ => FindCoordinatorRequest { coordinator_keys: keys, ..Default::default() },
    }
}

fn found_coordinators(answer: &FindCoordinatorResponse, groups: &[String]) -> Vec<(String, Result<BrokerId, Error>)> {
    let outcome = |broker: BrokerId, code: i16, words: Option<&str>| match ErrorCode(code).ok() {
        Ok(()) => Ok(broker),
        Err(code) => Err(Error::broker_says(code, words)),
    };
    match (answer.coordinators.is_empty(), groups) {
        (true, [group]) => {
            let found = outcome(answer.node_id, answer.error_code, answer.error_message.as_deref());
            vec![(group.clone(), found)]
        }
        _ => {
            let each = answer.coordinators.iter();
            each.map(|it| (it.key.to_string(), outcome(it.node_id, it.error_code, it.error_message.as_deref())))
                .collect()
        }
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

/// One error that says what became of every bootstrap server.
fn none_answered(failed: Vec<Error>) -> Error {
    let tried = failed.into_iter().flat_map(|error| match (&error.kind, &error.broker) {
        (ErrorKind::Connect(tried), _) => tried.to_vec(),
        (kind, Some(BrokerAt { address: Some(address), .. })) => vec![Attempt::new(address.clone(), kind)],
        _ => Vec::new(),
    });
    Error::new(ErrorKind::Connect(tried.collect()))
}
