//! One sweep over the cluster: commits first, then ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;

use futures::future::join_all;

use super::Config;
use super::clock::Clock;
use super::history::{Lineage, Probe, Sample};
use super::join::Commits;
use super::ladder;
use super::nodes::{Hold, PROTOCOL_TYPE};
use super::round::Group;
use super::rounds::Rounds;
use super::row::Reason;
use super::store::Life;
use crate::client::{
    Admin, Client, ConfigEntry, ConfigResource, Error, ErrorCode, ErrorKind, GroupListing, GroupType, IsolationLevel,
    ListedOffset, Metadata, Offset, OffsetSpec, ShareOffsets, Topic, TopicCommits, TopicPartition, Topics,
};

/// What cannot be known at once is missing from this round; the next one asks again.
const ASKED_AT_MOST: u32 = 4;
/// How many rounds a topic's retention is taken for granted.
const RETENTION_EVERY: u32 = 60;

/// What a sweep read.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    pub commits: Vec<Commits>,
    /// Every partition that some group has committed for, once, in order.
    pub partitions: Vec<TopicPartition>,
    /// Of each partition the end, and whose life it is of.
    pub ends: Vec<Result<Offset, Reason>>,
    pub lineages: Vec<Lineage>,
    /// Last stable offsets, as far as they are known and below the ends.
    pub stable: HashMap<TopicPartition, Offset>,
    /// When the ends were asked for, and when the last answer was there.
    pub ends_asked_ms: i64,
    pub ends_answered_ms: i64,
    pub commits_asked_ms: i64,
    pub failures: Vec<String>,
    /// Groups whose commits could not be read, all of them or some, and why.
    pub unread: BTreeMap<Arc<str>, String>,
}

/// What is remembered between sweeps, so that not everything is asked every time.
#[derive(Debug)]
pub(super) struct Collector {
    client: Client,
    admin: Admin,
    clock: Clock,
    config: Config,
    sweeps: u32,
    /// Where this monitor shares the groups with others.
    pub rounds: Option<Rounds>,
    /// What it held when all brokers listed their groups last.
    listed_for: Option<Arc<Hold>>,
    /// Sorted by name; only those that it reads.
    pub groups: Vec<Group>,
    /// How many there are, whoever reads them.
    pub listed: usize,
    /// Brokers that did not list theirs when they were asked last.
    pub unlisted: Vec<String>,
    pub log_starts: HashMap<TopicPartition, Offset>,
    pub retention_ms: HashMap<Topic, i64>,
    /// Partitions in which a transaction was undecided when they were asked about last.
    undecided: HashSet<TopicPartition>,
    /// Topics that do not exist, as far as was heard since groups were listed last.
    gone: HashSet<Topic>,
}

impl Collector {
    pub(super) fn new(client: &Client, clock: Clock, config: &Config) -> Self {
        Self {
            admin: client.admin().rounds(ASKED_AT_MOST),
            client: client.clone(),
            clock,
            config: config.clone(),
            sweeps: 0,
            rounds: None,
            listed_for: None,
            groups: Vec::new(),
            listed: 0,
            unlisted: Vec::new(),
            log_starts: HashMap::new(),
            retention_ms: HashMap::new(),
            undecided: HashSet::new(),
            gone: HashSet::new(),
        }
    }

    /// An error only when nothing could be read at all.
    pub(super) async fn sweep(&mut self) -> Result<Sweep, Error> {
        let mut sweep = Sweep::default();
        let hold = self.rounds.as_ref().and_then(Rounds::hold);
        let reads_others = self.reads_others(hold.as_deref());
        if reads_others || self.is_turn(self.config.list_groups_every) || self.groups.is_empty() {
            self.list_groups(hold, &mut sweep).await?;
        }
        self.read_commits(&mut sweep).await?;
        sweep.partitions = partitions(&sweep.commits);
        self.follow(&mut sweep).await;
        let there: Vec<_> = sweep.partitions.iter().filter(|it| !self.gone.contains(&it.topic)).cloned().collect();
        self.read_ends(&there, &mut sweep).await?;
        self.read_stable_offsets(&mut sweep).await?;
        if reads_others || self.is_turn(self.config.log_starts_every) {
            self.read_log_starts(&there, &mut sweep).await?;
        }
        if reads_others || self.is_turn(RETENTION_EVERY) {
            self.read_retention(&there).await;
        }
        self.sweeps = self.sweeps.wrapping_add(1);
        Ok(sweep)
    }

    pub(super) fn cluster(&self) -> Arc<Metadata> {
        self.client.cluster().metadata()
    }

    fn is_turn(&self, every: u32) -> bool {
        self.sweeps.is_multiple_of(every.max(1))
    }

    /// Whether other groups are this node's to read than when all were listed last.
    fn reads_others(&self, hold: Option<&Hold>) -> bool {
        let before = self.listed_for.as_ref();
        hold.is_some_and(|hold| before.is_none_or(|before| hold.reads_others_than(before)))
    }

    /// A broker that does not answer hides the groups it keeps: those known from before stay on the list.
    async fn list_groups(&mut self, hold: Option<Arc<Hold>>, sweep: &mut Sweep) -> Result<(), Error> {
        let listed = self.admin.list_groups().await?;
        // Monitors that share groups are members of one themselves, which reads nothing.
        let is_read = |listed: &GroupListing| listed.protocol_type.as_deref() != Some(PROTOCOL_TYPE);
        let groups = listed.groups.into_iter().filter(is_read);
        let groups = groups.filter(|listed| self.config.groups.passes(&listed.group_id));
        let mut by_name: HashMap<Arc<str>, Group> = HashMap::new();
        if !listed.failures.is_empty() {
            by_name.extend(self.groups.drain(..).map(|group| (Arc::clone(&group.name), group)));
        }
        by_name.extend(groups.map(group).map(|group| (Arc::clone(&group.name), group)));
        self.listed = by_name.len();
        if let Some(hold) = &hold {
            by_name.retain(|name, _| hold.reads(name));
        }
        if listed.failures.is_empty() {
            self.listed_for = hold;
        }
        self.unlisted = listed.failures.iter().map(ToString::to_string).collect();
        sweep.failures.extend(self.unlisted.iter().cloned());
        self.groups = by_name.into_values().collect();
        self.groups.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.gone.clear();
        match self.config.asks_for_members() {
            true => self.read_members(sweep).await,
            false => Ok(()),
        }
    }

    async fn read_members(&mut self, sweep: &mut Sweep) -> Result<(), Error> {
        let known = |group: &Group| (group.name.to_string(), group.kind.as_deref().and_then(GroupType::of));
        let groups: Vec<_> = self.groups.iter().map(known).collect();
        let mut described = self.admin.describe_groups_as(&groups).await?;
        for group in &mut self.groups {
            match described.remove(&*group.name) {
                Some(Ok(said)) => {
                    group.assignor = said.assignor;
                    group.members = Some(said.members.into());
                }
                Some(Err(error)) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => group.members = None,
                Some(Err(error)) => sweep.failures.push(format!("members of group {}: {error}", group.name)),
                None => {}
            }
        }
        Ok(())
    }

    fn names(&self, which: impl Fn(&Group) -> bool) -> Vec<String> {
        self.groups.iter().filter(|group| which(group)).map(|group| group.name.to_string()).collect()
    }

    async fn read_commits(&mut self, sweep: &mut Sweep) -> Result<(), Error> {
        sweep.commits_asked_ms = self.clock.now_ms();
        let (share, names) = (self.names(Group::is_share), self.names(|group| !group.is_share()));
        let (read, shared) = tokio::join!(self.admin.commits(&names), self.admin.share_offsets(&share));
        let read = read.into_iter().map(|(name, said)| (name, said.map(taken)));
        let shared = shared.into_iter().map(|(name, said)| (name, said.map(taken)));
        let (mut answers, mut silence, mut topics) = (0, None, HashSet::new());
        for (name, commits) in read.chain(shared) {
            let at = self.groups.binary_search_by(|group| (*group.name).cmp(&name));
            let Some(group) = at.ok().and_then(|at| self.groups.get(at)) else { continue };
            match commits {
                Err(error) if error.code().is_none() => {
                    sweep.unread(group, &error);
                    silence = Some(error);
                    continue;
                }
                // It was deleted since it was listed.
                Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => {}
                Err(error) => sweep.unread(group, &error),
                Ok(commits) => {
                    let looked_at = commits.into_iter().filter(|of| self.config.topics.passes(&of.topic));
                    looked_at.for_each(|of| sweep.take(group, of, &mut topics));
                }
            }
            answers += 1;
        }
        silence.filter(|_| answers == 0).map_or(Ok(()), Err)
    }

    /// From now on, whenever the cluster is learned anew, these topics are too: a topic that is made anew is known by its
    /// id, and nothing more has to be asked for that.
    async fn follow(&mut self, sweep: &mut Sweep) {
        let known = self.cluster();
        let mut new = topics(&sweep.partitions);
        new.retain(|topic| known.partition_count(topic).is_none() && !self.gone.contains(topic));
        if new.is_empty() {
            return;
        }
        match self.client.cluster().refresh(Topics::Follow(new.clone())).await {
            Ok(known) => self.gone.extend(new.into_iter().filter(|topic| {
                known.topic(topic).is_none_or(|it| it.error == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
            })),
            Err(error) => sweep.failures.push(error.to_string()),
        }
    }

    async fn read_ends(&mut self, partitions: &[TopicPartition], sweep: &mut Sweep) -> Result<(), Error> {
        sweep.ends_asked_ms = self.clock.now_ms();
        let mut listed =
            self.admin.list_offsets(OffsetSpec::Latest, partitions, IsolationLevel::ReadUncommitted).await?;
        sweep.ends_answered_ms = self.clock.now_ms();
        let known = self.cluster();
        for partition in &sweep.partitions {
            let answer = listed.remove(partition);
            if let Some(Err(error)) = answer.as_ref().filter(|it| it.as_ref().is_err_and(|error| !is_gone(error))) {
                sweep.failures.push(format!("{partition}: {error}"));
            }
            let leader_epoch = answer.as_ref().and_then(|it| it.as_ref().ok()?.leader_epoch);
            let end = end(answer, self.gone.contains(&partition.topic));
            if end == Err(Reason::TopicGone) && known.partition_count(&partition.topic).is_none() {
                self.gone.insert(partition.topic.clone());
            }
            let topic_id = known.topic_id(&partition.topic).filter(|_| end.is_ok());
            sweep.ends.push(end);
            sweep.lineages.push(Lineage { topic_id, leader_epoch: leader_epoch.filter(|_| end.is_ok()) });
        }
        Ok(())
    }

    /// Of all partitions when it is their turn, which is not that of the log starts; else of those that were undecided.
    async fn read_stable_offsets(&mut self, sweep: &mut Sweep) -> Result<(), Error> {
        let every = self.config.stable_offsets_every;
        let is_turn = every > 0 && self.sweeps % every == every / 2;
        let wanted = |partition: &TopicPartition| is_turn || self.undecided.contains(partition);
        let ends: HashMap<TopicPartition, Offset> = sweep.ends().filter(|(it, _)| wanted(it)).collect();
        if ends.is_empty() {
            return Ok(());
        }
        let asked: Vec<_> = ends.keys().cloned().collect();
        let listed = self.admin.list_offsets(OffsetSpec::Latest, &asked, IsolationLevel::ReadCommitted).await?;
        for (partition, answer) in listed {
            match (answer, ends.get(&partition)) {
                (Ok(ListedOffset { offset: Some(stable), .. }), Some(end)) if stable < *end => {
                    self.undecided.insert(partition.clone());
                    sweep.stable.insert(partition, stable);
                }
                (Ok(_), _) => drop(self.undecided.remove(&partition)),
                (Err(error), _) => sweep.failures.push(format!("{partition}: {error}")),
            }
        }
        Ok(())
    }

    /// One that is not answered keeps its last value: log starts only ever go up.
    async fn read_log_starts(&mut self, partitions: &[TopicPartition], sweep: &mut Sweep) -> Result<(), Error> {
        let listed = self.admin.list_offsets(OffsetSpec::Earliest, partitions, IsolationLevel::ReadUncommitted).await?;
        self.log_starts.retain(|partition, _| sweep.partitions.binary_search(partition).is_ok());
        self.undecided.retain(|partition| sweep.partitions.binary_search(partition).is_ok());
        for (partition, answer) in listed {
            match answer {
                Ok(ListedOffset { offset: Some(offset), .. }) => {
                    self.log_starts.insert(partition, offset);
                }
                Ok(_) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => sweep.failures.push(format!("{partition}: {error}")),
            }
        }
        Ok(())
    }

    /// Who may not ask for configurations goes without the countdown, and hears of it at debug level only.
    async fn read_retention(&mut self, partitions: &[TopicPartition]) {
        let resources: Vec<_> = topics(partitions).into_iter().map(ConfigResource::Topic).collect();
        if resources.is_empty() {
            return;
        }
        match self.admin.describe_configs(&resources).await {
            Ok(described) => {
                let known = described.into_iter().filter_map(|(resource, entries)| match (resource, entries) {
                    (ConfigResource::Topic(topic), Ok(entries)) => Some((topic, retention_ms(&entries)?)),
                    _ => None,
                });
                self.retention_ms = known.collect();
            }
            Err(error) => tracing::debug!(%error, "how long topics are kept is not known"),
        }
    }

    /// The time ladder for partitions whose readers are behind what is remembered: a few requests a leader.
    pub(super) async fn climb(
        &self,
        now_ms: i64,
        behind: &[(TopicPartition, Offset)],
        failures: &mut Vec<String>,
    ) -> Vec<(TopicPartition, Vec<Probe>)> {
        let partitions: Vec<_> = behind.iter().map(|(partition, _)| partition.clone()).collect();
        let rungs = ladder::rungs(now_ms).map(|time_ms| {
            let asked = self.admin.list_offsets(OffsetSpec::At(time_ms), &partitions, IsolationLevel::ReadUncommitted);
            async move { (time_ms, asked.await) }
        });
        let mut probes: HashMap<TopicPartition, Vec<Probe>> = HashMap::new();
        let ends: HashMap<&TopicPartition, Offset> = behind.iter().map(|(it, end)| (it, *end)).collect();
        for (time_ms, answered) in join_all(rungs).await {
            let listed = match answered {
                Ok(listed) => listed,
                Err(error) => {
                    failures.push(format!("time index: {error}"));
                    continue;
                }
            };
            for (partition, answer) in listed {
                if let (Ok(listed), Some(end)) = (answer, ends.get(&partition)) {
                    let probe = ladder::probe(time_ms, listed.offset, *end);
                    probes.entry(partition).or_default().push(probe);
                }
            }
        }
        probes.into_iter().collect()
    }
}

impl Sweep {
    /// `topics` has each topic's name once, for all groups that read it.
    fn take(&mut self, group: &Group, commits: Taken, topics: &mut HashSet<Topic>) {
        let topic = topics.get(&commits.topic).cloned().unwrap_or_else(|| commits.topic.clone());
        topics.insert(topic.clone());
        let Taken { offsets, before_it, errors, .. } = commits;
        for (partition, why) in errors {
            self.unread(group, &format_args!("{topic}-{partition}: {why}"));
        }
        if !offsets.is_empty() {
            self.commits.push(Commits { group: Arc::clone(&group.name), topic, offsets, before_it });
        }
    }

    fn unread(&mut self, group: &Group, why: &dyn Display) {
        self.failures.push(format!("group {}: {why}", group.name));
        self.unread.insert(Arc::clone(&group.name), why.to_string());
    }

    /// What the history learns from this sweep.
    pub(super) fn samples(&self) -> impl Iterator<Item = (&TopicPartition, Sample, Lineage)> {
        let ends = self.partitions.iter().zip(&self.ends).zip(&self.lineages);
        ends.filter_map(|((partition, end_offset), lineage)| {
            let (asked_ms, answered_ms) = (self.ends_asked_ms, self.ends_answered_ms);
            Some((partition, Sample { asked_ms, answered_ms, end_offset: (*end_offset).ok()? }, *lineage))
        })
    }

    /// The ends that are known.
    fn ends(&self) -> impl Iterator<Item = (TopicPartition, Offset)> {
        let ends = self.partitions.iter().zip(&self.ends);
        ends.filter_map(|(partition, end)| Some((partition.clone(), (*end).ok()?)))
    }

    /// The same, with the life of its topic in which a partition was read.
    pub(super) fn lives(&self) -> impl Iterator<Item = (Life, Sample)> {
        self.samples().map(|(partition, sample, lineage)| ((partition.clone(), lineage.topic_id), sample))
    }
}

/// Every partition once, in order. Most groups that read a topic read the same partitions of it.
fn partitions(commits: &[Commits]) -> Vec<TopicPartition> {
    let mut by_topic: BTreeMap<&Topic, Vec<i32>> = BTreeMap::new();
    for Commits { topic, offsets, .. } in commits {
        let known = by_topic.entry(topic).or_default();
        let numbers = || offsets.iter().map(|(partition, _)| *partition);
        if !numbers().eq(known.iter().copied()) {
            known.extend(numbers());
            known.sort_unstable();
            known.dedup();
        }
    }
    let of_topic = |(topic, partitions): (&Topic, Vec<i32>)| {
        let topic = topic.clone();
        partitions.into_iter().map(move |partition| TopicPartition { topic: topic.clone(), partition })
    };
    by_topic.into_iter().flat_map(of_topic).collect()
}

/// Their topics, each once.
fn topics(partitions: &[TopicPartition]) -> Vec<Topic> {
    let first = partitions.chunk_by(|a, b| a.topic == b.topic).filter_map(<[_]>::first);
    first.map(|partition| partition.topic.clone()).collect()
}

/// What was read of one group on one topic.
#[derive(Debug)]
struct Taken {
    topic: Topic,
    offsets: Vec<(i32, Offset)>,
    before_it: Vec<u64>,
    errors: Vec<(i32, String)>,
}

fn taken<T: Into<Taken>>(said: Vec<T>) -> Vec<Taken> {
    said.into_iter().map(Into::into).collect()
}

impl From<TopicCommits> for Taken {
    fn from(TopicCommits { topic, offsets, errors }: TopicCommits) -> Self {
        let errors = errors.into_iter().map(|(partition, code)| (partition, code.to_string())).collect();
        Self { topic, offsets, before_it: vec![], errors }
    }
}

impl From<ShareOffsets> for Taken {
    fn from(ShareOffsets { topic, offsets: said, errors }: ShareOffsets) -> Self {
        let mut errors: Vec<_> = errors.into_iter().map(|(partition, code)| (partition, code.to_string())).collect();
        let (mut offsets, mut before_it) = (Vec::with_capacity(said.len()), Vec::with_capacity(said.len()));
        for it in said {
            match it.lag {
                Some(lag) => {
                    offsets.push((it.partition, it.start));
                    before_it.push(lag);
                }
                None => {
                    errors.push((it.partition, "the broker does not say how far behind share groups are".to_owned()))
                }
            }
        }
        Self { topic, offsets, before_it, errors }
    }
}

fn group(listed: GroupListing) -> Group {
    Group {
        name: listed.group_id.into(),
        state: listed.state,
        kind: listed.group_type,
        protocol_type: listed.protocol_type,
        coordinator: listed.coordinator,
        members: None,
        assignor: None,
    }
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

fn is_gone(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::UnknownPartition) || error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

/// How long records are surely kept: `None` where size or compaction may take them earlier, or nothing ever does.
fn retention_ms(entries: &[ConfigEntry]) -> Option<i64> {
    let value = |name: &str| entries.iter().find(|entry| entry.name == name)?.value.as_deref();
    let number = |name: &str| value(name)?.parse::<i64>().ok();
    let by_time_only = value("cleanup.policy")? == "delete" && number("retention.bytes")? < 0;
    number("retention.ms").filter(|ms| *ms >= 0 && by_time_only)
}

#[cfg(test)]
mod tests {
    use super::super::nodes::Node;
    use super::super::rounds::tests::hear;
    use super::*;
    use crate::client::{ClientConfig, ConfigSource, NewTopic};
    use crate::devbroker::{self, DevBroker, Fault, Matching};
    use crate::protocol::api::Body;
    use crate::protocol::messages::ListGroupsRequest;

    const GROUPS: usize = 30;

    /// A broker with groups that have committed for a topic.
    async fn house() -> (DevBroker, Client) {
        let broker = DevBroker::start(devbroker::Config::with_brokers(3)).await.unwrap();
        let bootstrap_servers = vec![broker.bootstrap_servers()];
        let client = Client::connect(ClientConfig { bootstrap_servers, ..ClientConfig::default() }).await.unwrap();
        client.admin().create_topics(&[NewTopic::new("t").partitions(1)]).await.unwrap();
        for group in 0..GROUPS {
            let offsets = [(TopicPartition::new("t", 0), 0.into())];
            client.admin().alter_offsets(&format!("g-{group}"), &offsets).await.unwrap();
        }
        (broker, client)
    }

    #[tokio::test]
    async fn groups_that_are_taken_over_are_listed_until_all_brokers_have() {
        let (broker, client) = house().await;
        let (rounds, mut node) = (Rounds::default(), Node::new("a", 10_000, 1));
        hear(&mut node, &rounds, &["a", "b"], 1);
        let config = Config { list_groups_every: 1_000, ..Config::default() };
        let mut collector = Collector::new(&client, Clock::start(), &config);
        collector.rounds = Some(rounds.clone());
        collector.sweep().await.unwrap();
        assert!(collector.groups.len() < GROUPS && collector.retention_ms.len() == 1, "{collector:?}");

        hear(&mut node, &rounds, &["a"], 2);
        (collector.log_starts, collector.retention_ms) = (HashMap::new(), HashMap::new());
        broker.faults().inject(Matching::api(ListGroupsRequest::KEY).broker(2), 100, Fault::Disconnect);
        let sweep = collector.sweep().await.unwrap();
        assert!(!sweep.failures.is_empty() && collector.groups.len() < GROUPS, "{collector:?}");
        assert_eq!((collector.log_starts.len(), collector.retention_ms.len()), (1, 1), "of what was taken over");
        broker.faults().clear();
        collector.sweep().await.unwrap();
        assert_eq!(collector.groups.len(), GROUPS);

        broker.faults().reset_counts();
        collector.sweep().await.unwrap();
        assert_eq!(broker.faults().count(ListGroupsRequest::KEY), 0, "all are listed");
        broker.stop().await.unwrap();
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
        check("compact,delete", "-1", "60000", None);
        assert_eq!(retention_ms(&[]), None);
    }
}
