//! Logins in; each passed on, or put aside with the reason.
//!
//! A record flows: consumer → [`judge`] (pure) → accepted: the output topic, with `processed_at` added; rejected: the
//! dead-letter topic, key, value, headers and timestamp untouched, with headers that say whence and why → the
//! acknowledgement of whichever it was → *finished*, and so free to be committed.
//!
//! What must stay true:
//! - every record read ends in exactly one of the two topics before its offset is committed; after a kill or a rebalance a
//!   record may be there twice, never not at all;
//! - **an outage is not a poison pill**: what the cluster cannot take now is tried again in place, without limit, and
//!   only a fault of the record itself sends it to the dead letters: at once what does not hold here, or what the output's
//!   broker rejects by name (KIP-467), and what it refuses without one when it has refused it for the third time;
//! - records of one partition go out in the order they came in.
//!
//! Deliberately absent: retry topics (they lose that order), and any memory of records beyond those in flight.

mod dead_letter;
mod metrics;
mod parcel;
mod run;
mod verdict;

use std::time::Duration;

use serde::Deserialize;

use crate::client::Topic;
use crate::limits::Limits;

pub use dead_letter::HeaderFamily;
pub use metrics::{Counters, Metrics, Summary};
pub use run::run;
pub use verdict::{Rejection, Rules, Verdict, Version, judge};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub group_id: String,
    pub input: Topic,
    pub output: Topic,
    pub dead_letters: Topic,
    pub rules: Rules,
    /// Whose header names dead letters carry.
    pub header_family: HeaderFamily,
    /// How long stopping waits for what is in flight; what is not acknowledged by then is read again at the next start.
    pub drain_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            group_id: "user-group".to_owned(),
            input: Topic::from("user-login"),
            output: Topic::from("processed-user-login"),
            dead_letters: Topic::from("user-login-dlq"),
            rules: Rules::default(),
            header_family: HeaderFamily::default(),
            drain_seconds: 4,
        }
    }
}

impl Config {
    /// Holds what was set against what makes sense.
    pub fn check(&self, limits: &mut Limits) {
        limits.not_empty("group_id", &self.group_id);
        limits.topic("input", &self.input);
        for (key, topic) in [("output", &self.output), ("dead_letters", &self.dead_letters)] {
            limits.topic(key, topic);
            limits.must(*topic != self.input, key, topic, "another topic than input, or records go round and round");
        }
        let is_other = self.dead_letters != self.output;
        limits.must(is_other, "dead_letters", &self.dead_letters, "another topic than output");
        let are_names = self.rules.required.iter().all(|field| !field.is_empty());
        limits.must(are_names, "rules.required", &self.rules.required, "names that are not empty");
        limits.within("drain_seconds", self.drain_seconds, 1..=300);
    }

    fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}
