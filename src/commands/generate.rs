//! `highwater generate`: records into a cluster.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::app::{Failure, Status, Target, say, settings, stop_on_signal};
use crate::cli;
use crate::client::{Client, NewTopic, Producer, ProducerConfig, Topic};
use crate::generator::{self, Metrics, Summary, input};

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
    let Some(client) = stop.run_until_cancelled(target.connect("generate")).await.transpose()? else { return Ok(()) };
    create_topics(&client, &args).await?;
    let config = ProducerConfig { max_request_bytes: LINE_BYTES_MAX, ..ProducerConfig::default() };
    let producer = client.producer(config);
    let (summary, outcome) = send(&args, &producer, &stop).await;
    let closed = producer.close(GRACE).await;
    client.close().await;
    say(format_args!("sent {}, acknowledged {}, failed {}", summary.offered, summary.acknowledged, summary.failed));
    outcome?;
    closed.map_err(Failure::of(Status::Unavailable))?;
    match summary.failed {
        0 => Ok(()),
        failed => Err(Failure::new(Status::Unavailable, format!("{failed} records were not acknowledged"))),
    }
}

/// Makes the topics that are not there, with the cluster's own number of partitions.
async fn create_topics(client: &Client, args: &cli::Generate) -> Result<(), Failure> {
    let topics = generator::Topics::default();
    let wanted: Vec<Topic> = match (&args.input, args.shape) {
        (Some(_), _) => vec![Topic::from(args.topic.as_str())],
        (None, Some(shape)) => vec![topics.of(shape).clone()],
        (None, None) => vec![topics.data_event, topics.user_login, topics.log_event],
    };
    for topic in wanted {
        let there = client.partition_count(&topic).await.map_err(Failure::of(Status::Unavailable))?.is_some();
        if !there {
            let created = client.admin().create_topics(&[NewTopic::new(topic)]).await;
            for (topic, outcome) in created.map_err(Failure::of(Status::Unavailable))? {
                outcome.map_err(|error| {
                    Failure::new(Status::Unavailable, format!("topic {topic} cannot be made: {error}"))
                })?;
            }
        }
    }
    Ok(())
}

async fn send(args: &cli::Generate, producer: &Producer, stop: &CancellationToken) -> (Summary, Result<(), Failure>) {
    let metrics = Metrics::default();
    if let Some(duration) = args.duration {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            stop.cancel();
        });
    }
    let Some(file) = &args.input else {
        let mut config = generator::Config { limit: args.count, ..generator::Config::default() };
        settings::load(&args.load, &mut config);
        if let Some(shape) = args.shape {
            config.shapes = vec![shape];
        }
        return (generator::run(&config, producer, &metrics, stop).await, Ok(()));
    };
    let config = input::Config {
        input: file.clone(),
        topic: args.topic.as_str().into(),
        key_field: args.key_field.clone(),
        verbatim: args.verbatim,
        line_bytes_max: LINE_BYTES_MAX,
    };
    let (summary, outcome) = input::run(&config, producer, &metrics, stop).await;
    let status = |error: &input::Error| match error {
        input::Error::Read { .. } => Status::NoInput,
        input::Error::NotJson { .. } | input::Error::LineTooLong { .. } => Status::Data,
    };
    (summary, outcome.map_err(|error| Failure::new(status(&error), error)))
}
