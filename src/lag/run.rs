//! The loop: a round every interval, whatever became of the one before.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::collect::{Collector, Sweep};
use super::history::History;
use super::join::{Read, furthest_behind, join, position};
use super::round::{Cost, Round};
use super::store::RedisStore;
use super::track::Tracks;
use super::{Config, Metrics};
use crate::client::{Client, Error, Offset, TopicPartition};

/// Where rounds are published: a cheap handle for any number of readers.
#[derive(Debug, Clone)]
pub struct Rounds(watch::Sender<Option<Arc<Round>>>);

impl Default for Rounds {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Rounds {
    pub(super) fn publish(&self, round: Round) {
        self.0.send_replace(Some(Arc::new(round)));
    }

    /// The last round; `None` before the first.
    pub fn latest(&self) -> Option<Arc<Round>> {
        self.0.borrow().clone()
    }

    /// Sees every round from now on.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Round>>> {
        self.0.subscribe()
    }

    /// The last round, as long as it speaks of the present.
    pub fn current(&self, now_ms: i64) -> Result<Arc<Round>, NoLag> {
        let round = self.latest().ok_or(NoLag::NotYet)?;
        match round.is_current(now_ms) {
            true => Ok(round),
            false => Err(NoLag::Since(Duration::from_millis(round.age_ms(now_ms)))),
        }
    }
}

/// Why there is no lag to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLag {
    #[error("lag not known yet: no round has been finished")]
    NotYet,
    #[error("lag unknown (since {} s): the cluster does not answer", .0.as_secs())]
    Since(Duration),
}

/// How many times as long as a round and its pause may take, before the last one says nothing of the present.
const ROUNDS_GOOD_FOR: i64 = 3;

/// Makes rounds until `stop`. A round that fails is said and left out: the last one stays published, with its age, and
/// its lags for as long as it is [current](Round::is_current).
pub async fn run(config: &Config, client: &Client, rounds: &Rounds, metrics: &Metrics, stop: &CancellationToken) {
    let mut monitor = Monitor::new(config, client);
    let mut ticks = interval(config.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(round) = stop.run_until_cancelled(monitor.round()).await else { return };
        match round {
            Ok(round) => {
                metrics.failures.add(round.failures.len() as u64, &[]);
                metrics.round.record(round.took_ms as f64 / 1000.0, &[]);
                rounds.publish(round);
            }
            Err(error) => {
                metrics.failures.add(1, &[]);
                tracing::warn!(%error, "no lag this round");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_speaks_of_the_present_for_a_while() {
        let rounds = Rounds::default();
        assert_eq!(rounds.current(0).err(), Some(NoLag::NotYet));
        rounds.publish(Round { finished_ms: 1_000, good_for_ms: 3_000, ..Round::default() });
        let check = |now_ms, want: Option<&str>| {
            assert_eq!(rounds.current(now_ms).err().map(|no_lag| no_lag.to_string()).as_deref(), want, "{now_ms}");
        };
        // A clock that was set back makes nothing old.
        check(0, None);
        check(4_000, None);
        check(4_001, Some("lag unknown (since 3 s): the cluster does not answer"));
        check(61_000, Some("lag unknown (since 60 s): the cluster does not answer"));
    }
}
