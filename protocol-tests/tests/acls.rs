//! Who may do what, and who may come in at all: rules on real Kafka with an authorizer, SCRAM credentials there and on the
//! dev broker, by library, by command line and by Kafka's own tool; and what is said where there is none.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use highwater::client::{
    Acl, AclFilter, AclOperation, AclPattern, AclPatternFilter, AclPermission, AclResource, Admin, Client,
    ClientConfig, ConsumerConfig, Error, ErrorCode, ErrorKind, GroupProtocol, Login, NewOffset, NewTopic, OffsetReset,
    ProducerConfig, ProducerRecord, Sasl, ScramChange, ScramCredential, ScramMechanism, Topic, TopicPartition,
};
use highwater::devbroker::{Config, DevBroker, Mechanism, Profile, SaslConfig, User};
use protocol_tests::program::binary;
use protocol_tests::servers::{self, KAFKA_39, KAFKA_43, Kafka, Listener, Missing, Version};
use protocol_tests::{Outcome, finish, make_topics};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

/// Without authentication one may do everything here, as the brokers do among themselves.
const PROPERTIES: &[&str] = &[
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users=User:ANONYMOUS;User:admin",
];

struct Site {
    plain: String,
    sasl: String,
    /// Name and password of who asks, where that is asked for.
    asks_as: Option<(&'static str, &'static str)>,
}

impl Site {
    async fn connect(&self) -> Outcome<Client> {
        let sasl = self.asks_as.map(|(user, password)| Sasl::ScramSha256(Login::new(user, password)));
        let config = ClientConfig { bootstrap_servers: vec![self.plain.clone()], sasl, ..Default::default() };
        Ok(Client::connect(config).await?)
    }

    async fn admin(&self) -> Outcome<Admin> {
        Ok(self.connect().await?.admin())
    }

    async fn login(&self, user: &str, password: &str, sasl: fn(Login) -> Sasl) -> Result<Client, Error> {
        let login = Login::new(user, password);
        let config =
            ClientConfig { bootstrap_servers: vec![self.sasl.clone()], sasl: Some(sasl(login)), ..Default::default() };
        Client::connect(config).await
    }

    /// A verb, its exit status and what it said.
    fn say(&self, words: &str, input: &str) -> (i32, String) {
        let mut command = Command::new(binary());
        command.args(words.split(' ')).args(["-b", &self.plain]);
        if let Some((user, password)) = self.asks_as {
            command.args(["--sasl-mechanism", "SCRAM-SHA-256", "--sasl-username", user]);
            command.env("HIGHWATER_SASL_PASSWORD", password);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{words}: {error}"));
        // Not every verb reads.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("{words}: {error}"));
        let said = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }
}

/// Asks until it is as expected: brokers hear of changes after the answer to them.
async fn until<T: PartialEq + std::fmt::Debug>(expect: T, mut ask: impl AsyncFnMut() -> Outcome<T>) -> Outcome<()> {
    let mut last = None;
    let asked = protocol_tests::until(format!("{expect:?}"), LIMIT, async || {
        Ok((*last.insert(ask().await?) == expect).then_some(()))
    });
    asked.await.map_err(|error| format!("{error}, but {last:?}").into())
}

fn rule(name: &str, pattern: AclPattern, principal: &str, operation: AclOperation, permission: AclPermission) -> Acl {
    Acl {
        resource: AclResource::Topic,
        name: name.to_owned(),
        pattern,
        principal: principal.to_owned(),
        host: "*".to_owned(),
        operation,
        permission,
    }
}

async fn rules_are_made_and_found_and_removed(admin: &Admin) -> Outcome<()> {
    use {AclOperation::*, AclPattern::*, AclPermission::*};
    let acls = [
        rule("acls-", Prefixed, "User:carol", Read, Allow),
        rule("acls-one", Literal, "User:carol", Write, Deny),
        rule("acls-one", Literal, "User:dave", DescribeConfigs, Allow),
        rule("*", Literal, "User:dave", All, Allow),
    ];
    let wrong = Acl { resource: AclResource::Cluster, ..rule("no-cluster", Literal, "User:carol", All, Allow) };
    let made = admin.create_acls(&[&acls[..], &[wrong]].concat()).await?;
    let codes: Vec<_> = made.iter().map(|(_, outcome)| outcome.as_ref().err().and_then(Error::code)).collect();
    assert_eq!(codes, [None, None, None, None, Some(ErrorCode::INVALID_REQUEST)], "{made:?}");
    let again = admin.create_acls(&acls[..1]).await?;
    assert!(again[0].1.is_ok(), "{again:?}");

    let any = AclFilter::default;
    let named = |name: &str, pattern| AclFilter {
        resource: Some(AclResource::Topic),
        name: Some(name.to_owned()),
        pattern,
        ..any()
    };
    for (filter, expect) in [
        (any(), &[0, 1, 2, 3][..]),
        (named("acls-one", AclPatternFilter::Any), &[1, 2]),
        (named("acls-one", AclPatternFilter::Match), &[0, 1, 2, 3]),
        (named("acls-", AclPatternFilter::Is(Prefixed)), &[0]),
        (AclFilter { principal: Some("User:dave".to_owned()), ..any() }, &[2, 3]),
        (AclFilter { operation: Some(DescribeConfigs), ..any() }, &[2]),
        (AclFilter { permission: Some(Deny), ..any() }, &[1]),
        (AclFilter { resource: Some(AclResource::Group), ..any() }, &[]),
    ] {
        let mut expect: Vec<Acl> = expect.iter().map(|at: &usize| acls[*at].clone()).collect();
        expect.sort();
        until(expect, async || Ok(admin.describe_acls(&filter).await?)).await?;
    }

    let of = |name: &str| AclFilter { principal: Some(name.to_owned()), ..any() };
    let removed = admin.delete_acls(&[of("User:dave"), of("User:nobody"), of("User:carol")]).await?;
    let counts: Vec<_> = removed.iter().map(|(_, removed)| removed.as_ref().map_or(0, Vec::len)).collect();
    assert_eq!(counts, [2, 0, 2], "{removed:?}");
    until(0, async || Ok(admin.describe_acls(&any()).await?.len())).await
}

async fn rules_hold(site: &Site, admin: &Admin) -> Outcome<()> {
    let topic = Topic::from("acls-held");
    make_topics(&site.connect().await?, &[NewTopic::new(topic.clone()).partitions(1)]).await?;
    let alice = site.login("alice", "alice-secret", Sasl::ScramSha256).await?;
    let forbidden = Some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    let described = alice.admin().describe_acls(&AclFilter::default()).await;
    assert_eq!(described.err().and_then(|error| error.code()), forbidden);
    let write = async || {
        let producer = alice.producer(ProducerConfig { idempotent: false, ..Default::default() })?;
        let sent = producer.send(ProducerRecord::new(&topic, b"v")).await;
        producer.close(LIMIT).await?;
        Ok(sent.err().and_then(|error| error.code()))
    };
    until(Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED), write).await?;
    let allow = [rule("acls-h", AclPattern::Prefixed, "User:alice", AclOperation::Write, AclPermission::Allow)];
    assert!(admin.create_acls(&allow).await?[0].1.is_ok());
    until(None, write).await?;
    admin.delete_acls(&[AclFilter::default()]).await?;
    until(Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED), write).await
}

async fn users_come_and_go(site: &Site, admin: &Admin) -> Outcome<()> {
    let set = |user: &str, mechanism, password: &str, iterations| ScramChange::Set {
        user: user.to_owned(),
        mechanism,
        password: password.into(),
        iterations,
    };
    let (bob, erin) = ("bob".to_owned(), "erin".to_owned());
    let changed = admin
        .alter_scram_credentials(&[
            set(&bob, ScramMechanism::Sha256, "first", ScramChange::ITERATIONS),
            set(&bob, ScramMechanism::Sha512, "second", 8192),
            set(&erin, ScramMechanism::Sha256, "third", 1),
        ])
        .await?;
    let codes: Vec<_> = changed.iter().map(|(_, outcome)| outcome.as_ref().err().and_then(Error::code)).collect();
    assert_eq!(codes, [None, None, Some(ErrorCode::UNACCEPTABLE_CREDENTIAL)], "{changed:?}");
    let described = async || {
        let mut all = admin.describe_scram_credentials(std::slice::from_ref(&bob)).await?;
        Ok(all.remove(0).1.map_err(|error| error.code()))
    };
    let credential = |mechanism, iterations| ScramCredential { mechanism, iterations };
    let both = vec![credential(ScramMechanism::Sha256, 4096), credential(ScramMechanism::Sha512, 8192)];
    until(Ok(both.clone()), described).await?;
    let all = admin.describe_scram_credentials(&[]).await?;
    let names: Vec<&str> = all.iter().map(|(user, _)| user.as_str()).collect();
    assert_eq!(names, ["alice", "bob"]);

    // A broker describes what it has heard a little before it goes by it.
    until(true, async || Ok(site.login(&bob, "first", Sasl::ScramSha256).await.is_ok())).await?;
    until(true, async || Ok(site.login(&bob, "second", Sasl::ScramSha512).await.is_ok())).await?;
    assert!(site.login(&bob, "first", Sasl::ScramSha512).await.is_err_and(|error| error.is_authentication()));
    let delete = |mechanism| ScramChange::Delete { user: bob.clone(), mechanism };
    let stranger = ScramChange::Delete { user: "eve".to_owned(), mechanism: ScramMechanism::Sha256 };
    let changed = admin.alter_scram_credentials(&[stranger]).await?;
    let code = changed[0].1.as_ref().err().and_then(Error::code);
    assert_eq!(code, Some(ErrorCode::RESOURCE_NOT_FOUND), "{changed:?}");
    let changed = admin.alter_scram_credentials(&[delete(ScramMechanism::Sha512)]).await?;
    assert!(changed[0].1.is_ok(), "{changed:?}");
    until(Ok(both[..1].to_vec()), described).await?;
    let changed = admin.alter_scram_credentials(&[delete(ScramMechanism::Sha256)]).await?;
    assert!(changed[0].1.is_ok(), "{changed:?}");
    until(Err(Some(ErrorCode::RESOURCE_NOT_FOUND)), described).await?;
    let refused = async || site.login(&bob, "first", Sasl::ScramSha256).await.is_err_and(|it| it.is_authentication());
    until(true, async || Ok(refused().await)).await?;
    Ok(())
}

/// Verbs, exit statuses and what is said, in order; a table is told by its cells.
async fn the_command_line_does_it(site: &Site) -> Outcome<()> {
    let bob = "TOPIC logs- PREFIXED User:bob * READ ALLOW";
    let (list, head) = ("acls list --topic logs-", "RESOURCE NAME PATTERN PRINCIPAL HOST OPERATION PERMISSION");
    let both = [head, bob, "TOPIC logs- PREFIXED User:bob * WRITE ALLOW"];
    let steps: &[(&str, i32, &[&str])] = &[
        (
            "acls create --allow-principal bob --operation read,Write --topic logs- --resource-pattern-type prefixed",
            0,
            &both,
        ),
        (list, 0, &both),
        (
            "acls list --topic logs-eu --resource-pattern-type match --principal User:bob --operation read",
            0,
            &[head, bob],
        ),
        ("acls list --topic logs- --resource-pattern-type literal", 0, &[head]),
        ("acls delete --topic logs- --operation write --dry-run", 0, &[head, both[2]]),
        (list, 0, &both),
        ("acls delete --topic logs- --operation write", 0, &[head, both[2]]),
        (list, 0, &[head, bob]),
        ("acls delete --allow-principal bob", 0, &[head, bob]),
        (list, 0, &[head]),
        ("acls delete", 64, &["highwater: say which rules; `acls list` shows what there is"]),
    ];
    for (words, status, lines) in steps {
        said(site, words, "", *status, lines).await?;
    }
    Ok(())
}

/// A verb ends and says as is expected; one that only asks is repeated until it does. A table is told by its cells.
async fn said(site: &Site, words: &str, input: &str, status: i32, lines: &[&str]) -> Outcome<()> {
    let expect = (status, lines.iter().map(ToString::to_string).collect::<Vec<_>>());
    let say = async || {
        let (status, said) = tokio::task::block_in_place(|| site.say(words, input));
        let cells = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        Outcome::Ok((status, said.lines().map(cells).collect::<Vec<_>>()))
    };
    match ["acls list", "users describe"].iter().any(|asking| words.starts_with(asking)) {
        true => until(expect, say).await?,
        false => assert_eq!(say().await?, expect, "{words}"),
    }
    Ok(())
}

/// A user is made, changed and removed by the command line, and can come in or not as it says.
async fn the_command_line_makes_users(site: &Site) -> Outcome<()> {
    let (head, row_256, row_512) =
        ("USER MECHANISM ITERATIONS", "frank SCRAM-SHA-256 8192", "frank SCRAM-SHA-512 8192");
    let both = [head, row_256, row_512];
    let empty = "highwater: the password on standard input: it is empty";
    said(site, "users alter frank", "\n", 65, &[empty]).await?;
    let both_mechanisms = "users alter frank --mechanism scram-sha-512,SCRAM-SHA-256 --iterations 8192";
    said(site, both_mechanisms, "first\n", 0, &both).await?;
    said(site, "users describe frank", "", 0, &both).await?;
    let comes_in = async |password: &str, sasl| Ok(site.login("frank", password, sasl).await.is_ok());
    until(true, async || comes_in("first", Sasl::ScramSha512).await).await?;

    let directory = tempfile::tempdir()?;
    let file = directory.path().join("password");
    std::fs::write(&file, "second")?;
    let again = format!("users alter frank --password-file {}", file.display());
    said(site, &again, "", 0, &[head, "frank SCRAM-SHA-256 4096"]).await?;
    until(true, async || comes_in("second", Sasl::ScramSha256).await).await?;

    said(site, "users delete frank --mechanism SCRAM-SHA-512 --dry-run", "", 0, &[head, row_512]).await?;
    said(site, "users delete frank --mechanism SCRAM-SHA-512", "", 0, &[head, row_512]).await?;
    said(site, "users describe frank", "", 0, &[head, "frank SCRAM-SHA-256 4096"]).await?;
    said(site, "users delete frank", "", 0, &[head, "frank SCRAM-SHA-256 4096"]).await?;
    until(false, async || comes_in("second", Sasl::ScramSha256).await).await?;
    let (status, text) = tokio::task::block_in_place(|| site.say("users describe frank", ""));
    assert!(status == 65 && text.contains("user frank: ") && text.contains("RESOURCE_NOT_FOUND"), "{status} {text}");
    Ok(())
}

/// What alice may do with something of this name.
fn alice_may(operation: AclOperation, resource: AclResource, name: &str) -> Acl {
    Acl { resource, ..rule(name, AclPattern::Literal, "User:alice", operation, AclPermission::Allow) }
}

/// Makes topics of one partition, with one record each.
async fn fill(client: &Client, topics: &[Topic]) -> Outcome<()> {
    let new: Vec<_> = topics.iter().map(|topic| NewTopic::new(topic.clone()).partitions(1)).collect();
    make_topics(client, &new).await?;
    let producer = client.producer(ProducerConfig::default())?;
    for topic in topics {
        producer.send(ProducerRecord::new(topic, topic.as_bytes())).await?;
    }
    Ok(producer.close(LIMIT).await?)
}

/// Of two topics one is forbidden: that is said, the other one is read, and when it is allowed it is read as well. Groups of
/// the consumer protocol let nobody in who names a forbidden topic (KAFKA-18813), so there both are read after it is allowed.
async fn a_member_reads_what_it_may(site: &Site, group_protocol: GroupProtocol) -> Outcome<()> {
    let (plain, name) = (site.connect().await?, format!("acls-{group_protocol:?}").to_lowercase());
    let topics = ["open", "closed"].map(|kind| Topic::from(format!("{name}-{kind}")));
    fill(&plain, &topics).await?;
    let may_read = |resource, name: &str| alice_may(AclOperation::Read, resource, name);
    let at_first = [may_read(AclResource::Group, &name), may_read(AclResource::Topic, &topics[0])];
    for (_, created) in plain.admin().create_acls(&at_first).await? {
        created?;
    }
    let rules = async || Ok(plain.admin().describe_acls(&AclFilter::default()).await?.len());
    until(at_first.len(), rules).await?;
    let alice = site.login("alice", "alice-secret", Sasl::ScramSha256).await?;
    let mut consumer = alice.consumer(ConsumerConfig {
        group_id: name.clone(),
        topics: topics.to_vec(),
        group_protocol,
        auto_offset_reset: OffsetReset::Earliest,
        ..Default::default()
    })?;
    let (mut read, mut refusals) = (Vec::new(), 0);
    let reading = async {
        while read.len() < topics.len() {
            match consumer.next().await.ok_or("the member has ended")? {
                Ok(delivery) => {
                    read.push(delivery.topic_partition.topic.clone());
                    delivery.finish();
                }
                Err(error) => {
                    assert_eq!(error.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED), "{error}");
                    // A heartbeat is refused without saying for which topic.
                    refusals += usize::from(error.to_string().contains(&*topics[1]));
                }
            }
            let is_read = read.len() == 1 || group_protocol == GroupProtocol::Consumer;
            if refusals > 0 && is_read {
                plain.admin().create_acls(&[may_read(AclResource::Topic, &topics[1])]).await?;
            }
        }
        Outcome::Ok(())
    };
    let done = timeout(3 * LIMIT, reading).await;
    done.map_err(|_| format!("{group_protocol:?}: {read:?} read, {refusals} refusals said"))??;
    assert!(topics.iter().all(|topic| read.contains(topic)), "{read:?}");
    consumer.close(LIMIT).await?;
    plain.admin().delete_acls(&[AclFilter::default()]).await?;
    until(0, rules).await?;
    Ok(())
}

/// A group that is listed and may not be asked about is said to be unknown; of the others everything is told.
async fn the_lag_monitor_says_what_is_hidden(site: &Site) -> Outcome<()> {
    let (plain, topic) = (site.connect().await?, Topic::from("acls-lag"));
    fill(&plain, std::slice::from_ref(&topic)).await?;
    for group in ["acls-lag-seen", "acls-lag-hidden"] {
        let to = (TopicPartition::new(topic.clone(), 0), NewOffset::from(0));
        plain.admin().alter_offsets(group, &[to]).await?;
    }
    let may_describe = |resource, name: &str| alice_may(AclOperation::Describe, resource, name);
    let rules = [
        may_describe(AclResource::Cluster, Acl::CLUSTER),
        may_describe(AclResource::Topic, &topic),
        may_describe(AclResource::Group, "acls-lag-seen"),
    ];
    plain.admin().create_acls(&rules).await?;
    let login = ["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=SCRAM-SHA-256", "sasl.username=alice"];
    let mut lag = Command::new(binary());
    lag.args(["lag", "--once", "--output", "json", "--group", "acls-lag-*", "-b", &site.sasl]);
    for property in login.iter().chain(&["sasl.password=alice-secret"]) {
        lag.args(["-X", property]);
    }
    let expect = (Some(69), 1, "commit_unknown".to_owned());
    until(expect, async || {
        let output = tokio::task::block_in_place(|| lag.output())?;
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let groups = &said["groups"];
        let seen = groups["acls-lag-seen"]["lag_records"].as_i64().unwrap_or(-1);
        let hidden = groups["acls-lag-hidden"]["unknown"].as_str().unwrap_or_default().to_owned();
        Ok((output.status.code(), seen, hidden))
    })
    .await?;
    plain.admin().delete_acls(&[AclFilter::default()]).await?;
    Ok(())
}

fn on_kafka(version: Version) -> Result<(), Missing> {
    let kafka = Kafka::own_with(version, 1, PROPERTIES)?;
    let sasl = kafka.listener(Listener::SaslPlaintext);
    let site = Site { plain: kafka.bootstrap().to_owned(), sasl, asks_as: None };
    finish(async {
        let admin = site.admin().await?;
        rules_are_made_and_found_and_removed(&admin).await?;
        rules_hold(&site, &admin).await?;
        users_come_and_go(&site, &admin).await?;
        the_command_line_does_it(&site).await?;
        the_command_line_makes_users(&site).await?;
        if version.number == KAFKA_43.number {
            kafkas_tool_makes_users(&site).await?;
        }
        a_member_reads_what_it_may(&site, GroupProtocol::Classic).await?;
        a_member_reads_what_it_may(&site, GroupProtocol::Consumer).await?;
        the_lag_monitor_says_what_is_hidden(&site).await
    });
    Ok(())
}

/// What `kafka-configs.sh` says of the users it is asked about.
fn kafka_configs(site: &Site, words: &[&str]) -> Result<String, Missing> {
    let directory = tempfile::tempdir().map_err(|error| Missing(error.to_string()))?;
    let properties = directory.path().join("client.properties");
    let text = site.asks_as.map_or(String::new(), |(user, password)| {
        format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\nsasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required username={user} password={password};\n"
        )
    });
    std::fs::write(&properties, text).map_err(|error| Missing(error.to_string()))?;
    let mut tool = servers::script("servers/kafka.sh");
    tool.args(["tool", KAFKA_43.number, "kafka.admin.ConfigCommand", "--bootstrap-server", &site.plain]);
    tool.arg("--command-config").arg(properties).args(["--entity-type", "users"]).args(words);
    servers::succeed(&mut tool)
}

async fn kafkas_tool_makes_users(site: &Site) -> Outcome<()> {
    let say = |words: &[&str]| {
        let said = tokio::task::block_in_place(|| kafka_configs(site, words));
        servers::or_skip("users of Kafka's tool", said)
    };
    let add = "SCRAM-SHA-512=[iterations=8192,password=grace-secret]";
    let Some(_) = say(&["--entity-name", "grace", "--alter", "--add-config", add]) else { return Ok(()) };
    until(true, async || Ok(site.login("grace", "grace-secret", Sasl::ScramSha512).await.is_ok())).await?;
    let said = say(&["--entity-name", "grace", "--describe"]).unwrap_or_default();
    assert_eq!(said.trim(), "SCRAM credential configs for user-principal 'grace' are SCRAM-SHA-512=iterations=8192");
    Ok(())
}

#[test]
fn kafka_3_9() {
    let _alone = servers::one_at_a_time();
    servers::or_skip("rules on Kafka 3.9", on_kafka(KAFKA_39));
}

#[test]
fn kafka_4_3() {
    let _alone = servers::one_at_a_time();
    servers::or_skip("rules on Kafka 4.3", on_kafka(KAFKA_43));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_come_and_go_on_the_dev_broker() -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let config = || Config {
        data_dir: Some(directory.path().to_owned()),
        sasl: Some(SaslConfig {
            mechanisms: vec![Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512],
            users: vec![User::new("alice", "alice-secret")],
            session_lifetime: None,
        }),
        ..Config::default()
    };
    let asks_as = Some(("alice", "alice-secret"));
    let broker = DevBroker::start(config()).await?;
    let site = Site { plain: broker.bootstrap_servers(), sasl: broker.bootstrap_servers(), asks_as };
    users_come_and_go(&site, &site.admin().await?).await?;
    the_command_line_makes_users(&site).await?;
    kafkas_tool_makes_users(&site).await?;
    said(
        &site,
        "users alter heidi --mechanism SCRAM-SHA-512",
        "heidi-secret\n",
        0,
        &["USER MECHANISM ITERATIONS", "heidi SCRAM-SHA-512 4096"],
    )
    .await?;
    broker.stop().await?;

    let broker = DevBroker::start(config()).await?;
    let site = Site { plain: broker.bootstrap_servers(), sasl: broker.bootstrap_servers(), asks_as };
    site.login("heidi", "heidi-secret", Sasl::ScramSha512).await?;
    assert!(site.login("heidi", "guess", Sasl::ScramSha512).await.is_err_and(|error| error.is_authentication()));
    Ok(broker.stop().await?)
}

/// What a broker does not offer is said to be so, at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_has_no_rules_says_so() -> Outcome<()> {
    let broker = DevBroker::start(Config { profile: Profile::Redpanda24, ..Config::default() }).await?;
    let site = Site { plain: broker.bootstrap_servers(), sasl: String::new(), asks_as: None };
    let admin = site.admin().await?;
    let acl = rule("t", AclPattern::Literal, "User:bob", AclOperation::Read, AclPermission::Allow);
    let delete = ScramChange::Delete { user: "bob".to_owned(), mechanism: ScramMechanism::Sha256 };
    let errors = [
        admin.describe_acls(&AclFilter::default()).await.err(),
        admin.create_acls(&[acl]).await?.remove(0).1.err(),
        admin.delete_acls(&[AclFilter::default()]).await?.remove(0).1.err(),
        admin.describe_scram_credentials(&[]).await.err(),
        admin.alter_scram_credentials(&[delete]).await?.remove(0).1.err(),
    ];
    for error in errors {
        let error = error.ok_or("no error")?;
        assert!(
            matches!(error.kind, ErrorKind::Unsupported) && error.api.is_some() && error.broker.is_some(),
            "{error}"
        );
    }
    for (words, api) in [("acls list", "DescribeAcls"), ("users describe", "DescribeUserScramCredentials")] {
        let (status, said) = tokio::task::block_in_place(|| site.say(words, ""));
        let names_it = said.contains(&format!("{api} to broker 1")) && said.contains("no version");
        assert!(status == 65 && names_it, "{status} {said}");
    }
    Ok(broker.stop().await?)
}
