//! Brokers that do not answer: nobody waits for them twice.
//!
//! A broker that stands still, or is cut off, takes what is asked and says nothing. The round that finds it out has waited for it
//! as long as a round may; from then on rounds do not ask it, and it is waited for beside them. Once it has answered there,
//! the next round asks it as any other.
//!
//! What it is asked there is to list its groups. One that does, and hangs in what is asked of it else, is found out anew by each
//! round: what it does say is told then, and each round takes as long as it may.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::client::{Admin, BrokerId, Error, ErrorKind, Metadata};

/// Between two tries to hear of a broker again that refuses at once.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Those that are not asked at present, and why.
#[derive(Debug, Default)]
pub(super) struct Silent(BTreeMap<BrokerId, Awaited>);

#[derive(Debug)]
struct Awaited {
    why: Error,
    answered: AbortOnDropHandle<()>,
}

impl Silent {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn why(&self, broker: BrokerId) -> Option<&Error> {
        self.0.get(&broker).map(|awaited| &awaited.why)
    }

    /// What was heard of each last.
    pub fn iter(&self) -> impl Iterator<Item = &Error> {
        self.0.values().map(|awaited| &awaited.why)
    }

    /// Those that have answered since, or are no longer part of the cluster, are not silent any more.
    pub fn settle(&mut self, known: &Metadata) {
        self.0.retain(|broker, awaited| !awaited.answered.is_finished() && known.broker(*broker).is_some());
    }

    /// Whoever is [silent](of) by this error is not asked until it has answered `admin`, who has all the time there is.
    pub fn add(&mut self, error: Error, admin: &Admin) {
        let Some(broker) = of(&error) else { return };
        let hear = || AbortOnDropHandle::new(tokio::spawn(hear(admin.clone(), broker)));
        self.0.entry(broker).or_insert_with(|| Awaited { why: error, answered: hear() });
    }
}

/// The broker that does not answer, if that is what the error says. One that hangs up does answer, and one that does not
/// believe who we are says so.
pub(super) fn of(error: &Error) -> Option<BrokerId> {
    let is_silence = matches!(error.kind, ErrorKind::Timeout(_) | ErrorKind::Connect(_)) && !error.is_authentication();
    error.broker.as_ref().filter(|_| is_silence)?.id
}

/// Ends when the broker has said anything.
async fn hear(admin: Admin, broker: BrokerId) {
    // Not whether there is a connection: one may stand for long with nobody behind it.
    while admin.hear_of(broker).await.is_err_and(|error| error.is_transport()) {
        sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, ClientConfig, ErrorCode, NewOffset, TopicPartition};
    use crate::devbroker::{self, DevBroker};

    #[test]
    fn only_a_broker_that_says_nothing_is_silent() {
        let check = |kind: ErrorKind, id: Option<BrokerId>, want: Option<BrokerId>| {
            let error = Error::new(kind).by(id, None);
            assert_eq!(of(&error), want, "{error}");
        };
        check(ErrorKind::Timeout(Duration::from_secs(1)), Some(2), Some(2));
        check(ErrorKind::Connect([].into()), Some(2), Some(2));
        // A bootstrap server: nobody knows which broker that is.
        check(ErrorKind::Timeout(Duration::from_secs(1)), None, None);
        check(ErrorKind::Disconnected("gone".into()), Some(2), None);
        check(ErrorKind::Broker(ErrorCode::REQUEST_TIMED_OUT, None), Some(2), None);
    }

    /// What it lists was moved to another one while it stood still, and that is where it is asked for.
    #[tokio::test]
    async fn a_broker_that_comes_back_is_not_believed_about_its_groups() -> Result<(), Box<dyn std::error::Error>> {
        let broker = DevBroker::start(devbroker::Config::with_brokers(2)).await?;
        let bootstrap_servers = vec![broker.bootstrap_servers()];
        let config = ClientConfig { bootstrap_servers, allow_auto_create_topics: true, ..Default::default() };
        let client = Client::connect(config).await?;
        let (admin, cluster) = (client.admin(), client.cluster());
        let offset = [(TopicPartition::new("t", 0), NewOffset::from(7))];
        for (_, made) in admin.alter_offsets("g", &offset).await? {
            made?;
        }
        let before = cluster.coordinator("g").await?;
        let by_now = cluster.metadata().brokers.keys().copied().find(|it| *it != before).ok_or("there is one")?;
        cluster.learn_coordinators([("g".to_owned(), by_now)]);
        hear(admin, before).await;
        assert_eq!(cluster.coordinator("g").await?, by_now);
        Ok(broker.stop().await?)
    }
}
