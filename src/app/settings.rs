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
    if let Some(url) = &config.lag.redis {
        let named = |error| Failure::new(Status::Config, format!("the URL of the lag history: {error}"));
        lag::RedisStore::check_url(url).map_err(named)?;
    }
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

/// What the generator makes, and how fast.
pub fn load(load: &cli::Load, config: &mut generator::Config) {
    config.rate = load.rate.unwrap_or(config.rate);
    config.seed = load.seed.or(config.seed);
    config.invalid_ratio = load.invalid_ratio.unwrap_or(config.invalid_ratio);
}
