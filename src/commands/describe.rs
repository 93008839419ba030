//! `highwater groups describe`: what groups are about, who their members are, and where they are in each partition.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::output::{self, Row, or_none};
use super::session::{Session, all};
use crate::app::Failure;
use crate::cli::{self, Output};
use crate::client::{
    BrokerId, CommittedOffsets, Error, GroupDescription, GroupMember, GroupTopology, GroupType, IsolationLevel,
    ListedOffset, Offset, OffsetSpec, ShareOffset, ShareOffsets, StreamsTasks, Subtopology, TopicPartition,
};

/// A group, its members, and where it is in each partition.
#[derive(Debug, Serialize)]
struct Described {
    group: String,
    state: String,
    r#type: &'static str,
    protocol: Option<String>,
    assignor: Option<String>,
    /// Of classic groups there is none, and none of their members.
    epoch: Option<i32>,
    assignment_epoch: Option<i32>,
    coordinator: BrokerId,
    /// Of a streams group.
    #[serde(skip_serializing_if = "Option::is_none")]
    topology: Option<DescribedTopology>,
    /// Over all partitions of which it is known; `None` when it is known of none.
    lag: Option<i64>,
    /// Partitions of which it is not.
    lag_unknown: usize,
    members: Vec<DescribedMember>,
    partitions: Partitions,
}

#[derive(Debug, Serialize)]
struct DescribedTopology {
    epoch: i32,
    subtopologies: Vec<DescribedSubtopology>,
}

#[derive(Debug, Serialize)]
struct DescribedSubtopology {
    subtopology: String,
    sources: Vec<String>,
    repartition_sources: Vec<String>,
    repartition_sinks: Vec<String>,
    changelogs: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DescribedMember {
    member: String,
    instance: Option<String>,
    rack: Option<String>,
    client: String,
    host: String,
    epoch: Option<i32>,
    subscribed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscribed_pattern: Option<String>,
    partitions: Vec<String>,
    target: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<DescribedTasks>,
}

#[derive(Debug, Serialize)]
struct DescribedTasks {
    process: String,
    topology_epoch: i32,
    endpoint: Option<String>,
    active: Vec<String>,
    standby: Vec<String>,
    warm_up: Vec<String>,
    target: TargetTasks,
}

#[derive(Debug, Serialize)]
struct TargetTasks {
    active: Vec<String>,
    standby: Vec<String>,
    warm_up: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Partitions {
    Committed(Vec<CommittedPartition>),
    Shared(Vec<SharedPartition>),
}

#[derive(Debug, Serialize)]
struct CommittedPartition {
    topic: String,
    partition: i32,
    committed: Option<Offset>,
    end: Option<Offset>,
    lag: Option<i64>,
    member: Option<String>,
    client: Option<String>,
    host: Option<String>,
}

/// Of a share group, which commits nothing, and any number of whose members read a partition.
#[derive(Debug, Serialize)]
struct SharedPartition {
    topic: String,
    partition: i32,
    /// The first record that the group is not done with.
    start: Option<Offset>,
    end: Option<Offset>,
    lag: Option<i64>,
    members: Vec<String>,
}

impl Row for DescribedMember {
    const HEAD: &'static [&'static str] =
        &["MEMBER", "INSTANCE", "RACK", "CLIENT", "HOST", "EPOCH", "COUNT", "PARTITIONS", "TARGET"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.member.clone(),
            or_none(self.instance.as_ref()),
            or_none(self.rack.as_ref()),
            self.client.clone(),
            self.host.clone(),
            or_none(self.epoch),
            self.partitions.len().to_string(),
            output::list(&self.partitions),
            self.target.as_ref().map_or_else(|| or_none(None::<&str>), |target| output::list(target)),
        ]
    }
}

/// A member of a streams group, as a line.
#[derive(Debug, Serialize)]
struct TasksOfMember<'a>(&'a DescribedMember, &'a DescribedTasks);

impl Row for TasksOfMember<'_> {
    const HEAD: &'static [&'static str] = &[
        "MEMBER", "INSTANCE", "PROCESS", "RACK", "CLIENT", "HOST", "EPOCH", "TOPOLOGY", "ACTIVE", "STANDBY", "WARM-UP",
        "TARGET",
    ];

    fn cells(&self) -> Vec<String> {
        let Self(member, tasks) = self;
        vec![
            member.member.clone(),
            or_none(member.instance.as_ref()),
            tasks.process.clone(),
            or_none(member.rack.as_ref()),
            member.client.clone(),
            member.host.clone(),
            or_none(member.epoch),
            tasks.topology_epoch.to_string(),
            output::list(&tasks.active),
            output::list(&tasks.standby),
            output::list(&tasks.warm_up),
            output::list(&tasks.target.active),
        ]
    }
}

impl Row for CommittedPartition {
    const HEAD: &'static [&'static str] =
        &["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "CLIENT", "HOST"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            or_none(self.committed),
            or_none(self.end),
            or_none(self.lag),
            or_none(self.member.as_ref()),
            or_none(self.client.as_ref()),
            or_none(self.host.as_ref()),
        ]
    }
}

impl Row for SharedPartition {
    const HEAD: &'static [&'static str] = &["TOPIC", "PARTITION", "START", "END", "LAG", "MEMBERS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            or_none(self.start),
            or_none(self.end),
            or_none(self.lag),
            output::list(&self.members),
        ]
    }
}

impl Partitions {
    fn lags(&self) -> Vec<Option<i64>> {
        match self {
            Self::Committed(all) => all.iter().map(|it| it.lag).collect(),
            Self::Shared(all) => all.iter().map(|it| it.lag).collect(),
        }
    }

    fn rows(&self) -> Result<String, Failure> {
        match self {
            Self::Committed(all) => output::rows(Output::Table, all),
            Self::Shared(all) => output::rows(Output::Table, all),
        }
    }
}

impl DescribedSubtopology {
    /// What there is, in words: `0 reads a,b; keeps c-changelog`.
    fn text(&self) -> String {
        let facts = [
            ("reads", &self.sources),
            ("reads repartitioned", &self.repartition_sources),
            ("repartitions to", &self.repartition_sinks),
            ("keeps", &self.changelogs),
        ];
        let facts = facts.iter().filter(|(_, topics)| !topics.is_empty());
        let facts: Vec<String> = facts.map(|(what, topics)| format!("{what} {}", topics.join(","))).collect();
        format!("  {:<13}{}\n", format!("part {}", self.subtopology), facts.join("; "))
    }
}

impl Described {
    fn text(&self, members: bool) -> Result<String, Failure> {
        let lag = match (self.lag, self.lag_unknown, self.partitions.lags().len()) {
            (Some(lag), unknown @ 1.., all) => format!("{lag} (of {unknown} of {all} partitions it is not known)"),
            (lag, ..) => or_none(lag),
        };
        let epoch = match (self.epoch, self.assignment_epoch) {
            (Some(epoch), Some(assigned)) if assigned != epoch => format!("{epoch} (assigned for {assigned})"),
            (epoch, _) => or_none(epoch),
        };
        let facts = [
            ("state", self.state.clone()),
            ("type", self.r#type.to_owned()),
            ("assignor", or_none(self.assignor.as_ref())),
            ("epoch", epoch),
            ("coordinator", self.coordinator.to_string()),
            ("members", self.members.len().to_string()),
            ("lag", lag),
        ];
        let mut facts: String = facts.iter().map(|(name, value)| format!("  {name:<13}{value}\n")).collect();
        if let Some(topology) = &self.topology {
            facts += &format!("  {:<13}{}\n", "topology", format_args!("epoch {}", topology.epoch));
            facts.extend(topology.subtopologies.iter().map(DescribedSubtopology::text));
        }
        let rows = match members {
            true => self.member_rows()?,
            false => self.partitions.rows()?,
        };
        Ok(format!("{}\n{facts}\n{rows}", self.group))
    }

    fn member_rows(&self) -> Result<String, Failure> {
        if self.topology.is_none() {
            return output::rows(Output::Table, &self.members);
        }
        let tasks = self.members.iter().filter_map(|member| Some(TasksOfMember(member, member.streams.as_ref()?)));
        output::rows(Output::Table, &tasks.collect::<Vec<_>>())
    }
}

/// Where a group is, as groups of its type say it.
#[derive(Debug)]
enum Position {
    Committed(CommittedOffsets),
    Shared(Vec<ShareOffsets>),
}

pub(super) async fn describe(args: cli::DescribeGroups) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "groups").await?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    let mut groups = session.admin.describe_groups(&args.groups).await?;
    let mut positions = positions(&session, &groups).await?;
    for name in &args.groups {
        match (groups.remove(name), positions.remove(name)) {
            (Some(Ok(group)), Some(Ok(position))) => found.push((group, position)),
            (Some(Err(error)), _) | (_, Some(Err(error))) => failures.push(session.about_group(name, &error).await),
            // A name that was typed twice.
            _ => {}
        }
    }
    let partitions: Vec<TopicPartition> = found.iter().flat_map(|(group, position)| all_of(group, position)).collect();
    let ends = session.admin.list_offsets(OffsetSpec::Latest, &partitions, IsolationLevel::ReadUncommitted).await?;
    let described: Vec<Described> =
        found.into_iter().map(|(group, position)| described(group, &position, &ends)).collect();
    match args.printing.output {
        Output::Json => output::print(&output::json(&described)?)?,
        Output::Table => {
            let texts: Vec<String> = described.iter().map(|it| it.text(args.members)).collect::<Result<_, _>>()?;
            output::print(&texts.join("\n"))?;
        }
    }
    all(failures)
}

async fn positions(
    session: &Session,
    groups: &HashMap<String, Result<GroupDescription, Error>>,
) -> Result<HashMap<String, Result<Position, Error>>, Error> {
    let there = groups.iter().filter_map(|(name, group)| Some((name, group.as_ref().ok()?.group_type)));
    let (share, others): (Vec<_>, Vec<_>) = there.partition(|(_, group_type)| *group_type == GroupType::Share);
    let names = |of: Vec<(&String, GroupType)>| of.into_iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let (share, others) = (names(share), names(others));
    let (shared, committed) =
        tokio::join!(session.admin.share_offsets(&share), session.admin.committed_offsets(&others));
    let committed = committed?.into_iter().map(|(name, said)| (name, said.map(Position::Committed)));
    Ok(shared.into_iter().map(|(name, said)| (name, said.map(Position::Shared))).chain(committed).collect())
}

/// What a group has read of, and what its members read.
fn all_of(group: &GroupDescription, position: &Position) -> Vec<TopicPartition> {
    let mut all: Vec<TopicPartition> = match position {
        Position::Committed(committed) => committed.keys().cloned().collect(),
        Position::Shared(shared) => shared_offsets(shared).map(|(of, _)| of).collect(),
    };
    all.extend(group.members.iter().flat_map(|member| member.assignment.iter().cloned()));
    all.sort_unstable();
    all.dedup();
    all
}

fn shared_offsets(all: &[ShareOffsets]) -> impl Iterator<Item = (TopicPartition, ShareOffset)> + '_ {
    let of_topic = |it: &ShareOffsets| {
        let topic = it.topic.clone();
        let at =
            move |offset: &ShareOffset| (TopicPartition { topic: topic.clone(), partition: offset.partition }, *offset);
        it.offsets.iter().map(at).collect::<Vec<_>>()
    };
    all.iter().flat_map(of_topic)
}

type Ends = HashMap<TopicPartition, Result<ListedOffset, Error>>;

fn end(ends: &Ends, of: &TopicPartition) -> Option<Offset> {
    ends.get(of)?.as_ref().ok()?.offset
}

fn partitions(group: &GroupDescription, position: &Position, ends: &Ends) -> Partitions {
    let all = all_of(group, position).into_iter();
    let read = || group.members.iter().flat_map(|member| member.assignment.iter().map(move |of| (of, member)));
    match position {
        Position::Committed(committed) => {
            let readers: BTreeMap<_, _> = read().collect();
            Partitions::Committed(
                all.map(|of| {
                    let committed = committed.get(&of).and_then(|it| it.offset);
                    committed_partition(&of, committed, end(ends, &of), readers.get(&of).copied())
                })
                .collect(),
            )
        }
        Position::Shared(shared) => {
            let mut readers: BTreeMap<_, BTreeSet<&String>> = BTreeMap::new();
            read().for_each(|(of, member)| _ = readers.entry(of).or_default().insert(&member.member_id));
            let shared: HashMap<_, _> = shared_offsets(shared).collect();
            let partition = |of: TopicPartition| SharedPartition {
                start: shared.get(&of).map(|it| it.start),
                end: end(ends, &of),
                lag: shared.get(&of).and_then(|it| i64::try_from(it.lag?).ok()),
                members: readers.get(&of).into_iter().flatten().map(ToString::to_string).collect(),
                topic: of.topic.to_string(),
                partition: of.partition,
            };
            Partitions::Shared(all.map(partition).collect())
        }
    }
}

fn committed_partition(
    of: &TopicPartition,
    committed: Option<Offset>,
    end: Option<Offset>,
    reader: Option<&GroupMember>,
) -> CommittedPartition {
    CommittedPartition {
        topic: of.topic.to_string(),
        partition: of.partition,
        committed,
        end,
        // An offset beyond the end is that of a topic that was made anew, or cut: it says nothing of this one.
        lag: end.zip(committed).map(|(end, committed)| end - committed).filter(|lag| *lag >= 0),
        member: reader.map(|it| it.member_id.clone()),
        client: reader.map(|it| it.client_id.clone()),
        host: reader.map(|it| it.client_host.clone()),
    }
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn member(it: &GroupMember) -> DescribedMember {
    let target = |it: &StreamsTasks| TargetTasks {
        active: texts(&it.active),
        standby: texts(&it.standby),
        warm_up: texts(&it.warm_up),
    };
    let streams = it.streams.as_ref().map(|it| DescribedTasks {
        process: it.process_id.clone(),
        topology_epoch: it.topology_epoch,
        endpoint: it.endpoint.clone(),
        active: texts(&it.tasks.active),
        standby: texts(&it.tasks.standby),
        warm_up: texts(&it.tasks.warm_up),
        target: target(&it.target),
    });
    DescribedMember {
        member: it.member_id.clone(),
        instance: it.instance_id.clone(),
        rack: it.rack.clone(),
        client: it.client_id.clone(),
        host: it.client_host.clone(),
        epoch: it.standing.as_ref().map(|standing| standing.epoch),
        subscribed: texts(&it.subscribed),
        subscribed_pattern: it.subscribed_pattern.clone(),
        partitions: texts(&it.assignment),
        target: it.standing.as_ref().and_then(|standing| standing.target.as_deref()).map(texts),
        streams,
    }
}

fn topology(it: &GroupTopology) -> DescribedTopology {
    let subtopology = |it: &Subtopology| DescribedSubtopology {
        subtopology: it.id.clone(),
        sources: texts(&it.sources),
        repartition_sources: texts(&it.repartition_sources),
        repartition_sinks: texts(&it.repartition_sinks),
        changelogs: texts(&it.changelogs),
    };
    DescribedTopology { epoch: it.epoch, subtopologies: it.subtopologies.iter().map(subtopology).collect() }
}

fn described(group: GroupDescription, position: &Position, ends: &Ends) -> Described {
    let partitions = partitions(&group, position, ends);
    let lags = partitions.lags();
    Described {
        members: group.members.iter().map(member).collect(),
        lag: lags.iter().copied().flatten().reduce(i64::saturating_add),
        lag_unknown: lags.iter().filter(|lag| lag.is_none()).count(),
        partitions,
        group: group.group_id,
        state: group.state,
        r#type: group.group_type.name(),
        protocol: group.protocol_type,
        assignor: group.assignor,
        epoch: group.epochs.map(|epochs| epochs.group),
        assignment_epoch: group.epochs.map(|epochs| epochs.assignment),
        coordinator: group.coordinator,
        topology: group.topology.as_ref().map(topology),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Committed, GroupEpochs, MemberStanding, StreamsMember, StreamsTask};

    fn member(assignment: Vec<TopicPartition>) -> GroupMember {
        GroupMember {
            member_id: "m-1".to_owned(),
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            assignment,
            ..GroupMember::default()
        }
    }

    fn group(group_type: GroupType, state: &str, members: Vec<GroupMember>) -> GroupDescription {
        GroupDescription {
            group_id: "g".to_owned(),
            group_type,
            state: state.to_owned(),
            epochs: None,
            protocol_type: None,
            assignor: None,
            coordinator: 1,
            members,
            topology: None,
        }
    }

    fn of(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn end(offset: Offset) -> Result<ListedOffset, Error> {
        Ok(ListedOffset { offset: Some(offset), timestamp_ms: None, leader_epoch: None })
    }

    fn last(text: &str) -> Vec<&str> {
        text.lines().last().unwrap_or_default().split_whitespace().collect()
    }

    #[test]
    fn lag_is_told_where_it_is_known() {
        let committed = |offset| Committed { offset, leader_epoch: None, metadata: None, error: None };
        let group = group(GroupType::Classic, "Stable", vec![member(vec![of(0), of(1)])]);
        let said = HashMap::from([(of(0), committed(Some(7))), (of(2), committed(Some(3)))]);
        let ends = HashMap::from([(of(0), end(10)), (of(1), end(5)), (of(2), end(1))]);
        let group = described(group, &Position::Committed(said), &ends);
        let Partitions::Committed(partitions) = &group.partitions else { panic!("{group:?}") };
        let lags: Vec<_> = partitions.iter().map(|it| (it.partition, it.lag, it.member.is_some())).collect();
        assert_eq!(lags, [(0, Some(3), true), (1, None, true), (2, None, false)]);
        let text = group.text(false).unwrap();
        assert!(text.contains("  lag          3 (of 2 of 3 partitions it is not known)\n"), "{text}");
        assert!(text.contains("t              1          -    5    -  m-1"), "{text}");
        assert!(group.text(true).unwrap().contains("t-0,t-1"));
    }

    #[test]
    fn a_group_that_is_assigned_anew_shows_where_it_goes() {
        let standing = MemberStanding { epoch: 4, target: Some(vec![of(1)]), is_classic: Some(false) };
        let member = GroupMember { standing: Some(standing), ..member(vec![of(0)]) };
        let epochs = Some(GroupEpochs { group: 5, assignment: 4 });
        let group = GroupDescription { epochs, ..group(GroupType::Consumer, "Reconciling", vec![member]) };
        let text = described(group, &Position::Committed(HashMap::new()), &HashMap::new()).text(true).unwrap();
        assert!(text.contains(" 5 (assigned for 4)\n"), "{text}");
        assert_eq!(last(&text), ["m-1", "-", "-", "c", "/127.0.0.1", "4", "1", "t-0", "t-1"]);
    }

    #[test]
    fn several_members_share_a_partition() {
        let other = GroupMember { member_id: "m-2".to_owned(), ..member(vec![of(1)]) };
        let group = group(GroupType::Share, "Stable", vec![member(vec![of(0), of(1)]), other]);
        let offset = |partition, lag| ShareOffset { partition, start: 2, lag };
        let shared =
            ShareOffsets { topic: "t".into(), offsets: vec![offset(1, Some(4)), offset(2, None)], errors: vec![] };
        let ends = HashMap::from([(of(0), end(9)), (of(1), end(9))]);
        let group = described(group, &Position::Shared(vec![shared]), &ends);
        assert_eq!((group.lag, group.lag_unknown), (Some(4), 2));
        let text = group.text(false).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().rev().take(3).map(|it| it.split_whitespace().collect()).collect();
        let want =
            [["t", "2", "2", "-", "-", "-"], ["t", "1", "2", "9", "4", "m-1,m-2"], ["t", "0", "-", "9", "-", "m-1"]];
        assert_eq!(lines, want, "{text}");
    }

    #[test]
    fn a_streams_group_shows_its_parts_and_tasks() {
        let task = |partition| StreamsTask { subtopology: "0".to_owned(), partition };
        let tasks = StreamsTasks { active: vec![task(0)], standby: vec![task(1)], warm_up: vec![] };
        let target = StreamsTasks { active: vec![task(0), task(2)], ..StreamsTasks::default() };
        let streams = StreamsMember { process_id: "p".to_owned(), topology_epoch: 3, endpoint: None, tasks, target };
        let member = GroupMember { streams: Some(streams), rack: Some("r".to_owned()), ..member(vec![of(0)]) };
        let part = Subtopology {
            id: "0".to_owned(),
            sources: vec!["t".into(), "u".into()],
            repartition_sources: vec![],
            repartition_sinks: vec![],
            changelogs: vec!["kept".into()],
        };
        let topology = Some(GroupTopology { epoch: 3, subtopologies: vec![part] });
        let group = GroupDescription { topology, ..group(GroupType::Streams, "Stable", vec![member]) };
        let group = described(group, &Position::Committed(HashMap::new()), &HashMap::new());
        let text = group.text(true).unwrap();
        assert!(text.contains("  topology     epoch 3\n  part 0       reads t,u; keeps kept\n"), "{text}");
        assert_eq!(last(&text), ["m-1", "-", "p", "r", "c", "/127.0.0.1", "-", "3", "0_0", "0_1", "-", "0_0,0_2"]);
        let json = serde_json::to_value(&group).unwrap();
        assert_eq!(json["members"][0]["streams"]["target"]["active"][1], "0_2", "{json}");
    }
}
