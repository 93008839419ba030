//! A room as a running task, stopped on its own: rooms feed each other, so they do not all stop at once.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::task::{Failure, Outcome, Tasks};

/// A running room.
#[derive(Debug)]
pub(super) struct Room(Tasks);

impl Room {
    /// Starts a room; `run` gets the token that stops it. A room that ends before it is told to has failed, whatever it
    /// says.
    pub(super) fn start<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        let mut tasks = Tasks::new();
        let stop = tasks.token();
        let running = run(stop.clone());
        tasks.spawn(name, async move {
            let ended = running.await.verdict();
            match stop.is_cancelled() {
                true => ended,
                false => ended.and(Err("it has ended by itself".to_owned())),
            }
        });
        Self(tasks)
    }

    /// Waits for the room to fail; for ever, if it does not.
    pub(super) fn failed(&self) -> impl Future<Output = Failure> + Send + 'static {
        self.0.failed()
    }

    /// Tells the room to stop and waits for it; one that takes too long is ended, and said by name.
    pub(super) async fn stop(self, grace: Duration) {
        let report = self.0.drain(grace).await;
        if !report.is_clean() {
            tracing::error!("{report}");
        }
    }
}
