//! What every verb that asks a cluster can be told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Cluster;
use super::values::Setting;

/// Which cluster, and how to reach it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Asking {
    #[command(flatten)]
    pub cluster: Cluster,
    /// Properties one a line, as Java's tools take them; -X goes over them
    #[arg(short = 'F', long = "command-config", value_name = "FILE")]
    pub property_file: Option<PathBuf>,
    /// A property by its name in the Java client or in librdkafka, e.g. request.timeout.ms=5000
    #[arg(short = 'X', long = "property", value_name = "KEY=VALUE")]
    pub properties: Vec<Setting>,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct Printing {
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: Output,
}
