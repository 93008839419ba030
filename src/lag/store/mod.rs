//! What is kept in Redis: the history, so that a monitor that starts anew knows what came before it; and who is there, where
//! several monitors share the groups.

mod kept;
mod mirror;
mod redis;
mod registry;

pub use mirror::Mirror;
pub use redis::{Life, RedisPlace, RedisStore, StoreError};
pub use registry::RedisRegistry;

#[cfg(test)]
pub(super) fn redis_at(url: &str) -> RedisPlace {
    RedisPlace { url: url.into(), tls: crate::client::TlsOptions::default() }
}

/// The Redis that `HIGHWATER_TEST_REDIS` names; without one, a test says that it is skipped.
#[cfg(test)]
pub(super) fn redis_of_tests() -> Option<String> {
    crate::tls::install_provider().expect("the only provider");
    let url = std::env::var("HIGHWATER_TEST_REDIS").ok();
    if url.is_none() {
        eprintln!("skipped: HIGHWATER_TEST_REDIS names no Redis");
    }
    url
}
