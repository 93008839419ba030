//! One sweep over the cluster: commits first, then ends.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use super::Config;
use super::history::Sample;
use crate::client::{Admin, Error, IsolationLevel, ListedOffset, Offset, OffsetSpec, TopicPartition};

/// What a sweep read.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    pub groups: usize,
    pub committed: Vec<(String, TopicPartition, Offset)>,
    pub ends: HashMap<TopicPartition, Offset>,
    /// When the ends were asked for, and when the last answer was there.
    pub ends_asked_ms: i64,
    pub ends_answered_ms: i64,
    pub commits_asked_ms: i64,
    pub failures: Vec<String>,
}

/// What is remembered between sweeps, so that not everything is asked every time.
#[derive(Debug)]
pub(super) struct Collector {
    admin: Admin,
    list_groups_every: u32,
    log_starts_every: u32,
    sweeps: u32,
    groups: Vec<String>,
    pub log_starts: HashMap<TopicPartition, Offset>,
}

impl Collector {
    pub(super) fn new(admin: Admin, config: &Config) -> Self {
        Self {
            admin,
            list_groups_every: config.list_groups_every.max(1),
            log_starts_every: config.log_starts_every.max(1),
            sweeps: 0,
            groups: Vec::new(),
            log_starts: HashMap::new(),
        }
    }

    /// An error only when nothing could be read at all.
    pub(super) async fn sweep(&mut self) -> Result<Sweep, Error> {
        let mut sweep = Sweep::default();
        if self.sweeps.is_multiple_of(self.list_groups_every) || self.groups.is_empty() {
            self.list_groups(&mut sweep).await?;
        }
        sweep.groups = self.groups.len();
        self.read_commits(&mut sweep).await?;
        let partitions: BTreeSet<_> = sweep.committed.iter().map(|(_, partition, _)| partition.clone()).collect();
        let partitions: Vec<_> = partitions.into_iter().collect();
        sweep.ends_asked_ms = Timestamp::now().as_millisecond();
        sweep.ends = self.offsets(OffsetSpec::Latest, &partitions, &mut sweep.failures).await?;
        sweep.ends_answered_ms = Timestamp::now().as_millisecond();
        if self.sweeps.is_multiple_of(self.log_starts_every) {
            self.log_starts = self.offsets(OffsetSpec::Earliest, &partitions, &mut sweep.failures).await?;
        }
        self.sweeps = self.sweeps.wrapping_add(1);
        Ok(sweep)
    }

    /// A broker that does not answer hides the groups it keeps: those known from before stay on the list.
    async fn list_groups(&mut self, sweep: &mut Sweep) -> Result<(), Error> {
        let listed = self.admin.list_groups().await?;
        let mut groups: BTreeSet<String> = listed.groups.into_iter().map(|group| group.group_id).collect();
        if !listed.failures.is_empty() {
            groups.extend(self.groups.drain(..));
        }
        sweep.failures.extend(listed.failures.iter().map(ToString::to_string));
        self.groups = groups.into_iter().collect();
        Ok(())
    }

    async fn read_commits(&mut self, sweep: &mut Sweep) -> Result<(), Error> {
        sweep.commits_asked_ms = Timestamp::now().as_millisecond();
        for (group, offsets) in self.admin.committed_offsets(&self.groups).await? {
            match offsets {
                Ok(offsets) => sweep.committed.extend(
                    offsets
                        .into_iter()
                        .filter_map(|(partition, committed)| Some((group.clone(), partition, committed.offset?))),
                ),
                Err(error) => sweep.failures.push(format!("group {group}: {error}")),
            }
        }
        Ok(())
    }

    async fn offsets(
        &self,
        spec: OffsetSpec,
        partitions: &[TopicPartition],
        failures: &mut Vec<String>,
    ) -> Result<HashMap<TopicPartition, Offset>, Error> {
        let listed = self.admin.list_offsets(spec, partitions, IsolationLevel::ReadUncommitted).await?;
        let mut offsets = HashMap::with_capacity(listed.len());
        for (partition, offset) in listed {
            match offset {
                Ok(ListedOffset { offset: Some(offset), .. }) => {
                    offsets.insert(partition, offset);
                }
                Ok(_) => {}
                Err(error) => failures.push(format!("{partition}: {error}")),
            }
        }
        Ok(offsets)
    }
}

impl Sweep {
    /// What the history learns from this sweep.
    pub(super) fn samples(&self) -> impl Iterator<Item = (&TopicPartition, Sample)> {
        self.ends.iter().map(|(partition, end_offset)| {
            let (asked_ms, answered_ms) = (self.ends_asked_ms, self.ends_answered_ms);
            (partition, Sample { asked_ms, answered_ms, end_offset: *end_offset })
        })
    }
}
