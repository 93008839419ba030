//! Other people's clients, with the same assertions for Apache Kafka and for our dev broker.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use protocol_tests::program::Program;
use protocol_tests::servers::{self, KAFKA_39, KAFKA_43, Kafka, Missing};
use protocol_tests::wait_until;

/// Java's clients and tools of the version before, in addition to those that run.sh takes by itself.
const EVERY_SUITE: &[&str] =
    &["librdkafka", "kafka-python", "aiokafka", "java", "console", "cross", "java-3.9.1", "console-3.9.1", "groups"];
/// Groups of the consumer protocol are in Kafka from 4.0 on.
const WITH_GROUPS: &[&str] = &["librdkafka", "kafka-python", "aiokafka", "java", "console", "cross", "groups"];

#[test]
fn kafka_3_9() {
    let _alone = servers::one_at_a_time();
    let run = Kafka::shared(KAFKA_39).and_then(|kafka| play(kafka.bootstrap(), &[]));
    servers::or_skip("foreign clients against Kafka 3.9", run);
}

#[test]
fn kafka_4_3() {
    let _alone = servers::one_at_a_time();
    let run = Kafka::shared(KAFKA_43).and_then(|kafka| play(kafka.bootstrap(), WITH_GROUPS));
    servers::or_skip("foreign clients against Kafka 4.3", run);
}

#[test]
fn the_dev_broker() {
    let _alone = servers::one_at_a_time();
    servers::or_skip(
        "foreign clients against the dev broker",
        servers::wanted().and_then(|()| against_the_dev_broker()),
    );
}

fn against_the_dev_broker() -> Result<(), Missing> {
    let (directory, address) = (servers::scratch("foreign"), free_address());
    let data = directory.join("data");
    let mut broker =
        Program::start(&directory, &["broker", "--listen", &address, "--data-dir", &data.to_string_lossy()]);
    wait_until("the dev broker listens", Duration::from_secs(120), || {
        broker.check_running();
        TcpStream::connect(&address).ok()
    });
    play(&address, EVERY_SUITE)?;
    broker.check_running();
    let status = broker.terminate(Duration::from_secs(30));
    assert!(status.success(), "the dev broker ends with {status}:\n{}", broker.log());
    Ok(())
}

/// An address that was free a moment ago.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.unwrap_or_else(|error| panic!("no free port: {error}")).to_string()
}

/// Runs the suites; a scenario that fails is in the panic's text.
fn play(bootstrap: &str, suites: &[&str]) -> Result<(), Missing> {
    let lines = servers::succeed(servers::script("foreign/run.sh").arg(bootstrap).args(suites))?;
    servers::tell(&lines);
    Ok(())
}
