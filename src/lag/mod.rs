//! How far behind each group is, in records and in time.
//!
//! A *round*: committed offsets of all groups first, one request a coordinator; *then* the end offsets of all their
//! partitions, one request a leader; joined in memory ([`join`]) into rows ([`row`]). In this order ordinary progress never
//! shows as negative lag, only as at most one round trip too much. Each round becomes one immutable [`Round`], published in
//! a watch; metrics and routes read it, and never talk to Kafka.
//!
//! Time lag comes from history: each round adds to one ring *a partition* (not a group) when its end offset was asked for,
//! when it was answered, and what it was. The first record that a group has not read became visible between two samples,
//! and so its age is an interval that can be proven ([`estimate`]). The rings live in memory and, when a Redis is named,
//! there too, so that a restart knows what came before it. Where a reader is further behind than that, Kafka's own time
//! index is asked, once a partition ([`ladder`]), so that already the first round has a time lag.
//!
//! A share group (KIP-932) commits nothing: its coordinator says from where it reads, and how many records it is not done
//! with (KIP-1226), in one request more to each coordinator that keeps some. It is a group like any other here; its lag in
//! records is the coordinator's, its lag in time that of the first record that it is not done with.
//!
//! A streams group (KIP-1071) commits as a consumer group does, and is one here.
//!
//! The end is the high watermark, so a reader that waits for an undecided transaction lags by it. Where one stands is asked
//! for now and then ([`turns`]), one request a leader, after the ends: a last stable offset that is below an end read *before*
//! it is of a transaction that was open in between. Such partitions are asked about until it is decided, in every round that
//! has room for it, and the age of the first undecided record comes from the history, as a reader's does; one that is older
//! than any transaction may take hangs (KIP-664), and holds up whoever reads committed records only.
//!
//! Offsets are not always records. Where readers stand still shortly before an end, it is looked once what is in between
//! ([`tails`]): whoever has only ends of transactions before it is caught up.
//!
//! Whether a group gets on ([`status`]) is told by a window ([`window`]) of its commits ([`track`]), by Burrow's rules.
//!
//! Several monitors share the groups of a cluster where they are given names ([`nodes`]): each reads its own groups only, and
//! tells them as long as it has a lease ([`rounds`]), so that no group is told by two. Ends are read by every node that has
//! a group on the partition, and are told by each of them.
//!
//! A process may monitor several clusters ([`clusters`]), which have nothing in common but what is told of them.
//!
//! # What it takes
//!
//! A steady round is two requests a broker: one for the commits of all the groups that it keeps, one for the ends of all the
//! partitions that it leads. Every third one lists groups, and others ask for log starts or last stable offsets, a request a
//! broker more; no two of these fall together ([`turns`]), so that no round costs more than three requests a broker, as long as
//! all answer and members are not asked for. The first round, and one in which this node takes groups over, asks for all of it
//! but last stable offsets. The cluster is learned anew once a minute, by one request. Where other exporters' families tell of
//! all topics, that request and those for ends are about all of them, and no more.
//!
//! A broker may take half an interval for what it is asked (at least a second, at most thirty): the members, the commits, the
//! ends, each. What it has not said by then is unknown in this round, and it is asked nothing more until it has
//! answered a question that no round waits for ([`silent`]). So one that hangs costs its own rows, and once half an interval;
//! in each round where it answers that question, and hangs in others.
//!
//! A row is 112 bytes, and twice that while the next round is made; its window about five bytes an entry. A partition has a
//! ring of at most `history_samples_max` samples of twelve bytes.
//!
//! What it took is published: requests, their time, and bytes in both directions, by API.
//!
//! # Faces
//!
//! `/metrics` as text straight from the round ([`exposition`]), made page by page while it is sent ([`family`]): our own
//! families always, as far down as is asked for ([`Series`]), those of members where they are ([`members`]), and those of kafka_exporter, kminion and kafka-lag-exporter
//! ([`compat`]) for dashboards that exist; `/api/lag` as JSON ([`routes`]); Burrow's HTTP API ([`burrow`]).
//!
//! # What must stay true
//!
//! - Unknown is absent with a reason, never 0 and never −1; caught up is exactly 0.
//! - A broker or group that fails takes only its own rows with it.
//! - A group that is gone is gone from the next round on; one whose commits cannot be read is unknown, not gone.
//! - A round that is too old to speak of the present is published no more: only its age is, and what was counted.
//! - What is proven of ages is proven by a clock that nobody sets ([`clock`]); one that is set, or a machine that slept, makes
//!   intervals wider, never wrong. What a Redis keeps has times of the wall: over a restart they are as good as that was.
//! - Offsets of a topic that was made anew, or of a log that was truncated, are never compared with those from before. Where
//!   a partition's leader has changed, it is asked where the epoch before it ended in its log (KIP-320), so that a log that was
//!   cut and has grown again between two rounds is known for another one.
//! - What could not be read goes on where it was, once it can be: a group's windows, and since when a commit stands.
//!
//! # What outlives a restart, or a handover to another node
//!
//! With a Redis, the ends of partitions, and so the time lag: as many samples a partition as in memory, of the last six
//! hours. They are written as they come, written back to a Redis that was away or was emptied, and read at the start, each in
//! bounded pipelines for at most about a second of a round; what is left is for the next rounds. Those of before a partition's
//! leader changed are left out at the start: nobody says any more what it had. Without a Redis, and beyond it, there is
//! Kafka's time index. Not kept are the windows of commits: the status of a group is unknown for three rounds, and a commit counts as new when it
//! is first seen.
//!
//! # Absent on purpose
//!
//! A truncation under the same leader epoch, which Kafka does not do, is seen only where the end went back. Where brokers do not
//! say their epochs (before Kafka 2.1), the same holds for any.

mod burrow;
mod clock;
mod clusters;
mod collect;
mod compat;
mod elsewhere;
mod estimate;
mod exposition;
mod family;
mod history;
mod join;
mod ladder;
mod members;
mod metrics;
mod nodes;
mod pattern;
mod round;
mod rounds;
mod routes;
mod row;
mod run;
mod silent;
mod status;
mod store;
mod tails;
#[cfg(test)]
mod tests;
mod text;
mod track;
mod turns;
mod window;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use self::nodes::Timing;
use self::store::RedisPlace;
use crate::client::TlsOptions;
use crate::limits::{Limits, Url};

pub use clusters::{ClusterConfig, Clusters};
pub use compat::Family;
pub use estimate::{Method, TimeLag, estimate};
pub use exposition::{Series, exposition};
pub use family::Pages;
pub use history::{Break, Breaks, History, Lineage, Probe, Remembered, Ring, Sample};
pub use metrics::Metrics;
pub use nodes::Hold;
pub use pattern::{Filter, Pattern};
pub use round::{Absent, Cost, Group, LogDirs, Round, Total, Worst};
pub use rounds::{NoLag, Rounds};
pub use routes::{json, router, router_of};
pub use row::{Partition, Reading, Reason, Row, Sum};
pub use run::{Monitor, run};
pub use status::{Commit, Status, status};
pub use store::{RedisStore, StoreError};
pub use text::Dialect;
pub use track::Tracks;
pub use window::Window;

const PATIENCE_MIN: Duration = Duration::from_secs(1);
const PATIENCE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Between the starts of two rounds; fractions count.
    pub interval_seconds: f64,
    /// Groups are listed in every so many rounds, and in every round while a broker is silent; a new group waits no longer than
    /// that.
    pub list_groups_every: u32,
    /// Log starts are asked for in every so many rounds, or up to three later: not in a round that lists groups, unless every one does.
    pub log_starts_every: u32,
    /// Last stable offsets (KIP-98) are asked for in every so many rounds, 0 for never: of topics in which a transaction was
    /// seen, and every fifth time of all. Of partitions where they are below the end they are asked for in every round that
    /// asks for nothing else.
    pub stable_offsets_every: u32,
    /// Of readers that stand still at most so many offsets before an end that stands still, too, it is looked which of these
    /// hold records, once: ends of transactions (KIP-98) do not. 0 for never. It takes the right to read the topics.
    pub tail_lag_max: u32,
    /// Groups that read committed records only: those of aborted transactions are none to them.
    pub read_committed: Vec<Pattern>,
    /// Samples kept a partition, 12 bytes each; older ones are thinned, so that few of them still reach far back.
    pub history_samples_max: usize,
    /// Commits over which a group is judged, about five bytes each for every group and partition. One that stands counts again
    /// as often as makes 75 seconds of all of them, but no more often than there are rounds.
    pub status_window: u16,
    /// Which groups are looked at.
    pub groups: Filter,
    /// Which topics are looked at.
    pub topics: Filter,
    /// How far down our own families go.
    pub series: Series,
    /// At most so many group and partition pairs have series of their own, those furthest behind, and their partitions do, in
    /// every family; all of them count in the sums. `None` for all.
    pub rows_max: Option<usize>,
    /// Members of groups have series of their own, those of so many members that are furthest behind. `None`: members are not
    /// asked for, unless another exporter's families have them.
    pub members_max: Option<usize>,
    /// Families of other exporters that are published beside our own.
    pub compat: BTreeSet<Family>,
    /// What other exporters' families and Burrow's HTTP API call the cluster.
    pub cluster_name: String,
    /// Whether this is one of several clusters, which the label `cluster` tells apart.
    #[serde(skip)]
    pub names_cluster: bool,
    /// The clusters, where `highwater lag` is to monitor several.
    pub clusters: Vec<ClusterConfig>,
    /// A Redis to keep the history in too.
    pub redis: Option<Url>,
    /// PEM file of the CAs that the Redis is verified against where its URL asks for TLS; `None`: the system's.
    pub redis_ca_file: Option<PathBuf>,
    /// PEM file of our certificate, and those that signed it, for a Redis that asks for one; with `redis_key_file`.
    pub redis_cert_file: Option<PathBuf>,
    /// PEM file of the certificate's private key, not encrypted.
    pub redis_key_file: Option<PathBuf>,
    /// Keys in Redis start with this, and the cluster's id.
    pub redis_prefix: String,
    /// This monitor's name among others that share the groups. `None`: it tells all groups.
    pub node_id: Option<String>,
    /// The group of the monitors themselves, in which nodes find each other. `None`: they do so in the Redis, if there is one,
    /// and else in the group `highwater-lag`.
    pub nodes_group: Option<String>,
    /// Where a node is reached over HTTP, with `{}` for its `node_id`: who asks one for a group of another is sent on there.
    pub node_url: Option<String>,
    /// How long the groups of a node that is gone are told by nobody, at most; the same for all nodes.
    pub lease_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval_seconds: 10.0,
            list_groups_every: 3,
            log_starts_every: 6,
            stable_offsets_every: 6,
            tail_lag_max: 1_000,
            read_committed: Vec::new(),
            history_samples_max: 120,
            status_window: 10,
            groups: Filter::default(),
            topics: Filter::default(),
            series: Series::default(),
            rows_max: None,
            members_max: None,
            compat: BTreeSet::new(),
            cluster_name: "kafka".to_owned(),
            names_cluster: false,
            clusters: Vec::new(),
            redis: None,
            redis_ca_file: None,
            redis_cert_file: None,
            redis_key_file: None,
            redis_prefix: "highwater".to_owned(),
            node_id: None,
            nodes_group: None,
            node_url: None,
            lease_seconds: 15,
        }
    }
}

impl Config {
    /// Holds what was set against what makes sense.
    pub fn check(&self, limits: &mut Limits) {
        limits.within("interval_seconds", self.interval_seconds, 0.1..=86_400.0);
        limits.within("list_groups_every", self.list_groups_every, 1..=100_000);
        limits.within("log_starts_every", self.log_starts_every, 1..=100_000);
        limits.within("stable_offsets_every", self.stable_offsets_every, 0..=100_000);
        limits.within("tail_lag_max", self.tail_lag_max, 0..=100_000);
        limits.within("history_samples_max", self.history_samples_max, history::SAMPLES_MIN..=1_000_000);
        limits.within("status_window", self.status_window, status::ENTRIES_MIN as u16..=10_000);
        if let Some(most) = self.members_max {
            limits.within("members_max", most, 0..=1_000_000);
        }
        limits.not_empty("cluster_name", &self.cluster_name);
        ClusterConfig::check(&self.clusters, limits);
        limits.not_empty("redis_prefix", &self.redis_prefix);
        limits.within("lease_seconds", self.lease_seconds, 1..=3_600);
        if let Some(node_id) = &self.node_id {
            limits.not_empty("node_id", node_id);
        }
        if let Some(group) = &self.nodes_group {
            limits.not_empty("nodes_group", group);
            limits.must(
                self.node_id.is_some(),
                "nodes_group",
                group,
                "with a node_id, under which others know this one",
            );
        }
        if let Some(url) = &self.node_url {
            let is_right = self.node_id.as_ref().is_some_and(|node_id| elsewhere::is_node_url(url, node_id));
            let allowed = "an http:// or https:// URL without a user and a query, with {} where the name of a node goes, and \
                           with a node_id that can stand there";
            limits.must(is_right, "node_url", url, allowed);
        }
        if let Some((url, Err(error))) = self.redis.as_ref().map(|url| (url, RedisStore::check_url(url))) {
            limits.must(false, "redis", url, format_args!("the URL of a Redis: {error}"));
        } else if let Some((name, file)) = self.redis_file() {
            let wrong = match self.redis_place() {
                Some(place) => RedisStore::check_tls(&place).err().map(|error| error.to_string()),
                None => Some("there is no Redis that it is for".to_owned()),
            };
            if let Some(wrong) = wrong {
                limits.must(false, name, &file.display(), format_args!("a file for TLS to the Redis: {wrong}"));
            }
        }
    }

    /// The first of the files that TLS to the Redis is made of.
    fn redis_file(&self) -> Option<(&'static str, &PathBuf)> {
        let files = [
            ("redis_ca_file", &self.redis_ca_file),
            ("redis_cert_file", &self.redis_cert_file),
            ("redis_key_file", &self.redis_key_file),
        ];
        files.into_iter().find_map(|(name, file)| Some((name, file.as_ref()?)))
    }

    /// The settings of one of several clusters.
    pub fn of_cluster(&self, name: &str) -> Self {
        Self { cluster_name: name.to_owned(), names_cluster: true, clusters: Vec::new(), ..self.clone() }
    }

    /// What no number of seconds can be said of is refused by [`Self::check`].
    pub fn interval(&self) -> Duration {
        Duration::try_from_secs_f64(self.interval_seconds).unwrap_or(Duration::from_secs(1))
    }

    fn redis_place(&self) -> Option<RedisPlace> {
        let url = self.redis.clone()?;
        let [ca_file, cert_file, key_file] =
            [&self.redis_ca_file, &self.redis_cert_file, &self.redis_key_file].map(Option::clone);
        Some(RedisPlace { url, tls: TlsOptions { ca_file, cert_file, key_file, server_name: None } })
    }

    /// How long a round waits for a broker: half an interval, so that the rounds after it are in time whatever happens, but no
    /// less than a healthy broker takes when it is busy, and no more than anybody would wait for a healthy one.
    fn patience(&self) -> Duration {
        (self.interval() / 2).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    fn timing(&self) -> Timing {
        Timing { lease_ms: i64::from(self.lease_seconds.max(1)) * 1_000 }
    }

    /// Topics that no group reads are told of where another exporter's users expect them.
    fn tells_of_all_topics(&self) -> bool {
        self.compat.contains(&Family::KafkaExporter) || self.compat.contains(&Family::Kminion)
    }

    /// Members cost a request more for each type of group that a coordinator keeps.
    fn asks_for_members(&self) -> bool {
        self.members_max.is_some() || !self.compat.is_empty()
    }
}
