//! SIGINT and SIGTERM: the first asks for an orderly stop, the second for one at once. That there is one is said where stopping
//! takes a while.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::failure::{Failure, Status};

/// 128 + SIGINT, as a shell reports it.
const INTERRUPTED: i32 = 130;
/// What comes so soon after the first signal is the same wish: `timeout` signals its command, and then the command's group.
const TOGETHER: Duration = Duration::from_millis(300);
/// Most have stopped by then, and need not be told how to stop.
const A_WHILE: Duration = Duration::from_secs(1);

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
    let (mut first, mut is_said): (Option<Instant>, bool) = (None, false);
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = sleep(A_WHILE), if first.is_some() && !is_said => {
                is_said = true;
                eprintln!("highwater: stopping: what is in flight is worked off first; a second signal stops at once");
                continue;
            }
        }
        if first.get_or_insert_with(Instant::now).elapsed() > TOGETHER {
            eprintln!("highwater: stopped at once, at the second signal");
            std::process::exit(INTERRUPTED);
        }
        stop.cancel();
    }
}
