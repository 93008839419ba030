//! The brokers, and the doors into them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use highwater::client::{ClientConfig, Login, Sasl, Tls, TlsOptions};
use highwater::devbroker::{self, DevBroker, GroupConfig, Mechanism, Profile, SaslConfig, User};
use protocol_tests::servers::{Kafka, Listener, Missing, Version};

use protocol_tests::Outcome;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    Plaintext,
    Ssl,
    SaslSsl,
}

pub const DOORS: [Door; 3] = [Door::Plaintext, Door::Ssl, Door::SaslSsl];

impl Door {
    pub fn name(self) -> &'static str {
        match self {
            Door::Plaintext => "PLAINTEXT",
            Door::Ssl => "SSL",
            Door::SaslSsl => "SASL_SSL",
        }
    }

    fn listener(self) -> Listener {
        match self {
            Door::Plaintext => Listener::Plaintext,
            Door::Ssl => Listener::Ssl,
            Door::SaslSsl => Listener::SaslSsl,
        }
    }
}

/// A column of the table.
pub struct Site {
    pub name: String,
    pub nodes: usize,
    cluster: Cluster,
}

enum Cluster {
    /// Started anew for each door.
    Embedded(Profile),
    Kafka(Arc<Kafka>),
    /// One that is not ours, of which nothing but an address is known.
    Named(String),
}

/// A door that stands open, and how to go in.
pub struct Open {
    pub config: ClientConfig,
    _broker: Option<DevBroker>,
}

impl Site {
    pub fn embedded(name: &str, profile: Profile) -> Self {
        Self { name: name.to_owned(), nodes: 1, cluster: Cluster::Embedded(profile) }
    }

    pub fn of_kafka(version: Version, nodes: usize) -> Result<Self, Missing> {
        let name = match nodes {
            1 => format!("Kafka {}", version.number),
            nodes => format!("Kafka {}, {nodes} nodes", version.number),
        };
        // Otherwise the first group waits three seconds for company.
        let kafka = Kafka::own_with(version, nodes, &["group.initial.rebalance.delay.ms=0"])?;
        Ok(Self { name, nodes, cluster: Cluster::Kafka(Arc::new(kafka)) })
    }

    pub fn named(variable: &str) -> Option<Self> {
        let address = std::env::var(variable).ok().filter(|address| !address.is_empty());
        address.map(|it| Self { name: "Redpanda".to_owned(), nodes: 1, cluster: Cluster::Named(it) })
    }

    pub fn is_ours(&self) -> bool {
        !matches!(self.cluster, Cluster::Named(_))
    }

    /// What can be killed.
    pub fn kafka(&self) -> Option<Arc<Kafka>> {
        if let Cluster::Kafka(kafka) = &self.cluster { Some(Arc::clone(kafka)) } else { None }
    }

    pub fn has(&self, door: Door) -> bool {
        self.is_ours() || door == Door::Plaintext
    }

    pub async fn open(&self, door: Door) -> Outcome<Open> {
        match &self.cluster {
            Cluster::Kafka(kafka) => {
                let files = kafka.directory().ok_or("a cluster of our own")?.join("tls");
                let [ca, cert, key] = ["ca.crt", "client.crt", "client.key"].map(|name| files.join(name));
                let config = through(door, kafka.listener(door.listener()), ca, [cert, key])?;
                Ok(Open { config, _broker: None })
            }
            Cluster::Named(address) => {
                let config = ClientConfig { bootstrap_servers: vec![address.clone()], ..Default::default() };
                Ok(Open { config, _broker: None })
            }
            Cluster::Embedded(profile) => embedded(*profile, door).await,
        }
    }
}

fn through(door: Door, servers: String, ca: PathBuf, certificate: [PathBuf; 2]) -> Outcome<ClientConfig> {
    let [cert, key] = certificate.map(|file| Some(file).filter(|_| door == Door::Ssl));
    let options = TlsOptions { ca_file: Some(ca), cert_file: cert, key_file: key, ..TlsOptions::default() };
    let tls = (door != Door::Plaintext).then(|| Tls::new(options)).transpose()?;
    let sasl = (door == Door::SaslSsl).then(|| Sasl::ScramSha512(Login::new("alice", "alice-secret")));
    Ok(ClientConfig { bootstrap_servers: vec![servers], tls, sasl, ..Default::default() })
}

async fn embedded(profile: Profile, door: Door) -> Outcome<Open> {
    let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/tls/testdata").join(name);
    let tls = (door != Door::Plaintext).then(|| devbroker::TlsOptions {
        cert_file: file("server.pem"),
        key_file: file("server.key.pem"),
        client_ca_file: (door == Door::Ssl).then(|| file("ca.pem")),
    });
    let users = vec![User::new("alice", "alice-secret")];
    let mechanisms = vec![Mechanism::ScramSha512];
    let sasl = (door == Door::SaslSsl).then_some(SaslConfig { mechanisms, users, session_lifetime: None });
    let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..Default::default() };
    let broker = DevBroker::start(devbroker::Config { profile, tls, sasl, groups, ..Default::default() }).await?;
    let certificate = [file("client.pem"), file("client.key.pem")];
    let config = through(door, broker.bootstrap_servers(), file("ca.pem"), certificate)?;
    Ok(Open { config, _broker: Some(broker) })
}
