//! The loop: a push every interval, and one at the end.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use hyper::HeaderMap;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Error;
use super::answer::{Failure, Verdict};
use super::config::{Compression, Config};
use super::convert::Requests;
use super::endpoint::Endpoint;
use super::line::{self, Line};
use super::metrics::{Metrics, Reason};
use super::request::{About, Request};
use crate::net::{self, Dial};
use crate::telemetry::{Format, Telemetry};
use crate::tls::Tls;

/// Before the second try; doubled with each, and drawn anew between half of it and all of it.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// What the push at the end may take.
const LAST: Duration = Duration::from_millis(1_500);

/// What pushes, as soon as it is run.
#[derive(Clone)]
pub struct Exporter {
    config: Config,
    endpoint: Endpoint,
    dial: Dial,
    head: HeaderMap,
    telemetry: Telemetry,
    metrics: Metrics,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Exporter {
    /// `None` where nothing is to be pushed. Reads the files of TLS, and reaches nobody yet.
    pub fn new(config: &Config, telemetry: &Telemetry) -> Result<Option<Self>, Error> {
        let target = config.target().map_err(|(key, why)| Error::Endpoint { key, why })?;
        let Some(endpoint) = target else { return Ok(None) };
        let tls = endpoint.is_secure().then(|| Tls::new(config.tls.clone())).transpose()?;
        let dial = net::tcp(tls, config.timeout());
        Self::over(config, endpoint, telemetry, dial).map(Some)
    }

    /// The same, over streams that the caller makes.
    pub(super) fn over(config: &Config, endpoint: Endpoint, telemetry: &Telemetry, dial: Dial) -> Result<Self, Error> {
        let head = line::head(config, &endpoint)?;
        let metrics = Metrics::new(&telemetry.meter("otlp"));
        Ok(Self { config: config.clone(), endpoint, dial, head, telemetry: telemetry.clone(), metrics })
    }

    /// Pushes until it is told to stop, and then once more. `instance` is this process among all of its kind.
    pub async fn run(self, instance: &str, stop: CancellationToken) {
        let every = self.config.interval();
        tracing::info!(endpoint = %self.endpoint, ?every, "metrics are pushed by OTLP");
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut pusher = Pusher::new(self, instance);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            if stop.run_until_cancelled(pusher.round(every)).await.is_none() {
                break;
            }
        }
        pusher.last().await;
    }
}

/// The attributes of the resource: semantic conventions name these three, and what is set adds to them or replaces them.
fn resource(config: &Config, instance: &str) -> Vec<(String, String)> {
    let ours = [
        ("service.name", env!("CARGO_PKG_NAME")),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", instance),
    ];
    let mut all = config.resource.clone();
    for (name, value) in ours {
        all.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    all.into_iter().collect()
}

/// What one push came to.
#[derive(Debug, Default)]
struct Tally {
    failure: Option<Failure>,
    rejected: u64,
    said: String,
}

struct Pusher {
    exporter: Exporter,
    line: Line,
    resource: Vec<(String, String)>,
    /// Since when pushes fail, if the last one did.
    failing_since: Option<Instant>,
    /// Whether the last push was taken without some of its points.
    is_rejected: bool,
    /// The receiver has asked not to be pushed to before.
    quiet_until: Option<Instant>,
    /// When all counters began, as it was told last.
    began: SystemTime,
}

impl Pusher {
    fn new(exporter: Exporter, instance: &str) -> Self {
        let Exporter { config, endpoint, dial, head, .. } = &exporter;
        let line = Line::new(endpoint.clone(), dial.clone(), head.clone(), config.timeout());
        let resource = resource(config, instance);
        let began = began(None, SystemTime::now(), exporter.telemetry.uptime());
        Self { line, resource, exporter, failing_since: None, is_rejected: false, quiet_until: None, began }
    }

    /// A push, which is given up when the next one is due: that one has newer values.
    async fn round(&mut self, every: Duration) {
        if self.is_to_be_quiet() {
            return;
        }
        let until = Instant::now() + every;
        let pushed = timeout_at(until, self.push(until)).await;
        self.line.hang_up();
        let late = || Tally {
            failure: Some(Failure::new(Reason::Late, format!("it took longer than {every:?}"))),
            ..Tally::default()
        };
        self.account(pushed.unwrap_or_else(|_| late()));
    }

    /// What is known at the end, in one try: nobody waits for a receiver that is not there.
    async fn last(&mut self) {
        self.line.hang_up();
        if self.is_to_be_quiet() {
            return;
        }
        match timeout(LAST, self.push(Instant::now())).await {
            Ok(tally) => self.account(tally),
            Err(_) => {
                tracing::warn!(endpoint = %self.exporter.endpoint, "the last push of metrics was not taken in time")
            }
        }
    }

    fn is_to_be_quiet(&self) -> bool {
        self.quiet_until.is_some_and(|until| Instant::now() < until)
    }

    /// Request after request, each made when the one before is through.
    async fn push(&mut self, until: Instant) -> Tally {
        let mut tally = Tally::default();
        let mut requests = match self.requests().await {
            Ok(requests) => requests,
            Err(failure) => return Tally { failure: Some(failure), ..tally },
        };
        let compression = self.exporter.config.compression;
        loop {
            let made = blocking(move || {
                let request = requests.next().map(|Request { body, points }| (packed(body, compression), points));
                (request, requests)
            });
            let (body, points) = match made.await {
                Ok((Some(request), rest)) => {
                    requests = rest;
                    request
                }
                Ok((None, _)) => return tally,
                Err(failure) => return Tally { failure: tally.failure.or(Some(failure)), ..tally },
            };
            match self.deliver(body, until).await {
                Verdict::Taken { rejected, said } => {
                    self.exporter.metrics.taken(points, rejected);
                    tally.rejected += rejected;
                    tally.said = if tally.said.is_empty() { said } else { tally.said };
                }
                Verdict::NotThis(failure) => tally.failure = tally.failure.or(Some(failure)),
                Verdict::Nothing(failure) | Verdict::Later { failure, .. } => {
                    return Tally { failure: tally.failure.or(Some(failure)), ..tally };
                }
            }
        }
    }

    /// What `/metrics` would say now.
    async fn requests(&mut self) -> Result<Requests, Failure> {
        let telemetry = self.exporter.telemetry.clone();
        let (resource, told) = (self.resource.clone(), self.began);
        let (requests, began) = blocking(move || {
            let (families, pages) = telemetry.snapshot(Format::Prometheus);
            let now = SystemTime::now();
            let began = began(Some(told), now, telemetry.uptime());
            (Requests::new(About { resource, began_ns: nanos(began), now_ns: nanos(now) }, families, pages), began)
        })
        .await?;
        self.began = began;
        Ok(requests)
    }

    /// Tries until it is taken or refused, or until there is no time for another try.
    async fn deliver(&mut self, body: Bytes, until: Instant) -> Verdict {
        let mut tries = 0;
        loop {
            let (after, failure) = match self.line.send(body.clone()).await {
                Verdict::Later { after, failure } => (after, failure),
                last => return last,
            };
            tracing::debug!(said = failure.said, "a push is tried again");
            let now = Instant::now();
            self.quiet_until = after.map(|after| now + after);
            // A receiver that has us come back at once would be sent the same without end.
            let pause = after.unwrap_or_default().max(pause(tries, rand::random()));
            if now + pause >= until {
                return Verdict::Later { after, failure };
            }
            sleep(pause).await;
            tries += 1;
        }
    }

    /// Counts, and says what changed: once when pushes begin to fail, and once when they work again.
    fn account(&mut self, tally: Tally) {
        let Exporter { endpoint, metrics, .. } = &self.exporter;
        let Tally { failure, rejected, said } = tally;
        if let Some(Failure { reason, said }) = failure {
            metrics.failed(reason);
            if self.failing_since.is_none() {
                let reason = reason.name();
                tracing::warn!(%endpoint, reason, why = said, "metrics are not taken by their receiver; this is not said again until they are");
            }
            self.failing_since.get_or_insert_with(Instant::now);
            return;
        }
        metrics.pushed();
        if let Some(since) = self.failing_since.take() {
            tracing::warn!(%endpoint, after_seconds = since.elapsed().as_secs(), "metrics are taken again");
        }
        let is_rejected = rejected > 0 || !said.is_empty();
        if is_rejected && !self.is_rejected {
            tracing::warn!(%endpoint, rejected, why = said, "metrics are taken, but not all of them or not gladly");
        }
        self.is_rejected = is_rejected;
    }
}

/// When counters began, by the wall. Told once, it stays, since another start says that they were reset; but it must not be
/// after the points (OTLP metrics data model, "Temporality"), as it would be once the wall's clock was set far enough back.
fn began(told: Option<SystemTime>, now: SystemTime, uptime: Duration) -> SystemTime {
    let counted = || now.checked_sub(uptime).unwrap_or(UNIX_EPOCH);
    told.filter(|told| *told <= now).unwrap_or_else(counted)
}

/// Exponential, with jitter: `random` is from 0 to 1.
fn pause(tries: u32, random: f64) -> Duration {
    PAUSE.saturating_mul(1 << tries.min(8)).min(PAUSE_MAX).mul_f64(0.5 + random / 2.0)
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Gathering, writing and compressing leave the reactor's threads alone.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::new(Reason::Internal, format!("the metrics could not be read: {error}")))
}

fn packed(body: Vec<u8>, compression: Compression) -> Bytes {
    if compression == Compression::None {
        return body.into();
    }
    let mut out = GzEncoder::new(Vec::with_capacity(body.len() / 8), Level::fast());
    let written = out.write_all(&body).and_then(|()| out.finish());
    debug_assert!(written.is_ok(), "writing to memory does not fail");
    written.unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let check = |tries, random, ms| assert_eq!(pause(tries, random).as_millis(), ms, "{tries} {random}");
        check(0, 0.0, 500);
        check(0, 1.0, 1_000);
        check(1, 1.0, 2_000);
        check(4, 0.0, 8_000);
        check(5, 1.0, 30_000);
        check(u32::MAX, 0.5, 22_500);
    }

    #[test]
    fn no_counter_begins_after_its_points() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let check = |told: Option<u64>, now: u64, uptime: u64, want: u64| {
            let began = began(told.map(at), at(now), Duration::from_secs(uptime));
            assert_eq!(began, at(want), "{told:?} {now} {uptime}");
        };
        check(None, 1_000, 10, 990);
        check(Some(990), 1_060, 70, 990);
        // Forward, back a little, and back to before the start.
        check(Some(990), 9_999, 70, 990);
        check(Some(990), 1_000, 70, 990);
        check(Some(990), 500, 70, 430);
    }

    #[test]
    fn what_is_set_of_the_resource_wins() {
        let set = [("service.name", "lag"), ("a", "b")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config { resource: set.into(), ..Config::default() };
        let all = resource(&config, "host:1");
        let all: Vec<_> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let version = concat!("service.version=", env!("CARGO_PKG_VERSION"));
        assert_eq!(all, ["a=b", "service.instance.id=host:1", "service.name=lag", version]);
    }
}
