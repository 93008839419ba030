//! `highwater cluster`: which cluster it is, and its brokers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::output::{self, Row, or_none};
use super::session::{Session, all};
use crate::app::{Failure, Status};
use crate::cli::{self, Output};
use crate::client::{BrokerId, ClusterDescription, LogDir, TopicMetadata};

#[derive(Debug, Serialize)]
struct Described {
    cluster_id: Option<String>,
    controller: Option<BrokerId>,
    brokers: Vec<DescribedBroker>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_dirs: Option<Vec<DescribedDir>>,
}

#[derive(Debug, Serialize)]
struct DescribedBroker {
    broker: BrokerId,
    address: String,
    rack: Option<String>,
    /// Partitions that it leads, and those that it keeps.
    leads: usize,
    keeps: usize,
}

impl Row for DescribedBroker {
    const HEAD: &'static [&'static str] = &["BROKER", "ADDRESS", "RACK", "LEADS", "KEEPS"];

    fn cells(&self) -> Vec<String> {
        let (leads, keeps) = (self.leads.to_string(), self.keeps.to_string());
        vec![self.broker.to_string(), self.address.clone(), or_none(self.rack.as_ref()), leads, keeps]
    }
}

#[derive(Debug, Serialize)]
struct DescribedDir {
    broker: BrokerId,
    path: String,
    error: Option<String>,
    partitions: usize,
    bytes: u64,
    total_bytes: Option<u64>,
    usable_bytes: Option<u64>,
}

impl Row for DescribedDir {
    const HEAD: &'static [&'static str] = &["BROKER", "DIRECTORY", "PARTITIONS", "BYTES", "TOTAL", "USABLE", "ERROR"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.broker.to_string(),
            self.path.clone(),
            self.partitions.to_string(),
            self.bytes.to_string(),
            or_none(self.total_bytes),
            or_none(self.usable_bytes),
            or_none(self.error.as_ref()),
        ]
    }
}

pub async fn cluster(mut args: cli::DescribeCluster) -> Result<(), Failure> {
    match args.verb.take().map(|verb| *verb) {
        Some(cli::ClusterVerb::ElectLeaders(args)) => super::elect_leaders::elect_leaders(args).await,
        None => show(args).await,
    }
}

async fn show(args: cli::DescribeCluster) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "cluster").await?;
    let topics = session.admin.list_topics().await?;
    let mut described = describe(session.admin.describe_cluster().await?, topics.values());
    let mut failures = Vec::new();
    if args.log_dirs {
        let brokers: Vec<BrokerId> = described.brokers.iter().map(|it| it.broker).collect();
        let mut dirs = Vec::new();
        for (broker, outcome) in session.admin.describe_log_dirs(&brokers).await? {
            match outcome {
                Ok(found) => dirs.extend(found.into_iter().map(|dir| of_dir(broker, dir))),
                Err(error) => failures.push(Failure::new(Status::of(&error), error)),
            }
        }
        described.log_dirs = Some(dirs);
    }
    output::print(&text(args.printing.output, &described)?)?;
    all(failures)
}

fn describe<'a>(cluster: ClusterDescription, topics: impl Iterator<Item = &'a TopicMetadata>) -> Described {
    let mut counts: BTreeMap<BrokerId, (usize, usize)> = BTreeMap::new();
    for partition in topics.flat_map(|topic| &topic.partitions) {
        if let Some(leader) = partition.leader {
            counts.entry(leader).or_default().0 += 1;
        }
        for replica in &partition.replicas {
            counts.entry(*replica).or_default().1 += 1;
        }
    }
    let broker = |it: crate::client::Broker| {
        let (leads, keeps) = counts.get(&it.id).copied().unwrap_or_default();
        DescribedBroker { broker: it.id, address: it.address.to_string(), rack: it.rack, leads, keeps }
    };
    Described {
        cluster_id: cluster.cluster_id,
        controller: cluster.controller,
        brokers: cluster.brokers.into_iter().map(broker).collect(),
        log_dirs: None,
    }
}

fn of_dir(broker: BrokerId, dir: LogDir) -> DescribedDir {
    DescribedDir {
        broker,
        path: dir.path,
        error: dir.error.map(|code| code.to_string()),
        partitions: dir.partitions.len(),
        bytes: dir.partitions.iter().map(|it| it.bytes).sum(),
        total_bytes: dir.total_bytes,
        usable_bytes: dir.usable_bytes,
    }
}

fn text(output: Output, described: &Described) -> Result<String, Failure> {
    if output == Output::Json {
        return output::json(described);
    }
    let (id, controller) = (or_none(described.cluster_id.as_ref()), or_none(described.controller));
    let mut text = format!("cluster     {id}\ncontroller  {controller}\n\n");
    text += &output::rows(output, &described.brokers)?;
    if let Some(dirs) = &described.log_dirs {
        text.push('\n');
        text += &output::rows(output, dirs)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Address, Broker, PartitionMetadata};

    #[test]
    fn brokers_with_what_they_lead_and_keep() {
        let broker = |id: BrokerId, rack: Option<&str>| Broker {
            id,
            address: Address::new(format!("kafka-{id}"), 9092),
            rack: rack.map(str::to_owned),
        };
        let cluster = ClusterDescription {
            cluster_id: Some("abc".to_owned()),
            controller: Some(2),
            brokers: vec![broker(1, Some("a")), broker(2, None)],
        };
        let partition = |leader, replicas: &[BrokerId]| PartitionMetadata {
            leader,
            replicas: replicas.to_vec(),
            ..Default::default()
        };
        let topic = TopicMetadata {
            partitions: vec![partition(Some(1), &[1, 2]), partition(None, &[1])],
            ..Default::default()
        };
        let described = describe(cluster, [topic].iter());
        let want = "cluster     abc\ncontroller  2\n\nBROKER  ADDRESS       RACK  LEADS  KEEPS\n     1  kafka-1:9092  a         1      2\n     2  kafka-2:9092  -         0      1\n";
        assert_eq!(text(Output::Table, &described).unwrap(), want);
    }
}
