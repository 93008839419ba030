//! `highwater consume`: records to standard output, from where they are asked for.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::format::Format;
use super::groups;
use super::output;
use super::properties;
use super::record_json::Line;
use super::session::Session;
use super::wanted::Wanted;
use crate::app::{Failure, Status, stop_on_signal};
use crate::cli::values::{Bound, Place};
use crate::cli::{self, RecordOutput};
use crate::client::{
    Consumer, ConsumerConfig, Delivery, Error, IsolationLevel, ListedOffset, Offset, OffsetReset, OffsetSpec, Record,
    Topic, TopicPartition,
};

/// How long the end may take: what was printed is committed, and the group is left.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked whether the end is reached without a record that shows it.
const LOOK: Duration = Duration::from_millis(100);
/// What is printed is handed to the system in pieces of this size, and whenever there is nothing more to print.
const OUTPUT_BYTES: usize = 1 << 16;

pub async fn consume(args: cli::Consume) -> Result<(), Failure> {
    let printer = Printer::of(&args).map_err(Failure::of(Status::Usage))?;
    let topics = [args.topics.as_slice(), &args.named].concat();
    let wanted = Wanted::parse(&topics, args.regex).map_err(Failure::of(Status::Usage))?;
    let (from, until) = bounds(&args, &wanted).map_err(Failure::of(Status::Usage))?;
    properties::no_group(&args.asking, args.group.as_deref())?;
    let stop = stop_on_signal()?;
    let session = Session::open(&args.asking, "consume").await?;
    let all = partitions(&session, &wanted, args.group.is_some() && until.is_none()).await?;
    // A group finds out by itself where it goes on.
    let ranges = match (&args.group, until) {
        (Some(_), None) => BTreeMap::new(),
        _ => ranges(&session, &all, from.unwrap_or(Place::Start), until).await?,
    };
    let consumer = match &args.group {
        None => read_outside(&session, from, &ranges)?,
        Some(group) => join(&session, group, &args.membership, wanted, from)?,
    };
    let limits = Limits { ranges, to_the_end: until.is_some(), left: args.count };
    let mut consuming = Consuming { consumer, printer, limits };
    let outcome = consuming.run(&stop).await;
    let closed = consuming.consumer.close(GRACE).await;
    session.client.close().await;
    outcome?;
    closed.map_err(Failure::from)
}

/// Where to begin, and where to stop if anywhere.
fn bounds(args: &cli::Consume, wanted: &Wanted) -> Result<(Option<Place>, Option<Place>), String> {
    let (mut from, mut until) = (None, None);
    for bound in &args.offsets {
        match bound {
            Bound::From(place) if from.is_none() => from = Some(*place),
            Bound::To(place) if until.is_none() => until = Some(*place),
            _ => return Err("more than one place to begin, or to stop".to_owned()),
        }
    }
    if args.group.is_some() {
        if wanted.named.iter().any(|it| it.numbers.is_some()) {
            return Err("a group deals out partitions itself; name topics only".to_owned());
        }
        if !matches!(from, None | Some(Place::Start | Place::End)) || until.is_some() {
            return Err("a group goes on from what it has committed; `-o start` and `-o end` say where it begins \
                        without; `groups reset` moves it"
                .to_owned());
        }
    }
    Ok((from, until.or(args.exit.then_some(Place::End))))
}

/// What there is of a partition, and what of it is to be read: up to `to`, exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub from: Offset,
    pub to: Offset,
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy)]
struct Known {
    start: Offset,
    end: Offset,
}

impl Known {
    /// The offset of a place; `at_time` is where its moment is, if there is a record that late.
    fn offset(self, place: Place, at_time: Option<Offset>) -> Offset {
        let Self { start, end } = self;
        let offset = match place {
            Place::Start => start,
            Place::End => end,
            Place::At(offset) => offset,
            Place::BeforeEnd(count) => end.saturating_sub(count),
            Place::AfterStart(count) => start.saturating_add(count),
            Place::Since(_) => at_time.unwrap_or(end),
        };
        offset.clamp(start, end.max(start))
    }
}

/// The partitions that there are of what is wanted. `may_wait`: nothing that matches is no mistake, it may come yet.
async fn partitions(session: &Session, wanted: &Wanted, may_wait: bool) -> Result<Vec<TopicPartition>, Failure> {
    let mut all = groups::partitions(session, &wanted.named).await?;
    if !wanted.patterns.is_empty() {
        let internal_too = !session.settings.consumer.exclude_internal_topics;
        let topics = session.admin.list_topics().await?;
        let matched =
            topics.iter().filter(|(name, topic)| wanted.matches(name) && (internal_too || !topic.is_internal));
        all.extend(matched.flat_map(|(name, topic)| {
            topic.partitions.iter().map(|it| TopicPartition { topic: name.clone(), partition: it.partition })
        }));
        all.sort_unstable();
        all.dedup();
    }
    match all.is_empty() {
        true if !may_wait => Err(Failure::new(Status::Data, "no topic matches")),
        _ => Ok(all),
    }
}

type Listed = HashMap<TopicPartition, Result<ListedOffset, Error>>;

/// Where places are in each of the partitions; without `until`, up to the end.
pub(super) async fn ranges(
    session: &Session,
    all: &[TopicPartition],
    from: Place,
    until: Option<Place>,
) -> Result<BTreeMap<TopicPartition, Range>, Failure> {
    let level = session.settings.consumer.isolation_level;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let since = |place: Option<Place>| async move {
        match place {
            Some(Place::Since(moment)) => list(session, OffsetSpec::At(moment.at_ms(now_ms)), all, level).await,
            _ => Ok(HashMap::new()),
        }
    };
    let (starts, ends, begins, stops) = tokio::join!(
        list(session, OffsetSpec::Earliest, all, level),
        list(session, OffsetSpec::Latest, all, level),
        since(Some(from)),
        since(until),
    );
    let (starts, ends, begins, stops) = (starts?, ends?, begins?, stops?);
    let range = |of: &TopicPartition| {
        let start = offset(&starts, of)?.unwrap_or_default();
        let known = Known { start, end: offset(&ends, of)?.unwrap_or(start) };
        let from = known.offset(from, offset(&begins, of)?);
        let to = known.offset(until.unwrap_or(Place::End), offset(&stops, of)?);
        Ok((of.clone(), Range { from, to }))
    };
    all.iter().map(range).collect()
}

async fn list(
    session: &Session,
    spec: OffsetSpec,
    all: &[TopicPartition],
    level: IsolationLevel,
) -> Result<Listed, Failure> {
    Ok(session.admin.list_offsets(spec, all, level).await?)
}

fn offset(listed: &Listed, of: &TopicPartition) -> Result<Option<Offset>, Failure> {
    match listed.get(of) {
        Some(Ok(listed)) => Ok(listed.offset),
        Some(Err(error)) => Err(error.clone().into()),
        None => Ok(None),
    }
}

/// An offset that a partition does not have, and where it is read from instead.
fn say_missed(from: Option<Place>, ranges: &BTreeMap<TopicPartition, Range>) {
    let Some(Place::At(wanted)) = from else { return };
    let missed: Vec<_> = ranges.iter().filter(|(_, range)| range.from != wanted).collect();
    match missed[..] {
        [] => {}
        [(of, Range { from, .. })] => eprintln!("highwater: {of} has no record {wanted} to read; reading from {from}"),
        [(of, Range { from, .. }), ..] => eprintln!(
            "highwater: {} partitions have no record {wanted} to read; each is read from the nearest one it has, {of} from {from}",
            missed.len()
        ),
    }
}

fn read_outside(
    session: &Session,
    from: Option<Place>,
    ranges: &BTreeMap<TopicPartition, Range>,
) -> Result<Consumer, Failure> {
    say_missed(from, ranges);
    // An offset that goes away before it is read: what is left begins later.
    let config = ConsumerConfig { auto_offset_reset: OffsetReset::Earliest, ..session.settings.consumer.clone() };
    let partitions = ranges.iter().map(|(of, range)| (of.clone(), Some(range.from))).collect();
    Ok(session.client.reader(config, partitions)?)
}

fn join(
    session: &Session,
    group: &str,
    membership: &cli::Membership,
    wanted: Wanted,
    from: Option<Place>,
) -> Result<Consumer, Failure> {
    let topics = wanted.named.iter().map(|it| Topic::from(it.topic.as_str())).collect();
    let reset = match from {
        None => session.settings.consumer.auto_offset_reset,
        Some(Place::End) => OffsetReset::Latest,
        Some(_) => OffsetReset::Earliest,
    };
    let config = ConsumerConfig {
        group_id: group.to_owned(),
        topics,
        patterns: wanted.patterns,
        auto_offset_reset: reset,
        ..session.settings.consumer_as(membership)
    };
    Ok(session.client.consumer(config)?)
}

/// When enough was read.
#[derive(Debug)]
struct Limits {
    ranges: BTreeMap<TopicPartition, Range>,
    to_the_end: bool,
    /// Records that may still be printed.
    left: Option<u64>,
}

impl Limits {
    /// Whether a record is to be printed; counts it.
    fn takes(&mut self, of: &TopicPartition, offset: Offset) -> bool {
        // Of a topic that was made meanwhile, all is beyond.
        let beyond = self.to_the_end && self.ranges.get(of).is_none_or(|range| offset >= range.to);
        if beyond || self.left == Some(0) {
            return false;
        }
        self.left = self.left.map(|left| left - 1);
        true
    }

    /// Whether this may be the last delivery, or hold more than is to be printed.
    fn may_end_with(&self, delivery: &Delivery) -> bool {
        let to = self.ranges.get(&delivery.topic_partition).map(|range| range.to);
        let ends = self.to_the_end && to.is_none_or(|to| delivery.next_offset() >= to);
        ends || self.left.is_some_and(|left| left <= delivery.len() as u64)
    }

    /// Whether all is read; of the partitions that are held, in a group.
    fn reached(&self, consumer: &Consumer) -> bool {
        if self.left == Some(0) {
            return true;
        }
        let held = consumer.assignment();
        let ended = |it: &crate::client::Assigned| {
            let Some(range) = self.ranges.get(&it.topic_partition) else { return true };
            it.delivered.is_some_and(|delivered| delivered >= range.to)
        };
        self.to_the_end && !held.is_empty() && held.iter().all(ended)
    }
}

struct Consuming {
    consumer: Consumer,
    printer: Printer,
    limits: Limits,
}

impl Consuming {
    async fn run(&mut self, stop: &CancellationToken) -> Result<(), Failure> {
        let mut look = true;
        loop {
            if stop.is_cancelled() || look && self.limits.reached(&self.consumer) {
                break;
            }
            let delivery = match self.consumer.next().now_or_never() {
                Some(delivery) => delivery,
                None => {
                    // Nothing is at hand: what was printed is for somebody to see.
                    self.printer.flush()?;
                    look = true;
                    tokio::select! {
                        delivery = timeout(LOOK, self.consumer.next()) => match delivery {
                            Ok(delivery) => delivery,
                            Err(_) => continue,
                        },
                        () = stop.cancelled() => break,
                    }
                }
            };
            match delivery {
                Some(Ok(delivery)) => {
                    look = self.limits.may_end_with(&delivery);
                    self.print(delivery, look)?;
                }
                Some(Err(error)) if error.is_retriable() => eprintln!("highwater: {error}; going on"),
                Some(Err(error)) => return Err(error.into()),
                None => break,
            }
        }
        self.printer.flush()
    }

    /// Only what is printed is finished, and so committed: all of a delivery, or those of the last one that were wanted.
    fn print(&mut self, delivery: Delivery, may_be_last: bool) -> Result<(), Failure> {
        let of = &delivery.topic_partition;
        let mut printed = Vec::new();
        for record in delivery.records() {
            if !self.limits.takes(of, record.offset) {
                break;
            }
            self.printer.print(of, &record)?;
            if may_be_last {
                printed.push(record.offset);
            }
        }
        // What is not written yet nobody has seen.
        self.printer.flush()?;
        match may_be_last {
            true => printed.into_iter().for_each(|offset| delivery.finish_record(offset)),
            false => delivery.finish(),
        }
        Ok(())
    }
}

/// What is printed, in larger pieces.
struct Printer {
    shape: Shape,
    ready: Vec<u8>,
}

enum Shape {
    Format(Format),
    Json,
}

impl Printer {
    fn of(args: &cli::Consume) -> Result<Self, String> {
        let shape = match args.output {
            RecordOutput::Json => Shape::Json,
            RecordOutput::Text => {
                Shape::Format(Format::parse(&args.format)?.with_null(if args.null { "NULL" } else { "" }))
            }
        };
        Ok(Self { shape, ready: Vec::with_capacity(2 * OUTPUT_BYTES) })
    }

    fn print(&mut self, of: &TopicPartition, record: &Record<'_>) -> Result<(), Failure> {
        match &self.shape {
            Shape::Format(format) => format.write(&mut self.ready, of, record),
            Shape::Json => {
                serde_json::to_writer(&mut self.ready, &Line::of(of, record)).map_err(Failure::of(Status::Software))?;
                self.ready.push(b'\n');
            }
        }
        if self.ready.len() >= OUTPUT_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(&self.ready).and_then(|()| out.flush()).map_err(|error| output::not_printed(&error))?;
        self.ready.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_offsets() {
        let known = Known { start: 10, end: 100 };
        let check = |place: &str, at_time: Option<Offset>, want: Offset| {
            assert_eq!(known.offset(place.parse().unwrap(), at_time), want, "{place}");
        };
        check("start", None, 10);
        check("end", None, 100);
        check("50", None, 50);
        check("5", None, 10);
        check("101", None, 100);
        check("-5", None, 95);
        check("-500", None, 10);
        check("+5", None, 15);
        check("+500", None, 100);
        check("@2026-01-01", Some(42), 42);
        check("@2026-01-01", None, 100);
    }

    #[test]
    fn no_more_is_taken_than_was_asked_for() {
        let of = TopicPartition::new("t", 0);
        let ranges = BTreeMap::from([(of.clone(), Range { from: 0, to: 3 })]);
        let taken = |mut limits: Limits| (0..6).filter(|offset| limits.takes(&of, *offset)).count();
        assert_eq!(taken(Limits { ranges: ranges.clone(), to_the_end: true, left: None }), 3);
        assert_eq!(taken(Limits { ranges: ranges.clone(), to_the_end: true, left: Some(2) }), 2);
        assert_eq!(taken(Limits { ranges, to_the_end: false, left: None }), 6);
    }
}
