//! The HTTP door: records in over HTTP, and where they would go.
//!
//! A request flows: limits (size, concurrency, time) → the body is read as events, all of them or none → each becomes a
//! record with its source as key → producer → a result for each record, with the partition and offset the cluster gave.
//!
//! What must stay true: `201` is said only of records that every in-sync replica has; nothing is sent of a body of which
//! any part is wrong; a broker's refusal becomes an HTTP status in `error.rs` and nowhere else. Deliberately absent: any
//! state between requests but the last sources seen, and any knowledge of who reads the topics.

mod error;
mod event;
mod logs;
mod mapping;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use serde::Deserialize;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::client::{Client, Producer, Topic};
use crate::limits::Limits;

pub use metrics::{Counters, Metrics};

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where `POST /api/logs` puts its records.
    pub topic: Topic,
    /// A larger body is answered 413.
    pub body_bytes_max: usize,
    /// Requests worked on at once; one more is answered 503 at once, rather than queued out of sight.
    pub concurrent_max: usize,
    /// A request that takes longer is answered 503; what it sent may still arrive.
    pub timeout_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { topic: Topic::from("log-events"), body_bytes_max: 8 << 20, concurrent_max: 256, timeout_seconds: 30 }
    }
}

impl Config {
    /// Holds what was set against what makes sense.
    pub fn check(&self, limits: &mut Limits) {
        limits.topic("topic", &self.topic);
        limits.within("body_bytes_max", self.body_bytes_max, 1..=1 << 30);
        limits.within("concurrent_max", self.concurrent_max, 1..=1_000_000);
        limits.within("timeout_seconds", self.timeout_seconds, 1..=3_600);
    }
}

/// What every handler shares.
#[derive(Debug, Clone)]
struct Gateway {
    topic: Topic,
    client: Client,
    producer: Producer,
    metrics: Metrics,
    sources: Arc<mapping::RecentSources>,
}

/// The routes of the gateway. `client` answers how many partitions there are; `producer` sends.
pub fn router(config: &Config, client: Client, producer: Producer, metrics: Metrics) -> Router {
    let sources = Arc::default();
    let gateway = Gateway { topic: config.topic.clone(), client, producer, metrics, sources };
    // Outermost first: a panic is still an answer; a full house is answered before the body is read.
    let limits = ServiceBuilder::new()
        .layer(CatchPanicLayer::new())
        .layer(HandleErrorLayer::new(error::overloaded))
        .load_shed()
        .concurrency_limit(config.concurrent_max)
        .timeout(Duration::from_secs(config.timeout_seconds));
    Router::new()
        .route("/api/logs", post(logs::post))
        .route("/api/partition-mapping", get(mapping::get))
        .route("/api/logs/partition-mapping", get(mapping::get))
        .layer(DefaultBodyLimit::max(config.body_bytes_max))
        .layer(limits)
        .with_state(gateway)
}
