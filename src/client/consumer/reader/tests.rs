//! Reading from a replica that is nearer than the leader (KIP-392), from brokers in memory.

#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use super::*;
use crate::client::fake::{self, Net, Reply};
use crate::client::{Client, OffsetReset};
use crate::protocol::api::{Request, Response};
use crate::protocol::batch::{Assignment, BatchBuilder, assign};
use crate::protocol::compression::Compression;
use crate::protocol::messages::{FetchableTopicResponse, ListOffsetsPartitionResponse, ListOffsetsTopicResponse};

const LEADER: BrokerId = 1;
const REPLICA: BrokerId = 2;
/// A record comes so often.
const PERIOD: Duration = Duration::from_secs(10);

/// What a broker says when it is asked for an offset.
#[derive(Debug, Clone, Copy)]
enum Says {
    Record,
    Nearer(BrokerId),
    Refuses(ErrorCode),
}

/// Which broker was asked for which offset, in order.
type Asked = Arc<Mutex<Vec<(BrokerId, Offset)>>>;

fn record_at(base_offset: Offset) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(0, None, Some(b"value"), &[]).unwrap();
    let mut batch = builder.finish().unwrap().into_buffer().unwrap();
    assign(&mut batch, Assignment { base_offset, leader_epoch: 0, log_append_time_ms: None });
    batch.freeze()
}

fn fetched(says: Says, offset: Offset) -> Response {
    let mut data = PartitionData { high_watermark: offset + 1, ..Default::default() };
    match says {
        Says::Record => data.records = Some(record_at(offset)),
        Says::Nearer(broker) => data.preferred_read_replica = broker,
        Says::Refuses(code) => data.error_code = code.0,
    }
    let topic = FetchableTopicResponse { topic: "t".into(), partitions: vec![data], ..Default::default() };
    FetchResponse { responses: vec![topic], ..Default::default() }.into()
}

/// A broker that knows no fetch sessions, so that every request says what it wants.
fn broker(
    number: BrokerId,
    asked: &Asked,
    says: impl Fn(Offset) -> Says + Send + Sync + 'static,
) -> impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static {
    let asked = Arc::clone(asked);
    move |request: &Request| match request {
        Request::Metadata(_) => Some(Reply::Say(fake::cluster(&[1, 2], vec![fake::topic("t", &[(LEADER, 0)])]).into())),
        Request::ListOffsets(_) => {
            let partitions = vec![ListOffsetsPartitionResponse { offset: 0, ..Default::default() }];
            let topics = vec![ListOffsetsTopicResponse { name: "t".into(), partitions }];
            Some(Reply::Say(crate::protocol::messages::ListOffsetsResponse { topics, ..Default::default() }.into()))
        }
        Request::Fetch(it) => {
            let knows_where = it.rack_id.as_str() == "b";
            let offset = it.topics.first()?.partitions.first()?.fetch_offset;
            asked.lock().unwrap().push((number, offset));
            let said = match says(offset) {
                Says::Nearer(_) if !knows_where => Says::Record,
                said => said,
            };
            let wait = if matches!(said, Says::Record) { PERIOD } else { Duration::from_millis(1) };
            Some(Reply::SayAfter(wait, fetched(said, offset)))
        }
        _ => None,
    }
}

/// Reads ten records, each once and in order; says who was asked for what, without repeats.
async fn ten_records(
    leader: impl Fn(Offset) -> Says + Send + Sync + 'static,
    replica: impl Fn(Offset) -> Says + Send + Sync + 'static,
    replica_dies_at: Option<Offset>,
) -> Vec<(BrokerId, Offset)> {
    let (net, asked) = (Arc::new(Net::default()), Asked::default());
    net.listen(1, broker(LEADER, &asked, leader));
    net.listen(2, broker(REPLICA, &asked, replica));
    let mut config = fake::config(&[1]);
    config.metadata_max_age = PERIOD * 5 / 2;
    let client = Client::connect_over(config, net.dial()).await.unwrap();
    let reading = ConsumerConfig { rack: Some("b".to_owned()), fetch_max_wait: PERIOD, ..Default::default() };
    let mut consumer = client.reader(reading, vec![(TopicPartition::new("t", 0), Some(0))]).unwrap();
    for offset in 0..10 {
        if replica_dies_at == Some(offset) {
            net.kill(2);
        }
        let delivery = tokio::time::timeout(PERIOD * 20, consumer.next()).await.unwrap().unwrap().unwrap();
        let offsets: Vec<Offset> = delivery.records().map(|record| record.offset).collect();
        assert_eq!(offsets, [offset]);
        delivery.finish();
    }
    let mut asked = std::mem::take(&mut *asked.lock().unwrap());
    asked.dedup();
    asked.retain(|(_, offset)| *offset < 10);
    asked
}

fn by(broker: BrokerId, offsets: std::ops::Range<Offset>) -> Vec<(BrokerId, Offset)> {
    offsets.map(|offset| (broker, offset)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_replica_is_read_from_until_the_leader_is_due_to_be_asked_again() {
    let asked = ten_records(|_| Says::Nearer(REPLICA), |_| Says::Record, None).await;
    // Three records take longer than the age at which what is known of the cluster is too old.
    let round = |from: Offset| [by(LEADER, from..from + 1), by(REPLICA, from..(from + 3).min(10))].concat();
    assert_eq!(asked, [round(0), round(3), round(6), round(9)].concat());
}

#[tokio::test(start_paused = true)]
async fn whatever_ails_a_replica_its_leader_is_asked_again_and_nothing_is_reset() {
    let from_leader_on = |at: Offset| move |offset| if offset < at { Says::Nearer(REPLICA) } else { Says::Record };
    let expect = [by(LEADER, 0..1), by(REPLICA, 0..3), by(LEADER, 2..10)].concat();
    for code in [
        ErrorCode::OFFSET_OUT_OF_RANGE,
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::UNKNOWN_LEADER_EPOCH,
        ErrorCode::KAFKA_STORAGE_ERROR,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    ] {
        let replica = move |offset| if offset < 2 { Says::Record } else { Says::Refuses(code) };
        assert_eq!(ten_records(from_leader_on(2), replica, None).await, expect, "{code}");
    }
    assert_eq!(ten_records(from_leader_on(2), |_| Says::Record, Some(2)).await, expect, "it died");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_cannot_be_read_from_at_all_does_not_stop_its_partition() {
    // What the leader names is unknown, or dead from the beginning, or refuses everything.
    let refuses = |_| Says::Refuses(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    for (named, dies_at) in [(9, None), (REPLICA, Some(0)), (REPLICA, None)] {
        let began = tokio::time::Instant::now();
        let mut asked = ten_records(move |_| Says::Nearer(named), refuses, dies_at).await;
        asked.retain(|(broker, _)| *broker == LEADER);
        asked.dedup();
        assert_eq!(asked, by(LEADER, 0..10), "{named}");
        assert!(began.elapsed() < PERIOD * 11, "{named}: {:?}", began.elapsed());
    }
}

/// A broker that will not be read from at all is asked seldom, and the application hears of it.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_everything_is_told_and_not_hurried() {
    let (net, asked) = (Arc::new(Net::default()), Asked::default());
    let nobody = broker(LEADER, &asked, |_| Says::Record);
    net.listen(1, move |request| match request {
        Request::Fetch(_) => {
            let error_code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED.0;
            Some(Reply::Say(FetchResponse { error_code, ..Default::default() }.into()))
        }
        request => nobody(request),
    });
    let client = Client::connect_over(fake::config(&[1]), net.dial()).await.unwrap();
    let mut consumer = client.reader(ConsumerConfig::default(), vec![(TopicPartition::new("t", 0), Some(0))]).unwrap();
    let began = Instant::now();
    for _ in 0..10 {
        let error = tokio::time::timeout(PERIOD, consumer.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED));
        assert_eq!(error.broker.and_then(|at| at.id), Some(LEADER));
    }
    assert!(began.elapsed() >= 9 * REFUSED_PAUSE && net.asked(None, "Fetch") <= 11);
}

/// What keeps a partition from being read is said for as long as it lasts, without any hurry.
#[tokio::test(start_paused = true)]
async fn a_partition_without_a_place_to_begin_is_told_of_again() {
    let (net, asked) = (Arc::new(Net::default()), Asked::default());
    net.listen(1, broker(LEADER, &asked, |_| Says::Record));
    let client = Client::connect_over(fake::config(&[1]), net.dial()).await.unwrap();
    let nowhere = ConsumerConfig { auto_offset_reset: OffsetReset::None, ..Default::default() };
    let of = TopicPartition::new("t", 0);
    let mut consumer = client.reader(nowhere, vec![(of.clone(), None)]).unwrap();
    let began = Instant::now();
    for _ in 0..10 {
        let error = tokio::time::timeout(PERIOD, consumer.next()).await.unwrap().unwrap().unwrap_err();
        assert!(error.to_string().contains("auto_offset_reset is none"), "{error}");
        assert_eq!(error.topic_partition, Some(of.clone()));
    }
    assert!(began.elapsed() >= 9 * REFUSED_PAUSE, "{:?}", began.elapsed());
    assert!(net.asked(None, "Metadata") <= 12 && asked.lock().unwrap().is_empty());
    consumer.close(PERIOD).await.unwrap();
}

/// One that is over its share makes the broker wait less, so that it is asked for soon again; not if that is not wanted.
#[tokio::test(start_paused = true)]
async fn what_is_paused_does_not_hurry_the_others() {
    let (net, asked) = (Arc::new(Net::default()), Asked::default());
    let knows = broker(LEADER, &asked, |_| Says::Record);
    let waits = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&waits);
    net.listen(1, move |request| match request {
        Request::Metadata(_) => {
            let topic = fake::topic("t", &[(LEADER, 0), (LEADER, 0)]);
            Some(Reply::Say(fake::cluster(&[1], vec![topic]).into()))
        }
        Request::Fetch(it) => {
            heard.lock().unwrap().push(it.max_wait_ms);
            let wait = Duration::from_millis(it.max_wait_ms.unsigned_abs().into());
            let wanted = it.topics.iter().flat_map(|topic| &topic.partitions);
            let first = wanted.into_iter().any(|it| (it.partition, it.fetch_offset) == (0, 0));
            let nothing = Reply::SayAfter(wait, FetchResponse::default().into());
            Some(if first { Reply::Say(fetched(Says::Record, 0)) } else { nothing })
        }
        request => knows(request),
    });
    let client = Client::connect_over(fake::config(&[1]), net.dial()).await.unwrap();
    // A share is less than the one record.
    let reading =
        ConsumerConfig { memory_bytes: 200, partition_max_bytes: 100, fetch_max_wait: PERIOD, ..Default::default() };
    let of = |partition| TopicPartition::new("t", partition);
    let mut consumer = client.reader(reading, vec![(of(0), Some(0)), (of(1), Some(0))]).unwrap();
    let held = tokio::time::timeout(PERIOD, consumer.next()).await.unwrap().unwrap().unwrap();
    assert!(tokio::time::timeout(PERIOD, consumer.next()).await.is_err());
    let (long, short) = (PERIOD.as_millis() as i32, WAIT_WHILE_FULL.as_millis() as i32);
    assert_eq!(waits.lock().unwrap().last(), Some(&short));
    consumer.pause(&[of(0)]).unwrap();
    assert!(tokio::time::timeout(PERIOD, consumer.next()).await.is_err());
    assert_eq!(waits.lock().unwrap().last(), Some(&long));
    held.finish();
}

/// Who commits nothing and leaves no group keeps no time for it.
#[tokio::test(start_paused = true)]
async fn who_commits_nothing_waits_for_what_is_out_as_long_as_there_is_time() {
    let (grace, seconds) = (Duration::from_secs(8), Duration::from_secs);
    for of_group in [false, true] {
        // When what is out is finished, and when the consumer is closed.
        for (finished, closed) in [(Some(seconds(7)), seconds(7)), (None, grace)] {
            let (net, asked) = (Arc::new(Net::default()), Asked::default());
            net.listen(1, broker(LEADER, &asked, |_| Says::Record));
            let client = Client::connect_over(fake::config(&[1]), net.dial()).await.unwrap();
            let reading = ConsumerConfig { group_id: "g".to_owned(), auto_commit: false, ..Default::default() };
            let given = vec![(TopicPartition::new("t", 0), Some(0))];
            let mut consumer = match of_group {
                true => client.assign(reading, given).unwrap(),
                false => client.reader(reading, given).unwrap(),
            };
            let out = tokio::time::timeout(PERIOD * 2, consumer.next()).await.unwrap().unwrap().unwrap();
            let began = Instant::now();
            let finish = async {
                tokio::time::sleep(finished.unwrap_or(PERIOD)).await;
                out.finish();
            };
            let close = async { (consumer.close(grace).await, began.elapsed()) };
            let ((outcome, took), ()) = tokio::join!(close, finish);
            assert_eq!(outcome.is_err_and(|error| error.is_timeout()), finished.is_none(), "{of_group}");
            assert_eq!(took.as_secs(), closed.as_secs(), "{of_group}");
        }
    }
}

/// A close that nobody waits for any more is over when its time is.
#[tokio::test(start_paused = true)]
async fn a_close_that_was_dropped_is_carried_out_in_its_time() {
    let (net, asked) = (Arc::new(Net::default()), Asked::default());
    net.listen(1, broker(LEADER, &asked, |_| Says::Record));
    let client = Client::connect_over(fake::config(&[1]), net.dial()).await.unwrap();
    let given = vec![(TopicPartition::new("t", 0), Some(0))];
    let mut consumer = client.reader(ConsumerConfig::default(), given).unwrap();
    let _leaked = tokio::time::timeout(PERIOD * 2, consumer.next()).await.unwrap().unwrap().unwrap();
    let (grace, began) = (Duration::from_secs(8), Instant::now());
    assert!(tokio::time::timeout(Duration::from_secs(1), consumer.close(grace)).await.is_err());
    assert!(tokio::time::timeout(PERIOD, consumer.next()).await.unwrap().is_none());
    assert_eq!(began.elapsed().as_secs(), grace.as_secs());
    assert!(consumer.close(grace).await.is_err_and(|error| error.is_timeout()), "some of it was given up");
}
