//! What is asked in which round, beside commits and ends. Pure.
//!
//! Commits and ends cost a request a broker each, in every round. Listing groups, log starts and last stable offsets cost
//! another request a broker when it is their turn; no two of them are asked in one round, so that a round costs three
//! requests a broker at most, and nobody has to fear the one in which everything comes together. What costs a single
//! request goes into a round that has none of these.
//!
//! Not so in a round in which everything is new: the first one, and one in which this node comes to read other groups. Nor
//! while a broker is silent, since groups are listed in every round then, nor where members are asked for, which goes
//! with the groups.

/// A sweep over all brokers that was put off for so many rounds waits no longer, whatever else is asked: it is only put off
/// when another one, due more often, takes every round.
const SWEEP_LATE: u32 = 3;
/// The same for the partitions with undecided transactions: longer, as there is room in two rounds of three but for single
/// requests.
const UNDECIDED_LATE: u32 = 2 * SWEEP_LATE;
/// The same for a single request.
const SINGLE_LATE: u32 = 6;
/// Last stable offsets are asked for everywhere in every so many of their turns, so that a topic is found that has become
/// transactional; in the others, only where it is known to be.
const STABLE_EVERYWHERE: u32 = 5;

/// How often things are asked, in rounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Every {
    pub groups: u32,
    pub log_starts: u32,
    /// 0 for never.
    pub stable_offsets: u32,
    pub metadata: u32,
    pub retention: u32,
}

/// Of which partitions the last stable offset is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stable {
    /// Of those that had an undecided transaction when they were asked about last.
    Undecided,
    /// Of topics that had one some time.
    Transactional,
    Everywhere,
}

/// What a round asks beside commits and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asks {
    pub groups: bool,
    pub log_starts: bool,
    pub stable_offsets: Option<Stable>,
    pub metadata: bool,
    pub retention: Option<Retention>,
}

/// Of which topics it is asked how long they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retention {
    /// Of those that were never asked about.
    OfNew,
    OfAll,
}

/// What the rounds before this one have left to be asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Left {
    /// What was known is not of what is to be told now.
    pub anew: bool,
    /// There are partitions with an undecided transaction, of which the last stable offset is asked whenever there is room.
    pub undecided: bool,
    /// There are topics that were never asked about.
    pub new_topics: bool,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    every: u32,
    due: u32,
}

impl Turn {
    fn first(every: u32) -> Self {
        Self { every: every.max(1), due: 0 }
    }

    fn is_due(self, round: u32) -> bool {
        round >= self.due
    }

    fn is_late(self, round: u32, by: u32) -> bool {
        round >= self.due.saturating_add(by)
    }

    fn take(&mut self, round: u32) -> bool {
        self.due = round.saturating_add(self.every);
        true
    }
}

#[derive(Debug)]
pub(super) struct Turns {
    round: u32,
    groups: Turn,
    log_starts: Turn,
    stable_offsets: Option<Turn>,
    /// How many turns of the stable offsets there were, and when they were asked for last.
    stable_turns: u32,
    stable_asked: u32,
    metadata: Turn,
    retention: Turn,
    /// Everything is owed, since no round was [done](Self::done) that has asked for it.
    owes_all: bool,
}

impl Turns {
    pub fn new(every: Every) -> Self {
        let stable = |every: u32| Turn { every, due: every / 2 };
        Self {
            round: 0,
            groups: Turn::first(every.groups),
            log_starts: Turn::first(every.log_starts),
            stable_offsets: (every.stable_offsets > 0).then(|| stable(every.stable_offsets)),
            stable_turns: 0,
            stable_asked: 0,
            metadata: Turn::first(every.metadata),
            retention: Turn::first(every.retention),
            owes_all: true,
        }
    }

    /// The next round. One that fails as a whole, and so is not [done](Self::done), has taken its turns for nothing: where
    /// it was to ask for everything, the next one is.
    pub fn next(&mut self, left: Left) -> Asks {
        let round = self.round;
        self.round = round.wrapping_add(1);
        self.owes_all |= left.anew;
        let (mut asks, anew) = (Asks::default(), self.owes_all);
        let may = |turn: Turn, room: bool, late: u32| anew || turn.is_due(round) && (room || turn.is_late(round, late));
        asks.groups = may(self.groups, true, 0) && self.groups.take(round);
        asks.log_starts = may(self.log_starts, !asks.groups, SWEEP_LATE) && self.log_starts.take(round);
        let room = !asks.groups && !asks.log_starts;
        asks.metadata = may(self.metadata, room, SINGLE_LATE) && self.metadata.take(round);
        let all = may(self.retention, room, SINGLE_LATE) && self.retention.take(round);
        let new = (left.new_topics && room).then_some(Retention::OfNew);
        asks.retention = all.then_some(Retention::OfAll).or(new);
        asks.stable_offsets = self.stable(round, room && !asks.metadata && asks.retention.is_none(), left.undecided);
        asks
    }

    /// The round has asked for what it was to ask for.
    pub fn done(&mut self) {
        self.owes_all = false;
    }

    fn stable(&mut self, round: u32, room: bool, undecided: bool) -> Option<Stable> {
        let turn = self.stable_offsets.as_mut()?;
        let asked = if turn.is_due(round) && (room || turn.is_late(round, SWEEP_LATE)) {
            turn.take(round);
            let everywhere = self.stable_turns.is_multiple_of(STABLE_EVERYWHERE);
            self.stable_turns = self.stable_turns.wrapping_add(1);
            if everywhere { Stable::Everywhere } else { Stable::Transactional }
        } else if undecided && (room || round >= self.stable_asked.saturating_add(UNDECIDED_LATE)) {
            Stable::Undecided
        } else {
            return None;
        };
        self.stable_asked = round;
        Some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKERS: u32 = 3;

    fn every(groups: u32, log_starts: u32, stable_offsets: u32) -> Every {
        Every { groups, log_starts, stable_offsets, metadata: 6, retention: 60 }
    }

    fn sweeps(asks: Asks) -> u32 {
        u32::from(asks.groups) + u32::from(asks.log_starts) + u32::from(asks.stable_offsets.is_some())
    }

    fn left(undecided: bool) -> Left {
        Left { undecided, ..Left::default() }
    }

    /// One that has made its first round.
    fn turns(every: Every) -> (Turns, Asks) {
        let mut turns = Turns::new(every);
        let first = turns.next(Left::default());
        turns.done();
        (turns, first)
    }

    /// With commits and ends, which are asked always.
    fn requests(asks: Asks) -> u32 {
        BROKERS * (2 + sweeps(asks)) + u32::from(asks.metadata) + u32::from(asks.retention.is_some())
    }

    #[test]
    fn no_steady_round_costs_more_than_three_requests_a_broker() {
        for undecided in [false, true] {
            let (mut turns, first) = turns(every(3, 6, 6));
            assert!(first.groups && first.log_starts && first.metadata && first.retention.is_some(), "{first:?}");
            let rounds: Vec<Asks> = (0..6_000).map(|_| turns.next(left(undecided))).collect();
            let most = rounds.iter().copied().map(requests).max();
            assert_eq!(most, Some(9), "{undecided}");
            let count = |of: fn(&Asks) -> bool| rounds.iter().filter(|asks| of(asks)).count();
            assert_eq!((count(|it| it.groups), count(|it| it.log_starts)), (2_000, 999), "{undecided}");
            assert!((990..=1_000).contains(&count(|it| it.metadata)), "{undecided}: {}", count(|it| it.metadata));
            assert!(count(|it| it.retention.is_some()) >= 95, "{undecided}");
            let stable = |of: Stable| rounds.iter().filter(|it| it.stable_offsets == Some(of)).count();
            assert!(stable(Stable::Everywhere) >= 195 && stable(Stable::Transactional) >= 780, "{undecided}");
            assert_eq!(stable(Stable::Undecided) > 1_000, undecided);
        }
    }

    #[test]
    fn what_is_due_more_often_starves_nothing() {
        let check = |every: Every, undecided| {
            let (mut turns, _) = turns(every);
            let (mut since, mut most) = ([0u32; 5], [0u32; 5]);
            for _ in 0..1_000 {
                let asks = turns.next(left(undecided));
                let retention = asks.retention.is_some();
                let asked = [asks.groups, asks.log_starts, asks.stable_offsets.is_some(), asks.metadata, retention];
                for ((since, most), asked) in since.iter_mut().zip(&mut most).zip(asked) {
                    *since = if asked { 0 } else { *since + 1 };
                    *most = (*most).max(*since);
                }
            }
            let wanted = [every.groups, every.log_starts, every.stable_offsets, every.metadata, every.retention];
            let allowed = [0, SWEEP_LATE, SWEEP_LATE, SINGLE_LATE, SINGLE_LATE];
            for ((most, wanted), late) in most.into_iter().zip(wanted).zip(allowed) {
                assert!(most < wanted.max(1) + late, "{every:?} {undecided}: {most} of {wanted}");
            }
        };
        for undecided in [false, true] {
            check(every(1, 1, 1), undecided);
            check(every(1, 6, 6), undecided);
            check(every(3, 6, 6), undecided);
            check(every(7, 5, 4), undecided);
        }
    }

    #[test]
    fn stable_offsets_may_be_left_alone() {
        let (mut turns, _) = turns(every(3, 6, 0));
        assert!((0..100).all(|_| turns.next(left(true)).stable_offsets.is_none()));
    }

    #[test]
    fn what_was_taken_over_is_asked_for_at_once() {
        let (mut turns, first) = turns(every(1_000, 1_000, 0));
        let is_all = |asks: Asks| asks.groups && asks.log_starts && asks.retention == Some(Retention::OfAll);
        let taken_over = turns.next(Left { anew: true, ..left(false) });
        // That round came to nothing.
        let again = turns.next(left(false));
        assert!(is_all(first) && is_all(taken_over) && is_all(again), "{again:?}");
        turns.done();
        assert_eq!(turns.next(left(false)), Asks::default());
    }

    #[test]
    fn topics_that_are_new_do_not_wait_for_the_turn_of_all() {
        let (mut turns, _) = turns(every(2, 1_000, 0));
        let new = Left { new_topics: true, ..left(false) };
        assert_eq!(turns.next(new).retention, Some(Retention::OfNew));
        assert_eq!(turns.next(new).retention, None, "there is no room beside groups");
        assert_eq!(turns.next(left(false)).retention, None);
    }
}
