//! Carries out what the [`group`](super::group) machine decides: one task that speaks to the coordinator ([`asking`]),
//! tells it that this member lives however slow the application is, commits what is finished ([`offsets`]), follows the
//! topics ([`topics`]), and tells the fetcher what to read. Which of the protocols is spoken is none of its business.
//!
//! Everything that waits, waits in [`Membership::pending`]; the task itself never does, so heartbeats go on while
//! partitions drain, offsets are fetched or commits are out.

mod asking;
mod doubt;
mod draining;
mod offsets;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::asking::Lead;
use self::doubt::Doubt;
pub(super) use self::draining::{Closing, say_given_up};
use self::draining::{Draining, wait_until};
pub(super) use self::offsets::{AtGroup, Located, New, locate};
use super::assignor::Counts;
use super::config::ConsumerConfig;
use super::fetcher;
use super::group::classic::Joined;
use super::group::{Action, Distrust, Event, Fault, Group, Refusal, Rules};
use super::memory::Memory;
use super::poll::PollClock;
use super::progress::Mark;
use super::reader::Item;
use super::subscription::Subscription;
use super::tenure::Tenure;
use super::wire::{Led, Marks};
use crate::client::cluster::Cluster;
use crate::client::error::Error;
use crate::client::metadata::Metadata;
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{Offset, Str, Topic, TopicPartition};

/// How often topics that do not exist are asked about.
const MISSING_TOPICS_INTERVAL: Duration = Duration::from_secs(2);
/// An application that is late in the midst of a rebalance is looked at again after this.
const OVERDUE_AGAIN: Duration = Duration::from_millis(500);
/// A member that is closed in the midst of a rebalance waits for the end of it for so long, if it has the time.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// The most that the last commit takes, and the leaving; and that is kept for both of them of the time to close.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// So many partitions are named in a line of the log.
const LISTED_MAX: usize = 20;

/// What the handle wants.
#[derive(Debug)]
pub(super) enum Command {
    Commit(oneshot::Sender<Result<(), Error>>),
    CommitOffsets(Marks, oneshot::Sender<Result<(), Error>>),
    /// By then, if it is not to take as long as it takes.
    Close(Option<Closing>),
}

/// What the handle may see of it: the partitions that are held.
pub(super) type Held = Arc<Mutex<BTreeMap<TopicPartition, Arc<Tenure>>>>;

/// What the handle may see of it, and commits go by: who the member is in the present generation.
pub(super) type Identity = Arc<Mutex<Who>>;

/// See [`Group::identity`] and [`Group::asker`].
#[derive(Debug, Clone, Default)]
pub(super) struct Who {
    pub member: Option<(Str, i32)>,
    asker: Option<(Str, i32)>,
    doubt: Option<Doubt>,
    /// How often partitions were lost or let go.
    releases: u64,
    /// Offsets that the application has chosen to commit, so often, and which choice was the last of each partition.
    choices: u64,
    chosen: Arc<BTreeMap<TopicPartition, u64>>,
    /// Cancelled when partitions are lost, or let go with records of them still out; another one is valid from then on.
    pub holding: CancellationToken,
}

impl Who {
    /// Whoever reads what nobody has assigned: generation -1 of nobody, which a group without members takes.
    pub fn of_no_generation() -> Self {
        Self { member: Some((Str::default(), -1)), ..Self::default() }
    }
}

/// What has come of something that was waited for.
enum Done {
    Joined(Result<(Joined, Led), Fault>),
    Synced(Result<BTreeSet<TopicPartition>, Fault>, Option<Lead>),
    Event(Event),
    /// A revocation, and what it waited for.
    Released(u64, Vec<Arc<Tenure>>),
    /// A periodic commit.
    Committed(Option<Event>),
    /// A commit that the application has asked for.
    CommittedAsAsked(Option<Event>),
    Located(Located),
    /// Topics that really are not there, and what the broker says of each.
    Missing(Vec<(Topic, Option<ErrorCode>)>),
    /// All topics there are, to be matched with patterns.
    Looked(Result<Arc<Metadata>, Error>),
    Nothing,
}

pub(super) struct Membership {
    cluster: Cluster,
    config: Arc<ConsumerConfig>,
    group: Group,
    held: Held,
    draining: Draining,
    closing: watch::Sender<Option<Closing>>,
    identity: Identity,
    memory: Arc<Memory>,
    clock: Arc<PollClock>,
    commands: mpsc::Receiver<Command>,
    fetcher: mpsc::Sender<fetcher::Request>,
    items: mpsc::Sender<Item>,
    pending: FuturesUnordered<BoxFuture<'static, Done>>,
    metadata: watch::Receiver<Arc<Metadata>>,
    subscription: Subscription,
    /// What the leader of the group was told, until it assigns.
    led: Led,
    /// When all topics are looked at for those that match; `None` without patterns.
    look_at: Option<Instant>,
    /// As leader: the partition counts that the assignment was made for.
    assigned_for: Option<Counts>,
    /// Topics that are subscribed to and not there, and what was last said of them to the application.
    missing: BTreeSet<Topic>,
    said_missing: BTreeMap<Topic, Option<ErrorCode>>,
    look_for_missing_at: Instant,
    commit_at: Instant,
    committing: bool,
    /// Commits that the application has asked for and that are under way.
    asked: usize,
    /// It is to close when these are done, or at this time.
    close_at: Option<Instant>,
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
            protocol: config.group_protocol,
            member_id: Uuid::new_v4().to_string().into(),
            cooperative: config.is_cooperative(),
            is_static: config.instance_id.is_some(),
            heartbeat_interval: config.heartbeat_interval,
            backoff: cluster.config().retry_backoff,
            backoff_max: cluster.config().retry_backoff_max,
            close_patience: CLOSE_PATIENCE,
            session_timeout: config.session_timeout,
        };
        let now = Instant::now();
        Self {
            group: Group::new(rules),
            metadata: cluster.metadata_changes(),
            subscription: Subscription::of(&config),
            led: Led::default(),
            look_at: None,
            pending: FuturesUnordered::new(),
            draining: Draining::default(),
            closing: watch::Sender::new(None),
            assigned_for: None,
            missing: BTreeSet::new(),
            said_missing: BTreeMap::new(),
            look_for_missing_at: now,
            commit_at: now + config.commit_interval,
            committing: false,
            asked: 0,
            close_at: None,
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
            let mut who = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            (who.member, who.asker) = (self.group.identity(), self.group.asker());
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
        [self.group.wakes_at(), commit, missing, self.look_at, self.close_at]
            .into_iter()
            .flatten()
            .fold(overdue, Instant::min)
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.clock.overdue_at(self.config.max_poll_interval).is_some_and(|at| at <= now) && !self.group.is_away() {
            self.tell(Event::Overdue);
        }
        self.tell(Event::Tick);
        if self.close_at.is_some_and(|at| at <= now) {
            self.close();
        }
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
            Some(Command::CommitOffsets(marks, reply)) => self.commit_chosen(marks, reply),
            Some(Command::Close(by)) => {
                self.closing.send_replace(by);
                self.close_once_committed();
            }
            None => {
                self.orphaned = true;
                self.close_once_committed();
            }
        }
    }

    /// Who has left cannot commit: what the application has asked for comes first, whether it waits for it or not. Half of
    /// the time that there is stays for what is out.
    fn close_once_committed(&mut self) {
        if self.asked == 0 {
            return self.close();
        }
        let drained = self.closing.borrow().map(|by| by.drained.saturating_duration_since(Instant::now()));
        self.close_at = Some(Instant::now() + drained.unwrap_or_else(|| self.config.drain_limit()) / 2);
    }

    fn close(&mut self) {
        self.close_at = None;
        let by = self.closing.borrow().map(|by| by.drained);
        self.tell(Event::Close(by));
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Joined(answer) => {
                let joined = answer.map(|(joined, led)| {
                    self.led = led;
                    joined
                });
                self.tell(Event::Joined(joined));
            }
            Done::Synced(answer, lead) => {
                let lead = lead.filter(|_| answer.is_ok());
                let withheld = lead.as_ref().is_some_and(|lead| !lead.is_whole);
                self.assigned_for = lead.map(|lead| lead.counts);
                let absent = self.assigned_for.iter().flatten().filter(|(_, count)| **count == 0);
                self.missing.extend(absent.map(|(topic, _)| topic.clone()));
                self.tell(Event::Synced(answer));
                if withheld {
                    self.tell(Event::Withheld);
                }
                self.metadata_changed();
            }
            Done::Event(event) => self.tell(event),
            Done::Released(id, tenures) => {
                self.draining.released(id, &tenures);
                let is_unfinished = |(finished, delivered): (Mark, Offset)| finished.offset < delivered;
                self.holds_no_more(tenures.iter().any(|it| it.position().is_some_and(is_unfinished)));
                self.tell(Event::Released(id));
            }
            Done::Committed(event) => {
                self.committing = false;
                event.into_iter().for_each(|event| self.tell(event));
            }
            Done::CommittedAsAsked(event) => {
                self.asked -= 1;
                event.into_iter().for_each(|event| self.tell(event));
                if self.asked == 0 && self.close_at.is_some() {
                    self.close();
                }
            }
            Done::Located(Located { found, later }) => {
                if !found.is_empty() {
                    self.order(fetcher::Request::Take(found));
                }
                later.into_iter().filter(|new| !new.tenures.is_empty()).for_each(|new| self.locate(new));
            }
            Done::Missing(topics) => topics.into_iter().for_each(|(topic, error)| self.say_missing(topic, error)),
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
            Action::Ask(question) => self.ask(question),
            Action::FindCoordinator => self.cluster.forget_coordinator(&self.config.group_id),
            Action::FallBack(why) => {
                tracing::warn!(group = %self.config.group_id, why, "the classic protocol is spoken instead of the consumer protocol");
            }
            Action::Resolve(ids) => self.resolve(ids),
            Action::Assign(partitions) => self.assign(partitions),
            Action::Revoke { id, partitions, drain } => self.revoke(id, &partitions, drain),
            Action::Lose { partitions, reason } => self.lose(&partitions, &reason),
            Action::Report { of, refusal } => self.report(of, &refusal),
            Action::Stop(fault) => self.stop(fault),
        }
    }

    fn wait_for(&mut self, what: impl Future<Output = Done> + Send + 'static) {
        self.pending.push(what.boxed());
    }

    fn assign(&mut self, partitions: BTreeSet<TopicPartition>) {
        tracing::info!(group = %self.config.group_id, partitions = %list(&partitions), "assigned");
        let tenures: Vec<Arc<Tenure>> =
            partitions.into_iter().map(|of| Tenure::new(of, Arc::clone(&self.memory))).collect();
        self.held().extend(tenures.iter().map(|tenure| (tenure.topic_partition.clone(), Arc::clone(tenure))));
        self.locate(New { tenures, ..New::default() });
    }

    fn revoke(&mut self, id: u64, partitions: &BTreeSet<TopicPartition>, drain: bool) {
        tracing::info!(group = %self.config.group_id, partitions = %list(partitions), "revoked");
        let ended = self.end(partitions);
        let tenures = self.draining.begin(id, ended, partitions);
        let limit = if drain { self.config.drain_limit() } else { Duration::ZERO };
        let committer = self.committer().filter(|_| self.config.auto_commit);
        let (began, closing) = (Instant::now(), self.closing.subscribe());
        self.wait_for(async move {
            tokio::select! {
                biased;
                _ = join_all(tenures.iter().map(|tenure| tenure.drained())) => {}
                () = wait_until(began + limit, closing.clone()) => {}
            }
            if drain {
                say_given_up(&tenures, began.elapsed());
            }
            if let Some(committer) = committer {
                let closing = *closing.borrow();
                committer.last(&tenures, closing.map(|closing| closing.committed)).await;
            }
            Done::Released(id, tenures)
        });
    }

    fn lose(&mut self, partitions: &BTreeSet<TopicPartition>, reason: &str) {
        tracing::warn!(group = %self.config.group_id, partitions = %list(partitions), reason, "lost");
        self.draining.lose(partitions);
        self.end(partitions).iter().for_each(|tenure| tenure.lose());
        self.holds_no_more(true);
    }

    /// Who has not finished what was held until now is not to commit it with a transaction either: a member that joins anew may
    /// come back in the same generation (KIP-848), which fences nothing, and has been told where to begin before that.
    fn holds_no_more(&self, is_unfinished: bool) {
        let mut who = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        who.releases += 1;
        if is_unfinished {
            std::mem::take(&mut who.holding).cancel();
        }
    }

    /// From now on nothing of them is handed out.
    fn end(&mut self, partitions: &BTreeSet<TopicPartition>) -> Vec<Arc<Tenure>> {
        let mut held = self.held();
        let ended: Vec<Arc<Tenure>> = partitions.iter().filter_map(|of| held.remove(of)).collect();
        drop(held);
        ended.iter().for_each(|tenure| tenure.end());
        ended
    }

    /// All of which there may be something to commit: what is revoked is, until it is let go.
    fn tenures(&self) -> Vec<Arc<Tenure>> {
        self.draining.tenures().iter().chain(self.held().values()).cloned().collect()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<TopicPartition, Arc<Tenure>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, of: &'static str, Refusal { code, words }: &Refusal) {
        let error = Error::broker_says(*code, words.as_deref()).of(of);
        tracing::warn!(group = %self.config.group_id, %error, "refused; asking again");
        // A full queue has enough to say already; this is said again with the next refusal.
        let _ = self.items.try_send(Item::Failed(error));
    }

    fn stop(&mut self, fault: Option<Fault>) {
        self.stopped = true;
        let Some(fault) = fault else { return };
        let error = match fault {
            Fault::Refused(Refusal { code, words }) => {
                Error::broker_says(code, Some(words.as_deref().unwrap_or("this member cannot stay in its group")))
            }
            Fault::Distrust(Distrust(error)) => error,
            fault => Error::config(format!("the membership of group {} cannot go on: {fault:?}", self.config.group_id)),
        };
        tracing::error!(group = %self.config.group_id, %error, "out of the group for good");
        let items = self.items.clone();
        // The application may be slow to take it, and this task is at its end.
        tokio::spawn(async move { items.send(Item::Failed(error)).await });
    }

    /// At once or, when the application has filled the queue with seeks, as soon as there is room.
    fn order(&mut self, request: fetcher::Request) {
        let fetcher = self.fetcher.clone();
        self.wait_for(async move {
            // If the fetcher is gone, so is the consumer.
            let _ = fetcher.send(request).await;
            Done::Nothing
        });
    }
}

/// `t-0 t-1 u-3`, and how many more there are: thousands of them would make a line that nobody can read.
fn list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> String {
    let mut all = partitions.into_iter();
    let mut listed: Vec<String> = all.by_ref().take(LISTED_MAX).map(ToString::to_string).collect();
    let more = all.count();
    listed.extend((more > 0).then(|| format!("and {more} more")));
    listed.join(" ")
}
