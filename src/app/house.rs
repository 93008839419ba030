//! The rooms of `highwater up`: built in the order in which they stand on each other, stopped in the order in which they
//! feed each other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::FutureExt;
use futures::future::{join_all, select_all};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::account::{Ledger, Offsets, Reader, ahead, moved};
use super::listen::{Target, bind, broker, serve, writable};
use super::others::Others;
use super::room::Room;
use super::settings::data_dir;
use super::summary::{Account, Asked, Counts, Lag, WorstLag};
use super::{Failure, Status, ensure_topics, push};
use crate::cli;
use crate::client::{Client, ConsumerConfig, Error, NewTopic, OffsetReset, ProducerConfig, Topic};
use crate::config::Config;
use crate::devbroker::DevBroker;
use crate::lag::NoLag;
use crate::telemetry::{Check, Telemetry, otlp};
use crate::{gateway, generator, lag, pipeline, sink, tls};

/// How long stopping waits: for what feeds others, for what is in flight, for those who read it, for the account of it,
/// and for those who only watch. All of it together is less than [`super::up`] grants.
const FEEDERS: Duration = Duration::from_secs(4);
const DRAIN: Duration = Duration::from_secs(8);
const READERS: Duration = Duration::from_secs(10);
const ACCOUNT: Duration = Duration::from_secs(2);
const WATCHERS: Duration = Duration::from_secs(2);
/// A producer's last records, after a room has waited for them.
const PRODUCER: Duration = Duration::from_secs(1);
/// A reader that reads nothing for so long does not get through what is in flight.
const STALLED: Duration = Duration::from_secs(10);
/// Log events have more partitions than the rest: they come keyed by source, and sources are many.
const PARTITIONS_LOGS: i32 = 12;
const PARTITIONS: i32 = 6;
/// Passed-on and dead-lettered records carry headers that the record did not have when it was let in, so their topics let
/// in more than the 1 MiB that is Kafka's default.
const OUTPUT_BYTES_MAX: usize = 2 << 20;
/// How long the generator's records and the sink's fetches wait for company.
const GATHERING: Duration = Duration::from_millis(250);
/// The pipeline's producer retries in order for as long as an outage lasts; see `pipeline::run`.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The ports of our own, taken before anything else is begun, so that one in use is found at once.
pub(super) struct Doors {
    gateway: TcpListener,
    metrics: TcpListener,
}

impl Doors {
    pub(super) async fn open(args: &cli::Up) -> Result<Self, Failure> {
        let gateway = bind(args.gateway_listen, "the gateway", "--gateway-listen").await?;
        let metrics = bind(args.metrics_listen, "metrics", "--metrics-listen").await?;
        Ok(Self { gateway, metrics })
    }
}

/// One client a room: each has connections of its own.
struct Clients {
    generator: Client,
    gateway: Client,
    pipeline: Client,
    sink: Client,
    lag: Client,
}

impl Clients {
    async fn connect(target: &Target) -> Result<Self, Failure> {
        Ok(Self {
            generator: target.connect("generator").await?,
            gateway: target.connect("gateway").await?,
            pipeline: target.connect("pipeline").await?,
            sink: target.connect("sink").await?,
            lag: target.connect("lag").await?,
        })
    }

    async fn close(&self) {
        for client in [&self.generator, &self.gateway, &self.pipeline, &self.sink, &self.lag] {
            client.close().await;
        }
    }
}

/// What rooms count, read while they run.
struct Meters {
    generator: generator::Metrics,
    gateway: gateway::Metrics,
    pipeline: pipeline::Metrics,
    sink: sink::Metrics,
    lag: lag::Metrics,
}

impl Meters {
    fn new(telemetry: &Telemetry) -> Self {
        Self {
            generator: generator::Metrics::new(&telemetry.meter("generator")),
            gateway: gateway::Metrics::new(&telemetry.meter("gateway")),
            pipeline: pipeline::Metrics::new(&telemetry.meter("pipeline")),
            sink: sink::Metrics::new(&telemetry.meter("sink")),
            lag: lag::Metrics::new(&telemetry.meter("lag")),
        }
    }
}

/// Everything that rooms stand on.
pub(super) struct House {
    config: Arc<Config>,
    target: Target,
    broker: Option<DevBroker>,
    telemetry: Telemetry,
    exporter: Option<otlp::Exporter>,
    clients: Clients,
    meters: Meters,
    store: Arc<dyn sink::DocumentStore>,
    rounds: lag::Rounds,
    ledger: Ledger,
    at_start: Start,
    others: Others,
}

/// What the cluster said before the first room began: where all topics end, and where each reader would go on.
struct Start {
    ends: Offsets,
    positions: [Offsets; 2],
}

/// The running rooms, by who feeds whom.
pub(super) struct Rooms {
    generator: Option<Room>,
    gateway: Option<Room>,
    pipeline: Room,
    sink: Room,
    lag: Room,
    metrics: Room,
    push: Option<Room>,
}

impl Rooms {
    fn all(&self) -> impl Iterator<Item = &Room> {
        let rooms = [&self.pipeline, &self.sink, &self.lag, &self.metrics];
        rooms.into_iter().chain(&self.gateway).chain(&self.generator).chain(&self.push)
    }

    /// Waits for the first room that fails.
    pub(super) async fn failed(&self) -> Failure {
        let (failure, ..) = select_all(self.all().map(|room| room.failed().boxed())).await;
        Failure::new(Status::Software, failure)
    }

    /// Stops what lets records in.
    pub(super) async fn stop_feeding(&mut self) {
        let feeders = self.generator.take().into_iter().chain(self.gateway.take());
        join_all(feeders.map(|room| room.stop(FEEDERS))).await;
    }
}

impl House {
    pub(super) async fn build(args: &cli::Up, config: Config) -> Result<Self, Failure> {
        let unopened = match &config.sink.store {
            sink::StoreConfig::Embedded { dir } => {
                writable(dir)?;
                Status::CannotCreate
            }
            sink::StoreConfig::MongoDb { .. } => Status::Config,
        };
        if let Err(error) = tls::install_provider() {
            tracing::warn!(%error, "there is no TLS on this machine; everything else works");
        }
        let (broker, target) = cluster(args).await?;
        let clients = Clients::connect(&target).await?;
        ensure_topics(&clients.lag, topics(&config)).await?;
        let ledger = Ledger::new(&clients.lag);
        let at_start = at_start(&ledger, &config).await?;
        let store = sink::open(&config.sink.store).await.map_err(Failure::of(unopened))?;
        let telemetry = Telemetry::new().map_err(Failure::of(Status::Software))?;
        let exporter = push::exporter(&config.otlp, &telemetry)?;
        let meters = Meters::new(&telemetry);
        let (config, store, rounds) = (Arc::new(config), Arc::from(store), lag::Rounds::default());
        let others = Others::default();
        Ok(Self {
            config,
            target,
            broker,
            telemetry,
            exporter,
            clients,
            meters,
            store,
            rounds,
            ledger,
            at_start,
            others,
        })
    }

    pub(super) fn start(&self, doors: Doors, generate: bool) -> Rooms {
        self.publish();
        let lag = self.start_lag();
        let sink = self.start_sink();
        let pipeline = self.start_pipeline();
        let gateway = Some(self.start_gateway(doors.gateway));
        let push = self.exporter.clone().map(|exporter| push::start(exporter, doors.metrics.local_addr()));
        let metrics = Room::start("metrics server", |stop| serve(doors.metrics, self.telemetry.router(), stop));
        let generator = generate.then(|| self.start_generator());
        let rooms = Rooms { generator, gateway, pipeline, sink, lag, metrics, push };
        rooms.all().for_each(|room| room.report_to(&self.telemetry));
        rooms
    }

    /// Hands the lag to `/metrics`, and what must hold to `/readyz`.
    fn publish(&self) {
        let clusters = lag::Clusters::of(vec![(self.config.lag.clone(), self.rounds.clone())]);
        super::monitor::publish(&self.telemetry, clusters);
        let sink = Arc::clone(&self.meters.sink.counters);
        self.telemetry.add_ready_check(Check::new("document store", move || sink.store_takes_documents()));
    }

    fn start_gateway(&self, listener: TcpListener) -> Room {
        let router = self.gateway_router().map_err(io::Error::other);
        Room::start("gateway", |stop| async move { serve(listener, router?, stop).await })
    }

    fn gateway_router(&self) -> Result<Router, Error> {
        let client = self.clients.gateway.clone();
        let producer = client.producer(ProducerConfig::default())?;
        let gateway = gateway::router(&self.config.gateway, client, producer, self.meters.gateway.clone());
        Ok(gateway.merge(lag::router(&self.config.lag, self.rounds.clone())))
    }

    fn start_generator(&self) -> Room {
        // Made-up records are in no hurry: at a low rate, several share a request.
        let producer = self.clients.generator.producer(ProducerConfig { linger: GATHERING, ..Default::default() });
        let (config, metrics) = (Arc::clone(&self.config), self.meters.generator.clone());
        Room::start("generator", |stop| async move {
            let producer = producer?;
            generator::run(&config.generator, &producer, &metrics, &stop).await;
            let closed = producer.close(FEEDERS - PRODUCER).await;
            // A generator with a limit ends by itself, and that is no fault: it waits to be told like the others.
            stop.cancelled().await;
            closed
        })
    }

    fn start_pipeline(&self) -> Room {
        let config = ProducerConfig {
            delivery_timeout: PATIENCE,
            max_request_bytes: OUTPUT_BYTES_MAX,
            ..ProducerConfig::default()
        };
        let client = self.clients.pipeline.clone();
        let producer = client.producer(config);
        let (config, metrics) = (Arc::clone(&self.config), self.meters.pipeline.clone());
        Room::start("pipeline", |stop| async move {
            let producer = producer?;
            let reads = consume(&config.pipeline.group_id, vec![config.pipeline.input.clone()]);
            let ended =
                pipeline::run(&config.pipeline, client.consumer(reads)?, producer.clone(), &metrics, &stop).await;
            ended.and(producer.close(PRODUCER).await)
        })
    }

    fn start_sink(&self) -> Room {
        let (client, store) = (self.clients.sink.clone(), Arc::clone(&self.store));
        let (config, metrics) = (Arc::clone(&self.config), self.meters.sink.clone());
        Room::start("sink", |stop| async move {
            let reads = consume(&config.sink.group_id, config.sink.topics.clone());
            // One fetch and one write for what came within a moment, where a trickle would take one each a record.
            let reads = ConsumerConfig { fetch_min_bytes: 64 << 10, fetch_max_wait: GATHERING, ..reads };
            let consumer = client.consumer(reads)?;
            sink::run(&config.sink, consumer, &*store, &metrics, &stop).await
        })
    }

    fn start_lag(&self) -> Room {
        let (client, rounds) = (self.clients.lag.clone(), self.rounds.clone());
        let (config, metrics) = (Arc::clone(&self.config), self.meters.lag.clone());
        let (others, groups) = (self.others.clone(), readers(&self.config).map(|reader| reader.group));
        Room::start("lag monitor", |stop| async move {
            tokio::select! {
                () = lag::run(&config.lag, &client, &rounds, &metrics, &stop) => {}
                () = others.watch(&groups, rounds.subscribe()) => {}
            }
            Ok::<(), Error>(())
        })
    }

    /// Waits until what was let in is worked off, as long as it becomes less.
    pub(super) async fn drain(&self) {
        for reader in readers(&self.config) {
            if let Err(error) = self.ledger.drain(&reader, STALLED).await {
                tracing::warn!(%error, group = reader.group, "what is in flight is not known");
            }
        }
    }

    /// Stops what feeds others first; waits, within bounds, until the rest has worked off what it was fed.
    pub(super) async fn stop(self, mut rooms: Rooms) -> Account {
        rooms.stop_feeding().await;
        if timeout(DRAIN, self.drain()).await.is_err() {
            tracing::warn!("stopping with records in flight: they are read at the next start");
        }
        tokio::join!(rooms.pipeline.stop(READERS), rooms.sink.stop(READERS));
        let account = self.account().await;
        let watchers = [rooms.lag, rooms.metrics].into_iter().chain(rooms.push);
        join_all(watchers.map(|room| room.stop(WATCHERS))).await;
        self.clients.close().await;
        if let Some(broker) = self.broker
            && let Err(error) = broker.stop().await
        {
            tracing::error!(%error, "the embedded broker did not stop cleanly");
        }
        account
    }

    /// What the rooms have counted, beside what the cluster says, all of it about the same ends.
    async fn account(&self) -> Account {
        let counts = self.counts();
        let asked = match timeout(ACCOUNT, self.asked(&counts)).await {
            Ok(Ok(asked)) => Some(asked),
            Ok(Err(error)) => {
                tracing::warn!(%error, "what is in flight is not known");
                None
            }
            Err(_) => {
                let seconds = ACCOUNT.as_secs();
                tracing::warn!(seconds, "what is in flight is not known: the cluster has not answered in time");
                None
            }
        };
        let Start { ends, positions } = &self.at_start;
        let carried_over = positions.iter().map(|positions| ahead(positions, ends)).sum();
        Account { counts, carried_over, asked, shared: self.others.seen() }
    }

    async fn asked(&self, counts: &Counts) -> Result<Asked, Error> {
        let at_start = &self.at_start;
        let [pipeline, sink] = readers(&self.config);
        let ends = self.ledger.ends(&[pipeline.topics.clone(), sink.topics.clone()].concat()).await?;
        let came = moved(&at_start.ends, &ends, &inputs(&self.config));
        let passed_on = moved(&at_start.ends, &ends, std::slice::from_ref(&self.config.pipeline.output));
        // What others put into the topic that the pipeline itself writes.
        let beside = passed_on.saturating_sub(counts.processed);
        let from_others = came.saturating_sub(counts.generated) + beside;
        let mut asked = Asked { came_in: came + beside, from_others, ..Asked::default() };
        for (reader, began) in [pipeline, sink].iter().zip(&at_start.positions) {
            asked.in_flight += self.ledger.behind(reader, &ends).await?;
            asked.removed += ahead(began, &self.ledger.starts(reader, &ends).await?);
        }
        Ok(asked)
    }

    pub(super) fn counts(&self) -> Counts {
        let (generator, pipeline) = (self.meters.generator.counters.summary(), self.meters.pipeline.counters.summary());
        let sink = self.meters.sink.counters.summary();
        Counts {
            generated: generator.acknowledged,
            failed: generator.failed,
            processed: pipeline.processed,
            dead_lettered: pipeline.dead_lettered,
            stored: sink.stored,
            stored_before: sink.stored_before,
            passed_over: pipeline.passed_over + sink.passed_over,
        }
    }

    pub(super) fn lag(&self) -> Lag {
        let time = |seconds| Duration::try_from_secs_f64(seconds).ok();
        let worst = |it: lag::Worst| WorstLag { group: it.group, records: it.records, time: it.seconds.and_then(time) };
        match self.rounds.current() {
            Err(NoLag::NotYet) => Lag::NotYet,
            Err(NoLag::Since(time)) => Lag::UnknownFor(time),
            Err(NoLag::NotHeld) => Lag::NotYet,
            Ok(round) => Lag::Known { worst: round.worst().map(worst), unknown: round.unknown() },
        }
    }

    pub(super) fn where_to_look(&self, args: &cli::Up, doors: &Doors) -> String {
        let servers = self.target.bootstrap_servers.join(",");
        let kafka = match &self.broker {
            Some(_) => format!("{servers} (embedded, data in {})", data_dir(args).join("broker").display()),
            None => servers,
        };
        let documents = match &self.config.sink.store {
            sink::StoreConfig::Embedded { dir } => format!("{} (embedded)", dir.display()),
            sink::StoreConfig::MongoDb { uri, .. } => uri.to_string(),
        };
        let at = |listener: &TcpListener| listener.local_addr().map_or_else(|_| "?".to_owned(), |a| a.to_string());
        let (gateway, metrics) = (at(&doors.gateway), at(&doors.metrics));
        format!(
            "Kafka      {kafka}\n\
             documents  {documents}\n\
             gateway    http://{gateway}/api/logs  /api/consumer/lag  /api/partition-mapping\n\
             metrics    http://{metrics}/metrics  /livez  /readyz"
        )
    }
}

/// The cluster that the flags name, or the embedded broker.
async fn cluster(args: &cli::Up) -> Result<(Option<DevBroker>, Target), Failure> {
    if !args.cluster.bootstrap_server.is_empty() {
        return Ok((None, Target::of(&args.cluster)?));
    }
    let data_dir = Some(data_dir(args).join("broker"));
    let embedded = broker(args.listen, data_dir, args.fsync.fsync, PARTITIONS, cli::Profile::default(), None).await?;
    let bootstrap_servers = vec![embedded.bootstrap_servers()];
    Ok((Some(embedded), Target { bootstrap_servers, tls: None, sasl: None }))
}

/// The topics that records go to.
fn topics(config: &Config) -> Vec<NewTopic> {
    let topics = &config.generator.topics;
    let plain = |topic: &Topic, partitions| NewTopic::new(topic.clone()).partitions(partitions);
    let output = |topic: &Topic| plain(topic, PARTITIONS).config("max.message.bytes", &OUTPUT_BYTES_MAX.to_string());
    vec![
        plain(&topics.data_event, PARTITIONS),
        plain(&topics.user_login, PARTITIONS),
        plain(&topics.log_event, PARTITIONS_LOGS),
        output(&config.pipeline.output),
        output(&config.pipeline.dead_letters),
    ]
}

fn consume(group_id: &str, topics: Vec<Topic>) -> ConsumerConfig {
    ConsumerConfig {
        group_id: group_id.to_owned(),
        topics,
        auto_offset_reset: OffsetReset::Earliest,
        ..ConsumerConfig::default()
    }
}

/// Who reads what.
fn readers(config: &Config) -> [Reader; 2] {
    [
        Reader { group: config.pipeline.group_id.clone(), topics: vec![config.pipeline.input.clone()] },
        Reader { group: config.sink.group_id.clone(), topics: config.sink.topics.clone() },
    ]
}

/// The topics that records come in by: what is read, but for what the pipeline itself writes.
fn inputs(config: &Config) -> Vec<Topic> {
    let read = readers(config).into_iter().flat_map(|reader| reader.topics);
    read.filter(|topic| *topic != config.pipeline.output).collect()
}

async fn at_start(ledger: &Ledger, config: &Config) -> Result<Start, Error> {
    let [pipeline, sink] = readers(config);
    let ends = ledger.ends(&[pipeline.topics.clone(), sink.topics.clone()].concat()).await?;
    let positions = [ledger.positions(&pipeline, &ends).await?, ledger.positions(&sink, &ends).await?];
    Ok(Start { ends, positions })
}
