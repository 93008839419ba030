//! What the program says of itself: logs, metrics, and whether it is alive and ready.
//!
//! A room is handed an OpenTelemetry [`Meter`] and knows nothing of where its numbers go. They go into one Prometheus
//! registry, and `/metrics` prints that registry followed by every *text source*: a room with very many series (lag: one
//! a group and partition) writes its own exposition text, because a hundred thousand series take milliseconds as text and
//! most of a second through a metrics library.
//!
//! Health is two questions, kept apart because their answers have different consequences. `/livez`: would a restart help?
//! `/readyz`: should this instance get work now? Each is a list of named checks that `app` registers; a check that fails
//! says why, in words.
//!
//! What must stay true: a scrape never talks to a broker or a store, it prints what is already known; a check never
//! blocks. Deliberately absent: knowledge of any room, and of what their numbers mean.

mod health;
mod logging;
mod routes;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

pub use health::Check;
pub use logging::{LogFormat, init as init_logging};

/// Appends exposition text (complete families, each with its `# HELP` and `# TYPE`) to what `/metrics` answers.
pub type TextSource = Arc<dyn Fn(&mut String) + Send + Sync>;

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
        let inner =
            Inner { registry, provider, sources: Mutex::default(), live: Mutex::default(), ready: Mutex::default() };
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

    /// Everything `/metrics` answers, in the text format 0.0.4.
    pub fn exposition(&self) -> Result<String, Error> {
        let mut text = TextEncoder::new()
            .encode_to_string(&self.inner.registry.gather())
            .map_err(|error| Error::Metrics(error.to_string()))?;
        let sources = locked(&self.inner.sources).clone();
        for source in sources {
            source(&mut text);
        }
        Ok(text)
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
        telemetry.add_text(Arc::new(|out| out.push_str("# TYPE lag gauge\nlag 7\n")));
        let text = telemetry.exposition().unwrap();
        let counter = text.find("highwater_room_records_total 3").expect("the counter, with its suffix");
        assert!(counter < text.find("lag 7").expect("the text source"), "{text}");
        assert!(!text.contains("otel_scope"), "{text}");
    }
}
