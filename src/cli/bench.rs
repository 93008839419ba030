//! `highwater bench`, with the flags of Kafka's own performance tools.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Asking;
use super::Membership;
use super::values::span;

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// How fast records are written; reported as kafka-producer-perf-test does
    Produce(BenchProduce),
    /// How fast records are read; reported as kafka-consumer-perf-test does
    Consume(BenchConsume),
}

#[derive(Debug, Args)]
pub struct BenchProduce {
    /// Where to; the topic must be there
    #[arg(short = 't', long, value_name = "TOPIC")]
    pub topic: String,
    /// How many records
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1_000_000)]
    pub num_records: u64,
    /// Bytes of each value: random letters
    #[arg(short = 's', long, value_name = "BYTES", default_value_t = 100, conflicts_with = "payload_file")]
    pub record_size: usize,
    /// Take values in turn from the lines of this file
    #[arg(long, value_name = "FILE")]
    pub payload_file: Option<PathBuf>,
    /// At most so many records a second; -1 for as fast as can be
    #[arg(long, value_name = "N", default_value_t = -1.0, allow_negative_numbers = true)]
    pub throughput: f64,
    /// As --property, several in a row
    #[arg(long, alias = "command-property", value_name = "KEY=VALUE", num_args = 1..)]
    pub producer_props: Vec<super::values::Setting>,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct BenchConsume {
    /// Where from
    #[arg(short = 't', long, value_name = "TOPIC")]
    pub topic: String,
    /// How many records
    #[arg(short = 'n', long, alias = "messages", value_name = "N", default_value_t = 1_000_000)]
    pub num_records: u64,
    /// The group to read as [default: a new one]
    #[arg(short = 'g', long, value_name = "GROUP")]
    pub group: Option<String>,
    #[command(flatten)]
    pub membership: Membership,
    /// Begin after the last record there is, where the group has committed nothing
    #[arg(long)]
    pub from_latest: bool,
    /// Give up when no record has come for so long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    pub timeout: Duration,
    /// Leave the head of the table out
    #[arg(long)]
    pub hide_header: bool,
    #[command(flatten)]
    pub asking: Asking,
}
