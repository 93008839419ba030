//! The envelope of a refused record: the record as it was, and headers that say whence and why. Pure.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use super::parcel::Form;
use super::verdict::Rejection;
use crate::client::{Offset, TopicPartition};

/// Whose words the origin is written in, so that the tools at hand can read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderFamily {
    /// Kafka Connect's `__connect.errors.*`: texts (`DeadLetterQueueReporter`).
    #[default]
    Connect,
    /// Spring Kafka's `kafka_dlt-*`: partition and offset as big-endian integers (`KafkaHeaders`).
    Spring,
    /// Kafka Streams' `__streams.errors.*` (KIP-1034).
    Streams,
    /// A broker's own dead letters, `__dlq.errors.*` (KIP-1191, Kafka 4.4).
    Kafka44,
}

/// Where a record came from, and what became of it.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    pub topic_partition: &'a TopicPartition,
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub group: &'a str,
    pub rejection: &'a Rejection,
    pub failed_at: Timestamp,
}

/// A message is cut to this many bytes: headers count towards the size of a record, and a record that was just small
/// enough must stay so.
const MESSAGE_BYTES_MAX: usize = 512;

/// A header as it is sent: a name and a value.
pub(super) type Header = (Cow<'static, str>, Vec<u8>);

/// The headers to add after the record's own: the origin in the family's words, then ours.
pub(super) fn headers(family: HeaderFamily, origin: &Origin<'_>, form: Form) -> Vec<Header> {
    let mut headers = match family {
        HeaderFamily::Connect => texts("__connect.errors.", origin, &["exception.message"]),
        HeaderFamily::Streams => texts("__streams.errors.", origin, &["message"]),
        HeaderFamily::Kafka44 => texts("__dlq.errors.", origin, &["message"]),
        HeaderFamily::Spring => spring(origin),
    };
    if family == HeaderFamily::Connect {
        headers.push((Cow::Borrowed("__connect.errors.stage"), b"TASK_PUT".to_vec()));
        headers.push((Cow::Borrowed("__connect.errors.connector.name"), origin.group.as_bytes().to_vec()));
    }
    if family == HeaderFamily::Kafka44 {
        headers.push((Cow::Borrowed("__dlq.errors.group"), origin.group.as_bytes().to_vec()));
    }
    headers.push((Cow::Borrowed("highwater.reason"), origin.rejection.reason.as_bytes().to_vec()));
    headers.push((Cow::Borrowed("highwater.group"), origin.group.as_bytes().to_vec()));
    headers.push((Cow::Borrowed("highwater.failed.at"), format!("{:.3}", origin.failed_at).into_bytes()));
    if form != Form::Whole {
        headers.push((Cow::Borrowed("highwater.timestamp"), origin.timestamp_ms.to_string().into_bytes()));
    }
    let left_behind: &[u8] = match form {
        Form::Whole | Form::Redated => return headers,
        Form::WithoutValue => b"the value",
        Form::Bare => b"key, headers and value",
    };
    headers.push((Cow::Borrowed("highwater.left.behind"), left_behind.to_vec()));
    headers
}

fn texts(prefix: &str, origin: &Origin<'_>, message_names: &[&str]) -> Vec<Header> {
    let header = |name: &str, value: Vec<u8>| (Cow::Owned(format!("{prefix}{name}")), value);
    let mut headers = vec![
        header("topic", origin.topic_partition.topic.as_bytes().to_vec()),
        header("partition", origin.topic_partition.partition.to_string().into_bytes()),
        header("offset", origin.offset.to_string().into_bytes()),
    ];
    headers.extend(message_names.iter().map(|name| header(name, message(origin))));
    headers
}

fn spring(origin: &Origin<'_>) -> Vec<Header> {
    let header = |name, value: &[u8]| (Cow::Borrowed(name), value.to_vec());
    vec![
        header("kafka_dlt-original-topic", origin.topic_partition.topic.as_bytes()),
        header("kafka_dlt-original-partition", &origin.topic_partition.partition.to_be_bytes()),
        header("kafka_dlt-original-offset", &origin.offset.to_be_bytes()),
        header("kafka_dlt-original-timestamp", &origin.timestamp_ms.to_be_bytes()),
        header("kafka_dlt-original-consumer-group", origin.group.as_bytes()),
        header("kafka_dlt-exception-message", &message(origin)),
    ]
}

fn message(origin: &Origin<'_>) -> Vec<u8> {
    let message = &origin.rejection.message;
    message.as_bytes()[..message.floor_char_boundary(MESSAGE_BYTES_MAX)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(family: HeaderFamily, message: &str, want: &[(&str, &[u8])]) {
        let rejection = Rejection { reason: "ip.private".into(), message: message.to_owned() };
        let origin = Origin {
            topic_partition: &TopicPartition::new("user-login", 3),
            offset: 258,
            timestamp_ms: 1,
            group: "g",
            rejection: &rejection,
            failed_at: Timestamp::from_millisecond(1_795_000_000_123).unwrap(),
        };
        let got = headers(family, &origin, Form::Whole);
        let got: Vec<_> = got.iter().map(|(name, value)| (name.as_ref(), value.as_slice())).collect();
        let ours: [(&str, &[u8]); 3] = [
            ("highwater.reason", b"ip.private"),
            ("highwater.group", b"g"),
            ("highwater.failed.at", b"2026-11-18T11:06:40.123Z"),
        ];
        assert_eq!(got, [want, &ours].concat(), "{family:?}");
    }

    #[test]
    fn families() {
        check(
            HeaderFamily::Connect,
            "m",
            &[
                ("__connect.errors.topic", b"user-login"),
                ("__connect.errors.partition", b"3"),
                ("__connect.errors.offset", b"258"),
                ("__connect.errors.exception.message", b"m"),
                ("__connect.errors.stage", b"TASK_PUT"),
                ("__connect.errors.connector.name", b"g"),
            ],
        );
        check(
            HeaderFamily::Streams,
            "m",
            &[
                ("__streams.errors.topic", b"user-login"),
                ("__streams.errors.partition", b"3"),
                ("__streams.errors.offset", b"258"),
                ("__streams.errors.message", b"m"),
            ],
        );
        check(
            HeaderFamily::Kafka44,
            "m",
            &[
                ("__dlq.errors.topic", b"user-login"),
                ("__dlq.errors.partition", b"3"),
                ("__dlq.errors.offset", b"258"),
                ("__dlq.errors.message", b"m"),
                ("__dlq.errors.group", b"g"),
            ],
        );
        check(
            HeaderFamily::Spring,
            "m",
            &[
                ("kafka_dlt-original-topic", b"user-login"),
                ("kafka_dlt-original-partition", &[0, 0, 0, 3]),
                ("kafka_dlt-original-offset", &[0, 0, 0, 0, 0, 0, 1, 2]),
                ("kafka_dlt-original-timestamp", &[0, 0, 0, 0, 0, 0, 0, 1]),
                ("kafka_dlt-original-consumer-group", b"g"),
                ("kafka_dlt-exception-message", b"m"),
            ],
        );
    }

    #[test]
    fn a_long_message_is_cut_between_letters() {
        let long = "ü".repeat(400);
        check(
            HeaderFamily::Streams,
            &long,
            &[
                ("__streams.errors.topic", b"user-login"),
                ("__streams.errors.partition", b"3"),
                ("__streams.errors.offset", b"258"),
                ("__streams.errors.message", "ü".repeat(256).as_bytes()),
            ],
        );
    }
}
