//! Documents in a directory: BSON by `_id`, in a log-structured tree (fjall).
//!
//! A batch is one atomic write to the tree's journal, handed to the operating system before it is answered: a killed
//! process loses nothing that was answered; a power cut may lose what the system had not put on the disk yet.
//!
//! A write that fails poisons the open tree: what of it is in the journal is not known. The tree is closed then, and opened
//! anew by whoever comes next, which recovers the journal up to its last whole batch; as long as that fails too (a full disk
//! is still full), the store is away.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
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
    /// "Is it there?" and "write it" are two steps; one user at a time makes them one. `None` after a failed write.
    tree: Mutex<Option<Tree>>,
}

struct Tree {
    database: Database,
    collections: HashMap<String, Keyspace>,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EmbeddedStore").field(&self.inner.dir).finish()
    }
}

impl EmbeddedStore {
    pub async fn open(dir: PathBuf) -> Result<Self, StoreError> {
        let opened = blocking(move || {
            let tree = Tree::open(&dir).map_err(|error| failed(&dir, &error))?;
            Ok(Inner { dir, tree: Mutex::new(Some(tree)) })
        });
        Ok(Self { inner: Arc::new(opened.await?) })
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tree) -> fjall::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.with(work).map_err(|error| failed(&inner.dir, &error))).await
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

fn failed(dir: &Path, error: &fjall::Error) -> StoreError {
    StoreError { store: format!("embedded store in {}", dir.display()), reason: error.to_string() }
}

impl Inner {
    fn with<T>(&self, work: impl FnOnce(&mut Tree) -> fjall::Result<T>) -> fjall::Result<T> {
        let mut held = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        let tree = match &mut *held {
            Some(tree) => tree,
            closed => closed.insert(Tree::open(&self.dir)?),
        };
        work(tree).inspect_err(|_| *held = None)
    }
}

impl Tree {
    fn open(dir: &Path) -> fjall::Result<Self> {
        let builder = Database::builder(dir);
        let builder = builder.cache_size(CACHE_BYTES).max_journaling_size(JOURNAL_BYTES_MAX).worker_threads(1);
        Ok(Self { database: builder.open()?, collections: HashMap::new() })
    }

    fn collection(&mut self, name: &str) -> fjall::Result<Keyspace> {
        if let Some(open) = self.collections.get(name) {
            return Ok(open.clone());
        }
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let opened = self.database.keyspace(name, options)?;
        self.collections.insert(name.to_owned(), opened.clone());
        Ok(opened)
    }

    fn insert(&mut self, batch: &[Encoded]) -> fjall::Result<Vec<Outcome>> {
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
        let mut outcomes = self.with(move |tree| tree.insert(&good)).await?;
        for (index, outcome) in refused {
            outcomes.insert(index, outcome);
        }
        Ok(outcomes)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.with(|_| Ok(())).await
    }

    async fn count(&self, collection: &str) -> Result<u64, StoreError> {
        let name = collection.to_owned();
        self.with(move |tree| Ok(tree.collection(&name)?.len()? as u64)).await
    }

    async fn get(&self, collection: &str, id: &str) -> Result<Option<bson::Document>, StoreError> {
        let (name, id) = (collection.to_owned(), id.to_owned());
        let found = self.with(move |tree| tree.collection(&name)?.get(&id)).await?;
        let decoded = found.map(|bytes| bson::deserialize_from_slice(&bytes)).transpose();
        decoded.map_err(|error| StoreError { store: format!("{self:?}"), reason: error.to_string() })
    }
}
