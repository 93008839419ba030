//! A Kafka client, lag monitor, record pipeline, document sink, gateway and dev broker in one static binary, without C.
//!
//! | room | may use |
//! |---|---|
//! | [`protocol`], `tls`, `task` | nothing of ours |
//! | `client`, `devbroker` | `protocol`, `tls`, `task`; never each other |
//! | `lag`, `pipeline`, `sink`, `generator`, `gateway` | `client`, `task`; never a sister |
//! | `telemetry` | `task` |
//! | `config` | each room's `Config` |
//! | `app`, `commands` | everything; the only places where rooms meet |
//!
//! `protocol-tests/tests/layout.rs` holds this table.

pub mod client;
pub mod devbroker;
pub mod gateway;
pub mod generator;
pub mod lag;
pub mod pipeline;
pub mod protocol;
pub mod sink;
pub mod task;
pub mod telemetry;
pub mod tls;
