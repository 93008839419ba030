//! Who leads a partition, and what a client is told that asked somebody else.

use super::Error;
use super::clock::Now;
use super::handlers::Call;
use super::state::{Broker, State};
use super::topics::Partition;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{LeaderIdAndEpoch, NodeEndpoint};
use crate::protocol::types::{BrokerId, LeaderEpoch, Str, TopicPartition};

impl Partition {
    /// Whether `broker` may answer for this partition, to a client that believes in `epoch` (KIP-320). As in Kafka the
    /// epoch is compared first: a client with an old one must refresh its metadata whomever it asked.
    pub fn check_leader(&self, broker: BrokerId, epoch: Option<LeaderEpoch>) -> Result<(), ErrorCode> {
        match epoch {
            Some(epoch) if epoch < self.leader_epoch => Err(ErrorCode::FENCED_LEADER_EPOCH),
            Some(epoch) if epoch > self.leader_epoch => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
            _ if broker != self.leader => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
            _ => Ok(()),
        }
    }

    /// Who does lead (KIP-951).
    pub fn leader_hint(&self) -> LeaderIdAndEpoch {
        LeaderIdAndEpoch { leader_id: self.leader, leader_epoch: self.leader_epoch }
    }
}

impl Broker {
    /// The host that this client is told: what the config says, or the address by which it came.
    pub fn host_for(&self, call: &Call) -> Str {
        self.host.clone().unwrap_or_else(|| Str::from(call.local.ip().to_string()))
    }

    pub fn endpoint_for(&self, call: &Call) -> NodeEndpoint {
        let (host, port, rack) = (self.host_for(call), i32::from(self.port), self.rack.clone());
        NodeEndpoint { node_id: self.id, host, port, rack }
    }
}

impl State {
    /// Adds where a leader is found, once (KIP-951).
    pub fn hint_endpoint(&self, call: &Call, leader: BrokerId, endpoints: &mut Vec<NodeEndpoint>) {
        if endpoints.iter().all(|endpoint| endpoint.node_id != leader) {
            endpoints.extend(self.broker(leader).map(|broker| broker.endpoint_for(call)));
        }
    }

    /// Who leads a partition, and since when.
    pub fn leader_of(&self, partition: &TopicPartition) -> Option<LeaderIdAndEpoch> {
        let topic = self.topics.get(&partition.topic)?;
        topic.partition(partition.partition).map(Partition::leader_hint)
    }

    /// Direction from outside: of every group and transactional id, the next broker is the coordinator from now on. What
    /// waits for an answer of the former one still gets it.
    pub fn move_coordinators(&mut self) {
        self.coordinators_moved += 1;
    }

    /// Direction from outside: another broker leads a partition from now on, under the next epoch.
    pub fn move_leader(&mut self, now: Now, partition: &TopicPartition, broker: BrokerId) -> Result<(), Error> {
        let unknown = || Error::Config(format!("{partition} does not exist"));
        if self.broker(broker).is_none() {
            return Err(Error::Config(format!("there is no broker {broker}")));
        }
        let topic = self.topics.get_mut(&partition.topic).ok_or_else(unknown)?;
        let it = topic.partition_mut(partition.partition).ok_or_else(unknown)?;
        it.leader = broker;
        it.leader_epoch += 1;
        if !it.replicas.contains(&broker) {
            it.replicas.push(broker);
        }
        let watchers = it.watchers.clone();
        let entry = topic.entry();
        if self.record(&[entry.into()]).is_err() {
            return Err(Error::Config(format!("the new leader of {partition} could not be stored")));
        }
        self.finish_fetches(now, &watchers);
        Ok(())
    }
}
