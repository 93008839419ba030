//! One partition's batches between "sent for the first time" and "answered for good": their order and their sequence
//! numbers. Values in, values out; the clock is an argument.
//!
//! A broker that checks sequences (KIP-98) accepts a batch only if it follows the one before it, and answers one of the
//! last five again instead of writing it twice. From that follow the rules held here:
//!
//! - a batch gets its sequence when it is first sent and keeps it through every retry;
//! - only the first in line may be sent again, and nothing new goes out until it is answered: what was behind it on the
//!   wire is refused by the broker as out of order, and follows it in order;
//! - a broker that knows nothing of a producer accepts whatever sequence comes first. So the second batch of a life waits
//!   until the first is written: overtaking it would not be noticed. The same is so where the broker may have forgotten it
//!   ([`Line::may_be_forgotten`]);
//! - a batch that was rejected before it was written, was never in doubt, and has nothing behind it on the wire, leaves
//!   its sequences to the next one;
//! - any other sequence that did not end in success (refused, expired, lost by the broker) leaves a gap that no later batch
//!   can close. The partition then *restarts* (KIP-360): nothing new is sent until all that is on the wire is answered, then
//!   the epoch rises by one and what is left is numbered from zero;
//! - a batch in doubt, one that may have been written although we were not told, is never given new numbers. Its old ones
//!   are sent once more first: the broker then either has it, or refuses it as out of order;
//! - such a refusal is not the last word. A broker that was restarted in order remembers no more than the last batch, and
//!   refuses those before it although it has them. So the next one in doubt is tried, and the one after it: a broker skips
//!   none, so that with any of them all before it are written. Only when it refuses them all is none of them written.
//!   (One that would have told may have been given up before, as its time was over: then those before it may be written
//!   twice.)
//! - but a broker that has forgotten the producer between two batches does skip. One that was written, though one before it
//!   had been refused while it was on the wire, says nothing of that one: if it is refused once more, as out of order, it
//!   fails, and is not taken for written.
//!
//! The epoch is the partition's own: a broker keeps producer state per partition, and without transactions nothing
//! compares epochs across partitions, so a gap in one partition disturbs no other. With transactions it is the producer's,
//! and no partition restarts by itself: a gap ends the transaction (`transaction`).

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::protocol::types::BrokerId;

/// A broker remembers the last five batches of a producer in a partition: none may be written while the first that is
/// unanswered would be the sixth from the end.
pub(super) const MOST_UNANSWERED: usize = 5;

/// Who the producer is to a broker's duplicate check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub producer_id: i64,
    pub epoch: i16,
}

/// A batch that was sent at least once and is not answered for good.
#[derive(Debug)]
pub(super) struct Sent<B> {
    pub batch: B,
    pub first_sequence: i32,
    tries: u32,
    count: i32,
    ticket: u64,
    state: State,
    /// Its place among all batches of the partition.
    ordinal: u64,
    /// An attempt may have written it without our knowing.
    is_in_doubt: bool,
    /// Refused as out of order while in doubt: what becomes of those behind it will tell.
    is_gapped: bool,
    /// One behind it is written, and so is this one.
    is_written: bool,
    /// A broker has said that it has not written it.
    is_denied: bool,
    /// One before it was denied while this was on the wire: if it is written, then perhaps without that one.
    may_have_passed: bool,
    /// Denied, and one behind it is written. It is in doubt from then on, so that it is not numbered anew.
    is_passed: bool,
}

impl<B> Sent<B> {
    fn new(batch: B, count: i32, place: Place) -> Self {
        let Place { first_sequence, tries, ticket, state, ordinal } = place;
        Self {
            batch,
            first_sequence,
            tries,
            count,
            ticket,
            state,
            ordinal,
            is_in_doubt: false,
            is_gapped: false,
            is_written: false,
            is_denied: false,
            may_have_passed: false,
            is_passed: false,
        }
    }
}

/// Where a batch is in its line.
#[derive(Debug, Clone, Copy)]
struct Place {
    first_sequence: i32,
    tries: u32,
    ticket: u64,
    state: State,
    ordinal: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    OnWire(BrokerId),
    Waiting(Instant),
}

/// What an answer means for the batch it answers.
#[derive(Debug)]
pub(super) enum Answer<B> {
    /// Written, now or by an earlier attempt.
    Written,
    /// Refused for good, by a broker that has not written it.
    Unwritten,
    /// Refused for good.
    Refused,
    /// No word of success, but it may well be written (a lost reply, followers that were late): send it again from then on.
    Again(Instant),
    /// Not now. It is hardly written (a leader that stepped down may have had it, but not its followers): as above.
    Denied(Instant),
    /// Its sequence does not follow what the broker knows of us.
    Gap(Instant),
    /// Too large as one batch: these, with their record counts, take its place and are sent from then on.
    Split(Instant, Vec<(B, i32)>),
}

/// Sequence numbers wrap to zero after `i32::MAX`.
pub(super) fn sequence_after(sequence: i32, count: i32) -> i32 {
    sequence.wrapping_add(count) & i32::MAX
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Line<B> {
    /// None: not idempotent, or nothing sent yet.
    identity: Option<Identity>,
    next_sequence: i32,
    next_ordinal: u64,
    sent: VecDeque<Sent<B>>,
    /// On the wire still, but given up by us.
    abandoned: Vec<(u64, BrokerId)>,
    restart: bool,
    /// See [`Line::take_proven`].
    proven: Vec<B>,
    /// The broker has written a batch of this identity, and so checks those that follow.
    is_known: bool,
}

impl<B> Default for Line<B> {
    fn default() -> Self {
        Self {
            identity: None,
            next_sequence: 0,
            next_ordinal: 0,
            sent: VecDeque::new(),
            abandoned: Vec::new(),
            restart: false,
            proven: Vec::new(),
            is_known: false,
        }
    }
}

impl<B> Line<B> {
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    pub fn batches(&self) -> impl Iterator<Item = &B> {
        self.sent.iter().map(|sent| &sent.batch)
    }

    fn on_wire(&self) -> impl Iterator<Item = BrokerId> {
        let sent = self.sent.iter().filter_map(|sent| match sent.state {
            State::OnWire(broker) => Some(broker),
            State::Waiting(_) => None,
        });
        sent.chain(self.abandoned.iter().map(|&(_, broker)| broker))
    }

    /// Whether something is unanswered at another broker than this one. A new leader is sent nothing until the old one
    /// has answered or is cut off, so that order holds even where no sequences guard it.
    pub fn is_elsewhere(&self, broker: BrokerId) -> bool {
        self.on_wire().any(|other| other != broker)
    }

    /// Whether a batch that was never sent may go out now.
    pub fn is_open(&self) -> bool {
        let oldest = self.sent.front().map_or(self.next_ordinal, |head| head.ordinal);
        !self.restart
            && (self.is_known || self.identity.is_none() || self.sent.is_empty())
            && self.next_ordinal - oldest < MOST_UNANSWERED as u64
            && !self.sent.iter().any(|sent| sent.is_in_doubt || matches!(sent.state, State::Waiting(_)))
    }

    /// When the next in line may be sent again; none if it is on the wire, or the partition must restart first.
    pub fn due(&self) -> Option<Instant> {
        let next = self.sent.get(self.next()?)?;
        match next.state {
            State::Waiting(until) if !self.restart || next.is_in_doubt => Some(until),
            _ => None,
        }
    }

    /// The one whose turn it is: the first, or the first in doubt behind those that were refused while in doubt.
    fn next(&self) -> Option<usize> {
        let next = self.sent.iter().position(|sent| !sent.is_gapped)?;
        (next == 0 || self.sent[next].is_in_doubt).then_some(next)
    }

    fn is_head_in_doubt(&self) -> bool {
        self.sent.front().is_some_and(|head| head.is_in_doubt)
    }

    /// Takes a batch in, with the next sequence, as sent to `broker`.
    pub fn admit(&mut self, ticket: u64, batch: B, count: i32, broker: BrokerId) -> &mut Sent<B> {
        let first_sequence = self.next_sequence;
        self.next_sequence = sequence_after(first_sequence, count);
        let state = State::OnWire(broker);
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        self.sent.push_back(Sent::new(batch, count, Place { first_sequence, tries: 1, ticket, state, ordinal }));
        let last = self.sent.len() - 1;
        &mut self.sent[last]
    }

    /// The next in line as sent again to `broker` under a new ticket. The caller has seen that it is `due`.
    pub fn resend(&mut self, ticket: u64, broker: BrokerId) -> Option<&mut Sent<B>> {
        let next = self.next()?;
        let next = self.sent.get_mut(next)?;
        next.ticket = ticket;
        next.tries += 1;
        next.state = State::OnWire(broker);
        Some(next)
    }

    /// Lets `note` write on the batch that a ticket was given for; how often that batch was sent.
    pub fn note(&mut self, ticket: u64, note: impl FnOnce(&mut B)) -> u32 {
        let sent = self.sent.iter_mut().find(|sent| sent.ticket == ticket);
        sent.map_or(1, |sent| {
            note(&mut sent.batch);
            sent.tries
        })
    }

    /// The batch that a ticket was given for, unless it was given up.
    pub fn find(&self, ticket: u64) -> Option<&Sent<B>> {
        self.sent.iter().find(|sent| sent.ticket == ticket)
    }

    /// Applies an answer; the batch, if it is done with. Then see
    /// [`Line::take_proven`].
    pub fn answer(&mut self, ticket: u64, answer: Answer<B>) -> Option<B> {
        self.abandoned.retain(|&(abandoned, _)| abandoned != ticket);
        let at = self.sent.iter().position(|sent| sent.ticket == ticket)?;
        let done = match answer {
            Answer::Written => self.written(at),
            Answer::Unwritten => self.take_back(at),
            Answer::Refused => self.give_up(at),
            Answer::Again(until) => {
                self.sent[at].is_in_doubt = true;
                self.wait(at, until)
            }
            Answer::Denied(until) => {
                self.deny(at);
                self.sent[at].is_in_doubt = true;
                self.wait(at, until)
            }
            Answer::Gap(until) => self.gap(at, until),
            Answer::Split(until, parts) => self.replace(at, until, parts),
        };
        self.conclude();
        done
    }

    /// A broker skips none: all before this one are written too, whatever it says of them from now on; unless it has
    /// forgotten us between them and this one.
    fn written(&mut self, at: usize) -> Option<B> {
        self.is_known = true;
        let may_have_passed = self.sent[at].may_have_passed;
        let done = self.sent.remove(at).map(|sent| sent.batch);
        for before in self.sent.iter_mut().take(at) {
            match may_have_passed && before.is_denied {
                true => (before.is_passed, before.is_in_doubt, before.is_gapped) = (true, true, false),
                false => before.is_written = true,
            }
        }
        while self.sent.front().is_some_and(|head| head.is_gapped && head.is_written) {
            self.proven.extend(self.sent.pop_front().map(|sent| sent.batch));
        }
        done
    }

    /// Batches that turned out to be written by what became of one behind them; at which offsets is not known.
    pub fn take_proven(&mut self) -> Vec<B> {
        std::mem::take(&mut self.proven)
    }

    /// When all that is in doubt was refused, none of it is written.
    fn conclude(&mut self) {
        let is_gapped = self.sent.front().is_some_and(|head| head.is_gapped);
        let is_on_wire = |sent: &Sent<B>| matches!(sent.state, State::OnWire(_));
        if is_gapped && self.next().is_none() && !self.sent.iter().any(is_on_wire) {
            self.must_restart();
        }
    }

    fn must_restart(&mut self) {
        self.restart = true;
        for sent in &mut self.sent {
            (sent.is_in_doubt, sent.is_gapped) = (false, false);
            (sent.is_denied, sent.may_have_passed, sent.is_passed) = (false, false, false);
        }
    }

    /// What is behind it on the wire should be refused, too, as out of order.
    fn deny(&mut self, at: usize) {
        let denied = &mut self.sent[at];
        denied.is_denied = true;
        // What an earlier attempt may have done is not undone by this.
        denied.may_have_passed &= denied.is_in_doubt;
        let behind = self.sent.iter_mut().skip(at + 1).filter(|sent| matches!(sent.state, State::OnWire(_)));
        behind.for_each(|sent| sent.may_have_passed = true);
    }

    fn wait(&mut self, at: usize, until: Instant) -> Option<B> {
        self.sent[at].state = State::Waiting(until);
        None
    }

    /// Behind others, a gap only says that those before it are not written yet. At the head it is real, and then neither
    /// the head nor, as the broker skips none, anything behind it is written; unless it is in doubt.
    fn gap(&mut self, at: usize, until: Instant) -> Option<B> {
        if self.sent[at].is_written {
            self.proven.extend(self.sent.remove(at).map(|sent| sent.batch));
            return None;
        }
        if self.sent[at].is_passed {
            return self.give_up(at);
        }
        self.deny(at);
        if self.sent[at].is_in_doubt {
            self.sent[at].is_gapped = true;
        } else if at == 0 {
            self.must_restart();
        }
        self.wait(at, until)
    }

    /// One that was never in doubt, and that nothing follows, leaves no gap: its sequences are the next one's.
    fn take_back(&mut self, at: usize) -> Option<B> {
        let sent = &self.sent[at];
        if sent.is_in_doubt || at + 1 < self.sent.len() || self.restart || !self.abandoned.is_empty() {
            return self.give_up(at);
        }
        self.next_sequence = sent.first_sequence;
        self.sent.remove(at).map(|sent| sent.batch)
    }

    fn give_up(&mut self, at: usize) -> Option<B> {
        self.restart |= self.identity.is_some();
        self.sent.remove(at).map(|sent| sent.batch)
    }

    /// The parts take the whole's place and its range of sequences, so those behind it keep theirs.
    fn replace(&mut self, at: usize, until: Instant, parts: Vec<(B, i32)>) -> Option<B> {
        self.deny(at);
        let whole = self.sent.remove(at)?;
        let Sent { mut first_sequence, tries, ticket, ordinal, is_passed, .. } = whole;
        for (i, (batch, count)) in parts.into_iter().enumerate() {
            let place = Place { first_sequence, tries, ticket, state: State::Waiting(until), ordinal };
            let part = Sent { is_denied: true, is_passed, is_in_doubt: is_passed, ..Sent::new(batch, count, place) };
            self.sent.insert(at + i, part);
            first_sequence = sequence_after(first_sequence, count);
        }
        Some(whole.batch)
    }

    /// Gives up every batch that `is_over`, on the wire or not.
    pub fn expire(&mut self, is_over: impl Fn(&B) -> bool) -> Vec<B> {
        let mut over = Vec::new();
        let mut at = 0;
        while at < self.sent.len() {
            if !is_over(&self.sent[at].batch) {
                at += 1;
                continue;
            }
            if let State::OnWire(broker) = self.sent[at].state {
                self.abandoned.push((self.sent[at].ticket, broker));
            }
            over.extend(self.give_up(at));
        }
        self.conclude();
        over
    }

    /// Whether the partition waits to restart, and nothing of it is on the wire or in doubt any more.
    pub fn may_restart(&self) -> bool {
        self.restart && self.on_wire().next().is_none() && !self.is_head_in_doubt()
    }

    /// Restarts with the next epoch, or with `current` if that is another producer id. False if no epoch is left: a new
    /// producer id is needed.
    pub fn restart(&mut self, current: Identity) -> bool {
        let next = match self.identity {
            Some(own) if own.producer_id == current.producer_id => {
                let Some(epoch) = own.epoch.checked_add(1) else { return false };
                Identity { epoch, ..own }
            }
            _ => current,
        };
        self.number_from_zero(next);
        true
    }

    /// Takes the producer's present identity, if it is another one and nothing of this partition is unanswered.
    pub fn adopt(&mut self, current: Identity) {
        let own = self.identity.map(|own| own.producer_id);
        if own != Some(current.producer_id) && self.sent.is_empty() && self.abandoned.is_empty() {
            self.number_from_zero(current);
        }
    }

    /// Whether nothing is unanswered, nor waits to be sent again.
    pub fn is_quiet(&self) -> bool {
        self.sent.is_empty() && self.abandoned.is_empty()
    }

    /// Takes the identity of the transaction that begins; one that is new counts from zero. Nothing of the last one is left.
    pub fn assume(&mut self, current: Identity) {
        if self.identity != Some(current) && self.is_quiet() {
            self.number_from_zero(current);
        }
    }

    /// The broker may know nothing of this producer any more: another one leads, the topic is another one, or nothing was
    /// written for long. The next batch goes alone, then, as the first of a life does.
    pub fn may_be_forgotten(&mut self) {
        self.is_known = false;
    }

    fn number_from_zero(&mut self, identity: Identity) {
        self.identity = Some(identity);
        (self.restart, self.is_known) = (false, false);
        self.next_sequence = 0;
        for sent in &mut self.sent {
            // What was known of the old numbers says nothing of the new ones.
            (sent.is_gapped, sent.is_written) = (false, false);
            (sent.is_denied, sent.may_have_passed, sent.is_passed) = (false, false, false);
            sent.first_sequence = self.next_sequence;
            self.next_sequence = sequence_after(self.next_sequence, sent.count);
        }
    }
}
