//! What groups are about, and who their members are.
//!
//! Each type of group has a request of its own, and none of them knows of the others' groups. A group whose type is not
//! known is asked for as a classic one, and as long as it is none of that, as one of the next type: all groups of a
//! coordinator together, so that it hears at most one request a type. A broker that lacks a request has no such groups.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use bytes::Bytes;

use super::groups::said_text;
use super::{Admin, Round, all_failed, unanswered};
use crate::client::cluster::{Kept, To, Topics};
use crate::client::error::{Error, ErrorKind};
use crate::client::handshake::Capabilities;
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::group::{self, ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use crate::protocol::messages::{
    ConsumerGroupDescribeAssignment, ConsumerGroupDescribeMember, ConsumerGroupDescribeRequest, DescribeGroupsRequest,
    DescribedConsumerGroup, DescribedGroup, DescribedGroupMember, DescribedShareGroup, DescribedStreamsGroup,
    ShareGroupDescribeAssignment, ShareGroupDescribeMember, ShareGroupDescribeRequest, StreamsGroupDescribeAssignment,
    StreamsGroupDescribeMember, StreamsGroupDescribeRequest, StreamsSubtopology, StreamsTaskIds, StreamsTopology,
};
use crate::protocol::types::{BrokerId, Str, Topic, TopicPartition};

/// By which protocol the members of a group share its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupType {
    /// A member assigns (JoinGroup and SyncGroup); also groups that only ever committed offsets.
    Classic,
    /// The coordinator assigns partitions (KIP-848).
    Consumer,
    /// Several members read a partition, record by record (KIP-932).
    Share,
    /// The coordinator assigns the tasks of a Kafka Streams application (KIP-1071).
    Streams,
}

impl GroupType {
    pub const ALL: [Self; 4] = [Self::Classic, Self::Consumer, Self::Share, Self::Streams];

    /// As brokers list it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Share => "share",
            Self::Streams => "streams",
        }
    }

    /// `None` for a type that is not known here.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name().eq_ignore_ascii_case(name))
    }

    fn is_offered(self, by: &Capabilities) -> bool {
        match self {
            Self::Classic => by.version::<DescribeGroupsRequest>().is_some(),
            Self::Consumer => by.version::<ConsumerGroupDescribeRequest>().is_some(),
            Self::Share => by.version::<ShareGroupDescribeRequest>().is_some(),
            Self::Streams => by.version::<StreamsGroupDescribeRequest>().is_some(),
        }
    }

    fn request(self) -> &'static str {
        match self {
            Self::Classic => DescribeGroupsRequest::NAME,
            Self::Consumer => ConsumerGroupDescribeRequest::NAME,
            Self::Share => ShareGroupDescribeRequest::NAME,
            Self::Streams => StreamsGroupDescribeRequest::NAME,
        }
    }
}

impl fmt::Display for GroupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A group and its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    pub group_id: String,
    pub group_type: GroupType,
    pub state: String,
    /// How far the group is, and what the coordinator has assigned for; `None` for a classic group.
    pub epochs: Option<GroupEpochs>,
    pub protocol_type: Option<String>,
    /// `None` also from brokers that do not say it of streams groups (before Kafka 4.4).
    pub assignor: Option<String>,
    pub coordinator: BrokerId,
    pub members: Vec<GroupMember>,
    /// What a streams group runs.
    pub topology: Option<GroupTopology>,
}

impl GroupDescription {
    /// Whether it speaks the new consumer protocol (KIP-848).
    pub fn is_consumer_protocol(&self) -> bool {
        self.group_type == GroupType::Consumer
    }
}

/// A member of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    /// The user's own name for it (KIP-345).
    pub instance_id: Option<String>,
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// The topics that it asks for by their names; a streams group's are in its topology.
    pub subscribed: Vec<Topic>,
    /// Consumer protocol: the pattern of the topics that it asks for.
    pub subscribed_pattern: Option<String>,
    /// What it reads. Of a streams group these are the source and repartition topics of its active tasks.
    pub assignment: Vec<TopicPartition>,
    /// What it is on its way to; `None` for a member of a classic group.
    pub standing: Option<MemberStanding>,
    /// Of a member of a streams group.
    pub streams: Option<StreamsMember>,
}

/// Of a group that is not a classic one. Members come and go and topics grow by one group epoch each; while the assignment
/// is behind, it is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupEpochs {
    pub group: i32,
    pub assignment: i32,
}

/// Of a member of a group that is not a classic one. It has come through a rebalance when its epoch is the assignment's and
/// it reads what is its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStanding {
    pub epoch: i32,
    /// `None` in a share group, where nothing has to be given up before it is taken over.
    pub target: Option<Vec<TopicPartition>>,
    /// Whether it speaks the classic protocol and is carried along; `None` from brokers before Kafka 4.0, and in a share
    /// group.
    pub is_classic: Option<bool>,
}

/// Of a member of a streams group: one thread of an application, a process of which may have several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamsMember {
    pub process_id: String,
    /// Of the topology that it runs; behind the group's while it is replaced.
    pub topology_epoch: i32,
    /// `HOST:PORT` where its process answers interactive queries.
    pub endpoint: Option<String>,
    pub tasks: StreamsTasks,
    pub target: StreamsTasks,
}

/// What members of a streams group do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamsTasks {
    pub active: Vec<StreamsTask>,
    /// Those of which it keeps a copy of the state.
    pub standby: Vec<StreamsTask>,
    /// Those whose state it restores, to take them over.
    pub warm_up: Vec<StreamsTask>,
}

/// One partition of a subtopology; `0_3` in Kafka's words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamsTask {
    pub subtopology: String,
    pub partition: i32,
}

impl fmt::Display for StreamsTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.subtopology, self.partition)
    }
}

/// What a streams group runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupTopology {
    pub epoch: i32,
    pub subtopologies: Vec<Subtopology>,
}

/// A part of a topology, whose tasks can run anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subtopology {
    pub id: String,
    pub sources: Vec<Topic>,
    pub repartition_sources: Vec<Topic>,
    pub repartition_sinks: Vec<Topic>,
    pub changelogs: Vec<Topic>,
}

type Said = Result<GroupDescription, Error>;

impl Admin {
    /// Groups of all types and their members, each or the reason why not.
    pub async fn describe_groups(&self, groups: &[String]) -> Result<HashMap<String, Said>, Error> {
        self.describe(groups, &HashMap::new()).await
    }

    /// The same for who knows the types of some groups, such as from [`GroupListing`](super::GroupListing): these are
    /// asked for as nothing else, which saves requests, and are not found if they are something else by now.
    pub async fn describe_groups_as(
        &self,
        groups: &[(String, Option<GroupType>)],
    ) -> Result<HashMap<String, Said>, Error> {
        let names: Vec<String> = groups.iter().map(|(name, _)| name.clone()).collect();
        let known = groups.iter().filter_map(|(name, it)| Some((name.clone(), (*it)?))).collect();
        self.describe(&names, &known).await
    }

    async fn describe(
        &self,
        groups: &[String],
        known: &HashMap<String, GroupType>,
    ) -> Result<HashMap<String, Said>, Error> {
        let answers = self.of_coordinators(Kept::Group, groups, |coordinator, chunk, round| async move {
            let asked = self.ask_descriptions(coordinator, &chunk, known, round).await;
            asked.unwrap_or_else(|error| all_failed(chunk, &error))
        });
        Ok(answers.await.into_iter().collect())
    }

    async fn ask_descriptions(
        &self,
        coordinator: BrokerId,
        groups: &[String],
        known: &HashMap<String, GroupType>,
        round: Round,
    ) -> Result<Vec<(String, Said)>, Error> {
        let offered = self.cluster.capabilities_within(coordinator, Lane::General, round.left()).await?;
        let mut said: HashMap<String, Said> = HashMap::new();
        for group_type in GroupType::ALL {
            let is_asked = |group: &&String| match known.get(*group) {
                Some(known) => *known == group_type,
                None => is_missing(said.get(*group)) && group_type.is_offered(&offered),
            };
            let asked: Vec<String> = groups.iter().filter(is_asked).cloned().collect();
            if asked.is_empty() {
                continue;
            }
            let answers = match group_type.is_offered(&offered) {
                true => self.ask_as(group_type, coordinator, &asked, round).await,
                false => Err(self.cluster.placed(coordinator, Error::new(ErrorKind::Unsupported))),
            };
            let answers = answers.unwrap_or_else(|error| all_failed(asked, &error.of(group_type.request())));
            // Brokers offer requests for types that are not switched on, and refuse them.
            let is_told = |(group, it): &(String, Said)| {
                known.contains_key(group)
                    || it.as_ref().err().and_then(Error::code) != Some(ErrorCode::UNSUPPORTED_VERSION)
            };
            said.extend(answers.into_iter().filter(is_told));
        }
        let mut outcome = |group: &String| match said.remove(group) {
            Some(outcome) if is_missing(Some(&outcome)) => Err(missing()),
            Some(outcome) => outcome,
            None => Err(unanswered(group).of(DescribeGroupsRequest::NAME)),
        };
        Ok(groups.iter().map(|group| (group.clone(), outcome(group))).collect())
    }

    async fn ask_as(
        &self,
        group_type: GroupType,
        coordinator: BrokerId,
        groups: &[String],
        round: Round,
    ) -> Result<Vec<(String, Said)>, Error> {
        let (to, lane) = (To::Broker(coordinator), Lane::General);
        let names: Vec<Str> = groups.iter().map(|it| it.as_str().into()).collect();
        Ok(match group_type {
            GroupType::Classic => {
                let request = DescribeGroupsRequest { groups: names, ..Default::default() };
                let answer = self.cluster.call(to, lane, request, round.left()).await?.body;
                answer.groups.into_iter().map(|it| (it.group_id.to_string(), classic(it, coordinator))).collect()
            }
            GroupType::Consumer => {
                let request = ConsumerGroupDescribeRequest { group_ids: names, ..Default::default() };
                let answer = self.cluster.call(to, lane, request, round.left()).await?.body;
                answer.groups.into_iter().map(|it| (it.group_id.to_string(), consumer(it, coordinator))).collect()
            }
            GroupType::Share => {
                let request = ShareGroupDescribeRequest { group_ids: names, ..Default::default() };
                let answer = self.cluster.call(to, lane, request, round.left()).await?.body;
                answer.groups.into_iter().map(|it| (it.group_id.to_string(), share(it, coordinator))).collect()
            }
            GroupType::Streams => {
                let request = StreamsGroupDescribeRequest { group_ids: names, ..Default::default() };
                let answer = self.cluster.call(to, lane, request, round.left()).await?.body;
                let counts = self.counts(&answer.groups, round).await?;
                let said = |it: DescribedStreamsGroup| (it.group_id.to_string(), streams(it, coordinator, &counts));
                answer.groups.into_iter().map(said).collect()
            }
        })
    }

    /// How many partitions topics have that share a subtopology with others: it has a task for each partition of the
    /// widest of them.
    async fn counts(&self, groups: &[DescribedStreamsGroup], round: Round) -> Result<HashMap<Topic, i32>, Error> {
        let subtopologies = groups.iter().filter_map(|it| it.topology.as_ref()?.subtopologies.as_ref()).flatten();
        let read = subtopologies.map(|it| read_by(it).collect::<Vec<_>>()).filter(|topics| topics.len() > 1);
        let mut topics: Vec<Topic> = read.flatten().collect();
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() {
            return Ok(HashMap::new());
        }
        let known = self.cluster.refresh_within(Topics::Once(topics.clone()), round.left()).await?;
        Ok(topics.into_iter().filter_map(|topic| Some((topic.clone(), known.partition_count(&topic)?))).collect())
    }
}

/// Before version 6, a group that does not exist is one in state Dead (KIP-1043).
fn is_missing(said: Option<&Said>) -> bool {
    match said {
        Some(Ok(group)) => group.state == "Dead",
        Some(Err(error)) => error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND),
        None => true,
    }
}

fn missing() -> Error {
    Error::broker_says(ErrorCode::GROUP_ID_NOT_FOUND, None).of(DescribeGroupsRequest::NAME)
}

fn verdict<R: Body>(error_code: i16, words: Option<&str>) -> Result<(), Error> {
    ErrorCode(error_code).ok().map_err(|code| Error::broker_says(code, words).of(R::NAME))
}

fn classic(it: DescribedGroup, coordinator: BrokerId) -> Said {
    verdict::<DescribeGroupsRequest>(it.error_code, it.error_message.as_deref())?;
    Ok(GroupDescription {
        group_id: it.group_id.to_string(),
        group_type: GroupType::Classic,
        state: it.group_state.to_string(),
        epochs: None,
        protocol_type: said_text(&it.protocol_type),
        assignor: said_text(&it.protocol_data),
        coordinator,
        members: it.members.into_iter().map(classic_member).collect(),
        topology: None,
    })
}

fn consumer(it: DescribedConsumerGroup, coordinator: BrokerId) -> Said {
    verdict::<ConsumerGroupDescribeRequest>(it.error_code, it.error_message.as_deref())?;
    Ok(GroupDescription {
        group_id: it.group_id.to_string(),
        group_type: GroupType::Consumer,
        state: it.group_state.to_string(),
        epochs: Some(GroupEpochs { group: it.group_epoch, assignment: it.assignment_epoch }),
        protocol_type: Some("consumer".to_owned()),
        assignor: said_text(&it.assignor_name),
        coordinator,
        members: it.members.into_iter().map(consumer_member).collect(),
        topology: None,
    })
}

fn share(it: DescribedShareGroup, coordinator: BrokerId) -> Said {
    verdict::<ShareGroupDescribeRequest>(it.error_code, it.error_message.as_deref())?;
    Ok(GroupDescription {
        group_id: it.group_id.to_string(),
        group_type: GroupType::Share,
        state: it.group_state.to_string(),
        epochs: Some(GroupEpochs { group: it.group_epoch, assignment: it.assignment_epoch }),
        protocol_type: Some("share".to_owned()),
        assignor: said_text(&it.assignor_name),
        coordinator,
        members: it.members.into_iter().map(share_member).collect(),
        topology: None,
    })
}

fn streams(it: DescribedStreamsGroup, coordinator: BrokerId, counts: &HashMap<Topic, i32>) -> Said {
    verdict::<StreamsGroupDescribeRequest>(it.error_code, it.error_message.as_deref())?;
    let subtopologies = it.topology.as_ref().and_then(|it| it.subtopologies.as_deref()).unwrap_or_default();
    let reads: Reads = subtopologies.iter().map(|it| (it.subtopology_id.to_string(), read_by(it).collect())).collect();
    Ok(GroupDescription {
        group_id: it.group_id.to_string(),
        group_type: GroupType::Streams,
        state: it.group_state.to_string(),
        epochs: Some(GroupEpochs { group: it.group_epoch, assignment: it.assignment_epoch }),
        protocol_type: Some("streams".to_owned()),
        assignor: it.assignor_name.as_deref().and_then(said_text),
        coordinator,
        members: it.members.into_iter().map(|it| streams_member(it, &reads, counts)).collect(),
        topology: it.topology.map(topology),
    })
}

fn classic_member(it: DescribedGroupMember) -> GroupMember {
    // Members of other kinds of group, such as Connect's workers, keep something else in both.
    let subscription: ConsumerProtocolSubscription = group::decode(it.member_metadata).unwrap_or_default();
    GroupMember {
        member_id: it.member_id.to_string(),
        instance_id: it.group_instance_id.map(|id| id.to_string()),
        rack: subscription.rack_id.as_deref().and_then(said_text),
        client_id: it.client_id.to_string(),
        client_host: it.client_host.to_string(),
        subscribed: subscription.topics.iter().map(Topic::from).collect(),
        assignment: assigned(it.member_assignment),
        ..GroupMember::default()
    }
}

fn consumer_member(it: ConsumerGroupDescribeMember) -> GroupMember {
    let is_classic = match it.member_type {
        0 => Some(true),
        1 => Some(false),
        _ => None,
    };
    let target = Some(named(it.target_assignment));
    GroupMember {
        member_id: it.member_id.to_string(),
        instance_id: it.instance_id.map(|id| id.to_string()),
        rack: it.rack_id.as_deref().and_then(said_text),
        client_id: it.client_id.to_string(),
        client_host: it.client_host.to_string(),
        subscribed: it.subscribed_topic_names.iter().map(Topic::from).collect(),
        subscribed_pattern: it.subscribed_topic_regex.as_deref().and_then(said_text),
        assignment: named(it.assignment),
        standing: Some(MemberStanding { epoch: it.member_epoch, target, is_classic }),
        streams: None,
    }
}

fn share_member(it: ShareGroupDescribeMember) -> GroupMember {
    GroupMember {
        member_id: it.member_id.to_string(),
        rack: it.rack_id.as_deref().and_then(said_text),
        client_id: it.client_id.to_string(),
        client_host: it.client_host.to_string(),
        subscribed: it.subscribed_topic_names.iter().map(Topic::from).collect(),
        assignment: shared(it.assignment),
        standing: Some(MemberStanding { epoch: it.member_epoch, target: None, is_classic: None }),
        ..GroupMember::default()
    }
}

fn streams_member(it: StreamsGroupDescribeMember, reads: &Reads, counts: &HashMap<Topic, i32>) -> GroupMember {
    let (tasks, target) = (tasks(it.assignment), tasks(it.target_assignment));
    let standing = MemberStanding {
        epoch: it.member_epoch,
        target: Some(partitions(&target.active, reads, counts)),
        is_classic: Some(it.is_classic),
    };
    GroupMember {
        member_id: it.member_id.to_string(),
        instance_id: it.instance_id.map(|id| id.to_string()),
        rack: it.rack_id.as_deref().and_then(said_text),
        client_id: it.client_id.to_string(),
        client_host: it.client_host.to_string(),
        assignment: partitions(&tasks.active, reads, counts),
        standing: Some(standing),
        streams: Some(StreamsMember {
            process_id: it.process_id.to_string(),
            topology_epoch: it.topology_epoch,
            endpoint: it.user_endpoint.map(|it| format!("{}:{}", it.host, it.port)),
            tasks,
            target,
        }),
        ..GroupMember::default()
    }
}

fn tasks(it: StreamsGroupDescribeAssignment) -> StreamsTasks {
    let each = |all: Vec<StreamsTaskIds>| {
        let of = |it: StreamsTaskIds| {
            let subtopology = it.subtopology_id.to_string();
            let task = move |partition| StreamsTask { subtopology: subtopology.clone(), partition };
            it.partitions.into_iter().map(task)
        };
        let mut tasks: Vec<StreamsTask> = all.into_iter().flat_map(of).collect();
        tasks.sort_unstable();
        tasks
    };
    StreamsTasks { active: each(it.active_tasks), standby: each(it.standby_tasks), warm_up: each(it.warmup_tasks) }
}

/// Which topics a subtopology reads, by its name.
type Reads = BTreeMap<String, Vec<Topic>>;

fn read_by(it: &StreamsSubtopology) -> impl Iterator<Item = Topic> {
    let sources = it.source_topics.iter().chain(it.repartition_source_topics.iter().map(|it| &it.name));
    sources.map(Topic::from)
}

/// What active tasks read: of each topic of the subtopology the partition of the task's number, if there is one.
fn partitions(tasks: &[StreamsTask], reads: &Reads, counts: &HashMap<Topic, i32>) -> Vec<TopicPartition> {
    let of_task = |task: &StreamsTask| {
        let partition = task.partition;
        let is_there = move |topic: &&Topic| counts.get(*topic).is_none_or(|count| partition < *count);
        let topics = reads.get(&task.subtopology).into_iter().flatten().filter(is_there);
        topics.map(|topic| TopicPartition { topic: topic.clone(), partition }).collect::<Vec<_>>()
    };
    let mut read: Vec<TopicPartition> = tasks.iter().flat_map(of_task).collect();
    read.sort_unstable();
    read
}

fn topology(it: StreamsTopology) -> GroupTopology {
    let topics = |names: &[Str]| names.iter().map(Topic::from).collect();
    let subtopology = |it: StreamsSubtopology| Subtopology {
        id: it.subtopology_id.to_string(),
        sources: topics(&it.source_topics),
        repartition_sources: it.repartition_source_topics.iter().map(|it| Topic::from(&it.name)).collect(),
        repartition_sinks: topics(&it.repartition_sink_topics),
        changelogs: it.state_changelog_topics.iter().map(|it| Topic::from(&it.name)).collect(),
    };
    GroupTopology {
        epoch: it.epoch,
        subtopologies: it.subtopologies.unwrap_or_default().into_iter().map(subtopology).collect(),
    }
}

fn all_of(topic: &Str, partitions: Vec<i32>) -> impl Iterator<Item = TopicPartition> + use<> {
    let topic = Topic::from(topic);
    partitions.into_iter().map(move |partition| TopicPartition { topic: topic.clone(), partition })
}

fn named(of: ConsumerGroupDescribeAssignment) -> Vec<TopicPartition> {
    of.topic_partitions.into_iter().flat_map(|it| all_of(&it.topic_name, it.partitions)).collect()
}

fn shared(of: ShareGroupDescribeAssignment) -> Vec<TopicPartition> {
    of.topic_partitions.into_iter().flat_map(|it| all_of(&it.topic_name, it.partitions)).collect()
}

fn assigned(bytes: Bytes) -> Vec<TopicPartition> {
    let said: ConsumerProtocolAssignment = group::decode(bytes).unwrap_or_default();
    said.assigned_partitions.into_iter().flat_map(|it| all_of(&it.topic, it.partitions)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::{StreamsEndpoint, StreamsTopicInfo};

    #[test]
    fn types_have_the_names_that_brokers_list() {
        for group_type in GroupType::ALL {
            assert_eq!(GroupType::of(group_type.name()), Some(group_type));
            assert_eq!(GroupType::of(&group_type.to_string().to_uppercase()), Some(group_type));
        }
        assert_eq!((GroupType::of("unknown"), GroupType::of("")), (None, None));
    }

    /// Two subtopologies: the first reads a wide and a narrow topic, the second what the first has repartitioned.
    fn described() -> DescribedStreamsGroup {
        let ids = |subtopology: &str, partitions: &[i32]| StreamsTaskIds {
            subtopology_id: subtopology.into(),
            partitions: partitions.to_vec(),
        };
        let info = |name: &str| StreamsTopicInfo { name: name.into(), ..Default::default() };
        let subtopologies = vec![
            StreamsSubtopology {
                subtopology_id: "0".into(),
                source_topics: vec!["wide".into(), "narrow".into()],
                repartition_sink_topics: vec!["again".into()],
                ..Default::default()
            },
            StreamsSubtopology {
                subtopology_id: "1".into(),
                repartition_source_topics: vec![info("again")],
                state_changelog_topics: vec![info("counts-changelog")],
                ..Default::default()
            },
        ];
        let member = StreamsGroupDescribeMember {
            member_id: "m".into(),
            member_epoch: 3,
            rack_id: Some("r".into()),
            process_id: "p".into(),
            topology_epoch: 1,
            user_endpoint: Some(StreamsEndpoint { host: "h".into(), port: 8080 }),
            assignment: StreamsGroupDescribeAssignment {
                active_tasks: vec![ids("1", &[1]), ids("0", &[2, 0])],
                standby_tasks: vec![ids("1", &[0])],
                warmup_tasks: vec![ids("1", &[2])],
            },
            ..Default::default()
        };
        DescribedStreamsGroup {
            group_id: "g".into(),
            group_state: "Stable".into(),
            group_epoch: 4,
            assignment_epoch: 3,
            topology: Some(StreamsTopology { epoch: 1, subtopologies: Some(subtopologies) }),
            members: vec![member],
            ..Default::default()
        }
    }

    #[test]
    fn tasks_read_the_topics_of_their_subtopology() {
        let counts = HashMap::from([(Topic::from("wide"), 3), (Topic::from("narrow"), 2)]);
        let group = streams(described(), 1, &counts).unwrap();
        assert_eq!(
            (group.group_type, group.epochs),
            (GroupType::Streams, Some(GroupEpochs { group: 4, assignment: 3 }))
        );
        assert_eq!(group.assignor, None, "what is not said is not made up");
        let member = &group.members[0];
        let read: Vec<String> = member.assignment.iter().map(ToString::to_string).collect();
        assert_eq!(read, ["again-1", "narrow-0", "wide-0", "wide-2"], "there is no narrow-2");
        let standing = member.standing.as_ref().map(|it| (it.epoch, it.target.as_deref(), it.is_classic));
        assert_eq!(standing, Some((3, Some(&[][..]), Some(false))));
        let streams = member.streams.as_ref().unwrap();
        let texts = |tasks: &[StreamsTask]| tasks.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&streams.tasks.active), ["0_0", "0_2", "1_1"]);
        assert_eq!(
            (texts(&streams.tasks.standby), texts(&streams.tasks.warm_up)),
            (vec!["1_0".to_owned()], vec!["1_2".to_owned()])
        );
        assert_eq!((streams.endpoint.as_deref(), streams.process_id.as_str()), (Some("h:8080"), "p"));
        let topology = group.topology.unwrap();
        assert_eq!(topology.subtopologies[1].changelogs, [Topic::from("counts-changelog")]);
        assert_eq!(topology.subtopologies[0].repartition_sinks, topology.subtopologies[1].repartition_sources);
    }

    #[test]
    fn what_is_refused_says_so() {
        let refused = DescribedStreamsGroup {
            error_code: ErrorCode::GROUP_AUTHORIZATION_FAILED.into(),
            error_message: Some("no".into()),
            ..described()
        };
        let error = streams(refused, 1, &HashMap::new()).unwrap_err();
        let want = (Some("StreamsGroupDescribe"), Some(ErrorCode::GROUP_AUTHORIZATION_FAILED));
        assert_eq!((error.api, error.code()), want);
    }
}
