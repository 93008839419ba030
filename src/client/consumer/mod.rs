//! Reading as a member of a group. The pure hearts stand; the handle and its tasks join them.

pub mod assignor;
pub mod group;
pub mod progress;
