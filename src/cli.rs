//! The command line as data: one variant a subcommand, and no behaviour.

pub mod acls;
mod asking;
mod bench;
mod groups;
mod lag;
mod otlp;
mod records;
mod topics;
pub mod transactions;
mod users;
pub mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use self::acls::{Acls, CreateAcls, DeleteAcls, ListAcls};
pub use self::asking::{Asking, Output, Printing};
pub use self::bench::{Bench, BenchConsume, BenchProduce};
pub use self::groups::{DeleteGroups, DeleteOffsets, DescribeGroups, Groups, ListGroups, ResetGroup, ResetTo};
pub use self::lag::Lag;
pub use self::otlp::Otlp;
pub use self::records::{Codec, Consume, Membership, Produce, Protocol, RecordOutput};
pub use self::topics::{
    AddPartitions, ConfigTopics, CreateTopics, DeleteRecords, DeleteTopics, DescribeTopics, ListTopics, PartitionCount,
    Topics,
};
pub use self::transactions::{
    AbortTransaction, DescribeProducers, DescribeTransactions, FenceTransactions, FindHanging, ListTransactions,
    Transactions,
};
pub use self::users::{AlterUsers, DeleteUsers, DescribeUsers, ScramMechanism, Users};
use crate::generator::{Rate, Shape};
use crate::limits::Url;
use crate::telemetry::LogFormat;

/// A Kafka client, lag monitor, record pipeline, document sink, gateway and dev broker in one binary.
#[derive(Debug, Parser)]
#[command(name = "highwater", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub logging: Logging,
}

impl Cli {
    /// Where it makes a difference, also whether something was typed or comes from the environment.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(words)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let (Command::Up(up), Some(said)) = (&mut cli.command, matches.subcommand_matches("up")) {
            up.settle(|name| said.value_source(name) == Some(ValueSource::CommandLine))?;
        }
        Ok(cli)
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct Logging {
    /// What to log: error, warn, info, debug or trace, also per module (`warn,highwater::client=debug`) [default: info,
    /// or warn for verbs that answer and where a live status is shown]
    #[arg(long, global = true, value_name = "FILTER", env = "LOG_LEVEL")]
    pub log_level: Option<String>,
    /// How log lines look; they go to standard error
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT", env = "LOG_FORMAT")]
    pub log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything: generate records, validate, forward or dead-letter them, store them, and watch the lag
    Up(Box<Up>),
    /// Run the embedded dev broker alone, for any Kafka client
    Broker(Broker),
    /// Send records to a cluster: made up, or the lines of a file
    Generate(Box<Generate>),
    /// Look at topics, and change them
    #[command(subcommand, alias = "topic")]
    Topics(Topics),
    /// Look at groups of consumers, and change what they have committed
    #[command(subcommand, alias = "group")]
    Groups(Groups),
    /// Look at transactions, and end those that hang
    #[command(subcommand, alias = "transaction")]
    Transactions(Box<Transactions>),
    /// Look at who may do what, and change it
    #[command(subcommand, alias = "acl")]
    Acls(Box<Acls>),
    /// Look at who has a SCRAM password, and change it
    #[command(subcommand, alias = "user")]
    Users(Box<Users>),
    /// How far behind groups are: served as metrics, or shown
    Lag(Box<Lag>),
    /// Describe the cluster and its brokers, or have leaders chosen anew
    Cluster(DescribeCluster),
    /// Write records, one a line
    Produce(Produce),
    /// Print records
    Consume(Consume),
    /// How fast a cluster takes and gives records
    #[command(subcommand)]
    Bench(Bench),
    /// Print what a shell needs to complete this command line, e.g. `source <(highwater completions bash)`
    Completions(Completions),
    /// Print the man page, or write one for each verb into a directory
    Man(Man),
}

#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for each verb here
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DescribeCluster {
    #[command(subcommand)]
    pub verb: Option<Box<ClusterVerb>>,
    #[command(flatten)]
    pub printing: Printing,
    /// Also what the brokers keep on their disks
    #[arg(long)]
    pub log_dirs: bool,
    #[command(flatten)]
    pub asking: Asking,
}

#[derive(Debug, Subcommand)]
pub enum ClusterVerb {
    /// Have the leaders of partitions chosen anew, so that each is again the first of its replicas
    ElectLeaders(ElectLeaders),
}

#[derive(Debug, Args)]
pub struct ElectLeaders {
    /// Topics, or partitions of them
    #[arg(required_unless_present = "all", value_name = "TOPIC[:P,P]")]
    pub topics: Vec<values::Partitions>,
    /// All partitions of all topics
    #[arg(short = 'a', long, alias = "all-topic-partitions", conflicts_with = "topics")]
    pub all: bool,
    /// Where no replica is in sync, let any live one lead: what it has not copied is lost
    #[arg(long)]
    pub unclean: bool,
    #[command(flatten)]
    pub printing: Printing,
    #[command(flatten)]
    pub asking: Asking,
}

/// Which cluster, and how to reach it.
#[derive(Debug, Clone, Args)]
pub struct Cluster {
    /// Kafka brokers to ask first, as HOST:PORT, separated by commas
    #[arg(short = 'b', long, value_name = "HOST:PORT", value_delimiter = ',', env = "KAFKA_BOOTSTRAP_SERVERS")]
    pub bootstrap_server: Vec<String>,
    /// Speak TLS, and trust the machine's certificate authorities
    #[arg(long, requires = "bootstrap_server")]
    pub tls: bool,
    /// Speak TLS, and trust the certificate authorities of this PEM file
    #[arg(long, value_name = "FILE", requires = "bootstrap_server")]
    pub tls_ca: Option<PathBuf>,
    /// Speak TLS, and show this certificate (PEM, with those that signed it); a renewed file is used by new connections
    #[arg(long, value_name = "FILE", requires_all = ["bootstrap_server", "tls_key"])]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires_all = ["bootstrap_server", "tls_cert"])]
    pub tls_key: Option<PathBuf>,
    /// Speak TLS, and expect the brokers' certificates to be for this name rather than for the one they are reached by
    #[arg(long, value_name = "NAME", requires = "bootstrap_server")]
    pub tls_server_name: Option<String>,
    /// Prove who we are by SASL; the password comes from --sasl-password-file or from HIGHWATER_SASL_PASSWORD
    #[arg(long, value_enum, ignore_case = true, value_name = "MECHANISM", requires = "bootstrap_server")]
    pub sasl_mechanism: Option<SaslMechanism>,
    /// The user, for PLAIN and SCRAM; for OAUTHBEARER with a token endpoint, the client id
    #[arg(long, value_name = "NAME", requires = "sasl_mechanism")]
    pub sasl_username: Option<String>,
    /// A file with the password, or the client's secret, in it, read anew for each connection
    #[arg(long, value_name = "FILE", requires = "sasl_mechanism")]
    pub sasl_password_file: Option<PathBuf>,
    /// A file with the token for OAUTHBEARER in it, read anew for each connection
    #[arg(long, value_name = "FILE", requires = "sasl_mechanism", conflicts_with = "sasl_token_endpoint")]
    pub sasl_token_file: Option<PathBuf>,
    /// Where OAUTHBEARER tokens are had by client credentials (OpenID Connect), e.g. https://idp.example/oauth2/token
    #[arg(long, value_name = "URL", requires_all = ["sasl_mechanism", "sasl_username"])]
    pub sasl_token_endpoint: Option<String>,
    /// The scope that tokens are asked for with
    #[arg(long, value_name = "SCOPE", requires = "sasl_token_endpoint")]
    pub sasl_scope: Option<String>,
    /// Trust the certificate authorities of this PEM file at the token endpoint, rather than the machine's
    #[arg(long, value_name = "FILE", requires = "sasl_token_endpoint")]
    pub sasl_token_ca: Option<PathBuf>,
}

/// By the names that Kafka has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SaslMechanism {
    #[value(name = "PLAIN")]
    Plain,
    #[value(name = "SCRAM-SHA-256")]
    ScramSha256,
    #[value(name = "SCRAM-SHA-512")]
    ScramSha512,
    #[value(name = "OAUTHBEARER")]
    OAuthBearer,
}

#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub cluster: Cluster,
    /// Store documents in this MongoDB rather than in the embedded store, e.g. mongodb://127.0.0.1:27017
    #[arg(long, value_name = "URI", env = "MONGODB_URI", hide_env_values = true)]
    pub mongodb: Option<Url>,
    /// Keep the lag history in this Redis too, so that it outlives a restart, e.g. redis://127.0.0.1:6379
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true)]
    pub redis: Option<Url>,
    /// Whether to generate records; `off` leaves the topics to other clients [default: on, but off in a cluster that only
    /// KAFKA_BOOTSTRAP_SERVERS names]
    #[arg(long, value_enum, value_name = "ON|OFF")]
    pub generate: Option<Switch>,
    #[command(flatten)]
    pub load: Load,
    /// Stop by itself after this long, e.g. 30s, 5m, 1h, and print a summary
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    pub duration: Option<Duration>,
    /// Where the embedded broker and the embedded store keep their data; a restart goes on from it [default:
    /// ./highwater-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the embedded broker listens, which there is where no cluster is named
    #[arg(long, value_name = "ADDR:PORT", value_parser = values::listen, default_value = "127.0.0.1:9092")]
    pub listen: SocketAddr,
    /// Whether the cluster was typed.
    #[arg(skip)]
    names_cluster: bool,
    /// Where the gateway listens (POST /api/logs, GET /api/consumer/lag, GET /api/partition-mapping)
    #[arg(long, value_name = "ADDR:PORT", value_parser = values::listen, default_value = "127.0.0.1:8080")]
    pub gateway_listen: SocketAddr,
    /// Where /metrics, /livez and /readyz are served
    #[arg(long, value_name = "ADDR:PORT", value_parser = values::listen, default_value = "127.0.0.1:9308")]
    pub metrics_listen: SocketAddr,
    #[command(flatten)]
    pub fsync: FsyncArg,
    /// Settings of each room, in TOML; a flag wins over the file
    #[arg(long, value_name = "FILE", env = "HIGHWATER_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub otlp: Otlp,
}

impl Up {
    /// A cluster that only the environment names was not meant to be written to by whoever wants to look at this program.
    pub fn generates(&self) -> bool {
        match self.generate {
            Some(switch) => switch == Switch::On,
            None => self.names_cluster || self.cluster.bootstrap_server.is_empty(),
        }
    }

    fn settle(&mut self, is_typed: impl Fn(&str) -> bool) -> Result<(), clap::Error> {
        self.names_cluster = is_typed("bootstrap_server");
        if is_typed("listen") && !self.cluster.bootstrap_server.is_empty() {
            let servers = self.cluster.bootstrap_server.join(",");
            let by = if self.names_cluster { "-b" } else { "KAFKA_BOOTSTRAP_SERVERS" };
            let message =
                format!("--listen is of the embedded broker, and there is none where {by} names a cluster ({servers})");
            return Err(Cli::command().error(ErrorKind::ArgumentConflict, message));
        }
        Ok(())
    }
}

/// What the generator makes.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// Records a second, or `max` [default: 27.8, which is 100,000 an hour]
    #[arg(long, value_name = "N|max")]
    pub rate: Option<Rate>,
    /// The same seed makes the same records [default: drawn, and logged]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The share of logins that must be refused, from 0 to 1 [default: 0.05]
    #[arg(long, value_name = "RATIO", value_parser = ratio)]
    pub invalid_ratio: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub struct Broker {
    /// Where to listen
    #[arg(long, value_name = "ADDR:PORT", value_parser = values::listen, default_value = "127.0.0.1:9092")]
    pub listen: SocketAddr,
    /// Keep topics, groups and offsets here; without it all is in memory and ends with the process
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub fsync: FsyncArg,
    #[command(flatten)]
    pub door: Door,
    /// Partitions of a topic that is made without saying how many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    pub default_partitions: i32,
    /// Whose versions of the protocol to speak: to try what a client does with an older or another cluster
    #[arg(long, value_enum, default_value_t)]
    pub profile: Profile,
}

/// As typed; `app` turns it into the broker's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    #[default]
    #[value(name = "kafka-4.3")]
    Kafka43,
    #[value(name = "kafka-3.9")]
    Kafka39,
    #[value(name = "kafka-2.8")]
    Kafka28,
    #[value(name = "redpanda-24")]
    Redpanda24,
    #[value(name = "redpanda-25")]
    Redpanda25,
}

/// What clients of the dev broker are asked for.
#[derive(Debug, Clone, Args)]
pub struct Door {
    /// Speak TLS, with this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Ask clients for a certificate of these certificate authorities (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// Ask clients who they are, by PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, or OAUTHBEARER with unsecured tokens; known are
    /// the users of this file, one NAME:PASSWORD a line
    #[arg(long, value_name = "FILE")]
    pub sasl_users: Option<PathBuf>,
    /// How long clients are believed before they must prove it again, e.g. 1h [default: as long as they stay]
    #[arg(long, value_name = "TIME", value_parser = values::span, requires = "sasl_users")]
    pub sasl_session: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct FsyncArg {
    /// When the embedded broker's writes are on the disk: `always` before they are acknowledged, `never` when the system
    /// likes, or at least every so often, e.g. 1s. A killed process loses nothing either way; a power cut may
    #[arg(long, value_name = "always|never|TIME", default_value = "1s", value_parser = fsync)]
    pub fsync: Fsync,
}

/// As typed; `app` turns it into the broker's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    Always,
    Never,
    Every(Duration),
}

/// What says which records are made up. A flag of `--input` is refused beside these by name: clap does not ask for what would
/// conflict with what is there.
const MADE_UP: [&str; 5] = ["rate", "seed", "invalid_ratio", "shape", "count"];

#[derive(Debug, Args)]
pub struct Generate {
    #[command(flatten)]
    pub cluster: Cluster,
    #[command(flatten)]
    pub load: Load,
    /// Only this kind of record [default: all three in turn]
    #[arg(long, value_enum)]
    pub shape: Option<Shape>,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop after this long, e.g. 30s
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    pub duration: Option<Duration>,
    /// Send the lines of this file (NDJSON; `-` for standard input) rather than made-up records
    #[arg(long, value_name = "FILE", conflicts_with_all = MADE_UP)]
    pub input: Option<PathBuf>,
    /// The topic that --input goes to
    #[arg(short = 't', long, value_name = "NAME", default_value = "user-login")]
    #[arg(requires = "input", conflicts_with_all = MADE_UP)]
    pub topic: String,
    /// The top-level field of each line that becomes the record's key
    #[arg(short = 'k', long, value_name = "FIELD", requires = "input", conflicts_with_all = MADE_UP)]
    pub key_field: Option<String>,
    /// Send lines that are not JSON as they are, rather than stop at the first
    #[arg(long, requires = "input", conflicts_with_all = MADE_UP)]
    pub verbatim: bool,
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err(format!("{text:?} is not a ratio from 0 to 1")),
    }
}

fn fsync(text: &str) -> Result<Fsync, String> {
    match text {
        "always" => Ok(Fsync::Always),
        "never" => Ok(Fsync::Never),
        every => values::span(every)
            .map(Fsync::Every)
            .map_err(|_| format!("{text:?} is not `always`, `never` or a time like 1s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_help_shows_a_url_of_the_environment() {
        fn urls(command: &clap::Command, hidden: &mut Vec<bool>) {
            let is_url = |it: &&clap::Arg| it.get_value_parser().type_id() == std::any::TypeId::of::<Url>();
            hidden.extend(command.get_arguments().filter(is_url).map(clap::Arg::is_hide_env_values_set));
            command.get_subcommands().for_each(|command| urls(command, hidden));
        }
        let mut hidden = Vec::new();
        urls(&Cli::command(), &mut hidden);
        assert_eq!(hidden, [true; 3]);
    }

    /// Where the environment of the tests names no cluster.
    #[test]
    fn what_is_written_to_is_what_was_typed() {
        let check = |words: &str, want: Result<bool, ErrorKind>| {
            let words = ["highwater", "up"].into_iter().chain(words.split_whitespace()).map(OsString::from);
            let generates = Cli::read(words).map(|cli| match cli.command {
                Command::Up(up) => up.generates(),
                other => panic!("{other:?}"),
            });
            assert_eq!(generates.map_err(|error| error.kind()), want);
        };
        check("-b h:1", Ok(true));
        check("-b h:1 --generate off", Ok(false));
        check("-b h:1 --listen 127.0.0.1:1", Err(ErrorKind::ArgumentConflict));
        if std::env::var_os("KAFKA_BOOTSTRAP_SERVERS").is_none() {
            check("", Ok(true));
            check("--listen 127.0.0.1:1", Ok(true));
        }
        let mut up = match Cli::read(["highwater", "up", "-b", "h:1"].map(OsString::from)).unwrap().command {
            Command::Up(up) => up,
            other => panic!("{other:?}"),
        };
        up.settle(|_| false).unwrap();
        assert!(!up.generates(), "as if the environment had named it");
        assert!(up.settle(|name| name == "listen").is_err());
    }
}
