//! Kafka messages as tables: one [`message!`](crate::message) a struct, one line a field, in the words of Kafka's own
//! descriptors (`clients/src/main/resources/common/message` in apache/kafka).
//!
//! A field line reads `name: Type = default, versions, nullable versions, tag number, [ignorable];`, all but the name,
//! the type and the versions optional; versions are `3..` or `3..=7`. From it follow the struct, its default, and how
//! each version writes and reads it:
//!
//! - outside its versions a field is not on the wire; setting it there is an [`EncodeError::Absent`], unless it is
//!   `ignorable`, because silently dropping what a caller asked for is worse than an error;
//! - `flexible` versions (KIP-482) use compact lengths and end every struct with tagged fields; tags we do not know are
//!   skipped;
//! - an `Option` may be null only in its `nullable` versions; without that word, in all of them.
//!
//! Decoding is bounded. A length is checked against the bytes that are left before any memory is asked for, and an
//! array's against the fewest bytes its items can take, so a hostile frame costs a small multiple of its own size.
//! Strings and byte fields share the frame's memory.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Why bytes could not be read as a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{needed} bytes needed, {left} left")]
    Short { needed: usize, left: usize },
    #[error("length {0} is impossible")]
    Length(i64),
    #[error("null where version {0} allows none")]
    Null(i16),
    #[error("text is not UTF-8")]
    Utf8,
    #[error("variable-length integer is too long")]
    Varint,
    #[error("API key {key} is not spoken in version {version}")]
    Unsupported { key: i16, version: i16 },
}

/// Why a message could not be written in a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("field `{field}` does not exist in version {version}")]
    Absent { field: &'static str, version: i16 },
    #[error("{0} bytes do not fit the length field")]
    TooLong(usize),
    #[error("null where version {0} allows none")]
    Null(i16),
    #[error("API key {key} is not spoken in version {version}")]
    Unsupported { key: i16, version: i16 },
}

/// What is left of one frame, and the version it is read in.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
    version: i16,
    flexible: bool,
}

/// A frame under construction, and the version it is written in.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut BytesMut,
    version: i16,
    flexible: bool,
}

impl Reader {
    pub fn new(bytes: Bytes, version: i16, flexible: bool) -> Self {
        Self { rest: bytes, version, flexible }
    }

    pub fn version(&self) -> i16 {
        self.version
    }

    pub fn flexible(&self) -> bool {
        self.flexible
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    pub fn into_rest(self) -> Bytes {
        self.rest
    }

    fn need(&self, needed: usize) -> Result<(), DecodeError> {
        if self.rest.len() < needed {
            return Err(DecodeError::Short { needed, left: self.rest.len() });
        }
        Ok(())
    }

    /// The next `n` bytes, sharing the frame's memory.
    pub fn take(&mut self, n: usize) -> Result<Bytes, DecodeError> {
        self.need(n)?;
        Ok(self.rest.split_to(n))
    }

    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            self.need(1)?;
            let byte = self.rest.get_u8();
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| DecodeError::Varint);
            }
        }
        Err(DecodeError::Varint)
    }

    /// A length as this version writes it; `None` is null.
    fn length(&mut self, width: Width) -> Result<Option<usize>, DecodeError> {
        let n = match (self.flexible, width) {
            (true, _) => i64::from(self.unsigned_varint()?) - 1,
            (false, Width::Short) => i64::from(i16::get(self)?),
            (false, Width::Long) => i64::from(i32::get(self)?),
        };
        match n {
            -1 => Ok(None),
            _ if n > width.longest() as i64 => Err(DecodeError::Length(n)),
            0.. => usize::try_from(n).map(Some).map_err(|_| DecodeError::Length(n)),
            _ => Err(DecodeError::Length(n)),
        }
    }

    /// Passes over the tagged fields that end a struct or a header, all of them unknown to us.
    pub fn skip_tagged(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.unsigned_varint()? {
            self.tagged()?;
        }
        Ok(())
    }

    /// One tagged field's number and a reader over exactly its bytes.
    #[doc(hidden)]
    pub fn tagged(&mut self) -> Result<(u32, Reader), DecodeError> {
        let tag = self.unsigned_varint()?;
        let size = self.unsigned_varint()? as usize;
        Ok((tag, Reader::new(self.take(size)?, self.version, true)))
    }
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut BytesMut, version: i16, flexible: bool) -> Self {
        Self { out, version, flexible }
    }

    pub fn version(&self) -> i16 {
        self.version
    }

    pub fn flexible(&self) -> bool {
        self.flexible
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    fn length(&mut self, n: Option<usize>, width: Width) -> Result<(), EncodeError> {
        if let Some(n) = n.filter(|n| *n > width.longest()) {
            return Err(EncodeError::TooLong(n));
        }
        match (self.flexible, width) {
            (true, _) => self.unsigned_varint(n.map_or(0, |n| n as u32 + 1)),
            (false, Width::Short) => self.out.put_i16(n.map_or(-1, |n| n as i16)),
            (false, Width::Long) => self.out.put_i32(n.map_or(-1, |n| n as i32)),
        }
        Ok(())
    }

    /// One tagged field: its number, its size, itself.
    #[doc(hidden)]
    pub fn tagged(&mut self, tag: u32, value: &impl Value) -> Result<(), EncodeError> {
        let mut field = BytesMut::with_capacity(value.room());
        value.put(&mut Writer::new(&mut field, self.version, true))?;
        self.unsigned_varint(tag);
        self.unsigned_varint(field.len() as u32);
        self.out.put_slice(&field);
        Ok(())
    }
}

/// How wide a length is in versions that are not flexible: strings have 16 bits, everything else 32.
#[derive(Debug, Clone, Copy)]
enum Width {
    Short,
    Long,
}

impl Width {
    /// The longest length in any version. A compact length has room for more, but Kafka refuses a string of more than 16
    /// bits there, too: KIP-482 changes how a length is written, not what it may be.
    fn longest(self) -> usize {
        match self {
            Self::Short => i16::MAX as usize,
            Self::Long => i32::MAX as usize,
        }
    }
}

/// A value of the wire.
pub trait Value: Sized {
    /// The fewest bytes one can take, in any version; bounds an array before its memory is asked for.
    const SMALLEST: usize = 1;
    fn get(reader: &mut Reader) -> Result<Self, DecodeError>;
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError>;
    /// The bytes to make room for before this is written: about what it takes, and never less than its texts, byte
    /// fields and arrays, so that a record set is copied once and a frame is not grown piece by piece.
    fn room(&self) -> usize {
        Self::SMALLEST
    }
}

/// A value that has a null form.
pub trait Nullable: Value {
    fn get_nullable(reader: &mut Reader) -> Result<Option<Self>, DecodeError>;
    fn put_null(writer: &mut Writer<'_>) -> Result<(), EncodeError>;
    fn put_some(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        self.put(writer)
    }
}

macro_rules! numbers {
    ($($t:ty, $get:ident, $put:ident;)*) => { $(
        impl Value for $t {
            const SMALLEST: usize = size_of::<$t>();
            fn get(reader: &mut Reader) -> Result<Self, DecodeError> {
                reader.need(Self::SMALLEST)?;
                Ok(reader.rest.$get())
            }
            fn put(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
                writer.out.$put(*self);
                Ok(())
            }
        }
    )* };
}

numbers! {
    i8, get_i8, put_i8;
    i16, get_i16, put_i16;
    u16, get_u16, put_u16;
    i32, get_i32, put_i32;
    u32, get_u32, put_u32;
    i64, get_i64, put_i64;
    f64, get_f64, put_f64;
}

impl Value for bool {
    fn get(reader: &mut Reader) -> Result<Self, DecodeError> {
        Ok(i8::get(reader)? != 0)
    }
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        i8::from(*self).put(writer)
    }
}

/// A 128-bit id; a topic's (KIP-516), most often. All zeroes means "none" on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    pub const ZERO: Self = Self([0; 16]);
}

/// As Kafka's tools print it: base64 for URLs, without padding.
impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        for three in self.0.chunks(3) {
            let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for letter in 0..=three.len() {
                let index = bits >> (18 - 6 * letter) & 0x3f;
                write!(f, "{}", char::from(LETTERS[index as usize]))?;
            }
        }
        Ok(())
    }
}

impl Value for Uuid {
    const SMALLEST: usize = 16;
    fn get(reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.need(16)?;
        let mut id = [0; 16];
        reader.rest.copy_to_slice(&mut id);
        Ok(Self(id))
    }
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.out.put_slice(&self.0);
        Ok(())
    }
}

/// UTF-8 text that shares the frame's memory.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Str(Bytes);

impl Str {
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    pub fn as_str(&self) -> &str {
        // Checked when made; an empty text is the answer that cannot happen.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for Str {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

impl std::fmt::Display for Str {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl std::ops::Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// As `str` hashes, so that a map is found in by either; bytes hash otherwise.
impl std::hash::Hash for Str {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl std::borrow::Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl Value for Str {
    fn get(reader: &mut Reader) -> Result<Self, DecodeError> {
        Self::get_nullable(reader)?.ok_or(DecodeError::Null(reader.version))
    }
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.length(Some(self.0.len()), Width::Short)?;
        writer.bytes(&self.0);
        Ok(())
    }
    fn room(&self) -> usize {
        self.0.len() + 3
    }
}

impl Nullable for Str {
    fn get_nullable(reader: &mut Reader) -> Result<Option<Self>, DecodeError> {
        let Some(n) = reader.length(Width::Short)? else { return Ok(None) };
        let bytes = reader.take(n)?;
        std::str::from_utf8(&bytes).map_err(|_| DecodeError::Utf8)?;
        Ok(Some(Self(bytes)))
    }
    fn put_null(writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.length(None, Width::Short)
    }
}

impl Value for Bytes {
    fn get(reader: &mut Reader) -> Result<Self, DecodeError> {
        Self::get_nullable(reader)?.ok_or(DecodeError::Null(reader.version))
    }
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.length(Some(self.len()), Width::Long)?;
        writer.bytes(self);
        Ok(())
    }
    fn room(&self) -> usize {
        self.len() + 5
    }
}

impl Nullable for Bytes {
    fn get_nullable(reader: &mut Reader) -> Result<Option<Self>, DecodeError> {
        match reader.length(Width::Long)? {
            Some(n) => reader.take(n).map(Some),
            None => Ok(None),
        }
    }
    fn put_null(writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.length(None, Width::Long)
    }
}

/// Bytes that are nobody's to see: proofs, tokens, salted passwords. `Debug` says how many there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Concealed(pub Bytes);

impl std::fmt::Debug for Concealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Concealed {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Value for Concealed {
    fn get(reader: &mut Reader) -> Result<Self, DecodeError> {
        Bytes::get(reader).map(Self)
    }
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        self.0.put(writer)
    }
    fn room(&self) -> usize {
        self.0.room()
    }
}

impl<T: Value> Value for Vec<T> {
    fn get(reader: &mut Reader) -> Result<Self, DecodeError> {
        Self::get_nullable(reader)?.ok_or(DecodeError::Null(reader.version))
    }
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.length(Some(self.len()), Width::Long)?;
        self.iter().try_for_each(|value| value.put(writer))
    }
    fn room(&self) -> usize {
        5 + self.iter().map(Value::room).sum::<usize>()
    }
}

impl<T: Value> Nullable for Vec<T> {
    fn get_nullable(reader: &mut Reader) -> Result<Option<Self>, DecodeError> {
        const { assert!(size_of::<T>() <= LARGEST_RATIO * T::SMALLEST) };
        let Some(n) = reader.length(Width::Long)? else { return Ok(None) };
        reader.need(n.saturating_mul(T::SMALLEST))?;
        let mut items = Vec::with_capacity(n.min(reserve::<T>(reader.rest.len())));
        for _ in 0..n {
            items.push(T::get(reader)?);
        }
        Ok(Some(items))
    }
    fn put_null(writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.length(None, Width::Long)
    }
}

/// How many times larger in memory than in its smallest form on the wire an array's item may be. An array of a larger one
/// does not compile; so "a small multiple of the frame" is this number, doubled at most while an array grows.
pub const LARGEST_RATIO: usize = 64;

/// How many items to make room for at once: a struct in memory can be far larger than its smallest form on the wire,
/// so room grows with what is really read, from at most four times the bytes that are left.
fn reserve<T>(left: usize) -> usize {
    left.saturating_mul(4) / size_of::<T>().max(1) + 1
}

impl<T: Nullable> Value for Option<T> {
    fn get(reader: &mut Reader) -> Result<Self, DecodeError> {
        T::get_nullable(reader)
    }
    fn put(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        match self {
            Some(value) => value.put_some(writer),
            None => T::put_null(writer),
        }
    }
    fn room(&self) -> usize {
        self.as_ref().map_or(4, |value| 1 + value.room())
    }
}

/// The versions a field is on the wire in.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Versions {
    pub from: i16,
    pub to: i16,
}

impl Versions {
    #[inline]
    pub const fn hold(&self, version: i16) -> bool {
        self.from <= version && version <= self.to
    }
}

/// The fewest bytes a struct takes: the least, over all versions, of what its untagged fields take. A version that has
/// none of its fields does not have the struct either, or only its tag count; so the answer is never zero.
#[doc(hidden)]
pub const fn smallest(fields: &[(Versions, bool, usize)]) -> usize {
    let mut least = usize::MAX;
    let mut version = 0;
    while version <= HIGHEST_VERSION {
        let mut sum = 0;
        let mut i = 0;
        while i < fields.len() {
            let (versions, untagged, size) = fields[i];
            if untagged && versions.hold(version) {
                sum += size;
            }
            i += 1;
        }
        if sum > 0 && sum < least {
            least = sum;
        }
        version += 1;
    }
    if least == usize::MAX { 1 } else { least }
}

/// No API has a higher version; `protocol::api` holds its table to it.
pub const HIGHEST_VERSION: i16 = 31;

/// One struct of a message; see [`protocol::message`](crate::protocol::message) for the form of a field line.
#[macro_export]
macro_rules! message {
    ($(#[$meta:meta])* pub struct $name:ident { $(
        $(#[$field_meta:meta])* $field:ident : $t:ty $(= $default:expr)?, $from:literal $(..)? $(..= $to:literal)?
        $(, nullable $null_from:literal $(..)? $(..= $null_to:literal)?)? $(, tag $tag:literal)? $(, [$ignorable:ident])? ;
    )* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $( $(#[$field_meta])* pub $field: $t, )* }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::message!(@default $t $(, $default)?), )* }
            }
        }

        impl $crate::protocol::message::Value for $name {
            const SMALLEST: usize = $crate::protocol::message::smallest(&[ $( (
                $crate::message!(@versions $from $(, $to)?),
                $crate::message!(@untagged $($tag)?),
                <$t as $crate::protocol::message::Value>::SMALLEST,
            ), )* ]);

            fn get(r: &mut $crate::protocol::message::Reader) -> Result<Self, $crate::protocol::message::DecodeError> {
                #[allow(unused_mut)]
                let mut it = Self::default();
                $( if $crate::message!(@untagged $($tag)?) && $crate::message!(@versions $from $(, $to)?).hold(r.version()) {
                    it.$field = <$t as $crate::protocol::message::Value>::get(r)?;
                    $( if !$crate::message!(@versions $null_from $(, $null_to)?).hold(r.version()) && it.$field.is_none() {
                        return Err($crate::protocol::message::DecodeError::Null(r.version()));
                    } )?
                } )*
                if r.flexible() {
                    for _ in 0..r.unsigned_varint()? {
                        #[allow(unused_mut, unused_variables)]
                        let (tag, mut field) = r.tagged()?;
                        $( $crate::message!(@get_tagged ($($tag)?) ($from $(, $to)?) tag, field, it.$field); )*
                    }
                }
                Ok(it)
            }

            fn put(&self, w: &mut $crate::protocol::message::Writer<'_>) -> Result<(), $crate::protocol::message::EncodeError> {
                #[allow(unused_mut)]
                let mut tagged = 0u32;
                $( if $crate::message!(@versions $from $(, $to)?).hold(w.version()) {
                    $( if !$crate::message!(@versions $null_from $(, $null_to)?).hold(w.version()) && self.$field.is_none() {
                        return Err($crate::protocol::message::EncodeError::Null(w.version()));
                    } )?
                    $crate::message!(@put ($($tag)?) w, tagged, self.$field, $t $(, $default)?);
                } else if $crate::message!(@required $($ignorable)?) && self.$field != $crate::message!(@default $t $(, $default)?) {
                    return Err($crate::protocol::message::EncodeError::Absent { field: stringify!($field), version: w.version() });
                } )*
                if w.flexible() {
                    w.unsigned_varint(tagged);
                    $( $crate::message!(@put_tagged ($($tag)?) ($from $(, $to)?) w, self.$field, $t $(, $default)?); )*
                }
                Ok(())
            }

            fn room(&self) -> usize {
                2 $( + $crate::protocol::message::Value::room(&self.$field) )*
            }
        }

        impl $crate::protocol::message::Nullable for $name {
            fn get_nullable(r: &mut $crate::protocol::message::Reader) -> Result<Option<Self>, $crate::protocol::message::DecodeError> {
                use $crate::protocol::message::Value;
                if i8::get(r)? < 0 { return Ok(None); }
                Self::get(r).map(Some)
            }
            fn put_null(w: &mut $crate::protocol::message::Writer<'_>) -> Result<(), $crate::protocol::message::EncodeError> {
                $crate::protocol::message::Value::put(&-1i8, w)
            }
            fn put_some(&self, w: &mut $crate::protocol::message::Writer<'_>) -> Result<(), $crate::protocol::message::EncodeError> {
                use $crate::protocol::message::Value;
                1i8.put(w)?;
                self.put(w)
            }
        }
    };
    (@versions $from:literal) => { $crate::protocol::message::Versions { from: $from, to: i16::MAX } };
    (@versions $from:literal, $to:literal) => { $crate::protocol::message::Versions { from: $from, to: $to } };
    (@default $t:ty) => { <$t>::default() };
    (@default $t:ty, $default:expr) => { $default };
    (@untagged) => { true };
    (@untagged $tag:literal) => { false };
    (@get_tagged () ($($versions:tt)*) $tag:ident, $reader:ident, $value:expr) => {};
    (@get_tagged ($number:literal) ($($versions:tt)*) $tag:ident, $reader:ident, $value:expr) => {
        if $tag == $number && $crate::message!(@versions $($versions)*).hold($reader.version()) {
            $value = $crate::protocol::message::Value::get(&mut $reader)?;
        }
    };
    (@put () $w:ident, $tagged:ident, $value:expr, $t:ty $(, $default:expr)?) => {
        $crate::protocol::message::Value::put(&$value, $w)?;
    };
    (@put ($number:literal) $w:ident, $tagged:ident, $value:expr, $t:ty $(, $default:expr)?) => {
        $tagged += u32::from($value != $crate::message!(@default $t $(, $default)?));
    };
    (@put_tagged () ($($versions:tt)*) $w:ident, $value:expr, $t:ty $(, $default:expr)?) => {};
    (@put_tagged ($number:literal) ($($versions:tt)*) $w:ident, $value:expr, $t:ty $(, $default:expr)?) => {
        if $crate::message!(@versions $($versions)*).hold($w.version())
            && $value != $crate::message!(@default $t $(, $default)?)
        {
            $w.tagged($number, &$value)?;
        }
    };
    (@required) => { true };
    (@required ignorable) => { false };
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::message! {
        pub struct Item {
            id: i64, 0..;
            name: Option<Str>, 0.., nullable 2..;
        }
    }

    crate::message! {
        pub struct Sample {
            count: i32 = -1, 1..=2;
            hint: i32 = -1, 1.., [ignorable];
            items: Vec<Item>, 0..;
            rack: Str, 3.., tag 0;
            inner: Option<Item>, 3.., tag 5;
        }
    }

    fn written(value: &impl Value, version: i16) -> Result<Bytes, EncodeError> {
        let mut out = BytesMut::new();
        value.put(&mut Writer::new(&mut out, version, version >= 3))?;
        Ok(out.freeze())
    }

    fn read<T: Value>(bytes: &[u8], version: i16) -> Result<T, DecodeError> {
        T::get(&mut Reader::new(Bytes::copy_from_slice(bytes), version, version >= 3))
    }

    #[test]
    fn what_is_written_is_read() -> Result<(), Box<dyn std::error::Error>> {
        let items = vec![Item { id: 7, name: Some("ä".into()) }];
        let cases = [
            (0, Sample { items: items.clone(), ..Sample::default() }),
            (1, Sample { count: 2, hint: 3, items: items.clone(), ..Sample::default() }),
            (2, Sample { items: vec![Item { id: 1, name: None }], ..Sample::default() }),
            (3, Sample { items: items.clone(), rack: "a".into(), ..Sample::default() }),
            (3, Sample { inner: items.first().cloned(), ..Sample::default() }),
        ];
        for (version, sample) in cases {
            let bytes = written(&sample, version)?;
            assert!(sample.room() >= bytes.len(), "{sample:?} v{version}: {} < {}", sample.room(), bytes.len());
            assert_eq!(read::<Sample>(&bytes, version)?, sample, "v{version}");
        }
        Ok(())
    }

    #[test]
    fn what_a_version_cannot_say_is_an_error_unless_it_may_be_ignored() {
        let absent = |field, version| Err(EncodeError::Absent { field, version });
        assert_eq!(written(&Sample { count: 2, ..Sample::default() }, 0), absent("count", 0));
        assert_eq!(written(&Sample { rack: "a".into(), ..Sample::default() }, 2), absent("rack", 2));
        assert_eq!(written(&Sample { hint: 9, ..Sample::default() }, 0), written(&Sample::default(), 0));
        assert_eq!(written(&Item::default(), 1), Err(EncodeError::Null(1)));
        assert_eq!(read::<Item>(&[0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff], 1), Err(DecodeError::Null(1)));
    }

    #[test]
    fn tags_we_do_not_know_are_passed_over() {
        let items_then_tags = [0, 0, 0, 5, 1, 3, 9, 2, 0xaa, 0xbb, 0, 2, 1 + 1, b'r', 40, 0];
        let sample: Result<Sample, _> = read(&items_then_tags, 3);
        assert_eq!(sample, Ok(Sample { hint: 5, rack: "r".into(), ..Sample::default() }));
    }

    #[test]
    fn a_length_is_checked_before_memory_is_asked_for() {
        let cases: [(&[u8], i16, DecodeError); 6] = [
            (&[0x7f, 0xff, 0xff, 0xff], 0, DecodeError::Short { needed: 0x7fff_ffff * Item::SMALLEST, left: 0 }),
            (&[0, 0, 0, 2, 1, 2, 3], 0, DecodeError::Short { needed: 2 * Item::SMALLEST, left: 3 }),
            (&[0xff, 0xff, 0xff, 0xfe], 0, DecodeError::Length(-2)),
            (&[0xff, 0xff, 0xff, 0xff], 0, DecodeError::Null(0)),
            (&[0xff, 0xff, 0xff, 0xff, 0x1f], 3, DecodeError::Varint),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 3, DecodeError::Varint),
        ];
        for (bytes, version, error) in cases {
            assert_eq!(read::<Vec<Item>>(bytes, version), Err(error), "{bytes:?}");
        }
        assert_eq!(Item::SMALLEST, 9);
        assert_eq!(smallest(&[]), 1);
    }

    /// As Kafka's generated code has it, in both encodings.
    #[test]
    fn a_text_has_at_most_a_length_of_16_bits() {
        let (most, longer) = ("x".repeat(32_767), "x".repeat(32_768));
        for flexible in [false, true] {
            let put = |text: &str| {
                let mut out = BytesMut::new();
                Str::from(text).put(&mut Writer::new(&mut out, 0, flexible)).map(|()| out.freeze())
            };
            let written = put(&most).unwrap();
            assert_eq!(Str::get(&mut Reader::new(written, 0, flexible)).unwrap().as_str(), most, "{flexible}");
            assert_eq!(put(&longer), Err(EncodeError::TooLong(32_768)), "{flexible}");
        }
        let mut frame = BytesMut::new();
        Writer::new(&mut frame, 0, true).unsigned_varint(32_769);
        frame.extend_from_slice(longer.as_bytes());
        assert_eq!(Str::get(&mut Reader::new(frame.freeze(), 0, true)), Err(DecodeError::Length(32_768)));
    }

    #[test]
    fn ids_look_as_kafkas_tools_print_them() {
        let check = |first: u8, last: u8, want: &str| {
            let mut id = [0; 16];
            (id[0], id[15]) = (first, last);
            assert_eq!(Uuid(id).to_string(), want);
        };
        check(0, 0, "AAAAAAAAAAAAAAAAAAAAAA");
        check(0, 1, "AAAAAAAAAAAAAAAAAAAAAQ");
        check(0xff, 0xff, "_wAAAAAAAAAAAAAAAAAA_w");
    }

    #[test]
    fn memory_stays_a_small_multiple_of_the_frame() -> Result<(), DecodeError> {
        for count in [1u32, 10, 1000, 60_000] {
            let mut frame = count.to_be_bytes().to_vec();
            frame.resize(4 + 2 * count as usize, 0);
            let texts: Vec<Str> = read(&frame, 0)?;
            let memory = texts.capacity() * size_of::<Str>();
            assert!(memory <= 2 * LARGEST_RATIO * frame.len(), "{memory} for {}", frame.len());
        }
        // However many items a frame claims, no more room is made at once than for what is left of it.
        assert!(reserve::<Item>(1000) * size_of::<Item>() <= 4 * 1000 + size_of::<Item>());
        Ok(())
    }
}
