//! `highwater broker`: the dev broker alone.

use crate::app::{self, Failure, Status, stop_on_signal};
use crate::cli;

/// Runs until a signal.
pub async fn broker(args: cli::Broker) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let kept =
        args.data_dir.as_ref().map_or_else(|| "in memory".to_owned(), |dir| format!("data in {}", dir.display()));
    let cli::Broker { listen, data_dir, fsync, default_partitions, profile, door } = args;
    let broker = app::broker(listen, data_dir, fsync.fsync, default_partitions, profile, Some(&door)).await?;
    app::say(format_args!("Kafka      {} ({kept})", broker.bootstrap_servers()));
    stop.cancelled().await;
    broker.stop().await.map_err(Failure::of(Status::Software))
}
