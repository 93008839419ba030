//! Which topics a request names.

use crate::protocol::api::Request;
use crate::protocol::types::{Topic, TopicId, Uuid};

/// Whether a request names a topic, by name or by id. `name_of` knows the names of ids.
pub fn mentions(request: &Request, topic: &Topic, name_of: impl Fn(TopicId) -> Option<Topic>) -> bool {
    let same = |name: &str, id: TopicId| *name == **topic || (id != Uuid::ZERO && name_of(id).as_ref() == Some(topic));
    let named = |name: &str| same(name, Uuid::ZERO);
    match request {
        Request::Produce(it) => it.topic_data.iter().any(|it| same(&it.name, it.topic_id)),
        Request::Fetch(it) => it.topics.iter().any(|it| same(&it.topic, it.topic_id)),
        Request::ListOffsets(it) => it.topics.iter().any(|it| named(&it.name)),
        Request::Metadata(it) => {
            it.topics.iter().flatten().any(|it| same(it.name.as_deref().unwrap_or_default(), it.topic_id))
        }
        Request::OffsetCommit(it) => it.topics.iter().any(|it| same(&it.name, it.topic_id)),
        Request::OffsetFetch(it) => {
            it.topics.iter().flatten().any(|it| named(&it.name))
                || it.groups.iter().flat_map(|it| it.topics.iter().flatten()).any(|it| same(&it.name, it.topic_id))
        }
        Request::OffsetForLeaderEpoch(it) => it.topics.iter().any(|it| named(&it.topic)),
        Request::CreateTopics(it) => it.topics.iter().any(|it| named(&it.name)),
        Request::DeleteTopics(it) => {
            it.topic_names.iter().any(|name| named(name))
                || it.topics.iter().any(|it| same(it.name.as_deref().unwrap_or_default(), it.topic_id))
        }
        Request::CreatePartitions(it) => it.topics.iter().any(|it| named(&it.name)),
        Request::DeleteRecords(it) => it.topics.iter().any(|it| named(&it.name)),
        Request::DescribeTopicPartitions(it) => it.topics.iter().any(|it| named(&it.name)),
        Request::OffsetDelete(it) => it.topics.iter().any(|it| named(&it.name)),
        Request::DescribeProducers(it) => it.topics.iter().any(|it| named(&it.name)),
        _ => false,
    }
}
