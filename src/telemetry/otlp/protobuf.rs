//! Protobuf's wire format, as far as OTLP's metrics take it: written straight into bytes, read field by field. Pure.

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED_32: u8 = 5;

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn key(out: &mut Vec<u8>, field: u32, kind: u8) {
    varint(out, u64::from(field << 3 | u32::from(kind)));
}

/// An enum, a bool or an integer.
pub(super) fn number(out: &mut Vec<u8>, field: u32, number: u64) {
    key(out, field, VARINT);
    varint(out, number);
}

pub(super) fn fixed(out: &mut Vec<u8>, field: u32, number: u64) {
    key(out, field, FIXED_64);
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn double(out: &mut Vec<u8>, field: u32, number: f64) {
    fixed(out, field, number.to_bits());
}

/// Numbers of eight bytes, packed.
pub(super) fn packed(out: &mut Vec<u8>, field: u32, numbers: impl ExactSizeIterator<Item = u64>) {
    key(out, field, LENGTH);
    varint(out, numbers.len() as u64 * 8);
    numbers.for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

/// A string, or a message that is written already.
pub(super) fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    key(out, field, LENGTH);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A message, whose length is known when it is written: most are short, and have it in one byte.
pub(super) fn message<R>(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    key(out, field, LENGTH);
    let at = out.len();
    out.push(0);
    let wrote = write(out);
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
    } else {
        let mut long = Vec::with_capacity(10);
        varint(&mut long, length as u64);
        drop(out.splice(at..=at, long));
    }
    wrote
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of eight or four bytes, which nothing that is read here has.
    Fixed,
}

/// The fields of a message in turn; `Err` where it is none, and nothing after that.
pub(super) struct Fields<'a>(&'a [u8]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match (key & 7) as u8 {
            VARINT => Value::Number(self.varint()?),
            LENGTH => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED_64 => self.take(8).map(|_| Value::Fixed)?,
            FIXED_32 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        (key >> 3 > 0).then_some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
            let mut out = Vec::new();
            number(&mut out, 1, u64::MAX);
            message(&mut out, 300, |out| out.extend(std::iter::repeat_n(7, length)));
            double(&mut out, 3, 0.5);
            bytes(&mut out, 15, b"text");
            let want = [
                Ok((1, Value::Number(u64::MAX))),
                Ok((300, Value::Bytes(&vec![7; length]))),
                Ok((3, Value::Fixed)),
                Ok((15, Value::Bytes(b"text"))),
            ];
            assert_eq!(fields(&out).collect::<Vec<_>>(), want, "{length}");
        }
    }

    #[test]
    fn what_is_no_message_ends_with_an_error() {
        let check = |message: &[u8], fine: usize| {
            let read: Vec<_> = fields(message).collect();
            assert_eq!((read.len(), read.last()), (fine + 1, Some(&Err(Malformed))), "{message:?}");
        };
        check(b"<html>", 0);
        check(b"\x00\x01", 0);
        check(b"\x08", 0);
        check(b"\x0a\x05ab", 0);
        check(b"\x08\x01\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 1);
        check(b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 0);
        assert_eq!(fields(b"").count(), 0);
    }
}
