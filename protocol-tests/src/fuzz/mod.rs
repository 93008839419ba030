//! Everything of ours that reads bytes which somebody else has written, as functions of bytes alone: a [`Target`] takes any
//! bytes, and must come back, with an error or a value, for a bounded price.
//!
//! `tests/hostile.rs` drives them without more than Rust: valid encodings as seeds, [`mutate`] to spoil them. For libFuzzer a
//! crate of three lines a target does: `fuzz_target!(|bytes: &[u8]| (protocol_tests::fuzz::target("responses").run)(bytes));`

mod corpus;
pub mod mutate;
mod tape;
mod targets;

use bytes::Bytes;

pub use corpus::{Message, messages};

/// Something that reads bytes.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Bytes that are as they should be.
    pub seeds: fn() -> Vec<Bytes>,
    /// The most memory that it may hold at any time: for each byte of the input, and besides.
    pub bytes_each: usize,
    pub bytes_besides: usize,
}

/// What a compressed batch may unpack to, here.
pub const UNPACKED_MAX: usize = 1 << 20;

/// All there are.
pub fn targets() -> &'static [Target] {
    targets::ALL
}

/// The one of that name.
///
/// # Panics
/// If there is none.
pub fn target(name: &str) -> &'static Target {
    let found = targets().iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("no target is called {name}"))
}
