//! What the group has committed, and what it is to commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::doubt::Doubt;
use super::{Done, Identity, LEAVE_LIMIT, Membership, Who};
use crate::client::cluster::{Cluster, To, Topics};
use crate::client::consumer::config::ConsumerConfig;
use crate::client::consumer::cursor::Place;
use crate::client::consumer::group::{Event, REFUSED_PAUSE};
use crate::client::consumer::reader::Item;
use crate::client::consumer::tenure::Tenure;
use crate::client::consumer::wire::{self, Marks};
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::client::metadata::Metadata;
use crate::protocol::api::Body;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};
use crate::protocol::types::{Str, Topic, TopicPartition};

/// What passes by itself is logged after every so many failures in a row, with the usual pauses some ten seconds.
const FAILURES_LOGGED: u32 = 10;

/// New partitions, of which it is to be asked after a pause what the group has committed.
#[derive(Default)]
pub(in crate::client::consumer) struct New {
    pub tenures: Vec<Arc<Tenure>>,
    pub pause: Duration,
    pub failures: u32,
}

impl New {
    fn after(pause: Duration, failures: u32) -> Self {
        Self { tenures: Vec::new(), pause, failures }
    }
}

/// Where new partitions begin, and those of which it is not known yet.
#[derive(Default)]
pub(in crate::client::consumer) struct Located {
    pub found: Vec<(Arc<Tenure>, Place)>,
    pub later: Vec<New>,
}

impl Membership {
    pub(super) fn locate(&mut self, new: New) {
        let (group, items) = (self.at_group(), self.items.clone());
        self.wait_for(async move { Done::Located(locate(group, items, new).await) });
    }

    /// For commits, unless there is nobody to make them.
    pub(super) fn committer(&self) -> Option<AtGroup> {
        self.group.identity().map(|_| self.at_group())
    }

    fn at_group(&self) -> AtGroup {
        let (config, identity) = (Arc::clone(&self.config), Arc::clone(&self.identity));
        AtGroup { cluster: self.cluster.clone(), config, identity }
    }

    pub(super) fn commit_periodically(&mut self) {
        let Some(committer) = self.committer() else { return };
        let tenures: Vec<Arc<Tenure>> = self.held().values().cloned().collect();
        if marks(&tenures, committer.doubt_that_is_due().as_ref()).is_empty() {
            return;
        }
        self.committing = true;
        self.wait_for(async move {
            let limit = committer.cluster.config().request_timeout;
            let (event, result) = committer.commit(&tenures, limit).await;
            if let Err(error) = &result {
                committer.say_uncommitted(error);
            }
            Done::Committed(event)
        });
    }

    pub(super) fn commit_now(&mut self, reply: oneshot::Sender<Result<(), Error>>) {
        let Some(committer) = self.committer() else {
            let _ = reply.send(Err(Error::broker(ErrorCode::UNKNOWN_MEMBER_ID).of(OffsetCommitRequest::NAME)));
            return;
        };
        let tenures = self.tenures();
        let due: Vec<_> = tenures.iter().filter_map(|it| Some((Arc::clone(it), it.to_commit(false)?))).collect();
        self.asked += 1;
        self.wait_for(async move {
            let (event, mut result) = committer.commit_until_told(&tenures).await;
            // What a rebalance took between two tries is not among what was committed.
            if result.is_ok() && due.iter().any(|(tenure, mark)| tenure.was_let_go_before(*mark)) {
                result = Err(Error::broker(ErrorCode::ILLEGAL_GENERATION).of(OffsetCommitRequest::NAME));
            }
            // Whoever asked may have gone.
            let _ = reply.send(result);
            Done::CommittedAsAsked(event)
        });
    }

    pub(super) fn commit_chosen(&mut self, marks: Marks, reply: oneshot::Sender<Result<(), Error>>) {
        let group = self.at_group();
        let chosen = group.choose(marks, self.tenures());
        self.asked += 1;
        self.wait_for(async move {
            let _ = reply.send(group.commit_chosen(&chosen).await);
            Done::CommittedAsAsked(None)
        });
    }
}

/// Asks once what the group has committed of new partitions, and settles each of them by itself.
pub(in crate::client::consumer) async fn locate(group: AtGroup, items: mpsc::Sender<Item>, new: New) -> Located {
    let mut located = Located::default();
    if !new.pause.is_zero() {
        sleep(new.pause).await;
    }
    let tenures: Vec<Arc<Tenure>> = new.tenures.into_iter().filter(|tenure| !tenure.has_ended()).collect();
    if tenures.is_empty() || group.cluster.is_closed() {
        return located;
    }
    let partitions = tenures.iter().map(|tenure| tenure.topic_partition.clone()).collect();
    let mut answer = group.committed(partitions).await;
    let failures = new.failures + 1;
    if let Err(error) = &answer {
        group.unlocated(&items, error, Some(failures));
    }
    // One line says for all partitions what would be the same for each.
    let mut logged = Vec::new();
    let (pause, long_pause) = (group.cluster.retry_backoff().wait(failures), REFUSED_PAUSE);
    let (mut again, mut refused) = (New::after(pause, failures), New::after(long_pause, failures));
    for tenure in tenures {
        let mark = match &mut answer {
            Ok(answer) => wire::found(answer, &tenure.topic_partition),
            Err(error) => Err(error.clone()),
        };
        match mark {
            Ok(mark) => {
                tenure.begin(mark);
                located.found.push((tenure, mark.into()));
            }
            Err(error) => {
                if answer.is_ok() {
                    let is_new = !logged.contains(&error.code());
                    group.unlocated(&items, &error, is_new.then_some(failures));
                    logged.extend(is_new.then(|| error.code()));
                }
                let later = if passes(&error) { &mut again } else { &mut refused };
                later.tenures.push(tenure);
            }
        }
    }
    located.later = vec![again, refused];
    located
}

/// By itself, or with the next heartbeat: of a member that its group has given up, the partitions are lost anyhow.
fn passes(error: &Error) -> bool {
    error.is_retriable() || error.class() == Class::Rejoin
}

/// Offsets that the application has chosen to commit, who was to commit them, and what it held of them then.
pub(in crate::client::consumer) struct Chosen {
    marks: Marks,
    number: u64,
    member: Option<(Str, i32)>,
    /// How often anything had been let go by then.
    releases: u64,
    tenures: Vec<Arc<Tenure>>,
}

/// What is finished of these and not committed, or whose commit is in doubt.
fn marks(tenures: &[Arc<Tenure>], doubt: Option<&Doubt>) -> Marks {
    let mark = |tenure: &Arc<Tenure>| {
        let of = &tenure.topic_partition;
        Some((of.clone(), tenure.to_commit(doubt.is_some_and(|doubt| doubt.is_about(of)))?))
    };
    tenures.iter().filter_map(mark).collect()
}

impl Chosen {
    /// Whether all of it has been held ever since, so that nobody else can have committed any of it.
    fn is_held(&self) -> bool {
        self.tenures.len() == self.marks.len() && !self.tenures.iter().any(|tenure| tenure.has_ended())
    }
}

/// What asks about offsets and commits them, in the name of the member as it is at the time.
#[derive(Clone)]
pub(in crate::client::consumer) struct AtGroup {
    cluster: Cluster,
    config: Arc<ConsumerConfig>,
    identity: Identity,
}

impl AtGroup {
    pub fn new(cluster: Cluster, config: Arc<ConsumerConfig>, identity: Identity) -> Self {
        Self { cluster, config, identity }
    }

    fn who(&self) -> Who {
        self.identity().clone()
    }

    async fn committed(&self, partitions: BTreeSet<TopicPartition>) -> Result<wire::Committed, Error> {
        let until = Instant::now() + self.cluster.config().request_timeout;
        let known = self.known(partitions.iter(), left(until)).await?;
        let (group, topics) = (Str::from(self.config.group_id.as_str()), Arc::clone(&known));
        let (asker, asked) = (self.who().asker, partitions.clone());
        let make = move |version| wire::offset_fetch(group, asker, &asked, &topics, version);
        let to = To::GroupCoordinator(&self.config.group_id);
        // Not on the group's lane, where it would wait behind a JoinGroup, and take its connection along when it is not answered.
        let answer = self.cluster.call_with::<OffsetFetchRequest>(to, Lane::General, make, left(until)).await?;
        let answer = wire::offsets_fetched(answer.body, &known);
        let mut answer = answer.map_err(|error| error.of(OffsetFetchRequest::NAME))?;
        for (of, code) in unnamed(partitions.iter(), &known) {
            answer.entry(of.clone()).or_insert_with(|| Err(Error::broker(code).at(of.clone())));
        }
        Ok(answer)
    }

    /// What is known of the topics of all these, asked for if nobody has: from version 10 on the offsets of a group are told
    /// by the ids of topics, and by nothing else (KIP-848). A topic without an id is known if brokers before 2.8 say so.
    async fn known<'a>(
        &self,
        of: impl Iterator<Item = &'a TopicPartition>,
        limit: Duration,
    ) -> Result<Arc<Metadata>, Error> {
        let known = self.cluster.metadata();
        let is_strange = |topic: &&Topic| known.topic(topic).is_none_or(|it| it.id.is_none() && it.error.is_some());
        let topics: BTreeSet<&Topic> = of.map(|it| &it.topic).collect();
        let strange: Vec<Topic> = topics.into_iter().filter(is_strange).cloned().collect();
        match strange.is_empty() {
            true => Ok(known),
            false => self.cluster.refresh_within(Topics::Once(strange), limit).await,
        }
    }

    /// Committed offsets cannot be had, of the group or of one partition, after so many failures if that is to be logged. What
    /// passes by itself, such as the transaction that others have open, is worth an alarm only when it does not pass.
    fn unlocated(&self, items: &mpsc::Sender<Item>, error: &Error, failures: Option<u32>) {
        let group = &self.config.group_id;
        match failures {
            Some(failures) if !passes(error) || failures.is_multiple_of(FAILURES_LOGGED) => {
                tracing::warn!(%group, %error, failures, "committed offsets cannot be had; asking again");
            }
            Some(failures) => tracing::debug!(%group, %error, failures, "committed offsets cannot be had yet"),
            None => {}
        }
        if error.class() == Class::FindCoordinator {
            self.cluster.forget_coordinator(group);
        }
        if !passes(error) {
            // A full queue has enough to say already; this is said again with the next try.
            let _ = items.try_send(Item::Failed(error.clone().of(OffsetFetchRequest::NAME)));
        }
    }

    fn doubt_that_is_due(&self) -> Option<Doubt> {
        self.who().doubt.filter(|doubt| doubt.is_due(Instant::now()))
    }

    fn identity(&self) -> MutexGuard<'_, Who> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit of these had no answer, and may be carried out whenever its broker gets to it.
    fn doubt(&self, marks: &Marks) {
        let mut who = self.identity();
        who.doubt = Some(Doubt::new(marks.keys().cloned(), who.doubt.take(), Instant::now()));
    }

    /// Unless there is another doubt by now, what this one is about was said again.
    fn repeated(&self, doubt: Doubt) {
        let mut who = self.identity();
        if who.doubt.as_ref() == Some(&doubt) {
            who.doubt = doubt.after_repeat(Instant::now());
        }
    }

    /// Once, of all that is held. What the group answers to the member itself is an event.
    async fn commit(&self, tenures: &[Arc<Tenure>], limit: Duration) -> (Option<Event>, Result<(), Error>) {
        let doubt = self.doubt_that_is_due();
        let (event, result) = self.commit_some(tenures, doubt.as_ref(), limit).await;
        let is_settled = |error: &Error| !passes(error) || self.is_of_no_topic(error);
        if let Some(doubt) = doubt
            && result.as_ref().err().is_none_or(is_settled)
        {
            self.repeated(doubt);
        }
        (event, result)
    }

    /// Once; what is new of these, and what the doubt is about.
    async fn commit_some(
        &self,
        tenures: &[Arc<Tenure>],
        doubt: Option<&Doubt>,
        limit: Duration,
    ) -> (Option<Event>, Result<(), Error>) {
        let marks = marks(tenures, doubt);
        if marks.is_empty() {
            return (None, Ok(()));
        }
        let (generation, answer) = match self.put(self.who().member, &marks, limit).await {
            Ok(answer) => answer,
            Err(error) => return (None, Err(error)),
        };
        let mut result = Ok(());
        for tenure in tenures {
            let of = &tenure.topic_partition;
            let Some(mark) = marks.get(of) else { continue };
            match wire::verdict(&answer, of) {
                Ok(()) => tenure.committed(*mark),
                // What the others are told says more: of the member, or of where the group is kept.
                Err(error) if result.as_ref().is_err_and(|told| self.says_more(told, &error)) => {}
                Err(error) => result = Err(error.of(OffsetCommitRequest::NAME)),
            }
        }
        let code = result.as_ref().err().and_then(Error::code);
        let event = code.filter(is_about_member).map(|code| Event::CommitRefused { generation, code });
        (event, result)
    }

    /// What the group answers of each partition, and the generation of the member that asked. Who that is, is settled with
    /// what is to be committed, before anything is waited for: in a later generation that may be somebody else's to say.
    async fn put(
        &self,
        member: Option<(Str, i32)>,
        marks: &Marks,
        limit: Duration,
    ) -> Result<(i32, BTreeMap<TopicPartition, ErrorCode>), Error> {
        let member = member.ok_or_else(|| Error::broker(ErrorCode::UNKNOWN_MEMBER_ID).of(OffsetCommitRequest::NAME))?;
        let (until, generation) = (Instant::now() + limit.min(self.cluster.config().request_timeout), member.1);
        let known = self.known(marks.keys(), left(until)).await?;
        let request = wire::commit(&self.config, member, marks, &known);
        let to = To::GroupCoordinator(&self.config.group_id);
        // Not on the group's lane, where it would wait behind a JoinGroup that waits for everybody else.
        let answer = self.cluster.call::<OffsetCommitRequest>(to, Lane::General, request, left(until)).await;
        if answer.as_ref().is_err_and(|error| error.code().is_none()) {
            self.doubt(marks);
        }
        let answer = answer?;
        let mut answer = wire::committed(answer.body, &known);
        for (of, code) in unnamed(marks.keys(), &known) {
            answer.entry(of.clone()).or_insert(code);
        }
        Ok((generation, answer))
    }

    /// What the application wants committed, now, and what there is of it.
    pub fn choose(&self, marks: Marks, mut tenures: Vec<Arc<Tenure>>) -> Chosen {
        tenures.retain(|tenure| marks.contains_key(&tenure.topic_partition));
        let mut who = self.identity();
        who.choices += 1;
        let number = who.choices;
        Arc::make_mut(&mut who.chosen).extend(marks.keys().map(|of| (of.clone(), number)));
        Chosen { marks, number, member: who.member.clone(), releases: who.releases, tenures }
    }

    /// Commits these, whatever is finished; repeated while that can help, but for what was chosen anew meanwhile. In another
    /// generation than the one in which they were chosen, and after anything was let go, only what was held all the while is: of
    /// anything else the group may know better by then.
    pub async fn commit_chosen(&self, chosen: &Chosen) -> Result<(), Error> {
        let commit = self.cluster.retry(self.cluster.config().api_timeout, |left| async move {
            // First who, then what is held: a generation is not known here before what it has revoked.
            let who = self.who();
            let is_another = (&who.member, who.releases) != (&chosen.member, chosen.releases);
            if who.member.is_some() && is_another && !chosen.is_held() {
                return Err(Error::broker(ErrorCode::ILLEGAL_GENERATION).of(OffsetCommitRequest::NAME));
            }
            let is_last = |of: &TopicPartition| who.chosen.get(of) == Some(&chosen.number);
            let marks: Marks =
                chosen.marks.iter().filter(|(of, _)| is_last(of)).map(|(of, mark)| (of.clone(), *mark)).collect();
            if marks.is_empty() {
                return Ok(());
            }
            let (_, answer) = self.put(who.member, &marks, left).await.map_err(|error| self.noted(error))?;
            for tenure in &chosen.tenures {
                let of = &tenure.topic_partition;
                let mark = marks.get(of).filter(|_| wire::verdict(&answer, of).is_ok());
                mark.into_iter().for_each(|mark| tenure.committed(*mark));
            }
            let mut result = Ok(());
            for error in marks.keys().filter_map(|of| wire::verdict(&answer, of).err()) {
                result = Err(self.noted(error.of(OffsetCommitRequest::NAME)));
            }
            result
        });
        commit.await
    }

    /// As [`commit`](Self::commit), and again while that can help: in a new epoch, or at another coordinator, or at this one
    /// once it has read its log, or has heard of a topic; but not for one that the cluster knows nothing of, which
    /// would keep the caller waiting for nothing. What the member has lost or let go meanwhile is not among what there
    /// is to commit any more.
    pub async fn commit_until_told(&self, tenures: &[Arc<Tenure>]) -> (Option<Event>, Result<(), Error>) {
        // Twice, so that one that is not answered at all leaves time for another.
        let limit = self.cluster.config().request_timeout.saturating_mul(2);
        let commit = self.cluster.retry(limit, |left| async move {
            let (event, result) = self.commit(tenures, left).await;
            match result {
                Err(error) if error.is_retriable() && !self.is_of_no_topic(&error) => Err(self.noted(error)),
                result => Ok((event, result)),
            }
        });
        commit.await.unwrap_or_else(|error| (None, Err(error)))
    }

    /// The last commit for these: repeated while that can help, because nobody else will do it.
    pub async fn last(&self, tenures: &[Arc<Tenure>], until: Option<Instant>) {
        let limit = self.config.drain_limit().min(LEAVE_LIMIT);
        let limit = until.map_or(limit, |until| limit.min(until.saturating_duration_since(Instant::now())));
        // Nobody will say it again.
        let doubt = self.who().doubt;
        let doubt = doubt.as_ref();
        let commit = self.cluster.retry(limit, |left| async move {
            match self.commit_some(tenures, doubt, left).await.1 {
                Err(error) if self.is_of_no_topic(&error) => Ok(Err(error)),
                result => result.map(Ok).map_err(|error| self.noted(error)),
            }
        });
        if let Err(error) = commit.await.and_then(|last| last) {
            tracing::warn!(%error, "the last commit has failed; some records will be read again");
        }
    }

    /// A periodic commit has failed; the next one has the same to do.
    pub fn say_uncommitted(&self, error: &Error) {
        // Until the group is assigned anew, or its new epoch is known here.
        let passes = matches!(error.code(), Some(ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::STALE_MEMBER_EPOCH));
        if passes || self.is_of_no_topic(error) {
            tracing::debug!(group = %self.config.group_id, %error, "not committed");
        } else {
            tracing::warn!(group = %self.config.group_id, %error, "a commit has failed; it is repeated with the next one");
        }
    }

    /// Whether a partition is refused because its topic is not there, as far as is known by now.
    fn is_of_no_topic(&self, error: &Error) -> bool {
        let known = self.cluster.metadata();
        let said = |of: &TopicPartition| known.topic(&of.topic).map(|it| it.error);
        let is_known = |of| said(of).is_some_and(|error| error != Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        is_about_partition(error) && error.topic_partition.as_ref().is_some_and(|of| !is_known(of))
    }

    /// Whether one refusal of a commit is to be told and not the other: of the member, or of where the group is kept, before
    /// one of a partition; and what asking again may mend before what it does not.
    fn says_more(&self, told: &Error, other: &Error) -> bool {
        is_about_partition(other) && !self.is_of_no_topic(told)
    }

    /// What a failure says of where the group is kept.
    fn noted(&self, error: Error) -> Error {
        if error.class() == Class::FindCoordinator {
            self.cluster.forget_coordinator(&self.config.group_id);
        }
        error
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Those whose topics have no name in an answer because they have no id, such as those that do not exist, and why.
fn unnamed<'a>(
    partitions: impl Iterator<Item = &'a TopicPartition>,
    known: &Metadata,
) -> impl Iterator<Item = (&'a TopicPartition, ErrorCode)> {
    let why = |of: &TopicPartition| known.topic(&of.topic).filter(|topic| topic.id.is_none())?.error;
    partitions.filter_map(move |of| Some((of, why(of)?)))
}

/// Whether a broker refuses this partition, such as one of a topic that is gone, whatever it says of the others.
fn is_about_partition(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        code.class() == Class::RefreshMetadata
            || matches!(code, ErrorCode::TOPIC_AUTHORIZATION_FAILED | ErrorCode::OFFSET_METADATA_TOO_LARGE)
    })
}

/// Whether the refusal of a commit says something of the member, rather than of the offset.
fn is_about_member(code: &ErrorCode) -> bool {
    matches!(code.class(), Class::Rejoin | Class::FindCoordinator)
        || matches!(*code, ErrorCode::FENCED_INSTANCE_ID | ErrorCode::STALE_MEMBER_EPOCH)
}
