//! LZ4 frames, unpacked block by block into what is handed out: a decoder of streams would make room for the largest block
//! on the header's word alone, three times over, and a header of some bytes may ask for 4 MiB blocks.

use bytes::Bytes;
use lz4_flex::block::{DecompressError, decompress_into_with_dict};
use twox_hash::XxHash32;

use super::{Compression, CompressionError, fitted};

const MAGIC: u32 = 0x184d_2204;
/// Frames without a header's check and of 8 MiB blocks; no client of Kafka has ever written them.
const LEGACY_MAGIC: u32 = 0x184c_2102;
/// How far back a block may refer.
const WINDOW: usize = 64 << 10;
/// A byte of a block stands for at most so many.
const EXPANSION_MAX: usize = 255;
/// What a block is taken to unpack to at first: so many times its size, and the whole of the smallest blocks there are.
const EXPANSION: usize = 4;
const ROOM_MIN: usize = 64 << 10;
const STORED: u32 = 1 << 31;

/// What a frame's header says.
struct Header {
    block_max: usize,
    linked: bool,
    block_checksums: bool,
    content_checksum: bool,
    content: Option<u64>,
}

pub(super) fn decompress(packed: &[u8], limit: usize) -> Result<Bytes, CompressionError> {
    let mut rest = packed;
    let header = Header::read(&mut rest)?;
    if header.content.is_some_and(|content| content > limit as u64) {
        return Err(too_large(limit));
    }
    let mut out = Vec::new();
    loop {
        let word = number(&mut rest)?;
        if word == 0 {
            break;
        }
        let block = take(&mut rest, (word & !STORED) as usize)?;
        if block.len() > header.block_max {
            return Err(broken("a block is larger than its header says"));
        }
        if header.block_checksums && number(&mut rest)? != XxHash32::oneshot(0, block) {
            return Err(broken("the checksum of a block is wrong"));
        }
        if word & STORED == 0 {
            unpack(block, &header, &mut out, limit)?;
        } else if block.len() > limit - out.len() {
            return Err(too_large(limit));
        } else {
            out.extend_from_slice(block);
        }
    }
    if header.content_checksum && number(&mut rest)? != XxHash32::oneshot(0, &out) {
        return Err(broken("the checksum of what was packed is wrong"));
    }
    if header.content.is_some_and(|content| content != out.len() as u64) {
        return Err(wrong_length());
    }
    Ok(fitted(out))
}

impl Header {
    fn read(rest: &mut &[u8]) -> Result<Self, CompressionError> {
        match number(rest)? {
            MAGIC => {}
            LEGACY_MAGIC => return Err(broken("it is in the legacy format")),
            _ => return Err(broken("it does not begin as a frame does")),
        }
        let descriptor = *rest;
        let [flags, sizes] = *take_array::<2>(rest)?;
        let has = |bit: u8| flags & (1 << bit) != 0;
        let block_max = match sizes >> 4 {
            size @ 4..=7 if flags >> 6 == 1 && sizes & 0xf == 0 && !has(1) && !has(0) => 1 << (8 + 2 * size),
            _ => return Err(broken("its header asks for what is not known")),
        };
        let content = if has(3) { Some(u64::from_le_bytes(*take_array(rest)?)) } else { None };
        let read = descriptor.len() - rest.len();
        let [checksum] = *take_array::<1>(rest)?;
        if (XxHash32::oneshot(0, &descriptor[..read]) >> 8) as u8 != checksum {
            return Err(broken("the checksum of its header is wrong"));
        }
        Ok(Self { block_max, linked: !has(5), block_checksums: has(4), content_checksum: has(2), content })
    }
}

/// Appends what a block unpacks to; it may refer to what stands before it if it is linked. Blocks do not say how large they
/// become, and clients in Go announce 4 MiB whatever they write: room is made as it proves to be needed.
fn unpack(block: &[u8], header: &Header, out: &mut Vec<u8>, limit: usize) -> Result<(), CompressionError> {
    let start = out.len();
    let most = header.block_max.min(block.len().saturating_mul(EXPANSION_MAX));
    let end_max = header.content.and_then(|content| usize::try_from(content).ok()).map_or(limit, |end| end.min(limit));
    let left = end_max.saturating_sub(start);
    let mut room = block.len().saturating_mul(EXPANSION).max(ROOM_MIN).min(most).min(left);
    loop {
        make_room(out, start + room, limit);
        let (before, after) = out.split_at_mut(start);
        let window = if header.linked { &before[before.len().saturating_sub(WINDOW)..] } else { &[] };
        match decompress_into_with_dict(block, after, window) {
            Ok(length) => {
                out.truncate(start + length);
                return Ok(());
            }
            Err(DecompressError::OutputTooSmall { .. }) if room < most.min(left) => {
                room = room.saturating_mul(EXPANSION).min(most).min(left);
            }
            Err(DecompressError::OutputTooSmall { .. }) if header.content.is_some() => return Err(wrong_length()),
            Err(DecompressError::OutputTooSmall { .. }) if left < most => return Err(too_large(limit)),
            Err(error) => return Err(broken(&error.to_string())),
        }
    }
}

/// Zeroes up to `end`. The capacity is doubled, but never beyond the limit.
fn make_room(out: &mut Vec<u8>, end: usize, limit: usize) {
    if end > out.capacity() {
        out.reserve_exact(end.max(out.len().saturating_mul(2)).min(limit) - out.len());
    }
    out.resize(end, 0);
}

fn wrong_length() -> CompressionError {
    broken("it is not as long as its header says")
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], CompressionError> {
    rest.split_off(..length).ok_or_else(|| broken("it is cut off"))
}

fn take_array<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], CompressionError> {
    let (array, after) = rest.split_first_chunk().ok_or_else(|| broken("it is cut off"))?;
    *rest = after;
    Ok(array)
}

fn number(rest: &mut &[u8]) -> Result<u32, CompressionError> {
    take_array(rest).map(|bytes| u32::from_le_bytes(*bytes))
}

fn too_large(limit: usize) -> CompressionError {
    CompressionError::TooLarge { codec: Compression::Lz4, limit }
}

fn broken(reason: &str) -> CompressionError {
    CompressionError::Broken { codec: Compression::Lz4, reason: reason.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

    use super::*;

    fn packed(bytes: &[u8], info: FrameInfo) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn frames_of_every_kind_are_read() {
        let mixed = (0..300_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[(n % 2) as usize] & 0x3f);
        let bytes: Vec<u8> = mixed.chain(std::iter::repeat_n(7, 300_000)).collect();
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for mode in [BlockMode::Independent, BlockMode::Linked] {
                for checked in [false, true] {
                    let content = checked.then_some(bytes.len() as u64);
                    let info = FrameInfo::new().block_size(size).block_mode(mode).block_checksums(checked);
                    let info = info.content_checksum(checked).content_size(content);
                    let frame = packed(&bytes, info);
                    assert_eq!(decompress(&frame, bytes.len()).unwrap(), bytes, "{size:?} {mode:?} {checked}");
                    assert_eq!(decompress(&frame, bytes.len() - 1), Err(too_large(bytes.len() - 1)));
                    let mut wrong = frame.clone();
                    *wrong.last_mut().unwrap() ^= 1;
                    assert!(decompress(&wrong, bytes.len()).is_err());
                }
            }
        }
    }

    #[test]
    fn a_frame_takes_the_room_of_what_is_in_it_whatever_it_announces() {
        let mixed = |length: u32| (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 & 0xf).collect();
        let bytes: Vec<u8> = mixed(60_000);
        let frame = packed(&bytes, FrameInfo::new().block_size(BlockSize::Max4MB));
        let unpacked = decompress(&frame, 64 << 20).unwrap().try_into_mut().unwrap();
        assert_eq!((unpacked.len(), unpacked.capacity()), (bytes.len(), bytes.len()));
        // Nor is there more while it is unpacked, but for what it proves to need.
        let header = Header {
            block_max: 4 << 20,
            linked: false,
            block_checksums: false,
            content_checksum: false,
            content: None,
        };
        for (bytes, most) in [(bytes, 4 * 60_000), (vec![0; 4 << 20], 4 << 20), (vec![0; 70_000], 256 << 10)] {
            let mut out = Vec::new();
            unpack(&lz4_flex::block::compress(&bytes), &header, &mut out, 64 << 20).unwrap();
            assert_eq!(out, bytes);
            assert!(out.capacity() <= most, "{} of {most}", out.capacity());
        }
        let short = Header { content: Some(69_999), ..header };
        let block = lz4_flex::block::compress(&[0; 70_000]);
        assert_eq!(unpack(&block, &short, &mut Vec::new(), 64 << 20), Err(wrong_length()));
    }

    #[test]
    fn what_no_client_writes_is_refused() {
        let frame = packed(b"a record", FrameInfo::new());
        let check = |at: usize, byte: u8, reason: &str| {
            let mut wrong = frame.clone();
            wrong[at] = byte;
            assert_eq!(decompress(&wrong, 100), Err(broken(reason)));
        };
        check(0, 9, "it does not begin as a frame does");
        check(4, 0, "its header asks for what is not known");
        check(5, 0, "its header asks for what is not known");
        check(6, !frame[6], "the checksum of its header is wrong");
        assert_eq!(decompress(&LEGACY_MAGIC.to_le_bytes(), 100), Err(broken("it is in the legacy format")));
        assert_eq!(decompress(&[], 100), Err(broken("it is cut off")));
    }
}
