//! One sweep over the cluster: commits first, then ends.
//!
//! Every broker is asked for itself, and what it is asked has as long as [`Config::patience`] says. One that has not answered
//! by then is [silent]: what only it knows is missing from this round, and neither the rest of it nor the next rounds wait
//! for it again. What is asked of coordinators is in `groups`, what of leaders in `ends`.
//!
//! Bounded channels between stages were asked for, with a broker's batch as their unit. The unit is that batch, but there are
//! no channels: stages could not run beside each other, since no end may be asked for before all commits are there, and what
//! each leader is asked follows from all of them. So a step joins one future a broker. What a channel would bound is bounded
//! all the same, memory by one answer a broker and time by its patience, and there is no queue that one that hangs could
//! leave full.

mod ends;
mod groups;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use self::ends::partitions;
use self::groups::{Was, reads_others};
use super::clock::Clock;
use super::history::{History, Lineage, Sample};
use super::join::Commits;
use super::nodes::Hold;
use super::round::{Group, LogDirs};
use super::rounds::Rounds;
use super::row::Reason;
use super::silent::{self, Silent};
use super::store::Life;
use super::turns::{Every, Left, Retention, Turns};
use super::{Config, Family};
use crate::client::{
    Admin, BrokerId, Client, Error, ErrorCode, ErrorKind, ListedOffset, Metadata, Offset, Topic, TopicPartition, Topics,
};

/// What cannot be known at once is missing from this round; the next one asks again.
const ASKED_AT_MOST: u32 = 4;
/// How many rounds a topic's retention is taken for granted.
const RETENTION_EVERY: u32 = 60;
/// How long it may be unknown that a broker has joined, or that a topic was made anew where nothing else shows it.
const METADATA_EVERY: Duration = Duration::from_secs(60);

/// What a sweep read.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    pub commits: Vec<Commits>,
    /// Every partition that some group has committed for, once, in order.
    pub partitions: Vec<TopicPartition>,
    /// Of each partition the end, and whose life it is of.
    pub ends: Vec<Result<Offset, Reason>>,
    pub lineages: Vec<Lineage>,
    /// And when it was asked for and answered: leaders answer for themselves, and one that takes long makes nothing less
    /// certain that another has said.
    pub spans: Vec<Span>,
    /// When the last of them was there, or not waited for any longer.
    pub ends_answered_ms: i64,
    /// Last stable offsets, as far as they are known and below the ends.
    pub stable: HashMap<TopicPartition, Offset>,
    /// Partitions that no group has committed for, in order, and their ends: where another exporter's families have them.
    pub others: Vec<(TopicPartition, Result<Offset, Reason>)>,
    pub commits_asked_ms: i64,
    pub failures: Vec<String>,
    /// Groups whose commits could not be read, all of them or some, and why.
    pub unread: BTreeMap<Arc<str>, String>,
    /// Brokers that something happened to on the way; each is a failure once, whatever it was asked for.
    pub(super) failing: HashSet<BrokerId>,
    /// And how it was seen of some that they do not answer.
    pub(super) silences: BTreeMap<BrokerId, Error>,
}

/// When something was asked, and when it was answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub asked_ms: i64,
    pub answered_ms: i64,
}

/// What is remembered between sweeps, so that not everything is asked every time.
#[derive(Debug)]
pub(super) struct Collector {
    client: Client,
    admin: Admin,
    clock: Clock,
    config: Config,
    turns: Turns,
    silent: Silent,
    /// Where this monitor shares the groups with others.
    pub rounds: Option<Rounds>,
    /// What it held when all brokers listed their groups last.
    listed_for: Option<Arc<Hold>>,
    /// And in the last round, whatever came of it.
    asked_for: Option<Arc<Hold>>,
    /// Sorted by name; only those that it reads.
    pub groups: Vec<Group>,
    /// How many there are, whoever reads them.
    pub listed: usize,
    /// Brokers that did not list theirs when they were asked last.
    pub unlisted: Vec<String>,
    pub log_starts: HashMap<TopicPartition, Offset>,
    pub retention_ms: HashMap<Topic, i64>,
    /// Topics of which it was asked, and whether there were others in the last round.
    retention_asked: HashSet<Topic>,
    has_new_topics: bool,
    /// Last stable offsets of partitions in which a transaction was undecided when they were asked about last.
    undecided: HashMap<TopicPartition, Offset>,
    /// Topics in which there was one some time.
    transactional: HashSet<Topic>,
    /// What was committed when that was read last, in order.
    before: Vec<Was>,
    /// What topics' `cleanup.policy` is, as far as that may be asked.
    pub cleanup_policies: Arc<HashMap<Topic, String>>,
    /// Only where another exporter's families have them.
    pub log_dirs: Option<Arc<LogDirs>>,
    /// Topics that do not exist, as far as was heard since groups were listed last.
    gone: HashSet<Topic>,
}

impl Collector {
    pub(super) fn new(client: &Client, clock: Clock, config: &Config) -> Self {
        let rounds_in = |time: Duration| (time.as_secs_f64() / config.interval().as_secs_f64()).round() as u32;
        let every = Every {
            groups: config.list_groups_every,
            log_starts: config.log_starts_every,
            stable_offsets: config.stable_offsets_every,
            metadata: rounds_in(METADATA_EVERY),
            retention: RETENTION_EVERY,
        };
        Self {
            admin: client.admin().rounds(ASKED_AT_MOST).within(config.patience()),
            client: client.clone(),
            clock,
            config: config.clone(),
            turns: Turns::new(every),
            silent: Silent::default(),
            rounds: None,
            listed_for: None,
            asked_for: None,
            groups: Vec::new(),
            listed: 0,
            unlisted: Vec::new(),
            log_starts: HashMap::new(),
            retention_ms: HashMap::new(),
            retention_asked: HashSet::new(),
            has_new_topics: false,
            undecided: HashMap::new(),
            transactional: HashSet::new(),
            before: Vec::new(),
            cleanup_policies: Arc::default(),
            log_dirs: None,
            gone: HashSet::new(),
        }
    }

    /// An error only when nothing could be read at all.
    pub(super) async fn sweep(&mut self, history: &History) -> Result<Sweep, Error> {
        let mut sweep = Sweep::default();
        let hold = self.rounds.as_ref().and_then(Rounds::hold);
        let asks = self.turns.next(Left {
            anew: reads_others(hold.as_deref(), self.asked_for.as_deref()),
            undecided: !self.undecided.is_empty(),
            new_topics: self.has_new_topics,
        });
        self.asked_for.clone_from(&hold);
        self.silent.settle(&self.cluster());
        // What a silent broker kept and led may have gone to others.
        let has_silent = !self.silent.is_empty();
        if asks.metadata || has_silent {
            self.learn(&mut sweep).await;
        }
        let lacks_some = self.groups.is_empty() || reads_others(hold.as_deref(), self.listed_for.as_deref());
        let lists = asks.groups || has_silent || lacks_some;
        let unlisted = if lists { self.list_groups(hold, &mut sweep).await? } else { HashSet::new() };
        self.read_commits(&unlisted, &mut sweep).await?;
        self.drop_unlisted(&unlisted, &sweep);
        self.see_what_changed(lists, &mut sweep).await;
        sweep.partitions = partitions(&sweep.commits);
        self.follow(&mut sweep).await;
        let there: Vec<_> = sweep.partitions.iter().filter(|it| !self.gone.contains(&it.topic)).cloned().collect();
        let others = self.others(&sweep.partitions);
        let asked = self.with_others(&there, &others);
        self.read_ends(&asked, others, history, &mut sweep).await;
        self.read_stable_offsets(asks.stable_offsets, &mut sweep).await;
        if asks.log_starts {
            self.read_log_starts(&asked, history, &mut sweep).await;
        }
        // What others are kept for is told in one exporter's families only.
        let told: &[_] = if self.config.compat.contains(&Family::Kminion) { &asked } else { &there };
        self.read_retention(asks.retention, told, history).await;
        if asks.retention == Some(Retention::OfAll) {
            self.read_log_dirs().await;
        }
        self.turns.done();
        Ok(sweep)
    }

    pub(super) fn cluster(&self) -> Arc<Metadata> {
        self.client.cluster().metadata()
    }

    /// Asks no longer than a round waits.
    pub(super) fn admin(&self) -> Admin {
        self.admin.clone()
    }

    /// Of a partition whose history ended, what was known is of another life.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.log_starts.remove(partition);
        self.undecided.remove(partition);
    }

    /// Learns the cluster anew: its brokers, its leaders, and whether topics are still the same ones.
    async fn learn(&mut self, sweep: &mut Sweep) {
        let topics = if self.config.tells_of_all_topics() { Topics::All } else { Topics::Followed };
        if let Err(error) = self.client.cluster().refresh_within(topics, self.config.patience()).await {
            sweep.fails("the cluster", &error);
        }
    }

    /// From now on these are not waited for.
    fn hush(&mut self, sweep: &mut Sweep) {
        let patient = self.client.admin();
        std::mem::take(&mut sweep.silences).into_values().for_each(|error| self.silent.add(error, &patient));
    }

    /// The brokers that are asked.
    fn answering(&self) -> Vec<BrokerId> {
        self.cluster().brokers.keys().copied().filter(|broker| self.silent.why(*broker).is_none()).collect()
    }
}

impl Sweep {
    /// What a leader could not say of a partition; that there is none is no failure.
    fn heard(&mut self, partition: &TopicPartition, answer: Option<&Result<ListedOffset, Error>>) {
        if let Some(Err(error)) = answer.filter(|it| it.as_ref().is_err_and(|error| !is_gone(error))) {
            self.fails(partition, error);
        }
    }

    /// What could not be read, and why. A broker that could not be asked is told once, not with all that it keeps.
    fn fails(&mut self, what: &(impl Display + ?Sized), error: &Error) {
        // Also of one that has failed before, in another way.
        if let Some(broker) = silent::of(error) {
            self.silences.entry(broker).or_insert_with(|| error.clone());
        }
        let broker = error.broker.as_ref().and_then(|at| at.id).filter(|_| error.is_transport());
        if !broker.is_none_or(|broker| self.failing.insert(broker)) {
            return;
        }
        self.failures.push(match broker {
            Some(_) => error.to_string(),
            None => format!("{what}: {error}"),
        });
    }

    /// What the history learns from this sweep.
    pub(super) fn samples(&self) -> impl Iterator<Item = (&TopicPartition, Sample, Lineage)> {
        let ends = self.partitions.iter().zip(&self.ends).zip(&self.spans).zip(&self.lineages);
        ends.filter_map(|(((partition, end_offset), span), lineage)| {
            let Span { asked_ms, answered_ms } = *span;
            Some((partition, Sample { asked_ms, answered_ms, end_offset: (*end_offset).ok()? }, *lineage))
        })
    }

    /// Where a partition that is read ends, if that is known.
    fn end_of(&self, partition: &TopicPartition) -> Option<Offset> {
        let at = self.partitions.binary_search(partition).ok()?;
        (*self.ends.get(at)?).ok()
    }

    /// Partitions whose end is known, with the life of their topic in which they were read.
    pub(super) fn lives(&self) -> Vec<Life> {
        let samples = self.samples();
        samples.map(|(partition, _, lineage)| (partition.clone(), lineage.topic_id)).collect()
    }
}

fn is_gone(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::UnknownPartition) || error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

#[cfg(test)]
mod tests;
