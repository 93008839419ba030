//! What the gateway counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

#[derive(Debug, Default)]
pub struct Counters {
    pub written: AtomicU64,
    pub failed: AtomicU64,
}

/// The counters, published as `highwater_gateway_records_total{result}`.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub counters: Arc<Counters>,
}

impl Metrics {
    pub fn new(meter: &Meter) -> Self {
        let counters = Arc::new(Counters::default());
        let observed = Arc::clone(&counters);
        meter
            .u64_observable_counter("highwater_gateway_records")
            .with_description("Records that came in over HTTP, by what became of them.")
            .with_callback(move |observer| {
                observer.observe(observed.written.load(Ordering::Relaxed), &[KeyValue::new("result", "written")]);
                observer.observe(observed.failed.load(Ordering::Relaxed), &[KeyValue::new("result", "failed")]);
            })
            .build();
        Self { counters }
    }

    pub(super) fn count(&self, written: bool) {
        let counter = if written { &self.counters.written } else { &self.counters.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
