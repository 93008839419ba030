//! One HTTP/1.1 connection to a server that is asked a few things in turn.
//!
//! Absent on purpose: a pool, redirects, proxies. Who asks knows where, and whether to ask again.

use std::fmt;
use std::pin::{Pin, pin};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{Either, Fuse, select};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::{Address, Attempt, Dial, Io};

type Wire = Connection<TokioIo<Box<dyn Io>>, Full<Bytes>>;

/// A connection; one question at a time.
pub struct Http {
    sender: SendRequest<Full<Bytes>>,
    /// What moves the bytes; it rests when nothing is asked.
    wire: Pin<Box<Fuse<Wire>>>,
}

/// What a server said.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// `Err` where it was longer than was asked for, or ended in the middle; the connection is of no more use then.
    pub body: Result<Bytes, BodyError>,
}

/// Why a body did not come whole.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no answer.
#[derive(Debug)]
pub enum HttpError {
    /// Nothing was sent: what became of each address that was tried.
    Unreached(Vec<Attempt>),
    /// The connection ended, or what came was not HTTP.
    Broken(hyper::Error),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreached(tried) => {
                let tried: Vec<_> = tried.iter().map(ToString::to_string).collect();
                f.write_str(&tried.join("; "))
            }
            Self::Broken(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HttpError {}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("is_open", &self.is_open()).finish_non_exhaustive()
    }
}

impl Http {
    /// Dials the server. Nothing is sent, so whoever is told why that failed may try elsewhere.
    pub async fn open(dial: &Dial, address: &Address) -> Result<Self, HttpError> {
        let io = dial(address.clone()).await.map_err(HttpError::Unreached)?;
        let (sender, wire) = http1::handshake(TokioIo::new(io)).await.map_err(HttpError::Broken)?;
        Ok(Self { sender, wire: Box::pin(wire.fuse()) })
    }

    /// Whether another question may be asked, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Asks, and takes at most `most` bytes of an answer.
    pub async fn ask(&mut self, request: Request<Full<Bytes>>, most: usize) -> Result<Answer, HttpError> {
        let Self { sender, wire } = self;
        let exchange = async {
            // Of the question before, something may be left to do.
            sender.ready().await.map_err(HttpError::Broken)?;
            let answer = sender.send_request(request).await.map_err(HttpError::Broken)?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, most).collect().await.map(Collected::to_bytes);
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        // The connection may be over before all that it brought has been looked at.
        match select(pin!(exchange), wire).await {
            Either::Left((answer, _)) => answer,
            Either::Right((Ok(()), exchange)) => exchange.await,
            Either::Right((Err(error), _)) => Err(HttpError::Broken(error)),
        }
    }
}
