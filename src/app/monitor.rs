//! `highwater lag` as a daemon: the lag monitor of a cluster, its metrics and its HTTP faces, on one port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::listen::{bind, serve};
use super::room::Room;
use super::{Failure, Status, say, stop_on_signal};
use crate::client::{Client, Error};
use crate::lag;
use crate::telemetry::{Check, Format, Telemetry};

/// How long a round, or a scrape, that is under way may take at the end.
const GRACE: Duration = Duration::from_secs(2);
/// A monitor is not ready when its last round is older than this, and than so many intervals.
const ROUND_AGE: Duration = Duration::from_secs(60);
const ROUND_INTERVALS: u32 = 3;

/// Runs until a signal.
pub async fn monitor(client: Client, listen: SocketAddr, config: lag::Config) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let listener = bind(listen, "metrics", "--listen").await?;
    let telemetry = Telemetry::new().map_err(Failure::of(Status::Software))?;
    let (metrics, rounds) = (lag::Metrics::new(&telemetry.meter("lag")), lag::Rounds::default());
    publish(&telemetry, &config, &rounds);
    if let Ok(address) = listener.local_addr() {
        say(format_args!("lag        http://{address}/metrics  /api/lag  /v3/kafka  /readyz"));
    }
    let router = telemetry.router().merge(lag::router(&config, rounds.clone()));
    let server = Room::start("metrics server", |stop| serve(listener, router, stop));
    let monitored = client.clone();
    let monitor = Room::start("lag monitor", |stop| async move {
        lag::run(&config, &monitored, &rounds, &metrics, &stop).await;
        Ok::<(), Error>(())
    });
    [&server, &monitor].into_iter().for_each(|room| room.report_to(&telemetry));
    let failed = tokio::select! {
        () = stop.cancelled() => None,
        failure = monitor.failed() => Some(failure),
        failure = server.failed() => Some(failure),
    };
    tokio::join!(monitor.stop(GRACE), server.stop(GRACE));
    client.close().await;
    failed.map_or(Ok(()), |failure| Err(Failure::new(Status::Software, failure)))
}

/// Hands the lag to `/metrics`, and what must hold to `/readyz`.
pub(super) fn publish(telemetry: &Telemetry, config: &lag::Config, rounds: &lag::Rounds) {
    let (latest, shown) = (rounds.clone(), config.clone());
    telemetry.add_text(Arc::new(move |format| {
        let dialect = match format {
            Format::Prometheus => lag::Dialect::Prometheus,
            Format::OpenMetrics => lag::Dialect::OpenMetrics,
        };
        let pages = latest.text(&shown, Timestamp::now().as_millisecond(), dialect);
        Box::new(pages.into_iter().flatten())
    }));
    let latest = rounds.clone();
    let old = ROUND_AGE.max(config.interval().saturating_mul(ROUND_INTERVALS));
    telemetry.add_ready_check(Check::new("lag", move || match latest.latest() {
        None => Err("no round has been finished yet".to_owned()),
        Some(round) => {
            let age = Duration::from_millis(round.age_ms(Timestamp::now().as_millisecond()));
            match age > old {
                true => Err(format!("the last round is {} s old: the cluster does not answer", age.as_secs())),
                false => Ok(()),
            }
        }
    }));
}
