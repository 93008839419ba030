//! Counts what passes, by API, and says it to the log: the outermost layer, so that waiting is part of what it sees.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::client::error::{BrokerAt, Error};
use crate::client::lane::{Answer, Call};
use crate::protocol::api::{APIS, api};

/// What was counted of one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiStats {
    pub api: &'static str,
    /// Requests that were answered, whatever the answer says.
    pub answered: u64,
    /// Requests that failed: no connection, no answer in time, an answer that cannot be read.
    pub failed: u64,
    /// Requests whose caller did not wait for the end.
    pub abandoned: u64,
    /// The time that all of them took, queue and connecting included.
    pub time: Duration,
    /// What went over connections of its requests, also of those that are part of a handshake and not counted above.
    pub sent_bytes: u64,
    /// And of the answers to them.
    pub received_bytes: u64,
}

impl ApiStats {
    /// Requests that are over, whatever came of them.
    pub fn requests(&self) -> u64 {
        self.answered + self.failed + self.abandoned
    }
}

/// What went over the connections of a client, of all its lanes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that were opened, handshake included.
    pub opened: u64,
    /// Those of them that have ended.
    pub closed: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
}

/// The counts of all lanes of a client.
#[derive(Debug)]
pub struct Counters {
    by_api: HashMap<&'static str, Counts>,
    pub opened: AtomicU64,
    pub closed: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
    abandoned: AtomicU64,
    micros: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        let by_api = APIS.iter().map(|row| (row.name, Counts::default())).collect();
        Self { by_api, opened: AtomicU64::default(), closed: AtomicU64::default() }
    }
}

impl Counters {
    /// What was counted, of the APIs that were used.
    pub fn stats(&self) -> Vec<ApiStats> {
        let all = self.by_api.iter().map(|(api, counts)| ApiStats {
            api,
            answered: counts.answered.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            abandoned: counts.abandoned.load(Ordering::Relaxed),
            time: Duration::from_micros(counts.micros.load(Ordering::Relaxed)),
            sent_bytes: counts.sent_bytes.load(Ordering::Relaxed),
            received_bytes: counts.received_bytes.load(Ordering::Relaxed),
        });
        let mut used: Vec<_> = all.filter(|it| it.requests() + it.sent_bytes > 0).collect();
        used.sort_unstable_by_key(|it| it.api);
        used
    }

    pub fn traffic(&self) -> Traffic {
        let of_all = |count: fn(&Counts) -> &AtomicU64| {
            self.by_api.values().map(|counts| count(counts).load(Ordering::Relaxed)).sum::<u64>()
        };
        Traffic {
            opened: self.opened.load(Ordering::Relaxed),
            closed: self.closed.load(Ordering::Relaxed),
            sent_bytes: of_all(|counts| &counts.sent_bytes),
            received_bytes: of_all(|counts| &counts.received_bytes),
        }
    }

    /// So many bytes of a request to this API were written.
    pub fn sent(&self, key: i16, bytes: usize) {
        self.add(key, bytes, |counts| &counts.sent_bytes);
    }

    /// So many bytes of an answer of this API were read.
    pub fn received(&self, key: i16, bytes: usize) {
        self.add(key, bytes, |counts| &counts.received_bytes);
    }

    fn add(&self, key: i16, bytes: usize, to: fn(&Counts) -> &AtomicU64) {
        if let Some(counts) = api(key).and_then(|row| self.by_api.get(row.name)) {
            to(counts).fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct ObserveLayer {
    counters: Arc<Counters>,
    broker: Arc<BrokerAt>,
}

impl ObserveLayer {
    pub fn new(counters: Arc<Counters>, broker: BrokerAt) -> Self {
        Self { counters, broker: Arc::new(broker) }
    }
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub struct Observe<S> {
    inner: S,
    layer: ObserveLayer,
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, layer: self.clone() }
    }
}

impl<S> Service<Call> for Observe<S>
where
    S: Service<Call, Response = Answer, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Answer, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let mut seen = Seen { layer: self.layer.clone(), api: call.api, begun: Instant::now(), ended: None };
        let answer = self.inner.call(call);
        async move {
            let answer = answer.await;
            seen.end(&answer);
            answer
        }
        .boxed()
    }
}

/// One call, counted when it is over; one that is dropped before was abandoned.
struct Seen {
    layer: ObserveLayer,
    api: &'static str,
    begun: Instant,
    ended: Option<Result<(), Error>>,
}

impl Seen {
    fn end(&mut self, answer: &Result<Answer, Error>) {
        self.ended = Some(answer.as_ref().map(drop).map_err(Clone::clone));
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let (api, broker) = (self.api, &self.layer.broker);
        if let Some(counts) = self.layer.counters.by_api.get(api) {
            let count = match self.ended {
                Some(Ok(())) => &counts.answered,
                Some(Err(_)) => &counts.failed,
                None => &counts.abandoned,
            };
            count.fetch_add(1, Ordering::Relaxed);
            counts.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        match &self.ended {
            Some(Ok(())) => tracing::trace!(api, %broker, ?took, "answered"),
            Some(Err(error)) => tracing::debug!(api, %broker, ?took, %error, "failed"),
            None => tracing::debug!(api, %broker, ?took, "abandoned"),
        }
    }
}
