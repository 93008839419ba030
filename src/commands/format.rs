//! What a record looks like on a line: `-f FORMAT`, for printing and for reading. Pure.
//!
//! The letters are kcat's and rpk's, which agree on most: `%k` key, `%v` (kcat: `%s`) value, `%h` headers, `%t` topic, `%p`
//! partition, `%o` offset, `%T` time in milliseconds, `%K` and `%S` (rpk: `%V`) the lengths of key and value, `%%`.

use std::io::Write as _;

use crate::client::{Record, TopicPartition};

/// A format that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    pieces: Vec<Piece>,
    /// What stands for a key or value that is null.
    null: &'static [u8],
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Key,
    Value,
    Headers,
    Topic,
    Partition,
    Offset,
    Time,
    KeyLength,
    ValueLength,
}

const FIELDS: [(u8, Field); 11] = [
    (b'k', Field::Key),
    (b'v', Field::Value),
    (b's', Field::Value),
    (b'h', Field::Headers),
    (b't', Field::Topic),
    (b'p', Field::Partition),
    (b'o', Field::Offset),
    (b'T', Field::Time),
    (b'K', Field::KeyLength),
    (b'S', Field::ValueLength),
    (b'V', Field::ValueLength),
];

/// What a line says of a record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub topic: Option<&'a str>,
    pub partition: Option<i32>,
    pub timestamp_ms: Option<i64>,
}

impl Format {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut literal) = (Vec::new(), Vec::new());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'\\' => literal.push(escaped(&mut rest)?),
                b'%' => match rest.next() {
                    Some(b'%') => literal.push(b'%'),
                    letter => {
                        let field = letter.and_then(|letter| FIELDS.iter().find(|(it, _)| *it == letter));
                        let (_, field) = field.ok_or_else(|| unknown(letter))?;
                        if !literal.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut literal)));
                        }
                        pieces.push(Piece::Field(*field));
                    }
                },
                byte => literal.push(byte),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces, null: b"" })
    }

    /// Prints null keys and values as this.
    pub fn with_null(self, null: &'static str) -> Self {
        Self { null: null.as_bytes(), ..self }
    }

    /// Appends a record.
    pub fn write(&self, out: &mut Vec<u8>, of: &TopicPartition, record: &Record<'_>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Field(field) => self.write_field(*field, out, of, record),
            }
        }
    }

    fn write_field(&self, field: Field, out: &mut Vec<u8>, of: &TopicPartition, record: &Record<'_>) {
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        // Writing to a Vec does not fail.
        let _ = match field {
            Field::Key => out.write_all(record.key.unwrap_or(self.null)),
            Field::Value => out.write_all(record.value.unwrap_or(self.null)),
            Field::Headers => {
                write_headers(out, record);
                Ok(())
            }
            Field::Topic => out.write_all(of.topic.as_bytes()),
            Field::Partition => write!(out, "{}", of.partition),
            Field::Offset => write!(out, "{}", record.offset),
            Field::Time => write!(out, "{}", record.timestamp_ms),
            Field::KeyLength => write!(out, "{}", length(record.key)),
            Field::ValueLength => write!(out, "{}", length(record.value)),
        };
    }

    /// Whether lines can be read by it: what comes after a field must say where the field ends.
    pub fn for_reading(self) -> Result<Self, String> {
        let mut pieces = self.pieces;
        if let Some(Piece::Text(text)) = pieces.last_mut()
            && text.last() == Some(&b'\n')
        {
            text.pop();
            if text.is_empty() {
                pieces.pop();
            }
        }
        if pieces.windows(2).any(|two| matches!(two, [Piece::Field(_), Piece::Field(_)])) {
            return Err("two fields need something between them to be told apart".to_owned());
        }
        for piece in &pieces {
            let Piece::Field(field) = piece else { continue };
            if !matches!(field, Field::Key | Field::Value | Field::Topic | Field::Partition | Field::Time) {
                return Err("lines can hold %k, %v, %t, %p and %T".to_owned());
            }
        }
        Ok(Self { pieces, ..self })
    }

    /// The text of a format that has no fields.
    pub fn text(self) -> Result<Vec<u8>, String> {
        match <[Piece; 1]>::try_from(self.pieces) {
            Ok([Piece::Text(text)]) => Ok(text),
            _ => Err("no text".to_owned()),
        }
    }

    /// Takes a line apart. Each field ends where the text after it is first found, and the last one with the line.
    pub fn read<'a>(&self, line: &'a [u8]) -> Result<Fields<'a>, String> {
        let (mut fields, mut rest) = (Fields::default(), line);
        let mut pieces = self.pieces.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Text(text) => rest = rest.strip_prefix(text.as_slice()).ok_or_else(|| missing(text))?,
                Piece::Field(field) => {
                    let end = match pieces.peek() {
                        Some(Piece::Text(text)) => find(rest, text).ok_or_else(|| missing(text))?,
                        _ => rest.len(),
                    };
                    let (found, after) = rest.split_at(end);
                    fields.set(*field, found)?;
                    rest = after;
                }
            }
        }
        if rest.is_empty() { Ok(fields) } else { Err("the line goes on where the format ends".to_owned()) }
    }
}

impl<'a> Fields<'a> {
    fn set(&mut self, field: Field, found: &'a [u8]) -> Result<(), String> {
        let text = || std::str::from_utf8(found).map_err(|_| "not UTF-8".to_owned());
        match field {
            Field::Key => self.key = Some(found),
            Field::Value => self.value = Some(found),
            Field::Topic => self.topic = Some(text()?),
            Field::Partition => {
                self.partition = Some(text()?.parse().map_err(|_| format!("{:?} is no partition", text()))?);
            }
            Field::Time => {
                self.timestamp_ms = Some(text()?.parse().map_err(|_| format!("{:?} is no time in ms", text()))?);
            }
            Field::Headers | Field::Offset | Field::KeyLength | Field::ValueLength => {}
        }
        Ok(())
    }
}

/// `key=value,key=value`; a null value as NULL, as kcat has it.
fn write_headers(out: &mut Vec<u8>, record: &Record<'_>) {
    for (n, (key, value)) in record.headers().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(key);
        out.push(b'=');
        out.extend_from_slice(value.unwrap_or(b"NULL"));
    }
}

fn escaped(rest: &mut impl Iterator<Item = u8>) -> Result<u8, String> {
    match rest.next() {
        Some(b'n') => Ok(b'\n'),
        Some(b't') => Ok(b'\t'),
        Some(b'r') => Ok(b'\r'),
        Some(b'0') => Ok(0),
        Some(b'\\') => Ok(b'\\'),
        Some(b'x') => {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let digits = digit(rest.next()).zip(digit(rest.next()));
            let byte = digits.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
            byte.ok_or_else(|| "\\x needs two hexadecimal digits after it".to_owned())
        }
        Some(other) => Err(format!("no escape \\{}; there are \\n, \\t, \\r, \\0, \\\\ and \\xNN", char::from(other))),
        None => Err("a single \\ at the end".to_owned()),
    }
}

fn unknown(letter: Option<u8>) -> String {
    let letters: Vec<String> = FIELDS.iter().map(|(letter, _)| format!("%{}", char::from(*letter))).collect();
    let found = letter.map_or_else(String::new, |letter| char::from(letter).to_string());
    format!("no field %{found}; there are {} and %%", letters.join(", "))
}

fn missing(text: &[u8]) -> String {
    format!("{:?} is not there", String::from_utf8_lossy(text))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Compression;
    use crate::protocol::batch::{BatchBuilder, batches};

    fn written(format: &Format, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> String {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(1_700_000_000_123, key, value, headers).unwrap();
        let batch = batches(builder.finish().unwrap().bytes().clone()).next().unwrap().unwrap();
        let records = batch.records(1 << 20).unwrap();
        let mut out = Vec::new();
        format.write(&mut out, &TopicPartition::new("t", 3), &records.iter().next().unwrap().unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn records_are_written() {
        let check = |format: &str, want: &str| {
            let format = Format::parse(format).unwrap();
            let headers: [(&str, Option<&[u8]>); 2] = [("a", Some(b"1")), ("b", None)];
            assert_eq!(written(&format, Some(b"key"), Some(b"value"), &headers), want);
        };
        check("%v\\n", "value\n");
        check("%s", "value");
        check(
            "%t[%p]@%o %T %k=%v (%K, %S, %V) %h\\t%%\\x41\\\\",
            "t[3]@0 1700000000123 key=value (3, 5, 5) a=1,b=NULL\t%A\\",
        );
        let format = Format::parse("%k|%v|%K|%S").unwrap();
        assert_eq!(written(&format, None, None, &[]), "||-1|-1");
        assert_eq!(written(&format.with_null("NULL"), None, Some(b""), &[]), "NULL||-1|0");
    }

    #[test]
    fn mistakes_are_explained() {
        let check = |format: &str, want: &str| {
            let said = Format::parse(format).and_then(Format::for_reading).unwrap_err();
            assert!(said.starts_with(want), "{said}");
        };
        check("%q", "no field %q; there are %k, %v");
        check("%", "no field %;");
        check("\\q", "no escape \\q");
        check("\\x4", "\\x needs");
        check("a\\", "a single \\");
        check("%k%v", "two fields");
        check("%o", "lines can hold");
    }

    #[test]
    fn lines_are_read() {
        let read = |format: &str, line: &'static str| {
            let format = Format::parse(format).and_then(Format::for_reading).unwrap();
            format.read(line.as_bytes())
        };
        let key_value = |key: &'static str, value: &'static str| Fields {
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            ..Fields::default()
        };
        assert_eq!(read("%k:%v\\n", "a:b:c"), Ok(key_value("a", "b:c")));
        assert_eq!(read("%k, %v", ", "), Ok(key_value("", "")));
        let whole = Fields { topic: Some("t"), partition: Some(3), timestamp_ms: Some(5), ..key_value("k", "v") };
        assert_eq!(read("%t[%p] %T %k %v", "t[3] 5 k v"), Ok(whole));
        assert_eq!(read("%k:%v", "ab"), Err("\":\" is not there".to_owned()));
        assert!(read("%p %v", "x v").unwrap_err().contains("no partition"));
        assert!(read("(%v)", "(v) more").unwrap_err().contains("goes on"));
    }
}
