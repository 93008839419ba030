//! What is read after an unclean election: a replica leads that had not copied everything, what only the others had is cut off,
//! and the same offsets get other records (KIP-320).

use std::ops::Range;
use std::time::Duration;

use highwater::client::{
    Consumer, ConsumerConfig, IsolationLevel, NewTopic, OffsetReset, PartitionMetadata, Topic, TopicPartition,
};
use protocol_tests::servers::Kafka;
use tokio::time::timeout;

use crate::faults::of_node;
use crate::positions::write as write_numbers;
use crate::world::{PATIENCE, Scenario, Words, World, scenario, take, until};
use protocol_tests::{Outcome, make_topics, unique};

pub const SCENARIOS: &[Scenario] =
    &[scenario!("a reader goes back to where an unclean election has cut the log", log_is_cut, breaks brokers)];

/// Both replicas have these.
const KEPT: Range<i64> = 0..20;
/// Only the leader has these, when it dies.
const LOST: Range<i64> = 20..30;
/// More than were lost: the offset after those is there again, and a reader that went on from it would be given records.
const ANEW: Range<i64> = 100..120;

async fn log_is_cut(world: World) -> Outcome<()> {
    let (topic, group) = (of_two_replicas(&world).await?, unique("group"));
    let from = |offset| vec![(TopicPartition::new(topic.clone(), 0), offset)];
    // Neither rule leads to the cut: by one, everything would be read again, and by the other nothing that is there by then.
    let earliest = ConsumerConfig { auto_commit: false, ..world.reading(&group, &topic) };
    let latest = ConsumerConfig { auto_offset_reset: OffsetReset::Latest, ..earliest.clone() };
    let strict = ConsumerConfig { auto_offset_reset: OffsetReset::None, ..earliest.clone() };
    write_numbers(&world, &topic, KEPT).await?;
    let mut reader = world.another().await?.reader(earliest.clone(), from(Some(0)))?;
    let mut words = Words::new();
    cut(&world, &topic, async || {
        write_numbers(&world, &topic, LOST).await?;
        read_to(&mut reader, &mut words, LOST).await?;
        // Another one has read as far, and its group keeps the offset and the epoch.
        let mut before = world.client.assign(earliest.clone(), from(Some(0)))?;
        read_to(&mut before, &mut Words::new(), LOST).await?;
        before.commit().await?;
        Ok(before.close(PATIENCE).await?)
    })
    .await?;
    write_numbers(&world, &topic, ANEW).await?;
    let log = world.read_from(from(Some(0)), IsolationLevel::ReadUncommitted).await?;
    assert_eq!(log, numbers([KEPT, ANEW]), "what is there");

    read_to(&mut reader, &mut words, ANEW).await?;
    assert_eq!(words, numbers([KEPT, LOST, ANEW]), "by who was reading all the time");
    let mut strict = world.client.assign(strict, from(None))?;
    let told = timeout(PATIENCE, strict.next()).await?.ok_or("the reader has ended")?;
    let error = told.err().ok_or("records, of who has no rule for what is gone")?.to_string();
    assert!(error.contains("the log was cut at offset 20"), "{error}");
    strict.close(PATIENCE).await?;
    let (mut next, mut words) = (world.client.assign(latest, from(None))?, Words::new());
    read_to(&mut next, &mut words, ANEW).await?;
    assert_eq!(words, numbers([ANEW]), "by who goes on where the group is");
    reader.close(PATIENCE).await?;
    Ok(next.close(PATIENCE).await?)
}

/// A topic of one partition whose leader may write alone, and that is led by a replica that has not all of it rather than by
/// none. The third node has none of it: it is there for the controllers, and for the group.
async fn of_two_replicas(world: &World) -> Outcome<Topic> {
    let name = unique("cut");
    let new = NewTopic::new(name.as_str()).partitions(1).replication_factor(2);
    let new = new.config("min.insync.replicas", "1").config("unclean.leader.election.enable", "true");
    // The records say that they are old.
    make_topics(&world.client, &[new.config("retention.ms", "-1")]).await?;
    Ok(Topic::from(name))
}

/// Has the follower lead with a log that ends where it was killed; what is done without it is done before its leader dies, too.
/// All nodes are running again afterwards, whatever has come of it.
async fn cut(world: &World, topic: &Topic, without_it: impl AsyncFnOnce() -> Outcome<()>) -> Outcome<()> {
    all_in_sync(world).await?;
    let known = partition(world, topic, "a leader", |it| it.leader.is_some()).await?;
    let leader = known.leader.ok_or("a leader")?;
    let follower = known.replicas.iter().copied().find(|it| *it != leader).ok_or("a follower")?;
    of_node(world, follower, Kafka::kill).await?;
    let alone = async {
        partition(world, topic, "a leader alone", |it| it.in_sync_replicas == [leader]).await?;
        without_it().await?;
        of_node(world, leader, Kafka::kill).await
    };
    let killed = alone.await;
    // With it, two of three controllers are there to elect somebody, and no other replica is: its leader has to stay away.
    of_node(world, follower, Kafka::restart).await?;
    killed?;
    let led = partition(world, topic, "a follower that leads", |it| it.leader == Some(follower)).await;
    of_node(world, leader, Kafka::restart).await?;
    led?;
    all_in_sync(world).await
}

/// The topic's partition, when it is so.
async fn partition(
    world: &World,
    topic: &Topic,
    what: &str,
    is_so: impl Fn(&PartitionMetadata) -> bool,
) -> Outcome<PartitionMetadata> {
    protocol_tests::until(what, PATIENCE, async || {
        // Most of those who can be asked are down at times.
        let described = world.client.admin().describe_topics(std::slice::from_ref(topic)).await;
        let Ok(topic) = described.and_then(|mut it| it.remove(0).1) else { return Ok(None) };
        Ok(topic.partitions.into_iter().next().filter(&is_so))
    })
    .await
}

/// Waits until every replica of every topic is in sync: those of the group's offsets are to outlive two nodes, and who comes
/// next finds the cluster whole.
async fn all_in_sync(world: &World) -> Outcome<()> {
    until("all replicas in sync", async || {
        let Ok(topics) = world.client.admin().list_topics().await else { return Ok(false) };
        let mut partitions = topics.values().flat_map(|it| &it.partitions);
        Ok(partitions.all(|it| it.in_sync_replicas.len() == it.replicas.len()))
    })
    .await
}

/// Reads until the last of these numbers has come. That nobody leads the partition is told meanwhile, and passes.
async fn read_to(reader: &mut Consumer, words: &mut Words, numbers: Range<i64>) -> Outcome<()> {
    let last = (numbers.end - 1).to_string();
    let reading = async {
        while words.get(&0).is_none_or(|it| it.last() != Some(&last)) {
            let Ok(next) = timeout(Duration::from_millis(50), reader.next()).await else { continue };
            match next.ok_or("the reader has ended")? {
                Ok(delivery) => take(delivery, words),
                Err(error) if error.is_retriable() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Outcome::Ok(())
    };
    timeout(PATIENCE, reading).await.map_err(|_| format!("{last} does not come"))?
}

fn numbers<const N: usize>(ranges: [Range<i64>; N]) -> Words {
    let words: Vec<_> = ranges.into_iter().flatten().map(|number| number.to_string()).collect();
    Words::from([(0, words)])
}
