//! Tasks with names: started, told to stop, waited for within a grace period, and accounted for.
//!
//! A program's few long-lived tasks are spawned on one [`Tasks`]. Each is given the [`CancellationToken`] it must listen
//! to, and ends by returning `()` or a `Result`. The first that fails or panics is seen at once through
//! [`Tasks::failed`], whoever else is still running; what became of all of them is the [`Report`] of [`Tasks::drain`].
//!
//! What must stay true: every task that was spawned is in the report exactly once; nothing outlives `drain`, because what
//! did not stop in time is aborted and named; a panic is a failure, never a silence.
//!
//! Absent on purpose: starting anything again. Whether a failure ends the program is for the caller to say.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a task may end with.
pub trait Outcome: Send + 'static {
    /// `Err` says what went wrong, causes included.
    fn verdict(self) -> Result<(), String>;
}

impl Outcome for () {
    fn verdict(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static> Outcome for Result<(), E> {
    fn verdict(self) -> Result<(), String> {
        self.map_err(|error| with_causes(&*error.into()))
    }
}

fn with_causes(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many errors already print their source.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// How a task ended badly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub task: Arc<str>,
    pub reason: String,
    pub panicked: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.panicked { "panicked" } else { "failed" };
        write!(f, "{} {verb}: {}", self.task, self.reason)
    }
}

impl std::error::Error for Failure {}

/// What became of every task, each list in the order of ending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub finished: Vec<Arc<str>>,
    pub failed: Vec<Failure>,
    pub panicked: Vec<Failure>,
    /// Still running when the grace period was over; aborted.
    pub hung: Vec<Arc<str>>,
}

impl Report {
    /// Whether every task finished.
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.panicked.is_empty() && self.hung.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} finished", self.finished.len())?;
        for failure in self.failed.iter().chain(&self.panicked) {
            write!(f, "; {failure}")?;
        }
        for task in &self.hung {
            write!(f, "; {task} did not stop in time")?;
        }
        Ok(())
    }
}

type Ended = Result<(), Failure>;

/// Tasks that are started and stopped together. Dropping it aborts them.
#[derive(Debug)]
pub struct Tasks {
    running: JoinSet<Ended>,
    names: HashMap<Id, Arc<str>>,
    stop: CancellationToken,
    first_failure: watch::Sender<Option<Failure>>,
    report: Report,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    pub fn new() -> Self {
        Self::under(&CancellationToken::new())
    }

    /// Tasks that also stop when `parent` is cancelled; stopping them does not cancel `parent`.
    pub fn under(parent: &CancellationToken) -> Self {
        Self {
            running: JoinSet::new(),
            names: HashMap::new(),
            stop: parent.child_token(),
            first_failure: watch::channel(None).0,
            report: Report::default(),
        }
    }

    /// What a task listens to: cancelled when all shall stop.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task. Two may have the same name; each is reported.
    pub fn spawn<F>(&mut self, name: impl Into<Arc<str>>, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Outcome,
    {
        self.collect_ended();
        let name = name.into();
        let watched = watched(name.clone(), future, self.first_failure.clone());
        let id = self.running.spawn(watched).id();
        self.names.insert(id, name);
    }

    /// How many are running.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Tells all to stop, and does not wait.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The first failure or panic, to be looked at whenever one likes; `None` while there is none.
    pub fn first_failure(&self) -> watch::Receiver<Option<Failure>> {
        self.first_failure.subscribe()
    }

    /// The first failure or panic, as soon as there is one; pending for ever while there is none. It does not borrow, so
    /// it may be waited for while more tasks are spawned.
    pub fn failed(&self) -> impl Future<Output = Failure> + Send + 'static {
        let mut first = self.first_failure();
        async move {
            let seen = match first.wait_for(Option::is_some).await {
                Ok(failure) => failure.clone(),
                Err(_all_gone) => None,
            };
            match seen {
                Some(failure) => failure,
                None => std::future::pending().await,
            }
        }
    }

    /// Tells all to stop, waits for them for at most `grace`, then aborts those that are left. A task that blocks its
    /// thread cannot be aborted and is not waited for.
    pub async fn drain(mut self, grace: Duration) -> Report {
        self.stop();
        let deadline = Instant::now() + grace;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.running.join_next_with_id()).await {
            self.note(ended);
        }
        self.running.abort_all();
        let mut hung: Vec<_> = self.names.into_values().collect();
        hung.sort();
        self.report.hung = hung;
        self.report
    }

    fn collect_ended(&mut self) {
        while let Some(ended) = self.running.try_join_next_with_id() {
            self.note(ended);
        }
    }

    fn note(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match ended {
            Ok((id, ended)) => (id, Ok(ended)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(task) = self.names.remove(&id) else { return };
        match ended {
            Ok(Ok(())) => self.report.finished.push(task),
            Ok(Err(failure)) if failure.panicked => self.report.panicked.push(failure),
            Ok(Err(failure)) => self.report.failed.push(failure),
            // Only a panic while dropping the future, or a runtime that shuts down, ends a watched task this way.
            Err(error) => self.report.panicked.push(Failure { task, reason: error.to_string(), panicked: true }),
        }
    }
}

/// Runs a task to its end and tells at once when that is a bad one.
async fn watched<F>(task: Arc<str>, future: F, first: watch::Sender<Option<Failure>>) -> Ended
where
    F: Future + Send + 'static,
    F::Output: Outcome,
{
    // The task's state is gone after a panic, so nothing half-changed can be seen through the unwinding.
    let ended = AssertUnwindSafe(future).catch_unwind().await;
    let failure = match ended.map(Outcome::verdict) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(reason)) => Failure { task, reason, panicked: false },
        Err(panic) => Failure { task, reason: panic_message(&*panic), panicked: true },
    };
    first.send_if_modified(|seen| {
        let is_first = seen.is_none();
        seen.get_or_insert_with(|| failure.clone());
        is_first
    });
    Err(failure)
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::task::Poll;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn names(tasks: &[Arc<str>]) -> Vec<&str> {
        tasks.iter().map(AsRef::as_ref).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn every_task_is_in_the_report_once() {
        let mut tasks = Tasks::new();
        tasks.spawn("early", async {});
        let stop = tasks.token();
        tasks.spawn("late", async move { stop.cancelled().await });
        tasks.spawn("broken", async { Err::<(), _>(io::Error::other("disk full")) });
        tasks.spawn("wild", async {
            if true {
                panic!("never {}", "this")
            }
        });
        tasks.spawn("deaf", std::future::pending::<()>());
        let began = Instant::now();
        let report = tasks.drain(GRACE).await;
        assert_eq!(began.elapsed(), GRACE);
        let mut finished = names(&report.finished);
        finished.sort_unstable();
        assert_eq!((finished, names(&report.hung)), (vec!["early", "late"], vec!["deaf"]));
        assert_eq!(
            report.to_string(),
            "2 finished; broken failed: disk full; wild panicked: never this; deaf did not stop in time"
        );
        assert!(!report.is_clean());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_the_last_task() {
        let mut tasks = Tasks::new();
        for seconds in [3, 1, 2] {
            let stop = tasks.token();
            tasks.spawn(format!("{seconds}"), async move {
                stop.cancelled().await;
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            });
        }
        let began = Instant::now();
        let report = tasks.drain(GRACE).await;
        assert_eq!((began.elapsed(), names(&report.finished)), (Duration::from_secs(3), vec!["1", "2", "3"]));
        assert!(report.is_clean());
        assert!(Tasks::new().drain(GRACE).await.is_clean());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_is_seen_while_others_run() {
        let mut tasks = Tasks::default();
        let mut failed = Box::pin(tasks.failed());
        assert!(matches!(futures::poll!(&mut failed), Poll::Pending));
        tasks.spawn("steady", std::future::pending::<()>());
        tasks.spawn("second", async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Err::<(), _>("too late")
        });
        tasks.spawn("first", async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if true {
                panic!("early")
            }
        });
        assert_eq!(failed.await.to_string(), "first panicked: early");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(tasks.failed().await.to_string(), "first panicked: early");
        // The next spawn takes in what ended.
        tasks.spawn("more", async {});
        assert_eq!(tasks.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_fails_after_all_is_over() {
        let tasks = Tasks::new();
        let mut failed = Box::pin(tasks.failed());
        drop(tasks);
        tokio::time::sleep(GRACE).await;
        assert!(matches!(futures::poll!(&mut failed), Poll::Pending));
    }

    #[tokio::test(start_paused = true)]
    async fn a_parent_stops_its_children_and_not_the_other_way() {
        let parent = CancellationToken::new();
        let (one, two) = (Tasks::under(&parent), Tasks::under(&parent));
        one.stop();
        assert_eq!((parent.is_cancelled(), two.token().is_cancelled()), (false, false));
        parent.cancel();
        assert!(two.token().is_cancelled());
    }

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Caused {
            text: &'static str,
            source: io::Error,
        }
        let check = |text, want: &str| {
            let error = Caused { text, source: io::Error::other("refused") };
            assert_eq!(Err::<(), _>(error).verdict(), Err(want.to_owned()));
        };
        check("cannot connect", "cannot connect: refused");
        check("cannot connect: refused", "cannot connect: refused");
    }
}
