//! Real Kafka and Redis clusters for tests, started and stopped by scripts in `servers`, and the other people's programs around
//! them.
//!
//! Such a test is skipped, and says so on standard error, unless `HIGHWATER_REQUIRE_SERVERS=1`: then whatever is missing
//! fails it. A cluster that runs already is named by `HIGHWATER_TEST_KAFKA_39` or `HIGHWATER_TEST_KAFKA_43` (HOST:PORT).

use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

/// Exit code of the scripts when a tool, or what it would fetch, cannot be had.
const UNAVAILABLE: i32 = 69;

/// Why a test cannot run here.
#[derive(Debug)]
pub struct Missing(pub String);

/// The versions that are tested against, and the variable that names a running cluster of each.
pub const KAFKA_39: Version = Version { number: "3.9.1", variable: "HIGHWATER_TEST_KAFKA_39" };
pub const KAFKA_43: Version = Version { number: "4.3.0", variable: "HIGHWATER_TEST_KAFKA_43" };

#[derive(Debug, Clone, Copy)]
pub struct Version {
    pub number: &'static str,
    variable: &'static str,
}

/// Whether servers must be there.
pub fn required() -> bool {
    std::env::var("HIGHWATER_REQUIRE_SERVERS").is_ok_and(|value| value == "1")
}

/// What is there, or `None` after saying that the test is skipped; where servers are required, a failure.
pub fn or_skip<T>(test: &str, found: Result<T, Missing>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(Missing(why)) if required() => panic!("{test}: {why}"),
        Err(Missing(why)) => {
            tell(&format!("SKIPPED {test}: {why}"));
            None
        }
    }
}

/// Says it where it is seen even when all is well: what goes through `eprintln!` is shown only for failures.
pub fn tell(text: &str) {
    // Nobody left to tell is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Fails with a reason where servers are neither required nor named: a plain `cargo test` starts none.
pub fn wanted() -> Result<(), Missing> {
    if required() {
        Ok(())
    } else {
        Err(Missing("it needs real servers; HIGHWATER_REQUIRE_SERVERS=1 starts them".into()))
    }
}

/// A Redis that is named by `HIGHWATER_TEST_REDIS`.
pub fn redis() -> Result<String, Missing> {
    redis_of("HIGHWATER_TEST_REDIS")
}

/// A Redis cluster that is named by `HIGHWATER_TEST_REDIS_CLUSTER`.
pub fn redis_cluster() -> Result<String, Missing> {
    redis_of("HIGHWATER_TEST_REDIS_CLUSTER")
}

fn redis_of(variable: &str) -> Result<String, Missing> {
    std::env::var(variable).map_err(|_| Missing(format!("{variable} names no Redis")))
}

/// One such test at a time in a process: each fills the machine, and none measures how it copes with the others.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A file of this package, as an argument.
pub fn here(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A directory of this process under the target directory; empty when it is first asked for.
pub fn scratch(name: &str) -> PathBuf {
    let directory = crate::program::profile_directory().join("scratch").join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    directory
}

/// The doors that `servers/kafka.sh` gives each broker, next to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    Plaintext,
    SaslPlaintext,
    Ssl,
    SaslSsl,
}

/// A Kafka cluster on loopback.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    /// Of a cluster that is ours: taken down when dropped.
    directory: Option<PathBuf>,
}

impl Kafka {
    /// The cluster that the environment names, or one of our own.
    pub fn shared(version: Version) -> Result<Kafka, Missing> {
        match std::env::var(version.variable) {
            Ok(bootstrap) if !bootstrap.is_empty() => Ok(Kafka { bootstrap, directory: None }),
            _ => Kafka::own(version, 1),
        }
    }

    /// A cluster of our own, to fill and to kill.
    pub fn own(version: Version, nodes: usize) -> Result<Kafka, Missing> {
        Self::own_with(version, nodes, &[])
    }

    /// The same, with properties (`NAME=VALUE`) beside those of kafka.sh.
    pub fn own_with(version: Version, nodes: usize, properties: &[&str]) -> Result<Kafka, Missing> {
        wanted()?;
        let directory = scratch(&format!("kafka-{}-{nodes}", version.number));
        let (path, nodes) = (directory.to_string_lossy(), nodes.to_string());
        let up = ["up", &path, version.number, &nodes, "auto"];
        let first = succeed(script(KAFKA).args(up).args(properties))?;
        let first = first.trim();
        let (host, port) = first.rsplit_once(':').unwrap_or_else(|| panic!("no address: {first:?}"));
        let port: usize = port.parse().unwrap_or_else(|error| panic!("{first:?}: {error}"));
        let all: Vec<_> =
            (0..nodes.parse().unwrap_or(1)).map(|node: usize| format!("{host}:{}", port + 10 * node)).collect();
        Ok(Kafka { bootstrap: all.join(","), directory: Some(directory) })
    }

    /// Every broker's HOST:PORT, with commas.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Every broker's HOST:PORT of that door, with commas. The certificates are for `localhost`.
    pub fn listener(&self, listener: Listener) -> String {
        let at = |broker: &str| {
            let (host, port) = broker.rsplit_once(':')?;
            let host = if matches!(listener, Listener::Ssl | Listener::SaslSsl) { "localhost" } else { host };
            Some(format!("{host}:{}", port.parse::<u16>().ok()? + listener as u16))
        };
        let all: Option<Vec<_>> = self.bootstrap.split(',').map(at).collect();
        all.unwrap_or_else(|| panic!("no addresses: {:?}", self.bootstrap)).join(",")
    }

    /// Where a cluster of our own keeps its files; its certificates are in `tls`.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// `kill -9` for a node of our own, counted from 1.
    pub fn kill(&self, node: usize) {
        self.manage("kill", node);
    }

    /// Starts a node again that was killed.
    pub fn restart(&self, node: usize) {
        self.manage("start", node);
    }

    /// How many requests of a kind a node of our own has served, by its own account; of a kind that it has not had yet, none.
    pub fn requests(&self, node: usize, kind: &str) -> Result<u64, String> {
        let told = self.manage("requests", node);
        if told.is_empty() {
            return Err(format!("node {node} says nothing of its requests"));
        }
        let count = told.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
        count.map_or(Ok(0), |count| count.parse().map_err(|_| format!("{kind} {count}: no number")))
    }

    /// Does something to it, or asks something of it, while this thread goes on.
    pub async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        let kafka = Arc::clone(self);
        tokio::task::spawn_blocking(move || ask(&kafka)).await
    }

    fn manage(&self, verb: &str, node: usize) -> String {
        let directory = self.directory.as_ref().unwrap_or_else(|| panic!("{} is not ours to {verb}", self.bootstrap));
        manage(KAFKA, verb, directory, node)
    }

    /// A group's committed offset and lag, partition by partition, as Java's own tool sees them; empty when it cannot say.
    pub fn group(&self, group: &str) -> Vec<(u64, u64)> {
        self.describe(group).lines().filter_map(|line| offsets(line, group)).collect()
    }

    /// A group's topics, partitions, committed offsets, ends and lags, as the same tool sees them.
    pub fn described(&self, group: &str) -> Vec<(Arc<str>, i32, i64, i64, i64)> {
        self.describe(group).lines().filter_map(|line| row(line, group)).collect()
    }

    fn describe(&self, group: &str) -> String {
        let tool = ["tool", KAFKA_43.number, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"];
        let asked = ["--bootstrap-server", &self.bootstrap, "--timeout", TOOL_MS, "--describe", "--group", group];
        let output = script(KAFKA).args(tool).args(asked).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }
}

/// Kafka's tools give up after five seconds unless told otherwise, which a machine with other work may need.
const TOOL_MS: &str = "60000";

/// What Kafka's own tool for share groups says, of whatever cluster.
pub fn share_groups(bootstrap: &str, group: &str, args: &[&str]) -> String {
    let tool = ["tool", KAFKA_43.number, "org.apache.kafka.tools.consumer.group.ShareGroupCommand"];
    let asked = ["--bootstrap-server", bootstrap, "--timeout", TOOL_MS, "--group", group];
    let output = script(KAFKA).args(tool).args(asked).args(args).output();
    output
        .map(|output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
        .unwrap_or_default()
}

/// A row of ConsumerGroupCommand: group, topic, partition, committed, end, lag.
fn offsets(line: &str, group: &str) -> Option<(u64, u64)> {
    let columns: Vec<_> = line.split_whitespace().collect();
    match columns[..] {
        [first, _, _, committed, _, lag, ..] if first == group => Some((committed.parse().ok()?, lag.parse().ok()?)),
        _ => None,
    }
}

/// The same row, with all that it says.
fn row(line: &str, group: &str) -> Option<(Arc<str>, i32, i64, i64, i64)> {
    let columns: Vec<_> = line.split_whitespace().collect();
    match columns[..] {
        [first, topic, partition, committed, end, lag, ..] if first == group => {
            Some((topic.into(), partition.parse().ok()?, committed.parse().ok()?, end.parse().ok()?, lag.parse().ok()?))
        }
        _ => None,
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            take_down(KAFKA, directory);
        }
    }
}

/// A Redis cluster of our own on loopback: masters without replicas, of which each has a third of the slots.
#[derive(Debug)]
pub struct RedisCluster {
    url: String,
    directory: PathBuf,
}

impl RedisCluster {
    pub const NODES: RangeInclusive<usize> = 1..=3;

    pub fn own() -> Result<RedisCluster, Missing> {
        wanted()?;
        let directory = scratch(&crate::unique("redis-cluster"));
        let url = succeed(script(REDIS).arg("up-cluster").arg(&directory))?;
        Ok(RedisCluster { url: url.trim().to_owned(), directory })
    }

    /// With all nodes in it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `kill -9` for a node.
    pub fn kill(&self, node: usize) {
        manage(REDIS, "kill", &self.directory, node);
    }

    /// Starts a node again that was killed, and has lost all its keys; returns once all slots are served.
    pub fn restart(&self, node: usize) {
        manage(REDIS, "start", &self.directory, node);
    }

    /// The first of a node's slots are another's from now on, and so are the keys in them.
    pub fn move_slots(&self, from: usize, to: usize, count: usize) {
        let (address, count) = (format!("127.0.0.1:{}", self.port(from)), count.to_string());
        let [from_id, to_id] = [from, to].map(|node| self.ask(node, &["cluster", "myid"]));
        let moved = ["--cluster", "reshard", &address, "--cluster-yes", "--cluster-slots", &count];
        self.ask(from, &[&moved[..], &["--cluster-from", &from_id, "--cluster-to", &to_id]].concat());
    }

    /// What a node says itself, one word after the other, on lines of their own.
    pub fn ask(&self, node: usize, words: &[&str]) -> String {
        let asked = succeed(Command::new("redis-cli").args(["-p", self.port(node)]).args(words).stdin(Stdio::null()));
        asked.unwrap_or_else(|Missing(why)| panic!("{why}")).trim().to_owned()
    }

    fn port(&self, node: usize) -> &str {
        let port = self.url.split("127.0.0.1:").nth(node).and_then(|rest| rest.split(['?', '&']).next());
        port.unwrap_or_else(|| panic!("no node {node}: {:?}", self.url))
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        take_down(REDIS, &self.directory);
    }
}

/// The scripts of servers that we start ourselves.
const KAFKA: &str = "servers/kafka.sh";
const REDIS: &str = "servers/redis.sh";

/// Has a script do something to a node in a directory of ours; what it says to that.
fn manage(servers: &str, verb: &str, directory: &Path, node: usize) -> String {
    let mut asked = script(servers);
    asked.arg(verb).arg(directory).arg(node.to_string()).stderr(Stdio::inherit());
    let output = asked.output().unwrap_or_else(|error| panic!("{servers} {verb}: {error}"));
    assert!(output.status.success(), "{servers} {verb} {node}: {}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn take_down(servers: &str, directory: &Path) {
    let down = script(servers).arg("down").arg(directory).status();
    if !std::thread::panicking() && down.is_ok_and(|status| status.success()) {
        // Left over, it only costs space.
        let _ = std::fs::remove_dir_all(directory);
    }
}

/// One of this package's scripts, with nothing on its standard input.
pub fn script(path: &str) -> Command {
    let mut command = Command::new(here(path));
    command.stdin(Stdio::null());
    command
}

/// A Python that has the other people's clients.
pub fn python() -> Result<Command, Missing> {
    let interpreter = succeed(&mut script("foreign/python/venv.sh"))?;
    let mut command = Command::new(interpreter.trim());
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    Ok(command)
}

/// franz-go's part in the tests. Alone of other people's clients it may be left out, and that is said: Go, or its modules, are
/// not everywhere.
pub fn franz_go() -> Option<PathBuf> {
    match succeed(&mut script("foreign/go/build.sh")) {
        Ok(program) => Some(program.trim().into()),
        Err(Missing(why)) => {
            tell(&format!("SKIPPED franz-go: {why}"));
            None
        }
    }
}

/// Standard output of a command that succeeds; `Missing` when it says that something cannot be had.
pub fn succeed(command: &mut Command) -> Result<String, Missing> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|error| Missing(format!("{command:?}: {error}")))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    match status.code() {
        Some(0) => Ok(stdout.into_owned()),
        Some(UNAVAILABLE) => Err(Missing(stderr.trim().to_owned())),
        _ => panic!("{command:?}: {status}\n{stdout}\n{stderr}"),
    }
}
