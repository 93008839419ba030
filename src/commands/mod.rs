//! Verbs that end by themselves, or do one thing: each asks rooms, and prints.
//!
//! Answers go to standard output, as a table or as JSON; everything else goes to standard error. A verb about many things
//! does what it can, says what it could not, and ends with the status of the first failure.

mod acls;
mod bench;
mod broker;
mod cluster;
mod completions;
mod consume;
mod delete_records;
mod describe;
mod elect_leaders;
mod format;
mod generate;
mod groups;
mod hint;
mod lag;
mod output;
mod produce;
mod properties;
mod record_json;
mod reset;
mod session;
mod topics;
mod transactions;
mod users;
mod wanted;

use crate::app::{self, Failure, Status};
use crate::cli::Command;

/// Carries a command out, on a runtime of its own. Not `async`: a future is compiled where it is polled, and this one, with all
/// that it awaits, would be compiled once more in the program.
pub fn run(command: Command) -> Result<(), Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if matches!(command, Command::Lag(_)) {
        // A round is a few hundredths of a second of work; more threads would only each keep memory of it.
        runtime.worker_threads(1);
    }
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(Failure::of(Status::Os))?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Up(args) => app::up(*args).await,
            Command::Broker(args) => broker::broker(args).await,
            Command::Generate(args) => generate::generate(*args).await,
            Command::Topics(verb) => topics::topics(verb).await,
            Command::Groups(verb) => groups::groups(verb).await,
            Command::Transactions(verb) => transactions::transactions(*verb).await,
            Command::Acls(verb) => acls::acls(*verb).await,
            Command::Users(verb) => users::users(*verb).await,
            Command::Lag(args) => lag::lag(*args).await,
            Command::Cluster(args) => cluster::cluster(args).await,
            Command::Produce(args) => produce::produce(args).await,
            Command::Consume(args) => consume::consume(args).await,
            Command::Bench(verb) => bench::bench(verb).await,
            Command::Completions(args) => completions::completions(&args),
            Command::Man(args) => completions::man(&args),
        }
    });
    // Not waited for: a read from a terminal, which nothing ends.
    runtime.shutdown_background();
    outcome
}
