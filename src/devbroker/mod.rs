//! A small Kafka for development and tests, in one process: other people's clients talk to it over real sockets.
//!
//! # Nouns
//!
//! - A **virtual broker** ([`BrokerConfig`]) is a listener with a broker id. All of them share one `State`;
//!   what tells them apart is who leads which partition. Replicas exist in name only.
//! - A **log** is what a partition has written: in memory, or in segment files under a data directory.
//! - The **journal** keeps everything else: topics, configs, leaderships, producer ids, groups, offsets, transactions, users.
//! - The **door** is what a client passes first: TLS, and the proof of who it is ([`SaslConfig`]). Users with SCRAM credentials
//!   can be made while the broker runs.
//! - **[`Faults`]** are directions from outside, for tests: answer with an error, delay, hang up, move a leader;
//!   and a count of every request that came over the wire.
//!
//! # How a request flows
//!
//! ```text
//! connection (server) ─▶ decode ─▶ prepare (checks record sets) ─▶ lock State ─▶ handler ─▶ Answer
//!      ▲                                                                                      │ now, or parked until
//!      └── write ◀── encode ◀── read records from the log, outside the lock ◀─────────────────┘ an event or a timer
//! ```
//!
//! # What must stay true
//!
//! - What was acknowledged is there after `kill -9`; after a power loss too, under [`Fsync::Always`].
//! - One connection has one request in the house at a time, so answers are in order and a client's share of memory is
//!   one request and one answer, both bounded.
//! - A frame's length reserves nothing: memory grows with the bytes that really came.
//! - What is not served is not advertised.
//!
//! # Deliberately absent
//!
//! Members of share groups (KIP-932; their offsets can be set, read and deleted), ACLs, quotas (none can be set; that there are none is told), real replication.

mod clock;
mod configs;
mod door;
pub mod faults;
mod fetching;
mod group;
mod groups;
mod handlers;
mod housekeeping;
// For the fuzz targets.
#[doc(hidden)]
pub mod inbox;
mod journal;
mod leadership;
mod log;
mod producers;
mod reply;
mod restore;
mod server;
mod sessions;
mod state;
mod storage;
mod sync;
mod topics;
mod transactions;
mod users;
mod versions;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use door::{SaslConfig, User};
pub use faults::{Fault, Faults, Matching, Requests};
pub use server::DevBroker;
pub use versions::Profile;

pub use group::Config as GroupConfig;
pub use group::consumer::Config as ConsumerGroupConfig;

pub use crate::protocol::sasl::{Mechanism, Secret};
use crate::protocol::types::BrokerId;
pub use crate::tls::ServerOptions as TlsOptions;
use crate::tls::TlsError;

/// One virtual broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    pub id: BrokerId,
    /// Port 0 takes any free one.
    pub listen: SocketAddr,
    pub rack: Option<String>,
}

impl BrokerConfig {
    pub fn new(id: BrokerId, listen: SocketAddr) -> Self {
        Self { id, listen, rack: None }
    }
}

/// When written records are forced to the disk. Whatever it says, nothing acknowledged is lost when the process dies:
/// the operating system has it. The policy is about losing power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// When the operating system likes.
    Never,
    /// At least this often: a power loss costs no more than what was written since.
    Interval(Duration),
    /// Before a write is acknowledged, and before a reader sees it.
    Always,
}

/// What a dev broker is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The virtual brokers, at least one. The first is the controller.
    pub brokers: Vec<BrokerConfig>,
    /// The host that clients are told; by default the address by which they came.
    pub advertised_host: Option<String>,
    /// Where to keep everything; `None` keeps it in memory.
    pub data_dir: Option<PathBuf>,
    pub fsync: Fsync,
    /// Partitions of a topic whose creator does not say (`num.partitions`).
    pub default_partitions: i32,
    /// Whether asking for a topic creates it (`auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Partitions of all topics together; more are refused.
    pub max_partitions: usize,
    /// The longest frame that is read (`socket.request.max.bytes`).
    pub max_request_bytes: usize,
    /// The most record bytes that one Fetch answers with (`fetch.max.bytes`).
    pub max_fetch_bytes: usize,
    /// More connections than this are closed at once.
    pub max_connections: usize,
    /// A connection on which nothing moves for so long is closed (`connections.max.idle.ms`).
    pub idle_timeout: Duration,
    /// `None`: the listeners speak plain text.
    pub tls: Option<TlsOptions>,
    /// `None`: the listeners ask nobody who they are.
    pub sasl: Option<SaslConfig>,
    /// Whose versions of the APIs are advertised, and served.
    pub profile: Profile,
    /// The level of the feature `transaction.version`, where the profile has features: 2 for the transactions of Kafka 4 (KIP-890), 0 for those before.
    pub transaction_version: i16,
    /// The longest timeout that a transaction may ask for (`transaction.max.timeout.ms`).
    pub max_transaction_timeout: Duration,
    /// How often logs with `cleanup.policy=compact` are looked at (`log.cleaner.backoff.ms`).
    pub cleaner_backoff: Duration,
    /// What groups obey.
    pub groups: GroupConfig,
    /// Makes topic ids and the cluster id; random by default.
    pub seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: vec![BrokerConfig::new(1, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))],
            advertised_host: None,
            data_dir: None,
            fsync: Fsync::Interval(Duration::from_secs(1)),
            default_partitions: 1,
            auto_create_topics: true,
            max_partitions: 100_000,
            max_request_bytes: 100 << 20,
            max_fetch_bytes: 55 << 20,
            max_connections: 2048,
            idle_timeout: Duration::from_secs(600),
            tls: None,
            sasl: None,
            profile: Profile::default(),
            transaction_version: 2,
            max_transaction_timeout: Duration::from_secs(15 * 60),
            cleaner_backoff: Duration::from_secs(15),
            groups: GroupConfig::default(),
            seed: None,
        }
    }
}

impl Config {
    /// `count` virtual brokers with ids from 1, on free ports of the loopback.
    pub fn with_brokers(count: i32) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self { brokers: (1..=count).map(|id| BrokerConfig::new(id, listen)).collect(), ..Self::default() }
    }
}

/// Why a dev broker cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("data directory {}: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("data directory {} is in use by another broker", path.display())]
    Locked { path: PathBuf },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Config(String),
}

#[cfg(test)]
mod tests;
