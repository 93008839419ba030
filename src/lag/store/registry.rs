//! The registry of nodes in Redis: one hash, which two scripts change, called by their hashes.
//!
//! The fields `term`, `epoch`, `changed` and `lease` are of all, and each node has a line `node:NAME#LIFE`: its beat, the
//! epoch that it keeps to, and whether it is a member. Redis is not asked what time it is; only the key's time to live goes
//! by its clock, and when that is wrong, another term begins, before which all leases end ([`crate::lag::nodes`]).

use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::types::scripts::Script;

use super::redis::{Connection, RedisPlace, StoreError};
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
local is_other, has_gone, has_changed = known[3] ~= lease, false, false
local epoch = tonumber(known[2] or '0')
local at, acked, was_member = line(me)
local forgotten = known[1] == term
  and (epoch < keeps or (at and at < confirmed) or (not at and confirmed > 0 and epoch <= keeps))
if not known[1] or forgotten then
  redis.call('DEL', key)
  epoch, at, is_other = math.max(epoch, floor) + 1, nil, false
  redis.call('HSET', key, 'term', ARGV[8], 'epoch', epoch, 'changed', epoch, 'lease', lease)
end
for i = 11, #ARGV, 2 do
  local gone = 'node:' .. ARGV[i]
  local there, _, was_one = line(gone)
  if there and (ARGV[i + 1] == '' or there == tonumber(ARGV[i + 1])) then
    redis.call('HDEL', key, gone)
    has_gone, has_changed = true, has_changed or was_one == '1'
  end
end
if is_other and redis.call('HLEN', key) == 4 then
  redis.call('HSET', key, 'lease', lease)
  is_other = false
end
local is_newer = not is_other and at and beat > at
has_changed = has_changed or (is_newer and was_member ~= is_member)
if has_gone or has_changed then
  epoch = epoch + 1
  redis.call('HSET', key, 'epoch', epoch)
  if has_changed then redis.call('HSET', key, 'changed', epoch) end
end
if is_other then return redis.call('HGETALL', key) end
if is_newer then
  redis.call('HSET', key, me, ARGV[2] .. ':' .. (confirmed == 0 and acked or ARGV[4]) .. ':' .. is_member)
elseif not at and confirmed == 0 then
  redis.call('HSET', key, me, ARGV[2] .. ':' .. epoch .. ':0')
end
redis.call('PEXPIRE', key, ARGV[10])
return redis.call('HGETALL', key)";

/// KEYS[1]: the registry. ARGV: the node.
const LEAVE: &str = r"
local text = redis.call('HGET', KEYS[1], 'node:' .. ARGV[1])
if text then
  redis.call('HDEL', KEYS[1], 'node:' .. ARGV[1])
  local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  if string.match(text, ':1$') then redis.call('HSET', KEYS[1], 'changed', epoch) end
end
return {}";

/// The registry, over a connection of its own: what the history takes must not delay a beat.
#[derive(Debug)]
pub struct RedisRegistry {
    key: String,
    timing: Timing,
    beat: Script,
    leave: Script,
    connection: Connection,
}

impl RedisRegistry {
    /// Nothing is connected yet. Nothing waits longer than a few beats, so that a node whose connection hangs has a lease for
    /// another try.
    pub fn new(place: RedisPlace, prefix: &str, timing: Timing) -> Self {
        let timeout = u64::try_from(timing.beat_ms()).unwrap_or(1).max(100);
        Self {
            key: format!("{prefix}:lag:nodes"),
            timing,
            beat: Script::from_lua(BEAT),
            leave: Script::from_lua(LEAVE),
            connection: Connection::new(place, Duration::from_millis(timeout)),
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
        let client = self.connection.client().await?;
        let answer = self.call(&client, &self.beat, args).await;
        let fields = self.connection.done(answer)?;
        roll(&fields).ok_or_else(|| StoreError(format!("{} is no registry of nodes", self.key)))
    }

    pub async fn leave(&mut self, id: &MemberId) -> Result<(), StoreError> {
        let client = self.connection.client().await?;
        let answer = self.call(&client, &self.leave, vec![id.to_string()]).await;
        self.connection.done(answer)?;
        Ok(())
    }

    /// All that it knows, for [`Self::set_back`].
    #[cfg(test)]
    pub async fn copied(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        use fred::interfaces::KeysInterface;
        let client = self.connection.client().await?;
        let copy: Option<fred::bytes::Bytes> = client.dump(self.key.as_str()).await?;
        Ok(copy.map(Into::into))
    }

    /// It knows this again, and nothing else; `None`: nothing at all.
    #[cfg(test)]
    pub async fn set_back(&mut self, to: Option<Vec<u8>>) -> Result<(), StoreError> {
        use fred::interfaces::KeysInterface;
        let client = self.connection.client().await?;
        let _: () = client.del(self.key.as_str()).await?;
        if let Some(copy) = to {
            let copy = fred::types::Value::Bytes(copy.into());
            let _: () = client.restore(self.key.as_str(), 0, copy, true, false, None, None).await?;
        }
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
}

fn roll(fields: &[String]) -> Option<Roll> {
    let mut roll = Roll::default();
    for (name, value) in fields.iter().zip(fields.iter().skip(1)).step_by(2) {
        match name.as_str() {
            "term" => roll.term = u64::from_str_radix(value, 16).ok()?,
            "epoch" => roll.epoch = value.parse().ok()?,
            "changed" => roll.changed = value.parse().ok()?,
            "lease" => roll.lease_ms = value.parse().ok()?,
            name => roll.lines.push(line(name, value)?),
        }
    }
    roll.lines.sort_unstable();
    (roll.changed > 0).then_some(roll)
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
    use std::future::pending;
    use std::net::SocketAddr;
    use std::sync::Arc;

    use fred::interfaces::{KeysInterface, LuaInterface};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use tokio::io::copy_bidirectional;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use super::super::redises::{FORGETFUL, redis_at, redis_of_tests, redises_of_tests};
    use super::*;
    use crate::lag::nodes::{Model, Moment};

    const LEASE: i64 = 60_000;

    #[test]
    fn rolls_as_text() {
        let check = |text: &str, want: Option<(u64, u64, usize)>| {
            let fields: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            assert_eq!(roll(&fields).map(|it| (it.term, it.epoch, it.lines.len())), want, "{text}");
        };
        check("", None);
        check("term 1 epoch 3 lease 10", None);
        let check = |lines: &str, want| check(&format!("term 00ff epoch 3 changed 2 lease 10{lines}"), want);
        check(" node:a#01 7:3:1 node:b#02 1:2:0", Some((255, 3, 2)));
        check("", Some((255, 3, 0)));
        for wrong in [" term x", " node:a 7:3:1", " node:a#1 7:3"] {
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
        let _alone = FORGETFUL.lock().await;
        for url in redises_of_tests() {
            let prefix = format!("test-{}", uuid::Uuid::new_v4());
            let mut registry = RedisRegistry::new(redis_at(&url), &prefix, Timing { lease_ms: LEASE });
            let (mut model, mut random) = (Model::default(), SmallRng::seed_from_u64(5));
            for at in 0..1_500 {
                let beat = any_beat(&mut random, &model.roll());
                let before = model.clone();
                let want = model.beat(&beat);
                assert_eq!(registry.beat(&beat).await.unwrap(), want, "{at}: {beat:#?} to {before:#?}");
                match random.random_range(0..100) {
                    // A server that was restarted has forgotten the scripts.
                    0 => registry.connection.client().await.unwrap().script_flush_cluster(false).await.unwrap(),
                    1 => {
                        let _: () =
                            registry.connection.client().await.unwrap().del(registry.key.as_str()).await.unwrap();
                        model = Model::default();
                    }
                    2..10 => {
                        model.leave(&beat.id);
                        registry.leave(&beat.id).await.unwrap();
                    }
                    _ => {}
                }
            }
            let _: () = registry.connection.client().await.unwrap().del(registry.key.as_str()).await.unwrap();
        }
    }

    /// Stands before a server. Connections that there are when it is told to are never answered again, nor closed, as where a
    /// host has vanished.
    async fn proxy(server: String) -> (SocketAddr, watch::Sender<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, vanish) = (listener.local_addr().unwrap(), watch::Sender::new(()));
        let vanishes = vanish.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = TcpStream::connect(&server).await.unwrap();
                let mut vanishes = vanishes.subscribe();
                tokio::spawn(async move {
                    let has_vanished = tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => false,
                        _ = vanishes.changed() => true,
                    };
                    if has_vanished {
                        pending::<()>().await;
                    }
                });
            }
        });
        (address, vanish)
    }

    #[tokio::test]
    async fn a_connection_on_which_something_went_wrong_is_given_up() {
        let Some(url) = redis_of_tests() else { return };
        let server = url.strip_prefix("redis://").expect("no TLS in the tests").to_owned();
        let (address, vanish) = proxy(server).await;
        let prefix = format!("test-{}", uuid::Uuid::new_v4());
        let mut registry =
            RedisRegistry::new(redis_at(&format!("redis://{address}")), &prefix, Timing { lease_ms: 10_000 });
        let nobody = MemberId { name: Arc::from("a"), life: 1 };
        registry.leave(&nobody).await.unwrap();

        vanish.send_replace(());
        assert!(registry.leave(&nobody).await.is_err(), "nobody answers");
        registry.leave(&nobody).await.unwrap();

        // As a master does that is one no more, the server answers, and refuses.
        let client = registry.connection.client().await.unwrap();
        let _: () = client.set(registry.key.as_str(), "", None, None, false).await.unwrap();
        assert!(registry.leave(&nobody).await.is_err() && registry.connection.open.is_none());
        let _: () = registry.connection.client().await.unwrap().del(registry.key.as_str()).await.unwrap();
    }

    #[tokio::test]
    async fn an_unreachable_redis_is_an_error_that_ends() {
        crate::tls::install_provider().unwrap();
        let mut registry = RedisRegistry::new(redis_at("redis://127.0.0.1:1"), "none", Timing { lease_ms: 1_000 });
        let error = registry.leave(&MemberId { name: Arc::from("a"), life: 1 }).await.unwrap_err().to_string();
        assert!(error.starts_with("Redis: "), "{error}");
    }
}
