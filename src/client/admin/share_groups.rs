//! From where share groups read, and how many records they have before them (DescribeShareGroupOffsets, KIP-932 and
//! KIP-1226), with one request to each coordinator.

use std::collections::HashMap;

use super::{Admin, Round, all_failed, unanswered};
use crate::client::cluster::{Kept, To};
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsResponseTopic,
};
use crate::protocol::types::{BrokerId, Offset, Topic};

/// What a share group has before it on one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareOffsets {
    pub topic: Topic,
    /// Those of which it is known, in order of their numbers.
    pub offsets: Vec<ShareOffset>,
    /// Those of which it is not, and why.
    pub errors: Vec<(i32, ErrorCode)>,
}

/// What a share group has before it in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareOffset {
    pub partition: i32,
    /// The first record that is not done with.
    pub start: Offset,
    /// Records from there on that are not done with; `None` from brokers before version 1 of the request.
    pub lag: Option<u64>,
}

impl Admin {
    /// Where share groups are, each or the reason why not. A group that has not begun to read a partition has no offset
    /// for it.
    pub async fn share_offsets(&self, groups: &[String]) -> Vec<(String, Result<Vec<ShareOffsets>, Error>)> {
        self.of_coordinators(Kept::Group, groups, |coordinator, chunk, round| async move {
            let asked = self.ask_share_offsets(coordinator, &chunk, round).await;
            asked.unwrap_or_else(|error| all_failed(chunk, &error))
        })
        .await
    }

    async fn ask_share_offsets(
        &self,
        coordinator: BrokerId,
        groups: &[String],
        round: Round,
    ) -> Result<Vec<(String, Result<Vec<ShareOffsets>, Error>)>, Error> {
        let group =
            |group: &String| DescribeShareGroupOffsetsRequestGroup { group_id: group.as_str().into(), topics: None };
        let request = DescribeShareGroupOffsetsRequest { groups: groups.iter().map(group).collect() };
        let answer = self.cluster.call(To::Broker(coordinator), Lane::General, request, round.left()).await?.body;
        let mut answered: HashMap<String, _> =
            answer.groups.into_iter().map(|it| (it.group_id.to_string(), it)).collect();
        let mut outcome = |group: &String| match answered.remove(group) {
            Some(it) => match ErrorCode(it.error_code).ok() {
                Ok(()) => Ok(it.topics.iter().map(of_topic).collect()),
                Err(code) => {
                    Err(self.says::<DescribeShareGroupOffsetsRequest>(coordinator, code, it.error_message.as_deref()))
                }
            },
            None => Err(unanswered(group).of(DescribeShareGroupOffsetsRequest::NAME)),
        };
        Ok(groups.iter().map(|group| (group.clone(), outcome(group))).collect())
    }
}

fn of_topic(it: &DescribeShareGroupOffsetsResponseTopic) -> ShareOffsets {
    let mut said = ShareOffsets { topic: Topic::from(&it.topic_name), offsets: vec![], errors: vec![] };
    for it in &it.partitions {
        match ErrorCode(it.error_code).ok() {
            Ok(()) if it.start_offset >= 0 => said.offsets.push(ShareOffset {
                partition: it.partition_index,
                start: it.start_offset,
                lag: u64::try_from(it.lag).ok(),
            }),
            Ok(()) => {}
            Err(code) => said.errors.push((it.partition_index, code)),
        }
    }
    said.offsets.sort_unstable_by_key(|it| it.partition);
    said.offsets.dedup_by_key(|it| it.partition);
    said
}
