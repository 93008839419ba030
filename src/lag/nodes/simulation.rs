//! Nodes and a registry in a world where processes are killed and stopped, answers are late or lost, clocks run unevenly, and
//! the registry is away, emptied, or set back to an older copy.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;

use super::model::Model;
use super::world::{Body, Oracle};
use super::{Beat, MemberId, Node, Roll, Timing};
use crate::lag::store::RedisRegistry;
use crate::lag::store::redises::{redis_at, redis_of_tests};

const LEASE: i64 = 10_000;
/// Each way.
const LATENCY: i64 = 50;
const NODES: usize = 6;
/// How long a process lives that is killed over and over: too short to become a member.
const SHORT_LIFE: i64 = LEASE / 20 * 11;

/// Where the nodes meet: what the scripts do, or the scripts.
#[derive(Debug)]
enum Registry {
    Model(Model),
    Redis(Runtime, Box<RedisRegistry>),
}

/// A registry as it was.
#[derive(Debug, Clone)]
enum Copied {
    Model(Model),
    Redis(Option<Vec<u8>>),
}

impl Registry {
    fn redis(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let prefix = format!("test-{}", uuid::Uuid::new_v4());
        Self::Redis(runtime, Box::new(RedisRegistry::new(redis_at(url), &prefix, Timing { lease_ms: LEASE })))
    }

    fn beat(&mut self, beat: &Beat) -> Roll {
        match self {
            Self::Model(model) => model.beat(beat),
            Self::Redis(runtime, redis) => runtime.block_on(redis.beat(beat)).unwrap(),
        }
    }

    fn leave(&mut self, id: &MemberId) {
        match self {
            Self::Model(model) => model.leave(id),
            Self::Redis(runtime, redis) => runtime.block_on(redis.leave(id)).unwrap(),
        }
    }

    fn copied(&mut self) -> Copied {
        match self {
            Self::Model(model) => Copied::Model(model.clone()),
            Self::Redis(runtime, redis) => Copied::Redis(runtime.block_on(redis.copied()).unwrap()),
        }
    }

    /// `None`: it has lost everything.
    fn set_back(&mut self, to: Option<Copied>) {
        match (self, to) {
            (Self::Model(model), Some(Copied::Model(copy))) => *model = copy,
            (Self::Model(model), _) => *model = Model::default(),
            (Self::Redis(runtime, redis), Some(Copied::Redis(copy))) => runtime.block_on(redis.set_back(copy)).unwrap(),
            (Self::Redis(runtime, redis), _) => runtime.block_on(redis.set_back(None)).unwrap(),
        }
    }
}

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
    body: Body,
    flight: Option<Flight>,
}

#[derive(Debug)]
struct World {
    random: SmallRng,
    /// How many of the changes set the registry back, beside those that do anyway.
    set_back: f64,
    now: i64,
    registry: Registry,
    /// As it was a while ago.
    copies: Vec<(i64, Copied)>,
    nodes_most: usize,
    beats: u32,
    away_until: i64,
    processes: Vec<Process>,
    /// Beats that were given up, and arrive all the same.
    late: Vec<(i64, Beat)>,
    oracle: Oracle,
}

impl World {
    fn new(seed: u64) -> Self {
        Self::of(seed, NODES, Registry::Model(Model::default()))
    }

    fn of(seed: u64, nodes_most: usize, registry: Registry) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            set_back: if seed.is_multiple_of(2) { 0.0 } else { 0.2 },
            now: 0,
            registry,
            nodes_most,
            beats: 0,
            copies: Vec::new(),
            away_until: 0,
            processes: Vec::new(),
            late: Vec::new(),
            oracle: Oracle::default(),
        }
    }

    fn up_to(&mut self, most: i64) -> i64 {
        self.random.random_range(0..=most)
    }

    fn process(&mut self, name: &str, crashes_at: Option<i64>) -> Process {
        let (life, rate) = (self.random.random(), self.random.random_range(995..=1_005));
        let node = Node::new(name, LEASE, life);
        let (began_at, wakes_at) = (self.now - self.random.random_range(0..1_000_000), self.now);
        let body = Body { rate, began_at, stopped_until: 0, crashes_at, wakes_at };
        Process { node, body, flight: None }
    }

    fn start(&mut self) {
        let name = format!("node-{}", self.random.random_range(0..self.nodes_most));
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

    /// One change of who is there; whether it was one.
    fn change(&mut self) -> bool {
        self.oracle.trouble(self.now);
        let what = if self.random.random_bool(self.set_back) { 99 } else { self.random.random_range(0..100) };
        match (what, self.any()) {
            (0..30, _) | (_, None) if self.processes.len() < self.nodes_most => self.start(),
            (30..55, Some(at)) => drop(self.processes.swap_remove(at)),
            (55..80, Some(at)) => {
                let until = self.now + self.up_to(3 * LEASE);
                self.processes[at].body.stopped_until = until;
                self.oracle.trouble(until);
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
                self.oracle.trouble(self.away_until);
                return false;
            }
            (95..97, _) => {
                self.registry.set_back(None);
                return false;
            }
            (97.., _) => {
                // An older copy than half a lease could know less than any node does.
                let back = self.now - self.up_to(LEASE / 2);
                let copy = self.copies.iter().find(|(at, _)| *at >= back).map(|(_, copy)| copy.clone());
                self.registry.set_back(copy);
                return false;
            }
            _ => return false,
        }
        true
    }

    /// When something happens next.
    fn next(&self) -> i64 {
        let of = |process: &Process| {
            let own = process.flight.as_ref().map_or(process.body.wakes_at, |flight| flight.arrives_at);
            let executes = process.flight.as_ref().and_then(|flight| flight.executes_at);
            let acts = own.max(process.body.stopped_until);
            [Some(acts), executes, process.body.crashes_at].into_iter().flatten().min().unwrap_or(acts)
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
            if self.processes[at].body.stopped_until <= self.now {
                self.hear(at);
                self.send(at);
            }
        }
        let keep_from = self.now - 2 * LEASE;
        self.copies.retain(|(at, _)| *at >= keep_from);
        if self.copies.last().is_none_or(|(at, _)| self.now - at >= LEASE / 20) {
            self.copies.push((self.now, self.registry.copied()));
        }
        self.look();
    }

    fn execute(&mut self, at: usize) {
        let now = self.now;
        let Some(flight) = self.processes[at].flight.as_mut() else { return };
        if flight.executes_at.take_if(|executes_at| *executes_at <= now).is_some() {
            let answer = self.registry.beat(&flight.beat);
            self.beats += 1;
            // The answer may be lost where the registry goes away.
            flight.answer = Some(answer).filter(|_| self.away_until <= now);
        }
    }

    fn hear(&mut self, at: usize) {
        let process = &mut self.processes[at];
        let Some(flight) = process.flight.take_if(|flight| flight.arrives_at <= self.now) else { return };
        let clock = process.body.clock(self.now);
        process.body.wakes_at = self.now
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
        if process.flight.is_some() || process.body.wakes_at > self.now {
            return;
        }
        let clock = process.body.clock(self.now);
        let beat = process.node.beat(clock, fresh);
        let executes_at = Some(self.now + there).filter(|_| !is_lost);
        if let Some(at) = late {
            self.late.push((at, beat.clone()));
            self.oracle.trouble(at);
        }
        process.flight = Some(Flight { beat, executes_at, answer: None, arrives_at: self.now + there + back });
    }

    /// How long a group may be told by nobody after the last change. What one that crashes over and over leaves is to be taken
    /// away first, once for each change, and what it does itself is no change.
    fn most_silence(&self) -> i64 {
        let crashes = self.processes.iter().any(|it| it.body.crashes_at.is_some());
        if crashes { 2 * LEASE } else { LEASE }
    }

    fn look(&mut self) {
        let nodes: Vec<_> = self.processes.iter().map(|it| (&it.body, it.node.hold())).collect();
        self.oracle.look(self.now, self.most_silence(), &nodes, &self.processes);
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
        world.oracle.has_told(seed, 50_000);
    }
}

/// The same with the scripts in a real Redis: three nodes that are killed, stopped and ended, a registry that is away, emptied
/// and set back.
#[test]
fn nor_is_it_with_a_real_redis() {
    let Some(url) = redis_of_tests() else { return };
    let mut world = run(World::of(0, 3, Registry::redis(&url)), 1_000);
    eprintln!("{} beats", world.beats);
    world.oracle.has_told(0, 50_000);
    world.registry.set_back(None);
}

#[test]
fn one_that_crashes_over_and_over_keeps_nobody_silent() {
    for seed in 0..2 {
        let mut world = World::new(seed);
        world.start_crash_loop();
        let world = run(world, 300);
        world.oracle.has_told(seed, 20_000);
    }
}
