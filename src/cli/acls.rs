//! `highwater acls`.

use clap::{Args, Subcommand, ValueEnum};

use super::{Asking, Printing};

#[derive(Debug, Subcommand)]
pub enum Acls {
    /// List the rules that match; all of them, if nothing is said
    List(ListAcls),
    /// Make rules: for every resource, principal, host and operation that is named
    Create(CreateAcls),
    /// Remove the rules that match
    Delete(DeleteAcls),
}

#[derive(Debug, Args)]
pub struct ListAcls {
    #[command(flatten)]
    pub rules: Rules,
    #[command(flatten)]
    pub matching: Matching,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct CreateAcls {
    #[command(flatten)]
    pub rules: Rules,
    /// How names are meant: as they are (`*` is all), or as what names begin with
    #[arg(long = "resource-pattern-type", value_enum, ignore_case = true, default_value_t, value_name = "KIND")]
    pub pattern: NamePattern,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct DeleteAcls {
    #[command(flatten)]
    pub rules: Rules,
    #[command(flatten)]
    pub matching: Matching,
    /// Remove nothing, and show what would be removed
    #[arg(long, alias = "dry")]
    pub dry_run: bool,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

/// Who may, or may not, do what with what; each may be given several times.
#[derive(Debug, Clone, Default, Args)]
pub struct Rules {
    /// Rules about this topic
    #[arg(long = "topic", value_name = "NAME")]
    pub topics: Vec<String>,
    /// Rules about this group
    #[arg(long = "group", value_name = "NAME")]
    pub groups: Vec<String>,
    /// Rules about this transactional id
    #[arg(long = "transactional-id", value_name = "NAME")]
    pub transactional_ids: Vec<String>,
    /// Rules about the cluster as a whole
    #[arg(long)]
    pub cluster: bool,
    /// Rules that allow this principal something, e.g. User:alice, or alice for short; * is everybody
    #[arg(long = "allow-principal", value_name = "PRINCIPAL")]
    pub allow_principals: Vec<String>,
    /// Rules that forbid this principal something
    #[arg(long = "deny-principal", value_name = "PRINCIPAL")]
    pub deny_principals: Vec<String>,
    /// Rules that allow something from this address [default: * for new ones]
    #[arg(long = "allow-host", value_name = "ADDRESS")]
    pub allow_hosts: Vec<String>,
    /// Rules that forbid something from this address [default: * for new ones]
    #[arg(long = "deny-host", value_name = "ADDRESS")]
    pub deny_hosts: Vec<String>,
    /// Rules about this operation, e.g. read,write,describe_configs
    #[arg(long = "operation", value_name = "OPERATION", value_delimiter = ',')]
    pub operations: Vec<String>,
}

/// What else rules are found by.
#[derive(Debug, Clone, Default, Args)]
pub struct Matching {
    /// Rules for this principal, whether they allow or forbid
    #[arg(long = "principal", value_name = "PRINCIPAL")]
    pub principals: Vec<String>,
    /// How names are meant: of rules of any kind, of literal ones, of prefixed ones; or `match`, of resources, to find all
    /// rules that apply to them
    #[arg(long = "resource-pattern-type", value_enum, ignore_case = true, default_value_t, value_name = "KIND")]
    pub pattern: NameFilter,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum NamePattern {
    #[default]
    Literal,
    Prefixed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum NameFilter {
    #[default]
    Any,
    Match,
    Literal,
    Prefixed,
}
