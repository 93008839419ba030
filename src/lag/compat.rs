//! The families of other exporters, by their exact names and labels, so that dashboards and alerts made for them go on.
//!
//! Their lags count offsets, as these exporters do: ends of transactions are in them ([`Row::offsets`]). Our own families,
//! and all seconds, are of records.
//!
//! Of kafka_exporter's and kminion's, those of topics and partitions are of all that pass the filter of topics, whoever reads
//! them: with these the cluster's metadata is of all topics, and every leader is asked about all of its partitions. Where
//! another exporter says −1 or NaN for what it does not know, nothing is said here.
//!
//! Of kminion's, those are absent that come of what this monitor does not do: read the topic of offsets
//! (`kminion_exporter_offset_consumer_records_consumed_total`, `kminion_kafka_consumer_group_offset_commits_total`), and send
//! records of its own (`kminion_end_to_end_…`). `cluster_version` is empty: no broker says its version. The water marks of
//! internal topics, which kminion leaves out, are there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;

use super::family::{self, Emit, Families, Naming};
use super::round::{Group, Round};
use super::row::{Partition, Reading, Row, Sum};
use super::text::{self, Label, Value};
use crate::client::{Broker, GroupMember, Offset, PartitionMetadata, Topic};

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
    let named = |naming| Families { naming, ..ours.clone() };
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

/// A topic of which the cluster tells.
#[derive(Debug)]
struct Known {
    topic: Topic,
    /// How many partitions the topics before it have.
    before: usize,
}

impl Known {
    fn partitions<'r>(&self, round: &'r Round) -> &'r [PartitionMetadata] {
        round.cluster.topic(&self.topic).map_or(&[], |topic| &topic.partitions)
    }
}

/// Topics as the pages of their families find them: each by its number, and each of their partitions by the number that it
/// has among all of them.
#[derive(Debug, Clone)]
struct Topics {
    known: Arc<[Known]>,
    partitions: usize,
}

impl Topics {
    fn of(round: &Round) -> Self {
        let chunks =
            [&round.partitions, &round.others].into_iter().flat_map(|all| all.chunk_by(|a, b| a.topic == b.topic));
        let names: BTreeSet<&Topic> = chunks.filter_map(|places| Some(&places.first()?.topic)).collect();
        let (mut partitions, mut known) = (0, Vec::with_capacity(names.len()));
        for topic in names {
            let Some(of_topic) = round.cluster.topic(topic) else { continue };
            known.push(Known { topic: topic.clone(), before: partitions });
            partitions += of_topic.partitions.len();
        }
        Self { known: known.into(), partitions }
    }

    fn partition<'r>(&self, round: &'r Round, at: usize) -> Option<(&Topic, &'r PartitionMetadata)> {
        let known = self.known.get(self.known.partition_point(|known| known.before <= at).checked_sub(1)?)?;
        Some((&known.topic, known.partitions(round).get(at - known.before)?))
    }

    /// Whatever there is to say of each topic.
    fn each(
        &self,
        of: &Families<'_>,
        name: &'static str,
        help: &'static str,
        write: impl Fn(&Round, &Known, &mut Emit<'_>) + Send + 'static,
    ) -> family::Family {
        let known = Arc::clone(&self.known);
        of.each(name, help, known.len(), move |round, at, emit| {
            known.get(at).into_iter().for_each(|known| write(round, known, emit));
        })
    }
}

fn offsets(row: &Row<'_>) -> Option<u64> {
    row.offsets().ok()
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
        topics.each(of, "kafka_topic_partitions", "Number of partitions for this Topic", |round, known, emit| {
            emit(&[("topic", known.topic.as_str().into())], known.partitions(round).len().into());
        }),
    ];
    all.extend(kafka_exporter_partitions(of, &topics));
    all.extend(kafka_exporter_groups(of));
    all
}

fn kafka_exporter_partitions(of: &Families<'_>, topics: &Topics) -> [family::Family; 7] {
    let of_metadata = |name, help, value: fn(&PartitionMetadata) -> Option<Value>| {
        let (topics, shown) = (topics.clone(), of.shown.clone());
        of.each(name, help, topics.partitions, move |round, at, emit| {
            let Some((topic, partition)) = topics.partition(round, at) else { return };
            if shown.as_ref().is_some_and(|shown| !shown.shows(round, topic, partition.partition)) {
                return;
            }
            let labels = [("topic", topic.as_str().into()), ("partition", partition.partition.into())];
            value(partition).into_iter().for_each(|value| emit(&labels, value));
        })
    };
    [
        of.all_partitions(
            "kafka_topic_partition_current_offset",
            "Current Offset of a Broker at Topic/Partition",
            Partition::end_offset,
        ),
        of.all_partitions(
            "kafka_topic_partition_oldest_offset",
            "Oldest Offset of a Broker at Topic/Partition",
            |it| it.log_start_offset,
        ),
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
        of.rows("kafka_consumergroup_lag", "Current Approximate Lag of a ConsumerGroup at Topic/Partition", offsets),
        of.readings(
            "kafka_consumergroup_current_offset_sum",
            "Current Offset of a ConsumerGroup at Topic for all partitions",
            Sum::committed,
        ),
        of.readings(
            "kafka_consumergroup_lag_sum",
            "Current Approximate Lag of a ConsumerGroup at Topic for all partitions",
            Sum::offsets,
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
    all.extend(kminion_log_dirs(of));
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
            let [id, address, port, rack] = kminion_broker(broker, &port);
            emit(&[id, address, port, rack, ("is_controller", is_controller.into())], 1_u32.into());
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

fn kminion_broker<'a>(broker: &'a Broker, port: &'a str) -> [(&'static str, Label<'a>); 4] {
    [
        ("broker_id", broker.id.into()),
        ("address", broker.address.host().into()),
        ("port", port.into()),
        ("rack_id", broker.rack.as_deref().unwrap_or_default().into()),
    ]
}

fn kminion_log_dirs(of: &Families<'_>) -> [family::Family; 2] {
    let brokers = of.whole(
        "kminion_kafka_broker_log_dir_size_total_bytes",
        "The summed size in bytes of all log dirs for a given broker",
        |round, emit| {
            for (id, bytes) in round.log_dirs.iter().flat_map(|dirs| &dirs.brokers) {
                let Some(broker) = round.cluster.broker(*id) else { continue };
                let port = broker.address.port().to_string();
                emit(&kminion_broker(broker, &port), (*bytes).into());
            }
        },
    );
    let topics: Arc<[Topic]> = of.round.log_dirs.iter().flat_map(|dirs| dirs.topics.keys().cloned()).collect();
    let topics = of.each(
        "kminion_kafka_topic_log_dir_size_total_bytes",
        "The summed size in bytes of partitions for a given topic, of all replicas.",
        topics.len(),
        move |round, at, emit| {
            let Some(topic) = topics.get(at) else { return };
            let bytes = round.log_dirs.as_ref().and_then(|dirs| dirs.topics.get(topic));
            bytes.into_iter().for_each(|bytes| emit(&[("topic_name", topic.as_str().into())], (*bytes).into()));
        },
    );
    [brokers, topics]
}

fn kminion_topics(of: &Families<'_>) -> [family::Family; 5] {
    let topics = Topics::of(of.round);
    let info = topics.each(of, "kminion_kafka_topic_info", "Info labels for a given topic", |round, known, emit| {
        let partitions = known.partitions(round);
        let count = partitions.len().to_string();
        let factor = partitions.first().map_or(0, |it| it.replicas.len()).to_string();
        let labels = [
            ("topic_name", known.topic.as_str().into()),
            ("partition_count", count.as_str().into()),
            ("replication_factor", factor.as_str().into()),
            ("cleanup_policy", round.cleanup_policies.get(&known.topic).map_or("N/A", String::as_str).into()),
        ];
        emit(&labels, 1_u32.into());
    });
    let sums = |name, help, mark: fn(&Partition) -> Option<Offset>| {
        topics.each(of, name, help, move |round, known, emit| {
            // Of all partitions or of none, as every sum.
            let add = |(count, sum): (usize, Offset), it| Some((count + 1, sum.saturating_add(mark(it)?)));
            let of_all = round.partitions_of(&known.topic).try_fold((0, 0), add);
            if let Some((_, sum)) = of_all.filter(|(count, _)| *count == known.partitions(round).len()) {
                emit(&[("topic_name", known.topic.as_str().into())], sum.into());
            }
        })
    };
    let (high, low) = (Partition::end_offset, |it: &Partition| it.log_start_offset);
    [
        info,
        of.all_partitions("kminion_kafka_topic_partition_high_water_mark", "Partition high water mark", high),
        sums("kminion_kafka_topic_high_water_mark_sum", "Sum of all the topic's partitions' high water marks", high),
        of.all_partitions("kminion_kafka_topic_partition_low_water_mark", "Partition low water mark", low),
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
            Sum::committed,
        ),
        of.readings(
            "kminion_kafka_consumer_group_topic_lag",
            "The number of messages a consumer group is lagging behind across all partitions in a topic",
            Sum::offsets,
        ),
        of.rows(
            "kminion_kafka_consumer_group_topic_partition_lag",
            "The number of messages a consumer group is lagging behind the latest offset of a partition",
            offsets,
        ),
    ]
}

fn kminion_members(of: &Families<'_>) -> [family::Family; 4] {
    let counted = |name, help, count: fn(&[GroupMember]) -> Option<usize>| {
        of.known_groups(name, help, move |group, emit| {
            let Some(count) = group.members.as_deref().and_then(count) else { return };
            emit(&[("group_id", (&*group.name).into())], count.into());
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
        counted("kminion_kafka_consumer_group_members", "Consumer Group member count metrics.", |all| Some(all.len())),
        counted(
            "kminion_kafka_consumer_group_empty_members",
            "It will report the number of members in the consumer group with no partition assigned",
            // Of groups without such there is no sample.
            |members| Some(members.iter().filter(|it| it.assignment.is_empty()).count()).filter(|count| *count > 0),
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
        of.rows_with("kafka_consumergroup_group_lag", "Group offset lag of a partition", offsets, readers),
        of.rows_with(
            "kafka_consumergroup_group_lag_seconds",
            "Group time lag of a partition",
            |row| row.time()?.value_ms.map(Value::Millis),
            readers,
        ),
        of.groups("kafka_consumergroup_group_max_lag", "Max group offset lag", Sum::offsets_most),
        of.groups("kafka_consumergroup_group_max_lag_seconds", "Max group time lag", |sum| {
            sum.value_ms().map(Value::Millis)
        }),
        of.groups("kafka_consumergroup_group_sum_lag", "Sum of group offset lag", Sum::offsets),
        of.readings(
            "kafka_consumergroup_group_topic_sum_lag",
            "Sum of group offset lag across topic partitions",
            Sum::offsets,
        ),
        of.partitions("kafka_partition_latest_offset", "Latest offset of a partition", Partition::end_offset),
        of.partitions("kafka_partition_earliest_offset", "Earliest offset of a partition", |it| it.log_start_offset),
        of.one("kafka_consumergroup_poll_time_ms", "Group time poll time", of.round.took_ms),
    ]
}

/// Each row carries who reads the partition; of one that nobody is assigned to, or several members of a share group, these
/// labels are empty.
fn readers(round: &Round, reading: &Reading) -> impl Fn(&Row<'_>, &mut Vec<u8>) + use<> {
    let of_group = round.group(&reading.group).into_iter().flat_map(Group::readers);
    let of_topic = of_group.filter(|(of, _)| of.topic == reading.topic);
    let labels = |member: &GroupMember| [&member.client_host, &member.member_id, &member.client_id].map(String::clone);
    let readers: HashMap<i32, [String; 3]> = of_topic.map(|(of, member)| (of.partition, labels(member))).collect();
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
    use super::super::round::tests::{Plain, blank, group, round as of_rows};
    use super::super::round::{LogDirs, Total};
    use super::super::row::Reason;
    use super::super::text::Dialect;
    use super::*;
    use crate::client::{Metadata, TopicPartition};
    use crate::protocol::messages::{
        MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };

    fn cluster_with(topics: &[(&str, i32)]) -> Metadata {
        let partition = |partition_index| MetadataResponsePartition {
            partition_index,
            leader_id: partition_index + 1,
            replica_nodes: vec![1, 2],
            isr_nodes: vec![1],
            ..Default::default()
        };
        let topic = |(name, count): &(&str, i32)| {
            let partitions = (0..*count).map(partition).collect();
            MetadataResponseTopic { name: Some((*name).into()), partitions, ..Default::default() }
        };
        let topics = topics.iter().map(topic).collect();
        let broker = MetadataResponseBroker { node_id: 1, host: "b".into(), port: 9, ..Default::default() };
        let answer = MetadataResponse { topics, brokers: vec![broker], ..Default::default() };
        Metadata::default().merged(answer, true, Instant::now(), Duration::ZERO)
    }

    fn round(is_whole: bool) -> Round {
        let time = TimeLag { method: Method::Sampled, low_ms: 100, value_ms: Some(1_500), high_ms: Some(2_000) };
        let known = |partition| Plain {
            log_start_offset: Some(1),
            records: Ok(3),
            time: Some(time),
            ..blank("g", "t", partition)
        };
        let last = if is_whole { known(2) } else { Plain { records: Err(Reason::EndUnknown), ..blank("g", "t", 2) } };
        let rows = [known(0), known(1), last];
        let member = GroupMember {
            member_id: "m-1".to_owned(),
            client_id: "c".to_owned(),
            client_host: "/10.0.0.1".to_owned(),
            assignment: vec![TopicPartition::new("t", 0), TopicPartition::new("t", 1)],
            ..GroupMember::default()
        };
        let idle = GroupMember { assignment: vec![], ..member.clone() };
        let groups = vec![Group { members: Some([member, idle].into()), ..group("g", "Stable") }];
        let log_dirs = Some(Arc::new(LogDirs { brokers: [(1, 70)].into(), topics: [("t".into(), 50)].into() }));
        let cleanup_policies = Arc::new(HashMap::from([("t".into(), "compact,delete".to_owned())]));
        Round {
            groups,
            log_dirs,
            cleanup_policies,
            took_ms: 12,
            cluster: Arc::new(cluster_with(&[("t", 3)])),
            ..of_rows(&rows)
        }
    }

    fn text(family: Family, round: Round) -> String {
        let round = Arc::new(round);
        let sum = |total: Total<'_>| GroupSum { group: Arc::clone(total.group), sum: total.sum };
        let naming = Naming { first: None, group: "consumergroup", topic: "topic", partition: "partition" };
        let ours = Families { round: &round, naming, groups: round.totals().map(sum).collect(), shown: None };
        let families = families(family, "prod", &ours);
        let pages = family::Pages::new(Arc::clone(&round), Dialect::Prometheus, families);
        String::from_utf8(pages.flatten().collect()).expect("text")
    }

    fn check(family: Family, want: &[&str]) {
        check_of(family, round(true), want);
    }

    fn check_of(family: Family, round: Round, want: &[&str]) {
        let out = text(family, round);
        for line in want {
            assert!(out.lines().any(|it| it == *line), "{line} is not in\n{out}");
        }
        assert!(!out.contains("NaN") && !out.contains(" -1"), "{out}");
    }

    /// One that left out the partition that is not known would fall, and look like recovery.
    #[test]
    fn sums_are_of_all_or_absent() {
        let check = |family, sums: &[&str]| {
            let (whole, partly) = (text(family, round(true)), text(family, round(false)));
            for sum in sums {
                let start = format!("\n{sum}{{");
                assert!(whole.contains(&start) && !partly.contains(&start), "{sum} in\n{partly}");
            }
        };
        check(Family::KafkaExporter, &["kafka_consumergroup_lag_sum"]);
        check(
            Family::Kminion,
            &[
                "kminion_kafka_consumer_group_topic_lag",
                "kminion_kafka_topic_high_water_mark_sum",
                "kminion_kafka_topic_low_water_mark_sum",
            ],
        );
        check(
            Family::KafkaLagExporter,
            &[
                "kafka_consumergroup_group_sum_lag",
                "kafka_consumergroup_group_max_lag",
                "kafka_consumergroup_group_max_lag_seconds",
                "kafka_consumergroup_group_topic_sum_lag",
            ],
        );
        let unread = || BTreeMap::from([("g".into(), "refused".to_owned())]);
        let out = text(Family::KafkaExporter, round(true).with_unread(unread()));
        assert!(!out.contains("_sum{") && out.contains("kafka_consumergroup_lag{"), "{out}");
    }

    /// All that kminion 2.2 has, but for what is said to be absent above.
    #[test]
    fn no_family_of_kminion_is_missing_by_accident() {
        let theirs = "exporter_up kafka_broker_info kafka_cluster_info kafka_broker_log_dir_size_total_bytes \
            kafka_topic_log_dir_size_total_bytes kafka_topic_info kafka_topic_partition_low_water_mark \
            kafka_topic_partition_high_water_mark kafka_topic_low_water_mark_sum kafka_topic_high_water_mark_sum \
            kafka_consumer_group_info kafka_consumer_group_members kafka_consumer_group_empty_members \
            kafka_consumer_group_topic_members kafka_consumer_group_topic_assigned_partitions \
            kafka_consumer_group_topic_offset_sum kafka_consumer_group_topic_lag \
            kafka_consumer_group_topic_partition_lag";
        let theirs: BTreeSet<String> = theirs.split(' ').map(|name| format!("kminion_{name}")).collect();
        let text = text(Family::Kminion, round(true));
        let ours = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split('{').next());
        assert_eq!(ours.map(str::to_owned).collect::<BTreeSet<_>>(), theirs, "each has a sample");
    }

    /// A topic that no group reads, and one of which some partitions are read.
    #[test]
    fn what_nobody_reads_is_told_of() {
        let other = |topic, partition, start| Partition::unread(TopicPartition::new(topic, partition), Ok(7), start);
        let cluster = Arc::new(cluster_with(&[("t", 4), ("unread", 2)]));
        let others = vec![other("t", 3, Some(2)), other("unread", 0, Some(0)), other("unread", 1, Some(8))];
        let round = Round { cluster, others, ..round(true) };
        check_of(
            Family::KafkaExporter,
            round.clone(),
            &[
                r#"kafka_topic_partitions{topic="unread"} 2"#,
                r#"kafka_topic_partition_leader{topic="unread",partition="1"} 2"#,
                r#"kafka_topic_partition_current_offset{topic="unread",partition="1"} 7"#,
                r#"kafka_topic_partition_current_offset{topic="t",partition="0"} 8"#,
                r#"kafka_topic_partition_current_offset{topic="t",partition="3"} 7"#,
                r#"kafka_topic_partition_oldest_offset{topic="t",partition="3"} 2"#,
            ],
        );
        check_of(
            Family::Kminion,
            round.clone(),
            &[
                r#"kminion_kafka_topic_info{topic_name="unread",partition_count="2",replication_factor="2",cleanup_policy="N/A"} 1"#,
                r#"kminion_kafka_topic_partition_high_water_mark{topic_name="unread",partition_id="0"} 7"#,
                r#"kminion_kafka_topic_high_water_mark_sum{topic_name="unread"} 14"#,
                r#"kminion_kafka_topic_high_water_mark_sum{topic_name="t"} 31"#,
                r#"kminion_kafka_topic_low_water_mark_sum{topic_name="t"} 5"#,
            ],
        );
        let of_readers = text(Family::KafkaLagExporter, round.clone());
        assert!(!of_readers.contains("unread"), "{of_readers}");
        assert!(!text(Family::Kminion, round).contains(r#"low_water_mark_sum{topic_name="unread"}"#));
    }

    #[test]
    fn names_and_labels_as_others_have_them() {
        check(
            Family::KafkaExporter,
            &[
                "kafka_brokers 1",
                r#"kafka_topic_partitions{topic="t"} 3"#,
                r#"kafka_topic_partition_leader{topic="t",partition="2"} 3"#,
                r#"kafka_topic_partition_in_sync_replica{topic="t",partition="2"} 1"#,
                r#"kafka_topic_partition_leader_is_preferred{topic="t",partition="0"} 1"#,
                r#"kafka_topic_partition_leader_is_preferred{topic="t",partition="1"} 0"#,
                r#"kafka_topic_partition_current_offset{topic="t",partition="0"} 8"#,
                r#"kafka_consumergroup_current_offset{consumergroup="g",topic="t",partition="2"} 5"#,
                r#"kafka_consumergroup_lag{consumergroup="g",topic="t",partition="1"} 3"#,
                r#"kafka_consumergroup_current_offset_sum{consumergroup="g",topic="t"} 15"#,
                r#"kafka_consumergroup_lag_sum{consumergroup="g",topic="t"} 9"#,
                r#"kafka_consumergroup_members{consumergroup="g"} 2"#,
            ],
        );
        check(
            Family::Kminion,
            &[
                r#"kminion_kafka_consumer_group_info{group_id="g",protocol="",protocol_type="consumer",state="Stable",coordinator_id="1"} 1"#,
                r#"kminion_kafka_consumer_group_topic_lag{group_id="g",topic_name="t"} 9"#,
                r#"kminion_kafka_consumer_group_topic_partition_lag{group_id="g",topic_name="t",partition_id="0"} 3"#,
                r#"kminion_kafka_topic_info{topic_name="t",partition_count="3",replication_factor="2",cleanup_policy="compact,delete"} 1"#,
                r#"kminion_kafka_topic_log_dir_size_total_bytes{topic_name="t"} 50"#,
                r#"kminion_kafka_broker_log_dir_size_total_bytes{broker_id="1",address="b",port="9",rack_id=""} 70"#,
                r#"kminion_kafka_topic_high_water_mark_sum{topic_name="t"} 24"#,
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
                r#"kafka_consumergroup_group_sum_lag{cluster_name="prod",group="g"} 9"#,
                r#"kafka_partition_latest_offset{cluster_name="prod",topic="t",partition="1"} 8"#,
                r#"kafka_consumergroup_poll_time_ms{cluster_name="prod"} 12"#,
            ],
        );
    }
}
