//! Fetch sessions (KIP-227): a client says once which partitions it reads, then only what has changed; the answers
//! leave out partitions that have nothing new.
//!
//! A session belongs to a virtual broker. At most [`SLOTS`] exist; when all are taken, one that was idle for
//! [`IDLE_MS`] makes room, else the client reads without a session, which costs bytes and nothing else.

use std::collections::{BTreeMap, HashMap};

use crate::protocol::error::ErrorCode;
use crate::protocol::types::{BrokerId, LeaderEpoch, Offset, Str, TopicId};

/// `max.incremental.fetch.session.cache.slots`
const SLOTS: usize = 1000;
/// `min.incremental.fetch.session.eviction.ms`
const IDLE_MS: i64 = 120_000;

/// A partition as a fetch names it: by name before version 13, by id from then on; the other is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Key {
    pub name: Str,
    pub id: TopicId,
    pub partition: i32,
}

/// What a fetch wants of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub key: Key,
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub last_fetched_epoch: Option<LeaderEpoch>,
    pub max_bytes: usize,
}

/// What the client was last told of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub high_watermark: Offset,
    pub log_start: Offset,
}

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    told: Option<Told>,
}

#[derive(Debug)]
struct Session {
    broker: BrokerId,
    epoch: i32,
    by_id: bool,
    used_ms: i64,
    /// In the order in which they are read. Who was given records goes to the end, so nobody starves.
    order: BTreeMap<u64, Cached>,
    place: HashMap<Key, u64>,
    next: u64,
}

/// Partitions that all sessions together remember; a fetch of more goes without one.
const PARTITIONS_MAX: usize = 200_000;

impl Session {
    fn want(&mut self, wanted: Wanted) {
        match self.place.get(&wanted.key).and_then(|place| self.order.get_mut(place)) {
            Some(cached) => cached.wanted = wanted,
            None => self.push(Cached { wanted, told: None }),
        }
    }

    fn push(&mut self, cached: Cached) {
        self.place.insert(cached.wanted.key.clone(), self.next);
        self.order.insert(self.next, cached);
        self.next += 1;
    }

    fn forget(&mut self, key: &Key) -> Option<Cached> {
        self.order.remove(&self.place.remove(key)?)
    }
}

/// How the answer to a fetch relates to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// None: the answer names every partition and session 0.
    Sessionless,
    /// A new one: the answer names every partition and the session.
    Full(i32),
    /// The answer names only what is new.
    Incremental(i32),
}

impl Use {
    /// The id that the answer carries.
    pub fn id(self) -> i32 {
        match self {
            Use::Sessionless => 0,
            Use::Full(id) | Use::Incremental(id) => id,
        }
    }
}

/// The part of a Fetch request that concerns sessions.
#[derive(Debug)]
pub struct Ask {
    pub broker: BrokerId,
    pub session: i32,
    pub epoch: i32,
    /// Whether topics are named by id (version 13).
    pub by_id: bool,
    pub wanted: Vec<Wanted>,
    pub forgotten: Vec<Key>,
}

#[derive(Debug, Default)]
pub struct Sessions {
    by_id: HashMap<i32, Session>,
    last: i32,
}

impl Sessions {
    /// What a fetch is to read, and how it is to be answered.
    pub fn ask(&mut self, now_ms: i64, ask: Ask) -> Result<(Use, Vec<Wanted>), ErrorCode> {
        match ask.epoch {
            -1 | 0 => {
                self.close(ask.broker, ask.session);
                let opens = ask.epoch == 0
                    && !ask.wanted.is_empty()
                    && self.can_keep(ask.wanted.len())
                    && self.has_room(now_ms);
                Ok((if opens { self.open(now_ms, &ask) } else { Use::Sessionless }, ask.wanted))
            }
            _ => self.go_on(now_ms, ask),
        }
    }

    /// Whether so many partitions more are within the bound of all sessions together.
    fn can_keep(&self, more: usize) -> bool {
        self.by_id.values().map(|session| session.order.len()).sum::<usize>() + more <= PARTITIONS_MAX
    }

    fn open(&mut self, now_ms: i64, ask: &Ask) -> Use {
        loop {
            self.last = if self.last == i32::MAX { 1 } else { self.last + 1 };
            if !self.by_id.contains_key(&self.last) {
                break;
            }
        }
        let mut session = Session {
            broker: ask.broker,
            epoch: 1,
            by_id: ask.by_id,
            used_ms: now_ms,
            order: BTreeMap::new(),
            place: HashMap::new(),
            next: 0,
        };
        ask.wanted.iter().cloned().for_each(|wanted| session.want(wanted));
        self.by_id.insert(self.last, session);
        Use::Full(self.last)
    }

    fn go_on(&mut self, now_ms: i64, ask: Ask) -> Result<(Use, Vec<Wanted>), ErrorCode> {
        if !ask.wanted.is_empty() && !self.can_keep(ask.wanted.len()) {
            self.close(ask.broker, ask.session);
        }
        let own = |session: &&mut Session| session.broker == ask.broker;
        let session = self.by_id.get_mut(&ask.session).filter(own).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != ask.epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_id != ask.by_id {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        session.used_ms = now_ms;
        ask.wanted.into_iter().for_each(|wanted| session.want(wanted));
        ask.forgotten.iter().for_each(|key| drop(session.forget(key)));
        let wanted: Vec<Wanted> = session.order.values().map(|cached| cached.wanted.clone()).collect();
        if wanted.is_empty() {
            self.by_id.remove(&ask.session);
            return Ok((Use::Sessionless, wanted));
        }
        Ok((Use::Incremental(ask.session), wanted))
    }

    /// Takes note of what a partition's answer says; returns whether an incremental answer must contain it.
    /// `told` is `None` for an error, which is always news, and is told again until it has passed.
    pub fn tell(&mut self, session: i32, key: &Key, told: Option<Told>, has_records: bool) -> bool {
        let Some(session) = self.by_id.get_mut(&session) else { return true };
        let Some(cached) = session.place.get(key).and_then(|place| session.order.get_mut(place)) else { return true };
        let news = has_records || told.is_none() || cached.told != told;
        cached.told = told;
        if has_records && let Some(cached) = session.forget(key) {
            session.push(cached);
        }
        news
    }

    fn close(&mut self, broker: BrokerId, session: i32) {
        if self.by_id.get(&session).is_some_and(|session| session.broker == broker) {
            self.by_id.remove(&session);
        }
    }

    fn has_room(&mut self, now_ms: i64) -> bool {
        if self.by_id.len() < SLOTS {
            return true;
        }
        let oldest =
            self.by_id.iter().min_by_key(|(_, session)| session.used_ms).map(|(id, session)| (*id, session.used_ms));
        match oldest {
            Some((id, used_ms)) if now_ms - used_ms >= IDLE_MS => self.by_id.remove(&id).is_some(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> Key {
        Key { name: "t".into(), id: TopicId::ZERO, partition }
    }

    fn wanted(partition: i32, offset: Offset) -> Wanted {
        Wanted { key: key(partition), offset, leader_epoch: None, last_fetched_epoch: None, max_bytes: 1 }
    }

    fn ask(session: i32, epoch: i32, partitions: &[(i32, Offset)], forgotten: &[i32]) -> Ask {
        Ask {
            broker: 1,
            session,
            epoch,
            by_id: false,
            wanted: partitions.iter().map(|(partition, offset)| wanted(*partition, *offset)).collect(),
            forgotten: forgotten.iter().map(|partition| key(*partition)).collect(),
        }
    }

    fn read(sessions: &mut Sessions, ask: Ask) -> Result<(Use, Vec<(i32, Offset)>), ErrorCode> {
        let (how, wanted) = sessions.ask(0, ask)?;
        Ok((how, wanted.iter().map(|wanted| (wanted.key.partition, wanted.offset)).collect()))
    }

    #[test]
    fn a_session_remembers_what_is_wanted() {
        let mut sessions = Sessions::default();
        let s = &mut sessions;
        assert_eq!(read(s, ask(0, -1, &[(0, 5)], &[])), Ok((Use::Sessionless, vec![(0, 5)])));
        assert_eq!(read(s, ask(0, 0, &[(0, 5), (1, 6)], &[])), Ok((Use::Full(1), vec![(0, 5), (1, 6)])));
        assert_eq!(read(s, ask(1, 1, &[], &[])), Ok((Use::Incremental(1), vec![(0, 5), (1, 6)])));
        assert_eq!(read(s, ask(1, 2, &[(1, 9), (2, 0)], &[0])), Ok((Use::Incremental(1), vec![(1, 9), (2, 0)])));
        assert_eq!(read(s, ask(1, 2, &[], &[])), Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH));
        assert_eq!(read(s, ask(9, 1, &[], &[])), Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(read(s, Ask { broker: 2, ..ask(1, 3, &[], &[]) }), Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
        assert_eq!(read(s, Ask { by_id: true, ..ask(1, 3, &[], &[]) }), Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR));
        assert_eq!(read(s, ask(1, 3, &[], &[1, 2])), Ok((Use::Sessionless, vec![])), "nothing left: the session ends");
        assert_eq!(read(s, ask(1, 4, &[], &[])), Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND));
    }

    #[test]
    fn only_news_is_told_and_who_was_given_records_waits_longest() {
        let mut sessions = Sessions::default();
        read(&mut sessions, ask(0, 0, &[(0, 0), (1, 0)], &[])).unwrap();
        let at = |high_watermark| Some(Told { high_watermark, log_start: 0 });
        assert!(sessions.tell(1, &key(0), at(3), false), "never told");
        assert!(!sessions.tell(1, &key(0), at(3), false), "nothing new");
        assert!(sessions.tell(1, &key(0), at(4), false), "the high watermark moved");
        assert!(sessions.tell(1, &key(0), None, false), "an error");
        assert!(sessions.tell(1, &key(0), at(4), false), "the error has passed");
        assert!(sessions.tell(1, &key(0), at(4), true), "records");
        let (_, order) = read(&mut sessions, ask(1, 1, &[], &[])).unwrap();
        assert_eq!(order, [(1, 0), (0, 0)]);
    }

    #[test]
    fn sessions_are_bounded_and_idle_ones_make_room() {
        let mut sessions = Sessions::default();
        for at in 0..SLOTS as i64 {
            sessions.ask(at, ask(0, 0, &[(0, 0)], &[])).unwrap();
        }
        let mut open = |now_ms| sessions.ask(now_ms, ask(0, 0, &[(0, 0)], &[])).unwrap().0;
        assert_eq!(open(IDLE_MS - 1), Use::Sessionless);
        assert_ne!(open(IDLE_MS), Use::Sessionless);
        assert_eq!(open(IDLE_MS), Use::Sessionless);
    }
}
