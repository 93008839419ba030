//! A Kafka client, lag monitor, record pipeline, document sink, gateway and dev broker in one static binary, without C.
//!
//! | room | may use |
//! |---|---|
//! | [`protocol`], `tls`, `task`, `trouble`, `limits` | nothing of ours |
//! | `net` | `tls` |
//! | `client`, `devbroker` | `protocol`, `tls`, `task`, and the client `net`, `trouble`; never each other |
//! | `lag`, `pipeline`, `sink`, `generator`, `gateway` | `client`, `task`, `trouble`, `limits`; never a sister |
//! | `telemetry` | `net`, `tls`, `task`, `limits` |
//! | `config` | each room's `Config`, `limits` |
//! | `app`, `commands` | everything; the only places where rooms meet |
//!
//! `protocol-tests/tests/layout.rs` holds this table. Where to start: [`docs::architecture`], then the front page of the room
//! you are in; [`docs::glossary`] has the words.

pub mod limits;
pub mod net;
pub mod protocol;
pub mod task;
pub mod tls;
pub mod trouble;

pub mod client;
pub mod devbroker;

pub mod gateway;
pub mod generator;
pub mod lag;
pub mod pipeline;
pub mod sink;
pub mod telemetry;

pub mod app;
pub mod cli;
pub mod commands;
pub mod config;

/// The pages of the house.
pub mod docs {
    #[doc = include_str!("docs/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("docs/glossary.md")]
    pub mod glossary {}
    #[doc = include_str!("docs/changelog.md")]
    pub mod changelog {}
}
