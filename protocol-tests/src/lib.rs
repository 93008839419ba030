//! What the tests and benchmarks share: real servers, our program as a process, and its cost.

pub mod fuzz;
pub mod measure;
pub mod program;
pub mod script;
pub mod servers;

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// A name that nothing else has, of this run or another one.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{what}-{}-{}", since.as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Runs scenarios in the midst of a test that is not itself asynchronous, because it starts servers.
pub fn finish<E: Display>(scenarios: impl Future<Output = Result<(), E>>) {
    let runtime = tokio::runtime::Runtime::new().unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(scenarios).unwrap_or_else(|error| panic!("{error}"));
}
