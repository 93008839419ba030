//! What another client puts into `user-login` comes out on the right side, all of it: 100,000 records of every kind, the
//! whole program over a real Kafka, and Java's clients as the judge. Then the same while brokers die.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use protocol_tests::program::Program;
use protocol_tests::servers::{self, KAFKA_43, Kafka, Missing};
use protocol_tests::wait_until;

/// The pipeline's, unless its configuration says otherwise.
const GROUP: &str = "user-group";
const TOPICS: [&str; 3] = ["user-login", "processed-user-login", "user-login-dlq"];
const PARTITIONS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn every_record_is_accounted_for() {
    let _alone = servers::one_at_a_time();
    let run = Flow::new("real-input", 1).and_then(|mut flow| {
        flow.produce(100_000, 0).finish()?;
        flow.start();
        flow.wait_for_all(100_000);
        flow.stop();
        flow.judge(Duplicates::None)
    });
    servers::or_skip("real input", run);
}

#[test]
fn one_of_three_brokers_dies_for_good() {
    let _alone = servers::one_at_a_time();
    let run = Flow::new("one-of-three-dies", 3).and_then(|mut flow| {
        let producer = flow.produce(40_000, 2_000);
        flow.start();
        flow.wait_for(5_000);
        flow.kafka.kill(2);
        producer.finish()?;
        flow.wait_for_all(40_000);
        flow.stop();
        flow.judge(Duplicates::Allowed)
    });
    servers::or_skip("one of three brokers dies for good", run);
}

#[test]
fn the_only_broker_dies_and_comes_back() {
    let _alone = servers::one_at_a_time();
    let run = Flow::new("the-only-one-dies", 1).and_then(|mut flow| {
        let producer = flow.produce(40_000, 2_000);
        flow.start();
        flow.wait_for(5_000);
        flow.kafka.kill(1);
        flow.kafka.restart(1);
        producer.finish()?;
        flow.wait_for_all(40_000);
        flow.stop();
        flow.judge(Duplicates::Allowed)
    });
    servers::or_skip("the only broker dies and comes back", run);
}

/// Whether a record may stand on its side more than once: after a broker's death, what was not yet committed is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duplicates {
    None,
    Allowed,
}

/// A cluster, the program over it, and what is expected of them.
struct Flow {
    kafka: Kafka,
    directory: PathBuf,
    program: Option<Program>,
}

impl Flow {
    fn new(name: &str, nodes: usize) -> Result<Flow, Missing> {
        servers::wanted()?;
        servers::python()?;
        Ok(Flow { kafka: Kafka::own(KAFKA_43, nodes)?, directory: servers::scratch(name), program: None })
    }

    fn manifest(&self) -> PathBuf {
        self.directory.join("manifest.tsv")
    }

    /// Starts the other client; returns once its topic is there, so that the program does not make one of its own.
    fn produce(&self, count: usize, rate: usize) -> Producer {
        let script = servers::here("foreign/python/login_records.py");
        let mut command = servers::python().unwrap_or_else(|Missing(why)| panic!("{why}"));
        command.arg(script).arg(self.kafka.bootstrap()).arg(self.manifest());
        command.args([count.to_string(), "7".to_owned(), TOPICS[0].to_owned(), rate.to_string()]);
        let log = self.directory.join("producer.log");
        let log = File::create(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        let child = command.stderr(log).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let manifest = self.manifest();
        wait_until("the other client has made its topic", PATIENCE, || manifest.exists().then_some(()));
        Producer(child)
    }

    fn start(&mut self) {
        let data = self.directory.join("data");
        let nowhere = "127.0.0.1:0";
        let arguments = [
            ["--bootstrap-server", self.kafka.bootstrap()],
            ["--generate", "off"],
            ["--data-dir", &data.to_string_lossy()],
            ["--gateway-listen", nowhere],
            ["--metrics-listen", nowhere],
        ];
        self.program = Some(Program::start(&self.directory, &[&["up"], arguments.as_flattened()].concat()));
    }

    /// Waits until this many records are committed.
    fn wait_for(&mut self, count: u64) {
        self.wait("records are committed", |rows| rows.iter().map(|(committed, _)| committed).sum::<u64>() >= count);
    }

    /// Waits until all are committed, and Java's tool finds no lag in any partition.
    fn wait_for_all(&mut self, count: u64) {
        self.wait("all is committed, and the lag is 0", |rows| {
            rows.len() == PARTITIONS
                && rows.iter().all(|(_, lag)| *lag == 0)
                && rows.iter().map(|(committed, _)| committed).sum::<u64>() == count
        });
    }

    fn wait(&mut self, what: &str, reached: impl Fn(&[(u64, u64)]) -> bool) {
        let Flow { kafka, program, .. } = self;
        let program = program.as_mut().unwrap_or_else(|| panic!("the program is not started"));
        wait_until(what, PATIENCE, || {
            program.check_running();
            reached(&kafka.group(GROUP)).then_some(())
        });
    }

    fn stop(&mut self) {
        let mut program = self.program.take().unwrap_or_else(|| panic!("the program is not started"));
        let status = program.terminate(Duration::from_secs(30));
        assert!(status.success(), "after SIGTERM: {status}\n{}", program.log());
    }

    fn judge(&self, duplicates: Duplicates) -> Result<(), Missing> {
        let mut command = judge_command(&self.manifest(), self.kafka.bootstrap());
        if duplicates == Duplicates::Allowed {
            command.arg("duplicates");
        }
        servers::tell(&servers::succeed(&mut command)?);
        Ok(())
    }
}

fn judge_command(manifest: &Path, bootstrap: &str) -> Command {
    let mut command = servers::script("foreign/judge.sh");
    command.arg(bootstrap).arg(manifest).arg(GROUP).args(TOPICS);
    command
}

/// The other client at work.
struct Producer(Child);

impl Producer {
    /// Every record was acknowledged.
    fn finish(mut self) -> Result<(), Missing> {
        let status = self.0.wait().map_err(|error| Missing(format!("the other client: {error}")))?;
        assert!(status.success(), "the other client: {status}, see its producer.log beside the manifest");
        Ok(())
    }
}
