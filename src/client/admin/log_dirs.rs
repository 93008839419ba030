//! What partitions take up on the disks of brokers (DescribeLogDirs, KIP-113), asked of each broker about itself.

use futures::future::join_all;

use super::{Admin, Round, passes_but_silent};
use crate::client::cluster::To;
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResult, DescribeLogDirsTopic};
use crate::protocol::types::{BrokerId, Topic, TopicPartition};

/// A directory of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDir {
    pub path: String,
    /// Why the broker does not use it.
    pub error: Option<ErrorCode>,
    /// The size of its volume; `None` from brokers before Kafka 3.3 (KIP-827).
    pub total_bytes: Option<u64>,
    pub usable_bytes: Option<u64>,
    pub partitions: Vec<PartitionSize>,
}

/// One replica on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSize {
    pub topic_partition: TopicPartition,
    pub bytes: u64,
    /// How many records it is behind the leader; below zero while it is being cut back.
    pub offset_lag: i64,
    /// It is being copied here from another directory of the broker.
    pub is_future: bool,
}

impl Admin {
    /// The directories of brokers, each broker's or the reason why not, with one request to each.
    pub async fn describe_log_dirs(
        &self,
        brokers: &[BrokerId],
    ) -> Result<Vec<(BrokerId, Result<Vec<LogDir>, Error>)>, Error> {
        let asked = self.in_rounds(brokers.to_vec(), passes_but_silent, |open, round| {
            join_all(open.into_iter().map(move |broker| async move { (broker, self.dirs_of(broker, round).await) }))
        });
        Ok(asked.await)
    }

    async fn dirs_of(&self, broker: BrokerId, round: Round) -> Result<Vec<LogDir>, Error> {
        let request = DescribeLogDirsRequest { topics: None };
        let answer = self.cluster.call(To::Broker(broker), Lane::General, request, round.left()).await?.body;
        let code = ErrorCode(answer.error_code).ok();
        code.map_err(|code| self.says::<DescribeLogDirsRequest>(broker, code, None))?;
        Ok(answer.results.into_iter().map(log_dir).collect())
    }
}

fn log_dir(it: DescribeLogDirsResult) -> LogDir {
    LogDir {
        path: it.log_dir.to_string(),
        error: ErrorCode(it.error_code).ok().err(),
        total_bytes: u64::try_from(it.total_bytes).ok(),
        usable_bytes: u64::try_from(it.usable_bytes).ok(),
        partitions: it.topics.into_iter().flat_map(sizes).collect(),
    }
}

fn sizes(topic: DescribeLogDirsTopic) -> impl Iterator<Item = PartitionSize> {
    let name = Topic::from(&topic.name);
    topic.partitions.into_iter().map(move |it| PartitionSize {
        topic_partition: TopicPartition::new(name.clone(), it.partition_index),
        bytes: u64::try_from(it.partition_size).unwrap_or_default(),
        offset_lag: it.offset_lag,
        is_future: it.is_future_key,
    })
}
