//! Speaking to a cluster.
//!
//! [`Client`] is the front door: a cheap handle, made once from a [`ClientConfig`], from which [`Client::admin`] and the
//! producers and consumers are had.
//!
//! # Begin here
//!
//! ```
//! use std::time::Duration;
//!
//! use highwater::client::*;
//! # use highwater::devbroker::{Config, DevBroker, GroupConfig};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..Default::default() };
//! # let broker = DevBroker::start(Config { groups, ..Default::default() }).await?;
//! # let bootstrap_servers = vec![broker.bootstrap_servers()];
//!
//! let client = Client::connect(ClientConfig { bootstrap_servers, ..Default::default() }).await?;
//! let topic = Topic::from("orders");
//! for (_, outcome) in client.admin().create_topics(&[NewTopic::new(topic.clone()).partitions(3)]).await? {
//!     outcome?;
//! }
//!
//! let producer = client.producer(ProducerConfig::default())?;
//! let written = producer.send(ProducerRecord::new(&topic, b"two of them")).await?;
//! assert_eq!(written.offset, Some(0));
//! producer.close(Duration::from_secs(10)).await?;
//!
//! let mut consumer = client.consumer(ConsumerConfig {
//!     group_id: "billing".to_owned(),
//!     topics: vec![topic],
//!     auto_offset_reset: OffsetReset::Earliest,
//!     ..Default::default()
//! })?;
//! if let Some(delivery) = consumer.next().await {
//!     let delivery = delivery?;
//!     for record in delivery.records() {
//!         assert_eq!(record.value, Some(&b"two of them"[..]));
//!     }
//!     // Only now may its offsets be committed.
//!     delivery.finish();
//! }
//! consumer.close(Duration::from_secs(10)).await?;
//! client.close().await;
//! # Ok(broker.stop().await?)
//! # }
//! ```
//!
//! # Nouns
//!
//! - A **dial** ([`crate::net`]) reaches an address: TCP, TLS, or a pipe in memory.
//! - A **proof** ([`sasl`]) is how a broker comes to believe who we are.
//! - A **connection** ([`connection`]) is rskafka's messenger over what was dialled, served by one task.
//! - A **lane** ([`lane`]) is a connection to one broker for one kind of use, with all that stands before it: counting,
//!   the queue, the broker's throttle, reconnecting.
//! - **Metadata** ([`metadata`]) is what is known of the cluster, a value.
//! - The **cluster** ([`cluster`]) routes: it knows who is to be asked, and learns anew when that was wrong.
//!
//! # How a request flows
//!
//! `Cluster::call` finds the broker (metadata, or the coordinator of a group) → its lane for this use → queue →
//! connection → wire; the answer comes back to the caller with the version it was given in. Errors say API, broker and,
//! where there is one, the partition.
//!
//! # What must stay true
//!
//! - No call takes longer than its deadline, whatever it waits for.
//! - One lane keeps the order of its calls. Two lanes keep none.
//! - A failed call has told the cluster what it says of it before the caller hears of it.
//! - Every future here is cancel safe: it may be dropped wherever it waits, and what it belongs to goes on. What has
//!   become of what it asked for, each method says.
//!
//! # Absent on purpose
//!
//! Retries below `Cluster`: Kafka fails per partition inside a successful reply, and only whoever asked can tell. Any
//! global state: two clients share nothing.
//!
//! Builders. Each configuration is a struct of typed fields, to be written with `..Default::default()`: a setting is one name
//! in one place and can be read back, and all of them are checked together where they are used, by [`Client::connect`],
//! [`Client::producer`] and [`Client::consumer`].

pub mod admin;
pub mod broker;
pub mod circle;
pub mod cluster;
pub mod connection;
pub mod consumer;
pub mod error;
#[cfg(test)]
mod fake;
// For the fuzz targets.
#[doc(hidden)]
pub mod frames;
pub mod handshake;
pub mod lane;
pub mod layer;
pub mod metadata;
pub mod producer;
pub mod sasl;
mod tally;
#[cfg(test)]
mod tests;
mod time;

use std::fmt;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::time::bound;
pub use admin::{
    AbortTransaction, Acl, AclFilter, AclOperation, AclPattern, AclPatternFilter, AclPermission, AclResource,
    ActiveProducer, Admin, ClusterDescription, Committed, CommittedOffsets, ConfigChange, ConfigEntry, ConfigResource,
    ConfigSource, Contents, DeleteBefore, Election, EpochEnd, FencedProducer, GroupDescription, GroupEpochs,
    GroupFilter, GroupListing, GroupListings, GroupMember, GroupTopology, GroupType, IsolationLevel, ListedOffset,
    LogDir, MemberStanding, NewOffset, NewTopic, OffsetSpec, PartitionSize, ScramChange, ScramCredential,
    ScramMechanism, ShareOffset, ShareOffsets, StreamsMember, StreamsTask, StreamsTasks, Subtopology, TopicCommits,
    TransactionDescription, TransactionFilter, TransactionListing, TransactionListings, TransactionState,
};
pub use circle::{Circle, CircleConfig, Entry};
pub use cluster::{Cluster, To, Topics};
pub use consumer::{
    Assigned, Assignor, Consumer, ConsumerConfig, ConsumerStats, Delivery, DeliveryRecords, GroupProtocol, OffsetReset,
    Seek, TopicPattern,
};
pub use error::{Error, ErrorKind, NoPlace};
pub use lane::Lane;
pub use layer::observe::{ApiStats, Traffic};
pub use layer::reconnect::Backoff;
pub use metadata::{Broker, Leader, Metadata, PartitionMetadata, TopicMetadata};
pub use producer::{
    Acks, Compression, GroupMetadata, PartitionRule, Partitioner, Position, Producer, ProducerConfig, ProducerRecord,
    ProducerStats, Receipt, RecordMetadata, Transaction,
};

pub use sasl::{
    Login, Mechanism, NoToken, Oidc, OidcConfig, Password, Refusal, RefusalReason, Sasl, Secret, Token, TokenFile,
    TokenSource,
};

pub use crate::net::{Address, Dial};
pub use crate::protocol::batch::Record;
pub use crate::protocol::error::{Class, ErrorCode};
pub use crate::protocol::murmur::partition_for_key;
pub use crate::protocol::types::{BrokerId, LeaderEpoch, Offset, Topic, TopicId, TopicPartition};
pub use crate::tls::{Tls, TlsError, TlsFault, TlsOptions};

/// How to reach a cluster, and how patiently. [`Duration::MAX`] is for ever.
#[derive(Clone)]
pub struct ClientConfig {
    /// Where to ask first, as `host:port`; an entry may hold several, separated by commas.
    pub bootstrap_servers: Vec<String>,
    /// Who we are, in the brokers' logs and quotas.
    pub client_id: String,
    /// `None` for plain text.
    pub tls: Option<Tls>,
    /// `None` where brokers ask for no credentials, or for none but a certificate.
    pub sasl: Option<Sasl>,
    /// For one connection, handshake included, and for finding the cluster at first.
    pub connect_timeout: Duration,
    /// A connection that is not used for so long is closed; shorter than the ten minutes after which a broker does it.
    pub connections_max_idle: Duration,
    /// For one request that does not wait for anything but the broker.
    pub request_timeout: Duration,
    /// For one question of an [`Admin`], tries after the first included.
    pub api_timeout: Duration,
    /// What is known of the cluster is learned anew this often.
    pub metadata_max_age: Duration,
    /// Before the second try to connect to a broker; doubled with each failure.
    pub reconnect_backoff: Duration,
    pub reconnect_backoff_max: Duration,
    /// Before the second try of a request; doubled with each failure.
    pub retry_backoff: Duration,
    pub retry_backoff_max: Duration,
    /// Whether asking about a topic may create it, where the brokers allow that.
    pub allow_auto_create_topics: bool,
    /// What is drawn at random (which broker is asked first, how waits are spread) follows from this, so that a simulation
    /// can be repeated. `None` in earnest: clients that lost a broker together must not come back together.
    pub seed: Option<u64>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: vec!["localhost:9092".to_owned()],
            client_id: env!("CARGO_PKG_NAME").to_owned(),
            tls: None,
            sasl: None,
            connect_timeout: Duration::from_secs(10),
            connections_max_idle: Duration::from_secs(540),
            request_timeout: Duration::from_secs(30),
            api_timeout: Duration::from_secs(60),
            metadata_max_age: Duration::from_secs(300),
            reconnect_backoff: Duration::from_millis(50),
            reconnect_backoff_max: Duration::from_secs(1),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            allow_auto_create_topics: false,
            seed: None,
        }
    }
}

impl ClientConfig {
    /// Whether the servers can be asked at all; [`Client::connect`] would say the same.
    pub fn check(&self) -> Result<(), Error> {
        self.bootstrap().map(drop)
    }

    /// The bootstrap servers, each an address. All that are wrong are named.
    fn bootstrap(&self) -> Result<Vec<Address>, Error> {
        let entries = self.bootstrap_servers.iter().flat_map(|entry| entry.split(','));
        let entries = entries.map(str::trim).filter(|entry| !entry.is_empty());
        let (right, wrong): (Vec<_>, Vec<_>) = entries.map(Address::parse).partition(Result::is_ok);
        let wrong: Vec<_> = wrong.into_iter().filter_map(Result::err).collect();
        match (wrong.is_empty(), right.is_empty()) {
            (false, _) => Err(Error::config(format!("bootstrap servers: {}", wrong.join("; ")))),
            (true, true) => Err(Error::config("bootstrap servers: none given")),
            (true, false) => Ok(right.into_iter().flatten().collect()),
        }
    }

    /// With times that can be reckoned with.
    fn bounded(mut self) -> Self {
        bound([
            &mut self.connect_timeout,
            &mut self.connections_max_idle,
            &mut self.request_timeout,
            &mut self.api_timeout,
            &mut self.metadata_max_age,
            &mut self.reconnect_backoff,
            &mut self.reconnect_backoff_max,
            &mut self.retry_backoff,
            &mut self.retry_backoff_max,
        ]);
        self
    }

    fn chance(&self) -> SmallRng {
        self.seed.map_or_else(SmallRng::from_os_rng, SmallRng::seed_from_u64)
    }

    fn retry_backoff(&self) -> Backoff {
        Backoff { first: self.retry_backoff, most: self.retry_backoff_max, seed: self.seed }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("client_id", &self.client_id)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .finish_non_exhaustive()
    }
}

/// A handle on a cluster; cheap to clone. When the last handle goes, and all that was made from it, connections end.
#[derive(Debug, Clone)]
pub struct Client {
    cluster: Cluster,
}

impl Client {
    /// Finds the cluster. Fails within the connect timeout, with every address that was tried and what became of it.
    pub async fn connect(config: ClientConfig) -> Result<Self, Error> {
        let dial = crate::net::tcp(config.tls.clone(), config.connect_timeout);
        Self::connect_over(config, dial).await
    }

    /// The same, over streams that the caller makes.
    pub async fn connect_over(config: ClientConfig, dial: Dial) -> Result<Self, Error> {
        Ok(Self { cluster: Cluster::connect(config, dial).await? })
    }

    /// Starts a producer; must be called within a tokio runtime. A configuration that has mistakes is refused, with all of them
    /// (see [`ProducerConfig::check`]).
    pub fn producer(&self, config: ProducerConfig) -> Result<Producer, Error> {
        Producer::new(self.cluster.clone(), config)
    }

    pub fn admin(&self) -> Admin {
        Admin::new(self.cluster.clone())
    }

    /// A member of a group, which begins to join at once.
    pub fn consumer(&self, config: ConsumerConfig) -> Result<Consumer, Error> {
        Consumer::start(&self.cluster, config)
    }

    /// Reads these partitions outside of any group, each from an offset or, without one, from where
    /// [`auto_offset_reset`](ConsumerConfig::auto_offset_reset) says. Nothing is committed; what concerns groups in the
    /// configuration is not used. Of a partition that is given twice, the first offset counts; one below zero is refused.
    pub fn reader(
        &self,
        config: ConsumerConfig,
        partitions: Vec<(TopicPartition, Option<Offset>)>,
    ) -> Result<Consumer, Error> {
        Consumer::assigned(&self.cluster, config, partitions, false)
    }

    /// Reads these partitions with the offsets of a group, without being a member of it: nobody else is assigned, and
    /// nothing moves. Each partition begins at its offset or, without one, at what the group has committed, and else where
    /// [`auto_offset_reset`](ConsumerConfig::auto_offset_reset) says; of one that is given twice, the first counts, and an
    /// offset below zero is refused. What is finished is committed as by a member;
    /// [`instance_id`](ConsumerConfig::instance_id), topics and all that concerns joining are not used.
    ///
    /// Two consumers of one partition overwrite each other's commits; and as long as the group has members, it refuses
    /// these commits ([`ErrorCode::UNKNOWN_MEMBER_ID`]).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use highwater::client::*;
    /// # use highwater::devbroker::{Config, DevBroker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let broker = DevBroker::start(Config::default()).await?;
    /// # let bootstrap_servers = vec![broker.bootstrap_servers()];
    /// # let config = ClientConfig { bootstrap_servers, allow_auto_create_topics: true, ..Default::default() };
    /// # let client = Client::connect(config).await?;
    /// # let topic = Topic::from("orders");
    /// # let producer = client.producer(ProducerConfig::default())?;
    /// # for value in [b"a", b"b", b"c"] {
    /// #     producer.send(ProducerRecord::new(&topic, value)).await?;
    /// # }
    /// let orders = TopicPartition::new(topic, 0);
    /// let config = ConsumerConfig {
    ///     group_id: "billing".to_owned(),
    ///     auto_offset_reset: OffsetReset::Earliest,
    ///     auto_commit: false,
    ///     ..Default::default()
    /// };
    /// let mut consumer = client.assign(config.clone(), vec![(orders.clone(), None)])?;
    /// let delivery = consumer.next().await.ok_or("closed")??;
    /// // All that came is committed with the delivery's own position...
    /// consumer.commit_offsets([delivery.position()]).await?;
    /// // ...or some of it.
    /// let position = Position { offset: 1, ..delivery.position() };
    /// consumer.commit_offsets([position]).await?;
    /// delivery.finish();
    /// consumer.close(Duration::from_secs(10)).await?;
    ///
    /// let mut next = client.assign(config, vec![(orders, None)])?;
    /// let delivery = next.next().await.ok_or("closed")??;
    /// assert_eq!(delivery.records().next().map(|record| record.offset), Some(1));
    /// # drop(delivery);
    /// # next.close(Duration::from_secs(10)).await?;
    /// # Ok(broker.stop().await?)
    /// # }
    /// ```
    pub fn assign(
        &self,
        config: ConsumerConfig,
        partitions: Vec<(TopicPartition, Option<Offset>)>,
    ) -> Result<Consumer, Error> {
        // A group waits for no member of the kind, so its patience takes nothing from the time for the last commit.
        let (session_timeout, max_poll_interval) = (Duration::MAX, Duration::MAX);
        let config = ConsumerConfig { instance_id: None, session_timeout, max_poll_interval, ..config };
        Consumer::assigned(&self.cluster, config, partitions, true)
    }

    /// A group of a kind of one's own, in which this process has nothing yet.
    pub fn circle(&self, config: CircleConfig) -> Circle {
        Circle::new(self.cluster.clone(), config)
    }

    /// How many partitions a topic has; `None` if there is no such topic.
    pub async fn partition_count(&self, topic: &Topic) -> Result<Option<i32>, Error> {
        if let Some(count) = self.cluster.metadata().partition_count(topic) {
            return Ok(Some(count));
        }
        let known = self.cluster.refresh(Topics::Once(vec![topic.clone()])).await?;
        match (known.partition_count(topic), known.topic(topic).and_then(|it| it.error)) {
            (Some(count), _) => Ok(Some(count)),
            (None, Some(code)) if code != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => Err(code.into()),
            (None, _) => Ok(None),
        }
    }

    /// What was counted of the requests of this client, by API.
    pub fn stats(&self) -> Vec<ApiStats> {
        self.cluster.stats()
    }

    /// The connections of this client, and the bytes that went over them.
    pub fn traffic(&self) -> Traffic {
        self.cluster.traffic()
    }

    /// Ends every connection; who still waits is told that the client is closed. Close producers and consumers first.
    pub async fn close(&self) {
        self.cluster.close();
        tokio::task::yield_now().await;
    }

    /// For requests that nothing else here makes.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}
