//! `highwater groups`: what groups there are, how far they are, and changes to what they have committed.

use std::collections::HashMap;

use serde::Serialize;

use super::output::{self, Row, or_none};
use super::session::{Account, Session, all};
use super::{describe, reset};
use crate::app::{Failure, Status};
use crate::cli;
use crate::cli::values::Partitions;
use crate::client::{BrokerId, Error, GroupFilter, Topic, TopicPartition};

pub async fn groups(verb: cli::Groups) -> Result<(), Failure> {
    match verb {
        cli::Groups::List(args) => list(args).await,
        cli::Groups::Describe(args) => describe::describe(args).await,
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
