//! Pushing what `/metrics` says to a receiver of OTLP: a collector, Prometheus (`--web.enable-otlp-receiver`), or whoever else
//! takes `POST /v1/metrics` in protobuf over HTTP/1.1.
//!
//! There is one truth: a push begins with what a scrape would begin with ([`Telemetry::snapshot`](super::Telemetry)), families
//! and text. Both become points ([`convert`]), and points become requests of bounded size ([`request`]), written straight into
//! protobuf ([`protobuf`]): of a hundred thousand series neither a tree nor the whole text is ever in memory, but one page and
//! one request. Names stay those of Prometheus, and the rest follows OpenTelemetry's "Prometheus and OpenMetrics
//! Compatibility". A request goes over the [`line`], and what comes back means something ([`answer`]); the [loop](run) tries
//! again what may be taken later.
//!
//! # What must stay true
//!
//! - A receiver that is away, slow or hostile disturbs nothing: no queue grows, since the next push takes the place of one
//!   that is late, and nobody waits for it but the end of the process, for a moment.
//! - Unknown is absent. NaN is no value, and a label without a value no attribute.
//! - Headers and the query of the URL are shown nowhere: they may be secrets.
//!
//! # Absent on purpose
//!
//! gRPC, delta temporality, proxies. A series that ends is not marked as ended: that would take remembering all of them. What
//! holds a receiver shows of it for a while (Prometheus for five minutes) is its last value.

mod answer;
mod config;
mod convert;
mod endpoint;
mod line;
mod metrics;
mod protobuf;
mod request;
mod run;
#[cfg(test)]
mod tests;

pub use config::{Compression, Config, Headers};
pub use run::Exporter;

use crate::tls::TlsError;

/// Why nothing can be pushed as it was set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("otlp.{key} is not the URL of an OTLP receiver: {why}")]
    Endpoint { key: &'static str, why: String },
    #[error("otlp.headers: {name} cannot be sent")]
    Header { name: String },
    #[error("OTLP: {0}")]
    Tls(#[from] TlsError),
}
