//! Carries out what the [`group`](super::group) machine decides: one task that speaks to the coordinator, tells it that
//! this member lives however slow the application is, commits what is finished, and tells the fetcher what to read.
//!
//! Everything that waits, waits in [`Membership::pending`]; the task itself never does, so heartbeats go on while
//! partitions drain, offsets are fetched or commits are out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::assignor::{Assignment, Counts};
use super::config::ConsumerConfig;
use super::fetcher;
use super::group::{Action, Distrust, Event, Fault, Group, Joined, Rules};
use super::memory::Memory;
use super::poll::PollClock;
use super::progress::Mark;
use super::reader::Item;
use super::subscription::Subscription;
use super::tenure::Tenure;
use super::wire::{self, Led, Marks};
use crate::client::cluster::{Cluster, To, Topics};
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::client::metadata::Metadata;
use crate::protocol::api::{Api, Body};
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use crate::protocol::types::{Str, Topic, TopicPartition};

/// How often topics that do not exist are asked about.
const MISSING_TOPICS_INTERVAL: Duration = Duration::from_secs(2);
/// An application that is late in the midst of a rebalance is looked at again after this.
const OVERDUE_AGAIN: Duration = Duration::from_millis(500);
/// A member that is closed in the midst of a rebalance waits for the end of it for so long.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// After a refusal that somebody has to put right, such as a missing permission, it is asked again after this.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// The least that is left for the commit and the leaving when the time to close is nearly over.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// What the handle wants.
#[derive(Debug)]
pub(super) enum Command {
    Commit(oneshot::Sender<Result<(), Error>>),
    Close,
}

/// What the handle may see of it: the partitions that are held.
pub(super) type Held = Arc<Mutex<BTreeMap<TopicPartition, Arc<Tenure>>>>;

/// What the handle may see of it: who the member is in the present generation.
pub(super) type Identity = Arc<Mutex<Option<(Str, i32)>>>;

/// What has come of something that was waited for.
enum Done {
    Joined(Result<(Joined, Led), Fault>),
    Synced(Result<BTreeSet<TopicPartition>, Fault>, Option<Counts>),
    Event(Event),
    /// A revocation, and what it waited for.
    Released(u64, Vec<Arc<Tenure>>),
    /// A periodic commit.
    Committed(Vec<Event>),
    Located(Located),
    /// Topics that really are not there.
    Missing(Vec<Topic>),
    /// All topics there are, to be matched with patterns.
    Looked(Result<Arc<Metadata>, Error>),
    Nothing,
}

/// New partitions, of which it is to be asked after a pause what the group has committed.
#[derive(Default)]
struct New {
    tenures: Vec<Arc<Tenure>>,
    pause: Duration,
    failures: u32,
}

impl New {
    fn after(pause: Duration, failures: u32) -> Self {
        Self { tenures: Vec::new(), pause, failures }
    }
}

/// Where new partitions begin, and those of which it is not known yet.
#[derive(Default)]
struct Located {
    found: Vec<(Arc<Tenure>, Option<Mark>)>,
    later: Vec<New>,
}

pub(super) struct Membership {
    cluster: Cluster,
    config: Arc<ConsumerConfig>,
    group: Group,
    held: Held,
    /// Revoked, and not released yet.
    draining: Vec<Arc<Tenure>>,
    identity: Identity,
    memory: Arc<Memory>,
    clock: Arc<PollClock>,
    commands: mpsc::Receiver<Command>,
    fetcher: mpsc::Sender<fetcher::Request>,
    items: mpsc::Sender<Item>,
    pending: FuturesUnordered<BoxFuture<'static, Done>>,
    metadata: watch::Receiver<Arc<Metadata>>,
    subscription: Subscription,
    /// When all topics are looked at for those that match; `None` without patterns.
    look_at: Option<Instant>,
    /// As leader: the partition counts that the assignment was made for.
    assigned_for: Option<Counts>,
    /// Topics that are subscribed to and not there, and those of them that were spoken of.
    missing: BTreeSet<Topic>,
    said_missing: BTreeSet<Topic>,
    look_for_missing_at: Instant,
    commit_at: Instant,
    committing: bool,
    /// The handle is gone: nobody reads any more.
    orphaned: bool,
    stopped: bool,
}

/// What a membership is made of.
pub(super) struct Parts {
    pub cluster: Cluster,
    pub config: Arc<ConsumerConfig>,
    pub held: Held,
    pub identity: Identity,
    pub memory: Arc<Memory>,
    pub clock: Arc<PollClock>,
    pub commands: mpsc::Receiver<Command>,
    pub fetcher: mpsc::Sender<fetcher::Request>,
    pub items: mpsc::Sender<Item>,
}

impl Membership {
    pub fn new(parts: Parts) -> Self {
        let Parts { cluster, config, held, identity, memory, clock, commands, fetcher, items } = parts;
        let rules = Rules {
            cooperative: config.is_cooperative(),
            is_static: config.instance_id.is_some(),
            heartbeat_interval: config.heartbeat_interval,
            backoff: cluster.config().retry_backoff,
            backoff_max: cluster.config().retry_backoff_max,
            close_patience: CLOSE_PATIENCE,
        };
        let now = Instant::now();
        Self {
            group: Group::new(rules),
            metadata: cluster.metadata_changes(),
            subscription: Subscription::of(&config),
            look_at: None,
            pending: FuturesUnordered::new(),
            draining: Vec::new(),
            assigned_for: None,
            missing: BTreeSet::new(),
            said_missing: BTreeSet::new(),
            look_for_missing_at: now,
            commit_at: now + config.commit_interval,
            committing: false,
            orphaned: false,
            stopped: false,
            cluster,
            config,
            held,
            identity,
            memory,
            clock,
            commands,
            fetcher,
            items,
        }
    }

    /// Until it is closed, or the group refuses it for good.
    pub async fn run(mut self) {
        match self.subscription.is_known() {
            true => self.tell(Event::Wanted),
            false => self.look_for_matching(),
        }
        while !self.stopped {
            let (wake, clock) = (self.wakes_at(), Arc::clone(&self.clock));
            tokio::select! {
                command = self.commands.recv(), if !self.orphaned => self.obey(command),
                Some(done) = self.pending.next(), if !self.pending.is_empty() => self.done(done),
                changed = self.metadata.changed() => if changed.is_ok() { self.metadata_changed() } else { self.stopped = true },
                () = clock.back(), if self.group.is_away() && self.subscription.is_known() => self.tell(Event::Wanted),
                () = sleep_until(wake) => self.tick(),
            }
            self.clock.set_away(self.group.is_away());
            // After the revocations that the new generation brought, so that they are seen first.
            *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = self.group.identity();
        }
    }

    fn wakes_at(&self) -> Instant {
        let now = Instant::now();
        let overdue = match self.clock.overdue_at(self.config.max_poll_interval) {
            Some(at) if at > now => at,
            Some(_) => now + OVERDUE_AGAIN,
            // It waits for records; it can be late a whole interval from now at the earliest.
            None => now + self.config.max_poll_interval,
        };
        let commit = (self.config.auto_commit && !self.committing).then_some(self.commit_at);
        let missing = (!self.missing.is_empty()).then_some(self.look_for_missing_at);
        [self.group.wakes_at(), commit, missing, self.look_at].into_iter().flatten().fold(overdue, Instant::min)
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.clock.overdue_at(self.config.max_poll_interval).is_some_and(|at| at <= now) && !self.group.is_away() {
            self.tell(Event::Overdue);
        }
        self.tell(Event::Tick);
        if self.config.auto_commit && self.commit_at <= now && !self.committing {
            self.commit_at = now + self.config.commit_interval;
            self.commit_periodically();
        }
        if !self.missing.is_empty() && self.look_for_missing_at <= now {
            self.look_for_missing_at = now + MISSING_TOPICS_INTERVAL;
            self.look_for_topics();
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_for_matching();
        }
    }

    fn obey(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Commit(reply)) => self.commit_now(reply),
            Some(Command::Close) => self.tell(Event::Close),
            None => {
                self.orphaned = true;
                self.tell(Event::Close);
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Joined(Ok((joined, led))) => {
                let actions = self.group.on(Event::Joined(Ok(joined)), Instant::now());
                for action in actions {
                    match action {
                        Action::Sync(joined) => self.sync(joined, led.clone()),
                        action => self.act(action),
                    }
                }
            }
            Done::Joined(Err(fault)) => self.tell(Event::Joined(Err(fault))),
            Done::Synced(answer, counts) => {
                self.assigned_for = counts.filter(|_| answer.is_ok());
                let absent = self.assigned_for.iter().flatten().filter(|(_, count)| **count == 0);
                self.missing.extend(absent.map(|(topic, _)| topic.clone()));
                self.tell(Event::Synced(answer));
                self.metadata_changed();
            }
            Done::Event(event) => self.tell(event),
            Done::Released(id, tenures) => {
                self.draining.retain(|kept| !tenures.iter().any(|done| Arc::ptr_eq(kept, done)));
                self.tell(Event::Released(id));
            }
            Done::Committed(events) => {
                self.committing = false;
                events.into_iter().for_each(|event| self.tell(event));
            }
            Done::Located(Located { found, later }) => {
                if !found.is_empty() {
                    self.order(fetcher::Request::Take(found));
                }
                later.into_iter().filter(|new| !new.tenures.is_empty()).for_each(|new| self.locate(new));
            }
            Done::Missing(topics) => {
                for topic in topics {
                    if self.said_missing.insert(topic.clone()) {
                        tracing::warn!(group = %self.config.group_id, %topic, "the topic does not exist; waiting for it");
                    }
                }
            }
            Done::Looked(answer) => self.looked(answer),
            Done::Nothing => {}
        }
    }

    fn tell(&mut self, event: Event) {
        for action in self.group.on(event, Instant::now()) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Join { member_id, generation, owned, reason } => self.join(member_id, generation, &owned, reason),
            Action::Sync(joined) => self.sync(joined, Led::default()),
            Action::Beat { member_id, generation } => self.beat(member_id, generation),
            Action::FindCoordinator => self.cluster.forget_coordinator(&self.config.group_id),
            Action::Assign(partitions) => self.assign(partitions),
            Action::Revoke { id, partitions, drain } => self.revoke(id, &partitions, drain),
            Action::Lose { partitions, reason } => self.lose(&partitions, &reason),
            Action::Leave { member_id, reason } => self.leave(member_id, reason),
            Action::Stop(fault) => self.stop(fault),
        }
    }

    fn wait_for(&mut self, what: impl Future<Output = Done> + Send + 'static) {
        self.pending.push(what.boxed());
    }

    /// One question to the coordinator.
    fn ask<R: Api>(&self, request: R, limit: Duration) -> impl Future<Output = Result<R::Response, Fault>> + use<R> {
        let (cluster, group_id) = (self.cluster.clone(), self.config.group_id.clone());
        async move {
            let answer = cluster.call(To::GroupCoordinator(&group_id), Lane::Group, request, limit).await;
            answer.map(|answer| answer.body).map_err(|error| fault(&error))
        }
    }

    fn join(
        &mut self,
        member_id: Str,
        generation: Option<i32>,
        owned: &BTreeSet<TopicPartition>,
        reason: &'static str,
    ) {
        tracing::info!(group = %self.config.group_id, member = %member_id, reason, "joining");
        self.follow_topics();
        let topics = self.subscription.tell();
        let request = match wire::join(&self.config, &topics, member_id, generation, owned, reason) {
            Ok(request) => request,
            Err(error) => return self.stop(Some(Fault::Broken(error.to_string()))),
        };
        // Answered when all members have joined, or their time is up.
        let limit = self.config.max_poll_interval + self.cluster.config().request_timeout;
        let answer = self.ask::<JoinGroupRequest>(request, limit);
        self.wait_for(async move { Done::Joined(answer.await.and_then(wire::joined)) });
    }

    fn sync(&mut self, joined: Joined, led: Led) {
        let (cluster, config) = (self.cluster.clone(), Arc::clone(&self.config));
        self.wait_for(async move {
            let (assignment, counts) = match assignment(&cluster, &joined, &led).await {
                Ok(assignment) => assignment,
                Err(error) => return Done::Synced(Err(fault(&error)), None),
            };
            let request: SyncGroupRequest = match wire::sync(&config, &joined, &assignment) {
                Ok(request) => request,
                Err(error) => return Done::Synced(Err(Fault::Broken(error.to_string())), None),
            };
            let limit = config.max_poll_interval + cluster.config().request_timeout;
            let answer = cluster.call(To::GroupCoordinator(&config.group_id), Lane::Group, request, limit).await;
            Done::Synced(answer.map_err(|error| fault(&error)).and_then(|answer| wire::synced(answer.body)), counts)
        });
    }

    fn beat(&mut self, member_id: Str, generation: i32) {
        let request = wire::heartbeat(&self.config, member_id, generation);
        let limit = self.cluster.config().request_timeout.min(self.config.session_timeout / 3);
        let answer = self.ask::<HeartbeatRequest>(request, limit);
        self.wait_for(async move {
            let result = answer.await.and_then(|answer| ErrorCode(answer.error_code).ok().map_err(Fault::Refused));
            Done::Event(Event::Beaten { generation, result })
        });
    }

    fn assign(&mut self, partitions: BTreeSet<TopicPartition>) {
        tracing::info!(group = %self.config.group_id, partitions = %list(&partitions), "assigned");
        let tenures: Vec<Arc<Tenure>> =
            partitions.into_iter().map(|of| Tenure::new(of, Arc::clone(&self.memory))).collect();
        self.held().extend(tenures.iter().map(|tenure| (tenure.topic_partition.clone(), Arc::clone(tenure))));
        self.locate(New { tenures, ..New::default() });
    }

    fn locate(&mut self, new: New) {
        let (cluster, config, items) = (self.cluster.clone(), Arc::clone(&self.config), self.items.clone());
        self.wait_for(async move { Done::Located(locate(cluster, config, items, new).await) });
    }

    fn revoke(&mut self, id: u64, partitions: &BTreeSet<TopicPartition>, drain: bool) {
        tracing::info!(group = %self.config.group_id, partitions = %list(partitions), "revoked");
        let ended = self.end(partitions);
        self.draining.extend(ended);
        // Those of a revocation that is still under way as well: it is this one now that is waited for.
        let mine = |tenure: &&Arc<Tenure>| partitions.contains(&tenure.topic_partition);
        let tenures: Vec<Arc<Tenure>> = self.draining.iter().filter(mine).cloned().collect();
        let limit = if drain { self.config.drain_limit() } else { Duration::ZERO };
        let committer = self.committer().filter(|_| self.config.auto_commit);
        self.wait_for(async move {
            if timeout(limit, join_all(tenures.iter().map(|tenure| tenure.drained()))).await.is_err() && drain {
                let open = tenures.iter().filter(|tenure| tenure.outstanding() > 0);
                let open = list(open.map(|tenure| &tenure.topic_partition));
                tracing::warn!(partitions = %open, ?limit, "given up with records unfinished; they will be read again");
            }
            if let Some(committer) = committer {
                committer.last(&tenures).await;
            }
            Done::Released(id, tenures)
        });
    }

    fn lose(&mut self, partitions: &BTreeSet<TopicPartition>, reason: &str) {
        tracing::warn!(group = %self.config.group_id, partitions = %list(partitions), reason, "lost");
        self.end(partitions);
        self.draining.retain(|tenure| !partitions.contains(&tenure.topic_partition));
    }

    /// From now on nothing of them is handed out.
    fn end(&mut self, partitions: &BTreeSet<TopicPartition>) -> Vec<Arc<Tenure>> {
        let mut held = self.held();
        let ended: Vec<Arc<Tenure>> = partitions.iter().filter_map(|of| held.remove(of)).collect();
        drop(held);
        ended.iter().for_each(|tenure| tenure.end());
        ended
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<TopicPartition, Arc<Tenure>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&mut self, member_id: Str, reason: &'static str) {
        tracing::info!(group = %self.config.group_id, member = %member_id, reason, "leaving");
        let (cluster, group_id) = (self.cluster.clone(), self.config.group_id.clone());
        self.wait_for(async move {
            let group = Str::from(group_id.as_str());
            let make = move |version| wire::leave(group, member_id, reason, version);
            // Not on the group's lane, where a JoinGroup may be waiting for everybody else.
            let to = To::GroupCoordinator(&group_id);
            let left = cluster.call_with::<LeaveGroupRequest>(to, Lane::General, make, LEAVE_LIMIT).await;
            if let Err(error) = left {
                tracing::warn!(%error, "the group has not heard that this member leaves; it will wait for its session to end");
            }
            Done::Event(Event::Left)
        });
    }

    fn stop(&mut self, fault: Option<Fault>) {
        self.stopped = true;
        let Some(fault) = fault else { return };
        let error = match fault {
            Fault::Refused(code) => Error::broker_says(code, Some("this member cannot stay in its group")),
            Fault::Distrust(Distrust(error)) => error,
            fault => Error::config(format!("the membership of group {} cannot go on: {fault:?}", self.config.group_id)),
        };
        tracing::error!(group = %self.config.group_id, %error, "out of the group for good");
        let items = self.items.clone();
        // The application may be slow to take it, and this task is at its end.
        tokio::spawn(async move { items.send(Item::Failed(error)).await });
    }

    fn order(&self, request: fetcher::Request) {
        // Few and far between: the queue has room for several rebalances. If it is gone, so is the consumer.
        if let Err(error) = self.fetcher.try_send(request) {
            tracing::error!(%error, "the fetcher takes no more partitions");
        }
    }

    fn committer(&self) -> Option<Committer> {
        let identity = self.group.identity()?;
        Some(Committer { cluster: self.cluster.clone(), config: Arc::clone(&self.config), identity })
    }

    fn commit_periodically(&mut self) {
        let Some(committer) = self.committer() else { return };
        let tenures: Vec<Arc<Tenure>> = self.held().values().cloned().collect();
        if tenures.iter().all(|tenure| tenure.to_commit().is_none()) {
            return;
        }
        self.committing = true;
        self.wait_for(async move {
            let (events, result) = committer.commit(&tenures).await;
            match result {
                Ok(()) => {}
                // Until the group is assigned anew.
                Err(error) if error.code() == Some(ErrorCode::REBALANCE_IN_PROGRESS) => {
                    tracing::debug!(%error, "not committed")
                }
                Err(error) => tracing::warn!(%error, "a commit has failed; it is repeated with the next one"),
            }
            Done::Committed(events)
        });
    }

    fn commit_now(&mut self, reply: oneshot::Sender<Result<(), Error>>) {
        let Some(committer) = self.committer() else {
            let _ = reply.send(Err(Error::broker(ErrorCode::UNKNOWN_MEMBER_ID).of(OffsetCommitRequest::NAME)));
            return;
        };
        let tenures: Vec<Arc<Tenure>> = self.held().values().cloned().collect();
        self.wait_for(async move {
            let (mut events, result) = committer.commit(&tenures).await;
            let _ = reply.send(result);
            events.pop().map_or(Done::Nothing, Done::Event)
        });
    }

    /// The topics of the subscription, and those that are not there. Those that are there are followed too, for as long as
    /// they are wanted here and not only while somebody else does.
    fn follow_topics(&mut self) {
        let known = self.cluster.metadata();
        self.missing = self.unknown_topics(&known);
        self.look_for_missing_at = Instant::now() + MISSING_TOPICS_INTERVAL;
        self.look_for_topics();
    }

    fn unknown_topics(&self, known: &Metadata) -> BTreeSet<Topic> {
        self.subscription.topics().iter().filter(|topic| known.partition_count(topic).is_none()).cloned().collect()
    }

    fn look_for_topics(&mut self) {
        let (cluster, missing) = (self.cluster.clone(), self.missing.clone());
        let wanted = self.subscription.topics().clone();
        self.wait_for(async move {
            let topics = wanted.union(&missing).cloned().collect();
            match cluster.refresh(Topics::Follow(topics)).await {
                Ok(known) => {
                    Done::Missing(missing.into_iter().filter(|topic| known.partition_count(topic).is_none()).collect())
                }
                Err(error) => {
                    tracing::debug!(%error, "topics cannot be asked about at present");
                    Done::Nothing
                }
            }
        });
    }

    /// Asks for all topics, for those that match.
    fn look_for_matching(&mut self) {
        self.look_at = Some(Instant::now() + self.cluster.config().metadata_max_age);
        let cluster = self.cluster.clone();
        self.wait_for(async move { Done::Looked(cluster.refresh(Topics::All).await) });
    }

    /// The group is joined once it is known what to read in it.
    fn looked(&mut self, answer: Result<Arc<Metadata>, Error>) {
        match answer {
            Ok(known) if self.subscription.looked(&known) => {
                let topics: Vec<&str> = self.subscription.topics().iter().map(|topic| &**topic).collect();
                tracing::info!(group = %self.config.group_id, topics = topics.join(" "), "the topics that match");
                self.tell(Event::Wanted);
            }
            // A change is told of by the metadata itself.
            Ok(_) => {}
            Err(error) if error.is_authentication() => self.stop(Some(Fault::Distrust(Distrust(error)))),
            Err(error) => {
                tracing::warn!(group = %self.config.group_id, %error, "topics that match cannot be looked for at present");
                self.look_at = Some(Instant::now() + MISSING_TOPICS_INTERVAL);
            }
        }
    }

    /// Topics have come, gone or grown. What matches is joined with; the leader assigned for what was then, so it calls
    /// for another assignment.
    fn metadata_changed(&mut self) {
        let known = self.metadata.borrow_and_update().clone();
        if self.subscription.see(&known) {
            self.tell(Event::Changed("the topics that match have changed"));
        }
        self.missing.retain(|topic| known.partition_count(topic).is_none());
        // One that was deleted is followed no more; it may be made again.
        self.missing.extend(self.unknown_topics(&known));
        self.said_missing.retain(|topic| self.missing.contains(topic));
        let Some(counts) = &self.assigned_for else { return };
        let now = |topic: &Topic| known.partition_count(topic).unwrap_or(0);
        if counts.iter().any(|(topic, count)| now(topic) != *count) {
            self.assigned_for = None;
            self.tell(Event::Changed("the partitions of the topics have changed"));
        }
    }
}

/// Everybody's part and, as leader, what it was made for. Not the leader: nothing.
async fn assignment(
    cluster: &Cluster,
    joined: &Joined,
    Led { members, is_settled }: &Led,
) -> Result<(Assignment, Option<Counts>), Error> {
    if members.is_empty() {
        return Ok((Default::default(), None));
    }
    let topics: BTreeSet<Topic> = members.iter().flat_map(|member| &member.topics).cloned().collect();
    let known = cluster.refresh(Topics::Follow(topics.iter().cloned().collect())).await?;
    let counts = topics.iter().filter_map(|topic| Some((topic.clone(), known.partition_count(topic)?))).collect();
    // What is settled is not assigned again, but its topics are watched like those of any other assignment.
    let assignment = if *is_settled { Assignment::default() } else { joined.assignor.assign(members, &counts) };
    tracing::info!(
        generation = joined.generation,
        members = members.len(),
        assignor = joined.assignor.name(),
        settled = is_settled,
        "assigned as leader"
    );
    // Topics that are not there count as having none, so that their coming is a change.
    let watched = topics.into_iter().map(|topic| (counts.get(&topic).copied().unwrap_or(0), topic));
    Ok((assignment, Some(watched.map(|(count, topic)| (topic, count)).collect())))
}

/// Asks once what the group has committed of new partitions, and settles each of them by itself.
async fn locate(cluster: Cluster, config: Arc<ConsumerConfig>, items: mpsc::Sender<Item>, new: New) -> Located {
    let mut located = Located::default();
    if !new.pause.is_zero() {
        sleep(new.pause).await;
    }
    let tenures: Vec<Arc<Tenure>> = new.tenures.into_iter().filter(|tenure| !tenure.has_ended()).collect();
    if tenures.is_empty() || cluster.is_closed() {
        return located;
    }
    let partitions = tenures.iter().map(|tenure| tenure.topic_partition.clone()).collect();
    let mut answer = committed(&cluster, &config, partitions).await;
    if let Err(error) = &answer {
        unlocated(&cluster, &config, &items, error);
    }
    let failures = new.failures + 1;
    let (pause, long_pause) = (cluster.retry_backoff().wait(failures), REFUSED_PAUSE);
    let (mut again, mut refused) = (New::after(pause, failures), New::after(long_pause, failures));
    for tenure in tenures {
        let mark = match &mut answer {
            Ok(answer) => wire::found(answer, &tenure.topic_partition),
            Err(error) => Err(error.clone()),
        };
        match mark {
            Ok(mark) => {
                tenure.begin(mark);
                located.found.push((tenure, mark));
            }
            Err(error) => {
                if answer.is_ok() {
                    unlocated(&cluster, &config, &items, &error);
                }
                let later = if error.is_retriable() { &mut again } else { &mut refused };
                later.tenures.push(tenure);
            }
        }
    }
    located.later = vec![again, refused];
    located
}

/// Committed offsets cannot be had: of the group, or of one partition.
fn unlocated(cluster: &Cluster, config: &ConsumerConfig, items: &mpsc::Sender<Item>, error: &Error) {
    tracing::warn!(group = %config.group_id, %error, "committed offsets cannot be had; asking again");
    if error.class() == Class::FindCoordinator {
        cluster.forget_coordinator(&config.group_id);
    }
    if !error.is_retriable() {
        // A full queue has enough to say already; this is said again with the next try.
        let _ = items.try_send(Item::Failed(error.clone().of(OffsetFetchRequest::NAME)));
    }
}

async fn committed(
    cluster: &Cluster,
    config: &ConsumerConfig,
    partitions: BTreeSet<TopicPartition>,
) -> Result<wire::Committed, Error> {
    let known = cluster.metadata();
    let (group, topics) = (Str::from(config.group_id.as_str()), Arc::clone(&known));
    let make = move |version| wire::offset_fetch(group, &partitions, &topics, version);
    let limit = cluster.config().request_timeout;
    let to = To::GroupCoordinator(&config.group_id);
    // Not on the group's lane, where it would wait behind a JoinGroup, and take its connection along when it is not answered.
    let answer = cluster.call_with::<OffsetFetchRequest>(to, Lane::General, make, limit).await?;
    wire::offsets_fetched(answer.body, &known).map_err(|error| error.of(OffsetFetchRequest::NAME))
}

/// Commits in the name of one generation.
struct Committer {
    cluster: Cluster,
    config: Arc<ConsumerConfig>,
    identity: (Str, i32),
}

impl Committer {
    /// Once. What the group answers to the member itself is an event.
    async fn commit(&self, tenures: &[Arc<Tenure>]) -> (Vec<Event>, Result<(), Error>) {
        let marks = tenures.iter().filter_map(|tenure| Some((tenure.topic_partition.clone(), tenure.to_commit()?)));
        let marks: Marks = marks.collect();
        if marks.is_empty() {
            return (Vec::new(), Ok(()));
        }
        let known = self.cluster.metadata();
        let request = wire::commit(&self.config, self.identity.clone(), &marks, &known);
        let limit = self.cluster.config().request_timeout;
        let to = To::GroupCoordinator(&self.config.group_id);
        // Not on the group's lane, where it would wait behind a JoinGroup that waits for everybody else.
        let answer = match self.cluster.call::<OffsetCommitRequest>(to, Lane::General, request, limit).await {
            Ok(answer) => wire::committed(answer.body, &known),
            Err(error) => return (Vec::new(), Err(error)),
        };
        let mut result = Ok(());
        for tenure in tenures {
            let of = &tenure.topic_partition;
            let Some(mark) = marks.get(of) else { continue };
            match wire::verdict(&answer, of) {
                Ok(()) => tenure.committed(*mark),
                Err(error) => result = Err(error.of(OffsetCommitRequest::NAME)),
            }
        }
        let code = result.as_ref().err().and_then(Error::code);
        let about_member = code.filter(|code| {
            matches!(code.class(), Class::Rejoin | Class::FindCoordinator) || *code == ErrorCode::FENCED_INSTANCE_ID
        });
        let event = about_member.map(|code| Event::CommitRefused { generation: self.identity.1, code });
        (event.into_iter().collect(), result)
    }

    /// The last commit for these: repeated while that can help, because nobody else will do it.
    async fn last(&self, tenures: &[Arc<Tenure>]) {
        let limit = self.config.drain_limit().min(LEAVE_LIMIT);
        let commit = self.cluster.retry(limit, |_| async {
            let (_, result) = self.commit(tenures).await;
            result.inspect_err(|error| {
                if error.class() == Class::FindCoordinator {
                    self.cluster.forget_coordinator(&self.config.group_id);
                }
            })
        });
        if let Err(error) = commit.await {
            tracing::warn!(%error, "the last commit has failed; some records will be read again");
        }
    }
}

fn fault(error: &Error) -> Fault {
    match error.code() {
        Some(code) => Fault::Refused(code),
        None if error.is_authentication() => Fault::Distrust(Distrust(error.clone())),
        None => {
            tracing::warn!(%error, "the group's coordinator does not answer");
            Fault::Unanswered
        }
    }
}

/// `t-0 t-1 u-3`
fn list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> String {
    let all: Vec<String> = partitions.into_iter().map(ToString::to_string).collect();
    all.join(" ")
}
