//! `highwater lag`: how far behind groups are.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{NamedCluster, listen, seconds, span};
use super::{Asking, Otlp, Printing};
use crate::lag::{Family, Pattern, Series};
use crate::limits::Url;

#[derive(Debug, Args)]
pub struct Lag {
    #[command(flatten)]
    pub asking: Asking,
    /// One of several clusters to look at, by a name; instead of -b, and once for each. What -X says is of all of them;
    /// `[[lag.clusters]]` in the file has properties of each
    #[arg(long = "cluster", value_name = "NAME=HOST:PORT,...")]
    pub clusters: Vec<NamedCluster>,
    /// Look once, print it, and end; with status 2 where a limit is exceeded. Lag is to the high watermark, also of readers of
    /// committed records
    #[arg(long, conflicts_with = "watch")]
    pub once: bool,
    /// Show a table of those furthest behind, over and over
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub printing: Printing,
    /// Only groups of this name; `*` and `?` stand for any characters and for one
    #[arg(short = 'g', long, value_name = "GLOB", value_parser = Pattern::glob)]
    pub group: Vec<Pattern>,
    /// Only topics of this name
    #[arg(short = 't', long, value_name = "GLOB", value_parser = Pattern::glob)]
    pub topic: Vec<Pattern>,
    /// With --once: end with status 2 if a group is further behind on a partition than so many records
    #[arg(long, value_name = "N", requires = "once")]
    pub max_lag: Option<u64>,
    /// With --once: end with status 2 if a group is most likely further behind on a partition than this long, e.g. 5m
    #[arg(long, value_name = "TIME", requires = "once", value_parser = span)]
    pub max_seconds: Option<Duration>,
    /// Between two rounds, at least 100ms [default: 10s, or 2s with --watch]
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub interval: Option<Duration>,
    /// Where /metrics, /api/lag, /api/lag/GROUP, /v3/kafka, /livez and /readyz are served
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen, default_value = "127.0.0.1:9308")]
    pub listen: SocketAddr,
    /// Keep the history in this Redis too, so that it outlives a restart, e.g. redis://127.0.0.1:6379
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis: Option<Url>,
    /// The CAs that a rediss:// URL is verified against, in a PEM file [default: the system's]
    #[arg(long, value_name = "FILE", env = "REDIS_CA_FILE", value_hint = clap::ValueHint::FilePath)]
    pub redis_ca_file: Option<PathBuf>,
    /// Our certificate for a Redis that asks for one (PEM, with those that signed it); a renewed file is used by new connections
    #[arg(long, value_name = "FILE", env = "REDIS_CERT_FILE", value_hint = clap::ValueHint::FilePath)]
    pub redis_cert_file: Option<PathBuf>,
    /// The private key of --redis-cert-file (PEM, not encrypted)
    #[arg(long, value_name = "FILE", env = "REDIS_KEY_FILE", value_hint = clap::ValueHint::FilePath)]
    pub redis_key_file: Option<PathBuf>,
    /// Share the groups with other monitors of the cluster, under this name; each group is told by one. They find each other in
    /// the Redis, or else in a group of their own. All need the same filters of groups, the same lease, and clocks that agree
    /// (NTP)
    #[arg(long, value_name = "NAME", env = "HIGHWATER_NODE_ID")]
    pub node_id: Option<String>,
    /// The group in which the monitors find each other, also where there is a Redis [default without one: highwater-lag]
    #[arg(long, value_name = "GROUP")]
    pub nodes_group: Option<String>,
    /// Where a monitor is reached over HTTP, with {} for its --node-id, e.g. http://{}.lag:9308: who asks one for a group of
    /// another is sent on there (307)
    #[arg(long, value_name = "URL", env = "HIGHWATER_NODE_URL")]
    pub node_url: Option<String>,
    /// How long the groups of a node that is gone may be told by nobody; the same for all nodes [default: 15s]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub lease: Option<Duration>,
    /// How far down our own families go [default: partition]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub series: Option<Series>,
    /// Series of their own only for so many pairs of a group and a partition, those furthest behind, and for their partitions,
    /// in other exporters' families too; all count in the sums, and those that are hidden are counted
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Publish who reads what: series with the labels member_id, client_id, host and instance_id, of so many members, those
    /// furthest behind [10000 where no number is given]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10000")]
    pub members: Option<usize>,
    /// Publish the families of these exporters too, by their names and labels
    #[arg(long, value_enum, value_delimiter = ',', value_name = "EXPORTER", conflicts_with_all = ["once", "watch"])]
    pub compat: Vec<Family>,
    /// What those families and Burrow's API call the cluster [default: kafka]
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Only groups whose whole name matches one of these regular expressions
    #[arg(long, value_name = "REGEX")]
    pub groups_allow: Vec<Pattern>,
    /// No groups whose whole name matches one of these
    #[arg(long, value_name = "REGEX")]
    pub groups_deny: Vec<Pattern>,
    /// Only topics whose whole name matches one of these regular expressions
    #[arg(long, value_name = "REGEX")]
    pub topics_allow: Vec<Pattern>,
    /// No topics whose whole name matches one of these
    #[arg(long, value_name = "REGEX")]
    pub topics_deny: Vec<Pattern>,
    /// Settings in TOML, as for `up`, of which `[lag]` and `[otlp]` are read; a flag wins over the file
    #[arg(long, value_name = "FILE", env = "HIGHWATER_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub otlp: Otlp,
}
