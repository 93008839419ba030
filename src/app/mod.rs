//! The composition root: the one place where rooms meet.
//!
//! [`up()`] builds every room from its configuration, hands each what it needs, and owns the order of starting (what
//! others stand on first) and of stopping (what feeds others first). Nothing starts itself.

mod account;
mod credentials;
mod failure;
mod house;
mod listen;
mod monitor;
mod others;
mod push;
mod room;
pub mod settings;
mod signals;
#[cfg(test)]
mod strict;
mod summary;
mod topics;
mod up;

pub use failure::{Failure, Status};
pub use listen::{Target, broker, connect};
pub use monitor::{Source, monitor};
pub use signals::stop_on_signal;
pub use topics::ensure_topics;
pub use up::up;

/// Writes a line for the user. Standard output that is gone (a closed pipe, a full disk) is no reason to stop working.
pub fn say(line: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}
