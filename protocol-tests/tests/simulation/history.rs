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

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    /// Acknowledged, with the place that was told.
    pub acknowledged: Vec<(Name, Place)>,
    pub failed: usize,
    pub transactions: Vec<(Vec<Name>, End)>,
    /// What each group was given.
    pub seen: BTreeMap<String, BTreeMap<Place, Name>>,
    pub deliveries: usize,
}

/// The log as a reader finds it in the end.
pub type Log = BTreeMap<Place, Name>;

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
            let lawful = match end {
                End::Committed => seen == names.len(),
                End::Aborted => seen == 0,
                End::Unknown => seen == 0 || seen == names.len(),
            };
            if !lawful {
                return Err(format!("{seen} records can be read of a transaction ({end:?}) of {names:?}"));
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
