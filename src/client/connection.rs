//! One connection to one broker: the only file of this room that touches a byte stream.
//!
//! rskafka's messenger carries the bytes. One task drives it: it takes calls in order, starts each before it looks at the
//! next, and gives the answers out. Callers only enqueue.
//!
//! What must stay true:
//! - a request is on the wire before one that was handed over later;
//! - the number of requests without an answer is bounded on the wire: the slot of a request is kept with its pending
//!   answer, not with its caller, who may have gone;
//! - a request that the broker does not answer in time closes the connection, as in the Java client: what follows it could
//!   not be answered either, and nobody can tell what became of it;
//! - when the connection goes, everybody who waits is told, with the reason;
//! - what is sent after a session is due for renewal is sent after it was renewed (KIP-368): a broker hangs up on anything
//!   else once the session has ended;
//! - memory follows what arrives, not what a broker announces ([`frames`](super::frames));
//! - a connection that nobody uses is closed by us, before the broker would close it under a request.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, poll};
use rskafka::messenger::Messenger;
use tokio::io::{AsyncRead, AsyncWrite, BufStream, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, PollSemaphore, WaitForCancellationFutureOwned};
use tower::Service;

use super::error::{Error, ErrorKind};
use super::frames::Frames;
use super::handshake::{Capabilities, Proof, authenticate, renewal, shake_hands};
use super::lane::{Answer, Ask, Call};
use super::layer::observe::Counters;
use super::sasl::Sasl;
use super::tally::Tally;
use crate::net::Io;
use crate::tls::TlsFault;

/// The largest answer that is taken; a broker that announces more is not believed.
const ANSWER_BYTES_MAX: usize = 128 << 20;
/// Wide enough that a batch costs one system call; rskafka's flush follows every request.
const BUFFER_BYTES: usize = 64 << 10;

/// A session that could not be renewed for want of credentials is tried again after this long.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);
/// What it usually means when a broker hangs up without an answer; it cannot say so itself.
const WRONG_LISTENER: &str = "; is this listener one for our TLS settings?";
const NO_SASL: &str = " before it answered anything; does this listener want SASL?";

type Wire = Messenger<Frames<BufStream<Switched<Box<dyn Io>>>>>;

/// What a connection is held to.
#[derive(Debug, Clone)]
pub struct Terms {
    pub client_id: Arc<str>,
    pub in_flight_max: usize,
    /// One that is not used for so long is closed.
    pub idle_max: Duration,
    pub counters: Arc<Counters>,
    /// Ends it from outside.
    pub closed: CancellationToken,
    /// Who we are, where brokers ask for it.
    pub sasl: Option<Arc<Sasl>>,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Connection {
    /// Bounded by the slots.
    queue: mpsc::UnboundedSender<Pending>,
    slots: PollSemaphore,
    slot: Option<OwnedSemaphorePermit>,
    switch: Arc<Switch>,
    capabilities: Arc<Capabilities>,
}

struct Pending {
    call: Call,
    reply: oneshot::Sender<Result<Answer, Error>>,
    slot: OwnedSemaphorePermit,
}

impl Connection {
    /// Shakes hands over a stream, proves who we are, and starts the task that serves it.
    pub async fn open(io: Box<dyn Io>, terms: Terms) -> Result<Self, Error> {
        let Terms { client_id, in_flight_max, idle_max, counters, closed, sasl } = terms;
        let suspicion = Mutex::new(Some(WRONG_LISTENER));
        let switch = Arc::new(Switch { off: closed.child_token(), why: OnceLock::new(), suspicion });
        let stream = Switched::new(io, Arc::clone(&switch), Tally::new(Arc::clone(&counters)));
        let stream = BufStream::with_capacity(BUFFER_BYTES, BUFFER_BYTES, stream);
        let mut wire = Wire::new(Frames::new(stream, ANSWER_BYTES_MAX), ANSWER_BYTES_MAX, client_id);
        let capabilities = shake_hands(&mut wire).await.map_err(|error| switch.reason_for(error))?;
        switch.suspect(sasl.is_none().then_some(NO_SASL));
        let session = match sasl {
            Some(sasl) => {
                Some(Session::begin(&wire, &capabilities, sasl).await.map_err(|error| switch.reason_for(error))?)
            }
            None => None,
        };
        let capabilities = Arc::new(capabilities);
        let (queue, taken) = mpsc::unbounded_channel();
        let drive =
            Drive { wire, capabilities: Arc::clone(&capabilities), switch: Arc::clone(&switch), session, idle_max };
        tokio::spawn(async move {
            counters.opened.fetch_add(1, Ordering::Relaxed);
            drive.run(taken).await;
            counters.closed.fetch_add(1, Ordering::Relaxed);
        });
        let slots = PollSemaphore::new(Arc::new(Semaphore::new(in_flight_max)));
        Ok(Self { queue, slots, slot: None, switch, capabilities })
    }

    pub fn capabilities(&self) -> &Arc<Capabilities> {
        &self.capabilities
    }
}

impl Service<Call> for Connection {
    type Response = Answer;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Answer, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.slot.is_none() {
            self.slot = ready!(self.slots.poll_acquire(cx));
        }
        Poll::Ready(if self.switch.off.is_cancelled() { Err(self.switch.reason()) } else { Ok(()) })
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let switch = Arc::clone(&self.switch);
        let (reply, answered) = oneshot::channel();
        if let Some(slot) = self.slot.take() {
            // A task that is gone drops what it is sent, and with it the sender: `answered` then says so.
            let _ = self.queue.send(Pending { call, reply, slot });
        }
        async move { answered.await.unwrap_or_else(|_| Err(switch.reason())) }.boxed()
    }
}

/// What serves a connection.
struct Drive {
    wire: Wire,
    capabilities: Arc<Capabilities>,
    switch: Arc<Switch>,
    session: Option<Session>,
    idle_max: Duration,
}

impl Drive {
    /// Serves until it is switched off, until nobody has called for `idle_max`, or until nobody can call any more and all
    /// are answered.
    async fn run(self, mut queue: mpsc::UnboundedReceiver<Pending>) {
        let Self { wire, capabilities, switch, mut session, idle_max } = self;
        let mut in_flight = FuturesUnordered::new();
        let mut open = true;
        while open || !in_flight.is_empty() {
            tokio::select! {
                biased;
                () = switch.off.cancelled() => break,
                Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
                pending = queue.recv(), if open => match pending {
                    None => open = false,
                    Some(pending) => {
                        if let Some(session) = session.as_mut().filter(|session| session.is_due()) {
                            let renewing = session.renew(&wire, &capabilities, &switch, pending.call.patience);
                            beside(renewing, &mut in_flight).await;
                        }
                        // The messenger's lock is taken in the order of first polls: polled here, the order is the queue's.
                        let mut exchange = Box::pin(exchange(&wire, pending, &capabilities, &switch));
                        if poll!(&mut exchange).is_pending() {
                            in_flight.push(exchange);
                        }
                    }
                },
                () = sleep(idle_max), if in_flight.is_empty() => break,
            }
        }
        switch.turn_off("not used any more");
    }
}

/// Does one thing, while what is in flight goes on.
async fn beside<T, F: Future<Output = ()>>(work: impl Future<Output = T>, in_flight: &mut FuturesUnordered<F>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
        }
    }
}

/// What a broker believes of us, and until when.
struct Session {
    sasl: Arc<Sasl>,
    /// `None`: for as long as the connection lasts.
    renew_at: Option<Instant>,
}

impl Session {
    async fn begin(wire: &Wire, capabilities: &Capabilities, sasl: Arc<Sasl>) -> Result<Self, Error> {
        let lifetime = authenticate(wire, capabilities, Proof::of(&sasl).await?).await?;
        let mut session = Self { sasl, renew_at: None };
        session.lasts(lifetime);
        Ok(session)
    }

    fn lasts(&mut self, lifetime: Option<Duration>) {
        let after = lifetime.map(|lifetime| renewal(lifetime, rand::random()));
        self.renew_at = after.and_then(|after| Instant::now().checked_add(after));
    }

    fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|at| at <= Instant::now())
    }

    /// Proves anew who we are. Without credentials at hand the session goes on, for as long as the broker has it; any other
    /// failure ends the connection, and the next one says what is wrong.
    async fn renew(&mut self, wire: &Wire, capabilities: &Capabilities, switch: &Switch, patience: Duration) {
        let renewing = async {
            let proof = match Proof::of(&self.sasl).await {
                Ok(proof) => proof,
                Err(error) => return Err((error, true)),
            };
            authenticate(wire, capabilities, proof).await.map_err(|error| (error, false))
        };
        match timeout(patience, renewing).await {
            Ok(Ok(lifetime)) => {
                tracing::debug!(?lifetime, "session renewed");
                self.lasts(lifetime);
            }
            Ok(Err((error, true))) => {
                tracing::warn!(%error, "a session cannot be renewed yet");
                self.renew_at = Some(Instant::now() + RENEWAL_PAUSE);
            }
            Ok(Err((error, false))) => switch.turn_off(format!("the session was not renewed: {error}")),
            Err(_) => switch.turn_off(format!("the session was not renewed within {patience:?}")),
        }
    }
}

/// One request and its answer.
async fn exchange(wire: &Wire, pending: Pending, capabilities: &Arc<Capabilities>, switch: &Switch) {
    let Pending { call, reply, slot } = pending;
    if reply.is_closed() {
        // The caller has gone before anything was written: the wire need never know.
        return;
    }
    let request = match call.ask {
        Ask::Request(request) => Ok(*request),
        Ask::InVersion(key, make) => capabilities.version_of(key).map(make).ok_or(Ok(ErrorKind::Unsupported)),
        Ask::Capabilities => Err(Err(Answer::Capabilities(Arc::clone(capabilities)))),
    };
    let answer = match request {
        Err(Err(answer)) => Ok(answer),
        Err(Ok(kind)) => Err(Error::new(kind)),
        Ok(request) => match timeout(call.patience, request.send_over(wire)).await {
            Ok(Ok(response)) => {
                switch.suspect(None);
                Ok(Answer::Response(response))
            }
            Ok(Err(error)) => Err(switch.reason_for(error.into())),
            Err(_) => {
                switch.turn_off(format!("{} had no answer within {:?}", call.api, call.patience));
                Err(Error::new(ErrorKind::Timeout(call.patience)))
            }
        },
    };
    // A caller that has gone does not want it.
    let _ = reply.send(answer);
    drop(slot);
}

/// Ends a connection, once, and remembers why.
#[derive(Debug)]
struct Switch {
    off: CancellationToken,
    why: OnceLock<ErrorKind>,
    /// What it would most likely mean if the broker hung up now.
    suspicion: Mutex<Option<&'static str>>,
}

impl Switch {
    fn turn_off(&self, why: impl Into<Arc<str>>) {
        self.turn_off_as(ErrorKind::Disconnected(why.into()));
    }

    fn turn_off_as(&self, why: ErrorKind) {
        if !self.off.is_cancelled() {
            self.why.get_or_init(|| why);
            self.off.cancel();
        }
    }

    fn suspect(&self, what: Option<&'static str>) {
        *self.suspicion.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// What those are told who wait on a connection that is gone; without a reason of its own, the client was closed.
    fn reason(&self) -> Error {
        self.why.get().map_or_else(Error::closed, |why| Error::new(why.clone()))
    }

    /// A stream that fails is of no more use. Of a loss, the first reason known says the most.
    fn reason_for(&self, error: Error) -> Error {
        let ErrorKind::Disconnected(why) = &error.kind else { return error };
        self.turn_off(Arc::clone(why));
        Error { kind: self.reason().kind, ..error }
    }

    fn hung_up(&self) -> io::Error {
        let suspicion = *self.suspicion.lock().unwrap_or_else(PoisonError::into_inner);
        io::Error::new(io::ErrorKind::UnexpectedEof, format!("closed by the broker{}", suspicion.unwrap_or_default()))
    }
}

/// A stream that is counted, and that a [`Switch`] can cut, whoever holds its halves: rskafka finishes a write whose caller
/// has gone, and would wait for ever for a broker that reads nothing.
struct Switched<S> {
    io: S,
    switch: Arc<Switch>,
    tally: Tally,
    reading: Pin<Box<WaitForCancellationFutureOwned>>,
    writing: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Whether anything was read yet.
    heard: bool,
}

impl<S> Switched<S> {
    fn new(io: S, switch: Arc<Switch>, tally: Tally) -> Self {
        let reading = Box::pin(switch.off.clone().cancelled_owned());
        let writing = Box::pin(switch.off.clone().cancelled_owned());
        Self { io, switch, tally, reading, writing, heard: false }
    }

    fn lost<T>(&self, error: io::Error) -> Poll<io::Result<T>> {
        match TlsFault::of(&error) {
            Some(fault) => self.switch.turn_off_as(ErrorKind::Tls(fault)),
            None => self.switch.turn_off(error.to_string()),
        }
        Poll::Ready(Err(error))
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "connection closed by us")
}

impl<S: AsyncRead + Unpin> AsyncRead for Switched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.reading.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(cut()));
        }
        let before = buf.filled().len();
        match ready!(Pin::new(&mut self.io).poll_read(cx, buf)) {
            Ok(()) if buf.filled().len() == before => self.lost(self.switch.hung_up()),
            Ok(()) => {
                if !std::mem::replace(&mut self.heard, true)
                    && let Some(fault) = TlsFault::of_plain_answer(&buf.filled()[before..])
                {
                    self.switch.turn_off_as(ErrorKind::Tls(fault));
                    return Poll::Ready(Err(cut()));
                }
                self.tally.received(&buf.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.lost(self.switch.hung_up()),
            Err(error) => self.lost(error),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Switched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.writing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(cut()));
        }
        match ready!(Pin::new(&mut self.io).poll_write(cx, buf)) {
            Ok(written) => {
                self.tally.sent(&buf[..written]);
                Poll::Ready(Ok(written))
            }
            Err(error) => self.lost(error),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(cut()));
        }
        match ready!(Pin::new(&mut self.io).poll_flush(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => self.lost(error),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
