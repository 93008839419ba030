//! Arguments → logging → the work → an exit status.

use std::io::IsTerminal;
use std::process::ExitCode;

use highwater::app::{Failure, Status};
use highwater::cli::{Cli, Command, Logging};
use highwater::{commands, telemetry};

/// What is logged unless asked for otherwise: of libraries only what went wrong.
const NORMAL: &str = "warn,highwater=info";
/// A live line in a terminal is not written through by every step that went well, and neither is an answer.
const QUIET: &str = "warn";

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match log(&cli).and_then(|()| commands::run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.status != Status::BrokenPipe {
                eprintln!("highwater: {failure}");
            }
            failure.into()
        }
    }
}

/// Help and version are answers, not mistakes.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed standard output leaves nobody to tell.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(Status::Usage.code()) } else { ExitCode::SUCCESS }
}

fn log(cli: &Cli) -> Result<(), Failure> {
    let Logging { log_level, log_format } = &cli.logging;
    let quiet = match cli.command {
        Command::Up(_) => std::io::stdout().is_terminal(),
        Command::Broker(_) | Command::Generate(_) => false,
        Command::Lag(ref args) => args.once || args.watch,
        _ => true,
    };
    let filter = log_level.as_deref().unwrap_or(if quiet { QUIET } else { NORMAL });
    telemetry::init_logging(filter, *log_format).map_err(Failure::of(Status::Usage))
}
