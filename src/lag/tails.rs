//! What lies between a reader and the end, where that is little and stays: records, or only the ends of transactions.
//!
//! The marker with which a transaction ends takes an offset and is no record (KIP-98). A reader that commits the offset after
//! the last record it has read stands before it, for as long as nothing more is written: by its offsets it lags, and there
//! is nothing it could read. So of readers that stand still shortly before an end that stands still, too, it is looked
//! what is in between ([`Contents`]), with one Fetch to each leader, which takes the right to read the topic.
//!
//! - What was seen is known for as long as offsets mean the same: it is asked once, and never again while nothing moves.
//!   Whatever is written later goes on from it, and counts as records until it is looked at in its turn.
//! - What was not seen counts as records. So it is for a reader without that right, where a leader does not answer, and
//!   behind what a request may bring.
//! - Topics in which no transaction was seen are looked at ever more seldom: a reader that is slow is no riddle.
//! - Records of aborted transactions are records to who reads everything, and none to who reads committed records only.
//!   Nobody is told which of them a group does, so they count, but for the groups that are named ([`Config::read_committed`]).
//!
//! [`Config::read_committed`]: super::Config::read_committed

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::collect::Sweep;
use super::history::Lineage;
use super::join::{by_topic, placed, position};
use super::row::Reason;
use crate::client::{Admin, Contents, Error, ErrorCode, ErrorKind, IsolationLevel, Offset, Topic, TopicPartition};

/// For so many rounds a reader and the end stay where they are, until it is looked what lies between them.
const STANDS_FOR: u8 = 2;
/// Of so many partitions at once; of others in rounds to come.
const ASKED_MAX: usize = 256;
/// So often for one end: what a request has no room for may come with the next one.
const TIMES_MAX: u8 = 3;
/// Of so many partitions it is known, a few hundred bytes each.
const KNOWN_MAX: usize = 20_000;
/// What is of no use in so many rounds is forgotten.
const KEPT_FOR: u32 = 30;
/// Rounds without a look at a topic: at first, at most, and where it may not be read.
const RESTS_FOR: u32 = 6;
const RESTS_FOR_MAX: u32 = 180;
const REFUSED_FOR: u32 = 360;
/// A round does not wait for a leader any longer than this: what is known without is not wrong, only too much.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks at what is worth it after a sweep.
pub(super) async fn look(tails: &mut Tails, admin: Admin, sweep: &Sweep, log_starts: &HashMap<TopicPartition, Offset>) {
    let wanted = tails.wanted(sweep, log_starts);
    if wanted.is_empty() {
        return;
    }
    let from: Vec<_> = wanted.iter().map(|it| (it.partition.clone(), it.from)).collect();
    let said = admin.rounds(1).within(PATIENCE).contents(&from).await;
    tails.learn(wanted, said.into_iter().collect());
}

/// What is to be looked at: a partition in one of its lives, from an offset to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    partition: TopicPartition,
    lineage: Lineage,
    from: Offset,
    end: Offset,
}

/// What is known of the tails of logs, and what is worth asking. Pure.
#[derive(Debug, Default)]
pub(super) struct Tails {
    lag_max: u32,
    round: u32,
    known: HashMap<TopicPartition, Known>,
    standing: HashMap<TopicPartition, Standing>,
    resting: HashMap<Topic, Rest>,
    /// Where the partitions of the round before ended, in order.
    ends: Vec<Result<Offset, Reason>>,
    /// Whether it was said that topics may not be read.
    has_complained: bool,
}

#[derive(Debug)]
struct Known {
    lineage: Lineage,
    /// For which end it was asked, and how often.
    end: Offset,
    times: u8,
    contents: Option<Arc<Contents>>,
    used_in: u32,
}

/// Readers shortly before an end, and for how many rounds each was there.
#[derive(Debug, Default)]
struct Standing {
    end: Offset,
    positions: Vec<(Offset, u8)>,
}

/// A topic that is left alone until a round.
#[derive(Debug, Default)]
struct Rest {
    until: u32,
    times: u32,
}

impl Tails {
    /// Of readers that are at most `lag_max` offsets before the end.
    pub fn new(lag_max: u32) -> Self {
        Self { lag_max, ..Self::default() }
    }

    pub fn of(&self, partition: &TopicPartition) -> Option<&Arc<Contents>> {
        self.known.get(partition)?.contents.as_ref()
    }

    /// The first record of a reader who reads everything.
    pub fn first_record(&self, partition: &TopicPartition, position: Offset) -> Offset {
        self.of(partition).map_or(position, |tail| tail.first_record(position, IsolationLevel::ReadUncommitted))
    }

    fn wanted(&mut self, sweep: &Sweep, log_starts: &HashMap<TopicPartition, Offset>) -> Vec<Wanted> {
        self.round = self.round.saturating_add(1);
        if self.lag_max == 0 {
            return vec![];
        }
        let (mut before, mut wanted) = (std::mem::take(&mut self.standing), Vec::new());
        self.forget(sweep);
        for readers in self.shortly_before(sweep, log_starts).chunk_by(|a, b| a.0 == b.0) {
            let at = readers.first().map_or(0, |(at, _)| *at);
            let (Some(partition), Some(Ok(end))) = (sweep.partitions.get(at), sweep.ends.get(at).copied()) else {
                continue;
            };
            if let Some(known) = self.known.get_mut(partition) {
                known.used_in = self.round;
            }
            let standing = Standing::of(readers, end, before.remove(partition));
            if wanted.len() < ASKED_MAX
                && let Some(from) = self.worth_asking(partition, &standing)
            {
                let lineage = sweep.lineages.get(at).copied().unwrap_or_default();
                wanted.push(Wanted { partition: partition.clone(), lineage, from, end });
            }
            self.standing.insert(partition.clone(), standing);
        }
        self.ends.clone_from(&sweep.ends);
        wanted
    }

    /// What is of another life, or of use to nobody. A broker that does not answer leaves everything as it is for so long.
    fn forget(&mut self, sweep: &Sweep) {
        let round = self.round;
        self.known.retain(|partition, known| {
            let at = sweep.partitions.binary_search(partition).ok();
            let lineage = at.and_then(|at| sweep.lineages.get(at)).filter(|it| **it != Lineage::default());
            let went_back = at.and_then(|at| sweep.ends.get(at)?.ok()).is_some_and(|end| end < known.end);
            let is_of_now = lineage.is_none_or(|lineage| *lineage == known.lineage) && !went_back;
            is_of_now && round - known.used_in <= KEPT_FOR
        });
        self.resting.retain(|_, rest| round < rest.until.saturating_add(RESTS_FOR_MAX));
    }

    /// Readers that are at most so far from an end that has not moved, by partition.
    fn shortly_before(&self, sweep: &Sweep, log_starts: &HashMap<TopicPartition, Offset>) -> Vec<(usize, Offset)> {
        let (topics, mut found) = (by_topic(&sweep.partitions), Vec::new());
        // Other partitions than before would at worst be looked at a round too early or too late.
        let moves = |at: usize, end| self.ends.len() == sweep.ends.len() && self.ends.get(at) != Some(&Ok(end));
        for commits in &sweep.commits {
            let of_topic = topics.get(&commits.topic).cloned().unwrap_or_default();
            for (_, at, committed) in placed(&commits.offsets, &sweep.partitions, of_topic) {
                let (Some(partition), Some(Ok(end))) = (sweep.partitions.get(at), sweep.ends.get(at).copied()) else {
                    continue;
                };
                if (1..=i64::from(self.lag_max)).contains(&(end - committed)) && !moves(at, end) {
                    found.push((at, position(committed, log_starts.get(partition).copied())));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// From where on, if it is.
    fn worth_asking(&self, partition: &TopicPartition, standing: &Standing) -> Option<Offset> {
        // At first nobody is known to move, and whoever makes one round alone wants to know.
        let stands_for = if self.round == 1 { 1 } else { STANDS_FOR };
        let stands = |(position, rounds): &&(Offset, u8)| *rounds >= stands_for && *position < standing.end;
        let first = standing.positions.iter().find(&stands)?.0;
        if self.resting.get(&partition.topic).is_some_and(|rest| self.round < rest.until) {
            return None;
        }
        let Some(known) = self.known.get(partition) else {
            return (self.known.len() < KNOWN_MAX).then_some(first);
        };
        let seen = known.contents.as_ref().map(|contents| contents.seen.clone());
        let is_seen = |from: Offset| seen.as_ref().is_some_and(|seen| seen.start <= from && seen.end >= standing.end);
        let is_tried = known.end == standing.end;
        if is_seen(first) || (is_tried && known.times >= TIMES_MAX) {
            return None;
        }
        // There was no room for all that is behind the first: whoever stands nearest to the end is looked at alone.
        let nearest = standing.positions.iter().rev().find(&stands)?.0;
        if is_tried && nearest != first && !is_seen(nearest) {
            return Some(nearest);
        }
        // What others stand before is not to be forgotten for it.
        let others = standing.positions.iter().map(|(position, _)| *position);
        let others = others.filter(|position| seen.as_ref().is_some_and(|seen| seen.contains(position)));
        Some(others.fold(first, Offset::min))
    }

    /// What was looked at, as far as there was an answer.
    fn learn(&mut self, wanted: Vec<Wanted>, mut said: HashMap<TopicPartition, Result<Contents, Error>>) {
        let mut rests: HashMap<Topic, u32> = HashMap::new();
        let mut rest = |topic: &Topic, rounds: u32| {
            let longest = rests.entry(topic.clone()).or_default();
            *longest = rounds.max(*longest);
        };
        let mut has_transactions = HashSet::new();
        for Wanted { partition, lineage, from, end } in wanted {
            let (topic, round) = (partition.topic.clone(), self.round);
            match said.remove(&partition) {
                Some(Ok(contents)) => {
                    let fresh = Known { lineage, end, times: 0, contents: None, used_in: round };
                    let known = self.known.entry(partition).or_insert(fresh);
                    known.learn(end, contents);
                    match known.contents.as_ref().is_some_and(|it| it.has_transactions) {
                        true => drop(has_transactions.insert(topic)),
                        false => rest(&topic, RESTS_FOR),
                    }
                }
                Some(Err(error)) if is_refused(&error) => {
                    self.complain(&error);
                    rest(&topic, REFUSED_FOR);
                }
                other => {
                    tracing::debug!(%partition, from, ?other, "what is before the end was not to be seen");
                    rest(&topic, RESTS_FOR);
                }
            }
        }
        self.resting.retain(|topic, _| !has_transactions.contains(topic));
        for (topic, rounds) in rests.into_iter().filter(|(topic, _)| !has_transactions.contains(topic)) {
            self.resting.entry(topic).or_default().begin(self.round, rounds);
        }
    }

    /// Once; others are like it.
    fn complain(&mut self, error: &Error) {
        if !std::mem::replace(&mut self.has_complained, true) {
            tracing::info!(
                %error,
                "ends of transactions count as records where topics may not be read (READ, which fetching takes)"
            );
        }
    }
}

impl Known {
    fn learn(&mut self, end: Offset, contents: Contents) {
        self.times = if self.end == end { self.times.saturating_add(1) } else { 1 };
        self.end = end;
        let is_more = |known: &Arc<Contents>| contents.seen.end >= known.seen.end;
        if self.contents.as_ref().is_none_or(is_more) {
            self.contents = Some(Arc::new(contents));
        }
    }
}

impl Standing {
    fn of(readers: &[(usize, Offset)], end: Offset, before: Option<Self>) -> Self {
        let before = before.filter(|before| before.end == end).unwrap_or_default();
        let rounds = |position: Offset| {
            let at = before.positions.binary_search_by_key(&position, |(position, _)| *position).ok();
            at.and_then(|at| before.positions.get(at)).map_or(0, |(_, rounds)| *rounds).saturating_add(1)
        };
        Self { end, positions: readers.iter().map(|(_, position)| (*position, rounds(*position))).collect() }
    }
}

impl Rest {
    /// At least for so many rounds, and longer each time.
    fn begin(&mut self, round: u32, rounds: u32) {
        let longer = RESTS_FOR.saturating_mul(2_u32.saturating_pow(self.times)).min(RESTS_FOR_MAX);
        self.until = round.saturating_add(rounds.max(longer));
        self.times = self.times.saturating_add(1);
    }
}

fn is_refused(error: &Error) -> bool {
    matches!(error.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::CLUSTER_AUTHORIZATION_FAILED))
        || matches!(error.kind, ErrorKind::Unsupported)
}

#[cfg(test)]
mod tests;
