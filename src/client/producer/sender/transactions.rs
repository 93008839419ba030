//! The sender's part in transactions: it carries out what the [`Machine`](super::super::transaction::Machine) wants, and
//! lets it know what became of batches.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Event, Sender};
use crate::client::Error;
use crate::client::producer::receipt::Fate;
use crate::client::producer::transaction::{Close, GroupOffsets, Lease, Machine, Question, Reply, ask};
use crate::protocol::error::ErrorCode;

/// The coordinator is still writing the markers of the transaction before this one: that takes little time, as Java has it
/// (`ADD_PARTITIONS_RETRY_BACKOFF_MS`).
const MARKERS_PAUSE: Duration = Duration::from_millis(20);

type Told = oneshot::Sender<Result<(), Error>>;

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    machine: Machine,
    /// Of the open transaction; a lease of an earlier one gives up nothing.
    number: u64,
    begin: Option<oneshot::Sender<Result<Lease, Error>>>,
    end: Option<Told>,
    offsets: VecDeque<Told>,
    /// Partitions to which something of this transaction was sent.
    touched: BTreeSet<usize>,
    tries: u32,
    not_before: Option<Instant>,
}

impl Transactions {
    pub fn is_ending(&self) -> bool {
        self.machine.is_ending()
    }

    pub fn is_busy(&self) -> bool {
        self.machine.is_busy()
    }

    pub fn is_sending(&self) -> bool {
        self.machine.is_sending()
    }

    pub fn next_wake(&self) -> Option<Instant> {
        self.not_before
    }
}

impl Sender {
    pub(super) fn begin(&mut self, reply: oneshot::Sender<Result<Lease, Error>>) {
        let Some(transactions) = &mut self.transactions else { return };
        // Whoever waited before and has gone away makes room; who still waits comes first.
        if transactions.begin.as_ref().is_some_and(|waiting| !waiting.is_closed()) {
            let _ = reply.send(Err(Error::config("another transaction of this producer is about to begin")));
            return;
        }
        transactions.begin = Some(reply);
    }

    pub(super) fn commit_offsets(&mut self, offsets: Arc<GroupOffsets>, reply: Told) {
        let Some(transactions) = &mut self.transactions else { return };
        match transactions.machine.commit_offsets(offsets) {
            Ok(()) => transactions.offsets.push_back(reply),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    pub(super) fn end(&mut self, close: Close, reply: Option<Told>) {
        let Some(transactions) = &mut self.transactions else { return };
        if transactions.machine.is_open() {
            transactions.machine.end(close);
            transactions.end = reply;
        } else if transactions.is_busy() && transactions.end.as_ref().is_none_or(oneshot::Sender::is_closed) {
            transactions.end = reply;
        } else if let Some(reply) = reply {
            let death = transactions.machine.death().cloned();
            let _ = reply.send(death.map_or(Ok(()), Err));
        }
    }

    /// Not all of the transaction can be written.
    pub(super) fn fail_transaction(&mut self, error: &Error) {
        if let Some(transactions) = &mut self.transactions {
            transactions.machine.fail(error);
        }
    }

    /// Whether a batch may go out to this partition now.
    pub(super) fn may_write(&mut self, index: usize) -> bool {
        let Some(transactions) = &mut self.transactions else { return true };
        let may = transactions.machine.may_write(&self.partitions[index].slot.topic_partition);
        if may {
            transactions.touched.insert(index);
        }
        may
    }

    /// One turn of the transaction.
    pub(super) fn transact(&mut self, now: Instant) {
        let Some(transactions) = &mut self.transactions else { return };
        let given_up = self.shared.given_up.load(Ordering::Acquire) >= transactions.number;
        if given_up && transactions.machine.is_open() {
            transactions.machine.end(Close::Abort);
        }
        self.give_up_batches();
        // How one has ended is told before the next one begins.
        self.tell();
        self.open_next();
        self.ask_coordinator(now);
        self.tell();
        // What ended without a question to the coordinator makes room at once.
        self.open_next();
    }

    /// Fails what is not written of a transaction that can only be aborted.
    fn give_up_batches(&mut self) {
        let Some(error) = self.transactions.as_ref().and_then(|it| it.machine.gives_up()) else { return };
        self.shared.failed.store(Some(Arc::new(error.clone())));
        if self.shared.budget.used() == 0 {
            return;
        }
        self.add_partitions();
        for index in 0..self.partitions.len() {
            self.give_up_partition(index, &error);
        }
    }

    fn give_up_partition(&mut self, index: usize, error: &Error) {
        let partition = &mut self.partitions[index];
        let fillings = partition.slot.queue().take_older(Instant::now());
        for filling in fillings {
            self.shared.settle_filling(filling, Fate::Failed(error.clone()));
        }
        for place in std::mem::take(&mut partition.sealing) {
            place.outcome.settle(Fate::Failed(error.clone()));
        }
        let numbered = partition.line.expire(|_| true);
        if let Some(transactions) = self.transactions.as_mut().filter(|_| !numbered.is_empty()) {
            transactions.machine.gave_up();
        }
        for batch in numbered.into_iter().chain(partition.sealed.drain(..)) {
            self.shared.settle(batch, Fate::Failed(error.clone()));
        }
    }

    /// Gives the lease to who waits for it, if nothing has to come first.
    fn open_next(&mut self) {
        let Some(transactions) = &mut self.transactions else { return };
        let Some(waiting) = transactions.begin.take_if(|waiting| !waiting.is_closed()) else { return };
        match transactions.machine.begin() {
            Ok(true) => {
                transactions.number += 1;
                self.shared.failed.store(None);
                // Nobody there to take it: the lease is dropped, and the next turn ends it.
                let _ = waiting.send(Ok(Lease::new(&self.shared, transactions.number)));
            }
            Ok(false) => transactions.begin = Some(waiting),
            Err(error) => drop(waiting.send(Err(error))),
        }
    }

    /// Whether nothing of the transaction is waiting or on the wire.
    fn is_quiet(&self, touched: &BTreeSet<usize>) -> bool {
        self.shared.budget.used() == 0 && touched.iter().all(|index| self.partitions[*index].line.is_quiet())
    }

    fn ask_coordinator(&mut self, now: Instant) {
        let Some(transactions) = &self.transactions else { return };
        if transactions.not_before.is_some_and(|at| at > now) {
            return;
        }
        let is_quiet = transactions.is_ending() && self.is_quiet(&transactions.touched);
        let Some(transactions) = &mut self.transactions else { return };
        transactions.not_before = None;
        if let Some(question) = transactions.machine.next(is_quiet) {
            let shared = Arc::clone(&self.shared);
            self.work.push(Box::pin(async move {
                let answer = ask(&shared, &question).await;
                Event::Coordinator { question, answer }
            }));
        }
        self.identity = transactions.machine.identity();
    }

    pub(super) fn coordinator_answered(&mut self, question: &Question, answer: Result<Reply, Error>) {
        let Some(transactions) = &mut self.transactions else { return };
        let error = answer.as_ref().err().cloned();
        let is_offsets = matches!(question, Question::CommitOffsets(..)) && error.is_none();
        if transactions.machine.answered(question, answer) {
            (transactions.tries, transactions.not_before) = (0, None);
            self.shared.unclaimed.store(None);
        } else {
            self.ask_again(question, error);
        }
        if let Some(done) = self.transactions.as_mut().filter(|_| is_offsets).and_then(|it| it.offsets.pop_front()) {
            let _ = done.send(Ok(()));
        }
        self.identify_lines();
        if let Some(error) = self.transactions.as_ref().and_then(|it| it.machine.death().cloned()) {
            self.fail_for_good(&error);
        }
    }

    fn ask_again(&mut self, question: &Question, error: Option<Error>) {
        let Some(transactions) = &mut self.transactions else { return };
        transactions.tries += 1;
        let wait = match error.as_ref().and_then(Error::code) {
            Some(ErrorCode::CONCURRENT_TRANSACTIONS) => MARKERS_PAUSE,
            _ => self.shared.config.backoff().wait(transactions.tries),
        };
        transactions.not_before = Some(Instant::now() + wait);
        if let Some(error) = error {
            tracing::debug!(%error, ?question, "asking the coordinator again");
            self.shared.unclaimed.store(Some(Arc::new(error)));
        }
    }

    /// Between transactions, partitions follow the producer's epoch; what was given up is behind them then.
    fn identify_lines(&mut self) {
        let Some(transactions) = self.transactions.as_mut().filter(|it| it.machine.is_identified()) else { return };
        self.identity = transactions.machine.identity();
        for index in std::mem::take(&mut transactions.touched) {
            if let Some(identity) = self.identity {
                self.partitions[index].line.assume(identity);
            }
        }
    }

    /// Tells those who wait what has become known.
    fn tell(&mut self) {
        self.identify_lines();
        let Some(transactions) = &mut self.transactions else { return };
        let machine = &mut transactions.machine;
        if let Some(error) = machine.gives_up().or_else(|| machine.death().cloned()) {
            for waiting in transactions.offsets.drain(..) {
                let _ = waiting.send(Err(error.clone()));
            }
        }
        if let Some(ended) = machine.ended()
            && let Some(waiting) = transactions.end.take()
        {
            let _ = waiting.send(ended);
        }
    }

    /// Nothing more will be taken, so nobody has to wait for it.
    pub(super) fn end_transactions(&mut self, error: &Error) {
        let Some(transactions) = &mut self.transactions else { return };
        transactions.machine.die(error);
        if let Some(waiting) = transactions.begin.take() {
            let _ = waiting.send(Err(error.clone()));
        }
        self.tell();
    }
}
