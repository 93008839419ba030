//! `highwater users`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Asking, Printing};

#[derive(Debug, Subcommand)]
pub enum Users {
    /// Show which SCRAM credentials users have; all who have any, if nobody is named
    #[command(visible_alias = "list")]
    Describe(DescribeUsers),
    /// Give users a password, new ones or those there are; it is read from a file, or else from standard input
    #[command(visible_alias = "create")]
    Alter(AlterUsers),
    /// Take SCRAM credentials from users
    Delete(DeleteUsers),
}

#[derive(Debug, Args)]
pub struct DescribeUsers {
    /// Which users
    #[arg(value_name = "USER")]
    pub users: Vec<String>,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct AlterUsers {
    /// Which users; several get the same password
    #[arg(required = true, value_name = "USER")]
    pub users: Vec<String>,
    /// What the password is for; may be repeated
    #[arg(
        long = "mechanism",
        value_enum,
        ignore_case = true,
        value_delimiter = ',',
        value_name = "MECHANISM",
        default_value = "SCRAM-SHA-256"
    )]
    pub mechanisms: Vec<ScramMechanism>,
    /// How often it is hashed: more is slower to guess, and to log in with
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(4096..=16384))]
    pub iterations: u32,
    /// A file with the password in it, and a line end at most; without this it is read from standard input
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct DeleteUsers {
    /// Which users
    #[arg(required = true, value_name = "USER")]
    pub users: Vec<String>,
    /// Only the credentials for this; may be repeated [default: all they have]
    #[arg(long = "mechanism", value_enum, ignore_case = true, value_delimiter = ',', value_name = "MECHANISM")]
    pub mechanisms: Vec<ScramMechanism>,
    /// Take nothing, and show what would be taken
    #[arg(long, alias = "dry")]
    pub dry_run: bool,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

/// By the names that Kafka has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScramMechanism {
    #[value(name = "SCRAM-SHA-256")]
    Sha256,
    #[value(name = "SCRAM-SHA-512")]
    Sha512,
}
