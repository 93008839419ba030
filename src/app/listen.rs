//! Opening the doors: sockets of our own, the embedded broker, and a cluster elsewhere.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
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

/// More connections than this are closed at once, each port for itself.
const CONNECTIONS_MAX: usize = 4096;
/// After so long without a whole request head a connection is closed, whether it trickles or says nothing at all.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves until `stop`, then lets requests under way finish.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> std::io::Result<()> {
    serve_within(HEAD_TIMEOUT, listener, router, stop).await;
    Ok(())
}

async fn serve_within(head: Duration, listener: TcpListener, router: Router, stop: CancellationToken) {
    let (under_way, places) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let router = router.fallback(nothing_there).method_not_allowed_fallback(not_that_way);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: without a pause this would spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, "connection refused: {CONNECTIONS_MAX} are open");
            continue;
        };
        // Without it an answer may wait for the peer's word that it has the one before; nothing is lost if it cannot be had.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = under_way.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "connection closed");
            }
            drop(place);
        });
    }
    under_way.shutdown().await;
}

async fn nothing_there(uri: Uri) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("there is nothing at {}\n", uri.path()))
}

async fn not_that_way(method: Method, uri: Uri) -> (StatusCode, String) {
    let text = format!("{} cannot be asked by {method}; the header `allow` says how it can\n", uri.path());
    (StatusCode::METHOD_NOT_ALLOWED, text)
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

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Says something, and gives back all that is answered until the server hangs up.
    async fn said(address: SocketAddr, words: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(words).await.unwrap();
        let mut answer = Vec::new();
        // A connection that is reset has been closed as well.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn who_never_ends_a_request_is_hung_up_on_and_others_are_served() {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "well" }));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve_within(Duration::from_millis(100), listener, router, stop.clone()));
        let well = |answer: &str| answer.starts_with("HTTP/1.1 200") && answer.ends_with("well");
        let whole = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        let silent = tokio::spawn(said(address, b""));
        let half = tokio::spawn(said(address, b"GET / HTTP/1.1\r\nhos"));
        let garbage = tokio::spawn(said(address, &[0xff; 64]));
        assert!(well(&said(address, whole).await));
        for bad in [silent, half, garbage] {
            assert!(!well(&bad.await.unwrap()));
        }
        assert!(well(&said(address, whole).await));
        stop.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_answered_is_told_in_words() {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Router::new().route("/inner", get(|| async { "well" }).post(|| async { "well" }));
        // As the gateway's, with a layer around its routes.
        let inner = inner.layer(tower_http::timeout::TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            Duration::from_secs(9),
        ));
        let router = Router::new().route("/", get(|| async { "well" })).merge(inner);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, router, stop.clone()));
        let check = async |line: &str, status: &str, allow: Option<&str>, body: &str| {
            let request = format!("{line} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
            let answer = said(address, request.as_bytes()).await;
            let (head, said) = answer.split_once("\r\n\r\n").unwrap();
            let allowed = head.lines().find_map(|line| line.strip_prefix("allow: "));
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")) && (allowed, said) == (allow, body), "{answer}");
        };
        check("GET /", "200", None, "well").await;
        check("GET /metricz?a=b", "404", None, "there is nothing at /metricz\n").await;
        let way = "cannot be asked by DELETE; the header `allow` says how it can\n";
        check("DELETE /", "405", Some("GET,HEAD"), &format!("/ {way}")).await;
        check("DELETE /inner", "405", Some("GET,HEAD,POST"), &format!("/inner {way}")).await;
        stop.cancel();
        serving.await.unwrap().unwrap();
    }
}
