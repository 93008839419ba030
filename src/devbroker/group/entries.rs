//! What the journal keeps of groups. Members are not kept: they join again.

use crate::message;
use crate::protocol::message::Str;

message! { /// A group as it is now. Its offsets stay what they were.
pub struct GroupEntry { group_id: Str, 0..; generation: i32, 0..; protocol_type: Option<Str>, 0..; } }
message! { /// A group that is gone, and its offsets with it.
pub struct GroupRemovedEntry { group_id: Str, 0..; } }
message! { /// A committed offset.
pub struct OffsetEntry {
    group_id: Str, 0..;
    topic: Str, 0..;
    partition: i32, 0..;
    offset: i64, 0..;
    leader_epoch: i32 = -1, 0..;
    metadata: Str, 0..;
} }
message! { /// A committed offset that was deleted, or whose topic was.
pub struct OffsetRemovedEntry { group_id: Str, 0..; topic: Str, 0..; partition: i32, 0..; } }
