//! The handlers: one file an API, each a function `serve(state, call, request) -> Answer`.
//!
//! # The contract
//!
//! - **Who owns what.** [`State`] owns everything that changes. The server's shell locks it for one input at a time
//!   (a request, a timer, an outside direction) and a handler runs inside that lock: it never waits, never touches a
//!   socket, never asks for the time. What is heavy and needs no state (checking a record set) runs before the lock, in
//!   [`prepare`]; reading records for a Fetch runs after it.
//! - **Time.** [`Call::now`] is the moment of the call; [`State::timers`] hands a [`Timer`](super::state::Timer) back at its moment. A new kind
//!   of event is a new variant of `Timer` and one line in [`State::on_time`].
//! - **Answering.** `response.into()` answers at once. A request that must wait calls [`Reply::park`](super::reply::Reply::park), keeps the `Reply`
//!   where the event that ends the wait will find it (a member's JoinGroup in its group), schedules a timer for the case
//!   that no event comes, and returns the `Answer` it got. Later anyone who has `&mut State` calls
//!   `reply.send(Response::from(..))`. A dropped `Reply` closes the connection; sending to one
//!   whose client has gone is harmless. While a request is parked its connection reads nothing more: answers are in the
//!   order of requests, one in flight per connection, as Kafka's own network layer does it.
//! - **What must survive** is written by [`State::record`] *before* it is applied to memory: entries are
//!   [`message!`](crate::message) structs with a line in the table of [`journal`](super::journal), replayed in order at
//!   start, and written anew by a snapshot when the journal has grown. In memory `record` does nothing. Under
//!   [`Fsync::Always`](super::Fsync) an answer that is given at once waits by itself until what was recorded is synced.
//! - **Errors** are Kafka's codes in the response. What Kafka answers by closing the connection is [`Answer::Close`].
//! - **What is served** is [`SERVED`]; it is what ApiVersions advertises and what the server lets through, so a handler
//!   sees no version outside its line. The two APIs of SASL are answered by the [`Guard`](super::door::Guard), before this.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::clock::Now;
use super::group::consumer::Refusal;
use super::reply::Answer;
use super::state::{NotStored, State};
use crate::protocol::api::Request;
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{BrokerId, Str};

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_configs;
mod alter_share_group_offsets;
mod alter_user_scram_credentials;
mod api_versions;
mod checked;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_share_group_offsets;
mod delete_topics;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_share_group_offsets;
mod describe_topic_partitions;
mod describe_transactions;
mod describe_user_scram_credentials;
mod end_txn;
pub mod fetch;
mod find_coordinator;
mod heartbeat;
mod init_producer_id;
pub mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_transactions;
mod metadata;
pub mod names;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
pub mod quota;
pub mod refusal;
mod share_group_describe;
pub mod sync_group;
mod txn_offset_commit;
mod write_txn_markers;

pub use api_versions::refusal as api_versions_refusal;

/// Who asks, whom, in which version, and when.
#[derive(Debug, Clone)]
pub struct Call {
    /// The virtual broker that was asked.
    pub broker: BrokerId,
    /// Unique among all connections of this process.
    pub connection: u64,
    pub api_key: i16,
    pub version: i16,
    pub client_id: Option<Str>,
    pub client_host: IpAddr,
    /// The address by which the client reached us.
    pub local: SocketAddr,
    pub now: Now,
}

/// A request after [`prepare`].
#[derive(Debug)]
pub enum Work {
    Plain(Box<Request>),
    Produce(produce::Prepared),
}

/// Why something was not done: Kafka's code, and a sentence where the API has room for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub error: ErrorCode,
    pub message: String,
}

impl Refused {
    pub fn new(error: ErrorCode, message: impl Into<String>) -> Refused {
        Refused { error, message: message.into() }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused::new(refusal.error, refusal.message)
    }
}

impl From<NotStored> for Refused {
    fn from(not_stored: NotStored) -> Refused {
        Refused::new(not_stored.into(), "The data directory could not be written.")
    }
}

/// Every API that is served and its versions: those of Kafka 4.3, less what is not implemented.
pub const SERVED: &[(i16, RangeInclusive<i16>)] = &[
    (0, 3..=13),
    (1, 4..=18),
    (2, 1..=11),
    (3, 0..=13),
    (8, 2..=10),
    (9, 1..=10),
    (10, 0..=6),
    (11, 2..=9),
    (12, 0..=4),
    (13, 0..=5),
    (14, 0..=5),
    (15, 0..=6),
    (16, 0..=5),
    (17, 1..=1),
    (18, 0..=4),
    (19, 2..=7),
    (20, 1..=6),
    (21, 0..=2),
    (22, 0..=5),
    (23, 2..=4),
    (24, 0..=5),
    (25, 0..=4),
    (26, 0..=5),
    (27, 1..=2),
    (28, 0..=5),
    (32, 1..=4),
    (33, 0..=2),
    (35, 1..=5),
    (36, 0..=2),
    (37, 0..=3),
    (42, 0..=2),
    (44, 0..=1),
    (47, 0..=0),
    (48, 0..=1),
    (50, 0..=0),
    (51, 0..=0),
    (60, 0..=2),
    (61, 0..=0),
    (65, 0..=0),
    (66, 0..=2),
    (68, 0..=1),
    (69, 0..=1),
    (75, 0..=0),
    (77, 1..=1),
    (90, 0..=1),
    (91, 0..=0),
    (92, 0..=0),
];

/// Does what is heavy and needs no state; runs outside the lock.
pub fn prepare(request: Request, version: i16) -> Work {
    match request {
        Request::Produce(request) => Work::Produce(produce::prepare(request, version)),
        request => Work::Plain(Box::new(request)),
    }
}

/// Answers a request that the door let in.
pub fn serve(state: &mut State, call: &Call, work: Work) -> Answer {
    let request = match work {
        Work::Produce(prepared) => return produce::serve(state, call, prepared),
        Work::Plain(request) => *request,
    };
    match request {
        Request::ListOffsets(it) => list_offsets::serve(state, call, &it),
        Request::Fetch(it) => fetch::serve(state, call, it),
        Request::Metadata(it) => metadata::serve(state, call, it),
        Request::OffsetCommit(it) => offset_commit::serve(state, call, &it),
        Request::OffsetFetch(it) => offset_fetch::serve(state, call, it),
        Request::FindCoordinator(it) => find_coordinator::serve(state, call, it),
        Request::JoinGroup(it) => join_group::serve(state, call, it),
        Request::Heartbeat(it) => heartbeat::serve(state, call, &it),
        Request::LeaveGroup(it) => leave_group::serve(state, call, it),
        Request::SyncGroup(it) => sync_group::serve(state, call, it),
        Request::DescribeGroups(it) => describe_groups::serve(state, call, it),
        Request::ListGroups(it) => list_groups::serve(state, call, &it),
        Request::ApiVersions(it) => api_versions::serve(state, call, &it),
        Request::CreateTopics(it) => create_topics::serve(state, call, &it),
        Request::DeleteTopics(it) => delete_topics::serve(state, call, it),
        Request::DeleteRecords(it) => delete_records::serve(state, call, &it),
        Request::InitProducerId(it) => init_producer_id::serve(state, call, &it),
        Request::AddPartitionsToTxn(it) => add_partitions_to_txn::serve(state, call, it),
        Request::AddOffsetsToTxn(it) => add_offsets_to_txn::serve(state, call, &it),
        Request::EndTxn(it) => end_txn::serve(state, call, &it),
        Request::WriteTxnMarkers(it) => write_txn_markers::serve(state, call, &it),
        Request::TxnOffsetCommit(it) => txn_offset_commit::serve(state, call, &it),
        Request::DescribeTransactions(it) => describe_transactions::serve(state, call, it),
        Request::ListTransactions(it) => list_transactions::serve(state, call, &it),
        Request::OffsetForLeaderEpoch(it) => offset_for_leader_epoch::serve(state, call, &it),
        Request::DescribeConfigs(it) => describe_configs::serve(state, call, &it),
        Request::AlterConfigs(it) => alter_configs::serve(state, call, &it),
        Request::DescribeLogDirs(it) => describe_log_dirs::serve(state, call, &it),
        Request::CreatePartitions(it) => create_partitions::serve(state, call, &it),
        Request::DeleteGroups(it) => delete_groups::serve(state, call, it),
        Request::IncrementalAlterConfigs(it) => alter_configs::serve_incremental(state, call, &it),
        Request::OffsetDelete(it) => offset_delete::serve(state, call, it),
        Request::DescribeClientQuotas(it) => describe_client_quotas::serve(&it),
        Request::DescribeUserScramCredentials(it) => describe_user_scram_credentials::serve(state, it),
        Request::AlterUserScramCredentials(it) => alter_user_scram_credentials::serve(state, &it),
        Request::DescribeCluster(it) => describe_cluster::serve(state, call, &it),
        Request::DescribeProducers(it) => describe_producers::serve(state, call, &it),
        Request::ConsumerGroupHeartbeat(it) => consumer_group_heartbeat::serve(state, call, it),
        Request::ConsumerGroupDescribe(it) => consumer_group_describe::serve(state, call, it),
        Request::DescribeTopicPartitions(it) => describe_topic_partitions::serve(state, call, &it),
        Request::ShareGroupDescribe(it) => share_group_describe::serve(state, call, it),
        Request::DescribeShareGroupOffsets(it) => describe_share_group_offsets::serve(state, call, it),
        Request::AlterShareGroupOffsets(it) => alter_share_group_offsets::serve(state, call, &it),
        Request::DeleteShareGroupOffsets(it) => delete_share_group_offsets::serve(state, call, it),
        // `SERVED` and this table are held together by a test.
        _ => Answer::Close,
    }
}

/// The operations that a client may do on a topic, as a bit for each `AclOperation`: all of them, for want of ACLs.
pub fn topic_operations() -> i32 {
    // Read, write, create, delete, alter, describe, describe configs, alter configs.
    [3, 4, 5, 6, 7, 8, 10, 11].iter().fold(0, |bits, operation| bits | 1 << operation)
}

/// The operations that a client may do on a group: read, delete, describe, describe configs, alter configs.
pub fn group_operations() -> i32 {
    [3, 6, 8, 10, 11].iter().fold(0, |bits, operation| bits | 1 << operation)
}

/// The operations that a client may do on the cluster.
pub fn broker_operations() -> i32 {
    // Create, alter, describe, cluster action, describe configs, alter configs, idempotent write.
    [5, 7, 8, 9, 10, 11, 12].iter().fold(0, |bits, operation| bits | 1 << operation)
}
