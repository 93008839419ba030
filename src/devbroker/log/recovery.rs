//! What a start finds on disk: every batch of every segment is read once, its CRC checked, the index rebuilt, and the log
//! cut at the first batch that is torn, damaged or out of line.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Log;
use super::segment::{HEADER, Header, Segment, Slice, base_of};
use crate::protocol::types::Offset;

/// How much of a file is in memory at once while it is scanned; a batch larger than this is read whole.
const WINDOW: usize = 4 << 20;
/// Batches start their CRC after the CRC field itself.
const CRC: usize = 17;
const CHECKED: usize = 21;

/// What opening a partition's directory found.
#[derive(Debug)]
pub struct Recovered {
    pub log: Log,
    /// Bytes cut off because they were torn or damaged.
    pub cut_bytes: u64,
    /// Segments that lay behind the cut; they were renamed to end in `.stray`, never deleted.
    pub strays: Vec<PathBuf>,
}

/// Opens a partition's directory. `visit` sees every batch that is kept, oldest first.
pub fn open(directory: PathBuf, start: Offset, mut visit: impl FnMut(&Header, &Bytes)) -> io::Result<Recovered> {
    let mut files = segment_files(&directory)?;
    files.sort();
    let mut found = Recovered { log: Log::in_directory(directory), cut_bytes: 0, strays: Vec::new() };
    let mut expected = None;
    for (base, path) in files {
        if expected.is_some_and(|expected| expected != base) || found.cut_bytes > 0 {
            let stray = path.with_extension("log.stray");
            std::fs::rename(&path, &stray)?;
            found.strays.push(stray);
            continue;
        }
        let mut segment = Segment::existing(path, base)?;
        let log = &mut found.log;
        found.cut_bytes += scan(&mut segment, |header, batch| {
            log.note_epoch(header);
            visit(header, batch);
        })?;
        expected = Some(segment.end());
        found.log.segments.push(segment);
    }
    found.log.resume(start);
    Ok(found)
}

impl Log {
    /// All that is on disk was kept, so all of it is visible.
    fn resume(&mut self, start: Offset) {
        let first = self.segments.first().map_or(start, Segment::base);
        self.start = start.max(first).min(self.segments.last().map_or(start, Segment::end));
        self.high_watermark = self.end();
    }
}

fn segment_files(directory: &Path) -> io::Result<Vec<(Offset, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        files.extend(base_of(&path).map(|base| (base, path)));
    }
    Ok(files)
}

/// Reads what a segment stores, notes every good batch in its index and cuts the rest; says how many bytes were cut.
pub fn scan(segment: &mut Segment, mut visit: impl FnMut(&Header, &Bytes)) -> io::Result<u64> {
    let mut batches = Window::new(segment.stored());
    let mut expected = segment.base();
    while let Some((header, batch)) = batches.next(expected)? {
        segment.note(&header);
        visit(&header, &batch);
        expected = header.last_offset + 1;
    }
    let cut = batches.total.saturating_sub(segment.size());
    if cut > 0 {
        segment.truncate_storage()?;
    }
    Ok(cut)
}

/// Batches of a stored slice, read a window at a time.
struct Window {
    stored: Slice,
    total: u64,
    /// Where in the slice `bytes` ends.
    read: u64,
    bytes: Bytes,
}

impl Window {
    fn new(stored: Slice) -> Window {
        let total = stored.len() as u64;
        Window { stored, total, read: 0, bytes: Bytes::new() }
    }

    /// The next batch, if it is whole, sound, and begins at `expected`.
    fn next(&mut self, expected: Offset) -> io::Result<Option<(Header, Bytes)>> {
        if !self.hold(HEADER)? {
            return Ok(None);
        }
        let Some(header) = Header::read(&self.bytes) else { return Ok(None) };
        if header.base_offset != expected || !self.hold(header.size)? {
            return Ok(None);
        }
        let batch = self.bytes.split_to(header.size);
        Ok(crc_holds(&batch).then_some((header, batch)))
    }

    /// Makes `bytes` at least `wanted` long, if so much is left.
    fn hold(&mut self, wanted: usize) -> io::Result<bool> {
        let left = self.total - self.read + self.bytes.len() as u64;
        if (wanted as u64) > left {
            return Ok(false);
        }
        if self.bytes.len() < wanted {
            let start = self.read - self.bytes.len() as u64;
            let length = left.min(wanted.max(WINDOW) as u64);
            self.bytes = self.stored.part(start, length as usize)?;
            self.read = start + length;
        }
        Ok(true)
    }
}

fn crc_holds(batch: &Bytes) -> bool {
    let stored = batch.get(CRC..CHECKED).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    stored == batch.get(CHECKED..).map(crc32c::crc32c)
}
