//! Where records stand, by the offsets that Kafka itself keeps: what was there at the start, what came, what is left.
//!
//! Counted in offsets, which are records but where transactions end or compaction went through; how many are not, those who
//! read them know ([`Counts::passed_over`](super::summary::Counts)).

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

    /// The next record of every partition that a reader reads, of those that have an end here: from its commit on, but
    /// from the log's start where there is no commit, or where retention has gone beyond it.
    pub(super) async fn positions(&self, reader: &Reader, ends: &Offsets) -> Result<Offsets, Error> {
        let committed = self.committed(reader).await?;
        let mut positions = self.starts(reader, ends).await?;
        for (partition, next) in &mut positions {
            *next = (*next).max(committed.get(partition).copied().unwrap_or(0));
        }
        Ok(positions)
    }

    /// Where the logs that a reader reads begin by now.
    pub(super) async fn starts(&self, reader: &Reader, ends: &Offsets) -> Result<Offsets, Error> {
        let read: Vec<_> = ends.keys().filter(|partition| reader.topics.contains(&partition.topic)).cloned().collect();
        self.offsets(OffsetSpec::Earliest, &read).await
    }

    /// How many records a reader has to read up to these ends.
    pub(super) async fn behind(&self, reader: &Reader, ends: &Offsets) -> Result<u64, Error> {
        Ok(ahead(&self.positions(reader, ends).await?, ends))
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

/// Over how many records some offsets are ahead of others, where they are.
pub(super) fn ahead(from: &Offsets, to: &Offsets) -> u64 {
    let steps = from.iter().filter_map(|(partition, from)| Some(to.get(partition)? - from));
    steps.filter_map(|step| u64::try_from(step).ok()).sum()
}

/// How far the ends moved.
pub(super) fn moved(before: &Offsets, after: &Offsets, topics: &[Topic]) -> u64 {
    let of_topics = after.iter().filter(|(partition, _)| topics.contains(&partition.topic));
    let moved = of_topics.map(|(partition, end)| end - before.get(partition).copied().unwrap_or(0));
    u64::try_from(moved.sum::<i64>()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_ahead_of_others() {
        let check = |from: &[i64], to: &[i64], want| {
            let of = |offsets: &[i64]| -> Offsets {
                let partitions = (0..).map(|partition| TopicPartition::new("t", partition));
                partitions.zip(offsets.iter().copied()).collect()
            };
            assert_eq!(ahead(&of(from), &of(to)), want, "{from:?} {to:?}");
        };
        check(&[], &[], 0);
        check(&[5, 7], &[9, 7], 4);
        // What is behind in one partition makes up for nothing in another.
        check(&[5, 7], &[9, 1], 4);
        check(&[5, 7], &[9], 4);
    }
}
