//! Whole groups of machines against a model of their coordinator, by seeds: what the tests of both protocols have in
//! common. Members come and go, are slow, are expelled, and answers are lost on their way; then all is calm, and everything
//! has to be read, by one of them each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::{Action, Event, Fault, Group, Question, Rules};
use crate::protocol::types::{Str, TopicPartition};

/// Of the one topic that is read.
pub const PARTITIONS: i32 = 7;
const SEEDS: u64 = 400;
const MEMBERS_MAX: usize = 8;

/// A coordinator of one of the protocols, as far as the machines can tell.
pub trait Coordinator {
    /// Of the machine of this number.
    fn rules(&self, machine: usize) -> Rules;
    fn members(&self) -> Vec<Str>;
    fn remove(&mut self, member: &Str);
    /// Whether who says to be this member, in this generation, may commit.
    fn counts(&self, member: &Str, generation: i32) -> bool;
    /// What it answers a machine at once, if anything.
    fn asked(&mut self, machine: usize, question: Question) -> Option<Event>;
    /// Answers to machines that had to wait, as far as they can be given now.
    fn answers(&mut self) -> Vec<(usize, Event)> {
        Vec::new()
    }
}

/// A member of the group, and the application around it.
struct Member {
    group: Group,
    /// As it said last.
    id: Str,
    /// What the application reads.
    reads: BTreeSet<TopicPartition>,
    /// Answers on their way.
    events: VecDeque<Event>,
    releasing: BTreeSet<TopicPartition>,
    release: u64,
    closing: bool,
    stopped: bool,
}

struct Simulation<C> {
    rng: SmallRng,
    now: Instant,
    coordinator: C,
    members: Vec<Member>,
}

/// Plays many seeds; `begin` makes the coordinator of each.
pub fn play<C: Coordinator>(begin: impl Fn(u64, &mut SmallRng) -> C) {
    for seed in 0..SEEDS {
        let mut rng = SmallRng::seed_from_u64(seed);
        let coordinator = begin(seed, &mut rng);
        let mut simulation = Simulation { rng, now: Instant::now(), coordinator, members: Vec::new() };
        (0..3).for_each(|_| simulation.enter());
        (0..600).for_each(|_| simulation.step(true));
        (0..3000).for_each(|_| simulation.step(false));
        let reads = simulation.members.iter().flat_map(|member| &member.reads);
        let mut reads: Vec<i32> = reads.map(|it| it.partition).collect();
        reads.sort_unstable();
        assert_eq!(reads, (0..PARTITIONS).collect::<Vec<_>>(), "seed {seed}: not settled");
    }
}

impl<C: Coordinator> Simulation<C> {
    fn enter(&mut self) {
        self.members.push(Member {
            group: Group::new(self.coordinator.rules(self.members.len())),
            id: Str::default(),
            reads: BTreeSet::new(),
            events: VecDeque::from([Event::Wanted]),
            releasing: BTreeSet::new(),
            release: 0,
            closing: false,
            stopped: false,
        });
    }

    /// One thing happens to one member.
    fn step(&mut self, faults: bool) {
        self.now += Duration::from_millis(self.rng.random_range(1..400));
        let at = self.rng.random_range(0..self.members.len());
        if faults && self.rng.random_bool(0.04) {
            return self.fault(at);
        }
        let member = &mut self.members[at];
        let event = match self.rng.random_range(0..3) {
            0 => member.events.pop_front(),
            1 if !member.releasing.is_empty() => Some(member.release()),
            _ if member.group.is_away() && !member.stopped => Some(Event::Wanted),
            _ => Some(Event::Tick),
        };
        if let Some(event) = event {
            self.tell(at, event);
        }
        if self.rng.random_bool(0.02) {
            self.expire();
        }
        for (at, event) in self.coordinator.answers() {
            self.members[at].events.push_back(event);
        }
    }

    /// Ends the sessions of members that nobody is any more: they never heard of their id, or have left unheard.
    fn expire(&mut self) {
        let is_alive = |id: &Str| self.members.iter().any(|it| it.id == *id && !it.stopped && !it.group.is_away());
        let gone: Vec<Str> = self.coordinator.members().into_iter().filter(|id| !is_alive(id)).collect();
        gone.iter().for_each(|id| self.coordinator.remove(id));
    }

    fn fault(&mut self, at: usize) {
        match self.rng.random_range(0..6) {
            0 => {
                if let Some(id) = self.coordinator.members().choose(&mut self.rng) {
                    self.coordinator.remove(id);
                }
            }
            1 => self.tell(at, Event::Overdue),
            2 => self.tell(at, Event::Changed("simulation")),
            3 if self.members.iter().filter(|member| !member.closing).count() > 1 => {
                self.members[at].closing = true;
                self.tell(at, Event::Close(None));
            }
            4 if self.members.len() < MEMBERS_MAX => self.enter(),
            _ => {
                let events = &mut self.members[at].events;
                let lost = events.pop_front().map(lost);
                lost.into_iter().for_each(|event| events.push_front(event));
            }
        }
    }

    fn tell(&mut self, at: usize, event: Event) {
        for action in self.members[at].group.on(event, self.now) {
            self.act(at, action);
        }
        self.one_reader_each();
    }

    fn act(&mut self, at: usize, action: Action) {
        let member = &mut self.members[at];
        match action {
            Action::Ask(question) => {
                member.id = asker(&question);
                member.events.extend(self.coordinator.asked(at, question));
            }
            Action::Resolve(ids) => {
                let names = ids.into_iter().map(|id| (id, "a".into()));
                member.events.push_back(Event::Resolved(names.collect()));
            }
            Action::Assign(partitions) => member.reads.extend(partitions),
            Action::Revoke { id, partitions, .. } => (member.release, member.releasing) = (id, partitions),
            Action::Lose { partitions, .. } => {
                member.releasing.clear();
                member.reads.retain(|partition| !partitions.contains(partition));
            }
            Action::Stop(fault) => {
                assert_eq!(fault, None);
                member.stopped = true;
            }
            Action::FindCoordinator => {}
            other @ (Action::FallBack(_) | Action::Report { .. }) => panic!("{other:?}: there is no reason for it"),
        }
    }

    /// No partition is read by two that the coordinator both counts as members.
    fn one_reader_each(&self) {
        let mut readers: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        for (at, member) in self.members.iter().enumerate() {
            let counts = member.group.identity().is_some_and(|(id, it)| self.coordinator.counts(&id, it));
            for partition in member.reads.iter().filter(|_| counts) {
                let other = readers.insert(partition, at);
                assert_eq!(other, None, "{partition} is read by {at} as well");
            }
        }
    }
}

impl Member {
    /// The application has let go of what is revoked.
    fn release(&mut self) -> Event {
        let released = std::mem::take(&mut self.releasing);
        self.reads.retain(|partition| !released.contains(partition));
        Event::Released(self.release)
    }
}

fn asker(question: &Question) -> Str {
    match question {
        Question::Join(joining) => joining.member_id.clone(),
        Question::Sync(joined) => joined.member_id.clone(),
        Question::Beat(beat) => beat.member_id.clone(),
        Question::Heartbeat { member_id, .. }
        | Question::Leave { member_id, .. }
        | Question::LastBeat { member_id, .. } => member_id.clone(),
        Question::CountClassic => Str::default(),
    }
}

/// What comes instead of an answer that is lost on its way.
fn lost(event: Event) -> Event {
    let unanswered = Fault::Unanswered;
    match event {
        Event::Joined(_) => Event::Joined(Err(unanswered)),
        Event::Synced(_) => Event::Synced(Err(unanswered)),
        Event::Beaten { generation, .. } => Event::Beaten { generation, result: Err(unanswered) },
        Event::Heard { number, .. } => Event::Heard { number, result: Err(unanswered) },
        Event::Resolved(_) => Event::Resolved(BTreeMap::new()),
        other => other,
    }
}
