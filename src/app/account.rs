//! Where records stand, by the offsets that Kafka itself keeps: what was there at the start, what came, what is left.
//!
//! Counted in offsets, which are records as long as nobody writes transactions into these topics or compacts them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::{Admin, Client, Error, IsolationLevel, Offset, OffsetSpec, Topic, TopicPartition};

/// Between two looks at what is left to drain.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A group, and the topics it reads.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub group: String,
    pub topics: Vec<Topic>,
}

/// Asks the cluster.
#[derive(Debug)]
pub(super) struct Ledger {
    client: Client,
    admin: Admin,
}

pub(super) type Offsets = HashMap<TopicPartition, Offset>;

impl Ledger {
    pub(super) fn new(client: &Client) -> Self {
        Self { client: client.clone(), admin: client.admin() }
    }

    /// The end of every partition of these topics.
    pub(super) async fn ends(&self, topics: &[Topic]) -> Result<Offsets, Error> {
        let mut partitions = Vec::new();
        // A broker refuses a request that names a partition twice.
        let topics: BTreeSet<&Topic> = topics.iter().collect();
        for topic in topics {
            let count = self.client.partition_count(topic).await?.unwrap_or(0);
            partitions.extend((0..count).map(|partition| TopicPartition::new(topic.clone(), partition)));
        }
        self.offsets(OffsetSpec::Latest, &partitions).await
    }

    /// How many records a reader has to read up to these ends. A partition without a commit is read from its start.
    pub(super) async fn behind(&self, reader: &Reader, ends: &Offsets) -> Result<u64, Error> {
        let wanted: Vec<_> =
            ends.keys().filter(|partition| reader.topics.contains(&partition.topic)).cloned().collect();
        let committed = self.committed(reader).await?;
        let without: Vec<_> = wanted.iter().filter(|partition| !committed.contains_key(*partition)).cloned().collect();
        let starts = self.offsets(OffsetSpec::Earliest, &without).await?;
        let left = |partition: &TopicPartition| {
            let next = committed.get(partition).or_else(|| starts.get(partition)).copied().unwrap_or(0);
            u64::try_from(ends[partition] - next).unwrap_or(0)
        };
        Ok(wanted.iter().map(left).sum())
    }

    /// Waits until a reader has read everything that is there now, or has read nothing for `patience`.
    pub(super) async fn drain(&self, reader: &Reader, patience: Duration) -> Result<(), Error> {
        let ends = self.ends(&reader.topics).await?;
        let (mut least, mut since) = (u64::MAX, Instant::now());
        while least > 0 && since.elapsed() < patience {
            let left = self.behind(reader, &ends).await?;
            if left < least {
                (least, since) = (left, Instant::now());
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    async fn committed(&self, reader: &Reader) -> Result<Offsets, Error> {
        let groups = [reader.group.clone()];
        let mut answer = self.admin.committed_offsets(&groups).await?;
        let offsets = answer.remove(&reader.group).unwrap_or_else(|| Ok(HashMap::new()))?;
        Ok(offsets.into_iter().filter_map(|(partition, committed)| Some((partition, committed.offset?))).collect())
    }

    async fn offsets(&self, spec: OffsetSpec, partitions: &[TopicPartition]) -> Result<Offsets, Error> {
        if partitions.is_empty() {
            return Ok(Offsets::new());
        }
        let listed = self.admin.list_offsets(spec, partitions, IsolationLevel::ReadUncommitted).await?;
        listed.into_iter().map(|(partition, offset)| Ok((partition, offset?.offset.unwrap_or(0)))).collect()
    }
}

/// How far the ends moved.
pub(super) fn moved(before: &Offsets, after: &Offsets, topics: &[Topic]) -> u64 {
    let of_topics = after.iter().filter(|(partition, _)| topics.contains(&partition.topic));
    let moved = of_topics.map(|(partition, end)| end - before.get(partition).copied().unwrap_or(0));
    u64::try_from(moved.sum::<i64>()).unwrap_or(0)
}
