//! What a broker answers to everything that groups are asked, field by field and version by version: one script, played
//! to the embedded broker and compared with `groups.golden`, which Apache Kafka 4.3 has written.
//!
//! With `HIGHWATER_TEST_KAFKA_43` set to the address of a real broker (and an initial rebalance delay of 0), the script is
//! played to that one too; with `BLESS=1` its answers become the golden ones.

use bytes::Bytes;
use highwater::devbroker::{Config, DevBroker, GroupConfig};
use highwater::protocol::messages::*;
use highwater::protocol::types::{Str, Uuid};
use protocol_tests::Outcome;
use protocol_tests::script::{Script, compare, compare_or_bless};

/// How often the broker is asked for what it will soon know.
const PATIENCE: usize = 1_200;
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/groups.golden");

fn join(group_id: &Str, member_id: &str) -> JoinGroupRequest {
    // A subscription to the topic `t`, version 0, without user data.
    let metadata = Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff]);
    JoinGroupRequest {
        group_id: group_id.clone(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: Str::from(member_id),
        protocol_type: Str::from("consumer"),
        protocols: vec![JoinGroupRequestProtocol { name: Str::from("range"), metadata }],
        ..JoinGroupRequest::default()
    }
}

fn sync(group_id: &Str, member_id: &Str, generation_id: i32, version: i16) -> SyncGroupRequest {
    let assignment =
        SyncGroupRequestAssignment { member_id: member_id.clone(), assignment: Bytes::from_static(b"mine") };
    SyncGroupRequest {
        group_id: group_id.clone(),
        generation_id,
        member_id: member_id.clone(),
        protocol_type: (version >= 5).then(|| Str::from("consumer")),
        protocol_name: (version >= 5).then(|| Str::from("range")),
        assignments: vec![assignment],
        ..SyncGroupRequest::default()
    }
}

fn heartbeat(group_id: &Str, member_id: &Str, generation_id: i32) -> HeartbeatRequest {
    let (group_id, member_id) = (group_id.clone(), member_id.clone());
    HeartbeatRequest { group_id, member_id, generation_id, ..HeartbeatRequest::default() }
}

fn leave(group_id: &Str, version: i16, member_id: &str, instance_id: Option<&str>) -> LeaveGroupRequest {
    let group_id = group_id.clone();
    if version < 3 {
        return LeaveGroupRequest { group_id, member_id: Str::from(member_id), ..LeaveGroupRequest::default() };
    }
    let group_instance_id = instance_id.map(Str::from);
    let member = MemberIdentity { member_id: Str::from(member_id), group_instance_id, ..MemberIdentity::default() };
    LeaveGroupRequest { group_id, members: vec![member], ..LeaveGroupRequest::default() }
}

/// Where an offset is committed: topics have names until v9 and ids from v10 on.
#[derive(Clone)]
struct Place {
    name: Str,
    id: Uuid,
    partition: i32,
}

fn commit(group_id: &Str, version: i16, place: &Place, offset: i64, metadata: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: place.partition,
        committed_offset: offset,
        committed_leader_epoch: if version >= 6 { 3 } else { -1 },
        committed_metadata: Some(Str::from(metadata)),
    };
    let topic = OffsetCommitRequestTopic {
        name: if version < 10 { place.name.clone() } else { Str::default() },
        topic_id: if version < 10 { Uuid::ZERO } else { place.id },
        partitions: vec![partition],
    };
    OffsetCommitRequest { group_id: group_id.clone(), topics: vec![topic], ..OffsetCommitRequest::default() }
}

/// Asks for some partitions, or for all that there are.
fn fetch(group_id: &Str, version: i16, place: &Place, partitions: Option<&[i32]>) -> OffsetFetchRequest {
    let indexes = partitions.map(<[i32]>::to_vec);
    if version < 8 {
        let topic = |partition_indexes| OffsetFetchRequestTopic { name: place.name.clone(), partition_indexes };
        let topics = indexes.map(|indexes| vec![topic(indexes)]);
        return OffsetFetchRequest { group_id: group_id.clone(), topics, ..OffsetFetchRequest::default() };
    }
    let topic = |partition_indexes| OffsetFetchRequestTopics {
        name: if version < 10 { place.name.clone() } else { Str::default() },
        topic_id: if version < 10 { Uuid::ZERO } else { place.id },
        partition_indexes,
    };
    let topics = indexes.map(|indexes| vec![topic(indexes)]);
    let group = OffsetFetchRequestGroup { group_id: group_id.clone(), topics, ..OffsetFetchRequestGroup::default() };
    OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() }
}

fn describe(group_id: &Str, version: i16) -> DescribeGroupsRequest {
    DescribeGroupsRequest { groups: vec![group_id.clone()], include_authorized_operations: version >= 3 }
}

async fn create_topic(script: &mut Script) -> Outcome<Place> {
    let name = script.name("topic");
    let topic =
        CreatableTopic { name: name.clone(), num_partitions: 2, replication_factor: 1, ..CreatableTopic::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() };
    let created = script.ask(7, request).await?;
    let id = created.topics.first().ok_or("no topic")?.topic_id;
    is_led(script, &name).await?;
    script.stand_ins.push((format!("{id:?}"), "TOPIC-ID".to_owned()));
    Ok(Place { name, id, partition: 0 })
}

/// Waits until the broker leads what it was told to make: it answers before it has heard of it itself.
async fn is_led(script: &mut Script, name: &Str) -> Outcome<()> {
    for _ in 0..PATIENCE {
        let topics = vec![MetadataRequestTopic { name: Some(name.clone()), ..MetadataRequestTopic::default() }];
        let request = MetadataRequest { topics: Some(topics), ..MetadataRequest::default() };
        let said = script.ask(9, request).await?;
        let led = said.topics.iter().flat_map(|topic| &topic.partitions).filter(|it| it.leader_id >= 0).count();
        if led == 2 {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Err("the topic has no leaders".into())
}

/// Groups that do not exist, in every version.
async fn nobody(script: &mut Script, place: &Place) -> Outcome<()> {
    let group = script.name("nobody");
    let stranger = Str::from("stranger");
    script.section("no such group");
    for version in 0..=4 {
        script.note(version, heartbeat(&group, &stranger, 1)).await?;
    }
    for version in 0..=5 {
        script.note(version, leave(&group, version, "stranger", None)).await?;
        script.note(version, sync(&group, &stranger, 1, version)).await?;
    }
    for version in 2..=9 {
        script.note(version, join(&group, "stranger")).await?;
    }
    for version in 0..=6 {
        script.note(version, describe(&group, version)).await?;
    }
    for version in 1..=10 {
        script.note(version, fetch(&group, version, place, Some(&[0, 7]))).await?;
        if version >= 2 {
            script.note(version, fetch(&group, version, place, None)).await?;
            let mut request = commit(&group, version, place, 1, "");
            request.generation_id_or_member_epoch = 5;
            script.note(version, request).await?;
        }
    }
    for version in 0..=2 {
        script.note(version, DeleteGroupsRequest { groups_names: vec![group.clone(), group.clone()] }).await?;
    }
    let group_id = group.clone();
    script.note(0, OffsetDeleteRequest { group_id, ..OffsetDeleteRequest::default() }).await?;
    Ok(())
}

/// Requests without a group's name.
async fn nameless(script: &mut Script) -> Outcome<()> {
    let (group, stranger) = (Str::default(), Str::from("stranger"));
    script.section("no name");
    script.note(9, join(&group, "")).await?;
    script.note(5, sync(&group, &stranger, 1, 5)).await?;
    script.note(4, heartbeat(&group, &stranger, 1)).await?;
    script.note(5, leave(&group, 5, "stranger", None)).await?;
    script.note(5, describe(&group, 5)).await?;
    script.note(2, DeleteGroupsRequest { groups_names: vec![group] }).await?;
    Ok(())
}

/// Offsets without members: every version writes and reads the same.
async fn simple(script: &mut Script, place: &Place) -> Outcome<()> {
    script.section("offsets of a simple group");
    let group = script.name("simple");
    for version in 2..=10 {
        script.note(version, commit(&group, version, place, i64::from(version), "why")).await?;
        script.note(version, fetch(&group, version, place, Some(&[0, 1, 7]))).await?;
        script.note(version, fetch(&group, version, place, None)).await?;
    }
    let elsewhere = Place { partition: 7, ..place.clone() };
    let nowhere = Place { name: script.name("nowhere"), id: Uuid([9; 16]), partition: 0 };
    for version in [9, 10] {
        script.note(version, commit(&group, version, &elsewhere, 1, "")).await?;
        script.note(version, commit(&group, version, &nowhere, 1, "")).await?;
        script.note(version, fetch(&group, version, &nowhere, Some(&[0]))).await?;
        script.note(version, commit(&group, version, place, 1, &"x".repeat(4097))).await?;
        script.note(version, commit(&group, version, place, -1, &"x".repeat(4096))).await?;
    }
    for version in 0..=6 {
        script.note(version, describe(&group, version)).await?;
    }
    let partitions = [7, 0, 1].map(|partition_index| OffsetDeleteRequestPartition { partition_index }).to_vec();
    let topic = OffsetDeleteRequestTopic { name: place.name.clone(), partitions };
    script.note(0, OffsetDeleteRequest { group_id: group.clone(), topics: vec![topic] }).await?;
    script.note(9, fetch(&group, 9, place, None)).await?;
    script.note(2, DeleteGroupsRequest { groups_names: vec![group.clone(), group.clone()] }).await?;
    script.note(6, describe(&group, 6)).await?;
    Ok(())
}

/// One member through all of its life, in one version of JoinGroup.
async fn member(script: &mut Script, place: &Place, version: i16) -> Outcome<()> {
    script.section(&format!("a member that joins by v{version}"));
    let group = script.name(&format!("member-{version}"));
    let (sync_version, beat_version) = (version.min(5), version.min(4));
    script.note(version, JoinGroupRequest { session_timeout_ms: 1, ..join(&group, "") }).await?;
    script.note(version, JoinGroupRequest { protocols: Vec::new(), ..join(&group, "") }).await?;
    let name = format!("MEMBER-{version}");
    let mut member = script.join(version, join(&group, ""), &name).await?;
    if version >= 4 {
        member = script.join(version, join(&group, &member), &name).await?;
    }
    script.note(5, describe(&group, 5)).await?;
    script.note(beat_version, heartbeat(&group, &member, 1)).await?;
    script
        .note(
            9,
            OffsetCommitRequest {
                generation_id_or_member_epoch: 1,
                member_id: member.clone(),
                ..commit(&group, 9, place, 1, "")
            },
        )
        .await?;
    script.note(sync_version, sync(&group, &member, 2, sync_version)).await?;
    script
        .note(sync_version, SyncGroupRequest { protocol_name: None, ..sync(&group, &member, 1, sync_version) })
        .await?;
    script.note(sync_version, sync(&group, &member, 1, sync_version)).await?;
    script.note(sync_version, sync(&group, &member, 1, sync_version)).await?;
    for version in 0..=6 {
        script.note(version, describe(&group, version)).await?;
    }
    script.note(beat_version, heartbeat(&group, &member, 1)).await?;
    script.note(beat_version, heartbeat(&group, &member, 2)).await?;
    script
        .note(
            9,
            OffsetCommitRequest {
                generation_id_or_member_epoch: 1,
                member_id: member.clone(),
                ..commit(&group, 9, place, 1, "")
            },
        )
        .await?;
    script
        .note(
            9,
            OffsetCommitRequest {
                generation_id_or_member_epoch: 0,
                member_id: member.clone(),
                ..commit(&group, 9, place, 1, "")
            },
        )
        .await?;
    script.note(9, commit(&group, 9, place, 1, "")).await?;
    script.note(2, DeleteGroupsRequest { groups_names: vec![group.clone()] }).await?;
    let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
    let topics = ["t", &place.name]
        .map(|name| OffsetDeleteRequestTopic { name: Str::from(name), partitions: partitions.clone() });
    script.note(0, OffsetDeleteRequest { group_id: group.clone(), topics: topics.to_vec() }).await?;
    // A leader that joins again starts a new generation.
    script.join(version, join(&group, &member), &name).await?;
    let odd = vec![JoinGroupRequestProtocol { name: Str::from("other"), metadata: Bytes::new() }];
    script.note(version, JoinGroupRequest { protocols: odd, ..join(&group, &member) }).await?;
    script.note(version, JoinGroupRequest { protocol_type: Str::from("connect"), ..join(&group, "") }).await?;
    script.note(version.min(5), leave(&group, version.min(5), "stranger", None)).await?;
    script.note(version.min(5), leave(&group, version.min(5), &member, None)).await?;
    script.note(5, describe(&group, 5)).await?;
    script.note(beat_version, heartbeat(&group, &member, 2)).await?;
    Ok(())
}

/// A static member that comes back under its instance id.
async fn static_member(script: &mut Script, version: i16) -> Outcome<()> {
    script.section(&format!("a static member that joins by v{version}"));
    let group = script.name(&format!("static-{version}"));
    let with = |request| JoinGroupRequest { group_instance_id: Some(Str::from("seat")), ..request };
    let first = script.join(version, with(join(&group, "")), &format!("FIRST-{version}")).await?;
    script.note(5, sync(&group, &first, 1, 5)).await?;
    let second = script.join(version, with(join(&group, "")), &format!("SECOND-{version}")).await?;
    let seat = |request| HeartbeatRequest { group_instance_id: Some(Str::from("seat")), ..request };
    script.note(4, seat(heartbeat(&group, &first, 1))).await?;
    script.note(4, heartbeat(&group, &first, 1)).await?;
    script.note(4, seat(heartbeat(&group, &second, 1))).await?;
    script.note(version, with(join(&group, &first))).await?;
    script.note(5, sync(&group, &second, 1, 5)).await?;
    script.note(5, describe(&group, 5)).await?;
    script.note(5, leave(&group, 5, &first, Some("seat"))).await?;
    script.note(5, leave(&group, 5, "", Some("nobody's"))).await?;
    script.note(5, leave(&group, 5, "", Some("seat"))).await?;
    script.note(5, describe(&group, 5)).await?;
    Ok(())
}

/// Which groups are listed, by state and by type.
async fn listings(script: &mut Script) -> Outcome<()> {
    script.section("listings");
    let filters: [(i16, &[&str], &[&str]); 9] = [
        (0, &[], &[]),
        (3, &[], &[]),
        (4, &[], &[]),
        (4, &["empty"], &[]),
        (4, &["Stable"], &[]),
        (4, &["nonsense"], &[]),
        (5, &[], &["Classic"]),
        (5, &["Empty", "Stable"], &["consumer"]),
        (5, &[], &["nonsense"]),
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

/// Where groups are kept. Of a real broker nothing is known but that it answers.
async fn coordinators(script: &mut Script) -> Outcome<()> {
    script.section("coordinators");
    for version in 0..=6 {
        let group = script.name("anybody");
        let request = match version {
            4.. => FindCoordinatorRequest {
                coordinator_keys: vec![group.clone(), group],
                ..FindCoordinatorRequest::default()
            },
            _ => FindCoordinatorRequest { key: group, ..FindCoordinatorRequest::default() },
        };
        let mut response = script.ask(version, request).await?;
        (response.node_id, response.host, response.port) = (0, Str::default(), 0);
        for it in &mut response.coordinators {
            (it.node_id, it.host, it.port) = (0, Str::default(), 0);
        }
        script.put::<FindCoordinatorRequest>(version, &response);
    }
    Ok(())
}

async fn play(address: &str, run: &str) -> Outcome<String> {
    let mut script = Script::begin(address, run).await?;
    let place = create_topic(&mut script).await?;
    coordinators(&mut script).await?;
    nobody(&mut script, &place).await?;
    nameless(&mut script).await?;
    simple(&mut script, &place).await?;
    for version in 2..=9 {
        member(&mut script, &place, version).await?;
    }
    for version in 5..=9 {
        static_member(&mut script, version).await?;
    }
    listings(&mut script).await?;
    Ok(script.transcript)
}

#[tokio::test]
async fn the_embedded_broker_answers_as_kafka_does() -> Outcome<()> {
    let broker = DevBroker::start(Config { groups: quick(), ..Config::default() }).await?;
    let said = play(&broker.bootstrap_servers(), "embedded").await?;
    compare(&std::fs::read_to_string(GOLDEN)?, &said, "the embedded broker");
    broker.stop().await?;
    Ok(())
}

#[tokio::test]
async fn kafka_answers_as_it_did() -> Outcome<()> {
    let Ok(address) = std::env::var("HIGHWATER_TEST_KAFKA_43") else { return Ok(()) };
    let run = format!("groups-{}", std::process::id());
    let said = play(&address, &run).await?;
    compare_or_bless(GOLDEN, &said, &address)
}

fn quick() -> GroupConfig {
    GroupConfig { initial_rebalance_delay: std::time::Duration::ZERO, ..GroupConfig::default() }
}

/// Of three brokers one keeps a group, all agree which, and the others say that it is not them.
#[tokio::test]
async fn a_group_is_kept_by_the_broker_that_its_name_says() -> Outcome<()> {
    let broker = DevBroker::start(Config { groups: quick(), ..Config::with_brokers(3) }).await?;
    let mut scripts = Vec::new();
    for address in broker.bootstrap_servers().split(',') {
        scripts.push(Script::begin(address, "three").await?);
    }
    let place = create_topic(&mut scripts[0]).await?;
    // `"a".hashCode()` is 97, and 97 % 3 is 1: the second broker.
    let (group, keeper) = (Str::from("a"), 1);
    for (at, script) in scripts.iter_mut().enumerate() {
        let request =
            FindCoordinatorRequest { coordinator_keys: vec![group.clone()], ..FindCoordinatorRequest::default() };
        assert_eq!(script.ask(6, request).await?.coordinators[0].node_id, 2);
        let wrong = if at == keeper { 0 } else { 16 };
        let committed = script.ask(9, commit(&group, 9, &place, 7, "")).await?;
        assert_eq!(committed.topics[0].partitions[0].error_code, wrong);
        let fetched = script.ask(9, fetch(&group, 9, &place, Some(&[0]))).await?;
        assert_eq!(fetched.groups[0].error_code, wrong);
        assert_eq!(script.ask(7, fetch(&group, 7, &place, Some(&[0]))).await?.error_code, wrong);
        assert_eq!(script.ask(6, describe(&group, 6)).await?.groups[0].error_code, wrong);
        let listed = script.ask(5, ListGroupsRequest::default()).await?.groups.len();
        assert_eq!(listed, usize::from(at == keeper));
        let nobody = Str::from("nobody");
        let unknown = if at == keeper { 25 } else { 16 };
        assert_eq!(script.ask(9, join(&group, "nobody")).await?.error_code, unknown);
        assert_eq!(script.ask(5, sync(&group, &nobody, 1, 5)).await?.error_code, unknown);
        assert_eq!(script.ask(4, heartbeat(&group, &nobody, 1)).await?.error_code, unknown);
        assert_eq!(script.ask(2, leave(&group, 2, "nobody", None)).await?.error_code, unknown);
    }
    for (at, script) in scripts.iter_mut().enumerate() {
        let deleted = script.ask(2, DeleteGroupsRequest { groups_names: vec![group.clone()] }).await?;
        let expected = [16, 0, 16][at];
        assert_eq!(deleted.results[0].error_code, expected);
    }
    broker.stop().await?;
    Ok(())
}

/// On a data directory, what was committed is there in the next life; who was a member is not.
#[tokio::test]
async fn offsets_outlive_the_broker_and_members_do_not() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let config = || Config { groups: quick(), data_dir: Some(directory.path().to_owned()), ..Config::default() };
    let broker = DevBroker::start(config()).await?;
    let mut script = Script::begin(&broker.bootstrap_servers(), "lives").await?;
    let place = create_topic(&mut script).await?;
    let group = script.name("group");
    let member = script.ask(3, join(&group, "")).await?.member_id;
    script.ask(5, sync(&group, &member, 1, 5)).await?;
    let by_member = |offset| OffsetCommitRequest {
        generation_id_or_member_epoch: 1,
        member_id: member.clone(),
        ..commit(&group, 9, &place, offset, "why")
    };
    assert_eq!(script.ask(9, by_member(7)).await?.topics[0].partitions[0].error_code, 0);
    broker.stop().await?;

    let broker = DevBroker::start(config()).await?;
    let mut script = Script::begin(&broker.bootstrap_servers(), "lives").await?;
    assert_eq!(script.ask(9, by_member(8)).await?.topics[0].partitions[0].error_code, 25);
    let described = script.ask(6, describe(&group, 6)).await?.groups.remove(0);
    assert_eq!((described.group_state.as_str(), described.protocol_type.as_str()), ("Empty", "consumer"));
    let fetched = script.ask(10, fetch(&group, 10, &place, None)).await?.groups.remove(0);
    let kept = &fetched.topics[0].partitions[0];
    assert_eq!((fetched.topics[0].topic_id, kept.committed_offset, kept.committed_leader_epoch), (place.id, 7, 3));
    assert_eq!(kept.metadata.as_deref(), Some("why"));
    let again = script.ask(3, join(&group, "")).await?;
    assert_eq!((again.error_code, again.generation_id), (0, 2));
    broker.stop().await?;
    Ok(())
}
