//! Reading partitions that are given, and stay: nobody assigns them. In place of the membership there is a task that holds
//! them until the consumer is closed and, for a consumer that is of a group all the same, fetches and commits its offsets.

use std::collections::btree_map::Entry;
use std::pin::pin;
use std::sync::{Arc, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::config::ConsumerConfig;
use super::fetcher;
use super::membership::{AtGroup, Closing, Command, Held, Located, New, locate, say_given_up};
use super::memory::Memory;
use super::progress::Mark;
use super::reader::Item;
use super::tenure::Tenure;
use crate::client::error::Error;
use crate::protocol::types::{Offset, TopicPartition};

/// The group whose offsets these partitions have.
pub(super) struct Offsets {
    pub group: AtGroup,
    pub items: mpsc::Sender<Item>,
}

/// Commits that are under way. The task itself waits for none of them: it has to hear that it is closed.
type Committing = FuturesUnordered<BoxFuture<'static, Commit>>;

#[derive(Debug, PartialEq, Eq)]
enum Commit {
    Periodic,
    AskedFor,
}

pub(super) struct Assignment {
    pub held: Held,
    pub config: Arc<ConsumerConfig>,
    pub fetcher: mpsc::Sender<fetcher::Request>,
    pub commands: mpsc::Receiver<Command>,
    /// `None` outside of any group.
    pub offsets: Option<Offsets>,
}

impl Assignment {
    /// Takes partitions, each to be read from an offset or, without one, from what the group has committed and else from
    /// where the reset policy says; of one that is given twice, the first counts. Gives those of which the group is still to
    /// be asked.
    pub fn take(
        &self,
        partitions: Vec<(TopicPartition, Option<Offset>)>,
        memory: &Arc<Memory>,
    ) -> Result<Vec<Arc<Tenure>>, Error> {
        let (mut wanted, mut unknown) = (Vec::with_capacity(partitions.len()), Vec::new());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for (of, offset) in partitions {
            let Entry::Vacant(place) = held.entry(of) else { continue };
            let mark = offset.map(|offset| Mark { offset, leader_epoch: None });
            let tenure = Tenure::new(place.key().clone(), Arc::clone(memory));
            mark.into_iter().for_each(|mark| tenure.sought(mark));
            place.insert(Arc::clone(&tenure));
            match mark {
                None if self.offsets.is_some() => unknown.push(tenure),
                mark => wanted.push((tenure, mark.into())),
            }
        }
        self.fetcher.try_send(fetcher::Request::Take(wanted)).map_err(|_| Error::closed())?;
        Ok(unknown)
    }

    /// Until the consumer is closed or dropped; then gives the partitions up, waits for what is out of them, and commits.
    /// False if what is out had all the time there was, and that was not enough.
    pub async fn run(mut self, unknown: Vec<Arc<Tenure>>) -> bool {
        let (mut locating, mut committing) = (JoinSet::new(), Committing::new());
        self.locate(&mut locating, New { tenures: unknown, ..New::default() });
        let mut turns = self.committer().map(|_| self.turns());
        let mut is_turn_over = true;
        let by = loop {
            let turn = async {
                match &mut turns {
                    Some(turns) => turns.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Close(by)) => break by,
                    None => break None,
                    Some(command) => self.obey(command, self.tenures(), &committing),
                },
                Some(located) = locating.join_next() => self.located(&mut locating, located.unwrap_or_default()).await,
                Some(commit) = committing.next() => is_turn_over |= commit == Commit::Periodic,
                _ = turn, if is_turn_over => {
                    is_turn_over = false;
                    self.commit_periodically(&committing);
                }
            }
        };
        drop(locating);
        self.give_up(committing, by).await
    }

    /// To whom what is finished is committed by itself.
    fn committer(&self) -> Option<&AtGroup> {
        self.offsets.as_ref().filter(|_| self.config.auto_commit).map(|offsets| &offsets.group)
    }

    /// When that is done.
    fn turns(&self) -> Interval {
        let period = self.config.commit_interval;
        let mut turns = interval_at(Instant::now() + period, period);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        turns
    }

    fn locate(&self, locating: &mut JoinSet<Located>, new: New) {
        if let Some(Offsets { group, items }) = self.offsets.as_ref().filter(|_| !new.tenures.is_empty()) {
            locating.spawn(locate(group.clone(), items.clone(), new));
        }
    }

    async fn located(&self, locating: &mut JoinSet<Located>, Located { found, later }: Located) {
        if !found.is_empty() {
            // Whoever seeks fills the same queue; the fetcher empties it whatever this task does. If it is gone, so is the
            // consumer.
            let _ = self.fetcher.send(fetcher::Request::Take(found)).await;
        }
        later.into_iter().for_each(|new| self.locate(locating, new));
    }

    fn obey(&self, command: Command, tenures: Vec<Arc<Tenure>>, committing: &Committing) {
        let group = self.offsets.as_ref().map(|offsets| offsets.group.clone());
        // Whoever asked may have gone.
        match (command, group) {
            (Command::Commit(reply), Some(group)) => committing.push(
                async move {
                    let _ = reply.send(group.commit_until_told(&tenures).await.1);
                    Commit::AskedFor
                }
                .boxed(),
            ),
            (Command::CommitOffsets(marks, reply), Some(group)) => {
                let chosen = group.choose(marks, tenures);
                committing.push(
                    async move {
                        let _ = reply.send(group.commit_chosen(&chosen).await);
                        Commit::AskedFor
                    }
                    .boxed(),
                );
            }
            (Command::Commit(reply) | Command::CommitOffsets(_, reply), None) => {
                let _ = reply.send(Err(Error::config("there is no group to commit to")));
            }
            (Command::Close(_), _) => {}
        }
    }

    fn tenures(&self) -> Vec<Arc<Tenure>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn commit_periodically(&self, committing: &Committing) {
        let Some(group) = self.committer().cloned() else { return };
        let tenures = self.tenures();
        committing.push(
            async move {
                if let Err(error) = group.commit_until_told(&tenures).await.1 {
                    group.say_uncommitted(&error);
                }
                Commit::Periodic
            }
            .boxed(),
        );
    }

    /// Within the time that a close leaves for it, or that the configuration does when the handle is simply gone: until
    /// the last commit is due, or, where none is, until all of it is over. What is out longer is read again by others.
    async fn give_up(mut self, mut committing: Committing, mut by: Option<Closing>) -> bool {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        let tenures: Vec<Arc<Tenure>> = held.into_values().collect();
        tenures.iter().for_each(|tenure| tenure.end());
        let commits = self.committer().is_some();
        let (began, limit) = (Instant::now(), Instant::now().checked_add(self.config.drain_limit()));
        let mut drained = pin!(join_all(tenures.iter().map(|tenure| tenure.drained())));
        let (mut is_drained, mut is_orphaned) = (false, false);
        while !(is_drained && committing.is_empty()) {
            let over = async {
                match by.map(|by| if commits { by.drained } else { by.end }).or(limit) {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = &mut drained, if !is_drained => is_drained = true,
                Some(_) = committing.next() => {}
                command = self.commands.recv(), if !is_orphaned => match command {
                    // Another one, which sets another limit.
                    Some(Command::Close(now)) => by = now,
                    Some(command) => self.obey(command, tenures.clone(), &committing),
                    None => is_orphaned = true,
                },
                () = over => break,
            }
        }
        say_given_up(&tenures, began.elapsed());
        if let Some(group) = self.committer() {
            group.last(&tenures, by.map(|by| by.committed)).await;
        }
        commits || (is_drained && committing.is_empty())
    }
}
