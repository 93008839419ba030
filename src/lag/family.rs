//! Families of samples over a round, and the pages that they are written in.
//!
//! A family is a number of things and how one of them is written, so that the text of a round is made while it is sent, a
//! page at a time: nobody holds it whole, and a slow scraper holds one page.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::round::{Group, Round};
use super::rounds::Permit;
use super::row::{Partition, Reading, Row, Sum};
use super::text::{self, Dialect, Kind, Label, Value};
use crate::client::Topic;

/// About how many bytes are written at once.
const PAGE: usize = 64 * 1024;

type Write = dyn Fn(&Round, usize, &mut Vec<u8>) + Send;

/// A family of samples.
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    /// How many things there are, and how the samples of one are written.
    things: usize,
    write: Box<Write>,
}

/// How an exporter names groups, topics and partitions, and what it says before that.
#[derive(Debug, Clone)]
pub(super) struct Naming {
    pub first: Option<(&'static str, Arc<str>)>,
    pub group: &'static str,
    pub topic: &'static str,
    pub partition: &'static str,
}

impl Naming {
    /// The name and its first labels, open for more.
    fn open(&self, out: &mut Vec<u8>, name: &str, labels: &[(&'static str, Label<'_>)]) {
        out.extend_from_slice(name.as_bytes());
        let first = self.first.as_ref().map(|(key, value)| (*key, Label::Text(value)));
        for (at, (key, value)) in first.iter().chain(labels).enumerate() {
            out.push(if at == 0 { b'{' } else { b',' });
            text::label(out, key, *value);
        }
    }
}

/// What a page of a family may want to know of a group.
#[derive(Debug, Clone)]
pub(super) struct GroupSum {
    pub group: Arc<str>,
    pub sum: Sum,
}

/// Which rows are shown, where not all of them are, and which partitions: those of rows that are.
#[derive(Debug)]
pub(super) struct Shown {
    /// At which row each reading begins.
    begins: Vec<usize>,
    rows: Vec<bool>,
    pub hidden: usize,
    partitions: Vec<bool>,
    pub hidden_partitions: usize,
    /// A transaction holds up its partition whether or not a reader there is far behind.
    undecided: Vec<bool>,
    pub hidden_undecided: usize,
}

impl Shown {
    /// The `most` rows that are furthest behind, in time and then in records. One whose lag is not known comes last: it has
    /// nothing to show.
    pub fn furthest(round: &Round, most: usize) -> Self {
        let count = round.row_count();
        let hidden = count.saturating_sub(most);
        let behind = |row: Row<'_>| (row.time().map(|time| time.low_ms), row.records().ok());
        let mut order: Vec<_> = round.rows().map(behind).zip(0..).map(|(behind, at)| (Reverse(behind), at)).collect();
        if hidden > 0 && most > 0 {
            order.select_nth_unstable(most - 1);
        }
        let mut rows = vec![false; count];
        order.iter().take(most).for_each(|(_, at): &(_, usize)| rows[*at] = true);
        let begins = round.readings.iter().scan(0, |begin, reading| {
            let this = *begin;
            *begin += reading.cells.len();
            Some(this)
        });
        let mut partitions = vec![false; round.partitions.len()];
        let cells = round.readings.iter().flat_map(|reading| reading.cells.iter());
        for (cell, _) in cells.zip(&rows).filter(|(_, is_shown)| **is_shown) {
            partitions.get_mut(cell.place as usize).into_iter().for_each(|it| *it = true);
        }
        let hidden_partitions = partitions.iter().filter(|is_shown| !**is_shown).count() + round.others.len();
        let (undecided, hidden_undecided) = undecided(round, most);
        let begins = begins.collect();
        Self { begins, rows, hidden, partitions, hidden_partitions, undecided, hidden_undecided }
    }

    fn is_partition_shown(&self, place: usize) -> bool {
        self.partitions.get(place).copied().unwrap_or(false)
    }

    /// Whether a partition is shown, by its name.
    pub fn shows(&self, round: &Round, topic: &Topic, partition: i32) -> bool {
        let found = round.partitions.binary_search_by(|it| (&it.topic, it.partition).cmp(&(topic, partition)));
        found.is_ok_and(|at| self.is_partition_shown(at))
    }

    fn is_shown(&self, reading: usize, row: usize) -> bool {
        self.begins.get(reading).and_then(|begin| self.rows.get(begin + row)).copied().unwrap_or(true)
    }
}

/// The `most` partitions whose undecided transactions are oldest, and how many others have one.
fn undecided(round: &Round, most: usize) -> (Vec<bool>, usize) {
    let places = round.partitions.iter().enumerate().filter(|(_, it)| it.stable_offset.is_some());
    let mut order: Vec<_> = places.map(|(at, it)| (Reverse(it.undecided.map(|time| time.low_ms)), at)).collect();
    order.sort_unstable();
    let mut shown = vec![false; round.partitions.len()];
    order.iter().take(most).for_each(|(_, at)| shown[*at] = true);
    (shown, order.len().saturating_sub(most))
}

/// Makes families over one round in one exporter's words.
#[derive(Debug, Clone)]
pub(super) struct Families<'r> {
    pub round: &'r Round,
    pub naming: Naming,
    pub groups: Arc<[GroupSum]>,
    pub shown: Option<Arc<Shown>>,
}

/// Closes the labels of a sample, and writes its value.
fn close(out: &mut Vec<u8>, value: Value) {
    out.extend_from_slice(b"} ");
    text::number(out, value);
    out.push(b'\n');
}

impl Families<'_> {
    /// One sample a row, as far as it has a value.
    pub fn rows<V: Into<Value> + 'static>(
        &self,
        name: &'static str,
        help: &'static str,
        value: fn(&Row<'_>) -> Option<V>,
    ) -> Family {
        self.rows_with(name, help, value, |_, _| |_: &Row<'_>, _: &mut Vec<u8>| {})
    }

    /// The same, with further labels.
    pub fn rows_with<V: Into<Value> + 'static, L: Fn(&Row<'_>, &mut Vec<u8>)>(
        &self,
        name: &'static str,
        help: &'static str,
        value: fn(&Row<'_>) -> Option<V>,
        labels: impl Fn(&Round, &Reading) -> L + Send + 'static,
    ) -> Family {
        let (naming, shown) = (self.naming.clone(), self.shown.clone());
        let write = move |round: &Round, at: usize, out: &mut Vec<u8>| {
            let Some(reading) = round.readings.get(at) else { return };
            let is_shown = |row: usize| shown.as_ref().is_none_or(|shown| shown.is_shown(at, row));
            // What is the same for all rows of the reading is written once and copied.
            let mut start = Vec::with_capacity(128);
            let names = [(naming.group, (&*reading.group).into()), (naming.topic, reading.topic.as_str().into())];
            naming.open(&mut start, name, &names);
            start.push(b',');
            start.extend_from_slice(naming.partition.as_bytes());
            start.extend_from_slice(b"=\"");
            let more = labels(round, reading);
            for (_, row) in (0..).zip(round.rows_of(reading)).filter(|(at, _)| is_shown(*at)) {
                let Some(value) = value(&row) else { continue };
                out.extend_from_slice(&start);
                text::whole(out, row.partition().into());
                out.push(b'"');
                more(&row, out);
                close(out, value.into());
            }
        };
        Family { name, help, kind: Kind::Gauge, things: self.round.readings.len(), write: Box::new(write) }
    }

    /// One sample for each group on each topic.
    pub fn readings<V: Into<Value> + 'static>(
        &self,
        name: &'static str,
        help: &'static str,
        value: fn(&Sum) -> Option<V>,
    ) -> Family {
        let naming = self.naming.clone();
        let write = move |round: &Round, at: usize, out: &mut Vec<u8>| {
            let Some(reading) = round.readings.get(at) else { return };
            let Some(value) = value(&reading.sum) else { return };
            let names = [(naming.group, (&*reading.group).into()), (naming.topic, reading.topic.as_str().into())];
            naming.open(out, name, &names);
            close(out, value.into());
        };
        Family { name, help, kind: Kind::Gauge, things: self.round.readings.len(), write: Box::new(write) }
    }

    /// One sample for each group that has committed something.
    pub fn groups<V: Into<Value> + 'static>(
        &self,
        name: &'static str,
        help: &'static str,
        value: fn(&Sum) -> Option<V>,
    ) -> Family {
        let (naming, groups) = (self.naming.clone(), Arc::clone(&self.groups));
        let write = move |_: &Round, at: usize, out: &mut Vec<u8>| {
            let Some(GroupSum { group, sum }) = groups.get(at) else { return };
            let Some(value) = value(sum) else { return };
            naming.open(out, name, &[(naming.group, (&**group).into())]);
            close(out, value.into());
        };
        Family { name, help, kind: Kind::Gauge, things: self.groups.len(), write: Box::new(write) }
    }

    /// One sample for each partition that some group has committed for.
    pub fn partitions<V: Into<Value> + 'static>(
        &self,
        name: &'static str,
        help: &'static str,
        value: fn(&Partition) -> Option<V>,
    ) -> Family {
        self.places(name, help, value, Shown::is_partition_shown, self.round.partitions.len())
    }

    /// One sample for each partition there is.
    pub fn all_partitions<V: Into<Value> + 'static>(
        &self,
        name: &'static str,
        help: &'static str,
        value: fn(&Partition) -> Option<V>,
    ) -> Family {
        let things = self.round.partitions.len() + self.round.others.len();
        self.places(name, help, value, Shown::is_partition_shown, things)
    }

    /// One sample for each partition with a transaction that is undecided.
    pub fn undecided<V: Into<Value> + 'static>(
        &self,
        name: &'static str,
        help: &'static str,
        value: fn(&Partition) -> Option<V>,
    ) -> Family {
        let is_shown = |shown: &Shown, at: usize| shown.undecided.get(at).copied().unwrap_or(true);
        self.places(name, help, value, is_shown, self.round.partitions.len())
    }

    fn places<V: Into<Value> + 'static>(
        &self,
        name: &'static str,
        help: &'static str,
        value: fn(&Partition) -> Option<V>,
        is_shown: fn(&Shown, usize) -> bool,
        things: usize,
    ) -> Family {
        let (naming, shown) = (self.naming.clone(), self.shown.clone());
        let write = move |round: &Round, at: usize, out: &mut Vec<u8>| {
            if shown.as_ref().is_some_and(|shown| !is_shown(shown, at)) {
                return;
            }
            let other = || round.others.get(at - round.partitions.len());
            let Some(place) = round.partitions.get(at).or_else(other) else { return };
            let Some(value) = value(place) else { return };
            let names = [(naming.topic, place.topic.as_str().into()), (naming.partition, place.partition.into())];
            naming.open(out, name, &names);
            close(out, value.into());
        };
        Family { name, help, kind: Kind::Gauge, things, write: Box::new(write) }
    }

    /// One sample, without labels of its own.
    pub fn one(&self, name: &'static str, help: &'static str, value: impl Into<Value>) -> Family {
        let value = value.into();
        self.whole(name, help, move |_, emit| emit(&[], value))
    }

    /// Whatever there is to say, at once: for what is not as many as groups, topics or partitions are.
    pub fn whole(
        &self,
        name: &'static str,
        help: &'static str,
        write: impl Fn(&Round, &mut Emit<'_>) + Send + 'static,
    ) -> Family {
        self.each(name, help, 1, move |round, _, emit| write(round, emit))
    }

    /// Whatever there is to say of each group that is known, also of those that have committed nothing.
    pub fn known_groups(
        &self,
        name: &'static str,
        help: &'static str,
        write: impl Fn(&Group, &mut Emit<'_>) + Send + 'static,
    ) -> Family {
        self.each(name, help, self.round.groups.len(), move |round, at, emit| {
            round.groups.get(at).into_iter().for_each(|group| write(group, emit));
        })
    }

    /// Whatever there is to say of each of so many things.
    pub fn each(
        &self,
        name: &'static str,
        help: &'static str,
        things: usize,
        write: impl Fn(&Round, usize, &mut Emit<'_>) + Send + 'static,
    ) -> Family {
        let first = self.naming.first.clone();
        let write = move |round: &Round, at: usize, out: &mut Vec<u8>| {
            write(round, at, &mut |labels, value| match &first {
                None => text::sample(out, name, labels, value),
                Some((key, first)) => {
                    let first = (*key, Label::Text(first));
                    let labels: Vec<_> = std::iter::once(first).chain(labels.iter().copied()).collect();
                    text::sample(out, name, &labels, value);
                }
            });
        };
        Family { name, help, kind: Kind::Gauge, things, write: Box::new(write) }
    }
}

/// Writes one sample of a family.
pub(super) type Emit<'e> = dyn FnMut(&[(&str, Label<'_>)], Value) + 'e;

impl Family {
    pub fn counter(self) -> Self {
        Self { kind: Kind::Counter, ..self }
    }
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Family").field(&self.name).finish()
    }
}

/// A family over the round that it is of.
#[derive(Debug)]
struct Part {
    round: Arc<Round>,
    family: Family,
    permit: Option<Arc<Permit>>,
}

impl Part {
    fn is_permitted(&self) -> bool {
        self.permit.as_ref().is_none_or(|permit| permit.holds())
    }
}

/// The text of a round, or of several, page by page.
#[derive(Debug)]
pub struct Pages {
    dialect: Dialect,
    parts: std::vec::IntoIter<Part>,
    open: Option<(Part, usize)>,
    /// The family whose head was written last.
    head: Option<&'static str>,
}

impl Pages {
    pub(super) fn new(round: Arc<Round>, dialect: Dialect, families: Vec<Family>) -> Self {
        let part = |family| Part { round: Arc::clone(&round), family, permit: None };
        Self::of(dialect, families.into_iter().map(part).collect())
    }

    fn of(dialect: Dialect, parts: Vec<Part>) -> Self {
        Self { dialect, parts: parts.into_iter(), open: None, head: None }
    }

    /// Those of several rounds, with the samples of one family together, which the format asks for.
    pub(super) fn of_all(dialect: Dialect, all: Vec<Self>) -> Self {
        let mut parts: Vec<Part> = all.into_iter().flat_map(|pages| pages.parts).collect();
        let mut order = HashMap::new();
        for part in &parts {
            let next = order.len();
            order.entry(part.family.name).or_insert(next);
        }
        parts.sort_by_key(|part| order.get(part.family.name).copied());
        Self::of(dialect, parts)
    }

    /// Ends where the permit does: what comes after is missing.
    pub(super) fn while_permitted(self, permit: Option<Permit>) -> Self {
        let permit = permit.map(Arc::new);
        let parts = self.parts.map(|part| Part { permit: permit.clone(), ..part });
        Self { parts: parts.collect::<Vec<_>>().into_iter(), ..self }
    }

    /// What is being written and how far it is; of a family that begins, its head is written.
    fn part(&mut self, out: &mut Vec<u8>) -> Option<(Part, usize)> {
        self.open.take().or_else(|| {
            let part = self.parts.find(Part::is_permitted)?;
            let family = &part.family;
            if self.head.replace(family.name) != Some(family.name) {
                text::family(out, self.dialect, family.name, family.help, family.kind);
            }
            Some((part, 0))
        })
    }
}

impl Iterator for Pages {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.open.take_if(|(part, _)| !part.is_permitted());
        let mut out = Vec::with_capacity(PAGE + PAGE / 4);
        while out.len() < PAGE {
            let Some((part, mut at)) = self.part(&mut out) else { break };
            while at < part.family.things && out.len() < PAGE {
                (part.family.write)(&part.round, at, &mut out);
                at += 1;
            }
            self.open = (at < part.family.things).then_some((part, at));
        }
        (!out.is_empty()).then_some(out)
    }
}
