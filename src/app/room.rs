//! A room as a running task, stopped on its own: rooms feed each other, so they do not all stop at once.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::task::{Failure, Outcome, Tasks};
use crate::telemetry::{Check, Telemetry};

/// A running room.
#[derive(Debug)]
pub(super) struct Room {
    name: &'static str,
    tasks: Tasks,
}

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
        Self { name, tasks }
    }

    /// Waits for the room to fail; for ever, if it does not.
    pub(super) fn failed(&self) -> impl Future<Output = Failure> + Send + 'static {
        self.tasks.failed()
    }

    /// Answers for the room at `/livez`, until it has failed, and at `/readyz`, until it is told to stop as well.
    pub(super) fn report_to(&self, telemetry: &Telemetry) {
        let first_failure = self.tasks.first_failure();
        let live = move || match &*first_failure.borrow() {
            Some(Failure { reason, panicked: true, .. }) => Err(format!("it panicked: {reason}")),
            Some(Failure { reason, .. }) => Err(reason.clone()),
            None => Ok(()),
        };
        let (is_up, stop) = (live.clone(), self.tasks.token());
        let ready = move || match stop.is_cancelled() {
            true => is_up().and(Err("it is stopping".to_owned())),
            false => is_up(),
        };
        telemetry.add_live_check(Check::new(self.name, live));
        telemetry.add_ready_check(Check::new(self.name, ready));
    }

    /// Tells the room to stop and waits for it; one that takes too long is ended, and said by name.
    pub(super) async fn stop(self, grace: Duration) {
        let report = self.tasks.drain(grace).await;
        if !report.is_clean() {
            tracing::error!("{report}");
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn asked(telemetry: &Telemetry, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = telemetry.router().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn check(telemetry: &Telemetry, live: (u16, &str), ready: (u16, &str)) {
        for (path, (status, text)) in [("/livez", live), ("/readyz", ready)] {
            assert_eq!(asked(telemetry, path).await, (status, format!("{text}\n")), "{path}");
        }
    }

    #[tokio::test]
    async fn health_knows_how_a_room_is() {
        let telemetry = Telemetry::new().unwrap();
        let room = Room::start("sink", |stop| async move { stop.cancelled().await });
        room.report_to(&telemetry);
        check(&telemetry, (200, "ok sink"), (200, "ok sink")).await;
        room.stop(Duration::from_secs(10)).await;
        check(&telemetry, (200, "ok sink"), (503, "failed sink: it is stopping")).await;
    }

    #[tokio::test]
    async fn health_knows_how_a_room_failed() {
        async fn of<F: Future<Output: Outcome> + Send + 'static>(run: F, why: &str) {
            let telemetry = Telemetry::new().unwrap();
            let room = Room::start("sink", |_| run);
            room.report_to(&telemetry);
            room.failed().await;
            check(&telemetry, (503, why), (503, why)).await;
        }
        of(async {}, "failed sink: it has ended by itself").await;
        of(async { Err::<(), _>("the disk is full") }, "failed sink: the disk is full").await;
        let panics = async {
            if true {
                panic!("never this")
            }
        };
        of(panics, "failed sink: it panicked: never this").await;
    }
}
