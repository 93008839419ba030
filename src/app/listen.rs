//! Opening the doors: sockets of our own, the embedded broker, and a cluster elsewhere.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Failure, Status, credentials};
use crate::cli;
use crate::client::{Client, ClientConfig, Sasl, Tls};
use crate::devbroker::{self, BrokerConfig, DevBroker, Fsync, GroupConfig, Profile};

/// Binds a port for `what`, or says which flag moves it elsewhere.
pub(super) async fn bind(address: SocketAddr, what: &str, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let message = format!("cannot listen on {address} for {what}: {error}; choose another address with {flag}");
        Failure::new(Status::Os, message)
    })
}

/// Serves until `stop`, then lets requests under way finish.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Makes a directory and shows that it can be written to.
pub(super) fn writable(dir: &Path) -> Result<(), Failure> {
    let probe = dir.join(".probe");
    let written = std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&probe, b"can this be written?"))
        .and_then(|()| std::fs::remove_file(&probe));
    written.map_err(|error| {
        let message = format!("cannot write to {}: {error}; choose another directory with --data-dir", dir.display());
        Failure::new(Status::CannotCreate, message)
    })
}

/// Starts the embedded broker.
pub async fn broker(
    listen: SocketAddr,
    data_dir: Option<PathBuf>,
    fsync: cli::Fsync,
    default_partitions: i32,
    profile: cli::Profile,
    door: Option<&cli::Door>,
) -> Result<DevBroker, Failure> {
    let fsync = match fsync {
        cli::Fsync::Always => Fsync::Always,
        cli::Fsync::Never => Fsync::Never,
        cli::Fsync::Every(time) => Fsync::Interval(time),
    };
    if let Some(dir) = &data_dir {
        writable(dir)?;
    }
    let brokers = vec![BrokerConfig::new(1, listen)];
    // Kafka waits 3 s for more members before a new group's first assignment; at a desk that is only a delay.
    let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
    let (tls, sasl) = door.map(credentials::door).transpose()?.unwrap_or_default();
    let config = devbroker::Config {
        brokers,
        data_dir,
        fsync,
        default_partitions,
        groups,
        profile: match profile {
            cli::Profile::Kafka43 => Profile::Kafka43,
            cli::Profile::Kafka39 => Profile::Kafka39,
            cli::Profile::Kafka28 => Profile::Kafka28,
            cli::Profile::Redpanda24 => Profile::Redpanda24,
            cli::Profile::Redpanda25 => Profile::Redpanda25,
        },
        tls,
        sasl,
        ..devbroker::Config::default()
    };
    DevBroker::start(config).await.map_err(|error| {
        let message =
            format!("the embedded broker did not start: {error}; --listen and --data-dir choose other places");
        Failure::new(Status::Os, message)
    })
}

/// Which cluster, as every room's client needs it.
#[derive(Debug, Clone)]
pub struct Target {
    pub bootstrap_servers: Vec<String>,
    pub tls: Option<Tls>,
    pub sasl: Option<Sasl>,
}

impl Target {
    /// What the flags name.
    pub fn of(cluster: &cli::Cluster) -> Result<Self, Failure> {
        Self::with_password(cluster, None)
    }

    /// The same, with a password for SASL that was given otherwise than in the environment.
    pub fn with_password(cluster: &cli::Cluster, password: Option<String>) -> Result<Self, Failure> {
        let password = password.or_else(|| std::env::var(credentials::PASSWORD).ok());
        let sasl = credentials::sasl(cluster, password)?;
        Ok(Self { bootstrap_servers: cluster.bootstrap_server.clone(), tls: credentials::tls(cluster)?, sasl })
    }

    /// A client for one room, with connections of its own: rooms do not wait behind each other's long polls, and a
    /// broker's logs tell them apart by client id.
    pub async fn connect(&self, room: &str) -> Result<Client, Failure> {
        connect(self.config(room)).await
    }

    /// How a room's client reaches the cluster.
    pub fn config(&self, room: &str) -> ClientConfig {
        ClientConfig {
            bootstrap_servers: self.bootstrap_servers.clone(),
            client_id: format!("highwater-{room}"),
            tls: self.tls.clone(),
            sasl: self.sasl.clone(),
            ..ClientConfig::default()
        }
    }
}

/// A client, or which servers could not be reached.
pub async fn connect(config: ClientConfig) -> Result<Client, Failure> {
    let servers = config.bootstrap_servers.join(",");
    Client::connect(config).await.map_err(|error| {
        let message = match error.is_authentication() {
            true => format!("{servers} cannot be used: {error}"),
            false => format!("no broker of {servers} can be reached: {error}"),
        };
        Failure::new(Status::of(&error), message)
    })
}
