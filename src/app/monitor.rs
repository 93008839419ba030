//! `highwater lag` as a daemon: the lag monitor of a cluster, or of several, its metrics and its HTTP faces, on one port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, select_all};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::listen::{bind, connect, serve};
use super::room::Room;
use super::{Failure, Status, push, say, stop_on_signal};
use crate::client::{Client, ClientConfig, Error};
use crate::lag::{self, Clusters};
use crate::telemetry::{Check, Format, Telemetry, otlp};

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
pub async fn monitor(sources: Vec<Source>, listen: SocketAddr, otlp: &otlp::Config) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let listener = bind(listen, "metrics", "--listen").await?;
    let telemetry = Telemetry::new().map_err(Failure::of(Status::Software))?;
    let exporter = push::exporter(otlp, &telemetry)?;
    let metrics = lag::Metrics::new(&telemetry.meter("lag"));
    let told: Vec<_> = sources.iter().map(|source| (source.config.clone(), lag::Rounds::default())).collect();
    let clusters = Clusters::of(told.clone());
    publish(&telemetry, clusters.clone());
    if let Ok(address) = listener.local_addr() {
        say(format_args!("lag        http://{address}/metrics  /api/lag  /v3/kafka  /readyz"));
    }
    let push = exporter.map(|exporter| push::start(exporter, listener.local_addr()));
    let router = telemetry.router().merge(lag::router_of(clusters));
    let server = Room::start("metrics server", |stop| serve(listener, router, stop));
    let start = |(source, (_, rounds)): (Source, (lag::Config, lag::Rounds))| {
        let metrics = metrics.clone();
        Room::start("lag monitor", |stop| async move {
            watch_over(source, &rounds, metrics, &stop).await;
            Ok::<(), Error>(())
        })
    };
    let rooms: Vec<_> = sources.into_iter().zip(told).map(start).chain([server]).chain(push).collect();
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
        Box::new(shown.text(dialect))
    }));
    let old = ROUND_AGE.max(clusters.interval().saturating_mul(ROUND_INTERVALS));
    telemetry.add_ready_check(Check::new("lag", move || match clusters.age() {
        None => Err("no round has been finished yet".to_owned()),
        Some(age) if age > old => {
            Err(format!("the last round is {} s old: the cluster does not answer", age.as_secs()))
        }
        Some(_) => Ok(()),
    }));
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::{HeaderMap, Request};
    use tower::ServiceExt as _;

    use super::super::strict;
    use super::*;
    use crate::client::{NewTopic, TopicPartition};
    use crate::devbroker::{self, DevBroker};

    async fn scrape(router: &Router, headers: &[(&str, &str)]) -> (HeaderMap, Vec<u8>) {
        let request =
            headers.iter().fold(Request::get("/metrics"), |request, (name, value)| request.header(*name, *value));
        let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        (head.headers, to_bytes(body, usize::MAX).await.unwrap().to_vec())
    }

    fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
        headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// As Prometheus asks, and as somebody with curl does, of everything that a monitor says.
    async fn is_scraped(telemetry: &Telemetry) {
        let router = telemetry.router();
        let (headers, text) = scrape(&router, &[]).await;
        assert!(header(&headers, "content-type").starts_with("text/plain; version=0.0.4"), "{headers:?}");
        assert_eq!(header(&headers, "content-encoding"), "");
        let text = String::from_utf8(text).unwrap();
        let plain = strict::read(&text, false).unwrap_or_else(|why| panic!("{why}\nin\n{text}"));
        assert!(plain.samples > 60 && plain.kinds.len() > 80, "{} {}", plain.samples, plain.kinds.len());
        let lag = r#"highwater_lag_records{consumergroup="g \"1\"\\",topic="t",partition="0"} 0"#;
        assert!(text.lines().any(|line| line == lag), "{text}");

        let asked = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let (headers, zipped) = scrape(&router, &[("accept", asked), ("accept-encoding", "gzip")]).await;
        assert!(
            header(&headers, "content-type").starts_with("application/openmetrics-text; version=1.0.0"),
            "{headers:?}"
        );
        assert_eq!(header(&headers, "content-encoding"), "gzip");
        assert!(zipped.len() < text.len() / 3, "{} of {}", zipped.len(), text.len());
        let mut open = String::new();
        flate2::read::GzDecoder::new(&*zipped).read_to_string(&mut open).unwrap();
        let open = strict::read(&open, true).unwrap_or_else(|why| panic!("{why}\nin\n{open}"));
        assert_eq!(open.kinds.len(), plain.kinds.len());
        assert!(open.kinds.get("highwater_lag_requests").is_some_and(|kind| kind == "counter"));
        assert!(open.units.get("highwater_lag_request_seconds").is_some_and(|unit| unit == "seconds"));
        assert!(open.units.len() > 10, "{:?}", open.units);
    }

    #[tokio::test]
    async fn metrics_are_what_a_scraper_asks_for() {
        let broker = DevBroker::start(devbroker::Config::default()).await.unwrap();
        let bootstrap_servers = vec![broker.bootstrap_servers()];
        let client = Client::connect(ClientConfig { bootstrap_servers, ..ClientConfig::default() }).await.unwrap();
        client.admin().create_topics(&[NewTopic::new("t").partitions(1)]).await.unwrap();
        let offsets = [(TopicPartition::new("t", 0), 0.into())];
        client.admin().alter_offsets("g \"1\"\\", &offsets).await.unwrap();

        let compat = [lag::Family::KafkaExporter, lag::Family::Kminion, lag::Family::KafkaLagExporter];
        let config = lag::Config {
            series: lag::Series::Detail,
            members_max: Some(9),
            compat: compat.into(),
            ..lag::Config::default()
        };
        let (telemetry, rounds, stop) = (Telemetry::new().unwrap(), lag::Rounds::default(), CancellationToken::new());
        publish(&telemetry, Clusters::of(vec![(config.clone(), rounds.clone())]));
        let metrics = lag::Metrics::new(&telemetry.meter("lag"));
        let mut seen = rounds.subscribe();
        let scraped = async {
            seen.changed().await.unwrap();
            is_scraped(&telemetry).await;
            stop.cancel();
        };
        tokio::join!(lag::run(&config, &client, &rounds, &metrics, &stop), scraped);
        client.close().await;
        broker.stop().await.unwrap();
    }
}
