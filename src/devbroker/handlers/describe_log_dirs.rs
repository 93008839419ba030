//! DescribeLogDirs (API 35): sizes of what this broker leads.

use super::Call;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::topics::TopicState;
use crate::protocol::messages::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use crate::protocol::types::{BrokerId, Str};

pub fn serve(state: &mut State, call: &Call, request: &DescribeLogDirsRequest) -> Answer {
    let asked = |topic: &TopicState, partition: i32| match &request.topics {
        None => true,
        Some(topics) => topics.iter().any(|it| *it.topic == *topic.name && it.partitions.contains(&partition)),
    };
    let topics = state.topics.iter().map(|topic| sizes(topic, call.broker, |partition| asked(topic, partition)));
    let log_dir = match &state.config.data_dir {
        Some(directory) => Str::from(directory.to_string_lossy().into_owned()),
        None => "memory".into(),
    };
    let result = DescribeLogDirsResult {
        log_dir,
        topics: topics.filter(|topic| !topic.partitions.is_empty()).collect(),
        ..DescribeLogDirsResult::default()
    };
    DescribeLogDirsResponse { results: vec![result], ..DescribeLogDirsResponse::default() }.into()
}

fn sizes(topic: &TopicState, broker: BrokerId, asked: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let held = (0..).zip(&topic.partitions).filter(|(index, it)| it.replicas.contains(&broker) && asked(*index));
    let partitions = held.map(|(index, it)| DescribeLogDirsPartition {
        partition_index: index,
        partition_size: it.log.size() as i64,
        ..DescribeLogDirsPartition::default()
    });
    DescribeLogDirsTopic { name: Str::from(&topic.name), partitions: partitions.collect() }
}
