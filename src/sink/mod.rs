//! Records into documents, each once.
//!
//! A record flows: consumer → [`document`](document()) (pure: one record, one document, an `_id` that follows from its
//! place) → a batch → [`DocumentStore::insert`] → *finished*, and so free to be committed.
//!
//! What must stay true:
//! - the `_id` is `topic#partition#offset`, so a record that is read twice is stored once: a store's "there already" counts
//!   as stored. A topic that was deleted and made again starts anew at offset 0; so when *another* record holds the
//!   `_id`, this one is stored beside it, under an `_id` with its timestamp added;
//! - **an outage is not a poison pill**: a store that cannot answer is asked again, without limit, and meanwhile nothing is
//!   committed and reading stops at the consumer's memory bound;
//! - one document that a store refuses stands for itself alone: the others of its batch are written, and it is replaced by
//!   a document without the value, which says why and where the record is.
//!
//! Deliberately absent: knowledge of what the records mean. A value that is no JSON object is stored too, as it is.

mod document;
mod metrics;
mod run;
mod store;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::client::Topic;
use crate::limits::{Limits, Url};

pub use document::{Document, document};
pub use metrics::{Counters, Metrics, Summary};
pub use run::run;
pub use store::{DocumentStore, EmbeddedStore, MongoStore, Outcome, StoreError};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub group_id: String,
    /// Each topic's records go into a collection of the topic's name.
    pub topics: Vec<Topic>,
    pub store: StoreConfig,
    /// Documents written at once.
    pub batch_documents_max: usize,
    /// Batches on their way to the store at once. Full: reading waits.
    pub batches_in_flight_max: usize,
    /// How long stopping waits for what is in flight; what is not stored by then is read again at the next start.
    pub drain_seconds: u64,
}

/// Where documents are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum StoreConfig {
    /// In a directory of ours.
    Embedded { dir: PathBuf },
    MongoDb {
        uri: Url,
        /// Where the URI names none.
        #[serde(default = "database")]
        database: String,
    },
}

fn database() -> String {
    "pubsub_data".to_owned()
}

impl StoreConfig {
    /// In a MongoDB, in the database that is set already, else the usual one.
    pub fn mongodb(&self, uri: &Url) -> Self {
        let database = match self {
            Self::MongoDb { database, .. } => database.clone(),
            Self::Embedded { .. } => database(),
        };
        Self::MongoDb { uri: uri.clone(), database }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            group_id: "data-consumer-group".to_owned(),
            topics: ["data-topic", "processed-user-login", "log-events"].map(Topic::from).into(),
            store: StoreConfig::Embedded { dir: PathBuf::from("highwater-data/documents") },
            batch_documents_max: 1000,
            batches_in_flight_max: 4,
            drain_seconds: 4,
        }
    }
}

impl Config {
    /// Holds what was set against what makes sense.
    pub fn check(&self, limits: &mut Limits) {
        limits.not_empty("group_id", &self.group_id);
        limits.must(!self.topics.is_empty(), "topics", &self.topics, "at least one topic");
        for topic in &self.topics {
            limits.topic("topics", topic);
        }
        match &self.store {
            StoreConfig::Embedded { dir } => limits.not_empty("store.embedded.dir", &dir.to_string_lossy()),
            StoreConfig::MongoDb { uri, database } => {
                limits.not_empty("store.mongodb.uri", uri.reveal());
                limits.not_empty("store.mongodb.database", database);
            }
        }
        limits.within("batch_documents_max", self.batch_documents_max, 1..=100_000);
        limits.within("batches_in_flight_max", self.batches_in_flight_max, 1..=256);
        limits.within("drain_seconds", self.drain_seconds, 1..=300);
    }

    fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

/// Opens what the configuration names.
pub async fn open(config: &StoreConfig) -> Result<Box<dyn DocumentStore>, StoreError> {
    Ok(match config {
        StoreConfig::Embedded { dir } => Box::new(EmbeddedStore::open(dir.clone()).await?),
        StoreConfig::MongoDb { uri, database } => Box::new(MongoStore::open(uri, database).await?),
    })
}
