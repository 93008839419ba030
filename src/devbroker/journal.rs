//! The metadata journal: topics, configs, leaderships, producer ids, groups and their offsets, transactions, users, as entries appended to one
//! file, each under its own CRC-32C.
//!
//! An entry on disk is `length u32 · crc32c u32 · kind u8 · version u8 · body`, all big-endian; the length counts what
//! follows the CRC, the CRC covers it. Bodies are [`message!`](crate::message) structs, written flexible, so a later
//! version can add tagged fields that an earlier one skips.
//!
//! At start the file is replayed in order and cut at the first entry that is torn or fails its CRC. When it has grown to
//! several times the size of what it says, a snapshot is written beside it, synced, and renamed over it: at every moment
//! one complete journal exists under its name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::group::consumer::{ConsumerGroupEntry, ConsumerMemberEntry, ConsumerMemberRemovedEntry, ConsumerRegexEntry};
use super::group::share::{ShareGroupEntry, ShareOffsetEntry, ShareTopicRemovedEntry};
use super::group::{GroupEntry, GroupRemovedEntry, OffsetEntry, OffsetRemovedEntry};
use super::transactions::{TransactionEntry, TransactionOffsetEntry};
use super::users::{ScramEntry, ScramRemovedEntry};
use crate::message;
use crate::protocol::message::{DecodeError, EncodeError, Reader, Str, Uuid, Value, Writer};

const NAME: &str = "metadata.journal";
const FRAME: usize = 8;
const LARGEST: usize = 64 << 20;
/// Below this size a journal is never compacted.
const SMALL: u64 = 1 << 20;

message! { /// What the cluster is; the first entry of every journal.
pub struct ClusterEntry { cluster_id: Str, 0..; } }
message! { /// A topic as it is now: replaces whatever was said of it before.
pub struct TopicEntry { name: Str, 0..; topic_id: Uuid, 0..; partitions: Vec<PartitionEntry>, 0..; configs: Vec<ConfigEntry>, 0..; } }
message! { /// One partition's leadership and the start of its log (moved by DeleteRecords).
pub struct PartitionEntry { leader: i32, 0..; leader_epoch: i32, 0..; replicas: Vec<i32>, 0..; log_start: i64, 0..; } }
message! { /// One setting that differs from its default.
pub struct ConfigEntry { name: Str, 0..; value: Str, 0..; } }
message! { /// A topic that is gone.
pub struct TopicRemovedEntry { topic_id: Uuid, 0..; } }
message! { /// The first producer id that was never handed out.
pub struct ProducerIdEntry { next: i64, 0..; } }

macro_rules! entries {
    ($($(#[$meta:meta])* $kind:literal $name:ident($t:ty);)*) => {
        /// Everything that is kept; closed, so that replay cannot forget a kind.
        #[allow(clippy::large_enum_variant, reason = "entries are written and dropped; nothing keeps many of them")]
        #[derive(Debug, Clone, PartialEq)]
        pub enum Entry { $($(#[$meta])* $name($t),)* }

        $(impl From<$t> for Entry { fn from(entry: $t) -> Self { Entry::$name(entry) } })*

        impl Entry {
            fn kind(&self) -> u8 {
                match self { $(Entry::$name(_) => $kind,)* }
            }

            fn put(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
                match self { $(Entry::$name(entry) => entry.put(writer),)* }
            }

            fn get(kind: u8, reader: &mut Reader) -> Result<Entry, DecodeError> {
                match kind {
                    $($kind => <$t>::get(reader).map(Entry::$name),)*
                    _ => Err(DecodeError::Unsupported { key: i16::from(kind), version: reader.version() }),
                }
            }
        }
    };
}

entries! {
    1 Cluster(ClusterEntry);
    2 Topic(TopicEntry);
    3 TopicRemoved(TopicRemovedEntry);
    4 ProducerId(ProducerIdEntry);
    5 Group(GroupEntry);
    6 GroupRemoved(GroupRemovedEntry);
    7 Offset(OffsetEntry);
    8 OffsetRemoved(OffsetRemovedEntry);
    9 Transaction(TransactionEntry);
    10 TransactionOffset(TransactionOffsetEntry);
    11 ConsumerGroup(ConsumerGroupEntry);
    12 ConsumerMember(ConsumerMemberEntry);
    13 ConsumerMemberRemoved(ConsumerMemberRemovedEntry);
    14 ConsumerRegex(ConsumerRegexEntry);
    15 Scram(ScramEntry);
    16 ScramRemoved(ScramRemovedEntry);
    17 ShareGroup(ShareGroupEntry);
    18 ShareOffset(ShareOffsetEntry);
    19 ShareTopicRemoved(ShareTopicRemovedEntry);
}

fn encode(entry: &Entry, out: &mut BytesMut) -> io::Result<()> {
    let start = out.len();
    out.put_u64(0);
    out.put_u8(entry.kind());
    out.put_u8(0);
    entry.put(&mut Writer::new(out, 0, true)).map_err(io::Error::other)?;
    if out.len() - start - FRAME > LARGEST {
        out.truncate(start);
        // At the next start it would be taken for a torn tail, and all that follows with it.
        return Err(io::Error::other("an entry of the metadata journal is too large"));
    }
    let body = &out[start + FRAME..];
    let (length, crc) = (body.len() as u32, crc32c::crc32c(body));
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    out[start + 4..start + FRAME].copy_from_slice(&crc.to_be_bytes());
    Ok(())
}

/// The next whole entry, and how many bytes it took; `None` at a torn tail.
fn decode(bytes: &Bytes) -> Option<Result<(Entry, usize), DecodeError>> {
    let mut rest = bytes.clone();
    if rest.len() < FRAME {
        return None;
    }
    let (length, crc) = (rest.get_u32() as usize, rest.get_u32());
    if !(2..=LARGEST).contains(&length) || rest.len() < length {
        return None;
    }
    let mut body = rest.split_to(length);
    if crc32c::crc32c(&body) != crc {
        return None;
    }
    let (kind, version) = (body.get_u8(), body.get_u8());
    let mut reader = Reader::new(body, i16::from(version), true);
    Some(Entry::get(kind, &mut reader).map(|entry| (entry, FRAME + length)))
}

/// The open journal of one data directory.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Arc<File>,
    size: u64,
    /// Size after the last snapshot; growth is measured against it.
    compacted: u64,
    dirty: bool,
}

impl Journal {
    /// Opens the journal of `directory`, or begins one, and hands over all that it says.
    pub fn open(directory: &Path) -> io::Result<(Journal, Vec<Entry>)> {
        let path = directory.join(NAME);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.len() as u64;
        let (entries, size) = replay(Bytes::from(bytes))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))?;
        if size < whole {
            tracing::warn!(path = %path.display(), cut = whole - size, kept = size, "torn tail of the metadata journal cut");
            file.set_len(size)?;
            file.sync_all()?;
        }
        let journal = Journal { path, file: Arc::new(file), size, compacted: size / 2, dirty: false };
        Ok((journal, entries))
    }

    /// Appends entries as one write. After an error the file is cut back to what it was: a half-written entry in the
    /// middle would hide all that follow it.
    pub fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut out = BytesMut::new();
        entries.iter().try_for_each(|entry| encode(entry, &mut out))?;
        if let Err(error) = self.file.write_all_at(&out, self.size) {
            self.file.set_len(self.size)?;
            return Err(error);
        }
        self.size += out.len() as u64;
        self.dirty = true;
        Ok(())
    }

    /// The file to sync, if anything was appended since the last call.
    pub fn take_dirty(&mut self) -> Option<Arc<File>> {
        std::mem::take(&mut self.dirty).then(|| self.file.clone())
    }

    /// Whether a snapshot would shrink the file by a good deal.
    pub fn wants_snapshot(&self) -> bool {
        self.size > SMALL.max(self.compacted.saturating_mul(4))
    }

    /// Replaces all that was said by what is so now.
    pub fn compact(&mut self, snapshot: &[Entry]) -> io::Result<()> {
        let fresh = self.path.with_extension("journal.new");
        let mut out = BytesMut::new();
        snapshot.iter().try_for_each(|entry| encode(entry, &mut out))?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&fresh)?;
        file.write_all(&out)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        self.file = Arc::new(file);
        self.size = out.len() as u64;
        self.compacted = self.size;
        self.dirty = false;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

/// All whole entries and the size of the file up to the last of them. A whole entry that cannot be understood is an
/// error, not a tail to cut: it was written by a later version, and cutting it would lose what it says.
fn replay(mut bytes: Bytes) -> Result<(Vec<Entry>, u64), DecodeError> {
    let (mut entries, mut size) = (Vec::new(), 0);
    while let Some(next) = decode(&bytes) {
        let (entry, taken) = next?;
        entries.push(entry);
        bytes.advance(taken);
        size += taken as u64;
    }
    Ok((entries, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Entry {
        TopicEntry { name: name.into(), topic_id: Uuid([7; 16]), ..TopicEntry::default() }.into()
    }

    fn reopened(directory: &Path) -> Vec<Entry> {
        Journal::open(directory).unwrap().1
    }

    #[test]
    fn what_was_appended_is_there_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, entries) = Journal::open(directory.path()).unwrap();
        assert_eq!(entries, []);
        journal.append(&[topic("a"), ProducerIdEntry { next: 4000 }.into()]).unwrap();
        journal.append(&[topic("b")]).unwrap();
        assert!(journal.take_dirty().is_some());
        assert!(journal.take_dirty().is_none());
        assert_eq!(reopened(directory.path()), [topic("a"), ProducerIdEntry { next: 4000 }.into(), topic("b")]);
    }

    #[test]
    fn a_torn_or_damaged_tail_is_cut_and_appending_goes_on() {
        type Damage = fn(&mut Vec<u8>);
        let cases: [(&str, Damage); 3] = [
            ("torn in the body", |bytes| bytes.truncate(bytes.len() - 3)),
            ("damaged", |bytes| *bytes.last_mut().unwrap() ^= 1),
            ("garbage after it", |bytes| {
                let keep = bytes.len() / 2;
                bytes.truncate(keep);
                bytes.extend([0xff; 40]);
            }),
        ];
        for (name, damage) in cases {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(NAME);
            let (mut journal, _) = Journal::open(directory.path()).unwrap();
            journal.append(&[topic("kept")]).unwrap();
            journal.append(&[topic("lost")]).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let (mut journal, entries) = Journal::open(directory.path()).unwrap();
            assert_eq!(entries, [topic("kept")], "{name}");
            journal.append(&[topic("next")]).unwrap();
            assert_eq!(reopened(directory.path()), [topic("kept"), topic("next")], "{name}");
        }
    }

    #[test]
    fn an_entry_of_a_later_version_stops_the_start_and_is_not_cut() {
        let mut bytes = BytesMut::new();
        encode(&topic("a"), &mut bytes).unwrap();
        bytes[FRAME] = 250;
        let crc = crc32c::crc32c(&bytes[FRAME..]);
        bytes[4..FRAME].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(replay(bytes.freeze()), Err(DecodeError::Unsupported { key: 250, .. })));
    }

    #[test]
    fn a_snapshot_replaces_the_past() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path()).unwrap();
        for _ in 0..100 {
            journal.append(&[topic("again")]).unwrap();
        }
        journal.compact(&[topic("again")]).unwrap();
        journal.append(&[topic("after")]).unwrap();
        assert_eq!(reopened(directory.path()), [topic("again"), topic("after")]);
    }
}
