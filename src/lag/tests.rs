//! Monitors over a dev broker and a Redis of their own, both of which lose what they had.

mod oracle;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::store::redises::redis_of_tests;
use super::{Break, Config, Monitor, Round};
use crate::client::{Client, ClientConfig, NewTopic, Producer, ProducerConfig, ProducerRecord, Topic, TopicPartition};
use crate::devbroker::{self, BrokerConfig, DevBroker};
use crate::protocol::api::Body;
use crate::protocol::messages::OffsetForLeaderEpochRequest;

const WITHIN: Duration = Duration::from_secs(30);

async fn client(broker: &DevBroker) -> Client {
    let bootstrap_servers = vec![broker.bootstrap_servers()];
    Client::connect(ClientConfig { bootstrap_servers, ..ClientConfig::default() }).await.unwrap()
}

/// A topic, and a group that has committed 0 everywhere.
async fn set_up(client: &Client, partitions: i32) {
    client.admin().create_topics(&[NewTopic::new("t").partitions(partitions)]).await.unwrap();
    let offsets: Vec<_> = (0..partitions).map(|at| (TopicPartition::new("t", at), 0.into())).collect();
    client.admin().alter_offsets("g", &offsets).await.unwrap();
}

async fn produce(producer: &Producer, partitions: i32) {
    let topic = Topic::from("t");
    let record = |at| ProducerRecord { partition: Some(at), ..ProducerRecord::new(&topic, b"x") };
    let sent = futures::future::join_all((0..partitions).map(|at| producer.send(record(at)))).await;
    assert!(sent.iter().all(Result::is_ok), "{:?}", sent.iter().find(|it| it.is_err()));
}

/// A Redis that keeps nothing, and is killed when dropped.
struct Redis(Child);

impl Redis {
    async fn start(port: u16) -> Self {
        let arguments = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let child = Command::new("redis-server").args(arguments).stdout(Stdio::null()).kill_on_drop(true).spawn();
        let redis = Self(child.expect("redis-server is installed"));
        let until = Instant::now() + WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < until, "Redis does not begin");
            sleep(Duration::from_millis(20)).await;
        }
        redis
    }

    async fn call(port: u16, call: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(format!("{call}\r\n").as_bytes()).await.unwrap();
        stream.read_u8().await.unwrap();
    }
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Stands before a Redis, and once told to, kills it (SIGKILL) after the first kilobytes of a pipeline have reached it.
async fn killer(port: u16, redis: Arc<Mutex<Option<Redis>>>) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, is_armed) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    let armed = Arc::clone(&is_armed);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (redis, armed) = (Arc::clone(&redis), Arc::clone(&armed));
            tokio::spawn(async move {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.into_split(), far.into_split());
                tokio::spawn(async move { copy(&mut from_far, &mut to_near).await });
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = from_near.read(&mut bytes).await {
                    if to_far.write_all(&bytes[..count]).await.is_err() {
                        return;
                    }
                    if count == bytes.len() && armed.swap(false, Ordering::Relaxed) {
                        if let Some(Redis(mut child)) = redis.lock().await.take() {
                            child.kill().await.unwrap();
                        }
                        return;
                    }
                }
            });
        }
    });
    (address, is_armed)
}

/// How many samples a monitor has after its first round: those of the store, and one a partition.
async fn samples_after_a_start(config: &Config, client: &Client) -> usize {
    Monitor::new(config, client).round().await.unwrap().cost.history_samples
}

#[tokio::test]
async fn a_redis_that_is_killed_in_the_midst_of_a_pipeline_is_filled_again() {
    const PARTITIONS: i32 = 300;
    if redis_of_tests().is_none() {
        return;
    }
    let port = free_port().await;
    let redis = Arc::new(Mutex::new(Some(Redis::start(port).await)));
    let (address, is_armed) = killer(port, Arc::clone(&redis)).await;
    let broker = DevBroker::start(devbroker::Config::with_brokers(1)).await.unwrap();
    let client = client(&broker).await;
    set_up(&client, PARTITIONS).await;
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let config = Config { redis: Some(format!("redis://{address}").as_str().into()), ..Config::default() };
    let mut monitor = Monitor::new(&config, &client);
    let mut round = async |wanted: bool, what: &str| -> Round {
        produce(&producer, PARTITIONS).await;
        let round = timeout(WITHIN, monitor.round()).await.unwrap().unwrap();
        assert_eq!((round.row_count(), round.unknown()), (PARTITIONS as usize, 0), "{what}");
        assert_eq!(
            (round.cost.store_answers, round.failures.is_empty()),
            (Some(wanted), wanted),
            "{what}: {:?}",
            round.failures
        );
        round
    };
    round(true, "before").await;
    round(true, "before").await;

    is_armed.store(true, Ordering::Relaxed);
    round(false, "in the midst").await;
    assert!(redis.lock().await.is_none(), "it was killed");
    round(false, "away").await;
    *redis.lock().await = Some(Redis::start(port).await);
    let samples = round(true, "back").await.cost.history_samples;
    assert_eq!(samples, 5 * PARTITIONS as usize);
    assert_eq!(samples_after_a_start(&config, &client).await, samples + PARTITIONS as usize, "all was written back");

    Redis::call(port, "FLUSHALL").await;
    let samples = round(true, "emptied").await.cost.history_samples;
    assert_eq!(samples_after_a_start(&config, &client).await, samples + PARTITIONS as usize, "all was written back");
    producer.close(WITHIN).await.unwrap();
    broker.stop().await.unwrap();
}

/// The file that a dev broker keeps the only partition's records in.
fn log_file(directory: &Path) -> Option<PathBuf> {
    std::fs::read_dir(directory).ok()?.flatten().find_map(|entry| match entry.path() {
        path if path.is_dir() => log_file(&path),
        path => Some(path).filter(|path| path.ends_with("00000000000000000000.log")),
    })
}

/// As in an unclean election: the log is cut, another leads, and what was lost is made up for before anybody looks.
#[tokio::test]
async fn a_truncation_that_was_made_up_for_is_seen_by_the_leader_epoch() {
    let directory = tempfile::tempdir().unwrap();
    let config = |data_dir: &Path| devbroker::Config {
        data_dir: Some(data_dir.to_owned()),
        ..devbroker::Config::with_brokers(2)
    };
    let broker = DevBroker::start(config(directory.path())).await.unwrap();
    let addresses: Vec<SocketAddr> = broker.bootstrap_servers().split(',').map(|it| it.parse().unwrap()).collect();
    let watching = client(&broker).await;
    set_up(&watching, 1).await;
    let partition = TopicPartition::new("t", 0);
    let produce_some = async |broker: &DevBroker, count: usize| {
        let producer = client(broker).await.producer(ProducerConfig::default()).unwrap();
        for _ in 0..count {
            produce(&producer, 1).await;
        }
        producer.close(WITHIN).await.unwrap();
    };
    produce_some(&broker, 10).await;
    let mut monitor = Monitor::new(&Config::default(), &watching);
    assert_eq!(monitor.round().await.unwrap().worst().map(|worst| worst.records), Some(10));

    // Another leads, and has everything.
    let led_by = |round: &Round| round.cluster.leader(&partition).map(|leader| leader.broker);
    let before = led_by(&monitor.round().await.unwrap());
    broker.move_leader(&partition, if before == Some(1) { 2 } else { 1 }).unwrap();
    produce_some(&broker, 5).await;
    for _ in 0..2 {
        let round = monitor.round().await.unwrap();
        assert_eq!((round.breaks.of(Break::Truncated), round.worst().map(|it| it.records)), (0, Some(15)), "{round:?}");
    }
    assert_eq!(broker.faults().count(OffsetForLeaderEpochRequest::KEY), 1, "once for an epoch");
    broker.stop().await.unwrap();

    let log = log_file(directory.path()).expect("a log");
    let cut = std::fs::OpenOptions::new().write(true).open(&log).unwrap();
    cut.set_len(cut.metadata().unwrap().len() / 2).unwrap();
    let brokers = (1..).zip(&addresses).map(|(id, listen)| BrokerConfig::new(id, *listen)).collect();
    let broker = DevBroker::start(devbroker::Config { brokers, ..config(directory.path()) }).await.unwrap();
    broker.move_leader(&partition, before.unwrap_or(1)).unwrap();
    produce_some(&broker, 20).await;
    let round = monitor.round().await.unwrap();
    assert_eq!(round.breaks.of(Break::Truncated), 1, "{round:?}");
    assert!(round.worst().is_some_and(|it| it.records > 15), "more than there was: {round:?}");
    assert_eq!(monitor.round().await.unwrap().breaks.of(Break::Truncated), 1);
    broker.stop().await.unwrap();
}
