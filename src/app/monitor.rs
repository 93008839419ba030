//! `highwater lag` as a daemon: the lag monitor of a cluster, or of several, its metrics and its HTTP faces, on one port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, select_all};
use jiff::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::listen::{bind, connect, serve};
use super::room::Room;
use super::{Failure, Status, say, stop_on_signal};
use crate::client::{Client, ClientConfig, Error};
use crate::lag::{self, Clusters};
use crate::telemetry::{Check, Format, Telemetry};

/// How long a round, or a scrape, that is under way may take at the end.
const GRACE: Duration = Duration::from_secs(2);
/// A monitor is not ready when its last round is older than this, and than so many intervals.
const ROUND_AGE: Duration = Duration::from_secs(60);
const ROUND_INTERVALS: u32 = 3;
/// Before a cluster that could not be reached is tried again; doubled each time.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// And one that does not believe who we are, where a login that is tried too often may be locked.
const AGAIN_REFUSED: Duration = Duration::from_secs(10);

/// A cluster to monitor.
#[derive(Debug)]
pub struct Source {
    pub config: lag::Config,
    pub reach: ClientConfig,
    /// Where it was reached before; otherwise it is tried until it is.
    pub client: Option<Client>,
}

/// Runs until a signal.
pub async fn monitor(sources: Vec<Source>, listen: SocketAddr) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let listener = bind(listen, "metrics", "--listen").await?;
    let telemetry = Telemetry::new().map_err(Failure::of(Status::Software))?;
    let metrics = lag::Metrics::new(&telemetry.meter("lag"));
    let told: Vec<_> = sources.iter().map(|source| (source.config.clone(), lag::Rounds::default())).collect();
    let clusters = Clusters::of(told.clone());
    publish(&telemetry, clusters.clone());
    if let Ok(address) = listener.local_addr() {
        say(format_args!("lag        http://{address}/metrics  /api/lag  /v3/kafka  /readyz"));
    }
    let router = telemetry.router().merge(lag::router_of(clusters));
    let server = Room::start("metrics server", |stop| serve(listener, router, stop));
    let start = |(source, (_, rounds)): (Source, (lag::Config, lag::Rounds))| {
        let metrics = metrics.clone();
        Room::start("lag monitor", |stop| async move {
            watch_over(source, &rounds, metrics, &stop).await;
            Ok::<(), Error>(())
        })
    };
    let rooms: Vec<_> = sources.into_iter().zip(told).map(start).chain([server]).collect();
    rooms.iter().for_each(|room| room.report_to(&telemetry));
    let failed = tokio::select! {
        () = stop.cancelled() => None,
        (failure, ..) = select_all(rooms.iter().map(|room| Box::pin(room.failed()))) => Some(failure),
    };
    join_all(rooms.into_iter().map(|room| room.stop(GRACE))).await;
    failed.map_or(Ok(()), |failure| Err(Failure::new(Status::Software, failure)))
}

/// One cluster, as soon as it is reached.
async fn watch_over(source: Source, rounds: &lag::Rounds, metrics: lag::Metrics, stop: &CancellationToken) {
    let config = &source.config;
    let metrics = if config.names_cluster { metrics.of_cluster(&config.cluster_name) } else { metrics };
    let Some(client) = reach(&source, stop).await else { return };
    lag::run(config, &client, rounds, &metrics, stop).await;
    client.close().await;
}

/// `None` once it is told to stop. One of several clusters that cannot be reached is no reason to look at none.
async fn reach(source: &Source, stop: &CancellationToken) -> Option<Client> {
    if let Some(client) = &source.client {
        return Some(client.clone());
    }
    let mut pause = AGAIN;
    loop {
        match stop.run_until_cancelled(connect(source.reach.clone())).await? {
            Ok(client) => return Some(client),
            Err(failure) => {
                tracing::warn!(cluster = %source.config.cluster_name, %failure, "no lag of this cluster yet");
                pause = if failure.status == Status::NotPermitted { pause.max(AGAIN_REFUSED) } else { pause };
            }
        }
        stop.run_until_cancelled(sleep(pause)).await?;
        pause = (pause * 2).min(AGAIN_MAX);
    }
}

/// Hands the lag to `/metrics`, and what must hold to `/readyz`: that there is news of one cluster at least, since who is not
/// ready is not asked about the others either.
pub(super) fn publish(telemetry: &Telemetry, clusters: Clusters) {
    let shown = clusters.clone();
    telemetry.add_text(Arc::new(move |format| {
        let dialect = match format {
            Format::Prometheus => lag::Dialect::Prometheus,
            Format::OpenMetrics => lag::Dialect::OpenMetrics,
        };
        Box::new(shown.text(Timestamp::now().as_millisecond(), dialect))
    }));
    let old = ROUND_AGE.max(clusters.interval().saturating_mul(ROUND_INTERVALS));
    telemetry.add_ready_check(Check::new("lag", move || match clusters.latest() {
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
