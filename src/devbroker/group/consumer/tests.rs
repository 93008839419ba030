//! Groups of the consumer protocol by scripts. A line is an event, a line that begins with `>` is what must come of it:
//!
//! ```text
//! topic t 4 | drop t          a topic is made, or grows; it is deleted
//! join a t,u                  epoch 0; then any of: @instance ~pattern range|uniform 60s (rebalance timeout)
//! beat a 2                    a heartbeat; then any of: t,u (other topics) ~pattern own=t0,t1 (holds just that) own=
//! leave a | away a @i         epoch -1, -2
//! expel a @i                  LeaveGroup of the classic protocol
//! commit a 2 t0=5 v8 | offsets a 2      OffsetCommit; OffsetFetch with a member's epoch
//! classic a t | again a t own=t0,t1     JoinGroup of the classic protocol, without and with an id; then any of: @instance /sticky
//! sync a 2 a=t0 | pulse a 2   SyncGroup, with what a leader hands out; Heartbeat
//! policy                      groups with members stay with their protocol
//! forget                      DeleteGroups
//! at 3000                     it is 3000 ms; what is due happens
//! show                        state, epochs, members, waiting deadlines
//! restart                     a new coordinator from what was journalled
//! ```

use crate::devbroker::group::*;
use crate::protocol::types::Uuid;

use super::{AWAY, Heartbeat, Held, MigrationPolicy, Shape, Shelf, Target};
use crate::protocol::group::{
    ConsumerProtocolAssignment, ConsumerProtocolPartitions, ConsumerProtocolSubscription, decode, encode,
};

const GROUP: &str = "g";

pub struct World {
    coordinator: Coordinator,
    shelf: Shelf,
    start: Instant,
    now: Instant,
    journal: Vec<Entry>,
    topics_made: u8,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let shelf = Shelf::default();
        let config = Config { consumer: super::Config { max_size: 4, ..Default::default() }, ..Config::default() };
        World { coordinator: Coordinator::new(config), shelf, start, now: start, journal: Vec::new(), topics_made: 0 }
    }

    fn step(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, words) = (words[0], &words[1..]);
        let mut out = Effects::default();
        let said = match verb {
            "topic" => self.topic(words[0], words[1].parse().unwrap()),
            "drop" => {
                self.coordinator.topic_changed(words[0]);
                self.shelf.0.remove(words[0]);
                None
            }
            "join" | "beat" => {
                let heartbeat = self.heartbeat(verb == "join", words);
                let scene = Scene { now: self.now, topics: &self.shelf };
                let told = self.coordinator.consumer_heartbeat(scene, GROUP, heartbeat, &mut out);
                Some(told.map_or_else(|refusal| refusal.error.to_string(), |beat| self.told(&beat)))
            }
            "leave" | "away" => {
                let who = identity(words);
                let scene = Scene { now: self.now, topics: &self.shelf };
                let left = self.coordinator.consumer_leave(scene, GROUP, &who, verb == "away", &mut out);
                Some(name(left.map_err(|refusal| refusal.error)))
            }
            "expel" => {
                let left = self.coordinator.leave(self.now, GROUP, &[identity(words)], &self.shelf, &mut out);
                Some(left.unwrap().into_iter().map(name).collect())
            }
            "commit" => Some(self.commit(words)),
            "offsets" => {
                let epoch = words.get(1).map_or(-1, |epoch| epoch.parse().unwrap());
                Some(name(self.coordinator.admit_fetch(GROUP, words.first().copied(), epoch)))
            }
            "classic" | "again" => self.classic(verb == "again", words, &mut out),
            "sync" => {
                self.sync(words, &mut out);
                None
            }
            "pulse" => {
                let scene = Scene { now: self.now, topics: &self.shelf };
                let beaten = self.coordinator.heartbeat(scene, GROUP, &identity(words), words[1].parse().unwrap());
                Some(name(beaten))
            }
            "policy" => {
                self.coordinator.config.consumer.migration_policy = MigrationPolicy::Disabled;
                None
            }
            "forget" => {
                let entry = self.coordinator.delete(GROUP);
                let entry = entry.map(|entry| {
                    self.coordinator.apply(&entry);
                    self.journal.push(entry);
                });
                Some(name(entry))
            }
            "at" => {
                self.now = self.start + Duration::from_millis(words[0].parse().unwrap());
                self.coordinator.expire(self.now, &self.shelf, &mut out);
                None
            }
            "show" => Some(self.show()),
            "restart" => {
                self.coordinator = Coordinator::new(self.coordinator.config.clone());
                self.journal.iter().for_each(|entry| self.coordinator.apply(entry));
                self.coordinator.resume(self.now);
                None
            }
            _ => panic!("no such step: {line}"),
        };
        self.journal.append(&mut out.entries);
        let replied = out.replies.iter().map(|reply| self.replied(reply));
        said.into_iter().chain(replied).map(|said| format!("> {said}")).collect()
    }

    fn topic(&mut self, name: &str, partitions: i32) -> Option<String> {
        let known = self.shelf.0.get(name).map(|shape| shape.id);
        self.topics_made += 1;
        let id = known.unwrap_or(Uuid([self.topics_made; 16]));
        self.shelf.0.insert(name.into(), Shape { id, partitions });
        match known {
            Some(_) => self.coordinator.topic_changed(name),
            None => self.coordinator.topic_created(name),
        }
        None
    }

    fn heartbeat(&self, joins: bool, words: &[&str]) -> Heartbeat {
        let rest = &words[if joins { 1 } else { 2 }..];
        let timeout = rest.iter().find_map(|word| word.strip_suffix('s')?.parse().ok());
        let option = |mark: char| rest.iter().find_map(|word| word.strip_prefix(mark)).map(Arc::from);
        let marks = |word: &&&str| !word.contains(['@', '~', '=']) && !word.ends_with('s');
        let assignor = |word: &&&str| ["range", "uniform"].contains(*word);
        let topics = rest.iter().filter(marks).find(|word| !assignor(word));
        let topics = topics.map(|names| names.split(',').filter(|it| *it != "-").map(Topic::from).collect());
        Heartbeat {
            member_id: words[0].into(),
            epoch: if joins { 0 } else { words[1].parse().unwrap() },
            instance_id: option('@'),
            rack_id: None,
            rebalance_timeout: joins.then(|| Duration::from_secs(timeout.unwrap_or(60))),
            regex: option('~'),
            topics,
            assignor: rest.iter().find(assignor).map(|name| Arc::from(*name)),
            owned: rest
                .iter()
                .find_map(|word| word.strip_prefix("own="))
                .map(|it| self.partitions(it))
                .or(joins.then(Target::new)),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
        }
    }

    /// `t0,t1,u3`
    fn partitions(&self, text: &str) -> Target {
        let mut target = Target::new();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let (topic, partition) = word.split_at(1);
            target.entry(self.shelf.0[topic].id).or_default().insert(partition.parse().unwrap());
        }
        target
    }

    fn name_of(&self, id: TopicId) -> &str {
        self.shelf.0.iter().find(|(_, shape)| shape.id == id).map_or("?", |(name, _)| name)
    }

    fn told(&self, beat: &Beat) -> String {
        let assignment = beat.assignment.as_ref().map_or(String::new(), |target| format!(" {}", self.render(target)));
        format!("{} {}{assignment}", beat.member_id, beat.epoch)
    }

    fn render(&self, target: &Target) -> String {
        let topic = |(id, partitions): (&TopicId, &BTreeSet<i32>)| {
            let name = self.name_of(*id);
            partitions.iter().map(|partition| format!("{name}{partition}")).collect::<Vec<_>>().join(",")
        };
        format!("[{}]", target.iter().map(topic).collect::<Vec<_>>().join(" "))
    }

    fn held(&self, held: &Held) -> String {
        self.render(&held.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect())
    }

    fn commit(&mut self, words: &[&str]) -> String {
        let who = if words[0] == "-" { identity(&[""]) } else { identity(words) };
        let committer = Committer {
            generation: words[1].parse().ok().filter(|epoch| *epoch >= 0),
            who,
            knows_group_id_not_found: true,
            is_too_old_for_epochs: words.contains(&"v8"),
        };
        let (place, offset) = words[2].split_once('=').unwrap();
        let (topic, partition) = place.split_at(1);
        let committed = Committed { offset: offset.parse().unwrap(), leader_epoch: None, metadata: "".into() };
        let commits = [Commit { topic: topic.into(), partition: partition.parse().unwrap(), committed }];
        let transactional = words.contains(&"txn");
        let decided = match transactional {
            true => self.coordinator.admit_transaction(GROUP, &committer, &commits, &self.shelf),
            false => self.coordinator.commit(self.now, GROUP, &committer, &commits, &self.shelf),
        };
        match decided {
            Err(error) => error.to_string(),
            Ok(_) if transactional => "ok".into(),
            Ok(outcomes) => outcomes
                .into_iter()
                .map(|entry| {
                    name(entry.map(|entry| {
                        self.coordinator.apply(&entry);
                        self.journal.push(entry);
                    }))
                })
                .collect(),
        }
    }

    /// JoinGroup: of a member without an id yet, or again.
    fn classic(&mut self, again: bool, words: &[&str], out: &mut Effects) -> Option<String> {
        let rest = &words[1..];
        let option = |mark: &str| rest.iter().find_map(|word| word.strip_prefix(mark));
        let names = rest.iter().find(|word| !word.contains(['@', '=', '/'])).copied().unwrap_or_default();
        let topics = names.split(',').filter(|name| !name.is_empty()).map(Str::from).collect();
        let owned_partitions = option("own=").map(|it| self.by_name(&self.partitions(it))).unwrap_or_default();
        let subscription = ConsumerProtocolSubscription { topics, owned_partitions, ..Default::default() };
        let metadata = encode(&subscription, 1).unwrap();
        let join = Join {
            member_id: again.then(|| words[0].into()),
            fresh_id: words[0].into(),
            instance_id: option("@").map(Arc::from),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(20),
            protocol_type: "consumer".into(),
            protocols: vec![Protocol { name: option("/").unwrap_or("range").into(), metadata }],
            id_required: false,
            may_skip_assignment: false,
        };
        let scene = Scene { now: self.now, topics: &self.shelf };
        self.coordinator.join(scene, GROUP, join, Ticket(1), out);
        None
    }

    fn by_name(&self, target: &Target) -> Vec<ConsumerProtocolPartitions> {
        let topic = |(id, partitions): (&TopicId, &BTreeSet<i32>)| ConsumerProtocolPartitions {
            topic: self.name_of(*id).into(),
            partitions: partitions.iter().copied().collect(),
        };
        target.iter().map(topic).collect()
    }

    /// SyncGroup; the leader of a classic group says who shall have what.
    fn sync(&mut self, words: &[&str], out: &mut Effects) {
        let assigned = words[2..].iter().filter_map(|word| word.split_once('=')).map(|(id, partitions)| {
            let assigned_partitions = self.by_name(&self.partitions(partitions));
            (
                MemberId::from(id),
                encode(&ConsumerProtocolAssignment { assigned_partitions, user_data: None }, 1).unwrap(),
            )
        });
        let sync = Sync {
            who: identity(words),
            generation: words[1].parse().unwrap(),
            protocol_type: None,
            protocol: None,
            assignments: assigned.collect(),
        };
        let scene = Scene { now: self.now, topics: &self.shelf };
        self.coordinator.sync(scene, GROUP, sync, Ticket(2), out);
    }

    /// What those are told who wait for JoinGroup or SyncGroup.
    fn replied(&self, reply: &Reply) -> String {
        match reply {
            Reply::Join { member_id, outcome, .. } => {
                let outcome = outcome.as_ref().map(|joined| format!("generation {}", joined.generation));
                format!("{} {}", member_id.as_deref().unwrap_or("?"), outcome.unwrap_or_else(ToString::to_string))
            }
            Reply::Sync { outcome, .. } => outcome.as_ref().map_or_else(ToString::to_string, |assigned| {
                let assignment: ConsumerProtocolAssignment = decode(assigned.assignment.clone()).unwrap();
                let word = |it: &ConsumerProtocolPartitions| {
                    it.partitions
                        .iter()
                        .map(|partition| format!("{}{partition}", it.topic))
                        .collect::<Vec<_>>()
                        .join(",")
                };
                format!("[{}]", assignment.assigned_partitions.iter().map(word).collect::<Vec<_>>().join(" "))
            }),
        }
    }

    fn show(&self) -> String {
        let offsets = self.coordinator.offsets(GROUP).into_iter().flat_map(Offsets::topics);
        let offsets: String = offsets
            .flat_map(|(topic, of)| of.iter().map(move |(partition, it)| format!(" {topic}{partition}={}", it.offset)))
            .collect();
        let due = self.coordinator.deadline().map(|at| format!(" until {}", (at - self.start).as_millis()));
        let due = due.unwrap_or_default();
        let Some(group) = self.coordinator.consumer(GROUP) else {
            let state = self.coordinator.group(GROUP).map_or("none", |group| group.state().name());
            return format!("classic: {state}{offsets}{due}");
        };
        let member = |(id, member): (&MemberId, &super::Member)| {
            let revoking =
                if member.revoking.is_empty() { String::new() } else { format!("-{}", self.held(&member.revoking)) };
            let epoch = if member.epoch == AWAY { "away".to_owned() } else { member.epoch.to_string() };
            format!(" {id}:{epoch}{}{revoking}", self.held(&member.assigned))
        };
        let members: String = group.members().iter().map(member).collect();
        format!("{} {}/{}{members}{offsets}{due}", group.state(), group.assignment_epoch(), group.epoch())
    }
}

fn identity(words: &[&str]) -> Identity {
    let instance = words.iter().find_map(|word| word.strip_prefix('@'));
    Identity {
        member_id: if words[0].starts_with('@') { "" } else { words[0] }.into(),
        instance_id: instance.map(Arc::from),
    }
}

fn name(outcome: Result<(), ErrorCode>) -> String {
    outcome.map_or_else(|error| error.to_string(), |()| "ok".to_owned())
}

pub fn check(cases: &[(&str, &str)]) {
    for (name, script) in cases {
        let mut world = World::new();
        let lines = || script.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut actual = Vec::new();
        for line in lines().filter(|line| !line.starts_with('>')) {
            actual.push(line.to_owned());
            actual.extend(world.step(line));
        }
        let expected: Vec<&str> = lines().collect();
        assert_eq!(actual.join("\n"), expected.join("\n"), "{name}");
    }
}

#[test]
fn members_share_out_and_give_up_before_others_take_over() {
    check(&[(
        "one, then two, then one",
        "topic t 4
             join a t
             > a 2 [t0,t1,t2,t3]
             show
             > Stable 2/2 a:2[t0,t1,t2,t3] until 45000
             at 2000
             join b t
             > b 3 []
             show
             > Reconciling 3/3 a:2[t0,t1,t2,t3] b:3[] until 45000
             beat a 2
             > a 2 [t0,t1]
             show
             > Reconciling 3/3 a:2[t0,t1]-[t2,t3] b:3[] until 47000
             beat b 3
             > b 3
             beat a 2 own=t0,t1,t2
             > a 2
             beat a 2 own=t0,t1
             > a 3
             beat b 3
             > b 3 [t2,t3]
             beat b 3 own=t2,t3
             > b 3
             show
             > Stable 3/3 a:3[t0,t1] b:3[t2,t3] until 47000
             leave a
             > ok
             show
             > Assigning 3/4 b:3[t2,t3] until 47000
             at 3000
             beat b 3
             > b 4 [t0,t1,t2,t3]
             leave b
             > ok
             show
             > Empty 4/5",
    )]);
}

#[test]
fn the_target_follows_the_group_at_most_once_a_second() {
    check(&[(
        "a second member, and a second later",
        "topic t 2
             join a t
             > a 2 [t0,t1]
             at 999
             join b t
             > b 2 []
             show
             > Assigning 2/3 a:2[t0,t1] b:2[] until 45000
             beat a 2
             > a 2
             at 1000
             beat a 2
             > a 2 [t0]
             show
             > Reconciling 3/3 a:2[t0]-[t1] b:2[] until 45999",
    )]);
}

#[test]
fn members_say_by_which_assignor_and_what_they_read() {
    check(&[
        (
            "range",
            "topic t 5
             topic u 2
             join a t,u range
             > a 2 [t0,t1,t2,t3,t4 u0,u1]
             at 1000
             join b t,u
             > b 3 []
             beat a 2
             > a 2 [t0,t1,t2 u0]
             beat a 2 own=t0,t1,t2,u0
             > a 3
             beat b 3
             > b 3 [t3,t4 u1]",
        ),
        (
            "other topics, and none",
            "topic t 2
             topic u 2
             join a t
             > a 2 [t0,t1]
             at 1000
             beat a 2 u
             > a 2 []
             beat a 2 own=
             > a 3 [u0,u1]
             at 2000
             beat a 3 -
             > a 3 []
             beat a 3 own=
             > a 4
             beat a 4 own= missing
             > a 4
             show
             > Assigning 4/5 a:4[] until 47000",
        ),
    ]);
}

#[test]
fn topics_come_grow_and_go() {
    check(&[
        (
            "a topic that is there later, grows, and goes",
            "join a t
             > a 2 []
             at 1000
             topic t 1
             beat a 2
             > a 3 [t0]
             at 2000
             topic t 3
             beat a 3
             > a 4 [t0,t1,t2]
             at 3000
             drop t
             beat a 4
             > a 4 []
             beat a 4 own=
             > a 5",
        ),
        (
            "a topic that nobody reads changes nothing",
            "topic t 1
             join a t
             > a 2 [t0]
             at 1000
             topic u 1
             beat a 2
             > a 2
             show
             > Stable 2/2 a:2[t0] until 46000",
        ),
    ]);
}

#[test]
fn patterns_are_matched_beside_the_heartbeats() {
    check(&[
        (
            "the second heartbeat sees what the first has found",
            "topic t1 1
             topic u1 1
             join a ~t.*
             > a 1 []
             show
             > Assigning 1/2 a:1[] until 45000
             at 1000
             beat a 1
             > a 2 [t10]
             topic t2 1
             beat a 2
             > a 2
             at 10001
             beat a 2
             > a 2
             beat a 2
             > a 3 [t10 t20]
             at 12000
             beat a 3 ~
             > a 3 []",
        ),
        (
            "all of a name, and only what can be read",
            "topic t1 1
             topic xt1 1
             join a ~t1|xt
             > a 1 []
             at 1000
             beat a 1
             > a 2 [t10]
             join b ~t(1
             > INVALID_REGULAR_EXPRESSION
             show
             > Stable 2/2 a:2[t10] until 46000",
        ),
    ]);
}

#[test]
fn epochs_fence() {
    check(&[
        (
            "unknown, ahead, behind, and one behind whose answer was lost",
            "topic t 4
             beat a 1
             > GROUP_ID_NOT_FOUND
             leave a
             > GROUP_ID_NOT_FOUND
             join a t
             > a 2 [t0,t1,t2,t3]
             beat b 2
             > UNKNOWN_MEMBER_ID
             leave b
             > UNKNOWN_MEMBER_ID
             beat a 3
             > FENCED_MEMBER_EPOCH
             beat a 1
             > FENCED_MEMBER_EPOCH
             at 1000
             topic t 5
             beat a 2
             > a 3 [t0,t1,t2,t3,t4]
             beat a 2
             > FENCED_MEMBER_EPOCH
             beat a 2 own=t0,t1
             > a 3
             join a t
             > a 3 [t0,t1,t2,t3,t4]",
        ),
        (
            "no more than fit",
            "join a t
             > a 2 []
             join b t
             > b 2 []
             join c t
             > c 2 []
             join d t
             > d 2 []
             join e t
             > GROUP_MAX_SIZE_REACHED
             beat a 2
             > a 2",
        ),
    ]);
}

#[test]
fn time_takes_members_out() {
    check(&[
        (
            "a session ends",
            "topic t 2
             join a t
             > a 2 [t0,t1]
             at 44999
             show
             > Stable 2/2 a:2[t0,t1] until 45000
             at 45000
             show
             > Empty 2/3
             beat a 2
             > UNKNOWN_MEMBER_ID",
        ),
        (
            "what is not given up in time is taken",
            "topic t 2
             join a t 20s
             > a 2 [t0,t1]
             at 1000
             join b t
             > b 3 []
             beat a 2
             > a 2 [t0]
             show
             > Reconciling 3/3 a:2[t0]-[t1] b:3[] until 21000
             at 20999
             beat a 2
             > a 2
             at 21000
             show
             > Assigning 3/4 b:3[] until 46000
             beat b 3
             > b 4 [t0,t1]",
        ),
    ]);
}

#[test]
fn static_members_come_back() {
    check(&[
        (
            "its place is kept, and given to its next life",
            "topic t 2
             join a t @i
             > a 2 [t0,t1]
             join b t @i
             > UNRELEASED_INSTANCE_ID
             away a @i
             > ok
             show
             > Reconciling 2/2 a:away[t0,t1] until 45000
             beat a 2 @i
             > FENCED_MEMBER_EPOCH
             at 1000
             join b t @i
             > b 2 [t0,t1]
             show
             > Stable 2/2 b:2[t0,t1] until 46000
             beat a 2 @i
             > FENCED_INSTANCE_ID
             leave a @i
             > FENCED_INSTANCE_ID
             beat a 2 @j
             > UNKNOWN_MEMBER_ID
             leave b @i
             > ok
             show
             > Empty 2/3",
        ),
        (
            "its session ends while it is away",
            "topic t 2
             join a t @i
             > a 2 [t0,t1]
             at 30000
             away a @i
             > ok
             at 45000
             show
             > Empty 2/3",
        ),
        (
            "an admin takes it out by its instance id",
            "topic t 2
             join a t @i
             > a 2 [t0,t1]
             expel b @i
             > FENCED_INSTANCE_ID
             expel b
             > UNKNOWN_MEMBER_ID
             expel @i
             > ok
             show
             > Empty 2/3",
        ),
    ]);
}

#[test]
fn offsets_are_committed_by_those_whom_they_concern() {
    check(&[(
        "epochs",
        "topic t 2
             commit a 0 t0=1
             > GROUP_ID_NOT_FOUND
             join a t
             > a 2 [t0,t1]
             commit a 2 t0=1
             > ok
             commit a 2 t0=1 v8
             > UNSUPPORTED_VERSION
             commit a 3 t0=1
             > STALE_MEMBER_EPOCH
             commit a 3 t0=1 txn
             > ILLEGAL_GENERATION
             commit a 1 t0=1
             > STALE_MEMBER_EPOCH
             commit b 2 t0=1
             > UNKNOWN_MEMBER_ID
             commit - -1 t0=1
             > UNKNOWN_MEMBER_ID
             commit - -1 t0=1 txn
             > ok
             offsets
             > ok
             offsets a 2
             > ok
             offsets a 1
             > STALE_MEMBER_EPOCH
             offsets b 2
             > UNKNOWN_MEMBER_ID
             at 1000
             topic t 3
             beat a 2
             > a 3 [t0,t1,t2]
             commit a 2 t1=7
             > ok
             commit a 2 t2=7
             > STALE_MEMBER_EPOCH
             leave a
             > ok
             commit - -1 t0=2
             > ok
             show
             > Empty 3/4 t0=2 t1=7",
    )]);
}

#[test]
fn an_empty_group_changes_its_protocol_and_keeps_its_offsets() {
    check(&[
        (
            "there and back",
            "topic t 2
             commit - -1 t0=5
             > ok
             show
             > classic: Empty t0=5
             policy
             join a t
             > a 2 [t0,t1]
             forget
             > NON_EMPTY_GROUP
             leave a
             > ok
             classic b
             show
             > classic: PreparingRebalance t0=5 until 3000
             join a t
             > GROUP_ID_NOT_FOUND
             beat a 2
             > GROUP_ID_NOT_FOUND
             leave a
             > GROUP_ID_NOT_FOUND
             restart
             show
             > classic: Empty t0=5
             forget
             > ok
             show
             > classic: none",
        ),
        (
            "a refused first member founds no group",
            "join a ~(
             > INVALID_REGULAR_EXPRESSION
             show
             > classic: none",
        ),
    ]);
}

#[test]
fn members_survive_a_restart() {
    check(&[(
        "with their epochs, and what they hold",
        "topic t 4
             topic ux 1
             join a t 20s
             > a 2 [t0,t1,t2,t3]
             at 2000
             join b t ~u.
             > b 3 []
             beat a 2
             > a 2 [t0,t1]
             at 3000
             restart
             show
             > Assigning 3/4 a:2[t0,t1]-[t2,t3] b:3[] until 23000
             beat b 3
             > b 4 [ux0]
             beat a 2 own=t0,t1
             > a 4
             beat b 4
             > b 4 [t2,t3 ux0]",
    )]);
}
