//! DescribeTopicPartitions (API 75, KIP-966): topics page by page, in the order of their names; what Java's admin
//! client asks first.

use super::{Call, topic_operations};
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::topics::{Partition, TopicState};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    DescribeTopicPartitionsCursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::protocol::types::{Str, Topic};

/// `max.request.partition.size.limit`
const MOST: usize = 2000;

pub fn serve(state: &mut State, _call: &Call, request: &DescribeTopicPartitionsRequest) -> Answer {
    let mut names: Vec<Topic> = match request.topics.as_slice() {
        [] => state.topics.iter().map(|topic| topic.name.clone()).collect(),
        topics => topics.iter().map(|topic| Topic::from(&topic.name)).collect(),
    };
    names.sort_unstable();
    names.dedup();
    let mut page = Page {
        left: usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, MOST),
        response: DescribeTopicPartitionsResponse::default(),
    };
    let from = request.cursor.as_ref().map(|cursor| (Topic::from(&cursor.topic_name), cursor.partition_index));
    for name in names {
        let start = match &from {
            Some((topic, _)) if name < *topic => continue,
            Some((topic, partition)) if name == *topic => usize::try_from(*partition).unwrap_or(0),
            _ => 0,
        };
        if !page.take(state.topics.get(&name), &name, start) {
            break;
        }
    }
    page.response.into()
}

struct Page {
    left: usize,
    response: DescribeTopicPartitionsResponse,
}

impl Page {
    /// Adds a topic from a partition on; `false` when the page is full, with a cursor that says where to go on.
    fn take(&mut self, topic: Option<&TopicState>, name: &Topic, start: usize) -> bool {
        let Some(topic) = topic else {
            self.response.topics.push(unknown(name));
            return true;
        };
        if self.left == 0 {
            self.stop_at(name, start);
            return false;
        }
        let rows = topic.partitions.iter().enumerate().skip(start).take(self.left);
        let partitions: Vec<_> = rows.map(|(index, it)| row(index, it)).collect();
        let next = start + partitions.len();
        self.left -= partitions.len();
        self.response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(Str::from(name)),
            topic_id: topic.id,
            partitions,
            topic_authorized_operations: topic_operations(),
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        let complete = next >= topic.partitions.len();
        if !complete {
            self.stop_at(name, next);
        }
        complete
    }

    fn stop_at(&mut self, name: &Topic, partition: usize) {
        let cursor = DescribeTopicPartitionsCursor { topic_name: Str::from(name), partition_index: partition as i32 };
        self.response.next_cursor = Some(cursor);
    }
}

fn unknown(name: &Topic) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into(),
        name: Some(Str::from(name)),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn row(index: usize, partition: &Partition) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition {
        partition_index: index as i32,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.replicas.clone(),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        ..DescribeTopicPartitionsResponsePartition::default()
    }
}
