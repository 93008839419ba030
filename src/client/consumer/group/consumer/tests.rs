//! The machine by tables, and whole groups of machines against a model of the coordinator, by seeds.

use super::super::classic::Joined;
use super::super::simulation::{self, PARTITIONS};
use super::super::{Group, Refusal};
use super::*;
use crate::client::consumer::assignor::Assignor;
use crate::client::consumer::config::GroupProtocol;
use crate::protocol::types::Uuid;

fn rules() -> Rules {
    Rules {
        protocol: GroupProtocol::Consumer,
        member_id: "m".into(),
        cooperative: true,
        is_static: false,
        heartbeat_interval: Duration::from_secs(3),
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_secs(1),
        close_patience: Duration::from_secs(3),
        session_timeout: Duration::from_secs(12),
    }
}

/// The topic `a`, `b`, … of a letter.
fn id(letter: u8) -> TopicId {
    Uuid([letter; 16])
}

/// `a0 b7` → parts.
fn parts(text: &str) -> Parts {
    let part = |word: &str| (id(word.as_bytes()[0]), word[1..].parse().expect("a partition"));
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(part).collect()
}

fn show_parts(parts: &Parts) -> String {
    let words: Vec<String> = parts.iter().map(|(topic, number)| format!("{}{number}", topic.0[0] as char)).collect();
    words.join(",")
}

fn show_named(partitions: &BTreeSet<TopicPartition>) -> String {
    let words: Vec<String> = partitions.iter().map(|it| format!("{}{}", it.topic, it.partition)).collect();
    words.join(",")
}

fn show(action: &Action) -> String {
    match action {
        Action::Ask(Question::Beat(beat)) => {
            let epoch = beat.epoch.map_or("join".into(), |epoch| format!("beat {epoch}"));
            let said = if beat.whole {
                " all"
            } else if beat.topics {
                " topics"
            } else {
                ""
            };
            let owned = beat.owned.as_ref().map_or(String::new(), |owned| format!(" [{}]", show_parts(owned)));
            format!("{epoch}{said}{owned}")
        }
        Action::Ask(Question::LastBeat { member_id, .. }) => format!("leave {member_id}"),
        Action::Ask(Question::Join(_)) => "classic join".into(),
        Action::Ask(Question::CountClassic) => "count".into(),
        Action::FindCoordinator => "find".into(),
        Action::FallBack(_) => "fall back".into(),
        Action::Resolve(ids) => format!("resolve {}", ids.iter().map(|id| id.0[0] as char).collect::<String>()),
        Action::Assign(partitions) => format!("assign {}", show_named(partitions)),
        Action::Revoke { partitions, drain, .. } => {
            format!("{} {}", if *drain { "revoke" } else { "drop" }, show_named(partitions))
        }
        Action::Lose { partitions, .. } => format!("lose {}", show_named(partitions)),
        Action::Report { refusal, .. } => format!("report {}", refusal.code),
        Action::Stop(None) => "stop".into(),
        Action::Stop(Some(Fault::Refused(refusal))) => format!("stop {}", refusal.code),
        other => format!("{other:?}"),
    }
}

/// The number of the heartbeat that is out, and the machine.
#[derive(Debug)]
struct Play {
    group: Group,
    now: Instant,
    number: u64,
}

impl Play {
    fn new(rules: Rules) -> Self {
        Self { group: Group::new(rules), now: Instant::now(), number: 0 }
    }

    /// A word of the scripts below → an event.
    fn event(&self, word: &str) -> Event {
        let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
        let number = self.number;
        let code = |name: &str| {
            let known = ErrorCode::ALL.iter().find(|code| code.name() == Some(name)).copied();
            known.unwrap_or_else(|| panic!("{name} is no error code"))
        };
        let heard = |epoch: &str, target: Option<&str>| {
            let heartbeat_interval = Duration::from_secs(5);
            let epoch = epoch.parse().expect("an epoch");
            Ok(Heard { member_id: None, epoch, heartbeat_interval, target: target.map(parts) })
        };
        match verb {
            "wanted" => Event::Wanted,
            // `heard EPOCH` or `heard EPOCH: TARGET`.
            "heard" => match rest.split_once(':') {
                Some((epoch, target)) => Event::Heard { number, result: heard(epoch, Some(target)) },
                None => Event::Heard { number, result: heard(rest, None) },
            },
            "late" => Event::Heard { number: number - 1, result: heard("9", Some("")) },
            "fails" => Event::Heard { number, result: Err(code(rest).into()) },
            "silent" => Event::Heard { number, result: Err(Fault::Unanswered) },
            "unsupported" => Event::Heard { number, result: Err(Fault::Unsupported) },
            // The topics of these letters are called by them.
            "named" => Event::Resolved(
                rest.bytes().map(|it| (id(it), Topic::from((it as char).to_string().as_str()))).collect(),
            ),
            "commit-fails" => Event::CommitRefused { generation: 5, code: code(rest) },
            "released" => Event::Released(rest.parse().unwrap_or(1)),
            "counted" => Event::Counted(Ok(rest.parse().expect("a number"))),
            "count-fails" if rest.is_empty() => Event::Counted(Err(Fault::Unanswered)),
            "count-fails" => Event::Counted(Err(code(rest).into())),
            "changed" => Event::Changed("topics"),
            "overdue" => Event::Overdue,
            "tick" => Event::Tick,
            "left" => Event::Left,
            "close" => Event::Close(None),
            _ => panic!("{verb} is no event"),
        }
    }

    fn tell(&mut self, word: &str) -> String {
        self.now += Duration::from_secs(5);
        let actions = self.group.on(self.event(word), self.now);
        for action in &actions {
            if let Action::Ask(Question::Beat(beat)) = action {
                self.number = beat.number;
            }
        }
        actions.iter().map(show).collect::<Vec<_>>().join("; ")
    }
}

/// Each line: an event, and what is done about it.
fn check(rules: Rules, script: &[(&str, &str)]) {
    let mut play = Play::new(rules);
    for (at, (word, expect)) in script.iter().enumerate() {
        assert_eq!(play.tell(word), *expect, "line {at}, `{word}`");
    }
}

/// As [`check`], from a member that owns a0 and a1 in epoch 5, and has said so.
fn check_member(script: &[(&str, &str)]) {
    let entry = [
        ("wanted", "join all []"),
        ("heard 5: a0 a1", "resolve a"),
        ("named a", "assign a0,a1; beat 5 [a0,a1]"),
        ("heard 5", ""),
    ];
    check(rules(), &[&entry, script].concat());
}

#[test]
fn what_moves_is_given_up_before_it_is_said_and_what_is_new_is_taken() {
    check_member(&[
        ("tick", "beat 5"),
        // The coordinator waits for it, however often it is asked.
        ("heard 5: a1", "revoke a0"),
        ("tick", "beat 5"),
        ("heard 5", ""),
        ("released", "beat 5 [a1]"),
        ("heard 6: a1 b0", "resolve b"),
        ("named b", "assign b0; beat 6 [a1,b0]"),
        ("heard 6", ""),
        ("tick", "beat 6"),
    ]);
    // New and old at once, as after answers that were lost.
    check_member(&[("tick", "beat 5"), ("heard 6: a1 a2", "revoke a0"), ("released", "assign a2; beat 6 [a1,a2]")]);
}

#[test]
fn what_is_said_while_a_heartbeat_is_out_follows_it() {
    check_member(&[
        ("tick", "beat 5"),
        ("changed", ""),
        ("heard 5", "beat 5 topics"),
        ("heard 6: a0", "revoke a1"),
        ("tick", "beat 6"),
        ("released", ""),
        ("late", ""),
        ("heard 6", "beat 6 [a0]"),
    ]);
    check_member(&[("changed", "beat 5 topics"), ("heard 5", "")]);
    check(rules(), &[("wanted", "join all []"), ("changed", ""), ("heard 5:", "beat 5 topics"), ("heard 5", "")]);
}

#[test]
fn a_target_that_changes_while_something_is_given_up_is_looked_at_after_it() {
    check_member(&[
        ("tick", "beat 5"),
        ("heard 5: a1", "revoke a0"),
        ("tick", "beat 5"),
        ("heard 6:", ""),
        ("released", "revoke a1; beat 6 [a1]"),
        ("heard 6", ""),
        ("released 2", "beat 6 []"),
    ]);
    // It comes back: it is still given up, and taken anew.
    check_member(&[
        ("tick", "beat 5"),
        ("heard 5: a1", "revoke a0"),
        ("tick", "beat 5"),
        ("heard 6: a0 a1", ""),
        ("released", "assign a0; beat 6 [a0,a1]"),
    ]);
}

#[test]
fn a_topic_of_which_nothing_is_known_is_asked_about_and_not_lost() {
    check(
        rules(),
        &[
            ("wanted", "join all []"),
            ("heard 5: a0 b0", "resolve ab"),
            ("named a", "assign a0; resolve b; beat 5 [a0]"),
            ("heard 5", ""),
            ("named ", ""),
            ("tick", "resolve b; beat 5"),
            ("heard 5", ""),
            ("named b", "assign b0; beat 5 [a0,b0]"),
        ],
    );
    // No longer wanted before it is known.
    check(
        rules(),
        &[
            ("wanted", "join all []"),
            ("heard 5: b0", "resolve b"),
            ("named ", "beat 5 []"),
            ("heard 5", ""),
            ("tick", "resolve b; beat 5"),
            // The coordinator cannot know that it was not taken.
            ("heard 6:", "beat 6 []"),
            ("named ", ""),
            ("heard 6", ""),
            ("tick", "beat 6"),
        ],
    );
}

#[test]
fn what_the_group_gave_to_others_is_lost_and_it_joins_anew() {
    for code in ["UNKNOWN_MEMBER_ID", "FENCED_MEMBER_EPOCH", "GROUP_ID_NOT_FOUND"] {
        let fails = format!("fails {code}");
        check_member(&[
            ("tick", "beat 5"),
            (&fails, "lose a0,a1; join all []"),
            ("heard 7: a0", "assign a0; beat 7 [a0]"),
        ]);
        // While it gives up: there is nothing to wait for any more.
        check_member(&[
            ("tick", "beat 5"),
            ("heard 5: a1", "revoke a0"),
            ("tick", "beat 5"),
            (&fails, "lose a0,a1; join all []"),
            ("released", ""),
            ("heard 7:", ""),
        ]);
        check_member(&[
            ("close", "revoke a0,a1"),
            ("tick", "beat 5"),
            (&fails, "lose a0,a1; leave m"),
            ("left", "stop"),
        ]);
        check_member(&[
            ("overdue", "drop a0,a1"),
            ("tick", "beat 5"),
            (&fails, "lose a0,a1; leave m"),
            ("left", ""),
            ("wanted", "join all []"),
        ]);
    }
    // Not let in at all: no haste.
    check(rules(), &[("wanted", "join all []"), ("fails UNKNOWN_MEMBER_ID", ""), ("tick", "join all []")]);
}

#[test]
fn a_former_self_that_is_in_the_way_leaves_first() {
    let lost = [("wanted", "join all []"), ("silent", "find"), ("tick", "join all []")];
    let back = [("left", "join all []"), ("heard 7: a0", "resolve a")];
    for code in ["FENCED_MEMBER_EPOCH", "UNRELEASED_INSTANCE_ID"] {
        let fails = format!("fails {code}");
        let leaves = [(fails.as_str(), "leave m")];
        // The answer to the joining was lost.
        check(rules(), &[&lost[..], &leaves, &back].concat());
        // It was fenced.
        check_member(&[
            ("tick", "beat 5"),
            ("fails FENCED_MEMBER_EPOCH", "lose a0,a1; join all []"),
            leaves[0],
            ("left", "join all []"),
            ("heard 7: a0", "assign a0; beat 7 [a0]"),
        ]);
        // It was slow, and its last heartbeat may not have been heard.
        check_member(&[
            ("overdue", "drop a0,a1"),
            ("released", "leave m"),
            ("left", ""),
            ("wanted", "join all []"),
            leaves[0],
            ("left", "join all []"),
        ]);
        check(rules(), &[&lost[..], &leaves, &[("close", ""), ("left", "stop")]].concat());
    }
    // Somebody else has the instance id.
    let other = [("fails UNRELEASED_INSTANCE_ID", "leave m"), ("left", "join all []")];
    check(rules(), &[&lost[..], &other, &[("fails UNRELEASED_INSTANCE_ID", "stop UNRELEASED_INSTANCE_ID")]].concat());
    // The last heartbeat was not heard either.
    check(
        rules(),
        &[
            ("wanted", "join all []"),
            ("fails FENCED_MEMBER_EPOCH", "leave m"),
            ("left", "join all []"),
            ("fails FENCED_MEMBER_EPOCH", ""),
            ("tick", "join all []"),
            ("fails FENCED_MEMBER_EPOCH", "leave m"),
        ],
    );
}

#[test]
fn a_topic_that_is_forbidden_is_told_and_stops_nothing() {
    check_member(&[
        ("changed", "beat 5 topics"),
        ("fails TOPIC_AUTHORIZATION_FAILED", "report TOPIC_AUTHORIZATION_FAILED"),
        ("changed", ""),
        // That it lives is heard; then the topics are said again.
        ("tick", "beat 5 [a0,a1]"),
        ("heard 6: a0", "revoke a1; beat 6 all [a0,a1]"),
        ("fails TOPIC_AUTHORIZATION_FAILED", "report TOPIC_AUTHORIZATION_FAILED"),
        ("released", ""),
        ("tick", "beat 6 [a0]"),
        ("heard 6", "beat 6 all [a0]"),
        ("heard 6: a0", ""),
        ("tick", "beat 6"),
    ]);
    check(
        rules(),
        &[
            ("wanted", "join all []"),
            ("fails TOPIC_AUTHORIZATION_FAILED", "report TOPIC_AUTHORIZATION_FAILED"),
            ("tick", "join all []"),
            ("heard 1: a0", "resolve a"),
        ],
    );
}

#[test]
fn what_may_be_unheard_is_not_taken_back_before_an_answer() {
    // That a0 is let go may have been heard, and a0 given to somebody else.
    check_member(&[
        ("tick", "beat 5"),
        ("heard 5: a1", "revoke a0"),
        ("tick", "beat 5"),
        ("heard 6: a1 b0", ""),
        ("released", "resolve b; beat 6 [a1]"),
        ("silent", "find"),
        ("named b", ""),
        ("tick", "beat 6 all [a1]"),
        ("heard 6: a1 b0", "assign b0; beat 6 [a1,b0]"),
    ]);
}

#[test]
fn a_new_target_is_confirmed_even_if_nothing_changes_by_it() {
    check_member(&[
        ("tick", "beat 5"),
        ("heard 5: a1", "revoke a0"),
        ("released", "beat 5 [a1]"),
        ("heard 6: a0 a1", "assign a0; beat 6 [a0,a1]"),
        ("heard 7: a0 a1", ""),
    ]);
    // Said with the heartbeat that brought it, and not yet wanted by then.
    check_member(&[
        ("tick", "beat 5"),
        ("silent", "find"),
        ("tick", "beat 5 all [a0,a1]"),
        ("heard 6: a0 a1 b0", "resolve b"),
        ("tick", "beat 6"),
        ("heard 7: a0 a1", "beat 7 [a0,a1]"),
    ]);
}

#[test]
fn after_a_failure_everything_is_said_again() {
    check_member(&[
        ("tick", "beat 5"),
        ("fails NOT_COORDINATOR", "find"),
        ("tick", "beat 5 all [a0,a1]"),
        ("silent", "find"),
        ("changed", ""),
        ("tick", "beat 5 all [a0,a1]"),
        ("fails COORDINATOR_LOAD_IN_PROGRESS", ""),
        ("tick", "beat 5 all [a0,a1]"),
        ("heard 5: a0 a1", ""),
        ("tick", "beat 5"),
    ]);
    check(
        rules(),
        &[
            ("wanted", "join all []"),
            ("fails COORDINATOR_NOT_AVAILABLE", "find"),
            ("tick", "join all []"),
            ("silent", "find"),
            ("tick", "join all []"),
            ("heard 1: a0", "resolve a"),
        ],
    );
}

#[test]
fn what_is_wrong_with_a_commit_is_told_by_a_heartbeat() {
    for code in ["STALE_MEMBER_EPOCH", "UNKNOWN_MEMBER_ID", "FENCED_INSTANCE_ID"] {
        let fails = format!("commit-fails {code}");
        check_member(&[(&fails, "beat 5"), (&fails, ""), ("heard 6", "")]);
        check_member(&[("tick", "beat 5"), ("heard 6", ""), (&fails, "")]);
    }
    check_member(&[("commit-fails NOT_COORDINATOR", "find")]);
}

#[test]
fn what_no_retry_can_change_ends_it() {
    let fatal = [
        "UNRELEASED_INSTANCE_ID",
        "FENCED_INSTANCE_ID",
        "UNSUPPORTED_ASSIGNOR",
        "INVALID_REGULAR_EXPRESSION",
        "GROUP_MAX_SIZE_REACHED",
        "GROUP_AUTHORIZATION_FAILED",
        "INVALID_REQUEST",
    ];
    for code in fatal {
        let (fails, stop) = (format!("fails {code}"), format!("stop {code}"));
        check(rules(), &[("wanted", "join all []"), (&fails, &stop), ("tick", "")]);
        check_member(&[("tick", "beat 5"), (&fails, &format!("lose a0,a1; {stop}")), ("tick", "")]);
    }
}

#[test]
fn a_slow_application_leaves_and_comes_back() {
    check_member(&[
        ("overdue", "drop a0,a1"),
        ("overdue", ""),
        ("released", "leave m"),
        ("left", ""),
        ("tick", ""),
        ("wanted", "join all []"),
        ("wanted", ""),
    ]);
    check_member(&[
        ("tick", "beat 5"),
        ("heard 5: a1", "revoke a0"),
        ("overdue", "drop a0,a1"),
        ("released", ""),
        ("released 2", "leave m"),
    ]);
}

#[test]
fn closing_is_possible_at_any_time() {
    check(rules(), &[("close", "stop"), ("close", "")]);
    check(rules(), &[("wanted", "join all []"), ("close", ""), ("heard 5: a0", "leave m"), ("left", "stop")]);
    // This one was refused, one before it may have been taken.
    for fails in ["fails GROUP_AUTHORIZATION_FAILED", "fails NOT_COORDINATOR", "fails FENCED_MEMBER_EPOCH"] {
        check(rules(), &[("wanted", "join all []"), ("close", ""), (fails, "leave m"), ("left", "stop")]);
    }
    check(rules(), &[("wanted", "join all []"), ("close", ""), ("silent", "leave m"), ("left", "stop")]);
    check(
        rules(),
        &[("wanted", "join all []"), ("close", ""), ("tick", "leave m"), ("heard 5:", ""), ("left", "stop")],
    );
    check_member(&[
        ("close", "revoke a0,a1"),
        ("tick", "beat 5"),
        ("released", "leave m"),
        ("heard 5", ""),
        ("left", "stop"),
    ]);
    check_member(&[("overdue", "drop a0,a1"), ("released", "leave m"), ("close", ""), ("left", "stop")]);
    // What was revoked before is revoked with the rest, and its own end ends nothing.
    check_member(&[
        ("tick", "beat 5"),
        ("heard 5: a1", "revoke a0"),
        ("close", "revoke a0,a1"),
        ("released", ""),
        ("released 2", "leave m"),
    ]);
}

#[test]
fn the_classic_protocol_is_spoken_where_the_other_is_not() {
    for answer in ["unsupported", "fails UNSUPPORTED_VERSION", "fails GROUP_ID_NOT_FOUND"] {
        check(rules(), &[("wanted", "join all []"), (answer, "fall back; classic join"), ("tick", "")]);
        check(rules(), &[("wanted", "join all []"), ("close", ""), (answer, "fall back; stop")]);
    }
    check(
        rules(),
        &[
            ("wanted", "join all []"),
            ("silent", "find"),
            ("tick", "join all []"),
            ("unsupported", "fall back; classic join"),
        ],
    );
    // Not once it is in.
    check_member(&[("tick", "beat 5"), ("fails UNSUPPORTED_VERSION", "lose a0,a1; stop UNSUPPORTED_VERSION")]);
}

#[test]
fn revocations_of_the_classic_protocol_are_numbered_on() {
    let mut machine = ConsumerGroup::new(rules());
    machine.releases = 3;
    let mut group = Group { rules: rules(), machine: super::super::Machine::Consumer(machine) };
    let now = Instant::now();
    group.fall_back("it does".into(), now);
    let joined = Joined { member_id: "c".into(), generation: 1, assignor: Assignor::CooperativeSticky };
    group.on(Event::Joined(Ok(joined)), now);
    group.on(Event::Synced(Ok([TopicPartition::new("a", 0)].into())), now);
    let actions = group.on(Event::Close(None), now);
    assert!(matches!(actions[..], [Action::Revoke { id: 4, .. }]), "{actions:?}");
}

#[test]
fn whoever_is_to_choose_looks_who_is_there() {
    let auto = || Rules { protocol: GroupProtocol::Auto, ..rules() };
    check(auto(), &[("wanted", "count"), ("wanted", ""), ("counted 0", "join all []"), ("heard 1: a0", "resolve a")]);
    check(auto(), &[("wanted", "count"), ("counted 2", "fall back; classic join")]);
    check(auto(), &[("wanted", "count"), ("count-fails", "find"), ("tick", "count"), ("counted 0", "join all []")]);
    check(auto(), &[("wanted", "count"), ("counted 0", "join all []"), ("unsupported", "fall back; classic join")]);
    check(auto(), &[("wanted", "count"), ("close", "stop")]);
    for code in ["GROUP_AUTHORIZATION_FAILED", "INVALID_GROUP_ID"] {
        let (refused, stop) = (format!("count-fails {code}"), format!("stop {code}"));
        check(auto(), &[("wanted", "count"), (&refused, &stop)]);
    }
    check(auto(), &[("wanted", "count"), ("count-fails COORDINATOR_LOAD_IN_PROGRESS", "find"), ("tick", "count")]);
    let stumble = ("count-fails UNKNOWN_SERVER_ERROR", "report UNKNOWN_SERVER_ERROR");
    check(auto(), &[("wanted", "count"), stumble, ("tick", "count"), ("counted 0", "join all []")]);
}

#[test]
fn the_shorter_interval_counts() {
    let at = |ours: u64, theirs: u64| {
        let mut group = ConsumerGroup::new(Rules { heartbeat_interval: Duration::from_secs(ours), ..rules() });
        let now = Instant::now();
        group.on(Event::Wanted, now);
        let heartbeat_interval = Duration::from_secs(theirs);
        let heard = Heard { member_id: Some("other".into()), epoch: 1, heartbeat_interval, target: None };
        group.on(Event::Heard { number: 1, result: Ok(heard) }, now);
        assert_eq!(group.identity(), Some(("other".into(), 1)), "a coordinator that names its members");
        group.wakes_at().map(|at| (at - now).as_secs())
    };
    assert_eq!((at(1, 5), at(7, 5)), (Some(1), Some(5)));
}

/// Kafka's coordinator of consumer groups, as far as the machine can tell.
#[derive(Debug, Default)]
struct Coordinator {
    /// As before KAFKA-19233: whoever is in cannot join.
    is_strict: bool,
    epoch: i32,
    members: BTreeMap<Str, Member>,
}

#[derive(Debug, Default)]
struct Member {
    epoch: i32,
    former: i32,
    assigned: Parts,
    /// Taken from it, until it says that it owns them no longer.
    revoked: Parts,
}

impl Coordinator {
    /// Who is to have what: one after the other, in the order of their ids.
    fn target(&self, member: &Str) -> Parts {
        let at = self.members.keys().position(|id| id == member).unwrap_or(0);
        let count = self.members.len().max(1);
        (0..PARTITIONS).filter(|number| *number as usize % count == at).map(|number| (id(b'a'), number)).collect()
    }

    fn hear(&mut self, beat: &Beat) -> Result<Heard, Fault> {
        let code = |code: ErrorCode| Fault::Refused(Refusal { code, words: None });
        if beat.epoch.is_none() {
            assert_eq!((beat.whole, beat.owned.as_ref().map(Parts::len)), (true, Some(0)));
            if self.is_strict && self.members.contains_key(&beat.member_id) {
                return Err(code(ErrorCode::FENCED_MEMBER_EPOCH));
            }
            self.members.insert(beat.member_id.clone(), Member::default());
            self.epoch += 1;
        }
        let member = self.members.get(&beat.member_id).ok_or(code(ErrorCode::UNKNOWN_MEMBER_ID))?;
        let said = beat.epoch.unwrap_or(0);
        let subset = beat.owned.as_ref().is_some_and(|owned| owned.is_subset(&member.assigned));
        if said > member.epoch || (said < member.epoch && (said != member.former || !subset)) {
            return Err(code(ErrorCode::FENCED_MEMBER_EPOCH));
        }
        let before = member.assigned.clone();
        self.reconcile(&beat.member_id, beat.owned.as_ref());
        let member = &self.members[&beat.member_id];
        let told = (beat.whole || member.assigned != before).then(|| member.assigned.clone());
        Ok(Heard { member_id: None, epoch: member.epoch, heartbeat_interval: Duration::from_secs(5), target: told })
    }

    fn reconcile(&mut self, id: &Str, owned: Option<&Parts>) {
        let (epoch, target) = (self.epoch, self.target(id));
        let others: Parts = self
            .members
            .iter()
            .filter(|(other, _)| *other != id)
            .flat_map(|(_, it)| it.assigned.union(&it.revoked))
            .copied()
            .collect();
        let Some(member) = self.members.get_mut(id) else { return };
        if !member.revoked.is_empty() {
            if owned.is_none_or(|owned| !owned.is_disjoint(&member.revoked)) {
                return;
            }
            member.revoked.clear();
        }
        let revoked: Parts = member.assigned.difference(&target).copied().collect();
        member.assigned.retain(|part| target.contains(part));
        if !revoked.is_empty() && owned.is_none_or(|owned| !owned.is_disjoint(&revoked)) {
            member.revoked = revoked;
            return;
        }
        member.assigned.extend(target.difference(&others).copied());
        if member.epoch != epoch {
            (member.former, member.epoch) = (member.epoch, epoch);
        }
    }
}

impl simulation::Coordinator for Coordinator {
    fn rules(&self, machine: usize) -> Rules {
        Rules { member_id: Str::from(format!("m{machine}")), ..rules() }
    }

    fn members(&self) -> Vec<Str> {
        self.members.keys().cloned().collect()
    }

    fn remove(&mut self, member: &Str) {
        if self.members.remove(member).is_some() {
            self.epoch += 1;
        }
    }

    fn counts(&self, member: &Str, epoch: i32) -> bool {
        self.members.get(member).is_some_and(|it| it.epoch == epoch || it.former == epoch)
    }

    fn asked(&mut self, _: usize, question: Question) -> Option<Event> {
        match question {
            Question::Beat(beat) => Some(Event::Heard { number: beat.number, result: self.hear(&beat) }),
            Question::LastBeat { member_id, .. } => {
                simulation::Coordinator::remove(self, &member_id);
                Some(Event::Left)
            }
            other => panic!("{other:?} is none of the consumer protocol's"),
        }
    }
}

#[test]
fn groups_settle_and_never_share_a_partition() {
    simulation::play(|seed, _| Coordinator { is_strict: seed % 2 == 1, ..Default::default() });
}
