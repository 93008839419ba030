//! Removing records from the start of partitions (DeleteRecords, KIP-107), with one request to each leader.

use std::collections::HashMap;

use super::{Admin, Round, all_failed, by, milliseconds, passes, unanswered};
use crate::client::cluster::To;
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopic,
};
use crate::protocol::types::{BrokerId, Offset, Str, Topic, TopicPartition};

/// Up to where records are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteBefore {
    /// This offset is the first that stays.
    Offset(Offset),
    /// All that every in-sync replica has.
    HighWatermark,
}

/// The first offset that is left in each partition, or the reason why nothing was removed.
type Removed = Vec<(TopicPartition, Result<Offset, Error>)>;

impl Admin {
    /// Removes records, and says where each partition begins from now on.
    pub async fn delete_records(&self, before: &[(TopicPartition, DeleteBefore)]) -> Result<Removed, Error> {
        let wanted: HashMap<TopicPartition, DeleteBefore> = before.iter().cloned().collect();
        let wanted = &wanted;
        let partitions = before.iter().map(|(of, _)| of.clone()).collect();
        let removed = self.in_rounds(partitions, passes, |open, round| {
            self.of_leaders(open, round, move |leader, led| {
                let of = led.into_iter().filter_map(|(of, _)| Some((wanted.get(&of).copied()?, of)));
                self.ask_to_remove(leader, of.map(|(before, of)| (of, before)).collect(), round)
            })
        });
        Ok(removed.await)
    }

    async fn ask_to_remove(
        &self,
        leader: BrokerId,
        before: Vec<(TopicPartition, DeleteBefore)>,
        round: Round,
    ) -> Removed {
        let request = request(&before, round);
        let partitions = before.into_iter().map(|(of, _)| of);
        match self.cluster.call(To::Broker(leader), Lane::General, request, round.left()).await {
            Ok(answer) => said(answer.body, partitions, |error| self.cluster.placed(leader, error)),
            Err(error) => all_failed(partitions, &error),
        }
    }
}

fn request(before: &[(TopicPartition, DeleteBefore)], round: Round) -> DeleteRecordsRequest {
    let partition = |partition_index: i32, before: DeleteBefore| DeleteRecordsPartition {
        partition_index,
        offset: match before {
            DeleteBefore::Offset(offset) => offset,
            DeleteBefore::HighWatermark => -1,
        },
    };
    let topics = by(before.iter().map(|(of, before)| (&of.topic, partition(of.partition, *before))));
    let topic = |(topic, partitions): (&Topic, _)| DeleteRecordsTopic { name: topic.into(), partitions };
    DeleteRecordsRequest { topics: topics.into_iter().map(topic).collect(), timeout_ms: milliseconds(round.left()) }
}

fn said(
    answer: DeleteRecordsResponse,
    partitions: impl Iterator<Item = TopicPartition>,
    placed: impl Fn(Error) -> Error,
) -> Removed {
    let mut answered: HashMap<(Str, i32), DeleteRecordsPartitionResult> = HashMap::new();
    for topic in answer.topics {
        answered.extend(topic.partitions.into_iter().map(|it| ((topic.name.clone(), it.partition_index), it)));
    }
    let outcome = |of: &TopicPartition| match answered.get(&(Str::from(&of.topic), of.partition)) {
        Some(it) => match ErrorCode(it.error_code).ok() {
            Ok(()) => Ok(it.low_watermark),
            Err(code) => Err(Error::broker(code).at(of.clone())),
        },
        None => Err(unanswered(of)),
    };
    let placed = |error: Error| placed(error.of(DeleteRecordsRequest::NAME));
    partitions.map(|of| (of.clone(), outcome(&of).map_err(placed))).collect()
}
