//! Fetch (API 1): long poll, sessions (KIP-227), leader epochs (KIP-320), divergence (KIP-595), topic ids (KIP-516),
//! leader hints (KIP-951). Every leader is as close as any other, so a rack never redirects a client (KIP-392).

use std::collections::HashMap;

use super::Call;
use crate::devbroker::fetching::{Fetched, Wait};
use crate::devbroker::log::{ReadLimit, Slice};
use crate::devbroker::reply::Answer;
use crate::devbroker::sessions::{Ask, Key, Told, Use, Wanted};
use crate::devbroker::state::State;
use crate::devbroker::topics::{Partition, TopicState};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    AbortedTransaction, EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::protocol::types::{Offset, Str, TopicId, Uuid};

/// What a fetch is to read; kept while it waits.
#[derive(Debug, Clone)]
pub struct Plan {
    how: Use,
    wanted: Vec<Wanted>,
    max_bytes: usize,
    read_committed: bool,
}

pub fn serve(state: &mut State, call: &Call, request: FetchRequest) -> Answer {
    let (max_wait_ms, min_bytes) = (i64::from(request.max_wait_ms), u64::try_from(request.min_bytes).unwrap_or(0));
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(state.config.max_fetch_bytes);
    let read_committed = request.isolation_level == 1;
    let (how, wanted) = match state.sessions.ask(call.now.unix_ms, ask(call, request)) {
        Ok(asked) => asked,
        Err(error) => return FetchResponse { error_code: error.into(), ..FetchResponse::default() }.into(),
    };
    let plan = Plan { how, wanted, max_bytes, read_committed };
    let found = read(state, call, &plan);
    if max_wait_ms <= 0 || found.bytes >= min_bytes || found.pressing || plan.wanted.is_empty() {
        return Answer::Now(respond(state, call, &plan, found).into());
    }
    let missing = min_bytes - found.bytes;
    state.park_fetch(call, plan, Wait { max_wait_ms, missing, watching: found.reading })
}

/// Answers a fetch that has waited long enough.
pub fn finish(state: &mut State, call: &Call, plan: &Plan) -> Fetched {
    let found = read(state, call, plan);
    respond(state, call, plan, found)
}

fn ask(call: &Call, request: FetchRequest) -> Ask {
    let some = |epoch: i32| (epoch >= 0).then_some(epoch);
    let mut wanted = Vec::new();
    for topic in request.topics {
        // Sessions outlive the frame that names belong to, and must not keep it.
        let name = Str::from(&*topic.topic);
        wanted.extend(topic.partitions.iter().map(|partition| Wanted {
            key: Key { name: name.clone(), id: topic.topic_id, partition: partition.partition },
            offset: partition.fetch_offset,
            leader_epoch: some(partition.current_leader_epoch),
            last_fetched_epoch: some(partition.last_fetched_epoch),
            max_bytes: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
        }));
    }
    let mut forgotten = Vec::new();
    for topic in request.forgotten_topics_data {
        let key = |partition: &i32| Key { name: topic.topic.clone(), id: topic.topic_id, partition: *partition };
        forgotten.extend(topic.partitions.iter().map(key));
    }
    let by_id = call.version >= 13;
    Ask { broker: call.broker, session: request.session_id, epoch: request.session_epoch, by_id, wanted, forgotten }
}

/// What was found in one partition.
struct Part {
    data: PartitionData,
    slice: Slice,
}

#[derive(Default)]
struct Found {
    parts: Vec<Part>,
    bytes: u64,
    /// An error or a divergence, which must not wait.
    pressing: bool,
    /// Partitions that can be waited for.
    reading: Vec<(TopicId, i32)>,
}

fn read(state: &State, call: &Call, plan: &Plan) -> Found {
    let mut found = Found::default();
    let mut left = plan.max_bytes;
    for wanted in &plan.wanted {
        let at_least_one = found.bytes == 0;
        let part = match locate(state, wanted) {
            Ok((topic, partition)) => {
                found.reading.push((topic.id, wanted.key.partition));
                read_partition(
                    call,
                    plan,
                    wanted,
                    partition,
                    ReadLimit { max_bytes: left, before: Offset::MAX, at_least_one },
                )
            }
            Err(error) => failed(wanted, error),
        };
        let length = part.slice.len();
        left = left.saturating_sub(length);
        found.bytes += length as u64;
        found.pressing |= part.data.error_code != 0 || part.data.diverging_epoch != EpochEndOffset::default();
        found.parts.push(part);
    }
    found
}

fn locate<'a>(state: &'a State, wanted: &Wanted) -> Result<(&'a TopicState, &'a Partition), ErrorCode> {
    let topic = match wanted.key.id {
        Uuid::ZERO => state.topics.get(&wanted.key.name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?,
        id => state.topics.by_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?,
    };
    let partition = topic.partition(wanted.key.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    Ok((topic, partition))
}

fn read_partition(call: &Call, plan: &Plan, wanted: &Wanted, partition: &Partition, limit: ReadLimit) -> Part {
    if let Err(error) = partition.check_leader(call.broker, wanted.leader_epoch) {
        let mut part = failed(wanted, error);
        if call.version >= 16 {
            part.data.current_leader = partition.leader_hint();
        }
        return part;
    }
    let log = &partition.log;
    if wanted.offset < log.start() || wanted.offset > log.end() {
        return failed(wanted, ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let mut data = PartitionData {
        partition_index: wanted.key.partition,
        high_watermark: log.high_watermark(),
        last_stable_offset: partition.last_stable(),
        log_start_offset: log.start(),
        aborted_transactions: plan.read_committed.then(|| aborted(partition, wanted.offset)),
        ..PartitionData::default()
    };
    match diverging(partition, wanted) {
        Ok(None) => {}
        Ok(Some(epoch)) => {
            data.diverging_epoch = epoch;
            return Part { data, slice: Slice::EMPTY };
        }
        Err(error) => return failed(wanted, error),
    }
    let max_bytes = limit.max_bytes.min(wanted.max_bytes);
    let before = if plan.read_committed { partition.last_stable() } else { limit.before };
    match log.read(wanted.offset, ReadLimit { max_bytes, before, ..limit }) {
        Ok(slice) => Part { data, slice },
        Err(error) => {
            tracing::error!(partition = wanted.key.partition, %error, "the log could not be read");
            failed(wanted, ErrorCode::KAFKA_STORAGE_ERROR)
        }
    }
}

/// What of the stable part of the log came to nothing (KIP-98).
fn aborted(partition: &Partition, from: Offset) -> Vec<AbortedTransaction> {
    let aborted = partition.producers.aborted(from, partition.last_stable());
    aborted.map(|it| AbortedTransaction { producer_id: it.producer_id, first_offset: it.first }).collect()
}

/// Where the reader's log and ours part, if the epoch of its last record did not reach so far here (KIP-595).
fn diverging(partition: &Partition, wanted: &Wanted) -> Result<Option<EpochEndOffset>, ErrorCode> {
    let Some(last) = wanted.last_fetched_epoch else { return Ok(None) };
    let (epoch, end) = partition.log.epoch_end(last, partition.leader_epoch).ok_or(ErrorCode::OFFSET_OUT_OF_RANGE)?;
    let parts = epoch < last || end < wanted.offset;
    Ok(parts.then_some(EpochEndOffset { epoch, end_offset: end }))
}

fn failed(wanted: &Wanted, error: ErrorCode) -> Part {
    let data = PartitionData {
        partition_index: wanted.key.partition,
        error_code: error.into(),
        high_watermark: -1,
        aborted_transactions: None,
        ..PartitionData::default()
    };
    Part { data, slice: Slice::EMPTY }
}

fn respond(state: &mut State, call: &Call, plan: &Plan, found: Found) -> Fetched {
    let mut fetched = Fetched {
        response: FetchResponse { session_id: plan.how.id(), ..FetchResponse::default() },
        records: Vec::new(),
    };
    let mut places = HashMap::new();
    for (wanted, part) in plan.wanted.iter().zip(found.parts) {
        let told = (part.data.error_code == 0)
            .then_some(Told { high_watermark: part.data.high_watermark, log_start: part.data.log_start_offset });
        let pressing = part.data.diverging_epoch != EpochEndOffset::default();
        let news = state.sessions.tell(plan.how.id(), &wanted.key, told, part.slice.len() > 0);
        if matches!(plan.how, Use::Incremental(_)) && !news && !pressing {
            continue;
        }
        if part.data.current_leader.leader_id >= 0 {
            state.hint_endpoint(call, part.data.current_leader.leader_id, &mut fetched.response.node_endpoints);
        }
        place(&mut fetched, &mut places, wanted, part);
    }
    fetched
}

fn place<'a>(fetched: &mut Fetched, places: &mut HashMap<(&'a str, Uuid), usize>, wanted: &'a Wanted, part: Part) {
    let topics = &mut fetched.response.responses;
    let at = *places.entry((&*wanted.key.name, wanted.key.id)).or_insert_with(|| {
        let (topic, topic_id) = (wanted.key.name.clone(), wanted.key.id);
        topics.push(FetchableTopicResponse { topic, topic_id, partitions: Vec::new() });
        topics.len() - 1
    });
    if let Some(topic) = topics.get_mut(at) {
        if part.slice.len() > 0 {
            fetched.records.push((at, topic.partitions.len(), part.slice));
        }
        topic.partitions.push(part.data);
    }
}
