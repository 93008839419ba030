//! Choosing the leaders of partitions anew (ElectLeaders, KIP-183 and KIP-460).

use std::collections::HashMap;

use super::{Admin, Round, by, milliseconds, passes_but_unknown, unanswered};
use crate::client::cluster::To;
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, ElectLeadersTopicPartitions};
use crate::protocol::types::{Topic, TopicPartition};

/// Who may become leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Election {
    /// The first of the replicas, which is where a balanced cluster has its leaders.
    Preferred,
    /// Any live replica if none is in sync: what the others have not copied is lost. From Kafka 2.4 on.
    Unclean,
}

impl Admin {
    /// Has leaders chosen anew. A partition whose leader is already the one to choose fails with ELECTION_NOT_NEEDED.
    pub async fn elect_leaders(
        &self,
        election: Election,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Result<(), Error>)>, Error> {
        let elected = self.in_rounds(partitions.to_vec(), passes_but_unknown, |open, round| async move {
            let asked = self.ask_to_elect(election, &open, round).await;
            asked.unwrap_or_else(|error| super::all_failed(open, &error))
        });
        let elected = elected.await;
        self.cluster.request_metadata();
        Ok(elected)
    }

    async fn ask_to_elect(
        &self,
        election: Election,
        open: &[TopicPartition],
        round: Round,
    ) -> Result<Vec<(TopicPartition, Result<(), Error>)>, Error> {
        let topics = by(open.iter().map(|of| (&of.topic, of.partition)));
        let topic = |(topic, partitions): (&Topic, _)| ElectLeadersTopicPartitions { topic: topic.into(), partitions };
        let request = ElectLeadersRequest {
            election_type: match election {
                Election::Preferred => 0,
                Election::Unclean => 1,
            },
            topic_partitions: Some(topics.into_iter().map(topic).collect()),
            timeout_ms: milliseconds(round.left()),
        };
        let answer = self.cluster.call(To::Controller, Lane::General, request, round.left()).await?.body;
        ErrorCode(answer.error_code).ok().map_err(|code| Error::broker(code).of(ElectLeadersRequest::NAME))?;
        Ok(said(answer, open))
    }
}

fn said(answer: ElectLeadersResponse, open: &[TopicPartition]) -> Vec<(TopicPartition, Result<(), Error>)> {
    let mut answered = HashMap::new();
    for topic in answer.replica_election_results {
        let name = Topic::from(&topic.topic);
        let verdicts = topic.partition_result.into_iter();
        answered.extend(verdicts.map(|it| (TopicPartition::new(name.clone(), it.partition_id), it)));
    }
    let outcome = |of: &TopicPartition| match answered.get(of) {
        Some(it) => ErrorCode(it.error_code)
            .ok()
            .map_err(|code| Error::broker_says(code, it.error_message.as_deref()).at(of.clone())),
        None => Err(unanswered(of)),
    };
    let named = |error: Error| error.of(ElectLeadersRequest::NAME);
    open.iter().map(|of| (of.clone(), outcome(of).map_err(named))).collect()
}
