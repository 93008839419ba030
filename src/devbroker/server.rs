//! The shell: listeners, connections, and the two workers that bring time and syncs to the [`State`].
//!
//! A connection reads a frame, has it answered, writes the answer, and only then reads on; what a client sends meanwhile
//! stays in the kernel's buffers. So answers are in order, and a client that is slow or hostile holds one request and one
//! answer, no more.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::{Clock, Now};
use super::door::{Around, Door, Guard, Pass, Stream};
use super::faults::{Fault, Faults};
use super::groups;
use super::handlers::{self, Call};
use super::inbox::{Broken, Inbox};
use super::reply::{Answer, Ready};
use super::state::{Broker, State};
use super::transactions;
use super::users::Users;
use super::{BrokerConfig, Config, Error, Fsync};
use crate::protocol::api::{Request, RequestHeader, Response, api, decode_request_header, encode_response_frame};
use crate::protocol::types::{BrokerId, Str, TopicPartition};

const API_VERSIONS: i16 = 18;
/// The longest frame of a client that has not proved who it is (`sasl.server.max.receive.size`).
const UNPROVED_REQUEST_BYTES: usize = 512 << 10;

/// A running dev broker. Dropping it ends it at once; [`DevBroker::stop`] ends it in order.
#[derive(Debug)]
pub struct DevBroker {
    shared: Arc<Shared>,
    addresses: Vec<(BrokerId, SocketAddr)>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    config: Arc<Config>,
    state: Mutex<State>,
    clock: Clock,
    door: Door,
    faults: Faults,
    /// The earliest timer may have changed.
    timers_changed: Notify,
    /// Something waits for a sync.
    dirty: Notify,
    connections: Arc<Semaphore>,
    next_connection: AtomicU64,
    stop: CancellationToken,
}

impl DevBroker {
    /// Opens the data directory, binds every listener and starts to serve.
    pub async fn start(config: Config) -> Result<DevBroker, Error> {
        check(&config)?;
        let config = Arc::new(config);
        let door = Door::new(&config)?;
        let users = blocking(config.clone(), |config| Ok(Users::of(config.sasl.as_ref(), rand::random))).await?;
        let mut listeners = Vec::new();
        for broker in &config.brokers {
            listeners.push((broker.id, bind(broker.listen).await?));
        }
        let clock = Clock::start();
        let mut brokers = Vec::new();
        let mut addresses = Vec::new();
        for (broker, (id, listener)) in config.brokers.iter().zip(&listeners) {
            let address = listener.local_addr().map_err(|source| Error::Listen { address: broker.listen, source })?;
            brokers.push(advertised(&config, broker, address));
            addresses.push((*id, address));
        }
        let seed = config.seed.unwrap_or_else(rand::random);
        let mut state = State::new(config.clone(), brokers, seed, clock.now());
        state.users = users;
        let mut state = blocking(state, |mut state| state.restore().map(|()| state)).await?;
        transactions::resume(&mut state, clock.now());
        groups::resume(&mut state, clock.now());
        let shared = Arc::new(Shared::new(config, state, clock, door));
        Ok(DevBroker { tasks: serve(&shared, listeners), shared, addresses })
    }

    /// `host:port` of every virtual broker, separated by commas.
    pub fn bootstrap_servers(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(|(_, address)| address.to_string()).collect();
        addresses.join(",")
    }

    /// Where one virtual broker listens.
    pub fn address(&self, broker: BrokerId) -> Option<SocketAddr> {
        self.addresses.iter().find(|(id, _)| *id == broker).map(|(_, address)| *address)
    }

    /// A connection without a socket, through a pipe of so many bytes each way; `None` if there is no such broker. Under a
    /// paused clock nothing is under way in such a pipe that the clock would not wait for, as it is in a kernel's.
    pub fn connect(&self, broker: BrokerId, pipe_bytes: usize) -> Option<DuplexStream> {
        let local = self.address(broker)?;
        let (ours, theirs) = tokio::io::duplex(pipe_bytes);
        let peer = SocketAddr::new(local.ip(), 0);
        self.shared.clone().welcome(broker, ours, Ends { local, peer }, &self.tasks);
        Some(theirs)
    }

    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Makes another virtual broker lead a partition, under the next leader epoch.
    pub fn move_leader(&self, partition: &TopicPartition, broker: BrokerId) -> Result<(), Error> {
        let former = self.shared.with(|state, now| {
            let former = state.leader_of(partition);
            state.move_leader(now, partition, broker).map(|()| former)
        })?;
        if let Some(former) = former {
            self.shared.faults.moved_from(partition, former);
        }
        Ok(())
    }

    /// Makes the next virtual broker the coordinator of every group and every transactional id.
    pub fn move_coordinators(&self) {
        self.shared.with(|state, _| state.move_coordinators());
    }

    /// Stops listening, ends every connection, syncs what was written, and releases the data directory.
    pub async fn stop(self) -> Result<(), Error> {
        self.shared.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let work = self.shared.lock().take_sync();
        if let Some(work) = work {
            let done = tokio::task::spawn_blocking(move || work.run()).await;
            if let Ok(done) = done {
                self.shared.with(|state, now| state.synced(now, done));
            }
        }
        Ok(())
    }
}

impl Drop for DevBroker {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Does what waits for a disk or hashes passwords.
async fn blocking<T: Send + 'static, R: Send + 'static>(
    with: T,
    work: impl FnOnce(T) -> Result<R, Error> + Send + 'static,
) -> Result<R, Error> {
    let done = tokio::task::spawn_blocking(move || work(with)).await;
    done.map_err(|error| Error::Config(format!("the start was broken off: {error}")))?
}

fn check(config: &Config) -> Result<(), Error> {
    let mut ids: Vec<BrokerId> = config.brokers.iter().map(|broker| broker.id).collect();
    ids.sort_unstable();
    if ids.is_empty() || ids.windows(2).any(|pair| pair[0] == pair[1]) || ids.iter().any(|id| *id < 0) {
        return Err(Error::Config("a dev broker needs at least one broker, with different ids from 0 up".into()));
    }
    if config.default_partitions < 1 {
        return Err(Error::Config("topics need at least one partition".into()));
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

fn advertised(config: &Config, broker: &BrokerConfig, address: SocketAddr) -> Broker {
    Broker {
        id: broker.id,
        rack: broker.rack.as_deref().map(Str::from),
        host: config.advertised_host.as_deref().map(Str::from),
        port: address.port(),
    }
}

fn serve(shared: &Arc<Shared>, listeners: Vec<(BrokerId, TcpListener)>) -> TaskTracker {
    let tasks = TaskTracker::new();
    tasks.spawn(shared.clone().keep_time());
    if shared.config.data_dir.is_some() && shared.config.fsync != Fsync::Never {
        tasks.spawn(shared.clone().keep_synced());
    }
    for (broker, listener) in listeners {
        tasks.spawn(shared.clone().accept(broker, listener, tasks.clone()));
    }
    tasks
}

impl Shared {
    fn new(config: Arc<Config>, state: State, clock: Clock, door: Door) -> Shared {
        Shared {
            connections: Arc::new(Semaphore::new(config.max_connections)),
            config,
            state: Mutex::new(state),
            clock,
            door,
            faults: Faults::default(),
            timers_changed: Notify::new(),
            dirty: Notify::new(),
            next_connection: AtomicU64::new(1),
            stop: CancellationToken::new(),
        }
    }

    /// A panic in a handler leaves no half-made change that later inputs could not bear, so a poisoned lock is taken.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the state one input, and wakes the workers that its outcome concerns.
    fn with<T>(&self, input: impl FnOnce(&mut State, Now) -> T) -> T {
        let mut state = self.lock();
        let before = state.next_time();
        let outcome = input(&mut state, self.clock.now());
        let earlier = state.next_time() != before;
        let waits = state.waits_for_sync();
        drop(state);
        if earlier {
            self.timers_changed.notify_one();
        }
        if waits {
            self.dirty.notify_one();
        }
        outcome
    }

    /// Hands every timer back to the state at its moment.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let next = self.lock().next_time();
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.timers_changed.notified() => {}
                () = due => self.with(State::on_time),
            }
        }
    }

    /// Forces what was written to the disk, as the policy says.
    async fn keep_synced(self: Arc<Self>) {
        loop {
            let wanted = async {
                match self.config.fsync {
                    Fsync::Interval(interval) => tokio::time::sleep(interval).await,
                    _ => self.dirty.notified().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = wanted => {}
            }
            let Some(work) = self.lock().take_sync() else { continue };
            if let Ok(done) = tokio::task::spawn_blocking(move || work.run()).await {
                self.with(|state, now| state.synced(now, done));
            }
        }
    }

    async fn accept(self: Arc<Self>, broker: BrokerId, listener: TcpListener, tasks: TaskTracker) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: without a pause this would spin.
                    tracing::warn!(broker, %error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            match ends(&stream, peer) {
                Ok(ends) => self.clone().welcome(broker, stream, ends, &tasks),
                Err(error) => tracing::info!(broker, %peer, %error, "connection closed"),
            }
        }
    }

    /// Serves a connection for as long as it lasts, if there is a place for it.
    fn welcome(self: Arc<Self>, broker: BrokerId, stream: impl Stream + 'static, ends: Ends, tasks: &TaskTracker) {
        let Ok(place) = self.connections.clone().try_acquire_owned() else {
            tracing::warn!(broker, peer = %ends.peer, "connection refused: {} are open", self.config.max_connections);
            return;
        };
        tasks.spawn(async move {
            self.connection(broker, stream, ends).await;
            drop(place);
        });
    }

    async fn connection(&self, broker: BrokerId, stream: impl Stream + 'static, ends: Ends) {
        let id = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let Ends { peer, .. } = ends;
        let serve = async { Connection::open(self, broker, id, stream, ends).await?.run().await };
        let ended = tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(()),
            ended = serve => ended,
        };
        if let Err(error) = ended {
            tracing::info!(broker, %peer, %error, "connection closed");
        }
        self.with(|state, _| state.disconnected(id));
    }
}

/// Where a connection comes from, and where it came to.
#[derive(Debug, Clone, Copy)]
struct Ends {
    local: SocketAddr,
    peer: SocketAddr,
}

/// Answers leave at once.
fn ends(stream: &TcpStream, peer: SocketAddr) -> io::Result<Ends> {
    stream.set_nodelay(true)?;
    Ok(Ends { local: stream.local_addr()?, peer })
}

/// Why a connection ended that could have gone on.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("nothing moved for too long")]
    Idle,
    #[error(transparent)]
    Frame(#[from] Broken),
    #[error("{what}: {error}")]
    Malformed { what: &'static str, error: String },
    #[error("API key {key} in version {version} is not served")]
    NotServed { key: i16, version: i16 },
    #[error("{0} could not be answered")]
    Unanswerable(&'static str),
    #[error("directed to")]
    Directed,
    #[error("{0}")]
    NotAdmitted(&'static str),
}

struct Connection<'a> {
    shared: &'a Shared,
    broker: BrokerId,
    id: u64,
    ends: Ends,
    stream: Box<dyn Stream>,
    inbox: Inbox,
    guard: Guard,
    /// The answer under way is the last.
    leaving: bool,
}

impl<'a> Connection<'a> {
    async fn open(
        shared: &'a Shared,
        broker: BrokerId,
        id: u64,
        stream: impl Stream + 'static,
        ends: Ends,
    ) -> Result<Self, Ended> {
        let opening = shared.door.open(stream);
        let stream = timeout(shared.config.idle_timeout, opening).await.map_err(|_| Ended::Idle)??;
        let guard = shared.door.guard();
        Ok(Connection { shared, broker, id, ends, stream, inbox: Inbox::default(), guard, leaving: false })
    }

    async fn run(&mut self) -> Result<(), Ended> {
        while let Some(frame) = self.frame().await? {
            self.exchange(frame).await?;
            if self.leaving {
                return Err(Ended::NotAdmitted("the client could not prove who it is"));
            }
        }
        Ok(())
    }

    /// The next frame without its length; `None` when the client hangs up between frames.
    async fn frame(&mut self) -> Result<Option<Bytes>, Ended> {
        let longest = self.shared.config.max_request_bytes;
        let longest = if self.guard.is_passed() { longest } else { longest.min(UNPROVED_REQUEST_BYTES) };
        Ok(self.inbox.frame(&mut self.stream, longest, self.shared.config.idle_timeout).await?)
    }

    async fn exchange(&mut self, mut frame: Bytes) -> Result<(), Ended> {
        let malformed = |what| {
            move |error: crate::protocol::message::DecodeError| Ended::Malformed { what, error: error.to_string() }
        };
        let header = decode_request_header(&mut frame).map_err(malformed("request header"))?;
        let (key, version) = (header.api_key, header.api_version);
        if !self.shared.config.profile.serves(key, version) {
            return self.refuse(&header).await;
        }
        let name = api(key).map_or("request", |row| row.name);
        let request = Request::decode(key, version, frame).map_err(malformed(name))?;
        let call = self.call(&header);
        let fault = self
            .shared
            .faults
            .direct(&call, &request, |id| self.shared.lock().topics.by_id(id).map(|topic| topic.name.clone()));
        let Some(ready) = self.answer(&call, request, fault.as_ref()).await? else { return Ok(()) };
        let mut response = read(ready).await.ok_or(Ended::Unanswerable(name))?;
        match &fault {
            Some(Fault::Throttle(quiet)) => handlers::quota::throttle(&mut response, *quiet),
            Some(Fault::Stale) => self.shared.faults.make_stale(&mut response),
            _ => {}
        }
        self.write(&header, version, &response, fault).await
    }

    fn call(&self, header: &RequestHeader) -> Call {
        Call {
            broker: self.broker,
            connection: self.id,
            api_key: header.api_key,
            version: header.api_version,
            // A copy: what is parked or remembered must not keep the frame.
            client_id: header.client_id.as_deref().map(Str::from),
            client_host: self.ends.peer.ip(),
            local: self.ends.local,
            now: self.shared.clock.now(),
        }
    }

    /// A version of ApiVersions that we do not know is answered in version 0, so that the client can ask again (KIP-511).
    /// Any other such request ends the connection: its answer could not be understood.
    async fn refuse(&mut self, header: &RequestHeader) -> Result<(), Ended> {
        if header.api_key != API_VERSIONS {
            return Err(Ended::NotServed { key: header.api_key, version: header.api_version });
        }
        self.write(header, 0, &handlers::api_versions_refusal(self.shared.config.profile).into(), None).await
    }

    /// Has a request handled, as directed; `None` if there is nothing to say.
    async fn answer(&mut self, call: &Call, request: Request, fault: Option<&Fault>) -> Result<Option<Ready>, Ended> {
        match fault {
            Some(Fault::Disconnect) => return Err(Ended::Directed),
            Some(Fault::Error(code)) => {
                return Ok(handlers::refusal::refuse(&request, call.version, *code).map(Ready::from));
            }
            Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
            _ => {}
        }
        match self.meet(&request) {
            Pass::Through => {}
            Pass::Answer(response) => return Ok(Some(response.into())),
            Pass::Last(response) => {
                self.leaving = true;
                return Ok(Some(response.into()));
            }
            Pass::Close(why) => return Err(Ended::NotAdmitted(why)),
        }
        let name = request.name();
        let work = handlers::prepare(request, call.version);
        let call = Call { now: self.shared.clock.now(), ..call.clone() };
        match self.shared.with(|state, _| state.request(&call, work)) {
            Answer::Now(ready) => Ok(Some(ready)),
            Answer::Later(reply) => reply.await.map(Some).map_err(|_| Ended::Unanswerable(name)),
            Answer::Nothing => Ok(None),
            Answer::Close => Err(Ended::Unanswerable(name)),
        }
    }

    /// Has the guard look at a request.
    fn meet(&mut self, request: &Request) -> Pass {
        let shared = self.shared;
        let around = Around {
            now: shared.clock.now(),
            nonce: &|| format!("{:032x}", rand::random::<u128>()),
            credential: &|mechanism, user| shared.lock().users.credential(mechanism, user).cloned(),
        };
        self.guard.meet(request, &around)
    }

    async fn write(
        &mut self,
        header: &RequestHeader,
        version: i16,
        response: &Response,
        fault: Option<Fault>,
    ) -> Result<(), Ended> {
        let mut out = BytesMut::new();
        encode_response_frame(header.correlation_id, version, response, &mut out)
            .map_err(|error| Ended::Malformed { what: response.name(), error: error.to_string() })?;
        match fault {
            Some(Fault::DisconnectAfter) => Err(Ended::Directed),
            Some(Fault::Truncate(length)) => {
                out.truncate(length);
                self.send(&out).await?;
                Err(Ended::Directed)
            }
            Some(Fault::Split(length)) => {
                for piece in out.chunks(length.max(1)) {
                    self.send(piece).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            _ => self.send(&out).await,
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        Ok(timeout(self.shared.config.idle_timeout, write).await.map_err(|_| Ended::Idle)??)
    }
}

/// Makes an answer whole. Records that lie in files are read where waiting for a disk harms nobody.
async fn read(ready: Ready) -> Option<Response> {
    match ready {
        Ready::Response(response) => Some(response),
        Ready::Fetched(fetched) if fetched.blocks() => {
            tokio::task::spawn_blocking(move || fetched.read().into()).await.ok()
        }
        Ready::Fetched(fetched) => Some(fetched.read().into()),
    }
}
