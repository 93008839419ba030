//! The broker as a client sees it: real sockets, our own messages.

use std::net::SocketAddr;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::protocol::api::{Api, Request, Response, decode_response_header, encode_request_frame};
use crate::protocol::batch::{BatchBuilder, Compression, ProducerStamp};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::*;
use crate::protocol::types::{Offset, TopicPartition, Uuid};

struct Client(TcpStream);

impl Client {
    async fn connect(address: SocketAddr) -> Client {
        Client(TcpStream::connect(address).await.unwrap())
    }

    async fn to(broker: &DevBroker) -> Client {
        Client::connect(broker.address(1).unwrap()).await
    }

    async fn send(&mut self, correlation_id: i32, version: i16, request: impl Into<Request>) {
        let mut out = BytesMut::new();
        encode_request_frame(correlation_id, version, Some(&"test".into()), &request.into(), &mut out).unwrap();
        self.0.write_all(&out).await.unwrap();
    }

    /// The next answer without its length; `None` when the broker hung up.
    async fn frame(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).await.ok()?;
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).await.ok()?;
        Some(frame.into())
    }

    async fn answer(&mut self, key: i16, version: i16) -> Option<(i32, Response)> {
        let mut frame = self.frame().await?;
        let correlation_id = decode_response_header(key, version, &mut frame).unwrap();
        Some((correlation_id, Response::decode(key, version, frame).unwrap()))
    }

    async fn try_call<R: Api>(&mut self, version: i16, request: R) -> Option<R::Response> {
        self.send(7, version, request).await;
        let (correlation_id, response) = self.answer(R::KEY, version).await?;
        assert_eq!(correlation_id, 7);
        R::response(response)
    }

    async fn call<R: Api>(&mut self, version: i16, request: R) -> R::Response {
        self.try_call(version, request).await.expect("the broker hung up")
    }

    async fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let config =
            |(name, value): &(&str, &str)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) };
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        };
        let response = self.call(7, CreateTopicsRequest { topics: vec![topic], ..Default::default() }).await;
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
        response.topics[0].topic_id
    }

    async fn produce(&mut self, topic: &str, partition: i32, records: Bytes) -> PartitionProduceResponse {
        let response = self.call(12, produce_request(topic, partition, -1, records)).await;
        response.responses[0].partition_responses[0].clone()
    }

    async fn fetch(&mut self, topic: &str, partition: i32, offset: Offset, max_wait_ms: i32) -> PartitionData {
        let response = self.call(12, fetch_request(topic, partition, offset, max_wait_ms)).await;
        response.responses[0].partitions[0].clone()
    }

    async fn list(&mut self, topic: &str, timestamp: i64) -> (i16, Offset, i64) {
        let partitions = vec![ListOffsetsPartition { timestamp, ..Default::default() }];
        let topics = vec![ListOffsetsTopic { name: topic.into(), partitions }];
        let response = self.call(10, ListOffsetsRequest { replica_id: -1, topics, ..Default::default() }).await;
        let row = &response.topics[0].partitions[0];
        (row.error_code, row.offset, row.timestamp)
    }
}

fn produce_request(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let partition_data = vec![PartitionProduceData { index: partition, records: Some(records) }];
    let topic_data = vec![TopicProduceData { name: topic.into(), partition_data, ..Default::default() }];
    ProduceRequest { acks, timeout_ms: 1000, topic_data, ..Default::default() }
}

fn fetch_request(topic: &str, partition: i32, offset: Offset, max_wait_ms: i32) -> FetchRequest {
    let partitions =
        vec![FetchPartition { partition, fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() }];
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic { topic: topic.into(), partitions, ..Default::default() }],
        ..Default::default()
    }
}

/// One record a time given; keys and values say which.
fn records(times: &[i64]) -> Bytes {
    stamped(times, None)
}

fn stamped(times: &[i64], stamp: Option<ProducerStamp>) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for time in times {
        builder.push(*time, Some(b"key"), Some(b"value"), &[]).unwrap();
    }
    let mut batch = builder.finish().unwrap();
    batch.stamp(stamp);
    batch.bytes().clone()
}

async fn in_memory() -> DevBroker {
    DevBroker::start(Config::default()).await.unwrap()
}

fn kept_in(directory: &Path, fsync: Fsync) -> Config {
    Config { data_dir: Some(directory.to_owned()), fsync, ..Config::default() }
}

fn code(error: ErrorCode) -> i16 {
    error.into()
}

#[tokio::test]
async fn answers_are_in_the_order_of_requests() {
    let broker = in_memory().await;
    let mut client = Client::to(&broker).await;
    client.create("t", 1, &[]).await;
    // A long poll, and behind it what could be answered at once.
    client.send(1, 12, fetch_request("t", 0, 0, 50)).await;
    client.send(2, 12, MetadataRequest::default()).await;
    client
        .send(
            3,
            4,
            ApiVersionsRequest {
                client_software_name: "a".into(),
                client_software_version: "1".into(),
                ..Default::default()
            },
        )
        .await;
    assert_eq!(client.answer(1, 12).await.unwrap().0, 1);
    assert_eq!(client.answer(3, 12).await.unwrap().0, 2);
    assert_eq!(client.answer(18, 4).await.unwrap().0, 3);
}

#[tokio::test]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let broker = in_memory().await;
    let mut client = Client::to(&broker).await;
    // Key 18, version 99, correlation id 5, a client id of null, no tagged fields.
    client.0.write_all(&[0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xff, 0]).await.unwrap();
    let (correlation_id, response) = client.answer(18, 0).await.unwrap();
    let Response::ApiVersions(response) = response else { panic!("{response:?}") };
    assert_eq!((correlation_id, response.error_code), (5, code(ErrorCode::UNSUPPORTED_VERSION)));
    assert_eq!(response.api_keys.iter().map(|row| (row.api_key, row.max_version)).collect::<Vec<_>>(), [(18, 4)]);
    // And the connection goes on.
    assert_eq!(client.call(0, ApiVersionsRequest::default()).await.error_code, 0);
}

#[tokio::test]
async fn what_is_advertised_is_served_and_the_other_way_round() {
    let broker = in_memory().await;
    let advertised = Client::to(&broker).await.call(0, ApiVersionsRequest::default()).await.api_keys;
    for row in &advertised {
        let ours = crate::protocol::api::api(row.api_key).unwrap();
        assert!(row.api_key == 0 || ours.versions.contains(&row.min_version), "{} from {}", ours.name, row.min_version);
        assert!(ours.versions.contains(&row.max_version), "{} to {}", ours.name, row.max_version);
    }
    assert!(advertised.windows(2).all(|pair| pair[0].api_key < pair[1].api_key));
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    let broker = in_memory().await;
    let cases: [(&str, &[u8]); 7] = [
        ("a negative length", &[0xff, 0xff, 0xff, 0xff]),
        ("an enormous length", &[0x7f, 0xff, 0xff, 0xff, 0, 0]),
        ("a length too small for a header", &[0, 0, 0, 3, 1, 2, 3]),
        ("http", b"GET / HTTP/1.1\r\n\r\n"),
        ("an unknown API", &[0, 0, 0, 10, 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        ("a version that is not served", &[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff]),
        (
            "a body that lies about its length",
            &[0, 0, 0, 14, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
        ),
    ];
    for (name, bytes) in cases {
        let mut client = Client::to(&broker).await;
        client.0.write_all(bytes).await.unwrap();
        assert_eq!(client.frame().await, None, "{name}");
    }
    assert_eq!(Client::to(&broker).await.call(0, ApiVersionsRequest::default()).await.error_code, 0);
}

#[tokio::test]
async fn records_come_back_as_they_were_produced() {
    let broker = in_memory().await;
    let mut client = Client::to(&broker).await;
    client.create("t", 2, &[]).await;
    let first = client.produce("t", 1, records(&[10, 30, 20])).await;
    let second = client.produce("t", 1, records(&[40])).await;
    assert_eq!([first.error_code, second.error_code], [0, 0]);
    assert_eq!([first.base_offset, second.base_offset], [0, 3]);
    let data = client.fetch("t", 1, 1, 0).await;
    assert_eq!((data.error_code, data.high_watermark, data.log_start_offset), (0, 4, 0));
    let read: Vec<(Offset, i64)> = crate::protocol::batch::batches(data.records.unwrap())
        .flat_map(|batch| {
            batch
                .unwrap()
                .records(1 << 20)
                .unwrap()
                .iter()
                .map(|it| it.unwrap())
                .map(|it| (it.offset, it.timestamp_ms))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(read, [(0, 10), (1, 30), (2, 20), (3, 40)]);
    assert_eq!(client.fetch("t", 1, 5, 0).await.error_code, code(ErrorCode::OFFSET_OUT_OF_RANGE));
    assert_eq!(client.fetch("t", 9, 0, 0).await.error_code, code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

#[tokio::test]
async fn offsets_are_listed_by_every_spec() {
    let broker = in_memory().await;
    let mut client = Client::to(&broker).await;
    client.create("t", 1, &[]).await;
    assert_eq!(client.list("t", -3).await, (0, -1, -1), "no largest timestamp in an empty log");
    client.produce("t", 0, records(&[10, 30, 20])).await;
    client.produce("t", 0, records(&[5, 25])).await;
    let cases = [
        (-1, (0, 5, -1)),
        (-2, (0, 0, -1)),
        (-3, (0, 1, 30)),
        (-4, (0, 0, -1)),
        (-5, (0, -1, -1)),
        (-6, (code(ErrorCode::UNSUPPORTED_VERSION), -1, -1)), // version 11
        (0, (0, 0, 10)),
        (11, (0, 1, 30)),
        (30, (0, 1, 30)),
        (31, (0, -1, -1)),
    ];
    for (timestamp, expected) in cases {
        assert_eq!(client.list("t", timestamp).await, expected, "{timestamp}");
    }
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 2 }];
    let topics = vec![DeleteRecordsTopic { name: "t".into(), partitions }];
    let deleted = client.call(2, DeleteRecordsRequest { topics, ..Default::default() }).await;
    assert_eq!(deleted.topics[0].partitions[0].low_watermark, 2);
    assert_eq!(client.list("t", 11).await, (0, 2, 20), "the batch still holds what was deleted");
    assert_eq!(client.list("t", 21).await, (0, 4, 25));
    assert_eq!(client.list("t", -2).await.1, 2);
    assert_eq!(client.fetch("t", 0, 1, 0).await.error_code, code(ErrorCode::OFFSET_OUT_OF_RANGE));
}

#[tokio::test]
async fn a_waiting_fetch_is_woken_by_what_it_waits_for() {
    let broker = in_memory().await;
    let mut reader = Client::to(&broker).await;
    let mut writer = Client::to(&broker).await;
    writer.create("t", 1, &[]).await;
    reader.send(1, 12, fetch_request("t", 0, 0, 3_600_000)).await;
    writer.produce("t", 0, records(&[1])).await;
    let Some((1, Response::Fetch(response))) = reader.answer(1, 12).await else { panic!("no fetch") };
    assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
    // The end of the topic is news as well.
    reader.send(2, 12, fetch_request("t", 0, 1, 3_600_000)).await;
    writer.call(5, DeleteTopicsRequest { topic_names: vec!["t".into()], ..Default::default() }).await;
    let Some((2, Response::Fetch(response))) = reader.answer(1, 12).await else { panic!("no fetch") };
    assert_eq!(response.responses[0].partitions[0].error_code, code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_fetch_answers_when_its_time_is_over() {
    let broker = in_memory().await;
    let mut client = Client::to(&broker).await;
    client.create("t", 1, &[]).await;
    let data = client.fetch("t", 0, 0, 500_000).await;
    assert_eq!((data.error_code, data.high_watermark, data.records), (0, 0, Some(Bytes::new())));
}

#[tokio::test]
async fn a_retry_of_an_idempotent_producer_is_not_written_twice() {
    let broker = in_memory().await;
    let mut client = Client::to(&broker).await;
    client.create("t", 1, &[]).await;
    let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
    let first = client.call(5, request.clone()).await;
    let second = client.call(5, request).await;
    assert_eq!((first.error_code, first.producer_epoch), (0, 0));
    assert_ne!(first.producer_id, second.producer_id);
    let stamp = |epoch, sequence| {
        Some(ProducerStamp { producer_id: first.producer_id, producer_epoch: epoch, base_sequence: sequence })
    };
    let out_of_order = code(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let cases = [
        (stamp(0, 0), (0, 0)),
        (stamp(0, 2), (0, 2)),
        (stamp(0, 0), (0, 0)),
        (stamp(0, 5), (out_of_order, -1)),
        (stamp(0, 4), (0, 4)),
        (stamp(1, 0), (0, 6)),
        (stamp(0, 6), (code(ErrorCode::INVALID_PRODUCER_EPOCH), -1)),
    ];
    for (stamp, expected) in cases {
        let row = client.produce("t", 0, stamped(&[1, 1], stamp)).await;
        assert_eq!((row.error_code, row.base_offset), expected, "{stamp:?}");
    }
}

#[tokio::test]
async fn records_that_a_topic_cannot_take_are_refused() {
    let broker = in_memory().await;
    let mut client = Client::to(&broker).await;
    let now = clock::Clock::start().now().unix_ms;
    client.create("plain", 1, &[("max.message.bytes", "200")]).await;
    client.create("compacted", 1, &[("cleanup.policy", "compact")]).await;
    client.create("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut keyless = BatchBuilder::new(Compression::Gzip);
    keyless.push(now, Some(b"k"), None, &[]).unwrap();
    keyless.push(now, None, None, &[]).unwrap();
    let keyless = keyless.finish().unwrap().bytes().clone();
    let damaged = {
        let mut bytes = records(&[1]).to_vec();
        bytes[65] ^= 1;
        Bytes::from(bytes)
    };
    let twice = Bytes::from([&records(&[1])[..], &records(&[1])[..]].concat());
    let cases = [
        ("plain", records(&[1; 100]), ErrorCode::MESSAGE_TOO_LARGE, 0),
        ("plain", Bytes::new(), ErrorCode::INVALID_RECORD, 0),
        ("plain", damaged, ErrorCode::CORRUPT_MESSAGE, 0),
        ("plain", twice, ErrorCode::INVALID_RECORD, 0),
        ("plain", records(&[1, now + 7_200_000]), ErrorCode::INVALID_TIMESTAMP, 1),
        ("compacted", keyless, ErrorCode::INVALID_RECORD, 1),
        ("missing", records(&[1]), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, 0),
    ];
    for (topic, record_set, error, blamed) in cases {
        let row = client.produce(topic, 0, record_set).await;
        assert_eq!((row.error_code, row.base_offset), (code(error), -1), "{error:?}");
        let expected: Vec<i32> = if blamed > 0 { vec![blamed] } else { vec![] };
        assert_eq!(row.record_errors.iter().map(|it| it.batch_index).collect::<Vec<_>>(), expected, "{error:?}");
    }
    let row = client.produce("stamped", 0, records(&[1, 2])).await;
    assert!(row.log_append_time_ms >= now);
    assert_eq!(client.list("stamped", 3).await, (0, 0, row.log_append_time_ms));
}

#[tokio::test]
async fn without_acks_there_is_no_answer_and_an_error_hangs_up() {
    let broker = in_memory().await;
    let mut client = Client::to(&broker).await;
    client.create("t", 1, &[]).await;
    client.send(1, 12, produce_request("t", 0, 0, records(&[1]))).await;
    assert_eq!(client.list("t", -1).await, (0, 1, -1));
    client.send(2, 12, produce_request("t", 5, 0, records(&[1]))).await;
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn a_moved_leader_is_found_by_those_who_ask_again() {
    let broker = DevBroker::start(Config::with_brokers(3)).await.unwrap();
    let mut old = Client::to(&broker).await;
    let id = old.create("t", 1, &[]).await;
    old.produce("t", 0, records(&[1])).await;
    broker.move_leader(&TopicPartition::new("t", 0), 3).unwrap();
    let partitions = vec![FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() }];
    let request = FetchRequest {
        topics: vec![FetchTopic { topic_id: id, partitions, ..Default::default() }],
        ..fetch_request("t", 0, 0, 0)
    };
    let response = old.call(17, request).await;
    let data = &response.responses[0].partitions[0];
    assert_eq!(data.error_code, code(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    assert_eq!((data.current_leader.leader_id, data.current_leader.leader_epoch), (3, 1));
    let endpoint = &response.node_endpoints[0];
    let mut new = Client::connect(format!("{}:{}", endpoint.host, endpoint.port).parse().unwrap()).await;
    assert_eq!(new.produce("t", 0, records(&[2])).await.base_offset, 1);
    for (epoch, expected) in
        [(0, ErrorCode::FENCED_LEADER_EPOCH), (1, ErrorCode::NONE), (2, ErrorCode::UNKNOWN_LEADER_EPOCH)]
    {
        let mut request = fetch_request("t", 0, 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let response = new.call(12, request).await;
        assert_eq!(response.responses[0].partitions[0].error_code, code(expected), "epoch {epoch}");
    }
    let partitions = vec![OffsetForLeaderPartition { leader_epoch: 0, ..Default::default() }];
    let topics = vec![OffsetForLeaderTopic { topic: "t".into(), partitions }];
    let response = new.call(4, OffsetForLeaderEpochRequest { topics, ..Default::default() }).await;
    let row = &response.topics[0].partitions[0];
    assert_eq!((row.error_code, row.leader_epoch, row.end_offset), (0, 0, 1));
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    for fsync in [Fsync::Never, Fsync::Interval(Duration::from_millis(1)), Fsync::Always] {
        let directory = tempfile::tempdir().unwrap();
        let broker = DevBroker::start(kept_in(directory.path(), fsync)).await.unwrap();
        let mut client = Client::to(&broker).await;
        client.create("gone", 1, &[]).await;
        let id = client.create("t", 2, &[("retention.ms", "123")]).await;
        let producer_id =
            client.call(5, InitProducerIdRequest { transactional_id: None, ..Default::default() }).await.producer_id;
        let stamp = Some(ProducerStamp { producer_id, producer_epoch: 0, base_sequence: 0 });
        client.produce("t", 1, stamped(&[1, 2], stamp)).await;
        client.call(5, DeleteTopicsRequest { topic_names: vec!["gone".into()], ..Default::default() }).await;
        let cluster = client.call(12, MetadataRequest::default()).await.cluster_id;
        broker.stop().await.unwrap();

        let broker = DevBroker::start(kept_in(directory.path(), fsync)).await.unwrap();
        let mut client = Client::to(&broker).await;
        let metadata = client.call(12, MetadataRequest { topics: None, ..Default::default() }).await;
        assert_eq!(metadata.cluster_id, cluster);
        let topics: Vec<_> = metadata.topics.iter().map(|topic| (topic.topic_id, topic.partitions.len())).collect();
        assert_eq!(topics, [(id, 2)], "{fsync:?}");
        let retry = client.produce("t", 1, stamped(&[1, 2], stamp)).await;
        assert_eq!((retry.error_code, retry.base_offset), (0, 0), "{fsync:?}");
        assert_eq!(client.fetch("t", 1, 0, 0).await.high_watermark, 2, "{fsync:?}");
        let fresh = client.call(5, InitProducerIdRequest { transactional_id: None, ..Default::default() }).await;
        assert!(fresh.producer_id > producer_id, "{fsync:?}");
        broker.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_not_acknowledged_and_the_broker_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let broker = DevBroker::start(kept_in(directory.path(), Fsync::Never)).await.unwrap();
    let mut client = Client::to(&broker).await;
    client.create("t", 1, &[]).await;
    let partition = directory.path().join("topics/t-0");
    std::fs::remove_dir(&partition).unwrap();
    let row = client.produce("t", 0, records(&[1])).await;
    assert_eq!((row.error_code, row.base_offset), (code(ErrorCode::KAFKA_STORAGE_ERROR), -1));
    std::fs::create_dir(&partition).unwrap();
    assert_eq!(client.produce("t", 0, records(&[1])).await.base_offset, 0);
}

#[tokio::test]
async fn a_start_that_cannot_be_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let broker = DevBroker::start(kept_in(directory.path(), Fsync::Never)).await.unwrap();
    let locked = DevBroker::start(kept_in(directory.path(), Fsync::Never)).await.unwrap_err();
    assert!(matches!(locked, Error::Locked { .. }), "{locked}");
    let brokers = vec![BrokerConfig::new(1, broker.address(1).unwrap())];
    let taken = DevBroker::start(Config { brokers, ..Config::default() }).await.unwrap_err();
    assert!(matches!(taken, Error::Listen { .. }), "{taken}");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let unusable = DevBroker::start(kept_in(&file, Fsync::Never)).await.unwrap_err();
    assert!(matches!(unusable, Error::Directory { .. }), "{unusable}");
    broker.stop().await.unwrap();
    DevBroker::start(kept_in(directory.path(), Fsync::Never)).await.unwrap();
}

#[tokio::test]
async fn faults_do_what_they_say_so_many_times_and_requests_are_counted() {
    let broker = in_memory().await;
    let faults = broker.faults();
    let mut client = Client::to(&broker).await;
    client.create("t", 1, &[]).await;
    client.create("other", 1, &[]).await;

    faults.inject(Matching::api(0).topic("t"), 1, Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(client.produce("other", 0, records(&[1])).await.error_code, 0);
    assert_eq!(client.produce("t", 0, records(&[1])).await.error_code, code(ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(client.produce("t", 0, records(&[1])).await.base_offset, 0, "nothing was written before");
    assert_eq!(faults.count(0), 3);

    faults.inject(Matching::any().broker(9), 1, Fault::Disconnect);
    faults.inject(Matching::api(3), 1, Fault::Split(1));
    assert_eq!(client.call(12, MetadataRequest { topics: None, ..Default::default() }).await.topics.len(), 2);
    assert_eq!(faults.waiting(), 1, "there is no broker 9");
    faults.clear();

    let produce = |client: Client| async move {
        let mut client = client;
        client.try_call(12, produce_request("t", 0, -1, records(&[1]))).await.is_some()
    };
    for (fault, written) in [(Fault::Disconnect, 1), (Fault::DisconnectAfter, 2), (Fault::Truncate(6), 3)] {
        faults.inject(Matching::api(0), 1, fault.clone());
        assert!(!produce(Client::to(&broker).await).await, "{fault:?}");
        assert_eq!(Client::to(&broker).await.list("t", -1).await.1, written, "{fault:?}");
    }
    faults.reset_counts();
    assert_eq!(faults.requests(), []);
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_taken_from_the_clock() {
    let broker = in_memory().await;
    broker.faults().inject(Matching::api(3), 1, Fault::Delay(Duration::from_secs(100)));
    let before = tokio::time::Instant::now();
    Client::to(&broker).await.call(12, MetadataRequest::default()).await;
    assert!(before.elapsed() >= Duration::from_secs(100));
}

#[tokio::test]
async fn an_incremental_fetch_names_only_what_is_new() {
    let broker = in_memory().await;
    let mut client = Client::to(&broker).await;
    client.create("t", 2, &[]).await;
    client.produce("t", 0, records(&[1])).await;
    let partition = |partition, fetch_offset| FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1000,
        ..Default::default()
    };
    let session = |id, epoch, partitions: Vec<FetchPartition>| {
        let topics = if partitions.is_empty() {
            vec![]
        } else {
            vec![FetchTopic { topic: "t".into(), partitions, ..Default::default() }]
        };
        FetchRequest {
            session_id: id,
            session_epoch: epoch,
            topics,
            max_wait_ms: 0,
            max_bytes: 1000,
            ..Default::default()
        }
    };
    let named = |response: &FetchResponse| -> Vec<i32> {
        response.responses.iter().flat_map(|topic| &topic.partitions).map(|it| it.partition_index).collect()
    };
    let full = client.call(12, session(0, 0, vec![partition(0, 0), partition(1, 0)])).await;
    assert_eq!(named(&full), [0, 1]);
    let id = full.session_id;
    assert!(id > 0);
    let moved = client.call(12, session(id, 1, vec![partition(0, 1)])).await;
    assert_eq!(named(&moved), [] as [i32; 0]);
    client.produce("t", 1, records(&[1])).await;
    let news = client.call(12, session(id, 2, vec![])).await;
    assert_eq!((news.session_id, named(&news)), (id, vec![1]));
    let stale = client.call(12, session(id, 2, vec![])).await;
    assert_eq!(stale.error_code, code(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
}

#[tokio::test]
async fn topics_are_created_on_demand_only_if_allowed() {
    for allowed in [true, false] {
        let broker =
            DevBroker::start(Config { auto_create_topics: allowed, default_partitions: 4, ..Config::default() })
                .await
                .unwrap();
        let mut client = Client::to(&broker).await;
        let ask = |name: &str| {
            let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
            MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: true, ..Default::default() }
        };
        let first = client.call(12, ask("t")).await.topics[0].error_code;
        let second = client.call(12, ask("t")).await.topics[0].clone();
        let unknown = code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        let partitions = if allowed { 4 } else { 0 };
        assert_eq!((first, second.partitions.len()), (unknown, partitions), "{allowed}");
        let bad = client.call(12, ask("no/such")).await.topics[0].error_code;
        assert_eq!(bad, code(ErrorCode::INVALID_TOPIC_EXCEPTION), "{allowed}");
    }
}

#[tokio::test]
async fn topics_that_cannot_be_are_refused() {
    let broker = DevBroker::start(Config::with_brokers(2)).await.unwrap();
    let mut client = Client::to(&broker).await;
    client.create("a.b", 1, &[]).await;
    let topic = |name: &str, num_partitions, replication_factor| CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor,
        ..Default::default()
    };
    let assigned = |ids: &[&[i32]]| CreatableTopic {
        assignments: (0..)
            .zip(ids)
            .map(|(partition_index, ids)| CreatableReplicaAssignment { partition_index, broker_ids: ids.to_vec() })
            .collect(),
        ..topic("t", -1, -1)
    };
    let config = |name: &str, value: &str| CreatableTopic {
        configs: vec![CreatableTopicConfig { name: name.into(), value: Some(value.into()) }],
        ..topic("t", 1, 1)
    };
    let cases = [
        (topic("a.b", 1, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        (topic("a_b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("../../etc", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (topic("t", 0, 1), ErrorCode::INVALID_PARTITIONS),
        (topic("t", -2, 1), ErrorCode::INVALID_PARTITIONS),
        (topic("t", i32::MAX, 1), ErrorCode::POLICY_VIOLATION),
        (topic("t", 1, 3), ErrorCode::INVALID_REPLICATION_FACTOR),
        (topic("t", 1, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (assigned(&[&[1], &[7]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[&[1, 1]]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (config("retention.ms", "soon"), ErrorCode::INVALID_CONFIG),
        (config("no.such.config", "1"), ErrorCode::INVALID_CONFIG),
        (assigned(&[&[2, 1], &[1, 2]]), ErrorCode::NONE),
    ];
    for (topic, expected) in cases {
        let response = client.call(7, CreateTopicsRequest { topics: vec![topic.clone()], ..Default::default() }).await;
        assert_eq!(response.topics[0].error_code, code(expected), "{topic:?}");
    }
    let only_checked =
        CreateTopicsRequest { topics: vec![topic("u", 3, 2)], validate_only: true, ..Default::default() };
    let row = client.call(7, only_checked).await.topics[0].clone();
    assert_eq!((row.error_code, row.num_partitions, row.replication_factor), (0, 3, 2));
    let names = client.call(12, MetadataRequest { topics: None, ..Default::default() }).await.topics;
    assert_eq!(names.iter().filter_map(|topic| topic.name.as_deref()).collect::<Vec<_>>(), ["a.b", "t"]);
}
