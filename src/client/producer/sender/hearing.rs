//! What the sender makes of answers: which batches are written, which go again, and where the next ones are to go.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Event, Sender};
use crate::client::Error;
use crate::client::metadata::Leader;
use crate::client::producer::answer::{Verdict, judge};
use crate::client::producer::line::Answer;
use crate::client::producer::receipt::Fate;
use crate::client::producer::request::{Part, answers};
use crate::client::producer::sealed::Sealed;
use crate::client::producer::shared::Counters;
use crate::client::producer::{Acks, failure};
use crate::protocol::api::Versioned;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{LeaderIdAndEpoch, PartitionProduceResponse, ProduceResponse};
use crate::protocol::types::BrokerId;

impl Sender {
    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Answered { broker, parts, result } => self.answered(broker, &parts, result),
            Event::Sealed { index, number, sealed } => self.sealed(index, number, sealed),
            Event::Metadata(result) => self.learnt(result),
            Event::Identified(result) => self.identified(result),
            Event::Coordinator { question, answer } => self.coordinator_answered(&question, answer),
        }
    }

    fn answered(&mut self, broker: BrokerId, parts: &[Part], result: Result<Versioned<ProduceResponse>, Error>) {
        let now = Instant::now();
        let link = self.links.entry(broker).or_default();
        link.in_flight -= 1;
        link.is_proven = result.is_ok();
        match result {
            Ok(response) => {
                for (part, answer) in parts.iter().zip(answers(parts, response.body)) {
                    match answer {
                        Some(answer) => self.hear(broker, part, &answer, now),
                        None => self.lost(part, failure::unanswered(broker, part), now),
                    }
                }
            }
            Err(error) => parts.iter().for_each(|part| self.lost(part, error.clone(), now)),
        }
        for part in parts {
            self.reconsider(part.index, now);
        }
    }

    /// One partition's answer.
    fn hear(&mut self, broker: BrokerId, part: &Part, answer: &PartitionProduceResponse, now: Instant) {
        let code = ErrorCode::from(answer.error_code);
        let verdict = judge(code);
        if verdict == Verdict::Written {
            return self.written(part, answer);
        }
        if matches!(verdict, Verdict::Again { refresh: true, .. }) {
            self.leaders.wanted |= !self.is_told(part, answer);
        }
        let error = failure::refused(broker, part, code, answer.error_message.as_ref());
        if self.shared.config.acks == Acks::None {
            // Its receipt has ended; where the next one goes is all that can still be made good.
            tracing::debug!(%error, "a batch that nobody waits for is not written");
            return self.answer(part, Answer::Refused, error);
        }
        match verdict {
            Verdict::Written => {}
            Verdict::Again { is_appended, .. } => {
                let until = self.note(part, &error, now);
                let answer = if is_appended { Answer::Again(until) } else { Answer::Denied(until) };
                self.answer(part, answer, error);
            }
            Verdict::Gap => {
                tracing::debug!(%error, "the batch does not follow what the broker has");
                let until = self.note(part, &error, now);
                self.answer(part, Answer::Gap(until), error);
            }
            Verdict::TooLarge => self.too_large(part, error, now),
            Verdict::Rejected => self.rejected(part, answer, error),
            Verdict::Refused => self.answer(part, Answer::Refused, error),
            Verdict::Fatal => self.fail_for_good(&error),
        }
    }

    /// None of it is written, and the broker may have said on whose account.
    fn rejected(&mut self, part: &Part, answer: &PartitionProduceResponse, error: Error) {
        let records = self.partitions[part.index].line.find(part.ticket).map_or(0, |sent| sent.batch.records());
        let Some(rejection) = failure::rejection(&error, answer, records) else {
            return self.answer(part, self.not_written(), error);
        };
        self.conclude(part, self.not_written(), &error, Fate::Rejected(Arc::new(rejection)));
    }

    /// In a transaction, the sequences after a batch that is not written are the next epoch's matter.
    fn not_written(&self) -> Answer<Sealed> {
        if self.transactions.is_some() { Answer::Refused } else { Answer::Unwritten }
    }

    /// Whether the answer itself says who leads now (KIP-951).
    fn is_told(&self, part: &Part, answer: &PartitionProduceResponse) -> bool {
        let LeaderIdAndEpoch { leader_id, leader_epoch } = answer.current_leader;
        if leader_id < 0 || leader_epoch < 0 {
            return false;
        }
        let cluster = &self.shared.cluster;
        cluster.learn_leader(&part.topic_partition, Leader { broker: leader_id, epoch: Some(leader_epoch) });
        cluster.metadata().leader(&part.topic_partition).is_some_and(|leader| leader.broker == leader_id)
    }

    fn written(&mut self, part: &Part, answer: &PartitionProduceResponse) {
        let fate = Fate::Written {
            partition: part.topic_partition.partition,
            base_offset: (answer.base_offset >= 0).then_some(answer.base_offset),
            log_append_time: (answer.log_append_time_ms >= 0).then_some(answer.log_append_time_ms),
        };
        let line = &mut self.partitions[part.index].line;
        if let Some(batch) = line.answer(part.ticket, Answer::Written) {
            self.shared.settle(batch, fate);
        }
        self.settle_proven(part);
    }

    /// What an answer has told of other batches than its own.
    fn settle_proven(&mut self, part: &Part) {
        let partition = part.topic_partition.partition;
        for batch in self.partitions[part.index].line.take_proven() {
            self.shared.settle(batch, Fate::Written { partition, base_offset: None, log_append_time: None });
        }
    }

    /// No word came back: it may have been written or not.
    fn lost(&mut self, part: &Part, error: Error, now: Instant) {
        self.leaders.wanted |= error.is_retriable();
        if self.shared.config.acks == Acks::None || !error.is_retriable() {
            return self.answer(part, Answer::Refused, error);
        }
        let until = self.note(part, &error, now);
        self.answer(part, Answer::Again(until), error);
    }

    /// Keeps the reason with the batch, and says when it may go again.
    fn note(&mut self, part: &Part, error: &Error, now: Instant) -> Instant {
        let tries = self.partitions[part.index].line.note(part.ticket, |batch| batch.last_error = Some(error.clone()));
        now + self.shared.config.backoff().wait(tries)
    }

    fn answer(&mut self, part: &Part, answer: Answer<Sealed>, error: Error) {
        self.conclude(part, answer, &error, Fate::Failed(error.clone()));
    }

    /// A batch that does not go again has met its fate, and its transaction fails with the error.
    fn conclude(&mut self, part: &Part, answer: Answer<Sealed>, error: &Error, fate: Fate) {
        if let Some(batch) = self.partitions[part.index].line.answer(part.ticket, answer) {
            self.fail_transaction(error);
            self.shared.settle(batch, fate);
        }
        self.settle_proven(part);
    }

    /// Halves the batch, as the topic allows none of its size; a single record is refused. Where it had grown, no more will.
    fn too_large(&mut self, part: &Part, error: Error, now: Instant) {
        let (partition, config) = (&mut self.partitions[part.index], &self.shared.config);
        let line = &mut partition.line;
        let sent = line.find(part.ticket).map(|sent| (sent.batch.bytes(), sent.batch.halves(config)));
        let Some((bytes, Some((halves, fate)))) = sent else { return self.answer(part, self.not_written(), error) };
        if bytes > config.batch_bytes {
            partition.slot.queue().stay_small();
        }
        let parts = halves.into_iter().map(|half| (half.count(), half)).map(|(count, half)| (half, count)).collect();
        if let Some(whole) = line.answer(part.ticket, Answer::Split(now, parts)) {
            Counters::add(&self.shared.counters.splits, 1);
            whole.outcome.settle(fate);
        }
    }

    /// A batch comes back compressed; it goes on behind those before it.
    fn sealed(&mut self, index: usize, number: u64, sealed: Option<Sealed>) {
        let sealing = &mut self.partitions[index].sealing;
        let place = sealing.iter().position(|place| place.number == number);
        match (place, sealed) {
            (Some(at), Some(sealed)) => sealing[at].sealed = Some(sealed),
            (Some(at), None) => {
                if let Some(place) = sealing.remove(at) {
                    place.outcome.settle(Fate::Failed(failure::closed()));
                }
            }
            (None, Some(sealed)) => self.shared.settle(sealed, Fate::Failed(failure::closed())),
            (None, None) => {}
        }
        let partition = &mut self.partitions[index];
        while let Some(place) = partition.sealing.pop_front_if(|place| place.sealed.is_some()) {
            partition.sealed.extend(place.sealed);
        }
        self.reconsider(index, Instant::now());
    }
}
