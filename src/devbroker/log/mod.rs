//! The append-only log of one partition: segments in memory, or in files under `topics/<topic>-<partition>/`.
//!
//! What must stay true, and `check` asserts in tests: log start ≤ high watermark ≤ log end; segments lie back to back;
//! leader epochs and their start offsets grow together.
//!
//! The high watermark is what readers may see. It follows the end at once, but where every append must be synced first
//! ([`Fsync::Always`](super::Fsync)) it stays behind until it was.
//!
//! An append that fails leaves nothing behind: the file is cut back to the last good batch, and the log goes on.
//!
//! Absent: index files; the sparse index is rebuilt at start by the same scan that checks every CRC.

mod compaction;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::batch::RecordBatch;
use crate::protocol::types::{LeaderEpoch, Offset};

pub use compaction::Pass;
use compaction::Survey;
#[cfg(test)]
use recovery::Recovered;
pub use recovery::open;
use segment::Segment;
pub use segment::{Header, Slice};

#[derive(Debug)]
pub struct Log {
    /// `None`: in memory.
    directory: Option<PathBuf>,
    /// Never empty once something was appended; the last one is written to.
    segments: Vec<Segment>,
    start: Offset,
    high_watermark: Offset,
    /// The offset at which each leader epoch began to write.
    epochs: Vec<(LeaderEpoch, Offset)>,
    /// Up to where the last compaction went, in this life.
    cleaned_to: Offset,
}

/// When a log is worth compacting.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub min_compaction_lag_ms: i64,
    /// Of a thousand bytes, more than so many must be new.
    pub min_dirty_per_mille: u64,
}

/// How much a read may return.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    pub max_bytes: usize,
    /// Nothing from this offset on.
    pub before: Offset,
    /// Return the first batch even if it alone is larger (KIP-74).
    pub at_least_one: bool,
}

impl Log {
    pub fn in_memory() -> Log {
        Log::new(None)
    }

    /// An empty log whose segments will be files of `directory`, which must exist.
    pub fn in_directory(directory: PathBuf) -> Log {
        Log::new(Some(directory))
    }

    fn new(directory: Option<PathBuf>) -> Log {
        Log { directory, segments: Vec::new(), start: 0, high_watermark: 0, epochs: Vec::new(), cleaned_to: 0 }
    }

    pub fn start(&self) -> Offset {
        self.start
    }

    pub fn end(&self) -> Offset {
        self.segments.last().map_or(self.start, Segment::end).max(self.start)
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Bytes that are stored.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(Segment::size).sum()
    }

    /// Appends one batch whose header already says the offset [`Log::end`]. Nothing becomes visible: see
    /// [`Log::reveal`].
    pub fn append(&mut self, batch: Bytes, segment_bytes: u64) -> io::Result<()> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let header = Header::read(&batch).ok_or_else(|| invalid("not a record batch of format 2"))?;
        if header.base_offset != self.end() || header.size != batch.len() {
            return Err(invalid("the batch does not follow the end of the log"));
        }
        let full = |segment: &Segment| segment.size() > 0 && segment.size() + header.size as u64 > segment_bytes;
        if self.segments.last().is_none_or(full) {
            self.segments.push(self.fresh_segment(header.base_offset)?);
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.append(&header, batch)?;
        }
        self.note_epoch(&header);
        Ok(())
    }

    /// Begins a segment when the one that is written to has been open for long, by the time of its records (`segment.ms`).
    pub fn roll(&mut self, newest_ms: i64, segment_ms: i64) -> io::Result<()> {
        let first = self.segments.last().and_then(Segment::first_timestamp);
        if first.is_some_and(|first| newest_ms.saturating_sub(first) > segment_ms) {
            self.segments.push(self.fresh_segment(self.end())?);
        }
        Ok(())
    }

    fn fresh_segment(&self, base: Offset) -> io::Result<Segment> {
        match &self.directory {
            Some(directory) => Segment::create(directory, base),
            None => Ok(Segment::memory(base)),
        }
    }

    fn note_epoch(&mut self, header: &Header) {
        if self.epochs.last().is_none_or(|(epoch, _)| *epoch < header.leader_epoch) {
            self.epochs.push((header.leader_epoch, header.base_offset));
        }
    }

    /// Lets readers see what lies before `end`; says whether that is news.
    pub fn reveal(&mut self, end: Offset) -> bool {
        let grows = end.min(self.end()) > self.high_watermark;
        self.high_watermark = self.high_watermark.max(end.min(self.end()));
        grows
    }

    /// The files written to since the last call.
    pub fn take_dirty(&mut self) -> Vec<Arc<File>> {
        self.segments.iter_mut().filter_map(Segment::take_dirty).collect()
    }

    fn segment_with(&self, offset: Offset) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.base() <= offset);
        self.segments.get(after.checked_sub(1)?)
    }

    /// Visible batches from the one that holds `offset`; of one segment at a time, as Kafka reads.
    pub fn read(&self, offset: Offset, limit: ReadLimit) -> io::Result<Slice> {
        let before = limit.before.min(self.high_watermark);
        if offset >= before {
            return Ok(Slice::EMPTY);
        }
        let Some(segment) = self.segment_with(offset) else { return Ok(Slice::EMPTY) };
        let hidden = segment.end() > before;
        let end = if hidden { segment.position_of(before)? } else { segment.size() };
        segment.read(offset, end, limit.max_bytes, limit.at_least_one)
    }

    /// How many visible bytes lie from `offset` on; what a waiting fetch counts.
    pub fn readable_bytes(&self, offset: Offset) -> io::Result<u64> {
        if offset >= self.high_watermark {
            return Ok(0);
        }
        let from = |segment: &Segment| segment.position_of(offset).map(|position| segment.size() - position);
        let own = self.segment_with(offset).map_or(Ok(0), from)?;
        let later = self.segments.iter().filter(|segment| segment.base() > offset).map(Segment::size);
        Ok(own + later.sum::<u64>())
    }

    /// The first batch, holding `from` or later, that may hold a record of `timestamp` or later.
    pub fn batch_at_time(&self, timestamp: i64, from: Offset) -> io::Result<Option<Slice>> {
        let from = from.max(self.start);
        let late =
            |segment: &&Segment| segment.end() > from && segment.max_timestamp().is_some_and(|max| max >= timestamp);
        for segment in self.segments.iter().filter(late) {
            if let Some(slice) = segment.batch_at_time(timestamp, from)? {
                return Ok(Some(slice));
            }
        }
        Ok(None)
    }

    /// The largest timestamp of the log; `None` when it is empty.
    pub fn max_timestamp(&self) -> Option<i64> {
        self.segments.iter().filter_map(Segment::max_timestamp).max()
    }

    /// The largest leader epoch not above `epoch` that wrote here, and where it ended (KIP-101, KIP-279). For the
    /// epoch that leads now, that is the end of the log.
    pub fn epoch_end(&self, epoch: LeaderEpoch, current: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        if epoch == current {
            return Some((epoch, self.end()));
        }
        if epoch > current {
            return None;
        }
        let after = self.epochs.partition_point(|(known, _)| *known <= epoch);
        // The present epoch begins at the end of the log until it has written something.
        let end = self.epochs.get(after).map_or(self.end(), |next| next.1);
        // Before everything that is known, an epoch ended, at the latest, where the log begins.
        let known = after.checked_sub(1).and_then(|at| self.epochs.get(at)).map_or(epoch, |known| known.0);
        Some((known, end))
    }

    /// The leader epoch that wrote what lies at `offset`.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.epochs.partition_point(|(_, start)| *start <= offset);
        Some(self.epochs.get(after.checked_sub(1)?)?.0)
    }

    /// Moves the start (DeleteRecords, retention) and removes the segments that lie wholly before it.
    pub fn move_start(&mut self, start: Offset) -> io::Result<()> {
        self.start = start.clamp(self.start, self.high_watermark);
        let keep = self.segments.partition_point(|segment| segment.end() <= self.start && segment.end() < self.end());
        for segment in self.segments.drain(..keep).collect::<Vec<_>>() {
            segment.remove()?;
        }
        let known = self.epochs.partition_point(|(_, start)| *start <= self.start).saturating_sub(1);
        self.epochs.drain(..known);
        if let Some(first) = self.epochs.first_mut() {
            first.1 = first.1.max(self.start);
        }
        Ok(())
    }

    /// Where the start should move to by `retention.bytes` and `retention.ms`: whole segments, never the last.
    pub fn expired(&self, keep_bytes: Option<u64>, keep_since_ms: Option<i64>) -> Offset {
        let (mut start, mut size) = (self.start, self.size());
        for (segment, next) in self.segments.iter().zip(self.segments.iter().skip(1)) {
            let large = keep_bytes.is_some_and(|keep| size - segment.size() >= keep);
            let old = keep_since_ms.is_some_and(|since| segment.max_timestamp().is_some_and(|max| max < since));
            if !(large || old) || next.base() > self.high_watermark {
                break;
            }
            size -= segment.size();
            start = next.base();
        }
        start.max(self.start)
    }

    /// Compacts what lies below the segment that is written to, and before `undecided`, if enough of it is new; says how many
    /// bytes that has freed.
    pub fn compact(&mut self, rules: &Rules, undecided: Offset, pass: &Pass<'_>) -> io::Result<u64> {
        let cleanable = self.cleanable(rules, undecided, pass.now_ms);
        let size = |segments: &[Segment]| segments.iter().map(Segment::size).sum::<u64>();
        let (all, new) = (&self.segments[..cleanable], self.segments.partition_point(|it| it.base() < self.cleaned_to));
        let dirty = size(all.get(new..).unwrap_or_default());
        if dirty == 0 || dirty.saturating_mul(1000) <= size(all).saturating_mul(rules.min_dirty_per_mille) {
            return Ok(0);
        }
        let mut survey = Survey::default();
        for segment in all {
            let looked = segment.batches()?.iter().try_for_each(|batch| survey.look(batch, pass));
            looked.map_err(io::Error::other)?;
        }
        let before = size(all);
        for segment in &mut self.segments[..cleanable] {
            let batches = segment.batches()?;
            let stored = compaction::cleaned(&batches, &survey, pass).map_err(io::Error::other)?;
            if !batches.iter().map(RecordBatch::bytes).eq(&stored) {
                segment.rewrite(self.directory.as_deref(), stored)?;
            }
        }
        let all = &self.segments[..cleanable];
        self.cleaned_to = all.last().map_or(self.cleaned_to, Segment::end);
        Ok(before.saturating_sub(size(all)))
    }

    /// How many segments may be compacted.
    fn cleanable(&self, rules: &Rules, undecided: Offset, now_ms: i64) -> usize {
        let old = |segment: &Segment| {
            let settled = now_ms.saturating_sub(rules.min_compaction_lag_ms);
            rules.min_compaction_lag_ms == 0 || segment.max_timestamp().is_none_or(|newest| newest <= settled)
        };
        let bound = undecided.min(self.high_watermark);
        let below = self.segments.split_last().map_or(&[][..], |(_, below)| below);
        below.iter().take_while(|segment| segment.end() <= bound && old(segment)).count()
    }

    /// Cuts off what readers never saw: it could not be synced, so it must not be taken for written. What they saw stays,
    /// as it was acknowledged.
    pub fn cut_unseen(&mut self) -> io::Result<()> {
        if self.high_watermark >= self.end() {
            return Ok(());
        }
        while self.segments.last().is_some_and(|segment| segment.base() >= self.high_watermark) {
            if let Some(segment) = self.segments.pop() {
                segment.remove()?;
            }
        }
        if let Some(segment) = self.segments.last_mut() {
            let position = segment.position_of(self.high_watermark)?;
            segment.cut(position)?;
            recovery::scan(segment, |_, _| ())?;
        }
        self.epochs.retain(|(_, start)| *start < self.high_watermark);
        Ok(())
    }

    /// Removes the files; those who still read a slice keep it.
    pub fn remove(self) -> io::Result<()> {
        match self.directory {
            Some(directory) => std::fs::remove_dir_all(directory),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub fn check(&self) {
        assert!(self.start <= self.high_watermark);
        assert!(self.high_watermark <= self.end());
        assert!(self.segments.windows(2).all(|pair| pair[0].end() == pair[1].base()));
        assert!(self.epochs.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
    }
}
