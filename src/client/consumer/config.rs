//! How to consume. The defaults are the Java client's, but for the three that its users most often change: one rebalance
//! moves only what must move (cooperative-sticky), heartbeats are frequent enough that a member that leaves is replaced
//! within a second, and memory is bounded as a whole.

use std::time::Duration;

use super::assignor::Assignor;
use super::subscription::TopicPattern;
use crate::client::admin::IsolationLevel;
use crate::client::error::Error;
use crate::client::time::bound;
use crate::protocol::types::Topic;

/// Where to begin in a partition of which the group has committed nothing, or whose committed offset is gone. Where a log was
/// cut below what was read, as in an unclean election (KIP-320), reading goes on at the cut, unless the rule is [`Self::None`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OffsetReset {
    /// At the first record there is.
    Earliest,
    /// After the last record there is.
    #[default]
    Latest,
    /// At the first record that is not older than this (KIP-1106); after the last one if all are older.
    ByDuration(Duration),
    /// Nowhere: it is an error, and the partition is not read.
    None,
}

/// How the members of a group come to their partitions (`group.protocol` in the Java client).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GroupProtocol {
    /// They agree among themselves (JoinGroup, SyncGroup). The default, as in the Java client and in librdkafka: which
    /// protocol a group speaks concerns all its members, and a group does not change it because one of them was updated.
    #[default]
    Classic,
    /// The coordinator assigns, and a rebalance stops nobody who keeps what they have (KIP-848, Kafka 4.0). Classic members
    /// of the group are carried along, if the broker's `group.consumer.migration.policy` says so. Where the cluster has no
    /// such protocol, or does not convert the group, the classic one is spoken, and the log says so.
    Consumer,
    /// What the group speaks already: classic if it has classic members, else as `Consumer`. So a group goes over when
    /// it starts anew, and never under the feet of members that run.
    Auto,
}

impl GroupProtocol {
    /// As properties name them.
    pub fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "classic" => Some(Self::Classic),
            "consumer" => Some(Self::Consumer),
            "auto" => Some(Self::Auto),
            _ => None,
        }
    }
}

/// See the fields; [`Default`] is a good start, with `group_id` and `topics` filled in.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    pub group_id: String,
    /// A topic that does not exist is waited for.
    pub topics: Vec<Topic>,
    /// Besides, every topic whose name matches one of these, now or when it is made: within the client's
    /// `metadata_max_age` the group is assigned anew.
    pub patterns: Vec<TopicPattern>,
    /// Whether patterns pass over the topics that brokers keep for themselves, such as `__consumer_offsets`.
    pub exclude_internal_topics: bool,
    pub auto_offset_reset: OffsetReset,
    pub isolation_level: IsolationLevel,
    pub group_protocol: GroupProtocol,
    /// Consumer protocol: which of the coordinator's assignors is wanted, `uniform` or `range` or one that was added to it;
    /// `None` leaves it to the coordinator.
    pub remote_assignor: Option<String>,
    /// Classic protocol: in order of preference. Members keep their partitions through a rebalance only if every assignor here is
    /// cooperative; to change from one kind to the other without stopping the group, offer both for a while (KIP-429).
    pub assignors: Vec<Assignor>,
    /// Makes this a static member (KIP-345): it may be away for up to the session timeout without a rebalance, and does
    /// not leave the group when it is closed.
    pub instance_id: Option<String>,
    /// A member that the coordinator has not heard of for so long is out of the group. In the consumer protocol it is the
    /// broker's `group.consumer.session.timeout.ms` that says so; this one still bounds `drain_timeout`.
    pub session_timeout: Duration,
    /// How often the coordinator hears of this member, and this member of changes. In the consumer protocol the coordinator
    /// says how seldom that may be (5 s, if nobody has changed it); the shorter of the two counts.
    pub heartbeat_interval: Duration,
    /// An application that does not ask for records for so long leaves the group, until it asks again. It is also how
    /// long the group waits for its members in a rebalance.
    pub max_poll_interval: Duration,
    /// Whether finished offsets are committed by the consumer itself. Without it they are where
    /// [`Transaction::send_offsets`](crate::client::Transaction::send_offsets) or
    /// [`Consumer::commit`](crate::client::Consumer::commit) puts them.
    pub auto_commit: bool,
    /// How often finished offsets are committed, beside every revocation and the end.
    pub commit_interval: Duration,
    /// How long partitions that are revoked wait for what the application holds of them; at most half the session
    /// timeout counts, and in the consumer protocol, where the coordinator gives members `max_poll_interval` for it, at
    /// most half of that.
    pub drain_timeout: Duration,
    /// Brokers hold an answer back until they have `fetch_min_bytes`, or for so long.
    pub fetch_max_wait: Duration,
    pub fetch_min_bytes: usize,
    /// For one answer of one broker. Each is in memory whole; larger ones than the default made nothing faster. What is
    /// compressed counts, here and below, as about what it unpacks to, but no less than 128 KiB of it are asked for.
    pub fetch_max_bytes: usize,
    /// For one partition in one answer. One batch is always given whole, however large.
    pub partition_max_bytes: usize,
    /// Everything that was fetched and is not finished yet, unpacked. When full, no more is asked for.
    pub memory_bytes: usize,
    /// Where this consumer is, in the words of the brokers' `broker.rack`: a leader that knows a replica there may send it
    /// to that one (KIP-392), if its `replica.selector.class` says so.
    pub rack: Option<String>,
    /// Whether the checksum of each batch is verified.
    pub check_crcs: bool,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            group_id: String::new(),
            topics: Vec::new(),
            patterns: Vec::new(),
            exclude_internal_topics: true,
            auto_offset_reset: OffsetReset::default(),
            isolation_level: IsolationLevel::default(),
            group_protocol: GroupProtocol::default(),
            remote_assignor: None,
            assignors: vec![Assignor::CooperativeSticky],
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_millis(500),
            max_poll_interval: Duration::from_secs(300),
            auto_commit: true,
            commit_interval: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(20),
            fetch_max_wait: Duration::from_millis(500),
            fetch_min_bytes: 1,
            fetch_max_bytes: 4 << 20,
            partition_max_bytes: 1 << 20,
            memory_bytes: 32 << 20,
            rack: None,
            check_crcs: true,
        }
    }
}

impl ConsumerConfig {
    /// Every mistake at once.
    pub(super) fn validate(&self) -> Result<(), Error> {
        let mut wrong = self.wrong_of_group();
        wrong.extend(self.wrong_of_reading());
        refused(&wrong)
    }

    /// The same for partitions that nobody assigns.
    pub(super) fn validate_assigned(&self) -> Result<(), Error> {
        let rules = [
            (!self.group_id.is_empty(), "group_id is empty"),
            (!self.commit_interval.is_zero(), "commit_interval is 0ns"),
            (!self.drain_timeout.is_zero(), "drain_timeout is 0ns"),
        ];
        refused(&broken(&rules).chain(self.wrong_of_reading()).collect::<Vec<_>>())
    }

    /// The same for reading outside a group.
    pub(super) fn validate_reading(&self) -> Result<(), Error> {
        refused(&self.wrong_of_reading())
    }

    fn wrong_of_group(&self) -> Vec<String> {
        let limits = [
            ("session_timeout", self.session_timeout),
            ("heartbeat_interval", self.heartbeat_interval),
            ("max_poll_interval", self.max_poll_interval),
            ("commit_interval", self.commit_interval),
        ];
        let mut wrong: Vec<String> = limits
            .iter()
            .filter(|(_, limit)| limit.is_zero() || limit.as_millis() > i32::MAX as u128)
            .map(|(name, limit)| format!("{name} is {limit:?}"))
            .collect();
        let rules = [
            (!self.group_id.is_empty(), "group_id is empty"),
            (!self.topics.is_empty() || !self.patterns.is_empty(), "no topics"),
            (!self.assignors.is_empty(), "no assignors"),
            (self.remote_assignor.as_deref() != Some(""), "remote_assignor is empty"),
            (self.instance_id.as_deref() != Some(""), "instance_id is empty"),
            (self.heartbeat_interval < self.session_timeout, "heartbeat_interval is not below session_timeout"),
        ];
        wrong.extend(broken(&rules));
        wrong
    }

    fn wrong_of_reading(&self) -> Vec<String> {
        let something = self.fetch_max_bytes > 0 && self.partition_max_bytes > 0;
        let rules = [
            (something, "nothing may be fetched"),
            (self.memory_bytes >= self.partition_max_bytes, "memory_bytes is below partition_max_bytes"),
        ];
        broken(&rules).collect()
    }

    /// With times that can be reckoned with.
    pub(super) fn bounded(mut self) -> Self {
        bound([
            &mut self.session_timeout,
            &mut self.heartbeat_interval,
            &mut self.max_poll_interval,
            &mut self.commit_interval,
            &mut self.drain_timeout,
            &mut self.fetch_max_wait,
        ]);
        self
    }

    /// Whether partitions are kept through a rebalance.
    pub(super) fn is_cooperative(&self) -> bool {
        self.assignors.iter().all(|assignor| assignor.is_cooperative())
    }

    pub(super) fn drain_limit(&self) -> Duration {
        let limit = self.drain_timeout.min(self.session_timeout / 2);
        match self.group_protocol {
            GroupProtocol::Classic => limit,
            GroupProtocol::Consumer | GroupProtocol::Auto => limit.min(self.max_poll_interval / 2),
        }
    }
}

fn broken(rules: &[(bool, &'static str)]) -> impl Iterator<Item = String> {
    rules.iter().filter(|(holds, _)| !holds).map(|(_, what)| (*what).to_owned())
}

fn refused(wrong: &[String]) -> Result<(), Error> {
    if wrong.is_empty() { Ok(()) } else { Err(Error::config(format!("consumer: {}", wrong.join("; ")))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_named_at_once() {
        let check = |config: ConsumerConfig, expect: &str| {
            let said = config.validate().err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(said, expect);
        };
        let good = || ConsumerConfig { group_id: "g".into(), topics: vec!["t".into()], ..Default::default() };
        check(good(), "");
        check(ConsumerConfig::default(), "consumer: group_id is empty; no topics");
        let short = ConsumerConfig { session_timeout: Duration::from_millis(500), memory_bytes: 1, ..good() };
        check(
            short,
            "consumer: heartbeat_interval is not below session_timeout; memory_bytes is below partition_max_bytes",
        );
        check(ConsumerConfig { commit_interval: Duration::ZERO, ..good() }, "consumer: commit_interval is 0ns");
    }

    #[test]
    fn draining_ends_before_the_coordinator_loses_patience() {
        let check = |group_protocol, session: u64, poll: u64, expect: u64| {
            let (session_timeout, max_poll_interval) = (Duration::from_secs(session), Duration::from_secs(poll));
            let config =
                ConsumerConfig { group_protocol, session_timeout, max_poll_interval, ..ConsumerConfig::default() };
            assert_eq!(config.drain_limit(), Duration::from_secs(expect), "{group_protocol:?} {session} {poll}");
        };
        check(GroupProtocol::Classic, 45, 10, 20);
        check(GroupProtocol::Classic, 10, 300, 5);
        check(GroupProtocol::Consumer, 45, 10, 5);
        check(GroupProtocol::Auto, 45, 10, 5);
        check(GroupProtocol::Consumer, 45, 300, 20);
    }

    #[test]
    fn partitions_are_kept_only_if_every_assignor_can() {
        let with = |assignors: &[Assignor]| ConsumerConfig { assignors: assignors.to_vec(), ..Default::default() };
        assert!(with(&[Assignor::CooperativeSticky]).is_cooperative());
        assert!(!with(&[Assignor::CooperativeSticky, Assignor::Range]).is_cooperative());
    }
}
