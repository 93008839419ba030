//! The shell of the group coordinator: parked replies, reminders, the journal.

use super::clock::Now;
use super::journal::Entry;
use super::state::State;
use crate::protocol::types::TopicId;

/// What a group wants to be reminded of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupTimer {}

/// All groups of this process.
#[derive(Debug, Default)]
pub struct Groups {}

impl Groups {
    /// Takes in what the journal says; called at start, in the order of writing.
    pub fn replay(&mut self, _entry: Entry) {}

    /// What a fresh journal must say so that [`Groups::replay`] arrives at this state.
    pub fn snapshot(&self) -> Vec<Entry> {
        Vec::new()
    }
}

/// A reminder fell due.
pub fn on_timer(_state: &mut State, _now: Now, timer: GroupTimer) {
    match timer {}
}

/// A topic is gone; its committed offsets go with it.
pub fn topic_removed(_state: &mut State, _topic: TopicId, _name: &str) {}
