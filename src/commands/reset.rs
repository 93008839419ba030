//! `highwater groups reset`: where a group is to go on, shown before it is done.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::groups::partitions;
use super::output::{self, Row, or_none};
use super::session::{Session, all};
use crate::app::{Failure, Status};
use crate::cli;
use crate::cli::values::Moment;
use crate::client::{
    CommittedOffsets, Error, IsolationLevel, ListedOffset, NewOffset, Offset, OffsetSpec, TopicPartition,
};

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Earliest,
    Latest,
    Offset(Offset),
    /// The first record at or after this time, in milliseconds since 1970.
    Time(i64),
    Shift(i64),
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    committed: Option<Offset>,
    start: Offset,
    end: Offset,
    /// The first record at or after the time that was asked for; `None` if there is none that late.
    at_time: Option<Offset>,
}

/// Why the new offset is not exactly what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Note {
    RaisedToStart,
    LoweredToEnd,
    NothingThatLate,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RaisedToStart => "there is nothing before the start",
            Self::LoweredToEnd => "there is nothing after the end",
            Self::NothingThatLate => "no record is that late",
        })
    }
}

impl To {
    fn of(args: &cli::ResetTo, now_ms: i64) -> Option<Self> {
        let time = args.to_datetime.or(args.by_duration.map(Moment::Ago));
        let number = args.to_offset.map(Self::Offset).or(args.shift_by.map(Self::Shift));
        match args {
            cli::ResetTo { to_earliest: true, .. } => Some(Self::Earliest),
            cli::ResetTo { to_latest: true, .. } => Some(Self::Latest),
            _ => number.or(time.map(|moment| Self::Time(moment.at_ms(now_ms)))),
        }
    }

    /// The offset to commit. A shift from nowhere cannot be.
    fn offset(self, known: Known) -> Option<(Offset, Option<Note>)> {
        Some(match self {
            Self::Earliest => (known.start, None),
            Self::Latest => (known.end, None),
            Self::Offset(offset) => within(offset, known),
            Self::Shift(by) => within(known.committed?.saturating_add(by), known),
            Self::Time(_) => match known.at_time {
                Some(offset) => (offset, None),
                None => (known.end, Some(Note::NothingThatLate)),
            },
        })
    }
}

/// The nearest offset that there is.
fn within(offset: Offset, known: Known) -> (Offset, Option<Note>) {
    match offset {
        _ if offset < known.start => (known.start, Some(Note::RaisedToStart)),
        _ if offset > known.end => (known.end, Some(Note::LoweredToEnd)),
        _ => (offset, None),
    }
}

/// What changes in a partition.
#[derive(Debug, Serialize)]
struct Change {
    topic: String,
    partition: i32,
    from: Option<Offset>,
    to: Offset,
    note: Option<Note>,
    #[serde(skip)]
    of: TopicPartition,
}

impl Row for Change {
    const HEAD: &'static [&'static str] = &["TOPIC", "PARTITION", "FROM", "TO", "CHANGE", "NOTE"];

    fn cells(&self) -> Vec<String> {
        let change = self.from.map(|from| format!("{:+}", self.to - from));
        vec![
            self.topic.clone(),
            self.partition.to_string(),
            or_none(self.from),
            self.to.to_string(),
            or_none(change),
            self.note.map(|note| note.to_string()).unwrap_or_default(),
        ]
    }
}

/// Shows what would change, or does it and shows what has.
pub(super) async fn reset(args: cli::ResetGroup) -> Result<(), Failure> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let to = To::of(&args.to, now_ms).ok_or_else(|| Failure::new(Status::Usage, "say where to, e.g. --to-earliest"))?;
    let session = Session::open(&args.asking, "groups").await?;
    let inactive = is_inactive(&session, &args.group).await?;
    let (changes, failures) = plan(&session, &args, to).await?;
    if !args.execute {
        output::print(&output::rows(args.printing.output, &changes)?)?;
        eprintln!("highwater: nothing was changed; --execute does it");
        if let Err(state) = inactive {
            eprintln!("highwater: {}", active(&args.group, &state));
        }
        return all(failures);
    }
    // All or nothing: half a reset is worse than none.
    all(failures)?;
    inactive.map_err(|state| Failure::new(Status::Data, active(&args.group, &state)))?;
    execute(&session, &args, changes).await
}

fn active(group: &str, state: &str) -> String {
    format!("group {group} is {state}; its offsets can be set only when it has no members: stop them first")
}

/// Whether the group has no members; else its state. A group that is not there is about to be made.
async fn is_inactive(session: &Session, group: &str) -> Result<Result<(), String>, Failure> {
    let mut described = session.admin.describe_groups(&[group.to_owned()]).await?;
    match described.remove(group) {
        Some(Ok(it)) if !it.members.is_empty() => Ok(Err(it.state)),
        Some(Err(error)) if error.code() != Some(crate::client::ErrorCode::GROUP_ID_NOT_FOUND) => {
            Err(session.about_group(group, &error).await)
        }
        _ => Ok(Ok(())),
    }
}

async fn plan(session: &Session, args: &cli::ResetGroup, to: To) -> Result<(Vec<Change>, Vec<Failure>), Failure> {
    let group = &args.group;
    let mut committed = session.admin.committed_offsets(std::slice::from_ref(group)).await?;
    let committed = match committed.remove(group) {
        Some(Ok(committed)) => committed,
        Some(Err(error)) => return Err(session.about_group(group, &error).await),
        None => CommittedOffsets::default(),
    };
    let partitions = match args.topics.is_empty() {
        false => partitions(session, &args.topics).await?,
        true => sorted(&committed),
    };
    if partitions.is_empty() {
        let message = format!("group {group} has committed nothing; say which topics with --topic");
        return Err(Failure::new(Status::Data, message));
    }
    let found = find(session, &partitions, to).await?;
    let (mut changes, mut failures) = (Vec::new(), Vec::new());
    for (of, found) in partitions.into_iter().zip(found) {
        let known = found.map(|known| Known { committed: committed.get(&of).and_then(|it| it.offset), ..known });
        match known.map(|known| (known.committed, to.offset(known))) {
            Ok((from, Some((to, note)))) => {
                changes.push(Change { topic: of.topic.to_string(), partition: of.partition, from, to, note, of });
            }
            Ok((_, None)) => {
                let message = format!("{of}: the group has committed nothing there that could be shifted");
                failures.push(Failure::new(Status::Data, message));
            }
            Err(error) => failures.push(error.into()),
        }
    }
    Ok((changes, failures))
}

fn sorted(committed: &CommittedOffsets) -> Vec<TopicPartition> {
    let known = committed.iter().filter(|(_, it)| it.offset.is_some());
    let mut partitions: Vec<TopicPartition> = known.map(|(of, _)| of.clone()).collect();
    partitions.sort_unstable();
    partitions
}

/// Where each partition begins and ends, and where a time is in it.
async fn find(session: &Session, partitions: &[TopicPartition], to: To) -> Result<Vec<Result<Known, Error>>, Failure> {
    let level = IsolationLevel::ReadUncommitted;
    let list = |spec| session.admin.list_offsets(spec, partitions, level);
    let at = |time| async move { list(OffsetSpec::At(time)).await };
    let at_time = async {
        match to {
            To::Time(time) => at(time).await,
            _ => Ok(HashMap::new()),
        }
    };
    let (starts, ends, at_time) = tokio::join!(list(OffsetSpec::Earliest), list(OffsetSpec::Latest), at_time);
    let (starts, ends, at_time) = (starts?, ends?, at_time?);
    let offset = |all: &HashMap<TopicPartition, Result<ListedOffset, Error>>, of: &TopicPartition| match all.get(of) {
        Some(listed) => listed.clone().map(|listed| listed.offset),
        None => Ok(None),
    };
    let known = |of: &TopicPartition| {
        let start = offset(&starts, of)?.unwrap_or_default();
        let end = offset(&ends, of)?.unwrap_or(start);
        Ok(Known { committed: None, start, end, at_time: offset(&at_time, of)? })
    };
    Ok(partitions.iter().map(known).collect())
}

async fn execute(session: &Session, args: &cli::ResetGroup, changes: Vec<Change>) -> Result<(), Failure> {
    let new: Vec<(TopicPartition, NewOffset)> =
        changes.iter().map(|change| (change.of.clone(), NewOffset::from(change.to))).collect();
    let outcomes = session.admin.alter_offsets(&args.group, &new).await?;
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (change, (_, outcome)) in changes.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => done.push(change),
            Err(error) => failures.push(error.into()),
        }
    }
    output::print(&output::rows(args.printing.output, &done)?)?;
    all(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_group_goes_on() {
        let known = Known { committed: Some(50), start: 10, end: 100, at_time: Some(70) };
        let check = |to: To, known: Known, want: Option<(Offset, Option<Note>)>| {
            assert_eq!(to.offset(known), want, "{to:?}");
        };
        check(To::Earliest, known, Some((10, None)));
        check(To::Latest, known, Some((100, None)));
        check(To::Offset(60), known, Some((60, None)));
        check(To::Offset(100), known, Some((100, None)));
        check(To::Offset(5), known, Some((10, Some(Note::RaisedToStart))));
        check(To::Offset(101), known, Some((100, Some(Note::LoweredToEnd))));
        check(To::Shift(-20), known, Some((30, None)));
        check(To::Shift(-50), known, Some((10, Some(Note::RaisedToStart))));
        check(To::Shift(i64::MAX), known, Some((100, Some(Note::LoweredToEnd))));
        check(To::Shift(1), Known { committed: None, ..known }, None);
        check(To::Time(0), known, Some((70, None)));
        check(To::Time(0), Known { at_time: None, ..known }, Some((100, Some(Note::NothingThatLate))));
    }

    #[test]
    fn what_was_asked_for() {
        let none = cli::ResetTo {
            to_earliest: false,
            to_latest: false,
            to_offset: None,
            to_datetime: None,
            by_duration: None,
            shift_by: None,
        };
        let check = |args: cli::ResetTo, want: Option<To>| assert_eq!(To::of(&args, 10_000), want);
        check(none.clone(), None);
        check(cli::ResetTo { to_earliest: true, ..none.clone() }, Some(To::Earliest));
        check(cli::ResetTo { to_offset: Some(3), ..none.clone() }, Some(To::Offset(3)));
        check(cli::ResetTo { shift_by: Some(-3), ..none.clone() }, Some(To::Shift(-3)));
        check(cli::ResetTo { to_datetime: Some(Moment::At(7)), ..none.clone() }, Some(To::Time(7)));
        let ago = std::time::Duration::from_secs(4);
        check(cli::ResetTo { by_duration: Some(ago), ..none }, Some(To::Time(6_000)));
    }
}
