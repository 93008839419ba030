//! Completions in any order → the offset that is safe to commit. Pure, and the only place that decides it.
//!
//! Records leave the fetcher in runs: all that one delivery covers of its partition, from the offset after the last run
//! up to its own end. Runs are delivered in order and finished in any. What may be committed is the first offset below
//! which everything is finished: the start of the first unfinished run or, when its records finish one by one, the first
//! unfinished record in it. So the mark never passes a gap and never what was delivered.
//!
//! Offsets that hold no record for the application (compacted away, control records, aborted transactions) belong to the
//! run around them and need no finishing of their own.

use std::collections::VecDeque;

use crate::protocol::types::{LeaderEpoch, Offset};

/// Names a run of its [`Progress`]; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(u64);

/// Where to go on from, and the epoch of the leader that wrote what lies before it (KIP-320).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
}

/// How far one partition is delivered and finished.
#[derive(Debug)]
pub struct Progress {
    /// Everything below is finished.
    finished: Mark,
    /// The end of what was delivered.
    delivered: Offset,
    /// Delivered and not below the mark yet, in order; the first is never finished. Of neighbours that are, only the last
    /// is kept, so that there are never many more than are held: however much comes after one that is stuck.
    runs: VecDeque<Run>,
    /// The id of the next run.
    next: u64,
    /// Runs that somebody still holds.
    outstanding: usize,
}

#[derive(Debug)]
struct Run {
    id: RunId,
    end: Mark,
    state: State,
}

impl Run {
    /// Whether somebody may still finish it.
    fn is_held(&self) -> bool {
        matches!(self.state, State::Open | State::Marked(_))
    }

    /// What is left of it when the log is cut within it.
    fn before(mut self, end: Offset) -> Self {
        self.end.offset = end;
        let is_finished = match &mut self.state {
            State::Open | State::Finished | State::Abandoned(None) => false,
            State::Abandoned(Some(reached)) => *reached >= end,
            State::Marked(marks) => {
                marks.cut(end);
                marks.left == 0
            }
        };
        if is_finished {
            self.state = State::Finished;
        }
        self
    }
}

#[derive(Debug)]
enum State {
    /// Nothing of it is finished yet.
    Open,
    /// Some of its records are.
    Marked(Box<Marks>),
    Finished,
    /// Dropped by its holder without being finished; the mark stays before what is left of it.
    Abandoned(Option<Offset>),
}

/// The records of one run, and which of them are finished.
#[derive(Debug)]
struct Marks {
    offsets: Offsets,
    done: Vec<u64>,
    left: usize,
    /// All records before this one are finished.
    lowest: usize,
}

/// The offsets of a run's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offsets {
    /// `count` offsets without a gap.
    Dense { first: Offset, count: usize },
    /// Sorted.
    Sparse(Vec<Offset>),
}

impl Offsets {
    fn len(&self) -> usize {
        match self {
            Self::Dense { count, .. } => *count,
            Self::Sparse(offsets) => offsets.len(),
        }
    }

    fn index(&self, offset: Offset) -> Option<usize> {
        match self {
            Self::Dense { first, count } => {
                usize::try_from(offset.checked_sub(*first)?).ok().filter(|index| index < count)
            }
            Self::Sparse(offsets) => offsets.binary_search(&offset).ok(),
        }
    }

    /// Those below `end` stay.
    fn truncate(&mut self, end: Offset) {
        match self {
            Self::Dense { first, count } => *count = (*count).min(usize::try_from(end - *first).unwrap_or(0)),
            Self::Sparse(offsets) => offsets.truncate(offsets.partition_point(|offset| *offset < end)),
        }
    }

    fn offset(&self, index: usize) -> Option<Offset> {
        match self {
            Self::Dense { first, count } => (index < *count).then(|| first + index as Offset),
            Self::Sparse(offsets) => offsets.get(index).copied(),
        }
    }
}

impl Marks {
    fn new(offsets: Offsets) -> Self {
        let left = offsets.len();
        Self { done: vec![0; left.div_ceil(64)], offsets, left, lowest: 0 }
    }

    fn finish(&mut self, offset: Offset) {
        let Some(index) = self.offsets.index(offset) else { return };
        let (word, bit) = (index / 64, 1 << (index % 64));
        if self.done[word] & bit != 0 {
            return;
        }
        self.done[word] |= bit;
        self.left -= 1;
        while self.lowest < self.offsets.len() && self.is_done(self.lowest) {
            self.lowest += 1;
        }
    }

    fn is_done(&self, index: usize) -> bool {
        self.done[index / 64] & (1 << (index % 64)) != 0
    }

    /// Only the records below `end` are there still.
    fn cut(&mut self, end: Offset) {
        self.offsets.truncate(end);
        let all = self.offsets.len();
        (self.left, self.lowest) = ((0..all).filter(|index| !self.is_done(*index)).count(), self.lowest.min(all));
    }

    /// The first unfinished record, once at least one before it is finished.
    fn reached(&self) -> Option<Offset> {
        if self.lowest == 0 { None } else { self.offsets.offset(self.lowest) }
    }
}

impl Progress {
    pub fn new(start: Mark) -> Self {
        Self { finished: start, delivered: start.offset, runs: VecDeque::new(), next: 0, outstanding: 0 }
    }

    /// A run from `start` to `end` goes to the application. A start beyond the last run's end is a jump over offsets that
    /// nobody will get (the broker has deleted them, or a broken batch was skipped on purpose). A start before it is a
    /// log that was cut: what was delivered from there on counts for nothing any more, and comes again; what was delivered
    /// before it is to be finished as ever.
    pub fn deliver(&mut self, start: Offset, end: Mark) -> RunId {
        self.join(start);
        self.outstanding += 1;
        self.push(end, State::Open)
    }

    /// As [`Progress::deliver`], for a run without records: nobody has to finish it.
    pub fn skip(&mut self, start: Offset, end: Mark) {
        self.join(start);
        self.pass(end);
    }

    /// What lies before `end` and was not delivered is nobody's to finish.
    fn pass(&mut self, end: Mark) {
        if self.runs.is_empty() {
            (self.finished, self.delivered) = (end, end.offset);
        } else {
            self.push(end, State::Finished);
        }
    }

    fn join(&mut self, start: Offset) {
        if start < self.delivered {
            self.cut(start);
        } else if start > self.delivered {
            // The epoch is that of the last record before the jump: nothing is known of what was jumped over.
            let leader_epoch = self.runs.back().map_or(self.finished.leader_epoch, |run| run.end.leader_epoch);
            self.pass(Mark { offset: start, leader_epoch });
        }
    }

    fn cut(&mut self, end: Offset) {
        while let Some(last) = self.runs.pop_back_if(|run| run.end.offset > end) {
            let start = self.runs.back().map_or(self.finished.offset, |run| run.end.offset);
            self.outstanding -= usize::from(last.is_held());
            if start < end {
                let run = last.before(end);
                self.outstanding += usize::from(run.is_held());
                self.runs.push_back(run);
            }
        }
        self.finished.offset = self.finished.offset.min(end);
        self.delivered = end;
        if let Some(last) = self.runs.len().checked_sub(1) {
            self.merge(last);
        }
        self.settle();
    }

    fn push(&mut self, end: Mark, state: State) -> RunId {
        let id = RunId(self.next);
        self.next += 1;
        self.delivered = end.offset;
        self.runs.push_back(Run { id, end, state });
        self.merge(self.runs.len() - 1);
        id
    }

    /// Finished neighbours of the run at this index, itself included, become one: the last of them says it all.
    fn merge(&mut self, index: usize) {
        let is_finished = |run: Option<&Run>| run.is_some_and(|run| matches!(run.state, State::Finished));
        if !is_finished(self.runs.get(index)) {
            return;
        }
        if is_finished(self.runs.get(index + 1)) {
            self.runs.remove(index);
        }
        if index > 0 && is_finished(self.runs.get(index - 1)) {
            self.runs.remove(index - 1);
        }
    }

    /// Everything in the run is finished.
    pub fn finish(&mut self, id: RunId) {
        self.close(id, |_| State::Finished);
    }

    /// One record of the run is finished. `offsets` is asked once a run, at its first record. True when that was the
    /// last one, and with it the run.
    pub fn finish_record(&mut self, id: RunId, offset: Offset, offsets: impl FnOnce() -> Offsets) -> bool {
        let Some(run) = self.index(id).and_then(|index| self.runs.get_mut(index)) else { return false };
        if matches!(run.state, State::Open) {
            let mut offsets = offsets();
            offsets.truncate(run.end.offset);
            run.state = State::Marked(Box::new(Marks::new(offsets)));
        }
        let State::Marked(marks) = &mut run.state else { return false };
        marks.finish(offset);
        let all = marks.left == 0;
        if all {
            self.finish(id);
        }
        all
    }

    /// The run's holder is gone; what it had not finished never will be.
    pub fn abandon(&mut self, id: RunId) {
        self.close(id, |state| match state {
            State::Marked(marks) => State::Abandoned(marks.reached()),
            _ => State::Abandoned(None),
        });
    }

    fn close(&mut self, id: RunId, into: impl FnOnce(&State) -> State) {
        let Some(index) = self.index(id) else { return };
        let run = &mut self.runs[index];
        if run.is_held() {
            run.state = into(&run.state);
            self.outstanding -= 1;
            self.merge(index);
            self.settle();
        }
    }

    fn index(&self, id: RunId) -> Option<usize> {
        self.runs.binary_search_by_key(&id, |run| run.id).ok()
    }

    fn settle(&mut self) {
        while let Some(run) = self.runs.pop_front_if(|run| matches!(run.state, State::Finished)) {
            self.finished = run.end;
        }
        if self.runs.is_empty() {
            // Nothing is kept where nothing is under way: most of very many partitions are quiet.
            self.runs = VecDeque::new();
        }
    }

    /// Runs that somebody holds and may still finish. At zero, waiting longer moves nothing.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The end of what was delivered.
    pub fn delivered(&self) -> Offset {
        self.delivered
    }

    /// What is safe to commit.
    pub fn mark(&self) -> Mark {
        let reached = self.runs.front().and_then(|run| {
            let offset = match &run.state {
                State::Marked(marks) => marks.reached(),
                State::Abandoned(reached) => *reached,
                State::Open | State::Finished => None,
            };
            offset.map(|offset| Mark { offset, leader_epoch: run.end.leader_epoch })
        });
        reached.unwrap_or(self.finished)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn mark(offset: Offset) -> Mark {
        Mark { offset, leader_epoch: Some(3) }
    }

    fn dense(first: Offset, count: usize) -> impl FnOnce() -> Offsets {
        move || Offsets::Dense { first, count }
    }

    /// A new partition at 100 and three runs: 100..110, 110..120, 120..130.
    fn three() -> (Progress, [RunId; 3]) {
        let mut progress = Progress::new(mark(100));
        let runs = [100, 110, 120].map(|start| progress.deliver(start, mark(start + 10)));
        (progress, runs)
    }

    #[test]
    fn the_mark_waits_for_the_lowest_run() {
        let check = |order: &[usize], marks: &[Offset]| {
            let (mut progress, runs) = three();
            let seen: Vec<Offset> = order
                .iter()
                .map(|run| {
                    progress.finish(runs[*run]);
                    progress.mark().offset
                })
                .collect();
            assert_eq!(seen, marks, "finished in the order {order:?}");
        };
        check(&[0, 1, 2], &[110, 120, 130]);
        check(&[2, 1, 0], &[100, 100, 130]);
        check(&[1, 0, 2], &[100, 120, 130]);
        check(&[0, 2, 0, 2], &[110, 110, 110, 110]);
    }

    #[test]
    fn records_finish_one_by_one() {
        let (mut progress, runs) = three();
        for (offset, mark) in [(101, 100), (100, 102), (102, 103), (102, 103), (109, 103), (999, 103)] {
            assert!(!progress.finish_record(runs[0], offset, dense(100, 10)));
            assert_eq!(progress.mark().offset, mark, "after {offset}");
        }
        for offset in 103..108 {
            assert!(!progress.finish_record(runs[0], offset, dense(100, 10)));
        }
        assert!(progress.finish_record(runs[0], 108, dense(100, 10)), "the last one finishes the run");
        assert_eq!((progress.mark().offset, progress.outstanding()), (110, 2));
    }

    #[test]
    fn a_run_with_holes_ends_where_its_last_batch_ended() {
        let mut progress = Progress::new(mark(0));
        let run = progress.deliver(0, mark(50));
        let offsets = || Offsets::Sparse(vec![7, 30, 31]);
        for (offset, mark) in [(30, 0), (7, 31), (31, 50)] {
            progress.finish_record(run, offset, offsets);
            assert_eq!(progress.mark().offset, mark, "after {offset}");
        }
    }

    #[test]
    fn what_is_dropped_holds_the_mark_and_nobody_up() {
        let (mut progress, runs) = three();
        progress.finish_record(runs[0], 100, dense(100, 10));
        progress.abandon(runs[0]);
        progress.finish(runs[1]);
        progress.finish(runs[2]);
        progress.finish(runs[0]);
        assert_eq!((progress.mark().offset, progress.outstanding()), (101, 0));
    }

    #[test]
    fn runs_without_records_and_jumps_need_no_finishing() {
        let mut progress = Progress::new(mark(0));
        progress.skip(0, mark(5));
        assert_eq!(progress.mark().offset, 5);
        let run = progress.deliver(5, mark(10));
        progress.skip(10, mark(12));
        let jumped = progress.deliver(40, mark(50));
        assert_eq!(progress.mark().offset, 5, "the jump waits for what came before it");
        progress.finish(run);
        assert_eq!(progress.mark().offset, 40);
        progress.finish(jumped);
        assert_eq!(progress.mark(), mark(50));
    }

    #[test]
    fn one_that_is_stuck_does_not_have_all_after_it_remembered() {
        let mut progress = Progress::new(mark(0));
        let stuck = progress.deliver(0, mark(10));
        for offset in (10..1000).step_by(30) {
            let (early, late) =
                (progress.deliver(offset, mark(offset + 10)), progress.deliver(offset + 10, mark(offset + 20)));
            progress.skip(offset + 20, mark(offset + 30));
            progress.finish(late);
            progress.finish(early);
            assert_eq!((progress.runs.len(), progress.mark().offset), (2, 0), "at {offset}");
        }
        progress.finish(stuck);
        assert_eq!((progress.runs.len(), progress.mark()), (0, mark(1000)));
    }

    #[test]
    fn a_log_that_was_cut_takes_the_mark_back() {
        let (mut progress, runs) = three();
        progress.finish(runs[0]);
        let again = progress.deliver(105, mark(115));
        assert_eq!((progress.mark().offset, progress.outstanding()), (105, 1));
        progress.finish(runs[1]);
        assert_eq!(progress.mark().offset, 105, "the old runs count for nothing");
        progress.finish(again);
        assert_eq!(progress.mark().offset, 115);
    }

    #[test]
    fn what_lies_before_a_cut_is_to_be_finished_as_ever() {
        let (mut progress, runs) = three();
        progress.finish_record(runs[1], 110, dense(110, 10));
        let again = progress.deliver(115, mark(130));
        progress.finish(again);
        assert_eq!((progress.mark().offset, progress.outstanding()), (100, 2));
        progress.finish(runs[2]);
        progress.finish(runs[0]);
        assert_eq!((progress.mark().offset, progress.outstanding()), (111, 1));
        let last = (111..115).map(|offset| progress.finish_record(runs[1], offset, dense(110, 10))).last();
        assert_eq!((last, progress.mark().offset, progress.outstanding()), (Some(true), 130, 0));
    }

    #[test]
    fn the_epoch_is_that_of_what_lies_before_the_mark() {
        let mut progress = Progress::new(Mark { offset: 0, leader_epoch: None });
        let old = progress.deliver(0, Mark { offset: 10, leader_epoch: Some(4) });
        let new = progress.deliver(10, Mark { offset: 20, leader_epoch: Some(5) });
        progress.finish(old);
        assert_eq!(progress.mark().leader_epoch, Some(4));
        progress.finish_record(new, 10, dense(10, 10));
        assert_eq!(progress.mark(), Mark { offset: 11, leader_epoch: Some(5) });
    }

    #[derive(Debug, Clone)]
    enum Step {
        Deliver {
            gap: i64,
            count: usize,
            records: bool,
        },
        /// What comes next begins so many offsets before the end of what came.
        Cut(i64),
        Finish(usize),
        FinishRecord(usize, usize),
        Abandon(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..3i64, 1..9usize, any::<bool>()).prop_map(|(gap, count, records)| Step::Deliver { gap, count, records }),
            3 => (0..8usize).prop_map(Step::Finish),
            6 => (0..8usize, 0..9usize).prop_map(|(run, record)| Step::FinishRecord(run, record)),
            1 => (0..8usize).prop_map(Step::Abandon),
            1 => (1..20i64).prop_map(Step::Cut),
        ];
        proptest::collection::vec(step, 0..120)
    }

    proptest! {
        /// Against the plainest model there is: a set of unfinished offsets.
        #[test]
        fn the_mark_is_the_lowest_unfinished_record(steps in steps()) {
            let mut progress = Progress::new(mark(0));
            let mut runs: Vec<Delivered> = Vec::new();
            let (mut unfinished, mut end, mut last) = (BTreeSet::new(), 0, 0);
            for step in steps {
                match step {
                    Step::Deliver { gap, count, records } => {
                        let first = end + gap;
                        end = first + count as Offset;
                        if records {
                            let id = progress.deliver(first, mark(end));
                            runs.push(Delivered { id, first, count, end, held: true, marked: false });
                            unfinished.extend(first..end);
                        } else {
                            progress.skip(first, mark(end));
                        }
                    }
                    Step::Cut(back) => {
                        end = (end - back).max(0);
                        last = last.min(end);
                        progress.skip(end, mark(end));
                        unfinished.retain(|offset| *offset < end);
                        for run in &mut runs {
                            run.end = run.end.min(end);
                            let is_done = || run.marked && unfinished.range(run.first..run.end).next().is_none();
                            run.held = run.held && run.first < run.end && !is_done();
                        }
                    }
                    Step::Finish(run) => if let Some(run) = pick(&mut runs, run) {
                        progress.finish(run.id);
                        if run.held {
                            (run.first..run.end).for_each(|offset| { unfinished.remove(&offset); });
                        }
                        run.held = false;
                    },
                    Step::FinishRecord(run, record) => if let Some(run) = pick(&mut runs, run) {
                        let offset = run.first + (record % run.count) as Offset;
                        let all = progress.finish_record(run.id, offset, dense(run.first, run.count));
                        run.marked = true;
                        if run.held && offset < run.end {
                            unfinished.remove(&offset);
                        }
                        run.held &= !all;
                    },
                    Step::Abandon(run) => if let Some(run) = pick(&mut runs, run) {
                        progress.abandon(run.id);
                        run.held = false;
                    },
                }
                let lowest = unfinished.first().copied().unwrap_or(end);
                let safe = progress.mark().offset;
                prop_assert!(safe <= lowest, "{safe} passes {lowest}");
                prop_assert!((safe..lowest).all(|offset| !unfinished.contains(&offset)));
                prop_assert!(safe >= last, "the mark went back from {last} to {safe}");
                prop_assert!(progress.runs.len() <= 2 * runs.len() + 1);
                prop_assert_eq!(progress.outstanding(), runs.iter().filter(|run| run.held).count());
                if unfinished.is_empty() {
                    prop_assert_eq!(safe, end);
                }
                last = safe;
            }
        }
    }

    /// What was delivered, of which a cut log has only what is below `end`.
    struct Delivered {
        id: RunId,
        first: Offset,
        count: usize,
        end: Offset,
        held: bool,
        marked: bool,
    }

    fn pick(runs: &mut [Delivered], index: usize) -> Option<&mut Delivered> {
        let count = runs.len();
        runs.get_mut(index % count.max(1))
    }
}
