//! Documents in MongoDB: one unordered insert a batch, taken apart by its errors.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use bson::{Bson, doc};
use futures::TryStreamExt;
use mongodb::error::{Error, ErrorKind, IndexedWriteError, InsertManyError};
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection, Database};

use super::{DocumentStore, Outcome, StoreError};
use crate::limits::Url;
use crate::sink::Document;

/// How long an operation looks for a server that answers, unless the URI says otherwise: long enough for an election,
/// short enough that an outage is noticed and said.
const SERVER_SELECTION: Duration = Duration::from_secs(5);
/// The server's code for an `_id` that is there already.
const DUPLICATE_KEY: i32 = 11000;
/// Codes that speak of the document: a bad value, a wrong type, a number out of range, broken BSON, a field's name, a
/// collection's validation, a key or a document that is too large. Whatever else a server says passes with time, or when
/// somebody mends it, and is no reason to leave a value behind.
const REFUSALS: [i32; 15] = [2, 14, 15, 22, 52, 53, 54, 55, 56, 57, 121, 10334, 17280, 17419, 17420];

/// A database of a MongoDB deployment.
#[derive(Debug, Clone)]
pub struct MongoStore {
    database: Database,
    address: String,
}

impl MongoStore {
    /// Opens the database that the URI names, else `database`. Nothing is connected yet: an outage now is no different
    /// from one later.
    pub async fn open(uri: &Url, database: &str) -> Result<Self, StoreError> {
        let reason = |error: Error| match uri.is_clear() {
            true => error.to_string(),
            // What the driver says quotes what it takes for a host.
            false => "it is not mongodb://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?OPTION=VALUE]; what is special in a \
                      password is percent-encoded"
                .to_owned(),
        };
        let wrong = |error| StoreError { store: format!("MongoDB URI {uri}"), reason: reason(error) };
        let mut options = ClientOptions::parse(uri.reveal()).await.map_err(wrong)?;
        options.app_name.get_or_insert_with(|| "highwater".to_owned());
        options.server_selection_timeout.get_or_insert(SERVER_SELECTION);
        let name = options.default_database.clone().unwrap_or_else(|| database.to_owned());
        let hosts: Vec<_> = options.hosts.iter().map(ToString::to_string).collect();
        let client = Client::with_options(options).map_err(wrong)?;
        Ok(Self { database: client.database(&name), address: hosts.join(",") })
    }

    fn collection(&self, name: &str) -> Collection<bson::Document> {
        self.database.collection(name)
    }

    fn outage(&self, reason: impl std::fmt::Display) -> StoreError {
        StoreError { store: format!("MongoDB at {}", self.address), reason: reason.to_string() }
    }

    /// Writes documents of one collection.
    async fn insert_into(&self, collection: &str, batch: &[&Document]) -> Result<Vec<Outcome>, StoreError> {
        let bodies = batch.iter().map(|document| &document.body);
        let inserted = self.collection(collection).insert_many(bodies).ordered(false).await;
        let Err(error) = inserted else { return Ok(vec![Outcome::Inserted; batch.len()]) };
        match *error.kind {
            ErrorKind::InsertMany(failures) => self.taken_apart(collection, batch, failures).await,
            _ if is_outage(&error) => Err(self.outage(error)),
            // One document made the driver or the server refuse the whole batch: find it by trying each alone.
            _ if batch.len() > 1 => self.one_by_one(collection, batch).await,
            _ => Ok(vec![Outcome::Refused(error.to_string())]),
        }
    }

    async fn one_by_one(&self, collection: &str, batch: &[&Document]) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for document in batch {
            outcomes.extend(Box::pin(self.insert_into(collection, &[document])).await?);
        }
        Ok(outcomes)
    }

    async fn taken_apart(
        &self,
        collection: &str,
        batch: &[&Document],
        failures: InsertManyError,
    ) -> Result<Vec<Outcome>, StoreError> {
        if let Some(error) = failures.write_concern_error {
            return Err(self.outage(format!("write concern: {}", error.message)));
        }
        let failures = failures.write_errors.unwrap_or_default();
        if let Some(failure) = failures.iter().find(|it| it.code != DUPLICATE_KEY && !REFUSALS.contains(&it.code)) {
            return Err(self.outage(&failure.message));
        }
        let mut outcomes = vec![Outcome::Inserted; batch.len()];
        let (duplicates, refused): (Vec<_>, Vec<_>) = failures.into_iter().partition(|f| f.code == DUPLICATE_KEY);
        for IndexedWriteError { index, code, message, .. } in refused {
            if let Some(outcome) = outcomes.get_mut(index) {
                *outcome = Outcome::Refused(format!("{message} (code {code})"));
            }
        }
        let duplicates: Vec<usize> =
            duplicates.into_iter().map(|failure| failure.index).filter(|i| *i < batch.len()).collect();
        if !duplicates.is_empty() {
            let ids = duplicates.iter().map(|index| batch[*index].id.as_str());
            let there = self.timestamps(collection, ids).await?;
            for index in duplicates {
                let same = there.get(&batch[index].id) == Some(&batch[index].timestamp_ms);
                outcomes[index] = if same { Outcome::Present } else { Outcome::Taken };
            }
        }
        Ok(outcomes)
    }

    /// The times of the records that hold these `_id`s.
    async fn timestamps<'a>(
        &self,
        collection: &str,
        ids: impl Iterator<Item = &'a str>,
    ) -> Result<HashMap<String, i64>, StoreError> {
        let ids: Vec<Bson> = ids.map(Bson::from).collect();
        let collection = self.collection(collection);
        let found = collection.find(doc! { "_id": { "$in": ids } });
        let found = found.projection(doc! { "_kafka.timestamp": 1 }).await.map_err(|error| self.outage(error))?;
        let found: Vec<_> = found.try_collect().await.map_err(|error| self.outage(error))?;
        let time = |document: &bson::Document| {
            let time = document.get_document("_kafka").ok()?.get_datetime("timestamp").ok()?;
            Some((document.get_str("_id").ok()?.to_owned(), time.timestamp_millis()))
        };
        Ok(found.iter().filter_map(time).collect())
    }
}

/// Whether the same batch may pass later. Only what speaks of the documents themselves may not.
fn is_outage(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::InvalidArgument { .. } | ErrorKind::Bson(_) => false,
        ErrorKind::BsonSerialization(_) | ErrorKind::BsonDeserialization(_) => false,
        // 10334 BSONObjectTooLarge, 17420 and 2 BadValue: the request itself is wrong.
        ErrorKind::Command(command) => ![2, 10334, 17419, 17420].contains(&command.code),
        _ => true,
    }
}

#[async_trait]
impl DocumentStore for MongoStore {
    async fn insert(&self, batch: &[Document]) -> Result<Vec<Outcome>, StoreError> {
        let mut by_collection: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, document) in batch.iter().enumerate() {
            by_collection.entry(&document.collection).or_default().push(index);
        }
        let mut outcomes = vec![Outcome::Present; batch.len()];
        for (collection, indexes) in by_collection {
            let documents: Vec<_> = indexes.iter().map(|index| &batch[*index]).collect();
            let written = self.insert_into(collection, &documents).await?;
            for (index, outcome) in indexes.into_iter().zip(written) {
                outcomes[index] = outcome;
            }
        }
        Ok(outcomes)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let answered = self.database.run_command(doc! { "ping": 1 }).await;
        answered.map(|_| ()).map_err(|error| self.outage(error))
    }

    async fn count(&self, collection: &str) -> Result<u64, StoreError> {
        let collection = self.collection(collection);
        collection.count_documents(doc! {}).await.map_err(|error| self.outage(error))
    }

    async fn get(&self, collection: &str, id: &str) -> Result<Option<bson::Document>, StoreError> {
        let collection = self.collection(collection);
        collection.find_one(doc! { "_id": id }).await.map_err(|error| self.outage(error))
    }
}
