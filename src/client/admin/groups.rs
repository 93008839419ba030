//! Groups: which there are, what they are about, and what they have committed, with one request to each broker that
//! keeps some of them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures::future::join_all;

use super::{Admin, Round, all_failed, by, passes, passes_but_silent, unanswered};
use crate::client::cluster::{Kept, To, Topics};
use crate::client::error::{Error, ErrorKind};
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::group::{self, ConsumerProtocolAssignment};
use crate::protocol::message::DecodeError;
use crate::protocol::messages::{
    ConsumerGroupDescribeAssignment, ConsumerGroupDescribeMember, ConsumerGroupDescribeRequest, DescribeGroupsRequest,
    DescribedConsumerGroup, DescribedGroup, DescribedGroupMember, ListGroupsRequest, ListedGroup, OffsetFetchRequest,
    OffsetFetchRequestGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::protocol::types::{BrokerId, LeaderEpoch, Offset, Str, Topic, TopicPartition};

/// How often one broker is asked for its groups.
const BROKER_ROUNDS_MAX: u32 = 4;

/// The most groups in one request.
pub const GROUPS_MAX: usize = 2_000;

/// The groups of a cluster, as far as its brokers have answered.
#[derive(Debug, Clone, Default)]
pub struct GroupListings {
    pub groups: Vec<GroupListing>,
    /// One for each broker that did not answer; the groups that it keeps are not in `groups`.
    pub failures: Vec<Error>,
}

/// Which groups to list; an empty list lets all pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupFilter {
    /// `Stable`, `Empty`, …; from Kafka 2.6 on (KIP-518).
    pub states: Vec<String>,
    /// `classic`, `consumer`, `share`, `streams`; from Kafka 3.8 on (KIP-848).
    pub types: Vec<String>,
}

impl GroupFilter {
    /// A broker that knows no such filter would list everything.
    fn since_version(&self) -> i16 {
        match (self.types.is_empty(), self.states.is_empty()) {
            (false, _) => 5,
            (true, false) => 4,
            (true, true) => 0,
        }
    }
}

/// A group, by the broker that keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    pub group_id: String,
    /// `consumer` for groups of consumers; `None` for one that only ever committed offsets.
    pub protocol_type: Option<String>,
    /// `None` from brokers before Kafka 2.6.
    pub state: Option<String>,
    /// `classic`, `consumer`, `share` or `streams`; `None` from brokers before Kafka 3.7.
    pub group_type: Option<String>,
    pub coordinator: BrokerId,
}

/// A group and its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    pub group_id: String,
    pub state: String,
    /// Whether it speaks the new consumer protocol (KIP-848).
    pub is_consumer_protocol: bool,
    /// Consumer protocol: how far the group is, and what the coordinator has assigned for.
    pub epochs: Option<GroupEpochs>,
    pub protocol_type: Option<String>,
    pub assignor: Option<String>,
    pub coordinator: BrokerId,
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    /// The user's own name for it (KIP-345).
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub assignment: Vec<TopicPartition>,
    /// Consumer protocol: what it is on its way to.
    pub standing: Option<MemberStanding>,
}

/// Of a group of the consumer protocol. Members come and go and topics grow by one group epoch each; while the assignment
/// is behind, it is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupEpochs {
    pub group: i32,
    pub assignment: i32,
}

/// Of a member of a group of the consumer protocol. It has come through a rebalance when its epoch is the assignment's and
/// it reads what is its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStanding {
    pub epoch: i32,
    pub target: Vec<TopicPartition>,
    /// Whether it speaks the classic protocol and is carried along; `None` from brokers before Kafka 4.0.
    pub is_classic: Option<bool>,
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset the group will read; `None` if it has committed none, or `error` says why it is not known.
    pub offset: Option<Offset>,
    pub leader_epoch: Option<LeaderEpoch>,
    /// The committer's own words.
    pub metadata: Option<String>,
    pub error: Option<ErrorCode>,
}

/// All that a group has committed.
pub type CommittedOffsets = HashMap<TopicPartition, Committed>;

/// What a group has committed for one topic: of each partition the offset and no more, for whoever asks about all groups
/// over and over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicCommits {
    pub topic: Topic,
    /// Those that have an offset, in order of their numbers.
    pub offsets: Vec<(i32, Offset)>,
    /// Those of which it is not known, and why.
    pub errors: Vec<(i32, ErrorCode)>,
}

impl Admin {
    /// All groups, asked of all brokers at the same time. Fails only when none of them answers.
    pub async fn list_groups(&self) -> Result<GroupListings, Error> {
        self.list_groups_of(&GroupFilter::default()).await
    }

    /// The groups that pass a filter.
    pub async fn list_groups_of(&self, filter: &GroupFilter) -> Result<GroupListings, Error> {
        let (answers, failures) = self.of_brokers(|broker, round| self.groups_of(broker, filter, round)).await?;
        let mut listed = GroupListings { groups: Vec::new(), failures };
        for (broker, groups) in answers {
            listed.groups.extend(groups.into_iter().map(|it| listing(&it, broker)));
        }
        self.settle_twice_listed(&mut listed.groups).await;
        // Whoever lists a group coordinates it: nobody needs to ask for that.
        self.cluster.learn_coordinators(listed.groups.iter().map(|it| (it.group_id.clone(), it.coordinator)));
        Ok(listed)
    }

    /// Asks all brokers for what they keep, at the same time. Fails only when none of them answers.
    pub(super) async fn of_brokers<V, F, A>(&self, ask: F) -> Result<(Vec<(BrokerId, V)>, Vec<Error>), Error>
    where
        F: Fn(BrokerId, Round) -> A,
        A: Future<Output = Result<V, Error>>,
    {
        // A broker that has joined since keeps something, too.
        let known = self.cluster.refresh(Topics::Followed).await?;
        let brokers = known.brokers.keys().copied().collect();
        // One that is gone is not waited for: what the others keep is known, and its own moves to them.
        let brief = self.clone().rounds(self.rounds_max.min(BROKER_ROUNDS_MAX));
        let ask = &ask;
        let asked = brief.in_rounds(brokers, passes_but_silent, |open, round| {
            join_all(open.into_iter().map(move |broker| async move { (broker, ask(broker, round).await) }))
        });
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        for (broker, answer) in asked.await {
            match answer {
                Ok(kept) => answers.push((broker, kept)),
                Err(error) => failures.push(error),
            }
        }
        match failures.pop() {
            Some(error) if answers.is_empty() => Err(error),
            last => Ok((answers, failures.into_iter().chain(last).collect())),
        }
    }

    /// A broker that was cut off for a while may still list groups that another one keeps by now. Of such a group, the
    /// listing of its coordinator stays.
    async fn settle_twice_listed(&self, groups: &mut Vec<GroupListing>) {
        let mut seen = HashSet::with_capacity(groups.len());
        let twice: HashSet<String> =
            groups.iter().filter(|it| !seen.insert(it.group_id.as_str())).map(|it| it.group_id.clone()).collect();
        if twice.is_empty() {
            return;
        }
        twice.iter().for_each(|group| self.cluster.forget_coordinator(group));
        let limit = self.cluster.config().request_timeout;
        let found = self.cluster.coordinators(twice.iter().cloned().collect(), limit).await;
        let kept_by: HashMap<_, _> = found.into_iter().filter_map(|(group, it)| Some((group, it.ok()?))).collect();
        // Listings by others last; of each group the first one stays.
        groups.sort_by_key(|it| kept_by.get(&it.group_id).is_some_and(|coordinator| *coordinator != it.coordinator));
        let mut seen = HashSet::with_capacity(groups.len());
        groups.retain(|it| seen.insert(it.group_id.clone()));
    }

    async fn groups_of(&self, broker: BrokerId, filter: &GroupFilter, round: Round) -> Result<Vec<ListedGroup>, Error> {
        let needs = filter.since_version();
        if needs > 0 && self.cluster.version::<ListGroupsRequest>(broker, Lane::General).await? < needs {
            let error = Error::new(ErrorKind::Unsupported).of(ListGroupsRequest::NAME);
            return Err(self.cluster.placed(broker, error));
        }
        let names = |of: &[String]| of.iter().map(|it| it.as_str().into()).collect();
        let request = ListGroupsRequest { states_filter: names(&filter.states), types_filter: names(&filter.types) };
        let answer = self.cluster.call(To::Broker(broker), Lane::General, request, round.left).await?;
        let code = ErrorCode(answer.body.error_code).ok();
        code.map_err(|code| self.says::<ListGroupsRequest>(broker, code, None))?;
        Ok(answer.body.groups)
    }

    /// What groups have committed, each or the reason why not. One request to each coordinator, of at most
    /// [`GROUPS_MAX`] groups, all at the same time; brokers before OffsetFetch version 8 are asked once for each group.
    /// A group that does not exist has committed nothing.
    pub async fn committed_offsets(
        &self,
        groups: &[String],
    ) -> Result<HashMap<String, Result<CommittedOffsets, Error>>, Error> {
        Ok(self.committed_as(groups, committed).await.into_iter().collect())
    }

    /// The same in a small part of the memory and the time, by group in the order of `groups`.
    pub async fn commits(&self, groups: &[String]) -> Vec<(String, Result<Vec<TopicCommits>, Error>)> {
        self.committed_as(groups, |topics| topics.iter().map(topic_commits).collect()).await
    }

    async fn committed_as<V>(
        &self,
        groups: &[String],
        said: fn(Vec<OffsetFetchResponseTopics>) -> V,
    ) -> Vec<(String, Result<V, Error>)> {
        self.of_coordinators(Kept::Group, groups, |coordinator, chunk, round| async move {
            let asked = self.ask_committed(coordinator, &chunk, round, said).await;
            asked.unwrap_or_else(|error| all_failed(chunk, &error))
        })
        .await
    }

    async fn ask_committed<V>(
        &self,
        coordinator: BrokerId,
        groups: &[String],
        round: Round,
        said: fn(Vec<OffsetFetchResponseTopics>) -> V,
    ) -> Result<Vec<(String, Result<V, Error>)>, Error> {
        if self.cluster.version::<OffsetFetchRequest>(coordinator, Lane::General).await? < 8 {
            let one = |group: &String| {
                let group = group.clone();
                async move { (group.clone(), self.ask_committed_of_one(coordinator, &group, round).await.map(said)) }
            };
            return Ok(join_all(groups.iter().map(one)).await);
        }
        let group = |group: &String| OffsetFetchRequestGroup {
            group_id: group.as_str().into(),
            topics: None,
            ..Default::default()
        };
        let request = OffsetFetchRequest { groups: groups.iter().map(group).collect(), ..Default::default() };
        let answer = self.cluster.call(To::Broker(coordinator), Lane::General, request, round.left).await?;
        let mut answered: HashMap<Str, _> =
            answer.body.groups.into_iter().map(|it| (it.group_id.clone(), it)).collect();
        let mut outcome = |group: &String| match answered.remove(group.as_str()) {
            Some(it) => match ErrorCode(it.error_code).ok() {
                Ok(()) => Ok(said(it.topics)),
                Err(code) => Err(self.says::<OffsetFetchRequest>(coordinator, code, None)),
            },
            None => Err(unanswered(group).of(OffsetFetchRequest::NAME)),
        };
        Ok(groups.iter().map(|group| (group.clone(), outcome(group))).collect())
    }

    async fn ask_committed_of_one(
        &self,
        coordinator: BrokerId,
        group: &str,
        round: Round,
    ) -> Result<Vec<OffsetFetchResponseTopics>, Error> {
        let request = OffsetFetchRequest { group_id: group.into(), topics: None, ..Default::default() };
        let answer = self.cluster.call(To::Broker(coordinator), Lane::General, request, round.left).await?.body;
        let code = ErrorCode(answer.error_code).ok();
        code.map_err(|code| self.says::<OffsetFetchRequest>(coordinator, code, None))?;
        Ok(answer.topics.into_iter().map(as_of_version_8).collect())
    }

    /// Groups and their members, each or the reason why not.
    pub async fn describe_groups(
        &self,
        groups: &[String],
    ) -> Result<HashMap<String, Result<GroupDescription, Error>>, Error> {
        let answers = self.of_coordinators(Kept::Group, groups, |coordinator, chunk, round| async move {
            let asked = self.ask_descriptions(coordinator, &chunk, round).await;
            asked.unwrap_or_else(|error| all_failed(chunk, &error))
        });
        Ok(answers.await.into_iter().collect())
    }

    /// Both kinds of group have a request of their own, and neither knows of the other's: what is no classic group is
    /// asked for again as one of the new protocol.
    async fn ask_descriptions(
        &self,
        coordinator: BrokerId,
        groups: &[String],
        round: Round,
    ) -> Result<Vec<(String, Result<GroupDescription, Error>)>, Error> {
        let to = To::Broker(coordinator);
        let names = |of: &[String]| of.iter().map(|it| it.as_str().into()).collect();
        let request = DescribeGroupsRequest { groups: names(groups), ..Default::default() };
        let answer = self.cluster.call(to, Lane::General, request, round.left).await?.body;
        let mut said: HashMap<String, _> = HashMap::new();
        for it in answer.groups {
            said.insert(it.group_id.to_string(), classic(it, coordinator));
        }
        let missing: Vec<String> = groups.iter().filter(|it| is_missing(said.get(*it))).cloned().collect();
        let offered = self.cluster.capabilities(coordinator, Lane::General).await?;
        if !missing.is_empty() && offered.version::<ConsumerGroupDescribeRequest>().is_some() {
            let request = ConsumerGroupDescribeRequest { group_ids: names(&missing), ..Default::default() };
            let answer = self.cluster.call(to, Lane::General, request, round.left).await?.body;
            // Kafka 3.x offers the request, and refuses it where the new protocol is not switched on.
            let unsupported = i16::from(ErrorCode::UNSUPPORTED_VERSION);
            for it in answer.groups.into_iter().filter(|it| it.error_code != unsupported) {
                said.insert(it.group_id.to_string(), of_the_new_protocol(it, coordinator));
            }
        }
        let mut outcome = |group: &String| match said.remove(group) {
            Some(outcome) if is_missing(Some(&outcome)) => Err(describe_error(ErrorCode::GROUP_ID_NOT_FOUND, None)),
            Some(outcome) => outcome,
            None => Err(unanswered(group).of(DescribeGroupsRequest::NAME)),
        };
        Ok(groups.iter().map(|group| (group.clone(), outcome(group))).collect())
    }

    /// Asks the coordinators of groups, or of transactional ids, in rounds. What fails in a way that says that the
    /// coordinator is another one by now has it looked for anew.
    pub(super) async fn of_coordinators<V, F, A>(
        &self,
        kept: Kept,
        names: &[String],
        ask: F,
    ) -> Vec<(String, Result<V, Error>)>
    where
        F: Fn(BrokerId, Vec<String>, Round) -> A,
        A: Future<Output = Vec<(String, Result<V, Error>)>>,
    {
        let ask = &ask;
        self.in_rounds(names.to_vec(), passes, |open, round| async move {
            let mut answers = Vec::with_capacity(open.len());
            let mut found = Vec::with_capacity(open.len());
            for (name, coordinator) in self.cluster.keepers(kept, open, round.left).await {
                match coordinator {
                    Ok(coordinator) => found.push((coordinator, name)),
                    Err(error) => answers.push((name, Err(error))),
                }
            }
            let by_coordinator = by(found);
            let chunks = by_coordinator.iter().flat_map(|(id, of)| of.chunks(GROUPS_MAX).map(|chunk| (*id, chunk)));
            let asked = chunks.map(|(coordinator, chunk)| ask(coordinator, chunk.to_vec(), round));
            answers.extend(join_all(asked).await.into_iter().flatten());
            for (name, answer) in &answers {
                // A broker that the cluster has given up keeps nothing, either.
                let is_gone = |error: &Error| error.is_transport() || matches!(error.kind, ErrorKind::UnknownBroker);
                if answer.as_ref().is_err_and(|error| is_gone(error) || error.class() == Class::FindCoordinator) {
                    self.cluster.forget_keeper(kept, name);
                }
            }
            answers
        })
        .await
    }
}

fn listing(it: &ListedGroup, coordinator: BrokerId) -> GroupListing {
    GroupListing {
        group_id: it.group_id.to_string(),
        protocol_type: said_text(&it.protocol_type),
        state: said_text(&it.group_state),
        group_type: said_text(&it.group_type),
        coordinator,
    }
}

fn said_text(text: &str) -> Option<String> {
    Some(text).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn describe_error(code: ErrorCode, words: Option<&str>) -> Error {
    Error::broker_says(code, words).of(DescribeGroupsRequest::NAME)
}

fn one_committed(offset: Offset, leader_epoch: i32, metadata: Option<&Str>, error_code: i16) -> Committed {
    let error = Some(ErrorCode(error_code)).filter(|code| !code.is_ok());
    Committed {
        offset: Some(offset).filter(|offset| *offset >= 0 && error.is_none()),
        leader_epoch: Some(leader_epoch).filter(|epoch| *epoch >= 0),
        metadata: metadata.and_then(|text| said_text(text)),
        error,
    }
}

fn committed(topics: Vec<OffsetFetchResponseTopics>) -> CommittedOffsets {
    let mut offsets = HashMap::new();
    for topic in topics {
        let name = Topic::from(&topic.name);
        offsets.extend(topic.partitions.into_iter().map(|it| {
            let of = TopicPartition { topic: name.clone(), partition: it.partition_index };
            (of, one_committed(it.committed_offset, it.committed_leader_epoch, it.metadata.as_ref(), it.error_code))
        }));
    }
    offsets
}

fn topic_commits(it: &OffsetFetchResponseTopics) -> TopicCommits {
    let mut commits =
        TopicCommits { topic: Topic::from(&it.name), offsets: Vec::with_capacity(it.partitions.len()), errors: vec![] };
    for said in &it.partitions {
        match ErrorCode(said.error_code).ok() {
            Ok(()) if said.committed_offset >= 0 => commits.offsets.push((said.partition_index, said.committed_offset)),
            Ok(()) => {}
            Err(code) => commits.errors.push((said.partition_index, code)),
        }
    }
    commits.offsets.sort_unstable();
    commits.offsets.dedup_by_key(|(partition, _)| *partition);
    commits
}

fn as_of_version_8(it: OffsetFetchResponseTopic) -> OffsetFetchResponseTopics {
    let partition = |it: OffsetFetchResponsePartition| OffsetFetchResponsePartitions {
        partition_index: it.partition_index,
        committed_offset: it.committed_offset,
        committed_leader_epoch: it.committed_leader_epoch,
        metadata: it.metadata,
        error_code: it.error_code,
    };
    let partitions = it.partitions.into_iter().map(partition).collect();
    OffsetFetchResponseTopics { name: it.name, partitions, ..Default::default() }
}

/// Before version 6, a group that does not exist is one in state Dead (KIP-1043).
fn is_missing(said: Option<&Result<GroupDescription, Error>>) -> bool {
    match said {
        Some(Ok(group)) => group.state == "Dead",
        Some(Err(error)) => error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND),
        None => true,
    }
}

fn classic(it: DescribedGroup, coordinator: BrokerId) -> Result<GroupDescription, Error> {
    let code = ErrorCode(it.error_code).ok();
    code.map_err(|code| describe_error(code, it.error_message.as_deref()))?;
    Ok(GroupDescription {
        group_id: it.group_id.to_string(),
        state: it.group_state.to_string(),
        is_consumer_protocol: false,
        epochs: None,
        protocol_type: said_text(&it.protocol_type),
        assignor: said_text(&it.protocol_data),
        coordinator,
        members: it.members.into_iter().map(classic_member).collect(),
    })
}

fn of_the_new_protocol(it: DescribedConsumerGroup, coordinator: BrokerId) -> Result<GroupDescription, Error> {
    let code = ErrorCode(it.error_code).ok();
    code.map_err(|code| Error::broker_says(code, it.error_message.as_deref()).of(ConsumerGroupDescribeRequest::NAME))?;
    Ok(GroupDescription {
        group_id: it.group_id.to_string(),
        state: it.group_state.to_string(),
        is_consumer_protocol: true,
        epochs: Some(GroupEpochs { group: it.group_epoch, assignment: it.assignment_epoch }),
        protocol_type: Some("consumer".to_owned()),
        assignor: said_text(&it.assignor_name),
        coordinator,
        members: it.members.into_iter().map(member_of_the_new_protocol).collect(),
    })
}

fn classic_member(it: DescribedGroupMember) -> GroupMember {
    GroupMember {
        member_id: it.member_id.to_string(),
        instance_id: it.group_instance_id.map(|id| id.to_string()),
        client_id: it.client_id.to_string(),
        client_host: it.client_host.to_string(),
        // Members of other kinds of group, such as Connect's workers, keep something else here.
        assignment: assigned(it.member_assignment).unwrap_or_default(),
        standing: None,
    }
}

fn member_of_the_new_protocol(it: ConsumerGroupDescribeMember) -> GroupMember {
    let standing = MemberStanding {
        epoch: it.member_epoch,
        target: named(it.target_assignment),
        is_classic: match it.member_type {
            0 => Some(true),
            1 => Some(false),
            _ => None,
        },
    };
    GroupMember {
        member_id: it.member_id.to_string(),
        instance_id: it.instance_id.map(|id| id.to_string()),
        client_id: it.client_id.to_string(),
        client_host: it.client_host.to_string(),
        assignment: named(it.assignment),
        standing: Some(standing),
    }
}

fn named(of: ConsumerGroupDescribeAssignment) -> Vec<TopicPartition> {
    let partitions = of.topic_partitions.into_iter().flat_map(|topic| {
        let name = Topic::from(&topic.topic_name);
        topic.partitions.into_iter().map(move |partition| TopicPartition { topic: name.clone(), partition })
    });
    partitions.collect()
}

fn assigned(bytes: Bytes) -> Result<Vec<TopicPartition>, DecodeError> {
    let said: ConsumerProtocolAssignment = group::decode(bytes)?;
    let partitions = said.assigned_partitions.into_iter().flat_map(|it| {
        let topic = Topic::from(&it.topic);
        it.partitions.into_iter().map(move |partition| TopicPartition { topic: topic.clone(), partition })
    });
    Ok(partitions.collect())
}
