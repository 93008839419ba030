//! Nodes and a registry in a world where processes are killed and stopped, answers are late or lost, clocks run unevenly, and
//! the registry is away, emptied, or set back to an older copy.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::model::Model;
use super::{Beat, Moment, Node, Roll};

const LEASE: i64 = 10_000;
/// Each way.
const LATENCY: i64 = 50;
const NODES: usize = 6;
/// How long a process lives that is killed over and over: too short to become a member.
const SHORT_LIFE: i64 = LEASE / 20 * 11;
const GROUPS: [&str; 12] = ["a", "b", "c", "d", "orders", "billing", "g-1", "g-2", "g-3", "g-4", "g-5", "logs"];

/// A beat that is on its way, or its answer.
#[derive(Debug)]
struct Flight {
    beat: Beat,
    executes_at: Option<i64>,
    answer: Option<Roll>,
    arrives_at: i64,
}

#[derive(Debug)]
struct Process {
    node: Node,
    /// How fast its clocks run, in thousandths.
    rate: i64,
    began_at: i64,
    stopped_until: i64,
    /// When it is killed, and started again; `None` for those that live on.
    crashes_at: Option<i64>,
    wakes_at: i64,
    flight: Option<Flight>,
}

impl Process {
    fn clock(&self, now: i64) -> Moment {
        let ms = (now - self.began_at) * self.rate / 1_000 + 1_000_000;
        Moment { steady_ms: ms, wall_ms: ms }
    }

    fn tells(&self, group: &str, now: i64) -> bool {
        let hold = self.node.hold();
        hold.is_valid(self.clock(now)) && hold.tells(group)
    }
}

#[derive(Debug)]
struct World {
    random: SmallRng,
    /// How many of the changes set the registry back, beside those that do anyway.
    set_back: f64,
    now: i64,
    registry: Model,
    /// As it was a while ago.
    copies: Vec<(i64, Model)>,
    away_until: i64,
    processes: Vec<Process>,
    /// Beats that were given up, and arrive all the same.
    late: Vec<(i64, Beat)>,
    /// Until when something has happened that nodes must get over.
    troubled_until: i64,
    /// Since when a group has been told by nobody.
    silent: BTreeMap<&'static str, i64>,
    longest_gap: i64,
    /// How often each group was looked at and told by one.
    told: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            set_back: if seed.is_multiple_of(2) { 0.0 } else { 0.2 },
            now: 0,
            registry: Model::default(),
            copies: Vec::new(),
            away_until: 0,
            processes: Vec::new(),
            late: Vec::new(),
            troubled_until: 0,
            silent: BTreeMap::new(),
            longest_gap: 0,
            told: 0,
        }
    }

    fn up_to(&mut self, most: i64) -> i64 {
        self.random.random_range(0..=most)
    }

    fn process(&mut self, name: &str, crashes_at: Option<i64>) -> Process {
        let (life, rate) = (self.random.random(), self.random.random_range(995..=1_005));
        let node = Node::new(name, LEASE, life);
        let (began_at, wakes_at) = (self.now - self.random.random_range(0..1_000_000), self.now);
        Process { node, rate, began_at, stopped_until: 0, crashes_at, wakes_at, flight: None }
    }

    fn start(&mut self) {
        let name = format!("node-{}", self.random.random_range(0..NODES));
        let process = self.process(&name, None);
        self.processes.push(process);
    }

    /// One that is killed before it can become a member, is started again at once, and so on.
    fn start_crash_loop(&mut self) {
        let crashes_at = self.now + 1 + self.up_to(SHORT_LIFE);
        let process = self.process("crashes", Some(crashes_at));
        self.processes.push(process);
    }

    fn crash(&mut self) {
        let is_due = |it: &Process| it.crashes_at.is_some_and(|at| at <= self.now);
        if let Some(at) = self.processes.iter().position(is_due) {
            self.processes.swap_remove(at);
            self.start_crash_loop();
        }
    }

    /// One of those that live on.
    fn any(&mut self) -> Option<usize> {
        let lives_on = |(at, it): (usize, &Process)| it.crashes_at.is_none().then_some(at);
        let all: Vec<_> = self.processes.iter().enumerate().filter_map(lives_on).collect();
        (!all.is_empty()).then(|| all[self.random.random_range(0..all.len())])
    }

    /// One change of who is there; whether it was one.
    fn change(&mut self) -> bool {
        self.troubled_until = self.troubled_until.max(self.now);
        let what = if self.random.random_bool(self.set_back) { 99 } else { self.random.random_range(0..100) };
        match (what, self.any()) {
            (0..30, _) | (_, None) if self.processes.len() < NODES => self.start(),
            (30..55, Some(at)) => drop(self.processes.swap_remove(at)),
            (55..80, Some(at)) => {
                let until = self.now + self.up_to(3 * LEASE);
                self.processes[at].stopped_until = until;
                self.troubled_until = self.troubled_until.max(until);
            }
            (80..90, Some(at)) => {
                let mut process = self.processes.swap_remove(at);
                let id = process.node.end();
                if self.away_until <= self.now {
                    self.registry.leave(&id);
                }
            }
            (90..95, _) => {
                self.away_until = self.now + self.up_to(2 * LEASE);
                self.troubled_until = self.troubled_until.max(self.away_until);
                return false;
            }
            (95..97, _) => {
                self.registry = Model::default();
                return false;
            }
            (97.., _) => {
                // An older copy than half a lease could know less than any node does.
                let back = self.now - self.up_to(LEASE / 2);
                let copy = self.copies.iter().rev().find(|(at, _)| *at <= back);
                self.registry = copy.map_or_else(Model::default, |(_, copy)| copy.clone());
                return false;
            }
            _ => return false,
        }
        true
    }

    /// When something happens next.
    fn next(&self) -> i64 {
        let of = |process: &Process| {
            let own = process.flight.as_ref().map_or(process.wakes_at, |flight| flight.arrives_at);
            let executes = process.flight.as_ref().and_then(|flight| flight.executes_at);
            let acts = own.max(process.stopped_until);
            [Some(acts), executes, process.crashes_at].into_iter().flatten().min().unwrap_or(acts)
        };
        self.processes.iter().map(of).chain(self.late.iter().map(|(at, _)| *at)).min().unwrap_or(i64::MAX)
    }

    fn step(&mut self) {
        self.crash();
        let (arrived, late): (Vec<_>, _) = self.late.drain(..).partition(|(at, _)| *at <= self.now);
        self.late = late;
        arrived.iter().for_each(|(_, beat)| drop(self.registry.beat(beat)));
        for at in 0..self.processes.len() {
            self.execute(at);
            if self.processes[at].stopped_until <= self.now {
                self.hear(at);
                self.send(at);
            }
        }
        let keep_from = self.now - 2 * LEASE;
        self.copies.retain(|(at, _)| *at >= keep_from);
        self.copies.push((self.now, self.registry.clone()));
        self.look();
    }

    fn execute(&mut self, at: usize) {
        let now = self.now;
        let Some(flight) = self.processes[at].flight.as_mut() else { return };
        if flight.executes_at.take_if(|executes_at| *executes_at <= now).is_some() {
            let answer = self.registry.beat(&flight.beat);
            // The answer may be lost where the registry goes away.
            flight.answer = Some(answer).filter(|_| self.away_until <= now);
        }
    }

    fn hear(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let Some(flight) = process.flight.take_if(|flight| flight.arrives_at <= self.now) else { return };
        let clock = process.clock(self.now);
        process.wakes_at = self.now
            + match flight.answer {
                Some(roll) => {
                    assert_eq!(process.node.hear(&flight.beat, &roll, clock), Ok(()));
                    process.node.pause_ms(clock)
                }
                None => process.node.pause_without_answer_ms(),
            };
    }

    fn send(&mut self, at: usize) {
        let (there, back, fresh) = (1 + self.up_to(LATENCY - 1), 1 + self.up_to(LATENCY - 1), self.random.random());
        let is_lost = self.away_until > self.now && self.random.random_bool(0.7);
        let late = Some(self.away_until + self.up_to(LEASE)).filter(|_| is_lost && self.random.random_bool(0.3));
        let process = &mut self.processes[at];
        if process.flight.is_some() || process.wakes_at > self.now {
            return;
        }
        let clock = process.clock(self.now);
        let beat = process.node.beat(clock, fresh);
        let executes_at = Some(self.now + there).filter(|_| !is_lost);
        if let Some(at) = late {
            self.late.push((at, beat.clone()));
            self.troubled_until = self.troubled_until.max(at);
        }
        process.flight = Some(Flight { beat, executes_at, answer: None, arrives_at: self.now + there + back });
    }

    /// How long a group may be told by nobody after the last change. What one that crashes over and over leaves is to be taken
    /// away first, once for each change, and what it does itself is no change.
    fn most_silence(&self) -> i64 {
        let crashes = self.processes.iter().any(|it| it.crashes_at.is_some());
        if crashes { 2 * LEASE } else { LEASE }
    }

    /// Never two, whoever is stopped and might wake up now; and one, where nothing has happened for long enough.
    fn look(&mut self) {
        let (now, most) = (self.now, self.most_silence());
        let is_anybody = self.processes.iter().any(|it| it.crashes_at.is_none());
        for group in GROUPS {
            let tellers: Vec<_> = self.processes.iter().filter(|it| it.tells(group, now)).collect();
            assert!(tellers.len() <= 1, "{group} is told by {} at {now}: {tellers:#?}", tellers.len());
            let is_told = tellers.iter().any(|it| it.stopped_until <= now);
            self.told += u64::from(is_told);
            if is_told || !is_anybody {
                self.silent.remove(group);
                continue;
            }
            let since = (*self.silent.entry(group).or_insert(now)).max(self.troubled_until);
            self.longest_gap = self.longest_gap.max(now - since);
            assert!(now - since <= most, "{group} is told by nobody from {since} to {now}: {:#?}", self.processes);
        }
    }

    fn run_until(&mut self, end: i64) {
        while let Some(next) = Some(self.next().max(self.now)).filter(|next| *next <= end) {
            self.now = next;
            self.step();
        }
        self.now = end;
        self.look();
    }
}

fn run(mut world: World, changes: u32) -> World {
    world.start();
    let mut changed = 0;
    while changed < changes {
        changed += u32::from(world.change());
        // Most changes come before those of before are got over.
        let most = if world.random.random_bool(0.2) { 3 * LEASE } else { LEASE / 3 };
        let end = world.now + world.up_to(most);
        world.run_until(end);
    }
    world
}

#[test]
fn a_thousand_changes_and_no_group_is_told_twice() {
    for seed in 0..2 {
        let world = run(World::new(seed), 1_000);
        assert!(world.told > 50_000, "seed {seed}: {}", world.told);
        eprintln!("seed {seed}: told {} times, longest gap after a trouble {} ms", world.told, world.longest_gap);
    }
}

#[test]
fn one_that_crashes_over_and_over_keeps_nobody_silent() {
    for seed in 0..2 {
        let mut world = World::new(seed);
        world.start_crash_loop();
        let world = run(world, 300);
        assert!(world.told > 20_000, "seed {seed}: {}", world.told);
        eprintln!("seed {seed}: told {} times, longest gap after a trouble {} ms", world.told, world.longest_gap);
    }
}
