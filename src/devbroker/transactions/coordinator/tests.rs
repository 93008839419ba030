//! The coordinator by scripts: each word is a request, and says what is answered.

use super::*;
use crate::protocol::types::Uuid;

const ID: &str = "x";
const TIMEOUT_MS: i32 = 1000;

/// The coordinator, and what the shell does around it.
#[derive(Default)]
struct Script {
    coordinator: Coordinator,
    next_id: i64,
    now_ms: i64,
}

/// `9/3`, or nothing for a producer that shows no identity.
fn identity(text: &str) -> Option<Identity> {
    let (producer_id, epoch) = text.split_once('/')?;
    Some(Identity { producer_id: producer_id.parse().expect("an id"), epoch: epoch.parse().expect("an epoch") })
}

fn named(identity: Identity) -> String {
    format!("{}/{}", identity.producer_id, identity.epoch)
}

impl Script {
    fn apply(&mut self, transaction: &Transaction) {
        self.coordinator.apply(&transaction.entry(&Str::from(ID)));
    }

    fn complete(&mut self) -> Identity {
        let decided = self.coordinator.get(ID).expect("it was decided").clone();
        let Phase::Prepared(close) = decided.phase else { panic!("{decided:?}") };
        let fresh_id = self.coordinator.needs_id(ID).then(|| self.fresh_id());
        let completed = decided.completed(close, fresh_id);
        self.apply(&completed);
        completed.identity
    }

    fn fresh_id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    fn init(&mut self, shown: Option<Identity>) -> Result<String, ErrorCode> {
        let mut fresh_id = None;
        loop {
            match self.coordinator.init(ID, shown, TIMEOUT_MS, fresh_id)? {
                Init::NeedsId => fresh_id = Some(self.fresh_id()),
                Init::Abort(prepared) => {
                    self.apply(&prepared);
                    self.complete();
                }
                Init::Become(next) => {
                    self.apply(&next);
                    return Ok(named(next.identity));
                }
            }
        }
    }

    fn add(&mut self, who: Identity, partition: i32) -> Result<String, ErrorCode> {
        let partitions = [(Uuid([1; 16]), partition)];
        let next = self.coordinator.add(ID, who, &partitions, None, self.now_ms)?;
        next.iter().for_each(|next| self.apply(next));
        Ok(if next.is_some() { "added" } else { "known" }.to_owned())
    }

    fn end(&mut self, who: Identity, close: Close, is_v2: bool, completes: bool) -> Result<String, ErrorCode> {
        match self.coordinator.end(ID, who, close, is_v2)? {
            End::Done(identity) => Ok(format!("done-{}", named(identity))),
            End::Prepare(prepared, _) => {
                self.apply(&prepared);
                Ok(if completes { named(self.complete()) } else { "decided".to_owned() })
            }
        }
    }

    fn play(&mut self, word: &str) -> String {
        let (verb, object) = word.split_once(':').unwrap_or((word, ""));
        let who = || identity(object).expect("an identity");
        let said = match verb {
            "init" => self.init(identity(object)),
            "add" => self.add(who(), 0),
            "commit" => self.end(who(), Close::Commit, false, true),
            "abort" => self.end(who(), Close::Abort, false, true),
            "commit-v2" => self.end(who(), Close::Commit, true, true),
            "abort-v2" => self.end(who(), Close::Abort, true, true),
            "crash-in-commit" => self.end(who(), Close::Commit, true, false),
            "replay" => {
                let snapshot = self.coordinator.snapshot();
                self.coordinator = Coordinator::default();
                snapshot.iter().for_each(|entry| self.coordinator.apply(entry));
                Ok(self.coordinator.get(ID).map_or("-", |it| it.phase.name()).to_owned())
            }
            "resume" => Ok(self.coordinator.prepared().iter().map(|_| named(self.complete())).collect()),
            "wait" => {
                self.now_ms += object.parse::<i64>().expect("milliseconds");
                Ok(self.overdue())
            }
            _ => panic!("{word} is no word of a script"),
        };
        said.unwrap_or_else(|error| error.name().unwrap_or("?").to_lowercase().replace('_', "-"))
    }

    fn overdue(&mut self) -> String {
        let Some(id) = self.coordinator.overdue(self.now_ms) else { return "in-time".to_owned() };
        let fenced = self.coordinator.get(&id).expect("it is overdue").fenced();
        self.apply(&fenced);
        format!("aborted-{}", named(self.complete()))
    }
}

fn check(name: &str, script: &str, expected: &str) {
    let mut coordinator = Script::default();
    let said: Vec<String> = script.split_whitespace().map(|word| coordinator.play(word)).collect();
    assert_eq!(said.join(" "), expected.split_whitespace().collect::<Vec<_>>().join(" "), "{name}");
}

#[test]
fn whoever_begins_fences_those_before() {
    check("each life has its epoch", "init init init", "1/0 1/1 1/2");
    check("what was open is aborted", "init add:1/0 init add:1/0 add:1/2", "1/0 added 1/2 producer-fenced added");
    check("the next epoch for who shows the present one", "init init:1/0", "1/0 1/1");
    check("asked twice", "init init:1/0 init:1/0 init:1/1", "1/0 1/1 1/1 1/2");
    check("a former epoch", "init init init:1/0", "1/0 1/1 producer-fenced");
    check("another producer's id", "init init:7/0", "1/0 producer-fenced");
    check("an id that is not known here", "init:7/3", "1/0");
    check("in the midst of a transaction", "init add:1/0 init:1/0", "1/0 added producer-fenced");
}

#[test]
fn in_the_first_protocol_the_epoch_stays() {
    check(
        "commit, and again",
        "init add:1/0 add:1/0 commit:1/0 commit:1/0 add:1/0 abort:1/0 abort:1/0",
        "1/0 added known 1/0 done-1/0 added 1/0 done-1/0",
    );
    check("nothing to end", "init commit:1/0", "1/0 invalid-txn-state");
    check("the other end", "init add:1/0 commit:1/0 abort:1/0", "1/0 added 1/0 invalid-txn-state");
    check("fenced", "init init add:1/0 commit:1/0", "1/0 1/1 producer-fenced producer-fenced");
    check("not mine", "init add:8/0 commit:8/0", "1/0 invalid-producer-id-mapping invalid-producer-id-mapping");
}

#[test]
fn in_the_second_protocol_the_epoch_rises_with_each_end() {
    check(
        "commit, and again",
        "init add:1/0 commit-v2:1/0 commit-v2:1/0 add:1/0 add:1/1 abort-v2:1/1 abort-v2:1/1",
        "1/0 added 1/1 done-1/1 producer-fenced added 1/2 done-1/2",
    );
    check("an abort of nothing", "init abort-v2:1/0 add:1/1", "1/0 1/1 added");
    check("a commit of nothing", "init commit-v2:1/0", "1/0 invalid-txn-state");
    check(
        "a retry that changes its mind",
        "init add:1/0 commit-v2:1/0 abort-v2:1/0",
        "1/0 added 1/1 invalid-txn-state",
    );
}

#[test]
fn what_takes_too_long_is_aborted_and_fenced() {
    check(
        "the timeout counts from the first partition",
        "init wait:900 add:1/0 wait:999 wait:1 add:1/0 commit:1/0 init",
        "1/0 in-time added in-time aborted-1/1 producer-fenced producer-fenced 1/2",
    );
    check(
        "in the second protocol the producer may go on once it has aborted, too",
        "init add:1/0 wait:1000 commit-v2:1/0 abort-v2:1/0 add:1/1",
        "1/0 added aborted-1/1 invalid-txn-state done-1/1 added",
    );
    check("what has ended is in time", "init add:1/0 commit:1/0 wait:5000", "1/0 added 1/0 in-time");
}

#[test]
fn what_was_decided_is_completed_after_a_restart() {
    check(
        "a commit",
        "init add:1/0 crash-in-commit:1/0 add:1/1 replay resume add:1/1",
        "1/0 added decided concurrent-transactions PrepareCommit 1/1 added",
    );
    check("what is open stays open", "init add:1/0 replay add:1/0 wait:1000", "1/0 added Ongoing known aborted-1/1");
}

#[test]
fn used_up_epochs_go_on_under_another_producer_id() {
    let mut script = Script::default();
    script.play("init");
    let used_up = Identity { producer_id: 1, epoch: LAST_EPOCH - 1 };
    let known = Transaction { identity: used_up, ..script.coordinator.get(ID).expect("it is known").clone() };
    script.apply(&known);
    let last = format!("{}/{}", 1, LAST_EPOCH - 1);
    let said: Vec<String> =
        [format!("add:{last}"), format!("commit-v2:{last}"), "add:2/0".to_owned(), "init".to_owned()]
            .iter()
            .map(|word| script.play(word))
            .collect();
    assert_eq!(said, ["added", "2/0", "added", "2/2"]);
}

#[test]
fn offsets_wait_until_it_is_known() {
    let mut script = Script::default();
    script.play("init");
    script.play("add:1/0");
    let waiting = |offset| TransactionOffsetEntry {
        transactional_id: ID.into(),
        group_id: "g".into(),
        topic: "t".into(),
        partition: 0,
        offset,
        ..Default::default()
    };
    script.coordinator.apply(&waiting(4).into());
    script.coordinator.apply(&waiting(5).into());
    let offsets = |script: &Script| script.coordinator.offsets(ID).map(|it| it.offset).collect::<Vec<_>>();
    assert_eq!((offsets(&script), script.coordinator.is_unstable("g", "t", 0)), (vec![5], true));
    script.play("replay");
    assert_eq!(offsets(&script), [5]);
    script.play("commit:1/0");
    assert_eq!((offsets(&script), script.coordinator.is_unstable("g", "t", 0)), (vec![], false));
}
