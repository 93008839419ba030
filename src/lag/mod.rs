//! How far behind each group is, in records and in time.
//!
//! A *round*: committed offsets of all groups first, one request a coordinator; *then* the end offsets of all their
//! partitions, one request a leader; joined in memory into rows. In this order ordinary progress never shows as negative
//! lag, only as at most one round trip too much. Each round becomes one immutable [`Round`], published in a watch; metrics
//! and routes read it, and never talk to Kafka.
//!
//! Time lag comes from history: each round adds to one ring *a partition* (not a group) when its end offset was asked for,
//! when it was answered, and what it was. The first record that a group has not read became visible between two samples,
//! and so its age is an interval that can be proven ([`estimate`]). The rings live in memory and, when a Redis is named,
//! there too, so that a restart knows what came before it.
//!
//! What must stay true: unknown is absent with a reason, never 0 and never −1; a broker or group that fails takes only its
//! own rows with it; a group that is gone is gone from the next round on. Deliberately absent: who the members are.

mod collect;
mod estimate;
mod history;
mod metrics;
mod round;
mod routes;
mod run;
mod store;

use std::time::Duration;

use serde::Deserialize;

pub use estimate::{Method, TimeLag, estimate};
pub use history::{History, Sample};
pub use metrics::{Metrics, exposition};
pub use round::{Reason, Round, Row, Worst};
pub use routes::router;
pub use run::{Rounds, run};
pub use store::{RedisStore, StoreError};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Between the starts of two rounds.
    pub interval_seconds: u64,
    /// Groups are listed in every so many rounds; a new group waits no longer than that.
    pub list_groups_every: u32,
    /// Log starts are asked for in every so many rounds.
    pub log_starts_every: u32,
    /// Samples kept a partition, 24 bytes each; older ones are thinned, so that few of them still reach far back.
    pub history_samples_max: usize,
    /// A Redis to keep the history in too.
    pub redis: Option<String>,
    /// Keys in Redis start with this, so that several clusters can share it.
    pub redis_prefix: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval_seconds: 10,
            list_groups_every: 3,
            log_starts_every: 6,
            history_samples_max: 120,
            redis: None,
            redis_prefix: "highwater".to_owned(),
        }
    }
}

impl Config {
    fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_seconds.max(1))
    }
}
