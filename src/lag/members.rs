//! Who reads what: series with the labels of members, for who asks for them. There are as many as members, and members come
//! and go with new ids, so they are bounded, and those that are left out are counted.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::family::{Families, Family};
use super::round::{Group, Round, Total};
use super::row::Sum;
use super::text::{Label, Value};
use super::{Config, Series};
use crate::client::{GroupMember, Topic, TopicPartition};

/// A member, by its place in the round, and what it reads.
#[derive(Debug)]
struct Reader {
    group: usize,
    member: usize,
    /// Those that are looked at.
    partitions: Vec<TopicPartition>,
    /// Of what it reads, and has committed something for.
    sum: Sum,
}

/// Nothing, unless members are asked for.
pub(super) fn families(config: &Config, of: &Families<'_>) -> Vec<Family> {
    let Some(most) = config.members_max else { return vec![] };
    let (readers, hidden) = shown(readers(config, of.round), most);
    let readers: Arc<[Reader]> = readers.into();
    let each = |name, help, value: fn(&Reader) -> Option<Value>| {
        let readers = Arc::clone(&readers);
        of.each(name, help, readers.len(), move |round, at, emit| {
            let Some((reader, (group, member))) = at_place(&readers, round, at) else { return };
            value(reader).into_iter().for_each(|value| emit(&labels(group, member), value));
        })
    };
    let mut all = vec![
        of.known_groups("highwater_lag_group_members", "Members of a group.", |group, emit| {
            let labels = [("consumergroup", (&*group.name).into())];
            group.members.iter().for_each(|members| emit(&labels, members.len().into()));
        }),
        each("highwater_lag_member_partitions", "Partitions that a member reads.", |it| {
            Some(it.partitions.len().into())
        }),
        each("highwater_lag_member_records", "Lag on the partitions that a member reads.", |it| {
            it.sum.records().map(Value::Count)
        }),
        each(
            "highwater_lag_member_seconds",
            "Age of the oldest record that a member has yet to read, most likely.",
            |it| it.sum.value_ms().map(Value::Millis),
        ),
        of.one("highwater_lag_hidden_members", "Members without series of their own, those least behind.", hidden),
    ];
    if config.series >= Series::Partition {
        all.push(reads(of, readers));
    }
    all
}

/// Which member reads a partition, to be joined with whatever has its labels.
fn reads(of: &Families<'_>, readers: Arc<[Reader]>) -> Family {
    let shown = of.shown.clone();
    let help = "Always 1; a partition, and the member that reads it.";
    of.each("highwater_lag_reader", help, readers.len(), move |round, at, emit| {
        let Some((reader, (group, member))) = at_place(&readers, round, at) else { return };
        let is_shown =
            |it: &&TopicPartition| shown.as_ref().is_none_or(|shown| shown.shows(round, &it.topic, it.partition));
        for partition in reader.partitions.iter().filter(is_shown) {
            let place = [("topic", partition.topic.as_str().into()), ("partition", partition.partition.into())];
            let all: Vec<_> = labels(group, member).into_iter().chain(place).collect();
            emit(&all, 1_u32.into());
        }
    })
}

fn at_place<'a>(
    readers: &'a [Reader],
    round: &'a Round,
    at: usize,
) -> Option<(&'a Reader, (&'a Group, &'a GroupMember))> {
    let reader = readers.get(at)?;
    let group = round.groups.get(reader.group)?;
    Some((reader, (group, group.members.as_deref()?.get(reader.member)?)))
}

/// A member without an instance id has an empty one, which Prometheus takes for none.
fn labels<'a>(group: &'a Group, member: &'a GroupMember) -> [(&'static str, Label<'a>); 5] {
    // Brokers are Java's, which puts a slash before addresses.
    let host = member.client_host.strip_prefix('/').unwrap_or(&member.client_host);
    [
        ("consumergroup", (&*group.name).into()),
        ("member_id", member.member_id.as_str().into()),
        ("client_id", member.client_id.as_str().into()),
        ("host", host.into()),
        ("instance_id", member.instance_id.as_deref().unwrap_or_default().into()),
    ]
}

/// The `most` that are furthest behind, in time and then in records, in the order of the round; and how many others there
/// are.
fn shown(mut readers: Vec<Reader>, most: usize) -> (Vec<Reader>, usize) {
    let hidden = readers.len().saturating_sub(most);
    if hidden > 0 {
        readers.sort_by_key(|it| Reverse((it.sum.low_ms(), it.sum.records())));
        readers.truncate(most);
        readers.sort_by_key(|it| (it.group, it.member));
    }
    (readers, hidden)
}

fn readers(config: &Config, round: &Round) -> Vec<Reader> {
    round.groups.iter().enumerate().flat_map(|(at, group)| of_group(config, round, at, group)).collect()
}

fn of_group(config: &Config, round: &Round, at: usize, group: &Group) -> Vec<Reader> {
    let Some(members) = group.members.as_deref() else { return vec![] };
    let reader = |(member, it): (usize, &GroupMember)| {
        let is_looked_at = |of: &&TopicPartition| config.topics.passes(&of.topic);
        let partitions = it.assignment.iter().filter(is_looked_at).cloned().collect();
        Reader { group: at, member, partitions, sum: Sum::default() }
    };
    let mut readers: Vec<Reader> = members.iter().enumerate().map(reader).collect();
    if !group.is_share() {
        let read_by: HashMap<(Topic, i32), usize> = readers
            .iter()
            .enumerate()
            .flat_map(|(at, it)| it.partitions.iter().map(move |of| ((of.topic.clone(), of.partition), at)))
            .collect();
        let total = round.total_of(&group.name).ok();
        for row in total.iter().flat_map(Total::rows) {
            let reader = read_by.get(&(row.topic().clone(), row.partition())).and_then(|at| readers.get_mut(*at));
            reader.into_iter().for_each(|reader| reader.sum.add(&row));
        }
        if round.unread.contains_key(&group.name) {
            readers.iter_mut().for_each(|reader| reader.sum = reader.sum.lacking_commits());
        }
    }
    readers
}

#[cfg(test)]
mod tests {
    use super::super::estimate::{Method, TimeLag};
    use super::super::exposition::exposition;
    use super::super::round::tests::{Plain, blank, group, round as of_rows};
    use super::super::text::Dialect;
    use super::*;

    fn member(id: &str, instance: Option<&str>, partitions: &[i32]) -> GroupMember {
        GroupMember {
            member_id: id.to_owned(),
            instance_id: instance.map(str::to_owned),
            client_id: "c".to_owned(),
            client_host: "/10.0.0.1".to_owned(),
            assignment: partitions.iter().map(|partition| TopicPartition::new("t", *partition)).collect(),
            ..GroupMember::default()
        }
    }

    fn round() -> Round {
        let time = |value_ms| {
            let (value_ms, high_ms) = (Some(value_ms), Some(value_ms + 100));
            Some(TimeLag { method: Method::Sampled, low_ms: 1, value_ms, high_ms })
        };
        let row = |partition, records, time| Plain { records: Ok(records), time, ..blank("g", "t", partition) };
        let rows = [row(0, 3, time(500)), row(1, 4, time(1_500)), row(2, 9, None)];
        let members = [member("m-1", None, &[0, 1]), member("m-2", Some("i"), &[2]), member("m-3", None, &[])];
        let of_share = [member("s-1", None, &[0]), member("s-2", None, &[0])];
        let groups = vec![
            Group { members: Some(members.into()), ..group("g", "Stable") },
            Group { members: Some(of_share.into()), kind: Some("share".to_owned()), ..group("s", "Stable") },
            group("unasked", "Stable"),
        ];
        Round { groups, good_for_ms: 1, ..of_rows(&rows) }
    }

    fn samples(config: &Config) -> Vec<String> {
        samples_of(config, round())
    }

    fn samples_of(config: &Config, round: Round) -> Vec<String> {
        let pages = exposition(config, Arc::new(round), 0, Dialect::Prometheus);
        let text = String::from_utf8(pages.flatten().collect()).expect("text");
        let is_ours = |line: &&str| ["member", "reader"].iter().any(|it| line.contains(it)) && !line.starts_with('#');
        text.lines().filter(is_ours).map(str::to_owned).collect()
    }

    #[test]
    fn each_member_has_what_it_reads() {
        assert_eq!(samples(&Config::default()), [""; 0], "nobody asked");
        let said = samples(&Config { members_max: Some(100), ..Config::default() });
        let want = [
            r#"highwater_lag_group_members{consumergroup="g"} 3"#,
            r#"highwater_lag_group_members{consumergroup="s"} 2"#,
            r#"highwater_lag_member_partitions{consumergroup="g",member_id="m-1",client_id="c",host="10.0.0.1",instance_id=""} 2"#,
            r#"highwater_lag_member_partitions{consumergroup="g",member_id="m-3",client_id="c",host="10.0.0.1",instance_id=""} 0"#,
            r#"highwater_lag_member_records{consumergroup="g",member_id="m-1",client_id="c",host="10.0.0.1",instance_id=""} 7"#,
            r#"highwater_lag_member_records{consumergroup="g",member_id="m-2",client_id="c",host="10.0.0.1",instance_id="i"} 9"#,
            r#"highwater_lag_member_seconds{consumergroup="g",member_id="m-1",client_id="c",host="10.0.0.1",instance_id=""} 1.5"#,
            r#"highwater_lag_reader{consumergroup="g",member_id="m-2",client_id="c",host="10.0.0.1",instance_id="i",topic="t",partition="2"} 1"#,
            r#"highwater_lag_reader{consumergroup="s",member_id="s-2",client_id="c",host="10.0.0.1",instance_id="",topic="t",partition="0"} 1"#,
            "highwater_lag_hidden_members 0",
        ];
        for line in want {
            assert!(said.iter().any(|it| it == line), "{line} is not in {said:#?}");
        }
        let count = |start: &str| said.iter().filter(|line| line.starts_with(start)).count();
        let of_members = ["partitions", "records", "seconds"].map(|it| count(&format!("highwater_lag_member_{it}{{")));
        assert_eq!((of_members, count("highwater_lag_reader{")), ([5, 2, 1], 5), "{said:#?}");
    }

    #[test]
    fn without_some_commits_no_member_has_a_sum() {
        let unread = [("g".into(), "refused".to_owned())].into();
        let config = Config { members_max: Some(100), ..Config::default() };
        let said = samples_of(&config, round().with_unread(unread));
        let is_sum = |line: &&String| ["records{", "seconds{"].iter().any(|it| line.contains(&format!("member_{it}")));
        assert_eq!(said.iter().find(is_sum), None);
        assert!(said.iter().any(|line| line.starts_with("highwater_lag_member_partitions{")), "{said:#?}");
    }

    #[test]
    fn those_furthest_behind_are_shown() {
        let said = samples(&Config { members_max: Some(1), series: Series::Group, ..Config::default() });
        let of = |start: &str| said.iter().filter(|line| line.starts_with(start)).count();
        assert_eq!((of("highwater_lag_member_records{"), of("highwater_lag_reader{")), (1, 0), "{said:#?}");
        assert!(said.iter().any(|line| line.contains(r#"member_id="m-1""#)), "{said:#?}");
        assert!(said.contains(&"highwater_lag_hidden_members 4".to_owned()), "{said:#?}");
    }
}
