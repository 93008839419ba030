//! The loop: a round every interval, whatever became of the one before.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::collect::{Collector, Sweep};
use super::history::History;
use super::round::{Round, rows};
use super::store::RedisStore;
use super::{Config, Metrics};
use crate::client::{Client, TopicPartition};

/// What cannot be known at once is missing from this round; the next one asks again.
const ASKED_AT_MOST: u32 = 4;

/// Where rounds are published: a cheap handle for any number of readers.
#[derive(Debug, Clone)]
pub struct Rounds(watch::Sender<Option<Arc<Round>>>);

impl Default for Rounds {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Rounds {
    /// The last round; `None` before the first.
    pub fn latest(&self) -> Option<Arc<Round>> {
        self.0.borrow().clone()
    }

    /// Sees every round from now on.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Round>>> {
        self.0.subscribe()
    }
}

/// Makes rounds until `stop`. A round that fails is said and left out: the last one stays published, with its age.
pub async fn run(config: &Config, client: &Client, rounds: &Rounds, metrics: &Metrics, stop: &CancellationToken) {
    let mut monitor = Monitor {
        collector: Collector::new(client.admin().rounds(ASKED_AT_MOST), config),
        history: History::new(config.history_samples_max),
        store: config.redis.as_deref().map(|url| RedisStore::new(url, &config.redis_prefix)),
        restored: HashSet::new(),
        metrics,
    };
    let mut ticks = interval(config.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(round) = stop.run_until_cancelled(monitor.round()).await else { return };
        if let Some(round) = round {
            rounds.0.send_replace(Some(Arc::new(round)));
        }
    }
}

struct Monitor<'a> {
    collector: Collector,
    history: History,
    store: Option<RedisStore>,
    /// Partitions whose older samples the store was asked for.
    restored: HashSet<TopicPartition>,
    metrics: &'a Metrics,
}

impl Monitor<'_> {
    async fn round(&mut self) -> Option<Round> {
        let began_ms = Timestamp::now().as_millisecond();
        let sweep = match self.collector.sweep().await {
            Ok(sweep) => sweep,
            Err(error) => {
                self.metrics.failures.add(1, &[]);
                tracing::warn!(%error, "no lag this round");
                return None;
            }
        };
        self.remember(&sweep).await;
        let now_ms = sweep.ends_answered_ms;
        let rows = rows(&sweep.committed, &sweep.ends, &self.collector.log_starts, &self.history, now_ms);
        self.metrics.failures.add(sweep.failures.len() as u64, &[]);
        self.metrics.round.record((now_ms - began_ms) as f64 / 1000.0, &[]);
        Some(Round {
            finished_ms: now_ms,
            took_ms: now_ms - began_ms,
            skew_ms: now_ms - sweep.commits_asked_ms,
            groups: sweep.groups,
            rows,
            failures: sweep.failures,
            history_partitions: self.history.partitions(),
            history_samples: self.history.samples(),
            rewound: self.history.rewound,
        })
    }

    async fn remember(&mut self, sweep: &Sweep) {
        for (partition, sample) in sweep.samples() {
            self.history.add(partition, sample);
        }
        let read: HashSet<_> = sweep.committed.iter().map(|(_, partition, _)| partition).collect();
        self.history.keep(|partition| read.contains(partition));
        self.restored.retain(|partition| read.contains(partition));
        let Some(store) = &mut self.store else { return };
        let unknown: Vec<_> =
            sweep.ends.keys().filter(|partition| !self.restored.contains(*partition)).cloned().collect();
        let kept = match store.read(&unknown).await {
            Ok(kept) => kept,
            Err(error) => return self.without_store(&error.to_string()),
        };
        for (partition, samples) in kept {
            self.history.restore(&partition, samples);
        }
        self.restored.extend(unknown);
        let samples: Vec<_> = sweep.samples().collect();
        if let Err(error) = store.append(&samples).await {
            self.without_store(&error.to_string());
        }
    }

    fn without_store(&self, error: &str) {
        self.metrics.failures.add(1, &[]);
        tracing::warn!(error, "history is kept in memory alone this round");
    }
}
