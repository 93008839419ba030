//! The verbs of the command line as a user types them, over the embedded broker and over real Kafka: what they print, what
//! they change, and how they end.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use highwater::devbroker::{Config, DevBroker, GroupConfig, Profile};
use protocol_tests::Outcome;
use protocol_tests::program::binary;
use protocol_tests::servers::{KAFKA_39, KAFKA_43, Kafka, Version, or_skip};

/// What a verb said, and how it ended.
#[derive(Debug)]
struct Said {
    status: i32,
    out: String,
    err: String,
}

impl Said {
    /// What it printed, when it went well.
    fn well(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.out
    }

    /// What it complained of, when it ended as it should.
    fn badly(self, status: i32) -> String {
        assert_eq!(self.status, status, "{self:?}");
        self.err
    }
}

/// Runs a verb; words are separated by spaces.
fn run(words: &str, input: &str) -> Said {
    let mut command = Command::new(binary());
    command.args(words.split(' ')).env_remove("KAFKA_BOOTSTRAP_SERVERS");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{words}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    // One that refuses its arguments reads nothing.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("{words}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// A cluster, and topics and groups of this run alone.
struct Place {
    bootstrap: String,
    run: u32,
}

impl Place {
    fn new(bootstrap: &str) -> Place {
        Place { bootstrap: bootstrap.to_owned(), run: std::process::id() }
    }

    fn name(&self, of: &str) -> String {
        format!("commands-{of}-{}", self.run)
    }

    /// `{t}` and `{g}` in the words are the names of a topic and a group.
    fn say(&self, words: &str, input: &str) -> Said {
        let words = words.replace("{t}", &self.name("t")).replace("{g}", &self.name("g"));
        run(&format!("{words} -b {}", self.bootstrap), input)
    }

    fn json(&self, words: &str) -> serde_json::Value {
        let text = self.say(&format!("{words} --output json"), "").well();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

fn topics(at: &Place) {
    let name = at.name("t");
    assert!(at.say("topics create {t} -p 3 -c retention.ms=3600000", "").well().contains("created"));
    assert!(at.say("topics create {t}", "").badly(65).contains("TOPIC_ALREADY_EXISTS"));
    assert!(at.say("topics create {t} --if-not-exists", "").well().contains("was there"));
    let listed = at.json("topics list");
    let mine = listed.as_array().into_iter().flatten().find(|it| it["topic"] == name.as_str());
    assert_eq!(mine.map(|it| it["partitions"].clone()), Some(3.into()));

    at.say("topics config {t} --set cleanup.policy=compact --delete retention.ms", "").well();
    let configs = at.json("topics config {t}");
    let value = |key: &str| {
        let found = configs.as_array().into_iter().flatten().find(|it| it["name"] == key);
        found.map(|it| it["value"].clone())
    };
    assert_eq!((value("cleanup.policy"), value("retention.ms")), (Some("compact".into()), None));
    assert!(at.say("topics config {t} --set no.such.setting=1", "").badly(65).contains("INVALID_CONFIG"));

    at.say("topics add-partitions {t} --num 1", "").well();
    assert!(at.say("topics add-partitions {t} --to 2", "").badly(65).contains("INVALID_PARTITIONS"));
    let described = at.json("topics describe {t}");
    assert_eq!(described[0]["partitions"].as_array().map(Vec::len), Some(4));
    let typo = format!("{}x", at.name("t"));
    let hint = at.say(&format!("topics describe {typo}"), "").badly(65);
    assert!(hint.contains(&format!("did you mean {name}?")), "{hint}");
    at.say("topics delete {t}", "").well();
    assert!(at.say("topics delete {t}", "").badly(65).contains("no topic"));
    at.say("topics delete {t} --if-exists", "").well();
}

fn records(at: &Place) {
    at.say("topics create {t}-k -p 3", "").well();
    at.say("produce -t {t}-k -K : -Z -H from=here -z zstd", "a:1\nb:2\nc:\n").well();
    let printed = at.say("consume {t}-k -e -Z -f %k=%v,%h,%K,%S\\n", "").well();
    assert_eq!(sorted(&printed), ["a=1,from=here,1,1", "b=2,from=here,1,1", "c=NULL,from=here,1,-1"]);

    at.say("topics create {t}-n -p 1", "").well();
    assert_eq!(at.say("produce -t {t}-n", &numbers(0..100)).well(), "");
    let check = |flags: &str, want: &str| {
        assert_eq!(at.say(&format!("consume {{t}}-n {flags}"), "").well(), want, "{flags}");
    };
    check("-e", &numbers(0..100));
    check("-e -o -5", &numbers(95..100));
    check("-o 10 -c 3", &numbers(10..13));
    check("-o +98 -e", &numbers(98..100));
    check("-o end -e", "");
    check("-o @2020-01-01 -c 1", "0\n");
    check("-o @-1h -e -c 2", "0\n1\n");
    check("-o start -o e@2020-01-01", "");
    let counted = |words: &str| at.say(&format!("consume {words} -e -f %t\\n"), "").well().lines().count();
    assert_eq!((counted("^{t}-[kn]$"), counted("-r {t}-k$ {t}-n$"), counted("^{t}-k$ {t}-n")), (103, 103, 103));
    assert_eq!((counted("^{t}-[kn]$ -g {g}-r"), counted("^{t}-[kn]$ -g {g}-r")), (103, 0));
    at.say("groups delete {g}-r", "").well();
    assert!(at.say("consume ^{t}-none -e", "").badly(65).contains("no topic matches"));
    assert!(at.say("consume ^{t}-( -e", "").badly(64).contains("no regular expression"));
    let written = at.say("produce -t {t}-n -p 0 -v", "100\n").well();
    assert_eq!(written, format!("{}-n-0 100\n", at.name("t")));

    let lines = at.say("consume -t {t}-k -e --output json", "").well();
    at.say("topics create {t}-copy -p 3", "").well();
    at.say("produce -t {t}-copy --format json", &lines).well();
    let copied = at.say("consume {t}-copy -e -Z -f %k=%v,%h,%K,%S\\n", "").well();
    assert_eq!(sorted(&copied), sorted(&printed));
    assert!(at.say("produce -t {t}-n --format %k:%v", "a:b\nnothing\n").badly(65).contains("line 2"));
    assert!(at.say("produce -t {t}-x", "1\n").badly(65).contains("did you mean"));
}

/// After [`records`]: the numbers from 0 to 100 and one more record are in one partition.
fn groups(at: &Place) {
    assert_eq!(at.say("consume {t}-n -g {g} -c 40", "").well(), numbers(0..40));
    let described = at.json("groups describe {g}");
    let (of, all) = (&described[0]["partitions"][0], described[0]["lag"].as_i64());
    assert_eq!((of["committed"].as_i64(), all), (Some(40), of["end"].as_i64().map(|end| end - 40)));
    let listed = at.json("groups list --state Empty");
    assert!(listed.as_array().into_iter().flatten().any(|it| it["group"] == at.name("g").as_str()));

    let planned = at.say("groups reset {g} --shift-by -10", "");
    assert!(planned.err.contains("nothing was changed"), "{planned:?}");
    assert_eq!(at.json("groups describe {g}")[0]["partitions"][0]["committed"], 40);
    for (flags, to) in [
        ("--to-latest", 102),
        ("--to-earliest", 0),
        ("--to-offset 7", 7),
        ("--to-offset 700", 102),
        ("--to-datetime 2020-01-01T00:00:00", 0),
        ("--by-duration PT10H", 0),
        ("--to-offset 90 --topic {t}-n:0", 90),
        ("--shift-by -10", 80),
    ] {
        let done = at.json(&format!("groups reset {{g}} {flags} --execute"));
        assert_eq!(done[0]["to"], to, "{flags}: {done}");
        assert_eq!(at.json("groups describe {g}")[0]["partitions"][0]["committed"], to, "{flags}");
    }
    assert_eq!(at.say("consume {t}-n -g {g} -e", "").well(), numbers(80..101) + "b\n");
    // With its last offset, Kafka before 4.0 forgets the group itself.
    at.say("groups delete-offsets {g} -t {t}-n", "").well();
    // A group that is not there is made by its first offsets.
    at.say("groups reset {g}-made --to-latest -t {t}-n --execute", "").well();
    at.say("groups delete {g}-made", "").well();
    assert!(at.say("groups describe {g}-made", "").badly(65).contains("no group"));
    assert!(at.say("groups delete {g}-made", "").badly(65).contains("no group"));
    assert!(at.say("groups reset {g} --to-earliest", "").badly(65).contains("--topic"));
}

fn ends(at: &Place) {
    assert_eq!(at.json("cluster --log-dirs")["brokers"].as_array().map(Vec::is_empty), Some(false));
    let summary = at.say("bench produce -t {t}-n -n 1000 -s 50", "").well();
    let tail = summary.lines().last().unwrap_or_default();
    assert!(tail.starts_with("1000 records sent, ") && tail.ends_with(" ms 99.9th."), "{tail}");
    let table = at.say("bench consume -t {t}-n -n 1000", "").well();
    assert_eq!(table.lines().map(|line| line.split(", ").count()).collect::<Vec<_>>(), [10, 10], "{table}");
    assert!(at.say("topics list -X fetch.min.byte=1", "").badly(64).contains("did you mean fetch.min.bytes?"));
    assert!(at.say("consume {t}-n -f %q", "").badly(64).contains("no field %q"));

    // Whoever reads has gone before there is anything to read.
    let words = format!("consume {}-n -e -b {}", at.name("t"), at.bootstrap);
    let mut command = Command::new(binary());
    command.args(words.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{words}: {error}"));
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap_or_else(|error| panic!("{words}: {error}"));
    assert_eq!((output.status.code(), output.stderr.len()), (Some(141), 0), "{output:?}");

    let trimmed = |flags: &str| {
        let rows = at.json(&format!("topics delete-records {{t}}-n:0 {flags}"));
        (rows[0]["start"].as_i64(), at.json("topics describe {t}-n")[0]["partitions"][0]["start_offset"].as_i64())
    };
    assert_eq!(trimmed("-o 10 --dry-run"), (Some(10), Some(0)));
    assert_eq!(trimmed("-o 10"), (Some(10), Some(10)));
    assert_eq!(trimmed("-o +5"), (Some(15), Some(15)));
    assert_eq!(at.say("consume {t}-n -c 1", "").well(), "15\n");
    assert_eq!(at.say("topics delete-records {t}-n -o end", "").well().lines().count(), 2);
    assert_eq!(at.say("consume {t}-n -e", "").well(), "");

    for topic in ["{t}-k", "{t}-n", "{t}-copy"] {
        at.say(&format!("topics delete {topic}"), "").well();
    }
}

fn all(bootstrap: &str) {
    let at = Place::new(bootstrap);
    topics(&at);
    records(&at);
    groups(&at);
    ends(&at);
}

/// Leaders of a cluster in which all is as it should be.
fn elections(bootstrap: &str) {
    let at = Place::new(bootstrap);
    at.say("topics create {t}-led -p 2", "").well();
    let name = at.name("t");
    let elected = at.json("cluster elect-leaders {t}-led:1");
    let expect = serde_json::json!([{"name": format!("{name}-led-1"), "result": "not needed"}]);
    assert_eq!(elected, expect);
    assert_eq!(at.json("cluster elect-leaders {t}-led --unclean").as_array().map(Vec::len), Some(2));
    assert!(at.say("cluster elect-leaders", "").badly(64).contains("TOPIC"));
    at.say("topics delete {t}-led", "").well();
}

/// The verbs against a broker of our own, which does not wait for more members of a new group.
async fn over_our_own(profile: Profile) -> Outcome<()> {
    let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
    let broker = DevBroker::start(Config { profile, groups, ..Config::with_brokers(1) }).await?;
    let bootstrap = broker.bootstrap_servers();
    tokio::task::spawn_blocking(move || {
        all(&bootstrap);
        // Nobody else makes groups here: what `bench consume` made is gone.
        let groups = Place::new(&bootstrap).json("groups list").to_string();
        assert!(!groups.contains("perf-consumer"), "{groups}");
    })
    .await?;
    Ok(broker.stop().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_embedded_broker() -> Outcome<()> {
    over_our_own(Profile::default()).await
}

/// The same verbs, in the versions of clusters that have not all of ours.
#[tokio::test(flavor = "multi_thread")]
async fn over_older_brokers() -> Outcome<()> {
    for profile in Profile::OLDER {
        over_our_own(profile).await?;
    }
    Ok(())
}

fn over_kafka(version: Version) {
    let test = format!("the command line over Kafka {}", version.number);
    let Some(kafka) = or_skip(&test, Kafka::shared(version)) else { return };
    all(kafka.bootstrap());
    elections(kafka.bootstrap());
}

#[test]
fn over_kafka_39() {
    over_kafka(KAFKA_39);
}

#[test]
fn over_kafka_43() {
    over_kafka(KAFKA_43);
}

#[test]
fn what_is_asked_of_nobody() {
    assert!(run("topics list", "").badly(64).contains("--bootstrap-server"));
    assert!(run("topics lst", "").badly(64).contains("list"));
    assert!(run("topics list --log-level bogus", "").badly(64).contains("\"bogus\" is no level: error, warn"));
    assert!(run("broker --listen nowhere", "").badly(64).contains("\"nowhere\" is nowhere to listen"));
    assert!(run("produce -t t -H novalue", "").badly(64).contains("\"novalue\" is not KEY=VALUE"));
    let nobody = "topics list -b 127.0.0.1:1 -X socket.connection.setup.timeout.ms=300";
    assert!(run(nobody, "").badly(69).contains("127.0.0.1:1"));
    assert!(run("completions bash", "").well().contains("_highwater"));
    assert!(run("man", "").well().contains(".TH highwater"));
}
