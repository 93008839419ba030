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
//! - a connection that nobody uses is closed by us, before the broker would close it under a request.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, poll};
use rskafka::messenger::Messenger;
use tokio::io::{AsyncRead, AsyncWrite, BufStream, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, PollSemaphore, WaitForCancellationFutureOwned};
use tower::Service;

use super::connect::Io;
use super::error::{Error, ErrorKind};
use super::handshake::{Capabilities, shake_hands};
use super::lane::{Answer, Ask, Call};
use super::layer::observe::Counters;

/// The largest answer that is taken; a broker that announces more is not believed.
const ANSWER_BYTES_MAX: usize = 128 << 20;
/// Wide enough that a batch costs one system call; rskafka's flush follows every request.
const BUFFER_BYTES: usize = 64 << 10;

type Wire = Messenger<BufStream<Switched<Box<dyn Io>>>>;

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
    /// Shakes hands over a stream and starts the task that serves it.
    pub async fn open(io: Box<dyn Io>, terms: Terms) -> Result<Self, Error> {
        let Terms { client_id, in_flight_max, idle_max, counters, closed } = terms;
        let switch = Arc::new(Switch { off: closed.child_token(), why: OnceLock::new() });
        let stream = Switched::new(io, Arc::clone(&switch), Arc::clone(&counters));
        let stream = BufStream::with_capacity(BUFFER_BYTES, BUFFER_BYTES, stream);
        let mut wire = Wire::new(stream, ANSWER_BYTES_MAX, client_id);
        let capabilities = shake_hands(&mut wire).await.map_err(|error| switch.reason_for(error))?;
        let capabilities = Arc::new(capabilities);
        let (queue, taken) = mpsc::unbounded_channel();
        let (served, switch_of_task) = (Arc::clone(&capabilities), Arc::clone(&switch));
        tokio::spawn(async move {
            counters.traffic.opened.fetch_add(1, Ordering::Relaxed);
            drive(wire, taken, served, switch_of_task, idle_max).await;
            counters.traffic.closed.fetch_add(1, Ordering::Relaxed);
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

/// Serves a connection until it is switched off, until nobody has called for `idle_max`, or until nobody can call any more
/// and all are answered.
async fn drive(
    wire: Wire,
    mut queue: mpsc::UnboundedReceiver<Pending>,
    capabilities: Arc<Capabilities>,
    switch: Arc<Switch>,
    idle_max: Duration,
) {
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
            Ok(Ok(response)) => Ok(Answer::Response(response)),
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
    why: OnceLock<Arc<str>>,
}

impl Switch {
    fn turn_off(&self, why: impl Into<Arc<str>>) {
        if !self.off.is_cancelled() {
            self.why.get_or_init(|| why.into());
            self.off.cancel();
        }
    }

    /// What those are told who wait on a connection that is gone; without a reason of its own, the client was closed.
    fn reason(&self) -> Error {
        match self.why.get() {
            Some(why) => Error::disconnected(Arc::clone(why)),
            None => Error::closed(),
        }
    }

    /// A stream that fails is of no more use. Of a loss, the first reason known says the most.
    fn reason_for(&self, error: Error) -> Error {
        let ErrorKind::Disconnected(why) = &error.kind else { return error };
        self.turn_off(Arc::clone(why));
        Error { kind: self.reason().kind, ..error }
    }
}

/// A stream that is counted, and that a [`Switch`] can cut, whoever holds its halves: rskafka finishes a write whose caller
/// has gone, and would wait for ever for a broker that reads nothing.
struct Switched<S> {
    io: S,
    switch: Arc<Switch>,
    counters: Arc<Counters>,
    reading: Pin<Box<WaitForCancellationFutureOwned>>,
    writing: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Switched<S> {
    fn new(io: S, switch: Arc<Switch>, counters: Arc<Counters>) -> Self {
        let reading = Box::pin(switch.off.clone().cancelled_owned());
        let writing = Box::pin(switch.off.clone().cancelled_owned());
        Self { io, switch, counters, reading, writing }
    }

    fn lost<T>(&self, error: io::Error) -> Poll<io::Result<T>> {
        self.switch.turn_off(error.to_string());
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
            Ok(()) if buf.filled().len() == before => {
                self.lost(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the broker"))
            }
            Ok(()) => {
                let bytes = buf.filled().len() - before;
                self.counters.traffic.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                Poll::Ready(Ok(()))
            }
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
                self.counters.traffic.sent_bytes.fetch_add(written as u64, Ordering::Relaxed);
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
