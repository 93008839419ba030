//! What pushing says of itself, at `/metrics` and in what is pushed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

/// Why a push failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Nobody was reached.
    Unreached,
    /// The connection broke, or what came over it was not HTTP.
    Broken,
    /// There was no answer in time.
    Timeout,
    /// The receiver asked to be left alone for now.
    Busy,
    /// The receiver does not want what it was sent.
    Refused,
    /// The answer was not one of OTLP.
    Answer,
    /// The next push was due before this one was through.
    Late,
    /// The metrics could not be read.
    Internal,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::Unreached,
        Self::Broken,
        Self::Timeout,
        Self::Busy,
        Self::Refused,
        Self::Answer,
        Self::Late,
        Self::Internal,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unreached => "unreached",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::Answer => "answer",
            Self::Late => "late",
            Self::Internal => "internal",
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    pushes: AtomicU64,
    failures: [AtomicU64; Reason::ALL.len()],
    points: AtomicU64,
    rejected: AtomicU64,
}

/// `highwater_otlp_pushes_total`, `_push_failures_total{reason}`, `_points_total` and `_rejected_points_total`.
#[derive(Debug, Clone)]
pub(super) struct Metrics(Arc<Counters>);

impl Metrics {
    pub fn new(meter: &Meter) -> Self {
        let counters = Arc::new(Counters::default());
        let count = |name: &'static str, help: &'static str, of: fn(&Counters) -> &AtomicU64| {
            let counters = Arc::clone(&counters);
            let counter = meter.u64_observable_counter(name).with_description(help);
            counter.with_callback(move |observer| observer.observe(of(&counters).load(Ordering::Relaxed), &[])).build();
        };
        count("highwater_otlp_pushes", "Pushes of which every request was taken.", |it| &it.pushes);
        count("highwater_otlp_points", "Data points that the receiver took.", |it| &it.points);
        count(
            "highwater_otlp_rejected_points",
            "Data points that the receiver rejected, of requests that it took.",
            |it| &it.rejected,
        );
        let failed = Arc::clone(&counters);
        meter
            .u64_observable_counter("highwater_otlp_push_failures")
            .with_description("Pushes that were not taken, or not as a whole, by the first reason.")
            .with_callback(move |observer| {
                for reason in Reason::ALL {
                    let count = failed.failures[reason as usize].load(Ordering::Relaxed);
                    observer.observe(count, &[KeyValue::new("reason", reason.name())]);
                }
            })
            .build();
        Self(counters)
    }

    pub fn pushed(&self) {
        self.0.pushes.fetch_add(1, Ordering::Relaxed);
    }

    pub fn failed(&self, reason: Reason) {
        self.0.failures[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn taken(&self, points: u64, rejected: u64) {
        let rejected = rejected.min(points);
        self.0.points.fetch_add(points - rejected, Ordering::Relaxed);
        self.0.rejected.fetch_add(rejected, Ordering::Relaxed);
    }
}
