//! Where the history is kept beside memory, so that a monitor that starts anew knows what came before.

mod redis;

pub use redis::{Life, RedisStore, StoreError};
