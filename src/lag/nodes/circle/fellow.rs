//! One node as a member of the group: what it asks, what it hears, and what follows. Pure; the clock and the random numbers
//! are arguments.

use std::sync::Arc;

use super::{Answer, Ask, Saying};
use crate::lag::nodes::hold::{Hold, Standing};
use crate::lag::nodes::{MemberId, Moment, Timing, View};

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// In no generation, or called out of one.
    Out,
    /// In a generation, but it does not know who else is.
    Joined {
        generation: i32,
        all: Vec<(String, Saying)>,
    },
    In {
        generation: i32,
    },
}

/// A node's side of the group.
#[derive(Debug)]
pub struct Fellow {
    timing: Timing,
    me: MemberId,
    seat: Option<String>,
    /// Seats of lives that are over.
    past: Vec<String>,
    is_spent: bool,
    state: State,
    /// The last generation that it was in, in this life.
    generation: Option<i32>,
    /// What it joined with.
    said: Option<Saying>,
    /// Since when the group is known to know it.
    in_since_ms: Option<i64>,
    view: Option<Arc<View>>,
    reads: Option<Arc<View>>,
    is_in: bool,
    until: Option<Moment>,
    /// When it asked or heard something last.
    acted: Option<Moment>,
    /// Whether the last ask came to nothing.
    is_put_off: bool,
    /// Since when what is going on now may go on.
    changing_since_ms: Option<i64>,
    /// Since when nobody tells what this node told, as far as it knows.
    silent_since_ms: Option<i64>,
    standing: Standing,
}

impl Fellow {
    /// `life` is a number that no other life of a node has.
    pub fn new(name: &str, timing: Timing, life: u64) -> Self {
        Self {
            timing,
            me: MemberId { name: Arc::from(name), life },
            seat: None,
            past: Vec::new(),
            is_spent: false,
            state: State::Out,
            generation: None,
            said: None,
            in_since_ms: None,
            view: None,
            reads: None,
            is_in: false,
            until: None,
            acted: None,
            is_put_off: false,
            changing_since_ms: None,
            silent_since_ms: None,
            standing: Standing::default(),
        }
    }

    /// What to ask for now. `fresh` is a number that was never used before.
    pub fn ask(&mut self, now: Moment, fresh: u64) -> Ask {
        if self.is_spent {
            (self.me.life, self.is_spent) = (fresh, false);
        }
        // A generation that it was let into may have taken as long as that, waiting for one that is gone.
        if !matches!(self.state, State::Joined { .. }) {
            self.lapse(now);
        }
        self.acted = Some(now);
        let must_join = self.has_more_to_say(now);
        match (&self.state, &self.seat) {
            (State::Joined { generation, all }, Some(seat)) => {
                Ask::Sync { seat: seat.clone(), generation: *generation, all: all.clone() }
            }
            (State::In { generation }, Some(seat)) if !must_join => {
                Ask::Beat { seat: seat.clone(), generation: *generation }
            }
            _ => {
                let says = self.says(now);
                (self.said, self.state) = (Some(says.clone()), State::Out);
                Ask::Join { seat: self.seat.clone(), says }
            }
        }
    }

    /// What became of what was asked at `sent`.
    pub fn hear(&mut self, ask: &Ask, sent: Moment, answer: Answer, now: Moment) {
        self.is_put_off = matches!(answer, Answer::NotNow | Answer::Lost | Answer::Gone);
        match (ask, answer) {
            (Ask::Join { .. }, Answer::Named(seat)) => {
                self.seat = Some(seat);
                self.in_since_ms.get_or_insert(now.steady_ms);
            }
            (Ask::Join { .. }, Answer::Joined { seat, generation, all }) => {
                self.seat = Some(seat);
                match self.generation.is_some_and(|known| generation < known) {
                    true => self.die(now),
                    false => self.joined(generation, all, now),
                }
            }
            (Ask::Sync { generation, .. }, Answer::Synced(roll)) => self.adopt(*generation, &roll, sent, now),
            (Ask::Beat { .. }, Answer::Alive) => match self.holds(now) {
                true => self.trust(sent, now),
                false => self.lapse(now),
            },
            (Ask::Beat { .. } | Ask::Sync { .. }, Answer::Called) => {
                self.changing_since_ms.get_or_insert(now.steady_ms);
                self.state = State::Out;
            }
            (_, Answer::Gone) | (Ask::Join { .. }, Answer::Lost) => self.die(now),
            _ => {}
        }
        self.acted = Some(now);
    }

    /// How long to wait before asking again.
    pub fn pause_ms(&self, now: Moment) -> i64 {
        if self.is_put_off {
            return self.timing.beat_ms();
        }
        match self.state {
            State::In { .. } if self.holds(now) && !self.has_more_to_say(now) => {
                let ripens = self.in_since_ms.map(|since_ms| since_ms + self.timing.dead_ms() - now.steady_ms);
                ripens.filter(|left_ms| *left_ms > 0).map_or(self.timing.beat_ms(), |ms| ms.min(self.timing.beat_ms()))
            }
            _ => 0,
        }
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

    /// Tells nothing any more, for good or until it joins anew; whose seats are empty by that, [`Self::past`] says.
    pub fn end(&mut self) {
        self.past.extend(self.seat.take());
        (self.is_spent, self.is_in, self.state) = (true, false, State::Out);
        (self.until, self.view, self.reads) = (None, None, None);
        (self.generation, self.said, self.in_since_ms) = (None, None, None);
    }

    /// Seats that this node should leave, so that nobody waits for whoever sat there; each is told once.
    pub fn past(&mut self) -> Vec<String> {
        std::mem::take(&mut self.past)
    }

    fn die(&mut self, now: Moment) {
        if self.is_in {
            self.silent_since_ms.get_or_insert(now.steady_ms);
        }
        self.end();
    }

    fn joined(&mut self, generation: i32, all: Vec<(String, Saying)>, now: Moment) {
        self.changing_since_ms.get_or_insert(now.steady_ms);
        self.in_since_ms.get_or_insert(now.steady_ms);
        self.generation = Some(generation);
        self.state = State::Joined { generation, all };
    }

    /// A life before may have held a lease that nobody knows of any more, and another node, too.
    fn is_ripe(&self, now: Moment) -> bool {
        self.in_since_ms.is_some_and(|since_ms| now.steady_ms - since_ms >= self.timing.dead_ms())
    }

    fn says(&self, now: Moment) -> Saying {
        let keeps = self.view.as_ref().filter(|_| self.is_in).map(|view| view.ids().cloned().collect());
        Saying { id: self.me.clone(), is_ripe: self.is_ripe(now), keeps }
    }

    /// Whether others wait to hear something that was not true yet when this node joined: that it is ripe, or that it keeps its
    /// hands off the groups of one that has come.
    fn has_more_to_say(&self, now: Moment) -> bool {
        let Some(said) = &self.said else { return true };
        let lets_all = self.view.as_ref().is_none_or(|view| view.ids().all(|id| said.lets(id)));
        said.is_ripe != self.is_ripe(now) || !lets_all
    }

    fn holds(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| now.is_before(until))
    }

    /// The coordinator has had a sign of life after `sent`.
    fn trust(&mut self, sent: Moment, now: Moment) {
        self.note_silence(now);
        self.until = Some(sent.plus(self.timing.trust_ms()));
    }

    /// A lease that has ended is over. While it loads the group, a coordinator answers any heartbeat well, of whatever member
    /// and generation: only who joins hears who is in the group.
    /// The one that was not there to notice may find an older copy, to which it is the same member as before.
    fn lapse(&mut self, now: Moment) {
        if self.until.is_none() || self.holds(now) {
            return;
        }
        self.note_silence(now);
        let stood_still = |acted: Moment| !now.is_before(acted.plus(2 * self.timing.beat_ms()));
        if self.acted.is_some_and(stood_still) {
            self.in_since_ms = None;
        }
        (self.is_in, self.state, self.until) = (false, State::Out, None);
    }

    fn note_silence(&mut self, now: Moment) {
        if let Some(lapsed) = self.until.filter(|_| self.is_in && !self.holds(now)) {
            self.silent_since_ms.get_or_insert(lapsed.steady_ms.min(now.steady_ms));
        }
    }

    fn adopt(&mut self, generation: i32, roll: &[Saying], sent: Moment, now: Moment) {
        let Some(mine) = roll.iter().find(|it| Some(*it) == self.said.as_ref()) else { return self.die(now) };
        let ripe = || roll.iter().filter(|it| it.is_ripe).map(|it| &it.id);
        let view = View::of(ripe());
        self.reads = Some(Arc::new(View::of(ripe().chain((!mine.is_ripe).then_some(&self.me)))));
        self.note_departures(&view);
        self.trust(sent, now);
        let has_changed = self.view.as_deref() != Some(&view);
        let was_in = std::mem::replace(&mut self.is_in, mine.is_ripe && roll.iter().all(|it| it.lets(&self.me)));
        if was_in && !self.is_in {
            self.silent_since_ms.get_or_insert(now.steady_ms);
        }
        self.state = State::In { generation };
        self.standing.nodes = view.count();
        self.standing.epoch = self.standing.epoch.max(u64::try_from(generation).unwrap_or(0));
        self.view = Some(Arc::new(view));
        let since_ms = self.changing_since_ms.take_if(|_| self.is_in || !mine.is_ripe);
        if self.is_in && (has_changed || !was_in || self.silent_since_ms.is_some()) {
            self.settled(since_ms, now);
        }
    }

    /// A group does not say whether a member has left or was silent: at most it was silent for as long as its session.
    fn note_departures(&mut self, view: &View) {
        if self.view.as_ref().is_some_and(|before| !before.is_part_of(view)) {
            let silent = |since_ms: i64| since_ms - self.timing.dead_ms() - self.timing.beat_ms();
            self.changing_since_ms = self.changing_since_ms.map(silent);
        }
    }

    fn settled(&mut self, since_ms: Option<i64>, now: Moment) {
        let since_ms = [since_ms, self.silent_since_ms.take()].into_iter().flatten().min();
        self.standing.handovers += 1;
        self.standing.handover_ms = since_ms.map(|since_ms| now.steady_ms - since_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { lease_ms: 1_000 };

    fn at(ms: i64) -> Moment {
        Moment { steady_ms: ms, wall_ms: ms }
    }

    fn id(name: &str) -> MemberId {
        MemberId { name: Arc::from(name), life: 1 }
    }

    fn other(name: &str, keeps: Option<&[&str]>) -> Saying {
        let keeps = keeps.map(|all| all.iter().map(|name| id(name)).collect());
        Saying { id: id(name), is_ripe: true, keeps }
    }

    fn hear(fellow: &mut Fellow, ms: i64, answer: Answer) -> Ask {
        let ask = fellow.ask(at(ms), ms.unsigned_abs() + 100);
        fellow.hear(&ask, at(ms), answer, at(ms));
        ask
    }

    /// Joins, and finds itself among `others`.
    fn join(fellow: &mut Fellow, ms: i64, generation: i32, others: &[Saying]) {
        let joined = Answer::Joined { seat: "seat".to_owned(), generation, all: vec![] };
        let Ask::Join { says, .. } = hear(fellow, ms, joined) else { panic!("it has nothing to say") };
        let roll = [&[says], others].concat();
        assert!(matches!(hear(fellow, ms, Answer::Synced(roll)), Ask::Sync { .. }));
    }

    /// In generation 1, and about to be ripe.
    fn unripe() -> Fellow {
        let mut fellow = Fellow::new("a", TIMING, 1);
        join(&mut fellow, 0, 1, &[]);
        assert!(!fellow.hold().is_valid(at(0)) && fellow.hold().reads("g") && fellow.pause_ms(at(0)) == 100);
        (100..600).step_by(100).for_each(|ms| drop(hear(&mut fellow, ms, Answer::Alive)));
        fellow
    }

    /// Alone, ripe at 600, and in generation 2 since.
    fn alone() -> Fellow {
        let mut fellow = unripe();
        assert!(matches!(hear(&mut fellow, 599, Answer::Alive), Ask::Beat { .. }));
        assert_eq!(fellow.pause_ms(at(599)), 1);
        join(&mut fellow, 600, 2, &[]);
        assert!(fellow.hold().is_valid(at(600)) && fellow.hold().tells("g"));
        fellow
    }

    #[test]
    fn a_lease_is_counted_from_when_the_heartbeat_was_sent() {
        let mut fellow = alone();
        let ask = fellow.ask(at(700), 9);
        fellow.hear(&ask, at(700), Answer::Alive, at(900));
        assert!(fellow.hold().is_valid(at(1_199)) && !fellow.hold().is_valid(at(1_200)));
        hear(&mut fellow, 1_150, Answer::NotNow);
        // The coordinator was away, and another node may have been let in since: that is heard by joining.
        join(&mut fellow, 1_300, 3, &[]);
        let hold = fellow.hold();
        assert_eq!((hold.is_valid(at(1_300)), hold.standing.handover_ms), (true, Some(100)));
    }

    /// One that loads the group answers every heartbeat well.
    #[test]
    fn a_lease_that_has_ended_is_not_renewed_by_a_heartbeat() {
        let check = |sent_ms, heard_ms, is_ripe| {
            let mut fellow = alone();
            // The lease ends at 1,100 unless this is in time.
            [700, 800, 900, 1_000].into_iter().for_each(|ms| drop(hear(&mut fellow, ms, Answer::NotNow)));
            let ask = fellow.ask(at(sent_ms), 9);
            assert!(matches!(ask, Ask::Beat { .. }), "{ask:?}");
            fellow.hear(&ask, at(sent_ms), Answer::Alive, at(heard_ms));
            assert!(!fellow.hold().is_valid(at(heard_ms)) && fellow.pause_ms(at(heard_ms)) == 0);
            let Ask::Join { seat, says } = fellow.ask(at(heard_ms), 9) else { panic!("it does not join") };
            assert_eq!((seat.as_deref(), says.is_ripe, says.keeps), (Some("seat"), is_ripe, None), "{heard_ms}");
        };
        check(1_050, 1_100, true);
        check(1_099, 1_298, true);
        // It stood still: what is left of a group that has lost something may take it for one of its own.
        check(1_099, 1_299, false);
    }

    #[test]
    fn who_wakes_up_after_its_lease_begins_anew() {
        let check = |at_ms, is_ripe| {
            let mut fellow = alone();
            hear(&mut fellow, 700, Answer::Alive);
            let before = fellow.hold();
            let asked = fellow.ask(at(at_ms), 9);
            match is_ripe {
                Some(is_ripe) => {
                    let Ask::Join { says, .. } = asked else { panic!("{at_ms}: it does not join") };
                    assert_eq!((says.is_ripe, says.keeps, fellow.hold().is_in), (is_ripe, None, false), "{at_ms}");
                }
                None => assert!(matches!(asked, Ask::Beat { .. }) && before.is_valid(at(at_ms)), "{at_ms}"),
            }
        };
        check(1_199, None);
        check(1_200, Some(false));
        // Called, but no coordinator is there: it has waited, not stood still.
        let mut fellow = alone();
        hear(&mut fellow, 700, Answer::Called);
        (700..1_200).step_by(100).for_each(|ms| drop(hear(&mut fellow, ms, Answer::NotNow)));
        let Ask::Join { says, .. } = fellow.ask(at(1_200), 9) else { panic!("it does not join") };
        assert_eq!((says.is_ripe, says.keeps), (true, None));
    }

    /// All are silent by the time when the one that is gone has been waited for, and tell again with that generation.
    #[test]
    fn a_generation_that_took_longer_than_the_lease_is_taken() {
        let mut fellow = alone();
        hear(&mut fellow, 700, Answer::Called);
        let ask = fellow.ask(at(700), 9);
        let Ask::Join { says, .. } = &ask else { panic!("it does not join") };
        let joined = Answer::Joined { seat: "seat".to_owned(), generation: 3, all: vec![] };
        fellow.hear(&ask, at(700), joined, at(1_300));
        assert!(!fellow.hold().is_valid(at(1_300)));
        let roll = vec![says.clone()];
        assert!(matches!(hear(&mut fellow, 1_300, Answer::Synced(roll)), Ask::Sync { .. }));
        assert!(fellow.hold().is_valid(at(1_300)));
    }

    #[test]
    fn who_is_called_tells_what_it_told_and_says_so() {
        let mut fellow = alone();
        hear(&mut fellow, 700, Answer::Called);
        assert!(fellow.hold().is_valid(at(1_099)) && fellow.pause_ms(at(700)) == 0);
        let Ask::Join { says, .. } = fellow.ask(at(701), 9) else { panic!("it does not join") };
        assert_eq!((says.is_ripe, says.keeps), (true, Some(vec![id("a")])));
    }

    #[test]
    fn who_hears_of_another_lets_go_at_once_and_says_so() {
        let mut fellow = alone();
        hear(&mut fellow, 700, Answer::Called);
        join(&mut fellow, 701, 3, &[other("b", None)]);
        let tells = |fellow: &Fellow| (0..100).filter(|at| fellow.hold().tells(&format!("g-{at}"))).count();
        assert!((30..70).contains(&tells(&fellow)), "{}", tells(&fellow));
        assert_eq!(fellow.pause_ms(at(701)), 0);
        let Ask::Join { says, .. } = fellow.ask(at(702), 9) else { panic!("it does not say so") };
        assert_eq!(says.keeps, Some(vec![id("a"), id("b")]));
    }

    #[test]
    fn nothing_is_told_before_all_others_keep_off() {
        let check = |others: &[Saying], want: bool| {
            let mut fellow = unripe();
            join(&mut fellow, 600, 2, others);
            assert_eq!(fellow.hold().is_valid(at(600)), want, "{others:?}");
        };
        check(&[other("b", Some(&["b"]))], false);
        check(&[other("b", Some(&["a", "b"]))], true);
        check(&[other("b", None)], true);
        check(&[other("b", Some(&["a", "b"])), other("c", Some(&["b", "c"]))], false);
    }

    #[test]
    fn what_ends_a_life() {
        let check = |act: &dyn Fn(&mut Fellow), want: bool| {
            let mut fellow = alone();
            hear(&mut fellow, 700, Answer::Called);
            act(&mut fellow);
            let is_over = !fellow.hold().is_valid(at(702));
            assert_eq!((is_over, fellow.past().as_slice() == ["seat"]), (want, want));
            if is_over {
                let Ask::Join { seat, says } = fellow.ask(at(800), 9) else { panic!("it does not join anew") };
                assert!(seat.is_none() && says.id.life == 9 && !says.is_ripe && says.keeps.is_none(), "{says:?}");
            }
        };
        let joined = |generation| Answer::Joined { seat: "seat".to_owned(), generation, all: vec![] };
        check(&|it| drop(hear(it, 701, Answer::NotNow)), false);
        // It may be executed at any time.
        check(&|it| drop(hear(it, 701, Answer::Lost)), true);
        check(&|it| drop(hear(it, 701, Answer::Gone)), true);
        // An older copy of the group.
        check(&|it| drop(hear(it, 701, joined(1))), true);
        check(&|it| drop(hear(it, 701, joined(2))), false);
        // Somebody has joined in its name, with what was true at another time.
        check(
            &|it| {
                hear(it, 701, joined(3));
                hear(it, 702, Answer::Synced(vec![other("a", None)]));
            },
            true,
        );
        check(&|it| [701, 702].into_iter().for_each(|ms| drop(hear(it, ms, joined(3)))), false);
    }

    #[test]
    fn a_handover_counts_from_the_last_sign_of_life() {
        let mut fellow = alone();
        hear(&mut fellow, 700, Answer::Called);
        join(&mut fellow, 710, 3, &[other("b", None)]);
        assert_eq!(fellow.hold().standing.handover_ms, Some(10));
        join(&mut fellow, 720, 4, &[other("b", Some(&["a", "b"]))]);
        hear(&mut fellow, 800, Answer::Called);
        join(&mut fellow, 810, 5, &[]);
        // A session, and until the next heartbeat.
        let standing = fellow.hold().standing;
        assert_eq!((standing.handover_ms, standing.nodes, standing.epoch), (Some(710), 1, 5));
    }
}
