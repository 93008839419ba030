//! Groups: which there are, and what they have committed, with one request to each broker that keeps some of them.

use std::collections::{HashMap, HashSet};

use futures::future::join_all;
use tokio::time::Instant;

use super::{Admin, Round, all_failed, by, passes, passes_but_silent, unanswered};
use crate::client::cluster::{Kept, To, Topics};
use crate::client::error::{Error, ErrorKind};
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{
    ListGroupsRequest, ListedGroup, OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::protocol::types::{BrokerId, LeaderEpoch, Offset, Str, Topic, TopicPartition};

/// How often one broker is asked for its groups.
const BROKER_ROUNDS_MAX: u32 = 4;

/// The most groups in one request.
pub const GROUPS_MAX: usize = 2_000;

/// The groups of a cluster, as far as its brokers have answered.
#[derive(Debug, Clone, Default)]
pub struct GroupListings {
    pub groups: Vec<GroupListing>,
    /// One for each broker that did not answer; the groups that it keeps are not in `groups`.
    pub failures: Vec<Error>,
}

/// Which groups to list; an empty list lets all pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupFilter {
    /// `Stable`, `Empty`, …; from Kafka 2.6 on (KIP-518).
    pub states: Vec<String>,
    /// `classic`, `consumer`, `share`, `streams`; from Kafka 3.8 on (KIP-848).
    pub types: Vec<String>,
}

impl GroupFilter {
    /// A broker that knows no such filter would list everything.
    fn since_version(&self) -> i16 {
        match (self.types.is_empty(), self.states.is_empty()) {
            (false, _) => 5,
            (true, false) => 4,
            (true, true) => 0,
        }
    }
}

/// A group, by the broker that keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    pub group_id: String,
    /// `consumer` for groups of consumers; `None` for one that only ever committed offsets.
    pub protocol_type: Option<String>,
    /// `None` from brokers before Kafka 2.6.
    pub state: Option<String>,
    /// `classic`, `consumer`, `share` or `streams`; `None` from brokers before Kafka 3.7.
    pub group_type: Option<String>,
    pub coordinator: BrokerId,
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset the group will read; `None` if it has committed none, or `error` says why it is not known.
    pub offset: Option<Offset>,
    pub leader_epoch: Option<LeaderEpoch>,
    /// The committer's own words.
    pub metadata: Option<String>,
    pub error: Option<ErrorCode>,
}

/// All that a group has committed.
pub type CommittedOffsets = HashMap<TopicPartition, Committed>;

/// What a group has committed for one topic: of each partition the offset and no more, for whoever asks about all groups
/// over and over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicCommits {
    pub topic: Topic,
    /// Those that have an offset, in order of their numbers.
    pub offsets: Vec<(i32, Offset)>,
    /// Those of which it is not known, and why.
    pub errors: Vec<(i32, ErrorCode)>,
}

impl Admin {
    /// All groups, asked of all brokers at the same time. Fails only when none of them answers.
    pub async fn list_groups(&self) -> Result<GroupListings, Error> {
        self.list_groups_of(&GroupFilter::default()).await
    }

    /// The groups that pass a filter.
    pub async fn list_groups_of(&self, filter: &GroupFilter) -> Result<GroupListings, Error> {
        let until = Instant::now() + self.limit;
        // A broker that has joined since keeps something, too.
        let brokers = self.brokers().await?;
        self.until(until).list_groups_at(&brokers, filter).await
    }

    /// The groups that these brokers keep and that pass a filter: for whoever knows which brokers there are, or which of them
    /// are worth asking. Fails only when none of them answers.
    pub async fn list_groups_at(&self, brokers: &[BrokerId], filter: &GroupFilter) -> Result<GroupListings, Error> {
        let until = Instant::now() + self.limit;
        let ask = |broker, round| self.groups_of(broker, filter, round);
        let (answers, failures) = self.at_brokers(brokers.to_vec(), ask).await?;
        let mut listed = GroupListings { groups: Vec::new(), failures };
        for (broker, groups) in answers {
            listed.groups.extend(groups.into_iter().map(|it| listing(&it, broker)));
        }
        let twice = self.until(until).settle_twice_listed(&mut listed.groups).await;
        // Whoever is the only one to list a group coordinates it: nobody needs to ask for that.
        let once = listed.groups.iter().filter(|it| !twice.contains(&it.group_id));
        self.cluster.learn_coordinators(once.map(|it| (it.group_id.clone(), it.coordinator)));
        Ok(listed)
    }

    /// Whether a broker answers. It is asked for its groups, and nothing is made of what it says: one that was cut off
    /// for a while lists what others keep by now.
    pub async fn hear_of(&self, broker: BrokerId) -> Result<(), Error> {
        let filter = GroupFilter::default();
        self.at_brokers(vec![broker], |broker, round| self.groups_of(broker, &filter, round)).await.map(drop)
    }

    /// The brokers there are by now.
    async fn brokers(&self) -> Result<Vec<BrokerId>, Error> {
        let known = self.cluster.refresh_within(Topics::Followed, self.limit).await?;
        Ok(known.brokers.keys().copied().collect())
    }

    /// Asks all brokers for what they keep, at the same time. Fails only when none of them answers.
    pub(super) async fn of_brokers<V, F, A>(&self, ask: F) -> Result<(Vec<(BrokerId, V)>, Vec<Error>), Error>
    where
        F: Fn(BrokerId, Round) -> A,
        A: Future<Output = Result<V, Error>>,
    {
        let until = Instant::now() + self.limit;
        let brokers = self.brokers().await?;
        self.until(until).at_brokers(brokers, ask).await
    }

    async fn at_brokers<V, F, A>(
        &self,
        brokers: Vec<BrokerId>,
        ask: F,
    ) -> Result<(Vec<(BrokerId, V)>, Vec<Error>), Error>
    where
        F: Fn(BrokerId, Round) -> A,
        A: Future<Output = Result<V, Error>>,
    {
        // One that is gone is not waited for: what the others keep is known, and its own moves to them.
        let brief = self.clone().rounds(self.rounds_max.min(BROKER_ROUNDS_MAX));
        let ask = &ask;
        let asked = brief.in_rounds(brokers, passes_but_silent, |open, round| {
            join_all(open.into_iter().map(move |broker| async move { (broker, ask(broker, round).await) }))
        });
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        for (broker, answer) in asked.await {
            match answer {
                Ok(kept) => answers.push((broker, kept)),
                Err(error) => failures.push(error),
            }
        }
        match failures.pop() {
            Some(error) if answers.is_empty() => Err(error),
            last => Ok((answers, failures.into_iter().chain(last).collect())),
        }
    }

    /// A broker that was cut off for a while may still list groups that another one keeps by now. Of such a group, the
    /// listing of its coordinator stays, or any if nobody says in time who that is. Says which groups these were.
    async fn settle_twice_listed(&self, groups: &mut Vec<GroupListing>) -> HashSet<String> {
        let mut seen = HashSet::with_capacity(groups.len());
        let twice: HashSet<String> =
            groups.iter().filter(|it| !seen.insert(it.group_id.as_str())).map(|it| it.group_id.clone()).collect();
        if twice.is_empty() {
            return twice;
        }
        twice.iter().for_each(|group| self.cluster.forget_coordinator(group));
        let found = self.cluster.coordinators(twice.iter().cloned().collect(), self.request_limit()).await;
        let kept_by: HashMap<_, _> = found.into_iter().filter_map(|(group, it)| Some((group, it.ok()?))).collect();
        // Listings by others last; of each group the first one stays.
        groups.sort_by_key(|it| kept_by.get(&it.group_id).is_some_and(|coordinator| *coordinator != it.coordinator));
        let mut seen = HashSet::with_capacity(groups.len());
        groups.retain(|it| seen.insert(it.group_id.clone()));
        twice
    }

    async fn groups_of(&self, broker: BrokerId, filter: &GroupFilter, round: Round) -> Result<Vec<ListedGroup>, Error> {
        let needs = filter.since_version();
        if needs > 0
            && self.cluster.version_within::<ListGroupsRequest>(broker, Lane::General, round.left()).await? < needs
        {
            let error = Error::new(ErrorKind::Unsupported).of(ListGroupsRequest::NAME);
            return Err(self.cluster.placed(broker, error));
        }
        let names = |of: &[String]| of.iter().map(|it| it.as_str().into()).collect();
        let request = ListGroupsRequest { states_filter: names(&filter.states), types_filter: names(&filter.types) };
        let answer = self.cluster.call(To::Broker(broker), Lane::General, request, round.left()).await?;
        let code = ErrorCode(answer.body.error_code).ok();
        code.map_err(|code| self.says::<ListGroupsRequest>(broker, code, None))?;
        Ok(answer.body.groups)
    }

    /// What groups have committed, each or the reason why not. One request to each coordinator, of at most
    /// [`GROUPS_MAX`] groups, all at the same time; brokers before OffsetFetch version 8 are asked once for each group.
    /// A group that does not exist has committed nothing.
    pub async fn committed_offsets(
        &self,
        groups: &[String],
    ) -> Result<HashMap<String, Result<CommittedOffsets, Error>>, Error> {
        Ok(self.committed_as(groups, committed).await.into_iter().collect())
    }

    /// The same in a small part of the memory and the time, by group in the order of `groups`.
    pub async fn commits(&self, groups: &[String]) -> Vec<(String, Result<Vec<TopicCommits>, Error>)> {
        self.committed_as(groups, |topics| topics.iter().map(topic_commits).collect()).await
    }

    async fn committed_as<V>(
        &self,
        groups: &[String],
        said: fn(Vec<OffsetFetchResponseTopics>) -> V,
    ) -> Vec<(String, Result<V, Error>)> {
        self.of_coordinators(Kept::Group, groups, |coordinator, chunk, round| async move {
            let asked = self.ask_committed(coordinator, &chunk, round, said).await;
            asked.unwrap_or_else(|error| all_failed(chunk, &error))
        })
        .await
    }

    async fn ask_committed<V>(
        &self,
        coordinator: BrokerId,
        groups: &[String],
        round: Round,
        said: fn(Vec<OffsetFetchResponseTopics>) -> V,
    ) -> Result<Vec<(String, Result<V, Error>)>, Error> {
        if self.cluster.version_within::<OffsetFetchRequest>(coordinator, Lane::General, round.left()).await? < 8 {
            let one = |group: &String| {
                let group = group.clone();
                async move { (group.clone(), self.ask_committed_of_one(coordinator, &group, round).await.map(said)) }
            };
            return Ok(join_all(groups.iter().map(one)).await);
        }
        let group = |group: &String| OffsetFetchRequestGroup {
            group_id: group.as_str().into(),
            topics: None,
            ..Default::default()
        };
        let request = OffsetFetchRequest { groups: groups.iter().map(group).collect(), ..Default::default() };
        let answer = self.cluster.call(To::Broker(coordinator), Lane::General, request, round.left()).await?;
        let mut answered: HashMap<Str, _> =
            answer.body.groups.into_iter().map(|it| (it.group_id.clone(), it)).collect();
        let mut outcome = |group: &String| match answered.remove(group.as_str()) {
            Some(it) => match ErrorCode(it.error_code).ok() {
                Ok(()) => Ok(said(it.topics)),
                Err(code) => Err(self.says::<OffsetFetchRequest>(coordinator, code, None)),
            },
            None => Err(unanswered(group).of(OffsetFetchRequest::NAME)),
        };
        Ok(groups.iter().map(|group| (group.clone(), outcome(group))).collect())
    }

    async fn ask_committed_of_one(
        &self,
        coordinator: BrokerId,
        group: &str,
        round: Round,
    ) -> Result<Vec<OffsetFetchResponseTopics>, Error> {
        let request = OffsetFetchRequest { group_id: group.into(), topics: None, ..Default::default() };
        let answer = self.cluster.call(To::Broker(coordinator), Lane::General, request, round.left()).await?.body;
        let code = ErrorCode(answer.error_code).ok();
        code.map_err(|code| self.says::<OffsetFetchRequest>(coordinator, code, None))?;
        Ok(answer.topics.into_iter().map(as_of_version_8).collect())
    }

    /// Asks the coordinators of groups, or of transactional ids, in rounds. What fails in a way that says that the
    /// coordinator is another one by now has it looked for anew.
    pub(super) async fn of_coordinators<V, F, A>(
        &self,
        kept: Kept,
        names: &[String],
        ask: F,
    ) -> Vec<(String, Result<V, Error>)>
    where
        F: Fn(BrokerId, Vec<String>, Round) -> A,
        A: Future<Output = Vec<(String, Result<V, Error>)>>,
    {
        let ask = &ask;
        self.in_rounds(names.to_vec(), passes, |open, round| async move {
            let mut answers = Vec::with_capacity(open.len());
            let mut found = Vec::with_capacity(open.len());
            for (name, coordinator) in self.cluster.keepers(kept, open, round.left()).await {
                match coordinator {
                    Ok(coordinator) => found.push((coordinator, name)),
                    Err(error) => answers.push((name, Err(error))),
                }
            }
            let by_coordinator = by(found);
            let chunks = by_coordinator.iter().flat_map(|(id, of)| of.chunks(GROUPS_MAX).map(|chunk| (*id, chunk)));
            let asked = chunks.map(|(coordinator, chunk)| ask(coordinator, chunk.to_vec(), round));
            answers.extend(join_all(asked).await.into_iter().flatten());
            for (name, answer) in &answers {
                // A broker that the cluster has given up keeps nothing, either.
                let is_gone = |error: &Error| error.is_transport() || matches!(error.kind, ErrorKind::UnknownBroker);
                if answer.as_ref().is_err_and(|error| is_gone(error) || error.class() == Class::FindCoordinator) {
                    self.cluster.forget_keeper(kept, name);
                }
            }
            answers
        })
        .await
    }
}

fn listing(it: &ListedGroup, coordinator: BrokerId) -> GroupListing {
    GroupListing {
        group_id: it.group_id.to_string(),
        protocol_type: said_text(&it.protocol_type),
        state: said_text(&it.group_state),
        group_type: said_text(&it.group_type),
        coordinator,
    }
}

pub(super) fn said_text(text: &str) -> Option<String> {
    Some(text).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn one_committed(offset: Offset, leader_epoch: i32, metadata: Option<&Str>, error_code: i16) -> Committed {
    let error = Some(ErrorCode(error_code)).filter(|code| !code.is_ok());
    Committed {
        offset: Some(offset).filter(|offset| *offset >= 0 && error.is_none()),
        leader_epoch: Some(leader_epoch).filter(|epoch| *epoch >= 0),
        metadata: metadata.and_then(|text| said_text(text)),
        error,
    }
}

fn committed(topics: Vec<OffsetFetchResponseTopics>) -> CommittedOffsets {
    let mut offsets = HashMap::new();
    for topic in topics {
        let name = Topic::from(&topic.name);
        offsets.extend(topic.partitions.into_iter().map(|it| {
            let of = TopicPartition { topic: name.clone(), partition: it.partition_index };
            (of, one_committed(it.committed_offset, it.committed_leader_epoch, it.metadata.as_ref(), it.error_code))
        }));
    }
    offsets
}

fn topic_commits(it: &OffsetFetchResponseTopics) -> TopicCommits {
    let mut commits =
        TopicCommits { topic: Topic::from(&it.name), offsets: Vec::with_capacity(it.partitions.len()), errors: vec![] };
    for said in &it.partitions {
        match ErrorCode(said.error_code).ok() {
            Ok(()) if said.committed_offset >= 0 => commits.offsets.push((said.partition_index, said.committed_offset)),
            Ok(()) => {}
            Err(code) => commits.errors.push((said.partition_index, code)),
        }
    }
    commits.offsets.sort_unstable();
    commits.offsets.dedup_by_key(|(partition, _)| *partition);
    commits
}

fn as_of_version_8(it: OffsetFetchResponseTopic) -> OffsetFetchResponseTopics {
    let partition = |it: OffsetFetchResponsePartition| OffsetFetchResponsePartitions {
        partition_index: it.partition_index,
        committed_offset: it.committed_offset,
        committed_leader_epoch: it.committed_leader_epoch,
        metadata: it.metadata,
        error_code: it.error_code,
    };
    let partitions = it.partitions.into_iter().map(partition).collect();
    OffsetFetchResponseTopics { name: it.name, partitions, ..Default::default() }
}
