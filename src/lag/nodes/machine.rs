//! One node: beats in, rolls out, and what follows from them. Pure; the clock and the random numbers are arguments.

use std::collections::HashMap;
use std::sync::Arc;

use super::hold::{Hold, Standing};
use super::{Beat, Line, MemberId, Moment, Roll, Term, Timing, View};

/// The other nodes were given another lease: whoever kept to a shorter one would take lines away that still hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other nodes have a lease of {} ms, and this one has not: give all of them the same", .0)]
pub struct OtherLease(pub i64);

/// When a line of another node was last seen to be another one.
#[derive(Debug, Clone, Copy)]
struct Seen {
    beat: u64,
    since_ms: i64,
    is_member: bool,
}

/// A node's side of the registry.
#[derive(Debug)]
pub struct Node {
    timing: Timing,
    me: MemberId,
    /// Lives of its own that are over, and may still have a line.
    past: Vec<MemberId>,
    /// Whether this life is over too.
    is_spent: bool,
    beats: u64,
    confirmed: u64,
    /// What the registry says that this node keeps to.
    acked: u64,
    term: Option<Term>,
    /// Since when this life is known to have a line.
    line_since_ms: Option<i64>,
    others: HashMap<MemberId, Seen>,
    /// After how long without a beat a line of theirs is taken away: by the longer lease, theirs or this node's.
    dead_ms: i64,
    /// The last epoch that it has seen in this life, and that it keeps to.
    epoch: Option<u64>,
    view: Option<Arc<View>>,
    /// The same with this node in it.
    reads: Option<Arc<View>>,
    /// Since which epoch the members are those of the view.
    changed: u64,
    is_in: bool,
    until: Option<Moment>,
    /// The last change that all nodes were seen to keep to.
    settled: Option<u64>,
    /// Since when what is going on now goes on.
    changing_since_ms: Option<i64>,
    /// Since when nobody tells what this node told, as far as it knows.
    silent_since_ms: Option<i64>,
    standing: Standing,
}

impl Node {
    /// `life` is a number that no other life of a node has.
    pub fn new(name: &str, lease_ms: i64, life: u64) -> Self {
        let timing = Timing { lease_ms };
        Self {
            timing,
            dead_ms: timing.dead_ms(),
            me: MemberId { name: Arc::from(name), life },
            past: Vec::new(),
            is_spent: false,
            beats: 0,
            confirmed: 0,
            acked: 0,
            term: None,
            line_since_ms: None,
            others: HashMap::new(),
            epoch: None,
            view: None,
            reads: None,
            changed: 0,
            is_in: false,
            until: None,
            settled: None,
            changing_since_ms: None,
            silent_since_ms: None,
            standing: Standing::default(),
        }
    }

    /// What to ask for now. `fresh` is a number that was never used before. What the node [holds](Self::hold) may have
    /// become less by this, and must be heeded before the beat is sent.
    pub fn beat(&mut self, now: Moment, fresh: u64) -> Beat {
        if self.is_spent {
            self.begin_anew(fresh);
        }
        let holds = self.until.is_some_and(|until| now.is_before(until));
        if !holds {
            self.pause();
        }
        self.beats += 1;
        let is_gone = |seen: &Seen| now.steady_ms - seen.since_ms >= self.dead_ms;
        let others = self.others.iter().filter(|(_, seen)| is_gone(seen));
        let mut gone: Vec<_> = others.map(|(id, seen)| (id.clone(), Some(seen.beat))).collect();
        gone.extend(self.past.iter().map(|id| (id.clone(), None)));
        gone.sort_unstable();
        Beat {
            id: self.me.clone(),
            beat: self.beats,
            confirmed: self.confirmed,
            epoch: self.epoch.unwrap_or(0),
            floor: self.standing.epoch,
            term: self.term,
            is_member: holds && self.line_is_old(now),
            fresh,
            lease_ms: self.timing.lease_ms,
            gone,
            sent: now,
        }
    }

    /// What the registry answered to a beat.
    pub fn hear(&mut self, beat: &Beat, roll: &Roll, now: Moment) -> Result<(), OtherLease> {
        self.dead_ms = self.timing.dead_ms().max(Timing { lease_ms: roll.lease_ms }.dead_ms());
        if roll.lease_ms != self.timing.lease_ms {
            return Err(self.stay_out(beat, roll, now));
        }
        if beat.id != self.me || self.is_spent {
            return Ok(());
        }
        let of_its_term = self.confirmed == 0 || self.term == Some(roll.term);
        let went_back = self.epoch.is_some_and(|epoch| roll.epoch < epoch);
        self.term = Some(roll.term);
        self.look_at_others(roll, now);
        let mine = roll.lines.iter().find(|line| line.id == self.me);
        let Some(mine) = mine.filter(|_| of_its_term && !went_back) else {
            let was_silent = self.silent_since_ms.or(self.is_in.then_some(now.steady_ms));
            // Where its line was taken away, others tell its groups.
            self.silent_since_ms = was_silent.filter(|_| !of_its_term);
            self.end();
            return Ok(());
        };
        (self.confirmed, self.acked) = (beat.beat, mine.acked);
        self.is_in &= mine.is_member;
        self.line_since_ms.get_or_insert(now.steady_ms);
        self.until = Some(beat.sent.plus(self.timing.trust_ms()));
        self.follow(roll, now);
        self.settle(roll, now);
        Ok(())
    }

    /// How long to wait before the next beat.
    pub fn pause_ms(&self, now: Moment) -> i64 {
        if self.epoch.is_none() || self.is_spent {
            return self.timing.hurry_ms();
        }
        if self.acked < self.changed {
            return 0;
        }
        let is_settled = self.settled == Some(self.changed) && self.is_in;
        let most = if is_settled { self.timing.beat_ms() } else { self.timing.hurry_ms() };
        let dead = |seen: &Seen| (seen.since_ms + self.dead_ms - now.steady_ms).max(1);
        self.others.values().map(dead).fold(most, i64::min)
    }

    /// The pause after a beat that was not answered.
    pub fn pause_without_answer_ms(&self) -> i64 {
        self.timing.beat_ms()
    }

    pub fn hold(&self) -> Hold {
        Hold {
            me: Some(self.me.clone()),
            view: self.view.clone(),
            reads: self.reads.clone(),
            is_in: self.is_in,
            until: self.until,
            standing: self.standing,
        }
    }

    /// Tells nothing any more, for good or until the next beat; says whose line there is to take away.
    pub fn end(&mut self) -> MemberId {
        (self.is_spent, self.is_in) = (true, false);
        (self.until, self.epoch, self.view, self.reads) = (None, None, None, None);
        (self.settled, self.line_since_ms) = (None, None);
        self.me.clone()
    }

    /// It looks at the others all the same: lines of those that are gone must not keep it out for as long as Redis has them.
    fn stay_out(&mut self, beat: &Beat, roll: &Roll, now: Moment) -> OtherLease {
        self.end();
        self.look_at_others(roll, now);
        self.until = Some(beat.sent.plus(self.timing.trust_ms()));
        OtherLease(roll.lease_ms)
    }

    fn begin_anew(&mut self, life: u64) {
        if self.confirmed > 0 {
            self.past.push(self.me.clone());
        }
        self.me.life = life;
        self.is_spent = false;
        (self.beats, self.confirmed, self.acked) = (0, 0, 0);
    }

    /// Its lease has ended, or it has none: it is no member until all have kept to that. Whatever it saw of the others a lease
    /// ago may be over too.
    fn pause(&mut self) {
        if self.is_in {
            self.silent_since_ms = self.until.map(|until| until.steady_ms);
        }
        (self.is_in, self.settled) = (false, None);
        self.others.clear();
    }

    /// Whether a lease that was held when its line was not there yet, and that no line tells of any more, has ended.
    fn line_is_old(&self, now: Moment) -> bool {
        self.line_since_ms.is_some_and(|since_ms| now.steady_ms - since_ms >= self.timing.dead_ms())
    }

    /// A line is as old as when it was first seen to be what it is.
    fn look_at_others(&mut self, roll: &Roll, now: Moment) {
        let before = std::mem::take(&mut self.others);
        for line in roll.lines.iter().filter(|line| line.id != self.me) {
            let known = before.get(&line.id).filter(|seen| seen.beat == line.beat);
            let since_ms = known.map_or(now.steady_ms, |seen| seen.since_ms);
            self.others.insert(line.id.clone(), Seen { beat: line.beat, since_ms, is_member: line.is_member });
        }
        let gone = before.iter().filter(|(id, seen)| seen.is_member && !self.others.contains_key(id));
        let gone = gone.map(|(_, seen)| seen.since_ms);
        self.changing_since_ms = self.changing_since_ms.into_iter().chain(gone).min();
        self.past.retain(|id| self.others.contains_key(id));
    }

    /// Groups that have gone to a node that came are let go at once, and those of a node that is gone are taken: nobody tells
    /// them any more.
    fn follow(&mut self, roll: &Roll, now: Moment) {
        if self.epoch.replace(roll.epoch) == Some(roll.epoch) {
            return;
        }
        let ids = |is_there: &dyn Fn(&Line) -> bool| {
            View::of(roll.lines.iter().filter(|line| is_there(line)).map(|line| &line.id))
        };
        let view = ids(&|line| line.is_member);
        self.reads = Some(Arc::new(ids(&|line| line.is_member || line.id == self.me)));
        self.standing.nodes = view.count();
        self.view = Some(Arc::new(view));
        self.standing.epoch = self.standing.epoch.max(roll.epoch);
        if self.changed != roll.changed {
            self.changed = roll.changed;
            self.changing_since_ms.get_or_insert(now.steady_ms);
        }
    }

    /// Who has come may tell its groups once all nodes keep to an epoch that has it, and all others that are members now. So
    /// must those who are no members: the line of one that is may be an older copy. Epochs at which nobody but they have gone
    /// are not waited for: a process that dies and is started over and over leaves lines that never keep to anything new.
    fn settle(&mut self, roll: &Roll, now: Moment) {
        let all_keep_to_it = roll.lines.iter().all(|line| line.acked >= roll.changed);
        if self.settled == Some(roll.changed) || !all_keep_to_it {
            return;
        }
        (self.settled, self.is_in) = (Some(roll.changed), self.view.as_ref().is_some_and(|view| view.has(&self.me)));
        let changing_since_ms = self.changing_since_ms.take();
        if self.is_in {
            let since_ms = [changing_since_ms, self.silent_since_ms.take()].into_iter().flatten().min();
            self.standing.handovers += 1;
            self.standing.handover_ms = since_ms.map(|since_ms| now.steady_ms - since_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Model;
    use super::*;

    const LEASE: i64 = 1_000;

    fn at(ms: i64) -> Moment {
        Moment { steady_ms: ms, wall_ms: ms }
    }

    /// A beat that is answered at once.
    fn beat(node: &mut Node, registry: &mut Model, ms: i64) -> Roll {
        let beat = node.beat(at(ms), ms.unsigned_abs() + 1_000);
        let roll = registry.beat(&beat);
        node.hear(&beat, &roll, at(ms)).unwrap();
        roll
    }

    /// In a registry of its own, at 640.
    fn settled(name: &str) -> (Node, Model) {
        let (mut node, mut registry) = (Node::new(name, LEASE, 1), Model::default());
        [0, 300, 600, 620, 640].into_iter().for_each(|ms| drop(beat(&mut node, &mut registry, ms)));
        (node, registry)
    }

    #[test]
    fn who_comes_waits_until_any_lease_that_no_line_tells_of_has_ended() {
        let (mut node, mut registry) = (Node::new("a", LEASE, 1), Model::default());
        for ms in [0, 300, 599] {
            let roll = beat(&mut node, &mut registry, ms);
            assert!(!node.hold().is_valid(at(ms)) && !roll.lines[0].is_member, "at {ms}");
        }
        assert!(beat(&mut node, &mut registry, 600).lines[0].is_member);
        assert!(node.hold().reads("g") && !node.hold().is_valid(at(600)), "it has not said that it keeps to that");
        beat(&mut node, &mut registry, 601);
        assert!(node.hold().is_valid(at(601)) && node.hold().tells("g"));
    }

    #[test]
    fn a_lease_is_counted_from_when_the_beat_was_sent() {
        let (mut node, mut registry) = settled("a");
        let beat = node.beat(at(700), 9);
        let roll = registry.beat(&beat);
        node.hear(&beat, &roll, at(900)).unwrap();
        assert!(node.hold().is_valid(at(1_199)) && !node.hold().is_valid(at(1_200)));
    }

    #[test]
    fn who_was_away_for_longer_than_its_lease_asks_all_others_first() {
        let (mut a, mut registry) = settled("a");
        let mut b = Node::new("b", LEASE, 2);
        beat(&mut b, &mut registry, 650);
        // Nobody has taken its line away.
        let back = a.beat(at(1_150), 9);
        assert!(!back.is_member && !a.hold().is_valid(at(1_150)));
        let roll = registry.beat(&back);
        a.hear(&back, &roll, at(1_150)).unwrap();
        for ms in [1_151, 1_152, 1_153] {
            let roll = beat(&mut a, &mut registry, ms);
            assert!(roll.lines[0].is_member && !a.hold().is_valid(at(ms)), "b has not said anything at {ms}");
        }
        beat(&mut b, &mut registry, 1_154);
        beat(&mut b, &mut registry, 1_155);
        beat(&mut a, &mut registry, 1_156);
        assert!(a.hold().is_valid(at(1_156)));
    }

    #[test]
    fn whose_line_was_taken_away_comes_back_as_another() {
        let (mut node, mut registry) = settled("a");
        let before = node.beat(at(700), 9);
        registry.leave(&before.id);
        let roll = registry.beat(&before);
        assert_eq!(roll.lines, []);
        node.hear(&before, &roll, at(701)).unwrap();
        assert!(!node.hold().is_valid(at(701)));
        let after = node.beat(at(720), 10);
        assert!(before.id != after.id && after.confirmed == 0 && after.gone == [(before.id.clone(), None)]);
        node.hear(&before, &roll, at(721)).unwrap();
        assert_eq!(registry.beat(&after).lines.len(), 1);
    }

    #[test]
    fn who_comes_waits_until_all_have_let_go() {
        let (mut a, mut registry) = settled("a");
        let mut b = Node::new("b", LEASE, 2);
        for ms in (700..=1_300).step_by(100) {
            beat(&mut a, &mut registry, ms - 50);
            beat(&mut b, &mut registry, ms);
        }
        assert!(b.hold().reads("g-0") || a.hold().reads("g-0"));
        beat(&mut b, &mut registry, 1_301);
        assert!(!b.hold().is_valid(at(1_301)), "a has heard nothing of it");
        beat(&mut a, &mut registry, 1_302);
        assert_eq!(a.pause_ms(at(1_302)), 0, "it says at once that it keeps to that");
        beat(&mut b, &mut registry, 1_303);
        assert!(!b.hold().is_valid(at(1_303)), "a has heard, and has not said so");
        beat(&mut a, &mut registry, 1_304);
        beat(&mut b, &mut registry, 1_305);
        let both = (a.hold(), b.hold());
        assert!(both.0.is_valid(at(1_305)) && both.1.is_valid(at(1_305)));
        for group in 0..100 {
            let group = format!("g-{group}");
            assert!(both.0.tells(&group) != both.1.tells(&group), "{group}");
        }
    }

    #[test]
    fn a_line_that_stands_still_is_taken_away_as_it_was_seen() {
        let (mut a, mut registry) = settled("a");
        let mut b = Node::new("b", LEASE, 2);
        beat(&mut b, &mut registry, 650);
        [700, 900, 1_100].into_iter().for_each(|ms| drop(beat(&mut a, &mut registry, ms)));
        assert_eq!(a.beat(at(1_299), 9).gone, []);
        let (id, seen) = (MemberId { name: Arc::from("b"), life: 2 }, Some(1));
        assert_eq!(a.beat(at(1_300), 9).gone, [(id, seen)]);
    }

    #[test]
    fn silence_is_part_of_a_handover() {
        let check = |mut registry: Model, mut node: Node, beats: &[i64], want: i64| {
            beats.iter().for_each(|ms| drop(beat(&mut node, &mut registry, *ms)));
            let hold = node.hold();
            assert!(hold.is_valid(at(beats[beats.len() - 1])), "{hold:?}");
            assert_eq!(hold.standing.handover_ms, Some(want), "{beats:?}");
        };
        let (node, registry) = settled("a");
        // The registry was away until long after the lease of the beat at 640 had ended.
        check(registry, node, &[2_000, 2_001, 2_002], 2_002 - 1_140);
        // It was emptied.
        check(Model::default(), settled("a").0, &[700, 720, 1_000, 1_320, 1_321], 1_321 - 700);
        // Others have told its groups in the meantime.
        let (mut node, mut registry) = settled("a");
        registry.leave(&node.end());
        check(registry, node, &[3_000, 3_400, 3_600, 3_601], 1);
    }

    #[test]
    fn who_comes_reads_what_it_is_about_to_tell() {
        let (mut a, mut registry) = settled("a");
        let mut b = Node::new("b", LEASE, 2);
        beat(&mut b, &mut registry, 650);
        let early = b.hold();
        for ms in (700..=1_300).step_by(25) {
            beat(&mut a, &mut registry, ms);
            beat(&mut b, &mut registry, ms);
        }
        let late = b.hold();
        assert!(late.is_valid(at(1_300)) && !late.reads_others_than(&early) && late.tells_others_than(&early));
        for group in 0..100 {
            let group = format!("g-{group}");
            assert_eq!((early.reads(&group), early.tells(&group)), (late.tells(&group), false), "{group}");
        }
    }

    #[test]
    fn lines_of_no_member_come_and_go_unnoticed() {
        let (mut a, mut registry) = settled("a");
        beat(&mut Node::new("b", LEASE, 2), &mut registry, 650);
        beat(&mut a, &mut registry, 700);
        let before = a.hold();
        registry.leave(&MemberId { name: Arc::from("b"), life: 2 });
        let roll = beat(&mut a, &mut registry, 750);
        let after = a.hold();
        assert!(roll.lines.len() == 1 && roll.epoch > roll.changed, "{roll:?}");
        assert!(after.is_valid(at(1_249)) && !after.reads_others_than(&before) && !after.tells_others_than(&before));
        assert_eq!((after.standing.handovers, a.pause_ms(at(750))), (before.standing.handovers, LEASE / 10));
    }

    #[test]
    fn nodes_of_another_lease_are_not_joined() {
        let (_, mut registry) = settled("a");
        let mut other = Node::new("b", LEASE / 2, 2);
        let beat = other.beat(at(700), 9);
        let roll = registry.beat(&beat);
        assert_eq!(other.hear(&beat, &roll, at(700)), Err(OtherLease(LEASE)));
        assert!(!other.hold().is_valid(at(700)));
    }

    #[test]
    fn a_dead_node_of_another_lease_keeps_nobody_out() {
        // The last beat was at 640; it is seen from 700 on.
        let check = |lease_ms: i64, want_ms: i64| {
            let (_, mut registry) = settled("a");
            let mut other = Node::new("a", lease_ms, 2);
            let joined = (700..5_000).step_by(20).find(|ms| {
                let beat = other.beat(at(*ms), ms.unsigned_abs());
                let roll = registry.beat(&beat);
                other.hear(&beat, &roll, at(*ms)).is_ok()
            });
            assert_eq!(joined, Some(want_ms), "{lease_ms}");
        };
        // By the longer of the two leases: a's may hold, or this node may have looked away.
        check(LEASE / 2, 700 + LEASE / 10 * 6);
        check(LEASE * 2, 700 + LEASE / 10 * 12);
    }

    #[test]
    fn a_registry_that_went_back_ends_a_life() {
        let (mut node, _) = settled("a");
        let beat = node.beat(at(700), 9);
        let line = Line { id: beat.id.clone(), beat: beat.beat, acked: 0, is_member: true };
        let older = Roll { term: beat.term.unwrap_or_default(), lease_ms: LEASE, lines: vec![line], ..Roll::default() };
        node.hear(&beat, &older, at(700)).unwrap();
        assert!(!node.hold().is_valid(at(700)));
        assert_ne!(node.beat(at(701), 10).id, beat.id);
    }
}
