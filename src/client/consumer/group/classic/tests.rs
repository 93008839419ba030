//! The machine by tables, and whole groups of machines against a model of the coordinator, by seeds.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::IndexedRandom;

use super::super::Distrust;
use super::super::simulation::{self, PARTITIONS};
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
        session_timeout: Duration::from_secs(12),
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
        Action::Report { of, refusal } => format!("report {of} {}", refusal.code),
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
        let numbered = || rest.parse().ok().map(ErrorCode);
        Fault::from(known.or_else(numbered).unwrap_or_else(|| panic!("{rest} is no error code")))
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
        "withheld" => Event::Withheld,
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
        "close" => Event::Close(None),
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
    for code in ["INVALID_SESSION_TIMEOUT", "GROUP_AUTHORIZATION_FAILED", "FENCED_INSTANCE_ID"] {
        let (join, sync) = (format!("join-fails {code}"), format!("sync-fails {code}"));
        let stop = format!("stop {code}");
        check(rules(true), &[("wanted", "join []"), (&join, &stop), ("tick", "")]);
        check(rules(true), &[("wanted", "join []"), ("joined", "sync 1"), (&sync, &stop), ("tick", "")]);
    }
    check(rules(true), &[("wanted", "join []"), ("join-distrust", "stop distrust")]);
    check_stable(rules(true), &[("tick", "beat 1"), ("beat-distrust", "lose 0,1; stop distrust")]);
}

#[test]
fn what_nobody_can_explain_is_told_and_ends_nothing() {
    for code in [ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode(150)] {
        let [beat, join, sync] = ["beat", "join", "sync"].map(|verb| format!("{verb}-fails {}", code.0));
        let [no_beat, no_join, no_sync] =
            ["Heartbeat", "JoinGroup", "SyncGroup"].map(|api| format!("report {api} {code}"));
        check_stable(
            rules(true),
            &[("tick", "beat 1"), (&beat, &no_beat), ("tick", "beat 1"), ("beaten", ""), ("tick", "beat 1")],
        );
        check_stable(
            rules(true),
            &[
                ("changed", "join m[0,1]"),
                (&join, &no_join),
                ("tick", "join m[0,1]"),
                ("joined 2", "sync 2"),
                (&sync, &no_sync),
                ("tick", "join m[0,1]"),
                ("joined 3", "sync 3"),
                ("synced 0,1", ""),
            ],
        );
        // While it gives up, too.
        check_stable(
            rules(false),
            &[
                ("changed", "revoke 0,1"),
                ("tick", "beat 1"),
                (&beat, &no_beat),
                ("released", "join m[]"),
                (&join, &no_join),
                ("tick", "join m[]"),
            ],
        );
        // Who is to leave does not try again.
        check_stable(
            rules(true),
            &[("changed", "join m[0,1]"), ("close", ""), (&join, "revoke 0,1"), ("released", "leave m")],
        );
    }
}

#[test]
fn what_nobody_can_explain_is_not_asked_again_at_once() {
    let cases: [(&[&str], Duration); 3] = [
        (&["wanted", "join-fails -1"], REFUSED_PAUSE),
        (&["wanted", "id", "joined", "sync-fails -1"], REFUSED_PAUSE),
        (&["wanted", "id", "joined", "synced 0,1", "beat-fails -1"], rules(true).heartbeat_interval),
    ];
    for (words, pause) in cases {
        let (mut group, now) = (ClassicGroup::new(rules(true)), Instant::now());
        for word in words {
            group.on(event(word), now);
        }
        assert_eq!(group.wakes_at(), Some(now + pause), "{words:?}");
    }
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
fn who_has_little_time_to_close_waits_no_longer_for_the_others() {
    let seconds = Duration::from_secs;
    let cases: [(&[Option<u64>], u64); 6] =
        [(&[None], 3), (&[Some(60)], 3), (&[Some(1)], 1), (&[Some(60), Some(2)], 2), (&[Some(1), None], 1), (&[], 0)];
    for (closes, expect) in cases {
        let (mut group, now) = (ClassicGroup::new(rules(true)), Instant::now());
        for word in ["wanted", "id", "joined", "synced 0,1", "changed"] {
            group.on(event(word), now);
        }
        for by in closes {
            assert_eq!(group.on(Event::Close(by.map(|by| now + seconds(by))), now), []);
        }
        assert_eq!(group.wakes_at(), (expect > 0).then(|| now + seconds(expect)), "{closes:?}");
    }
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

#[test]
fn a_leader_joins_again_if_those_do_not_who_were_to_give_up_partitions() {
    let waits = [("withheld", ""), ("tick", "beat 1"), ("beaten", ""), ("tick", "join m[0,1]")];
    check_stable(
        rules(true),
        &[
            &waits[..],
            &[
                ("joined", "sync 1"),
                ("synced 0,1", ""),
                ("tick", "beat 1"),
                ("beaten", ""),
                ("tick", "beat 1"),
                ("beaten", ""),
                ("tick", "beat 1"),
            ],
        ]
        .concat(),
    );
    let others_join = [("withheld", ""), ("tick", "beat 1"), ("beat-fails REBALANCE_IN_PROGRESS", "join m[0,1]")];
    check_stable(
        rules(true),
        &[
            &others_join[..],
            &[
                ("withheld", ""),
                ("joined", "sync 1"),
                ("synced 0,1", ""),
                ("tick", "beat 1"),
                ("beaten", ""),
                ("tick", "beat 1"),
            ],
        ]
        .concat(),
    );
}

/// Kafka's classic coordinator, as far as the machine can tell.
#[derive(Debug)]
struct Coordinator {
    assignor: Assignor,
    generation: i32,
    phase: Phase,
    /// What each member said it owns, once it has joined this rebalance.
    members: BTreeMap<Str, Option<Claim>>,
    parts: BTreeMap<Str, Vec<TopicPartition>>,
    ids: u32,
    /// Who of the machines waits as which member, and for what.
    waiting: BTreeMap<usize, (Str, Waits)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Waits {
    ForJoin,
    /// In that generation.
    ForSync(i32),
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
    fn new(assignor: Assignor) -> Self {
        let (members, parts, waiting) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { assignor, generation: 0, phase: Phase::Stable, members, parts, ids: 0, waiting }
    }

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

    /// Everybody is in: the next generation, assigned at once.
    fn complete(&mut self) -> bool {
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
        self.parts = self.assignor.assign(&members, &Counts::from([(Topic::from("t"), PARTITIONS)]));
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
    /// What it answers somebody who waits, if it can by now.
    fn answer(&self, id: &Str, waits: Waits, everybody_is_in: bool) -> Option<Event> {
        let (generation, assignor) = (self.generation, self.assignor);
        let fails = |code: ErrorCode| Some(Event::Synced(Err(Fault::from(code))));
        match waits {
            Waits::ForJoin if !self.members.contains_key(id) => {
                Some(Event::Joined(Err(Fault::from(ErrorCode::UNKNOWN_MEMBER_ID))))
            }
            Waits::ForJoin => {
                everybody_is_in.then(|| Event::Joined(Ok(Joined { member_id: id.clone(), generation, assignor })))
            }
            Waits::ForSync(_) if !self.members.contains_key(id) => fails(ErrorCode::UNKNOWN_MEMBER_ID),
            Waits::ForSync(_) if self.phase == Phase::Joining => fails(ErrorCode::REBALANCE_IN_PROGRESS),
            Waits::ForSync(known) if known != generation => fails(ErrorCode::ILLEGAL_GENERATION),
            Waits::ForSync(_) => Some(Event::Synced(Ok(self.parts[id].iter().cloned().collect()))),
        }
    }
}

impl simulation::Coordinator for Coordinator {
    fn rules(&self, _: usize) -> Rules {
        rules(self.assignor.is_cooperative())
    }

    fn members(&self) -> Vec<Str> {
        self.members.keys().cloned().collect()
    }

    fn remove(&mut self, id: &Str) {
        if self.members.remove(id).is_some() {
            self.rebalance();
        }
    }

    fn counts(&self, id: &Str, _: i32) -> bool {
        self.members.contains_key(id)
    }

    fn asked(&mut self, machine: usize, question: Question) -> Option<Event> {
        match question {
            Question::Join(Joining { member_id, generation, owned, .. }) => {
                self.waiting.remove(&machine);
                let refused = self.join(member_id.clone(), owned, generation);
                if refused.is_none() {
                    self.waiting.insert(machine, (member_id, Waits::ForJoin));
                }
                refused.map(|fault| Event::Joined(Err(fault)))
            }
            Question::Sync(joined) => {
                self.waiting.insert(machine, (joined.member_id, Waits::ForSync(joined.generation)));
                None
            }
            Question::Heartbeat { member_id, generation } => {
                Some(Event::Beaten { generation, result: self.check(&member_id, generation) })
            }
            Question::Leave { member_id, .. } => {
                simulation::Coordinator::remove(self, &member_id);
                Some(Event::Left)
            }
            other => panic!("{other:?} is none of the classic protocol's"),
        }
    }

    fn answers(&mut self) -> Vec<(usize, Event)> {
        let everybody_is_in = self.complete();
        let mut answers = Vec::new();
        for (machine, (id, waits)) in std::mem::take(&mut self.waiting) {
            match self.answer(&id, waits, everybody_is_in) {
                Some(event) => answers.push((machine, event)),
                None => drop(self.waiting.insert(machine, (id, waits))),
            }
        }
        answers
    }
}

#[test]
fn groups_settle_and_never_share_a_partition() {
    simulation::play(|_, rng| {
        let assignor = [Assignor::Range, Assignor::CooperativeSticky].choose(rng);
        Coordinator::new(*assignor.expect("two"))
    });
}
