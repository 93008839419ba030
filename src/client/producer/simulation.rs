//! One partition's line against a model of two brokers that lose replies and connections, move leadership, and process what
//! a dead connection still carried: whatever happens, what is acknowledged is in the log once and in order.

use std::collections::{BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::line::{Answer, Identity, Line, sequence_after};
use crate::protocol::types::BrokerId;

/// A batch is its number, and how many records it has. Its halves have numbers of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbered {
    number: usize,
    count: i32,
}

impl Numbered {
    fn halves(self) -> Vec<(Self, i32)> {
        let first = self.count / 2;
        let half = |number, count| (Self { number, count }, count);
        vec![half(self.number, first), half(self.number + 1, self.count - first)]
    }
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    ticket: u64,
    batch: Numbered,
    identity: Identity,
    first_sequence: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Written,
    NotLeader,
    NotEnoughReplicas,
    /// Appended, but not by enough replicas in time: an error that wrote.
    AfterAppend,
    OutOfOrder,
    OldEpoch,
    Refused,
    TooLarge,
}

/// The partition's log and what its leader remembers of the producer.
#[derive(Debug, Default)]
struct Log {
    batches: Vec<usize>,
    /// None before the first batch: then any sequence is accepted.
    epoch: Option<i16>,
    /// First sequence and the one after the last, of the last five batches.
    remembered: VecDeque<(i32, i32)>,
}

impl Log {
    fn append(&mut self, attempt: &Attempt, poisoned: bool, largest: i32) -> Word {
        let range = (attempt.first_sequence, sequence_after(attempt.first_sequence, attempt.batch.count));
        let is_current = self.epoch == Some(attempt.identity.epoch);
        if self.epoch.is_some_and(|epoch| attempt.identity.epoch < epoch) {
            return Word::OldEpoch;
        }
        if is_current && self.remembered.contains(&range) {
            return Word::Written;
        }
        if attempt.batch.count > largest {
            return Word::TooLarge;
        }
        if poisoned {
            return Word::Refused;
        }
        let expected = match (self.epoch, self.remembered.back()) {
            (None, _) => range.0,
            (Some(_), Some(last)) if is_current => last.1,
            _ => 0,
        };
        if range.0 != expected {
            return Word::OutOfOrder;
        }
        if !is_current {
            self.epoch = Some(attempt.identity.epoch);
            self.remembered.clear();
        }
        self.remembered.push_back(range);
        if self.remembered.len() > 5 {
            self.remembered.pop_front();
        }
        self.batches.push(attempt.batch.number);
        Word::Written
    }
}

impl Log {
    fn forget(&mut self) {
        let before_last = self.remembered.len().saturating_sub(1);
        self.remembered.drain(..before_last);
    }

    fn forget_all(&mut self) {
        self.epoch = None;
        self.remembered.clear();
    }
}

/// What may go wrong, each with how often in a hundred steps.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    cut: u32,
    move_leader: u32,
    retriable: u32,
    expire: u32,
    poison: u32,
    /// The leader is restarted in order: what it has written of itself holds the last batch of a producer, and no other.
    forget: u32,
    /// The leader knows nothing of the producer any more, and takes whatever comes next; once in a life.
    amnesia: u32,
    /// Whether batches of more than half the usual records are refused as too large.
    small: bool,
    /// Requests of a cut connection may still be processed long after.
    ghosts: bool,
}

struct World {
    chance: StdRng,
    faults: Faults,
    now: Instant,
    log: Log,
    leader: BrokerId,
    /// Requests and replies on each broker's connection, in order.
    requests: [VecDeque<Attempt>; 2],
    replies: [VecDeque<(u64, Word)>; 2],
    ghosts: Vec<(BrokerId, Attempt)>,
    poisoned: BTreeSet<usize>,
    line: Line<Numbered>,
    todo: VecDeque<Numbered>,
    tickets: u64,
    acknowledged: BTreeSet<usize>,
    failed: BTreeSet<usize>,
    halved: usize,
    has_forgotten: bool,
}

const BATCHES: usize = 40;

impl World {
    fn new(seed: u64, faults: Faults, first_sequence_near_wrap: bool) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let count =
            |chance: &mut StdRng| if first_sequence_near_wrap { i32::MAX / 4 } else { chance.random_range(1..9) };
        // Every second number is left for a half.
        let numbers = (0..2 * BATCHES).step_by(2);
        let todo: VecDeque<_> = numbers.clone().map(|number| Numbered { number, count: count(&mut chance) }).collect();
        let poisoned = numbers.filter(|_| chance.random_range(0..100) < faults.poison).collect();
        let mut line = Line::default();
        line.adopt(Identity { producer_id: 9, epoch: 0 });
        Self {
            chance,
            faults,
            now: Instant::now(),
            log: Log::default(),
            leader: 0,
            requests: Default::default(),
            replies: Default::default(),
            ghosts: Vec::new(),
            poisoned,
            line,
            todo,
            tickets: 0,
            acknowledged: BTreeSet::new(),
            failed: BTreeSet::new(),
            halved: 0,
            has_forgotten: false,
        }
    }

    fn percent(&mut self, often: u32) -> bool {
        self.chance.random_range(0..100) < often
    }

    /// Sends what may be sent, as the sender does.
    fn pump(&mut self) {
        if self.line.may_restart() {
            assert!(self.line.restart(Identity { producer_id: 9, epoch: 0 }));
        }
        if self.line.is_elsewhere(self.leader) {
            return;
        }
        self.tickets += 1;
        let (ticket, leader) = (self.tickets, self.leader);
        let identity = self.line.identity().unwrap();
        let is_due = self.line.due().is_some_and(|due| due <= self.now);
        let sent = if is_due {
            self.line.resend(ticket, leader)
        } else if self.line.is_open() {
            self.todo.pop_front().map(|batch| self.line.admit(ticket, batch, batch.count, leader))
        } else {
            None
        };
        let Some(sent) = sent else { return };
        let attempt = Attempt { ticket, batch: sent.batch, identity, first_sequence: sent.first_sequence };
        self.requests[leader as usize].push_back(attempt);
    }

    fn process(&mut self, broker: BrokerId, attempt: &Attempt) -> Word {
        if broker != self.leader {
            return Word::NotLeader;
        }
        if self.percent(self.faults.retriable) {
            return Word::NotEnoughReplicas;
        }
        let largest = if self.faults.small { 5 } else { i32::MAX };
        let word = self.log.append(attempt, self.poisoned.contains(&attempt.batch.number), largest);
        if word == Word::Written && self.percent(self.faults.retriable) { Word::AfterAppend } else { word }
    }

    fn hear(&mut self, ticket: u64, word: Word) {
        let batch = self.line.find(ticket).map(|sent| sent.batch);
        let answer = match word {
            Word::Written => Answer::Written,
            Word::NotLeader | Word::NotEnoughReplicas => Answer::Denied(self.now),
            Word::AfterAppend => Answer::Again(self.now),
            Word::OutOfOrder => Answer::Gap(self.now),
            Word::OldEpoch => Answer::Refused,
            Word::Refused => Answer::Unwritten,
            Word::TooLarge => Answer::Split(self.now, batch.map(Numbered::halves).unwrap_or_default()),
        };
        let done = self.line.answer(ticket, answer);
        for proven in self.line.take_proven() {
            assert!(self.acknowledged.insert(proven.number));
        }
        if done.is_none() {
            return;
        }
        let number = batch.unwrap().number;
        match word {
            Word::TooLarge => self.halved += 1,
            Word::Written => assert!(self.acknowledged.insert(number)),
            _ => assert!(self.failed.insert(number)),
        }
    }

    /// The connection breaks: a first part of what it carried was processed, the rest is lost or haunts us.
    fn cut(&mut self, broker: BrokerId) {
        let mut lost: Vec<u64> = self.replies[broker as usize].drain(..).map(|(ticket, _)| ticket).collect();
        let carried: Vec<_> = self.requests[broker as usize].drain(..).collect();
        let arrived = self.chance.random_range(0..=carried.len());
        for (i, attempt) in carried.into_iter().enumerate() {
            lost.push(attempt.ticket);
            if i < arrived {
                self.process(broker, &attempt);
            } else if self.faults.ghosts {
                self.ghosts.push((broker, attempt));
            }
        }
        for ticket in lost {
            self.line.answer(ticket, Answer::Again(self.now));
        }
    }

    fn step(&mut self) {
        let broker = self.chance.random_range(0..2);
        match self.chance.random_range(0..4) {
            0 => self.pump(),
            1 => {
                if let Some(attempt) = self.requests[broker as usize].pop_front() {
                    let word = self.process(broker, &attempt);
                    self.replies[broker as usize].push_back((attempt.ticket, word));
                }
            }
            2 => {
                if let Some((ticket, word)) = self.replies[broker as usize].pop_front() {
                    self.hear(ticket, word);
                }
            }
            _ => self.disturb(broker),
        }
    }

    fn disturb(&mut self, broker: BrokerId) {
        if self.percent(self.faults.cut) {
            self.cut(broker);
        }
        if self.percent(self.faults.forget) {
            self.log.forget();
        }
        if !self.has_forgotten && self.percent(self.faults.amnesia) {
            self.has_forgotten = true;
            self.log.forget_all();
        }
        if self.percent(self.faults.move_leader) {
            self.leader = 1 - self.leader;
        }
        if self.percent(self.faults.expire) {
            let victim = self.chance.random_range(0..2 * BATCHES);
            for over in self.line.expire(|batch| batch.number == victim) {
                assert!(self.failed.insert(over.number));
            }
        }
        if !self.ghosts.is_empty() && self.percent(20) {
            let (broker, attempt) = self.ghosts.remove(0);
            self.process(broker, &attempt);
        }
    }

    fn run(mut self, seed: u64) {
        let mut steps = 0;
        while self.acknowledged.len() + self.failed.len() < BATCHES + self.halved {
            self.step();
            steps += 1;
            assert!(steps < 1_000_000, "seed {seed}: stuck with {:?}", self.line);
        }
        for number in &self.acknowledged {
            let copies = self.log.batches.iter().filter(|written| *written == number).count();
            // Who has forgotten what it has written writes it again.
            let is_right = if self.faults.amnesia > 0 { copies >= 1 } else { copies == 1 };
            assert!(is_right, "seed {seed}: copies of acknowledged batch {number} in {:?}", self.log.batches);
        }
        if self.faults.amnesia > 0 {
            return;
        }
        let may_fail = self.faults.poison > 0 || self.faults.expire > 0;
        assert!(may_fail || self.failed.is_empty(), "seed {seed}: for no reason: {:?}", self.failed);
        let mut ordered = self.log.batches.clone();
        ordered.sort_unstable();
        ordered.dedup();
        assert_eq!(self.log.batches, ordered, "seed {seed}: once and in order, acknowledged or not");
    }
}

fn check(faults: Faults) {
    for seed in 0..150 {
        World::new(seed, faults, seed % 8 == 0 && !faults.small).run(seed);
    }
}

#[test]
fn everything_is_written_once_and_in_order() {
    let calm = Faults::default();
    let lossy = Faults { cut: 10, retriable: 10, ..calm };
    let cases = [
        calm,
        Faults { retriable: 30, ..calm },
        Faults { cut: 20, ..calm },
        lossy,
        Faults { move_leader: 20, ..lossy },
        Faults { move_leader: 20, ghosts: true, ..lossy },
        Faults { forget: 10, ..lossy },
        Faults { forget: 10, move_leader: 20, ghosts: true, ..lossy },
        Faults { small: true, ..calm },
        Faults { small: true, move_leader: 10, ..lossy },
    ];
    cases.into_iter().for_each(check);
}

#[test]
fn what_fails_leaves_the_others_once_and_in_order() {
    let lossy = Faults { cut: 10, retriable: 10, move_leader: 10, ..Faults::default() };
    let cases = [
        Faults { poison: 20, ..lossy },
        Faults { expire: 20, ..lossy },
        Faults { poison: 10, expire: 10, small: true, ..lossy },
    ];
    cases.into_iter().for_each(check);
}

/// Where every answer arrives. Of one that is lost nobody can tell whether it was a refusal.
#[test]
fn what_a_forgetful_leader_skipped_is_not_acknowledged() {
    let forgetful = Faults { amnesia: 2, retriable: 10, ..Faults::default() };
    let cases = [
        forgetful,
        Faults { retriable: 30, ..forgetful },
        Faults { move_leader: 20, ..forgetful },
        Faults { small: true, ..forgetful },
        Faults { poison: 10, small: true, move_leader: 10, ..forgetful },
    ];
    cases.into_iter().for_each(check);
}

#[test]
fn a_batch_goes_alone_where_the_producer_may_be_forgotten() {
    let (mut line, batch) = (Line::default(), Numbered { number: 0, count: 1 });
    line.adopt(Identity { producer_id: 9, epoch: 0 });
    for (ticket, is_forgotten, goes_alone) in [(1, false, true), (2, false, false), (3, true, true), (4, false, false)]
    {
        if is_forgotten {
            line.may_be_forgotten();
        }
        assert!(line.is_open());
        line.admit(ticket, batch, 1, 0);
        assert_eq!(line.is_open(), !goes_alone, "{ticket}");
        assert!(line.answer(ticket, Answer::Written).is_some());
    }
}
