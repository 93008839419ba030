//! Brokers in memory for the tests of this room: what a test says they answer, and nothing more. Under a paused clock
//! every wait is exact.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt;

use super::ClientConfig;
use crate::net::{Address, Attempt, Dial, Io};
use crate::protocol::api::{APIS, Request, Response, decode_request_header, encode_response_frame};
use crate::protocol::messages::*;

/// What a broker does about a request.
#[derive(Debug)]
pub enum Reply {
    Say(Response),
    /// Say it after a while; what comes behind waits, too.
    SayAfter(Duration, Response),
    /// Say it in another version than was asked for (KIP-511).
    SayIn(i16, Response),
    /// Read on, and never say anything again.
    Nothing,
    HangUp,
}

/// `None`: ApiVersions is answered as a new broker does, anything else is not.
pub type Handler = Arc<dyn Fn(&Request) -> Option<Reply> + Send + Sync>;

/// Addresses, and who answers there.
#[derive(Default)]
pub struct Net {
    brokers: Mutex<HashMap<Address, (Handler, CancellationToken)>>,
    dialled: Mutex<Vec<Address>>,
    asked: Mutex<Vec<(Address, &'static str)>>,
    pipe: Option<usize>,
}

impl Net {
    /// Brokers behind pipes of so many bytes; one is enough to catch a writer in the middle of a frame.
    pub fn narrow(bytes: usize) -> Self {
        Self { pipe: Some(bytes), ..Default::default() }
    }

    /// Somebody answers at `broker:port`.
    pub fn listen(&self, port: u16, handler: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) {
        let broker = (Arc::new(handler) as Handler, CancellationToken::new());
        self.brokers.lock().unwrap().insert(at(port), broker);
    }

    /// Nobody does any more, and connections break.
    pub fn kill(&self, port: u16) {
        if let Some((_, alive)) = self.brokers.lock().unwrap().remove(&at(port)) {
            alive.cancel();
        }
    }

    pub fn dials(&self, port: u16) -> usize {
        self.dialled.lock().unwrap().iter().filter(|it| **it == at(port)).count()
    }

    /// How often an API was asked of one broker, or of all.
    pub fn asked(&self, port: Option<u16>, api: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(of, name)| *name == api && port.is_none_or(|port| *of == at(port))).count()
    }

    pub fn dial(self: &Arc<Self>) -> Dial {
        let net = Arc::clone(self);
        Arc::new(move |address: Address| {
            let net = Arc::clone(&net);
            async move { net.connected(&address).ok_or_else(|| vec![Attempt::new(address, "refused")]) }.boxed()
        })
    }

    fn connected(self: &Arc<Self>, address: &Address) -> Option<Box<dyn Io>> {
        self.dialled.lock().unwrap().push(address.clone());
        let (handler, alive) = self.brokers.lock().unwrap().get(address).cloned()?;
        let (ours, theirs) = tokio::io::duplex(self.pipe.unwrap_or(1 << 16));
        let (net, address) = (Arc::clone(self), address.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = alive.cancelled() => {}
                _ = net.serve(theirs, &address, &handler) => {}
            }
        });
        Some(Box::new(ours))
    }

    async fn serve(&self, mut io: DuplexStream, address: &Address, handler: &Handler) -> io::Result<()> {
        let mut mute = false;
        loop {
            let mut frame = vec![0; io.read_u32().await? as usize];
            io.read_exact(&mut frame).await?;
            let mut body = Bytes::from(frame);
            let header = decode_request_header(&mut body).map_err(io::Error::other)?;
            let request = Request::decode(header.api_key, header.api_version, body).map_err(io::Error::other)?;
            self.asked.lock().unwrap().push((address.clone(), request.name()));
            let mut version = header.api_version;
            let said = match handler(&request) {
                Some(Reply::HangUp) => return Ok(()),
                Some(Reply::Say(said)) => Some(said),
                Some(Reply::SayAfter(wait, said)) => {
                    sleep(wait).await;
                    Some(said)
                }
                Some(Reply::SayIn(other, said)) => {
                    version = other;
                    Some(said)
                }
                Some(Reply::Nothing) => {
                    mute = true;
                    None
                }
                None => matches!(request, Request::ApiVersions(_)).then(|| everything().into()),
            };
            if let Some(said) = said.filter(|_| !mute) {
                let mut out = BytesMut::new();
                encode_response_frame(header.correlation_id, version, &said, &mut out).map_err(io::Error::other)?;
                io.write_all(&out).await?;
            }
        }
    }
}

pub fn at(port: u16) -> Address {
    Address::new("broker", port)
}

/// Every API in every version.
pub fn everything() -> ApiVersionsResponse {
    let offered = APIS.iter().map(|row| ApiVersion {
        api_key: row.key,
        min_version: *row.versions.start(),
        max_version: *row.versions.end(),
    });
    ApiVersionsResponse { api_keys: offered.collect(), ..Default::default() }
}

/// A cluster of brokers whose numbers are their ports, the first of them the controller.
pub fn cluster(ports: &[u16], topics: Vec<MetadataResponseTopic>) -> MetadataResponse {
    let broker = |port: &u16| MetadataResponseBroker {
        node_id: i32::from(*port),
        host: "broker".into(),
        port: i32::from(*port),
        rack: None,
    };
    MetadataResponse {
        brokers: ports.iter().map(broker).collect(),
        cluster_id: Some("c".into()),
        controller_id: ports.first().map_or(-1, |port| i32::from(*port)),
        topics,
        ..Default::default()
    }
}

/// A topic, by the leader and leader epoch of each partition.
pub fn topic(name: &str, leaders: &[(i32, i32)]) -> MetadataResponseTopic {
    let partition = |(index, (leader, epoch)): (i32, &(i32, i32))| MetadataResponsePartition {
        partition_index: index,
        leader_id: *leader,
        leader_epoch: *epoch,
        ..Default::default()
    };
    MetadataResponseTopic {
        name: Some(name.into()),
        partitions: (0..).zip(leaders).map(partition).collect(),
        ..Default::default()
    }
}

pub fn config(ports: &[u16]) -> ClientConfig {
    ClientConfig {
        bootstrap_servers: ports.iter().map(|port| at(*port).to_string()).collect(),
        client_id: "test".to_owned(),
        ..Default::default()
    }
}

/// What is logged as a warning on this thread, while this is there.
pub struct Warnings {
    count: Arc<AtomicUsize>,
    // Where there is one subscriber, whether a line is wanted is asked of the thread that comes to it first, once and for all: a
    // test beside this one, which wants none, would switch it off. With two, both are asked.
    _log: (tracing::subscriber::DefaultGuard, tracing::Dispatch),
}

impl Warnings {
    pub fn counted() -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let counting = tracing_subscriber::registry().with(Counting(Arc::clone(&count)));
        let second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        Self { count, _log: (tracing::subscriber::set_default(counting), second) }
    }

    pub fn so_far(&self) -> usize {
        self.count.load(Relaxed)
    }
}

struct Counting(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Counting {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() <= tracing::Level::WARN {
            self.0.fetch_add(1, Relaxed);
        }
    }
}
