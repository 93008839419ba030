//! `highwater produce` and `highwater consume`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Asking;
use super::values::{Bound, Header};

#[derive(Debug, Args)]
pub struct Produce {
    /// Read records from this file rather than from standard input; `-` is standard input
    pub file: Option<PathBuf>,
    /// Where to
    #[arg(short = 't', long, value_name = "TOPIC")]
    pub topic: String,
    /// To this partition [default: by the key, as the Java client does]
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// Give every record this key
    #[arg(short = 'k', long, value_name = "KEY", conflicts_with = "key_delimiter")]
    pub key: Option<String>,
    /// What stands between key and value in each line; a line without it has no key
    #[arg(short = 'K', long, value_name = "TEXT", conflicts_with = "format")]
    pub key_delimiter: Option<String>,
    /// Give every record this header; may be repeated
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE")]
    pub headers: Vec<Header>,
    /// What a line holds, e.g. '%k:%v' or '%p %T %k %v'; `json` for what `consume --output json` prints
    #[arg(short = 'f', long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Pack batches [default: none]
    #[arg(short = 'z', long, value_enum, value_name = "CODEC")]
    pub compression: Option<Codec>,
    /// An empty value is a null value (a tombstone), and an empty key no key
    #[arg(short = 'Z', long)]
    pub null: bool,
    /// Print where each record was written
    #[arg(short = 'v', long)]
    pub verbose: bool,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum RecordOutput {
    /// As --format says
    #[default]
    Text,
    /// A JSON object a line; bytes that are no UTF-8 in base64
    Json,
}

#[derive(Debug, Args)]
pub struct Consume {
    /// Topics, partitions of them, or every topic that a regular expression finds (`^logs-`), but for internal ones; a
    /// group also reads those that are made later
    #[arg(required_unless_present = "named", value_name = "TOPIC[:P,P]|^REGEX")]
    pub topics: Vec<String>,
    /// The same, as it is said to kcat and to Kafka's console consumer; may be repeated
    #[arg(short = 't', long = "topic", value_name = "TOPIC[:P,P]|^REGEX")]
    pub named: Vec<String>,
    /// Take every TOPIC as a regular expression, with or without the ^
    #[arg(short = 'r', long)]
    pub regex: bool,
    /// Where to begin in each partition: start, end, an offset N, N records before the end (-N) or after the start (+N), or
    /// @TIME; e@TIME is where to stop [default: start]
    #[arg(short = 'o', long = "offset", value_name = "PLACE", allow_hyphen_values = true)]
    pub offsets: Vec<Bound>,
    /// Stop at the end, rather than wait for more
    #[arg(short = 'e', long)]
    pub exit: bool,
    /// Stop after this many records
    #[arg(short = 'c', long, alias = "num", value_name = "N")]
    pub count: Option<u64>,
    /// What to print of a record: %k key, %v or %s value, %h headers, %t topic, %p partition, %o offset, %T time in ms, %K and %S
    /// the bytes of key and value, %%; \n, \t, \xNN
    #[arg(short = 'f', long, value_name = "FORMAT", default_value = "%v\\n", conflicts_with = "output")]
    pub format: String,
    /// Print null keys and values as NULL rather than as nothing
    #[arg(short = 'Z', long)]
    pub null: bool,
    /// How records are printed
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub output: RecordOutput,
    /// Read as a member of this group, which commits what was printed
    #[arg(short = 'g', short_alias = 'G', long, value_name = "GROUP")]
    pub group: Option<String>,
    #[command(flatten)]
    pub membership: Membership,
    #[command(flatten)]
    pub asking: Asking,
}

/// How a group is read as.
#[derive(Debug, Clone, Args)]
pub struct Membership {
    /// How the members of the group come to their partitions: by agreement, from the broker (Kafka 4.0 and later), or
    /// whichever the group does already [default: classic]
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    pub group_protocol: Option<Protocol>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    Classic,
    Consumer,
    Auto,
}
