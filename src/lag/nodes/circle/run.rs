//! The loop of a node in the group: what it asks, what becomes of that, a pause.

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Answer, Ask, Fellow, Saying};
use crate::client::{Circle, CircleConfig, Client, Entry, Error, ErrorCode, ErrorKind};
use crate::lag::Rounds;
use crate::lag::nodes::Timing;

/// By this, groups of monitors are told from those that are to be monitored.
pub(in crate::lag) const PROTOCOL_TYPE: &str = "highwater-lag";
/// What sayings look like, and what follows from them.
const PROTOCOL: &str = "nodes-1";
/// A coordinator that is away does not keep a node that is stopped from ending.
const LEAVE: Duration = Duration::from_secs(1);

/// Nodes that differ in the protocol's name must not share, and the coordinator does not let them.
fn circle_config(group_id: &str, timing: Timing) -> CircleConfig {
    CircleConfig {
        group_id: group_id.to_owned(),
        protocol_type: PROTOCOL_TYPE,
        protocol: format!("{PROTOCOL}-{}", timing.lease_ms),
        session_timeout: milliseconds(timing.dead_ms()),
    }
}

/// Says to `rounds` what this node may tell, until `stop`; then it leaves, so that others need not wait for its session to end.
pub(in crate::lag) async fn keep_in_circle(
    name: &str,
    group_id: &str,
    timing: Timing,
    client: &Client,
    rounds: &Rounds,
    stop: &CancellationToken,
) {
    let circle = client.circle(circle_config(group_id, timing));
    let mut fellow = Fellow::new(name, timing, rand::random());
    rounds.share(fellow.hold());
    // Two heartbeats that are not answered, and another one, fit into a lease.
    let limit = milliseconds(timing.beat_ms() * 3 / 2);
    let mut reasons = Reasons::default();
    loop {
        let pause = milliseconds(fellow.pause_ms(rounds.now()));
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
        let sent = rounds.now();
        let ask = fellow.ask(sent, rand::random());
        let mut put = std::pin::pin!(put(&circle, &ask, limit));
        let Some(answered) = stop.run_until_cancelled(&mut put).await else {
            // Whose seat is not known cannot leave it, and all others wait until somebody takes it, or a session is over.
            if matches!(ask, Ask::Join { seat: None, .. })
                && let Ok(Ok(answer)) = tokio::time::timeout(LEAVE, put).await
            {
                fellow.hear(&ask, sent, answer, rounds.now());
            }
            break;
        };
        let (answer, error) = match answered {
            Ok(answer) => (answer, None),
            Err(error) => (failed(&error), Some(error)),
        };
        let is_answered = matches!(answer, Answer::Called | Answer::Gone);
        fellow.hear(&ask, sent, answer, rounds.now());
        rounds.share(fellow.hold());
        leave(&circle, fellow.past(), limit).await;
        reasons.say(error.filter(|_| !is_answered), timing);
    }
    fellow.end();
    rounds.share(fellow.hold());
    leave(&circle, fellow.past(), LEAVE).await;
}

async fn put(circle: &Circle, ask: &Ask, limit: Duration) -> Result<Answer, Error> {
    match ask {
        Ask::Join { seat, says } => match circle.join(seat.as_deref(), says.write().into()).await? {
            Entry::Named(seat) => Ok(Answer::Named(seat)),
            Entry::Joined { member_id, generation, members } => {
                let all = members.into_iter().map(|(seat, says)| Ok((seat, read(&says, Saying::read)?)));
                Ok(Answer::Joined { seat: member_id, generation, all: all.collect::<Result<_, Error>>()? })
            }
        },
        Ask::Sync { seat, generation, all } => {
            let roll: Vec<_> = all.iter().map(|(_, says)| says.clone()).collect();
            let roll = Bytes::from(Saying::write_all(&roll));
            let told = all.iter().map(|(seat, _)| (seat.clone(), roll.clone())).collect();
            Ok(Answer::Synced(read(&circle.sync(seat, *generation, told).await?, Saying::read_all)?))
        }
        Ask::Beat { seat, generation } => circle.heartbeat(seat, *generation, limit).await.map(|()| Answer::Alive),
    }
}

fn read<T>(bytes: &Bytes, how: impl Fn(&[u8]) -> Option<T>) -> Result<T, Error> {
    how(bytes)
        .ok_or_else(|| Error::config("a member of the nodes' group says what no node would: it is another's group"))
}

/// What a failure leaves open.
fn failed(error: &Error) -> Answer {
    match (&error.kind, error.code()) {
        (_, Some(ErrorCode::REBALANCE_IN_PROGRESS)) => Answer::Called,
        (_, Some(ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION | ErrorCode::FENCED_INSTANCE_ID)) => {
            Answer::Gone
        }
        // Nothing was sent, or what was answered is of no use to anybody.
        (_, Some(_)) | (ErrorKind::Connect(_) | ErrorKind::UnknownBroker | ErrorKind::Config(_), _) => Answer::NotNow,
        _ => Answer::Lost,
    }
}

/// A seat that is not left is waited for until its session ends, no longer.
async fn leave(circle: &Circle, seats: Vec<String>, limit: Duration) {
    for seat in seats {
        if let Err(error) = circle.leave(&seat, limit).await
            && error.code() != Some(ErrorCode::UNKNOWN_MEMBER_ID)
        {
            tracing::warn!(%error, "the other nodes wait for this one's session to end");
        }
    }
}

/// Why there is no place: each reason that was said since there was one. Without a code, the coordinator did not answer.
#[derive(Debug, Default)]
struct Reasons(Vec<Option<ErrorCode>>);

impl Reasons {
    /// Each reason once when it begins, and once that all is over.
    fn say(&mut self, now: Option<Error>, timing: Timing) {
        match now {
            Some(error) if self.is_news(error.code()) => {
                let error = format!("{error}{}", hint(error.code(), timing));
                tracing::warn!(error, "no place among the nodes: groups are told until the lease ends");
            }
            None if !std::mem::take(&mut self.0).is_empty() => {
                tracing::warn!("there is a place among the nodes again");
            }
            _ => {}
        }
    }

    /// A coordinator that is made for the first group of all is not there yet, and what it refuses for good comes after that.
    fn is_news(&mut self, code: Option<ErrorCode>) -> bool {
        let is_news = !self.0.contains(&code);
        self.0.extend(is_news.then_some(code));
        is_news
    }
}

/// What to do about it.
fn hint(code: Option<ErrorCode>, timing: Timing) -> String {
    match code {
        Some(ErrorCode::INVALID_SESSION_TIMEOUT) => format!(
            ": the brokers' group.min.session.timeout.ms or group.max.session.timeout.ms keeps out a session of {} ms, \
             six tenths of the lease",
            timing.dead_ms()
        ),
        Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL) => format!(
            ": its members have another lease than {} ms, or it is a group of another kind: give all nodes the same lease, \
             or name another group",
            timing.lease_ms
        ),
        _ => String::new(),
    }
}

fn milliseconds(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientConfig;
    use crate::devbroker::{self, DevBroker, Fault, Matching};
    use crate::protocol::api::Body;
    use crate::protocol::messages::{JoinGroupRequest, LeaveGroupRequest};

    const TIMING: Timing = Timing { lease_ms: 15_000 };

    #[test]
    fn each_reason_is_said_once_until_it_is_over() {
        let of = |code| Error::new(ErrorKind::Broker(code, None));
        let mut reasons = Reasons::default();
        let away = Some(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        let refused = Some(ErrorCode::INVALID_SESSION_TIMEOUT);
        let said = [away, away, refused, None, away, refused, None].map(|code| reasons.is_news(code));
        assert_eq!(said, [true, false, true, true, false, false, false]);
        reasons.say(None, TIMING);
        assert!(reasons.is_news(refused), "it was over in between");
        reasons.say(Some(of(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)), TIMING);
        assert_eq!(reasons.0.len(), 2);
    }

    #[test]
    fn what_is_refused_says_what_to_change() {
        let check = |code, want: &str| assert!(hint(Some(code), TIMING).contains(want), "{}", hint(Some(code), TIMING));
        check(ErrorCode::INVALID_SESSION_TIMEOUT, "9000 ms");
        check(ErrorCode::INCONSISTENT_GROUP_PROTOCOL, "15000 ms");
        assert_eq!(hint(None, TIMING), "");
    }

    #[tokio::test]
    async fn nodes_of_another_lease_are_refused() {
        let broker = DevBroker::start(devbroker::Config::default()).await.unwrap();
        let bootstrap_servers = vec![broker.bootstrap_servers()];
        let client = Client::connect(ClientConfig { bootstrap_servers, ..ClientConfig::default() }).await.unwrap();
        let circle = |lease_ms| client.circle(circle_config("nodes", Timing { lease_ms }));
        let join = async |lease_ms| circle(lease_ms).join(None, Bytes::new()).await;
        let Entry::Named(seat) = join(15_000).await.unwrap() else { panic!("it has no seat") };
        let alone = circle(15_000).join(Some(&seat), Bytes::new()).await;
        assert!(matches!(alone, Ok(Entry::Joined { generation: 1, .. })), "{alone:?}");
        let refused = join(20_000).await.map_err(|error| error.code());
        assert_eq!(refused, Err(Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)));
        assert!(join(15_000).await.is_ok());
        client.close().await;
        broker.stop().await.unwrap();
    }

    /// Nobody waits for a seat that was given to a node that ends at that moment.
    #[tokio::test]
    async fn a_seat_that_is_on_its_way_is_left() {
        let broker = DevBroker::start(devbroker::Config::default()).await.unwrap();
        let bootstrap_servers = vec![broker.bootstrap_servers()];
        let client = Client::connect(ClientConfig { bootstrap_servers, ..ClientConfig::default() }).await.unwrap();
        let faults = broker.faults();
        faults.inject(Matching::api(JoinGroupRequest::KEY), 1, Fault::Delay(Duration::from_millis(300)));
        let (stop, rounds) = (CancellationToken::new(), Rounds::default());
        let keep = keep_in_circle("a", "nodes", TIMING, &client, &rounds, &stop);
        let end = async {
            while faults.count(JoinGroupRequest::KEY) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        tokio::join!(keep, end);
        assert_eq!((faults.count(JoinGroupRequest::KEY), faults.count(LeaveGroupRequest::KEY)), (1, 1));
        client.close().await;
        broker.stop().await.unwrap();
    }
}
