//! The history in Redis: one sorted set a partition, by time; one pipelined batch a round, whatever the number of groups.
//!
//! A set's key has the topic's id where brokers tell it (Kafka 2.8, KIP-516): a topic that was deleted and made anew while no
//! monitor was looking has a history of its own, and that of its former life goes away by itself.
//!
//! Each write is a small script, called by its hash: it adds the sample, cuts off what is older than the window exactly
//! (by score), and renews the key's time to live, so that a partition nobody reads any more goes away by itself. A server
//! that has forgotten the script (it was restarted, or `SCRIPT FLUSH`) is given it again.

use std::collections::HashMap;
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, SortedSetsInterface};
use fred::types::config::{Config, ReconnectPolicy};
use fred::types::scripts::Script;
use fred::types::{Builder, ClusterHash, CustomCommand, Value};
use tokio_util::task::AbortOnDropHandle;

use crate::client::{TopicId, TopicPartition};
use crate::lag::Sample;

/// How far back the history reaches.
const WINDOW: Duration = Duration::from_secs(6 * 3600);
/// A round does not wait longer than this for Redis.
const TIMEOUT: Duration = Duration::from_secs(2);

/// KEYS[1]: the partition's set. ARGV: the sample's time, the sample, the oldest time to keep, the time to live.
const APPEND: &str = "redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2]) \
     redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[3]) \
     redis.call('PEXPIRE', KEYS[1], ARGV[4]) \
     return redis.status_reply('OK')";

/// A partition, and in which life of its topic.
pub type Life = (TopicPartition, Option<TopicId>);

/// Redis did not do its part.
#[derive(Debug, thiserror::Error)]
#[error("Redis: {0}")]
pub struct StoreError(pub(super) String);

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// A connection that is opened at the first use, and reopened when it was lost. It is given up after anything that goes wrong:
/// a host that has vanished never closes it, and a master that is one no more goes on refusing what is written to it.
#[derive(Debug)]
pub(super) struct Connection {
    url: String,
    timeout: Duration,
    pub(super) open: Option<(Client, Task)>,
}

/// What a client is moved by; it would outlive all of the client's handles.
type Task = AbortOnDropHandle<Result<(), Error>>;

impl Connection {
    /// Nothing on it takes longer than `timeout`.
    pub(super) fn new(url: &str, timeout: Duration) -> Self {
        Self { url: url.to_owned(), timeout, open: None }
    }

    pub(super) async fn client(&mut self) -> Result<Client, Error> {
        if let Some((client, _)) = &self.open {
            return Ok(client.clone());
        }
        let (client, task) = connect(&self.url, self.timeout).await?;
        self.open = Some((client.clone(), task));
        Ok(client)
    }

    /// What was done on it.
    pub(super) fn done<T>(&mut self, done: Result<T, Error>) -> Result<T, Error> {
        if done.is_err() {
            self.open = None;
        }
        done
    }
}

/// The samples of each partition.
#[derive(Debug)]
pub struct RedisStore {
    prefix: String,
    script: Script,
    connection: Connection,
}

impl RedisStore {
    /// Whether this is a URL of a Redis: a wrong one is better refused before anything runs.
    pub fn check_url(url: &str) -> Result<(), StoreError> {
        // Whatever the scheme is, fred takes it for `redis`.
        let known = ["redis", "valkey"].into_iter().any(|scheme| url.starts_with(scheme));
        match known {
            true => Ok(Config::from_url(url).map(drop)?),
            false => Err(StoreError("it begins with neither redis:// nor rediss://".to_owned())),
        }
    }

    /// `redis://`, `rediss://`, `redis-cluster://` and `redis-sentinel://` URLs. Nothing is connected yet.
    pub fn new(url: &str, prefix: &str) -> Self {
        let connection = Connection::new(url, TIMEOUT);
        Self { prefix: prefix.to_owned(), script: Script::from_lua(APPEND), connection }
    }

    /// Adds one sample a partition.
    pub async fn append(&mut self, samples: &[(Life, Sample)]) -> Result<(), StoreError> {
        let client = self.connection.client().await?;
        let done = match self.try_append(&client, samples).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => self.load_and_append(&client, samples).await,
            done => done,
        };
        Ok(self.connection.done(done)?)
    }

    /// Samples of these partitions, oldest first.
    pub async fn read(&mut self, partitions: &[Life]) -> Result<HashMap<TopicPartition, Vec<Sample>>, StoreError> {
        if partitions.is_empty() {
            return Ok(HashMap::new());
        }
        let client = self.connection.client().await?;
        let sets = self.try_read(&client, partitions).await;
        let sets = self.connection.done(sets)?;
        let samples = sets.iter().map(|set| set.iter().filter_map(|text| parse(text)).collect());
        Ok(partitions.iter().map(|(partition, _)| partition.clone()).zip(samples).collect())
    }

    async fn try_read(&self, client: &Client, partitions: &[Life]) -> Result<Vec<Vec<String>>, Error> {
        let pipeline = client.pipeline();
        for life in partitions {
            let _: () = pipeline.zrange(self.key(life), 0, -1, None, false, None, false).await?;
        }
        pipeline.all().await
    }

    async fn load_and_append(&self, client: &Client, samples: &[(Life, Sample)]) -> Result<(), Error> {
        self.script.load(client).await?;
        self.try_append(client, samples).await
    }

    async fn try_append(&self, client: &Client, samples: &[(Life, Sample)]) -> Result<(), Error> {
        let pipeline = client.pipeline();
        let window = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
        for (life, sample) in samples {
            let text = format!("{}:{}:{}", sample.asked_ms, sample.answered_ms, sample.end_offset);
            let oldest = sample.answered_ms - window;
            let key = self.key(life);
            let call = CustomCommand::new_static("EVALSHA", ClusterHash::Offset(2), false);
            let sha: Value = self.script.sha1().clone().into();
            let times = [sample.answered_ms.into(), text.into(), oldest.into(), window.into()];
            let args: Vec<Value> = [sha, 1.into(), key.into()].into_iter().chain(times).collect();
            let _: () = pipeline.custom(call, args).await?;
        }
        if samples.is_empty() {
            return Ok(());
        }
        let _: Vec<Value> = pipeline.all().await?;
        Ok(())
    }

    /// The braces keep a partition's key in one slot of a cluster, whatever is added around them.
    fn key(&self, (partition, topic_id): &Life) -> String {
        let key = format!("{}:lag:{{{partition}}}", self.prefix);
        topic_id.map_or_else(|| key.clone(), |id| format!("{key}:{id}"))
    }
}

async fn connect(url: &str, timeout: Duration) -> Result<(Client, Task), Error> {
    let mut builder = Builder::from_config(Config::from_url(url)?);
    builder.set_policy(ReconnectPolicy::new_exponential(0, 100, 5_000, 2));
    builder.with_performance_config(|performance| performance.default_command_timeout = timeout);
    builder.with_connection_config(|connection| {
        connection.connection_timeout = timeout;
        connection.internal_command_timeout = timeout;
    });
    let client = builder.build()?;
    let task = client.init().await?;
    Ok((client, AbortOnDropHandle::new(task)))
}

fn parse(text: &str) -> Option<Sample> {
    let mut numbers = text.split(':').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Sample { asked_ms: next()?, answered_ms: next()?, end_offset: next()? })
}

#[cfg(test)]
mod tests {
    use fred::interfaces::LuaInterface;

    use super::*;
    use crate::protocol::types::Uuid;

    #[test]
    fn samples_as_text() {
        assert_eq!(parse("1:2:3"), Some(Sample { asked_ms: 1, answered_ms: 2, end_offset: 3 }));
        for wrong in ["", "1", "1:2", "1:2:x"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_topic_that_is_made_anew_has_another_key() {
        let store = RedisStore::new("redis://127.0.0.1:1", "p:c");
        let key = |id: Option<u8>| store.key(&(TopicPartition::new("t", 7), id.map(|id| Uuid([id; 16]))));
        assert_eq!(key(None), "p:c:lag:{t-7}");
        assert_eq!(key(Some(0xff)), "p:c:lag:{t-7}:_____________________w");
        assert_ne!(key(Some(1)), key(Some(2)));
    }

    #[tokio::test]
    async fn what_is_added_is_read_and_cut_by_time() {
        let Some(url) = super::super::redis_of_tests() else { return };
        let mut store = RedisStore::new(&url, &format!("test-{}", uuid::Uuid::new_v4()));
        let life = |partition, id: u8| (TopicPartition::new("t", partition), Some(Uuid([id; 16])));
        let (a, b) = (life(0, 1), life(1, 1));
        let sample = |at, end_offset| Sample { asked_ms: at, answered_ms: at + 1, end_offset };
        store.append(&[(a.clone(), sample(1_000, 5)), (b.clone(), sample(1_000, 6))]).await.unwrap();
        // A server that was restarted has forgotten the script.
        let _: () = store.connection.client().await.unwrap().script_flush(false).await.unwrap();
        let later = i64::try_from(WINDOW.as_millis()).unwrap();
        store.append(&[(a.clone(), sample(500 + later, 7))]).await.unwrap();
        store.append(&[(b.clone(), sample(2_000 + later, 8))]).await.unwrap();
        let read = store.read(&[a.clone(), b.clone(), life(2, 1)]).await.unwrap();
        assert_eq!(read[&a.0], [sample(1_000, 5), sample(500 + later, 7)]);
        assert_eq!(read[&b.0], [sample(2_000 + later, 8)], "the older one is past the window");
        assert_eq!(read[&life(2, 1).0], []);
        for other in [life(0, 2), (a.0.clone(), None)] {
            assert_eq!(store.read(std::slice::from_ref(&other)).await.unwrap()[&a.0], [], "another life: {other:?}");
        }
    }

    #[tokio::test]
    async fn an_unreachable_redis_is_an_error_that_ends() {
        crate::tls::install_provider().unwrap();
        let mut store = RedisStore::new("redis://127.0.0.1:1", "none");
        let error = store.append(&[]).await.unwrap_err().to_string();
        assert!(error.starts_with("Redis: "), "{error}");
    }
}
