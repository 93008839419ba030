//! Which topics a member reads: those that it names, and those whose names match. Pure: what is known of the cluster in,
//! topics out.
//!
//! Members match for themselves, as the Java client does: the group knows names only. So do members of the consumer
//! protocol, though its coordinator could match for them (`SubscribedTopicRegex`): it reads another dialect (RE2), and one
//! pattern has to mean the same in both. A member whose topics have changed joins again with what they are now, or tells
//! the coordinator, so a topic that is made is read, and one that is deleted is let go, as soon as the cluster is looked
//! at again; that is every `metadata_max_age`, and whenever somebody else in this client asks for all topics.

use std::collections::BTreeSet;

use regex::Regex;

use super::config::ConsumerConfig;
use crate::client::error::Error;
use crate::client::metadata::Metadata;
use crate::protocol::types::Topic;

/// A regular expression for the names of topics.
#[derive(Debug, Clone)]
pub struct TopicPattern(Regex);

impl TopicPattern {
    /// Matches whole names, as in the Java client.
    pub fn whole(text: &str) -> Result<Self, Error> {
        // Alone first, so that an unbalanced parenthesis cannot close ours.
        Self::anywhere(text)?;
        Self::anywhere(&format!("^(?:{text})$"))
    }

    /// Matches names that have it anywhere in them, as in librdkafka and franz-go; `^` and `$` say otherwise.
    pub fn anywhere(text: &str) -> Result<Self, Error> {
        // The first lines show the expression; the last one says what is wrong with it.
        let wrong = |error: regex::Error| {
            let said = error.to_string();
            Error::config(format!("{text:?} is no regular expression: {}", said.lines().last().unwrap_or_default()))
        };
        Regex::new(text).map(Self).map_err(wrong)
    }

    pub fn matches(&self, topic: &str) -> bool {
        self.0.is_match(topic)
    }
}

/// The topics of one member, as they are and as its group knows them.
#[derive(Debug)]
pub struct Subscription {
    names: BTreeSet<Topic>,
    patterns: Vec<TopicPattern>,
    exclude_internal: bool,
    topics: BTreeSet<Topic>,
    /// What the group was told last; `None` before the first time.
    told: Option<BTreeSet<Topic>>,
    /// With patterns, all topics have to be looked at once before it is known what to read.
    is_known: bool,
}

impl Subscription {
    pub fn of(config: &ConsumerConfig) -> Self {
        let names: BTreeSet<Topic> = config.topics.iter().cloned().collect();
        Self {
            topics: names.clone(),
            names,
            patterns: config.patterns.clone(),
            exclude_internal: config.exclude_internal_topics,
            told: None,
            is_known: config.patterns.is_empty(),
        }
    }

    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether the group can be joined.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    pub fn topics(&self) -> &BTreeSet<Topic> {
        &self.topics
    }

    /// Takes note of a look at all topics; says whether it was the first.
    pub fn looked(&mut self, known: &Metadata) -> bool {
        self.see(known);
        !std::mem::replace(&mut self.is_known, true)
    }

    /// Takes note of what is known now; says whether the group knows something else.
    pub fn see(&mut self, known: &Metadata) -> bool {
        if self.has_patterns() {
            let matched = known.topics().filter(|(name, topic)| self.takes(name, topic.is_internal));
            self.topics = matched.map(|(name, _)| name.clone()).chain(self.names.iter().cloned()).collect();
        }
        self.told.as_ref().is_some_and(|told| *told != self.topics)
    }

    /// The group is told what it is now.
    pub fn tell(&mut self) -> BTreeSet<Topic> {
        self.told = Some(self.topics.clone());
        self.topics.clone()
    }

    fn takes(&self, name: &str, is_internal: bool) -> bool {
        !(is_internal && self.exclude_internal) && self.patterns.iter().any(|pattern| pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::protocol::messages::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};

    #[test]
    fn whole_names_or_parts_of_them() {
        let check = |pattern: TopicPattern, matching: &str, others: &str| {
            matching.split(' ').for_each(|name| assert!(pattern.matches(name), "{pattern:?} {name}"));
            others.split(' ').for_each(|name| assert!(!pattern.matches(name), "{pattern:?} {name}"));
        };
        check(TopicPattern::whole("logs-.*|clicks").unwrap(), "logs- logs-eu clicks", "old-logs-eu clicks2 logs");
        check(TopicPattern::anywhere("^logs-").unwrap(), "logs-eu", "old-logs-eu logs");
        check(TopicPattern::anywhere("logs").unwrap(), "logs-eu old-logs", "log");
        for wrong in [")|(", "(", "["] {
            let said = TopicPattern::whole(wrong).unwrap_err().to_string();
            assert!(said.contains(&format!("{wrong:?} is no regular expression: ")), "{said}");
        }
    }

    /// `__name` is internal.
    fn known(topics: &str) -> Metadata {
        let topic = |name: &str| MetadataResponseTopic {
            name: Some(name.into()),
            is_internal: name.starts_with("__"),
            partitions: vec![MetadataResponsePartition::default()],
            ..Default::default()
        };
        let answer = MetadataResponse { topics: topics.split_whitespace().map(topic).collect(), ..Default::default() };
        Metadata::default().merged(answer, true, Instant::now(), Duration::MAX)
    }

    #[test]
    fn topics_follow_what_is_known() {
        let config = |names: &[&str], pattern: &str| ConsumerConfig {
            topics: names.iter().map(|name| Topic::from(*name)).collect(),
            patterns: vec![TopicPattern::whole(pattern).unwrap()],
            ..Default::default()
        };
        let check = |config: &ConsumerConfig, seen: &[(&str, &str, bool)]| {
            let mut subscription = Subscription::of(config);
            assert!(!subscription.is_known());
            assert!(subscription.looked(&known("")) && !subscription.looked(&known("")));
            subscription.tell();
            for (topics, expect, changed) in seen {
                assert_eq!(subscription.see(&known(topics)), *changed, "{topics}");
                let now: Vec<&str> = subscription.topics().iter().map(|topic| &**topic).collect();
                assert_eq!(now.join(" "), *expect, "{topics}");
                subscription.tell();
            }
        };
        let logs = config(&[], "logs-.*|__.*");
        check(&logs, &[("logs-1 other", "logs-1", true), ("logs-1 logs-2", "logs-1 logs-2", true), ("x", "", true)]);
        check(&logs, &[("__consumer_offsets", "", false), ("logs-1", "logs-1", true), ("logs-1 y", "logs-1", false)]);
        let all = ConsumerConfig { exclude_internal_topics: false, ..logs };
        check(&all, &[("__consumer_offsets logs-1", "__consumer_offsets logs-1", true)]);
        check(&config(&["a"], "b"), &[("", "a", false), ("b c", "a b", true), ("a", "a", true)]);
    }

    #[test]
    fn names_alone_are_known_at_once() {
        let mut subscription = Subscription::of(&ConsumerConfig { topics: vec!["t".into()], ..Default::default() });
        assert!(subscription.is_known());
        subscription.tell();
        assert!(!subscription.see(&known("u")));
        assert_eq!(subscription.topics().len(), 1);
    }
}
