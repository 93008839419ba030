//! One sweep over the cluster: commits first, then ends.
//!
//! Every broker is asked for itself, and what it is asked has as long as [`Config::patience`] says. One that has not answered
//! by then is [silent]: what only it knows is missing from this round, and neither the rest of it nor the next rounds wait
//! for it again.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::clock::Clock;
use super::history::{History, Lineage, Probe, Ring, Sample};
use super::join::{Commits, by_topic};
use super::ladder;
use super::nodes::{Hold, PROTOCOL_TYPE};
use super::round::{Group, LogDirs};
use super::rounds::Rounds;
use super::row::Reason;
use super::silent::{self, Silent};
use super::store::Life;
use super::turns::{Every, Left, Retention, Stable, Turns};
use super::{Config, Family};
use crate::client::{
    Admin, BrokerId, Client, ConfigEntry, ConfigResource, Error, ErrorCode, ErrorKind, GroupFilter, GroupListing,
    GroupType, IsolationLevel, LeaderEpoch, ListedOffset, Metadata, Offset, OffsetSpec, ShareOffsets, Topic,
    TopicCommits, TopicPartition, Topics,
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

/// What the leader of some partitions answered of each, and when.
#[derive(Debug)]
struct Answered {
    span: Span,
    offsets: HashMap<TopicPartition, Result<ListedOffset, Error>>,
}

/// What a group had committed on a topic, as far as it shows that the topic or the group is another one by now.
#[derive(Debug, PartialEq, Eq)]
struct Was {
    group: Arc<str>,
    topic: Topic,
    partitions: usize,
    sum: Offset,
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

    /// What all of them keep; an error when none of them says it.
    async fn listed(&mut self, sweep: &mut Sweep) -> Result<(Vec<GroupListing>, Vec<String>), Error> {
        let mut unlisted: Vec<String> = self.silent.iter().map(ToString::to_string).collect();
        let answering = self.answering();
        if let Some(error) = self.silent.iter().next().filter(|_| answering.is_empty()) {
            return Err(error.clone());
        }
        let listed = self.admin.list_groups_at(&answering, &GroupFilter::default()).await;
        let failures = match &listed {
            Ok(listed) => listed.failures.as_slice(),
            Err(error) => std::slice::from_ref(error),
        };
        for error in failures {
            sweep.fails("groups", error);
            unlisted.push(error.to_string());
        }
        self.silent.iter().for_each(|error| sweep.fails("groups", error));
        self.hush(sweep);
        Ok((listed?.groups, unlisted))
    }

    /// A broker that does not answer, or is not known yet, hides the groups it keeps: those known from before that nobody lists
    /// stay, and are returned, until their commits say whether they are gone.
    async fn list_groups(&mut self, hold: Option<Arc<Hold>>, sweep: &mut Sweep) -> Result<HashSet<Arc<str>>, Error> {
        let (listed, unlisted) = self.listed(sweep).await?;
        // Monitors that share groups are members of one themselves, which reads nothing.
        let is_read = |listed: &GroupListing| listed.protocol_type.as_deref() != Some(PROTOCOL_TYPE);
        let groups = listed.into_iter().filter(is_read);
        let groups = groups.filter(|listed| self.config.groups.passes(&listed.group_id));
        let by_name = |group: Group| (Arc::clone(&group.name), group);
        let mut groups: HashMap<Arc<str>, Group> = groups.map(group).map(by_name).collect();
        let kept: Vec<Group> = self.groups.drain(..).filter(|group| !groups.contains_key(&group.name)).collect();
        let not_listed = kept.iter().map(|group| Arc::clone(&group.name)).collect();
        groups.extend(kept.into_iter().map(by_name));
        self.listed = groups.len();
        if let Some(hold) = &hold {
            groups.retain(|name, _| hold.reads(name));
        }
        if unlisted.is_empty() {
            self.listed_for = hold;
        }
        self.unlisted = unlisted;
        self.groups = groups.into_values().collect();
        self.groups.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.gone.clear();
        if self.config.asks_for_members() {
            self.read_members(sweep).await?;
        }
        Ok(not_listed)
    }

    async fn read_members(&mut self, sweep: &mut Sweep) -> Result<(), Error> {
        let known = |group: &Group| (group.name.to_string(), group.kind.as_deref().and_then(GroupType::of));
        let is_asked = |group: &&Group| self.silent.why(group.coordinator).is_none();
        let groups: Vec<_> = self.groups.iter().filter(is_asked).map(known).collect();
        let mut described = self.admin.describe_groups_as(&groups).await?;
        for group in &mut self.groups {
            match described.remove(&*group.name) {
                Some(Ok(said)) => {
                    group.assignor = said.assignor;
                    group.members = Some(said.members.into());
                }
                Some(Err(error)) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => group.members = None,
                Some(Err(error)) => sweep.fails(&format_args!("members of group {}", group.name), &error),
                None => {}
            }
        }
        self.hush(sweep);
        Ok(())
    }

    /// What coordinators say of the groups that they keep, each for itself; what a silent one keeps is not known.
    async fn asked_of_coordinators(&self) -> Vec<(String, Result<Vec<Taken>, Error>)> {
        let names = self.groups.iter().map(|group| group.name.to_string()).collect();
        let (mut answers, mut by_coordinator) = (Vec::new(), BTreeMap::<BrokerId, [Vec<String>; 2]>::new());
        for (name, kept_by) in self.client.cluster().coordinators(names, self.config.patience()).await {
            let silent = kept_by.and_then(|broker| self.silent.why(broker).map_or(Ok(broker), |why| Err(why.clone())));
            match silent {
                Ok(broker) => by_coordinator.entry(broker).or_default()[usize::from(self.is_share(&name))].push(name),
                Err(error) => answers.push((name, Err(error))),
            }
        }
        let asked = by_coordinator.values().map(|[groups, share]| async {
            let (read, shared) = tokio::join!(self.admin.commits(groups), self.admin.share_offsets(share));
            let read = read.into_iter().map(|(name, said)| (name, said.map(taken)));
            read.chain(shared.into_iter().map(|(name, said)| (name, said.map(taken)))).collect::<Vec<_>>()
        });
        answers.extend(join_all(asked).await.into_iter().flatten());
        answers
    }

    fn is_share(&self, name: &str) -> bool {
        self.place_of(name).and_then(|at| self.groups.get(at)).is_some_and(Group::is_share)
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.groups.binary_search_by(|group| (*group.name).cmp(name)).ok()
    }

    async fn read_commits(&mut self, unlisted: &HashSet<Arc<str>>, sweep: &mut Sweep) -> Result<(), Error> {
        sweep.commits_asked_ms = self.clock.now_ms();
        let said = self.asked_of_coordinators().await;
        let (mut answers, mut silence, mut topics) = (0, None, HashSet::new());
        for (name, commits) in said {
            let Some(group) = self.place_of(&name).and_then(|at| self.groups.get(at)) else { continue };
            match commits {
                Err(error) if error.code().is_none() => {
                    sweep.unread(group, &error);
                    silence = Some(error);
                    continue;
                }
                // It was deleted since it was listed.
                Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => {}
                // Who may not read a group does not see it listed either.
                Err(error) if is_refused(&error) && unlisted.contains(&*name) => {}
                Err(error) => sweep.unread(group, &error),
                Ok(commits) => {
                    let looked_at = commits.into_iter().filter(|of| self.config.topics.passes(&of.topic));
                    looked_at.for_each(|of| sweep.take(group, of, &mut topics));
                }
            }
            answers += 1;
        }
        sweep.commits.sort_unstable_by(|a, b| (&a.group, &a.topic).cmp(&(&b.group, &b.topic)));
        self.hush(sweep);
        silence.filter(|_| answers == 0).map_or(Ok(()), Err)
    }

    /// Commits go on and on, as long as group and topic are the same. A group that has none any more may have been deleted:
    /// brokers do not say so of one that they do not know, and its members and its state are not to be told until groups are
    /// listed again. Commits that went back, or are gone, may be of a topic that was made anew.
    async fn see_what_changed(&mut self, has_listed: bool, sweep: &mut Sweep) {
        let now: Vec<Was> = sweep.commits.iter().map(Was::of).collect();
        let before = std::mem::replace(&mut self.before, now);
        let is_read = |was: &&Was| !sweep.unread.contains_key(&was.group);
        let (mut topic_is_another, mut gone) = (false, HashSet::new());
        for was in before.iter().filter(is_read) {
            match self.before.binary_search_by(|now| now.key().cmp(&was.key())) {
                Ok(at) => topic_is_another |= self.before.get(at).is_some_and(|now| now.went_back_from(was)),
                Err(at) => {
                    let beside = [at.checked_sub(1), Some(at)].into_iter().flatten();
                    let has_others = beside.filter_map(|at| self.before.get(at)).any(|now| now.group == was.group);
                    topic_is_another |= has_others;
                    if !has_others {
                        gone.insert(Arc::clone(&was.group));
                    }
                }
            }
        }
        if !gone.is_empty() && !has_listed {
            self.drop_gone(&gone, sweep).await;
        }
        if topic_is_another {
            self.learn(sweep).await;
        }
    }

    /// Forgets groups that no broker keeps any more; new ones wait for their turn, because nothing was read of them.
    async fn drop_gone(&mut self, gone: &HashSet<Arc<str>>, sweep: &mut Sweep) {
        let Ok((listed, unlisted)) = self.listed(sweep).await else { return };
        let kept: HashSet<&str> = listed.iter().map(|it| it.group_id.as_str()).collect();
        self.drop_groups(sweep, |name| !kept.contains(name) && (unlisted.is_empty() || gone.contains(name)));
    }

    /// Where not all brokers have listed their groups, those are gone that had committed something and have not any more:
    /// one that never has may only be hidden.
    fn drop_unlisted(&mut self, unlisted: &HashSet<Arc<str>>, sweep: &Sweep) {
        let had_commits = |name: &str| self.before.binary_search_by(|was| (*was.group).cmp(name)).is_ok();
        let may_be_gone = |name: &&str| self.unlisted.is_empty() || had_commits(name);
        let gone: HashSet<&str> = unlisted.iter().map(|name| &**name).filter(may_be_gone).collect();
        self.drop_groups(sweep, |name| gone.contains(name));
    }

    /// Of groups that nobody lists, those of which their coordinators say that they have committed nothing.
    fn drop_groups(&mut self, sweep: &Sweep, is_unlisted: impl Fn(&str) -> bool) {
        let before = self.groups.len();
        let has_commits = |name: &str| sweep.commits.binary_search_by(|it| (*it.group).cmp(name)).is_ok();
        let may_have_some = |name: &str| has_commits(name) || sweep.unread.contains_key(name);
        self.groups.retain(|group| !is_unlisted(&group.name) || may_have_some(&group.name));
        self.listed -= before - self.groups.len();
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
        let learned = self.client.cluster().refresh_within(Topics::Follow(new.clone()), self.config.patience());
        match learned.await {
            Ok(known) => self.gone.extend(new.into_iter().filter(|topic| {
                known.topic(topic).is_none_or(|it| it.error == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
            })),
            Err(error) => sweep.fails("new topics", &error),
        }
    }

    /// What there is beside the partitions that are read, in order.
    fn others(&self, read: &[TopicPartition]) -> Vec<TopicPartition> {
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
    fn with_others<'a>(&self, read: &'a [TopicPartition], others: &[TopicPartition]) -> Cow<'a, [TopicPartition]> {
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

    async fn read_ends(
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
    async fn read_stable_offsets(&mut self, which: Option<Stable>, sweep: &mut Sweep) {
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
    async fn read_log_starts(&mut self, partitions: &[TopicPartition], history: &History, sweep: &mut Sweep) {
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
    async fn read_retention(&mut self, which: Option<Retention>, partitions: &[TopicPartition], history: &History) {
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
    async fn read_log_dirs(&mut self) {
        if !self.config.compat.contains(&Family::Kminion) {
            return;
        }
        let known = self.cluster();
        let silent = known.brokers.keys().filter_map(|broker| Some((*broker, Err(self.silent.why(*broker)?.clone()))));
        let described = self.admin.describe_log_dirs(&self.answering()).await.into_iter().flatten();
        self.log_dirs = Some(Arc::new(LogDirs::of(described.chain(silent).collect())));
    }

    /// Where these epochs end in the logs of those that lead now, as far as they say so: one request a leader.
    pub(super) async fn epoch_ends(
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
                Ok(end) => ends.push((partition, end)),
                Err(error) => sweep.fails(&partition, &error),
            }
        }
        self.hush(sweep);
        ends
    }

    /// The time ladder for partitions whose readers are behind what is remembered: a few requests a leader. What time it is is
    /// the wall's to say, as it was when the records were stamped.
    pub(super) async fn climb(
        &mut self,
        now_ms: i64,
        behind: &[(TopicPartition, Offset)],
        sweep: &mut Sweep,
    ) -> Vec<(TopicPartition, Vec<Probe>)> {
        let rungs = ladder::rungs(now_ms).map(|time_ms| {
            let partitions = behind.iter().map(|(partition, _)| partition);
            let asked = self.offsets(OffsetSpec::At(time_ms), partitions, IsolationLevel::ReadUncommitted);
            async move { (time_ms, asked.await) }
        });
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
                    _ => {}
                }
            }
        }
        self.hush(sweep);
        probes.into_iter().collect()
    }
}

impl Was {
    fn of(commits: &Commits) -> Self {
        let sum = commits.offsets.iter().fold(0i64, |sum, (_, offset)| sum.saturating_add(*offset));
        Self { group: Arc::clone(&commits.group), topic: commits.topic.clone(), partitions: commits.offsets.len(), sum }
    }

    fn key(&self) -> (&str, &str) {
        (&self.group, self.topic.as_str())
    }

    fn went_back_from(&self, before: &Self) -> bool {
        self.partitions < before.partitions || (self.partitions == before.partitions && self.sum < before.sum)
    }
}

impl Sweep {
    /// `topics` has each topic's name once, for all groups that read it.
    fn take(&mut self, group: &Group, commits: Taken, topics: &mut HashSet<Topic>) {
        let topic = topics.get(&commits.topic).cloned().unwrap_or_else(|| commits.topic.clone());
        topics.insert(topic.clone());
        let Taken { offsets, before_it, errors, .. } = commits;
        for (partition, why) in errors {
            let why = format!("{topic}-{partition}: {why}");
            self.failures.push(format!("group {}: {why}", group.name));
            self.unread.insert(Arc::clone(&group.name), why);
        }
        if !offsets.is_empty() {
            self.commits.push(Commits { group: Arc::clone(&group.name), topic, offsets, before_it });
        }
    }

    fn unread(&mut self, group: &Group, why: &Error) {
        self.fails(&format_args!("group {}", group.name), why);
        self.unread.insert(Arc::clone(&group.name), why.to_string());
    }

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

/// Every partition once, in order. Most groups that read a topic read the same partitions of it.
fn partitions(commits: &[Commits]) -> Vec<TopicPartition> {
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

/// Whether other groups are this node's to read than by what it held `before`.
fn reads_others(hold: Option<&Hold>, before: Option<&Hold>) -> bool {
    hold.is_some_and(|hold| before.is_none_or(|before| hold.reads_others_than(before)))
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

fn is_refused(error: &Error) -> bool {
    error.code() == Some(ErrorCode::GROUP_AUTHORIZATION_FAILED)
}

fn is_gone(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::UnknownPartition) || error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
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
mod tests;
