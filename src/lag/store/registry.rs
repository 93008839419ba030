//! The registry of nodes in Redis: one hash, which two scripts change, called by their hashes.
//!
//! The fields `term`, `epoch` and `lease` are of all, and each node has a line `node:NAME#LIFE`: its beat, the epoch that it
//! keeps to, and whether it is a member. Redis is not asked what time it is; only the key's time to live goes by its clock, and when that
//! is wrong, another term begins, before which all leases end ([`crate::lag::nodes`]).

use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::types::scripts::Script;

use super::redis::{StoreError, connect};
use crate::lag::nodes::{Beat, Line, MemberId, Roll, Timing};

/// KEYS[1]: the registry. ARGV: the node, its beat, the last one that was answered, the epoch that it keeps to, the greatest
/// that it has seen, its term ('' for none), '1' if it is to be a member, the term should one begin, the lease, the time to
/// live; then lines to take away, each with the beat that it was seen to have ('' for any).
const BEAT: &str = r"
local key, me = KEYS[1], 'node:' .. ARGV[1]
local beat, confirmed, keeps, floor = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local term, is_member, lease = ARGV[6], ARGV[7], ARGV[9]
local function line(node)
  local text = redis.call('HGET', key, node)
  if not text then return nil end
  local at, acked, was_member = string.match(text, '^(%d+):(%d+):([01])$')
  return tonumber(at), acked, was_member
end
local known = redis.call('HMGET', key, 'term', 'epoch', 'lease')
local epoch = tonumber(known[2] or '0')
local at, acked, was_member = line(me)
local forgotten = known[1] == term
  and (epoch < keeps or (at and at < confirmed) or (not at and confirmed > 0 and epoch <= keeps))
if not known[1] or forgotten then
  redis.call('DEL', key)
  epoch, at = math.max(epoch, floor) + 1, nil
  redis.call('HSET', key, 'term', ARGV[8], 'epoch', epoch, 'lease', lease)
elseif known[3] ~= lease then
  if redis.call('HLEN', key) > 3 then return redis.call('HGETALL', key) end
  redis.call('HSET', key, 'lease', lease)
end
local is_newer = at and beat > at
local has_changed = is_newer and was_member ~= is_member
for i = 11, #ARGV, 2 do
  local gone = 'node:' .. ARGV[i]
  local there = line(gone)
  if there and (ARGV[i + 1] == '' or there == tonumber(ARGV[i + 1])) then
    redis.call('HDEL', key, gone)
    has_changed = true
  end
end
if has_changed then
  epoch = epoch + 1
  redis.call('HSET', key, 'epoch', epoch)
end
if is_newer then
  redis.call('HSET', key, me, ARGV[2] .. ':' .. (confirmed == 0 and acked or ARGV[4]) .. ':' .. is_member)
elseif not at and confirmed == 0 then
  redis.call('HSET', key, me, ARGV[2] .. ':' .. epoch .. ':0')
end
redis.call('PEXPIRE', key, ARGV[10])
return redis.call('HGETALL', key)";

/// KEYS[1]: the registry. ARGV: the node.
const LEAVE: &str = r"
if redis.call('HDEL', KEYS[1], 'node:' .. ARGV[1]) == 1 then redis.call('HINCRBY', KEYS[1], 'epoch', 1) end
return {}";

/// The registry, over a connection of its own: what the history takes must not delay a beat.
#[derive(Debug)]
pub struct RedisRegistry {
    url: String,
    key: String,
    timing: Timing,
    beat: Script,
    leave: Script,
    client: Option<Client>,
}

impl RedisRegistry {
    /// Nothing is connected yet.
    pub fn new(url: &str, prefix: &str, timing: Timing) -> Self {
        Self {
            url: url.to_owned(),
            key: format!("{prefix}:lag:nodes"),
            timing,
            beat: Script::from_lua(BEAT),
            leave: Script::from_lua(LEAVE),
            client: None,
        }
    }

    pub async fn beat(&mut self, beat: &Beat) -> Result<Roll, StoreError> {
        let flag = if beat.is_member { "1" } else { "0" };
        let mut args = vec![
            beat.id.to_string(),
            beat.beat.to_string(),
            beat.confirmed.to_string(),
            beat.epoch.to_string(),
            beat.floor.to_string(),
            beat.term.map(|term| format!("{term:016x}")).unwrap_or_default(),
            flag.to_owned(),
            format!("{:016x}", beat.fresh),
            beat.lease_ms.to_string(),
            self.timing.keep_ms().to_string(),
        ];
        for (id, seen) in &beat.gone {
            args.extend([id.to_string(), seen.map(|seen| seen.to_string()).unwrap_or_default()]);
        }
        let client = self.connected().await?;
        let fields = self.call(&client, &self.beat, args).await?;
        roll(&fields).ok_or_else(|| StoreError(format!("{} is no registry of nodes", self.key)))
    }

    pub async fn leave(&mut self, id: &MemberId) -> Result<(), StoreError> {
        let client = self.connected().await?;
        self.call(&client, &self.leave, vec![id.to_string()]).await?;
        Ok(())
    }

    /// A server that has forgotten the script is given it again.
    async fn call(&self, client: &Client, script: &Script, args: Vec<String>) -> Result<Vec<String>, Error> {
        match script.evalsha(client, self.key.as_str(), args.clone()).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                script.load(client).await?;
                script.evalsha(client, self.key.as_str(), args).await
            }
            done => done,
        }
    }

    /// Nothing waits longer than a few beats, so that a node whose connection hangs has a lease for another try.
    async fn connected(&mut self) -> Result<Client, StoreError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let timeout = u64::try_from(self.timing.beat_ms()).unwrap_or(1).max(100);
        let client = connect(&self.url, Duration::from_millis(timeout)).await?;
        Ok(self.client.insert(client).clone())
    }
}

fn roll(fields: &[String]) -> Option<Roll> {
    let mut roll = Roll::default();
    for (name, value) in fields.iter().zip(fields.iter().skip(1)).step_by(2) {
        match name.as_str() {
            "term" => roll.term = u64::from_str_radix(value, 16).ok()?,
            "epoch" => roll.epoch = value.parse().ok()?,
            "lease" => roll.lease_ms = value.parse().ok()?,
            name => roll.lines.push(line(name, value)?),
        }
    }
    roll.lines.sort_unstable();
    (roll.epoch > 0).then_some(roll)
}

fn line(name: &str, value: &str) -> Option<Line> {
    let mut numbers = value.split(':');
    let mut next = || numbers.next()?.parse().ok();
    Some(Line {
        id: MemberId::parse(name.strip_prefix("node:")?)?,
        beat: next()?,
        acked: next()?,
        is_member: next()? == 1,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fred::interfaces::{KeysInterface, LuaInterface};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::lag::nodes::{Model, Moment};

    const LEASE: i64 = 60_000;

    #[test]
    fn rolls_as_text() {
        let check = |text: &str, want: Option<(u64, u64, usize)>| {
            let fields: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            assert_eq!(roll(&fields).map(|it| (it.term, it.epoch, it.lines.len())), want, "{text}");
        };
        check("term 00ff epoch 3 lease 10 node:a#01 7:3:1 node:b#02 1:2:0", Some((255, 3, 2)));
        check("term 00ff epoch 3 lease 10", Some((255, 3, 0)));
        for wrong in
            ["", "term x epoch 3 lease 10", "term 1 epoch 3 lease 10 node:a 7:3:1", "epoch 3 lease 10 node:a#1 7:3"]
        {
            check(wrong, None);
        }
    }

    /// One of a few nodes that asks for anything, whether or not that makes sense.
    fn any_beat(random: &mut SmallRng, known: &Roll) -> Beat {
        let id = |random: &mut SmallRng| MemberId {
            name: Arc::from(["a", "b#c"][random.random_range(0..2)]),
            life: random.random_range(1..3),
        };
        let near = |random: &mut SmallRng, number: u64| (number + random.random_range(0..3)).saturating_sub(1);
        let me = id(random);
        let line = known.lines.iter().find(|line| line.id == me).map_or(0, |line| line.beat);
        let gone = (0..random.random_range(0..3)).map(|_| {
            let other = id(random);
            let seen =
                known.lines.iter().find(|it| it.id == other).map(|it| it.beat).filter(|_| random.random_bool(0.7));
            (other, seen)
        });
        Beat {
            gone: gone.collect::<Vec<_>>().into_iter().filter(|(other, _)| *other != me).collect(),
            id: me,
            beat: near(random, line + 1),
            confirmed: if random.random_bool(0.6) { near(random, line) } else { 0 },
            epoch: near(random, known.epoch),
            floor: near(random, known.epoch),
            term: Some(known.term).filter(|_| random.random_bool(0.8)),
            is_member: random.random_bool(0.5),
            fresh: random.random(),
            lease_ms: if random.random_bool(0.05) { LEASE / 2 } else { LEASE },
            sent: Moment::default(),
        }
    }

    /// The nodes are simulated with a model of the scripts; here it is held against them.
    #[tokio::test]
    async fn redis_answers_as_the_model_does() {
        let Ok(url) = std::env::var("HIGHWATER_TEST_REDIS") else {
            eprintln!("skipped: HIGHWATER_TEST_REDIS names no Redis");
            return;
        };
        crate::tls::install_provider().unwrap();
        let prefix = format!("test-{}", uuid::Uuid::new_v4());
        let mut registry = RedisRegistry::new(&url, &prefix, Timing { lease_ms: LEASE });
        let (mut model, mut random) = (Model::default(), SmallRng::seed_from_u64(5));
        for at in 0..1_500 {
            let beat = any_beat(&mut random, &model.roll());
            let before = model.clone();
            let want = model.beat(&beat);
            assert_eq!(registry.beat(&beat).await.unwrap(), want, "{at}: {beat:#?} to {before:#?}");
            match random.random_range(0..100) {
                // A server that was restarted has forgotten the scripts.
                0 => registry.connected().await.unwrap().script_flush(false).await.unwrap(),
                1 => {
                    let _: () = registry.connected().await.unwrap().del(registry.key.as_str()).await.unwrap();
                    model = Model::default();
                }
                2..10 => {
                    model.leave(&beat.id);
                    registry.leave(&beat.id).await.unwrap();
                }
                _ => {}
            }
        }
        let _: () = registry.connected().await.unwrap().del(registry.key.as_str()).await.unwrap();
    }

    #[tokio::test]
    async fn an_unreachable_redis_is_an_error_that_ends() {
        crate::tls::install_provider().unwrap();
        let mut registry = RedisRegistry::new("redis://127.0.0.1:1", "none", Timing { lease_ms: 1_000 });
        let error = registry.leave(&MemberId { name: Arc::from("a"), life: 1 }).await.unwrap_err().to_string();
        assert!(error.starts_with("Redis: "), "{error}");
    }
}
