//! The history in Redis: one sorted set a partition, by time; pipelined batches, whatever the number of groups.
//!
//! A set's key has the topic's id where brokers tell it (Kafka 2.8, KIP-516): a topic that was deleted and made anew while no
//! monitor was looking has a history of its own, and that of its former life goes away by itself.
//!
//! Each write is a small script, called by its hash: it adds samples, cuts off what is older than the window exactly (by
//! score), thins the older half of a set that has more samples than a ring in memory, and renews the key's time to live, so
//! that a partition nobody reads any more goes away by itself. It answers how far the set reached before, by which a monitor
//! finds out that Redis has lost something ([`super::kept`]). A server that has forgotten the script (it was restarted, or
//! `SCRIPT FLUSH`) is given it again. The seed of this project cleaned up in one write of five, at random; in the script exact
//! trimming costs no round trip more, so each write does it, and what a set takes is bounded and not only likely.
//!
//! A pipeline spans the slots of a cluster, whose servers forget the script one by one. So only those writes are tried again
//! that were not done: one that was would answer with itself, and hide what had been lost before it. A connection to a cluster
//! is one to each of its masters: while one of them is away, and nobody has taken over, nothing is written to the others either.
//!
//! A key has at most as many samples as a ring in memory: with the default of 120 it takes 6.3 kB of Redis 7, 2,000 partitions
//! take 14 MB, 50,000 take 320 MB, and to read them is 8 and 190 MB on the wire. A round writes one sample a partition where
//! something is produced: 0.5 and 13 MB. A pipeline has at most [`SAMPLES_A_PIPELINE`] samples, written or read: about 100 kB,
//! and half a megabyte where each is of another partition.

use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, SortedSetsInterface};
use fred::types::config::{Config, ReconnectPolicy, TlsConnector};
use fred::types::scripts::Script;
use fred::types::{Builder, ClusterHash, CustomCommand, Value};
use tokio_util::task::AbortOnDropHandle;

use super::kept::Write;
use crate::client::{TlsOptions, TopicId, TopicPartition};
use crate::lag::{Remembered, Sample};
use crate::limits::Url;
use crate::tls::install_provider;

/// How far back the history reaches.
pub(super) const WINDOW_MS: i64 = 6 * 3600 * 1000;
/// Nothing waits longer than this for Redis.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Beside one write or one read, of which each has less.
pub(super) const SAMPLES_A_PIPELINE: usize = 2_000;

/// KEYS[1]: the partition's set. ARGV: the oldest time to keep, the time to live, how many samples to keep, the sample that is
/// replaced ('' for none, '*' for all); then times and samples.
const WRITE: &str = r"
local key = KEYS[1]
if ARGV[4] == '*' then redis.call('DEL', key) end
local reach = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
if ARGV[4] ~= '' then redis.call('ZREM', key, ARGV[4]) end
for i = 5, #ARGV, 2 do redis.call('ZADD', key, ARGV[i], ARGV[i + 1]) end
redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. ARGV[1])
local count = redis.call('ZCARD', key)
if count > tonumber(ARGV[3]) then
  local older = redis.call('ZRANGE', key, 0, math.floor(count / 2) - 1)
  for i = 2, #older, 2 do redis.call('ZREM', key, older[i]) end
end
redis.call('PEXPIRE', key, ARGV[2])
return reach or ''";

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

/// Where a Redis is, and, where its URL asks for TLS, whom to trust there and who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisPlace {
    pub url: Url,
    /// Its server name is not looked at: a certificate is to be for the host that the URL names, or the cluster does.
    pub tls: TlsOptions,
}

impl RedisPlace {
    /// The files are read each time, so that one that was renewed is used by the connections made after that.
    fn config(&self) -> Result<Config, StoreError> {
        let mut config = parsed(self.url.reveal())?;
        if let Some(tls) = &mut config.tls {
            let ours = self.tls.config().map_err(|error| StoreError(error.to_string()))?;
            tls.connector = TlsConnector::Rustls(ours.into());
        }
        Ok(config)
    }
}

/// Where the URL asks for TLS, fred makes a connector of its own at once, and panics if the process has no provider for it.
fn parsed(url: &str) -> Result<Config, StoreError> {
    if ["rediss", "valkeys"].into_iter().any(|scheme| url.starts_with(scheme)) {
        install_provider().map_err(|error| StoreError(error.to_string()))?;
    }
    Ok(Config::from_url(url)?)
}

/// A connection that is opened at the first use, and reopened when it was lost. It is given up after anything that goes wrong:
/// a host that has vanished never closes it, and a master that is one no more goes on refusing what is written to it.
#[derive(Debug)]
pub(super) struct Connection {
    place: RedisPlace,
    timeout: Duration,
    pub(super) open: Option<(Client, Task)>,
}

/// What a client is moved by; it would outlive all of the client's handles.
type Task = AbortOnDropHandle<Result<(), Error>>;

impl Connection {
    /// Nothing on it takes longer than `timeout`.
    pub(super) fn new(place: RedisPlace, timeout: Duration) -> Self {
        Self { place, timeout, open: None }
    }

    pub(super) async fn client(&mut self) -> Result<Client, StoreError> {
        if let Some((client, _)) = &self.open {
            return Ok(client.clone());
        }
        let (client, task) = connect(self.place.config()?, self.timeout).await?;
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
    /// Kept of each.
    samples_max: usize,
    script: Script,
    connection: Connection,
}

impl RedisStore {
    /// Whether this is a URL of a Redis: a wrong one is better refused before anything runs.
    pub fn check_url(url: &Url) -> Result<(), StoreError> {
        let url = url.reveal();
        // Whatever the scheme is, fred takes it for `redis`.
        let known = ["redis", "valkey"].into_iter().any(|scheme| url.starts_with(scheme));
        match known {
            true => parsed(url).map(drop),
            false => Err(StoreError("it begins with neither redis:// nor rediss://".to_owned())),
        }
    }

    /// Whether there can be TLS with these files, and whether this is a Redis that they are for.
    pub fn check_tls(place: &RedisPlace) -> Result<(), StoreError> {
        match place.config()?.tls {
            Some(_) => Ok(()),
            None => Err(StoreError("the URL of the Redis does not ask for TLS, as rediss:// does".to_owned())),
        }
    }

    /// `redis://`, `rediss://`, `redis-cluster://` and `redis-sentinel://` URLs. Nothing is connected yet.
    pub fn new(place: RedisPlace, prefix: &str, samples_max: usize) -> Self {
        let connection = Connection::new(place, TIMEOUT);
        Self { prefix: prefix.to_owned(), samples_max, script: Script::from_lua(WRITE), connection }
    }

    /// How many partitions are read in one pipeline.
    pub(super) fn reads_max(&self) -> usize {
        (SAMPLES_A_PIPELINE / self.samples_max.max(1)).max(1)
    }

    /// One pipeline: of each write, how far the set reached before, or why it was not written. An error: none may have been.
    pub(super) async fn write(&mut self, writes: &[Write]) -> Result<Vec<Result<Option<i64>, StoreError>>, StoreError> {
        let client = self.connection.client().await?;
        let all: Vec<&Write> = writes.iter().collect();
        let mut done = self.try_write(&client, &all).await;
        let forgotten = forgotten(&done);
        // What was done counts, also where not every server can be given the script now.
        if !forgotten.is_empty() && self.script.load(&client).await.is_ok() {
            let again: Vec<&Write> = forgotten.iter().map(|at| &writes[*at]).collect();
            for (at, it) in forgotten.into_iter().zip(self.try_write(&client, &again).await) {
                done[at] = it;
            }
        }
        let reach = |text: String| text.parse::<f64>().ok().map(|score| score as i64);
        self.answered(done, writes.len(), reach)
    }

    /// One pipeline: the samples of each of these partitions, oldest first, or why they were not read. An error: none were.
    pub(super) async fn read(
        &mut self,
        lives: &[Life],
    ) -> Result<Vec<Result<Vec<Remembered>, StoreError>>, StoreError> {
        let client = self.connection.client().await?;
        let sets = self.try_read(&client, lives).await;
        self.answered(sets, lives.len(), |set: Vec<String>| set.iter().filter_map(|text| parse(text)).collect())
    }

    /// What came of a pipeline of so many calls.
    fn answered<T, U>(
        &mut self,
        done: Vec<Result<T, Error>>,
        calls: usize,
        means: impl Fn(T) -> U,
    ) -> Result<Vec<Result<U, StoreError>>, StoreError> {
        let done: Vec<_> = done.into_iter().map(|it| Ok(means(it?))).collect();
        let (is_whole, failure) =
            (done.len() == calls, done.iter().find_map(|it: &Result<U, StoreError>| it.as_ref().err()));
        let failure = failure.map(|error| error.0.clone());
        if !is_whole || failure.is_some() {
            self.connection.open = None;
        }
        match failure {
            Some(why) if !is_whole || done.iter().all(Result::is_err) => Err(StoreError(why)),
            None if !is_whole => Err(StoreError("not all was answered".to_owned())),
            _ => Ok(done),
        }
    }

    async fn try_read(&self, client: &Client, lives: &[Life]) -> Vec<Result<Vec<String>, Error>> {
        let (pipeline, most) = (client.pipeline(), i64::try_from(self.samples_max).unwrap_or(i64::MAX));
        for life in lives {
            if let Err(error) =
                pipeline.zrange::<(), _, _, _>(self.key(life), -most, -1, None, false, None, false).await
            {
                return vec![Err(error)];
            }
        }
        pipeline.try_all().await
    }

    async fn try_write(&self, client: &Client, writes: &[&Write]) -> Vec<Result<String, Error>> {
        let pipeline = client.pipeline();
        for write in writes {
            let call = CustomCommand::new_static("EVALSHA", ClusterHash::Offset(2), false);
            if let Err(error) = pipeline.custom::<(), _>(call, self.call(write)).await {
                return vec![Err(error)];
            }
        }
        pipeline.try_all().await
    }

    fn call(&self, write: &Write) -> Vec<Value> {
        let newest_ms = write.add.last().map_or(0, |newest| newest.answered_ms.saturating_add(write.ahead_ms));
        let replaced = if write.clears { "*".to_owned() } else { write.replaces.map(text).unwrap_or_default() };
        let most = i64::try_from(self.samples_max).unwrap_or(i64::MAX);
        let head: [Value; 7] = [
            self.script.sha1().clone().into(),
            1.into(),
            self.key(&write.life).into(),
            (newest_ms - WINDOW_MS).into(),
            WINDOW_MS.into(),
            most.into(),
            replaced.into(),
        ];
        let samples = write.add.iter().flat_map(|sample| {
            let written = write.remembered(sample);
            [Value::from(written.sample.answered_ms), text(written).into()]
        });
        head.into_iter().chain(samples).collect()
    }

    /// The braces keep a partition's key in one slot of a cluster, whatever is added around them.
    fn key(&self, (partition, topic_id): &Life) -> String {
        let key = format!("{}:lag:{{{partition}}}", self.prefix);
        topic_id.map_or_else(|| key.clone(), |id| format!("{key}:{id}"))
    }
}

/// The calls whose server has forgotten the script: of a cluster, that may be one of them.
fn forgotten(done: &[Result<String, Error>]) -> Vec<usize> {
    let has_forgotten = |error: &Error| error.details().starts_with("NOSCRIPT");
    let calls = done.iter().enumerate().filter(|(_, it)| it.as_ref().is_err_and(has_forgotten));
    calls.map(|(at, _)| at).collect()
}

async fn connect(config: Config, timeout: Duration) -> Result<(Client, Task), Error> {
    let mut builder = Builder::from_config(config);
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

fn text(Remembered { sample, leader_epoch }: Remembered) -> String {
    let text = format!("{}:{}:{}", sample.asked_ms, sample.answered_ms, sample.end_offset);
    leader_epoch.map_or_else(|| text.clone(), |epoch| format!("{text}:{epoch}"))
}

fn parse(text: &str) -> Option<Remembered> {
    let mut numbers = text.split(':');
    let mut next = || numbers.next()?.parse().ok();
    let sample = Sample { asked_ms: next()?, answered_ms: next()?, end_offset: next()? };
    let leader_epoch = numbers.next().map(str::parse).transpose().ok()?;
    Some(Remembered { sample, leader_epoch })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use fred::interfaces::{KeysInterface, LuaInterface};
    use fred::types::config::Server;

    use super::super::redises::{FORGETFUL, redis_at, redis_of_tests, redises_of_tests};
    use super::*;
    use crate::protocol::types::Uuid;

    #[test]
    fn samples_as_text() {
        let sample = Sample { asked_ms: 1, answered_ms: 2, end_offset: 3 };
        for (written, leader_epoch) in [("1:2:3", None), ("1:2:3:4", Some(4))] {
            let it = Remembered { sample, leader_epoch };
            assert_eq!((parse(written), text(it).as_str()), (Some(it), written));
        }
        for wrong in ["", "1", "1:2", "1:2:x", "1:2:3:x"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_topic_that_is_made_anew_has_another_key() {
        let store = RedisStore::new(redis_at("redis://127.0.0.1:1"), "p:c", 9);
        let key = |id: Option<u8>| store.key(&(TopicPartition::new("t", 7), id.map(|id| Uuid([id; 16]))));
        assert_eq!(key(None), "p:c:lag:{t-7}");
        assert_eq!(key(Some(0xff)), "p:c:lag:{t-7}:_____________________w");
        assert_ne!(key(Some(1)), key(Some(2)));
    }

    fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/testdata").join(name)
    }

    /// With these CAs, and this client's certificate and key.
    fn tls(ca: Option<&str>, client: Option<&str>) -> TlsOptions {
        let (cert_file, key_file) =
            client.map(|name| (file(&format!("{name}.pem")), file(&format!("{name}.key.pem")))).unzip();
        TlsOptions { ca_file: ca.map(file), cert_file, key_file, server_name: None }
    }

    /// A CA that is not among the system's, and a Redis that lets in nobody without a certificate, as it does by default.
    #[tokio::test]
    async fn a_redis_is_reached_by_tls() {
        if redis_of_tests().is_none() {
            return;
        }
        for (asks_clients, ca, client, is_let_in) in [
            ("no", Some("ca.pem"), None, true),
            ("no", Some("other-ca.pem"), None, false),
            ("no", None, None, false),
            ("yes", Some("ca.pem"), None, false),
            ("yes", Some("ca.pem"), Some("client"), true),
        ] {
            let (_server, url) = redis_with_tls(asks_clients).await;
            let mut store = RedisStore::new(RedisPlace { url, tls: tls(ca, client) }, "test", 9);
            let written = store.write(&[write(&life(0, 1), &[sample(0, 1)])]).await;
            let is_written = written.as_ref().is_ok_and(|written| written[0].is_ok());
            assert_eq!(is_written, is_let_in, "{asks_clients} {ca:?} {client:?}: {written:?}");
        }
    }

    async fn redis_with_tls(asks_clients: &str) -> (tokio::process::Child, Url) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = tokio::process::Command::new("redis-server");
        server.args(["--port", "0", "--tls-port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        server.arg("--tls-cert-file").arg(file("server.pem")).arg("--tls-key-file").arg(file("server.key.pem"));
        server.arg("--tls-ca-cert-file").arg(file("ca.pem")).args(["--tls-auth-clients", asks_clients]);
        let server = server.stdout(std::process::Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let until = tokio::time::Instant::now() + Duration::from_secs(30);
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(tokio::time::Instant::now() < until, "Redis does not begin");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (server, Url::from(format!("rediss://localhost:{port}").as_str()))
    }

    #[test]
    fn files_for_tls_are_looked_at_beforehand() {
        let half = TlsOptions { key_file: None, ..tls(None, Some("client")) };
        for (url, tls, is_right) in [
            ("rediss://localhost", tls(Some("ca.pem"), None), true),
            ("rediss://localhost", tls(Some("ca.pem"), Some("client")), true),
            ("redis://localhost", tls(Some("ca.pem"), None), false),
            ("rediss://localhost", tls(Some("none.pem"), None), false),
            ("rediss://localhost", tls(Some("ca.pem"), Some("none")), false),
            ("rediss://localhost", half, false),
        ] {
            let checked = RedisStore::check_tls(&RedisPlace { url: url.into(), tls });
            assert_eq!(checked.is_ok(), is_right, "{url}: {checked:?}");
        }
    }

    fn life(partition: i32, id: u8) -> Life {
        (TopicPartition::new("t", partition), Some(Uuid([id; 16])))
    }

    fn sample(at: i64, end_offset: i64) -> Sample {
        Sample { asked_ms: at, answered_ms: at + 1, end_offset }
    }

    fn samples(read: Vec<Remembered>) -> Vec<Sample> {
        read.into_iter().map(|it| it.sample).collect()
    }

    fn write(life: &Life, add: &[Sample]) -> Write {
        Write { life: life.clone(), clears: false, replaces: None, add: add.to_vec(), ahead_ms: 0, leader_epoch: None }
    }

    async fn reach(store: &mut RedisStore, write: Write) -> Option<i64> {
        store.write(&[write]).await.unwrap().remove(0).unwrap()
    }

    async fn ends(store: &mut RedisStore, life: &Life) -> Vec<i64> {
        let read = store.read(std::slice::from_ref(life)).await.unwrap().remove(0).unwrap();
        read.into_iter().map(|it| it.sample.end_offset).collect()
    }

    #[tokio::test]
    async fn what_is_added_is_read_and_cut_by_time() {
        let _alone = FORGETFUL.lock().await;
        for url in redises_of_tests() {
            let mut store = RedisStore::new(redis_at(&url), &format!("test-{}", uuid::Uuid::new_v4()), 9);
            let (a, b) = (life(0, 1), life(1, 1));
            let both = [write(&a, &[sample(1_000, 5)]), write(&b, &[sample(1_000, 6)])];
            assert!(store.write(&both).await.unwrap().into_iter().all(|it| it.unwrap().is_none()));
            // Servers that were restarted have forgotten the script.
            store.connection.client().await.unwrap().script_flush_cluster(false).await.unwrap();
            assert_eq!(reach(&mut store, write(&a, &[sample(500 + WINDOW_MS, 7)])).await, Some(1_001));
            reach(&mut store, write(&b, &[sample(2_000 + WINDOW_MS, 8)])).await;
            let read = store.read(&[a.clone(), b.clone(), life(2, 1)]).await.unwrap();
            let read: Vec<_> = read.into_iter().map(|it| samples(it.unwrap())).collect();
            assert_eq!(read[0], [sample(1_000, 5), sample(500 + WINDOW_MS, 7)]);
            assert_eq!(read[1], [sample(2_000 + WINDOW_MS, 8)], "the older one is past the window");
            assert_eq!(read[2], []);
            for other in [life(0, 2), (a.0.clone(), None)] {
                assert_eq!(ends(&mut store, &other).await, [0; 0], "another life: {other:?}");
            }
        }
    }

    #[tokio::test]
    async fn samples_are_replaced_thinned_and_cleared() {
        for url in redises_of_tests() {
            let mut store = RedisStore::new(redis_at(&url), &format!("test-{}", uuid::Uuid::new_v4()), 5);
            let a = life(0, 1);
            reach(&mut store, write(&a, &[sample(0, 1), sample(10, 1)])).await;
            reach(
                &mut store,
                Write {
                    replaces: Some(Remembered { sample: sample(10, 1), leader_epoch: None }),
                    ..write(&a, &[sample(20, 1), sample(30, 2)])
                },
            )
            .await;
            let read = store.read(std::slice::from_ref(&a)).await.unwrap().remove(0).unwrap();
            assert_eq!(samples(read), [sample(0, 1), sample(20, 1), sample(30, 2)]);
            for end in 3..6 {
                reach(&mut store, write(&a, &[sample(end * 10 + 10, end)])).await;
            }
            assert_eq!(ends(&mut store, &a).await, [1, 2, 3, 4, 5], "every second of the older half goes");
            assert_eq!(reach(&mut store, Write { clears: true, ..write(&a, &[sample(90, 2)]) }).await, None);
            assert_eq!(ends(&mut store, &a).await, [2]);
        }
    }

    /// A server as after a restart, of a cluster one of several.
    async fn forget_script(store: &mut RedisStore, server: &Server) {
        let client = store.connection.client().await.unwrap().with_cluster_node(server.clone());
        let call = CustomCommand::new_static("SCRIPT", ClusterHash::Random, false);
        client.custom::<(), _>(call, vec!["FLUSH"]).await.unwrap();
    }

    /// In one pipeline, of which each server of a cluster has a part.
    #[tokio::test]
    async fn each_write_is_done_once_though_a_server_has_forgotten_the_script() {
        let _alone = FORGETFUL.lock().await;
        for url in redises_of_tests() {
            let mut store = RedisStore::new(redis_at(&url), &format!("test-{}", uuid::Uuid::new_v4()), 9);
            let lives: Vec<Life> = (0..100).map(|partition| life(partition, 1)).collect();
            let check = async |store: &mut RedisStore, at: i64, want: Option<i64>| {
                let writes: Vec<Write> = lives.iter().map(|life| write(life, &[sample(at, at)])).collect();
                let done = store.write(&writes).await.unwrap();
                assert!(done.iter().all(|it| it.as_ref().is_ok_and(|reach| *reach == want)), "{at} {url}: {done:?}");
            };
            check(&mut store, 0, None).await;
            let servers = store.connection.client().await.unwrap().active_connections();
            assert_eq!(servers.len(), if url.starts_with("redis-cluster") { 3 } else { 1 }, "{servers:?}");
            for (at, server) in (1..).zip(servers) {
                forget_script(&mut store, &server).await;
                check(&mut store, at * 10, Some(at * 10 - 9)).await;
            }
        }
    }

    /// What is in the way of one partition is not in the way of the others.
    #[tokio::test]
    async fn a_write_fails_by_itself() {
        for url in redises_of_tests() {
            let mut store = RedisStore::new(redis_at(&url), &format!("test-{}", uuid::Uuid::new_v4()), 5);
            let (a, b) = (life(0, 1), life(1, 1));
            let _: () =
                store.connection.client().await.unwrap().set(store.key(&a), "", None, None, false).await.unwrap();
            let done = store.write(&[write(&a, &[sample(0, 1)]), write(&b, &[sample(0, 1)])]).await.unwrap();
            assert!(done[0].is_err() && done[1].is_ok(), "{done:?}");
            assert_eq!(ends(&mut store, &b).await, [1]);
        }
    }

    #[tokio::test]
    async fn an_unreachable_redis_is_an_error_that_ends() {
        crate::tls::install_provider().unwrap();
        let mut store = RedisStore::new(redis_at("redis://127.0.0.1:1"), "none", 9);
        let error = store.write(&[]).await.unwrap_err().to_string();
        assert!(error.starts_with("Redis: "), "{error}");
    }
}
