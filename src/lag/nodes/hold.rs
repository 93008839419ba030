//! What a node may tell at present: a snapshot of its [machine](super::Node), for those who read and those who answer.

use std::sync::Arc;

use super::{MemberId, Moment, View};

/// What is published of the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// As the last roll had them.
    pub nodes: usize,
    /// The greatest that was seen.
    pub epoch: u64,
    /// Rolls that were settled.
    pub handovers: u64,
    /// How long the last of them took, from the last sign of life of a node that is gone, or from when another came, until
    /// this node might tell all that is its own. To read what it took over from one that is gone takes a round more.
    pub handover_ms: Option<i64>,
}

/// Which groups a node reads, whether it may tell them, and until when.
#[derive(Debug, Clone, Default)]
pub struct Hold {
    pub(super) me: Option<MemberId>,
    pub(super) view: Option<Arc<View>>,
    /// The view with this node in it, also before the others have it in theirs.
    pub(super) reads: Option<Arc<View>>,
    /// Whether all nodes have kept to a view that has this one.
    pub(super) is_in: bool,
    pub(super) until: Option<Moment>,
    pub standing: Standing,
}

impl Hold {
    /// Whether the lease holds: without that, nothing is told.
    pub fn is_valid(&self, now: Moment) -> bool {
        self.is_in && self.until.is_some_and(|until| now.is_before(until))
    }

    /// Whether the group is this node's to tell, while the lease holds.
    pub fn tells(&self, group: &str) -> bool {
        self.is_in && self.view.as_ref().is_some_and(|view| view.owner(group) == self.me.as_ref())
    }

    /// Whether the group is, or is about to become, this node's: what it comes to tell, it has read before.
    pub fn reads(&self, group: &str) -> bool {
        self.reads.as_ref().is_some_and(|view| view.owner(group) == self.me.as_ref())
    }

    /// By the last roll.
    pub fn owner(&self, group: &str) -> Option<&MemberId> {
        self.view.as_ref()?.owner(group)
    }

    /// Whether all is still this node's that was when it held `before`: groups are lost only to nodes that come.
    pub fn tells_all_of(&self, before: &Self) -> bool {
        let nobody_came = match (&self.view, &before.view) {
            (Some(now), Some(then)) => now.is_part_of(then),
            _ => false,
        };
        self.is_in && before.is_in && self.me == before.me && nobody_came
    }

    /// Whether it may tell other groups than when it held `before`.
    pub fn tells_others_than(&self, before: &Self) -> bool {
        (self.is_in, &self.me, &self.view) != (before.is_in, &before.me, &before.view)
    }

    /// Whether it reads other groups than when it held `before`.
    pub fn reads_others_than(&self, before: &Self) -> bool {
        (&self.me, &self.reads) != (&before.me, &before.reads)
    }
}
