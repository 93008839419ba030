//! What a transactional producer asks its coordinator, and when. Values in, values out.
//!
//! ```text
//!              begin                  begin                    commit, abort
//! Unclaimed ─────────▶ Claiming ─▶ Idle ─────▶ Open ─────────────────────────▶ Ending ─▶ Idle
//!                     InitProducerId            │ a record or a commit fails     │ EndTxn    ▲
//!                                               ▼                                ▼           │
//!                                             Failed ─────────────────────────▶ Claiming ────┘
//! any, when fenced or refused for good ─▶ Dead                                InitProducerId
//! ```
//!
//! There are two protocols. In the first (KIP-98) the coordinator is told of every partition before anything is written to
//! it, and of every group before its offsets are committed. In the second (KIP-890, `transaction.version` 2) brokers tell
//! it themselves, and the epoch rises with every transaction, so that nothing late can fall into the next one.
//!
//! What stays true:
//!
//! - One question is out at a time, so that answers cannot contradict each other.
//! - The end is asked for when nothing of the transaction is on the wire any more, and a commit only if all of it was
//!   written. A commit without an answer is asked for again, never turned into an abort.
//! - A partition or group that the coordinator may have heard of, because an answer was lost, is told to it again before
//!   the end, also of an abort, so that nothing stays open that only the coordinator knows of. A new epoch instead would
//!   not do: whoever asks for one in the midst of an open transaction is fenced (`TransactionCoordinator`). Only an answer
//!   that all is well ends the doubt: that another question is refused says nothing of the earlier one. Where the same
//!   question is refused now, or its partitions are gone, the abort is asked for all the same, and that there is nothing to
//!   abort is a good answer.
//! - Sequences that were given up leave a gap. In the first protocol the epoch then rises by our own asking (KIP-360)
//!   before the next transaction begins; in the second it rises anyway.
//! - So it does after a question of the first protocol that was not answered: a broker that was held up with an end might
//!   end the next transaction of the same epoch half way (KIP-890), offsets might become part of it and take its group back,
//!   and a partition or group might begin one that nobody knows of, until its time is up and the producer is fenced. A commit
//!   or an abort is told before that, since it holds. Of offsets it holds as far as the group's broker asks the coordinator
//!   (KIP-890). An InitProducerId that comes late is what nobody can do anything about: it fences its own producer.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use super::GroupOffsets;
use crate::client::Error;
use crate::client::producer::line::Identity;
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::types::{Str, TopicPartition};

/// What the coordinator is asked: the transaction's, but for `CommitOffsets`, which is asked of the group's.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::client::producer) enum Question {
    /// Who we are; with an identity, for its next epoch.
    Init(Option<Identity>),
    AddPartitions(Identity, Vec<TopicPartition>),
    AddGroup(Identity, Str),
    CommitOffsets(Identity, Arc<GroupOffsets>),
    End(Identity, Close),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client::producer) enum Close {
    Commit,
    Abort,
}

/// What it answers when all is well.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::client::producer) enum Reply {
    Identified {
        identity: Identity,
        speaks_v2: bool,
    },
    Done,
    /// The second protocol tells the identity of the next transaction.
    Ended(Option<Identity>),
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Again,
    /// The transaction can only be aborted.
    Abort,
    /// The same, and the coordinator does not know our identity, so that it need not be told of the end: what was open is
    /// aborted by now.
    Bump,
    Fatal,
}

/// Java's `TransactionManager.TxnRequestHandler` and its kinds, as a table.
fn judge(question: &Question, error: &Error) -> Verdict {
    let Some(code) = error.code() else {
        return if error.is_retriable() { Verdict::Again } else { Verdict::Fatal };
    };
    let is_init = matches!(question, Question::Init(_));
    match code {
        ErrorCode::TRANSACTION_ABORTABLE if is_init => Verdict::Again,
        ErrorCode::TRANSACTION_ABORTABLE
        | ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::GROUP_AUTHORIZATION_FAILED
        | ErrorCode::OPERATION_NOT_ATTEMPTED
        | ErrorCode::FENCED_INSTANCE_ID
        | ErrorCode::STALE_MEMBER_EPOCH
        | ErrorCode::OFFSET_METADATA_TOO_LARGE
        | ErrorCode::INVALID_COMMIT_OFFSET_SIZE => Verdict::Abort,
        // What Kafka 4 says of a commit that comes after the transaction's time was over. Java gives up there; the abort that
        // follows here is taken for a repetition of the coordinator's own, and the producer goes on.
        ErrorCode::INVALID_TXN_STATE if matches!(question, Question::End(_, Close::Commit)) => Verdict::Abort,
        ErrorCode::UNKNOWN_PRODUCER_ID | ErrorCode::INVALID_PRODUCER_ID_MAPPING if !is_init => Verdict::Bump,
        _ if code.class() == Class::Rejoin => Verdict::Abort,
        _ if error.is_retriable() => Verdict::Again,
        _ => Verdict::Fatal,
    }
}

/// Whether the coordinator knows of the transaction, and so must be told of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Begun {
    No,
    Perhaps,
    Yes,
}

/// What the coordinator was told without an answer that says whether it took note.
#[derive(Debug, Default)]
struct Doubt {
    partitions: BTreeSet<TopicPartition>,
    groups: BTreeSet<Str>,
}

impl Doubt {
    /// False if the question tells the coordinator of nothing.
    fn add(&mut self, question: &Question) -> bool {
        match question {
            Question::AddPartitions(_, partitions) => self.partitions.extend(partitions.iter().cloned()),
            Question::AddGroup(_, group) => self.groups.extend([group.clone()]),
            _ => return false,
        }
        true
    }

    /// Takes out what is refused: the partition that the error names, or all of the question. False if that was not in.
    fn take_out(&mut self, question: &Question, error: &Error) -> bool {
        match question {
            Question::AddPartitions(_, partitions) => {
                let before = self.partitions.len();
                match error.topic_partition.as_ref().filter(|named| partitions.contains(named)) {
                    Some(named) => self.partitions.retain(|of| of != named),
                    None => self.partitions.retain(|of| !partitions.contains(of)),
                }
                self.partitions.len() < before
            }
            Question::AddGroup(_, group) => self.groups.remove(group),
            _ => false,
        }
    }

    /// What to tell again.
    fn question(&self, identity: Identity) -> Option<Question> {
        if self.partitions.is_empty() {
            return self.groups.first().map(|group| Question::AddGroup(identity, group.clone()));
        }
        Some(Question::AddPartitions(identity, self.partitions.iter().cloned().collect()))
    }
}

/// Whether a broker refused it before the coordinator heard of it: it looks for the partitions first (`KafkaApis`), and the
/// coordinator itself never says this.
fn is_unheard(question: &Question, error: &Error) -> bool {
    matches!(question, Question::AddPartitions(..)) && error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

#[derive(Debug)]
enum Phase {
    Unclaimed,
    Claiming,
    Idle,
    Open,
    /// It can only be aborted, for this reason.
    Failed(Error),
    Committing,
    /// With the reason, if it was not the application's will.
    Aborting(Option<Error>),
    Dead(Error),
}

/// See the module's page.
#[derive(Debug)]
pub(in crate::client::producer) struct Machine {
    phase: Phase,
    identity: Option<Identity>,
    speaks_v2: bool,
    begun: Begun,
    /// First protocol: the partitions and groups that the coordinator knows of, and partitions it has to be told of.
    added: HashSet<TopicPartition>,
    wanted: BTreeSet<TopicPartition>,
    groups: HashSet<Str>,
    doubt: Doubt,
    /// Offsets that are to be committed, in order.
    offsets: VecDeque<Arc<GroupOffsets>>,
    /// Sequences were given up, or our identity is not known any more, or an end or offsets may yet be carried out.
    must_bump: bool,
    is_asking: bool,
    /// How the last transaction ended, until somebody asks.
    ended: Option<Result<(), Error>>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            phase: Phase::Unclaimed,
            identity: None,
            speaks_v2: false,
            begun: Begun::No,
            added: HashSet::new(),
            wanted: BTreeSet::new(),
            groups: HashSet::new(),
            doubt: Doubt::default(),
            offsets: VecDeque::new(),
            must_bump: false,
            is_asking: false,
            ended: None,
        }
    }
}

/// What the application does.
impl Machine {
    /// Begins a transaction: true if it is open now, false if something has to come first.
    pub fn begin(&mut self) -> Result<bool, Error> {
        match &self.phase {
            Phase::Unclaimed => self.phase = Phase::Claiming,
            Phase::Idle => {
                (self.phase, self.ended) = (Phase::Open, None);
                return Ok(true);
            }
            Phase::Open | Phase::Failed(_) => {
                return Err(Error::config("a transaction of this producer is open; end it before the next begins"));
            }
            Phase::Dead(error) => return Err(error.clone()),
            Phase::Claiming | Phase::Committing | Phase::Aborting(_) => {}
        }
        Ok(false)
    }

    /// Has offsets committed with the transaction.
    pub fn commit_offsets(&mut self, offsets: Arc<GroupOffsets>) -> Result<(), Error> {
        match &self.phase {
            Phase::Open => {
                self.offsets.push_back(offsets);
                Ok(())
            }
            Phase::Failed(error) => Err(error.clone().aborts()),
            Phase::Dead(error) => Err(error.clone()),
            _ => Err(Error::config("no transaction is open")),
        }
    }

    /// Ends the open transaction; how, is told by [`Machine::ended`]. One that has failed is aborted all the same.
    pub fn end(&mut self, close: Close) {
        self.phase = match (std::mem::replace(&mut self.phase, Phase::Idle), close) {
            (Phase::Open, Close::Commit) => Phase::Committing,
            (Phase::Open | Phase::Failed(_), Close::Abort) => Phase::Aborting(None),
            (Phase::Failed(error), Close::Commit) => Phase::Aborting(Some(error)),
            (phase, _) => phase,
        };
    }

    /// The outcome of the last end, once.
    pub fn ended(&mut self) -> Option<Result<(), Error>> {
        self.ended.take()
    }
}

/// What the sender sees.
impl Machine {
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Whether a transaction is under way, or its end.
    pub fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Failed(_) | Phase::Committing | Phase::Aborting(_))
    }

    /// Whether what is written next has the identity that is known.
    pub fn is_identified(&self) -> bool {
        !self.is_busy() && !matches!(self.phase, Phase::Claiming)
    }

    /// Whether the application has not ended it yet.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Failed(_))
    }

    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Committing | Phase::Aborting(_))
    }

    /// Whether records may go out at all.
    pub fn is_sending(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Committing)
    }

    /// Why records that are not written yet never will be.
    pub fn gives_up(&self) -> Option<Error> {
        match &self.phase {
            Phase::Failed(error) | Phase::Aborting(Some(error)) => Some(error.clone().aborts()),
            Phase::Aborting(None) => Some(Error::config("by the application").aborts()),
            _ => None,
        }
    }

    /// Whether a batch may go to this partition; if not, the coordinator is told of it first.
    pub fn may_write(&mut self, partition: &TopicPartition) -> bool {
        if !self.is_sending() {
            return false;
        }
        if self.speaks_v2 {
            self.begun = Begun::Yes;
            return true;
        }
        if !self.added.contains(partition) {
            self.wanted.insert(partition.clone());
            return false;
        }
        true
    }

    /// Something was not written, so that not all can be. Whatever sequence it had is given up.
    pub fn fail(&mut self, error: &Error) {
        self.must_bump |= self.is_sending();
        self.phase = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Open => Phase::Failed(error.clone()),
            Phase::Committing => Phase::Aborting(Some(error.clone())),
            phase => phase,
        };
    }

    /// Batches that had their sequences were given up.
    pub fn gave_up(&mut self) {
        self.must_bump = true;
    }

    /// Nothing of this producer will be taken any more.
    pub fn die(&mut self, error: &Error) {
        if matches!(self.phase, Phase::Dead(_)) {
            return;
        }
        if !matches!(self.phase, Phase::Unclaimed | Phase::Claiming | Phase::Idle) {
            self.ended = Some(Err(error.clone()));
        }
        self.phase = Phase::Dead(error.clone());
    }

    /// Why nothing will be taken any more.
    pub fn death(&self) -> Option<&Error> {
        match &self.phase {
            Phase::Dead(error) => Some(error),
            _ => None,
        }
    }
}

/// Questions and answers.
impl Machine {
    /// What to ask now, if anything; `is_quiet` when no record is waiting or on the wire. A question that was given out
    /// must be [`answered`](Machine::answered) before there is another.
    pub fn next(&mut self, is_quiet: bool) -> Option<Question> {
        if self.is_asking {
            return None;
        }
        let question = self.question(is_quiet);
        self.is_asking = question.is_some();
        if self.speaks_v2 && matches!(question, Some(Question::CommitOffsets(..))) {
            self.begun = Begun::Yes;
        }
        question
    }

    fn question(&mut self, is_quiet: bool) -> Option<Question> {
        if matches!(self.phase, Phase::Claiming) {
            return Some(Question::Init(self.identity));
        }
        let identity = self.identity?;
        let in_doubt = self.doubt.question(identity);
        match &self.phase {
            Phase::Open | Phase::Committing if !self.wanted.is_empty() => {
                Some(Question::AddPartitions(identity, self.wanted.iter().cloned().collect()))
            }
            Phase::Open | Phase::Committing if !self.offsets.is_empty() => self.about_offsets(identity),
            Phase::Aborting(_) if in_doubt.is_some() => in_doubt,
            Phase::Committing if is_quiet => self.about_end(identity, Close::Commit),
            Phase::Aborting(_) if is_quiet => self.about_end(identity, Close::Abort),
            _ => None,
        }
    }

    fn about_offsets(&self, identity: Identity) -> Option<Question> {
        let offsets = self.offsets.front()?;
        let group = &offsets.group.group_id;
        if self.speaks_v2 || self.groups.contains(group) {
            return Some(Question::CommitOffsets(identity, Arc::clone(offsets)));
        }
        Some(Question::AddGroup(identity, group.clone()))
    }

    /// A coordinator that knows of nothing need not hear of the end.
    fn about_end(&mut self, identity: Identity, close: Close) -> Option<Question> {
        if self.begun != Begun::No {
            return Some(Question::End(identity, close));
        }
        self.close();
        self.question(true)
    }

    /// Takes in an answer; false if the same has to be asked again, after a while.
    pub fn answered(&mut self, question: &Question, answer: Result<Reply, Error>) -> bool {
        self.is_asking = false;
        match answer {
            Ok(reply) => {
                self.doubt = Doubt::default();
                self.done(question, reply);
                true
            }
            Err(error) => self.failed(question, &error),
        }
    }

    fn failed(&mut self, question: &Question, error: &Error) -> bool {
        if self.was_never_begun(question, error) {
            self.close();
            return true;
        }
        let is_aborting = matches!(self.phase, Phase::Aborting(_));
        // Carried out late, it would be of the next transaction of this epoch, or begin one that nobody knows of.
        self.must_bump |= error.code().is_none() && !self.speaks_v2 && !matches!(question, Question::Init(_));
        match judge(question, error) {
            // A topic that is not there yet is waited for; one that is gone has nothing to abort, and holds up no abort.
            Verdict::Again if is_unheard(question, error) => {
                return is_aborting && self.doubt.take_out(question, error);
            }
            Verdict::Again => {
                if self.doubt.add(question) {
                    self.begun = self.begun.max(Begun::Perhaps);
                }
                return false;
            }
            Verdict::Abort => {
                // To tell it once more would be to be refused once more.
                if is_aborting {
                    self.doubt.take_out(question, error);
                }
                self.fail(error);
            }
            Verdict::Bump => {
                self.must_bump = true;
                (self.begun, self.doubt) = (Begun::No, Doubt::default());
                self.fail(error);
            }
            Verdict::Fatal => self.die(error),
        }
        true
    }

    /// Whether an abort that was asked for in doubt found nothing to abort.
    fn was_never_begun(&self, question: &Question, error: &Error) -> bool {
        self.begun == Begun::Perhaps
            && matches!(question, Question::End(_, Close::Abort))
            && error.code() == Some(ErrorCode::INVALID_TXN_STATE)
    }

    fn done(&mut self, question: &Question, reply: Reply) {
        match (question, reply) {
            (Question::Init(_), Reply::Identified { identity, speaks_v2 }) => {
                (self.identity, self.speaks_v2) = (Some(identity), speaks_v2);
                self.must_bump = false;
                if matches!(self.phase, Phase::Claiming) {
                    self.phase = Phase::Idle;
                }
            }
            (Question::AddPartitions(_, partitions), _) => {
                self.begun = Begun::Yes;
                for partition in partitions {
                    self.wanted.remove(partition);
                    self.added.insert(partition.clone());
                }
            }
            (Question::AddGroup(_, group), _) => {
                self.begun = Begun::Yes;
                self.groups.insert(group.clone());
            }
            (Question::CommitOffsets(..), _) => drop(self.offsets.pop_front()),
            (Question::End(..), Reply::Ended(next)) => {
                self.must_bump &= next.is_none();
                self.identity = next.or(self.identity);
                self.close();
            }
            (Question::Init(_) | Question::End(..), _) => {}
        }
    }

    /// The transaction is over, as far as the coordinator is concerned.
    fn close(&mut self) {
        (self.begun, self.doubt) = (Begun::No, Doubt::default());
        self.added.clear();
        self.wanted.clear();
        self.groups.clear();
        self.offsets.clear();
        let next = if self.must_bump { Phase::Claiming } else { Phase::Idle };
        self.ended = Some(match std::mem::replace(&mut self.phase, next) {
            Phase::Aborting(Some(reason)) => Err(reason.aborts()),
            _ => Ok(()),
        });
    }
}
