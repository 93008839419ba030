//! Where a reader begins, goes on, and stands still.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater::client::{
    Consumer, ConsumerConfig, DeleteBefore, ErrorCode, GroupProtocol, OffsetReset, Position, ProducerConfig,
    ProducerRecord, Seek, Topic, TopicPartition,
};
use tokio::time::timeout;

use crate::groups::{count, fill, held};
use crate::world::{PARTITIONS, PATIENCE, Scenario, Words, World, scenario, take, text, turn, until};
use protocol_tests::{Outcome, unique};

pub const SCENARIOS: &[Scenario] = &[
    scenario!("partitions are read with a group's offsets, without being a member", assigned),
    scenario!("a reader goes to an offset, a time, the beginning or the end", seeking),
    scenario!("partitions that are paused keep their place, and the others go on", pausing),
    scenario!("where a partition has no offset, a rule says where to begin", rules),
];

/// What [`fill`] has written to a partition, from an offset on.
fn written(partition: i32, offsets: std::ops::Range<i32>) -> Vec<String> {
    offsets.map(|offset| (offset * PARTITIONS + partition).to_string()).collect()
}

/// What the group has committed, partition by partition.
async fn committed(world: &World, group: &str, topic: &Topic) -> Outcome<Vec<Option<i64>>> {
    let mut found = world.client.admin().committed_offsets(&[group.to_owned()]).await?;
    let found = found.remove(group).ok_or("no answer")??;
    Ok(world.partitions(topic).iter().map(|of| found.get(of).and_then(|it| it.offset)).collect())
}

async fn assigned(world: World) -> Outcome<()> {
    let topic = world.topic("assigned").await?;
    fill(&world, &topic, 0, 30).await?;
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        with_offsets_of_a_group(&world, &topic, protocol).await.map_err(|error| format!("{protocol:?}: {error}"))?;
    }
    Ok(())
}

async fn with_offsets_of_a_group(world: &World, topic: &Topic, group_protocol: GroupProtocol) -> Outcome<()> {
    let (of, group) = (world.partitions(topic), unique("group"));
    let committed = async || committed(world, &group, topic).await;
    let at = |partition: usize, offset| Position { topic_partition: of[partition].clone(), offset, leader_epoch: None };
    let by_hand = ConsumerConfig { auto_commit: false, group_protocol, ..world.reading(&group, topic) };
    let by_itself = ConsumerConfig { auto_commit: true, topics: Vec::new(), ..by_hand.clone() };

    // Of one partition twice, and of one that is not read.
    let mut first = world.client.assign(by_hand.clone(), vec![(of[0].clone(), None)])?;
    first.commit_offsets([at(0, 9), at(0, 4), at(1, 7)]).await?;
    assert_eq!(committed().await?, [Some(4), Some(7), None]);
    first.close(PATIENCE).await?;

    let mut words = Words::new();
    let mut next = world.client.assign(by_itself, of.iter().map(|of| (of.clone(), None)).collect())?;
    turn([&mut next], &mut words, |_, words| count(words) >= 19).await?;
    next.close(PATIENCE).await?;
    assert_eq!(
        words,
        [(0, 4), (1, 7), (2, 0)].map(|(partition, from)| (partition, written(partition, from..10))).into()
    );
    assert_eq!(committed().await?, [Some(10); 3]);

    // What is given goes before what is committed.
    let mut words = Words::new();
    let mut back = world.client.assign(by_hand.clone(), vec![(of[1].clone(), Some(8))])?;
    turn([&mut back], &mut words, |_, words| count(words) >= 2).await?;
    assert_eq!(words, [(1, written(1, 8..10))].into());
    back.commit_offsets([at(2, 5)]).await?;

    // A group that has members is theirs.
    let mut member = world.client.consumer(by_hand)?;
    turn([&mut member], &mut Words::new(), |members, _| held(members) == [3]).await?;
    let refused = back.commit_offsets([at(0, 1)]).await.err().ok_or("no member, and it has committed")?;
    assert_eq!(refused.code(), Some(ErrorCode::UNKNOWN_MEMBER_ID), "{refused}");
    member.commit_offsets([at(1, 2)]).await?;
    assert_eq!(committed().await?, [Some(10), Some(2), Some(5)]);
    back.close(PATIENCE).await?;
    Ok(member.close(PATIENCE).await?)
}

async fn seeking(world: World) -> Outcome<()> {
    for is_member in [false, true] {
        there_and_back(&world, is_member).await.map_err(|error| format!("a member: {is_member}: {error}"))?;
    }
    Ok(())
}

/// A record of each number, as many seconds after 1970.
pub async fn write(world: &World, topic: &Topic, numbers: std::ops::Range<i64>) -> Outcome<()> {
    let producer = world.client.producer(ProducerConfig { linger: Duration::ZERO, ..Default::default() })?;
    for number in numbers {
        let value = number.to_string();
        let timestamp_ms = Some(number * 1_000);
        producer.send(ProducerRecord { timestamp_ms, ..ProducerRecord::new(topic, value.as_bytes()) }).await?;
    }
    Ok(producer.close(PATIENCE).await?)
}

/// The first word of what comes next, which is finished.
pub async fn next_word(reader: &mut Consumer) -> Outcome<String> {
    let delivery = timeout(PATIENCE, reader.next()).await?.ok_or("the reader has ended")??;
    let word = delivery.records().next().map(|record| text(record.value.unwrap_or_default()));
    delivery.finish();
    Ok(word.ok_or("a delivery of nothing")?)
}

/// Waits until the reader stands there; before that nothing comes.
async fn stands(reader: &mut Consumer, of: &TopicPartition, at: i64) -> Outcome<()> {
    until("a place", async || match timeout(Duration::from_millis(10), reader.next()).await {
        Ok(_) => Err("something has come".into()),
        Err(_) => Ok(reader.position(of) == Some(at)),
    })
    .await
}

async fn there_and_back(world: &World, is_member: bool) -> Outcome<()> {
    let (topic, group) = (world.topic_of("seeking", 1).await?, unique("group"));
    let of = TopicPartition::new(topic.clone(), 0);
    write(world, &topic, 0..6).await?;
    let config = ConsumerConfig { auto_commit: false, ..world.reading(&group, &topic) };
    let mut reader = match is_member {
        true => world.client.consumer(config)?,
        false => world.client.assign(config, vec![(of.clone(), None)])?,
    };
    assert_eq!(next_word(&mut reader).await?, "0");
    let there = [
        (Seek::Offset(4), "4"),
        (Seek::Beginning, "0"),
        (Seek::Timestamp(2_001), "3"),
        (Seek::Timestamp(2_000), "2"),
        (Seek::Timestamp(-1), "0"),
        // There is no such offset, and the rule of this reader is the earliest.
        (Seek::Offset(99), "0"),
    ];
    for (to, word) in there {
        reader.seek(&of, to).await?;
        assert_eq!(next_word(&mut reader).await?, word, "{to:?}");
    }
    for (end, to) in [(6, Seek::End), (7, Seek::Timestamp(3_600_000))] {
        reader.seek(&of, to).await?;
        stands(&mut reader, &of, end).await?;
        write(world, &topic, end..end + 1).await?;
        assert_eq!(next_word(&mut reader).await?, end.to_string(), "{to:?}");
    }
    reader.commit().await?;
    // Where it is sought is where the group goes on, also behind what it has committed.
    reader.seek(&of, 3).await?;
    assert_eq!(reader.position(&of), Some(3));
    reader.commit().await?;
    let committed = world.client.admin().committed_offsets(std::slice::from_ref(&group)).await?.remove(&group);
    let offset = committed.ok_or("no answer")??.get(&of).and_then(|it| it.offset);
    assert_eq!(offset, Some(3));
    let elsewhere = reader.seek(&TopicPartition::new(topic, 1), 0).await;
    assert!(elsewhere.is_err(), "a partition that is not held");
    Ok(reader.close(PATIENCE).await?)
}

async fn pausing(world: World) -> Outcome<()> {
    let (topic, group) = (world.topic("pausing").await?, unique("group"));
    let of = world.partitions(&topic);
    let mut member = world.client.consumer(world.reading(&group, &topic))?;
    let mut words = Words::new();
    fill(&world, &topic, 0, 30).await?;
    turn([&mut member], &mut words, |_, words| count(words) >= 30).await?;

    member.pause(&of[..2])?;
    let strange = [of[2].clone(), TopicPartition::new(topic.clone(), PARTITIONS)];
    assert!(member.pause(&strange).is_err() && member.paused() == of[..2], "all of them or none");
    // When what was written second has come of one, what was written first would have come of the others.
    for (from, all) in [(30, 40), (60, 50)] {
        fill(&world, &topic, from, from + 30).await?;
        turn([&mut member], &mut words, |_, words| count(words) >= all).await?;
    }
    let lengths = |words: &Words| (0..PARTITIONS).map(|partition| words[&partition].len()).collect::<Vec<_>>();
    assert_eq!(lengths(&words), [10, 10, 30]);
    let positions = |member: &Consumer| of.iter().map(|of| member.position(of)).collect::<Vec<_>>();
    assert_eq!(positions(&member), [Some(10), Some(10), Some(30)]);
    member.commit().await?;
    assert_eq!(committed(&world, &group, &topic).await?, [Some(10), Some(10), Some(30)]);

    member.resume(&of[..1])?;
    turn([&mut member], &mut words, |_, words| count(words) >= 70).await?;
    assert_eq!(lengths(&words), [30, 10, 30]);
    // Sought in, it stays paused.
    member.seek(&of[1], 5).await?;
    assert_eq!((positions(&member), member.paused()), (vec![Some(30), Some(5), Some(30)], vec![of[1].clone()]));
    fill(&world, &topic, 90, 120).await?;
    turn([&mut member], &mut words, |_, words| count(words) >= 90).await?;
    assert_eq!(lengths(&words), [40, 10, 40]);
    member.resume(&of[1..2])?;
    turn([&mut member], &mut words, |_, words| count(words) >= 125).await?;
    let again = [written(1, 0..10), written(1, 5..40)].concat();
    assert_eq!(words, [(0, written(0, 0..40)), (1, again), (2, written(2, 0..40))].into());
    member.close(PATIENCE).await?;
    assert_eq!(committed(&world, &group, &topic).await?, [Some(40); 3]);
    Ok(())
}

/// Where each partition begins: one whose committed offset is there, one whose is not any more, and one that has none.
async fn rules(world: World) -> Outcome<()> {
    let topic = world.topic("rules").await?;
    let of = world.partitions(&topic);
    fill(&world, &topic, 0, 30).await?;
    world.client.admin().delete_records(&[(of[1].clone(), DeleteBefore::Offset(6))]).await?.remove(0).1?;
    let hour = Duration::from_secs(3600);
    let cases = [
        (OffsetReset::Earliest, [Some(4), Some(6), Some(0)]),
        (OffsetReset::Latest, [Some(4), Some(10), Some(10)]),
        (OffsetReset::ByDuration(hour), [Some(4), Some(6), Some(0)]),
        (OffsetReset::ByDuration(Duration::ZERO), [Some(4), Some(10), Some(10)]),
        (OffsetReset::None, [Some(4), None, None]),
    ];
    for (rule, expect) in cases {
        begins(&world, &topic, rule, expect).await.map_err(|error| format!("{rule:?}: {error}"))?;
    }
    Ok(())
}

async fn begins(world: &World, topic: &Topic, rule: OffsetReset, expect: [Option<i32>; 3]) -> Outcome<()> {
    let (of, group) = (world.partitions(topic), unique("group"));
    let config = ConsumerConfig { auto_offset_reset: rule, ..world.reading(&group, topic) };
    let mut before = world.client.assign(config.clone(), Vec::new())?;
    let at = |partition: usize, offset| Position { topic_partition: of[partition].clone(), offset, leader_epoch: None };
    before.commit_offsets([at(0, 4), at(1, 2)]).await?;
    before.close(PATIENCE).await?;

    let (mut words, mut refused) = (Words::new(), BTreeMap::new());
    let mut member = world.client.consumer(config)?;
    until("every partition read to its end, or refused", async || {
        match timeout(Duration::from_millis(10), member.next()).await {
            Ok(Some(Ok(delivery))) => take(delivery, &mut words),
            Ok(Some(Err(error))) => drop(refused.insert(error.topic_partition.clone(), error.to_string())),
            Ok(None) => return Err("the member has ended".into()),
            Err(_) => {}
        }
        Ok(of.iter().all(|of| member.position(of) == Some(10) || refused.contains_key(&Some(of.clone()))))
    })
    .await?;
    let begun = |(partition, from): (i32, Option<i32>)| Some((partition, written(partition, from?..10)));
    let mut wanted: Words = (0..).zip(expect).filter_map(begun).collect();
    wanted.retain(|_, words| !words.is_empty());
    assert_eq!(words, wanted, "{rule:?}");
    let reasons = ["?", "offset 2 is not there any more", "the group has committed no offset"];
    for ((of, from), reason) in of.into_iter().zip(expect).zip(reasons) {
        let why = refused.remove(&Some(of));
        assert_eq!(why.as_ref().is_none_or(|why| !why.contains(reason)), from.is_some(), "{rule:?}: {why:?}");
    }
    assert!(refused.is_empty(), "{rule:?}: {refused:?}");
    Ok(member.close(PATIENCE).await?)
}
