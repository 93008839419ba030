//! What a broker answers to groups of the consumer protocol (KIP-848), field by field: one script, played to the embedded
//! broker and compared with `consumer_group_answers.golden`, which Apache Kafka 4.3 has written.
//!
//! With `HIGHWATER_TEST_KAFKA_43` set to the address of a real broker, the script is played to that one too; with `BLESS=1`
//! its answers become the golden ones.

use std::time::Duration;

use bytes::Bytes;
use highwater::devbroker::{Config, DevBroker, GroupConfig};
use highwater::protocol::messages::*;
use highwater::protocol::types::{Str, Uuid};
use protocol_tests::Outcome;
use protocol_tests::script::{Script, compare, compare_or_bless};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/consumer_group_answers.golden");
const PATIENCE: usize = 1_200;

/// A topic by name, and the id that it has.
#[derive(Clone)]
struct Place {
    name: Str,
    id: Uuid,
}

async fn create_topic(script: &mut Script, what: &str, partitions: i32) -> Outcome<Place> {
    let name = script.name(what);
    let topic = CreatableTopic {
        name: name.clone(),
        num_partitions: partitions,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() };
    let created = script.ask(7, request).await?;
    let id = created.topics.first().ok_or("no topic")?.topic_id;
    script.stand_ins.push((format!("{id:?}"), format!("ID-OF-{what}")));
    Ok(Place { name, id })
}

type Heartbeat = ConsumerGroupHeartbeatRequest;

fn beat(group_id: &Str, member_id: &str, member_epoch: i32) -> Heartbeat {
    Heartbeat { group_id: group_id.clone(), member_id: Str::from(member_id), member_epoch, ..Heartbeat::default() }
}

fn join(group_id: &Str, member_id: &str, topics: &[&Place]) -> Heartbeat {
    Heartbeat {
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(topics.iter().map(|place| place.name.clone()).collect()),
        topic_partitions: Some(Vec::new()),
        ..beat(group_id, member_id, 0)
    }
}

fn owning(place: &Place, partitions: &[i32], heartbeat: Heartbeat) -> Heartbeat {
    let row = ConsumerGroupHeartbeatTopicPartitions { topic_id: place.id, partitions: partitions.to_vec() };
    let rows = if partitions.is_empty() { Vec::new() } else { vec![row] };
    Heartbeat { topic_partitions: Some(rows), ..heartbeat }
}

fn seated(instance: &str, heartbeat: Heartbeat) -> Heartbeat {
    Heartbeat { instance_id: Some(Str::from(instance)), ..heartbeat }
}

/// Topics are told in the order of their ids, which are drawn.
fn tidy(script: &Script, response: &mut ConsumerGroupHeartbeatResponse) {
    let Some(assignment) = &mut response.assignment else { return };
    let stand_in = |id: Uuid| script.stand_ins.iter().find(|(real, _)| *real == format!("{id:?}")).map(|(_, it)| it);
    assignment.topic_partitions.sort_by_key(|topic| stand_in(topic.topic_id).cloned());
    assignment.topic_partitions.iter_mut().for_each(|topic| topic.partitions.sort_unstable());
}

/// Sends a heartbeat, and puts the answer down; what a pattern is said to be wrong in is each library's own.
async fn told(script: &mut Script, version: i16, heartbeat: Heartbeat) -> Outcome<ConsumerGroupHeartbeatResponse> {
    let mut response = script.ask(version, heartbeat).await?;
    if response.error_code == 128 {
        response.error_message = Some(Str::from("..."));
    }
    tidy(script, &mut response);
    script.put::<Heartbeat>(version, &response);
    Ok(response)
}

/// Heartbeats until there is news: targets follow a group at most once a second, and patterns are matched aside.
async fn news(script: &mut Script, heartbeat: Heartbeat) -> Outcome<ConsumerGroupHeartbeatResponse> {
    let mut heartbeat = heartbeat;
    for _ in 0..PATIENCE {
        let mut response = script.ask(1, heartbeat.clone()).await?;
        if response.assignment.is_some() || response.error_code != 0 {
            tidy(script, &mut response);
            script.put::<Heartbeat>(1, &response);
            return Ok(response);
        }
        heartbeat.member_epoch = response.member_epoch;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("no news for {heartbeat:?}").into())
}

async fn describe(script: &mut Script, version: i16, group: &Str) -> Outcome<()> {
    let request = ConsumerGroupDescribeRequest { group_ids: vec![group.clone()], include_authorized_operations: true };
    let mut response = script.ask(version, request).await?;
    for group in &mut response.groups {
        group.members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
        for member in &mut group.members {
            member.client_host = Str::from(if member.client_host.starts_with('/') { "/HOST" } else { "?" });
            member.subscribed_topic_names.sort();
            let both = [&mut member.assignment, &mut member.target_assignment];
            for assignment in both {
                assignment.topic_partitions.sort_by(|a, b| a.topic_name.cmp(&b.topic_name));
                assignment.topic_partitions.iter_mut().for_each(|it| it.partitions.sort_unstable());
            }
        }
    }
    script.put::<ConsumerGroupDescribeRequest>(version, &response);
    Ok(())
}

/// Waits until the coordinator has heard of topics: a group that is none of the script's reads them.
async fn known(script: &mut Script, topics: &[&Place]) -> Outcome<()> {
    let group = Str::from(format!("before-{}", script.run));
    let mut response = script.ask(1, join(&group, "probe", topics)).await?;
    for _ in 0..PATIENCE {
        if response.assignment.is_some_and(|it| it.topic_partitions.len() == topics.len()) {
            script.ask(1, beat(&group, "probe", -1)).await?;
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        response = script.ask(1, beat(&group, "probe", response.member_epoch)).await?;
    }
    Err("the coordinator does not hear of the topics".into())
}

/// What is refused whatever the group.
async fn refusals(script: &mut Script, place: &Place) -> Outcome<()> {
    script.section("refused");
    let group = script.name("refusing");
    for version in [0, 1] {
        let joins = || join(&group, "m", &[place]);
        let cases = [
            beat(&group, "", 1),
            beat(&group, "", -1),
            join(&Str::default(), "m", &[place]),
            seated("", joins()),
            Heartbeat { rack_id: Some(Str::default()), ..joins() },
            Heartbeat { rebalance_timeout_ms: -1, ..joins() },
            Heartbeat { topic_partitions: None, ..joins() },
            owning(place, &[0], joins()),
            Heartbeat { subscribed_topic_names: None, ..joins() },
            beat(&group, "m", -2),
            beat(&group, "m", -3),
            Heartbeat { server_assignor: Some(Str::from("round robin")), ..joins() },
            beat(&group, "m", 1),
            beat(&group, "m", -1),
            seated("i", beat(&group, "m", -2)),
            seated("i", beat(&group, "m", 1)),
        ];
        for case in cases {
            told(script, version, case).await?;
        }
    }
    told(script, 1, join(&group, "", &[place])).await?;
    let bad = Some(Str::from("(bad"));
    told(script, 1, Heartbeat { subscribed_topic_regex: bad, ..join(&group, "m", &[]) }).await?;
    describe(script, 0, &group).await?;
    describe(script, 1, &group).await?;
    describe(script, 1, &Str::default()).await
}

/// Two members, from the first join to the last leave.
async fn life(script: &mut Script, place: &Place) -> Outcome<()> {
    script.section("two members");
    let group = script.name("life");
    told(script, 1, join(&group, "alpha", &[place])).await?;
    told(script, 1, beat(&group, "alpha", 2)).await?;
    told(script, 1, owning(place, &[0, 1, 2, 3], beat(&group, "alpha", 2))).await?;
    describe(script, 0, &group).await?;
    told(script, 1, beat(&group, "nobody", 2)).await?;
    told(script, 1, beat(&group, "alpha", 3)).await?;
    told(script, 1, beat(&group, "alpha", 1)).await?;
    told(script, 1, seated("i", beat(&group, "alpha", 2))).await?;
    let racked = Heartbeat { rack_id: Some(Str::from("r")), ..join(&group, "beta", &[place]) };
    script.ask(1, racked).await?;
    // Whichever of the two it was that let the target follow: both have heard of it, then.
    news(script, beat(&group, "alpha", 2)).await?;
    let epoch = epoch_of(script, &group, "beta").await?;
    script.ask(1, beat(&group, "beta", epoch)).await?;
    describe(script, 1, &group).await?;
    told(script, 1, beat(&group, "alpha", 2)).await?;
    told(script, 1, owning(place, &[0, 1, 2], beat(&group, "alpha", 2))).await?;
    told(script, 1, owning(place, &[0, 1], beat(&group, "alpha", 2))).await?;
    told(script, 1, owning(place, &[0, 1], beat(&group, "alpha", 2))).await?;
    told(script, 1, owning(place, &[0, 1, 2], beat(&group, "alpha", 2))).await?;
    news(script, beat(&group, "beta", 3)).await?;
    told(script, 1, owning(place, &[2, 3], beat(&group, "beta", 3))).await?;
    describe(script, 1, &group).await?;
    told(script, 1, join(&group, "alpha", &[place])).await?;
    told(script, 1, beat(&group, "alpha", -1)).await?;
    told(script, 1, beat(&group, "alpha", 3)).await?;
    describe(script, 1, &group).await?;
    news(script, beat(&group, "beta", 3)).await?;
    told(script, 1, beat(&group, "beta", -1)).await?;
    describe(script, 1, &group).await
}

/// The epoch at which the coordinator has a member now: it may have followed the target, or not yet.
async fn epoch_of(script: &mut Script, group: &Str, member: &str) -> Outcome<i32> {
    let request = ConsumerGroupDescribeRequest { group_ids: vec![group.clone()], ..Default::default() };
    let described = script.ask(1, request).await?;
    let found = described.groups.iter().flat_map(|group| &group.members).find(|it| it.member_id.as_str() == member);
    Ok(found.ok_or("no such member")?.member_epoch)
}

/// A static member that goes, comes back, and is taken out.
async fn seats(script: &mut Script, place: &Place) -> Outcome<()> {
    script.section("static members");
    let group = script.name("seats");
    told(script, 1, seated("seat", join(&group, "first", &[place]))).await?;
    told(script, 1, seated("seat", join(&group, "second", &[place]))).await?;
    told(script, 1, seated("seat", join(&group, "first", &[place]))).await?;
    told(script, 1, seated("seat", beat(&group, "second", -2))).await?;
    told(script, 1, seated("seat", beat(&group, "first", -2))).await?;
    describe(script, 1, &group).await?;
    told(script, 1, seated("seat", beat(&group, "first", 2))).await?;
    told(script, 1, seated("seat", join(&group, "second", &[place]))).await?;
    describe(script, 1, &group).await?;
    told(script, 1, seated("seat", beat(&group, "first", 2))).await?;
    told(script, 1, seated("other", beat(&group, "second", 2))).await?;
    let leaves = |member: &str, instance: Option<&str>| MemberIdentity {
        member_id: Str::from(member),
        group_instance_id: instance.map(Str::from),
        ..MemberIdentity::default()
    };
    let members =
        vec![leaves("first", Some("seat")), leaves("", Some("none")), leaves("first", None), leaves("", Some("seat"))];
    script.note(5, LeaveGroupRequest { group_id: group.clone(), members, ..LeaveGroupRequest::default() }).await?;
    describe(script, 1, &group).await
}

fn commit(group: &Str, place: &Place, version: i16, epoch: i32, member: &str, partition: i32) -> OffsetCommitRequest {
    let row = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: 5,
        committed_leader_epoch: -1,
        committed_metadata: Some(Str::default()),
    };
    let topic = OffsetCommitRequestTopic {
        name: if version < 10 { place.name.clone() } else { Str::default() },
        topic_id: if version < 10 { Uuid::ZERO } else { place.id },
        partitions: vec![row],
    };
    OffsetCommitRequest {
        group_id: group.clone(),
        generation_id_or_member_epoch: epoch,
        member_id: Str::from(member),
        topics: vec![topic],
        ..OffsetCommitRequest::default()
    }
}

fn fetch(group: &Str, place: &Place, version: i16, member: Option<&str>, epoch: i32) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics {
        name: if version < 10 { place.name.clone() } else { Str::default() },
        topic_id: if version < 10 { Uuid::ZERO } else { place.id },
        partition_indexes: vec![0],
    };
    let group = OffsetFetchRequestGroup {
        group_id: group.clone(),
        member_id: member.map(Str::from),
        member_epoch: epoch,
        topics: Some(vec![topic]),
    };
    OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() }
}

/// Who may commit, and who may read what was committed.
async fn offsets(script: &mut Script, place: &Place, later: &Place) -> Outcome<()> {
    script.section("offsets");
    let group = script.name("offsets");
    script.note(9, commit(&group, place, 9, 2, "alpha", 0)).await?;
    script.note(8, commit(&group, place, 8, 2, "alpha", 0)).await?;
    told(script, 1, join(&group, "alpha", &[place])).await?;
    for (version, epoch, member) in [
        (8, 2, "alpha"),
        (9, 2, "alpha"),
        (10, 2, "alpha"),
        (9, 1, "alpha"),
        (9, 3, "alpha"),
        (9, 2, "beta"),
        (9, -1, ""),
        (10, -1, ""),
    ] {
        script.note(version, commit(&group, place, version, epoch, member, 0)).await?;
    }
    for (version, member, epoch) in [
        (8, None, -1),
        (9, None, -1),
        (9, Some("alpha"), 2),
        (10, Some("alpha"), 2),
        (9, Some("alpha"), 1),
        (9, Some("beta"), 2),
        (9, Some(""), -1),
    ] {
        script.note(version, fetch(&group, place, version, member, epoch)).await?;
    }
    // What has been its own ever since, a member may commit although it has not heard of the latest epoch.
    let both = Some(vec![place.name.clone(), later.name.clone()]);
    news(script, Heartbeat { subscribed_topic_names: both, ..beat(&group, "alpha", 2) }).await?;
    script.note(10, commit(&group, place, 10, 2, "alpha", 3)).await?;
    script.note(10, commit(&group, later, 10, 2, "alpha", 0)).await?;
    script.note(10, commit(&group, later, 10, 3, "alpha", 0)).await?;
    told(script, 1, beat(&group, "alpha", -1)).await?;
    script.note(9, commit(&group, place, 9, -1, "", 0)).await?;
    script.note(9, commit(&group, place, 9, 3, "alpha", 0)).await?;
    Ok(())
}

/// Topics that come, grow and go, by name and by pattern.
async fn topics(script: &mut Script) -> Outcome<()> {
    script.section("topics");
    let (group, name) = (script.name("topics"), script.name("moving"));
    let wanted = Place { name: name.clone(), id: Uuid::ZERO };
    told(script, 1, join(&group, "alpha", &[&wanted])).await?;
    let moving = create_topic(script, "moving", 1).await?;
    news(script, beat(&group, "alpha", 2)).await?;
    let more = CreatePartitionsTopic { name: name.clone(), count: 3, assignments: None };
    script.ask(3, CreatePartitionsRequest { topics: vec![more], timeout_ms: 10_000, validate_only: false }).await?;
    news(script, beat(&group, "alpha", 3)).await?;
    let gone = DeleteTopicState { name: Some(name), topic_id: Uuid::ZERO };
    script.ask(6, DeleteTopicsRequest { topics: vec![gone], timeout_ms: 10_000, ..Default::default() }).await?;
    news(script, beat(&group, "alpha", 4)).await?;
    told(script, 1, owning(&moving, &[], beat(&group, "alpha", 4))).await?;
    told(script, 1, beat(&group, "alpha", -1)).await?;

    script.section("patterns");
    let group = script.name("patterns");
    create_topic(script, "pattern-1", 2).await?;
    create_topic(script, "other-pattern-1", 2).await?;
    let pattern = Some(Str::from(format!("{}-pattern-[0-9]", script.run)));
    let joins =
        Heartbeat { subscribed_topic_regex: pattern, subscribed_topic_names: None, ..join(&group, "alpha", &[]) };
    told(script, 1, joins).await?;
    news(script, beat(&group, "alpha", 1)).await?;
    describe(script, 1, &group).await?;
    create_topic(script, "pattern-2", 1).await?;
    news(script, beat(&group, "alpha", 2)).await?;
    let none = Some(Str::default());
    told(script, 1, Heartbeat { subscribed_topic_regex: none, ..beat(&group, "alpha", 3) }).await?;
    told(script, 1, beat(&group, "alpha", -1)).await?;
    Ok(())
}

/// What the classic protocol and the tools are told about such a group, and how an empty one changes sides.
async fn sides(script: &mut Script, place: &Place) -> Outcome<()> {
    script.section("the classic protocol");
    let group = script.name("sides");
    script.note(9, commit(&group, place, 9, -1, "", 1)).await?;
    describe(script, 1, &group).await?;
    told(script, 1, beat(&group, "alpha", 2)).await?;
    told(script, 1, beat(&group, "alpha", -1)).await?;
    told(script, 1, join(&group, "alpha", &[place])).await?;
    let (group_id, member_id) = (group.clone(), Str::from("alpha"));
    let heartbeat = HeartbeatRequest { group_id, member_id, generation_id: 2, ..HeartbeatRequest::default() };
    script.note(4, heartbeat).await?;
    let (group_id, member_id) = (group.clone(), Str::from("alpha"));
    script
        .note(
            5,
            SyncGroupRequest {
                group_id,
                member_id,
                generation_id: 2,
                protocol_type: Some(Str::from("consumer")),
                protocol_name: Some(Str::from("range")),
                ..SyncGroupRequest::default()
            },
        )
        .await?;
    for version in [5, 6] {
        let groups = vec![group.clone()];
        script.note(version, DescribeGroupsRequest { groups, include_authorized_operations: false }).await?;
    }
    script.note(2, DeleteGroupsRequest { groups_names: vec![group.clone()] }).await?;
    let partitions = vec![OffsetDeleteRequestPartition { partition_index: 1 }];
    let topic = OffsetDeleteRequestTopic { name: place.name.clone(), partitions };
    script.note(0, OffsetDeleteRequest { group_id: group.clone(), topics: vec![topic] }).await?;
    listings(script).await?;
    told(script, 1, beat(&group, "alpha", -1)).await?;
    // A subscription to nothing, version 0, without user data.
    let metadata = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    let joins = JoinGroupRequest {
        group_id: group.clone(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: Str::from("consumer"),
        protocols: vec![JoinGroupRequestProtocol { name: Str::from("range"), metadata }],
        ..JoinGroupRequest::default()
    };
    script.note(9, JoinGroupRequest { member_id: Str::from("stranger"), ..joins.clone() }).await?;
    script.join(3, joins, "CLASSIC").await?;
    describe(script, 1, &group).await?;
    script.note(9, fetch(&group, place, 9, None, -1)).await?;
    Ok(())
}

async fn listings(script: &mut Script) -> Outcome<()> {
    let filters: [(i16, &[&str], &[&str]); 6] = [
        (0, &[], &[]),
        (4, &["stable"], &[]),
        (4, &["Assigning"], &[]),
        (5, &[], &["Consumer"]),
        (5, &["Empty"], &["consumer"]),
        (5, &[], &["classic"]),
    ];
    for (version, states, types) in filters {
        let texts = |texts: &[&str]| texts.iter().map(|text| Str::from(*text)).collect();
        let request = ListGroupsRequest { states_filter: texts(states), types_filter: texts(types) };
        let mut response = script.ask(version, request).await?;
        response.groups.retain(|group| group.group_id.starts_with(&script.run));
        response.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        script.put::<ListGroupsRequest>(version, &response);
    }
    Ok(())
}

async fn play(address: &str, run: &str) -> Outcome<String> {
    let mut script = Script::begin(address, run).await?;
    let place = create_topic(&mut script, "topic", 4).await?;
    let later = create_topic(&mut script, "later", 1).await?;
    known(&mut script, &[&place, &later]).await?;
    refusals(&mut script, &place).await?;
    life(&mut script, &place).await?;
    seats(&mut script, &place).await?;
    offsets(&mut script, &place, &later).await?;
    topics(&mut script).await?;
    sides(&mut script, &place).await?;
    Ok(script.transcript)
}

#[tokio::test]
async fn the_embedded_broker_answers_as_kafka_does() -> Outcome<()> {
    let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
    let broker = DevBroker::start(Config { groups, ..Config::default() }).await?;
    let said = play(&broker.bootstrap_servers(), "embedded").await?;
    compare(&std::fs::read_to_string(GOLDEN)?, &said, "the embedded broker");
    broker.stop().await?;
    Ok(())
}

#[tokio::test]
async fn kafka_answers_as_it_did() -> Outcome<()> {
    let Ok(address) = std::env::var("HIGHWATER_TEST_KAFKA_43") else { return Ok(()) };
    let run = format!("consumer-groups-{}", std::process::id());
    let said = play(&address, &run).await?;
    compare_or_bless(GOLDEN, &said, &address)
}
