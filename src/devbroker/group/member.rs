//! One member of a group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Join, Ticket, consumer};

/// A way of sharing out work that a member can take part in, and what it says about itself under it. The coordinator
/// does not read the metadata but for the topics in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    pub name: Arc<str>,
    pub metadata: Bytes,
}

#[derive(Debug)]
pub struct Member {
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    /// In the order of the member's preference.
    pub protocols: Vec<Protocol>,
    /// Empty until the leader has handed one out.
    pub assignment: Bytes,
    /// Its JoinGroup that waits.
    pub(super) join: Option<Ticket>,
    /// Its SyncGroup that waits.
    pub(super) sync: Option<Ticket>,
    /// When it is taken for dead. `None` once that moment has passed while a request of it was waiting: the answer to
    /// that request starts a new session.
    pub(super) session_ends: Option<Instant>,
    /// It has not been answered yet, so it cannot know its id and cannot send heartbeats.
    pub(super) is_new: bool,
}

impl Member {
    pub(super) fn new(join: Join) -> Self {
        Self {
            instance_id: join.instance_id,
            client_id: join.client_id,
            client_host: join.client_host,
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols,
            assignment: Bytes::new(),
            join: None,
            sync: None,
            session_ends: None,
            is_new: true,
        }
    }

    /// One that was carried along in a group of the consumer protocol.
    pub(super) fn carried(member: &consumer::Member, spoken: &consumer::Classic, assignment: Bytes) -> Self {
        Self {
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout: spoken.session_timeout,
            rebalance_timeout: member.rebalance_timeout,
            protocols: spoken.protocols.clone(),
            assignment,
            join: None,
            sync: None,
            session_ends: None,
            is_new: false,
        }
    }

    /// Takes over what the member now says about itself; whether any of it is news to the others is
    /// [`says_the_same`](Self::says_the_same)'s to tell.
    pub(super) fn update(&mut self, join: Join) {
        self.protocols = join.protocols;
        self.session_timeout = join.session_timeout;
        self.rebalance_timeout = join.rebalance_timeout;
    }

    pub(super) fn says_the_same(&self, protocols: &[Protocol]) -> bool {
        self.protocols == protocols
    }

    /// What the member says under a protocol; nothing if it does not know it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|known| &*known.name == protocol)
            .map(|known| known.metadata.clone())
            .unwrap_or_default()
    }

    pub fn first_protocol(&self) -> Arc<str> {
        self.protocols.first().map_or_else(|| Arc::from(""), |protocol| protocol.name.clone())
    }

    pub(super) fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|known| &*known.name == protocol)
    }

    /// A request that waits stands for a heartbeat, but not for a new member's: it could wait forever behind a
    /// connection that is long gone.
    pub(super) fn counts_as_alive(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }

    pub(super) fn extend_session(&mut self, now: Instant) {
        self.session_ends = Some(now + self.session_timeout);
    }
}
