//! What is kept in Redis: the history, so that a monitor that starts anew knows what came before it; and who is there, where
//! several monitors share the groups.

mod redis;
mod registry;

pub use redis::{Life, RedisStore, StoreError};
pub use registry::RedisRegistry;
