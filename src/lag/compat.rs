//! The families of other exporters, by their exact names and labels, so that dashboards and alerts made for them go on.
//!
//! Topics that no group reads are not in them: the monitor does not ask about those. Where another exporter says −1 or
//! NaN for what it does not know, nothing is said here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;

use super::family::{self, Emit, Families, Naming};
use super::round::{Group, Round};
use super::row::{Partition, Reading, Row};
use super::text::{self, Value};
use crate::client::{GroupMember, Offset, PartitionMetadata, Topic};

/// Whose names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// danielqsj/kafka_exporter 1.x
    KafkaExporter,
    /// redpanda-data/kminion 2.x
    Kminion,
    /// seglo/kafka-lag-exporter 0.8
    KafkaLagExporter,
}

pub(super) fn families(family: Family, cluster: &str, ours: &Families<'_>) -> Vec<family::Family> {
    // Their dashboards expect every row.
    let named = |naming| Families { naming, shown: None, ..ours.clone() };
    match family {
        Family::KafkaExporter => kafka_exporter(&named(ours.naming.clone())),
        Family::Kminion => {
            let first = ours.naming.first.clone();
            kminion(&named(Naming { first, group: "group_id", topic: "topic_name", partition: "partition_id" }))
        }
        Family::KafkaLagExporter => kafka_lag_exporter(&named(Naming {
            first: Some(("cluster_name", Arc::from(cluster))),
            group: "group",
            topic: "topic",
            partition: "partition",
        })),
    }
}

/// A topic that some group reads, and that is known.
#[derive(Debug)]
struct Read {
    topic: Topic,
    /// Where the round has its partitions that are read.
    places: Range<usize>,
    /// How many partitions the topics before it have.
    before: usize,
}

impl Read {
    fn partitions<'r>(&self, round: &'r Round) -> &'r [PartitionMetadata] {
        round.cluster.topic(&self.topic).map_or(&[], |topic| &topic.partitions)
    }
}

/// Topics that some group reads, as the pages of their families find them: each by its number, and each of their partitions
/// by the number that it has among all of them.
#[derive(Debug, Clone)]
struct Topics {
    read: Arc<[Read]>,
    partitions: usize,
}

impl Topics {
    fn of(round: &Round) -> Self {
        let (mut begin, mut partitions, mut read) = (0, 0, Vec::new());
        for places in round.partitions.chunk_by(|a, b| a.topic == b.topic) {
            let end = begin + places.len();
            if let Some((topic, known)) =
                places.first().and_then(|it| Some((&it.topic, round.cluster.topic(&it.topic)?)))
            {
                read.push(Read { topic: topic.clone(), places: begin..end, before: partitions });
                partitions += known.partitions.len();
            }
            begin = end;
        }
        Self { read: read.into(), partitions }
    }

    fn partition<'r>(&self, round: &'r Round, at: usize) -> Option<(&Topic, &'r PartitionMetadata)> {
        let read = self.read.get(self.read.partition_point(|read| read.before <= at).checked_sub(1)?)?;
        Some((&read.topic, read.partitions(round).get(at - read.before)?))
    }

    /// Whatever there is to say of each topic.
    fn each(
        &self,
        of: &Families<'_>,
        name: &'static str,
        help: &'static str,
        write: impl Fn(&Round, &Read, &mut Emit<'_>) + Send + 'static,
    ) -> family::Family {
        let read = Arc::clone(&self.read);
        of.each(name, help, read.len(), move |round, at, emit| {
            read.get(at).into_iter().for_each(|read| write(round, read, emit));
        })
    }
}

fn records(row: &Row<'_>) -> Option<u64> {
    row.records().ok()
}

fn kafka_exporter(of: &Families<'_>) -> Vec<family::Family> {
    let (brokers, topics) = (of.round.cluster.brokers.len(), Topics::of(of.round));
    let mut all = vec![
        of.one("kafka_brokers", "Number of Brokers in the Kafka Cluster.", brokers),
        of.whole("kafka_broker_info", "Information about the Kafka Broker.", |round, emit| {
            for broker in round.cluster.brokers.values() {
                let address = broker.address.to_string();
                emit(&[("id", broker.id.into()), ("address", address.as_str().into())], 1_u32.into());
            }
        }),
        topics.each(of, "kafka_topic_partitions", "Number of partitions for this Topic", |round, read, emit| {
            emit(&[("topic", read.topic.as_str().into())], read.partitions(round).len().into());
        }),
    ];
    all.extend(kafka_exporter_partitions(of, &topics));
    all.extend(kafka_exporter_groups(of));
    all
}

fn kafka_exporter_partitions(of: &Families<'_>, topics: &Topics) -> [family::Family; 7] {
    let of_metadata = |name, help, value: fn(&PartitionMetadata) -> Option<Value>| {
        let topics = topics.clone();
        of.each(name, help, topics.partitions, move |round, at, emit| {
            let Some((topic, partition)) = topics.partition(round, at) else { return };
            let labels = [("topic", topic.as_str().into()), ("partition", partition.partition.into())];
            value(partition).into_iter().for_each(|value| emit(&labels, value));
        })
    };
    [
        of.partitions("kafka_topic_partition_current_offset", "Current Offset of a Broker at Topic/Partition", |it| {
            it.end_offset()
        }),
        of.partitions("kafka_topic_partition_oldest_offset", "Oldest Offset of a Broker at Topic/Partition", |it| {
            it.log_start_offset
        }),
        of_metadata("kafka_topic_partition_leader", "Leader Broker ID of this Topic/Partition", |it| {
            it.leader.map(Value::from)
        }),
        of_metadata("kafka_topic_partition_replicas", "Number of Replicas for this Topic/Partition", |it| {
            Some(it.replicas.len().into())
        }),
        of_metadata(
            "kafka_topic_partition_in_sync_replica",
            "Number of In-Sync Replicas for this Topic/Partition",
            |it| Some(it.in_sync_replicas.len().into()),
        ),
        of_metadata(
            "kafka_topic_partition_leader_is_preferred",
            "1 if Topic/Partition is using the Preferred Broker",
            |it| Some((it.leader.is_some() && it.leader == it.replicas.first().copied()).into()),
        ),
        of_metadata(
            "kafka_topic_partition_under_replicated_partition",
            "1 if Topic/Partition is under Replicated",
            |it| Some((it.in_sync_replicas.len() < it.replicas.len()).into()),
        ),
    ]
}

fn kafka_exporter_groups(of: &Families<'_>) -> [family::Family; 5] {
    [
        of.rows("kafka_consumergroup_current_offset", "Current Offset of a ConsumerGroup at Topic/Partition", |row| {
            Some(row.committed())
        }),
        of.rows("kafka_consumergroup_lag", "Current Approximate Lag of a ConsumerGroup at Topic/Partition", records),
        of.readings(
            "kafka_consumergroup_current_offset_sum",
            "Current Offset of a ConsumerGroup at Topic for all partitions",
            |sum| Some(sum.committed),
        ),
        of.readings(
            "kafka_consumergroup_lag_sum",
            "Current Approximate Lag of a ConsumerGroup at Topic for all partitions",
            |sum| sum.records,
        ),
        of.known_groups("kafka_consumergroup_members", "Amount of members in a consumer group", |group, emit| {
            let labels = [("consumergroup", (&*group.name).into())];
            group.members.iter().for_each(|members| emit(&labels, members.len().into()));
        }),
    ]
}

fn kminion(of: &Families<'_>) -> Vec<family::Family> {
    let up = of.whole("kminion_exporter_up", "Build info about this Prometheus Exporter.", |_, emit| {
        emit(&[("version", env!("CARGO_PKG_VERSION").into())], 1_u32.into());
    });
    let mut all = vec![up];
    all.extend(kminion_cluster(of));
    all.extend(kminion_topics(of));
    all.extend(kminion_groups(of));
    all.extend(kminion_members(of));
    all
}

fn kminion_cluster(of: &Families<'_>) -> [family::Family; 2] {
    let brokers = of.whole("kminion_kafka_broker_info", "Kafka broker information", |round, emit| {
        for broker in round.cluster.brokers.values() {
            let is_controller = if round.cluster.controller == Some(broker.id) { "true" } else { "false" };
            let port = broker.address.port().to_string();
            let labels = [
                ("broker_id", broker.id.into()),
                ("address", broker.address.host().into()),
                ("port", port.as_str().into()),
                ("rack_id", broker.rack.as_deref().unwrap_or_default().into()),
                ("is_controller", is_controller.into()),
            ];
            emit(&labels, 1_u32.into());
        }
    });
    let cluster = of.whole("kminion_kafka_cluster_info", "Kafka cluster information", |round, emit| {
        let cluster = &round.cluster;
        let count = cluster.brokers.len().to_string();
        let controller = cluster.controller.map(|id| id.to_string()).unwrap_or_default();
        let labels = [
            ("cluster_version", "".into()),
            ("broker_count", count.as_str().into()),
            ("controller_id", controller.as_str().into()),
            ("cluster_id", cluster.cluster_id.as_deref().unwrap_or_default().into()),
        ];
        emit(&labels, 1_u32.into());
    });
    [brokers, cluster]
}

fn kminion_topics(of: &Families<'_>) -> [family::Family; 5] {
    let topics = Topics::of(of.round);
    let info = topics.each(of, "kminion_kafka_topic_info", "Info labels for a given topic", |round, read, emit| {
        let partitions = read.partitions(round);
        let count = partitions.len().to_string();
        let factor = partitions.first().map_or(0, |it| it.replicas.len()).to_string();
        let labels = [
            ("topic_name", read.topic.as_str().into()),
            ("partition_count", count.as_str().into()),
            ("replication_factor", factor.as_str().into()),
            ("cleanup_policy", "N/A".into()),
        ];
        emit(&labels, 1_u32.into());
    });
    let sums = |name, help, mark: fn(&Partition) -> Option<Offset>| {
        topics.each(of, name, help, move |round, read, emit| {
            let places = round.partitions.get(read.places.clone()).unwrap_or_default();
            if let Some(sum) = places.iter().filter_map(mark).reduce(Offset::saturating_add) {
                emit(&[("topic_name", read.topic.as_str().into())], sum.into());
            }
        })
    };
    let (high, low) = (Partition::end_offset, |it: &Partition| it.log_start_offset);
    [
        info,
        of.partitions("kminion_kafka_topic_partition_high_water_mark", "Partition high water mark", high),
        sums("kminion_kafka_topic_high_water_mark_sum", "Sum of all the topic's partitions' high water marks", high),
        of.partitions("kminion_kafka_topic_partition_low_water_mark", "Partition low water mark", low),
        sums("kminion_kafka_topic_low_water_mark_sum", "Sum of all the topic's partitions' low water marks", low),
    ]
}

fn kminion_groups(of: &Families<'_>) -> [family::Family; 4] {
    let info = of.known_groups(
        "kminion_kafka_consumer_group_info",
        "Consumer Group info metrics. It will report 1 if the group is in the stable state, otherwise 0.",
        |group, emit| {
            let state = group.state.as_deref().unwrap_or_default();
            let labels = [
                ("group_id", (&*group.name).into()),
                ("protocol", group.assignor.as_deref().unwrap_or_default().into()),
                ("protocol_type", group.protocol_type.as_deref().unwrap_or_default().into()),
                ("state", state.into()),
                ("coordinator_id", group.coordinator.into()),
            ];
            emit(&labels, (state == "Stable").into());
        },
    );
    [
        info,
        of.readings(
            "kminion_kafka_consumer_group_topic_offset_sum",
            "The sum of all committed group offsets across all partitions in a topic",
            |sum| Some(sum.committed),
        ),
        of.readings(
            "kminion_kafka_consumer_group_topic_lag",
            "The number of messages a consumer group is lagging behind across all partitions in a topic",
            |sum| sum.records,
        ),
        of.rows(
            "kminion_kafka_consumer_group_topic_partition_lag",
            "The number of messages a consumer group is lagging behind the latest offset of a partition",
            records,
        ),
    ]
}

fn kminion_members(of: &Families<'_>) -> [family::Family; 4] {
    let counted = |name, help, count: fn(&[GroupMember]) -> usize| {
        of.known_groups(name, help, move |group, emit| {
            let Some(members) = &group.members else { return };
            emit(&[("group_id", (&*group.name).into())], count(members).into());
        })
    };
    let by_topic = |name, help, count: fn((usize, usize)) -> usize| {
        of.known_groups(name, help, move |group, emit| {
            for (topic, counts) in assigned(group) {
                let labels = [("group_id", (&*group.name).into()), ("topic_name", topic.as_str().into())];
                emit(&labels, count(counts).into());
            }
        })
    };
    [
        counted("kminion_kafka_consumer_group_members", "Consumer Group member count metrics.", <[_]>::len),
        counted(
            "kminion_kafka_consumer_group_empty_members",
            "It will report the number of members in the consumer group with no partition assigned",
            |members| members.iter().filter(|member| member.assignment.is_empty()).count(),
        ),
        by_topic(
            "kminion_kafka_consumer_group_topic_members",
            "It will report the number of members assigned on a given topic",
            |(members, _)| members,
        ),
        by_topic(
            "kminion_kafka_consumer_group_topic_assigned_partitions",
            "It will report the number of partitions assigned on a given topic",
            |(_, partitions)| partitions,
        ),
    ]
}

/// By topic: how many members have some of it, and how many partitions they have together; members of a share group have
/// some in common.
fn assigned(group: &Group) -> BTreeMap<&Topic, (usize, usize)> {
    let mut found: BTreeMap<&Topic, (HashSet<usize>, HashSet<i32>)> = BTreeMap::new();
    for (at, member) in group.members.as_deref().unwrap_or_default().iter().enumerate() {
        for of in &member.assignment {
            let (members, partitions) = found.entry(&of.topic).or_default();
            members.insert(at);
            partitions.insert(of.partition);
        }
    }
    found.into_iter().map(|(topic, (members, partitions))| (topic, (members.len(), partitions.len()))).collect()
}

fn kafka_lag_exporter(of: &Families<'_>) -> Vec<family::Family> {
    vec![
        of.rows_with(
            "kafka_consumergroup_group_offset",
            "Last group consumed offset of a partition",
            |row| Some(row.committed()),
            readers,
        ),
        of.rows_with("kafka_consumergroup_group_lag", "Group offset lag of a partition", records, readers),
        of.rows_with(
            "kafka_consumergroup_group_lag_seconds",
            "Group time lag of a partition",
            |row| row.time()?.value_ms.map(Value::Millis),
            readers,
        ),
        of.groups("kafka_consumergroup_group_max_lag", "Max group offset lag", |sum| sum.records_most),
        of.groups("kafka_consumergroup_group_max_lag_seconds", "Max group time lag", |sum| {
            sum.value_ms().map(Value::Millis)
        }),
        of.groups("kafka_consumergroup_group_sum_lag", "Sum of group offset lag", |sum| sum.records),
        of.readings(
            "kafka_consumergroup_group_topic_sum_lag",
            "Sum of group offset lag across topic partitions",
            |sum| sum.records,
        ),
        of.partitions("kafka_partition_latest_offset", "Latest offset of a partition", Partition::end_offset),
        of.partitions("kafka_partition_earliest_offset", "Earliest offset of a partition", |it| it.log_start_offset),
        of.one("kafka_consumergroup_poll_time_ms", "Group time poll time", of.round.took_ms),
    ]
}

/// Each row carries who reads the partition; of one that nobody is assigned to, or several members of a share group, these
/// labels are empty.
fn readers(round: &Round, reading: &Reading) -> impl Fn(&Row<'_>, &mut Vec<u8>) + use<> {
    let mut readers: HashMap<i32, [String; 3]> = HashMap::new();
    let group = round.group(&reading.group).filter(|group| !group.is_share());
    for member in group.and_then(|group| group.members.as_deref()).unwrap_or_default() {
        for partition in member.assignment.iter().filter(|partition| partition.topic == reading.topic) {
            let of_member = [&member.client_host, &member.member_id, &member.client_id].map(String::clone);
            readers.insert(partition.partition, of_member);
        }
    }
    move |row, out| {
        let of_reader = readers.get(&row.partition()).map_or([""; 3], |it| it.each_ref().map(String::as_str));
        for (key, value) in ["member_host", "consumer_id", "client_id"].into_iter().zip(of_reader) {
            out.push(b',');
            text::label(out, key, value.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::estimate::{Method, TimeLag};
    use super::super::family::GroupSum;
    use super::super::round::Total;
    use super::super::round::tests::{Plain, blank, group, round as of_rows};
    use super::super::row::Reason;
    use super::super::text::Dialect;
    use super::*;
    use crate::client::{Metadata, TopicPartition};
    use crate::protocol::messages::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};

    fn cluster_with(name: &str, partitions: i32) -> Metadata {
        let partition = |partition_index| MetadataResponsePartition {
            partition_index,
            leader_id: partition_index + 1,
            replica_nodes: vec![1, 2],
            isr_nodes: vec![1],
            ..Default::default()
        };
        let partitions = (0..partitions).map(partition).collect();
        let topic = MetadataResponseTopic { name: Some(name.into()), partitions, ..Default::default() };
        let answer = MetadataResponse { topics: vec![topic], ..Default::default() };
        Metadata::default().merged(answer, true, Instant::now(), Duration::ZERO)
    }

    fn round() -> Round {
        let time = TimeLag { method: Method::Sampled, low_ms: 100, value_ms: Some(1_500), high_ms: Some(2_000) };
        let known = |partition| Plain {
            log_start_offset: Some(1),
            records: Ok(3),
            time: Some(time),
            ..blank("g", "t", partition)
        };
        let rows = [known(0), known(1), Plain { records: Err(Reason::EndUnknown), ..blank("g", "t", 2) }];
        let member = GroupMember {
            member_id: "m-1".to_owned(),
            client_id: "c".to_owned(),
            client_host: "/10.0.0.1".to_owned(),
            assignment: vec![TopicPartition::new("t", 0), TopicPartition::new("t", 1)],
            ..GroupMember::default()
        };
        let idle = GroupMember { assignment: vec![], ..member.clone() };
        let groups = vec![Group { members: Some([member, idle].into()), ..group("g", "Stable") }];
        Round { groups, took_ms: 12, cluster: Arc::new(cluster_with("t", 4)), ..of_rows(&rows) }
    }

    fn check(family: Family, want: &[&str]) {
        let round = Arc::new(round());
        let sum = |total: Total<'_>| GroupSum { group: Arc::clone(total.group), sum: total.sum };
        let naming = Naming { first: None, group: "consumergroup", topic: "topic", partition: "partition" };
        let ours = Families { round: &round, naming, groups: round.totals().map(sum).collect(), shown: None };
        let families = families(family, "prod", &ours);
        let pages = family::Pages::new(Arc::clone(&round), Dialect::Prometheus, families);
        let out = String::from_utf8(pages.flatten().collect()).expect("text");
        for line in want {
            assert!(out.lines().any(|it| it == *line), "{line} is not in\n{out}");
        }
        assert!(!out.contains("NaN") && !out.contains(" -1"), "{out}");
    }

    #[test]
    fn names_and_labels_as_others_have_them() {
        check(
            Family::KafkaExporter,
            &[
                "kafka_brokers 0",
                r#"kafka_topic_partitions{topic="t"} 4"#,
                r#"kafka_topic_partition_leader{topic="t",partition="3"} 4"#,
                r#"kafka_topic_partition_in_sync_replica{topic="t",partition="2"} 1"#,
                r#"kafka_topic_partition_leader_is_preferred{topic="t",partition="0"} 1"#,
                r#"kafka_topic_partition_leader_is_preferred{topic="t",partition="1"} 0"#,
                r#"kafka_topic_partition_current_offset{topic="t",partition="0"} 8"#,
                r#"kafka_consumergroup_current_offset{consumergroup="g",topic="t",partition="2"} 5"#,
                r#"kafka_consumergroup_lag{consumergroup="g",topic="t",partition="1"} 3"#,
                r#"kafka_consumergroup_current_offset_sum{consumergroup="g",topic="t"} 15"#,
                r#"kafka_consumergroup_lag_sum{consumergroup="g",topic="t"} 6"#,
                r#"kafka_consumergroup_members{consumergroup="g"} 2"#,
            ],
        );
        check(
            Family::Kminion,
            &[
                r#"kminion_kafka_consumer_group_info{group_id="g",protocol="",protocol_type="consumer",state="Stable",coordinator_id="1"} 1"#,
                r#"kminion_kafka_consumer_group_topic_lag{group_id="g",topic_name="t"} 6"#,
                r#"kminion_kafka_consumer_group_topic_partition_lag{group_id="g",topic_name="t",partition_id="0"} 3"#,
                r#"kminion_kafka_topic_info{topic_name="t",partition_count="4",replication_factor="2",cleanup_policy="N/A"} 1"#,
                r#"kminion_kafka_topic_high_water_mark_sum{topic_name="t"} 16"#,
                r#"kminion_kafka_topic_partition_low_water_mark{topic_name="t",partition_id="0"} 1"#,
                r#"kminion_kafka_consumer_group_empty_members{group_id="g"} 1"#,
                r#"kminion_kafka_consumer_group_topic_members{group_id="g",topic_name="t"} 1"#,
                r#"kminion_kafka_consumer_group_topic_assigned_partitions{group_id="g",topic_name="t"} 2"#,
            ],
        );
        check(
            Family::KafkaLagExporter,
            &[
                r#"kafka_consumergroup_group_lag_seconds{cluster_name="prod",group="g",topic="t",partition="0",member_host="/10.0.0.1",consumer_id="m-1",client_id="c"} 1.5"#,
                r#"kafka_consumergroup_group_offset{cluster_name="prod",group="g",topic="t",partition="2",member_host="",consumer_id="",client_id=""} 5"#,
                r#"kafka_consumergroup_group_max_lag_seconds{cluster_name="prod",group="g"} 1.5"#,
                r#"kafka_consumergroup_group_sum_lag{cluster_name="prod",group="g"} 6"#,
                r#"kafka_partition_latest_offset{cluster_name="prod",topic="t",partition="1"} 8"#,
                r#"kafka_consumergroup_poll_time_ms{cluster_name="prod"} 12"#,
            ],
        );
    }
}
