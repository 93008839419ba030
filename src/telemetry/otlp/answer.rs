//! What an answer means (OTLP specification, "OTLP/HTTP Response"). Pure.

use std::time::Duration;

use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;

use super::metrics::Reason;
use super::protobuf::{Malformed, Value, fields};
use crate::net::http::Answer;

/// Of what a receiver says, so much is passed on.
const WORDS: usize = 300;
/// Who asks for more patience than this is asked again all the same.
const PATIENCE: Duration = Duration::from_secs(3600);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Taken, but for so many points; and what the receiver has to say.
    Taken { rejected: u64, said: String },
    /// Not now, and not before some time has passed.
    Later { after: Option<Duration>, failure: Failure },
    /// Never this, though others may be taken.
    NotThis(Failure),
    /// Nothing that is like this.
    Nothing(Failure),
}

/// Why points were not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub reason: Reason,
    pub said: String,
}

impl Failure {
    pub fn new(reason: Reason, said: impl Into<String>) -> Self {
        Self { reason, said: said.into() }
    }
}

pub(super) fn verdict(answer: &Answer, now: Timestamp) -> Verdict {
    let status = answer.status;
    if status.is_success() {
        let taken = answer.body.as_deref().map_err(|_| Malformed).and_then(|body| taken(content_type(answer), body));
        return match taken {
            Ok(taken) => taken,
            Err(Malformed) => Verdict::Nothing(Failure::new(
                Reason::Answer,
                format!("the answer is {status}, and is not one of OTLP; is there an OTLP receiver at this URL?"),
            )),
        };
    }
    let words = match failure_words(answer) {
        none if none.is_empty() => status.to_string(),
        words => format!("{status}: {words}"),
    };
    match status.as_u16() {
        429 | 502..=504 => {
            Verdict::Later { after: retry_after(&answer.headers, now), failure: Failure::new(Reason::Busy, words) }
        }
        // About what was sent, and what is sent next may be better.
        400 | 413 | 422 => Verdict::NotThis(Failure::new(Reason::Refused, words)),
        _ => Verdict::Nothing(Failure::new(Reason::Refused, words + hint(status))),
    }
}

fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "; redirects are not followed, so give the URL that it leads to",
        401 | 403 => "; a header says who we are",
        404 | 405 => "; is this the URL of an OTLP receiver?",
        _ => "",
    }
}

/// `ExportMetricsServiceResponse`, which is empty where all is well; in JSON, too, since some say it so.
fn taken(content_type: &str, body: &[u8]) -> Result<Verdict, Malformed> {
    if content_type == "application/json" {
        let json: Json = serde_json::from_slice(body).map_err(|_| Malformed)?;
        let PartialJson { rejected_data_points, error_message } = json.partial_success.unwrap_or_default();
        // As JSON has them, numbers of 64 bits are texts.
        let rejected = rejected_data_points.as_u64().or_else(|| rejected_data_points.as_str()?.parse().ok());
        return Ok(Verdict::Taken { rejected: rejected.unwrap_or(0), said: cut(&error_message) });
    }
    let (mut rejected, mut said) = (0, String::new());
    for field in fields(body) {
        let (1, Value::Bytes(partial)) = field? else { continue };
        for field in fields(partial) {
            match field? {
                (1, Value::Number(number)) => rejected = u64::try_from(number as i64).unwrap_or(0),
                (2, Value::Bytes(words)) => said = cut(&String::from_utf8_lossy(words)),
                _ => {}
            }
        }
    }
    Ok(Verdict::Taken { rejected, said })
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Json {
    partial_success: Option<PartialJson>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PartialJson {
    rejected_data_points: serde_json::Value,
    error_message: String,
}

fn content_type(answer: &Answer) -> &str {
    let whole = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    whole.split(';').next().unwrap_or_default().trim()
}

/// The message of a `google.rpc.Status`, or plain words; a page of HTML is none.
fn failure_words(answer: &Answer) -> String {
    let body = answer.body.as_deref().unwrap_or_default();
    match content_type(answer) {
        "application/x-protobuf" => {
            let message = fields(body).find_map(|field| match field {
                Ok((2, Value::Bytes(words))) => Some(cut(&String::from_utf8_lossy(words))),
                _ => None,
            });
            message.unwrap_or_default()
        }
        "text/html" => String::new(),
        _ => cut(&String::from_utf8_lossy(body)),
    }
}

/// The beginning, on one line.
fn cut(text: &str) -> String {
    let line = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let line = line.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().take(WORDS).collect()
}

/// A number of seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let time = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(time.min(PATIENCE))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::telemetry::otlp::protobuf::{bytes, message, number};

    fn answer(status: u16, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Answer {
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Ok(body.into()) }
    }

    #[test]
    fn answers() {
        let now: Timestamp = "2026-11-22T04:00:00Z".parse().unwrap();
        let check = |status, headers: &[(&'static str, &str)], body: &[u8], want: Verdict| {
            assert_eq!(verdict(&answer(status, headers, body.to_vec()), now), want, "{status} {headers:?}");
        };
        let taken = |rejected, said: &str| Verdict::Taken { rejected, said: said.to_owned() };
        let partial = |rejected, said: &str| {
            let mut out = Vec::new();
            message(&mut out, 1, |out| {
                number(out, 1, rejected);
                bytes(out, 2, said.as_bytes());
            });
            out
        };
        let (json, proto) =
            (("content-type", "application/json; charset=utf-8"), ("content-type", "application/x-protobuf"));
        check(200, &[], b"", taken(0, ""));
        check(202, &[proto], b"\x0a\x00", taken(0, ""));
        check(200, &[proto], &partial(3, "out of\norder"), taken(3, "out of order"));
        check(200, &[proto], &partial(u64::MAX, ""), taken(0, ""));
        check(200, &[json], b"{}", taken(0, ""));
        check(200, &[json], br#"{"partialSuccess":{"rejectedDataPoints":"7","errorMessage":"a"}}"#, taken(7, "a"));
        check(200, &[json], br#"{"partialSuccess":{"rejectedDataPoints":7}}"#, taken(7, ""));
        let no_otlp = "the answer is 200 OK, and is not one of OTLP; is there an OTLP receiver at this URL?";
        let nothing = |reason, said: &str| Verdict::Nothing(Failure::new(reason, said));
        check(200, &[("content-type", "text/html")], b"<html>", nothing(Reason::Answer, no_otlp));
        check(200, &[json], b"well", nothing(Reason::Answer, no_otlp));
        let later = |after: Option<u64>, said: &str| Verdict::Later {
            after: after.map(Duration::from_secs),
            failure: Failure::new(Reason::Busy, said),
        };
        check(503, &[("retry-after", "7")], b"", later(Some(7), "503 Service Unavailable"));
        check(429, &[], b"slow down", later(None, "429 Too Many Requests: slow down"));
        check(502, &[("content-type", "text/html")], b"<html>", later(None, "502 Bad Gateway"));
        check(504, &[("retry-after", "soon")], b"", later(None, "504 Gateway Timeout"));
        check(503, &[("retry-after", "999999")], b"", later(Some(3600), "503 Service Unavailable"));
        let at = [("retry-after", "Sun, 22 Nov 2026 04:00:30 GMT")];
        check(503, &at, b"", later(Some(30), "503 Service Unavailable"));
        let past = [("retry-after", "Sun, 22 Nov 2026 03:00:00 GMT")];
        check(503, &past, b"", later(Some(0), "503 Service Unavailable"));
        let mut status = Vec::new();
        number(&mut status, 1, 3);
        bytes(&mut status, 2, b"bad name");
        let refused = Failure::new(Reason::Refused, "400 Bad Request: bad name");
        check(400, &[proto], &status, Verdict::NotThis(refused));
        let refused = "401 Unauthorized; a header says who we are";
        check(401, &[], b"", nothing(Reason::Refused, refused));
        check(
            500,
            &[],
            &b"x".repeat(999),
            nothing(Reason::Refused, &format!("500 Internal Server Error: {}", "x".repeat(WORDS))),
        );
        let moved = "301 Moved Permanently; redirects are not followed, so give the URL that it leads to";
        check(301, &[], b"", nothing(Reason::Refused, moved));
    }
}
