//! Learning what is known of the cluster: from the brokers that are known, from the bootstrap servers when none of them
//! answers, by one request at a time, again and again.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use rand::seq::SliceRandom;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Shared, Topics};
use crate::client::error::{BrokerAt, Error, ErrorKind};
use crate::client::lane::{Ask, BrokerLane, Lane};
use crate::client::metadata::Metadata;
use crate::client::sasl::REFUSED_PAUSE;
use crate::net::Attempt;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use crate::protocol::types::{BrokerId, Str, Topic};
use crate::trouble::Trouble;

/// Another bootstrap server is tried beside a silent one after this long, as RFC 8305 has it for addresses.
const STAGGER: Duration = Duration::from_millis(250);
/// Another broker is asked beside one that says nothing for this long: a broker that stands still holds up nobody who needs
/// to know the cluster, and one that is merely slow is hardly asked twice.
const SILENT: Duration = Duration::from_millis(500);
/// What nobody has asked about for this many refresh periods is forgotten.
const PERIODS_KEPT: u32 = 3;

/// What the next refresh asks about.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    followed: HashSet<Topic>,
    once: HashSet<Topic>,
    all: bool,
}

/// The last refresh: how many had asked before it began, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Flight {
    served: u64,
    outcome: Option<Result<Arc<Metadata>, Error>>,
}

impl Shared {
    pub(super) fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The brokers in the order in which to try them: the likeliest to answer first, at random among equals.
    pub(super) fn by_doubt(&self) -> Vec<BrokerId> {
        let mut brokers: Vec<_> = self.known.load().brokers.keys().copied().collect();
        brokers.shuffle(&mut self.config.chance());
        brokers.sort_by_cached_key(|broker| self.lanes.doubt(*broker));
        brokers
    }

    pub(super) async fn refresh(&self, topics: Topics) -> Result<Arc<Metadata>, Error> {
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

    /// Whether a refresh that somebody asked for after the first `asked` questions has been answered.
    async fn learned_since(&self, asked: u64) -> bool {
        let flight = self.flight.lock().await;
        flight.served > asked && flight.outcome.as_ref().is_some_and(Result::is_ok)
    }

    /// Asks the brokers that are known, one after the other and the next one beside one that is silent; when all have
    /// failed, the bootstrap servers.
    async fn learn(&self, question: Vec<Topic>, all: bool) -> Result<Arc<Metadata>, Error> {
        let limit = self.config.request_timeout.min(self.config.connect_timeout);
        let (mut asking, mut brokers) = (FuturesUnordered::new(), self.by_doubt().into_iter());
        loop {
            let known = self.known.load_full();
            let next = brokers.next();
            if let Some(broker) = next.and_then(|id| known.broker(id)) {
                let (lane, question) = (self.lanes.lane(broker, Lane::General, &known), &question);
                asking.push(async move { self.ask(&lane, question, all, limit).await });
            }
            let answer = match next {
                Some(_) => timeout(SILENT, asking.next()).await.unwrap_or_default(),
                None => asking.next().await,
            };
            match answer {
                Some(Ok(answer)) => return Ok(self.take(answer, all)),
                Some(Err(error)) if error.is_closed() => return Err(error),
                Some(Err(error)) => tracing::debug!(%error, "a broker does not tell of the cluster"),
                None if next.is_none() => break,
                None => {}
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
        servers.shuffle(&mut self.config.chance());
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
    pub(super) fn publish(&self, next: Metadata) -> Arc<Metadata> {
        let next = Arc::new(next);
        self.known.store(Arc::clone(&next));
        self.changes.send_replace(Arc::clone(&next));
        next
    }

    pub(super) fn unreachable(&self, limit: Duration) -> Error {
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
pub(super) async fn keep_fresh(shared: Weak<Shared>, nudge: Arc<Notify>, closed: CancellationToken) {
    let (mut failures, mut refused) = (0, false);
    let mut trouble = Trouble::default();
    loop {
        let Some(held) = shared.upgrade() else { return };
        let backoff = held.config.retry_backoff();
        // Nudges come in swarms; after a failure, each further try waits longer.
        let pause = if refused { REFUSED_PAUSE } else { backoff.wait(failures + 1) };
        let rest = if failures == 0 { held.config.metadata_max_age } else { pause };
        drop(held);
        tokio::select! {
            biased;
            () = closed.cancelled() => return,
            () = sleep(rest) => {}
            () = nudge.notified() => if learned_meanwhile(&shared, pause).await {
                failures = 0;
                say_known(&mut trouble);
                continue;
            }
        }
        let Some(held) = shared.upgrade() else { return };
        match held.refresh(Topics::Followed).await {
            Ok(_) => {
                (failures, refused) = (0, false);
                say_known(&mut trouble);
            }
            Err(error) if error.is_closed() => return,
            Err(error) => {
                (failures, refused) = (failures + 1, error.is_authentication());
                if trouble.fails(Instant::now()) {
                    tracing::warn!(%error, failures, "the cluster cannot be learned anew; what was known is kept");
                }
            }
        }
    }
}

fn say_known(trouble: &mut Trouble) {
    if let Some(after) = trouble.is_over(Instant::now()) {
        tracing::warn!(after_seconds = after.as_secs(), "the cluster can be learned again");
    }
}

/// Waits for `pause`, and says whether somebody else has learned the cluster since then.
async fn learned_meanwhile(shared: &Weak<Shared>, pause: Duration) -> bool {
    let asked = shared.upgrade().map(|held| held.asked.load(Ordering::SeqCst));
    sleep(pause).await;
    match (shared.upgrade(), asked) {
        (Some(held), Some(asked)) => held.learned_since(asked).await,
        _ => false,
    }
}

pub(in crate::client) fn metadata_request(topics: Vec<Str>, all: bool, create: bool, version: i16) -> MetadataRequest {
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

/// One error that says what became of every bootstrap server; or that they do not believe who we are, which says more.
fn none_answered(mut failed: Vec<Error>) -> Error {
    if let Some(refused) = failed.iter().position(|error| matches!(error.kind, ErrorKind::Authentication(_))) {
        return failed.swap_remove(refused);
    }
    let tried = failed.into_iter().flat_map(|error| match (&error.kind, &error.broker) {
        (ErrorKind::Connect(tried), _) => tried.to_vec(),
        (kind, Some(BrokerAt { address: Some(address), .. })) => vec![Attempt::new(address.clone(), kind)],
        _ => Vec::new(),
    });
    Error::new(ErrorKind::Connect(tried.collect()))
}
