//! What the sink needs of a store, and the two that there are.

mod embedded;
mod mongodb;

use async_trait::async_trait;

use super::Document;

pub use self::mongodb::MongoStore;
pub use embedded::EmbeddedStore;

/// What became of one document of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Inserted,
    /// The same record is there already.
    Present,
    /// Another record holds this `_id`.
    Taken,
    /// The store will never take this document.
    Refused(String),
}

/// The store did not do its work, and may do it later. What of the batch was written is not known; writing it again is
/// safe, because of the `_id`s.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{store}: {reason}")]
pub struct StoreError {
    /// Which store, in words for an operator.
    pub store: String,
    pub reason: String,
}

/// Documents by `_id`, in collections.
#[async_trait]
pub trait DocumentStore: Send + Sync {
    /// Writes what is not there yet; one outcome for each document, in order. When this returns, what it says it wrote
    /// outlives a killed process.
    async fn insert(&self, batch: &[Document]) -> Result<Vec<Outcome>, StoreError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// How many documents a collection holds.
    async fn count(&self, collection: &str) -> Result<u64, StoreError>;

    async fn get(&self, collection: &str, id: &str) -> Result<Option<bson::Document>, StoreError>;
}

#[cfg(test)]
mod tests;
