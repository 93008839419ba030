//! What the generator counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

/// Running totals; read at any time, by anyone.
#[derive(Debug, Default)]
pub struct Counters {
    pub offered: AtomicU64,
    pub acknowledged: AtomicU64,
    pub failed: AtomicU64,
}

impl Counters {
    pub fn summary(&self) -> super::Summary {
        super::Summary {
            offered: self.offered.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// The counters, published as `highwater_generator_records_total{result}`.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub counters: Arc<Counters>,
}

impl Metrics {
    pub fn new(meter: &Meter) -> Self {
        let counters = Arc::new(Counters::default());
        let observed = Arc::clone(&counters);
        meter
            .u64_observable_counter("highwater_generator_records")
            .with_description("Records the generator offered to the producer, by what became of them.")
            .with_callback(move |observer| {
                let summary = observed.summary();
                observer.observe(summary.acknowledged, &[KeyValue::new("result", "acknowledged")]);
                observer.observe(summary.failed, &[KeyValue::new("result", "failed")]);
            })
            .build();
        Self { counters }
    }
}
