//! Where partitions begin and end, and how long what is in them is kept.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;

use super::{Collector, Span, Sweep, is_gone};
use crate::client::{
    BrokerId, ConfigEntry, ConfigResource, Error, ErrorCode, IsolationLevel, LeaderEpoch, ListedOffset, Offset,
    OffsetSpec, Topic, TopicPartition, Topics,
};
use crate::lag::Family;
use crate::lag::history::{History, Lineage, Probe, Ring};
use crate::lag::join::{Commits, by_topic};
use crate::lag::ladder;
use crate::lag::round::LogDirs;
use crate::lag::row::Reason;
use crate::lag::turns::{Retention, Stable};

/// How many partitions are asked about on all rungs at once: what is under way of each takes some kilobytes.
const CLIMB_AT_MOST: usize = 10_000;

impl Collector {
    /// From now on, whenever the cluster is learned anew, these topics are too: a topic that is made anew is known by its
    /// id, and nothing more has to be asked for that.
    pub(super) async fn follow(&mut self, sweep: &mut Sweep) {
        let known = self.cluster();
        let mut new = topics(&sweep.partitions);
        new.retain(|topic| known.partition_count(topic).is_none() && !self.gone.contains(topic));
        if new.is_empty() {
            return;
        }
        let learned = self.client.cluster().refresh_within(Topics::Follow(new.clone()), self.config.patience());
        match learned.await {
            Ok(known) => self.gone.extend(new.into_iter().filter(|topic| {
                known.topic(topic).is_none_or(|it| it.error == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
            })),
            Err(error) => sweep.fails("new topics", &error),
        }
    }

    /// What there is beside the partitions that are read, in order.
    pub(super) fn others(&self, read: &[TopicPartition]) -> Vec<TopicPartition> {
        if !self.config.tells_of_all_topics() {
            return Vec::new();
        }
        let (known, read_of) = (self.cluster(), by_topic(read));
        let told = known.topics().map(|(topic, _)| topic);
        let told = told.filter(|topic| self.config.topics.passes(topic) && !self.gone.contains(*topic));
        let of_topic = |topic| {
            let read = read_of.get(topic).and_then(|at| read.get(at.clone())).unwrap_or_default();
            known.partitions_of(topic).filter(|it| read.binary_search(it).is_err())
        };
        let mut others: Vec<_> = told.flat_map(of_topic).collect();
        others.sort_unstable();
        others
    }

    /// Of which partitions leaders are asked, in order. That one which nobody reads has no leader is known, and no question.
    pub(super) fn with_others<'a>(
        &self,
        read: &'a [TopicPartition],
        others: &[TopicPartition],
    ) -> Cow<'a, [TopicPartition]> {
        if others.is_empty() {
            return read.into();
        }
        let known = self.cluster();
        let led = others.iter().filter(|it| known.leader(it).is_some());
        let mut all: Vec<_> = read.iter().chain(led).cloned().collect();
        all.sort_unstable();
        all.into()
    }

    /// Asks each leader for itself; of a silent one, nothing is known.
    async fn offsets(
        &self,
        spec: OffsetSpec,
        partitions: impl IntoIterator<Item = &TopicPartition>,
        isolation: IsolationLevel,
    ) -> Vec<Answered> {
        let known = self.cluster();
        let mut by_leader: BTreeMap<Option<BrokerId>, Vec<TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            let leader = known.leader(partition).map(|leader| leader.broker);
            by_leader.entry(leader).or_default().push(partition.clone());
        }
        let asked = by_leader.into_iter().map(|(leader, of)| async move {
            let asked_ms = self.clock.now_ms();
            let offsets = match leader.and_then(|leader| self.silent.why(leader)) {
                Some(why) => of.into_iter().map(|partition| (partition, Err(why.clone()))).collect(),
                None => match self.admin.list_offsets(spec, &of, isolation).await {
                    Ok(offsets) => offsets,
                    Err(error) => of.into_iter().map(|partition| (partition, Err(error.clone()))).collect(),
                },
            };
            Answered { span: Span { asked_ms, answered_ms: self.clock.now_ms() }, offsets }
        });
        join_all(asked).await
    }

    pub(super) async fn read_ends(
        &mut self,
        partitions: &[TopicPartition],
        others: Vec<TopicPartition>,
        history: &History,
        sweep: &mut Sweep,
    ) {
        let answered = self.offsets(OffsetSpec::Latest, partitions, IsolationLevel::ReadUncommitted).await;
        sweep.ends_answered_ms = self.clock.now_ms();
        let of_leader = |Answered { span, offsets }| offsets.into_iter().map(move |(of, said)| (of, (said, span)));
        let mut listed: HashMap<_, _> = answered.into_iter().flat_map(of_leader).collect();
        let went_back = |(of, (said, _)): (&TopicPartition, &(Result<ListedOffset, Error>, Span))| {
            let before = history.of(of).and_then(Ring::last);
            said.as_ref().ok().and_then(|it| it.offset).is_some_and(|end| before.is_some_and(|it| end < it.end_offset))
        };
        if listed.iter().any(went_back) {
            self.learn(sweep).await;
        }
        let known = self.cluster();
        for partition in std::mem::take(&mut sweep.partitions) {
            let (answer, span) = listed.remove(&partition).map_or_else(Default::default, |(it, span)| (Some(it), span));
            sweep.heard(&partition, answer.as_ref());
            let leader_epoch = answer.as_ref().and_then(|it| it.as_ref().ok()?.leader_epoch);
            let end = end(answer, self.gone.contains(&partition.topic));
            if end == Err(Reason::TopicGone) && known.partition_count(&partition.topic).is_none() {
                self.gone.insert(partition.topic.clone());
            }
            let topic_id = known.topic_id(&partition.topic).filter(|_| end.is_ok());
            sweep.partitions.push(partition);
            sweep.ends.push(end);
            sweep.spans.push(span);
            sweep.lineages.push(Lineage { topic_id, leader_epoch: leader_epoch.filter(|_| end.is_ok()) });
        }
        for partition in others {
            let answer = listed.remove(&partition).map(|(answer, _)| answer);
            sweep.heard(&partition, answer.as_ref());
            sweep.others.push((partition, end(answer, false)));
        }
        self.hush(sweep);
    }

    /// What was undecided when it was asked about last, at most a few rounds ago, is told as it was.
    pub(super) async fn read_stable_offsets(&mut self, which: Option<Stable>, sweep: &mut Sweep) {
        if let Some(which) = which {
            self.ask_stable_offsets(which, sweep).await;
        }
        let known = self.undecided.iter().filter(|(of, stable)| sweep.end_of(of).is_some_and(|end| **stable < end));
        let stable = known.map(|(of, stable)| (of.clone(), *stable)).collect();
        sweep.stable = stable;
    }

    async fn ask_stable_offsets(&mut self, which: Stable, sweep: &mut Sweep) {
        let wanted = |of: &&TopicPartition| match which {
            Stable::Everywhere => true,
            Stable::Transactional => self.transactional.contains(&of.topic),
            Stable::Undecided => self.undecided.contains_key(of),
        };
        let known = sweep.partitions.iter().zip(&sweep.ends).filter(|(_, end)| end.is_ok()).map(|(of, _)| of);
        let answered = self.offsets(OffsetSpec::Latest, known.filter(wanted), IsolationLevel::ReadCommitted).await;
        for (partition, answer) in answered.into_iter().flat_map(|it| it.offsets) {
            match answer {
                Ok(ListedOffset { offset: Some(stable), .. })
                    if sweep.end_of(&partition).is_some_and(|end| stable < end) =>
                {
                    self.transactional.insert(partition.topic.clone());
                    self.undecided.insert(partition, stable);
                }
                Ok(_) => drop(self.undecided.remove(&partition)),
                Err(error) => sweep.fails(&partition, &error),
            }
        }
        self.hush(sweep);
    }

    /// One that is not answered keeps its last value: log starts only ever go up. So does one whose reader could not be read, as
    /// long as its history is kept.
    pub(super) async fn read_log_starts(
        &mut self,
        partitions: &[TopicPartition],
        history: &History,
        sweep: &mut Sweep,
    ) {
        let answered = self.offsets(OffsetSpec::Earliest, partitions, IsolationLevel::ReadUncommitted).await;
        let is_kept = |partition: &TopicPartition| {
            let is_other = sweep.others.binary_search_by(|(it, _)| it.cmp(partition)).is_ok();
            is_other || sweep.partitions.binary_search(partition).is_ok() || history.of(partition).is_some()
        };
        self.log_starts.retain(|partition, _| is_kept(partition));
        self.undecided.retain(|partition, _| is_kept(partition));
        for (partition, answer) in answered.into_iter().flat_map(|it| it.offsets) {
            match answer {
                Ok(ListedOffset { offset: Some(offset), .. }) => {
                    self.log_starts.insert(partition, offset);
                }
                Ok(_) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => sweep.fails(&partition, &error),
            }
        }
        self.hush(sweep);
    }

    /// Who may not ask for configurations goes without the countdown, and hears of it at debug level only. What is not answered
    /// is as it was when it was asked for last.
    pub(super) async fn read_retention(
        &mut self,
        which: Option<Retention>,
        partitions: &[TopicPartition],
        history: &History,
    ) {
        let mut wanted = topics(partitions);
        let is_new = |topic: &Topic| !self.retention_asked.contains(topic);
        self.has_new_topics = wanted.iter().any(is_new);
        let Some(which) = which.filter(|_| !wanted.is_empty()) else { return };
        match which {
            Retention::OfNew => wanted.retain(is_new),
            Retention::OfAll => self.forget_settings(&wanted, history),
        }
        self.retention_asked.extend(wanted.iter().cloned());
        self.has_new_topics = false;
        let resources: Vec<_> = wanted.into_iter().map(ConfigResource::Topic).collect();
        let policies = Arc::make_mut(&mut self.cleanup_policies);
        for (resource, entries) in self.admin.describe_configs(&resources).await.into_iter().flatten() {
            match (resource, entries) {
                (ConfigResource::Topic(topic), Ok(entries)) => {
                    let policy = value(&entries, "cleanup.policy").map(str::to_owned);
                    set(policies, &topic, policy);
                    set(&mut self.retention_ms, &topic, retention_ms(&entries));
                }
                (resource, Err(error)) => tracing::debug!(?resource, %error, "how long a topic is kept was not said"),
                (_, Ok(_)) => {}
            }
        }
    }

    /// How topics are kept that nobody reads any more. One whose reader could not be read in this round has a history for
    /// as long as it may be one.
    fn forget_settings(&mut self, read: &[Topic], history: &History) {
        let known: HashSet<&Topic> = history.partitions_but(|_| false).map(|it| &it.topic).chain(read).collect();
        self.transactional.retain(|topic| known.contains(topic));
        self.retention_ms.retain(|topic, _| known.contains(topic));
        self.retention_asked.retain(|topic| known.contains(topic));
        Arc::make_mut(&mut self.cleanup_policies).retain(|topic, _| known.contains(topic));
    }

    /// Only where they are told; who may not ask for them goes without, and a broker that does not answer leaves topics open.
    pub(super) async fn read_log_dirs(&mut self) {
        if !self.config.compat.contains(&Family::Kminion) {
            return;
        }
        let known = self.cluster();
        let silent = known.brokers.keys().filter_map(|broker| Some((*broker, Err(self.silent.why(*broker)?.clone()))));
        let described = self.admin.describe_log_dirs(&self.answering()).await.into_iter().flatten();
        self.log_dirs = Some(Arc::new(LogDirs::of(described.chain(silent).collect())));
    }

    /// Where these epochs end in the logs of those that lead now, as far as they say so: one request a leader.
    pub(in crate::lag) async fn epoch_ends(
        &mut self,
        of: &HashMap<TopicPartition, LeaderEpoch>,
        sweep: &mut Sweep,
    ) -> Vec<(TopicPartition, Option<Offset>)> {
        if of.is_empty() {
            return Vec::new();
        }
        let mut ends = Vec::with_capacity(of.len());
        for (partition, answer) in self.admin.epoch_ends(of).await {
            match answer {
                Ok(end) => ends.push((partition, end.and_then(|end| end.offset))),
                Err(error) => sweep.fails(&partition, &error),
            }
        }
        self.hush(sweep);
        ends
    }

    /// The time ladder for partitions whose readers are behind what is remembered: a few requests a leader. What time it is is
    /// the wall's to say, as it was when the records were stamped.
    pub(in crate::lag) async fn climb(
        &mut self,
        now_ms: i64,
        behind: &[(TopicPartition, Offset)],
        sweep: &mut Sweep,
    ) -> Vec<(TopicPartition, Vec<Probe>)> {
        let mut climbed = Vec::with_capacity(behind.len());
        for some in behind.chunks(CLIMB_AT_MOST) {
            climbed.extend(self.climb_with(now_ms, some, sweep).await);
            // Who has not answered is not waited for with the next ones.
            self.hush(sweep);
        }
        climbed
    }

    async fn climb_with(
        &self,
        now_ms: i64,
        behind: &[(TopicPartition, Offset)],
        sweep: &mut Sweep,
    ) -> HashMap<TopicPartition, Vec<Probe>> {
        let rungs = ladder::rungs(now_ms).map(|time_ms| {
            let partitions = behind.iter().map(|(partition, _)| partition);
            let asked = self.offsets(OffsetSpec::At(time_ms), partitions, IsolationLevel::ReadUncommitted);
            async move { (time_ms, asked.await) }
        });
        // Of each that a leader has said something of, be it that it does not tell.
        let mut probes: HashMap<TopicPartition, Vec<Probe>> = HashMap::new();
        let ends: HashMap<&TopicPartition, Offset> = behind.iter().map(|(it, end)| (it, *end)).collect();
        for (time_ms, answered) in join_all(rungs).await {
            for (partition, answer) in answered.into_iter().flat_map(|it| it.offsets) {
                match (answer, ends.get(&partition)) {
                    (Ok(listed), Some(end)) => {
                        let probe = ladder::probe(time_ms, listed.offset, *end);
                        probes.entry(partition).or_default().push(probe);
                    }
                    (Err(error), _) if error.is_transport() => sweep.fails("time index", &error),
                    (Err(error), _) => {
                        tracing::debug!(%partition, %error, "a time index does not tell");
                        probes.entry(partition).or_default();
                    }
                    (Ok(_), None) => {}
                }
            }
        }
        probes
    }
}

/// What the leader of some partitions answered of each, and when.
#[derive(Debug)]
struct Answered {
    span: Span,
    offsets: HashMap<TopicPartition, Result<ListedOffset, Error>>,
}

/// Every partition once, in order. Most groups that read a topic read the same partitions of it.
pub(super) fn partitions(commits: &[Commits]) -> Vec<TopicPartition> {
    let mut by_topic: BTreeMap<&Topic, Numbers> = BTreeMap::new();
    for Commits { topic, offsets, .. } in commits {
        by_topic.entry(topic).or_default().add(offsets);
    }
    let of_topic = |(topic, mut numbers): (&Topic, Numbers)| {
        numbers.settle();
        let topic = topic.clone();
        numbers.all.into_iter().map(move |partition| TopicPartition { topic: topic.clone(), partition })
    };
    by_topic.into_iter().flat_map(of_topic).collect()
}

/// The partitions of a topic, however many groups name some of them.
#[derive(Debug, Default)]
struct Numbers {
    all: Vec<i32>,
    /// So many of them are in order, each once; the others are put in their places when there are as many.
    settled: usize,
}

impl Numbers {
    fn add(&mut self, offsets: &[(i32, Offset)]) {
        let numbers = offsets.iter().map(|(partition, _)| *partition);
        let settled = self.all.get(..self.settled).unwrap_or_default();
        if numbers.clone().eq(settled.iter().copied()) {
            return;
        }
        let new: Vec<i32> = numbers.filter(|number| settled.binary_search(number).is_err()).collect();
        self.all.extend(new);
        if self.all.len() - self.settled > self.settled {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.all.sort_unstable();
        self.all.dedup();
        self.settled = self.all.len();
    }
}

/// What is known of a topic by now, if anything is.
fn set<T>(known: &mut HashMap<Topic, T>, topic: &Topic, value: Option<T>) {
    match value {
        Some(value) => drop(known.insert(topic.clone(), value)),
        None => drop(known.remove(topic)),
    }
}

/// Their topics, each once.
fn topics(partitions: &[TopicPartition]) -> Vec<Topic> {
    let first = partitions.chunk_by(|a, b| a.topic == b.topic).filter_map(<[_]>::first);
    first.map(|partition| partition.topic.clone()).collect()
}

/// Where a partition ends, from what its leader answered. One that was not asked about, because its topic is known not to
/// exist, is gone; one that the answers leave out is not known.
fn end(answer: Option<Result<ListedOffset, Error>>, is_known_to_be_gone: bool) -> Result<Offset, Reason> {
    match answer {
        Some(Ok(listed)) => listed.offset.ok_or(Reason::EndUnknown),
        Some(Err(error)) if is_gone(&error) => Err(Reason::TopicGone),
        None if is_known_to_be_gone => Err(Reason::TopicGone),
        Some(Err(_)) | None => Err(Reason::EndUnknown),
    }
}

fn value<'a>(entries: &'a [ConfigEntry], name: &str) -> Option<&'a str> {
    entries.iter().find(|entry| entry.name == name)?.value.as_deref()
}

/// How long a key's last record is surely kept: `None` where size may take it earlier, at a time that depends on what will be
/// written, or where nothing ever does. Compaction takes records that were superseded, which is no loss.
fn retention_ms(entries: &[ConfigEntry]) -> Option<i64> {
    let number = |name: &str| value(entries, name)?.parse::<i64>().ok();
    let by_time = value(entries, "cleanup.policy")?.split(',').any(|policy| policy.trim() == "delete");
    let by_size = number("retention.bytes")? >= 0;
    number("retention.ms").filter(|ms| *ms >= 0 && by_time && !by_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{ConfigSource, ErrorKind};

    #[test]
    fn partitions_are_those_of_all_groups_however_they_divide_them() {
        let check = |of_groups: &[&[i32]]| {
            let commits = |at: usize, numbers: &&[i32]| Commits {
                group: format!("g-{at:04}").into(),
                topic: if at.is_multiple_of(2) { "a".into() } else { "b".into() },
                offsets: numbers.iter().map(|number| (*number, 0)).collect(),
                before_it: vec![],
            };
            let commits: Vec<_> = of_groups.iter().enumerate().map(|(at, of)| commits(at, of)).collect();
            let each = commits.iter().flat_map(|it| it.offsets.iter().map(|(at, _)| (it.topic.to_string(), *at)));
            let want: std::collections::BTreeSet<_> = each.collect();
            let all: Vec<_> = partitions(&commits).iter().map(|it| (it.topic.to_string(), it.partition)).collect();
            assert_eq!(all, want.into_iter().collect::<Vec<_>>(), "{of_groups:?}");
        };
        check(&[]);
        check(&[&[0, 1, 2], &[0, 1], &[0, 1, 2], &[1], &[3]]);
        check(&[&[7], &[], &[3], &[9], &[7, 9], &[1, 3, 5], &[i32::MAX, -1]]);
        let alone: Vec<[i32; 1]> = (0..1_000).map(|at| [at * 7_919 % 1_000]).collect();
        check(&alone.iter().map(|it| &it[..]).collect::<Vec<_>>());
    }

    #[test]
    fn a_partition_is_gone_only_when_that_was_said() {
        let check = |answer, is_known_to_be_gone, want| {
            let said = format!("{answer:?}");
            assert_eq!(end(answer, is_known_to_be_gone), want, "{said}");
        };
        let listed = |offset| Some(Ok(ListedOffset { offset, timestamp_ms: None, leader_epoch: None }));
        let refused = |kind| Some(Err(Error::new(kind)));
        check(listed(Some(7)), false, Ok(7));
        check(listed(None), false, Err(Reason::EndUnknown));
        check(refused(ErrorKind::UnknownPartition), false, Err(Reason::TopicGone));
        check(refused(ErrorKind::NoLeader), false, Err(Reason::EndUnknown));
        check(None, true, Err(Reason::TopicGone));
        check(None, false, Err(Reason::EndUnknown));
    }

    #[test]
    fn what_retention_promises() {
        let check = |policy: &str, bytes: &str, ms: &str, want: Option<i64>| {
            let entry = |name: &str, value: &str| ConfigEntry {
                name: name.to_owned(),
                value: Some(value.to_owned()),
                source: ConfigSource::Default,
                is_read_only: false,
                is_sensitive: false,
            };
            let entries = [entry("cleanup.policy", policy), entry("retention.bytes", bytes), entry("retention.ms", ms)];
            assert_eq!(retention_ms(&entries), want, "{policy} {bytes} {ms}");
        };
        check("delete", "-1", "60000", Some(60_000));
        check("delete", "-1", "-1", None);
        check("delete", "1000", "60000", None);
        check("compact", "-1", "60000", None);
        check("compact,delete", "-1", "60000", Some(60_000));
        check("delete, compact", "-1", "60000", Some(60_000));
        check("compact,delete", "1000", "60000", None);
        assert_eq!(retention_ms(&[]), None);
    }
}
