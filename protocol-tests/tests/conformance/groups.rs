//! Reading in a group.

use std::time::Duration;

use highwater::client::{
    Assigned, Assignor, Consumer, ConsumerConfig, GroupMetadata, GroupProtocol, ProducerConfig, ProducerRecord, Topic,
};

use crate::world::{PARTITIONS, PATIENCE, Scenario, Words, World, scenario, turn, until};
use protocol_tests::{Outcome, unique};

pub const SCENARIOS: &[Scenario] = &[
    scenario!("a group goes on where it stopped", goes_on),
    scenario!("members share what there is, by every assignor", members_share),
    scenario!("the consumer protocol (KIP-848), or the classic one where there is none", consumer_protocol),
    scenario!("who leaves is replaced at once", leaving),
    scenario!("a static member comes back to its own", static_members),
    scenario!("a growing topic is shared anew", growing),
    scenario!("offsets are part of a transaction", offsets_in_a_transaction),
];

/// So many records, spread evenly.
pub async fn fill(world: &World, topic: &Topic, from: i32, to: i32) -> Outcome<()> {
    let producer = world.producer();
    for number in from..to {
        let text = number.to_string();
        let record = ProducerRecord::new(topic, text.as_bytes());
        drop(producer.enqueue(ProducerRecord { partition: Some(number % PARTITIONS), ..record }).await?);
    }
    Ok(producer.close(PATIENCE).await?)
}

pub fn count(words: &Words) -> usize {
    words.values().map(Vec::len).sum()
}

pub fn held(members: &[&mut Consumer]) -> Vec<usize> {
    members.iter().map(|member| member.assignment().len()).collect()
}

async fn goes_on(world: World) -> Outcome<()> {
    let (topic, group) = (world.topic("going-on").await?, unique("group"));
    let mut words = Words::new();
    for round in 1..=3 {
        fill(&world, &topic, (round - 1) * 30, round * 30).await?;
        let mut member = world.client.consumer(world.reading(&group, &topic))?;
        turn([&mut member], &mut words, |_, words| count(words) >= 30 * round as usize).await?;
        member.close(PATIENCE).await?;
    }
    assert_eq!(count(&words), 90, "what was committed is not read again");
    let committed = world.client.admin().committed_offsets(std::slice::from_ref(&group)).await?.remove(&group);
    let offsets: Vec<_> = committed.ok_or("no such group")??.into_values().map(|it| it.offset).collect();
    assert_eq!(offsets, [Some(30); 3]);
    Ok(())
}

async fn members_share(world: World) -> Outcome<()> {
    let topic = world.topic("sharing").await?;
    fill(&world, &topic, 0, 60).await?;
    for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky, Assignor::CooperativeSticky] {
        let config = ConsumerConfig { assignors: vec![assignor], ..world.reading(&unique("group"), &topic) };
        let mut members = (0..3).map(|_| world.client.consumer(config.clone())).collect::<Result<Vec<_>, _>>()?;
        let mut words = Words::new();
        let even = |members: &[&mut Consumer], words: &Words| count(words) >= 60 && held(members) == [1, 1, 1];
        turn(&mut members, &mut words, even).await.map_err(|error| format!("{assignor:?}: {error}"))?;
        for (partition, words) in words {
            let mut once = words.clone();
            once.dedup();
            assert!(once.len() >= 20, "{assignor:?}, partition {partition}: {words:?}");
        }
        for mut member in members {
            member.close(PATIENCE).await?;
        }
    }
    Ok(())
}

async fn consumer_protocol(world: World) -> Outcome<()> {
    let (topic, group) = (world.topic("protocol").await?, unique("group"));
    fill(&world, &topic, 0, 60).await?;
    let config = ConsumerConfig { group_protocol: GroupProtocol::Consumer, ..world.reading(&group, &topic) };
    let mut members = (0..3).map(|_| world.client.consumer(config.clone())).collect::<Result<Vec<_>, _>>()?;
    let mut words = Words::new();
    turn(&mut members, &mut words, |members, words| count(words) >= 60 && held(members) == [1, 1, 1]).await?;
    let mut last = members.pop().ok_or("three members")?;
    for mut member in members {
        member.close(PATIENCE).await?;
    }
    turn([&mut last], &mut words, |members, _| held(members) == [3]).await?;
    last.close(PATIENCE).await?;
    fill(&world, &topic, 60, 90).await?;
    let (mut again, before) = (world.client.consumer(config)?, count(&words));
    turn([&mut again], &mut words, |_, words| count(words) == before + 30).await?;
    Ok(again.close(PATIENCE).await?)
}

async fn leaving(world: World) -> Outcome<()> {
    let (topic, group) = (world.topic("leaving").await?, unique("group"));
    // Longer than the test is patient: only leaving frees what a member had.
    let config = ConsumerConfig { session_timeout: Duration::from_secs(300), ..world.reading(&group, &topic) };
    let mut one = world.client.consumer(config.clone())?;
    let mut other = world.client.consumer(config)?;
    let mut words = Words::new();
    turn([&mut one, &mut other], &mut words, |members, _| held(members).iter().all(|count| *count > 0)).await?;
    other.close(PATIENCE).await?;
    turn([&mut one], &mut words, |members, _| held(members) == [PARTITIONS as usize]).await?;
    Ok(one.close(PATIENCE).await?)
}

async fn static_members(world: World) -> Outcome<()> {
    let (topic, group) = (world.topic("static").await?, unique("group"));
    let named = |name: &str| ConsumerConfig {
        instance_id: Some(name.to_owned()),
        assignors: vec![Assignor::Range],
        ..world.reading(&group, &topic)
    };
    let mut one = world.client.consumer(named("one"))?;
    let mut other = world.client.consumer(named("other"))?;
    let mut words = Words::new();
    turn([&mut one, &mut other], &mut words, |members, _| held(members) == [2, 1]).await?;
    let had = other.assignment();
    other.close(PATIENCE).await?;
    // It is away, and nobody takes its place.
    let mut other = world.client.consumer(named("other"))?;
    turn([&mut one, &mut other], &mut words, |members, _| held(members) == [2, 1]).await?;
    let partitions = |held: Vec<Assigned>| held.into_iter().map(|it| it.topic_partition).collect::<Vec<_>>();
    assert_eq!(partitions(other.assignment()), partitions(had));
    one.close(PATIENCE).await?;
    Ok(other.close(PATIENCE).await?)
}

async fn growing(world: World) -> Outcome<()> {
    let topic = world.topic("growing").await?;
    let mut member = world.client.consumer(world.reading(&unique("group"), &topic))?;
    let mut words = Words::new();
    turn([&mut member], &mut words, |members, _| held(members) == [3]).await?;
    for (_, grown) in world.client.admin().create_partitions(&[(topic.clone(), 5)]).await? {
        grown?;
    }
    world.until_partitions(&topic, 5).await?;
    turn([&mut member], &mut words, |members, _| held(members) == [5]).await?;
    Ok(member.close(PATIENCE).await?)
}

async fn offsets_in_a_transaction(world: World) -> Outcome<()> {
    let (topic, group) = (world.topic("offsets").await?, unique("group"));
    fill(&world, &topic, 0, 3).await?;
    let config = ConsumerConfig { auto_commit: false, ..world.reading(&group, &topic) };
    let mut member = world.client.consumer(config)?;
    let delivery = member.next().await.ok_or("the member has ended")??;
    let metadata: GroupMetadata = member.group_metadata()?;
    let transactional_id = Some(unique("id"));
    let producer = world.client.producer(ProducerConfig { transactional_id, ..Default::default() })?;
    let of = delivery.topic_partition.clone();
    for (commits, expect) in [(false, None), (true, Some(delivery.next_offset()))] {
        let transaction = producer.begin().await?;
        transaction.send_offsets(&metadata, [delivery.position()]).await?;
        if commits {
            transaction.commit().await?
        } else {
            transaction.abort().await?
        }
        until("the offset of the transaction", async || {
            let mut found = world.client.admin().committed_offsets(std::slice::from_ref(&group)).await?;
            let found = found.remove(&group).ok_or("no answer")??;
            Ok(found.get(&of).and_then(|it| it.offset) == expect)
        })
        .await?;
    }
    delivery.finish();
    member.close(PATIENCE).await?;
    Ok(producer.close(PATIENCE).await?)
}
