//! `highwater transactions`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::values::{Partitions, span};
use super::{Asking, Printing};

#[derive(Debug, Subcommand)]
pub enum Transactions {
    /// List transactional ids
    List(ListTransactions),
    /// Describe transactional ids: their producer, and the transaction that is open
    Describe(DescribeTransactions),
    /// Show the producers that partitions keep in mind, and which of them have a transaction open there
    #[command(visible_alias = "describe-producers")]
    Producers(DescribeProducers),
    /// Find transactions that nobody will end: open for too long, and unknown to their coordinators
    FindHanging(FindHanging),
    /// End a hanging transaction on a partition, so that readers of committed records go on behind it
    Abort(AbortTransaction),
    /// Abort what transactional ids have open, and fence whoever uses them
    #[command(visible_alias = "force-terminate")]
    Fence(FenceTransactions),
}

#[derive(Debug, Args)]
pub struct ListTransactions {
    #[command(flatten)]
    pub printing: Printing,
    /// Only those in one of these states
    #[arg(long = "state", value_enum, ignore_case = true, value_name = "STATE", value_delimiter = ',')]
    pub states: Vec<TransactionState>,
    /// Only those of this producer id; may be repeated
    #[arg(long = "producer-id", value_name = "ID", value_delimiter = ',')]
    pub producer_ids: Vec<i64>,
    /// Only those whose transaction has run longer than this, e.g. 15m
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub longer_than: Option<Duration>,
    /// Only ids that this regular expression matches from end to end
    #[arg(long = "pattern", alias = "transactional-id-pattern", value_name = "REGEX")]
    pub id_pattern: Option<String>,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct DescribeTransactions {
    /// Which transactional ids
    #[arg(required = true, value_name = "ID")]
    pub transactional_ids: Vec<String>,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct DescribeProducers {
    /// Topics, or partitions of them
    #[arg(required = true, value_name = "TOPIC[:P,P]")]
    pub topics: Vec<Partitions>,
    /// Ask this broker's replica rather than the leader
    #[arg(long = "broker-id", value_name = "ID")]
    pub broker: Option<i32>,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct FindHanging {
    /// Look at this topic
    #[arg(short = 't', long, value_name = "NAME", required_unless_present = "broker")]
    pub topic: Option<String>,
    /// Only at this partition of it
    #[arg(short = 'p', long, value_name = "N", requires = "topic", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// Look at the partitions of which this broker has a replica, and ask that one
    #[arg(long = "broker-id", value_name = "ID")]
    pub broker: Option<i32>,
    /// What has written within this time may be in order: the longest that the brokers allow a transaction
    /// (transaction.max.timeout.ms); a bare number is in minutes
    #[arg(long, value_name = "TIME", value_parser = minutes, default_value = "15m")]
    pub max_transaction_timeout: Duration,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct AbortTransaction {
    /// The topic
    #[arg(short = 't', long, value_name = "NAME")]
    pub topic: String,
    /// The partition
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: i32,
    /// Where the transaction begins, as `find-hanging` and `producers` show it
    #[arg(long, value_name = "OFFSET", required_unless_present = "producer_id")]
    pub start_offset: Option<i64>,
    /// Whose transaction it is, for brokers that cannot tell
    #[arg(long, value_name = "ID", conflicts_with = "start_offset", requires_all = ["producer_epoch", "coordinator_epoch"])]
    pub producer_id: Option<i64>,
    /// The epoch of that producer
    #[arg(long, value_name = "EPOCH", requires = "producer_id", value_parser = clap::value_parser!(i16).range(0..))]
    pub producer_epoch: Option<i16>,
    /// The epoch of its coordinator; -1 if it has ended no transaction here
    #[arg(long, value_name = "EPOCH", requires = "producer_id", allow_hyphen_values = true)]
    pub coordinator_epoch: Option<i32>,
    /// Abort nothing, and show what would be aborted
    #[arg(long, alias = "dry")]
    pub dry_run: bool,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct FenceTransactions {
    /// Which transactional ids
    #[arg(required = true, value_name = "ID")]
    pub transactional_ids: Vec<String>,
    /// Fence nobody, and show what would be aborted
    #[arg(long, alias = "dry")]
    pub dry_run: bool,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

/// By the names that Kafka has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum TransactionState {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    PrepareEpochFence,
}

/// A length of time; a bare number is one of minutes, as Kafka's own tool takes it.
fn minutes(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(minutes) => Ok(Duration::from_secs(60 * u64::from(minutes))),
        Err(_) => span(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_minutes_unless_they_say_otherwise() {
        let check =
            |text: &str, want: Option<u64>| assert_eq!(minutes(text).ok().map(|it| it.as_secs()), want, "{text}");
        check("15", Some(900));
        check("15m", Some(900));
        check("0", Some(0));
        check("90s", Some(90));
        check("-1", None);
        check("soon", None);
    }
}
