//! What the sink counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use super::StoreError;

/// Running totals; read at any time, by anyone.
#[derive(Debug, Default)]
pub struct Counters {
    pub read: AtomicU64,
    /// Offsets that held no record.
    pub passed_over: AtomicU64,
    pub stored: AtomicU64,
    pub stored_before: AtomicU64,
    /// Of those stored, the ones that the store would not take whole.
    pub without_value: AtomicU64,
    /// Times a batch had to be offered again because the store could not take it.
    pub retried: AtomicU64,
    said: Mutex<Said>,
}

/// What the store has said last, to each of the two questions.
#[derive(Debug, Default)]
struct Said {
    to_a_write: Option<Result<(), String>>,
    to_a_ping: Option<Result<(), String>>,
}

impl Said {
    /// A write that failed counts until one succeeds: a store that answers may still have no room on its disk. One that
    /// succeeded counts no more once a ping fails.
    fn takes_documents(&self) -> Result<(), String> {
        match (&self.to_a_write, &self.to_a_ping) {
            (Some(Err(why)), _) | (_, Some(Err(why))) => Err(why.clone()),
            (None, None) => Err("it has not answered yet".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub read: u64,
    pub passed_over: u64,
    pub stored: u64,
    pub stored_before: u64,
    pub without_value: u64,
}

impl Counters {
    pub fn summary(&self) -> Summary {
        Summary {
            read: self.read.load(Relaxed),
            passed_over: self.passed_over.load(Relaxed),
            stored: self.stored.load(Relaxed),
            stored_before: self.stored_before.load(Relaxed),
            without_value: self.without_value.load(Relaxed),
        }
    }

    /// Whether the store takes documents at present, or why not.
    pub fn store_takes_documents(&self) -> Result<(), String> {
        self.said().takes_documents()
    }

    pub(super) fn store_said_to_a_write(&self, said: Result<(), &StoreError>) {
        let said = said.map_err(ToString::to_string);
        let mut all = self.said();
        if said.is_ok() {
            all.to_a_ping = Some(Ok(()));
        }
        all.to_a_write = Some(said);
    }

    pub(super) fn store_said_to_a_ping(&self, said: Result<(), &StoreError>) {
        self.said().to_a_ping = Some(said.map_err(ToString::to_string));
    }

    /// Each answer is put in whole, so a panic elsewhere cannot leave one half changed.
    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Published as `highwater_sink_documents_total{result}`, `highwater_sink_refused_total`, `highwater_sink_retries_total`
/// and `highwater_sink_write_duration_seconds`.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub counters: Arc<Counters>,
    write: Histogram<f64>,
}

impl Metrics {
    pub fn new(meter: &Meter) -> Self {
        let counters = Arc::new(Counters::default());
        let observed = Arc::clone(&counters);
        meter
            .u64_observable_counter("highwater_sink_documents")
            .with_description("Records finished by the sink, by what became of them.")
            .with_callback(move |observer| {
                let summary = observed.summary();
                observer.observe(summary.stored, &[KeyValue::new("result", "stored")]);
                observer.observe(summary.stored_before, &[KeyValue::new("result", "stored_before")]);
            })
            .build();
        let observed = Arc::clone(&counters);
        meter
            .u64_observable_counter("highwater_sink_refused")
            .with_description("Documents that the store refused, and that are stored without their value.")
            .with_callback(move |observer| observer.observe(observed.without_value.load(Relaxed), &[]))
            .build();
        let observed = Arc::clone(&counters);
        meter
            .u64_observable_counter("highwater_sink_retries")
            .with_description("Batches offered again because the store could not take them.")
            .with_callback(move |observer| observer.observe(observed.retried.load(Relaxed), &[]))
            .build();
        let write = meter
            .f64_histogram("highwater_sink_write_duration")
            .with_unit("s")
            .with_description("How long the store took for a batch.")
            .with_boundaries(vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0])
            .build();
        Self { counters, write }
    }

    pub(super) fn wrote(&self, took: Duration) {
        self.write.record(took.as_secs_f64(), &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_takes_documents_when_it_says_so() {
        let check = |said: &[(&str, Option<&str>)], want: Result<(), &str>| {
            let counters = Counters::default();
            for (question, why) in said {
                let error = why.map(|why| StoreError { store: "store".to_owned(), reason: why.to_owned() });
                let answer = error.as_ref().map_or(Ok(()), Err);
                match *question {
                    "write" => counters.store_said_to_a_write(answer),
                    _ => counters.store_said_to_a_ping(answer),
                }
            }
            assert_eq!(counters.store_takes_documents(), want.map_err(str::to_owned), "{said:?}");
        };
        check(&[], Err("it has not answered yet"));
        check(&[("ping", None)], Ok(()));
        check(&[("ping", Some("away"))], Err("store: away"));
        check(&[("ping", Some("away")), ("ping", None)], Ok(()));
        check(&[("ping", Some("away")), ("write", None)], Ok(()));
        check(&[("write", None), ("ping", Some("away"))], Err("store: away"));
        // That it answers does not say that it writes.
        check(&[("write", Some("full")), ("ping", None)], Err("store: full"));
        check(&[("write", Some("full")), ("write", None)], Ok(()));
    }
}
