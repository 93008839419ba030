//! What a handler hands back: an answer now, an answer later, or none.

use tokio::sync::oneshot;

use super::fetching::Fetched;
use crate::protocol::api::Response;

/// What the connection that asked shall do.
// An answer is moved a few times; a box would be an allocation for each.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Answer {
    Now(Ready),
    /// Wait for whoever holds the [`Reply`]. The connection reads nothing more until then, as Kafka's does.
    Later(oneshot::Receiver<Ready>),
    /// Say nothing: Produce with acks=0.
    Nothing,
    /// Close the connection: Produce with acks=0 that failed has no other way to say so.
    Close,
}

/// An answer that can be written.
// An answer is moved a few times; a box would be an allocation for each.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Ready {
    Response(Response),
    /// A Fetch response whose records are still in the log; they are read outside the lock on [`State`](super::state::State).
    Fetched(Box<Fetched>),
}

/// The right to answer one parked request. Dropping it closes the connection that waits.
#[derive(Debug)]
pub struct Reply(oneshot::Sender<Ready>);

impl Reply {
    /// Parks a request: keep the `Reply`, return the `Answer`.
    pub fn park() -> (Reply, Answer) {
        let (sender, receiver) = oneshot::channel();
        (Reply(sender), Answer::Later(receiver))
    }

    /// Answers. If the connection is gone, so is the answer: Kafka promises nothing else.
    pub fn send(self, ready: impl Into<Ready>) {
        let _ = self.0.send(ready.into());
    }
}

impl From<Response> for Ready {
    fn from(response: Response) -> Self {
        Ready::Response(response)
    }
}

impl From<Fetched> for Ready {
    fn from(fetched: Fetched) -> Self {
        Ready::Fetched(Box::new(fetched))
    }
}

impl<R: Into<Response>> From<R> for Answer {
    fn from(response: R) -> Self {
        Answer::Now(Ready::Response(response.into()))
    }
}
