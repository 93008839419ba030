//! `highwater topics`: what topics there are, and changes to them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::output::{self, Row, list, or_none};
use super::session::{Account, Session, all};
use crate::app::Failure;
use crate::cli::{self, Output};
use crate::client::{
    BrokerId, ConfigChange, ConfigEntry, ConfigResource, ConfigSource, Error, ErrorCode, IsolationLevel, LeaderEpoch,
    NewTopic, Offset, OffsetSpec, PartitionMetadata, Topic, TopicMetadata, TopicPartition,
};

/// How long a topic that was created may take to be seen.
const SHOWN: Duration = Duration::from_secs(10);

pub async fn topics(verb: cli::Topics) -> Result<(), Failure> {
    match verb {
        cli::Topics::List(args) => list_topics(args).await,
        cli::Topics::Describe(args) => describe(args).await,
        cli::Topics::Create(args) => create(args).await,
        cli::Topics::Delete(args) => delete(args).await,
        cli::Topics::AddPartitions(args) => add_partitions(args).await,
        cli::Topics::Config(args) if args.changes().is_empty() => show_configs(args).await,
        cli::Topics::Config(args) => change_configs(args).await,
        cli::Topics::DeleteRecords(args) => super::delete_records::delete_records(args).await,
    }
}

#[derive(Debug, Serialize)]
struct Listed {
    topic: String,
    partitions: usize,
    replicas: usize,
    internal: bool,
}

impl Row for Listed {
    const HEAD: &'static [&'static str] = &["TOPIC", "PARTITIONS", "REPLICAS"];

    fn cells(&self) -> Vec<String> {
        vec![self.topic.clone(), self.partitions.to_string(), self.replicas.to_string()]
    }
}

async fn list_topics(args: cli::ListTopics) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "topics").await?;
    let topics = session.admin.list_topics().await?;
    let shown = topics.iter().filter(|(_, topic)| args.internal || !topic.is_internal);
    let rows: Vec<Listed> = shown
        .map(|(name, topic)| Listed {
            topic: name.to_string(),
            partitions: topic.partitions.len(),
            replicas: topic.partitions.iter().map(|it| it.replicas.len()).max().unwrap_or_default(),
            internal: topic.is_internal,
        })
        .collect();
    output::print(&output::rows(args.printing.output, &rows)?)
}

/// A topic with its settings and partitions.
#[derive(Debug, Serialize)]
struct Described {
    topic: String,
    id: Option<String>,
    internal: bool,
    /// Those that somebody has set.
    configs: BTreeMap<String, Option<String>>,
    partitions: Vec<DescribedPartition>,
}

#[derive(Debug, Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: Option<BrokerId>,
    leader_epoch: Option<LeaderEpoch>,
    replicas: Vec<BrokerId>,
    in_sync_replicas: Vec<BrokerId>,
    offline_replicas: Vec<BrokerId>,
    start_offset: Option<Offset>,
    end_offset: Option<Offset>,
}

impl Row for DescribedPartition {
    const HEAD: &'static [&'static str] =
        &["PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN-SYNC", "OFFLINE", "START", "END"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.partition.to_string(),
            or_none(self.leader),
            or_none(self.leader_epoch),
            list(&self.replicas),
            list(&self.in_sync_replicas),
            list(&self.offline_replicas),
            or_none(self.start_offset),
            or_none(self.end_offset),
        ]
    }
}

impl Described {
    fn text(&self) -> Result<String, Failure> {
        let settings: Vec<String> =
            self.configs.iter().map(|(name, value)| format!("{name}={}", or_none(value.as_ref()))).collect();
        let facts = [
            ("id", or_none(self.id.as_ref())),
            ("partitions", self.partitions.len().to_string()),
            ("settings", if settings.is_empty() { output::NONE.to_owned() } else { settings.join(" ") }),
        ];
        let facts: String = facts.iter().map(|(name, value)| format!("  {name:<13}{value}\n")).collect();
        Ok(format!("{}\n{facts}\n{}", self.topic, output::rows(Output::Table, &self.partitions)?))
    }
}

async fn describe(args: cli::DescribeTopics) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "topics").await?;
    let topics: Vec<Topic> = args.topics.iter().map(|name| Topic::from(name.as_str())).collect();
    let (mut described, mut failures) = (Vec::new(), Vec::new());
    for (name, topic) in session.admin.describe_topics(&topics).await? {
        match topic {
            Ok(topic) => described.push((name, topic)),
            Err(error) => failures.push(session.about_topic(&name, &error).await),
        }
    }
    let described = with_the_rest(&session, described).await?;
    match args.printing.output {
        Output::Json => output::print(&output::json(&described)?)?,
        Output::Table => {
            let texts: Vec<String> = described.iter().map(Described::text).collect::<Result<_, _>>()?;
            output::print(&texts.join("\n"))?;
        }
    }
    all(failures)
}

/// What other requests say of topics: where their partitions begin and end, and what was set.
async fn with_the_rest(session: &Session, topics: Vec<(Topic, TopicMetadata)>) -> Result<Vec<Described>, Failure> {
    let of = |(name, topic): &(Topic, TopicMetadata)| {
        let name = name.clone();
        topic.partitions.iter().map(move |it| TopicPartition::new(name.clone(), it.partition)).collect::<Vec<_>>()
    };
    let partitions: Vec<TopicPartition> = topics.iter().flat_map(of).collect();
    let level = IsolationLevel::ReadUncommitted;
    let (starts, ends) = tokio::join!(
        session.admin.list_offsets(OffsetSpec::Earliest, &partitions, level),
        session.admin.list_offsets(OffsetSpec::Latest, &partitions, level),
    );
    let (starts, ends) = (starts?, ends?);
    let resources: Vec<ConfigResource> = topics.iter().map(|(name, _)| ConfigResource::Topic(name.clone())).collect();
    let configs = session.admin.describe_configs(&resources).await?;
    let mut described = Vec::with_capacity(topics.len());
    for ((name, topic), (_, configs)) in topics.into_iter().zip(configs) {
        let partition = |it: PartitionMetadata| {
            let of = TopicPartition::new(name.clone(), it.partition);
            let offset = |all: &std::collections::HashMap<_, Result<crate::client::ListedOffset, Error>>| {
                all.get(&of).and_then(|listed| listed.as_ref().ok()).and_then(|listed| listed.offset)
            };
            DescribedPartition {
                partition: it.partition,
                leader: it.leader,
                leader_epoch: it.leader_epoch,
                replicas: it.replicas,
                in_sync_replicas: it.in_sync_replicas,
                offline_replicas: it.offline_replicas,
                start_offset: offset(&starts),
                end_offset: offset(&ends),
            }
        };
        let partitions = topic.partitions.into_iter().map(partition).collect();
        // Not everybody who may see a topic may see its settings.
        let set = configs.unwrap_or_default().into_iter().filter(|it| it.source == ConfigSource::Topic);
        described.push(Described {
            id: topic.id.map(|id| id.to_string()),
            internal: topic.is_internal,
            configs: set.map(|it| (it.name, it.value)).collect(),
            partitions,
            topic: name.to_string(),
        });
    }
    Ok(described)
}

async fn create(args: cli::CreateTopics) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "topics").await?;
    let configs = args.configs.iter().map(|it| (it.key.clone(), it.value.clone()));
    let new = |name: &String| NewTopic {
        name: Topic::from(name.as_str()),
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        configs: configs.clone().collect(),
    };
    let new: Vec<NewTopic> = args.topics.iter().map(new).collect();
    let (mut account, mut created) = (Account::default(), Vec::new());
    for (name, outcome) in session.admin.create_topics(&new).await? {
        match outcome {
            Ok(()) => {
                created.push(name.clone());
                account.done(name, "created");
            }
            Err(error) if args.if_not_exists && error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {
                account.done(name, "was there");
            }
            Err(error) => account.failed(&name, session.about_topic(&name, &error).await),
        }
    }
    // It is created, whether or not brokers show it by then.
    session.admin.until_shown(&created, SHOWN).await;
    account.settle(args.printing)
}

async fn delete(args: cli::DeleteTopics) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "topics").await?;
    let topics: Vec<Topic> = args.topics.iter().map(|name| Topic::from(name.as_str())).collect();
    let mut account = Account::default();
    for (name, outcome) in session.admin.delete_topics(&topics).await? {
        match outcome {
            Ok(()) => account.done(name, "deleted"),
            Err(error) if args.if_exists && error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {
                account.done(name, "was not there");
            }
            Err(error) => account.failed(&name, session.about_topic(&name, &error).await),
        }
    }
    account.settle(args.printing)
}

async fn add_partitions(args: cli::AddPartitions) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "topics").await?;
    let topics: Vec<Topic> = args.topics.iter().map(|name| Topic::from(name.as_str())).collect();
    let (mut account, mut wanted) = (Account::default(), Vec::new());
    for (name, topic) in session.admin.describe_topics(&topics).await? {
        match topic {
            Ok(topic) => {
                let count = topic.partition_count();
                wanted.push((name, args.count.to.unwrap_or_else(|| count + args.count.num.unwrap_or_default())));
            }
            Err(error) => account.failed(&name, session.about_topic(&name, &error).await),
        }
    }
    for (name, outcome) in session.admin.create_partitions(&wanted).await? {
        match outcome {
            Ok(()) => account.done(name, "partitions added"),
            Err(error) => account.failed(&name, session.about_topic(&name, &error).await),
        }
    }
    account.settle(args.printing)
}

/// A setting of a topic.
#[derive(Debug, Serialize)]
struct TopicSetting {
    topic: String,
    name: String,
    value: Option<String>,
    source: &'static str,
}

impl Row for TopicSetting {
    const HEAD: &'static [&'static str] = &["TOPIC", "NAME", "VALUE", "SOURCE"];

    fn cells(&self) -> Vec<String> {
        let value = if self.value.as_deref() == Some("") { Some("\"\"") } else { self.value.as_deref() };
        vec![self.topic.clone(), self.name.clone(), or_none(value), self.source.to_owned()]
    }
}

fn source(of: ConfigSource) -> &'static str {
    match of {
        ConfigSource::Topic => "topic",
        ConfigSource::Broker => "broker",
        ConfigSource::BrokerDefault => "cluster",
        ConfigSource::Static => "broker file",
        ConfigSource::Default => "default",
        ConfigSource::Group => "group",
        ConfigSource::Other(_) => "other",
    }
}

async fn show_configs(args: cli::ConfigTopics) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "topics").await?;
    let resources: Vec<ConfigResource> = args.resources().collect();
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for ((_, configs), topic) in session.admin.describe_configs(&resources).await?.into_iter().zip(&args.topics) {
        match configs {
            Ok(configs) => rows.extend(shown(topic, configs, args.all)),
            Err(error) => failures.push(session.about_topic(topic, &error).await),
        }
    }
    if !rows.is_empty() || failures.is_empty() {
        output::print(&output::rows(args.printing.output, &rows)?)?;
    }
    all(failures)
}

fn shown(topic: &str, configs: Vec<ConfigEntry>, defaults: bool) -> Vec<TopicSetting> {
    let mut rows: Vec<TopicSetting> = configs
        .into_iter()
        .filter(|it| defaults || it.source == ConfigSource::Topic)
        .map(|it| TopicSetting { topic: topic.to_owned(), name: it.name, value: it.value, source: source(it.source) })
        .collect();
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    rows
}

async fn change_configs(args: cli::ConfigTopics) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "topics").await?;
    let changes: Vec<_> = args.resources().map(|of| (of, args.changes())).collect();
    let mut account = Account::default();
    let outcomes = session.admin.alter_configs(&changes, args.dry_run).await?;
    for ((_, outcome), topic) in outcomes.into_iter().zip(&args.topics) {
        match outcome {
            Ok(()) => account.done(topic, if args.dry_run { "could be changed" } else { "changed" }),
            Err(error) => account.failed(topic, session.about_topic(topic, &error).await),
        }
    }
    account.settle(args.printing)
}

impl cli::ConfigTopics {
    fn resources(&self) -> impl Iterator<Item = ConfigResource> {
        self.topics.iter().map(|name| ConfigResource::Topic(Topic::from(name.as_str())))
    }

    fn changes(&self) -> Vec<(String, ConfigChange)> {
        let of = |settings: &[cli::values::Setting], change: fn(String) -> ConfigChange| {
            settings.iter().map(|it| (it.key.clone(), change(it.value.clone()))).collect::<Vec<_>>()
        };
        let mut changes = of(&self.set, ConfigChange::Set);
        changes.extend(of(&self.append, ConfigChange::Append));
        changes.extend(of(&self.subtract, ConfigChange::Subtract));
        changes.extend(self.delete.iter().map(|key| (key.clone(), ConfigChange::Delete)));
        changes
    }
}
