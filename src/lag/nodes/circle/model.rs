//! What a coordinator does for a classic group, as far as nodes see it: what they are simulated with.

use std::collections::{BTreeMap, BTreeSet};

use super::{Answer, Ask, Saying};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    /// All are to join until then.
    Preparing(i64),
    /// The leader is waited for.
    Completing,
    Stable,
}

#[derive(Debug, Clone)]
struct Member {
    says: Saying,
    expires_at: i64,
    joins: Option<u64>,
    syncs: Option<u64>,
}

/// A coordinator. Asks are known by a number, under which they are answered sooner or later.
#[derive(Debug, Clone)]
pub struct Coordinator {
    session_ms: i64,
    generation: i32,
    state: State,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Seats that were given away, and until when they are kept.
    pending: BTreeMap<String, i64>,
    roll: Vec<Saying>,
    /// Until when it reads the log, and knows nothing.
    loads_until: i64,
    /// As it was written to the log last.
    written: Option<Box<Self>>,
    pub answers: Vec<(u64, Answer)>,
}

impl Coordinator {
    pub fn new(session_ms: i64) -> Self {
        Self {
            session_ms,
            generation: 0,
            state: State::Empty,
            leader: String::new(),
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            roll: Vec::new(),
            loads_until: 0,
            written: None,
            answers: Vec::new(),
        }
    }

    /// What another coordinator makes of the log, which it has read by then. A generation is in it once its leader has synced;
    /// sessions begin anew.
    pub fn loaded(&self, loads_until: i64) -> Self {
        let Some(written) = &self.written else { return Self { loads_until, ..Self::new(self.session_ms) } };
        let mut other = Self { written: Some(written.clone()), loads_until, ..(**written).clone() };
        other.members.values_mut().for_each(|member| member.expires_at = loads_until + self.session_ms);
        other
    }

    fn write(&mut self) {
        let members =
            self.members.clone().into_iter().map(|(seat, it)| (seat, Member { joins: None, syncs: None, ..it }));
        let (members, pending, answers) = (members.collect(), BTreeMap::new(), Vec::new());
        self.written = Some(Box::new(Self { members, pending, answers, written: None, ..self.clone() }));
    }

    pub fn ask(&mut self, ask: &Ask, number: u64, now: i64, fresh: u64) {
        if now < self.loads_until {
            return self.answers.push((number, while_loading(ask)));
        }
        self.tick(now);
        let answer = match ask {
            Ask::Join { seat: None, .. } => {
                let seat = format!("{fresh:x}");
                self.pending.insert(seat.clone(), now + self.session_ms);
                Some(Answer::Named(seat))
            }
            Ask::Join { seat: Some(seat), says } => self.join(seat, says, number, now),
            Ask::Sync { seat, generation, all } => self.sync(seat, *generation, all, number, now),
            Ask::Beat { seat, generation } => Some(self.beat(seat, *generation, now)),
        };
        self.answers.extend(answer.map(|answer| (number, answer)));
        self.complete(now);
    }

    pub fn leave(&mut self, seat: &str, now: i64) {
        if now < self.loads_until {
            return;
        }
        self.pending.remove(seat);
        self.remove(&BTreeSet::from([seat.to_owned()]), now);
        self.complete(now);
    }

    /// When something is due.
    pub fn wakes_at(&self) -> Option<i64> {
        let sessions = self.members.values().filter(|it| !it.is_waiting()).map(|it| it.expires_at);
        let prepared = if let State::Preparing(until) = self.state { Some(until) } else { None };
        sessions.chain(self.pending.values().copied()).chain(prepared).min().map(|at| at.max(self.loads_until))
    }

    pub fn tick(&mut self, now: i64) {
        if now < self.loads_until {
            return;
        }
        self.pending.retain(|_, until| *until > now);
        let mut over: BTreeSet<_> = self.whose(|it| !it.is_waiting() && it.expires_at <= now);
        if matches!(self.state, State::Preparing(until) if until <= now) {
            over.extend(self.whose(|it| it.joins.is_none()));
            self.pending.clear();
        }
        self.remove(&over, now);
        self.complete(now);
    }

    fn whose(&self, is: impl Fn(&Member) -> bool) -> BTreeSet<String> {
        self.members.iter().filter(|(_, it)| is(it)).map(|(seat, _)| seat.clone()).collect()
    }

    fn remove(&mut self, seats: &BTreeSet<String>, now: i64) {
        let before = self.members.len();
        self.members.retain(|seat, _| !seats.contains(seat));
        if self.members.len() < before && matches!(self.state, State::Stable | State::Completing) {
            self.prepare(now);
        }
    }

    fn prepare(&mut self, now: i64) {
        self.state = State::Preparing(now + self.session_ms);
        let waiting = self.members.values_mut().filter(|it| it.syncs.is_some());
        for member in waiting {
            member.expires_at = now + self.session_ms;
            self.answers.extend(member.syncs.take().map(|number| (number, Answer::Called)));
        }
    }

    fn join(&mut self, seat: &str, says: &Saying, number: u64, now: i64) -> Option<Answer> {
        let is_new = self.pending.remove(seat).is_some();
        if !is_new && !self.members.contains_key(seat) {
            return Some(Answer::Gone);
        }
        let is_same = self.members.get(seat).is_some_and(|it| it.says == *says);
        if is_same && (self.state == State::Completing || (self.state == State::Stable && self.leader != seat)) {
            return Some(self.joined(seat));
        }
        if !matches!(self.state, State::Preparing(_)) {
            self.prepare(now);
        }
        let member = Member { says: says.clone(), expires_at: now + self.session_ms, joins: Some(number), syncs: None };
        self.members.insert(seat.to_owned(), member);
        None
    }

    fn joined(&self, seat: &str) -> Answer {
        let all = self.members.iter().filter(|_| seat == self.leader).map(|(seat, it)| (seat.clone(), it.says.clone()));
        Answer::Joined { seat: seat.to_owned(), generation: self.generation, all: all.collect() }
    }

    /// A generation, once all have joined.
    fn complete(&mut self, now: i64) {
        if !matches!(self.state, State::Preparing(_)) {
            return;
        }
        if self.members.is_empty() {
            (self.state, self.generation) = (State::Empty, self.generation + 1);
            return self.write();
        }
        if !self.pending.is_empty() || self.members.values().any(|it| it.joins.is_none()) {
            return;
        }
        (self.state, self.generation) = (State::Completing, self.generation + 1);
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        let seats: Vec<String> = self.members.keys().cloned().collect();
        for seat in seats {
            let answer = self.joined(&seat);
            if let Some(member) = self.members.get_mut(&seat) {
                member.expires_at = now + self.session_ms;
                self.answers.extend(member.joins.take().map(|number| (number, answer)));
            }
        }
    }

    fn sync(&mut self, seat: &str, generation: i32, all: &[(String, Saying)], number: u64, now: i64) -> Option<Answer> {
        let expires_at = now + self.session_ms;
        let Some(member) = self.members.get_mut(seat).filter(|_| generation == self.generation) else {
            return Some(Answer::Gone);
        };
        match self.state {
            State::Empty | State::Preparing(_) => return Some(Answer::Called),
            State::Stable => {
                member.expires_at = expires_at;
                return Some(Answer::Synced(self.roll.clone()));
            }
            State::Completing => member.syncs = Some(number),
        }
        if seat == self.leader {
            self.roll = all.iter().map(|(_, says)| says.clone()).collect();
            self.state = State::Stable;
            for member in self.members.values_mut() {
                member.expires_at = expires_at;
                self.answers.extend(member.syncs.take().map(|number| (number, Answer::Synced(self.roll.clone()))));
            }
            self.write();
        }
        None
    }

    fn beat(&mut self, seat: &str, generation: i32, now: i64) -> Answer {
        let expires_at = now + self.session_ms;
        let Some(member) = self.members.get_mut(seat).filter(|_| generation == self.generation) else {
            return Answer::Gone;
        };
        member.expires_at = expires_at;
        match self.state {
            State::Empty => Answer::Gone,
            State::Preparing(_) => Answer::Called,
            State::Completing | State::Stable => Answer::Alive,
        }
    }
}

/// Kafka's `GroupCoordinatorService`: a heartbeat is answered well, whoever sends it, and a SyncGroup as if all were called.
fn while_loading(ask: &Ask) -> Answer {
    match ask {
        Ask::Join { .. } => Answer::NotNow,
        Ask::Sync { .. } => Answer::Called,
        Ask::Beat { .. } => Answer::Alive,
    }
}

impl Member {
    /// Who waits for the others is not expected to say that it lives.
    fn is_waiting(&self) -> bool {
        self.joins.is_some() || self.syncs.is_some()
    }
}
