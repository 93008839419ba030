//! SIGINT and SIGTERM: the first asks for an orderly stop, the second for one at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::failure::{Failure, Status};

/// 128 + SIGINT, as a shell reports it.
const INTERRUPTED: i32 = 130;

/// A token that the first signal cancels. The second ends the process where it stands: what was acknowledged is safe in
/// Kafka, and what was not will be read again.
pub fn stop_on_signal() -> Result<CancellationToken, Failure> {
    let listen = |kind| signal(kind).map_err(Failure::of(Status::Os));
    let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    tokio::spawn(watch(interrupt, terminate, stop.clone()));
    Ok(stop)
}

async fn watch(mut interrupt: Signal, mut terminate: Signal, stop: CancellationToken) {
    for signals in 1.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if signals > 1 {
            eprintln!("highwater: stopped at once, at the second signal");
            std::process::exit(INTERRUPTED);
        }
        stop.cancel();
    }
}
