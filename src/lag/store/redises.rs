//! The servers that tests of this room are played on.

use super::RedisPlace;

/// Held by tests that have servers forget their scripts: a script that is given again stays until it has been called.
pub static FORGETFUL: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

pub fn redis_at(url: &str) -> RedisPlace {
    RedisPlace { url: url.into(), tls: crate::client::TlsOptions::default() }
}

/// The Redis that `HIGHWATER_TEST_REDIS` names; without one, a test says that it is skipped.
pub fn redis_of_tests() -> Option<String> {
    named("HIGHWATER_TEST_REDIS")
}

/// That one, and the cluster that `HIGHWATER_TEST_REDIS_CLUSTER` names: what a test says of one it says of the other.
pub fn redises_of_tests() -> Vec<String> {
    [redis_of_tests(), named("HIGHWATER_TEST_REDIS_CLUSTER")].into_iter().flatten().collect()
}

fn named(variable: &str) -> Option<String> {
    crate::tls::install_provider().expect("the only provider");
    let url = std::env::var(variable).ok();
    if url.is_none() {
        eprintln!("skipped: {variable} names no Redis");
    }
    url
}
