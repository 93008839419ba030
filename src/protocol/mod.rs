//! The wire, and only the wire: no sockets, no clock, no retries.

pub mod message;
pub mod types;
