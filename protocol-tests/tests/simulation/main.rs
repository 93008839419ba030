//! The whole house in a storm: producers, transactions and groups whose members come and go, against a dev broker of three,
//! over links that split, delay, cut and swallow bytes, while leaders and coordinators move and answers go wrong. Groups
//! speak the classic protocol, the consumer protocol (KIP-848), or both at once, with every assignor, and the members of some
//! are static. In some storms a relay writes what it reads to another topic, in transactions that its group's offsets go with,
//! while rivals claim its transactional ids. Time is tokio's and paused, so minutes of it pass in milliseconds.
//!
//! Each run follows from its seed. What must hold in the end: what was acknowledged is in the log, once, where it was said
//! to be; nothing is in the log twice; each producer's records are in its order; transactions are whole or not there; every
//! group has seen every record, and committed behind it; what was relayed is there exactly once, and nobody commits whose
//! transactional id a rival has; and all of it comes to an end.
//!
//! ```text
//! cargo test -p protocol-tests --test simulation               # a few seeds
//! SEEDS=10000 cargo test -p protocol-tests --test simulation   # many: seeds FROM.., by default from 0
//! SEED=123 cargo test -p protocol-tests --test simulation      # one, and what happened in it
//! FAILURES=20 SEEDS=10000 cargo test ...                       # as many failures are borne before it stops
//! ```
//!
//! A seed decides everything that the simulation does and when, and what the clients draw at random. What is left to chance
//! is in whose order tokio wakes those who wait for the same news; where a failure hangs on that, `TIMES=50` tries again.

mod chaos;
mod history;
mod links;
mod plan;
mod relay;
mod world;

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use plan::Plan;
use tracing_subscriber::EnvFilter;
use world::Summary;

/// How many seeds a plain `cargo test` runs.
const SEEDS: u64 = 24;
/// A run that takes longer than this by the wall goes round in circles without time passing.
const WALL_LIMIT: Duration = Duration::from_secs(120);

thread_local! {
    /// What panicked on this thread: tokio keeps a task's panic to itself.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// One seed, from nothing to the end.
fn run(seed: u64, told: bool) -> Result<Summary, String> {
    let _ = PANICS.take();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let plan = Plan::of(seed);
    let outcome = runtime.block_on(world::run(&plan, told));
    drop(runtime);
    let panics = PANICS.take();
    if panics.is_empty() { outcome.map_err(|why| format!("{why}\n{plan:#?}")) } else { Err(panics.join("\n")) }
}

fn note_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        // A thread that is about to end has nowhere to note it, and nobody who would look.
        let _ = PANICS.try_with(|panics| panics.borrow_mut().push(panic.to_string()));
    }));
}

/// What all threads share.
struct Progress {
    next: AtomicU64,
    end: u64,
    /// No more seeds are begun.
    ends: AtomicBool,
    done: Mutex<Summary>,
}

impl Progress {
    /// Runs seeds until there are none left, or none are to be begun.
    fn work(&self, told: bool, reports: &mpsc::Sender<Report>) {
        while !self.ends.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                return;
            }
            let _ = reports.send(Report::Begun(seed));
            let outcome = run(seed, told);
            if let Ok(summary) = &outcome {
                self.done.lock().unwrap_or_else(PoisonError::into_inner).add(summary);
            }
            let _ = reports.send(Report::Ended(seed, outcome.err()));
        }
    }
}

enum Report {
    Begun(u64),
    Ended(u64, Option<String>),
}

/// Watches the threads, and says what went wrong with which seed. Returns how many seeds came to an end, and how many failed.
fn watch(reports: &mpsc::Receiver<Report>, progress: &Progress, bearable: u64) -> (u64, u64) {
    let mut under_way: Vec<(u64, Instant)> = Vec::new();
    let (mut ended, mut failed) = (0, 0);
    loop {
        match reports.recv_timeout(Duration::from_secs(1)) {
            Ok(Report::Begun(seed)) => under_way.push((seed, Instant::now())),
            Ok(Report::Ended(seed, why)) => {
                under_way.retain(|(other, _)| *other != seed);
                ended += 1;
                if let Some(why) = why {
                    failed += 1;
                    tell_failure(seed, &why);
                }
                if ended % 1000 == 0 {
                    eprintln!("{ended} seeds");
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return (ended, failed),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if let Some((seed, _)) = under_way.iter().find(|(_, since)| since.elapsed() > WALL_LIMIT) {
            tell_failure(*seed, &format!("not at an end after {WALL_LIMIT:?} by the wall"));
            return (ended, failed + 1);
        }
        progress.ends.fetch_or(failed >= bearable, Ordering::Relaxed);
    }
}

fn tell_failure(seed: u64, why: &str) {
    eprintln!("seed {seed}: {why}\n\nrepeat it: SEED={seed} cargo test -p protocol-tests --test simulation\n");
}

/// Runs seeds on all processors; whether all went well.
fn run_all(from: u64, count: u64, told: bool) -> bool {
    let began = Instant::now();
    let progress = Arc::new(Progress {
        next: AtomicU64::new(from),
        end: from + count,
        ends: AtomicBool::new(false),
        done: Mutex::new(Summary::default()),
    });
    let (reports, inbox) = mpsc::channel();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count as usize);
    for _ in 0..threads {
        let (progress, reports) = (Arc::clone(&progress), reports.clone());
        std::thread::spawn(move || progress.work(told, &reports));
    }
    drop(reports);
    let (ended, failed) = watch(&inbox, &progress, setting("FAILURES").unwrap_or(1));
    let summary = progress.done.lock().unwrap_or_else(PoisonError::into_inner);
    println!("simulation: {ended} seeds from {from}, {failed} failed, in {:.1?}: {summary}", began.elapsed());
    failed == 0
}

fn main() -> ExitCode {
    if !protocol_tests::is_asked_for("simulation") {
        return ExitCode::SUCCESS;
    }
    note_panics();
    let single = setting("SEED");
    let from = single.or_else(|| setting("FROM")).unwrap_or(0);
    let count = if single.is_some() { 1 } else { setting("SEEDS").unwrap_or(SEEDS) };
    if single.is_some() {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("highwater=info"));
        tracing_subscriber::fmt().without_time().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let times = setting("TIMES").unwrap_or(1);
    let well = (0..times).all(|_| run_all(from, count, single.is_some()));
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
