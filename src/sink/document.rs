//! One record, one document: pure.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, doc};
use serde_json::Value;

use crate::client::{Record, Topic, TopicPartition};

/// A document on its way to a store.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub collection: Topic,
    pub id: String,
    /// The record's own time: two records that stood at the same place, in two lives of a topic, differ in it.
    pub timestamp_ms: i64,
    pub body: bson::Document,
}

/// Names that are ours at the top of a document.
const RESERVED: [&str; 2] = ["_id", "_kafka"];
/// MongoDB takes 100 levels; some of them are ours.
const DEPTH_MAX: usize = 90;

/// Makes a record's document: the fields of its JSON object, and `_kafka` with its origin. A value that is no object, or
/// whose fields could not stand in a document, is kept whole under `value`.
///
/// No number loses a digit. A whole one is an int, a long, or beyond 64 bits a decimal; any other is a double where that is
/// the number that was written, and a decimal (Decimal128, 34 digits) where a double would be another. One that is too long
/// for a decimal, too, cannot stand in a document.
pub fn document(place: &TopicPartition, record: &Record<'_>) -> Document {
    let id = format!("{}#{}#{}", place.topic, place.partition, record.offset);
    let mut body = doc! { "_id": &id };
    match fields(record.value) {
        Some(fields) => body.extend(fields),
        None => {
            body.insert("value", raw(record.value));
        }
    }
    body.insert("_kafka", origin(place, record));
    Document { collection: place.topic.clone(), id, timestamp_ms: record.timestamp_ms, body }
}

impl Document {
    /// The same record under an `_id` of its own, because another record holds the first one.
    pub fn beside(mut self) -> Self {
        self.id = format!("{}#{}", self.id, self.timestamp_ms);
        self.body.insert("_id", &self.id);
        self
    }

    /// What is stored when a store refuses the document: where the record is, and why it is not here.
    pub fn without_value(&self, reason: &str) -> Self {
        let origin = self.body.get("_kafka").cloned().unwrap_or(Bson::Null);
        let body = doc! { "_id": &self.id, "_refused": reason, "_kafka": origin };
        Self { body, ..self.clone() }
    }
}

/// The value's fields, if it is an object that can be a document.
fn fields(value: Option<&[u8]>) -> Option<bson::Document> {
    let Value::Object(fields) = serde_json::from_slice(value?).ok()? else { return None };
    if fields.keys().any(|name| RESERVED.contains(&name.as_str()) || name.starts_with('$')) {
        return None;
    }
    fields.into_iter().map(|(name, value)| Some((name_of(name)?, bson_of(value, 1)?))).collect()
}

/// A BSON name ends at its first NUL.
fn name_of(name: String) -> Option<String> {
    (!name.contains('\0')).then_some(name)
}

fn bson_of(value: Value, depth: usize) -> Option<Bson> {
    if depth > DEPTH_MAX {
        return None;
    }
    Some(match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(value),
        Value::String(value) => Bson::String(value),
        Value::Number(number) => number_of(number.as_str())?,
        Value::Array(items) => {
            Bson::Array(items.into_iter().map(|item| bson_of(item, depth + 1)).collect::<Option<_>>()?)
        }
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| Some((name_of(name)?, bson_of(value, depth + 1)?)));
            Bson::Document(fields.collect::<Option<_>>()?)
        }
    })
}

/// The smallest type that holds the number whole, if there is one.
fn number_of(number: &str) -> Option<Bson> {
    let is_whole = !number.contains(['.', 'e', 'E']) && number != "-0";
    if is_whole && let Ok(whole) = number.parse::<i64>() {
        return Some(i32::try_from(whole).map_or(Bson::Int64(whole), Bson::Int32));
    }
    if !is_whole && let Some(double) = double_of(number) {
        return Some(Bson::Double(double));
    }
    // Refuses what it would have to round.
    number.parse().ok().map(Bson::Decimal128)
}

/// The double that was written so: with as many digits as it needs, or with all 17 that tell it from its neighbours.
fn double_of(number: &str) -> Option<f64> {
    let double: f64 = number.parse().ok().filter(|double: &f64| double.is_finite())?;
    let written = digits(number);
    let is_so = written == digits(&format!("{double:e}")) || written == digits(&format!("{double:.16e}"));
    is_so.then_some(double)
}

/// A decimal's digits from the first to the last that is not zero, and the power of ten of the first. `None` for zero.
fn digits(number: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = whole.trim_start_matches('-');
    let all = format!("{whole}{fraction}");
    let first = all.find(|digit| digit != '0')?;
    // An exponent that is beyond counting is like none that a double is written with.
    let exponent = exponent.parse().unwrap_or(i64::MAX);
    let power = exponent.saturating_add(whole.len() as i64 - first as i64 - 1);
    Some((all[first..].trim_end_matches('0').to_owned(), power))
}

/// Bytes as they are: text where they are text.
fn raw(bytes: Option<&[u8]>) -> Bson {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Bson::Null,
        Some((_, Ok(text))) => Bson::String(text.to_owned()),
        Some((bytes, Err(_))) => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }),
    }
}

fn origin(place: &TopicPartition, record: &Record<'_>) -> bson::Document {
    let mut origin = doc! {
        "topic": place.topic.as_str(),
        "partition": place.partition,
        "offset": record.offset,
        "timestamp": DateTime::from_millis(record.timestamp_ms),
        "key": raw(record.key),
    };
    let headers = record.headers().map(|(key, value)| Bson::from(doc! { "key": raw(Some(key)), "value": raw(value) }));
    let headers: Vec<Bson> = headers.collect();
    if !headers.is_empty() {
        origin.insert("headers", headers);
    }
    origin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::{BatchBuilder, Compression, Records, batches};

    fn record_set(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> Records {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(1_000, key, value, headers).unwrap();
        let batch = builder.finish().unwrap();
        batches(batch.bytes().clone()).next().unwrap().unwrap().records(1 << 20).unwrap()
    }

    fn made(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> bson::Document {
        let records = record_set(key, value, headers);
        let record = records.iter().next().unwrap().unwrap();
        let document = document(&TopicPartition::new("logins", 3), &record);
        assert_eq!(document.id, "logins#3#0");
        document.body
    }

    fn check(value: &str, want: bson::Document) {
        let mut body = made(None, Some(value.as_bytes()), &[]);
        assert_eq!((body.remove("_id"), body.remove("_kafka").is_some()), (Some("logins#3#0".into()), true));
        assert_eq!(body, want, "{value}");
    }

    #[test]
    fn values() {
        check(
            r#"{"a":1,"b":[true,null,"x"],"c":{"d":-1.5}}"#,
            doc! { "a": 1, "b": [true, null, "x"], "c": { "d": -1.5 } },
        );
        check(r#"{"n":2147483648,"m":-9223372036854775808}"#, doc! { "n": 2_147_483_648_i64, "m": i64::MIN });
        for whole in
            ["", "not json", "[1]", "7", r#"{"_id":1}"#, r#"{"_kafka":1}"#, r#"{"$set":1}"#, r#"{"a\u0000b":1}"#]
        {
            check(whole, doc! { "value": whole });
        }
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
        check(&deep, doc! { "value": &deep });
    }

    #[test]
    fn numbers_keep_their_digits() {
        let decimal = |digits: &str| Bson::Decimal128(digits.parse().unwrap());
        let cases = [
            ("0", Bson::Int32(0)),
            ("-0", Bson::Double(-0.0)),
            ("9223372036854775807", Bson::Int64(i64::MAX)),
            ("9223372036854775808", decimal("9223372036854775808")),
            ("18446744073709551616", decimal("18446744073709551616")),
            ("-1234567890123456789012345678901234", decimal("-1234567890123456789012345678901234")),
            ("0.0", Bson::Double(0.0)),
            ("0.10", Bson::Double(0.1)),
            ("12.50e-1", Bson::Double(1.25)),
            ("1E3", Bson::Double(1000.0)),
            ("1e23", Bson::Double(1e23)),
            ("5e-324", Bson::Double(5e-324)),
            ("0.30000000000000004", Bson::Double(0.1 + 0.2)),
            // As C and older Pythons write 0.1.
            ("0.10000000000000001", Bson::Double(0.1)),
            ("0.1000000000000000000001", decimal("0.1000000000000000000001")),
            ("3.141592653589793238462643383279502", decimal("3.141592653589793238462643383279502")),
            ("1e999", decimal("1e999")),
        ];
        for (number, want) in cases {
            check(&format!(r#"{{"n":{number}}}"#), doc! { "n": want });
        }
        for too_long in [
            "12345678901234567890123456789012345",
            "1.00000000000000000000000000000000001",
            "1e9999",
            "1e-99999999999999999999",
        ] {
            let value = format!(r#"{{"n":{too_long}}}"#);
            check(&value, doc! { "value": &value });
        }
    }

    #[test]
    fn the_origin_keeps_what_is_not_the_value() {
        let body = made(Some(b"\xff"), None, &[("h", Some(b"1")), ("h", None)]);
        assert_eq!(body.get("value"), Some(&Bson::Null));
        let origin = body.get_document("_kafka").unwrap();
        assert_eq!((origin.get("partition"), origin.get("offset")), (Some(&Bson::Int32(3)), Some(&Bson::Int64(0))));
        assert_eq!(origin.get("key"), Some(&raw(Some(b"\xff"))));
        let headers = [doc! { "key": "h", "value": "1" }, doc! { "key": "h", "value": null }].map(Bson::from);
        assert_eq!(origin.get("headers"), Some(&Bson::Array(headers.to_vec())));
    }

    #[test]
    fn a_refused_document_says_where_the_record_is() {
        let records = record_set(None, Some(b"{}"), &[]);
        let record = records.iter().next().unwrap().unwrap();
        let refused = document(&TopicPartition::new("logins", 3), &record).beside().without_value("too large");
        assert_eq!(refused.id, format!("logins#3#0#{}", record.timestamp_ms));
        assert_eq!(refused.body.get("_refused"), Some(&Bson::from("too large")));
        let origin = refused.body.get_document("_kafka").unwrap();
        assert_eq!(origin.get("offset"), Some(&Bson::Int64(0)));
    }

    #[test]
    fn any_bytes_make_a_document() {
        proptest::proptest!(|(value: Vec<u8>, key: Option<Vec<u8>>)| {
            bson::serialize_to_vec(&made(key.as_deref(), Some(&value), &[])).unwrap();
        });
    }
}
