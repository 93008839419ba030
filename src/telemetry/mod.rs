//! What the program says of itself: logs, metrics, and whether it is alive and ready.
//!
//! A room is handed an OpenTelemetry [`Meter`] and knows nothing of where its numbers go. They go into one Prometheus
//! registry, and `/metrics` prints that registry followed by every *text source*: a room with very many series (lag: one
//! a group and partition) writes its own exposition text, because a hundred thousand series take milliseconds as text and
//! most of a second through a metrics library. Such text is made page by page while it is sent.
//!
//! Health is two questions, kept apart because their answers have different consequences. `/livez`: would a restart help?
//! `/readyz`: should this instance get work now? Each is a list of named checks that `app` registers; a check that fails
//! says why, in words.
//!
//! Who cannot be scraped pushes: [`otlp`] hands the same to a receiver of OpenTelemetry's protocol.
//!
//! What must stay true: a scrape never talks to a broker or a store, it prints what is already known; a check never
//! blocks. Deliberately absent: knowledge of any room, and of what their numbers mean.

mod health;
mod logging;
mod openmetrics;
pub mod otlp;
mod routes;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

pub use health::Check;
pub use logging::{LogFormat, init as init_logging};

/// Which text a scraper asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// Text in pieces, each of which ends with a line, made as they are sent.
pub type Pages = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// What `/metrics` answers after the instruments: complete families, each with its `# HELP` and `# TYPE`.
pub type TextSource = Arc<dyn Fn(Format) -> Pages + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the metrics registry could not be set up: {0}")]
    Metrics(String),
    #[error("log filter {filter:?} is not understood: {reason}")]
    Filter { filter: String, reason: String },
    #[error("logging was already set up")]
    Logging,
}

/// The program's own numbers and health; a cheap handle.
#[derive(Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

struct Inner {
    /// When all that counts up was zero.
    began: Instant,
    registry: Registry,
    provider: SdkMeterProvider,
    sources: Mutex<Vec<TextSource>>,
    live: Mutex<Vec<Check>>,
    ready: Mutex<Vec<Check>>,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    pub fn new() -> Result<Self, Error> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .map_err(|error| Error::Metrics(error.to_string()))?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let inner = Inner {
            began: Instant::now(),
            registry,
            provider,
            sources: Mutex::default(),
            live: Mutex::default(),
            ready: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where one room registers its instruments.
    pub fn meter(&self, room: &'static str) -> Meter {
        self.inner.provider.meter(room)
    }

    pub fn add_text(&self, source: TextSource) {
        locked(&self.inner.sources).push(source);
    }

    /// Adds to `/livez`: failing means that only a restart can help.
    pub fn add_live_check(&self, check: Check) {
        locked(&self.inner.live).push(check);
    }

    /// Adds to `/readyz`: failing means that no work should be sent here now.
    pub fn add_ready_check(&self, check: Check) {
        locked(&self.inner.ready).push(check);
    }

    /// `/metrics`, `/livez`, `/readyz` and `/healthz` (both lists).
    pub fn router(&self) -> Router {
        routes::router(self.clone())
    }

    /// Everything `/metrics` answers, page by page; the instruments are the first page.
    pub fn exposition(&self, format: Format) -> Result<Pages, Error> {
        let (families, pages) = self.snapshot(format);
        let text = TextEncoder::new().encode_to_string(&families).map_err(|error| Error::Metrics(error.to_string()))?;
        let (text, end) = match format {
            Format::Prometheus => (text, None),
            Format::OpenMetrics => (openmetrics::text(&text, &families), Some(openmetrics::END.to_vec())),
        };
        Ok(Box::new(std::iter::once(text.into_bytes()).chain(pages).chain(end)))
    }

    /// What is known now: the families of the instruments, and then text.
    fn snapshot(&self, format: Format) -> (Vec<MetricFamily>, Pages) {
        let families = self.inner.registry.gather();
        let sources = locked(&self.inner.sources).clone();
        (families, Box::new(sources.into_iter().flat_map(move |source| source(format))))
    }

    /// Since all that counts up was zero, by a clock that nobody sets.
    fn uptime(&self) -> Duration {
        self.inner.began.elapsed()
    }

    fn live(&self) -> Vec<Check> {
        locked(&self.inner.live).clone()
    }

    fn ready(&self) -> Vec<Check> {
        locked(&self.inner.ready).clone()
    }
}

/// The lists under these locks are only pushed to and copied, so a panic elsewhere cannot leave one half changed.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposition_holds_instruments_then_text_sources() {
        let telemetry = Telemetry::new().unwrap();
        telemetry.meter("room").u64_counter("highwater_room_records").build().add(3, &[]);
        telemetry.add_text(Arc::new(|_| Box::new(std::iter::once(b"# TYPE lag gauge\nlag 7\n".to_vec()))));
        let text = |format| -> String {
            let pages: Vec<u8> = telemetry.exposition(format).unwrap().flatten().collect();
            String::from_utf8(pages).unwrap()
        };
        let open = text(Format::OpenMetrics);
        assert!(open.contains("# TYPE highwater_room_records counter\nhighwater_room_records_total 3\n"), "{open}");
        assert!(open.ends_with("lag 7\n# EOF\n"), "{open}");
        let text = text(Format::Prometheus);
        let counter = text.find("highwater_room_records_total 3").expect("the counter, with its suffix");
        assert!(counter < text.find("lag 7").expect("the text source"), "{text}");
        assert!(!text.contains("otel_scope"), "{text}");
    }
}
