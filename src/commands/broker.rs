//! `highwater broker`: the dev broker alone.

use crate::app::{self, Failure, Status, stop_on_signal};
use crate::cli;

/// Runs until a signal.
pub async fn broker(args: cli::Broker) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let kept =
        args.data_dir.as_ref().map_or_else(|| "in memory".to_owned(), |dir| format!("data in {}", dir.display()));
    let broker = app::broker(args.listen, args.data_dir, args.fsync.fsync, args.default_partitions).await?;
    app::say(format_args!("Kafka      {} ({kept})", broker.bootstrap_servers()));
    stop.cancelled().await;
    broker.stop().await.map_err(Failure::of(Status::Software))
}
