//! The tracing subscriber: the one global of the program.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::Error;

/// How a log line looks. Both go to standard error, so that standard output stays for what was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For a person: aligned text, coloured in a terminal unless `NO_COLOR` is set.
    #[default]
    Pretty,
    /// For a collector: one JSON object a line.
    Json,
}

/// Installs the subscriber. `filter` is `info`, or per target as in `info,highwater::client=debug`.
pub fn init(filter: &str, format: LogFormat) -> Result<(), Error> {
    let refused = |reason| Error::Filter { filter: filter.to_owned(), reason };
    check_levels(filter).map_err(refused)?;
    let env_filter = EnvFilter::builder().parse(filter).map_err(|error| refused(error.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(env_filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr)
        // Of a standard error that is gone it would complain there, and that ends the program.
        .log_internal_errors(false);
    let installed = match format {
        LogFormat::Pretty => builder.with_ansi(colour()).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|_| Error::Logging)
}

/// A word alone would be taken for a module, and whoever mistypes a level would see nothing at all.
fn check_levels(filter: &str) -> Result<(), String> {
    let mut depth = 0_i32;
    // Not between the fields of a span.
    let parts = filter.split(|c| {
        depth += i32::from("[{".contains(c)) - i32::from("]}".contains(c));
        c == ',' && depth == 0
    });
    for word in parts.map(str::trim).filter(|word| !word.is_empty() && !word.contains(['=', '['])) {
        if word.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{word:?} is no level: error, warn, info, debug, trace or off; of a module, {word}=info"
            ));
        }
    }
    Ok(())
}

fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_alone_is_a_level() {
        let check = |filter: &str, well: bool| assert_eq!(check_levels(filter).is_ok(), well, "{filter}");
        for filter in [
            "info",
            "WARN,highwater=info",
            "off",
            "warn, highwater::client=debug",
            "[span{field=1}]=debug",
            "info,[span{a,b}]",
            "",
        ] {
            check(filter, true);
        }
        for filter in ["bogus", "info,verbose", "highwater::client"] {
            check(filter, false);
        }
        let said = check_levels("bogus").unwrap_err();
        assert_eq!(said, "\"bogus\" is no level: error, warn, info, debug, trace or off; of a module, bogus=info");
    }
}
