//! The families of other exporters, by their exact names and labels, so that dashboards and alerts made for them go on.
//!
//! Topics that no group reads are not in them: the monitor does not ask about those. Where another exporter says −1 or
//! NaN for what it does not know, nothing is said here.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::round::{Group, Round, Row};
use super::text::{Label, family, gauge, sample};
use crate::client::{GroupMember, Offset, PartitionMetadata, Topic, TopicPartition};

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

pub(super) fn write(family: Family, cluster: &str, round: &Round, out: &mut String) {
    match family {
        Family::KafkaExporter => kafka_exporter(round, out),
        Family::Kminion => kminion(round, out),
        Family::KafkaLagExporter => kafka_lag_exporter(cluster, round, out),
    }
}

/// Writes one sample of a family.
type Emit<'e> = dyn FnMut(&[(&str, Label<'_>)], f64) + 'e;

/// A family of gauges, one sample a thing.
struct Gauges<'a> {
    out: &'a mut String,
}

impl Gauges<'_> {
    fn of<'t, T: 't>(
        &mut self,
        name: &str,
        help: &str,
        things: impl IntoIterator<Item = &'t T>,
        each: impl Fn(&'t T, &mut Emit<'_>),
    ) {
        family(self.out, name, help, "gauge");
        for thing in things {
            each(thing, &mut |labels, value| sample(self.out, name, labels, value));
        }
    }
}

/// What groups have on a topic, over the partitions where it is known.
struct TopicSum<'a> {
    group: &'a str,
    topic: &'a Topic,
    committed: Offset,
    lag: Option<u64>,
}

fn topic_sums(round: &Round) -> Vec<TopicSum<'_>> {
    let same = |a: &Row, b: &Row| a.group == b.group && a.topic_partition.topic == b.topic_partition.topic;
    let chunks = round.rows.chunk_by(same);
    let sums = chunks.filter_map(|rows| {
        let first = rows.first()?;
        let committed = rows.iter().map(|row| row.committed).sum();
        let lag = rows.iter().filter_map(|row| row.records.ok()).reduce(u64::saturating_add);
        Some(TopicSum { group: &first.group, topic: &first.topic_partition.topic, committed, lag })
    });
    sums.collect()
}

/// Topics that some group reads, with what is known of their partitions.
fn topics(round: &Round) -> BTreeMap<&Topic, &[PartitionMetadata]> {
    let read = round.rows.iter().map(|row| &row.topic_partition.topic);
    read.filter_map(|topic| Some((topic, round.cluster.topic(topic)?.partitions.as_slice()))).collect()
}

fn at(partition: &TopicPartition) -> [(&'static str, Label<'_>); 2] {
    [("topic", partition.topic.as_str().into()), ("partition", partition.partition.into())]
}

fn members(group: &Group) -> &[GroupMember] {
    group.members.as_deref().unwrap_or_default()
}

fn kafka_exporter(round: &Round, out: &mut String) {
    gauge(out, "kafka_brokers", "Number of Brokers in the Kafka Cluster.", round.cluster.brokers.len() as f64);
    let mut gauges = Gauges { out };
    let brokers: Vec<_> = round.cluster.brokers.values().collect();
    gauges.of("kafka_broker_info", "Information about the Kafka Broker.", &brokers, |broker, emit| {
        emit(&[("id", broker.id.into()), ("address", broker.address.to_string().as_str().into())], 1.0);
    });
    kafka_exporter_partitions(round, &mut gauges);
    kafka_exporter_groups(round, &mut gauges);
}

fn kafka_exporter_partitions(round: &Round, gauges: &mut Gauges<'_>) {
    let topics: Vec<_> = topics(round).into_iter().collect();
    gauges.of("kafka_topic_partitions", "Number of partitions for this Topic", &topics, |(topic, partitions), emit| {
        emit(&[("topic", topic.as_str().into())], partitions.len() as f64);
    });
    let rows = round.partitions();
    let current = "Current Offset of a Broker at Topic/Partition";
    gauges.of("kafka_topic_partition_current_offset", current, &rows, |row, emit| {
        row.end_offset.into_iter().for_each(|offset| emit(&at(&row.topic_partition), offset as f64));
    });
    let oldest = "Oldest Offset of a Broker at Topic/Partition";
    gauges.of("kafka_topic_partition_oldest_offset", oldest, &rows, |row, emit| {
        row.log_start_offset.into_iter().for_each(|offset| emit(&at(&row.topic_partition), offset as f64));
    });
    type Value = fn(&PartitionMetadata) -> Option<f64>;
    let of_metadata: [(&str, &str, Value); 5] = [
        ("kafka_topic_partition_leader", "Leader Broker ID of this Topic/Partition", |it| it.leader.map(f64::from)),
        ("kafka_topic_partition_replicas", "Number of Replicas for this Topic/Partition", |it| {
            Some(it.replicas.len() as f64)
        }),
        ("kafka_topic_partition_in_sync_replica", "Number of In-Sync Replicas for this Topic/Partition", |it| {
            Some(it.in_sync_replicas.len() as f64)
        }),
        ("kafka_topic_partition_leader_is_preferred", "1 if Topic/Partition is using the Preferred Broker", |it| {
            Some(f64::from(u8::from(it.leader.is_some() && it.leader == it.replicas.first().copied())))
        }),
        ("kafka_topic_partition_under_replicated_partition", "1 if Topic/Partition is under Replicated", |it| {
            Some(f64::from(u8::from(it.in_sync_replicas.len() < it.replicas.len())))
        }),
    ];
    for (name, help, value) in of_metadata {
        gauges.of(name, help, &topics, |(topic, partitions), emit| {
            for partition in *partitions {
                let labels = [("topic", topic.as_str().into()), ("partition", partition.partition.into())];
                value(partition).into_iter().for_each(|value| emit(&labels, value));
            }
        });
    }
}

fn kafka_exporter_groups(round: &Round, gauges: &mut Gauges<'_>) {
    let of_row = |row: &Row, emit: &mut Emit<'_>, value: f64| {
        let [topic, partition] = at(&row.topic_partition);
        emit(&[("consumergroup", (&*row.group).into()), topic, partition], value);
    };
    let offset = "Current Offset of a ConsumerGroup at Topic/Partition";
    gauges.of("kafka_consumergroup_current_offset", offset, &round.rows, |row, emit| {
        of_row(row, emit, row.committed as f64);
    });
    let lag = "Current Approximate Lag of a ConsumerGroup at Topic/Partition";
    gauges.of("kafka_consumergroup_lag", lag, &round.rows, |row, emit| {
        row.records.into_iter().for_each(|records| of_row(row, emit, records as f64));
    });
    let sums = topic_sums(round);
    let offset = "Current Offset of a ConsumerGroup at Topic for all partitions";
    gauges.of("kafka_consumergroup_current_offset_sum", offset, &sums, |sum, emit| {
        emit(&[("consumergroup", sum.group.into()), ("topic", sum.topic.as_str().into())], sum.committed as f64);
    });
    let lag = "Current Approximate Lag of a ConsumerGroup at Topic for all partitions";
    gauges.of("kafka_consumergroup_lag_sum", lag, &sums, |sum, emit| {
        let labels = [("consumergroup", sum.group.into()), ("topic", sum.topic.as_str().into())];
        sum.lag.into_iter().for_each(|lag| emit(&labels, lag as f64));
    });
    gauges.of("kafka_consumergroup_members", "Amount of members in a consumer group", &round.groups, |group, emit| {
        let labels = [("consumergroup", (&*group.name).into())];
        group.members.iter().for_each(|members| emit(&labels, members.len() as f64));
    });
}

fn kminion(round: &Round, out: &mut String) {
    family(out, "kminion_exporter_up", "Build info about this Prometheus Exporter.", "gauge");
    sample(out, "kminion_exporter_up", &[("version", env!("CARGO_PKG_VERSION").into())], 1.0);
    let mut gauges = Gauges { out };
    kminion_cluster(round, &mut gauges);
    kminion_topics(round, &mut gauges);
    kminion_groups(round, &mut gauges);
    kminion_members(round, &mut gauges);
}

fn kminion_cluster(round: &Round, gauges: &mut Gauges<'_>) {
    let (cluster, brokers) = (&round.cluster, round.cluster.brokers.values().collect::<Vec<_>>());
    gauges.of("kminion_kafka_broker_info", "Kafka broker information", &brokers, |broker, emit| {
        let is_controller = if cluster.controller == Some(broker.id) { "true" } else { "false" };
        let port = broker.address.port().to_string();
        let labels = [
            ("broker_id", broker.id.into()),
            ("address", broker.address.host().into()),
            ("port", port.as_str().into()),
            ("rack_id", broker.rack.as_deref().unwrap_or_default().into()),
            ("is_controller", is_controller.into()),
        ];
        emit(&labels, 1.0);
    });
    let (count, controller) =
        (brokers.len().to_string(), cluster.controller.map(|id| id.to_string()).unwrap_or_default());
    gauges.of("kminion_kafka_cluster_info", "Kafka cluster information", [&()], |(), emit| {
        let labels = [
            ("cluster_version", "".into()),
            ("broker_count", count.as_str().into()),
            ("controller_id", controller.as_str().into()),
            ("cluster_id", cluster.cluster_id.as_deref().unwrap_or_default().into()),
        ];
        emit(&labels, 1.0);
    });
}

fn kminion_topics(round: &Round, gauges: &mut Gauges<'_>) {
    let topics: Vec<_> = topics(round).into_iter().collect();
    gauges.of("kminion_kafka_topic_info", "Info labels for a given topic", &topics, |(topic, partitions), emit| {
        let count = partitions.len().to_string();
        let factor = partitions.first().map_or(0, |it| it.replicas.len()).to_string();
        let labels = [
            ("topic_name", topic.as_str().into()),
            ("partition_count", count.as_str().into()),
            ("replication_factor", factor.as_str().into()),
            ("cleanup_policy", "N/A".into()),
        ];
        emit(&labels, 1.0);
    });
    let rows = round.partitions();
    type Mark = fn(&Row) -> Option<Offset>;
    let marks: [(&str, &str, &str, Mark); 2] = [
        (
            "kminion_kafka_topic_partition_high_water_mark",
            "kminion_kafka_topic_high_water_mark_sum",
            "high water mark",
            |row| row.end_offset,
        ),
        (
            "kminion_kafka_topic_partition_low_water_mark",
            "kminion_kafka_topic_low_water_mark_sum",
            "low water mark",
            |row| row.log_start_offset,
        ),
    ];
    for (name, sum_name, what, mark) in marks {
        gauges.of(name, &format!("Partition {what}"), &rows, |row, emit| {
            let place = &row.topic_partition;
            let labels = [("topic_name", place.topic.as_str().into()), ("partition_id", place.partition.into())];
            mark(row).into_iter().for_each(|offset| emit(&labels, offset as f64));
        });
        let mut sums: BTreeMap<&Topic, Offset> = BTreeMap::new();
        for row in &rows {
            mark(row).into_iter().for_each(|offset| *sums.entry(&row.topic_partition.topic).or_default() += offset);
        }
        let sums: Vec<_> = sums.into_iter().collect();
        gauges.of(sum_name, &format!("Sum of all the topic's partitions' {what}s"), &sums, |(topic, sum), emit| {
            emit(&[("topic_name", topic.as_str().into())], *sum as f64);
        });
    }
}

fn kminion_groups(round: &Round, gauges: &mut Gauges<'_>) {
    let help = "Consumer Group info metrics. It will report 1 if the group is in the stable state, otherwise 0.";
    gauges.of("kminion_kafka_consumer_group_info", help, &round.groups, |group, emit| {
        let state = group.state.as_deref().unwrap_or_default();
        let labels = [
            ("group_id", (&*group.name).into()),
            ("protocol", group.assignor.as_deref().unwrap_or_default().into()),
            ("protocol_type", group.protocol_type.as_deref().unwrap_or_default().into()),
            ("state", state.into()),
            ("coordinator_id", group.coordinator.into()),
        ];
        emit(&labels, f64::from(u8::from(state == "Stable")));
    });
    let sums = topic_sums(round);
    let help = "The sum of all committed group offsets across all partitions in a topic";
    gauges.of("kminion_kafka_consumer_group_topic_offset_sum", help, &sums, |sum, emit| {
        emit(&[("group_id", sum.group.into()), ("topic_name", sum.topic.as_str().into())], sum.committed as f64);
    });
    let help = "The number of messages a consumer group is lagging behind across all partitions in a topic";
    gauges.of("kminion_kafka_consumer_group_topic_lag", help, &sums, |sum, emit| {
        let labels = [("group_id", sum.group.into()), ("topic_name", sum.topic.as_str().into())];
        sum.lag.into_iter().for_each(|lag| emit(&labels, lag as f64));
    });
    let help = "The number of messages a consumer group is lagging behind the latest offset of a partition";
    gauges.of("kminion_kafka_consumer_group_topic_partition_lag", help, &round.rows, |row, emit| {
        let place = &row.topic_partition;
        let labels = [
            ("group_id", (&*row.group).into()),
            ("topic_name", place.topic.as_str().into()),
            ("partition_id", place.partition.into()),
        ];
        row.records.into_iter().for_each(|records| emit(&labels, records as f64));
    });
}

fn kminion_members(round: &Round, gauges: &mut Gauges<'_>) {
    let known: Vec<_> = round.groups.iter().filter(|group| group.members.is_some()).collect();
    let help = "Consumer Group member count metrics.";
    gauges.of("kminion_kafka_consumer_group_members", help, &known, |group, emit| {
        emit(&[("group_id", (&*group.name).into())], members(group).len() as f64);
    });
    let help = "It will report the number of members in the consumer group with no partition assigned";
    gauges.of("kminion_kafka_consumer_group_empty_members", help, &known, |group, emit| {
        let empty = members(group).iter().filter(|member| member.assignment.is_empty()).count();
        emit(&[("group_id", (&*group.name).into())], empty as f64);
    });
    let counts: [(&str, &str, bool); 2] = [
        ("kminion_kafka_consumer_group_topic_members", "It will report the number of members assigned", true),
        (
            "kminion_kafka_consumer_group_topic_assigned_partitions",
            "It will report the number of partitions assigned",
            false,
        ),
    ];
    for (name, help, by_member) in counts {
        gauges.of(name, &format!("{help} on a given topic"), &known, |group, emit| {
            for (topic, (members, partitions)) in assigned(group) {
                let labels = [("group_id", (&*group.name).into()), ("topic_name", topic.as_str().into())];
                emit(&labels, if by_member { members } else { partitions } as f64);
            }
        });
    }
}

/// By topic: how many members have some of it, and how many partitions they have together.
fn assigned(group: &Group) -> BTreeMap<&Topic, (usize, usize)> {
    let mut counts: BTreeMap<&Topic, (usize, usize)> = BTreeMap::new();
    for member in members(group) {
        let mut of_member: BTreeMap<&Topic, usize> = BTreeMap::new();
        for partition in &member.assignment {
            *of_member.entry(&partition.topic).or_default() += 1;
        }
        for (topic, partitions) in of_member {
            let count = counts.entry(topic).or_default();
            *count = (count.0 + 1, count.1 + partitions);
        }
    }
    counts
}

fn kafka_lag_exporter(cluster: &str, round: &Round, out: &mut String) {
    let mut gauges = Gauges { out };
    let name = ("cluster_name", Label::Text(cluster));
    kafka_lag_exporter_rows(name, round, &mut gauges);
    let totals: Vec<_> = round.totals().collect();
    gauges.of("kafka_consumergroup_group_max_lag", "Max group offset lag", &totals, |total, emit| {
        let most = total.rows.iter().filter_map(|row| row.records.ok()).max();
        most.into_iter().for_each(|lag| emit(&[name, ("group", (&**total.group).into())], lag as f64));
    });
    gauges.of("kafka_consumergroup_group_max_lag_seconds", "Max group time lag", &totals, |total, emit| {
        let labels = [name, ("group", (&**total.group).into())];
        total.value_ms.into_iter().for_each(|ms| emit(&labels, ms as f64 / 1000.0));
    });
    gauges.of("kafka_consumergroup_group_sum_lag", "Sum of group offset lag", &totals, |total, emit| {
        total.records.into_iter().for_each(|lag| emit(&[name, ("group", (&**total.group).into())], lag as f64));
    });
    let help = "Sum of group offset lag across topic partitions";
    gauges.of("kafka_consumergroup_group_topic_sum_lag", help, &topic_sums(round), |sum, emit| {
        let labels = [name, ("group", sum.group.into()), ("topic", sum.topic.as_str().into())];
        sum.lag.into_iter().for_each(|lag| emit(&labels, lag as f64));
    });
    let rows = round.partitions();
    gauges.of("kafka_partition_latest_offset", "Latest offset of a partition", &rows, |row, emit| {
        let [topic, partition] = at(&row.topic_partition);
        row.end_offset.into_iter().for_each(|offset| emit(&[name, topic, partition], offset as f64));
    });
    gauges.of("kafka_partition_earliest_offset", "Earliest offset of a partition", &rows, |row, emit| {
        let [topic, partition] = at(&row.topic_partition);
        row.log_start_offset.into_iter().for_each(|offset| emit(&[name, topic, partition], offset as f64));
    });
    gauges.of("kafka_consumergroup_poll_time_ms", "Group time poll time", [&()], |(), emit| {
        emit(&[name], round.took_ms as f64);
    });
}

/// Each row carries who reads the partition; of one that nobody is assigned to, these labels are empty.
fn kafka_lag_exporter_rows(name: (&str, Label<'_>), round: &Round, gauges: &mut Gauges<'_>) {
    let mut readers: HashMap<(&str, &TopicPartition), &GroupMember> = HashMap::new();
    for group in &round.groups {
        for member in members(group) {
            readers.extend(member.assignment.iter().map(|partition| ((&*group.name, partition), member)));
        }
    }
    type Value = fn(&Row) -> Option<f64>;
    let families: [(&str, &str, Value); 3] = [
        ("kafka_consumergroup_group_offset", "Last group consumed offset of a partition", |row| {
            Some(row.committed as f64)
        }),
        ("kafka_consumergroup_group_lag", "Group offset lag of a partition", |row| {
            row.records.ok().map(|it| it as f64)
        }),
        ("kafka_consumergroup_group_lag_seconds", "Group time lag of a partition", |row| {
            row.time?.value_ms.map(|ms| ms as f64 / 1000.0)
        }),
    ];
    for (family, help, value) in families {
        gauges.of(family, help, &round.rows, |row, emit| {
            let [topic, partition] = at(&row.topic_partition);
            let reader = readers.get(&(&*row.group, &row.topic_partition));
            let of_reader = |text: fn(&GroupMember) -> &str| Label::Text(reader.map_or("", |it| text(it)));
            let labels = [
                name,
                ("group", (&*row.group).into()),
                topic,
                partition,
                ("member_host", of_reader(|it| &it.client_host)),
                ("consumer_id", of_reader(|it| &it.member_id)),
                ("client_id", of_reader(|it| &it.client_id)),
            ];
            value(row).into_iter().for_each(|value| emit(&labels, value));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::estimate::{Method, TimeLag};
    use super::super::round::Reason;
    use super::super::round::tests::{blank, group};
    use super::*;

    fn round() -> Round {
        let time = TimeLag { method: Method::Sampled, low_ms: 100, value_ms: Some(1_500), high_ms: Some(2_000) };
        let known = |partition| Row {
            log_start_offset: Some(1),
            end_offset: Some(8),
            records: Ok(3),
            time: Some(time),
            ..blank("g", "t", partition)
        };
        let rows = vec![known(0), known(1), Row { records: Err(Reason::EndUnknown), ..blank("g", "t", 2) }];
        let member = GroupMember {
            member_id: "m-1".to_owned(),
            instance_id: None,
            client_id: "c".to_owned(),
            client_host: "/10.0.0.1".to_owned(),
            assignment: vec![TopicPartition::new("t", 0), TopicPartition::new("t", 1)],
        };
        let idle = GroupMember { assignment: vec![], ..member.clone() };
        let groups = vec![Group { members: Some([member, idle].into()), ..group("g", "Stable") }];
        Round { rows, groups, took_ms: 12, ..Round::default() }
    }

    fn check(family: Family, want: &[&str]) {
        let mut out = String::new();
        write(family, "prod", &round(), &mut out);
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
