//! What the tests and benchmarks share: real servers, our program as a process, and its cost.

pub mod measure;
pub mod program;
pub mod servers;

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
