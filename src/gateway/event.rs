//! A request body read as log events: pure, and all or nothing. What an event's fields say is passed on as it was written,
//! byte for byte: a number that no type of ours holds is one that somebody else's does.

use std::collections::BTreeMap;

use serde_json::value::{RawValue, to_raw_value};

/// One event, complete: its key, and its bytes as they will be stored in Kafka.
#[derive(Debug, PartialEq)]
pub(super) struct Event {
    pub id: String,
    pub source: String,
    pub value: Vec<u8>,
}

/// What was wrong with a body, and where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("line {line} is not JSON: {reason}")]
    LineNotJson { line: usize, reason: String },
    #[error("event {index}: {fault}")]
    Event { index: usize, fault: &'static str },
    #[error("the body holds no event")]
    Empty,
}

/// How the body was written, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One object, or an array of them.
    Json,
    /// One object a line.
    Ndjson,
}

impl Form {
    pub(super) fn of(content_type: Option<&str>) -> Self {
        match content_type.and_then(|text| text.split(';').next()).map(str::trim) {
            Some("application/x-ndjson" | "application/ndjson" | "application/jsonl") => Self::Ndjson,
            _ => Self::Json,
        }
    }
}

/// Reads the events of a body. `fresh_id` and `now` fill in what an event leaves out.
pub(super) fn read(
    body: &[u8],
    form: Form,
    now: &str,
    mut fresh_id: impl FnMut() -> String,
) -> Result<Vec<Event>, BodyError> {
    let values = match form {
        Form::Json => values(body)?,
        Form::Ndjson => lines(body)?,
    };
    if values.is_empty() {
        return Err(BodyError::Empty);
    }
    let events = values.into_iter().enumerate();
    events
        .map(|(index, value)| event(value, now, &mut fresh_id).map_err(|fault| BodyError::Event { index, fault }))
        .collect()
}

fn values(body: &[u8]) -> Result<Vec<&RawValue>, BodyError> {
    let not_json = |error: serde_json::Error| BodyError::NotJson(error.to_string());
    let whole: &RawValue = serde_json::from_slice(body).map_err(not_json)?;
    match whole.get().starts_with('[') {
        true => serde_json::from_str(whole.get()).map_err(not_json),
        false => Ok(vec![whole]),
    }
}

fn lines(body: &[u8]) -> Result<Vec<&RawValue>, BodyError> {
    let lines = body.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_slice(line)
                .map_err(|error| BodyError::LineNotJson { line: index + 1, reason: error.to_string() })
        })
        .collect()
}

fn event(value: &RawValue, now: &str, fresh_id: &mut impl FnMut() -> String) -> Result<Event, &'static str> {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).map_err(|_| "not a JSON object")?;
    let source = text(&fields, "source").ok_or("`source` must be a text that is not empty")?;
    text(&fields, "message").ok_or("`message` must be a text that is not empty")?;
    if fields.get("level").is_some_and(|level| !level.get().starts_with('"')) {
        return Err("`level` must be a text");
    }
    let id = match fields.get("id").map(|id| id.get()) {
        None | Some("null") => fresh_id(),
        Some(_) => text(&fields, "id").ok_or("`id` must be a text that is not empty")?,
    };
    let unwritable = |_| "cannot be written as JSON";
    let write = |text: &str| to_raw_value(text).map_err(unwritable);
    let (own_id, level, timestamp) = (write(&id)?, write("INFO")?, write(now)?);
    fields.insert("id".to_owned(), &own_id);
    fields.entry("level".to_owned()).or_insert(&level);
    fields.entry("timestamp".to_owned()).or_insert(&timestamp);
    let value = serde_json::to_vec(&fields).map_err(unwritable)?;
    Ok(Event { id, source, value })
}

fn text(fields: &BTreeMap<String, &RawValue>, name: &str) -> Option<String> {
    let text: String = serde_json::from_str(fields.get(name)?.get()).ok()?;
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, body: &str, want: Result<&[&str], &str>) {
        let mut count = 0;
        let fresh = || {
            count += 1;
            format!("fresh-{count}")
        };
        let got = read(body.as_bytes(), form, "NOW", fresh).map_err(|error| error.to_string());
        let got = got.map(|events| events.iter().map(|e| String::from_utf8_lossy(&e.value).into_owned()).collect());
        let want = want.map(|events| events.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(got, want.map_err(str::to_owned), "{body}");
    }

    #[test]
    fn bodies() {
        let full = r#"{"id":"1","level":"WARN","message":"m","source":"s","timestamp":"T"}"#;
        let filled = r#"{"id":"fresh-1","level":"INFO","message":"m","source":"s","timestamp":"NOW"}"#;
        check(Form::Json, full, Ok(&[full]));
        check(Form::Json, r#"{"source":"s","message":"m"}"#, Ok(&[filled]));
        check(Form::Json, &format!("[{full},{full}]"), Ok(&[full, full]));
        check(Form::Ndjson, &format!("{full}\n\n{full}\n"), Ok(&[full, full]));
        let exact = r#"{"a":[18446744073709551616,0.1000000000000000000001,1E400,-0],"id":"1","level":"WARN","message":"m","source":"s","timestamp":"T"}"#;
        check(Form::Json, exact, Ok(&[exact]));
        check(Form::Json, "[]", Err("the body holds no event"));
        check(Form::Ndjson, "\n", Err("the body holds no event"));
        check(Form::Json, "[1]", Err("event 0: not a JSON object"));
        let faulty = format!(r#"[{full},{{"source":"","message":"m"}}]"#);
        check(Form::Json, &faulty, Err("event 1: `source` must be a text that is not empty"));
        check(Form::Json, r#"{"source":"s"}"#, Err("event 0: `message` must be a text that is not empty"));
        check(Form::Json, r#"{"source":"s","message":"m","level":3}"#, Err("event 0: `level` must be a text"));
        check(
            Form::Json,
            r#"{"source":"s","message":"m","id":3}"#,
            Err("event 0: `id` must be a text that is not empty"),
        );
        check(
            Form::Ndjson,
            &format!("{full}\n{{"),
            Err("line 2 is not JSON: EOF while parsing an object at line 1 column 1"),
        );
    }

    #[test]
    fn forms() {
        assert_eq!(Form::of(None), Form::Json);
        assert_eq!(Form::of(Some("application/json; charset=utf-8")), Form::Json);
        assert_eq!(Form::of(Some("application/x-ndjson;charset=utf-8")), Form::Ndjson);
    }
}
