//! What the tests and benchmarks share: real servers, our program as a process, and its cost.

pub mod fuzz;
pub mod http;
pub mod measure;
pub mod program;
pub mod script;
pub mod servers;

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use highwater::client::{Client, ClientConfig, Error, ErrorCode, NewTopic, Topic};

/// What tests that ask servers come to.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Asks again and again until the answer is there; panics with `what` after `within`. A deadline is no timing assertion: it
/// is far beyond what a loaded machine needs.
pub fn wait_until<T>(what: &str, within: Duration, mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The same of an answer that is waited for, and may be an error. Much in a cluster is true a little after it was answered.
pub async fn until<T>(
    what: impl Display,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let asked = async {
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(within, asked).await.map_err(|_| format!("not within {within:?}: {what}"))?
}

/// A client as it comes, of the servers in a text with commas.
pub async fn connect(bootstrap: &str) -> Result<Client, Error> {
    let bootstrap_servers = vec![bootstrap.to_owned()];
    Client::connect(ClientConfig { bootstrap_servers, ..ClientConfig::default() }).await
}

/// How long topics that were made may take to be shown; far beyond what a loaded machine needs.
const SHOWN: Duration = Duration::from_secs(60);

/// Makes topics, and waits until brokers show them with their leaders: they do not hear of them at the same time, and whoever
/// asks one of them next should find what another has made.
pub async fn make_topics(client: &Client, topics: &[NewTopic]) -> Result<(), Error> {
    make(client, topics, |_| false).await
}

/// The same of topics that may be there already.
pub async fn make_missing_topics(client: &Client, topics: &[NewTopic]) -> Result<(), Error> {
    make(client, topics, |error| error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS)).await
}

async fn make(client: &Client, topics: &[NewTopic], is_well: impl Fn(&Error) -> bool) -> Result<(), Error> {
    let admin = client.admin();
    for (_, made) in admin.create_topics(topics).await? {
        made.or_else(|error| if is_well(&error) { Ok(()) } else { Err(error) })?;
    }
    let names: Vec<Topic> = topics.iter().map(|topic| topic.name.clone()).collect();
    assert!(admin.until_shown(&names, SHOWN).await, "not shown within {SHOWN:?}: {names:?}");
    Ok(())
}

/// A name that nothing else has, of this run or another one.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{what}-{}-{}", since.as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Whether a test that has a harness of its own is asked for: `cargo test NAME` asks every test, and all without a name.
pub fn is_asked_for(test: &str) -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // A number belongs to the flag before it.
    let mut names = arguments.iter().filter(|it| !it.starts_with('-') && it.parse::<u32>().is_err()).peekable();
    let is_asked_for = names.peek().is_none() || names.any(|name| test.contains(name.as_str()));
    if !is_asked_for {
        servers::tell(&format!("SKIPPED {test}: only {arguments:?} is asked for"));
    }
    is_asked_for && !arguments.iter().any(|it| it == "--list")
}

/// Runs scenarios in the midst of a test that is not itself asynchronous, because it starts servers.
pub fn finish<E: Display>(scenarios: impl Future<Output = Result<(), E>>) {
    let runtime = tokio::runtime::Runtime::new().unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(scenarios).unwrap_or_else(|error| panic!("{error}"));
}
