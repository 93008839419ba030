//! What the group has committed, and what it is to commit.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::{Done, Identity, LEAVE_LIMIT, Membership, Who};
use crate::client::cluster::{Cluster, To};
use crate::client::consumer::config::ConsumerConfig;
use crate::client::consumer::group::{Event, REFUSED_PAUSE};
use crate::client::consumer::progress::Mark;
use crate::client::consumer::reader::Item;
use crate::client::consumer::tenure::Tenure;
use crate::client::consumer::wire::{self, Marks};
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};
use crate::protocol::types::{Str, TopicPartition};

/// New partitions, of which it is to be asked after a pause what the group has committed.
#[derive(Default)]
pub(super) struct New {
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
pub(super) struct Located {
    pub found: Vec<(Arc<Tenure>, Option<Mark>)>,
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
        if tenures.iter().all(|tenure| tenure.to_commit().is_none()) {
            return;
        }
        self.committing = true;
        self.wait_for(async move {
            let (event, result) = committer.commit(&tenures).await;
            match result {
                Ok(()) => {}
                // Until the group is assigned anew, or its new epoch is known here.
                Err(error)
                    if matches!(
                        error.code(),
                        Some(ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::STALE_MEMBER_EPOCH)
                    ) =>
                {
                    tracing::debug!(%error, "not committed")
                }
                Err(error) => tracing::warn!(%error, "a commit has failed; it is repeated with the next one"),
            }
            Done::Committed(event)
        });
    }

    pub(super) fn commit_now(&mut self, reply: oneshot::Sender<Result<(), Error>>) {
        let Some(committer) = self.committer() else {
            let _ = reply.send(Err(Error::broker(ErrorCode::UNKNOWN_MEMBER_ID).of(OffsetCommitRequest::NAME)));
            return;
        };
        let tenures: Vec<Arc<Tenure>> = self.held().values().cloned().collect();
        self.wait_for(async move {
            let (event, result) = committer.commit_in_any_epoch(&tenures).await;
            let _ = reply.send(result);
            event.map_or(Done::Nothing, Done::Event)
        });
    }
}

/// Asks once what the group has committed of new partitions, and settles each of them by itself.
async fn locate(group: AtGroup, items: mpsc::Sender<Item>, new: New) -> Located {
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
    if let Err(error) = &answer {
        group.unlocated(&items, error);
    }
    let failures = new.failures + 1;
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
                located.found.push((tenure, mark));
            }
            Err(error) => {
                if answer.is_ok() {
                    group.unlocated(&items, &error);
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

/// What asks about offsets and commits them, in the name of the member as it is at the time.
pub(super) struct AtGroup {
    cluster: Cluster,
    config: Arc<ConsumerConfig>,
    identity: Identity,
}

impl AtGroup {
    fn who(&self) -> Who {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn committed(&self, partitions: BTreeSet<TopicPartition>) -> Result<wire::Committed, Error> {
        let known = self.cluster.metadata();
        let (group, topics) = (Str::from(self.config.group_id.as_str()), Arc::clone(&known));
        let asker = self.who().asker;
        let make = move |version| wire::offset_fetch(group, asker, &partitions, &topics, version);
        let limit = self.cluster.config().request_timeout;
        let to = To::GroupCoordinator(&self.config.group_id);
        // Not on the group's lane, where it would wait behind a JoinGroup, and take its connection along when it is not answered.
        let answer = self.cluster.call_with::<OffsetFetchRequest>(to, Lane::General, make, limit).await?;
        wire::offsets_fetched(answer.body, &known).map_err(|error| error.of(OffsetFetchRequest::NAME))
    }

    /// Committed offsets cannot be had: of the group, or of one partition.
    fn unlocated(&self, items: &mpsc::Sender<Item>, error: &Error) {
        tracing::warn!(group = %self.config.group_id, %error, "committed offsets cannot be had; asking again");
        if error.class() == Class::FindCoordinator {
            self.cluster.forget_coordinator(&self.config.group_id);
        }
        if !passes(error) {
            // A full queue has enough to say already; this is said again with the next try.
            let _ = items.try_send(Item::Failed(error.clone().of(OffsetFetchRequest::NAME)));
        }
    }

    /// Once. What the group answers to the member itself is an event.
    async fn commit(&self, tenures: &[Arc<Tenure>]) -> (Option<Event>, Result<(), Error>) {
        let marks = tenures.iter().filter_map(|tenure| Some((tenure.topic_partition.clone(), tenure.to_commit()?)));
        let marks: Marks = marks.collect();
        if marks.is_empty() {
            return (None, Ok(()));
        }
        let Some(member) = self.who().member else {
            return (None, Err(Error::broker(ErrorCode::UNKNOWN_MEMBER_ID).of(OffsetCommitRequest::NAME)));
        };
        let (known, generation) = (self.cluster.metadata(), member.1);
        let request = wire::commit(&self.config, member, &marks, &known);
        let limit = self.cluster.config().request_timeout;
        let to = To::GroupCoordinator(&self.config.group_id);
        // Not on the group's lane, where it would wait behind a JoinGroup that waits for everybody else.
        let answer = match self.cluster.call::<OffsetCommitRequest>(to, Lane::General, request, limit).await {
            Ok(answer) => wire::committed(answer.body, &known),
            Err(error) => return (None, Err(error)),
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
        let event = code.filter(is_about_member).map(|code| Event::CommitRefused { generation, code });
        (event, result)
    }

    /// As [`commit`](Self::commit); when a new epoch has overtaken it, once more in that one. What the member has lost or
    /// let go meanwhile is not among what there is to commit any more.
    async fn commit_in_any_epoch(&self, tenures: &[Arc<Tenure>]) -> (Option<Event>, Result<(), Error>) {
        let limit = self.cluster.config().request_timeout;
        let commit = self.cluster.retry(limit, |_| async {
            let (event, result) = self.commit(tenures).await;
            match result {
                Err(error) if error.code() == Some(ErrorCode::STALE_MEMBER_EPOCH) => Err(error),
                result => Ok((event, result)),
            }
        });
        commit.await.unwrap_or_else(|error| (None, Err(error)))
    }

    /// The last commit for these: repeated while that can help, because nobody else will do it.
    pub(super) async fn last(&self, tenures: &[Arc<Tenure>]) {
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

/// Whether the refusal of a commit says something of the member, rather than of the offset.
fn is_about_member(code: &ErrorCode) -> bool {
    matches!(code.class(), Class::Rejoin | Class::FindCoordinator)
        || matches!(*code, ErrorCode::FENCED_INSTANCE_ID | ErrorCode::STALE_MEMBER_EPOCH)
}
