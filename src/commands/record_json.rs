//! A record as a line of JSON, both ways. Bytes that are no UTF-8 are in base64, under a name that says so. Pure.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::client::{Record, TopicPartition};

/// What is printed, and read.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none", borrow)]
    pub topic: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Where it was; nothing that a producer can choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderLine<'a>>,
    key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HeaderLine<'a> {
    pub key: Cow<'a, str>,
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl<'a> Line<'a> {
    pub fn of(of: &'a TopicPartition, record: &Record<'a>) -> Self {
        let (key, key_base64) = written(record.key);
        let (value, value_base64) = written(record.value);
        let header = |(key, value): (&'a [u8], Option<&'a [u8]>)| {
            let (value, value_base64) = written(value);
            HeaderLine { key: String::from_utf8_lossy(key), value, value_base64 }
        };
        Self {
            topic: Some(Cow::Borrowed(&*of.topic)),
            partition: Some(of.partition),
            offset: Some(record.offset),
            timestamp: Some(record.timestamp_ms),
            headers: record.headers().map(header).collect(),
            key,
            key_base64,
            value,
            value_base64,
        }
    }

    pub fn key(&self) -> Result<Option<Vec<u8>>, String> {
        read(self.key.as_deref(), self.key_base64.as_deref())
    }

    pub fn value(&self) -> Result<Option<Vec<u8>>, String> {
        read(self.value.as_deref(), self.value_base64.as_deref())
    }
}

impl HeaderLine<'_> {
    pub fn value(&self) -> Result<Option<Vec<u8>>, String> {
        read(self.value.as_deref(), self.value_base64.as_deref())
    }
}

fn written(bytes: Option<&[u8]>) -> (Option<Cow<'_, str>>, Option<String>) {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => (None, None),
        Some((Ok(text), _)) => (Some(Cow::Borrowed(text)), None),
        Some((Err(_), bytes)) => (None, Some(STANDARD.encode(bytes))),
    }
}

fn read(text: Option<&str>, base64: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err("said twice, as text and in base64".to_owned()),
        (text, None) => Ok(text.map(|text| text.as_bytes().to_vec())),
        (None, Some(base64)) => STANDARD.decode(base64).map(Some).map_err(|error| format!("no base64: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Compression;
    use crate::protocol::batch::{BatchBuilder, batches};

    #[test]
    fn what_is_printed_can_be_read() {
        let check = |key: Option<&[u8]>, value: Option<&[u8]>, want: &str| {
            let mut builder = BatchBuilder::new(Compression::None);
            builder.push(7, key, value, &[("h", Some(b"\xff")), ("n", None)]).unwrap();
            let batch = batches(builder.finish().unwrap().bytes().clone()).next().unwrap().unwrap();
            let records = batch.records(1 << 20).unwrap();
            let of = TopicPartition::new("t", 3);
            let text = serde_json::to_string(&Line::of(&of, &records.iter().next().unwrap().unwrap())).unwrap();
            let start = r#"{"topic":"t","partition":3,"offset":0,"timestamp":7,"headers":[{"key":"h","value":null,"value_base64":"/w=="},{"key":"n","value":null}],"#;
            assert_eq!(text, format!("{start}{want}}}"));
            let line: Line<'_> = serde_json::from_str(&text).unwrap();
            assert_eq!(line.key().unwrap().as_deref(), key);
            assert_eq!(line.value().unwrap().as_deref(), value);
            assert_eq!(line.headers[0].value().unwrap().as_deref(), Some(&b"\xff"[..]));
        };
        check(Some(b"k"), Some(b"\"v\"\n"), r#""key":"k","value":"\"v\"\n""#);
        check(None, None, r#""key":null,"value":null"#);
        check(Some(b""), Some(b"\xfe"), r#""key":"","value":null,"value_base64":"/g==""#);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let line: Line<'_> = serde_json::from_str(r#"{"value":"a","value_base64":"YQ=="}"#).unwrap();
        assert!(line.value().unwrap_err().contains("twice"));
        let line: Line<'_> = serde_json::from_str(r#"{"value_base64":"?"}"#).unwrap();
        assert!(line.value().unwrap_err().contains("no base64"));
        assert!(serde_json::from_str::<Line<'_>>(r#"{"vlaue":"a"}"#).is_err());
    }
}
