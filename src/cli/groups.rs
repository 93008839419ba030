//! `highwater groups`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::values::{Moment, Partitions, span};
use super::{Asking, Printing};

#[derive(Debug, Subcommand)]
pub enum Groups {
    /// List groups
    List(ListGroups),
    /// Describe groups: members, committed offsets, lag
    Describe(DescribeGroups),
    /// Delete groups that have no members, and what they have committed
    Delete(DeleteGroups),
    /// Forget what a group has committed for topics that it no longer reads
    DeleteOffsets(DeleteOffsets),
    /// Set what a group has committed; shows what would change unless told to --execute
    Reset(Box<ResetGroup>),
}

#[derive(Debug, Args)]
pub struct ListGroups {
    #[command(flatten)]
    pub printing: Printing,
    /// Only groups in one of these states, e.g. Stable,Empty
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',')]
    pub states: Vec<String>,
    /// Only groups of one of these types: classic, consumer, share, streams
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<String>,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct DescribeGroups {
    /// Which groups
    #[arg(required = true, value_name = "GROUP")]
    pub groups: Vec<String>,
    #[command(flatten)]
    pub printing: Printing,
    /// Show the members rather than the partitions
    #[arg(short = 'm', long)]
    pub members: bool,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct DeleteGroups {
    /// Which groups
    #[arg(required = true, value_name = "GROUP")]
    pub groups: Vec<String>,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct DeleteOffsets {
    /// Which group
    pub group: String,
    #[command(flatten)]
    pub printing: Printing,
    /// Which topics, or which partitions of them
    #[arg(short = 't', long = "topic", required = true, value_name = "TOPIC[:P,P]")]
    pub topics: Vec<Partitions>,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Args)]
pub struct ResetGroup {
    /// Which group
    pub group: String,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub to: ResetTo,
    /// Only these topics, or these partitions of them [default: all that the group has committed for]
    #[arg(short = 't', long = "topic", value_name = "TOPIC[:P,P]")]
    pub topics: Vec<Partitions>,
    /// Show what would change, and change nothing; this is the default
    #[arg(long, conflicts_with = "execute")]
    pub dry_run: bool,
    /// Do it
    #[arg(long)]
    pub execute: bool,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct ResetTo {
    /// To the first record there is
    #[arg(long)]
    pub to_earliest: bool,
    /// After the last record there is
    #[arg(long)]
    pub to_latest: bool,
    /// To this offset, or the nearest there is
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,
    /// To the first record at or after this moment, e.g. 2026-01-31T08:00:00Z; in UTC unless a zone is given
    #[arg(long, value_name = "TIME")]
    pub to_datetime: Option<Moment>,
    /// To the first record of the last so long, e.g. 1h30m, 2d or PT1H30M
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub by_duration: Option<Duration>,
    /// So many records ahead of what is committed; below zero, back
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub shift_by: Option<i64>,
}
