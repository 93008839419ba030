//! The machine by scripts, and whole transactions against the dev broker, in both protocols.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::client::cluster::To;
use crate::client::lane::Lane;
use crate::client::producer::ProducerConfig;
use crate::client::producer::line::Identity;
use crate::client::tests::quick_to_reconnect;
use crate::client::{
    Client, ClientConfig, Consumer, ConsumerConfig, ErrorCode, GroupProtocol, IsolationLevel, OffsetReset, Topic,
};
use crate::devbroker::{self, ConsumerGroupConfig, DevBroker, Fault, GroupConfig, Matching};
use crate::protocol::api::Body;
use crate::protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ConsumerGroupHeartbeatRequest, DescribeTransactionsRequest,
    EndTxnRequest, InitProducerIdRequest, ProduceRequest, TxnOffsetCommitRequest,
};

/// A machine, and what it was asked and said.
#[derive(Default)]
struct Script {
    machine: Machine,
    asked: Option<Question>,
}

impl Script {
    /// One word of a script, and what comes of it, if that is worth a word.
    fn play(&mut self, word: &str) -> Option<String> {
        let (verb, object) = word.split_once(':').unwrap_or((word, ""));
        match verb {
            "begin" => return Some(begun(self.machine.begin())),
            "write" => {
                let may = self.machine.may_write(&TopicPartition::new("t", object.parse().expect("a partition")));
                return Some(if may { "may" } else { "not-yet" }.to_owned());
            }
            "offsets" => self.machine.commit_offsets(Arc::new(offsets())).expect("it is open"),
            "commit" => self.machine.end(Close::Commit),
            "abort" => self.machine.end(Close::Abort),
            "fail" => self.machine.fail(&Error::broker(ErrorCode::NOT_ENOUGH_REPLICAS)),
            "gave-up" => self.machine.gave_up(),
            "ask" | "ask-quiet" => {
                let question = self.machine.next(verb == "ask-quiet");
                let said = question.as_ref().map_or_else(|| "-".to_owned(), named);
                self.asked = question.or(self.asked.take());
                return Some(said);
            }
            "claimed-v1" | "claimed-v2" => {
                let reply = Reply::Identified { identity: identity(object), speaks_v2: verb == "claimed-v2" };
                self.answer(Ok(reply));
            }
            "done" => self.answer(Ok(Reply::Done)),
            "ended" => self.answer(Ok(Reply::Ended((!object.is_empty()).then(|| identity(object))))),
            "no" => self.answer(Err(refusal(object))),
            "lost" => self.answer(Err(Error::disconnected("lost"))),
            "outcome" => return Some(self.machine.ended().map_or_else(|| "-".to_owned(), outcome)),
            _ => panic!("{word} is no word of a script"),
        }
        None
    }

    fn answer(&mut self, answer: Result<Reply, Error>) {
        let question = self.asked.take().expect("a question");
        if !self.machine.answered(&question, answer) {
            self.asked = None;
        }
    }
}

/// A code, and the partition that it is about: `3@1`.
fn refusal(text: &str) -> Error {
    let (code, partition) = text.split_once('@').map_or((text, None), |(code, partition)| (code, Some(partition)));
    let error = Error::broker(ErrorCode(code.parse().expect("a code")));
    match partition {
        Some(partition) => error.at(TopicPartition::new("t", partition.parse().expect("a partition"))),
        None => error,
    }
}

fn begun(begun: Result<bool, Error>) -> String {
    match begun {
        Ok(true) => "open".to_owned(),
        Ok(false) => "wait".to_owned(),
        Err(error) => error.code().map_or_else(|| "refused".to_owned(), |code| format!("refused-{}", code.0)),
    }
}

fn outcome(ended: Result<(), Error>) -> String {
    match ended {
        Ok(()) => "well".to_owned(),
        Err(error) if error.is_aborted() => "aborted".to_owned(),
        Err(error) => format!("dead-{}", error.code().map_or(0, |code| code.0)),
    }
}

fn identity(text: &str) -> Identity {
    let (producer_id, epoch) = text.split_once('/').expect("an id and an epoch");
    Identity { producer_id: producer_id.parse().expect("an id"), epoch: epoch.parse().expect("an epoch") }
}

fn offsets() -> GroupOffsets {
    GroupOffsets { group: GroupMetadata::new("g"), positions: vec![position("t", 5)] }
}

/// A place in the topic's first partition.
fn position(topic: &str, offset: i64) -> Position {
    Position { topic_partition: TopicPartition::new(topic, 0), offset, leader_epoch: None }
}

fn named(question: &Question) -> String {
    let who = |identity: &Identity| format!("{}/{}", identity.producer_id, identity.epoch);
    match question {
        Question::Init(None) => "init".to_owned(),
        Question::Init(Some(identity)) => format!("init-{}", who(identity)),
        Question::AddPartitions(_, all) => {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            format!("add-{}", all.join(","))
        }
        Question::AddGroup(_, group) => format!("group-{group}"),
        Question::CommitOffsets(_, offsets) => format!("offsets-{}", offsets.group.group_id),
        Question::End(identity, Close::Commit) => format!("commit-{}", who(identity)),
        Question::End(identity, Close::Abort) => format!("abort-{}", who(identity)),
    }
}

fn check(name: &str, script: &str, expected: &str) {
    let mut machine = Script::default();
    let said: Vec<String> = script.split_whitespace().filter_map(|word| machine.play(word)).collect();
    assert_eq!(said.join(" "), expected.split_whitespace().collect::<Vec<_>>().join(" "), "{name}");
}

const V1: &str = "begin ask claimed-v1:9/0 begin ";
const V2: &str = "begin ask claimed-v2:9/0 begin ";

fn check_v1(name: &str, script: &str, expected: &str) {
    check(name, &format!("{V1}{script}"), &format!("wait init open {expected}"));
}

fn check_v2(name: &str, script: &str, expected: &str) {
    check(name, &format!("{V2}{script}"), &format!("wait init open {expected}"));
}

#[test]
fn the_first_protocol_tells_the_coordinator_before_it_writes() {
    check_v1(
        "all of it, and the next one under the same epoch",
        "write:0 write:3 ask done write:0 ask commit ask ask-quiet ended outcome begin write:0 ask",
        "not-yet not-yet add-t-0,t-3 may - - commit-9/0 well open not-yet add-t-0",
    );
    check_v1("one question at a time", "write:0 ask write:1 ask done ask", "not-yet add-t-0 not-yet - add-t-1");
    check_v1(
        "offsets after their group, and before the end",
        "offsets ask done ask commit ask-quiet done ask-quiet",
        "group-g offsets-g - commit-9/0",
    );
    check_v1("nothing to end", "commit ask-quiet outcome begin", "- well open");
    check_v1(
        "an abort that gave up nothing keeps the epoch",
        "write:0 ask done abort ask-quiet ended outcome begin",
        "not-yet add-t-0 abort-9/0 well open",
    );
    check_v1(
        "a gap is closed by the next epoch",
        "write:0 ask done fail gave-up commit ask-quiet ended outcome begin ask claimed-v1:9/1 begin",
        "not-yet add-t-0 abort-9/0 aborted wait init-9/0 open",
    );
}

#[test]
fn what_the_coordinator_may_have_heard_is_told_again_before_an_abort() {
    check_v1(
        "a partition",
        "write:0 ask lost abort ask-quiet ask-quiet done ask-quiet ended ask claimed-v1:9/1 outcome begin",
        "not-yet add-t-0 add-t-0 - abort-9/0 init-9/0 well open",
    );
    check_v1(
        "a partition, after a record was given up",
        "write:0 ask lost fail gave-up commit ask lost ask done ask-quiet ended ask claimed-v1:9/1 outcome",
        "not-yet add-t-0 add-t-0 add-t-0 abort-9/0 init-9/0 aborted",
    );
    check_v1(
        "two, of which one is new",
        "write:0 ask write:1 lost ask lost abort ask done ask-quiet",
        "not-yet add-t-0 not-yet add-t-0,t-1 add-t-0,t-1 abort-9/0",
    );
    check_v1("a group", "offsets ask lost abort ask done ask-quiet", "group-g group-g abort-9/0");
    check_v1(
        "a group and a partition, of which one may not be told any more",
        "offsets ask lost write:0 ask lost abort ask no:29 ask done ask-quiet",
        "group-g not-yet add-t-0 add-t-0 group-g abort-9/0",
    );
}

#[test]
fn a_refusal_leaves_what_was_told_before_in_doubt() {
    check_v1(
        "a partition, and one more that may not be written to",
        "write:0 ask lost write:1 ask no:29 commit ask done ask-quiet ended ask claimed-v1:9/1 outcome",
        "not-yet add-t-0 not-yet add-t-0,t-1 add-t-0 abort-9/0 init-9/0 aborted",
    );
    check_v1(
        "a group, and a partition that may not be written to",
        "offsets ask lost write:0 ask no:29 abort ask done ask-quiet",
        "group-g not-yet add-t-0 group-g abort-9/0",
    );
    check_v1(
        "the same partition, of which the coordinator knew",
        "write:0 ask lost abort ask no:29 ask-quiet ended ask claimed-v1:9/1 outcome begin",
        "not-yet add-t-0 add-t-0 abort-9/0 init-9/0 well open",
    );
    check_v1(
        "the same partition, of which it did not",
        "write:0 ask lost abort ask no:29 ask-quiet no:48 ask claimed-v1:9/1 outcome begin",
        "not-yet add-t-0 add-t-0 abort-9/0 init-9/0 well open",
    );
    check_v1(
        "the same partition, of which it did not, after a record was given up",
        "write:0 ask lost fail gave-up commit ask no:29 ask-quiet no:48 ask claimed-v1:9/1 outcome begin",
        "not-yet add-t-0 add-t-0 abort-9/0 init-9/0 aborted open",
    );
    check_v1(
        "nothing, once the coordinator has forgotten the producer",
        "write:0 ask lost write:1 ask no:49 commit ask-quiet claimed-v1:10/0 outcome",
        "not-yet add-t-0 not-yet add-t-0,t-1 init-9/0 aborted",
    );
    check_v1(
        "an end that is known to be due still has to be right",
        "write:0 ask done write:1 ask lost abort ask done ask-quiet no:48 outcome",
        "not-yet add-t-0 not-yet add-t-1 add-t-1 abort-9/0 dead-48",
    );
}

#[test]
fn a_topic_that_is_gone_holds_up_no_abort() {
    check_v1(
        "never told, and others are",
        "write:0 ask done write:1 ask no:3@1 ask no:3@1 abort ask-quiet ended outcome begin",
        "not-yet add-t-0 not-yet add-t-1 add-t-1 abort-9/0 well open",
    );
    check_v1("never told, nor any other", "write:0 ask no:3@0 abort ask-quiet outcome", "not-yet add-t-0 - well");
    check_v1(
        "asked for when the abort comes",
        "write:0 ask done write:1 ask abort no:3@1 ask-quiet",
        "not-yet add-t-0 not-yet add-t-1 abort-9/0",
    );
    check_v1(
        "in doubt, and others are known",
        "write:0 ask done write:1 ask lost abort ask no:3@1 ask-quiet",
        "not-yet add-t-0 not-yet add-t-1 add-t-1 abort-9/0",
    );
    check_v1(
        "in doubt with others",
        "write:1 write:2 write:3 ask lost abort ask no:3@1 ask no:3@3 ask done ask-quiet",
        "not-yet not-yet not-yet add-t-1,t-2,t-3 add-t-1,t-2,t-3 add-t-2,t-3 add-t-2 abort-9/0",
    );
    check_v1(
        "in doubt, alone, and the coordinator knew of it",
        "write:0 ask lost abort ask no:3@0 ask-quiet ended ask claimed-v1:9/1 outcome",
        "not-yet add-t-0 add-t-0 abort-9/0 init-9/0 well",
    );
    check_v1(
        "in doubt, alone, and it did not",
        "write:0 ask lost abort ask no:3@0 ask-quiet no:48 ask claimed-v1:9/1 outcome begin",
        "not-yet add-t-0 add-t-0 abort-9/0 init-9/0 well open",
    );
    check_v1(
        "in doubt, and only not there for a while",
        "write:0 ask lost ask no:3@0 abort ask done ask-quiet",
        "not-yet add-t-0 add-t-0 add-t-0 abort-9/0",
    );
    check_v1(
        "what a coordinator says that is not ready leaves the doubt",
        "write:0 ask no:51 abort ask no:14 ask done ask-quiet",
        "not-yet add-t-0 add-t-0 add-t-0 abort-9/0",
    );
}

#[test]
fn in_the_second_protocol_brokers_tell_the_coordinator() {
    check_v2(
        "all of it, and the next one under the next epoch",
        "write:0 offsets ask done commit ask ask-quiet ended:9/1 outcome begin write:0 commit ask-quiet",
        "may offsets-g - commit-9/0 well open may commit-9/1",
    );
    check_v2("nothing to end", "abort ask-quiet outcome", "- well");
    check_v2(
        "a gap is closed by the end itself",
        "write:0 fail gave-up write:1 commit ask-quiet ended:9/1 outcome begin",
        "may not-yet abort-9/0 aborted open",
    );
    check_v2("offsets whose fate is not known are aborted", "offsets ask lost abort ask-quiet", "offsets-g abort-9/0");
}

#[test]
fn failures_are_repeated_aborted_or_final() {
    check_v1("a lost answer", "write:0 ask lost ask done write:0", "not-yet add-t-0 add-t-0 may");
    check_v1(
        "what may come late is fenced before the next one begins",
        "write:0 ask done commit ask-quiet lost ask-quiet ended outcome begin ask lost ask claimed-v1:9/1 begin write:0",
        "not-yet add-t-0 commit-9/0 commit-9/0 well wait init-9/0 init-9/0 open not-yet",
    );
    check_v1(
        "also of an abort",
        "write:0 ask done abort ask-quiet lost ask-quiet ended outcome ask claimed-v1:9/1 begin",
        "not-yet add-t-0 abort-9/0 abort-9/0 well init-9/0 open",
    );
    check_v1(
        "and of offsets, which might take the group back in the next one",
        "offsets ask done ask lost ask done commit ask-quiet ended outcome ask claimed-v1:9/1 begin",
        "group-g offsets-g offsets-g commit-9/0 well init-9/0 open",
    );
    check_v1(
        "and of what might begin a transaction that nobody ends",
        "write:0 ask lost ask done commit ask-quiet ended outcome ask claimed-v1:9/1 begin",
        "not-yet add-t-0 add-t-0 commit-9/0 well init-9/0 open",
    );
    check_v1("markers that are still written", "write:0 ask no:51 ask", "not-yet add-t-0 add-t-0");
    check_v1("a topic that is not there yet", "write:0 ask no:3 ask", "not-yet add-t-0 add-t-0");
    check_v1(
        "a topic that may not be written to",
        "write:0 ask no:29 write:0 commit ask-quiet claimed-v1:9/1 outcome",
        "not-yet add-t-0 not-yet init-9/0 aborted",
    );
    check_v2("a commit without an answer", "write:0 commit ask-quiet lost ask-quiet", "may commit-9/0 commit-9/0");
    check_v2(
        "another coordinator",
        "write:0 commit ask-quiet no:16 ask-quiet ended:9/1 outcome",
        "may commit-9/0 commit-9/0 well",
    );
    check_v2(
        "a commit that can only be an abort",
        "write:0 commit ask-quiet no:120 ask-quiet ended:9/1 outcome",
        "may commit-9/0 abort-9/0 aborted",
    );
    check_v2(
        "a commit that comes too late",
        "write:0 commit ask-quiet no:48 ask-quiet ended:9/1 outcome begin",
        "may commit-9/0 abort-9/0 aborted open",
    );
    check_v2("no end at all", "write:0 abort ask-quiet no:48 outcome", "may abort-9/0 dead-48");
    check_v2(
        "another generation",
        "offsets ask no:22 commit ask-quiet ended:9/1 outcome",
        "offsets-g abort-9/0 aborted",
    );
    check_v2("fenced at the end", "write:0 commit ask-quiet no:90 outcome begin", "may commit-9/0 dead-90 refused-90");
    check_v2("fenced by the older word", "write:0 commit ask-quiet no:47 outcome", "may commit-9/0 dead-47");
    check_v1(
        "an identity that is not known any more",
        "write:0 ask no:49 commit ask-quiet claimed-v1:10/0 outcome begin",
        "not-yet add-t-0 init-9/0 aborted open",
    );
    check("not allowed at all", "begin ask no:53 begin", "wait init refused-53");
    check(
        "asked again until it is claimed",
        "begin ask lost ask no:14 ask claimed-v2:9/0 begin",
        "wait init init init open",
    );
    check_v2("only one at a time", "begin commit begin ask-quiet begin", "refused wait - open");
}

const GRACE: Duration = Duration::from_secs(20);
const PROTOCOLS: [i16; 2] = [0, 2];

struct World {
    broker: DevBroker,
    client: Client,
    topic: Topic,
}

impl World {
    async fn new(transaction_version: i16) -> Self {
        let consumer = ConsumerGroupConfig { heartbeat_interval: Duration::from_millis(50), ..Default::default() };
        let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, consumer, ..Default::default() };
        let config = devbroker::Config {
            default_partitions: 3,
            transaction_version,
            groups,
            ..devbroker::Config::with_brokers(3)
        };
        let broker = DevBroker::start(config).await.unwrap();
        let config = ClientConfig {
            allow_auto_create_topics: true,
            retry_backoff: Duration::from_millis(1),
            retry_backoff_max: Duration::from_millis(5),
            ..quick_to_reconnect(&broker)
        };
        Self { client: Client::connect(config).await.unwrap(), broker, topic: Topic::from("orders") }
    }

    fn producer(&self, id: &str) -> Producer {
        let config = ProducerConfig {
            transactional_id: Some(id.to_owned()),
            linger: Duration::from_millis(1),
            retry_backoff: Duration::from_millis(1),
            retry_backoff_max: Duration::from_millis(5),
            ..Default::default()
        };
        self.client.producer(config).unwrap()
    }

    async fn with_producer(transaction_version: i16) -> (Self, Producer) {
        let world = Self::new(transaction_version).await;
        let producer = world.producer("p");
        (world, producer)
    }

    fn fault<R: Body>(&self, times: u64, fault: Fault) {
        self.broker.faults().inject(Matching::api(R::KEY), times, fault);
    }

    async fn write(&self, transaction: &Transaction, words: &str) {
        for word in words.split(' ') {
            let key = word.as_bytes();
            let record = ProducerRecord { key: Some(key), ..ProducerRecord::new(&self.topic, key) };
            drop(transaction.enqueue(record).await.unwrap());
        }
    }

    /// A transaction of these words.
    async fn commit(&self, producer: &Producer, words: &str) {
        let transaction = producer.begin().await.unwrap();
        self.write(&transaction, words).await;
        transaction.commit().await.unwrap();
    }

    fn consumer(&self, group: &str, isolation_level: IsolationLevel) -> Consumer {
        self.client.consumer(self.reading(group, isolation_level)).unwrap()
    }

    fn reading(&self, group: &str, isolation_level: IsolationLevel) -> ConsumerConfig {
        ConsumerConfig {
            group_id: group.to_owned(),
            topics: vec![self.topic.clone()],
            auto_offset_reset: OffsetReset::Earliest,
            isolation_level,
            auto_commit: false,
            fetch_max_wait: Duration::from_millis(20),
            ..Default::default()
        }
    }
}

/// What is read after a last transaction of one word, which is committed for the purpose.
async fn read_after(world: &World, producer: &Producer, isolation_level: IsolationLevel) -> String {
    let last = producer.begin().await.unwrap();
    // To every partition, so that each is read to its end.
    for partition in 0..3 {
        let record = ProducerRecord { partition: Some(partition), ..ProducerRecord::new(&world.topic, b"zz") };
        drop(last.enqueue(record).await.unwrap());
    }
    last.commit().await.unwrap();
    let words = read_three(world, isolation_level).await;
    words.replace(" zz zz zz", "")
}

async fn read_three(world: &World, isolation_level: IsolationLevel) -> String {
    let mut consumer = world.consumer(&format!("reader-{isolation_level:?}"), isolation_level);
    let mut words: Vec<String> = Vec::new();
    while words.iter().filter(|word| *word == "zz").count() < 3 {
        let delivery = consumer.next().await.unwrap().unwrap();
        let values = delivery.records().map(|record| record.value.unwrap_or_default().to_vec());
        words.extend(values.map(|value| String::from_utf8(value).unwrap()));
        delivery.finish();
    }
    consumer.close(GRACE).await.unwrap();
    words.sort();
    words.join(" ")
}

#[tokio::test]
async fn what_is_committed_is_read_and_what_is_aborted_is_not() {
    for version in PROTOCOLS {
        let (world, producer) = World::with_producer(version).await;
        for (words, ending) in [("a b c", "commit"), ("d e", "abort"), ("f g", "drop"), ("h", "commit"), ("i", "abort")]
        {
            let transaction = producer.begin().await.unwrap();
            world.write(&transaction, words).await;
            producer.flush().await;
            match ending {
                "commit" => transaction.commit().await.unwrap(),
                "abort" => transaction.abort().await.unwrap(),
                _ => drop(transaction),
            }
        }
        assert_eq!(read_after(&world, &producer, IsolationLevel::ReadCommitted).await, "a b c h", "{version}");
        let all = read_three(&world, IsolationLevel::ReadUncommitted).await;
        assert_eq!(all, "a b c d e f g h i zz zz zz", "{version}");
        producer.close(GRACE).await.unwrap();
    }
}

#[tokio::test]
async fn faults_on_the_way_change_nothing() {
    for version in PROTOCOLS {
        let (world, producer) = World::with_producer(version).await;
        world.fault::<InitProducerIdRequest>(2, Fault::Error(ErrorCode::NOT_COORDINATOR));
        world.fault::<AddPartitionsToTxnRequest>(2, Fault::Error(ErrorCode::CONCURRENT_TRANSACTIONS));
        world.fault::<AddPartitionsToTxnRequest>(1, Fault::DisconnectAfter);
        world.fault::<ProduceRequest>(2, Fault::DisconnectAfter);
        world.fault::<EndTxnRequest>(1, Fault::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
        world.fault::<EndTxnRequest>(1, Fault::DisconnectAfter);
        for words in ["a b c d", "e f"] {
            world.commit(&producer, words).await;
        }
        assert_eq!(read_after(&world, &producer, IsolationLevel::ReadCommitted).await, "a b c d e f", "{version}");
    }
}

/// What the coordinator has of the transactional id, in its own word, if that is open. The next epoch may be had or not.
async fn is_open(world: &World, id: &str) -> Option<String> {
    let request = DescribeTransactionsRequest { transactional_ids: vec![id.into()] };
    let to = To::TransactionCoordinator(id);
    let answer = world.client.cluster().call(to, Lane::General, request, GRACE).await.unwrap();
    let state = answer.body.transaction_states[0].transaction_state.to_string();
    (!["CompleteCommit", "CompleteAbort", "Empty"].contains(&&*state)).then_some(state)
}

/// Whoever waits for the next transaction takes nobody's answer away.
#[tokio::test]
async fn how_a_transaction_ended_is_told_before_the_next_one_begins() {
    for version in PROTOCOLS {
        let (world, producer) = World::with_producer(version).await;
        let transaction = producer.begin().await.unwrap();
        world.write(&transaction, "a").await;
        world.fault::<EndTxnRequest>(1, Fault::Delay(Duration::from_millis(50)));
        let (committed, next) = tokio::join!(timeout(GRACE, transaction.commit()), producer.begin());
        committed.expect("it is told").unwrap();
        next.unwrap().abort().await.unwrap();
    }
}

#[tokio::test]
async fn an_abort_leaves_nothing_open_that_the_coordinator_was_told_of() {
    for fault in [Fault::Disconnect, Fault::DisconnectAfter] {
        let (world, producer) = World::with_producer(0).await;
        world.commit(&producer, "a").await;
        world.fault::<AddPartitionsToTxnRequest>(1, fault);
        world.broker.faults().reset_counts();
        let transaction = producer.begin().await.unwrap();
        let receipt = transaction.enqueue(ProducerRecord::new(&world.topic, b"b")).await.unwrap();
        while world.broker.faults().count(AddPartitionsToTxnRequest::KEY) == 0 {
            tokio::task::yield_now().await;
        }
        transaction.abort().await.unwrap();
        assert!(receipt.await.unwrap_err().is_aborted());
        assert_eq!(is_open(&world, "p").await, None);
        assert_eq!(read_after(&world, &producer, IsolationLevel::ReadCommitted).await, "a");
    }
}

#[tokio::test]
async fn an_abort_does_not_wait_for_a_topic_that_is_gone() {
    for fault in [Fault::Disconnect, Fault::DisconnectAfter] {
        let (world, producer) = World::with_producer(0).await;
        world.commit(&producer, "a").await;
        world.fault::<AddPartitionsToTxnRequest>(1, fault);
        world.fault::<AddPartitionsToTxnRequest>(u64::MAX, Fault::Error(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        world.broker.faults().reset_counts();
        let transaction = producer.begin().await.unwrap();
        drop(transaction.enqueue(ProducerRecord::new(&world.topic, b"b")).await.unwrap());
        while world.broker.faults().count(AddPartitionsToTxnRequest::KEY) == 0 {
            tokio::task::yield_now().await;
        }
        transaction.abort().await.unwrap();
        assert_eq!(is_open(&world, "p").await, None);
        world.broker.faults().clear();
        assert_eq!(read_after(&world, &producer, IsolationLevel::ReadCommitted).await, "a");
    }
}

#[tokio::test]
async fn a_transaction_that_fails_is_aborted_and_the_next_one_goes_on() {
    for version in PROTOCOLS {
        let (world, producer) = World::with_producer(version).await;
        let transaction = producer.begin().await.unwrap();
        world.write(&transaction, "a b").await;
        producer.flush().await;
        world.fault::<ProduceRequest>(1, Fault::Error(ErrorCode::TRANSACTION_ABORTABLE));
        world.write(&transaction, "c").await;
        producer.flush().await;
        let record = ProducerRecord::new(&world.topic, b"d");
        assert!(transaction.enqueue(record).await.unwrap_err().is_aborted(), "{version}");
        assert!(transaction.commit().await.unwrap_err().is_aborted(), "{version}");
        world.commit(&producer, "a b c").await;
        assert_eq!(read_after(&world, &producer, IsolationLevel::ReadCommitted).await, "a b c", "{version}");
    }
}

#[tokio::test]
async fn a_zombie_is_fenced_and_its_transaction_aborted() {
    for version in PROTOCOLS {
        let world = World::new(version).await;
        let (zombie, heir) = (world.producer("p"), world.producer("p"));
        let transaction = zombie.begin().await.unwrap();
        world.write(&transaction, "a b c").await;
        zombie.flush().await;
        let other = heir.begin().await.unwrap();
        world.write(&other, "a b").await;
        world.write(&transaction, "d").await;
        let error = transaction.commit().await.unwrap_err();
        assert!(error.is_fenced() && !error.is_aborted(), "{version}: {error}");
        assert!(zombie.begin().await.unwrap_err().is_fenced(), "{version}");
        other.commit().await.unwrap();
        assert_eq!(read_after(&world, &heir, IsolationLevel::ReadCommitted).await, "a b", "{version}");
    }
}

#[tokio::test]
async fn offsets_are_committed_with_the_transaction_or_not_at_all() {
    for version in PROTOCOLS {
        let (world, producer) = World::with_producer(version).await;
        world.commit(&producer, "a b c").await;
        let group = GroupMetadata::new("g");
        let mut committed = Vec::new();
        for (offset, commits) in [(7, true), (9, false), (8, true)] {
            let transaction = producer.begin().await.unwrap();
            transaction.send_offsets(&group, [position(&world.topic, offset)]).await.unwrap();
            if commits {
                transaction.commit().await.unwrap();
            } else {
                transaction.abort().await.unwrap();
            }
            let found = world.client.admin().committed_offsets(&["g".to_owned()]).await.unwrap();
            committed.push(format!("{found:?}"));
        }
        let says = |text: &str, offset: i64| {
            text.contains(&format!("offset: Some({offset})")) || text.contains(&format!("offset: {offset}"))
        };
        assert!(says(&committed[0], 7) && says(&committed[1], 7) && says(&committed[2], 8), "{version}: {committed:?}");
    }
}

#[tokio::test]
async fn a_member_of_a_former_generation_commits_nothing() {
    for version in PROTOCOLS {
        let (world, producer) = World::with_producer(version).await;
        world.commit(&producer, "a b c").await;
        let mut consumer = world.consumer("g", IsolationLevel::ReadCommitted);
        let delivery = consumer.next().await.unwrap().unwrap();
        let group = consumer.group_metadata().unwrap();
        let Some((member, generation)) = group.member.clone() else { panic!("{group:?}") };
        let former = GroupMetadata { member: Some((member, generation - 1)), ..group.clone() };
        let transaction = producer.begin().await.unwrap();
        let refused = transaction.send_offsets(&former, [delivery.position()]).await.unwrap_err();
        assert!(refused.is_aborted(), "{refused}");
        assert!(transaction.commit().await.unwrap_err().is_aborted());
        let transaction = producer.begin().await.unwrap();
        transaction.send_offsets(&group, [delivery.position()]).await.unwrap();
        transaction.commit().await.unwrap();
        delivery.finish();
        consumer.close(GRACE).await.unwrap();
    }
}

/// It was told to join anew, and its group takes it for who it was: the same member in the same generation (KIP-848).
#[tokio::test]
async fn a_member_that_has_lost_its_partitions_meanwhile_commits_nothing() {
    for version in PROTOCOLS {
        let (world, producer) = World::with_producer(version).await;
        world.commit(&producer, "a").await;
        let reading = world.reading("g", IsolationLevel::ReadCommitted);
        let reading = ConsumerConfig { group_protocol: GroupProtocol::Consumer, ..reading };
        let mut consumer = world.client.consumer(reading).unwrap();
        let delivery = consumer.next().await.unwrap().unwrap();
        let group = consumer.group_metadata().unwrap();
        world.fault::<ConsumerGroupHeartbeatRequest>(1, Fault::Error(ErrorCode::FENCED_MEMBER_EPOCH));
        let again = consumer.next().await.unwrap().unwrap();
        assert!(delivery.is_revoked() && !again.is_revoked());
        let transaction = producer.begin().await.unwrap();
        let refused = transaction.send_offsets(&group, [delivery.position()]).await.unwrap_err();
        assert!(refused.is_aborted(), "{refused}");
        assert!(transaction.commit().await.unwrap_err().is_aborted());
        let group = consumer.group_metadata().unwrap();
        let transaction = producer.begin().await.unwrap();
        transaction.send_offsets(&group, [again.position()]).await.unwrap();
        transaction.commit().await.unwrap();
        drop(delivery);
        again.finish();
        consumer.close(GRACE).await.unwrap();
    }
}

#[tokio::test]
async fn records_of_a_transactional_producer_need_a_transaction_and_one_only() {
    let world = World::new(2).await;
    let producer = world.producer("p");
    assert!(producer.send(ProducerRecord::new(&world.topic, b"a")).await.is_err());
    let open = producer.begin().await.unwrap();
    assert!(producer.begin().await.is_err(), "one is open");
    drop(open);
    drop(producer.begin().await.unwrap());
    let plain = world.client.producer(ProducerConfig::default()).unwrap();
    assert!(plain.begin().await.is_err());
}

/// What may happen to a request on its way, without harm.
fn harmless(chance: &mut StdRng) -> Fault {
    match chance.random_range(0..6) {
        0 => Fault::Disconnect,
        1 | 2 => Fault::DisconnectAfter,
        3 => Fault::Error(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        4 => Fault::Error(ErrorCode::CONCURRENT_TRANSACTIONS),
        _ => Fault::Error(ErrorCode::NOT_COORDINATOR),
    }
}

fn disturb(world: &World, chance: &mut StdRng) {
    let apis = [
        ProduceRequest::KEY,
        InitProducerIdRequest::KEY,
        AddPartitionsToTxnRequest::KEY,
        AddOffsetsToTxnRequest::KEY,
        EndTxnRequest::KEY,
        TxnOffsetCommitRequest::KEY,
    ];
    for api in apis {
        if chance.random_range(0..3) > 0 {
            continue;
        }
        // A Produce that is refused for good ends its transaction; one that may be repeated does not.
        let is_produce = api == ProduceRequest::KEY;
        let fault = match harmless(chance) {
            Fault::Error(_) if is_produce && chance.random_range(0..3) == 0 => {
                Fault::Error(ErrorCode::TRANSACTION_ABORTABLE)
            }
            Fault::Error(_) if is_produce => Fault::Error(ErrorCode::NOT_ENOUGH_REPLICAS),
            fault => fault,
        };
        world.broker.faults().inject(Matching::api(api), 1, fault);
    }
}

async fn check_seed(version: i16, seed: u64) {
    let (mut chance, world) = (StdRng::seed_from_u64(seed), World::new(version).await);
    let (producer, group) = (world.producer("p"), GroupMetadata::new("g"));
    let mut committed: Vec<String> = Vec::new();
    for number in 0..12 {
        disturb(&world, &mut chance);
        let transaction = producer.begin().await.unwrap();
        let words: Vec<String> = (0..chance.random_range(1..6)).map(|word| format!("{number:02}-{word}")).collect();
        for word in &words {
            let record =
                ProducerRecord { key: Some(word.as_bytes()), ..ProducerRecord::new(&world.topic, word.as_bytes()) };
            // Refused if the transaction has failed by now; the commit says so, too.
            drop(transaction.enqueue(record).await);
            if chance.random_range(0..4) == 0 {
                producer.flush().await;
            }
        }
        if chance.random_range(0..2) == 0 {
            drop(transaction.send_offsets(&group, [position(&world.topic, number)]).await);
        }
        match chance.random_range(0..4) {
            0 => drop(transaction),
            1 => transaction.abort().await.unwrap(),
            _ => match transaction.commit().await {
                Ok(()) => committed.extend(words),
                Err(error) => assert!(error.is_aborted(), "version {version}, seed {seed}: {error}"),
            },
        }
    }
    // The handle of the last one may have been dropped: its end is waited for with the next beginning.
    drop(producer.begin().await.unwrap());
    assert_eq!(is_open(&world, "p").await, None, "version {version}, seed {seed}");
    let read = read_after(&world, &producer, IsolationLevel::ReadCommitted).await;
    assert_eq!(read, committed.join(" "), "version {version}, seed {seed}");
}

#[tokio::test]
async fn whatever_happens_what_is_read_is_what_was_committed() {
    for seed in 0..6 {
        for version in PROTOCOLS {
            check_seed(version, seed).await;
        }
    }
}
