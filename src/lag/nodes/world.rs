//! What both simulations of nodes have in common: processes with clocks of their own, and an oracle that sees all of them at
//! once.

use std::collections::BTreeMap;
use std::fmt::Debug;

use super::Moment;
use super::hold::Hold;

pub(super) const GROUPS: [&str; 12] =
    ["a", "b", "c", "d", "orders", "billing", "g-1", "g-2", "g-3", "g-4", "g-5", "logs"];

/// A process that may stand still, and whose clocks run as fast as they do.
#[derive(Debug)]
pub(super) struct Body {
    /// How fast its clocks run, in thousandths.
    pub rate: i64,
    pub began_at: i64,
    pub stopped_until: i64,
    /// When it is killed, and started again; `None` for those that live on.
    pub crashes_at: Option<i64>,
    pub wakes_at: i64,
}

impl Body {
    pub fn clock(&self, now: i64) -> Moment {
        let ms = (now - self.began_at) * self.rate / 1_000 + 1_000_000;
        Moment { steady_ms: ms, wall_ms: ms }
    }

    pub fn tells(&self, hold: &Hold, group: &str, now: i64) -> bool {
        hold.is_valid(self.clock(now)) && hold.tells(group)
    }

    pub fn lives_on(&self) -> bool {
        self.crashes_at.is_none()
    }
}

/// Never two nodes tell a group, whoever is stopped and might wake up now; and one does, where nothing has happened for long
/// enough.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Until when something has happened that nodes must get over.
    troubled_until: i64,
    /// Since when a group has been told by nobody.
    silent: BTreeMap<&'static str, i64>,
    longest_gap: i64,
    /// How often each group was looked at and told by one.
    told: u64,
}

impl Oracle {
    /// What has happened is to be got over from then on.
    pub fn trouble(&mut self, until: i64) {
        self.troubled_until = self.troubled_until.max(until);
    }

    /// Looks at all nodes at `now`; of those that do not crash over and over, one has to tell each group after `most`.
    pub fn look(&mut self, now: i64, most: i64, nodes: &[(&Body, Hold)], world: &dyn Debug) {
        let is_anybody = nodes.iter().any(|(body, _)| body.lives_on());
        for group in GROUPS {
            let tells = |(body, hold): &&(&Body, Hold)| body.tells(hold, group, now);
            let tellers: Vec<_> = nodes.iter().filter(tells).collect();
            assert!(tellers.len() <= 1, "{group} is told by {} at {now}: {tellers:#?}", tellers.len());
            let is_told = tellers.iter().any(|(body, _)| body.stopped_until <= now);
            self.told += u64::from(is_told);
            if is_told || !is_anybody {
                self.silent.remove(group);
                continue;
            }
            let since = (*self.silent.entry(group).or_insert(now)).max(self.troubled_until);
            self.longest_gap = self.longest_gap.max(now - since);
            assert!(now - since <= most, "{group} is told by nobody from {since} to {now}: {world:#?}");
        }
    }

    /// That there was something to see.
    pub fn has_told(&self, seed: u64, least: u64) {
        assert!(self.told > least, "seed {seed}: {}", self.told);
        eprintln!("seed {seed}: told {} times, longest gap after a trouble {} ms", self.told, self.longest_gap);
    }
}
