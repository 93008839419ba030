//! Zstandard frames (RFC 8878), looked over before they are unpacked: the decoder makes room for a frame's window on its
//! header's word alone, and a header of some bytes may ask for 128 MiB.
//!
//! A block holds at most 128 KiB, so the number of blocks that are really there says what a frame can come to at most. A
//! window need not be larger than that: nothing can refer to what is further back than the beginning. Java's clients ask for
//! megabytes for batches of some kilobytes, so this saves memory in earnest, too.

use std::borrow::Cow;

use super::{Compression, CompressionError};

const BLOCK_BYTES: u64 = 128 << 10;
const MAGIC: u32 = 0xfd2f_b528;
const SKIPPABLE: std::ops::RangeInclusive<u32> = 0x184d_2a50..=0x184d_2a5f;

/// The same frames with windows no larger than they can be used, or why they are not worth the trouble.
pub(super) fn narrowed(packed: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, CompressionError> {
    let mut narrowed = Cow::Borrowed(packed);
    let mut at = 0;
    while let Some(frame) = Frame::read(packed, at) {
        let most = frame.blocks.max(1).saturating_mul(BLOCK_BYTES);
        if frame.content.is_some_and(|content| content > limit as u64) {
            return Err(CompressionError::TooLarge { codec: Compression::Zstd, limit });
        }
        if frame.content.is_some_and(|content| content > most) {
            let reason = "a frame claims more than its blocks can hold".to_owned();
            return Err(CompressionError::Broken { codec: Compression::Zstd, reason });
        }
        if let Some((place, window)) = frame.window {
            let enough = descriptor(most.min(limit as u64).max(BLOCK_BYTES));
            if window > enough {
                narrowed.to_mut()[place] = enough;
            }
        }
        at = frame.end;
    }
    Ok(narrowed)
}

/// The smallest window descriptor that stands for at least so much, without the finer steps.
fn descriptor(bytes: u64) -> u8 {
    let exponent = bytes.next_power_of_two().trailing_zeros().clamp(10, 41);
    ((exponent - 10) << 3) as u8
}

/// What there is of a frame.
struct Frame {
    /// Where its window descriptor stands, and what it says; a frame without one is its own window.
    window: Option<(usize, u8)>,
    /// How much it unpacks to, if it says so.
    content: Option<u64>,
    blocks: u64,
    end: usize,
}

impl Frame {
    /// The frame that begins here, or the next one; `None` if there is none, or not even all of its header.
    fn read(packed: &[u8], mut at: usize) -> Option<Self> {
        let mut magic = word(packed, at, 4)? as u32;
        while SKIPPABLE.contains(&magic) {
            at = at.checked_add(8)?.checked_add(usize::try_from(word(packed, at + 4, 4)?).ok()?)?;
            magic = word(packed, at, 4)? as u32;
        }
        if magic != MAGIC {
            return None;
        }
        let flags = *packed.get(at + 4)?;
        let is_whole = flags & 0x20 != 0;
        let mut next = at + 5;
        let mut window = None;
        if !is_whole {
            window = Some((next, *packed.get(next)?));
            next += 1;
        }
        next += [0, 1, 2, 4][usize::from(flags & 3)];
        let size = [usize::from(is_whole), 2, 4, 8][usize::from(flags >> 6)];
        let said = word(packed, next, size)?;
        let content = (size > 0).then(|| if size == 2 { said + 256 } else { said });
        let (blocks, end) = blocks(packed, next + size, flags & 4 != 0);
        Some(Self { window, content, blocks, end })
    }
}

/// How many blocks there are from here on, and where they end.
fn blocks(packed: &[u8], mut at: usize, is_checked: bool) -> (u64, usize) {
    let mut count = 0;
    while let Some(header) = word(packed, at, 3) {
        count += 1;
        let is_run = header >> 1 & 3 == 1;
        at += 3 + if is_run { 1 } else { (header >> 3) as usize };
        if header & 1 == 1 {
            return (count, at + if is_checked { 4 } else { 0 });
        }
    }
    (count, packed.len())
}

/// A number of so many bytes, the lowest first.
fn word(packed: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let bytes = packed.get(at..at.checked_add(bytes)?)?;
    Some(bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with a window, of one raw block and one run.
    fn frame(window: u8) -> Vec<u8> {
        let mut frame = MAGIC.to_le_bytes().to_vec();
        frame.extend_from_slice(&[0x04, window, 5 << 3, 0, 0]);
        frame.extend_from_slice(b"hello");
        frame.extend_from_slice(&[3, 0x10, 0, b'.', 1, 2, 3, 4]);
        frame
    }

    #[test]
    fn windows_are_as_large_as_their_blocks_can_fill() {
        let check = |packed: Vec<u8>, limit: usize, want: &[(usize, u8)]| {
            let mut wanted = packed.clone();
            want.iter().for_each(|(place, window)| wanted[*place] = *window);
            assert_eq!(narrowed(&packed, limit).as_deref(), Ok(&wanted[..]), "{packed:?}");
        };
        let (wide, two_blocks, small) = (17 << 3, 8 << 3, 2 << 3);
        check(frame(wide), 1 << 30, &[(5, two_blocks)]);
        check(frame(wide), 1 << 10, &[(5, 7 << 3)]);
        check(frame(small), 1 << 30, &[]);
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9][..], &frame(wide)].concat();
        check(skipped, 1 << 30, &[(16, two_blocks)]);
        let length = frame(wide).len();
        check([frame(wide), frame(wide)].concat(), 1 << 30, &[(5, two_blocks), (length + 5, two_blocks)]);
        check(b"no frame".to_vec(), 10, &[]);
        for end in 0..length {
            assert!(narrowed(&frame(wide)[..end], 1 << 30).is_ok(), "cut at {end}");
        }
    }

    #[test]
    fn a_frame_that_says_how_large_it_is_is_held_to_it() {
        let with_content = |content: u32| {
            let mut frame = MAGIC.to_le_bytes().to_vec();
            frame.push(0xa0);
            frame.extend_from_slice(&content.to_le_bytes());
            frame.extend_from_slice(&[1 | 5 << 3, 0, 0]);
            frame.extend_from_slice(b"hello");
            frame
        };
        let too_large = CompressionError::TooLarge { codec: Compression::Zstd, limit: 1 << 20 };
        assert!(narrowed(&with_content(5), 1 << 20).is_ok());
        assert_eq!(narrowed(&with_content(1 << 25), 1 << 20), Err(too_large));
        assert!(matches!(narrowed(&with_content(1 << 19), 1 << 20), Err(CompressionError::Broken { .. })));
    }
}
