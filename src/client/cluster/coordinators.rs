//! Who keeps which group, and which transactional id: asked once, for many at a time where the brokers can (KIP-699), and
//! remembered until it turns out to be wrong.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::{Cluster, Shared, To, Topics};
use crate::client::error::Error;
use crate::client::lane::{Ask, Lane};
use crate::client::time::later;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::types::{BrokerId, Str};

/// What a coordinator is for; one broker may be both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Kept {
    Group,
    Transaction,
}

impl Kept {
    /// As FindCoordinator calls it.
    fn key_type(self) -> i8 {
        match self {
            Self::Group => 0,
            Self::Transaction => 1,
        }
    }
}

/// The coordinators that are known, by the name of what they keep.
#[derive(Debug, Default)]
pub(super) struct Coordinators {
    groups: HashMap<String, BrokerId>,
    transactions: HashMap<String, BrokerId>,
}

impl Coordinators {
    fn of(&mut self, kept: Kept) -> &mut HashMap<String, BrokerId> {
        match kept {
            Kept::Group => &mut self.groups,
            Kept::Transaction => &mut self.transactions,
        }
    }

    pub fn clear(&mut self) {
        self.groups.clear();
        self.transactions.clear();
    }

    fn learn(&mut self, kept: Kept, found: impl IntoIterator<Item = (String, BrokerId)>) {
        let known = self.of(kept);
        for (name, coordinator) in found {
            if known.len() >= COORDINATORS_MAX {
                known.clear();
            }
            known.insert(name, coordinator);
        }
    }
}

/// Coordinators that are remembered; past that all are forgotten, so that callers who name groups at will cost nothing.
const COORDINATORS_MAX: usize = 100_000;

impl Cluster {
    /// The broker that keeps a group, asked for until it is known or the request timeout is over: the first group of a
    /// new cluster waits for its offsets topic to be made.
    pub async fn coordinator(&self, group: &str) -> Result<BrokerId, Error> {
        self.coordinator_within(Kept::Group, group, self.shared.config.request_timeout).await
    }

    /// The same for a transactional id (KIP-98).
    pub async fn transaction_coordinator(&self, transactional_id: &str) -> Result<BrokerId, Error> {
        self.coordinator_within(Kept::Transaction, transactional_id, self.shared.config.request_timeout).await
    }

    pub(super) async fn coordinator_within(
        &self,
        kept: Kept,
        name: &str,
        deadline: Duration,
    ) -> Result<BrokerId, Error> {
        if let Some(known) = self.shared.coordinators().of(kept).get(name) {
            return Ok(*known);
        }
        self.retry(deadline, |left| async move {
            let found = self.find_coordinators(kept, vec![name.to_owned()], left).await?;
            found.into_iter().next().map_or_else(|| Err(ErrorCode::COORDINATOR_NOT_AVAILABLE.into()), |it| it.1)
        })
        .await
    }

    /// The brokers that keep groups, each or the reason why it is not known: one try, and one request for all that are
    /// not known yet (KIP-699), or one for each of older brokers.
    pub async fn coordinators(
        &self,
        groups: Vec<String>,
        deadline: Duration,
    ) -> Vec<(String, Result<BrokerId, Error>)> {
        self.keepers(Kept::Group, groups, deadline).await
    }

    /// The same for whatever coordinators keep.
    pub(in crate::client) async fn keepers(
        &self,
        kept: Kept,
        names: Vec<String>,
        deadline: Duration,
    ) -> Vec<(String, Result<BrokerId, Error>)> {
        let (mut known, mut unknown) = (Vec::with_capacity(names.len()), Vec::new());
        {
            let mut coordinators = self.shared.coordinators();
            let coordinators = coordinators.of(kept);
            for name in names {
                match coordinators.get(&name).copied() {
                    Some(coordinator) => known.push((name, Ok(coordinator))),
                    None => unknown.push(name),
                }
            }
        }
        if unknown.is_empty() {
            return known;
        }
        match self.find_coordinators(kept, unknown.clone(), deadline).await {
            Ok(found) => known.extend(found),
            Err(error) => known.extend(unknown.into_iter().map(|name| (name, Err(error.clone())))),
        }
        known
    }

    /// Takes note of who keeps groups, when that was learned otherwise: whoever lists a group keeps it.
    pub fn learn_coordinators(&self, kept: impl IntoIterator<Item = (String, BrokerId)>) {
        self.shared.coordinators().learn(Kept::Group, kept);
    }

    /// The next call to this group asks who keeps it.
    pub fn forget_coordinator(&self, group: &str) {
        self.forget_keeper(Kept::Group, group);
    }

    /// The next call about this transactional id asks who keeps it.
    pub fn forget_transaction_coordinator(&self, transactional_id: &str) {
        self.forget_keeper(Kept::Transaction, transactional_id);
    }

    pub(in crate::client) fn forget_keeper(&self, kept: Kept, name: &str) {
        self.shared.coordinators().of(kept).remove(name);
    }

    async fn find_coordinators(
        &self,
        kept: Kept,
        names: Vec<String>,
        deadline: Duration,
    ) -> Result<Vec<(String, Result<BrokerId, Error>)>, Error> {
        let until = later(Instant::now(), deadline);
        let any = self.any()?;
        let batched = self.version_within::<FindCoordinatorRequest>(any, Lane::General, deadline).await? >= 4;
        let left = until.saturating_duration_since(Instant::now());
        let chunks: Vec<_> = names.chunks(if batched { names.len().max(1) } else { 1 }).collect();
        let asked = chunks.iter().map(|chunk| self.ask_coordinators(any, kept, chunk, left));
        let mut found = HashMap::with_capacity(names.len());
        for answer in join_all(asked).await {
            found.extend(answer?);
        }
        let learned = found.iter().filter_map(|(name, it)| Some((name.clone(), *it.as_ref().ok()?)));
        self.shared.coordinators().learn(kept, learned);
        let known = self.metadata();
        if found.values().flatten().any(|it| known.broker(*it).is_none()) {
            self.refresh_within(Topics::Followed, until.saturating_duration_since(Instant::now())).await?;
        }
        let silent = || Err(Error::from(ErrorCode::COORDINATOR_NOT_AVAILABLE).of(FindCoordinatorRequest::NAME));
        Ok(names.into_iter().map(|name| found.remove_entry(&name).unwrap_or_else(|| (name, silent()))).collect())
    }

    async fn ask_coordinators(
        &self,
        any: BrokerId,
        kept: Kept,
        names: &[String],
        deadline: Duration,
    ) -> Result<Vec<(String, Result<BrokerId, Error>)>, Error> {
        let keys: Vec<Str> = names.iter().map(|name| name.as_str().into()).collect();
        let make = Box::new(move |version| find_coordinators_request(kept, keys, version).into());
        let ask = Ask::InVersion(FindCoordinatorRequest::KEY, make);
        let answer = self.ask_broker::<FindCoordinatorRequest>(any, Lane::General, ask, deadline).await;
        let answer = answer.inspect_err(|error| self.note(To::Any, error))?.body;
        let placed = |error: Error| self.placed(any, error.of(FindCoordinatorRequest::NAME));
        let found = found_coordinators(&answer, names).into_iter();
        Ok(found.map(|(name, it)| (name, it.map_err(placed))).collect())
    }
}

impl Shared {
    pub(super) fn coordinators(&self) -> MutexGuard<'_, Coordinators> {
        self.coordinators.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Up to version 3, a request is about one key.
fn find_coordinators_request(kept: Kept, mut keys: Vec<Str>, version: i16) -> FindCoordinatorRequest {
    let key_type = kept.key_type();
    match version {
        ..=3 => FindCoordinatorRequest { key: keys.pop().unwrap_or_default(), key_type, ..Default::default() },
        _ => FindCoordinatorRequest { coordinator_keys: keys, key_type, ..Default::default() },
    }
}

fn found_coordinators(answer: &FindCoordinatorResponse, names: &[String]) -> Vec<(String, Result<BrokerId, Error>)> {
    let outcome = |broker: BrokerId, code: i16, words: Option<&str>| match ErrorCode(code).ok() {
        Ok(()) => Ok(broker),
        Err(code) => Err(Error::broker_says(code, words)),
    };
    match (answer.coordinators.is_empty(), names) {
        (true, [name]) => {
            let found = outcome(answer.node_id, answer.error_code, answer.error_message.as_deref());
            vec![(name.clone(), found)]
        }
        _ => {
            let each = answer.coordinators.iter();
            each.map(|it| (it.key.to_string(), outcome(it.node_id, it.error_code, it.error_message.as_deref())))
                .collect()
        }
    }
}
