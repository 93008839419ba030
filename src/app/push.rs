//! Pushing metrics as a room: what it is called among its kind, and its place among the others.

use std::net::SocketAddr;

use super::room::Room;
use super::{Failure, Status};
use crate::telemetry::Telemetry;
use crate::telemetry::otlp::{Config, Exporter};

/// `None` where nothing is to be pushed.
pub(super) fn exporter(config: &Config, telemetry: &Telemetry) -> Result<Option<Exporter>, Failure> {
    Exporter::new(config, telemetry).map_err(Failure::of(Status::Config))
}

/// Pushes for as long as the room is open, in the name of the place where the same can be scraped.
pub(super) fn start(exporter: Exporter, scraped_at: std::io::Result<SocketAddr>) -> Room {
    let instance = instance(host(), scraped_at.ok().map(|address| address.port()));
    Room::start("OTLP push", |stop| async move { exporter.run(&instance, stop).await })
}

/// Host and port, as Prometheus names whom it scrapes: the same after a restart, so that its series go on. Where a machine
/// does not say its name, one that is like no other.
fn instance(host: Option<String>, port: Option<u16>) -> String {
    match (host, port) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        _ => uuid::Uuid::new_v4().to_string(),
    }
}

fn host() -> Option<String> {
    let said = std::env::var("HOSTNAME").ok();
    let kept = || {
        ["/proc/sys/kernel/hostname", "/etc/hostname"].into_iter().find_map(|file| std::fs::read_to_string(file).ok())
    };
    said.or_else(kept).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_pushes_has_a_name() {
        assert_eq!(instance(Some("a".to_owned()), Some(9308)), "a:9308");
        let drawn = [instance(None, Some(1)), instance(None, Some(1)), instance(Some("a".to_owned()), None)];
        assert!(drawn.iter().all(|it| it.len() == 36) && drawn[0] != drawn[1], "{drawn:?}");
    }
}
