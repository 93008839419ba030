//! Records to feed the house with: made up, or read from a file.
//!
//! The nouns: a [`Shape`] is one kind of record (a data event, a user login, a log event), a *workload* is the seeded,
//! endless sequence of them, a *schedule* says how many are due by now. [`run()`] joins the two and offers each record to
//! the producer; [`input::run`] offers the lines of a file instead.
//!
//! A record flows: workload (pure: seed and time in, bytes out) → producer buffer (waits when full; that is the whole of
//! back-pressure) → its receipt → *acknowledged* or *failed* in the [`Counters`]. The schedule is open-loop: when the
//! cluster was away, what fell due meanwhile is sent afterwards rather than silently left out.
//!
//! What must stay true: the same seed and the same times make the same bytes; every record offered is counted exactly once
//! as acknowledged or failed before `run` returns. Deliberately absent: knowledge of who reads the topics.

pub mod input;
mod metrics;
mod run;
mod schedule;
mod workload;

use std::str::FromStr;

use serde::Deserialize;

use crate::client::Topic;
use crate::limits::Limits;

pub use metrics::{Counters, Metrics};
pub use run::run;
pub use schedule::Schedule;
pub use workload::{Generated, Shape, Workload};

/// What to generate, how fast, and into which topics.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub rate: Rate,
    /// The same seed makes the same records; none draws one and logs it.
    pub seed: Option<u64>,
    /// In turn, one after the other.
    pub shapes: Vec<Shape>,
    /// The share of logins that the pipeline must refuse, 0 to 1.
    pub invalid_ratio: f64,
    /// How many different sources log events come from.
    pub sources: u32,
    /// Stop after so many records; none goes on until told to stop.
    pub limit: Option<u64>,
    pub topics: Topics,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rate: Rate::default(),
            seed: None,
            shapes: vec![Shape::DataEvent, Shape::UserLogin, Shape::LogEvent],
            invalid_ratio: 0.05,
            sources: 8,
            limit: None,
            topics: Topics::default(),
        }
    }
}

impl Config {
    /// Holds what was set against what makes sense.
    pub fn check(&self, limits: &mut Limits) {
        limits.within("invalid_ratio", self.invalid_ratio, 0.0..=1.0);
        limits.within("sources", self.sources, 1..=1_000_000);
        limits.must(!self.shapes.is_empty(), "shapes", &self.shapes, "at least one of the shapes");
        limits.must(self.limit != Some(0), "limit", &0, "a number above 0");
        let Topics { data_event, user_login, log_event } = &self.topics;
        for (key, topic) in [("data_event", data_event), ("user_login", user_login), ("log_event", log_event)] {
            limits.topic(&format!("topics.{key}"), topic);
        }
    }
}

/// Where each shape goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    pub data_event: Topic,
    pub user_login: Topic,
    pub log_event: Topic,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            data_event: Topic::from("data-topic"),
            user_login: Topic::from("user-login"),
            log_event: Topic::from("log-events"),
        }
    }
}

impl Topics {
    pub fn of(&self, shape: Shape) -> &Topic {
        match shape {
            Shape::DataEvent => &self.data_event,
            Shape::UserLogin => &self.user_login,
            Shape::LogEvent => &self.log_event,
        }
    }
}

/// Records a second, or as many as the producer takes.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub enum Rate {
    PerSecond(f64),
    Max,
}

impl Default for Rate {
    /// 100,000 records an hour.
    fn default() -> Self {
        Self::PerSecond(100_000.0 / 3600.0)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse::<f64>() {
            Ok(rate) if rate.is_finite() && rate > 0.0 => Ok(Self::PerSecond(rate)),
            _ => Err(format!("{text:?} is not a rate: give records a second (a number above 0) or `max`")),
        }
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What a run came to. `offered = acknowledged + failed`, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub offered: u64,
    pub acknowledged: u64,
    pub failed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let check = |text: &str, want: Option<Rate>| assert_eq!(text.parse::<Rate>().ok(), want, "{text:?}");
        check("27.8", Some(Rate::PerSecond(27.8)));
        check("max", Some(Rate::Max));
        for wrong in ["", "0", "-1", "NaN", "inf", "fast", "Max"] {
            check(wrong, None);
        }
    }
}
