//! The loop: a round every interval, whatever became of the one before.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::clock::{Clock, Wall};
use super::collect::{Collector, Sweep};
use super::history::{History, Probe};
use super::join::{Read, furthest_behind, join, position};
use super::ladder;
use super::nodes::{Node, keep, keep_in_circle};
use super::round::{Cost, Round};
use super::row::{Partition, Reason};
use super::store::{Mirror, RedisRegistry, RedisStore};
use super::tails::{self, Tails};
use super::track::Tracks;
use super::{Config, Metrics, Pattern, Rounds};
use crate::client::{Client, Error, Offset, TopicPartition};
use crate::trouble::Trouble;

/// How many times as long as a round and its pause may take, before the last one says nothing of the present.
const ROUNDS_GOOD_FOR: i64 = 3;
/// How many rounds the history of a partition outlives its last reader, while there are groups that cannot be read and may be
/// readers of it: more than an hour by default.
const ROUNDS_UNREAD: u32 = 400;
/// Where nodes meet that have no Redis, unless another group is named.
const NODES_GROUP: &str = "highwater-lag";

/// Makes rounds until `stop`. A round that fails is said and left out: the last one stays published, with its age, and
/// its lags for as long as it is [current](Round::is_current). Where groups are shared with other nodes, only this node's
/// are read and told.
pub async fn run(config: &Config, client: &Client, rounds: &Rounds, metrics: &Metrics, stop: &CancellationToken) {
    tokio::join!(share(config, client, rounds, stop), make_rounds(config, client, rounds, metrics, stop));
}

async fn share(config: &Config, client: &Client, rounds: &Rounds, stop: &CancellationToken) {
    let Some(name) = &config.node_id else { return };
    let timing = config.timing();
    match (&config.nodes_group, config.redis_place()) {
        (None, Some(place)) => {
            let registry = RedisRegistry::new(place, &prefix(client, config), timing);
            keep(Node::new(name, timing.lease_ms, rand::random()), registry, rounds, stop).await;
        }
        (group, _) => {
            let group = group.as_deref().unwrap_or(NODES_GROUP);
            keep_in_circle(name, group, timing, client, rounds, stop).await;
        }
    }
}

/// A node that is about to have other groups does not wait for its next turn to read them.
async fn make_rounds(config: &Config, client: &Client, rounds: &Rounds, metrics: &Metrics, stop: &CancellationToken) {
    let mut monitor = Monitor::new(config, client).sharing(rounds);
    let (mut ticks, mut reads) = (interval(config.interval()), rounds.reads());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = Trouble::default();
    loop {
        let turn = async {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = reads.changed() => {}
            }
        };
        if stop.run_until_cancelled(turn).await.is_none() {
            return;
        }
        let Some(round) = stop.run_until_cancelled(monitor.round()).await else { return };
        match round {
            Ok(round) => {
                metrics.failures.add(round.failures.len() as u64, &metrics.labels);
                metrics.round.record(round.took_ms as f64 / 1000.0, &metrics.labels);
                rounds.publish(round);
                if let Some(after) = trouble.is_over(Instant::now()) {
                    tracing::warn!(cluster = %config.cluster_name, after_seconds = after.as_secs(), "rounds work again");
                }
            }
            Err(error) => {
                metrics.failures.add(1, &metrics.labels);
                if trouble.fails(Instant::now()) {
                    tracing::warn!(cluster = %config.cluster_name, %error, "no lag this round; the next one is tried");
                }
            }
        }
    }
}

/// Before every key in Redis: offsets of one cluster say nothing of another that has topics of the same names.
fn prefix(client: &Client, config: &Config) -> String {
    let cluster = client.cluster().metadata().cluster_id.clone();
    cluster.map_or_else(|| config.redis_prefix.clone(), |cluster| format!("{}:{cluster}", config.redis_prefix))
}

/// Makes rounds, one when asked, and remembers what the next one needs.
#[derive(Debug)]
pub struct Monitor {
    cluster_name: String,
    clock: Clock,
    wall: Wall,
    interval_ms: i64,
    client: Client,
    collector: Collector,
    history: History,
    tracks: Tracks,
    tails: Tails,
    read_committed: Vec<Pattern>,
    store: Option<Mirror>,
    store_answers: Option<bool>,
    /// With the store.
    trouble: Trouble,
    /// Partitions that nobody was seen to read while there were groups that could not be read, and for how many rounds.
    unread: HashMap<TopicPartition, u32>,
}

impl Monitor {
    pub fn new(config: &Config, client: &Client) -> Self {
        let clock = Clock::start();
        Self {
            cluster_name: config.cluster_name.clone(),
            clock,
            wall: Wall::at(clock.now()),
            interval_ms: i64::try_from(config.interval().as_millis()).unwrap_or(i64::MAX),
            client: client.clone(),
            collector: Collector::new(client, clock, config),
            history: History::new(config.history_samples_max),
            tracks: Tracks::new(config.status_window),
            tails: Tails::new(config.tail_lag_max),
            read_committed: config.read_committed.clone(),
            store: config
                .redis_place()
                .map(|place| Mirror::new(RedisStore::new(place, &prefix(client, config), config.history_samples_max))),
            store_answers: None,
            trouble: Trouble::default(),
            unread: HashMap::new(),
        }
    }

    /// Reads only the groups of this node, where `rounds` are shared with others.
    fn sharing(mut self, rounds: &Rounds) -> Self {
        self.collector.rounds = Some(rounds.clone());
        self
    }

    /// One sweep over all groups; an error only when nothing could be read at all.
    pub async fn round(&mut self) -> Result<Round, Error> {
        let began_ms = self.clock.now_ms();
        let mut sweep = self.collector.sweep(&self.history).await?;
        self.follow_the_wall(&mut sweep);
        for (partition, end) in self.ask_new_leaders(&mut sweep).await {
            self.history.epoch_ended(&partition, end);
        }
        self.remember(&sweep);
        self.share(&mut sweep).await;
        tails::look(&mut self.tails, self.collector.admin(), &sweep, &self.collector.log_starts).await;
        self.reach_back(&mut sweep).await;
        let now_ms = sweep.ends_answered_ms;
        let read = Read {
            commits: std::mem::take(&mut sweep.commits),
            groups: &self.collector.groups,
            partitions: &sweep.partitions,
            ends: &sweep.ends,
            log_starts: &self.collector.log_starts,
            stable: &sweep.stable,
            retention_ms: &self.collector.retention_ms,
            tails: &self.tails,
            read_committed: &self.read_committed,
            now_ms,
        };
        self.tracks.hide(sweep.unread.keys());
        let round = join(read, &self.history, &mut self.tracks);
        let log_starts = &self.collector.log_starts;
        let other = |(of, end): (TopicPartition, Result<Offset, Reason>)| {
            let start = log_starts.get(&of).copied();
            Partition::unread(of, end, start)
        };
        let took_ms = self.clock.now_ms() - began_ms;
        Ok(Round {
            wall_ahead_ms: self.wall.ahead_ms,
            clock_jumps: self.wall.jumps,
            took_ms,
            good_for_ms: took_ms.max(self.interval_ms).saturating_mul(ROUNDS_GOOD_FOR),
            skew_ms: now_ms - sweep.commits_asked_ms,
            groups: self.collector.groups.clone(),
            listed: self.collector.listed,
            others: sweep.others.into_iter().map(other).collect(),
            failures: sweep.failures,
            unlisted: self.collector.unlisted.clone(),
            breaks: self.history.breaks,
            cost: self.cost(),
            cluster: self.collector.cluster(),
            cleanup_policies: Arc::clone(&self.collector.cleanup_policies),
            log_dirs: self.collector.log_dirs.clone(),
            ..round.with_unread(sweep.unread)
        })
    }

    fn cost(&self) -> Cost {
        Cost {
            by_api: self.client.stats(),
            history_partitions: self.history.partitions(),
            history_samples: self.history.samples(),
            history_bytes: self.history.bytes(),
            window_bytes: self.tracks.bytes(),
            store_answers: self.store_answers,
        }
    }

    /// When the wall's clock was set is not known, but that it was since the last round, or in this one.
    fn follow_the_wall(&mut self, sweep: &mut Sweep) {
        let Some(jump) = self.wall.see(self.clock.now()) else { return };
        tracing::warn!(
            by_ms = jump.ms,
            "the clock was set: ages go on by the steady one, and what it cannot prove is left open"
        );
        self.history.clock_was_set(jump.unseen_ms());
        sweep.spans.iter_mut().for_each(|span| span.asked_ms -= jump.unseen_ms());
        self.store.iter_mut().for_each(Mirror::clock_was_set);
    }

    /// Where a partition's leader has changed, whether it has all that the one before it had. Where it does not answer, it is
    /// asked again in the next round.
    async fn ask_new_leaders(&mut self, sweep: &mut Sweep) -> Vec<(TopicPartition, Option<Offset>)> {
        let doubted = |(partition, _, lineage): (&TopicPartition, _, _)| {
            Some((partition.clone(), self.history.doubted(partition, lineage)?))
        };
        let doubted = sweep.samples().filter_map(doubted).collect();
        self.collector.epoch_ends(&doubted, sweep).await
    }

    fn remember(&mut self, sweep: &Sweep) {
        for (partition, sample, lineage) in sweep.samples() {
            if let Some(kind) = self.history.add(partition, sample, lineage) {
                tracing::warn!(%partition, "the partition was {}: its history begins anew", kind.name());
                self.tracks.broken(partition);
                self.collector.forget(partition);
                self.store.iter_mut().for_each(|store| store.broken(partition, kind));
            }
        }
        self.forget_unread(sweep);
    }

    /// A coordinator that does not answer hides its groups: what they read is not forgotten for that, or not soon. One that
    /// never answers must not have everything kept for ever.
    fn forget_unread(&mut self, sweep: &Sweep) {
        let is_read = |partition: &TopicPartition| sweep.partitions.binary_search(partition).is_ok();
        let before = std::mem::take(&mut self.unread);
        if !sweep.unread.is_empty() {
            let unread = self.history.partitions_but(is_read);
            let rounds = |it: &TopicPartition| before.get(it).map_or(1, |rounds| rounds.saturating_add(1));
            self.unread = unread.map(|it| (it.clone(), rounds(it))).filter(|(_, it)| *it <= ROUNDS_UNREAD).collect();
        }
        let is_kept = |partition: &TopicPartition| is_read(partition) || self.unread.contains_key(partition);
        self.history.keep(is_kept);
        self.store.iter_mut().for_each(|store| store.keep(is_kept));
    }

    /// Gives the store what it has not been given yet, and takes from it what this monitor has not seen itself.
    async fn share(&mut self, sweep: &mut Sweep) {
        let Some(store) = &mut self.store else { return };
        match store.share(&sweep.lives(), &mut self.history, self.wall.ahead_ms).await {
            Ok(false) => {}
            Ok(true) => {
                self.store_answers = Some(true);
                if let Some(after) = self.trouble.is_over(Instant::now()) {
                    let (cluster, after_seconds) = (&self.cluster_name, after.as_secs());
                    tracing::warn!(cluster, after_seconds, "history is kept in Redis again");
                }
            }
            Err(error) => self.without_store(&mut sweep.failures, &error.to_string()),
        }
    }

    fn without_store(&mut self, failures: &mut Vec<String>, error: &str) {
        self.store_answers = Some(false);
        failures.push(format!("the history is kept in memory alone: {error}"));
        if self.trouble.fails(Instant::now()) {
            tracing::warn!(cluster = %self.cluster_name, error, "history is kept in memory alone until Redis takes it");
        }
    }

    /// Asks Kafka's time index for what came before the first sample, where a reader is that far behind.
    async fn reach_back(&mut self, sweep: &mut Sweep) {
        let behind = self.behind(sweep);
        if behind.is_empty() {
            return;
        }
        let (wall, now_ms) = (self.wall, self.wall.of_steady(sweep.ends_answered_ms));
        for (partition, probes) in self.collector.climb(now_ms, &behind, sweep).await {
            let is_whole = probes.len() == ladder::rungs(now_ms).count();
            let probes = probes.into_iter().map(|it| Probe { time_ms: wall.to_steady(it.time_ms), ..it });
            self.history.climbed(&partition, probes.collect(), is_whole);
        }
    }

    /// Partitions with a reader that is behind all that is remembered, and where they end.
    fn behind(&self, sweep: &Sweep) -> Vec<(TopicPartition, Offset)> {
        let furthest = furthest_behind(&sweep.commits, &sweep.partitions);
        let lacks = |partition: &TopicPartition, committed: Offset| {
            let position = position(committed, self.collector.log_starts.get(partition).copied());
            let position = self.tails.first_record(partition, position);
            self.history.of(partition).is_some_and(|ring| ring.lacks_probes(position))
        };
        let ends = sweep.partitions.iter().zip(&sweep.ends).zip(furthest);
        let behind = ends.filter_map(|((partition, end), committed)| {
            lacks(partition, committed?).then_some((partition.clone(), (*end).ok()?))
        });
        behind.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::time::{Instant, sleep, timeout};

    use super::super::Family;
    use super::super::history::Ring;
    use super::*;
    use crate::client::{BrokerId, ClientConfig, ErrorCode, NewTopic, ProducerConfig, ProducerRecord, Topic};
    use crate::devbroker::{self, DevBroker, Fault, Matching};
    use crate::net::{Address, Attempt, Dial, Io};
    use crate::protocol::api::Body;
    use crate::protocol::messages::{
        FetchRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetFetchRequest,
        OffsetForLeaderEpochRequest,
    };

    const GROUPS: usize = 30;
    const PARTITIONS: i32 = 6;
    const SILENT: BrokerId = 2;
    const FOR_EVER: Fault = Fault::Delay(Duration::from_secs(86_400));

    /// Over pipes in memory, for which a paused clock waits.
    fn dial(broker: &Arc<DevBroker>) -> Dial {
        let broker = Arc::clone(broker);
        Arc::new(move |address: Address| {
            let at = (1..=3).find(|id| broker.address(*id).is_some_and(|it| it.to_string() == address.to_string()));
            let pipe = at.and_then(|id| broker.connect(id, 1 << 16));
            let io = pipe.map(|pipe| Box::new(pipe) as Box<dyn Io>);
            async move { io.ok_or_else(|| vec![Attempt::new(address, "refused")]) }.boxed()
        })
    }

    /// Three brokers, of which each leads some partitions, and keeps some of the groups that read them all.
    async fn house() -> (Arc<DevBroker>, Client) {
        let broker = Arc::new(DevBroker::start(devbroker::Config::with_brokers(3)).await.unwrap());
        let bootstrap_servers = vec![broker.bootstrap_servers()];
        let config = ClientConfig { bootstrap_servers, ..ClientConfig::default() };
        let client = Client::connect_over(config, dial(&broker)).await.unwrap();
        client.admin().create_topics(&[NewTopic::new("t").partitions(PARTITIONS)]).await.unwrap();
        for group in 0..GROUPS {
            let offsets: Vec<_> = (0..PARTITIONS).map(|at| (TopicPartition::new("t", at), 0.into())).collect();
            client.admin().alter_offsets(&format!("g-{group}"), &offsets).await.unwrap();
        }
        (broker, client)
    }

    fn known(round: &Round) -> usize {
        round.rows().filter(|row| row.records().is_ok()).count()
    }

    async fn timed(monitor: &mut Monitor) -> (Round, Duration) {
        let began = Instant::now();
        let round = monitor.round().await.unwrap();
        (round, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_broker_costs_its_own_rows_and_half_an_interval_once() {
        let check = async |matching: Matching, rounds_before: usize| {
            let (broker, client) = house().await;
            let mut monitor = Monitor::new(&Config::default(), &client);
            for _ in 0..rounds_before {
                let (round, took) = timed(&mut monitor).await;
                assert!(known(&round) == GROUPS * 6 && round.failures.is_empty() && took.as_secs() < 1, "{round:?}");
            }
            let kept = monitor.collector.groups.iter().filter(|group| group.coordinator == SILENT).count();
            broker.faults().inject(matching.clone().broker(SILENT), u64::MAX, FOR_EVER);
            let (round, took) = timed(&mut monitor).await;
            assert!((4..6).contains(&took.as_secs()), "{matching:?}: {took:?}");
            assert!(round.failures.len() == 1 && round.unread.len() <= kept, "{matching:?}: {:?}", round.failures);
            for _ in 0..4 {
                sleep(Config::default().interval()).await;
                let (round, took) = timed(&mut monitor).await;
                assert!(took.as_secs() < 6 && round.failures.len() <= 1, "{matching:?}: {took:?} {:?}", round.failures);
                assert!(known(&round) >= (GROUPS - kept) * 4, "{matching:?}: {:?}", round.failures);
                if matching == Matching::any() {
                    assert!(took.as_millis() < 700, "nobody waits for it: {took:?}");
                    assert_eq!((round.unread.len(), round.failures.len()), (kept, 1), "{:?}", round.failures);
                    let unknown = round.rows().filter(|row| row.records() == Err(Reason::EndUnknown)).count();
                    assert_eq!((known(&round), unknown), ((GROUPS - kept) * 4, (GROUPS - kept) * 2));
                }
            }
            broker.faults().clear();
            let began = Instant::now();
            while known(&timed(&mut monitor).await.0) < GROUPS * 6 {
                assert!(began.elapsed().as_secs() < 90, "{matching:?}: it answers again");
                sleep(Config::default().interval()).await;
            }
        };
        check(Matching::api(ListGroupsRequest::KEY), 3).await;
        check(Matching::api(OffsetFetchRequest::KEY), 1).await;
        check(Matching::api(ListOffsetsRequest::KEY), 2).await;
        check(Matching::any(), 2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_reads_is_asked_for_where_it_is_told() {
        let (broker, client) = house().await;
        let admin = client.admin();
        admin.create_topics(&[NewTopic::new("unread").partitions(2)]).await.unwrap();
        let others = |round: &Round| {
            let known = round.others.iter().filter(|it| it.end_offset().is_some() && it.log_start_offset.is_some());
            known.map(|it| (it.topic.to_string(), it.partition)).collect::<Vec<_>>()
        };
        for (compat, want) in [(None, 0), (Some(Family::KafkaLagExporter), 0), (Some(Family::KafkaExporter), 2)] {
            let config = Config { compat: compat.into_iter().collect(), ..Config::default() };
            let mut monitor = Monitor::new(&config, &client);
            let round = monitor.round().await.unwrap();
            assert_eq!(others(&round), [("unread".to_owned(), 0), ("unread".to_owned(), 1)][..want], "{compat:?}");
            assert_eq!((known(&round), monitor.history.partitions()), (GROUPS * 6, 6), "{compat:?}");
        }
        let config = Config { compat: [Family::Kminion].into(), ..Config::default() };
        let mut monitor = Monitor::new(&config, &client);
        monitor.round().await.unwrap();
        admin.delete_topics(&[Topic::from("unread")]).await.unwrap();
        let (round, took) = timed(&mut monitor).await;
        assert!(others(&round).is_empty() && round.failures.is_empty() && took.as_secs() < 1, "{took:?} {round:?}");
        broker.faults().reset_counts();
        assert!(monitor.round().await.unwrap().others.is_empty());
        let asked = [MetadataRequest::KEY, ListOffsetsRequest::KEY].map(|api| broker.faults().count(api));
        assert_eq!(asked, [0, 3], "ends of each leader's partitions, and nothing of what is gone");
        broker.faults().clear();
    }

    /// A partition that nobody reads may be gone without its topic: what is read of it is told as before.
    #[tokio::test(start_paused = true)]
    async fn what_nobody_reads_hides_nothing_that_is_read() {
        let (broker, client) = house().await;
        let (admin, made) = (client.admin(), async |partitions| {
            client.admin().create_topics(&[NewTopic::new("shrinks").partitions(partitions)]).await.unwrap();
            let offsets = [(TopicPartition::new("shrinks", 0), 0.into())];
            client.admin().alter_offsets("g-0", &offsets).await.unwrap();
        });
        made(4).await;
        let config = Config { compat: [Family::KafkaExporter].into(), ..Config::default() };
        let mut monitor = Monitor::new(&config, &client);
        let all = GROUPS * 6 + 1;
        assert_eq!(known(&monitor.round().await.unwrap()), all);
        admin.delete_topics(&[Topic::from("shrinks")]).await.unwrap();
        made(1).await;
        for _ in 0..3 {
            let round = monitor.round().await.unwrap();
            assert_eq!(known(&round), all, "{:?}", round.failures);
        }
        broker.faults().clear();
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_silent_broker_has_on_disk_is_missed() {
        let (broker, client) = house().await;
        let config = Config { compat: [Family::Kminion].into(), ..Config::default() };
        let first_round = async || {
            let round = Monitor::new(&config, &client).round().await.unwrap();
            round.log_dirs.map(|dirs| (dirs.brokers.len(), dirs.topics.len()))
        };
        assert_eq!(first_round().await, Some((3, 1)));
        broker.faults().inject(Matching::any().broker(SILENT), u64::MAX, FOR_EVER);
        assert_eq!(first_round().await, Some((2, 0)), "a topic has no size without its share");
        broker.faults().clear();
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_does_not_say_where_epochs_end_is_waited_for_once() {
        let (broker, client) = house().await;
        let mut monitor = Monitor::new(&Config::default(), &client);
        monitor.round().await.unwrap();
        let epochs: HashMap<_, _> = (0..PARTITIONS).map(|at| (TopicPartition::new("t", at), 0)).collect();
        let matching = Matching::api(OffsetForLeaderEpochRequest::KEY).broker(SILENT);
        broker.faults().inject(matching, u64::MAX, FOR_EVER);
        let mut sweep = Sweep::default();
        let ends = monitor.collector.epoch_ends(&epochs, &mut sweep).await;
        assert_eq!((ends.len(), sweep.failures.len()), (4, 1), "{:?}", sweep.failures);
        assert!(sweep.silences.is_empty(), "it is waited for beside the rounds");
        broker.faults().clear();
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_shows_nothing_hides_no_tail_of_others() {
        let (broker, client) = house().await;
        let (producer, topic) = (client.producer(ProducerConfig::default()).unwrap(), Topic::from("t"));
        for at in 0..PARTITIONS {
            let record = ProducerRecord { partition: Some(at), ..ProducerRecord::new(&topic, b"v") };
            producer.send(record).await.unwrap();
        }
        broker.faults().inject(Matching::api(FetchRequest::KEY).broker(SILENT), u64::MAX, FOR_EVER);
        let mut monitor = Monitor::new(&Config::default(), &client);
        let (round, took) = timed(&mut monitor).await;
        assert!(took.as_secs() < 3 && known(&round) == GROUPS * 6, "{took:?} {:?}", round.failures);
        let cluster = monitor.collector.cluster();
        for at in (0..PARTITIONS).map(|at| TopicPartition::new("t", at)) {
            let is_silent = cluster.leader(&at).unwrap().broker == SILENT;
            assert_eq!(monitor.tails.of(&at).is_none(), is_silent, "{at}");
        }
        broker.faults().clear();
    }

    #[tokio::test]
    async fn a_leader_that_takes_long_makes_nothing_less_certain_that_others_say() {
        let (broker, client) = house().await;
        let mut monitor = Monitor::new(&Config::default(), &client);
        monitor.round().await.unwrap();
        let slow = Fault::Delay(Duration::from_millis(300));
        broker.faults().inject(Matching::api(ListOffsetsRequest::KEY).broker(SILENT), 1, slow);
        let round = monitor.round().await.unwrap();
        assert!(known(&round) == GROUPS * 6, "{:?}", round.failures);
        let cluster = monitor.collector.cluster();
        let last = |at: i32| {
            let at = TopicPartition::new("t", at);
            (cluster.leader(&at).unwrap().broker == SILENT, monitor.history.of(&at).and_then(Ring::last).unwrap())
        };
        let slowest = (0..PARTITIONS).map(|at| last(at).1.answered_ms).max().unwrap();
        for (is_slow, sample) in (0..PARTITIONS).map(last) {
            assert_eq!(sample.answered_ms == slowest, is_slow, "{sample:?}");
            assert!(!is_slow || sample.answered_ms - sample.asked_ms >= 300, "{sample:?}");
        }
    }

    /// A rung that is refused is asked for once more, with the others of its ladder.
    #[tokio::test]
    async fn a_ladder_that_was_climbed_in_part_is_climbed_again() {
        const RUNGS: u64 = ladder::RUNGS.len() as u64;
        let (broker, client) = house().await;
        let producer = client.producer(ProducerConfig::default()).unwrap();
        let topic = Topic::from("t");
        producer.send(ProducerRecord { partition: Some(0), ..ProducerRecord::new(&topic, b"x") }).await.unwrap();
        let faults = broker.faults();
        // Before the rungs each leader is asked for ends, and for starts.
        faults.inject(Matching::api(ListOffsetsRequest::KEY), 6, Fault::Delay(Duration::ZERO));
        let refusal = Fault::Error(ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT);
        faults.inject(Matching::api(ListOffsetsRequest::KEY), 1, refusal);
        let mut monitor = Monitor::new(&Config::default(), &client);
        for (asked, probes) in [(6 + RUNGS, RUNGS - 1), (3 + RUNGS, RUNGS), (3, RUNGS)] {
            faults.reset_counts();
            let round = monitor.round().await.unwrap();
            let known = monitor.history.of(&TopicPartition::new("t", 0)).map_or(0, |ring| ring.probes().len() as u64);
            let seen = (faults.count(ListOffsetsRequest::KEY), known);
            assert_eq!(seen, (asked, probes), "{:?}", round.failures);
            assert!(round.failures.is_empty(), "the lag is known: {:?}", round.failures);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_round_is_never_too_old_for_a_broker_that_is_silent() {
        let (broker, client) = house().await;
        for interval_seconds in [1.0, 10.0] {
            let config = Config { interval_seconds, ..Config::default() };
            let (rounds, metrics) = (Rounds::default(), Metrics::new(&opentelemetry::global::meter("test")));
            let (stop, mut shown) = (CancellationToken::new(), rounds.subscribe());
            let running = run(&config, &client, &rounds, &metrics, &stop);
            let watching = async {
                shown.changed().await.unwrap();
                broker.faults().inject(Matching::any().broker(SILENT), u64::MAX, FOR_EVER);
                let good_for = Duration::from_millis(rounds.latest().unwrap().good_for_ms as u64);
                for _ in 0..10 {
                    let next = timeout(good_for, shown.changed()).await;
                    assert!(next.is_ok(), "{interval_seconds}: no round in {good_for:?}");
                    let round = rounds.latest().unwrap();
                    assert!(known(&round) > GROUPS * 2, "{interval_seconds}: {:?}", round.failures);
                }
                broker.faults().clear();
                stop.cancel();
            };
            tokio::join!(running, watching);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_reads_any_more_is_forgotten_though_a_group_cannot_be_read() {
        let (broker, client) = house().await;
        let admin = client.admin();
        admin.create_topics(&[NewTopic::new("left").partitions(1)]).await.unwrap();
        admin.alter_offsets("leaves", &[(TopicPartition::new("left", 0), 0.into())]).await.unwrap();
        let mut monitor = Monitor::new(&Config::default(), &client);
        monitor.round().await.unwrap();
        assert_eq!(monitor.history.partitions(), 7);
        admin.delete_groups(&["leaves".to_owned()]).await.unwrap();
        broker.faults().inject(Matching::api(OffsetFetchRequest::KEY).broker(SILENT), u64::MAX, Fault::Disconnect);
        for left in [7, 6] {
            assert!(!monitor.round().await.unwrap().unread.is_empty());
            assert_eq!((monitor.history.partitions(), monitor.unread.len()), (left, left - 6));
            monitor.unread.values_mut().for_each(|rounds| *rounds = ROUNDS_UNREAD);
        }
        broker.faults().clear();
    }
}
