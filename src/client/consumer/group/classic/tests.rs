//! The machine by tables, and whole groups of machines against a model of the coordinator, by seeds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::super::Distrust;
use super::*;
use crate::client::consumer::assignor::{Counts, Member};
use crate::client::consumer::config::GroupProtocol;
use crate::client::error::Error;
use crate::protocol::types::Topic;

fn rules(cooperative: bool) -> Rules {
    Rules {
        protocol: GroupProtocol::Classic,
        member_id: Str::default(),
        cooperative,
        is_static: false,
        heartbeat_interval: Duration::from_secs(3),
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_secs(1),
        close_patience: Duration::from_secs(3),
    }
}

fn set(partitions: &[i32]) -> BTreeSet<TopicPartition> {
    partitions.iter().map(|partition| TopicPartition::new("t", *partition)).collect()
}

fn numbers(partitions: &BTreeSet<TopicPartition>) -> String {
    let numbers: Vec<String> = partitions.iter().map(|p| p.partition.to_string()).collect();
    numbers.join(",")
}

fn show(action: &Action) -> String {
    match action {
        Action::Ask(Question::Join(Joining { member_id, owned, .. })) => {
            format!("join {member_id}[{}]", numbers(owned))
        }
        Action::Ask(Question::Sync(joined)) => format!("sync {}", joined.generation),
        Action::Ask(Question::Heartbeat { generation, .. }) => format!("beat {generation}"),
        Action::Ask(Question::Leave { member_id, .. }) => format!("leave {member_id}"),
        Action::FindCoordinator => "find".into(),
        Action::Assign(partitions) => format!("assign {}", numbers(partitions)),
        Action::Revoke { partitions, drain, .. } => {
            format!("{} {}", if *drain { "revoke" } else { "drop" }, numbers(partitions))
        }
        Action::Lose { partitions, .. } => format!("lose {}", numbers(partitions)),
        Action::Stop(None) => "stop".into(),
        Action::Stop(Some(Fault::Refused(refusal))) => format!("stop {}", refusal.code),
        Action::Stop(Some(Fault::Distrust(_))) => "stop distrust".into(),
        other => format!("{other:?}"),
    }
}

/// A word of the scripts below → an event.
fn event(word: &str) -> Event {
    let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
    let code = || {
        let known = ErrorCode::ALL.iter().find(|code| code.name() == Some(rest)).copied();
        Fault::from(known.unwrap_or_else(|| panic!("{rest} is no error code")))
    };
    let distrust = || Fault::Distrust(Distrust(Error::broker(ErrorCode::SASL_AUTHENTICATION_FAILED)));
    let generation = 1;
    let joined = |generation| Joined { member_id: "m".into(), generation, assignor: Assignor::Range };
    let list = || set(&rest.split(',').filter_map(|number| number.parse().ok()).collect::<Vec<_>>());
    match verb {
        "wanted" => Event::Wanted,
        "id" => Event::Joined(Err(Fault::MemberIdRequired("m".into()))),
        "joined" => Event::Joined(Ok(joined(rest.parse().unwrap_or(generation)))),
        "join-fails" => Event::Joined(Err(code())),
        "join-distrust" => Event::Joined(Err(distrust())),
        "beat-distrust" => Event::Beaten { generation, result: Err(distrust()) },
        "join-lost" => Event::Joined(Err(Fault::Unanswered)),
        "synced" => Event::Synced(Ok(list())),
        "sync-fails" => Event::Synced(Err(code())),
        "beaten" => Event::Beaten { generation, result: Ok(()) },
        "beat-fails" => Event::Beaten { generation, result: Err(code()) },
        "beat-lost" => Event::Beaten { generation, result: Err(Fault::Unanswered) },
        "late-beat-fails" => Event::Beaten { generation: 0, result: Err(code()) },
        "commit-fails" => Event::CommitRefused { generation, code: ErrorCode::ILLEGAL_GENERATION },
        "released" => Event::Released(rest.parse().unwrap_or(1)),
        "changed" => Event::Changed("topics"),
        "overdue" => Event::Overdue,
        "tick" => Event::Tick,
        "left" => Event::Left,
        "close" => Event::Close,
        _ => panic!("{verb} is no event"),
    }
}

/// Each line: an event, and what is done about it.
fn check(rules: Rules, script: &[(&str, &str)]) {
    let (mut group, mut now) = (ClassicGroup::new(rules), Instant::now());
    for (at, (word, expect)) in script.iter().enumerate() {
        now += Duration::from_secs(5);
        let actions: Vec<String> = group.on(event(word), now).iter().map(show).collect();
        assert_eq!(actions.join("; "), *expect, "line {at}, `{word}`");
    }
}

/// As [`check`], from a member that holds 0 and 1.
fn check_stable(rules: Rules, script: &[(&str, &str)]) {
    let entry = [("wanted", "join []"), ("id", "join m[]"), ("joined", "sync 1"), ("synced 0,1", "assign 0,1")];
    check(rules, &[&entry, script].concat());
}

#[test]
fn an_eager_member_gives_up_everything_before_it_joins() {
    check_stable(
        rules(false),
        &[
            ("tick", "beat 1"),
            ("beat-fails REBALANCE_IN_PROGRESS", "revoke 0,1"),
            ("tick", "beat 1"),
            ("beat-fails REBALANCE_IN_PROGRESS", ""),
            ("released", "join m[]"),
            ("joined 2", "sync 2"),
            ("synced 1", "assign 1"),
        ],
    );
}

#[test]
fn a_cooperative_member_gives_up_what_moves_and_joins_again() {
    check_stable(
        rules(true),
        &[
            ("tick", "beat 1"),
            ("beat-fails REBALANCE_IN_PROGRESS", "join m[0,1]"),
            ("joined 2", "sync 2"),
            ("synced 1,2", "assign 2; revoke 0"),
            ("released", "join m[1,2]"),
            ("joined 3", "sync 3"),
            ("synced 1,2", ""),
            ("close", "revoke 1,2"),
            ("released 2", "leave m"),
            ("left", "stop"),
        ],
    );
}

#[test]
fn what_the_group_gave_to_others_is_lost_not_revoked() {
    for code in ["UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION"] {
        let id = if code == "UNKNOWN_MEMBER_ID" { "" } else { "m" };
        let fails = format!("beat-fails {code}");
        check_stable(rules(true), &[("tick", "beat 1"), (&fails, &format!("lose 0,1; join {id}[]"))]);
        let fails = format!("sync-fails {code}");
        check_stable(
            rules(true),
            &[("changed", "join m[0,1]"), ("joined 2", "sync 2"), (&fails, &format!("lose 0,1; join {id}[]"))],
        );
    }
    check_stable(rules(true), &[("commit-fails", "lose 0,1; join m[]")]);
    check_stable(rules(true), &[("late-beat-fails UNKNOWN_MEMBER_ID", "")]);
    // While it gives up: there is nothing to wait for any more.
    check_stable(
        rules(false),
        &[
            ("changed", "revoke 0,1"),
            ("tick", "beat 1"),
            ("beat-fails UNKNOWN_MEMBER_ID", "lose 0,1; join []"),
            ("released", ""),
        ],
    );
    check_stable(rules(false), &[("close", "revoke 0,1"), ("commit-fails", "lose 0,1; leave m")]);
}

#[test]
fn a_coordinator_that_moves_is_found_again_and_nothing_is_lost() {
    check_stable(
        rules(true),
        &[
            ("tick", "beat 1"),
            ("beat-fails NOT_COORDINATOR", "find"),
            ("tick", "beat 1"),
            ("beat-lost", "find"),
            ("tick", "beat 1"),
            ("beat-fails COORDINATOR_LOAD_IN_PROGRESS", ""),
            ("tick", "beat 1"),
            ("beaten", ""),
        ],
    );
    check(
        rules(true),
        &[
            ("wanted", "join []"),
            ("join-fails COORDINATOR_NOT_AVAILABLE", "find"),
            ("tick", "join []"),
            ("join-fails COORDINATOR_LOAD_IN_PROGRESS", ""),
            ("tick", "join []"),
            ("join-lost", "find"),
            ("tick", "join []"),
            ("joined", "sync 1"),
            ("sync-fails NOT_COORDINATOR", "find"),
            ("tick", "join m[]"),
            ("joined", "sync 1"),
            ("sync-fails REBALANCE_IN_PROGRESS", "join m[]"),
        ],
    );
}

#[test]
fn what_no_retry_can_change_ends_it() {
    check_stable(
        rules(true),
        &[("tick", "beat 1"), ("beat-fails FENCED_INSTANCE_ID", "lose 0,1; stop FENCED_INSTANCE_ID"), ("tick", "")],
    );
    check(
        rules(true),
        &[("wanted", "join []"), ("join-fails INCONSISTENT_GROUP_PROTOCOL", "stop INCONSISTENT_GROUP_PROTOCOL")],
    );
    check(rules(true), &[("wanted", "join []"), ("join-distrust", "stop distrust")]);
    check_stable(rules(true), &[("tick", "beat 1"), ("beat-distrust", "lose 0,1; stop distrust")]);
}

#[test]
fn a_slow_application_leaves_and_comes_back() {
    let script = [
        ("overdue", "drop 0,1"),
        ("overdue", ""),
        ("released", "leave m"),
        ("left", ""),
        ("tick", ""),
        ("overdue", ""),
        ("wanted", "join []"),
        ("wanted", ""),
    ];
    check_stable(rules(true), &script);
    // It holds up a rebalance: waiting for it is over.
    let slow = [("changed", "revoke 0,1"), ("overdue", "drop 0,1"), ("released", ""), ("released 2", "leave m")];
    check_stable(rules(false), &slow);
}

#[test]
fn closing_is_possible_at_any_time() {
    check(rules(true), &[("close", "stop"), ("close", "")]);
    check(rules(true), &[("wanted", "join []"), ("close", "stop"), ("joined", "")]);
    check(
        rules(true),
        &[("wanted", "join []"), ("id", "join m[]"), ("close", "leave m"), ("joined", ""), ("left", "stop")],
    );
    check_stable(
        rules(true),
        &[
            ("changed", "join m[0,1]"),
            ("close", ""),
            ("joined 2", "sync 2"),
            ("synced 1", "revoke 0,1"),
            ("released", "leave m"),
            ("left", "stop"),
        ],
    );
    // Others are long in joining, or the rebalance fails: what is held is committed as it can be.
    check_stable(rules(true), &[("changed", "join m[0,1]"), ("close", ""), ("tick", "revoke 0,1"), ("joined 2", "")]);
    check_stable(
        rules(true),
        &[
            ("changed", "join m[0,1]"),
            ("close", ""),
            ("join-fails NOT_COORDINATOR", "revoke 0,1"),
            ("released", "leave m"),
        ],
    );
    check_stable(rules(true), &[("overdue", "drop 0,1"), ("close", "revoke 0,1"), ("released 2", "leave m")]);
    // What was revoked before is revoked with the rest, and its own end ends nothing.
    check_stable(
        rules(true),
        &[
            ("changed", "join m[0,1]"),
            ("joined 2", "sync 2"),
            ("synced 1", "revoke 0"),
            ("close", "revoke 0,1"),
            ("released", ""),
            ("released 2", "leave m"),
            ("left", "stop"),
        ],
    );
    // So does one of partitions that were lost meanwhile.
    check_stable(
        rules(false),
        &[
            ("changed", "revoke 0,1"),
            ("commit-fails", "lose 0,1; join m[]"),
            ("joined", "sync 1"),
            ("synced 1", "assign 1"),
            ("changed", "revoke 1"),
            ("released", ""),
            ("released 2", "join m[]"),
        ],
    );
    check_stable(rules(true), &[("overdue", "drop 0,1"), ("released", "leave m"), ("close", ""), ("left", "stop")]);
    // A static member keeps its place.
    let is_static = Rules { is_static: true, ..rules(true) };
    check_stable(is_static, &[("close", "revoke 0,1"), ("released", "stop")]);
}

#[test]
fn what_changes_during_a_rebalance_is_looked_at_after_it() {
    check_stable(
        rules(true),
        &[
            ("changed", "join m[0,1]"),
            ("changed", ""),
            ("joined", "sync 1"),
            ("synced 0,1", "join m[0,1]"),
            ("joined", "sync 1"),
            ("synced 0,1", ""),
        ],
    );
}

const PARTITIONS: i32 = 7;

/// Kafka's classic coordinator, as far as the machine can tell.
#[derive(Debug, Default)]
struct Coordinator {
    generation: i32,
    phase: Phase,
    /// What each member said it owns, once it has joined this rebalance.
    members: BTreeMap<Str, Option<Claim>>,
    parts: BTreeMap<Str, Vec<TopicPartition>>,
    ids: u32,
}

/// What is owned, and since which generation.
type Claim = (BTreeSet<TopicPartition>, Option<i32>);

#[derive(Debug, Default, PartialEq)]
enum Phase {
    #[default]
    Stable,
    Joining,
    Syncing,
}

impl Coordinator {
    fn join(&mut self, id: Str, owned: BTreeSet<TopicPartition>, generation: Option<i32>) -> Option<Fault> {
        if id.is_empty() {
            self.ids += 1;
            let id = Str::from(format!("m{}", self.ids));
            self.members.insert(id.clone(), None);
            self.rebalance();
            return Some(Fault::MemberIdRequired(id));
        }
        if !self.members.contains_key(&id) {
            return Some(Fault::from(ErrorCode::UNKNOWN_MEMBER_ID));
        }
        self.rebalance();
        self.members.insert(id, Some((owned, generation)));
        None
    }

    fn rebalance(&mut self) {
        if self.phase != Phase::Joining {
            self.phase = Phase::Joining;
            self.members.values_mut().for_each(|joined| *joined = None);
        }
    }

    fn remove(&mut self, id: &Str) {
        if self.members.remove(id).is_some() {
            self.rebalance();
        }
    }

    /// Everybody is in: the next generation, assigned at once.
    fn complete(&mut self, assignor: Assignor) -> bool {
        if self.phase != Phase::Joining || self.members.is_empty() || self.members.values().any(Option::is_none) {
            return false;
        }
        self.phase = Phase::Syncing;
        self.generation += 1;
        let members: Vec<Member> = self
            .members
            .iter()
            .filter_map(|(id, joined)| {
                let (owned, generation) = joined.clone()?;
                let topics = vec![Topic::from("t")];
                Some(Member {
                    member_id: id.clone(),
                    topics,
                    owned: owned.into_iter().collect(),
                    generation,
                    instance_id: None,
                })
            })
            .collect();
        self.parts = assignor.assign(&members, &Counts::from([(Topic::from("t"), PARTITIONS)]));
        true
    }

    fn check(&self, id: &Str, generation: i32) -> Result<(), Fault> {
        match (self.members.contains_key(id), generation == self.generation) {
            (false, _) => Err(Fault::from(ErrorCode::UNKNOWN_MEMBER_ID)),
            (true, false) => Err(Fault::from(ErrorCode::ILLEGAL_GENERATION)),
            (true, true) if self.phase == Phase::Joining => Err(Fault::from(ErrorCode::REBALANCE_IN_PROGRESS)),
            (true, true) => Ok(()),
        }
    }
}

struct Sim {
    rng: SmallRng,
    now: Instant,
    coordinator: Coordinator,
    assignor: Assignor,
    machines: Vec<Machine>,
}

struct Machine {
    group: ClassicGroup,
    /// What the application reads.
    reads: BTreeSet<TopicPartition>,
    /// Answers on their way, and requests that wait at the coordinator.
    events: VecDeque<Event>,
    waiting: Option<(Str, Waits)>,
    releasing: BTreeSet<TopicPartition>,
    release: u64,
    closing: bool,
    stopped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Waits {
    ForJoin,
    ForSync,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let assignor = *[Assignor::Range, Assignor::CooperativeSticky].choose(&mut rng).expect("two");
        let mut sim =
            Self { rng, now: Instant::now(), coordinator: Coordinator::default(), assignor, machines: Vec::new() };
        (0..3).for_each(|_| sim.enter());
        sim
    }

    fn enter(&mut self) {
        let group = ClassicGroup::new(rules(self.assignor.is_cooperative()));
        let (reads, releasing, events) = (BTreeSet::new(), BTreeSet::new(), VecDeque::from([Event::Wanted]));
        let (waiting, release, closing, stopped) = (None, 0, false, false);
        self.machines.push(Machine { group, reads, events, waiting, releasing, release, closing, stopped });
    }

    /// One thing happens to one machine.
    fn step(&mut self, faults: bool) {
        self.now += Duration::from_millis(self.rng.random_range(1..400));
        let at = self.rng.random_range(0..self.machines.len());
        if faults && self.rng.random_bool(0.04) {
            return self.fault(at);
        }
        let machine = &mut self.machines[at];
        let event = match self.rng.random_range(0..3) {
            0 => machine.events.pop_front(),
            1 if !machine.releasing.is_empty() => {
                std::mem::take(&mut machine.releasing).iter().for_each(|partition| {
                    machine.reads.remove(partition);
                });
                Some(Event::Released(machine.release))
            }
            _ if machine.group.is_away() && !machine.stopped => Some(Event::Wanted),
            _ => Some(Event::Tick),
        };
        if let Some(event) = event {
            self.tell(at, event);
        }
        if self.rng.random_bool(0.02) {
            self.expire();
        }
        self.answer();
    }

    /// Ends the sessions of members that no machine is any more: their id never reached it, or it has left unheard.
    fn expire(&mut self) {
        let alive: BTreeSet<Str> = self.machines.iter().map(|machine| machine.group.member_id.clone()).collect();
        let gone: Vec<Str> = self.coordinator.members.keys().filter(|id| !alive.contains(*id)).cloned().collect();
        gone.iter().for_each(|id| self.coordinator.remove(id));
    }

    fn fault(&mut self, at: usize) {
        match self.rng.random_range(0..6) {
            0 => {
                let ids: Vec<Str> = self.coordinator.members.keys().cloned().collect();
                if let Some(id) = ids.choose(&mut self.rng) {
                    self.coordinator.remove(id);
                }
            }
            1 => self.tell(at, Event::Overdue),
            2 => self.tell(at, Event::Changed("simulation")),
            3 if self.machines.iter().filter(|machine| !machine.closing).count() > 1 => {
                self.machines[at].closing = true;
                self.tell(at, Event::Close);
            }
            4 if self.machines.len() < 8 => self.enter(),
            // An answer is lost on its way.
            _ => {
                let machine = &mut self.machines[at];
                let lost = match machine.events.pop_front() {
                    Some(Event::Joined(_)) => Some(Event::Joined(Err(Fault::Unanswered))),
                    Some(Event::Synced(_)) => Some(Event::Synced(Err(Fault::Unanswered))),
                    Some(Event::Beaten { generation, .. }) => {
                        Some(Event::Beaten { generation, result: Err(Fault::Unanswered) })
                    }
                    other => other,
                };
                lost.into_iter().for_each(|event| machine.events.push_front(event));
            }
        }
    }

    fn tell(&mut self, at: usize, event: Event) {
        let actions = self.machines[at].group.on(event, self.now);
        for action in actions {
            self.act(at, action);
        }
        self.one_reader_each();
    }

    fn act(&mut self, at: usize, action: Action) {
        let machine = &mut self.machines[at];
        match action {
            Action::Ask(Question::Join(Joining { member_id, generation, owned, .. })) => {
                machine.waiting = None;
                match self.coordinator.join(member_id.clone(), owned, generation) {
                    Some(fault) => machine.events.push_back(Event::Joined(Err(fault))),
                    None => machine.waiting = Some((member_id, Waits::ForJoin)),
                }
            }
            Action::Ask(Question::Sync(joined)) => machine.waiting = Some((joined.member_id, Waits::ForSync)),
            Action::Ask(Question::Heartbeat { member_id, generation }) => {
                let result = self.coordinator.check(&member_id, generation);
                machine.events.push_back(Event::Beaten { generation, result });
            }
            Action::Assign(partitions) => machine.reads.extend(partitions),
            Action::Revoke { id, partitions, .. } => (machine.release, machine.releasing) = (id, partitions),
            Action::Lose { partitions, .. } => {
                machine.releasing.clear();
                machine.reads.retain(|partition| !partitions.contains(partition));
            }
            Action::Ask(Question::Leave { member_id, .. }) => {
                self.coordinator.remove(&member_id);
                machine.events.push_back(Event::Left);
            }
            Action::Stop(fault) => {
                assert_eq!(fault, None);
                machine.stopped = true;
            }
            Action::FindCoordinator => {}
            other => panic!("{other:?} is none of the classic protocol's"),
        }
    }

    /// The coordinator answers whom it can.
    fn answer(&mut self) {
        let everybody_is_in = self.coordinator.complete(self.assignor);
        let (generation, assignor) = (self.coordinator.generation, self.assignor);
        for machine in &mut self.machines {
            let Some((id, waits)) = machine.waiting.clone() else { continue };
            let gone = !self.coordinator.members.contains_key(&id);
            let event = match waits {
                Waits::ForJoin if gone => Event::Joined(Err(Fault::from(ErrorCode::UNKNOWN_MEMBER_ID))),
                Waits::ForJoin if everybody_is_in => Event::Joined(Ok(Joined { member_id: id, generation, assignor })),
                Waits::ForSync if gone => Event::Synced(Err(Fault::from(ErrorCode::UNKNOWN_MEMBER_ID))),
                Waits::ForSync if self.coordinator.phase == Phase::Joining => {
                    Event::Synced(Err(Fault::from(ErrorCode::REBALANCE_IN_PROGRESS)))
                }
                Waits::ForSync if machine.group.identity().is_some_and(|(_, known)| known != generation) => {
                    Event::Synced(Err(Fault::from(ErrorCode::ILLEGAL_GENERATION)))
                }
                Waits::ForSync => Event::Synced(Ok(self.coordinator.parts[&id].iter().cloned().collect())),
                Waits::ForJoin => continue,
            };
            machine.waiting = None;
            machine.events.push_back(event);
        }
    }

    /// No partition is read by two machines that the coordinator both counts as members.
    fn one_reader_each(&self) {
        let mut readers: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        for (at, machine) in self.machines.iter().enumerate() {
            let is_member = machine.group.identity().is_some_and(|(id, _)| self.coordinator.members.contains_key(&id));
            for partition in machine.reads.iter().filter(|_| is_member) {
                let other = readers.insert(partition, at);
                assert_eq!(other, None, "{partition} is read by {at} as well");
            }
        }
    }
}

#[test]
fn groups_settle_and_never_share_a_partition() {
    for seed in 0..400 {
        let mut sim = Sim::new(seed);
        (0..600).for_each(|_| sim.step(true));
        (0..3000).for_each(|_| sim.step(false));
        let mut read: Vec<i32> = sim.machines.iter().flat_map(|machine| &machine.reads).map(|p| p.partition).collect();
        read.sort_unstable();
        assert_eq!(read, (0..PARTITIONS).collect::<Vec<_>>(), "seed {seed}, {:?}: not settled", sim.assignor);
    }
}
