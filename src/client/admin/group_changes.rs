//! Changes to groups: removing them, and setting or forgetting what they have committed.
//!
//! A coordinator takes none of these while the group has members that it would surprise: it answers NON_EMPTY_GROUP,
//! UNKNOWN_MEMBER_ID or GROUP_SUBSCRIBED_TO_TOPIC.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::{Admin, Round, all_failed, by, passes_but_unknown, unanswered};
use crate::client::cluster::{Kept, To, Topics};
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::client::metadata::Metadata;
use crate::protocol::api::Body;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{
    DeleteGroupsRequest, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::protocol::types::{BrokerId, LeaderEpoch, Offset, Str, Topic, TopicPartition};

/// What a group is to go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// Of the record before it, where it is known: lets a reader notice that the log was cut (KIP-320).
    pub leader_epoch: Option<LeaderEpoch>,
    /// The committer's own words.
    pub metadata: Option<String>,
}

impl From<Offset> for NewOffset {
    fn from(offset: Offset) -> Self {
        Self { offset, leader_epoch: None, metadata: None }
    }
}

/// The coordinator's verdict on each partition.
type Verdicts = HashMap<TopicPartition, ErrorCode>;
/// What became of each partition.
type Changed = Vec<(TopicPartition, Result<(), Error>)>;

impl Admin {
    /// Removes groups that have no members, and all that they have committed; one request to each coordinator. A group
    /// that is not there fails with GROUP_ID_NOT_FOUND; so may one that an earlier try of the same call has removed,
    /// when its answer was lost.
    pub async fn delete_groups(&self, groups: &[String]) -> Result<Vec<(String, Result<(), Error>)>, Error> {
        let removed = self.of_coordinators(Kept::Group, groups, |coordinator, chunk, round| async move {
            let asked = self.ask_to_delete(coordinator, &chunk, round).await;
            asked.unwrap_or_else(|error| all_failed(chunk, &error))
        });
        Ok(removed.await)
    }

    async fn ask_to_delete(
        &self,
        coordinator: BrokerId,
        groups: &[String],
        round: Round,
    ) -> Result<Vec<(String, Result<(), Error>)>, Error> {
        let groups_names = groups.iter().map(|group| group.as_str().into()).collect();
        let request = DeleteGroupsRequest { groups_names };
        let answer = self.cluster.call(To::Broker(coordinator), Lane::General, request, round.left()).await?;
        let said: HashMap<Str, _> = answer.body.results.into_iter().map(|it| (it.group_id.clone(), it)).collect();
        let outcome = |group: &String| match said.get(group.as_str()) {
            Some(it) => ErrorCode(it.error_code)
                .ok()
                .map_err(|code| self.says::<DeleteGroupsRequest>(coordinator, code, it.error_message.as_deref())),
            None => Err(unanswered(group).of(DeleteGroupsRequest::NAME)),
        };
        Ok(groups.iter().map(|group| (group.clone(), outcome(group))).collect())
    }

    /// Sets what a group has committed, as nobody of it (a commit without a generation): the group must have no members,
    /// and is made where there is none. One request.
    pub async fn alter_offsets(&self, group: &str, to: &[(TopicPartition, NewOffset)]) -> Result<Changed, Error> {
        let until = Instant::now() + self.limit;
        let known = self.known_to_all(to.iter().map(|(of, _)| of)).await?;
        let wanted: HashMap<&TopicPartition, &NewOffset> = to.iter().map(|(of, new)| (of, new)).collect();
        let (known, wanted) = (&known, &wanted);
        let partitions = to.iter().map(|(of, _)| of.clone()).collect();
        let rest = self.until(until);
        let changed = rest.of_group(group, partitions, |open, round| async move {
            let new = open.iter().filter_map(|of| Some((of, *wanted.get(of)?)));
            let request = commit(group, new, known);
            let answer = self.cluster.call(To::GroupCoordinator(group), Lane::General, request, round.left()).await?;
            let topics = answer.body.topics.into_iter();
            let named = topics.filter_map(|it| Some((topic_named(&it.name, &it.topic_id, known)?, it.partitions)));
            let verdicts = named.flat_map(|(topic, partitions)| {
                partitions.into_iter().map(move |it| (topic.clone(), it.partition_index, it.error_code))
            });
            Ok(verdicts.map(verdict).collect())
        });
        Ok(named::<OffsetCommitRequest>(changed.await))
    }

    /// Forgets what a group has committed for partitions that none of its members reads (KIP-496). One request.
    pub async fn delete_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<Changed, Error> {
        let changed = self.of_group(group, partitions.to_vec(), |open, round| async move {
            let request = forget(group, &open);
            let answer = self.cluster.call(To::GroupCoordinator(group), Lane::General, request, round.left()).await?;
            ErrorCode(answer.body.error_code).ok()?;
            let verdicts = answer.body.topics.into_iter().flat_map(|topic| {
                let name = Topic::from(&topic.name);
                topic.partitions.into_iter().map(move |it| (name.clone(), it.partition_index, it.error_code))
            });
            Ok(verdicts.map(verdict).collect())
        });
        Ok(named::<OffsetDeleteRequest>(changed.await))
    }

    /// Asks the coordinator of one group in rounds.
    async fn of_group<F, A>(&self, group: &str, partitions: Vec<TopicPartition>, ask: F) -> Changed
    where
        F: Fn(Vec<TopicPartition>, Round) -> A,
        A: Future<Output = Result<Verdicts, Error>>,
    {
        let ask = &ask;
        self.in_rounds(partitions, passes_but_unknown, |open, round| async move {
            let answers: Changed = match ask(open.clone(), round).await {
                Ok(verdicts) => open.into_iter().map(|of| (of.clone(), outcome(&verdicts, &of))).collect(),
                Err(error) => all_failed(open, &error),
            };
            if answers.iter().any(|(_, it)| it.as_ref().is_err_and(|error| error.class() == Class::FindCoordinator)) {
                self.cluster.forget_coordinator(group);
            }
            answers
        })
        .await
    }

    /// What is known of the topics of all these; from OffsetCommit version 10 on they are told by their ids.
    async fn known_to_all<'a>(&self, of: impl Iterator<Item = &'a TopicPartition>) -> Result<Arc<Metadata>, Error> {
        let mut topics: Vec<Topic> = of.map(|it| it.topic.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        self.cluster.refresh_within(Topics::Once(topics), self.limit).await
    }
}

fn commit<'a>(
    group: &str,
    to: impl Iterator<Item = (&'a TopicPartition, &'a NewOffset)>,
    known: &Metadata,
) -> OffsetCommitRequest {
    let partition = |partition: i32, new: &NewOffset| OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: new.offset,
        committed_leader_epoch: new.leader_epoch.unwrap_or(-1),
        committed_metadata: Some(new.metadata.as_deref().unwrap_or_default().into()),
    };
    let topics: BTreeMap<&Topic, Vec<_>> =
        by(to.map(|(of, new)| (&of.topic, partition(of.partition, new)))).into_iter().collect();
    let topic = |(topic, partitions): (&Topic, Vec<_>)| OffsetCommitRequestTopic {
        name: topic.into(),
        topic_id: known.topic_id(topic).unwrap_or_default(),
        partitions,
    };
    OffsetCommitRequest {
        group_id: group.into(),
        topics: topics.into_iter().map(topic).collect(),
        ..Default::default()
    }
}

fn forget(group: &str, partitions: &[TopicPartition]) -> OffsetDeleteRequest {
    let numbers = by(partitions.iter().map(|of| (&of.topic, of.partition)));
    let partition = |partition_index| OffsetDeleteRequestPartition { partition_index };
    let topic = |(topic, partitions): (&Topic, Vec<i32>)| OffsetDeleteRequestTopic {
        name: topic.into(),
        partitions: partitions.into_iter().map(partition).collect(),
    };
    OffsetDeleteRequest { group_id: group.into(), topics: numbers.into_iter().map(topic).collect() }
}

fn topic_named(name: &Str, id: &crate::protocol::types::TopicId, known: &Metadata) -> Option<Topic> {
    if name.is_empty() { known.topic_name(id).cloned() } else { Some(name.into()) }
}

fn verdict((topic, partition, code): (Topic, i32, i16)) -> (TopicPartition, ErrorCode) {
    (TopicPartition { topic, partition }, ErrorCode(code))
}

fn outcome(verdicts: &Verdicts, of: &TopicPartition) -> Result<(), Error> {
    let said = verdicts.get(of).ok_or_else(|| unanswered(of))?;
    said.ok().map_err(|code| Error::broker(code).at(of.clone()))
}

fn named<R: Body>(changed: Changed) -> Changed {
    changed.into_iter().map(|(of, outcome)| (of, outcome.map_err(|error| error.of(R::NAME)))).collect()
}
