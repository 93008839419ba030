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
/// What sayings look like, and what follows from them: nodes that differ in that must not share.
const PROTOCOL: &str = "nodes-1";
/// A coordinator that is away does not keep a node that is stopped from ending.
const LEAVE: Duration = Duration::from_secs(1);

/// Says to `rounds` what this node may tell, until `stop`; then it leaves, so that others need not wait for its session to end.
pub(in crate::lag) async fn keep_in_circle(
    name: &str,
    group_id: &str,
    timing: Timing,
    client: &Client,
    rounds: &Rounds,
    stop: &CancellationToken,
) {
    let session_timeout = milliseconds(timing.dead_ms());
    let config = CircleConfig {
        group_id: group_id.to_owned(),
        protocol_type: PROTOCOL_TYPE,
        protocol: PROTOCOL,
        session_timeout,
    };
    let circle = client.circle(config);
    let mut fellow = Fellow::new(name, timing, rand::random());
    rounds.share(fellow.hold());
    // Two heartbeats that are not answered, and another one, fit into a lease.
    let limit = milliseconds(timing.beat_ms() * 3 / 2);
    let mut trouble = None;
    loop {
        let pause = milliseconds(fellow.pause_ms(rounds.now()));
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
        let sent = rounds.now();
        let ask = fellow.ask(sent, rand::random());
        let Some(answered) = stop.run_until_cancelled(put(&circle, &ask, limit)).await else { break };
        let (answer, error) = match answered {
            Ok(answer) => (answer, None),
            Err(error) => (failed(&error), Some(error)),
        };
        let is_answered = matches!(answer, Answer::Called | Answer::Gone);
        fellow.hear(&ask, sent, answer, rounds.now());
        rounds.share(fellow.hold());
        leave(&circle, fellow.past(), limit).await;
        say(&mut trouble, error.filter(|_| !is_answered), session_timeout);
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

/// Once when it begins, and once when it is over.
fn say(before: &mut Option<String>, now: Option<Error>, session_timeout: Duration) {
    let hint = |error: &Error| match error.code() {
        Some(ErrorCode::INVALID_SESSION_TIMEOUT) => {
            format!(
                ": the brokers' group.min.session.timeout.ms or group.max.session.timeout.ms keeps out a session of {} ms, \
                 six tenths of the lease",
                session_timeout.as_millis()
            )
        }
        Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL) => ": the group is of another kind, name another one".to_owned(),
        _ => String::new(),
    };
    let now = now.map(|error| format!("{error}{}", hint(&error)));
    match (&before, &now) {
        (None, Some(error)) => tracing::warn!(error, "no place among the nodes: groups are told until the lease ends"),
        (Some(_), None) => tracing::info!("there is a place among the nodes again"),
        _ => {}
    }
    *before = now;
}

fn milliseconds(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
