//! `highwater groups`: what groups there are, how far they are, and changes to what they have committed.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::output::{self, Row, or_none};
use super::reset;
use super::session::{Account, Session, all};
use crate::app::{Failure, Status};
use crate::cli::values::Partitions;
use crate::cli::{self, Output};
use crate::client::{
    BrokerId, CommittedOffsets, Error, GroupDescription, GroupFilter, IsolationLevel, ListedOffset, Offset, OffsetSpec,
    Topic, TopicPartition,
};

pub async fn groups(verb: cli::Groups) -> Result<(), Failure> {
    match verb {
        cli::Groups::List(args) => list(args).await,
        cli::Groups::Describe(args) => describe(args).await,
        cli::Groups::Delete(args) => delete(args).await,
        cli::Groups::DeleteOffsets(args) => delete_offsets(args).await,
        cli::Groups::Reset(args) => reset::reset(*args).await,
    }
}

#[derive(Debug, Serialize)]
struct Listed {
    group: String,
    state: Option<String>,
    r#type: Option<String>,
    protocol: Option<String>,
    coordinator: BrokerId,
}

impl Row for Listed {
    const HEAD: &'static [&'static str] = &["GROUP", "STATE", "TYPE", "PROTOCOL", "COORDINATOR"];

    fn cells(&self) -> Vec<String> {
        let [state, kind, protocol] = [&self.state, &self.r#type, &self.protocol].map(|it| or_none(it.as_ref()));
        vec![self.group.clone(), state, kind, protocol, self.coordinator.to_string()]
    }
}

async fn list(args: cli::ListGroups) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "groups").await?;
    let filter = GroupFilter { states: args.states, types: args.types };
    let listed = session.admin.list_groups_of(&filter).await?;
    let row = |it: crate::client::GroupListing| Listed {
        group: it.group_id,
        state: it.state,
        r#type: it.group_type,
        protocol: it.protocol_type,
        coordinator: it.coordinator,
    };
    let mut rows: Vec<Listed> = listed.groups.into_iter().map(row).collect();
    rows.sort_by(|one, other| one.group.cmp(&other.group));
    output::print(&output::rows(args.printing.output, &rows)?)?;
    let missing = |error: &Error| Failure::new(Status::of(error), format!("some groups are missing: {error}"));
    all(listed.failures.iter().map(missing).collect())
}

/// A group, its members, and where it is in each partition.
#[derive(Debug, Serialize)]
struct Described {
    group: String,
    state: String,
    r#type: &'static str,
    protocol: Option<String>,
    assignor: Option<String>,
    /// Of the consumer protocol alone, as are those of the members.
    epoch: Option<i32>,
    assignment_epoch: Option<i32>,
    coordinator: BrokerId,
    /// Over all partitions of which it is known; `None` when it is known of none.
    lag: Option<i64>,
    /// Partitions of which it is not.
    lag_unknown: usize,
    members: Vec<DescribedMember>,
    partitions: Vec<DescribedPartition>,
}

#[derive(Debug, Serialize)]
struct DescribedMember {
    member: String,
    instance: Option<String>,
    client: String,
    host: String,
    epoch: Option<i32>,
    partitions: Vec<String>,
    target: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct DescribedPartition {
    topic: String,
    partition: i32,
    committed: Option<Offset>,
    end: Option<Offset>,
    lag: Option<i64>,
    member: Option<String>,
    client: Option<String>,
    host: Option<String>,
}

impl Row for DescribedMember {
    const HEAD: &'static [&'static str] =
        &["MEMBER", "INSTANCE", "CLIENT", "HOST", "EPOCH", "COUNT", "PARTITIONS", "TARGET"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.member.clone(),
            or_none(self.instance.as_ref()),
            self.client.clone(),
            self.host.clone(),
            or_none(self.epoch),
            self.partitions.len().to_string(),
            output::list(&self.partitions),
            self.target.as_ref().map_or_else(|| or_none(None::<&str>), |target| output::list(target)),
        ]
    }
}

impl Row for DescribedPartition {
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

impl Described {
    fn text(&self, members: bool) -> Result<String, Failure> {
        let lag = match (self.lag, self.lag_unknown, self.partitions.len()) {
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
        let facts: String = facts.iter().map(|(name, value)| format!("  {name:<13}{value}\n")).collect();
        let rows = match members {
            true => output::rows(Output::Table, &self.members)?,
            false => output::rows(Output::Table, &self.partitions)?,
        };
        Ok(format!("{}\n{facts}\n{rows}", self.group))
    }
}

async fn describe(args: cli::DescribeGroups) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "groups").await?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    let mut groups = session.admin.describe_groups(&args.groups).await?;
    let mut committed = session.admin.committed_offsets(&args.groups).await?;
    for name in &args.groups {
        match (groups.remove(name), committed.remove(name)) {
            (Some(Ok(group)), Some(Ok(committed))) => found.push((group, committed)),
            (Some(Err(error)), _) | (_, Some(Err(error))) => failures.push(session.about_group(name, &error).await),
            // A name that was typed twice.
            _ => {}
        }
    }
    let partitions: Vec<TopicPartition> =
        found.iter().flat_map(|(group, committed)| all_of(group, committed)).collect();
    let ends = session.admin.list_offsets(OffsetSpec::Latest, &partitions, IsolationLevel::ReadUncommitted).await?;
    let described: Vec<Described> =
        found.into_iter().map(|(group, committed)| described(group, &committed, &ends)).collect();
    match args.printing.output {
        Output::Json => output::print(&output::json(&described)?)?,
        Output::Table => {
            let texts: Vec<String> = described.iter().map(|it| it.text(args.members)).collect::<Result<_, _>>()?;
            output::print(&texts.join("\n"))?;
        }
    }
    all(failures)
}

/// What a group has committed for, and what its members read.
fn all_of(group: &GroupDescription, committed: &CommittedOffsets) -> Vec<TopicPartition> {
    let read = group.members.iter().flat_map(|member| &member.assignment);
    let mut all: Vec<TopicPartition> = committed.keys().chain(read).cloned().collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn described(
    group: GroupDescription,
    committed: &CommittedOffsets,
    ends: &HashMap<TopicPartition, Result<ListedOffset, Error>>,
) -> Described {
    let readers: BTreeMap<&TopicPartition, _> =
        group.members.iter().flat_map(|member| member.assignment.iter().map(move |of| (of, member))).collect();
    let partition = |of: TopicPartition| {
        let reader = readers.get(&of);
        let committed = committed.get(&of).and_then(|it| it.offset);
        let end = ends.get(&of).and_then(|it| it.as_ref().ok()).and_then(|it| it.offset);
        DescribedPartition {
            // An offset beyond the end is that of a topic that was made anew, or cut: it says nothing of this one.
            lag: end.zip(committed).map(|(end, committed)| end - committed).filter(|lag| *lag >= 0),
            committed,
            end,
            member: reader.map(|it| it.member_id.clone()),
            client: reader.map(|it| it.client_id.clone()),
            host: reader.map(|it| it.client_host.clone()),
            topic: of.topic.to_string(),
            partition: of.partition,
        }
    };
    let partitions: Vec<DescribedPartition> = all_of(&group, committed).into_iter().map(partition).collect();
    let texts = |all: &[TopicPartition]| all.iter().map(ToString::to_string).collect();
    let member = |it: &crate::client::GroupMember| DescribedMember {
        member: it.member_id.clone(),
        instance: it.instance_id.clone(),
        client: it.client_id.clone(),
        host: it.client_host.clone(),
        epoch: it.standing.as_ref().map(|standing| standing.epoch),
        partitions: texts(&it.assignment),
        target: it.standing.as_ref().map(|standing| texts(&standing.target)),
    };
    Described {
        members: group.members.iter().map(member).collect(),
        lag: partitions.iter().filter_map(|it| it.lag).reduce(i64::saturating_add),
        lag_unknown: partitions.iter().filter(|it| it.lag.is_none()).count(),
        partitions,
        group: group.group_id,
        state: group.state,
        r#type: if group.is_consumer_protocol { "consumer" } else { "classic" },
        protocol: group.protocol_type,
        assignor: group.assignor,
        epoch: group.epochs.map(|epochs| epochs.group),
        assignment_epoch: group.epochs.map(|epochs| epochs.assignment),
        coordinator: group.coordinator,
    }
}

async fn delete(args: cli::DeleteGroups) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "groups").await?;
    let mut account = Account::default();
    for (group, outcome) in session.admin.delete_groups(&args.groups).await? {
        match outcome {
            Ok(()) => account.done(group, "deleted"),
            Err(error) => account.failed(&group, session.about_group(&group, &error).await),
        }
    }
    account.settle(args.printing)
}

async fn delete_offsets(args: cli::DeleteOffsets) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "groups").await?;
    let partitions = partitions(&session, &args.topics).await?;
    let mut account = Account::default();
    for (of, outcome) in session.admin.delete_offsets(&args.group, &partitions).await? {
        match outcome {
            Ok(()) => account.done(of, "forgotten"),
            Err(error) => account.failed(of, session.about_group(&args.group, &error).await),
        }
    }
    account.settle(args.printing)
}

/// The partitions that were named, and all of a topic that was named alone.
pub(super) async fn partitions(session: &Session, named: &[Partitions]) -> Result<Vec<TopicPartition>, Failure> {
    let topics: Vec<Topic> = named.iter().map(|it| Topic::from(it.topic.as_str())).collect();
    let mut counts = HashMap::new();
    for (name, topic) in session.admin.describe_topics(&topics).await? {
        match topic {
            Ok(topic) => counts.insert(name, topic.partition_count()),
            Err(error) => return Err(session.about_topic(&name, &error).await),
        };
    }
    let mut all = Vec::new();
    for (it, topic) in named.iter().zip(&topics) {
        let count = counts.get(topic).copied().unwrap_or_default();
        if let Some(number) = it.numbers.iter().flatten().find(|number| **number >= count) {
            let message = format!("topic {topic} has no partition {number}, but {count} from 0 on");
            return Err(Failure::new(Status::Data, message));
        }
        let numbers = it.numbers.clone().unwrap_or_else(|| (0..count).collect());
        all.extend(numbers.into_iter().map(|number| TopicPartition::new(topic.clone(), number)));
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Committed, GroupEpochs, GroupMember, MemberStanding};

    #[test]
    fn lag_is_told_where_it_is_known() {
        let of = |partition| TopicPartition::new("t", partition);
        let committed = |offset| Committed { offset, leader_epoch: None, metadata: None, error: None };
        let end = |offset| Ok(ListedOffset { offset: Some(offset), timestamp_ms: None, leader_epoch: None });
        let member = GroupMember {
            member_id: "m-1".to_owned(),
            instance_id: None,
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            assignment: vec![of(0), of(1)],
            standing: None,
        };
        let group = GroupDescription {
            group_id: "g".to_owned(),
            state: "Stable".to_owned(),
            is_consumer_protocol: false,
            epochs: None,
            protocol_type: Some("consumer".to_owned()),
            assignor: Some("range".to_owned()),
            coordinator: 1,
            members: vec![member],
        };
        let said = HashMap::from([(of(0), committed(Some(7))), (of(2), committed(Some(3)))]);
        let ends = HashMap::from([(of(0), end(10)), (of(1), end(5)), (of(2), end(1))]);
        let group = described(group, &said, &ends);
        let lags: Vec<_> = group.partitions.iter().map(|it| (it.partition, it.lag, it.member.is_some())).collect();
        assert_eq!(lags, [(0, Some(3), true), (1, None, true), (2, None, false)]);
        let text = group.text(false).unwrap();
        assert!(text.contains("  lag          3 (of 2 of 3 partitions it is not known)\n"), "{text}");
        assert!(text.contains("t              1          -    5    -  m-1"), "{text}");
        assert!(group.text(true).unwrap().contains("t-0,t-1"));
    }

    #[test]
    fn a_group_that_is_assigned_anew_shows_where_it_goes() {
        let standing = MemberStanding { epoch: 4, target: vec![TopicPartition::new("t", 1)], is_classic: Some(false) };
        let member = GroupMember {
            member_id: "m-1".to_owned(),
            instance_id: None,
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            assignment: vec![TopicPartition::new("t", 0)],
            standing: Some(standing),
        };
        let group = GroupDescription {
            group_id: "g".to_owned(),
            state: "Reconciling".to_owned(),
            is_consumer_protocol: true,
            epochs: Some(GroupEpochs { group: 5, assignment: 4 }),
            protocol_type: Some("consumer".to_owned()),
            assignor: Some("uniform".to_owned()),
            coordinator: 1,
            members: vec![member],
        };
        let text = described(group, &HashMap::new(), &HashMap::new()).text(true).unwrap();
        assert!(text.contains(" 5 (assigned for 4)\n"), "{text}");
        let member: Vec<&str> = text.lines().last().unwrap_or_default().split_whitespace().collect();
        assert_eq!(member, ["m-1", "-", "c", "/127.0.0.1", "4", "1", "t-0", "t-1"]);
    }
}
