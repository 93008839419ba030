//! The topics that are subscribed to: looked for, waited for, watched, and called by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::{Done, Item, MISSING_TOPICS_INTERVAL, Membership};
use crate::client::cluster::Topics;
use crate::client::consumer::group::{Distrust, Event, Fault};
use crate::client::error::Error;
use crate::client::metadata::Metadata;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::MetadataRequest;
use crate::protocol::types::{Topic, TopicId};

impl Membership {
    /// What topics of these ids are called, as far as that can be known now.
    pub(super) fn resolve(&mut self, ids: BTreeSet<TopicId>) {
        let cluster = self.cluster.clone();
        let wanted: Vec<Topic> = self.subscription.topics().iter().cloned().collect();
        let named = move |known: &Metadata| {
            let named = ids.iter().filter_map(|id| Some((*id, known.topic_name(id)?.clone())));
            (ids.len(), named.collect::<BTreeMap<_, _>>())
        };
        self.wait_for(async move {
            let (count, mut names) = named(&cluster.metadata());
            if names.len() < count {
                match cluster.refresh(Topics::Follow(wanted)).await {
                    Ok(known) => names = named(&known).1,
                    Err(error) => tracing::debug!(%error, "topics cannot be asked about at present"),
                }
            }
            Done::Event(Event::Resolved(names))
        });
    }

    /// The topics of the subscription, and those that are not there. Those that are there are followed too, for as long as
    /// they are wanted here and not only while somebody else does.
    pub(super) fn follow_topics(&mut self) {
        let known = self.cluster.metadata();
        self.missing = self.unknown_topics(&known);
        self.look_for_missing_at = Instant::now() + MISSING_TOPICS_INTERVAL;
        self.look_for_topics();
    }

    fn unknown_topics(&self, known: &Metadata) -> BTreeSet<Topic> {
        self.subscription.topics().iter().filter(|topic| known.partition_count(topic).is_none()).cloned().collect()
    }

    pub(super) fn look_for_topics(&mut self) {
        let (cluster, missing) = (self.cluster.clone(), self.missing.clone());
        let wanted = self.subscription.topics().clone();
        self.wait_for(async move {
            let topics = wanted.union(&missing).cloned().collect();
            match cluster.refresh(Topics::Follow(topics)).await {
                Ok(known) => {
                    let absent = missing.into_iter().filter(|topic| known.partition_count(topic).is_none());
                    let error = |topic: &Topic| known.topic(topic).and_then(|it| it.error);
                    Done::Missing(absent.map(|topic| (topic.clone(), error(&topic))).collect())
                }
                Err(error) => {
                    tracing::debug!(%error, "topics cannot be asked about at present");
                    Done::Nothing
                }
            }
        });
    }

    /// What only somebody can change, as a topic that may not be read, is for the application to know; one that does not
    /// exist may still be made. Each is said once, until the broker says something else.
    pub(super) fn say_missing(&mut self, topic: Topic, error: Option<ErrorCode>) {
        let error = error.filter(|code| !code.is_retriable());
        if self.said_missing.insert(topic.clone(), error) == Some(error) {
            return;
        }
        let Some(code) = error else {
            tracing::warn!(group = %self.config.group_id, %topic, "the topic does not exist; waiting for it");
            return;
        };
        let words = format!("topic {topic}: {}", code.meaning().unwrap_or("the broker tells nothing of it"));
        let error = Error::broker_says(code, Some(&words)).of(MetadataRequest::NAME);
        tracing::warn!(group = %self.config.group_id, %error, "asking again");
        if self.items.try_send(Item::Failed(error)).is_err() {
            // A full queue has enough to say already.
            self.said_missing.remove(&topic);
        }
    }

    /// Asks for all topics, for those that match.
    pub(super) fn look_for_matching(&mut self) {
        self.look_at = Some(Instant::now() + self.cluster.config().metadata_max_age);
        let cluster = self.cluster.clone();
        self.wait_for(async move { Done::Looked(cluster.refresh(Topics::All).await) });
    }

    /// The group is joined once it is known what to read in it.
    pub(super) fn looked(&mut self, answer: Result<Arc<Metadata>, Error>) {
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
    pub(super) fn metadata_changed(&mut self) {
        let known = self.metadata.borrow_and_update().clone();
        if self.subscription.see(&known) {
            self.tell(Event::Changed("the topics that match have changed"));
        }
        self.missing.retain(|topic| known.partition_count(topic).is_none());
        // One that was deleted is followed no more; it may be made again.
        self.missing.extend(self.unknown_topics(&known));
        self.said_missing.retain(|topic, _| self.missing.contains(topic));
        let Some(counts) = &self.assigned_for else { return };
        let now = |topic: &Topic| known.partition_count(topic).unwrap_or(0);
        if counts.iter().any(|(topic, count)| now(topic) != *count) {
            self.assigned_for = None;
            self.tell(Event::Changed("the partitions of the topics have changed"));
        }
    }
}
