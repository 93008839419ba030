//! `POST /api/logs`: log events in, one record each, keyed by source.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::Gateway;
use super::error::Problem;
use super::event::{self, Event, Form};
use crate::client::{Error, ProducerRecord, Receipt};

/// Where one event went, or why it did not.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Written {
        id: String,
        topic: String,
        partition: i32,
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<i64>,
    },
    Failed {
        id: String,
        error: Problem,
    },
}

/// One event is answered with its outcome; several with `{"results": [...]}` in the order they came: `201` when all
/// are written, `207` when some are, else the status of the first failure.
pub(super) async fn post(State(gateway): State<Gateway>, headers: HeaderMap, body: Bytes) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let now = format!("{:.3}", Timestamp::now());
    let events = match event::read(&body, Form::of(content_type), &now, || Uuid::new_v4().to_string()) {
        Ok(events) => events,
        Err(error) => return Problem::from(error).into_response(),
    };
    let outcomes = send(&gateway, events).await;
    answer(outcomes)
}

/// All are enqueued before any is waited for, so that they share batches.
async fn send(gateway: &Gateway, events: Vec<Event>) -> Vec<Outcome> {
    let mut sent = Vec::with_capacity(events.len());
    for event in events {
        gateway.sources.saw(&event.source);
        let record =
            ProducerRecord { key: Some(event.source.as_bytes()), ..ProducerRecord::new(&gateway.topic, &event.value) };
        sent.push((event.id, gateway.producer.enqueue(record).await));
    }
    let mut outcomes = Vec::with_capacity(sent.len());
    for (id, receipt) in sent {
        let outcome = outcome(gateway, id, receipt).await;
        gateway.metrics.count(matches!(outcome, Outcome::Written { .. }));
        outcomes.push(outcome);
    }
    outcomes
}

async fn outcome(gateway: &Gateway, id: String, receipt: Result<Receipt, Error>) -> Outcome {
    let written = match receipt {
        Ok(receipt) => receipt.await,
        Err(error) => Err(error),
    };
    match written {
        Ok(at) => Outcome::Written { id, topic: gateway.topic.to_string(), partition: at.partition, offset: at.offset },
        Err(error) => Outcome::Failed { id, error: Problem::from(&error) },
    }
}

fn answer(mut outcomes: Vec<Outcome>) -> Response {
    if outcomes.len() == 1
        && let Some(outcome) = outcomes.pop()
    {
        return match outcome {
            Outcome::Failed { error, .. } => error.into_response(),
            written => (StatusCode::CREATED, Json(written)).into_response(),
        };
    }
    let failed: Vec<StatusCode> = outcomes.iter().filter_map(failure).collect();
    // What no retry helps says more of the whole than what one does.
    let first = failed.iter().find(|status| **status != StatusCode::SERVICE_UNAVAILABLE).or(failed.first());
    let status = match first {
        None => StatusCode::CREATED,
        Some(first) if failed.len() == outcomes.len() => *first,
        Some(_) => StatusCode::MULTI_STATUS,
    };
    (status, Json(serde_json::json!({ "results": outcomes }))).into_response()
}

fn failure(outcome: &Outcome) -> Option<StatusCode> {
    match outcome {
        Outcome::Failed { error, .. } => Some(error.status()),
        Outcome::Written { .. } => None,
    }
}
