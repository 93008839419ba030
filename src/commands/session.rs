//! What every verb that asks a cluster begins and ends with: a client by the flags and properties that were given, and one
//! account of what was done to each of many.

use std::fmt::Display;

use serde::Serialize;

use super::hint::did_you_mean;
use super::output::{self, Row};
use super::properties::Settings;
use crate::app::{self, Failure, Status};
use crate::cli::{Asking, Output, Printing};
use crate::client::{Admin, Client, Error, ErrorCode};

/// A connected client, and the settings for what is made from it.
pub(super) struct Session {
    pub client: Client,
    pub admin: Admin,
    pub settings: Settings,
}

impl Session {
    /// Reaches the cluster for a verb; brokers see it as `highwater-VERB`.
    pub async fn open(asking: &Asking, verb: &str) -> Result<Self, Failure> {
        let settings = Settings::of(asking, verb)?;
        let client = app::connect(settings.client.clone()).await?;
        let admin = client.admin();
        Ok(Self { client, admin, settings })
    }

    /// An error about a topic, with what may have been meant if there is none of that name.
    pub async fn about_topic(&self, topic: &str, error: &Error) -> Failure {
        let mut message = format!("topic {topic}: {error}");
        if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            && let Ok(topics) = self.admin.list_topics().await
        {
            message = format!("no topic {topic}{}", did_you_mean(topic, topics.keys().map(|name| &**name)));
        }
        Failure::new(Status::of(error), message)
    }

    /// An error about a group, likewise.
    pub async fn about_group(&self, group: &str, error: &Error) -> Failure {
        let mut message = format!("group {group}: {error}");
        if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND)
            && let Ok(listed) = self.admin.list_groups().await
        {
            let names = listed.groups.iter().map(|it| it.group_id.as_str());
            message = format!("no group {group}{}", did_you_mean(group, names));
        }
        Failure::new(Status::of(error), message)
    }
}

/// What became of one of many.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub name: String,
    pub result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Row for Outcome {
    const HEAD: &'static [&'static str] = &["NAME", "RESULT"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.result.to_owned()]
    }
}

/// What became of all: those that went well in a table, those that did not in the failure; a program sees all of them.
#[derive(Debug, Default)]
pub(super) struct Account {
    outcomes: Vec<Outcome>,
    failures: Vec<Failure>,
}

impl Account {
    pub fn done(&mut self, name: impl Display, result: &'static str) {
        self.outcomes.push(Outcome { name: name.to_string(), result, error: None });
    }

    pub fn failed(&mut self, name: impl Display, failure: Failure) {
        self.outcomes.push(Outcome { name: name.to_string(), result: "failed", error: Some(failure.message.clone()) });
        self.failures.push(failure);
    }

    /// Prints it; the exit status is that of the first failure.
    pub fn settle(self, printing: Printing) -> Result<(), Failure> {
        let Self { mut outcomes, failures } = self;
        if printing.output == Output::Table {
            outcomes.retain(|outcome| outcome.error.is_none());
        }
        if !(outcomes.is_empty() && printing.output == Output::Table) {
            output::print(&output::rows(printing.output, &outcomes)?)?;
        }
        all(failures)
    }
}

/// What was found or done in a table, unless there is nothing of it but failures; what was not in the failure.
pub(super) fn settle<R: Row + Serialize>(output: Output, done: &[R], failures: Vec<Failure>) -> Result<(), Failure> {
    if !done.is_empty() || failures.is_empty() {
        output::print(&output::rows(output, done)?)?;
    }
    all(failures)
}

/// One failure that says all there were, each on a line of its own.
pub(super) fn all(failures: Vec<Failure>) -> Result<(), Failure> {
    let Some(first) = failures.first() else { return Ok(()) };
    let messages: Vec<&str> = failures.iter().map(|failure| failure.message.as_str()).collect();
    Err(Failure::new(first.status, messages.join("\nhighwater: ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_together() {
        assert!(all(Vec::new()).is_ok());
        let failures = vec![Failure::new(Status::Data, "no topic a"), Failure::new(Status::Unavailable, "b is away")];
        let failure = all(failures).unwrap_err();
        assert_eq!((failure.status, &*failure.message), (Status::Data, "no topic a\nhighwater: b is away"));
    }
}
