//! What the pipeline counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

/// Running totals; read at any time, by anyone.
#[derive(Debug, Default)]
pub struct Counters {
    pub read: AtomicU64,
    /// Offsets that held no record.
    pub passed_over: AtomicU64,
    pub processed: AtomicU64,
    pub dead_lettered: AtomicU64,
    /// Times a record had to be offered again because the cluster could not take it.
    pub retried: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub read: u64,
    pub passed_over: u64,
    pub processed: u64,
    pub dead_lettered: u64,
}

impl Counters {
    pub fn summary(&self) -> Summary {
        Summary {
            read: self.read.load(Relaxed),
            passed_over: self.passed_over.load(Relaxed),
            processed: self.processed.load(Relaxed),
            dead_lettered: self.dead_lettered.load(Relaxed),
        }
    }
}

/// Published as `highwater_pipeline_records_total{result}` and `highwater_pipeline_retries_total`; and, under the names
/// that dashboards of login consumers know, `kafka_messages_processed_total{result}` and
/// `kafka_processing_duration_seconds`: from reading a chunk of records to the last acknowledgement for it.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub counters: Arc<Counters>,
    duration: Histogram<f64>,
}

impl Metrics {
    pub fn new(meter: &Meter) -> Self {
        let counters = Arc::new(Counters::default());
        count(meter, "highwater_pipeline_records", ["processed", "dead_lettered"], &counters);
        count(meter, "kafka_messages_processed", ["success", "dlq"], &counters);
        let observed = Arc::clone(&counters);
        meter
            .u64_observable_counter("highwater_pipeline_retries")
            .with_description("Records offered again because the cluster could not take them.")
            .with_callback(move |observer| observer.observe(observed.retried.load(Relaxed), &[]))
            .build();
        let duration = meter
            .f64_histogram("kafka_processing_duration")
            .with_unit("s")
            .with_description("From reading a chunk of records to the last acknowledgement for it.")
            .with_boundaries(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
            .build();
        Self { counters, duration }
    }

    pub(super) fn finished(&self, processed: u64, dead_lettered: u64, took: Duration) {
        self.counters.processed.fetch_add(processed, Relaxed);
        self.counters.dead_lettered.fetch_add(dead_lettered, Relaxed);
        self.duration.record(took.as_secs_f64(), &[]);
    }
}

fn count(meter: &Meter, name: &'static str, results: [&'static str; 2], counters: &Arc<Counters>) {
    let observed = Arc::clone(counters);
    meter
        .u64_observable_counter(name)
        .with_description("Records finished, by what became of them.")
        .with_callback(move |observer| {
            let summary = observed.summary();
            observer.observe(summary.processed, &[KeyValue::new("result", results[0])]);
            observer.observe(summary.dead_lettered, &[KeyValue::new("result", results[1])]);
        })
        .build();
}
