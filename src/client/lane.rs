//! A lane: one connection to one broker for one kind of use, and everything that stands before it.
//!
//! A broker answers one connection strictly in order, so a long poll or a JoinGroup holds up all that is behind it; hence
//! one lane for each [`Lane`] kind. What a call passes, outermost first, is [`stack`], all of it.
//!
//! What must stay true:
//! - calls reach the wire in the order in which they were made (idempotent producing counts on it);
//! - a call takes no longer than it may, wherever it waits: one timeout stands around readiness *and* reply;
//! - a caller that goes away leaves the connection whole.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::error::{BrokerAt, Error, ErrorKind};
use super::handshake::Capabilities;
use super::layer::observe::{Counters, ObserveLayer};
use super::layer::reconnect::{Backoff, Connect, Reconnect};
use super::layer::throttle::ThrottleLayer;
use crate::protocol::api::{Api, Request, Response, Versioned};

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Metadata, offsets, commits, administration.
    General,
    Produce,
    /// Long polls.
    Fetch,
    /// JoinGroup and SyncGroup wait for the other members; heartbeats are with them, and need not get through meanwhile.
    /// What must not wait for them, such as commits, is elsewhere.
    Group,
}

impl Lane {
    /// Requests that may be unanswered at once. Five is the most with which a broker keeps the order of idempotent
    /// batches (KIP-98); elsewhere it only bounds memory.
    pub(super) fn in_flight_max(self) -> usize {
        match self {
            Self::Produce => 5,
            Self::General | Self::Fetch | Self::Group => 32,
        }
    }
}

/// One request on its way to one broker.
#[derive(Debug)]
pub struct Call {
    pub api: &'static str,
    pub ask: Ask,
    /// How long the broker may take once it has been asked; a connection that takes longer is closed.
    pub patience: Duration,
}

/// What is asked.
pub enum Ask {
    /// Nothing: a connection, and what the broker on it offers.
    Capabilities,
    Request(Box<Request>),
    /// A request that differs by version, made when the connection is known.
    InVersion(i16, Box<dyn FnOnce(i16) -> Request + Send>),
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capabilities => f.write_str("Capabilities"),
            Self::Request(request) => request.fmt(f),
            Self::InVersion(key, _) => f.debug_tuple("InVersion").field(key).finish(),
        }
    }
}

/// What is answered.
// An answer is moved a few times; a box would be an allocation for each.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Answer {
    Capabilities(Arc<Capabilities>),
    Response(Versioned<Response>),
}

pub type Stack = BoxCloneSyncService<Call, Answer, Error>;

/// What is known of a lane from outside.
#[derive(Debug, Default)]
pub struct Status {
    /// What the broker offers, while there is a connection.
    pub capabilities: ArcSwapOption<Capabilities>,
    /// Why the last try to connect, or to be answered, came to nothing; `None` after one that did.
    pub failed: ArcSwapOption<Error>,
}

impl Status {
    /// A broker that stands still keeps its connections: only who waits for it in vain can tell.
    fn take_note(&self, answer: &Result<Answer, Error>) {
        match answer {
            Ok(_) if self.failed.load().is_some() => self.failed.store(None),
            Err(error) if error.is_transport() => self.failed.store(Some(Arc::new(error.clone()))),
            _ => {}
        }
    }
}

/// How a lane comes by its connections, and to whom they lead.
pub struct Route {
    pub broker: BrokerAt,
    pub connect: Connect,
    pub backoff: Backoff,
    pub counters: Arc<Counters>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("broker", &self.broker).finish_non_exhaustive()
    }
}

/// The lane, outermost layer first.
fn stack(lane: Lane, route: Route, status: Arc<Status>) -> Stack {
    let service = ServiceBuilder::new()
        .layer(ObserveLayer::new(route.counters, route.broker))
        .map_err(from_buffer)
        // The queue; a caller that finds it full waits for room until its time is over.
        .buffer(lane.in_flight_max())
        // Inside the buffer: what waits out a throttle waits in the queue's order.
        .layer(ThrottleLayer)
        .service(Reconnect::new(route.connect, route.backoff, status));
    BoxCloneSyncService::new(service)
}

/// The buffer hands on the error of a service that has failed for good; [`Reconnect`] never does, so what is left is the
/// buffer's own: its worker is gone because the client is.
fn from_buffer(error: BoxError) -> Error {
    error.downcast::<Error>().map_or_else(|_| Error::closed(), |error| *error)
}

/// A lane to one broker: cheap to clone.
#[derive(Clone)]
pub struct BrokerLane {
    pub broker: BrokerAt,
    pub status: Arc<Status>,
    stack: Stack,
}

impl BrokerLane {
    /// Connects when it is first called.
    pub fn new(lane: Lane, route: Route) -> Self {
        let status = Arc::new(Status::default());
        Self { broker: route.broker.clone(), status: Arc::clone(&status), stack: stack(lane, route, status) }
    }

    /// Asks, and waits no longer than `deadline` for a connection and the answer together.
    pub async fn call<R: Api>(&self, ask: Ask, deadline: Duration) -> Result<Versioned<R::Response>, Error> {
        match self.ask(R::NAME, ask, deadline).await? {
            Answer::Response(said) => {
                let version = said.version;
                let body = R::response(said.body).ok_or_else(|| mispaired(R::NAME))?;
                Ok(Versioned { version, body })
            }
            Answer::Capabilities(_) => Err(mispaired(R::NAME)),
        }
    }

    /// What the broker offers; connects if need be.
    pub async fn capabilities(&self, deadline: Duration) -> Result<Arc<Capabilities>, Error> {
        if let Some(known) = self.status.capabilities.load_full() {
            return Ok(known);
        }
        match self.ask("ApiVersions", Ask::Capabilities, deadline).await? {
            Answer::Capabilities(known) => Ok(known),
            Answer::Response(_) => Err(mispaired("ApiVersions")),
        }
    }

    async fn ask(&self, api: &'static str, ask: Ask, deadline: Duration) -> Result<Answer, Error> {
        let call = Call { api, ask, patience: deadline };
        let answer = timeout(deadline, self.stack.clone().oneshot(call)).await;
        let answer = answer.unwrap_or_else(|_| Err(self.too_late(deadline)));
        self.status.take_note(&answer);
        answer.map_err(|error| self.placed(error, api))
    }

    fn placed(&self, error: Error, api: &'static str) -> Error {
        error.of(api).by(self.broker.id, self.broker.address.clone())
    }

    /// Time is over: if the reason is that no connection can be made, that says more.
    fn too_late(&self, deadline: Duration) -> Error {
        match self.status.failed.load_full() {
            Some(failed) if matches!(failed.kind, ErrorKind::Connect(_) | ErrorKind::Authentication(_)) => {
                (*failed).clone()
            }
            _ => Error::new(ErrorKind::Timeout(deadline)),
        }
    }
}

impl fmt::Debug for BrokerLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerLane").field("broker", &self.broker).finish_non_exhaustive()
    }
}

fn mispaired(api: &'static str) -> Error {
    Error::protocol(std::io::Error::other(format!("the answer is not one to {api}")))
}
