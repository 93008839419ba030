//! Verbs that end by themselves, or do one thing: each asks rooms, and prints.

mod broker;
mod generate;

pub use broker::broker;
pub use generate::generate;
