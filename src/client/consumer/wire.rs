//! What the group and fetch requests say, made from what the consumer knows, and back. Pure. Topics go by name and by id
//! (KIP-516), for whichever of the two the version in use has a place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::assignor::{Assignment, Assignor, Member};
use super::config::ConsumerConfig;
use super::group::classic::{Joined, Joining};
use super::group::consumer::{Beat, Heard, Parts};
use super::group::{Fault, Refusal};
use super::progress::Mark;
use super::session::{Ask, Plan};
use super::user_data;
use crate::client::error::Error;
use crate::client::metadata::Metadata;
use crate::client::time::milliseconds;
use crate::protocol::error::ErrorCode;
use crate::protocol::group::{
    ConsumerProtocolAssignment, ConsumerProtocolPartitions, ConsumerProtocolSubscription, VERSION, decode, encode,
};
use crate::protocol::message::EncodeError;
use crate::protocol::messages::*;
use crate::protocol::types::{Str, Topic, TopicId, TopicPartition};

/// What a member of a consumer group calls its kind of group.
pub const PROTOCOL_TYPE: Str = Str::from_static("consumer");

/// What stands in place of a member epoch (KIP-848).
const JOINS: i32 = 0;
const LEAVES: i32 = -1;
const LEAVES_FOR_A_WHILE: i32 = -2;

/// However often a coordinator wants to be told.
const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Commits, by partition.
pub type Marks = BTreeMap<TopicPartition, Mark>;

/// By topic, in order.
fn by_topic<'a, V>(
    partitions: impl IntoIterator<Item = (&'a TopicPartition, V)>,
) -> BTreeMap<&'a Topic, Vec<(i32, V)>> {
    let mut topics: BTreeMap<&Topic, Vec<(i32, V)>> = BTreeMap::new();
    for (of, value) in partitions {
        topics.entry(&of.topic).or_default().push((of.partition, value));
    }
    topics
}

pub(super) fn protocol_partitions<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> Vec<ConsumerProtocolPartitions> {
    let topics = by_topic(partitions.into_iter().map(|of| (of, ())));
    let numbers = |all: Vec<(i32, ())>| all.into_iter().map(|(partition, ())| partition).collect();
    topics
        .into_iter()
        .map(|(topic, all)| ConsumerProtocolPartitions { topic: topic.into(), partitions: numbers(all) })
        .collect()
}

pub(super) fn topic_partitions(all: &[ConsumerProtocolPartitions]) -> impl Iterator<Item = TopicPartition> {
    all.iter().flat_map(|of| {
        let topic = Topic::from(&of.topic);
        of.partitions.iter().map(move |partition| TopicPartition { topic: topic.clone(), partition: *partition })
    })
}

/// What this member joins with. Eager members have given everything up by then.
pub fn join(
    config: &ConsumerConfig,
    topics: &BTreeSet<Topic>,
    joining: Joining,
) -> Result<JoinGroupRequest, EncodeError> {
    let Joining { member_id, generation, owned, last, reason } = joining;
    let protocol = |assignor: &Assignor| {
        let subscription = ConsumerProtocolSubscription {
            topics: topics.iter().map(Str::from).collect(),
            user_data: user_data::write(*assignor, generation, &last)?,
            owned_partitions: protocol_partitions(&owned),
            generation_id: generation.unwrap_or(-1),
            rack_id: config.rack.as_deref().map(Str::from),
        };
        let metadata = encode(&subscription, VERSION)?;
        Ok(JoinGroupRequestProtocol { name: Str::from_static(assignor.name()), metadata })
    };
    Ok(JoinGroupRequest {
        group_id: config.group_id.as_str().into(),
        session_timeout_ms: milliseconds(config.session_timeout),
        rebalance_timeout_ms: milliseconds(config.max_poll_interval),
        member_id,
        group_instance_id: config.instance_id.as_deref().map(Str::from),
        protocol_type: PROTOCOL_TYPE,
        protocols: config.assignors.iter().map(protocol).collect::<Result<_, _>>()?,
        reason: Some(Str::from_static(reason)),
    })
}

/// What the leader is told.
#[derive(Debug, Clone, Default)]
pub struct Led {
    /// Everybody; for all others than the leader, nobody.
    pub members: Vec<Member>,
    /// The assignment stays as it is: a static leader is back, and only watches over the topics (KIP-814).
    pub is_settled: bool,
}

pub fn joined(answer: JoinGroupResponse) -> Result<(Joined, Led), Fault> {
    match ErrorCode(answer.error_code) {
        ErrorCode::NONE => {}
        ErrorCode::MEMBER_ID_REQUIRED => return Err(Fault::MemberIdRequired(answer.member_id)),
        code => return Err(code.into()),
    }
    let name = answer.protocol_name.unwrap_or_default();
    let assignor = Assignor::from_name(&name)
        .ok_or_else(|| Fault::Broken(format!("the group has chosen the assignor `{name}`, which was not offered")))?;
    let is_leader = answer.leader == answer.member_id;
    let members = answer.members.into_iter().filter(|_| is_leader).map(|member| described(member, assignor));
    let led = Led { members: members.collect::<Result<_, _>>()?, is_settled: answer.skip_assignment };
    Ok((Joined { member_id: answer.member_id, generation: answer.generation_id, assignor }, led))
}

fn described(member: JoinGroupResponseMember, assignor: Assignor) -> Result<Member, Fault> {
    let subscription: ConsumerProtocolSubscription = decode(member.metadata)
        .map_err(|error| Fault::Broken(format!("the subscription of member {}: {error}", member.member_id)))?;
    let told = user_data::read(assignor, subscription.user_data.as_ref());
    let generation = Some(subscription.generation_id).filter(|generation| *generation >= 0);
    let (owned, generation) = match assignor {
        Assignor::Sticky => (told.partitions.into_iter().collect(), told.generation),
        _ => (topic_partitions(&subscription.owned_partitions).collect(), generation.or(told.generation)),
    };
    Ok(Member {
        member_id: member.member_id,
        instance_id: member.group_instance_id,
        topics: subscription.topics.iter().map(Topic::from).collect(),
        owned,
        generation,
    })
}

pub fn sync(
    config: &ConsumerConfig,
    joined: &Joined,
    assignment: &Assignment,
) -> Result<SyncGroupRequest, EncodeError> {
    let part = |(member_id, partitions): (&Str, &Vec<TopicPartition>)| {
        let assigned_partitions = protocol_partitions(partitions);
        let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
        Ok(SyncGroupRequestAssignment { member_id: member_id.clone(), assignment: encode(&assignment, VERSION)? })
    };
    Ok(SyncGroupRequest {
        group_id: config.group_id.as_str().into(),
        generation_id: joined.generation,
        member_id: joined.member_id.clone(),
        group_instance_id: config.instance_id.as_deref().map(Str::from),
        protocol_type: Some(PROTOCOL_TYPE),
        protocol_name: Some(Str::from_static(joined.assignor.name())),
        assignments: assignment.iter().map(part).collect::<Result<_, _>>()?,
    })
}

pub fn synced(answer: SyncGroupResponse) -> Result<BTreeSet<TopicPartition>, Fault> {
    ErrorCode(answer.error_code).ok()?;
    assigned(answer.assignment).map_err(|error| Fault::Broken(format!("the assignment: {error}")))
}

fn assigned(bytes: Bytes) -> Result<BTreeSet<TopicPartition>, crate::protocol::message::DecodeError> {
    let assignment: ConsumerProtocolAssignment = decode(bytes)?;
    Ok(topic_partitions(&assignment.assigned_partitions).collect())
}

pub fn heartbeat(config: &ConsumerConfig, member_id: Str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: config.group_id.as_str().into(),
        generation_id: generation,
        member_id,
        group_instance_id: config.instance_id.as_deref().map(Str::from),
    }
}

pub fn leave(group_id: Str, member_id: Str, reason: &'static str, version: i16) -> LeaveGroupRequest {
    if version < 3 {
        return LeaveGroupRequest { group_id, member_id, ..Default::default() };
    }
    let member = MemberIdentity { member_id, group_instance_id: None, reason: Some(Str::from_static(reason)) };
    LeaveGroupRequest { group_id, members: vec![member], ..Default::default() }
}

/// What became of the one member that leaves; before version 3 that is all that the answer says.
pub fn left(answer: &LeaveGroupResponse) -> ErrorCode {
    let member = answer.members.first().map_or(0, |member| member.error_code);
    ErrorCode(if answer.error_code != 0 { answer.error_code } else { member })
}

pub fn heard_last(answer: &ConsumerGroupHeartbeatResponse) -> ErrorCode {
    ErrorCode(answer.error_code)
}

/// What a member of the consumer protocol says. Its instance id goes with everything: it is who a static member is.
pub fn beat(config: &ConsumerConfig, topics: &BTreeSet<Topic>, beat: &Beat) -> ConsumerGroupHeartbeatRequest {
    let whole = |text: &Option<String>| text.as_deref().filter(|text| beat.whole && !text.is_empty()).map(Str::from);
    let timeout = milliseconds(config.max_poll_interval);
    ConsumerGroupHeartbeatRequest {
        group_id: config.group_id.as_str().into(),
        member_id: beat.member_id.clone(),
        member_epoch: beat.epoch.unwrap_or(JOINS),
        instance_id: config.instance_id.as_deref().map(Str::from),
        rack_id: whole(&config.rack),
        rebalance_timeout_ms: if beat.whole { timeout } else { -1 },
        subscribed_topic_names: beat.topics.then(|| topics.iter().map(Str::from).collect()),
        subscribed_topic_regex: None,
        server_assignor: whole(&config.remote_assignor),
        topic_partitions: beat.owned.as_ref().map(by_id),
    }
}

/// The last word of a member. A static one will return.
pub fn last_beat(config: &ConsumerConfig, member_id: Str) -> ConsumerGroupHeartbeatRequest {
    let instance_id = config.instance_id.as_deref().map(Str::from);
    ConsumerGroupHeartbeatRequest {
        group_id: config.group_id.as_str().into(),
        member_id,
        member_epoch: if instance_id.is_some() { LEAVES_FOR_A_WHILE } else { LEAVES },
        instance_id,
        ..Default::default()
    }
}

fn by_id(parts: &Parts) -> Vec<ConsumerGroupHeartbeatTopicPartitions> {
    let mut topics: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in parts {
        topics.entry(*topic).or_default().push(*partition);
    }
    let topics = topics.into_iter();
    topics.map(|(topic_id, partitions)| ConsumerGroupHeartbeatTopicPartitions { topic_id, partitions }).collect()
}

pub fn heard(answer: ConsumerGroupHeartbeatResponse) -> Result<Heard, Fault> {
    let refused = |code| Fault::Refused(Refusal { code, words: answer.error_message.clone() });
    ErrorCode(answer.error_code).ok().map_err(refused)?;
    let parts = |of: ConsumerGroupHeartbeatTopicPartitions| {
        of.partitions.into_iter().map(move |partition| (of.topic_id, partition))
    };
    Ok(Heard {
        member_id: answer.member_id.filter(|id| !id.is_empty()),
        epoch: answer.member_epoch,
        heartbeat_interval: Duration::from_millis(u64::try_from(answer.heartbeat_interval_ms).unwrap_or(0))
            .max(HEARTBEAT_INTERVAL_MIN),
        target: answer.assignment.map(|it| it.topic_partitions.into_iter().flat_map(parts).collect()),
    })
}

pub fn commit(
    config: &ConsumerConfig,
    (member_id, generation): (Str, i32),
    marks: &Marks,
    known: &Metadata,
) -> OffsetCommitRequest {
    let partition = |(partition_index, mark): (i32, &Mark)| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: mark.offset,
        committed_leader_epoch: mark.leader_epoch.unwrap_or(-1),
        ..Default::default()
    };
    let topic = |(topic, partitions): (&Topic, Vec<(i32, &Mark)>)| OffsetCommitRequestTopic {
        name: topic.into(),
        topic_id: known.topic_id(topic).unwrap_or_default(),
        partitions: partitions.into_iter().map(partition).collect(),
    };
    OffsetCommitRequest {
        group_id: config.group_id.as_str().into(),
        generation_id_or_member_epoch: generation,
        member_id,
        group_instance_id: config.instance_id.as_deref().map(Str::from),
        topics: by_topic(marks).into_iter().map(topic).collect(),
        ..Default::default()
    }
}

pub fn committed(answer: OffsetCommitResponse, known: &Metadata) -> BTreeMap<TopicPartition, ErrorCode> {
    let name = |of: &OffsetCommitResponseTopic| named(&of.name, || known.topic_name(&of.topic_id).cloned());
    let topics = answer.topics.into_iter().filter_map(|of| Some((name(&of)?, of.partitions)));
    let codes = topics.flat_map(|(topic, partitions)| {
        partitions.into_iter().map(move |it| (TopicPartition::new(topic.clone(), it.partition_index), it.error_code))
    });
    codes.map(|(of, code)| (of, ErrorCode(code))).collect()
}

/// What the group has committed of one partition. What the answer says nothing of is not known.
pub fn found(answer: &mut Committed, of: &TopicPartition) -> Result<Option<Mark>, Error> {
    answer.remove(of).unwrap_or_else(|| Err(Error::protocol(Unsaid).at(of.clone())))
}

/// What became of one commit. What the answer says nothing of was not made.
pub fn verdict(answer: &BTreeMap<TopicPartition, ErrorCode>, of: &TopicPartition) -> Result<(), Error> {
    match answer.get(of) {
        Some(code) => code.ok().map_err(|code| Error::broker(code).at(of.clone())),
        None => Err(Error::protocol(Unsaid).at(of.clone())),
    }
}

/// An answer that leaves out what was asked.
#[derive(Debug, thiserror::Error)]
#[error("the broker's answer says nothing of it")]
struct Unsaid;

/// A topic that an answer names, or of which it has the id.
pub fn named(name: &Str, by_id: impl FnOnce() -> Option<Topic>) -> Option<Topic> {
    if name.is_empty() { by_id() } else { Some(name.into()) }
}

pub fn offset_fetch(
    group_id: Str,
    asker: Option<(Str, i32)>,
    partitions: &BTreeSet<TopicPartition>,
    known: &Metadata,
    version: i16,
) -> OffsetFetchRequest {
    let topics = by_topic(partitions.iter().map(|of| (of, ())));
    let numbers = |all: Vec<(i32, ())>| all.into_iter().map(|(partition, ())| partition).collect();
    // Undecided transactions are waited for (KIP-447): an older offset would read again what they have committed.
    let require_stable = version >= 7;
    if version < 8 {
        let topic =
            |(topic, all): (&Topic, _)| OffsetFetchRequestTopic { name: topic.into(), partition_indexes: numbers(all) };
        let topics = Some(topics.into_iter().map(topic).collect());
        return OffsetFetchRequest { group_id, topics, require_stable, ..Default::default() };
    }
    let topic = |(topic, all): (&Topic, _)| OffsetFetchRequestTopics {
        name: topic.into(),
        topic_id: known.topic_id(topic).unwrap_or_default(),
        partition_indexes: numbers(all),
    };
    let topics = Some(topics.into_iter().map(topic).collect());
    let (member_id, member_epoch) = asker.unzip();
    let group = OffsetFetchRequestGroup { group_id, member_id, member_epoch: member_epoch.unwrap_or(-1), topics };
    OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() }
}

/// What is committed, or why that cannot be had, by partition.
pub type Committed = BTreeMap<TopicPartition, Result<Option<Mark>, Error>>;

/// What is committed of each partition; an error of all of it is one of the group.
pub fn offsets_fetched(answer: OffsetFetchResponse, known: &Metadata) -> Result<Committed, Error> {
    ErrorCode(answer.error_code).ok()?;
    let mut found = Committed::new();
    let mut add = |topic: Topic, partition: i32, offset: i64, epoch: i32, code: i16| {
        let of = TopicPartition { topic, partition };
        let leader_epoch = Some(epoch).filter(|epoch| *epoch >= 0);
        let mark = Some(Mark { offset, leader_epoch }).filter(|mark| mark.offset >= 0);
        found.insert(of.clone(), ErrorCode(code).ok().map(|()| mark).map_err(|code| Error::broker(code).at(of)));
    };
    for topic in answer.topics {
        let name = Topic::from(&topic.name);
        for it in topic.partitions {
            add(name.clone(), it.partition_index, it.committed_offset, it.committed_leader_epoch, it.error_code);
        }
    }
    for group in answer.groups {
        ErrorCode(group.error_code).ok()?;
        for topic in group.topics {
            let Some(name) = named(&topic.name, || known.topic_name(&topic.topic_id).cloned()) else { continue };
            for it in topic.partitions {
                add(name.clone(), it.partition_index, it.committed_offset, it.committed_leader_epoch, it.error_code);
            }
        }
    }
    Ok(found)
}

/// The topics of a fetch, by name and by id; in the order of the plan, so one may come twice.
pub fn fetch(plan: &Plan) -> (Vec<FetchTopic>, Vec<ForgottenTopic>) {
    let same = |(of, ask): &(TopicPartition, Ask), (next, like): &(TopicPartition, Ask)| {
        (&of.topic, ask.topic_id) == (&next.topic, like.topic_id)
    };
    let partition = |(of, ask): &(TopicPartition, Ask)| FetchPartition {
        partition: of.partition,
        current_leader_epoch: ask.leader_epoch.unwrap_or(-1),
        fetch_offset: ask.offset,
        partition_max_bytes: i32::try_from(ask.max_bytes).unwrap_or(i32::MAX),
        ..Default::default()
    };
    let topic = |asks: &[(TopicPartition, Ask)]| {
        let (of, ask) = asks.first()?;
        let partitions = asks.iter().map(partition).collect();
        Some(FetchTopic { topic: (&of.topic).into(), topic_id: ask.topic_id.unwrap_or_default(), partitions })
    };
    let topics = plan.asks.chunk_by(same).filter_map(topic);
    let mut forgotten: BTreeMap<(&Topic, Option<TopicId>), Vec<i32>> = BTreeMap::new();
    for (of, topic_id) in &plan.forgotten {
        forgotten.entry((&of.topic, *topic_id)).or_default().push(of.partition);
    }
    let forgotten = forgotten.into_iter().map(|((topic, id), partitions)| ForgottenTopic {
        topic: topic.into(),
        topic_id: id.unwrap_or_default(),
        partitions,
    });
    (topics.collect(), forgotten.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_leaving_is_said_of_the_request_or_of_its_member() {
        let check = |error_code: i16, members: &[i16], expect: i16| {
            let member = |code: &i16| MemberResponse { error_code: *code, ..Default::default() };
            let members = members.iter().map(member).collect();
            let answer = LeaveGroupResponse { error_code, members, ..Default::default() };
            assert_eq!(left(&answer), ErrorCode(expect));
        };
        check(0, &[], 0);
        check(25, &[], 25);
        check(0, &[0], 0);
        check(0, &[25], 25);
        check(16, &[], 16);
    }

    #[test]
    fn a_commit_is_made_only_if_the_answer_says_so() {
        let of = |partition| TopicPartition::new("t", partition);
        let rows = [(0, ErrorCode::NONE), (1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)];
        let partitions =
            rows.map(|(partition_index, code)| OffsetCommitResponsePartition { partition_index, error_code: code.0 });
        let topic = |name: &str, topic_id| OffsetCommitResponseTopic {
            name: name.into(),
            topic_id,
            partitions: partitions.to_vec(),
        };
        let answer = |topics| OffsetCommitResponse { topics, ..Default::default() };
        let said = |topics, of| {
            let answer = committed(answer(topics), &Metadata::default());
            verdict(&answer, &of).map_err(|error| error.to_string())
        };
        let named = || vec![topic("t", TopicId::default())];
        assert_eq!(said(named(), of(0)), Ok(()));
        assert_eq!(said(named(), of(1)).map_err(|error| error.contains("t-1: UNKNOWN_TOPIC_OR_PARTITION")), Err(true));
        let unsaid = Err("t-2: the broker's answer says nothing of it".to_owned());
        assert_eq!(said(named(), of(2)), unsaid);
        // By an id that nothing is known of.
        let unsaid = Err("t-0: the broker's answer says nothing of it".to_owned());
        assert_eq!(said(vec![topic("", TopicId::default())], of(0)), unsaid);
    }

    #[test]
    fn what_one_topic_is_refused_says_nothing_of_the_others() {
        let row = |partition_index, committed_offset, code: ErrorCode| OffsetFetchResponsePartitions {
            partition_index,
            committed_offset,
            committed_leader_epoch: 3,
            error_code: code.0,
            ..Default::default()
        };
        let topic =
            |name: &str, partitions| OffsetFetchResponseTopics { name: name.into(), partitions, ..Default::default() };
        let topics = vec![
            topic("a", vec![row(0, -1, ErrorCode::TOPIC_AUTHORIZATION_FAILED)]),
            topic("b", vec![row(0, 7, ErrorCode::NONE), row(1, -1, ErrorCode::NONE)]),
        ];
        let groups = vec![OffsetFetchResponseGroup { topics, ..Default::default() }];
        let answer = OffsetFetchResponse { groups, ..Default::default() };
        let mut answer = offsets_fetched(answer, &Metadata::default()).expect("the group is not refused");
        let mut said = |topic: &str, partition| {
            let mark = found(&mut answer, &TopicPartition::new(topic, partition));
            mark.map(|mark| mark.map(|mark| mark.offset)).map_err(|error| error.code())
        };
        assert_eq!(said("a", 0), Err(Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED)));
        assert_eq!((said("b", 0), said("b", 1), said("b", 2)), (Ok(Some(7)), Ok(None), Err(None)));
    }

    #[test]
    fn a_leader_that_leaves_things_as_they_are_knows_everybody_all_the_same() {
        let subscription = ConsumerProtocolSubscription { topics: vec!["t".into()], ..Default::default() };
        let member = |id: &str| JoinGroupResponseMember {
            member_id: id.into(),
            metadata: encode(&subscription, VERSION).expect("it is short"),
            ..Default::default()
        };
        let told = |member_id: &str, skip_assignment| {
            let answer = JoinGroupResponse {
                protocol_name: Some(Assignor::Range.name().into()),
                leader: "a".into(),
                member_id: member_id.into(),
                members: vec![member("a"), member("b")],
                skip_assignment,
                ..Default::default()
            };
            joined(answer).map(|(_, led)| (led.members.len(), led.is_settled))
        };
        assert_eq!(told("a", false), Ok((2, false)));
        assert_eq!(told("a", true), Ok((2, true)));
        assert_eq!(told("b", false), Ok((0, false)));
    }

    #[test]
    fn a_fetch_keeps_the_order_of_its_plan() {
        let ask = |topic: &str, partition| {
            let ask = Ask { topic_id: None, offset: 0, leader_epoch: None, max_bytes: 9 };
            (TopicPartition::new(topic, partition), ask)
        };
        let asks = vec![ask("a", 1), ask("a", 2), ask("b", 0), ask("a", 0)];
        let (topics, _) = fetch(&Plan { asks, ..Default::default() });
        let said = topics.iter().map(|it| {
            let partitions: Vec<i32> = it.partitions.iter().map(|it| it.partition).collect();
            (it.topic.to_string(), partitions)
        });
        assert_eq!(said.collect::<Vec<_>>(), [("a".into(), vec![1, 2]), ("b".into(), vec![0]), ("a".into(), vec![0])]);
    }
}
