//! Documents in a directory: BSON by `_id`, in a log-structured tree (fjall).
//!
//! A batch is one atomic write to the tree's journal, handed to the operating system before it is answered: a killed
//! process loses nothing that was answered; a power cut may lose what the system had not put on the disk yet.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bson::RawDocument;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{DocumentStore, Outcome, StoreError};
use crate::sink::Document;

/// Small on purpose: this store runs beside everything else on a developer's machine.
const CACHE_BYTES: u64 = 8 << 20;
const MEMTABLE_BYTES: u64 = 8 << 20;
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// A cheap handle on the open directory.
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    database: Database,
    collections: Mutex<HashMap<String, Keyspace>>,
    /// "Is it there?" and "write it" are two steps; one writer at a time makes them one.
    writing: Mutex<()>,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EmbeddedStore").field(&self.inner.dir).finish()
    }
}

impl EmbeddedStore {
    pub async fn open(dir: PathBuf) -> Result<Self, StoreError> {
        let opened = blocking(move || {
            let builder = Database::builder(&dir);
            let builder = builder.cache_size(CACHE_BYTES).max_journaling_size(JOURNAL_BYTES_MAX).worker_threads(1);
            let database = builder.open().map_err(|error| failed(&dir, &error))?;
            Ok(Inner { dir, database, collections: Mutex::default(), writing: Mutex::default() })
        });
        Ok(Self { inner: Arc::new(opened.await?) })
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> fjall::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner).map_err(|error| failed(&inner.dir, &error))).await
    }
}

/// The tree reads and writes files, so it stays off the threads that serve connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(StoreError { store: "embedded store".to_owned(), reason: error.to_string() }),
    }
}

fn failed(dir: &std::path::Path, error: &fjall::Error) -> StoreError {
    StoreError { store: format!("embedded store in {}", dir.display()), reason: error.to_string() }
}

impl Inner {
    fn collection(&self, name: &str) -> fjall::Result<Keyspace> {
        let mut collections = self.collections.lock().unwrap_or_else(PoisonError::into_inner);
        match collections.entry(name.to_owned()) {
            Entry::Occupied(open) => Ok(open.get().clone()),
            Entry::Vacant(free) => {
                let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
                Ok(free.insert(self.database.keyspace(name, options)?).clone())
            }
        }
    }

    fn insert(&self, batch: &[Encoded]) -> fjall::Result<Vec<Outcome>> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut write = self.database.batch().durability(Some(PersistMode::Buffer));
        let mut new: HashMap<(&str, &str), i64> = HashMap::new();
        let mut outcomes = Vec::with_capacity(batch.len());
        for document in batch {
            let collection = self.collection(&document.collection)?;
            let there = match new.get(&(document.collection.as_str(), document.id.as_str())) {
                Some(timestamp) => Some(Some(*timestamp)),
                None => collection.get(&document.id)?.map(|bytes| timestamp_of(&bytes)),
            };
            outcomes.push(match there {
                Some(timestamp) if timestamp == Some(document.timestamp_ms) => Outcome::Present,
                Some(_) => Outcome::Taken,
                None => {
                    new.insert((&document.collection, &document.id), document.timestamp_ms);
                    write.insert(&collection, document.id.as_str(), document.bytes.as_slice());
                    Outcome::Inserted
                }
            });
        }
        write.commit()?;
        Ok(outcomes)
    }
}

/// A document as its bytes.
struct Encoded {
    collection: String,
    id: String,
    timestamp_ms: i64,
    bytes: Vec<u8>,
}

fn encode(document: &Document) -> Result<Encoded, String> {
    let bytes = bson::serialize_to_vec(&document.body).map_err(|error| error.to_string())?;
    let (collection, id) = (document.collection.to_string(), document.id.clone());
    Ok(Encoded { collection, id, timestamp_ms: document.timestamp_ms, bytes })
}

/// The record's time, out of a stored document.
fn timestamp_of(bytes: &[u8]) -> Option<i64> {
    let origin = RawDocument::from_bytes(bytes).ok()?.get_document("_kafka").ok()?;
    Some(origin.get_datetime("timestamp").ok()?.timestamp_millis())
}

#[async_trait]
impl DocumentStore for EmbeddedStore {
    async fn insert(&self, batch: &[Document]) -> Result<Vec<Outcome>, StoreError> {
        let (mut good, mut refused) = (Vec::with_capacity(batch.len()), Vec::new());
        for (index, document) in batch.iter().enumerate() {
            match encode(document) {
                Ok(encoded) => good.push(encoded),
                Err(reason) => refused.push((index, Outcome::Refused(reason))),
            }
        }
        let mut outcomes = self.with(move |inner| inner.insert(&good)).await?;
        for (index, outcome) in refused {
            outcomes.insert(index, outcome);
        }
        Ok(outcomes)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn count(&self, collection: &str) -> Result<u64, StoreError> {
        let name = collection.to_owned();
        self.with(move |inner| Ok(inner.collection(&name)?.len()? as u64)).await
    }

    async fn get(&self, collection: &str, id: &str) -> Result<Option<bson::Document>, StoreError> {
        let (name, id) = (collection.to_owned(), id.to_owned());
        let found = self.with(move |inner| inner.collection(&name)?.get(&id)).await?;
        let decoded = found.map(|bytes| bson::deserialize_from_slice(&bytes)).transpose();
        decoded.map_err(|error| StoreError { store: format!("{self:?}"), reason: error.to_string() })
    }
}
