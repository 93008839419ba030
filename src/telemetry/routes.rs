//! The HTTP face: what a scraper, an orchestrator and a person with curl ask.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::stream;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use super::health::{Check, report};
use super::{Error, Format, Telemetry};

pub(super) fn router(telemetry: Telemetry) -> Router {
    Router::new()
        // Labels repeat themselves, so the least effort makes a tenth of them already.
        .route("/metrics", get(metrics).layer(CompressionLayer::new().quality(CompressionLevel::Fastest)))
        .route("/livez", get(|State(t): State<Telemetry>| async move { health(&t.live()) }))
        .route("/readyz", get(|State(t): State<Telemetry>| async move { health(&t.ready()) }))
        .route("/healthz", get(|State(t): State<Telemetry>| async move { health(&[t.live(), t.ready()].concat()) }))
        .with_state(telemetry)
}

/// Gathering walks every series under a lock, so it leaves the reactor's threads alone; what comes after is made as fast as
/// it is taken, a page at a time.
async fn metrics(State(telemetry): State<Telemetry>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted_by(accept);
    let pages = tokio::task::spawn_blocking(move || telemetry.exposition(format)).await;
    match pages.unwrap_or_else(|error| Err(Error::Metrics(error.to_string()))) {
        Ok(pages) => {
            let pages = stream::iter(pages.map(|page| Ok::<_, Infallible>(Bytes::from(page))));
            ([(header::CONTENT_TYPE, format.content_type())], Body::from_stream(pages)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn health(checks: &[Check]) -> Response {
    let report = report(checks);
    let status = if report.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, report.text).into_response()
}
