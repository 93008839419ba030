//! What was typed, over what the file says.

use super::{Failure, Status};
use crate::config::Config;
use crate::{cli, generator, lag, sink};

/// Between two rounds of the lag monitor, under the live line of `up`.
const LAG_SECONDS: u64 = 1;

/// The settings of `highwater up`.
pub(super) fn of_up(args: &cli::Up) -> Result<Config, Failure> {
    let mut config = Config::read(args.config.as_deref()).map_err(Failure::of(Status::Config))?;
    load(&args.load, &mut config.generator);
    if args.redis.is_some() {
        config.lag.redis.clone_from(&args.redis);
    }
    check(&config.lag)?;
    config.lag.compat.insert(lag::Family::KafkaExporter);
    config.lag.interval_seconds = LAG_SECONDS;
    config.lag.list_groups_every = 1;
    match (&args.mongodb, &mut config.sink.store) {
        (Some(uri), store) => {
            *store = sink::StoreConfig::MongoDb { uri: uri.clone(), database: "pubsub_data".to_owned() };
        }
        (None, sink::StoreConfig::Embedded { dir }) => *dir = args.data_dir.join("documents"),
        (None, sink::StoreConfig::MongoDb { .. }) => {}
    }
    Ok(config)
}

/// The settings of `highwater lag`.
pub fn of_lag(args: &cli::Lag) -> Result<lag::Config, Failure> {
    let mut config = Config::read(args.config.as_deref()).map_err(Failure::of(Status::Config))?.lag;
    if let Some(interval) = args.interval {
        config.interval_seconds = interval.as_secs().max(1);
    }
    if args.redis.is_some() {
        config.redis.clone_from(&args.redis);
    }
    if let Some(name) = &args.cluster_name {
        config.cluster_name.clone_from(name);
    }
    config.compat.extend(&args.compat);
    config.groups.allow.extend(args.groups_allow.iter().chain(&args.group).cloned());
    config.groups.deny.extend(args.groups_deny.clone());
    config.topics.allow.extend(args.topics_allow.iter().chain(&args.topic).cloned());
    config.topics.deny.extend(args.topics_deny.clone());
    check(&config)?;
    Ok(config)
}

fn check(config: &lag::Config) -> Result<(), Failure> {
    let Some(url) = &config.redis else { return Ok(()) };
    let named = |error| Failure::new(Status::Config, format!("the URL of the lag history: {error}"));
    lag::RedisStore::check_url(url).map_err(named)
}

/// What the generator makes, and how fast.
pub fn load(load: &cli::Load, config: &mut generator::Config) {
    config.rate = load.rate.unwrap_or(config.rate);
    config.seed = load.seed.or(config.seed);
    config.invalid_ratio = load.invalid_ratio.unwrap_or(config.invalid_ratio);
}
