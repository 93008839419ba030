//! Changing and describing a cluster.

use highwater::client::{
    ConfigChange, ConfigResource, DeleteBefore, ErrorCode, IsolationLevel, NewOffset, NewTopic, OffsetSpec,
    TopicMetadata,
};

use crate::groups::fill;
use crate::world::{PATIENCE, Scenario, Words, World, scenario, turn, until};
use protocol_tests::{Outcome, unique};

pub const SCENARIOS: &[Scenario] = &[
    scenario!("topics are made, described, grown and deleted", topics),
    scenario!("settings of topics are changed and taken back", settings),
    scenario!("records are deleted", records),
    scenario!("groups are listed, described, moved and deleted", groups),
    scenario!("the cluster and its disks are described", cluster),
];

async fn topics(world: World) -> Outcome<()> {
    let admin = world.client.admin();
    let topic = world.topic("topics").await?;
    let again = admin.create_topics(&[NewTopic::new(topic.clone()).partitions(1)]).await?.remove(0).1;
    assert_eq!(again.err().and_then(|error| error.code()), Some(ErrorCode::TOPIC_ALREADY_EXISTS));
    admin.create_partitions(&[(topic.clone(), 5)]).await?.remove(0).1?;
    let shrunk = admin.create_partitions(&[(topic.clone(), 4)]).await?.remove(0).1;
    assert_eq!(shrunk.err().and_then(|error| error.code()), Some(ErrorCode::INVALID_PARTITIONS));
    world.until_partitions(&topic, 5).await?;
    until("it is listed", async || Ok(admin.list_topics().await?.contains_key(&topic))).await?;
    admin.delete_topics(std::slice::from_ref(&topic)).await?.remove(0).1?;
    until("no such topic", async || {
        let described = admin.describe_topics(std::slice::from_ref(&topic)).await?.remove(0).1;
        Ok(described.as_ref().map(TopicMetadata::partition_count).is_err())
    })
    .await
}

async fn settings(world: World) -> Outcome<()> {
    let (admin, topic) = (world.client.admin(), world.topic("settings").await?);
    let resource = ConfigResource::Topic(topic);
    let limit = async || {
        let entries = admin.describe_configs(std::slice::from_ref(&resource)).await?.remove(0).1?;
        let entry = entries.into_iter().find(|entry| entry.name == "retention.bytes");
        Outcome::Ok(entry.and_then(|entry| entry.value))
    };
    let unset = limit().await?;
    for (change, expect) in
        [(ConfigChange::Set("6000000".to_owned()), Some("6000000".to_owned())), (ConfigChange::Delete, unset)]
    {
        let changes = [(resource.clone(), vec![("retention.bytes".to_owned(), change)])];
        admin.alter_configs(&changes, false).await?.remove(0).1?;
        until("the setting", async || Ok(limit().await.is_ok_and(|it| it == expect))).await?;
    }
    let wrong = [(resource.clone(), vec![("no.such.setting".to_owned(), ConfigChange::Set("1".to_owned()))])];
    let refused = admin.alter_configs(&wrong, false).await?.remove(0).1;
    assert_eq!(refused.err().and_then(|error| error.code()), Some(ErrorCode::INVALID_CONFIG));
    Ok(())
}

async fn records(world: World) -> Outcome<()> {
    let (admin, topic) = (world.client.admin(), world.topic("deleting").await?);
    fill(&world, &topic, 0, 30).await?;
    let of = world.partitions(&topic);
    let before = [
        (of[0].clone(), DeleteBefore::Offset(4)),
        (of[1].clone(), DeleteBefore::HighWatermark),
        (of[2].clone(), DeleteBefore::Offset(11)),
    ];
    let starts: Vec<_> = admin.delete_records(&before).await?.into_iter().map(|(_, start)| start).collect();
    let starts: Vec<_> = starts.into_iter().map(|start| start.map_err(|error| error.code())).collect();
    assert_eq!(starts, [Ok(4), Ok(10), Err(Some(ErrorCode::OFFSET_OUT_OF_RANGE))]);
    let listed = admin.list_offsets(OffsetSpec::Earliest, &of, IsolationLevel::ReadUncommitted).await?;
    let mut starts = Vec::new();
    for of in &of {
        starts.push(listed.get(of).and_then(|it| it.as_ref().ok()).and_then(|it| it.offset));
    }
    assert_eq!(starts, [Some(4), Some(10), Some(0)]);
    // Who stood before the new start goes on there.
    let words = world.read(&topic, IsolationLevel::ReadUncommitted).await?;
    assert_eq!([0, 1, 2].map(|partition| words.get(&partition).map_or(0, Vec::len)), [6, 0, 10]);
    Ok(())
}

async fn groups(world: World) -> Outcome<()> {
    let (admin, topic, group) = (world.client.admin(), world.topic("groups").await?, unique("group"));
    fill(&world, &topic, 0, 30).await?;
    let mut member = world.client.consumer(world.reading(&group, &topic))?;
    let mut words = Words::new();
    let all = |words: &Words| words.values().map(Vec::len).sum::<usize>() >= 30;
    turn([&mut member], &mut words, |_, words| all(words)).await?;
    member.commit().await?;
    let name = [group.clone()];
    let described = admin.describe_groups(&name).await?.remove(&group).ok_or("no description")??;
    assert_eq!((described.state.as_str(), described.members.len()), ("Stable", 1), "{described:?}");
    assert_eq!(described.members[0].assignment.len(), 3);
    let busy = admin.delete_groups(&name).await?.remove(0).1;
    assert_eq!(busy.err().and_then(|error| error.code()), Some(ErrorCode::NON_EMPTY_GROUP));
    member.close(PATIENCE).await?;

    let of = world.partitions(&topic);
    let moved = admin.alter_offsets(&group, &[(of[0].clone(), NewOffset::from(5))]).await?;
    moved.into_iter().try_for_each(|(_, outcome)| outcome)?;
    let forgotten = admin.delete_offsets(&group, &of[1..2]).await?;
    forgotten.into_iter().try_for_each(|(_, outcome)| outcome)?;
    let committed = admin.committed_offsets(&name).await?.remove(&group).ok_or("no offsets")??;
    let offsets: Vec<_> = of.iter().map(|of| committed.get(of).and_then(|it| it.offset)).collect();
    assert_eq!(offsets, [Some(5), None, Some(10)]);
    let listed = admin.list_groups().await?;
    assert!(listed.groups.iter().any(|it| it.group_id == group), "{listed:?}");
    admin.delete_groups(&name).await?.remove(0).1?;
    let gone = admin.list_groups().await?;
    assert!(!gone.groups.iter().any(|it| it.group_id == group));
    Ok(())
}

async fn cluster(world: World) -> Outcome<()> {
    let (admin, topic) = (world.client.admin(), world.topic("cluster").await?);
    let mut brokers = Vec::new();
    // One that did not get to its heartbeat for a while is left out until the next.
    until("all brokers", async || {
        brokers = admin.describe_cluster().await?.brokers.iter().map(|broker| broker.id).collect();
        Ok(brokers.len() == world.nodes)
    })
    .await?;
    until("a replica of each partition on each broker", async || {
        let mut replicas = 0;
        for (_, dirs) in admin.describe_log_dirs(&brokers).await? {
            let partitions = dirs?.into_iter().flat_map(|dir| dir.partitions);
            replicas += partitions.filter(|it| it.topic_partition.topic == topic).count();
        }
        Ok(replicas == 3 * world.nodes)
    })
    .await
}
