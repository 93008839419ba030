//! `highwater bench`: how fast records are written and read, told in the words of Kafka's own tools, so that what reads
//! theirs reads ours.

mod consume;
mod latencies;
mod produce;

use crate::app::Failure;
use crate::cli;

pub async fn bench(verb: cli::Bench) -> Result<(), Failure> {
    match verb {
        cli::Bench::Produce(args) => produce::produce(args).await,
        cli::Bench::Consume(args) => consume::consume(args).await,
    }
}

/// Kafka's tools count megabytes of 1024 * 1024 bytes.
const MEGABYTE: f64 = 1024.0 * 1024.0;
