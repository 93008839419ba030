//! What is left when brokers are killed in the midst of work: everything that was acknowledged, once and in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use highwater::client::{
    BrokerId, Consumer, ConsumerConfig, IsolationLevel, Producer, ProducerConfig, ProducerRecord, Topic, TopicPartition,
};
use protocol_tests::servers::{Kafka, tell};
use tokio::time::timeout;

use crate::positions::{next_word, write as write_numbers};
use crate::world::{PARTITIONS, PATIENCE, Scenario, Words, World, scenario, text, until};
use protocol_tests::{Outcome, unique};

pub const SCENARIOS: &[Scenario] = &[
    scenario!("brokers die under load, and nothing acknowledged is lost", brokers_die, breaks brokers),
    scenario!("brokers die among transactions, and all of each is read or nothing", transactions_go_on, breaks brokers),
    scenario!("a group's coordinator dies, and every record is read", coordinator_dies, breaks brokers),
    scenario!("a reader reads from the replica in its rack, or else from the leader", nearest_dies, breaks brokers),
];

/// Kills a node, waits until `progress` has been made without it, starts it again, and waits until it has all of the topic.
async fn without(
    world: &World,
    topic: &Topic,
    node: BrokerId,
    progress: impl AsyncFnOnce() -> Outcome<()>,
) -> Outcome<()> {
    of_node(world, node, Kafka::kill).await?;
    let outcome = progress().await;
    of_node(world, node, Kafka::restart).await?;
    outcome?;
    in_sync(world, topic).await
}

pub async fn of_node<T: Send + 'static>(world: &World, node: BrokerId, ask: fn(&Kafka, usize) -> T) -> Outcome<T> {
    let (kafka, node) = (world.kafka.as_ref().ok_or("a cluster of our own")?, usize::try_from(node)?);
    Ok(kafka.aside(move |kafka| ask(kafka, node)).await?)
}

/// Writes numbers, as fast as they are acknowledged a hundred at a time, until it is told to stop; how many there are.
async fn write(producer: Producer, topic: Topic, written: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> Outcome<usize> {
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut receipts = Vec::new();
        for number in next..next + 100 {
            let value = number.to_string();
            let partition = Some(i32::try_from(number)? % PARTITIONS);
            let record = ProducerRecord { partition, ..ProducerRecord::new(&topic, value.as_bytes()) };
            receipts.push(producer.enqueue(record).await?);
        }
        for receipt in receipts {
            receipt.await?;
        }
        next += 100;
        written.store(next, Ordering::Relaxed);
    }
    producer.close(PATIENCE).await?;
    Ok(next)
}

/// Waits until so many more are written.
async fn more(written: &AtomicUsize, count: usize) -> Outcome<()> {
    let goal = written.load(Ordering::Relaxed) + count;
    until("more records", async || Ok(written.load(Ordering::Relaxed) >= goal)).await
}

async fn brokers_die(world: World) -> Outcome<()> {
    let topic = world.topic("dying").await?;
    let (written, stop) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
    let writing = tokio::spawn(write(world.producer(), topic.clone(), Arc::clone(&written), Arc::clone(&stop)));
    more(&written, 2_000).await?;
    for node in 1..=BrokerId::try_from(world.nodes)? {
        without(&world, &topic, node, async || more(&written, 5_000).await).await?;
    }
    stop.store(true, Ordering::Relaxed);
    let count = writing.await??;
    for (partition, words) in world.read(&topic, IsolationLevel::ReadUncommitted).await? {
        let expect = (0..count).filter(|number| number % PARTITIONS as usize == partition as usize);
        let expect: Vec<_> = expect.map(|number| number.to_string()).collect();
        assert!(words == expect, "partition {partition}: {} of {} records, or not in order", words.len(), expect.len());
    }
    tell(&format!("{count} records written while each of {} brokers was killed and started again", world.nodes));
    Ok(())
}

/// So many numbers are a transaction.
const TRANSACTION: usize = 20;

/// Whether a transaction is committed. Some are not.
fn commits(transaction: usize) -> bool {
    transaction % 4 != 3
}

/// Writes numbers as one transaction after the other until it is told to stop; how many numbers there are.
async fn transact(
    producer: Producer,
    topic: Topic,
    written: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Outcome<usize> {
    for transaction in 0.. {
        let open = producer.begin().await?;
        let mut receipts = Vec::new();
        for number in transaction * TRANSACTION..(transaction + 1) * TRANSACTION {
            let value = number.to_string();
            let partition = Some(i32::try_from(number)? % PARTITIONS);
            let record = ProducerRecord { partition, ..ProducerRecord::new(&topic, value.as_bytes()) };
            receipts.push(open.enqueue(record).await?);
        }
        for receipt in receipts {
            receipt.await?;
        }
        if commits(transaction) {
            open.commit().await?
        } else {
            open.abort().await?
        }
        written.store((transaction + 1) * TRANSACTION, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    producer.close(PATIENCE).await?;
    Ok(written.load(Ordering::Relaxed))
}

/// One of the brokers coordinates the transactions.
async fn transactions_go_on(world: World) -> Outcome<()> {
    let topic = world.topic("transactions").await?;
    let (written, stop) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
    let config = ProducerConfig { transactional_id: Some(unique("id")), ..ProducerConfig::default() };
    let producer = world.client.producer(config)?;
    let writing = tokio::spawn(transact(producer, topic.clone(), Arc::clone(&written), Arc::clone(&stop)));
    more(&written, 500).await?;
    for node in 1..=BrokerId::try_from(world.nodes)? {
        without(&world, &topic, node, async || more(&written, 1_000).await).await?;
    }
    stop.store(true, Ordering::Relaxed);
    let count = writing.await??;
    let of_partition = |partition: i32| {
        let is_read =
            |number: &usize| commits(number / TRANSACTION) && number % PARTITIONS as usize == partition as usize;
        (0..count).filter(is_read).map(|number| number.to_string()).collect::<Vec<_>>()
    };
    let expect: Words = (0..PARTITIONS).map(|partition| (partition, of_partition(partition))).collect();
    let mut read = Words::new();
    // That a transaction is committed is known before the last of its partitions says so.
    until("all that was committed is read", async || {
        read = world.read(&topic, IsolationLevel::ReadCommitted).await?;
        Ok(read.values().map(Vec::len).sum::<usize>() >= expect.values().map(Vec::len).sum())
    })
    .await?;
    assert!(read == expect, "not what was committed, or not in order");
    tell(&format!(
        "{} transactions while each of {} brokers was killed and started again",
        count / TRANSACTION,
        world.nodes
    ));
    Ok(())
}

/// Waits until every replica of the topic is in sync.
async fn in_sync(world: &World, topic: &Topic) -> Outcome<()> {
    until("all replicas in sync", async || {
        let described = world.client.admin().describe_topics(std::slice::from_ref(topic)).await?.remove(0).1?;
        Ok(described.partitions.iter().all(|it| it.in_sync_replicas.len() == world.nodes))
    })
    .await
}

async fn coordinator_dies(world: World) -> Outcome<()> {
    let (topic, group) = (world.topic("coordinator").await?, unique("group"));
    let (written, stop) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
    let writing = tokio::spawn(write(world.producer(), topic.clone(), Arc::clone(&written), Arc::clone(&stop)));
    let read = Arc::new(AtomicUsize::new(0));
    let members: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn(member(world.clone(), group.clone(), topic.clone(), Arc::clone(&read), Arc::clone(&stop)))
        })
        .collect();
    more(&read, 1_000).await?;
    let described = world.client.admin().describe_groups(std::slice::from_ref(&group)).await?;
    let coordinator = described.get(&group).ok_or("no description")?.as_ref().map_err(ToString::to_string)?.coordinator;
    without(&world, &topic, coordinator, async || more(&read, 3_000).await).await?;
    more(&read, 1_000).await?;
    stop.store(true, Ordering::Relaxed);
    let count = writing.await??;
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for member in members {
        for word in member.await?? {
            *times.entry(word).or_default() += 1;
        }
    }
    // What was written at last may not have been read when the members were told to stop; the group goes on.
    let mut last = world.client.consumer(world.reading(&group, &topic))?;
    let reading = async {
        while times.len() < count {
            let delivery = last.next().await.ok_or("the member has ended")??;
            for record in delivery.records() {
                *times.entry(text(record.value.unwrap_or_default())).or_default() += 1;
            }
            delivery.finish();
        }
        Outcome::Ok(())
    };
    let outcome = timeout(PATIENCE, reading).await;
    outcome.map_err(|_| format!("{} of {count} records were read", times.len()))??;
    last.close(PATIENCE).await?;
    let again: usize = times.values().map(|times| times - 1).sum();
    tell(&format!("{count} records read by two members over the death of their coordinator, {again} of them twice"));
    Ok(())
}

/// What one member reads until it is told to stop.
async fn member(
    world: World,
    group: String,
    topic: Topic,
    read: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Outcome<Vec<String>> {
    let mut consumer = world.another().await?.consumer(world.reading(&group, &topic))?;
    let mut words = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(next) = timeout(Duration::from_millis(50), consumer.next()).await else { continue };
        // It concerns one partition and is told as long as it lasts; here brokers are down.
        let Ok(delivery) = next.ok_or("the member has ended")? else { continue };
        words.extend(delivery.records().map(|record| text(record.value.unwrap_or_default())));
        read.fetch_add(delivery.len(), Ordering::Relaxed);
        delivery.finish();
    }
    consumer.close(PATIENCE).await?;
    Ok(words)
}

/// The brokers are in racks that have their numbers, and say themselves who was read from.
async fn nearest_dies(world: World) -> Outcome<()> {
    let topic = world.topic_of("near", 1).await?;
    in_sync(&world, &topic).await?;
    let described = world.client.admin().describe_topics(std::slice::from_ref(&topic)).await?.remove(0).1?;
    let leader = described.partitions[0].leader.ok_or("a leader")?;
    let near = described.partitions[0].replicas.iter().copied().find(|it| *it != leader).ok_or("a follower")?;
    let config = ConsumerConfig { rack: Some(format!("rack-{near}")), ..world.reading(&unique("group"), &topic) };
    let from = vec![(TopicPartition::new(topic.clone(), 0), Some(0))];
    let mut reader = world.another().await?.reader(config, from)?;
    pass(&world, &topic, &mut reader, 0..10).await?;
    let fetches = async || {
        let of = |kafka: &Kafka, node: usize| kafka.requests(node, "FetchConsumer");
        Outcome::Ok([of_node(&world, leader, of).await??, of_node(&world, near, of).await??])
    };
    let before = fetches().await?;
    pass(&world, &topic, &mut reader, 10..40).await?;
    let after = fetches().await?;
    assert_eq!(after[0], before[0], "broker {leader} leads, and nobody needs to read from it");
    assert!(after[1] >= before[1] + 30, "30 records of broker {near}, and {before:?}, {after:?} requests");
    without(&world, &topic, near, async || pass(&world, &topic, &mut reader, 40..50).await).await?;
    Ok(reader.close(PATIENCE).await?)
}

/// Writes numbers one by one, each when the one before was read.
async fn pass(world: &World, topic: &Topic, reader: &mut Consumer, numbers: std::ops::Range<i64>) -> Outcome<()> {
    for number in numbers {
        write_numbers(world, topic, number..number + 1).await?;
        assert_eq!(next_word(reader).await?, number.to_string());
    }
    Ok(())
}
