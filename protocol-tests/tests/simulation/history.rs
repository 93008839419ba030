//! What the clients were told and what they saw, and whether it can all be true.

use std::collections::{BTreeMap, BTreeSet};

/// Partition and offset.
pub type Place = (i32, i64);

/// A record is known by who wrote it and by its number; its text says both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub producer: usize,
    pub number: usize,
}

impl Name {
    pub fn value(self, length: usize) -> Vec<u8> {
        let mut value = format!("{}/{} ", self.producer, self.number).into_bytes();
        value.resize(length.max(value.len()), b'.');
        value
    }

    pub fn of(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (producer, number) = text.split(' ').next()?.split_once('/')?;
        Some(Self { producer: producer.parse().ok()?, number: number.parse().ok()? })
    }
}

/// How a transaction ended, as far as its producer was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Committed,
    Aborted,
    Unknown,
}

impl End {
    /// Whether so many of its records may be read.
    fn allows(self, seen: usize, of: usize) -> bool {
        match self {
            Self::Committed => seen == of,
            Self::Aborted => seen == 0,
            Self::Unknown => seen == 0 || seen == of,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    /// Acknowledged, with the place that was told.
    pub acknowledged: Vec<(Name, Place)>,
    pub failed: usize,
    pub transactions: Vec<(Vec<Name>, End)>,
    /// Transactions of the relay that were to be committed, by worker and number, and how many records each has.
    pub relayed: BTreeMap<Name, (usize, End)>,
    /// Workers of the relay that were told that a rival has taken their place.
    pub fenced: usize,
    /// What each group was given.
    pub seen: BTreeMap<String, BTreeMap<Place, Name>>,
    pub deliveries: usize,
}

/// The log as a reader finds it in the end.
pub type Log = BTreeMap<Place, Name>;

/// What the relay has written, as a reader of committed records finds it: of which record, and in which transaction.
pub type Relayed = BTreeMap<Place, (Name, Name)>;

impl History {
    /// `all` is every record that was written, `committed` what those read who read committed records.
    pub fn check(&self, all: &Log, committed: &Log) -> Result<(), String> {
        self.check_acknowledged(all)?;
        once_and_in_order(all)?;
        self.check_transactions(committed)?;
        for (place, name) in committed {
            if all.get(place) != Some(name) {
                return Err(format!("{name:?} is committed at {place:?}, where {:?} was written", all.get(place)));
            }
        }
        Ok(())
    }

    fn check_acknowledged(&self, all: &Log) -> Result<(), String> {
        for (name, place) in &self.acknowledged {
            if all.get(place) != Some(name) {
                let found: Vec<_> = all.iter().filter(|(_, other)| *other == name).map(|(place, _)| place).collect();
                let there = all.get(place);
                return Err(format!(
                    "{name:?} was acknowledged at {place:?}; there is {there:?}, and it is at {found:?}"
                ));
            }
        }
        Ok(())
    }

    fn check_transactions(&self, committed: &Log) -> Result<(), String> {
        let visible: BTreeSet<Name> = committed.values().copied().collect();
        for (names, end) in &self.transactions {
            let seen = names.iter().filter(|name| visible.contains(name)).count();
            if !end.allows(seen, names.len()) {
                return Err(format!("{seen} records can be read of a transaction ({end:?}) of {names:?}"));
            }
        }
        Ok(())
    }

    /// Whether all of a log was relayed: each record once, in the same order, and each transaction whole or not there.
    pub fn check_relayed(&self, input: &Log, output: &Relayed) -> Result<(), String> {
        exactly_once(input, output)?;
        let mut seen: BTreeMap<Name, usize> = BTreeMap::new();
        for (_, transaction) in output.values() {
            *seen.entry(*transaction).or_default() += 1;
        }
        if let Some(name) = seen.keys().find(|name| !self.relayed.contains_key(name)) {
            return Err(format!("the relay's transaction {name:?} can be read, and was not to be committed"));
        }
        for (name, (records, end)) in &self.relayed {
            let seen = seen.get(name).copied().unwrap_or_default();
            if !end.allows(seen, *records) {
                return Err(format!(
                    "{seen} of {records} records can be read of the relay's transaction {name:?} ({end:?})"
                ));
            }
        }
        Ok(())
    }

    /// Whether a group has seen all of a log; otherwise, what it has not.
    pub fn check_seen(&self, group: &str, log: &Log) -> Result<(), String> {
        let nothing = BTreeMap::new();
        let seen = self.seen.get(group).unwrap_or(&nothing);
        let missed: Vec<_> = log.iter().filter(|(place, name)| seen.get(place) != Some(name)).collect();
        if missed.is_empty() { Ok(()) } else { Err(format!("{group} has not seen {missed:?}")) }
    }
}

/// Nothing is there twice, and in each partition the records of each producer are in the order in which it wrote them.
fn once_and_in_order(all: &Log) -> Result<(), String> {
    let mut places: BTreeMap<Name, Place> = BTreeMap::new();
    let mut last: BTreeMap<(i32, usize), usize> = BTreeMap::new();
    for (place, name) in all {
        if let Some(before) = places.insert(*name, *place) {
            return Err(format!("{name:?} is in the log twice, at {before:?} and {place:?}"));
        }
        let last = last.entry((place.0, name.producer)).or_insert(name.number);
        if *last > name.number {
            return Err(format!("{name:?} is in the log at {place:?}, after number {last}"));
        }
        *last = name.number;
    }
    Ok(())
}

/// Every record of a log is in the same partition of the other, neither lost nor twice, and in the same order.
fn exactly_once(input: &Log, output: &Relayed) -> Result<(), String> {
    let mut copies: BTreeMap<(i32, Name), Vec<Place>> = BTreeMap::new();
    for (place, (name, _)) in output {
        copies.entry((place.0, *name)).or_default().push(*place);
    }
    for (place, name) in input {
        match copies.remove(&(place.0, *name)).unwrap_or_default()[..] {
            [_] => {}
            [] => return Err(format!("{name:?} at {place:?} was not relayed")),
            ref twice => return Err(format!("{name:?} at {place:?} was relayed more than once, to {twice:?}")),
        }
    }
    if let Some(((_, name), places)) = copies.first_key_value() {
        return Err(format!("{name:?} was relayed to {places:?}, and is not there to be relayed"));
    }
    let before = input.iter().map(|(place, name)| (place.0, *name));
    let after = output.iter().map(|(place, (name, _))| (place.0, *name));
    match before.zip(after).find(|(before, after)| before != after) {
        Some((before, after)) => Err(format!("{after:?} was relayed before {before:?}")),
        None => Ok(()),
    }
}
