//! Share groups (KIP-932), as far as they come without members: from where each partition is to be read, as an admin has set
//! it, and as `ShareGroup` of Kafka 4.3 and its persister keep it.
//!
//! Deliberately absent: members. Nobody can join such a group here or read through it, so it is always empty.

use std::collections::{BTreeMap, BTreeSet};

use crate::devbroker::group::consumer::Refusal;
use crate::devbroker::group::{Coordinator, Kind};
use crate::devbroker::journal::Entry;
use crate::message;
use crate::protocol::error::ErrorCode;
use crate::protocol::message::{Str, Uuid};
use crate::protocol::types::{Offset, TopicId};

message! { /// A share group that is there. Its offsets stay what they were.
pub struct ShareGroupEntry { group_id: Str, 0..; } }
message! { /// From where a share group reads a partition.
pub struct ShareOffsetEntry { group_id: Str, 0..; topic_id: Uuid, 0..; partition: i32, 0..; start: i64, 0..; } }
message! { /// A topic that a share group knows nothing of any more.
pub struct ShareTopicRemovedEntry { group_id: Str, 0..; topic_id: Uuid, 0..; } }

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Group {
    starts: BTreeMap<TopicId, BTreeMap<i32, Offset>>,
}

impl Group {
    /// The group epoch and the assignment epoch of a group that never had a member.
    pub const EPOCH: i32 = 1;
    /// The assignor of Kafka's share groups.
    pub const ASSIGNOR: &'static str = "simple";

    /// The partitions that are to be read, and from where.
    pub fn starts(&self) -> &BTreeMap<TopicId, BTreeMap<i32, Offset>> {
        &self.starts
    }

    pub fn start(&self, topic: TopicId, partition: i32) -> Option<Offset> {
        self.starts.get(&topic)?.get(&partition).copied()
    }

    pub(super) fn insert(&mut self, entry: &ShareOffsetEntry) {
        self.starts.entry(entry.topic_id).or_default().insert(entry.partition, entry.start);
    }

    pub(super) fn remove(&mut self, topic: TopicId) {
        self.starts.remove(&topic);
    }

    pub(super) fn entries(&self, group_id: &str) -> Vec<Entry> {
        let of_topic = |(topic, starts): (&TopicId, &BTreeMap<i32, Offset>)| {
            let topic_id = *topic;
            let entry = move |(partition, start): (&i32, &Offset)| ShareOffsetEntry {
                group_id: group_id.into(),
                topic_id,
                partition: *partition,
                start: *start,
            };
            starts.iter().map(entry).map(Entry::from).collect::<Vec<_>>()
        };
        std::iter::once(founded(group_id)).chain(self.starts.iter().flat_map(of_topic)).collect()
    }
}

fn founded(group_id: &str) -> Entry {
    ShareGroupEntry { group_id: group_id.into() }.into()
}

impl Coordinator {
    /// A share group, to be described (77, 90).
    pub fn share(&self, id: &str) -> Option<&Group> {
        match &self.groups.get(id)?.group {
            Kind::Share(group) => Some(group),
            Kind::Classic(_) | Kind::Consumer(_) => None,
        }
    }

    /// AlterShareGroupOffsets (91): what to journal and [`apply`](Self::apply), so that the group reads from there; it comes
    /// to be by that.
    pub fn alter_share(&self, id: &str, starts: &[(TopicId, i32, Offset)]) -> Result<Vec<Entry>, Refusal> {
        if self.exists(id) {
            self.known_share(id)?;
        }
        let entry = |(topic_id, partition, start): &(TopicId, i32, Offset)| {
            let (topic_id, partition, start) = (*topic_id, *partition, *start);
            ShareOffsetEntry { group_id: id.into(), topic_id, partition, start }.into()
        };
        Ok(std::iter::once(founded(id)).chain(starts.iter().map(entry)).collect())
    }

    /// DeleteShareGroupOffsets (92): the topics of which there is something to forget, each with what to journal and
    /// [`apply`](Self::apply).
    pub fn forget_share(&self, id: &str, topics: &BTreeSet<TopicId>) -> Result<BTreeMap<TopicId, Entry>, Refusal> {
        let group = self.known_share(id)?;
        let known = topics.iter().filter(|topic| group.starts.contains_key(topic));
        Ok(known.map(|topic| (*topic, forgotten(id, *topic))).collect())
    }

    /// The same when a topic is deleted.
    pub fn remove_share_topic(&self, topic: TopicId) -> Vec<Entry> {
        let knows = |kind: &Kind| matches!(kind, Kind::Share(group) if group.starts.contains_key(&topic));
        let groups = self.groups.iter().filter(|(_, kept)| knows(&kept.group));
        groups.map(|(id, _)| forgotten(id, topic)).collect()
    }

    pub fn known_share(&self, id: &str) -> Result<&Group, Refusal> {
        let why = || if self.exists(id) { "is not a share group" } else { "not found" };
        let refusal = || Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, format!("Group {id} {}.", why()));
        self.share(id).ok_or_else(refusal)
    }
}

fn forgotten(group_id: &str, topic_id: TopicId) -> Entry {
    ShareTopicRemovedEntry { group_id: group_id.into(), topic_id }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devbroker::group::{Config, OffsetEntry};

    const T: TopicId = Uuid([1; 16]);
    const U: TopicId = Uuid([2; 16]);

    struct World {
        coordinator: Coordinator,
        journal: Vec<Entry>,
    }

    impl World {
        fn take(&mut self, entries: impl IntoIterator<Item = Entry>) {
            for entry in entries {
                self.coordinator.apply(&entry);
                self.journal.push(entry);
            }
        }

        fn starts(&self) -> Vec<(u8, i32, Offset)> {
            let group = self.coordinator.share("g").into_iter().flat_map(|group| &group.starts);
            let of = |(topic, starts): (&TopicId, &BTreeMap<i32, Offset>)| {
                let topic = topic.0[0];
                starts.iter().map(move |(partition, start)| (topic, *partition, *start)).collect::<Vec<_>>()
            };
            group.flat_map(of).collect()
        }
    }

    #[test]
    fn a_group_comes_to_be_by_its_offsets_and_forgets_them() {
        let mut world = World { coordinator: Coordinator::new(Config::default()), journal: Vec::new() };
        let refused = |said: Result<(), Refusal>| said.err().map(|it| it.message).unwrap_or_default();
        assert_eq!(refused(world.coordinator.known_share("g").map(drop)), "Group g not found.");
        let entries = world.coordinator.alter_share("g", &[(T, 0, 5), (T, 1, 7), (U, 0, 9)]).unwrap();
        world.take(entries);
        let entries = world.coordinator.alter_share("g", &[(T, 1, 0)]).unwrap();
        world.take(entries);
        assert_eq!(world.starts(), [(1, 0, 5), (1, 1, 0), (2, 0, 9)]);
        let listing = world.coordinator.list().next().unwrap();
        assert_eq!((listing.kind, listing.state, listing.protocol_type.as_deref()), ("share", "Empty", Some("share")));

        let forgotten = world.coordinator.forget_share("g", &BTreeSet::from([U, Uuid([3; 16])])).unwrap();
        assert_eq!(forgotten.keys().collect::<Vec<_>>(), [&U]);
        world.take(forgotten.into_values());
        let said = world.starts();
        assert_eq!(said, [(1, 0, 5), (1, 1, 0)]);
        for told in [world.journal.clone(), world.coordinator.snapshot()] {
            let mut again = World { coordinator: Coordinator::new(Config::default()), journal: Vec::new() };
            again.take(told);
            assert_eq!(again.starts(), said);
        }
        let entries = world.coordinator.remove_share_topic(T);
        world.take(entries);
        assert_eq!((world.starts().len(), world.coordinator.exists("g")), (0, true));
        let gone = world.coordinator.delete("g").unwrap();
        world.take([gone]);
        assert!(!world.coordinator.exists("g"));
    }

    #[test]
    fn a_group_of_another_kind_is_none() {
        let mut coordinator = Coordinator::new(Config::default());
        coordinator.apply(&OffsetEntry { group_id: "g".into(), topic: "t".into(), ..OffsetEntry::default() }.into());
        let said = coordinator.alter_share("g", &[]).unwrap_err();
        assert_eq!(said, Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, "Group g is not a share group."));
    }
}
