//! What the tests and benchmarks share: real servers, our program as a process, and its cost.

pub mod fuzz;
pub mod measure;
pub mod program;
pub mod script;
pub mod servers;

use std::fmt::Display;
use std::time::{Duration, Instant};

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

/// Runs scenarios in the midst of a test that is not itself asynchronous, because it starts servers.
pub fn finish<E: Display>(scenarios: impl Future<Output = Result<(), E>>) {
    let runtime = tokio::runtime::Runtime::new().unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(scenarios).unwrap_or_else(|error| panic!("{error}"));
}
