//! DescribeShareGroupOffsets (90): from where share groups read (KIP-932), and how many records they have before them (v1,
//! KIP-1226): all of them, for nobody is in the midst of any.

use std::collections::BTreeMap;

use super::Call;
use crate::devbroker::group::share::Group;
use crate::devbroker::groups;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::topics::TopicState;
use crate::protocol::messages::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
    DescribeShareGroupOffsetsResponse, DescribeShareGroupOffsetsResponseGroup,
    DescribeShareGroupOffsetsResponsePartition, DescribeShareGroupOffsetsResponseTopic,
};
use crate::protocol::types::{Offset, Str, TopicId};

/// What is told where nothing is known.
const UNKNOWN: i64 = -1;

pub fn serve(state: &State, call: &Call, request: DescribeShareGroupOffsetsRequest) -> Answer {
    let groups = request.groups.into_iter().map(|group| describe(state, call, group)).collect();
    DescribeShareGroupOffsetsResponse { groups, ..Default::default() }.into()
}

fn describe(
    state: &State,
    call: &Call,
    asked: DescribeShareGroupOffsetsRequestGroup,
) -> DescribeShareGroupOffsetsResponseGroup {
    let group_id = asked.group_id;
    let described = match asked.topics {
        None => groups::share(state, call, &group_id).map(|group| all(state, group)),
        // Asked for by name, topics of a group that is not there are unknown, and no more.
        Some(topics) => groups::may_keep_share(state, call, &group_id)
            .map(|()| topics.into_iter().map(|topic| some(state, &group_id, topic)).collect()),
    };
    match described {
        Ok(topics) => DescribeShareGroupOffsetsResponseGroup { group_id, topics, ..Default::default() },
        Err(refused) => DescribeShareGroupOffsetsResponseGroup {
            group_id,
            error_code: refused.error.into(),
            error_message: Some(refused.message.into()),
            ..Default::default()
        },
    }
}

/// All that the group is to read, of the topics that there are.
fn all(state: &State, group: &Group) -> Vec<DescribeShareGroupOffsetsResponseTopic> {
    let topic = |(id, starts): (&TopicId, &BTreeMap<i32, Offset>)| {
        let topic = state.topics.by_id(*id)?;
        Some(DescribeShareGroupOffsetsResponseTopic {
            topic_name: Str::from(&topic.name),
            topic_id: topic.id,
            partitions: starts.iter().map(|(partition, start)| row(Some(topic), *partition, Some(*start))).collect(),
        })
    };
    group.starts().iter().filter_map(topic).collect()
}

fn some(
    state: &State,
    group_id: &str,
    asked: DescribeShareGroupOffsetsRequestTopic,
) -> DescribeShareGroupOffsetsResponseTopic {
    let topic = state.topics.get(&asked.topic_name);
    let start = |partition| state.groups.coordinator.share(group_id)?.start(topic?.id, partition);
    DescribeShareGroupOffsetsResponseTopic {
        topic_name: asked.topic_name.clone(),
        topic_id: topic.map(|topic| topic.id).unwrap_or_default(),
        partitions: asked.partitions.iter().map(|partition| row(topic, *partition, start(*partition))).collect(),
    }
}

fn row(
    topic: Option<&TopicState>,
    partition: i32,
    start: Option<Offset>,
) -> DescribeShareGroupOffsetsResponsePartition {
    let end = topic.and_then(|topic| topic.partition(partition)).map(|it| it.log.high_watermark());
    let lag = end.zip(start).map(|(end, start)| end.saturating_sub(start).max(0));
    DescribeShareGroupOffsetsResponsePartition {
        partition_index: partition,
        start_offset: start.unwrap_or(UNKNOWN),
        lag: lag.unwrap_or(UNKNOWN),
        ..Default::default()
    }
}
