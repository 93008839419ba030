//! Who keeps which group: asked once, for many groups at a time where the brokers can (KIP-699), and remembered until it
//! turns out to be wrong.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;

use super::{Cluster, Shared, To, Topics};
use crate::client::error::Error;
use crate::client::lane::{Ask, Lane};
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::types::{BrokerId, Str};

/// Coordinators that are remembered; past that all are forgotten, so that callers who name groups at will cost nothing.
const COORDINATORS_MAX: usize = 100_000;
impl Cluster {
    /// The broker that keeps a group, asked for until it is known or the request timeout is over: the first group of a
    /// new cluster waits for its offsets topic to be made.
    pub async fn coordinator(&self, group: &str) -> Result<BrokerId, Error> {
        self.coordinator_within(group, self.shared.config.request_timeout).await
    }

    pub(super) async fn coordinator_within(&self, group: &str, deadline: Duration) -> Result<BrokerId, Error> {
        if let Some(known) = self.shared.coordinators().get(group) {
            return Ok(*known);
        }
        self.retry(deadline, |left| async move {
            let found = self.find_coordinators(vec![group.to_owned()], left).await?;
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
        let (mut known, mut unknown) = (Vec::with_capacity(groups.len()), Vec::new());
        {
            let coordinators = self.shared.coordinators();
            for group in groups {
                match coordinators.get(&group).copied() {
                    Some(coordinator) => known.push((group, Ok(coordinator))),
                    None => unknown.push(group),
                }
            }
        }
        if unknown.is_empty() {
            return known;
        }
        match self.find_coordinators(unknown.clone(), deadline).await {
            Ok(found) => known.extend(found),
            Err(error) => known.extend(unknown.into_iter().map(|group| (group, Err(error.clone())))),
        }
        known
    }

    /// Takes note of who keeps groups, when that was learned otherwise: whoever lists a group keeps it.
    pub fn learn_coordinators(&self, kept: impl IntoIterator<Item = (String, BrokerId)>) {
        let mut coordinators = self.shared.coordinators();
        for (group, coordinator) in kept {
            if coordinators.len() >= COORDINATORS_MAX {
                coordinators.clear();
            }
            coordinators.insert(group, coordinator);
        }
    }

    /// The next call to this group asks who keeps it.
    pub fn forget_coordinator(&self, group: &str) {
        self.shared.coordinators().remove(group);
    }

    async fn find_coordinators(
        &self,
        groups: Vec<String>,
        deadline: Duration,
    ) -> Result<Vec<(String, Result<BrokerId, Error>)>, Error> {
        let any = self.any()?;
        let batched = self.version::<FindCoordinatorRequest>(any, Lane::General).await? >= 4;
        let chunks: Vec<_> = groups.chunks(if batched { groups.len().max(1) } else { 1 }).collect();
        let asked = chunks.iter().map(|chunk| self.ask_coordinators(any, chunk, deadline));
        let mut found = HashMap::with_capacity(groups.len());
        for answer in join_all(asked).await {
            found.extend(answer?);
        }
        self.learn_coordinators(found.iter().filter_map(|(group, it)| Some((group.clone(), *it.as_ref().ok()?))));
        let known = self.metadata();
        if found.values().flatten().any(|it| known.broker(*it).is_none()) {
            self.refresh(Topics::Followed).await?;
        }
        let silent = || Err(Error::from(ErrorCode::COORDINATOR_NOT_AVAILABLE).of(FindCoordinatorRequest::NAME));
        Ok(groups.into_iter().map(|group| found.remove_entry(&group).unwrap_or_else(|| (group, silent()))).collect())
    }

    async fn ask_coordinators(
        &self,
        any: BrokerId,
        groups: &[String],
        deadline: Duration,
    ) -> Result<Vec<(String, Result<BrokerId, Error>)>, Error> {
        let keys: Vec<Str> = groups.iter().map(|group| group.as_str().into()).collect();
        let make = Box::new(move |version| find_coordinators_request(keys, version).into());
        let ask = Ask::InVersion(FindCoordinatorRequest::KEY, make);
        let answer = self.ask_broker::<FindCoordinatorRequest>(any, Lane::General, ask, deadline).await;
        let answer = answer.inspect_err(|error| self.note(To::Any, error))?.body;
        let placed = |error: Error| self.placed(any, error.of(FindCoordinatorRequest::NAME));
        let found = found_coordinators(&answer, groups).into_iter();
        Ok(found.map(|(group, it)| (group, it.map_err(placed))).collect())
    }
}

impl Shared {
    pub(super) fn coordinators(&self) -> MutexGuard<'_, HashMap<String, BrokerId>> {
        self.coordinators.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Up to version 3, a request is about one key.
fn find_coordinators_request(mut keys: Vec<Str>, version: i16) -> FindCoordinatorRequest {
    match version {
        ..=3 => FindCoordinatorRequest { key: keys.pop().unwrap_or_default(), ..Default::default() },
        _ => FindCoordinatorRequest { coordinator_keys: keys, ..Default::default() },
    }
}

fn found_coordinators(answer: &FindCoordinatorResponse, groups: &[String]) -> Vec<(String, Result<BrokerId, Error>)> {
    let outcome = |broker: BrokerId, code: i16, words: Option<&str>| match ErrorCode(code).ok() {
        Ok(()) => Ok(broker),
        Err(code) => Err(Error::broker_says(code, words)),
    };
    match (answer.coordinators.is_empty(), groups) {
        (true, [group]) => {
            let found = outcome(answer.node_id, answer.error_code, answer.error_message.as_deref());
            vec![(group.clone(), found)]
        }
        _ => {
            let each = answer.coordinators.iter();
            each.map(|it| (it.key.to_string(), outcome(it.node_id, it.error_code, it.error_message.as_deref())))
                .collect()
        }
    }
}
