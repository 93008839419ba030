//! The loop of a node: a beat, what it is answered, a pause.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Node;
use crate::lag::Rounds;
use crate::lag::store::RedisRegistry;
use crate::trouble::Trouble;

/// A registry that is away does not keep a node that is stopped from ending.
const LEAVE: Duration = Duration::from_secs(1);

/// Says to `rounds` what this node may tell, until `stop`; then it leaves, so that others need not wait for its lease.
pub(crate) async fn keep(mut node: Node, mut registry: RedisRegistry, rounds: &Rounds, stop: &CancellationToken) {
    rounds.share(node.hold());
    let mut trouble = Trouble::default();
    let mut pause_ms = 0;
    loop {
        let pause = Duration::from_millis(u64::try_from(pause_ms).unwrap_or(0));
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
        let beat = node.beat(rounds.now(), rand::random());
        // Before it is said that the node keeps to less, it does.
        rounds.share(node.hold());
        let Some(answer) = stop.run_until_cancelled(registry.beat(&beat)).await else { break };
        let now = rounds.now();
        let heard = match &answer {
            Ok(roll) => node.hear(&beat, roll, now).map_err(|other| other.to_string()),
            Err(error) => Err(error.to_string()),
        };
        rounds.share(node.hold());
        pause_ms = if heard.is_ok() { node.pause_ms(now) } else { node.pause_without_answer_ms() };
        say(&mut trouble, heard);
    }
    let over = node.end();
    rounds.share(node.hold());
    if let Ok(Err(error)) = tokio::time::timeout(LEAVE, registry.leave(&over)).await {
        tracing::warn!(%error, "the other nodes wait for this one's lease to end");
    }
}

fn say(trouble: &mut Trouble, heard: Result<(), String>) {
    let now = Instant::now();
    match heard {
        Ok(()) => {
            if let Some(after) = trouble.is_over(now) {
                tracing::warn!(after_seconds = after.as_secs(), "beats are answered again");
            }
        }
        Err(error) if trouble.fails(now) => {
            tracing::warn!(error, "no beat: groups are told until the lease ends, and then no more");
        }
        Err(_) => {}
    }
}
