//! `highwater generate`: records into a cluster.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::{Failure, Status, Target, ensure_topics, say, settings, stop_on_signal};
use crate::cli;
use crate::client::{NewTopic, Producer, ProducerConfig, Topic};
use crate::generator::input::{self, Lines};
use crate::generator::{self, Metrics, Summary};

/// How long the last records may take to be acknowledged.
const GRACE: Duration = Duration::from_secs(20);
/// A line longer than this is no record that Kafka would take.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Sends until the limit, the end of the input, or a signal; then says what became of the records.
pub async fn generate(args: cli::Generate) -> Result<(), Failure> {
    if args.cluster.bootstrap_server.is_empty() {
        return Err(Failure::new(Status::Usage, "say which cluster: --bootstrap-server HOST:PORT"));
    }
    let stop = stop_on_signal()?;
    let target = Target::of(&args.cluster)?;
    let lines = open(&args).await?;
    let Some(client) = stop.run_until_cancelled(target.connect("generate")).await.transpose()? else { return Ok(()) };
    ensure_topics(&client, topics(&args)).await?;
    let config = ProducerConfig { max_request_bytes: LINE_BYTES_MAX, ..ProducerConfig::default() };
    let producer = client.producer(config)?;
    let (summary, outcome) = send(&args, lines, &producer, &stop).await;
    let closed = producer.close(GRACE).await;
    client.close().await;
    say(format_args!("sent {}, acknowledged {}, failed {}", summary.offered, summary.acknowledged, summary.failed));
    outcome?;
    closed?;
    match summary.failed {
        0 => Ok(()),
        failed => Err(Failure::new(Status::Unavailable, format!("{failed} records were not acknowledged"))),
    }
}

/// The topics that records go to, with the cluster's own number of partitions where they are not there yet.
fn topics(args: &cli::Generate) -> Vec<NewTopic> {
    let topics = generator::Topics::default();
    let wanted: Vec<Topic> = match (&args.input, args.shape) {
        (Some(_), _) => vec![Topic::from(args.topic.as_str())],
        (None, Some(shape)) => vec![topics.of(shape).clone()],
        (None, None) => vec![topics.data_event, topics.user_login, topics.log_event],
    };
    wanted.into_iter().map(NewTopic::new).collect()
}

/// The lines to send, where a file of them is named.
async fn open(args: &cli::Generate) -> Result<Option<Lines>, Failure> {
    let Some(file) = &args.input else { return Ok(None) };
    let config = input::Config {
        input: file.clone(),
        topic: args.topic.as_str().into(),
        key_field: args.key_field.clone(),
        verbatim: args.verbatim,
        line_bytes_max: LINE_BYTES_MAX,
    };
    Ok(Some(Lines::open(config).await.map_err(unusable)?))
}

fn unusable(error: input::Error) -> Failure {
    let status = match error {
        input::Error::Read { .. } => Status::NoInput,
        input::Error::NotJson { .. } | input::Error::LineTooLong { .. } => Status::Data,
    };
    Failure::new(status, error)
}

async fn send(
    args: &cli::Generate,
    lines: Option<Lines>,
    producer: &Producer,
    stop: &CancellationToken,
) -> (Summary, Result<(), Failure>) {
    let metrics = Metrics::default();
    if let Some(duration) = args.duration {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            stop.cancel();
        });
    }
    let Some(lines) = lines else {
        let mut config = generator::Config { limit: args.count, ..generator::Config::default() };
        settings::load(&args.load, &mut config);
        if let Some(shape) = args.shape {
            config.shapes = vec![shape];
        }
        return (generator::run(&config, producer, &metrics, stop).await, Ok(()));
    };
    let (summary, outcome) = input::run(lines, producer, &metrics, stop).await;
    (summary, outcome.map_err(unusable))
}
