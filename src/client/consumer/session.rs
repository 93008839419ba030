//! Fetch sessions (KIP-227): the broker remembers what a reader wants, and is told only what is different. Pure.

use std::collections::BTreeMap;

use crate::protocol::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

/// What is wanted of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub topic_id: Option<TopicId>,
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub max_bytes: usize,
}

/// Everything that is wanted of one broker.
pub type Asks = BTreeMap<TopicPartition, Ask>;

/// What one request says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    pub session_id: i32,
    pub session_epoch: i32,
    pub asks: Vec<(TopicPartition, Ask)>,
    pub forgotten: Vec<(TopicPartition, Option<TopicId>)>,
}

/// A session with one broker, or the wish for one.
#[derive(Debug, Default)]
pub struct Session {
    /// 0: none yet.
    id: i32,
    /// 0: the next request says everything.
    epoch: i32,
    told: Asks,
    /// Requests so far that said everything.
    turn: usize,
}

impl Session {
    /// The next request, for all that is wanted now.
    pub fn plan(&mut self, wanted: &Asks) -> Plan {
        let (session_id, session_epoch) = (self.id, self.epoch);
        let told = std::mem::replace(&mut self.told, wanted.clone());
        if session_epoch == 0 {
            let mut asks: Vec<_> = wanted.iter().map(|(of, ask)| (of.clone(), ask.clone())).collect();
            // An answer is filled in the order of its request, and may be full before its end. Within a session the
            // broker has each partition take its turn at the end; without one, that is for whoever asks.
            let first = self.turn % asks.len().max(1);
            asks.rotate_left(first);
            self.turn = self.turn.wrapping_add(1);
            return Plan { session_id, session_epoch, asks, forgotten: Vec::new() };
        }
        let news = |of: &TopicPartition, ask: &Ask| told.get(of) != Some(ask);
        let asks = wanted.iter().filter(|(of, ask)| news(of, ask)).map(|(of, ask)| (of.clone(), ask.clone()));
        // A topic that was made again has another id; the broker takes it for another partition.
        let gone = |of: &TopicPartition, ask: &Ask| wanted.get(of).is_none_or(|now| now.topic_id != ask.topic_id);
        let forgotten = told.iter().filter(|(of, ask)| gone(of, ask)).map(|(of, ask)| (of.clone(), ask.topic_id));
        Plan { session_id, session_epoch, asks: asks.collect(), forgotten: forgotten.collect() }
    }

    /// The broker has answered, with this session id; 0 is none, because it has no room or knows no sessions.
    pub fn answered(&mut self, session_id: i32) {
        let epoch = if session_id == 0 { 0 } else { self.epoch.checked_add(1).unwrap_or(1) };
        (self.id, self.epoch) = (session_id, epoch);
    }

    /// The broker does not know the session, or not as it is known here.
    pub fn refused(&mut self) {
        *self = Self::default();
    }

    /// No answer: what the broker remembers is uncertain, so the next request says everything, and ends the session
    /// whose number it names.
    pub fn unanswered(&mut self) {
        self.epoch = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"0@5 1@7"`: partition 0 from offset 5, 1 from 7.
    fn asks(text: &str) -> Asks {
        let ask = |word: &str| {
            let (partition, offset) = word.split_once('@')?;
            let ask = Ask { topic_id: None, offset: offset.parse().ok()?, leader_epoch: None, max_bytes: 9 };
            Some((TopicPartition::new("t", partition.parse().ok()?), ask))
        };
        text.split_whitespace().filter_map(ask).collect()
    }

    fn check(session: &mut Session, wanted: &str, expect: (i32, i32, &str, &str)) {
        let plan = session.plan(&asks(wanted));
        let asked: Vec<String> = plan.asks.iter().map(|(of, ask)| format!("{}@{}", of.partition, ask.offset)).collect();
        let forgotten: Vec<String> = plan.forgotten.iter().map(|(of, _)| of.partition.to_string()).collect();
        let said = (plan.session_id, plan.session_epoch, asked.join(" "), forgotten.join(" "));
        assert_eq!(said, (expect.0, expect.1, expect.2.to_owned(), expect.3.to_owned()), "{wanted}");
    }

    #[test]
    fn only_what_is_different_is_said() {
        let mut session = Session::default();
        check(&mut session, "0@5 1@7", (0, 0, "0@5 1@7", ""));
        session.answered(42);
        check(&mut session, "0@5 1@9", (42, 1, "1@9", ""));
        session.answered(42);
        check(&mut session, "0@5 2@0", (42, 2, "2@0", "1"));
        session.answered(42);
        check(&mut session, "", (42, 3, "", "0 2"));
        session.unanswered();
        check(&mut session, "0@5", (42, 0, "0@5", ""));
        session.answered(43);
        check(&mut session, "0@5", (43, 1, "", ""));
        session.refused();
        check(&mut session, "0@5", (0, 0, "0@5", ""));
    }

    #[test]
    fn a_broker_without_sessions_is_told_everything() {
        let mut session = Session::default();
        for _ in 0..3 {
            check(&mut session, "0@5", (0, 0, "0@5", ""));
            session.answered(0);
        }
        for order in ["0@5 1@7 2@0", "1@7 2@0 0@5", "2@0 0@5 1@7", "0@5 1@7 2@0"] {
            check(&mut session, "0@5 1@7 2@0", (0, 0, order, ""));
            session.answered(0);
        }
    }

    #[test]
    fn epochs_go_round_past_zero_and_a_new_topic_is_told_as_one() {
        let mut session = Session { id: 7, epoch: i32::MAX, ..Default::default() };
        session.answered(7);
        assert_eq!(session.epoch, 1);
        let with = |id: u8| {
            asks("0@5")
                .into_iter()
                .map(|(of, ask)| (of, Ask { topic_id: Some(crate::protocol::types::Uuid([id; 16])), ..ask }))
                .collect::<Asks>()
        };
        session.plan(&with(1));
        let plan = session.plan(&with(2));
        assert_eq!((plan.asks.len(), plan.forgotten.len()), (1, 1));
    }
}
