//! Producers as partitions see them (DescribeProducers, KIP-664), and ending there what no coordinator ends any more
//! (WriteTxnMarkers).

use std::collections::HashMap;

use super::{Admin, Round, all_failed, by, passes, passes_but_silent, unanswered};
use crate::client::cluster::To;
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    DescribeProducersPartitionResponse, DescribeProducersRequest, DescribeProducersResponse,
    DescribeProducersTopicRequest, ProducerState, WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
};
use crate::protocol::types::{BrokerId, Offset, Str, Topic, TopicPartition};

/// The most partitions in one request: each may have thousands of producers.
const PARTITIONS_MAX: usize = 500;

/// A producer that a partition keeps in mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveProducer {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// Of its last record; `None` while it has written none in this epoch.
    pub last_sequence: Option<i32>,
    pub last_timestamp_ms: Option<i64>,
    /// Of the coordinator that last ended a transaction of it here; `None` if none has.
    pub coordinator_epoch: Option<i32>,
    /// Where its open transaction begins.
    pub open_since: Option<Offset>,
}

/// What a transaction that is to be aborted is known by on its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbortTransaction {
    pub topic_partition: TopicPartition,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// `None` where no transaction of this producer has ended yet.
    pub coordinator_epoch: Option<i32>,
}

impl AbortTransaction {
    /// The transaction of a producer, as it was described.
    pub fn of(topic_partition: TopicPartition, producer: &ActiveProducer) -> Self {
        Self {
            topic_partition,
            producer_id: producer.producer_id,
            producer_epoch: producer.producer_epoch,
            coordinator_epoch: producer.coordinator_epoch,
        }
    }

    fn on_the_wire(&self) -> WriteTxnMarkersRequest {
        let TopicPartition { topic, partition } = &self.topic_partition;
        let marker = WritableTxnMarker {
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic { name: topic.into(), partition_indexes: vec![*partition] }],
            // 0 is below none that any coordinator has.
            coordinator_epoch: self.coordinator_epoch.unwrap_or_default(),
            // The epoch is that of the records, as in the first protocol.
            transaction_version: 0,
        };
        WriteTxnMarkersRequest { markers: vec![marker] }
    }
}

/// What each partition said of its producers.
type Described = Vec<(TopicPartition, Result<Vec<ActiveProducer>, Error>)>;

impl Admin {
    /// The producers that partitions keep in mind, each partition's in the order of their ids, or the reason why not;
    /// asked of the leaders. From Kafka 2.8 on.
    pub async fn describe_producers(&self, partitions: &[TopicPartition]) -> Result<Described, Error> {
        let described = self.in_rounds(partitions.to_vec(), passes, |open, round| {
            self.of_leaders(open, round, move |leader, led| {
                self.ask_producers(leader, led.into_iter().map(|(of, _)| of).collect(), round)
            })
        });
        Ok(described.await)
    }

    /// The same by one broker, of partitions of which it has a replica.
    pub async fn describe_producers_on(
        &self,
        broker: BrokerId,
        partitions: &[TopicPartition],
    ) -> Result<Described, Error> {
        let described = self
            .in_rounds(partitions.to_vec(), passes_but_silent, |open, round| self.ask_producers(broker, open, round))
            .await;
        Ok(described)
    }

    async fn ask_producers(&self, broker: BrokerId, of: Vec<TopicPartition>, round: Round) -> Described {
        let mut described = Vec::with_capacity(of.len());
        // One after the other: the answers may be large.
        for chunk in of.chunks(PARTITIONS_MAX) {
            let request = request(chunk);
            match self.cluster.call(To::Broker(broker), Lane::General, request, round.left()).await {
                Ok(answer) => described.extend(said(answer.body, chunk, |error| self.cluster.placed(broker, error))),
                Err(error) => described.extend(all_failed(chunk.iter().cloned(), &error)),
            }
        }
        described
    }

    /// Ends a transaction on one partition as if its coordinator had aborted it, for one that hangs because its coordinator
    /// does not know of it any more: readers of committed records go on behind it, and leave its records out.
    ///
    /// Whoever aborts a transaction that its coordinator does know of may break it apart: the other partitions may yet be
    /// committed. A partition that has heard from a newer epoch of the producer refuses (INVALID_PRODUCER_EPOCH), and from
    /// a newer coordinator, too (TRANSACTION_COORDINATOR_FENCED). When no answer comes, it is not tried again: what is open
    /// by then may be another transaction.
    pub async fn abort_transaction(&self, what: &AbortTransaction) -> Result<(), Error> {
        let asked = self.in_rounds(vec![what.topic_partition.clone()], passes_when_answered, |open, round| {
            self.of_leaders(open, round, move |leader, _| async move {
                vec![(what.topic_partition.clone(), self.ask_to_abort(leader, what, round).await)]
            })
        });
        let (_, outcome) = asked.await.pop().unwrap_or_else(|| {
            let of = what.topic_partition.clone();
            (of, Err(unanswered(&what.topic_partition)))
        });
        outcome.map_err(|error| error.at(what.topic_partition.clone()).of(WriteTxnMarkersRequest::NAME))
    }

    async fn ask_to_abort(&self, leader: BrokerId, what: &AbortTransaction, round: Round) -> Result<(), Error> {
        let answer = self.cluster.call(To::Broker(leader), Lane::General, what.on_the_wire(), round.left()).await?.body;
        match verdict(&answer, what) {
            Some(code) => code.ok().map_err(|code| self.says::<WriteTxnMarkersRequest>(leader, code, None)),
            None => Err(self.cluster.placed(leader, unanswered(&what.topic_partition))),
        }
    }
}

/// For what must not be done twice: what was refused may be tried again, and what may have been done may not.
fn passes_when_answered(error: &Error) -> bool {
    passes(error) && !error.is_transport()
}

fn request(of: &[TopicPartition]) -> DescribeProducersRequest {
    let topics = by(of.iter().map(|of| (&of.topic, of.partition)));
    let topic = |(topic, partition_indexes): (&Topic, _)| DescribeProducersTopicRequest {
        name: topic.into(),
        partition_indexes,
    };
    DescribeProducersRequest { topics: topics.into_iter().map(topic).collect() }
}

fn said(answer: DescribeProducersResponse, of: &[TopicPartition], placed: impl Fn(Error) -> Error) -> Described {
    let mut answered: HashMap<(Str, i32), DescribeProducersPartitionResponse> = HashMap::new();
    for topic in answer.topics {
        answered.extend(topic.partitions.into_iter().map(|it| ((topic.name.clone(), it.partition_index), it)));
    }
    let mut outcome = |of: &TopicPartition| match answered.remove(&(Str::from(&of.topic), of.partition)) {
        Some(it) => producers(it).map_err(|error| error.at(of.clone())),
        None => Err(unanswered(of)),
    };
    let placed = |error: Error| placed(error.of(DescribeProducersRequest::NAME));
    of.iter().map(|of| (of.clone(), outcome(of).map_err(placed))).collect()
}

fn producers(it: DescribeProducersPartitionResponse) -> Result<Vec<ActiveProducer>, Error> {
    let code = ErrorCode(it.error_code).ok();
    code.map_err(|code| Error::broker_says(code, it.error_message.as_deref()))?;
    let mut producers = it.active_producers.iter().map(producer).collect::<Result<Vec<_>, _>>()?;
    producers.sort_unstable_by_key(|it| it.producer_id);
    Ok(producers)
}

fn producer(it: &ProducerState) -> Result<ActiveProducer, Error> {
    // The message has room for more than an epoch can be.
    let strange = |_| Error::protocol(std::io::Error::other(format!("no such producer epoch: {}", it.producer_epoch)));
    Ok(ActiveProducer {
        producer_id: it.producer_id,
        producer_epoch: i16::try_from(it.producer_epoch).map_err(strange)?,
        last_sequence: Some(it.last_sequence).filter(|sequence| *sequence >= 0),
        last_timestamp_ms: Some(it.last_timestamp).filter(|ms| *ms >= 0),
        coordinator_epoch: Some(it.coordinator_epoch).filter(|epoch| *epoch >= 0),
        open_since: Some(it.current_txn_start_offset).filter(|offset| *offset >= 0),
    })
}

/// What the leader says of this producer and this partition.
fn verdict(answer: &WriteTxnMarkersResponse, what: &AbortTransaction) -> Option<ErrorCode> {
    let marker = answer.markers.iter().find(|it| it.producer_id == what.producer_id)?;
    let topic = marker.topics.iter().find(|it| it.name.as_str() == &*what.topic_partition.topic)?;
    let partition = topic.partitions.iter().find(|it| it.partition_index == what.topic_partition.partition)?;
    Some(ErrorCode(partition.error_code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::{
        WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    };

    #[test]
    fn what_a_partition_does_not_know_is_not_a_number() {
        let check = |state: ProducerState, expect: Option<ActiveProducer>| {
            assert_eq!(producer(&state).ok(), expect, "{state:?}");
        };
        let fresh = ProducerState { producer_id: 7, coordinator_epoch: -1, ..Default::default() };
        let known = ActiveProducer {
            producer_id: 7,
            producer_epoch: 0,
            last_sequence: None,
            last_timestamp_ms: None,
            coordinator_epoch: None,
            open_since: None,
        };
        check(fresh.clone(), Some(known));
        check(ProducerState { producer_epoch: 40_000, ..fresh.clone() }, None);
        let open = ProducerState { current_txn_start_offset: 0, coordinator_epoch: 3, last_sequence: 9, ..fresh };
        let known = ActiveProducer { open_since: Some(0), coordinator_epoch: Some(3), last_sequence: Some(9), ..known };
        check(open, Some(known));
    }

    #[test]
    fn an_abort_is_answered_by_its_own_row() {
        let what = AbortTransaction {
            topic_partition: TopicPartition::new("t", 1),
            producer_id: 7,
            producer_epoch: 2,
            coordinator_epoch: None,
        };
        let marker = &what.on_the_wire().markers[0];
        assert_eq!((marker.coordinator_epoch, marker.transaction_result), (0, false));
        let answer = |producer_id: i64, partition_index: i32| {
            let partitions = vec![WritableTxnMarkerPartitionResult { partition_index, error_code: 52 }];
            let topics = vec![WritableTxnMarkerTopicResult { name: "t".into(), partitions }];
            WriteTxnMarkersResponse { markers: vec![WritableTxnMarkerResult { producer_id, topics }] }
        };
        assert_eq!(verdict(&answer(7, 1), &what), Some(ErrorCode::TRANSACTION_COORDINATOR_FENCED));
        for other in [answer(8, 1), answer(7, 0), WriteTxnMarkersResponse::default()] {
            assert_eq!(verdict(&other, &what), None, "{other:?}");
        }
    }
}
