//! Nodes and a coordinator in a world where processes are killed and stopped, messages are late or lost, clocks run unevenly,
//! and the coordinator is away, moves to another broker, takes long to load the group, loses it, or has an older copy of it.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::model::Coordinator;
use super::{Answer, Ask, Fellow};
use crate::lag::nodes::world::{Body, GROUPS, Oracle};
use crate::lag::nodes::{Moment, Timing};

const TIMING: Timing = Timing { lease_ms: 10_000 };
const LEASE: i64 = TIMING.lease_ms;
/// Each way.
const LATENCY: i64 = 50;
const NODES: usize = 6;

/// An ask that is on its way, or its answer.
#[derive(Debug)]
struct Flight {
    number: u64,
    ask: Ask,
    sent: Moment,
    gives_up_at: i64,
    answer: Option<(i64, Answer)>,
}

impl Flight {
    fn due_at(&self) -> i64 {
        self.answer.as_ref().map_or(self.gives_up_at, |(at, _)| (*at).min(self.gives_up_at))
    }
}

#[derive(Debug)]
struct Process {
    fellow: Fellow,
    body: Body,
    flight: Option<Flight>,
}

impl Process {
    fn acts_at(&self) -> i64 {
        self.flight.as_ref().map_or(self.body.wakes_at, Flight::due_at).max(self.body.stopped_until)
    }
}

#[derive(Debug)]
enum Message {
    Ask(u64, Ask),
    Leave(String),
}

/// What happens in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Processes are killed and stopped, one after the other.
    Calm,
    /// Several at a time.
    Busy,
    /// Messages and the group itself are lost, too.
    Hostile,
}

#[derive(Debug)]
struct World {
    random: SmallRng,
    kind: Kind,
    now: i64,
    number: u64,
    coordinator: Coordinator,
    /// As it was a while ago.
    copies: Vec<(i64, Coordinator)>,
    away_until: i64,
    messages: Vec<(i64, Message)>,
    processes: Vec<Process>,
    oracle: Oracle,
}

impl World {
    fn new(seed: u64, kind: Kind) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            kind,
            now: 0,
            number: 0,
            coordinator: Coordinator::new(TIMING.dead_ms()),
            copies: Vec::new(),
            away_until: 0,
            messages: Vec::new(),
            processes: Vec::new(),
            oracle: Oracle::default(),
        }
    }

    fn is_hostile(&self) -> bool {
        self.kind == Kind::Hostile
    }

    fn up_to(&mut self, most: i64) -> i64 {
        self.random.random_range(0..=most)
    }

    fn start(&mut self, name: &str, crashes_at: Option<i64>) {
        let (life, rate) = (self.random.random(), self.random.random_range(995..=1_005));
        let fellow = Fellow::new(name, TIMING, life);
        let (began_at, wakes_at) = (self.now - self.up_to(1_000_000), self.now);
        let body = Body { rate, began_at, stopped_until: 0, crashes_at, wakes_at };
        self.processes.push(Process { fellow, body, flight: None });
    }

    fn start_any(&mut self) {
        let name = format!("node-{}", self.random.random_range(0..NODES));
        self.start(&name, None);
    }

    /// One that is killed before it is ripe, is started again at once, and so on.
    fn start_crash_loop(&mut self) {
        let crashes_at = self.now + 1 + self.up_to(LEASE / 2);
        self.start("crashes", Some(crashes_at));
    }

    fn crash(&mut self) {
        let is_due = |it: &Process| it.body.crashes_at.is_some_and(|at| at <= self.now);
        if let Some(at) = self.processes.iter().position(is_due) {
            self.processes.swap_remove(at);
            self.start_crash_loop();
        }
    }

    /// One of those that live on.
    fn any(&mut self) -> Option<usize> {
        let lives_on = |(at, it): (usize, &Process)| it.body.lives_on().then_some(at);
        let all: Vec<_> = self.processes.iter().enumerate().filter_map(lives_on).collect();
        (!all.is_empty()).then(|| all[self.random.random_range(0..all.len())])
    }

    /// One change of who is there, or of what the coordinator knows; whether it was one.
    fn change(&mut self) -> bool {
        self.oracle.trouble(self.now);
        let most = if self.is_hostile() { 100 } else { 90 };
        match (self.random.random_range(0..most), self.any()) {
            (0..30, _) | (_, None) if self.processes.len() < NODES => self.start_any(),
            (30..55, Some(at)) => drop(self.processes.swap_remove(at)),
            (55..80, Some(at)) => {
                let until = self.now + self.up_to(3 * LEASE);
                self.processes[at].body.stopped_until = until;
                let others_run = self.processes.iter().any(|it| it.body.stopped_until <= self.now);
                if self.kind != Kind::Calm || !others_run {
                    self.oracle.trouble(until);
                }
            }
            (80..90, Some(at)) => {
                let mut process = self.processes.swap_remove(at);
                process.fellow.end();
                self.leave(process.fellow.past());
            }
            (90..94, _) => {
                self.away_until = self.now + self.up_to(2 * LEASE);
                self.oracle.trouble(self.away_until);
            }
            (94..97, _) => self.load(),
            (97..98, _) => self.coordinator = Coordinator::new(TIMING.dead_ms()),
            (98.., _) => {
                let back = self.now - self.up_to(2 * LEASE);
                let copy = self.copies.iter().rev().find(|(at, _)| *at <= back);
                self.coordinator = copy.map_or_else(|| Coordinator::new(TIMING.dead_ms()), |(_, it)| it.clone());
                self.load();
            }
            _ => return false,
        }
        true
    }

    /// Another broker reads the log of the group, which may take a while.
    fn load(&mut self) {
        let takes = if self.random.random_bool(0.5) { self.up_to(2 * LEASE) } else { 0 };
        self.coordinator = self.coordinator.loaded(self.now + takes);
        self.oracle.trouble(self.now + takes);
    }

    fn leave(&mut self, seats: Vec<String>) {
        for seat in seats {
            let arrives_at = self.now + 1 + self.up_to(LATENCY);
            self.messages.push((arrives_at, Message::Leave(seat)));
        }
    }

    /// When something happens next.
    fn next(&self) -> i64 {
        let acts = self.processes.iter().flat_map(|it| [Some(it.acts_at()), it.body.crashes_at]).flatten();
        let arrives = self.messages.iter().map(|(at, _)| *at);
        let coordinator = self.coordinator.wakes_at().map(|at| at.max(self.away_until));
        acts.chain(arrives).chain(coordinator).min().unwrap_or(i64::MAX)
    }

    fn step(&mut self) {
        self.crash();
        self.deliver();
        if self.away_until <= self.now {
            self.coordinator.tick(self.now);
        }
        self.answer();
        for at in 0..self.processes.len() {
            if self.processes[at].body.stopped_until <= self.now {
                self.hear(at);
                self.send(at);
            }
        }
        let keep_from = self.now - 3 * LEASE;
        self.copies.retain(|(at, _)| *at >= keep_from);
        if self.copies.last().is_none_or(|(at, _)| self.now - at > LEASE / 20) {
            self.copies.push((self.now, self.coordinator.clone()));
        }
        self.look();
    }

    /// What comes while the coordinator is away is lost, or is there when it is back.
    fn deliver(&mut self) {
        let (arrived, later): (Vec<_>, _) = self.messages.drain(..).partition(|(at, _)| *at <= self.now);
        self.messages = later;
        for (_, message) in arrived {
            if self.away_until > self.now {
                if self.random.random_bool(0.5) {
                    let at = self.away_until + self.up_to(LEASE);
                    self.oracle.trouble(at);
                    self.messages.push((at, message));
                }
                continue;
            }
            let fresh = self.random.random();
            match message {
                Message::Ask(number, ask) => self.coordinator.ask(&ask, number, self.now, fresh),
                Message::Leave(seat) => self.coordinator.leave(&seat, self.now),
            }
        }
    }

    fn answer(&mut self) {
        for (number, answer) in std::mem::take(&mut self.coordinator.answers) {
            let arrives_at = self.now + 1 + self.up_to(LATENCY);
            let is_lost = self.is_hostile() && self.random.random_bool(0.003);
            let mut flights = self.processes.iter_mut().filter_map(|it| it.flight.as_mut());
            if let Some(flight) = flights.find(|it| it.number == number && !is_lost) {
                flight.answer = Some((arrives_at, answer));
            } else if is_lost {
                self.oracle.trouble(self.now + LEASE);
            }
        }
    }

    fn hear(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let Some(flight) = process.flight.take_if(|flight| flight.due_at() <= self.now) else { return };
        let answer = flight.answer.filter(|(at, _)| *at <= self.now).map_or(Answer::Lost, |(_, answer)| answer);
        let clock = process.body.clock(self.now);
        process.fellow.hear(&flight.ask, flight.sent, answer, clock);
        process.body.wakes_at = self.now + process.fellow.pause_ms(clock);
        let past = process.fellow.past();
        self.leave(past);
    }

    fn send(&mut self, at: usize) {
        let (there, fresh) = (1 + self.up_to(LATENCY), self.random.random());
        let is_late = self.is_hostile() && self.random.random_bool(0.003);
        let delay = if is_late { self.up_to(2 * LEASE) } else { 0 };
        let process = &mut self.processes[at];
        if process.flight.is_some() || process.body.wakes_at > self.now {
            return;
        }
        self.number += 1;
        let sent = process.body.clock(self.now);
        let ask = process.fellow.ask(sent, fresh);
        let gives_up_at = self.now
            + match &ask {
                Ask::Join { .. } => TIMING.dead_ms() * 3 / 2,
                Ask::Sync { .. } => TIMING.dead_ms(),
                Ask::Beat { .. } => TIMING.beat_ms() * 3 / 2,
            };
        self.messages.push((self.now + there + delay, Message::Ask(self.number, ask.clone())));
        process.flight = Some(Flight { number: self.number, ask, sent, gives_up_at, answer: None });
        if is_late {
            self.oracle.trouble(self.now + there + delay);
        }
    }

    /// In thousandths of a lease. Where one dies as it joins, its session begins when those of others that have died before
    /// have ended. Who loses its place, because a message or the group was lost, is ripe only after a while, and its seat may
    /// have to be waited for first. Where somebody begins to join over and over, and dies, each generation may have to be waited
    /// for as long as a session takes, and it takes up to three until one that comes has its groups.
    fn most_silence(&self) -> i64 {
        let crashes = self.processes.iter().any(|it| it.body.crashes_at.is_some());
        LEASE / 1_000
            * match self.kind {
                _ if crashes => 3_000,
                Kind::Calm => 1_000,
                Kind::Busy => 1_500,
                Kind::Hostile => 2_000,
            }
    }

    fn look(&mut self) {
        let nodes: Vec<_> = self.processes.iter().map(|it| (&it.body, it.fellow.hold())).collect();
        self.oracle.look(self.now, self.most_silence(), &nodes, &(&self.processes, &self.coordinator));
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
    world.start_any();
    let mut changed = 0;
    while changed < changes {
        changed += u32::from(world.change());
        // Most changes come before those of before are got over.
        let most = if world.random.random_bool(0.2) { 3 * LEASE } else { LEASE / 3 };
        let least = if world.kind == Kind::Calm { 2 * LEASE } else { 0 };
        let end = world.now + least + world.up_to(most);
        world.run_until(end);
    }
    world
}

fn check(seed: u64, kind: Kind, crashes: bool, changes: u32) {
    let mut world = World::new(seed, kind);
    if crashes {
        world.start_crash_loop();
    }
    let world = run(world, changes);
    world.oracle.has_told(seed, u64::from(changes) * 40);
}

#[test]
fn whatever_becomes_of_one_its_groups_are_told_by_one_other_within_a_lease() {
    (0..2).for_each(|seed| check(seed, Kind::Calm, false, 120));
}

#[test]
fn a_thousand_changes_and_no_group_is_told_twice() {
    (0..3).for_each(|seed| check(seed, Kind::Busy, false, 1_000));
}

#[test]
fn nor_where_messages_and_the_group_itself_are_lost() {
    (0..3).for_each(|seed| check(seed, Kind::Hostile, false, 1_000));
}

/// One stands still until the others have its groups, and wakes up to a coordinator that answers any heartbeat well.
#[test]
fn nor_by_one_that_wakes_up_while_the_group_is_loaded() {
    for seed in 0..20 {
        let mut world = World::new(seed, Kind::Busy);
        ["a", "b", "c"].into_iter().for_each(|name| world.start(name, None));
        world.run_until(3 * LEASE);
        world.processes[1].body.stopped_until = world.now + 2 * LEASE;
        world.run_until(world.now + 2 * LEASE - LEASE / 5);
        let told = |world: &World| {
            let Process { fellow, body, .. } = &world.processes[1];
            GROUPS.iter().filter(|it| body.tells(&fellow.hold(), it, world.now)).count()
        };
        assert_eq!(told(&world), 0, "seed {seed}");
        world.coordinator = world.coordinator.loaded(world.now + LEASE / 2);
        world.oracle.trouble(world.now + LEASE / 2);
        world.kind = Kind::Hostile;
        world.run_until(world.now + 3 * LEASE);
        assert!(told(&world) > 0, "seed {seed}: it has its groups again");
    }
}

#[test]
fn nor_where_one_crashes_over_and_over() {
    (0..2).for_each(|seed| check(seed, Kind::Hostile, true, 300));
}
