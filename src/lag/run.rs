//! The loop: a round every interval, whatever became of the one before.

use std::collections::HashSet;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::collect::{Collector, Sweep};
use super::history::History;
use super::join::{Read, furthest_behind, join, position};
use super::nodes::{Node, keep, keep_in_circle};
use super::round::{Cost, Round};
use super::store::{RedisRegistry, RedisStore};
use super::track::Tracks;
use super::{Config, Metrics, Rounds};
use crate::client::{Client, Error, Offset, TopicPartition};

/// How many times as long as a round and its pause may take, before the last one says nothing of the present.
const ROUNDS_GOOD_FOR: i64 = 3;
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
    match (&config.nodes_group, &config.redis) {
        (None, Some(url)) => {
            let registry = RedisRegistry::new(url, &prefix(client, config), timing);
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
            }
            Err(error) => {
                metrics.failures.add(1, &metrics.labels);
                tracing::warn!(cluster = %config.cluster_name, %error, "no lag this round");
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
    clock: Clock,
    interval_ms: i64,
    client: Client,
    collector: Collector,
    history: History,
    tracks: Tracks,
    store: Option<RedisStore>,
    store_answers: Option<bool>,
    /// Partitions whose older samples the store was asked for.
    restored: HashSet<TopicPartition>,
}

impl Monitor {
    pub fn new(config: &Config, client: &Client) -> Self {
        let clock = Clock::start();
        Self {
            clock,
            interval_ms: i64::try_from(config.interval().as_millis()).unwrap_or(i64::MAX),
            client: client.clone(),
            collector: Collector::new(client, clock, config),
            history: History::new(config.history_samples_max),
            tracks: Tracks::new(config.status_window),
            store: config.redis.as_deref().map(|url| RedisStore::new(url, &prefix(client, config))),
            store_answers: None,
            restored: HashSet::new(),
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
        let mut sweep = self.collector.sweep().await?;
        self.remember(&sweep);
        self.share(&mut sweep).await;
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
            now_ms,
        };
        let round = join(read, &self.history, &mut self.tracks);
        let took_ms = self.clock.now_ms() - began_ms;
        Ok(Round {
            took_ms,
            good_for_ms: took_ms.max(self.interval_ms).saturating_mul(ROUNDS_GOOD_FOR),
            skew_ms: now_ms - sweep.commits_asked_ms,
            groups: self.collector.groups.clone(),
            listed: self.collector.listed,
            failures: sweep.failures,
            unread: sweep.unread,
            unlisted: self.collector.unlisted.clone(),
            breaks: self.history.breaks,
            cost: self.cost(),
            cluster: self.collector.cluster(),
            ..round
        })
    }

    fn cost(&self) -> Cost {
        Cost {
            by_api: self.client.stats(),
            traffic: self.client.traffic(),
            history_partitions: self.history.partitions(),
            history_samples: self.history.samples(),
            history_bytes: self.history.bytes(),
            window_bytes: self.tracks.bytes(),
            store_answers: self.store_answers,
        }
    }

    fn remember(&mut self, sweep: &Sweep) {
        for (partition, sample, lineage) in sweep.samples() {
            if let Some(kind) = self.history.add(partition, sample, lineage) {
                tracing::warn!(%partition, "the partition was {}: its history begins anew", kind.name());
                self.tracks.broken(partition);
                self.collector.log_starts.remove(partition);
            }
        }
        // A coordinator that does not answer hides its groups: what they read is not forgotten for that.
        if sweep.failures.is_empty() {
            let is_read = |partition: &TopicPartition| sweep.partitions.binary_search(partition).is_ok();
            self.history.keep(is_read);
            self.restored.retain(is_read);
        }
    }

    /// Takes from the store what this monitor has not seen itself, and gives it what it has.
    async fn share(&mut self, sweep: &mut Sweep) {
        let Some(store) = &mut self.store else { return };
        let samples: Vec<_> = sweep.lives().collect();
        let lives = samples.iter().map(|(life, _)| life);
        let unknown: Vec<_> = lives.filter(|(partition, _)| !self.restored.contains(partition)).cloned().collect();
        let kept = match store.read(&unknown).await {
            Ok(kept) => kept,
            Err(error) => return self.without_store(&mut sweep.failures, &error.to_string()),
        };
        for (partition, samples) in kept {
            self.history.restore(&partition, samples);
        }
        self.restored.extend(unknown.into_iter().map(|(partition, _)| partition));
        match store.append(&samples).await {
            Ok(()) => self.store_answers = Some(true),
            Err(error) => self.without_store(&mut sweep.failures, &error.to_string()),
        }
    }

    fn without_store(&mut self, failures: &mut Vec<String>, error: &str) {
        self.store_answers = Some(false);
        failures.push(format!("the history is kept in memory alone: {error}"));
        tracing::warn!(error, "history is kept in memory alone this round");
    }

    /// Asks Kafka's time index for what came before the first sample, where a reader is that far behind.
    async fn reach_back(&mut self, sweep: &mut Sweep) {
        let behind = self.behind(sweep);
        if behind.is_empty() {
            return;
        }
        for (partition, probes) in self.collector.climb(sweep.ends_answered_ms, &behind, &mut sweep.failures).await {
            self.history.climbed(&partition, probes);
        }
    }

    /// Partitions with a reader that is behind all that is remembered, and where they end.
    fn behind(&self, sweep: &Sweep) -> Vec<(TopicPartition, Offset)> {
        let furthest = furthest_behind(&sweep.commits, &sweep.partitions);
        let lacks = |partition: &TopicPartition, committed: Offset| {
            let position = position(committed, self.collector.log_starts.get(partition).copied());
            self.history.of(partition).is_some_and(|ring| ring.lacks_probes(position))
        };
        let ends = sweep.partitions.iter().zip(&sweep.ends).zip(furthest);
        let behind = ends.filter_map(|((partition, end), committed)| {
            lacks(partition, committed?).then_some((partition.clone(), (*end).ok()?))
        });
        behind.collect()
    }
}
