//! What the monitor says of itself while it runs.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

/// Instruments of the loop; what a round found is written as text instead ([`super::exposition()`]).
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) round: Histogram<f64>,
    pub(super) failures: Counter<u64>,
    /// Which cluster, where there are several.
    pub(super) labels: Vec<KeyValue>,
}

impl Metrics {
    pub fn new(meter: &Meter) -> Self {
        let round = meter
            .f64_histogram("highwater_lag_round_duration")
            .with_unit("s")
            .with_description("How long a round over all groups took.")
            .with_boundaries(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
            .build();
        let failures = meter
            .u64_counter("highwater_lag_failures")
            .with_description("Brokers, groups and stores that did not answer in a round.")
            .build();
        Self { round, failures, labels: Vec::new() }
    }

    /// The same of one of several clusters.
    pub fn of_cluster(self, name: &str) -> Self {
        Self { labels: vec![KeyValue::new("cluster", name.to_owned())], ..self }
    }
}
