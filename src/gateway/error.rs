//! The one place where a failure becomes an HTTP status (RFC 9457 problem details).

use axum::BoxError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::event::BodyError;
use crate::client::Error;

/// A problem document: what kind, how it is answered, what happened this time.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip)]
    code: StatusCode,
}

impl Problem {
    fn new(code: StatusCode, kind: &'static str, title: &'static str, detail: String) -> Self {
        Self { kind, title, status: code.as_u16(), detail, code }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.code
    }

    /// The topic is not there, or its partitions are not known yet.
    pub(super) fn no_partitions(topic: &str) -> Self {
        let detail = format!("the partitions of topic {topic} are not known");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "/problems/unavailable", "The cluster cannot answer now", detail)
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let detail = format!("{error}; nothing was sent");
        Self::new(StatusCode::BAD_REQUEST, "/problems/body", "The body cannot be read as log events", detail)
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let detail = error.to_string();
        if error.is_too_large() {
            Self::new(StatusCode::PAYLOAD_TOO_LARGE, "/problems/too-large", "The record is too large", detail)
        } else if error.is_retriable() || error.is_timeout() || error.is_closed() {
            Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/unavailable",
                "The cluster cannot take records now",
                detail,
            )
        } else {
            Self::new(StatusCode::BAD_GATEWAY, "/problems/refused", "The cluster refused the record", detail)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = self.code;
        let mut response = (code, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if code == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// What the limits answer: too many at once, or too slow.
pub(super) async fn overloaded(error: BoxError) -> Problem {
    let detail = if error.is::<tower::timeout::error::Elapsed>() {
        "no result in time; whether the records were written is not known"
    } else {
        "too many requests at once; nothing was sent"
    };
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "/problems/unavailable",
        "The gateway cannot take more now",
        detail.to_owned(),
    )
}
