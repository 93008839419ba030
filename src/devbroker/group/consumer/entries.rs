//! What the journal keeps of groups of the consumer protocol: as Kafka's `__consumer_offsets`, the members too, so that a
//! restart of the broker goes unnoticed by those who are back in time.

use bytes::Bytes;

use crate::message;
use crate::protocol::message::{Str, Uuid};

message! { /// A group as it is now, but for its members, its patterns and its offsets.
pub struct ConsumerGroupEntry {
    group_id: Str, 0..;
    epoch: i32, 0..;
    assignment_epoch: i32, 0..;
    metadata_hash: i64, 0..;
} }
message! { /// A member as it is now.
pub struct ConsumerMemberEntry {
    group_id: Str, 0..;
    member_id: Str, 0..;
    instance_id: Option<Str>, 0..;
    rack_id: Option<Str>, 0..;
    client_id: Str, 0..;
    client_host: Str, 0..;
    rebalance_timeout_ms: i32, 0..;
    topics: Vec<Str>, 0..;
    regex: Option<Str>, 0..;
    assignor: Option<Str>, 0..;
    epoch: i32, 0..;
    previous_epoch: i32, 0..;
    state: i8, 0..;
    assigned: Vec<ConsumerPartitionsEntry>, 0..;
    revoking: Vec<ConsumerPartitionsEntry>, 0..;
    target: Vec<ConsumerPartitionsEntry>, 0..;
    /// Of a member of the classic protocol.
    session_timeout_ms: i32, 0.., tag 0;
    protocols: Vec<ClassicProtocolEntry>, 0.., tag 1;
} }
message! { /// What a member of the classic protocol says of itself, as it is.
pub struct ClassicProtocolEntry { name: Str, 0..; metadata: Bytes, 0..; } }
message! { /// Partitions of a topic, and since which epoch each is a member's; for a target, no epochs.
pub struct ConsumerPartitionsEntry { topic_id: Uuid, 0..; partitions: Vec<i32>, 0..; epochs: Vec<i32>, 0..; } }
message! { /// A member that is gone.
pub struct ConsumerMemberRemovedEntry { group_id: Str, 0..; member_id: Str, 0..; } }
message! { /// The topics that a pattern was found to match; none of it, if nobody uses it any more.
pub struct ConsumerRegexEntry { group_id: Str, 0..; regex: Str, 0..; topics: Option<Vec<Str>>, 0..; } }
