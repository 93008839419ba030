//! The codecs of a record batch, each in the framing that Kafka's own clients use, and none of them C.
//!
//! Unpacking is bounded: it stops at the caller's limit, so a few hostile kilobytes cannot become gigabytes.

mod lz4;
mod zstd;

use std::fmt;
use std::io::{Read, Write};
use std::ops::RangeInclusive;
use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use structured_zstd::decoding::StreamingDecoder;
use structured_zstd::encoding::{CompressionLevel, compress_slice_to_vec};

/// How a batch's records are packed; the number is the one on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    /// KIP-110; brokers from Kafka 2.1 on.
    Zstd,
}

/// The least room that is made at a time for what is unpacked.
const UNPACK_STEP: usize = 4 << 10;

/// Why bytes could not be packed or unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    #[error("compression type {0} does not exist")]
    Unknown(u8),
    #[error("{codec} data is broken: {reason}")]
    Broken { codec: Compression, reason: String },
    #[error("{codec} data unpacks to more than {limit} bytes")]
    TooLarge { codec: Compression, limit: usize },
}

impl Compression {
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    pub fn from_id(id: u8) -> Result<Self, CompressionError> {
        Self::ALL.get(usize::from(id)).copied().ok_or(CompressionError::Unknown(id))
    }

    pub fn id(self) -> i8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The levels there are, from fast to small; `None` for a codec that has none. Kafka's own ranges for gzip and zstd
    /// (KIP-390); its lz4 levels are those of another encoder, and ours has one.
    pub fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::Gzip => Some(1..=9),
            Self::Zstd => Some(-131_072..=22),
            Self::None | Self::Snappy | Self::Lz4 => None,
        }
    }

    /// Appends the packed form of `bytes`. A level beyond the codec's range is taken as the nearest in it; `None` is the
    /// codec's own default, 6 of gzip and 3 of zstd.
    pub fn compress(self, bytes: &[u8], level: Option<i32>, out: &mut BytesMut) -> Result<(), CompressionError> {
        let broken = |error: &dyn fmt::Display| self.broken(error);
        let level = level.zip(self.levels()).map(|(level, range)| level.clamp(*range.start(), *range.end()));
        match self {
            Self::None => out.put_slice(bytes),
            Self::Gzip => {
                let level = level.map_or(flate2::Compression::default(), |it| flate2::Compression::new(it as u32));
                let mut encoder = GzEncoder::new(out.writer(), level);
                encoder.write_all(bytes).and_then(|()| encoder.finish()).map_err(|error| broken(&error))?;
            }
            Self::Snappy => snappy::compress(bytes, out).map_err(|error| broken(&error))?,
            Self::Lz4 => {
                // Independent blocks of 64 KiB: the one form that every Kafka client has always read.
                let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
                let mut encoder = FrameEncoder::with_frame_info(info, out.writer());
                encoder.write_all(bytes).map_err(|error| broken(&error))?;
                encoder.finish().map_err(|error| broken(&error))?;
            }
            Self::Zstd => {
                let level = level.map_or(CompressionLevel::Default, CompressionLevel::Level);
                out.put_slice(&compress_slice_to_vec(bytes, level));
            }
        }
        Ok(())
    }

    /// Unpacks into at most `limit` bytes. Data that is not packed is shared, not copied.
    pub fn decompress(self, packed: &Bytes, limit: usize) -> Result<Bytes, CompressionError> {
        match self {
            Self::None => Ok(packed.clone()),
            Self::Gzip => self.read_all(MultiGzDecoder::new(&packed[..]), packed.len(), limit),
            Self::Snappy => snappy::decompress(packed, limit),
            Self::Lz4 => lz4::decompress(packed, limit),
            Self::Zstd => {
                let frames = zstd::narrowed(packed, limit)?;
                self.read_all(StreamingDecoder::new(&frames[..]), packed.len(), limit)
            }
        }
    }

    fn read_all(self, mut unpacked: impl Read, packed_len: usize, limit: usize) -> Result<Bytes, CompressionError> {
        let mut out = Vec::new();
        let mut step = packed_len.saturating_mul(4).max(UNPACK_STEP);
        loop {
            // Never more than one byte beyond the limit, which is there to see that there is more.
            step = step.min(limit.saturating_add(1) - out.len());
            out.reserve_exact(step);
            let read = unpacked.by_ref().take(step as u64).read_to_end(&mut out);
            let read = read.map_err(|error| self.broken(&error))?;
            if out.len() > limit {
                return Err(CompressionError::TooLarge { codec: self, limit });
            }
            if read < step {
                return Ok(fitted(out));
            }
            step = out.len();
        }
    }

    fn broken(self, error: &dyn fmt::Display) -> CompressionError {
        CompressionError::Broken { codec: self, reason: error.to_string() }
    }
}

/// Without the room that was made and not used: who holds it counts its length alone.
fn fitted(mut out: Vec<u8>) -> Bytes {
    out.shrink_to_fit();
    Bytes::from(out)
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|codec| codec.name() == text);
        found.ok_or_else(|| format!("{text:?} is not a compression type: none, gzip, snappy, lz4 or zstd"))
    }
}

/// Snappy as Java's clients frame it (the stream of `snappy-java`): a header, then blocks with a length each. Raw snappy,
/// as librdkafka writes it, is read too.
mod snappy {
    use bytes::{BufMut, Bytes, BytesMut};
    use snap::raw::{Decoder, Encoder, decompress_len};

    use super::{Compression, CompressionError, fitted};

    const MAGIC: &[u8] = b"\x82SNAPPY\0";
    /// Magic, version and oldest compatible version.
    const HEADER_BYTES: usize = 16;
    const BLOCK_BYTES: usize = 32 << 10;

    pub(super) fn compress(bytes: &[u8], out: &mut BytesMut) -> Result<(), snap::Error> {
        out.put_slice(MAGIC);
        out.put_i32(1);
        out.put_i32(1);
        let mut encoder = Encoder::new();
        let mut block = vec![0; snap::raw::max_compress_len(BLOCK_BYTES.min(bytes.len()))];
        for chunk in bytes.chunks(BLOCK_BYTES) {
            let len = encoder.compress(chunk, &mut block)?;
            out.put_u32(len as u32);
            out.put_slice(&block[..len]);
        }
        Ok(())
    }

    pub(super) fn decompress(packed: &[u8], limit: usize) -> Result<Bytes, CompressionError> {
        let mut out = Vec::new();
        if packed.starts_with(MAGIC) {
            let mut rest = packed.get(HEADER_BYTES..).ok_or_else(|| broken("its header is cut off"))?;
            while !rest.is_empty() {
                let (length, after) = rest.split_first_chunk().ok_or_else(|| broken("a block's length is cut off"))?;
                let length = u32::from_be_bytes(*length) as usize;
                let (block, after) = after.split_at_checked(length).ok_or_else(|| broken("a block is cut off"))?;
                append(block, &mut out, limit)?;
                rest = after;
            }
        } else {
            append(packed, &mut out, limit)?;
        }
        Ok(fitted(out))
    }

    fn append(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), CompressionError> {
        let start = out.len();
        let length = decompress_len(block).map_err(|error| broken(&error.to_string()))?;
        if length > limit - start {
            return Err(CompressionError::TooLarge { codec: Compression::Snappy, limit });
        }
        // A block cannot unpack to more than about 21 times its size (two bytes copy up to 64): a larger claim is a lie.
        if length / 32 > block.len() {
            return Err(broken("a block claims more than it can hold"));
        }
        out.resize(start + length, 0);
        Decoder::new().decompress(block, &mut out[start..]).map_err(|error| broken(&error.to_string()))?;
        Ok(())
    }

    fn broken(reason: &str) -> CompressionError {
        CompressionError::Broken { codec: Compression::Snappy, reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(codec: Compression, bytes: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        codec.compress(bytes, None, &mut out).unwrap();
        out.freeze()
    }

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let text = b"a record like any other, ".repeat(10_000);
        for codec in Compression::ALL {
            for bytes in [&text[..], &text[..1], &[]] {
                assert_eq!(codec.decompress(&packed(codec, bytes), bytes.len()).unwrap(), bytes, "{codec}");
            }
            assert_eq!(codec.name().parse(), Ok(codec));
            assert_eq!(Compression::from_id(codec.id() as u8), Ok(codec));
        }
    }

    #[test]
    fn a_level_is_used_or_brought_into_range() {
        let text: Vec<u8> = (0..2_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 20).to_be_bytes()).collect();
        let size = |codec: Compression, level: i32| {
            let mut out = BytesMut::new();
            codec.compress(&text, Some(level), &mut out).unwrap();
            assert_eq!(codec.decompress(&out.clone().freeze(), text.len()).unwrap(), text, "{codec} at {level}");
            out.len()
        };
        for codec in Compression::ALL {
            let Some(range) = codec.levels() else {
                assert_eq!(size(codec, 1), size(codec, 9), "{codec}");
                continue;
            };
            assert!(size(codec, *range.end()) < size(codec, *range.start().max(&-50)), "{codec}");
            assert_eq!(size(codec, i32::MAX), size(codec, *range.end()), "{codec}");
        }
    }

    #[test]
    fn unpacking_stops_at_the_limit() {
        let zeroes = vec![0; 8 << 20];
        for codec in &Compression::ALL[1..] {
            let bomb = packed(*codec, &zeroes);
            let want = CompressionError::TooLarge { codec: *codec, limit: 1 << 20 };
            assert_eq!(codec.decompress(&bomb, 1 << 20), Err(want), "{codec}, {} bytes", bomb.len());
        }
    }

    #[test]
    fn broken_data_is_an_error() {
        let text = b"a record like any other, ".repeat(100);
        for codec in &Compression::ALL[1..] {
            let whole = packed(*codec, &text);
            for end in 0..whole.len() {
                // Some cuts fall between blocks, where what is left is whole; none gives more than was put in.
                if let Ok(got) = codec.decompress(&whole.slice(..end), text.len()) {
                    assert!(text.starts_with(&got), "{codec} cut at {end}");
                }
            }
            for at in 0..whole.len() {
                let mut bytes = whole.to_vec();
                bytes[at] ^= 0xff;
                let _ = codec.decompress(&Bytes::from(bytes), text.len());
            }
        }
        assert_eq!(Compression::from_id(5), Err(CompressionError::Unknown(5)));
    }
}
