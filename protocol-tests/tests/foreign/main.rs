//! Other people's clients, with the same assertions for Apache Kafka and for our dev broker; and what each of them writes all
//! others read, ours among them.

mod cross;

use std::ffi::OsStr;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use protocol_tests::program::Program;
use protocol_tests::servers::{self, KAFKA_39, KAFKA_43, Kafka, Missing};
use protocol_tests::wait_until;

/// What every broker has to answer.
const CLIENTS: &[&str] = &["librdkafka", "kafka-python", "aiokafka", "java", "console"];
/// Java's clients and tools of the version before, in addition to those that run.sh takes by itself.
const OLDER: &[&str] = &["java-3.9.1", "console-3.9.1"];
/// Groups of the consumer protocol are in Kafka from 4.0 on.
const GROUPS: &[&str] = &["groups"];
/// Of these, franz-go's part is played where it can be had; everything else has to be there.
const FRANZ_GO: &[&str] = &["franz-go:clients"];
const FRANZ_GO_GROUPS: &[&str] = &["franz-go:groups"];

#[test]
fn kafka_3_9() {
    let _alone = servers::one_at_a_time();
    let run = Kafka::shared(KAFKA_39).and_then(|kafka| play_all(kafka.bootstrap(), CLIENTS, FRANZ_GO));
    servers::or_skip("foreign clients against Kafka 3.9", run);
}

#[test]
fn kafka_4_3() {
    let _alone = servers::one_at_a_time();
    let (suites, of_go) = ([CLIENTS, GROUPS].concat(), [FRANZ_GO, FRANZ_GO_GROUPS].concat());
    let run = Kafka::shared(KAFKA_43).and_then(|kafka| play_all(kafka.bootstrap(), &suites, &of_go));
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
    play_all(&address, &[CLIENTS, OLDER, GROUPS].concat(), &[FRANZ_GO, FRANZ_GO_GROUPS].concat())?;
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

fn play_all(bootstrap: &str, suites: &[&str], of_go: &[&str]) -> Result<(), Missing> {
    let with_franz_go = servers::franz_go().is_some();
    let of_go = if with_franz_go { of_go } else { &[] };
    play(bootstrap, &[suites, of_go].concat())?;
    cross::play(bootstrap, with_franz_go)
}

/// Runs the suites; a scenario that fails is in the panic's text.
fn play(bootstrap: &str, suites: &[impl AsRef<OsStr>]) -> Result<(), Missing> {
    let lines = servers::succeed(servers::script("foreign/run.sh").arg(bootstrap).args(suites))?;
    servers::tell(&lines);
    Ok(())
}
