//! The line to a receiver: one connection at a time, one request at a time, one try.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Version};
use jiff::Timestamp;
use tokio::time::timeout;

use super::Error;
use super::answer::{Failure, Verdict, verdict};
use super::config::{Compression, Config};
use super::endpoint::Endpoint;
use super::metrics::Reason;
use crate::net::Dial;
use crate::net::http::{Answer, Http, HttpError};

/// No answer that means something is longer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"), " (OTLP exporter)"));

pub(super) struct Line {
    endpoint: Endpoint,
    dial: Dial,
    head: HeaderMap,
    limit: Duration,
    http: Option<Http>,
}

impl Line {
    pub fn new(endpoint: Endpoint, dial: Dial, head: HeaderMap, limit: Duration) -> Self {
        Self { endpoint, dial, head, limit, http: None }
    }

    /// Sends a request, once.
    pub async fn send(&mut self, body: Bytes) -> Verdict {
        let later = |reason, said| Verdict::Later { after: None, failure: Failure::new(reason, said) };
        match timeout(self.limit, self.ask(body)).await {
            Ok(Ok(answer)) => verdict(&answer, Timestamp::now()),
            Ok(Err(error @ HttpError::Unreached(_))) => later(Reason::Unreached, error.to_string()),
            Ok(Err(error @ HttpError::Broken(_))) => later(Reason::Broken, error.to_string()),
            Err(_) => later(Reason::Timeout, format!("no answer within {:?}", self.limit)),
        }
    }

    pub fn hang_up(&mut self) {
        self.http = None;
    }

    async fn ask(&mut self, body: Bytes) -> Result<Answer, HttpError> {
        if let Some(mut http) = self.http.take().filter(Http::is_open) {
            match http.ask(self.request(body.clone()), ANSWER_BYTES_MAX).await {
                // A connection that was kept may be gone, which says nothing of what is sent. Points that come twice are
                // the same points.
                Err(HttpError::Broken(_)) => {}
                answer => return answer.inspect(|answer| self.keep(http, answer)),
            }
        }
        let mut http = Http::open(&self.dial, self.endpoint.address()).await?;
        let answer = http.ask(self.request(body), ANSWER_BYTES_MAX).await?;
        self.keep(http, &answer);
        Ok(answer)
    }

    fn keep(&mut self, http: Http, answer: &Answer) {
        self.http = Some(http).filter(|_| answer.body.is_ok());
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_11;
        // What is asked for is part of a URL that has been read, and so it can be read.
        *request.uri_mut() = self.endpoint.target().parse().unwrap_or_default();
        request.headers_mut().clone_from(&self.head);
        request
    }
}

/// The headers of every request.
pub(super) fn head(config: &Config, endpoint: &Endpoint) -> Result<HeaderMap, Error> {
    let wrong = |name: &str| Error::Header { name: name.to_owned() };
    let mut head = HeaderMap::new();
    let host = HeaderValue::try_from(endpoint.authority()).map_err(|_| wrong("host"))?;
    head.extend([(HOST, host), (CONTENT_TYPE, PROTOBUF), (ACCEPT, PROTOBUF), (USER_AGENT, AGENT)]);
    if config.compression == Compression::Gzip {
        head.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for (name, value) in &config.headers.0 {
        let key = HeaderName::try_from(name).map_err(|_| wrong(name))?;
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong(name))?;
        value.set_sensitive(true);
        head.insert(key, value);
    }
    Ok(head)
}
