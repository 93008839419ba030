//! Where the fetcher is in one partition. A cursor has one owner at a time: the fetcher while it is on its way, or the
//! reader of the broker that leads the partition.

use std::sync::Arc;

use tokio::time::Instant;

use super::memory::Packing;
use super::progress::Mark;
use super::session::Ask;
use super::tenure::Tenure;
use crate::client::admin::OffsetSpec;
use crate::client::metadata::{Leader, Metadata};
use crate::protocol::types::{BrokerId, Offset, TopicId, TopicPartition};

/// The application is told of what keeps a partition from being read after every so many failures in a row. Leaders move
/// and brokers start again within fewer.
const FAILURES_TOLD: u32 = 10;

/// So many moves in a row that have come to nothing, and a replica is left alone.
const FAILURES_OF_REPLICAS: u32 = 3;

/// See the module.
#[derive(Debug)]
pub struct Cursor {
    pub tenure: Arc<Tenure>,
    /// The next offset to fetch, and the epoch of the record before it.
    pub place: Place,
    pub topic_id: Option<TopicId>,
    /// Who was last known to lead the partition.
    pub leader: Option<Leader>,
    /// Whose reader is to have it, or has it; `None` until it is placed.
    pub reader: Option<BrokerId>,
    /// The replica that the leader would have read instead of itself.
    pub replica: Option<Replica>,
    /// Until then the leader is not to name a replica: those that it did name could not be read from.
    pub leader_until: Option<Instant>,
    /// Not asked for before this time.
    pub not_before: Option<Instant>,
    /// The offset that is being asked for.
    pub asked: Option<Offset>,
    /// Its batch was cut off, so it is asked for alone: then the batch comes whole, however large.
    pub alone: bool,
    /// At a batch that cannot be read, until the application decides.
    pub parked: bool,
    /// It leaves its reader once all that was read of it is handed on; until then it is not asked for.
    pub leaving: bool,
    /// How often it went back to what was fetched and dropped.
    pub rewinds: u32,
    /// Moves in a row that have come to nothing.
    pub failures: u32,
    pub packing: Packing,
}

/// A replica that is nearer than the leader (KIP-392).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    pub broker: BrokerId,
    /// Then the leader is asked anew whether there is a better one.
    pub until: Instant,
}

/// Where to go on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    At(Mark),
    /// Nothing is committed.
    Uncommitted,
    /// Where the application wants to go on.
    Sought(OffsetSpec),
    /// The committed offset, or the one last read, is not there any more.
    Gone(Offset),
    /// The log was cut here, below the committed offset, or the one last read (KIP-320), and no rule says to go on from there.
    Cut(Offset),
    /// The topic was deleted and made again: all there is is new.
    NewTopic,
}

impl From<Option<Mark>> for Place {
    /// From what is committed, if anything is.
    fn from(committed: Option<Mark>) -> Self {
        committed.map_or(Self::Uncommitted, Self::At)
    }
}

impl Cursor {
    pub fn new(tenure: Arc<Tenure>, place: Place) -> Self {
        Self {
            place,
            topic_id: None,
            leader: None,
            reader: None,
            replica: None,
            leader_until: None,
            not_before: None,
            asked: None,
            alone: false,
            parked: false,
            leaving: false,
            rewinds: tenure.rewinds(),
            failures: 0,
            packing: Packing::default(),
            tenure,
        }
    }

    /// One more move that has come to nothing; true if there were so many in a row by now that somebody should know.
    pub fn fail(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures.is_multiple_of(FAILURES_TOLD)
    }

    /// The broker that it was read from has failed it; true if somebody should know. A replica is not asked again before
    /// the leader has named it once more, and after some failures not before `later`.
    pub fn fail_from(&mut self, broker: BrokerId, later: Instant) -> bool {
        let told = self.fail();
        if self.replica.take_if(|replica| replica.broker == broker).is_some() && self.failures >= FAILURES_OF_REPLICAS {
            self.leader_until = Some(later);
        }
        told
    }

    pub fn topic_partition(&self) -> &TopicPartition {
        &self.tenure.topic_partition
    }

    pub fn position(&self) -> Option<Offset> {
        match self.place {
            Place::At(mark) => Some(mark.offset),
            _ => None,
        }
    }

    /// Goes on after a batch that cannot be read, if that is where it stands.
    pub fn skip_to(&mut self, past: Offset) {
        if self.parked && self.position().is_some_and(|position| position < past) {
            self.parked = false;
            self.place = Place::At(Mark { offset: past, leader_epoch: None });
        }
    }

    /// Goes back to where what was fetched has been dropped. One that is on its way elsewhere does so when it is there: it
    /// may have to be told first that there is nothing at that place any more.
    pub fn rewind(&mut self) {
        if self.leaving || self.rewinds == self.tenure.rewinds() {
            return;
        }
        let (rewinds, to) = self.tenure.rewound();
        self.rewinds = rewinds;
        // The batch that could not be read is found again.
        self.parked = false;
        // Unless its log was cut below that.
        if let Some(mark) = to.filter(|mark| self.position().is_some_and(|position| position > mark.offset)) {
            self.place = Place::At(mark);
        }
    }

    /// Where what was fetched and dropped begins, if it has not gone back there yet.
    pub fn rewound(&self) -> Option<Mark> {
        let (rewinds, to) = self.tenure.rewound();
        to.filter(|_| rewinds != self.rewinds)
    }

    /// Who is read from: the replica that the leader has named, as long as it is there, or the leader.
    pub fn source(&self, leader: Leader, known: &Metadata, now: Instant) -> BrokerId {
        let replica = self.replica.filter(|replica| now < replica.until && known.broker(replica.broker).is_some());
        replica.map_or(leader.broker, |replica| replica.broker)
    }

    /// What to ask for, so that it unpacks to about so many bytes; `None` if it is not to be asked for now.
    pub fn ask(&self, now: Instant, bytes: usize) -> Option<Ask> {
        let early = self.not_before.is_some_and(|at| now < at);
        let waits = self.parked || self.leaving || early || self.tenure.is_paused() || !self.tenure.has_room();
        let offset = self.position().filter(|_| !waits)?;
        let leader_epoch = self.leader.and_then(|leader| leader.epoch);
        Some(Ask { topic_id: self.topic_id, offset, leader_epoch, max_bytes: self.packing.packed(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::consumer::memory::Memory;

    fn at(offset: Offset) -> Place {
        Place::At(Mark { offset, leader_epoch: Some(7) })
    }

    #[test]
    fn a_cursor_goes_back_to_what_was_dropped_and_never_ahead() {
        let mark = |offset| Mark { offset, leader_epoch: Some(7) };
        // Where it stands, where what was dropped begins, where it goes on.
        for (stands, dropped, goes_on) in [(500, 100, 100), (50, 100, 50), (100, 100, 100)] {
            let tenure = Tenure::new(TopicPartition::new("t", 0), Memory::new(100));
            let mut cursor = Cursor::new(Arc::clone(&tenure), at(stands));
            cursor.rewind();
            assert_eq!(cursor.place, at(stands), "nothing was dropped");
            tenure.rewind(mark(dropped));
            (cursor.parked, cursor.leaving) = (true, true);
            cursor.rewind();
            assert_eq!((cursor.place, cursor.rewinds, cursor.parked), (at(stands), 0, true), "not on its way");
            cursor.leaving = false;
            cursor.rewind();
            assert_eq!((cursor.place, cursor.rewinds, cursor.parked), (at(goes_on), 1, false));
            cursor.place = at(stands);
            cursor.rewind();
            assert_eq!(cursor.place, at(stands), "once");
        }
    }
}
