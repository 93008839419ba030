//! Batches into one Produce request, and its response back to each batch. Values in, values out.

use std::collections::HashMap;

use bytes::Bytes;

use super::ProducerConfig;
use crate::client::time::milliseconds;
use crate::protocol::messages::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use crate::protocol::types::{Str, TopicId, TopicPartition};

/// One partition's batch in a request. A broker takes one a partition and request.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Which of the producer's partitions, and which sending of its batch.
    pub index: usize,
    pub ticket: u64,
    pub topic_partition: TopicPartition,
    pub topic_id: TopicId,
    pub records: Bytes,
}

/// The records move into the request, so that nothing holds them once it is answered. Names and ids are both given: version
/// 13 speaks ids, all before it names (KIP-516).
pub(super) fn produce(parts: &mut [Part], config: &ProducerConfig) -> ProduceRequest {
    let mut topic_data: Vec<TopicProduceData> = Vec::new();
    let mut at = HashMap::new();
    for part in parts {
        let topic = &part.topic_partition.topic;
        let at = *at.entry(topic.clone()).or_insert_with(|| {
            let name = Str::from(topic);
            topic_data.push(TopicProduceData { name, topic_id: part.topic_id, partition_data: Vec::new() });
            topic_data.len() - 1
        });
        let data = PartitionProduceData {
            index: part.topic_partition.partition,
            records: Some(std::mem::take(&mut part.records)),
        };
        topic_data[at].partition_data.push(data);
    }
    let timeout_ms = milliseconds(config.request_timeout);
    let transactional_id = config.transactional_id.as_deref().map(Str::from);
    ProduceRequest { transactional_id, acks: config.acks.on_wire(), timeout_ms, topic_data }
}

/// The answer to each part, in the order of the parts; `None` where the broker said nothing.
pub(super) fn answers(parts: &[Part], response: ProduceResponse) -> Vec<Option<PartitionProduceResponse>> {
    let mut by_place = HashMap::new();
    for topic in response.responses {
        for answer in topic.partition_responses {
            by_place.insert((topic.name.clone(), topic.topic_id, answer.index), answer);
        }
    }
    let unnamed = Str::default();
    parts
        .iter()
        .map(|part| {
            let (name, partition) = (Str::from(&part.topic_partition.topic), part.topic_partition.partition);
            by_place
                .remove(&(name, TopicId::default(), partition))
                .or_else(|| by_place.remove(&(unnamed.clone(), part.topic_id, partition)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::TopicProduceResponse;
    use crate::protocol::types::Uuid;

    fn part(topic: &str, id: u8, partition: i32) -> Part {
        let topic_id = Uuid([id; 16]);
        let topic_partition = TopicPartition::new(topic, partition);
        Part { index: 0, ticket: 0, topic_partition, topic_id, records: Bytes::from_static(b"batch") }
    }

    #[test]
    fn partitions_are_grouped_by_topic() {
        let mut parts = [part("a", 1, 0), part("b", 2, 7), part("a", 1, 3)];
        let request = produce(&mut parts, &ProducerConfig::default());
        let got: Vec<_> = request
            .topic_data
            .iter()
            .map(|t| (t.name.as_str(), t.topic_id, t.partition_data.iter().map(|p| p.index).collect::<Vec<_>>()))
            .collect();
        let (a, b) = (Uuid([1; 16]), Uuid([2; 16]));
        assert_eq!(got, [("a", a, vec![0, 3]), ("b", b, vec![7])]);
        assert_eq!((request.acks, request.timeout_ms), (-1, 30_000));
    }

    #[test]
    fn answers_find_their_part_by_name_or_by_id() {
        let parts = [part("a", 1, 0), part("b", 2, 0), part("a", 1, 3)];
        let answer = |index, base_offset| PartitionProduceResponse { index, base_offset, ..Default::default() };
        for by_id in [false, true] {
            let topic = |name: &str, id: u8, partition_responses| TopicProduceResponse {
                name: if by_id { Str::default() } else { Str::from(name) },
                topic_id: if by_id { Uuid([id; 16]) } else { TopicId::default() },
                partition_responses,
            };
            let responses = vec![topic("b", 2, vec![answer(0, 20)]), topic("a", 1, vec![answer(3, 13), answer(9, 9)])];
            let response = ProduceResponse { responses, ..Default::default() };
            let offsets: Vec<_> = answers(&parts, response).into_iter().map(|a| a.map(|a| a.base_offset)).collect();
            assert_eq!(offsets, [None, Some(20), Some(13)], "by id: {by_id}");
        }
    }
}
