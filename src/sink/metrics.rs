//! What the sink counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

/// Running totals; read at any time, by anyone.
#[derive(Debug, Default)]
pub struct Counters {
    pub read: AtomicU64,
    pub stored: AtomicU64,
    pub stored_before: AtomicU64,
    /// Of those stored, the ones that the store would not take whole.
    pub without_value: AtomicU64,
    /// Times a batch had to be offered again because the store could not take it.
    pub retried: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub read: u64,
    pub stored: u64,
    pub stored_before: u64,
    pub without_value: u64,
}

impl Counters {
    pub fn summary(&self) -> Summary {
        Summary {
            read: self.read.load(Relaxed),
            stored: self.stored.load(Relaxed),
            stored_before: self.stored_before.load(Relaxed),
            without_value: self.without_value.load(Relaxed),
        }
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
