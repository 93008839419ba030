//! What the registry's scripts do, in Rust: what nodes are simulated with, and what Redis is held against.

use std::collections::BTreeMap;

use super::{Beat, MemberId, Roll, Term};

#[derive(Debug, Clone, Copy)]
struct Line {
    beat: u64,
    acked: u64,
    is_member: bool,
}

/// A registry.
#[derive(Debug, Clone, Default)]
pub struct Model {
    term: Option<Term>,
    epoch: u64,
    changed: u64,
    lease_ms: i64,
    lines: BTreeMap<MemberId, Line>,
}

impl Model {
    pub fn beat(&mut self, beat: &Beat) -> Roll {
        if self.term.is_none() || self.has_forgotten(beat) {
            let epoch = self.epoch.max(beat.floor) + 1;
            let (term, lines) = (Some(beat.fresh), BTreeMap::new());
            *self = Self { term, epoch, changed: epoch, lease_ms: beat.lease_ms, lines };
        }
        let mut moves = self.take_away(beat);
        let is_refused = self.lease_ms != beat.lease_ms && !self.lines.is_empty();
        if !is_refused {
            self.lease_ms = beat.lease_ms;
            moves.extend(self.renew(beat));
        }
        if !moves.is_empty() {
            self.raise(moves.contains(&true));
        }
        if !is_refused {
            self.add(beat);
        }
        self.roll()
    }

    pub fn leave(&mut self, id: &MemberId) {
        if let Some(line) = self.lines.remove(id) {
            self.raise(line.is_member);
        }
    }

    fn raise(&mut self, has_changed: bool) {
        self.epoch += 1;
        if has_changed {
            self.changed = self.epoch;
        }
    }

    /// Whether a node knows more of this term than the registry does.
    fn has_forgotten(&self, beat: &Beat) -> bool {
        let line = match self.lines.get(&beat.id) {
            Some(known) => known.beat < beat.confirmed,
            None => beat.confirmed > 0 && self.epoch <= beat.epoch,
        };
        beat.term == self.term && (line || self.epoch < beat.epoch)
    }

    /// Of each line that goes, whether it is a member's.
    fn take_away(&mut self, beat: &Beat) -> Vec<bool> {
        let is_gone = |(id, seen): &&(MemberId, Option<u64>)| {
            self.lines.get(id).is_some_and(|line| seen.is_none_or(|seen| seen == line.beat))
        };
        let gone: Vec<_> = beat.gone.iter().filter(is_gone).collect();
        gone.into_iter().filter_map(|(id, _)| Some(self.lines.remove(id)?.is_member)).collect()
    }

    /// `Some(true)` where a member comes or goes by that.
    fn renew(&mut self, beat: &Beat) -> Option<bool> {
        let line = self.lines.get_mut(&beat.id).filter(|line| beat.beat > line.beat)?;
        let moves = line.is_member != beat.is_member;
        // Who has not heard anything yet keeps to nothing new.
        let acked = if beat.confirmed == 0 { line.acked } else { beat.epoch };
        *line = Line { beat: beat.beat, acked, is_member: beat.is_member };
        moves.then_some(true)
    }

    fn add(&mut self, beat: &Beat) {
        if beat.confirmed == 0 && !self.lines.contains_key(&beat.id) {
            self.lines.insert(beat.id.clone(), Line { beat: beat.beat, acked: self.epoch, is_member: false });
        }
    }

    pub fn roll(&self) -> Roll {
        let said = |(id, line): (&MemberId, &Line)| super::Line {
            id: id.clone(),
            beat: line.beat,
            acked: line.acked,
            is_member: line.is_member,
        };
        Roll {
            term: self.term.unwrap_or_default(),
            epoch: self.epoch,
            changed: self.changed,
            lease_ms: self.lease_ms,
            lines: self.lines.iter().map(said).collect(),
        }
    }
}
