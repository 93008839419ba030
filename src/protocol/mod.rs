//! The wire, and only the wire: no sockets, no clock, no retries.

pub mod api;
pub mod batch;
pub mod compression;
pub mod error;
pub mod group;
pub mod message;
pub mod messages;
pub mod murmur;
pub mod sasl;
pub mod types;
