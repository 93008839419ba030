//! Arguments → logging → the work → an exit status.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use highwater::app::{self, Failure, Status};
use highwater::cli::{Cli, Command, Logging};
use highwater::{commands, telemetry};

/// What is logged unless asked for otherwise: of libraries only what went wrong.
const NORMAL: &str = "warn,highwater=info";
/// A live line in a terminal is not written through by every step that went well, and neither is an answer.
const QUIET: &str = "warn";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match run(cli) {
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

fn run(cli: Cli) -> Result<(), Failure> {
    log(&cli)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, Command::Lag(_)) {
        // A round is a few hundredths of a second of work; more threads would only each keep memory of it.
        runtime.worker_threads(1);
    }
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(Failure::of(Status::Os))?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Up(args) => app::up(*args).await,
            Command::Broker(args) => commands::broker(args).await,
            Command::Generate(args) => commands::generate(*args).await,
            Command::Topics(verb) => commands::topics(verb).await,
            Command::Groups(verb) => commands::groups(verb).await,
            Command::Transactions(verb) => commands::transactions(*verb).await,
            Command::Acls(verb) => commands::acls(*verb).await,
            Command::Users(verb) => commands::users(*verb).await,
            Command::Lag(args) => commands::lag(*args).await,
            Command::Cluster(args) => commands::cluster(args).await,
            Command::Produce(args) => commands::produce(args).await,
            Command::Consume(args) => commands::consume(args).await,
            Command::Bench(verb) => commands::bench(verb).await,
            Command::Completions(args) => commands::completions(&args),
            Command::Man(args) => commands::man(&args),
        }
    });
    // Not waited for: a read from a terminal, which nothing ends.
    runtime.shutdown_background();
    outcome
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
