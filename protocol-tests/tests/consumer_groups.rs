//! Groups of the consumer protocol (KIP-848), the same scenarios on the dev broker and on Kafka 4.3, and the fall-back to
//! the classic one on Kafka 3.9. A broker that does not speak the protocol is skipped, which is found out by trying.
//! Members come, go and are killed in classic groups as well, on all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use highwater::client::{
    Assignor, Client, Consumer, ConsumerConfig, Error, ErrorCode, GroupDescription, GroupProtocol, NewTopic,
    OffsetReset, ProducerRecord, Topic,
};
use highwater::devbroker::{Config, DevBroker, GroupConfig};
use protocol_tests::program::{Running, binary};
use protocol_tests::servers::{self, KAFKA_39, KAFKA_43, Kafka, Missing, Version};
use protocol_tests::{Outcome, connect, make_topics};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(120);
/// A member that is not heard of for so long is out: what brokers say in the consumer protocol, and members in the classic one,
/// if nobody has changed it.
const SESSION: Duration = Duration::from_secs(45);
/// The shortest that brokers grant, for members that are killed.
const SHORT_SESSION: Duration = Duration::from_secs(6);

/// A name that no other run has.
fn unique(what: &str) -> String {
    protocol_tests::unique(&format!("consumer-groups-{what}"))
}

/// How often each number was read, by whomever.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<u32, u32>>>);

impl Seen {
    fn take(&self, number: u32) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default() += 1;
    }

    /// How many different ones, and how many more than once.
    fn counts(&self) -> (usize, u32) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.len(), seen.values().map(|times| times - 1).sum())
    }

    /// Numbers that somebody else's program has printed.
    fn take_printed(&self, file: &Path) -> Outcome<()> {
        let printed = std::fs::read_to_string(file)?;
        printed.lines().filter_map(|line| line.trim().parse().ok()).for_each(|number| self.take(number));
        Ok(())
    }
}

/// Who deals out the partitions of a group.
#[derive(Debug, Clone, Copy)]
enum Dealer {
    /// By the consumer protocol.
    Broker,
    /// By the classic one, the member that leads.
    Leader(Assignor),
}

impl Dealer {
    fn name(self) -> &'static str {
        match self {
            Self::Broker => "the broker's",
            Self::Leader(assignor) => assignor.name(),
        }
    }
}

/// Classic groups: one that stops for a rebalance and one that reads on, and how many members they have.
const CLASSIC: [(Dealer, usize); 4] = [
    (Dealer::Leader(Assignor::Range), 2),
    (Dealer::Leader(Assignor::Range), 5),
    (Dealer::Leader(Assignor::CooperativeSticky), 2),
    (Dealer::Leader(Assignor::CooperativeSticky), 5),
];

/// A cluster, and a topic and a group of our own on it.
struct Site {
    servers: String,
    client: Client,
    topic: Topic,
    group: String,
    partitions: i32,
    dealer: Dealer,
    session: Duration,
}

impl Site {
    async fn new(servers: &str, partitions: i32) -> Outcome<Self> {
        let client = connect(servers).await?;
        let topic = Topic::from(unique("topic").as_str());
        make_topics(&client, &[NewTopic::new(topic.clone()).partitions(partitions)]).await?;
        let (servers, group) = (servers.to_owned(), unique("group"));
        Ok(Self { servers, client, topic, group, partitions, dealer: Dealer::Broker, session: SESSION })
    }

    /// For a group of so many members, with enough partitions for each of them.
    async fn for_members(servers: &str, dealer: Dealer, count: usize, session: Duration) -> Outcome<Self> {
        Ok(Self { dealer, session, ..Self::new(servers, 2 * count as i32 + 2).await? })
    }

    fn config(&self) -> ConsumerConfig {
        let config = ConsumerConfig {
            group_id: self.group.clone(),
            topics: vec![self.topic.clone()],
            auto_offset_reset: OffsetReset::Earliest,
            session_timeout: self.session,
            fetch_max_wait: Duration::from_millis(50),
            ..Default::default()
        };
        match self.dealer {
            Dealer::Broker => ConsumerConfig { group_protocol: GroupProtocol::Consumer, ..config },
            Dealer::Leader(assignor) => {
                ConsumerConfig { group_protocol: GroupProtocol::Classic, assignors: vec![assignor], ..config }
            }
        }
    }

    /// The same, as our program is told it.
    fn properties(&self) -> Vec<String> {
        let mut properties = vec![format!("session.timeout.ms={}", self.session.as_millis())];
        match self.dealer {
            Dealer::Broker => properties.push("group.protocol=consumer".to_owned()),
            Dealer::Leader(assignor) => {
                properties.push("group.protocol=classic".to_owned());
                properties.push(format!("partition.assignment.strategy={}", assignor.name()));
            }
        }
        properties
    }

    fn member(&self, seen: &Seen) -> Outcome<Member> {
        Member::start(&self.servers, self.config(), seen)
    }

    async fn produce(&self, numbers: std::ops::Range<u32>) -> Outcome<()> {
        let producer = self.client.producer(Default::default())?;
        for number in numbers {
            let (value, partition) = (number.to_string(), Some(number as i32 % self.partitions));
            let record = ProducerRecord { partition, ..ProducerRecord::new(&self.topic, value.as_bytes()) };
            drop(producer.enqueue(record).await?);
        }
        producer.flush().await;
        Ok(producer.close(PATIENCE).await?)
    }

    async fn described(&self) -> Outcome<GroupDescription> {
        let mut all = self.client.admin().describe_groups(std::slice::from_ref(&self.group)).await?;
        Ok(all.remove(&self.group).ok_or("the group is not described")??)
    }

    /// Waits until the group has so many members, each with something to read, and all is read by somebody.
    async fn until_shared_by(&self, members: usize) -> Outcome<GroupDescription> {
        until(&format!("{members} members share {} partitions", self.partitions), async || {
            let group = self.described().await.ok()?;
            let parts: Vec<usize> = group.members.iter().map(|it| it.assignment.len()).collect();
            let all = parts.len() == members && !parts.contains(&0);
            (all && parts.iter().sum::<usize>() == self.partitions as usize).then_some(group)
        })
        .await
    }

    /// Waits until the group has so many members with so many partitions each: on the way there they may share unevenly.
    async fn until_each_has(&self, members: usize, partitions: usize) -> Outcome<GroupDescription> {
        let what = format!("{members} members have {partitions} partitions each");
        let shared = until(&what, async || {
            let group = self.described().await.ok()?;
            let even = group.members.iter().all(|it| it.assignment.len() == partitions);
            (even && group.members.len() == members).then_some(group)
        });
        match shared.await {
            Err(late) => Err(format!("{late}: {:?}", self.described().await?).into()),
            shared => shared,
        }
    }

    async fn committed(&self) -> Outcome<i64> {
        let groups = self.client.admin().committed_offsets(std::slice::from_ref(&self.group)).await?;
        let offsets = groups.get(&self.group).ok_or("no such group")?.as_ref().map_err(Error::clone)?;
        Ok(offsets.values().filter_map(|it| it.offset).sum())
    }
}

async fn until<T>(what: &str, mut answer: impl AsyncFnMut() -> Option<T>) -> Outcome<T> {
    protocol_tests::until(what, PATIENCE, async || Ok(answer().await)).await
}

async fn until_read(seen: &Seen, count: usize) -> Outcome<()> {
    until(&format!("{count} records are read"), async || (seen.counts().0 >= count).then_some(())).await
}

/// A consumer that reads all the time, in a runtime of its own: it can be stopped dead, as if its process were.
struct Member {
    runtime: Option<Runtime>,
    close: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<Outcome<()>>>,
    held: Arc<AtomicUsize>,
}

impl Member {
    fn start(servers: &str, config: ConsumerConfig, seen: &Seen) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let ((close, closed), (end, ended)) = (oneshot::channel(), oneshot::channel());
        let held = Arc::new(AtomicUsize::new(0));
        let reading = read(servers.to_owned(), config, seen.clone(), Arc::clone(&held), closed);
        runtime.spawn(async move { end.send(reading.await) });
        Ok(Self { runtime: Some(runtime), close: Some(close), ended: Some(ended), held })
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// What has come of it.
    async fn ended(&mut self) -> Outcome<()> {
        let ended = self.ended.take().ok_or("it has ended before")?;
        timeout(PATIENCE, ended).await??
    }

    /// Leaves the group.
    async fn close(mut self) -> Outcome<()> {
        // It may have ended by itself, which shows in the next line.
        let _ = self.close.take().map(|close| close.send(()));
        self.ended().await
    }
}

impl Drop for Member {
    /// Dead: no word to anybody.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn read(
    servers: String,
    config: ConsumerConfig,
    seen: Seen,
    held: Arc<AtomicUsize>,
    mut close: oneshot::Receiver<()>,
) -> Outcome<()> {
    let client = connect(&servers).await?;
    let mut consumer = client.consumer(config)?;
    loop {
        held.store(consumer.assignment().len(), Ordering::Relaxed);
        let next = tokio::select! {
            _ = &mut close => break,
            next = timeout(Duration::from_millis(20), consumer.next()) => next,
        };
        match next {
            Ok(Some(Ok(delivery))) => {
                let values =
                    delivery.records().filter_map(|record| std::str::from_utf8(record.value?).ok()?.parse().ok());
                values.for_each(|number| seen.take(number));
                delivery.finish();
            }
            // Of one partition, while a broker is away: it goes on.
            Ok(Some(Err(error))) if error.is_retriable() => {}
            Ok(Some(Err(error))) => return Err(error.into()),
            Ok(None) => return Err("the consumer has ended".into()),
            Err(_) => {}
        }
    }
    consumer.close(PATIENCE).await?;
    client.close().await;
    Ok(())
}

/// Whether this broker speaks the protocol: a member is asked to, and the group looked at.
async fn speaks(servers: &str) -> Outcome<bool> {
    let site = Site::new(servers, 1).await?;
    let member = site.member(&Seen::default())?;
    let group = site.until_shared_by(1).await?;
    member.close().await?;
    Ok(group.is_consumer_protocol())
}

async fn dev_broker() -> Outcome<DevBroker> {
    let groups = GroupConfig { initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
    Ok(DevBroker::start(Config { groups, ..Config::with_brokers(3) }).await?)
}

/// Plays a scenario to everybody who speaks the protocol.
async fn on_all<F: Future<Output = Outcome<()>>>(name: &str, scenario: impl Fn(String) -> F) -> Outcome<()> {
    let broker = dev_broker().await?;
    let servers = broker.bootstrap_servers();
    if speaks(&servers).await? {
        scenario(servers).await.map_err(|error| format!("{name} on the dev broker: {error}"))?;
    } else {
        servers::tell(&format!("SKIPPED {name} on the dev broker: it does not speak the consumer protocol"));
    }
    broker.stop().await?;
    on_kafka(name, KAFKA_43, scenario).await
}

/// The same of classic groups, which every broker has.
async fn on_all_classic<F: Future<Output = Outcome<()>>>(name: &str, scenario: impl Fn(String) -> F) -> Outcome<()> {
    let broker = dev_broker().await?;
    scenario(broker.bootstrap_servers()).await.map_err(|error| format!("{name} on the dev broker: {error}"))?;
    broker.stop().await?;
    on_kafka(name, KAFKA_39, &scenario).await?;
    on_kafka(name, KAFKA_43, &scenario).await
}

async fn on_kafka<F: Future<Output = Outcome<()>>>(
    name: &str,
    version: Version,
    scenario: impl Fn(String) -> F,
) -> Outcome<()> {
    let test = format!("{name} on Kafka {}", version.number);
    let Some(kafka) = servers::or_skip(&test, Kafka::shared(version)) else { return Ok(()) };
    scenario(kafka.bootstrap().to_owned()).await.map_err(|error| format!("{test}: {error}").into())
}

#[tokio::test]
async fn what_is_read_is_committed_and_gone_on_from() -> Outcome<()> {
    on_all("read, commit, resume", |servers| async move {
        for assignor in [None, Some("uniform"), Some("range")] {
            let site = Site::new(&servers, 6).await?;
            let config = || ConsumerConfig { remote_assignor: assignor.map(str::to_owned), ..site.config() };
            for (round, numbers) in [0..600, 600..900].into_iter().enumerate() {
                site.produce(numbers.clone()).await?;
                let seen = Seen::default();
                let member = Member::start(&servers, config(), &seen)?;
                until_read(&seen, numbers.len()).await?;
                let group = site.described().await?;
                assert!(group.is_consumer_protocol(), "{group:?}");
                assert!(assignor.is_none() || group.assignor.as_deref() == assignor, "{group:?}");
                member.close().await?;
                assert_eq!(seen.counts(), (numbers.len(), 0), "round {round}");
                assert_eq!(site.committed().await?, i64::from(numbers.end));
                assert_eq!(site.described().await?.members, []);
            }
        }
        Ok(())
    })
    .await
}

/// Members come, and one of them leaves, under a stream of records.
async fn come_and_go(servers: &str, dealer: Dealer, count: usize) -> Outcome<()> {
    let (site, seen) = (Site::for_members(servers, dealer, count, SESSION).await?, Seen::default());
    let mut members = Vec::new();
    let mut written = 0;
    for _ in 0..count {
        members.push(site.member(&seen)?);
        site.produce(written..written + 500).await?;
        written += 500;
    }
    site.until_shared_by(count).await?;
    site.produce(written..written + 500).await?;
    written += 500;
    let leaves = members.pop().ok_or("nobody")?;
    let held = leaves.held();
    leaves.close().await?;
    let taken = taken_over(&site, &members).await?;
    site.produce(written..written + 500).await?;
    written += 500;
    until_read(&seen, written as usize).await?;
    for member in members {
        member.close().await?;
    }
    assert_eq!(site.committed().await?, i64::from(written));
    let ((read, twice), by) = (seen.counts(), dealer.name());
    servers::tell(&format!(
        "{count} members, {by}: {read} of {written} records read, {twice} of them twice; {held} partitions taken over {taken:.2?} after their member had left"
    ));
    assert_eq!(twice, 0, "nobody was killed");
    Ok(())
}

/// How long the others take to have everything, once one has left. The group does not wait for the end of its session: who left
/// is gone from it, and that end is far beyond how long is waited here.
async fn taken_over(site: &Site, others: &[Member]) -> Outcome<Duration> {
    let left = Instant::now();
    assert_eq!(site.described().await?.members.len(), others.len(), "who has left is no member");
    let has_all = || others.iter().map(Member::held).sum::<usize>() == site.partitions as usize;
    let all = protocol_tests::until("the others have taken over", SESSION / 2, async || Ok(has_all().then_some(())));
    all.await?;
    Ok(left.elapsed())
}

#[tokio::test]
async fn two_five_and_twenty_members_come_and_go() -> Outcome<()> {
    on_all("come and go", |servers| async move {
        for count in [2, 5, 20] {
            come_and_go(&servers, Dealer::Broker, count).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn members_of_classic_groups_come_and_go() -> Outcome<()> {
    on_all_classic("come and go, classic", |servers| async move {
        try_join_all(CLASSIC.map(|(dealer, count)| come_and_go(&servers, dealer, count))).await?;
        Ok(())
    })
    .await
}

/// `highwater consume` as a process of its own; what it prints goes to a file.
fn process(site: &Site, file: &Path) -> Outcome<Running> {
    let asked = ["consume", &site.topic, "--group", &site.group, "--bootstrap-server", &site.servers];
    let mut command = Command::new(binary());
    command.args(asked).stdin(Stdio::null());
    for property in site.properties() {
        command.args(["-X", &property]);
    }
    Ok(Running(command.stdout(File::create(file)?).stderr(Stdio::null()).spawn()?))
}

/// Some are killed: one as a process, one whose connections break off, and the coordinator if its cluster is given.
async fn kill(servers: &str, dealer: Dealer, count: usize, cluster: Option<&Kafka>) -> Outcome<()> {
    // It may have to be built first, and a broker in this runtime is not to stand still meanwhile.
    tokio::task::spawn_blocking(binary).await?;
    let (site, seen) = (Site::for_members(servers, dealer, count, SHORT_SESSION).await?, Seen::default());
    let printed = servers::scratch("consumer-groups").join(format!("printed-{}", site.group));
    let mut members: Vec<Member> = (1..count).map(|_| site.member(&seen)).collect::<Outcome<_>>()?;
    let process = process(&site, &printed)?;
    site.until_shared_by(count).await?;
    site.produce(0..2000).await?;
    until("the process prints", async || std::fs::metadata(&printed).is_ok_and(|it| it.len() > 0).then_some(()))
        .await?;
    drop(process);
    if count > 2 {
        drop(members.pop());
    }
    site.produce(2000..4000).await?;
    match cluster {
        Some(kafka) => kill_coordinator(kafka, &site, 4000..6000).await?,
        None => site.produce(4000..6000).await?,
    }
    seen.take_printed(&printed)?;
    until_read(&seen, 6000).await?;
    let held = || members.iter().map(Member::held).sum::<usize>();
    until("who is left has everything", async || (held() == site.partitions as usize).then_some(())).await?;
    for member in members {
        member.close().await?;
    }
    assert_eq!(site.committed().await?, 6000);
    let ((read, twice), by) = (seen.counts(), dealer.name());
    let coordinator = if cluster.is_some() { " and the coordinator" } else { "" };
    servers::tell(&format!(
        "{count} members, {by}, some{coordinator} killed: {read} of 6000 records read, {twice} of them twice"
    ));
    Ok(())
}

/// It comes back after another broker has taken its place; these are written meanwhile.
async fn kill_coordinator(kafka: &Kafka, site: &Site, numbers: std::ops::Range<u32>) -> Outcome<()> {
    let coordinator = usize::try_from(site.described().await?.coordinator)?;
    kafka.kill(coordinator);
    site.produce(numbers).await?;
    let mut said = String::new();
    let moved = until("another broker keeps the group", async || {
        let described = site.described().await;
        said = format!("{described:?}");
        described.ok().filter(|group| group.coordinator != coordinator as i32)
    });
    moved.await.map_err(|error| format!("{error}; at last it was {said}"))?;
    kafka.restart(coordinator);
    Ok(())
}

#[tokio::test]
async fn members_and_coordinators_are_killed() -> Outcome<()> {
    let sessions = ["group.consumer.min.session.timeout.ms=6000", "group.consumer.session.timeout.ms=6000"];
    let own = tokio::task::spawn_blocking(move || Kafka::own_with(KAFKA_43, 3, &sessions)).await?;
    let Some(kafka) = servers::or_skip("killed members of consumer groups", own) else { return Ok(()) };
    let plays = [
        (Dealer::Broker, 2, false),
        (Dealer::Broker, 5, true),
        (Dealer::Broker, 20, false),
        (Dealer::Leader(Assignor::Range), 5, true),
    ];
    for (dealer, count, with_coordinator) in plays {
        kill(kafka.bootstrap(), dealer, count, with_coordinator.then_some(&kafka)).await?;
    }
    Ok(tokio::task::spawn_blocking(move || drop(kafka)).await?)
}

#[tokio::test]
async fn members_of_classic_groups_are_killed() -> Outcome<()> {
    on_all_classic("killed members, classic", |servers| async move {
        try_join_all(CLASSIC.map(|(dealer, count)| kill(&servers, dealer, count, None))).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_static_member_comes_back_in_its_place() -> Outcome<()> {
    on_all("a static member", |servers| async move {
        let (site, seen) = (Site::new(&servers, 6).await?, Seen::default());
        let seat = || ConsumerConfig { instance_id: Some("seat".to_owned()), ..site.config() };
        let other = site.member(&seen)?;
        let member = Member::start(&servers, seat(), &seen)?;
        let place = |group: &GroupDescription| -> Option<BTreeSet<_>> {
            let member = group.members.iter().find(|it| it.instance_id.as_deref() == Some("seat"))?;
            Some(member.assignment.iter().cloned().collect())
        };
        let before = place(&site.until_shared_by(2).await?);
        until("both know what they have", async || (other.held() + member.held() == 6).then_some(())).await?;
        let usurper = Member::start(&servers, seat(), &seen)?.ended().await;
        let refused = usurper.err().and_then(|error| error.downcast::<Error>().ok()).and_then(|error| error.code());
        assert_eq!(refused, Some(ErrorCode::UNRELEASED_INSTANCE_ID));
        member.close().await?;
        let kept = site.described().await?;
        assert_eq!((other.held(), place(&kept)), (3, before.clone()), "its place is kept in {kept:?}");
        let again = Member::start(&servers, seat(), &seen)?;
        until("it is back", async || (again.held() == 3).then_some(())).await?;
        assert_eq!(place(&site.described().await?), before);
        site.produce(0..600).await?;
        until_read(&seen, 600).await?;
        assert_eq!(seen.counts(), (600, 0));
        again.close().await?;
        other.close().await
    })
    .await
}

#[tokio::test]
async fn what_the_coordinator_refuses_is_said() -> Outcome<()> {
    on_all("refusals", |servers| async move {
        let site = Site::new(&servers, 1).await?;
        let config = ConsumerConfig { remote_assignor: Some("nobody's".to_owned()), ..site.config() };
        let said = Member::start(&servers, config, &Seen::default())?.ended().await;
        let error = said.err().ok_or("it is let in")?.downcast::<Error>()?;
        assert_eq!(error.code(), Some(ErrorCode::UNSUPPORTED_ASSIGNOR));
        assert!(error.to_string().contains("nobody's"), "{error}");
        Ok(())
    })
    .await
}

/// An application that does not ask for records leaves, and comes back when it does.
#[tokio::test]
async fn a_slow_application_leaves_and_comes_back() -> Outcome<()> {
    on_all("a slow application", |servers| slow(servers, None)).await?;
    // The coordinator keeps its place, and its instance id for whoever comes back.
    on_all("a slow static member", |servers| slow(servers, Some("seat".to_owned()))).await
}

async fn slow(servers: String, instance_id: Option<String>) -> Outcome<()> {
    let is_static = instance_id.is_some();
    let site = Site::new(&servers, 2).await?;
    let max_poll_interval = Duration::from_millis(500);
    let config = ConsumerConfig { max_poll_interval, instance_id, ..site.config() };
    let mut consumer = site.client.consumer(config)?;
    site.produce(0..20).await?;
    let delivery = timeout(PATIENCE, consumer.next()).await?.ok_or("it has ended")??;
    until("it is out", async || consumer.assignment().is_empty().then_some(())).await?;
    assert!(delivery.is_revoked());
    drop(delivery);
    let is_away = async || (is_static || site.described().await.ok()?.members.is_empty()).then_some(());
    until("the group is empty", is_away).await?;
    let mut read = 0;
    while read < 20 {
        let delivery = timeout(PATIENCE, consumer.next()).await?.ok_or("it has ended")??;
        read += delivery.len();
        delivery.finish();
    }
    consumer.close(PATIENCE).await?;
    assert_eq!((read, site.committed().await?), (20, 20));
    Ok(())
}

/// A topic that is made, or gets partitions, while its group waits for it.
#[tokio::test]
async fn topics_come_and_grow() -> Outcome<()> {
    on_all("topics", |servers| async move {
        let site = Site::new(&servers, 2).await?;
        let later = Topic::from(unique("later").as_str());
        let config = ConsumerConfig { topics: vec![site.topic.clone(), later.clone()], ..site.config() };
        let mut consumer = site.client.consumer(config)?;
        hold(&mut consumer, 2).await?;
        make_topics(&site.client, &[NewTopic::new(later.clone()).partitions(3)]).await?;
        hold(&mut consumer, 5).await?;
        site.client.admin().create_partitions(&[(later, 4)]).await?;
        hold(&mut consumer, 6).await?;
        Ok(consumer.close(PATIENCE).await?)
    })
    .await
}

async fn hold(consumer: &mut Consumer, partitions: usize) -> Outcome<()> {
    until(&format!("{partitions} partitions are held"), async || {
        if let Ok(Some(Ok(delivery))) = timeout(Duration::from_millis(20), consumer.next()).await {
            delivery.finish();
        }
        (consumer.assignment().len() == partitions).then_some(())
    })
    .await
}

/// Members of both protocols, in the ways that groups go over from one to the other.
#[tokio::test]
async fn groups_go_over_from_the_classic_protocol() -> Outcome<()> {
    on_all("from classic to consumer", |servers| async move {
        let (site, seen) = (Site::new(&servers, 6).await?, Seen::default());
        let as_a =
            |protocol| Member::start(&servers, ConsumerConfig { group_protocol: protocol, ..site.config() }, &seen);
        // Nobody goes over under the feet of members that run.
        let classic = as_a(GroupProtocol::Classic)?;
        assert!(!site.until_shared_by(1).await?.is_consumer_protocol());
        let auto = as_a(GroupProtocol::Auto)?;
        assert!(!site.until_shared_by(2).await?.is_consumer_protocol());
        site.produce(0..300).await?;
        until_read(&seen, 300).await?;
        auto.close().await?;
        classic.close().await?;
        // Emptied, it goes over with what it has committed.
        let auto = as_a(GroupProtocol::Auto)?;
        assert!(site.until_shared_by(1).await?.is_consumer_protocol());
        auto.close().await?;
        assert_eq!((seen.counts(), site.committed().await?), ((300, 0), 300));
        Ok(())
    })
    .await
}

/// A group of the consumer protocol takes classic members in.
#[tokio::test]
async fn classic_members_are_carried_along() -> Outcome<()> {
    on_all("classic members among others", |servers| async move {
        let (site, seen) = (Site::new(&servers, 6).await?, Seen::default());
        let as_a =
            |protocol| Member::start(&servers, ConsumerConfig { group_protocol: protocol, ..site.config() }, &seen);
        let auto = as_a(GroupProtocol::Auto)?;
        assert!(site.until_shared_by(1).await?.is_consumer_protocol());
        let classic = as_a(GroupProtocol::Classic)?;
        assert!(site.until_shared_by(2).await?.is_consumer_protocol());
        site.produce(0..300).await?;
        until_read(&seen, 300).await?;
        classic.close().await?;
        auto.close().await?;
        assert_eq!((seen.counts(), site.committed().await?), ((300, 0), 300));
        Ok(())
    })
    .await
}

/// A group with classic members is converted as it runs (`group.consumer.migration.policy`, in Kafka 4 bidirectional).
#[tokio::test]
async fn a_running_classic_group_is_converted() -> Outcome<()> {
    on_all("conversion", |servers| async move {
        let (site, seen) = (Site::new(&servers, 6).await?, Seen::default());
        let classic = ConsumerConfig { group_protocol: GroupProtocol::Classic, ..site.config() };
        let classic = Member::start(&servers, classic, &seen)?;
        site.until_shared_by(1).await?;
        site.produce(0..300).await?;
        let consumer = site.member(&seen)?;
        assert!(site.until_shared_by(2).await?.is_consumer_protocol());
        site.produce(300..600).await?;
        until_read(&seen, 600).await?;
        classic.close().await?;
        site.until_shared_by(1).await?;
        consumer.close().await?;
        assert_eq!(site.committed().await?, 600);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn where_the_protocol_is_not_spoken_the_classic_one_is() -> Outcome<()> {
    on_kafka("fall-back", KAFKA_39, |servers| async move {
        for protocol in [GroupProtocol::Consumer, GroupProtocol::Auto] {
            let (site, seen) = (Site::new(&servers, 6).await?, Seen::default());
            let config = || ConsumerConfig { group_protocol: protocol, ..site.config() };
            let members = [Member::start(&servers, config(), &seen)?, Member::start(&servers, config(), &seen)?];
            assert!(!site.until_shared_by(2).await?.is_consumer_protocol());
            site.produce(0..600).await?;
            until_read(&seen, 600).await?;
            for member in members {
                member.close().await?;
            }
            assert_eq!((seen.counts(), site.committed().await?), ((600, 0), 600));
        }
        Ok(())
    })
    .await
}

/// Reads as a member until it is terminated, and prints what it reads: librdkafka's part.
const LIBRDKAFKA: &str = "
import signal, sys
from confluent_kafka import Consumer
servers, group, topic, *settings = sys.argv[1:]
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
consumer = Consumer({'bootstrap.servers': servers, 'group.id': group, 'auto.offset.reset': 'earliest',
                     **dict(setting.split('=') for setting in settings)})
consumer.subscribe([topic])
while not stopped:
    message = consumer.poll(0.1)
    if message and not message.error():
        print(message.value().decode(), flush=True)
consumer.close()
";

/// A member of somebody else's, which prints what it reads.
struct Foreign {
    name: &'static str,
    program: Running,
    file: PathBuf,
}

impl Foreign {
    fn start(name: &'static str, site: &Site, command: &mut Command) -> Outcome<Self> {
        let file = servers::scratch("consumer-groups-foreign").join(format!("{name}-{}", site.group));
        let program = command.stdin(Stdio::null()).stdout(File::create(&file)?).stderr(Stdio::null()).spawn()?;
        Ok(Self { name, program: Running(program), file })
    }

    /// Lines that it has printed.
    fn read(&self) -> usize {
        std::fs::read_to_string(&self.file).map_or(0, |text| text.lines().count())
    }

    /// Asked to leave and waited for, while the dev broker in this runtime goes on answering it.
    async fn terminate(&mut self) -> Outcome<()> {
        Command::new("kill").args(["-TERM", &self.program.0.id().to_string()]).status()?;
        let ended = async || self.program.0.try_wait().is_ok_and(|it| it.is_some()).then_some(());
        until(&format!("the member of {} ends", self.name), ended).await
    }
}

/// Java's console consumer, as a member of the site's group.
fn console(site: &Site, properties: &[&str]) -> Command {
    let mut java = servers::script("servers/kafka.sh");
    java.args(["tool", KAFKA_43.number, "org.apache.kafka.tools.consumer.ConsoleConsumer"]);
    java.args(["--bootstrap-server", &site.servers, "--topic", &site.topic, "--group", &site.group]);
    for property in ["auto.offset.reset=earliest"].iter().chain(properties) {
        java.args(["--command-property", property]);
    }
    java
}

/// How members of ours, Java's, librdkafka's and, in classic groups, franz-go's share one group.
struct Mixture {
    protocol: GroupProtocol,
    java: &'static str,
    librdkafka: &'static str,
    with_franz_go: bool,
}

/// The broker assigns.
const BY_THE_BROKER: Mixture = Mixture {
    protocol: GroupProtocol::Consumer,
    java: "group.protocol=consumer",
    librdkafka: "group.protocol=consumer",
    with_franz_go: false,
};

/// Whoever leads assigns, and nobody gives up more than has to move.
const BY_A_MEMBER: Mixture = Mixture {
    protocol: GroupProtocol::Classic,
    java: "partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
    librdkafka: "partition.assignment.strategy=cooperative-sticky",
    with_franz_go: true,
};

/// Somebody else's programs, with the arguments that make them members: those whose tools are there.
struct Programs {
    python: Command,
    franz_go: Option<PathBuf>,
}

impl Programs {
    fn find() -> Result<Self, Missing> {
        Ok(Self { python: servers::python()?, franz_go: servers::franz_go() })
    }

    fn join(mut self, site: &Site, mixture: &Mixture) -> Outcome<Vec<Foreign>> {
        let as_member = [&site.servers, &site.group, &*site.topic];
        self.python.args(["-c", LIBRDKAFKA]).args(as_member).arg(mixture.librdkafka);
        let mut others = vec![
            Foreign::start("librdkafka", site, &mut self.python)?,
            Foreign::start("java", site, &mut console(site, &[mixture.java]))?,
        ];
        if let Some(program) = self.franz_go.filter(|_| mixture.with_franz_go) {
            others.push(Foreign::start("franz-go", site, Command::new(program).arg("member").args(as_member))?);
        }
        Ok(others)
    }
}

/// Two members of ours and somebody else's share a group, with three partitions each.
async fn with_others(servers: String, mixture: &Mixture) -> Outcome<()> {
    let programs = tokio::task::spawn_blocking(Programs::find).await?;
    let Some(programs) = servers::or_skip("groups with other people's clients", programs) else { return Ok(()) };
    let has_franz_go = mixture.with_franz_go && programs.franz_go.is_some();
    let all = if has_franz_go { 5 } else { 4 };
    let (site, seen) = (Site::new(&servers, 3 * all).await?, Seen::default());
    let config = || ConsumerConfig {
        group_protocol: mixture.protocol,
        assignors: vec![Assignor::CooperativeSticky],
        ..site.config()
    };
    let members = [Member::start(&servers, config(), &seen)?, Member::start(&servers, config(), &seen)?];
    let mut others = programs.join(&site, mixture)?;
    let group = site.until_each_has(all as usize, 3).await?;
    assert_eq!(group.is_consumer_protocol(), mixture.protocol == GroupProtocol::Consumer, "{group:?}");
    let count = 300 * all as usize;
    site.produce(0..count as u32).await?;
    let is_read = || seen.counts().0 + others.iter().map(Foreign::read).sum::<usize>() >= count;
    until("all have read what is theirs", async || is_read().then_some(())).await?;
    let counts: Vec<_> = others.iter().map(|it| (it.name, it.read())).collect();
    servers::tell(&format!("one group of {:?}: ours read {}, {counts:?}", mixture.protocol, seen.counts().0));
    assert!(seen.counts().0 == 600 && counts.iter().all(|(_, read)| *read == 300), "{counts:?}");
    until_committed(&site, count).await?;
    for other in &mut others {
        other.terminate().await?;
    }
    go_on_alone(&site, &seen, members, count, &others).await
}

/// Waits until so many are committed: what somebody wants to commit while another one leaves may be dropped, and is read again.
async fn until_committed(site: &Site, count: usize) -> Outcome<()> {
    until("all is committed", async || (site.committed().await.ok()? == count as i64).then_some(())).await
}

/// After so many records the others have left: two members of ours read 600 more, and nobody has read anything twice.
async fn go_on_alone(
    site: &Site,
    seen: &Seen,
    members: impl IntoIterator<Item = Member>,
    count: usize,
    others: &[Foreign],
) -> Outcome<()> {
    site.until_shared_by(2).await?;
    let ours = seen.counts().0;
    site.produce(count as u32..count as u32 + 600).await?;
    until_read(seen, ours + 600).await?;
    for member in members {
        member.close().await?;
    }
    others.iter().try_for_each(|other| seen.take_printed(&other.file))?;
    assert_eq!((seen.counts(), site.committed().await?), ((count + 600, 0), count as i64 + 600));
    Ok(())
}

#[tokio::test]
async fn other_peoples_clients_are_members_of_the_same_group() -> Outcome<()> {
    if servers::or_skip("groups with other people's clients", servers::wanted()).is_none() {
        return Ok(());
    }
    on_all("other people's clients", |servers| with_others(servers, &BY_THE_BROKER)).await?;
    on_all("other people's clients, cooperative-sticky", |servers| with_others(servers, &BY_A_MEMBER)).await
}

/// A classic group in which two members of ours and Java's console consumer agree by one assignor, whoever came first and so
/// assigns.
async fn classic_with_java(servers: &str, assignor: Assignor, class: &str, java_leads: bool) -> Outcome<()> {
    let (site, seen) = (Site::new(servers, 12).await?, Seen::default());
    let config =
        || ConsumerConfig { group_protocol: GroupProtocol::Classic, assignors: vec![assignor], ..site.config() };
    let strategy = format!("partition.assignment.strategy=org.apache.kafka.clients.consumer.{class}");
    let (mut foreign, mut members) = (Vec::new(), Vec::new());
    for java_is_next in [java_leads, !java_leads] {
        match java_is_next {
            true => foreign.push(Foreign::start("java", &site, &mut console(&site, &[&strategy]))?),
            false => {
                members.extend([Member::start(servers, config(), &seen)?, Member::start(servers, config(), &seen)?])
            }
        }
        site.until_shared_by(members.len() + foreign.len()).await?;
    }
    let java = &mut foreign[0];
    site.until_each_has(3, 4).await?;
    site.produce(0..1200).await?;
    until("all have read what is theirs", async || (seen.counts().0 + java.read() >= 1200).then_some(())).await?;
    assert_eq!((seen.counts().0, java.read()), (800, 400));
    until_committed(&site, 1200).await?;
    java.terminate().await?;
    go_on_alone(&site, &seen, members, 1200, &foreign).await
}

#[tokio::test]
async fn javas_members_are_in_classic_groups_of_ours() -> Outcome<()> {
    on_kafka("classic groups with Java's members", KAFKA_43, |servers| async move {
        tokio::try_join!(
            classic_with_java(&servers, Assignor::Sticky, "StickyAssignor", false),
            classic_with_java(&servers, Assignor::Sticky, "StickyAssignor", true),
            classic_with_java(&servers, Assignor::CooperativeSticky, "CooperativeStickyAssignor", true),
        )?;
        Ok(())
    })
    .await
}
