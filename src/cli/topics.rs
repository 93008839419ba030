//! `highwater topics`.

use clap::{Args, Subcommand};

use super::values::{Partitions, Place, Setting};
use super::{Asking, Printing};

#[derive(Debug, Subcommand)]
pub enum Topics {
    /// List topics
    List(ListTopics),
    /// Describe topics: partitions, leaders, replicas, first and last offsets
    Describe(DescribeTopics),
    /// Create topics
    Create(CreateTopics),
    /// Delete topics, and all that is in them
    Delete(DeleteTopics),
    /// Add partitions to topics; keys are then found elsewhere than before
    AddPartitions(AddPartitions),
    /// Show the settings of topics, or change them
    Config(ConfigTopics),
    /// Delete the first records of partitions, up to a place
    #[command(alias = "trim-prefix")]
    DeleteRecords(DeleteRecords),
}

#[derive(Debug, Args)]
pub struct DeleteRecords {
    /// Topics, or partitions of them
    #[arg(required = true, value_name = "TOPIC[:P,P]")]
    pub topics: Vec<Partitions>,
    /// Where what is kept begins: an offset N, N records before the end (-N) or after the start (+N), @TIME, or end to keep
    /// nothing
    #[arg(short = 'o', long, alias = "offset", value_name = "PLACE", allow_hyphen_values = true)]
    pub before: Place,
    /// Delete nothing, and show where partitions would begin
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct ListTopics {
    #[command(flatten)]
    pub printing: Printing,
    /// Also those of the brokers' own, such as __consumer_offsets
    #[arg(short = 'i', long)]
    pub internal: bool,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct DescribeTopics {
    /// Which topics
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct CreateTopics {
    /// Which topics
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    #[command(flatten)]
    pub printing: Printing,
    /// How many partitions [default: the broker's choice]
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    pub partitions: Option<i32>,
    /// How many replicas of each [default: the broker's choice]
    #[arg(short = 'r', long, alias = "replicas", value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,
    /// A setting, e.g. retention.ms=3600000
    #[arg(short = 'c', long = "config", alias = "topic-config", value_name = "KEY=VALUE")]
    pub configs: Vec<Setting>,
    /// A topic that is there already is no mistake
    #[arg(long)]
    pub if_not_exists: bool,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct DeleteTopics {
    /// Which topics
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    #[command(flatten)]
    pub printing: Printing,
    /// A topic that is not there is no mistake
    #[arg(long)]
    pub if_exists: bool,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct AddPartitions {
    /// Which topics
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub count: PartitionCount,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Clone, Copy, Args)]
#[group(required = true, multiple = false)]
pub struct PartitionCount {
    /// So many more
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    pub num: Option<i32>,
    /// So many in all
    #[arg(short = 'p', long, alias = "partitions", value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
    pub to: Option<i32>,
}

#[derive(Debug, Args)]
pub struct ConfigTopics {
    /// Which topics
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    #[command(flatten)]
    pub printing: Printing,
    /// Set this
    #[arg(short = 's', long, value_name = "KEY=VALUE")]
    pub set: Vec<Setting>,
    /// Back to the broker's default
    #[arg(short = 'd', long, value_name = "KEY")]
    pub delete: Vec<String>,
    /// Add to a list
    #[arg(long, value_name = "KEY=VALUE")]
    pub append: Vec<Setting>,
    /// Take out of a list
    #[arg(long, value_name = "KEY=VALUE")]
    pub subtract: Vec<Setting>,
    /// Change nothing, and say whether it could be done
    #[arg(long)]
    pub dry_run: bool,
    /// Show defaults, too
    #[arg(short = 'a', long, conflicts_with_all = ["set", "delete", "append", "subtract"])]
    pub all: bool,
    #[command(flatten)]
    pub asking: Asking,
}
