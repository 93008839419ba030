//! Zigzag variable-length integers, as records use them (the wire's own are unsigned).

use bytes::{BufMut, BytesMut};

/// The longest: ten bytes for 64 bits.
const BYTES_MAX: usize = 10;

pub(super) fn put(out: &mut BytesMut, value: i64) {
    let mut run = Run::new();
    run.put(value);
    out.put_slice(run.bytes());
}

/// A few of them in a row, to be copied at once: there is room for two of any size and two of 32 bits.
pub(super) struct Run {
    bytes: [u8; 32],
    len: usize,
}

impl Run {
    #[inline]
    pub(super) fn new() -> Self {
        Self { bytes: [0; 32], len: 0 }
    }

    #[inline]
    pub(super) fn put(&mut self, value: i64) {
        let mut zigzag = zigzag(value);
        while zigzag >= 0x80 {
            self.bytes[self.len] = zigzag as u8 | 0x80;
            self.len += 1;
            zigzag >>= 7;
        }
        self.bytes[self.len] = zigzag as u8;
        self.len += 1;
    }

    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// How many bytes `put` writes.
pub(super) const fn size(value: i64) -> usize {
    (70 - (zigzag(value) | 1).leading_zeros() as usize) / 7
}

/// Takes one off the front; `None` when the bytes end within it or it never ends.
#[inline]
pub(super) fn take(bytes: &mut &[u8]) -> Option<i64> {
    // Nearly all are one byte: deltas within a batch, lengths of small fields.
    if let [first @ 0..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Some(unzigzag(u64::from(*first)));
    }
    take_long(bytes)
}

fn take_long(bytes: &mut &[u8]) -> Option<i64> {
    let mut zigzag = 0u64;
    for i in 0..BYTES_MAX {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        zigzag |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if *byte < 0x80 {
            return Some(unzigzag(zigzag));
        }
    }
    None
}

fn unzigzag(zigzag: u64) -> i64 {
    (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_survives() {
        for value in [0, 1, -1, 63, -64, 64, 300, -300, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let mut out = BytesMut::new();
            put(&mut out, value);
            assert_eq!(out.len(), size(value), "{value}");
            let mut rest = &out[..];
            assert_eq!((take(&mut rest), rest.len()), (Some(value), 0));
            assert_eq!(take(&mut &out[..out.len() - 1]), None, "{value} cut off");
        }
        assert_eq!(take(&mut &[0x80u8; 11][..]), None, "one that never ends");
    }
}
