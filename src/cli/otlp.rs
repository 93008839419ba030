//! Pushing metrics to a receiver of OTLP.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{Setting, span};

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Pushing metrics by OTLP")]
pub struct Otlp {
    /// Push what /metrics says to this receiver of OTLP over HTTP too, a collector or Prometheus, e.g.
    /// http://collector:4318; /v1/metrics is added [env: OTEL_EXPORTER_OTLP_ENDPOINT, or with nothing added
    /// OTEL_EXPORTER_OTLP_METRICS_ENDPOINT; OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME and the others of OpenTelemetry
    /// are read too]
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Between two pushes [default: 60s] [env: OTEL_METRIC_EXPORT_INTERVAL, in milliseconds]
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub otlp_interval: Option<Duration>,
    /// A header of each request. What is typed others on the machine can read, so secrets had better be in the variable
    /// [env: OTEL_EXPORTER_OTLP_HEADERS=NAME=VALUE,NAME=VALUE]
    #[arg(long = "otlp-header", value_name = "NAME=VALUE")]
    pub otlp_headers: Vec<Setting>,
    /// Trust the certificate authorities of this PEM file where the URL begins with https, rather than the machine's [env:
    /// OTEL_EXPORTER_OTLP_CERTIFICATE]
    #[arg(long, value_name = "FILE")]
    pub otlp_ca: Option<PathBuf>,
}
