//! ListOffsets (API 2): offsets by time, and by the special times that stand for a place in the log.

use std::io;

use super::Call;
use crate::devbroker::log::Log;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::topics::Partition;
use crate::protocol::batch::batches;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use crate::protocol::types::{LeaderEpoch, Offset};

/// What was accepted unpacks to no more than this.
const UNPACKED_MAX: usize = super::checked::UNPACKED_MAX;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// KIP-734
const MAX_TIMESTAMP: i64 = -3;
/// KIP-405; all of our log is local.
const EARLIEST_LOCAL: i64 = -4;
/// KIP-1005; nothing is ever tiered.
const LATEST_TIERED: i64 = -5;
/// KIP-1023
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// What stands at the place that was asked for.
struct Listed {
    offset: Offset,
    timestamp: Option<i64>,
    leader_epoch: Option<LeaderEpoch>,
}

pub fn serve(state: &mut State, call: &Call, request: &ListOffsetsRequest) -> Answer {
    let read_committed = request.isolation_level == 1;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let row = |asked: &ListOffsetsPartition| row(call, asked, one(state, call, &topic.name, asked, read_committed));
        let partitions = topic.partitions.iter().map(row).collect();
        topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions });
    }
    ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }.into()
}

fn row(
    call: &Call,
    asked: &ListOffsetsPartition,
    outcome: Result<Option<Listed>, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let mut row = ListOffsetsPartitionResponse { partition_index: asked.partition_index, ..Default::default() };
    match outcome {
        Ok(Some(listed)) => {
            row.offset = listed.offset;
            row.timestamp = listed.timestamp.unwrap_or(-1);
            row.leader_epoch = listed.leader_epoch.filter(|_| call.version >= 4).unwrap_or(-1);
        }
        Ok(None) => {}
        Err(error) => row.error_code = error.into(),
    }
    row
}

fn one(
    state: &State,
    call: &Call,
    topic: &str,
    asked: &ListOffsetsPartition,
    read_committed: bool,
) -> Result<Option<Listed>, ErrorCode> {
    let topic = state.topics.get(topic).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic.partition(asked.partition_index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let epoch = asked.current_leader_epoch;
    partition.check_leader(call.broker, (epoch >= 0).then_some(epoch))?;
    if asked.timestamp < least_timestamp(call.version) {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let log = &partition.log;
    let end = if read_committed { partition.last_stable() } else { log.high_watermark() };
    match asked.timestamp {
        LATEST => Ok(Some(place(end, Some(partition.leader_epoch)))),
        EARLIEST | EARLIEST_LOCAL => {
            Ok(Some(place(log.start(), log.epoch_of(log.start()).or(Some(partition.leader_epoch)))))
        }
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(Some(Listed { offset: -1, timestamp: None, leader_epoch: None })),
        MAX_TIMESTAMP => match log.max_timestamp() {
            Some(timestamp) => at_time(partition, timestamp, end),
            None => Ok(None),
        },
        timestamp => at_time(partition, timestamp, end),
    }
}

/// The special times of each version; below them Kafka knows nothing.
fn least_timestamp(version: i16) -> i64 {
    match version {
        ..=6 => EARLIEST,
        7 => MAX_TIMESTAMP,
        8 => EARLIEST_LOCAL,
        9 | 10 => LATEST_TIERED,
        _ => EARLIEST_PENDING_UPLOAD,
    }
}

fn place(offset: Offset, leader_epoch: Option<LeaderEpoch>) -> Listed {
    Listed { offset, timestamp: None, leader_epoch }
}

/// The first visible record of `timestamp` or later.
fn at_time(partition: &Partition, timestamp: i64, end: Offset) -> Result<Option<Listed>, ErrorCode> {
    let log = &partition.log;
    let found = search(log, timestamp).map_err(|error| {
        tracing::error!(%error, "the log could not be searched by time");
        ErrorCode::KAFKA_STORAGE_ERROR
    })?;
    let visible = found.filter(|(offset, _)| *offset < end);
    Ok(visible.map(|(offset, timestamp)| Listed {
        offset,
        timestamp: Some(timestamp),
        leader_epoch: log.epoch_of(offset),
    }))
}

/// Offset and time of the first record that is not older than `timestamp`. A batch says how young its youngest record
/// is; whether that one is still in the log, when the log starts in the middle of the batch, only its records say.
fn search(log: &Log, timestamp: i64) -> io::Result<Option<(Offset, i64)>> {
    let mut from = log.start();
    while let Some(slice) = log.batch_at_time(timestamp, from)? {
        let Some(batch) = batches(slice.read()?).next() else { break };
        let batch = batch.map_err(io::Error::other)?;
        let records = batch.records(UNPACKED_MAX).map_err(io::Error::other)?;
        for record in &records {
            let record = record.map_err(io::Error::other)?;
            if record.timestamp_ms >= timestamp && record.offset >= log.start() {
                return Ok(Some((record.offset, record.timestamp_ms)));
            }
        }
        from = batch.next_offset();
    }
    Ok(None)
}
