//! The coordinator by scripts. A line is an event, a line that begins with `>` is what must come of it:
//!
//! ```text
//! new a | join a       JoinGroup without an id, or with it; then any of: @instance v3 v9 10s/60s (session/rebalance timeout)
//!                      type=consumer range,sticky#2 (protocols; `#` marks other metadata) topics=t,u
//! sync a g1 a=X b=Y    SyncGroup, here the leader's; proto=range names the protocol
//! beat a g1 | leave a b @i | commit a g1 t=5 (commit - without a group) | forget t (OffsetDelete) | delete
//! at 3000              it is 3000 ms; what is due happens
//! show                 state, generation, members (the leader has a star), waiting deadlines
//! restart              a new coordinator from what was journalled
//! ```

use std::collections::BTreeMap;

use super::consumer::Shelf;
use super::*;

const GROUP: &str = "g";

struct World {
    coordinator: Coordinator,
    start: Instant,
    now: Instant,
    asked: BTreeMap<Ticket, String>,
    journal: Vec<Entry>,
}

impl World {
    fn new(config: Config) -> Self {
        let start = Instant::now();
        World { coordinator: Coordinator::new(config), start, now: start, asked: BTreeMap::new(), journal: Vec::new() }
    }

    fn ticket(&mut self, who: &str) -> Ticket {
        let ticket = Ticket(self.asked.len() as u64);
        self.asked.insert(ticket, who.to_owned());
        ticket
    }

    fn apply(&mut self, entry: Entry) {
        self.coordinator.apply(&entry);
        self.journal.push(entry);
    }

    fn step(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, words) = (words[0], &words[1..]);
        let mut out = Effects::default();
        let mut said = match verb {
            "new" | "join" => {
                let ticket = self.ticket(words[0]);
                self.coordinator.join(
                    Scene { now: self.now, topics: &Shelf::default() },
                    GROUP,
                    join(verb, words),
                    ticket,
                    &mut out,
                );
                vec![]
            }
            "sync" => {
                let ticket = self.ticket(words[0]);
                self.coordinator.sync(
                    Scene { now: self.now, topics: &Shelf::default() },
                    GROUP,
                    sync(words),
                    ticket,
                    &mut out,
                );
                vec![]
            }
            "beat" => {
                let outcome = self.coordinator.heartbeat(
                    Scene { now: self.now, topics: &Shelf::default() },
                    GROUP,
                    &identity(words),
                    generation(words).unwrap(),
                );
                vec![format!("{}: {}", words[0], outcome_name(outcome))]
            }
            "leave" => self.leave(words, &mut out),
            "commit" => self.commit(words),
            "forget" => self.forget(words[0]),
            "delete" => self.delete(),
            "at" => {
                self.now = self.start + Duration::from_millis(words[0].parse().unwrap());
                self.coordinator.expire(self.now, &Shelf::default(), &mut out);
                vec![]
            }
            "show" => vec![self.show()],
            "restart" => {
                self.coordinator = Coordinator::new(self.coordinator.config.clone());
                self.journal.iter().for_each(|entry| self.coordinator.apply(entry));
                vec![]
            }
            _ => panic!("no such step: {line}"),
        };
        self.journal.append(&mut out.entries);
        said.extend(out.replies.iter().map(|reply| self.render(reply)));
        said
    }

    fn leave(&mut self, words: &[&str], out: &mut Effects) -> Vec<String> {
        let who: Vec<Identity> = words
            .iter()
            .map(|word| match word.strip_prefix('@') {
                Some(instance) => Identity { member_id: "".into(), instance_id: Some(instance.into()) },
                None => Identity { member_id: (*word).into(), instance_id: None },
            })
            .collect();
        let outcomes = self.coordinator.leave(self.now, GROUP, &who, &Shelf::default(), out).unwrap();
        words.iter().zip(outcomes).map(|(word, outcome)| format!("{word}: {}", outcome_name(outcome))).collect()
    }

    fn commit(&mut self, words: &[&str]) -> Vec<String> {
        let mut who = identity(words);
        if &*who.member_id == "-" {
            who.member_id = "".into();
        }
        let committer = Committer {
            generation: generation(words),
            who,
            knows_group_id_not_found: !words.contains(&"v8"),
            is_too_old_for_epochs: false,
        };
        let commit = |word: &&str| {
            let (topic, offset) = word.split_once('=')?;
            let (offset, metadata) = offset.split_once('#').unwrap_or((offset, ""));
            let committed = Committed { offset: offset.parse().ok()?, leader_epoch: None, metadata: metadata.into() };
            Some(Commit { topic: topic.into(), partition: 0, committed })
        };
        let commits: Vec<Commit> = words.iter().filter_map(commit).collect();
        match self.coordinator.commit(self.now, GROUP, &committer, &commits, &Shelf::default()) {
            Err(error) => vec![format!("{}: {error}", words[0])],
            Ok(outcomes) => outcomes
                .into_iter()
                .zip(commits)
                .map(|(outcome, commit)| {
                    let said = outcome.map(|entry| self.apply(entry));
                    format!("{}: {}", commit.topic, outcome_name(said))
                })
                .collect(),
        }
    }

    fn forget(&mut self, topic: &str) -> Vec<String> {
        match self.coordinator.delete_offsets(GROUP, &[(topic.into(), 0)]) {
            Err(error) => vec![error.to_string()],
            Ok(outcomes) => {
                let mut apply = |outcome: Result<Option<Entry>, ErrorCode>| {
                    outcome_name(outcome.map(|entry| entry.into_iter().for_each(|entry| self.apply(entry))))
                };
                outcomes.into_iter().map(|outcome| format!("{topic}: {}", apply(outcome))).collect()
            }
        }
    }

    fn delete(&mut self) -> Vec<String> {
        let outcome = self.coordinator.delete(GROUP).map(|entry| self.apply(entry));
        vec![outcome_name(outcome)]
    }

    fn show(&self) -> String {
        let Some(group) = self.coordinator.group(GROUP) else { return "Dead".into() };
        let name = |id: &MemberId| format!(" {id}{}", if group.leader() == Some(id) { "*" } else { "" });
        let members: String = group.members().keys().map(name).collect();
        let offset =
            |(topic, partitions): (&Topic, &BTreeMap<i32, Committed>)| format!(" {topic}={}", partitions[&0].offset);
        let offsets: String =
            self.coordinator.offsets(GROUP).into_iter().flat_map(Offsets::topics).map(offset).collect();
        let due = self.coordinator.deadline().map(|at| format!(" until {}", (at - self.start).as_millis()));
        format!("{} g{}{members}{offsets}{}", group.state(), group.generation(), due.unwrap_or_default())
    }

    fn render(&self, reply: &Reply) -> String {
        let who = &self.asked[&reply.ticket()];
        match reply {
            Reply::Join { member_id, outcome, .. } => {
                let id = member_id.as_deref().unwrap_or("-");
                let name = if id == who { String::new() } else { format!(" as {id}") };
                format!("{who}: {}{name}", outcome.as_ref().map_or_else(ToString::to_string, render_joined))
            }
            Reply::Sync { outcome: Err(error), .. } => format!("{who}: {}", error),
            Reply::Sync { outcome: Ok(assigned), .. } => {
                format!("{who}: assigned {}", String::from_utf8_lossy(&assigned.assignment)).trim_end().to_owned()
            }
        }
    }
}

fn render_joined(joined: &Joined) -> String {
    let ids: Vec<&str> = joined.members.iter().map(|member| &*member.id).collect();
    let members = if ids.is_empty() { String::new() } else { format!(" [{}]", ids.join(" ")) };
    let skip = if joined.skip_assignment { " skip" } else { "" };
    format!(
        "joined g{} {} leader {}{members}{skip}",
        joined.generation,
        joined.protocol.as_deref().unwrap_or("-"),
        joined.leader
    )
}

fn outcome_name(outcome: Result<(), ErrorCode>) -> String {
    outcome.err().map_or_else(|| "ok".to_owned(), |error| error.to_string())
}

fn generation(words: &[&str]) -> Option<i32> {
    words.iter().find_map(|word| word.strip_prefix('g')?.parse().ok())
}

fn identity(words: &[&str]) -> Identity {
    let instance = words.iter().find_map(|word| word.strip_prefix('@'));
    Identity { member_id: words[0].into(), instance_id: instance.map(Arc::from) }
}

fn seconds(word: &str) -> Duration {
    Duration::from_secs(word.trim_end_matches('s').parse().unwrap())
}

/// A subscription as clients send it: version 0, then the topics.
fn subscription(topics: &str, mark: &str) -> Bytes {
    let topics: Vec<&str> = topics.split(',').filter(|topic| !topic.is_empty()).collect();
    let mut bytes = vec![0, 0, 0, 0, 0, topics.len() as u8];
    for topic in topics {
        bytes.extend([0, topic.len() as u8]);
        bytes.extend(topic.as_bytes());
    }
    bytes.extend(mark.as_bytes());
    bytes.into()
}

fn join(verb: &str, words: &[&str]) -> Join {
    let option = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    let topics = option("topics=").unwrap_or("t");
    let protocol = |word: &str| {
        let (name, mark) = word.split_once('#').unwrap_or((word, ""));
        Protocol { name: name.into(), metadata: subscription(topics, mark) }
    };
    let protocols = words[1..].iter().find(|word| word.starts_with("range") || word.starts_with("sticky"));
    let times = words.iter().find_map(|word| word.split_once('/'));
    let (session, rebalance) = times.unwrap_or(("10s", "60s"));
    Join {
        member_id: (verb == "join").then(|| words[0].into()),
        fresh_id: words[0].into(),
        instance_id: option("@").map(Arc::from),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: seconds(session),
        rebalance_timeout: seconds(rebalance),
        protocol_type: option("type=").unwrap_or("consumer").into(),
        protocols: protocols.unwrap_or(&"range").split(',').map(protocol).collect(),
        id_required: !words.contains(&"v3"),
        may_skip_assignment: words.contains(&"v9"),
    }
}

fn sync(words: &[&str]) -> Sync {
    let assignment = |word: &&str| {
        let (id, assignment) = word.split_once('=').filter(|(id, _)| *id != "proto")?;
        Some((MemberId::from(id), Bytes::copy_from_slice(assignment.as_bytes())))
    };
    Sync {
        who: identity(words),
        generation: generation(words).unwrap(),
        protocol_type: None,
        protocol: words.iter().find_map(|word| word.strip_prefix("proto=")).map(Str::from),
        assignments: words.iter().filter_map(assignment).collect(),
    }
}

/// Runs the events of a script and compares it with the script as it would read with what came of them.
fn check_with(config: Config, name: &str, script: &str) {
    let mut world = World::new(config);
    let lines = || script.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut actual = Vec::new();
    for line in lines().filter(|line| !line.starts_with('>')) {
        actual.push(line.to_owned());
        actual.extend(world.step(line).into_iter().map(|said| format!("> {said}")));
    }
    let expected: Vec<&str> = lines().collect();
    assert_eq!(actual.join("\n"), expected.join("\n"), "{name}");
}

fn check(cases: &[(&str, &str)]) {
    cases.iter().for_each(|(name, script)| check_with(Config::default(), name, script));
}

/// A stable group of `a` (the leader) and `b`, generation 1, at 3000 ms.
fn with_two(script: &str) -> String {
    let begin = "new a v3
        new b v3
        at 3000
        at 6000
        > a: joined g1 range leader a [a b]
        > b: joined g1 range leader a
        sync b g1
        sync a g1 a=X b=Y
        > a: assigned X
        > b: assigned Y";
    format!("{begin}\n{script}")
}

fn check_with_two(cases: &[(&str, &str)]) {
    cases.iter().for_each(|(name, script)| check_with(Config::default(), name, &with_two(script)));
}

#[test]
fn an_empty_group_waits_for_more_members_before_its_first_generation() {
    check(&[
        (
            "from nothing to stable",
            "new a
             > a: MEMBER_ID_REQUIRED
             show
             > Empty g0 until 10000
             join a
             show
             > PreparingRebalance g0 a* until 3000
             at 2999
             at 3000
             > a: joined g1 range leader a [a]
             show
             > CompletingRebalance g1 a* until 13000
             sync a g1 a=X
             > a: assigned X
             show
             > Stable g1 a* until 13000",
        ),
        (
            "each newcomer extends the wait by the delay, but not past the rebalance timeout",
            "new a v3 10s/7s
             at 1000
             new b v3 10s/7s
             at 3000
             at 4000
             new c v3 10s/7s
             at 6000
             at 6999
             at 7000
             > a: joined g1 range leader a [a b c]
             > b: joined g1 range leader a
             > c: joined g1 range leader a",
        ),
        (
            "all of them leave again",
            "new a v3
             leave a
             > a: ok
             > a: UNKNOWN_MEMBER_ID as -
             show
             > PreparingRebalance g0 until 3000
             at 3000
             show
             > Empty g1",
        ),
    ]);
}

#[test]
fn a_member_id_is_made_by_the_coordinator() {
    check(&[
        ("nobody knows this id", "join x\n> x: UNKNOWN_MEMBER_ID\nshow\n> Dead"),
        (
            "a pending id lasts for a session",
            "new a
             > a: MEMBER_ID_REQUIRED
             at 9999
             show
             > Empty g0 until 10000
             at 10000
             show
             > Empty g0
             join a
             > a: UNKNOWN_MEMBER_ID",
        ),
        (
            "a pending member can leave, and cannot be static",
            "new a
             > a: MEMBER_ID_REQUIRED
             join a @i
             > a: UNKNOWN_SERVER_ERROR
             leave a
             > a: ok
             join a
             > a: UNKNOWN_MEMBER_ID",
        ),
    ]);
    check_with_two(&[(
        "a rebalance waits for a pending member, until it is given up",
        "new c
         > c: MEMBER_ID_REQUIRED
         join a
         beat b g1
         > b: REBALANCE_IN_PROGRESS
         join b
         show
         > PreparingRebalance g1 a* b until 16000
         at 16000
         > a: joined g2 range leader a [a b]
         > b: joined g2 range leader a",
    )]);
}

#[test]
fn members_that_join_leave_or_die_rebalance_the_group() {
    check_with_two(&[
        (
            "one more joins",
            "new c v3
             beat a g1
             > a: REBALANCE_IN_PROGRESS
             join a
             join b
             > a: joined g2 range leader a [a b c]
             > b: joined g2 range leader a
             > c: joined g2 range leader a
             beat b g1
             > b: ILLEGAL_GENERATION
             beat b g2
             > b: ok",
        ),
        (
            "one leaves, and the leader is chosen among who is left",
            "leave a
             > a: ok
             beat a g1
             > a: UNKNOWN_MEMBER_ID
             show
             > PreparingRebalance g1 b* until 16000
             join b
             > b: joined g2 range leader b [b]",
        ),
        (
            "one dies",
            "at 15000
             beat a g1
             > a: ok
             at 16000
             show
             > PreparingRebalance g1 a* until 25000
             join a
             > a: joined g2 range leader a [a]",
        ),
        ("all die", "at 16000\nshow\n> Empty g2"),
        (
            "several leave at once, each with its own outcome",
            "leave a x b @i
             > a: ok
             > x: UNKNOWN_MEMBER_ID
             > b: ok
             > @i: UNKNOWN_MEMBER_ID
             show
             > Empty g2",
        ),
        ("nobody of the group leaves", "leave x\n> x: UNKNOWN_MEMBER_ID\nshow\n> Stable g1 a* b until 16000"),
    ]);
    let late = "new a v3 30s/20s
         new b v3 30s/20s
         at 3000
         at 6000
         > a: joined g1 range leader a [a b]
         > b: joined g1 range leader a
         join b 30s/20s range#new
         at 25999
         beat a g1
         > a: REBALANCE_IN_PROGRESS
         at 26000
         > b: joined g2 range leader b [b]
         show
         > CompletingRebalance g2 b* until 46000";
    check(&[("who does not join again within the rebalance timeout is out, and loses the lead", late)]);
}

#[test]
fn a_member_that_joins_again_learns_what_it_missed_or_starts_over() {
    check_with_two(&[
        (
            "a follower with nothing new is told of this generation",
            "join b
             > b: joined g1 range leader a
             sync b g1
             > b: assigned Y",
        ),
        ("a follower with something new", "join b range#new\nshow\n> PreparingRebalance g1 a* b until 16000"),
        ("the leader, always", "join a\nshow\n> PreparingRebalance g1 a* b until 16000"),
        (
            "while the leader works: the same answer, even for the leader",
            "join a
             join b
             > a: joined g2 range leader a [a b]
             > b: joined g2 range leader a
             join a
             > a: joined g2 range leader a [a b]
             join b
             > b: joined g2 range leader a
             sync b g2
             join b range#new
             > b: REBALANCE_IN_PROGRESS
             show
             > PreparingRebalance g2 a* b until 16000",
        ),
        ("twice at once: the earlier request is let go", "join a\njoin a\n> a: REBALANCE_IN_PROGRESS"),
    ]);
}

#[test]
fn assignments_are_handed_out_by_the_leader() {
    check_with_two(&[
        (
            "followers wait for it; who is left out gets nothing",
            "join a
             join b
             > a: joined g2 range leader a [a b]
             > b: joined g2 range leader a
             sync b g1
             > b: ILLEGAL_GENERATION
             sync x g2
             > x: UNKNOWN_MEMBER_ID
             sync b g2 proto=sticky
             > b: INCONSISTENT_GROUP_PROTOCOL
             sync b g2
             sync b g2
             > b: REBALANCE_IN_PROGRESS
             sync a g2 a=X
             > a: assigned X
             > b: assigned",
        ),
        (
            "a member that waits for it and is removed is answered",
            "join a
             join b
             > a: joined g2 range leader a [a b]
             > b: joined g2 range leader a
             sync b g2
             leave b
             > b: ok
             > b: UNKNOWN_MEMBER_ID
             show
             > PreparingRebalance g2 a* until 16000",
        ),
        ("not while members join", "join a\nsync b g1\n> b: REBALANCE_IN_PROGRESS"),
        (
            "who never asks for it is out after the rebalance timeout",
            "join a 30s/20s
             join b 30s/20s
             > a: joined g2 range leader a [a b]
             > b: joined g2 range leader a
             sync a g2 a=X
             > a: assigned X
             show
             > Stable g2 a* b until 26000
             at 25999
             beat a g2
             > a: ok
             at 26000
             show
             > PreparingRebalance g2 a* until 46000",
        ),
        (
            "a leader that never sends it: who waits is told to join again",
            "join a 30s/20s
             join b 30s/20s
             > a: joined g2 range leader a [a b]
             > b: joined g2 range leader a
             sync b g2
             at 26000
             > b: REBALANCE_IN_PROGRESS
             show
             > PreparingRebalance g2 b* until 46000",
        ),
    ]);
}

#[test]
fn members_agree_on_a_protocol() {
    check(&[
        (
            "the most wanted of those that all know",
            "new a v3 range,sticky
             new b v3 sticky,range
             new c v3 sticky,range
             at 3000
             at 6000
             > a: joined g1 sticky leader a [a b c]
             > b: joined g1 sticky leader a
             > c: joined g1 sticky leader a",
        ),
        (
            "nothing in common, another type, no type",
            "new a v3 range
             new b v3 sticky
             > b: INCONSISTENT_GROUP_PROTOCOL as -
             new b v3 type=connect range
             > b: INCONSISTENT_GROUP_PROTOCOL as -
             new b v3 type= range
             > b: INCONSISTENT_GROUP_PROTOCOL as -",
        ),
        ("even in an empty group", "new a v3 type=\n> a: INCONSISTENT_GROUP_PROTOCOL as -\nshow\n> Empty g0"),
    ]);
}

#[test]
fn sessions_and_sizes_have_bounds() {
    check(&[(
        "session timeouts out of bounds",
        "new a 5s/60s
         > a: INVALID_SESSION_TIMEOUT as -
         new a 1801s/60s
         > a: INVALID_SESSION_TIMEOUT as -
         show
         > Dead",
    )]);
    let small = || Config { max_size: 2, ..Config::default() };
    let full = "new c v3
         > c: GROUP_MAX_SIZE_REACHED as -
         show
         > Stable g1 a* b until 16000";
    check_with(small(), "a full group", &with_two(full));
    let first = "new a v3
         new b v3
         new c v3
         > c: GROUP_MAX_SIZE_REACHED as -";
    check_with(small(), "while the first members join", first);
}

/// A stable group of `a` (the leader, instance `i`) and `b` (instance `j`), generation 1, at 3000 ms.
const TWO_STATIC: &str = "new a v3 @i
    new b v3 @j
    at 3000
    at 6000
    > a: joined g1 range leader a [a b]
    > b: joined g1 range leader a
    sync b g1
    sync a g1 a=X b=Y
    > a: assigned X
    > b: assigned Y";

fn check_with_two_static(cases: &[(&str, &str)]) {
    cases.iter().for_each(|(name, script)| check_with(Config::default(), name, &format!("{TWO_STATIC}\n{script}")));
}

#[test]
fn a_static_member_may_come_back_unnoticed() {
    check_with_two_static(&[
        (
            "a follower takes over its assignment; its former self is fenced",
            "new c @j
             > c: joined g1 range leader a
             sync c g1 @j
             > c: assigned Y
             beat b g1 @j
             > b: FENCED_INSTANCE_ID
             beat b g1
             > b: UNKNOWN_MEMBER_ID
             beat c g1 @j
             > c: ok
             join b @j
             > b: FENCED_INSTANCE_ID
             commit b g1 @j t=1
             > b: FENCED_INSTANCE_ID
             show
             > Stable g1 a* c until 16000",
        ),
        (
            "the leader, from v9 on, is told to keep the assignment",
            "new c @i v9
             > c: joined g1 range leader c [b c] skip
             sync c g1
             > c: assigned X",
        ),
        (
            "the leader, before v9, is told that its former self leads",
            "new c @i
             > c: joined g1 range leader a
             sync c g1
             > c: assigned X
             show
             > Stable g1 b c* until 16000",
        ),
        ("with other topics and the same protocol", "new c @j topics=u\n> c: joined g1 range leader a"),
    ]);
}

#[test]
fn a_static_member_keeps_its_place_through_a_rebalance_until_its_session_ends() {
    check_with_two_static(&[
        (
            "in the midst of a rebalance: its former self is fenced, and all join again",
            "join a @i
             join b @j range#new
             > a: joined g2 range leader a [a b]
             > b: joined g2 range leader a
             sync b g2 @j
             new c @j
             > b: FENCED_INSTANCE_ID
             show
             > PreparingRebalance g2 a* c until 16000",
        ),
        (
            "it does not join again: it stays until its session ends",
            "join a @i 10s/5s
             at 15000
             beat b g1
             > b: REBALANCE_IN_PROGRESS
             at 24999
             at 25000
             > a: joined g2 range leader a [a]",
        ),
        (
            "removed by an admin, by instance",
            "leave @j @k
             > @j: ok
             > @k: UNKNOWN_MEMBER_ID
             show
             > PreparingRebalance g1 a* until 16000",
        ),
        ("an instance that is not there", "beat a g1 @k\n> a: UNKNOWN_MEMBER_ID"),
    ]);
    let slow = "new a v3 @i 60s/5s
        new b v3 @j 60s/5s
        at 3000
        at 5000
        > a: joined g1 range leader a [a b]
        > b: joined g1 range leader a
        sync b g1
        sync a g1 a=X b=Y
        > a: assigned X
        > b: assigned Y
        join b 60s/5s @j range#new
        at 10000
        > b: joined g2 range leader b [a b]";
    check(&[("it does not join again, and its session outlasts the rebalance: it keeps its place", slow)]);
}

#[test]
fn commits_are_taken_from_members_and_from_outside_of_empty_groups() {
    check(&[
        (
            "a consumer that assigns partitions to itself",
            "commit - t=5 u=6
             > t: ok
             > u: ok
             show
             > Empty g0 t=5 u=6
             restart
             show
             > Empty g0 t=5 u=6",
        ),
        (
            "a member of a group that is not there",
            "commit a g1 t=5
             > a: GROUP_ID_NOT_FOUND
             commit a g1 t=5 v8
             > a: ILLEGAL_GENERATION
             show
             > Dead",
        ),
    ]);
    check_with_two(&[
        (
            "members; it counts as a heartbeat",
            "at 10000
             commit a g1 t=5
             > t: ok
             commit a g0 t=6
             > a: ILLEGAL_GENERATION
             commit x g1 t=7
             > x: UNKNOWN_MEMBER_ID
             commit - t=8
             > -: UNKNOWN_MEMBER_ID
             commit a t=9
             > a: ILLEGAL_GENERATION
             at 16000
             show
             > PreparingRebalance g1 a* t=5 until 20000",
        ),
        (
            "in a rebalance: until the new generation begins, then not before it is stable",
            "join a
             commit b g1 t=5
             > t: ok
             join b
             > a: joined g2 range leader a [a b]
             > b: joined g2 range leader a
             commit b g2 t=6
             > b: REBALANCE_IN_PROGRESS
             commit b g1 t=7
             > b: ILLEGAL_GENERATION
             show
             > CompletingRebalance g2 a* b t=5 until 16000",
        ),
        (
            "a restart keeps offsets and the generation, not members",
            "commit a g1 t=5
             > t: ok
             restart
             show
             > Empty g1 t=5
             beat a g1
             > a: UNKNOWN_MEMBER_ID
             commit a g1 t=6
             > a: UNKNOWN_MEMBER_ID
             commit - t=7
             > t: ok",
        ),
    ]);
    let small = Config { offset_metadata_max: 3, ..Config::default() };
    let script = "commit - t=1#abc u=2#abcd v=3#\u{1d11e}\u{1d11e}
        > t: ok
        > u: OFFSET_METADATA_TOO_LARGE
        > v: OFFSET_METADATA_TOO_LARGE
        show
        > Empty g0 t=1";
    check_with(small, "metadata is measured as Java measures it", script);
}

#[test]
fn offsets_and_groups_can_be_deleted_when_nobody_reads() {
    check(&[
        ("no such group", "delete\n> GROUP_ID_NOT_FOUND\nforget t\n> GROUP_ID_NOT_FOUND"),
        (
            "an empty group",
            "commit - t=5 u=6
             > t: ok
             > u: ok
             forget t
             > t: ok
             forget x
             > x: ok
             show
             > Empty g0 u=6
             restart
             show
             > Empty g0 u=6
             delete
             > ok
             show
             > Dead
             restart
             show
             > Dead",
        ),
        (
            "members of a kind whose topics nobody knows",
            "new a v3 type=connect
             at 3000
             > a: joined g1 range leader a [a]
             forget t
             > NON_EMPTY_GROUP",
        ),
    ]);
    check_with_two(&[(
        "topics that members read stay; others may go",
        "commit a g1 t=5 u=6
         > t: ok
         > u: ok
         delete
         > NON_EMPTY_GROUP
         forget t
         > t: GROUP_SUBSCRIBED_TO_TOPIC
         forget u
         > u: ok
         leave a b
         > a: ok
         > b: ok
         forget t
         > t: ok
         show
         > Empty g2
         delete
         > ok",
    )]);
}

#[test]
fn a_deleted_topic_takes_its_offsets_along() {
    let mut world = World::new(Config::default());
    world.step("commit - t=5 u=6");
    for entry in world.coordinator.remove_topic(&"t".into()) {
        world.apply(entry);
    }
    assert_eq!(world.show(), "Empty g0 u=6");
    world.step("restart");
    assert_eq!(world.show(), "Empty g0 u=6");
}

#[test]
fn a_snapshot_says_what_the_journal_says() {
    let mut world = World::new(Config::default());
    let script = with_two("commit a g1 t=5 u=6\nleave a b\ncommit - u=7");
    for line in script.lines().map(str::trim).filter(|line| !line.starts_with('>')) {
        world.step(line);
    }
    assert_eq!(world.show(), "Empty g2 t=5 u=7");
    world.journal = world.coordinator.snapshot();
    world.step("restart");
    assert_eq!(world.show(), "Empty g2 t=5 u=7");
}
