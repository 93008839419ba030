//! `highwater up`: every room in one process.

use std::io::{IsTerminal, Write as _, stdout};
use std::time::Duration;

use tokio::time::{Instant, interval, sleep, timeout};

use super::house::{Doors, House};
use super::summary::{Live, Verdict};
use super::{Failure, Status, say, settings, stop_on_signal};
use crate::cli;

/// How long stopping may take in all.
const STOP: Duration = Duration::from_secs(28);
/// Between two live lines: in a terminal one line is written over and over, elsewhere each stays.
const LIVE_TERMINAL: Duration = Duration::from_secs(1);
const LIVE_PLAIN: Duration = Duration::from_secs(5);

/// Runs until a signal, the end of `--duration`, or a room that cannot go on; then stops in order and gives account.
pub async fn up(args: cli::Up) -> Result<(), Failure> {
    let stop = stop_on_signal()?;
    let config = settings::of_up(&args)?;
    let doors = Doors::open(&args).await?;
    let began = Instant::now();
    let Some(house) = stop.run_until_cancelled(House::build(&args, config)).await.transpose()? else { return Ok(()) };
    say(house.where_to_look(&args, &doors));
    if args.generate.is_none() && !args.generates() {
        say("nothing is generated, as only KAFKA_BOOTSTRAP_SERVERS names the cluster; --generate on says otherwise");
    }
    let mut rooms = house.start(doors, args.generates());
    let failed = tokio::select! {
        () = stop.cancelled() => None,
        () = after(args.duration) => {
            rooms.stop_feeding().await;
            tokio::select! {
                () = stop.cancelled() => None,
                () = house.drain() => None,
                failure = rooms.failed() => Some(failure),
                () = show_live(&house) => None,
            }
        }
        failure = rooms.failed() => Some(failure),
        () = show_live(&house) => None,
    };
    let stopped = timeout(STOP, house.stop(rooms)).await;
    let Ok(account) = stopped else {
        let unstopped =
            format!("stopped after {} s with records in flight; they are read again at the next start", STOP.as_secs());
        return Err(failed.unwrap_or_else(|| Failure::new(Status::Unavailable, unstopped)));
    };
    say(format_args!("after {:.1} s\n{account}", began.elapsed().as_secs_f64()));
    match (failed, account.verdict()) {
        (Some(failure), _) => Err(failure),
        (None, verdict @ Verdict::Missing { .. }) => Err(Failure::new(Status::Software, verdict)),
        (None, verdict @ Verdict::Unknown) => Err(Failure::new(Status::Unavailable, verdict)),
        (None, _) => Ok(()),
    }
}

async fn after(duration: Option<Duration>) {
    match duration {
        Some(duration) => sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Writes a line every so often, for as long as it is polled.
async fn show_live(house: &House) {
    let terminal = stdout().is_terminal();
    let mut ticks = interval(if terminal { LIVE_TERMINAL } else { LIVE_PLAIN });
    let _line = terminal.then(LiveLine::begin);
    let (mut before, mut at) = (house.counts(), ticks.tick().await);
    loop {
        let tick = ticks.tick().await;
        let now = house.counts();
        let live = Live { now, before, since: tick - at, lag: house.lag() };
        match terminal {
            true => write_over(&live),
            false => say(live),
        }
        (before, at) = (now, tick);
    }
}

fn write_over(live: &Live) {
    let mut out = stdout().lock();
    let _ = write!(out, "\r\x1b[2K{live}").and_then(|()| out.flush());
}

/// The one line of a terminal that is written over: never wrapped, and ended when it is dropped.
struct LiveLine;

impl LiveLine {
    fn begin() -> Self {
        let _ = write!(stdout(), "\x1b[?7l");
        Self
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        say("\x1b[?7h");
    }
}
