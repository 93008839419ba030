//! Produce (API 0): checks (`checked`), idempotence (KIP-98, KIP-360), record errors (KIP-467), leader hints (KIP-951),
//! topic ids (version 13, KIP-516).

use super::checked::{self, Checked, Invalid};
use super::{Call, Refused};
use crate::devbroker::producers::{Check, Stamp};
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::devbroker::topics::{Partition, TopicState};
use crate::devbroker::transactions::{self, Identity};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use crate::protocol::types::{Offset, Str, TopicId, Uuid};

/// A Produce request whose record sets have been checked as far as that needs no state.
#[derive(Debug)]
pub struct Prepared {
    pub acks: i16,
    pub transactional_id: Option<Str>,
    pub topics: Vec<PreparedTopic>,
}

#[derive(Debug)]
pub struct PreparedTopic {
    pub name: Str,
    pub id: TopicId,
    pub partitions: Vec<(i32, Result<Checked, Invalid>)>,
}

/// Checks every record set of a request.
pub fn prepare(request: ProduceRequest, version: i16) -> Prepared {
    let partition = |it: PartitionProduceData| (it.index, checked::check(version, it.records));
    let topics = request.topic_data.into_iter().map(|it| PreparedTopic {
        name: it.name,
        id: it.topic_id,
        partitions: it.partition_data.into_iter().map(partition).collect(),
    });
    Prepared { acks: request.acks, transactional_id: request.transactional_id, topics: topics.collect() }
}

pub fn serve(state: &mut State, call: &Call, request: Prepared) -> Answer {
    let acks = request.acks;
    let transactional_id = request.transactional_id.as_ref();
    let mut response = ProduceResponse::default();
    for topic in request.topics {
        let found = find(state, &topic).map(|topic| (topic.id, Str::from(&topic.name)));
        let (id, name) = found.clone().unwrap_or((topic.id, topic.name));
        let mut rows = Vec::with_capacity(topic.partitions.len());
        for (index, checked) in topic.partitions {
            let outcome = found.as_ref().map_err(|error| Invalid::from(*error)).and(checked);
            let outcome = if (-1..=1).contains(&acks) { outcome } else { Err(ErrorCode::INVALID_REQUIRED_ACKS.into()) };
            let outcome = outcome.and_then(|batch| append(state, call, (id, index), acks, transactional_id, batch));
            rows.push(row(index, outcome));
        }
        if call.version >= 10 {
            hint_leaders(state, call, id, &mut rows, &mut response);
        }
        response.responses.push(TopicProduceResponse { name, topic_id: id, partition_responses: rows });
    }
    let failed = response.responses.iter().any(|topic| topic.partition_responses.iter().any(|row| row.error_code != 0));
    match acks {
        // As Kafka does: with no answer to put it in, an error ends the connection.
        0 if failed => Answer::Close,
        0 => Answer::Nothing,
        _ => response.into(),
    }
}

fn find<'a>(state: &'a State, asked: &PreparedTopic) -> Result<&'a TopicState, ErrorCode> {
    match asked.id {
        Uuid::ZERO => state.topics.get(&asked.name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        id => state.topics.by_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
    }
}

/// Where a batch went.
struct Appended {
    base_offset: Offset,
    /// Only where the broker's time counts.
    append_time_ms: Option<i64>,
    log_start: Offset,
}

fn append(
    state: &mut State,
    call: &Call,
    (id, index): (TopicId, i32),
    acks: i16,
    transactional_id: Option<&Str>,
    batch: Checked,
) -> Result<Appended, Invalid> {
    let topic = state.topics.by_id_mut(id).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let config = topic.config.clone();
    let partition = topic.partition_mut(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    partition.check_leader(call.broker, None)?;
    if acks == -1 && partition.replicas.len() < config.min_insync_replicas {
        return Err(ErrorCode::NOT_ENOUGH_REPLICAS.into());
    }
    let now_ms = call.now.unix_ms;
    batch.check_against(&config, now_ms)?;
    let append_time_ms = config.log_append_time.then_some(now_ms);
    if let Some(duplicate) = seen(partition, &batch)? {
        let append_time_ms = append_time_ms.map(|_| duplicate.1);
        let appended = Appended { base_offset: duplicate.0, append_time_ms, log_start: partition.log.start() };
        if duplicate.0 >= partition.log.high_watermark() {
            // Written, but not synced yet: the retry waits for the same sync as the original.
            state.sync.note(id, index);
        }
        return Ok(appended);
    }
    if let Some(stamp) = batch.stamp.filter(|stamp| stamp.is_transactional) {
        join_transaction(state, call, transactional_id, &stamp, (id, index))?;
    }
    let topic = state.topics.by_id_mut(id).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = topic.partition_mut(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let base_offset = partition.log.end();
    let (stamp, timestamp_ms) = (batch.stamp, append_time_ms.unwrap_or(batch.max_timestamp));
    let bytes = batch.assign(base_offset, partition.leader_epoch, append_time_ms);
    let rolled = partition.log.roll(timestamp_ms, config.segment_ms);
    rolled.and_then(|()| partition.log.append(bytes, config.segment_bytes)).map_err(|error| {
        tracing::error!(topic = %topic_name(state, id), partition = index, %error, "records could not be written");
        Refused::new(ErrorCode::KAFKA_STORAGE_ERROR, error.to_string())
    })?;
    let partition = state.topics.by_id_mut(id).and_then(|topic| topic.partition_mut(index));
    let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if let Some(stamp) = stamp {
        partition.producers.appended(&stamp, base_offset, timestamp_ms);
    }
    let log_start = partition.log.start();
    state.show(call.now, id, index);
    Ok(Appended { base_offset, append_time_ms, log_start })
}

fn topic_name(state: &State, id: TopicId) -> String {
    state.topics.by_id(id).map_or_else(String::new, |topic| topic.name.to_string())
}

/// Whether a batch is a retry of one that is here: its base offset and time.
fn seen(partition: &Partition, batch: &Checked) -> Result<Option<(Offset, i64)>, ErrorCode> {
    match batch.stamp.map_or(Check::Append, |stamp| partition.producers.check(&stamp)) {
        Check::Append => Ok(None),
        Check::Duplicate { base_offset, timestamp_ms } => Ok(Some((base_offset, timestamp_ms))),
        Check::Refuse(error) => Err(error),
    }
}

/// A batch of a transaction adds its partition by itself from version 12 on (KIP-890); before, that was the producer's to do.
fn join_transaction(
    state: &mut State,
    call: &Call,
    transactional_id: Option<&Str>,
    stamp: &Stamp,
    partition: (TopicId, i32),
) -> Result<(), ErrorCode> {
    let id = transactional_id.ok_or(ErrorCode::INVALID_TXN_STATE)?;
    let who = Identity { producer_id: stamp.producer_id, epoch: stamp.epoch };
    let joined = match call.version {
        12.. => transactions::add(state, call.now, id, who, &[partition], None).map(|()| true),
        _ => state.transactions.coordinator.is_in(id, who, partition),
    };
    match joined {
        Ok(true) => Ok(()),
        Ok(false) if call.version >= 11 => Err(ErrorCode::TRANSACTION_ABORTABLE),
        Ok(false) => Err(ErrorCode::INVALID_TXN_STATE),
        // As Kafka's leaders translate what the coordinator tells them.
        Err(ErrorCode::PRODUCER_FENCED) => Err(ErrorCode::INVALID_PRODUCER_EPOCH),
        Err(error) => Err(error),
    }
}

fn row(index: i32, outcome: Result<Appended, Invalid>) -> PartitionProduceResponse {
    let mut row = PartitionProduceResponse { index, base_offset: -1, ..PartitionProduceResponse::default() };
    match outcome {
        Ok(appended) => {
            row.base_offset = appended.base_offset;
            row.log_append_time_ms = appended.append_time_ms.unwrap_or(-1);
            row.log_start_offset = appended.log_start;
        }
        Err(invalid) => {
            row.error_code = invalid.error.into();
            row.error_message = (!invalid.message.is_empty()).then(|| invalid.message.as_str().into());
            let error = |(batch_index, why): (i32, String)| BatchIndexAndErrorMessage {
                batch_index,
                batch_index_error_message: Some(why.into()),
            };
            row.record_errors = invalid.records.into_iter().map(error).collect();
        }
    }
    row
}

fn hint_leaders(
    state: &State,
    call: &Call,
    id: TopicId,
    rows: &mut [PartitionProduceResponse],
    response: &mut ProduceResponse,
) {
    let Some(topic) = state.topics.by_id(id) else { return };
    for row in rows.iter_mut().filter(|row| row.error_code == i16::from(ErrorCode::NOT_LEADER_OR_FOLLOWER)) {
        if let Some(partition) = topic.partition(row.index) {
            row.current_leader = partition.leader_hint();
            state.hint_endpoint(call, partition.leader, &mut response.node_endpoints);
        }
    }
}
