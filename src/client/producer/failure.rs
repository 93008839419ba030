//! Why a record was not written, in words that say where and what to do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::receipt::Rejection;
use super::request::Part;
use crate::client::{Error, ErrorKind};
use crate::protocol::batch::BatchError;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::PartitionProduceResponse;
use crate::protocol::types::{BrokerId, Str, Topic, TopicPartition};

const PRODUCE: &str = "Produce";

pub(super) fn closed() -> Error {
    Error::closed().of(PRODUCE)
}

pub(super) fn no_room() -> Error {
    Error::new(ErrorKind::BufferFull).of(PRODUCE)
}

pub(super) fn too_large(bytes: usize, limit: usize) -> Error {
    Error::new(ErrorKind::TooLarge { bytes, limit }).of(PRODUCE)
}

pub(super) fn no_partition(topic: &Topic, partition: i32) -> Error {
    Error::new(ErrorKind::UnknownPartition).of(PRODUCE).at(TopicPartition::new(topic.clone(), partition))
}

pub(super) fn unwritable(topic_partition: &TopicPartition, error: &BatchError) -> Error {
    Error::protocol(error.clone()).of(PRODUCE).at(topic_partition.clone())
}

pub(super) fn unknown_topic(topic: &Topic, waited: Duration) -> Error {
    let words = format!("topic {topic} is not there after {waited:?}; create it, or allow brokers to");
    Error::broker_says(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Some(&words)).of("Metadata")
}

pub(super) fn refused_topic(topic: &Topic, code: ErrorCode) -> Error {
    Error::broker_says(code, Some(&format!("topic {topic}"))).of("Metadata")
}

pub(super) fn no_identity(code: ErrorCode) -> Error {
    let refused = code == ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
    let words = "an idempotent producer needs the right to a producer id; without it, set `idempotent` to false";
    Error::broker_says(code, refused.then_some(words)).of("InitProducerId")
}

/// What was sent before did not get into the log, so this cannot either.
pub(super) fn gap(topic_partition: &TopicPartition) -> Error {
    Error::broker(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER).of(PRODUCE).at(topic_partition.clone())
}

/// Outside of a transaction, where there has to be one.
pub(super) fn no_transaction() -> Error {
    Error::config("a producer with a transactional id writes through `Producer::begin`").of(PRODUCE)
}

/// A broker's word on one partition's batch.
pub(super) fn refused(broker: BrokerId, part: &Part, code: ErrorCode, message: Option<&Str>) -> Error {
    Error::broker_says(code, message.map(Str::as_str))
        .of(PRODUCE)
        .by(Some(broker), None)
        .at(part.topic_partition.clone())
}

/// What a broker has said of single ones of so many records, if it has said of any that they are to blame (KIP-467).
pub(super) fn rejection(refused: &Error, answer: &PartitionProduceResponse, records: usize) -> Option<Rejection> {
    let code = refused.code()?;
    let said = |kind| Error { kind, ..refused.clone() };
    let mut blamed = BTreeMap::new();
    let mut others = None;
    for error in &answer.record_errors {
        let index = u32::try_from(error.batch_index).ok().filter(|index| (*index as usize) < records);
        let Some(index) = index else { continue };
        let why = error.batch_index_error_message.as_ref().map(Str::as_str).or(code.meaning()).unwrap_or_default();
        blamed.insert(index, said(ErrorKind::Rejected(code, why.into())));
        others.get_or_insert_with(|| said(ErrorKind::Neighbour { index, why: why.into() }));
    }
    Some(Rejection { blamed, others: others? })
}

/// A response that says nothing about a partition that the request was about.
pub(super) fn unanswered(broker: BrokerId, part: &Part) -> Error {
    let error = Error::disconnected("the response leaves the partition out");
    error.of(PRODUCE).by(Some(broker), None).at(part.topic_partition.clone())
}

/// Java's `TimeoutException` is this code as well, although no broker said it.
pub(super) fn expired(topic_partition: &TopicPartition, after: Duration, last: Option<&Error>) -> Error {
    let last = last.map_or_else(|| "it was never sent".to_owned(), |last| format!("at last: {last}"));
    let words = format!("not delivered within {after:?}; {last}");
    Error::broker_says(ErrorCode::REQUEST_TIMED_OUT, Some(&words)).of(PRODUCE).at(topic_partition.clone())
}

pub(super) fn undelivered(records: usize) -> Error {
    let words = format!("the producer was closed before {records} records were delivered");
    Error::broker_says(ErrorCode::REQUEST_TIMED_OUT, Some(&words)).of(PRODUCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::BatchIndexAndErrorMessage;

    /// The records that are blamed, where a broker names these of three.
    #[test]
    fn only_records_of_the_batch_are_to_blame() {
        for (named, blamed) in [
            (&[][..], None),
            (&[1], Some(&[1][..])),
            (&[2, 0, 2], Some(&[0, 2])),
            (&[3], None),
            (&[-1, 1, 7], Some(&[1])),
        ] {
            let record_errors = named
                .iter()
                .map(|&batch_index| BatchIndexAndErrorMessage { batch_index, ..Default::default() })
                .collect();
            let answer = PartitionProduceResponse { record_errors, ..Default::default() };
            let rejection = rejection(&Error::broker(ErrorCode::INVALID_RECORD), &answer, 3);
            let said = rejection.map(|rejection| rejection.blamed.into_keys().collect::<Vec<_>>());
            assert_eq!(said.as_deref(), blamed, "{named:?}");
        }
    }
}
