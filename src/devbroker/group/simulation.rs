//! Many clients, good and bad, against one group: whatever comes in whatever order, the group keeps its promises. Each
//! run follows from its seed, which a failure prints.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::consumer::Shelf;
use super::*;

const GROUP: &str = "g";
const RUNS: u64 = 2000;
const EVENTS: usize = 120;

/// A client as far as it knows: its id and generation may be long out of date.
#[derive(Debug, Default, Clone)]
struct Client {
    id: Option<MemberId>,
    instance: Option<Arc<str>>,
    generation: i32,
    leads: Vec<MemberId>,
}

struct World {
    coordinator: Coordinator,
    now: Instant,
    random: SmallRng,
    clients: Vec<Client>,
    /// Who waits for what.
    waiting: BTreeMap<Ticket, usize>,
    tickets: u64,
    /// The highest generation that anybody was told of.
    generation: i32,
    journal: Vec<Entry>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let config = Config {
            initial_rebalance_delay: Duration::from_millis(random.random_range(0..4000)),
            max_size: random.random_range(2..8),
            ..Config::default()
        };
        let client = |n: usize| Client { instance: (n < 3).then(|| format!("i{}", n % 2).into()), ..Client::default() };
        World {
            coordinator: Coordinator::new(config),
            now: Instant::now(),
            clients: (0..7).map(client).collect(),
            random,
            waiting: BTreeMap::new(),
            tickets: 0,
            generation: 0,
            journal: Vec::new(),
        }
    }

    fn ticket(&mut self, client: usize) -> Ticket {
        self.tickets += 1;
        self.waiting.insert(Ticket(self.tickets), client);
        Ticket(self.tickets)
    }

    fn step(&mut self) {
        let client = self.random.random_range(0..self.clients.len());
        let mut out = Effects::default();
        match self.random.random_range(0..20) {
            0..=5 => self.join(client, &mut out),
            6..=9 => self.sync(client, &mut out),
            10..=12 => {
                let _ = self.coordinator.heartbeat(
                    Scene { now: self.now, topics: &Shelf::default() },
                    GROUP,
                    &self.identity(client),
                    self.clients[client].generation,
                );
            }
            13 => {
                let _ = self.coordinator.leave(self.now, GROUP, &[self.identity(client)], &Shelf::default(), &mut out);
                self.clients[client].id = None;
            }
            14..=15 => self.commit(client),
            16 => {
                // It restarts, and has forgotten its id.
                self.clients[client] = Client { instance: self.clients[client].instance.clone(), ..Client::default() };
            }
            _ => {
                self.now += Duration::from_millis(self.random.random_range(1..9000));
                self.coordinator.expire(self.now, &Shelf::default(), &mut out);
            }
        }
        self.take(out);
        self.check();
    }

    fn join(&mut self, client: usize, out: &mut Effects) {
        let ticket = self.ticket(client);
        let Client { id, instance, .. } = self.clients[client].clone();
        let names = [&["range", "sticky"][..], &["sticky", "range"], &["range"]].choose(&mut self.random).copied();
        let mark = Bytes::from(vec![self.random.random_range(0..2u8)]);
        let join = Join {
            member_id: id,
            fresh_id: format!("m{}", self.tickets).into(),
            instance_id: instance,
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout: Duration::from_secs(self.random.random_range(6..12)),
            rebalance_timeout: Duration::from_secs(self.random.random_range(0..20)),
            protocol_type: "consumer".into(),
            protocols: names
                .unwrap_or_default()
                .iter()
                .map(|name| Protocol { name: (*name).into(), metadata: mark.clone() })
                .collect(),
            id_required: self.random.random_bool(0.5),
            may_skip_assignment: self.random.random_bool(0.5),
        };
        self.coordinator.join(Scene { now: self.now, topics: &Shelf::default() }, GROUP, join, ticket, out);
    }

    fn sync(&mut self, client: usize, out: &mut Effects) {
        let ticket = self.ticket(client);
        let Client { generation, leads, .. } = self.clients[client].clone();
        let assignments = leads.into_iter().map(|id| (id.clone(), Bytes::copy_from_slice(id.as_bytes()))).collect();
        let who = self.identity(client);
        let sync = Sync { who, generation, protocol_type: None, protocol: None, assignments };
        self.coordinator.sync(Scene { now: self.now, topics: &Shelf::default() }, GROUP, sync, ticket, out);
    }

    fn commit(&mut self, client: usize) {
        let generation = self.random.random_bool(0.8).then_some(self.clients[client].generation);
        let committer = Committer {
            generation,
            who: self.identity(client),
            knows_group_id_not_found: true,
            is_too_old_for_epochs: false,
        };
        let committed = Committed { offset: self.random.random_range(0..100), leader_epoch: None, metadata: "".into() };
        let commit = Commit { topic: "t".into(), partition: self.random.random_range(0..3), committed };
        let outcomes =
            self.coordinator.commit(self.now, GROUP, &committer, &[commit], &Shelf::default()).unwrap_or_default();
        for entry in outcomes.into_iter().flatten() {
            self.coordinator.apply(&entry);
            self.journal.push(entry);
        }
    }

    fn identity(&self, client: usize) -> Identity {
        let Client { id, instance, .. } = &self.clients[client];
        Identity { member_id: id.clone().unwrap_or_else(|| "".into()), instance_id: instance.clone() }
    }

    /// What came of a step: each answer goes to somebody who waits, and tells of one generation at a time.
    fn take(&mut self, mut out: Effects) {
        self.journal.append(&mut out.entries);
        for reply in out.replies {
            let client = self.waiting.remove(&reply.ticket()).expect("answered twice, or nobody asked");
            let Reply::Join { member_id, outcome, .. } = reply else { continue };
            let client = &mut self.clients[client];
            match outcome {
                Ok(joined) => {
                    assert!(joined.generation >= self.generation, "generation went back");
                    assert!(joined.protocol.is_some(), "a generation without a protocol");
                    self.generation = joined.generation;
                    let distinct: BTreeSet<_> = joined.members.iter().map(|member| &member.id).collect();
                    assert_eq!(distinct.len(), joined.members.len(), "a member twice");
                    client.leads = joined.members.into_iter().map(|member| member.id).collect();
                    client.generation = joined.generation;
                    client.id = member_id;
                }
                Err(ErrorCode::MEMBER_ID_REQUIRED | ErrorCode::REBALANCE_IN_PROGRESS) => client.id = member_id,
                Err(_) => client.id = None,
            }
        }
    }

    fn check(&self) {
        let Some(group) = self.coordinator.group(GROUP) else { return };
        let parked: BTreeSet<Ticket> =
            group.members().values().flat_map(|it| it.join.into_iter().chain(it.sync)).collect();
        assert_eq!(parked, self.waiting.keys().copied().collect(), "tickets that nobody holds, or that were answered");
        for (id, member) in group.members() {
            let waits = member.join.is_some() || member.sync.is_some();
            assert!(waits || member.session_ends.is_some(), "{id} would live forever");
            let may_join = group.state() == State::PreparingRebalance;
            assert!(member.join.is_none() || may_join, "{id} waits to join in {}", group.state());
            let may_sync = group.state() == State::CompletingRebalance;
            assert!(member.sync.is_none() || may_sync, "{id} waits for an assignment in {}", group.state());
            let holders = group.members().values().filter(|other| other.instance_id == member.instance_id).count();
            assert!(member.instance_id.is_none() || holders == 1, "an instance twice");
        }
        let deadline = self.coordinator.deadline();
        assert!(parked.is_empty() || deadline.is_some(), "somebody waits, and no timer runs");
        assert!(deadline.is_none_or(|at| at >= self.now), "a deadline was passed over");
        assert_eq!(group.members().is_empty(), group.leader().is_none(), "members have a leader");
        assert!(group.leader().is_none_or(|leader| group.members().contains_key(leader)), "the leader is a member");
        assert!(!group.is_empty() || group.members().is_empty(), "an empty group has no members");
        let chosen = matches!(group.state(), State::CompletingRebalance | State::Stable);
        assert!(!chosen || group.protocol().is_some(), "members need a protocol");
    }

    /// With nobody doing anything any more, time alone answers everybody and empties the group.
    fn wind_down(&mut self) {
        for _ in 0..100 {
            let Some(at) = self.coordinator.deadline() else { break };
            self.now = at.max(self.now);
            let mut out = Effects::default();
            self.coordinator.expire(self.now, &Shelf::default(), &mut out);
            self.take(out);
            self.check();
        }
        assert!(self.waiting.is_empty(), "left waiting: {:?}", self.waiting);
        assert!(self.coordinator.group(GROUP).is_none_or(Group::is_empty), "not empty in the end");
    }

    /// The journal alone leads to the same group.
    fn restart(&self) {
        let mut again = Coordinator::new(self.coordinator.config.clone());
        self.journal.iter().for_each(|entry| again.apply(entry));
        assert_eq!(again.snapshot(), self.coordinator.snapshot());
    }
}

#[test]
fn whatever_happens_everybody_is_answered_and_the_group_stays_whole() {
    for seed in 0..RUNS {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (0..EVENTS).for_each(|_| world.step());
            world.wind_down();
            world.restart();
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}
