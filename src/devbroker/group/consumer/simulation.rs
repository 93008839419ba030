//! Many members, good and bad, against one group of the consumer protocol: whatever comes in whatever order, nobody holds
//! what another holds, and once all is quiet everybody has what they shall have. Each run follows from its seed, which a
//! failure prints.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::{Beat, Heartbeat, Refusal, Shape, Shelf, Target};
use crate::devbroker::group::{Config, Coordinator, Effects, Identity, MemberId, Scene};
use crate::devbroker::journal::Entry;
use crate::protocol::error::ErrorCode;
use crate::protocol::types::{Topic, TopicId, Uuid};

const GROUP: &str = "g";
const RUNS: u64 = 250;
const EVENTS: usize = 120;
const TOPICS: [&str; 4] = ["apple", "apricot", "banana", "cherry"];

/// A client as far as it knows. What it owns it reads, until it has said that it does not.
#[derive(Debug, Clone, Default)]
struct Client {
    id: MemberId,
    instance: Option<&'static str>,
    epoch: i32,
    inside: bool,
    topics: BTreeSet<Topic>,
    pattern: &'static str,
    owns: Target,
    shall: Target,
    /// It has not said everything since it joined, or since an answer was lost.
    full: bool,
    /// The last answer was lost.
    deaf: bool,
}

struct World {
    coordinator: Coordinator,
    shelf: Shelf,
    now: Instant,
    random: SmallRng,
    clients: Vec<Client>,
    lives: u32,
    journal: Vec<Entry>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let interval = Duration::from_millis(random.random_range(0..2000));
        let consumer = super::Config {
            assignment_interval: interval,
            max_size: random.random_range(3..8),
            ..super::Config::default()
        };
        let client = |n: usize| Client {
            instance: [Some("i0"), Some("i0"), Some("i1")].get(n).copied().flatten(),
            ..Client::default()
        };
        let mut world = World {
            coordinator: Coordinator::new(Config { consumer, ..Config::default() }),
            shelf: Shelf::default(),
            now: Instant::now(),
            clients: (0..7).map(client).collect(),
            random,
            lives: 0,
            journal: Vec::new(),
        };
        (0..2).for_each(|_| world.change_topics());
        world
    }

    fn step(&mut self) {
        let client = self.random.random_range(0..self.clients.len());
        match self.random.random_range(0..24) {
            0..=2 => self.change_subscription(client),
            3..=13 => self.beat(client),
            14 => self.leave(client),
            // It restarts, and has forgotten everything.
            15 => self.clients[client] = Client { instance: self.clients[client].instance, ..Client::default() },
            16 => self.change_topics(),
            17 => self.restart(),
            _ => {
                self.now += Duration::from_millis(self.random.random_range(1..9000));
                let mut out = Effects::default();
                self.coordinator.expire(self.now, &self.shelf, &mut out);
                self.journal.append(&mut out.entries);
            }
        }
        self.check();
    }

    fn change_topics(&mut self) {
        let name = TOPICS[self.random.random_range(0..TOPICS.len())];
        let grows = self.random.random_range(1..6);
        match self.shelf.0.get_mut(name) {
            Some(_) if self.random.random_bool(0.3) => {
                self.coordinator.topic_changed(name);
                self.shelf.0.remove(name);
            }
            Some(shape) => {
                shape.partitions += grows;
                self.coordinator.topic_changed(name);
            }
            None => {
                let id = Uuid(self.random.random());
                self.shelf.0.insert(name.into(), Shape { id, partitions: grows });
                self.coordinator.topic_created(name);
            }
        }
    }

    fn change_subscription(&mut self, client: usize) {
        let wanted = |_: &&str| self.random.random_bool(0.5);
        let topics = TOPICS.iter().copied().filter(wanted).map(Topic::from).collect();
        let pattern = ["", "", "ap.*", ".*an.*"][self.random.random_range(0..4)];
        let client = &mut self.clients[client];
        (client.topics, client.pattern, client.full) = (topics, pattern, true);
    }

    /// A heartbeat, or a join; now and then its answer is lost.
    fn beat(&mut self, at: usize) {
        if !self.clients[at].inside {
            self.lives += 1;
            let Client { instance, topics, pattern, .. } = self.clients[at].clone();
            let id = format!("m{}", self.lives).into();
            self.clients[at] = Client { id, instance, topics, pattern, full: true, inside: true, ..Client::default() };
        }
        // It lets go of what it shall not have any more; or has not come to it yet.
        if self.random.random_bool(0.7) {
            self.clients[at].owns = self.clients[at].shall.clone();
        }
        let heartbeat = self.heartbeat(at);
        let answer = self.send(heartbeat);
        if self.random.random_bool(0.9) {
            self.hear(at, answer);
        } else {
            (self.clients[at].full, self.clients[at].deaf) = (true, true);
        }
    }

    fn heartbeat(&self, at: usize) -> Heartbeat {
        let client = &self.clients[at];
        let joins = client.epoch == 0;
        Heartbeat {
            member_id: client.id.clone(),
            epoch: client.epoch,
            instance_id: client.instance.map(Into::into),
            rebalance_timeout: client.full.then_some(Duration::from_secs(30)),
            topics: client.full.then(|| client.topics.clone()),
            regex: client.full.then(|| client.pattern.into()),
            owned: Some(if joins { Target::new() } else { client.owns.clone() }),
            ..Heartbeat::default()
        }
    }

    fn send(&mut self, heartbeat: Heartbeat) -> Result<Beat, Refusal> {
        let mut out = Effects::default();
        let scene = Scene { now: self.now, topics: &self.shelf };
        let answer = self.coordinator.consumer_heartbeat(scene, GROUP, heartbeat, &mut out);
        self.journal.append(&mut out.entries);
        answer
    }

    fn hear(&mut self, at: usize, answer: Result<Beat, Refusal>) {
        let client = &mut self.clients[at];
        match answer {
            Ok(beat) => {
                (client.epoch, client.full) = (beat.epoch, false);
                if let Some(assignment) = beat.assignment {
                    client.shall = assignment;
                }
                if std::mem::take(&mut client.deaf) {
                    client.owns.retain(|topic, partitions| {
                        let shall = client.shall.get(topic);
                        partitions.retain(|partition| shall.is_some_and(|shall| shall.contains(partition)));
                        !partitions.is_empty()
                    });
                }
            }
            Err(refusal) => match refusal.error {
                ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH => {
                    let Client { id, instance, topics, pattern, .. } = client.clone();
                    *client = Client { id, instance, topics, pattern, inside: true, full: true, ..Client::default() };
                }
                ErrorCode::GROUP_MAX_SIZE_REACHED
                | ErrorCode::UNRELEASED_INSTANCE_ID
                | ErrorCode::FENCED_INSTANCE_ID
                | ErrorCode::GROUP_ID_NOT_FOUND => *client = Client { instance: client.instance, ..Client::default() },
                other => panic!("refused with {other}"),
            },
        }
    }

    fn leave(&mut self, at: usize) {
        let Client { id, instance, .. } = self.clients[at].clone();
        let who = Identity { member_id: id, instance_id: instance.map(Into::into) };
        let returns = instance.is_some() && self.random.random_bool(0.5);
        let mut out = Effects::default();
        let scene = Scene { now: self.now, topics: &self.shelf };
        let _ = self.coordinator.consumer_leave(scene, GROUP, &who, returns, &mut out);
        self.journal.append(&mut out.entries);
        self.clients[at] = Client { instance, ..Client::default() };
    }

    /// The journal alone leads to the same group.
    fn restart(&mut self) {
        let mut again = Coordinator::new(self.coordinator.config.clone());
        self.journal.iter().for_each(|entry| again.apply(entry));
        assert_eq!(again.snapshot(), self.coordinator.snapshot());
        self.journal = again.snapshot();
        again.resume(self.now);
        self.coordinator = again;
    }

    fn check(&self) {
        let Some(group) = self.coordinator.consumer(GROUP) else { return };
        let mut holders: BTreeMap<(TopicId, i32), &MemberId> = BTreeMap::new();
        for (id, member) in group.members() {
            for place in member.held() {
                let other = holders.insert(place, id);
                assert!(other.is_none(), "{place:?} is held by {id} and {other:?}");
            }
            assert!(member.session_ends.is_some(), "{id} would live forever");
            assert!(member.epoch <= group.assignment_epoch(), "{id} is ahead of the target");
            let twins = group.members().values().filter(|other| other.instance_id == member.instance_id).count();
            assert!(member.instance_id.is_none() || twins == 1, "an instance twice");
        }
        assert!(group.assignment_epoch() <= group.epoch(), "the target is ahead of the group");
        assert!(self.coordinator.deadline().is_none_or(|at| at >= self.now), "a deadline was passed over");
        self.check_readers(&holders);
    }

    /// What a client reads is its own in the coordinator's eyes, too. (One that has not heard the last answer may take over
    /// what was taken back in it; so it can happen with Kafka.)
    fn check_readers(&self, holders: &BTreeMap<(TopicId, i32), &MemberId>) {
        let Some(group) = self.coordinator.consumer(GROUP) else { return };
        for client in self.clients.iter().filter(|client| client.inside && client.epoch > 0) {
            let Some(member) = group.members().get(&client.id) else { continue };
            let current = client.epoch == member.epoch && !client.deaf;
            for (topic, partitions) in client.owns.iter().filter(|_| current) {
                for partition in partitions {
                    let holder = holders.get(&(*topic, *partition));
                    assert!(holder.is_none_or(|id| **id == client.id), "{topic}-{partition} is read by two");
                }
            }
        }
    }

    /// With everybody doing as told and nothing changing any more, all arrive at the target.
    fn settle(&mut self) {
        for _ in 0..40 {
            self.now += Duration::from_secs(3);
            let mut out = Effects::default();
            self.coordinator.expire(self.now, &self.shelf, &mut out);
            self.journal.append(&mut out.entries);
            for at in 0..self.clients.len() {
                if self.clients[at].inside {
                    self.clients[at].owns = self.clients[at].shall.clone();
                    let answer = self.send(self.heartbeat(at));
                    self.hear(at, answer);
                }
            }
            self.check();
        }
        let Some(group) = self.coordinator.consumer(GROUP) else { return };
        assert!(["Stable", "Empty"].contains(&group.state().name()), "still {}", group.state());
        for client in self.clients.iter().filter(|client| client.inside && client.epoch > 0) {
            let member = &group.members()[&client.id];
            assert_eq!(client.shall, member.target, "{} has not what it shall have", client.id);
        }
        self.check_coverage();
    }

    /// Everything that anybody reads by name is read by somebody.
    fn check_coverage(&self) {
        let Some(group) = self.coordinator.consumer(GROUP) else { return };
        let held: BTreeSet<(TopicId, i32)> = group.members().values().flat_map(super::Member::held).collect();
        for (name, shape) in &self.shelf.0 {
            let read = group.members().values().any(|member| member.topics.contains(name));
            let all = (0..shape.partitions).all(|partition| held.contains(&(shape.id, partition)));
            assert!(!read || all, "nobody reads some of {name}");
        }
    }
}

#[test]
fn whatever_happens_no_partition_has_two_owners_and_all_arrive() {
    for seed in 0..RUNS {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..EVENTS).for_each(|_| world.step());
            world.settle();
            world.restart();
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}
