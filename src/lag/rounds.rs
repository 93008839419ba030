//! Where rounds are published: what is shown of the last one, and for how long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Config;
use super::clock::Clock;
use super::exposition::{exposition, shared};
use super::family::Pages;
use super::nodes::{Hold, Moment};
use super::round::Round;
use super::text::Dialect;

/// A cheap handle for any number of readers.
#[derive(Debug, Clone)]
pub struct Rounds(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    shown: watch::Sender<Option<Arc<Round>>>,
    /// Sees it when other groups are to be read.
    reads: watch::Sender<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All groups that were read, also those that are not to be told.
    read: Option<Arc<Round>>,
    /// `None` where this monitor does not share the groups with others.
    hold: Option<Arc<Hold>>,
}

impl State {
    /// What may be told of what was read.
    fn told(&self) -> Option<Arc<Round>> {
        let read = self.read.as_ref()?;
        let Some(hold) = &self.hold else { return Some(Arc::clone(read)) };
        Some(Arc::new(read.told_by(hold)))
    }
}

impl Default for Rounds {
    fn default() -> Self {
        Self(Arc::new(Inner {
            clock: Clock::start(),
            shown: watch::Sender::new(None),
            reads: watch::Sender::new(()),
            state: Mutex::default(),
        }))
    }
}

impl Rounds {
    pub(super) fn publish(&self, round: Round) {
        let mut state = self.state();
        state.read = Some(Arc::new(round));
        self.0.shown.send_replace(state.told());
    }

    /// From now on only what this node holds is told.
    pub(super) fn share(&self, hold: Hold) {
        let mut state = self.state();
        let before = state.hold.replace(Arc::new(hold.clone()));
        if before.as_ref().is_none_or(|before| hold.tells_others_than(before)) {
            self.0.shown.send_replace(state.told());
        }
        if before.is_some_and(|before| hold.reads_others_than(&before)) {
            self.0.reads.send_replace(());
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.0.clock.now()
    }

    /// What this node holds, where it shares the groups with others.
    pub(super) fn hold(&self) -> Option<Arc<Hold>> {
        self.state().hold.clone()
    }

    /// Sees it when other groups are to be read than before.
    pub(super) fn reads(&self) -> watch::Receiver<()> {
        self.0.reads.subscribe()
    }

    /// The last round; `None` before the first. It is told as long as it [may be](Self::current).
    pub fn latest(&self) -> Option<Arc<Round>> {
        self.0.shown.borrow().clone()
    }

    /// Sees every round from now on.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Round>>> {
        self.0.shown.subscribe()
    }

    /// The last round, as long as it speaks of the present and is this node's to tell. How old it is, no clock that somebody
    /// sets has a say in.
    pub fn current(&self) -> Result<Arc<Round>, NoLag> {
        self.current_at(self.now().steady_ms)
    }

    /// The same at a time of the steady clock.
    pub(super) fn current_at(&self, now_ms: i64) -> Result<Arc<Round>, NoLag> {
        let round = self.latest().ok_or(NoLag::NotYet)?;
        if self.permit(&round).is_some_and(|permit| !permit.holds()) {
            return Err(NoLag::NotHeld);
        }
        match round.is_current(now_ms) {
            true => Ok(round),
            false => Err(NoLag::Since(Duration::from_millis(round.age_ms(now_ms)))),
        }
    }

    /// The last round as metrics at a time of the steady clock, a page at a time, and none any more once something in it is
    /// not this node's to tell.
    pub(super) fn text_at(&self, config: &Config, now_ms: i64, dialect: Dialect) -> Option<Pages> {
        let (round, hold) = (self.latest()?, self.hold());
        let (Some(permit), Some(hold)) = (self.permit(&round), hold) else {
            return Some(exposition(config, round, now_ms, dialect));
        };
        let held = permit.holds();
        let families = shared(config, &round, now_ms, &hold, held);
        Some(Pages::new(round, dialect, families).while_permitted(Some(permit).filter(|_| held)))
    }

    /// To tell this round: what this node held when it was shown says which groups are in it.
    fn permit(&self, round: &Round) -> Option<Permit> {
        let hold = round.hold.clone()?;
        Some(Permit { rounds: self.clone(), hold })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to tell what a node held at some time.
#[derive(Debug)]
pub(super) struct Permit {
    rounds: Rounds,
    hold: Arc<Hold>,
}

impl Permit {
    /// Whether all of that is still this node's, and its lease holds.
    pub fn holds(&self) -> bool {
        let hold = self.rounds.hold();
        hold.is_some_and(|hold| hold.is_valid(self.rounds.now()) && hold.tells_all_of(&self.hold))
    }
}

/// Why there is no lag to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLag {
    #[error("lag not known yet: no round has been finished")]
    NotYet,
    #[error("lag unknown (since {} s): the cluster does not answer", .0.as_secs())]
    Since(Duration),
    #[error("this node may tell no lag: it has no lease, or waits for the other nodes")]
    NotHeld,
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::nodes::{Line, MemberId, Node, Roll};
    use super::super::round::Absent;
    use super::super::round::tests::{Plain, blank, group, round as of_rows};
    use super::*;

    #[test]
    fn a_round_speaks_of_the_present_for_a_while() {
        let rounds = Rounds::default();
        assert_eq!(rounds.current_at(0).err(), Some(NoLag::NotYet));
        rounds.publish(Round { finished_ms: 1_000, good_for_ms: 3_000, ..Round::default() });
        let check = |now_ms, want: Option<&str>| {
            assert_eq!(rounds.current_at(now_ms).err().map(|no_lag| no_lag.to_string()).as_deref(), want, "{now_ms}");
        };
        // A clock that was set back makes nothing old.
        check(0, None);
        check(4_000, None);
        check(4_001, Some("lag unknown (since 3 s): the cluster does not answer"));
        check(61_000, Some("lag unknown (since 60 s): the cluster does not answer"));
    }

    fn roll(names: &[&str], epoch: u64) -> Roll {
        let id = |(name, life)| MemberId { name: Arc::from(name), life };
        let line = |id| Line { id, beat: 1, acked: epoch, is_member: true };
        let lines = names.iter().copied().zip(1..).map(id).map(line).collect();
        Roll { term: 1, epoch, changed: epoch, lease_ms: 10_000, lines }
    }

    /// Has the first of `names` hear a roll of all of them.
    pub fn hear(node: &mut Node, rounds: &Rounds, names: &[&str], epoch: u64) {
        let beat = node.beat(rounds.now(), 0);
        node.hear(&beat, &roll(names, epoch), rounds.now()).unwrap();
        rounds.share(node.hold());
    }

    #[test]
    fn what_another_node_may_tell_is_told_no_more_even_in_a_scrape_that_has_begun() {
        let names: Vec<&'static str> = (0..2_000).map(|at| &*format!("group-{at:04}").leak()).collect();
        let rows: Vec<_> = names.iter().map(|name| Plain { records: Ok(3), ..blank(name, name, 0) }).collect();
        let groups = names.iter().map(|name| group(name, "Stable")).collect();
        let rounds = Rounds::default();
        let mut node = Node::new("a", 10_000, 1);
        rounds.share(node.hold());
        rounds.publish(Round { finished_ms: 0, good_for_ms: 1, groups, listed: 2_000, ..of_rows(&rows) });
        let text = || rounds.text_at(&Config::default(), 0, Dialect::Prometheus).unwrap();
        let count = |pages: Pages| {
            let text = String::from_utf8(pages.flatten().collect()).unwrap();
            let held = text.lines().find_map(|line| line.strip_prefix("highwater_lag_lease_held ")).map(str::to_owned);
            (text.lines().filter(|line| line.starts_with("highwater_lag_group_records{")).count(), held.unwrap())
        };
        assert_eq!((count(text()), rounds.current_at(0).err()), ((0, "0".to_owned()), Some(NoLag::NotHeld)));

        hear(&mut node, &rounds, &["a"], 1);
        assert_eq!(count(text()), (2_000, "1".to_owned()));
        assert!(rounds.current_at(0).unwrap().total_of("group-0000").is_ok());

        let mut begun = text();
        assert!(begun.next().is_some());
        hear(&mut node, &rounds, &["a", "b"], 2);
        assert_eq!(begun.next(), None, "some of it is b's from now on");
        let (left, _) = count(text());
        assert!((900..1_100).contains(&left), "{left}");
        let round = rounds.current_at(0).unwrap();
        let others: Vec<_> = names.iter().filter_map(|name| round.total_of(name).err()).collect();
        assert_eq!(others.len(), 2_000 - left);
        assert!(matches!(&others[0], Absent::Unknown(why) if why.ends_with(" is node b's to tell")), "{:?}", others[0]);

        // Another may have come since, and gone.
        let permit = rounds.permit(&round).unwrap();
        assert!(permit.holds());
        hear(&mut node, &rounds, &["a"], 3);
        assert!(permit.holds() && count(text()).0 == 2_000, "what it held is less than it has now");
        let permit = rounds.permit(&rounds.latest().unwrap()).unwrap();
        hear(&mut node, &rounds, &["a", "b"], 4);
        assert!(!permit.holds(), "what it held is more than it has now");

        node.end();
        rounds.share(node.hold());
        assert_eq!((count(text()), rounds.current_at(0).err()), ((0, "0".to_owned()), Some(NoLag::NotHeld)));
    }
}
