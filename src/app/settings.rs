//! What was typed, over what the file says.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Failure, Status};
use crate::cli::values::NamedCluster;
use crate::config::Config;
use crate::telemetry::otlp;
use crate::{cli, generator, lag, sink};

/// The defaults of `up` where they are not those of the rooms: the live line shows the lag of now.
const OF_UP: &str = "
[lag]
interval_seconds = 1
list_groups_every = 1
";
/// Where the embedded broker and the embedded store keep their data.
const DATA_DIR: &str = "./highwater-data";

/// The settings of `highwater up`.
pub(super) fn of_up(args: &cli::Up) -> Result<Config, Failure> {
    let mut config = read(args.config.as_deref(), OF_UP)?;
    load(&args.load, &mut config.generator);
    if args.redis.is_some() {
        config.lag.redis.clone_from(&args.redis);
    }
    if !config.lag.clusters.is_empty() {
        let message = "lag.clusters: `up` is about one cluster; `highwater lag` monitors several";
        return Err(Failure::new(Status::Config, message));
    }
    config.lag.compat.insert(lag::Family::KafkaExporter);
    push(&args.otlp, &mut config.otlp)?;
    let store = &mut config.sink.store;
    match (&args.mongodb, &args.data_dir, &mut *store) {
        (Some(uri), ..) => *store = store.mongodb(uri),
        (None, Some(data_dir), sink::StoreConfig::Embedded { dir }) => *dir = data_dir.join("documents"),
        _ => {}
    }
    config.check().map_err(Failure::of(Status::Config))?;
    Ok(config)
}

/// Where `highwater up` keeps its data.
pub(super) fn data_dir(args: &cli::Up) -> &Path {
    args.data_dir.as_deref().unwrap_or(Path::new(DATA_DIR))
}

fn read(file: Option<&Path>, of_verb: &str) -> Result<Config, Failure> {
    Config::read(file, of_verb).map_err(Failure::of(Status::Config))
}

/// The settings of `highwater lag`.
pub fn of_lag(args: &cli::Lag) -> Result<Config, Failure> {
    let mut all = read(args.config.as_deref(), "")?;
    let config = &mut all.lag;
    clusters(args, &mut config.clusters);
    if let Some(interval) = args.interval {
        config.interval_seconds = interval.as_secs_f64();
    }
    if args.redis.is_some() {
        config.redis.clone_from(&args.redis);
    }
    for (given, file) in [
        (&args.redis_ca_file, &mut config.redis_ca_file),
        (&args.redis_cert_file, &mut config.redis_cert_file),
        (&args.redis_key_file, &mut config.redis_key_file),
    ] {
        if given.is_some() {
            file.clone_from(given);
        }
    }
    if args.node_id.is_some() {
        config.node_id.clone_from(&args.node_id);
    }
    if args.nodes_group.is_some() {
        config.nodes_group.clone_from(&args.nodes_group);
    }
    if args.node_url.is_some() {
        config.node_url.clone_from(&args.node_url);
    }
    if let Some(lease) = args.lease {
        if config.node_id.is_none() {
            let message = "--lease is of monitors that share groups: give this one a name with --node-id too";
            return Err(Failure::new(Status::Config, message));
        }
        config.lease_seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
    }
    if let Some(name) = &args.cluster_name {
        config.cluster_name.clone_from(name);
    }
    config.series = args.series.unwrap_or(config.series);
    config.rows_max = args.top.or(config.rows_max);
    config.members_max = args.members.or(config.members_max);
    if !args.compat.is_empty() {
        config.compat = args.compat.iter().copied().collect();
    }
    instead(&mut config.groups.allow, args.groups_allow.iter().chain(&args.group));
    instead(&mut config.groups.deny, &args.groups_deny);
    instead(&mut config.topics.allow, args.topics_allow.iter().chain(&args.topic));
    instead(&mut config.topics.deny, &args.topics_deny);
    // What is only printed is not pushed, whatever variables say of pushing.
    if !args.once && !args.watch {
        push(&args.otlp, &mut all.otlp)?;
    }
    all.check().map_err(Failure::of(Status::Config))?;
    Ok(all)
}

/// What was typed, over what OpenTelemetry's variables say, over the file.
fn push(args: &cli::Otlp, config: &mut otlp::Config) -> Result<(), Failure> {
    let endpoint = args.otlp_endpoint.as_deref();
    config.lay_over(endpoint, |name| std::env::var(name).ok()).map_err(Failure::of(Status::Config))?;
    if let Some(interval) = args.otlp_interval {
        config.interval_seconds = interval.as_secs_f64();
    }
    if args.otlp_ca.is_some() {
        config.tls.ca_file.clone_from(&args.otlp_ca);
    }
    let typed = args.otlp_headers.iter().map(|header| (header.key.to_ascii_lowercase(), header.value.clone()));
    config.headers.0.extend(typed);
    Ok(())
}

/// What was typed, if anything was: beside what the file allows, it would allow more than was asked for.
fn instead<'a>(patterns: &mut Vec<lag::Pattern>, typed: impl IntoIterator<Item = &'a lag::Pattern>) {
    let typed: Vec<_> = typed.into_iter().cloned().collect();
    if !typed.is_empty() {
        *patterns = typed;
    }
}

/// What was typed of clusters is all there is to monitor.
fn clusters(args: &cli::Lag, clusters: &mut Vec<lag::ClusterConfig>) {
    if !args.clusters.is_empty() || !args.asking.cluster.bootstrap_server.is_empty() {
        let named = |it: &NamedCluster| lag::ClusterConfig {
            name: it.name.clone(),
            bootstrap_servers: it.bootstrap_servers.clone(),
            properties: BTreeMap::new(),
        };
        *clusters = args.clusters.iter().map(named).collect();
    }
}

/// What the generator makes, and how fast.
pub fn load(load: &cli::Load, config: &mut generator::Config) {
    config.rate = load.rate.unwrap_or(config.rate);
    config.seed = load.seed.or(config.seed);
    config.invalid_ratio = load.invalid_ratio.unwrap_or(config.invalid_ratio);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn of_up_with(file: &str, flags: &[&str]) -> Result<Config, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.toml");
        std::fs::write(&path, file).unwrap();
        let path = path.to_string_lossy();
        let typed = [&["highwater", "up", "--config", &*path], flags].concat();
        match Cli::try_parse_from(typed).unwrap().command {
            Command::Up(args) => of_up(&args),
            other => panic!("{other:?} is not `up`"),
        }
    }

    #[test]
    fn a_flag_wins_only_when_it_is_given() {
        let check = |file: &str, flags: &[&str], want: &str| {
            let config = of_up_with(file, flags).unwrap();
            let store = match &config.sink.store {
                sink::StoreConfig::Embedded { dir } => dir.display().to_string(),
                sink::StoreConfig::MongoDb { uri, database } => format!("{uri} {database}"),
            };
            let lag = (config.lag.interval_seconds, config.lag.list_groups_every);
            assert_eq!(format!("{} {} {store}", lag.0, lag.1), want, "{file} {flags:?}");
        };
        let mongodb = ["--mongodb", "mongodb://flag"];
        check("", &[], "1 1 highwater-data/documents");
        check("", &["--data-dir", "/d"], "1 1 /d/documents");
        check("", &mongodb, "1 1 mongodb://flag pubsub_data");
        let file = "[lag]\ninterval_seconds = 30\n[sink.store.embedded]\ndir = '/f'\n";
        check(file, &[], "30 1 /f");
        check(file, &["--data-dir", "/d"], "30 1 /d/documents");
        let file = "[lag]\nlist_groups_every = 9\n[sink.store.mongodb]\nuri = 'mongodb://file'\ndatabase = 'd'\n";
        check(file, &[], "1 9 mongodb://file d");
        check(file, &["--data-dir", "/d"], "1 9 mongodb://file d");
        check(file, &mongodb, "1 9 mongodb://flag d");
    }

    #[test]
    fn what_was_typed_stands_instead_of_what_the_file_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.toml");
        let file = "[lag]\ncompat = ['kminion']\n[lag.groups]\nallow = ['billing-.*']\ndeny = ['tmp-.*']\n\
            [lag.topics]\nallow = ['orders']\ndeny = ['_.*']\n";
        std::fs::write(&path, file).unwrap();
        let path = path.to_string_lossy();
        let check = |flags: &[&str], groups: &[&str], topics: &[&str], compat: &[lag::Family]| {
            let typed = [&["highwater", "lag", "--config", &*path], flags].concat();
            let Command::Lag(args) = Cli::try_parse_from(typed).unwrap().command else { panic!("{flags:?}") };
            let config = of_lag(&args).unwrap().lag;
            let passing = |filter: &lag::Filter, names: [&'static str; 4]| -> Vec<&str> {
                names.into_iter().filter(|name| filter.passes(name)).collect()
            };
            assert_eq!(passing(&config.groups, ["billing-1", "shop", "tmp-1", "billing"]), groups, "{flags:?}");
            assert_eq!(passing(&config.topics, ["orders", "_x", "shop", "logs"]), topics, "{flags:?}");
            assert!(config.compat.iter().eq(compat), "{flags:?}: {:?}", config.compat);
        };
        let kminion = [lag::Family::Kminion];
        check(&[], &["billing-1"], &["orders"], &kminion);
        check(&["--group", "shop"], &["shop"], &["orders"], &kminion);
        check(&["--group", "shop", "--groups-allow", "tmp-.*"], &["shop"], &["orders"], &kminion);
        check(&["--groups-allow", ".*", "--groups-deny", "b.*"], &["shop", "tmp-1"], &["orders"], &kminion);
        check(&["--topic", "logs"], &["billing-1"], &["logs"], &kminion);
        check(&["--topics-deny", "orders"], &["billing-1"], &[], &kminion);
        check(&["--compat", "kafka-exporter"], &["billing-1"], &["orders"], &[lag::Family::KafkaExporter]);
    }

    #[test]
    fn a_lease_is_of_a_node_wherever_that_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.toml");
        let check = |settings: &str, flags: &[&str], want: Result<u32, Status>| {
            std::fs::write(&path, settings).unwrap();
            let file = path.to_string_lossy();
            let typed = [&["highwater", "lag", "--lease", "7s", "--config", &*file], flags].concat();
            let Command::Lag(args) = Cli::try_parse_from(typed).unwrap().command else { panic!("{flags:?}") };
            let lease = of_lag(&args).map(|config| config.lag.lease_seconds).map_err(|failure| failure.status);
            assert_eq!(lease, want, "{flags:?}");
        };
        let redis = ["--redis", "redis://localhost"];
        check("[lag]\nnode_id = 'a'\n", &redis, Ok(7));
        check("", &[&redis[..], &["--node-id", "a"]].concat(), Ok(7));
        check("", &redis, Err(Status::Config));
    }

    #[test]
    fn clusters_are_those_that_were_typed_or_else_those_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.toml");
        let check = |file: &str, flags: &[&str], want: Result<&[&str], &str>| {
            std::fs::write(&path, file).unwrap();
            let file = path.to_string_lossy();
            let typed = [&["highwater", "lag", "--config", &*file], flags].concat();
            let Command::Lag(args) = Cli::try_parse_from(typed).unwrap().command else { panic!("{flags:?}") };
            let said = of_lag(&args).map_err(|failure| failure.message);
            match want {
                Ok(want) => {
                    let clusters: Vec<_> = said.unwrap().lag.clusters.iter().map(|it| format!("{it:?}")).collect();
                    assert_eq!(clusters, want, "{flags:?}");
                }
                Err(want) => assert!(said.as_ref().is_err_and(|said| said.contains(want)), "{said:?}"),
            }
        };
        let file = "[[lag.clusters]]\nname = 'a'\nbootstrap_servers = ['h:1', 'i:1']\n\
            properties = { 'sasl.password' = 'secret' }\n";
        check(file, &[], Ok(&["a=h:1,i:1"]));
        check(file, &["--cluster", "b=j:1", "--cluster", "c=k:1"], Ok(&["b=j:1", "c=k:1"]));
        check(file, &["-b", "h:2"], Ok(&[]));
        check("", &["--cluster", "b=j:1", "--cluster", "b=k:1"], Err("lag.clusters.name = \"b\": must be another one"));
        let none = "[[lag.clusters]]\nname = ''\nbootstrap_servers = []\n";
        check(none, &[], Err("lag.clusters.name = \"\": must be a text that is not empty"));
        check(none, &[], Err("lag.clusters.bootstrap_servers = []: must be one HOST:PORT at least"));
        let failure = of_up_with(file, &[]).unwrap_err();
        assert_eq!(failure.status, Status::Config, "{failure}");
    }

    #[test]
    fn an_interval_is_what_was_typed_or_refused() {
        let check = |typed: &str, want: Result<Duration, &str>| {
            let args = ["highwater", "lag", "--interval", typed];
            let Command::Lag(args) = Cli::try_parse_from(args).unwrap().command else { panic!("{typed}") };
            let interval = of_lag(&args).map(|config| config.lag.interval()).map_err(|failure| failure.message);
            match want {
                Ok(want) => assert_eq!(interval.ok(), Some(want), "{typed}"),
                Err(want) => assert!(interval.as_ref().is_err_and(|said| said.contains(want)), "{interval:?}"),
            }
        };
        check("10s", Ok(Duration::from_secs(10)));
        check("1500ms", Ok(Duration::from_millis(1_500)));
        check("100ms", Ok(Duration::from_millis(100)));
        check("0s", Err("lag.interval_seconds = 0.0: must be a number from 0.1 to 86400"));
        check("99ms", Err("lag.interval_seconds = 0.099: must be a number from 0.1 to 86400"));
    }

    #[test]
    fn every_mistake_is_said_with_the_status_of_a_wrong_configuration() {
        let failure = of_up_with("[lag]\ninterval_seconds = 0\n[sink]\nbatch_documents_max = 0\n", &[]).unwrap_err();
        assert_eq!(failure.status, Status::Config);
        assert!(
            failure.message.contains("lag.interval_seconds = 0.0: must be a number from 0.1 to 86400"),
            "{failure}"
        );
        assert!(failure.message.contains("sink.batch_documents_max = 0: "), "{failure}");
    }
}
