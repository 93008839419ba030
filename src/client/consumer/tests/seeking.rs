//! Going on elsewhere, leaving alone, partitions that are given, and offsets that are chosen.

use super::*;
use crate::client::{ErrorKind, NoPlace, Position, Seek};

const NONE: Duration = Duration::from_millis(100);

/// One partition with these many records, and a consumer of it.
async fn one(records: u32, with: impl FnOnce(ConsumerConfig) -> ConsumerConfig) -> (World, Consumer, TopicPartition) {
    let world = World::empty().await;
    world.client.admin().create_topics(&[NewTopic::new("orders").partitions(1)]).await.unwrap();
    write(&world, 0..records).await;
    let consumer = world.client.consumer(with(world.config())).unwrap();
    (world, consumer, TopicPartition::new("orders", 0))
}

async fn write(world: &World, numbers: Range<u32>) {
    let producer = world.client.producer(ProducerConfig::default()).unwrap();
    for number in numbers {
        let timestamp_ms = Some(1000 * i64::from(number));
        let record = ProducerRecord { timestamp_ms, ..ProducerRecord::new(&world.topic, b"x") };
        producer.send(record).await.unwrap();
    }
    producer.close(LIMIT).await.unwrap();
}

async fn delivery(consumer: &mut Consumer) -> Delivery {
    timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap()
}

/// Where the next delivery begins, which is finished.
async fn first_of(consumer: &mut Consumer) -> i64 {
    let delivery = delivery(consumer).await;
    let offset = first(&delivery);
    delivery.finish();
    offset
}

fn first(delivery: &Delivery) -> i64 {
    delivery.records().next().map(|record| record.offset).unwrap()
}

#[tokio::test]
async fn after_a_seek_only_what_comes_then_counts() {
    let (world, mut consumer, of) = one(10, |it| ConsumerConfig { auto_commit: false, ..it }).await;
    let before = delivery(&mut consumer).await;
    assert!(!before.is_revoked());
    consumer.seek(&of, 3).await.unwrap();
    assert_eq!(consumer.position(&of), Some(3));
    assert!(before.is_revoked(), "it counts for nothing");
    before.finish();
    consumer.commit().await.unwrap();
    assert_eq!(world.committed().await, 3, "never beyond where it was sought");
    let again = delivery(&mut consumer).await;
    assert_eq!(first(&again), 3);
    again.finish_record(3);
    consumer.commit().await.unwrap();
    assert_eq!(world.committed().await, 4);
    drop(again);
    // Back to where the group is by now: what came between is not committed in its place.
    consumer.seek(&of, 9).await.unwrap();
    delivery(&mut consumer).await.finish();
    consumer.seek(&of, 4).await.unwrap();
    consumer.commit().await.unwrap();
    assert_eq!((world.committed().await, consumer.stats().outstanding), (4, 0));
    for (of, offset) in [(TopicPartition::new("orders", 7), 0), (of, -1)] {
        let refused = consumer.seek(&of, offset).await.unwrap_err();
        assert_eq!(refused.topic_partition, Some(of));
    }
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn a_seek_goes_to_an_end_or_to_a_time_or_is_reset() {
    let (world, mut consumer, of) = one(10, |it| it).await;
    delivery(&mut consumer).await.finish();
    let cases = [(Seek::Beginning, 0), (Seek::Timestamp(3500), 4), (Seek::Offset(7), 7), (Seek::Offset(99), 0)];
    for (to, expect) in cases {
        consumer.seek(&of, to).await.unwrap();
        let delivery = delivery(&mut consumer).await;
        assert_eq!(first(&delivery), expect, "{to:?}");
        delivery.finish();
    }
    for (to, next) in [(Seek::End, 10), (Seek::Timestamp(i64::MAX), 11)] {
        consumer.seek(&of, to).await.unwrap();
        while consumer.position(&of) != Some(next) {
            assert!(timeout(Duration::from_millis(5), consumer.next()).await.is_err(), "{to:?}");
        }
        let number = u32::try_from(next).unwrap();
        write(&world, number..number + 1).await;
        let delivery = delivery(&mut consumer).await;
        assert_eq!(first(&delivery), next, "{to:?}");
        delivery.finish();
    }
    consumer.close(LIMIT).await.unwrap();
    assert_eq!(world.committed().await, 12);
}

#[tokio::test]
async fn a_partition_that_begins_nowhere_is_sought_in() {
    let with = |it| ConsumerConfig { auto_offset_reset: OffsetReset::None, ..it };
    let (world, mut consumer, of) = one(3, with).await;
    let refused = timeout(LIMIT, consumer.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(refused.topic_partition.as_ref(), Some(&of));
    consumer.seek(&of, Seek::Beginning).await.unwrap();
    let found = async {
        loop {
            // It may have been told again before the seek.
            if let Ok(delivery) = consumer.next().await.unwrap() {
                return delivery.finish();
            }
        }
    };
    timeout(LIMIT, found).await.unwrap();
    consumer.close(LIMIT).await.unwrap();
    assert_eq!(world.committed().await, 3);
}

#[tokio::test]
async fn who_goes_while_waiting_to_seek_has_changed_nothing() {
    let (_world, mut consumer, of) = one(3, |it| it).await;
    let held = delivery(&mut consumer).await;
    while consumer.fetcher.try_send(fetcher::Request::Skip { of: TopicPartition::new("x", 1), past: 1 }).is_ok() {}
    let mut waiting = Box::pin(consumer.seek(&of, 1));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(waiting);
    assert!(!held.is_revoked());
    consumer.seek(&of, 1).await.unwrap();
    assert_eq!(first(&delivery(&mut consumer).await), 1);
    drop(held);
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn what_is_paused_keeps_its_place_and_the_others_go_on() {
    let world = World::new().await;
    let (mut consumer, mut read) = (world.consumer(), Read::default());
    hold(&mut consumer, &mut read, |it| {
        it.assignment().iter().all(|it| it.delivered.is_some()) && it.stats().partitions == 6
    })
    .await;
    let half: Vec<TopicPartition> = (0..3).map(|partition| TopicPartition::new("orders", partition)).collect();
    consumer.pause(&half).unwrap();
    assert_eq!(consumer.paused(), half);
    world.produce(0..60).await;
    read.until(&mut consumer, 30).await;
    assert!(timeout(NONE, consumer.next()).await.is_err(), "nothing comes of what is paused");
    assert!(half.iter().all(|of| consumer.position(of) == Some(0)));
    let strange = [half[0].clone(), TopicPartition::new("other", 0)];
    assert!(consumer.resume(&strange).is_err() && consumer.pause(&strange).is_err());
    assert_eq!(consumer.paused(), half, "all or none");
    // A member that comes takes some; what is kept stays paused, and what comes back is not.
    let mut other = world.consumer();
    let mut theirs = Read::default();
    hold(&mut other, &mut theirs, |it| it.assignment().len() == 3).await;
    hold(&mut consumer, &mut read, |it| it.assignment().len() == 3).await;
    let kept = consumer.paused();
    assert!(kept.iter().all(|of| half.contains(of)));
    other.close(LIMIT).await.unwrap();
    hold(&mut consumer, &mut read, |it| it.assignment().len() == 6).await;
    assert_eq!(consumer.paused(), kept);
    consumer.resume(&kept).unwrap();
    let all = async {
        while read.numbers.len() + theirs.numbers.len() < 60 {
            read.take(consumer.next().await.unwrap().unwrap());
        }
    };
    timeout(LIMIT, all).await.unwrap();
    consumer.close(LIMIT).await.unwrap();
    assert_eq!(world.committed().await, 60);
}

#[tokio::test]
async fn what_has_come_of_a_partition_before_it_was_paused_comes_in_order_when_it_is_resumed() {
    let (world, mut consumer, of) = one(3, |it| it).await;
    delivery(&mut consumer).await.finish();
    write(&world, 3..6).await;
    // Something waits to be given out by now.
    let fetched = || consumer.stats().memory_used > 0 && !consumer.items.is_empty();
    until("records that have come", async || fetched()).await;
    consumer.pause(std::slice::from_ref(&of)).unwrap();
    assert!(timeout(NONE, consumer.next()).await.is_err());
    write(&world, 6..9).await;
    assert!(timeout(NONE, consumer.next()).await.is_err());
    consumer.resume(std::slice::from_ref(&of)).unwrap();
    let mut next = 3;
    while next < 9 {
        let delivery = delivery(&mut consumer).await;
        assert_eq!(first(&delivery), next);
        next = delivery.next_offset();
        delivery.finish();
    }
    // What is set aside is thrown away by a seek, and the partition stays paused.
    consumer.pause(std::slice::from_ref(&of)).unwrap();
    consumer.seek(&of, 5).await.unwrap();
    assert!(timeout(NONE, consumer.next()).await.is_err());
    consumer.resume(std::slice::from_ref(&of)).unwrap();
    assert_eq!(first(&delivery(&mut consumer).await), 5);
    consumer.close(LIMIT).await.unwrap();
}

/// However much more there is of it than the consumer may hold.
#[tokio::test]
async fn what_is_paused_leaves_room_for_the_others() {
    let world = World::new().await;
    let producer =
        world.client.producer(ProducerConfig { compression: Compression::Gzip, ..Default::default() }).unwrap();
    let of = |partition| TopicPartition::new("orders", partition);
    for number in 0..PARTITIONS * 40 {
        let partition = Some(number % PARTITIONS);
        let record = ProducerRecord { partition, ..ProducerRecord::new(&world.topic, &[7; 8 << 10]) };
        drop(producer.enqueue(record).await.unwrap());
    }
    producer.close(LIMIT).await.unwrap();
    let config = ConsumerConfig { memory_bytes: 256 << 10, partition_max_bytes: 16 << 10, ..world.config() };
    let start = (0..PARTITIONS).map(|partition| (of(partition), Some(0))).collect();
    let mut consumer = world.client.reader(config, start).unwrap();
    let others: Vec<TopicPartition> = (1..PARTITIONS).map(of).collect();
    until("memory that is full", async || consumer.stats().memory_used >= 256 << 10).await;
    consumer.pause(&others).unwrap();
    let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
    let mut read = |delivery: Delivery| {
        let next = next.entry(delivery.topic_partition.clone()).or_default();
        assert_eq!(first(&delivery), *next, "{}", delivery.topic_partition);
        *next = delivery.next_offset();
        delivery.finish();
    };
    while consumer.position(&of(0)) < Some(40) {
        let delivery = delivery(&mut consumer).await;
        assert_eq!(delivery.topic_partition, of(0));
        read(delivery);
    }
    assert!(timeout(NONE, consumer.next()).await.is_err(), "the others are paused");
    assert!(consumer.stats().memory_used <= 64 << 10, "{:?}", consumer.stats());
    consumer.resume(&others).unwrap();
    while consumer.assignment().iter().any(|it| it.delivered < Some(40)) {
        read(delivery(&mut consumer).await);
    }
    consumer.close(LIMIT).await.unwrap();
}

#[tokio::test]
async fn partitions_that_are_given_are_committed_as_a_members_are() {
    let world = World::new().await;
    world.produce(0..60).await;
    let all: Vec<_> = (0..PARTITIONS).map(|partition| (TopicPartition::new("orders", partition), None)).collect();
    let config = || ConsumerConfig { topics: Vec::new(), ..world.config() };
    assert!(world.client.assign(ConsumerConfig { group_id: String::new(), ..config() }, all.clone()).is_err());
    world.fault(OFFSET_FETCH, 1, Fault::Error(ErrorCode::NOT_COORDINATOR));
    let mut consumer = world.client.assign(config(), all.clone()).unwrap();
    let mut read = Read::default();
    read.until(&mut consumer, 60).await;
    until("a commit by itself", async || world.committed().await == 60).await;
    world.produce(60..90).await;
    read.until(&mut consumer, 90).await;
    consumer.close(LIMIT).await.unwrap();
    assert_eq!(world.committed().await, 90, "the last one");
    world.produce(90..120).await;
    let mut next = world.client.assign(ConsumerConfig { auto_commit: false, ..config() }, all.clone()).unwrap();
    read.until(&mut next, 120).await;
    next.commit().await.unwrap();
    assert_eq!(world.committed().await, 120);
    // As soon as the group has members, it is theirs.
    let mut member = world.consumer();
    hold(&mut member, &mut read, |it| it.stats().partitions == PARTITIONS as usize).await;
    next.seek(&all[0].0, 1).await.unwrap();
    let refused = next.commit().await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::UNKNOWN_MEMBER_ID));
    next.close(LIMIT).await.unwrap();
    member.close(LIMIT).await.unwrap();
    assert_eq!(world.committed().await, 120);
}

#[tokio::test]
async fn offsets_that_are_chosen_are_committed() {
    let (world, mut consumer, of) = one(10, |it| ConsumerConfig { auto_commit: false, ..it }).await;
    let delivery = delivery(&mut consumer).await;
    let at = |offset| Position { offset, ..delivery.position() };
    consumer.commit_offsets([]).await.unwrap();
    world.fault(COMMIT, 1, Fault::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
    consumer.commit_offsets([at(4)]).await.unwrap();
    assert_eq!(world.committed().await, 4);
    consumer.commit_offsets([at(9), at(2)]).await.unwrap();
    assert_eq!(world.committed().await, 2, "the last of several");
    assert!(consumer.commit_offsets([at(-1)]).await.is_err());
    world.fault(COMMIT, 1, Fault::Error(ErrorCode::OFFSET_METADATA_TOO_LARGE));
    let refused = consumer.commit_offsets([at(5)]).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::OFFSET_METADATA_TOO_LARGE));
    // What is finished is committed again where it differs.
    delivery.finish();
    consumer.commit().await.unwrap();
    assert_eq!((world.committed().await, consumer.position(&of)), (10, Some(10)));
    consumer.close(LIMIT).await.unwrap();
    let outside = world.client.reader(world.config(), vec![(of.clone(), Some(0))]).unwrap();
    let position = Position { topic_partition: of, offset: 1, leader_epoch: None };
    assert!(outside.commit_offsets([position]).await.is_err(), "there is no group");
}

/// From version 10 on topics go by their ids, which somebody has to look up.
#[tokio::test]
async fn a_client_that_has_not_heard_of_a_topic_commits_for_it_and_goes_on_from_there() {
    let (world, consumer, of) = one(10, |it| it).await;
    drop(consumer);
    let config = || ConsumerConfig { group_id: "late".into(), auto_commit: false, ..world.config() };
    let fresh = async || {
        let config = ClientConfig { api_timeout: Duration::from_millis(200), ..quick_to_reconnect(&world.broker) };
        Client::connect(config).await.unwrap()
    };
    let at = |topic_partition, offset| Position { topic_partition, offset, leader_epoch: None };
    let mut first = fresh().await.assign(config(), Vec::new()).unwrap();
    first.commit_offsets([at(of.clone(), 4)]).await.unwrap();
    let refused = first.commit_offsets([at(TopicPartition::new("nowhere", 0), 1)]).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    first.close(LIMIT).await.unwrap();
    let mut next = fresh().await.assign(config(), vec![(of, None)]).unwrap();
    assert_eq!(first_of(&mut next).await, 4);
    next.close(LIMIT).await.unwrap();
}

async fn is_settled(world: &World) -> bool {
    let mut groups = world.client.admin().describe_groups(&["readers".to_owned()]).await.unwrap();
    let group = groups.remove("readers").unwrap().unwrap();
    group.members.len() == 2 && group.state == "Stable"
}

/// What the group may know better by then is not committed in another generation.
#[tokio::test]
async fn what_was_chosen_in_another_generation_is_committed_only_if_it_is_held_still() {
    let refused = Some(ErrorCode::ILLEGAL_GENERATION);
    // Some of what came, or all of it.
    for (assignor, chosen, expect) in [
        (Assignor::Range, Some(4), refused),
        (Assignor::Range, None, refused),
        (Assignor::CooperativeSticky, Some(4), None),
        (Assignor::CooperativeSticky, None, None),
    ] {
        let with = |it| ConsumerConfig {
            auto_commit: false,
            group_protocol: GroupProtocol::Classic,
            assignors: vec![assignor],
            ..it
        };
        let (world, mut consumer, of) = one(10, with).await;
        delivery(&mut consumer).await.finish();
        let generation = || consumer.group_metadata().unwrap().member.unwrap().1;
        let before = generation();
        world.fault(COMMIT, u64::MAX, Fault::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
        world.broker.faults().reset_counts();
        let commit = async {
            match chosen {
                Some(offset) => {
                    consumer.commit_offsets([Position { topic_partition: of, offset, leader_epoch: None }]).await
                }
                None => consumer.commit().await,
            }
        };
        let meanwhile = async {
            until("a commit that is tried", async || world.broker.faults().count(COMMIT) > 0).await;
            let other = world.client.consumer(with(world.config())).unwrap();
            until("another generation", async || generation() > before && is_settled(&world).await).await;
            if expect.is_none() {
                // The one that is under way may still be of the generation before.
                let tried = world.broker.faults().count(COMMIT);
                until("another try", async || world.broker.faults().count(COMMIT) > tried + 1).await;
                world.broker.faults().clear();
            }
            other
        };
        let (outcome, other) = tokio::join!(commit, meanwhile);
        assert_eq!(outcome.err().and_then(|error| error.code()), expect, "{assignor:?} {chosen:?}");
        let committed = if expect.is_none() { chosen.unwrap_or(10) } else { 0 };
        assert_eq!(world.committed().await, committed, "{assignor:?} {chosen:?}");
        drop(other);
    }
}

#[tokio::test]
async fn what_is_given_makes_sense_and_counts_once() {
    let (world, consumer, of) = one(10, |it| it).await;
    drop(consumer);
    let config = || ConsumerConfig { group_id: "late".into(), auto_commit: false, ..world.config() };
    for offset in [-1, -2] {
        let given = || vec![(of.clone(), Some(offset))];
        for refused in [world.client.assign(config(), given()), world.client.reader(config(), given())] {
            assert_eq!(refused.unwrap_err().topic_partition.as_ref(), Some(&of));
        }
    }
    let mut twice = world.client.assign(config(), vec![(of.clone(), Some(2)), (of, Some(5))]).unwrap();
    assert_eq!(first_of(&mut twice).await, 2);
    twice.commit().await.unwrap();
    assert_eq!(world.committed_of("late").await, 10, "it is the one that is read");
    twice.close(LIMIT).await.unwrap();
}

/// Whoever seeks may fill what the fetcher is told; what is located at that time waits for room in it.
#[tokio::test]
async fn a_partition_that_is_located_while_somebody_seeks_is_not_lost() {
    let (world, mut consumer, of) = one(10, |it| it).await;
    delivery(&mut consumer).await.finish();
    consumer.close(LIMIT).await.unwrap();
    write(&world, 10..20).await;
    for is_member in [false, true] {
        let mut next = match is_member {
            true => world.consumer(),
            false => world.client.assign(world.config(), vec![(of.clone(), None)]).unwrap(),
        };
        let skip = || fetcher::Request::Skip { of: TopicPartition::new("x", 1), past: 1 };
        let filled = async || {
            while next.fetcher.try_send(skip()).is_ok() {}
            next.position(&of).is_some()
        };
        until("it is known where to begin", filled).await;
        assert_eq!(first(&delivery(&mut next).await), 10, "{is_member}");
        next.close(LIMIT).await.unwrap();
    }
}

/// However it ends, what is finished of partitions that are given is committed, within the time that there is.
#[tokio::test]
async fn what_is_out_for_ever_keeps_nothing_from_being_committed() {
    let short = Duration::from_secs(5);
    for ends in ["closed", "closed again", "dropped"] {
        let (world, consumer, of) = one(10, |it| it).await;
        drop(consumer);
        let group = || ConsumerConfig { group_id: "late".into(), commit_interval: LIMIT, ..world.config() };
        let config = ConsumerConfig { drain_timeout: Duration::from_millis(100), ..group() };
        let mut consumer = world.client.assign(config, vec![(of, Some(0))]).unwrap();
        // The coordinator is known by then, so that the last commit is one request.
        consumer.commit().await.unwrap();
        let leaked = delivery(&mut consumer).await;
        leaked.finish_record(0);
        match ends {
            "closed" => consumer.close(short).await.unwrap(),
            "closed again" => {
                assert!(timeout(Duration::from_millis(20), consumer.close(LIMIT * 3)).await.is_err());
                consumer.close(short).await.unwrap();
            }
            _ => drop(consumer),
        }
        until(ends, async || world.committed_of("late").await == 1).await;
    }
}

/// How long it takes until a member is given up is nothing to partitions that nobody assigns.
#[tokio::test]
async fn what_concerns_joining_takes_no_time_from_the_last_commit() {
    let (world, consumer, of) = one(10, |it| it).await;
    drop(consumer);
    let config = ConsumerConfig {
        group_id: "late".into(),
        group_protocol: GroupProtocol::Auto,
        session_timeout: Duration::ZERO,
        max_poll_interval: Duration::ZERO,
        commit_interval: LIMIT,
        ..world.config()
    };
    let mut consumer = world.client.assign(config, vec![(of, Some(0))]).unwrap();
    delivery(&mut consumer).await.finish();
    consumer.close(LIMIT).await.unwrap();
    assert_eq!(world.committed_of("late").await, 10);
}

/// What is given up is still there to be committed, as long as it is waited for.
#[tokio::test]
async fn what_is_finished_is_committed_also_while_the_consumer_is_closed() {
    for is_member in [false, true] {
        let (world, consumer, of) = one(10, |it| it).await;
        drop(consumer);
        let config = ConsumerConfig { group_id: "late".into(), auto_commit: false, ..world.config() };
        let mut consumer = match is_member {
            true => world.client.consumer(config).unwrap(),
            false => world.client.assign(config, vec![(of, Some(0))]).unwrap(),
        };
        let out = delivery(&mut consumer).await;
        out.finish_record(0);
        assert!(timeout(Duration::from_millis(20), consumer.close(LIMIT)).await.is_err());
        consumer.commit().await.unwrap();
        assert_eq!(world.committed_of("late").await, 1, "{is_member}");
        out.finish();
        consumer.close(LIMIT).await.unwrap();
    }
}

/// A topic that is gone does not keep a commit waiting as one does that the coordinator has not heard of yet.
#[tokio::test]
async fn a_commit_does_not_wait_for_a_topic_that_is_not_there() {
    let (world, consumer, of) = one(10, |it| it).await;
    drop(consumer);
    let config = ConsumerConfig { group_id: "late".into(), auto_commit: false, ..world.config() };
    let mut consumer = world.client.assign(config, vec![(of.clone(), Some(0))]).unwrap();
    delivery(&mut consumer).await.finish();
    world.client.admin().delete_topics(std::slice::from_ref(&world.topic)).await.unwrap()[0].1.clone().unwrap();
    let refused = timeout(LIMIT, consumer.commit()).await.unwrap().unwrap_err();
    assert_eq!((refused.is_retriable(), refused.topic_partition), (true, Some(of)));
    consumer.close(LIMIT).await.unwrap();
    // One that is not there says nothing of where the group is kept.
    let (world, consumer, of) = one(10, |it| it).await;
    drop(consumer);
    let config = ConsumerConfig { group_id: "late".into(), auto_commit: false, ..world.config() };
    let gone = TopicPartition::new("zebras", 0);
    let mut consumer = world.client.assign(config, vec![(of.clone(), Some(0)), (gone, Some(3))]).unwrap();
    while consumer.position(&of) != Some(10) {
        if let Ok(delivery) = timeout(LIMIT, consumer.next()).await.unwrap().unwrap() {
            delivery.finish();
        }
    }
    world.fault(COMMIT, 2, Fault::Error(ErrorCode::NOT_COORDINATOR));
    let refused = timeout(LIMIT / 2, consumer.commit()).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(world.committed_of("late").await, 10);
    consumer.close(LIMIT).await.unwrap();
}

/// However often it is sought in, and nobody takes what comes of it.
#[tokio::test]
async fn places_that_are_sought_do_not_pile_up() {
    let often = ITEMS_MAX + 16;
    // Where it is, and what has to be asked for first: of an offset that is not there it is known after a fetch.
    for (to, expect) in [(Seek::Beginning, 0), (Seek::Timestamp(3500), 4), (Seek::Offset(99), 0)] {
        let (world, mut consumer, of) = one(10, |it| it).await;
        delivery(&mut consumer).await.finish();
        world.broker.faults().reset_counts();
        for time in 1..=often {
            consumer.seek(&of, to).await.unwrap();
            let looked = async || world.broker.faults().count(LIST_OFFSETS) >= time as u64;
            until("somebody looks where that is", looked).await;
        }
        // The one that is held, those that wait to be given out, and those that are on their way.
        let alive = || consumer.memory.limit() / 2 / consumer.memory.share();
        until("those before are forgotten", async || alive() <= ITEMS_MAX + 2).await;
        if !matches!(to, Seek::Offset(_)) {
            until("they hold nothing", async || alive() == 1 && consumer.position(&of) == Some(expect)).await;
        }
        assert_eq!(first_of(&mut consumer).await, expect, "{to:?}");
        consumer.close(LIMIT).await.unwrap();
    }
}

#[tokio::test]
async fn a_commit_that_is_not_answered_does_not_keep_a_close_from_being_heard() {
    for is_asked_for in [false, true] {
        let (world, consumer, of) = one(10, |it| it).await;
        drop(consumer);
        let config = ConsumerConfig { group_id: "late".into(), auto_commit: !is_asked_for, ..world.config() };
        let mut consumer = world.client.assign(config, vec![(of.clone(), Some(0))]).unwrap();
        world.fault(COMMIT, u64::MAX, Fault::Delay(LIMIT));
        world.broker.faults().reset_counts();
        delivery(&mut consumer).await.finish();
        if is_asked_for {
            assert!(timeout(Duration::from_millis(20), consumer.commit()).await.is_err());
        }
        until("a commit that hangs", async || world.broker.faults().count(COMMIT) > 0).await;
        // What is asked for is waited for; what comes by itself comes again.
        let closed = timeout(LIMIT / 2, consumer.close(Duration::from_secs(2))).await.unwrap();
        assert_eq!(closed.is_err_and(|error| error.is_timeout()), is_asked_for);
    }
}

/// A commit without an answer may be carried out late, and take the group back: what is finished is said again, also after
/// a seek, and at the end.
#[tokio::test]
async fn what_is_in_doubt_is_said_again_though_nothing_is_new() {
    for is_sought in [false, true] {
        let (world, mut consumer, of) = one(10, |it| it).await;
        let commits = || world.broker.faults().count(COMMIT);
        world.fault(COMMIT, 1, Fault::DisconnectAfter);
        delivery(&mut consumer).await.finish();
        until("a commit without an answer", async || world.broker.faults().waiting() == 0).await;
        let end = if is_sought { 4 } else { 10 };
        if is_sought {
            consumer.seek(&of, end).await.unwrap();
        }
        until("what it has finished is the group's", async || world.committed().await == end).await;
        let before = commits();
        until("it is said again", async || commits() > before).await;
        let before = commits();
        consumer.close(LIMIT).await.unwrap();
        assert_eq!((commits() - before, world.committed().await), (1, end), "{is_sought}");
    }
}

/// Only the last choice counts, whoever tries longer.
#[tokio::test]
async fn a_choice_does_not_go_over_a_later_one() {
    let (world, consumer, of) = one(10, |it| ConsumerConfig { auto_commit: false, ..it }).await;
    until("it holds the partition", async || !consumer.assignment().is_empty()).await;
    let at = |offset| [Position { topic_partition: of.clone(), offset, leader_epoch: None }];
    world.fault(COMMIT, 1, Fault::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
    world.broker.faults().reset_counts();
    let first = consumer.commit_offsets(at(5));
    let second = async {
        until("the first is refused", async || world.broker.faults().waiting() == 0).await;
        consumer.commit_offsets(at(8)).await
    };
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    second.unwrap();
    assert_eq!(world.committed().await, 8);
    assert!(world.broker.faults().count(COMMIT) <= 3);
}

/// As after an unclean election: the group has read further in an epoch than the log of the new leader goes (KIP-320).
#[tokio::test]
async fn a_log_that_was_cut_is_read_again_from_where_it_was_cut() {
    let (world, consumer, of) = one(10, |it| it).await;
    drop(consumer);
    let config = || ConsumerConfig { group_id: "late".into(), auto_commit: false, ..world.config() };
    let mut before = world.client.assign(config(), vec![(of.clone(), Some(0))]).unwrap();
    let delivery = delivery(&mut before).await;
    let epoch = delivery.position().leader_epoch;
    assert!(epoch.is_some());
    before.commit_offsets([Position { offset: 15, ..delivery.position() }]).await.unwrap();
    drop(delivery);
    before.close(LIMIT).await.unwrap();
    let leader = world.client.cluster().metadata().leader(&of).unwrap().broker;
    let other = world.client.cluster().metadata().brokers.keys().copied().find(|broker| *broker != leader).unwrap();
    world.broker.move_leader(&of, other).unwrap();
    write(&world, 10..20).await;
    let strict = ConsumerConfig { auto_offset_reset: OffsetReset::None, ..config() };
    let mut told = world.client.assign(strict, vec![(of.clone(), None)]).unwrap();
    let error = timeout(LIMIT, told.next()).await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains("the log was cut at offset 10, below what was read"), "{error}");
    let ErrorKind::NoPlace(NoPlace::Cut(end)) = error.kind else { panic!("{error:?}") };
    told.seek(&of, end).await.unwrap();
    assert_eq!(first_of(&mut told).await, 10);
    told.close(LIMIT).await.unwrap();
    let mut next = world.client.assign(config(), vec![(of.clone(), None)]).unwrap();
    let delivery = super::seeking::delivery(&mut next).await;
    assert_eq!(first(&delivery), 10, "what stands at 10 to 14 now is not what was read");
    delivery.finish();
    next.commit().await.unwrap();
    assert!(world.committed_of("late").await > 10);
    next.close(LIMIT).await.unwrap();
}

/// Such as of a topic that was made anew, with a commit of before that came after it.
#[tokio::test]
async fn of_an_epoch_that_the_log_does_not_know_nothing_is_believed() {
    let (world, consumer, of) = one(10, |it| it).await;
    drop(consumer);
    let config = || ConsumerConfig { group_id: "late".into(), auto_commit: false, ..world.config() };
    let given = || vec![(of.clone(), None)];
    let mut before = world.client.assign(config(), Vec::new()).unwrap();
    let position = Position { topic_partition: of.clone(), offset: 5, leader_epoch: Some(99) };
    before.commit_offsets([position]).await.unwrap();
    before.close(LIMIT).await.unwrap();
    let strict = ConsumerConfig { auto_offset_reset: OffsetReset::None, ..config() };
    let mut told = world.client.assign(strict, given()).unwrap();
    let error = timeout(LIMIT, told.next()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NoPlace(NoPlace::Gone(5))), "{error:?}");
    told.close(LIMIT).await.unwrap();
    let mut next = world.client.assign(config(), given()).unwrap();
    assert_eq!(first_of(&mut next).await, 0);
    next.close(LIMIT).await.unwrap();
}
