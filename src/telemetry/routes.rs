//! The HTTP face: what a scraper, an orchestrator and a person with curl ask.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::health::{Check, report};
use super::{Error, Telemetry};

pub(super) fn router(telemetry: Telemetry) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|State(t): State<Telemetry>| async move { health(&t.live()) }))
        .route("/readyz", get(|State(t): State<Telemetry>| async move { health(&t.ready()) }))
        .route("/healthz", get(|State(t): State<Telemetry>| async move { health(&[t.live(), t.ready()].concat()) }))
        .with_state(telemetry)
}

/// Gathering walks every series under a lock, so it leaves the reactor's threads alone.
async fn metrics(State(telemetry): State<Telemetry>) -> Response {
    let text = tokio::task::spawn_blocking(move || telemetry.exposition()).await;
    match text.unwrap_or_else(|error| Err(Error::Metrics(error.to_string()))) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn health(checks: &[Check]) -> Response {
    let report = report(checks);
    let status = if report.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, report.text).into_response()
}
