//! What is kept in Redis: the history, so that a monitor that starts anew knows what came before it; and who is there, where
//! several monitors share the groups.

mod kept;
mod mirror;
mod redis;
#[cfg(test)]
pub(super) mod redises;
mod registry;

pub use mirror::Mirror;
pub use redis::{Life, RedisPlace, RedisStore, StoreError};
pub use registry::RedisRegistry;
