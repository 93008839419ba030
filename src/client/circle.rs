//! A group of a kind of one's own, by the classic protocol: its members say something as they join, the first among them is
//! told what all have said, and what it makes of that is told to each.
//!
//! Four requests, one attempt each, and no memory: what a member is to do next, and what it may believe, is its own matter.
//! What a coordinator that has moved says of itself has been noted by the time the caller hears of it.

use std::time::Duration;

use bytes::Bytes;

use super::cluster::{Cluster, To};
use super::consumer::{leave_request, left};
use super::error::{Error, ErrorKind};
use super::lane::Lane;
use super::time::milliseconds;
use crate::protocol::api::Api;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupRequestProtocol, LeaveGroupRequest, SyncGroupRequest,
    SyncGroupRequestAssignment,
};
use crate::protocol::types::Str;

/// Which group, and of which kind.
#[derive(Debug, Clone)]
pub struct CircleConfig {
    pub group_id: String,
    /// `consumer` is taken, and so is `connect`.
    pub protocol_type: &'static str,
    /// Members that speak no protocol in common cannot be in one group.
    pub protocol: String,
    /// How long the coordinator waits for a sign of life before it takes a member out, and how long a member may take to join
    /// again.
    pub session_timeout: Duration,
}

/// What a coordinator answers to one who would join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Join again with this id (KIP-394).
    Named(String),
    Joined {
        member_id: String,
        generation: i32,
        /// Of all members what they have said; empty for all but the leader, whom alone the others wait for.
        members: Vec<(String, Bytes)>,
    },
}

/// A group; cheap to clone.
#[derive(Debug, Clone)]
pub struct Circle {
    cluster: Cluster,
    config: CircleConfig,
}

impl Circle {
    pub(super) fn new(cluster: Cluster, config: CircleConfig) -> Self {
        Self { cluster, config }
    }

    /// Answered when all members have joined, or their time is up. `None` for a new member.
    pub async fn join(&self, member_id: Option<&str>, says: Bytes) -> Result<Entry, Error> {
        let timeout_ms = milliseconds(self.config.session_timeout);
        let protocol = JoinGroupRequestProtocol { name: self.config.protocol.as_str().into(), metadata: says };
        let request = JoinGroupRequest {
            group_id: self.group(),
            session_timeout_ms: timeout_ms,
            rebalance_timeout_ms: timeout_ms,
            member_id: member_id.unwrap_or_default().into(),
            protocol_type: Str::from_static(self.config.protocol_type),
            protocols: vec![protocol],
            ..JoinGroupRequest::default()
        };
        let limit = self.config.session_timeout.saturating_mul(3) / 2;
        let answer = self.ask(Lane::Group, request, limit).await?;
        if ErrorCode(answer.error_code) == ErrorCode::MEMBER_ID_REQUIRED {
            return Ok(Entry::Named(answer.member_id.to_string()));
        }
        self.verdict::<JoinGroupRequest>(answer.error_code)?;
        let members = answer.members.into_iter().map(|it| (it.member_id.to_string(), it.metadata)).collect();
        let member_id = answer.member_id.to_string();
        Ok(Entry::Joined { member_id, generation: answer.generation_id, members })
    }

    /// What the leader has for this member, once it has told the coordinator; from the leader, that for each.
    pub async fn sync(&self, member_id: &str, generation: i32, told: Vec<(String, Bytes)>) -> Result<Bytes, Error> {
        let one = |(member_id, assignment): (String, _)| SyncGroupRequestAssignment {
            member_id: member_id.as_str().into(),
            assignment,
        };
        let request = SyncGroupRequest {
            group_id: self.group(),
            generation_id: generation,
            member_id: member_id.into(),
            protocol_type: Some(Str::from_static(self.config.protocol_type)),
            protocol_name: Some(self.config.protocol.as_str().into()),
            assignments: told.into_iter().map(one).collect(),
            ..SyncGroupRequest::default()
        };
        let answer = self.ask(Lane::Group, request, self.config.session_timeout).await?;
        self.verdict::<SyncGroupRequest>(answer.error_code)?;
        Ok(answer.assignment)
    }

    pub async fn heartbeat(&self, member_id: &str, generation: i32, limit: Duration) -> Result<(), Error> {
        let request = HeartbeatRequest {
            group_id: self.group(),
            generation_id: generation,
            member_id: member_id.into(),
            ..HeartbeatRequest::default()
        };
        let answer = self.ask(Lane::Group, request, limit).await?;
        self.verdict::<HeartbeatRequest>(answer.error_code)
    }

    /// Not on the group's lane, where a JoinGroup may be waiting for everybody else. Who is no member is told so.
    pub async fn leave(&self, member_id: &str, limit: Duration) -> Result<(), Error> {
        let (group, member) = (self.group(), Str::from(member_id));
        let make = move |version| leave_request(group, member, "it ends", version);
        let to = To::GroupCoordinator(&self.config.group_id);
        let answer = self.cluster.call_with::<LeaveGroupRequest>(to, Lane::General, make, limit).await?.body;
        self.verdict::<LeaveGroupRequest>(left(&answer).0)
    }

    fn group(&self) -> Str {
        self.config.group_id.as_str().into()
    }

    async fn ask<R: Api>(&self, lane: Lane, request: R, limit: Duration) -> Result<R::Response, Error> {
        let to = To::GroupCoordinator(&self.config.group_id);
        self.cluster.call(to, lane, request, limit).await.map(|answer| answer.body)
    }

    fn verdict<R: Api>(&self, code: i16) -> Result<(), Error> {
        let verdict = ErrorCode(code).ok().map_err(|code| Error::new(ErrorKind::Broker(code, None)).of(R::NAME));
        verdict.inspect_err(|error| {
            if error.class() == Class::FindCoordinator {
                self.cluster.forget_coordinator(&self.config.group_id);
            }
        })
    }
}
