//! Which groups there are, who is in them, and what they have committed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;

use super::{Collector, Sweep};
use crate::client::{
    BrokerId, Error, ErrorCode, GroupFilter, GroupListing, GroupType, Offset, ShareOffsets, Topic, TopicCommits,
};
use crate::lag::join::Commits;
use crate::lag::nodes::{Hold, PROTOCOL_TYPE};
use crate::lag::round::Group;

impl Collector {
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
    pub(super) async fn list_groups(
        &mut self,
        hold: Option<Arc<Hold>>,
        sweep: &mut Sweep,
    ) -> Result<HashSet<Arc<str>>, Error> {
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

    pub(super) async fn read_commits(&mut self, unlisted: &HashSet<Arc<str>>, sweep: &mut Sweep) -> Result<(), Error> {
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
    pub(super) async fn see_what_changed(&mut self, has_listed: bool, sweep: &mut Sweep) {
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
    pub(super) fn drop_unlisted(&mut self, unlisted: &HashSet<Arc<str>>, sweep: &Sweep) {
        let had_commits = |name: &str| self.before.binary_search_by(|was| (*was.group).cmp(name)).is_ok();
        let may_be_gone = |name: &&str| self.unlisted.is_empty() || had_commits(name);
        let gone: HashSet<&str> = unlisted.iter().map(|name| &**name).filter(may_be_gone).collect();
        self.drop_groups(sweep, |name| gone.contains(name));
    }

    /// Of groups that nobody lists, those of which their coordinators say that they have committed nothing.
    pub(super) fn drop_groups(&mut self, sweep: &Sweep, is_unlisted: impl Fn(&str) -> bool) {
        let before = self.groups.len();
        let has_commits = |name: &str| sweep.commits.binary_search_by(|it| (*it.group).cmp(name)).is_ok();
        let may_have_some = |name: &str| has_commits(name) || sweep.unread.contains_key(name);
        self.groups.retain(|group| !is_unlisted(&group.name) || may_have_some(&group.name));
        self.listed -= before - self.groups.len();
    }
}

impl Sweep {
    /// `topics` has each topic's name once, for all groups that read it.
    pub(super) fn take(&mut self, group: &Group, commits: Taken, topics: &mut HashSet<Topic>) {
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
}

/// What a group had committed on a topic, as far as it shows that the topic or the group is another one by now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Was {
    group: Arc<str>,
    topic: Topic,
    partitions: usize,
    sum: Offset,
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

/// Whether other groups are this node's to read than by what it held `before`.
pub(super) fn reads_others(hold: Option<&Hold>, before: Option<&Hold>) -> bool {
    hold.is_some_and(|hold| before.is_none_or(|before| hold.reads_others_than(before)))
}

/// What was read of one group on one topic.
#[derive(Debug)]
pub(super) struct Taken {
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

pub(super) fn group(listed: GroupListing) -> Group {
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

fn is_refused(error: &Error) -> bool {
    error.code() == Some(ErrorCode::GROUP_AUTHORIZATION_FAILED)
}
