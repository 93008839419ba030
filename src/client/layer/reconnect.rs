//! Keeps a lane's connection up: dials when a call needs it, and again after a loss, no faster than a growing, jittered
//! back-off allows.
//!
//! A call that finds no connection, and none to be had before the next try is due, fails at once with the reason of the
//! last try: whoever calls can then choose another broker. A broker that does not believe who we are, or whom we do not
//! believe, is left alone for longer: it costs both sides work, and may lock the account. This layer is always ready or about to be, and never fails in
//! `poll_ready`, which would end the buffer above it for good.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tower::Service;

use crate::client::connection::Connection;
use crate::client::error::Error;
use crate::client::lane::{Answer, Call, Status};
use crate::client::sasl::REFUSED_PAUSE;
use crate::client::time::EVER;

/// Makes a connection, handshake included.
pub type Connect = Arc<dyn Fn() -> BoxFuture<'static, Result<Connection, Error>> + Send + Sync>;

/// How long to wait before the next try: doubled with each failure up to the most, and spread by a fifth either way so
/// that clients that lost a broker together do not come back together (KIP-580).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub most: Duration,
    /// What the spread follows from; by default, nothing.
    pub seed: Option<u64>,
}

impl Backoff {
    /// The wait after so many failures in a row. `random` is between 0 and 1.
    pub fn after(self, failures: u32, random: f64) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1).min(30));
        self.first.saturating_mul(doubled).min(self.most).min(EVER).mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0))
    }

    /// The same, with randomness of our own.
    pub fn wait(self, failures: u32) -> Duration {
        let random = self
            .seed
            .map_or_else(rand::random, |seed| SmallRng::seed_from_u64(seed.wrapping_add(failures.into())).random());
        self.after(failures, random)
    }
}

/// The connection of a lane, while there is one.
pub struct Reconnect {
    connect: Connect,
    backoff: Backoff,
    status: Arc<Status>,
    /// Failures in a row: tries that came to nothing, and connections that did not last.
    failures: u32,
    state: State,
}

enum State {
    Idle,
    /// A task of its own: this layer is polled only while somebody waits, and a dial that nobody drives would be over its
    /// time without having had it.
    Connecting(AbortOnDropHandle<Result<Connection, Error>>),
    Up {
        connection: Connection,
        since: Instant,
    },
    Down {
        error: Error,
        until: Instant,
    },
}

impl Reconnect {
    pub fn new(connect: Connect, backoff: Backoff, status: Arc<Status>) -> Self {
        Self { connect, backoff, status, failures: 0, state: State::Idle }
    }

    fn connected(&mut self, connection: Connection) -> State {
        self.status.capabilities.store(Some(Arc::clone(connection.capabilities())));
        self.status.failed.store(None);
        State::Up { connection, since: Instant::now() }
    }

    fn failed(&mut self, error: Error) -> State {
        self.failures = self.failures.saturating_add(1);
        self.status.failed.store(Some(Arc::new(error.clone())));
        let pause = if error.is_authentication() { REFUSED_PAUSE } else { self.backoff.wait(self.failures) };
        State::Down { error, until: Instant::now() + pause }
    }

    /// A connection that lasted, or the first that did not, is dialled again at once.
    fn lost(&mut self, error: Error, since: Instant) -> State {
        self.status.capabilities.store(None);
        let lasted = since.elapsed() >= self.backoff.most;
        if lasted || self.failures == 0 {
            self.failures = u32::from(!lasted);
            return State::Idle;
        }
        self.failed(error)
    }
}

impl fmt::Debug for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnect").field("failures", &self.failures).finish_non_exhaustive()
    }
}

impl Service<Call> for Reconnect {
    type Response = Answer;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Answer, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            self.state = match &mut self.state {
                State::Idle => State::Connecting(AbortOnDropHandle::new(tokio::spawn((self.connect)()))),
                State::Connecting(connecting) => match ready!(connecting.poll_unpin(cx)) {
                    Ok(Ok(connection)) => self.connected(connection),
                    Ok(Err(error)) => self.failed(error),
                    Err(gone) => self.failed(Error::disconnected(gone.to_string())),
                },
                State::Up { connection, since } => match ready!(connection.poll_ready(cx)) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(error) => {
                        let since = *since;
                        self.lost(error, since)
                    }
                },
                State::Down { until, .. } if *until <= Instant::now() => State::Idle,
                State::Down { .. } => return Poll::Ready(Ok(())),
            };
        }
    }

    fn call(&mut self, call: Call) -> Self::Future {
        match &mut self.state {
            State::Up { connection, .. } => connection.call(call),
            State::Down { error, .. } => futures::future::ready(Err(error.clone())).boxed(),
            State::Idle | State::Connecting(_) => {
                futures::future::ready(Err(Error::config("called before it was ready"))).boxed()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_the_most_and_is_spread_by_a_fifth() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1), seed: None };
        let check = |failures, random, milliseconds| {
            assert_eq!(backoff.after(failures, random).as_millis(), milliseconds, "{failures} {random}");
        };
        check(1, 0.5, 100);
        check(2, 0.5, 200);
        check(4, 0.5, 800);
        check(5, 0.5, 1000);
        check(9, 0.5, 1000);
        check(u32::MAX, 0.5, 1000);
        check(1, 0.0, 80);
        check(1, 1.0, 120);
        check(3, 0.0, 320);
        check(99, 1.0, 1200);
        check(9, 7.0, 1200);
        let never = Backoff { first: Duration::MAX, most: Duration::MAX, seed: None };
        assert!((EVER..2 * EVER).contains(&never.after(9, 1.0)));
    }
}
