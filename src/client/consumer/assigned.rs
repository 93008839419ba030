//! Reading outside of any group: the partitions are given, and stay. In place of the membership there is a task that holds
//! them until the consumer is closed.

use std::sync::{Arc, PoisonError};

use futures::future::join_all;
use tokio::sync::mpsc;

use super::fetcher;
use super::membership::{Command, Held};
use super::memory::Memory;
use super::progress::Mark;
use super::tenure::Tenure;
use crate::client::error::Error;
use crate::protocol::types::{Offset, TopicPartition};

/// Takes partitions, each to be read from an offset or from where the reset policy says.
pub(super) fn take(
    partitions: Vec<(TopicPartition, Option<Offset>)>,
    held: &Held,
    memory: &Arc<Memory>,
) -> fetcher::Request {
    let mut wanted = Vec::with_capacity(partitions.len());
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    for (of, offset) in partitions {
        let mark = offset.map(|offset| Mark { offset, leader_epoch: None });
        let tenure = Tenure::new(of.clone(), Arc::clone(memory));
        tenure.begin(mark);
        if held.insert(of, Arc::clone(&tenure)).is_none() {
            wanted.push((tenure, mark));
        }
    }
    fetcher::Request::Take(wanted)
}

/// Until the consumer is closed or dropped; then gives the partitions up, and waits for what is out of them.
pub(super) async fn hold(held: Held, mut commands: mpsc::Receiver<Command>) {
    while let Some(command) = commands.recv().await {
        match command {
            Command::Commit(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(Err(Error::config("there is no group to commit to")));
            }
            Command::Close => break,
        }
    }
    let held = std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
    held.values().for_each(|tenure| tenure.end());
    join_all(held.values().map(|tenure| tenure.drained())).await;
}
