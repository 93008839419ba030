//! The history in Redis: one sorted set a partition, by time; one pipelined batch a round, whatever the number of groups.
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

use crate::client::TopicPartition;
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

/// Redis did not do its part.
#[derive(Debug, thiserror::Error)]
#[error("Redis: {0}")]
pub struct StoreError(String);

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

/// A connection that is opened at the first use and reopened when it was lost.
#[derive(Debug)]
pub struct RedisStore {
    url: String,
    prefix: String,
    script: Script,
    client: Option<Client>,
}

impl RedisStore {
    /// Whether this is a URL of a Redis: a wrong one is better refused before anything runs.
    pub fn check_url(url: &str) -> Result<(), StoreError> {
        Ok(Config::from_url(url).map(drop)?)
    }

    /// `redis://`, `rediss://`, `redis-cluster://` and `redis-sentinel://` URLs. Nothing is connected yet.
    pub fn new(url: &str, prefix: &str) -> Self {
        let (url, prefix) = (url.to_owned(), prefix.to_owned());
        Self { url, prefix, script: Script::from_lua(APPEND), client: None }
    }

    /// Adds one sample a partition.
    pub async fn append(&mut self, samples: &[(&TopicPartition, Sample)]) -> Result<(), StoreError> {
        let client = self.connected().await?;
        match self.try_append(&client, samples).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                self.script.load(&client).await?;
                Ok(self.try_append(&client, samples).await?)
            }
            done => Ok(done?),
        }
    }

    /// Samples of these partitions, oldest first.
    pub async fn read(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Vec<Sample>>, StoreError> {
        if partitions.is_empty() {
            return Ok(HashMap::new());
        }
        let client = self.connected().await?;
        let pipeline = client.pipeline();
        for partition in partitions {
            let _: () = pipeline.zrange(self.key(partition), 0, -1, None, false, None, false).await?;
        }
        let sets: Vec<Vec<String>> = pipeline.all().await?;
        let samples = sets.iter().map(|set| set.iter().filter_map(|text| parse(text)).collect());
        Ok(partitions.iter().cloned().zip(samples).collect())
    }

    async fn try_append(&self, client: &Client, samples: &[(&TopicPartition, Sample)]) -> Result<(), Error> {
        let pipeline = client.pipeline();
        let window = i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX);
        for (partition, sample) in samples {
            let text = format!("{}:{}:{}", sample.asked_ms, sample.answered_ms, sample.end_offset);
            let oldest = sample.answered_ms - window;
            let key = self.key(partition);
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
    fn key(&self, partition: &TopicPartition) -> String {
        format!("{}:lag:{{{partition}}}", self.prefix)
    }

    async fn connected(&mut self) -> Result<Client, StoreError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let mut builder = Builder::from_config(Config::from_url(&self.url)?);
        builder.set_policy(ReconnectPolicy::new_exponential(0, 100, 5_000, 2));
        builder.with_performance_config(|performance| performance.default_command_timeout = TIMEOUT);
        builder.with_connection_config(|connection| connection.connection_timeout = TIMEOUT);
        let client = builder.build()?;
        client.init().await?;
        self.script.load(&client).await?;
        Ok(self.client.insert(client).clone())
    }
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

    #[test]
    fn samples_as_text() {
        assert_eq!(parse("1:2:3"), Some(Sample { asked_ms: 1, answered_ms: 2, end_offset: 3 }));
        for wrong in ["", "1", "1:2", "1:2:x"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    /// Asked only where `HIGHWATER_TEST_REDIS` names a server.
    #[tokio::test]
    async fn what_is_added_is_read_and_cut_by_time() {
        let Ok(url) = std::env::var("HIGHWATER_TEST_REDIS") else {
            eprintln!("skipped: HIGHWATER_TEST_REDIS names no Redis");
            return;
        };
        crate::tls::install_provider().unwrap();
        let mut store = RedisStore::new(&url, &format!("test-{}", uuid::Uuid::new_v4()));
        let (a, b) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
        let sample = |at, end_offset| Sample { asked_ms: at, answered_ms: at + 1, end_offset };
        store.append(&[(&a, sample(1_000, 5)), (&b, sample(1_000, 6))]).await.unwrap();
        // A server that was restarted has forgotten the script.
        let _: () = store.connected().await.unwrap().script_flush(false).await.unwrap();
        let later = i64::try_from(WINDOW.as_millis()).unwrap();
        store.append(&[(&a, sample(500 + later, 7))]).await.unwrap();
        store.append(&[(&b, sample(2_000 + later, 8))]).await.unwrap();
        let read = store.read(&[a.clone(), b.clone(), TopicPartition::new("t", 2)]).await.unwrap();
        assert_eq!(read[&a], [sample(1_000, 5), sample(500 + later, 7)]);
        assert_eq!(read[&b], [sample(2_000 + later, 8)], "the older one is past the window");
        assert_eq!(read[&TopicPartition::new("t", 2)], []);
    }

    #[tokio::test]
    async fn an_unreachable_redis_is_an_error_that_ends() {
        crate::tls::install_provider().unwrap();
        let mut store = RedisStore::new("redis://127.0.0.1:1", "none");
        let error = store.append(&[]).await.unwrap_err().to_string();
        assert!(error.starts_with("Redis: "), "{error}");
    }
}
