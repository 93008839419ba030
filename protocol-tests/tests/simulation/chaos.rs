//! What happens to the brokers while the storm lasts.

use std::sync::Arc;
use std::time::Duration;

use highwater::client::{ErrorCode, Topic, TopicPartition};
use highwater::devbroker::{DevBroker, Fault, Matching};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::{Instant, sleep};

use crate::plan::{OUTPUT, Plan, TOPIC};

/// APIs, and errors that they may be answered with.
type Errors = &'static [(&'static [i16], &'static [ErrorCode])];

/// Which errors a broker that means well may answer an API with, having done nothing.
const ERRORS: Errors = &[
    // Produce
    (
        &[0],
        &[
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::NOT_ENOUGH_REPLICAS,
            ErrorCode::REQUEST_TIMED_OUT,
            ErrorCode::KAFKA_STORAGE_ERROR,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::NETWORK_EXCEPTION,
        ],
    ),
    // Fetch, ListOffsets, OffsetForLeaderEpoch
    (
        &[1, 2, 23],
        &[
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::FENCED_LEADER_EPOCH,
            ErrorCode::UNKNOWN_LEADER_EPOCH,
            ErrorCode::KAFKA_STORAGE_ERROR,
            ErrorCode::OFFSET_NOT_AVAILABLE,
        ],
    ),
    // Metadata
    (&[3], &[ErrorCode::LEADER_NOT_AVAILABLE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]),
    // OffsetCommit, OffsetFetch
    (
        &[8, 9],
        &[
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::UNSTABLE_OFFSET_COMMIT,
            ErrorCode::REQUEST_TIMED_OUT,
        ],
    ),
    // FindCoordinator
    (&[10], &[ErrorCode::COORDINATOR_NOT_AVAILABLE]),
    // JoinGroup, Heartbeat, SyncGroup
    (
        &[11, 12, 14],
        &[
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::REBALANCE_IN_PROGRESS,
            ErrorCode::UNKNOWN_MEMBER_ID,
        ],
    ),
    // LeaveGroup
    (&[13], &[ErrorCode::NOT_COORDINATOR]),
    // ConsumerGroupHeartbeat
    (
        &[68],
        &[
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::FENCED_MEMBER_EPOCH,
            ErrorCode::UNKNOWN_MEMBER_ID,
        ],
    ),
    // InitProducerId, AddPartitionsToTxn, EndTxn
    (
        &[22, 24, 26],
        &[
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::CONCURRENT_TRANSACTIONS,
        ],
    ),
];

/// The same for what only a relay uses.
const RELAY_ERRORS: Errors = &[
    // AddOffsetsToTxn
    (
        &[25],
        &[
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::CONCURRENT_TRANSACTIONS,
        ],
    ),
    // TxnOffsetCommit
    (
        &[28],
        &[
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            ErrorCode::REQUEST_TIMED_OUT,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::ILLEGAL_GENERATION,
            ErrorCode::UNKNOWN_MEMBER_ID,
            ErrorCode::TRANSACTION_ABORTABLE,
        ],
    ),
];

/// All APIs that the clients of the simulation use.
const APIS: &[i16] = &[0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 18, 22, 23, 24, 26, 68];
/// Besides, those of a relay.
const RELAY_APIS: &[i16] = &[25, 28];

/// Events until the storm is over.
pub async fn storm(plan: &Plan, broker: Arc<DevBroker>) {
    let chance = &mut plan.chance(1);
    let end = Instant::now() + plan.storm;
    while Instant::now() < end {
        sleep(plan.weather.events.mul_f64(chance.random())).await;
        event(plan, &broker, chance);
    }
    broker.faults().clear();
}

fn event(plan: &Plan, broker: &DevBroker, chance: &mut StdRng) {
    let times = chance.random_range(1..=4);
    // Without a relay there are no other dice than before there were relays.
    let relays = plan.relay.is_some();
    match chance.random_range(0..20) {
        0..3 => {
            let partition = chance.random_range(0..plan.partitions);
            let topic = if relays && chance.random_bool(0.5) { OUTPUT } else { TOPIC };
            let of = TopicPartition { topic: Topic::from(topic), partition };
            // Refused before the topic is there.
            let _ = broker.move_leader(&of, chance.random_range(1..=3));
        }
        3 => broker.move_coordinators(),
        4 => broker.faults().inject(Matching::api(3), times, Fault::Stale),
        5..12 => {
            let more: Errors = if relays { RELAY_ERRORS } else { &[] };
            let Some((apis, errors)) = [ERRORS, more].concat().choose(chance).copied() else { return };
            let (Some(api), Some(error)) = (apis.choose(chance), errors.choose(chance)) else { return };
            broker.faults().inject(Matching::api(*api), times, Fault::Error(*error));
        }
        _ => {
            let fault = accident(chance);
            let more: &[i16] = if relays { RELAY_APIS } else { &[] };
            let api = [APIS, more].concat().choose(chance).copied().unwrap_or(0);
            broker.faults().inject(Matching::api(api).broker(chance.random_range(1..=3)), times, fault);
        }
    }
}

fn accident(chance: &mut StdRng) -> Fault {
    match chance.random_range(0..6) {
        0 => Fault::Delay(Duration::from_millis(chance.random_range(1..4_000))),
        1 => Fault::Disconnect,
        2 => Fault::DisconnectAfter,
        3 => Fault::Truncate(chance.random_range(0..60)),
        4 => Fault::Split(chance.random_range(1..60)),
        _ => Fault::Throttle(Duration::from_millis(chance.random_range(1..1_000))),
    }
}
