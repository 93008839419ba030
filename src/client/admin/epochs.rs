//! Where leader epochs end in the logs of those that lead now (OffsetForLeaderEpoch, KIP-320), with one request to each.

use std::collections::HashMap;

use super::offsets::Led;
use super::{Admin, Round, all_failed, by, passes, unanswered};
use crate::client::cluster::To;
use crate::client::error::{Error, ErrorKind};
use crate::client::lane::Lane;
use crate::client::metadata::Leader;
use crate::protocol::api::Body;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{
    OffsetForLeaderEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopic,
};
use crate::protocol::types::{BrokerId, LeaderEpoch, Offset, Str, TopicPartition};

/// Where an epoch ends in a leader's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// `None`: the leader's log knows of no such epoch.
    pub offset: Option<Offset>,
    /// The last epoch in that log up to the one that was asked about; not told by the oldest brokers.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Of each partition the end, or that there is none to be had, or why it is not known.
type Ends = Vec<(TopicPartition, Result<Option<EpochEnd>, Error>)>;

impl Admin {
    /// Where these epochs end in the logs of the partitions' leaders: a log that was cut in an unclean election ends its
    /// epochs earlier than they were seen to reach. `None` where the leader will not say, or does not know how to.
    pub async fn epoch_ends(
        &self,
        of: &HashMap<TopicPartition, LeaderEpoch>,
    ) -> HashMap<TopicPartition, Result<Option<EpochEnd>, Error>> {
        let ask =
            |open, round| self.of_leaders(open, round, move |leader, led| self.ask_epoch_ends(of, leader, led, round));
        self.settle(of.keys().cloned().collect(), passes, ask).await
    }

    async fn ask_epoch_ends(
        &self,
        of: &HashMap<TopicPartition, LeaderEpoch>,
        leader: BrokerId,
        led: Led,
        round: Round,
    ) -> Ends {
        let asked = self.cluster.call(To::Broker(leader), Lane::General, request(of, &led), round.left()).await;
        let partitions = led.into_iter().map(|(partition, _)| partition);
        match asked {
            Ok(answer) => said(&answer.body, partitions, |error| self.cluster.placed(leader, error)),
            // Brokers before Kafka 2.1 do not know which epoch their clients know.
            Err(error) if matches!(error.kind, ErrorKind::Unsupported) => partitions.map(|of| (of, Ok(None))).collect(),
            Err(error) => all_failed(partitions, &error),
        }
    }
}

fn request(of: &HashMap<TopicPartition, LeaderEpoch>, led: &[(TopicPartition, Leader)]) -> OffsetForLeaderEpochRequest {
    let partition = |(at, leader): &(TopicPartition, Leader)| OffsetForLeaderPartition {
        partition: at.partition,
        current_leader_epoch: leader.epoch.unwrap_or(-1),
        leader_epoch: of.get(at).copied().unwrap_or(-1),
    };
    let by_topic = by(led.iter().map(|it| (&it.0.topic, partition(it))));
    let topics =
        by_topic.into_iter().map(|(topic, partitions)| OffsetForLeaderTopic { topic: Str::from(topic), partitions });
    OffsetForLeaderEpochRequest { replica_id: -1, topics: topics.collect() }
}

fn said(
    answer: &OffsetForLeaderEpochResponse,
    partitions: impl Iterator<Item = TopicPartition>,
    placed: impl Fn(Error) -> Error,
) -> Ends {
    let mut answered: HashMap<(&str, i32), &OffsetForLeaderEndOffset> = HashMap::new();
    for topic in &answer.topics {
        answered.extend(topic.partitions.iter().map(|it| ((&*topic.topic, it.partition), it)));
    }
    let outcome = |of: &TopicPartition| match answered.get(&(&*of.topic, of.partition)) {
        Some(it) => end(it).map_err(|error| error.at(of.clone())),
        None => Err(unanswered(of)),
    };
    let placed = |error: Error| placed(error.of(OffsetForLeaderEpochRequest::NAME));
    partitions.map(|of| (of.clone(), outcome(&of).map_err(placed))).collect()
}

fn end(it: &OffsetForLeaderEndOffset) -> Result<Option<EpochEnd>, Error> {
    let code = ErrorCode(it.error_code);
    match code.class() {
        Class::Fatal => Ok(None),
        _ => {
            code.ok()?;
            let leader_epoch = Some(it.leader_epoch).filter(|epoch| *epoch >= 0);
            Ok(Some(EpochEnd { offset: Some(it.end_offset).filter(|end| *end >= 0), leader_epoch }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_may_yet_tell_is_asked_again() {
        let told = |code: ErrorCode, end_offset| {
            let answer =
                OffsetForLeaderEndOffset { error_code: code.0, end_offset, leader_epoch: 3, ..Default::default() };
            end(&answer).map_err(|error| error.is_retriable())
        };
        assert_eq!(told(ErrorCode::NONE, 7), Ok(Some(EpochEnd { offset: Some(7), leader_epoch: Some(3) })));
        assert_eq!(told(ErrorCode::NONE, -1), Ok(Some(EpochEnd { offset: None, leader_epoch: Some(3) })));
        assert_eq!(told(ErrorCode::TOPIC_AUTHORIZATION_FAILED, -1), Ok(None));
        for code in [ErrorCode::UNKNOWN_LEADER_EPOCH, ErrorCode::FENCED_LEADER_EPOCH, ErrorCode::NOT_LEADER_OR_FOLLOWER]
        {
            assert_eq!(told(code, -1), Err(true), "{code}");
        }
    }
}
