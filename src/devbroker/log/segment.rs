//! One stretch of a partition's log: batches back to back, in memory or in a file, with a sparse index by offset and time.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::protocol::batch::{RecordBatch, batches};
use crate::protocol::types::{LeaderEpoch, Offset};

/// Bytes of a batch header, format 2.
pub const HEADER: usize = 61;
/// How many bytes of a file lie between two marks of its index; Kafka's `index.interval.bytes`.
const INTERVAL: u64 = 4096;

/// The fields of a batch header that finding one's way needs; the rest is `protocol::batch`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub max_timestamp: i64,
    /// Of the whole batch, header and length field included.
    pub size: usize,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Header {
    /// `None` if the bytes are too few, or no header of format 2.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let length = usize::try_from(i32::from_be_bytes(field(bytes, 8)?)).ok()?;
        let delta = i32::from_be_bytes(field(bytes, 23)?);
        let base_offset = i64::from_be_bytes(field(bytes, 0)?);
        let sound = bytes.get(16) == Some(&2) && length + 12 >= HEADER && delta >= 0 && base_offset >= 0;
        sound.then_some(Header {
            base_offset,
            last_offset: base_offset.checked_add(i64::from(delta))?,
            leader_epoch: i32::from_be_bytes(field(bytes, 12)?),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)?),
            size: length + 12,
        })
    }
}

/// A piece of the log that can be read without holding any lock: segments only ever grow behind it.
#[derive(Debug, Clone)]
pub enum Slice {
    Memory(Vec<Bytes>),
    File { file: Arc<File>, position: u64, length: usize },
}

impl Slice {
    pub const EMPTY: Slice = Slice::Memory(Vec::new());

    pub fn len(&self) -> usize {
        match self {
            Slice::Memory(batches) => batches.iter().map(Bytes::len).sum(),
            Slice::File { length, .. } => *length,
        }
    }

    /// Whether reading it may wait for a disk.
    pub fn blocks(&self) -> bool {
        matches!(self, Slice::File { .. })
    }

    /// A part of it; what a scan goes through. Memory is taken whole.
    pub fn part(&self, start: u64, length: usize) -> io::Result<Bytes> {
        match self {
            Slice::Memory(_) => Ok(self.clone().read()?.slice(start as usize..start as usize + length)),
            Slice::File { file, position, .. } => {
                Slice::File { file: file.clone(), position: position + start, length }.read()
            }
        }
    }

    pub fn read(self) -> io::Result<Bytes> {
        match self {
            Slice::Memory(mut batches) if batches.len() == 1 => Ok(batches.swap_remove(0)),
            Slice::Memory(batches) => {
                let mut all = BytesMut::with_capacity(batches.iter().map(Bytes::len).sum());
                batches.iter().for_each(|batch| all.extend_from_slice(batch));
                Ok(all.freeze())
            }
            Slice::File { file, position, length } => {
                let mut all = BytesMut::zeroed(length);
                file.read_exact_at(&mut all, position)?;
                Ok(all.freeze())
            }
        }
    }
}

/// One entry of the index.
#[derive(Debug, Clone, Copy)]
struct Mark {
    offset: Offset,
    position: u64,
    /// The largest timestamp of all batches *before* this position.
    max_timestamp_before: i64,
}

#[derive(Debug)]
enum Storage {
    /// One buffer a batch, and one mark each, so a position is found without reading.
    Memory(Vec<Bytes>),
    File {
        file: Arc<File>,
        path: PathBuf,
        tail: Tail,
    },
}

/// The newest batches of a file, as far as they are small: those who follow a trickle find and read them without a file.
#[derive(Debug, Default)]
struct Tail {
    /// With the position of each; back to back, up to the end of the file.
    batches: VecDeque<(u64, Header, Bytes)>,
    bytes: usize,
}

impl Tail {
    const BYTES: usize = INTERVAL as usize;

    fn push(&mut self, position: u64, header: &Header, batch: &[u8]) {
        self.bytes += batch.len();
        while self.bytes > Tail::BYTES {
            let Some((_, _, oldest)) = self.batches.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        if self.bytes > Tail::BYTES {
            self.bytes = 0;
        } else {
            // A copy: the batch is a part of the frame it came in, which may be much larger.
            self.batches.push_back((position, *header, Bytes::copy_from_slice(batch)));
        }
    }

    /// Position and header of the batch that holds `offset`, if it is here.
    fn batch_with(&self, offset: Offset) -> Option<(u64, Header)> {
        let at = self.batches.partition_point(|(_, header, _)| header.last_offset < offset);
        let (position, header, _) = self.batches.get(at)?;
        (header.base_offset <= offset).then_some((*position, *header))
    }

    /// The whole batches from `position` on that `length` bytes hold, if the first of them is here.
    fn slice(&self, position: u64, length: usize) -> Option<Slice> {
        let first = self.batches.binary_search_by_key(&position, |(position, ..)| *position).ok()?;
        let mut left = length;
        let batches = self.batches.range(first..).map(|(_, _, batch)| batch);
        Some(Slice::Memory(batches.take_while(|batch| take(&mut left, batch.len())).cloned().collect()))
    }
}

/// Whether `wanted` was left, and is taken.
fn take(left: &mut usize, wanted: usize) -> bool {
    let enough = wanted <= *left;
    *left -= wanted.min(*left);
    enough
}

#[derive(Debug)]
pub struct Segment {
    base: Offset,
    end: Offset,
    size: u64,
    storage: Storage,
    index: Vec<Mark>,
    max_timestamp: i64,
    /// Of the first batch.
    first_timestamp: Option<i64>,
    dirty: bool,
}

impl Segment {
    pub fn memory(base: Offset) -> Segment {
        Segment::with(base, Storage::Memory(Vec::new()))
    }

    pub fn create(directory: &Path, base: Offset) -> io::Result<Segment> {
        let path = directory.join(file_name(base));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        // The new name must survive a power loss like the records under it.
        File::open(directory)?.sync_all()?;
        Ok(Segment::with(base, Storage::file(file, path)))
    }

    /// An existing file, with nothing known of it yet: [`scan`](super::recovery) fills the index.
    pub fn existing(path: PathBuf, base: Offset) -> io::Result<Segment> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Segment::with(base, Storage::file(file, path)))
    }

    fn with(base: Offset, storage: Storage) -> Segment {
        let (index, max_timestamp) = (Vec::new(), i64::MIN);
        Segment { base, end: base, size: 0, storage, index, max_timestamp, first_timestamp: None, dirty: false }
    }

    pub fn base(&self) -> Offset {
        self.base
    }

    /// The offset after the last record.
    pub fn end(&self) -> Offset {
        self.end
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// The largest timestamp, if there is any batch.
    pub fn max_timestamp(&self) -> Option<i64> {
        (self.size > 0).then_some(self.max_timestamp)
    }

    /// The largest timestamp of its first batch.
    pub fn first_timestamp(&self) -> Option<i64> {
        self.first_timestamp
    }

    pub fn file(&self) -> Option<&Arc<File>> {
        match &self.storage {
            Storage::Memory(_) => None,
            Storage::File { file, .. } => Some(file),
        }
    }

    /// The file to sync, if it was written to since the last call.
    pub fn take_dirty(&mut self) -> Option<Arc<File>> {
        std::mem::take(&mut self.dirty).then(|| self.file().cloned()).flatten()
    }

    /// Appends one batch. After an error nothing of it remains.
    pub fn append(&mut self, header: &Header, batch: Bytes) -> io::Result<()> {
        match &mut self.storage {
            Storage::Memory(batches) => batches.push(batch),
            Storage::File { file, tail, .. } => {
                if let Err(error) = file.write_all_at(&batch, self.size) {
                    file.set_len(self.size)?;
                    return Err(error);
                }
                tail.push(self.size, header, &batch);
                self.dirty = true;
            }
        }
        self.note(header);
        Ok(())
    }

    /// Takes note of a batch that lies at the end of the storage.
    pub fn note(&mut self, header: &Header) {
        let interval = if self.file().is_some() { INTERVAL } else { 0 };
        if self.index.last().is_none_or(|mark| self.size - mark.position >= interval) {
            self.index.push(Mark {
                offset: header.base_offset,
                position: self.size,
                max_timestamp_before: self.max_timestamp,
            });
        }
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.first_timestamp.get_or_insert(header.max_timestamp);
        self.size += header.size as u64;
        self.end = header.last_offset + 1;
    }

    /// Position and header of the first batch, from the one with `offset` on, that satisfies `wanted`.
    fn find(&self, from: usize, wanted: impl Fn(&Header) -> bool) -> io::Result<Option<(u64, Header)>> {
        let Some(mark) = self.index.get(from) else { return Ok(None) };
        let mut position = mark.position;
        while position < self.size {
            let header = self.header_at(position)?;
            if wanted(&header) {
                return Ok(Some((position, header)));
            }
            position += header.size as u64;
        }
        Ok(None)
    }

    fn header_at(&self, position: u64) -> io::Result<Header> {
        let header = match &self.storage {
            Storage::Memory(batches) => {
                let at = self.index.binary_search_by_key(&position, |mark| mark.position);
                at.ok().and_then(|at| Header::read(batches.get(at)?))
            }
            Storage::File { file, .. } => {
                let mut bytes = [0; HEADER];
                file.read_exact_at(&mut bytes, position)?;
                Header::read(&bytes)
            }
        };
        header.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no batch at position {position}")))
    }

    fn batch_with(&self, offset: Offset) -> io::Result<Option<(u64, Header)>> {
        if let Storage::File { tail, .. } = &self.storage
            && let Some(found) = tail.batch_with(offset)
        {
            return Ok(Some(found));
        }
        let from = self.index.partition_point(|mark| mark.offset <= offset).saturating_sub(1);
        self.find(from, |header| header.last_offset >= offset)
    }

    /// Where the batch that holds `offset` begins; the size if `offset` is the end.
    pub fn position_of(&self, offset: Offset) -> io::Result<u64> {
        Ok(self.batch_with(offset)?.map_or(self.size, |(position, _)| position))
    }

    /// Batches from the one that holds `offset`, ending before `limit`: at most `max_bytes`, unless `at_least_one` and
    /// the first alone is larger. A first batch that does not fit gives nothing (KIP-74); a later one may be cut, which
    /// every client must bear.
    pub fn read(&self, offset: Offset, limit: u64, max_bytes: usize, at_least_one: bool) -> io::Result<Slice> {
        let Some((position, first)) = self.batch_with(offset)? else { return Ok(Slice::EMPTY) };
        if position >= limit || (first.size > max_bytes && !at_least_one) {
            return Ok(Slice::EMPTY);
        }
        let length = max_bytes.max(first.size).min((limit - position) as usize);
        Ok(self.slice(position, length))
    }

    fn slice(&self, position: u64, length: usize) -> Slice {
        match &self.storage {
            Storage::File { file, tail, .. } => {
                let in_file = || Slice::File { file: file.clone(), position, length };
                tail.slice(position, length).unwrap_or_else(in_file)
            }
            Storage::Memory(batches) => {
                let first = self.index.partition_point(|mark| mark.position < position);
                let mut left = length;
                let fits = batches[first..].iter().take_while(|batch| take(&mut left, batch.len()));
                Slice::Memory(fits.cloned().collect())
            }
        }
    }

    /// The first batch, not before `from`, whose largest timestamp is at least `timestamp`.
    pub fn batch_at_time(&self, timestamp: i64, from: Offset) -> io::Result<Option<Slice>> {
        let mark = self.index.partition_point(|mark| mark.max_timestamp_before < timestamp).saturating_sub(1);
        let found = self.find(mark, |header| header.max_timestamp >= timestamp && header.last_offset >= from)?;
        Ok(found.map(|(position, header)| self.slice(position, header.size)))
    }

    /// Cuts the storage to what the index has taken note of.
    pub fn truncate_storage(&mut self) -> io::Result<()> {
        match &mut self.storage {
            Storage::Memory(batches) => batches.truncate(self.index.len()),
            Storage::File { file, tail, .. } => {
                *tail = Tail::default();
                file.set_len(self.size)?;
                file.sync_all()?;
            }
        }
        Ok(())
    }

    /// Forgets everything from `position` on. The caller scans what is left.
    pub fn cut(&mut self, position: u64) -> io::Result<()> {
        self.index.retain(|mark| mark.position < position);
        self.size = position;
        self.truncate_storage()?;
        (self.end, self.size, self.max_timestamp, self.first_timestamp) = (self.base, 0, i64::MIN, None);
        self.index.clear();
        Ok(())
    }

    /// What is stored, batch by batch, for a scan.
    pub fn stored(&self) -> Slice {
        match &self.storage {
            Storage::Memory(batches) => Slice::Memory(batches.clone()),
            Storage::File { file, .. } => {
                let length = file.metadata().map_or(0, |metadata| metadata.len());
                Slice::File { file: file.clone(), position: 0, length: length as usize }
            }
        }
    }

    /// All batches.
    pub fn batches(&self) -> io::Result<Vec<RecordBatch>> {
        batches(self.stored().read()?).collect::<Result<_, _>>().map_err(io::Error::other)
    }

    /// Puts other batches in place of its own. A file is written anew beside the old one, and takes its name when it is
    /// safe: whatever happens, one of them is whole. Readers that hold a slice still have the old one.
    pub fn rewrite(&mut self, directory: Option<&Path>, stored: Vec<Bytes>) -> io::Result<()> {
        if stored.is_empty() {
            return Ok(());
        }
        let path = match &self.storage {
            Storage::Memory(_) => None,
            Storage::File { path, .. } => Some(path.clone()),
        };
        let mut fresh = match &path {
            None => Segment::memory(self.base),
            Some(path) => {
                let beside = path.with_extension("log.cleaned");
                let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&beside)?;
                Segment::with(self.base, Storage::file(file, path.clone()))
            }
        };
        for batch in stored {
            let header = Header::read(&batch).filter(|header| header.size == batch.len());
            let header = header.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a record batch"))?;
            fresh.append(&header, batch)?;
        }
        if let (Some(path), Some(file)) = (&path, fresh.take_dirty()) {
            file.sync_all()?;
            std::fs::rename(path.with_extension("log.cleaned"), path)?;
            directory.map_or(Ok(()), |directory| File::open(directory)?.sync_all())?;
        }
        *self = fresh;
        Ok(())
    }

    /// Takes the file out of the directory; readers that hold a slice still have it.
    pub fn remove(self) -> io::Result<()> {
        match self.storage {
            Storage::Memory(_) => Ok(()),
            Storage::File { path, .. } => std::fs::remove_file(path),
        }
    }
}

impl Storage {
    fn file(file: File, path: PathBuf) -> Storage {
        Storage::File { file: Arc::new(file), path, tail: Tail::default() }
    }
}

/// As Kafka names its segments, so that its own tools can dump them.
fn file_name(base: Offset) -> String {
    format!("{base:020}.log")
}

/// The base offset that a segment's file name says; `None` for any other file.
pub fn base_of(path: &Path) -> Option<Offset> {
    let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
    (name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}
